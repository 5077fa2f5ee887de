//! Queries that no honest client asks are refused with their place, and those that take too much end.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::sleep,
};
use tonic::{Code, Status};

use crate::{
    bad_input::is_alive,
    inputs::{NINE, chain, plain, request, span_id, text},
    server::{Server, start},
    streaming::{
        call, query, raw_call,
        tempopb::{QueryRangeRequest, QueryRangeResponse, SearchRequest, SearchResponse},
    },
};

const SECOND: u64 = 1_000_000_000;

async fn search(server: &Server, asked: SearchRequest) -> Result<usize, Status> {
    let messages: Vec<SearchResponse> = call(server, "Search", asked).await?;
    Ok(messages.iter().map(|message| message.traces.len()).sum())
}

/// What a GET answers, of an address of any length, which clients of `http` do not ask for: its status and body.
async fn ask(server: &Server, address: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    let (mut read, mut write) = stream.split();
    let head = format!("GET {address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    // What is refused is refused before all of it is sent.
    let (_, read) = tokio::join!(
        write.write_all(head.as_bytes()),
        read.read_to_string(&mut answer)
    );
    read.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn what_is_no_query_is_refused_with_its_place_however_large_it_is() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let nested = |prefix: &str| format!("{{ {}true }}", prefix.repeat(100_000));
    let matching = |pattern: &str| format!("{{ name =~ \"{pattern}\" }}");
    for (text, why) in [
        (
            format!("{{ name = `{}` }}", "x".repeat(128 << 10)),
            "at offset",
        ),
        ("x".repeat(1 << 20), "at offset"),
        (nested("("), "at offset 102: "),
        (nested("!"), "at offset"),
        (nested("-"), "at offset"),
        ("({} >> ".repeat(10_000), "at offset"),
        ("{ ".repeat(50_000), "at offset 2: "),
        (
            "{ span.a = 99999999999999999999 }".to_owned(),
            "at offset 11: ",
        ),
        ("{ duration > 99999999999h }".to_owned(), "at offset 13: "),
        (
            "{ duration > 1h99999999999999999999m }".to_owned(),
            "at offset",
        ),
        (
            "{} | quantile_over_time(duration, 1e999)".to_owned(),
            "at offset",
        ),
        (matching(&"x".repeat(1 << 20)), "at offset"),
        (matching("((a{1000}){1000}){1000}"), "at offset 10: "),
        (matching("("), "at offset 10: "),
        ("{ bogus = 1 }".to_owned(), "at offset 2: "),
        ("{ span:bogus = 1 }".to_owned(), "at offset"),
        ("{ parent.a = 1 }".to_owned(), "at offset 2: "),
        ("{ status = 2 }".to_owned(), "at offset"),
    ] {
        let refused = search(&server, query(&text)).await.unwrap_err();
        let start: String = text.chars().take(50).collect();
        assert_eq!(refused.code(), Code::InvalidArgument, "{start}: {refused}");
        assert!(refused.message().contains(why), "{start}: {refused}");
        assert!(refused.message().len() < 500, "{start}: {refused}");
        for path in [
            "/api/search",
            "/api/metrics/query_range",
            "/api/metrics/query",
        ] {
            let answer = ask(&server, &format!("{path}?q={}", encoded(&text))).await;
            let expected = (400, refused.message().to_owned());
            assert_eq!(answer, expected, "{path} {start}");
        }
        let asked = QueryRangeRequest {
            query: text,
            ..QueryRangeRequest::default()
        };
        let same: Result<Vec<QueryRangeResponse>, _> =
            call(&server, "MetricsQueryRange", asked).await;
        assert_eq!(same.unwrap_err().message(), refused.message(), "{start}");
    }
}

#[tokio::test]
async fn large_queries_that_are_valid_are_answered() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let mut long = "a".repeat(100_000);
    long.push('!');
    let span = Span {
        attributes: vec![text("text", &long[..4000])],
        ..plain("a1", 1, "long")
    };
    server.export(request("s", vec![span])).await.unwrap();
    for (text, found) in [
        (vec!["{}"; 10_000].join(" && "), 2),
        (format!("{{ {} }}", vec!["true"; 10_000].join(" && ")), 2),
        (
            format!("{{ {} }}", vec!["name = `x`"; 5000].join(" || ")),
            0,
        ),
        ("{ span.text =~ \"(a+)+$\" }".to_owned(), 1),
        ("{ span.text =~ \"(a+)+b\" }".to_owned(), 0),
        ("{ duration < 2562047h }".to_owned(), 2),
    ] {
        let start: String = text.chars().take(50).collect();
        let answer = search(&server, query(&text)).await;
        assert_eq!(answer.unwrap(), found, "{start}");
        let address = format!("/api/search?limit=20&q={}&spss=1", encoded(&text));
        let (status, body) = ask(&server, &address).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (status, answer["traces"].as_array().unwrap().len()),
            (200, found),
            "{start}"
        );
    }
}

#[tokio::test]
async fn absurd_numbers_are_refused_by_name() {
    let server = start().await;
    for (path, why) in [
        ("/api/search?limit=1000000000", "invalid limit"),
        ("/api/search?limit=-1", "invalid limit"),
        ("/api/search?spss=4294967295", "invalid spss"),
        ("/api/search?start=2&end=1", "start must be before end"),
        ("/api/search?start=1&end=4294967296", "invalid end"),
        (
            "/api/search?minDuration=999999999999h",
            "invalid minDuration",
        ),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains(why), "{path}: {}", answer.text());
    }
    is_alive(&server).await;
}

#[tokio::test]
async fn a_head_has_an_end_and_an_address_too() {
    let server = start().await;
    let long = "x".repeat(1 << 20);
    let (status, why) = ask(&server, &format!("/api/search?tag={long}")).await;
    assert_eq!((status, &*why), (414, "the address is too long"));
    let (status, _) = ask(&server, &format!("/{long}")).await;
    assert_eq!(status, 431);
    let (status, _) = ask(&server, &format!("/ HTTP/1.1\r\nlong: {long}\r\nx:")).await;
    assert_eq!(status, 431);
    is_alive(&server).await;
}

/// Takes minutes with the spans of [`many`].
fn heavy() -> String {
    vec!["{}>>{}"; 2000].join("&&")
}

async fn many(server: &Server) {
    for trace in 1..=20 {
        let spans = (0..2000_u16).map(|number| {
            let mut span = plain(&format!("{trace:x}"), 1, "many");
            let [high, low] = number.to_be_bytes();
            span.span_id = vec![1, 0, 0, 0, 0, 0, high, low];
            if number > 0 {
                span.parent_span_id = vec![1, 0, 0, 0, 0, 0, 0, 0];
            }
            span
        });
        let sent = request("s", spans.collect());
        server.export(sent).await.unwrap();
    }
    let last = Span {
        span_id: span_id(1),
        ..plain("ff", 1, "last")
    };
    server.export(request("s", vec![last])).await.unwrap();
}

#[tokio::test]
async fn more_queries_than_can_be_answered_are_told_to_come_again() {
    let server = start().await;
    many(&server).await;
    let busy = || async {
        let light = "/api/search?q=%7B%20name%20%3D%20%22last%22%20%7D";
        server.get(light).await.status == 429
    };
    assert!(!busy().await);
    let path = format!("/api/search?q={}", encoded(&heavy()));
    let ask = || -> JoinHandle<_> {
        let (address, path) = (server.http.to_string(), path.clone());
        tokio::spawn(async move { crate::server::get(&address, &path, &[]).await })
    };
    let mut asked: Vec<_> = (0..8).map(|_| ask()).collect();
    while !busy().await {
        for asked in asked.iter_mut().filter(|asked| asked.is_finished()) {
            // The light one had its place, or its deadline was over before all of them had begun.
            let answer = (&mut *asked).await.unwrap();
            assert_ne!(answer.status, 200, "not heavy");
            *asked = ask();
        }
        sleep(Duration::from_millis(10)).await;
    }
    let refused = search(&server, query("{}")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(refused.message(), "too many queries at once");

    for client in asked {
        client.abort();
    }
    while busy().await {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_heavy_query_ends_at_its_deadline() {
    let server = start().await;
    many(&server).await;
    // The client itself waits on.
    let timeout = [("grpc-timeout", "300m")];
    let status = raw_call(&server, "Search", &timeout, "localhost", query(&heavy())).await;
    assert_eq!(status, (200, Some(Code::DeadlineExceeded)));
    let counted = server.get("/metrics").await;
    let ended = r#"{route="/tempopb.StreamingQuerier/Search",outcome="deadline"} 1"#;
    assert!(counted.text().contains(ended), "{}", counted.text());
}

#[tokio::test]
async fn what_is_made_of_series_ends_at_the_deadline_too() {
    let server = start().await;
    many(&server).await;
    let comparisons = " >= 0".repeat(20_000);
    let asked = QueryRangeRequest {
        query: format!("{{}} | rate() by (span:id){comparisons}"),
        start: NINE,
        end: NINE + 100 * SECOND,
        step: SECOND,
        ..QueryRangeRequest::default()
    };
    let timeout = [("grpc-timeout", "1S")];
    let status = raw_call(&server, "MetricsQueryRange", &timeout, "localhost", asked).await;
    assert_eq!(status, (200, Some(Code::DeadlineExceeded)));
}

/// Percent-encoded, every byte of it, so that it is as long as it can be.
fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
