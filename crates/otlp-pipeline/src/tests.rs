//! The pipeline, with a collector in the process that answers as it is told.

mod books;
mod collector;
mod limits;
mod logs;
mod shutdown;
mod threads;

use std::{
    thread,
    time::{Duration, Instant},
};

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};

use self::collector::Collector;
use crate::{Config, Pipeline};

/// Long enough for any machine, and never waited for in a test that passes.
const LONG: Duration = Duration::from_secs(60);

/// Nothing is sent before it is asked for.
fn patient() -> Config {
    Config {
        schedule_delay: Duration::from_secs(3600),
        ..Config::default()
    }
}

fn start(config: Config, collector: &Collector) -> Pipeline {
    Pipeline::start_with(config, collector.clone()).unwrap()
}

fn provider(pipeline: &Pipeline, service: &'static str) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_resource(Resource::builder_empty().with_service_name(service).build())
        .with_span_processor(pipeline.processor())
        .build()
}

/// A tracer, with the provider that it needs.
fn tracer(pipeline: &Pipeline) -> (SdkTracer, SdkTracerProvider) {
    let provider = provider(pipeline, "service");
    (provider.tracer("scope"), provider)
}

fn end_spans(tracer: &SdkTracer, count: usize) {
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
