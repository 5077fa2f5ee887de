//! Answers to queries by looking at every span.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashSet},
};

use super::{
    Request,
    model::{Whole, of},
};
use crate::{
    query::{Comparison, Field, Filter, Operand, Place, Test},
    span::{KeyValue, StatusCode, TraceId, Value},
    store::{part::rank, value},
};

/// The values that a span has of a field.
pub(super) fn values_of((resource, scope, span): &Whole, field: &Field) -> Vec<Value<'static>> {
    let text = |text: &str| Value::String(text.to_owned().into());
    let (place, key) = match field {
        Field::Name => return vec![text(&span.name)],
        Field::Kind => return vec![Value::Int(span.kind as i64)],
        Field::Status => return vec![Value::Int(span.status.code as i64)],
        Field::StatusMessage => return vec![text(&span.status.message)],
        Field::Duration => {
            let nanos = span.end_unix_nano.saturating_sub(span.start_unix_nano);
            return vec![Value::Int(i64::try_from(nanos).unwrap_or(i64::MAX))];
        }
        Field::ScopeName => return vec![text(&scope.name)],
        Field::ScopeVersion => return vec![text(&scope.version)],
        Field::EventName => return span.events.iter().map(|event| text(&event.name)).collect(),
        Field::Attribute(place, key) => (*place, key),
    };
    attributes(resource, scope, span, place)
        .filter(|attribute| attribute.key == **key)
        .map(|attribute| attribute.value.clone())
        .collect()
}

/// All that a span has in a place.
pub(super) fn attributes<'a>(
    resource: &'a crate::span::Resource<'static>,
    scope: &'a crate::span::Scope<'static>,
    span: &'a crate::span::Span<'static>,
    place: Place,
) -> Box<dyn Iterator<Item = &'a KeyValue<'static>> + 'a> {
    match place {
        Place::Span => Box::new(span.attributes.iter()),
        Place::Resource => Box::new(resource.attributes.iter()),
        Place::Scope => Box::new(scope.attributes.iter()),
        Place::Event => Box::new(span.events.iter().flat_map(|event| &event.attributes)),
        Place::Link => Box::new(span.links.iter().flat_map(|link| &link.attributes)),
    }
}

/// What a search shows of a value: nothing of a type that query languages do not have.
pub(super) fn shown(value: &Value<'static>) -> Option<Value<'static>> {
    match value {
        Value::Empty | Value::Bytes(_) | Value::Map(_) => None,
        Value::Array(items) => {
            let scalars = items.iter().filter(|item| !matches!(item, Value::Array(_)));
            Some(Value::Array(scalars.filter_map(shown).collect()))
        }
        scalar => Some(scalar.clone()),
    }
}

pub(super) fn passes(span: &Whole, filter: &Filter) -> bool {
    match filter {
        Filter::All => true,
        Filter::Root => span.2.parent.is_none(),
        Filter::Not(filter) => !passes(span, filter),
        Filter::And(filters) => filters.iter().all(|filter| passes(span, filter)),
        Filter::Or(filters) => filters.iter().any(|filter| passes(span, filter)),
        Filter::Field(field, test) => values_of(span, field)
            .iter()
            .any(|value| holds(value, test)),
    }
}

pub(super) fn holds(value: &Value<'_>, test: &Test) -> bool {
    if let (Value::Array(items), Test::Compare(..) | Test::Matches(_) | Test::MatchesNot(_)) =
        (value, test)
    {
        let each = |item: &Value<'_>| !matches!(item, Value::Array(_)) && holds(item, test);
        return match test {
            Test::MatchesNot(_) | Test::Compare(Comparison::NotEqual, _) => items.iter().all(each),
            _ => items.iter().any(each),
        };
    }
    #[expect(clippy::cast_precision_loss, reason = "as the languages compare them")]
    match (test, value) {
        (Test::Present, value) => !matches!(value, Value::Empty | Value::Bytes(_) | Value::Map(_)),
        (Test::Matches(pattern), Value::String(text)) => pattern.is_match(text),
        (Test::MatchesNot(pattern), Value::String(text)) => !pattern.is_match(text),
        (Test::Compare(comparison, operand), value) => match (value, operand) {
            (Value::String(a), Operand::String(b)) => compare(*comparison, &**a, &**b),
            (Value::Bool(a), Operand::Bool(b)) => compare(*comparison, a, b),
            (Value::Int(a), Operand::Int(b)) => compare(*comparison, a, b),
            (_, Operand::Float(operand)) if operand.is_nan() => false,
            (Value::Int(a), Operand::Float(b)) => compare(*comparison, &(*a as f64), b),
            (Value::Double(a), Operand::Int(b)) => compare(*comparison, &a.0, &(*b as f64)),
            (Value::Double(a), Operand::Float(b)) => compare(*comparison, &a.0, b),
            _ => false,
        },
        (Test::Matches(_) | Test::MatchesNot(_), _) => false,
    }
}

fn compare<T: PartialOrd + ?Sized>(comparison: Comparison, a: &T, b: &T) -> bool {
    match comparison {
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
    }
}

/// What is known of a trace.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: TraceId,
    pub(super) spans: HashSet<Whole>,
    /// The earliest that is known, or 0.
    pub(super) start: u64,
    pub(super) end: u64,
    received: (u64, u64),
}

impl Known {
    pub(super) fn rank(&self) -> u64 {
        rank(self.start, self.received.0)
    }

    /// Whether it was running, or received, between the two.
    pub(super) fn is_within(&self, first: u64, last: u64) -> bool {
        let begin = if self.start == 0 {
            self.end
        } else {
            self.start
        };
        let overlaps = |from: u64, to: u64| from <= last && first <= to;
        overlaps(begin, self.end) || overlaps(self.received.0, self.received.1)
    }
}

/// All traces, the newest first.
pub(super) fn traces(requests: &[Request]) -> Vec<Known> {
    let known = of(requests).into_iter().map(|(id, spans)| {
        let of_it = |request: &&Request| {
            let mut spans = request.batches.iter().flat_map(|batch| &batch.spans);
            spans.any(|(trace, _)| *trace == id)
        };
        let received = || {
            requests
                .iter()
                .filter(of_it)
                .map(|request| request.received)
        };
        let starts = spans.iter().map(|(.., span)| span.start_unix_nano);
        let ends = spans
            .iter()
            .map(|(.., span)| span.start_unix_nano.max(span.end_unix_nano));
        Known {
            id,
            start: starts.filter(|start| *start != 0).min().unwrap_or(0),
            end: ends.max().unwrap(),
            received: (received().min().unwrap(), received().max().unwrap()),
            spans,
        }
    });
    let mut known: Vec<Known> = known.collect();
    known.sort_by_key(|known| (Reverse(known.rank()), known.id));
    known
}

/// By service: how many spans, and how many of them are errors.
pub(super) fn services(known: &Known) -> BTreeMap<String, (u32, u32)> {
    let mut services = BTreeMap::<String, (u32, u32)>::new();
    for (resource, _, span) in &known.spans {
        let (spans, errors) = services
            .entry(resource.service_name().unwrap_or_default().to_owned())
            .or_default();
        *spans += 1;
        *errors += u32::from(span.status.code == StatusCode::Error);
    }
    services
}

/// The distinct values of a field and the items of its lists, in the order of their bytes.
pub(super) fn values(requests: &[Request], field: &Field, filter: &Filter) -> Vec<Value<'static>> {
    let spans = of(requests).into_values().flatten();
    let spans = spans.filter(|span| *field != Field::Duration && passes(span, filter));
    let is_own = !matches!(field, Field::Attribute(..));
    let mut found = BTreeSet::new();
    let values = spans.flat_map(|span| values_of(&span, field));
    let values = values.flat_map(|value| match value {
        Value::Array(items) => items,
        value => vec![value],
    });
    for value in values {
        let is_default = value == Value::Int(0) || value == Value::String("".into());
        if !(is_own && is_default) {
            let mut bytes = Vec::new();
            value::encode(&value, &mut bytes);
            found.insert(bytes);
        }
    }
    let values = found
        .iter()
        .map(|bytes| value::decode(bytes).unwrap().into_owned());
    values.collect()
}
