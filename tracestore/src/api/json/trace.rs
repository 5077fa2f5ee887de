//! A trace.

use serde::Serialize;

use super::values::{Attributes, Base64, Empty, Text, is_default, is_zero};
use crate::span::{Event, Group, Kind, Link, Span, Status, StatusCode, Trace, TraceId};

/// `tempopb.TraceByIDResponse`.
#[derive(Serialize)]
pub(crate) struct TraceByIdResponse<'a> {
    trace: TraceV2<'a>,
    metrics: Empty,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> TraceByIdResponse<'a> {
    pub(crate) fn new(found: Option<&'a Trace<'_>>) -> TraceByIdResponse<'a> {
        let partial = found.and_then(|trace| trace.partial.as_deref());
        TraceByIdResponse {
            trace: TraceV2 {
                resource_spans: found.map(resource_spans).unwrap_or_default(),
            },
            metrics: Empty {},
            status: partial.map(|_| "PARTIAL"),
            message: partial,
        }
    }
}

/// `tempopb.Trace` of `/api/v2`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TraceV2<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_spans: Vec<ResourceSpansJson<'a>>,
}

/// `tempopb.Trace` of `/api/traces`, where its only field has the name of an older version.
#[derive(Serialize)]
pub(crate) struct TraceV1<'a> {
    batches: Vec<ResourceSpansJson<'a>>,
}

impl<'a> TraceV1<'a> {
    pub(crate) fn new(trace: &'a Trace<'_>) -> TraceV1<'a> {
        TraceV1 {
            batches: resource_spans(trace),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpansJson<'a> {
    resource: ResourceJson<'a>,
    scope_spans: Vec<ScopeSpansJson<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    schema_url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceJson<'a> {
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_attributes_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeSpansJson<'a> {
    scope: ScopeJson<'a>,
    spans: Vec<SpanJson<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    schema_url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_attributes_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'a> {
    trace_id: Base64<16>,
    span_id: Base64<8>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<Base64<8>>,
    #[serde(skip_serializing_if = "is_default")]
    flags: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "is_zero")]
    start_time_unix_nano: Text<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    end_time_unix_nano: Text<u64>,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventJson<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_events_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<LinkJson<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_links_count: u32,
    status: StatusJson<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventJson<'a> {
    #[serde(skip_serializing_if = "is_zero")]
    time_unix_nano: Text<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_attributes_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkJson<'a> {
    trace_id: Base64<16>,
    span_id: Base64<8>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "is_default")]
    flags: u32,
}

#[derive(Serialize)]
struct StatusJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

fn resource_spans<'a>(trace: &'a Trace<'_>) -> Vec<ResourceSpansJson<'a>> {
    let groups = trace.by_resource();
    groups
        .map(|groups| resource_spans_json(trace.id, groups))
        .collect()
}

/// Of groups that share a resource; there is at least one.
fn resource_spans_json<'a>(trace: TraceId, groups: &'a [Group<'_>]) -> ResourceSpansJson<'a> {
    let resource = &groups[0].resource;
    ResourceSpansJson {
        resource: ResourceJson {
            attributes: Attributes(&resource.attributes),
            dropped_attributes_count: resource.dropped_attributes,
        },
        scope_spans: groups
            .iter()
            .map(|group| scope_spans_json(trace, group))
            .collect(),
        schema_url: &resource.schema_url,
    }
}

fn scope_spans_json<'a>(trace: TraceId, group: &'a Group<'_>) -> ScopeSpansJson<'a> {
    let scope = &group.scope;
    ScopeSpansJson {
        scope: ScopeJson {
            name: &scope.name,
            version: &scope.version,
            attributes: Attributes(&scope.attributes),
            dropped_attributes_count: scope.dropped_attributes,
        },
        spans: group
            .spans
            .iter()
            .map(|span| span_json(trace, span))
            .collect(),
        schema_url: &scope.schema_url,
    }
}

fn span_json<'a>(trace: TraceId, span: &'a Span<'_>) -> SpanJson<'a> {
    SpanJson {
        trace_id: Base64(*trace.bytes()),
        span_id: Base64(*span.id.bytes()),
        trace_state: &span.trace_state,
        parent_span_id: span.parent.map(|id| Base64(*id.bytes())),
        flags: span.flags,
        name: &span.name,
        kind: (span.kind != Kind::Unspecified).then(|| span.kind.proto_name()),
        start_time_unix_nano: Text(span.start_unix_nano),
        end_time_unix_nano: Text(span.end_unix_nano),
        attributes: Attributes(&span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        events: span.events.iter().map(event_json).collect(),
        dropped_events_count: span.dropped_events,
        links: span.links.iter().map(link_json).collect(),
        dropped_links_count: span.dropped_links,
        status: status_json(&span.status),
    }
}

fn event_json<'a>(event: &'a Event<'_>) -> EventJson<'a> {
    EventJson {
        time_unix_nano: Text(event.time_unix_nano),
        name: &event.name,
        attributes: Attributes(&event.attributes),
        dropped_attributes_count: event.dropped_attributes,
    }
}

fn link_json<'a>(link: &'a Link<'_>) -> LinkJson<'a> {
    LinkJson {
        trace_id: Base64(*link.trace.bytes()),
        span_id: Base64(*link.span.bytes()),
        trace_state: &link.trace_state,
        attributes: Attributes(&link.attributes),
        dropped_attributes_count: link.dropped_attributes,
        flags: link.flags,
    }
}

fn status_json<'a>(status: &'a Status<'_>) -> StatusJson<'a> {
    StatusJson {
        message: &status.message,
        code: (status.code != StatusCode::Unset).then(|| status.code.proto_name()),
    }
}
