//! Answers in the words of either protocol.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use base64::Engine;
use bytes::{BufMut, Bytes};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Frame};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use prost_types::Any;
use tonic_types::{RetryInfo, pb};

use super::{Answer, Failure};

pub(super) type Reply = Response<BoxBody<Bytes, BrokenOff>>;

#[derive(Debug)]
pub(super) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off on request")
    }
}

impl std::error::Error for BrokenOff {}

impl From<Infallible> for BrokenOff {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What is sent for an answer. Silence is for whoever calls this.
pub(super) fn reply(answer: Answer, grpc: bool) -> Reply {
    let partial_success = match answer {
        Answer::Accept => None,
        Answer::Partial(rejected_spans, error_message) => Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message,
        }),
        Answer::Fail(failure) if grpc => return grpc_failure(&failure),
        Answer::Fail(failure) => return http_failure(&failure),
        Answer::BreakOff => return broken_off(grpc),
        Answer::Silence => panic!("there is no answer"),
    };
    // That of log records has the same fields.
    let message = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    if grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body = Full::from(framed(&message)).with_trailers(async { Some(Ok(trailers)) });
        response(StatusCode::OK, "application/grpc", body)
    } else {
        response(
            StatusCode::OK,
            "application/x-protobuf",
            Full::from(message),
        )
    }
}

fn response<B>(status: StatusCode, kind: &'static str, body: B) -> Reply
where
    B: Body<Data = Bytes> + Send + Sync + 'static,
    BrokenOff: From<B::Error>,
{
    let mut reply = Response::new(body.map_err(BrokenOff::from).boxed());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a short message"));
    framed.put_slice(message);
    framed.into()
}

fn broken_off(grpc: bool) -> Reply {
    let kind = if grpc {
        "application/grpc"
    } else {
        "application/x-protobuf"
    };
    response(StatusCode::OK, kind, Begun(Some(framed(&[]).slice(..3))))
}

/// A body that breaks off after its first piece.
struct Begun(Option<Bytes>);

impl Body for Begun {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let piece = self.0.take().map(Frame::data);
        Poll::Ready(Some(piece.ok_or(BrokenOff)))
    }
}

fn grpc_failure(failure: &Failure) -> Reply {
    let mut reply = response(StatusCode::OK, "application/grpc", Full::default());
    let headers = reply.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(u16::from(failure.grpc)));
    let message = HeaderValue::from_str(&failure.message).expect("a message for a header");
    headers.insert("grpc-message", message);
    if failure.pause.is_some() {
        let details = base64::engine::general_purpose::STANDARD_NO_PAD.encode(status(failure));
        let details = HeaderValue::from_str(&details).expect("base64");
        headers.insert("grpc-status-details-bin", details);
    }
    reply
}

fn http_failure(failure: &Failure) -> Reply {
    let code = StatusCode::from_u16(failure.http).expect("a status");
    let mut reply = response(code, "application/x-protobuf", Full::from(status(failure)));
    if let Some(pause) = failure.pause {
        let whole = u64::from(pause.subsec_nanos() > 0) + pause.as_secs();
        let headers = reply.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(whole));
    }
    reply
}

/// `google.rpc.Status`, with `RetryInfo` if there is a pause.
fn status(failure: &Failure) -> Vec<u8> {
    let details = failure.pause.map(|pause| {
        let info = pb::RetryInfo {
            retry_delay: Some(pause.try_into().expect("a pause of this era")),
        };
        Any {
            type_url: RetryInfo::TYPE_URL.to_owned(),
            value: info.encode_to_vec(),
        }
    });
    let status = pb::Status {
        code: failure.grpc.into(),
        message: failure.message.clone(),
        details: Vec::from_iter(details),
    };
    status.encode_to_vec()
}
