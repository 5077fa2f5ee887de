//! What a search found.

use std::collections::BTreeMap;

use serde::Serialize;

use super::values::{Attributes, Text, is_default, is_zero};
use crate::{
    query::SpanSet,
    span::{SpanId, TraceId},
    store::{Found, Summary},
};

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
pub(super) struct SearchMetrics {
    completed_jobs: u32,
    total_jobs: u32,
}

impl SearchMetrics {
    pub(super) const ONE_JOB: SearchMetrics = SearchMetrics {
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

pub(in crate::api) fn root_service(summary: &Summary) -> &str {
    let root = summary.root.as_ref().map(|root| &*root.service);
    root.filter(|service| !service.is_empty())
        .unwrap_or(NO_ROOT)
}

pub(in crate::api) fn root_name(summary: &Summary) -> &str {
    summary.root.as_ref().map_or("", |root| &root.name)
}

pub(in crate::api) fn duration_ms(summary: &Summary) -> u32 {
    let milliseconds = (summary.end_unix_nano - summary.start_unix_nano) / 1_000_000;
    u32::try_from(milliseconds).unwrap_or(u32::MAX)
}
