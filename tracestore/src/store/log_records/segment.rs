//! Many chunks as one file, of which only the directory stays in memory.
//!
//! The head, two pages for each chunk, the directory and the tail. Pages are compressed, as LZ4 does
//! it; each has a CRC-32C, and whoever reads one believes nothing before that is checked.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        bytes::{Reader, Writer},
        cache::Cache,
        envelope::{self, HEAD_BYTES, Magic, Wrong},
        files::{Memory, ReadAt},
        part::Damaged,
        storage::Sealable,
    },
    chunk::{Loose, Page, Rows},
    summary::Summary,
};

pub(super) const MAGIC: &Magic = b"LOGSSEGM";
pub(super) const VERSION: u32 = 1;

/// Bytes that a page may claim to have: several times what a chunk takes.
const MAX_PAGE_BYTES: u32 = 32 << 20;
/// LZ4 makes no more of a byte.
const MAX_GROWTH: u32 = 256;

/// See the module. A copy shares the file.
#[derive(Clone)]
pub(in crate::store) struct Segment {
    name: Arc<str>,
    generations: RangeInclusive<u64>,
    file: Arc<dyn ReadAt>,
    /// What the file takes of the memory.
    file_bytes: usize,
    cache: Arc<Cache<Page>>,
    /// For the cache.
    number: u64,
    chunks: Vec<Stored>,
    /// Nothing is asked of them.
    unread: Vec<Unread>,
    /// The number of the last record, also of chunks that were left out. 0 if there is none.
    last_arrival: u64,
}

/// A chunk in a file.
#[derive(Clone)]
pub(super) struct Stored {
    /// Its place among all that the file has.
    index: usize,
    pub(super) summary: Summary,
    rows: Location,
    rest: Location,
}

/// A chunk that a disk did not give, though it may another time.
#[derive(Clone)]
struct Unread {
    chunk: Stored,
    tried: Instant,
}

#[derive(Clone, Copy)]
struct Location {
    offset: u64,
    bytes: u32,
    /// Bytes that it has once it is decompressed.
    full: u32,
    checksum: u32,
}

impl Segment {
    /// Compresses chunks, in memory.
    pub(super) fn build(chunks: &[&Loose], cache: &Arc<Cache<Page>>) -> Segment {
        let mut file = envelope::head(MAGIC, VERSION).to_vec();
        let stored = chunks.iter().enumerate().map(|(index, chunk)| Stored {
            index,
            summary: chunk.summary().sealed(&chunk.rows),
            rows: write(&chunk.rows.encode(), &mut file),
            rest: write(&chunk.rest, &mut file),
        });
        let chunks: Vec<Stored> = stored.collect();
        file.shrink_to_fit();
        Segment {
            name: "a new segment of logs".into(),
            generations: 0..=0,
            file_bytes: file.len(),
            file: Arc::new(Memory(file)),
            cache: Arc::clone(cache),
            number: cache.new_part(),
            last_arrival: last_arrival(&chunks),
            chunks,
            unread: Vec::new(),
        }
    }

    pub(super) fn chunks(&self) -> &[Stored] {
        &self.chunks
    }

    pub(super) fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.chunks.iter().map(|chunk| &chunk.summary)
    }

    /// Also of what is left out until it can be read.
    pub(super) fn records(&self) -> u64 {
        let unread = self.unread.iter().map(|unread| &unread.chunk.summary);
        let summaries = self.summaries().chain(unread);
        summaries.map(|summary| u64::from(summary.records)).sum()
    }

    pub(super) fn last_arrival(&self) -> u64 {
        self.last_arrival
    }

    /// Bytes of memory.
    pub(super) fn resident_bytes(&self) -> usize {
        let unread = self.unread.iter().map(|unread| &unread.chunk.summary);
        let summaries = self.summaries().chain(unread);
        let chunks = summaries.map(|summary| summary.bytes() + size_of::<Stored>());
        self.file_bytes + chunks.sum::<usize>()
    }

    pub(super) fn rows(&self, chunk: &Stored) -> Result<Arc<Rows>, Damaged> {
        let page = self.cache.get(self.number, 2 * chunk.index, || {
            let bytes = self.read(chunk, &chunk.rows)?;
            let rows = Rows::decode(&bytes, chunk.rest.full as usize);
            let rows = rows.ok_or_else(|| self.damaged(chunk, "its columns are malformed"))?;
            Ok(Page::Rows(Arc::new(rows)))
        })?;
        match page {
            Page::Rows(rows) => Ok(rows),
            Page::Rest(_) => Err(self.damaged(chunk, "a page is not its columns")),
        }
    }

    pub(super) fn rest(&self, chunk: &Stored) -> Result<Arc<Vec<u8>>, Damaged> {
        let page = self.cache.get(self.number, 2 * chunk.index + 1, || {
            Ok(Page::Rest(Arc::new(self.read(chunk, &chunk.rest)?)))
        })?;
        match page {
            Page::Rest(rest) => Ok(rest),
            Page::Rows(_) => Err(self.damaged(chunk, "a page is not its records")),
        }
    }

    /// Reads all of a chunk, past the cache.
    pub(super) fn verify(&self, chunk: &Stored) -> Result<(), Damaged> {
        self.read(chunk, &chunk.rest)?;
        let rows = Rows::decode(&self.read(chunk, &chunk.rows)?, chunk.rest.full as usize);
        rows.ok_or_else(|| self.damaged(chunk, "its columns are malformed"))?;
        Ok(())
    }

    /// Whether this names the segment or one of its chunks.
    pub(super) fn owns(&self, part: &str) -> bool {
        *self.name == *part || self.chunks.iter().any(|chunk| self.name_of(chunk) == part)
    }

    /// The same segment without a chunk that failed, until it can be read if it could not, and how
    /// many records were lost with it.
    pub(super) fn without(&self, damaged: &Damaged) -> (Segment, u64) {
        let mut rest = self.clone();
        let is_it =
            |chunk: &Stored| *self.name == *damaged.part || self.name_of(chunk) == *damaged.part;
        let lost = rest.chunks.extract_if(.., |chunk| is_it(chunk));
        let lost: Vec<Stored> = lost.collect();
        let records = lost.iter().map(|chunk| u64::from(chunk.summary.records));
        let records = records.sum();
        if damaged.is_unread {
            let tried = Instant::now();
            let unread = lost.into_iter().map(|chunk| Unread { chunk, tried });
            rest.unread.extend(unread);
        }
        (rest, records)
    }

    /// Chunks that the disk did not give `after` which time or longer ago.
    pub(super) fn due(&self, after: Duration) -> impl Iterator<Item = &Stored> {
        let unread = self.unread.iter();
        let due = unread.filter(move |unread| unread.tried.elapsed() >= after);
        due.map(|unread| &unread.chunk)
    }

    /// The same segment once it is known whether a chunk that was left out can be read.
    pub(super) fn tried(&self, chunk: &Stored, read: &Result<(), Damaged>) -> Segment {
        let mut segment = self.clone();
        let is_it = |unread: &Unread| unread.chunk.index == chunk.index;
        if let Some(at) = segment.unread.iter().position(is_it) {
            match read {
                Err(damaged) if damaged.is_unread => segment.unread[at].tried = Instant::now(),
                Err(_) => drop(segment.unread.remove(at)),
                Ok(()) => {
                    segment.chunks.push(segment.unread.remove(at).chunk);
                    segment.chunks.sort_by_key(|chunk| chunk.index);
                }
            }
        }
        segment
    }

    /// Whether both are of one file.
    pub(super) fn is_same(&self, other: &Segment) -> bool {
        self.number == other.number
    }

    pub(super) fn damaged(&self, chunk: &Stored, why: &str) -> Damaged {
        Damaged {
            part: self.name_of(chunk).into(),
            why: why.to_owned(),
            is_unread: false,
        }
    }

    pub(super) fn name_of(&self, chunk: &Stored) -> String {
        format!("{}, chunk {}", self.name, chunk.index)
    }

    fn read(&self, chunk: &Stored, location: &Location) -> Result<Vec<u8>, Damaged> {
        let read = self.file.read_at(location.offset, location.bytes as usize);
        let compressed = read.map_err(|error| Damaged {
            is_unread: true,
            ..self.damaged(chunk, &error.to_string())
        })?;
        if crc32c::crc32c(&compressed) != location.checksum {
            return Err(self.damaged(chunk, "it does not have its checksum"));
        }
        let full = lz4_flex::block::decompress(&compressed, location.full as usize);
        let full = full.map_err(|_| self.damaged(chunk, "it cannot be decompressed"))?;
        if full.len() != location.full as usize {
            return Err(self.damaged(chunk, "it has another length"));
        }
        Ok(full)
    }
}

fn last_arrival(chunks: &[Stored]) -> u64 {
    let ends = chunks.iter().map(|chunk| *chunk.summary.arrivals.end());
    ends.max().unwrap_or(0)
}

fn write(page: &[u8], file: &mut Vec<u8>) -> Location {
    let offset = file.len() as u64;
    let compressed = lz4_flex::block::compress(page);
    file.extend_from_slice(&compressed);
    let len = |bytes: usize| u32::try_from(bytes).expect("a chunk has some megabytes");
    Location {
        offset,
        bytes: len(compressed.len()),
        full: len(page.len()),
        checksum: crc32c::crc32c(&compressed),
    }
}

impl Sealable for Segment {
    type Cache = Cache<Page>;

    fn open(
        name: &str,
        file: Arc<dyn ReadAt>,
        cache: &Arc<Cache<Page>>,
    ) -> Result<Segment, Damaged> {
        let name: Arc<str> = name.into();
        let damaged = |why: String, is_unread| Damaged {
            part: Arc::clone(&name),
            why,
            is_unread,
        };
        let (directory, at) =
            envelope::directory(MAGIC, &[VERSION], &*file).map_err(|wrong| match wrong {
                Wrong::Unread(error) => damaged(error.to_string(), true),
                Wrong::Damaged(why) => damaged(why.to_owned(), false),
            })?;
        let (generations, chunks) = decode(&mut Reader(&directory), at.start)
            .ok_or_else(|| damaged("the directory is malformed".to_owned(), false))?;
        Ok(Segment {
            name,
            generations,
            file,
            file_bytes: 0,
            cache: Arc::clone(cache),
            number: cache.new_part(),
            last_arrival: last_arrival(&chunks),
            chunks,
            unread: Vec::new(),
        })
    }

    /// Of one that was built, which has no directory yet.
    fn encode(&self) -> Result<Vec<u8>, Damaged> {
        let pages = usize::try_from(self.file.len()).unwrap_or(usize::MAX);
        let read = self.file.read_at(0, pages);
        let mut file = read.map_err(|error| Damaged {
            part: Arc::clone(&self.name),
            why: error.to_string(),
            is_unread: true,
        })?;
        let directory = file.len();
        let mut to = Writer(&mut file);
        to.u64(*self.generations.start());
        to.u64(*self.generations.end());
        to.u32(u32::try_from(self.chunks.len()).expect("a segment has some hundred chunks"));
        for chunk in &self.chunks {
            chunk.summary.encode(&mut to);
            for page in [&chunk.rows, &chunk.rest] {
                to.u64(page.offset);
                to.u32(page.bytes);
                to.u32(page.full);
                to.u32(page.checksum);
            }
        }
        envelope::close(MAGIC, &mut file, directory);
        Ok(file)
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn generations(&self) -> RangeInclusive<u64> {
        self.generations.clone()
    }

    fn set_generations(&mut self, generations: RangeInclusive<u64>) {
        self.generations = generations;
    }
}

/// `None` for what `encode` does not write before `end`.
fn decode(from: &mut Reader<'_>, end: u64) -> Option<(RangeInclusive<u64>, Vec<Stored>)> {
    let generations = from.u64()?..=from.u64()?;
    let count = from.len()?;
    let mut next = HEAD_BYTES as u64;
    let mut location = |from: &mut Reader<'_>| {
        let location = Location {
            offset: from.u64()?,
            bytes: from.u32()?,
            full: from.u32()?,
            checksum: from.u32()?,
        };
        let is_plausible = location.offset == next
            && location.full <= MAX_PAGE_BYTES
            && location.full / MAX_GROWTH <= location.bytes;
        next = next.checked_add(u64::from(location.bytes))?;
        is_plausible.then_some(location)
    };
    let mut chunks = Vec::new();
    for index in 0..count {
        chunks.push(Stored {
            index,
            summary: Summary::decode(from)?,
            rows: location(from)?,
            rest: location(from)?,
        });
    }
    (from.0.is_empty() && next == end).then_some((generations, chunks))
}
