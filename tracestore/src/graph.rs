//! Counts what spans tell of services and of the calls between them, so that a Prometheus which scrapes `/metrics`
//! gives Grafana its service map and its table of spans.
//!
//! Names, labels, buckets and rules are those of the metrics generator of Tempo 3.0.3 with its defaults:
//! <https://grafana.com/docs/tempo/latest/metrics-from-traces/>. Counts begin at 0 with the process: what is read
//! again from the store's log was counted when it came. Memory is bounded whatever strangers send, at about 15 MiB.
//! Knows nothing of how spans are kept, nor of who asks.

mod calls;
mod edges;
mod exposition;
mod halves;
mod series;
mod text;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hashbrown::DefaultHashBuilder;

pub(crate) use self::exposition::Snapshot;
use self::{
    calls::{Call, Calls, Example},
    edges::{Edges, Peers, Side},
    text::Service,
};
use crate::{ingest, span::Span, store::Batch};

/// A span that ended longer before it came, or claims to end longer after, tells nothing of the rates of now.
const SLACK: Duration = Duration::from_secs(30);

/// What was counted since the start.
pub(crate) struct Graph {
    hasher: DefaultHashBuilder,
    counts: Mutex<Counts>,
}

struct Counts {
    calls: Calls,
    edges: Edges,
    /// Spans that came too late or too early to be counted.
    skipped: u64,
}

/// What is counted of one span, as far as it can be told without looking at others.
struct Observed<'a> {
    call: Call<'a>,
    hash: u64,
    bytes: u64,
    example: Example,
    side: Option<Side<'a>>,
}

impl Graph {
    pub(crate) fn new() -> Graph {
        let hasher = DefaultHashBuilder::default();
        let now = Instant::now();
        Graph {
            counts: Mutex::new(Counts {
                calls: Calls::new(hasher.clone(), now),
                edges: Edges::new(hasher.clone(), now),
                skipped: 0,
            }),
            hasher,
        }
    }

    /// Counts the spans of a request that was kept.
    pub(crate) fn observe(&self, batches: &[Batch<'_>], received: SystemTime, now: Instant) {
        let services: Vec<Service<'_>> = (batches.iter())
            .map(|batch| Service::of(&batch.resource))
            .collect();
        let spans = batches.iter().map(|batch| batch.spans.len()).sum();
        let mut observed = Vec::with_capacity(spans);
        let mut skipped = 0;
        let ends = around(received);
        for (batch, service) in batches.iter().zip(&services) {
            // Most resources have none of what a span may have to say here.
            let of_resource = Peers::default().with(&batch.resource.attributes);
            for (trace, span) in &batch.spans {
                if !ends.contains(&span.end_unix_nano) {
                    skipped += 1;
                    continue;
                }
                let call = Call::new(service.name(), span);
                let seconds = seconds(span);
                observed.push(Observed {
                    hash: call.hash(&self.hasher),
                    call,
                    bytes: ingest::encoded_len(span) as u64,
                    example: Example {
                        trace: *trace,
                        span: span.id,
                        seconds,
                        end_unix_nano: span.end_unix_nano,
                    },
                    side: Side::of(*trace, span, seconds, service, &of_resource),
                });
            }
        }
        let mut counts = self.counts();
        counts.tidy(now);
        counts.skipped += skipped;
        for observed in observed {
            let Observed {
                call,
                hash,
                bytes,
                example,
                side,
            } = observed;
            counts.calls.count(call, hash, example, bytes, now);
            if let Some(side) = side {
                counts.edges.add(side, now);
            }
        }
    }

    /// What is known now. To a scraper, a series that no scraper has seen yet is shown as 0: only from then on can a
    /// rate tell that its first requests are an increase. Tempo writes a 0 before a new series for the same reason.
    pub(crate) fn snapshot(&self, is_scraper: bool, now: Instant) -> Snapshot {
        let mut counts = self.counts();
        counts.tidy(now);
        Snapshot {
            calls: counts.calls.series.snapshot(is_scraper),
            edges: counts.edges.series.snapshot(is_scraper),
            overflows: counts.calls.series.overflows() + counts.edges.series.overflows(),
            skipped: counts.skipped,
            half_edges: counts.edges.halves.len(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

impl Counts {
    fn tidy(&mut self, now: Instant) {
        self.edges.expire(now);
        self.calls.series.forget_stale(now);
        self.edges.series.forget_stale(now);
    }
}

/// When a span may have ended that was received then, in nanoseconds since the Unix epoch.
fn around(received: SystemTime) -> std::ops::RangeInclusive<u64> {
    let received = received.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    nanos(received.saturating_sub(SLACK))..=nanos(received.saturating_add(SLACK))
}

/// How long a span took; 0 if it ends before it begins.
fn seconds(span: &Span<'_>) -> f64 {
    let nanos = span.end_unix_nano.saturating_sub(span.start_unix_nano);
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests;
