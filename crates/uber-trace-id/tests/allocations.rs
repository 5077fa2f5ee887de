//! That reading headers allocates nothing: apart from the other tests, since the allocator that counts is the process's.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::hint::black_box;

use allocation_counter::measure;
use http::{HeaderMap, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_http::HeaderExtractor;
use uber_trace_id::{Propagator, TraceParent, UberTraceId};

const UBER: [&str; 10] = [
    "4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7:0:1",
    "1:2:0:3",
    "1%3A2%3a0%3A1",
    "0:0:0:1",
    "0:0:0:0",
    "1:2:0:100",
    "1:2:0:1,1:2:0:1",
    "::::",
    "x:2:0:1",
    "",
];
const W3C: [&str; 4] = [
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-what-comes",
    "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
];

fn allocations<T>(run: impl Fn() -> T) -> u64 {
    // What a first call sets up, such as thread-locals, is not its cost.
    run();
    measure(|| drop(black_box(run()))).count_total
}

fn request(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "localhost"),
        ("user-agent", "curl/8"),
        ("accept", "*/*"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.append(name, value.parse().unwrap());
    headers
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| vec![1]), 1);
}

#[test]
fn reading_a_header_allocates_nothing() {
    for value in UBER {
        let headers = request("uber-trace-id", value);
        let values = || headers.get_all("uber-trace-id");
        let count = allocations(|| UberTraceId::from_values(values()));
        assert_eq!(count, 0, "{value}");
    }
    for value in W3C {
        let headers = request("traceparent", value);
        let values = || headers.get_all("traceparent");
        let count = allocations(|| TraceParent::from_values(values()));
        assert_eq!(count, 0, "{value}");
    }
}

#[test]
fn the_propagator_allocates_nothing_of_its_own() {
    let propagator = Propagator::new();
    let bare = Propagator::new().without_baggage();
    for value in UBER {
        let headers = request("uber-trace-id", value);
        let carrier = HeaderExtractor(&headers);
        let list = allocations(|| carrier.get_all("uber-trace-id"));
        let names = allocations(|| carrier.keys());
        let cx = Context::new();
        let of_context = UberTraceId::parse(value.as_bytes()).map_or(0, |caller| {
            let with_caller = allocations(|| cx.with_remote_span_context(caller.into()));
            // The wish to debug is a value in the context.
            with_caller + if caller.is_debug() { 3 } else { 0 }
        });
        let extract = |propagator: &Propagator| {
            allocations(|| propagator.extract_with_context(&cx, &carrier))
        };
        assert_eq!(extract(&bare), list + of_context, "{value}");
        assert_eq!(extract(&propagator), list + names + of_context, "{value}");
    }
    let headers = request("accept-language", "en");
    let carrier = HeaderExtractor(&headers);
    let absent = allocations(|| bare.extract_with_context(&Context::new(), &carrier));
    assert_eq!(absent, 0);
}
