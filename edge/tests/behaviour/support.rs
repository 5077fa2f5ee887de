//! An edge on real sockets, with everything around it in the hands of the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge::{AccessLog, Limits, Routes, Service};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SimpleSpanProcessor, SpanData, SpanExporter};
use prometheus_client::registry::Registry;
use serde_json::Value;
use telemetry::metrics::Metrics;
use telemetry::stop::Readiness;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::{task::JoinHandle, time};

/// The one host that is routed.
pub(crate) const HOST: &str = "a.localhost";

/// Nothing here takes that long, unless it hangs.
pub(crate) const HANG: Duration = Duration::from_secs(10);

/// A limit for tests that wait until it is over.
pub(crate) const SHORT: Duration = Duration::from_millis(150);

/// A running edge.
pub(crate) struct TestEdge {
    pub(crate) addr: SocketAddr,
    metrics: Metrics,
    spans: Spans,
    lines: mpsc::UnboundedReceiver<Vec<u8>>,
    pub(crate) readiness: Readiness,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// What differs between tests.
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) propagators: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            propagators: "jaeger",
        }
    }
}

impl TestEdge {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        Self::start_with(upstream, Setup::default()).await
    }

    pub(crate) async fn start_with(upstream: SocketAddr, setup: Setup) -> Self {
        Self::in_front_of(&[upstream], setup).await
    }

    /// With more than one address of the upstream.
    pub(crate) async fn in_front_of(upstream: &[SocketAddr], setup: Setup) -> Self {
        let upstream = upstream.iter().map(|addr| format!("http://{addr}"));
        let upstream: Vec<_> = upstream.collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let spans = Spans::default();
        let variables =
            |name: &str| (name == "OTEL_PROPAGATORS").then(|| setup.propagators.to_owned());
        let telemetry = telemetry::builder("edge", "")
            .config(telemetry::Config::parse(variables))
            .processor(SimpleSpanProcessor::new(spans.clone()))
            .build()
            .unwrap();
        let metrics = Metrics::new();
        let readiness = Readiness::default();
        let (line, lines) = mpsc::unbounded_channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let service = Service {
            routes: Routes::parse(&format!("{HOST}={}", upstream.join("|"))).unwrap(),
            propagator: telemetry.propagator(),
            tracer: telemetry.tracer("edge"),
            log: AccessLog::new("edge", move |text| {
                let _ = line.send(text.to_owned());
            }),
            metrics: metrics.clone(),
            limits: setup.limits,
            readiness: readiness.clone(),
        };
        let serving = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            edge::serve(vec![listener], service, shutdown)
                .await
                .unwrap();
            telemetry.shutdown().await.unwrap();
        });
        Self {
            addr,
            metrics,
            spans,
            lines,
            readiness,
            stop: Some(stop),
            serving,
        }
    }

    /// Waits for the next line of the access log.
    pub(crate) async fn line(&mut self) -> Value {
        let line = in_time(self.lines.recv()).await.unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(&line).unwrap()
    }

    /// What `/metrics` would show of the requests so far; one is over when its line is written.
    pub(crate) fn measured(&self) -> String {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        telemetry::metrics::text(&registry).unwrap()
    }

    /// Whether nothing was logged that `line` has not told.
    pub(crate) fn nothing_more_logged(&mut self) -> bool {
        self.lines.try_recv().is_err()
    }

    /// The spans so far; those of a request are complete when its line is.
    pub(crate) fn spans(&self) -> Vec<SpanData> {
        self.spans.0.lock().unwrap().clone()
    }

    /// Waits for a request's line, and returns its client and server span.
    pub(crate) async fn pair(&mut self) -> (SpanData, SpanData) {
        self.line().await;
        let mut spans = self.spans.0.lock().unwrap();
        let spans: Vec<SpanData> = spans.drain(..).collect();
        <[SpanData; 2]>::try_from(spans).unwrap().into()
    }

    /// Tells the edge to stop, without waiting for it.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until the edge has stopped.
    pub(crate) async fn stopped(&mut self) {
        in_time(&mut self.serving).await.unwrap();
    }

    /// Sends `request` on a connection of its own, and returns all that comes back until it is closed.
    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.write_all(request.as_ref()).await.unwrap();
        client.shutdown().await.unwrap();
        read_to_end(&mut client).await
    }

    /// As `ask`, for a client that does not say that it has no more to ask.
    pub(crate) async fn ask_and_stay(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        // The edge may have refused before all is written.
        let _ = client.write_all(request.as_ref()).await;
        read_to_end(&mut client).await
    }

    /// Asks for `path` with these header lines, and returns the response's head and body.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> String {
        self.ask(format!(
            "GET {path} HTTP/1.1\r\nhost: {HOST}\r\n{headers}\r\n"
        ))
        .await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// An HTTP/2 client, with prior knowledge.
    pub(crate) async fn http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// A server that does what the test says on every connection.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Upstream {
    /// Answers every request, whose body must have a length, with these bytes; then closes.
    pub(crate) async fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response: Arc<[u8]> = response.into().into();
        let (seen, requests) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (seen, response) = (seen.clone(), response.clone());
                tokio::spawn(async move {
                    let request = read_request(&mut stream).await;
                    let _ = seen.send(request);
                    let _ = stream.write_all(&response).await;
                });
            }
        });
        Self { addr, requests }
    }

    /// Answers with 200 and a short body.
    pub(crate) async fn hello() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n")
            .await
    }

    /// The request that was answered next.
    pub(crate) async fn request(&mut self) -> String {
        in_time(self.requests.recv()).await.unwrap()
    }

    pub(crate) fn was_not_asked(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

/// Accepts connections, which the test then serves itself.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Where nobody listens, nor will, since no other test does at this address.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Reads a request with its body, which may be chunked.
pub(crate) async fn read_request(stream: &mut TcpStream) -> String {
    let head = read_until(stream, "\r\n\r\n").await;
    if head.contains("transfer-encoding: chunked") {
        return head + &read_until(stream, "0\r\n\r\n").await;
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    head + str::from_utf8(&body).unwrap()
}

/// Reads up to and with `end`, or to the end of the stream.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    in_time(async {
        while !read.ends_with(end.as_bytes()) {
            match stream.read_u8().await {
                Ok(byte) => read.push(byte),
                Err(_) => break,
            }
        }
    })
    .await;
    String::from_utf8_lossy(&read).into_owned()
}

/// Reads until the other end closes, one way or the other.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = in_time(stream.read_to_end(&mut read)).await;
    String::from_utf8_lossy(&read).into_owned()
}

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    time::timeout(HANG, future).await.expect("it hangs")
}

/// The status of a response, as a number.
#[track_caller]
pub(crate) fn status(response: &str) -> u16 {
    let status = response.split(' ').nth(1);
    match status.and_then(|status| status.parse().ok()) {
        Some(status) => status,
        None => panic!("not a response: {response:?}"),
    }
}

/// A header of a head; header names are in lower case there.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let head = head.split("\r\n\r\n").next()?;
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Attributes as text, by name.
pub(crate) fn attributes(span: &SpanData) -> BTreeMap<&str, String> {
    let attributes = span.attributes.iter();
    attributes
        .map(|attribute| (attribute.key.as_str(), attribute.value.to_string()))
        .collect()
}

#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// Answers never.
pub(crate) async fn silent_upstream() -> SocketAddr {
    let (listener, addr) = listener().await;
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
        }
    });
    addr
}
