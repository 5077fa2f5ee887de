//! The fixed table from host name to upstream, and how a `Host` is read.
//!
//! An upstream comes from this table alone, never from anything that a client sends.

use std::net::Ipv6Addr;
use std::sync::Arc;

use hyper::Uri;
use hyper::http::uri::Authority;

/// Which host name leads to which upstream.
#[derive(Clone, Debug)]
pub struct Routes(Vec<Arc<Upstream>>);

/// Where the requests for one host name go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// The host name of the route, in lower case.
    pub(crate) name: String,
    /// Host and port of the upstream.
    pub(crate) authority: Authority,
    /// More of the same, for when that accepts no connection.
    pub(crate) others: Vec<Authority>,
    /// The host part of `authority`, without the brackets of an IPv6 address.
    pub(crate) address: Arc<str>,
    pub(crate) port: u16,
}

impl Routes {
    /// Parses `name=http://host:port,name=http://host:port`. An upstream may have more addresses behind a `|`: a new
    /// connection goes to the first of them that accepts one.
    ///
    /// # Errors
    /// Every entry that cannot be used, with the reason.
    pub fn parse(table: &str) -> Result<Self, Vec<String>> {
        let mut routes: Vec<Arc<Upstream>> = Vec::new();
        let mut wrong = Vec::new();
        for entry in table.split(',').map(str::trim) {
            match upstream(entry) {
                Ok(route) if routes.iter().any(|other| other.name == route.name) => {
                    wrong.push(format!("`{}` is routed twice", route.name));
                }
                // A connection is that of an address, whoever asked for it.
                Ok(route) if routes.iter().any(|other| other.diverges(&route)) => wrong.push(
                    format!("`{entry}` begins with an address that has others behind it elsewhere"),
                ),
                Ok(route) => routes.push(Arc::new(route)),
                Err(reason) => wrong.push(format!("`{entry}` {reason}")),
            }
        }
        if wrong.is_empty() {
            Ok(Self(routes))
        } else {
            Err(wrong)
        }
    }

    /// A table without an entry.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Where a connection may go as well, if none is to be had there.
    pub(crate) fn others(&self, authority: &Authority) -> Vec<Authority> {
        let of_it = |upstream: &&Arc<Upstream>| {
            upstream.authority == *authority && !upstream.others.is_empty()
        };
        let found = self.0.iter().find(of_it);
        found.map_or_else(Vec::new, |upstream| upstream.others.clone())
    }

    /// The upstream of a host name, which is compared without regard to case or a trailing dot.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Upstream>> {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.0
            .iter()
            .find(|upstream| upstream.name.eq_ignore_ascii_case(name))
    }
}

impl Upstream {
    /// Whether they share a first address and go on with different ones.
    fn diverges(&self, other: &Self) -> bool {
        self.authority == other.authority && self.others != other.others
    }
}

fn upstream(entry: &str) -> Result<Upstream, &'static str> {
    let (name, origins) = entry
        .split_once('=')
        .ok_or("is not name=http://host:port")?;
    let (name, port) = split_host(name).ok_or("has no host name before `=`")?;
    if port.is_some() {
        return Err("routes by host name, without a port");
    }
    let mut origins = origins.split('|').map(str::trim);
    let authority = origin(origins.next().unwrap_or_default())?;
    let others = origins.map(origin).collect::<Result<_, _>>()?;
    let address = authority.host().trim_matches(['[', ']']).into();
    let name = name.strip_suffix('.').unwrap_or(name);
    Ok(Upstream {
        name: name.to_ascii_lowercase(),
        port: authority.port_u16().unwrap_or(80),
        address,
        authority,
        others,
    })
}

fn origin(url: &str) -> Result<Authority, &'static str> {
    let origin: Uri = url.parse().map_err(|_| "leads to no valid URL")?;
    if origin.scheme_str() != Some("http") {
        return Err("leads to no http:// URL");
    }
    if !matches!(origin.path(), "" | "/") || origin.query().is_some() {
        return Err("must lead to an origin, without a path");
    }
    let authority = origin.authority().cloned().ok_or("leads to no host")?;
    if split_host(authority.as_str()).is_none() {
        return Err("leads to no valid host and port");
    }
    Ok(authority)
}

/// Splits the value of a `Host` header in name and port.
///
/// `None` for what RFC 9110 section 7.2 does not allow there (user information, an impossible port), and for
/// the rarer characters of a `reg-name` that no host name in DNS has.
pub(crate) fn split_host(host: &str) -> Option<(&str, Option<u16>)> {
    let name_len = match host.find(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, rest) = host.split_at(name_len);
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return None,
        // An empty port is allowed by the grammar and means the default.
        Some("") => None,
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        Some(_) => return None,
    };
    let valid = match name.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !matches!(name, "" | ".") && name.bytes().all(allowed)
        }
    };
    valid.then_some((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_split_in_name_and_port() {
        let check = |host, expected| assert_eq!(split_host(host), expected, "{host}");
        check("a.localhost", Some(("a.localhost", None)));
        check("a.localhost:8000", Some(("a.localhost", Some(8000))));
        check("a.localhost.:", Some(("a.localhost.", None)));
        check("169.254.169.254", Some(("169.254.169.254", None)));
        check("[::1]:80", Some(("[::1]", Some(80))));
        for garbage in [
            "",
            ".",
            ":80",
            "a:b",
            "a:99999",
            "a:+1",
            "u@a",
            "a b",
            "a/b",
            "[::1",
            "[::1]x",
            "::1",
            "[x]",
            "a,b",
            "a]",
            "caf\u{e9}",
        ] {
            check(garbage, None);
        }
    }

    #[test]
    fn a_route_is_found_whatever_the_case_and_with_a_trailing_dot() {
        let routes = Routes::parse("a.localhost=http://127.0.0.1:8081,b.=http://[::1]").unwrap();
        assert_eq!(routes.find("A.LocalHost.").unwrap().port, 8081);
        let b = routes.find("b").unwrap();
        assert_eq!((&*b.address, b.port), ("::1", 80));
        assert_eq!(routes.find("localhost"), None);
        assert_eq!(routes.find("a.localhost.."), None);
    }

    #[test]
    fn hosts_that_share_a_first_address_share_the_others() {
        let routes = Routes::parse("a=http://x|http://y,b=http://x|http://y").unwrap();
        let authority = &routes.find("b").unwrap().authority;
        assert_eq!(routes.others(authority), ["y"]);
        for table in [
            "a=http://x|http://y,b=http://x",
            "a=http://x,b=http://x|http://y",
            "a=http://x|http://y,b=http://x|http://z",
        ] {
            let wrong = Routes::parse(table).unwrap_err();
            assert_eq!(wrong.len(), 1, "{wrong:#?}");
            assert!(wrong[0].starts_with("`b=http://x"), "{wrong:#?}");
        }
    }

    #[test]
    fn every_unusable_route_is_named() {
        let table = "a=https://x,b,=http://x,c=http://x/path,c:1=http://x,d=http://,e=http://u@x,f=http://x,F=http://y";
        let wrong = Routes::parse(table).unwrap_err();
        assert_eq!(wrong.len(), 8, "{wrong:#?}");
    }
}
