//! Strangers' bytes as segments and logs, for `crate::fuzz`: each function panics if they break a
//! promise.
//!
//! Bytes that change at random hardly ever have the right checksums. So a segment and a log can
//! also be put together from pieces, and what follows after the checksums is reached.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashSet},
    io::{self, ErrorKind},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use traceql::{Pattern, Query};

use super::{
    Batch,
    cache::Cache,
    census,
    files::{Memory, ReadAt},
    fragments::Fragments,
    log::{self, Record, Replayed},
    part::{self, Array, Damaged, Part},
    search::{self, Failed},
    slice::{Reads, Slice},
    survey::{Marks, Sets, Survey},
    tally, values,
};
use crate::{
    compile,
    query::{
        Abandon, CensusField, CensusTaker, Comparison, Counter, Field, Filter, Operand, Patience,
        Place, Search, Select, Stopped, Tally, Test, TraceFilter,
    },
    span::{Resource, Scope, Span, Trace, TraceId, Value},
};

/// A span with where it is from.
pub(crate) type Whole<'a> = (&'a Resource<'a>, &'a Scope<'a>, &'a Span<'a>);

pub(crate) fn spans_of<'a>(trace: &'a Trace<'a>) -> impl Iterator<Item = Whole<'a>> {
    let groups = trace.groups.iter();
    groups.flat_map(|group| {
        let whole = |span| (&*group.resource, &*group.scope, span);
        group.spans.iter().map(whole)
    })
}

/// Panics unless the spans are found by their ids, however they are spread over parts, each of its
/// contents once. `shown` gets each trace.
pub(crate) fn check_found(batches: &[Batch<'_>], shown: impl Fn(&Trace<'_>)) {
    let mut expected: BTreeMap<TraceId, HashSet<Whole<'_>>> = BTreeMap::new();
    for batch in batches {
        for (id, span) in &batch.spans {
            let whole = (&*batch.resource, &*batch.scope, span);
            expected.entry(*id).or_default().insert(whole);
        }
    }
    let (first, second) = batches.split_at(batches.len() / 2);
    let halves: Vec<_> = [first, second]
        .map(|batches| Arc::new(part::build(batches, 1)))
        .into();
    let merged = part::merge(&halves).expect("parts in memory are not damaged");
    let sealed = open(segment_of(batches)).expect("a segment that was just written");
    let spread = [halves, vec![Arc::new(merged)], vec![Arc::new(sealed)]];
    let (patience, _abandon) = patience();
    for (number, parts) in spread.iter().enumerate() {
        for (id, expected) in &expected {
            let fragments = Fragments::find(parts, *id, &patience).expect("nothing is damaged");
            let fragments = fragments.expect("the trace was sent");
            let trace = fragments.trace(&patience).expect("there is time");
            let found: HashSet<Whole<'_>> = spans_of(&trace).collect();
            assert_eq!(
                found.len(),
                spans_of(&trace).count(),
                "a span is there twice"
            );
            assert!(
                found.len() == expected.len() && expected.iter().all(|whole| found.contains(whole)),
                "{found:?} is not {expected:?}"
            );
            if number == 0 {
                shown(&trace);
            }
        }
    }
    ask(&spread[2]).expect("nothing is damaged");
}

/// For so long that no clock decides, however slow the machine is: a fuzzer has a limit of its own.
pub(super) fn patience() -> (Patience, Abandon) {
    Patience::until(Instant::now() + Duration::from_secs(24 * 3600))
}

/// Panics if a query does something else than answer.
pub(crate) fn query(query: &Query) {
    let _ = query.trace_condition();
    let _ = query
        .leading_filter()
        .map(|filter| compile::necessary(&filter.condition().condition));
    let _ = compile::exact(query);
}

/// The segment of all spans.
pub(crate) fn segment_of(batches: &[Batch<'_>]) -> Vec<u8> {
    let part = part::build(batches, 1);
    let segment = part::encode(&part).expect("a part in memory is not damaged");
    segment.bytes().to_vec()
}

/// Panics if a segment is opened and then is neither read nor found to be damaged.
pub(crate) fn segment(bytes: Vec<u8>) {
    let Ok(part) = open(bytes) else {
        return;
    };
    let part = Arc::new(part);
    let _ = part.verify();
    let _ = ask(std::slice::from_ref(&part));
    let Ok(merged) = part::merge(&[Arc::clone(&part), Arc::clone(&part)]) else {
        return;
    };
    let merged = Arc::new(merged);
    ask(std::slice::from_ref(&merged)).expect("what was merged is not damaged");
    let segment = part::encode(&merged).expect("what was merged is not damaged");
    let again = open(segment.bytes().to_vec()).expect("a segment that was just written");
    let again = Arc::new(again);
    ask(std::slice::from_ref(&again)).expect("a segment that was just written");
    let again = part::merge(&[again]).expect("a segment that was just written");
    assert_eq!(again.directory, merged.directory);
}

struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        Memory(&self.0).len()
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        Memory(&self.0).read_at(offset, len)
    }
}

fn open(bytes: Vec<u8>) -> Result<Part, Damaged> {
    let cache = Arc::new(Cache::new(1 << 20));
    part::open("a segment", Arc::new(Bytes(bytes)), &cache)
}

/// Asks everything that can be asked.
fn ask(parts: &[Arc<Part>]) -> Result<(), Failed> {
    const TRACES: usize = 16;
    let (patience, _abandon) = patience();
    for part in parts {
        for id in part.ids16(Array::TraceIds)?.iter().take(TRACES) {
            if let Some(id) = TraceId::new(*id)
                && let Some(fragments) = Fragments::find(parts, id, &patience)?
            {
                drop(fragments.trace(&patience)?);
            }
        }
    }
    let mut fields = vec![
        Field::Name,
        Field::Kind,
        Field::Status,
        Field::StatusMessage,
        Field::Duration,
        Field::ScopeName,
        Field::ScopeVersion,
        Field::EventName,
    ];
    let tags = values::tags(parts, None).into_iter().take(TRACES);
    fields.extend(tags.map(|tag| Field::Attribute(tag.place, tag.name)));
    fields.push(Field::Attribute(Place::Link, "absent".into()));
    values::tags_of(parts, &Sets::Passing(&[Filter::Root]), None, &patience)?;
    let pattern = Pattern::new("a|[0-9].*").expect("a pattern that is valid");
    let tests = [
        Test::Present,
        Test::Compare(Comparison::Equal, Operand::String("GET".into())),
        Test::Compare(Comparison::NotEqual, Operand::Bool(true)),
        Test::Compare(Comparison::Greater, Operand::Int(100)),
        Test::Compare(Comparison::LessOrEqual, Operand::Float(-0.5)),
        Test::Matches(pattern.clone()),
        Test::MatchesNot(pattern),
    ];
    for (number, field) in fields.iter().enumerate() {
        let filter = Filter::Field(field.clone(), tests[number % tests.len()].clone());
        for filter in [Filter::All, filter.clone()] {
            let fields = std::slice::from_ref(field);
            values::values(
                parts,
                fields,
                &Sets::Passing(&[filter]),
                None,
                10,
                &patience,
            )?;
        }
        let search = Search {
            filter: TraceFilter::Some(match number % 3 {
                0 => Filter::Not(Box::new(filter)),
                _ => filter,
            }),
            window: (number % 2 == 0).then_some(1..=u64::MAX / 2),
            limit: 3,
            spans_per_trace: 2,
            select: fields.iter().map(Select::of).collect(),
        };
        search::search(parts, &search, None, None, &patience)?;
    }
    look(parts, fields, &patience)
}

/// Looks at traces and counts, as metrics do.
fn look(parts: &[Arc<Part>], fields: Vec<Field>, patience: &Patience) -> Result<(), Failed> {
    let filter = Filter::Or(vec![
        Filter::Root,
        Filter::Field(Field::Status, Test::Present),
    ]);
    let all = Survey {
        filter: TraceFilter::Some(Filter::All),
        window: 0..=u64::MAX,
        reads: Reads {
            fields: fields.clone(),
            filters: vec![filter.clone()],
            records: true,
        },
        left_out: Cell::default(),
    };
    let mark = |slice: &Slice, marks: &mut Marks| {
        for span in 0..slice.len() {
            let mut values = 0;
            for field in 0..fields.len() {
                slice.each_value(field, span, |_| values += 1);
            }
            slice.each_event(span, |_| values += 1);
            slice.each_link(span, |_| values += 1);
            if slice.passes(0, span) && slice.end(span) >= slice.start(span) {
                marks.insert(usize::from(slice.parent(span).is_some()), slice, span);
            }
        }
        Ok(())
    };
    let passing = [filter.clone(), filter];
    for sets in [Sets::Passing(&passing), Sets::Marked(&all, 2, &mark)] {
        let value = Field::Duration;
        for field in [&value].into_iter().chain(fields.iter().take(10)) {
            let is_one = !field.has_several();
            let tally = Tally {
                starts: 0..=u64::MAX,
                value: Some(vec![value.clone()]),
                by: is_one.then(|| vec![field.clone()]).into_iter().collect(),
            };
            tally::tally(parts, &tally, &sets, &mut Counted, patience)?;
        }
        census::census(parts, &(0..=u64::MAX), &sets, &mut Counted, patience)?;
    }
    Ok(())
}

/// Wants everything and keeps nothing.
struct Counted;

impl Counter for Counted {
    fn number(&self, _: Option<Value<'_>>) -> Option<f64> {
        Some(1.0)
    }

    fn group(&mut self, values: &[Option<Value<'_>>]) -> Result<usize, Stopped> {
        Ok(values.len())
    }

    fn add(&mut self, _: usize, _: u64, _: f64) {}

    fn wants_example(&self, _: usize, _: u64) -> bool {
        true
    }

    fn example(&mut self, _: usize, _: u64, _: Option<Value<'_>>, _: TraceId) {}
}

impl CensusTaker for Counted {
    fn intervals(&self) -> usize {
        3
    }

    fn interval(&self, start_unix_nano: u64) -> Option<usize> {
        Some((start_unix_nano % 3) as usize)
    }

    fn may_select(&self, start_unix_nano: u64) -> bool {
        start_unix_nano.is_multiple_of(2)
    }

    fn max_values(&self) -> usize {
        3
    }

    fn add(
        &mut self,
        _: &CensusField,
        _: bool,
        _: Option<Value<'_>>,
        _: &[u32],
    ) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Bytes before and after the pages.
const HEAD: usize = 16;
const TAIL: usize = 32;
/// Bytes of the place of a page in the directory.
const LOCATION: usize = 16;

/// A segment of pieces, each with its length before it, in two bytes: first the directory without
/// the places of the pages, then the pages. `None` without a directory.
pub(crate) fn assemble(mut pieces: &[u8]) -> Option<Vec<u8>> {
    let mut directory = piece(&mut pieces)?.to_vec();
    let mut file = [&b"TRACESEG"[..], &1_u32.to_le_bytes(), &[0; 4]].concat();
    while let Some(page) = piece(&mut pieces) {
        directory.extend((file.len() as u64).to_le_bytes());
        directory.extend(u32::try_from(page.len()).ok()?.to_le_bytes());
        directory.extend(crc32c::crc32c(page).to_le_bytes());
        file.extend_from_slice(page);
    }
    let mut tail = (file.len() as u64).to_le_bytes().to_vec();
    tail.extend((directory.len() as u64).to_le_bytes());
    tail.extend(crc32c::crc32c(&directory).to_le_bytes());
    tail.extend(crc32c::crc32c(&tail).to_le_bytes());
    file.extend(directory);
    file.extend(tail);
    file.extend(b"TRACESEG");
    Some(file)
}

/// The pieces of which `assemble` makes this segment. `None` if one is longer than 64 KiB.
pub(crate) fn disassemble(segment: &[u8]) -> Option<Vec<u8>> {
    let u64_at = |at: usize| {
        let bytes = segment.get(at..)?.first_chunk()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    };
    let tail_at = segment.len().checked_sub(TAIL)?;
    let directory_at = u64_at(tail_at)?;
    let mut pages: Vec<Range<usize>> = Vec::new();
    let (mut places_at, mut end) = (tail_at, directory_at);
    while end != HEAD {
        places_at = places_at.checked_sub(LOCATION)?;
        let start = u64_at(places_at)?;
        pages.push(start..end);
        end = start;
    }
    let mut pieces = Vec::new();
    pages.push(directory_at..places_at);
    for range in pages.into_iter().rev() {
        pieces.extend(u16::try_from(range.len()).ok()?.to_le_bytes());
        pieces.extend(segment.get(range)?);
    }
    Some(pieces)
}

/// The next piece, or what there is of it.
fn piece<'a>(pieces: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = pieces.split_first_chunk()?;
    let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    let (piece, rest) = rest.split_at(len);
    *pieces = rest;
    Some(piece)
}

/// Bytes of the header of a log, and of that of a record.
const FILE_HEADER: usize = 20;
const RECORD_HEADER: usize = 32;

/// Panics unless each byte of a log is either in a record or said to be dropped.
pub(crate) fn log(bytes: &[u8], each: impl Fn(u8, &[u8])) {
    let mut in_records = 0;
    let replayed = log::replay(&Memory(bytes), |record| {
        in_records += (RECORD_HEADER + record.body.len()) as u64;
        each(record.form, record.body);
    });
    check_account(bytes, replayed, in_records);
}

fn check_account(bytes: &[u8], replayed: io::Result<Replayed>, in_records: u64) {
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            return;
        }
    };
    let dropped: u64 = replayed.dropped.iter().map(|dropped| dropped.bytes).sum();
    let no_header = |dropped: &log::Dropped| dropped.why == "no header of the file";
    let header = match replayed.dropped.iter().any(no_header) || bytes.is_empty() {
        true => 0,
        false => FILE_HEADER as u64,
    };
    assert_eq!(
        header + in_records + dropped,
        bytes.len() as u64,
        "{replayed:?}"
    );
}

/// Makes a log of records, damages it, and panics unless exactly the records that were not damaged
/// are found.
///
/// The bytes are the number of records, each record as its form and a piece, and then changes:
/// each the place, in two bytes, and what is to be flipped there. A change of nothing cuts the log
/// off there.
pub(crate) fn damaged_log(bytes: &[u8], each: impl Fn(u8, &[u8])) {
    let Some((count, mut rest)) = bytes.split_first() else {
        return;
    };
    // Nobody who sends a body knows the salt.
    let salt = crc32c::crc32c(bytes).to_le_bytes();
    let mut log = sealed([b"tracelog", &1_u32.to_le_bytes()[..], &salt].concat());
    let mut records: Vec<(Range<usize>, Record<'_>)> = Vec::new();
    for number in 0..u64::from(*count) {
        let Some((form, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        let body = piece(&mut rest).unwrap_or_default();
        let start = log.len();
        let header = [
            b"\xC5rec",
            &salt,
            &u32::try_from(body.len()).unwrap_or_default().to_le_bytes(),
            &crc32c::crc32c(body).to_le_bytes(),
            &number.to_le_bytes()[..],
            &[*form, 0, 0, 0],
        ];
        log.extend(sealed(header.concat()));
        log.extend_from_slice(body);
        let record = Record {
            received_unix_nano: number,
            form: *form,
            body,
        };
        records.push((start..log.len(), record));
    }
    let mut damaged = log.clone();
    for change in rest.as_chunks::<3>().0 {
        let [low, high, flipped] = *change;
        let at = usize::from(u16::from_le_bytes([low, high])) % log.len();
        match flipped {
            0 => damaged.truncate(at),
            flipped => {
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= flipped;
                }
            }
        }
    }
    let is_intact = |(range, _): &&(Range<usize>, Record<'_>)| {
        damaged.get(range.clone()) == log.get(range.clone())
    };
    let intact = records.iter().filter(is_intact).map(|(_, record)| record);
    let mut intact = intact.peekable();
    let has_header = damaged.get(..FILE_HEADER) == log.get(..FILE_HEADER);
    let mut in_records = 0;
    let replayed = log::replay(&Memory(&damaged), |record| {
        // Without a salt, what a sender put into a damaged body may be taken for a record.
        let is_sent = intact.peek().is_some_and(|next| **next == record);
        if is_sent {
            intact.next();
        }
        assert!(is_sent || !has_header, "not written: {record:?}");
        in_records += (RECORD_HEADER + record.body.len()) as u64;
        each(record.form, record.body);
    });
    assert_eq!(intact.next(), None, "a record is missing");
    check_account(&damaged, replayed, in_records);
}

/// With its checksum.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}
