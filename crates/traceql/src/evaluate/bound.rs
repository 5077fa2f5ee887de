//! Expressions whose fields were found in a trace.

use super::{Context, Trace, first};
use crate::Pattern;
use crate::ast::{Arithmetic, Attribute, Comparison, Field, FieldExpression, Intrinsic, Scope};
use crate::condition::is_boolean;
use crate::value::{Static, Value};

pub(super) enum Bound<'a, C> {
    Literal(Option<Value<'a>>),
    Column(C),
    /// Where an attribute without a scope was found, in the order in which it is looked up.
    Columns(Vec<C>),
    Structural(Intrinsic),
    And(Vec<Bound<'a, C>>),
    /// Each operand, and whether it is a boolean for every span.
    Or(Vec<(Bound<'a, C>, bool)>),
    Compare(Comparison, Box<[Bound<'a, C>; 2]>),
    Match(Box<Bound<'a, C>>, &'a Pattern, bool),
    Exists(Box<Bound<'a, C>>),
    Missing(Box<Bound<'a, C>>),
    Arithmetic(Arithmetic, Box<[Bound<'a, C>; 2]>),
    Not(Box<Bound<'a, C>>),
    Negate(Box<Bound<'a, C>>),
}

impl<'a, C: Copy> Bound<'a, C> {
    pub(super) fn new<T: Trace<Column = C>>(expression: &'a FieldExpression, trace: &T) -> Self {
        let bind = |expression: &'a FieldExpression| Bound::new(expression, trace);
        let boxed = |expression: &'a FieldExpression| Box::new(bind(expression));
        match expression {
            FieldExpression::Static(literal) => Bound::Literal(literal.as_value()),
            FieldExpression::Field(field) => column(field, trace),
            FieldExpression::And(all) => Bound::And(all.iter().map(bind).collect()),
            FieldExpression::Or(any) => {
                let bind = |side| (bind(side), is_boolean(side));
                Bound::Or(any.iter().map(bind).collect())
            }
            FieldExpression::Compare { op, left, right } => Bound::Compare(
                *op,
                Box::new([operand(left, right, trace), operand(right, left, trace)]),
            ),
            FieldExpression::Match {
                value,
                negated,
                pattern,
            } => Bound::Match(boxed(value), pattern, *negated),
            FieldExpression::Exists(of) => Bound::Exists(boxed(of)),
            FieldExpression::Missing(of) => Bound::Missing(boxed(of)),
            FieldExpression::Arithmetic { op, left, right } => {
                Bound::Arithmetic(*op, Box::new([bind(left), bind(right)]))
            }
            FieldExpression::Not(of) => Bound::Not(boxed(of)),
            FieldExpression::Negate(of) => Bound::Negate(boxed(of)),
        }
    }

    pub(super) fn is_true<T: Trace<Column = C>>(
        &self,
        context: &Context<'a, T>,
        span: usize,
    ) -> bool {
        self.boolean(context, span) == Some(true)
    }

    /// `None` if it is nil or of another type; of several values whether any is true.
    fn boolean<T: Trace<Column = C>>(&self, context: &Context<'a, T>, span: usize) -> Option<bool> {
        match self.value(context, span)? {
            Value::Bool(bool) => Some(bool),
            Value::Several(items) => {
                Some(items.iter().any(|item| matches!(item, Value::Bool(true))))
            }
            _ => None,
        }
    }

    pub(super) fn value<T: Trace<Column = C>>(
        &self,
        context: &Context<'a, T>,
        span: usize,
    ) -> Option<Value<'a>> {
        match self {
            Bound::Literal(value) => *value,
            Bound::Column(column) => value(context, *column, span),
            Bound::Columns(columns) => columns
                .iter()
                .find_map(|column| value(context, *column, span)),
            Bound::Structural(intrinsic) => {
                context.structure().value(*intrinsic, span).map(Value::Int)
            }
            Bound::And(all) => {
                let all = all.iter().all(|side| side.is_true(context, span));
                Some(Value::Bool(all))
            }
            Bound::Or(any) => Some(Value::Bool(or(any, context, span))),
            Bound::Compare(op, sides) => {
                let holds = sides[0].value(context, span).is_some_and(|left| {
                    let right = sides[1].value(context, span);
                    right.is_some_and(|right| left.compare(*op, right))
                });
                Some(Value::Bool(holds))
            }
            Bound::Match(of, pattern, negated) => {
                let value = of.value(context, span);
                let matches = value.is_some_and(|value| value.matches(pattern, *negated));
                Some(Value::Bool(matches))
            }
            Bound::Exists(of) => Some(Value::Bool(of.value(context, span).is_some())),
            Bound::Missing(of) => Some(Value::Bool(of.value(context, span).is_none())),
            Bound::Arithmetic(op, sides) => {
                let left = sides[0].value(context, span)?;
                arithmetic(*op, left, sides[1].value(context, span)?)
            }
            Bound::Not(of) => match first(of.value(context, span)?)? {
                Value::Bool(bool) => Some(Value::Bool(!bool)),
                _ => None,
            },
            Bound::Negate(of) => match first(of.value(context, span)?)? {
                Value::Int(int) => Some(Value::Int(int.wrapping_neg())),
                Value::Float(float) => Some(Value::Float(-float)),
                Value::Duration(int) => Some(Value::Duration(int.wrapping_neg())),
                _ => None,
            },
        }
    }
}

/// A side of a comparison; the literal that a trace's id is compared with loses the zeros that the id is kept without.
fn operand<'a, T: Trace>(
    side: &'a FieldExpression,
    other: &FieldExpression,
    trace: &T,
) -> Bound<'a, T::Column> {
    match (side, other) {
        (
            FieldExpression::Static(Static::String(id)),
            FieldExpression::Field(Field::Intrinsic(Intrinsic::TraceId)),
        ) => Bound::Literal(Some(Value::Str(id.trim_start_matches('0')))),
        _ => Bound::new(side, trace),
    }
}

pub(super) fn column<'a, T: Trace>(field: &Field, trace: &T) -> Bound<'a, T::Column> {
    let found = match field {
        Field::Intrinsic(intrinsic) if intrinsic.is_structural() => {
            return Bound::Structural(*intrinsic);
        }
        Field::Intrinsic(intrinsic) => trace.intrinsic(*intrinsic),
        Field::Attribute(Attribute {
            scope: Some(scope),
            name,
        }) => trace.attribute(*scope, name),
        Field::Attribute(Attribute { scope: None, name }) => {
            let found = Scope::ALL.into_iter();
            return Bound::Columns(
                found
                    .filter_map(|scope| trace.attribute(scope, name))
                    .collect(),
            );
        }
    };
    found.map_or(Bound::Literal(None), Bound::Column)
}

fn value<'a, T: Trace>(
    context: &Context<'a, T>,
    column: T::Column,
    span: usize,
) -> Option<Value<'a>> {
    let value = context.trace.value(column, span)?;
    match value {
        Value::Several(items) if items.is_empty() => None,
        value => Some(value),
    }
}

/// True if any is, unless one is no boolean: Tempo asks for both types before it looks at either value.
fn or<'a, T: Trace>(
    any: &[(Bound<'a, T::Column>, bool)],
    context: &Context<'a, T>,
    span: usize,
) -> bool {
    let mut sides = any.iter();
    let mut result = sides
        .next()
        .and_then(|(side, _)| side.boolean(context, span));
    for (side, is_boolean) in sides {
        if result == Some(true) && *is_boolean {
            continue;
        }
        result = Some(match (result, side.boolean(context, span)) {
            (Some(left), Some(right)) => left || right,
            _ => false,
        });
    }
    result == Some(true)
}

pub(super) fn arithmetic<'a>(
    op: Arithmetic,
    left: Value<'a>,
    right: Value<'a>,
) -> Option<Value<'a>> {
    let (left, right) = (first(left)?, first(right)?);
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        return Some(Value::Int(match op {
            Arithmetic::Add => left.wrapping_add(right),
            Arithmetic::Subtract => left.wrapping_sub(right),
            Arithmetic::Multiply => left.wrapping_mul(right),
            Arithmetic::Divide if right == 0 => return None,
            Arithmetic::Divide => left.wrapping_div(right),
            Arithmetic::Modulo if right == 0 => return None,
            Arithmetic::Modulo => left.wrapping_rem(right),
            Arithmetic::Power => match (right as f64).powf(left as f64) {
                power if power.abs() < i64::MAX as f64 => power as i64,
                // What Go makes of it on most processors.
                _ => i64::MIN,
            },
        }));
    }
    let (left, right) = (left.as_float()?, right.as_float()?);
    Some(Value::Float(match op {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Modulo => left % right,
        Arithmetic::Power => left.powf(right),
    }))
}
