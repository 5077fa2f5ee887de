//! A peer that fails: its caller says so in its page and in its spans, and goes on.

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::http::get;
use crate::lab::{LAB, Lab, Process};
use crate::trace::Trace;

/// What a peer does with a connection on which a request has arrived.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Answers(&'static str),
    Keeps,
}

async fn peer(behaviour: Peer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            match behaviour {
                Peer::Answers(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
                Peer::Keeps => kept.push(stream),
            }
        }
    });
    format!("http://{addr}/")
}

/// Visits a uservice3 with this peer, and a uservice1 as well: the same page from both, and one trace.
async fn visit_with_peer(peer: &str, status: u16, error_type: &str) {
    let lab = Lab::start(&[]).await;
    let store = lab.url("tracestore");
    let mut pages = Vec::new();
    for service in ["uservice1", "uservice3"] {
        let mut command = Command::new(LAB);
        command.arg(service).envs([
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("PEER_URL", peer),
            ("REDIS_LATENCY_MS", "0-1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &lab.url("otlp")),
        ]);
        let process = Process::start(&mut command);
        let line = process.says("listening on ").await;
        let url = line.replace("listening on ", "http://");
        let answer = get(&url, &[]).await.unwrap();
        assert_eq!(answer.status, status, "{answer:#?}");
        let named = peer.trim_start_matches("http://").trim_end_matches('/');
        assert!(answer.body.contains(named), "{answer:#?}");
        process.says(peer).await;

        if service == "uservice3" {
            let trace = Trace::of(&store, &answer.trace_id(), 3).await;
            let call = trace.span("uservice3", "other_uservice_call");
            assert!(call.status.starts_with("ERROR"), "{}", trace.tree());
            assert_eq!(call.attributes["error.type"], format!("{error_type:?}"));
            let server = trace.span("uservice3", "handle_incoming_call");
            assert!(server.status.starts_with("ERROR"), "{}", trace.tree());
            assert_eq!(server.attributes["error.type"], format!("\"{status}\""));
            assert_eq!(trace.span("uservice3", "redis_call").status, "UNSET");
        }
        pages.push(answer.body.replace(service, "SERVICE"));
    }
    assert_eq!(pages[0], pages[1]);
}

#[tokio::test]
async fn a_peer_that_is_down_is_a_502() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    visit_with_peer(&format!("http://{nobody}/"), 502, "connect").await;
}

#[tokio::test]
async fn a_peer_that_answers_500_is_a_502() {
    let peer = peer(Peer::Answers(
        "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno",
    ))
    .await;
    visit_with_peer(&peer, 502, "500").await;
}

#[tokio::test]
async fn a_peer_that_breaks_off_in_its_body_is_a_502() {
    let peer = peer(Peer::Answers(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
    ))
    .await;
    visit_with_peer(&peer, 502, "broken_answer").await;
}

#[tokio::test]
async fn a_peer_that_talks_nonsense_is_a_502() {
    visit_with_peer(
        &peer(Peer::Answers("220 mail ready\r\n\r\n")).await,
        502,
        "broken_answer",
    )
    .await;
}

#[tokio::test]
async fn a_peer_that_is_silent_is_a_504() {
    visit_with_peer(&peer(Peer::Keeps).await, 504, "timeout").await;
}
