//! Counts what the process does, and tells it in the words of Prometheus.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>. No label takes a value that a
//! stranger chose, so that the number of series is bounded; what spans tell is counted in `graph`, which has bounds of
//! its own.

mod logs;

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{self, Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};
use tokio::time::Instant;

use self::logs::{KeptLogs, LogCounts};
use crate::{
    api::{Answered, Waited},
    graph::Graph,
    store::{Accepted, Logs, Store},
};

/// What a request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Logs,
}

impl Signal {
    /// For people.
    pub(crate) const fn elements(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Logs => "log records",
        }
    }
}

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    OtlpGrpc,
    OtlpHttpProtobuf,
    OtlpHttpJson,
    JaegerThrift,
}

impl Protocol {
    const ALL: [Protocol; 4] = [
        Protocol::OtlpGrpc,
        Protocol::OtlpHttpProtobuf,
        Protocol::OtlpHttpJson,
        Protocol::JaegerThrift,
    ];

    const fn label(self) -> &'static str {
        match self {
            Protocol::OtlpGrpc => "otlp_grpc",
            Protocol::OtlpHttpProtobuf => "otlp_http_protobuf",
            Protocol::OtlpHttpJson => "otlp_http_json",
            Protocol::JaegerThrift => "jaeger_thrift_http",
        }
    }

    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Protocol::OtlpGrpc => "OTLP/gRPC",
            Protocol::OtlpHttpProtobuf | Protocol::OtlpHttpJson => "OTLP/HTTP",
            Protocol::JaegerThrift => "Jaeger thrift",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it is kept.
    Accepted,
    /// Some of what it holds is not.
    Partial,
    Malformed,
    TooLarge,
    /// The type or the compression of the message is not known.
    Unsupported,
    /// It took too long to arrive.
    Timeout,
    /// The store was full or busy; it may be sent again.
    Unavailable,
    /// A panic.
    Internal,
}

impl Outcome {
    const ALL: [Outcome; 8] = [
        Outcome::Accepted,
        Outcome::Partial,
        Outcome::Malformed,
        Outcome::TooLarge,
        Outcome::Unsupported,
        Outcome::Timeout,
        Outcome::Unavailable,
        Outcome::Internal,
    ];

    const fn label(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Partial => "partial",
            Outcome::Malformed => "malformed",
            Outcome::TooLarge => "too_large",
            Outcome::Unsupported => "unsupported",
            Outcome::Timeout => "timeout",
            Outcome::Unavailable => "unavailable",
            Outcome::Internal => "internal",
        }
    }
}

/// What is wrong with a span that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadId {
    Trace,
    Span,
    Parent,
}

impl BadId {
    const ALL: [BadId; 3] = [BadId::Trace, BadId::Span, BadId::Parent];

    const fn label(self) -> &'static str {
        match self {
            BadId::Trace => "bad_trace_id",
            BadId::Span => "bad_span_id",
            BadId::Parent => "bad_parent_span_id",
        }
    }
}

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// In seconds; a query ends after 10.
const DURATIONS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// All that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    graph: Option<Graph>,
    received: [Received; Protocol::ALL.len()],
    logs: LogCounts,
    queries: Family<[(&'static str, String); 2], Counter>,
    query_durations: Family<[(&'static str, String); 1], Histogram>,
    heard: Heard,
}

/// When somebody was heard of last, in nanoseconds since the Unix epoch; 0 if not since the start.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// A request whose spans were kept.
    pub(crate) spans: AtomicU64,
    /// A request whose log records were kept.
    pub(crate) logs: AtomicU64,
    /// A Prometheus that asked for metrics.
    pub(crate) scraper: AtomicU64,
}

impl Heard {
    fn note(when: &AtomicU64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        when.store(nanos, Ordering::Relaxed);
    }
}

/// What came over one protocol. All series are there from the start, so that counting is no more
/// than adding to a number, and an increase from 0 is seen.
struct Received {
    requests: [Counter; Outcome::ALL.len()],
    bytes: Counter,
    accepted_spans: Counter,
    rejected_spans: [Counter; BadId::ALL.len()],
}

impl Metrics {
    /// With a graph, what spans tell is counted too.
    pub(crate) fn new(store: Arc<Store>, logs: Arc<Logs>, graph: Option<Graph>) -> Metrics {
        let mut all = Registry::default();
        process_metrics::register(&mut all);
        let registry = all.sub_registry_with_prefix("tracestore");
        let build: Family<Labels<1>, Gauge> = Family::default();
        build
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION"))])
            .set(1);
        registry.register(
            "build_info",
            "Always 1; the label is the version of this program",
            build,
        );
        let requests: Family<Labels<2>, Counter> = Family::default();
        registry.register(
            "requests",
            "Requests with spans by what became of them: accepted as a whole or partial, or not kept \
             because malformed, too_large, unsupported, timeout (slow to arrive), internal, or \
             unavailable, which alone may be sent again",
            requests.clone(),
        );
        let bytes: Family<Labels<1>, Counter> = Family::default();
        registry.register(
            "received_bytes",
            "Bytes of messages with spans, after decompression",
            bytes.clone(),
        );
        let accepted: Family<Labels<1>, Counter> = Family::default();
        registry.register(
            "spans_accepted",
            "Spans that were kept when they arrived",
            accepted.clone(),
        );
        let rejected: Family<Labels<2>, Counter> = Family::default();
        registry.register(
            "spans_rejected",
            "Spans that were not kept, in requests that otherwise were, by what was wrong with them",
            rejected.clone(),
        );
        let received = Protocol::ALL.map(|protocol| {
            let protocol = ("protocol", protocol.label());
            let outcome = |outcome: Outcome| {
                let labels = [protocol, ("outcome", outcome.label())];
                requests.get_or_create_owned(&labels)
            };
            let reason = |reason: BadId| {
                let labels = [protocol, ("reason", reason.label())];
                rejected.get_or_create_owned(&labels)
            };
            Received {
                requests: Outcome::ALL.map(outcome),
                bytes: bytes.get_or_create_owned(&[protocol]),
                accepted_spans: accepted.get_or_create_owned(&[protocol]),
                rejected_spans: BadId::ALL.map(reason),
            }
        });
        let log_counts = LogCounts::new(registry);
        let queries = Family::default();
        registry.register(
            "queries",
            "Answers of the query API by route and outcome: ok, not_found, bad_request, busy, \
             deadline or error",
            Family::clone(&queries),
        );
        let query_durations =
            Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        registry.register(
            "query_duration_seconds",
            "How long it took until an answer of the query API began, by route, without those for \
             which a client has waited",
            Family::clone(&query_durations),
        );
        for (name, help, histogram) in [
            (
                "fsync_duration_seconds",
                "How long it took to bring what was written to the disk",
                &store.timings().fsync,
            ),
            (
                "seal_duration_seconds",
                "How long it took to merge new spans into a segment and write it",
                &store.timings().seal,
            ),
        ] {
            registry.register(name, help, histogram.clone());
        }
        registry.register_collector(Box::new(Kept(store)));
        registry.register_collector(Box::new(KeptLogs(logs)));
        Metrics {
            registry: all,
            graph,
            received,
            logs: log_counts,
            queries,
            query_durations,
            heard: Heard::default(),
        }
    }

    /// Counts a request once it is known what became of it.
    pub(crate) fn request(&self, signal: Signal, protocol: Protocol, outcome: Outcome) {
        let requests = match signal {
            Signal::Traces => &self.received[protocol as usize].requests,
            Signal::Logs => &self.logs.of(protocol).requests,
        };
        requests[outcome as usize].inc();
    }

    /// Counts a message that is here as a whole.
    pub(crate) fn bytes(&self, signal: Signal, protocol: Protocol, bytes: usize) {
        let counted = match signal {
            Signal::Traces => &self.received[protocol as usize].bytes,
            Signal::Logs => &self.logs.of(protocol).bytes,
        };
        counted.inc_by(bytes as u64);
    }

    /// Counts spans or log records that are kept.
    pub(crate) fn accepted(&self, signal: Signal, protocol: Protocol, count: u64) {
        let (accepted, heard) = match signal {
            Signal::Traces => (
                &self.received[protocol as usize].accepted_spans,
                &self.heard.spans,
            ),
            Signal::Logs => (&self.logs.of(protocol).accepted, &self.heard.logs),
        };
        accepted.inc_by(count);
        if count > 0 {
            Heard::note(heard);
        }
    }

    /// A Prometheus has asked.
    pub(crate) fn scraped(&self) {
        Heard::note(&self.heard.scraper);
    }

    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Counts log records that are too large.
    pub(crate) fn rejected_logs(&self, protocol: Protocol, records: u64) {
        self.logs.of(protocol).rejected.inc_by(records);
    }

    /// Counts ids that were left out of log records.
    pub(crate) fn dropped_ids(&self, traces: u64, spans: u64) {
        self.logs.dropped_ids(traces, spans);
    }

    /// Counts what the spans of a request tell, once they are kept.
    pub(crate) fn kept(&self, accepted: &Accepted<'_>) {
        if let Some(graph) = &self.graph {
            graph.observe(&accepted.batches, accepted.received, time::Instant::now());
        }
    }

    pub(crate) fn rejected_spans(&self, protocol: Protocol, why: BadId, spans: u64) {
        let received = &self.received[protocol as usize];
        received.rejected_spans[why as usize].inc_by(spans);
    }

    fn query(&self, route: &str, status: StatusCode, took: Option<Duration>) {
        let outcome = match status {
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::TOO_MANY_REQUESTS => "busy",
            StatusCode::GATEWAY_TIMEOUT => "deadline",
            status if status.is_client_error() => "bad_request",
            status if status.is_server_error() => "error",
            _ => "ok",
        };
        let route = ("route", route.to_owned());
        let labels = [route.clone(), ("outcome", outcome.to_owned())];
        self.queries.get_or_create(&labels).inc();
        let duration = self.query_durations.get_or_create(&[route]);
        if let Some(took) = took {
            duration.observe(took.as_secs_f64());
        }
    }

    /// A program that scrapes, unlike a person, sees a new series of the graph at 0 first.
    ///
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    pub(crate) fn openmetrics(&self, is_scraper: bool) -> String {
        let mut text = String::new();
        let written = self.write(&mut text, is_scraper, true);
        written.expect("writing to a string does not fail");
        text
    }

    fn write(&self, text: &mut String, is_scraper: bool, exemplars: bool) -> fmt::Result {
        text::encode_registry(text, &self.registry)?;
        if let Some(graph) = &self.graph {
            let mut registry = Registry::default();
            let snapshot = graph.snapshot(is_scraper, time::Instant::now());
            let examples = exemplars.then(|| snapshot.exemplars());
            registry.register_collector(Box::new(snapshot));
            match examples {
                Some(examples) => {
                    let mut counted = String::new();
                    text::encode_registry(&mut counted, &registry)?;
                    examples.add(&counted, text)?;
                }
                None => text::encode_registry(text, &registry)?,
            }
        }
        text::encode_eof(text)
    }

    /// The older format, for `curl`, `promtool` and scrapers that know no other: it differs in that
    /// the name of a counter has its suffix everywhere, and in that it has no units, no exemplars and no end.
    ///
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>
    pub(crate) fn prometheus(&self, is_scraper: bool) -> String {
        let mut openmetrics = String::new();
        let written = self.write(&mut openmetrics, is_scraper, false);
        written.expect("writing to a string does not fail");
        let counters: HashSet<&str> = (openmetrics.lines())
            .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
            .collect();
        let mut text = String::with_capacity(openmetrics.len());
        for line in openmetrics.lines() {
            if line.starts_with('#') {
                let mut words = line.splitn(4, ' ').skip(1);
                match (words.next(), words.next(), words.next()) {
                    (Some("EOF" | "UNIT"), ..) => continue,
                    (Some(kind), Some(name), Some(rest)) if counters.contains(name) => {
                        text.push_str(&format!("# {kind} {name}_total {rest}"));
                    }
                    _ => text.push_str(line),
                }
            } else {
                text.push_str(line);
            }
            text.push('\n');
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Counts and times the answers of the query API. Routes are few; what strangers ask for is not.
pub(crate) async fn count_queries(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    if let Some(route) = route {
        let answered = response.extensions().get::<Answered>();
        let status = answered.map_or(response.status(), |Answered(status)| *status);
        let has_waited = response.extensions().get::<Waited>().is_some();
        let took = (!has_waited).then(|| begun.elapsed());
        metrics.query(route.as_str(), status, took);
    }
    response
}

/// What the store says of itself when it is asked.
#[derive(Debug)]
struct Kept(Arc<Store>);

impl Collector for Kept {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (usage, options) = (self.0.usage(), self.0.options());
        let age = match usage.oldest_unix_nano {
            0 => Duration::ZERO,
            nanos => {
                let oldest = UNIX_EPOCH + Duration::from_nanos(nanos);
                oldest.elapsed().unwrap_or_default()
            }
        };
        let disk_limit = if self.0.is_on_disk() {
            options.max_disk
        } else {
            0
        };
        for (name, help, value) in [
            (
                "spans",
                "Spans that are kept; those that came twice count twice until they are merged",
                usage.spans as f64,
            ),
            (
                "traces",
                "Traces that are kept; those that are in two segments count twice",
                usage.traces as f64,
            ),
            (
                "parts",
                "Parts that searches look into, in memory and on disk",
                usage.parts as f64,
            ),
            (
                "segments",
                "Parts that are sealed: files, unless traces are kept in memory only",
                usage.segments as f64,
            ),
            (
                "memory_bytes",
                "Memory that kept traces take, without requests and answers in the making",
                usage.memory_bytes as f64,
            ),
            (
                "memory_limit_bytes",
                "What --max-memory allows kept traces to take",
                options.max_memory as f64,
            ),
            (
                "disk_bytes",
                "Disk space that kept traces take",
                usage.disk_bytes as f64,
            ),
            (
                "disk_limit_bytes",
                "What --max-disk allows kept traces to take, 0 if traces are kept in memory only",
                disk_limit as f64,
            ),
            (
                "oldest_age_seconds",
                "How long ago the oldest of the kept spans arrived",
                age.as_secs_f64(),
            ),
            (
                "age_limit_seconds",
                "How long spans are kept at most: what --max-age says",
                options.max_age.as_secs_f64(),
            ),
            (
                "damaged_files",
                "Pieces of data that could not be read since the start and were dropped or left out",
                usage.damaged.count as f64,
            ),
        ] {
            describe(&mut encoder, name, help, &ConstGauge::new(value))?;
        }
        for (name, help, value) in [
            (
                "spans_evicted",
                "Spans that were removed to stay within the limits, the oldest first",
                usage.evicted_spans,
            ),
            (
                "traces_evicted",
                "Traces that were removed to stay within the limits, the oldest first",
                usage.evicted_traces,
            ),
            (
                "store_refusals",
                "Requests that were good and yet not kept, because the store could not",
                usage.refused_requests,
            ),
        ] {
            describe(&mut encoder, name, help, &ConstCounter::new(value))?;
        }
        Ok(())
    }
}

fn describe(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
