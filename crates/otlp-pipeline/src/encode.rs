//! OTLP's protobuf, straight from what the SDK hands over: spans that end, and log records.
//!
//! Each message is described once, as fields that go to an [`Output`](wire::Output). A first pass only counts, so that
//! room is made, or refused, before anything is written. No length is padded, and nothing is allocated.

mod attribute;
mod log;
mod request;
mod span;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

/// What is to be kept: measured before there is room for it, and written then.
pub(crate) trait Encoded {
    /// How many bytes it takes.
    fn len(&self) -> usize;

    /// Allocates only if `out` has no room for [`len`](Self::len) bytes more.
    fn append_to(&self, out: &mut Vec<u8>);
}

pub(crate) use self::{
    log::{LogBytes, log_scope},
    request::{Request, ResourceBytes, ScopeBytes, around_one},
    span::{SpanBytes, first_span_len},
};
