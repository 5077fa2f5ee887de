//! Requests of all that OTLP allows, from so few ids and names that they meet.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*, sample::select};

use super::{Request, span_id, trace_id};
use crate::{
    span::{
        Double, Event, KeyValue, Kind, Link, Resource, Scope, Span, SpanId, Status, StatusCode,
        TraceId, Value,
    },
    store::Batch,
};

pub(super) const KEYS: [&str; 5] = ["", "a", "b", "service.name", "käse"];
pub(super) const TEXTS: [&str; 5] = ["", "a", "ab", "GET /", "ü"];
pub(super) const INTS: [i64; 7] = [i64::MIN, -1, 0, 1, 2, 1 << 53, i64::MAX];
pub(super) const FLOATS: [f64; 10] = [
    f64::NAN,
    -f64::NAN,
    -0.0,
    0.0,
    1.0,
    1.5,
    -1.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    9_007_199_254_740_993.0,
];

pub(super) fn traces() -> impl Strategy<Value = TraceId> {
    (0_u64..5).prop_map(trace_id)
}

fn ids() -> impl Strategy<Value = SpanId> {
    (0_u64..8).prop_map(span_id)
}

pub(super) fn text() -> impl Strategy<Value = &'static str> {
    select(&TEXTS[..])
}

fn times() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0),
        1 => select(vec![1, u64::MAX, 1 << 63, (1 << 63) - 1]),
        6 => 100_u64..200,
    ]
}

pub(super) fn value() -> impl Strategy<Value = Value<'static>> {
    let leaf = prop_oneof![
        Just(Value::Empty),
        text().prop_map(|text| Value::String(text.into())),
        any::<bool>().prop_map(Value::Bool),
        select(&INTS[..]).prop_map(Value::Int),
        select(&FLOATS[..]).prop_map(|number| Value::Double(Double(number))),
        select(vec![&b""[..], b"\0", b"bytes"]).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::Array),
            vec((select(&KEYS[..]), inner), 0..3).prop_map(|entries| {
                let entries = entries.into_iter().map(|(key, value)| KeyValue {
                    key: key.into(),
                    value,
                });
                Value::Map(entries.collect())
            }),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue<'static>>> {
    let attribute = (select(&KEYS[..]), value()).prop_map(|(key, value)| KeyValue {
        key: key.into(),
        value,
    });
    vec(attribute, 0..4)
}

fn dropped() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0), 1 => select(vec![1, u32::MAX])]
}

fn resource() -> impl Strategy<Value = Resource<'static>> {
    let any = (attributes(), dropped(), text());
    let any = any.prop_map(|(attributes, dropped_attributes, schema_url)| Resource {
        attributes,
        dropped_attributes,
        schema_url: schema_url.into(),
    });
    prop_oneof![1 => Just(Resource::default()), 3 => any]
}

fn scope() -> impl Strategy<Value = Scope<'static>> {
    let any = (text(), text(), attributes(), dropped(), text());
    let any = any.prop_map(
        |(name, version, attributes, dropped_attributes, schema_url)| Scope {
            name: name.into(),
            version: version.into(),
            attributes,
            dropped_attributes,
            schema_url: schema_url.into(),
        },
    );
    prop_oneof![1 => Just(Scope::default()), 3 => any]
}

fn event() -> impl Strategy<Value = Event<'static>> {
    (times(), text(), attributes(), dropped()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes)| Event {
            time_unix_nano,
            name: name.into(),
            attributes,
            dropped_attributes,
        },
    )
}

fn link() -> impl Strategy<Value = Link<'static>> {
    (traces(), ids(), text(), attributes(), dropped(), dropped()).prop_map(
        |(trace, span, trace_state, attributes, dropped_attributes, flags)| Link {
            trace,
            span,
            trace_state: trace_state.into(),
            attributes,
            dropped_attributes,
            flags,
        },
    )
}

fn kind() -> impl Strategy<Value = Kind> {
    select(vec![
        Kind::Unspecified,
        Kind::Internal,
        Kind::Server,
        Kind::Client,
        Kind::Producer,
        Kind::Consumer,
    ])
}

fn status() -> impl Strategy<Value = Status<'static>> {
    let codes = select(vec![StatusCode::Unset, StatusCode::Ok, StatusCode::Error]);
    (codes, text()).prop_map(|(code, message)| Status {
        code,
        message: message.into(),
    })
}

/// Its parent may be itself.
fn span() -> impl Strategy<Value = Span<'static>> {
    let own = (
        ids(),
        proptest::option::of(ids()),
        text(),
        text(),
        kind(),
        status(),
    );
    let lists = (attributes(), vec(event(), 0..3), vec(link(), 0..3));
    let counts = (dropped(), dropped(), dropped(), dropped());
    (own, times(), times(), lists, counts).prop_map(|(own, start, end, lists, counts)| {
        let (id, parent, trace_state, name, kind, status) = own;
        let (attributes, events, links) = lists;
        let (flags, dropped_attributes, dropped_events, dropped_links) = counts;
        Span {
            id,
            parent,
            trace_state: trace_state.into(),
            flags,
            name: name.into(),
            kind,
            start_unix_nano: start,
            end_unix_nano: end,
            attributes,
            dropped_attributes,
            events,
            dropped_events,
            links,
            dropped_links,
            status,
        }
    })
}

/// Some of its batches may be empty.
pub(super) fn request() -> impl Strategy<Value = Request> {
    let spans = vec((traces(), span()), 0..5);
    let batch = (resource(), scope(), spans).prop_map(|(resource, scope, spans)| Batch {
        resource: Arc::new(resource),
        scope: Arc::new(scope),
        spans,
    });
    (vec(batch, 1..4), 100_u64..200).prop_map(|(batches, received)| Request { batches, received })
}

/// Requests of which some came twice, perhaps at another time.
pub(super) fn requests() -> impl Strategy<Value = Vec<Request>> {
    let again = proptest::option::weighted(0.3, 100_u64..200);
    vec((request(), again), 1..8).prop_map(|requests| {
        let mut all = Vec::new();
        for (request, again) in requests {
            all.push(request.clone());
            all.extend(again.map(|received| Request {
                received,
                ..request
            }));
        }
        all
    })
}
