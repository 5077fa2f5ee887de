//! Spans that outlive the message that they came in.

use std::{borrow::Cow, sync::Arc};

use super::Batch;
use crate::span::{Event, KeyValue, Link, Resource, Scope, Span, Status, Value};

pub(super) fn batch(batch: Batch<'_>) -> Batch<'static> {
    Batch {
        resource: Arc::new(resource((*batch.resource).clone())),
        scope: Arc::new(scope((*batch.scope).clone())),
        spans: list(batch.spans, |(trace, one)| (trace, span(one))),
    }
}

fn resource(resource: Resource<'_>) -> Resource<'static> {
    Resource {
        attributes: list(resource.attributes, key_value),
        dropped_attributes: resource.dropped_attributes,
        schema_url: text(resource.schema_url),
    }
}

fn scope(scope: Scope<'_>) -> Scope<'static> {
    Scope {
        name: text(scope.name),
        version: text(scope.version),
        attributes: list(scope.attributes, key_value),
        dropped_attributes: scope.dropped_attributes,
        schema_url: text(scope.schema_url),
    }
}

fn span(span: Span<'_>) -> Span<'static> {
    Span {
        id: span.id,
        parent: span.parent,
        trace_state: text(span.trace_state),
        flags: span.flags,
        name: text(span.name),
        kind: span.kind,
        start_unix_nano: span.start_unix_nano,
        end_unix_nano: span.end_unix_nano,
        attributes: list(span.attributes, key_value),
        dropped_attributes: span.dropped_attributes,
        events: list(span.events, event),
        dropped_events: span.dropped_events,
        links: list(span.links, link),
        dropped_links: span.dropped_links,
        status: Status {
            code: span.status.code,
            message: text(span.status.message),
        },
    }
}

fn event(event: Event<'_>) -> Event<'static> {
    Event {
        time_unix_nano: event.time_unix_nano,
        name: text(event.name),
        attributes: list(event.attributes, key_value),
        dropped_attributes: event.dropped_attributes,
    }
}

fn link(link: Link<'_>) -> Link<'static> {
    Link {
        trace: link.trace,
        span: link.span,
        trace_state: text(link.trace_state),
        attributes: list(link.attributes, key_value),
        dropped_attributes: link.dropped_attributes,
        flags: link.flags,
    }
}

fn key_value(pair: KeyValue<'_>) -> KeyValue<'static> {
    KeyValue {
        key: text(pair.key),
        value: value(pair.value),
    }
}

/// Recursion is as deep as `ingest` lets values nest.
fn value(from: Value<'_>) -> Value<'static> {
    match from {
        Value::Empty => Value::Empty,
        Value::String(from) => Value::String(text(from)),
        Value::Bool(truth) => Value::Bool(truth),
        Value::Int(number) => Value::Int(number),
        Value::Double(number) => Value::Double(number),
        Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
        Value::Array(values) => Value::Array(list(values, value)),
        Value::Map(pairs) => Value::Map(list(pairs, key_value)),
    }
}

fn text(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// Exactly as large as it is accounted for.
fn list<T, U>(from: Vec<T>, owned: impl FnMut(T) -> U) -> Vec<U> {
    let mut list: Vec<U> = from.into_iter().map(owned).collect();
    list.shrink_to_fit();
    list
}
