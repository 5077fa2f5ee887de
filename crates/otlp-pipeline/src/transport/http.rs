//! OTLP/HTTP with binary protobuf: what a request carries, and what an answer means.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
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

const PROTOBUF: &str = "application/x-protobuf";

/// What a request carries beside the headers of every request.
pub(super) fn headers(headers: &mut HeaderMap, compression: Compression) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    if compression == Compression::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
}

/// What an answer means (OTLP/HTTP, "Response").
///
/// A success whose body is not the message that it should be is a success: the spans arrived.
pub(super) fn judge(reply: &Reply, peer: &str) -> Attempt {
    let status = reply.status;
    let body = match &reply.body {
        ReplyBody::Whole(body) => body.clone(),
        ReplyBody::Cut(why) if status.is_success() => {
            // Whether it rejected spans is not known. Twice is better than a loss that nobody knows of.
            let cause = format!("the answer of {peer} was cut off: {why}");
            return Attempt::Again { cause, asked: None };
        }
        ReplyBody::TooLarge | ReplyBody::Cut(_) => Bytes::new(),
    };
    let protobuf = is_protobuf(&reply.headers);
    if status.is_success() {
        let message = ExportResponse::decode(body).ok().filter(|_| protobuf);
        let (rejected, message) = partial_success(message.unwrap_or_default());
        return Attempt::Settled(Outcome::Accepted { rejected, message });
    }
    let details = Status::decode(body.clone()).ok().filter(|_| protobuf);
    let said = match &details {
        _ if status.is_redirection() => {
            let to = reply.headers.get(header::LOCATION);
            let to = to.map_or(String::new(), |to| printable(to.as_bytes()));
            format!("to {to}, which is not followed")
        }
        Some(details) => printable(&details.message),
        None if protobuf => String::new(),
        None => printable(&body),
    };
    let separator = if said.is_empty() { "" } else { ": " };
    let cause = format!("{peer} answered {status}{separator}{said}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let asked = retry_after(&reply.headers);
            let asked = asked.or_else(|| details.as_ref().and_then(Status::retry_delay));
            Attempt::Again { cause, asked }
        }
        _ => Attempt::Settled(Outcome::Refused { cause }),
    }
}

/// Without a type, too: what it may be is tried.
fn is_protobuf(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|found| {
        let found = found.as_bytes().split(|&byte| byte == b';').next();
        found.is_some_and(|found| found.trim_ascii().eq_ignore_ascii_case(PROTOBUF.as_bytes()))
    })
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3); a date in the past is zero.
///
/// A date is compared with the answer's own, since the clocks of two machines differ.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large for the type is a long time all the same.
        return Some(Duration::from_secs(asked.parse().unwrap_or(u64::MAX)));
    }
    let date = |name: HeaderName| {
        let text = headers.get(name)?.to_str().ok()?;
        httpdate::parse_http_date(text).ok()
    };
    let until = date(header::RETRY_AFTER)?;
    let now = date(header::DATE).unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn judged(status: u16, headers: &[(&str, &str)], body: ReplyBody) -> Attempt {
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

    #[test]
    fn statuses_are_repeated_as_the_table_of_otlp_says() {
        for status in 300..600 {
            let attempt = judged(status, &[], whole(b""));
            match attempt {
                Attempt::Again { cause, asked: None } => {
                    assert!([429, 502, 503, 504].contains(&status), "{cause}");
                }
                Attempt::Settled(Outcome::Refused { cause }) => {
                    assert!(![429, 502, 503, 504].contains(&status), "{cause}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_status_counts_where_its_words_were_cut_off() {
        let cut = || ReplyBody::Cut("reset".to_owned());
        let Attempt::Settled(Outcome::Refused { cause }) = judged(400, &[], cut()) else {
            panic!("it was refused");
        };
        assert_eq!(cause, "peer answered 400 Bad Request");
        let Attempt::Again { cause, .. } = judged(200, &[], cut()) else {
            panic!("it may have been taken in part");
        };
        assert_eq!(cause, "the answer of peer was cut off: reset");
    }

    #[test]
    fn the_collectors_words_are_told() {
        let protobuf = ("content-type", "Application/X-Protobuf; charset=x");
        let cases = [
            (
                &[protobuf][..],
                whole(b"\x08\x03\x12\x09bad\nspans"),
                ": bad\\nspans",
            ),
            (&[protobuf], whole(b"\x12\x7fbad"), ""),
            (&[], whole(b"\x12\x03bad"), ": bad"),
            (&[("content-type", "text/plain")], whole(b" no \n"), ": no"),
            (
                &[("content-type", "application/json")],
                whole(b"{\"code\":3}"),
                ": {\"code\":3}",
            ),
        ];
        for (headers, body, words) in cases {
            match judged(400, headers, body) {
                Attempt::Settled(Outcome::Refused { cause }) => {
                    assert_eq!(cause, format!("peer answered 400 Bad Request{words}"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let seconds = |headers: &[(&str, &str)]| match judged(503, headers, whole(b"")) {
            Attempt::Again { asked, .. } => asked.map(|asked| asked.as_secs()),
            Attempt::Settled(outcome) => panic!("{outcome:?}"),
        };
        let date = ("date", "Sat, 21 Nov 2026 12:00:00 GMT");
        assert_eq!(seconds(&[]), None);
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 5 ", Some(5)),
            ("315360000", Some(315_360_000)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
            ("Sat, 21 Nov 2026 12:01:40 GMT", Some(100)),
            ("Saturday, 21-Nov-26 12:01:40 GMT", Some(100)),
            ("Sat, 21 Nov 2026 11:59:59 GMT", Some(0)),
        ] {
            assert_eq!(seconds(&[date, ("retry-after", text)]), expected, "{text}");
        }
        // Without a date of the answer by the clock of this machine.
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
        let asked = seconds(&[("retry-after", &soon)]).unwrap();
        assert!((3000..=3600).contains(&asked), "{asked}");
    }
}
