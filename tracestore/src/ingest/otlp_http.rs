//! The OTLP/HTTP receiver: `POST /v1/traces`, in protobuf or JSON.
//!
//! Answers come in the form of the request. <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::json;
use tonic::Code;

use super::{
    build::{Decoded, Refused, Rejected},
    http::{Refusal, content_type, receive},
    json, protobuf,
    receiver::{Receiver, partial_success},
};

/// Serves OTLP/HTTP into the store.
pub(crate) fn router(receiver: Receiver) -> Router {
    Router::new()
        .route("/v1/traces", post(export))
        .fallback(|| async { (StatusCode::NOT_FOUND, "only /v1/traces is here") })
        .with_state(receiver)
}

/// What requests and their answers are written in.
#[derive(Clone, Copy)]
enum Form {
    Protobuf,
    Json,
}

async fn export(State(receiver): State<Receiver>, request: Request) -> Response {
    let form = match content_type(request.headers()).as_str() {
        "application/x-protobuf" => Form::Protobuf,
        "application/json" => Form::Json,
        _ => {
            let message = "only application/x-protobuf and application/json are understood";
            receiver.log_refusal("OTLP/HTTP", message);
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
        }
    };
    match receive(&receiver, request, form.decode()).await {
        Ok(rejected) => form.success(&rejected),
        Err(refusal) => {
            receiver.log_refusal("OTLP/HTTP", &refusal.message);
            form.failure(refusal)
        }
    }
}

/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto>
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

impl Form {
    fn decode(self) -> fn(&[u8]) -> Result<Decoded<'_>, Refused> {
        match self {
            Form::Protobuf => protobuf::decode,
            Form::Json => json::decode,
        }
    }

    fn success(self, rejected: &Rejected) -> Response {
        let partial_success = partial_success(rejected);
        let body = match self {
            Form::Protobuf => ExportTraceServiceResponse { partial_success }.encode_to_vec(),
            Form::Json => match partial_success {
                None => json!({}),
                Some(partial) => json!({
                    "partialSuccess": {
                        "rejectedSpans": partial.rejected_spans.to_string(),
                        "errorMessage": partial.error_message,
                    },
                }),
            }
            .to_string()
            .into_bytes(),
        };
        self.response(StatusCode::OK, body)
    }

    fn failure(self, refusal: Refusal) -> Response {
        let code = match refusal.status {
            StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            _ => Code::InvalidArgument,
        } as i32;
        let message = refusal.message;
        let body = match self {
            Form::Protobuf => RpcStatus { code, message }.encode_to_vec(),
            Form::Json => json!({ "code": code, "message": message })
                .to_string()
                .into_bytes(),
        };
        let mut response = self.response(refusal.status, body);
        let headers = response.headers_mut();
        match refusal.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
            _ => {}
        }
        response
    }

    fn response(self, status: StatusCode, body: Vec<u8>) -> Response {
        let content_type = match self {
            Form::Protobuf => "application/x-protobuf",
            Form::Json => "application/json",
        };
        (status, [(CONTENT_TYPE, content_type)], body).into_response()
    }
}
