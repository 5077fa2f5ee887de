//! OTLP's protobuf, straight from what the SDK hands over at the end of a span.
//!
//! Each message is described once, as fields that go to an [`Output`](wire::Output). A first pass only counts, so that
//! room is made, or refused, before anything is written. No length is padded, and nothing is allocated.

mod attribute;
mod request;
mod span;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::{
    request::{Request, ResourceBytes, ScopeBytes, around_one},
    span::{SpanBytes, first_span_len},
};
