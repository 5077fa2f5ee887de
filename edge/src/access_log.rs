//! One JSON line per request, made when its response has ended or was cut.
//!
//! A write for each would cost the edge a twentieth of all its time, and have its workers wait for each other. So a worker
//! gathers lines for a moment, and writes them together.

use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri, Version};
use jiff::Timestamp;
use opentelemetry::trace::SpanContext;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time;

use crate::route::Upstream;

/// nginx's status for a request that got no answer because its client left.
const CLIENT_CLOSED_REQUEST: u16 = 499;

const INFO: &str = "INFO";
const WARN: &str = "WARN";
const ERROR: &str = "ERROR";

/// How long a line for stdout may wait for others.
const PATIENCE: Duration = Duration::from_millis(10);

/// So many bytes do not wait for more.
const ENOUGH: usize = 32 << 10;

/// Where lines go.
#[derive(Clone)]
pub struct AccessLog(Arc<Lines<WriteLines>>);

type WriteLines = dyn Fn(&[u8]) + Send + Sync;

struct Lines<W: ?Sized> {
    /// `service.name`, of which each line is.
    service: String,
    /// How long a line may wait for others; if not at all, there is one in each call.
    patience: Option<Duration>,
    write: W,
}

impl AccessLog {
    /// Hands every line, with its line feed, to `write` in one call. `service` is the `service.name` of all.
    pub fn new(service: impl Into<String>, write: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self::patient(service, None, write)
    }

    /// Writes to stdout, at most 10 ms later; what cannot be written is lost, and the edge goes on.
    ///
    /// Whoever ends the process without waiting for [`serve`](crate::serve) loses the lines of those last 10 ms.
    pub fn stdout(service: impl Into<String>) -> Self {
        Self::patient(service, Some(PATIENCE), |lines| {
            let _ = io::stdout().write_all(lines);
        })
    }

    fn patient(
        service: impl Into<String>,
        patience: Option<Duration>,
        write: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Lines {
            service: service.into(),
            patience,
            write,
        }))
    }

    /// For the lines of one worker.
    pub(crate) fn gather(&self) -> Gathering {
        Gathering(Arc::new(Gathered {
            log: self.clone(),
            lines: Mutex::default(),
            some: Notify::new(),
        }))
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
    }
}

/// Lines of one worker on their way to where they go.
#[derive(Clone, Debug)]
pub(crate) struct Gathering(Arc<Gathered>);

#[derive(Debug)]
struct Gathered {
    log: AccessLog,
    /// Whole ones. Only one thread adds to them, and writes them.
    lines: Mutex<Vec<u8>>,
    /// There are some since the last were written.
    some: Notify,
}

impl Gathering {
    /// Writes lines that waited long enough, for as long as it is polled. What is left then is written when nobody can add
    /// to it any more.
    pub(crate) async fn pass_on(self) {
        let Some(patience) = self.0.log.0.patience else {
            return;
        };
        loop {
            self.0.some.notified().await;
            time::sleep(patience).await;
            self.0.write();
        }
    }

    /// Writes the line of a request whose head hyper refused by itself, so that nothing else is known of it.
    pub(crate) fn refused_head(&self, client: SocketAddr, status: StatusCode, error: &str) {
        self.add(&Line {
            time: format_args!("{:.3}", Timestamp::now()),
            severity: WARN,
            service: self.service(),
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

    fn service(&self) -> &str {
        &self.0.log.0.service
    }

    fn add(&self, line: &Line<'_>) {
        let mut lines = self.0.lines();
        let before = lines.len();
        if serde_json::to_writer(&mut *lines, line).is_err() {
            lines.truncate(before);
            return;
        }
        lines.push(b'\n');
        if self.0.log.0.patience.is_none() || lines.len() >= ENOUGH {
            drop(lines);
            self.0.write();
        } else if before == 0 {
            self.0.some.notify_one();
        }
    }
}

impl Gathered {
    fn write(&self) {
        let mut lines = self.lines();
        if !lines.is_empty() {
            (self.log.0.write)(&lines);
            lines.clear();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<u8>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.write();
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
    pub(crate) fn write(&self, log: &Gathering, span: Option<&SpanContext>, request_bytes: u64) {
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
        log.add(&Line {
            time: format_args!("{:.3}", self.time),
            severity,
            service: log.service(),
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use hyper::StatusCode;
    use tokio::time::sleep;

    use super::{AccessLog, ENOUGH, Gathering, PATIENCE};

    /// A log, and how many lines each write had so far.
    fn log(patience: Option<Duration>) -> (Gathering, impl Fn() -> Vec<usize>) {
        let writes = Arc::<Mutex<Vec<usize>>>::default();
        let written = Arc::clone(&writes);
        let log = AccessLog::patient("edge", patience, move |lines| {
            assert_eq!(lines.last(), Some(&b'\n'));
            let count = lines.iter().filter(|byte| **byte == b'\n').count();
            writes.lock().unwrap().push(count);
        });
        (log.gather(), move || written.lock().unwrap().clone())
    }

    fn add(log: &Gathering) {
        let client = "127.0.0.1:1".parse().unwrap();
        log.refused_head(client, StatusCode::BAD_REQUEST, "no HTTP");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_of_a_moment_are_written_together() {
        let (log, written) = log(Some(PATIENCE));
        tokio::spawn(log.clone().pass_on());
        for _ in 0..3 {
            add(&log);
        }
        sleep(PATIENCE / 2).await;
        add(&log);
        assert!(written().is_empty());
        sleep(PATIENCE).await;
        assert_eq!(written(), [4]);
        add(&log);
        sleep(PATIENCE * 2).await;
        assert_eq!(written(), [4, 1]);
    }

    #[tokio::test]
    async fn many_lines_wait_for_no_time() {
        let (log, written) = log(Some(PATIENCE));
        let mut added = 0;
        while written().is_empty() {
            add(&log);
            added += 1;
            assert!(added < ENOUGH);
        }
        assert_eq!(written(), [added]);
    }

    #[tokio::test]
    async fn lines_that_wait_at_the_end_are_written() {
        let (log, written) = log(Some(PATIENCE));
        let clone = log.clone();
        add(&log);
        drop(log);
        assert!(written().is_empty());
        add(&clone);
        drop(clone);
        assert_eq!(written(), [2]);
    }

    #[tokio::test]
    async fn a_log_without_patience_gets_each_line_by_itself() {
        let (log, written) = log(None);
        add(&log);
        add(&log);
        assert_eq!(written(), [1, 1]);
    }
}
