//! The newest traces, as `/api/search` lists them.

use serde_json::{Value, json};

use crate::{
    inputs::{MS, chain, plain, request, span_id},
    server::{Server, start},
};

const SECOND: u64 = 1000 * MS;

/// The last two digits of the ids that are found.
async fn ids(server: &Server, query: &str) -> Vec<String> {
    let found = server.get(&format!("/api/search{query}")).await.json();
    let traces = found["traces"].as_array().unwrap();
    let id = |trace: &Value| trace["traceID"].as_str().unwrap()[30..].to_owned();
    traces.iter().map(id).collect()
}

#[tokio::test]
async fn an_empty_store_finds_nothing() {
    let server = start().await;
    let found = server.get("/api/search").await.json();
    assert_eq!(found["traces"], json!([]));
}

#[tokio::test]
async fn the_newest_traces_come_first_and_equal_ones_by_id() {
    let server = start().await;
    for (trace, second) in [("a1", 3), ("a2", 1), ("a3", 2), ("a5", 2), ("a4", 2)] {
        let mut span = plain(trace, 1, "work");
        span.start_time_unix_nano = (second + 1_000_000_000) * SECOND;
        span.end_time_unix_nano = span.start_time_unix_nano + MS;
        server.export(request("s", vec![span])).await.unwrap();
    }
    assert_eq!(ids(&server, "").await, ["a1", "a3", "a4", "a5", "a2"]);
    assert_eq!(ids(&server, "?limit=2&q=%7B%20%7D").await, ["a1", "a3"]);
    assert_eq!(ids(&server, "?limit=1000&spss=3").await.len(), 5);
    let window = "?start=1000000001&end=1000000002";
    assert_eq!(ids(&server, window).await, ["a3", "a4", "a5", "a2"]);
    assert_eq!(ids(&server, "?start=1&end=2").await, [""; 0]);
}

#[tokio::test]
async fn twenty_are_listed_unless_more_are_asked_for() {
    let server = start().await;
    let traces = (1..=30).map(|trace| plain(&format!("{trace:x}"), 1, "work"));
    server.export(request("s", traces.collect())).await.unwrap();
    assert_eq!(ids(&server, "").await.len(), 20);
    assert_eq!(ids(&server, "?limit=29").await.len(), 29);
}

#[tokio::test]
async fn a_trace_is_found_in_the_window_of_its_arrival_though_its_clock_is_wrong() {
    let server = start().await;
    let mut span = plain("a1", 1, "in 1970");
    span.start_time_unix_nano = SECOND;
    span.end_time_unix_nano = 2 * SECOND;
    server.export(request("s", vec![span])).await.unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let window = format!("?start={}&end={}", now - 60, now + 60);
    assert_eq!(ids(&server, &window).await, ["a1"]);
}

#[tokio::test]
async fn a_trace_without_its_root_says_so_until_the_root_arrives() {
    let server = start().await;
    let mut child = plain("a1", 2, "child");
    child.parent_span_id = span_id(1);
    server.export(request("s", vec![child])).await.unwrap();
    let trace = |found: Value| found["traces"][0].clone();
    let found = trace(server.get("/api/search").await.json());
    assert_eq!(found["rootServiceName"], "<root span not yet received>");
    assert_eq!(found["rootTraceName"], Value::Null);

    server
        .export(request("r", vec![plain("a1", 1, "root")]))
        .await
        .unwrap();
    let found = trace(server.get("/api/search").await.json());
    assert_eq!(
        (&found["rootServiceName"], &found["rootTraceName"]),
        (&json!("r"), &json!("root"))
    );
    assert_eq!(
        found["serviceStats"],
        json!({"r": {"spanCount": 1}, "s": {"spanCount": 1}})
    );
}

#[tokio::test]
async fn a_root_without_a_service_is_listed_as_tempo_lists_it() {
    let server = start().await;
    let mut anonymous = request("s", vec![plain("a1", 1, "root")]);
    anonymous.resource_spans[0].resource = None;
    server.export(anonymous).await.unwrap();
    let found = server.get("/api/search").await.json()["traces"][0].take();
    assert_eq!(found["rootServiceName"], "<root span not yet received>");
    assert_eq!(found["rootTraceName"], "root");
    assert_eq!(found["serviceStats"], json!({"": {"spanCount": 1}}));
}

#[tokio::test]
async fn query_expressions_are_refused_in_plain_text() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    for (query, why) in [
        (
            "?q=%7B%20status%20%3D%20error%20%7D",
            "query expressions are not supported",
        ),
        ("?tags=service.name%3Dedge", "tags is not supported"),
        ("?limit=0", "invalid limit"),
        ("?limit=1001", "invalid limit"),
        ("?start=2&end=1", "start must be before end"),
    ] {
        let answer = server.get(&format!("/api/search{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert!(answer.text().contains(why), "{query}: {}", answer.text());
    }
}
