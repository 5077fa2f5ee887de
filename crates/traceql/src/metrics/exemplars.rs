//! A few spans that stand for the many which a chart is made of.

use super::{Series, Window};
use crate::ast::MetricsFunction;
use crate::value::Static;

/// A span that a series counted, so that a point of a chart leads to a trace.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exemplar {
    /// When the span started, in Unix nanoseconds.
    pub timestamp: u64,
    /// What the span holds in the unit of the series; where spans are only counted, the point of the series at that time.
    /// Never zero and never NaN.
    pub value: f64,
    /// Whatever names the span, e.g. `trace:id`.
    pub labels: Vec<(String, Static)>,
}

/// At most so many spans, spread over the time of the query, and over its series where several have spans at one time.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    /// Equal stretches of time.
    stretches: Vec<Vec<Chosen>>,
    /// How many spans each stretch has room for.
    room: usize,
    /// How many each series has.
    by_series: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) series: usize,
    pub(super) timestamp: u64,
    /// What was added to the series: for buckets the exponent.
    pub(super) number: f64,
    /// What the span holds, where the series tells more than how many spans there are.
    pub(super) value: Option<f64>,
    pub(super) labels: Vec<(String, Static)>,
}

impl Exemplars {
    pub(super) fn new(max: usize) -> Exemplars {
        let room = max.min(2);
        let stretches = max.checked_div(room).unwrap_or(0);
        Exemplars {
            stretches: (0..stretches).map(|_| Vec::new()).collect(),
            room,
            by_series: Vec::new(),
        }
    }

    /// Whether a span of this series would be chosen.
    pub(super) fn wants(&self, series: usize, timestamp: u64, window: Window) -> bool {
        let Some(stretch) = self.stretch(timestamp, window) else {
            return false;
        };
        let chosen = &self.stretches[stretch];
        chosen.len() < self.room || chosen.iter().any(|one| self.is_worth_less(one, series))
    }

    pub(super) fn add(&mut self, chosen: Chosen, window: Window) {
        let Some(stretch) = self.stretch(chosen.timestamp, window) else {
            return;
        };
        let others = &self.stretches[stretch];
        // Two spans of one trace lead to one place.
        if others.iter().any(|other| other.labels == chosen.labels) {
            return;
        }
        let worth_less = others
            .iter()
            .position(|other| self.is_worth_less(other, chosen.series));
        let at = match worth_less {
            _ if others.len() < self.room => None,
            None => return,
            at => at,
        };
        if self.by_series.len() <= chosen.series {
            self.by_series.resize(chosen.series + 1, 0);
        }
        self.by_series[chosen.series] += 1;
        let others = &mut self.stretches[stretch];
        match at {
            None => others.push(chosen),
            Some(at) => {
                self.by_series[others[at].series] -= 1;
                others[at] = chosen;
            }
        }
    }

    pub(super) fn into_chosen(self) -> impl Iterator<Item = Chosen> {
        self.stretches.into_iter().flatten()
    }

    /// A series that has two more than another one gives one up.
    fn is_worth_less(&self, chosen: &Chosen, series: usize) -> bool {
        let count = |series: usize| self.by_series.get(series).copied().unwrap_or(0);
        count(chosen.series) > count(series) + 1
    }

    fn stretch(&self, timestamp: u64, window: Window) -> Option<usize> {
        window.interval(timestamp)?;
        let starts = window.starts();
        let passed = (timestamp - starts.start()) as f64;
        let whole = (starts.end() - starts.start()) as f64 + 1.0;
        let stretch = (passed / whole * self.stretches.len() as f64) as usize;
        let last = self.stretches.len().checked_sub(1)?;
        Some(stretch.min(last))
    }
}

/// Gives each chosen span to one of the series that were made of its group.
pub(super) fn give(
    chosen: Chosen,
    function: &MetricsFunction,
    buckets: &[u32],
    window: Window,
    series: &mut [Series],
) {
    let Some(interval) = window.interval(chosen.timestamp) else {
        return;
    };
    let point = |series: &Series| series.values[interval];
    let index = match (function, chosen.value) {
        (MetricsFunction::HistogramOverTime(_), _) => {
            let is_its = |bucket: &u32| f64::from(*bucket) == chosen.number;
            buckets.iter().position(is_its)
        }
        // Several quantiles: that which is closest.
        (MetricsFunction::QuantileOverTime { .. }, Some(value)) => {
            let distance = |index: &usize| (point(&series[*index]) - value).abs();
            let indices = 0..series.len();
            indices.min_by(|a, b| distance(a).total_cmp(&distance(b)))
        }
        _ => Some(0),
    };
    if let Some(series) = index.and_then(|index| series.get_mut(index)) {
        let value = chosen.value.unwrap_or(point(series));
        if value != 0.0 && !value.is_nan() {
            series.exemplars.push(Exemplar {
                timestamp: chosen.timestamp,
                value,
                labels: chosen.labels,
            });
        }
    }
}
