//! OTLP/gRPC: one unary call, and what its status means.
//!
//! Written on HTTP/2 itself rather than on a stub. The request is encoded and compressed once, for all
//! attempts; statuses of the server and failures on the way stay apart, which decides whether to repeat;
//! and nothing that a server puts into trailers can panic.

use std::time::Duration;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message;

use super::{
    Outcome,
    cause::printable,
    link::{Reply, ReplyBody},
    messages::{ExportResponse, Status},
    partial_success,
    retry::Attempt,
};
use crate::Compression;

/// Flag and length before each message.
const PREFIX: usize = 5;

/// Of all that decode the standard alphabet, one that takes both forms: gRPC allows padding and omits it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Of gRPC's codes, by their numbers.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const OK: usize = 0;
const CANCELLED: usize = 1;
const UNKNOWN: usize = 2;
const DEADLINE_EXCEEDED: usize = 4;
const RESOURCE_EXHAUSTED: usize = 8;
const ABORTED: usize = 10;
const OUT_OF_RANGE: usize = 11;
const UNAVAILABLE: usize = 14;
const DATA_LOSS: usize = 15;

/// What a call carries beside the headers of every request.
pub(super) fn headers(headers: &mut HeaderMap, compression: Compression, timeout: Duration) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    if compression == Compression::Gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    if let Some(timeout) = deadline(timeout) {
        headers.insert("grpc-timeout", timeout);
    }
}

/// In the smallest unit in which it has at most eight digits, as gRPC demands.
fn deadline(timeout: Duration) -> Option<HeaderValue> {
    let units = [
        ("n", 1),
        ("u", 1_000),
        ("m", 1_000_000),
        ("S", 1_000_000_000),
        ("M", 60_000_000_000),
        ("H", 3_600_000_000_000),
    ];
    units.into_iter().find_map(|(unit, nanos)| {
        let value = timeout.as_nanos() / nanos;
        let text = format!("{value}{unit}");
        HeaderValue::try_from(text)
            .ok()
            .filter(|_| value < 100_000_000)
    })
}

/// What stands before a message of that length.
///
/// A message cannot be longer than 4 GiB: requests have 64 MiB at most.
pub(super) fn prefix(length: usize, compression: Compression) -> Bytes {
    let mut prefix = BytesMut::with_capacity(PREFIX);
    prefix.put_u8((compression == Compression::Gzip).into());
    prefix.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    prefix.freeze()
}

/// What an answer means (OTLP/gRPC, "Failures").
pub(super) fn judge(reply: &Reply, peer: &str) -> Attempt {
    // A status without a message stands among the headers.
    let told = [&reply.headers, &reply.trailers]
        .into_iter()
        .find(|headers| headers.contains_key("grpc-status"));
    let Some(told) = told else {
        return without_status(reply, peer);
    };
    let code = told
        .get("grpc-status")
        .and_then(|code| code.to_str().ok()?.parse().ok())
        .filter(|&code| code < NAMES.len())
        .unwrap_or(UNKNOWN);
    if code == OK {
        let message = match &reply.body {
            ReplyBody::Whole(body) => message(body),
            ReplyBody::TooLarge | ReplyBody::Cut(_) => None,
        };
        let (rejected, message) = partial_success(message.unwrap_or_default());
        return Attempt::Settled(Outcome::Accepted { rejected, message });
    }
    let details = told
        .get("grpc-status-details-bin")
        .and_then(|details| BASE64.decode(details.as_bytes()).ok())
        .and_then(|details| Status::decode(&*details).ok());
    let asked = details.as_ref().and_then(Status::retry_delay);
    let said = told
        .get("grpc-message")
        .map_or(&b""[..], |said| said.as_bytes());
    let said: Vec<u8> = percent_encoding::percent_decode(said).collect();
    let said = match details {
        Some(details) if said.is_empty() => printable(&details.message),
        _ => printable(&said),
    };
    let separator = if said.is_empty() { "" } else { ": " };
    let cause = format!("{peer} answered {}{separator}{said}", NAMES[code]);
    match code {
        CANCELLED | DEADLINE_EXCEEDED | ABORTED | OUT_OF_RANGE | UNAVAILABLE | DATA_LOSS => {
            Attempt::Again { cause, asked }
        }
        RESOURCE_EXHAUSTED if asked.is_some() => Attempt::Again { cause, asked },
        _ => Attempt::Settled(Outcome::Refused { cause }),
    }
}

/// Whoever answered is not a gRPC server, or was interrupted (gRPC, "HTTP to gRPC Status Code Mapping").
fn without_status(reply: &Reply, peer: &str) -> Attempt {
    let status = reply.status;
    let busy = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    match &reply.body {
        _ if busy.contains(&status) => Attempt::Again {
            cause: format!("{peer} answered {status}, without a gRPC status"),
            asked: super::http::retry_after(&reply.headers),
        },
        ReplyBody::Cut(why) if status == StatusCode::OK => Attempt::Again {
            cause: format!("the answer of {peer} was cut off: {why}"),
            asked: None,
        },
        ReplyBody::TooLarge if status == StatusCode::OK => Attempt::Settled(Outcome::Refused {
            cause: format!("the answer of {peer} is larger than 4 MiB"),
        }),
        _ => Attempt::Settled(Outcome::Refused {
            cause: format!("{peer} answered {status}, without a gRPC status"),
        }),
    }
}

/// The first message of a body, unless it is compressed, which was not offered, or not what it should be.
fn message(body: &Bytes) -> Option<ExportResponse> {
    let mut body = body.clone();
    let flag = body.try_get_u8().ok()?;
    let length = usize::try_from(body.try_get_u32().ok()?).ok()?;
    let message = body.get(..length).filter(|_| flag == 0)?;
    ExportResponse::decode(message).ok()
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    /// Only headers, as for a failure; each with its value.
    fn judged(status: u16, headers: &[(&str, &[u8])], body: ReplyBody) -> Attempt {
        let mut head = Response::builder().status(status);
        for (name, value) in headers {
            head = head.header(*name, *value);
        }
        let (head, ()) = head.body(()).unwrap().into_parts();
        let reply = Reply {
            status: head.status,
            headers: head.headers,
            body,
            trailers: HeaderMap::new(),
        };
        judge(&reply, "peer")
    }

    fn whole(body: &'static [u8]) -> ReplyBody {
        ReplyBody::Whole(Bytes::from_static(body))
    }

    fn again(attempt: Attempt) -> (String, Option<Duration>) {
        match attempt {
            Attempt::Again { cause, asked } => (cause, asked),
            Attempt::Settled(outcome) => panic!("{outcome:?}"),
        }
    }

    fn refused(attempt: Attempt) -> String {
        match attempt {
            Attempt::Settled(Outcome::Refused { cause }) => cause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn codes_are_repeated_as_the_table_of_otlp_says() {
        let repeated = [1, 4, 10, 11, 14, 15];
        for (code, name) in NAMES.iter().enumerate().skip(1) {
            let status = code.to_string();
            let attempt = judged(200, &[("grpc-status", status.as_bytes())], whole(b""));
            let cause = if repeated.contains(&code) {
                let (cause, asked) = again(attempt);
                assert_eq!(asked, None);
                cause
            } else {
                refused(attempt)
            };
            assert_eq!(cause, format!("peer answered {name}"));
        }
        for unknown in ["17", "-1", "", "0x0", "99999999999999999999"] {
            let attempt = judged(200, &[("grpc-status", unknown.as_bytes())], whole(b""));
            assert_eq!(refused(attempt), "peer answered UNKNOWN");
        }
    }

    #[test]
    fn exhausted_resources_come_back_if_the_collector_says_when() {
        // google.rpc.Status with a RetryInfo of 2.5 s, one without a delay, and one that is negative.
        let info = |delay: &[u8]| {
            let url = b"type.googleapis.com/google.rpc.RetryInfo";
            let mut any = vec![0x0a, u8::try_from(url.len()).unwrap()];
            any.extend(url);
            any.extend([0x12, u8::try_from(delay.len()).unwrap()]);
            any.extend(delay);
            let mut status = vec![0x08, 8, 0x1a, u8::try_from(any.len()).unwrap()];
            status.extend(any);
            status
        };
        let negative = [
            0x0a, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
        ];
        let cases = [
            (
                info(&[0x0a, 8, 8, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 1]),
                2500,
            ),
            (info(&[]), 0),
            (info(&negative), 0),
        ];
        for (status, millis) in cases {
            let padded = base64::engine::general_purpose::STANDARD.encode(&status);
            let bare = padded.trim_end_matches('=');
            for details in [&padded[..], bare] {
                let headers = [
                    ("grpc-status", &b"8"[..]),
                    ("grpc-status-details-bin", details.as_bytes()),
                ];
                let (cause, asked) = again(judged(200, &headers, whole(b"")));
                assert_eq!(cause, "peer answered RESOURCE_EXHAUSTED");
                assert_eq!(asked, Some(Duration::from_millis(millis)));
            }
        }
    }

    #[test]
    fn details_that_are_nonsense_are_no_details() {
        for details in [&b"!"[..], b"AA", b"CggK", b"\xff", b""] {
            let headers = [
                ("grpc-status", &b"8"[..]),
                ("grpc-message", b"full%0a%e2%82%ac%zz%ff"),
                ("grpc-status-details-bin", details),
            ];
            let cause = refused(judged(200, &headers, whole(b"")));
            assert_eq!(
                cause,
                "peer answered RESOURCE_EXHAUSTED: full\\n€%zz\u{fffd}"
            );
        }
    }

    #[test]
    fn whoever_sends_no_status_is_judged_by_http() {
        for (status, shown) in [
            (429, "429 Too Many Requests"),
            (502, "502 Bad Gateway"),
            (503, "503 Service Unavailable"),
            (504, "504 Gateway Timeout"),
        ] {
            let headers = [("retry-after", &b"7"[..])];
            let (cause, asked) = again(judged(status, &headers, whole(b"")));
            assert_eq!(
                cause,
                format!("peer answered {shown}, without a gRPC status")
            );
            assert_eq!(asked, Some(Duration::from_secs(7)));
        }
        for status in [200, 204, 301, 400, 401, 403, 404, 415, 500] {
            let cause = refused(judged(status, &[], whole(b"hello")));
            assert!(cause.ends_with(", without a gRPC status"), "{cause}");
        }
        let (cause, _) = again(judged(200, &[], ReplyBody::Cut("reset".to_owned())));
        assert_eq!(cause, "the answer of peer was cut off: reset");
        let cause = refused(judged(200, &[], ReplyBody::TooLarge));
        assert_eq!(cause, "the answer of peer is larger than 4 MiB");
    }

    #[test]
    fn a_success_in_any_shape_is_a_success() {
        let bodies = [
            &b""[..],
            b"\0\0\0\0\0",
            b"\0\0\0\0\x02\x0a\0",
            b"\0\0",
            b"\0\0\0\0\xff",
            // Compressed, and so not what it seems to be.
            b"\x01\0\0\0\x04\x0a\x02\x08\x09",
            b"\0\0\0\0\x03\x0a\x7fx",
        ];
        for body in bodies {
            let attempt = judged(200, &[("grpc-status", b"0")], whole(body));
            let Attempt::Settled(Outcome::Accepted { rejected, message }) = attempt else {
                panic!("{attempt:?}");
            };
            assert_eq!((rejected, &*message), (0, ""), "{body:?}");
        }
    }

    #[test]
    fn deadlines_have_at_most_eight_digits() {
        let cases = [
            (Duration::from_nanos(1), "1n"),
            (Duration::from_millis(99), "99000000n"),
            (Duration::from_secs(10), "10000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(365 * 86400), "31536000S"),
        ];
        for (timeout, shown) in cases {
            assert_eq!(deadline(timeout).unwrap(), shown);
        }
        assert_eq!(deadline(Duration::MAX), None);
    }
}
