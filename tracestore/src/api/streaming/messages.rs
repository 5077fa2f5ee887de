//! Answers as messages of `tempopb`.

use std::collections::{BTreeSet, HashMap};

use prost::Message;

use super::{
    in_parts,
    tempopb::{
        Exemplar, InstantSeries, MetadataMetrics, PartialStatus, QueryInstantResponse,
        QueryRangeResponse, Sample, SearchMetrics, SearchResponse, SearchTagValuesResponse,
        SearchTagValuesV2Response, SearchTagsResponse, SearchTagsV2Response, SearchTagsV2Scope,
        ServiceStats, Span, SpanSet, TagValue, TimeSeries, TraceSearchMetadata,
    },
};
use crate::{
    api::json::{self, Charted},
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

/// What a field of text takes in a message beside its text, with room to spare.
const FIELD_BYTES: usize = 16;

/// A scope with many tags is in several messages.
pub(super) fn tags(scopes: Vec<json::TagScope>) -> Vec<SearchTagsV2Response> {
    let tags = scopes.into_iter().flat_map(|scope| {
        let of_scope = move |tag| (scope.name, tag);
        scope.tags.into_iter().map(of_scope)
    });
    let bytes = |(scope, tag): &(&str, String)| scope.len() + tag.len() + FIELD_BYTES;
    let message = |tags: Vec<(&str, String)>| {
        let mut scopes: Vec<SearchTagsV2Scope> = Vec::new();
        for (scope, tag) in tags {
            match scopes.last_mut().filter(|last| last.name == scope) {
                Some(last) => last.tags.push(tag),
                None => scopes.push(SearchTagsV2Scope {
                    name: scope.to_owned(),
                    tags: vec![tag],
                }),
            }
        }
        SearchTagsV2Response {
            scopes,
            metrics: Some(MetadataMetrics {}),
        }
    };
    in_parts(tags, bytes).into_iter().map(message).collect()
}

pub(super) fn tags_v1(names: BTreeSet<String>) -> Vec<SearchTagsResponse> {
    let message = |tag_names| SearchTagsResponse {
        tag_names,
        metrics: Some(MetadataMetrics {}),
    };
    let parts = in_parts(names, |name| name.len() + FIELD_BYTES);
    parts.into_iter().map(message).collect()
}

pub(super) fn tag_values(values: Vec<json::TagValue>) -> Vec<SearchTagValuesV2Response> {
    let values = values.into_iter().map(|value| TagValue {
        r#type: value.kind.to_owned(),
        value: value.value,
    });
    let message = |tag_values| SearchTagValuesV2Response {
        tag_values,
        metrics: Some(MetadataMetrics {}),
    };
    let parts = in_parts(values, |value| value.encoded_len() + FIELD_BYTES);
    parts.into_iter().map(message).collect()
}

pub(super) fn tag_values_v1(values: BTreeSet<String>) -> Vec<SearchTagValuesResponse> {
    let message = |tag_values| SearchTagValuesResponse {
        tag_values,
        metrics: Some(MetadataMetrics {}),
    };
    let parts = in_parts(values, |value| value.len() + FIELD_BYTES);
    parts.into_iter().map(message).collect()
}

/// Series are in several messages where they are large together; what is missing is said in the last one, as in Tempo.
pub(super) fn range(answer: Charted) -> Vec<QueryRangeResponse> {
    let series = answer.series.into_iter().map(|series| {
        let samples = series.values.iter().zip(&answer.timestamps);
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
    let message = |series| QueryRangeResponse {
        series,
        metrics: Some(ONE_JOB),
        ..QueryRangeResponse::default()
    };
    let parts = in_parts(series, |series| series.encoded_len() + FIELD_BYTES).into_iter();
    let mut messages: Vec<_> = parts.map(message).collect();
    if let Some(last) = messages.last_mut() {
        last.status = status(&answer.partial).into();
        last.message = answer.partial.unwrap_or_default();
    }
    messages
}

/// Of the first point of each series.
pub(super) fn instant(answer: Charted) -> QueryInstantResponse {
    let series = answer.series.into_iter().filter_map(|series| {
        let value = series.values.iter().find(|value| !value.is_nan())?;
        Some(InstantSeries {
            labels: key_values(&series.labels),
            value: *value,
        })
    });
    QueryInstantResponse {
        series: series.collect(),
        metrics: Some(ONE_JOB),
        status: status(&answer.partial).into(),
        message: answer.partial.unwrap_or_default(),
    }
}

fn status(partial: &Option<String>) -> PartialStatus {
    match partial {
        None => PartialStatus::Complete,
        Some(_) => PartialStatus::Partial,
    }
}
