//! What holds for any request: the fuzz targets run this too.

use std::cell::RefCell;

use opentelemetry::{
    Context,
    baggage::BaggageExt,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::{SpanContext, TraceContextExt},
};
use uber_trace_id::{JaegerDebug, Propagator, TraceContextGuard, TraceParent, UberTraceId};

/// Headers by name, in lower case, as HTTP has them: also several of a name.
#[derive(Debug, Default)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

impl Headers {
    /// Of lines such as `name: value`; another line is ignored.
    pub(crate) fn parse(lines: &str) -> Headers {
        let pairs = lines.lines().filter_map(|line| line.split_once(':'));
        let pairs = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Headers(pairs.collect())
    }

    fn values<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h str> {
        let named = move |(n, value): &'h (String, String)| {
            n.eq_ignore_ascii_case(name).then_some(value.as_str())
        };
        self.0.iter().filter_map(named)
    }
}

impl Extractor for Headers {
    fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter();
        let found = values.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn get_all(&self, name: &str) -> Option<Vec<&str>> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        let values: Vec<_> = self
            .0
            .iter()
            .filter(named)
            .map(|(_, value)| &**value)
            .collect();
        Some(values).filter(|values| !values.is_empty())
    }
}

impl Injector for Headers {
    fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.0.push((name.to_ascii_lowercase(), value));
    }
}

/// All that a context says of its caller.
fn told(cx: &Context) -> (SpanContext, bool, Vec<(String, String)>) {
    let baggage = cx.baggage().iter();
    let baggage = baggage.map(|(key, (value, _))| (key.to_string(), value.to_string()));
    let mut baggage: Vec<_> = baggage.collect();
    baggage.sort();
    let debug = JaegerDebug::of(cx).is_some_and(|debug| debug.id().is_none());
    (cx.span().span_context().clone(), debug, baggage)
}

/// A request with these headers, of which Jaeger's are read and written.
pub(crate) fn uber_trace_id(bytes: &[u8]) {
    if let Ok(read) = UberTraceId::parse(bytes) {
        let printed = read.to_string();
        assert_eq!((printed.parse(), printed.len()), (Ok(read), 53));
    }
    let headers = Headers::parse(&String::from_utf8_lossy(bytes));
    let propagator = Propagator::new();
    let parent = propagator.extract_with_context(&Context::new(), &headers);
    let caller = parent.span().span_context().clone();
    assert_eq!(parent.has_active_span(), caller.is_valid());
    let (_, debug, baggage) = told(&parent);
    assert!(!debug || caller.is_sampled());
    assert!(caller.is_remote() || !caller.is_valid());
    assert!(caller.trace_flags().to_u8() <= 1 && caller.trace_state().header().is_empty());
    let direct = UberTraceId::from_values(headers.values("uber-trace-id"));
    assert_eq!(direct.ok().flatten(), UberTraceId::new(&caller, debug));

    let mut onwards = Headers::default();
    propagator.inject_context(&parent, &mut onwards);
    let mut length = 0;
    for (name, value) in &onwards.0 {
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b':'),
            "{name}"
        );
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{value}");
        length += name.len() + value.len();
    }
    assert!(
        onwards.0.len() <= 65 && length <= 8192 + 64 * 8 + 66,
        "{length} bytes"
    );
    let (caller, debug, kept) = told(&propagator.extract_with_context(&Context::new(), &onwards));
    assert_eq!((&caller, debug), (parent.span().span_context(), debug));
    assert!(kept.iter().all(|entry| baggage.contains(entry)), "{kept:?}");
    let whole: usize = baggage
        .iter()
        .map(|(key, value)| key.len() + 3 * value.len())
        .sum();
    assert!(whole > 8192 || kept == baggage, "{kept:?} of {baggage:?}");

    let bare = propagator.without_baggage();
    let parent = bare.extract_with_context(&Context::new(), &headers);
    assert_eq!(told(&parent), (caller, debug, vec![]));
}

/// Notes what the guard shows it.
#[derive(Debug, Default)]
struct Witness(RefCell<Option<(Option<String>, Option<String>)>>);

impl TextMapPropagator for &Witness {
    fn inject_context(&self, _: &Context, _: &mut dyn Injector) {}

    fn extract_with_context(&self, cx: &Context, carrier: &dyn Extractor) -> Context {
        let [parent, state] = ["traceparent", "TraceState"].map(|name| {
            let value = carrier.get(name);
            assert_eq!(
                carrier.get_all(name),
                value.map(|value| vec![value]),
                "{name}"
            );
            let listed = carrier
                .keys()
                .iter()
                .any(|key| key.eq_ignore_ascii_case(name));
            assert_eq!(listed, value.is_some(), "{name}");
            value.map(str::to_owned)
        });
        self.0.replace(Some((parent, state)));
        cx.clone()
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

/// A request with these headers, of which the guard lets some of Trace Context's pass.
pub(crate) fn traceparent(bytes: &[u8]) {
    if let Ok(read) = TraceParent::parse(bytes) {
        let printed = read.to_string();
        assert_eq!((printed.parse(), printed.len()), (Ok(read), 55));
        assert!(SpanContext::from(read).is_valid());
    }
    let headers = Headers::parse(&String::from_utf8_lossy(bytes));
    let witness = Witness::default();
    let guard = TraceContextGuard::new(&witness);
    guard.extract_with_context(&Context::new(), &headers);
    let (parent, state) = witness.0.take().expect("the guard asks the propagator");
    let direct = TraceParent::from_values(headers.values("traceparent"));
    let seen = parent.as_deref().map(str::parse::<TraceParent>);
    assert_eq!(
        seen.transpose().expect("it is well-formed"),
        direct.ok().flatten()
    );
    let Some(state) = state else {
        return;
    };
    assert!(parent.is_some() && state.len() <= 512, "{state}");
    let mut keys: Vec<&str> = state
        .split(',')
        .map(|member| {
            let (key, value) = member.split_once('=').expect("a member has a value");
            assert!(
                !key.is_empty() && !value.is_empty() && !value.contains('='),
                "{member}"
            );
            assert!(
                member.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{member}"
            );
            key
        })
        .collect();
    let members = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert!(members <= 32 && keys.len() == members, "{state}");
}
