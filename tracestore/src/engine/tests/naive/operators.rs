//! What operators make of values.

use std::cmp::Ordering;

use traceql::{Aggregate, Arithmetic, Comparison, Static};

pub(super) fn boolean(values: &[Static]) -> Option<bool> {
    match values {
        [] => None,
        [Static::Bool(is)] => Some(*is),
        [_] => None,
        several => Some(several.contains(&Static::Bool(true))),
    }
}

pub(super) fn number(value: &Static) -> Option<f64> {
    match value {
        Static::Int(number) | Static::Duration(number) => Some(*number as f64),
        Static::Float(number) => Some(*number),
        _ => None,
    }
}

pub(super) fn compare(left: &Static, op: Comparison, right: &Static) -> bool {
    let order = match (left, right) {
        (Static::Array(_), Static::Array(_)) => return false,
        (Static::Array(items), other) if op == Comparison::NotEqual => {
            return items.iter().all(|item| compare(item, op, other));
        }
        (Static::Array(items), other) => return items.iter().any(|item| compare(item, op, other)),
        (item, Static::Array(_)) => return compare(right, op.flipped(), item),
        (
            Static::Int(left) | Static::Duration(left),
            Static::Int(right) | Static::Duration(right),
        ) => Some(left.cmp(right)),
        (Static::String(left), Static::String(right)) => Some(left.cmp(right)),
        (Static::Bool(_), Static::Bool(_))
        | (Static::Status(_), Static::Status(_))
        | (Static::Kind(_), Static::Kind(_)) => {
            return match op {
                Comparison::Equal => left == right,
                Comparison::NotEqual => left != right,
                _ => false,
            };
        }
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => return false,
        },
    };
    match op {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

pub(super) fn arithmetic(op: Arithmetic, left: &Static, right: &Static) -> Option<Static> {
    if let (Static::Int(left), Static::Int(right)) = (left, right) {
        return Some(Static::Int(match op {
            Arithmetic::Add => left.wrapping_add(*right),
            Arithmetic::Subtract => left.wrapping_sub(*right),
            Arithmetic::Multiply => left.wrapping_mul(*right),
            Arithmetic::Divide => left.checked_div(*right)?,
            Arithmetic::Modulo => left.checked_rem(*right)?,
            Arithmetic::Power => (*right as f64).powf(*left as f64) as i64,
        }));
    }
    let (left, right) = (number(left)?, number(right)?);
    Some(Static::Float(match op {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Modulo => left % right,
        Arithmetic::Power => left.powf(right),
    }))
}

pub(super) fn aggregate(function: Aggregate, values: &[Static]) -> Option<Static> {
    let as_int = |value: &Static| match value {
        Static::Int(number) | Static::Duration(number) => *number,
        _ => 0,
    };
    let floats = values.iter().filter_map(number);
    let whole: i64 = values.iter().map(as_int).sum();
    let count = values.len();
    let are = |is: fn(&Static) -> bool| values.iter().all(is);
    let are_ints = are(|value| matches!(value, Static::Int(_)));
    let are_durations = are(|value| matches!(value, Static::Duration(_)));
    let first = values.first()?.clone();
    Some(match function {
        Aggregate::Min | Aggregate::Max => {
            let wanted = match function {
                Aggregate::Min => Comparison::Less,
                _ => Comparison::Greater,
            };
            let better = |best: Static, next: &Static| match compare(next, wanted, &best) {
                true => next.clone(),
                false => best,
            };
            values.iter().fold(first, better)
        }
        Aggregate::Sum if are_ints => Static::Int(whole),
        Aggregate::Sum if are_durations => Static::Duration(whole),
        Aggregate::Sum => Static::Float(floats.sum()),
        Aggregate::Avg if are_durations => Static::Duration(whole / count as i64),
        Aggregate::Avg => Static::Float(floats.sum::<f64>() / count as f64),
    })
}
