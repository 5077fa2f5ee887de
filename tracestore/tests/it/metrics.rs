//! What Prometheus finds at `/metrics`.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    inputs::{CHAIN, chain, plain, request},
    server::{Server, start, start_with},
    service_graph::visit,
};

/// What is promised, with its type.
const FAMILIES: [(&str, &str); 62] = [
    ("process_cpu_seconds_total", "counter"),
    ("process_max_fds", "gauge"),
    ("process_open_fds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_threads", "gauge"),
    ("process_virtual_memory_bytes", "gauge"),
    ("tokio_alive_tasks", "gauge"),
    ("tokio_global_queue_depth", "gauge"),
    ("tokio_workers", "gauge"),
    ("traces_service_graph_dropped_spans_total", "counter"),
    ("traces_service_graph_request_client_seconds", "histogram"),
    ("traces_service_graph_request_failed_total", "counter"),
    ("traces_service_graph_request_server_seconds", "histogram"),
    ("traces_service_graph_request_total", "counter"),
    ("traces_service_graph_unpaired_spans_total", "counter"),
    ("traces_spanmetrics_calls_total", "counter"),
    ("traces_spanmetrics_latency", "histogram"),
    ("traces_spanmetrics_size_total", "counter"),
    ("tracestore_age_limit_seconds", "gauge"),
    ("tracestore_build_info", "gauge"),
    ("tracestore_damaged_files", "gauge"),
    ("tracestore_disk_bytes", "gauge"),
    ("tracestore_disk_limit_bytes", "gauge"),
    ("tracestore_fsync_duration_seconds", "histogram"),
    ("tracestore_log_age_limit_seconds", "gauge"),
    ("tracestore_log_damaged_pieces", "gauge"),
    ("tracestore_log_disk_bytes", "gauge"),
    ("tracestore_log_disk_limit_bytes", "gauge"),
    ("tracestore_log_ids_dropped_total", "counter"),
    ("tracestore_log_memory_bytes", "gauge"),
    ("tracestore_log_memory_limit_bytes", "gauge"),
    ("tracestore_log_oldest_age_seconds", "gauge"),
    ("tracestore_log_received_bytes_total", "counter"),
    ("tracestore_log_records", "gauge"),
    ("tracestore_log_records_accepted_total", "counter"),
    ("tracestore_log_records_evicted_total", "counter"),
    ("tracestore_log_records_rejected_total", "counter"),
    ("tracestore_log_requests_repeated_total", "counter"),
    ("tracestore_log_requests_total", "counter"),
    ("tracestore_log_store_refusals_total", "counter"),
    ("tracestore_memory_bytes", "gauge"),
    ("tracestore_memory_limit_bytes", "gauge"),
    ("tracestore_oldest_age_seconds", "gauge"),
    ("tracestore_parts", "gauge"),
    ("tracestore_queries_total", "counter"),
    ("tracestore_query_duration_seconds", "histogram"),
    ("tracestore_received_bytes_total", "counter"),
    ("tracestore_requests_total", "counter"),
    ("tracestore_seal_duration_seconds", "histogram"),
    ("tracestore_segments", "gauge"),
    ("tracestore_span_metrics_label_sets", "gauge"),
    ("tracestore_span_metrics_overflows_total", "counter"),
    ("tracestore_span_metrics_skipped_spans_total", "counter"),
    ("tracestore_span_metrics_waiting_spans", "gauge"),
    ("tracestore_spans", "gauge"),
    ("tracestore_spans_accepted_total", "counter"),
    ("tracestore_spans_evicted_total", "counter"),
    ("tracestore_spans_rejected_total", "counter"),
    ("tracestore_store_refusals_total", "counter"),
    ("tracestore_traces", "gauge"),
    ("tracestore_traces_evicted_total", "counter"),
];

/// The samples, by name and labels as they are written.
async fn samples(server: &Server) -> BTreeMap<String, f64> {
    let answer = server.get("/metrics").await;
    let lines = answer.text().lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

/// The samples that are not what they were, and by how much.
fn moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let by = |name: &str| after[name] - before.get(name).unwrap_or(&0.0);
    let names = after.keys().filter(|name| by(name) != 0.0);
    names.map(|name| (name.clone(), by(name))).collect()
}

#[tokio::test]
async fn every_family_is_there_explained_and_nothing_else() {
    let server = start().await;
    server.get("/api/search").await;
    let answer = server.get("/metrics").await;
    assert_eq!(
        answer.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let described = |kind: &str| {
        let lines = answer.text().lines();
        let of_kind = lines.filter_map(|line| line.strip_prefix(kind)?.split_once(' '));
        let mut described: Vec<_> = of_kind.collect();
        described.sort_unstable();
        described
    };
    assert_eq!(described("# TYPE "), FAMILIES);
    for (name, help) in described("# HELP ") {
        assert!(help.split(' ').count() > 3, "{name}: {help}");
    }
    assert_eq!(described("# HELP ").len(), FAMILIES.len());
}

#[tokio::test]
async fn what_is_received_is_counted_by_protocol_and_outcome() {
    let server = start().await;
    let before = samples(&server).await;

    server.export(chain()).await.unwrap();
    let mut partly = request("a", vec![plain(CHAIN, 1, "kept"), plain(CHAIN, 2, "not")]);
    partly.resource_spans[0].scope_spans[0].spans[1].span_id = vec![0; 8];
    server.export(partly).await.unwrap();
    let json = ("content-type", "application/json");
    server.post(&[json], "{}").await;
    server.post(&[json], "{").await;
    server.post(&[("content-type", "text/plain")], "").await;
    let protobuf = ("content-type", "application/x-protobuf");
    server.post(&[protobuf], vec![0; 17 << 20]).await;
    server.post_thrift("no thrift").await;

    let moved = moved(&before, &samples(&server).await);
    let requests = |protocol: &str, outcome: &str| {
        let name = "tracestore_requests_total";
        let labels = format!("protocol=\"{protocol}\",outcome=\"{outcome}\"");
        moved.get(&format!("{name}{{{labels}}}")).copied()
    };
    for (protocol, outcome) in [
        ("otlp_grpc", "accepted"),
        ("otlp_grpc", "partial"),
        ("otlp_http_json", "accepted"),
        ("otlp_http_json", "malformed"),
        ("otlp_http_protobuf", "unsupported"),
        ("otlp_http_protobuf", "too_large"),
        ("jaeger_thrift_http", "malformed"),
    ] {
        assert_eq!(
            requests(protocol, outcome),
            Some(1.0),
            "{protocol} {outcome}"
        );
    }
    let of_requests = |name: &&String| name.starts_with("tracestore_requests_total");
    assert_eq!(moved.keys().filter(of_requests).count(), 7, "{moved:#?}");
    for (name, by) in [
        (
            "tracestore_spans_accepted_total{protocol=\"otlp_grpc\"}",
            8.0,
        ),
        (
            "tracestore_spans_rejected_total{protocol=\"otlp_grpc\",reason=\"bad_span_id\"}",
            1.0,
        ),
        (
            "tracestore_received_bytes_total{protocol=\"otlp_http_json\"}",
            3.0,
        ),
        (
            "tracestore_received_bytes_total{protocol=\"jaeger_thrift_http\"}",
            9.0,
        ),
        ("tracestore_spans", 8.0),
        ("tracestore_traces", 1.0),
    ] {
        assert_eq!(moved.get(name), Some(&by), "{name} in {moved:#?}");
    }
    for name in [
        "tracestore_memory_bytes",
        "tracestore_oldest_age_seconds",
        "tracestore_parts",
    ] {
        assert!(moved[name] > 0.0, "{name}");
    }
}

#[tokio::test]
async fn queries_are_counted_by_route_whatever_is_asked_for() {
    let server = start().await;
    for path in [
        "/api/search",
        "/api/search?limit=none",
        "/api/traces/1",
        "/api/traces/2",
        "/api/traces/zzz",
        "/api/v2/traces/3",
        "/api/nothing",
        "/metrics",
        "/",
    ] {
        server.get(path).await;
    }
    let samples = samples(&server).await;
    let queries: BTreeMap<_, _> = samples
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("tracestore_queries_total")?, *value)))
        .collect();
    let expected = [
        ("{route=\"/api/search\",outcome=\"bad_request\"}", 1.0),
        ("{route=\"/api/search\",outcome=\"ok\"}", 1.0),
        ("{route=\"/api/traces/{id}\",outcome=\"bad_request\"}", 1.0),
        ("{route=\"/api/traces/{id}\",outcome=\"not_found\"}", 2.0),
        ("{route=\"/api/v2/traces/{id}\",outcome=\"ok\"}", 1.0),
    ];
    assert_eq!(queries, expected.into());
    let count = "tracestore_query_duration_seconds_count{route=\"/api/search\"}";
    assert_eq!(samples[count], 2.0);
    let all = "tracestore_query_duration_seconds_bucket{le=\"+Inf\",route=\"/api/search\"}";
    assert_eq!(samples[all], 2.0, "{samples:#?}");
}

#[tokio::test]
async fn what_is_evicted_is_counted() {
    let server = start_with(100_000).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while samples(&server).await["tracestore_spans_evicted_total"] == 0.0 {
        assert!(Instant::now() < deadline, "nothing is evicted");
        for trace in 1..50_u128 {
            let spans = vec![plain(&format!("{trace:032x}"), 1, "old")];
            // A store that is full for the moment says so.
            let _ = server.export(request("a", spans)).await;
        }
    }
    assert!(samples(&server).await["tracestore_traces_evicted_total"] > 0.0);
}

#[tokio::test]
async fn scrapers_that_know_openmetrics_get_it() {
    let server = start().await;
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1";
    let answer = server.get_with("/metrics", &[("accept", accept)]).await;
    assert_eq!(
        answer.headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(
        answer
            .text()
            .contains("\n# TYPE tracestore_requests counter\n")
    );
    assert!(answer.text().ends_with("\n# EOF\n"));
}

#[tokio::test]
async fn promtool_has_nothing_to_object() {
    let Some(promtool) = program("promtool") else {
        return;
    };
    let server = start().await;
    server.export(visit("a1")).await.unwrap();
    server.get("/api/search").await;
    let text = server.get("/metrics").await;
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = check.stdin.take().unwrap();
    input.write_all(text.text().as_bytes()).unwrap();
    drop(input);
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// In `target/tools` or on the PATH. Where it is not, the test is skipped with a line that gets past
/// the test runner's capture, or fails if `REQUIRE_ALL` is set.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools");
    let mut folders = vec![PathBuf::from(tools)];
    folders.extend(env::split_paths(&path));
    let mut programs = folders.into_iter().map(|folder| folder.join(name));
    let found = programs.find(|program| program.is_file());
    if found.is_none() {
        let why = format!("`{name}` is missing: the Debian package prometheus has it");
        assert!(
            env::var_os("REQUIRE_ALL").is_none(),
            "REQUIRE_ALL is set, and {why}"
        );
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}");
    }
    found
}
