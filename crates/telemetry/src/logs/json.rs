//! A JSON object in each line.
//!
//! What a program or a stranger says is under `message`, `fields` and `spans`, so that it cannot stand for a time, a level
//! or a trace.

use std::{fmt, fmt::Write as _};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::LookupSpan,
};

use super::record::{Record, is_special};

#[derive(Debug)]
pub(super) struct Json {
    service: String,
}

impl Json {
    pub(super) fn new(service: &str) -> Self {
        let service = service.to_owned();
        Self { service }
    }
}

impl<S> FormatEvent<S, JsonFields> for Json
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let record = Record::new(event);
        let mut line = Object::new();
        line.entry("timestamp", &format!("{:.6}", Timestamp::now()))?;
        line.entry("level", record.level.as_str())?;
        line.entry("target", &record.target)?;
        line.entry("service.name", &self.service)?;
        if let Some(span) = record.span {
            line.entry("trace_id", &span.trace_id.to_string())?;
            line.entry("span_id", &span.span_id.to_string())?;
            line.entry("trace_flags", if span.sampled { "01" } else { "00" })?;
        }
        line.entry("message", &*record.message.text())?;
        if !record.fields.is_empty() {
            let mut fields = Object::new();
            for (name, value) in &record.fields {
                fields.entry(name, value)?;
            }
            line.raw("fields", &fields.end())?;
        }
        let mut spans = String::new();
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            let mut entry = Object::new();
            entry.entry("name", span.name())?;
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            if let Some(fields) = fields.filter(|fields| fields.len() > 2) {
                // Checked, since what other layers do with it is not known.
                if serde_json::from_str::<Value>(fields).is_ok() {
                    entry.raw("fields", fields)?;
                }
            }
            spans.push_str(if spans.is_empty() { "[" } else { "," });
            spans.push_str(&entry.end());
        }
        if !spans.is_empty() {
            spans.push(']');
            line.raw("spans", &spans)?;
        }
        let line = line.end();
        if !line.contains(is_special) {
            return writeln!(writer, "{line}");
        }
        for character in line.chars() {
            if is_special(character) {
                // They are in strings only, and below U+10000.
                write!(writer, "\\u{:04x}", u32::from(character))?;
            } else {
                writer.write_char(character)?;
            }
        }
        writer.write_char('\n')
    }
}

/// An object in the order of its entries.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn entry(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> fmt::Result {
        let value = serde_json::to_string(value).map_err(|_| fmt::Error)?;
        self.raw(key, &value)
    }

    fn raw(&mut self, key: &str, json: &str) -> fmt::Result {
        let comma = if self.0.len() > 1 { "," } else { "" };
        let key = serde_json::to_string(key).map_err(|_| fmt::Error)?;
        write!(self.0, "{comma}{key}:{json}")
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
