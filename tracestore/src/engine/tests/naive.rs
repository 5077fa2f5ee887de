//! Answers queries by looking at every span, as plainly as the language can be said.
//!
//! Shares nothing with the evaluator but the tree of a query. Traces are small here: everything is quadratic.

mod operators;
mod series;
mod shown;

use std::sync::Arc;

use traceql::{
    Attribute, Field, FieldExpression, Form, Intrinsic, Kin, Pipeline, ScalarExpression, Scope,
    Spanset, SpansetExpression, Stage, Static, Status,
};

use self::operators::{aggregate, arithmetic, boolean, compare, number};
pub(super) use self::{
    series::{Labels, series},
    shown::meets,
};

use crate::{
    query::Place,
    span::{
        self, Double, KeyValue, Resource, SERVICE_NAME, Span, SpanId, StatusCode, TraceId, Value,
    },
    store::{Batch, Tag},
};

/// The spans of a trace by start and id, each with where it comes from.
pub(super) struct Whole {
    pub(super) id: TraceId,
    pub(super) spans: Vec<(
        Arc<Resource<'static>>,
        Arc<span::Scope<'static>>,
        Span<'static>,
    )>,
}

/// All traces of what was sent, in the order of their ids; what came twice is there once.
pub(super) fn traces(requests: &[Vec<Batch<'static>>]) -> Vec<Whole> {
    let mut traces: Vec<Whole> = Vec::new();
    for batch in requests.iter().flatten() {
        for (id, span) in &batch.spans {
            let whole = (batch.resource.clone(), batch.scope.clone(), span.clone());
            match traces.iter_mut().find(|trace| trace.id == *id) {
                Some(trace) if trace.spans.contains(&whole) => {}
                Some(trace) => trace.spans.push(whole),
                None => traces.push(Whole {
                    id: *id,
                    spans: vec![whole],
                }),
            }
        }
    }
    for trace in &mut traces {
        (trace.spans).sort_by_key(|(.., span)| (span.start_unix_nano, span.id));
    }
    traces.sort_by_key(|trace| trace.id);
    traces
}

/// The tree of a trace; a missing parent and the first span of a cycle are no parent.
#[derive(Clone, Copy, PartialEq)]
enum Above {
    Nothing,
    Missing,
    Span(usize),
}

/// One side of a structural operator was several spansets.
#[derive(Debug)]
pub(super) struct ManySpansets;

/// Values that a span has: none is nil, several are those of its events and links.
type Values = Vec<Static>;

impl Whole {
    /// The client and the server that share an id, if no other span has it.
    fn shared(&self, id: SpanId) -> Option<(usize, usize)> {
        let of = |span: &usize| self.spans[*span].2.id == id;
        let all: Vec<_> = (0..self.spans.len()).filter(of).collect();
        let find = |kind| {
            let is_it = |span: &&usize| self.spans[**span].2.kind == kind;
            all.iter().find(is_it).copied()
        };
        let pair = find(span::Kind::Client).zip(find(span::Kind::Server));
        pair.filter(|_| all.len() == 2)
    }

    fn above(&self, span: usize) -> Above {
        let stated = |span: usize| {
            let (.., own) = &self.spans[span];
            let Some(parent) = own.parent else {
                return Above::Nothing;
            };
            if let Some((client, server)) = self.shared(own.id)
                && server == span
            {
                return Above::Span(client);
            }
            match self.shared(parent) {
                Some((client, _)) if own.kind == span::Kind::Server => Above::Span(client),
                Some((client, _)) if client == span => Above::Span(client),
                Some((_, server)) => Above::Span(server),
                None => {
                    let found = self.spans.iter().position(|(.., other)| other.id == parent);
                    found.map_or(Above::Missing, Above::Span)
                }
            }
        };
        // The spans that are met on the way up, until one is met again.
        let mut cycle = vec![span];
        let mut at = span;
        while let Above::Span(parent) = stated(at) {
            if parent == span {
                return match cycle.iter().min() == Some(&span) {
                    true => Above::Missing,
                    false => stated(span),
                };
            }
            if cycle.contains(&parent) {
                break;
            }
            cycle.push(parent);
            at = parent;
        }
        stated(span)
    }

    fn ancestors(&self, span: usize) -> Vec<usize> {
        match self.above(span) {
            Above::Span(parent) => [vec![parent], self.ancestors(parent)].concat(),
            Above::Nothing | Above::Missing => Vec::new(),
        }
    }

    /// Left and right numbers of all spans.
    fn nested_sets(&self) -> Vec<(i64, i64)> {
        fn visit(trace: &Whole, span: usize, next: &mut i64, sets: &mut [(i64, i64)]) {
            sets[span].0 = *next;
            *next += 1;
            for child in 0..trace.spans.len() {
                if trace.above(child) == Above::Span(span) {
                    visit(trace, child, next, sets);
                }
            }
            sets[span].1 = *next;
            *next += 1;
        }
        let mut sets = vec![(0, 0); self.spans.len()];
        let mut next = 1;
        for kind in [Above::Nothing, Above::Missing] {
            for top in 0..self.spans.len() {
                if self.above(top) == kind {
                    visit(self, top, &mut next, &mut sets);
                }
            }
        }
        sets
    }

    fn is_related(&self, kin: Kin, left: usize, right: usize) -> bool {
        match kin {
            Kin::Child => self.above(right) == Above::Span(left),
            Kin::Parent => self.above(left) == Above::Span(right),
            Kin::Descendant => self.ancestors(right).contains(&left),
            Kin::Ancestor => self.ancestors(left).contains(&right),
            Kin::Sibling => {
                left != right
                    && self.above(left) == self.above(right)
                    && self.above(left) != Above::Missing
            }
        }
    }

    pub(super) fn values(&self, field: &Field, span: usize) -> Values {
        let (resource, scope, own) = &self.spans[span];
        let text = |text: &str| vec![Static::String(text.to_owned())];
        let int = |number: i64| vec![Static::Int(number)];
        let root = || {
            let mut spans = self.spans.iter();
            spans.find(|(.., span)| span.parent.is_none())
        };
        let no_root = "";
        let intrinsic = match field {
            Field::Attribute(Attribute { scope: None, name }) => {
                let each = Scope::ALL.into_iter().map(|scope| {
                    let name = name.clone();
                    let scope = Some(scope);
                    self.values(&Field::Attribute(Attribute { scope, name }), span)
                });
                let mut found = each.filter(|values| !values.is_empty());
                return found.next().unwrap_or_default();
            }
            Field::Attribute(Attribute {
                scope: Some(place),
                name,
            }) => {
                let records: Vec<&Vec<KeyValue<'static>>> = match place {
                    Scope::Span => vec![&own.attributes],
                    Scope::Resource => vec![&resource.attributes],
                    Scope::Instrumentation => vec![&scope.attributes],
                    Scope::Event => own.events.iter().map(|event| &event.attributes).collect(),
                    Scope::Link => own.links.iter().map(|link| &link.attributes).collect(),
                };
                return records.into_iter().flat_map(|r| lookup(r, name)).collect();
            }
            Field::Intrinsic(intrinsic) => intrinsic,
        };
        match intrinsic {
            Intrinsic::Duration => {
                let nanos = own.end_unix_nano.saturating_sub(own.start_unix_nano);
                vec![Static::Duration(i64::try_from(nanos).unwrap())]
            }
            Intrinsic::Name => text(&own.name),
            Intrinsic::Status => vec![Static::Status(match own.status.code {
                StatusCode::Unset => Status::Unset,
                StatusCode::Ok => Status::Ok,
                StatusCode::Error => Status::Error,
            })],
            Intrinsic::StatusMessage => text(&own.status.message),
            Intrinsic::Kind => vec![Static::Kind(match own.kind {
                span::Kind::Unspecified => traceql::Kind::Unspecified,
                span::Kind::Internal => traceql::Kind::Internal,
                span::Kind::Server => traceql::Kind::Server,
                span::Kind::Client => traceql::Kind::Client,
                span::Kind::Producer => traceql::Kind::Producer,
                span::Kind::Consumer => traceql::Kind::Consumer,
            })],
            Intrinsic::SpanId => text(&own.id.to_string()),
            Intrinsic::ParentId => text(&own.parent.map_or(String::new(), |id| id.to_string())),
            Intrinsic::TraceId => text(self.id.to_string().trim_start_matches('0')),
            Intrinsic::ChildCount => {
                let children =
                    (0..self.spans.len()).filter(|child| self.above(*child) == Above::Span(span));
                int(children.count() as i64)
            }
            Intrinsic::NestedSetLeft => int(self.nested_sets()[span].0),
            Intrinsic::NestedSetRight => int(self.nested_sets()[span].1),
            Intrinsic::NestedSetParent => int(match self.above(span) {
                Above::Nothing => -1,
                Above::Missing => 0,
                Above::Span(parent) => self.nested_sets()[parent].0,
            }),
            Intrinsic::TraceDuration => {
                let spans = || self.spans.iter().map(|(.., span)| span);
                let known = spans().map(|span| span.start_unix_nano);
                let start = known.filter(|start| *start != 0).min().unwrap_or(0);
                let ends = spans().map(|span| span.end_unix_nano.max(span.start_unix_nano));
                let nanos = ends.max().unwrap().saturating_sub(start);
                vec![Static::Duration(i64::try_from(nanos).unwrap())]
            }
            Intrinsic::RootName => text(root().map_or(no_root, |(.., span)| &span.name)),
            Intrinsic::RootServiceName => match root() {
                None => text(no_root),
                Some((resource, ..)) => lookup(&resource.attributes, SERVICE_NAME)
                    .into_iter()
                    .collect(),
            },
            Intrinsic::EventName => {
                let names = own.events.iter().map(|event| event.name.to_string());
                names.map(Static::String).collect()
            }
            Intrinsic::EventTimeSinceStart => {
                let since = own.events.iter().map(|event| {
                    let since = event.time_unix_nano.wrapping_sub(own.start_unix_nano);
                    Static::Duration(since.cast_signed())
                });
                since.collect()
            }
            Intrinsic::LinkTraceId => {
                let ids = own.links.iter().map(|link| link.trace.to_string());
                ids.map(Static::String).collect()
            }
            Intrinsic::LinkSpanId => {
                let ids = own.links.iter().map(|link| link.span.to_string());
                ids.map(Static::String).collect()
            }
            Intrinsic::InstrumentationName => text(&scope.name),
            Intrinsic::InstrumentationVersion => text(&scope.version),
        }
    }

    fn evaluate(&self, expression: &FieldExpression, span: usize) -> Values {
        let value = |expression: &FieldExpression| self.evaluate(expression, span);
        let truth = |is: bool| vec![Static::Bool(is)];
        match expression {
            FieldExpression::Static(literal) => vec![literal.clone()],
            FieldExpression::Field(field) => self.values(field, span),
            FieldExpression::And(all) => truth(all.iter().all(|side| self.is_true(side, span))),
            FieldExpression::Or(any) => {
                let mut sides = any.iter().map(|side| boolean(&value(side)));
                let first = sides.next().unwrap();
                // What is no boolean makes it false, even beside what is true.
                let or = sides.fold(first, |left, right| {
                    Some(matches!((left, right), (Some(left), Some(right)) if left || right))
                });
                truth(or == Some(true))
            }
            FieldExpression::Compare { op, left, right } => {
                let is_id = |side: &FieldExpression| {
                    *side == FieldExpression::Field(Field::Intrinsic(Intrinsic::TraceId))
                };
                let short = |values: Values| {
                    let short = |value| match value {
                        Static::String(id) => Static::String(id.trim_start_matches('0').to_owned()),
                        other => other,
                    };
                    values.into_iter().map(short).collect::<Values>()
                };
                let (mut left_values, mut right_values) = (value(left), value(right));
                if is_id(left) || is_id(right) {
                    (left_values, right_values) = (short(left_values), short(right_values));
                }
                truth(
                    left_values
                        .iter()
                        .any(|left| right_values.iter().any(|right| compare(left, *op, right))),
                )
            }
            FieldExpression::Match {
                value: of,
                negated,
                pattern,
            } => {
                let of_text = |value: &Static| match value {
                    Static::String(text) => pattern.is_match(text) != *negated,
                    _ => false,
                };
                truth(value(of).iter().any(|value| match value {
                    Static::Array(items) if *negated => items.iter().all(of_text),
                    Static::Array(items) => items.iter().any(of_text),
                    value => of_text(value),
                }))
            }
            FieldExpression::Exists(of) => truth(!value(of).is_empty()),
            FieldExpression::Missing(of) => truth(value(of).is_empty()),
            FieldExpression::Arithmetic { op, left, right } => {
                match (value(left).first(), value(right).first()) {
                    (Some(left), Some(right)) => arithmetic(*op, left, right),
                    _ => None,
                }
                .into_iter()
                .collect()
            }
            FieldExpression::Not(of) => match value(of).first() {
                Some(Static::Bool(is)) => truth(!is),
                _ => Vec::new(),
            },
            FieldExpression::Negate(of) => match value(of).first() {
                Some(Static::Int(int)) => vec![Static::Int(int.wrapping_neg())],
                Some(Static::Float(float)) => vec![Static::Float(-float)],
                Some(Static::Duration(nanos)) => vec![Static::Duration(nanos.wrapping_neg())],
                _ => Vec::new(),
            },
        }
    }

    /// The names of its attributes.
    pub(super) fn tags(&self, span: usize) -> Vec<Tag> {
        let (resource, scope, own) = &self.spans[span];
        let mut records = vec![
            (Place::Span, &own.attributes),
            (Place::Resource, &resource.attributes),
            (Place::Scope, &scope.attributes),
        ];
        records.extend(
            own.events
                .iter()
                .map(|event| (Place::Event, &event.attributes)),
        );
        records.extend(own.links.iter().map(|link| (Place::Link, &link.attributes)));
        let tags = records.into_iter().flat_map(|(place, attributes)| {
            attributes.iter().map(move |attribute| Tag {
                place,
                name: attribute.key.as_ref().into(),
            })
        });
        tags.collect()
    }

    pub(super) fn is_true(&self, filter: &FieldExpression, span: usize) -> bool {
        boolean(&self.evaluate(filter, span)) == Some(true)
    }

    /// What a query finds in this trace.
    pub(super) fn find(&self, pipeline: &Pipeline) -> Result<Vec<Spanset>, ManySpansets> {
        let all = Spanset {
            spans: (0..self.spans.len()).collect(),
            attributes: Vec::new(),
        };
        self.pipeline(pipeline, vec![all])
    }

    fn pipeline(
        &self,
        pipeline: &Pipeline,
        mut sets: Vec<Spanset>,
    ) -> Result<Vec<Spanset>, ManySpansets> {
        for stage in &pipeline.stages {
            let mut next: Vec<Spanset> = Vec::new();
            for set in &sets {
                match stage {
                    Stage::Spansets(spansets) => next.extend(self.spansets(spansets, set)?),
                    Stage::Scalar(filter) => {
                        let mut set = set.clone();
                        let left = self.scalar(&filter.left, &mut set);
                        let right = left.is_some().then(|| self.scalar(&filter.right, &mut set));
                        if let (Some(left), Some(Some(right))) = (left, right)
                            && compare(&left, filter.op, &right)
                        {
                            next.push(set);
                        }
                    }
                    Stage::By(key) => {
                        let from = next.len();
                        for span in &set.spans {
                            let value = self.evaluate(key, *span).into_iter().next();
                            let mut attributes = set.attributes.clone();
                            attributes.push((stage.to_string(), value.unwrap_or(Static::Nil)));
                            let is_same = |group: &&mut Spanset| {
                                format!("{:?}", group.attributes) == format!("{attributes:?}")
                            };
                            match next[from..].iter_mut().find(is_same) {
                                Some(group) => group.spans.push(*span),
                                None => next.push(Spanset {
                                    spans: vec![*span],
                                    attributes,
                                }),
                            }
                        }
                    }
                    Stage::Coalesce => {
                        if next.is_empty() {
                            next.push(union(&sets));
                        }
                    }
                    Stage::Select(_) => next.push(set.clone()),
                }
            }
            sets = next;
        }
        Ok(sets)
    }

    fn spansets(
        &self,
        expression: &SpansetExpression,
        input: &Spanset,
    ) -> Result<Vec<Spanset>, ManySpansets> {
        let spans: Vec<usize> = match expression {
            SpansetExpression::Filter(filter) => {
                let spans = input.spans.iter().copied();
                spans.filter(|span| self.is_true(filter, *span)).collect()
            }
            SpansetExpression::And(all) => {
                let mut sides = Vec::new();
                for side in all {
                    let found = self.spansets(side, input)?;
                    if found.is_empty() {
                        return Ok(Vec::new());
                    }
                    sides.extend(found);
                }
                union(&sides).spans
            }
            SpansetExpression::Or(any) => {
                let mut sides = Vec::new();
                for side in any {
                    sides.extend(self.spansets(side, input)?);
                }
                union(&sides).spans
            }
            SpansetExpression::Related {
                left,
                relation,
                right,
            } => {
                let (left, right) = (self.spansets(left, input)?, self.spansets(right, input)?);
                if right.is_empty() {
                    return Ok(Vec::new());
                }
                if left.len() > 1 || right.len() > 1 {
                    return Err(ManySpansets);
                }
                let (left, right) = (union(&left).spans, union(&right).spans);
                let related = |l: &usize, r: &usize| self.is_related(relation.kin, *l, *r);
                let of_left = |r: &usize| left.iter().any(|l| related(l, r));
                let of_right = |l: &usize| right.iter().any(|r| related(l, r));
                let all = 0..self.spans.len();
                let keeps = |span: &usize| match relation.form {
                    Form::Right => right.contains(span) && of_left(span),
                    Form::Not => right.contains(span) && !of_left(span),
                    Form::Union => {
                        right.contains(span) && of_left(span)
                            || left.contains(span) && of_right(span)
                    }
                };
                all.filter(keeps).collect()
            }
            SpansetExpression::Pipeline(pipeline) => {
                return self.pipeline(pipeline, vec![input.clone()]);
            }
        };
        let attributes = input.attributes.clone();
        let set = Spanset { spans, attributes };
        Ok(if set.spans.is_empty() {
            Vec::new()
        } else {
            vec![set]
        })
    }

    /// Notes what was computed.
    fn scalar(&self, scalar: &ScalarExpression, set: &mut Spanset) -> Option<Static> {
        let value = match scalar {
            ScalarExpression::Static(literal) => return Some(literal.clone()),
            ScalarExpression::Arithmetic { op, left, right } => {
                let left = self.scalar(left, set)?;
                let right = self.scalar(right, set)?;
                return arithmetic(*op, &left, &right);
            }
            ScalarExpression::Count => Static::Int(set.spans.len() as i64),
            ScalarExpression::Aggregate { function, of } => {
                let values = set.spans.iter();
                let values = values.filter_map(|span| self.evaluate(of, *span).into_iter().next());
                let numbers: Vec<_> = values.filter(|value| number(value).is_some()).collect();
                aggregate(*function, &numbers)?
            }
        };
        set.attributes.push((scalar.to_string(), value.clone()));
        Some(value)
    }
}

/// A key may be repeated.
fn lookup(attributes: &[KeyValue<'static>], name: &str) -> Values {
    let same = attributes.iter().filter(|attribute| attribute.key == name);
    same.filter_map(|same| to_static(&same.value)).collect()
}

fn to_static(value: &Value<'static>) -> Option<Static> {
    Some(match value {
        Value::String(text) => Static::String(text.to_string()),
        Value::Bool(is) => Static::Bool(*is),
        Value::Int(number) => Static::Int(*number),
        Value::Double(Double(number)) => Static::Float(*number),
        Value::Array(items) => Static::Array(items.iter().filter_map(to_static).collect()),
        Value::Empty | Value::Bytes(_) | Value::Map(_) => return None,
    })
}

fn union(sets: &[Spanset]) -> Spanset {
    let mut spans: Vec<usize> = sets.iter().flat_map(|set| set.spans.clone()).collect();
    spans.sort_unstable();
    spans.dedup();
    Spanset {
        spans,
        attributes: Vec::new(),
    }
}
