//! What a query makes of series: selections and comparisons.

use std::{borrow::Cow, cmp::Ordering};

use super::Series;
use crate::ast::{Comparison, SecondStage};
use crate::value::Static;

pub(super) fn apply(stage: &SecondStage, series: Vec<Series>) -> Vec<Series> {
    match stage {
        SecondStage::TopK(count) => select(series, *count, true),
        SecondStage::BottomK(count) => select(series, *count, false),
        SecondStage::Filter { op, value } => filter(series, *op, *value),
    }
}

/// Keeps, interval by interval, the points of the greatest or the least series.
fn select(series: Vec<Series>, count: u64, is_top: bool) -> Vec<Series> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if series.len() <= count {
        return series;
    }
    let len = series[0].values.len();
    let mut kept: Vec<_> = series
        .iter()
        .map(|series| vec![f64::NAN; series.values.len()])
        .collect();
    // By labels once, so that a stable sort by values settles ties.
    let mut order: Vec<_> = (0..series.len()).collect();
    order.sort_by(|a, b| by_labels(&series[*b].labels, &series[*a].labels));
    if !is_top {
        order.reverse();
    }
    (0..len).for_each(|interval| {
        let value = |index: &usize| series[*index].values[interval];
        let with_point = order.iter().copied().filter(|index| !value(index).is_nan());
        let mut best: Vec<_> = with_point.collect();
        best.sort_by(|a, b| {
            let ascending = value(a).total_cmp(&value(b));
            if is_top {
                ascending.reverse()
            } else {
                ascending
            }
        });
        for index in best.into_iter().take(count) {
            kept[index][interval] = value(&index);
        }
    });
    let kept = series.into_iter().zip(kept);
    let kept = kept.map(|(series, values)| Series { values, ..series });
    kept.filter(has_point).collect()
}

/// Which of two series with equal values is the greater one, as Tempo 3.0.3 has it: that of the earlier text. The lesser one is
/// the other.
fn by_labels(a: &[(String, Static)], b: &[(String, Static)]) -> Ordering {
    for ((a_name, a_value), (b_name, b_value)) in a.iter().zip(b) {
        let (a_text, a_bits) = written(a_value);
        let (b_text, b_bits) = written(b_value);
        let order = b_text
            .cmp(&a_text)
            .then_with(|| b_name.cmp(a_name))
            .then_with(|| a_bits.cmp(&b_bits))
            .then_with(|| match (a_value, b_value) {
                // Of lists Tempo has no opinion, and it shall not depend on which span came first.
                (Static::Array(_), Static::Array(_)) => {
                    b_value.to_string().cmp(&a_value.to_string())
                }
                _ => Ordering::Equal,
            });
        if order != Ordering::Equal {
            return order;
        }
    }
    b.len().cmp(&a.len())
}

/// A label as Tempo orders it, which is as it is in an answer: text, or a type and bits without a sign.
fn written(value: &Static) -> (Cow<'_, str>, (u8, u64)) {
    let text = |text| (text, (3, 0));
    match value {
        Static::Array(_) => (Cow::Borrowed(""), (0, 0)),
        Static::Int(int) => (Cow::Borrowed(""), (1, int.cast_unsigned())),
        Static::Float(float) => (Cow::Borrowed(""), (2, float.to_bits())),
        Static::Bool(is) => (Cow::Borrowed(""), (4, u64::from(*is))),
        Static::String(string) => text(Cow::Borrowed(string.as_str())),
        Static::Status(status) => text(Cow::Borrowed(status.as_str())),
        Static::Kind(kind) => text(Cow::Borrowed(kind.as_str())),
        Static::Nil | Static::Duration(_) => text(Cow::Owned(value.to_string())),
    }
}

fn filter(mut series: Vec<Series>, op: Comparison, bound: f64) -> Vec<Series> {
    for series in &mut series {
        for value in &mut series.values {
            let holds = match op {
                Comparison::Equal => *value == bound,
                Comparison::NotEqual => *value != bound,
                Comparison::Less => *value < bound,
                Comparison::LessOrEqual => *value <= bound,
                Comparison::Greater => *value > bound,
                Comparison::GreaterOrEqual => *value >= bound,
            };
            if !holds {
                *value = f64::NAN;
            }
        }
    }
    series.retain(has_point);
    series
}

fn has_point(series: &Series) -> bool {
    series.values.iter().any(|value| !value.is_nan())
}
