//! Accepts connections and hands them to the workers, until it is told to stop.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use telemetry::{Propagator, Tracer, metrics::Metrics, stop::Readiness};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{self, Instant};

use crate::access_log::{AccessLog, Gathering};
use crate::body::RequestBody;
use crate::connect::Connector;
use crate::route::Routes;
use crate::say;
use crate::worker::Workers;

/// How long accepting pauses when the process is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A failure to accept is worth a line if there was none for so long: while there is little of something, some attempts
/// succeed.
const FAILED_ANEW: Duration = Duration::from_secs(10);

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
#[derive(Clone, Debug)]
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
    /// Ends before the edge stops; from then on `/ready` is 503 and no connection of HTTP/1 is kept for another request.
    pub readiness: Readiness,
}

/// What one worker works with; connections to upstreams are its own.
pub(crate) struct Edge {
    pub(crate) routes: Routes,
    pub(crate) propagator: Propagator,
    pub(crate) tracer: Tracer,
    pub(crate) log: Gathering,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) readiness: Readiness,
    pub(crate) client: Client<Connector, RequestBody>,
    /// Uses each connection once, and asks no other address.
    pub(crate) fresh: Client<Connector, RequestBody>,
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
///
/// # Errors
/// There is no thread to serve with.
pub async fn serve(
    listeners: Vec<TcpListener>,
    service: Service,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let drain = service.limits.drain;
    let mut workers = Workers::start(&service)?;
    let mut shutdown = std::pin::pin!(shutdown);
    let mut failed: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listeners) => accepted,
        };
        match accepted {
            Ok((stream, addr)) => workers.give(stream, addr),
            Err(err) if is_of_the_connection(&err) => {}
            Err(err) => {
                if failed.is_none_or(|failed| failed.elapsed() > FAILED_ANEW) {
                    say!("accepting connections: {err}");
                }
                failed = Some(Instant::now());
                tokio::select! {
                    () = &mut shutdown => break,
                    () = time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listeners);
    if workers.drained().await.is_err() {
        say!("some requests did not end within {drain:?} and are cut off");
    }
    Ok(())
}

impl Edge {
    pub(crate) fn new(service: &Service) -> Self {
        let connector = Connector::new(&service.routes, service.limits.connect);
        let fresh = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector.without_others());
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let hostname = rustix::system::uname();
        let hostname = HeaderValue::from_bytes(hostname.nodename().to_bytes());
        Self {
            routes: service.routes.clone(),
            propagator: service.propagator.clone(),
            tracer: service.tracer.clone(),
            log: service.log.gather(),
            metrics: service.metrics.clone(),
            limits: service.limits.clone(),
            readiness: service.readiness.clone(),
            client,
            fresh,
            hostname: hostname.unwrap_or(HeaderValue::from_static("edge")),
        }
    }
}

impl Peer {
    pub(crate) fn new(addr: SocketAddr) -> Self {
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
