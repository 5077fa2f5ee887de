//! The protobuf wire format, read field by field without building messages.
//!
//! Knows no message of OTLP. <https://protobuf.dev/programming-guides/encoding/>

/// What is wrong with the bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("truncated field")]
    Truncated,
    #[error("varint longer than 10 bytes")]
    Varint,
    #[error("field number out of range")]
    FieldNumber,
    #[error("unknown wire type")]
    WireType,
    #[error("field with the wire type of another type")]
    OtherType,
    #[error("string that is not UTF-8")]
    Utf8,
    #[error("values nested too deeply")]
    Depth,
}

/// The fields of one message, in the order of the wire. Ends after the first error.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

/// One field as the wire has it: the schema decides what it means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    // Inlined, a field stays in registers: it takes a third off the reading of a span.
    #[inline(always)]
    fn read(&mut self) -> Result<(u32, Field<'a>), Malformed> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|&number| number != 0)
            .ok_or(Malformed::FieldNumber)?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
                let (bytes, rest) = self
                    .rest
                    .split_at_checked(length)
                    .ok_or(Malformed::Truncated)?;
                self.rest = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups (3 and 4) do not exist in proto3.
            _ => return Err(Malformed::WireType),
        };
        Ok((number, field))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all tags and lengths are of one byte.
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte < 0x80
        {
            self.rest = rest;
            return Ok(byte.into());
        }
        self.long_varint()
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            Field::Varint(_) | Field::Fixed64(_) | Field::Fixed32(_) => Err(Malformed::OtherType),
        }
    }

    pub(crate) fn varint(self) -> Result<u64, Malformed> {
        match self {
            Field::Varint(value) => Ok(value),
            Field::Bytes(_) | Field::Fixed64(_) | Field::Fixed32(_) => Err(Malformed::OtherType),
        }
    }

    /// The low 32 bits of a varint, as every protobuf parser reads a `uint32`.
    pub(crate) fn uint32(self) -> Result<u32, Malformed> {
        Ok(self.varint()? as u32)
    }

    pub(crate) fn fixed64(self) -> Result<u64, Malformed> {
        match self {
            Field::Fixed64(value) => Ok(value),
            Field::Bytes(_) | Field::Varint(_) | Field::Fixed32(_) => Err(Malformed::OtherType),
        }
    }

    pub(crate) fn fixed32(self) -> Result<u32, Malformed> {
        match self {
            Field::Fixed32(value) => Ok(value),
            Field::Bytes(_) | Field::Varint(_) | Field::Fixed64(_) => Err(Malformed::OtherType),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &[u8]) -> Vec<Result<(u32, Field<'_>), Malformed>> {
        Fields::new(message).collect()
    }

    #[test]
    fn every_wire_type_is_read() {
        let message = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x11, 1, 0, 0, 0, 0, 0, 0, 0x80, // 2: fixed64
            0x1a, 2, b'h', b'i', // 3: bytes
            0x25, 7, 0, 0, 0, // 4: fixed32
        ];
        assert_eq!(
            fields(&message),
            [
                Ok((1, Field::Varint(150))),
                Ok((2, Field::Fixed64(0x8000_0000_0000_0001))),
                Ok((3, Field::Bytes(b"hi"))),
                Ok((4, Field::Fixed32(7))),
            ]
        );
    }

    #[test]
    fn damage_is_named_and_ends_the_message() {
        assert_eq!(fields(&[0x08]), [Err(Malformed::Truncated)]);
        assert_eq!(fields(&[0x1a, 3, b'h']), [Err(Malformed::Truncated)]);
        assert_eq!(fields(&[0x00, 0x00]), [Err(Malformed::FieldNumber)]);
        assert_eq!(fields(&[0x0b, 0x0c]), [Err(Malformed::WireType)]);
        assert_eq!(fields(&[0xff; 11]), [Err(Malformed::Varint)]);
        let huge = [
            0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ];
        assert_eq!(fields(&huge), [Err(Malformed::Truncated)]);
    }
}
