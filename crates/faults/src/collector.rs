//! An OTLP collector that answers as it is told, and remembers all that arrived.
//!
//! Takes spans and log records by OTLP/gRPC and OTLP/HTTP with protobuf on one port, with and without gzip.

mod reply;

use std::{
    collections::HashMap,
    fmt,
    io::Read,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::any_value::Value,
    logs::v1::LogRecord,
    trace::v1::Span,
};
use prost::Message;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use self::reply::{BrokenOff, Reply, reply};
use crate::background::Background;

const PATIENCE: Duration = Duration::from_secs(60);
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// What a collector says to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// All of it was taken.
    Accept,
    /// It was taken but for so many spans, for this reason.
    Partial(i64, String),
    /// It was not taken.
    Fail(Failure),
    /// It was taken, the answer begins, and the stream or connection breaks off.
    BreakOff,
    /// Nothing, ever.
    Silence,
}

/// Why a request was not taken, for either protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// gRPC's code.
    pub grpc: u8,
    /// HTTP's status.
    pub http: u16,
    /// In the words of the collector.
    pub message: String,
    /// When to come again: `RetryInfo`, or `Retry-After` in whole seconds.
    pub pause: Option<Duration>,
}

impl Failure {
    /// What passes by itself: UNAVAILABLE, 503.
    pub fn unavailable() -> Self {
        Self::new(14, 503, "not now")
    }

    /// Too much: RESOURCE_EXHAUSTED, 429.
    pub fn throttled(pause: Option<Duration>) -> Self {
        let failure = Self::new(8, 429, "too much");
        Self { pause, ..failure }
    }

    /// What cannot be mended: INVALID_ARGUMENT, 400.
    pub fn invalid() -> Self {
        Self::new(3, 400, "this is not for me")
    }

    /// Any other.
    pub fn new(grpc: u8, http: u16, message: &str) -> Self {
        Self {
            grpc,
            http,
            message: message.to_owned(),
            pause: None,
        }
    }
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Export {
    /// When all of it was there.
    pub at: Instant,
    /// The path that it was sent to.
    pub path: String,
    /// Its headers, or metadata.
    pub headers: HeaderMap,
    /// Whether it was compressed.
    pub compressed: bool,
    /// What it said; nothing if it is of log records.
    pub request: ExportTraceServiceRequest,
    /// What it said of log records.
    pub logs: ExportLogsServiceRequest,
    /// What was answered.
    pub answer: Answer,
}

impl Export {
    /// Its spans, of whichever resource and scope.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        let scopes = self
            .request
            .resource_spans
            .iter()
            .flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| &scope.spans)
    }

    /// Its log records, of whichever resource and scope.
    pub fn log_records(&self) -> impl Iterator<Item = &LogRecord> {
        let scopes = self.logs.resource_logs.iter().flat_map(|of| &of.scope_logs);
        scopes.flat_map(|scope| &scope.log_records)
    }

    /// The attribute `test_id` of its spans.
    pub fn test_ids(&self) -> impl Iterator<Item = i64> {
        self.spans().filter_map(|span| {
            let id = span
                .attributes
                .iter()
                .find(|found| found.key == "test_id")?;
            match id.value.as_ref()?.value {
                Some(Value::IntValue(id)) => Some(id),
                _ => None,
            }
        })
    }

    /// Whether its spans are the collector's now.
    pub fn taken(&self) -> bool {
        matches!(
            self.answer,
            Answer::Accept | Answer::Partial(..) | Answer::BreakOff
        )
    }
}

/// Listens on a free port of 127.0.0.1 until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    _background: Background,
}

type Decide = Box<dyn FnMut(&Export) -> Answer + Send>;

struct Shared {
    decide: Mutex<Decide>,
    exports: Mutex<Vec<Export>>,
    arrived: Condvar,
}

impl Collector {
    /// `decide` is asked once for each request. Its `answer` is not decided then.
    pub fn start(decide: impl FnMut(&Export) -> Answer + Send + 'static) -> Self {
        Self::start_with(None, decide)
    }

    /// Over TLS, if it is given.
    pub fn start_with(
        tls: Option<Arc<ServerConfig>>,
        decide: impl FnMut(&Export) -> Answer + Send + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            decide: Mutex::new(Box::new(decide)),
            exports: Mutex::default(),
            arrived: Condvar::new(),
        });
        let over_tls = tls.is_some();
        let background = Background::start("collector", {
            let shared = shared.clone();
            move || serve(listener, tls, shared)
        });
        Self {
            address,
            tls: over_tls,
            shared,
            _background: background,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For OTLP/gRPC.
    pub fn grpc_endpoint(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// For OTLP/HTTP.
    pub fn http_endpoint(&self) -> String {
        self.grpc_endpoint() + "/v1/traces"
    }

    /// For log records by OTLP/HTTP.
    pub fn http_logs_endpoint(&self) -> String {
        self.grpc_endpoint() + "/v1/logs"
    }

    /// All that arrived, in that order.
    pub fn exports(&self) -> Vec<Export> {
        self.shared.exports().clone()
    }

    /// Waits until what arrived is as it should be.
    ///
    /// # Panics
    /// If it is not within a minute, which is long enough for any machine.
    #[track_caller]
    pub fn wait_until(&self, enough: impl FnMut(&[Export]) -> bool) {
        self.wait_within(PATIENCE, enough);
    }

    #[track_caller]
    fn wait_within(&self, limit: Duration, mut enough: impl FnMut(&[Export]) -> bool) {
        let exports = self.shared.exports();
        let arrived = &self.shared.arrived;
        let waited = arrived.wait_timeout_while(exports, limit, |exports| !enough(exports));
        let (exports, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        let count = exports.len();
        drop(exports);
        assert!(
            !waited.timed_out(),
            "{count} requests came within {limit:?}, and not what was waited for"
        );
    }

    /// How often each `test_id` was taken.
    pub fn taken(&self) -> HashMap<i64, u32> {
        let mut taken = HashMap::new();
        for export in self.shared.exports().iter().filter(|export| export.taken()) {
            for id in export.test_ids() {
                *taken.entry(id).or_default() += 1;
            }
        }
        taken
    }
}

impl Shared {
    fn exports(&self) -> MutexGuard<'_, Vec<Export>> {
        self.exports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

async fn serve(
    listener: std::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
) {
    listener.set_nonblocking(true).expect("a socket of ours");
    let listener = TcpListener::from_std(listener).expect("a listening socket");
    let tls = tls.map(TlsAcceptor::from);
    loop {
        // A connection that was given up before it was taken is no concern of a test.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (tls, shared) = (tls.clone(), shared.clone());
        tokio::spawn(async move {
            match tls {
                // A client that does not like what it sees leaves, which its test looks at.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, shared).await;
                    }
                }
                None => connection(stream, shared).await,
            }
        });
    }
}

async fn connection(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, shared.clone()));
    // Broken connections are what this is for.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await;
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Reply, BrokenOff> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let grpc = path == TRACES || path == LOGS;
    let of_logs = path == LOGS || path == "/v1/logs";
    // The client is gone, so whatever is said is not heard.
    let body = body.collect().await.map_err(|_| BrokenOff)?.to_bytes();
    let (compressed, message) = if grpc {
        (body[0] == 1, body.slice(5..))
    } else {
        let encoding = head.headers.get(header::CONTENT_ENCODING);
        (encoding.is_some_and(|encoding| encoding == "gzip"), body)
    };
    let message = if compressed {
        let mut plain = Vec::new();
        let read = GzDecoder::new(&*message).read_to_end(&mut plain);
        read.expect("what is said to be gzip is");
        plain.into()
    } else {
        message
    };
    let (traces, logs) = if of_logs {
        (Bytes::new(), message)
    } else {
        (message, Bytes::new())
    };
    let mut export = Export {
        at: Instant::now(),
        path: head.uri.path().to_owned(),
        headers: head.headers,
        compressed,
        request: ExportTraceServiceRequest::decode(traces).expect("an export request"),
        logs: ExportLogsServiceRequest::decode(logs).expect("an export request"),
        answer: Answer::Accept,
    };
    export.answer = {
        let mut decide = shared.decide.lock().unwrap_or_else(PoisonError::into_inner);
        decide(&export)
    };
    let answer = export.answer.clone();
    shared.exports().push(export);
    shared.arrived.notify_all();
    if answer == Answer::Silence {
        std::future::pending().await
    }
    Ok(reply(answer, grpc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "0 requests came within 1ms, and not what was waited for")]
    fn what_never_comes_is_not_waited_for_for_ever() {
        let collector = Collector::start(|_| Answer::Accept);
        collector.wait_within(Duration::from_millis(1), |exports| !exports.is_empty());
    }

    #[test]
    fn what_is_there_is_not_waited_for() {
        let collector = Collector::start(|_| Answer::Accept);
        collector.wait_within(Duration::ZERO, <[Export]>::is_empty);
    }
}
