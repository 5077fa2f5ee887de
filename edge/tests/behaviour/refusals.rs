//! Bad requests, and what they get.

use std::fmt::Write as _;
use std::time::Duration;

use edge::Limits;
use http_body_util::Full;
use hyper::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time;

use crate::support::{
    HOST, SHORT, Setup, TestEdge, Upstream, header, in_time, read_to_end, status,
};

/// Sends one request, which must be refused with `expected`, logged, not traced and not forwarded.
async fn check_refused(expected: u16, request: impl AsRef<[u8]>) -> String {
    let mut upstream = Upstream::hello().await;
    let mut edge = TestEdge::start(upstream.addr).await;
    let response = edge.ask_and_stay(request).await;
    assert_eq!(status(&response), expected, "{response}");
    assert_eq!(edge.line().await["status"], expected);
    assert!(edge.spans().is_empty());
    assert!(upstream.was_not_asked());
    response
}

fn limits(limits: Limits) -> Setup {
    Setup {
        limits,
        ..Setup::default()
    }
}

#[tokio::test]
async fn an_unknown_host_gets_404() {
    let mut upstream = Upstream::hello().await;
    let mut edge = TestEdge::start(upstream.addr).await;
    for host in [
        "evil",
        "169.254.169.254",
        "127.0.0.1:80",
        "a.localhost.evil",
    ] {
        let response = edge
            .ask(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        assert_eq!(status(&response), 404, "{host}");
        assert_eq!(edge.line().await["host"], host);
    }
    assert!(upstream.was_not_asked());
}

#[tokio::test]
async fn a_host_is_known_in_any_case_and_with_a_port_and_a_trailing_dot() {
    let upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    for host in ["A.Localhost", "a.localhost:8000", "a.localhost."] {
        let response = edge
            .ask(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        assert_eq!(status(&response), 200, "{host}");
    }
}

#[tokio::test]
async fn a_missing_duplicate_or_impossible_host_gets_400() {
    check_refused(400, "GET / HTTP/1.1\r\n\r\n").await;
    check_refused(400, "GET / HTTP/1.0\r\n\r\n").await;
    let twice = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nhost: {HOST}\r\n\r\n");
    check_refused(400, twice).await;
    for host in [
        "",
        "me@a.localhost",
        "a.localhost:99999",
        "a.localhost, b",
        "[::1",
    ] {
        check_refused(400, format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
    }
    check_refused(400, b"GET / HTTP/1.1\r\nhost: caf\xe9\r\n\r\n").await;
}

#[tokio::test]
async fn a_target_that_disagrees_with_the_host_gets_400() {
    let other = format!("GET http://other.localhost/ HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    check_refused(400, other).await;

    let mut upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    let same = format!("GET http://{HOST}/x?y HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    assert_eq!(status(&edge.ask(same).await), 200);
    assert!(
        upstream
            .request()
            .await
            .starts_with("GET /x?y HTTP/1.1\r\n")
    );

    let request = Request::get(format!("http://{HOST}/"))
        .header("host", "other.localhost")
        .body(Full::default());
    let mut client = edge.http2().await;
    let response = in_time(client.send_request(request.unwrap()))
        .await
        .unwrap();
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn connect_trace_and_unknown_methods_get_405() {
    for method in ["TRACE", "BREW", "get"] {
        let request = format!("{method} / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        let response = check_refused(405, request).await;
        let allowed = "GET, POST, HEAD, PUT, DELETE, OPTIONS, PATCH";
        assert_eq!(header(&response, "allow"), Some(allowed));
    }
    let request = format!("CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    check_refused(405, request).await;
}

#[tokio::test]
async fn more_than_100_headers_get_431() {
    let many = |count: usize| {
        let mut request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n");
        for number in 1..count {
            let _ = write!(request, "x-{number}: y\r\n");
        }
        request + "\r\n"
    };
    check_refused(431, many(101)).await;
    let upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    assert_eq!(status(&edge.ask(many(100)).await), 200);
}

#[tokio::test]
async fn headers_over_64_kib_get_431() {
    for size in [64 << 10, 200 << 10] {
        let long = "y".repeat(size);
        let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nx: {long}\r\n\r\n");
        check_refused(431, request).await;
    }

    let upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    let request = Request::get(format!("http://{HOST}/"))
        .header("x", "y".repeat(64 << 10))
        .body(Full::default());
    let mut client = edge.http2().await;
    // Having been told the limit, hyper's client does not even send it.
    match in_time(client.send_request(request.unwrap())).await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(err) => assert!(format!("{err:?}").contains("HeaderList"), "{err:?}"),
    }
}

#[tokio::test]
async fn an_address_over_8_kib_gets_414() {
    for size in [8 << 10, 100 << 10] {
        let long = "y".repeat(size);
        let request = format!("GET /{long} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        check_refused(414, request).await;
    }
}

#[tokio::test]
async fn a_path_that_two_servers_could_read_differently_gets_400() {
    for path in ["/..%2f", "//", "/%00", "/%5c", "/a;b", "/a/../b", "*"] {
        let request = format!("OPTIONS {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        check_refused(400, request).await;
    }
}

#[tokio::test]
async fn what_is_not_http_gets_400() {
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n");
    for headers in [
        "content-length: 1\r\ncontent-length: 2\r\n",
        "content-length: +1\r\n",
        "content-length: 18446744073709551616\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
        "x: a\r\n b\r\n",
        "x: a\0\r\n",
    ] {
        check_refused(400, format!("{head}{headers}\r\n")).await;
    }
    check_refused(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await;
}

#[tokio::test]
async fn a_body_announced_over_10_mib_gets_413_and_a_closed_connection() {
    let length = (10 << 20) + 1;
    let request = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {length}\r\n\r\n");
    let response = check_refused(413, request).await;
    assert_eq!(header(&response, "connection"), Some("close"));
}

#[tokio::test]
async fn a_chunked_body_that_grows_over_10_mib_gets_413_and_a_closed_connection() {
    // It reads the head, and then whatever comes.
    let (listener, addr) = crate::support::listener().await;
    let swallowed = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_to_end(&mut stream).await
    });
    let mut edge = TestEdge::start(addr).await;
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("100000\r\n{}\r\n", "y".repeat(1 << 20));
    let request = head + &chunk.repeat(11) + "0\r\n\r\n";
    let response = edge.ask_and_stay(request).await;
    assert_eq!(status(&response), 413);
    assert_eq!(header(&response, "connection"), Some("close"));
    assert_eq!(edge.line().await["error"], "request_body_too_large");
    let swallowed = in_time(swallowed).await.unwrap();
    assert!(
        !swallowed.ends_with("0\r\n\r\n"),
        "it must not look complete"
    );
}

#[tokio::test]
async fn a_malformed_body_gets_400_and_a_closed_connection() {
    let upstream = crate::support::silent_upstream().await;
    let mut edge = TestEdge::start(upstream).await;
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n");
    for body in [
        "x\r\n".to_owned(),
        format!("1;{}\r\ny", "e".repeat(20 << 10)),
    ] {
        let response = edge.ask_and_stay(format!("{head}{body}")).await;
        assert_eq!(status(&response), 400, "{response}");
        assert_eq!(header(&response, "connection"), Some("close"));
        assert_eq!(edge.line().await["error"], "request_body_malformed");
    }
}

#[tokio::test]
async fn content_length_beside_chunked_is_ignored_and_the_connection_closed() {
    let mut upstream = Upstream::hello().await;
    let edge = TestEdge::start(upstream.addr).await;
    let smuggling = format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
         8\r\nSMUGGLED\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: {HOST}\r\n\r\n"
    );
    let response = edge.ask_and_stay(smuggling).await;
    assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
    let request = upstream.request().await;
    assert_eq!(header(&request, "content-length"), None);
    assert!(
        request.ends_with("\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n"),
        "{request}"
    );
    assert!(upstream.was_not_asked());
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let upstream = Upstream::hello().await;
    let edge = TestEdge::start_with(
        upstream.addr,
        limits(Limits {
            head_time: SHORT,
            ..Limits::default()
        }),
    )
    .await;
    // Nothing, half a head, half of the preface of HTTP/2, and the preface alone.
    for start in [
        "",
        "GET / HT",
        "PRI * HT",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let response = edge.ask_and_stay(start).await;
        assert!(!response.contains("200"), "{start:?}: {response:?}");
    }
}

#[tokio::test]
async fn a_slow_body_gets_408_and_a_closed_connection() {
    let upstream = crate::support::silent_upstream().await;
    let setup = limits(Limits {
        body_time: SHORT,
        ..Limits::default()
    });
    let mut edge = TestEdge::start_with(upstream, setup).await;
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1000\r\n\r\n");

    let response = edge.ask_and_stay(format!("{head}abc")).await;
    assert_eq!(status(&response), 408);
    assert_eq!(header(&response, "connection"), Some("close"));
    let line = edge.line().await;
    assert_eq!(line["error"], "request_body_timeout");
    assert_eq!(line["request_bytes"], 3);

    // A byte now and then buys no time.
    let (mut reader, mut writer) = edge.connect().await.into_split();
    let dribble = async move {
        writer.write_all(head.as_bytes()).await.unwrap();
        let mut pace = time::interval(Duration::from_millis(5));
        while writer.write_all(b"y").await.is_ok() {
            pace.tick().await;
        }
    };
    tokio::spawn(dribble);
    let mut response = Vec::new();
    let _ = in_time(reader.read_to_end(&mut response)).await;
    assert_eq!(status(&String::from_utf8(response).unwrap()), 408);
}

#[tokio::test]
async fn a_flood_of_resets_is_sent_away() {
    let upstream = crate::support::silent_upstream().await;
    let edge = TestEdge::start(upstream).await;
    let mut client = edge.connect().await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut flood, SETTINGS, 0, &[]);
    for request in 0..1000 {
        let stream = request * 2 + 1;
        // GET, http, / and :authority, in HPACK.
        frame(
            &mut flood,
            HEADERS,
            stream,
            b"\x82\x86\x84\x41\x0ba.localhost",
        );
        frame(&mut flood, RST_STREAM, stream, &8_u32.to_be_bytes());
    }
    let _ = client.write_all(&flood).await;
    let mut answer = Vec::new();
    let _ = in_time(client.read_to_end(&mut answer)).await;
    let frames = frames(&answer);
    assert!(frames.iter().any(|(kind, _)| *kind == GOAWAY), "{frames:?}");
    let (_, settings) = frames.iter().find(|(kind, _)| *kind == SETTINGS).unwrap();
    // Identifiers and values of RFC 9113 section 6.5.2.
    let max_concurrent_streams = [0, 3, 0, 0, 0, 100];
    let max_header_list_size = [0, 6, 0, 1, 0, 0];
    let settings: Vec<&[u8]> = settings.chunks(6).collect();
    assert!(settings.contains(&&max_concurrent_streams[..]));
    assert!(settings.contains(&&max_header_list_size[..]));
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Appends a frame of HTTP/2; of the flags, END_HEADERS and END_STREAM where they belong.
fn frame(out: &mut Vec<u8>, kind: u8, stream: u32, payload: &[u8]) {
    let flags = if kind == HEADERS { 0x5 } else { 0 };
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Kind and payload of the frames that are whole.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push((head[3], payload));
        bytes = rest;
    }
    frames
}

#[tokio::test]
async fn a_refused_request_leaves_a_page_that_says_why() {
    let response = check_refused(400, "GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(
        header(&response, "content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        response.contains("<p>The request has no Host.</p>"),
        "{response}"
    );
}
