//! What each interval of a series has added up to.

use crate::ast::{Intrinsic, MetricsFunction};
use crate::value::Value;

/// What is kept of the spans of one group.
#[derive(Debug)]
pub(super) enum Points {
    /// Zero where there is no span.
    Count(Vec<f64>),
    /// NaN where there is no span.
    Min(Vec<f64>),
    /// NaN where there is no span.
    Max(Vec<f64>),
    /// Of what, and how many.
    Sum(Vec<Sum>),
    /// Of what, and how many.
    Average(Vec<Sum>),
    /// How many spans are in each interval, by the exponent of the next power of two, and how many intervals there are. A
    /// bucket that no span is in may be empty.
    Buckets(Vec<Vec<f64>>, usize),
}

/// A sum that does not lose what is small beside it, after Neumaier.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    total: f64,
    lost: f64,
    count: f64,
}

impl Sum {
    fn add(&mut self, number: f64) {
        let total = self.total + number;
        if total.is_finite() {
            self.lost += if self.total.abs() >= number.abs() {
                (self.total - total) + number
            } else {
                (number - total) + self.total
            };
        } else {
            self.lost = 0.0;
        }
        self.total = total;
    }

    fn merge(&mut self, other: &Sum) {
        self.add(other.total);
        self.lost += other.lost;
        self.count += other.count;
    }

    /// NaN of nothing.
    fn total(&self) -> f64 {
        if self.count == 0.0 {
            f64::NAN
        } else {
            self.total + self.lost
        }
    }
}

impl Points {
    pub(super) fn new(function: &MetricsFunction, len: usize) -> Points {
        match function {
            MetricsFunction::Rate
            | MetricsFunction::CountOverTime
            | MetricsFunction::Compare { .. } => Points::Count(vec![0.0; len]),
            MetricsFunction::MinOverTime(_) => Points::Min(vec![f64::NAN; len]),
            MetricsFunction::MaxOverTime(_) => Points::Max(vec![f64::NAN; len]),
            MetricsFunction::SumOverTime(_) => Points::Sum(vec![Sum::default(); len]),
            MetricsFunction::AvgOverTime(_) => Points::Average(vec![Sum::default(); len]),
            MetricsFunction::QuantileOverTime { .. } | MetricsFunction::HistogramOverTime(_) => {
                Points::Buckets(Vec::new(), len)
            }
        }
    }

    /// A number, never NaN; for buckets the [`exponent`].
    #[inline]
    pub(super) fn add(&mut self, interval: usize, number: f64) {
        match self {
            Points::Count(counts) => counts[interval] += number,
            // These return the other operand if one is NaN.
            Points::Min(values) => values[interval] = values[interval].min(number),
            Points::Max(values) => values[interval] = values[interval].max(number),
            Points::Sum(sums) | Points::Average(sums) => {
                sums[interval].add(number);
                sums[interval].count += 1.0;
            }
            Points::Buckets(buckets, len) => {
                bucket(buckets, number as usize, *len)[interval] += 1.0;
            }
        }
    }

    /// Adds what the same kind of points of another part have.
    pub(super) fn merge(&mut self, other: &Points) {
        let add = |ours: &mut Vec<f64>, theirs: &Vec<f64>, merge: fn(f64, f64) -> f64| {
            let pairs = ours.iter_mut().zip(theirs);
            pairs.for_each(|(ours, theirs)| *ours = merge(*ours, *theirs));
        };
        match (self, other) {
            (Points::Count(ours), Points::Count(theirs)) => add(ours, theirs, |a, b| a + b),
            (Points::Min(ours), Points::Min(theirs)) => add(ours, theirs, f64::min),
            (Points::Max(ours), Points::Max(theirs)) => add(ours, theirs, f64::max),
            (Points::Sum(ours), Points::Sum(theirs))
            | (Points::Average(ours), Points::Average(theirs)) => {
                ours.iter_mut()
                    .zip(theirs)
                    .for_each(|(ours, theirs)| ours.merge(theirs));
            }
            (Points::Buckets(ours, len), Points::Buckets(theirs, _)) => {
                for (exponent, counts) in theirs.iter().enumerate() {
                    if !counts.is_empty() {
                        add(bucket(ours, exponent, *len), counts, |a, b| a + b);
                    }
                }
            }
            _ => {}
        }
    }

    /// A value for each interval, times a factor. Buckets have none.
    pub(super) fn values(self, factor: f64) -> Vec<f64> {
        match self {
            Points::Count(values) | Points::Min(values) | Points::Max(values) => {
                values.into_iter().map(|value| value * factor).collect()
            }
            Points::Sum(sums) => sums.iter().map(Sum::total).collect(),
            Points::Average(sums) => sums.iter().map(|sum| sum.total() / sum.count).collect(),
            Points::Buckets(..) => Vec::new(),
        }
    }

    /// Each bucket's exponent, upper bound and counts, ascending.
    pub(super) fn histogram(self, is_time: bool) -> Vec<(u32, f64, Vec<f64>)> {
        let Points::Buckets(buckets, _) = self else {
            return Vec::new();
        };
        let buckets = (0..).zip(buckets).filter(|(_, counts)| !counts.is_empty());
        buckets
            .map(|(exponent, counts)| (exponent, bound(exponent, is_time), counts))
            .collect()
    }

    /// The quantile of each interval; zero where there is no span.
    pub(super) fn quantile(&self, quantile: f64, is_time: bool) -> Vec<f64> {
        let Points::Buckets(buckets, len) = self else {
            return Vec::new();
        };
        let of_interval = |interval: usize| {
            let counts = (0..).zip(buckets).filter_map(|(exponent, counts)| {
                let count = *counts.get(interval)?;
                (count > 0.0).then_some((exponent, count))
            });
            let counts: Vec<(u32, f64)> = counts.collect();
            log2_quantile(quantile, &counts, is_time)
        };
        (0..*len).map(of_interval).collect()
    }
}

fn bucket(buckets: &mut Vec<Vec<f64>>, exponent: usize, len: usize) -> &mut Vec<f64> {
    if buckets.len() <= exponent {
        buckets.resize(exponent + 1, Vec::new());
    }
    let bucket = &mut buckets[exponent];
    if bucket.is_empty() {
        bucket.resize(len, 0.0);
    }
    bucket
}

/// The exponent of the power of two that a value is rounded up to; `None` for what no bucket takes: less than two, floats.
pub(super) fn exponent(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(int) | Value::Duration(int) => {
            let number = u64::try_from(int).ok().filter(|number| *number >= 2)?;
            Some(f64::from(64 - (number - 1).leading_zeros()))
        }
        Value::Several(items) => exponent(items.iter().next()?),
        _ => None,
    }
}

/// Whether buckets of this are given in seconds.
pub(super) fn is_time(intrinsic: Intrinsic) -> bool {
    matches!(
        intrinsic,
        Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart
    )
}

fn bound(exponent: u32, is_time: bool) -> f64 {
    let bound = 2_f64.powi(exponent as i32);
    if is_time { bound / 1e9 } else { bound }
}

/// The value below which this part of the spans is, assuming that within a bucket their logarithms are spread evenly.
///
/// `counts` are those of the buckets that have any, by ascending exponents.
fn log2_quantile(quantile: f64, counts: &[(u32, f64)], is_time: bool) -> f64 {
    let total: f64 = counts.iter().map(|(_, count)| count).sum();
    // Rounded up, so that few spans have quantiles too.
    let wanted = (quantile * total).ceil().max(1.0);
    let mut seen = 0.0;
    let mut below = None;
    for (exponent, count) in counts {
        let upper = bound(*exponent, is_time);
        if seen + count > wanted {
            let upper = upper.log2();
            let lower = below.map_or(upper - 1.0, f64::log2);
            return 2_f64.powf(lower + (upper - lower) * (wanted - seen) / count);
        }
        seen += count;
        if seen >= wanted {
            return upper;
        }
        below = Some(upper);
    }
    0.0
}
