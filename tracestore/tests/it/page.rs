//! What browsers get.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    process::Command,
};

use hyper::Method;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message as _;

use crate::{
    inputs::{CHAIN, chain, plain, request, span_id},
    logs::{JSON, PROTOBUF, of_service, post_to, record},
    server::{Server, send, start},
};

#[tokio::test]
async fn pages_and_their_parts_come_with_a_strict_policy() {
    let server = start().await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/trace/abc", "text/html; charset=utf-8"),
        ("/services", "text/html; charset=utf-8"),
        ("/logs", "text/html; charset=utf-8"),
        ("/setup", "text/html; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/list.js", "text/javascript; charset=utf-8"),
        ("/api/search", "application/json"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.headers["content-type"], kind);
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
        assert!(!policy.contains("unsafe"));
    }
}

#[tokio::test]
async fn the_status_says_when_spans_log_records_and_a_prometheus_were_heard_of_last() {
    let server = start().await;
    let heard = async || server.get("/status.json").await.json()["heard"].take();
    let none = serde_json::json!({
        "spansUnixNano": "0", "logsUnixNano": "0", "scraperUnixNano": "0",
    });
    assert_eq!(heard().await, none);
    // Neither a person who looks at metrics nor a request without a span counts.
    server.get("/metrics").await;
    server.post(&[JSON], "{}").await;
    assert_eq!(heard().await, none);

    let since = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_nanos();
    server.export(chain()).await.unwrap();
    let records = of_service("shop", vec![record(0, "here")]).encode_to_vec();
    post_to(&server.otlp_http.to_string(), &[PROTOBUF], records).await;
    let scraper = [("x-prometheus-scrape-timeout-seconds", "10")];
    server.get_with("/metrics", &scraper).await;
    let heard = heard().await;
    for who in ["spansUnixNano", "logsUnixNano", "scraperUnixNano"] {
        let nanos: u128 = heard[who].as_str().unwrap().parse().unwrap();
        assert!(nanos >= since, "{who}: {heard}");
    }
}

#[tokio::test]
async fn every_file_that_a_page_or_another_file_names_is_there() {
    let server = start().await;
    let mut open = ["/", "/trace/abc", "/services", "/logs", "/setup"]
        .map(str::to_owned)
        .to_vec();
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        let named = answer.text().split('"');
        open.extend(
            named
                .filter(|text| text.starts_with("/assets/"))
                .map(str::to_owned),
        );
        assert!(answer.text().lines().count() < 800, "{path}");
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
    assert_eq!(
        seen.len(),
        fs::read_dir(folder).unwrap().count(),
        "{seen:?}"
    );
}

#[tokio::test]
async fn only_the_page_itself_may_send_to_the_port_of_the_page() {
    let server = start().await;
    let own = format!("http://{}", server.http);
    let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"000000000000000000000000000000a1",
        "spanId":"00000000000000b2","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}"#;
    let origin = |origin| ("origin", origin);
    let site = |site| ("sec-fetch-site", site);
    for (headers, status) in [
        (&[origin(own.as_str()), site("same-origin")][..], 200),
        (&[origin(own.as_str())], 200),
        (&[site("same-origin")], 200),
        (&[], 403),
        (&[origin("null"), site("same-origin")], 403),
        (
            &[origin("http://localhost.example"), site("cross-site")],
            403,
        ),
        (&[origin(own.as_str()), site("same-site")], 403),
        (&[site("none")], 403),
        (&[origin("http://127.0.0.1:1")], 403),
        (&[origin(own.as_str()), origin("http://evil.example")], 403),
    ] {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        let address = server.http.to_string();
        let answer = send(&address, Method::POST, "/v1/traces", &headers, body.into()).await;
        assert_eq!(answer.status, status, "{headers:?} {}", answer.text());
    }
    assert_eq!(server.get("/v1/traces").await.status, 403);
    let found = server.get("/api/traces/a1").await;
    assert_eq!(found.status, 200);
    let rebound = [
        ("host", "rebound.example"),
        origin("http://rebound.example"),
        site("same-origin"),
        ("content-type", "application/json"),
    ];
    let address = server.http.to_string();
    let answer = send(&address, Method::POST, "/v1/traces", &rebound, body.into()).await;
    assert_eq!(answer.status, 421);
}

#[tokio::test]
async fn a_query_that_is_typed_is_answered_with_what_it_lacks() {
    let server = start().await;
    let ask = async |query: &str| server.get(&format!("/query.json?{query}")).await;
    // `{ name = "é" && status = }`, at the byte of the brace.
    let typed = ask("q=%7B%20name%20%3D%20%22%C3%A9%22%20%26%26%20status%20%3D%20%7D&at=26").await;
    let typed = typed.json();
    assert_eq!(typed["error"]["offset"], 26);
    let message = typed["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("expected an attribute"), "{message}");
    let completion = &typed["completion"];
    assert_eq!([&completion["from"], &completion["to"]], [26, 26]);
    assert_eq!(completion["words"][0]["text"], "error");
    assert_eq!(completion["attributes"], "every");
    assert_eq!(completion["values"]["of"], "status");
    let beside = &completion["values"]["beside"];
    assert_eq!(beside, "{ name = \"\u{e9}\" && true }");

    let whole = ask("q=%7B%7D%20%7C%20avg_over_time(span.size)")
        .await
        .json();
    assert_eq!(
        whole.to_string(),
        r#"{"metrics":{"function":"avg_over_time","of":"span.size"}}"#
    );
    assert_eq!(ask("q=%7B%7D").await.text(), "{}");
    assert_eq!(ask("q=%7B%7D&at=x").await.status, 400);
    assert_eq!(ask("").await.status, 400);
    let far = ask("q=%7B%7D&at=18446744073709551615").await.json();
    assert_eq!(far["completion"]["words"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn health_checks_and_probes_answer() {
    let server = start().await;
    assert_eq!(server.get("/ready").await.text(), "ready\n");
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/api/echo").await.text(), "echo\n");
    let buildinfo = server.get("/api/status/buildinfo").await.json();
    assert_eq!(buildinfo["version"], "3.0.3");
    assert_eq!(server.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn another_name_for_this_server_is_refused() {
    let server = start().await;
    let port = server.http.port();
    for (host, status) in [
        (format!("localhost:{port}"), 200),
        (format!("traces.localhost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        ("tracestore:3200".to_owned(), 200),
        ("TRACESTORE".to_owned(), 200),
        (format!("rebound.example:{port}"), 421),
        ("localhost.example".to_owned(), 421),
        ("user@localhost".to_owned(), 400),
        ("a b".to_owned(), 400),
        (String::new(), 400),
    ] {
        for path in ["/", "/api/search", "/ready"] {
            let answer = server.get_with(path, &[("host", &host)]).await;
            assert_eq!(answer.status, status, "{host} {path}");
        }
    }
    let two = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(server.get_with("/", &two).await.status, 400);
}

/// The page after its scripts have run, or `None` where there is no Chromium, which is a failure if `REQUIRE_ALL`
/// is set.
async fn in_chromium(server: &Server, path: &str) -> Option<String> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&folders).map(|folder| folder.join("chromium"));
    let Some(chromium) = programs.find(|program| program.is_file()) else {
        assert!(
            std::env::var_os("REQUIRE_ALL").is_none(),
            "no chromium on the PATH"
        );
        let _ = writeln!(
            io::stderr(),
            "SKIPPED a page of tracestore: no chromium on the PATH"
        );
        return None;
    };
    let profile = std::env::temp_dir().join(format!(
        "tracestore-page-{}-{}",
        std::process::id(),
        server.http.port()
    ));
    let mut command = Command::new(chromium);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=3000",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("http://{}{path}", server.http));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    fs::remove_dir_all(profile).unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn the_list_shows_a_trace_and_the_way_to_the_first_one() {
    let server = start().await;
    let Some(page) = in_chromium(&server, "/").await else {
        return;
    };
    assert!(page.contains("No traces yet"));
    assert!(page.contains("uservice3"));

    server.export(chain()).await.unwrap();
    let page = in_chromium(&server, "/").await.unwrap();
    assert!(page.contains(&format!("href=\"/trace/{CHAIN}\"")), "{page}");
    assert!(page.contains("1 error"), "{page}");
    assert!(page.contains("1.71 s"), "{page}");
}

#[tokio::test]
async fn whatever_the_parents_of_spans_are_every_span_is_shown_as_text() {
    let server = start().await;
    let child = |id: u8, parent: u8, name: &str| Span {
        parent_span_id: span_id(parent),
        ..plain("a1", id, name)
    };
    let spans = vec![
        plain("a1", 1, "<img src=x onerror=alert(1)>"),
        plain("a1", 1, "the same id"),
        child(2, 1, "child"),
        child(3, 3, "its own parent"),
        child(4, 255, "orphan"),
        child(5, 6, "circle one"),
        child(6, 7, "circle two"),
        child(7, 5, "circle three"),
        child(8, 6, "hangs from the circle"),
    ];
    let count = spans.len();
    server.export(request("</script>", spans)).await.unwrap();
    let Some(page) = in_chromium(&server, "/trace/a1").await else {
        return;
    };
    assert_eq!(page.matches("role=\"treeitem\"").count(), count, "{page}");
    assert_eq!(page.matches(">circle<").count(), 2);
    assert_eq!(page.matches(">parent missing<").count(), 1);
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    assert!(!page.contains("<img"));
}

#[tokio::test]
async fn a_server_that_shares_its_clients_id_is_shown_below_it_with_its_children() {
    let server = start().await;
    let child = |id: u8, parent: u8, name: &str, kind: SpanKind| Span {
        parent_span_id: span_id(parent),
        kind: kind as i32,
        ..plain("a1", id, name)
    };
    let spans = vec![
        plain("a1", 1, "root"),
        child(3, 2, "inside", SpanKind::Internal),
        child(2, 2, "server", SpanKind::Server),
        child(2, 1, "client", SpanKind::Client),
    ];
    server.export(request("a", spans)).await.unwrap();
    let Some(page) = in_chromium(&server, "/trace/a1").await else {
        return;
    };
    for level in 1..=4 {
        let level = format!("aria-level=\"{level}\"");
        assert_eq!(page.matches(&level).count(), 1, "{level} in {page}");
    }
    let at = |name: &str| page.find(&format!(">{name}<")).unwrap();
    assert!(at("client") < at("server") && at("server") < at("inside"));
    assert!(!page.contains(">circle<") && !page.contains("share an id"));
}

#[tokio::test]
async fn a_trace_that_is_not_here_is_looked_for() {
    let server = start().await;
    let Some(page) = in_chromium(&server, "/trace/abc").await else {
        return;
    };
    assert!(page.contains("Not here yet, still looking"), "{page}");
    let page = in_chromium(&server, "/trace/xyz").await.unwrap();
    assert!(page.contains("invalid character 'x'"), "{page}");
}
