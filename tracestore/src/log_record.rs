//! What a log record is, free of any wire form.
//!
//! The names and meanings are those of OTLP 1.x (`opentelemetry/proto/logs/v1/logs.proto`). Text
//! and bytes may be borrowed from the message that a record came in.

use std::borrow::Cow;

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer};

use crate::span::{Double, KeyValue, SpanId, TraceId, Value};

/// Something that an application said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogRecord<'a> {
    /// Nanoseconds since the Unix epoch: when it happened, or else when it was observed. 0 if
    /// neither is known; then it counts as happened when it arrived.
    pub(crate) time_unix_nano: u64,
    /// Nanoseconds since the Unix epoch, as sent; 0 means unknown.
    pub(crate) observed_unix_nano: u64,
    /// OTLP `SeverityNumber`, 1 to 24; 0 is unspecified, and so is a number that it does not know.
    pub(crate) severity: u8,
    /// As the source calls it.
    pub(crate) severity_text: Cow<'a, str>,
    /// One that is not there is empty.
    pub(crate) body: Value<'a>,
    pub(crate) attributes: Vec<KeyValue<'a>>,
    pub(crate) dropped_attributes: u32,
    /// W3C trace flags in the lowest 8 bits; OTLP `LogRecordFlags`.
    pub(crate) flags: u32,
    /// Of the record's own field: what a body says of traces is no more than text.
    pub(crate) trace: Option<TraceId>,
    pub(crate) span: Option<SpanId>,
    pub(crate) event_name: Cow<'a, str>,
}

impl LogRecord<'_> {
    /// How severe it is, by its number or else by its text. 0 if neither says it.
    pub(crate) fn effective_severity(&self) -> u8 {
        match self.severity {
            0 => severity(&self.severity_text).unwrap_or(0),
            number => number,
        }
    }
}

/// The least number of a severity that has a name, in any case.
///
/// <https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber>, and what
/// usual libraries write.
pub(crate) fn severity(name: &str) -> Option<u8> {
    let names = [
        ("trace", 1),
        ("debug", 5),
        ("info", 9),
        ("information", 9),
        ("notice", 10),
        ("warn", 13),
        ("warning", 13),
        ("error", 17),
        ("err", 17),
        ("fatal", 21),
        ("critical", 21),
        ("panic", 21),
    ];
    let mut names = names.into_iter();
    let found = names.find(|(known, _)| known.eq_ignore_ascii_case(name.trim()));
    found.map(|(_, number)| number)
}

impl LogRecord<'_> {
    /// The body as people read it: a string as it is, anything else as JSON in which bytes are
    /// base64. Empty if there is none.
    pub(crate) fn body_text(&self) -> Cow<'_, str> {
        match &self.body {
            Value::Empty => Cow::Borrowed(""),
            Value::String(text) => Cow::Borrowed(text),
            other => Cow::Owned(
                serde_json::to_string(&Plain(other))
                    .expect("keys are strings, and nothing else fails"),
            ),
        }
    }
}

/// A value as JSON has it, without the names of its types.
struct Plain<'a>(&'a Value<'a>);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Empty => serializer.serialize_unit(),
            Value::String(text) => serializer.serialize_str(text),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Double(Double(number)) if number.is_finite() => {
                serializer.serialize_f64(*number)
            }
            Value::Double(Double(number)) => serializer.collect_str(number),
            Value::Bytes(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
            Value::Array(values) => serializer.collect_seq(values.iter().map(Plain)),
            Value::Map(pairs) => {
                serializer.collect_map(pairs.iter().map(|pair| (&pair.key, Plain(&pair.value))))
            }
        }
    }
}
