//! Looks at all traces that may matter, part by part, in no particular order.
//!
//! Traces whose spans are all in one part are looked at while that part is open, the others at the end: so a query holds
//! the columns of few parts at once, however many there are.

use std::{
    borrow::Cow, cell::Cell, cmp::Reverse, collections::BinaryHeap, ops::RangeInclusive, sync::Arc,
};

use super::{
    part::{Array, Damaged, Part},
    rows::Rows,
    scan,
    search::{Failed, is_outside, overlap, passes_whole},
    slice::{Inquiry, Reads, Slice},
};
use crate::{
    query::{Filter, Patience, Stopped, TraceFilter},
    span::TraceId,
};

/// Which traces are looked at, and what of them.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) filter: TraceFilter,
    /// Nanoseconds since the Unix epoch: only traces of which a part was running or received in it.
    pub(crate) window: RangeInclusive<u64>,
    pub(crate) reads: Reads,
    /// Traces that were too long to be looked at: counted here.
    pub(crate) left_out: Cell<usize>,
}

impl Survey {
    fn leave_out(&self) {
        self.left_out.set(self.left_out.get() + 1);
    }
}

/// How many traces are looked at before the clock is.
const TRACES_PER_CHECK: usize = 32;

/// Shows every trace that passes to `each`.
pub(super) fn survey(
    parts: &[Arc<Part>],
    survey: &Survey,
    patience: &Patience,
    mut each: impl FnMut(&Slice) -> Result<(), Stopped>,
) -> Result<(), Failed> {
    let mut inquiry = Inquiry::new(parts, &survey.filter, &survey.reads, patience);
    let scattered = Scattered::find(parts, patience)?;
    for (number, part) in parts.iter().enumerate() {
        patience.check()?;
        if is_outside(part, Some(&survey.window)) {
            continue;
        }
        let traces = part.traces()?;
        let mut looked_at = 0;
        for (trace, id) in traces.ids().iter().enumerate() {
            let at = (number, trace);
            let is_inside = overlap(&survey.window, &traces.time(trace))
                || overlap(&survey.window, &traces.received(trace));
            if !is_inside || scattered.has(at) {
                continue;
            }
            if let Some(id) = TraceId::new(*id)
                && passes_whole(&survey.filter, &mut inquiry, &[at], &[traces.one(trace)])?
            {
                looked_at += 1;
                if looked_at % TRACES_PER_CHECK == 0 {
                    patience.check()?;
                }
                match inquiry.slice(id, &[at])? {
                    Some(slice) => each(&slice)?,
                    None => survey.leave_out(),
                }
            }
        }
        inquiry.close(number);
    }
    // Those that are in the same parts one after the other.
    let mut traces: Vec<_> = scattered.traces().collect();
    let parts_of = |fragments: &'_ [(usize, usize)]| {
        fragments.iter().map(|(part, _)| *part).collect::<Vec<_>>()
    };
    traces.sort_by_cached_key(|(_, fragments)| parts_of(fragments));
    for (number, (id, fragments)) in traces.into_iter().enumerate() {
        if number % TRACES_PER_CHECK == 0 {
            patience.check()?;
        }
        let traces = inquiry.traces(fragments)?;
        let is_inside = traces.iter().any(|trace| trace.is_in(&survey.window));
        if let Some(id) = TraceId::new(id)
            && is_inside
            && passes_whole(&survey.filter, &mut inquiry, fragments, &traces)?
        {
            match inquiry.slice(id, fragments)? {
                Some(slice) => each(&slice)?,
                None => survey.leave_out(),
            }
        }
    }
    Ok(())
}

/// Traces that have spans in more than one part.
pub(super) struct Scattered {
    /// By part: which of its traces.
    in_part: Vec<Rows>,
    /// Each with the end of its fragments.
    traces: Vec<([u8; 16], usize)>,
    /// Numbers of parts and of the trace in them.
    fragments: Vec<(usize, usize)>,
}

impl Scattered {
    pub(super) fn find(parts: &[Arc<Part>], patience: &Patience) -> Result<Scattered, Failed> {
        let ids: Vec<_> = parts
            .iter()
            .map(|part| part.ids16(Array::TraceIds))
            .collect::<Result<_, Damaged>>()?;
        let none = |part: &Arc<Part>| Rows::none(part.directory.traces as usize);
        let mut scattered = Scattered {
            in_part: parts.iter().map(none).collect(),
            traces: Vec::new(),
            fragments: Vec::new(),
        };
        // The next trace of each part, the lowest id on top.
        let mut next: BinaryHeap<Reverse<([u8; 16], usize, usize)>> = (ids.iter().enumerate())
            .filter_map(|(part, ids)| Some(Reverse((*ids.first()?, part, 0))))
            .collect();
        let mut before: Option<([u8; 16], usize, usize)> = None;
        let mut steps = 0_usize;
        while let Some(mut top) = next.peek_mut() {
            let Reverse((id, part, trace)) = *top;
            match ids[part].get(trace + 1) {
                Some(following) => *top = Reverse((*following, part, trace + 1)),
                None => drop(std::collections::binary_heap::PeekMut::pop(top)),
            }
            match before {
                Some((same, first, first_trace)) if same == id => {
                    if scattered.traces.last().is_none_or(|(last, _)| *last != id) {
                        scattered.traces.push((id, 0));
                        scattered.push((first, first_trace));
                    }
                    scattered.push((part, trace));
                }
                _ => before = Some((id, part, trace)),
            }
            steps += 1;
            if steps.is_multiple_of(1 << 14) {
                patience.check()?;
            }
        }
        Ok(scattered)
    }

    fn push(&mut self, at: (usize, usize)) {
        self.fragments.push(at);
        self.in_part[at.0].insert(u32::try_from(at.1).unwrap_or(u32::MAX));
        if let Some((_, end)) = self.traces.last_mut() {
            *end = self.fragments.len();
        }
    }

    pub(super) fn has(&self, (part, trace): (usize, usize)) -> bool {
        u32::try_from(trace).is_ok_and(|trace| self.in_part[part].contains(trace))
    }

    /// Their ids, ascending, and fragments in the order of the parts.
    pub(super) fn traces(&self) -> impl Iterator<Item = ([u8; 16], &[(usize, usize)])> {
        let mut start = 0;
        self.traces.iter().map(move |(id, end)| {
            let fragments = &self.fragments[start..*end];
            start = *end;
            (*id, fragments)
        })
    }
}

/// Looks at one trace after the other, and puts spans of it into sets.
pub(crate) type Mark<'a> = dyn Fn(&Slice, &mut Marks) -> Result<(), Stopped> + 'a;

/// Which spans are counted: sets, numbered from 0.
pub(crate) enum Sets<'a> {
    /// Those that pass each of these filters.
    Passing(&'a [Filter]),
    /// So many, of what is found in whole traces.
    Marked(&'a Survey, usize, &'a Mark<'a>),
}

impl Sets<'_> {
    pub(super) fn find(
        &self,
        parts: &[Arc<Part>],
        patience: &Patience,
    ) -> Result<FoundSets<'_>, Failed> {
        Ok(match self {
            Sets::Passing(filters) => FoundSets::Passing(filters),
            Sets::Marked(traces, sets, mark) => {
                let mut marks = Marks::new(parts, *sets);
                survey(parts, traces, patience, |slice| mark(slice, &mut marks))?;
                FoundSets::Marks(marks)
            }
        })
    }
}

pub(super) enum FoundSets<'a> {
    /// Yet to be looked for in each part.
    Passing(&'a [Filter]),
    Marks(Marks),
}

impl FoundSets<'_> {
    /// The rows of a part that are in a set.
    pub(super) fn of(
        &self,
        set: usize,
        number: usize,
        part: &Part,
        patience: &Patience,
    ) -> Result<Cow<'_, Rows>, Failed> {
        match self {
            FoundSets::Passing(filters) => {
                Ok(Cow::Owned(scan::select(part, &filters[set], patience)?))
            }
            FoundSets::Marks(marks) => Ok(Cow::Borrowed(&marks.rows[set][number])),
        }
    }
}

/// Sets of spans, as their rows in each part.
pub(crate) struct Marks {
    /// By set, then by part.
    rows: Vec<Vec<Rows>>,
}

impl Marks {
    fn new(parts: &[Arc<Part>], sets: usize) -> Marks {
        let none = |part: &Arc<Part>| Rows::none(part.directory.spans() as usize);
        let none: Vec<Rows> = parts.iter().map(none).collect();
        Marks {
            rows: vec![none; sets],
        }
    }

    /// Puts a span of the trace that is looked at into a set.
    pub(crate) fn insert(&mut self, set: usize, slice: &Slice, span: usize) {
        let (part, row) = slice.row(span);
        if let Some(set) = self.rows.get_mut(set) {
            set[part].insert(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::store::part::position;

    #[test]
    fn ids_are_found_wherever_they_stand() {
        let id = |first: u64, last: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&first.to_be_bytes());
            id[8..].copy_from_slice(&last.to_be_bytes());
            id
        };
        let spread: Vec<_> = (0..100).map(|n| id(n * (u64::MAX / 100), n)).collect();
        let alike: Vec<_> = (1..100).map(|n| id(0, n * 3)).collect();
        let high: Vec<_> = (1..100).map(|n| id(u64::MAX, n * 3)).collect();
        let mixed = [&spread[..], &high[..]].concat();
        for ids in [&spread[..], &alike, &high, &mixed, &[], &alike[..1]] {
            for (number, wanted) in ids.iter().enumerate() {
                assert_eq!(position(ids, wanted), Some(number));
                let mut absent = *wanted;
                absent[15] ^= 1;
                let found = ids.binary_search(&absent).ok();
                assert_eq!(position(ids, &absent), found);
            }
            for absent in [[0; 16], [255; 16], [1; 16], id(u64::MAX, 1)] {
                assert_eq!(position(ids, &absent), ids.binary_search(&absent).ok());
            }
        }
        let (patience, _abandon) = Patience::until(Instant::now() + Duration::from_secs(60));
        assert!(Scattered::find(&[], &patience).unwrap().traces.is_empty());
    }
}
