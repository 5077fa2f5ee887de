//! What those ask who look after the process: `/ready`, `/healthz` and `/metrics`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{sync::watch, task::spawn_blocking};

use crate::metrics::Metrics;

/// Whether new requests are welcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    phase: Arc<watch::Sender<Phase>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Ready,
    /// Requests are answered as ever, and should go elsewhere.
    Leaving,
    Stopping,
}

impl Readiness {
    /// Tells whoever sends requests here to send them elsewhere.
    pub(crate) fn end(&self) {
        self.phase.send_replace(Phase::Leaving);
    }

    /// Tells whoever waits for something else that the process stops now.
    pub(crate) fn stop(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    /// Returns once the process stops, for whoever would wait for something else.
    pub(crate) async fn stopped(&self) {
        // The sender is here.
        let _ = self
            .phase
            .subscribe()
            .wait_for(|phase| *phase == Phase::Stopping)
            .await;
    }
}

/// Everything that is not for users.
pub(crate) fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/ready", get(move || ready(readiness.clone())))
        .route("/healthz", get("ok\n"))
        .route("/metrics", get(exposition))
        .with_state(metrics)
}

async fn ready(readiness: Readiness) -> Response {
    if *readiness.phase.borrow() != Phase::Ready {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    "ready\n".into_response()
}

/// What a Prometheus sends with each scrape, and so do those that are built like it.
const SCRAPER: &str = "x-prometheus-scrape-timeout-seconds";

async fn exposition(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> Response {
    let openmetrics = headers.get_all(ACCEPT).iter().any(|accept| {
        let accept = accept.to_str().unwrap_or_default();
        accept.contains("application/openmetrics-text")
    });
    let is_scraper = headers.contains_key(SCRAPER);
    if is_scraper {
        metrics.scraped();
    }
    // Some megabytes where there are many series: no connection has to wait for them.
    let text = spawn_blocking(move || match openmetrics {
        true => metrics.openmetrics(is_scraper),
        false => metrics.prometheus(is_scraper),
    });
    let Ok(text) = text.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let kind = match openmetrics {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    ([(CONTENT_TYPE, kind)], text).into_response()
}
