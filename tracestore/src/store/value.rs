//! Attribute values as bytes whose order is the order of the values.
//!
//! A dictionary of such bytes can be sorted once and searched by `memcmp`: all values of one type
//! stand together, and numbers, strings and byte strings ascend within their type.

use std::{borrow::Cow, ops::Range};

use crate::span::{Double, KeyValue, Value};

/// The first byte of every value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Type {
    Empty = 1,
    Bool = 2,
    Int = 3,
    Double = 4,
    String = 5,
    Bytes = 6,
    Array = 7,
    Map = 8,
}

/// What `decode` follows into arrays and maps: more than receivers accept.
const MAX_DEPTH: usize = 64;

const SIGN: u64 = 1 << 63;

/// Appends the bytes of a value.
pub(super) fn encode(value: &Value<'_>, to: &mut Vec<u8>) {
    match value {
        Value::Empty => to.push(Type::Empty as u8),
        Value::Bool(value) => to.extend([Type::Bool as u8, u8::from(*value)]),
        Value::Int(value) => encode_int(*value, to),
        Value::Double(Double(value)) => encode_double(*value, to),
        Value::String(value) => encode_str(value, to),
        Value::Bytes(value) => {
            to.push(Type::Bytes as u8);
            to.extend_from_slice(value);
        }
        Value::Array(values) => {
            to.push(Type::Array as u8);
            for value in values {
                nested(to, |to| encode(value, to));
            }
        }
        Value::Map(entries) => {
            to.push(Type::Map as u8);
            for KeyValue { key, value } in entries {
                nested(to, |to| to.extend_from_slice(key.as_bytes()));
                nested(to, |to| encode(value, to));
            }
        }
    }
}

pub(super) fn encode_str(value: &str, to: &mut Vec<u8>) {
    to.push(Type::String as u8);
    to.extend_from_slice(value.as_bytes());
}

pub(super) fn encode_int(value: i64, to: &mut Vec<u8>) {
    to.push(Type::Int as u8);
    to.extend((value.cast_unsigned() ^ SIGN).to_be_bytes());
}

pub(super) fn encode_double(value: f64, to: &mut Vec<u8>) {
    let bits = value.to_bits();
    // IEEE 754 numbers ascend as integers do, but for negative ones, which descend.
    let ascending = if bits & SIGN == 0 { bits | SIGN } else { !bits };
    to.push(Type::Double as u8);
    to.extend(ascending.to_be_bytes());
}

/// Writes the length of what `write` appends before it, as four bytes.
fn nested(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = to.len();
    to.extend([0; 4]);
    write(to);
    let len = u32::try_from(to.len() - at - 4).unwrap_or(u32::MAX);
    to[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// `None` for bytes that `encode` does not write.
pub(super) fn type_of(bytes: &[u8]) -> Option<Type> {
    Some(match bytes.first()? {
        1 => Type::Empty,
        2 => Type::Bool,
        3 => Type::Int,
        4 => Type::Double,
        5 => Type::String,
        6 => Type::Bytes,
        7 => Type::Array,
        8 => Type::Map,
        _ => return None,
    })
}

/// `None` for bytes that `encode` does not write.
pub(super) fn decode(bytes: &[u8]) -> Option<Value<'_>> {
    decode_within(bytes, MAX_DEPTH)
}

pub(super) fn decode_str(bytes: &[u8]) -> Option<&str> {
    match bytes {
        [first, rest @ ..] if *first == Type::String as u8 => std::str::from_utf8(rest).ok(),
        _ => None,
    }
}

pub(super) fn decode_int(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [first, rest @ ..] if *first == Type::Int as u8 => {
            Some((u64::from_be_bytes(rest.try_into().ok()?) ^ SIGN).cast_signed())
        }
        _ => None,
    }
}

pub(super) fn decode_double(bytes: &[u8]) -> Option<f64> {
    match bytes {
        [first, rest @ ..] if *first == Type::Double as u8 => {
            let ascending = u64::from_be_bytes(rest.try_into().ok()?);
            let bits = if ascending & SIGN == 0 {
                !ascending
            } else {
                ascending & !SIGN
            };
            Some(f64::from_bits(bits))
        }
        _ => None,
    }
}

fn decode_within(bytes: &[u8], depth: usize) -> Option<Value<'_>> {
    let depth = depth.checked_sub(1)?;
    let rest = bytes.get(1..)?;
    Some(match type_of(bytes)? {
        Type::Empty => Value::Empty,
        Type::Bool => Value::Bool(rest == [1]),
        Type::Int => Value::Int(decode_int(bytes)?),
        Type::Double => Value::Double(Double(decode_double(bytes)?)),
        Type::String => Value::String(Cow::Borrowed(decode_str(bytes)?)),
        Type::Bytes => Value::Bytes(Cow::Borrowed(rest)),
        Type::Array => {
            let mut values = Vec::new();
            let mut rest = rest;
            while !rest.is_empty() {
                values.push(decode_within(take_nested(&mut rest)?, depth)?);
            }
            Value::Array(values)
        }
        Type::Map => {
            let mut entries = Vec::new();
            let mut rest = rest;
            while !rest.is_empty() {
                let key = std::str::from_utf8(take_nested(&mut rest)?).ok()?;
                entries.push(KeyValue {
                    key: Cow::Borrowed(key),
                    value: decode_within(take_nested(&mut rest)?, depth)?,
                });
            }
            Value::Map(entries)
        }
    })
}

fn take_nested<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_at_checked(4)?;
    let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
    let (nested, after) = after.split_at_checked(len)?;
    *rest = after;
    Some(nested)
}

/// The bounds between which the bytes of all values of a type stand.
pub(super) fn bounds(of: Type) -> Range<[u8; 1]> {
    [of as u8]..[of as u8 + 1]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(value: &Value<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(value, &mut bytes);
        bytes
    }

    fn value() -> impl Strategy<Value = Value<'static>> {
        let leaf = prop_oneof![
            Just(Value::Empty),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<u64>().prop_map(|bits| Value::Double(Double(f64::from_bits(bits)))),
            ".*".prop_map(|text| Value::String(text.into())),
            any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(bytes.into())),
        ];
        leaf.prop_recursive(4, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec((".*", inner), 0..4).prop_map(|entries| {
                    let entries = entries.into_iter().map(|(key, value)| KeyValue {
                        key: key.into(),
                        value,
                    });
                    Value::Map(entries.collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_what_was_encoded(value in value()) {
            let bytes = bytes(&value);
            prop_assert_eq!(decode(&bytes), Some(value));
        }

        #[test]
        fn arbitrary_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn integers_keep_their_order(a: i64, b: i64) {
            prop_assert_eq!(bytes(&Value::Int(a)).cmp(&bytes(&Value::Int(b))), a.cmp(&b));
        }

        #[test]
        fn doubles_keep_their_order(a: f64, b: f64) {
            let order = bytes(&Value::Double(Double(a))).cmp(&bytes(&Value::Double(Double(b))));
            prop_assert_eq!(order, a.total_cmp(&b));
        }

        #[test]
        fn strings_keep_their_order(a: String, b: String) {
            let [x, y] = [&a, &b].map(|text| bytes(&Value::String(text.into())));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }
    }
}
