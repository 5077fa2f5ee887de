//! The spans and headers of a request, and its line in the access log.

use std::collections::BTreeMap;

use opentelemetry::trace::{SpanId, SpanKind, Status, TraceFlags, TraceId};

use crate::support::{HOST, Setup, TestEdge, Upstream, attributes, header, status};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN_ID: &str = "b7ad6b7169203331";

fn as_map<'a>(pairs: &[(&'a str, &str)]) -> BTreeMap<&'a str, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| (*key, (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_request_leaves_the_two_spans_that_traefik_leaves() {
    let mut upstream = Upstream::hello().await;
    let mut edge = TestEdge::start(upstream.addr).await;
    let request = format!(
        "POST /caf%C3%A9?b=1&a=2 HTTP/1.1\r\nhost: {HOST}:8000\r\nuser-agent: test\r\ncontent-length: 5\r\n\r\nhello"
    );
    assert_eq!(status(&edge.ask(request).await), 200);
    let (client, server) = edge.pair().await;

    assert_eq!(server.name, "POST");
    assert_eq!(server.span_kind, SpanKind::Server);
    assert_eq!(server.parent_span_id, SpanId::INVALID);
    assert_eq!(server.status, Status::Unset);
    let port = attributes(&server)["client.port"].clone();
    let expected = [
        ("entry_point", "web"),
        ("http.request.method", "POST"),
        ("network.protocol.version", "1.1"),
        ("http.request.body.size", "5"),
        ("url.path", "/caf\u{e9}"),
        ("url.query", "a=REDACTED&b=REDACTED"),
        ("url.scheme", "http"),
        ("user_agent.original", "test"),
        ("server.address", "a.localhost:8000"),
        ("network.peer.address", "127.0.0.1"),
        ("client.address", "127.0.0.1"),
        ("client.port", &port),
        ("network.peer.port", &port),
        ("http.response.status_code", "200"),
    ];
    assert_eq!(attributes(&server), as_map(&expected));

    assert_eq!(client.name, "ReverseProxy");
    assert_eq!(client.span_kind, SpanKind::Client);
    assert_eq!(client.parent_span_id, server.span_context.span_id());
    assert_eq!(
        client.span_context.trace_id(),
        server.span_context.trace_id()
    );
    assert_eq!(client.status, Status::Unset);
    let url = format!("http://{}/caf%C3%A9?a=REDACTED&b=REDACTED", upstream.addr);
    let port = upstream.addr.port().to_string();
    let expected = [
        ("http.request.method", "POST"),
        ("network.protocol.version", "1.1"),
        ("url.full", &url),
        ("url.scheme", "http"),
        ("user_agent.original", "test"),
        ("network.peer.address", "127.0.0.1"),
        ("network.peer.port", &port),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("http.response.status_code", "200"),
    ];
    assert_eq!(attributes(&client), as_map(&expected));

    let (trace_id, span_id) = (
        client.span_context.trace_id(),
        client.span_context.span_id(),
    );
    let expected = format!("{trace_id}:{span_id}:0:1");
    let request = upstream.request().await;
    assert_eq!(header(&request, "uber-trace-id"), Some(&*expected));
}

/// Sends `headers`, and returns the context that went upstream with the parent of the server span.
async fn continued(propagators: &'static str, headers: &str) -> (String, TraceId, SpanId) {
    let mut upstream = Upstream::hello().await;
    let setup = Setup {
        propagators,
        ..Setup::default()
    };
    let mut edge = TestEdge::start_with(upstream.addr, setup).await;
    let head = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{headers}\r\n");
    // Header values need not be UTF-8: \u{ff} stands for such a byte.
    let head: Vec<u8> = head.chars().map(|char| char as u32 as u8).collect();
    let response = edge.ask(head).await;
    assert_eq!(status(&response), 200, "{headers}");
    let (_, server) = edge.pair().await;
    let trace_id = server.span_context.trace_id();
    assert_ne!(trace_id, TraceId::INVALID);
    let request = upstream.request().await;
    assert!(request.contains(&trace_id.to_string()), "{request}");
    (request, trace_id, server.parent_span_id)
}

#[tokio::test]
async fn a_callers_trace_is_continued() {
    for value in [
        format!("{TRACE_ID}:{SPAN_ID}:0:1"),
        format!("{TRACE_ID}%3A{SPAN_ID}%3a0%3A1"),
        format!("{TRACE_ID}:{SPAN_ID}:{SPAN_ID}:1"),
    ] {
        let (_, trace_id, parent) =
            continued("jaeger", &format!("uber-trace-id: {value}\r\n")).await;
        assert_eq!(trace_id, TraceId::from_hex(TRACE_ID).unwrap());
        assert_eq!(parent, SpanId::from_hex(SPAN_ID).unwrap());
    }
    let (_, trace_id, parent) = continued("jaeger", "uber-trace-id: 17c29:a:0:1\r\n").await;
    assert_eq!(trace_id, TraceId::from(0x17c29_u128));
    assert_eq!(parent, SpanId::from(0xa_u64));
    let w3c = format!("traceparent: 00-{TRACE_ID}-{SPAN_ID}-01\r\n");
    let (_, trace_id, parent) = continued("tracecontext", &w3c).await;
    assert_eq!(trace_id, TraceId::from_hex(TRACE_ID).unwrap());
    assert_eq!(parent, SpanId::from_hex(SPAN_ID).unwrap());
}

#[tokio::test]
async fn a_bad_trace_header_starts_a_new_trace() {
    let good = format!("uber-trace-id: {TRACE_ID}:{SPAN_ID}:0:1\r\n");
    let colons = ":".repeat(10_000);
    for bad in [
        format!("uber-trace-id: {colons}\r\n"),
        "uber-trace-id: ::::\r\n".to_owned(),
        "uber-trace-id:\r\n".to_owned(),
        "uber-trace-id: 0:0:0:1\r\n".to_owned(),
        format!("uber-trace-id: {TRACE_ID}:0:0:1\r\n"),
        format!("uber-trace-id: 0:{SPAN_ID}:0:1\r\n"),
        format!("uber-trace-id: {TRACE_ID}:{SPAN_ID}:0\r\n"),
        format!("uber-trace-id: {TRACE_ID}:{SPAN_ID}:0:100\r\n"),
        format!("uber-trace-id: {TRACE_ID}:{SPAN_ID}:0:-1\r\n"),
        format!("uber-trace-id: +{TRACE_ID}:{SPAN_ID}:0:1\r\n"),
        format!("uber-trace-id: {TRACE_ID}0:{SPAN_ID}:0:1\r\n"),
        format!("uber-trace-id: {TRACE_ID}:{SPAN_ID}:0:1\u{ff}\r\n"),
        format!("{good}{good}"),
    ] {
        let (_, trace_id, parent) = continued("jaeger", &bad).await;
        assert_ne!(trace_id.to_string(), TRACE_ID, "{bad}");
        assert_eq!(parent, SpanId::INVALID, "{bad}");
    }
    let w3c = |value: String| format!("traceparent: {value}\r\n");
    let good = w3c(format!("00-{TRACE_ID}-{SPAN_ID}-01"));
    for bad in [
        w3c(format!("00-{TRACE_ID}0-{SPAN_ID}-01")),
        w3c(format!("ff-{TRACE_ID}-{SPAN_ID}-01")),
        w3c(format!("00-{TRACE_ID}-{SPAN_ID}-01-extra")),
        format!("{good}{good}"),
    ] {
        let (_, trace_id, _) = continued("tracecontext", &bad).await;
        assert_ne!(trace_id.to_string(), TRACE_ID, "{bad}");
    }
}

#[tokio::test]
async fn baggage_of_any_kind_passes_and_breaks_no_trace() {
    for baggage in [
        "uberctx-user: a=b,c\r\n".to_owned(),
        "baggage: a=%0d%0aX: y\r\n".to_owned(),
        format!("baggage: {}\r\n", "k=v,".repeat(2000)),
        "baggage: \u{ff}\r\n".to_owned(),
    ] {
        let headers = format!("uber-trace-id: {TRACE_ID}:{SPAN_ID}:0:1\r\n{baggage}");
        let mut upstream = Upstream::hello().await;
        let mut edge = TestEdge::start(upstream.addr).await;
        let head = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{headers}\r\n");
        let head: Vec<u8> = head.chars().map(|char| char as u32 as u8).collect();
        assert_eq!(status(&edge.ask(head).await), 200);
        let (_, server) = edge.pair().await;
        assert_eq!(server.span_context.trace_id().to_string(), TRACE_ID);
        let baggage = baggage.replace('\u{ff}', "\u{fffd}");
        assert!(upstream.request().await.contains(&baggage));
    }
}

#[tokio::test]
async fn the_formats_that_are_not_configured_pass_unchanged() {
    let traceparent = format!("00-{TRACE_ID}-{SPAN_ID}-01");
    let headers = format!("traceparent: {traceparent}\r\ntracestate: a=b\r\n");
    let (request, trace_id, _) = continued("jaeger", &headers).await;
    assert_ne!(trace_id.to_string(), TRACE_ID);
    assert_eq!(header(&request, "traceparent"), Some(&*traceparent));
    assert_eq!(header(&request, "tracestate"), Some("a=b"));
}

#[tokio::test]
async fn of_two_formats_the_later_one_wins_and_both_are_sent() {
    let other = "4bf92f3577b34da6a3ce929d0e0e4736";
    let headers = format!(
        "traceparent: 00-{other}-{SPAN_ID}-01\r\ntracestate: a=b\r\nuber-trace-id: {TRACE_ID}:{SPAN_ID}:0:1\r\n"
    );
    let (request, trace_id, _) = continued("tracecontext,jaeger", &headers).await;
    assert_eq!(trace_id.to_string(), TRACE_ID);
    assert_eq!(header(&request, "tracestate"), None);
    let (request, trace_id, _) = continued("jaeger,tracecontext", &headers).await;
    assert_eq!(trace_id.to_string(), other);
    assert!(
        header(&request, "uber-trace-id")
            .unwrap()
            .starts_with(other)
    );
    assert!(
        header(&request, "traceparent")
            .unwrap()
            .starts_with(&format!("00-{other}-"))
    );
    assert_eq!(header(&request, "tracestate"), Some("a=b"));
}

#[tokio::test]
async fn a_debug_flag_is_handed_on_and_unsampled_stays_unsampled() {
    for (sent, expected) in [("0", "0"), ("1", "1"), ("2", "3"), ("3", "3"), ("0b", "3")] {
        let mut upstream = Upstream::hello().await;
        let mut edge = TestEdge::start(upstream.addr).await;
        let trace = format!("uber-trace-id: {TRACE_ID}:{SPAN_ID}:0:{sent}\r\n");
        edge.get("/", &trace).await;
        let request = upstream.request().await;
        let uber = header(&request, "uber-trace-id").unwrap();
        assert_eq!(uber.rsplit(':').next(), Some(expected), "{sent}");
        assert!(uber.starts_with(TRACE_ID));
        edge.line().await;
        let spans = edge.spans();
        assert_eq!(spans.len(), if sent == "0" { 0 } else { 2 });
        for span in spans {
            assert_eq!(span.span_context.trace_flags(), TraceFlags::SAMPLED);
        }
    }
}

#[tokio::test]
async fn without_propagators_every_trace_begins_at_the_edge() {
    let mut upstream = Upstream::hello().await;
    let setup = Setup {
        propagators: "none",
        ..Setup::default()
    };
    let mut edge = TestEdge::start_with(upstream.addr, setup).await;
    let trace = format!("uber-trace-id: {TRACE_ID}:{SPAN_ID}:0:1\r\n");
    edge.get("/", &trace).await;
    let (_, server) = edge.pair().await;
    assert_eq!(server.parent_span_id, SpanId::INVALID);
    assert!(upstream.request().await.contains(&trace));
}

#[tokio::test]
async fn a_reply_names_its_trace_unless_the_upstream_did() {
    let upstream = Upstream::hello().await;
    let mut edge = TestEdge::start(upstream.addr).await;
    let response = edge.get("/", "").await;
    let (_, server) = edge.pair().await;
    let (trace_id, span_id) = (
        server.span_context.trace_id(),
        server.span_context.span_id(),
    );
    let expected = format!("00-{trace_id}-{span_id}-01");
    assert_eq!(header(&response, "traceresponse"), Some(&*expected));

    let own =
        "HTTP/1.1 200 OK\r\ntraceresponse: own\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let upstream = Upstream::answering(own).await;
    let edge = TestEdge::start(upstream.addr).await;
    let response = edge.get("/", "").await;
    assert_eq!(header(&response, "traceresponse"), Some("own"));
}

#[tokio::test]
async fn an_unknown_host_leaves_a_server_span_as_in_traefik() {
    let upstream = Upstream::hello().await;
    let mut edge = TestEdge::start(upstream.addr).await;
    edge.ask("GET /x HTTP/1.1\r\nhost: other\r\n\r\n").await;
    let line = edge.line().await;
    let [server] = edge.spans().try_into().unwrap();
    assert_eq!(server.name, "GET");
    assert_eq!(server.span_kind, SpanKind::Server);
    assert_eq!(server.status, Status::Unset);
    assert_eq!(attributes(&server)["http.response.status_code"], "404");
    assert_eq!(line["span_id"], server.span_context.span_id().to_string());
}

#[tokio::test]
async fn what_a_client_chose_takes_little_room_in_spans() {
    let upstream = Upstream::hello().await;
    let mut edge = TestEdge::start(upstream.addr).await;
    let (path, agent) = ("\u{e9}".repeat(1000), "x".repeat(30_000));
    let path: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: {agent}\r\n\r\n");
    assert_eq!(status(&edge.ask(request).await), 200);
    let (client, server) = edge.pair().await;
    for span in [&client, &server] {
        for (name, value) in attributes(span) {
            assert!(value.len() <= 1024, "{name}: {} bytes", value.len());
        }
    }
    // A character is not cut in two.
    assert_eq!(attributes(&server)["url.path"].len(), 1023);
}

#[tokio::test]
async fn a_line_tells_of_a_request_without_its_query() {
    let upstream = Upstream::hello().await;
    let mut edge = TestEdge::start(upstream.addr).await;
    let request = format!(
        "POST /x?token=secret HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    );
    edge.ask(request).await;
    let line = edge.line().await;
    let [_, server] = edge.spans().try_into().unwrap();
    assert!(!line.to_string().contains("secret"));
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
    assert!(
        time.duration_until(jiff::Timestamp::now()).abs() < jiff::SignedDuration::from_secs(60)
    );
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    let expected = serde_json::json!({
        "time": line["time"],
        "severity": "INFO",
        "service.name": "edge",
        "method": "POST",
        "host": HOST,
        "path": "/x",
        "status": 200,
        "duration_ms": line["duration_ms"],
        "request_bytes": 3,
        "response_bytes": 6,
        "upstream": upstream.addr.to_string(),
        "client": line["client"],
        "trace_id": server.span_context.trace_id().to_string(),
        "span_id": server.span_context.span_id().to_string(),
    });
    assert_eq!(line, expected);
}

#[tokio::test]
async fn a_health_check_is_neither_traced_nor_logged() {
    let mut upstream = Upstream::hello().await;
    let mut edge = TestEdge::start(upstream.addr).await;
    let response = edge
        .ask("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:8000\r\n\r\n")
        .await;
    assert_eq!(status(&response), 200);
    assert!(response.ends_with("\r\n\r\nok\n"));
    assert_eq!(header(&response, "traceresponse"), None);
    assert!(edge.nothing_more_logged());
    assert!(edge.spans().is_empty());
    assert!(upstream.was_not_asked());

    edge.get("/healthz", "").await;
    assert!(upstream.request().await.starts_with("GET /healthz "));
    assert_eq!(edge.line().await["path"], "/healthz");
}
