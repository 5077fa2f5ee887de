//! Our reading of the wire against prost's writing of it.

mod answers;
mod arrival;

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
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
use serde_json::{Value as Json, json};

use super::{
    build::{Decoded, Refused},
    encode, encoded_len, json,
    protobuf::decode,
    thrift,
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

/// The same request by the JSON mapping of OTLP; `loose` is how far a sender strays from it.
fn in_json(request: &ExportTraceServiceRequest, loose: bool) -> Vec<u8> {
    let hex = |id: &[u8]| -> String {
        let digits = |byte| {
            if loose {
                format!("{byte:02X}")
            } else {
                format!("{byte:02x}")
            }
        };
        id.iter().map(digits).collect()
    };
    let long = |number: u64| {
        if loose {
            json!(number)
        } else {
            json!(number.to_string())
        }
    };
    let event = |event: &Event| {
        json!({
            "timeUnixNano": long(event.time_unix_nano), "name": event.name,
            "attributes": pairs_in_json(&event.attributes),
            "droppedAttributesCount": event.dropped_attributes_count,
        })
    };
    let link = |link: &Link| {
        json!({
            "traceId": hex(&link.trace_id), "spanId": hex(&link.span_id),
            "traceState": link.trace_state, "flags": link.flags,
            "attributes": pairs_in_json(&link.attributes),
            "droppedAttributesCount": link.dropped_attributes_count,
        })
    };
    let span = |span: &Span| {
        let status = span.status.clone().unwrap_or_default();
        json!({
            "traceId": hex(&span.trace_id), "spanId": hex(&span.span_id),
            "traceState": span.trace_state, "parentSpanId": hex(&span.parent_span_id),
            "flags": span.flags, "name": span.name, "kind": span.kind,
            "startTimeUnixNano": long(span.start_time_unix_nano),
            "endTimeUnixNano": long(span.end_time_unix_nano),
            "attributes": pairs_in_json(&span.attributes),
            "droppedAttributesCount": span.dropped_attributes_count,
            "events": span.events.iter().map(event).collect::<Vec<_>>(),
            "droppedEventsCount": span.dropped_events_count,
            "links": span.links.iter().map(link).collect::<Vec<_>>(),
            "droppedLinksCount": span.dropped_links_count,
            "status": {"message": status.message, "code": status.code},
        })
    };
    let scope_spans = |group: &ScopeSpans| {
        let scope = group.scope.clone().unwrap_or_default();
        json!({
            "scope": {
                "name": scope.name, "version": scope.version,
                "attributes": pairs_in_json(&scope.attributes),
                "droppedAttributesCount": scope.dropped_attributes_count,
            },
            "spans": group.spans.iter().map(span).collect::<Vec<_>>(),
            "schemaUrl": group.schema_url,
        })
    };
    let resource_spans = |group: &ResourceSpans| {
        let resource = group.resource.clone().unwrap_or_default();
        json!({
            "resource": {
                "attributes": pairs_in_json(&resource.attributes),
                "droppedAttributesCount": resource.dropped_attributes_count,
            },
            "scopeSpans": group.scope_spans.iter().map(scope_spans).collect::<Vec<_>>(),
            "schemaUrl": group.schema_url,
        })
    };
    let groups: Vec<Json> = request.resource_spans.iter().map(resource_spans).collect();
    json!({"resourceSpans": groups}).to_string().into_bytes()
}

fn pairs_in_json(pairs: &[KeyValue]) -> Json {
    let pair = |pair: &KeyValue| {
        let value = pair.value.as_ref().map(value_in_json);
        json!({"key": pair.key, "value": value})
    };
    pairs.iter().map(pair).collect()
}

fn value_in_json(value: &AnyValue) -> Json {
    match &value.value {
        None => json!({}),
        Some(Value::StringValue(text)) => json!({"stringValue": text}),
        Some(Value::BoolValue(truth)) => json!({"boolValue": truth}),
        Some(Value::IntValue(number)) => json!({"intValue": number.to_string()}),
        Some(Value::DoubleValue(number)) if number.is_finite() => json!({"doubleValue": number}),
        Some(Value::DoubleValue(number)) => json!({"doubleValue": number.to_string()}),
        Some(Value::BytesValue(bytes)) => json!({"bytesValue": BASE64_STANDARD.encode(bytes)}),
        Some(Value::ArrayValue(array)) => {
            let values: Json = array.values.iter().map(value_in_json).collect();
            json!({"arrayValue": {"values": values}})
        }
        Some(Value::KvlistValue(map)) => {
            json!({"kvlistValue": {"values": pairs_in_json(&map.values)}})
        }
        Some(Value::StringValueStrindex(index)) => panic!("{index}: not of traces"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_length_of_a_span_is_that_of_its_protobuf(span in any_span()) {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans { spans: vec![span.clone()], ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }],
        };
        let bytes = request.encode_to_vec();
        let decoded = decode(&bytes).unwrap();
        prop_assert_eq!(encoded_len(&decoded.batches[0].spans[0].1), span.encoded_len());
    }

    #[test]
    fn what_is_read_is_what_was_written(request in any_request()) {
        let bytes = request.encode_to_vec();
        let decoded = decode(&bytes).unwrap();
        prop_assert_eq!(decoded.rejected.total(), 0);
        let groups = decoded.batches.into_iter().map(|batch| Group {
            resource: batch.resource,
            scope: batch.scope,
            spans: batch.spans.into_iter().map(|(_, span)| span).collect(),
        });
        let trace = Trace {
            id: crate::span::TraceId::new(TRACE).unwrap(),
            groups: groups.collect(),
            partial: None,
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
    fn json_and_protobuf_of_a_request_store_the_same(request in any_request(), loose: bool) {
        let (protobuf, json) = (request.encode_to_vec(), in_json(&request, loose));
        let Decoded { batches, rejected } = decode(&protobuf).unwrap();
        let from_json = json::decode(&json).unwrap();
        prop_assert_eq!(from_json.rejected, rejected);
        prop_assert_eq!(from_json.batches, batches);
    }

    #[test]
    fn damaged_json_is_refused_or_read_but_never_panics(
        request in any_request(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = in_json(&request, false);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        let _ = json::decode(&bytes);
    }

    #[test]
    fn noise_is_refused_or_read_but_never_panics(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = json::decode(&bytes);
        let _ = thrift::decode(&bytes);
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
fn text_is_borrowed_from_the_message_unless_it_is_escaped_there() {
    let request = |name: &str| ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![Span {
                    trace_id: TRACE.to_vec(),
                    span_id: vec![1; 8],
                    name: name.to_owned(),
                    ..Span::default()
                }],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    let name_of = |decoded: Decoded<'_>| {
        let (_, span) = &decoded.batches[0].spans[0];
        (span.name.to_string(), matches!(span.name, Cow::Borrowed(_)))
    };
    for (name, escaped) in [("plain", false), ("two\nlines", true)] {
        let protobuf = request(name).encode_to_vec();
        let name_and_borrowed = name_of(decode(&protobuf).unwrap());
        assert_eq!(name_and_borrowed, (name.to_owned(), true));
        let json = in_json(&request(name), false);
        let name_and_borrowed = name_of(json::decode(&json).unwrap());
        assert_eq!(name_and_borrowed, (name.to_owned(), !escaped));
    }
    let long = request(&"n".repeat(5000)).encode_to_vec();
    let name_and_borrowed = name_of(decode(&long).unwrap());
    assert_eq!(name_and_borrowed, ("n".repeat(4096), true));
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
        decode(&request.encode_to_vec()).map(drop)
    };
    let too_deep = || Err(Refused::from(Malformed::Depth).of("ExportTraceServiceRequest"));
    assert!(nested(32).is_ok());
    assert_eq!(nested(33), too_deep());
    assert_eq!(nested(1000), too_deep());
}
