//! Protects the people who have the page open, or another one beside it.
//!
//! A page of a stranger whose name resolves to 127.0.0.1 ("DNS rebinding") has the origin of this
//! server for the browser, and could read every trace; but it cannot forge the `Host` header. A page
//! that keeps its own name can still send requests here, and the browser says that it is foreign.
//! And names of spans come from strangers: should one ever become markup, it can do nothing.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{
        HeaderValue, Method, StatusCode,
        header::{CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Answers 421 unless the host is an IP address, `localhost`, below `.localhost`, or allowed.
pub(crate) async fn check_host(
    State(allowed): State<Arc<BTreeSet<String>>>,
    request: Request,
    next: Next,
) -> Response {
    match host(&request) {
        None => (
            StatusCode::BAD_REQUEST,
            "exactly one valid Host is required",
        )
            .into_response(),
        Some(host) if is_ours(&host, &allowed) => next.run(request).await,
        Some(host) => {
            let advice = format!(
                "this server is not {host}: name it with --allow-host or in ALLOW_HOSTS if it is"
            );
            (StatusCode::MISDIRECTED_REQUEST, advice).into_response()
        }
    }
}

/// Answers 403 to what a browser sends on behalf of a page from elsewhere, even though that page
/// would be kept from reading the answer: sending alone would forge spans, or make the store search.
/// A link to here may be followed. Clients that are no browsers send none of these headers.
pub(crate) async fn refuse_strangers(request: Request, next: Next) -> Response {
    if comes_from_elsewhere(&request) && !is_link(&request) {
        let message = "pages of other origins may link to this server, and nothing else";
        return (StatusCode::FORBIDDEN, message).into_response();
    }
    next.run(request).await
}

/// Answers 403 to everything but what a page of this server sends: programs have ports of their
/// own to send to.
pub(crate) async fn require_same_origin(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_page = headers.contains_key(SEC_FETCH_SITE) || headers.contains_key(ORIGIN);
    let is_typed = headers
        .get_all(SEC_FETCH_SITE)
        .iter()
        .any(|site| site == "none");
    if is_page && !is_typed && !comes_from_elsewhere(&request) {
        return next.run(request).await;
    }
    let message = "only the page of this server may send here: programs send to the OTLP ports";
    (StatusCode::FORBIDDEN, message).into_response()
}

/// <https://www.w3.org/TR/fetch-metadata/>; `Origin` for browsers that do not have it, and for
/// names other than `localhost`, where they do not send it without TLS.
fn comes_from_elsewhere(request: &Request) -> bool {
    let own = authority(request);
    let is_own = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let origin = ["http://", "https://"]
            .iter()
            .find_map(|scheme| origin.strip_prefix(scheme));
        match (origin, &own) {
            (Some(origin), Some(own)) => own.as_str().eq_ignore_ascii_case(origin),
            _ => false,
        }
    };
    // Another port of this host is the same site, and yet another program. `none` stands for the
    // address bar and bookmarks.
    let is_here = |site: &HeaderValue| site == "same-origin" || site == "none";
    let headers = request.headers();
    !headers.get_all(SEC_FETCH_SITE).iter().all(is_here)
        || !headers.get_all(ORIGIN).iter().all(is_own)
}

/// Whether somebody follows a link, in a tab or window of its own rather than in a frame.
fn is_link(request: &Request) -> bool {
    let only = |name: &str, wanted: &str| {
        let mut values = request.headers().get_all(name).iter();
        values.next().is_some_and(|value| value == wanted) && values.next().is_none()
    };
    request.method() == Method::GET
        && only(SEC_FETCH_MODE, "navigate")
        && only(SEC_FETCH_DEST, "document")
        && !request.headers().contains_key(ORIGIN)
}

const SEC_FETCH_SITE: &str = "sec-fetch-site";
const SEC_FETCH_MODE: &str = "sec-fetch-mode";
const SEC_FETCH_DEST: &str = "sec-fetch-dest";

/// The empty icon of the pages is a `data:` image.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Tells browsers to run and guess nothing.
pub(crate) async fn restrict(mut response: Response) -> Response {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// In lower case, without the port. `None` if it is missing, repeated or malformed.
fn host(request: &Request) -> Option<String> {
    authority(request).map(|authority| authority.host().to_ascii_lowercase())
}

/// `None` if it is missing, repeated or malformed.
fn authority(request: &Request) -> Option<Authority> {
    let mut headers = request.headers().get_all(HOST).iter();
    let authority: Authority = match (headers.next(), headers.next(), request.uri().authority()) {
        // HTTP/2, and the absolute form of HTTP/1.1, which takes precedence over the header.
        (_, None, Some(authority)) => authority.clone(),
        (Some(host), None, None) => host.to_str().ok()?.parse().ok()?,
        _ => return None,
    };
    (!authority.as_str().contains('@')).then_some(authority)
}

fn is_ours(host: &str, allowed: &BTreeSet<String>) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let ip = name
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(name);
    name == "localhost"
        || name.ends_with(".localhost")
        || ip.parse::<IpAddr>().is_ok()
        || allowed.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebinding_name_is_not_ours() {
        let allowed = BTreeSet::from(["tracestore".to_owned()]);
        for host in [
            "localhost",
            "a.localhost",
            "127.0.0.1",
            "[::1]",
            "localhost.",
            "tracestore",
        ] {
            assert!(is_ours(host, &allowed), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.nip.io",
            "",
        ] {
            assert!(!is_ours(host, &allowed), "{host}");
        }
    }
}
