//! Counts trace headers that are not believed.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use uber_trace_id::Rejected;

/// A header, or the headers of one format.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Header {
    TraceParent,
    TraceState,
    UberTraceId,
    B3,
    Baggage,
}

const HEADERS: [&str; 5] = [
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "b3",
    "baggage",
];
const REASONS: [&str; 8] = [
    "repeated", "length", "format", "version", "trace_id", "span_id", "flags", "other",
];

/// Of the process, as the headers are: propagators tell it by functions that know no more.
static COUNTS: [[AtomicU64; REASONS.len()]; HEADERS.len()] =
    [const { [const { AtomicU64::new(0) }; REASONS.len()] }; HEADERS.len()];

impl Header {
    pub(crate) fn count(self, why: Rejected) {
        let why = why.as_str();
        let why = REASONS.iter().position(|reason| *reason == why);
        let why = why.unwrap_or(REASONS.len() - 1);
        COUNTS[self as usize][why].fetch_add(1, Ordering::Relaxed);
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        if SPELL.begins(START.elapsed().as_secs()) {
            tracing::warn!(
                header = HEADERS[self as usize],
                kind = REASONS[why],
                "callers send trace headers that are not believed"
            );
        }
    }
}

/// Bad headers of the process, whichever they are.
static SPELL: Spell = Spell::new();

/// Seconds without a bad header, after which the next one is news again.
const OVER: u64 = 60;

/// A time in which there is one bad header after another: worth a line in the log when it begins.
#[derive(Debug)]
struct Spell {
    /// Second of the last one, counted from 1; 0 before the first.
    last: AtomicU64,
}

impl Spell {
    const fn new() -> Self {
        let last = AtomicU64::new(0);
        Self { last }
    }

    /// Whether one begins with the bad header of this second.
    fn begins(&self, second: u64) -> bool {
        let last = self.last.swap(second + 1, Ordering::Relaxed);
        last == 0 || second.saturating_sub(last - 1) >= OVER
    }
}

/// How many requests came to this process with trace headers that were not believed, and why, since it began.
///
/// Such a request begins a new trace, or has no baggage or no `tracestate`; it is served as any other. The log has a line
/// when this begins, after a minute without any: a stranger could fill a disk with one for each.
pub fn bad_contexts() -> BadContexts {
    BadContexts(
        COUNTS
            .each_ref()
            .map(|counts| counts.each_ref().map(|count| count.load(Ordering::Relaxed))),
    )
}

/// Trace headers that were not believed: see [`bad_contexts()`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BadContexts([[u64; REASONS.len()]; HEADERS.len()]);

/// A count of trace headers that were not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadContext {
    /// `traceparent`, `tracestate`, `uber-trace-id`, `baggage`, or `b3` for either form of it.
    pub header: &'static str,
    /// One of few lower-case words, e.g. `trace_id` or `repeated`.
    pub kind: &'static str,
    /// How many there were.
    pub count: u64,
}

impl BadContexts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.iter().map(|bad| bad.count).sum()
    }

    /// Those of one header and kind; none of what there is no such.
    pub fn of(&self, header: &str, kind: &str) -> u64 {
        let mut found = self
            .iter()
            .filter(|bad| bad.header == header && bad.kind == kind);
        found.next().map_or(0, |bad| bad.count)
    }

    /// Every header with every kind, at most 40, with or without a count.
    pub fn iter(&self) -> impl Iterator<Item = BadContext> + '_ {
        let headers = HEADERS.into_iter().zip(&self.0);
        headers.flat_map(|(header, counts)| {
            let counts = REASONS.into_iter().zip(counts);
            counts.map(move |(kind, count)| BadContext {
                header,
                kind,
                count: *count,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_of_bad_headers_begins_once_and_again_after_a_minute_without_any() {
        let spell = Spell::new();
        let begins: Vec<u64> = [0, 0, 59, 60, 118, 178, 178, 237, 300, 3600]
            .into_iter()
            .filter(|second| spell.begins(*second))
            .collect();
        assert_eq!(begins, [0, 178, 300, 3600]);
    }
}
