//! A service as it is meant to be: each request traced and measured, whichever service it came from and goes to.
//!
//! `cargo run --release -p telemetry --example books`, beside the lab or a collector, then
//! <http://127.0.0.1:8090/books/1>. `STOCK_URL` names the service that it asks in turn, itself by default.

use std::{
    env,
    error::Error,
    future::{Future, IntoFuture},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::{Request, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use prometheus_client::registry::Registry;
use telemetry::{
    Telemetry, http,
    http::{ClientLayer, ServerLayer},
    metrics::{self, Metrics},
    stop::{Readiness, Stop},
};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt};

/// How long the stock may take to answer, whoever sends requests to learn that this stops, and open requests at the end.
const ANSWER: Duration = Duration::from_secs(2);
const UNREADY: Duration = Duration::from_millis(500);
const DRAIN: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = telemetry::init!()?; // first, so that a bad configuration is logged
    let listener = TcpListener::bind("127.0.0.1:8090").await?;
    let stock = env::var("STOCK_URL").unwrap_or_else(|_| "http://127.0.0.1:8090/stock".to_owned());
    let stop = Stop::on_signals(UNREADY)?; // a second signal ends it at once
    let readiness = stop.readiness();
    let served = serve(listener, stock, &telemetry, readiness, stop.draining()).await;
    let flushed = telemetry.shutdown().await; // even when serving failed: those spans matter most
    served?;
    flushed?;
    Ok(())
}

type Stock = (http::Client<Client<HttpConnector, Empty<Bytes>>>, Arc<str>);

pub(crate) async fn serve(
    listener: TcpListener,
    stock: String,
    telemetry: &Telemetry,
    readiness: Readiness,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let tracer = telemetry.tracer("books");
    let requests = Metrics::new();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let client = ClientLayer::new(tracer.clone())
        .metrics(&requests)
        .layer(client);

    let mut registry = Registry::default();
    requests.register(&mut registry);
    metrics::register_target(&mut registry, telemetry.resource());
    metrics::register_process(&mut registry);
    metrics::register_telemetry(&mut registry, telemetry);

    let app = Router::new()
        .route("/books/{id}", get(book))
        .route("/stock/{id}", get(async || "3"))
        .with_state((client, stock.into()))
        .route("/metrics", get(measurements).with_state(Arc::new(registry)))
        .route("/ready", get(ready).with_state(readiness))
        .layer(
            ServerLayer::new(tracer)
                .metrics(&requests)
                .exclude(["/metrics", "/ready"]),
        )
        .into_make_service_with_connect_info::<SocketAddr>();
    let (stopping, stopped) = oneshot::channel();
    let served = axum::serve(listener, app).with_graceful_shutdown(async {
        stop.await;
        let _ = stopping.send(());
    });
    let drained = async {
        let _ = stopped.await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        served = served.into_future() => served,
        () = drained => Err(io::Error::other("requests were still open")),
    }
}

/// The span of the request is current here, and the parent of the client's.
async fn book(
    Path(id): Path<u32>,
    State((client, stock)): State<Stock>,
) -> Result<String, StatusCode> {
    tracing::info!(id, "looking it up"); // with the ids of trace and span in the log
    let asked = Request::get(format!("{stock}/{id}")).body(Empty::new());
    let asked = asked.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    match timeout(ANSWER, client.oneshot(asked)).await {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(format!("book {id}, in stock\n")),
        Ok(Ok(answer)) if answer.status() == StatusCode::NOT_FOUND => Err(StatusCode::NOT_FOUND),
        Ok(Ok(answer)) => {
            tracing::warn!(status = answer.status().as_u16(), "the stock is not known");
            Err(StatusCode::BAD_GATEWAY)
        }
        Ok(Err(err)) => {
            tracing::warn!(cause = %err, "nobody knows the stock");
            Err(StatusCode::BAD_GATEWAY)
        }
        Err(_) => Err(StatusCode::GATEWAY_TIMEOUT),
    }
}

/// Fails first when the service is to stop, while all else is still answered.
async fn ready(State(readiness): State<Readiness>) -> StatusCode {
    match readiness.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn measurements(
    State(registry): State<Arc<Registry>>,
) -> Result<impl IntoResponse, StatusCode> {
    let text = metrics::text(&registry).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}
