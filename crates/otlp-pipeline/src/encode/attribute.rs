//! `common.proto`: attributes and their values.

use opentelemetry::{Array, KeyValue, StringValue, Value};

use super::wire::{Message, Output, key_of_delimited, key_of_integer, varint_bytes};

/// Writes `KeyValue` as one of the first 15 fields. Most attributes are a short text or a number, and written at once.
#[inline]
pub(super) fn attribute(out: &mut impl Output, field: u32, attribute: &KeyValue) {
    /// Most bytes of a name and a value together that have a length of one byte, whatever is around them.
    const SHORT: usize = 0x80 - 7;
    const KEY: u8 = key_of_delimited(1);
    const VALUE: u8 = key_of_delimited(2);
    let name = attribute.key.as_str().as_bytes();
    match &attribute.value {
        Value::String(text) if name.len() + text.as_str().len() <= SHORT && !name.is_empty() => {
            let text = text.as_str().as_bytes();
            let (n, v) = (name.len() as u8, text.len() as u8);
            out.in_turns(
                [key_of_delimited(field), n + v + 6, KEY, n],
                name,
                [VALUE, v + 2, key_of_delimited(1), v],
                text,
            );
        }
        Value::I64(number) if name.len() + 10 <= SHORT && !name.is_empty() => {
            let (number, len) = varint_bytes(number.cast_unsigned());
            let (n, v) = (name.len() as u8, len as u8);
            out.in_turns(
                [key_of_delimited(field), n + v + 5, KEY, n],
                name,
                [VALUE, v + 1, key_of_integer(3)],
                &number[..len],
            );
        }
        _ => out.message(field, &Attribute(attribute)),
    }
}

/// `KeyValue`.
struct Attribute<'a>(&'a KeyValue);

/// `AnyValue`.
struct AnyValue<'a>(&'a Value);

/// `ArrayValue`.
struct ArrayValue<'a>(&'a Array);

/// `AnyValue`, as an element of an array.
pub(super) enum Element<'a> {
    Bool(bool),
    I64(i64),
    F64(f64),
    String(&'a StringValue),
}

impl Message for Attribute<'_> {
    #[inline]
    fn fields(&self, out: &mut impl Output) {
        out.string(1, self.0.key.as_str());
        out.message(2, &AnyValue(&self.0.value));
    }
}

impl Message for AnyValue<'_> {
    #[inline]
    fn fields(&self, out: &mut impl Output) {
        match self.0 {
            Value::Bool(value) => Element::Bool(*value).fields(out),
            Value::I64(value) => Element::I64(*value).fields(out),
            Value::F64(value) => Element::F64(*value).fields(out),
            Value::String(value) => Element::String(value).fields(out),
            Value::Array(array) => out.message(5, &ArrayValue(array)),
            // A kind that these versions of OpenTelemetry do not have; an empty value is a valid one.
            _ => {}
        }
    }
}

impl Message for Element<'_> {
    #[inline]
    fn fields(&self, out: &mut impl Output) {
        // Of a oneof, the default value is written too.
        match self {
            Element::String(value) => out.delimited(1, value.as_str().as_bytes()),
            Element::Bool(value) => out.integer(2, u64::from(*value)),
            Element::I64(value) => out.integer(3, value.cast_unsigned()),
            Element::F64(value) => out.eight_bytes(4, value.to_bits()),
        }
    }
}

impl Message for ArrayValue<'_> {
    fn fields(&self, out: &mut impl Output) {
        match self.0 {
            Array::Bool(values) => elements(out, values, |value| Element::Bool(*value)),
            Array::I64(values) => elements(out, values, |value| Element::I64(*value)),
            Array::F64(values) => elements(out, values, |value| Element::F64(*value)),
            Array::String(values) => elements(out, values, Element::String),
            _ => {}
        }
    }
}

fn elements<'a, T>(out: &mut impl Output, values: &'a [T], element: impl Fn(&'a T) -> Element<'a>) {
    for value in values {
        out.message(1, &element(value));
    }
}
