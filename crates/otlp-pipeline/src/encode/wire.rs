//! The parts of protobuf's wire format that OTLP needs (<https://protobuf.dev/programming-guides/encoding/>).

/// What can be written as the fields of a protobuf message.
pub(super) trait Message {
    /// The fields, in ascending order, those with their default value left out.
    fn fields(&self, out: &mut impl Output);

    /// How many bytes the fields take.
    #[inline]
    fn len(&self) -> usize {
        let mut length = Length(0);
        self.fields(&mut length);
        length.0
    }
}

/// Where fields go: to a count of their bytes, or to the bytes themselves.
pub(super) trait Output {
    fn bytes(&mut self, bytes: &[u8]);

    fn varint(&mut self, value: u64);

    /// A message with its key and length, even if it is empty.
    fn message(&mut self, field: u32, message: &impl Message);

    /// A string or bytes with key and length, even if there are none.
    #[inline]
    fn delimited(&mut self, field: u32, bytes: &[u8]) {
        self.varint(key(field, LENGTH_DELIMITED));
        self.varint(bytes.len() as u64);
        self.bytes(bytes);
    }

    /// A string, unless it is empty.
    #[inline]
    fn string(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.delimited(field, value.as_bytes());
        }
    }

    /// A `uint32`, `int64`, `bool` or enumeration, even if it is zero.
    #[inline]
    fn integer(&mut self, field: u32, value: u64) {
        self.varint(key(field, VARINT));
        self.varint(value);
    }

    /// A `uint32`, unless it is zero.
    #[inline]
    fn count(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.integer(field, value.into());
        }
    }

    /// A `fixed64` or `double`, even if it is zero.
    #[inline]
    fn eight_bytes(&mut self, field: u32, value: u64) {
        self.varint(key(field, EIGHT_BYTES));
        self.bytes(&value.to_le_bytes());
    }

    /// A `fixed32`, even if it is zero.
    #[inline]
    fn four_bytes(&mut self, field: u32, value: u32) {
        self.varint(key(field, FOUR_BYTES));
        self.bytes(&value.to_le_bytes());
    }
}

/// Counts.
struct Length(usize);

/// Writes into a slice, which panics where it is too short.
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FOUR_BYTES: u32 = 5;

#[inline]
const fn key(field: u32, wire_type: u32) -> u64 {
    ((field << 3) | wire_type) as u64
}

/// How many bytes a varint takes: one for every seven bits.
#[inline]
pub(super) const fn varint_len(value: u64) -> usize {
    if value < 0x80 {
        return 1;
    }
    let bits = 64 - value.leading_zeros() as usize;
    bits.div_ceil(7)
}

/// How many bytes a message of `len` bytes takes with key and length.
#[inline]
pub(super) const fn delimited_len(field: u32, len: usize) -> usize {
    varint_len(key(field, LENGTH_DELIMITED)) + varint_len(len as u64) + len
}

/// The key and the length that come before a message of `len` bytes, appended to `out`.
pub(super) fn begin_message(out: &mut Vec<u8>, field: u32, len: usize) {
    let at = out.len();
    out.resize(at + delimited_len(field, len) - len, 0);
    let mut writer = Writer::new(&mut out[at..]);
    writer.varint(key(field, LENGTH_DELIMITED));
    writer.varint(len as u64);
}

/// `message` as a field, appended to `out`.
pub(super) fn append_message(out: &mut Vec<u8>, field: u32, message: &impl Message) {
    let len = message.len();
    begin_message(out, field, len);
    append_fields(out, message, len);
}

/// The fields of `message`, which take `len` bytes, appended to `out`.
#[inline]
pub(super) fn append_fields(out: &mut Vec<u8>, message: &impl Message, len: usize) {
    let at = out.len();
    out.resize(at + len, 0);
    let mut writer = Writer::new(&mut out[at..]);
    message.fields(&mut writer);
    debug_assert_eq!(writer.at, len, "the passes disagree");
}

impl Output for Length {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        self.0 += varint_len(value);
    }

    #[inline]
    fn message(&mut self, field: u32, message: &impl Message) {
        self.0 += delimited_len(field, message.len());
    }
}

impl<'a> Writer<'a> {
    #[inline]
    fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }
}

impl Output for Writer<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out[self.at] = value as u8 | 0x80;
            self.at += 1;
            value >>= 7;
        }
        self.out[self.at] = value as u8;
        self.at += 1;
    }

    #[inline]
    fn message(&mut self, field: u32, message: &impl Message) {
        self.varint(key(field, LENGTH_DELIMITED));
        // Nearly all lengths within a span are one byte. For the others room is made afterwards, which is cheaper
        // than to count all of them again.
        let at = self.at;
        self.at = at + 1;
        message.fields(self);
        let len = self.at - at - 1;
        let more = varint_len(len as u64) - 1;
        if more > 0 {
            self.out.copy_within(at + 1..self.at, at + 1 + more);
        }
        self.at = at;
        self.varint(len as u64);
        self.at += len;
    }
}
