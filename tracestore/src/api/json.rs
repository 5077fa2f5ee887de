//! Tempo's JSON: protobuf's, but with ids in base64.
//!
//! What has its default value is left out, 64-bit integers are strings, enums are names. It is
//! not OTLP/JSON, whose ids are hexadecimal and whose enums are numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use base64::{display::Base64Display, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    query::SpanSet,
    span::{
        Double, Event, Group, KeyValue, Kind, Link, Span, SpanId, Status, StatusCode, Trace,
        TraceId, Value,
    },
    store::{Found, Summary},
};

/// `tempopb.TraceByIDResponse`.
#[derive(Serialize)]
pub(crate) struct TraceByIdResponse<'a> {
    trace: TraceV2<'a>,
    metrics: Empty,
}

impl<'a> TraceByIdResponse<'a> {
    pub(crate) fn new(found: Option<&'a Trace<'_>>) -> TraceByIdResponse<'a> {
        TraceByIdResponse {
            trace: TraceV2 {
                resource_spans: found.map(resource_spans).unwrap_or_default(),
            },
            metrics: Empty {},
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

/// `tempopb.SearchResponse`. Grafana refuses fields that Tempo does not have.
#[derive(Serialize)]
pub(crate) struct SearchResponse<'a> {
    traces: Vec<TraceSearchMetadata<'a>>,
    metrics: SearchMetrics,
}

impl<'a> SearchResponse<'a> {
    /// With spans if there was a query that they passed.
    pub(crate) fn new(found: &'a [Found], with_spans: bool) -> SearchResponse<'a> {
        let traces = found.iter().map(|found| {
            let sets = match with_spans {
                true => found.sets.iter().map(span_set).collect(),
                false => Vec::new(),
            };
            trace_search_metadata(&found.summary, sets)
        });
        SearchResponse {
            traces: traces.collect(),
            metrics: SearchMetrics::ONE_JOB,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TraceSearchMetadata<'a> {
    #[serde(rename = "traceID")]
    trace_id: Text<TraceId>,
    root_service_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    root_trace_name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    start_time_unix_nano: Text<u64>,
    #[serde(skip_serializing_if = "is_default")]
    duration_ms: u32,
    /// Grafana takes `spanSet` alone where that is there too, so it is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    span_sets: Vec<SpanSetJson<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    service_stats: BTreeMap<&'a str, ServiceStatsJson>,
}

#[derive(Serialize)]
struct SpanSetJson<'a> {
    spans: Vec<FoundSpanJson<'a>>,
    matched: u32,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundSpanJson<'a> {
    #[serde(rename = "spanID")]
    span_id: Text<SpanId>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    start_time_unix_nano: Text<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    duration_nanos: Text<u64>,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
}

fn span_set(found: &SpanSet) -> SpanSetJson<'_> {
    let spans = found.spans.iter().map(|span| FoundSpanJson {
        span_id: Text(span.id),
        name: &span.name,
        start_time_unix_nano: Text(span.start_unix_nano),
        duration_nanos: Text(span.end_unix_nano.saturating_sub(span.start_unix_nano)),
        attributes: Attributes(&span.attributes),
    });
    SpanSetJson {
        spans: spans.collect(),
        matched: found.matched,
        attributes: Attributes(&found.attributes),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceStatsJson {
    span_count: u32,
    #[serde(skip_serializing_if = "is_default")]
    error_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SearchMetrics {
    completed_jobs: u32,
    total_jobs: u32,
}

impl SearchMetrics {
    const ONE_JOB: SearchMetrics = SearchMetrics {
        completed_jobs: 1,
        total_jobs: 1,
    };
}

/// What Tempo writes while the span without a parent is missing, or if it has no `service.name`.
const NO_ROOT: &str = "<root span not yet received>";

fn trace_search_metadata<'a>(
    summary: &'a Summary,
    span_sets: Vec<SpanSetJson<'a>>,
) -> TraceSearchMetadata<'a> {
    TraceSearchMetadata {
        trace_id: Text(summary.id),
        root_service_name: root_service(summary),
        root_trace_name: root_name(summary),
        start_time_unix_nano: Text(summary.start_unix_nano),
        duration_ms: duration_ms(summary),
        span_sets,
        service_stats: summary
            .services
            .iter()
            .map(|(service, stats)| {
                let stats = ServiceStatsJson {
                    span_count: stats.spans,
                    error_count: stats.errors,
                };
                (&**service, stats)
            })
            .collect(),
    }
}

pub(super) fn root_service(summary: &Summary) -> &str {
    let root = summary.root.as_ref().map(|root| &*root.service);
    root.filter(|service| !service.is_empty())
        .unwrap_or(NO_ROOT)
}

pub(super) fn root_name(summary: &Summary) -> &str {
    summary.root.as_ref().map_or("", |root| &root.name)
}

pub(super) fn duration_ms(summary: &Summary) -> u32 {
    let milliseconds = (summary.end_unix_nano - summary.start_unix_nano) / 1_000_000;
    u32::try_from(milliseconds).unwrap_or(u32::MAX)
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

/// `[{"key": ..., "value": {...}}]`.
struct Attributes<'a>(&'a [KeyValue<'a>]);

impl Attributes<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Attribute<'a> {
            #[serde(skip_serializing_if = "str::is_empty")]
            key: &'a str,
            value: AnyValue<'a>,
        }
        serializer.collect_seq(self.0.iter().map(|KeyValue { key, value }| Attribute {
            key,
            value: AnyValue(value),
        }))
    }
}

/// `{"stringValue": ...}` and its like; `{}` if nothing is set.
struct AnyValue<'a>(&'a Value<'a>);

impl Serialize for AnyValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Values<T> {
            values: T,
        }
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Value::Empty => {}
            Value::String(text) => map.serialize_entry("stringValue", text)?,
            Value::Bool(truth) => map.serialize_entry("boolValue", truth)?,
            Value::Int(number) => map.serialize_entry("intValue", &Text(number))?,
            Value::Double(number) => map.serialize_entry("doubleValue", &JsonDouble(*number))?,
            Value::Bytes(bytes) => {
                map.serialize_entry("bytesValue", &Text(Base64Display::new(bytes, &STANDARD)))?;
            }
            Value::Array(values) if values.is_empty() => {
                map.serialize_entry("arrayValue", &Empty {})?
            }
            Value::Array(values) => {
                let values: Vec<_> = values.iter().map(AnyValue).collect();
                map.serialize_entry("arrayValue", &Values { values })?;
            }
            Value::Map(pairs) if pairs.is_empty() => {
                map.serialize_entry("kvlistValue", &Empty {})?
            }
            Value::Map(pairs) => {
                let values = Attributes(pairs);
                map.serialize_entry("kvlistValue", &Values { values })?;
            }
        }
        map.end()
    }
}

/// A number as Go writes it: whole numbers without a fraction, and names for what JSON lacks.
struct JsonDouble(Double);

impl JsonDouble {
    fn is_zero(&self) -> bool {
        let Double(number) = self.0;
        number == 0.0
    }
}

impl Serialize for JsonDouble {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Up to here every whole number is one that `i64` has too.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let Double(number) = self.0;
        if number.is_nan() {
            serializer.serialize_str("NaN")
        } else if number.is_infinite() {
            serializer.serialize_str(if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            })
        } else if number.fract() == 0.0
            && number.abs() < EXACT
            && number.to_bits() != (-0.0_f64).to_bits()
        {
            serializer.serialize_i64(number as i64)
        } else {
            serializer.serialize_f64(number)
        }
    }
}

/// An id as standard base64 with padding.
struct Base64<const N: usize>([u8; N]);

impl<const N: usize> Serialize for Base64<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(&self.0, &STANDARD))
    }
}

/// Something that is written as a string.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// `tempopb.QueryRangeResponse`.
#[derive(Serialize)]
pub(crate) struct QueryRangeResponse<'a> {
    series: Vec<TimeSeries<'a>>,
    metrics: SearchMetrics,
}

#[derive(Serialize)]
struct TimeSeries<'a> {
    labels: Attributes<'a>,
    samples: Vec<Sample>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exemplars: Vec<Exemplar<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Exemplar<'a> {
    labels: Attributes<'a>,
    value: JsonDouble,
    timestamp_ms: Text<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    timestamp_ms: Text<u64>,
    #[serde(skip_serializing_if = "JsonDouble::is_zero")]
    value: JsonDouble,
}

impl<'a> QueryRangeResponse<'a> {
    /// `timestamps` are of the intervals of all series, in milliseconds since the Unix epoch.
    pub(crate) fn new(series: &'a [LabeledSeries], timestamps: &[u64]) -> QueryRangeResponse<'a> {
        let series = series.iter().map(|series| {
            let samples = series.values.iter().zip(timestamps);
            let samples = samples.filter(|(value, _)| !value.is_nan());
            let samples = samples.map(|(value, timestamp)| Sample {
                timestamp_ms: Text(*timestamp),
                value: JsonDouble(Double(*value)),
            });
            let exemplars = series.exemplars.iter().map(|exemplar| Exemplar {
                labels: Attributes(&exemplar.labels),
                value: JsonDouble(Double(exemplar.value)),
                timestamp_ms: Text(exemplar.timestamp_ms),
            });
            TimeSeries {
                labels: Attributes(&series.labels),
                samples: samples.collect(),
                exemplars: exemplars.collect(),
            }
        });
        QueryRangeResponse {
            series: series.collect(),
            metrics: SearchMetrics::ONE_JOB,
        }
    }
}

/// `tempopb.QueryInstantResponse`.
#[derive(Serialize)]
pub(crate) struct QueryInstantResponse<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    series: Vec<InstantSeries<'a>>,
    metrics: SearchMetrics,
}

#[derive(Serialize)]
struct InstantSeries<'a> {
    labels: Attributes<'a>,
    #[serde(skip_serializing_if = "JsonDouble::is_zero")]
    value: JsonDouble,
}

impl<'a> QueryInstantResponse<'a> {
    /// Of the first point of each series.
    pub(crate) fn new(series: &'a [LabeledSeries]) -> QueryInstantResponse<'a> {
        let series = series.iter().filter_map(|series| {
            let value = series.values.iter().find(|value| !value.is_nan())?;
            Some(InstantSeries {
                labels: Attributes(&series.labels),
                value: JsonDouble(Double(*value)),
            })
        });
        QueryInstantResponse {
            series: series.collect(),
            metrics: SearchMetrics::ONE_JOB,
        }
    }
}

/// A series with labels as they are written.
#[derive(Debug)]
pub(crate) struct LabeledSeries {
    pub(crate) labels: Vec<KeyValue<'static>>,
    /// NaN is no point.
    pub(crate) values: Vec<f64>,
    pub(crate) exemplars: Vec<LabeledExemplar>,
}

/// A span that a series counted.
#[derive(Debug)]
pub(crate) struct LabeledExemplar {
    pub(crate) labels: Vec<KeyValue<'static>>,
    pub(crate) value: f64,
    /// Since the Unix epoch.
    pub(crate) timestamp_ms: u64,
}

/// `{}`
#[derive(Serialize)]
struct Empty {}

fn is_zero(number: &Text<u64>) -> bool {
    number.0 == 0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `tempopb.SearchTagsV2Response`.
#[derive(Serialize)]
pub(crate) struct TagsResponse {
    scopes: Vec<TagScope>,
    metrics: Empty,
}

#[derive(Serialize)]
pub(crate) struct TagScope {
    pub(crate) name: &'static str,
    pub(crate) tags: Vec<String>,
}

impl TagsResponse {
    pub(crate) fn new(scopes: Vec<TagScope>) -> TagsResponse {
        TagsResponse {
            scopes,
            metrics: Empty {},
        }
    }
}

/// `tempopb.SearchTagValuesV2Response`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagValuesResponse {
    tag_values: Vec<TagValue>,
    metrics: Empty,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct TagValue {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) value: String,
}

impl TagValuesResponse {
    pub(crate) fn new(tag_values: Vec<TagValue>) -> TagValuesResponse {
        TagValuesResponse {
            tag_values,
            metrics: Empty {},
        }
    }
}

/// `tempopb.SearchTagsResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagsV1Response {
    pub(crate) tag_names: BTreeSet<String>,
}

/// `tempopb.SearchTagValuesResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagValuesV1Response {
    pub(crate) tag_values: BTreeSet<String>,
}
