//! The guard of Trace Context around the SDK's propagator.

use std::sync::atomic::{AtomicUsize, Ordering};

use opentelemetry::{Context, propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use uber_trace_id::{Rejected, TraceContextGuard, TraceParent};

use crate::promises::Headers;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The `tracestate` that the SDK takes beside a good `traceparent`.
fn state(lines: &[&str]) -> String {
    let mut headers = Headers::parse(&format!("traceparent: {CALLER}"));
    for line in lines {
        headers
            .0
            .push(("tracestate".to_owned(), (*line).to_owned()));
    }
    let guard = TraceContextGuard::new(TraceContextPropagator::new());
    let cx = guard.extract_with_context(&Context::new(), &headers);
    assert!(cx.has_active_span(), "{lines:?}");
    cx.span().span_context().trace_state().header()
}

#[test]
fn tracestate_keeps_to_its_rules_or_is_dropped() {
    let members = |count| {
        (0..count)
            .map(|n| format!("k{n}=v"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let (most, too_many) = (members(32), members(33));
    let longest = format!("a={},b={}", "x".repeat(256), "x".repeat(251));
    let too_long = format!("{longest}x,c=d");
    assert_eq!(longest.len(), 512);
    let same = ["a=b", "a=b,c=d", "0@x-y_z*/=!~", "a= b", &most, &longest];
    for kept in same {
        assert_eq!(state(&[kept]), kept);
    }
    for (odd, kept) in [
        (&["a=b", "c=d"][..], "a=b,c=d"),
        (&[" a=b\t,, c=d ,"], "a=b,c=d"),
        (&["", "a=b", " "], "a=b"),
        (&[&members(16), "a=b"], &format!("{},a=b", members(16))),
    ] {
        assert_eq!(state(odd), kept);
    }
    for dropped in [
        &["a"][..],
        &["a=b,c"],
        &["=b"],
        &["a="],
        &["A=b"],
        &["@a=b"],
        &["a b=c"],
        &["a=b=c"],
        &["a=\u{e9}"],
        &["a=b,a=c"],
        &["a=b", "a=c"],
        &[&too_many],
        &[&too_long],
        &[&most, "a=b"],
        &[","],
    ] {
        assert_eq!(state(dropped), "", "{dropped:?}");
    }
    let key = |len| format!("{}=v", "k".repeat(len));
    assert_eq!(state(&[&key(256)]), key(256));
    assert_eq!(state(&[&key(257)]), "");
}

#[test]
fn every_reason_has_its_header() {
    for (from, to, reason) in [
        ("-01", "-01-", Rejected::Length),
        ("-01", "-1", Rejected::Length),
        ("00-0", "00_0", Rejected::Format),
        ("af7", "Af7", Rejected::Format),
        ("00-", "ff-", Rejected::Version),
        ("00-", "0x-", Rejected::Version),
        ("0af7", "+af7", Rejected::TraceId),
        ("b7ad", " 7ad", Rejected::SpanId),
        ("-01", "-0g", Rejected::Flags),
    ] {
        let value = CALLER.replacen(from, to, 1);
        assert_eq!(value.parse::<TraceParent>(), Err(reason), "{value}");
    }
    let later = |extra: usize| format!("{}-{}", CALLER.replace("00-", "01-"), "x".repeat(extra));
    assert!(later(456).len() == 512 && later(456).parse::<TraceParent>().is_ok());
    assert_eq!(later(457).parse::<TraceParent>(), Err(Rejected::Length));
}

#[test]
fn what_is_not_believed_is_told_and_what_is_absent_is_not() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let guard = TraceContextGuard::new(TraceContextPropagator::new()).on_rejected(|rejected| {
        assert_eq!(rejected, Rejected::Repeated);
        TOLD.fetch_add(1, Ordering::Relaxed);
    });
    let once = format!("traceparent: {CALLER}\n");
    for lines in ["", "tracestate: a=b", &once, &once.repeat(2)] {
        guard.extract_with_context(&Context::new(), &Headers::parse(lines));
    }
    assert_eq!(TOLD.load(Ordering::Relaxed), 1);
}

#[test]
fn other_headers_and_fields_pass() {
    let guard = TraceContextGuard::new(uber_trace_id::Propagator::new());
    let headers = Headers::parse("uber-trace-id: 1:2:0:1\nuberctx-a: b\ntraceparent: nonsense");
    let cx = guard.extract_with_context(&Context::new(), &headers);
    let mut onwards = Headers::default();
    guard.inject_context(&cx, &mut onwards);
    assert_eq!(onwards.0.len(), 2, "{onwards:?}");
    assert_eq!(guard.fields().collect::<Vec<_>>(), ["uber-trace-id"]);
}

#[test]
fn without_the_guard_the_sdk_takes_what_is_malformed() {
    let alone = TraceContextPropagator::new();
    let guard = TraceContextGuard::new(TraceContextPropagator::new());
    let twice = format!("traceparent: {CALLER}\ntraceparent: {CALLER}");
    let malformed = [
        CALLER.replace("-0af7", "-af7"),
        CALLER.replace("-0af7", "-+af7"),
        CALLER.replace("-b7ad", "-7ad"),
        CALLER.replace("00-0", "+0-0"),
        CALLER.replace("00-0", "0-0"),
        CALLER.replace("-01", "-1"),
        format!("{CALLER}-"),
        CALLER.replace("00-0", "01-0").replace("-01", "-1-what"),
    ];
    let malformed = malformed.map(|value| format!("traceparent: {value}"));
    for lines in malformed.iter().chain([&twice]) {
        let headers = Headers::parse(lines);
        let taken = [&alone as &dyn TextMapPropagator, &guard].map(|propagator| {
            let cx = propagator.extract_with_context(&Context::new(), &headers);
            cx.has_active_span()
        });
        assert_eq!(taken, [true, false], "{lines}");
    }
}
