//! As many connections as a port takes, all of them idle: the next one is served, and who was idle for longest comes again.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use crate::{
    inputs::chain,
    process::start,
    server::{client, get},
};

const MOST: usize = 500;

/// A request on a connection that stays open, and its answer.
fn ask(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET /api/echo HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"echo\n") {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "it was closed");
        answer.extend_from_slice(&bytes[..read]);
    }
    String::from_utf8(answer).unwrap()
}

/// Everything until the server closes the connection.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut rest);
    rest
}

#[tokio::test]
async fn the_connection_that_was_idle_for_longest_makes_room_for_another() {
    let running = start(&[("MEMORY", "true")]);
    let mut idle: Vec<TcpStream> = (0..MOST)
        .map(|_| TcpStream::connect(&running.http).unwrap())
        .collect();
    for stream in &mut idle {
        assert!(ask(stream).starts_with("HTTP/1.1 200"));
    }
    // Not that which was there first.
    let mut first = idle.remove(0);
    ask(&mut first);
    assert_eq!(get(&running.http, "/api/echo", &[]).await.status, 200);
    assert_eq!(rest(idle.remove(0)), b"");
    ask(&mut first);
    for stream in &mut idle {
        ask(stream);
    }
}

#[tokio::test]
async fn exporters_that_are_idle_are_told_to_come_again() {
    let running = start(&[("MEMORY", "true")]);
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
    ]
    .concat();
    let mut idle = Vec::new();
    for _ in 0..MOST {
        let mut stream = TcpStream::connect(&running.otlp).unwrap();
        stream.write_all(&hello).unwrap();
        // The settings of the server: it knows that this is HTTP/2.
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        stream.read_exact(&mut vec![0; payload(&head)]).unwrap();
        idle.push(stream);
    }
    let mut exporter = client(&running.otlp).await;
    let request: ExportTraceServiceRequest = chain();
    exporter.export(request).await.unwrap();
    let said = rest(idle.remove(0));
    let mut frames = &said[..];
    let mut types = Vec::new();
    while frames.len() >= 9 {
        types.push(frames[3]);
        frames = frames.get(9 + payload(frames)..).unwrap_or_default();
    }
    const GOAWAY: u8 = 7;
    assert!(types.contains(&GOAWAY), "{types:?}");
}

/// Bytes after the head of a frame: <https://www.rfc-editor.org/rfc/rfc9113#section-4.1>.
fn payload(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}
