//! How long the disk takes, for whoever wonders why requests or memory pile up.

use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;

/// In seconds: from what a fast disk takes for a page to what nobody waits for.
const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Copies count together.
#[derive(Clone, Debug)]
pub(crate) struct Timings {
    /// Until what was written to a file, or the names in the folder, were on the medium.
    pub(crate) fsync: Histogram,
    /// Until loose parts were merged and on the medium as a segment, whether that succeeded or not.
    pub(crate) seal: Histogram,
}

impl Timings {
    pub(super) fn new() -> Timings {
        Timings {
            fsync: Histogram::new(BOUNDS),
            seal: Histogram::new(BOUNDS),
        }
    }
}

/// Does something, and counts how long it took.
pub(super) fn timed<T>(histogram: &Histogram, what: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = what();
    histogram.observe(begun.elapsed().as_secs_f64());
    done
}
