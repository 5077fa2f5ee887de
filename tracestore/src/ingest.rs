//! The only place that knows protobuf and thrift: spans come in here, and answers in protobuf
//! leave here.
//!
//! `grpc`, `otlp_http` and `jaeger` talk to senders; `protobuf`, `json` and `thrift` read what
//! they send, and `build` makes spans of it. Knows nothing of how spans are kept or of Tempo's
//! JSON: see `store` and `api`.

mod build;
mod encode;
mod grpc;
mod http;
mod jaeger;
mod json;
mod otlp_http;
mod protobuf;
mod receiver;
mod tbinary;
#[cfg(test)]
mod tests;
mod thrift;
mod wire;

pub(crate) use encode::{trace, trace_by_id_response};
pub(crate) use grpc::router as grpc_router;
pub(crate) use jaeger::router as jaeger_router;
pub(crate) use otlp_http::router as otlp_http_router;
pub(crate) use receiver::Receiver;
