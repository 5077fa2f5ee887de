//! What holds for every header.

use opentelemetry::{
    Context, KeyValue,
    baggage::BaggageExt,
    propagation::TextMapPropagator,
    trace::{SpanContext, TraceContextExt, TraceFlags, TraceState},
};
use proptest::{collection::vec, prelude::*, sample::Index};
use regex::Regex;
use uber_trace_id::{Propagator, TraceParent, UberTraceId};

use crate::promises::{self, Headers};

/// Nearly a header: most of these are one, or were one before they were damaged.
fn uber_value() -> impl Strategy<Value = String> {
    let colon = "(:|%3A|%3a)";
    let value = format!(
        "[0-9a-f]{{1,32}}{colon}[0-9a-f]{{1,16}}{colon}[0-9a-f]{{0,16}}{colon}[0-9a-f]{{1,2}}"
    );
    let value = proptest::string::string_regex(&value).unwrap().boxed();
    let odd = "0{1,32}:[0-9A-Fa-f+ x%]{0,18}:(0|whatever|):[0-9a-f+ -]{0,3}";
    prop_oneof![
        value.clone(),
        damaged(value),
        odd,
        "[0-9a-fA-F:%+ ,-]{0,80}"
    ]
}

fn traceparent_value() -> impl Strategy<Value = String> {
    let value = "(00|01|cc|fe|ff)-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}";
    let later = "(01|cc|00)-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}[-.x]{0,1}[a-zA-Z-]{0,9}";
    let zero = "00-(0{32}-[0-9a-f]{16}|[0-9a-f]{32}-0{16})-01";
    prop_oneof![value, damaged(value), later, damaged(zero), zero]
}

/// With one character more, less, or another.
fn damaged(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let damage = (value, any::<Index>(), 0..3, "[0-9a-fA-F:%+ g-]|\\PC");
    damage.prop_map(|(mut value, at, how, by)| {
        let at = at.index(value.len());
        let end = if how == 0 { at } else { at + 1 };
        value.replace_range(at..end, if how == 1 { "" } else { &by });
        value
    })
}

/// What the format says, in another way than the parser.
fn uber_grammar(value: &str) -> Option<(u128, u64, u8)> {
    let colon = "(?::|%3[Aa])";
    let hex = "[0-9a-fA-F]";
    let grammar =
        format!("^({hex}{{1,32}}){colon}({hex}{{1,16}}){colon}[^:%]*{colon}({hex}{{1,2}})$");
    let fields = Regex::new(&grammar).unwrap().captures(value)?;
    let trace_id = u128::from_str_radix(&fields[1], 16).unwrap();
    let span_id = u64::from_str_radix(&fields[2], 16).unwrap();
    let flags = u8::from_str_radix(&fields[3], 16).unwrap();
    (trace_id != 0 && span_id != 0 && value.len() <= 512).then_some((trace_id, span_id, flags))
}

fn traceparent_grammar(value: &str) -> Option<(u128, u64, u8)> {
    let grammar = "^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$";
    let fields = Regex::new(grammar).unwrap().captures(value)?;
    let trace_id = u128::from_str_radix(&fields[2], 16).unwrap();
    let span_id = u64::from_str_radix(&fields[3], 16).unwrap();
    let flags = u8::from_str_radix(&fields[4], 16).unwrap();
    let version = &fields[1] != "ff" && (&fields[1] != "00" || fields.get(5).is_none());
    (version && trace_id != 0 && span_id != 0).then_some((trace_id, span_id, flags))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn uber_trace_id_is_read_if_and_only_if_it_has_its_format(value in uber_value()) {
        let read = UberTraceId::parse(value.as_bytes()).ok();
        let read = read.map(|read| (read.trace_id(), read.span_id(), read.is_sampled(), read.is_debug()));
        let expected = uber_grammar(&value).map(|(trace_id, span_id, flags)| {
            (trace_id.into(), span_id.into(), flags & 3 != 0, flags & 2 != 0)
        });
        prop_assert_eq!(read, expected, "{}", value);
    }

    #[test]
    fn traceparent_is_read_if_and_only_if_it_has_its_format(value in traceparent_value()) {
        let read = TraceParent::parse(value.as_bytes()).ok();
        let read = read.map(|read| (read.trace_id(), read.parent_id(), read.is_sampled()));
        let expected = traceparent_grammar(&value);
        let expected = expected.map(|(trace_id, span_id, flags)| (trace_id.into(), span_id.into(), flags & 1 == 1));
        prop_assert_eq!(read, expected, "{}", value);
    }

    #[test]
    fn a_printed_caller_is_read_again(trace_id: u128, span_id: u64, flags: u8, debug: bool) {
        let flags = TraceFlags::new(flags);
        let span = SpanContext::new(trace_id.into(), span_id.into(), flags, false, TraceState::NONE);
        let (jaeger, w3c) = (UberTraceId::new(&span, debug), TraceParent::new(&span));
        prop_assert_eq!(jaeger.is_some(), trace_id != 0 && span_id != 0);
        prop_assert_eq!(w3c.is_some(), jaeger.is_some());
        if let (Some(jaeger), Some(w3c)) = (jaeger, w3c) {
            prop_assert_eq!(jaeger.to_string().parse(), Ok(jaeger));
            prop_assert_eq!(w3c.to_string().parse(), Ok(w3c));
            prop_assert_eq!(SpanContext::from(jaeger), SpanContext::from(w3c));
        }
    }

    #[test]
    fn baggage_arrives_as_it_was_sent(entries in vec(("[a-z0-9.~!#$&'*+^_`|-]{1,20}", ".{0,30}|[+% =,;\"\\\\]{0,9}"), 0..20)) {
        let entries = entries.into_iter().map(|(key, value)| KeyValue::new(key, value));
        let cx = Context::new().with_baggage(entries);
        let mut headers = Headers::default();
        Propagator::new().inject_context(&cx, &mut headers);
        let arrived = Propagator::new().extract_with_context(&Context::new(), &headers);
        prop_assert_eq!(arrived.baggage().len(), cx.baggage().len());
        for (key, (value, _)) in cx.baggage() {
            prop_assert_eq!(arrived.baggage().get(key), Some(value), "{}", key);
        }
        prop_assert!(!arrived.has_active_span());
    }

    #[test]
    fn no_request_breaks_a_promise(
        uber in vec(uber_value(), 0..3),
        w3c in vec(traceparent_value(), 0..3),
        states in vec("([a-z]{1,3}=[a-z]{0,3}[, \t]{0,2}){0,40}|\\PC{0,600}", 0..3),
        others in vec(("uberctx-\\PC{0,9}|jaeger-baggage|jaeger-debug-id|baggage", "\\PC{0,40}|(%[0-9a-f]{2}){0,9}|[+]{0,5000}"), 0..9),
    ) {
        let named = [("uber-trace-id", uber), ("traceparent", w3c), ("tracestate", states)];
        let mut lines = String::new();
        for (name, values) in named {
            for value in values {
                lines += &format!("{name}: {value}\n");
            }
        }
        for (name, value) in others {
            lines += &format!("{name}: {value}\n");
        }
        promises::uber_trace_id(lines.as_bytes());
        promises::traceparent(lines.as_bytes());
    }

    #[test]
    fn no_bytes_break_a_promise(bytes: Vec<u8>) {
        promises::uber_trace_id(&bytes);
        promises::traceparent(&bytes);
    }
}
