//! Answers queries by looking at every span, as plainly as the language can be said.
//!
//! Shares nothing with the evaluator but the tree of a query. Traces are small here: everything is quadratic.

use std::{cmp::Ordering, sync::Arc};

use traceql::{
    Aggregate, Arithmetic, Attribute, Comparison, Field, FieldExpression, Form, Intrinsic, Kin,
    Metrics, MetricsFunction, Pipeline, ScalarExpression, Scope, Spanset, SpansetExpression, Stage,
    Static, Status, Window,
};

use crate::{
    span::{self, Double, KeyValue, Resource, SERVICE_NAME, Span, StatusCode, TraceId, Value},
    store::Batch,
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
    fn above(&self, span: usize) -> Above {
        let stated = |span: usize| match self.spans[span].2.parent {
            None => Above::Nothing,
            Some(parent) => {
                let found = self.spans.iter().position(|(.., other)| other.id == parent);
                found.map_or(Above::Missing, Above::Span)
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
        let no_root = "<root span not yet received>";
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

fn boolean(values: &Values) -> Option<bool> {
    match &values[..] {
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

fn compare(left: &Static, op: Comparison, right: &Static) -> bool {
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

fn arithmetic(op: Arithmetic, left: &Static, right: &Static) -> Option<Static> {
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

fn aggregate(function: Aggregate, values: &[Static]) -> Option<Static> {
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

/// Labels and values of the series of a metrics query, in no order; without what follows the function.
pub(super) fn series(
    traces: &[Whole],
    pipeline: &Pipeline,
    metrics: &Metrics,
    window: Window,
) -> Result<Vec<(String, Vec<f64>)>, ManySpansets> {
    // Of each interval of each group the values.
    let mut groups: Vec<(String, Vec<Vec<Static>>)> = Vec::new();
    let mut add = |labels: String, interval: usize, value: Static| {
        let group = match groups.iter().position(|(other, _)| *other == labels) {
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
                    add(format!("{side} {name} {value:?}"), interval, Static::Nil);
                    add(
                        format!("{side}_total {name} {:?}", Static::Nil),
                        interval,
                        Static::Nil,
                    );
                }
                continue;
            }
            let by = metrics.by.iter().map(|field| {
                let value = of_metrics(trace, field, span).unwrap_or(Static::Nil);
                (field.to_string(), value)
            });
            let by: Vec<_> = by.filter(|(_, value)| *value != Static::Nil).collect();
            let labels = by.iter().map(|(key, value)| format!("{key}={value:?} "));
            let labels: String = labels.collect();
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
        groups.push((String::new(), vec![Vec::new(); window.len()]));
    }
    let mut series = Vec::new();
    for (labels, intervals) in groups {
        made_of(metrics, window, &labels, &intervals, &mut series);
    }
    series.retain(|(_, values)| values.iter().any(|value| !value.is_nan()));
    Ok(series)
}

fn made_of(
    metrics: &Metrics,
    window: Window,
    labels: &str,
    intervals: &[Vec<Static>],
    series: &mut Vec<(String, Vec<f64>)>,
) {
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
                    series.push((format!("{labels}__bucket={bound:?} "), counts));
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
                series.push((format!("{labels}p={quantile:?} "), values));
            }
            return;
        }
    };
    series.push((labels.to_owned(), values));
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
        let value = trace.values(&field, span).into_iter().next()?;
        Some((field.to_string(), value))
    };
    fields.into_iter().filter_map(named).collect()
}
