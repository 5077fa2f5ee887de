//! Queries in TraceQL, each with the number of traces that it must find.

use std::time::Duration;

use crate::request::Done;

/// An attribute of the resource that tells one run from others.
pub(crate) const RUN: &str = "playground.run";

/// What a trace can be found by. Each name stands beside the query, and beside each trace that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Traces,
    Errors,
    Failed,
    Retried,
    Survived,
    Slow,
    Database,
}

pub(crate) const MARKS: [Mark; 7] = [
    Mark::Traces,
    Mark::Errors,
    Mark::Failed,
    Mark::Retried,
    Mark::Survived,
    Mark::Slow,
    Mark::Database,
];

impl Mark {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Errors => "errors",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::Survived => "survived",
            Self::Slow => "slow",
            Self::Database => "database",
        }
    }

    /// Whether a trace has it, where `slow` is what takes longer.
    pub(crate) fn is_of(self, done: &Done, slow: Duration) -> bool {
        match self {
            Self::Traces => true,
            Self::Errors => done.has_errors(),
            Self::Failed => done.failed(),
            Self::Retried => done.resent > 0,
            Self::Survived => done.has_errors() && !done.failed(),
            Self::Slow => done.took > slow,
            Self::Database => done.uses_database(),
        }
    }

    pub(crate) fn query(self, run: &str, slow: Duration) -> String {
        let run = format!("resource.{RUN} = \"{run}\"");
        match self {
            Self::Traces => format!("{{ {run} }}"),
            Self::Errors => format!("{{ {run} && status = error }}"),
            Self::Failed => format!("{{ {run} && kind = server && status = error }}"),
            Self::Retried => format!("{{ {run} && span.http.request.resend_count > 0 }}"),
            Self::Survived => {
                format!("{{ {run} && kind = server && status != error }} >> {{ status = error }}")
            }
            Self::Slow => format!("{{ {run} && trace:duration > {slow:?} }}"),
            Self::Database => format!("{{ {run} && name =~ \"database.*\" }}"),
        }
    }
}

/// Limits between slow and not, of which one is used that no request came close to: how long a trace has taken is measured
/// here and in the store, which may differ by a little.
#[derive(Debug)]
pub(crate) struct Limits {
    limits: [Limit; 5],
    longest: Duration,
}

#[derive(Debug)]
struct Limit {
    at: Duration,
    slow: u64,
    nearest: Duration,
}

/// Further than this the two do not differ.
const CLOSE: Duration = Duration::from_millis(5);

impl Limits {
    /// A second, or the share of it that `--latency` makes of one.
    pub(crate) fn new(latency: f64) -> Self {
        let limit = |percent: f64| Limit {
            // In whole milliseconds, as one would write it.
            at: Duration::from_millis((percent * 10.0 * latency).round().max(1.0) as u64),
            slow: 0,
            nearest: Duration::MAX,
        };
        Self {
            limits: [100.0, 95.0, 105.0, 90.0, 110.0].map(limit),
            longest: Duration::ZERO,
        }
    }

    pub(crate) fn add(&mut self, took: Duration) {
        self.longest = self.longest.max(took);
        for limit in &mut self.limits {
            limit.slow += u64::from(took > limit.at);
            limit.nearest = limit.nearest.min(took.abs_diff(limit.at));
        }
    }

    /// The limit, and how many took longer. Where requests came close to all of them, one beyond the longest, which finds nothing.
    pub(crate) fn best(&self) -> (Duration, u64) {
        let far = self.limits.iter().find(|limit| limit.nearest > CLOSE);
        let beyond = || Duration::from_millis((self.longest + 2 * CLOSE).as_millis() as u64);
        far.map_or_else(|| (beyond(), 0), |limit| (limit.at, limit.slow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_one_that_nothing_came_close_to() {
        let milliseconds = Duration::from_millis;
        let mut limits = Limits::new(1.0);
        limits.add(milliseconds(500));
        limits.add(milliseconds(1500));
        assert_eq!(limits.best(), (milliseconds(1000), 1));
        limits.add(milliseconds(1002));
        assert_eq!(limits.best(), (milliseconds(950), 2));
        limits.add(milliseconds(949));
        assert_eq!(limits.best(), (milliseconds(1050), 1));
        let query = Mark::Slow.query("7f", limits.best().0);
        let text = r#"{ resource.playground.run = "7f" && trace:duration > 1.05s }"#;
        assert_eq!(query, text);
    }

    #[test]
    fn where_all_limits_are_close_to_a_request_nothing_counts_as_slow() {
        let mut limits = Limits::new(0.0);
        for micros in [300, 2_500, 17_200] {
            limits.add(Duration::from_micros(micros));
        }
        let (limit, slow) = limits.best();
        assert_eq!((limit, slow), (Duration::from_millis(27), 0));
        let query = Mark::Slow.query("7f", limit);
        assert!(query.contains("trace:duration > 27ms"), "{query}");
    }
}
