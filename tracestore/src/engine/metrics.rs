//! Answers queries for series: from columns alone where each span is looked at by itself, else from whole traces.

use std::cell::Cell;

use traceql::{
    Aggregator, Contrast, EvaluateError, Expressions, Field, FieldExpression, Intrinsic, Metrics,
    MetricsFunction, Query, Series, Static, Window,
};

use super::{
    Failed, candidates,
    everything::{self, Everything},
    view::{View, to_static},
};
use crate::{
    compile,
    query::{Counter, Patience, Search, Stopped, Tally},
    span::{Trace, Value},
    store::Store,
};

/// Points of all series together, in memory, before any selection. A point is 8 to 24 bytes.
const MAX_POINTS: usize = 4_000_000;

/// As above for histograms, which have a number for each of up to 64 buckets.
const MAX_HISTOGRAMS: usize = 250_000;

/// As above for `compare()`, which counts all values of all attributes.
const MAX_CONTRASTED: usize = 16_000_000;

/// The series that a query makes of the spans that start in a window.
///
/// # Errors
/// The query is none for metrics, or makes too many series.
pub(crate) fn series(
    store: &Store,
    query: &Query,
    window: Window,
    patience: &Patience,
) -> Result<Vec<Series>, Failed> {
    let Some(metrics) = &query.metrics else {
        return Err(Failed::IsSearch);
    };
    let mut series = match compile::tally(query, window.starts()) {
        Some(tally) => tallied(store, metrics, &tally, window, patience)?,
        None => judged(store, query, metrics, window, patience)?,
    };
    // Otherwise their order would be that of the spans in the store.
    series.sort_by_cached_key(|series| {
        let labels = series.labels.iter();
        let key = |(key, value): &(String, Static)| (key.clone(), sort_key(value));
        labels.map(key).collect::<Vec<_>>()
    });
    Ok(series)
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

fn max_series(metrics: &Metrics, window: Window) -> usize {
    let max_points = match metrics.function {
        MetricsFunction::QuantileOverTime { .. } | MetricsFunction::HistogramOverTime(_) => {
            MAX_HISTOGRAMS
        }
        MetricsFunction::Compare { .. } => MAX_CONTRASTED,
        MetricsFunction::Rate
        | MetricsFunction::CountOverTime
        | MetricsFunction::MinOverTime(_)
        | MetricsFunction::MaxOverTime(_)
        | MetricsFunction::SumOverTime(_)
        | MetricsFunction::AvgOverTime(_) => MAX_POINTS,
    };
    max_points / window.len()
}

/// Spans that columns tell one by one.
fn tallied(
    store: &Store,
    metrics: &Metrics,
    tally: &Tally,
    window: Window,
    patience: &Patience,
) -> Result<Vec<Series>, Failed> {
    let has_too_many = Cell::new(false);
    let counted = store.tally(tally, patience, || Counting {
        metrics,
        aggregator: Aggregator::new(metrics, window),
        max_series: max_series(metrics, window),
        has_too_many: &has_too_many,
    });
    match has_too_many.get() {
        true => Err(Failed::TooManySeries),
        false => Ok(counted?.aggregator.finish()),
    }
}

struct Counting<'a> {
    metrics: &'a Metrics,
    aggregator: Aggregator,
    max_series: usize,
    has_too_many: &'a Cell<bool>,
}

impl Counter for Counting<'_> {
    fn number(&self, value: Option<Value<'_>>) -> Option<f64> {
        if let (Some(Value::Int(number)), Some(field)) = (&value, self.metrics.function.field()) {
            return self.aggregator.number(numbered(field, *number));
        }
        let held = value.map(|value| to_static(&value));
        self.aggregator
            .number(held.as_ref().and_then(|held| held.as_value()))
    }

    fn group(&mut self, values: &[Option<Value<'_>>]) -> Result<usize, Stopped> {
        let held = self.metrics.by.iter().zip(values);
        let held: Vec<_> = held
            .map(|(field, value)| match value {
                None => Static::Nil,
                Some(Value::Int(number)) => {
                    numbered(field, *number).map_or(Static::Nil, traceql::Value::to_static)
                }
                Some(value) => to_static(value),
            })
            .collect();
        let group: Vec<_> = held.iter().map(Static::as_value).collect();
        let series = self.aggregator.series(&group);
        if self.aggregator.len() > self.max_series {
            self.has_too_many.set(true);
            return Err(Stopped::Abandoned);
        }
        Ok(series)
    }

    fn add(&mut self, group: usize, start_unix_nano: u64, number: f64) {
        self.aggregator.add(group, start_unix_nano, number);
    }
}

/// What the number in a column is to the language.
fn numbered(field: &Field, number: i64) -> Option<traceql::Value<'static>> {
    use traceql::{Kind, Status};
    Some(match field {
        Field::Intrinsic(Intrinsic::Duration) => traceql::Value::Duration(number),
        Field::Intrinsic(Intrinsic::Status) => traceql::Value::Status(match number {
            0 => Status::Unset,
            1 => Status::Ok,
            2 => Status::Error,
            _ => return None,
        }),
        Field::Intrinsic(Intrinsic::Kind) => traceql::Value::Kind(match number {
            0 => Kind::Unspecified,
            1 => Kind::Internal,
            2 => Kind::Server,
            3 => Kind::Client,
            4 => Kind::Producer,
            5 => Kind::Consumer,
            _ => return None,
        }),
        Field::Intrinsic(_) | Field::Attribute(_) => traceql::Value::Int(number),
    })
}

/// What whole traces make of a query.
enum Made {
    Series(Aggregator),
    Contrast(Contrast),
}

/// Spans that the evaluator finds in the traces that may have some.
pub(super) fn judged(
    store: &Store,
    query: &Query,
    metrics: &Metrics,
    window: Window,
    patience: &Patience,
) -> Result<Vec<Series>, Failed> {
    let search = Search {
        filter: candidates(&query.trace_condition()),
        window: Some(window.starts()),
        limit: usize::MAX,
        spans_per_trace: 0,
        select: Vec::new(),
    };
    let intrinsics = everything::intrinsics();
    let mut fields = query.fields();
    let selection = match &metrics.function {
        MetricsFunction::Compare { selection, .. } => {
            fields.extend(&intrinsics);
            Some(selection)
        }
        _ => None,
    };
    let intrinsics = intrinsics.clone().map(FieldExpression::from);
    let expressions = |field: &Field| -> Vec<FieldExpression> {
        let fields = compile::metrics_fields(field).into_iter();
        fields.map(FieldExpression::from).collect()
    };
    let value = metrics.function.field().map(expressions);
    let by: Vec<_> = metrics.by.iter().map(expressions).collect();
    let max_series = max_series(metrics, window);
    let failed = Cell::new(None);
    let fail = |error: Failed| {
        failed.set(Some(error));
        Stopped::Abandoned
    };
    let begin = || match Contrast::new(&metrics.function, window) {
        Some(contrast) => Made::Contrast(contrast),
        None => Made::Series(Aggregator::new(metrics, window)),
    };
    let each = |made: &mut Made, trace: &Trace<'_>| {
        let view = View::new(trace, &fields, patience);
        let sets = traceql::evaluate(query, &view).map_err(|error| match error {
            EvaluateError::Stopped => patience.check().err().unwrap_or(Stopped::Deadline),
            EvaluateError::ManySpansets => fail(error.into()),
        })?;
        let looked_up = Expressions::new(&view);
        let mut everything = Everything::default();
        for span in sets.iter().flat_map(|set| &set.spans).copied() {
            let (_, _, start, _) = view.identity(span);
            if !window.starts().contains(&start) {
                continue;
            }
            match made {
                Made::Series(aggregator) => {
                    let value = value.as_ref();
                    let value = value.and_then(|places| in_first(&looked_up, places, span));
                    let group = by.iter().map(|places| in_first(&looked_up, places, span));
                    let group: Vec<_> = group.collect();
                    aggregator.observe(start, value, &group);
                    if aggregator.len() > max_series {
                        return Err(fail(Failed::TooManySeries));
                    }
                }
                Made::Contrast(contrast) => {
                    let is_selected =
                        selection.is_some_and(|selection| looked_up.matches(selection, span));
                    let attributes = everything.attributes(&view, span);
                    let own = intrinsics.iter().filter_map(|expression| {
                        let FieldExpression::Field(field) = expression else {
                            return None;
                        };
                        Some((field, looked_up.value(expression, span)?))
                    });
                    let attributes = attributes.iter().filter_map(|(number, value)| {
                        Some((everything.field(*number), value.as_value()?))
                    });
                    contrast.observe(start, is_selected, own.chain(attributes));
                }
            }
        }
        match made {
            Made::Contrast(contrast) if contrast.len() > max_series => {
                Err(fail(Failed::TooManySeries))
            }
            Made::Contrast(_) | Made::Series(_) => Ok(()),
        }
    };
    let made = store.fold(&search, patience, begin, each);
    match failed.take() {
        Some(error) => Err(error),
        None => Ok(match made? {
            Made::Series(aggregator) => aggregator.finish(),
            Made::Contrast(contrast) => contrast.finish(),
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
