//! Series of metrics queries: which interval a span falls into, and what the intervals add up to.
//!
//! A store finds spans and feeds an [`Aggregator`], or a [`Contrast`] for `compare()`, with when they started and what
//! they hold. Parts of a store may have one each, which are merged at the end. Nothing here looks at traces.

mod contrast;
mod exemplars;
mod points;
mod second_stage;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;

use crate::ast::{Field, Intrinsic, Metrics, MetricsFunction};
use crate::value::{Key, Static, Value};
pub use contrast::Contrast;
pub use exemplars::Exemplar;
use exemplars::{Chosen, Exemplars};
use points::Points;

/// The intervals of a metrics query. Times are Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Aligned. A span that starts just then is too early.
    start: u64,
    /// Aligned. A span that starts just then still counts.
    end: u64,
    step: u64,
}

impl Window {
    /// Intervals of one step, from a multiple of it to a multiple of it, that cover the query's time and one step before.
    ///
    /// `None` if the end is not after the start or the step is zero. How many intervals there are is for the caller to
    /// limit: a series takes 8 bytes or more for each.
    pub fn range(start: u64, end: u64, step: u64) -> Option<Window> {
        if start >= end || step == 0 {
            return None;
        }
        let aligned = start - start % step;
        Some(Window {
            start: if aligned > step {
                aligned - step
            } else {
                aligned
            },
            end: end.checked_next_multiple_of(step)?,
            step,
        })
    }

    /// One interval, for a query of a single value. `None` if the end is not after the start.
    pub fn instant(start: u64, end: u64) -> Option<Window> {
        let step = end.checked_sub(start).filter(|step| *step > 0)?;
        Some(Window { start, end, step })
    }

    /// The step that Tempo takes if a query names none, in nanoseconds: about 240 intervals, of at least 50 ms if the
    /// query is about less than a minute, else of at least 1 s.
    pub fn default_step(start: u64, end: u64) -> u64 {
        const MILLISECOND: u64 = 1_000_000;
        const SECOND: u64 = 1000 * MILLISECOND;
        let delta = end.saturating_sub(start);
        let step = delta / 240;
        let units = if delta < 60 * SECOND {
            &[50 * MILLISECOND][..]
        } else {
            &[3600, 300, 60, 15, 5, 1].map(|seconds| seconds * SECOND)
        };
        let unit = units.iter().find(|unit| step > **unit);
        unit.map_or(units[units.len() - 1], |unit| step / unit * unit)
    }

    /// How many intervals there are, at least one.
    pub fn len(&self) -> usize {
        usize::try_from((self.end - self.start) / self.step).unwrap_or(usize::MAX)
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the spans start that count.
    pub fn starts(&self) -> RangeInclusive<u64> {
        self.start.saturating_add(1)..=self.end
    }

    /// The interval of a span that starts then: an interval ends with its last nanosecond.
    #[inline]
    pub fn interval(&self, timestamp: u64) -> Option<usize> {
        if timestamp <= self.start || timestamp > self.end {
            return None;
        }
        usize::try_from((timestamp - self.start - 1) / self.step).ok()
    }

    /// Which time the point of an interval is given: its end.
    pub fn timestamp(&self, interval: usize) -> u64 {
        self.start
            .saturating_add((interval as u64 + 1).saturating_mul(self.step))
            .min(self.end)
    }

    fn step_seconds(&self) -> f64 {
        self.step as f64 / 1e9
    }
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Named as Tempo names them: the fields of `by`, `__name__`, `__bucket`, `p`, `__meta_type`.
    pub labels: Vec<(String, Static)>,
    /// A value for each interval of the window; NaN is no point.
    pub values: Vec<f64>,
    /// Some of its spans, if there were [to be any](Aggregator::with_exemplars); each at a time that has a point.
    pub exemplars: Vec<Exemplar>,
}

/// Makes series of spans; for every metrics function but `compare()`.
///
/// ```
/// use traceql::{Aggregator, Static, Value, Window, parse};
///
/// let query = parse("{} | rate() by (name)")?;
/// let window = Window::instant(0, 10_000_000_000).unwrap();
/// let mut rate = Aggregator::new(query.metrics.as_ref().unwrap(), window);
/// for start in [1, 2, 3, 4, 5] {
///     rate.observe(start, None, &[Some(Value::Str("redis_call"))]);
/// }
/// let series = rate.finish();
/// assert_eq!(series[0].labels, [("name".to_owned(), Static::String("redis_call".to_owned()))]);
/// assert_eq!(series[0].values, [0.5]);
/// # Ok::<(), traceql::ParseError>(())
/// ```
#[derive(Debug)]
pub struct Aggregator {
    metrics: Metrics,
    window: Window,
    series: Vec<Group>,
    /// The series whose groups have this hash.
    by_hash: HashMap<u64, Vec<usize>>,
    hasher: RandomState,
    /// The series of the span before, which the next one is often of too.
    last: usize,
    exemplars: Exemplars,
}

#[derive(Debug)]
struct Group {
    values: Vec<Static>,
    points: Points,
}

impl Aggregator {
    /// An aggregator for this function over this time.
    pub fn new(metrics: &Metrics, window: Window) -> Aggregator {
        Aggregator {
            metrics: metrics.clone(),
            window,
            series: Vec::new(),
            by_hash: HashMap::new(),
            hasher: RandomState::new(),
            last: 0,
            exemplars: Exemplars::default(),
        }
    }

    /// As [`new`](Aggregator::new), but with up to `max` exemplars for all series together.
    pub fn with_exemplars(self, max: usize) -> Aggregator {
        Aggregator {
            exemplars: Exemplars::new(max),
            ..self
        }
    }

    /// How many series there are before any selection.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no series yet.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Counts a span that starts at `timestamp`, in Unix nanoseconds; one outside the window is ignored.
    ///
    /// `value` is that of [`MetricsFunction::field`], and `group` has one for each field of [`Metrics::by`]. An attribute
    /// without a scope is looked up in the span and in the resource only: so does Tempo for metrics.
    pub fn observe(
        &mut self,
        timestamp: u64,
        value: Option<Value<'_>>,
        group: &[Option<Value<'_>>],
    ) {
        if self.window.interval(timestamp).is_none() {
            return;
        }
        if let Some(number) = self.number(value) {
            let series = self.series(group);
            self.add(series, timestamp, number);
        }
    }

    /// What a span with this value adds to a series; `None` if it does not count.
    ///
    /// With [`series`](Aggregator::series) and [`add`](Aggregator::add) it does what [`observe`](Aggregator::observe) does,
    /// for stores that have numbered the values of their spans and need to look at each value only once.
    #[inline]
    pub fn number(&self, value: Option<Value<'_>>) -> Option<f64> {
        let function = &self.metrics.function;
        let number = match function {
            MetricsFunction::Rate | MetricsFunction::CountOverTime => Some(1.0),
            MetricsFunction::Compare { .. } => None,
            MetricsFunction::QuantileOverTime { .. } | MetricsFunction::HistogramOverTime(_) => {
                value.and_then(points::exponent)
            }
            MetricsFunction::MinOverTime(field)
            | MetricsFunction::MaxOverTime(field)
            | MetricsFunction::SumOverTime(field)
            | MetricsFunction::AvgOverTime(field) => {
                value.and_then(Value::as_float).map(|number| match field {
                    // Only this one is in seconds.
                    Field::Intrinsic(Intrinsic::Duration) => number / 1e9,
                    _ => number,
                })
            }
        };
        number.filter(|number| !number.is_nan())
    }

    /// The series of a group, numbered from zero; made if it is new, and there even if nothing is added to it.
    pub fn series(&mut self, group: &[Option<Value<'_>>]) -> usize {
        self.find(group)
    }

    /// Counts a span that starts at `timestamp`, in Unix nanoseconds; one outside the window is ignored, and so is a series
    /// that there is not.
    #[inline]
    pub fn add(&mut self, series: usize, timestamp: u64, number: f64) {
        if let Some(interval) = self.window.interval(timestamp)
            && let Some(series) = self.series.get_mut(series)
        {
            series.points.add(interval, number);
        }
    }

    /// Whether a span of a series that starts at `timestamp` would become an exemplar, if it were
    /// [offered](Aggregator::add_exemplar). Cheap, so it may be asked for every span.
    #[inline]
    pub fn wants_exemplar(&self, series: usize, timestamp: u64) -> bool {
        self.exemplars.wants(series, timestamp, self.window)
    }

    /// Offers a span as an exemplar of a series: with its value, as for [`number`](Aggregator::number), and what names it.
    ///
    /// Whether it becomes one depends on those before and after it; one whose value is zero does not.
    pub fn add_exemplar(
        &mut self,
        series: usize,
        timestamp: u64,
        value: Option<Value<'_>>,
        labels: Vec<(String, Static)>,
    ) {
        let Some(number) = self.number(value) else {
            return;
        };
        let value = match &self.metrics.function {
            MetricsFunction::Rate
            | MetricsFunction::CountOverTime
            | MetricsFunction::HistogramOverTime(_)
            | MetricsFunction::Compare { .. } => None,
            MetricsFunction::QuantileOverTime { .. } => {
                let unit = if self.is_time() { 1e9 } else { 1.0 };
                value.and_then(Value::as_float).map(|number| number / unit)
            }
            _ => Some(number),
        };
        if value != Some(0.0) {
            let chosen = Chosen {
                series,
                timestamp,
                number,
                value,
                labels,
            };
            self.exemplars.add(chosen, self.window);
        }
    }

    /// Adds what another aggregator of the same query and window has counted.
    pub fn merge(&mut self, other: Aggregator) {
        let mut ours = Vec::new();
        for Group { values, points } in other.series {
            let group: Vec<_> = values.iter().map(Static::as_value).collect();
            let series = self.find(&group);
            self.series[series].points.merge(&points);
            ours.push(series);
        }
        for chosen in other.exemplars.into_chosen() {
            if let Some(series) = ours.get(chosen.series).copied() {
                self.exemplars.add(Chosen { series, ..chosen }, self.window);
            }
        }
    }

    /// The series that have a point, after what the query makes of them; in the order of their first spans. A count or rate
    /// that is not grouped is there, as zeros, even if there is no span.
    ///
    /// A query may have thousands of quantiles, comparisons and selections: see
    /// [`finish_unless`](Aggregator::finish_unless).
    pub fn finish(self) -> Vec<Series> {
        self.finish_unless(|| false).unwrap_or_default()
    }

    /// As [`finish`](Aggregator::finish), but gives up where `is_stopped`, because a deadline has passed, say: `None` then.
    ///
    /// It is asked once for each series and quantile, comparison and selection.
    pub fn finish_unless(mut self, is_stopped: impl Fn() -> bool) -> Option<Vec<Series>> {
        let is_count = matches!(
            self.metrics.function,
            MetricsFunction::Rate | MetricsFunction::CountOverTime
        );
        if is_count && self.metrics.by.is_empty() {
            self.find(&[]);
        }
        let is_time = self.is_time();
        let Aggregator {
            metrics,
            window,
            series,
            exemplars,
            ..
        } = self;
        let mut chosen: HashMap<usize, Vec<Chosen>> = HashMap::new();
        for one in exemplars.into_chosen() {
            chosen.entry(one.series).or_default().push(one);
        }
        let mut finished = Vec::new();
        for (number, Group { values, points }) in series.into_iter().enumerate() {
            let labels = labels(&metrics, values);
            let first = finished.len();
            let mut add = |extra: Option<(&str, f64)>, values| {
                let mut labels = labels.clone();
                labels.extend(extra.map(|(name, value)| (name.to_owned(), Static::Float(value))));
                if labels.is_empty() {
                    let name = metrics.function.as_str().to_owned();
                    labels.push(("__name__".to_owned(), Static::String(name)));
                }
                finished.push(Series {
                    labels,
                    values,
                    exemplars: Vec::new(),
                });
            };
            let mut buckets = Vec::new();
            match &metrics.function {
                MetricsFunction::QuantileOverTime { quantiles, .. } => {
                    for quantile in quantiles {
                        if is_stopped() {
                            return None;
                        }
                        let values = points.quantile(*quantile, is_time);
                        add(Some(("p", *quantile)), values);
                    }
                }
                MetricsFunction::HistogramOverTime(_) => {
                    for (exponent, bucket, counts) in points.histogram(is_time) {
                        buckets.push(exponent);
                        add(Some(("__bucket", bucket)), counts);
                    }
                }
                MetricsFunction::Rate => add(None, points.values(1.0 / window.step_seconds())),
                _ => add(None, points.values(1.0)),
            }
            for one in chosen.remove(&number).into_iter().flatten() {
                let made = &mut finished[first..];
                exemplars::give(one, &metrics.function, &buckets, window, made);
            }
        }
        for stage in &metrics.then {
            if is_stopped() {
                return None;
            }
            finished = second_stage::apply(stage, finished);
        }
        finished.retain(|series| series.values.iter().any(|value| !value.is_nan()));
        for Series {
            values, exemplars, ..
        } in &mut finished
        {
            exemplars.retain(|exemplar| {
                let interval = window.interval(exemplar.timestamp);
                interval.is_some_and(|interval| !values[interval].is_nan())
            });
        }
        Some(finished)
    }

    fn is_time(&self) -> bool {
        let field = self.metrics.function.field();
        matches!(field, Some(Field::Intrinsic(intrinsic)) if points::is_time(*intrinsic))
    }

    /// The series of a group, made if it is new.
    fn find(&mut self, group: &[Option<Value<'_>>]) -> usize {
        let is_same = |found: &Group| {
            let values = found.values.iter().map(|value| Key(value.as_value()));
            values.eq(group.iter().map(|value| Key(*value)))
        };
        if self.series.get(self.last).is_some_and(is_same) {
            return self.last;
        }
        let keys: Vec<_> = group.iter().map(|value| Key(*value)).collect();
        let candidates = self.by_hash.entry(self.hasher.hash_one(&keys)).or_default();
        let found = candidates
            .iter()
            .find(|found| is_same(&self.series[**found]));
        self.last = found.copied().unwrap_or_else(|| {
            let to_static = |value: &Option<Value<'_>>| value.map_or(Static::Nil, Value::to_static);
            candidates.push(self.series.len());
            self.series.push(Group {
                values: group.iter().map(to_static).collect(),
                points: Points::new(&self.metrics.function, self.window.len()),
            });
            self.series.len() - 1
        });
        self.last
    }
}

/// The fields that are not nil; but where all are, the first of them, so that the series has a label.
fn labels(metrics: &Metrics, values: Vec<Static>) -> Vec<(String, Static)> {
    let named = metrics.by.iter().map(ToString::to_string).zip(values);
    let mut labels: Vec<_> = named.filter(|(_, value)| *value != Static::Nil).collect();
    let has_other = matches!(
        metrics.function,
        MetricsFunction::QuantileOverTime { .. } | MetricsFunction::HistogramOverTime(_)
    );
    if let (true, false, Some(field)) = (labels.is_empty(), has_other, metrics.by.first()) {
        labels.push((field.to_string(), Static::Nil));
    }
    labels
}
