//! Reads a log back, however a crash or a bad disk left it.

use std::{
    io::{self, ErrorKind},
    ops::Range,
};

use super::{
    Record,
    frame::{Beginning, FILE_HEADER, FileHeader, RECORD_HEADER, RECORD_MAGIC, RecordHeader},
};
use crate::store::files::ReadAt;

/// Bytes that are read at once, unless a record is longer.
const READ: usize = 256 << 10;

/// What a log had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) records: u64,
    /// In the order of offsets; adjacent parts that were dropped for one reason are one.
    pub(crate) dropped: Vec<Dropped>,
}

/// A part of the file that gave no record: of no bytes if a record is where the file's header ought
/// to be, or if the file has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) why: &'static str,
}

/// Gives every whole record to `each`, in the order of writing, and says what it dropped. At any
/// time one record is in memory, or 256 KiB of shorter ones.
///
/// A record that was cut short or changed is dropped alone. Where no record begins, the search
/// for the next one goes on byte by byte.
///
/// # Errors
/// Reading failed, or the file is of a version that this program does not know (`Unsupported`,
/// before any record), so that nothing may be inferred from what is missing. Never for what the
/// file has in it.
pub(crate) fn replay(file: &dyn ReadAt, mut each: impl FnMut(Record<'_>)) -> io::Result<Replayed> {
    let mut replayed = Replayed::default();
    let mut window = Window {
        file,
        start: 0,
        bytes: Vec::new(),
    };
    let mut offset = 0;
    let mut salt = None;
    match FileHeader::parse(window.at(0, FILE_HEADER)?) {
        Beginning::Header(header) => {
            offset = FILE_HEADER as u64;
            salt = Some(header.salt);
        }
        Beginning::OtherVersion(version) => {
            return Err(io::Error::new(
                ErrorKind::Unsupported,
                format!("the log has the unknown version {version}"),
            ));
        }
        // No process leaves it so; a loss of power may, before its first bytes were on the medium.
        Beginning::Damaged if file.len() == 0 => replayed.lose(0..0, "the file is empty"),
        Beginning::Damaged => {
            // Where the first record ought to be, or wherever else one is.
            offset = window.find_record(0, None)?;
            replayed.lose(0..offset, "no header of the file");
            // All records of a file have the salt of its header. One that is found elsewhere may
            // be a sender's, in a body: were its salt believed, all others would be dropped.
            if offset == FILE_HEADER as u64 {
                let first = RecordHeader::parse(window.at(offset, RECORD_HEADER)?, None);
                salt = first.map(|header| header.salt);
            }
        }
    }
    while offset < file.len() {
        let Some(header) = RecordHeader::parse(window.at(offset, RECORD_HEADER)?, salt) else {
            let next = window.find_record(offset + 1, salt)?;
            replayed.lose(offset..next, "no header of a record");
            offset = next;
            continue;
        };
        let start = offset + RECORD_HEADER as u64;
        let body = window.at(start, header.body_len)?;
        let why = if body.len() < header.body_len {
            "the file ends within the record"
        } else if crc32c::crc32c(body) != header.body_crc {
            "the record's body is damaged"
        } else {
            each(Record {
                received_unix_nano: header.received_unix_nano,
                form: header.form,
                body,
            });
            replayed.records += 1;
            offset = start + header.body_len as u64;
            continue;
        };
        // Not from where the body ought to end, nor the header: if only a part of them was
        // written, others follow sooner.
        let next = window.find_record(offset + 1, salt)?;
        replayed.lose(offset..next, why);
        offset = next;
    }
    Ok(replayed)
}

impl Replayed {
    fn lose(&mut self, part: Range<u64>, why: &'static str) {
        let bytes = part.end - part.start;
        match self.dropped.last_mut() {
            Some(last) if last.why == why && last.offset + last.bytes == part.start => {
                last.bytes += bytes;
            }
            _ => self.dropped.push(Dropped {
                offset: part.start,
                bytes,
                why,
            }),
        }
    }
}

/// The part of the file that is in memory.
struct Window<'a> {
    file: &'a dyn ReadAt,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// So many bytes from there, or as many as there are.
    fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let left = self.file.len().saturating_sub(offset);
        let up_to = |len: usize| len.min(usize::try_from(left).unwrap_or(usize::MAX));
        let len = up_to(len);
        let holds = |window: &Self| {
            let from = usize::try_from(offset.checked_sub(window.start)?).ok()?;
            let part = from..from.checked_add(len)?;
            window.bytes.get(part.clone()).map(|_| part)
        };
        let part = match holds(self) {
            Some(part) => part,
            None => {
                // First the old bytes go, so that there are never two records in memory.
                self.bytes = Vec::new();
                self.bytes = self.file.read_at(offset, up_to(READ).max(len))?;
                self.start = offset;
                0..len
            }
        };
        Ok(&self.bytes[part])
    }

    /// Where the first header of a record is from there on, or else the end of the file.
    fn find_record(&mut self, mut offset: u64, salt: Option<u32>) -> io::Result<u64> {
        loop {
            let bytes = self.at(offset, READ)?;
            if bytes.len() < RECORD_HEADER {
                return Ok(self.file.len());
            }
            let found = bytes.windows(RECORD_HEADER).position(|bytes| {
                bytes[0] == RECORD_MAGIC[0] && RecordHeader::parse(bytes, salt).is_some()
            });
            if let Some(found) = found {
                return Ok(offset + found as u64);
            }
            // The last bytes may begin a header.
            offset += (bytes.len() - RECORD_HEADER + 1) as u64;
        }
    }
}
