//! A part as a file: a segment.
//!
//! The pages one after the other and the directory, in the envelope of all files that never change.
//! Integers are little-endian. Each page and the directory have a CRC-32C, and whoever reads one
//! believes nothing before that is checked.
//!
//! Since version 2 pieces of pages can be read: large dictionaries have an index, and a page of checksums has one for each
//! chunk of every page that is larger than a chunk. A segment that needs neither is written as version 1, which knew none.

use std::{ops::RangeInclusive, sync::Arc};

use super::{
    ARRAYS, Array, Column, Damaged, Directory, Key, Location, Own, Pages, Part, Summary, Table,
    pieces::CHUNK,
    values::{index_of, to_be_indexed},
};
use crate::store::{
    bytes::{Reader, Writer},
    cache::Cache,
    column::Page,
    envelope::{self, HEAD_BYTES, Magic, Wrong},
    files::ReadAt,
    storage::Sealable,
};

const MAGIC: &Magic = b"TRACESEG";
/// The last is the newest.
const VERSIONS: [u32; 2] = [1, 2];

/// The bytes of a segment.
pub(in crate::store) struct Segment(Vec<u8>);

impl Segment {
    pub(in crate::store) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Writes a part as a file.
pub(in crate::store) fn encode(part: &Part) -> Result<Segment, Damaged> {
    encode_as(VERSIONS[1], part)
}

/// As a version that is known.
pub(in crate::store) fn encode_as(version: u32, part: &Part) -> Result<Segment, Damaged> {
    let mut file = Vec::with_capacity(part.resident_bytes());
    file.extend(envelope::head(MAGIC, VERSIONS[0]));
    let indexed = match version {
        1 => Vec::new(),
        _ => to_be_indexed(&part.directory),
    };
    let mut locations = Vec::new();
    let mut checksums = Vec::new();
    for number in 0..part.directory.pages() {
        locations.push(write(&part.page(number)?, &mut file, &mut checksums));
    }
    for column in &indexed {
        let index = Page::Dictionary(Arc::new(index_of(&*part.dictionary(*column)?)));
        locations.push(write(&index, &mut file, &mut checksums));
    }
    if version > 1 && !checksums.is_empty() {
        let page = Page::Numbers(Arc::new(checksums.into()));
        locations.push(write(&page, &mut file, &mut Vec::new()));
    }
    let is_plain = locations.len() == part.directory.pages();
    let version = VERSIONS[usize::from(!is_plain)];
    file[..HEAD_BYTES].copy_from_slice(&envelope::head(MAGIC, version));
    let offset = file.len();
    encode_directory(
        &part.directory,
        &indexed,
        &locations,
        &mut Writer(&mut file),
    );
    envelope::close(MAGIC, &mut file, offset);
    Ok(Segment(file))
}

impl Sealable for Part {
    type Cache = Cache;

    fn open(name: &str, file: Arc<dyn ReadAt>, cache: &Arc<Cache>) -> Result<Part, Damaged> {
        open(name, file, cache)
    }

    fn encode(&self) -> Result<Vec<u8>, Damaged> {
        Ok(encode(self)?.0)
    }

    fn name(&self) -> &Arc<str> {
        Part::name(self)
    }

    fn generations(&self) -> RangeInclusive<u64> {
        self.directory.summary.generations.clone()
    }

    fn set_generations(&mut self, generations: RangeInclusive<u64>) {
        self.directory.summary.generations = generations;
    }
}

/// Appends a page. Its chunks, if there are several, get checksums of their own.
fn write(page: &Page, file: &mut Vec<u8>, checksums: &mut Vec<u64>) -> Location {
    let offset = file.len();
    page.encode(file);
    let page = &file[offset..];
    let location = Location {
        offset: offset as u64,
        bytes: u32::try_from(page.len()).expect("the builder of a part bounds its bytes"),
        checksum: crc32c::crc32c(page),
        first_chunk: 0,
    };
    if location.chunks() > 0 {
        let chunks = page.chunks(CHUNK as usize);
        checksums.extend(chunks.map(|chunk| u64::from(crc32c::crc32c(chunk))));
    }
    location
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
    let read = envelope::directory(MAGIC, &VERSIONS, &*file);
    let (directory, at) = read.map_err(|wrong| match wrong {
        Wrong::Damaged(why) => damaged(why),
        Wrong::Unread(error) => Damaged {
            is_unread: true,
            ..damaged(&error.to_string())
        },
    })?;
    let (directory, indexed, locations) = decode_directory(&mut Reader(&directory), at.start)
        .ok_or_else(|| damaged("the directory is malformed"))?;
    Ok(Part {
        name,
        directory,
        pages: Pages::Stored {
            file,
            locations,
            cache: Arc::clone(cache),
            number: cache.new_part(),
            indexed,
        },
    })
}

/// Added to the number of what a column holds, if its dictionary has an index.
const INDEXED: u8 = 2;

fn encode_directory(
    directory: &Directory,
    indexed: &[usize],
    locations: &[Location],
    to: &mut Writer<'_>,
) {
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
    for (number, column) in columns.iter().enumerate() {
        let Column {
            table,
            key,
            distinct,
        } = column;
        let index = match indexed.binary_search(&number) {
            Ok(_) => INDEXED,
            Err(_) => 0,
        };
        to.u8(*table as u8);
        match key {
            Key::Own(own) => {
                to.u8(index);
                to.u8(*own as u8);
            }
            Key::Attribute(name, occurrence) => {
                to.u8(1 + index);
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

/// A directory, its columns with an index, and where the pages are, which end at `end`. `None` for what `encode_directory`
/// does not write.
fn decode_directory(
    from: &mut Reader<'_>,
    end: u64,
) -> Option<(Directory, Vec<usize>, Vec<Location>)> {
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
    let mut indexed = Vec::new();
    for number in 0..count {
        let table = *Table::ALL.get(usize::from(from.u8()?))?;
        let mut holds = from.u8()?;
        if holds >= INDEXED {
            indexed.push(number);
            holds -= INDEXED;
        }
        let key = match holds {
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
    let mut first_chunk = 0;
    while !from.0.is_empty() {
        let location = Location {
            offset: from.u64()?,
            bytes: from.u32()?,
            checksum: from.u32()?,
            first_chunk,
        };
        (location.offset == next).then_some(())?;
        next += u64::from(location.bytes);
        first_chunk = first_chunk.checked_add(location.chunks())?;
        locations.push(location);
    }
    // Perhaps with one of checksums.
    let pages = ARRAYS + 2 * columns.len() + indexed.len();
    (pages..=pages + 1)
        .contains(&locations.len())
        .then_some(())?;
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
    (next == end).then_some((directory, indexed, locations))
}
