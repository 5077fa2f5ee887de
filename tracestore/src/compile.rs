//! Turns TraceQL into what the store can be asked.

use std::ops::RangeInclusive;

use traceql::{
    Attribute, Condition, FieldExpression, Intrinsic, MetricsFunction, Query, Scope,
    SpansetExpression, Stage, Static,
};

use crate::query::{Comparison, Field, Filter, Operand, Place, Select, Tally, Test};

/// A query for the store.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) filter: Filter,
    /// What the query names, to be shown with each span.
    pub(crate) select: Vec<Select>,
}

/// Compiles a query that looks at each span by itself, if columns can tell all that it asks.
pub(crate) fn exact(query: &Query) -> Option<Compiled> {
    let filter = spans(query)?;
    let mut select = Vec::new();
    for field in query.fields() {
        let places = places(field);
        // What no column has must be made of whole traces.
        if places.is_empty() {
            return None;
        }
        let mut preferred = Vec::new();
        for expression in query.filters() {
            tests_of(field, expression, &mut preferred);
        }
        select.push(Select { places, preferred });
    }
    Some(Compiled { filter, select })
}

/// What comparisons ask of a field's value, whatever else is asked: see [`Query::shown`].
fn tests_of(field: &traceql::Field, expression: &FieldExpression, to: &mut Vec<Test>) {
    let is_field = |of: &FieldExpression| matches!(of, FieldExpression::Field(of) if of == field);
    match expression {
        FieldExpression::And(operands) | FieldExpression::Or(operands) => {
            operands
                .iter()
                .for_each(|operand| tests_of(field, operand, to));
        }
        FieldExpression::Compare { op, left, right } => {
            let (op, literal) = match (&**left, &**right) {
                (of, FieldExpression::Static(literal)) if is_field(of) => (*op, literal),
                (FieldExpression::Static(literal), of) if is_field(of) => (op.flipped(), literal),
                _ => return,
            };
            to.extend(operand(field, literal).map(|to| Test::Compare(comparison(op), to)));
        }
        FieldExpression::Match {
            value,
            negated,
            pattern,
        } if is_field(value) => to.push(match negated {
            false => Test::Matches(pattern.clone()),
            true => Test::MatchesNot(pattern.clone()),
        }),
        _ => {}
    }
}

/// What a query for metrics reads of the spans that it counts, if columns have it. Not of `compare()`.
pub(crate) fn tally(query: &Query, starts: RangeInclusive<u64>) -> Option<Tally> {
    let metrics = query.metrics.as_ref()?;
    if matches!(metrics.function, MetricsFunction::Compare { .. }) {
        return None;
    }
    let value = match metrics.function.field() {
        Some(field) => Some(own_places(field)?),
        None => None,
    };
    Some(Tally {
        starts,
        value,
        by: metrics.by.iter().map(own_places).collect::<Option<_>>()?,
    })
}

/// The spans that a query leaves, if columns can tell them one by one.
pub(crate) fn spans(query: &Query) -> Option<Filter> {
    let mut filters = Vec::new();
    for stage in &query.pipeline.stages {
        match stage {
            Stage::Spansets(SpansetExpression::Filter(expression)) => {
                filters.push(exact_filter(expression)?);
            }
            Stage::Select(_) => {}
            Stage::Spansets(_) | Stage::Scalar(_) | Stage::By(_) | Stage::Coalesce => return None,
        }
    }
    match filters.len() {
        1 => filters.pop(),
        _ => Some(Filter::And(filters)),
    }
}

/// Where metrics look for a field of which a span has one value at most. `None` if it may have several, or if the store has
/// no column for it.
fn own_places(field: &traceql::Field) -> Option<Vec<Field>> {
    let mut found = Vec::new();
    for field in metrics_fields(field) {
        let places = places(&field);
        if places.is_empty() || places.iter().any(Field::has_several) {
            return None;
        }
        found.extend(places);
    }
    Some(found)
}

/// What metrics take for a field: for them an attribute without a scope is that of the span or else of its resource, as in
/// Tempo, where filters look further.
pub(crate) fn metrics_fields(field: &traceql::Field) -> Vec<traceql::Field> {
    match field {
        traceql::Field::Attribute(Attribute { scope: None, name }) => {
            let of = |scope| {
                traceql::Field::Attribute(Attribute {
                    scope: Some(scope),
                    name: name.clone(),
                })
            };
            vec![of(Scope::Span), of(Scope::Resource)]
        }
        field => vec![field.clone()],
    }
}

/// `None` if columns cannot tell.
pub(crate) fn exact_filter(expression: &FieldExpression) -> Option<Filter> {
    let necessary = expression.condition();
    match necessary.is_exact {
        true => filter(&necessary.condition),
        false => None,
    }
}

/// What all spans pass that meet the condition, and others too where columns cannot tell.
pub(crate) fn necessary(condition: &Condition<'_>) -> Filter {
    match condition {
        Condition::And(all) => Filter::And(all.iter().map(necessary).collect()),
        Condition::Or(any) => Filter::Or(any.iter().map(necessary).collect()),
        condition => filter(condition).unwrap_or(Filter::All),
    }
}

/// `None` if columns cannot tell.
fn filter(condition: &Condition<'_>) -> Option<Filter> {
    Some(match condition {
        Condition::All => Filter::All,
        Condition::Nothing => Filter::Or(Vec::new()),
        Condition::And(all) => Filter::And(all.iter().map(filter).collect::<Option<_>>()?),
        Condition::Or(any) => Filter::Or(any.iter().map(filter).collect::<Option<_>>()?),
        Condition::Compare {
            field: traceql::Field::Intrinsic(Intrinsic::NestedSetParent),
            op,
            literal,
        } => root(*op, literal)?,
        Condition::Compare { field, op, literal } => match operand(field, literal) {
            Some(operand) => holds(field, &Test::Compare(comparison(*op), operand))?,
            None => Filter::Or(Vec::new()),
        },
        Condition::Match {
            field,
            negated: false,
            pattern,
        } => holds(field, &Test::Matches((*pattern).clone()))?,
        Condition::Match { field, pattern, .. } => {
            holds(field, &Test::MatchesNot((*pattern).clone()))?
        }
        Condition::Exists(field) => holds(field, &Test::Present)?,
        Condition::Missing(field) => Filter::Not(Box::new(holds(field, &Test::Present)?)),
    })
}

/// The parent's number is -1 for roots, 0 or more for all other spans: `None` if more has to be known.
fn root(op: traceql::Comparison, literal: &Static) -> Option<Filter> {
    use traceql::{Comparison::*, Value};
    let literal = literal.as_value()?;
    let holds = |number: i64| Value::Int(number).compare(op, literal);
    let of_others = match op {
        // Numbers end somewhere: what all but some equal or differ from is not known.
        Equal | NotEqual => {
            let is_other = Value::Int(0).compare(GreaterOrEqual, literal)
                && !Value::Int(0).compare(Equal, literal);
            is_other.then(|| holds(0))?
        }
        Less | LessOrEqual | Greater | GreaterOrEqual => {
            (holds(0) == holds(i64::MAX)).then(|| holds(0))?
        }
    };
    let roots = Filter::Root;
    Some(match (holds(-1), of_others) {
        (true, true) => Filter::All,
        (true, false) => roots,
        (false, true) => Filter::Not(Box::new(roots)),
        (false, false) => Filter::Or(Vec::new()),
    })
}

/// An attribute without a scope is that of the span; if the span has none, of its resource, and so
/// on.
fn holds(field: &traceql::Field, test: &Test) -> Option<Filter> {
    let places = places(field);
    let mut any = Vec::new();
    let mut absent: Vec<Filter> = Vec::new();
    for place in places {
        let mut all = absent.clone();
        all.push(Filter::Field(place.clone(), test.clone()));
        any.push(Filter::And(all));
        let present = Filter::Field(place, Test::Present);
        absent.push(Filter::Not(Box::new(present)));
    }
    match any.len() {
        0 => None,
        _ => Some(Filter::Or(any)),
    }
}

/// Where to look for a field, in this order. Empty if the store has no column for it.
pub(crate) fn places(field: &traceql::Field) -> Vec<Field> {
    let attribute = |scope: &Scope, name: &str| {
        let place = match scope {
            Scope::Span => Place::Span,
            Scope::Resource => Place::Resource,
            Scope::Event => Place::Event,
            Scope::Link => Place::Link,
            Scope::Instrumentation => Place::Scope,
        };
        Field::Attribute(place, name.into())
    };
    match field {
        traceql::Field::Attribute(Attribute { scope: None, name }) => Scope::ALL
            .iter()
            .map(|scope| attribute(scope, name))
            .collect(),
        traceql::Field::Attribute(Attribute {
            scope: Some(scope),
            name,
        }) => vec![attribute(scope, name)],
        traceql::Field::Intrinsic(intrinsic) => own(*intrinsic).into_iter().collect(),
    }
}

fn own(intrinsic: Intrinsic) -> Option<Field> {
    Some(match intrinsic {
        Intrinsic::Duration => Field::Duration,
        Intrinsic::Name => Field::Name,
        Intrinsic::Status => Field::Status,
        Intrinsic::StatusMessage => Field::StatusMessage,
        Intrinsic::Kind => Field::Kind,
        Intrinsic::EventName => Field::EventName,
        Intrinsic::InstrumentationName => Field::ScopeName,
        Intrinsic::InstrumentationVersion => Field::ScopeVersion,
        Intrinsic::SpanId
        | Intrinsic::ParentId
        | Intrinsic::ChildCount
        | Intrinsic::TraceId
        | Intrinsic::TraceDuration
        | Intrinsic::RootName
        | Intrinsic::RootServiceName
        | Intrinsic::NestedSetParent
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::EventTimeSinceStart
        | Intrinsic::LinkTraceId
        | Intrinsic::LinkSpanId => return None,
    })
}

/// `None` if no value of the field compares with the literal.
fn operand(field: &traceql::Field, literal: &Static) -> Option<Operand> {
    let is = |wanted: Intrinsic| *field == traceql::Field::Intrinsic(wanted);
    Some(match literal {
        Static::Int(int) => Operand::Int(*int),
        Static::Duration(nanoseconds) => Operand::Int(*nanoseconds),
        Static::Float(float) => Operand::Float(*float),
        Static::String(text) => Operand::String(text.as_str().into()),
        Static::Bool(is) => Operand::Bool(*is),
        Static::Status(status) if is(Intrinsic::Status) => Operand::Int(match status {
            traceql::Status::Unset => 0,
            traceql::Status::Ok => 1,
            traceql::Status::Error => 2,
        }),
        Static::Kind(kind) if is(Intrinsic::Kind) => Operand::Int(match kind {
            traceql::Kind::Unspecified => 0,
            traceql::Kind::Internal => 1,
            traceql::Kind::Server => 2,
            traceql::Kind::Client => 3,
            traceql::Kind::Producer => 4,
            traceql::Kind::Consumer => 5,
        }),
        Static::Nil | Static::Array(_) | Static::Status(_) | Static::Kind(_) => return None,
    })
}

fn comparison(op: traceql::Comparison) -> Comparison {
    match op {
        traceql::Comparison::Equal => Comparison::Equal,
        traceql::Comparison::NotEqual => Comparison::NotEqual,
        traceql::Comparison::Less => Comparison::Less,
        traceql::Comparison::LessOrEqual => Comparison::LessOrEqual,
        traceql::Comparison::Greater => Comparison::Greater,
        traceql::Comparison::GreaterOrEqual => Comparison::GreaterOrEqual,
    }
}
