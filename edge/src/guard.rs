//! Refuses requests that could mean one thing to the edge and another to an upstream, and those that cost too much.
//!
//! What is no HTTP at all, hyper has refused before.

use hyper::header::HOST;
use hyper::{Method, Request, StatusCode, Version, body::Body};

use crate::route::split_host;
use crate::server::Limits;

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// For the page and the log.
    pub(crate) what: &'static str,
}

/// The host that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host<'r> {
    /// As the client wrote it, with its port.
    pub(crate) full: &'r str,
    pub(crate) name: &'r str,
    pub(crate) port: Option<u16>,
}

/// Checks the head of a request and finds the host it is for.
pub(crate) fn check<'r, B: Body>(
    req: &'r Request<B>,
    limits: &Limits,
) -> Result<Host<'r>, Refusal> {
    if method_name(req.method()).is_none() {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "This method is not allowed");
    }
    let uri_len = req
        .uri()
        .path_and_query()
        .map_or(0, |uri| uri.as_str().len());
    if uri_len > limits.uri_bytes {
        return refuse(StatusCode::URI_TOO_LONG, "The address is too long");
    }
    let headers = req.headers();
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + ": \r\n".len() + value.len())
        .sum();
    if headers.len() > limits.headers || header_bytes > limits.header_bytes {
        return refuse(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The headers are too many or too large",
        );
    }
    let host = host(req)?;
    if let Some(what) = ambiguity(req.uri().path()) {
        return refuse(StatusCode::BAD_REQUEST, what);
    }
    if req.body().size_hint().lower() > limits.body_bytes {
        return refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request body is too large",
        );
    }
    Ok(host)
}

/// The name of a method that may pass: those of RFC 9110 but CONNECT and TRACE, and PATCH.
pub(crate) fn method_name(method: &Method) -> Option<&'static str> {
    let allowed = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"];
    allowed.into_iter().find(|name| *name == method.as_str())
}

fn refuse<T>(status: StatusCode, what: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, what })
}

/// The one host that `Host` and the request target agree on.
fn host<B>(req: &Request<B>) -> Result<Host<'_>, Refusal> {
    let bad = |what| {
        Err(Refusal {
            status: StatusCode::BAD_REQUEST,
            what,
        })
    };
    let mut headers = req.headers().get_all(HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return bad("The request has more than one Host");
    }
    let authority = req.uri().authority().map(|authority| authority.as_str());
    let full = match (header, authority) {
        (Some(header), authority) => match (header.to_str(), authority) {
            (Ok(header), Some(authority)) if !header.eq_ignore_ascii_case(authority) => {
                return bad("The Host and the request target disagree");
            }
            (Ok(header), _) => header,
            (Err(_), _) => return bad("The Host is not valid"),
        },
        // HTTP/2 has `:authority` for it.
        (None, Some(authority)) if req.version() == Version::HTTP_2 => authority,
        (None, _) => return bad("The request has no Host"),
    };
    match split_host(full) {
        Some((name, port)) => Ok(Host { full, name, port }),
        None => bad("The Host is not valid"),
    }
}

/// Finds what some servers resolve and others do not, so that two could disagree on which resource is meant.
fn ambiguity(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("The request target has no path");
    }
    if path.contains("//") || path.contains(['\\', ';']) {
        return Some("The path has an empty segment, a backslash or a semicolon");
    }
    let encoded = |at: usize, codes: &[&str]| {
        path.get(at + 1..at + 3)
            .is_some_and(|digits| codes.iter().any(|code| code.eq_ignore_ascii_case(digits)))
    };
    let mut escapes = path.match_indices('%');
    if escapes.any(|(at, _)| encoded(at, &["00", "2f", "5c", "3b"])) {
        return Some("The path has an encoded slash, backslash, semicolon or NUL");
    }
    let dots = |segment: &str| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        matches!(plain.as_str(), "." | "..")
    };
    // Most paths have no dot at all.
    let may_have_dots = path.contains("/.") || path.contains("/%");
    if may_have_dots && path.split('/').any(dots) {
        return Some("The path has a dot segment");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_two_servers_could_read_differently_is_refused() {
        for fine in ["/", "/a.b/..c/.d", "/%25", "/a%20b", "/%2ea"] {
            assert_eq!(ambiguity(fine), None, "{fine}");
        }
        for bad in [
            "*",
            "",
            "//",
            "/a//b",
            "/..%2f",
            "/%2F",
            "/%00",
            "/%5c",
            "/%3B",
            "/a;b",
            "/a\\b",
            "/..",
            "/a/../b",
            "/./",
            "/%2e%2E/x",
            "/.%2e",
        ] {
            assert!(ambiguity(bad).is_some(), "{bad}");
        }
    }
}
