//! The messages of OTLP that hold log records.

use std::borrow::Cow;

use serde::de::MapAccess;

use super::{
    Element, Reader, Record, array, count, enumerator, id, integer,
    messages::{AnyValue, Attribute},
    object, skip, text,
};
use crate::{
    ingest::build::{Builder, LogDraft, ResourceDraft, ScopeDraft, TooLarge},
    log_record::LogRecord,
    span::{Resource, Scope},
    store::LogBatch,
};

#[derive(Default)]
pub(super) struct Request;

impl<'de> Record<'de> for Request {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match name {
            "resourceLogs" | "resource_logs" => array::<ResourceLogs, A>(map, &mut (), reader),
            _ => skip(map),
        }
    }
}

#[derive(Default)]
struct ResourceLogs<'de> {
    resource: ResourceDraft<'de>,
    schema_url: Cow<'de, str>,
    scopes: Vec<(Scope<'de>, Vec<LogRecord<'de>>)>,
}

impl<'de> Record<'de> for ResourceLogs<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match name {
            "resource" => {
                self.resource = object(map, reader)?.unwrap_or_default();
                Ok(())
            }
            "scopeLogs" | "scope_logs" => array::<ScopeLogs, A>(map, &mut self.scopes, reader),
            "schemaUrl" | "schema_url" => text(map, &mut self.schema_url, reader),
            _ => skip(map),
        }
    }
}

impl<'de> Element<'de> for ResourceLogs<'de> {
    type List = ();

    fn make_room((): &mut (), builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.charge(size_of::<Resource<'_>>())
    }

    fn add_to(self, (): &mut (), reader: &mut Reader<'de>) {
        let resource = ResourceDraft {
            schema_url: self.schema_url,
            ..self.resource
        };
        let resource = resource.build();
        for (scope, records) in self.scopes {
            reader.builder.add_logs(&resource, scope, records);
        }
    }
}

#[derive(Default)]
struct ScopeLogs<'de> {
    scope: ScopeDraft<'de>,
    schema_url: Cow<'de, str>,
    records: Vec<LogRecord<'de>>,
}

impl<'de> Record<'de> for ScopeLogs<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match name {
            "scope" => {
                self.scope = object(map, reader)?.unwrap_or_default();
                Ok(())
            }
            "logRecords" | "log_records" => array::<LogDraft, A>(map, &mut self.records, reader),
            "schemaUrl" | "schema_url" => text(map, &mut self.schema_url, reader),
            _ => skip(map),
        }
    }
}

impl<'de> Element<'de> for ScopeLogs<'de> {
    type List = Vec<(Scope<'de>, Vec<LogRecord<'de>>)>;

    fn make_room(list: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.charge(size_of::<LogBatch<'_>>())?;
        builder.make_room(list, 1)
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader<'de>) {
        list.push((self.scope.build(self.schema_url), self.records));
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
