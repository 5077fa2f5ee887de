//! What a Prometheus that scrapes makes of spans, in the words in which Grafana asks it for the service map.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{Status, status::StatusCode},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    inputs::{NINE, chain, id},
    metrics::program,
    process::{self, Running},
    server::{client, get, start},
};

/// Scrapes until it is dropped.
struct Prometheus {
    process: Child,
    address: String,
    /// When questions are about: of two moments, rates are not the same.
    time: Option<f64>,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// `None` where there is none.
    fn scraping(target: &str) -> Option<Prometheus> {
        let program = program("prometheus")?;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yaml");
        let text = include_str!("../../../conf/embedded/prometheus.yaml");
        let text = text
            .replace("5s", "500ms")
            .replace("localhost:3200", target);
        assert!(text.contains(target) && text.contains("500ms"), "{text}");
        fs::write(&config, text).unwrap();
        // It cannot be told to take any port that is free.
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap().to_string();
        drop(port);
        let process = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Prometheus {
            process,
            address,
            time: None,
            _folder: folder,
        })
    }

    async fn get(&self, path: &str) -> Value {
        let answer = get(&self.address, path, &[]).await;
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// What an expression is, by the values of these labels.
    async fn query(&self, expression: &str, labels: &[&str]) -> BTreeMap<String, f64> {
        let mut path = format!("/api/v1/query?query={}", escaped(expression));
        if let Some(time) = self.time {
            path = format!("{path}&time={time}");
        }
        let data = self.get(&path).await;
        let sample = |sample: &Value| {
            let of = |label: &&str| {
                sample["metric"][*label]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            let labels: Vec<_> = labels.iter().map(of).collect();
            let value = sample["value"][1].as_str().unwrap().parse().unwrap();
            (labels.join(" "), value)
        };
        data["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(sample)
            .collect()
    }

    /// Waits until there is a rate of calls; what is asked from then on is about that moment.
    async fn has_rates(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let rates = "sum by (client, server) (rate(traces_service_graph_request_total{}[5m])) > 0";
        loop {
            assert!(Instant::now() < deadline, "Prometheus knows no rates");
            let is_up = std::net::TcpStream::connect(&self.address).is_ok();
            if is_up
                && get(&self.address, "/-/ready", &[])
                    .await
                    .status
                    .is_success()
                && !self.query(rates, &[]).await.is_empty()
            {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                self.time = Some(now.as_secs_f64());
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// The chain, just over, as another trace. What uservice4 was asked for failed.
pub(crate) fn visit(trace: &str) -> ExportTraceServiceRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let later = now.as_nanos() as u64 - NINE - 2_000_000_000;
    let mut request = chain();
    for resource in &mut request.resource_spans {
        for span in &mut resource.scope_spans[0].spans {
            span.trace_id = id(trace);
            span.start_time_unix_nano += later;
            span.end_time_unix_nano += later;
        }
    }
    request.resource_spans[2].scope_spans[0].spans[0].status = Some(Status {
        code: StatusCode::Error.into(),
        ..Status::default()
    });
    request
}

/// The first samples of these metrics.
async fn first_sample(running: &Running, metric: &str) -> Option<String> {
    let answer = get(&running.http, "/metrics", &[]).await;
    let mut lines = answer.text().lines();
    lines
        .find(|line| line.starts_with(metric))
        .map(str::to_owned)
}

#[tokio::test]
async fn a_restart_counts_no_span_again() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("DATA", folder.path().to_str().unwrap())];
    let calls = "traces_spanmetrics_calls_total";
    let running = process::start(&variables);
    let mut sender = client(&running.otlp).await;
    sender.export(visit("a1")).await.unwrap();
    assert!(first_sample(&running, calls).await.is_some());
    drop(running);

    let running = process::start(&variables);
    assert_eq!(
        first_sample(&running, "tracestore_spans ").await.as_deref(),
        Some("tracestore_spans 7.0")
    );
    assert_eq!(first_sample(&running, calls).await, None);
}

#[tokio::test]
async fn who_does_not_want_it_is_told_nothing_of_services() {
    let running = process::start(&[("METRICS_GENERATOR", "false")]);
    let mut sender = client(&running.otlp).await;
    sender.export(visit("a1")).await.unwrap();
    let text = get(&running.http, "/metrics", &[]).await;
    assert!(text.text().contains("tracestore_spans 7.0\n"));
    let tells = |line: &str| line.split(' ').any(|word| word.starts_with("traces_"));
    assert!(!text.text().lines().any(tells), "{}", text.text());
}

#[tokio::test]
async fn prometheus_gives_grafana_its_service_map() {
    let server = start().await;
    for trace in ["a1", "a2", "a3"] {
        // Each service sends on its own, and the servers first.
        for of_service in visit(trace).resource_spans.into_iter().rev() {
            let request = ExportTraceServiceRequest {
                resource_spans: vec![of_service],
            };
            server.export(request).await.unwrap();
        }
    }
    let Some(mut prometheus) = Prometheus::scraping(&server.http.to_string()) else {
        return;
    };
    prometheus.has_rates().await;

    // Who calls whom.
    let pairs = ["edge uservice3", "user edge", "uservice3 uservice4"];
    let labelled = [
        "edge uservice3 ",
        "user edge virtual_node",
        "uservice3 uservice4 ",
    ];
    let all = |count: f64, names: [&str; 3]| names.map(|name| (name.to_owned(), count)).into();
    for metric in [
        "traces_service_graph_request_server_seconds_sum",
        "traces_service_graph_request_total",
        "traces_service_graph_request_failed_total",
        "traces_service_graph_request_server_seconds_bucket",
    ] {
        let group = format!("group by (client, connection_type, server) ({metric})");
        let labels = ["client", "server", "connection_type"];
        assert_eq!(
            prometheus.query(&group, &labels).await,
            all(1.0, labelled),
            "{metric}"
        );
        let rate = format!("sum by (client, server) (rate({metric}[5m]))");
        let rates = prometheus.query(&rate, &["client", "server"]).await;
        assert!(rates.keys().eq(pairs), "{metric}: {rates:?}");
        for (pair, rate) in rates {
            let is_positive = !metric.contains("failed") || pair == "uservice3 uservice4";
            assert_eq!(rate > 0.0, is_positive, "{metric} of {pair}: {rate}");
        }
    }
    let total = "traces_service_graph_request_total";
    let total = prometheus.query(total, &["client", "server"]).await;
    assert_eq!(total, all(3.0, pairs));
    let mean = |end: &str| {
        let seconds = format!("traces_service_graph_request_{end}_seconds");
        format!("sum by (client, server) ({seconds}_sum / {seconds}_count)")
    };
    for (end, expected) in [
        ("client", [1.708_123_456, 0.0, 1.557_123_456]),
        ("server", [1.704_123_456, 1.710_123_456, 1.553_123_456]),
    ] {
        let means = prometheus.query(&mean(end), &["client", "server"]).await;
        for (mean, expected) in means.into_values().zip(expected) {
            assert!(
                (mean - expected).abs() < 1e-9,
                "{end}: {mean} is not {expected}"
            );
        }
    }

    // The table below the map.
    let rate = "topk(5, sum(rate(traces_spanmetrics_calls_total{span_kind=\"SPAN_KIND_SERVER\"}[5m])) by (span_name))";
    let rates = prometheus.query(rate, &["span_name"]).await;
    assert!(
        rates.keys().eq(["GET", "handle_incoming_call"]),
        "{rates:?}"
    );
    let times = rates["handle_incoming_call"] / rates["GET"];
    assert!((times - 2.0).abs() < 1e-9, "{rates:?}");
    let errors = "topk(5, sum(rate(traces_spanmetrics_calls_total{status_code=\"STATUS_CODE_ERROR\",\
                  span_name=~\"GET|handle_incoming_call\"}[5m])) by (span_name))";
    let errors = prometheus.query(errors, &["span_name"]).await;
    assert!(errors.keys().eq(["handle_incoming_call"]), "{errors:?}");
    let half = errors["handle_incoming_call"] / rates["handle_incoming_call"];
    assert!((half - 0.5).abs() < 1e-9, "{errors:?} of {rates:?}");
    let quantile = "histogram_quantile(.9, sum(rate(traces_spanmetrics_latency_bucket{span_name=~\"GET\"}[5m])) by (le))";
    let quantile = prometheus.query(quantile, &[]).await;
    // All are in one bucket, within which it interpolates.
    assert!(
        (quantile[""] - (1.024 + 0.9 * 1.024)).abs() < 1e-9,
        "{quantile:?}"
    );

    // What the dots of its graphs lead to.
    let exemplars =
        "/api/v1/query_exemplars?query=traces_spanmetrics_latency_bucket&start=0&end=9999999999";
    let series = prometheus.get(exemplars).await;
    let exemplars = series.as_array().unwrap().iter();
    let exemplars = exemplars.flat_map(|series| series["exemplars"].as_array().unwrap());
    let traces: BTreeSet<_> = exemplars
        .map(|exemplar| exemplar["labels"]["trace_id"].as_str().unwrap())
        .collect();
    let newest = format!("{:0>32}", "a3");
    assert_eq!(traces, BTreeSet::from([newest.as_str()]));
    // A program that does not know them is not shown any.
    let text = get(&server.http.to_string(), "/metrics", &[]).await;
    assert!(!text.text().contains(" # {"), "{}", text.text());

    // Whether histograms are of the new kind.
    let probe = "/api/v1/series?match[]=traces_service_graph_request_server_seconds";
    assert_eq!(prometheus.get(probe).await, Value::Array(Vec::new()));
}
