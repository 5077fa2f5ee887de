//! Writes traces as the protobuf messages that Tempo answers with.
//!
//! `tempopb.Trace` is OTLP's `TracesData` on the wire; the rest of `tempopb` is spelled out here:
//! <https://github.com/grafana/tempo/blob/v3.0.3/pkg/tempopb/tempo.proto>

use opentelemetry_proto::tonic::{
    common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue as WireKeyValue, KeyValueList,
        any_value,
    },
    resource::v1::Resource as WireResource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span as WireSpan, Status as WireStatus, TracesData, span, status,
    },
};
use prost::Message;

use crate::span::{Group, KeyValue, Kind, Span, StatusCode, Trace, TraceId, Value};

/// `tempopb.TraceByIDResponse`; an unknown trace is an empty one.
///
/// Grafana dereferences `trace` and every `resource`, `scope` and `status` without looking, so
/// they are written even when they are empty.
pub(crate) fn trace_by_id_response(found: Option<&Trace<'_>>) -> Vec<u8> {
    let partial = found.and_then(|trace| trace.partial.as_ref());
    let response = TraceByIdResponse {
        trace: Some(found.map(traces_data).unwrap_or_default()),
        metrics: Some(TraceByIdMetrics { inspected_bytes: 0 }),
        status: i32::from(partial.is_some()),
        message: partial.cloned().unwrap_or_default(),
    };
    response.encode_to_vec()
}

/// `tempopb.Trace`.
pub(crate) fn trace(found: &Trace<'_>) -> Vec<u8> {
    traces_data(found).encode_to_vec()
}

#[derive(Clone, PartialEq, Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
    #[prost(message, optional, tag = "2")]
    metrics: Option<TraceByIdMetrics>,
    /// `tempopb.PartialStatus`: 0 for a trace that is complete, 1 for one that is partial.
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct TraceByIdMetrics {
    #[prost(uint64, tag = "1")]
    inspected_bytes: u64,
}

fn traces_data(trace: &Trace<'_>) -> TracesData {
    let groups = trace.by_resource();
    TracesData {
        resource_spans: groups
            .map(|groups| resource_spans(trace.id, groups))
            .collect(),
    }
}

/// Of groups that share a resource; there is at least one.
fn resource_spans(trace: TraceId, groups: &[Group<'_>]) -> ResourceSpans {
    let resource = &groups[0].resource;
    ResourceSpans {
        resource: Some(WireResource {
            attributes: key_values(&resource.attributes),
            dropped_attributes_count: resource.dropped_attributes,
            ..WireResource::default()
        }),
        scope_spans: groups
            .iter()
            .map(|group| scope_spans(trace, group))
            .collect(),
        schema_url: resource.schema_url.to_string(),
    }
}

fn scope_spans(trace: TraceId, group: &Group<'_>) -> ScopeSpans {
    let scope = &group.scope;
    ScopeSpans {
        scope: Some(InstrumentationScope {
            name: scope.name.to_string(),
            version: scope.version.to_string(),
            attributes: key_values(&scope.attributes),
            dropped_attributes_count: scope.dropped_attributes,
        }),
        spans: group
            .spans
            .iter()
            .map(|span| wire_span(trace, span))
            .collect(),
        schema_url: scope.schema_url.to_string(),
    }
}

fn wire_span(trace: TraceId, span: &Span<'_>) -> WireSpan {
    WireSpan {
        trace_id: trace.bytes().to_vec(),
        span_id: span.id.bytes().to_vec(),
        trace_state: span.trace_state.to_string(),
        parent_span_id: span.parent.map_or(Vec::new(), |id| id.bytes().to_vec()),
        flags: span.flags,
        name: span.name.to_string(),
        kind: match span.kind {
            Kind::Unspecified => span::SpanKind::Unspecified,
            Kind::Internal => span::SpanKind::Internal,
            Kind::Server => span::SpanKind::Server,
            Kind::Client => span::SpanKind::Client,
            Kind::Producer => span::SpanKind::Producer,
            Kind::Consumer => span::SpanKind::Consumer,
        }
        .into(),
        start_time_unix_nano: span.start_unix_nano,
        end_time_unix_nano: span.end_unix_nano,
        attributes: key_values(&span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        events: span.events.iter().map(wire_event).collect(),
        dropped_events_count: span.dropped_events,
        links: span.links.iter().map(wire_link).collect(),
        dropped_links_count: span.dropped_links,
        status: Some(WireStatus {
            message: span.status.message.to_string(),
            code: match span.status.code {
                StatusCode::Unset => status::StatusCode::Unset,
                StatusCode::Ok => status::StatusCode::Ok,
                StatusCode::Error => status::StatusCode::Error,
            }
            .into(),
        }),
    }
}

fn wire_event(event: &crate::span::Event<'_>) -> span::Event {
    span::Event {
        time_unix_nano: event.time_unix_nano,
        name: event.name.to_string(),
        attributes: key_values(&event.attributes),
        dropped_attributes_count: event.dropped_attributes,
    }
}

fn wire_link(link: &crate::span::Link<'_>) -> span::Link {
    span::Link {
        trace_id: link.trace.bytes().to_vec(),
        span_id: link.span.bytes().to_vec(),
        trace_state: link.trace_state.to_string(),
        attributes: key_values(&link.attributes),
        dropped_attributes_count: link.dropped_attributes,
        flags: link.flags,
    }
}

/// `tempopb.common.v1.KeyValue`, which is OTLP's on the wire.
pub(crate) fn key_values(attributes: &[KeyValue<'_>]) -> Vec<WireKeyValue> {
    attributes
        .iter()
        .map(|KeyValue { key, value }| WireKeyValue {
            key: key.to_string(),
            value: Some(any_value(value)),
            ..WireKeyValue::default()
        })
        .collect()
}

fn any_value(value: &Value<'_>) -> AnyValue {
    let value = match value {
        Value::Empty => None,
        Value::String(text) => Some(any_value::Value::StringValue(text.to_string())),
        Value::Bool(truth) => Some(any_value::Value::BoolValue(*truth)),
        Value::Int(number) => Some(any_value::Value::IntValue(*number)),
        Value::Double(number) => Some(any_value::Value::DoubleValue(number.0)),
        Value::Bytes(bytes) => Some(any_value::Value::BytesValue(bytes.to_vec())),
        Value::Array(values) => Some(any_value::Value::ArrayValue(ArrayValue {
            values: values.iter().map(any_value).collect(),
        })),
        Value::Map(pairs) => Some(any_value::Value::KvlistValue(KeyValueList {
            values: key_values(pairs),
        })),
    };
    AnyValue { value }
}
