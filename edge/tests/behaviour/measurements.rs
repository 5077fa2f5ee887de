//! What `/metrics` tells of requests.

use crate::support::{HOST, TestEdge, Upstream, nobody};

/// The counts and open requests in what `/metrics` shows, without exemplars.
fn counts(measured: &str) -> Vec<&str> {
    let lines = measured.lines().filter(|line| !line.starts_with('#'));
    let shown = lines.filter(|line| line.contains("_count{") || line.contains("_active_"));
    shown.collect()
}

#[tokio::test]
async fn a_forwarded_request_counts_by_its_route_and_by_its_upstream() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let mut edge = TestEdge::start(upstream.addr).await;
    edge.get("/a/path?and=query", "").await;
    let (client, server) = edge.pair().await;
    let measured = edge.measured();
    let (address, port) = (upstream.addr.ip(), upstream.addr.port());
    assert_eq!(
        counts(&measured),
        [
            format!(
                "http_server_request_duration_seconds_count{{http_request_method=\"GET\",url_scheme=\"http\",\
                 network_protocol_version=\"1.1\",server_address=\"{HOST}\",http_response_status_code=\"200\"}} 1"
            ),
            "http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"} 0"
                .to_owned(),
            format!(
                "http_client_request_duration_seconds_count{{http_request_method=\"GET\",network_protocol_version=\"1.1\",\
                 server_address=\"{address}\",server_port=\"{port}\",http_response_status_code=\"200\"}} 1"
            ),
        ]
    );
    for (side, span) in [("server", server), ("client", client)] {
        let ids = format!(
            "# {{trace_id=\"{}\",span_id=\"{}\"}}",
            span.span_context.trace_id(),
            span.span_context.span_id()
        );
        let bucket = format!("http_{side}_request_duration_seconds_bucket{{");
        let mut buckets = measured.lines().filter(|line| line.starts_with(&bucket));
        assert!(buckets.any(|line| line.contains(&ids)), "{measured}");
    }
}

#[tokio::test]
async fn a_failure_of_an_upstream_says_which_and_why() {
    let addr = nobody().await;
    let mut edge = TestEdge::start(addr).await;
    edge.get("/", "").await;
    edge.line().await;
    let measured = edge.measured();
    let counts = counts(&measured);
    assert_eq!(
        counts[0],
        format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"GET\",url_scheme=\"http\",\
             network_protocol_version=\"1.1\",server_address=\"{HOST}\",error_type=\"connection_refused\",\
             http_response_status_code=\"502\"}} 1"
        )
    );
    // The status is the edge's, and no answer of the upstream.
    assert_eq!(
        counts[2],
        format!(
            "http_client_request_duration_seconds_count{{http_request_method=\"GET\",network_protocol_version=\"1.1\",\
             server_address=\"{}\",error_type=\"connection_refused\",server_port=\"{}\"}} 1",
            addr.ip(),
            addr.port()
        )
    );
}

#[tokio::test]
async fn what_strangers_ask_for_makes_no_series() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let mut edge = TestEdge::start(upstream.addr).await;
    for n in 0..20 {
        let close = "connection: close\r\n\r\n";
        let request = format!("GET /{n} HTTP/1.1\r\nhost: {n}.example\r\n{close}");
        edge.ask(request).await;
        edge.line().await;
        edge.ask(format!("M{n} / HTTP/1.1\r\nhost: {HOST}\r\n{close}"))
            .await;
        edge.line().await;
    }
    let measured = edge.measured();
    let series = "http_server_request_duration_seconds_count{http_request_method";
    assert_eq!(
        counts(&measured),
        [
            format!(
                "{series}=\"GET\",url_scheme=\"http\",network_protocol_version=\"1.1\",\
                 http_response_status_code=\"404\"}} 20"
            ),
            format!(
                "{series}=\"_OTHER\",url_scheme=\"http\",network_protocol_version=\"1.1\",\
                 http_response_status_code=\"405\"}} 20"
            ),
            "http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"} 0"
                .to_owned(),
            "http_server_active_requests{http_request_method=\"_OTHER\",url_scheme=\"http\"} 0"
                .to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_request_whose_head_is_refused_counts() {
    let mut edge = TestEdge::start(nobody().await).await;
    edge.ask("nonsense\r\n\r\n").await;
    assert_eq!(edge.line().await["status"], 400);
    assert_eq!(
        counts(&edge.measured()),
        [
            "http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",url_scheme=\"http\",\
             http_response_status_code=\"400\"} 1",
            "http_server_active_requests{http_request_method=\"_OTHER\",url_scheme=\"http\"} 0",
        ]
    );
}
