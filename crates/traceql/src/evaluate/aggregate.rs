//! Numbers computed from a spanset, and what is compared with them.

use super::bound::arithmetic;
use super::{Evaluator, Spanset, Trace, first};
use crate::ast::{Aggregate, FieldExpression, ScalarExpression, ScalarFilter};
use crate::value::{Static, Value};

impl<'a, T: Trace> Evaluator<'a, T> {
    /// The spanset with the values of its aggregates, if the comparison holds for them.
    pub(super) fn scalar_filter(
        &self,
        filter: &'a ScalarFilter,
        mut spanset: Spanset,
    ) -> Option<Spanset> {
        let mut attributes = Vec::new();
        let left = self.scalar(&filter.left, &spanset.spans, &mut attributes)?;
        let right = self.scalar(&filter.right, &spanset.spans, &mut attributes)?;
        if !left.compare(filter.op, right) {
            return None;
        }
        spanset.attributes.append(&mut attributes);
        Some(spanset)
    }

    fn scalar(
        &self,
        scalar: &'a ScalarExpression,
        spans: &[usize],
        attributes: &mut Vec<(String, Static)>,
    ) -> Option<Value<'a>> {
        let value = match scalar {
            ScalarExpression::Static(literal) => return literal.as_value(),
            ScalarExpression::Arithmetic { op, left, right } => {
                let left = self.scalar(left, spans, attributes)?;
                return arithmetic(*op, left, self.scalar(right, spans, attributes)?);
            }
            ScalarExpression::Count => Value::Int(spans.len() as i64),
            ScalarExpression::Aggregate { function, of } => self.aggregate(*function, of, spans)?,
        };
        attributes.push((scalar.to_string(), value.to_static()));
        Some(value)
    }

    /// `None` if no span has a number there.
    ///
    /// Ints and durations stay what they are but for the average of ints, which is a float; a mixture gives a float.
    fn aggregate(
        &self,
        function: Aggregate,
        of: &'a FieldExpression,
        spans: &[usize],
    ) -> Option<Value<'a>> {
        let of = self.bound(of);
        let values = spans.iter().filter_map(|span| {
            let value = first(of.value(&self.context, *span)?)?;
            value.as_float().map(|float| (value, float))
        });
        match function {
            Aggregate::Min | Aggregate::Max => {
                let better = |best: (Value<'a>, f64), next: (Value<'a>, f64)| {
                    let is_better = match function {
                        Aggregate::Min => next.1 < best.1,
                        _ => next.1 > best.1,
                    };
                    if is_better { next } else { best }
                };
                values.reduce(better).map(|(value, _)| value)
            }
            Aggregate::Sum | Aggregate::Avg => {
                let mut sum = Sum::default();
                values.for_each(|(value, float)| sum.add(value, float));
                match function {
                    Aggregate::Sum => sum.total(),
                    _ => sum.average(),
                }
            }
        }
    }
}

#[derive(Default)]
struct Sum {
    count: usize,
    /// How many of these were ints, and how many durations.
    ints: usize,
    durations: usize,
    whole: i64,
    float: f64,
}

impl Sum {
    fn add(&mut self, value: Value<'_>, float: f64) {
        self.count += 1;
        self.float += float;
        match value {
            Value::Int(int) => {
                self.ints += 1;
                self.whole = self.whole.wrapping_add(int);
            }
            Value::Duration(nanoseconds) => {
                self.durations += 1;
                self.whole = self.whole.wrapping_add(nanoseconds);
            }
            _ => {}
        }
    }

    fn total(&self) -> Option<Value<'static>> {
        match self.count {
            0 => None,
            count if count == self.ints => Some(Value::Int(self.whole)),
            count if count == self.durations => Some(Value::Duration(self.whole)),
            _ => Some(Value::Float(self.float)),
        }
    }

    fn average(&self) -> Option<Value<'static>> {
        Some(match self.total()? {
            Value::Duration(total) => Value::Duration(total / self.count as i64),
            Value::Int(total) => Value::Float(total as f64 / self.count as f64),
            _ => Value::Float(self.float / self.count as f64),
        })
    }
}
