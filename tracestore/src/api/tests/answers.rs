//! What an answer may take.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use serde_json::Value as Json;

use crate::{
    api::{Api, PROTOBUF, Refusal, search, series, tags, trace_v1, trace_v2},
    parameters::Parameters,
    span::{KeyValue, Kind, Resource, Scope, Span, SpanId, TraceId, Value},
    store::{Accepted, Batch},
};

/// 2026-11-21T09:00:00Z.
const NINE: u64 = 1_795_251_600_000_000_000;

const LONG: u64 = 0xa1;
const SHORT: u64 = 0xb2;

/// Of a store with the spans of these requests.
fn api(requests: impl IntoIterator<Item = Vec<(TraceId, Span<'static>)>>) -> Api {
    let api = Api {
        // Nothing here is about time, and a machine may be busy.
        deadline: Duration::from_secs(600),
        ..super::api()
    };
    for spans in requests {
        let batch = Batch {
            resource: Arc::new(Resource::default()),
            scope: Arc::new(Scope::default()),
            spans,
        };
        let accepted = Accepted {
            form: 1,
            body: &[],
            batches: vec![batch],
            received: SystemTime::now(),
        };
        api.store.append(&accepted).unwrap();
    }
    api
}

/// A span of a trace, whose ids are these numbers.
fn span(trace: u64, id: u64) -> (TraceId, Span<'static>) {
    let span = Span {
        name: "again".into(),
        kind: Kind::Internal,
        start_unix_nano: NINE + id,
        end_unix_nano: NINE + id + 1,
        ..Span::plain(SpanId::new(id.to_be_bytes()).unwrap())
    };
    (TraceId::new(u128::from(trace).to_be_bytes()).unwrap(), span)
}

/// Likewise with an attribute of 4000 bytes, which all of them share.
fn wide(trace: u64, id: u64, text: &'static str) -> (TraceId, Span<'static>) {
    let (trace, mut span) = span(trace, id);
    span.attributes = vec![KeyValue {
        key: "wide".into(),
        value: Value::String(text.into()),
    }];
    (trace, span)
}

fn asked(parameters: &[(&str, &str)]) -> Parameters {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Parameters(parameters.iter().map(owned).collect())
}

async fn body(answer: Result<Response, Refusal>) -> (StatusCode, Vec<u8>) {
    let answer = answer.into_response();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap();
    (status, body.to_bytes().to_vec())
}

async fn json(answer: Result<Response, Refusal>) -> Json {
    let (status, body) = body(answer).await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn spans_in(trace: &Json) -> usize {
    let scopes = trace["resourceSpans"][0]["scopeSpans"].as_array().unwrap();
    let spans = |scope: &Json| scope["spans"].as_array().unwrap().len();
    scopes.iter().map(spans).sum()
}

fn accepts_protobuf() -> HeaderMap {
    HeaderMap::from_iter([(header::ACCEPT, PROTOBUF.parse().unwrap())])
}

/// Of a job in a loop, say.
#[tokio::test]
async fn a_trace_too_long_to_be_judged_hides_no_other_and_its_first_spans_are_answered() {
    let long = (1..=250_001).map(|id| span(LONG, id)).collect();
    let api = api([long, vec![span(SHORT, 1), span(SHORT, 2)]]);

    let query = [("q", "{ } | count() > 0")];
    let found = json(search::search(State(api.clone()), asked(&query)).await).await;
    let traces = found["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 1, "{found}");
    assert_eq!(traces[0]["traceID"], format!("{SHORT:032x}"));

    let query_window = [("start", "1795251590"), ("end", "1795251610")];
    let query = "{ } | by(name) | count() > 1 | count_over_time()";
    let query = [("q", query), query_window[0], query_window[1]];
    let counted = json(series::query(State(api.clone()), asked(&query)).await).await;
    assert_eq!(counted["series"][0]["value"], 2.0, "{counted}");
    let why = "1 trace is left out: of more than 250000 spans, too long to be looked at whole";
    assert_eq!(
        (&counted["status"], &counted["message"]),
        (&"PARTIAL".into(), &why.into())
    );
    let counted = json(series::query_range(State(api.clone()), asked(&query)).await).await;
    assert_eq!(
        (&counted["status"], &counted["message"]),
        (&"PARTIAL".into(), &why.into())
    );
    for query in [
        "{ } | by(name) | count() > 1 | avg_over_time(traceDuration)",
        "{ name != `` } | compare({ span:childCount = 0 })",
    ] {
        let query = [("q", query), query_window[0], query_window[1]];
        let counted = json(series::query(State(api.clone()), asked(&query)).await).await;
        assert_eq!(counted["message"], why, "{query:?}");
    }
    // Columns tell of each span by itself.
    let query = [
        ("q", "{ } | count_over_time()"),
        query_window[0],
        query_window[1],
    ];
    let counted = json(series::query(State(api.clone()), asked(&query)).await).await;
    assert_eq!(counted["series"][0]["value"], 250_003.0, "{counted}");
    assert!(counted.get("status").is_none(), "{counted}");

    let id = || Path(format!("{LONG:x}"));
    let answer = trace_v2(State(api.clone()), id(), HeaderMap::new()).await;
    let answer = json(answer).await;
    assert_eq!(spans_in(&answer["trace"]), 250_000);
    assert_eq!(answer["status"], "PARTIAL");
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("more than 250000 spans"), "{message}");
    let answer = trace_v2(State(api.clone()), id(), accepts_protobuf()).await;
    let (_, answer) = body(answer).await;
    // `status` is field 3 and `message` field 4.
    let end = [
        &[0x18, 1, 0x22, u8::try_from(message.len()).unwrap()],
        message.as_bytes(),
    ];
    assert!(answer.ends_with(&end.concat()));
    let (status, _) = body(trace_v1(State(api), id(), HeaderMap::new()).await).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn spans_that_came_twice_make_no_trace_too_long() {
    let sent = || (1..=126_000).map(|id| span(LONG, id)).collect();
    let api = api([sent(), sent()]);
    let query = [("q", "{ } | count() = 126000")];
    let found = json(search::search(State(api.clone()), asked(&query)).await).await;
    assert_eq!(found["traces"].as_array().unwrap().len(), 1, "{found}");
    let path = Path(format!("{LONG:x}"));
    let answer = json(trace_v2(State(api), path, HeaderMap::new()).await).await;
    assert_eq!(spans_in(&answer["trace"]), 126_000);
    assert!(answer.get("status").is_none());
}

#[tokio::test]
async fn an_answer_has_a_bound_in_bytes_however_little_is_kept() {
    let text: &str = "x".repeat(4000).leak();
    let long = (1..=40_000).map(|id| wide(LONG, id, text)).collect();
    let many = (1..=400).flat_map(|trace| (1..=100).map(move |id| wide(trace << 32, id, text)));
    let api = api([long, many.collect()]);

    let path = Path(format!("{LONG:x}"));
    let answer = trace_v2(State(api.clone()), path, accepts_protobuf()).await;
    let (status, answer) = body(answer).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        (100 << 20..129 << 20).contains(&answer.len()),
        "{}",
        answer.len()
    );
    assert!(answer.ends_with(b"the rest would take more than 128 MiB"));

    for query in ["{ .wide != nil }", "{ .wide != nil } | count() > 1"] {
        let parameters = [("q", query), ("limit", "1000"), ("spss", "100")];
        let answer = search::search(State(api.clone()), asked(&parameters)).await;
        let (status, answer) = body(answer).await;
        let text = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
        assert!(
            text.contains("128 MiB") && text.contains("`spss`"),
            "{text}"
        );
        let parameters = [("q", query), ("limit", "1000"), ("spss", "3")];
        let answer = json(search::search(State(api.clone()), asked(&parameters)).await).await;
        assert_eq!(answer["traces"].as_array().unwrap().len(), 401);
    }

    // One trace is enough.
    let query = format!("{{ trace:id = `{LONG:032x}` && .wide != nil }} | by(span:id)");
    let parameters = [("q", &*query), ("limit", "1"), ("spss", "1")];
    let (status, _) = body(search::search(State(api), asked(&parameters)).await).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

fn named(id: u64, start: u64) -> (TraceId, Span<'static>) {
    let (trace, mut span) = span(SHORT, id);
    span.attributes = vec![KeyValue {
        key: format!("key {}", id % 3).into(),
        value: Value::Int(id.cast_signed()),
    }];
    span.name = format!("name {id:04}").into();
    (span.start_unix_nano, span.end_unix_nano) = (start, start + 1);
    (trace, span)
}

#[tokio::test]
async fn tags_and_values_are_as_many_as_are_asked_for() {
    let api = api([(1..=1500).map(|id| named(id, NINE)).collect()]);
    let values = async |parameters: &[(&str, &str)]| {
        let path = Path("name/values".to_owned());
        let found = tags::values(State(api.clone()), path, asked(parameters)).await;
        json(found).await["tagValues"].as_array().unwrap().len()
    };
    assert_eq!(values(&[]).await, 1500);
    assert_eq!(values(&[("limit", "5000")]).await, 1500);
    assert_eq!(values(&[("limit", "1200")]).await, 1200);
    assert_eq!(values(&[("limit", "0")]).await, 1500);
    let tags = async |parameters: &[(&str, &str)]| {
        let found = tags::tags(State(api.clone()), asked(parameters)).await;
        let of_each = |scope: &Json| scope["tags"].as_array().unwrap().len();
        let found = json(found).await;
        found["scopes"]
            .as_array()
            .unwrap()
            .iter()
            .map(of_each)
            .collect::<Vec<_>>()
    };
    assert_eq!(tags(&[("scope", "span")]).await, [3]);
    assert_eq!(tags(&[("limit", "2")]).await, [2, 2]);
    for bad in [("limit", "x"), ("start", "-1"), ("end", "y")] {
        let found = tags::tags(State(api.clone()), asked(&[bad])).await;
        let (status, text) = body(found).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(String::from_utf8(text).unwrap().contains(bad.0));
    }
}

#[tokio::test]
async fn tags_and_values_are_those_of_a_time() {
    // All is received now: a day later nothing was running.
    let api = api([vec![named(1, NINE)]]);
    let day = 86_400;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    for (at, expected) in [
        (now, 1),
        (NINE / 1_000_000_000, 1),
        (now + 3 * 365 * day, 0),
    ] {
        let (start, end) = ((at - 60).to_string(), (at + 60).to_string());
        let window = [("start", &*start), ("end", &*end), ("scope", "span")];
        let path = Path("span.key 1/values".to_owned());
        let found = tags::values(State(api.clone()), path, asked(&window)).await;
        let found = json(found).await;
        assert_eq!(
            found["tagValues"].as_array().unwrap().len(),
            expected,
            "{found}"
        );
        let found = json(tags::tags(State(api.clone()), asked(&window)).await).await;
        assert_eq!(
            found["scopes"].as_array().unwrap().len(),
            expected,
            "{found}"
        );
    }
}
