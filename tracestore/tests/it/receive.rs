//! Spans over OTLP/gRPC, and the whole trace by its id.

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    trace::v1::{ResourceSpans, TracesData},
};
use prost::Message;
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

use crate::{
    inputs::{CHAIN, MS, NINE, chain, from_service, plain, request, text},
    server::{Server, start, start_with},
};

async fn trace(server: &Server, id: &str) -> Vec<ResourceSpans> {
    let answer = server.get_protobuf(&format!("/api/traces/{id}")).await;
    assert_eq!(answer.headers["content-type"], "application/protobuf");
    TracesData::decode(answer.body).unwrap().resource_spans
}

#[tokio::test]
async fn a_trace_comes_back_as_it_was_sent() {
    let server = start().await;
    let answer = server.export(chain()).await.unwrap();
    assert_eq!(answer, ExportTraceServiceResponse::default());
    assert_eq!(trace(&server, CHAIN).await, chain().resource_spans);
}

#[tokio::test]
async fn gzip_is_accepted() {
    let server = start().await;
    server.export_gzipped(chain()).await.unwrap();
    assert_eq!(trace(&server, CHAIN).await, chain().resource_spans);
}

#[tokio::test]
async fn an_empty_request_succeeds() {
    let server = start().await;
    let answer = server.export(ExportTraceServiceRequest::default()).await;
    assert_eq!(answer.unwrap(), ExportTraceServiceResponse::default());
}

#[tokio::test]
async fn spans_of_a_trace_merge_in_whatever_order_its_services_send_them() {
    let server = start().await;
    for resource_spans in chain().resource_spans.into_iter().rev() {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![resource_spans],
        };
        server.export(request).await.unwrap();
    }
    assert_eq!(trace(&server, CHAIN).await, chain().resource_spans);
}

#[tokio::test]
async fn spans_of_one_service_are_in_one_place_however_they_were_batched() {
    let server = start().await;
    let [first, second] = [1, 2].map(|span| plain("a1", span, "work"));
    for span in [&second, &first] {
        let request = request("one", vec![span.clone()]);
        server.export(request).await.unwrap();
    }
    let mut merged = from_service("one", vec![first, second]);
    for span in &mut merged.scope_spans[0].spans {
        span.status = Some(Default::default());
    }
    assert_eq!(trace(&server, "a1").await, [merged]);
}

#[tokio::test]
async fn a_span_that_is_sent_again_is_kept_once_and_another_with_its_id_is_kept_too() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    server.export(chain()).await.unwrap();
    assert_eq!(trace(&server, CHAIN).await, chain().resource_spans);

    let other = plain("a1", 1, "another");
    let spans = vec![plain("a1", 1, "one"), other.clone(), other];
    server.export(request("s", spans)).await.unwrap();
    let kept = &trace(&server, "a1").await[0].scope_spans[0].spans;
    let names: Vec<&str> = kept.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["one", "another"]);
}

#[tokio::test]
async fn ids_are_padded_and_case_does_not_matter() {
    let server = start().await;
    let request = request("s", vec![plain("abc", 1, "short")]);
    server.export(request).await.unwrap();
    let padded = format!("{:0>32}", "abc");
    for id in ["abc", "ABC", "0abc", &padded] {
        for version in ["v2/traces", "traces"] {
            let answer = server.get(&format!("/api/{version}/{id}")).await;
            assert!(answer.text().contains("\"short\""), "{version} {id}");
        }
    }
}

#[tokio::test]
async fn a_trace_is_protobuf_for_whoever_accepts_that() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    for (accept, kind) in [
        ("application/protobuf", "application/protobuf"),
        (
            "text/html, application/protobuf;q=0.1",
            "application/protobuf",
        ),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
    ] {
        for version in ["v2/traces", "traces"] {
            let path = format!("/api/{version}/{CHAIN}");
            let answer = server.get_with(&path, &[("accept", accept)]).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.headers["content-type"], kind, "{accept}");
        }
    }
}

#[tokio::test]
async fn an_unknown_trace_is_empty_in_version_2_and_not_found_in_version_1() {
    let server = start().await;
    for unknown in ["abc", "0"] {
        let v2 = format!("/api/v2/traces/{unknown}");
        let empty = json!({"trace": {}, "metrics": {}});
        assert_eq!(server.get(&v2).await.json(), empty);
        let empty = [0x0a, 0, 0x12, 0].as_slice();
        assert_eq!(server.get_protobuf(&v2).await.body, empty);
        let v1 = server.get(&format!("/api/traces/{unknown}")).await;
        assert_eq!((v1.status.as_u16(), v1.text()), (404, ""));
    }
}

#[tokio::test]
async fn bad_ids_are_a_400_that_says_why() {
    let server = start().await;
    let long = "a".repeat(10_000);
    for (id, why) in [
        ("xyz", "invalid character 'x' at position 1"),
        (long.as_str(), "can't be larger than 128 bits"),
        ("%2e%2e%2fready", "invalid character '.' at position 1"),
        ("%3Cimg%3E", "invalid character '<' at position 1"),
        ("a%00", "invalid character '\\u{0}' at position 2"),
    ] {
        for version in ["v2/traces", "traces"] {
            let answer = server.get(&format!("/api/{version}/{id}")).await;
            assert_eq!(answer.status, 400);
            assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
            assert!(answer.text().contains(why), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_resource_without_attributes_is_the_unknown_service() {
    let server = start().await;
    let mut sent = from_service("s", vec![plain("a1", 1, "anonymous")]);
    sent.resource = None;
    sent.scope_spans[0].scope = None;
    let request = ExportTraceServiceRequest {
        resource_spans: vec![sent],
    };
    server.export(request).await.unwrap();
    let found = &trace(&server, "a1").await[0];
    let resource = found.resource.as_ref().unwrap();
    assert_eq!(
        resource.attributes,
        [text("service.name", "unknown_service")]
    );
    // Grafana dereferences these without looking.
    assert!(found.scope_spans[0].scope.is_some());
    assert!(found.scope_spans[0].spans[0].status.is_some());
}

#[tokio::test]
async fn a_span_that_ends_before_it_starts_ends_at_its_start() {
    let server = start().await;
    let mut backwards = plain("a1", 1, "backwards");
    backwards.end_time_unix_nano = NINE - MS;
    let mut endless = plain("a2", 1, "endless");
    endless.start_time_unix_nano = 0;
    endless.end_time_unix_nano = u64::MAX;
    let request = request("s", vec![backwards, endless]);
    server.export(request).await.unwrap();

    let found = server.get("/api/v2/traces/a1").await.json();
    let span = &found["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["endTimeUnixNano"], NINE.to_string());

    let found = server.get("/api/search").await.json();
    let durations = |id: &str| -> Value {
        let traces = found["traces"].as_array().unwrap();
        let trace = traces
            .iter()
            .find(|trace| trace["traceID"] == format!("{id:0>32}"));
        trace.unwrap()["durationMs"].clone()
    };
    assert_eq!(durations("a1"), Value::Null);
    assert_eq!(durations("a2"), u32::MAX);
}

#[tokio::test]
async fn the_oldest_trace_makes_room_and_is_gone_whole() {
    let server = start_with(100_000).await;
    for number in 1..=200_u8 {
        let trace = format!("{number:x}");
        let spans = vec![plain(&trace, 1, "a"), plain(&trace, 2, "b")];
        server.export(request("s", spans)).await.unwrap();
    }
    let usage = loop {
        let usage = server.get("/status.json").await.json()["usage"].take();
        if usage["memoryBytes"].as_u64().unwrap() <= 100_000 {
            break usage;
        }
        tokio::task::yield_now().await;
    };
    let kept = usage["traces"].as_u64().unwrap();
    assert_eq!(usage["evictedTraces"], 200 - kept);
    assert_eq!(usage["evictedSpans"], 2 * (200 - kept));
    assert!((20..200).contains(&kept), "{kept}");
    for number in 1..=200 {
        let answer = server.get(&format!("/api/traces/{number:x}")).await;
        assert_eq!(answer.status == 200, number > 200 - kept, "{number}");
    }
}

#[tokio::test]
async fn stopping_closes_idle_connections() {
    let mut server = start().await;
    let mut idle = server.client().await;
    idle.export(chain()).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    // Open requests have three seconds.
    timeout(Duration::from_secs(2), server.stopped)
        .await
        .expect("an idle connection does not hold the server up")
        .unwrap();
    assert!(idle.export(chain()).await.is_err());
}
