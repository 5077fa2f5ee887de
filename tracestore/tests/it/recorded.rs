//! Every kind of answer is that of a real Tempo 3.0.3 to the same spans: `tests/golden/tempo/answers.json` has what Tempo said
//! of `tests/golden/tempo/spans.json`, whose times count from an instant of one's choice, since Tempo searches but what is new.
//!
//! Left out are measurements of the answers, the order where Tempo has none, and the words of refusals.
//!
//! With `UPDATE_EXPECT` in the environment, and `TEMPO_URL` and `TEMPO_OTLP_HTTP` (each `http://host:port`) of a Tempo that has
//! no traces yet, the answers are recorded anew.

use std::{
    collections::BTreeMap,
    env, fs,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    inputs::NINE,
    server::{get, send, start},
};

const SECOND: u64 = 1_000_000_000;

const A: &str = "00000000000000000abcdef012345601";

/// What is asked for, how many seconds around the spans, and a query.
fn questions() -> Vec<Question> {
    let mut questions = Vec::new();
    let mut ask = |path: &str, parameters: &str, query: Option<&str>| {
        questions.push(Question {
            path: path.to_owned(),
            parameters: parameters.to_owned(),
            query: query.map(str::to_owned),
        });
    };
    ask("/api/echo", "", None);
    ask("/api/status/buildinfo", "", None);
    for version in ["", "/v2"] {
        for id in [
            A,
            "abcdef012345601",
            "c0ffee00c0ffee00c0ffee00c0ffee03",
            "123",
            "xyz",
            &"1".repeat(33),
        ] {
            ask(&format!("/api{version}/traces/{id}"), "", None);
        }
    }
    let window = "start=START&end=END";
    for query in [
        "{}",
        "{ resource.service.name = \"shop\" }",
        "{ resource.cluster/zone = \"eu/1\" && kind = server }",
        "{ span.http.response.status_code >= 500 }",
        "{ .load > 0.5 } | select(resource.service.name, span.retry)",
        "{ status = error } | by(resource.service.name)",
        "{ status = error } | by(resource.service.name) | count() > 1",
        "{} | count() > 3",
        "{} | avg(duration) > 100ms",
        "{ event.exception.type = \"Timeout\" } | select(event.exception.message)",
        "{ link.link.why = \"retry\" }",
        "{ instrumentation.scope.kind = \"manual\" } | select(instrumentation:name, kind, statusMessage)",
        "{ name = \"GET /cart\" } >> { name = \"SELECT\" }",
        "{ kind = client } > { kind = server } | select(span:parentID)",
        "{ rootName = \"GET /\" } | select(rootServiceName, duration, traceDuration)",
        "{ nestedSetParent < 0 } | select(nestedSetParent, nestedSetLeft, nestedSetRight)",
        "{ span.absent != nil }",
        "{ span.again = \"first\" }",
        "{ span.again = \"second\" }",
        "{ span.again != \"first\" }",
        "{ span.again =~ \"s.*\" }",
        "{ true && status = error } | select(status, resource.service.name, name)",
    ] {
        ask(
            "/api/search",
            &format!("{window}&spss=10&limit=10"),
            Some(query),
        );
    }
    ask(
        "/api/search",
        &format!("{window}&spss=1"),
        Some("{ resource.service.name = \"cart\" }"),
    );
    for legacy in [
        "",
        "&tags=service.name%3Dsho",
        "&tags=name%3D%22GET%20%22",
        "&tags=name%3D%22GET%20%22%20http.request.method%3DGET",
        "&tags=http.request.method%3DGE",
        "&tags=absent%3Dx",
        "&tags=root.service.name%3Dshop%20status.code%3Dok",
        "&minDuration=100ms",
        "&maxDuration=100ms",
        "&minDuration=300ms&maxDuration=1s&tags=service.name%3Dcart",
    ] {
        ask("/api/search", &format!("{window}{legacy}"), None);
    }
    for bad in [
        "limit=0",
        "limit=1000000000",
        "limit=x",
        "spss=101",
        "start=2&end=1",
        "start=x",
        "tags=a%3Db%3Dc",
        "tags=a%3D1%20a%3D2",
        "minDuration=x",
        "minDuration=2s&maxDuration=1s",
        "q=%7B%7D&tags=a%3Db",
    ] {
        ask("/api/search", bad, None);
    }
    for bad in [
        "{ status = }",
        "{ span.a = 1",
        "{} | rate() by(",
        "{ resource.service.name = nil }",
        "{ bogus = 1 }",
    ] {
        ask("/api/search", "", Some(bad));
        ask("/api/metrics/query_range", window, Some(bad));
        ask("/api/metrics/query", window, Some(bad));
    }
    ask("/api/search/tags", window, None);
    ask("/api/v2/search/tags", window, None);
    for scope in [
        "resource",
        "span",
        "event",
        "link",
        "instrumentation",
        "intrinsic",
        "none",
        "bogus",
    ] {
        ask(
            "/api/v2/search/tags",
            &format!("{window}&scope={scope}"),
            None,
        );
    }
    for tag in [
        "resource.service.name",
        "resource.cluster/zone",
        "span.http.response.status_code",
        "span.retry",
        "span.load",
        ".http.request.method",
        ".service.name",
        "event.exception.type",
        "link.link.why",
        "instrumentation.scope.kind",
        "span.absent",
        "name",
        "status",
        "kind",
        "statusMessage",
        "rootName",
        "rootServiceName",
        "duration",
        "traceDuration",
        "span:name",
        "span:status",
        "span:kind",
        "span:duration",
        "trace:rootName",
        "trace:rootService",
        "event:name",
        "instrumentation:name",
        "instrumentation:version",
        "bogus",
    ] {
        ask(&format!("/api/v2/search/tag/{tag}/values"), window, None);
    }
    for tag in [
        "service.name",
        "http.response.status_code",
        "retry",
        "name",
        "status.code",
        "absent",
    ] {
        ask(&format!("/api/search/tag/{tag}/values"), window, None);
    }
    for query in [
        "{ resource.service.name = \"cart\" }",
        "{ resource.service.name = \"cart\" && span.x = }",
        "{ resource.service.name = }",
        "{ status = error && kind = server }",
    ] {
        ask("/api/v2/search/tag/name/values", window, Some(query));
    }
    for query in [
        "{} | rate()",
        "{ status = error } | count_over_time()",
        "{} | count_over_time() by(resource.service.name)",
        "{} | count_over_time() by(resource.service.name, status)",
        "{} | count_over_time() by(span.http.response.status_code)",
        "{} | count_over_time() by(span.retry)",
        "{} | min_over_time(duration)",
        "{} | max_over_time(span.load) by(name)",
        "{} | sum_over_time(span.http.response.status_code)",
        "{} | avg_over_time(duration)",
        "{} | avg_over_time(span.load) by(resource.service.name)",
        "{} | quantile_over_time(duration, 0.5, 0.9)",
        "{} | quantile_over_time(duration, 0.9) by(kind)",
        "{} | histogram_over_time(duration)",
        "{} | count_over_time() by(name) | topk(1)",
        "{ true } | compare({ status = error })",
        "{} | count_over_time() > 2",
    ] {
        ask(
            "/api/metrics/query_range",
            &format!("{window}&step=10"),
            Some(query),
        );
        ask("/api/metrics/query", window, Some(query));
    }
    ask("/api/metrics/query_range", window, None);
    ask("/api/metrics/query", window, None);
    for bad in [
        "start=2&end=1&step=1",
        "start=START&end=END&step=1ns",
        "start=x&end=2",
        "start=START&end=END&step=x",
    ] {
        ask("/api/metrics/query_range", bad, Some("{} | rate()"));
    }
    ask("/api/metrics/query_range", window, Some("{}"));
    ask("/api/search", window, Some("{} | rate()"));
    questions
}

struct Question {
    path: String,
    /// With `START` and `END` for a time around the spans, in seconds since the Unix epoch.
    parameters: String,
    query: Option<String>,
}

impl Question {
    /// The name of the answer.
    fn name(&self) -> String {
        let query = self
            .query
            .as_ref()
            .map_or(String::new(), |q| format!(" {q}"));
        format!("{}?{}{query}", self.path, self.parameters)
    }

    async fn ask(&self, http: &str, base: u64) -> Recorded {
        let second = base / SECOND;
        let parameters = self.parameters.replace("START", &second.to_string());
        let parameters = parameters.replace("END", &(second + 30).to_string());
        let query = self.query.as_ref().map_or(String::new(), |query| {
            let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
            format!("&q={encoded}")
        });
        let answer = get(http, &format!("{}?{parameters}{query}", self.path), &[]).await;
        let kind = answer.headers.get("content-type");
        let body = serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!(answer.text()));
        Recorded {
            status: answer.status.as_u16(),
            content_type: kind.map_or("", |kind| kind.to_str().unwrap()).to_owned(),
            body: normal(body, base),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Recorded {
    status: u16,
    content_type: String,
    body: Value,
}

/// Times count from the base, and lists without an order are sorted.
fn normal(value: Value, base: u64) -> Value {
    match value {
        Value::String(text) => {
            let since = |unit: u64| {
                let time = text.parse::<u64>().ok()?.checked_mul(unit)?;
                let since = time.cast_signed() - base.cast_signed();
                Some(json!(format!("base + {} us", since / 1000)))
            };
            let is_number = text.bytes().all(|c| c.is_ascii_digit());
            let time = match text.len() {
                19 if is_number => since(1),
                13 if is_number => since(1_000_000),
                _ => None,
            };
            time.unwrap_or(Value::String(text))
        }
        Value::Number(number) => match number.as_f64() {
            // The last digits depend on the order of additions.
            Some(float) if number.is_f64() => json!((float * 1e9).round() / 1e9),
            _ => Value::Number(number),
        },
        Value::Array(values) => {
            let mut values: Vec<_> = values
                .into_iter()
                .map(|value| normal(value, base))
                .collect();
            values.sort_by_key(Value::to_string);
            Value::Array(values)
        }
        Value::Object(fields) => {
            let mut normalised = serde_json::Map::new();
            let is_found_span = fields.contains_key("spanID");
            for (name, value) in fields {
                match (name.as_str(), value) {
                    // Tempo tells it only where the query names it.
                    ("name", _) if is_found_span => {}
                    // Measurements, and the first of `spanSets` over again.
                    ("metrics" | "spanSet", _) => {}
                    // Which spans are examples is chance.
                    ("exemplars", _) => {}
                    ("traceID", Value::String(id)) => {
                        normalised.insert(name, json!(format!("{id:0>32}")));
                    }
                    // The points of a series have an order.
                    ("samples", Value::Array(points)) => {
                        let points = points.into_iter().map(|point| normal(point, base));
                        normalised.insert(name, points.collect());
                    }
                    (_, value) => {
                        normalised.insert(name, normal(value, base));
                    }
                }
            }
            Value::Object(normalised)
        }
        Value::Null | Value::Bool(_) => value,
    }
}

#[tokio::test]
async fn all_answers_are_those_of_tempo() {
    let variable = |name| Some(env::var(name).ok()?.replace("http://", ""));
    if env::var_os("UPDATE_EXPECT").is_some()
        && let (Some(http), Some(otlp)) = (variable("TEMPO_URL"), variable("TEMPO_OTLP_HTTP"))
    {
        record(&http, &otlp).await;
    }
    let mut recorded: BTreeMap<String, Recorded> =
        serde_json::from_slice(&fs::read(file("answers.json")).unwrap()).unwrap();

    let server = start().await;
    let json = ("content-type", "application/json");
    let answer = server.post(&[json], spans(NINE)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let http = server.http.to_string();
    let mut wrong = Vec::new();
    for question in questions() {
        let name = question.name();
        let mut tempos =
            (recorded.remove(&name)).unwrap_or_else(|| panic!("{name} is not recorded"));
        let mut ours = question.ask(&http, NINE).await;
        differences(&question, &mut ours, &mut tempos);
        if ours != tempos {
            wrong.push(format!("{name}\n  ours:  {ours:?}\n  Tempo: {tempos:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Takes away what differs, and is meant to.
fn differences(question: &Question, ours: &mut Recorded, tempos: &mut Recorded) {
    let query = question.query.as_deref().unwrap_or("");
    if tempos.status != 200 {
        // The words.
        (tempos.body, ours.body) = (Value::Null, Value::Null);
    } else if question.path == "/api/status/buildinfo" {
        let keys = |body: &Value| body.as_object().unwrap().keys().cloned().collect();
        (tempos.body, ours.body) = (keys(&tempos.body), keys(&ours.body));
    } else if question.path == "/api/search" && query.is_empty() {
        // We tell of services in every search.
        for trace in ours.body["traces"].as_array_mut().unwrap() {
            trace
                .as_object_mut()
                .unwrap()
                .remove("serviceStats")
                .unwrap();
        }
    } else if question.path == "/api/search/tag/status.code/values" {
        // Numbers that mean the same.
        let values = tempos.body["tagValues"].as_array_mut().unwrap();
        values.retain(|value| value.as_str().unwrap().parse::<u8>().is_err());
    } else if question.path.ends_with("/values") {
        // A text that is empty is no value to choose.
        let values = tempos.body["tagValues"].as_array_mut().unwrap();
        values.retain(|value| *value != json!({ "type": "string" }));
    } else if query.contains("sum_over_time") {
        // A span without the value makes Tempo forget the sum: see `crates/traceql`.
        assert_eq!(
            tempos
                .body
                .get("series")
                .map_or(0, |series| series.as_array().unwrap().len()),
            0
        );
        tempos.body = ours.body.clone();
    } else if query.contains("compare(") {
        // Tempo has columns that are empty, and counts `nil` in them, and what the query names it counts twice. It counts
        // children, and each value of a key that is there twice.
        let counted = ["status", "span:childCount", "span.again"];
        let is_named = |label: &Value| counted.iter().any(|key| label["key"] == *key);
        let is_nil = |label: &Value| label["value"]["stringValue"] == "nil";
        let is_total = |label: &Value| {
            let kind = label["value"]["stringValue"].as_str();
            kind.is_some_and(|kind| kind.ends_with("_total"))
        };
        for answer in [ours, tempos] {
            let series = answer.body["series"].as_array_mut().unwrap();
            series.retain(|series| {
                let labels = series["labels"].as_array().unwrap();
                !labels
                    .iter()
                    .any(|label| is_nil(label) || is_total(label) || is_named(label))
            });
        }
    } else if question.path == "/api/search" && query.contains("rate()") {
        // Tempo ignores what follows the spans.
        assert_eq!(ours.status, 400);
        *ours = tempos.clone();
    }
}

/// The spans, with times since this one.
fn spans(base: u64) -> Vec<u8> {
    fn shift(value: &mut Value, base: u64) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    if name.ends_with("UnixNano") {
                        let time: u64 = field.as_str().unwrap().parse().unwrap();
                        *field = json!((base + time).to_string());
                    } else {
                        shift(field, base);
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| shift(value, base)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut spans = serde_json::from_slice(&fs::read(file("spans.json")).unwrap()).unwrap();
    shift(&mut spans, base);
    spans.to_string().into_bytes()
}

async fn record(http: &str, otlp: &str) {
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    // Old spans are not found, and those of the future neither.
    let base = (now / 10 - 4) * 10 * SECOND;
    let json = ("content-type", "application/json");
    let sent = send(
        otlp,
        Method::POST,
        "/v1/traces",
        &[json],
        spans(base).into(),
    )
    .await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    // Tempo finds spans some time after it has taken them.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut answers = BTreeMap::new();
    for question in questions() {
        answers.insert(question.name(), question.ask(http, base).await);
    }
    let text = serde_json::to_string_pretty(&answers).unwrap();
    fs::write(file("answers.json"), text + "\n").unwrap();
}

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.join("tests/golden/tempo").join(name)
}
