//! The receiver of Jaeger's thrift over HTTP: `POST /api/traces`, as Jaeger's collector has it.
//!
//! <https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/receiver/jaegerreceiver>

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};

use super::{
    http::{Refusal, content_type, receive},
    receiver::Receiver,
};
use crate::metrics::{Outcome, Protocol, Signal};

/// Serves Jaeger's thrift into the store. The query, usually `format=jaeger.thrift`, is ignored.
pub(crate) fn router(receiver: Receiver) -> Router {
    Router::new()
        .route("/api/traces", post(submit))
        .fallback(|| async { (StatusCode::NOT_FOUND, "only /api/traces is here") })
        .with_state(receiver)
}

/// Answers 202. There is no form for saying that a part was rejected, and a client that is told
/// of an error drops everything as failed; so text and log say it.
async fn submit(State(receiver): State<Receiver>, request: Request) -> Response {
    let result = match content_type(request.headers()).as_str() {
        "application/x-thrift" | "application/vnd.apache.thrift.binary" => {
            receive(&receiver, request, Signal::Traces, Protocol::JaegerThrift).await
        }
        _ => {
            let message =
                "only application/x-thrift and application/vnd.apache.thrift.binary are understood";
            refused(&receiver, Outcome::Unsupported, message);
            return failure(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
    };
    match result {
        Ok(rejected) if rejected.total() == 0 => StatusCode::ACCEPTED.into_response(),
        Ok(rejected) => {
            let message = rejected.message(Signal::Traces);
            receiver.log_refusal("Jaeger thrift", &message);
            (StatusCode::ACCEPTED, message).into_response()
        }
        Err(refusal) => {
            refused(&receiver, refusal.outcome(), &refusal.message);
            failure(refusal)
        }
    }
}

fn refused(receiver: &Receiver, outcome: Outcome, why: &str) {
    receiver.refused(Signal::Traces, Protocol::JaegerThrift, outcome, why);
}

pub(super) fn failure(refusal: Refusal) -> Response {
    let mut response = (refusal.status, refusal.message).into_response();
    Refusal::advise(refusal.status, response.headers_mut());
    response
}
