use proptest::prelude::*;
use uber_trace_id::{TraceParent, UberTraceId};

use super::*;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN_ID: &str = "b7ad6b7169203331";

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.clone(), value.parse().unwrap()))
        .collect()
}

fn extracted(list: &str, name: HeaderName, value: &str) -> Option<Parent> {
    Propagators::parse(list)
        .unwrap()
        .extract(&headers(&[(name, value)]))
}

#[test]
fn uber_trace_id_is_read_as_its_format_has_it() {
    let check = |value: &str, expected: Option<(u128, u64, bool, bool)>| {
        let found = extracted("jaeger", UBER_TRACE_ID, value).map(|parent| {
            let span = parent.span_context;
            assert!(span.is_remote());
            (
                u128::from_be_bytes(span.trace_id().to_bytes()),
                u64::from_be_bytes(span.span_id().to_bytes()),
                span.is_sampled(),
                parent.debug,
            )
        });
        assert_eq!(found, expected, "{value}");
    };
    check("1:2:0:1", Some((1, 2, true, false)));
    check("1:2:0:0", Some((1, 2, false, false)));
    check("1:2:0:2", Some((1, 2, true, true)));
    check("1:2:0:3", Some((1, 2, true, true)));
    check("1:2::f", Some((1, 2, true, true)));
    check("1:2:whatever:10", Some((1, 2, false, false)));
    check("AB%3a2%3A0:01", Some((0xab, 2, true, false)));
    let full = "ffffffffffffffffffffffffffffffff:ffffffffffffffff:0:1";
    check(full, Some((u128::MAX, u64::MAX, true, false)));
    for bad in [
        "",
        ":",
        "1:2:0",
        "1:2:0:1:",
        "1:2:0:",
        ":2:0:1",
        "1::0:1",
        "0:2:0:1",
        "1:0:0:1",
        "+1:2:0:1",
        "1:2:0:g",
        "1:2:0:100",
        "1:2:0:-1",
        "1 :2:0:1",
        "1:2:0:1,1:2:0:1",
        "x:2:0:1",
        "100000000000000000000000000000000:2:0:1",
        "1:10000000000000000:0:1",
        "1%2:0:1",
    ] {
        check(bad, None);
    }
}

#[test]
fn traceparent_is_read_strictly() {
    let check = |value: &str, expected: Option<bool>| {
        let found = extracted("tracecontext", TRACEPARENT, value);
        let sampled = found.map(|parent| parent.span_context.is_sampled());
        assert_eq!(sampled, expected, "{value}");
    };
    check(&format!("00-{TRACE_ID}-{SPAN_ID}-01"), Some(true));
    check(&format!("00-{TRACE_ID}-{SPAN_ID}-00"), Some(false));
    check(&format!("00-{TRACE_ID}-{SPAN_ID}-ff"), Some(true));
    check(&format!("01-{TRACE_ID}-{SPAN_ID}-01"), Some(true));
    check(
        &format!("cc-{TRACE_ID}-{SPAN_ID}-01-what-comes"),
        Some(true),
    );
    let (zero_trace, zero_span) = ("0".repeat(32), "0".repeat(16));
    for bad in [
        String::new(),
        format!("ff-{TRACE_ID}-{SPAN_ID}-01"),
        format!("00-{TRACE_ID}-{SPAN_ID}-01-"),
        format!("00-{TRACE_ID}-{SPAN_ID}-01-x"),
        format!("01-{TRACE_ID}-{SPAN_ID}-01x"),
        format!("00-{TRACE_ID}-{SPAN_ID}-1"),
        format!("00-{TRACE_ID}-{SPAN_ID}"),
        format!("+0-{TRACE_ID}-{SPAN_ID}-01"),
        format!("00-{}-{SPAN_ID}-01", TRACE_ID.to_uppercase()),
        format!("00-+{}-{SPAN_ID}-01", &TRACE_ID[1..]),
        format!("00-{}-{SPAN_ID}-01", &TRACE_ID[1..]),
        format!("00-{TRACE_ID}0-{SPAN_ID}-01"),
        format!("00-{TRACE_ID}-{}-01", &SPAN_ID[1..]),
        format!("00_{TRACE_ID}_{SPAN_ID}_01"),
        format!("00-{zero_trace}-{SPAN_ID}-01"),
        format!("00-{TRACE_ID}-{zero_span}-01"),
    ] {
        check(&bad, None);
    }
}

#[test]
fn a_bad_tracestate_is_dropped_and_its_traceparent_kept() {
    let traceparent = format!("00-{TRACE_ID}-{SPAN_ID}-01");
    let check = |states: &[&str], expected: &str| {
        let mut pairs = vec![(TRACEPARENT, &*traceparent)];
        pairs.extend(states.iter().map(|state| (TRACESTATE, *state)));
        let propagators = Propagators::parse("tracecontext").unwrap();
        let parent = propagators.extract(&headers(&pairs)).unwrap();
        assert_eq!(parent.span_context.trace_state().header(), expected);
    };
    check(&["a=b"], "a=b");
    check(&["a=b,c=d"], "a=b,c=d");
    check(&["a=b", "c=d"], "a=b,c=d");
    check(&[""], "");
    check(&["a=b,a=c"], "");
    check(&["no member"], "");
    let members: Vec<String> = (0..33).map(|number| format!("k{number}=v")).collect();
    check(&[&members.join(",")], "");
    check(&[&members[..32].join(",")], &members[..32].join(","));
    let long = format!(
        "a={},b={},c={}",
        "x".repeat(200),
        "x".repeat(200),
        "x".repeat(200)
    );
    check(&[&long], "");
}

#[test]
fn a_header_that_is_sent_twice_or_is_no_text_is_as_if_absent() {
    let propagators = Propagators::parse("jaeger").unwrap();
    let twice = headers(&[(UBER_TRACE_ID, "1:2:0:1"), (UBER_TRACE_ID, "1:2:0:1")]);
    assert_eq!(propagators.extract(&twice), None);
    let mut no_text = HeaderMap::new();
    no_text.insert(
        UBER_TRACE_ID,
        HeaderValue::from_bytes(b"1:2:0:1\xff").unwrap(),
    );
    assert_eq!(propagators.extract(&no_text), None);
    assert_eq!(propagators.extract(&HeaderMap::new()), None);
}

#[test]
fn an_unknown_format_is_named() {
    assert_eq!(Propagators::parse("jaeger,b3multi").unwrap_err(), "b3multi");
    assert!(Propagators::parse(" tracecontext , baggage,none,").is_ok());
}

proptest! {
    #[test]
    fn no_value_makes_a_parent_with_an_id_of_zero(value in "[0-9a-fA-F:%+ -]{0,60}|\\PC{0,60}|[0-9a-f]{1,33}(:|%3A|%3a)[0-9a-f]{1,17}:[0-9a-f]{0,9}:[0-9a-f]{0,3}") {
        if let Ok(header) = HeaderValue::from_str(&value) {
            let mut headers = HeaderMap::new();
            headers.insert(UBER_TRACE_ID, header.clone());
            headers.insert(TRACEPARENT, header.clone());
            headers.insert(TRACESTATE, header);
            for list in ["jaeger", "tracecontext"] {
                if let Some(parent) = Propagators::parse(list).unwrap().extract(&headers) {
                    prop_assert!(parent.span_context.is_valid());
                    prop_assert!(!parent.debug || parent.span_context.is_sampled());
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again(trace_id in 1_u128.., span_id in 1_u64.., sampled: bool, debug: bool) {
        let flags = TraceFlags::default().with_sampled(sampled || debug);
        let span = SpanContext::new(trace_id.into(), span_id.into(), flags, true, TraceState::NONE);
        for (list, debug) in [("jaeger", debug), ("tracecontext", false)] {
            let propagators = Propagators::parse(list).unwrap();
            let mut headers = HeaderMap::new();
            propagators.inject(&span, debug, &mut headers);
            let parent = propagators.extract(&headers);
            prop_assert_eq!(parent, Some(Parent { span_context: span.clone(), debug }));
            // So do services that link the crate.
            let jaeger = UberTraceId::from_values(headers.get_all(UBER_TRACE_ID)).unwrap();
            let w3c = TraceParent::from_values(headers.get_all(TRACEPARENT)).unwrap();
            prop_assert_eq!((jaeger.is_some(), w3c.is_some()), (list == "jaeger", list != "jaeger"));
            prop_assert!(jaeger.is_none_or(|jaeger| Some(jaeger) == UberTraceId::new(&span, debug)));
            prop_assert!(w3c.is_none_or(|w3c| Some(w3c) == TraceParent::new(&span)));
        }
    }

    #[test]
    fn the_edge_believes_what_services_that_link_the_crate_believe(
        uber in "[0-9a-fA-F]{1,33}(:|%3A|%3a|)[0-9a-f+]{1,17}:[0-9a-f]{0,9}:[0-9a-f]{0,3}|[0-9a-f]{1,32}:[0-9a-f]{1,16}:0:[0-9a-f]{1,2}",
        w3c in "[0-9a-f]{2}-[0-9a-fA-F+]{31,33}-[0-9a-f]{16}-[0-9a-f]{1,2}|(00|01|cc|ff)-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}[-.]{0,1}[a-z]{0,3}",
    ) {
        let headers = headers(&[(UBER_TRACE_ID, &uber), (TRACEPARENT, &w3c)]);
        let believed = Propagators::parse("jaeger").unwrap().extract(&headers);
        let expected = UberTraceId::from_values(headers.get_all(UBER_TRACE_ID)).ok().flatten();
        let expected = expected.map(|caller| (caller.into(), caller.is_debug()));
        prop_assert_eq!(believed.map(|parent| (parent.span_context, parent.debug)), expected, "{}", uber);

        let believed = Propagators::parse("tracecontext").unwrap().extract(&headers);
        let expected = TraceParent::from_values(headers.get_all(TRACEPARENT)).ok().flatten();
        prop_assert_eq!(believed.map(|parent| parent.span_context), expected.map(SpanContext::from), "{}", w3c);
    }
}
