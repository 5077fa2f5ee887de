//! The OTLP/gRPC receiver: `opentelemetry.proto.collector.trace.v1.TraceService`.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>

use std::{
    future::{Ready, ready},
    time::SystemTime,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderValue, Response},
    routing::post,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::{Message, bytes::Buf};
use tokio::time::timeout;
use tonic::{
    Code, Status,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
};

use super::{
    build::Refused,
    protobuf::decode,
    receiver::{CALL_TIMEOUT, MAX_MESSAGE_BYTES, Receiver, partial_success},
};
use crate::store::Store;

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
    let answered = timeout(CALL_TIMEOUT, async {
        let _turn = receiver.calls.acquire().await;
        Grpc::new(WholeMessage)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .unary(Export(&receiver.store), request)
            .await
    });
    let response = answered.await.unwrap_or_else(|_| {
        Status::deadline_exceeded("the request took too long to arrive").into_http()
    });
    let response = not_retryable(response);
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != Code::Ok
    {
        let message = status.message();
        receiver.log_refusal("OTLP/gRPC", message);
    }
    response
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

struct Export<'a>(&'a Store);

impl UnaryService<Bytes> for Export<'_> {
    type Response = ExportTraceServiceResponse;
    type Future = Ready<Result<tonic::Response<ExportTraceServiceResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        ready(receive(self.0, request.get_ref()).map(tonic::Response::new))
    }
}

fn receive(store: &Store, request: &[u8]) -> Result<ExportTraceServiceResponse, Status> {
    let decoded = decode(request).map_err(|refused| match refused {
        Refused::Malformed(_) => Status::invalid_argument(refused.to_string()),
        Refused::TooLarge(_) => Status::resource_exhausted(refused.to_string()),
    })?;
    store.insert(decoded.batches, SystemTime::now());
    Ok(ExportTraceServiceResponse {
        partial_success: partial_success(&decoded.rejected),
    })
}

/// Hands over requests as they are on the wire, for `decode` to read.
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
