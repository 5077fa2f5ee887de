//! Whose request a proxy hands on: `client.address` from what proxies that are trusted say.
//!
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span> asks for the client behind intermediaries.
//! Anybody can write such a header, so that it counts only as far as those wrote it who are known.

use std::{net::IpAddr, str::FromStr};

use http::{
    HeaderMap, HeaderName,
    header::{self, HeaderValue},
};

/// Most addresses that are looked at, the last ones.
const MAX_HOPS: usize = 32;

/// An address, or all that begin with the same bits: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    ip: IpAddr,
    bits: u32,
}

/// Not an address, or with more bits behind `/` than it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address such as 192.0.2.1 or a network such as 10.0.0.0/8")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let most = match ip {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most),
            None => Some(most),
        };
        let bits = bits.ok_or_else(wrong)?;
        // As addresses of peers are compared: an IPv4 address is one in whatever way it is written.
        Ok(match (ip, ip.to_canonical()) {
            (IpAddr::V6(_), ip @ IpAddr::V4(_)) if bits >= 96 => Self {
                ip,
                bits: bits - 96,
            },
            (ip, _) => Self { ip, bits },
        })
    }
}

impl Network {
    fn has(&self, ip: IpAddr) -> bool {
        let differ = match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(ip)) => u128::from(ours.to_bits() ^ ip.to_bits()) << 96,
            (IpAddr::V6(ours), IpAddr::V6(ip)) => ours.to_bits() ^ ip.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= self.bits
    }
}

/// Who is believed, and in which header.
#[derive(Clone, Debug)]
pub(super) struct Proxies {
    header: HeaderName,
    trusted: Vec<Network>,
}

impl Proxies {
    pub(super) fn new(header: HeaderName, trusted: impl IntoIterator<Item = Network>) -> Self {
        Self {
            header,
            trusted: trusted.into_iter().collect(),
        }
    }

    /// The nearest address that no trusted proxy has: what is before it in the header is hearsay.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let values = headers.get_all(&self.header).iter().rev();
        let values = values.map(|value| HeaderValue::to_str(value).unwrap_or_default());
        let mut hops = values.flat_map(|value| self.hops(value)).take(MAX_HOPS);
        while self.trusted.iter().any(|network| network.has(client)) {
            let Some(before) = hops.next().and_then(|hop| self.address(hop)) else {
                break;
            };
            client = before;
        }
        client
    }

    /// The last first. What is no list of the standard header has one that is not known.
    fn hops<'v>(&self, value: &'v str) -> Vec<&'v str> {
        if self.header != header::FORWARDED {
            return value.rsplit(',').take(MAX_HOPS).collect();
        }
        let mut hops = elements(value, ',').unwrap_or_else(|| vec![""]);
        hops.reverse();
        hops
    }

    fn address(&self, hop: &str) -> Option<IpAddr> {
        if self.header != header::FORWARDED {
            return address(hop.trim());
        }
        let pairs = elements(hop, ';')?;
        let mut pairs = pairs.iter().filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
        let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        address(quoted.unwrap_or(value))
    }
}

/// What stands between separators outside of quoted strings, in which whoever made a request may have put some. `None` if one
/// does not end.
fn elements(text: &str, separator: char) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    let (mut from, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ if char == separator && !is_quoted => {
                elements.push(&text[from..at]);
                from = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    elements.push(&text[from..]);
    (!is_quoted).then_some(elements)
}

/// An address that may have a port; of IPv6 it may have brackets, and with a port it has.
fn address(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            Some((ip, port)) if !port.contains(':') => ip,
            _ => text,
        },
    };
    bare.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &str) -> Vec<Network> {
        list.split(' ')
            .map(|network| network.parse().unwrap())
            .collect()
    }

    #[track_caller]
    fn check(header: &'static str, values: &[&'static str], peer: &str, expected: &str) {
        let header = HeaderName::from_static(header);
        let trusted = networks("10.0.0.0/8 127.0.0.1 2001:db8::/32");
        let proxies = Proxies::new(header.clone(), trusted);
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&header, HeaderValue::from_static(value));
        }
        let client = proxies.client(peer.parse().unwrap(), &headers);
        assert_eq!(client.to_string(), expected, "{values:?} by {peer}");
    }

    #[test]
    fn the_nearest_address_that_is_not_trusted_is_the_clients() {
        let check = |values: &[&'static str], peer, expected| {
            check("x-forwarded-for", values, peer, expected);
        };
        check(&["192.0.2.7"], "10.1.2.3", "192.0.2.7");
        check(&["192.0.2.7"], "::ffff:127.0.0.1", "192.0.2.7");
        check(&["192.0.2.7, 10.9.9.9"], "10.1.2.3", "192.0.2.7");
        check(&["192.0.2.7", "10.9.9.9"], "10.1.2.3", "192.0.2.7");
        check(
            &["[2001:db9::1]:80, 2001:db8::5"],
            "10.1.2.3",
            "2001:db9::1",
        );
        check(&["192.0.2.7:4711"], "10.1.2.3", "192.0.2.7");
        check(&["10.0.0.1,10.0.0.2"], "10.1.2.3", "10.0.0.1");
        check(&[], "10.1.2.3", "10.1.2.3");
    }

    #[test]
    fn what_a_stranger_says_is_not_believed() {
        let check = |values: &[&'static str], peer, expected| {
            check("x-forwarded-for", values, peer, expected);
        };
        check(&["192.0.2.7"], "198.51.100.1", "198.51.100.1");
        check(&["8.8.8.8, 192.0.2.7"], "10.1.2.3", "192.0.2.7");
        check(&["10.0.0.5, 192.0.2.7, 10.0.0.1"], "10.1.2.3", "192.0.2.7");
        for nonsense in [
            "",
            "unknown",
            "192.0.2",
            "a.example",
            "192.0.2.7 x",
            "[::1",
            ",",
        ] {
            check(&[nonsense], "10.1.2.3", "10.1.2.3");
        }
    }

    #[test]
    fn the_standard_header_has_its_own_grammar() {
        let check = |values: &[&'static str], peer, expected| {
            check("forwarded", values, peer, expected);
        };
        check(&["for=192.0.2.7;proto=https"], "10.1.2.3", "192.0.2.7");
        check(
            &["By=x; For=\"[2001:db9::1]:4711\""],
            "10.1.2.3",
            "2001:db9::1",
        );
        check(
            &["for=8.8.8.8, for=192.0.2.7, for=10.0.0.1"],
            "10.1.2.3",
            "192.0.2.7",
        );
        // What the client chose, such as its Host, may hold separators.
        check(
            &[r#"for=192.0.2.7;host="a,for=6.6.6.6""#],
            "10.1.2.3",
            "192.0.2.7",
        );
        check(
            &[r#"host="a;for=6.6.6.6";for=192.0.2.7"#],
            "10.1.2.3",
            "192.0.2.7",
        );
        check(
            &[r#"for=192.0.2.7;host="a\",for=6.6.6.6""#],
            "10.1.2.3",
            "192.0.2.7",
        );
        check(
            &["for=8.8.8.8", r#"host="a, for=6.6.6.6"#],
            "10.1.2.3",
            "10.1.2.3",
        );
        check(&["for=_hidden"], "10.1.2.3", "10.1.2.3");
        check(&["192.0.2.7"], "10.1.2.3", "10.1.2.3");
    }

    #[test]
    fn a_list_without_end_is_not_read_to_its_end() {
        let long: &'static str = Box::leak("10.0.0.1,".repeat(100_000).into_boxed_str());
        check(
            "x-forwarded-for",
            &["192.0.2.7", long],
            "10.1.2.3",
            "10.1.2.3",
        );
        let trusted: &'static str =
            Box::leak(format!("192.0.2.7{}", ",10.0.0.1".repeat(40)).into_boxed_str());
        check("x-forwarded-for", &[trusted], "10.1.2.3", "10.0.0.1");
    }

    #[test]
    fn networks_are_addresses_with_or_without_a_number_of_bits() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::/0", "2001:db8::1", "8.8.8.8"),
            ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.0"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.has(inside.parse().unwrap()), "{network:?}");
            assert!(!network.has(outside.parse().unwrap()), "{network:?}");
        }
        for wrong in [
            "",
            "10",
            "10.0.0.0/33",
            "::/129",
            "::/x",
            "a/8",
            "10.0.0.0/",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
