//! What is left to chance in one request: durations and numbers, by the seed.

use std::{ops::RangeInclusive, time::Duration};

use rand::{RngExt, rngs::StdRng};
use tokio::time::sleep;

use crate::scenario::random;

/// One request's. What it draws does not depend on other requests, nor on how long anything really took.
#[derive(Debug)]
pub(crate) struct Chance {
    rng: StdRng,
    latency: f64,
}

impl Chance {
    pub(crate) fn new(seed: u64, number: u64, latency: f64) -> Self {
        Self {
            rng: random(seed, number, "request"),
            latency,
        }
    }

    pub(crate) fn number(&mut self, range: RangeInclusive<i64>) -> i64 {
        self.rng.random_range(range)
    }

    /// Works for so many milliseconds, times `--latency`.
    pub(crate) async fn work(&mut self, milliseconds: RangeInclusive<u64>) {
        sleep(self.duration(milliseconds)).await;
    }

    fn duration(&mut self, milliseconds: RangeInclusive<u64>) -> Duration {
        let range = milliseconds.start() * 1000..=milliseconds.end() * 1000;
        let whole = Duration::from_micros(self.rng.random_range(range));
        whole.mul_f64(self.latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_durations_again_and_each_request_has_its_own() {
        let draw = |seed, number, latency| {
            let mut chance = Chance::new(seed, number, latency);
            [(); 20].map(|()| chance.duration(10..=90))
        };
        let drawn = draw(1, 2, 1.0);
        assert_eq!(drawn, draw(1, 2, 1.0));
        assert_ne!(drawn, draw(1, 3, 1.0));
        assert_ne!(drawn, draw(2, 2, 1.0));
        let range = Duration::from_millis(10)..=Duration::from_millis(90);
        assert!(drawn.iter().all(|duration| range.contains(duration)));
        assert_eq!(draw(1, 2, 0.5), drawn.map(|duration| duration.mul_f64(0.5)));
    }
}
