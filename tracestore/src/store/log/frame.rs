//! How a log's file looks, byte by byte. All numbers are little-endian.
//!
//! | file header | | record header | |
//! | --- | --- | --- | --- |
//! | 0..8 | magic | 0..4 | magic |
//! | 8..12 | version | 4..8 | salt |
//! | 12..16 | salt | 8..12 | length of the body |
//! | 16..20 | CRC-32C of 0..16 | 12..16 | CRC-32C of the body |
//! | | | 16..24 | nanoseconds since the Unix epoch |
//! | | | 24 | form |
//! | | | 25..28 | 0 |
//! | | | 28..32 | CRC-32C of 0..28 |
//!
//! The salt is random in each file. So nothing that a sender puts into a body is taken for a
//! record when a reader looks for the next one, and nor is what a disk kept of another file.

use std::hash::{BuildHasher, RandomState};

use super::{MAX_BODY, Record};

const FILE_MAGIC: [u8; 8] = *b"tracelog";
const VERSION: u32 = 1;
pub(super) const RECORD_MAGIC: [u8; 4] = [0xC5, b'r', b'e', b'c'];

pub(super) const FILE_HEADER: usize = 20;
pub(super) const RECORD_HEADER: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) salt: u32,
}

/// What a file begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    Header(FileHeader),
    OtherVersion(u32),
    Damaged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) salt: u32,
    /// At most `MAX_BODY`.
    pub(super) body_len: usize,
    pub(super) body_crc: u32,
    pub(super) received_unix_nano: u64,
    pub(super) form: u8,
}

impl FileHeader {
    pub(super) fn new() -> FileHeader {
        // Its keys are random, which is all the randomness that the standard library gives.
        let salt = RandomState::new().hash_one(VERSION) as u32;
        FileHeader { salt }
    }

    pub(super) fn bytes(self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[..8].copy_from_slice(&FILE_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        seal(bytes)
    }

    pub(super) fn parse(bytes: &[u8]) -> Beginning {
        let Some(bytes) = sealed::<FILE_HEADER>(bytes, &FILE_MAGIC) else {
            return Beginning::Damaged;
        };
        match u32_at(bytes, 8) {
            VERSION => Beginning::Header(FileHeader {
                salt: u32_at(bytes, 12),
            }),
            other => Beginning::OtherVersion(other),
        }
    }

    /// The header of a record of this file whose body has that CRC-32C and at most `MAX_BODY`
    /// bytes.
    pub(super) fn of_record(self, record: &Record<'_>, body_crc: u32) -> [u8; RECORD_HEADER] {
        RecordHeader {
            salt: self.salt,
            body_len: record.body.len(),
            body_crc,
            received_unix_nano: record.received_unix_nano,
            form: record.form,
        }
        .bytes()
    }
}

impl RecordHeader {
    pub(super) fn bytes(self) -> [u8; RECORD_HEADER] {
        let mut bytes = [0; RECORD_HEADER];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4..8].copy_from_slice(&self.salt.to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.body_len as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.received_unix_nano.to_le_bytes());
        bytes[24] = self.form;
        seal(bytes)
    }

    /// The header that the bytes begin with, if it is whole and of a file with that salt, or of
    /// any file.
    pub(super) fn parse(bytes: &[u8], salt: Option<u32>) -> Option<RecordHeader> {
        let bytes = sealed::<RECORD_HEADER>(bytes, &RECORD_MAGIC)?;
        let header = RecordHeader {
            salt: u32_at(bytes, 4),
            body_len: usize::try_from(u32_at(bytes, 8)).ok()?,
            body_crc: u32_at(bytes, 12),
            received_unix_nano: u64::from(u32_at(bytes, 16)) | u64::from(u32_at(bytes, 20)) << 32,
            form: bytes[24],
        };
        let is_ours = salt.is_none_or(|salt| salt == header.salt);
        (is_ours && header.body_len <= MAX_BODY).then_some(header)
    }
}

/// Puts the checksum of the rest into the last four bytes.
fn seal<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    let crc = crc32c::crc32c(&bytes[..N - 4]);
    bytes[N - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The first `N` bytes, if they begin with the magic and end with their checksum.
fn sealed<'a, const N: usize>(bytes: &'a [u8], magic: &[u8]) -> Option<&'a [u8; N]> {
    let bytes = bytes.first_chunk::<N>()?;
    // The magic first: it is cheap, and where a reader searches it mostly is not there.
    let is_whole =
        bytes.starts_with(magic) && crc32c::crc32c(&bytes[..N - 4]) == u32_at(bytes, N - 4);
    is_whole.then_some(bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}
