//! Tempo's HTTP API, and the only place that knows its JSON.
//!
//! The contract is that of Tempo 3.0: <https://grafana.com/docs/tempo/latest/api_docs/>. Where
//! an answer may be protobuf, `ingest` writes it.

mod json;
mod present;

use std::{ops::RangeInclusive, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;

use crate::{
    ingest,
    span::{Trace, TraceId},
    store::Store,
};

/// The version of Tempo whose contract this is: Grafana decides by it what to ask for.
const TEMPO_VERSION: &str = "3.0.3";

const PROTOBUF: &str = "application/protobuf";

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;

/// Everything below `/api`, and the health checks.
pub(crate) fn router(store: Arc<Store>) -> Router {
    Router::new()
        .route("/api/v2/traces/{id}", get(trace_v2))
        .route("/api/traces/{id}", get(trace_v1))
        .route("/api/search", get(search))
        .route("/api/echo", get("echo"))
        .route("/api/status/buildinfo", get(buildinfo))
        .route("/ready", get("ready\n"))
        .route("/healthz", get("ok\n"))
        .with_state(store)
}

/// `GET /api/v2/traces/{id}`: an unknown trace is an empty one.
async fn trace_v2(
    State(store): State<Arc<Store>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, BadRequest> {
    let found = find(&store, &id)?;
    if wants_protobuf(&headers) {
        return Ok(protobuf(ingest::trace_by_id_response(found.as_ref())));
    }
    Ok(Json(json::TraceByIdResponse::new(found.as_ref())).into_response())
}

/// `GET /api/traces/{id}`: an unknown trace is a 404 without a body.
async fn trace_v1(
    State(store): State<Arc<Store>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, BadRequest> {
    let Some(trace) = find(&store, &id)? else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    if wants_protobuf(&headers) {
        return Ok(protobuf(ingest::trace(&trace)));
    }
    Ok(Json(json::TraceV1::new(&trace)).into_response())
}

/// `GET /api/search` without a query: the newest traces.
async fn search(
    State(store): State<Arc<Store>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, BadRequest> {
    let search = Search::parse(&parameters)?;
    let found = store.newest(search.limit, search.window);
    Ok(Json(json::SearchResponse::new(&found)).into_response())
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

/// What the client got wrong, as Tempo says it: Grafana shows this text.
#[derive(Debug, PartialEq)]
struct BadRequest(String);

impl IntoResponse for BadRequest {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, self.0).into_response()
    }
}

fn find(store: &Store, id: &str) -> Result<Option<Trace<'static>>, BadRequest> {
    let bytes = parse_trace_id(id)?;
    // No trace has the id 0, which is well-formed all the same.
    let found = TraceId::new(bytes).and_then(|id| store.trace(id));
    Ok(found.map(present::in_order))
}

/// 1 to 32 hex digits, as if zeros stood before them.
fn parse_trace_id(hex: &str) -> Result<[u8; 16], BadRequest> {
    if let Some((at, other)) = hex
        .chars()
        .enumerate()
        .find(|(_, c)| !c.is_ascii_hexdigit())
    {
        return Err(BadRequest(format!(
            "trace IDs can only contain hex characters: invalid character '{}' at position {}",
            other.escape_default(),
            at + 1
        )));
    }
    if hex.len() > 32 {
        return Err(BadRequest(
            "trace IDs can't be larger than 128 bits".to_owned(),
        ));
    }
    u128::from_str_radix(hex, 16)
        .map(u128::to_be_bytes)
        .map_err(|_| BadRequest("please provide a traceID".to_owned()))
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
    limit: usize,
    /// Nanoseconds since the Unix epoch.
    window: Option<RangeInclusive<u64>>,
}

impl Search {
    /// `limit` (1 to 1000, default 20), `start` and `end` (Unix seconds, both or neither). Of a
    /// repeated parameter the first counts, and an empty one is not there, as in Tempo.
    fn parse(parameters: &[(String, String)]) -> Result<Search, BadRequest> {
        let parameter = |wanted: &str| {
            let (_, value) = parameters.iter().find(|(name, _)| name == wanted)?;
            (!value.is_empty()).then_some(value.as_str())
        };
        let number = |name: &str| -> Result<Option<u32>, BadRequest> {
            parameter(name)
                .map(|value| {
                    value.parse().map_err(|_| {
                        let value = value.escape_debug();
                        BadRequest(format!("invalid {name}: \"{value}\" is not a number"))
                    })
                })
                .transpose()
        };

        let is_everything = |query: &str| matches!(query.replace(' ', "").as_str(), "" | "{}");
        if parameter("q").is_some_and(|query| !is_everything(query)) {
            return Err(BadRequest(
                "query expressions are not supported: only an empty q or {}".to_owned(),
            ));
        }
        for filter in ["tags", "minDuration", "maxDuration"] {
            if parameter(filter).is_some() {
                return Err(BadRequest(format!("{filter} is not supported")));
            }
        }
        let limit = match number("limit")? {
            None => DEFAULT_LIMIT,
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| {
                    BadRequest(format!("invalid limit: must be from 1 to {MAX_LIMIT}"))
                })?,
        };
        let (start, end) = (number("start")?.unwrap_or(0), number("end")?.unwrap_or(0));
        if (start, end) == (0, 0) {
            return Ok(Search {
                limit,
                window: None,
            });
        }
        if end <= start {
            return Err(BadRequest(format!(
                "http parameter start must be before end. received start={start} end={end}"
            )));
        }
        let nanos = |seconds: u32| u64::from(seconds) * 1_000_000_000;
        Ok(Search {
            limit,
            window: Some(nanos(start)..=nanos(end)),
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
        Search::parse(&owned).map_err(|BadRequest(text)| text)
    }

    #[test]
    fn a_search_for_everything_has_a_limit_and_no_window() {
        let newest = Search {
            limit: 20,
            window: None,
        };
        assert_eq!(search(&[]).as_ref(), Ok(&newest));
        assert_eq!(search(&[("q", ""), ("limit", "")]).as_ref(), Ok(&newest));
        assert_eq!(search(&[("q", "{ }"), ("spss", "3")]).as_ref(), Ok(&newest));
    }

    #[test]
    fn a_window_is_in_seconds() {
        let window = search(&[("start", "1"), ("end", "4294967295"), ("limit", "1000")]);
        assert_eq!(
            window,
            Ok(Search {
                limit: 1000,
                window: Some(1_000_000_000..=4_294_967_295_000_000_000),
            })
        );
    }

    #[test]
    fn what_cannot_be_searched_is_said() {
        for (query, text) in [
            (
                &[("q", "{ status = error }")][..],
                "query expressions are not supported",
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
