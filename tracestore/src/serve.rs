//! Accepts connections and answers them until told to stop.

mod patience;
mod rest;
mod unread;

use std::{collections::HashMap, future::pending, io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulConnection, GracefulShutdown},
    },
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::{Id, JoinSet},
    time::{Instant, sleep, timeout_at},
};

use self::{
    patience::{Watch, Watched},
    rest::{Handover, Room, Shortened},
    unread::Unread,
};
pub(crate) use self::{rest::Rest, unread::Takes};
use crate::output::Limited;

/// Connections of one port at once. One more waits for one of them to end, and those after it for that one.
const MAX_CONNECTIONS: usize = 500;

/// The most that the head of a request may take, in bytes, without what of a long address goes beside it.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// HTTP/1.1 and cleartext HTTP/2, for the HTTP port.
pub(crate) fn http() -> Builder<TokioExecutor> {
    let mut builder = with_http2();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
}

/// Cleartext HTTP/2 alone, for the gRPC port.
pub(crate) fn grpc() -> Builder<TokioExecutor> {
    with_http2().http2_only()
}

fn with_http2() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        // A peer that vanished is not waited for for ever.
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_concurrent_streams(100);
    builder
}

/// When to stop: by then at the latest, once it is there.
pub(crate) type Deadline = watch::Receiver<Option<Instant>>;

/// How long nothing must have been asked on a connection before it makes room for another.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// How long a connection that makes room may take for it: HTTP/2 tells the client first.
const GOING_AWAY: Duration = Duration::from_secs(5);

/// Serves until there is a deadline, then lets requests in flight finish until then. No error of a
/// client, and none of `accept`, ends it.
///
/// Where there are as many connections as there may be, the next one waits, and takes the place of that which was idle for
/// longest.
pub(crate) async fn serve(
    listener: TcpListener,
    protocol: Builder<TokioExecutor>,
    app: Router,
    deadline: Deadline,
) {
    let mut stopping = pin!(set(deadline.clone()));
    let mut connections = Connections {
        protocol,
        app,
        deadline,
        unread: Unread::new(),
        room: Room::new(),
        open: HashMap::new(),
        tasks: JoinSet::new(),
    };
    let failures = Limited::new();
    let mut waiting: Option<TcpStream> = None;
    let deadline = loop {
        if connections.tasks.len() < MAX_CONNECTIONS
            && let Some(stream) = waiting.take()
        {
            connections.spawn(stream);
        }
        if waiting.is_some() {
            connections.make_room();
        }
        let accepted = tokio::select! {
            accepted = listener.accept(), if waiting.is_none() => accepted,
            Some(ended) = connections.tasks.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                connections.open.remove(&id);
                continue;
            }
            // Some connection may be idle by then.
            () = sleep(MIN_IDLE), if waiting.is_some() => continue,
            deadline = &mut stopping => break deadline,
        };
        match accepted {
            Ok((stream, _)) => {
                if connections.tasks.len() == MAX_CONNECTIONS {
                    failures.line(&match listener.local_addr() {
                        Ok(address) => {
                            format!("{MAX_CONNECTIONS} connections to {address}: more have to wait")
                        }
                        Err(_) => format!("{MAX_CONNECTIONS} connections: more have to wait"),
                    });
                }
                waiting = Some(stream);
            }
            // The client has already gone.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                failures.line(&format!("accepting a connection: {error}"));
                // Most likely out of file descriptors: a retry at once would spin.
                sleep(Duration::from_millis(200)).await;
            }
        }
    };
    drop(listener);
    // What is still open after that is cut when the tasks are dropped.
    let all = async { while connections.tasks.join_next().await.is_some() {} };
    let _ = timeout_at(deadline, all).await;
}

struct Connections {
    protocol: Builder<TokioExecutor>,
    app: Router,
    deadline: Deadline,
    unread: Unread,
    room: Room,
    /// By task.
    open: HashMap<Id, Open>,
    tasks: JoinSet<()>,
}

struct Open {
    watch: Watch,
    /// Notified when the connection is to end.
    make_room: Arc<Notify>,
    is_ending: bool,
}

impl Connections {
    fn spawn(&mut self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let watch = Watch::new();
        let make_room = Arc::new(Notify::new());
        let answers = TowerToHyperService::new(self.app.clone());
        let (requests, unread) = (watch.clone(), self.unread.clone());
        let handover = Handover::default();
        let rests = handover.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let answering = requests.answering();
            if let Some(rest) = rests.next() {
                request.extensions_mut().insert(rest);
            }
            let answer = answers.call(request);
            let (requests, unread) = (requests.clone(), unread.clone());
            async move {
                let answer = answer.await.map(|answer| unread.hold(answer, &requests));
                drop(answering);
                answer
            }
        });
        let stream = Watched {
            stream,
            watch: watch.clone(),
        };
        let stream = TokioIo::new(Shortened::new(stream, self.room.clone(), handover));
        let connection = self.protocol.serve_connection(stream, service).into_owned();
        let ends = ended(
            connection,
            watch.clone(),
            Arc::clone(&make_room),
            self.deadline.clone(),
        );
        let open = Open {
            watch,
            make_room,
            is_ending: false,
        };
        self.open.insert(self.tasks.spawn(ends).id(), open);
    }

    /// Lets the connection that was idle for longest end, unless one is ending.
    fn make_room(&mut self) {
        if self.open.values().any(|open| open.is_ending) {
            return;
        }
        let idle = self.open.values_mut().filter_map(|open| {
            let since = open.watch.idle_since()?;
            (since.elapsed() >= MIN_IDLE).then_some((since, open))
        });
        if let Some((_, open)) = idle.min_by_key(|(since, _)| *since) {
            open.is_ending = true;
            open.make_room.notify_one();
        }
    }
}

/// Waits for the end of a connection: its own, or that of its client's time, or one that is asked for.
async fn ended(
    connection: impl GracefulConnection,
    watch: Watch,
    make_room: Arc<Notify>,
    deadline: Deadline,
) {
    let graceful = GracefulShutdown::new();
    let mut connection = pin!(graceful.watch(connection));
    let mut overdue = pin!(async {
        tokio::select! {
            () = watch.expired() => {}
            // hyper tells HTTP/1 from HTTP/2 first, and would wait for that.
            () = unused(set(deadline.clone()), &watch) => {}
        }
    });
    let is_evicted = tokio::select! {
        // A connection that breaks is the client's business.
        _ = connection.as_mut() => return,
        () = overdue.as_mut() => return,
        () = make_room.notified() => true,
        _ = set(deadline.clone()) => false,
    };
    let mut too_long = pin!(async {
        match is_evicted {
            true => sleep(GOING_AWAY).await,
            // It is cut from outside.
            false => pending().await,
        }
    });
    tokio::select! {
        _ = connection => {}
        // It asks the connection to end, and does not see that it did before that is dropped.
        () = graceful.shutdown() => {}
        () = overdue => {}
        () = too_long.as_mut() => {}
    }
}

/// Ends with `stopping` if nothing has come by then.
async fn unused(stopping: impl Future<Output = Instant>, watch: &Watch) {
    stopping.await;
    if watch.has_begun() {
        pending().await
    }
}

/// Nobody who could set one is as good as one that is over.
async fn set(mut deadline: Deadline) -> Instant {
    match deadline.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        Err(_) => Instant::now(),
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}
