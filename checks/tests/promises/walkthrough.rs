//! The walk through README.org, step by step, on the embedded edge and on a real Traefik, with the embedded
//! store or, where TEMPO_URL and TEMPO_OTLP name one, with a real Tempo.

use std::collections::BTreeSet;
use std::env;

use expect_test::expect_file;
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use crate::http::{self, get, visit};
use crate::lab::{Lab, PATIENCE};
use crate::need::{self, TRAEFIK};
use crate::trace::Trace;

/// A lab, and the store that its traces go to.
async fn lab_and_store(args: &[&str]) -> (Lab, String) {
    let (Ok(url), Ok(otlp)) = (env::var("TEMPO_URL"), env::var("TEMPO_OTLP")) else {
        let lab = Lab::start(args).await;
        let store = lab.url("tracestore");
        return (lab, store);
    };
    (Lab::start(&[args, &["--otlp", &otlp]].concat()).await, url)
}

#[tokio::test]
async fn a_visit_of_uservice3_is_one_whole_trace() {
    let (lab, store) = lab_and_store(&[]).await;
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    let trace = Trace::of(&store, &id, 7).await;
    expect_file!["../../golden/trace.txt"].assert_eq(&trace.tree());
}

#[tokio::test]
async fn a_visit_of_uservice1_is_two_spans_of_the_edge() {
    let (lab, store) = lab_and_store(&[]).await;
    let blind = visit(&lab.url("edge"), "uservice1.localhost")
        .await
        .trace_id();
    let traced = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    // Exporters keep the order, so once the later trace is whole, nothing of the earlier one is to come.
    Trace::of(&store, &traced, 7).await;
    let trace = Trace::now(&store, &blind).await;
    expect_file!["../../golden/blind-trace.txt"].assert_eq(&trace.tree());
}

#[tokio::test]
async fn the_metrics_of_the_edge_lead_to_the_trace_of_a_blind_visit() {
    let lab = Lab::start(&[]).await;
    let id = visit(&lab.url("edge"), "uservice1.localhost")
        .await
        .trace_id();
    Trace::of(&lab.url("tracestore"), &id, 2).await;
    let url = format!("{}/metrics", lab.url("edge_metrics"));
    let metrics = get(&url, &[]).await.unwrap().body;
    let of_uservice1 = |line: &&str| line.contains("server_address=\"uservice1.localhost\"");
    let lines: Vec<_> = metrics.lines().filter(of_uservice1).collect();
    let counted = |line: &&&str| line.contains("_count{") && line.ends_with(" 1");
    assert!(lines.iter().any(|line| counted(&line)), "{metrics}");
    let exemplar = format!("# {{trace_id=\"{id}\",");
    assert!(
        lines.iter().any(|line| line.contains(&exemplar)),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_log_shows_the_header_that_carries_the_trace() {
    let (lab, _store) = lab_and_store(&[]).await;
    let id = visit(&lab.url("edge"), "uservice1.localhost")
        .await
        .trace_id();
    lab.process.says("uservice1  | Request: {").await;
    lab.process
        .says(&format!("uservice1  |   \"uber-trace-id\": \"{id}:"))
        .await;
    lab.process.says("uservice2  | Request: {").await;
    lab.process
        .says("uservice1  | Response: 200 OK <!DOCTYPE html>")
        .await;
}

#[tokio::test]
async fn the_store_has_the_lines_of_all_who_were_told_of_a_trace_even_of_the_blind() {
    let lab = Lab::start(&[]).await;
    let store = lab.url("tracestore");
    for (host, with, without) in [
        (
            "uservice1.localhost",
            &["edge", "uservice1"][..],
            "uservice2",
        ),
        (
            "uservice3.localhost",
            &["edge", "uservice3", "uservice4"][..],
            "uservice1",
        ),
    ] {
        let (id, begun) = (
            visit(&lab.url("edge"), host).await.trace_id(),
            Instant::now(),
        );
        let services = loop {
            let services = logged(&store, &id).await;
            if with.iter().all(|part| services.contains(*part)) {
                break services;
            }
            assert!(begun.elapsed() < PATIENCE, "{host}: {services:?}");
            sleep(Duration::from_millis(20)).await;
        };
        assert!(!services.contains(without), "{services:?}");
    }
}

#[tokio::test]
async fn what_a_stranger_sends_neither_breaks_a_line_in_the_store_nor_names_its_trace() {
    let lab = Lab::start(&[]).await;
    let store = lab.url("tracestore");
    let forged = "e".repeat(32);
    let quote = format!("\",\\n  \"uber-trace-id\": \"{forged}:1:0:1\",\\n}}");
    let object = format!("{{\"trace_id\":\"{forged}\"}}");
    let headers = [
        ("host", b"uservice1.localhost".as_slice()),
        ("user-agent", object.as_bytes()),
        ("trace_id", forged.as_bytes()),
        ("a-quote", quote.as_bytes()),
        ("not-utf8", b"\xff\xfe \xc3\t}"),
    ];
    let answer = get(&lab.url("edge"), &headers).await.unwrap();
    let (id, begun) = (answer.trace_id(), Instant::now());
    let both = BTreeSet::from(["edge".to_owned(), "uservice1".to_owned()]);
    while logged(&store, &id).await != both {
        assert!(begun.elapsed() < PATIENCE, "{}", lab.process.log());
        sleep(Duration::from_millis(20)).await;
    }
    assert!(logged(&store, &forged).await.is_empty());
    let bodies: Vec<_> = (records(&store, &id).await.iter())
        .map(|record| record["body"]["stringValue"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(bodies.len(), 2, "{bodies:#?}");
    let request = bodies.iter().find(|body| body.starts_with("Request: {\n"));
    let request = request.unwrap();
    assert!(
        request.ends_with("\n}") && request.contains("not-utf8"),
        "{request}"
    );
}

async fn records(store: &str, trace: &str) -> Vec<Value> {
    let url = format!("{store}/logs.json?trace={trace}");
    let mut answer: Value = serde_json::from_str(&get(&url, &[]).await.unwrap().body).unwrap();
    match answer["records"].take() {
        Value::Array(records) => records,
        other => panic!("{other}"),
    }
}

/// Whose log records of a trace the store has.
async fn logged(store: &str, trace: &str) -> BTreeSet<String> {
    let records = records(store, trace).await.into_iter();
    let services = records.map(|record| {
        assert_eq!(record["traceId"], trace, "{record}");
        record["service"].as_str().unwrap().to_owned()
    });
    services.collect()
}

#[tokio::test]
async fn spans_can_be_read_in_the_log_instead() {
    let lab = Lab::start_with(&[], &[("OTEL_TRACES_EXPORTER", "console")]).await;
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    for service in ["uservice3", "uservice4"] {
        lab.process
            .says(&format!("{service}  |         trace_id: {id},"))
            .await;
        lab.process
            .says(&format!("{service}  |     name: \"handle_incoming_call\","))
            .await;
    }
    Trace::of(&lab.url("tracestore"), &id, 2).await;
}

#[tokio::test]
async fn a_direct_visit_of_uservice3_begins_a_trace() {
    let (lab, store) = lab_and_store(&[]).await;
    let id = get(&lab.url("uservice3"), &[]).await.unwrap().trace_id();
    let trace = Trace::of(&store, &id, 5).await;
    assert_eq!(trace.spans.len(), 5, "{}", trace.tree());
    assert_eq!(trace.span("uservice3", "handle_incoming_call").parent, "");
}

#[tokio::test]
async fn variables_that_the_services_do_not_read_do_not_take_the_spans_of_the_edge() {
    let env = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
    ];
    let mut lab = Lab::start_with(&[], &env).await;
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    Trace::of(&lab.url("tracestore"), &id, 7).await;
    lab.signal(Signal::TERM);
    lab.process.ended().await;
    lab.process
        .says("all spans that ended were delivered")
        .await;
}

#[tokio::test]
async fn a_short_trace_id_is_continued() {
    let (lab, store) = lab_and_store(&[]).await;
    let id = format!("5737c004a641f5{:02x}", std::process::id() % 256);
    let header = format!("{id}:1f1e2d6167105390:{id}:1");
    for (part, spans) in [("edge", 7), ("uservice3", 12)] {
        let host = ("host", &b"uservice3.localhost"[..]);
        let headers = [host, ("uber-trace-id", header.as_bytes())];
        let answer = get(&lab.url(part), &headers).await.unwrap();
        assert_eq!(answer.trace_id(), format!("{id:0>32}"), "{part}");
        let trace = Trace::of(&store, &format!("{id:0>32}"), spans).await;
        let continued = trace
            .spans
            .iter()
            .filter(|span| span.parent == "1f1e2d6167105390");
        assert_eq!(continued.count(), spans.div_ceil(7), "{}", trace.tree());
    }
}

#[tokio::test]
async fn replies_name_their_trace_for_programs_and_for_pages() {
    let (lab, _store) = lab_and_store(&[]).await;
    let answer = visit(&lab.url("edge"), "uservice3.localhost").await;
    let context = answer.header("traceresponse");
    let timing = answer.header("server-timing");
    assert!(
        timing.starts_with(&format!("traceparent;desc=\"{context}\"")),
        "{timing}"
    );
    if env::var("TEMPO_URL").is_err() {
        let link = format!("{}/trace/{}", lab.url("tracestore"), answer.trace_id());
        assert!(
            timing.ends_with(&format!(", trace;desc=\"{link}\"")),
            "{timing}"
        );
        assert_eq!(http::get(&link, &[]).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_visit_through_a_real_traefik_is_the_same_trace() {
    if need::program("traefik", TRAEFIK).is_none() {
        return;
    }
    let (lab, store) = lab_and_store(&["--edge", "traefik"]).await;
    // Traefik names no trace in its replies, uservice3 does.
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    let mut trace = Trace::of(&store, &id, 7).await;
    for span in trace
        .spans
        .iter_mut()
        .filter(|span| span.service == "traefik")
    {
        span.service = "edge".to_owned();
    }
    let golden = crate::repository::read("checks/golden/trace.txt");
    assert_eq!(spans_only(&trace.tree()), spans_only(&golden));
}

#[tokio::test]
async fn a_blind_visit_through_a_real_traefik_is_its_two_spans() {
    if need::program("traefik", TRAEFIK).is_none() {
        return;
    }
    let (lab, store) = lab_and_store(&["--edge", "traefik"]).await;
    visit(&lab.url("edge"), "uservice1.localhost").await;
    // Only the log of uservice1 tells the trace.
    let header = lab
        .process
        .says("uservice1  |   \"uber-trace-id\": \"")
        .await;
    let blind = header.split('"').nth(3).unwrap().split(':').next().unwrap();
    let traced = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    Trace::of(&store, &traced, 7).await;
    let trace = Trace::now(&store, blind)
        .await
        .with_service("traefik", "edge");
    let golden = crate::repository::read("checks/golden/blind-trace.txt");
    assert_eq!(spans_only(&trace.tree()), spans_only(&golden));
}

/// A tree without what may differ between the edges: the resources, and where they reach the service.
fn spans_only(tree: &str) -> String {
    let spans = tree.split("\nresource").next().unwrap_or_default();
    let same = |line: &&str| !line.trim_start().starts_with("server.");
    spans.lines().filter(same).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_trace_outlives_the_lab() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = ["--data", data.to_str().unwrap()];
    let lab = outlived(async || Lab::start(&data).await).await;
    lab.process.says("7 spans, replayed ").await;
}

/// What `cargo run --release` starts, which keeps traces beside itself.
#[tokio::test]
async fn a_trace_outlives_the_lab_that_nobody_told_where_to_keep_it() {
    let project = tempfile::tempdir().unwrap();
    let _lab = outlived(async || Lab::start_in(project.path()).await).await;
    assert!(project.path().join("target/lab/lock").is_file());
}

/// A lab that was started again, and has the trace of before.
async fn outlived(start: impl AsyncFn() -> Lab) -> Lab {
    let mut lab = start().await;
    let id = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    let before = Trace::of(&lab.url("tracestore"), &id, 7).await;
    lab.signal(Signal::TERM);
    assert!(lab.process.ended().await.success(), "{}", lab.process.log());

    let lab = start().await;
    let after = Trace::now(&lab.url("tracestore"), &id).await;
    assert_eq!(after.spans.len(), 7, "{}", after.tree());
    assert_eq!(after.tree(), before.tree());
    lab
}

#[tokio::test]
async fn a_second_lab_on_the_same_folder_says_so_and_runs_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data", folder.path().to_str().unwrap()];
    let first = Lab::start(&data).await;
    let second = Lab::start(&data).await;
    second
        .process
        .says("is in use by another tracestore: keeping traces in memory only")
        .await;
    let id = visit(&second.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    Trace::of(&second.url("tracestore"), &id, 7).await;
    let here = Trace::now(&first.url("tracestore"), &id).await;
    assert!(here.spans.is_empty(), "{}", here.tree());
}

#[tokio::test]
async fn the_lab_says_where_every_receiver_is() {
    let lab = Lab::start(&[]).await;
    for (part, how) in [
        ("otlp", "OTLP over gRPC"),
        ("otlp_http", "OTLP over HTTP"),
        ("jaeger", "Jaeger's thrift over HTTP"),
    ] {
        let line = lab.process.says(how).await;
        assert!(line.contains(&lab.url(part)), "{line}");
    }
}
