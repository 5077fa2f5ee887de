//! Takes a request from HTTP into the store: its turn, its body, its compression.
//!
//! Knows nothing of what is in it, nor of how it is answered: see `otlp_http` and `jaeger`.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
    },
};

use super::{
    arrival::Arrival,
    build::{Refused, Rejected},
    gzip,
    receiver::{NotKept, Receiver, off_the_runtime},
    rpc_status::RETRY_SECONDS,
};
use crate::metrics::{Outcome, Protocol, Signal};

/// Bytes of a body that is too large, which are read all the same: a client that is cut off while
/// it sends does not see the answer.
const MAX_DISCARDED_BYTES: usize = 64 << 20;

/// Why nothing of a request is kept.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            message: message.into(),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => Outcome::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Outcome::Unsupported,
            StatusCode::REQUEST_TIMEOUT => Outcome::Timeout,
            StatusCode::SERVICE_UNAVAILABLE => Outcome::Unavailable,
            StatusCode::INTERNAL_SERVER_ERROR => Outcome::Internal,
            _ => Outcome::Malformed,
        }
    }

    /// What the sender may do about it.
    pub(super) fn advise(status: StatusCode, headers: &mut HeaderMap) {
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(u16::from(RETRY_SECONDS)));
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
            _ => {}
        }
    }
}

impl From<NotKept> for Refusal {
    fn from(not_kept: NotKept) -> Refusal {
        let status = match &not_kept {
            NotKept::Refused(Refused::Malformed(_)) => StatusCode::BAD_REQUEST,
            NotKept::Refused(Refused::TooLarge(_)) | NotKept::TooLong(_) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            NotKept::Unavailable(_) | NotKept::Busy => StatusCode::SERVICE_UNAVAILABLE,
            NotKept::Late => StatusCode::REQUEST_TIMEOUT,
            NotKept::BrokeOff(_) => StatusCode::BAD_REQUEST,
            NotKept::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal::new(status, not_kept.to_string())
    }
}

/// Reads a request and stores what it holds. An empty body needs no compression.
///
/// # Errors
/// 400 for a body that is broken, 408 for one that takes more than 10 seconds, 413 for one that is
/// larger than it may be or would be once stored, 415 for a `Content-Encoding` other than gzip, 500
/// for a panic, 503 if other requests took up the time or the store is unavailable: that one alone
/// may be sent again.
pub(super) async fn receive(
    receiver: &Receiver,
    request: Request,
    signal: Signal,
    protocol: Protocol,
) -> Result<Rejected, Refusal> {
    let gzip = is_gzip(request.headers())?;
    let mut arrival = Arrival::new(receiver, request.into_body()).await?;
    let max = receiver.max_message_bytes;
    let mut body = read(&mut arrival, max).await?;
    let turn = arrival.turn().await?;
    let receiver = receiver.clone();
    let kept = off_the_runtime(turn, move || {
        if gzip && !body.is_empty() {
            body = gzip::inflate(&body, max)?;
        }
        receiver.keep(signal, protocol, &body)
    });
    Ok(kept.await.flatten()?)
}

/// The type of the body in lower case, without parameters. Empty if there is none.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let value = String::from_utf8_lossy(value.unwrap_or_default());
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut gzip = false;
    for value in headers.get_all(CONTENT_ENCODING) {
        let value = value.as_bytes().trim_ascii();
        if !gzip && (value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip")) {
            gzip = true;
        } else if !value.is_empty() && !value.eq_ignore_ascii_case(b"identity") {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the only Content-Encoding is gzip, and only once",
            ));
        }
    }
    Ok(gzip)
}

async fn read(arrival: &mut Arrival, max: usize) -> Result<Vec<u8>, Refusal> {
    let (mut whole, mut arrived) = (Vec::new(), 0_usize);
    while arrived <= MAX_DISCARDED_BYTES
        && let Some(data) = arrival.next().await
    {
        let data = data?;
        arrived = arrived.saturating_add(data.len());
        if arrived <= max {
            whole.extend_from_slice(&data);
        } else {
            whole = Vec::new();
        }
    }
    if arrived > max {
        return Err(NotKept::TooLong(max).into());
    }
    Ok(whole)
}
