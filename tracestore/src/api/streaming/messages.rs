//! Answers as messages of `tempopb`.

use std::collections::{BTreeSet, HashMap};

use super::tempopb::{
    Exemplar, InstantSeries, MetadataMetrics, QueryInstantResponse, QueryRangeResponse, Sample,
    SearchMetrics, SearchResponse, SearchTagValuesResponse, SearchTagValuesV2Response,
    SearchTagsResponse, SearchTagsV2Response, SearchTagsV2Scope, ServiceStats, Span, SpanSet,
    TagValue, TimeSeries, TraceSearchMetadata,
};
use crate::{
    api::json::{self, LabeledSeries},
    ingest::key_values,
    query,
    store::Found,
};

const ONE_JOB: SearchMetrics = SearchMetrics {
    completed_jobs: 1,
    total_jobs: 1,
};

/// With spans if there was a query that they passed.
pub(super) fn search(found: &[Found], with_spans: bool) -> SearchResponse {
    let traces = found.iter().map(|found| {
        let summary = &found.summary;
        let services = summary.services.iter().map(|(service, stats)| {
            let stats = ServiceStats {
                span_count: stats.spans,
                error_count: stats.errors,
            };
            (service.to_string(), stats)
        });
        TraceSearchMetadata {
            trace_id: summary.id.to_string(),
            root_service_name: json::root_service(summary).to_owned(),
            root_trace_name: json::root_name(summary).to_owned(),
            start_time_unix_nano: summary.start_unix_nano,
            duration_ms: json::duration_ms(summary),
            span_sets: match with_spans {
                true => found.sets.iter().map(span_set).collect(),
                false => Vec::new(),
            },
            service_stats: services.collect::<HashMap<_, _>>(),
        }
    });
    SearchResponse {
        traces: traces.collect(),
        metrics: Some(ONE_JOB),
    }
}

fn span_set(found: &query::SpanSet) -> SpanSet {
    let spans = found.spans.iter().map(|span| Span {
        span_id: span.id.to_string(),
        name: span.name.clone(),
        start_time_unix_nano: span.start_unix_nano,
        duration_nanos: span.end_unix_nano.saturating_sub(span.start_unix_nano),
        attributes: key_values(&span.attributes),
    });
    SpanSet {
        spans: spans.collect(),
        matched: found.matched,
        attributes: key_values(&found.attributes),
    }
}

pub(super) fn tags(scopes: Vec<json::TagScope>) -> SearchTagsV2Response {
    let scopes = scopes.into_iter().map(|scope| SearchTagsV2Scope {
        name: scope.name.to_owned(),
        tags: scope.tags,
    });
    SearchTagsV2Response {
        scopes: scopes.collect(),
        metrics: Some(MetadataMetrics {}),
    }
}

pub(super) fn tags_v1(names: BTreeSet<String>) -> SearchTagsResponse {
    SearchTagsResponse {
        tag_names: names.into_iter().collect(),
        metrics: Some(MetadataMetrics {}),
    }
}

pub(super) fn tag_values(values: Vec<json::TagValue>) -> SearchTagValuesV2Response {
    let values = values.into_iter().map(|value| TagValue {
        r#type: value.kind.to_owned(),
        value: value.value,
    });
    SearchTagValuesV2Response {
        tag_values: values.collect(),
        metrics: Some(MetadataMetrics {}),
    }
}

pub(super) fn tag_values_v1(values: BTreeSet<String>) -> SearchTagValuesResponse {
    SearchTagValuesResponse {
        tag_values: values.into_iter().collect(),
        metrics: Some(MetadataMetrics {}),
    }
}

/// `timestamps` are of the intervals of all series, in milliseconds since the Unix epoch.
pub(super) fn range(series: Vec<LabeledSeries>, timestamps: &[u64]) -> QueryRangeResponse {
    let series = series.into_iter().map(|series| {
        let samples = series.values.iter().zip(timestamps);
        let samples = samples.filter(|(value, _)| !value.is_nan());
        let samples = samples.map(|(value, timestamp)| Sample {
            value: *value,
            timestamp_ms: timestamp.cast_signed(),
        });
        let exemplars = series.exemplars.iter().map(|exemplar| Exemplar {
            labels: key_values(&exemplar.labels),
            value: exemplar.value,
            timestamp_ms: exemplar.timestamp_ms.cast_signed(),
        });
        TimeSeries {
            labels: key_values(&series.labels),
            samples: samples.collect(),
            exemplars: exemplars.collect(),
        }
    });
    QueryRangeResponse {
        series: series.collect(),
        metrics: Some(ONE_JOB),
    }
}

/// Of the first point of each series.
pub(super) fn instant(series: Vec<LabeledSeries>) -> QueryInstantResponse {
    let series = series.into_iter().filter_map(|series| {
        let value = series.values.iter().find(|value| !value.is_nan())?;
        Some(InstantSeries {
            labels: key_values(&series.labels),
            value: *value,
        })
    });
    QueryInstantResponse {
        series: series.collect(),
        metrics: Some(ONE_JOB),
    }
}
