//! What passes the edge, in both directions, and what does not.

use std::time::Duration;

use edge::Limits;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time;

use crate::support::{
    HOST, Setup, TestEdge, Upstream, header, in_time, listener, read_until, status,
};

#[tokio::test]
async fn a_request_body_is_forwarded_while_it_is_still_coming() {
    let (listener, addr) = listener().await;
    let edge = TestEdge::start(addr).await;
    let mut client = edge.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(b"5\r\nfirst\r\n").await.unwrap();

    let (mut upstream, _) = in_time(listener.accept()).await.unwrap();
    read_until(&mut upstream, "5\r\nfirst\r\n").await;
    client.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    read_until(&mut upstream, "6\r\nsecond\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_response_body_is_forwarded_while_it_is_still_coming() {
    let (listener, addr) = listener().await;
    let edge = TestEdge::start(addr).await;
    let mut client = edge.connect().await;
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();

    let (mut upstream, _) = in_time(listener.accept()).await.unwrap();
    read_until(&mut upstream, "\r\n\r\n").await;
    let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    upstream.write_all(begin).await.unwrap();
    read_until(&mut client, "5\r\nfirst\r\n").await;
    upstream
        .write_all(b"6\r\nsecond\r\n0\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, "6\r\nsecond\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_reaches_the_client() {
    let (listener, addr) = listener().await;
    let edge = TestEdge::start(addr).await;
    let mut client = edge.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 9\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut upstream, _) = in_time(listener.accept()).await.unwrap();
    read_until(&mut upstream, "\r\n\r\n").await;
    let early = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
    upstream.write_all(early).await.unwrap();
    assert_eq!(status(&read_until(&mut client, "\r\n\r\nno").await), 403);
}

#[tokio::test]
async fn headers_for_the_next_hop_end_at_the_edge() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
                  proxy-authenticate: x\r\nx-end: 2\r\ncontent-length: 0\r\n\r\n";
    let mut upstream = Upstream::answering(answer).await;
    let edge = TestEdge::start(upstream.addr).await;
    let headers = "connection: keep-alive, X-User, uber-trace-id\r\nx-user: root\r\nconnection: upgrade\r\n\
                   upgrade: h2c\r\nhttp2-settings: x\r\nte: trailers\r\nkeep-alive: 1\r\nproxy-connection: x\r\n\
                   proxy-authorization: x\r\ntrailer: x\r\nx-end: 1\r\n";
    let response = edge.get("/", headers).await;
    assert_eq!(header(&response, "x-end"), Some("2"));
    for gone in ["x-hop", "keep-alive", "proxy-authenticate"] {
        assert_eq!(header(&response, gone), None, "{gone}");
    }
    let request = upstream.request().await;
    assert_eq!(header(&request, "x-end"), Some("1"));
    assert!(header(&request, "uber-trace-id").is_some());
    for gone in [
        "connection",
        "x-user",
        "upgrade",
        "te",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "trailer",
        "transfer-encoding",
    ] {
        assert_eq!(header(&request, gone), None, "{gone}");
    }
}

#[tokio::test]
async fn the_upstream_is_told_who_asked_by_the_edge_alone() {
    let mut upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    let forged = "x-forwarded-for: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nx-forwarded_proto: 6.6.6.6\r\n\
                  x-forwarded-prefix: /6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\n\
                  forwarded: for=6.6.6.6\r\n";
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}:8000\r\n{forged}\r\n");
    edge.ask(request).await;
    let request = upstream.request().await;
    assert!(!request.contains("6.6.6.6"), "{request}");
    assert_eq!(header(&request, "host"), Some("a.localhost:8000"));
    assert_eq!(header(&request, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(
        header(&request, "x-forwarded-host"),
        Some("a.localhost:8000")
    );
    assert_eq!(header(&request, "x-forwarded-port"), Some("8000"));
    assert_eq!(header(&request, "x-forwarded-proto"), Some("http"));
    assert_eq!(header(&request, "x-real-ip"), Some("127.0.0.1"));
    assert!(header(&request, "x-forwarded-server").is_some());

    edge.get("/", "").await;
    let request = upstream.request().await;
    assert_eq!(header(&request, "x-forwarded-port"), Some("80"));
}

#[tokio::test]
async fn http2_with_prior_knowledge_becomes_http_1_1() {
    let mut upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    let mut client = edge.http2().await;
    let request = Request::post(format!("http://{HOST}/x?y"))
        .body(Full::new(Bytes::from_static(b"body")))
        .unwrap();
    let response = in_time(client.send_request(request)).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.status(), 200);
    let body = in_time(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "hello\n");
    let request = upstream.request().await;
    assert!(request.starts_with("POST /x?y HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "host"), Some(HOST));
    assert!(request.ends_with("\r\n\r\nbody"), "{request}");
}

#[tokio::test]
async fn a_body_keeps_its_framing_whatever_the_method() {
    let mut upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    edge.get("/", "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        .await;
    let request = upstream.request().await;
    assert_eq!(header(&request, "transfer-encoding"), Some("chunked"));
    assert!(
        request.ends_with("\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        "{request}"
    );

    edge.ask(format!(
        "DELETE / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\n\r\nx"
    ))
    .await;
    let request = upstream.request().await;
    assert_eq!(header(&request, "content-length"), Some("1"));
    assert!(request.ends_with("\r\n\r\nx"), "{request}");
}

#[tokio::test]
async fn the_answer_to_head_keeps_its_length_and_has_no_body() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n";
    let upstream = Upstream::answering(answer).await;
    let mut edge = TestEdge::start(upstream.addr).await;
    let response = edge
        .ask(format!("HEAD / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"))
        .await;
    assert_eq!(header(&response, "content-length"), Some("6"));
    assert!(response.ends_with("\r\n\r\n"));
    let line = edge.line().await;
    assert_eq!(line["status"], 200);
    assert_eq!(line.get("error"), None);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (listener, addr) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                loop {
                    let request = read_until(&mut stream, "\r\n\r\n").await;
                    let Some(path) = request.split(' ').nth(1) else {
                        break;
                    };
                    let length = path.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{path}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let edge = TestEdge::start(addr).await;
    let requests: String = (0..1000)
        .map(|number| format!("GET /{number}. HTTP/1.1\r\nhost: {HOST}\r\n\r\n"))
        .collect();
    let mut client = edge.connect().await;
    let (mut reader, mut writer) = client.split();
    let write = async {
        writer.write_all(requests.as_bytes()).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut answers = Vec::new();
    let read = reader.read_to_end(&mut answers);
    let (_, read) = in_time(async { tokio::join!(write, read) }).await;
    read.unwrap();
    let answers = String::from_utf8(answers).unwrap();
    let order: Vec<&str> = answers
        .lines()
        .filter_map(|line| line.strip_prefix('/')?.split('.').next())
        .collect();
    let expected: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_slow_upload_does_not_use_up_the_upstreams_time() {
    let (listener, addr) = listener().await;
    let upstream_head = Duration::from_millis(400);
    let setup = Setup {
        limits: Limits {
            upstream_head,
            ..Limits::default()
        },
        ..Setup::default()
    };
    let edge = TestEdge::start_with(addr, setup).await;
    let mut client = edge.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nx");
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut upstream, _) = in_time(listener.accept()).await.unwrap();
    read_until(&mut upstream, "\r\n\r\nx").await;
    // Real time, since the sockets are real: longer than the upstream would have.
    time::sleep(upstream_head + Duration::from_millis(50)).await;
    client.write_all(b"y").await.unwrap();
    read_until(&mut upstream, "y").await;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    upstream.write_all(answer).await.unwrap();
    assert_eq!(status(&read_until(&mut client, "\r\n\r\nok").await), 200);
}
