//! What browsers get.

use std::{
    fs,
    io::{self, Write},
    process::Command,
};

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::{
    inputs::{CHAIN, chain, plain, request, span_id},
    server::{Server, start},
};

#[tokio::test]
async fn pages_and_their_parts_come_with_a_strict_policy() {
    let server = start().await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/trace/abc", "text/html; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/format.js", "text/javascript; charset=utf-8"),
        ("/assets/list.js", "text/javascript; charset=utf-8"),
        ("/assets/trace.js", "text/javascript; charset=utf-8"),
        ("/assets/tree.js", "text/javascript; charset=utf-8"),
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
async fn health_checks_and_probes_answer() {
    let server = start().await;
    assert_eq!(server.get("/ready").await.text(), "ready\n");
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/api/echo").await.text(), "echo");
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
    let mut spans = vec![
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
    spans.extend((10..250).map(|id| child(id, if id == 10 { 2 } else { id - 1 }, "deep")));
    let count = spans.len();
    server.export(request("</script>", spans)).await.unwrap();
    let Some(page) = in_chromium(&server, "/trace/a1").await else {
        return;
    };
    assert_eq!(page.matches("role=\"treeitem\"").count(), count, "{page}");
    assert!(page.contains("aria-level=\"242\""));
    assert_eq!(page.matches(">circle<").count(), 2);
    assert_eq!(page.matches(">parent missing<").count(), 1);
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    assert!(!page.contains("<img"));
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
