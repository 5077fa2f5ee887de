//! Our reading of the wire against prost's writing of it.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
    },
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status, TracesData,
        span::{Event, Link},
    },
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::{
    decode::{Refused, decode},
    encode,
    wire::Malformed,
};
use crate::span::{Group, Trace};

const TRACE: [u8; 16] = *b"a trace's own id";

fn any_text() -> impl Strategy<Value = String> {
    // Not `any::<String>()`, whose regular expressions are a feature of their own.
    vec(any::<char>(), 0..6).prop_map(|letters| letters.into_iter().collect())
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        any_text().prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|truth| Some(Value::BoolValue(truth))),
        any::<i64>().prop_map(|number| Some(Value::IntValue(number))),
        any::<f64>().prop_map(|number| Some(Value::DoubleValue(number))),
        vec(any::<u8>(), 0..6).prop_map(|bytes| Some(Value::BytesValue(bytes))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 3, |inner| {
        let pair = (any_text(), inner.clone()).prop_map(|(key, value)| key_value(key, value));
        prop_oneof![
            vec(inner, 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(pair, 0..3).prop_map(|values| Value::KvlistValue(KeyValueList { values })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn key_value(key: String, value: AnyValue) -> KeyValue {
    KeyValue {
        key,
        value: Some(value),
        ..KeyValue::default()
    }
}

fn any_attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((any_text(), any_value()), 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(k, v)| key_value(k, v)).collect())
}

fn any_id<const N: usize>() -> impl Strategy<Value = Vec<u8>> {
    any::<[u8; N]>()
        .prop_filter("zeros are no id", |id| *id != [0; N])
        .prop_map(|id| id.to_vec())
}

fn any_event() -> impl Strategy<Value = Event> {
    (any::<u64>(), any_text(), any_attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn any_link() -> impl Strategy<Value = Link> {
    let ids = (any_id::<16>(), any_id::<8>());
    (ids, any_text(), any_attributes(), any::<[u32; 2]>()).prop_map(
        |((trace_id, span_id), trace_state, attributes, [dropped_attributes_count, flags])| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    )
}

fn any_span() -> impl Strategy<Value = Span> {
    let parent = prop_oneof![Just(Vec::new()), any_id::<8>()];
    let texts = (any_text(), any_text(), any_text());
    let numbers = (any::<[u64; 2]>(), any::<[u32; 4]>(), 0..6, 0..3);
    let lists = (
        any_attributes(),
        vec(any_event(), 0..3),
        vec(any_link(), 0..3),
    );
    ((any_id::<8>(), parent), texts, numbers, lists).prop_map(|(ids, texts, numbers, lists)| Span {
        trace_id: TRACE.to_vec(),
        span_id: ids.0,
        trace_state: texts.0,
        parent_span_id: ids.1,
        flags: numbers.1[0],
        name: texts.1,
        kind: numbers.2,
        start_time_unix_nano: numbers.0[0],
        end_time_unix_nano: numbers.0[1],
        attributes: lists.0,
        dropped_attributes_count: numbers.1[1],
        events: lists.1,
        dropped_events_count: numbers.1[2],
        links: lists.2,
        dropped_links_count: numbers.1[3],
        status: Some(Status {
            message: texts.2,
            code: numbers.3,
        }),
    })
}

fn any_scope_spans() -> impl Strategy<Value = ScopeSpans> {
    let scope = (any_text(), any_text(), any_attributes(), any::<u32>());
    (scope, vec(any_span(), 1..4), any_text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope: Some(InstrumentationScope {
            name: scope.0,
            version: scope.1,
            attributes: scope.2,
            dropped_attributes_count: scope.3,
        }),
        spans,
        schema_url,
    })
}

fn any_request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let resource = (any_attributes(), any::<u32>());
    (resource, vec(any_scope_spans(), 1..3), any_text()).prop_map(
        |(resource, scope_spans, schema_url)| ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: resource.0,
                    dropped_attributes_count: resource.1,
                    ..Resource::default()
                }),
                scope_spans,
                schema_url,
            }],
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_written(request in any_request()) {
        let decoded = decode(&request.encode_to_vec()).unwrap();
        prop_assert_eq!(decoded.rejected.spans(), 0);
        let groups = decoded.batches.into_iter().map(|batch| Group {
            resource: batch.resource,
            scope: batch.scope,
            spans: batch.spans.into_iter().map(|(_, span)| span.into()).collect(),
        });
        let trace = Trace {
            id: crate::span::TraceId::new(TRACE).unwrap(),
            groups: groups.collect(),
        };
        let written = encode::trace(&trace);
        let read = TracesData::decode(written.as_slice()).unwrap();
        // As text, since a NaN is unlike itself.
        prop_assert_eq!(
            format!("{:?}", read.resource_spans),
            format!("{:?}", request.resource_spans)
        );
    }

    #[test]
    fn damaged_requests_are_refused_or_read_but_never_panic(
        request in any_request(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = request.encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        let _ = decode(&bytes);
    }
}

#[test]
fn values_nest_32_deep_and_not_without_bound() {
    let nested = |depth: usize| {
        let mut value = AnyValue {
            value: Some(Value::BoolValue(true)),
        };
        for _ in 0..depth {
            value = AnyValue {
                value: Some(Value::ArrayValue(ArrayValue {
                    values: vec![value],
                })),
            };
        }
        let span = Span {
            trace_id: TRACE.to_vec(),
            span_id: vec![1; 8],
            attributes: vec![key_value("deep".to_owned(), value)],
            ..Span::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        decode(&request.encode_to_vec())
    };
    assert!(nested(32).is_ok());
    assert_eq!(nested(33), Err(Refused::Malformed(Malformed::Depth)));
    assert_eq!(nested(1000), Err(Refused::Malformed(Malformed::Depth)));
}
