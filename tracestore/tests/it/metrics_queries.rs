//! Series that TraceQL makes of spans, as Grafana asks for them.

use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};
use serde_json::{Value, json};

use crate::{
    inputs::{MS, NINE, from_service, int, plain, request, span_id},
    server::{Server, start},
};

/// Starts so many seconds after nine and takes so many milliseconds.
fn span(trace: &str, id: u8, name: &str, second: u64, milliseconds: u64) -> Span {
    let start = NINE + second * 1000 * MS;
    Span {
        start_time_unix_nano: start,
        end_time_unix_nano: start + milliseconds * MS,
        ..plain(trace, id, name)
    }
}

/// Two minutes: three spans in the first, of which one starts when it ends, and two in the second.
async fn two_minutes() -> Server {
    let server = start().await;
    let mut get = span("a1", 1, "GET", 10, 4);
    get.attributes = vec![int("http.response.status_code", 200)];
    let post = span("a2", 2, "POST", 20, 8);
    let late = span("a3", 3, "GET", 70, 16);
    let parent = span("a4", 4, "GET", 60, 4);
    let child = Span {
        parent_span_id: span_id(4),
        status: Some(Status {
            code: StatusCode::Error.into(),
            ..Status::default()
        }),
        ..span("a4", 5, "redis_call", 61, 2)
    };
    let shop = from_service("shop", vec![get, post, late]);
    let mut sent = request("cart", vec![parent, child]);
    sent.resource_spans.push(shop);
    server.export(sent).await.unwrap();
    server
}

fn text(value: &Value) -> String {
    let value = value.as_object().unwrap().values().next().unwrap();
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn labels(series: &Value) -> String {
    let labels = series["labels"].as_array().unwrap().iter();
    let label = |label: &Value| {
        format!(
            "{}={}",
            label["key"].as_str().unwrap(),
            text(&label["value"])
        )
    };
    labels.map(label).collect::<Vec<_>>().join(" ")
}

/// Each series with its points that are not zero: seconds after nine, and values.
async fn range(server: &Server, query: &str) -> Vec<String> {
    let at = |second: u64| NINE / (1000 * MS) + second;
    let path = format!(
        "/api/metrics/query_range?start={}&end={}&step=1m&q={}",
        at(0),
        at(120),
        encoded(query)
    );
    let answer = server.get(&path).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let answer = answer.json();
    let point = |sample: &Value| {
        let time: u64 = sample["timestampMs"].as_str().unwrap().parse().unwrap();
        let value = sample.get("value")?;
        Some(format!("{}:{value}", time / 1000 - at(0)))
    };
    let line = |series: &Value| {
        let samples = series["samples"].as_array().unwrap();
        let points: Vec<_> = samples.iter().filter_map(point).collect();
        format!("{} {}", labels(series), points.join(" "))
    };
    answer["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(line)
        .collect()
}

/// Percent-encoded.
fn encoded(query: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    query.bytes().map(byte).collect()
}

#[tokio::test]
async fn a_query_makes_the_series_that_it_describes() {
    let server = two_minutes().await;
    for (query, expected) in [
        (
            "{} | count_over_time()",
            &["__name__=count_over_time 60:3 120:2"][..],
        ),
        (
            "{} | rate()",
            &["__name__=rate 60:0.05 120:0.03333333333333333"],
        ),
        (
            "{} | count_over_time() by (name)",
            &[
                "name=GET 60:2 120:1",
                "name=POST 60:1",
                "name=redis_call 120:1",
            ],
        ),
        (
            "{} | count_over_time() by (resource.service.name, status)",
            &[
                "resource.service.name=cart status=error 120:1",
                "resource.service.name=cart status=unset 60:1",
                "resource.service.name=shop status=unset 60:2 120:1",
            ],
        ),
        (
            "{} | count_over_time() by (.http.response.status_code)",
            &[
                ".http.response.status_code=200 60:1",
                ".http.response.status_code=nil 60:2 120:2",
            ],
        ),
        (
            "{ status = error } | count_over_time() by (name)",
            &["name=redis_call 120:1"],
        ),
        (
            "{ name = `GET` } | max_over_time(duration)",
            &["__name__=max_over_time 60:0.004 120:0.016"],
        ),
        (
            "{} | avg_over_time(duration) by (resource.service.name)",
            &[
                "resource.service.name=cart 60:0.004 120:0.002",
                "resource.service.name=shop 60:0.006 120:0.016",
            ],
        ),
        (
            "{} | sum_over_time(span.http.response.status_code)",
            &["__name__=sum_over_time 60:200"],
        ),
        // Whole buckets: up to 2^21 and 2^22 ns.
        (
            "{} | quantile_over_time(duration, 0.5)",
            &["p=0.5 60:0.004194304 120:0.002097152"],
        ),
        (
            "{ name = `GET` } | histogram_over_time(duration)",
            &["__bucket=0.004194304 60:2", "__bucket=0.016777216 120:1"],
        ),
        (
            "{} | count_over_time() by (name) | topk(1)",
            &["name=GET 60:2 120:1"],
        ),
        ("{} | count_over_time() by (name) > 1", &["name=GET 60:2"]),
        (
            "{ name = `GET` } > { } | count_over_time() by (name)",
            &["name=redis_call 120:1"],
        ),
        (
            "{} | count() > 1 | count_over_time() by (resource.service.name)",
            &["resource.service.name=cart 60:1 120:1"],
        ),
        (
            "{} | count_over_time() by (rootName)",
            &["rootName=GET 60:2 120:2", "rootName=POST 60:1"],
        ),
        ("{ name = `absent` } | rate()", &["__name__=rate "]),
        ("{ name = `absent` } | rate() by (name)", &[]),
    ] {
        assert_eq!(range(&server, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn comparing_spans_tells_what_sets_some_apart() {
    let server = two_minutes().await;
    let series = range(&server, "{} | compare({ status = error })").await;
    for expected in [
        "__meta_type=baseline name=GET 60:2 120:1",
        "__meta_type=baseline name=POST 60:1",
        "__meta_type=selection name=redis_call 120:1",
        "__meta_type=baseline_total name=nil 60:3 120:1",
        "__meta_type=selection_total name=nil 120:1",
        "__meta_type=selection resource.service.name=cart 120:1",
        "__meta_type=baseline span.http.response.status_code=200 60:1",
    ] {
        assert!(
            series.iter().any(|line| line == expected),
            "{expected} in {series:#?}"
        );
    }
}

#[tokio::test]
async fn series_have_the_shape_that_grafana_reads() {
    let server = two_minutes().await;
    let query = encoded("{ status = error } | rate() by (name)");
    let second = NINE / (1000 * MS);
    let path = format!(
        "start={second}&end={}&step=60&exemplars=10&q={query}",
        second + 120
    );
    let range = server
        .get(&format!("/api/metrics/query_range?{path}"))
        .await;
    assert_eq!(
        range.json(),
        json!({
            "series": [{
                "labels": [{"key": "name", "value": {"stringValue": "redis_call"}}],
                "samples": [
                    {"timestampMs": "1795251600000"},
                    {"timestampMs": "1795251660000"},
                    {"timestampMs": "1795251720000", "value": 0.016666666666666666},
                ],
                "exemplars": [{
                    "labels": [{
                        "key": "trace:id",
                        "value": {"stringValue": "000000000000000000000000000000a4"},
                    }],
                    "value": 0.016666666666666666,
                    "timestampMs": "1795251661000",
                }],
            }],
            "metrics": {"completedJobs": 1, "totalJobs": 1},
        })
    );
    let instant = server.get(&format!("/api/metrics/query?{path}")).await;
    assert_eq!(
        instant.json(),
        json!({
            "series": [{
                "labels": [{"key": "name", "value": {"stringValue": "redis_call"}}],
                "value": 0.008333333333333333,
            }],
            "metrics": {"completedJobs": 1, "totalJobs": 1},
        })
    );
}

#[tokio::test]
async fn exemplars_lead_to_traces_whatever_finds_the_spans() {
    let server = two_minutes().await;
    let second = NINE / (1000 * MS);
    for (query, expected) in [
        (
            "{ } | max_over_time(duration) by (resource.service.name)",
            &["cart a4 0.004 60", "shop a1 0.004 10", "shop a3 0.016 70"][..],
        ),
        (
            "{ } > { } | quantile_over_time(duration, .9)",
            &["0.9 a4 0.002 61"],
        ),
        (
            "{ } | count_over_time() by (rootName)",
            &["GET a1 2 10", "GET a3 2 70", "POST a2 1 20"],
        ),
        ("{ } | rate() with (exemplars=false)", &[]),
    ] {
        let path = format!(
            "/api/metrics/query_range?start={second}&end={}&step=60&q={}",
            second + 120,
            encoded(query)
        );
        let answer = server.get(&path).await.json();
        let mut found = Vec::new();
        for series in answer["series"].as_array().unwrap() {
            let label = text(&series["labels"][0]["value"]);
            for exemplar in series["exemplars"].as_array().into_iter().flatten() {
                assert_eq!(exemplar["labels"][0]["key"], "trace:id");
                let id = text(&exemplar["labels"][0]["value"]);
                let trace = server.get(&format!("/api/traces/{id}")).await;
                assert_eq!(trace.status, 200, "{id}");
                let time: u64 = text(&json!({"": exemplar["timestampMs"]})).parse().unwrap();
                let value = &exemplar["value"];
                let id = id.trim_start_matches('0');
                found.push(format!("{label} {id} {value} {}", time / 1000 - second));
            }
        }
        found.sort();
        for expected in expected {
            assert!(
                found.iter().any(|found| found == expected),
                "{expected} in {found:#?} for {query}"
            );
        }
        assert_eq!(found.is_empty(), expected.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn bad_metrics_queries_are_refused_in_plain_text() {
    let server = two_minutes().await;
    let rate = format!("q={}", encoded("{} | rate()"));
    let query = |query: &str| format!("q={}", encoded(query));
    for (parameters, why) in [
        (String::new(), "the parameter q is missing"),
        (query("{} | rate() by ("), "at offset 16"),
        (
            query("undefined != nil} | rate() by(undefined)"),
            "at offset 0",
        ),
        (query("{ name = `GET` }"), "makes no series"),
        (
            query("{} >> ({} | by(name)) | rate()"),
            "one spanset of each side",
        ),
        (
            format!("{rate}&start=2&end=1"),
            "end must be greater than start",
        ),
        (format!("{rate}&start=x"), "invalid start"),
        (format!("{rate}&step=fast"), "invalid step"),
    ] {
        for path in ["query_range", "query"] {
            let path = format!("/api/metrics/{path}?start=1795251600&end=1795251720&{parameters}");
            // Of a repeated parameter the first counts.
            let path = match parameters.contains("start=") {
                true => path.replacen("start=1795251600&end=1795251720&", "", 1),
                false => path,
            };
            let answer = server.get(&path).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.text());
            assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
            assert!(answer.text().contains(why), "{path}: {}", answer.text());
        }
    }
    let path = format!("/api/metrics/query_range?start=0&end=2000000000&step=1&{rate}");
    let answer = server.get(&path).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("step of 1s is too small"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_query_that_makes_too_many_series_is_refused() {
    let server = start().await;
    let spans = (0..1000).map(|number| Span {
        attributes: vec![
            int("number", number),
            crate::inputs::text("text", &format!("{number:04000}")),
        ],
        ..span("a1", 1, "GET", 10, 4)
    });
    server
        .export(request("shop", spans.collect()))
        .await
        .unwrap();
    let quantiles = |many| {
        let each = (0..many).map(|number| format!("0.{number:03}"));
        each.collect::<Vec<_>>().join(", ")
    };
    for (query, is_range) in [
        ("{} | rate() by (span.number)", true),
        ("{} | by(name) | rate() by (span.number)", true),
        ("{} | histogram_over_time(duration) by (span.number)", true),
        // Each quantile is a series, also of a single group.
        (
            &*format!("{{}} | quantile_over_time(duration, {})", quantiles(1000)),
            true,
        ),
        // Labels take room too, even if there is one point.
        (
            &*format!(
                "{{}} | quantile_over_time(duration, {}) by (span.text)",
                quantiles(20)
            ),
            false,
        ),
        (
            &*format!(
                "{{}} | by(name) | quantile_over_time(duration, {}) by (span.text)",
                quantiles(20)
            ),
            false,
        ),
    ] {
        let path = if is_range { "query_range" } else { "query" };
        let time = "start=1795251600&end=1795260600&step=1";
        let answer = server
            .get(&format!("/api/metrics/{path}?{time}&q={}", encoded(query)))
            .await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(
            answer.text().contains("too many series"),
            "{query}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn older_clients_list_tags_without_types() {
    let server = two_minutes().await;
    let tags = server.get("/api/search/tags").await.json();
    assert_eq!(
        tags,
        json!({"tagNames": ["http.response.status_code", "service.name"]})
    );
    for (tag, expected) in [
        ("service.name", json!(["cart", "shop"])),
        ("resource.service.name", json!(["cart", "shop"])),
        ("http.response.status_code", json!(["200"])),
        ("name", json!(["GET", "POST", "redis_call"])),
        ("absent", json!([])),
        ("%7D", json!([])),
    ] {
        let found = server.get(&format!("/api/search/tag/{tag}/values")).await;
        assert_eq!(found.json(), json!({"tagValues": expected}), "{tag}");
    }
}
