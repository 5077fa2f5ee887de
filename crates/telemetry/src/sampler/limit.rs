//! A bucket of tokens that a thousand requests at once can take from without a lock, and that no caller empties for the others.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// How often the log says that the limit is reached, at most, in nanoseconds.
const QUIET: u64 = 60_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A caller who takes no more than this part of all tokens may take those of one more second in advance.
const SHARE: u64 = 16;

/// How many callers are told apart. Of two that fall together each may be taken for the other.
const CALLERS: usize = 1024;

/// Allows so many a second, and those of one second at once; twice as many at once to callers who take little, so that there are
/// tokens for them while another one takes all that it gets. In the long run it is so many a second for all together.
///
/// The generic cell rate algorithm: one number says until when tokens are spent, of all and of each caller.
pub(crate) struct Limit {
    per_second: f64,
    /// Nanoseconds between two tokens; nothing if there are none.
    interval: Option<u64>,
    /// Nanoseconds that may be spent in advance.
    burst: u64,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    spent_until: AtomicU64,
    callers: Box<[AtomicU64]>,
    /// Decides where a caller is among them, which nobody outside can know.
    seed: u128,
    refused: AtomicU64,
    quiet_until: AtomicU64,
}

impl Limit {
    pub(crate) fn new(per_second: f64) -> Self {
        let start = Instant::now();
        let limit = Self::with_clock(per_second, Box::new(move || start.elapsed()));
        let random = RandomState::new();
        let seed = [0, 1].map(|half: u8| u128::from(random.hash_one(half)));
        Self {
            seed: seed[0] << 64 | seed[1],
            ..limit
        }
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
            callers: (0..CALLERS).map(|_| AtomicU64::new(0)).collect(),
            seed: 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835,
            refused: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Takes a token, if there is one for this caller.
    pub(crate) fn allows(&self, caller: Option<&str>) -> bool {
        let now = (self.clock)().as_nanos() as u64;
        let allows = self.interval.is_some_and(|interval| {
            let burst = match caller.is_some_and(|caller| self.takes_little(caller, now, interval))
            {
                true => self.burst.saturating_mul(2),
                false => self.burst,
            };
            take(&self.spent_until, now, interval, burst)
        });
        if !allows {
            self.refuse(now);
        }
        allows
    }

    /// Whether a caller keeps to its share.
    fn takes_little(&self, caller: &str, now: u64, interval: u64) -> bool {
        // The high bits of a product with an odd number depend on all bits.
        let place = network(caller).wrapping_mul(self.seed | 1) >> (u128::BITS - CALLERS.ilog2());
        let place = place as usize;
        let interval = interval.saturating_mul(SHARE);
        take(
            &self.callers[place],
            now,
            interval,
            self.burst.max(interval),
        )
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

/// Takes a token of a bucket, if there is one.
fn take(spent_until: &AtomicU64, now: u64, interval: u64, burst: u64) -> bool {
    let take = |spent_until: u64| {
        let spent_until = spent_until.max(now).saturating_add(interval);
        (spent_until - now <= burst).then_some(spent_until)
    };
    let order = Ordering::Relaxed;
    spent_until.fetch_update(order, order, take).is_ok()
}

/// Whose address it is, or 0. Of IPv6 a single customer has at least a /64.
fn network(caller: &str) -> u128 {
    match caller.parse() {
        Ok(IpAddr::V4(ip)) => ip.to_ipv6_mapped().to_bits(),
        Ok(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_some() => ip.to_bits(),
        Ok(IpAddr::V6(ip)) => ip.to_bits() >> 64,
        Err(_) => 0,
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
