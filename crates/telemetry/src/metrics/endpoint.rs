//! `/metrics` on a port of its own, for a program that has no other port, or none that only its operator reaches.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time};

use crate::metrics;

/// Most connections at once. Scrapers are few.
const CONNECTIONS: usize = 32;

/// For the head of a request, and between two of them.
const HEAD: Duration = Duration::from_secs(30);

/// How long a connection is used, and how long its last response may take: whoever does not read it is in the way of others.
const LIFE: Duration = Duration::from_secs(300);
const LAST: Duration = Duration::from_secs(10);

/// How long accepting pauses when the process is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers `GET /metrics` with what the registry has, over HTTP/1.1, until `stop` ends. Connections are cut then.
pub async fn serve(listener: TcpListener, registry: Registry, stop: impl Future<Output = ()>) {
    let registry = Arc::new(registry);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let permit = room.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (stream, permit) = tokio::select! {
            () = &mut stop => return,
            Some(_) = connections.join_next() => continue,
            (accepted, permit) = accepted => match accepted {
                Ok((stream, _)) => (stream, permit),
                Err(_) => {
                    time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let registry = registry.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let response = answer(&registry, &request);
            async { Ok::<_, Infallible>(response) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            let _permit = permit;
            let mut served = pin!(served);
            // A connection that breaks is the scraper's business.
            if time::timeout(LIFE, &mut served).await.is_err() {
                served.as_mut().graceful_shutdown();
                let _ = time::timeout(LAST, served).await;
            }
        });
    }
}

fn answer<B>(registry: &Registry, request: &Request<B>) -> Response<Body> {
    let text = |status, text: String| {
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return text(StatusCode::NOT_FOUND, "only /metrics is here\n".to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "/metrics is for GET\n".to_owned(),
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match metrics::text(registry) {
        Ok(metrics) => {
            let mut response = text(StatusCode::OK, metrics);
            let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(err) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{err}\n")),
    }
}
