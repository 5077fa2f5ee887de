//! Some thousand records that arrived one after the other: columns of what searches ask first, and
//! the rest as bytes.

use std::sync::Arc;

use indexmap::IndexSet;

use super::{
    super::{
        bytes::{Reader, Writer},
        cache::Weighed,
        integers::Integers,
    },
    LogBatch, Origin, encoding, origin,
    summary::Summary,
};
use crate::span::Resource;

/// Records of a chunk. Few in tests, so that there are many chunks.
pub(super) const MAX_RECORDS: usize = if cfg!(test) { 8 } else { 4096 };
/// Bytes of a chunk to which no more are added.
const MAX_BYTES: usize = 1 << 20;

/// What searches ask first of a record.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct Row {
    /// Nanoseconds since the Unix epoch.
    pub(super) time: u64,
    /// Its number.
    pub(super) arrival: u64,
    /// Zeros if there is none.
    pub(super) trace: [u8; 16],
    /// Zeros if there is none.
    pub(super) span: [u8; 8],
    /// By its number or its text; 0 if neither says it.
    pub(super) severity: u8,
    /// The index of its origin.
    pub(super) origin: u32,
    /// Where the rest of it ends.
    pub(super) end: u32,
}

/// The columns of a chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::store) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) origins: IndexSet<Arc<Origin>>,
    /// About as many as the origins take.
    origin_bytes: usize,
}

/// What is read of a segment at once.
#[derive(Clone)]
pub(in crate::store) enum Page {
    Rows(Arc<Rows>),
    /// The rest of all records, one after the other.
    Rest(Arc<Vec<u8>>),
}

impl Weighed for Page {
    fn bytes(&self) -> usize {
        match self {
            Page::Rows(rows) => rows.bytes(),
            Page::Rest(rest) => rest.len(),
        }
    }
}

impl Rows {
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<Row>() + self.origin_bytes
    }

    /// Where the rest of a record begins.
    pub(super) fn start(&self, index: usize) -> usize {
        match index {
            0 => 0,
            index => self.rows[index - 1].end as usize,
        }
    }

    /// The bytes of one record.
    pub(super) fn rest<'a>(&self, index: usize, rest: &'a [u8]) -> &'a [u8] {
        let range = self.start(index)..self.rows[index].end as usize;
        rest.get(range).unwrap_or_default()
    }

    /// The index of an origin, which is added if it is not there.
    fn origin(&mut self, origin: &Arc<Origin>) -> u32 {
        if let Some(index) = self.origins.get_index_of(origin) {
            return index as u32;
        }
        self.origin_bytes += bytes_of(origin);
        let (index, _) = self.origins.insert_full(Arc::clone(origin));
        index as u32
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let column = |of: fn(&Row) -> u64| -> Vec<u64> { self.rows.iter().map(of).collect() };
        let mut to = Writer(&mut bytes);
        to.u32(self.rows.len() as u32);
        to.numbers(&column(|row| row.time));
        to.numbers(&column(|row| row.arrival));
        to.numbers(&column(|row| row.severity.into()));
        to.numbers(&column(|row| row.origin.into()));
        to.numbers(&column(|row| row.end.into()));
        for row in &self.rows {
            to.0.extend_from_slice(&row.trace);
        }
        for row in &self.rows {
            to.0.extend_from_slice(&row.span);
        }
        to.u32(self.origins.len() as u32);
        for origin in &self.origins {
            origin.encode(&mut to);
        }
        bytes
    }

    /// `None` for what `encode` does not write beside `rest` bytes of the rest.
    pub(super) fn decode(bytes: &[u8], rest: usize) -> Option<Rows> {
        let mut from = Reader(bytes);
        let count = from.len()?;
        let times = Integers::read(&mut from, count)?;
        let arrivals = Integers::read(&mut from, count)?;
        let severities = Integers::read(&mut from, count)?;
        let origins_of = Integers::read(&mut from, count)?;
        let ends = Integers::read(&mut from, count)?;
        let traces = from.arrays::<16>(count)?;
        let spans = from.arrays::<8>(count)?;
        let mut rows = Vec::new();
        for index in 0..count {
            rows.push(Row {
                time: times.at(index),
                arrival: arrivals.at(index),
                trace: traces[index],
                span: spans[index],
                severity: u8::try_from(severities.at(index)).ok()?,
                origin: u32::try_from(origins_of.at(index)).ok()?,
                end: u32::try_from(ends.at(index)).ok()?,
            });
        }
        let mut decoded = Rows {
            rows,
            ..Rows::default()
        };
        let count = from.len()?;
        for index in 0..count {
            let added = decoded.origin(&Arc::new(Origin::decode(&mut from)?));
            (added as usize == index).then_some(())?;
        }
        let rows = &decoded.rows;
        let last = rows.last().map_or(0, |row| row.end as usize);
        let is_whole = from.0.is_empty()
            && last == rest
            && rows.is_sorted_by_key(|row| row.end)
            && rows.is_sorted_by(|a, b| a.arrival < b.arrival)
            && rows.iter().all(|row| (row.origin as usize) < count);
        is_whole.then_some(decoded)
    }
}

/// About as many as it takes in memory and where it is written.
fn bytes_of(origin: &Origin) -> usize {
    origin.resource_bytes() + origin.scope_bytes() + size_of::<Origin>()
}

/// A chunk in memory, to which records may be added. A copy shares what it has with its original
/// until one of them changes.
#[derive(Clone)]
pub(super) struct Loose {
    pub(super) rows: Arc<Rows>,
    pub(super) rest: Arc<Vec<u8>>,
    pub(super) generation: u64,
    summary: Summary,
}

impl Loose {
    fn new(generation: u64) -> Loose {
        Loose {
            rows: Arc::default(),
            rest: Arc::default(),
            generation,
            summary: Summary::empty(),
        }
    }

    pub(super) fn summary(&self) -> &Summary {
        &self.summary
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + self.rest.len() + self.summary.bytes()
    }

    fn is_full(&self) -> bool {
        self.rows.rows.len() >= MAX_RECORDS || self.rest.len() + self.rows.origin_bytes >= MAX_BYTES
    }
}

/// The records of a request, before it is known where they stand among others.
pub(super) struct Prepared {
    origins: Vec<Arc<Origin>>,
    /// Of the first of them the number is 0.
    rows: Vec<Row>,
    rest: Vec<Vec<u8>>,
}

impl Prepared {
    pub(super) fn new(batches: &[LogBatch<'_>]) -> Prepared {
        let mut prepared = Prepared {
            origins: Vec::new(),
            rows: Vec::new(),
            rest: Vec::new(),
        };
        // Scopes of one resource stand one after the other, and share it.
        let mut known: Option<(&Arc<Resource<'_>>, Arc<Resource<'static>>)> = None;
        for batch in batches {
            let origin = prepared.origins.len() as u32;
            let resource = match known {
                Some((of, kept)) if Arc::ptr_eq(of, &batch.resource) => kept,
                _ => Arc::new(origin::kept_resource(&batch.resource)),
            };
            known = Some((&batch.resource, Arc::clone(&resource)));
            let from = Origin::new(resource, &batch.scope);
            prepared.origins.push(Arc::new(from));
            for record in &batch.records {
                let mut rest = Vec::new();
                encoding::encode(record, &mut rest);
                prepared.rows.push(Row {
                    time: record.time_unix_nano,
                    arrival: prepared.rows.len() as u64,
                    trace: record.trace.map_or([0; 16], |id| *id.bytes()),
                    span: record.span.map_or([0; 8], |id| *id.bytes()),
                    severity: record.effective_severity(),
                    origin,
                    end: 0,
                });
                prepared.rest.push(rest);
            }
        }
        prepared
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Adds the records to the last chunk, if it is of that generation, and to as many more as they need.
    pub(super) fn add_to(&self, chunks: &mut Vec<Loose>, first: u64, generation: u64) {
        let mut left = 0;
        while left < self.rows.len() {
            let has_room = |last: &Loose| last.generation == generation && !last.is_full();
            if !chunks.last().is_some_and(has_room) {
                chunks.push(Loose::new(generation));
            }
            let last = chunks.len() - 1;
            left = self.fill(&mut chunks[last], left, first);
        }
    }

    /// Adds records from this one on until the chunk is full. Returns which is next.
    fn fill(&self, chunk: &mut Loose, mut next: usize, first: u64) -> usize {
        // The origin that the last record had, and what it is here.
        let mut known = None;
        while next < self.rows.len() && !chunk.is_full() {
            let (rows, rest) = (
                Arc::make_mut(&mut chunk.rows),
                Arc::make_mut(&mut chunk.rest),
            );
            let row = &self.rows[next];
            let origin = match known {
                Some((of, origin)) if of == row.origin => origin,
                _ => {
                    let origin = &self.origins[row.origin as usize];
                    if let Some(name) = origin.service() {
                        chunk.summary.add_service(name);
                    }
                    rows.origin(origin)
                }
            };
            known = Some((row.origin, origin));
            rest.extend_from_slice(&self.rest[next]);
            let arrival = first.saturating_add(row.arrival);
            let row = Row {
                time: if row.time == 0 { arrival } else { row.time },
                arrival,
                origin,
                end: u32::try_from(rest.len()).expect("a chunk and a record have some megabytes"),
                ..row.clone()
            };
            chunk.summary.add(&row);
            rows.rows.push(row);
            next += 1;
        }
        next
    }
}
