//! Why a header is not believed, and what is the same for both formats.

use std::{error, fmt};

use opentelemetry::propagation::Extractor;

/// Longest trace header that is looked at, in bytes. A `uber-trace-id` has at most 75, a `traceparent` 55.
///
/// Trace Context asks to disallow only "prohibitively large" headers, since later versions may be longer.
pub(crate) const MAX_LEN: usize = 512;

/// Why a trace header is not believed: a label for a counter. The request that has it starts a new trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejected {
    /// There are several, of which nobody can tell the right one.
    Repeated,
    /// It is longer than 512 bytes, or a `traceparent` does not have the length of its version.
    Length,
    /// It is not made of the fields of its format.
    Format,
    /// The version of a `traceparent` is `ff` or not two digits.
    Version,
    /// The trace id is zero, too long or not hexadecimal.
    TraceId,
    /// The id of the caller's span is zero, too long or not hexadecimal.
    SpanId,
    /// The flags are not one byte in hexadecimal digits.
    Flags,
}

impl Rejected {
    /// One lower-case word, e.g. `trace_id`.
    pub fn as_str(self) -> &'static str {
        match self {
            Rejected::Repeated => "repeated",
            Rejected::Length => "length",
            Rejected::Format => "format",
            Rejected::Version => "version",
            Rejected::TraceId => "trace_id",
            Rejected::SpanId => "span_id",
            Rejected::Flags => "flags",
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejected::Repeated => "the header is there more than once",
            Rejected::Length => "the header has a wrong length",
            Rejected::Format => "the header does not have the fields of its format",
            Rejected::Version => "the version is invalid",
            Rejected::TraceId => "the trace id is invalid",
            Rejected::SpanId => "the span id is invalid",
            Rejected::Flags => "the flags are invalid",
        })
    }
}

impl error::Error for Rejected {}

/// The value of a header that must be there once, or not at all.
pub(crate) fn only<T>(values: impl IntoIterator<Item = T>) -> Result<Option<T>, Rejected> {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Rejected::Repeated),
    }
}

/// The same, of a carrier.
pub(crate) fn only_of<'c>(
    carrier: &'c dyn Extractor,
    name: &str,
) -> Result<Option<&'c str>, Rejected> {
    // The one way to learn that there are two; a carrier without the header has no list to allocate.
    only(carrier.get_all(name).into_iter().flatten())
}
