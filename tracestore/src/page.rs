//! The page for people: a list of the newest traces at `/`, one trace at `/trace/{id}`, and settings for senders at
//! `/setup`.
//!
//! It is static; the traces that it shows it fetches from `api`, in the browser. The files that a person uploads it
//! sends to `ingest`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::task::spawn_blocking;

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
    FILES
        .iter()
        .fold(Router::new(), |router, &(path, content_type, content)| {
            router.route(path, get(move || file(content_type, content)))
        })
        .route("/status.json", get(status))
        .with_state(Status { store, ports })
}

/// What is served as it is: where, as what, and what.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("page/list.html")),
    ("/trace/{id}", HTML, include_str!("page/trace.html")),
    ("/setup", HTML, include_str!("page/setup.html")),
    ("/assets/style.css", CSS, include_str!("page/style.css")),
    ("/assets/list.css", CSS, include_str!("page/list.css")),
    ("/assets/trace.css", CSS, include_str!("page/trace.css")),
    ("/assets/setup.css", CSS, include_str!("page/setup.css")),
    ("/assets/theme.js", JS, include_str!("page/theme.js")),
    ("/assets/api.js", JS, include_str!("page/api.js")),
    ("/assets/colours.js", JS, include_str!("page/colours.js")),
    ("/assets/details.js", JS, include_str!("page/details.js")),
    ("/assets/dom.js", JS, include_str!("page/dom.js")),
    ("/assets/filters.js", JS, include_str!("page/filters.js")),
    ("/assets/find.js", JS, include_str!("page/find.js")),
    ("/assets/format.js", JS, include_str!("page/format.js")),
    ("/assets/gauge.js", JS, include_str!("page/gauge.js")),
    ("/assets/keys.js", JS, include_str!("page/keys.js")),
    ("/assets/list.js", JS, include_str!("page/list.js")),
    ("/assets/memory.js", JS, include_str!("page/memory.js")),
    ("/assets/model.js", JS, include_str!("page/model.js")),
    ("/assets/otlp.js", JS, include_str!("page/otlp.js")),
    ("/assets/overview.js", JS, include_str!("page/overview.js")),
    ("/assets/pane.js", JS, include_str!("page/pane.js")),
    ("/assets/query.js", JS, include_str!("page/query.js")),
    ("/assets/setup.js", JS, include_str!("page/setup.js")),
    ("/assets/snippets.js", JS, include_str!("page/snippets.js")),
    ("/assets/top.js", JS, include_str!("page/top.js")),
    ("/assets/trace.js", JS, include_str!("page/trace.js")),
    ("/assets/transfer.js", JS, include_str!("page/transfer.js")),
    ("/assets/tree.js", JS, include_str!("page/tree.js")),
    (
        "/assets/waterfall.js",
        JS,
        include_str!("page/waterfall.js"),
    ),
    ("/assets/zoom.js", JS, include_str!("page/zoom.js")),
];

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
        durability: &'static str,
        data_dir: Option<String>,
        usage: UsageJson,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct UsageJson {
        traces: u64,
        spans: u64,
        memory_bytes: u64,
        max_memory_bytes: usize,
        /// Null if nothing is on disk.
        disk_bytes: Option<u64>,
        max_disk_bytes: u64,
        max_age_seconds: u64,
        oldest_unix_nano: String,
        evicted_traces: u64,
        evicted_spans: u64,
        refused_requests: u64,
        quarantined: Vec<Quarantined>,
    }
    #[derive(Serialize)]
    struct Quarantined {
        file: String,
        why: String,
    }
    let store = &status.store;
    let counted = spawn_blocking({
        let store = Arc::clone(store);
        move || store.usage()
    });
    let usage = counted.await.unwrap_or_default();
    let options = store.options();
    let data = options.data.as_ref().filter(|_| store.is_on_disk());
    Json(StatusJson {
        ports: status.ports,
        durability: match data {
            Some(_) => "disk",
            None => "memory",
        },
        data_dir: data.map(|data| data.display().to_string()),
        usage: UsageJson {
            traces: usage.traces,
            spans: usage.spans,
            memory_bytes: usage.memory_bytes,
            max_memory_bytes: options.max_memory,
            disk_bytes: data.map(|_| usage.disk_bytes),
            max_disk_bytes: options.max_disk,
            max_age_seconds: options.max_age.as_secs(),
            oldest_unix_nano: usage.oldest_unix_nano.to_string(),
            evicted_traces: usage.evicted_traces,
            evicted_spans: usage.evicted_spans,
            refused_requests: usage.refused_requests,
            quarantined: (usage.damaged.first.iter())
                .map(|dropped| {
                    let (file, why) = dropped.split_once(": ").unwrap_or(("", dropped));
                    Quarantined {
                        file: file.to_owned(),
                        why: why.to_owned(),
                    }
                })
                .collect(),
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
