//! The OTLP/HTTP receiver: `POST /v1/traces` and `POST /v1/logs`, in protobuf or JSON.
//!
//! Answers come in the form of the request. <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::json;
use tonic::Code;

use super::{
    build::Rejected,
    http::{Refusal, content_type, receive},
    receiver::{Receiver, partial_success},
    rpc_status::RpcStatus,
};
use crate::metrics::{Outcome, Protocol, Signal};

/// Serves OTLP/HTTP into the store.
pub(crate) fn router(receiver: Receiver) -> Router {
    let what = "only /v1/traces and /v1/logs are here";
    route(receiver).fallback(move || async move { (StatusCode::NOT_FOUND, what) })
}

/// The receiver as a part of a larger site.
pub(crate) fn route(receiver: Receiver) -> Router {
    let export_of = |signal| {
        post(
            move |State(receiver): State<Receiver>, request: Request| async move {
                export(signal, &receiver, request).await
            },
        )
    };
    Router::new()
        .route("/v1/traces", export_of(Signal::Traces))
        .route("/v1/logs", export_of(Signal::Logs))
        .with_state(receiver)
}

/// What requests and their answers are written in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

async fn export(signal: Signal, receiver: &Receiver, request: Request) -> Response {
    let encoding = match content_type(request.headers()).as_str() {
        "application/x-protobuf" => Encoding::Protobuf,
        "application/json" => Encoding::Json,
        _ => {
            let message = "only application/x-protobuf and application/json are understood";
            // Which of the two it would have been, nobody knows.
            let (protocol, outcome) = (Protocol::OtlpHttpProtobuf, Outcome::Unsupported);
            receiver.refused(signal, protocol, outcome, message);
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
        }
    };
    let protocol = encoding.protocol();
    match receive(receiver, request, signal, protocol).await {
        Ok(rejected) => encoding.success(signal, &rejected),
        Err(refusal) => {
            receiver.refused(signal, protocol, refusal.outcome(), &refusal.message);
            encoding.failure(refusal)
        }
    }
}

impl Encoding {
    fn protocol(self) -> Protocol {
        match self {
            Encoding::Protobuf => Protocol::OtlpHttpProtobuf,
            Encoding::Json => Protocol::OtlpHttpJson,
        }
    }

    fn success(self, signal: Signal, rejected: &Rejected) -> Response {
        let partial_success = partial_success(signal, rejected);
        let count = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Logs => "rejectedLogRecords",
        };
        let body = match self {
            Encoding::Protobuf => ExportTraceServiceResponse { partial_success }.encode_to_vec(),
            Encoding::Json => match partial_success {
                None => json!({}),
                Some(partial) => json!({
                    "partialSuccess": {
                        count: partial.rejected_spans.to_string(),
                        "errorMessage": partial.error_message,
                    },
                }),
            }
            .to_string()
            .into_bytes(),
        };
        self.response(StatusCode::OK, body)
    }

    pub(super) fn failure(self, refusal: Refusal) -> Response {
        let code = match refusal.status {
            StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
            _ => Code::InvalidArgument,
        };
        let message = refusal.message;
        let body = match self {
            Encoding::Protobuf => RpcStatus::new(code, message).encode_to_vec(),
            Encoding::Json => json!({ "code": code as i32, "message": message })
                .to_string()
                .into_bytes(),
        };
        let mut response = self.response(refusal.status, body);
        Refusal::advise(refusal.status, response.headers_mut());
        response
    }

    fn response(self, status: StatusCode, body: Vec<u8>) -> Response {
        let content_type = match self {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        };
        (status, [(CONTENT_TYPE, content_type)], body).into_response()
    }
}
