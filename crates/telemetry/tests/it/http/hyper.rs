//! Servers of plain hyper.

use ::http::{HeaderName, Request, Response, StatusCode};
use expect_test::expect;
use http_body_util::BodyExt;
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::{
        FutureExt, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    },
};
use telemetry::http::Route;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    collected::Collected,
    serving::{Channel, Sender, data, full, hello, http2_client, page, raw, serve},
};

const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn the_client_behind_a_trusted_proxy_is_told_from_the_proxy() {
    let header = HeaderName::from_static("x-forwarded-for");
    for (trusted, client) in [("127.0.0.0/8", "192.0.2.7"), ("10.0.0.0/8", "127.0.0.1")] {
        let collected = Collected::new();
        let layer = collected.server();
        let layer = layer.trusted_proxies(header.clone(), [trusted.parse().unwrap()]);
        let addr = serve(layer, hello).await;
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 8.8.8.8, 192.0.2.7\r\n\r\n";
        let (_stream, _) = raw(addr, request, "hello").await;
        let told = collected.trees(1).await;
        assert!(
            told.contains(&format!("client.address={client}\n")),
            "{told}"
        );
        assert!(told.contains("network.peer.address=127.0.0.1\n"), "{told}");
    }
}

#[tokio::test]
async fn a_request_is_described_as_the_conventions_have_it() {
    let collected = Collected::new();
    let layer = collected
        .server()
        .route(|_, path| path.starts_with("/books/").then_some("/books/{id}"));
    let addr = serve(layer, hello).await;
    let request = format!(
        "GET /books/17?page=2&sig=secret HTTP/1.1\r\nHost: books.example:8080\r\n\
         User-Agent: curl/8\r\n{PARENT}\r\n\r\n"
    );
    let (_stream, reply) = raw(addr, &request, "hello").await;
    expect![[r#"
        of 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7
        server "GET /books/{id}"
          client.address=127.0.0.1
          http.request.method=GET
          http.response.status_code=200
          http.route=/books/{id}
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=books.example
          server.port=PORT
          url.path=/books/17
          url.query=page=2&sig=REDACTED
          url.scheme=http
          user_agent.original=curl/8
    "#]]
    .assert_eq(&collected.trees(1).await);

    let span = &collected.now()[0].span_context;
    let traceresponse = format!(
        "traceresponse: 00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01\r\n",
        span.span_id()
    );
    assert!(reply.contains(&traceresponse), "{reply}");
    assert!(!reply.contains("server-timing"), "{reply}");
}

#[tokio::test]
async fn a_span_made_by_the_handler_or_by_the_body_is_a_child() {
    let collected = Collected::new();
    let tracer = collected.tracer();
    let addr = serve(collected.server(), move |_| {
        let tracer = tracer.clone();
        async move {
            tracer.start("in the handler");
            let task = async { tracer.start("in a task of the handler") };
            let traced = Context::current();
            let task = tokio::join!(task.with_context(traced)).0;
            drop(task);
            let body = full("hello").map_frame(move |frame| {
                tracer.start("in the body");
                frame
            });
            Ok(Response::new(body.boxed()))
        }
    })
    .await;
    let (_stream, _) = raw(addr, "GET / HTTP/1.0\r\n\r\n", "hello").await;
    expect![[r#"
        server "GET"
          client.address=127.0.0.1
          http.request.method=GET
          http.response.status_code=200
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.0
          url.path=/
          url.scheme=http
            internal "in the handler"
            internal "in a task of the handler"
            internal "in the body"
    "#]]
    .assert_eq(&collected.trees(4).await);
}

#[tokio::test]
async fn what_the_handler_adds_to_the_current_span_is_kept() {
    let collected = Collected::new();
    let addr = serve(collected.server(), async |_| {
        let cx = Context::current();
        cx.span()
            .set_attribute(opentelemetry::KeyValue::new("tenant", "blue"));
        let mut response = page("hello");
        response
            .extensions_mut()
            .insert(Route("/tenants/{name}".into()));
        Ok(response)
    })
    .await;
    let (_stream, _) = raw(addr, "GET /tenants/blue HTTP/1.0\r\n\r\n", "hello").await;
    expect![[r#"
        server "GET /tenants/{name}"
          client.address=127.0.0.1
          http.request.method=GET
          http.response.status_code=200
          http.route=/tenants/{name}
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.0
          tenant=blue
          url.path=/tenants/blue
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn a_span_lasts_as_long_as_the_body_of_its_response() {
    let collected = Collected::new();
    let (bodies, mut senders) = tokio::sync::mpsc::unbounded_channel::<Sender>();
    let addr = serve(collected.server(), move |_| {
        let (sender, body) = Channel::open();
        bodies.send(sender).unwrap();
        async { Ok(Response::new(body)) }
    })
    .await;
    let asked =
        tokio::spawn(async move { raw(addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "one").await });
    let sender = senders.recv().await.unwrap();
    sender.send(data("one")).await.unwrap();
    let (mut stream, _) = asked.await.unwrap();
    assert_eq!(collected.now().len(), 0, "the body is not over");
    sender.send(data("two")).await.unwrap();
    drop(sender);
    super::serving::read_until(&mut stream, "0\r\n\r\n").await;
    let span = &collected.wait(1).await[0];
    assert_eq!(span.status, opentelemetry::trace::Status::Unset);
}

#[tokio::test]
async fn a_body_of_promised_length_is_over_when_it_is_sent() {
    let collected = Collected::new();
    let (bodies, mut senders) = tokio::sync::mpsc::unbounded_channel::<Sender>();
    let addr = serve(collected.server(), move |_| {
        let (sender, body) = Channel::open();
        bodies.send(sender).unwrap();
        async {
            let response = Response::builder().header("content-length", 5);
            Ok(response.body(body).unwrap())
        }
    })
    .await;
    let asked =
        tokio::spawn(async move { raw(addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "hello").await });
    let sender = senders.recv().await.unwrap();
    sender.send(data("hello")).await.unwrap();
    asked.await.unwrap();
    // The sender is still there, so the body itself never said that it ended.
    let span = &collected.wait(1).await[0];
    assert_eq!(span.status, opentelemetry::trace::Status::Unset);
}

#[tokio::test]
async fn a_response_to_head_is_no_cut_one() {
    let collected = Collected::new();
    let addr = serve(collected.server(), hello).await;
    let (_stream, _) = raw(addr, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n").await;
    expect![[r#"
        server "HEAD"
          client.address=127.0.0.1
          http.request.method=HEAD
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
async fn the_span_of_an_upgrade_ends_with_the_request_and_not_with_the_connection() {
    let collected = Collected::new();
    let addr = serve(collected.server(), async |request| {
        tokio::spawn(async {
            let upgraded = hyper::upgrade::on(request).await.unwrap();
            let mut io = hyper_util::rt::TokioIo::new(upgraded);
            let mut buffer = [0; 4];
            io.read_exact(&mut buffer).await.unwrap();
            io.write_all(&buffer).await.unwrap();
        });
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "echo");
        Ok(response.body(full("")).unwrap())
    })
    .await;
    let request = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let (mut stream, _) = raw(addr, request, "\r\n\r\n").await;
    expect![[r#"
        server "GET"
          client.address=127.0.0.1
          http.request.method=GET
          http.response.status_code=101
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          server.address=a
          url.path=/chat
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
    stream.write_all(b"ping").await.unwrap();
    super::serving::read_until(&mut stream, "ping").await;
}

#[tokio::test]
async fn http_2_is_described_too() {
    let collected = Collected::new();
    let addr = serve(collected.server(), hello).await;
    let response = http2_client()
        .get(format!("http://{addr}/").parse().unwrap())
        .await
        .unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes(), "hello");
    expect![[r#"
        server "GET"
          client.address=127.0.0.1
          http.request.method=GET
          http.response.status_code=200
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=2
          server.address=127.0.0.1
          server.port=PORT
          url.path=/
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn nothing_that_a_caller_can_choose_freely_is_in_a_name() {
    let collected = Collected::new();
    let addr = serve(collected.server(), hello).await;
    let long = "x".repeat(10_000);
    let request = format!(
        "BREW /{long} HTTP/1.1\r\nHost: {long}\r\nUser-Agent: {long}\r\ntracestate: {long}\r\n\
         traceparent: {long}\r\n\r\n"
    );
    let (_stream, reply) = raw(addr, &request, "hello").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let tree = collected.trees(1).await.replace(&"x".repeat(1023), "X");
    expect![[r#"
        server "HTTP"
          client.address=127.0.0.1
          http.request.method=_OTHER
          http.request.method_original=BREW
          http.response.status_code=200
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.1
          url.path=/X
          url.scheme=http
          user_agent.original=Xx
    "#]]
    .assert_eq(&tree);
}

#[tokio::test]
async fn a_bad_parent_begins_a_new_trace() {
    let zero = "00000000000000000000000000000000-00f067aa0ba902b7";
    let good = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    for headers in [
        format!("traceparent: 00-{zero}-01\r\n"),
        format!("traceparent: ff-{good}-01\r\n"),
        format!("traceparent: 00-{good}\r\n"),
        "traceparent: \u{e4}\r\n".to_owned(),
        "traceparent:\r\n".to_owned(),
    ] {
        let collected = Collected::new();
        let addr = serve(collected.server(), hello).await;
        raw(
            addr,
            &format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"),
            "hello",
        )
        .await;
        let span = &collected.wait(1).await[0];
        assert!(span.span_context.is_valid(), "{headers}");
        assert_eq!(
            span.parent_span_id,
            opentelemetry::trace::SpanId::INVALID,
            "{headers}"
        );
        assert_ne!(
            span.span_context.trace_id().to_string(),
            good[..32],
            "{headers}"
        );
    }
}

/// Believes that everybody has a span whose id is zero.
#[derive(Debug)]
struct Zero;

impl TextMapPropagator for Zero {
    fn inject_context(&self, _: &Context, _: &mut dyn Injector) {}

    fn extract_with_context(&self, cx: &Context, _: &dyn Extractor) -> Context {
        let trace_id = TraceId::from(1);
        let (span_id, flags, state) = (SpanId::INVALID, TraceFlags::SAMPLED, TraceState::NONE);
        cx.with_remote_span_context(SpanContext::new(trace_id, span_id, flags, true, state))
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&[])
    }
}

#[tokio::test]
async fn a_parent_that_a_propagator_should_not_have_believed_begins_a_new_trace() {
    let collected = Collected::new();
    let addr = serve(collected.server().propagator(Zero), hello).await;
    raw(addr, "GET / HTTP/1.0\r\n\r\n", "hello").await;
    let span = &collected.wait(1).await[0].span_context;
    assert!(span.is_valid());
    assert_ne!(span.trace_id(), TraceId::from(1));
}

#[tokio::test]
async fn a_public_service_begins_traces_of_its_own_and_links_them() {
    let collected = Collected::new();
    let addr = serve(collected.server().public(), hello).await;
    let unsampled = PARENT.replace("-01", "-00");
    raw(
        addr,
        &format!("GET / HTTP/1.0\r\n{unsampled}\r\n\r\n"),
        "hello",
    )
    .await;
    expect![[r#"
        server "GET"
          linked to 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7
          client.address=127.0.0.1
          http.request.method=GET
          http.response.status_code=200
          network.peer.address=127.0.0.1
          network.peer.port=PORT
          network.protocol.version=1.0
          url.path=/
          url.scheme=http
    "#]]
    .assert_eq(&collected.trees(1).await);
}

#[tokio::test]
async fn an_unsampled_caller_is_obeyed_and_told_so() {
    let collected = Collected::new();
    let addr = serve(collected.server(), hello).await;
    let unsampled = PARENT.replace("-01", "-00");
    let (_stream, reply) = raw(
        addr,
        &format!("GET / HTTP/1.0\r\n{unsampled}\r\n\r\n"),
        "hello",
    )
    .await;
    let told = "traceresponse: 00-4bf92f3577b34da6a3ce929d0e0e4736-";
    assert!(reply.contains(told) && reply.contains("-00\r\n"), "{reply}");
    raw(addr, "GET /sampled HTTP/1.0\r\n\r\n", "hello").await;
    let tree = collected.trees(1).await;
    assert!(tree.contains("url.path=/sampled"), "{tree}");
}

#[tokio::test]
async fn excluded_paths_are_left_alone() {
    let collected = Collected::new();
    let layer = collected.server().exclude(["/healthz", "/assets/*"]);
    let addr = serve(layer, async |_: Request<_>| {
        assert!(!Context::current().has_active_span());
        Ok(page("hello"))
    })
    .await;
    for path in [
        "/healthz",
        "/healthz?verbose",
        "/assets/",
        "/assets/a/b.css",
    ] {
        let request = format!("GET {path} HTTP/1.0\r\n{PARENT}\r\n\r\n");
        let (_stream, reply) = raw(addr, &request, "hello").await;
        assert!(!reply.contains("traceresponse"), "{path}: {reply}");
    }
    assert_eq!(collected.now().len(), 0);
}

#[tokio::test]
async fn only_excluded_paths_are_left_alone() {
    let collected = Collected::new();
    let addr = serve(collected.server().exclude(["/healthz", "/assets/*"]), hello).await;
    for path in ["/healthz/", "/health", "/assets", "/a/assets/"] {
        raw(addr, &format!("GET {path} HTTP/1.0\r\n\r\n"), "hello").await;
    }
    collected.wait(4).await;
}

#[tokio::test]
async fn the_reply_says_what_it_is_told_to() {
    let collected = Collected::new();
    let silent = serve(collected.server().without_traceresponse(), hello).await;
    let (_stream, reply) = raw(silent, "GET / HTTP/1.0\r\n\r\n", "hello").await;
    assert!(!reply.contains("traceresponse"), "{reply}");

    let addr = serve(collected.server().server_timing().https(), async |_| {
        let mut response = page("hello");
        response
            .headers_mut()
            .insert("server-timing", "db;dur=3".parse().unwrap());
        Ok(response)
    })
    .await;
    let (_stream, reply) = raw(addr, "GET / HTTP/1.0\r\n\r\n", "hello").await;
    let spans = collected.wait(2).await;
    let span = &spans[1].span_context;
    let told = format!("00-{}-{}-01", span.trace_id(), span.span_id());
    assert!(reply.contains("server-timing: db;dur=3\r\n"), "{reply}");
    assert!(
        reply.contains(&format!("server-timing: traceparent;desc=\"{told}\"\r\n")),
        "{reply}"
    );
    assert!(
        reply.contains(&format!("traceresponse: {told}\r\n")),
        "{reply}"
    );
    let scheme = spans[1]
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == "url.scheme");
    assert_eq!(scheme.unwrap().value.as_str(), "https");
}
