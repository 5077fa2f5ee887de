//! That the bytes are those of opentelemetry-proto and prost.

pub(crate) mod any;
mod logs;
mod stock;

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_sdk::{Resource, trace::SpanData};
use proptest::prelude::*;
use prost::Message as _;

use self::stock::{encoded, sort_scopes, stock};
use super::{Encoded, Request, ResourceBytes, ScopeBytes, SpanBytes, first_span_len};

fn ours(spans: &[SpanData]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for span in spans {
        let span = SpanBytes::new(span);
        let mut exactly = vec![0; span.len()];
        assert_eq!(span.write_within(&mut exactly), Some(exactly.len()));
        bytes.append(&mut exactly);
    }
    bytes
}

fn request<'a>(
    parts: impl IntoIterator<Item = (&'a Resource, &'a InstrumentationScope, &'a [SpanData])>,
) -> Vec<u8> {
    let mut request = Request::new();
    for (resource, scope, spans) in parts {
        let resource = Arc::new(ResourceBytes::new(resource));
        let scope = Arc::new(ScopeBytes::new(scope));
        request.add(&resource, &scope, ours(spans));
    }
    let bytes = request.encode();
    assert_eq!(bytes.len(), request.len());
    bytes.to_vec()
}

proptest! {
    #[test]
    fn any_spans_are_the_bytes_that_the_stock_exporter_sends(
        resource in any::resource(),
        scope in any::scope(),
        mut spans in prop::collection::vec(any::span(), 1..4),
    ) {
        for span in &mut spans {
            span.instrumentation_scope = scope.clone();
        }
        let bytes = request([(&resource, &scope, &spans[..])]);
        prop_assert_eq!(bytes, encoded(vec![stock(&spans, &resource)]));
    }

    #[test]
    fn spans_of_any_scopes_in_any_order_are_in_groups(
        resource in any::resource(),
        scopes in prop::collection::vec(any::scope(), 1..4),
        mut spans in prop::collection::vec((any::span(), any::<prop::sample::Index>()), 1..8),
    ) {
        for (span, scope) in &mut spans {
            span.instrumentation_scope = scope.get(&scopes).clone();
        }
        let spans: Vec<_> = spans.into_iter().map(|(span, _)| span).collect();
        let parts = spans.chunks(1).map(|span| (&resource, &span[0].instrumentation_scope, span));
        let bytes = request(parts);

        let mut decoded = ExportTraceServiceRequest::decode(&bytes[..]).unwrap().resource_spans;
        prop_assert_eq!(decoded.len(), 1);
        sort_scopes(&mut decoded[0].scope_spans);
        prop_assert_eq!(encoded(decoded), encoded(vec![stock(&spans, &resource)]));
    }

    #[test]
    fn a_span_is_the_same_however_much_room_there_is(span in any::span(), room in 0..600_usize) {
        let exactly = ours(std::slice::from_ref(&span));
        let span = SpanBytes::new(&span);
        // What was there before is not seen.
        let mut out = vec![0xff; room];
        match span.write(&mut out) {
            Some(len) => prop_assert_eq!(&out[..len], &exactly[..]),
            None => prop_assert!(room < exactly.len() + 1, "{} bytes", exactly.len()),
        }
        let mut out = vec![0xff; exactly.len() + room];
        prop_assert_eq!(span.write_within(&mut out), Some(exactly.len()));
        prop_assert_eq!(&out[..exactly.len()], &exactly[..]);
        let mut out = vec![0; exactly.len().saturating_sub(1 + room)];
        prop_assert_eq!(span.write_within(&mut out), None);
        prop_assert_eq!(span.write(&mut out), None);
    }

    #[test]
    fn spans_are_told_apart_by_their_lengths(spans in prop::collection::vec(any::span(), 0..4)) {
        let bytes = ours(&spans);
        let mut rest = &bytes[..];
        for span in &spans {
            let len = first_span_len(rest).unwrap();
            prop_assert_eq!(len, SpanBytes::new(span).len());
            rest = &rest[len..];
        }
        prop_assert_eq!(first_span_len(rest), None);
    }
}

#[test]
fn each_resource_has_its_own_spans_and_equal_ones_are_one() {
    let resource = |name| Resource::builder_empty().with_service_name(name).build();
    let (a, same, b) = (resource("a"), resource("a"), resource("b"));
    let scope = InstrumentationScope::builder("scope").build();
    let mut spans = [any::simple("1"), any::simple("2"), any::simple("3")];
    for span in &mut spans {
        span.instrumentation_scope = scope.clone();
    }
    let [one, two, three] = &spans;

    let bytes = request([
        (&a, &scope, std::slice::from_ref(one)),
        (&b, &scope, std::slice::from_ref(two)),
        (&same, &scope, std::slice::from_ref(three)),
    ]);

    let of_a = stock(&[one.clone(), three.clone()], &a);
    let of_b = stock(std::slice::from_ref(two), &b);
    assert_eq!(bytes, encoded(vec![of_a, of_b]));
}

#[test]
fn scopes_that_differ_in_anything_are_not_one() {
    let builder = || InstrumentationScope::builder("scope");
    let scopes = [
        builder().build(),
        builder().with_version("1").build(),
        builder().with_schema_url("https://example.com/1").build(),
        builder().with_attributes([KeyValue::new("k", 1)]).build(),
        builder().with_attributes([KeyValue::new("k", 2)]).build(),
        InstrumentationScope::builder("other").build(),
    ];
    let resource = Resource::builder_empty().build();
    let span = [any::simple("1")];
    let bytes = request(scopes.iter().map(|scope| (&resource, scope, &span[..])));
    let decoded = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
    assert_eq!(decoded.resource_spans[0].scope_spans.len(), scopes.len());
}

#[test]
fn a_scope_with_what_is_not_a_number_is_one_all_the_same() {
    let attributes = [KeyValue::new("k", f64::NAN)];
    let scope = InstrumentationScope::builder("scope")
        .with_attributes(attributes)
        .build();
    let resource = Resource::builder_empty().build();
    let span = [any::simple("1")];
    let bytes = request([
        (&resource, &scope, &span[..]),
        (&resource, &scope, &span[..]),
    ]);
    let decoded = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
    assert_eq!(decoded.resource_spans[0].scope_spans.len(), 1);
}

#[test]
fn a_request_without_spans_is_empty() {
    assert_eq!(request([]), Vec::<u8>::new());
}

#[test]
fn what_was_before_the_epoch_has_no_time() {
    let mut span = any::simple("1");
    span.start_time = UNIX_EPOCH - Duration::from_secs(1);
    span.end_time = UNIX_EPOCH;
    let resource = Resource::builder_empty().build();
    let scope = span.instrumentation_scope.clone();
    let spans = [span];
    let bytes = request([(&resource, &scope, &spans[..])]);
    assert_eq!(bytes, encoded(vec![stock(&spans, &resource)]));
}

#[test]
fn lengths_of_attributes_around_a_byte_are_exact() {
    let mut span = any::simple("1");
    for len in 0..140 {
        let text = "x".repeat(len);
        span.attributes.push(KeyValue::new(text.clone(), "value"));
        span.attributes.push(KeyValue::new("key", text.clone()));
        span.attributes.push(KeyValue::new(text.clone(), -1));
        span.attributes
            .push(KeyValue::new(text, 1_i64 << (len / 3)));
    }
    let resource = Resource::builder_empty().build();
    let scope = span.instrumentation_scope.clone();
    let spans = [span];
    let bytes = request([(&resource, &scope, &spans[..])]);
    assert_eq!(bytes, encoded(vec![stock(&spans, &resource)]));
}

#[test]
fn lengths_beyond_two_bytes_are_exact() {
    let mut span = any::simple("1");
    let long = "x".repeat(3 << 20);
    let list: Vec<_> = (0..20_000_i64).collect();
    span.attributes = vec![
        KeyValue::new("long", long),
        KeyValue::new("list", opentelemetry::Value::Array(list.into())),
    ];
    let resource = Resource::builder_empty().build();
    let scope = span.instrumentation_scope.clone();
    let spans = [span];
    let bytes = request([(&resource, &scope, &spans[..])]);
    assert!(bytes == encoded(vec![stock(&spans, &resource)]));
}
