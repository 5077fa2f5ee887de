//! When a request is sent again, and when not any more.
//!
//! Knows nothing of protocols: an attempt is anything that is settled or may be repeated.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Event, Outcome};
use crate::Retry;

/// The longest pause, whoever chose it: a collector or a setting may be absurd.
const LONGEST: Duration = Duration::from_secs(3600);

/// What one attempt came to.
#[derive(Debug)]
pub(super) enum Attempt {
    Settled(Outcome),
    /// It may be repeated, after the time that the collector asked for, if it did.
    Again {
        cause: String,
        asked: Option<Duration>,
    },
}

/// Repeats attempts, and remembers for how long the collector asked to be left alone.
#[derive(Debug)]
pub(super) struct Patience {
    retry: Retry,
    /// No request before this, of whichever spans.
    quiet_until: Option<Instant>,
}

impl Patience {
    pub(super) fn new(retry: Retry) -> Self {
        Self {
            retry,
            quiet_until: None,
        }
    }

    /// Makes attempts until one settles the matter, or none may follow.
    ///
    /// Gives up as soon as it is certain that no further attempt can begin in time, rather than
    /// keep spans waiting for nothing.
    pub(super) async fn settle(
        &mut self,
        mut attempt: impl AsyncFnMut() -> Attempt,
        told: &mut dyn FnMut(Event),
    ) -> Outcome {
        // What another request was told costs this one no time, let alone its spans: it was not tried yet.
        if let Some(until) = self.quiet_until {
            sleep_until(until).await;
            self.quiet_until = None;
        }
        let begun = Instant::now();
        // None is later than anyone waits.
        let deadline = begun.checked_add(self.retry.give_up_after);
        let late = |time: Instant| deadline.is_some_and(|deadline| time > deadline);
        let mut pause = self.retry.initial;
        let mut attempts = 0_u32;
        loop {
            let (cause, asked) = match attempt().await {
                Attempt::Settled(outcome) => return outcome,
                Attempt::Again { cause, asked } => (cause, asked),
            };
            attempts = attempts.saturating_add(1);
            let asked = asked.map(|asked| asked.min(LONGEST));
            let chosen = jittered(pause.min(self.retry.max).min(LONGEST));
            pause = pause.saturating_mul(2);
            let again_in = asked.map_or(chosen, |asked| asked.max(chosen));
            let now = Instant::now();
            // What the collector asked for binds the next request as well.
            self.quiet_until = asked.and_then(|asked| now.checked_add(asked));
            let Some(again_at) = now.checked_add(again_in).filter(|&time| !late(time)) else {
                let times = if attempts == 1 { "attempt" } else { "attempts" };
                let tried = now.saturating_duration_since(begun);
                let cause = format!("{cause} (gave up after {attempts} {times} in {tried:.1?})");
                return Outcome::GaveUp { cause };
            };
            told(Event::Failed { cause, again_in });
            sleep_until(again_at).await;
            self.quiet_until = None;
        }
    }
}

/// Between a half and all of it, so that many who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TAKEN: Outcome = Outcome::Accepted {
        rejected: 0,
        message: String::new(),
    };

    fn patience(initial: Duration, max: Duration, give_up_after: Duration) -> Patience {
        Patience::new(Retry {
            initial,
            max,
            give_up_after,
        })
    }

    fn again(asked: Option<Duration>) -> Attempt {
        let cause = "not now".to_owned();
        Attempt::Again { cause, asked }
    }

    /// The outcome, when each attempt began, and the pauses that were told.
    async fn settle(
        patience: &mut Patience,
        mut attempt: impl FnMut(usize) -> Attempt,
    ) -> (Outcome, Vec<Duration>, Vec<Duration>) {
        let begun = Instant::now();
        let (mut attempts, mut pauses) = (Vec::new(), Vec::new());
        let attempt = async || {
            attempts.push(begun.elapsed());
            attempt(attempts.len())
        };
        let mut told = |Event::Failed { again_in, .. }| pauses.push(again_in);
        let outcome = patience.settle(attempt, &mut told).await;
        (outcome, attempts, pauses)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_their_maximum() {
        let mut patience = patience(SECOND, 8 * SECOND, 1000 * SECOND);
        for _ in 0..100 {
            let (outcome, _, pauses) = settle(&mut patience, |n| match n {
                7 => Attempt::Settled(TAKEN),
                _ => again(None),
            })
            .await;
            assert_eq!(outcome, TAKEN);
            assert_eq!(pauses.len(), 6);
            for (pause, whole) in pauses.iter().zip([1, 2, 4, 8, 8, 8]) {
                let whole = whole * SECOND;
                assert!((whole / 2..=whole).contains(pause), "{pauses:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_differ_from_one_another() {
        let mut patience = patience(SECOND, SECOND, 1000 * SECOND);
        let (.., pauses) = settle(&mut patience, |n| match n {
            100 => Attempt::Settled(TAKEN),
            _ => again(None),
        })
        .await;
        let spread = *pauses.iter().max().unwrap() - *pauses.iter().min().unwrap();
        assert!(spread > SECOND / 4, "{spread:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_told_and_kept() {
        let mut patience = patience(SECOND, 8 * SECOND, 1000 * SECOND);
        let (_, attempts, pauses) = settle(&mut patience, |n| match n {
            5 => Attempt::Settled(TAKEN),
            _ => again(None),
        })
        .await;
        // The clock of the test counts in milliseconds and wakes nobody too early.
        for (i, pause) in pauses.iter().enumerate() {
            let waited = attempts[i + 1] - attempts[i];
            assert!(waited >= *pause && waited <= *pause + SECOND / 500);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_begins_after_the_time_to_give_up() {
        for give_up_after in [0, 1, 10, 100].map(|n| n * SECOND) {
            let mut patience = patience(SECOND, 8 * SECOND, give_up_after);
            let (outcome, attempts, pauses) = settle(&mut patience, |_| again(None)).await;
            let Outcome::GaveUp { cause } = outcome else {
                panic!("{outcome:?}");
            };
            assert!(cause.starts_with("not now (gave up after "), "{cause}");
            let last = attempts.last().unwrap();
            assert!(*last <= give_up_after, "{attempts:?}");
            assert!(*last + 8 * SECOND > give_up_after, "{attempts:?}");
            assert_eq!(pauses.len(), attempts.len() - 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_poisons_is_given_up() {
        // F11: a message too large is OUT_OF_RANGE to some collectors, which is to be repeated.
        let mut patience = Patience::new(Retry::default());
        let (outcome, attempts, _) = settle(&mut patience, |_| again(None)).await;
        assert!(matches!(outcome, Outcome::GaveUp { .. }));
        assert!((150..=310).contains(&attempts.len()), "{}", attempts.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_longer_pause_is_made_if_asked_for() {
        let mut patience = patience(SECOND, 2 * SECOND, 100 * SECOND);
        for (asked, told) in [(0, 0), (30, 30)] {
            let (_, _, pauses) = settle(&mut patience, |n| match n {
                1 => again(Some(asked * SECOND)),
                _ => Attempt::Settled(TAKEN),
            })
            .await;
            // Never shorter than its own: zero would be no pause at all.
            let told = told * SECOND;
            assert!((told.max(SECOND / 2)..=told.max(SECOND)).contains(&pauses[0]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_beyond_the_time_to_give_up_costs_one_request_and_is_kept_by_the_next() {
        let mut patience = patience(SECOND, SECOND, 100 * SECOND);
        let (outcome, attempts, _) = settle(&mut patience, |_| again(Some(150 * SECOND))).await;
        assert!(matches!(outcome, Outcome::GaveUp { .. }));
        assert_eq!(attempts, [Duration::ZERO]);
        // Dropped while it waits, as by a shutdown, a request leaves the pause as it is.
        let taken = |_| Attempt::Settled(TAKEN);
        let cut = timeout(60 * SECOND, settle(&mut patience, taken)).await;
        assert!(cut.is_err(), "{cut:?}");
        // The time to give up begins with the first attempt.
        let (outcome, attempts, _) = settle(&mut patience, |n| match n {
            20 => Attempt::Settled(TAKEN),
            _ => again(None),
        })
        .await;
        assert_eq!((outcome, attempts.len()), (TAKEN, 20));
        assert!(attempts[0] >= 89 * SECOND, "{attempts:?}");
        // Once it has passed it is forgotten.
        let (_, attempts, _) = settle(&mut patience, taken).await;
        assert_eq!(attempts, [Duration::ZERO]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_pause_is_cut_to_an_hour() {
        let mut patience = patience(SECOND, SECOND, Duration::MAX);
        for asked in [10 * 365 * 86400 * SECOND, Duration::MAX] {
            let (outcome, _, pauses) = settle(&mut patience, |n| match n {
                1 => again(Some(asked)),
                _ => Attempt::Settled(TAKEN),
            })
            .await;
            assert_eq!((outcome, &pauses[..]), (TAKEN, &[3600 * SECOND][..]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn absurd_settings_do_no_harm() {
        let mut patience = patience(Duration::MAX, Duration::MAX, Duration::MAX);
        let (outcome, _, pauses) = settle(&mut patience, |n| match n {
            3 => Attempt::Settled(TAKEN),
            _ => again(None),
        })
        .await;
        assert_eq!(outcome, TAKEN);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_causes_no_burst() {
        // A process that was stopped, or a machine that slept, wakes up with all its pauses over.
        let mut patience = patience(SECOND, SECOND, 1000 * SECOND);
        let mut attempts = 0;
        let attempt = async || {
            attempts += 1;
            tokio::time::advance(300 * SECOND).await;
            match attempts {
                3 => Attempt::Settled(TAKEN),
                _ => again(None),
            }
        };
        let mut pauses = Vec::new();
        let mut told = |Event::Failed { again_in, .. }| pauses.push(again_in);
        assert_eq!(patience.settle(attempt, &mut told).await, TAKEN);
        assert_eq!(pauses.len(), 2);
        assert!(pauses.iter().all(|pause| *pause >= SECOND / 2));
    }
}
