//! The header `uber-trace-id` by itself, without carriers and contexts.

use std::{fmt, str::FromStr};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::{
    hex,
    rejected::{MAX_LEN, Rejected, only},
};

const SAMPLED: u8 = 1;
const DEBUG: u8 = 2;

/// The caller's span, as `uber-trace-id` names it: `{trace-id}:{span-id}:{parent-span-id}:{flags}`.
///
/// Neither id is zero, and whatever is debugged is sampled. Printed as senders should write it: ids of 32 and 16 lower-case
/// digits, the deprecated parent 0, and the flags in one digit. Reading, printing and comparing allocate nothing.
///
/// <https://www.jaegertracing.io/docs/1.21/client-libraries/#tracespan-identity>
///
/// ```
/// use uber_trace_id::UberTraceId;
///
/// let caller: UberTraceId = "4d0000000000000016%3A17c29%3A0%3A3".parse()?;
/// assert!(caller.is_sampled() && caller.is_debug());
/// assert_eq!(
///     caller.to_string(),
///     "000000000000004d0000000000000016:0000000000017c29:0:3",
/// );
/// # Ok::<(), uber_trace_id::Rejected>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UberTraceId {
    trace_id: TraceId,
    span_id: SpanId,
    sampled: bool,
    debug: bool,
}

impl UberTraceId {
    /// Names a span to whom it calls, unless its trace id or span id is zero.
    ///
    /// `debug` has no effect on a span that is not sampled: "should only be set when the sampled flag is set".
    pub fn new(span: &SpanContext, debug: bool) -> Option<Self> {
        span.is_valid().then(|| Self {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            sampled: span.is_sampled(),
            debug: debug && span.is_sampled(),
        })
    }

    /// Reads the value of a header.
    ///
    /// # Errors
    /// It breaks a rule of the format, or has more than 512 bytes.
    pub fn parse(value: &[u8]) -> Result<Self, Rejected> {
        if value.len() > MAX_LEN {
            return Err(Rejected::Length);
        }
        let (trace_id, rest) = split_at_colon(value).ok_or(Rejected::Format)?;
        let (span_id, rest) = split_at_colon(rest).ok_or(Rejected::Format)?;
        // "Deprecated, most Jaeger clients ignore on the receiving side".
        let (_parent_span_id, flags) = split_at_colon(rest).ok_or(Rejected::Format)?;
        if flags.contains(&b':') {
            return Err(Rejected::Format);
        }
        let trace_id = hex::read_u128(trace_id).filter(|id| *id != 0);
        let span_id = hex::read_u64(span_id).filter(|id| *id != 0);
        let flags = hex::read_u8(flags);
        let (trace_id, span_id) = (
            trace_id.ok_or(Rejected::TraceId)?,
            span_id.ok_or(Rejected::SpanId)?,
        );
        let flags = flags.ok_or(Rejected::Flags)?;
        Ok(Self {
            trace_id: trace_id.into(),
            span_id: span_id.into(),
            sampled: flags & (SAMPLED | DEBUG) != 0,
            debug: flags & DEBUG != 0,
        })
    }

    /// Reads what may be there once or not at all, from all values that the header has in a request.
    ///
    /// ```
    /// # use http::{HeaderMap, HeaderValue};
    /// # use uber_trace_id::{Rejected, UberTraceId};
    /// let mut headers = HeaderMap::new();
    /// assert_eq!(UberTraceId::from_values(headers.get_all("uber-trace-id")), Ok(None));
    ///
    /// headers.append("uber-trace-id", HeaderValue::from_static("1:2:0:1"));
    /// let caller = UberTraceId::from_values(headers.get_all("uber-trace-id"))?;
    /// assert_eq!(caller.map(|caller| caller.is_sampled()), Some(true));
    ///
    /// headers.append("uber-trace-id", HeaderValue::from_static("1:2:0:1"));
    /// let twice = UberTraceId::from_values(headers.get_all("uber-trace-id"));
    /// assert_eq!(twice, Err(Rejected::Repeated));
    /// # Ok::<(), Rejected>(())
    /// ```
    ///
    /// # Errors
    /// There are several, or the only one cannot be parsed.
    pub fn from_values<V: AsRef<[u8]>>(
        values: impl IntoIterator<Item = V>,
    ) -> Result<Option<Self>, Rejected> {
        let value = only(values)?;
        value.map(|value| Self::parse(value.as_ref())).transpose()
    }

    /// Of 128 bits; one of 64 has leading zeros.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The caller's span: the parent of the spans of whoever reads this.
    pub fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// Flag 1, or 2.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Flag 2: a trace that the backend should try really hard not to drop.
    pub fn is_debug(&self) -> bool {
        self.debug
    }
}

/// A remote span. The debug flag has no place in it, since its flags are those of Trace Context.
impl From<UberTraceId> for SpanContext {
    fn from(caller: UberTraceId) -> Self {
        let flags = TraceFlags::default().with_sampled(caller.sampled);
        SpanContext::new(
            caller.trace_id,
            caller.span_id,
            flags,
            true,
            TraceState::NONE,
        )
    }
}

impl FromStr for UberTraceId {
    type Err = Rejected;

    fn from_str(value: &str) -> Result<Self, Rejected> {
        Self::parse(value.as_bytes())
    }
}

impl fmt::Display for UberTraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sampled = if self.sampled { SAMPLED } else { 0 };
        let debug = if self.debug { DEBUG } else { 0 };
        let flags = sampled | debug;
        write!(f, "{}:{}:0:{flags:x}", self.trace_id, self.span_id)
    }
}

/// What stands before and after the first colon, which some clients URL-encode.
fn split_at_colon(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = value.iter().position(|byte| matches!(byte, b':' | b'%'))?;
    let (field, rest) = value.split_at(end);
    let colons: [&[u8]; 3] = [b":", b"%3A", b"%3a"];
    let rest = colons.iter().find_map(|colon| rest.strip_prefix(*colon))?;
    Some((field, rest))
}
