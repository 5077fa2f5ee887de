//! What Grafana's data source and Traces Drilldown ask, and what their code cannot bear in an answer.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValueList, any_value::Value as Any},
    trace::v1::{Span, Status, span::Event, status::StatusCode},
};
use serde_json::{Value, json};

use crate::{
    inputs::{MS, NINE, attribute, chain, int, plain, request, span_id, text},
    server::{Server, start},
};

/// Percent-encoded.
fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Attributes of one name and every type, and a failure with its exception.
async fn mixed() -> Server {
    let server = start().await;
    let list = |values: &[&str]| {
        let text = |text: &&str| AnyValue {
            value: Some(Any::StringValue((*text).to_owned())),
        };
        let values = values.iter().map(text).collect();
        Any::ArrayValue(ArrayValue { values })
    };
    let map = Any::KvlistValue(KeyValueList {
        values: vec![text("k", "v"), int("n", 1)],
    });
    let root = Span {
        attributes: vec![
            int("code", 200),
            int("size", 7),
            attribute("ratio", Any::DoubleValue(f64::NAN)),
            attribute("list", list(&["a", "b"])),
            attribute("map", map),
            text("a/b", "with a slash"),
            attribute("flag", Any::BoolValue(true)),
        ],
        ..plain("a1", 1, "root")
    };
    let child = Span {
        parent_span_id: span_id(1),
        start_time_unix_nano: NINE + 1,
        attributes: vec![
            text("code", "two hundred"),
            attribute("size", Any::DoubleValue(0.5)),
            attribute("ratio", Any::DoubleValue(0.5)),
            text("list", "plain"),
            text("flag", "yes"),
        ],
        status: Some(Status {
            code: StatusCode::Error.into(),
            message: "failed".to_owned(),
        }),
        events: vec![Event {
            time_unix_nano: NINE + MS,
            name: "exception".to_owned(),
            attributes: vec![
                text("exception.type", "Timeout"),
                text("exception.message", "no answer"),
            ],
            ..Event::default()
        }],
        ..plain("a1", 2, "child")
    };
    let sent = request("shop", vec![root, child]);
    server.export(sent).await.unwrap();
    server
}

async fn search(server: &Server, query: &str) -> Value {
    let path = format!("/api/search?spss=100&q={}", encoded(query));
    let answer = server.get(&path).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

/// The values of an attribute, of one span after the other.
fn column(found: &Value, key: &str) -> Vec<Value> {
    let sets = found["traces"][0]["spanSets"].as_array().unwrap().iter();
    let spans = sets.flat_map(|set| set["spans"].as_array().unwrap());
    let value = |span: &Value| {
        let attributes = span["attributes"].as_array()?.iter();
        let found = attributes.into_iter().find(|found| found["key"] == key)?;
        Some(found["value"].clone())
    };
    spans.filter_map(value).collect()
}

#[tokio::test]
async fn a_column_has_values_of_one_type_and_no_lists() {
    let server = mixed().await;
    let selected = "span.code, span.size, span.ratio, span.list, span.map, span.flag, span.a/b";
    // Through columns, and through the evaluator.
    for query in ["{}", "{} | count() > 1"] {
        let found = search(&server, &format!("{query} | select({selected})")).await;
        for (key, expected) in [
            (
                "code",
                json!([{"stringValue": "200"}, {"stringValue": "two hundred"}]),
            ),
            ("size", json!([{"intValue": "7"}, {"doubleValue": 0.5}])),
            (
                "ratio",
                json!([{"stringValue": "NaN"}, {"stringValue": "0.5"}]),
            ),
            (
                "list",
                json!([{"stringValue": "[\"a\",\"b\"]"}, {"stringValue": "plain"}]),
            ),
            (
                "flag",
                json!([{"stringValue": "true"}, {"stringValue": "yes"}]),
            ),
            ("a/b", json!([{"stringValue": "with a slash"}])),
        ] {
            assert_eq!(json!(column(&found, key)), expected, "{query}: {key}");
        }
        // A map is nothing that TraceQL knows.
        for value in column(&found, "map") {
            assert!(value["stringValue"].is_string(), "{value}");
        }
    }
    // One type alone stays what it is.
    let found = search(
        &server,
        "{ name = \"root\" } | select(span.code, span.flag)",
    )
    .await;
    assert_eq!(column(&found, "code"), [json!({"intValue": "200"})]);
    assert_eq!(column(&found, "flag"), [json!({"boolValue": true})]);
    // What the spans of a set have in common is in the columns too.
    let found = search(&server, "{} | by(span.code)").await;
    let sets = found["traces"][0]["spanSets"].as_array().unwrap();
    for set in sets {
        assert!(
            set["attributes"][0]["value"]["stringValue"].is_string(),
            "{set}"
        );
    }
}

/// Grafana refuses an answer with any other.
const KEYS: [&str; 25] = [
    "traces",
    "metrics",
    "traceID",
    "rootServiceName",
    "rootTraceName",
    "startTimeUnixNano",
    "durationMs",
    "spanSets",
    "serviceStats",
    "spans",
    "matched",
    "attributes",
    "spanID",
    "name",
    "durationNanos",
    "key",
    "value",
    "values",
    "completedJobs",
    "totalJobs",
    "series",
    "labels",
    "spanCount",
    "errorCount",
    "shop",
];

fn check_keys(value: &Value, query: &str) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let is_typed = name.ends_with("Value");
                assert!(KEYS.contains(&name.as_str()) || is_typed, "{query}: {name}");
                check_keys(field, query);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| check_keys(value, query)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn answers_have_no_field_that_grafana_does_not_know() {
    let server = mixed().await;
    for query in [
        "{}",
        "{} | by(resource.service.name) | count() > 0",
        "{} | select(span.list, span.code, status, kind, event:name)",
        "{ status = error } | avg(duration) > 0",
    ] {
        check_keys(&search(&server, query).await, query);
    }
    for query in [
        "{} | rate()",
        "{} | quantile_over_time(duration, 0.5) by (span.code)",
        "{} | histogram_over_time(duration)",
        "{} | compare({ status = error })",
    ] {
        let path = format!(
            "/api/metrics/query?start={}&end={}&q={}",
            NINE - 1_000_000_000,
            NINE + 60_000_000_000,
            encoded(query)
        );
        check_keys(&server.get(&path).await.json(), query);
    }
}

#[tokio::test]
async fn traces_drilldown_gets_what_it_reads() {
    let server = mixed().await;
    let structure = "({nestedSetParent<0 && true} &>> { status = error }) || \
         ({nestedSetParent<0 && true}) | select(status, resource.service.name, name, \
         nestedSetParent, nestedSetLeft, nestedSetRight)";
    let found = search(&server, structure).await;
    assert_eq!(found["traces"][0]["spanSets"].as_array().unwrap().len(), 1);
    let ints = |key| -> Vec<String> {
        let values = column(&found, key).into_iter();
        values
            .map(|value| value["intValue"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ints("nestedSetParent"), ["-1", "1"]);
    assert_eq!(ints("nestedSetLeft"), ["1", "2"]);
    assert_eq!(ints("nestedSetRight"), ["4", "3"]);
    let statuses = ["unset", "error"].map(|status| json!({ "stringValue": status }));
    assert_eq!(column(&found, "status"), statuses);
    let spans = &found["traces"][0]["spanSets"][0]["spans"];
    assert_eq!(
        (&spans[0]["name"], &spans[1]["name"]),
        (&json!("root"), &json!("child"))
    );

    let exceptions = "{true && status = error} | select(resource.service.name, \
         event.exception.message, event.exception.stacktrace, event.exception.type) \
         with(most_recent=true)";
    let found = search(&server, exceptions).await;
    let message = json!({"stringValue": "no answer"});
    assert_eq!(column(&found, "exception.message"), [message]);

    let root = "{nestedSetParent<0 && true";
    let (begin, end) = (NINE - 1_000_000_000, NINE + 60_000_000_000);
    for (query, labels) in [
        ("{} | rate()".to_owned(), &["__name__"][..]),
        (
            format!("{root}}} | rate() by(resource.service.name)"),
            &["resource.service.name"],
        ),
        (
            format!("{root} && span.size != nil}} | rate() by(span.size) with(sample=true)"),
            &["span.size"],
        ),
        (
            format!("{root}}} | quantile_over_time(duration, 0.9) by(resource.service.name)"),
            &["resource.service.name", "p"],
        ),
        (
            format!("{root}}} | histogram_over_time(duration) with(sample=true)"),
            &["__bucket"],
        ),
        (
            format!("{{true}} | compare({{status=error}},10,{begin},{end})"),
            &["__meta_type", "name"],
        ),
    ] {
        let path = format!(
            "/api/metrics/query_range?start={begin}&end={end}&step=10s&exemplars=10&q={}",
            encoded(&query)
        );
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let answer = answer.json();
        let series = answer["series"].as_array().unwrap();
        let has_labels = |series: &Value| {
            let found = series["labels"].as_array().unwrap().iter();
            found
                .map(|label| label["key"].as_str().unwrap())
                .eq(labels.iter().copied())
        };
        assert!(series.iter().any(has_labels), "{query}: {answer}");
    }
}

#[tokio::test]
async fn a_label_is_no_list() {
    let server = mixed().await;
    let query = encoded("{ span.list != nil } | count_over_time() by(span.list)");
    let (begin, end) = (NINE - 1_000_000_000, NINE + 60_000_000_000);
    for path in ["query_range", "query"] {
        let path = format!("/api/metrics/{path}?start={begin}&end={end}&step=61s&q={query}");
        let found = server.get(&path).await.json();
        let series = found["series"].as_array().unwrap();
        let mut labels: Vec<_> = series
            .iter()
            .map(|series| series["labels"][0]["value"]["stringValue"].as_str())
            .collect();
        labels.sort();
        assert_eq!(labels, [Some("[\"a\",\"b\"]"), Some("plain")], "{found}");
    }
}

#[tokio::test]
async fn a_label_is_there_once() {
    let server = mixed().await;
    let query = encoded("{} | rate() by(name, .flag, name)");
    let (begin, end) = (NINE - 1_000_000_000, NINE + 60_000_000_000);
    let path = format!("/api/metrics/query_range?start={begin}&end={end}&step=61s&q={query}");
    let found = server.get(&path).await.json();
    let series = found["series"].as_array().unwrap();
    assert_eq!(series.len(), 2, "{found}");
    for series in series {
        let labels = series["labels"].as_array().unwrap().iter();
        let keys: Vec<_> = labels.map(|label| &label["key"]).collect();
        assert_eq!(keys, ["name", ".flag"]);
    }
}

#[tokio::test]
async fn tags_may_have_slashes_and_come_with_themselves_as_a_parameter() {
    let server = mixed().await;
    server.export(chain()).await.unwrap();
    for path in [
        "/api/v2/search/tag/span.a/b/values?tag=span.a%252Fb&limit=5000",
        "/api/v2/search/tag/span.a%2Fb/values",
        "/api/v2/search/tag/span.%22a%2Fb%22/values",
        "/api/v2/search/tag/.a/b/values?q=%7B%20name%20%3D%20",
    ] {
        let found = server.get(path).await.json();
        let value = json!([{"type": "string", "value": "with a slash"}]);
        assert_eq!(found["tagValues"], value, "{path}");
    }
    // While a query is typed that counts which is complete.
    let query = encoded("{ resource.service.name = \"shop\" && span.");
    let path = format!("/api/v2/search/tag/name/values?q={query}");
    let found = server.get(&path).await.json();
    let values = ["child", "root"].map(|name| json!({"type": "string", "value": name}));
    assert_eq!(found["tagValues"], json!(values));
}

#[tokio::test]
async fn what_grafana_says_besides_changes_no_answer() {
    let server = mixed().await;
    for (path, besides) in [
        // A trace is looked for in all that there is.
        ("/api/v2/traces/a1?", "start=1&end=2"),
        ("/api/traces/a1?", "start=1&end=2"),
        ("/api/v2/search/tags?limit=5000", "&maxStaleValues=1"),
        (
            "/api/v2/search/tag/name/values?limit=5000",
            "&tag=status&maxStaleValues=1",
        ),
    ] {
        let answer = server.get(path).await.json();
        let same = server.get(&format!("{path}{besides}")).await.json();
        assert_eq!(answer, same, "{path}{besides}");
    }
}

#[tokio::test]
async fn quotes_that_an_editor_closed_are_offered_what_may_stand_in_them() {
    let server = mixed().await;
    server.export(chain()).await.unwrap();
    for (query, expected) in [
        (
            "{ resource.service.name = \"shop\" && name = \"\" }",
            &["child", "root"][..],
        ),
        (
            "{ name =~ \"\" && resource.service.name = \"shop\" }",
            &["child", "root"],
        ),
        ("{ resource.service.name = \"\" }", &[]),
        ("{ name != \"\" && name = \"child\" }", &["child"]),
    ] {
        let path = format!("/api/v2/search/tag/name/values?q={}", encoded(query));
        let found = server.get(&path).await.json();
        let values = found["tagValues"].as_array().unwrap();
        let values: Vec<_> = values.iter().map(|value| &value["value"]).collect();
        assert_eq!(values, expected, "{query}");
    }
}
