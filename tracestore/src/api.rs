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
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{
    engine, ingest,
    operations::Readiness,
    query::Patience,
    span::{Trace, TraceId},
    store::{Logs, QueryError, Store},
};

/// The version of Tempo whose contract this is: Grafana decides by it what to ask for.
const TEMPO_VERSION: &str = "3.0.3";

const PROTOBUF: &str = "application/protobuf";

/// How long a query may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Queries that are answered at once. More are told to come again.
const MAX_QUERIES: usize = 8;

/// Everything below `/api`, the queries of gRPC, and logs.
pub(crate) fn router(store: Arc<Store>, logs: Arc<Logs>, readiness: Readiness) -> Router {
    let api = Api {
        store,
        queries: Arc::new(Semaphore::new(MAX_QUERIES)),
    };
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
}

impl Api {
    /// Answers a query where it blocks nobody. If the client leaves, the query ends soon after.
    async fn answer<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Store, &Patience) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, _) = self.answer_within(DEADLINE, query).await?;
        Ok(answer)
    }

    /// Likewise, for a client that waits no longer than that. With the answer comes the place that it took among those that
    /// are answered at once.
    async fn answer_within<T: Send + 'static>(
        &self,
        time: Duration,
        query: impl FnOnce(&Store, &Patience) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), Refusal> {
        let permit = Arc::clone(&self.queries)
            .try_acquire_owned()
            .map_err(|_| Refusal {
                status: StatusCode::TOO_MANY_REQUESTS,
                message: "too many queries at once".to_owned(),
            })?;
        let store = Arc::clone(&self.store);
        let (patience, _abandon) = Patience::until(Instant::now() + time.min(DEADLINE));
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
        (self.status, self.message).into_response()
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
    let trace = found.as_ref().map(|found| present::in_order(found.trace()));
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{
        query::Stopped,
        store::{Fsync, Options},
    };

    fn api() -> Api {
        let options = Options {
            data: None,
            max_memory: 1 << 20,
            max_disk: 1,
            max_age: Duration::MAX,
            fsync: Fsync::default(),
        };
        Api {
            store: Arc::new(Store::open(options, ingest::decode_again).unwrap()),
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
        }
    }

    /// Goes on until it is stopped, and says why.
    fn endless(
        begun: mpsc::Sender<()>,
        ended: mpsc::Sender<Stopped>,
    ) -> impl FnOnce(&Store, &Patience) -> Result<(), Refusal> {
        move |_, patience| {
            begun.send(()).unwrap();
            loop {
                if let Err(stopped) = patience.check() {
                    ended.send(stopped).unwrap();
                    return Err(QueryError::Stopped(stopped).into());
                }
            }
        }
    }

    #[tokio::test]
    async fn a_query_ends_when_nobody_waits_for_it_any_more() {
        let (began, begun) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let asked = tokio::spawn(async move { api().answer(endless(began, ends)).await });
        spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
        asked.abort();
        assert_eq!(
            spawn_blocking(move || ended.recv()).await.unwrap(),
            Ok(Stopped::Abandoned)
        );
    }

    #[tokio::test]
    async fn a_query_ends_when_its_time_is_over_and_makes_room_for_others() {
        let api = api();
        for _ in 0..=MAX_QUERIES {
            let (began, _begun) = mpsc::channel();
            let (ends, ended) = mpsc::channel();
            let query = endless(began, ends);
            let answer = api.answer_within(Duration::from_millis(5), query).await;
            let refusal = answer.unwrap_err();
            assert_eq!(refusal.status, StatusCode::GATEWAY_TIMEOUT);
            assert_eq!(ended.recv(), Ok(Stopped::Deadline));
        }
    }

    #[test]
    fn a_trace_id_is_up_to_32_hex_digits() {
        let mut one = [0; 16];
        one[15] = 0xa1;
        assert_eq!(parse_trace_id("a1"), Ok(one));
        assert_eq!(parse_trace_id("00000000000000000000000000000A1"), Ok(one));
        assert_eq!(parse_trace_id(&"f".repeat(32)), Ok([0xff; 16]));
        for bad in ["", "g", "+1", "../1", "a\u{e9}", &"0".repeat(33)] {
            parse_trace_id(bad).expect_err(bad);
        }
    }
}
