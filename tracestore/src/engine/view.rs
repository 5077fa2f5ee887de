//! A trace as TraceQL's evaluator looks at it.

use std::cell::OnceCell;

use traceql::{FieldExpression, Intrinsic, Items, Kind, Parent, Scope, Static, Status};

use super::plan::{NAME, Plan, Source};
use crate::{
    query::Patience,
    span::{Double, SpanId, Value},
    store::Slice,
};

/// Spans in the order of start and id, with the values of the fields that a query names, which are read when they are
/// asked for.
pub(super) struct View<'a> {
    slice: &'a Slice,
    plan: &'a Plan<'a>,
    patience: &'a Patience,
    parents: OnceCell<Vec<Parent>>,
    /// By number in the plan.
    columns: Vec<OnceCell<Vec<Held<'a>>>>,
}

/// What a span has in a field.
#[derive(Clone)]
enum Held<'a> {
    Nothing,
    One(traceql::Value<'a>),
    Array(Vec<Static>),
    /// Of several events or links, or text that is not in the trace as such.
    Several(Vec<Static>),
}

/// Two spans with one id.
#[derive(Clone, Copy)]
struct Call {
    client: usize,
    server: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(slice: &'a Slice, plan: &'a Plan<'a>, patience: &'a Patience) -> View<'a> {
        View {
            slice,
            plan,
            patience,
            parents: OnceCell::new(),
            columns: plan.fields.iter().map(|_| OnceCell::new()).collect(),
        }
    }

    /// Its id, name, start and end.
    pub(super) fn identity(&self, span: usize) -> (SpanId, String, u64, u64) {
        let slice = self.slice;
        let mut name = String::new();
        slice.each_value(NAME, span, |value| {
            if let Value::String(text) = value {
                name = text.into_owned();
            }
        });
        (
            slice.span_id(span),
            name,
            slice.start(span),
            slice.end(span),
        )
    }

    fn parents(&self) -> Vec<Parent> {
        let slice = self.slice;
        let mut by_id: Vec<(SpanId, usize)> = (0..slice.len())
            .map(|span| (slice.span_id(span), span))
            .collect();
        by_id.sort_unstable();
        // With Zipkin's clients and old ones of Jaeger, the two spans of a call share an id. The server's parent may then be
        // the client's parent, or the shared id. Of other spans with one id, which is nobody's intent, the first is the parent.
        let calls = by_id.chunk_by(|(one, _), (other, _)| one == other);
        let calls: Vec<(SpanId, Call)> = calls
            .filter_map(|same| match *same {
                [(id, one), (_, other)] => Some((id, self.call(one, other)?)),
                _ => None,
            })
            .collect();
        let call = |wanted: SpanId| {
            let found = calls.binary_search_by_key(&wanted, |(id, _)| *id);
            found.ok().map(|at| calls[at].1)
        };
        let parent = |span: usize| {
            let Some(id) = slice.parent(span) else {
                return Parent::None;
            };
            if let Some(Call { client, server }) = call(slice.span_id(span))
                && server == span
            {
                return Parent::Span(client);
            }
            if let Some(Call { client, server }) = call(id) {
                // Who calls a server is a client.
                return Parent::Span(match self.kind(span) {
                    Some(Kind::Server) => client,
                    // One that says that it is its own parent is not the server's child.
                    _ if span == client => client,
                    _ => server,
                });
            }
            let first = by_id.partition_point(|(other, _)| *other < id);
            match by_id.get(first) {
                Some((found, above)) if *found == id => Parent::Span(*above),
                _ => Parent::Missing,
            }
        };
        (0..slice.len()).map(parent).collect()
    }

    fn call(&self, one: usize, other: usize) -> Option<Call> {
        let (client, server) = match (self.kind(one)?, self.kind(other)?) {
            (Kind::Client, Kind::Server) => (one, other),
            (Kind::Server, Kind::Client) => (other, one),
            _ => return None,
        };
        Some(Call { client, server })
    }

    /// `None` if the plan does not read it.
    fn kind(&self, span: usize) -> Option<Kind> {
        let mut kind = None;
        self.slice.each_value(self.plan.kind?, span, |value| {
            if let Value::Int(number) = value {
                kind = kind_of(number);
            }
        });
        kind
    }

    fn read(&self, column: usize) -> Vec<Held<'a>> {
        let slice = self.slice;
        let spans = 0..slice.len();
        let (field, source) = &self.plan.fields[column];
        match *source {
            Source::None => spans.map(|_| Held::Nothing).collect(),
            Source::Column(number) => {
                let value = |span| held(field, slice, number, span);
                spans.map(value).collect()
            }
            Source::Records(number) => {
                let value = |span| {
                    let mut all = Vec::new();
                    slice.each_value(number, span, |value| all.extend(to_static(&value)));
                    several(all)
                };
                spans.map(value).collect()
            }
            Source::OfRoot(number) => {
                let root = spans.clone().find(|span| slice.parent(*span).is_none());
                let of_root = match root {
                    // As in Tempo.
                    None => Held::One(traceql::Value::Str("")),
                    Some(root) => held(field, slice, number, root),
                };
                vec![of_root; slice.len()]
            }
            Source::Made(intrinsic) => self.made(intrinsic),
        }
    }

    fn made(&self, intrinsic: Intrinsic) -> Vec<Held<'a>> {
        let slice = self.slice;
        let spans = 0..slice.len();
        let text = |text: String| several(vec![Static::String(text)]);
        match intrinsic {
            Intrinsic::SpanId => spans
                .map(|span| text(slice.span_id(span).to_string()))
                .collect(),
            Intrinsic::ParentId => spans
                .map(|span| {
                    text(
                        slice
                            .parent(span)
                            .map_or_else(String::new, |id| id.to_string()),
                    )
                })
                .collect(),
            Intrinsic::TraceId => {
                let id = slice.id().to_string();
                vec![text(id.trim_start_matches('0').to_owned()); slice.len()]
            }
            Intrinsic::TraceDuration => {
                // 0 means unknown.
                let starts = spans.clone().map(|span| slice.start(span));
                let start = starts.filter(|start| *start != 0).min().unwrap_or(0);
                let ends = spans.map(|span| slice.end(span).max(slice.start(span)));
                let duration = ends.max().unwrap_or(0).saturating_sub(start);
                let duration = i64::try_from(duration).unwrap_or(i64::MAX);
                vec![Held::One(traceql::Value::Duration(duration)); slice.len()]
            }
            Intrinsic::EventTimeSinceStart => {
                let value = |span| {
                    let mut all = Vec::new();
                    slice.each_event(span, |time| {
                        let since = time.wrapping_sub(slice.start(span));
                        all.push(Static::Duration(since.cast_signed()));
                    });
                    several(all)
                };
                spans.map(value).collect()
            }
            Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => {
                let value = |span| {
                    let mut all = Vec::new();
                    slice.each_link(span, |(trace, span)| {
                        all.push(Static::String(match intrinsic {
                            Intrinsic::LinkTraceId => trace.to_string(),
                            _ => span.to_string(),
                        }));
                    });
                    several(all)
                };
                spans.map(value).collect()
            }
            _ => spans.map(|_| Held::Nothing).collect(),
        }
    }
}

impl traceql::Trace for View<'_> {
    type Column = usize;

    fn len(&self) -> usize {
        self.slice.len()
    }

    fn parent(&self, span: usize) -> Parent {
        self.parents.get_or_init(|| self.parents())[span]
    }

    fn attribute(&self, scope: Scope, name: &str) -> Option<usize> {
        self.plan.attribute(scope, name)
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Option<usize> {
        self.plan.intrinsic(intrinsic)
    }

    fn value(&self, column: usize, span: usize) -> Option<traceql::Value<'_>> {
        let values = self.columns[column].get_or_init(|| self.read(column));
        Some(match &values[span] {
            Held::Nothing => return None,
            Held::One(value) => *value,
            Held::Array(values) => traceql::Value::Array(Items::new(values, 0, values.len())),
            Held::Several(values) => match &values[..] {
                [only] => only.as_value()?,
                _ => traceql::Value::Several(Items::new(values, 0, values.len())),
            },
        })
    }

    fn matched(&self, filter: &FieldExpression, spans: &[usize]) -> Option<Vec<usize>> {
        let known = self.plan.known(filter)?;
        let passing = spans.iter().copied();
        let passing = passing.filter(|span| self.slice.passes(known, *span));
        Some(passing.collect())
    }

    fn is_stopped(&self) -> bool {
        self.patience.check().is_err()
    }
}

/// What a span has in a field that is not of its events and links.
fn held<'a>(field: &traceql::Field, slice: &'a Slice, number: usize, span: usize) -> Held<'a> {
    let mut first = None;
    let mut more = Vec::new();
    slice.each_value(number, span, |value| match first {
        None => first = Some(value),
        Some(_) => more.push(value),
    });
    let Some(value) = first else {
        return Held::Nothing;
    };
    if !more.is_empty() {
        // A key that is repeated: any of its values may meet a condition.
        let all = std::iter::once(value).chain(more);
        return several(all.filter_map(|value| to_static(&value)).collect());
    }
    match value {
        Value::String(std::borrow::Cow::Borrowed(text)) => Held::One(traceql::Value::Str(text)),
        Value::String(text) => several(vec![Static::String(text.into_owned())]),
        Value::Bool(is) => Held::One(traceql::Value::Bool(is)),
        Value::Int(number) => numbered(field, number).map_or(Held::Nothing, Held::One),
        Value::Double(Double(number)) => Held::One(traceql::Value::Float(number)),
        Value::Array(items) => Held::Array(items.iter().filter_map(item).collect()),
        // TraceQL has no such types.
        Value::Empty | Value::Bytes(_) | Value::Map(_) => Held::Nothing,
    }
}

/// What the number in a column is to the language.
pub(super) fn numbered(field: &traceql::Field, number: i64) -> Option<traceql::Value<'static>> {
    Some(match field {
        traceql::Field::Intrinsic(Intrinsic::Duration) => traceql::Value::Duration(number),
        traceql::Field::Intrinsic(Intrinsic::Status) => traceql::Value::Status(match number {
            0 => Status::Unset,
            1 => Status::Ok,
            2 => Status::Error,
            _ => return None,
        }),
        traceql::Field::Intrinsic(Intrinsic::Kind) => traceql::Value::Kind(kind_of(number)?),
        traceql::Field::Intrinsic(_) | traceql::Field::Attribute(_) => traceql::Value::Int(number),
    })
}

fn kind_of(number: i64) -> Option<Kind> {
    Some(match number {
        0 => Kind::Unspecified,
        1 => Kind::Internal,
        2 => Kind::Server,
        3 => Kind::Client,
        4 => Kind::Producer,
        5 => Kind::Consumer,
        _ => return None,
    })
}

/// What outlives the trace; `None` for what TraceQL has no type for.
pub(super) fn to_static(value: &Value<'_>) -> Option<Static> {
    match value {
        Value::Array(items) => Some(Static::Array(items.iter().filter_map(item).collect())),
        value => item(value),
    }
}

fn item(value: &Value<'_>) -> Option<Static> {
    Some(match value {
        Value::String(text) => Static::String(text.clone().into_owned()),
        Value::Bool(is) => Static::Bool(*is),
        Value::Int(number) => Static::Int(*number),
        Value::Double(Double(number)) => Static::Float(*number),
        Value::Empty | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => return None,
    })
}

fn several<'a>(all: Vec<Static>) -> Held<'a> {
    match all.is_empty() {
        true => Held::Nothing,
        false => Held::Several(all),
    }
}
