//! That a span or a log record allocates nothing: apart from the other tests, since the allocator that counts is the process's.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::{
    net::TcpListener,
    time::{Duration, SystemTime},
};

use allocation_counter::{AllocationInfo, measure};
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, Value,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::{
    logs::{LogProcessor as _, SdkLogRecord, SdkLoggerProvider},
    trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor},
};
use otlp_pipeline::{Config, LogPipeline, Pipeline, Processor};

/// With everything that a span can have.
fn span(scope: InstrumentationScope) -> SpanData {
    let now = SystemTime::now();
    let state = TraceState::from_key_value([("a", "1"), ("b", "2")]).unwrap();
    let ids = (TraceId::from(1), SpanId::from(2));
    let cx = SpanContext::new(ids.0, ids.1, TraceFlags::SAMPLED, false, state);
    let attributes = vec![
        KeyValue::new("text", "text".to_owned()),
        KeyValue::new("number", 1.5),
        KeyValue::new("list", Value::Array(Array::I64(vec![1, 2, 3]))),
        KeyValue::new(
            "texts",
            Value::Array(Array::String(vec!["a".into(), "b".into()])),
        ),
        KeyValue::new("truth", true),
    ];
    let mut events = SpanEvents::default();
    events.events = vec![Event::new("event", now, attributes.clone(), 0)];
    let mut links = SpanLinks::default();
    links.links = vec![Link::new(cx.clone(), attributes.clone(), 0)];
    SpanData {
        span_context: cx,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "span".into(),
        start_time: now,
        end_time: now,
        attributes,
        dropped_attributes_count: 0,
        events,
        links,
        status: Status::error("failed".to_owned()),
        instrumentation_scope: scope,
    }
}

/// A pipeline to a collector that is connected to and never answers, while the listener lives.
fn pipeline(mut config: Config) -> (Pipeline, Processor, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    config.endpoint = format!("http://{}", listener.local_addr().unwrap());
    let pipeline = Pipeline::start(config).unwrap();
    let processor = pipeline.processor();
    (pipeline, processor, listener)
}

/// Nothing is sent before there is much.
fn patient() -> Config {
    let mut config = Config::default();
    config.schedule_delay = Duration::from_secs(3600);
    config
}

/// There is nobody to wait for.
fn end(pipeline: &Pipeline) {
    pipeline.shutdown(Duration::ZERO).unwrap_err();
}

/// What is allocated while copies of `spans` end.
fn ending(processor: &Processor, spans: &[SpanData], rounds: usize) -> AllocationInfo {
    let copies: Vec<_> = (0..rounds).flat_map(|_| spans.to_vec()).collect();
    measure(|| {
        for span in copies {
            processor.on_end(span);
        }
    })
}

fn scopes() -> [InstrumentationScope; 3] {
    let builder = || InstrumentationScope::builder("scope").with_version("1");
    let attributes = [
        KeyValue::new("nan", f64::NAN),
        KeyValue::new("text", "text"),
    ];
    [
        builder().build(),
        builder().with_schema_url("https://example.com").build(),
        builder().with_attributes(attributes).build(),
    ]
}

#[test]
fn the_counter_counts() {
    assert_eq!(
        measure(|| drop(std::hint::black_box(vec![1]))).count_total,
        1
    );
}

#[test]
fn a_span_allocates_nothing_once_there_is_a_buffer() {
    let (pipeline, processor, _listener) = pipeline(patient());
    let spans = scopes().map(span);
    // As many as fill the first buffers until they have their size.
    ending(&processor, &spans, 150);
    let allocated = ending(&processor, &spans, 10);
    assert_eq!(allocated.count_total, 0);
    end(&pipeline);
}

/// As a bridge makes it: its scope is a target.
fn record() -> SdkLogRecord {
    let mut record = SdkLoggerProvider::builder()
        .build()
        .logger("")
        .create_log_record();
    let now = SystemTime::now();
    record.set_timestamp(now);
    record.set_observed_timestamp(now);
    record.set_target("shop::cart");
    record.set_severity_number(Severity::Info);
    record.set_severity_text("INFO");
    record.set_body(AnyValue::from("added".to_owned()));
    record.add_attribute("item", 7);
    record.add_attribute("name", "book".to_owned());
    record.set_trace_context(1.into(), 2.into(), Some(TraceFlags::SAMPLED));
    record
}

#[test]
fn a_log_record_allocates_nothing_once_there_is_a_buffer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = patient();
    config.endpoint = format!("http://{}", listener.local_addr().unwrap());
    let pipeline = LogPipeline::start(config).unwrap();
    let processor = pipeline.processor();
    let scope = InstrumentationScope::builder("").build();
    let mut record = record();
    let mut emit = |times| {
        measure(|| {
            for _ in 0..times {
                processor.emit(&mut record, &scope);
            }
        })
    };
    // As many as give the first buffer room for the others: it doubles.
    emit(300);
    assert_eq!(emit(10).count_total, 0);
    pipeline.shutdown(Duration::ZERO).unwrap_err();
}

#[test]
fn many_spans_allocate_a_few_buffers() {
    let (pipeline, processor, _listener) = pipeline(patient());
    let spans = scopes().map(span);
    let count = 3 * 3000;
    let allocated = ending(&processor, &spans, 3000);
    // A buffer has 64 KiB, and such a span some 400 bytes; besides, there are lists of buffers.
    assert!(
        allocated.count_total < count / 50,
        "{} for {count} spans",
        allocated.count_total
    );
    end(&pipeline);
}

#[test]
fn what_is_allocated_is_bounded_while_nobody_takes_it() {
    let mut config = Config::default();
    config.max_memory = 1_000_000;
    let (pipeline, processor, _listener) = pipeline(config);
    let template = span(scopes()[0].clone());
    let allocated = measure(|| {
        for _ in 0..20_000 {
            processor.on_end(template.clone());
        }
    });
    let accounts = pipeline.accounts();
    assert_eq!(accounts.ended, accounts.pending + accounts.dropped.full);
    assert!(accounts.dropped.full > 10_000);
    // This thread does not see that the exporter frees the buffers of its first request, a quarter of the memory.
    let most = allocated.bytes_max;
    assert!((700_000..1_250_000).contains(&most), "{most} bytes");
    end(&pipeline);
}
