//! How long spans are on the wire, without writing them.
//!
//! Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`.

use crate::span::{Event, KeyValue, Kind, Link, Span, StatusCode, Value};

/// A tag of one byte: field numbers up to 15.
const TAG: usize = 1;
const FIXED32: usize = 4;
const FIXED64: usize = 8;
const TRACE_ID: usize = TAG + 1 + 16;
const SPAN_ID: usize = TAG + 1 + 8;

/// Bytes of an OTLP `Span` in protobuf, whatever form it came in. As SDKs do, a status that says nothing is written too.
pub(crate) fn encoded_len(span: &Span<'_>) -> usize {
    TRACE_ID
        + SPAN_ID
        + text(&span.trace_state)
        + span.parent.map_or(0, |_| SPAN_ID)
        + text(&span.name)
        + match span.kind {
            Kind::Unspecified => 0,
            kind => number(kind.number().into()),
        }
        + fixed64(span.start_unix_nano)
        + fixed64(span.end_unix_nano)
        + attributes(&span.attributes)
        + number(span.dropped_attributes.into())
        + span.events.iter().map(event).map(message).sum::<usize>()
        + number(span.dropped_events.into())
        + span.links.iter().map(link).map(message).sum::<usize>()
        + number(span.dropped_links.into())
        + message(status(span.status.code) + text(&span.status.message))
        // Field 16 has a tag of two bytes.
        + match span.flags {
            0 => 0,
            _ => TAG + 1 + FIXED32,
        }
}

fn status(code: StatusCode) -> usize {
    match code {
        StatusCode::Unset => 0,
        code => number(code.number().into()),
    }
}

fn event(event: &Event<'_>) -> usize {
    fixed64(event.time_unix_nano)
        + text(&event.name)
        + attributes(&event.attributes)
        + number(event.dropped_attributes.into())
}

fn link(link: &Link<'_>) -> usize {
    let flags = match link.flags {
        0 => 0,
        _ => TAG + FIXED32,
    };
    TRACE_ID
        + SPAN_ID
        + text(&link.trace_state)
        + attributes(&link.attributes)
        + number(link.dropped_attributes.into())
        + flags
}

fn attributes(attributes: &[KeyValue<'_>]) -> usize {
    attributes.iter().map(key_value).map(message).sum()
}

fn key_value(attribute: &KeyValue<'_>) -> usize {
    text(&attribute.key) + message(any_value(&attribute.value))
}

/// What is set is written even if it is 0 or empty.
fn any_value(value: &Value<'_>) -> usize {
    match value {
        Value::Empty => 0,
        Value::String(text) => message(text.len()),
        Value::Bool(_) => TAG + 1,
        Value::Int(number) => TAG + varint(number.cast_unsigned()),
        Value::Double(_) => TAG + FIXED64,
        Value::Bytes(bytes) => message(bytes.len()),
        Value::Array(values) => message(values.iter().map(any_value).map(message).sum()),
        Value::Map(entries) => message(attributes(entries)),
    }
}

fn text(text: &str) -> usize {
    match text.len() {
        0 => 0,
        length => message(length),
    }
}

/// A field of so many bytes.
fn message(length: usize) -> usize {
    TAG + varint(length as u64) + length
}

fn number(number: u64) -> usize {
    match number {
        0 => 0,
        number => TAG + varint(number),
    }
}

fn fixed64(number: u64) -> usize {
    match number {
        0 => 0,
        _ => TAG + FIXED64,
    }
}

/// Seven bits in each byte.
fn varint(number: u64) -> usize {
    (number | 1).ilog2() as usize / 7 + 1
}
