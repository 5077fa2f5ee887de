//! Finds traces over all parts, the newest first.
//!
//! The answer does not depend on how spans are spread over parts, but for a window of time, which is
//! held against each fragment of a trace.

use std::{
    cell::Cell,
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    describe::describe,
    part::{Array, Damaged, OneTrace, Part, rank},
    rows::Rows,
    slice::{Inquiry, Judge, Reads, Selected},
    summary::Summary,
};
use crate::{
    query::{MAX_ANSWER_BYTES, Patience, Search, SpanSet, Stopped, TraceFilter},
    span::TraceId,
};

/// A trace that was searched for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) summary: Summary,
    /// Never none.
    pub(crate) sets: Vec<SpanSet>,
}

impl Found {
    /// About what it takes in an answer.
    fn bytes(&self) -> usize {
        let services = self.summary.services.keys();
        let services = services.map(|name| 64 + name.len()).sum::<usize>();
        256 + services + self.sets.iter().map(SpanSet::bytes).sum::<usize>()
    }
}

/// Hears of traces that are sure to be in the answer, while the rest of it is still looked for.
pub(crate) struct Early<'a> {
    every: Duration,
    last: Cell<Instant>,
    tell: &'a dyn Fn(Vec<Found>),
}

impl<'a> Early<'a> {
    /// `tell` gets those that it was not told of yet. If a part turns out to be damaged, the search begins anew, and so does
    /// what is told.
    pub(crate) fn every(every: Duration, tell: &'a dyn Fn(Vec<Found>)) -> Early<'a> {
        Early {
            every,
            last: Cell::new(Instant::now()),
            tell,
        }
    }

    fn is_due(&self) -> bool {
        self.last.get().elapsed() >= self.every
    }
}

/// Why a query has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(
        "the answer would take more than {} MiB: ask for fewer traces (`limit`), fewer spans of each (`spss`) or fewer attributes",
        MAX_ANSWER_BYTES >> 20
    )]
    TooLarge,
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

/// Filters of which every trace that passes has a span that passes one of them: those with few rows, by `counts`. Every
/// filter takes its own number from `next`.
fn cover(filter: &TraceFilter, counts: &[usize], next: &mut usize) -> Vec<usize> {
    match filter {
        TraceFilter::Some(_) => {
            *next += 1;
            vec![*next - 1]
        }
        TraceFilter::Or(any) => any
            .iter()
            .flat_map(|filter| cover(filter, counts, next))
            .collect(),
        TraceFilter::And(all) => {
            let each = all.iter().map(|filter| cover(filter, counts, next));
            let rows =
                |cover: &Vec<usize>| cover.iter().map(|number| counts[*number]).sum::<usize>();
            each.collect::<Vec<_>>()
                .into_iter()
                .min_by_key(rows)
                .unwrap_or_default()
        }
    }
}

/// Traces of which any span passes, the newest first by their start, and by id where that is
/// equal.
pub(super) fn search(
    parts: &[Arc<Part>],
    search: &Search,
    judge: Option<&Judge<'_>>,
    early: Option<&Early<'_>>,
    patience: &Patience,
) -> Result<Vec<Found>, Failed> {
    if search.limit == 0 {
        return Ok(Vec::new());
    }
    let nothing = Reads::default();
    let reads = judge.map_or(&nothing, |judge| &judge.reads);
    let mut inquiry = Inquiry::new(parts, &search.filter, reads, patience);
    let mut by_newest: Vec<usize> = (0..parts.len()).collect();
    by_newest.sort_by_key(|part| Reverse(parts[*part].directory.summary.newest));
    // The filters whose spans lead to traces: the same in all parts, chosen by what the first of them has.
    let mut leading: Option<Vec<usize>> = None;
    let mut candidates: BinaryHeap<Candidate> = BinaryHeap::new();
    let mut seen: HashSet<[u8; 16], hashbrown::DefaultHashBuilder> = HashSet::default();
    let mut best = Best {
        limit: search.limit,
        ranked: Vec::new(),
        worst: BinaryHeap::new(),
        bytes: 0,
    };
    // Candidates in the order of their ranks, to be looked at together.
    let mut batch: Vec<TraceId> = Vec::new();
    let mut batch_len = match judge {
        Some(_) => FIRST_BATCH,
        None => 1,
    };
    let mut unread = by_newest.into_iter().peekable();
    let mut told: HashSet<TraceId> = HashSet::new();
    loop {
        // Parts whose newest trace comes before the next candidate are to be read first.
        let next_rank = candidates.peek().map(|candidate| candidate.rank);
        if let Some(number) = unread.peek()
            && let part = &parts[*number]
            && let newest = part.directory.summary.newest
            && next_rank.is_none_or(|rank| newest >= rank)
        {
            patience.check()?;
            if best
                .worst_of_enough()
                .is_some_and(|(Reverse(worst), _)| *worst > newest)
            {
                break;
            }
            if !is_outside(part, search.window.as_ref()) {
                let selected = inquiry.selected(*number)?;
                let leading = leading.get_or_insert_with(|| {
                    let counts: Vec<_> = selected.each.iter().map(|rows| rows.count()).collect();
                    cover(&search.filter, &counts, &mut 0)
                });
                let rows = any_of(&selected, leading);
                // The spans of a trace that pass and those in the window may be in different parts.
                let window = match leading.len() == selected.wanted() {
                    true => search.window.as_ref(),
                    false => None,
                };
                candidates.extend(traces_of(part, &rows, window)?);
            }
            unread.next();
            continue;
        }
        let Some(candidate) = candidates.pop() else {
            break;
        };
        let Reverse(id) = candidate.id;
        let at_best = (Reverse(candidate.rank), id);
        if best.worst_of_enough().is_some_and(|worst| *worst < at_best) {
            break;
        }
        if !seen.insert(id) {
            continue;
        }
        batch.extend(TraceId::new(id));
        if batch.len() >= batch_len {
            look_at(&batch, search, judge, &mut inquiry, &mut best, patience)?;
            batch.clear();
            if let Some(early) = early
                && early.is_due()
            {
                let next = candidates.peek().map_or(0, |candidate| candidate.rank);
                let newest = |number: &usize| parts[*number].directory.summary.newest;
                let next = next.max(unread.peek().map_or(0, newest));
                let settled = best.settled(next).to_vec();
                let mut found = Vec::new();
                for (_, id, fragments, sets) in settled {
                    patience.check()?;
                    if told.insert(id) {
                        found.push(describe(parts, search, &mut inquiry, id, &fragments, sets)?);
                    }
                }
                if !found.is_empty() {
                    (early.tell)(found);
                }
                early.last.set(Instant::now());
            }
            if judge.is_some() {
                batch_len *= 2;
            }
        }
    }
    look_at(&batch, search, judge, &mut inquiry, &mut best, patience)?;
    best.keep_best();
    let mut all = Vec::with_capacity(best.ranked.len());
    let mut bytes = 0;
    for (_, id, fragments, sets) in best.ranked {
        patience.check()?;
        let found = describe(parts, search, &mut inquiry, id, &fragments, sets)?;
        bytes += found.bytes();
        if bytes > MAX_ANSWER_BYTES {
            return Err(Failed::TooLarge);
        }
        all.push(found);
    }
    Ok(all)
}

/// How many candidates are judged together at first. As long as too few traces are found, twice as many are the next time:
/// together those of one part are judged, and it is opened only so often.
const FIRST_BATCH: usize = 32;

/// So many rows of a part lead to their traces one by one; for more all traces are read.
const MAX_SINGLE: usize = 8;

/// The traces that were found.
struct Best {
    limit: usize,
    ranked: Vec<Ranked>,
    /// The best of them, at most `limit`, the worst on top.
    worst: BinaryHeap<(Reverse<u64>, [u8; 16])>,
    /// What was found in all that are ranked takes about so many bytes.
    bytes: usize,
}

impl Best {
    /// What a trace must be better than; `None` as long as there are too few.
    fn worst_of_enough(&self) -> Option<&(Reverse<u64>, [u8; 16])> {
        let has_enough = self.worst.len() >= self.limit;
        self.worst.peek().filter(|_| has_enough)
    }

    fn push(&mut self, ranked: Ranked) -> Result<(), Failed> {
        let (rank, id, ..) = &ranked;
        self.worst.push((*rank, *id.bytes()));
        if self.worst.len() > self.limit {
            self.worst.pop();
        }
        self.bytes += bytes_of(&ranked);
        self.ranked.push(ranked);
        if self.ranked.len() / 2 > self.limit.max(FIRST_BATCH) || self.bytes > MAX_ANSWER_BYTES {
            self.keep_best();
        }
        match self.bytes > MAX_ANSWER_BYTES {
            true => Err(Failed::TooLarge),
            false => Ok(()),
        }
    }

    /// Those before which no trace of this rank or of a lower one can come.
    fn settled(&mut self, rank: u64) -> &[Ranked] {
        self.keep_best();
        let settled = self
            .ranked
            .partition_point(|(Reverse(other), ..)| *other > rank);
        &self.ranked[..settled]
    }

    fn keep_best(&mut self) {
        (self.ranked).sort_unstable_by_key(|(rank, id, ..)| (*rank, *id));
        self.ranked.truncate(self.limit);
        self.bytes = self.ranked.iter().map(bytes_of).sum();
    }
}

fn bytes_of((_, _, _, sets): &Ranked) -> usize {
    sets.iter().flatten().map(SpanSet::bytes).sum()
}

/// Adds those of the candidates that pass whole.
fn look_at(
    batch: &[TraceId],
    search: &Search,
    judge: Option<&Judge<'_>>,
    inquiry: &mut Inquiry<'_>,
    best: &mut Best,
    patience: &Patience,
) -> Result<(), Failed> {
    let mut whole = Vec::with_capacity(batch.len());
    for id in batch {
        patience.check()?;
        whole.push((inquiry.find(*id)?, *id));
    }
    if batch.len() > 1 {
        whole.sort_unstable();
    }
    inquiry.expect(whole.iter().map(|(fragments, _)| &fragments[..]));
    for (fragments, id) in whole {
        patience.check()?;
        let traces = inquiry.traces(&fragments)?;
        // A candidate passes the only filter.
        if !matches!(search.filter, TraceFilter::Some(_))
            && !passes_whole(&search.filter, inquiry, &fragments, &traces)?
        {
            continue;
        }
        let mut is_inside = search.window.is_none();
        let (mut start, mut received) = (0, u64::MAX);
        for trace in traces {
            start = match (start, trace.start) {
                (0, known) | (known, 0) => known,
                (a, b) => a.min(b),
            };
            received = received.min(*trace.received.start());
            is_inside |= (search.window.as_ref()).is_some_and(|window| trace.is_in(window));
        }
        if !is_inside {
            continue;
        }
        let mut sets = None;
        if let Some(judge) = judge {
            let Some(slice) = inquiry.slice(id, &fragments)? else {
                continue;
            };
            let found = (judge.look)(&slice)?;
            if found.is_empty() {
                continue;
            }
            sets = Some(found);
        }
        best.push((Reverse(rank(start, received)), id, fragments, sets))?;
    }
    Ok(())
}

/// Whether no trace of a part was running or received in the window.
pub(super) fn is_outside(part: &Part, window: Option<&RangeInclusive<u64>>) -> bool {
    let summary = &part.directory.summary;
    window.is_some_and(|window| {
        !overlap(window, &summary.time) && !overlap(window, &summary.received)
    })
}

/// The rows that pass any of these filters.
fn any_of(selected: &Selected, filters: &[usize]) -> Rows {
    let mut each = filters.iter().map(|filter| &selected.each[*filter]);
    let mut rows = each.next().map_or(Rows::none(0), |rows| (**rows).clone());
    each.for_each(|more| rows.or(more));
    rows
}

/// Whether a trace passes the filters with the spans of all its fragments: numbers of parts and of the trace in them, and
/// what it is there.
pub(super) fn passes_whole(
    filter: &TraceFilter,
    inquiry: &mut Inquiry<'_>,
    fragments: &[(usize, usize)],
    traces: &[OneTrace],
) -> Result<bool, Failed> {
    let mut has: Vec<bool> = Vec::new();
    for ((part, _), OneTrace { rows, .. }) in fragments.iter().zip(traces) {
        let selected = inquiry.selected(*part)?;
        has.resize(selected.wanted(), false);
        for (has, each) in has.iter_mut().zip(&selected.each) {
            *has |= each.has_any(rows);
        }
    }
    Ok(passes(filter, &mut has.into_iter()))
}

/// The traces of the rows that were running or received in the window.
fn traces_of(
    part: &Part,
    rows: &Rows,
    window: Option<&RangeInclusive<u64>>,
) -> Result<Vec<Candidate>, Damaged> {
    let mut found = Vec::new();
    if rows.is_empty() {
        return Ok(found);
    }
    // Where all that a part received is in the window, nothing of it is outside.
    let received = &part.directory.summary.received;
    let window = window
        .filter(|window| !(window.contains(received.start()) && window.contains(received.end())));
    let is_inside = |trace: &OneTrace| window.is_none_or(|window| trace.is_in(window));
    let candidate = |rank: u64, id: [u8; 16]| Candidate {
        rank,
        id: Reverse(id),
    };
    if rows.count() <= MAX_SINGLE {
        let firsts = part.numbers(Array::TraceRows)?;
        let mut numbers: Vec<usize> = (rows.iter())
            .filter_map(|row| {
                let after = firsts.partition_point(|first| first <= u64::from(row));
                after.checked_sub(1)
            })
            .collect();
        numbers.dedup();
        for number in numbers {
            let trace = part.one_trace(number)?;
            if is_inside(&trace) {
                found.push(candidate(trace.rank(), trace.id));
            }
        }
        return Ok(found);
    }
    if window.is_none() {
        let traces = part.ranked()?;
        let rank = |trace| candidate(traces.rank(trace), traces.rows.ids[trace]);
        (traces.rows).each_of(rows, |trace| found.push(rank(trace)));
        return Ok(found);
    }
    let traces = part.traces()?;
    traces.ranked.rows.each_of(rows, |trace| {
        let trace = traces.one(trace);
        if is_inside(&trace) {
            found.push(candidate(trace.rank(), trace.id));
        }
    });
    Ok(found)
}

pub(super) fn overlap(a: &RangeInclusive<u64>, b: &RangeInclusive<u64>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}
