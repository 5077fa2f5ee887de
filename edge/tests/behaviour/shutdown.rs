//! What happens to requests when the edge is told to stop.

use edge::Limits;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{
    HOST, SHORT, Setup, TestEdge, attributes, in_time, listener, read_to_end, read_until, status,
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
