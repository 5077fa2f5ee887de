//! Thrift's binary protocol, read field by field without building structs.
//!
//! Knows no struct of Jaeger. A struct by itself is the same in the strict and the old encoding,
//! which differ only in the envelope of messages.
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-binary-protocol.md>

use std::str;

/// How deep what is skipped may nest.
const MAX_DEPTH: usize = 32;

/// What is wrong with the bytes of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("truncated field")]
    Truncated,
    #[error("unknown type of a field")]
    Type,
    #[error("length below zero")]
    Length,
    #[error("list of another type")]
    OtherList,
    #[error("string that is not UTF-8")]
    Utf8,
    #[error("structs nested too deeply")]
    Depth,
    #[error("bytes after the end")]
    Rest,
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// Type of a field or of the elements of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Byte,
    Double,
    I16,
    I32,
    I64,
    /// Bytes too.
    String,
    Struct,
    Map,
    Set,
    List,
}

impl Type {
    fn new(byte: u8) -> Result<Type, Malformed> {
        Ok(match byte {
            2 => Type::Bool,
            3 => Type::Byte,
            4 => Type::Double,
            6 => Type::I16,
            8 => Type::I32,
            10 => Type::I64,
            11 => Type::String,
            12 => Type::Struct,
            13 => Type::Map,
            14 => Type::Set,
            15 => Type::List,
            _ => return Err(Malformed::Type),
        })
    }

    /// Bytes that a value takes at least: exactly as many, for those that are of fixed size.
    fn least_bytes(self) -> usize {
        match self {
            Type::Bool | Type::Byte | Type::Struct => 1,
            Type::I16 => 2,
            Type::I32 | Type::String => 4,
            Type::Set | Type::List => 5,
            Type::Map => 6,
            Type::Double | Type::I64 => 8,
        }
    }
}

/// The bytes that are still to be read.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Id and type of the next field; `None` at the end of the struct.
    pub(super) fn field(&mut self) -> Result<Option<(i16, Type)>, Malformed> {
        let [kind] = self.array()?;
        if kind == 0 {
            return Ok(None);
        }
        let kind = Type::new(kind)?;
        Ok(Some((i16::from_be_bytes(self.array()?), kind)))
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.array()? != [0])
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(super) fn double(&mut self) -> Result<f64, Malformed> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes()?).map_err(|_| Malformed::Utf8)
    }

    /// Number of structs in the list that begins here: no more than there are bytes.
    pub(super) fn list_of_structs(&mut self) -> Result<usize, Malformed> {
        let [kind] = self.array()?;
        let count = self.length()?;
        if count == 0 {
            // Some writers name no type for a list of nothing.
            return Ok(0);
        }
        if Type::new(kind)? != Type::Struct {
            return Err(Malformed::OtherList);
        }
        self.holds(count, Type::Struct.least_bytes())?;
        Ok(count)
    }

    /// Passes over the value of a field that nobody knows.
    pub(super) fn skip(&mut self, kind: Type) -> Result<(), Malformed> {
        self.skip_nested(kind, 0)
    }

    /// Checks that everything was read.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Rest)
        }
    }

    fn skip_nested(&mut self, kind: Type, depth: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed::Depth);
        }
        match kind {
            Type::Bool | Type::Byte | Type::Double | Type::I16 | Type::I32 | Type::I64 => {
                self.take(kind.least_bytes())?;
            }
            Type::String => {
                self.bytes()?;
            }
            Type::Struct => {
                while let Some((_, kind)) = self.field()? {
                    self.skip_nested(kind, depth + 1)?;
                }
            }
            Type::Map => {
                let [key, value] = self.array()?;
                let count = self.length()?;
                if count > 0 {
                    let (key, value) = (Type::new(key)?, Type::new(value)?);
                    self.holds(count, key.least_bytes() + value.least_bytes())?;
                    for _ in 0..count {
                        self.skip_nested(key, depth + 1)?;
                        self.skip_nested(value, depth + 1)?;
                    }
                }
            }
            Type::Set | Type::List => {
                let [kind] = self.array()?;
                let count = self.length()?;
                if count > 0 {
                    let kind = Type::new(kind)?;
                    self.holds(count, kind.least_bytes())?;
                    for _ in 0..count {
                        self.skip_nested(kind, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.i32()?).map_err(|_| Malformed::Length)
    }

    /// Fails if `count` elements cannot be there, before anybody counts to two billion.
    fn holds(&self, count: usize, least_bytes: usize) -> Result<(), Malformed> {
        if count <= self.rest.len() / least_bytes {
            Ok(())
        } else {
            Err(Malformed::Truncated)
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(kind: Type, bytes: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(bytes);
        reader.skip(kind)?;
        reader.end()
    }

    #[test]
    fn every_type_is_skipped_whole() {
        for (kind, bytes) in [
            (Type::Bool, &[1][..]),
            (Type::Byte, &[1]),
            (Type::I16, &[0; 2]),
            (Type::I32, &[0; 4]),
            (Type::I64, &[0; 8]),
            (Type::Double, &[0; 8]),
            (Type::String, &[0, 0, 0, 2, b'h', b'i']),
            (Type::Struct, &[2, 0, 1, 1, 0]),
            (Type::Map, &[3, 2, 0, 0, 0, 1, 7, 1]),
            (Type::Map, &[0; 6]),
            (Type::Set, &[3, 0, 0, 0, 2, 7, 7]),
            (Type::List, &[12, 0, 0, 0, 2, 0, 0]),
            (Type::List, &[0; 5]),
        ] {
            assert_eq!(skipped(kind, bytes), Ok(()), "{kind:?}");
            let short = &bytes[..bytes.len() - 1];
            assert_eq!(skipped(kind, short), Err(Malformed::Truncated), "{kind:?}");
        }
    }

    #[test]
    fn damage_is_named() {
        let two_billion_empty_structs = [12, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0];
        assert_eq!(
            skipped(Type::List, &two_billion_empty_structs),
            Err(Malformed::Truncated)
        );
        assert_eq!(
            skipped(Type::List, &[12, 0xff, 0, 0, 0]),
            Err(Malformed::Length)
        );
        assert_eq!(skipped(Type::Struct, &[1, 0, 1]), Err(Malformed::Type));
        assert_eq!(skipped(Type::Struct, &[0, 0]), Err(Malformed::Rest));
        let lists = [15, 0, 0, 0, 1].repeat(1000);
        assert_eq!(skipped(Type::List, &lists), Err(Malformed::Depth));
    }
}
