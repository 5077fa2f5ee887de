//! Attributes, and what has a form of its own in JSON.

use std::fmt::Display;

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::span::{Double, KeyValue, Value};

/// `[{"key": ..., "value": {...}}]`.
pub(super) struct Attributes<'a>(pub(super) &'a [KeyValue<'a>]);

impl Attributes<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Attribute<'a> {
            #[serde(skip_serializing_if = "str::is_empty")]
            key: &'a str,
            value: AnyValue<'a>,
        }
        serializer.collect_seq(self.0.iter().map(|KeyValue { key, value }| Attribute {
            key,
            value: AnyValue(value),
        }))
    }
}

/// `{"stringValue": ...}` and its like; `{}` if nothing is set.
pub(super) struct AnyValue<'a>(pub(super) &'a Value<'a>);

impl Serialize for AnyValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Values<T> {
            values: T,
        }
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Value::Empty => {}
            Value::String(text) => map.serialize_entry("stringValue", text)?,
            Value::Bool(truth) => map.serialize_entry("boolValue", truth)?,
            Value::Int(number) => map.serialize_entry("intValue", &Text(number))?,
            Value::Double(number) => map.serialize_entry("doubleValue", &JsonDouble(*number))?,
            Value::Bytes(bytes) => {
                map.serialize_entry("bytesValue", &Text(Base64Display::new(bytes, &STANDARD)))?;
            }
            Value::Array(values) if values.is_empty() => {
                map.serialize_entry("arrayValue", &Empty {})?
            }
            Value::Array(values) => {
                let values: Vec<_> = values.iter().map(AnyValue).collect();
                map.serialize_entry("arrayValue", &Values { values })?;
            }
            Value::Map(pairs) if pairs.is_empty() => {
                map.serialize_entry("kvlistValue", &Empty {})?
            }
            Value::Map(pairs) => {
                let values = Attributes(pairs);
                map.serialize_entry("kvlistValue", &Values { values })?;
            }
        }
        map.end()
    }
}

/// A number as Go writes it: whole numbers without a fraction, and names for what JSON lacks.
pub(super) struct JsonDouble(pub(super) Double);

impl JsonDouble {
    pub(super) fn is_zero(&self) -> bool {
        let Double(number) = self.0;
        number == 0.0
    }
}

impl Serialize for JsonDouble {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Up to here every whole number is one that `i64` has too.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let Double(number) = self.0;
        if number.is_nan() {
            serializer.serialize_str("NaN")
        } else if number.is_infinite() {
            serializer.serialize_str(if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            })
        } else if number.fract() == 0.0
            && number.abs() < EXACT
            && number.to_bits() != (-0.0_f64).to_bits()
        {
            serializer.serialize_i64(number as i64)
        } else {
            serializer.serialize_f64(number)
        }
    }
}

/// An id as standard base64 with padding.
pub(super) struct Base64<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> Serialize for Base64<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(&self.0, &STANDARD))
    }
}

/// Something that is written as a string.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

pub(super) fn is_zero(number: &Text<u64>) -> bool {
    number.0 == 0
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `{}`
#[derive(Serialize)]
pub(super) struct Empty {}
