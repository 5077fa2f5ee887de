//! Tempo's API over HTTP and gRPC, and the only place that knows its JSON and its `.proto`; and what it has not, logs.
//!
//! The contract is that of Tempo 3.0: <https://grafana.com/docs/tempo/latest/api_docs/>. Where
//! a trace may be protobuf, `ingest` writes it.

mod json;
mod lenient;
mod logs;
mod present;
mod search;
mod series;
mod streaming;
mod tags;
#[cfg(test)]
mod tests;
mod wanted;

pub(crate) use self::{
    json::{LogsResponse, TraceV1},
    logs::Waited,
    present::in_order,
    streaming::Answered,
};

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    engine, ingest,
    operations::Readiness,
    query::Patience,
    span::{Trace, TraceId},
    store::{Logs, QueryError, Store},
};

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The version of Tempo whose contract this is: Grafana decides by it what to ask for.
const TEMPO_VERSION: &str = "3.0.3";

const PROTOBUF: &str = "application/protobuf";

/// How long a query may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Queries that are answered at once.
const MAX_QUERIES: usize = 8;

/// Queries that wait until one of these ends, as a dashboard asks them. More are told to come again.
const MAX_WAITING: usize = 64;

/// How long they wait, in the order in which they came.
const WAIT: Duration = Duration::from_secs(2);

/// Everything below `/api`, the queries of gRPC, and logs.
pub(crate) fn router(store: Arc<Store>, logs: Arc<Logs>, readiness: Readiness) -> Router {
    let api = Api::new(store);
    Router::new()
        .route("/api/v2/traces/{id}", get(trace_v2))
        .route("/api/traces/{id}", get(trace_v1))
        .route("/api/search", get(search::search))
        .route("/api/v2/search/tags", get(tags::tags))
        .route("/api/v2/search/tag/{*tag}", get(tags::values))
        .route("/api/search/tags", get(tags::tags_v1))
        .route("/api/search/tag/{*tag}", get(tags::values_v1))
        .route("/api/metrics/query_range", get(series::query_range))
        .route("/api/metrics/query", get(series::query))
        .route("/api/echo", get("echo\n"))
        .route("/api/status/buildinfo", get(buildinfo))
        .with_state(api.clone())
        .merge(logs::router(api.clone(), logs, readiness))
        .merge(streaming::router(api))
}

#[derive(Clone)]
struct Api {
    store: Arc<Store>,
    /// One permit for each query that is answered.
    queries: Arc<Semaphore>,
    /// One permit for each query that waits for such a permit.
    waiting: Arc<Semaphore>,
    /// How long a query may take.
    deadline: Duration,
}

impl Api {
    fn new(store: Arc<Store>) -> Api {
        Api {
            store,
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            deadline: DEADLINE,
        }
    }

    /// Answers a query where it blocks nobody. If the client leaves, the query ends soon after.
    async fn answer<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Store, &Patience) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, _) = self.answer_within(self.deadline, query).await?;
        Ok(answer)
    }

    /// Likewise, for a client that waits no longer than that. With the answer comes the place that it took among those that
    /// are answered at once.
    async fn answer_within<T: Send + 'static>(
        &self,
        time: Duration,
        query: impl FnOnce(&Store, &Patience) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), Refusal> {
        let until = Instant::now() + time.min(self.deadline);
        let permit = self.place(time).await.ok_or_else(|| Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            message: "too many queries at once".to_owned(),
        })?;
        let store = Arc::clone(&self.store);
        let (patience, _abandon) = Patience::until(until);
        let answered = spawn_blocking(move || {
            let permit = permit;
            Ok((query(&store, &patience)?, permit))
        });
        answered.await.unwrap_or_else(|_| {
            Err(Refusal {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message: "an internal error of the store".to_owned(),
            })
        })
    }

    /// A place among the queries that are answered, unless there is none for too long. Whoever leaves waits no more.
    async fn place(&self, time: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.queries).try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        let permit = Arc::clone(&self.queries).acquire_owned();
        timeout(time.min(WAIT), permit).await.ok()?.ok()
    }
}

/// `GET /api/v2/traces/{id}`: an unknown trace is an empty one.
async fn trace_v2(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = parse_trace_id(&id)?;
    api.answer(move |store, patience| {
        with_trace(store, id, patience, |found| {
            if wants_protobuf(&headers) {
                return protobuf(ingest::trace_by_id_response(found));
            }
            Json(json::TraceByIdResponse::new(found)).into_response()
        })
    })
    .await
}

/// `GET /api/traces/{id}`: an unknown trace is a 404 without a body.
async fn trace_v1(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = parse_trace_id(&id)?;
    api.answer(move |store, patience| {
        with_trace(store, id, patience, |found| match found {
            None => StatusCode::NOT_FOUND.into_response(),
            Some(trace) if wants_protobuf(&headers) => protobuf(ingest::trace(trace)),
            Some(trace) => Json(json::TraceV1::new(trace)).into_response(),
        })
    })
    .await
}

async fn buildinfo() -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct BuildInfo {
        version: &'static str,
        revision: &'static str,
        branch: &'static str,
        build_user: &'static str,
        build_date: &'static str,
        go_version: &'static str,
    }
    Json(BuildInfo {
        version: TEMPO_VERSION,
        revision: concat!("tracestore-", env!("CARGO_PKG_VERSION")),
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
    })
    .into_response()
}

/// Why there is no answer. Grafana shows the message.
#[derive(Debug, PartialEq)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    /// What the client got wrong.
    fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Refusal {
        let status = match error {
            QueryError::Stopped(_) => StatusCode::GATEWAY_TIMEOUT,
            QueryError::Damaged(_) => StatusCode::INTERNAL_SERVER_ERROR,
            QueryError::TooLarge(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Refusal {
            status,
            message: error.to_string(),
        }
    }
}

impl From<engine::Failed> for Refusal {
    fn from(failed: engine::Failed) -> Refusal {
        match failed {
            engine::Failed::Query(error) => error.into(),
            engine::Failed::Evaluate(_)
            | engine::Failed::IsMetrics
            | engine::Failed::IsSearch
            | engine::Failed::TooManySeries => {
                Refusal::bad_request(format!("invalid TraceQL query: {failed}"))
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.message).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

fn invalid_query(error: &traceql::ParseError) -> Refusal {
    Refusal::bad_request(format!("invalid TraceQL query: {error}"))
}

fn with_trace(
    store: &Store,
    id: [u8; 16],
    patience: &Patience,
    answer: impl FnOnce(Option<&Trace<'_>>) -> Response,
) -> Result<Response, Refusal> {
    // No trace has the id 0, which is well-formed all the same.
    let found = match TraceId::new(id) {
        None => None,
        Some(id) => store.find(id, patience)?,
    };
    let trace = match &found {
        None => None,
        Some(found) => Some(found.trace(patience).map_err(QueryError::from)?),
    };
    let trace = trace.map(present::in_order);
    // What follows cannot be stopped: it takes as long as so many bytes are copied.
    patience.check().map_err(QueryError::from)?;
    Ok(answer(trace.as_ref()))
}

/// 1 to 32 hex digits, as if zeros stood before them.
fn parse_trace_id(hex: &str) -> Result<[u8; 16], Refusal> {
    if let Some((at, other)) = hex
        .chars()
        .enumerate()
        .find(|(_, c)| !c.is_ascii_hexdigit())
    {
        return Err(Refusal::bad_request(format!(
            "trace IDs can only contain hex characters: invalid character '{}' at position {}",
            other.escape_default(),
            at + 1
        )));
    }
    if hex.len() > 32 {
        return Err(Refusal::bad_request(
            "trace IDs can't be larger than 128 bits".to_owned(),
        ));
    }
    u128::from_str_radix(hex, 16)
        .map(u128::to_be_bytes)
        .map_err(|_| Refusal::bad_request("please provide a traceID".to_owned()))
}

/// Like Tempo, without regard to quality values; JSON if nothing is said.
fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains(PROTOBUF))
}

fn protobuf(message: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, PROTOBUF)], message).into_response()
}
