//! Routers of axum, and a chain of two services.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{Request, StatusCode},
    routing::get,
};
use expect_test::expect;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use opentelemetry::trace::Tracer;
use tower::{Layer, ServiceExt};

use super::{
    collected::Collected,
    serving::{hello, http_client, raw, serve},
};

async fn serve_router(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    addr
}

#[tokio::test]
async fn the_route_is_the_one_that_matched() {
    let collected = Collected::new();
    let books = Router::new().route("/{id}", get(async |Path(id): Path<String>| id));
    let addr = serve_router(
        Router::new()
            .nest("/books", books)
            .layer(collected.server()),
    )
    .await;
    raw(
        addr,
        "GET /books/17 HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n17",
    )
    .await;
    expect![[r#"
        server "GET /books/{id}"
          client.address=127.0.0.1
          http.request.method=GET
          http.response.status_code=200
          http.route=/books/{id}
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=a
          url.path=/books/17
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn a_404_has_no_route() {
    let collected = Collected::new();
    let router = Router::new().route("/books/{id}", get(async || "a book"));
    let addr = serve_router(router.layer(collected.server())).await;
    raw(
        addr,
        "GET /wp-login.php HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n",
    )
    .await;
    expect![[r#"
        server "GET"
          client.address=127.0.0.1
          http.request.method=GET
          http.response.status_code=404
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=a
          url.path=/wp-login.php
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn a_method_that_the_route_does_not_have_is_described_with_it() {
    let collected = Collected::new();
    let router = Router::new().route("/books/{id}", get(async || "a book"));
    let addr = serve_router(router.layer(collected.server())).await;
    raw(
        addr,
        "DELETE /books/1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n",
    )
    .await;
    let tree = collected.trees(1).await;
    assert!(
        tree.starts_with("server \"DELETE /books/{id}\"\n"),
        "{tree}"
    );
    assert!(tree.contains("http.response.status_code=405"), "{tree}");
}

#[tokio::test]
async fn the_layer_works_around_a_whole_router() {
    let collected = Collected::new();
    let router = Router::new().route("/", get(async || "hello"));
    let service = collected.server().layer(router);
    let response = service
        .oneshot(Request::get("/").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
    assert_eq!(collected.wait(1).await[0].name, "GET");
}

#[tokio::test]
async fn a_chain_of_services_is_one_trace() {
    let collected = Collected::new();
    let back = serve(collected.server(), hello).await;
    let client = collected.client().layer(http_client());
    let tracer = collected.tracer();
    let front = Router::new().route(
        "/work",
        get(async move || {
            let span = tracer.start("internal");
            let cx = opentelemetry::trace::TraceContextExt::current_with_span(span);
            let request = Request::get(format!("http://me:secret@{back}/peer?sig=a"))
                .body(Full::<Bytes>::default())
                .unwrap();
            let ask = opentelemetry::context::FutureExt::with_context(client.oneshot(request), cx);
            ask.await.unwrap().collect().await.unwrap().to_bytes()
        }),
    );
    let front = serve_router(front.layer(collected.server())).await;
    let request = "GET /work HTTP/1.1\r\nHost: a\r\n\
                   traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
    raw(front, request, "hello").await;
    expect![[r#"
        of 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7
        server "GET /work"
          client.address=127.0.0.1
          http.request.method=GET
          http.response.status_code=200
          http.route=/work
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=a
          url.path=/work
          url.scheme=http
            internal "internal"
                client "GET"
                  http.request.method=GET
                  http.response.status_code=200
                  network.peer.address=127.0.0.1
                  network.peer.port=PORT
                  network.protocol.version=1.1
                  server.address=127.0.0.1
                  server.port=PORT
                  url.full=http://REDACTED:REDACTED@127.0.0.1:PORT/peer?sig=REDACTED
                    server "GET"
                      client.address=127.0.0.1
                      http.request.method=GET
                      http.response.status_code=200
                      network.peer.address=127.0.0.1
                      network.peer.port=PORT
                      network.protocol.version=1.1
                      server.address=127.0.0.1
                      server.port=PORT
                      url.path=/peer
                      url.query=sig=REDACTED
                      url.scheme=http
    "#]]
    .assert_eq(&collected.trees(4).await);
}
