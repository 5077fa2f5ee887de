//! One JSON line per request, written when its response has ended or was cut.

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri, Version};
use jiff::Timestamp;
use opentelemetry::trace::SpanContext;
use serde::Serialize;

use crate::route::Upstream;

/// nginx's status for a request that got no answer because its client left.
const CLIENT_CLOSED_REQUEST: u16 = 499;

const INFO: &str = "INFO";
const WARN: &str = "WARN";
const ERROR: &str = "ERROR";

/// Where lines go.
#[derive(Clone)]
pub struct AccessLog(Arc<Lines<WriteLine>>);

type WriteLine = dyn Fn(&[u8]) + Send + Sync;

struct Lines<W: ?Sized> {
    /// `service.name`, of which each line is.
    service: String,
    write: W,
}

impl AccessLog {
    /// Hands every line, with its line feed, to `write` in one call. `service` is the `service.name` of all.
    pub fn new(service: impl Into<String>, write: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        let service = service.into();
        Self(Arc::new(Lines { service, write }))
    }

    /// Writes to stdout; a line that cannot be written is lost, and the edge goes on.
    pub fn stdout(service: impl Into<String>) -> Self {
        Self::new(service, |line| {
            let _ = io::stdout().write_all(line);
        })
    }

    /// Writes the line of a request whose head hyper refused by itself, so that nothing else is known of it.
    pub(crate) fn refused_head(&self, client: SocketAddr, status: StatusCode, error: &str) {
        self.write(&Line {
            time: format_args!("{:.3}", Timestamp::now()),
            severity: WARN,
            service: &self.0.service,
            method: None,
            host: None,
            path: None,
            status: status.as_u16(),
            duration_ms: 0.0,
            request_bytes: 0,
            response_bytes: 0,
            upstream: None,
            client,
            trace_id: None,
            span_id: None,
            error: Some(error),
        });
    }

    fn write(&self, line: &Line<'_>) {
        let mut text = Vec::with_capacity(512);
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
            (self.0.write)(&text);
        }
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
    }
}

/// What the line of one request will tell.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) started: Instant,
    time: Timestamp,
    pub(crate) method: Method,
    pub(crate) version: Version,
    host: Option<HeaderValue>,
    uri: Uri,
    client: SocketAddr,
    pub(crate) upstream: Option<Arc<Upstream>>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) response_bytes: u64,
    /// What went wrong; the first to know says it.
    pub(crate) error: Option<&'static str>,
}

impl Entry {
    pub(crate) fn new<B>(req: &Request<B>, client: SocketAddr) -> Self {
        Self {
            started: Instant::now(),
            time: Timestamp::now(),
            method: req.method().clone(),
            version: req.version(),
            host: req.headers().get(HOST).cloned(),
            uri: req.uri().clone(),
            client,
            upstream: None,
            status: None,
            response_bytes: 0,
            error: None,
        }
    }

    /// Writes the line. `span` is the server span of the request, if it was traced.
    pub(crate) fn write(&self, log: &AccessLog, span: Option<&SpanContext>, request_bytes: u64) {
        let host = match (&self.host, self.uri.authority()) {
            (Some(host), _) => Some(String::from_utf8_lossy(host.as_bytes())),
            (None, authority) => authority.map(|authority| authority.as_str().into()),
        };
        let severity = match (self.status, self.error) {
            (Some(status), _) if status.is_server_error() => ERROR,
            // Refused, cut by the upstream, or left by the client.
            (_, Some(_)) => WARN,
            _ => INFO,
        };
        log.write(&Line {
            time: format_args!("{:.3}", self.time),
            severity,
            service: &log.0.service,
            method: Some(self.method.as_str()),
            host: host.as_deref(),
            path: Some(self.uri.path()),
            status: self
                .status
                .map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16()),
            duration_ms: (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
            request_bytes,
            response_bytes: self.response_bytes,
            upstream: self.upstream.as_ref().map(|to| to.authority.as_str()),
            client: self.client,
            trace_id: span.map(|span| span.trace_id().to_string()),
            span_id: span.map(|span| span.span_id().to_string()),
            error: self.error,
        });
    }
}

/// Field by field what a line says; absent fields are left out.
#[derive(Serialize)]
struct Line<'l> {
    /// Start of the request, RFC 3339 in UTC.
    time: fmt::Arguments<'l>,
    severity: &'static str,
    #[serde(rename = "service.name")]
    service: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'l str>,
    /// Without the query, which may hold secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'l str>,
    status: u16,
    duration_ms: f64,
    request_bytes: u64,
    response_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'l str>,
    client: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'l str>,
}
