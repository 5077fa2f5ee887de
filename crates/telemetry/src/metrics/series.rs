//! The series of a histogram: found without a copy of their labels, and never more than so many.

use std::{
    fmt,
    hash::BuildHasher,
    sync::{Arc, PoisonError, RwLock},
};

use hashbrown::{DefaultHashBuilder, HashTable};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        exemplar::HistogramWithExemplars,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Unit,
};

use crate::metrics::{
    Observation,
    labels::{Labels, SpanIds},
};

/// In seconds.
///
/// <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>, and the same for RPC.
const DURATIONS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The names of the histograms of bodies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    request: &'static str,
    response: &'static str,
}

impl Sizes {
    pub(super) const SERVER: Self = Self {
        request: "http_server_request_body_size",
        response: "http_server_response_body_size",
    };
    pub(super) const CLIENT: Self = Self {
        request: "http_client_request_body_size",
        response: "http_client_response_body_size",
    };
}

#[derive(Debug)]
pub(super) struct Series {
    name: &'static str,
    sizes: Option<Sizes>,
    max: usize,
    hasher: DefaultHashBuilder,
    /// Shared with whoever shows them, so that nobody who measures waits for that.
    table: RwLock<HashTable<Arc<One>>>,
    overflow: RwLock<Option<Arc<One>>>,
}

#[derive(Debug)]
struct One {
    labels: Labels<'static>,
    durations: HistogramWithExemplars<SpanIds>,
    /// Of bodies, those of requests first.
    sizes: Option<[Histogram; 2]>,
}

impl Series {
    pub(super) fn new(name: &'static str, max: usize, sizes: Option<Sizes>) -> Self {
        Self {
            name,
            sizes,
            max,
            hasher: DefaultHashBuilder::default(),
            table: RwLock::default(),
            overflow: RwLock::default(),
        }
    }

    pub(super) fn observe(&self, labels: &Labels<'_>, observation: &Observation<'_>) {
        let hash = self.hasher.hash_one(labels);
        {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(one) = table.find(hash, |one| one.labels.is(labels)) {
                return one.observe(observation);
            }
            if table.len() >= self.max {
                drop(table);
                return self.overflow().observe(observation);
            }
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = table.find(hash, |one| one.labels.is(labels)) {
            return one.observe(observation);
        }
        if table.len() >= self.max {
            drop(table);
            return self.overflow().observe(observation);
        }
        let one = Arc::new(One::new(labels.clone().into_owned(), self.sizes.is_some()));
        one.observe(observation);
        table.insert_unique(hash, one, |one| self.hasher.hash_one(&one.labels));
    }

    fn overflow(&self) -> Arc<One> {
        let read = self.overflow.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = &*read {
            return one.clone();
        }
        drop(read);
        let mut write = self
            .overflow
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(One::new(Labels::overflow(), self.sizes.is_some()));
        write.get_or_insert_with(new).clone()
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>, help: &str) -> fmt::Result {
        let mut all: Vec<Arc<One>> = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            table.iter().cloned().collect()
        };
        let overflow = self.overflow.read().unwrap_or_else(PoisonError::into_inner);
        all.extend(overflow.clone());
        drop(overflow);
        if all.is_empty() {
            return Ok(());
        }
        all.sort_unstable_by(|one, other| one.labels.cmp(&other.labels));
        let histogram = MetricType::Histogram;
        let mut family =
            encoder.encode_descriptor(self.name, help, Some(&Unit::Seconds), histogram)?;
        for one in &all {
            one.durations.encode(family.encode_family(&one.labels)?)?;
        }
        let Some(Sizes { request, response }) = self.sizes else {
            return Ok(());
        };
        for (name, help, which) in [
            (request, "Size of HTTP request bodies.", 0),
            (response, "Size of HTTP response bodies.", 1),
        ] {
            let mut family =
                encoder.encode_descriptor(name, help, Some(&Unit::Bytes), histogram)?;
            for one in &all {
                if let Some(sizes) = &one.sizes {
                    sizes[which].encode(family.encode_family(&one.labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl One {
    fn new(labels: Labels<'static>, sizes: bool) -> Self {
        // 256 B, 1 KiB, ... 64 MiB.
        let new = || Histogram::new(exponential_buckets(256.0, 4.0, 10));
        Self {
            labels,
            durations: HistogramWithExemplars::new(DURATIONS.into_iter()),
            sizes: sizes.then(|| [new(), new()]),
        }
    }

    fn observe(&self, observation: &Observation<'_>) {
        let span = observation.span;
        // A remote one is the caller's: there is none of this process where telemetry is switched off.
        let is_shown = span.is_sampled() && !span.is_remote();
        let exemplar = is_shown.then(|| SpanIds {
            trace: span.trace_id(),
            span: span.span_id(),
        });
        let seconds = observation.duration.as_secs_f64();
        self.durations
            .observe(seconds, exemplar, Some(observation.end));
        if let Some(sizes) = &self.sizes {
            for (histogram, size) in sizes.iter().zip(observation.sizes) {
                if let Some(size) = size {
                    histogram.observe(size as f64);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use opentelemetry::trace::SpanContext;
    use prometheus_client::{collector::Collector, registry::Registry};

    use super::*;

    #[derive(Debug)]
    struct Shown(Arc<Series>);

    impl Collector for Shown {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.encode(&mut encoder, "Durations.")
        }
    }

    fn count(text: &str, series: &str) -> u64 {
        let line = text.lines().find(|line| line.starts_with(series));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    #[test]
    fn a_million_routes_are_counted_and_fit_into_the_limit() {
        let series = Arc::new(Series::new("a", 100, None));
        let span = SpanContext::NONE;
        let observation = Observation {
            duration: Duration::from_millis(1),
            end: SystemTime::UNIX_EPOCH,
            span: &span,
            sizes: [None; 2],
        };
        std::thread::scope(|scope| {
            for half in 0..2 {
                let (series, observation) = (&series, &observation);
                scope.spawn(move || {
                    for route in 0..500_000 {
                        let target = format!("/{half}/{route}").into();
                        series.observe(
                            &Labels {
                                target,
                                ..Labels::default()
                            },
                            observation,
                        );
                    }
                });
            }
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Shown(series.clone())));
        let text = crate::metrics::text(&registry).unwrap();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("a_seconds_count"))
            .collect();
        assert_eq!(lines.len(), 101);
        assert_eq!(
            count(&text, "a_seconds_count{otel_metric_overflow=\"true\"}"),
            999_900
        );
        let total: u64 = lines.iter().map(|line| count(line, "")).sum();
        assert_eq!(total, 1_000_000);

        let known = series
            .table
            .read()
            .unwrap()
            .iter()
            .next()
            .unwrap()
            .labels
            .clone();
        series.observe(&known, &observation);
        let text = crate::metrics::text(&registry).unwrap();
        assert_eq!(
            count(&text, "a_seconds_count{otel_metric_overflow=\"true\"}"),
            999_900
        );
    }
}
