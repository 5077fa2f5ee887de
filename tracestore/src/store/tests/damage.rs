//! Segments that are not as they were written.

use std::{
    io::{self, ErrorKind},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use proptest::{
    collection::vec, prelude::*, sample::Index, strategy::ValueTree, test_runner::TestRunner,
};

use super::{Request, model, patience, plain, requests, trace_id};
use crate::{
    query::{Comparison, Field, Filter, Operand, Place, Search, Select, Test, TraceFilter},
    store::{
        Batch,
        cache::Cache,
        files::ReadAt,
        fragments::Fragments,
        part::{self, Damaged, Part},
        search::{Failed, Found},
        storage::Sealable,
        survey::Sets,
        values,
    },
};

struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let from = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
        let bytes = self.0.get(from..).and_then(|rest| rest.get(..len));
        Ok(bytes.ok_or(ErrorKind::UnexpectedEof)?.to_vec())
    }
}

/// The segment of some spans.
fn segment(requests: &[Request]) -> Vec<u8> {
    let parts = requests
        .iter()
        .map(|request| Arc::new(part::build(&request.batches, request.received)));
    let mut part = part::merge(&parts.collect::<Vec<_>>()).unwrap();
    part.set_generations(1..=2);
    part::encode(&part).unwrap().bytes().to_vec()
}

fn open(bytes: Vec<u8>) -> Result<Arc<Part>, Damaged> {
    part::open(
        "the segment",
        Arc::new(Bytes(bytes)),
        &Arc::new(Cache::new(1 << 20)),
    )
    .map(Arc::new)
}

/// A span with a bit of everything in it.
fn some() -> Vec<Request> {
    let mut runner = TestRunner::deterministic();
    let mut sample = || requests::request().new_tree(&mut runner).unwrap().current();
    let rich = |request: &Request| {
        let mut spans = request.batches.iter().flat_map(|batch| &batch.spans);
        spans.any(|(_, span)| !span.events.is_empty() && !span.links.is_empty())
    };
    let mut found: Vec<Request> = Vec::new();
    while found.len() < 2 {
        let request = sample();
        found.extend(Some(request).filter(rich));
    }
    for request in &mut found {
        request.batches.truncate(1);
        request.batches[0].spans.truncate(2);
    }
    // Most spans do not have what one has: such columns are sparse.
    let spans = (10..18).map(|id| (trace_id(0), plain(id, 100)));
    found[0].batches[0].spans.extend(spans);
    found
}

fn filter_of_all_fields() -> Filter {
    let own = [
        Field::Name,
        Field::Kind,
        Field::Status,
        Field::StatusMessage,
        Field::Duration,
        Field::ScopeName,
        Field::ScopeVersion,
        Field::EventName,
    ];
    let places = [
        Place::Span,
        Place::Resource,
        Place::Scope,
        Place::Event,
        Place::Link,
    ];
    let attributes = places
        .iter()
        .flat_map(|place| ["a", "service.name"].map(|key| Field::Attribute(*place, key.into())));
    let tests = [
        Test::Present,
        Test::Compare(Comparison::NotEqual, Operand::Int(1)),
        Test::Compare(Comparison::GreaterOrEqual, Operand::Float(0.5)),
        Test::Compare(Comparison::Less, Operand::String("b".into())),
    ];
    let fields: Vec<Field> = own.into_iter().chain(attributes).collect();
    let all = fields.into_iter().zip(tests.iter().cycle());
    let all = all.map(|(field, test)| Filter::Field(field, test.clone()));
    // Each is asked, whatever the one before has found.
    Filter::Or(all.collect())
}

/// Reads all there is, in all ways.
fn read(part: &Arc<Part>) -> Result<model::Traces, Failed> {
    let (patience, _abandon) = patience();
    let parts = [Arc::clone(part)];
    let mut traces = model::Traces::new();
    for id in (0..6).map(trace_id) {
        let Some(found) = Fragments::find(&parts, id, &patience)? else {
            continue;
        };
        for group in found.trace(&patience)?.groups {
            let batch = Batch {
                resource: Arc::new(owned_resource(&group.resource)),
                scope: Arc::new(owned_scope(&group.scope)),
                spans: group
                    .spans
                    .iter()
                    .map(|span| (id, owned_span(span)))
                    .collect(),
            };
            model::add(
                &mut traces,
                &Request {
                    batches: vec![batch],
                    received: 0,
                },
            );
        }
    }
    let filter = filter_of_all_fields();
    let search = Search {
        filter: TraceFilter::Some(filter.clone()),
        window: Some(1..=u64::MAX),
        limit: 100,
        spans_per_trace: 100,
        select: vec![
            Select::of(&Field::Attribute(Place::Event, "a".into())),
            Select::of(&Field::Status),
        ],
    };
    crate::store::search::search(&parts, &search, None, None, &patience)?;
    for (field, filter) in [
        (Field::Name, filter.clone()),
        (Field::EventName, filter.clone()),
        (Field::Attribute(Place::Resource, "a".into()), filter),
        (Field::Attribute(Place::Span, "b".into()), Filter::All),
    ] {
        values::values(
            &parts,
            &[field],
            &Sets::Passing(&[filter]),
            None,
            100,
            &patience,
        )?;
    }
    values::tags(&parts, None);
    part.verify()?;
    // A part that is merged with itself, sealed, and read.
    let merged = part::merge(&[Arc::clone(part), Arc::clone(part)])?;
    let again = open(part::encode(&merged)?.bytes().to_vec())?;
    for id in (0..6).map(trace_id) {
        if let Some(found) = Fragments::find(&[Arc::clone(&again)], id, &patience)? {
            found.trace(&patience)?;
        }
    }
    Ok(traces)
}

fn owned_resource(of: &crate::span::Resource<'_>) -> crate::span::Resource<'static> {
    crate::span::Resource {
        attributes: owned(&of.attributes),
        dropped_attributes: of.dropped_attributes,
        schema_url: of.schema_url.clone().into_owned().into(),
    }
}

fn owned_scope(of: &crate::span::Scope<'_>) -> crate::span::Scope<'static> {
    crate::span::Scope {
        name: of.name.clone().into_owned().into(),
        version: of.version.clone().into_owned().into(),
        attributes: owned(&of.attributes),
        dropped_attributes: of.dropped_attributes,
        schema_url: of.schema_url.clone().into_owned().into(),
    }
}

fn owned(of: &[crate::span::KeyValue<'_>]) -> Vec<crate::span::KeyValue<'static>> {
    of.iter()
        .cloned()
        .map(crate::span::KeyValue::into_owned)
        .collect()
}

fn owned_span(of: &crate::span::Span<'_>) -> crate::span::Span<'static> {
    use crate::span::{Event, Link, Span, Status};
    let events = of.events.iter().map(|event| Event {
        time_unix_nano: event.time_unix_nano,
        name: event.name.clone().into_owned().into(),
        attributes: owned(&event.attributes),
        dropped_attributes: event.dropped_attributes,
    });
    let links = of.links.iter().map(|link| Link {
        trace: link.trace,
        span: link.span,
        trace_state: link.trace_state.clone().into_owned().into(),
        attributes: owned(&link.attributes),
        dropped_attributes: link.dropped_attributes,
        flags: link.flags,
    });
    Span {
        id: of.id,
        parent: of.parent,
        trace_state: of.trace_state.clone().into_owned().into(),
        flags: of.flags,
        name: of.name.clone().into_owned().into(),
        kind: of.kind,
        start_unix_nano: of.start_unix_nano,
        end_unix_nano: of.end_unix_nano,
        attributes: owned(&of.attributes),
        dropped_attributes: of.dropped_attributes,
        events: events.collect(),
        dropped_events: of.dropped_events,
        links: links.collect(),
        dropped_links: of.dropped_links,
        status: Status {
            code: of.status.code,
            message: of.status.message.clone().into_owned().into(),
        },
    }
}

/// Panics unless the bytes give what was written, or are refused.
fn check(bytes: Vec<u8>, expected: &model::Traces) -> bool {
    match open(bytes)
        .map_err(Failed::from)
        .and_then(|part| read(&part))
    {
        Ok(traces) => {
            assert_eq!(traces, *expected);
            true
        }
        Err(Failed::Damaged(damaged)) => {
            assert_eq!(&*damaged.part, "the segment");
            false
        }
        Err(Failed::TooLarge) => panic!("it is small"),
        Err(Failed::Stopped(stopped)) => panic!("{stopped}"),
    }
}

#[test]
fn a_segment_with_a_changed_bit_is_read_right_or_refused() {
    let requests = some();
    let expected = model::of(&requests);
    let bytes = segment(&requests);
    assert!(check(bytes.clone(), &expected));
    // Of the head, four bytes say nothing.
    let silent = 12 * 8..16 * 8;
    for bit in 0..8 * bytes.len() {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            check(changed, &expected),
            silent.contains(&bit),
            "bit {bit}"
        );
    }
}

/// Reads from a segment what a search finds, without a cache: of most pages only pieces.
fn found_in(bytes: Vec<u8>) -> Result<Vec<Found>, Damaged> {
    let cache = Arc::new(Cache::new(0));
    let part = Arc::new(part::open("the segment", Arc::new(Bytes(bytes)), &cache)?);
    found(&part)
}

/// What each of some searches finds.
fn found(part: &Arc<Part>) -> Result<Vec<Found>, Damaged> {
    let (patience, _abandon) = patience();
    let select = [
        Field::Status,
        Field::StatusMessage,
        Field::Kind,
        Field::ScopeName,
        Field::EventName,
        Field::Attribute(Place::Span, "a".into()),
        Field::Attribute(Place::Resource, "a".into()),
        Field::Attribute(Place::Event, "a".into()),
    ];
    let name = |name: &str| {
        let test = Test::Compare(Comparison::Equal, Operand::String(name.into()));
        Filter::Field(Field::Name, test)
    };
    let mut all = Vec::new();
    for filter in [filter_of_all_fields(), name("a"), name("no such name")] {
        let search = Search {
            filter: TraceFilter::Some(filter),
            window: Some(1..=u64::MAX),
            limit: 100,
            spans_per_trace: 100,
            select: select.iter().map(Select::of).collect(),
        };
        let parts = std::slice::from_ref(part);
        match crate::store::search::search(parts, &search, None, None, &patience) {
            Ok(found) => all.extend(found),
            Err(Failed::Damaged(damaged)) => return Err(damaged),
            Err(failed) => panic!("{failed}"),
        }
    }
    Ok(all)
}

#[test]
fn a_search_in_a_segment_with_a_changed_bit_finds_the_same_or_says_so() {
    let bytes = segment(&some());
    let expected = found_in(bytes.clone()).unwrap();
    let (mut same, mut refused) = (0, 0);
    for bit in 0..8 * bytes.len() {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        match found_in(changed) {
            Ok(found) => {
                assert_eq!(found, expected, "bit {bit}");
                same += 1;
            }
            Err(_) => refused += 1,
        }
    }
    // Some bits are of no interest to any of the searches, most are.
    assert!(same > 0 && refused > same, "{same} and {refused}");
}

#[test]
fn a_segment_that_was_cut_is_refused() {
    let requests = some();
    let expected = model::of(&requests);
    let bytes = segment(&requests);
    for len in 0..bytes.len() {
        assert!(!check(bytes[..len].to_vec(), &expected), "{len} bytes");
        assert!(
            !check(bytes[len.max(1)..].to_vec(), &expected),
            "without {len} bytes"
        );
    }
}

const TAIL: usize = 32;
const LOCATION: usize = 16;

fn u64_at(bytes: &[u8], at: usize) -> usize {
    let number = bytes[at..].first_chunk().unwrap();
    usize::try_from(u64::from_le_bytes(*number)).unwrap()
}

/// Where the directory is, and in it where the locations of the pages begin.
fn directory(bytes: &[u8]) -> (Range<usize>, usize) {
    let tail = bytes.len() - TAIL;
    let start = u64_at(bytes, tail);
    let pages = open(bytes.to_vec()).unwrap().pages();
    (start..tail, tail - pages * LOCATION)
}

/// Puts the right checksums on pages, the directory, and the tail.
fn mend(bytes: &mut [u8], (directory, locations): (Range<usize>, usize)) {
    for at in (locations..directory.end).step_by(LOCATION) {
        let offset = u64_at(bytes, at);
        let len = u64_at(bytes, at + 8) & 0xffff_ffff;
        // A changed location may be anywhere.
        if let Some(page) = bytes.get(offset..offset.saturating_add(len)) {
            let checksum = crc32c::crc32c(page);
            bytes[at + 12..at + 16].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    let checksum = crc32c::crc32c(&bytes[directory.clone()]);
    bytes[directory.end + 16..directory.end + 20].copy_from_slice(&checksum.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[directory.end..directory.end + 20]);
    bytes[directory.end + 20..directory.end + 24].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads what nobody wrote but has its checksums: anything but a panic is right.
fn survive(bytes: Vec<u8>) {
    let Ok(part) = open(bytes) else {
        return;
    };
    // Arrays of one number take no space, so that a few bytes can ask for gigabytes.
    if part.directory.rows.iter().all(|rows| *rows < 1 << 16) {
        let _ = read(&part);
    }
}

#[test]
fn any_byte_of_a_page_may_be_another_under_a_right_checksum() {
    let bytes = segment(&some());
    let places = directory(&bytes);
    for at in 16..places.0.start {
        let one_of_several = [bytes[at] ^ 1, 1, 0xff, 0][at % 4];
        for value in [bytes[at].wrapping_add(3), one_of_several] {
            let mut changed = bytes.clone();
            changed[at] = value;
            mend(&mut changed, places.clone());
            let survived = catch_unwind(AssertUnwindSafe(|| survive(changed)));
            assert!(survived.is_ok(), "byte {at} as {value}");
        }
    }
}

#[test]
fn any_byte_of_the_directory_may_be_another_under_a_right_checksum() {
    let bytes = segment(&some());
    let places = directory(&bytes);
    for at in places.0.clone() {
        let mut changed = bytes.clone();
        changed[at] = [bytes[at] ^ 1, 0xff][at % 2];
        mend(&mut changed, places.clone());
        let survived = catch_unwind(AssertUnwindSafe(|| survive(changed)));
        assert!(survived.is_ok(), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn pages_may_be_swapped_and_changed_under_right_checksums(
        requests in requests::requests(),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        swaps in vec((any::<Index>(), any::<Index>()), 0..3),
    ) {
        prop_assume!(model::of(&requests).values().any(|spans| !spans.is_empty()));
        let mut bytes = segment(&requests);
        let (directory, locations) = directory(&bytes);
        for (at, value) in changes {
            bytes[at.index(directory.end - 16) + 16] = value;
        }
        let pages = (directory.end - locations) / LOCATION;
        for (a, b) in swaps {
            let place = |page: usize| {
                let at = locations + page * LOCATION;
                let offset = u64_at(&bytes, at);
                offset..offset.saturating_add(u64_at(&bytes, at + 8) & 0xffff_ffff)
            };
            // Over another page, as far as that goes.
            let [from, to] = [a, b].map(|page| place(page.index(pages)));
            if let Some(page) = bytes.get(from).map(<[u8]>::to_vec)
                && let Some(over) = bytes.get_mut(to)
            {
                let len = page.len().min(over.len());
                over[..len].copy_from_slice(&page[..len]);
            }
        }
        mend(&mut bytes, (directory, locations));
        survive(bytes);
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes: Vec<u8>, is_headed: bool) {
        let head: &[u8] = if is_headed { b"TRACESEG\x01\0\0\0\0\0\0\0" } else { b"" };
        prop_assert!(open([head, &bytes].concat()).is_err());
    }

    #[test]
    fn a_segment_of_any_version_is_searched_as_what_it_was_made_of(
        requests in requests::requests(),
    ) {
        let parts = requests
            .iter()
            .map(|request| Arc::new(part::build(&request.batches, request.received)));
        let part = Arc::new(part::merge(&parts.collect::<Vec<_>>()).unwrap());
        let expected = found(&part).unwrap();
        let version = |bytes: &[u8]| bytes[8];
        let old = part::encode_as(1, &part).unwrap();
        prop_assert_eq!(version(old.bytes()), 1);
        prop_assert_eq!(&found_in(old.bytes().to_vec()).unwrap(), &expected);
        let new = part::encode(&part).unwrap();
        // Pages of up to a chunk need none of its own: with equal spans, or one, all may be as small as that.
        let (directory, locations) = directory(old.bytes());
        let mut pages = (locations..directory.end).step_by(LOCATION);
        let is_chunked = pages.any(|at| u64_at(old.bytes(), at + 8) & 0xffff_ffff > part::CHUNK as usize);
        prop_assert!(!is_chunked || version(new.bytes()) == 2);
        prop_assert_eq!(&found_in(new.bytes().to_vec()).unwrap(), &expected);
    }

    #[test]
    fn a_segment_gives_what_was_put_into_it(requests in requests::requests()) {
        prop_assume!(model::of(&requests).values().any(|spans| !spans.is_empty()));
        prop_assert!(check(segment(&requests), &model::of(&requests)));
    }
}
