//! Accepts connections and answers them until told to stop.

mod patience;

use std::{future::pending, io, pin::pin, time::Duration};

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use self::patience::{Watch, Watched};
use crate::output::Limited;

/// Connections of one port at once. More wait until one of them ends.
const MAX_CONNECTIONS: usize = 500;

/// The most that the head of a request may take, in bytes.
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

/// Serves until there is a deadline, then lets requests in flight finish until then. No error of a
/// client, and none of `accept`, ends it.
pub(crate) async fn serve(
    listener: TcpListener,
    protocol: Builder<TokioExecutor>,
    app: Router,
    deadline: Deadline,
) {
    let mut stopping = pin!(set(deadline.clone()));
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    let failures = Limited::new();
    let deadline = loop {
        let is_full = connections.len() >= MAX_CONNECTIONS;
        let accepted = tokio::select! {
            accepted = listener.accept(), if !is_full => accepted,
            Some(_) = connections.join_next() => continue,
            deadline = &mut stopping => break deadline,
        };
        match accepted {
            Ok((stream, _)) => {
                if connections.len() + 1 == MAX_CONNECTIONS {
                    failures.line(&match listener.local_addr() {
                        Ok(address) => {
                            format!("{MAX_CONNECTIONS} connections to {address}: more have to wait")
                        }
                        Err(_) => format!("{MAX_CONNECTIONS} connections: more have to wait"),
                    });
                }
                let _ = stream.set_nodelay(true);
                let (protocol, app) = (protocol.clone(), app.clone());
                let (watcher, stopping) = (graceful.watcher(), set(deadline.clone()));
                connections.spawn(async move {
                    let watch = Watch::new();
                    let answers = TowerToHyperService::new(app);
                    let requests = watch.clone();
                    let service = service_fn(move |request| {
                        let answering = requests.answering();
                        let answer = answers.call(request);
                        async move {
                            let _answering = answering;
                            answer.await
                        }
                    });
                    let stream = TokioIo::new(Watched {
                        stream,
                        watch: watch.clone(),
                    });
                    let connection = protocol.serve_connection(stream, service);
                    // A connection that breaks is the client's business.
                    tokio::select! {
                        _ = watcher.watch(connection.into_owned()) => {}
                        () = watch.expired() => {}
                        // hyper tells HTTP/1 from HTTP/2 first, and would wait for that.
                        () = unused(stopping, &watch) => {}
                    }
                });
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
    let _ = timeout_at(deadline, graceful.shutdown()).await;
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
