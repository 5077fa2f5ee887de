//! The header `traceparent` by itself, without carriers and contexts.

use std::{fmt, str::FromStr};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::{
    hex,
    rejected::{MAX_LEN, Rejected, only},
};

/// Length of a `traceparent` of version 00, and of what later versions must begin with.
const KNOWN_LEN: usize = 55;
const FORBIDDEN_VERSION: u8 = 0xff;
const SAMPLED: u8 = 1;

/// The caller's span, as `traceparent` names it: `{version}-{trace-id}-{parent-id}-{trace-flags}`.
///
/// Neither id is zero. Printed as version 00 with the one flag that it knows, and read as
/// <https://www.w3.org/TR/trace-context/#traceparent-header> has it, by the byte. Reading, printing and comparing allocate
/// nothing.
///
/// ```
/// use uber_trace_id::{Rejected, TraceParent};
///
/// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let caller: TraceParent = header.parse()?;
/// assert_eq!(caller.to_string(), header);
///
/// let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-what-comes";
/// assert_eq!(later.parse(), Ok(caller));
///
/// let odd = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1";
/// assert_eq!(odd.parse::<TraceParent>(), Err(Rejected::Length));
/// # Ok::<(), Rejected>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: TraceId,
    parent_id: SpanId,
    sampled: bool,
}

impl TraceParent {
    /// Names a span to whom it calls, unless its trace id or span id is zero.
    pub fn new(span: &SpanContext) -> Option<Self> {
        span.is_valid().then(|| Self {
            trace_id: span.trace_id(),
            parent_id: span.span_id(),
            sampled: span.is_sampled(),
        })
    }

    /// Reads the value of a header.
    ///
    /// # Errors
    /// It breaks a rule of the format, or has more than 512 bytes.
    pub fn parse(value: &[u8]) -> Result<Self, Rejected> {
        let (known, later) = value
            .split_first_chunk::<KNOWN_LEN>()
            .filter(|_| value.len() <= MAX_LEN)
            .ok_or(Rejected::Length)?;
        if known.iter().any(u8::is_ascii_uppercase)
            || [2, 35, 52].iter().any(|at| known[*at] != b'-')
        {
            return Err(Rejected::Format);
        }
        match (hex::read_u8(&known[..2]), later) {
            (None | Some(FORBIDDEN_VERSION), _) => return Err(Rejected::Version),
            (Some(0), [_, ..]) => return Err(Rejected::Length),
            (Some(_), [] | [b'-', ..]) => {}
            (Some(_), _) => return Err(Rejected::Format),
        }
        let trace_id = hex::read_u128(&known[3..35]).filter(|id| *id != 0);
        let parent_id = hex::read_u64(&known[36..52]).filter(|id| *id != 0);
        let flags = hex::read_u8(&known[53..]);
        Ok(Self {
            trace_id: trace_id.ok_or(Rejected::TraceId)?.into(),
            parent_id: parent_id.ok_or(Rejected::SpanId)?.into(),
            sampled: flags.ok_or(Rejected::Flags)? & SAMPLED != 0,
        })
    }

    /// Reads what may be there once or not at all, from all values that the header has in a request.
    ///
    /// # Errors
    /// There are several, or the only one cannot be parsed.
    pub fn from_values<V: AsRef<[u8]>>(
        values: impl IntoIterator<Item = V>,
    ) -> Result<Option<Self>, Rejected> {
        let value = only(values)?;
        value.map(|value| Self::parse(value.as_ref())).transpose()
    }

    /// The field `trace-id`.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The field `parent-id`: the caller's span.
    pub fn parent_id(&self) -> SpanId {
        self.parent_id
    }

    /// The flag `sampled`.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }
}

/// A remote span without the state that `tracestate` may tell.
impl From<TraceParent> for SpanContext {
    fn from(caller: TraceParent) -> Self {
        let flags = TraceFlags::default().with_sampled(caller.sampled);
        SpanContext::new(
            caller.trace_id,
            caller.parent_id,
            flags,
            true,
            TraceState::NONE,
        )
    }
}

impl FromStr for TraceParent {
    type Err = Rejected;

    fn from_str(value: &str) -> Result<Self, Rejected> {
        Self::parse(value.as_bytes())
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.sampled { SAMPLED } else { 0 };
        write!(f, "00-{}-{}-{flags:02x}", self.trace_id, self.parent_id)
    }
}
