//! What a query makes of series: selections and comparisons.

use std::cmp::Ordering;

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

/// Which of two series with equal values is the greater one, as Tempo 3.0.3 has it: that of the earlier string. The lesser one is
/// the other.
fn by_labels(a: &[(String, Static)], b: &[(String, Static)]) -> Ordering {
    let text = |value: &Static| match value {
        Static::String(text) => text.clone(),
        _ => String::new(),
    };
    for ((a_name, a_value), (b_name, b_value)) in a.iter().zip(b) {
        let order = text(b_value)
            .cmp(&text(a_value))
            .then_with(|| b_name.cmp(a_name));
        let order = order.then_with(|| match (a_value.as_value(), b_value.as_value()) {
            (Some(a), Some(b)) if a.compare(Comparison::Less, b) => Ordering::Less,
            (Some(a), Some(b)) if a.compare(Comparison::Greater, b) => Ordering::Greater,
            _ => Ordering::Equal,
        });
        if order != Ordering::Equal {
            return order;
        }
    }
    b.len().cmp(&a.len())
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
