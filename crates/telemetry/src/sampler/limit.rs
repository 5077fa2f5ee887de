//! A bucket of tokens that a thousand requests at once can take from without a lock.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// How often the log says that the limit is reached, at most, in nanoseconds.
const QUIET: u64 = 60_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// Allows so many a second, and those of one second at once.
///
/// The generic cell rate algorithm: one number says until when tokens are spent.
pub(crate) struct Limit {
    per_second: f64,
    /// Nanoseconds between two tokens; nothing if there are none.
    interval: Option<u64>,
    /// Nanoseconds that may be spent in advance.
    burst: u64,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    spent_until: AtomicU64,
    refused: AtomicU64,
    quiet_until: AtomicU64,
}

impl Limit {
    pub(crate) fn new(per_second: f64) -> Self {
        let start = Instant::now();
        Self::with_clock(per_second, Box::new(move || start.elapsed()))
    }

    pub(crate) fn with_clock(
        per_second: f64,
        clock: Box<dyn Fn() -> Duration + Send + Sync>,
    ) -> Self {
        // `max` makes 0 of what is no number.
        let per_second = per_second.max(0.0);
        let interval = SECOND as f64 / per_second;
        // A century is as good as never, and far from where the numbers end.
        let interval = (interval < 3e18).then_some((interval as u64).max(1));
        Self {
            per_second,
            interval,
            burst: interval.unwrap_or_default().max(SECOND),
            clock,
            spent_until: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Takes a token, if there is one.
    pub(crate) fn allows(&self) -> bool {
        let now = (self.clock)().as_nanos() as u64;
        let take = |spent_until: u64| {
            let spent_until = spent_until.max(now) + self.interval?;
            (spent_until - now <= self.burst).then_some(spent_until)
        };
        let order = Ordering::Relaxed;
        let allows = self.spent_until.fetch_update(order, order, take).is_ok();
        if !allows {
            self.refuse(now);
        }
        allows
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn refuse(&self, now: u64) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let speak = |quiet_until: u64| (now >= quiet_until).then_some(now + QUIET);
        let order = Ordering::Relaxed;
        if self.quiet_until.fetch_update(order, order, speak).is_ok() {
            tracing::warn!(
                limit = self.per_second,
                refused,
                "callers demand more traces per second than TELEMETRY_REMOTE_TRACES_PER_SECOND allows"
            );
        }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("per_second", &self.per_second)
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}
