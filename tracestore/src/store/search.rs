//! Finds traces over all parts, the newest first, and puts their fragments together.
//!
//! The answer does not depend on how spans are spread over parts, but for a window of time, which is
//! held against each fragment of a trace.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, hash_map},
    hash::{BuildHasher, RandomState},
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use hashbrown::HashTable;

use super::{
    part::{Damaged, Opened, Outline, Part, rank},
    scan::{self, Rows},
    summary::Summary,
};
use crate::{
    query::{
        Field, Filter, FoundSpan, Judge, Patience, Place, Search, SpanSet, Stopped, TraceFilter,
    },
    span::{Group, KeyValue, Resource, Scope, Span, SpanId, StatusCode, Trace, TraceId, Value},
};

/// A trace that was searched for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) summary: Summary,
    /// Never none.
    pub(crate) sets: Vec<SpanSet>,
}

/// Why a query has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("the trace has more than {MAX_TRACE_SPANS} spans")]
    TooLarge,
}

/// Spans of one trace that are put together: what a reader takes for it is some kilobytes a span.
const MAX_TRACE_SPANS: usize = 250_000;

/// The spans of one trace, wherever they are.
pub(crate) struct Fragments {
    id: TraceId,
    opened: Vec<(Opened, Range<u32>)>,
}

impl Fragments {
    /// `None` if no part has a span of the trace.
    pub(super) fn find(
        parts: &[Arc<Part>],
        id: TraceId,
        patience: &Patience,
    ) -> Result<Option<Fragments>, Failed> {
        let mut opened = Vec::new();
        let mut spans = 0;
        for part in parts {
            patience.check()?;
            if let Some(trace) = part.find(id)? {
                let rows = part.traces()?.rows(trace);
                spans += rows.len();
                if spans > MAX_TRACE_SPANS {
                    return Err(Failed::TooLarge);
                }
                opened.push((Opened::new(part, std::slice::from_ref(&rows))?, rows));
            }
        }
        Ok((!opened.is_empty()).then_some(Fragments { id, opened }))
    }

    /// `fragments` are numbers of parts and of the trace in them.
    fn of(
        parts: &[Arc<Part>],
        id: TraceId,
        fragments: &[(usize, usize)],
    ) -> Result<Fragments, Failed> {
        let mut spans = 0;
        for (part, trace) in fragments {
            spans += parts[*part].traces()?.rows(*trace).len();
        }
        if spans > MAX_TRACE_SPANS {
            return Err(Failed::TooLarge);
        }
        let opened = fragments.iter().map(|(part, trace)| {
            let rows = parts[*part].traces()?.rows(*trace);
            let whole = Opened::new(&parts[*part], std::slice::from_ref(&rows))?;
            Ok((whole, rows))
        });
        Ok(Fragments {
            id,
            opened: opened.collect::<Result<_, Damaged>>()?,
        })
    }

    /// Everything known of the trace. A span that came twice, identical to the last byte, is there
    /// once.
    pub(crate) fn trace(&self) -> Trace<'_> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut by_source: HashMap<(Arc<Resource<'_>>, Arc<Scope<'_>>), usize> = HashMap::new();
        let mut seen: HashTable<(usize, usize)> = HashTable::new();
        let hasher = RandomState::new();
        let hash = |group: usize, span: &Span<'_>| hasher.hash_one((group, span));
        for (opened, rows) in &self.opened {
            // Groups of this part by the rows of their resource and scope.
            let mut known: HashMap<(Option<u32>, Option<u32>), usize> = HashMap::new();
            for row in rows.clone() {
                let Some(span) = opened.span(row) else {
                    continue;
                };
                let source = (opened.resource_of(row), opened.scope_of(row));
                let group = *known.entry(source).or_insert_with(|| {
                    let (resource, scope) = source;
                    let resource = resource.map(|row| opened.resource(row));
                    let scope = scope.map(|row| opened.scope(row));
                    let resource = Arc::new(resource.unwrap_or_default());
                    let scope = Arc::new(scope.unwrap_or_default());
                    let next = groups.len();
                    match by_source.entry((resource, scope)) {
                        hash_map::Entry::Occupied(known) => *known.get(),
                        hash_map::Entry::Vacant(vacant) => {
                            let (resource, scope) = vacant.key();
                            groups.push(Group {
                                resource: Arc::clone(resource),
                                scope: Arc::clone(scope),
                                spans: Vec::new(),
                            });
                            *vacant.insert(next)
                        }
                    }
                });
                let hashed = hash(group, &span);
                let is_same = |(other, index): &(usize, usize)| {
                    *other == group && groups[*other].spans[*index] == span
                };
                if seen.find(hashed, is_same).is_none() {
                    let next = (group, groups[group].spans.len());
                    let rehash = |(group, index): &(usize, usize)| {
                        hash(*group, &groups[*group].spans[*index])
                    };
                    seen.insert_unique(hashed, next, rehash);
                    groups[group].spans.push(span);
                }
            }
        }
        Trace {
            id: self.id,
            groups,
        }
    }
}

/// A fragment that may belong to one of the newest traces.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Of the fragment: that of the whole trace is not greater.
    rank: u64,
    id: Reverse<[u8; 16]>,
}

/// Orders traces, and has the parts with fragments of one, its number there, and what was found.
type Ranked = (
    Reverse<u64>,
    TraceId,
    Vec<(usize, usize)>,
    Option<Vec<SpanSet>>,
);

/// The rows of a part that pass.
struct Selected {
    /// Those of any of the filters.
    any: Rows,
    /// Those of each filter, in the order of `filters`.
    each: Vec<Rows>,
}

/// The filters that a trace must pass in some combination.
fn filters<'a>(of: &'a TraceFilter, to: &mut Vec<&'a Filter>) {
    match of {
        TraceFilter::Some(filter) => to.push(filter),
        TraceFilter::And(all) => all.iter().for_each(|filter| self::filters(filter, to)),
        TraceFilter::Or(any) => any.iter().for_each(|filter| self::filters(filter, to)),
    }
}

/// Whether a trace passes of which each filter `has` a span or not. Every filter takes its own from
/// `has`, whatever those before it said.
fn passes(filter: &TraceFilter, has: &mut impl Iterator<Item = bool>) -> bool {
    let mut each = |filters: &[TraceFilter]| -> Vec<bool> {
        filters.iter().map(|filter| passes(filter, has)).collect()
    };
    match filter {
        TraceFilter::And(all) => each(all).into_iter().all(|passes| passes),
        TraceFilter::Or(any) => each(any).into_iter().any(|passes| passes),
        TraceFilter::Some(_) => has.next().unwrap_or(false),
    }
}

/// Traces of which any span passes, the newest first by their start, and by id where that is
/// equal.
pub(super) fn search(
    parts: &[Arc<Part>],
    search: &Search,
    judge: Option<&Judge<'_>>,
    patience: &Patience,
) -> Result<Vec<Found>, Failed> {
    let mut by_newest: Vec<&Arc<Part>> = parts.iter().collect();
    by_newest.sort_by_key(|part| Reverse(part.directory.summary.newest));
    let mut selected: HashMap<*const Part, Option<Selected>> = HashMap::new();
    let mut candidates: BinaryHeap<Candidate> = BinaryHeap::new();
    let mut seen: HashSet<[u8; 16]> = HashSet::new();
    // The traces that were looked at whole.
    let mut ranked: Vec<Ranked> = Vec::new();
    // The best of them, at most `limit`, the worst on top.
    let mut best: BinaryHeap<(Reverse<u64>, [u8; 16])> = BinaryHeap::new();
    let mut unread = by_newest.iter().peekable();
    if search.limit == 0 {
        return Ok(Vec::new());
    }
    loop {
        // Parts whose newest trace comes before the next candidate are to be read first.
        let next_rank = candidates.peek().map(|candidate| candidate.rank);
        if let Some(part) = unread.peek()
            && next_rank.is_none_or(|rank| part.directory.summary.newest >= rank)
        {
            patience.check()?;
            let enough = best.len() >= search.limit;
            let newest = part.directory.summary.newest;
            if enough
                && best
                    .peek()
                    .is_some_and(|(Reverse(worst), _)| *worst > newest)
            {
                break;
            }
            let rows = select_in(part, search, &mut selected)?;
            if let Some(rows) = rows {
                let passing = traces_of(part, &rows.any, search.window.as_ref())?;
                candidates.extend(passing);
            }
            unread.next();
            continue;
        }
        let Some(candidate) = candidates.pop() else {
            break;
        };
        let Reverse(id) = candidate.id;
        let at_best = (Reverse(candidate.rank), id);
        let enough = best.len() >= search.limit;
        if enough && best.peek().is_some_and(|worst| *worst < at_best) {
            break;
        }
        if !seen.insert(id) {
            continue;
        }
        patience.check()?;
        let Some(id) = TraceId::new(id) else {
            continue;
        };
        let mut fragments = Vec::new();
        let (mut start, mut received) = (0, u64::MAX);
        for (number, part) in parts.iter().enumerate() {
            if let Some(trace) = part.find(id)? {
                let traces = part.traces()?;
                start = match (start, traces.start(trace)) {
                    (0, known) | (known, 0) => known,
                    (a, b) => a.min(b),
                };
                received = received.min(*traces.received(trace).start());
                fragments.push((number, trace));
            }
        }
        if !passes_whole(parts, search, &mut selected, &fragments)? {
            continue;
        }
        let mut sets = None;
        if let Some(judge) = judge {
            let whole = Fragments::of(parts, id, &fragments)?;
            let found = judge(&whole.trace())?;
            if found.is_empty() {
                continue;
            }
            sets = Some(found);
        }
        let rank = rank(start, received);
        best.push((Reverse(rank), *id.bytes()));
        if best.len() > search.limit {
            best.pop();
        }
        ranked.push((Reverse(rank), id, fragments, sets));
    }
    ranked.sort_unstable_by_key(|(rank, id, ..)| (*rank, *id));
    ranked.truncate(search.limit);
    let found = ranked.into_iter().map(|(_, id, fragments, sets)| {
        patience.check()?;
        describe(parts, search, &mut selected, id, &fragments, sets)
    });
    found.collect()
}

/// The rows that pass, remembered. `None` if the part lies outside of the window.
fn select_in<'a>(
    part: &Arc<Part>,
    search: &Search,
    selected: &'a mut HashMap<*const Part, Option<Selected>>,
) -> Result<Option<&'a Selected>, Damaged> {
    let entry = match selected.entry(Arc::as_ptr(part)) {
        hash_map::Entry::Occupied(entry) => return Ok(entry.into_mut().as_ref()),
        hash_map::Entry::Vacant(entry) => entry,
    };
    let summary = &part.directory.summary;
    let is_outside = search.window.as_ref().is_some_and(|window| {
        !overlap(window, &summary.time) && !overlap(window, &summary.received)
    });
    let rows = match is_outside {
        true => None,
        false => {
            let mut wanted = Vec::new();
            filters(&search.filter, &mut wanted);
            let mut any = Rows::none(part.directory.spans() as usize);
            let mut each = Vec::new();
            for filter in wanted {
                let rows = scan::select(part, filter)?;
                any.or(&rows);
                each.push(rows);
            }
            Some(Selected { any, each })
        }
    };
    Ok(entry.insert(rows).as_ref())
}

/// Whether a trace passes the filters with the spans of all its fragments.
fn passes_whole(
    parts: &[Arc<Part>],
    search: &Search,
    selected: &mut HashMap<*const Part, Option<Selected>>,
    fragments: &[(usize, usize)],
) -> Result<bool, Damaged> {
    // A candidate passes the only one.
    if let TraceFilter::Some(_) = search.filter {
        return Ok(true);
    }
    let mut has: Vec<bool> = Vec::new();
    for (part, trace) in fragments {
        let part = &parts[*part];
        let rows = part.traces()?.rows(*trace);
        if let Some(selected) = select_in(part, search, selected)? {
            has.resize(selected.each.len(), false);
            for (has, each) in has.iter_mut().zip(&selected.each) {
                *has |= rows.clone().any(|row| each.contains(row));
            }
        }
    }
    Ok(passes(&search.filter, &mut has.into_iter()))
}

/// The traces of the rows that were running or received in the window.
fn traces_of(
    part: &Part,
    rows: &Rows,
    window: Option<&RangeInclusive<u64>>,
) -> Result<Vec<Candidate>, Damaged> {
    let traces = part.traces()?;
    let mut found = Vec::new();
    let mut next_trace = 0;
    let mut end_of_last = 0;
    for row in rows.iter() {
        if row < end_of_last {
            continue;
        }
        while next_trace < traces.ids.len() && traces.rows(next_trace).end <= row {
            next_trace += 1;
        }
        let Some(id) = traces.ids.get(next_trace) else {
            break;
        };
        end_of_last = traces.rows(next_trace).end;
        let is_inside = window.is_none_or(|window| {
            overlap(window, &traces.time(next_trace))
                || overlap(window, &traces.received(next_trace))
        });
        if is_inside {
            found.push(Candidate {
                rank: traces.rank(next_trace),
                id: Reverse(*id),
            });
        }
    }
    Ok(found)
}

pub(super) fn overlap(a: &RangeInclusive<u64>, b: &RangeInclusive<u64>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

/// A span of a trace, wherever it is: ordered by start and id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Located {
    start: u64,
    id: SpanId,
    fragment: usize,
    row: u32,
}

/// `fragments` are numbers of parts and of the trace in them.
fn describe(
    parts: &[Arc<Part>],
    search: &Search,
    selected: &mut HashMap<*const Part, Option<Selected>>,
    id: TraceId,
    fragments: &[(usize, usize)],
    sets: Option<Vec<SpanSet>>,
) -> Result<Found, Failed> {
    let mut outlines = Vec::new();
    let mut spans = Vec::new();
    for (fragment, (part, trace)) in fragments.iter().enumerate() {
        let outline = Outline::new(&parts[*part])?;
        for row in parts[*part].traces()?.rows(*trace) {
            spans.extend(outline.id(row).map(|id| Located {
                start: outline.start(row),
                id,
                fragment,
                row,
            }));
        }
        outlines.push(outline);
    }
    spans.sort_unstable();
    drop_repeated(parts, fragments, &mut spans)?;
    let mut summary = Summary::new(id);
    let mut matching = Vec::new();
    for span in &spans {
        summary.add(&outlines[span.fragment], span.id, span.row);
        let part = &parts[fragments[span.fragment].0];
        if sets.is_none()
            && let Some(rows) = select_in(part, search, selected)?
            && rows.any.contains(span.row)
        {
            matching.push((span.fragment, span.row));
        }
    }
    if let Some(sets) = sets {
        return Ok(Found { summary, sets });
    }
    let matched = u32::try_from(matching.len()).unwrap_or(u32::MAX);
    matching.truncate(search.spans_per_trace);
    let mut found = Vec::new();
    for (fragment, row) in matching {
        let part = &parts[fragments[fragment].0];
        let whole = Opened::new(part, std::slice::from_ref(&(row..row + 1)))?;
        found.extend(found_span(&whole, row, &search.select));
    }
    let set = SpanSet {
        matched,
        spans: found,
        attributes: Vec::new(),
    };
    Ok(Found {
        summary,
        sets: vec![set],
    })
}

/// Drops spans that came twice, identical to the last byte.
fn drop_repeated(
    parts: &[Arc<Part>],
    fragments: &[(usize, usize)],
    spans: &mut Vec<Located>,
) -> Result<(), Damaged> {
    let same = |a: &Located, b: &Located| (a.start, a.id) == (b.start, b.id);
    if spans.chunk_by(same).all(|group| group.len() == 1) {
        return Ok(());
    }
    let is_repeated = |group: &&[Located]| group.len() > 1;
    let mut rows = vec![Vec::new(); fragments.len()];
    for span in spans.chunk_by(same).filter(is_repeated).flatten() {
        rows[span.fragment].push(span.row..span.row + 1);
    }
    let open = |((part, _), rows): (&(usize, usize), &Vec<_>)| Opened::new(&parts[*part], rows);
    let opened: Vec<Opened> = fragments
        .iter()
        .zip(&rows)
        .map(open)
        .collect::<Result<_, _>>()?;
    let mut kept = Vec::new();
    for group in spans.chunk_by(same) {
        if group.len() == 1 {
            kept.extend_from_slice(group);
            continue;
        }
        let mut distinct = HashSet::new();
        kept.extend(group.iter().filter(|span| {
            let whole = &opened[span.fragment];
            distinct.insert((
                whole.resource_of(span.row).map(|row| whole.resource(row)),
                whole.scope_of(span.row).map(|row| whole.scope(row)),
                whole.span(span.row),
            ))
        }));
    }
    *spans = kept;
    Ok(())
}

fn found_span(whole: &Opened, row: u32, select: &[Field]) -> Option<FoundSpan> {
    let span = whole.span(row)?;
    let attribute = |field: &Field| {
        let scope = || {
            let row = whole.scope_of(row);
            row.map(|row| whole.scope(row)).unwrap_or_default()
        };
        let (place, key) = match field {
            Field::Attribute(place, key) => (place, key),
            Field::ScopeName => return Some(text("instrumentation:name", scope().name)),
            Field::ScopeVersion => return Some(text("instrumentation:version", scope().version)),
            field => return own_attribute(field, &span),
        };
        let of = |attributes: &[KeyValue<'_>]| {
            let found = attributes.iter().find(|attribute| attribute.key == **key);
            found.cloned().map(KeyValue::into_owned)
        };
        match place {
            Place::Span => of(&span.attributes),
            Place::Resource => of(&whole.resource(whole.resource_of(row)?).attributes),
            Place::Scope => of(&scope().attributes),
            Place::Event => span.events.iter().find_map(|event| of(&event.attributes)),
            Place::Link => span.links.iter().find_map(|link| of(&link.attributes)),
        }
    };
    Some(FoundSpan {
        id: span.id,
        name: span.name.clone().into_owned(),
        start_unix_nano: span.start_unix_nano,
        end_unix_nano: span.end_unix_nano,
        attributes: select.iter().filter_map(attribute).collect(),
    })
}

/// Fields that are no attributes, as Tempo lists them.
fn own_attribute(field: &Field, span: &Span<'_>) -> Option<KeyValue<'static>> {
    let (key, value): (_, Cow<'static, str>) = match field {
        Field::Status => {
            let status = match span.status.code {
                StatusCode::Unset => "unset",
                StatusCode::Ok => "ok",
                StatusCode::Error => "error",
            };
            ("status", status.into())
        }
        Field::StatusMessage => (
            "statusMessage",
            span.status.message.clone().into_owned().into(),
        ),
        Field::Kind => ("kind", span.kind.name().into()),
        Field::Name | Field::Duration | Field::ScopeName | Field::ScopeVersion => return None,
        Field::EventName => (
            "event:name",
            span.events.first()?.name.clone().into_owned().into(),
        ),
        Field::Attribute(..) => return None,
    };
    Some(text(key, value))
}

fn text(key: &'static str, value: Cow<'_, str>) -> KeyValue<'static> {
    KeyValue {
        key: key.into(),
        value: Value::String(value.into_owned().into()),
    }
}
