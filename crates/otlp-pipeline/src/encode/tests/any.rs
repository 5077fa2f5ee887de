//! Spans, scopes and resources of every shape that the SDK can make.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    Array, InstrumentationScope, Key, KeyValue, StringValue, Value,
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanLinks},
};
use proptest::{collection::vec, option, prelude::*};

/// A span without anything that is optional.
pub(crate) fn simple(name: &'static str) -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(1),
            SpanId::from(2),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(name),
        start_time: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001),
        end_time: UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_002),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("").build(),
    }
}

pub(crate) fn span() -> impl Strategy<Value = SpanData> {
    let identity = (span_context(), parent(), any::<bool>(), kind(), text());
    let times = (time(), time());
    let contents = (
        attributes(),
        count(),
        vec(event(), 0..3),
        count(),
        vec(link(), 0..3),
        count(),
        status(),
    );
    (identity, times, contents).prop_map(|(identity, (start_time, end_time), contents)| {
        let (span_context, parent_span_id, parent_span_is_remote, span_kind, name) = identity;
        let (attributes, dropped_attributes_count, event, lost_events, link, lost_links, status) =
            contents;
        let mut events = SpanEvents::default();
        events.events = event;
        events.dropped_count = lost_events;
        let mut links = SpanLinks::default();
        links.links = link;
        links.dropped_count = lost_links;
        SpanData {
            span_context,
            parent_span_id,
            parent_span_is_remote,
            span_kind,
            name: name.into(),
            start_time,
            end_time,
            attributes,
            dropped_attributes_count,
            events,
            links,
            status,
            ..simple("")
        }
    })
}

pub(crate) fn scope() -> impl Strategy<Value = InstrumentationScope> {
    (text(), option::of(text()), option::of(text()), attributes()).prop_map(
        |(name, version, schema_url, mut attributes)| {
            // To the stock exporter, a scope with such an attribute is another one with each span.
            attributes.retain(
                |attribute| !matches!(attribute.value, Value::F64(number) if number.is_nan()),
            );
            let mut scope = InstrumentationScope::builder(name).with_attributes(attributes);
            // So are an empty text and none, though no byte tells one from the other.
            if let Some(version) = version.filter(|text| !text.is_empty()) {
                scope = scope.with_version(version);
            }
            if let Some(schema_url) = schema_url.filter(|text| !text.is_empty()) {
                scope = scope.with_schema_url(schema_url);
            }
            scope.build()
        },
    )
}

pub(crate) fn resource() -> impl Strategy<Value = Resource> {
    (attributes(), option::of(text())).prop_map(|(attributes, schema_url)| {
        let resource = Resource::builder_empty();
        match schema_url {
            Some(schema_url) => resource.with_schema_url(attributes, schema_url),
            None => resource.with_attributes(attributes),
        }
        .build()
    })
}

/// Lengths on both sides of 127, where the varint of a length grows, and letters of more than one byte.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof!["", "[a-z.]{1,12}", "\\PC{0,20}", "[aä€]{40,140}"]
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(
        (key(), value()).prop_map(|(key, value)| KeyValue::new(key, value)),
        0..5,
    )
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        Just(Key::from_static_str("http.route")),
        text().prop_map(Key::from)
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let strings = vec(text().prop_map(StringValue::from), 0..4);
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        (-2..130_i64).prop_map(Value::I64),
        // Not a number, infinities and a negative zero among them.
        any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        Just(Value::F64(0.0)),
        text().prop_map(|text| Value::String(text.into())),
        vec(any::<bool>(), 0..4).prop_map(|list| Value::Array(Array::Bool(list))),
        vec(any::<i64>(), 0..4).prop_map(|list| Value::Array(Array::I64(list))),
        vec(any::<f64>(), 0..4).prop_map(|list| Value::Array(Array::F64(list))),
        strings.prop_map(|list| Value::Array(Array::String(list))),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    (text(), time(), attributes(), count())
        .prop_map(|(name, at, attributes, lost)| Event::new(name, at, attributes, lost))
}

fn link() -> impl Strategy<Value = Link> {
    (span_context(), attributes(), count())
        .prop_map(|(cx, attributes, lost)| Link::new(cx, attributes, lost))
}

fn status() -> impl Strategy<Value = Status> {
    let error = text().prop_map(Status::error);
    prop_oneof![Just(Status::Unset), Just(Status::Ok), error]
}

fn span_context() -> impl Strategy<Value = SpanContext> {
    let ids = (any::<u128>(), any::<u64>(), any::<u8>(), any::<bool>());
    (ids, trace_state()).prop_map(|((trace, span, flags, remote), state)| {
        let flags = TraceFlags::new(flags);
        SpanContext::new(trace.into(), span.into(), flags, remote, state)
    })
}

fn trace_state() -> impl Strategy<Value = TraceState> {
    let pairs = vec(("[a-z][a-z0-9]{0,8}", "[a-z0-9 ]{0,60}"), 0..5);
    prop_oneof![
        Just(TraceState::NONE),
        // Empty, and yet not none.
        Just(
            TraceState::NONE
                .insert("a", "1")
                .unwrap()
                .delete("a")
                .unwrap()
        ),
        pairs.prop_map(|pairs| TraceState::from_key_value(pairs).unwrap()),
    ]
}

fn parent() -> impl Strategy<Value = SpanId> {
    prop_oneof![Just(SpanId::INVALID), any::<u64>().prop_map(SpanId::from)]
}

fn kind() -> impl Strategy<Value = SpanKind> {
    prop_oneof![
        Just(SpanKind::Internal),
        Just(SpanKind::Server),
        Just(SpanKind::Client),
        Just(SpanKind::Producer),
        Just(SpanKind::Consumer),
    ]
}

pub(crate) fn time() -> impl Strategy<Value = SystemTime> {
    let any = any::<u64>().prop_map(|nanos| UNIX_EPOCH + Duration::from_nanos(nanos));
    prop_oneof![
        9 => any,
        1 => Just(UNIX_EPOCH),
        1 => Just(UNIX_EPOCH - Duration::from_secs(1)),
    ]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), any::<u32>()]
}
