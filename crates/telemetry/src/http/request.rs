//! What a request tells of itself, in the words of the semantic conventions.

use std::{
    borrow::Cow,
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{
    HeaderMap, Method, Uri, Version,
    header::{CONTENT_LENGTH, HOST},
    uri::Scheme,
};

/// Longest value of an attribute that a stranger chose, in bytes; the rest is cut off.
pub const MAX_VALUE: usize = 1024;

/// Longest host name, in bytes.
const MAX_HOST: usize = 255;

/// `http.request.method`, and the method as it was if that is not one that the conventions know.
pub(super) fn method(method: &Method) -> (&'static str, Option<&str>) {
    let known = match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        "QUERY" => "QUERY",
        unknown => return (super::call::OTHER, Some(unknown)),
    };
    (known, None)
}

/// `{method} {route}`, or `{method}`.
pub(super) fn name(method: &'static str, route: Option<&str>) -> Cow<'static, str> {
    let method = if method == super::call::OTHER {
        "HTTP"
    } else {
        method
    };
    let Some(route) = route else {
        return Cow::Borrowed(method);
    };
    let mut name = String::with_capacity(method.len() + 1 + route.len());
    name.push_str(method);
    name.push(' ');
    name.push_str(route);
    Cow::Owned(name)
}

/// `network.protocol.version`.
pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// `url.scheme`, if it is one of HTTP's.
pub(super) fn scheme(uri: &Uri) -> Option<&'static str> {
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => Some("http"),
        Some(scheme) if *scheme == Scheme::HTTPS => Some("https"),
        _ => None,
    }
}

/// Whom a request is for, by its target or else its `Host`: `server.address` and `server.port`.
pub(super) fn host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<(&'r str, Option<u16>)> {
    match uri.authority() {
        Some(authority) => split(authority.as_str()),
        None => split(headers.get(HOST)?.to_str().ok()?),
    }
}

/// Splits `host:port`, which may have credentials before it; brackets around an IPv6 address are dropped.
pub(super) fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%:".contains(&byte);
    let host = bare.unwrap_or(host);
    let is_fine = !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(is_host);
    is_fine.then_some((host, port))
}

/// The length of a body, as its header says.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// As much of a stranger's text as an attribute may have: [`MAX_VALUE`] bytes.
pub fn bounded(text: &str) -> &str {
    match text.len() {
        0..=MAX_VALUE => text,
        _ => &text[..text.floor_char_boundary(MAX_VALUE)],
    }
}

/// Who is at the other end of a connection, in the forms that attributes need.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) ip: IpAddr,
    pub(super) address: Arc<str>,
    pub(super) port: i64,
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        let ip = addr.ip().to_canonical();
        Self {
            ip,
            address: shared(ip),
            port: i64::from(addr.port()),
        }
    }
}

/// An address as text. The requests that a thread serves in succession often come from the same one.
pub(super) fn shared(ip: IpAddr) -> Arc<str> {
    thread_local! {
        static LAST: RefCell<Option<(IpAddr, Arc<str>)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((of, text)) if *of == ip => text.clone(),
        _ => {
            let text = Arc::from(ip.to_string());
            last.insert((ip, text)).1.clone()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_split_from_its_port() {
        for (authority, split_up) in [
            ("a", Some(("a", None))),
            ("a:80", Some(("a", Some(80)))),
            ("a.example:65536", Some(("a.example", None))),
            ("a:", Some(("a", None))),
            ("[::1]:80", Some(("::1", Some(80)))),
            ("[::1]", Some(("::1", None))),
            ("me:secret@a:80", Some(("a", Some(80)))),
            ("", None),
            (":80", None),
            ("a b", None),
            ("<script>", None),
        ] {
            assert_eq!(split(authority), split_up, "{authority}");
        }
        assert_eq!(split(&"a".repeat(256)), None);
    }

    #[test]
    fn a_long_value_is_cut_between_two_characters() {
        let text = "ä".repeat(1000);
        assert_eq!(bounded(&text), "ä".repeat(512));
        let text = format!("a{text}");
        assert_eq!(bounded(&text).len(), 1023);
    }
}
