//! A trace as TraceQL's evaluator looks at it.

use std::collections::HashMap;

use traceql::{Field, Intrinsic, Items, Parent, Scope, Static};

use crate::{
    query::Patience,
    span::{Double, Event, Group, KeyValue, Kind, Link, Span, SpanId, StatusCode, Trace, Value},
};

/// Spans in the order of start and id, with the values of the fields that a query names.
pub(super) struct View<'a> {
    spans: Vec<(&'a Group<'a>, &'a Span<'a>)>,
    parents: Vec<Parent>,
    columns: Vec<(Field, Vec<Held<'a>>)>,
    patience: &'a Patience,
}

/// What a span has in a field.
enum Held<'a> {
    Nothing,
    One(traceql::Value<'a>),
    Array(Vec<Static>),
    /// Of several events or links.
    Several(Vec<Static>),
}

impl<'a> View<'a> {
    pub(super) fn new(trace: &'a Trace<'a>, fields: &[&Field], patience: &'a Patience) -> View<'a> {
        let groups = trace.groups.iter();
        let mut spans: Vec<_> = groups
            .flat_map(|group| group.spans.iter().map(move |span| (group, span)))
            .collect();
        spans.sort_by_key(|(_, span)| (span.start_unix_nano, span.id));
        // Of spans with one id, which is nobody's intent, the first is the parent.
        let mut by_id: HashMap<SpanId, usize> = HashMap::with_capacity(spans.len());
        for (index, (_, span)) in spans.iter().enumerate() {
            by_id.entry(span.id).or_insert(index);
        }
        let parents = spans.iter().map(|(_, span)| match span.parent {
            None => Parent::None,
            Some(id) => by_id
                .get(&id)
                .map_or(Parent::Missing, |index| Parent::Span(*index)),
        });
        let parents = parents.collect();
        let mut view = View {
            spans,
            parents,
            columns: Vec::new(),
            patience,
        };
        let whole = Whole::new(trace, &view);
        for field in fields {
            let each_scope: Vec<Field> = match field {
                Field::Attribute(traceql::Attribute { scope: None, name }) => (Scope::ALL.iter())
                    .map(|scope| {
                        Field::Attribute(traceql::Attribute {
                            scope: Some(*scope),
                            name: name.clone(),
                        })
                    })
                    .collect(),
                field => vec![(*field).clone()],
            };
            for field in each_scope {
                let values = view.spans.iter().map(|span| whole.value(&field, *span));
                let values = values.collect();
                view.columns.push((field, values));
            }
        }
        view
    }

    /// Its id, name, start and end.
    pub(super) fn identity(&self, span: usize) -> (SpanId, &str, u64, u64) {
        let span = self.spans[span].1;
        (
            span.id,
            &span.name,
            span.start_unix_nano,
            span.end_unix_nano,
        )
    }

    /// What is in the trace, with its resource and scope.
    pub(super) fn span(&self, span: usize) -> (&'a Group<'a>, &'a Span<'a>) {
        self.spans[span]
    }

    fn column(&self, wanted: &Field) -> Option<usize> {
        self.columns.iter().position(|(field, values)| {
            field == wanted && values.iter().any(|value| !matches!(value, Held::Nothing))
        })
    }
}

impl traceql::Trace for View<'_> {
    type Column = usize;

    fn len(&self) -> usize {
        self.spans.len()
    }

    fn parent(&self, span: usize) -> Parent {
        self.parents[span]
    }

    fn attribute(&self, scope: Scope, name: &str) -> Option<usize> {
        self.column(&Field::Attribute(traceql::Attribute {
            scope: Some(scope),
            name: name.to_owned(),
        }))
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Option<usize> {
        self.column(&Field::Intrinsic(intrinsic))
    }

    fn value(&self, column: usize, span: usize) -> Option<traceql::Value<'_>> {
        Some(match &self.columns[column].1[span] {
            Held::Nothing => return None,
            Held::One(value) => *value,
            Held::Array(values) => traceql::Value::Array(Items::new(values, 0, values.len())),
            Held::Several(values) => match &values[..] {
                [only] => only.as_value()?,
                _ => traceql::Value::Several(Items::new(values, 0, values.len())),
            },
        })
    }

    fn is_stopped(&self) -> bool {
        self.patience.check().is_err()
    }
}

/// What all spans of a trace have in common.
struct Whole<'a> {
    id: String,
    /// Nanoseconds.
    duration: i64,
    root: Option<(&'a Group<'a>, &'a Span<'a>)>,
}

impl<'a> Whole<'a> {
    fn new(trace: &Trace<'_>, view: &View<'a>) -> Whole<'a> {
        let spans = || view.spans.iter().map(|(_, span)| span);
        // 0 means unknown.
        let starts = spans().map(|span| span.start_unix_nano);
        let start = starts.filter(|start| *start != 0).min().unwrap_or(0);
        let end = spans()
            .map(|span| span.end_unix_nano.max(span.start_unix_nano))
            .max();
        let duration = end.unwrap_or(0).saturating_sub(start);
        Whole {
            id: trace.id.to_string(),
            duration: i64::try_from(duration).unwrap_or(i64::MAX),
            root: view
                .spans
                .iter()
                .find(|(_, span)| span.parent.is_none())
                .copied(),
        }
    }

    fn value(&self, field: &Field, (group, span): (&'a Group<'a>, &'a Span<'a>)) -> Held<'a> {
        match field {
            Field::Intrinsic(intrinsic) => self.intrinsic(*intrinsic, group, span),
            Field::Attribute(traceql::Attribute { scope, name }) => match scope {
                None | Some(Scope::Span) => attribute(&span.attributes, name),
                Some(Scope::Resource) => attribute(&group.resource.attributes, name),
                Some(Scope::Instrumentation) => attribute(&group.scope.attributes, name),
                Some(Scope::Event) => {
                    let of = |event: &'a Event<'a>| attribute(&event.attributes, name);
                    several(span.events.iter().map(of))
                }
                Some(Scope::Link) => {
                    let of = |link: &'a Link<'a>| attribute(&link.attributes, name);
                    several(span.links.iter().map(of))
                }
            },
        }
    }

    fn intrinsic(
        &self,
        intrinsic: Intrinsic,
        group: &'a Group<'a>,
        span: &'a Span<'a>,
    ) -> Held<'a> {
        let text = |text: &'a str| Held::One(traceql::Value::Str(text));
        let duration = span.end_unix_nano.saturating_sub(span.start_unix_nano);
        match intrinsic {
            Intrinsic::Duration => Held::One(traceql::Value::Duration(
                i64::try_from(duration).unwrap_or(i64::MAX),
            )),
            Intrinsic::Name => text(&span.name),
            Intrinsic::Status => Held::One(traceql::Value::Status(match span.status.code {
                StatusCode::Unset => traceql::Status::Unset,
                StatusCode::Ok => traceql::Status::Ok,
                StatusCode::Error => traceql::Status::Error,
            })),
            Intrinsic::StatusMessage => text(&span.status.message),
            Intrinsic::Kind => Held::One(traceql::Value::Kind(match span.kind {
                Kind::Unspecified => traceql::Kind::Unspecified,
                Kind::Internal => traceql::Kind::Internal,
                Kind::Server => traceql::Kind::Server,
                Kind::Client => traceql::Kind::Client,
                Kind::Producer => traceql::Kind::Producer,
                Kind::Consumer => traceql::Kind::Consumer,
            })),
            Intrinsic::SpanId => made(span.id.to_string()),
            Intrinsic::ParentId => match span.parent {
                Some(parent) => made(parent.to_string()),
                None => made(String::new()),
            },
            Intrinsic::TraceId => made(self.id.clone()),
            Intrinsic::TraceDuration => Held::One(traceql::Value::Duration(self.duration)),
            Intrinsic::RootName => match self.root {
                Some((_, root)) => text(&root.name),
                None => text(""),
            },
            Intrinsic::RootServiceName => match self.root {
                Some((group, _)) => {
                    attribute(&group.resource.attributes, crate::span::SERVICE_NAME)
                }
                None => text(""),
            },
            Intrinsic::EventName => several(span.events.iter().map(|event| text(&event.name))),
            Intrinsic::EventTimeSinceStart => several(span.events.iter().map(|event| {
                let since = event.time_unix_nano.wrapping_sub(span.start_unix_nano);
                Held::One(traceql::Value::Duration(since.cast_signed()))
            })),
            Intrinsic::LinkTraceId => {
                several(span.links.iter().map(|link| made(link.trace.to_string())))
            }
            Intrinsic::LinkSpanId => {
                several(span.links.iter().map(|link| made(link.span.to_string())))
            }
            Intrinsic::InstrumentationName => text(&group.scope.name),
            Intrinsic::InstrumentationVersion => text(&group.scope.version),
            // The evaluator knows them itself.
            Intrinsic::ChildCount
            | Intrinsic::NestedSetParent
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight => Held::Nothing,
        }
    }
}

/// Text that is not in the trace as such.
fn made<'a>(text: String) -> Held<'a> {
    Held::Several(vec![Static::String(text)])
}

/// The first attribute of that name.
fn attribute<'a>(attributes: &'a [KeyValue<'a>], name: &str) -> Held<'a> {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    found.map_or(Held::Nothing, |attribute| match &attribute.value {
        Value::String(text) => Held::One(traceql::Value::Str(text)),
        Value::Bool(is) => Held::One(traceql::Value::Bool(*is)),
        Value::Int(number) => Held::One(traceql::Value::Int(*number)),
        Value::Double(Double(number)) => Held::One(traceql::Value::Float(*number)),
        Value::Array(items) => Held::Array(items.iter().filter_map(item).collect()),
        // TraceQL has no such types.
        Value::Empty | Value::Bytes(_) | Value::Map(_) => Held::Nothing,
    })
}

/// What outlives the trace; nil for what TraceQL has no type for.
pub(super) fn to_static(value: &Value<'_>) -> Static {
    match value {
        Value::Array(items) => Static::Array(items.iter().filter_map(item).collect()),
        value => item(value).unwrap_or(Static::Nil),
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

fn several<'a>(each: impl Iterator<Item = Held<'a>>) -> Held<'a> {
    let mut all = Vec::new();
    for held in each {
        match held {
            Held::Nothing => {}
            Held::One(value) => all.push(value.to_static()),
            Held::Array(values) => all.push(Static::Array(values)),
            Held::Several(values) => all.extend(values),
        }
    }
    match all.is_empty() {
        true => Held::Nothing,
        false => Held::Several(all),
    }
}
