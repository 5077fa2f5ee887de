//! What the process takes of the system: open files, connections.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use hyper::Method;
use prost::Message;
use tempfile::TempDir;

use crate::{
    inputs::{plain, request, text},
    process::{Running, by_way_of, program, run, start},
    server::{get, send},
};

/// The soft limit of open files, and the hard one.
#[cfg(target_os = "linux")]
fn open_files(process: u32) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = line.unwrap()["Max open files".len()..].split_whitespace();
    (words.next().unwrap().into(), words.next().unwrap().into())
}

#[cfg(target_os = "linux")]
#[test]
fn it_may_open_as_many_files_as_it_is_allowed_to() {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -S -n 100 && exec \"$0\""]);
    let running = run(&mut by_way_of(limited, &program(&[])));
    let (soft, hard) = open_files(running.child.id());
    assert_eq!(soft, hard);
}

/// Sends a request without waiting for the answer.
fn ask(address: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).unwrap();
    connection
        .write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    connection
}

/// Whether an answer comes within this time.
fn is_answered(connection: &mut TcpStream, within: Duration) -> bool {
    connection.set_read_timeout(Some(within)).unwrap();
    match connection.read(&mut [0; 64]) {
        Ok(bytes) => bytes > 0,
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "{error}"
            );
            false
        }
    }
}

#[test]
fn a_connection_too_many_waits_until_another_ends() {
    let running = start(&[]);
    let long = Duration::from_secs(10);
    // Requests that are not whole, so that nobody is idle.
    let begun = |_| {
        let mut connection = TcpStream::connect(&running.otlp_http).unwrap();
        let head = "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n";
        let body = "Content-Type: application/json\r\n\r\n{";
        connection
            .write_all(format!("{head}{body}").as_bytes())
            .unwrap();
        connection
    };
    let mut open: Vec<TcpStream> = (0..500).map(begun).collect();
    let mut one_more = ask(&running.otlp_http);
    assert!(!is_answered(&mut one_more, Duration::from_millis(200)));
    // Other ports have connections of their own.
    assert!(is_answered(&mut ask(&running.http), long));
    drop(open.pop());
    assert!(is_answered(&mut one_more, long));
}

#[tokio::test]
async fn a_request_may_take_what_was_said() {
    let spans = |bytes: usize| {
        let long = "x".repeat(4000);
        let span = |number: usize| {
            let mut span = plain("a1", 1, "span");
            span.span_id = (number as u64 + 1).to_be_bytes().to_vec();
            span.attributes = vec![text("long", &long)];
            span
        };
        request("s", (0..bytes / 4000).map(span).collect()).encode_to_vec()
    };
    let folder = TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap();
    let send = async |running: &Running, body: Vec<u8>| {
        let headers = [("content-type", "application/x-protobuf")];
        send(
            &running.otlp_http,
            Method::POST,
            "/v1/traces",
            &headers,
            body.into(),
        )
        .await
    };
    let running = start(&[("DATA", data), ("MAX_REQUEST_SIZE", "40MiB")]);
    assert_eq!(send(&running, spans(41 << 20)).await.status, 413);
    assert_eq!(send(&running, spans(30 << 20)).await.status, 200);
    drop(running);

    // What was accepted is read again, even if less is allowed now.
    let running = start(&[("DATA", data), ("MAX_REQUEST_SIZE", "1000000")]);
    let found = get(&running.http, "/api/v2/traces/a1", &[]).await.json();
    let groups = &found["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(groups.as_array().unwrap().len(), (30 << 20) / 4000);
    assert_eq!(send(&running, spans(900_000)).await.status, 200);
    let refused = send(&running, spans(1_100_000)).await;
    assert_eq!(refused.status, 413);
    let why = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(why.contains("more than 1000000 bytes"), "{why}");
    assert!(why.contains("--max-request-size"), "{why}");
}
