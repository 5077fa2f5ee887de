//! Upstreams that fail, and what a client, a trace and the log see of it.

use edge::Limits;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use opentelemetry::trace::Status;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{
    HOST, SHORT, Setup, TestEdge, Upstream, attributes, header, in_time, listener, nobody,
    read_until, silent_upstream, status,
};

/// Sends a request, which must end as a page that names the service and in spans and a line that name the error.
async fn check_failed(edge: &mut TestEdge, expected: u16, what: &str, error: &str) {
    let response = edge.get("/", "").await;
    assert_eq!(status(&response), expected, "{response}");
    let text = format!("<p><strong>{HOST}</strong> {what}.</p>");
    assert!(response.contains(&text), "{response}");
    assert_eq!(
        header(&response, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(header(&response, "traceresponse").is_some());

    let line = edge.line().await;
    assert_eq!(line["status"], expected);
    assert_eq!(line["severity"], "ERROR");
    assert_eq!(line["error"], error);
    let [client, server] = edge.spans().try_into().unwrap();
    assert_eq!(attributes(&client)["error.type"], error);
    assert_eq!(attributes(&server).get("error.type"), None);
    for span in [client, server] {
        assert_eq!(span.status, Status::error(""));
        let code = &attributes(&span)["http.response.status_code"];
        assert_eq!(*code, expected.to_string());
    }
}

#[tokio::test]
async fn an_upstream_that_is_down_gives_502() {
    let mut edge = TestEdge::start(nobody().await).await;
    let what = "is down: it refused the connection";
    check_failed(&mut edge, 502, what, "connection_refused").await;
}

#[tokio::test]
async fn an_upstream_that_closes_without_an_answer_gives_502() {
    let upstream = Upstream::answering("").await;
    let mut edge = TestEdge::start(upstream.addr).await;
    let what = "closed the connection before it answered";
    check_failed(&mut edge, 502, what, "connection_reset").await;
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http_gives_502() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let upstream = Upstream::answering(garbage).await;
        let mut edge = TestEdge::start(upstream.addr).await;
        let what = "answered with something that is not HTTP";
        check_failed(&mut edge, 502, what, "upstream_malformed").await;
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_gives_504() {
    let setup = Setup {
        limits: Limits {
            upstream_head: SHORT,
            ..Limits::default()
        },
        ..Setup::default()
    };
    let mut edge = TestEdge::start_with(silent_upstream().await, setup).await;
    check_failed(&mut edge, 504, "did not answer in time", "upstream_timeout").await;
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_in_time_gives_504() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let addr = full.local_addr().unwrap();
    // Linux lets in one more than it was told, and then no longer answers.
    let _first = TcpStream::connect(addr).await.unwrap();
    let _second = TcpStream::connect(addr).await.unwrap();
    let setup = Setup {
        limits: Limits {
            connect: SHORT,
            ..Limits::default()
        },
        ..Setup::default()
    };
    let mut edge = TestEdge::start_with(addr, setup).await;
    check_failed(
        &mut edge,
        504,
        "could not be reached in time",
        "connect_timeout",
    )
    .await;
}

#[tokio::test]
async fn an_upstream_that_is_cut_off_leaves_no_response_that_looks_complete() {
    for (head, body) in [
        ("content-length: 100", "begun"),
        ("transfer-encoding: chunked", "5\r\nbegun\r\n"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        let upstream = Upstream::answering(answer).await;
        let mut edge = TestEdge::start(upstream.addr).await;
        let response = edge.get("/", "").await;
        assert_eq!(status(&response), 200);
        assert!(response.ends_with(body), "{response}");

        let line = edge.line().await;
        assert_eq!(line["error"], "upstream_cut_off");
        assert_eq!(line["response_bytes"], 5);
        for span in edge.spans() {
            assert_eq!(attributes(&span)["error.type"], "upstream_cut_off");
            assert_eq!(span.status, Status::error(""));
        }

        let mut client = edge.http2().await;
        let request = Request::get(format!("http://{HOST}/")).body(Full::default());
        let response = in_time(client.send_request(request.unwrap()))
            .await
            .unwrap();
        assert!(in_time(response.into_body().collect()).await.is_err());
    }
}

#[tokio::test]
async fn an_upstreams_own_error_is_passed_on() {
    let answer = "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\nconnection: close\r\n\r\noops";
    let upstream = Upstream::answering(answer).await;
    let mut edge = TestEdge::start(upstream.addr).await;
    let response = edge.get("/", "").await;
    assert_eq!(status(&response), 500);
    assert!(response.ends_with("\r\n\r\noops"));
    let (client, server) = edge.pair().await;
    assert_eq!(attributes(&client)["error.type"], "500");
    assert_eq!(attributes(&server).get("error.type"), None);
    assert_eq!(client.status, Status::error(""));
    assert_eq!(server.status, Status::error(""));
}

#[tokio::test]
async fn a_404_of_an_upstream_is_an_error_of_the_client_span_alone() {
    let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let upstream = Upstream::answering(answer).await;
    let mut edge = TestEdge::start(upstream.addr).await;
    assert_eq!(status(&edge.get("/", "").await), 404);
    let (client, server) = edge.pair().await;
    assert_eq!(client.status, Status::error(""));
    assert_eq!(server.status, Status::Unset);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_its_spans_and_its_line() {
    let (listener, addr) = listener().await;
    let mut edge = TestEdge::start(addr).await;
    let mut client = edge.connect().await;
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut upstream, _) = in_time(listener.accept()).await.unwrap();
    read_until(&mut upstream, "\r\n\r\n").await;
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\ny\r\n";
    upstream.write_all(head).await.unwrap();
    read_until(&mut client, "1\r\ny\r\n").await;
    drop(client);
    let more = async { while upstream.write_all(b"1\r\ny\r\n").await.is_ok() {} };
    let (line, ()) = tokio::join!(edge.line(), in_time(more));
    assert_eq!(line["status"], 200);
    assert_eq!(line["error"], "aborted");
    assert_eq!(line["severity"], "WARN");
    for span in edge.spans() {
        assert_eq!(attributes(&span)["error.type"], "aborted");
    }
    assert_eq!(edge.spans().len(), 2);
}
