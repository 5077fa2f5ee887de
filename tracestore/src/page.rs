//! The page for people: a list of the newest traces at `/`, and one trace at `/trace/{id}`.
//!
//! It is static; the traces that it shows it fetches from `api`, in the browser.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use crate::store::Store;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Where the receivers are, for people who want to send.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ports {
    pub(crate) otlp_grpc: u16,
    pub(crate) otlp_http: u16,
    pub(crate) jaeger_http: u16,
}

/// Everything that a browser shows.
pub(crate) fn router(store: Arc<Store>, ports: Ports) -> Router {
    Router::new()
        .route("/", get(|| file(HTML, include_str!("page/list.html"))))
        .route(
            "/trace/{id}",
            get(|| file(HTML, include_str!("page/trace.html"))),
        )
        .route(
            "/assets/style.css",
            get(|| file(CSS, include_str!("page/style.css"))),
        )
        .route(
            "/assets/format.js",
            get(|| file(JS, include_str!("page/format.js"))),
        )
        .route(
            "/assets/list.js",
            get(|| file(JS, include_str!("page/list.js"))),
        )
        .route(
            "/assets/trace.js",
            get(|| file(JS, include_str!("page/trace.js"))),
        )
        .route(
            "/assets/tree.js",
            get(|| file(JS, include_str!("page/tree.js"))),
        )
        .route("/status.json", get(status))
        .with_state(Status { store, ports })
}

#[derive(Clone)]
struct Status {
    store: Arc<Store>,
    ports: Ports,
}

/// How full the store is, and how to reach it.
async fn status(State(status): State<Status>) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct StatusJson {
        ports: Ports,
        max_bytes: usize,
        usage: Usage,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Usage {
        traces: usize,
        spans: usize,
        bytes: usize,
        evicted_traces: u64,
        evicted_spans: u64,
    }
    let usage = status.store.usage();
    Json(StatusJson {
        ports: status.ports,
        max_bytes: status.store.max_bytes(),
        usage: Usage {
            traces: usage.traces,
            spans: usage.spans,
            bytes: usage.bytes,
            evicted_traces: usage.evicted_traces,
            evicted_spans: usage.evicted_spans,
        },
    })
    .into_response()
}

async fn file(content_type: &'static str, content: &'static str) -> Response {
    // Another version of the program may answer at the same address tomorrow.
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}
