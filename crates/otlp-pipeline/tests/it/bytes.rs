//! That a collector gets, byte for byte, what a stock exporter of this version of OpenTelemetry would have sent.

#[path = "../../src/encode/tests/any.rs"]
mod any;
#[path = "../../src/encode/tests/stock.rs"]
mod stock;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use opentelemetry::{
    InstrumentationScope,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
    trace::SpanContext,
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, logs::v1::ResourceLogs,
};
use opentelemetry_sdk::{
    Resource,
    logs::{LogProcessor, SdkLoggerProvider},
    trace::SpanProcessor,
};
use otlp_pipeline::{LogPipeline, Pipeline, Protocol};
use proptest::{
    prelude::*,
    test_runner::{Config as ProptestConfig, TestRunner},
};
use prost::Message as _;

use self::stock::{encoded, stock};
use crate::{LONG, patient};

/// A collector that passes on the bodies of requests.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (bodies, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            while let Some(body) = next_request(&mut stream) {
                if bodies.send(body).is_err() {
                    return;
                }
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    (endpoint, received)
}

fn next_request(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = None;
    for line in stream.by_ref().lines() {
        let line = line.ok()?.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
        if line.is_empty() {
            let mut body = vec![0; length?];
            stream.read_exact(&mut body).ok()?;
            return Some(body);
        }
    }
    None
}

#[test]
fn any_spans_arrive_as_the_bytes_that_a_stock_exporter_sends() {
    let (endpoint, received) = collector();
    let mut config = patient(&endpoint);
    config.protocol = Protocol::HttpProtobuf;
    let pipeline = Pipeline::start(config).unwrap();
    let spans = (
        any::resource(),
        any::scope(),
        prop::collection::vec(any::span(), 1..4),
    );
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&spans, |(resource, scope, mut spans)| {
        let mut processor = pipeline.processor();
        processor.set_resource(&resource);
        for span in &mut spans {
            let cx = &span.span_context;
            span.span_context = SpanContext::new(
                cx.trace_id(),
                cx.span_id(),
                cx.trace_flags().with_sampled(true),
                cx.is_remote(),
                cx.trace_state().clone(),
            );
            span.instrumentation_scope = scope.clone();
            processor.on_end(span.clone());
        }
        pipeline.flush(LONG).unwrap();
        prop_assert_eq!(
            received.recv().unwrap(),
            encoded(vec![stock(&spans, &resource)])
        );
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_log_record_arrives_as_the_bytes_that_a_stock_exporter_sends() {
    let (endpoint, received) = collector();
    let mut config = patient(&endpoint.replace("/v1/traces", "/v1/logs"));
    config.protocol = Protocol::HttpProtobuf;
    let pipeline = LogPipeline::start(config).unwrap();
    let resource = Resource::builder_empty().with_service_name("service");
    let resource = resource.build();
    let mut processor = pipeline.processor();
    processor.set_resource(&resource);

    let scope = InstrumentationScope::builder("scope").build();
    let mut record = SdkLoggerProvider::builder()
        .build()
        .logger("")
        .create_log_record();
    record.set_observed_timestamp(std::time::SystemTime::now());
    record.set_severity_number(Severity::Warn);
    record.set_severity_text("WARN");
    record.set_body(AnyValue::from("low on stock"));
    record.set_trace_context(7.into(), 8.into(), Some(opentelemetry::TraceFlags::SAMPLED));
    record.set_target("shop::cart");
    record.add_attribute("left", 3);
    processor.emit(&mut record, &scope);
    pipeline.flush(LONG).unwrap();

    let resource_logs = vec![ResourceLogs::from(((&record, &scope), &(&resource).into()))];
    let stock = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    assert_eq!(received.recv().unwrap(), stock);
}
