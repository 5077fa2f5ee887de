//! Finds records: summaries first, then columns, then the rest.

use std::{
    borrow::Cow,
    cell::Cell,
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    super::{part::Damaged, search::Failed},
    Kept, Origin,
    chunk::{Loose, Row, Rows},
    encoding,
    query::{LogQuery, Place, Position, Text},
    segment::{Segment, Stored},
    summary::Summary,
};
use crate::{
    log_record::LogRecord,
    query::Patience,
    span::{KeyValue, Resource, SpanId, TraceId},
};

/// What a query found.
#[derive(Debug)]
pub(crate) struct FoundLogs {
    /// The newest first.
    pub(crate) records: Vec<FoundLog>,
    /// The last of them, if there are more before it.
    pub(crate) older: Option<Position>,
    /// From which number on nothing was looked at.
    pub(crate) next: u64,
}

/// A record that was found.
#[derive(Debug)]
pub(crate) struct FoundLog {
    pub(crate) record: LogRecord<'static>,
    pub(crate) origin: Arc<Origin>,
}

/// Bytes of records in an answer, with their scopes and their resources, unless it is one that has
/// more.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Some rows of a chunk may cost a millisecond, if their text is searched.
const ROWS_AT_ONCE: usize = 256;

/// A chunk, wherever it is.
#[derive(Clone, Copy)]
enum Chunk<'a> {
    Loose(&'a Loose),
    Stored(&'a Segment, &'a Stored),
}

impl Chunk<'_> {
    fn summary(&self) -> &Summary {
        match self {
            Chunk::Loose(loose) => loose.summary(),
            Chunk::Stored(_, stored) => &stored.summary,
        }
    }

    fn rows(&self) -> Result<Arc<Rows>, Damaged> {
        match self {
            Chunk::Loose(loose) => Ok(Arc::clone(&loose.rows)),
            Chunk::Stored(segment, stored) => segment.rows(stored),
        }
    }

    fn rest(&self) -> Result<Arc<Vec<u8>>, Damaged> {
        match self {
            Chunk::Loose(loose) => Ok(Arc::clone(&loose.rest)),
            Chunk::Stored(segment, stored) => segment.rest(stored),
        }
    }

    fn malformed(&self) -> Failed {
        match self {
            // What is in memory is as it was written.
            Chunk::Loose(_) => Failed::TooLarge,
            Chunk::Stored(segment, stored) => {
                Failed::Damaged(segment.damaged(stored, "a record is malformed"))
            }
        }
    }
}

/// A record that passed: its place in the wanted order, and where it is.
type Candidate = (Position, usize, usize);

pub(super) fn search(
    kept: &Kept,
    query: &LogQuery,
    patience: &Patience,
) -> Result<FoundLogs, Failed> {
    let sealed = kept.sealed.iter();
    let sealed = sealed.flat_map(|sealed| {
        let stored = sealed.part.chunks().iter();
        stored.map(|stored| Chunk::Stored(&sealed.part, stored))
    });
    let chunks: Vec<Chunk<'_>> = sealed.chain(kept.loose.iter().map(Chunk::Loose)).collect();
    let found = match query.place {
        Place::Newest | Place::Before(_) => newest(&chunks, query, patience)?,
        Place::Since(_) => first(&chunks, query, patience)?,
    };
    let is_more = found.len() > query.limit;
    let (records, is_cut) = read(&chunks, &found[..found.len().min(query.limit)], patience)?;
    let is_more = is_more || is_cut;
    let read = &found[..records.len()];
    let (mut older, mut next) = (None, kept.next);
    match query.place {
        Place::Newest | Place::Before(_) => {
            let last = read.last().filter(|_| is_more);
            older = last.map(|(position, ..)| *position);
        }
        Place::Since(_) => {
            if let Some((last, ..)) = read.last().filter(|_| is_more) {
                next = last.arrival.saturating_add(1);
            }
        }
    }
    let mut records: Vec<(Position, FoundLog)> = (read.iter().map(|(position, ..)| *position))
        .zip(records)
        .collect();
    records.sort_by_key(|(position, _)| Reverse(*position));
    Ok(FoundLogs {
        records: records.into_iter().map(|(_, record)| record).collect(),
        older,
        next,
    })
}

/// One more than are wanted of the newest, the newest first.
fn newest(
    chunks: &[Chunk<'_>],
    query: &LogQuery,
    patience: &Patience,
) -> Result<Vec<Candidate>, Failed> {
    let mut order: Vec<usize> = (0..chunks.len())
        .filter(|chunk| may_have(chunks[*chunk].summary(), query))
        .collect();
    order.sort_by_key(|chunk| Reverse(*chunks[*chunk].summary().times.end()));
    // The oldest on top.
    let mut found: BinaryHeap<Reverse<Candidate>> = BinaryHeap::new();
    for number in order {
        let chunk = &chunks[number];
        let worst = (found.len() > query.limit)
            .then(|| found.peek().map(|Reverse((position, ..))| *position));
        let worst = worst.flatten();
        if worst.is_some_and(|worst| *chunk.summary().times.end() < worst.time) {
            break;
        }
        let worst = Cell::new(worst);
        let is_wanted = |row: &Row| worst.get().is_none_or(|worst| position(row) > worst);
        scan(chunk, query, patience, is_wanted, |row, index| {
            found.push(Reverse((position(row), number, index)));
            if found.len() > query.limit + 1 {
                found.pop();
            }
            if found.len() > query.limit {
                worst.set(found.peek().map(|Reverse((position, ..))| *position));
            }
        })?;
    }
    let found = found.into_sorted_vec().into_iter();
    Ok(found.map(|Reverse(candidate)| candidate).collect())
}

/// One more than are wanted of those that arrived first, in the order of arrival.
fn first(
    chunks: &[Chunk<'_>],
    query: &LogQuery,
    patience: &Patience,
) -> Result<Vec<Candidate>, Failed> {
    let mut found = Vec::new();
    // They stand in the order of arrival, and so do their rows.
    for (number, chunk) in chunks.iter().enumerate() {
        if found.len() > query.limit {
            break;
        }
        if may_have(chunk.summary(), query) {
            scan(
                chunk,
                query,
                patience,
                |_| true,
                |row, index| {
                    found.push((position(row), number, index));
                },
            )?;
        }
    }
    found.truncate(query.limit + 1);
    Ok(found)
}

fn position(row: &Row) -> Position {
    Position {
        time: row.time,
        arrival: row.arrival,
    }
}

/// Whether a chunk may have a record that passes.
fn may_have(summary: &Summary, query: &LogQuery) -> bool {
    let of_place = match query.place {
        Place::Newest => true,
        Place::Before(position) => *summary.times.start() <= position.time,
        Place::Since(arrival) => *summary.arrivals.end() >= arrival,
    };
    let of_service = |name: &String| summary.services.iter().any(|known| **known == **name);
    let of_trace = |id: TraceId| {
        let filter = summary.traces.as_ref();
        filter.is_none_or(|filter| filter.may_have(*id.bytes()))
    };
    of_place
        && summary.times.start() <= query.times.end()
        && summary.times.end() >= query.times.start()
        && summary.severity >= query.severity
        && query.service.as_ref().is_none_or(of_service)
        && query.trace.is_none_or(of_trace)
}

/// Shows every record of a chunk that passes and is wanted.
fn scan(
    chunk: &Chunk<'_>,
    query: &LogQuery,
    patience: &Patience,
    wanted: impl Fn(&Row) -> bool,
    mut found: impl FnMut(&Row, usize),
) -> Result<(), Failed> {
    patience.check()?;
    let rows = chunk.rows()?;
    let origins = rows.origins.iter();
    let origins: Vec<bool> = origins
        .map(|origin| query.service.is_none() || origin.service() == query.service.as_deref())
        .collect();
    let passes = |row: &Row| {
        let of_place = match query.place {
            Place::Newest => true,
            Place::Before(before) => position(row) < before,
            Place::Since(arrival) => row.arrival >= arrival,
        };
        of_place
            && row.severity >= query.severity
            && query.times.contains(&row.time)
            && origins[row.origin as usize]
            && (query.trace).is_none_or(|id| row.trace == *id.bytes())
            && (query.span).is_none_or(|id: SpanId| row.span == *id.bytes())
    };
    let passing = |index: &usize| passes(&rows.rows[*index]) && wanted(&rows.rows[*index]);
    let Some(Text(text)) = &query.text else {
        for index in (0..rows.rows.len()).filter(passing) {
            found(&rows.rows[index], index);
        }
        return Ok(());
    };
    let Some(mut index) = (0..rows.rows.len()).find(passing) else {
        return Ok(());
    };
    let rest = chunk.rest()?;
    let mut looked_at = 0;
    // A record that has the text has it in its bytes.
    while let Some(hit) = text.find_at(&rest, rows.start(index)) {
        index = rows
            .rows
            .partition_point(|row| row.end as usize <= hit.start());
        let Some(row) = rows.rows.get(index) else {
            break;
        };
        if passing(&index) {
            let has = encoding::has(rows.rest(index, &rest), text);
            if has.ok_or_else(|| chunk.malformed())? {
                found(row, index);
            }
        }
        looked_at += 1;
        if looked_at % ROWS_AT_ONCE == 0 {
            patience.check()?;
        }
        index += 1;
        if index == rows.rows.len() {
            break;
        }
    }
    Ok(())
}

/// Reads the rest of the records, in their order, until they are too many bytes for an answer: then
/// the others are left out.
fn read(
    chunks: &[Chunk<'_>],
    found: &[Candidate],
    patience: &Patience,
) -> Result<(Vec<FoundLog>, bool), Failed> {
    // Chunk by chunk, so that no page is read twice.
    let mut by_chunk: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (place, (_, chunk, index)) in found.iter().enumerate() {
        by_chunk.entry(*chunk).or_default().push((place, *index));
    }
    let mut by_chunk: Vec<_> = by_chunk.into_iter().collect();
    by_chunk.sort_by_key(|(_, wanted)| wanted[0].0);
    let mut records: Vec<Option<(FoundLog, usize)>> = Vec::new();
    records.resize_with(found.len(), || None);
    // What stands behind is not wanted once so many bytes stand before it.
    let mut sizes = vec![0; found.len()];
    let is_full = |before: &[usize]| before.iter().sum::<usize>() > MAX_ANSWER_BYTES;
    for (number, wanted) in by_chunk {
        patience.check()?;
        if is_full(&sizes[..wanted[0].0]) {
            break;
        }
        let chunk = &chunks[number];
        let rows = chunk.rows()?;
        let rest = chunk.rest()?;
        // An answer has the scope with each record, and a resource once; here once for each chunk.
        let mut scopes: HashMap<u32, usize> = HashMap::new();
        let mut resources: HashSet<&Resource<'static>> = HashSet::new();
        for (place, index) in wanted {
            if is_full(&sizes[..place]) {
                break;
            }
            let row = &rows.rows[index];
            let origin = &rows.origins[row.origin as usize];
            let bytes = rows.rest(index, &rest);
            sizes[place] = bytes.len();
            let scope = scopes.entry(row.origin).or_insert_with(|| {
                if resources.insert(&origin.resource) {
                    sizes[place] += origin.resource_bytes();
                }
                origin.scope_bytes()
            });
            sizes[place] += *scope;
            let record = encoding::decode(row, bytes).ok_or_else(|| chunk.malformed())?;
            let found = FoundLog {
                record: owned(record),
                origin: Arc::clone(origin),
            };
            records[place] = Some((found, sizes[place]));
        }
    }
    let mut total = 0;
    let mut answer = Vec::new();
    for record in records {
        match record {
            Some((record, bytes)) if answer.is_empty() || total + bytes <= MAX_ANSWER_BYTES => {
                total += bytes;
                answer.push(record);
            }
            _ => return Ok((answer, true)),
        }
    }
    Ok((answer, false))
}

/// Free of what it was read from.
fn owned(record: LogRecord<'_>) -> LogRecord<'static> {
    LogRecord {
        time_unix_nano: record.time_unix_nano,
        observed_unix_nano: record.observed_unix_nano,
        severity: record.severity,
        severity_text: Cow::Owned(record.severity_text.into_owned()),
        body: record.body.into_owned(),
        attributes: (record.attributes.into_iter())
            .map(KeyValue::into_owned)
            .collect(),
        dropped_attributes: record.dropped_attributes,
        flags: record.flags,
        trace: record.trace,
        span: record.span,
        event_name: Cow::Owned(record.event_name.into_owned()),
    }
}
