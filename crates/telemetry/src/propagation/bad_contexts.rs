//! Counts trace headers that are not believed.

use std::sync::atomic::{AtomicU64, Ordering};

use uber_trace_id::Rejected;

/// A header, or the headers of one format.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Header {
    TraceParent,
    UberTraceId,
    B3,
    Baggage,
}

const HEADERS: [&str; 4] = ["traceparent", "uber-trace-id", "b3", "baggage"];
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
    }
}

/// How many requests came to this process with trace headers that were not believed, and why, since it began.
///
/// Such a request begins a new trace, or has no baggage; it is served as any other. Nothing is logged, since a stranger
/// could fill a disk with it.
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
    /// `traceparent`, `uber-trace-id`, `baggage`, or `b3` for either form of it.
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

    /// Every header with every kind, at most 32, with or without a count.
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
