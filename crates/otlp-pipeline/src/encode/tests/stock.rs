//! The bytes of opentelemetry-proto and prost, as a stock exporter sends them.

use opentelemetry_proto::{
    tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{ResourceSpans, ScopeSpans},
    },
    transform::trace::tonic::group_spans_by_resource_and_scope,
};
use opentelemetry_sdk::{Resource, trace::SpanData};
use prost::Message as _;

/// What the stock exporter sends of spans with one resource, but for the order of attributes and scopes.
pub(crate) fn stock(spans: &[SpanData], resource: &Resource) -> ResourceSpans {
    let [mut stock] = group_spans_by_resource_and_scope(spans.to_vec(), &resource.into())
        .try_into()
        .unwrap();
    let attributes = &mut stock.resource.as_mut().unwrap().attributes;
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    sort_scopes(&mut stock.scope_spans);
    stock
}

pub(crate) fn sort_scopes(scopes: &mut [ScopeSpans]) {
    scopes.sort_by_cached_key(|scope| {
        let spans = Vec::new();
        let schema_url = scope.schema_url.clone();
        let scope = scope.scope.clone();
        ScopeSpans {
            scope,
            spans,
            schema_url,
        }
        .encode_to_vec()
    });
}

pub(crate) fn encoded(resource_spans: Vec<ResourceSpans>) -> Vec<u8> {
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}
