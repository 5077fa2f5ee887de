//! Tempo's HTTP API, and the only place that knows its JSON.
//!
//! The contract is that of Tempo 3.0: <https://grafana.com/docs/tempo/latest/api_docs/>. Where
//! an answer may be protobuf, `ingest` writes it.

mod json;
mod present;
mod series;
mod tags;

pub(crate) use self::{json::TraceV1, present::in_order};

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    engine::{self, Limits},
    ingest,
    query::Patience,
    span::{Trace, TraceId},
    store::{QueryError, Store},
};

/// The version of Tempo whose contract this is: Grafana decides by it what to ask for.
const TEMPO_VERSION: &str = "3.0.3";

const PROTOBUF: &str = "application/protobuf";

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;
const DEFAULT_SPANS_PER_TRACE: usize = 3;
const MAX_SPANS_PER_TRACE: usize = 100;

/// How long a query may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Queries that are answered at once. More are told to come again.
const MAX_QUERIES: usize = 8;

/// Everything below `/api`.
pub(crate) fn router(store: Arc<Store>) -> Router {
    Router::new()
        .route("/api/v2/traces/{id}", get(trace_v2))
        .route("/api/traces/{id}", get(trace_v1))
        .route("/api/search", get(search))
        .route("/api/v2/search/tags", get(tags::tags))
        .route("/api/v2/search/tag/{*tag}", get(tags::values))
        .route("/api/search/tags", get(tags::tags_v1))
        .route("/api/search/tag/{*tag}", get(tags::values_v1))
        .route("/api/metrics/query_range", get(series::query_range))
        .route("/api/metrics/query", get(series::query))
        .route("/api/echo", get("echo"))
        .route("/api/status/buildinfo", get(buildinfo))
        .with_state(Api {
            store,
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
        })
}

#[derive(Clone)]
struct Api {
    store: Arc<Store>,
    /// One permit for each query that is answered.
    queries: Arc<Semaphore>,
}

impl Api {
    /// Answers a query where it blocks nobody. If the client leaves, the query ends soon after.
    async fn answer(
        &self,
        query: impl FnOnce(&Store, &Patience) -> Result<Response, Refusal> + Send + 'static,
    ) -> Result<Response, Refusal> {
        let permit = Arc::clone(&self.queries)
            .try_acquire_owned()
            .map_err(|_| Refusal {
                status: StatusCode::TOO_MANY_REQUESTS,
                message: "too many queries at once".to_owned(),
            })?;
        let store = Arc::clone(&self.store);
        let (patience, _abandon) = Patience::until(Instant::now() + DEADLINE);
        let answered = spawn_blocking(move || {
            let _permit = permit;
            query(&store, &patience)
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

/// `GET /api/search`: the newest traces, or those that a TraceQL query finds.
async fn search(
    State(api): State<Api>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, Refusal> {
    let Search {
        query,
        limit,
        window,
        spans_per_trace,
    } = Search::parse(&parameters)?;
    let limits = Limits {
        window,
        traces: limit,
        spans_per_trace,
    };
    api.answer(move |store, patience| {
        let found = match &query {
            Some(query) => engine::search(store, query, &limits, patience)?,
            None => engine::newest(store, &limits, patience)?,
        };
        Ok(Json(json::SearchResponse::new(&found, query.is_some())).into_response())
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

#[derive(Debug, PartialEq)]
struct Search {
    query: Option<traceql::Query>,
    limit: usize,
    /// Nanoseconds since the Unix epoch.
    window: Option<RangeInclusive<u64>>,
    spans_per_trace: usize,
}

impl Search {
    /// `limit` (1 to 1000, default 20), `start` and `end` (Unix seconds, both or neither). Of a
    /// repeated parameter the first counts, and an empty one is not there, as in Tempo.
    fn parse(parameters: &[(String, String)]) -> Result<Search, Refusal> {
        let parameter = |wanted: &str| {
            let (_, value) = parameters.iter().find(|(name, _)| name == wanted)?;
            (!value.is_empty()).then_some(value.as_str())
        };
        let number = |name: &str| -> Result<Option<u32>, Refusal> {
            parameter(name)
                .map(|value| {
                    value.parse().map_err(|_| {
                        let value = value.escape_debug();
                        Refusal::bad_request(format!("invalid {name}: \"{value}\" is not a number"))
                    })
                })
                .transpose()
        };

        let query = parameter("q")
            .map(|query| traceql::parse(query).map_err(|error| invalid_query(&error)))
            .transpose()?;
        for filter in ["tags", "minDuration", "maxDuration"] {
            if parameter(filter).is_some() {
                return Err(Refusal::bad_request(format!("{filter} is not supported")));
            }
        }
        let limit = match number("limit")? {
            None => DEFAULT_LIMIT,
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| {
                    Refusal::bad_request(format!("invalid limit: must be from 1 to {MAX_LIMIT}"))
                })?,
        };
        let spans_per_trace = match number("spss")? {
            None | Some(0) => DEFAULT_SPANS_PER_TRACE,
            Some(spans) => usize::try_from(spans)
                .ok()
                .filter(|spans| *spans <= MAX_SPANS_PER_TRACE)
                .ok_or_else(|| {
                    Refusal::bad_request(format!(
                        "invalid spss: must be from 1 to {MAX_SPANS_PER_TRACE}"
                    ))
                })?,
        };
        let (start, end) = (number("start")?.unwrap_or(0), number("end")?.unwrap_or(0));
        if (start, end) == (0, 0) {
            return Ok(Search {
                query,
                limit,
                window: None,
                spans_per_trace,
            });
        }
        if end <= start {
            return Err(Refusal::bad_request(format!(
                "http parameter start must be before end. received start={start} end={end}"
            )));
        }
        let nanos = |seconds: u32| u64::from(seconds) * 1_000_000_000;
        Ok(Search {
            query,
            limit,
            window: Some(nanos(start)..=nanos(end)),
            spans_per_trace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(query: &[(&str, &str)]) -> Result<Search, String> {
        let owned: Vec<_> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Search::parse(&owned).map_err(|refusal| refusal.message)
    }

    #[test]
    fn a_search_for_everything_has_a_limit_and_no_window() {
        let newest = Search {
            query: None,
            limit: 20,
            window: None,
            spans_per_trace: 3,
        };
        assert_eq!(search(&[]).as_ref(), Ok(&newest));
        assert_eq!(search(&[("q", ""), ("limit", "")]).as_ref(), Ok(&newest));
        let with_query = Search {
            query: Some(traceql::parse("{ }").unwrap()),
            ..newest
        };
        assert_eq!(search(&[("q", "{ }"), ("spss", "3")]), Ok(with_query));
    }

    #[test]
    fn a_window_is_in_seconds() {
        let window = search(&[("start", "1"), ("end", "4294967295"), ("limit", "1000")]);
        assert_eq!(
            window,
            Ok(Search {
                query: None,
                limit: 1000,
                window: Some(1_000_000_000..=4_294_967_295_000_000_000),
                spans_per_trace: 3,
            })
        );
    }

    #[test]
    fn what_cannot_be_searched_is_said() {
        for (query, text) in [
            (
                &[("q", "{ status = }")][..],
                "invalid TraceQL query: at offset 11",
            ),
            (&[("tags", "a=b")], "tags is not supported"),
            (&[("limit", "0")], "must be from 1 to 1000"),
            (&[("limit", "1001")], "must be from 1 to 1000"),
            (&[("limit", "-1")], "invalid limit"),
            (&[("limit", "99999999999999999999")], "invalid limit"),
            (
                &[("start", "x\n")],
                "invalid start: \"x\\n\" is not a number",
            ),
            (&[("start", "5")], "start must be before end"),
            (&[("start", "5"), ("end", "5")], "start must be before end"),
        ] {
            let error = search(query).expect_err(text);
            assert!(error.contains(text), "{query:?}: {error}");
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
