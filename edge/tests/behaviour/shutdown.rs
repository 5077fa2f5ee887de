//! What happens to requests when the edge is told to stop.

use edge::Limits;
use opentelemetry::trace::SpanKind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{
    HOST, SHORT, Setup, TestEdge, Upstream, attributes, header, in_time, listener, nobody,
    read_to_end, read_until, status,
};

#[tokio::test]
async fn a_request_in_flight_is_finished_while_nobody_new_gets_in() {
    let (listener, addr) = listener().await;
    let mut edge = TestEdge::start(addr).await;
    let mut idle = edge.connect().await;
    let mut client = edge.connect().await;
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut upstream, _) = in_time(listener.accept()).await.unwrap();
    read_until(&mut upstream, "\r\n\r\n").await;

    edge.stop();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(TcpStream::connect(edge.addr).await.is_err());

    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    upstream.write_all(answer).await.unwrap();
    let response = read_to_end(&mut client).await;
    assert_eq!(status(&response), 200);
    assert!(response.ends_with("\r\n\r\nok"));
    edge.stopped().await;
    edge.pair().await;
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_with_its_spans_kept() {
    let (listener, addr) = listener().await;
    let setup = Setup {
        limits: Limits {
            drain: SHORT,
            ..Limits::default()
        },
        ..Setup::default()
    };
    let mut edge = TestEdge::start_with(addr, setup).await;
    let mut client = edge.connect().await;
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let _upstream = in_time(listener.accept()).await.unwrap();
    edge.stop();
    edge.stopped().await;
    assert_eq!(read_to_end(&mut client).await, "");
    assert_eq!(edge.line().await["error"], "aborted");
    for span in edge.spans() {
        assert_eq!(attributes(&span)["error.type"], "aborted");
    }
}

#[tokio::test]
async fn what_is_not_ready_any_more_answers_on_and_keeps_no_connection() {
    let mut upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    let ready = "GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let response = edge.ask(ready).await;
    assert_eq!(status(&response), 200, "{response}");

    let mut kept = edge.connect().await;
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    kept.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut kept, "hello\n").await;
    assert_eq!(header(&head, "connection"), None, "{head}");

    edge.readiness.end();
    let response = edge.ask_and_stay(ready).await;
    assert_eq!(status(&response), 503, "{response}");
    let alive = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(status(&edge.ask_and_stay(alive).await), 200);
    // To its end: the edge closes both the old connection and a new one.
    kept.write_all(request.as_bytes()).await.unwrap();
    for response in [
        read_to_end(&mut kept).await,
        edge.ask_and_stay(&request).await,
    ] {
        assert_eq!(status(&response), 200, "{response}");
        assert_eq!(header(&response, "connection"), Some("close"), "{response}");
        assert!(response.ends_with("hello\n"), "{response}");
    }
    for _ in 0..3 {
        upstream.request().await;
    }
    assert!(upstream.was_not_asked());
}

#[tokio::test]
async fn a_route_of_its_own_answers_for_ready() {
    let mut upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    edge.readiness.end();
    assert_eq!(status(&edge.get("/ready", "").await), 200);
    assert!(upstream.request().await.starts_with("GET /ready "));
}

#[tokio::test]
async fn where_the_first_address_accepts_nothing_the_next_one_is_asked() {
    let upstream = Upstream::hello().await;
    let upstreams = [nobody().await, nobody().await, upstream.addr];
    let mut edge = TestEdge::in_front_of(&upstreams, Setup::default()).await;
    for method in ["GET", "POST"] {
        let request = format!("{method} / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(status(&edge.ask(request).await), 200);
        let (client, _) = edge.pair().await;
        assert_eq!(client.span_kind, SpanKind::Client);
        let attributes = attributes(&client);
        let port = |addr: std::net::SocketAddr| addr.port().to_string();
        assert_eq!(attributes["server.port"], port(upstreams[0]));
        assert_eq!(attributes["network.peer.port"], port(upstream.addr));
        assert_eq!(attributes["network.peer.address"], "127.0.0.1");
    }
}

#[tokio::test]
async fn where_no_address_accepts_anything_the_answer_is_502() {
    let upstreams = [nobody().await, nobody().await];
    let mut edge = TestEdge::in_front_of(&upstreams, Setup::default()).await;
    assert_eq!(status(&edge.get("/", "").await), 502);
    assert_eq!(edge.line().await["error"], "connection_refused");
}

#[tokio::test]
async fn a_request_whose_connection_ends_unanswered_is_sent_once_more_if_that_does_no_harm() {
    for (method, body, sent) in [
        ("GET", "", 2),
        ("HEAD", "", 2),
        ("GET", "body", 1),
        ("POST", "", 1),
        ("PUT", "", 1),
    ] {
        let mut upstream = Upstream::answering("").await;
        let edge = TestEdge::start(upstream.addr).await;
        let length = body.len();
        let request = format!(
            "{method} /a?b HTTP/1.1\r\nhost: {HOST}\r\nx: y\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        assert_eq!(status(&edge.ask(request).await), 502);
        let first = upstream.request().await;
        for _ in 1..sent {
            assert_eq!(upstream.request().await, first);
        }
        assert!(upstream.was_not_asked(), "{method} {body}");
    }
}

#[tokio::test]
async fn every_address_is_asked_again_before_a_request_fails() {
    let (first, mut good) = (Upstream::answering("").await, Upstream::hello().await);
    let upstreams = [first.addr, nobody().await, first.addr, good.addr];
    let mut edge = TestEdge::in_front_of(&upstreams, Setup::default()).await;
    let response = edge.get("/a?b", "x: y\r\n").await;
    assert_eq!(status(&response), 200, "{response}");
    let request = good.request().await;
    assert!(request.starts_with("GET /a?b HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "host"), Some(HOST), "{request}");
    assert_eq!(header(&request, "x"), Some("y"), "{request}");
    edge.pair().await;
}

#[tokio::test]
async fn an_answer_to_the_second_attempt_is_the_answer() {
    let (listener, addr) = listener().await;
    let mut edge = TestEdge::start(addr).await;
    let upstream = async {
        let (mut first, _) = listener.accept().await.unwrap();
        read_until(&mut first, "\r\n\r\n").await;
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        read_until(&mut second, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        second.write_all(answer).await.unwrap();
    };
    let (response, ()) = in_time(async { tokio::join!(edge.get("/", ""), upstream) }).await;
    assert_eq!(status(&response), 200, "{response}");
    edge.pair().await;
}
