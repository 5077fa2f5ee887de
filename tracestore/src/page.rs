//! The page for people: a list of the newest traces at `/`, one trace at `/trace/{id}`, what services do and how long it takes
//! them at `/services`, their log records at `/logs`, and settings for senders at `/setup`.
//!
//! It is static; the traces that it shows it fetches from `api`, in the browser. The files that a person uploads it
//! sends to `ingest`. What a query that is being typed lacks it asks for here, since only `traceql` knows the language.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::task::spawn_blocking;
use traceql::AttributesOf;

use crate::{
    metrics::Metrics,
    parameters::Parameters,
    store::{Logs, Losses, Store},
};

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
pub(crate) fn router(
    store: Arc<Store>,
    logs: Arc<Logs>,
    metrics: Arc<Metrics>,
    ports: Ports,
) -> Router {
    FILES
        .iter()
        .fold(Router::new(), |router, &(path, content_type, content)| {
            router.route(path, get(move || file(content_type, content)))
        })
        .route("/status.json", get(status))
        .route("/query.json", get(query))
        .with_state(Status {
            store,
            logs,
            metrics,
            ports,
        })
}

/// What is served as it is: where, as what, and what.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("page/list.html")),
    ("/trace/{id}", HTML, include_str!("page/trace.html")),
    ("/services", HTML, include_str!("page/services.html")),
    ("/logs", HTML, include_str!("page/logs.html")),
    ("/setup", HTML, include_str!("page/setup.html")),
    ("/assets/style.css", CSS, include_str!("page/style.css")),
    ("/assets/list.css", CSS, include_str!("page/list.css")),
    ("/assets/chart.css", CSS, include_str!("page/chart.css")),
    ("/assets/box.css", CSS, include_str!("page/box.css")),
    ("/assets/details.css", CSS, include_str!("page/details.css")),
    ("/assets/log.css", CSS, include_str!("page/log.css")),
    ("/assets/trace.css", CSS, include_str!("page/trace.css")),
    (
        "/assets/services.css",
        CSS,
        include_str!("page/services.css"),
    ),
    ("/assets/setup.css", CSS, include_str!("page/setup.css")),
    ("/assets/theme.js", JS, include_str!("page/theme.js")),
    ("/assets/api.js", JS, include_str!("page/api.js")),
    ("/assets/box.js", JS, include_str!("page/box.js")),
    ("/assets/colours.js", JS, include_str!("page/colours.js")),
    (
        "/assets/completion.js",
        JS,
        include_str!("page/completion.js"),
    ),
    ("/assets/contrast.js", JS, include_str!("page/contrast.js")),
    ("/assets/details.js", JS, include_str!("page/details.js")),
    ("/assets/dom.js", JS, include_str!("page/dom.js")),
    ("/assets/filters.js", JS, include_str!("page/filters.js")),
    ("/assets/find.js", JS, include_str!("page/find.js")),
    ("/assets/format.js", JS, include_str!("page/format.js")),
    ("/assets/frame.js", JS, include_str!("page/frame.js")),
    ("/assets/gauge.js", JS, include_str!("page/gauge.js")),
    ("/assets/heatmap.js", JS, include_str!("page/heatmap.js")),
    ("/assets/keys.js", JS, include_str!("page/keys.js")),
    ("/assets/lines.js", JS, include_str!("page/lines.js")),
    ("/assets/list.js", JS, include_str!("page/list.js")),
    ("/assets/logrow.js", JS, include_str!("page/logrow.js")),
    ("/assets/logs.js", JS, include_str!("page/logs.js")),
    ("/assets/memory.js", JS, include_str!("page/memory.js")),
    ("/assets/metrics.js", JS, include_str!("page/metrics.js")),
    ("/assets/model.js", JS, include_str!("page/model.js")),
    ("/assets/otlp.js", JS, include_str!("page/otlp.js")),
    ("/assets/overview.js", JS, include_str!("page/overview.js")),
    ("/assets/pane.js", JS, include_str!("page/pane.js")),
    ("/assets/period.js", JS, include_str!("page/period.js")),
    ("/assets/query.js", JS, include_str!("page/query.js")),
    ("/assets/records.js", JS, include_str!("page/records.js")),
    ("/assets/red.js", JS, include_str!("page/red.js")),
    ("/assets/redtable.js", JS, include_str!("page/redtable.js")),
    ("/assets/series.js", JS, include_str!("page/series.js")),
    ("/assets/services.js", JS, include_str!("page/services.js")),
    ("/assets/setup.js", JS, include_str!("page/setup.js")),
    ("/assets/snippets.js", JS, include_str!("page/snippets.js")),
    ("/assets/top.js", JS, include_str!("page/top.js")),
    ("/assets/trace.js", JS, include_str!("page/trace.js")),
    (
        "/assets/tracelogs.js",
        JS,
        include_str!("page/tracelogs.js"),
    ),
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
    logs: Arc<Logs>,
    metrics: Arc<Metrics>,
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
        logs: LogsJson,
        heard: HeardJson,
    }
    /// Strings, as all nanoseconds here; "0" if nobody was heard of since the start.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct HeardJson {
        spans_unix_nano: String,
        logs_unix_nano: String,
        scraper_unix_nano: String,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct LogsJson {
        records: u64,
        memory_bytes: u64,
        max_memory_bytes: usize,
        /// Null if nothing is on disk.
        disk_bytes: Option<u64>,
        max_disk_bytes: u64,
        max_age_seconds: u64,
        oldest_unix_nano: String,
        evicted_records: u64,
        refused_requests: u64,
        /// How much could not be read, of which the first are listed.
        damaged: u64,
        quarantined: Vec<Quarantined>,
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
        /// How much could not be read, of which the first are listed.
        damaged: u64,
        quarantined: Vec<Quarantined>,
    }
    #[derive(Serialize)]
    struct Quarantined {
        file: String,
        why: String,
    }
    let store = &status.store;
    let counted = spawn_blocking({
        let (store, logs) = (Arc::clone(store), Arc::clone(&status.logs));
        move || (store.usage(), logs.usage())
    });
    let (usage, logs) = counted.await.unwrap_or_default();
    let log_options = status.logs.options();
    let quarantined = |losses: &Losses| {
        let first = losses.first.iter().map(|dropped| {
            let (file, why) = dropped.split_once(": ").unwrap_or(("", dropped));
            Quarantined {
                file: file.to_owned(),
                why: why.to_owned(),
            }
        });
        first.collect()
    };
    let heard = status.metrics.heard();
    let last = |when: &AtomicU64| when.load(Ordering::Relaxed).to_string();
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
            damaged: usage.damaged.count,
            quarantined: quarantined(&usage.damaged),
        },
        logs: LogsJson {
            records: logs.records,
            memory_bytes: logs.memory_bytes,
            max_memory_bytes: log_options.max_memory,
            disk_bytes: status.logs.is_on_disk().then_some(logs.disk_bytes),
            max_disk_bytes: log_options.max_disk,
            max_age_seconds: log_options.max_age.as_secs(),
            oldest_unix_nano: logs.oldest_unix_nano.to_string(),
            evicted_records: logs.evicted,
            refused_requests: logs.refused_requests,
            damaged: logs.damaged.count,
            quarantined: quarantined(&logs.damaged),
        },
        heard: HeardJson {
            spans_unix_nano: last(&heard.spans),
            logs_unix_nano: last(&heard.logs),
            scraper_unix_nano: last(&heard.scraper),
        },
    })
    .into_response()
}

/// What is wrong with the query `q`, which is being typed, what it makes, and what may stand at its byte `at`.
async fn query(Parameters(parameters): Parameters) -> Response {
    let parameter = |wanted: &str| {
        let (_, value) = parameters.iter().find(|(name, _)| name == wanted)?;
        Some(value.clone())
    };
    let at = parameter("at").map(|at| at.parse()).transpose();
    let (Some(typed), Ok(at)) = (parameter("q"), at) else {
        let message = "a query q is required, and at is the number of a byte";
        return (StatusCode::BAD_REQUEST, message).into_response();
    };
    #[derive(Serialize)]
    struct QueryJson {
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorJson>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metrics: Option<MetricsJson>,
        #[serde(skip_serializing_if = "Option::is_none")]
        completion: Option<CompletionJson>,
    }
    #[derive(Serialize)]
    struct ErrorJson {
        offset: usize,
        message: String,
    }
    #[derive(Serialize)]
    struct MetricsJson {
        function: &'static str,
        /// What it measures, e.g. `duration`.
        of: Option<String>,
    }
    #[derive(Serialize)]
    struct CompletionJson {
        from: usize,
        to: usize,
        words: Vec<WordJson>,
        /// `every`, or the scope; `""` for a dot alone.
        attributes: Option<&'static str>,
        values: Option<ValuesJson>,
    }
    #[derive(Serialize)]
    struct WordJson {
        text: &'static str,
        kind: &'static str,
        about: &'static str,
    }
    #[derive(Serialize)]
    struct ValuesJson {
        of: String,
        operator: &'static str,
        beside: Option<String>,
    }
    let read = spawn_blocking(move || {
        let parsed = traceql::parse(&typed);
        let metrics = parsed
            .as_ref()
            .ok()
            .and_then(|query| query.metrics.as_ref());
        let metrics = metrics.map(|metrics| MetricsJson {
            function: metrics.function.as_str(),
            of: metrics.function.field().map(ToString::to_string),
        });
        let completion = at.map(|at| {
            let found = traceql::complete(&typed, at);
            CompletionJson {
                from: found.replaces.start,
                to: found.replaces.end,
                words: (found.words.iter())
                    .map(|word| WordJson {
                        text: word.text,
                        kind: word.kind.as_str(),
                        about: word.about,
                    })
                    .collect(),
                attributes: found.attributes.map(|of| match of {
                    AttributesOf::Every => "every",
                    AttributesOf::Unscoped => "",
                    AttributesOf::Scope(scope) => scope.as_str(),
                }),
                values: found.values.map(|values| ValuesJson {
                    of: values.field.to_string(),
                    operator: values.operator,
                    beside: values.beside,
                }),
            }
        });
        QueryJson {
            error: parsed.err().map(|error| ErrorJson {
                offset: error.offset,
                message: error.message,
            }),
            metrics,
            completion,
        }
    });
    match read.await {
        Ok(read) => Json(read).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn file(content_type: &'static str, content: &'static str) -> Response {
    // Another version of the program may answer at the same address tomorrow.
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}
