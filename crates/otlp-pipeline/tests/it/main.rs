//! The pipeline as its users have it: providers of the SDK at one end, a collector that speaks gRPC at the other.
//!
//! With whatever version of OpenTelemetry this is built with.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod bytes;
mod collector;
#[path = "../shared/line.rs"]
mod line;
mod log;
mod loss;
mod runtimes;

use std::{
    thread,
    time::{Duration, Instant},
};

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use otlp_pipeline::{Config, FlushError, Pipeline};

use crate::collector::Collector;

/// Long enough for any machine, and never waited for in a test that passes.
const LONG: Duration = Duration::from_secs(60);

/// Sends to `endpoint`, and nothing before it is asked for.
fn patient(endpoint: &str) -> Config {
    let mut config = Config::default();
    config.endpoint = endpoint.to_owned();
    config.schedule_delay = Duration::from_secs(3600);
    config
}

fn provider(pipeline: &Pipeline) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_resource(
            Resource::builder_empty()
                .with_service_name("service")
                .build(),
        )
        .with_span_processor(pipeline.processor())
        .build()
}

/// A pipeline to `collector`, and a provider that hands its spans to it.
fn start(collector: &Collector) -> (Pipeline, SdkTracerProvider) {
    let pipeline = Pipeline::start(patient(collector.endpoint())).unwrap();
    let provider = provider(&pipeline);
    (pipeline, provider)
}

fn end_spans(provider: &SdkTracerProvider, count: usize) {
    let tracer = provider.tracer("scope");
    for _ in 0..count {
        tracer.start("span").end();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a flush knows of a cause why it is not done yet.
fn is_failing(pipeline: &Pipeline) -> bool {
    match pipeline.flush(Duration::from_millis(1)) {
        Err(FlushError::Undelivered(told)) => told.cause.is_some(),
        _ => false,
    }
}

/// Where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
