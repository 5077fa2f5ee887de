//! The headers of Jaeger, between carriers and contexts.

use std::{fmt::Write as _, sync::LazyLock};

use opentelemetry::{
    Context,
    baggage::BaggageExt,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::TraceContextExt,
};

use crate::{JaegerDebug, Rejected, UberTraceId, baggage, rejected::only_of};

const UBER_TRACE_ID: &str = "uber-trace-id";
static FIELDS: LazyLock<[String; 1]> = LazyLock::new(|| [UBER_TRACE_ID.to_owned()]);

/// Reads and writes `uber-trace-id` and `uberctx-*`, and reads `jaeger-debug-id` and `jaeger-baggage`.
///
/// ```
/// use std::collections::HashMap;
/// use opentelemetry::{Context, baggage::BaggageExt, propagation::TextMapPropagator};
/// use uber_trace_id::Propagator;
///
/// let propagator = Propagator::new();
/// let headers = HashMap::from([
///     ("uber-trace-id".to_owned(), "4d0000000000000016:17c29:0:1".to_owned()),
///     ("uberctx-user".to_owned(), "a=b,%20c".to_owned()),
/// ]);
/// let parent = propagator.extract_with_context(&Context::new(), &headers);
/// assert_eq!(parent.baggage().get("user"), Some(&"a=b, c".into()));
///
/// let mut onwards = HashMap::new();
/// propagator.inject_context(&parent, &mut onwards);
/// assert_eq!(onwards["uber-trace-id"], "000000000000004d0000000000000016:0000000000017c29:0:1");
/// assert_eq!(onwards["uberctx-user"], "a%3Db%2C%20c");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Propagator {
    without_baggage: bool,
    observer: Option<fn(Rejected)>,
}

impl Propagator {
    /// With baggage, and in silence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Neither reads nor writes baggage: for those who do not want what strangers say to go on to whom they call, or
    /// carry it by another format.
    pub fn without_baggage(self) -> Self {
        Self {
            without_baggage: true,
            ..self
        }
    }

    /// Has a function told about every `uber-trace-id` that is there and not believed. It runs in the request: a
    /// counter is fine, a line in a log is what a stranger can fill the disk with.
    pub fn on_rejected(self, observer: fn(Rejected)) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }
}

impl TextMapPropagator for Propagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let debug = JaegerDebug::of(cx).is_some();
        if let Some(span) = UberTraceId::new(cx.span().span_context(), debug) {
            // What `Display` writes: 32 + 1 + 16 + 4 bytes.
            let mut value = String::with_capacity(53);
            write!(value, "{span}").expect("a string takes whatever is written");
            injector.set(UBER_TRACE_ID, value);
        }
        if !self.without_baggage {
            baggage::inject(cx, injector);
        }
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let value = only_of(extractor, UBER_TRACE_ID);
        let caller = match value.and_then(|value| value.map(str::parse).transpose()) {
            Ok(caller) => caller,
            Err(rejected) => {
                if let Some(observer) = self.observer {
                    observer(rejected);
                }
                None
            }
        };
        let mut extracted = match caller {
            Some(caller) => with_caller(cx, caller),
            None => match JaegerDebug::extract(extractor) {
                Some(wish) => JaegerDebug::set(Some(wish), None, cx.clone()),
                None => cx.clone(),
            },
        };
        if !self.without_baggage
            && let Some(baggage) = baggage::extract(cx, extractor)
        {
            extracted = extracted.with_baggage(baggage);
        }
        extracted
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(FIELDS.as_slice())
    }
}

fn with_caller(cx: &Context, caller: UberTraceId) -> Context {
    let wish = caller.is_debug().then(JaegerDebug::default);
    let trace = Some(caller.trace_id());
    JaegerDebug::set(wish, trace, cx.with_remote_span_context(caller.into()))
}
