//! The traces of a part.

use std::{
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use super::{Array, Damaged, Part};
use crate::{
    span::TraceId,
    store::{integers::Integers, rows::Rows},
};

/// By what a trace is listed: its start, or its arrival if that is earlier or its start unknown,
/// so that a clock that is ahead does not keep a trace on top for ever.
pub(in crate::store) fn rank(start: u64, received: u64) -> u64 {
    match start {
        0 => received,
        start => start.min(received),
    }
}

/// When a trace was running: at its end if its start is unknown.
pub(super) fn time(start: u64, end: u64) -> RangeInclusive<u64> {
    match start {
        0 => end..=end,
        start => start..=end,
    }
}

impl Part {
    /// All that is known of the traces.
    pub(in crate::store) fn traces(&self) -> Result<Traces, Damaged> {
        Ok(Traces {
            ranked: self.ranked()?,
            ends: self.numbers(Array::TraceEnds)?,
            received_last: self.numbers(Array::TraceReceivedLast)?,
        })
    }

    /// The traces with their rows, and nothing else.
    pub(in crate::store) fn trace_rows(&self) -> Result<TraceRows, Damaged> {
        Ok(TraceRows {
            ids: self.ids16(Array::TraceIds)?,
            firsts: self.numbers(Array::TraceRows)?,
            spans: self.directory.spans(),
        })
    }

    /// The traces by what they are listed.
    pub(in crate::store) fn ranked(&self) -> Result<Ranked, Damaged> {
        Ok(Ranked {
            rows: self.trace_rows()?,
            starts: self.numbers(Array::TraceStarts)?,
            received: self.numbers(Array::TraceReceived)?,
        })
    }

    /// A trace by its number, without reading all the others.
    pub(in crate::store) fn one_trace(&self, trace: usize) -> Result<OneTrace, Damaged> {
        let missing = || self.damaged("a trace is missing");
        let number = u32::try_from(trace).map_err(|_| missing())?;
        if number >= self.directory.traces {
            return Err(missing());
        }
        let only = number..number + 1;
        let with_next = number..self.directory.traces.min(number + 2);
        let rows = self.array_rows(Array::TraceRows, &with_next)?;
        let spans = self.directory.spans();
        let row = |number: u32| {
            let row = rows.number(number).and_then(|row| u32::try_from(row).ok());
            row.map_or(spans, |row| row.min(spans))
        };
        let end = row(number + 1);
        let number_of = |array: Array| {
            let numbers = self.array_rows(array, &only)?;
            numbers.number(number).ok_or_else(missing)
        };
        let ids = self.array_rows(Array::TraceIds, &only)?;
        Ok(OneTrace {
            id: ids.id16(number).ok_or_else(missing)?,
            rows: row(number).min(end)..end,
            start: number_of(Array::TraceStarts)?,
            end: number_of(Array::TraceEnds)?,
            received: number_of(Array::TraceReceived)?..=number_of(Array::TraceReceivedLast)?,
        })
    }

    /// The number of a trace, if this part has spans of it.
    pub(in crate::store) fn find(&self, trace: TraceId) -> Result<Option<usize>, Damaged> {
        let ids = self.ids16(Array::TraceIds)?;
        Ok(position(&ids, trace.bytes()))
    }
}

/// Where an id is among ids that ascend.
///
/// Most ids are random, so the search begins where an id would be if all were spread evenly; from there it takes steps that
/// double, so that no ids make it slower than a bisection, but for a factor.
pub(in crate::store) fn position(ids: &[[u8; 16]], id: &[u8; 16]) -> Option<usize> {
    let (first, _) = id.split_first_chunk::<8>()?;
    let spread = u128::from(u64::from_be_bytes(*first)) * ids.len() as u128;
    let guess = usize::try_from(spread >> 64).ok()?;
    let mut step = 1;
    let range = match ids.get(guess)? < id {
        true => {
            let mut low = guess;
            while ids.get(low + step).is_some_and(|other| other < id) {
                low += step;
                step *= 2;
            }
            low..(low + step + 1).min(ids.len())
        }
        false => {
            let mut high = guess;
            while high > step && ids[high - step] > *id {
                high -= step;
                step *= 2;
            }
            high.saturating_sub(step)..high + 1
        }
    };
    let found = ids[range.clone()].binary_search(id).ok()?;
    Some(range.start + found)
}

/// The traces of a part, in the order of their ids, and where their spans are.
pub(in crate::store) struct TraceRows {
    pub(in crate::store) ids: Arc<Vec<[u8; 16]>>,
    firsts: Arc<Integers>,
    spans: u32,
}

impl TraceRows {
    /// The rows of its spans.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a page holds what the writer put there, and that were rows"
    )]
    pub(in crate::store) fn rows(&self, trace: usize) -> Range<u32> {
        let row = |trace: usize| self.firsts.get(trace).map(|row| row as u32);
        let end = row(trace + 1).unwrap_or(self.spans).min(self.spans);
        row(trace).unwrap_or(end).min(end)..end
    }

    /// Calls `each` with the numbers of the traces of these spans, ascending.
    pub(in crate::store) fn each_of(&self, spans: &Rows, mut each: impl FnMut(usize)) {
        let firsts = self.firsts.plain();
        let mut traces = 0..self.ids.len();
        let mut end_of_last = 0;
        for row in spans.iter().map(u64::from) {
            if row < end_of_last {
                continue;
            }
            let Some(trace) = traces.find(|trace| {
                let spans = u64::from(self.spans);
                end_of_last = firsts.get(trace + 1).map_or(spans, |end| spans.min(*end));
                end_of_last > row
            }) else {
                break;
            };
            each(trace);
        }
    }

    /// The trace of a span.
    pub(in crate::store) fn of(&self, row: u32) -> Option<TraceId> {
        let after = self.firsts.partition_point(|first| first <= u64::from(row));
        TraceId::new(*self.ids.get(after.checked_sub(1)?)?)
    }
}

/// The traces of a part, and by what each is listed.
pub(in crate::store) struct Ranked {
    pub(in crate::store) rows: TraceRows,
    starts: Arc<Integers>,
    received: Arc<Integers>,
}

impl Ranked {
    pub(in crate::store) fn rank(&self, trace: usize) -> u64 {
        rank(self.starts.at(trace), self.received.at(trace))
    }
}

/// The traces of a part.
pub(in crate::store) struct Traces {
    pub(in crate::store) ranked: Ranked,
    ends: Arc<Integers>,
    received_last: Arc<Integers>,
}

impl Traces {
    pub(in crate::store) fn ids(&self) -> &[[u8; 16]] {
        &self.ranked.rows.ids
    }

    /// The rows of its spans.
    pub(in crate::store) fn rows(&self, trace: usize) -> Range<u32> {
        self.ranked.rows.rows(trace)
    }

    /// From the earliest start to the latest end.
    pub(in crate::store) fn time(&self, trace: usize) -> RangeInclusive<u64> {
        time(self.ranked.starts.at(trace), self.ends.at(trace))
    }

    pub(in crate::store) fn received(&self, trace: usize) -> RangeInclusive<u64> {
        self.ranked.received.at(trace)..=self.received_last.at(trace)
    }

    pub(in crate::store) fn one(&self, trace: usize) -> OneTrace {
        OneTrace {
            id: self.ranked.rows.ids[trace],
            rows: self.rows(trace),
            start: self.ranked.starts.at(trace),
            end: self.ends.at(trace),
            received: self.received(trace),
        }
    }
}

/// A trace of a part.
pub(in crate::store) struct OneTrace {
    pub(in crate::store) id: [u8; 16],
    /// Of its spans.
    pub(in crate::store) rows: Range<u32>,
    /// The earliest start, 0 if none is known.
    pub(in crate::store) start: u64,
    end: u64,
    pub(in crate::store) received: RangeInclusive<u64>,
}

impl OneTrace {
    pub(in crate::store) fn rank(&self) -> u64 {
        rank(self.start, *self.received.start())
    }

    /// Whether it was running or received in the window.
    pub(in crate::store) fn is_in(&self, window: &RangeInclusive<u64>) -> bool {
        let overlap = |other: &RangeInclusive<u64>| {
            window.start() <= other.end() && other.start() <= window.end()
        };
        overlap(&time(self.start, self.end)) || overlap(&self.received)
    }
}
