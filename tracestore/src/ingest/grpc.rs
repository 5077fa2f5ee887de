//! The OTLP/gRPC receiver: `opentelemetry.proto.collector.trace.v1.TraceService`.
//!
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>

use std::{
    future::{Ready, ready},
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderValue, Response},
    routing::post,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::{Message, bytes::Buf};
use tokio::{sync::Semaphore, time::timeout};
use tonic::{
    Code, Status,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
};

use super::decode::{Refused, decode};
use crate::{output::Limited, store::Store};

/// Bytes of one message, after decompression.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Requests that are read at once, over all connections: together with `MAX_MESSAGE_BYTES` this
/// bounds the memory for messages. More wait their turn.
const MAX_CALLS: usize = 8;

/// How long a request may take to arrive, its turn included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves OTLP/gRPC into the store.
pub(crate) fn router(store: Arc<Store>) -> Router {
    let receiver = Receiver {
        store,
        calls: Arc::new(Semaphore::new(MAX_CALLS)),
        refusals: Arc::new(Limited::new()),
    };
    Router::new()
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            post(export),
        )
        .fallback(unimplemented)
        .method_not_allowed_fallback(unimplemented)
        .with_state(receiver)
}

#[derive(Clone)]
struct Receiver {
    store: Arc<Store>,
    calls: Arc<Semaphore>,
    refusals: Arc<Limited>,
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
        receiver
            .refusals
            .line(&format!("refused an OTLP/gRPC request: {message}"));
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
        Refused::TooLarge => Status::resource_exhausted(refused.to_string()),
    })?;
    store.insert(decoded.batches, SystemTime::now());
    let rejected = decoded.rejected;
    Ok(ExportTraceServiceResponse {
        // Unset means that everything was kept.
        partial_success: (rejected.spans() > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: rejected.spans().cast_signed(),
            error_message: rejected.message(),
        }),
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
