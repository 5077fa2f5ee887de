//! Answers queries for series: the evaluator says which spans count where columns cannot, and columns what they hold.

use std::cell::Cell;

use traceql::{
    Aggregator, Expressions, Field, FieldExpression, Metrics, MetricsFunction, Query, Series,
    Static, Window,
};

use super::{
    Failed,
    compare::compare,
    evaluate,
    plan::Plan,
    survey,
    view::{View, numbered, to_static},
    with_sets,
};
use crate::{
    compile,
    query::{Counter, Patience, Stopped, Tally},
    span::{TraceId, Value},
    store::{QueryError, Slice, Store},
};

/// Points of all series together, in memory, before any selection. A point is 8 to 24 bytes.
const MAX_POINTS: usize = 4_000_000;

/// As above for histograms, which have a number for each of up to 64 buckets.
const MAX_HISTOGRAMS: usize = 250_000;

/// About how many bytes all series together take beside their points: what tells them apart is copied several times until
/// it is in an answer.
const MAX_SERIES_BYTES: usize = 64 << 20;

/// What is asked for beside a query for metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) window: Window,
    /// Spans to be named as examples, of all series together. `compare()` has none, as in Tempo.
    pub(crate) exemplars: usize,
}

/// What a query makes.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) series: Vec<Series>,
    /// Traces that are too long to be looked at, and may have had a part in the series.
    pub(crate) left_out: usize,
}

/// The series that a query makes of the spans that start in a window.
///
/// # Errors
/// The query is none for metrics, or makes too many series.
pub(crate) fn series(
    store: &Store,
    query: &Query,
    range: Range,
    patience: &Patience,
) -> Result<Made, Failed> {
    let window = range.window;
    let Some(metrics) = &query.metrics else {
        return Err(Failed::IsSearch);
    };
    let mut made = match (&metrics.function, compile::tally(query, window.starts())) {
        (MetricsFunction::Compare { selection, .. }, _) => {
            compare(store, query, metrics, selection, window, patience)?
        }
        (_, Some(tally)) => tallied(store, query, metrics, &tally, range, patience)?,
        (_, None) => {
            let plan = Plan::new(query);
            judged(store, query, &plan, metrics, range, patience)?
        }
    };
    // Otherwise their order would be that of the spans in the store.
    made.series.sort_by_cached_key(|series| {
        let labels = series.labels.iter();
        let key = |(key, value): &(String, Static)| (key.clone(), sort_key(value));
        labels.map(key).collect::<Vec<_>>()
    });
    Ok(made)
}

/// Numbers by their size, all else by its text.
fn sort_key(value: &Static) -> (u64, String) {
    let number = match value {
        Static::Int(number) | Static::Duration(number) => *number as f64,
        Static::Float(number) => *number,
        other => return (u64::MAX, other.to_string()),
    };
    let bits = number.to_bits();
    // As `f64::total_cmp` has it.
    let ordered = match number.is_sign_negative() {
        true => !bits,
        false => bits | 1 << 63,
    };
    (ordered, String::new())
}

/// Room for the series of one query.
struct Room {
    max_series: usize,
    max_bytes: usize,
    /// What there is.
    series: usize,
    bytes: usize,
}

impl Room {
    fn new(metrics: &Metrics, window: Window) -> Room {
        // In the end each quantile and each bucket is a series of its own.
        let (max_points, each) = match &metrics.function {
            MetricsFunction::QuantileOverTime { quantiles, .. } => {
                let each = quantiles.len();
                (MAX_HISTOGRAMS.min(MAX_POINTS / each), each)
            }
            MetricsFunction::HistogramOverTime(_) => (MAX_HISTOGRAMS, 64),
            _ => (MAX_POINTS, 1),
        };
        Room {
            max_series: max_points / window.len(),
            max_bytes: MAX_SERIES_BYTES / each,
            series: 0,
            bytes: 0,
        }
    }

    /// Whether there is room for so many series, the last of which is this group's if it is new.
    fn has(&mut self, series: usize, group: &[Option<traceql::Value<'_>>]) -> bool {
        if series > self.series {
            self.series = series;
            self.bytes += 200 + group.iter().copied().map(label_bytes).sum::<usize>();
        }
        self.series <= self.max_series && self.bytes <= self.max_bytes
    }
}

fn label_bytes(value: Option<traceql::Value<'_>>) -> usize {
    let held = match value {
        Some(traceql::Value::Str(text)) => text.len(),
        Some(traceql::Value::Array(items)) => {
            items.iter().map(|item| label_bytes(Some(item))).sum()
        }
        _ => 0,
    };
    100 + held
}

/// What a query makes of the series that were counted, while there is patience.
fn finish(aggregator: Aggregator, patience: &Patience) -> Result<Vec<Series>, Failed> {
    match aggregator.finish_unless(|| patience.check().is_err()) {
        Some(series) => Ok(series),
        None => {
            let stopped = patience.check().err().unwrap_or(Stopped::Deadline);
            Err(QueryError::Stopped(stopped).into())
        }
    }
}

/// Spans of which columns tell all that is counted; and which spans these are, unless the query looks at whole traces.
fn tallied(
    store: &Store,
    query: &Query,
    metrics: &Metrics,
    tally: &Tally,
    Range { window, exemplars }: Range,
    patience: &Patience,
) -> Result<Made, Failed> {
    let has_too_many = Cell::new(false);
    let begin = || Counting {
        metrics,
        aggregator: Aggregator::new(metrics, window).with_exemplars(exemplars),
        room: Room::new(metrics, window),
        has_too_many: &has_too_many,
    };
    let counted = with_sets(query, None, &window.starts(), patience, |sets| {
        Ok(store.tally(tally, sets, patience, begin)?)
    });
    match has_too_many.get() {
        true => Err(Failed::TooManySeries),
        false => {
            let (counting, left_out) = counted?;
            Ok(Made {
                series: finish(counting.aggregator, patience)?,
                left_out,
            })
        }
    }
}

struct Counting<'a> {
    metrics: &'a Metrics,
    aggregator: Aggregator,
    room: Room,
    has_too_many: &'a Cell<bool>,
}

impl Counter for Counting<'_> {
    fn number(&self, value: Option<Value<'_>>) -> Option<f64> {
        if let Some(Value::Int(number)) = &value {
            return self.number_of_int(*number);
        }
        let held = value.and_then(|value| to_static(&value));
        self.aggregator
            .number(held.as_ref().and_then(Static::as_value))
    }

    fn number_of_int(&self, value: i64) -> Option<f64> {
        let field = self.metrics.function.field();
        let value = match field {
            Some(field) => numbered(field, value),
            None => Some(traceql::Value::Int(value)),
        };
        self.aggregator.number(value)
    }

    fn group(&mut self, values: &[Option<Value<'_>>]) -> Result<usize, Stopped> {
        let held = self.metrics.by.iter().zip(values);
        let held: Vec<_> = held
            .map(|(field, value)| match value {
                None => Static::Nil,
                Some(Value::Int(number)) => {
                    numbered(field, *number).map_or(Static::Nil, traceql::Value::to_static)
                }
                Some(value) => to_static(value).unwrap_or(Static::Nil),
            })
            .collect();
        let group: Vec<_> = held.iter().map(Static::as_value).collect();
        let series = self.aggregator.series(&group);
        if !self.room.has(self.aggregator.len(), &group) {
            self.has_too_many.set(true);
            return Err(Stopped::Abandoned);
        }
        Ok(series)
    }

    fn add(&mut self, group: usize, start_unix_nano: u64, number: f64) {
        self.aggregator.add(group, start_unix_nano, number);
    }

    fn wants_example(&self, group: usize, start_unix_nano: u64) -> bool {
        self.aggregator.wants_exemplar(group, start_unix_nano)
    }

    fn example(
        &mut self,
        group: usize,
        start_unix_nano: u64,
        value: Option<Value<'_>>,
        trace: TraceId,
    ) {
        let held = value.and_then(|value| self.held(&value));
        let value = held.as_ref().and_then(Static::as_value);
        (self.aggregator).add_exemplar(group, start_unix_nano, value, named(trace));
    }
}

impl Counting<'_> {
    fn held(&self, value: &Value<'_>) -> Option<Static> {
        match (value, self.metrics.function.field()) {
            (Value::Int(number), Some(field)) => {
                numbered(field, *number).map(traceql::Value::to_static)
            }
            (value, _) => to_static(value),
        }
    }
}

/// The label by which Grafana finds the trace of an exemplar.
fn named(trace: TraceId) -> Vec<(String, Static)> {
    vec![("trace:id".to_owned(), Static::String(trace.to_string()))]
}

/// Spans that the evaluator finds, with values that it looks up.
pub(super) fn judged(
    store: &Store,
    query: &Query,
    plan: &Plan<'_>,
    metrics: &Metrics,
    Range { window, exemplars }: Range,
    patience: &Patience,
) -> Result<Made, Failed> {
    let expressions = |field: &Field| -> Vec<FieldExpression> {
        let fields = compile::metrics_fields(field).into_iter();
        fields.map(FieldExpression::from).collect()
    };
    let value = metrics.function.field().map(expressions);
    let by: Vec<_> = metrics.by.iter().map(expressions).collect();
    let failed = Cell::new(None);
    let has_too_many = Cell::new(false);
    let each = |(aggregator, room): &mut (Aggregator, Room), slice: &Slice| {
        let view = View::new(slice, plan, patience);
        let sets = evaluate(query, &view, patience, &failed)?;
        let looked_up = Expressions::new(&view);
        for span in sets.iter().flat_map(|set| &set.spans).copied() {
            let start = slice.start(span);
            if !window.starts().contains(&start) {
                continue;
            }
            let value = value.as_ref();
            let value = value.and_then(|places| in_first(&looked_up, places, span));
            let group = by.iter().map(|places| in_first(&looked_up, places, span));
            let group: Vec<_> = group.collect();
            if let Some(number) = aggregator.number(value) {
                let series = aggregator.series(&group);
                aggregator.add(series, start, number);
                if aggregator.wants_exemplar(series, start) {
                    aggregator.add_exemplar(series, start, value, named(slice.id()));
                }
                if !room.has(aggregator.len(), &group) {
                    has_too_many.set(true);
                    return Err(Stopped::Abandoned);
                }
            }
        }
        Ok(())
    };
    let begin = || {
        let aggregator = Aggregator::new(metrics, window).with_exemplars(exemplars);
        (aggregator, Room::new(metrics, window))
    };
    let survey = survey(query, plan, &window.starts());
    let made = store.survey(&survey, patience, begin, each);
    if let Some(error) = failed.take() {
        return Err(error.into());
    }
    match has_too_many.get() {
        true => Err(Failed::TooManySeries),
        false => Ok(Made {
            series: finish(made?.0, patience)?,
            left_out: survey.left_out.get(),
        }),
    }
}

/// The value in the first place that has one.
fn in_first<'a>(
    looked_up: &Expressions<'a, View<'_>>,
    places: &'a [FieldExpression],
    span: usize,
) -> Option<traceql::Value<'a>> {
    let mut values = places.iter().map(|place| looked_up.value(place, span));
    values.find_map(|value| first(value?))
}

/// Of the values of several events or links the first.
fn first(value: traceql::Value<'_>) -> Option<traceql::Value<'_>> {
    match value {
        traceql::Value::Several(items) => items.iter().next(),
        value => Some(value),
    }
}
