//! Exchanges that come to no good end: every one is told.

use std::{convert::Infallible, future};

use ::http::Response;
use expect_test::expect;
use tokio::{
    io::AsyncReadExt,
    sync::{mpsc, oneshot},
};

use super::{
    collected::Collected,
    serving::{Answer, Channel, Sender, data, page, raw, read_until, serve},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Tells when it is dropped.
struct Dropped(
    #[expect(dead_code, reason = "its end is what is observed")] oneshot::Sender<Infallible>,
);

#[tokio::test]
async fn a_client_that_leaves_before_the_response_ends_the_span() {
    let collected = Collected::new();
    let (entered, mut calls) = mpsc::unbounded_channel();
    let addr = serve(collected.server(), move |_| {
        let (sender, dropped) = oneshot::channel();
        entered.send(dropped).unwrap();
        async {
            let _dropped = Dropped(sender);
            future::pending::<Answer>().await
        }
    })
    .await;
    let stream = {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, GET.as_bytes())
            .await
            .unwrap();
        stream
    };
    let dropped = calls.recv().await.unwrap();
    drop(stream);
    dropped.await.unwrap_err();
    expect![[r#"
        server "GET" ERROR
          client.address=127.0.0.1
          error.type=aborted
          http.request.method=GET
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=a
          url.path=/
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
}

/// Serves bodies whose senders are handed to the test.
async fn serve_bodies(
    collected: &Collected,
) -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Sender>) {
    let (bodies, senders) = mpsc::unbounded_channel();
    let addr = serve(collected.server(), move |_| {
        let (sender, body) = Channel::open();
        bodies.send(sender).unwrap();
        async { Ok(Response::new(body)) }
    })
    .await;
    (addr, senders)
}

#[tokio::test]
async fn a_client_that_leaves_amid_the_body_ends_the_span() {
    let collected = Collected::new();
    let (addr, mut senders) = serve_bodies(&collected).await;
    let asked = tokio::spawn(async move { raw(addr, GET, "one").await });
    let sender = senders.recv().await.unwrap();
    sender.send(data("one")).await.unwrap();
    drop(asked.await.unwrap());
    sender.closed().await;
    expect![[r#"
        server "GET" ERROR
          client.address=127.0.0.1
          error.type=aborted
          http.request.method=GET
          http.response.status_code=200
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=a
          url.path=/
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn a_body_that_breaks_says_why() {
    let collected = Collected::new();
    let (addr, mut senders) = serve_bodies(&collected).await;
    let asked = tokio::spawn(async move { raw(addr, GET, "one").await });
    let sender = senders.recv().await.unwrap();
    sender.send(data("one")).await.unwrap();
    let (mut stream, _) = asked.await.unwrap();
    let kind = std::io::ErrorKind::TimedOut;
    sender.send(Err(kind.into())).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    expect![[r#"
        server "GET" ERROR
          client.address=127.0.0.1
          error.type=timeout
          http.request.method=GET
          http.response.status_code=200
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=a
          url.path=/
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
}

async fn check_panic(handler: impl Fn() -> Answer + Clone + Send + Sync + 'static, lazily: bool) {
    let collected = Collected::new();
    let addr = serve(collected.server(), move |_| {
        let handler = handler.clone();
        // One panics in the call, before there is a future, the other when its future is polled.
        let early = (!lazily).then(&handler);
        async move { early.unwrap_or_else(&handler) }
    })
    .await;
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, GET.as_bytes())
        .await
        .unwrap();
    let mut nothing = Vec::new();
    let _ = stream.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    expect![[r#"
        server "GET" ERROR
          client.address=127.0.0.1
          error.type=panic
          http.request.method=GET
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=a
          url.path=/
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn a_panic_in_a_handler_is_told() {
    check_panic(|| panic!("expected by the test"), true).await;
}

#[tokio::test]
async fn a_panic_before_there_is_a_future_is_told() {
    check_panic(|| panic!("expected by the test"), false).await;
}

#[tokio::test]
async fn a_response_that_says_5xx_is_an_error_and_4xx_is_none() {
    let collected = Collected::new();
    let addr = serve(collected.server(), async |request: ::http::Request<_>| {
        let mut response = page("hello");
        *response.status_mut() = request.uri().path()[1..].parse().unwrap();
        Ok(response)
    })
    .await;
    let mut told = Vec::new();
    for (index, status) in ["200", "302", "404", "499", "500", "503", "599"]
        .iter()
        .enumerate()
    {
        let request = format!("GET /{status} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (mut stream, reply) = raw(addr, &request, "\r\n\r\n").await;
        if !reply.contains("hello") {
            read_until(&mut stream, "hello").await;
        }
        let span = collected.wait(index + 1).await.remove(index);
        let error = span
            .attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == "error.type");
        let error = error.map(|attribute| attribute.value.to_string());
        told.push(format!("{status} {:?} {error:?}", span.status));
    }
    expect![[r#"
        200 Unset None
        302 Unset None
        404 Unset None
        499 Unset None
        500 Error { description: "" } Some("500")
        503 Error { description: "" } Some("503")
        599 Error { description: "" } Some("599")"#]]
    .assert_eq(&told.join("\n"));
}
