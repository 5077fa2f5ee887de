//! What the files that never change have in common: a head, a directory behind all else, and a tail
//! that says where it is.
//!
//! A head of 16 bytes is a magic and a version; a tail of 32 bytes is the offset and the length of
//! the directory, its CRC-32C, that of the tail before it, and the magic. Integers are little-endian.

use std::{io, ops::Range};

use super::{
    bytes::{Reader, Writer},
    files::ReadAt,
};

pub(super) const HEAD_BYTES: usize = 16;
const TAIL_BYTES: usize = 32;

pub(super) type Magic = [u8; 8];

/// The head.
pub(super) fn head(magic: &Magic, version: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(magic);
    head[8..12].copy_from_slice(&version.to_le_bytes());
    head
}

/// Ends a file whose directory begins there.
pub(super) fn close(magic: &Magic, file: &mut Vec<u8>, directory: usize) {
    let checksum = crc32c::crc32c(&file[directory..]);
    let bytes = file.len() - directory;
    let tail_at = file.len();
    let mut tail = Writer(file);
    tail.u64(directory as u64);
    tail.u64(bytes as u64);
    tail.u32(checksum);
    let checksum = crc32c::crc32c(&file[tail_at..]);
    file.extend(checksum.to_le_bytes());
    file.extend_from_slice(magic);
}

/// Why a file is not what it should be.
#[derive(Debug)]
pub(super) enum Wrong {
    Unread(io::Error),
    Damaged(&'static str),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Wrong {
        Wrong::Unread(error)
    }
}

/// Reads the directory, and says where it is.
pub(super) fn directory(
    magic: &Magic,
    versions: &[u32],
    file: &dyn ReadAt,
) -> Result<(Vec<u8>, Range<u64>), Wrong> {
    let len = file.len();
    let tail_at = (len.checked_sub(TAIL_BYTES as u64))
        .filter(|tail| *tail >= HEAD_BYTES as u64)
        .ok_or(Wrong::Damaged("too short for a segment"))?;
    let head = file.read_at(0, HEAD_BYTES)?;
    if !head.starts_with(magic) {
        return Err(Wrong::Damaged("not a segment"));
    }
    if !(versions.iter()).any(|version| head[8..12] == version.to_le_bytes()) {
        let why = "a segment of a version that is not known";
        return Err(Wrong::Damaged(why));
    }
    let tail = file.read_at(tail_at, TAIL_BYTES)?;
    let (offset, bytes, checksum) =
        decode_tail(magic, &tail).ok_or(Wrong::Damaged("the end is missing or damaged"))?;
    if offset.checked_add(bytes) != Some(tail_at) {
        return Err(Wrong::Damaged("the directory is not where it should be"));
    }
    let directory = file.read_at(offset, usize::try_from(bytes).unwrap_or(usize::MAX))?;
    if crc32c::crc32c(&directory) != checksum {
        let why = "the directory does not have its checksum";
        return Err(Wrong::Damaged(why));
    }
    Ok((directory, offset..tail_at))
}

fn decode_tail(magic: &Magic, tail: &[u8]) -> Option<(u64, u64, u32)> {
    let mut from = Reader(tail);
    let found = (from.u64()?, from.u64()?, from.u32()?);
    let checksum = from.u32()?;
    (checksum == crc32c::crc32c(&tail[..20]) && from.0 == magic).then_some(found)
}
