//! The only place that knows OTLP and thrift: spans and log records come in here, and traces in protobuf leave here.
//!
//! `grpc`, `otlp_http` and `jaeger` talk to senders; `protobuf`, `json` and `thrift` read what
//! they send, and `build` makes spans and log records of it. Knows nothing of how spans are kept or of Tempo's
//! JSON: see `store` and `api`.

mod arrival;
mod build;
mod encode;
mod grpc;
mod gzip;
mod http;
mod jaeger;
mod json;
mod length;
mod otlp_http;
mod protobuf;
mod receiver;
mod rpc_status;
mod tbinary;
#[cfg(test)]
mod tests;
mod thrift;
mod wire;

pub(crate) use encode::{key_values, trace, trace_by_id_response};
pub(crate) use grpc::router as grpc_router;
pub(crate) use jaeger::router as jaeger_router;
pub(crate) use length::encoded_len;
pub(crate) use otlp_http::{route as otlp_http_route, router as otlp_http_router};
pub(crate) use receiver::Receiver;

use self::build::{Decoded, DecodedLogs, Refused};
use crate::{
    metrics::Protocol,
    store::{Batch, LogBatch},
};

/// What the body of a request is written in. The numbers are kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    OtlpProtobuf = 1,
    OtlpJson = 2,
    JaegerThrift = 3,
}

impl Form {
    fn of(protocol: Protocol) -> Form {
        match protocol {
            Protocol::OtlpGrpc | Protocol::OtlpHttpProtobuf => Form::OtlpProtobuf,
            Protocol::OtlpHttpJson => Form::OtlpJson,
            Protocol::JaegerThrift => Form::JaegerThrift,
        }
    }
}

/// Reads a message, as it was after decompression: the spans of one that was accepted once are
/// the same whenever it is read.
///
/// # Errors
/// All or nothing, but for spans with bad ids, which are counted in `Decoded::rejected`.
fn decode(form: Form, body: &[u8]) -> Result<Decoded<'_>, Refused> {
    match form {
        Form::OtlpProtobuf => protobuf::decode(body),
        Form::OtlpJson => json::decode(body),
        Form::JaegerThrift => thrift::decode(body),
    }
}

/// Likewise, of a message with log records.
///
/// # Errors
/// All or nothing, but for records that are too large, which are counted in
/// `DecodedLogs::rejected`, and for ids.
fn decode_logs(form: Form, body: &[u8]) -> Result<DecodedLogs<'_>, Refused> {
    match form {
        Form::OtlpProtobuf => protobuf::decode_logs(body),
        Form::OtlpJson => json::decode_logs(body),
        Form::JaegerThrift => Err(Refused::Malformed("thrift has no logs".to_owned())),
    }
}

/// Reads the body of a request that was accepted once.
///
/// # Errors
/// It is not what this program accepts.
pub(crate) fn decode_again(form: u8, body: &[u8]) -> Result<Vec<Batch<'_>>, String> {
    let decoded = decode(known(form)?, body);
    Ok(decoded.map_err(|refused| refused.to_string())?.batches)
}

/// Reads the body of a request with log records that was accepted once.
///
/// # Errors
/// It is not what this program accepts.
pub(crate) fn decode_logs_again(form: u8, body: &[u8]) -> Result<Vec<LogBatch<'_>>, String> {
    let decoded = decode_logs(known(form)?, body);
    Ok(decoded.map_err(|refused| refused.to_string())?.batches)
}

fn known(form: u8) -> Result<Form, String> {
    let forms = [Form::OtlpProtobuf, Form::OtlpJson, Form::JaegerThrift];
    let known = forms.into_iter().find(|known| *known as u8 == form);
    known.ok_or_else(|| format!("its form {form} is not known"))
}
