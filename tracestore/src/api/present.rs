//! What readers of traces rely on, whatever their senders did.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use indexmap::IndexMap;
use serde_json::Value as Json;

use crate::{
    span::{Double, Group, KeyValue, Resource, SERVICE_NAME, Span, Trace, Value},
    store::Found,
};

/// Sorts spans by start and id, events and links likewise, and groups by their first span, as
/// Tempo does; groups of one resource stand together.
///
/// Two things that break Grafana are mended: a resource without attributes, whose spans it drops,
/// gets `service.name="unknown_service"`, and a span that ends before it starts, which it shows
/// as 584 years long, ends at its start.
pub(crate) fn in_order(mut trace: Trace<'_>) -> Trace<'_> {
    for group in &mut trace.groups {
        if group.resource.attributes.is_empty() {
            group.resource = Arc::new(unknown_service(&group.resource));
        }
        for span in &mut group.spans {
            mend(span);
        }
        group
            .spans
            .sort_by_key(|span| (span.start_unix_nano, span.id));
    }
    let first = |group: &Group<'_>| {
        let span = group.spans.first();
        span.map(|span| (span.start_unix_nano, span.id))
    };
    trace.groups.sort_by_key(first);
    let mut by_resource: IndexMap<Arc<Resource<'_>>, Vec<Group<'_>>> = IndexMap::new();
    for group in trace.groups {
        let resource = Arc::clone(&group.resource);
        by_resource.entry(resource).or_default().push(group);
    }
    Trace {
        id: trace.id,
        groups: by_resource.into_values().flatten().collect(),
        partial: trace.partial,
    }
}

/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/service/#service-name>
fn unknown_service<'a>(resource: &Resource<'a>) -> Resource<'a> {
    Resource {
        attributes: vec![KeyValue {
            key: SERVICE_NAME.into(),
            value: Value::String("unknown_service".into()),
        }],
        ..resource.clone()
    }
}

fn mend(span: &mut Span<'_>) {
    span.end_unix_nano = span.end_unix_nano.max(span.start_unix_nano);
    span.events
        .sort_by(|a, b| (a.time_unix_nano, &a.name).cmp(&(b.time_unix_nano, &b.name)));
    span.links.sort_by_key(|link| (link.trace, link.span));
}

/// Makes text of attributes that break Grafana, whose table has a column with a type of its own for each name: those with
/// lists, and those whose values are of several types. Integers and floats are of one, but for floats that are no numbers,
/// which it cannot hand on.
pub(crate) fn in_columns(found: &mut [Found]) {
    let mut columns = HashMap::new();
    let mut mixed = HashSet::new();
    for KeyValue { key, value } in attributes(found) {
        let column = match value {
            Value::String(_) => Some("text"),
            Value::Double(Double(number)) if !number.is_finite() => None,
            Value::Int(_) | Value::Double(_) => Some("number"),
            Value::Bool(_) => Some("boolean"),
            Value::Bytes(_) => Some("bytes"),
            Value::Array(_) | Value::Map(_) | Value::Empty => None,
        };
        if column.is_none() || *columns.entry(key).or_insert(column) != column {
            mixed.insert(key.clone());
        }
    }
    if mixed.is_empty() {
        return;
    }
    for KeyValue { key, value } in attributes_mut(found) {
        if mixed.contains(key) && !matches!(value, Value::String(_)) {
            *value = text(value);
        }
    }
}

fn attributes(found: &[Found]) -> impl Iterator<Item = &KeyValue<'static>> {
    let sets = found.iter().flat_map(|found| &found.sets);
    sets.flat_map(|set| {
        let spans = set.spans.iter().flat_map(|span| &span.attributes);
        set.attributes.iter().chain(spans)
    })
}

fn attributes_mut(found: &mut [Found]) -> impl Iterator<Item = &mut KeyValue<'static>> {
    let sets = found.iter_mut().flat_map(|found| &mut found.sets);
    sets.flat_map(|set| {
        let spans = set.spans.iter_mut().flat_map(|span| &mut span.attributes);
        set.attributes.iter_mut().chain(spans)
    })
}

/// As people write it, in one line.
pub(crate) fn text(value: &Value<'_>) -> Value<'static> {
    let text = match plain(value) {
        Json::String(text) => text,
        json => json.to_string(),
    };
    Value::String(text.into())
}

/// As people write it.
fn plain(value: &Value<'_>) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::String(text) => Json::String(text.to_string()),
        Value::Bool(is) => Json::Bool(*is),
        Value::Int(number) => Json::from(*number),
        Value::Double(Double(number)) if number.is_finite() => Json::from(*number),
        Value::Double(Double(number)) => Json::String(number.to_string()),
        Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Map(pairs) => {
            let pairs = pairs.iter();
            pairs
                .map(|KeyValue { key, value }| (key.to_string(), plain(value)))
                .collect()
        }
    }
}
