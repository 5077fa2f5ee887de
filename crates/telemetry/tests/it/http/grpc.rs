//! Servers and clients of tonic, and what a call looks like that is not answered by one.

use std::net::SocketAddr;

use ::http::{HeaderMap, Request, Response, StatusCode};
use expect_test::expect;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_client::TraceServiceClient,
    trace_service_server::{TraceService, TraceServiceServer},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use telemetry::http::{ClientLayer, ServerLayer};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{
    Code, Status,
    codegen::{http::uri::PathAndQuery, tokio_stream::wrappers::TcpListenerStream},
    metadata::MetadataMap,
    transport::{Channel, Server, Uri, server::TcpConnectInfo},
};
use tower::Layer;

use super::{
    collected::Collected,
    serving::{Channel as BodyChannel, Sender, data, full, http2_client, page, serve},
};

/// Answers with the status that the metadata ask for.
struct Asked;

#[tonic::async_trait]
impl TraceService for Asked {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        match request.metadata().get("code") {
            Some(code) => Err(Status::new(Code::from_bytes(code.as_bytes()), "as asked")),
            None => Ok(tonic::Response::new(ExportTraceServiceResponse::default())),
        }
    }
}

fn server(collected: &Collected) -> ServerLayer {
    ServerLayer::grpc(collected.tracer()).propagator(TraceContextPropagator::new())
}

async fn serve_traces(collected: &Collected) -> SocketAddr {
    let layer =
        server(collected).peer_from(|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = Server::builder()
        .layer(layer)
        .add_service(TraceServiceServer::new(Asked))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    addr
}

async fn channel(collected: &Collected, addr: SocketAddr) -> telemetry::http::Client<Channel> {
    let origin: Uri = format!("http://{addr}").parse().unwrap();
    let channel = Channel::builder(origin.clone()).connect().await.unwrap();
    let layer = ClientLayer::grpc(collected.tracer()).propagator(TraceContextPropagator::new());
    layer.origin(&origin).layer(channel)
}

#[tokio::test]
async fn a_call_is_described_as_the_conventions_have_it() {
    let collected = Collected::new();
    let addr = serve_traces(&collected).await;
    let mut client = TraceServiceClient::new(channel(&collected, addr).await);
    client
        .export(ExportTraceServiceRequest::default())
        .await
        .unwrap();
    expect![[r#"
        client "opentelemetry.proto.collector.trace.v1.TraceService/Export"
          rpc.method=opentelemetry.proto.collector.trace.v1.TraceService/Export
          rpc.response.status_code=OK
          rpc.system.name=grpc
          server.address=127.0.0.1
          server.port=PORT
            server "opentelemetry.proto.collector.trace.v1.TraceService/Export"
              client.address=127.0.0.1
              network.peer.address=127.0.0.1
              network.peer.port=PORT
              rpc.method=opentelemetry.proto.collector.trace.v1.TraceService/Export
              rpc.response.status_code=OK
              rpc.system.name=grpc
              server.address=127.0.0.1
              server.port=PORT
    "#]]
    .assert_eq(&collected.trees(2).await);
}

#[tokio::test]
async fn every_code_but_ok_is_an_error_to_the_caller_and_six_are_to_the_server() {
    let collected = Collected::new();
    let addr = serve_traces(&collected).await;
    let mut client = TraceServiceClient::new(channel(&collected, addr).await);
    let mut told = String::new();
    for code in 0..=16 {
        let mut metadata = MetadataMap::new();
        metadata.insert("code", code.into());
        let request = tonic::Request::from_parts(
            metadata,
            tonic::Extensions::default(),
            ExportTraceServiceRequest::default(),
        );
        let _ = client.export(request).await;
        let mut spans = collected
            .wait((code as usize + 1) * 2)
            .await
            .split_off(code as usize * 2);
        spans.sort_by_key(|span| span.start_time);
        for span in spans {
            let get = |key| {
                span.attributes
                    .iter()
                    .find(|attribute| attribute.key.as_str() == key)
            };
            let code = get("rpc.response.status_code").unwrap().value.to_string();
            let error = get("error.type").map(|error| error.value.to_string());
            let is_error = span.status != opentelemetry::trace::Status::Unset;
            assert_eq!(error, is_error.then_some(code.clone()));
            let mark = if is_error { "error" } else { "fine" };
            told += &format!("{code} {:?} {mark}, ", span.span_kind);
        }
        told.truncate(told.len() - 2);
        told.push('\n');
    }
    expect![[r#"
        OK Client fine, OK Server fine
        CANCELLED Client error, CANCELLED Server fine
        UNKNOWN Client error, UNKNOWN Server error
        INVALID_ARGUMENT Client error, INVALID_ARGUMENT Server fine
        DEADLINE_EXCEEDED Client error, DEADLINE_EXCEEDED Server error
        NOT_FOUND Client error, NOT_FOUND Server fine
        ALREADY_EXISTS Client error, ALREADY_EXISTS Server fine
        PERMISSION_DENIED Client error, PERMISSION_DENIED Server fine
        RESOURCE_EXHAUSTED Client error, RESOURCE_EXHAUSTED Server fine
        FAILED_PRECONDITION Client error, FAILED_PRECONDITION Server fine
        ABORTED Client error, ABORTED Server fine
        OUT_OF_RANGE Client error, OUT_OF_RANGE Server fine
        UNIMPLEMENTED Client error, UNIMPLEMENTED Server error
        INTERNAL Client error, INTERNAL Server error
        UNAVAILABLE Client error, UNAVAILABLE Server error
        DATA_LOSS Client error, DATA_LOSS Server error
        UNAUTHENTICATED Client error, UNAUTHENTICATED Server fine
    "#]]
    .assert_eq(&told);
}

#[tokio::test]
async fn a_method_that_the_server_does_not_have_names_nothing() {
    let collected = Collected::new();
    let addr = serve_traces(&collected).await;
    let silent = Collected::new();
    let mut client = tonic::client::Grpc::new(channel(&silent, addr).await);
    client.ready().await.unwrap();
    let codec =
        tonic_prost::ProstCodec::<ExportTraceServiceRequest, ExportTraceServiceResponse>::default();
    let path = PathAndQuery::from_static("/made.up.Service/Method17");
    let request = tonic::Request::new(ExportTraceServiceRequest::default());
    assert_eq!(
        client.unary(request, path, codec).await.unwrap_err().code(),
        Code::Unimplemented
    );
    // The parent is the client's span, which went elsewhere.
    let tree = collected.trees(1).await;
    expect![[r#"
        server "grpc" ERROR
          client.address=127.0.0.1
          error.type=UNIMPLEMENTED
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          rpc.method=_OTHER
          rpc.method_original=made.up.Service/Method17
          rpc.response.status_code=UNIMPLEMENTED
          rpc.system.name=grpc
          server.address=127.0.0.1
          server.port=PORT
    "#]]
    .assert_eq(tree.split_once('\n').unwrap().1);
}

/// Sends a call by hand.
async fn call(
    addr: SocketAddr,
    path: &str,
) -> Result<Response<hyper::body::Incoming>, hyper_util::client::legacy::Error> {
    let request = Request::post(format!("http://{addr}{path}"))
        .header("content-type", "application/grpc")
        .body(Full::<Bytes>::default())
        .unwrap();
    http2_client().request(request).await
}

async fn check_answer(head: Response<()>, frames: Vec<Frame<Bytes>>, told: &str) {
    let collected = Collected::new();
    let frames = std::sync::Arc::new(std::sync::Mutex::new(Some(frames)));
    let head = std::sync::Arc::new(std::sync::Mutex::new(Some(head)));
    let layer = server(&collected).methods(["a.B/C"]);
    let addr = serve(layer, move |_| {
        let (frames, head) = (
            frames.lock().unwrap().take().unwrap(),
            head.lock().unwrap().take().unwrap(),
        );
        async move {
            let (sender, body) = BodyChannel::open();
            for frame in frames {
                sender.send(Ok(frame)).await.unwrap();
            }
            Ok(head.map(|()| body))
        }
    })
    .await;
    let _ = call(addr, "/a.B/C").await.unwrap().collect().await;
    let span = collected.wait(1).await.remove(0);
    let get = |key| {
        let attribute = span
            .attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == key);
        attribute.map_or("-".into(), |attribute| attribute.value.to_string())
    };
    let status = match span.status {
        opentelemetry::trace::Status::Unset => "fine",
        _ => "ERROR",
    };
    let (code, error, method) = (
        get("rpc.response.status_code"),
        get("error.type"),
        get("rpc.method"),
    );
    assert_eq!(
        format!("{} {code} {error} {method} {status}", span.name),
        told
    );
}

fn head(status: u16, content_type: &str) -> Response<()> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(())
        .unwrap()
}

fn trailers(status: &'static str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    Frame::trailers(trailers)
}

#[tokio::test]
async fn a_call_that_is_not_answered_as_one_is_told_by_what_was_answered() {
    let data = || Frame::data(Bytes::from_static(b"\0\0\0\0\0"));
    let grpc = "application/grpc";
    check_answer(
        head(200, grpc),
        vec![data(), trailers("0")],
        "a.B/C OK - a.B/C fine",
    )
    .await;
    check_answer(
        head(200, grpc),
        vec![data(), trailers("13")],
        "a.B/C INTERNAL INTERNAL a.B/C ERROR",
    )
    .await;
    check_answer(
        head(200, grpc),
        vec![data(), trailers("5")],
        "a.B/C NOT_FOUND - a.B/C fine",
    )
    .await;
    // No trailers, or some that make no sense.
    check_answer(
        head(200, grpc),
        vec![data()],
        "a.B/C UNKNOWN UNKNOWN a.B/C ERROR",
    )
    .await;
    check_answer(
        head(200, grpc),
        vec![trailers("fine")],
        "a.B/C UNKNOWN UNKNOWN a.B/C ERROR",
    )
    .await;
    // Answers of what is in between.
    check_answer(
        head(503, "text/html"),
        vec![],
        "a.B/C UNAVAILABLE UNAVAILABLE a.B/C ERROR",
    )
    .await;
    check_answer(
        head(404, "text/html"),
        vec![],
        "a.B/C UNIMPLEMENTED UNIMPLEMENTED a.B/C ERROR",
    )
    .await;
    check_answer(
        head(200, "text/html"),
        vec![data()],
        "a.B/C UNKNOWN UNKNOWN a.B/C ERROR",
    )
    .await;
}

#[tokio::test]
async fn a_caller_that_cancels_a_stream_is_told() {
    let collected = Collected::new();
    let (bodies, mut senders) = mpsc::unbounded_channel::<Sender>();
    let layer = server(&collected).methods(["a.B/Watch"]);
    let addr = serve(layer, move |_| {
        let (sender, body) = BodyChannel::open();
        bodies.send(sender).unwrap();
        async { Ok(head(200, "application/grpc").map(|()| body)) }
    })
    .await;
    let asked = tokio::spawn(async move {
        let mut response = call(addr, "/a.B/Watch").await.unwrap();
        response.frame().await.unwrap().unwrap();
    });
    let sender = senders.recv().await.unwrap();
    sender.send(data("one")).await.unwrap();
    asked.await.unwrap();
    sender.closed().await;
    let tree = collected.trees(1).await;
    assert!(tree.starts_with("server \"a.B/Watch\"\n"), "{tree}");
    assert!(
        tree.contains("rpc.response.status_code=CANCELLED"),
        "{tree}"
    );
}

#[tokio::test]
async fn a_method_has_a_name_once_a_call_of_it_went_well() {
    let collected = Collected::new();
    let codes = std::sync::Arc::new(std::sync::Mutex::new(vec!["16", "0", "14", "16"]));
    let addr = serve(server(&collected), move |_| {
        let code = codes.lock().unwrap().pop().unwrap();
        let head = head(200, "application/grpc").map(|()| full(""));
        let (mut head, body) = head.into_parts();
        head.headers.insert("grpc-status", code.parse().unwrap());
        async { Ok(Response::from_parts(head, body)) }
    })
    .await;
    let mut told = Vec::new();
    for (index, path) in ["/a.B/C", "/a.B/C", "/a.B/C", "/a.B/C"].iter().enumerate() {
        call(addr, path).await.unwrap().collect().await.unwrap();
        let span = collected.wait(index + 1).await.remove(index);
        let get = |key| {
            span.attributes
                .iter()
                .find(|attribute| attribute.key.as_str() == key)
        };
        let method = get("rpc.method").unwrap().value.to_string();
        let original = get("rpc.method_original").map(|method| method.value.to_string());
        told.push(format!("{} {method} {original:?}", span.name));
    }
    expect![[r#"
        grpc _OTHER Some("a.B/C")
        grpc _OTHER Some("a.B/C")
        a.B/C a.B/C None
        a.B/C a.B/C None"#]]
    .assert_eq(&told.join("\n"));
}

#[tokio::test]
async fn what_refuses_calls_before_their_methods_teaches_no_names() {
    let collected = Collected::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let refusing = |_: tonic::Request<()>| Err(Status::invalid_argument("no tenant"));
    let serving = Server::builder()
        .layer(server(&collected))
        .add_service(TraceServiceServer::with_interceptor(Asked, refusing))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/MadeUp";
    call(addr, path).await.unwrap().collect().await.unwrap();
    let tree = collected.trees(1).await;
    assert!(
        tree.contains("rpc.response.status_code=INVALID_ARGUMENT"),
        "{tree}"
    );
    assert!(tree.contains("rpc.method=_OTHER"), "{tree}");

    let collected = Collected::new();
    let addr = serve(server(&collected), async |_| {
        Ok(head(400, "text/html").map(|()| full("")))
    })
    .await;
    call(addr, "/made.up/Method").await.unwrap();
    let tree = collected.trees(1).await;
    assert!(tree.contains("rpc.response.status_code=INTERNAL"), "{tree}");
    assert!(tree.contains("rpc.method=_OTHER"), "{tree}");
}

#[tokio::test]
async fn where_methods_are_named_no_others_are_learned() {
    let collected = Collected::new();
    let layer = server(&collected).methods(["a.B/C"]);
    let addr = serve(layer, async |_| {
        let mut response = head(200, "application/grpc").map(|()| full(""));
        let status = response.headers_mut();
        status.insert("grpc-status", "0".parse().unwrap());
        Ok(response)
    })
    .await;
    for path in ["/a.B/C", "/made.up/Method"] {
        call(addr, path).await.unwrap().collect().await.unwrap();
    }
    let spans = collected.wait(2).await;
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a.B/C", "grpc"]);
}

#[tokio::test]
async fn calls_of_grpc_web_are_requests_of_http() {
    let collected = Collected::new();
    let layer = server(&collected).methods(["a.B/C"]);
    let addr = serve(layer, async |_| Ok(page("hello"))).await;
    let types = [
        ("application/grpc", "a.B/C"),
        ("application/grpc+proto", "a.B/C"),
        ("application/grpc;charset=utf-8", "a.B/C"),
        ("application/grpc ; charset=utf-8", "a.B/C"),
        ("application/grpc-web", "POST"),
        ("application/grpc-web+proto", "POST"),
        ("application/grpc-web-text", "POST"),
    ];
    for (index, (content_type, name)) in types.into_iter().enumerate() {
        let request = Request::post(format!("http://{addr}/a.B/C"))
            .header("content-type", content_type)
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = http2_client().request(request).await.unwrap();
        response.collect().await.unwrap();
        let span = collected.wait(index + 1).await.remove(index);
        assert_eq!(span.name, name, "{content_type}");
    }
}

#[tokio::test]
async fn what_is_no_call_is_a_request_beside_calls() {
    let collected = Collected::new();
    let addr = serve(server(&collected), async |_| Ok(page("hello"))).await;
    let response = http2_client()
        .get(format!("http://{addr}/a.B/C").parse().unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.collect().await.unwrap();
    assert_eq!(collected.wait(1).await[0].name, "GET");
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() {
    let collected = Collected::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let origin: Uri = format!("http://{addr}").parse().unwrap();
    let layer = ClientLayer::grpc(collected.tracer()).propagator(TraceContextPropagator::new());
    let channel = layer
        .origin(&origin)
        .layer(Channel::builder(origin).connect_lazy());
    let mut client = TraceServiceClient::new(channel);
    client
        .export(ExportTraceServiceRequest::default())
        .await
        .unwrap_err();
    expect![[r#"
        client "opentelemetry.proto.collector.trace.v1.TraceService/Export" ERROR
          error.type=connection_refused
          rpc.method=opentelemetry.proto.collector.trace.v1.TraceService/Export
          rpc.response.status_code=UNAVAILABLE
          rpc.system.name=grpc
          server.address=127.0.0.1
          server.port=PORT
    "#]]
    .assert_eq(&collected.trees(1).await);
}
