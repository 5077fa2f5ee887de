//! Requests that are well formed and yet too much, or strange: whatever the protocol, the process
//! stays up, serves others meanwhile, gives its memory back, and says little.

use std::{
    fs,
    io::Write,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use hyper::{Method, body::Bytes};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value},
    trace::v1::{Span, TracesData, span::Event},
};
use prost::Message;
use serde_json::{Value as Json, json};
use tonic::codec::CompressionEncoding;

use crate::{
    inputs::{MS, NINE, attribute, chain, from_service, id, int, plain, request, span_id, text},
    process::{Running, complaints, start},
    server::{Answer, client, get, post_thrift, send},
    thrift::{Required, Struct, batch_of, long_tag, reference, span as thrift_span, text_tag},
};

/// An array in an array, so many deep.
pub(crate) fn nested_value(depth: usize) -> Value {
    let mut value = Value::IntValue(1);
    for _ in 0..depth {
        value = Value::ArrayValue(ArrayValue {
            values: vec![AnyValue { value: Some(value) }],
        });
    }
    value
}

/// Values, keys and repetitions that are allowed and rare.
pub(crate) fn strange_values() -> Vec<KeyValue> {
    vec![
        attribute("nan", Value::DoubleValue(f64::NAN)),
        attribute("infinity", Value::DoubleValue(f64::INFINITY)),
        attribute("minus infinity", Value::DoubleValue(f64::NEG_INFINITY)),
        attribute("minus zero", Value::DoubleValue(-0.0)),
        int("least", i64::MIN),
        text("", "the key is empty"),
        text("", "and twice"),
        text("twice", "first"),
        int("twice", 2),
        text("twice", "first"),
        text("\u{202e}<img onerror=alert(1)>", "\u{0}"),
    ]
}

/// A span that is its own parent, two that are parents of each other, and one whose parent never
/// comes.
pub(crate) fn shapes() -> Vec<Span> {
    let child = |id: u8, parent: u8, name: &str| Span {
        parent_span_id: span_id(parent),
        ..plain("a1", id, name)
    };
    vec![
        child(1, 1, "self"),
        child(2, 3, "a"),
        child(3, 2, "b"),
        child(4, 99, "orphan"),
        plain("a1", 5, "root"),
        child(6, 5, "child"),
    ]
}

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Grpc,
    HttpProtobuf,
    HttpJson,
    Thrift,
}

/// A process and what it took before anything was sent that is out of the ordinary.
struct Watched {
    running: Running,
    since: Instant,
    baseline: u64,
}

const MAX_MEMORY: u64 = 32 << 20;
/// Bytes of a request, and of what is decoded of it: see `--max-request-size` and `ingest::build`.
const MESSAGE: u64 = 16 << 20;
const DECODED: u64 = 64 << 20;

/// Bytes that the process may hold on to after a hostile request: what is kept, and holes between it where a request was,
/// before and after decompression, what was decoded of it, and the part that was made of that.
const MAX_GROWTH: u64 = MAX_MEMORY + 2 * MESSAGE + 2 * DECODED;
/// Bytes that it may take for one request at its worst: its buffers are copied as they grow.
const MAX_PEAK: u64 = MAX_GROWTH + 2 * MESSAGE;

/// So that the allocator gives back what is free, as far as it can, and only what the program holds is seen.
const FRUGAL: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
];

impl Watched {
    async fn start() -> Watched {
        let bound = MAX_MEMORY.to_string();
        let running = start(&[&FRUGAL[..], &[("MAX_MEMORY", &bound)]].concat());
        client(&running.otlp).await.export(chain()).await.unwrap();
        let baseline = memory(&running, "VmRSS");
        Watched {
            running,
            since: Instant::now(),
            baseline,
        }
    }

    /// What `send` gives, while others are served. Memory is given back then.
    async fn serve<T>(&self, what: &str, send: impl Future<Output = T>) -> T {
        let clear = format!("/proc/{}/clear_refs", self.running.child.id());
        // The peak begins anew, where the system allows it.
        let _ = fs::write(clear, "5");
        let others = async {
            loop {
                client(&self.running.otlp)
                    .await
                    .export(chain())
                    .await
                    .unwrap();
                let ready = get(&self.running.http, "/ready", &[]).await;
                assert_eq!(ready.status, 200, "{what}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let answer = tokio::select! {
            answer = send => answer,
            () = others => unreachable!("others are served until there is an answer"),
        };
        let peak = memory(&self.running, "VmHWM");
        assert!(
            peak < self.baseline + MAX_PEAK,
            "{what}: {} MiB",
            peak >> 20
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        while memory(&self.running, "VmRSS") > self.baseline + MAX_GROWTH {
            assert!(
                Instant::now() < deadline,
                "{what}: {} MiB are held",
                memory(&self.running, "VmRSS") >> 20
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        answer
    }

    /// Sends the spans, which are accepted, if need be in part.
    async fn accepts(&self, what: &str, by: By, body: Vec<u8>) {
        let what = format!("{what} by {by:?}");
        match by {
            By::Grpc => {
                let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
                let mut client = client(&self.running.otlp).await;
                let answer = self.serve(&what, client.export(request)).await;
                answer.unwrap_or_else(|status| panic!("{what}: {status}"));
            }
            By::HttpProtobuf | By::HttpJson => {
                let answer = self.serve(&what, self.post(by, &[], body)).await;
                assert_eq!(answer.status, 200, "{what}: {:?}", answer.body);
            }
            By::Thrift => {
                let answer = self
                    .serve(&what, post_thrift(&self.running.jaeger, body))
                    .await;
                assert_eq!(answer.status, 202, "{what}: {:?}", answer.body);
            }
        }
    }

    async fn post(&self, by: By, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let (address, path, kind) = match by {
            By::Grpc => unreachable!("it has a client"),
            By::HttpProtobuf => (
                &self.running.otlp_http,
                "/v1/traces",
                "application/x-protobuf",
            ),
            By::HttpJson => (&self.running.otlp_http, "/v1/traces", "application/json"),
            By::Thrift => (&self.running.jaeger, "/api/traces", "application/x-thrift"),
        };
        let headers = [headers, &[("content-type", kind)]].concat();
        send(address, Method::POST, path, &headers, Bytes::from(body)).await
    }

    async fn json(&self, path: &str) -> Json {
        get(&self.running.http, path, &[]).await.json()
    }

    async fn spans(&self, id: &str) -> Vec<Span> {
        let accept = ("accept", "application/protobuf");
        let path = format!("/api/traces/{id}");
        let answer = get(&self.running.http, &path, &[accept]).await;
        assert_eq!(answer.status, 200);
        let trace = TracesData::decode(answer.body).unwrap();
        let scopes = trace
            .resource_spans
            .into_iter()
            .flat_map(|of| of.scope_spans);
        scopes.flat_map(|of| of.spans).collect()
    }

    /// Ends it. Its log has a line of its refusals, if there were any, and another one each 10
    /// seconds.
    fn end(mut self, refused: bool) {
        assert_eq!(self.running.child.try_wait().unwrap(), None, "it has ended");
        let most = match refused {
            true => 1 + self.since.elapsed().as_secs() / 10,
            false => 0,
        };
        self.running.child.kill().unwrap();
        let text = complaints(&mut self.running.child);
        let lines = text.lines().count() as u64;
        assert!((u64::from(refused)..=most).contains(&lines), "{text}");
    }
}

/// A line of `/proc/PID/status`, in bytes.
fn memory(running: &Running, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap();
    let kibibytes = line.trim_matches(|other: char| !other.is_ascii_digit());
    kibibytes.parse::<u64>().unwrap() << 10
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// As thrift; names and ids alone.
fn in_thrift(service: &str, spans: &[Span]) -> Vec<u8> {
    let half = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().unwrap());
    let spans = spans.iter().map(|span| {
        thrift_span(Required {
            trace: (half(&span.trace_id[..8]), half(&span.trace_id[8..])),
            span: half(&span.span_id),
            parent: match &span.parent_span_id[..] {
                [] => 0,
                parent => half(parent),
            },
            name: &span.name,
            start: (span.start_time_unix_nano / 1000).cast_signed(),
            duration: 1,
        })
    });
    batch_of(service, vec![], spans.collect())
}

/// The same spans by all protocols that carry them in binary.
fn by_each(spans: &[Span]) -> [(By, Vec<u8>); 3] {
    let protobuf = request("s", spans.to_vec()).encode_to_vec();
    [
        (By::Grpc, protobuf.clone()),
        (By::HttpProtobuf, protobuf),
        (By::Thrift, in_thrift("s", spans)),
    ]
}

/// Spans `1..=count` of a trace, each with the parent that `parent` gives it.
fn tree(trace: &str, count: u64, parent: impl Fn(u64) -> Option<u64>) -> Vec<Span> {
    let spans = (1..=count).map(|number| Span {
        span_id: number.to_be_bytes().into(),
        parent_span_id: parent(number).map_or(Vec::new(), |parent| parent.to_be_bytes().into()),
        start_time_unix_nano: NINE + number * 1000,
        end_time_unix_nano: NINE + number * 1000 + MS,
        ..plain(trace, 1, "s")
    });
    spans.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_of_any_shape_are_kept_and_shown() {
    let watched = Watched::start().await;
    for (by, body) in by_each(&shapes()) {
        watched.accepts("cycles and orphans", by, body).await;
    }
    let chain: fn(u64) -> Option<u64> = |number| (number > 1).then(|| number - 1);
    let star: fn(u64) -> Option<u64> = |number| (number > 1).then_some(1);
    for (what, count, parent, traces) in [
        ("a deep chain", 10_000, chain, ["d0", "d1", "d2"]),
        ("a wide trace", 100_000, star, ["b0", "b1", "b2"]),
    ] {
        for (number, trace) in traces.into_iter().enumerate() {
            let [.., (by, body)] = &by_each(&tree(trace, count, parent))[..=number] else {
                unreachable!("there is one for each protocol");
            };
            watched.accepts(what, *by, body.clone()).await;
            let found = watched.serve(what, watched.spans(trace)).await;
            assert_eq!(found.len() as u64, count, "{what} by {by:?}");
        }
    }
    let path = "/api/v2/traces/d0";
    watched.serve("a deep chain", watched.json(path)).await;
    let names = watched.spans("a1").await;
    for name in ["self", "a", "b", "orphan", "root", "child"] {
        assert_eq!(
            names.iter().filter(|span| span.name == name).count(),
            2,
            "{name}"
        );
    }
    watched.json("/api/search").await;
    watched.end(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_without_bound_do_not_take_memory_without_bound() {
    const MANY: u64 = 100_000;
    let watched = Watched::start().await;
    let in_trace = |trace: u64| Span {
        trace_id: u128::from(trace).to_be_bytes().into(),
        ..plain("1", 1, "s")
    };
    let services = |first: u64| ExportTraceServiceRequest {
        resource_spans: (first..first + MANY)
            .map(|n| from_service(&format!("service {n}"), vec![in_trace(n)]))
            .collect(),
    };
    // A million in all, most of which make others go.
    for request in 0..10 {
        let body = services(1 + request * MANY).encode_to_vec();
        let what = "a service for each span";
        watched.accepts(what, By::HttpProtobuf, body).await;
    }
    // What is too much goes a moment later.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let usage = watched.json("/status.json").await["usage"].take();
        let sizes = ["memoryBytes", "maxMemoryBytes"].map(|name| usage[name].as_u64().unwrap());
        if sizes[0] <= sizes[1] && usage["evictedSpans"].as_u64().unwrap() > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{usage}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let keys = (0..MANY / 10).map(|n| Span {
        attributes: (0..100)
            .map(|key| int(&format!("{:x}", n * 100 + key), 1))
            .collect(),
        ..in_trace(n + 1)
    });
    let keys = request("s", keys.collect());
    let events = (0..MANY / 100).map(|n| Span {
        events: (0..100)
            .map(|key| Event {
                name: format!("event {}", n * 100 + key),
                attributes: vec![int(&format!("key {}", n * 100 + key), 1)],
                ..Event::default()
            })
            .collect(),
        ..in_trace(n + 1)
    });
    let events = request("s", events.collect());
    let long = from_service(&"s".repeat(1 << 20), vec![plain("c1000000", 1, "long")]);
    let long = ExportTraceServiceRequest {
        resource_spans: vec![long],
    };
    for (what, request) in [
        ("a service for each span", services(1)),
        ("a key for each attribute", keys),
        ("an event of each name", events),
        ("a long name", long),
    ] {
        for by in [By::Grpc, By::HttpProtobuf] {
            watched.accepts(what, by, request.encode_to_vec()).await;
        }
        for path in [
            "/api/search",
            "/api/v2/search/tags",
            "/api/v2/search/tag/resource.service.name/values",
        ] {
            watched.serve(what, watched.json(path)).await;
        }
    }
    let tags = (0..MANY / 100).map(|n| {
        let tags = (0..100).map(|key| long_tag(&format!("tag {}", n * 100 + key), 1));
        thrift_span(Required {
            trace: (0, n as i64 + 1),
            span: 1,
            parent: 0,
            name: "s",
            start: 1,
            duration: 1,
        })
        .list(10, tags.collect())
    });
    let tags = batch_of("s", vec![], tags.collect());
    watched
        .accepts("a key for each tag", By::Thrift, tags)
        .await;
    let long = batch_of(&"s".repeat(1 << 20), vec![], vec![]);
    watched.accepts("a long name", By::Thrift, long).await;
    let found = watched.json("/api/v2/traces/c1000000").await;
    let service = &found["trace"]["resourceSpans"][0]["resource"]["attributes"][0]["value"];
    assert_eq!(service["stringValue"], "s".repeat(4096));
    watched.end(false);
}

#[tokio::test]
async fn attributes_of_too_many_names_are_dropped_and_counted() {
    let watched = Watched::start().await;
    let spans = (1..=200_u8).map(|number| Span {
        attributes: (0..100)
            .map(|key| int(&format!("{number}.{key}"), 1))
            .collect(),
        dropped_attributes_count: 1,
        ..plain("a1", number, "s")
    });
    let body = request("s", spans.collect()).encode_to_vec();
    watched.accepts("names", By::HttpProtobuf, body).await;
    let found = watched.spans("a1").await;
    assert_eq!(found.len(), 200);
    let kept: usize = found.iter().map(|span| span.attributes.len()).sum();
    let dropped: u32 = found.iter().map(|span| span.dropped_attributes_count).sum();
    assert_eq!(kept + dropped as usize, 200 * 100 + 200);
    assert!((8000..8192).contains(&kept), "{kept}");
    watched.end(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gzip_hides_is_refused_by_each_protocol() {
    let watched = Watched::start().await;
    let mut refusals = 0;
    let bodies = [
        (By::HttpProtobuf, chain().encode_to_vec()),
        (By::HttpJson, b"{\"resourceSpans\":[]}".to_vec()),
        (By::Thrift, in_thrift("s", &shapes())),
    ];
    for (by, body) in bodies {
        let whole = gzipped(&body);
        let changed = |at: usize| {
            let mut changed = whole.clone();
            let at = changed.len() - at;
            changed[at] ^= 1;
            changed
        };
        for (what, sent, status) in [
            ("a bomb", gzipped(&vec![0; 256 << 20]), 413),
            ("what breaks off", whole[..whole.len() - 9].to_vec(), 400),
            (
                "what lacks its checksum",
                whole[..whole.len() - 8].to_vec(),
                400,
            ),
            ("a wrong checksum", changed(8), 400),
            ("a wrong length", changed(4), 400),
            ("gzip of gzip", gzipped(&whole), 400),
            ("no gzip", body, 400),
        ] {
            let what = format!("{what} by {by:?}");
            let gzip = ("content-encoding", "gzip");
            let answer = watched.serve(&what, watched.post(by, &[gzip], sent)).await;
            assert_eq!(answer.status, status, "{what}: {:?}", answer.body);
            refusals += 1;
        }
        let answer = watched
            .post(by, &[("content-encoding", "gzip")], whole)
            .await;
        assert!(answer.status.is_success(), "{by:?}");
    }
    let bomb = request("s", vec![plain("a1", 1, &"n".repeat(100 << 20))]);
    let client = client(&watched.running.otlp).await;
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let status = watched
        .serve("a bomb", client.export(bomb))
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
    assert!(refusals > 10);
    watched.end(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_spans_than_memory_are_refused_by_each_protocol() {
    let watched = Watched::start().await;
    let field = |number: u8, content: &[u8]| {
        let mut message = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut message);
        message.extend(content);
        message
    };
    let protobuf = field(1, &field(2, &[0x12, 0].repeat(2_000_000)));
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#,
        "{},".repeat(2_000_000)
    );
    let link = vec![reference(true, (0, 1), 9); 128];
    let required = || Required {
        trace: (0, 1),
        span: 1,
        parent: 0,
        name: "",
        start: 1,
        duration: 1,
    };
    let spans = vec![thrift_span(required()).list(6, link); 3130];
    let thrift = batch_of("s", vec![], spans);
    for (by, body) in [
        (By::HttpProtobuf, protobuf),
        (By::HttpJson, json.into_bytes()),
        (By::Thrift, thrift),
    ] {
        let what = format!("{by:?}");
        let answer = watched.serve(&what, watched.post(by, &[], body)).await;
        assert_eq!(answer.status, 413, "{what}");
        assert!(!answer.headers.contains_key("retry-after"), "{what}");
        let message = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(message.contains("64 MiB"), "{what}: {message}");
    }
    assert_eq!(watched.json("/status.json").await["usage"]["traces"], 1);
    watched.end(true);
}

#[tokio::test]
async fn times_that_cannot_be_are_kept_and_found() {
    const HOUR: u64 = 3600 * 1000 * MS;
    let watched = Watched::start().await;
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let times = [
        (0, 0),
        (0, u64::MAX),
        (u64::MAX, 0),
        (u64::MAX, u64::MAX),
        (1, 2),
        // The year 2106, where 32 bits of seconds end.
        (
            u64::from(u32::MAX) * 1_000_000_000,
            u64::from(u32::MAX) * 1_000_000_000 + 1,
        ),
        (now + HOUR, now + HOUR + 1),
        (now - HOUR, now - HOUR - 1),
        (now, 0),
    ];
    for (number, (start, end)) in (1..).zip(times) {
        let by_otlp = Span {
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..plain(&format!("d{number}"), 1, "time")
        };
        for by in [By::Grpc, By::HttpProtobuf] {
            let body = request("s", vec![by_otlp.clone()]).encode_to_vec();
            watched.accepts("a time", by, body).await;
        }
        let json = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
            "traceId": format!("{:0>32}", format!("e{number}")), "spanId": "0000000000000001",
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": end,
        }]}]}]});
        watched
            .accepts("a time", By::HttpJson, json.to_string().into())
            .await;
        let thrift = thrift_span(Required {
            trace: (0, 0xf00 + number),
            span: 1,
            parent: 0,
            name: "time",
            start: start.cast_signed(),
            duration: end.wrapping_sub(start).cast_signed(),
        });
        watched
            .accepts("a time", By::Thrift, batch_of("s", vec![], vec![thrift]))
            .await;
        for id in [
            format!("d{number}"),
            format!("e{number}"),
            format!("f{number:02x}"),
        ] {
            for span in watched.spans(&id).await {
                assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{id}");
            }
            let found = watched.json("/api/search?limit=1000").await;
            let traces = found["traces"].as_array().unwrap();
            let wanted = format!("{id:0>32}");
            let trace = traces.iter().find(|trace| trace["traceID"] == wanted);
            let trace = trace.unwrap_or_else(|| panic!("{id} is not in {found}"));
            assert!(trace["durationMs"].as_i64().unwrap_or(0) >= 0, "{trace}");
        }
    }
    // A window of when it arrived finds what claims another time.
    let seconds = now / 1_000_000_000;
    let window = format!(
        "/api/search?limit=1000&start={}&end={}",
        seconds - 5,
        seconds + 60
    );
    let found = watched.json(&window).await;
    assert_eq!(
        found["traces"].as_array().unwrap().len(),
        3 * times.len() + 1,
        "{found}"
    );
    watched.end(false);
}

#[tokio::test]
async fn bad_ids_are_rejected_and_counted_by_each_protocol() {
    let watched = Watched::start().await;
    let bad = |trace: &[u8], span: &[u8], parent: &[u8]| Span {
        trace_id: trace.to_vec(),
        span_id: span.to_vec(),
        parent_span_id: parent.to_vec(),
        ..plain("a1", 9, "bad")
    };
    let trace = &id("a1")[..];
    let spans = vec![
        bad(&[0; 16], &[1; 8], &[]),
        bad(&[1; 2], &[1; 8], &[]),
        bad(&[1; 17], &[1; 8], &[]),
        bad(&[], &[1; 8], &[]),
        bad(trace, &[0; 8], &[]),
        bad(trace, &[1; 9], &[]),
        bad(trace, &[], &[]),
        bad(trace, &[1; 8], &[1; 3]),
        plain("a1", 1, "good"),
    ];
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let in_json = spans.iter().map(|span| {
        json!({
            "traceId": hex(&span.trace_id),
            "spanId": hex(&span.span_id),
            "parentSpanId": hex(&span.parent_span_id),
            "name": span.name,
        })
    });
    let json = json!({"resourceSpans": [{"scopeSpans": [{
        "spans": in_json.collect::<Vec<_>>()
    }]}]});
    let request = request("s", spans);
    let mut client = client(&watched.running.otlp).await;
    let partial = client
        .export(request.clone())
        .await
        .unwrap()
        .into_inner()
        .partial_success;
    let partial = partial.unwrap();
    assert_eq!(partial.rejected_spans, 8);
    let why = partial.error_message;
    let answer = watched
        .post(By::HttpProtobuf, &[], request.encode_to_vec())
        .await;
    let message = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200);
    assert!(message.contains(&why), "{message}");
    let answer = watched
        .post(By::HttpJson, &[], json.to_string().into())
        .await
        .json();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "8");
    assert_eq!(answer["partialSuccess"]["errorMessage"], why);
    let zeros = [(0, 0, 1), (0, 1, 0), (0, 0xa2, 1)].map(|(high, low, span)| {
        thrift_span(Required {
            trace: (high, low),
            span,
            parent: 0,
            name: "s",
            start: 1,
            duration: 1,
        })
    });
    let answer = post_thrift(&watched.running.jaeger, batch_of("s", vec![], zeros.into())).await;
    assert_eq!(answer.status, 202);
    assert!(
        answer.text().starts_with("rejected spans: "),
        "{}",
        answer.text()
    );
    // By JSON it has no service, so it is another group; by the others it is the same span.
    let names: Vec<String> = (watched.spans("a1").await.into_iter())
        .map(|span| span.name)
        .collect();
    assert_eq!(names, ["good", "good"]);
    assert_eq!(watched.spans("a2").await.len(), 1);
    watched.end(true);
}

#[tokio::test]
async fn what_is_sent_again_is_there_once_and_another_span_of_its_id_too() {
    let watched = Watched::start().await;
    let one = plain("a1", 1, "one");
    let other = plain("a1", 1, "other");
    for _ in 0..2 {
        for (by, body) in by_each(std::slice::from_ref(&one)) {
            watched.accepts("one", by, body).await;
        }
    }
    // Thrift knows no scope.
    assert_eq!(watched.spans("a1").await.len(), 2);
    for (by, body) in by_each(&[other]) {
        watched.accepts("another", by, body).await;
    }
    let mut names: Vec<String> = (watched.spans("a1").await.into_iter())
        .map(|span| span.name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "one", "other", "other"]);
    watched.end(false);
}

#[tokio::test]
async fn strange_values_come_back_as_they_were_by_each_protocol() {
    let watched = Watched::start().await;
    let strange = Span {
        attributes: strange_values(),
        ..plain("a1", 1, "strange")
    };
    for by in [By::Grpc, By::HttpProtobuf] {
        let body = request("s", vec![strange.clone()]).encode_to_vec();
        watched.accepts("values", by, body).await;
    }
    let [found] = &watched.spans("a1").await[..] else {
        panic!("not one span");
    };
    // NaN is not equal to itself.
    assert_eq!(
        format!("{:?}", found.attributes),
        format!("{:?}", strange.attributes)
    );

    let tags = vec![
        text_tag("", "the key is empty"),
        text_tag("twice", "first"),
        text_tag("twice", "second"),
        long_tag("least", i64::MIN),
        crate::thrift::double_tag("nan", f64::NAN),
        crate::thrift::double_tag("infinity", f64::NEG_INFINITY),
        crate::thrift::double_tag("minus zero", -0.0),
    ];
    // As in Jaeger's own receiver, the last of a repeated tag counts.
    let count = tags.len() - 1;
    let required = Required {
        trace: (0, 0xa2),
        span: 1,
        parent: 0,
        name: "strange",
        start: 1,
        duration: 1,
    };
    let span: Struct = thrift_span(required).list(10, tags);
    watched
        .accepts("tags", By::Thrift, batch_of("", vec![], vec![span]))
        .await;
    let [found] = &watched.spans("a2").await[..] else {
        panic!("not one span");
    };
    assert_eq!(found.attributes.len(), count);
    assert_eq!(found.attributes[2], int("least", i64::MIN));
    watched.end(false);
}
