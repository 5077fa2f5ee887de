//! A part as a file: a segment.
//!
//! A head of 16 bytes, the pages one after the other, the directory, and a tail of 32 bytes that
//! says where the directory is. Integers are little-endian. Each page and the directory have a
//! CRC-32C, and whoever reads one believes nothing before that is checked.

use std::sync::Arc;

use super::{
    ARRAYS, Array, Column, Damaged, Directory, Key, Location, Own, Pages, Part, Summary, Table,
};
use crate::store::{
    bytes::{Reader, Writer},
    cache::Cache,
    files::ReadAt,
};

const MAGIC: &[u8; 8] = b"TRACESEG";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;
const TAIL_BYTES: usize = 32;

/// The bytes of a segment.
pub(in crate::store) struct Segment(Vec<u8>);

impl Segment {
    pub(in crate::store) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Writes a part as a file.
pub(in crate::store) fn encode(part: &Part) -> Result<Segment, Damaged> {
    let mut file = Vec::with_capacity(part.resident_bytes());
    file.extend_from_slice(MAGIC);
    file.extend(VERSION.to_le_bytes());
    file.extend([0; 4]);
    let mut locations = Vec::new();
    for number in 0..part.directory.pages() {
        let offset = file.len();
        part.page(number)?.encode(&mut file);
        let page = &file[offset..];
        locations.push(Location {
            offset: offset as u64,
            bytes: u32::try_from(page.len()).expect("the builder of a part bounds its bytes"),
            checksum: crc32c::crc32c(page),
        });
    }
    let offset = file.len();
    encode_directory(&part.directory, &locations, &mut Writer(&mut file));
    let checksum = crc32c::crc32c(&file[offset..]);
    let bytes = file.len() - offset;
    let tail_at = file.len();
    let mut tail = Writer(&mut file);
    tail.u64(offset as u64);
    tail.u64(bytes as u64);
    tail.u32(checksum);
    let checksum = crc32c::crc32c(&file[tail_at..]);
    file.extend(checksum.to_le_bytes());
    file.extend_from_slice(MAGIC);
    Ok(Segment(file))
}

/// Opens a segment. Of its bytes only the directory is read.
pub(in crate::store) fn open(
    name: &str,
    file: Arc<dyn ReadAt>,
    cache: &Arc<Cache>,
) -> Result<Part, Damaged> {
    let name: Arc<str> = name.into();
    let damaged = |why: &str| Damaged {
        part: Arc::clone(&name),
        why: why.to_owned(),
        is_unread: false,
    };
    let read = |offset: u64, len: usize| {
        file.read_at(offset, len).map_err(|error| Damaged {
            is_unread: true,
            ..damaged(&error.to_string())
        })
    };
    let len = file.len();
    let tail_at = (len.checked_sub(TAIL_BYTES as u64))
        .filter(|tail| *tail >= HEAD_BYTES as u64)
        .ok_or_else(|| damaged("too short for a segment"))?;
    let head = read(0, HEAD_BYTES)?;
    if !head.starts_with(MAGIC) {
        return Err(damaged("not a segment"));
    }
    if head[8..12] != VERSION.to_le_bytes() {
        return Err(damaged("a segment of a version that is not known"));
    }
    let tail = read(tail_at, TAIL_BYTES)?;
    let (offset, bytes, checksum) =
        decode_tail(&tail).ok_or_else(|| damaged("the end is missing or damaged"))?;
    if offset.checked_add(bytes) != Some(tail_at) {
        return Err(damaged("the directory is not where it should be"));
    }
    let directory = read(offset, usize::try_from(bytes).unwrap_or(usize::MAX))?;
    if crc32c::crc32c(&directory) != checksum {
        return Err(damaged("the directory does not have its checksum"));
    }
    let (directory, locations) = decode_directory(&mut Reader(&directory), offset)
        .ok_or_else(|| damaged("the directory is malformed"))?;
    Ok(Part {
        name,
        directory,
        pages: Pages::Stored {
            file,
            locations,
            cache: Arc::clone(cache),
            number: cache.new_part(),
        },
    })
}

fn decode_tail(tail: &[u8]) -> Option<(u64, u64, u32)> {
    let mut from = Reader(tail);
    let found = (from.u64()?, from.u64()?, from.u32()?);
    let checksum = from.u32()?;
    (checksum == crc32c::crc32c(&tail[..20]) && from.0 == MAGIC).then_some(found)
}

fn encode_directory(directory: &Directory, locations: &[Location], to: &mut Writer<'_>) {
    let Directory {
        summary,
        traces,
        rows,
        columns,
    } = directory;
    for time in [
        summary.time.start(),
        summary.time.end(),
        summary.received.start(),
        summary.received.end(),
        &summary.newest,
        summary.generations.start(),
        summary.generations.end(),
    ] {
        to.u64(*time);
    }
    to.u32(*traces);
    for rows in rows {
        to.u32(*rows);
    }
    to.u32(u32::try_from(columns.len()).expect("receivers bound the attributes of a request"));
    for Column {
        table,
        key,
        distinct,
    } in columns
    {
        to.u8(*table as u8);
        match key {
            Key::Own(own) => {
                to.u8(0);
                to.u8(*own as u8);
            }
            Key::Attribute(name, occurrence) => {
                to.u8(1);
                to.u32(*occurrence);
                to.bytes(name.as_bytes());
            }
        }
        to.u32(*distinct);
    }
    for location in locations {
        to.u64(location.offset);
        to.u32(location.bytes);
        to.u32(location.checksum);
    }
}

/// `end` is where the pages end. `None` for what `encode_directory` does not write.
fn decode_directory(from: &mut Reader<'_>, end: u64) -> Option<(Directory, Vec<Location>)> {
    let summary = Summary {
        time: from.u64()?..=from.u64()?,
        received: from.u64()?..=from.u64()?,
        newest: from.u64()?,
        generations: from.u64()?..=from.u64()?,
    };
    let traces = from.u32()?;
    let mut rows = [0; 5];
    for rows in &mut rows {
        *rows = from.u32()?;
    }
    let [spans, resources, scopes, events, links] = rows;
    (traces <= spans && resources <= spans && scopes <= spans).then_some(())?;
    let count = from.len()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let table = *Table::ALL.get(usize::from(from.u8()?))?;
        let key = match from.u8()? {
            0 => Key::Own(*Own::ALL.get(usize::from(from.u8()?))?),
            1 => {
                let occurrence = from.u32()?;
                let name = std::str::from_utf8(from.bytes()?).ok()?;
                Key::Attribute(name.into(), occurrence)
            }
            _ => return None,
        };
        let distinct = from.u32()?;
        columns.push(Column {
            table,
            key,
            distinct,
        });
    }
    let ascending = columns.is_sorted_by(|a, b| (a.table, &a.key) < (b.table, &b.key));
    ascending.then_some(())?;
    let mut locations = Vec::new();
    let mut next = HEAD_BYTES as u64;
    for _ in 0..ARRAYS + 2 * columns.len() {
        let location = Location {
            offset: from.u64()?,
            bytes: from.u32()?,
            checksum: from.u32()?,
        };
        (location.offset == next).then_some(())?;
        next += u64::from(location.bytes);
        locations.push(location);
    }
    // A directory that claims rows without bytes would make its reader take memory for them.
    let has_bytes = |rows: u32, array: Array, each: u64| {
        u64::from(locations[array as usize].bytes) >= u64::from(rows) * each
    };
    let plausible = has_bytes(spans, Array::SpanIds, 8)
        && has_bytes(events, Array::EventSpans, 1)
        && has_bytes(links, Array::LinkSpanIds, 8);
    plausible.then_some(())?;
    let directory = Directory {
        summary,
        traces,
        rows,
        columns,
    };
    (next == end && from.0.is_empty()).then_some((directory, locations))
}
