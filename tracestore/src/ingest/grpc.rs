//! The OTLP/gRPC receiver: `opentelemetry.proto.collector.trace.v1.TraceService` and
//! `opentelemetry.proto.collector.logs.v1.LogsService`.
//!
//! Reads the framing of gRPC by itself: a server library would decompress a message before anybody
//! could say whether there is memory for it.
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>,
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE},
    routing::post,
};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::{Code, Status, body::Body};

use super::{
    arrival::Arrival,
    build::{Refused, Rejected},
    gzip,
    receiver::{NotKept, Receiver, off_the_runtime, partial_success},
    rpc_status::RpcStatus,
};
use crate::metrics::{Outcome, Protocol, Signal};

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Serves OTLP/gRPC into the store.
pub(crate) fn router(receiver: Receiver) -> Router {
    let export_of = |signal| {
        post(
            move |State(receiver): State<Receiver>, request: Request| async move {
                export(signal, &receiver, request).await
            },
        )
    };
    Router::new()
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            export_of(Signal::Traces),
        )
        .route(
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            export_of(Signal::Logs),
        )
        .fallback(unimplemented)
        .method_not_allowed_fallback(unimplemented)
        .with_state(receiver)
}

async fn export(signal: Signal, receiver: &Receiver, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    match compression(&head.headers) {
        Ok(is_gzip) => match receive(signal, receiver, body, is_gzip).await {
            Ok(rejected) => success(signal, &rejected),
            Err(not_kept) => failure(signal, receiver, status(&not_kept)),
        },
        Err(unsupported) => {
            let mut response = failure(signal, receiver, unsupported);
            let understood = HeaderValue::from_static("gzip,identity");
            response
                .headers_mut()
                .insert("grpc-accept-encoding", understood);
            response
        }
    }
}

/// Whether compressed messages are gzip.
fn compression(headers: &HeaderMap) -> Result<bool, Status> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(_) => Err(Status::unimplemented("the only grpc-encoding is gzip")),
    }
}

/// Reads a request and stores what it holds.
async fn receive(
    signal: Signal,
    receiver: &Receiver,
    body: axum::body::Body,
    is_gzip: bool,
) -> Result<Rejected, NotKept> {
    let mut arrival = Arrival::new(receiver, body).await?;
    let max = receiver.max_message_bytes;
    let message = message(&mut arrival, max).await?;
    let turn = arrival.turn().await?;
    let receiver = receiver.clone();
    let kept = off_the_runtime(turn, move || {
        let content = &message[PREFIX_BYTES..];
        let inflated;
        let content = match (message[0], is_gzip) {
            (0, _) => content,
            (1, true) => {
                inflated = gzip::inflate(content, max)?;
                &inflated
            }
            (1, false) => return Err(malformed("it is compressed, and does not say how")),
            _ => return Err(malformed("the flag of its compression is neither 0 nor 1")),
        };
        receiver.keep(signal, Protocol::OtlpGrpc, content)
    });
    kept.await.flatten()
}

/// The only message, with its prefix.
async fn message(arrival: &mut Arrival, max: usize) -> Result<Vec<u8>, NotKept> {
    let mut message = Vec::new();
    let mut length = None;
    while let Some(data) = arrival.next().await {
        message.extend_from_slice(&data?);
        if length.is_none()
            && let Some((prefix, _)) = message.split_first_chunk::<PREFIX_BYTES>()
        {
            let [_, content @ ..] = *prefix;
            let content = u32::from_be_bytes(content) as usize;
            if content > max {
                return Err(NotKept::TooLong(max));
            }
            arrival.expect(PREFIX_BYTES + content);
            length = Some(PREFIX_BYTES + content);
        }
        if length.is_some_and(|length| message.len() > length) {
            return Err(malformed("there is more than one message"));
        }
    }
    match length {
        Some(length) if message.len() == length => Ok(message),
        Some(_) => Err(malformed("the message breaks off")),
        None => Err(malformed("there is no message")),
    }
}

fn malformed(why: &str) -> NotKept {
    NotKept::Refused(Refused::Malformed(why.to_owned()))
}

fn success(signal: Signal, rejected: &Rejected) -> Response<Body> {
    // On the wire it is that of logs as well.
    let answer = ExportTraceServiceResponse {
        partial_success: partial_success(signal, rejected),
    };
    let mut message = vec![0; PREFIX_BYTES];
    answer
        .encode(&mut message)
        .expect("a vector has room for everything");
    let length = u32::try_from(message.len() - PREFIX_BYTES);
    let length = length.expect("what is said of rejected spans is some kilobytes");
    message[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    let ok = HeaderMap::from_iter([(Status::GRPC_STATUS.clone(), HeaderValue::from(0))]);
    let body = Full::new(Bytes::from(message)).with_trailers(async { Some(Ok(ok)) });
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Counts it, and logs it unless it is the sender who left.
fn failure(signal: Signal, receiver: &Receiver, status: Status) -> Response<Body> {
    let (protocol, outcome) = (Protocol::OtlpGrpc, outcome(status.code()));
    match status.code() {
        Code::Cancelled => receiver.metrics.request(signal, protocol, outcome),
        _ => receiver.refused(signal, protocol, outcome, status.message()),
    }
    status.into_http()
}

fn outcome(code: Code) -> Outcome {
    match code {
        Code::InvalidArgument | Code::Cancelled => Outcome::Malformed,
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
        NotKept::Refused(Refused::TooLarge(_)) | NotKept::TooLong(_) => {
            Status::resource_exhausted(message)
        }
        NotKept::Late => Status::deadline_exceeded(message),
        NotKept::BrokeOff(_) => Status::cancelled(message),
        NotKept::Panicked => Status::internal(message),
        NotKept::Unavailable(_) | NotKept::Busy => {
            let details = RpcStatus::new(Code::Unavailable, &message).with_retry();
            Status::with_details(Code::Unavailable, message, details.encode_to_vec().into())
        }
    }
}

async fn unimplemented() -> Response<Body> {
    let what = "only Export of opentelemetry.proto.collector.trace.v1.TraceService \
                and of opentelemetry.proto.collector.logs.v1.LogsService";
    Status::unimplemented(what).into_http()
}
