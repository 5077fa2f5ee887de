//! B3, the headers of Zipkin: `b3`, or `x-b3-traceid` and its relatives.
//!
//! <https://github.com/openzipkin/b3-propagation>. The propagator of `opentelemetry-zipkin` 0.32 reads the debug flag as
//! "not sampled", writes "not decided" into the flags that go to the backend, takes the first of two headers, and comes
//! with an exporter.

use std::sync::LazyLock;

use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::{SpanContext, TraceContextExt, TraceState},
};
use uber_trace_id::{JaegerDebug, Rejected};

use super::bad_contexts::Header;

const SINGLE: &str = "b3";
const TRACE_ID: &str = "x-b3-traceid";
const SPAN_ID: &str = "x-b3-spanid";
const PARENT_SPAN_ID: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";
/// Whichever form is written, what a forwarded request has of the other would contradict it.
static FIELDS: LazyLock<[String; 6]> = LazyLock::new(|| {
    let all = [SINGLE, TRACE_ID, SPAN_ID, SAMPLED, FLAGS, PARENT_SPAN_ID];
    all.map(str::to_owned)
});

/// Reads both forms, the single header first, and writes one or both.
///
/// Ids are as its specification has them: 32 or 16 digits for a trace and 16 for a span, in lower case, not zero. A bad
/// single header is as if it were absent.
#[derive(Debug)]
pub(crate) struct B3Propagator {
    single: bool,
    multi: bool,
}

/// What a caller says of sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Whoever reads it decides.
    Defer,
    Deny,
    Accept,
    /// To be kept by the backend as well.
    Debug,
}

/// In a context: what Trace Context's flags cannot say.
#[derive(Debug)]
struct Said {
    wish: Wish,
    /// The caller's span, if it has one: other formats may have found another since.
    caller: Option<(TraceId, SpanId)>,
}

/// What a caller says of sampling beside the flags of its span, to whoever starts a span in this context.
pub(crate) fn wish(cx: &Context) -> Option<Wish> {
    let said = cx.get::<Said>()?;
    let caller = cx.has_active_span().then(|| {
        let span = cx.span();
        let span = span.span_context();
        (span.trace_id(), span.span_id())
    });
    (said.caller == caller).then_some(said.wish)
}

impl B3Propagator {
    pub(crate) fn new(single: bool, multi: bool) -> Self {
        Self { single, multi }
    }
}

impl TextMapPropagator for B3Propagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let span = cx.span();
        let span = span.span_context();
        if !span.is_valid() {
            return;
        }
        let sampled = if span.is_sampled() { "1" } else { "0" };
        let debug = span.is_sampled() && is_debug(cx, span.trace_id());
        let deferred = wish(cx) == Some(Wish::Defer);
        if self.single {
            let (trace_id, span_id) = (span.trace_id(), span.span_id());
            let mut value = format!("{trace_id}-{span_id}");
            if !deferred {
                value.push('-');
                value.push_str(if debug { "d" } else { sampled });
            }
            injector.set(SINGLE, value);
        }
        if self.multi {
            injector.set(TRACE_ID, span.trace_id().to_string());
            injector.set(SPAN_ID, span.span_id().to_string());
            if debug {
                // It implies that the trace is sampled, which is not to be said as well.
                injector.set(FLAGS, "1".to_owned());
            } else if !deferred {
                injector.set(SAMPLED, sampled.to_owned());
            }
        }
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let counted = |found: Result<Option<Said>, Rejected>| {
            found.unwrap_or_else(|why| {
                Header::B3.count(why);
                None
            })
        };
        let said = counted(single(extractor)).or_else(|| counted(multi(extractor)));
        let Some(said) = said else {
            return cx.clone();
        };
        let Some((trace_id, span_id)) = said.caller else {
            return cx.with_value(said);
        };
        let sampled = matches!(said.wish, Wish::Accept | Wish::Debug);
        let flags = TraceFlags::default().with_sampled(sampled);
        let caller = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
        let cx = cx.with_remote_span_context(caller);
        match said.wish {
            Wish::Defer | Wish::Debug => cx.with_value(said),
            Wish::Deny | Wish::Accept => cx,
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(FIELDS.as_slice())
    }
}

/// Whether a caller asked for it, by this format or Jaeger's, and in the same trace.
fn is_debug(cx: &Context, trace_id: TraceId) -> bool {
    let of_trace = |said: &Said| said.caller.is_none_or(|(caller, _)| caller == trace_id);
    let here = cx.get::<Said>().filter(|said| said.wish == Wish::Debug);
    here.is_some_and(of_trace) || JaegerDebug::of(cx).is_some()
}

/// Reads `b3: {trace-id}-{span-id}-{sampled}-{parent-span-id}`, of which the last two, or the first two, may be absent.
fn single(carrier: &dyn Extractor) -> Result<Option<Said>, Rejected> {
    let Some(value) = only(carrier, SINGLE)? else {
        return Ok(None);
    };
    if value.len() > 32 + 16 + 1 + 16 + 3 {
        return Err(Rejected::Length);
    }
    if let Some(wish) = state(value) {
        return Ok(Some(Said { wish, caller: None }));
    }
    let mut fields = value.split('-');
    let trace_id = fields.next().and_then(trace_id).ok_or(Rejected::TraceId)?;
    let span = fields.next().ok_or(Rejected::Format)?;
    let span_id = span_id(span).ok_or(Rejected::SpanId)?;
    let wish = match fields.next() {
        Some(field) => state(field).ok_or(Rejected::Flags)?,
        None => Wish::Defer,
    };
    match (fields.next(), fields.next()) {
        (Some(parent), None) => parent_id(parent)?,
        (None, None) => {}
        _ => return Err(Rejected::Format),
    }
    let caller = Some((trace_id, span_id));
    Ok(Some(Said { wish, caller }))
}

fn multi(carrier: &dyn Extractor) -> Result<Option<Said>, Rejected> {
    let trace = only(carrier, TRACE_ID)?;
    let span = only(carrier, SPAN_ID)?;
    let sampled = only(carrier, SAMPLED)?;
    let debug = match only(carrier, FLAGS)? {
        Some("1") => true,
        Some("0") | None => false,
        Some(_) => return Err(Rejected::Flags),
    };
    let wish = match sampled {
        _ if debug => Wish::Debug,
        // Older clients write words.
        Some("true") => Wish::Accept,
        Some("false") => Wish::Deny,
        Some("d") => return Err(Rejected::Flags),
        Some(sampled) => state(sampled).ok_or(Rejected::Flags)?,
        None => Wish::Defer,
    };
    let caller = match (trace, span) {
        (Some(trace), Some(span)) => {
            let trace_id = trace_id(trace).ok_or(Rejected::TraceId)?;
            let span_id = span_id(span).ok_or(Rejected::SpanId)?;
            if let Some(parent) = only(carrier, PARENT_SPAN_ID)? {
                parent_id(parent)?;
            }
            Some((trace_id, span_id))
        }
        (None, None) => None,
        _ => return Err(Rejected::Format),
    };
    let said = caller.is_some() || wish != Wish::Defer;
    Ok(said.then_some(Said { wish, caller }))
}

fn only<'c>(carrier: &'c dyn Extractor, name: &str) -> Result<Option<&'c str>, Rejected> {
    match carrier.get_all(name).as_deref() {
        None | Some([]) => Ok(None),
        Some([value]) => Ok(Some(*value)),
        Some(_) => Err(Rejected::Repeated),
    }
}

fn state(field: &str) -> Option<Wish> {
    match field {
        "0" => Some(Wish::Deny),
        "1" => Some(Wish::Accept),
        "d" => Some(Wish::Debug),
        _ => None,
    }
}

fn trace_id(digits: &str) -> Option<TraceId> {
    let id = match digits.len() {
        16 | 32 if is_hex(digits) => u128::from_str_radix(digits, 16).ok()?,
        _ => return None,
    };
    (id != 0).then(|| id.into())
}

fn span_id(digits: &str) -> Option<SpanId> {
    let id = match digits.len() {
        16 if is_hex(digits) => u64::from_str_radix(digits, 16).ok()?,
        _ => return None,
    };
    (id != 0).then(|| id.into())
}

/// Checked and then ignored: it is the caller's parent.
fn parent_id(digits: &str) -> Result<(), Rejected> {
    match digits.len() {
        16 if is_hex(digits) => Ok(()),
        _ => Err(Rejected::SpanId),
    }
}

/// The library's parsers take a sign as well.
fn is_hex(digits: &str) -> bool {
    digits
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
