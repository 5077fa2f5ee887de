//! What is sampled, and how much of it callers may demand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    Context, KeyValue, TraceId,
    trace::{SpanContext, SpanKind, TraceContextExt, TraceFlags, TraceState},
};
use opentelemetry_sdk::trace::{SamplingDecision, ShouldSample};
use telemetry::{Config, Problem, Sampler};

use crate::headers::{extract, headers, propagator};

/// Milliseconds of a clock that only a test moves.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn passes(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

fn sampler(variables: &str, clock: &Clock) -> Sampler {
    let variables: Vec<_> = variables
        .split(' ')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let config = Config::parse(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    });
    let problems = config.problems();
    // The argument of a sampler that has none.
    assert!(problems.iter().all(Problem::is_unsupported), "{problems:?}");
    let clock = clock.0.clone();
    config
        .sampler()
        .with_clock(move || Duration::from_millis(clock.load(Ordering::SeqCst)))
}

fn samples(sampler: &Sampler, cx: &Context, trace_id: u128) -> bool {
    let trace_id = TraceId::from(trace_id);
    let result = sampler.should_sample(Some(cx), trace_id, "s", &SpanKind::Server, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

/// The context of a request with one header.
fn request(name: &str, value: &str) -> Context {
    let formats = propagator("tracecontext,jaeger,b3");
    let (cx, bad) = extract(&formats, &headers(&[(name, value)]));
    assert!(bad.is_empty(), "{bad:?}");
    cx
}

fn sampled() -> Context {
    request("uber-trace-id", "1:2:0:1")
}

/// A span of this process.
fn local(sampled: bool) -> Context {
    let flags = TraceFlags::default().with_sampled(sampled);
    let span = SpanContext::new(1.into(), 2.into(), flags, false, TraceState::NONE);
    Context::new().with_remote_span_context(span)
}

/// How many of a thousand requests like this one are sampled.
fn of_a_thousand(sampler: &Sampler, cx: &Context) -> usize {
    (1..=1000).filter(|nth| samples(sampler, cx, *nth)).count()
}

#[test]
fn samplers_of_the_specification_decide_as_it_says() {
    let clock = Clock::default();
    let low = 1;
    let high = u128::from(u64::MAX);
    // Sampled without a parent with two trace ids, with a sampled parent, with an unsampled one.
    for (name, expected) in [
        ("always_on", [true, true, true, true]),
        ("always_off", [false, false, false, false]),
        ("traceidratio", [true, false, true, true]),
        ("parentbased_always_on", [true, true, true, false]),
        ("parentbased_always_off", [false, false, true, false]),
        ("parentbased_traceidratio", [true, false, true, false]),
    ] {
        let variables = format!("OTEL_TRACES_SAMPLER={name} OTEL_TRACES_SAMPLER_ARG=0.5");
        let sampler = sampler(&variables, &clock);
        let decided = [
            samples(&sampler, &Context::new(), low),
            samples(&sampler, &Context::new(), high),
            samples(&sampler, &sampled(), low),
            samples(&sampler, &request("uber-trace-id", "1:2:0:0"), low),
        ];
        assert_eq!(decided, expected, "{name}");
        let of_local = [
            samples(&sampler, &local(true), low),
            samples(&sampler, &local(false), low),
        ];
        assert_eq!(of_local, expected[2..], "{name}");
    }
}

#[test]
fn where_everything_is_sampled_callers_are_not_limited() {
    let clock = Clock::default();
    for variables in ["", "OTEL_TRACES_SAMPLER=always_on"] {
        let sampler = sampler(variables, &clock);
        assert_eq!(of_a_thousand(&sampler, &sampled()), 1000);
    }
}

#[test]
fn callers_can_demand_a_hundred_traces_a_second() {
    let clock = Clock::default();
    for name in [
        "parentbased_always_off",
        "parentbased_traceidratio",
        "traceidratio",
    ] {
        let variables = format!("OTEL_TRACES_SAMPLER={name}");
        let sampler = sampler(&variables, &clock);
        assert_eq!(of_a_thousand(&sampler, &sampled()), 100, "{name}");
        assert_eq!(sampler.limited(), 900);
        clock.passes(10);
        assert_eq!(of_a_thousand(&sampler, &sampled()), 1, "{name}");
        clock.passes(500);
        assert_eq!(of_a_thousand(&sampler, &sampled()), 50, "{name}");
        // What nobody took in an hour is not kept for later.
        clock.passes(3_600_000);
        assert_eq!(of_a_thousand(&sampler, &sampled()), 100, "{name}");
    }
}

#[test]
fn every_way_to_demand_a_trace_is_limited() {
    let clock = Clock::default();
    for (name, value) in [
        ("uber-trace-id", "1:2:0:1"),
        ("uber-trace-id", "1:2:0:3"),
        ("jaeger-debug-id", "mine"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"),
        ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d"),
        ("b3", "1"),
        ("b3", "d"),
        ("x-b3-flags", "1"),
        ("x-b3-sampled", "true"),
    ] {
        let sampler = sampler("OTEL_TRACES_SAMPLER=parentbased_always_off", &clock);
        assert_eq!(
            of_a_thousand(&sampler, &request(name, value)),
            100,
            "{name}: {value}"
        );
    }
    // Who chooses the id of a trace chooses what a share of them is.
    let sampler = sampler(
        "OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0.5",
        &clock,
    );
    let deferred = request("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7");
    let chosen = (0..1000)
        .filter(|_| samples(&sampler, &deferred, 1))
        .count();
    assert_eq!(chosen, 100);
}

#[test]
fn spans_without_a_caller_and_below_one_of_this_process_do_not_wait_for_callers() {
    let clock = Clock::default();
    let sampler = sampler(
        "OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=1",
        &clock,
    );
    assert_eq!(of_a_thousand(&sampler, &sampled()), 100);
    assert_eq!(of_a_thousand(&sampler, &Context::new()), 1000);
    assert_eq!(of_a_thousand(&sampler, &local(true)), 1000);
    // What would be sampled anyway takes no token either.
    clock.passes(1000);
    assert_eq!(
        of_a_thousand(&sampler, &request("jaeger-debug-id", "mine")),
        1000
    );
    assert_eq!(of_a_thousand(&sampler, &sampled()), 100);
}

#[test]
fn the_limit_can_be_any_number_or_none() {
    let clock = Clock::default();
    let off = "OTEL_TRACES_SAMPLER=parentbased_always_off TELEMETRY_REMOTE_TRACES_PER_SECOND";
    let limited = |limit: &str| sampler(&format!("{off}={limit}"), &clock);
    assert_eq!(of_a_thousand(&limited("none"), &sampled()), 1000);
    assert_eq!(of_a_thousand(&limited("0"), &sampled()), 0);
    assert_eq!(of_a_thousand(&limited("1e300"), &sampled()), 1000);
    let slow = limited("0.5");
    assert_eq!(of_a_thousand(&slow, &sampled()), 1);
    clock.passes(1999);
    assert_eq!(of_a_thousand(&slow, &sampled()), 0);
    clock.passes(1);
    assert_eq!(of_a_thousand(&slow, &sampled()), 1);
    let all = sampler("TELEMETRY_REMOTE_TRACES_PER_SECOND=7", &clock);
    assert_eq!(of_a_thousand(&all, &sampled()), 7);
    for odd in [-1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(
            of_a_thousand(&all.clone().with_remote_per_second(Some(odd)), &sampled()),
            0
        );
    }
}

#[test]
fn callers_of_many_threads_share_one_limit() {
    let clock = Clock::default();
    let sampler = sampler("OTEL_TRACES_SAMPLER=parentbased_always_off", &clock);
    let cx = sampled();
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| of_a_thousand(&sampler, &cx)))
            .collect();
        let counts = threads.into_iter().map(|thread| thread.join().unwrap());
        counts.sum::<usize>()
    });
    assert_eq!(counts, 100);
    assert_eq!(sampler.limited(), 3900);
}

#[test]
fn a_b3_caller_may_leave_the_decision_or_decide_without_a_trace() {
    let clock = Clock::default();
    let on = sampler("", &clock);
    let off = sampler("OTEL_TRACES_SAMPLER=parentbased_always_off", &clock);
    let deferred = request("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7");
    assert!(samples(&on, &deferred, 1) && !samples(&off, &deferred, 1));
    assert!(!samples(&on, &request("b3", "0"), 1));
    assert!(samples(&off, &request("b3", "1"), 1));
    // Another format names a caller, and so it is the one that counts.
    let formats = propagator("b3,tracecontext");
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let (cx, _) = extract(&formats, &headers(&[("b3", "1"), ("traceparent", caller)]));
    assert!(!samples(&on, &cx, 1) && !samples(&off, &cx, 1));
    let deferred = "00000000000000000000000000000001-0000000000000002";
    let (cx, _) = extract(
        &formats,
        &headers(&[("b3", deferred), ("traceparent", caller)]),
    );
    assert!(!samples(&on, &cx, 1));
}

#[test]
fn a_caller_that_takes_all_it_gets_leaves_tokens_to_those_who_take_little() {
    let clock = Clock::default();
    let variables = "OTEL_TRACES_SAMPLER=parentbased_always_off";
    let sampler = sampler(variables, &clock);
    let cx = sampled();
    let from = |address: &str| of_a_thousand_from(&sampler, &cx, address);
    // Its share of the second, which it has in advance, and then what there is for all.
    let greedy = from("192.0.2.1");
    assert_eq!(greedy, 100);
    // A hundred a second are 6.25 for each sixteenth.
    assert_eq!(from("198.51.100.7"), 6);
    assert_eq!(from("2001:db8::1"), 6);
    // The same customer, and one that is written otherwise.
    assert_eq!(from("2001:db8::ffff:2"), 0);
    assert_eq!(from("::ffff:198.51.100.7"), 0);
    assert_eq!(from("2001:db8:0:1::1"), 6);
    // In a second all have taken a hundred together, and the greedy one pays for what it took in advance of others.
    clock.passes(1000);
    assert_eq!(from("192.0.2.1"), 100 - 18);
    assert_eq!(from("203.0.113.9"), 6);
}

#[test]
fn however_many_callers_there_are_they_have_one_limit_together() {
    let clock = Clock::default();
    let sampler = sampler("OTEL_TRACES_SAMPLER=parentbased_always_off", &clock);
    let cx = sampled();
    let mut taken = 0;
    for second in 0..10 {
        for caller in 0..2000 {
            let address = format!("10.{second}.{}.{}", caller / 256, caller % 256);
            taken += usize::from(samples_from(&sampler, &cx, &address));
        }
        clock.passes(1000);
    }
    // Those of two seconds at once, and then those of each second.
    assert_eq!(taken, 200 + 9 * 100);
}

#[test]
fn no_caller_is_let_in_beyond_the_limit_where_it_is_none_or_small() {
    let clock = Clock::default();
    let off = "OTEL_TRACES_SAMPLER=parentbased_always_off TELEMETRY_REMOTE_TRACES_PER_SECOND";
    let none = sampler(&format!("{off}=0"), &clock);
    assert_eq!(of_a_thousand_from(&none, &sampled(), "192.0.2.1"), 0);
    let one = sampler(&format!("{off}=1"), &clock);
    assert_eq!(of_a_thousand_from(&one, &sampled(), "192.0.2.1"), 1);
    assert_eq!(of_a_thousand_from(&one, &sampled(), "192.0.2.2"), 1);
    assert_eq!(of_a_thousand_from(&one, &sampled(), "192.0.2.3"), 0);
}

fn of_a_thousand_from(sampler: &Sampler, cx: &Context, address: &str) -> usize {
    let all = 0..1000;
    all.filter(|_| samples_from(sampler, cx, address)).count()
}

/// As the layer for servers asks.
fn samples_from(sampler: &Sampler, cx: &Context, address: &str) -> bool {
    let peer = [
        KeyValue::new("network.peer.address", "192.0.2.200"),
        KeyValue::new("client.address", address.to_owned()),
    ];
    let result = sampler.should_sample(Some(cx), 1.into(), "s", &SpanKind::Server, &peer, &[]);
    result.decision == SamplingDecision::RecordAndSample
}
