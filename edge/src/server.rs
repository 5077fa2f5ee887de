//! Accepts connections, and lets the open ones finish when it is told to stop.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{StatusCode, service::service_fn};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::{conn::auto, graceful::GracefulShutdown};
use telemetry::{Propagator, Tracer, metrics::Metrics};
use tokio::net::{TcpListener, TcpStream};
use tokio::{task::JoinSet, time};

use crate::access_log::AccessLog;
use crate::body::RequestBody;
use crate::proxy;
use crate::route::Routes;
use crate::say;

/// How long accepting pauses when the process is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Idle connections to an upstream are given up before a service would close them.
const IDLE: Duration = Duration::from_secs(5);

/// What a proxy does not wait for, and does not read.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest path and query, in bytes.
    pub uri_bytes: usize,
    /// Most header fields.
    pub headers: usize,
    /// Largest sum of header fields, in bytes.
    pub header_bytes: usize,
    /// Largest request body.
    pub body_bytes: u64,
    /// For the head of a request, from its first byte or from the end of the one before.
    pub head_time: Duration,
    /// For the whole body of a request.
    pub body_time: Duration,
    /// For a connection to an upstream.
    pub connect: Duration,
    /// For the head of an upstream's response.
    pub upstream_head: Duration,
    /// For the requests in flight when the edge is told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uri_bytes: 8 << 10,
            headers: 100,
            header_bytes: 64 << 10,
            body_bytes: 10 << 20,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            connect: Duration::from_secs(3),
            upstream_head: Duration::from_secs(20),
            drain: Duration::from_secs(3),
        }
    }
}

/// What a running edge works with.
#[derive(Debug)]
pub struct Service {
    /// The upstream of every host name.
    pub routes: Routes,
    /// Reads and writes the trace headers. One for baggage would rewrite what otherwise passes unchanged.
    pub propagator: Propagator,
    /// Where spans are made.
    pub tracer: Tracer,
    /// Where a line per request goes.
    pub log: AccessLog,
    /// Where requests are measured.
    pub metrics: Metrics,
    /// `Limits::default()`, unless a test is in a hurry.
    pub limits: Limits,
}

pub(crate) struct Edge {
    pub(crate) routes: Routes,
    pub(crate) propagator: Propagator,
    pub(crate) tracer: Tracer,
    pub(crate) log: AccessLog,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) client: Client<HttpConnector, RequestBody>,
    /// The name of this machine.
    pub(crate) hostname: HeaderValue,
}

/// One connection of a client.
pub(crate) struct Connection {
    pub(crate) edge: Arc<Edge>,
    pub(crate) peer: Peer,
    /// Whether there was a request.
    pub(crate) asked: AtomicBool,
}

/// Who is at the other end of a connection, in the forms that every request needs.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) ip: Arc<str>,
    pub(crate) ip_header: HeaderValue,
}

/// Serves until `shutdown` ends; then closes the listeners, and the connections once their requests are answered.
pub async fn serve(
    listeners: Vec<TcpListener>,
    service: Service,
    shutdown: impl Future<Output = ()>,
) {
    let edge = Arc::new(Edge::new(service));
    let http = http(&edge.limits);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listeners) => accepted,
        };
        let (stream, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(err) if is_of_the_connection(&err) => continue,
            Err(err) => {
                if !failing {
                    say!("accepting connections: {err}");
                }
                failing = true;
                tokio::select! {
                    () = &mut shutdown => break,
                    () = time::sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        failing = false;
        let connection = Arc::new(Connection {
            edge: edge.clone(),
            peer: Peer::new(addr),
            asked: AtomicBool::new(false),
        });
        let served = {
            let connection = connection.clone();
            let service = service_fn(move |req| proxy::answer(connection.clone(), req));
            let _ = stream.set_nodelay(true);
            let served = http.serve_connection(TokioIo::new(stream), service);
            graceful.watch(served.into_owned())
        };
        connections.spawn(async move {
            tokio::select! {
                biased;
                served = served => if let Err(err) = served {
                    note(&connection, &*err);
                },
                () = silence(&connection) => {}
            }
        });
    }
    drop(listeners);
    let drain = edge.limits.drain;
    if time::timeout(drain, graceful.shutdown()).await.is_err() {
        say!("some requests did not end within {drain:?} and are cut off");
    }
    connections.shutdown().await;
}

impl Edge {
    fn new(service: Service) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(service.limits.connect));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let hostname = rustix::system::uname();
        let hostname = HeaderValue::from_bytes(hostname.nodename().to_bytes());
        Self {
            routes: service.routes,
            propagator: service.propagator,
            tracer: service.tracer,
            log: service.log,
            metrics: service.metrics,
            limits: service.limits,
            client,
            hostname: hostname.unwrap_or(HeaderValue::from_static("edge")),
        }
    }
}

impl Peer {
    fn new(addr: SocketAddr) -> Self {
        // Over a socket for both families, IPv4 clients come as ::ffff:127.0.0.1.
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let ip = addr.ip().to_string();
        Self {
            addr,
            ip_header: HeaderValue::from_str(&ip).expect("an address is visible ASCII"),
            ip: ip.into(),
        }
    }
}

/// HTTP/1.1 and, with prior knowledge, HTTP/2, both with the limits that hyper can enforce.
fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        // A client may say that it has no more to ask, and still wait for its answer.
        .half_close(true)
        // More than the headers may have, so that a long address is told from long headers.
        .max_buf_size(limits.header_bytes * 2);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(100)
        // A client that resets its streams faster than they are served is sent away.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .keep_alive_interval(limits.head_time)
        .keep_alive_timeout(limits.head_time);
    http
}

async fn accept(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|cx| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Whether only the connection that was to be accepted is lost.
fn is_of_the_connection(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

/// Ends if nothing was asked in time: hyper's own limit begins only when it knows the version of HTTP.
async fn silence(connection: &Connection) {
    time::sleep(connection.edge.limits.head_time).await;
    if connection.asked.load(Relaxed) {
        std::future::pending().await
    }
}

/// Logs a request whose head hyper refused. One that never came, on a connection that was idle too long, is none.
fn note(connection: &Connection, err: &(dyn std::error::Error + 'static)) {
    let Some(err) = err.downcast_ref::<hyper::Error>() else {
        return;
    };
    let text = err.to_string();
    let status = if err.is_parse_too_large() && text.contains("URI") {
        StatusCode::URI_TOO_LONG
    } else if err.is_parse_too_large() {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else if err.is_parse() {
        StatusCode::BAD_REQUEST
    } else {
        return;
    };
    let (log, addr) = (&connection.edge.log, connection.peer.addr);
    log.refused_head(addr, status, &text);
}
