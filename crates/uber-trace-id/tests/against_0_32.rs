//! The table of README.md about opentelemetry-jaeger-propagator 0.32, each row with both.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use http::HeaderMap;
use opentelemetry::{
    Context, baggage::BaggageExt, propagation::TextMapPropagator, trace::TraceContextExt,
};
use opentelemetry_http::HeaderExtractor;
use uber_trace_id::{JaegerDebug, Propagator};

fn request(cell: &str) -> HeaderMap {
    let code = cell.split('`').skip(1).step_by(2);
    let headers = code.filter_map(|code| code.split_once(": "));
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    headers.collect::<HeaderMap>()
}

/// What a propagator has read, as the cells of the table have it.
fn told(propagator: &dyn TextMapPropagator, headers: &HeaderMap) -> String {
    let cx = propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
    let span = cx.span();
    let span = span.span_context();
    let mut told = if cx.has_active_span() {
        format!(
            "`{:x}:{:x}:0:{:x}`",
            span.trace_id(),
            span.span_id(),
            span.trace_flags()
        )
    } else {
        "no caller".to_owned()
    };
    if !span.trace_state().header().is_empty() {
        told += &format!(" state `{}`", span.trace_state().header());
    }
    for (key, (value, _)) in cx.baggage() {
        told += &format!(" baggage `{key}={value}`");
    }
    match JaegerDebug::of(&cx).map(JaegerDebug::id) {
        Some(Some(id)) => told += &format!(" debug `{id}`"),
        Some(None) => told += " debug",
        None => {}
    }
    told
}

#[expect(deprecated, reason = "it is what we compare with")]
#[test]
fn the_propagator_that_this_replaces_differs_as_documented() {
    let theirs = opentelemetry_jaeger_propagator::Propagator::new();
    let table = include_str!("../README.md")
        .split("\n| --- ")
        .nth(3)
        .unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let mut count = 0;
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let headers = request(cells[0]);
        assert_eq!(told(&Propagator::new(), &headers), cells[1], "{row}");
        assert_eq!(told(&theirs, &headers), cells[2], "{row}");
        count += 1;
    }
    assert!(count > 10, "{count}");
}
