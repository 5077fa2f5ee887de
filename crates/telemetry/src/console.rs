//! Writes spans to standard output, for people who look at one service: `OTEL_TRACES_EXPORTER=console`.
//!
//! The exporter of `opentelemetry-stdout` panics when nobody reads it.

use std::{
    io::{self, Write as _},
    sync::OnceLock,
    time::SystemTime,
};

use jiff::Timestamp;
use opentelemetry::{
    Array, KeyValue, SpanId, Value,
    trace::{Event, Link, SpanKind, Status},
};
use opentelemetry_sdk::trace::SpanData;
use serde::{Serialize, Serializer, ser::SerializeMap};

/// Writes a JSON line for each span.
#[derive(Debug, Default)]
pub(crate) struct Console {
    service: OnceLock<String>,
}

impl Console {
    /// Said once, before there are spans.
    pub(crate) fn set_service(&self, name: String) {
        let _ = self.service.set(name);
    }

    /// A pipe that nobody reads is no failure.
    pub(crate) fn write(&self, span: &SpanData) {
        let service = self.service.get().map_or("", String::as_str);
        if let Ok(line) = line(service, span) {
            // In one call, so that lines of several threads do not mix.
            let _ = io::stdout().lock().write_all(&line);
        }
    }
}

fn line(service: &str, span: &SpanData) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Line::new(service, span))?;
    line.push(b'\n');
    Ok(line)
}

#[derive(Serialize)]
struct Line<'s> {
    span: &'s str,
    kind: &'static str,
    #[serde(rename = "service.name")]
    service: &'s str,
    scope: &'s str,
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    start: Option<String>,
    /// A negative one, by a clock that was set back, is 0.
    duration_ms: f64,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    status_description: &'s str,
    attributes: Attributes<'s>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventLine<'s>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<LinkLine<'s>>,
}

#[derive(Serialize)]
struct EventLine<'s> {
    event: &'s str,
    time: Option<String>,
    attributes: Attributes<'s>,
}

#[derive(Serialize)]
struct LinkLine<'s> {
    trace_id: String,
    span_id: String,
    attributes: Attributes<'s>,
}

impl<'s> Line<'s> {
    fn new(service: &'s str, span: &'s SpanData) -> Self {
        let (status, status_description) = match &span.status {
            Status::Unset => ("unset", ""),
            Status::Ok => ("ok", ""),
            Status::Error { description } => ("error", description.as_ref()),
        };
        let duration = span.end_time.duration_since(span.start_time);
        let parent = Some(span.parent_span_id).filter(|parent| *parent != SpanId::INVALID);
        Self {
            span: &span.name,
            kind: match span.span_kind {
                SpanKind::Client => "client",
                SpanKind::Server => "server",
                SpanKind::Producer => "producer",
                SpanKind::Consumer => "consumer",
                SpanKind::Internal => "internal",
            },
            service,
            scope: span.instrumentation_scope.name(),
            trace_id: span.span_context.trace_id().to_string(),
            span_id: span.span_context.span_id().to_string(),
            parent_span_id: parent.map(|parent| parent.to_string()),
            start: time(span.start_time),
            duration_ms: duration.unwrap_or_default().as_secs_f64() * 1e3,
            status,
            status_description,
            attributes: Attributes(&span.attributes),
            events: span.events.iter().map(EventLine::new).collect(),
            links: span.links.iter().map(LinkLine::new).collect(),
        }
    }
}

impl<'s> EventLine<'s> {
    fn new(event: &'s Event) -> Self {
        Self {
            event: &event.name,
            time: time(event.timestamp),
            attributes: Attributes(&event.attributes),
        }
    }
}

impl<'s> LinkLine<'s> {
    fn new(link: &'s Link) -> Self {
        Self {
            trace_id: link.span_context.trace_id().to_string(),
            span_id: link.span_context.span_id().to_string(),
            attributes: Attributes(&link.attributes),
        }
    }
}

/// Nothing for a time beyond the year 9999.
fn time(time: SystemTime) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    Some(time.to_string())
}

struct Attributes<'s>(&'s [KeyValue]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for KeyValue { key, value, .. } in self.0 {
            let key = key.as_str();
            match value {
                Value::Bool(value) => map.serialize_entry(key, value)?,
                Value::I64(value) => map.serialize_entry(key, value)?,
                Value::F64(value) => map.serialize_entry(key, value)?,
                Value::Array(Array::Bool(values)) => map.serialize_entry(key, values)?,
                Value::Array(Array::I64(values)) => map.serialize_entry(key, values)?,
                Value::Array(Array::F64(values)) => map.serialize_entry(key, values)?,
                Value::Array(Array::String(values)) => {
                    let values: Vec<_> = values.iter().map(|value| value.as_str()).collect();
                    map.serialize_entry(key, &values)?;
                }
                value => map.serialize_entry(key, &value.as_str())?,
            }
        }
        map.end()
    }
}
