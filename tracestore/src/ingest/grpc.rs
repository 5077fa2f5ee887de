//! The OTLP/gRPC receiver: `opentelemetry.proto.collector.trace.v1.TraceService`.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>

use std::{pin::Pin, sync::PoisonError};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderValue, Response},
    routing::post,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::{Message, bytes::Buf};
use tonic::{
    Code, Status,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
};

use super::{
    arrival::{Arrival, Arrived, Arriving},
    build::Refused,
    receiver::{MAX_MESSAGE_BYTES, NotKept, Receiver, keep, off_the_runtime, partial_success},
    rpc_status::RpcStatus,
};
use crate::metrics::{Outcome, Protocol};

/// Serves OTLP/gRPC into the store.
pub(crate) fn router(receiver: Receiver) -> Router {
    Router::new()
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            post(export),
        )
        .fallback(unimplemented)
        .method_not_allowed_fallback(unimplemented)
        .with_state(receiver)
}

async fn export(State(receiver): State<Receiver>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let response = match Arrival::new(&receiver, body).await {
        Ok(arrival) => {
            let (body, arrived) = Arriving::new(arrival, status);
            let mut grpc = Grpc::new(WholeMessage)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(MAX_MESSAGE_BYTES);
            let export = Export {
                receiver: receiver.clone(),
                arrived,
            };
            grpc.unary(export, Request::from_parts(head, body)).await
        }
        Err(busy) => status(&busy).into_http(),
    };
    let response = not_retryable(response);
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != Code::Ok
    {
        receiver.refused(Protocol::OtlpGrpc, outcome(status.code()), status.message());
    }
    response
}

fn outcome(code: Code) -> Outcome {
    match code {
        Code::InvalidArgument => Outcome::Malformed,
        Code::ResourceExhausted => Outcome::TooLarge,
        Code::Unimplemented => Outcome::Unsupported,
        Code::DeadlineExceeded => Outcome::Timeout,
        Code::Unavailable => Outcome::Unavailable,
        _ => Outcome::Internal,
    }
}

/// OTLP clients send again after `UNAVAILABLE`, and `RetryInfo` says when.
/// <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response>
pub(super) fn status(not_kept: &NotKept) -> Status {
    let message = not_kept.to_string();
    match not_kept {
        NotKept::Refused(Refused::Malformed(_)) => Status::invalid_argument(message),
        NotKept::Refused(Refused::TooLarge(_)) => Status::resource_exhausted(message),
        NotKept::Late => Status::deadline_exceeded(message),
        NotKept::BrokeOff(_) => Status::cancelled(message),
        NotKept::Panicked => Status::internal(message),
        NotKept::Unavailable(_) | NotKept::Busy => {
            let details = RpcStatus::new(Code::Unavailable, &message).with_retry();
            Status::with_details(Code::Unavailable, message, details.encode_to_vec().into())
        }
    }
}

/// tonic answers a message that is too long with `OUT_OF_RANGE`, which OTLP clients must retry:
/// they would send it for ever.
fn not_retryable(mut response: Response<Body>) -> Response<Body> {
    if let Some(status) = response.headers_mut().get_mut(Status::GRPC_STATUS)
        && *status == HeaderValue::from(Code::OutOfRange as i32)
    {
        *status = HeaderValue::from(Code::ResourceExhausted as i32);
    }
    response
}

async fn unimplemented() -> Response<Body> {
    Status::unimplemented("only opentelemetry.proto.collector.trace.v1.TraceService/Export")
        .into_http()
}

/// One call.
struct Export {
    receiver: Receiver,
    arrived: Arrived,
}

impl UnaryService<Bytes> for Export {
    type Response = ExportTraceServiceResponse;
    type Future = Pin<
        Box<
            dyn Future<Output = Result<tonic::Response<ExportTraceServiceResponse>, Status>> + Send,
        >,
    >;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let receiver = self.receiver.clone();
        let arrived = (self.arrived.lock().unwrap_or_else(PoisonError::into_inner)).take();
        Box::pin(async move {
            let kept = async {
                let turn = match arrived {
                    Some(arrival) => arrival.turn().await?,
                    None => receiver.turn().await?,
                };
                let Receiver { store, metrics, .. } = receiver;
                let body = request.into_inner();
                off_the_runtime(turn, move || {
                    keep(&store, &metrics, Protocol::OtlpGrpc, &body)
                })
                .await
                .flatten()
            };
            let rejected = kept.await.map_err(|error| status(&error))?;
            Ok(tonic::Response::new(ExportTraceServiceResponse {
                partial_success: partial_success(&rejected),
            }))
        })
    }
}

/// Hands over requests as they are on the wire, without a copy, for `decode` to read.
struct WholeMessage;

impl Codec for WholeMessage {
    type Encode = ExportTraceServiceResponse;
    type Decode = Bytes;
    type Encoder = WholeMessage;
    type Decoder = WholeMessage;

    fn encoder(&mut self) -> WholeMessage {
        WholeMessage
    }

    fn decoder(&mut self) -> WholeMessage {
        WholeMessage
    }
}

impl Encoder for WholeMessage {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for WholeMessage {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
