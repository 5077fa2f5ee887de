//! What became of every span that the pipeline saw.

/// Counts of spans since the pipeline started. Only sampled spans are counted, since no other is exported.
///
/// A snapshot at any time satisfies `ended = exported + dropped.total() + pending`; after a shutdown nothing is pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accounts {
    /// Spans that began.
    pub started: u64,
    /// Spans that ended; those that began and did not end are open, or were never ended.
    pub ended: u64,
    /// Spans that the collector acknowledged.
    pub exported: u64,
    /// Spans that ended and will not arrive.
    pub dropped: Dropped,
    /// Spans that ended and are kept until the collector takes them.
    pub pending: u64,
}

/// Why spans were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// There was no room for them within [`Config::max_memory`](crate::Config::max_memory) or
    /// [`Config::max_queue_size`](crate::Config::max_queue_size).
    pub full: u64,
    /// A single span was larger than a request may be.
    pub oversized: u64,
    /// The collector took the request and rejected these of it (OTLP, "Partial Success").
    pub rejected: u64,
    /// The collector refused the request, and repeating it would not help.
    pub refused: u64,
    /// The collector could not be reached, or asked for patience, longer than [`Retry`](crate::Retry) allows.
    pub gave_up: u64,
    /// They ended after the shutdown.
    pub late: u64,
    /// The time for the shutdown was over before the collector had acknowledged them.
    pub unflushed: u64,
    /// The exporter's thread panicked while they were on their way. It goes on with the others.
    pub panicked: u64,
}

/// A reason that is over only when the collector has taken something.
pub(crate) const REFUSED: &str = "refused by the collector";

impl Dropped {
    /// All of them, whatever the reason.
    pub fn total(&self) -> u64 {
        self.reasons().iter().map(|(_, count)| count).sum()
    }

    /// Each reason in words, with its count.
    pub(crate) fn reasons(&self) -> [(&'static str, u64); 8] {
        [
            ("without room", self.full),
            ("too large for a request", self.oversized),
            ("rejected by the collector", self.rejected),
            (REFUSED, self.refused),
            ("given up after retries", self.gave_up),
            ("after the shutdown", self.late),
            (
                "unsent when the time for the shutdown was over",
                self.unflushed,
            ),
            ("lost by a panic of the exporter", self.panicked),
        ]
    }

    /// Those that came after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            full: self.full - earlier.full,
            oversized: self.oversized - earlier.oversized,
            rejected: self.rejected - earlier.rejected,
            refused: self.refused - earlier.refused,
            gave_up: self.gave_up - earlier.gave_up,
            late: self.late - earlier.late,
            unflushed: self.unflushed - earlier.unflushed,
            panicked: self.panicked - earlier.panicked,
        }
    }
}
