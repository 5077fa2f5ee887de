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

    /// Bytes whose number is known here, with key and length.
    #[inline]
    fn id<const N: usize>(&mut self, field: u32, bytes: &[u8; N]) {
        self.delimited(field, bytes);
    }

    /// A `fixed64` or `double`, even if it is zero.
    #[inline]
    fn eight_bytes(&mut self, field: u32, value: u64) {
        self.varint(key(field, EIGHT_BYTES));
        self.bytes(&value.to_le_bytes());
    }

    /// Bytes in the order in which they are given.
    #[inline]
    fn in_turns<const A: usize, const B: usize>(
        &mut self,
        first: [u8; A],
        second: &[u8],
        third: [u8; B],
        fourth: &[u8],
    ) {
        self.bytes(&first);
        self.bytes(second);
        self.bytes(&third);
        self.bytes(fourth);
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

/// Writes into a slice. Where that is too short, nothing more is written and the writer is [`full`](Self::full).
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    full: bool,
}

const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FOUR_BYTES: u32 = 5;

#[inline]
const fn key(field: u32, wire_type: u32) -> u64 {
    ((field << 3) | wire_type) as u64
}

/// The key of a string, bytes or a message, for one of the first 15 fields.
#[inline]
pub(super) const fn key_of_delimited(field: u32) -> u8 {
    debug_assert!(field < 16);
    key(field, LENGTH_DELIMITED) as u8
}

/// The key of an integer, for one of the first 15 fields.
#[inline]
pub(super) const fn key_of_integer(field: u32) -> u8 {
    debug_assert!(field < 16);
    key(field, VARINT) as u8
}

/// A varint, and how many bytes of it count.
#[inline]
pub(super) fn varint_bytes(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut len = 0;
    while value >= 0x80 && len < 9 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    (bytes, len + 1)
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
    append(out, delimited_len(field, len) - len, |writer| {
        writer.varint(key(field, LENGTH_DELIMITED));
        writer.varint(len as u64);
    });
}

/// `message` as a field, appended to `out`.
pub(super) fn append_message(out: &mut Vec<u8>, field: u32, message: &impl Message) {
    let len = message.len();
    begin_message(out, field, len);
    append_fields(out, message);
}

/// The fields of `message`, appended to `out`.
pub(super) fn append_fields(out: &mut Vec<u8>, message: &impl Message) {
    append(out, message.len(), |writer| message.fields(writer));
}

fn append(out: &mut Vec<u8>, len: usize, write: impl FnOnce(&mut Writer<'_>)) {
    let at = out.len();
    out.resize(at + len, 0);
    let mut writer = Writer::new(&mut out[at..]);
    write(&mut writer);
    debug_assert_eq!(writer.at, len, "the passes disagree");
}

/// Writes `message` as a field to the beginning of `out`, and returns how many bytes that took. None if there is no room
/// for it, and `out` is then spoilt.
///
/// `len_bytes` is how many bytes its length likely takes: what is right is fast, and what is too much takes as much more
/// room for a moment.
#[inline]
pub(super) fn write_message(
    out: &mut [u8],
    field: u32,
    message: &impl Message,
    len_bytes: usize,
) -> Option<usize> {
    let mut writer = Writer::new(out);
    writer.message_with(field, message, len_bytes);
    (!writer.full).then_some(writer.at)
}

/// As [`write_message`], where there is room for all of it, and maybe for no more.
pub(super) fn write_message_within(
    out: &mut [u8],
    field: u32,
    message: &impl Message,
) -> Option<usize> {
    let len_bytes = varint_len(message.len() as u64);
    write_message(out, field, message, len_bytes)
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
        let (at, full) = (0, false);
        Self { out, at, full }
    }

    /// Room for the next `len` bytes.
    #[inline]
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        let (start, end) = (self.at, self.at + len);
        if end > self.out.len() {
            // Nor is there for anything else that comes.
            self.at = self.out.len();
            self.full = true;
            return None;
        }
        self.at = end;
        self.out.get_mut(start..end)
    }

    #[inline]
    fn message_with(&mut self, field: u32, message: &impl Message, len_bytes: usize) {
        self.varint(key(field, LENGTH_DELIMITED));
        let at = self.at;
        self.room(len_bytes);
        message.fields(self);
        let Some(len) = self.at.checked_sub(at + len_bytes) else {
            return;
        };
        let needed = varint_len(len as u64);
        if needed != len_bytes {
            if needed > len_bytes && self.room(needed - len_bytes).is_none() {
                return;
            }
            let from = at + len_bytes;
            self.out.copy_within(from..from + len, at + needed);
        }
        self.at = at;
        self.varint(len as u64);
        self.at += len;
    }
}

impl Output for Writer<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room(bytes.len()) {
            copy(bytes, room);
        }
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            if let Some([byte]) = self.room(1) {
                *byte = value as u8;
            }
            return;
        }
        let (bytes, len) = varint_bytes(value);
        self.bytes(&bytes[..len]);
    }

    /// Nearly all lengths within a span are one byte. For the others room is made afterwards, which is cheaper than to
    /// count all of them before.
    #[inline]
    fn message(&mut self, field: u32, message: &impl Message) {
        self.message_with(field, message, 1);
    }

    #[inline]
    fn delimited(&mut self, field: u32, bytes: &[u8]) {
        let key = key(field, LENGTH_DELIMITED);
        if key >= 0x80 || bytes.len() >= 0x80 {
            self.varint(key);
            self.varint(bytes.len() as u64);
            self.bytes(bytes);
        } else if let Some([first, second, room @ ..]) = self.room(bytes.len() + 2) {
            *first = key as u8;
            *second = bytes.len() as u8;
            copy(bytes, room);
        }
    }

    #[inline]
    fn id<const N: usize>(&mut self, field: u32, bytes: &[u8; N]) {
        if let Some([key, len, room @ ..]) = self.room(N + 2) {
            *key = key_of_delimited(field);
            *len = N as u8;
            room.copy_from_slice(bytes);
        }
    }

    #[inline]
    fn eight_bytes(&mut self, field: u32, value: u64) {
        if let Some([first, room @ ..]) = self.room(9) {
            *first = key(field, EIGHT_BYTES) as u8;
            room.copy_from_slice(&value.to_le_bytes());
        }
    }

    #[inline]
    fn in_turns<const A: usize, const B: usize>(
        &mut self,
        first: [u8; A],
        second: &[u8],
        third: [u8; B],
        fourth: &[u8],
    ) {
        let Some(room) = self.room(A + second.len() + B + fourth.len()) else {
            return;
        };
        let (to, room) = room.split_at_mut(A);
        to.copy_from_slice(&first);
        let (to, room) = room.split_at_mut(second.len());
        copy(second, to);
        let (to, room) = room.split_at_mut(B);
        to.copy_from_slice(&third);
        copy(fourth, room);
    }
}

/// Copies what is mostly short: a call of `memcpy` takes longer than most names and values of attributes do.
#[inline]
fn copy(from: &[u8], to: &mut [u8]) {
    let len = from.len();
    if len > 32 {
        to.copy_from_slice(from);
    } else if len >= 16 {
        copy_ends::<16>(from, to);
    } else if len >= 8 {
        copy_ends::<8>(from, to);
    } else if len >= 4 {
        copy_ends::<4>(from, to);
    } else {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }
}

/// Copies the first `N` bytes and the last `N`. They may overlap.
#[inline]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        if let Some(to) = to.first_chunk_mut::<N>() {
            *to = *first;
        }
        if let Some(to) = to.last_chunk_mut::<N>() {
            *to = *last;
        }
    }
}
