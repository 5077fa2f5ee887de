//! Trace headers, good and bad: what goes on to the next service, and what is counted.

use opentelemetry::{
    baggage::BaggageExt, propagation::TextMapPropagator as _, trace::TraceContextExt,
};
use proptest::prelude::*;

use crate::headers::{extract, headers, inject, propagator};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const SINGLE: &str = "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1";

/// Sends headers of `name: value` through a service without spans of its own.
fn check(formats: &str, request: &[&str], onwards: &[&str], bad: &[&str]) {
    let propagator = propagator(formats);
    let lines: Vec<_> = request
        .iter()
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    let (cx, counted) = extract(&propagator, &headers(&lines));
    assert_eq!(inject(&propagator, &cx), onwards, "{request:?} goes on as");
    assert_eq!(counted, bad, "{request:?} is counted as");
}

#[test]
fn b3_goes_on_as_one_header() {
    let good = |request: &str, onwards: &str| check("b3", &[request], &[onwards], &[]);
    good(SINGLE, SINGLE);
    good(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
    );
    good(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d",
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d",
    );
    // Nobody has decided yet.
    good(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    );
    good(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-05e3ac9a4f6e3b90",
        SINGLE,
    );
    good(
        "b3: a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "b3: 0000000000000000a3ce929d0e0e4736-00f067aa0ba902b7-1",
    );
}

#[test]
fn b3multi_goes_on_as_several_headers() {
    let ids = [
        format!("x-b3-spanid: {SPAN}"),
        format!("x-b3-traceid: {TRACE}"),
    ];
    let good = |said: &[&str], onwards: &[&str]| {
        let request: Vec<_> = ids
            .iter()
            .map(String::as_str)
            .chain(said.iter().copied())
            .collect();
        let ids = ids.iter().map(String::as_str);
        let mut onwards: Vec<_> = ids.chain(onwards.iter().copied()).collect();
        onwards.sort_unstable();
        check("b3multi", &request, &onwards, &[]);
    };
    good(&["x-b3-sampled: 1"], &["x-b3-sampled: 1"]);
    good(&["x-b3-sampled: true"], &["x-b3-sampled: 1"]);
    good(&["x-b3-sampled: 0"], &["x-b3-sampled: 0"]);
    good(&["x-b3-sampled: false"], &["x-b3-sampled: 0"]);
    good(&[], &[]);
    good(&["x-b3-flags: 1"], &["x-b3-flags: 1"]);
    good(&["x-b3-flags: 1", "x-b3-sampled: 0"], &["x-b3-flags: 1"]);
    good(&["x-b3-flags: 0", "x-b3-sampled: 1"], &["x-b3-sampled: 1"]);
    good(
        &["x-b3-sampled: 1", "x-b3-parentspanid: 05e3ac9a4f6e3b90"],
        &["x-b3-sampled: 1"],
    );
}

#[test]
fn either_form_of_b3_is_read_whichever_is_written() {
    let several = [
        "x-b3-sampled: 1",
        "x-b3-spanid: 00f067aa0ba902b7",
        "x-b3-traceid: 4bf92f3577b34da6a3ce929d0e0e4736",
    ];
    check("b3", &several, &[SINGLE], &[]);
    check("b3multi", &[SINGLE], &several, &[]);
    let both: Vec<_> = [SINGLE].into_iter().chain(several).collect();
    check("b3,b3multi", &several, &both, &[]);

    let other = [
        "x-b3-traceid: 000000000000000000000000000000aa",
        "x-b3-spanid: 00000000000000bb",
        "x-b3-sampled: 0",
        SINGLE,
    ];
    check("b3", &other, &[SINGLE], &[]);
    // A bad one is as if it were absent.
    let bad: Vec<_> = ["b3: nonsense"].into_iter().chain(several).collect();
    check("b3", &bad, &[SINGLE], &["b3/trace_id"]);
}

#[test]
fn a_decision_without_a_trace_names_no_caller() {
    for said in [
        "b3: 0",
        "b3: 1",
        "b3: d",
        "x-b3-sampled: 0",
        "x-b3-flags: 1",
    ] {
        check("b3", &[said], &[], &[]);
    }
}

#[test]
fn a_malformed_b3_begins_a_new_trace_and_is_counted() {
    let bad = |request: &str, kind: &str| check("b3", &[request], &[], &[kind]);
    bad(
        "b3: 4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-1",
        "b3/trace_id",
    );
    bad(
        "b3: +bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "b3/trace_id",
    );
    bad(
        "b3: 4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-1",
        "b3/trace_id",
    );
    bad(
        "b3: 00000000000000000000000000000000-00f067aa0ba902b7-1",
        "b3/trace_id",
    );
    bad("b3: 0000000000000000-00f067aa0ba902b7-1", "b3/trace_id");
    bad(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-1",
        "b3/span_id",
    );
    bad(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-0f067aa0ba902b7-1",
        "b3/span_id",
    );
    bad(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-+0f067aa0ba902b7-1",
        "b3/span_id",
    );
    bad(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-2",
        "b3/flags",
    );
    bad(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
        "b3/flags",
    );
    bad(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-5",
        "b3/span_id",
    );
    bad(
        "b3: 4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-05e3ac9a4f6e3b90-",
        "b3/length",
    );
    bad(
        "b3: a3ce929d0e0e4736-00f067aa0ba902b7-1-05e3ac9a4f6e3b90-1",
        "b3/format",
    );
    bad("b3: 4bf92f3577b34da6a3ce929d0e0e4736", "b3/format");
    bad("b3: -", "b3/trace_id");
    bad("b3: 2", "b3/trace_id");
    bad(&format!("b3: {}", "-".repeat(10_000)), "b3/length");
    bad(&format!("x-b3-traceid: {TRACE}"), "b3/format");
    bad(&format!("x-b3-spanid: {SPAN}"), "b3/format");
    bad("x-b3-sampled: d", "b3/flags");
    bad("x-b3-flags: 5", "b3/flags");
    check("b3", &[SINGLE, SINGLE], &[], &["b3/repeated"]);
    let ids = [
        "x-b3-spanid: 00f067aa0ba902b7",
        "x-b3-traceid: 4bf92f3577b34da6a3ce929d0e0e4736",
    ];
    let twice = [ids[0], ids[0], ids[1]];
    check("b3multi", &twice, &[], &["b3/repeated"]);
    let odd = [ids[0], ids[1], "x-b3-sampled: yes"];
    check("b3multi", &odd, &[], &["b3/flags"]);
    let odd = [ids[0], ids[1], "x-b3-parentspanid: yes"];
    check("b3multi", &odd, &[], &["b3/span_id"]);
}

#[test]
fn bad_headers_of_the_other_formats_are_counted_too() {
    let bad = |request: &[&str], kind: &str| {
        check("tracecontext,jaeger", request, &[], &[kind]);
    };
    let short = "traceparent: 00-bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    bad(&[short], "traceparent/length");
    let good = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    bad(&[good, good], "traceparent/repeated");
    bad(&["uber-trace-id: ::::"], "uber-trace-id/format");
    bad(&["uber-trace-id: 0:0:0:1"], "uber-trace-id/trace_id");
    bad(&["uber-trace-id: 1:2:0:100"], "uber-trace-id/flags");
    let long = format!("uber-trace-id: {}", ":".repeat(10_000));
    bad(&[&long], "uber-trace-id/length");
}

#[test]
fn of_two_formats_that_disagree_the_later_wins() {
    let request = [
        "uber-trace-id: 1:2:0:1",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "b3: 00000000000000000000000000000003-0000000000000004",
    ];
    let request: Vec<_> = request
        .iter()
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    let winner = |formats: &str| {
        let (cx, bad) = extract(&propagator(formats), &headers(&request));
        assert!(bad.is_empty(), "{bad:?}");
        cx.span()
            .span_context()
            .trace_id()
            .to_string()
            .trim_start_matches('0')
            .to_owned()
    };
    assert_eq!(winner("jaeger,tracecontext"), TRACE);
    assert_eq!(winner("tracecontext,jaeger"), "1");
    assert_eq!(winner("b3,tracecontext"), TRACE);
    assert_eq!(winner("tracecontext,b3multi"), "3");
    assert_eq!(winner("b3,jaeger,b3multi"), "3");
    // A bad one does not win.
    let request = [
        "uber-trace-id: 1:2:0:1",
        "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    ];
    let onwards = "uber-trace-id: 00000000000000000000000000000001:0000000000000002:0:1";
    let also = "traceparent: 00-00000000000000000000000000000001-0000000000000002-01";
    check(
        "jaeger,tracecontext",
        &request,
        &[also, "tracestate: ", onwards],
        &["traceparent/trace_id"],
    );
}

#[test]
fn the_fields_of_b3_are_those_of_both_forms() {
    for formats in ["b3", "b3multi"] {
        let propagator = propagator(formats);
        let fields: Vec<_> = propagator.fields().collect();
        assert!(
            fields.contains(&"b3") && fields.contains(&"x-b3-sampled"),
            "{fields:?}"
        );
    }
}

#[test]
fn without_formats_headers_are_neither_read_nor_written() {
    check("none", &["b3: nonsense", "traceparent: x"], &[], &[]);
}

#[test]
fn a_debug_flag_of_jaeger_is_one_of_b3() {
    let request = ["uber-trace-id: 1:2:0:3"];
    let onwards = [
        "b3: 00000000000000000000000000000001-0000000000000002-d",
        "uber-trace-id: 00000000000000000000000000000001:0000000000000002:0:3",
    ];
    check("b3,jaeger", &request, &onwards, &[]);
}

#[test]
fn a_debug_flag_of_jaeger_stays_with_its_trace() {
    let request = [
        "uber-trace-id: 1:2:0:3",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ];
    let onwards = [
        SINGLE,
        request[1],
        "tracestate: ",
        "uber-trace-id: 4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7:0:1",
    ];
    check("jaeger,tracecontext,b3", &request, &onwards, &[]);
}

#[test]
fn baggage_goes_on_within_its_limits() {
    let good = |request: &[&str], onwards: &[&str]| check("baggage", request, onwards, &[]);
    good(&["baggage: b=2, a=1"], &["baggage: a=1,b=2"]);
    good(
        &["baggage: a=%20%C3%A9%2C", "baggage: b=2"],
        &["baggage: a=%20%C3%A9%2C,b=2"],
    );
    good(&["baggage: a=1;p=2; q ;"], &["baggage: a=1;p=2;q"]);
    good(&["baggage: a=1=2"], &["baggage: a=1%3D2"]);
    good(&["baggage: ,,"], &[]);
    good(&["baggage: a=1,a=2"], &["baggage: a=2"]);
    let full = format!("baggage: {}", "a=1,".repeat(64));
    good(&[&full], &["baggage: a=1"]);
}

#[test]
fn bad_baggage_is_left_out_and_never_written_raw() {
    let bad = |request: &str, onwards: &[&str], kind: &str| {
        check("baggage", &[request], onwards, &[kind]);
    };
    bad("baggage: a=%ff,b=2", &["baggage: b=2"], "baggage/format");
    bad("baggage: a", &[], "baggage/format");
    bad("baggage: a b=1,c=2", &["baggage: c=2"], "baggage/format");
    bad("baggage: =1", &[], "baggage/format");
    bad("baggage: a=\\", &[], "baggage/format");
    let many: Vec<_> = (10..110).map(|nth| format!("k{nth}=v")).collect();
    let kept = format!("baggage: {}", many[..64].join(","));
    bad(
        &format!("baggage: {}", many.join(",")),
        &[&kept],
        "baggage/length",
    );
    let entries: Vec<_> = (0..10_000).map(|nth| format!("k{nth}=v")).collect();
    bad(
        &format!("baggage: {}", entries.join(",")),
        &[],
        "baggage/length",
    );
    bad(
        &format!("baggage: a={}", "x".repeat(9_000)),
        &[],
        "baggage/length",
    );

    let lines = "baggage: a=%0d%0aX: y";
    check("baggage", &[lines], &[], &["baggage/format"]);
    check(
        "baggage",
        &["baggage: a=%0d%0aX:y"],
        &["baggage: a=%0D%0AX%3Ay"],
        &[],
    );
    // A property is not decoded, and so cannot become a line break.
    check(
        "baggage",
        &["baggage: a=1;p=%0d%0a"],
        &["baggage: a=1;p=%0d%0a"],
        &[],
    );
}

#[test]
fn baggage_of_two_formats_is_merged() {
    let propagator = propagator("jaeger,baggage");
    let request = headers(&[("uberctx-a", "1"), ("uberctx-b", "1"), ("baggage", "b=2")]);
    let (cx, _) = extract(&propagator, &request);
    assert_eq!(
        cx.baggage().get("a").map(ToString::to_string).as_deref(),
        Some("1")
    );
    assert_eq!(
        cx.baggage().get("b").map(ToString::to_string).as_deref(),
        Some("2")
    );
}

#[test]
fn bytes_that_are_no_text_begin_a_new_trace_and_are_counted() {
    let formats = propagator("tracecontext,jaeger,b3,baggage");
    for (name, kind) in [
        ("traceparent", "traceparent/length"),
        ("uber-trace-id", "uber-trace-id/format"),
        ("b3", "b3/trace_id"),
        ("x-b3-traceid", "b3/format"),
        ("baggage", "baggage/format"),
    ] {
        let (cx, bad) = extract(&formats, &headers(&[(name, b"\xff\xfe1-2-3".as_slice())]));
        assert!(!cx.has_active_span(), "{name}");
        assert_eq!(inject(&formats, &cx), [""; 0], "{name}");
        assert_eq!(bad, [kind]);
    }
}

#[test]
fn bytes_that_are_no_text_beside_a_good_header_are_not_overlooked() {
    let good = [
        (
            "tracecontext",
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("jaeger", "uber-trace-id", "1:2:0:1"),
        (
            "b3",
            "b3",
            "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ),
    ];
    for (format, name, value) in good {
        let formats = propagator(format);
        let once = headers(&[(name, value)]);
        assert!(extract(&formats, &once).0.has_active_span(), "{name}");
        let lines = [(name, value.as_bytes()), (name, b"\xff".as_slice())];
        for lines in [lines, [lines[1], lines[0]]] {
            let (cx, bad) = extract(&formats, &headers(&lines));
            assert!(!cx.has_active_span(), "{name}");
            assert_eq!(bad, [format!("{name}/repeated")]);
        }
    }
}

#[test]
fn what_is_read_is_bounded_in_allocations() {
    let formats = propagator("tracecontext,baggage,jaeger,b3");
    let entries: Vec<_> = (0..10_000).map(|nth| format!("k{nth}=v")).collect();
    let allocations = |lines: &[(&str, &str)]| {
        let headers = headers(lines);
        extract(&formats, &headers);
        allocation_counter::measure(|| {
            extract(&formats, &headers);
        })
    };
    // The list of names for `uberctx-`, and what the test itself needs.
    let none = allocations(&[("host", "a"), ("accept", "*/*")]);
    assert!(none.count_total <= 2, "{none:?}");
    let long = "x".repeat(60_000);
    let bad = allocations(&[
        ("baggage", &entries.join(",")),
        ("traceparent", &long),
        ("uber-trace-id", &long),
        ("b3", &long),
    ]);
    assert!(bad.count_total < 50 && bad.bytes_total < 4_000, "{bad:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_header_panics_or_breaks_another(
        lines in proptest::collection::vec(
            (
                proptest::sample::select(vec![
                    "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags", "x-b3-parentspanid", "baggage",
                    "traceparent", "tracestate", "uber-trace-id", "uberctx-a",
                ]),
                "[0-9a-f+%=,;: d-]{0,80}|[ -~]{0,40}",
            ),
            0..6,
        ),
        jaeger in any::<bool>(),
    ) {
        // Not both kinds of baggage, since Jaeger's has no upper case and no properties.
        let formats = propagator(if jaeger { "tracecontext,jaeger,b3" } else { "tracecontext,b3,b3multi,baggage" });
        let (cx, _) = extract(&formats, &headers(&lines));
        let span = cx.span().span_context().clone();
        prop_assert!(!cx.has_active_span() || span.is_valid());
        // What is written is read again as the same.
        let onwards = inject(&formats, &cx);
        let again: Vec<_> = onwards.iter().map(|line| line.split_once(": ").unwrap()).collect();
        let (cx, bad) = extract(&formats, &headers(&again));
        prop_assert!(bad.is_empty(), "{:?} {:?}", onwards, bad);
        prop_assert_eq!(cx.span().span_context().trace_id(), span.trace_id());
        prop_assert_eq!(inject(&formats, &cx), onwards);
    }
}
