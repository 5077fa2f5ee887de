//! The headers of a message that passes the edge: what is taken out, and what the edge adds.

use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, FORWARDED, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::server::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Meant for the next hop only, with or without a `Connection` that says so (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what was meant for the edge alone.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Tells the upstream who asked, for what and how. What a client sent in these names is removed, also with
/// underscores, which CGI and WSGI cannot tell from dashes.
pub(crate) fn set_forwarded(
    headers: &mut HeaderMap,
    host: &HeaderValue,
    port: Option<u16>,
    peer: &Peer,
    server: &HeaderValue,
) {
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|name| claims_to_be_forwarded(name.as_str()))
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
    let port = match port {
        Some(port) => HeaderValue::from(port),
        None => HeaderValue::from_static("80"),
    };
    headers.insert(X_FORWARDED_FOR, peer.ip_header.clone());
    headers.insert(X_FORWARDED_HOST, host.clone());
    headers.insert(X_FORWARDED_PORT, port);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(X_FORWARDED_SERVER, server.clone());
    headers.insert(X_REAL_IP, peer.ip_header.clone());
}

fn claims_to_be_forwarded(name: &str) -> bool {
    let is = |name: &str, other: &str| {
        name.len() == other.len()
            && name
                .bytes()
                .zip(other.bytes())
                .all(|(byte, other)| byte == other || (byte == b'_' && other == b'-'))
    };
    let prefix = name.get(.."x-forwarded-".len());
    prefix.is_some_and(|prefix| is(prefix, "x-forwarded-"))
        || is(name, X_REAL_IP.as_str())
        || is(name, FORWARDED.as_str())
}
