//! That log records fare as spans do.

use std::thread;

use opentelemetry::{
    InstrumentationScope,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _},
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value,
};
use opentelemetry_sdk::{Resource, error::OTelSdkError, logs::SdkLoggerProvider};
use prost::Message as _;

use super::{
    LONG,
    collector::{Answer, Collector},
    patient, start, tracer,
};
use crate::{Accounts, Config, Dropped, LogPipeline};

fn begin(config: Config, collector: &Collector) -> (LogPipeline, SdkLoggerProvider) {
    let pipeline = LogPipeline::start_with(config, collector.clone()).unwrap();
    let resource = Resource::builder_empty().with_service_name("service");
    let provider = SdkLoggerProvider::builder()
        .with_resource(resource.build())
        .with_log_processor(pipeline.processor())
        .build();
    (pipeline, provider)
}

fn log(provider: &SdkLoggerProvider, target: Option<&'static str>, body: &'static str) {
    let scope = InstrumentationScope::builder("scope").with_version("1");
    let logger = provider.logger_with_scope(scope.build());
    let mut record = logger.create_log_record();
    record.set_body(AnyValue::from(body));
    if let Some(target) = target {
        record.set_target(target);
    }
    logger.emit(record);
}

/// Service, scope, version and bodies of what arrived.
fn received(collector: &Collector) -> Vec<(String, String, String, Vec<String>)> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    let mut found = Vec::new();
    for request in collector.received() {
        let request = ExportLogsServiceRequest::decode(request).unwrap();
        for of_resource in request.resource_logs {
            let mut resource = of_resource.resource.unwrap().attributes;
            let service = text(resource.remove(0).value.unwrap().value);
            for of_scope in of_resource.scope_logs {
                let scope = of_scope.scope.unwrap();
                let records = of_scope.log_records.into_iter();
                let bodies = records.map(|record| text(record.body.unwrap().value));
                let bodies = bodies.collect();
                found.push((service.clone(), scope.name, scope.version, bodies));
            }
        }
    }
    found
}

fn row(scope: &str, version: &str, bodies: &[&str]) -> (String, String, String, Vec<String>) {
    let bodies = bodies.iter().map(|body| (*body).to_owned()).collect();
    ("service".into(), scope.into(), version.into(), bodies)
}

#[test]
fn log_records_arrive_with_their_resource_and_scope_and_are_accounted_for() {
    let collector = Collector::new(Answer::Accept);
    let (pipeline, provider) = begin(patient(), &collector);
    log(&provider, None, "a");
    log(&provider, Some("shop::cart"), "b");
    log(&provider, None, "c");
    assert_eq!(pipeline.accounts().pending, 3);
    pipeline.flush(LONG).unwrap();
    thread::scope(|scope| scope.spawn(|| log(&provider, None, "d")).join().unwrap());
    pipeline.shutdown(LONG).unwrap();
    assert_eq!(
        received(&collector),
        [
            row("scope", "1", &["a", "c"]),
            row("shop::cart", "1", &["b"]),
            row("scope", "1", &["d"]),
        ]
    );
    log(&provider, None, "late");
    let expected = Accounts {
        started: 5,
        ended: 5,
        exported: 4,
        dropped: Dropped {
            late: 1,
            ..Dropped::default()
        },
        pending: 0,
    };
    assert_eq!(pipeline.accounts(), expected);
}

#[test]
fn a_loss_of_log_records_is_told_as_one() {
    let collector = Collector::new(Answer::Refuse);
    let (pipeline, provider) = begin(patient(), &collector);
    log(&provider, None, "a");
    let told = pipeline.flush(LONG).unwrap_err().to_string();
    let text = "1 log record was not delivered: 1 refused by the collector (says the test)";
    assert_eq!(told, text);
    log(&provider, None, "b");
    log(&provider, None, "c");
    let Err(OTelSdkError::InternalFailure(told)) = provider.shutdown() else {
        panic!("it was refused");
    };
    let text = "2 log records were not delivered: 2 refused by the collector (says the test)";
    assert!(told.contains(text), "{told}");
    assert_eq!(pipeline.accounts().dropped.refused, 3);
}

#[test]
fn log_records_without_room_are_dropped_and_counted() {
    let collector = Collector::new(Answer::Hang);
    let config = Config {
        max_queue_size: Some(3),
        ..patient()
    };
    let (pipeline, provider) = begin(config, &collector);
    for _ in 0..10 {
        log(&provider, None, "a");
    }
    assert_eq!(pipeline.accounts().dropped.full, 7);
    collector.answer(Answer::Accept);
    pipeline.flush(LONG).unwrap_err();
    assert_eq!(pipeline.accounts().exported, 3);
}

#[test]
fn a_thread_has_buffers_for_both_signals() {
    let collectors = [Answer::Accept, Answer::Accept].map(Collector::new);
    let spans = start(patient(), &collectors[0]);
    let (tracer, _provider) = tracer(&spans);
    let (logs, provider) = begin(patient(), &collectors[1]);
    for _ in 0..3 {
        super::end_spans(&tracer, 1);
        log(&provider, None, "a");
    }
    logs.shutdown(LONG).unwrap();
    spans.shutdown(LONG).unwrap();
    assert_eq!(collectors[0].len(), 3);
    assert_eq!(
        received(&collectors[1]),
        [row("scope", "1", &["a", "a", "a"])]
    );
}
