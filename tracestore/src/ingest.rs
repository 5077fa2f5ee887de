//! The only place that knows protobuf: OTLP comes in here, and answers in protobuf leave here.
//!
//! Knows nothing of how spans are kept or of Tempo's JSON: see `store` and `api`.

mod decode;
mod encode;
mod grpc;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use encode::{trace, trace_by_id_response};
pub(crate) use grpc::router;
