//! That the bytes of log records are those of opentelemetry-proto and prost.

use std::sync::Arc;

use opentelemetry::{
    InstrumentationScope, Key, TraceFlags,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, logs::v1::ResourceLogs,
};
use opentelemetry_sdk::{
    Resource,
    logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider},
};
use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;

use super::any;
use crate::encode::{
    Encoded, LogBytes, Request, ResourceBytes, ScopeBytes, first_span_len, log_scope,
};

const SEVERITIES: [Severity; 4] = [
    Severity::Trace,
    Severity::Info,
    Severity::Warn2,
    Severity::Fatal4,
];

fn ours(record: &SdkLogRecord) -> Vec<u8> {
    let record = LogBytes::new(record);
    let mut bytes = vec![0; record.len()];
    assert_eq!(record.write_within(&mut bytes), Some(bytes.len()));
    assert_eq!(first_span_len(&bytes), Some(bytes.len()));
    bytes
}

fn logger() -> SdkLogger {
    SdkLoggerProvider::builder().build().logger("")
}

/// Lists and maps of lists and maps. A map has no order, so that one with two entries could be either of two.
fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(AnyValue::Int),
        any::<f64>().prop_map(AnyValue::Double),
        any::<bool>().prop_map(AnyValue::Boolean),
        any::text().prop_map(AnyValue::from),
        vec(any::<u8>(), 0..200).prop_map(|bytes| AnyValue::Bytes(Box::new(bytes))),
    ];
    leaf.prop_recursive(4, 16, 4, |value| {
        prop_oneof![
            vec(value.clone(), 0..4).prop_map(|values| AnyValue::ListAny(Box::new(values))),
            option::of((any::text(), value)).prop_map(|entry| {
                let entry = entry.map(|(key, value)| (Key::from(key), value));
                AnyValue::Map(Box::new(entry.into_iter().collect()))
            }),
        ]
    })
}

prop_compose! {
    fn record()(
        event_name in option::of(Just("the.event")),
        target in option::of(any::text()),
        at in option::of(any::time()),
        observed in any::time(),
        span in option::of((1..u128::MAX, 1..u64::MAX, option::of(any::<u8>()))),
        severity in option::of(prop::sample::select(&SEVERITIES[..])),
        body in option::of(value()),
        attributes in vec((any::text(), value()), 0..8),
    ) -> SdkLogRecord {
        let mut record = logger().create_log_record();
        if let Some(name) = event_name {
            record.set_event_name(name);
        }
        if let Some(target) = target {
            record.set_target(target);
        }
        if let Some(at) = at {
            record.set_timestamp(at);
        }
        record.set_observed_timestamp(observed);
        if let Some((trace, span, flags)) = span {
            record.set_trace_context(trace.into(), span.into(), flags.map(TraceFlags::new));
        }
        if let Some(severity) = severity {
            record.set_severity_number(severity);
            record.set_severity_text(severity.name());
        }
        if let Some(body) = body {
            record.set_body(body);
        }
        record.add_attributes(attributes);
        record
    }
}

proptest! {
    #[test]
    fn any_log_record_is_the_bytes_that_the_stock_exporter_sends(
        resource in any::resource(),
        scope in any::scope(),
        record in record(),
    ) {
        let of = log_scope(&record, &scope);
        let mut request = Request::new();
        let resource_bytes = Arc::new(ResourceBytes::new(&resource));
        request.add(&resource_bytes, &Arc::new(ScopeBytes::new(&of)), ours(&record));
        prop_assert_eq!(request.encode().to_vec(), stock(&record, &scope, &resource));
    }
}

fn stock(record: &SdkLogRecord, scope: &InstrumentationScope, resource: &Resource) -> Vec<u8> {
    let mut logs = ResourceLogs::from(((record, scope), &resource.into()));
    let attributes = &mut logs.resource.as_mut().unwrap().attributes;
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    let resource_logs = vec![logs];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

#[test]
fn a_record_without_anything_is_an_empty_one() {
    assert_eq!(ours(&logger().create_log_record()), [0x12, 0]);
}
