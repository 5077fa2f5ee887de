//! The messages of OTLP that hold log records.

use std::sync::Arc;

use serde::de::MapAccess;

use super::{
    Element, Reader, Record, array, count, enumerator,
    groups::Signal,
    id, integer,
    messages::{AnyValue, Attribute},
    object, skip, text,
};
use crate::{
    ingest::build::{Builder, LogDraft, TooLarge},
    log_record::LogRecord,
    span::{Resource, Scope},
    store::LogBatch,
};

impl<'de> Signal<'de> for LogDraft<'de> {
    const OF_RESOURCES: [&'static str; 2] = ["resourceLogs", "resource_logs"];
    const OF_SCOPES: [&'static str; 2] = ["scopeLogs", "scope_logs"];
    const ITEMS: [&'static str; 2] = ["logRecords", "log_records"];
    const BATCH: usize = size_of::<LogBatch<'_>>();

    fn keep(
        items: Self::List,
        resource: &Arc<Resource<'de>>,
        scope: Scope<'de>,
        builder: &mut Builder<'de>,
    ) {
        builder.add_logs(resource, scope, items);
    }
}

impl<'de> Record<'de> for LogDraft<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        // Not at the end of the one before, whose object may be `null`.
        reader.builder.begin_log_record();
        match name {
            "timeUnixNano" | "time_unix_nano" => integer(map, &mut self.time_unix_nano),
            "observedTimeUnixNano" | "observed_time_unix_nano" => {
                integer(map, &mut self.observed_unix_nano)
            }
            "severityNumber" | "severity_number" => {
                self.severity = enumerator(map, &SEVERITIES)?.unwrap_or_default();
                Ok(())
            }
            "severityText" | "severity_text" => text(map, &mut self.severity_text, reader),
            "body" => {
                let body: Option<AnyValue> = object(map, reader)?;
                self.body = body.and_then(|AnyValue(value)| value);
                Ok(())
            }
            "attributes" => array::<Attribute, A>(map, &mut self.attributes, reader),
            "droppedAttributesCount" | "dropped_attributes_count" => {
                count(map, &mut self.attributes)
            }
            "flags" => integer(map, &mut self.flags),
            "traceId" | "trace_id" => id(map, &mut self.trace_id),
            "spanId" | "span_id" => id(map, &mut self.span_id),
            "eventName" | "event_name" => text(map, &mut self.event_name, reader),
            _ => skip(map),
        }
    }
}

impl<'de> Element<'de> for LogDraft<'de> {
    type List = Vec<LogRecord<'de>>;

    fn make_room(list: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.make_room(list, 1)
    }

    fn add_to(self, list: &mut Self::List, reader: &mut Reader<'de>) {
        list.extend(reader.builder.log_record(self));
    }
}

/// OTLP `SeverityNumber`, by number.
const SEVERITIES: [&str; 25] = [
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];
