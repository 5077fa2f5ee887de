//! Whatever a collector answers, there is an outcome, and what is told of it fits on a line of a log.

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::{collection::vec, prelude::*};

use crate::transport::{
    Outcome, grpc, http as otlp_http,
    link::{Reply, ReplyBody},
    retry::Attempt,
};

/// Those that are looked at.
const NAMES: [&str; 8] = [
    "content-type",
    "date",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "location",
    "retry-after",
    "x-other",
];

/// Bytes that can be in a header, and now and then what should be.
fn value() -> impl Strategy<Value = HeaderValue> {
    let sensible = [
        "0",
        "8",
        "14",
        "99",
        "application/x-protobuf",
        "Sat, 21 Nov 2026 12:00:00 GMT",
        "%0a%ff%",
    ];
    let encoded = vec(any::<u8>(), 0..100).prop_map(|bytes| {
        base64::engine::general_purpose::STANDARD
            .encode(bytes)
            .into_bytes()
    });
    let sensible = proptest::sample::select(sensible.map(|text| text.as_bytes().to_vec()).to_vec());
    prop_oneof![vec(any::<u8>(), 0..50), encoded, sensible]
        .prop_filter_map("a header", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = proptest::sample::select(NAMES.to_vec()).prop_map(HeaderName::from_static);
    vec((name, value()), 0..6).prop_map(HeaderMap::from_iter)
}

fn body() -> impl Strategy<Value = ReplyBody> {
    let framed = (vec(any::<u8>(), 0..100), any::<u8>()).prop_map(|(message, length)| {
        let mut framed = vec![0, 0, 0, 0, length];
        framed.extend(message);
        framed
    });
    let whole = prop_oneof![vec(any::<u8>(), 0..100), framed];
    prop_oneof![
        8 => whole.prop_map(|bytes| ReplyBody::Whole(Bytes::from(bytes))),
        1 => Just(ReplyBody::TooLarge),
        1 => Just(ReplyBody::Cut("cut".to_owned())),
    ]
}

proptest! {
    #[test]
    fn every_answer_has_an_outcome(
        status in 100_u16..1000,
        headers in headers(),
        trailers in headers(),
        body in body(),
    ) {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body,
            trailers,
        };
        for attempt in [grpc::judge(&reply, "peer"), otlp_http::judge(&reply, "peer")] {
            let told = match attempt {
                Attempt::Settled(Outcome::Accepted { message, .. }) => message,
                Attempt::Settled(Outcome::Refused { cause } | Outcome::GaveUp { cause }) => cause,
                Attempt::Again { cause, .. } => cause,
            };
            prop_assert!(told.chars().count() < 1000, "{}", told);
            prop_assert!(!told.chars().any(char::is_control), "{}", told);
        }
    }
}
