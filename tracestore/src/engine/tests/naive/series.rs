//! Series by looking at every span.

use std::cmp::Ordering;

use traceql::{
    Attribute, Field, Intrinsic, Metrics, MetricsFunction, Pipeline, Scope, SecondStage, Static,
    Window,
};

use super::{
    ManySpansets, Whole,
    operators::{compare, number},
};

pub(in crate::engine::tests) type Labels = Vec<(String, Static)>;

/// Labels and values of the series of a metrics query, in no order. A label that is nil is left out, unless there would be
/// none.
pub(in crate::engine::tests) fn series(
    traces: &[Whole],
    pipeline: &Pipeline,
    metrics: &Metrics,
    window: Window,
) -> Result<Vec<(Labels, Vec<f64>)>, ManySpansets> {
    // Of each interval of each group the values.
    let mut groups: Vec<(Labels, Vec<Vec<Static>>)> = Vec::new();
    let mut add = |labels: Labels, interval: usize, value: Static| {
        let is_same = |other: &Labels| format!("{other:?}") == format!("{labels:?}");
        let group = match groups.iter().position(|(other, _)| is_same(other)) {
            Some(group) => group,
            None => {
                groups.push((labels, vec![Vec::new(); window.len()]));
                groups.len() - 1
            }
        };
        groups[group].1[interval].push(value);
    };
    let is_count = matches!(
        metrics.function,
        MetricsFunction::Rate | MetricsFunction::CountOverTime
    );
    // Histograms and quantiles are several, each with a label that says which.
    let is_one = !matches!(
        metrics.function,
        MetricsFunction::HistogramOverTime(_) | MetricsFunction::QuantileOverTime { .. }
    );
    for trace in traces {
        for span in trace.find(pipeline)?.into_iter().flat_map(|set| set.spans) {
            let start = trace.spans[span].2.start_unix_nano;
            if !window.starts().contains(&start) {
                continue;
            }
            let passed = start - window.starts().start();
            let step = window.timestamp(0) + 1 - window.starts().start();
            let interval = usize::try_from(passed / step).unwrap();
            if let MetricsFunction::Compare {
                selection,
                window: selected,
                ..
            } = &metrics.function
            {
                let in_time = selected.is_none_or(|(from, to)| start > from && start <= to);
                let side = match in_time && trace.is_true(selection, span) {
                    true => "selection",
                    false => "baseline",
                };
                for (name, value) in everything(trace, span) {
                    for (meta, value) in [
                        (side.to_owned(), value),
                        (format!("{side}_total"), Static::Nil),
                    ] {
                        let meta = ("__meta_type".to_owned(), Static::String(meta));
                        add(vec![meta, (name.clone(), value)], interval, Static::Nil);
                    }
                }
                continue;
            }
            let by = metrics.by.iter().map(|field| {
                let value = of_metrics(trace, field, span).unwrap_or(Static::Nil);
                (field.to_string(), value)
            });
            let mut labels: Labels = by.filter(|(_, value)| *value != Static::Nil).collect();
            if let (true, true, Some(field)) = (labels.is_empty(), is_one, metrics.by.first()) {
                labels.push((field.to_string(), Static::Nil));
            }
            match metrics.function.field() {
                None => add(labels, interval, Static::Nil),
                Some(field) => {
                    if let Some(value) = of_metrics(trace, field, span)
                        && number(&value).is_some_and(|number| !number.is_nan())
                    {
                        add(labels, interval, value);
                    }
                }
            }
        }
    }
    if is_count && metrics.by.is_empty() && groups.is_empty() {
        groups.push((Vec::new(), vec![Vec::new(); window.len()]));
    }
    let mut series = Vec::new();
    for (labels, intervals) in groups {
        made_of(metrics, window, &labels, &intervals, &mut series);
    }
    for stage in &metrics.then {
        series = match stage {
            SecondStage::TopK(count) => best(&series, *count, true),
            SecondStage::BottomK(count) => best(&series, *count, false),
            SecondStage::Filter { op, value } => {
                let other = Static::Float(*value);
                let holds = |value: &f64| compare(&Static::Float(*value), *op, &other);
                points(&series, |series, interval| holds(&series.1[interval]))
            }
        };
    }
    series.retain(|(_, values)| values.iter().any(|value| !value.is_nan()));
    Ok(series)
}

type Line = (Labels, Vec<f64>);

/// The points of series that are kept.
fn points(series: &[Line], is_kept: impl Fn(&Line, usize) -> bool) -> Vec<Line> {
    let line = |line: &Line| {
        let values = line.1.iter().enumerate();
        let kept = values.map(|(interval, value)| match is_kept(line, interval) {
            true => *value,
            false => f64::NAN,
        });
        (line.0.clone(), kept.collect())
    };
    series.iter().map(line).collect()
}

/// Of each interval the points than which fewer are better.
fn best(series: &[Line], count: u64, is_top: bool) -> Vec<Line> {
    points(series, |line, interval| {
        let is_better = |other: &&Line| {
            let (ours, theirs) = (line.1[interval], other.1[interval]);
            match theirs.total_cmp(&ours) {
                _ if theirs.is_nan() || std::ptr::eq(*other, line) => false,
                Ordering::Equal => is_top == is_greater(&other.0, &line.0),
                order => is_top == order.is_gt(),
            }
        };
        (series.iter().filter(is_better).count() as u64) < count
    })
}

/// Of two series with the same point that is the greater one whose first other label is the earlier text; text and name
/// first, then the type, then the bits of a number, then the text of a list.
fn is_greater(ours: &Labels, theirs: &Labels) -> bool {
    let text = |value: &Static| match value {
        Static::String(text) => text.clone(),
        Static::Int(_) | Static::Float(_) | Static::Bool(_) | Static::Array(_) => String::new(),
        other => other.to_string(),
    };
    let bits = |value: &Static| match value {
        Static::Array(_) => (0, 0),
        Static::Int(number) => (1, number.cast_unsigned()),
        Static::Float(number) => (2, number.to_bits()),
        Static::Bool(is) => (4, u64::from(*is)),
        _ => (3, 0),
    };
    for ((our_name, our_value), (their_name, their_value)) in ours.iter().zip(theirs) {
        let (ours, theirs) = (text(our_value), text(their_value));
        if ours != theirs {
            return ours < theirs;
        }
        if our_name != their_name {
            return our_name < their_name;
        }
        if bits(our_value) != bits(their_value) {
            return bits(our_value) > bits(their_value);
        }
        if let (Static::Array(_), Static::Array(_)) = (our_value, their_value)
            && our_value.to_string() != their_value.to_string()
        {
            return our_value.to_string() < their_value.to_string();
        }
    }
    ours.len() < theirs.len()
}

fn made_of(
    metrics: &Metrics,
    window: Window,
    labels: &Labels,
    intervals: &[Vec<Static>],
    series: &mut Vec<Line>,
) {
    let with = |name: &str, number: f64| -> Labels {
        let more = (name.to_owned(), Static::Float(number));
        labels.iter().cloned().chain([more]).collect()
    };
    let seconds = (window.timestamp(0) + 1 - window.starts().start()) as f64 / 1e9;
    let is_duration = |field: &Field| *field == Field::Intrinsic(Intrinsic::Duration);
    let numbers = |field: &Field, values: &[Static]| -> Vec<f64> {
        let unit = if is_duration(field) { 1e9 } else { 1.0 };
        values
            .iter()
            .filter_map(number)
            .map(|number| number / unit)
            .collect()
    };
    let each = |of: &dyn Fn(&[Static]) -> f64| -> Vec<f64> {
        intervals.iter().map(|values| of(values)).collect()
    };
    let reduced = |field: &Field, of: fn(Vec<f64>) -> f64| {
        each(&|values| match values.is_empty() {
            true => f64::NAN,
            false => of(numbers(field, values)),
        })
    };
    let values = match &metrics.function {
        MetricsFunction::Rate => each(&|values| values.len() as f64 / seconds),
        MetricsFunction::CountOverTime | MetricsFunction::Compare { .. } => {
            each(&|values| values.len() as f64)
        }
        MetricsFunction::MinOverTime(field) => reduced(field, |numbers| {
            numbers.into_iter().fold(f64::INFINITY, f64::min)
        }),
        MetricsFunction::MaxOverTime(field) => reduced(field, |numbers| {
            numbers.into_iter().fold(f64::NEG_INFINITY, f64::max)
        }),
        MetricsFunction::SumOverTime(field) => reduced(field, |numbers| numbers.iter().sum()),
        MetricsFunction::AvgOverTime(field) => reduced(field, |numbers| {
            numbers.iter().sum::<f64>() / numbers.len() as f64
        }),
        MetricsFunction::HistogramOverTime(field) => {
            for exponent in 1..64 {
                let unit = if is_time(field) { 1e9 } else { 1.0 };
                let counts = each(&|values| {
                    let exponents = values.iter().filter_map(exponent_of);
                    exponents.filter(|other| *other == exponent).count() as f64
                });
                if counts.iter().any(|count| *count > 0.0) {
                    let bound = 2_f64.powi(exponent) / unit;
                    series.push((with("__bucket", bound), counts));
                }
            }
            return;
        }
        MetricsFunction::QuantileOverTime { field, quantiles } => {
            let any = intervals
                .iter()
                .flatten()
                .any(|value| exponent_of(value).is_some());
            if !any {
                return;
            }
            for quantile in quantiles {
                let values = each(&|values| {
                    let mut exponents: Vec<i32> = values.iter().filter_map(exponent_of).collect();
                    exponents.sort_unstable();
                    quantile_of(*quantile, &exponents, is_time(field))
                });
                series.push((with("p", *quantile), values));
            }
            return;
        }
    };
    series.push((labels.clone(), values));
}

fn is_time(field: &Field) -> bool {
    matches!(
        field,
        Field::Intrinsic(
            Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart
        )
    )
}

/// Of the power of two that a number is rounded up to.
fn exponent_of(value: &Static) -> Option<i32> {
    match value {
        Static::Int(number) | Static::Duration(number) if *number >= 2 => {
            (1..63).find(|exponent| *number <= 1 << exponent)
        }
        _ => None,
    }
}

/// Of ascending exponents: the bound of the bucket in which the wanted one is the last, or a point within the bucket.
fn quantile_of(quantile: f64, exponents: &[i32], is_time: bool) -> f64 {
    if exponents.is_empty() {
        return 0.0;
    }
    let unit = if is_time { 1e9 } else { 1.0 };
    let bound = |exponent: i32| 2_f64.powi(exponent) / unit;
    let wanted = (quantile * exponents.len() as f64).ceil().max(1.0) as usize;
    let exponent = exponents[wanted - 1];
    let below = exponents.iter().filter(|other| **other < exponent).count();
    let within = exponents.iter().filter(|other| **other == exponent).count();
    if below + within == wanted {
        return bound(exponent);
    }
    let before = exponents.iter().filter(|other| **other < exponent).max();
    let lower = before.map_or(bound(exponent - 1), |before| bound(*before));
    let part = (wanted - below) as f64 / within as f64;
    lower * (bound(exponent) / lower).powf(part)
}

/// For metrics an attribute without a scope is that of the span or its resource; of several values the first counts.
fn of_metrics(trace: &Whole, field: &Field, span: usize) -> Option<Static> {
    let places: Vec<Field> = match field {
        Field::Attribute(Attribute { scope: None, name }) => [Scope::Span, Scope::Resource]
            .map(|scope| {
                let name = name.clone();
                Field::Attribute(Attribute {
                    scope: Some(scope),
                    name,
                })
            })
            .to_vec(),
        field => vec![field.clone()],
    };
    let mut found = places.iter().flat_map(|field| trace.values(field, span));
    found.next()
}

/// What `compare()` counts of a span.
fn everything(trace: &Whole, span: usize) -> Vec<(String, Static)> {
    let (resource, scope, own) = &trace.spans[span];
    let intrinsics = [
        Intrinsic::Name,
        Intrinsic::Kind,
        Intrinsic::Status,
        Intrinsic::StatusMessage,
        Intrinsic::RootName,
        Intrinsic::RootServiceName,
        Intrinsic::InstrumentationName,
        Intrinsic::InstrumentationVersion,
    ];
    let mut fields: Vec<Field> = intrinsics.map(Field::Intrinsic).to_vec();
    for (scope, attributes) in [
        (Scope::Span, &own.attributes),
        (Scope::Resource, &resource.attributes),
        (Scope::Instrumentation, &scope.attributes),
    ] {
        for attribute in attributes {
            let field = Field::Attribute(Attribute {
                scope: Some(scope),
                name: attribute.key.to_string(),
            });
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
    }
    let named = |field: Field| {
        let values = trace.values(&field, span).into_iter();
        let name = field.to_string();
        values.map(move |value| (name.clone(), value))
    };
    fields.into_iter().flat_map(named).collect()
}
