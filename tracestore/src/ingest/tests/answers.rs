//! What senders are told when a request is good and yet not kept.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, Request, Response, StatusCode},
};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use http_body_util::BodyExt;
use hyper::{body::Frame, service::Service};
use hyper_util::service::TowerToHyperService;
use prost::Message;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::super::{
    arrival::Arrival,
    decode_again, decode_logs_again, grpc,
    http::Refusal,
    jaeger, otlp_http,
    otlp_http::Encoding,
    receiver::{CALL_TIMEOUT, MAX_CALLS, NotKept, Receiver, off_the_runtime},
    rpc_status::{RETRY_INFO, RetryInfo, RpcStatus},
};
use crate::{
    metrics::Metrics,
    store::{Fsync, Logs, Options, Store, Unavailable},
};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// A message of no bytes, in the framing of gRPC.
const EMPTY: &[u8] = &[0; 5];

/// A body that never arrives.
struct Silent;

impl HttpBody for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

pub(super) fn receiver() -> Receiver {
    let options = Options {
        data: None,
        max_memory: 1 << 20,
        max_disk: 1,
        max_age: Duration::from_secs(3600),
        fsync: Fsync::default(),
    };
    let store = Arc::new(Store::open(options.clone(), decode_again).unwrap());
    let logs = Arc::new(Logs::open(options, store.timings(), decode_logs_again).unwrap());
    let metrics = Metrics::new(Arc::clone(&store), Arc::clone(&logs), None);
    Receiver::new(store, logs, Arc::new(metrics), 16 << 20)
}

pub(super) async fn post(
    router: Router,
    path: &str,
    kind: &str,
    body: impl Into<Body>,
) -> Response<Body> {
    let request = Request::post(path)
        .header("content-type", kind)
        .body(body.into())
        .unwrap();
    let service = TowerToHyperService::new(router);
    service.call(request).await.unwrap()
}

async fn otlp(receiver: &Receiver, kind: &str) -> Response<Body> {
    let router = otlp_http::router(receiver.clone());
    post(router, "/v1/traces", kind, "").await
}

async fn thrift(receiver: &Receiver) -> Response<Body> {
    let (router, kind) = (jaeger::router(receiver.clone()), "application/x-thrift");
    // A process without a name, and no spans.
    let batch = b"\x0c\0\x01\x0b\0\x01\0\0\0\0\0\x0f\0\x02\x0c\0\0\0\0\0";
    post(router, "/api/traces", kind, batch.as_slice()).await
}

/// The head of the answer: a failure has no trailers.
async fn call(receiver: &Receiver, body: impl Into<Body>) -> HeaderMap {
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let router = grpc::router(receiver.clone());
    let response = post(router, path, "application/grpc", body).await;
    response.headers().clone()
}

pub(super) async fn body(response: Response<Body>) -> Vec<u8> {
    let body = response.into_body().collect().await.unwrap();
    body.to_bytes().into()
}

async fn assert_sent_again_in_protobuf(response: Response<Body>, why: &str) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["content-type"], PROTOBUF);
    let status = RpcStatus::decode(body(response).await.as_slice()).unwrap();
    assert_eq!(status, RpcStatus::new(Code::Unavailable, why));
}

async fn assert_sent_again_in_json(response: Response<Body>, why: &str) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["content-type"], JSON);
    let status: Value = serde_json::from_slice(&body(response).await).unwrap();
    assert_eq!(status, json!({"code": 14, "message": why}));
}

async fn assert_sent_again_as_text(response: Response<Body>, why: &str) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(body(response).await, why.as_bytes());
}

fn assert_sent_again_by_grpc(headers: &HeaderMap, why: &str) {
    assert_eq!(headers["grpc-status"], "14");
    let details = &headers["grpc-status-details-bin"];
    let details = BASE64_STANDARD_NO_PAD.decode(details).unwrap();
    let status = RpcStatus::decode(details.as_slice()).unwrap();
    assert_eq!(status.code, Code::Unavailable as i32);
    assert_eq!(status.message, why);
    let [detail] = &status.details[..] else {
        panic!("{status:?}");
    };
    assert_eq!(detail.type_url, RETRY_INFO);
    let retry = RetryInfo::decode(detail.value.as_slice()).unwrap();
    let delay = retry.retry_delay.unwrap();
    assert_eq!((delay.seconds, delay.nanos), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn while_eight_requests_are_read_others_wait_ten_seconds_and_may_be_sent_again() {
    let receiver = receiver();
    let all = Arc::clone(&receiver.calls).acquire_many_owned(MAX_CALLS);
    let all = all.await.unwrap();
    let why = "too many requests at once";
    let before = Instant::now();
    let (protobuf, json, text, grpc) = tokio::join!(
        otlp(&receiver, PROTOBUF),
        otlp(&receiver, JSON),
        thrift(&receiver),
        call(&receiver, EMPTY),
    );
    // The clock is paused: nothing but waiting takes time.
    assert_eq!(before.elapsed().as_secs(), CALL_TIMEOUT.as_secs());
    assert_sent_again_in_protobuf(protobuf, why).await;
    assert_sent_again_in_json(json, why).await;
    assert_sent_again_as_text(text, why).await;
    assert_sent_again_by_grpc(&grpc, why);

    drop(all);
    assert_eq!(otlp(&receiver, PROTOBUF).await.status(), StatusCode::OK);
    assert_eq!(thrift(&receiver).await.status(), StatusCode::ACCEPTED);
    assert!(!call(&receiver, EMPTY).await.contains_key("grpc-status"));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_arrive_is_given_up_and_gives_its_turn_back() {
    let receiver = receiver();
    let before = Instant::now();
    let headers = call(&receiver, Body::new(Silent)).await;
    assert_eq!(before.elapsed().as_secs(), CALL_TIMEOUT.as_secs());
    let status = Status::from_header_map(&headers).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(receiver.calls.available_permits(), MAX_CALLS as usize);
}

#[tokio::test]
async fn what_an_unavailable_store_refuses_may_be_sent_again() {
    let unavailable = NotKept::Unavailable(Unavailable {
        reason: "writing the log: no space left".to_owned(),
    });
    let why = "the store is unavailable: writing the log: no space left";
    let refusal = || Refusal::from(unavailable.clone());
    let protobuf = Encoding::Protobuf.failure(refusal());
    assert_sent_again_in_protobuf(protobuf, why).await;
    assert_sent_again_in_json(Encoding::Json.failure(refusal()), why).await;
    assert_sent_again_as_text(jaeger::failure(refusal()), why).await;
    let by_grpc = grpc::status(&unavailable).into_http::<Body>();
    assert_sent_again_by_grpc(by_grpc.headers(), why);
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_gives_its_turn_back() {
    let receiver = receiver();
    let arrival = Arrival::new(&receiver, Body::empty()).await.unwrap();
    let turn = arrival.turn().await.unwrap();
    let panicked = off_the_runtime(turn, || panic!("on purpose")).await;
    let panicked: NotKept = panicked.map(|(): ()| ()).unwrap_err();
    assert_eq!(panicked, NotKept::Panicked);
    receiver.idle().await;
    assert_eq!(receiver.calls.available_permits(), MAX_CALLS as usize);

    let by_http = Encoding::Json.failure(panicked.clone().into());
    assert_eq!(by_http.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!by_http.headers().contains_key("retry-after"));
    let status: Value = serde_json::from_slice(&body(by_http).await).unwrap();
    assert_eq!(status["code"], Code::Internal as i32);
    let by_thrift = jaeger::failure(panicked.clone().into());
    assert_eq!(by_thrift.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let by_grpc = grpc::status(&panicked);
    assert_eq!(by_grpc.code(), Code::Internal);
    assert!(by_grpc.details().is_empty());
}
