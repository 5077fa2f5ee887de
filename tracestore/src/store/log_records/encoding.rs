//! A log record as bytes: all of it but for its times, ids and origin, which stand in columns.
//!
//! Text stands in it as it is, so that what has none of a searched text in its bytes need not be
//! read further.

use std::borrow::Cow;

use regex::bytes::Regex;

use super::{
    super::{
        bytes::{Reader, Writer},
        value,
    },
    chunk::Row,
    origin::{decode_attributes, encode_attributes, text},
};
use crate::{
    log_record::LogRecord,
    span::{SpanId, TraceId, Value},
};

/// What a body is.
const NOTHING: u8 = 0;
const TEXT: u8 = 1;
/// A value that is no string: its JSON, which is searched, and the value itself.
const VALUE: u8 = 2;

/// Appends a record.
pub(super) fn encode(record: &LogRecord<'_>, to: &mut Vec<u8>) {
    let mut to = Writer(to);
    to.u64(record.observed_unix_nano);
    to.u32(record.flags);
    to.u32(record.dropped_attributes);
    to.u8(record.severity);
    to.bytes(record.severity_text.as_bytes());
    to.bytes(record.event_name.as_bytes());
    match &record.body {
        Value::Empty => to.u8(NOTHING),
        Value::String(text) => {
            to.u8(TEXT);
            to.bytes(text.as_bytes());
        }
        other => {
            to.u8(VALUE);
            to.bytes(record.body_text().as_bytes());
            let mut bytes = Vec::new();
            value::encode(other, &mut bytes);
            to.bytes(&bytes);
        }
    }
    encode_attributes(&record.attributes, &mut to);
}

/// `None` for what `encode` does not write.
pub(super) fn decode<'a>(row: &Row, bytes: &'a [u8]) -> Option<LogRecord<'a>> {
    let mut from = Reader(bytes);
    let observed_unix_nano = from.u64()?;
    let flags = from.u32()?;
    let dropped_attributes = from.u32()?;
    let severity = from.u8()?;
    let severity_text = Cow::Borrowed(text(&mut from)?);
    let event_name = Cow::Borrowed(text(&mut from)?);
    let body = match from.u8()? {
        NOTHING => Value::Empty,
        TEXT => Value::String(Cow::Borrowed(text(&mut from)?)),
        VALUE => {
            from.bytes()?;
            value::decode(from.bytes()?)?
        }
        _ => return None,
    };
    let attributes = decode_attributes(&mut from)?;
    from.0.is_empty().then_some(LogRecord {
        time_unix_nano: row.time,
        observed_unix_nano,
        severity,
        severity_text,
        body,
        attributes,
        dropped_attributes,
        flags,
        trace: TraceId::new(row.trace),
        span: SpanId::new(row.span),
        event_name,
    })
}

/// Whether the text of the body, its JSON if it is no string, or an attribute that is a string
/// matches. `None` for what `encode` does not write.
pub(super) fn has(bytes: &[u8], wanted: &Regex) -> Option<bool> {
    let mut from = Reader(bytes);
    from.u64()?;
    from.u64()?;
    from.u8()?;
    from.bytes()?;
    from.bytes()?;
    match from.u8()? {
        NOTHING => {}
        kind => {
            if wanted.is_match(from.bytes()?) {
                return Some(true);
            }
            if kind == VALUE {
                from.bytes()?;
            }
        }
    }
    for _ in 0..from.len()? {
        from.bytes()?;
        let value = value::decode_str(from.bytes()?);
        if value.is_some_and(|value| wanted.is_match(value.as_bytes())) {
            return Some(true);
        }
    }
    Some(false)
}
