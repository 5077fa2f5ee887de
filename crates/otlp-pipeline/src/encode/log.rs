//! `logs.proto`: a log record.

use std::{borrow::Cow, collections::HashMap};

use opentelemetry::{InstrumentationScope, Key, SpanId, TraceId, logs::AnyValue};
use opentelemetry_sdk::logs::SdkLogRecord;

use super::{
    Encoded,
    attribute::Element,
    span::time,
    wire::{Message, Output, delimited_len, write_message, write_message_within},
};

/// A log record as an element of `ScopeLogs.log_records`, with key and length.
pub(crate) struct LogBytes<'a>(LogRecord<'a>);

/// `ScopeLogs.log_records`: the number that `ScopeSpans.spans` has, as all around them has the same numbers, so that what
/// is kept of either is taken apart and put together alike.
const LOG_RECORDS: u32 = 2;

impl<'a> LogBytes<'a> {
    pub(crate) fn new(record: &'a SdkLogRecord) -> Self {
        Self(LogRecord(record))
    }
}

impl Encoded for LogBytes<'_> {
    fn write(&self, out: &mut [u8]) -> Option<usize> {
        // With a message, a record has more than 127 bytes and less than 16384.
        write_message(out, LOG_RECORDS, &self.0, 2)
    }

    fn write_within(&self, out: &mut [u8]) -> Option<usize> {
        write_message_within(out, LOG_RECORDS, &self.0)
    }

    fn len(&self) -> usize {
        delimited_len(LOG_RECORDS, self.0.len())
    }
}

/// Whose record it is. A target, which bridges of other logs set, takes the place of the name, as with the stock exporter.
pub(crate) fn log_scope<'a>(
    record: &SdkLogRecord,
    scope: &'a InstrumentationScope,
) -> Cow<'a, InstrumentationScope> {
    let Some(target) = record.target() else {
        return Cow::Borrowed(scope);
    };
    // Bridges have one logger without any of the rest, so that nothing is allocated for most targets.
    let mut named =
        InstrumentationScope::builder(target.clone()).with_attributes(scope.attributes().cloned());
    if let Some(version) = scope.version() {
        named = named.with_version(version.to_owned());
    }
    if let Some(url) = scope.schema_url() {
        named = named.with_schema_url(url.to_owned());
    }
    Cow::Owned(named.build())
}

/// `LogRecord`.
struct LogRecord<'a>(&'a SdkLogRecord);

/// `KeyValue`.
struct Attribute<'a>(&'a Key, &'a AnyValue);

/// `AnyValue`.
struct Value<'a>(&'a AnyValue);

/// `ArrayValue`.
struct List<'a>(&'a [AnyValue]);

/// `KeyValueList`.
struct Map<'a>(&'a HashMap<Key, AnyValue>);

impl Message for LogRecord<'_> {
    fn fields(&self, out: &mut impl Output) {
        let record = self.0;
        if let Some(at) = record.timestamp() {
            time(out, 1, at);
        }
        if let Some(severity) = record.severity_number() {
            out.integer(2, severity as u64);
        }
        out.string(3, record.severity_text().unwrap_or_default());
        if let Some(body) = record.body() {
            out.message(5, &Value(body));
        }
        for (key, value) in record.attributes_iter() {
            out.message(6, &Attribute(key, value));
        }
        if let Some(cx) = record.trace_context() {
            let flags = cx.trace_flags.map_or(0, |flags| flags.to_u8());
            if flags != 0 {
                out.four_bytes(8, flags.into());
            }
            if cx.trace_id != TraceId::INVALID {
                out.delimited(9, &cx.trace_id.to_bytes());
            }
            if cx.span_id != SpanId::INVALID {
                out.delimited(10, &cx.span_id.to_bytes());
            }
        }
        if let Some(at) = record.observed_timestamp() {
            time(out, 11, at);
        }
        out.string(12, record.event_name().unwrap_or_default());
    }
}

impl Message for Attribute<'_> {
    fn fields(&self, out: &mut impl Output) {
        out.string(1, self.0.as_str());
        out.message(2, &Value(self.1));
    }
}

impl Message for Value<'_> {
    fn fields(&self, out: &mut impl Output) {
        match self.0 {
            AnyValue::String(value) => Element::String(value).fields(out),
            AnyValue::Boolean(value) => Element::Bool(*value).fields(out),
            AnyValue::Int(value) => Element::I64(*value).fields(out),
            AnyValue::Double(value) => Element::F64(*value).fields(out),
            AnyValue::ListAny(values) => out.message(5, &List(values)),
            AnyValue::Map(values) => out.message(6, &Map(values)),
            AnyValue::Bytes(bytes) => out.delimited(7, bytes),
            // A kind that these versions of OpenTelemetry do not have; an empty value is a valid one.
            _ => {}
        }
    }
}

impl Message for List<'_> {
    fn fields(&self, out: &mut impl Output) {
        for value in self.0 {
            out.message(1, &Value(value));
        }
    }
}

impl Message for Map<'_> {
    fn fields(&self, out: &mut impl Output) {
        for (key, value) in self.0 {
            out.message(1, &Attribute(key, value));
        }
    }
}
