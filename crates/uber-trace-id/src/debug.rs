//! That a trace is to be kept, which Trace Context has no flag for.

use opentelemetry::{Context, TraceId, propagation::Extractor, trace::TraceContextExt};

use crate::percent;

const HEADER: &str = "jaeger-debug-id";
const MAX_LEN: usize = 256;

/// A caller's wish that the backend try really hard to keep the trace: flag 2 of `uber-trace-id`, or, in a request that
/// is of no trace yet, the header `jaeger-debug-id` with a text to find the trace by.
///
/// [`Propagator`](crate::Propagator) puts it in the context, and hands it on as flag 2 with every span that is sampled.
/// Where a format that is read later finds a caller that this one has not, `jaeger-debug-id` is for the trace of that caller;
/// the clients of Jaeger, which read one format, hear it only from a request that is of no trace.
/// That is all it does: anybody can send the header, so only a sampler decides whether it is heard. One gets
/// `parent_context`, and may ask [`JaegerDebug::of`] before it lets its own limit decide. The clients of Jaeger put
/// the text on the first span:
///
/// ```
/// use std::collections::HashMap;
/// use opentelemetry::{Context, propagation::TextMapPropagator};
/// use uber_trace_id::{JaegerDebug, Propagator};
///
/// let headers = HashMap::from([("jaeger-debug-id".to_owned(), "slow%20checkout".to_owned())]);
/// let parent = Propagator::new().extract_with_context(&Context::new(), &headers);
/// let id = JaegerDebug::of(&parent).and_then(JaegerDebug::id);
/// assert_eq!(id, Some("slow checkout"));
/// // span.set_attribute(KeyValue::new("jaeger-debug-id", id))
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JaegerDebug {
    id: Option<String>,
}

/// In a context, so that a caller's span without the wish can take it back.
#[derive(Debug)]
struct Wish {
    debug: Option<JaegerDebug>,
    /// The caller's trace, if it has one: other formats may have found another since.
    trace: Option<TraceId>,
}

impl JaegerDebug {
    /// The wish that came with the request of this context. One that came with a trace is for that trace alone: there is
    /// none if the span of the context is of another, as where a later format has found another caller.
    pub fn of(cx: &Context) -> Option<&Self> {
        let wish = cx.get::<Wish>()?;
        let here = |trace| cx.span().span_context().trace_id() == trace;
        wish.debug.as_ref().filter(|_| wish.trace.is_none_or(here))
    }

    /// The text of `jaeger-debug-id`, URL-decoded, of at most 256 bytes.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// A context like this one, but with the wish or without, for this trace or for one that is yet to begin.
    pub(crate) fn set(debug: Option<JaegerDebug>, trace: Option<TraceId>, cx: Context) -> Context {
        if debug.is_none() && JaegerDebug::of(&cx).is_none() {
            return cx;
        }
        cx.with_value(Wish { debug, trace })
    }

    /// The wish of a request without a caller's span.
    pub(crate) fn extract(carrier: &dyn Extractor) -> Option<Self> {
        let id = carrier.get(HEADER)?;
        let id = Some(id).filter(|id| !id.is_empty() && id.len() <= MAX_LEN)?;
        let id = Some(percent::decode(id)?.into_owned());
        Some(Self { id })
    }
}
