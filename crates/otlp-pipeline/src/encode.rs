//! OTLP's protobuf, straight from what the SDK hands over: spans that end, and log records.
//!
//! Each message is described once, as fields that go to an [`Output`](wire::Output): to the room that there is, and where
//! that is too little, first to a count of bytes, so that more room is made or refused. No length is padded, and nothing
//! is allocated.

mod attribute;
mod log;
mod request;
mod span;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

/// What is to be kept, as an element of the message around it, with key and length.
pub(crate) trait Encoded {
    /// Writes to the beginning of `out`, and returns how many bytes that took. None if there may be no room for it, and
    /// `out` is then spoilt.
    ///
    /// Looks at all of it once, and is for where there is most likely room.
    fn write(&self, out: &mut [u8]) -> Option<usize>;

    /// As [`write`](Self::write), where there is room for [`len`](Self::len) bytes, and maybe no more.
    fn write_within(&self, out: &mut [u8]) -> Option<usize>;

    /// How many bytes it takes.
    fn len(&self) -> usize;
}

pub(crate) use self::{
    log::{LogBytes, log_scope},
    request::{Request, ResourceBytes, ScopeBytes, around_one},
    span::{SpanBytes, first_span_len},
};
