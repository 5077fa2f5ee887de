//! Requests as `/metrics` tells of them: how many, how long, how they ended, by route.

use std::time::{Duration, Instant, SystemTime};

use hyper::{Method, StatusCode, Version};
use opentelemetry::trace::SpanContext;
use telemetry::metrics::{HttpRequest, Metrics, Over};

use crate::access_log::Entry;
use crate::guard::method_name;

/// What is known of a request at its end, beside its entry in the log.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) forwarded: Option<Instant>,
    pub(crate) client: Option<&'a SpanContext>,
    pub(crate) server: Option<&'a SpanContext>,
    /// Whether the status is the edge's own, and not the upstream's.
    pub(crate) is_own: bool,
    pub(crate) cut: Option<&'static str>,
}

/// There is a request, which is to end with [`ended`].
pub(crate) fn begun(metrics: &Metrics, entry: &Entry) {
    metrics.server_begun(name(&entry.method), "http");
}

/// Its response has come to its end, or will not.
///
/// The server's side is told by the host name of the route, of which there are as many as the operator wrote down, so that each
/// service has series of its own, also one that exports none. The client's side is told by the upstream's address.
pub(crate) fn ended(metrics: &Metrics, entry: &Entry, ended: Ended<'_>) {
    let (now, end) = (Instant::now(), SystemTime::now());
    let method = name(&entry.method);
    let status = entry.status.as_ref().map_or(0, StatusCode::as_u16);
    let code = entry.status.as_ref().map_or("", StatusCode::as_str);
    let upstream = entry.upstream.as_deref();
    // To a server, 4xx is the client's fault.
    let error = match (ended.cut, status) {
        (Some(error), _) => error,
        (None, 500..) => entry.error.unwrap_or(code),
        _ => "",
    };
    metrics.server_ended(
        &HttpRequest {
            method,
            status,
            error,
            scheme: "http",
            version: version(entry.version),
            host: upstream.map_or("", |upstream| &upstream.name),
            ..HttpRequest::default()
        },
        Over {
            duration: now.duration_since(entry.started),
            end,
            span: ended.server.unwrap_or(&SpanContext::NONE),
        },
    );
    let (Some(begun), Some(upstream)) = (ended.forwarded, upstream) else {
        return;
    };
    let status = if ended.is_own { 0 } else { status };
    let error = match (entry.error, status) {
        (Some(error), _) => error,
        (None, 400..) => code,
        _ => "",
    };
    metrics.client_ended(
        &HttpRequest {
            method,
            status,
            error,
            version: "1.1",
            host: &upstream.address,
            port: upstream.port,
            ..HttpRequest::default()
        },
        Over {
            duration: now.duration_since(begun),
            end,
            span: ended.client.unwrap_or(&SpanContext::NONE),
        },
    );
}

/// Hyper refused a request by itself, of which nothing else is known.
pub(crate) fn refused_head(metrics: &Metrics, status: StatusCode) {
    let method = "_OTHER";
    metrics.server_begun(method, "http");
    metrics.server_ended(
        &HttpRequest {
            method,
            status: status.as_u16(),
            scheme: "http",
            ..HttpRequest::default()
        },
        Over {
            duration: Duration::ZERO,
            end: SystemTime::now(),
            span: &SpanContext::NONE,
        },
    );
}

/// The methods that the conventions know.
fn name(method: &Method) -> &'static str {
    method_name(method).unwrap_or("_OTHER")
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
