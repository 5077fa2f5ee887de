//! The propagator with carriers, contexts and the SDK around it.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, HeaderValue};
use opentelemetry::{
    Context, KeyValue,
    baggage::{Baggage, BaggageExt, BaggageMetadata},
    propagation::{TextMapCompositePropagator, TextMapPropagator},
    trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState, Tracer, TracerProvider},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::{
    propagation::{BaggagePropagator, TraceContextPropagator},
    trace::{Sampler, SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample},
};
use uber_trace_id::{JaegerDebug, Propagator, Rejected, TraceContextGuard, UberTraceId};

use crate::promises::Headers;

const CALLER: &str = "uber-trace-id: 4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7:0:1";

fn extract(lines: &str) -> Context {
    Propagator::new().extract_with_context(&Context::new(), &Headers::parse(lines))
}

fn inject(cx: &Context) -> Vec<(String, String)> {
    let mut headers = Headers::default();
    Propagator::new().inject_context(cx, &mut headers);
    headers.0
}

fn baggage(cx: &Context, key: &str) -> Option<String> {
    cx.baggage().get(key).map(ToString::to_string)
}

#[test]
fn the_context_is_kept_where_there_is_no_caller() {
    let caller = extract(CALLER);
    let propagator = Propagator::new();
    for lines in ["", "uber-trace-id: nonsense"] {
        let kept = propagator.extract_with_context(&caller, &Headers::parse(lines));
        assert_eq!(kept.span().span_context(), caller.span().span_context());
    }
}

#[test]
fn names_of_headers_have_no_case() {
    let mut carrier = Headers::default();
    for (name, value) in [("Uber-Trace-Id", "1:2:0:1"), ("UberCtx-User", "bob")] {
        carrier.0.push((name.to_owned(), value.to_owned()));
    }
    let cx = Propagator::new().extract_with_context(&Context::new(), &carrier);
    assert!(cx.has_active_span());
    assert_eq!(baggage(&cx, "user").as_deref(), Some("bob"));
}

#[test]
fn bytes_that_are_no_text_name_no_caller() {
    let value = HeaderValue::from_bytes(b"1:2:0:1\xff").unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("uber-trace-id", value);
    let cx = Propagator::new().extract_with_context(&Context::new(), &HeaderExtractor(&headers));
    assert!(!cx.has_active_span());
    // A carrier cannot tell that the second of two is no text; the values can.
    headers.append("uber-trace-id", HeaderValue::from_static("1:2:0:1"));
    let values = headers.get_all("uber-trace-id");
    assert_eq!(UberTraceId::from_values(values), Err(Rejected::Repeated));
}

#[test]
fn what_is_not_believed_is_told_and_what_is_absent_is_not() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let propagator = Propagator::new().on_rejected(|rejected| {
        assert_eq!(rejected.as_str(), "flags");
        TOLD.fetch_add(1, Ordering::Relaxed);
    });
    for lines in ["", CALLER, "uberctx-a: %ff", "uber-trace-id: 1:2:0:x"] {
        propagator.extract_with_context(&Context::new(), &Headers::parse(lines));
    }
    assert_eq!(TOLD.load(Ordering::Relaxed), 1);
}

#[test]
fn every_reason_has_its_header() {
    let long = format!("1:2:{}:1", "0".repeat(507));
    for (value, reason) in [
        (long.as_str(), Rejected::Length),
        ("1:2:0", Rejected::Format),
        ("1:2:0:1:", Rejected::Format),
        ("0:2:0:1", Rejected::TraceId),
        ("1:0:0:1", Rejected::SpanId),
        ("1:2:0:", Rejected::Flags),
    ] {
        assert_eq!(value.parse::<UberTraceId>(), Err(reason), "{value}");
    }
    let fits = format!("1:2:{}:1", "0".repeat(506));
    assert!(fits.len() == 512 && fits.parse::<UberTraceId>().is_ok());
}

#[test]
fn baggage_joins_what_other_formats_brought_and_the_later_one_wins() {
    let mut before = Baggage::new();
    before.insert_with_metadata("user", "bob", BaggageMetadata::from("secret"));
    before.insert_with_metadata("tier", "gold", BaggageMetadata::from("p=1"));
    let cx = Context::new().with_baggage(before);
    let headers = Headers::parse("jaeger-baggage: user=eve, plan=b\nuberctx-user: ann");
    let cx = Propagator::new().extract_with_context(&cx, &headers);
    assert_eq!(baggage(&cx, "user").as_deref(), Some("ann"));
    assert_eq!(baggage(&cx, "plan").as_deref(), Some("b"));
    let (tier, metadata) = cx.baggage().get_with_metadata("tier").unwrap();
    assert_eq!((tier.as_str(), metadata.as_str()), ("gold", "p=1"));
    let cx = Propagator::new().extract_with_context(&cx, &Headers::parse("uberctx-user: bob"));
    assert_eq!(cx.baggage().len(), 3);
    assert_eq!(baggage(&cx, "user").as_deref(), Some("bob"));
}

#[test]
fn all_formats_together_name_one_caller_and_the_later_one_wins() {
    let jaeger = || Box::new(Propagator::new());
    let w3c = || Box::new(TraceContextGuard::new(TraceContextPropagator::new()));
    let later = "0af7651916cd43dd8448eb211c80319c";
    let lines = format!("{CALLER}\ntraceparent: 00-{later}-b7ad6b7169203331-01\nbaggage: a=b");
    let orders = [
        (
            TextMapCompositePropagator::new(vec![jaeger(), w3c()]),
            later,
        ),
        (
            TextMapCompositePropagator::new(vec![
                Box::new(BaggagePropagator::new()),
                w3c(),
                jaeger(),
            ]),
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
    ];
    for (propagator, winner) in orders {
        let cx = propagator.extract_with_context(&Context::new(), &Headers::parse(&lines));
        assert_eq!(cx.span().span_context().trace_id().to_string(), winner);
        let bad = lines.replace(winner, "nonsense");
        let cx = propagator.extract_with_context(&Context::new(), &Headers::parse(&bad));
        assert!(cx.has_active_span(), "the other one still stands");
        assert!(propagator.fields().any(|field| field == "uber-trace-id"));
    }
}

#[test]
fn more_baggage_than_headers_should_have_is_left_out() {
    let many: String = (0..500).map(|n| format!("uberctx-k{n}: v\n")).collect();
    assert_eq!(extract(&many).baggage().len(), 64);
    assert_eq!(
        extract(&format!("uberctx-a: {}\nuberctx-b: v", "x".repeat(8193)))
            .baggage()
            .len(),
        1
    );
    let escapes = format!("uberctx-a: {}\nuberctx-b: v", "%41".repeat(2731));
    assert_eq!(
        extract(&escapes).baggage().len(),
        1,
        "8193 bytes, as they came"
    );
    // A blank is one byte that takes three in a header.
    let blanks = format!(
        "uberctx-a: b\nuberctx-b: {}\nuberctx-c: d",
        "+".repeat(4000)
    );
    let cx = extract(&blanks);
    assert_eq!(cx.baggage().len(), 3);
    let names: Vec<_> = inject(&cx).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["uberctx-a", "uberctx-c"]);
}

#[test]
fn without_baggage_there_is_none_in_either_direction() {
    let propagator = Propagator::new().without_baggage();
    let headers = Headers::parse("uber-trace-id: 1:2:0:1\nuberctx-a: b\njaeger-baggage: c=d");
    let cx = propagator.extract_with_context(&Context::new(), &headers);
    assert!(cx.has_active_span() && cx.baggage().is_empty());
    let mut onwards = Headers::default();
    let cx = cx.with_baggage([KeyValue::new("a", "b")]);
    propagator.inject_context(&cx, &mut onwards);
    assert_eq!(onwards.0.len(), 1, "{onwards:?}");
}

#[test]
fn a_debug_id_is_bounded_and_a_caller_without_the_wish_takes_it_back() {
    let debug = extract("jaeger-debug-id: why+slow%3F");
    assert_eq!(JaegerDebug::of(&debug).unwrap().id(), Some("why slow?"));
    for bad in [String::new(), "x".repeat(257), "%ff".to_owned()] {
        assert_eq!(
            JaegerDebug::of(&extract(&format!("jaeger-debug-id: {bad}"))),
            None,
            "{bad}"
        );
    }
    let later = Propagator::new().extract_with_context(&debug, &Headers::parse(CALLER));
    assert_eq!(JaegerDebug::of(&later), None);
    assert!(inject(&later)[0].1.ends_with(":1"));
}

#[test]
fn a_debug_flag_is_of_the_trace_that_it_came_with() {
    let debug = extract("uber-trace-id: 1:2:0:3");
    assert!(JaegerDebug::of(&debug).is_some());
    let later = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let other = TraceContextPropagator::new().extract_with_context(&debug, &Headers::parse(later));
    assert_eq!(JaegerDebug::of(&other), None);
    assert_eq!(
        inject(&other)[0].1,
        "0af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1"
    );
}

/// Samples what somebody debugs, and nothing else.
#[derive(Clone, Debug)]
struct Debugged;

impl ShouldSample for Debugged {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let decision = match parent.and_then(JaegerDebug::of) {
            Some(_) => SamplingDecision::RecordAndSample,
            None => SamplingDecision::Drop,
        };
        SamplingResult {
            decision,
            attributes: vec![],
            trace_state: TraceState::NONE,
        }
    }
}

#[test]
fn a_debugged_request_is_handed_on_as_such_where_a_sampler_heeds_it() {
    for (request, flags) in [
        ("jaeger-debug-id: x", "3"),
        ("uber-trace-id: 1:2:0:3", "3"),
        ("", "0"),
    ] {
        let provider = SdkTracerProvider::builder().with_sampler(Debugged).build();
        let parent = extract(request);
        let span = provider.tracer("test").start_with_context("call", &parent);
        let mut headers = HeaderMap::new();
        let mut injector = HeaderInjector(&mut headers);
        Propagator::new().inject_context(&parent.with_span(span), &mut injector);
        let header = headers["uber-trace-id"].to_str().unwrap();
        assert_eq!(
            header.rsplit(':').next(),
            Some(flags),
            "{request}: {header}"
        );
    }
}

#[test]
fn ids_of_zero_become_a_trace_of_their_own() {
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .build();
    for request in ["0:0:0:1", "0:0:0:0", "1:0:0:1", "0:2:0:1"] {
        let parent = extract(&format!("uber-trace-id: {request}"));
        let span = provider.tracer("test").start_with_context("call", &parent);
        let (_, header) = inject(&parent.with_span(span)).remove(0);
        let sent: UberTraceId = header.parse().unwrap();
        assert!(sent.is_sampled(), "{request} becomes {header}");
        assert_ne!(sent.trace_id(), TraceId::from(1), "{request}");
    }
}
