//! Log records: what is left out of one, and which are too large.

use std::{borrow::Cow, sync::Arc};

use super::{Builder, Capped, Id, MAX_VALUE_BYTES, Rejected, TooLarge};
use crate::{
    log_record::LogRecord,
    span::{KeyValue, Resource, Scope, SpanId, TraceId, Value},
    store::LogBatch,
};

/// What the text and the values of a record may take, in bytes: answers hold up to a thousand.
pub(in crate::ingest) const MAX_RECORD_BYTES: usize = 256 << 10;

/// Why a record is rejected that takes more.
const TOO_MUCH: &str = "more than 256 KiB of text and values";

/// What a request with log records holds.
#[derive(Debug, PartialEq)]
pub(crate) struct DecodedLogs<'a> {
    pub(crate) batches: Vec<LogBatch<'a>>,
    pub(crate) rejected: Rejected,
    pub(crate) dropped_ids: DroppedIds,
}

/// Ids that were left out of records which are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DroppedIds {
    pub(crate) traces: u64,
    pub(crate) spans: u64,
}

impl<'a> Builder<'a> {
    /// Charges for the copy of its resource that is kept and written with each scope.
    pub(in crate::ingest) fn finish_logs(mut self) -> Result<DecodedLogs<'a>, TooLarge> {
        let batches = std::mem::take(&mut self.logs);
        for same in batches.chunk_by(|a, b| Arc::ptr_eq(&a.resource, &b.resource)) {
            let resource = &same[0].resource;
            let bytes = resource.schema_url.len() + memory_of(&resource.attributes);
            self.charge(bytes.saturating_mul(same.len()))?;
        }
        Ok(DecodedLogs {
            batches,
            rejected: self.rejected,
            dropped_ids: self.dropped_ids,
        })
    }

    /// Until `log_record`, values are those of one record: they are not cut, but counted.
    pub(in crate::ingest) fn begin_log_record(&mut self) {
        self.max_value = MAX_RECORD_BYTES + 1;
    }

    /// `None` if the record cannot be kept, which is counted.
    pub(in crate::ingest) fn log_record(&mut self, draft: LogDraft<'a>) -> Option<LogRecord<'a>> {
        self.max_value = MAX_VALUE_BYTES;
        let record = draft.build(&mut self.dropped_ids);
        if bytes_of(&record) > MAX_RECORD_BYTES {
            self.rejected.add(TOO_MUCH);
            return None;
        }
        Some(record)
    }

    pub(in crate::ingest) fn add_logs(
        &mut self,
        resource: &Arc<Resource<'a>>,
        scope: Scope<'a>,
        records: Vec<LogRecord<'a>>,
    ) {
        if !records.is_empty() {
            self.logs.push(LogBatch {
                resource: Arc::clone(resource),
                scope: Arc::new(scope),
                records,
            });
        }
    }
}

#[derive(Default)]
pub(in crate::ingest) struct LogDraft<'a> {
    pub(in crate::ingest) time_unix_nano: u64,
    pub(in crate::ingest) observed_unix_nano: u64,
    pub(in crate::ingest) severity: u64,
    pub(in crate::ingest) severity_text: Cow<'a, str>,
    pub(in crate::ingest) body: Option<Value<'a>>,
    pub(in crate::ingest) attributes: Capped<KeyValue<'a>>,
    pub(in crate::ingest) flags: u32,
    pub(in crate::ingest) trace_id: Id<16>,
    pub(in crate::ingest) span_id: Id<8>,
    pub(in crate::ingest) event_name: Cow<'a, str>,
}

impl<'a> LogDraft<'a> {
    /// OTLP: of a `trace_id` that is not 16 bytes long, or a `span_id` that is not 8 bytes long, or
    /// that is all zeros, "receivers SHOULD assume that the log record is not associated with" a
    /// trace or a span. So the id goes and the record stays. Zeros are what many write for none,
    /// and are not counted.
    ///
    /// <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto>
    fn build(self, dropped: &mut DroppedIds) -> LogRecord<'a> {
        let (attributes, dropped_attributes) = self.attributes.into_parts();
        LogRecord {
            time_unix_nano: match self.time_unix_nano {
                0 => self.observed_unix_nano,
                time => time,
            },
            observed_unix_nano: self.observed_unix_nano,
            severity: u8::try_from(self.severity)
                .ok()
                .filter(|number| *number <= 24)
                .unwrap_or(0),
            severity_text: self.severity_text,
            body: self.body.unwrap_or(Value::Empty),
            attributes,
            dropped_attributes,
            flags: self.flags,
            trace: or_dropped(self.trace_id, &mut dropped.traces).and_then(TraceId::new),
            span: or_dropped(self.span_id, &mut dropped.spans).and_then(SpanId::new),
            event_name: self.event_name,
        }
    }
}

fn or_dropped<const N: usize>(id: Id<N>, dropped: &mut u64) -> Option<[u8; N]> {
    match id {
        Id::Bytes(bytes) => Some(bytes),
        Id::Absent => None,
        Id::OfOtherLength | Id::NotHex => {
            *dropped += 1;
            None
        }
    }
}

fn bytes_of(record: &LogRecord<'_>) -> usize {
    record.severity_text.len()
        + record.event_name.len()
        + bytes_of_value(&record.body)
        + bytes_of_attributes(&record.attributes)
}

fn bytes_of_attributes(attributes: &[KeyValue<'_>]) -> usize {
    let each = |KeyValue { key, value }: &KeyValue<'_>| key.len() + bytes_of_value(value);
    attributes.iter().map(each).sum()
}

/// About as many as it takes where it is kept, whatever form it came in.
fn bytes_of_value(value: &Value<'_>) -> usize {
    const EACH: usize = 8;
    EACH + match value {
        Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Array(values) => values.iter().map(bytes_of_value).sum(),
        Value::Map(entries) => bytes_of_attributes(entries),
    }
}

/// Bytes that a copy takes, with all that it points to.
fn memory_of(attributes: &[KeyValue<'_>]) -> usize {
    let each = |KeyValue { key, value }: &KeyValue<'_>| {
        size_of::<KeyValue<'_>>() + key.len() + memory_behind(value)
    };
    attributes.iter().map(each).sum()
}

fn memory_behind(value: &Value<'_>) -> usize {
    let with = |value| size_of::<Value<'_>>() + memory_behind(value);
    match value {
        Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Array(values) => values.iter().map(with).sum(),
        Value::Map(entries) => memory_of(entries),
    }
}
