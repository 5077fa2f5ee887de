//! Threads that serve connections, each with a runtime of its own.
//!
//! A connection stays with one of them, and so does the connection to the upstream that it is served from: nothing of a
//! request crosses over to another thread, which costs more than all that the edge does itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use hyper::{StatusCode, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::{conn::auto, graceful::GracefulShutdown};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::{task::JoinSet, time};

use crate::measured;
use crate::proxy;
use crate::server::{Connection, Edge, Limits, Peer, Service};

/// All workers.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    /// What each says at its end; closed when all have ended.
    ended: mpsc::UnboundedReceiver<Result<(), CutOff>>,
}

/// Requests did not end in time.
#[derive(Debug)]
pub(crate) struct CutOff;

struct Worker {
    /// Closed to have it drain and end.
    given: mpsc::UnboundedSender<Given>,
    open: Arc<AtomicUsize>,
}

/// A connection that nobody reads yet.
struct Given {
    stream: std::net::TcpStream,
    addr: SocketAddr,
    counted: Counted,
}

/// One of a worker's open connections.
struct Counted(Arc<AtomicUsize>);

impl Workers {
    /// Starts one for each processor.
    ///
    /// # Errors
    /// There is no thread for one of them.
    pub(crate) fn start(service: &Service) -> io::Result<Self> {
        let (end, ended) = mpsc::unbounded_channel();
        let count = thread::available_parallelism().map_or(1, usize::from);
        let workers = (0..count).map(|_| {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let edge = Arc::new(Edge::new(service));
            let (given, mut gifts) = mpsc::unbounded_channel();
            let end = end.clone();
            thread::Builder::new()
                .name("edge-worker".to_owned())
                .spawn(move || {
                    let drained = runtime.block_on(work(edge, &mut gifts));
                    // A name that is being resolved is not waited for.
                    runtime.shutdown_background();
                    // Nobody hears it if the edge is gone.
                    let _ = end.send(drained);
                })?;
            Ok(Worker {
                given,
                open: Arc::default(),
            })
        });
        Ok(Self {
            workers: workers.collect::<io::Result<_>>()?,
            ended,
        })
    }

    /// Has the connection served by whoever has the fewest.
    pub(crate) fn give(&mut self, stream: TcpStream, addr: SocketAddr) {
        let open = |worker: &&Worker| worker.open.load(Relaxed);
        let Some(worker) = self.workers.iter().min_by_key(open) else {
            return;
        };
        // Its readiness is another runtime's from here on. What fails is a connection that is gone.
        let Ok(stream) = stream.into_std() else {
            return;
        };
        let counted = Counted::new(&worker.open);
        let _ = worker.given.send(Given {
            stream,
            addr,
            counted,
        });
    }

    /// Waits until all requests are answered and all connections closed, for as long as the limits allow.
    ///
    /// # Errors
    /// Requests did not end in time, and were cut off.
    pub(crate) async fn drained(mut self) -> Result<(), CutOff> {
        self.workers.clear();
        let mut drained = Ok(());
        while let Some(one) = self.ended.recv().await {
            drained = drained.and(one);
        }
        drained
    }
}

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Serves what is given until there is nobody who gives.
async fn work(edge: Arc<Edge>, given: &mut mpsc::UnboundedReceiver<Given>) -> Result<(), CutOff> {
    let http = http(&edge.limits);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    connections.spawn(edge.log.clone().pass_on());
    loop {
        let Given {
            stream,
            addr,
            counted,
        } = tokio::select! {
            Some(_) = connections.join_next() => continue,
            given = given.recv() => match given {
                Some(given) => given,
                None => break,
            },
        };
        let Ok(stream) = TcpStream::from_std(stream) else {
            continue;
        };
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
            let _counted = counted;
            tokio::select! {
                biased;
                served = served => if let Err(err) = served {
                    note(&connection, &*err);
                },
                () = silence(&connection) => {}
            }
        });
    }
    let drained = time::timeout(edge.limits.drain, graceful.shutdown()).await;
    connections.shutdown().await;
    drained.map_err(|_| CutOff)
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
    // Whoever reads the line finds the request counted.
    measured::refused_head(&connection.edge.metrics, status);
    log.refused_head(addr, status, &text);
}
