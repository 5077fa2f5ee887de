//! The tables of README.md, each row as it stands.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{Context, propagation::TextMapPropagator};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use uber_trace_id::{JaegerDebug, Propagator, TraceContextGuard};

/// The rows of the n-th table, each of its first two cells.
fn rows(nth: usize) -> Vec<[&'static str; 2]> {
    let mut tables = include_str!("../../README.md").split("\n| --- ").skip(1);
    let lines = tables.nth(nth).unwrap().lines().skip(1);
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        [cells.next().unwrap(), cells.next().unwrap()]
    });
    rows.collect()
}

/// The headers that stand in a cell between backquotes.
fn headers(cell: &str) -> HeaderMap {
    let code = cell.split('`').skip(1).step_by(2);
    let headers = code.filter_map(|code| code.split_once(": "));
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    headers.collect::<HeaderMap>()
}

fn extracted(propagator: &dyn TextMapPropagator, headers: &HeaderMap) -> Context {
    propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers))
}

/// In an order of their own. The SDK writes an empty `tracestate`, which is none.
fn passed_on(propagator: &dyn TextMapPropagator, cx: &Context) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    propagator.inject_context(cx, &mut HeaderInjector(&mut headers));
    sorted(&headers)
}

fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let mut pairs: Vec<_> = headers.iter().map(text).collect();
    pairs.retain(|(_, value)| !value.is_empty());
    pairs.sort();
    pairs
}

#[test]
fn jaegers_headers_are_read_and_written_as_documented() {
    let rows = rows(0);
    assert!(rows.len() > 40, "{}", rows.len());
    let propagator = Propagator::new();
    for [request, onwards] in rows {
        let cx = extracted(&propagator, &headers(request));
        let expected = sorted(&headers(onwards));
        assert_eq!(passed_on(&propagator, &cx), expected, "{request}");
        assert_eq!(expected.is_empty(), onwards.starts_with("nothing"));
        let debug = onwards
            .split_once("debug `")
            .map(|(_, id)| id.trim_end_matches('`'));
        let id = JaegerDebug::of(&cx).and_then(JaegerDebug::id);
        assert_eq!(id, debug, "{request}");
    }
}

#[test]
fn traceparent_is_guarded_as_documented() {
    let rows = rows(1);
    assert!(rows.len() > 15, "{}", rows.len());
    let propagator = TraceContextGuard::new(TraceContextPropagator::new());
    for [request, onwards] in rows {
        let cx = extracted(&propagator, &headers(request));
        assert_eq!(
            passed_on(&propagator, &cx),
            sorted(&headers(onwards)),
            "{request}"
        );
    }
}
