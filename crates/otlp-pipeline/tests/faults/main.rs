//! Spans on their way through a pipeline to a collector, while network, collector and process fail.
//!
//! Everything that was not counted as dropped arrives. Apart from `it`, since these send signals to processes.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod contract;
#[path = "../shared/line.rs"]
mod line;
mod log;
mod logs;
mod network;
mod outcomes;
#[path = "../shared/receivers.rs"]
mod receivers;
mod signals;

use std::{collections::HashMap, net::SocketAddr, ops::Range, thread, time::Duration};

use opentelemetry::{
    KeyValue,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{SdkTracerProvider, Span};
use otlp_pipeline::{Config, Pipeline, Protocol};

const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

/// Long enough for any machine, and never waited for in a test that passes.
const LONG: Duration = Duration::from_secs(60);

/// Sends small requests soon, and repeats them soon.
fn config(protocol: Protocol, address: SocketAddr) -> Config {
    let mut config = Config::default();
    config.endpoint = match protocol {
        Protocol::Grpc => format!("http://{address}"),
        _ => format!("http://{address}/v1/traces"),
    };
    config.protocol = protocol;
    config.timeout = LONG;
    config.retry.initial = Duration::from_millis(1);
    config.retry.max = Duration::from_millis(4);
    config.schedule_delay = Duration::from_millis(1);
    config.max_batch_size = Some(7);
    config
}

fn provider(pipeline: &Pipeline) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_span_processor(pipeline.processor())
        .build()
}

/// Spans that are told apart by their `test_id`, from several threads.
fn end_spans(provider: &SdkTracerProvider, ids: Range<i64>) {
    let threads = 4;
    thread::scope(|scope| {
        for thread in 0..threads {
            let ids = ids.clone().skip(thread).step_by(threads);
            scope.spawn(|| ids.for_each(|id| end_span(provider, id)));
        }
    });
}

fn end_span(provider: &SdkTracerProvider, id: i64) {
    start_span(provider, id).end();
}

/// Ends when it is dropped.
fn start_span(provider: &SdkTracerProvider, id: i64) -> Span {
    let tracer = provider.tracer("scope");
    let span = tracer.span_builder("span");
    let span = span.with_attributes([KeyValue::new("test_id", id)]);
    span.start(&tracer)
}

fn once(ids: Range<i64>) -> HashMap<i64, u32> {
    ids.map(|id| (id, 1)).collect()
}
