//! What a span costs: `cargo run --release -p otlp-pipeline --example cost`.
//!
//! Spans with seven attributes and an event end on one thread, then on two, while the exporter sends them to a collector in
//! this process that takes everything unread. What is timed is the call of `on_end`, with a span in and nothing out.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "its result is for people"
)]

use std::{
    borrow::Cow,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread,
    time::{Duration, Instant, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor};
use otlp_pipeline::{Config, Pipeline, Protocol};

const BURST: usize = 500;
const ROUNDS: usize = 400;

fn main() {
    let mut config = Config::default();
    config.endpoint = collector();
    config.protocol = Protocol::HttpProtobuf;
    config.schedule_delay = Duration::from_millis(200);
    let pipeline = Pipeline::start(config).unwrap();
    let processor = pipeline.processor();
    let ours = |span| processor.on_end(span);

    println!("nanoseconds per span: least, median");
    report("dropped at once", &rounds(drop));
    report("kept and sent", &rounds(ours));
    for threads in [2, 4] {
        let all = thread::scope(|scope| {
            let run = |_| scope.spawn(|| rounds(ours));
            let running: Vec<_> = (0..threads).map(run).collect();
            let rounds = running
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            rounds.collect::<Vec<_>>()
        });
        report(&format!("the same on {threads} threads"), &all);
    }
    println!("{:?}", pipeline.shutdown(Duration::from_secs(10)));
    println!("{:?}", pipeline.accounts());
}

/// Nanoseconds per span, in each round.
fn rounds(end: impl Fn(SpanData)) -> Vec<f64> {
    let template = span();
    let round = |_| {
        let spans = vec![template.clone(); BURST];
        let begin = Instant::now();
        for span in spans {
            end(span);
        }
        let nanos = begin.elapsed().as_nanos() as f64;
        // As a service has other things to do between its spans.
        thread::sleep(Duration::from_millis(1));
        nanos / BURST as f64
    };
    (0..ROUNDS).map(round).collect()
}

fn report(what: &str, rounds: &[f64]) {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    println!(
        "{what:<25} {:>6.0} {:>6.0}",
        sorted[0],
        sorted[sorted.len() / 2]
    );
}

fn span() -> SpanData {
    let now = SystemTime::now();
    let mut events = SpanEvents::default();
    events.events = vec![Event::new(
        "decoded",
        now,
        vec![KeyValue::new("bytes", 12)],
        0,
    )];
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
            SpanId::from(0x00f0_67aa_0ba9_02b7),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::from(0x0000_0000_0001_7c29),
        parent_span_is_remote: true,
        span_kind: SpanKind::Server,
        name: Cow::Borrowed("GET /work/{id}"),
        start_time: now,
        end_time: now,
        attributes: vec![
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("url.path", "/work/1234".to_owned()),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("http.route", "/work/{id}"),
            KeyValue::new("network.peer.address", "127.0.0.1".to_owned()),
            KeyValue::new("network.peer.port", 45678),
            KeyValue::new("http.response.status_code", 200),
        ],
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("cost").build(),
    }
}

/// Takes any request, and says so.
fn collector() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap_or(0) > 0 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    let mut body = (&mut stream).take(length);
                    std::io::copy(&mut body, &mut std::io::sink()).unwrap();
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                    stream.get_mut().write_all(answer).unwrap();
                }
                line.clear();
            }
        }
    });
    format!("http://{address}/v1/traces")
}
