//! What `/metrics` shows of requests that were served and sent, of the process and of what it is.

use std::{
    convert::Infallible,
    future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::{Router, body::Body, routing::get};
use expect_test::expect;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use opentelemetry::{
    KeyValue,
    trace::{Span as _, Tracer as _},
};
use opentelemetry_sdk::Resource;
use prometheus_client::registry::Registry;
use telemetry::{
    Config,
    http::{ClientLayer, Route, ServerLayer},
    metrics::{self, Metrics, Options},
};
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    headers::extract,
    http::{
        collected::Collected,
        serving::{Answer, hello, http_client, page, raw, serve},
    },
    recorder::builder,
};

fn text(metrics: &Metrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    metrics::text(&registry).unwrap()
}

/// What no clock decides: how often, not how long.
fn counts(text: &str) -> String {
    let kept = |line: &&str| {
        let is_bucket = line.contains("_bucket{") && !line.contains("le=\"+Inf\"");
        !is_bucket && !line.contains("_seconds_sum")
    };
    text.lines()
        .filter(kept)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The lines of a metric's samples.
fn samples<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let is_sample = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{'))
    };
    text.lines().filter(is_sample).collect()
}

#[tokio::test]
async fn requests_are_counted_by_what_the_conventions_name() {
    let collected = Collected::new();
    let metrics = Metrics::new();
    let router = Router::new()
        .route(
            "/books/{id}",
            get(async || "a book").delete(async || StatusCode::NOT_FOUND),
        )
        .route("/broken", get(async || StatusCode::SERVICE_UNAVAILABLE))
        .layer(
            collected
                .server()
                .exclude(["/healthz"])
                .https()
                .metrics(&metrics),
        );
    for (method, path) in [
        (Method::GET, "/books/1"),
        (Method::GET, "/books/2"),
        (Method::DELETE, "/books/2"),
        (Method::GET, "/broken"),
        (Method::GET, "/wp-login.php"),
        (Method::GET, "/healthz"),
        (Method::from_bytes(b"BREW").unwrap(), "/books/1"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    expect![[r##"
        # HELP http_server_request_duration_seconds Duration of HTTP server requests.
        # TYPE http_server_request_duration_seconds histogram
        # UNIT http_server_request_duration_seconds seconds
        http_server_request_duration_seconds_count{http_request_method="GET",url_scheme="https",network_protocol_version="1.1",http_response_status_code="404"} 1
        http_server_request_duration_seconds_bucket{le="+Inf",http_request_method="GET",url_scheme="https",network_protocol_version="1.1",http_response_status_code="404"} 1
        http_server_request_duration_seconds_count{http_request_method="DELETE",http_route="/books/{id}",url_scheme="https",network_protocol_version="1.1",http_response_status_code="404"} 1
        http_server_request_duration_seconds_bucket{le="+Inf",http_request_method="DELETE",http_route="/books/{id}",url_scheme="https",network_protocol_version="1.1",http_response_status_code="404"} 1
        http_server_request_duration_seconds_count{http_request_method="GET",http_route="/books/{id}",url_scheme="https",network_protocol_version="1.1",http_response_status_code="200"} 2
        http_server_request_duration_seconds_bucket{le="+Inf",http_request_method="GET",http_route="/books/{id}",url_scheme="https",network_protocol_version="1.1",http_response_status_code="200"} 2
        http_server_request_duration_seconds_count{http_request_method="_OTHER",http_route="/books/{id}",url_scheme="https",network_protocol_version="1.1",http_response_status_code="405"} 1
        http_server_request_duration_seconds_bucket{le="+Inf",http_request_method="_OTHER",http_route="/books/{id}",url_scheme="https",network_protocol_version="1.1",http_response_status_code="405"} 1
        http_server_request_duration_seconds_count{http_request_method="GET",http_route="/broken",url_scheme="https",network_protocol_version="1.1",error_type="503",http_response_status_code="503"} 1
        http_server_request_duration_seconds_bucket{le="+Inf",http_request_method="GET",http_route="/broken",url_scheme="https",network_protocol_version="1.1",error_type="503",http_response_status_code="503"} 1
        # HELP http_server_active_requests Number of active HTTP server requests.
        # TYPE http_server_active_requests gauge
        http_server_active_requests{http_request_method="GET",url_scheme="https"} 0
        http_server_active_requests{http_request_method="DELETE",url_scheme="https"} 0
        http_server_active_requests{http_request_method="_OTHER",url_scheme="https"} 0
        # EOF
    "##]].assert_eq(&without_exemplars(&counts(&text(&metrics))));
}

/// Ids and times of exemplars are other ones each time.
fn without_exemplars(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(" # {") {
        Some((sample, _)) => format!("{sample} # exemplar\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[tokio::test]
async fn a_bucket_leads_to_the_span_of_a_request_in_it() {
    let collected = Collected::new();
    let metrics = Metrics::new();
    let addr = serve(collected.server().metrics(&metrics), hello).await;
    let before = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    raw(addr, "GET / HTTP/1.0\r\n\r\n", "hello").await;
    let span = collected.wait(1).await.remove(0);
    let text = text(&metrics);
    let exemplars: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(" # "))
        .collect();
    let [(bucket, exemplar)] = exemplars[..] else {
        panic!("{text}");
    };
    assert!(
        bucket.starts_with("http_server_request_duration_seconds_bucket{le="),
        "{bucket}"
    );
    assert!(bucket.ends_with(" 1"), "{bucket}");
    let (trace, id) = (span.span_context.trace_id(), span.span_context.span_id());
    let ids = format!("{{trace_id=\"{trace}\",span_id=\"{id}\"}} ");
    let rest = exemplar.strip_prefix(&ids).unwrap();
    let (seconds, timestamp) = rest.split_once(' ').unwrap();
    let (seconds, timestamp): (f64, f64) = (seconds.parse().unwrap(), timestamp.parse().unwrap());
    let took = span.end_time.duration_since(span.start_time).unwrap();
    assert_eq!(
        seconds,
        took.as_secs_f64(),
        "the span and the measurement agree"
    );
    assert!(timestamp >= before, "{timestamp} is not after {before}");
}

#[tokio::test]
async fn an_unsampled_request_is_counted_and_leads_nowhere() {
    let collected = Collected::new();
    let metrics = Metrics::new();
    let addr = serve(collected.server().metrics(&metrics), hello).await;
    let unsampled = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let request = format!("GET / HTTP/1.0\r\n{unsampled}\r\n\r\n");
    let (mut stream, _) = raw(addr, &request, "hello").await;
    // The connection ends after the response, and so after its measurement.
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new())
        .await
        .unwrap();
    let text = text(&metrics);
    assert_eq!(
        samples(&text, "http_server_request_duration_seconds_count").len(),
        1
    );
    assert!(!text.contains(" # {"), "{text}");
}

#[tokio::test]
async fn where_telemetry_is_switched_off_contexts_pass_and_requests_are_counted() {
    let off = |name: &str| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
    let telemetry = telemetry::builder("a", "").config(Config::parse(off));
    let telemetry = telemetry.build().unwrap();
    let metrics = Metrics::new();
    let tracer = telemetry.tracer("a");
    let passed = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let peer = {
        let passed = passed.clone();
        service_fn(move |request: Request<Empty<Bytes>>| {
            let parent = request.headers().get("traceparent");
            let parent = parent.map(|parent| parent.to_str().unwrap().to_owned());
            passed.lock().unwrap().push(parent);
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        })
    };
    let client = ClientLayer::new(tracer.clone()).propagator(telemetry.propagator());
    let client = client.layer(peer);
    let server = ServerLayer::new(tracer).propagator(telemetry.propagator());
    let server = server
        .metrics(&metrics)
        .layer(service_fn(move |_: Request<()>| {
            let request = Request::get("http://a/").body(Empty::new()).unwrap();
            client.clone().oneshot(request)
        }));
    let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = Request::get("/").header("traceparent", sampled);
    let told = server
        .clone()
        .oneshot(request.body(()).unwrap())
        .await
        .unwrap();
    assert!(!told.headers().contains_key("traceresponse"));
    let told = server.oneshot(Request::new(())).await.unwrap();
    assert!(!told.headers().contains_key("traceresponse"));
    assert_eq!(*passed.lock().unwrap(), [Some(sampled.to_owned()), None]);
    let text = text(&metrics);
    let counts = samples(&text, "http_server_request_duration_seconds_count");
    assert!(counts[0].ends_with(" 2"), "{text}");
    assert!(!text.contains(" # {"), "{text}");
}

#[tokio::test]
async fn buckets_are_those_of_the_conventions() {
    let metrics = Metrics::new();
    let collected = Collected::new();
    let addr = serve(collected.server().metrics(&metrics), hello).await;
    raw(addr, "GET / HTTP/1.0\r\n\r\n", "hello").await;
    collected.wait(1).await;
    let text = text(&metrics);
    let buckets = samples(&text, "http_server_request_duration_seconds_bucket");
    let bounds: Vec<_> = buckets
        .iter()
        .map(|line| line.split('"').nth(1).unwrap())
        .collect();
    let conventions = "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 +Inf";
    assert_eq!(bounds.join(" "), conventions);
}

#[tokio::test]
async fn requests_are_active_until_they_are_over_however_that_comes_about() {
    let metrics = Metrics::new();
    let collected = Collected::new();
    let entered = std::sync::Arc::new(Notify::new());
    let notify = entered.clone();
    let addr = serve(collected.server().metrics(&metrics), move |_| {
        notify.notify_one();
        future::pending::<Answer>()
    })
    .await;
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    entered.notified().await;
    expect![[r##"
        # HELP http_server_active_requests Number of active HTTP server requests.
        # TYPE http_server_active_requests gauge
        http_server_active_requests{http_request_method="GET",url_scheme="http"} 1
        # EOF
    "##]]
    .assert_eq(&text(&metrics));
    drop(stream);
    collected.wait(1).await;
    expect![[r##"
        # HELP http_server_request_duration_seconds Duration of HTTP server requests.
        # TYPE http_server_request_duration_seconds histogram
        # UNIT http_server_request_duration_seconds seconds
        http_server_request_duration_seconds_count{http_request_method="GET",url_scheme="http",network_protocol_version="1.1",error_type="aborted"} 1
        http_server_request_duration_seconds_bucket{le="+Inf",http_request_method="GET",url_scheme="http",network_protocol_version="1.1",error_type="aborted"} 1
        # HELP http_server_active_requests Number of active HTTP server requests.
        # TYPE http_server_active_requests gauge
        http_server_active_requests{http_request_method="GET",url_scheme="http"} 0
        # EOF
    "##]].assert_eq(&without_exemplars(&counts(&text(&metrics))));
}

#[tokio::test]
async fn a_client_counts_by_the_host_that_it_asks() {
    let (collected, silent) = (Collected::new(), Collected::new());
    let metrics = Metrics::new();
    let addr = serve(silent.server(), async |request: Request<_>| {
        let mut response = page("hello");
        *response.status_mut() = request.uri().path()[1..].parse().unwrap();
        Ok(response)
    })
    .await;
    let client = collected.client().metrics(&metrics).layer(http_client());
    for status in [200, 200, 404] {
        let request = Request::get(format!("http://{addr}/{status}"));
        let request = request.body(Full::<Bytes>::default()).unwrap();
        client
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
    }
    let counts = without_exemplars(&counts(&text(&metrics)));
    expect![[r##"
        # HELP http_client_request_duration_seconds Duration of HTTP client requests.
        # TYPE http_client_request_duration_seconds histogram
        # UNIT http_client_request_duration_seconds seconds
        http_client_request_duration_seconds_count{http_request_method="GET",network_protocol_version="1.1",server_address="127.0.0.1",server_port="PORT",http_response_status_code="200"} 2
        http_client_request_duration_seconds_bucket{le="+Inf",http_request_method="GET",network_protocol_version="1.1",server_address="127.0.0.1",server_port="PORT",http_response_status_code="200"} 2
        http_client_request_duration_seconds_count{http_request_method="GET",network_protocol_version="1.1",server_address="127.0.0.1",error_type="404",server_port="PORT",http_response_status_code="404"} 1
        http_client_request_duration_seconds_bucket{le="+Inf",http_request_method="GET",network_protocol_version="1.1",server_address="127.0.0.1",error_type="404",server_port="PORT",http_response_status_code="404"} 1
        # EOF
    "##]].assert_eq(&counts.replace(&addr.port().to_string(), "PORT"));
}

#[tokio::test]
async fn calls_are_counted_by_their_method_and_status() {
    let collected = Collected::new();
    let metrics = Metrics::new();
    let answer = service_fn(async |request: Request<Empty<Bytes>>| {
        let code = request.headers()["wish"].clone();
        let response = Response::builder().header("content-type", "application/grpc");
        let response = response
            .header("grpc-status", code)
            .body(Empty::<Bytes>::new());
        Ok::<_, Infallible>(response.unwrap())
    });
    let server = ServerLayer::grpc(collected.tracer())
        .metrics(&metrics)
        .layer(answer);
    let origin = "http://books.example:50051".parse().unwrap();
    let client = ClientLayer::grpc(collected.tracer())
        .metrics(&metrics)
        .origin(&origin);
    let client = client.layer(server);
    for (path, code) in [
        ("/a.B/Get", "0"),
        ("/a.B/Get", "5"),
        ("/a.B/Get", "13"),
        ("/a.B/MadeUp1", "12"),
        ("/a.B/MadeUp2", "12"),
        ("/a.B/no/method", "12"),
    ] {
        let request = Request::post(path)
            .header("content-type", "application/grpc")
            .header("wish", code)
            .body(Empty::new())
            .unwrap();
        client.clone().oneshot(request).await.unwrap();
    }
    expect![[r##"
        # HELP rpc_server_call_duration_seconds Duration of inbound calls of gRPC.
        # TYPE rpc_server_call_duration_seconds histogram
        # UNIT rpc_server_call_duration_seconds seconds
        rpc_server_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED",error_type="UNIMPLEMENTED"} 3
        rpc_server_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED",error_type="UNIMPLEMENTED"} 3
        rpc_server_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="INTERNAL",error_type="INTERNAL"} 1
        rpc_server_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="INTERNAL",error_type="INTERNAL"} 1
        rpc_server_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="NOT_FOUND"} 1
        rpc_server_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="NOT_FOUND"} 1
        rpc_server_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="OK"} 1
        rpc_server_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="OK"} 1
        # HELP rpc_client_call_duration_seconds Duration of outbound calls of gRPC.
        # TYPE rpc_client_call_duration_seconds histogram
        # UNIT rpc_client_call_duration_seconds seconds
        rpc_client_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED",server_address="books.example",error_type="UNIMPLEMENTED",server_port="50051"} 1
        rpc_client_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED",server_address="books.example",error_type="UNIMPLEMENTED",server_port="50051"} 1
        rpc_client_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="INTERNAL",server_address="books.example",error_type="INTERNAL",server_port="50051"} 1
        rpc_client_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="INTERNAL",server_address="books.example",error_type="INTERNAL",server_port="50051"} 1
        rpc_client_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="NOT_FOUND",server_address="books.example",error_type="NOT_FOUND",server_port="50051"} 1
        rpc_client_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="NOT_FOUND",server_address="books.example",error_type="NOT_FOUND",server_port="50051"} 1
        rpc_client_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="OK",server_address="books.example",server_port="50051"} 1
        rpc_client_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="a.B/Get",rpc_response_status_code="OK",server_address="books.example",server_port="50051"} 1
        rpc_client_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="a.B/MadeUp1",rpc_response_status_code="UNIMPLEMENTED",server_address="books.example",error_type="UNIMPLEMENTED",server_port="50051"} 1
        rpc_client_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="a.B/MadeUp1",rpc_response_status_code="UNIMPLEMENTED",server_address="books.example",error_type="UNIMPLEMENTED",server_port="50051"} 1
        rpc_client_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="a.B/MadeUp2",rpc_response_status_code="UNIMPLEMENTED",server_address="books.example",error_type="UNIMPLEMENTED",server_port="50051"} 1
        rpc_client_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="a.B/MadeUp2",rpc_response_status_code="UNIMPLEMENTED",server_address="books.example",error_type="UNIMPLEMENTED",server_port="50051"} 1
        # EOF
    "##]].assert_eq(&without_exemplars(&counts(&text(&metrics))));
}

#[tokio::test]
async fn bodies_are_measured_on_request() {
    let collected = Collected::new();
    let metrics = Metrics::with(Options {
        body_sizes: true,
        ..Options::default()
    });
    let addr = serve(
        collected.server().metrics(&metrics),
        async |request: Request<hyper::body::Incoming>| {
            request.collect().await.unwrap();
            Ok(page("hello"))
        },
    )
    .await;
    let body = "x".repeat(1000);
    raw(
        addr,
        &format!("POST / HTTP/1.0\r\nContent-Length: 1000\r\n\r\n{body}"),
        "hello",
    )
    .await;
    collected.wait(1).await;
    let text = text(&metrics);
    let shown: Vec<_> = text
        .lines()
        .skip_while(|line| !line.contains("body_size"))
        .collect();
    expect![[r##"
        # HELP http_server_request_body_size_bytes Size of HTTP request bodies.
        # TYPE http_server_request_body_size_bytes histogram
        # UNIT http_server_request_body_size_bytes bytes
        http_server_request_body_size_bytes_sum{http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1000.0
        http_server_request_body_size_bytes_count{http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="256.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 0
        http_server_request_body_size_bytes_bucket{le="1024.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="4096.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="16384.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="65536.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="262144.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="1048576.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="4194304.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="16777216.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="67108864.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_request_body_size_bytes_bucket{le="+Inf",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        # HELP http_server_response_body_size_bytes Size of HTTP response bodies.
        # TYPE http_server_response_body_size_bytes histogram
        # UNIT http_server_response_body_size_bytes bytes
        http_server_response_body_size_bytes_sum{http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 5.0
        http_server_response_body_size_bytes_count{http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="256.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="1024.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="4096.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="16384.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="65536.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="262144.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="1048576.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="4194304.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="16777216.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="67108864.0",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        http_server_response_body_size_bytes_bucket{le="+Inf",http_request_method="POST",url_scheme="http",network_protocol_version="1.0",http_response_status_code="200"} 1
        # HELP http_server_active_requests Number of active HTTP server requests.
        # TYPE http_server_active_requests gauge
        http_server_active_requests{http_request_method="POST",url_scheme="http"} 0
        # EOF"##]].assert_eq(&shown.join("\n"));
}

#[tokio::test]
async fn strangers_cannot_make_series() {
    let metrics = Metrics::new();
    let tracer = Collected::new().tracer();
    let answer = service_fn(async |_: Request<Empty<Bytes>>| {
        let response = Response::builder().status(StatusCode::NOT_FOUND);
        Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
    });
    let http = ServerLayer::new(tracer.clone())
        .metrics(&metrics)
        .layer(answer);
    let grpc = ServerLayer::grpc(tracer).metrics(&metrics).layer(answer);
    for number in 0..5000 {
        let request = |content_type: &str| {
            Request::builder()
                .method(Method::from_bytes(format!("BREW{number}").as_bytes()).unwrap())
                .uri(format!("http://host{number}/a.B/C{number}"))
                .header("host", format!("host{number}"))
                .header("user-agent", format!("agent/{number}"))
                .header("content-type", content_type)
                .body(Empty::new())
                .unwrap()
        };
        http.clone().oneshot(request("text/html")).await.unwrap();
        grpc.clone()
            .oneshot(request("application/grpc"))
            .await
            .unwrap();
    }
    expect![[r##"
        # HELP http_server_request_duration_seconds Duration of HTTP server requests.
        # TYPE http_server_request_duration_seconds histogram
        # UNIT http_server_request_duration_seconds seconds
        http_server_request_duration_seconds_count{http_request_method="_OTHER",url_scheme="http",network_protocol_version="1.1",http_response_status_code="404"} 5000
        http_server_request_duration_seconds_bucket{le="+Inf",http_request_method="_OTHER",url_scheme="http",network_protocol_version="1.1",http_response_status_code="404"} 5000
        # HELP http_server_active_requests Number of active HTTP server requests.
        # TYPE http_server_active_requests gauge
        http_server_active_requests{http_request_method="_OTHER",url_scheme="http"} 0
        # HELP rpc_server_call_duration_seconds Duration of inbound calls of gRPC.
        # TYPE rpc_server_call_duration_seconds histogram
        # UNIT rpc_server_call_duration_seconds seconds
        rpc_server_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED",error_type="UNIMPLEMENTED"} 5000
        rpc_server_call_duration_seconds_bucket{le="+Inf",rpc_system_name="grpc",rpc_method="_OTHER",rpc_response_status_code="UNIMPLEMENTED",error_type="UNIMPLEMENTED"} 5000
        # EOF
    "##]].assert_eq(&without_exemplars(&counts(&text(&metrics))));
}

#[tokio::test]
async fn hosts_and_routes_without_end_fit_into_the_limit() {
    let metrics = Metrics::with(Options {
        max_series: 50,
        ..Options::default()
    });
    let tracer = Collected::new().tracer();
    let answer = service_fn(async |request: Request<Empty<Bytes>>| {
        let mut response = Response::new(Empty::<Bytes>::new());
        let route = request.uri().path().to_owned().into();
        response.extensions_mut().insert(Route(route));
        Ok::<_, Infallible>(response)
    });
    let server = ServerLayer::new(tracer.clone())
        .metrics(&metrics)
        .layer(answer);
    let client = ClientLayer::new(tracer).metrics(&metrics).layer(server);
    for number in 0..5000 {
        let request = Request::get(format!("http://host{number}/{number}")).body(Empty::new());
        client.clone().oneshot(request.unwrap()).await.unwrap();
    }
    let text = text(&metrics);
    for name in [
        "http_server_request_duration_seconds",
        "http_client_request_duration_seconds",
    ] {
        let counts = samples(&text, &format!("{name}_count"));
        assert_eq!(counts.len(), 51);
        let rest = format!("{name}_count{{otel_metric_overflow=\"true\"}} 4950");
        assert!(counts.contains(&rest.as_str()), "{counts:?}");
    }
}

#[test]
fn what_a_process_is_is_shown() {
    let mut registry = Registry::default();
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", "book\"app\"\n"),
        KeyValue::new("service.version", "1.2.3"),
        KeyValue::new("host_name", "b"),
        KeyValue::new("host.name", "a"),
        KeyValue::new("2nd", true),
    ]);
    metrics::register_target(&mut registry, &resource.build());
    expect![[r##"
        # HELP target What this process is.
        # TYPE target info
        target_info{_2nd="true",host_name="a;b",service_name="book\"app\"\n",service_version="1.2.3"} 1
        # EOF
    "##]].assert_eq(&metrics::text(&registry).unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_process_uses_is_shown() {
    let mut registry = Registry::default();
    metrics::register_process(&mut registry);
    let text = metrics::text(&registry).unwrap();
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    assert!((now - 3600.0..now + 1.0).contains(&value("process_start_time_seconds")));
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_threads") >= 1.0);
    assert!(
        text.contains("# TYPE process_cpu_seconds counter\n"),
        "{text}"
    );
}

#[test]
fn what_became_of_every_span_is_shown_with_why_it_was_lost() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let telemetry = builder(&[&format!("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}")])
        .shutdown_timeout(Duration::ZERO)
        .build()
        .unwrap();
    let mut registry = Registry::default();
    metrics::register_telemetry(&mut registry, &telemetry);
    let tracer = telemetry.tracer("t");
    let late = tracer.start("late");
    for _ in 0..3 {
        tracer.start("s").end();
    }
    let shown = || {
        let text = metrics::text(&registry).unwrap();
        let ours = |line: &&str| line.contains("otel_sdk_");
        let lines: Vec<_> = text.lines().filter(ours).collect();
        lines.join("\n")
    };
    let waiting = shown();
    assert!(
        waiting.contains("otel_sdk_processor_span_queue_size 3"),
        "{waiting}"
    );
    telemetry.shutdown_blocking().unwrap_err();
    drop(late);
    expect![[r##"
        # HELP otel_sdk_span_started The number of created spans.
        # TYPE otel_sdk_span_started counter
        otel_sdk_span_started_total{otel_span_sampling_result="RECORD_AND_SAMPLE"} 4
        # HELP otel_sdk_processor_span_processed The number of spans for which the processing has finished, either successful or failed.
        # TYPE otel_sdk_processor_span_processed counter
        otel_sdk_processor_span_processed_total{} 3
        otel_sdk_processor_span_processed_total{error_type="queue_full"} 0
        otel_sdk_processor_span_processed_total{error_type="oversized"} 0
        otel_sdk_processor_span_processed_total{error_type="already_shutdown"} 1
        # HELP otel_sdk_processor_span_queue_size The number of spans in the queue, those on their way included.
        # TYPE otel_sdk_processor_span_queue_size gauge
        otel_sdk_processor_span_queue_size 0
        # HELP otel_sdk_exporter_span_exported The number of spans for which the export has finished, either successful or failed.
        # TYPE otel_sdk_exporter_span_exported counter
        otel_sdk_exporter_span_exported_total{} 0
        otel_sdk_exporter_span_exported_total{error_type="rejected"} 0
        otel_sdk_exporter_span_exported_total{error_type="refused"} 0
        otel_sdk_exporter_span_exported_total{error_type="gave_up"} 0
        otel_sdk_exporter_span_exported_total{error_type="panicked"} 0
        otel_sdk_exporter_span_exported_total{error_type="unflushed"} 3"##]].assert_eq(&shown());
}

#[test]
fn headers_that_were_not_believed_and_callers_beyond_the_limit_are_shown() {
    let telemetry = builder(&[
        "OTEL_PROPAGATORS=tracecontext",
        "OTEL_TRACES_EXPORTER=none",
        "TELEMETRY_REMOTE_TRACES_PER_SECOND=0",
    ]);
    let telemetry = telemetry.build().unwrap();
    let mut registry = Registry::default();
    metrics::register_telemetry(&mut registry, &telemetry);
    let tracer = telemetry.tracer("t");
    let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let extracted = |traceparent: &'static str, tracestate: &'static str| {
        let traceparent = ("traceparent".parse().unwrap(), traceparent.parse().unwrap());
        let tracestate = ("tracestate".parse().unwrap(), tracestate.parse().unwrap());
        let headers = HeaderMap::from_iter([traceparent, tracestate]);
        extract(&telemetry.propagator(), &headers)
    };
    let (caller, bad) = extracted(sampled, "a=1,a=2");
    assert_eq!(bad, ["tracestate/repeated"]);
    tracer.start_with_context("s", &caller).end();
    for (tracestate, why) in [("a", "format"), ("A=1", "format")] {
        let (_, bad) = extracted(sampled, tracestate);
        assert_eq!(bad, [format!("tracestate/{why}")]);
    }
    // Without a caller its state is not looked at.
    let (_, bad) = extracted("nonsense", "a");
    assert_eq!(bad, ["traceparent/length"]);
    let text = metrics::text(&registry).unwrap();
    assert!(
        text.contains("\ntelemetry_limited_traces_total 1\n"),
        "{text}"
    );
    // Others of this process count as well.
    let bad = samples(&text, "telemetry_bad_contexts_total");
    let counted = |line: &&str| {
        line.contains("header=\"traceparent\",kind=\"length\"") && !line.ends_with(" 0")
    };
    assert!(bad.iter().any(counted), "{text}");
    assert!(!text.contains("otel_sdk_"), "{text}");
}
