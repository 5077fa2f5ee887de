//! Accepts connections and answers them until told to stop.

use std::{io, pin::pin, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::output::Limited;

/// How long requests in flight may take once the server stops.
const DRAIN: Duration = Duration::from_secs(3);

/// How long the first byte of a connection, and the head of each request, may take to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The most that the head of a request may take, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// HTTP/1.1 and cleartext HTTP/2, for the HTTP port.
pub(crate) fn http() -> Builder<TokioExecutor> {
    let mut builder = with_http2();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
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
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_concurrent_streams(100);
    builder
}

/// Serves until the sender of `stopped` is dropped, then lets requests in flight finish for up to
/// 3 seconds. No error of a client, and none of `accept`, ends it.
pub(crate) async fn serve(
    listener: TcpListener,
    protocol: Builder<TokioExecutor>,
    app: Router,
    stopped: watch::Receiver<()>,
) {
    let mut stopping = pin!(dropped(stopped.clone()));
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    let failures = Limited::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut stopping => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let (protocol, app) = (protocol.clone(), app.clone());
                let (watcher, stopping) = (graceful.watcher(), dropped(stopped.clone()));
                connections.spawn(async move {
                    // Telling HTTP/1 from HTTP/2 takes bytes, and hyper waits for them for ever.
                    let mut first = [0];
                    let spoken = tokio::select! {
                        spoken = timeout(HEADER_TIMEOUT, stream.peek(&mut first)) => spoken.is_ok(),
                        () = stopping => false,
                    };
                    if spoken {
                        let service = TowerToHyperService::new(app);
                        let connection = protocol.serve_connection(TokioIo::new(stream), service);
                        // A connection that breaks is the client's business.
                        let _ = watcher.watch(connection.into_owned()).await;
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
    }
    drop(listener);
    // What is still open after that is cut when the tasks are dropped.
    let _ = timeout(DRAIN, graceful.shutdown()).await;
}

async fn dropped(mut sender: watch::Receiver<()>) {
    while sender.changed().await.is_ok() {}
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}
