//! What a column scan can know of a query before it is evaluated.

use crate::Pattern;
use crate::ast::{
    Comparison, Field, FieldExpression, Form, MetricsFunction, Pipeline, Query, ScalarExpression,
    SpansetExpression, Stage,
};
use crate::value::{Static, Value};

/// What a span has to meet, so that a filter can match it: an upper bound that is cheap to look for.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition<'q> {
    /// Nothing is known: any span may.
    All,
    /// No span can.
    Nothing,
    /// All of these, two or more.
    And(Vec<Condition<'q>>),
    /// Any of these, two or more.
    Or(Vec<Condition<'q>>),
    /// The field's [value](crate::Value::compare) compares so with the literal.
    Compare {
        /// What to look at.
        field: &'q Field,
        /// How; the field is on the left, wherever the query has it.
        op: Comparison,
        /// Never nil nor an array. Beside a trace's id it may have leading zeros, which the id has not.
        literal: &'q Static,
    },
    /// The field's [value](crate::Value::matches) matches, or does not.
    Match {
        /// What to look at.
        field: &'q Field,
        /// `!~`
        negated: bool,
        /// The whole of the value.
        pattern: &'q Pattern,
    },
    /// The span has the field.
    Exists(&'q Field),
    /// The span has no such field.
    Missing(&'q Field),
}

/// A [`Condition`], and whether it says all that the filter says.
#[derive(Clone, Debug, PartialEq)]
pub struct Necessary<'q> {
    /// What every matched span meets.
    pub condition: Condition<'q>,
    /// Whether the reverse is true too: every span that meets it is matched, so nothing is left to evaluate.
    pub is_exact: bool,
}

/// What a trace has to hold, so that a query can find anything in it.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceCondition<'q> {
    /// At least one span that meets this.
    Some(Condition<'q>),
    /// All of these, two or more, each by any spans.
    And(Vec<TraceCondition<'q>>),
    /// Any of these, two or more.
    Or(Vec<TraceCondition<'q>>),
}

impl FieldExpression {
    /// What a span has to meet, so that this is true for it.
    ///
    /// ```
    /// use traceql::{Comparison, Condition, parse};
    ///
    /// let query = parse("{ span.http.route = `/books` && (duration > 1s || !.cached) }")?;
    /// let necessary = query.leading_filter().unwrap().condition();
    /// assert!(matches!(necessary.condition, Condition::Compare { op: Comparison::Equal, .. }));
    /// assert!(!necessary.is_exact);
    /// # Ok::<(), traceql::ParseError>(())
    /// ```
    pub fn condition(&self) -> Necessary<'_> {
        let exact = |condition| Necessary {
            condition,
            is_exact: true,
        };
        match self {
            FieldExpression::Static(Static::Bool(true)) => exact(Condition::All),
            FieldExpression::Static(_) => exact(Condition::Nothing),
            // An attribute by itself is a filter too, and only `true` passes it; not a list with `true` in it.
            FieldExpression::Field(field) => Necessary {
                condition: comparison(field, Comparison::Equal, &Static::Bool(true)),
                is_exact: false,
            },
            FieldExpression::And(all) => joined(all, true),
            FieldExpression::Or(any) => joined(any, false),
            FieldExpression::Compare { op, left, right } => match (&**left, &**right) {
                (FieldExpression::Field(field), FieldExpression::Static(literal)) => {
                    exact(comparison(field, *op, literal))
                }
                (FieldExpression::Static(literal), FieldExpression::Field(field)) => {
                    exact(comparison(field, op.flipped(), literal))
                }
                (FieldExpression::Field(left), FieldExpression::Field(right)) => Necessary {
                    condition: Condition::And(vec![
                        Condition::Exists(left),
                        Condition::Exists(right),
                    ]),
                    is_exact: false,
                },
                _ => Necessary::UNKNOWN,
            },
            FieldExpression::Match {
                value,
                negated,
                pattern,
            } => match &**value {
                FieldExpression::Field(field) => exact(Condition::Match {
                    field,
                    negated: *negated,
                    pattern,
                }),
                _ => Necessary::UNKNOWN,
            },
            FieldExpression::Exists(of) => match &**of {
                FieldExpression::Field(field) => exact(Condition::Exists(field)),
                _ => Necessary::UNKNOWN,
            },
            FieldExpression::Missing(of) => match &**of {
                FieldExpression::Field(field) => exact(Condition::Missing(field)),
                _ => Necessary::UNKNOWN,
            },
            // What is nil is neither true nor false, so the opposite of a condition says nothing.
            FieldExpression::Not(_) => Necessary::UNKNOWN,
            FieldExpression::Arithmetic { .. } | FieldExpression::Negate(_) => {
                exact(Condition::Nothing)
            }
        }
    }
}

impl Necessary<'_> {
    const UNKNOWN: Necessary<'static> = Necessary {
        condition: Condition::All,
        is_exact: false,
    };
}

fn comparison<'q>(field: &'q Field, op: Comparison, literal: &'q Static) -> Condition<'q> {
    match literal {
        Static::Nil | Static::Array(_) => Condition::Nothing,
        literal => Condition::Compare { field, op, literal },
    }
}

fn joined(operands: &[FieldExpression], is_and: bool) -> Necessary<'_> {
    let mut is_exact = true;
    let mut conditions = Vec::with_capacity(operands.len());
    for operand in operands {
        let necessary = operand.condition();
        // `a || b` is false where one side is no boolean, even if the other is true.
        is_exact &= necessary.is_exact && (is_and || is_boolean(operand));
        conditions.push(necessary.condition);
    }
    let condition = if is_and {
        and(conditions)
    } else {
        or(conditions)
    };
    Necessary {
        condition,
        is_exact,
    }
}

/// Whether an expression is true or false for every span, never nil or of another type.
pub(crate) fn is_boolean(expression: &FieldExpression) -> bool {
    match expression {
        FieldExpression::Static(Static::Bool(_))
        | FieldExpression::And(_)
        | FieldExpression::Or(_)
        | FieldExpression::Compare { .. }
        | FieldExpression::Match { .. }
        | FieldExpression::Exists(_)
        | FieldExpression::Missing(_) => true,
        FieldExpression::Static(_)
        | FieldExpression::Field(_)
        | FieldExpression::Arithmetic { .. }
        | FieldExpression::Not(_)
        | FieldExpression::Negate(_) => false,
    }
}

fn and(mut conditions: Vec<Condition<'_>>) -> Condition<'_> {
    if conditions.contains(&Condition::Nothing) {
        return Condition::Nothing;
    }
    conditions.retain(|condition| *condition != Condition::All);
    match conditions.len() {
        0 => Condition::All,
        1 => conditions.remove(0),
        _ => Condition::And(conditions),
    }
}

fn or(mut conditions: Vec<Condition<'_>>) -> Condition<'_> {
    if conditions.contains(&Condition::All) {
        return Condition::All;
    }
    conditions.retain(|condition| *condition != Condition::Nothing);
    match conditions.len() {
        0 => Condition::Nothing,
        1 => conditions.remove(0),
        _ => Condition::Or(conditions),
    }
}

impl Query {
    /// The filter that this begins with, if it begins with nothing but one: `{ … }`, `{ … } | …`.
    pub fn leading_filter(&self) -> Option<&FieldExpression> {
        match self.pipeline.stages.first() {
            Some(Stage::Spansets(SpansetExpression::Filter(filter))) => Some(filter),
            _ => None,
        }
    }

    /// Whether each span passes or fails by itself, so that traces need not be put together: `{ … } | { … } | select (…)`.
    pub fn is_per_span(&self) -> bool {
        self.pipeline.stages.iter().all(|stage| match stage {
            Stage::Spansets(spansets) => matches!(spansets, SpansetExpression::Filter(_)),
            Stage::Select(_) => true,
            Stage::Scalar(_) | Stage::By(_) | Stage::Coalesce => false,
        })
    }

    /// What a trace has to hold, so that this can find anything in it.
    pub fn trace_condition(&self) -> TraceCondition<'_> {
        self.pipeline.trace_condition()
    }

    /// Every filter `{ … }` that finds spans, in the order of the text; not that of `compare()`.
    ///
    /// What is given to [`Trace::matched`](crate::Trace::matched) are these very expressions.
    pub fn filters(&self) -> Vec<&FieldExpression> {
        let mut filters = Vec::new();
        pipeline_filters(&self.pipeline, &mut filters);
        filters
    }

    /// Every field that the query reads, shows or groups by, each once, in the order of the text.
    ///
    /// Not those that a nil test says a span must not have.
    pub fn fields(&self) -> Vec<&Field> {
        let mut fields = Vec::new();
        pipeline_fields(&self.pipeline, &mut fields);
        if let Some(metrics) = &self.metrics {
            fields.extend(metrics.function.field());
            if let MetricsFunction::Compare { selection, .. } = &metrics.function {
                expression_fields(selection, &mut fields);
            }
            fields.extend(&metrics.by);
        }
        let mut seen = std::collections::HashSet::new();
        fields.retain(|field| seen.insert(*field));
        fields
    }

    /// Whether it matters what the [parents](crate::Trace::parent) of spans are: `{ … } >> { … }`, `{ nestedSetParent < 0 }`.
    pub fn is_structural(&self) -> bool {
        let is_structural = |field: &&Field| match field {
            Field::Intrinsic(intrinsic) => intrinsic.is_structural(),
            Field::Attribute(_) => false,
        };
        pipeline_relates(&self.pipeline) || self.fields().iter().any(is_structural)
    }

    /// What an answer shows of a field: of [several values](Value::Several) the first that meets a comparison with that field
    /// in the query, or else the first of all. Any other value is shown as it is.
    pub fn shown<'v>(&self, field: &Field, value: Value<'v>) -> Value<'v> {
        let Value::Several(items) = value else {
            return value;
        };
        let mut filters = Vec::new();
        pipeline_filters(&self.pipeline, &mut filters);
        let is_met = |item: &Value<'_>| filters.iter().any(|filter| meets(*item, field, filter));
        let met = items.iter().find(is_met);
        met.or_else(|| items.iter().next()).unwrap_or(value)
    }
}

/// Whether a value of a field is what a comparison in this expression asks for, whatever else it asks for.
fn meets(value: Value<'_>, field: &Field, expression: &FieldExpression) -> bool {
    let is_field = |of: &FieldExpression| matches!(of, FieldExpression::Field(of) if of == field);
    match expression {
        FieldExpression::And(operands) | FieldExpression::Or(operands) => {
            operands.iter().any(|operand| meets(value, field, operand))
        }
        FieldExpression::Compare { op, left, right } => match (&**left, &**right) {
            (of, FieldExpression::Static(literal)) if is_field(of) => literal
                .as_value()
                .is_some_and(|literal| value.compare(*op, literal)),
            (FieldExpression::Static(literal), of) if is_field(of) => literal
                .as_value()
                .is_some_and(|literal| literal.compare(*op, value)),
            _ => false,
        },
        FieldExpression::Match {
            value: of,
            negated,
            pattern,
        } => is_field(of) && value.matches(pattern, *negated),
        FieldExpression::Static(_)
        | FieldExpression::Field(_)
        | FieldExpression::Exists(_)
        | FieldExpression::Missing(_)
        | FieldExpression::Arithmetic { .. }
        | FieldExpression::Not(_)
        | FieldExpression::Negate(_) => false,
    }
}

impl Pipeline {
    fn trace_condition(&self) -> TraceCondition<'_> {
        let mut conditions = Vec::new();
        for stage in &self.stages {
            if let Stage::Spansets(spansets) = stage {
                conditions.push(spansets.trace_condition());
            }
        }
        trace_and(conditions)
    }
}

impl SpansetExpression {
    /// What a trace has to hold, so that this can match anything in it.
    pub fn trace_condition(&self) -> TraceCondition<'_> {
        match self {
            SpansetExpression::Filter(filter) => TraceCondition::Some(filter.condition().condition),
            SpansetExpression::And(all) => {
                trace_and(all.iter().map(SpansetExpression::trace_condition).collect())
            }
            SpansetExpression::Or(any) => {
                let mut any: Vec<_> = any.iter().map(SpansetExpression::trace_condition).collect();
                match any.len() {
                    1 => any.remove(0),
                    _ => TraceCondition::Or(any),
                }
            }
            SpansetExpression::Related {
                left,
                relation,
                right,
            } => {
                let right = right.trace_condition();
                if relation.form == Form::Not {
                    // Nothing on the left is the best case.
                    return right;
                }
                trace_and(vec![left.trace_condition(), right])
            }
            SpansetExpression::Pipeline(pipeline) => pipeline.trace_condition(),
        }
    }
}

fn trace_and(mut conditions: Vec<TraceCondition<'_>>) -> TraceCondition<'_> {
    conditions.retain(|condition| *condition != TraceCondition::Some(Condition::All));
    match conditions.len() {
        0 => TraceCondition::Some(Condition::All),
        1 => conditions.remove(0),
        _ => TraceCondition::And(conditions),
    }
}

fn pipeline_filters<'q>(pipeline: &'q Pipeline, filters: &mut Vec<&'q FieldExpression>) {
    for stage in &pipeline.stages {
        match stage {
            Stage::Spansets(spansets) => spanset_filters(spansets, filters),
            Stage::Scalar(_) | Stage::By(_) | Stage::Coalesce | Stage::Select(_) => {}
        }
    }
}

fn spanset_filters<'q>(spansets: &'q SpansetExpression, filters: &mut Vec<&'q FieldExpression>) {
    match spansets {
        SpansetExpression::Filter(filter) => filters.push(filter),
        SpansetExpression::And(operands) | SpansetExpression::Or(operands) => {
            operands
                .iter()
                .for_each(|operand| spanset_filters(operand, filters));
        }
        SpansetExpression::Related { left, right, .. } => {
            spanset_filters(left, filters);
            spanset_filters(right, filters);
        }
        SpansetExpression::Pipeline(pipeline) => pipeline_filters(pipeline, filters),
    }
}

fn pipeline_relates(pipeline: &Pipeline) -> bool {
    pipeline.stages.iter().any(|stage| match stage {
        Stage::Spansets(spansets) => spansets_relate(spansets),
        Stage::Scalar(_) | Stage::By(_) | Stage::Coalesce | Stage::Select(_) => false,
    })
}

fn spansets_relate(spansets: &SpansetExpression) -> bool {
    match spansets {
        SpansetExpression::Filter(_) => false,
        SpansetExpression::And(operands) | SpansetExpression::Or(operands) => {
            operands.iter().any(spansets_relate)
        }
        SpansetExpression::Related { .. } => true,
        SpansetExpression::Pipeline(pipeline) => pipeline_relates(pipeline),
    }
}

fn pipeline_fields<'q>(pipeline: &'q Pipeline, fields: &mut Vec<&'q Field>) {
    for stage in &pipeline.stages {
        match stage {
            Stage::Spansets(spansets) => spanset_fields(spansets, fields),
            Stage::Scalar(filter) => {
                scalar_fields(&filter.left, fields);
                scalar_fields(&filter.right, fields);
            }
            Stage::By(key) => expression_fields(key, fields),
            Stage::Coalesce => {}
            Stage::Select(selected) => fields.extend(selected),
        }
    }
}

fn spanset_fields<'q>(spansets: &'q SpansetExpression, fields: &mut Vec<&'q Field>) {
    match spansets {
        SpansetExpression::Filter(filter) => expression_fields(filter, fields),
        SpansetExpression::And(operands) | SpansetExpression::Or(operands) => {
            operands
                .iter()
                .for_each(|operand| spanset_fields(operand, fields));
        }
        SpansetExpression::Related { left, right, .. } => {
            spanset_fields(left, fields);
            spanset_fields(right, fields);
        }
        SpansetExpression::Pipeline(pipeline) => pipeline_fields(pipeline, fields),
    }
}

fn scalar_fields<'q>(scalar: &'q ScalarExpression, fields: &mut Vec<&'q Field>) {
    match scalar {
        ScalarExpression::Static(_) | ScalarExpression::Count => {}
        ScalarExpression::Aggregate { of, .. } => expression_fields(of, fields),
        ScalarExpression::Arithmetic { left, right, .. } => {
            scalar_fields(left, fields);
            scalar_fields(right, fields);
        }
    }
}

pub(crate) fn expression_fields<'q>(expression: &'q FieldExpression, fields: &mut Vec<&'q Field>) {
    match expression {
        FieldExpression::Static(_) => {}
        FieldExpression::Field(field) => fields.push(field),
        FieldExpression::And(operands) | FieldExpression::Or(operands) => {
            operands
                .iter()
                .for_each(|operand| expression_fields(operand, fields));
        }
        FieldExpression::Compare { left, right, .. }
        | FieldExpression::Arithmetic { left, right, .. } => {
            expression_fields(left, fields);
            expression_fields(right, fields);
        }
        FieldExpression::Match { value: of, .. }
        | FieldExpression::Exists(of)
        | FieldExpression::Missing(of)
        | FieldExpression::Not(of)
        | FieldExpression::Negate(of) => expression_fields(of, fields),
    }
}
