//! The text of labels: what attributes say, as Tempo writes it.

use std::{borrow::Cow, cell::OnceCell, fmt::Write, sync::Arc};

use crate::span::{Double, KeyValue, Resource, SERVICE_NAME, Value};

/// Bytes of a label's value; the rest is cut off.
const MAX_BYTES: usize = 2048;

/// The service that made spans.
pub(super) struct Service<'a> {
    /// `None` if the resource has no such attribute.
    name: Option<Cow<'a, str>>,
    /// Made once a span needs it.
    shared: OnceCell<Arc<str>>,
}

impl<'a> Service<'a> {
    pub(super) fn of(resource: &'a Resource<'_>) -> Service<'a> {
        let is_name = |attribute: &&KeyValue<'_>| attribute.key == SERVICE_NAME;
        let name = resource.attributes.iter().find(is_name);
        Service {
            name: name.map(|attribute| shown(&attribute.value)),
            shared: OnceCell::new(),
        }
    }

    /// Empty if it has none.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    pub(super) fn has_name(&self) -> bool {
        self.name.is_some()
    }

    /// Free of what it was read from.
    pub(super) fn shared(&self) -> Arc<str> {
        Arc::clone(self.shared.get_or_init(|| Arc::from(self.name())))
    }
}

pub(super) fn cut(text: &str) -> &str {
    if text.len() <= MAX_BYTES {
        return text;
    }
    &text[..text.floor_char_boundary(MAX_BYTES)]
}

/// Without quotes or separators; bytes and what is unset are empty.
pub(super) fn shown<'a>(value: &'a Value<'_>) -> Cow<'a, str> {
    match value {
        Value::String(text) => Cow::Borrowed(cut(text)),
        Value::Empty | Value::Bytes(_) => Cow::Borrowed(""),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        value => {
            let mut text = String::new();
            write(&mut text, value);
            text.truncate(text.floor_char_boundary(MAX_BYTES));
            Cow::Owned(text)
        }
    }
}

/// Ends early once there is enough: lists may be long. How deep they nest, `ingest` has bounded.
fn write(text: &mut String, value: &Value<'_>) {
    if text.len() > MAX_BYTES {
        return;
    }
    // Writing to a string does not fail.
    let _ = match value {
        Value::Int(number) => write!(text, "{number}"),
        Value::Double(Double(number)) if *number == f64::INFINITY => write!(text, "+Inf"),
        Value::Double(Double(number)) if *number == f64::NEG_INFINITY => write!(text, "-Inf"),
        Value::Double(Double(number)) => write!(text, "{number}"),
        Value::Array(values) => {
            text.push('[');
            for value in values.iter().take(MAX_BYTES) {
                write(text, value);
            }
            text.push(']');
            Ok(())
        }
        Value::Map(entries) => {
            text.push('{');
            for entry in entries.iter().take(MAX_BYTES) {
                text.push_str(cut(&entry.key));
                text.push(':');
                write(text, &entry.value);
            }
            text.push('}');
            Ok(())
        }
        Value::Empty | Value::Bytes(_) | Value::Bool(_) | Value::String(_) => {
            text.push_str(&shown(value));
            Ok(())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_tempo_shows_them() {
        let text = |text: &'static str| Value::String(Cow::Borrowed(text));
        let entry = |key: &'static str, value| KeyValue {
            key: Cow::Borrowed(key),
            value,
        };
        for (value, expected) in [
            (text("a \"b\"\n"), "a \"b\"\n"),
            (Value::Bool(true), "true"),
            (Value::Int(-3), "-3"),
            (Value::Double(Double(3.0)), "3"),
            (Value::Double(Double(1e21)), "1000000000000000000000"),
            (Value::Double(Double(f64::NEG_INFINITY)), "-Inf"),
            (Value::Double(Double(f64::NAN)), "NaN"),
            (Value::Bytes(Cow::Borrowed(b"x")), ""),
            (Value::Empty, ""),
            (Value::Array(vec![text("a"), Value::Int(1)]), "[a1]"),
            (
                Value::Map(vec![entry("k", text("v")), entry("l", Value::Bool(false))]),
                "{k:vl:false}",
            ),
        ] {
            assert_eq!(shown(&value), expected);
        }
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = "é".repeat(3000);
        assert_eq!(shown(&Value::String(Cow::Owned(long))), "é".repeat(1024));
        let many = Value::Array(vec![Value::Int(-1); 1 << 20]);
        assert_eq!(shown(&many).len(), MAX_BYTES);
    }
}
