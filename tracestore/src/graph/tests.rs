//! What is counted of which spans.

use std::{borrow::Cow, sync::Arc};

use prometheus_client::{encoding::text::encode, registry::Registry};

use super::*;
use crate::span::{KeyValue, Kind, Resource, Scope, SpanId, Status, StatusCode, TraceId, Value};

/// When everything is received.
fn received() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A span that took half a second, and just ended.
fn span(
    id: u64,
    parent: u64,
    kind: Kind,
    attributes: &[(&'static str, &'static str)],
) -> Span<'static> {
    let end = 1_800_000_000_000_000_000;
    let attribute = |(key, value): &(&'static str, &'static str)| KeyValue {
        key: Cow::Borrowed(key),
        value: Value::String(Cow::Borrowed(value)),
    };
    Span {
        parent: SpanId::new(parent.to_be_bytes()),
        name: Cow::Borrowed("name"),
        kind,
        start_unix_nano: end - 500_000_000,
        end_unix_nano: end,
        attributes: attributes.iter().map(attribute).collect(),
        ..Span::plain(SpanId::new(id.to_be_bytes()).unwrap())
    }
}

fn failed(span: Span<'static>) -> Span<'static> {
    let status = Status {
        code: StatusCode::Error,
        message: Cow::Borrowed(""),
    };
    Span { status, ..span }
}

/// Takes so many milliseconds and ends when it would have.
fn taking(milliseconds: u64, span: Span<'static>) -> Span<'static> {
    Span {
        start_unix_nano: span.end_unix_nano - milliseconds * 1_000_000,
        ..span
    }
}

/// Spans of one trace, made by one service.
fn batch(service: &str, spans: Vec<Span<'static>>) -> Batch<'static> {
    let trace = TraceId::new([7; 16]).unwrap();
    Batch {
        resource: Arc::new(Resource {
            attributes: vec![KeyValue {
                key: Cow::Borrowed("service.name"),
                value: Value::String(Cow::Owned(service.to_owned())),
            }],
            ..Resource::default()
        }),
        scope: Arc::new(Scope::default()),
        spans: spans.into_iter().map(|span| (trace, span)).collect(),
    }
}

/// A graph and its clock.
struct Clocked {
    graph: Graph,
    now: Instant,
}

impl Clocked {
    fn new() -> Clocked {
        Clocked {
            graph: Graph::new(),
            now: Instant::now(),
        }
    }

    /// In a request of its own.
    fn observe(&self, service: &str, spans: Vec<Span<'static>>) {
        self.graph
            .observe(&[batch(service, spans)], received(), self.now);
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// The samples whose name begins so, without it.
    fn samples(&self, prefix: &str) -> Vec<String> {
        let text = exposition(self.graph.snapshot(false, self.now));
        let samples = text.lines().filter_map(|line| line.strip_prefix(prefix));
        samples.map(str::to_owned).collect()
    }

    /// Client, server, type: requests, failures, seconds of the client and of the server.
    fn edges(&self) -> Vec<String> {
        let snapshot = self.graph.snapshot(false, self.now);
        let edges = snapshot.edges.iter().map(|edge| {
            let labels = edge.labels.as_ref().unwrap();
            let counts = &edge.values;
            format!(
                "{} -> {} ({}): {} {} {} {} lost {} {}",
                labels.client,
                labels.server,
                labels.connection.name(),
                counts.requests,
                counts.failed,
                counts.client_seconds.sum(),
                counts.server_seconds.sum(),
                counts.unpaired,
                counts.dropped,
            )
        });
        edges.collect()
    }
}

fn exposition(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn a_bucket_leads_to_the_newest_span_in_it() {
    let graph = Clocked::new();
    let spans = [(2, 500), (3, 400), (4, 5)];
    let spans =
        spans.map(|(id, milliseconds)| taking(milliseconds, span(id, 0, Kind::Server, &[])));
    graph.observe("a \"b\" # {", spans.to_vec());
    let snapshot = graph.graph.snapshot(false, graph.now);
    let exemplars = snapshot.exemplars();
    let mut text = String::new();
    exemplars.add(&exposition(snapshot), &mut text).unwrap();
    let exemplars = text
        .lines()
        .filter_map(|line| line.split_once(" # {trace_id"));
    let exemplars: Vec<_> = exemplars.map(|(_, exemplar)| exemplar).collect();
    let trace = "07".repeat(16);
    assert_eq!(
        exemplars,
        [
            format!("=\"{trace}\",span_id=\"0000000000000004\"}} 0.005 1800000000.000000000"),
            format!("=\"{trace}\",span_id=\"0000000000000003\"}} 0.4 1800000000.000000000"),
        ]
    );
    let bucket = "traces_spanmetrics_latency_bucket{le=\"0.008\",";
    let line = text.lines().find(|line| line.starts_with(bucket)).unwrap();
    assert!(line.contains(" 1 # {"), "{line}");

    // As long as a scraper is shown 0, there is nothing to lead to.
    let snapshot = graph.graph.snapshot(true, graph.now);
    let mut text = String::new();
    let exemplars = snapshot.exemplars();
    exemplars.add(&exposition(snapshot), &mut text).unwrap();
    assert!(!text.contains("trace_id"), "{text}");
}

#[test]
fn the_two_ends_of_a_call_meet_in_any_order_and_over_requests() {
    let client = || taking(700, span(2, 1, Kind::Client, &[]));
    let server = || failed(span(3, 2, Kind::Server, &[]));
    let expected = ["shop -> stock (): 1 1 0.7 0.5 lost 0 0"];

    let graph = Clocked::new();
    graph.observe("shop", vec![client()]);
    assert!(graph.edges().is_empty());
    graph.observe("stock", vec![server()]);
    assert_eq!(graph.edges(), expected);

    let mut graph = Clocked::new();
    graph.observe("stock", vec![server()]);
    graph.wait(9);
    graph.observe("shop", vec![client()]);
    assert_eq!(graph.edges(), expected);

    let graph = Clocked::new();
    let batches = [
        batch("shop", vec![client()]),
        batch("stock", vec![server()]),
    ];
    graph.graph.observe(&batches, received(), graph.now);
    assert_eq!(graph.edges(), expected);
}

#[test]
fn what_a_client_says_of_its_peer_makes_the_edge() {
    for (attributes, expected) in [
        // A database is known at once, by the most telling of its names.
        (
            &[("db.system", "redis")][..],
            "a -> redis (database): 1 0 0.5 0.5 lost 0 0",
        ),
        (
            &[("db.system", "mysql"), ("db.name", "orders")],
            "a -> orders (database): 1 0 0.5 0.5 lost 0 0",
        ),
        (
            &[("db.name", "old"), ("db.namespace", "new")],
            "a -> new (database): 1 0 0.5 0.5 lost 0 0",
        ),
        (
            &[("db.name", "orders"), ("network.peer.address", "10.0.0.1")],
            "a -> 10.0.0.1 (database): 1 0 0.5 0.5 lost 0 0",
        ),
        (
            &[
                ("db.name", "orders"),
                ("network.peer.port", "5432"),
                ("network.peer.address", "10.0.0.1"),
            ],
            "a -> 10.0.0.1:5432 (database): 1 0 0.5 0.5 lost 0 0",
        ),
        (
            &[
                ("db.name", "orders"),
                ("network.peer.address", "10.0.0.1"),
                ("server.address", "db.example.org"),
            ],
            "a -> db.example.org (database): 1 0 0.5 0.5 lost 0 0",
        ),
        (
            &[
                ("server.address", "db.example.org"),
                ("db.name", "orders"),
                ("peer.service", "postgres"),
            ],
            "a -> postgres (database): 1 0 0.5 0.5 lost 0 0",
        ),
        // A service may yet turn up; of what it took nothing is known.
        (
            &[("peer.service", "bank"), ("peer.service", "second")],
            "a -> bank (virtual_node): 1 0 0.5 0 lost 0 0",
        ),
        (
            &[("server.address", "bank.example.org")],
            "a ->  (): 0 0 0 0 lost 1 0",
        ),
        (&[("db.system", "")], "a ->  (database): 0 0 0 0 lost 1 0"),
    ] {
        let mut graph = Clocked::new();
        graph.observe("a", vec![span(2, 1, Kind::Client, attributes)]);
        let at_once = graph.edges();
        assert_eq!(at_once.is_empty(), !expected.contains("(database): 1"));
        graph.wait(10);
        assert_eq!(graph.edges(), [expected], "{attributes:?}");
    }
}

/// In Tempo 3.0.3 an empty name takes the place of the one that is known, and the call is lost.
#[test]
fn an_empty_name_of_a_server_does_not_hide_the_one_that_is_known() {
    let graph = Clocked::new();
    graph.observe("b", vec![span(2, 1, Kind::Server, &[])]);
    let unnamed = &[("db.system", "x"), ("server.address", "")];
    // Of a database's time, the client knows best.
    let client = span(1, 0, Kind::Client, unnamed);
    graph.observe("a", vec![taking(700, client)]);
    assert_eq!(graph.edges(), ["a -> b (database): 1 0 0.7 0.7 lost 0 0"]);
}

#[test]
fn a_server_without_a_parent_was_called_by_a_user() {
    let graph = Clocked::new();
    graph.observe("edge", vec![span(1, 0, Kind::Server, &[])]);
    assert_eq!(
        graph.edges(),
        ["user -> edge (virtual_node): 1 0 0 0.5 lost 0 0"]
    );

    for named in [
        &[("db.name", "other"), ("peer.service", "phone")][..],
        &[("db.system", "other"), ("db.name", "phone")],
        &[("db.system", "phone"), ("server.address", "other")],
    ] {
        let graph = Clocked::new();
        graph.observe("edge", vec![span(1, 0, Kind::Server, named)]);
        assert_eq!(
            graph.edges(),
            ["phone -> edge (virtual_node): 1 0 0 0.5 lost 0 0"]
        );
    }
}

#[test]
fn a_server_whose_client_never_comes_is_unpaired() {
    let mut graph = Clocked::new();
    graph.observe(
        "b",
        vec![span(2, 1, Kind::Server, &[("peer.service", "a")])],
    );
    graph.wait(9);
    assert!(graph.edges().is_empty());
    graph.wait(1);
    assert_eq!(graph.edges(), [" -> b (): 0 0 0 0 lost 1 0"]);
    // Its client is too late, and waits for itself.
    graph.observe("a", vec![span(1, 0, Kind::Client, &[])]);
    assert_eq!(graph.edges().len(), 1);
    assert_eq!(graph.samples("traces_service_graph_request_total"), [""; 0]);
    assert_eq!(
        graph.samples("traces_service_graph_unpaired_spans_total"),
        ["{client=\"\",server=\"b\",connection_type=\"\"} 1"]
    );
}

#[test]
fn producers_and_consumers_are_ends_of_a_message() {
    let graph = Clocked::new();
    graph.observe("a", vec![span(1, 0, Kind::Producer, &[])]);
    graph.observe("b", vec![span(2, 1, Kind::Consumer, &[])]);
    assert_eq!(
        graph.edges(),
        ["a -> b (messaging_system): 1 0 0.5 0.5 lost 0 0"]
    );
}

#[test]
fn other_spans_and_those_of_nobody_are_no_ends() {
    let mut graph = Clocked::new();
    let of = |kind| span(1, 9, kind, &[("peer.service", "x")]);
    graph.observe("a", vec![of(Kind::Internal), of(Kind::Unspecified)]);
    let mut nobodys = batch("", vec![of(Kind::Client)]);
    nobodys.resource = Arc::default();
    graph.graph.observe(&[nobodys], received(), graph.now);
    graph.wait(10);
    assert!(graph.edges().is_empty());
    assert_eq!(graph.samples("traces_spanmetrics_calls_total").len(), 3);
}

#[test]
fn spans_are_counted_by_service_name_kind_and_status() {
    let graph = Clocked::new();
    let server = span(1, 0, Kind::Server, &[]);
    let bytes = ingest::encoded_len(&server);
    graph.observe("a", vec![server.clone(), taking(2, server.clone())]);
    graph.observe("a", vec![failed(server.clone())]);
    let labels = |status| {
        format!(
            "service=\"a\",span_name=\"name\",span_kind=\"SPAN_KIND_SERVER\",status_code=\"STATUS_CODE_{status}\""
        )
    };
    let (unset, error) = (labels("UNSET"), labels("ERROR"));
    assert_eq!(
        graph.samples("traces_spanmetrics_calls_total"),
        [format!("{{{unset}}} 2"), format!("{{{error}}} 1")]
    );
    assert_eq!(
        graph.samples("traces_spanmetrics_size_total")[0],
        format!("{{{unset}}} {}", 2 * bytes)
    );
    assert_eq!(
        graph.samples("traces_spanmetrics_latency_sum")[0],
        format!("{{{unset}}} 0.502")
    );
    // A bound belongs to what is below it.
    let buckets = graph.samples("traces_spanmetrics_latency_bucket");
    for (bound, count) in [
        ("0.002", 1),
        ("0.256", 1),
        ("0.512", 2),
        ("16.384", 2),
        ("+Inf", 2),
    ] {
        let sample = format!("{{le=\"{bound}\",{unset}}} {count}");
        assert!(buckets.contains(&sample), "{sample} in {buckets:#?}");
    }
    assert_eq!(buckets.len(), 2 * 15);
}

#[test]
fn spans_that_ended_long_ago_or_in_the_future_are_not_counted() {
    let graph = Clocked::new();
    let shifted = |seconds: i64| {
        let span = span(1, 0, Kind::Server, &[]);
        Span {
            end_unix_nano: span
                .end_unix_nano
                .saturating_add_signed(seconds * 1_000_000_000),
            ..span
        }
    };
    graph.observe("a", [-31, -30, 0, 30, 31].map(shifted).into());
    assert_eq!(
        graph.edges(),
        ["user -> a (virtual_node): 3 0 0 31 lost 0 0"]
    );
    assert_eq!(
        graph.samples("tracestore_span_metrics_skipped_spans_total"),
        [" 2"]
    );
}

#[test]
fn a_scraper_sees_a_new_series_at_0_first_and_a_person_does_not() {
    let graph = Clocked::new();
    graph.observe("a", vec![span(1, 0, Kind::Server, &[])]);
    let requests = |is_scraper| {
        let text = exposition(graph.graph.snapshot(is_scraper, graph.now));
        let mut samples = text
            .lines()
            .filter_map(|line| line.strip_prefix("traces_service_graph_request_total"));
        samples
            .next()
            .unwrap()
            .rsplit_once(' ')
            .unwrap()
            .1
            .to_owned()
    };
    assert_eq!(requests(false), "1");
    assert_eq!(requests(true), "0");
    assert_eq!(requests(true), "1");
    assert_eq!(requests(false), "1");
}

#[test]
fn series_without_spans_for_15_minutes_go_away() {
    let mut graph = Clocked::new();
    graph.observe("a", vec![span(1, 0, Kind::Server, &[])]);
    graph.observe("b", vec![span(1, 0, Kind::Server, &[])]);
    graph.wait(14 * 60);
    graph.observe("b", vec![span(1, 0, Kind::Server, &[])]);
    assert_eq!(graph.edges().len(), 2);
    graph.wait(60);
    assert_eq!(
        graph.edges(),
        ["user -> b (virtual_node): 2 0 0 1 lost 0 0"]
    );
    assert_eq!(graph.samples("traces_spanmetrics_calls_total").len(), 1);
}

#[test]
fn any_number_of_names_takes_bounded_memory() {
    const MANY: usize = 20_000;
    let mut graph = Clocked::new();
    for number in 0..MANY {
        graph.observe(
            &format!("service-{number}"),
            vec![span(1, 0, Kind::Server, &[])],
        );
    }
    let calls = graph.samples("traces_spanmetrics_calls_total");
    let overflow = |count| format!("{{metric_overflow=\"true\"}} {count}");
    assert_eq!(calls.len(), 4001);
    assert_eq!(calls[0], overflow(MANY - 4000));
    let requests = graph.samples("traces_service_graph_request_total");
    assert_eq!(requests.len(), 2001);
    assert_eq!(requests[0], overflow(MANY - 2000));
    assert_eq!(
        graph.samples("tracestore_span_metrics_overflows_total"),
        [format!(" {}", 2 * MANY - 6000)]
    );
    // Those that are known are counted on, and in time there is room again.
    graph.observe("service-0", vec![span(1, 0, Kind::Server, &[])]);
    assert!(graph.edges_of("service-0").ends_with(" 2"));
    graph.wait(15 * 60);
    graph.observe("new", vec![span(1, 0, Kind::Server, &[])]);
    assert!(graph.edges_of("new").ends_with(" 1"));
}

impl Clocked {
    /// The sample of visits to this service.
    fn edges_of(&self, service: &str) -> String {
        let mut requests = self
            .samples("traces_service_graph_request_total")
            .into_iter();
        let server = format!("server=\"{service}\"");
        requests.find(|sample| sample.contains(&server)).unwrap()
    }
}

#[test]
fn long_names_take_bounded_memory() {
    let mut graph = Clocked::new();
    for number in 0..2000 {
        let service = format!("{number:04096}");
        graph.observe(&service, vec![span(1, 0, Kind::Server, &[])]);
    }
    // All names are the same up to where they are cut.
    assert_eq!(graph.edges().len(), 1);
    for number in 0..2000 {
        let service = format!("{number}{:04096}", 0);
        graph.observe(&service, vec![span(1, 0, Kind::Server, &[])]);
    }
    let text = exposition(graph.graph.snapshot(false, graph.now));
    assert!(text.len() < 40 << 20, "{}", text.len());
    let before = graph.samples("traces_service_graph_request_total").len();
    assert!(before < 150, "{before}");
    // In time there is room again.
    graph.wait(15 * 60);
    graph.observe("new", vec![span(1, 0, Kind::Server, &[])]);
    assert!(graph.edges_of("new").ends_with(" 1"));
}

#[test]
fn ends_that_wait_take_bounded_memory_and_the_oldest_go_first() {
    const PEER: &str = "a name that takes some room, as long as that of a host in a cluster: \
                        0123456789.0123456789.0123456789.0123456789.0123456789.0123456789";
    let mut graph = Clocked::new();
    for id in 1..=60_000 {
        let client = span(id, 0, Kind::Client, &[("peer.service", PEER)]);
        graph.observe("a", vec![client]);
    }
    let waiting = graph.graph.counts().edges.halves.len();
    assert!((10_000..32_768).contains(&waiting), "{waiting}");
    assert_eq!(
        graph.edges(),
        [format!("a ->  (): 0 0 0 0 lost 0 {}", 60_000 - waiting)]
    );
    graph.observe("b", vec![span(70_000, 60_000, Kind::Server, &[])]);
    assert_eq!(graph.edges()[1], "a -> b (): 1 0 0.5 0.5 lost 0 0");
    graph.wait(10);
    let expired = format!("a -> {PEER} (virtual_node): {} ", waiting - 1);
    assert!(graph.edges().iter().any(|edge| edge.starts_with(&expired)));
    assert_eq!(graph.graph.counts().edges.halves.len(), 0);
    assert_eq!(
        graph.samples("tracestore_span_metrics_waiting_spans"),
        [" 0"]
    );
}

#[test]
fn calls_that_met_leave_nothing_behind() {
    let graph = Clocked::new();
    // Waits in front of all others.
    graph.observe("a", vec![span(u64::MAX, 0, Kind::Client, &[])]);
    for id in 1..=20_000 {
        graph.observe("a", vec![span(id, 0, Kind::Client, &[])]);
        graph.observe("b", vec![span(1, id, Kind::Server, &[])]);
        let slots = graph.graph.counts().edges.halves.slots();
        assert!(slots <= 1028, "{slots}");
    }
    graph.observe("b", vec![span(1, u64::MAX, Kind::Server, &[])]);
    assert!(graph.edges()[0].starts_with("a -> b (): 20001 0 "));
    let counts = graph.graph.counts();
    let halves = &counts.edges.halves;
    assert_eq!((halves.len(), halves.bytes()), (0, 0));
}

#[test]
fn of_a_span_that_comes_twice_the_last_counts() {
    let mut graph = Clocked::new();
    let client = |peer| span(1, 0, Kind::Client, peer);
    graph.observe("a", vec![client(&[("peer.service", "bank")])]);
    graph.observe("a", vec![client(&[("peer.service", "the other bank")])]);
    graph.observe("a", vec![client(&[])]);
    graph.wait(10);
    assert_eq!(
        graph.edges(),
        ["a -> the other bank (virtual_node): 1 0 0.5 0 lost 0 0"]
    );
    assert_eq!(graph.graph.counts().edges.halves.bytes(), 0);
}

#[test]
fn names_of_strangers_stay_text() {
    let graph = Clocked::new();
    let service = "a\"} 1\n# TYPE x counter\nx{y=\"\\";
    graph.observe(service, vec![span(1, 0, Kind::Server, &[])]);
    assert_eq!(
        graph.samples("traces_service_graph_request_total"),
        [
            "{client=\"user\",server=\"a\\\"} 1\\n# TYPE x counter\\nx{y=\\\"\\\\\",connection_type=\"virtual_node\"} 1"
        ]
    );
}
