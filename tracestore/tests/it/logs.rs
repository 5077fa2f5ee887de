//! Log records over every way in, and what the page and scripts find of them.

use std::{collections::BTreeSet, io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use hyper::{Method, body::Bytes};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse, logs_service_client::LogsServiceClient,
    },
    common::v1::{AnyValue, InstrumentationScope, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic::{codec::CompressionEncoding, transport::Channel};

use crate::{
    inputs::{CHAIN, MS, NINE, everything, id, int, span_id, text},
    server::{Answer, Server, get, send, start},
};

pub(crate) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

pub(crate) fn body(text: &str) -> Option<AnyValue> {
    Some(AnyValue {
        value: Some(Any::StringValue(text.to_owned())),
    })
}

/// A record of so many milliseconds after nine, of INFO.
pub(crate) fn record(at: u64, text: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: NINE + at * MS,
        severity_number: 9,
        body: body(text),
        ..LogRecord::default()
    }
}

pub(crate) fn of_service(service: &str, records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![text("service.name", service)],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                log_records: records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

pub(crate) async fn post_to(
    address: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    send(address, Method::POST, "/v1/logs", headers, body.into()).await
}

async fn post(server: &Server, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    post_to(&server.otlp_http.to_string(), headers, body).await
}

async fn keep(server: &Server, request: &ExportLogsServiceRequest) {
    let answer = post(server, &[PROTOBUF], request.encode_to_vec()).await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, Bytes::new()));
}

async fn client(server: &Server) -> LogsServiceClient<Channel> {
    let address = format!("http://{}", server.otlp);
    LogsServiceClient::connect(address).await.unwrap()
}

async fn logs(server: &Server, query: &str) -> Value {
    server.get(&format!("/logs.json{query}")).await.json()
}

pub(crate) fn bodies(answer: &Value) -> Vec<&str> {
    let records = answer["records"].as_array().unwrap().iter();
    let text = |record: &'_ Value| record["body"]["stringValue"].as_str().map(str::len);
    assert!(
        records.clone().all(|record| text(record).is_some()),
        "{answer:#}"
    );
    records
        .map(|record| record["body"]["stringValue"].as_str().unwrap())
        .collect()
}

/// Every field and every kind of value.
fn every_field() -> ExportLogsServiceRequest {
    let attributes = everything().resource_spans[0].scope_spans[0].spans[1]
        .attributes
        .clone();
    let map = attributes.iter().find(|attribute| attribute.key == "map");
    let whole = LogRecord {
        time_unix_nano: NINE + 2 * MS,
        observed_time_unix_nano: NINE + 3 * MS,
        severity_number: 18,
        severity_text: "ERROR2".to_owned(),
        body: body("all of it: \u{1F980} \"quoted\"\n\tand more"),
        attributes: attributes.clone(),
        dropped_attributes_count: 3,
        flags: 1,
        trace_id: id(CHAIN),
        span_id: span_id(7),
        event_name: "order.failed".to_owned(),
    };
    let structured = LogRecord {
        observed_time_unix_nano: NINE + MS,
        body: map.unwrap().value.clone(),
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![text("service.name", "shop"), int("process.pid", 1)],
                dropped_attributes_count: 6,
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: "orders".to_owned(),
                    version: "1.0".to_owned(),
                    attributes: vec![text("s", "t")],
                    dropped_attributes_count: 7,
                }),
                log_records: vec![structured, whole],
                schema_url: "https://opentelemetry.io/schemas/1.37.0".to_owned(),
            }],
            schema_url: "https://opentelemetry.io/schemas/1.36.0".to_owned(),
        }],
    }
}

/// The same as a request in OTLP's JSON: what is found is that, but for the lists around it.
fn as_json(found: &Value) -> Value {
    let (records, resource) = (found["records"].as_array().unwrap(), &found["resources"][0]);
    let mut scope = records[0]["scope"].clone();
    let scope_url = scope.as_object_mut().unwrap().remove("schemaUrl");
    let mut resource = resource.clone();
    let resource_url = resource.as_object_mut().unwrap().remove("schemaUrl");
    let of_record = |record: &Value| {
        let mut record = record.clone();
        for name in ["service", "resource", "scope"] {
            record.as_object_mut().unwrap().remove(name);
        }
        record
    };
    // The first that was sent is the last that is found.
    let records: Vec<Value> = records.iter().rev().map(of_record).collect();
    json!({"resourceLogs": [{
        "resource": resource,
        "schemaUrl": resource_url,
        "scopeLogs": [{"scope": scope, "schemaUrl": scope_url, "logRecords": records}],
    }]})
}

#[tokio::test]
async fn a_record_is_the_same_however_it_was_sent() {
    let by_grpc = start().await;
    let sent = client(&by_grpc).await.export(every_field()).await.unwrap();
    assert_eq!(sent.into_inner(), ExportLogsServiceResponse::default());
    let without_cursors = async |server: &Server| {
        let mut found = logs(server, "").await;
        found["newest"].take();
        found
    };
    let expected = without_cursors(&by_grpc).await;
    let protobuf = every_field().encode_to_vec();
    let json = as_json(&expected).to_string();
    for (headers, body) in [
        (vec![PROTOBUF], protobuf.clone()),
        (vec![PROTOBUF, GZIP], gzipped(&protobuf)),
        (vec![JSON], json.clone().into_bytes()),
        (vec![JSON, GZIP], gzipped(json.as_bytes())),
    ] {
        let server = start().await;
        let answer = post(&server, &headers, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.headers["content-type"], headers[0].1);
        assert_eq!(without_cursors(&server).await, expected, "{headers:?}");
    }
    let server = start().await;
    let mut client = client(&server)
        .await
        .send_compressed(CompressionEncoding::Gzip);
    client.export(every_field()).await.unwrap();
    assert_eq!(without_cursors(&server).await, expected);
}

#[tokio::test]
async fn all_of_a_record_is_in_the_answer() {
    let server = start().await;
    keep(&server, &every_field()).await;
    let found = logs(&server, "").await;
    assert_eq!(found["older"], Value::Null);
    let resources = json!([{
        "attributes": [
            {"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "process.pid", "value": {"intValue": "1"}},
        ],
        "droppedAttributesCount": 6,
        "schemaUrl": "https://opentelemetry.io/schemas/1.36.0",
    }]);
    assert_eq!(found["resources"], resources);
    let scope = json!({
        "name": "orders",
        "version": "1.0",
        "attributes": [{"key": "s", "value": {"stringValue": "t"}}],
        "droppedAttributesCount": 7,
        "schemaUrl": "https://opentelemetry.io/schemas/1.37.0",
    });
    let mut whole = found["records"][0].clone();
    let attributes = whole["attributes"].take();
    assert_eq!(attributes.as_array().unwrap().len(), 24);
    let value = |key: &str| {
        let mut of_key = attributes.as_array().unwrap().iter();
        of_key.find(|pair| pair["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!(
        value("greatest"),
        json!({"intValue": "9223372036854775807"})
    );
    assert_eq!(value("nan"), json!({"doubleValue": "NaN"}));
    assert_eq!(value("bytes"), json!({"bytesValue": "AP/+"}));
    assert_eq!(value("unset"), json!({}));
    let expected = json!({
        "timeUnixNano": (NINE + 2 * MS).to_string(),
        "observedTimeUnixNano": (NINE + 3 * MS).to_string(),
        "severityNumber": 18,
        "severityText": "ERROR2",
        "body": {"stringValue": "all of it: \u{1F980} \"quoted\"\n\tand more"},
        "attributes": null,
        "droppedAttributesCount": 3,
        "flags": 1,
        "traceId": CHAIN,
        "spanId": "f000000000000007",
        "eventName": "order.failed",
        "service": "shop",
        "resource": 0,
        "scope": scope,
    });
    assert_eq!(whole, expected);
    let pairs = json!([
        {"key": "k", "value": {"stringValue": "v"}},
        {"key": "d", "value": {"doubleValue": 2.5}},
    ]);
    // Without a time it has that of its observation.
    let expected = json!({
        "timeUnixNano": (NINE + MS).to_string(),
        "observedTimeUnixNano": (NINE + MS).to_string(),
        "body": {"kvlistValue": {"values": pairs}},
        "service": "shop",
        "resource": 0,
        "scope": scope,
    });
    assert_eq!(found["records"][1], expected);
}

#[tokio::test]
async fn a_record_without_any_time_is_as_old_as_its_arrival() {
    let server = start().await;
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let before = now();
    let bare = LogRecord::default();
    keep(&server, &of_service("s", vec![bare.clone(), bare])).await;
    let found = logs(&server, "").await;
    let time = |index: usize| -> u64 {
        let time = &found["records"][index]["timeUnixNano"];
        time.as_str().unwrap().parse().unwrap()
    };
    // The second of them arrived after the first.
    assert!((before..=now()).contains(&time(1)) && time(0) == time(1) + 1);
    assert!(found["records"][0].get("observedTimeUnixNano").is_none());
    assert!(found["records"][0].get("body").is_none());
}

/// The records that others are among.
async fn some() -> Server {
    let server = start().await;
    let with = |at, severity, text: &str, change: fn(&mut LogRecord)| {
        let mut record = record(at, text);
        record.severity_number = severity;
        change(&mut record);
        record
    };
    let of_chain = |record: &mut LogRecord| {
        record.trace_id = id(CHAIN);
        record.span_id = span_id(7);
    };
    let shop = vec![
        with(1, 9, "order 1 placed", of_chain),
        with(3, 17, "payment Timed Out", of_chain),
        with(5, 13, "slow", |record| {
            record.trace_id = id("abc");
            record.attributes = vec![text("peer", "Bank of \u{c4}rger"), int("n", 4711)];
        }),
    ];
    let cart = vec![
        with(2, 0, "by text alone", |record| {
            record.severity_text = "Warning".to_owned()
        }),
        with(4, 5, "order 1 is empty", |_| {}),
        with(6, 21, "", |record| {
            record.body = Some(AnyValue {
                value: Some(Any::KvlistValue(
                    opentelemetry_proto::tonic::common::v1::KeyValueList {
                        values: vec![text("user", "bob"), int("n", 7)],
                    },
                )),
            });
        }),
    ];
    keep(&server, &of_service("shop", shop)).await;
    keep(&server, &of_service("cart", cart)).await;
    server
}

#[tokio::test]
async fn records_are_found_by_what_is_asked_for_the_newest_first() {
    let server = some().await;
    let at = |milliseconds: u64| NINE / MS + milliseconds;
    // In milliseconds after nine.
    for (query, expected) in [
        (String::new(), &[6, 5, 4, 3, 2, 1][..]),
        ("?service=shop".to_owned(), &[5, 3, 1]),
        ("?service=sho".to_owned(), &[]),
        ("?service=Shop".to_owned(), &[]),
        ("?severity=warn".to_owned(), &[6, 5, 3, 2]),
        ("?severity=WARN&service=cart".to_owned(), &[6, 2]),
        ("?severity=17".to_owned(), &[6, 3]),
        ("?severity=trace".to_owned(), &[6, 5, 4, 3, 2, 1]),
        ("?severity=22".to_owned(), &[]),
        ("?text=timed%20out".to_owned(), &[3]),
        ("?text=ORDER%201".to_owned(), &[4, 1]),
        (
            "?text=order%201&service=shop&severity=info".to_owned(),
            &[1],
        ),
        // Of an attribute, in another case beyond ASCII; but not of a number or a key.
        ("?text=%C3%A4RGER".to_owned(), &[5]),
        ("?text=4711".to_owned(), &[]),
        ("?text=peer".to_owned(), &[]),
        ("?text=warning".to_owned(), &[]),
        // Of a body that is no string, its JSON.
        (
            "?text=%7B%22USER%22:%22bob%22,%22n%22:7%7D".to_owned(),
            &[6],
        ),
        ("?text=.*".to_owned(), &[]),
        (format!("?trace={CHAIN}"), &[3, 1]),
        (format!("?trace={}", CHAIN.to_uppercase()), &[3, 1]),
        ("?trace=abc".to_owned(), &[5]),
        ("?trace=0000abc".to_owned(), &[5]),
        ("?trace=ab".to_owned(), &[]),
        ("?span=f000000000000007".to_owned(), &[3, 1]),
        ("?span=7".to_owned(), &[]),
        (format!("?from={}&to={}", at(2), at(4)), &[4, 3, 2]),
        (format!("?from={}", at(5)), &[6, 5]),
        (format!("?to={}&service=cart", at(4)), &[4, 2]),
        ("?limit=2".to_owned(), &[6, 5]),
        (
            "?service=&severity=&text=&limit=&before=&after=".to_owned(),
            &[6, 5, 4, 3, 2, 1],
        ),
    ] {
        let found = logs(&server, &query).await;
        let records = found["records"].as_array().unwrap().iter();
        let times: Vec<u64> = records
            .map(|record| record["timeUnixNano"].as_str().unwrap().parse().unwrap())
            .map(|time: u64| (time - NINE) / MS)
            .collect();
        assert_eq!(times, expected, "{query}");
        let is_cut = query == "?limit=2";
        assert_eq!(found["older"].is_string(), is_cut, "{query}");
    }
    let services = server.get("/logs/services.json").await.json();
    assert_eq!(services, json!({"services": ["cart", "shop"]}));
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_a_400_that_names_the_parameter() {
    let server = start().await;
    let long = "x".repeat(1001);
    let newest = logs(&server, "").await["newest"].clone();
    let newest = newest.as_str().unwrap();
    for (query, why) in [
        (
            "limit=0",
            "invalid limit: \"0\" is not a number from 1 to 1000",
        ),
        (
            "limit=1001",
            "invalid limit: \"1001\" is not a number from 1 to 1000",
        ),
        (
            "limit=x%0A",
            "invalid limit: \"x\\n\" is not a number from 1 to 1000",
        ),
        (
            "severity=loud",
            "invalid severity: \"loud\" is not one of trace, debug, info, warn, error, fatal, \
             or a number from 1 to 24",
        ),
        ("severity=25", "invalid severity: \"25\" is not one of"),
        ("severity=0", "invalid severity: \"0\" is not one of"),
        ("trace=xyz", "invalid trace: \"xyz\" is not a trace id"),
        ("trace=0", "invalid trace: \"0\" is not a trace id"),
        (&format!("trace={}", "1".repeat(33)), "invalid trace: "),
        ("span=%2B1", "invalid span: \"+1\" is not a span id"),
        (&format!("span={}", "1".repeat(17)), "invalid span: "),
        (
            "from=yesterday",
            "invalid from: \"yesterday\" is not a number of milliseconds",
        ),
        (
            "to=-1",
            "invalid to: \"-1\" is not a number of milliseconds",
        ),
        ("to=99999999999999999", "invalid to: "),
        (
            "from=2&to=1",
            "invalid from: 2 is later than to, which is 1",
        ),
        (
            "before=x",
            "invalid before: \"x\" is not the `older` of an answer",
        ),
        (&format!("before={newest}"), "invalid before: "),
        (
            "after=o0",
            "invalid after: \"o0\" is not the `newest` of an answer",
        ),
        (
            &format!("after={newest}&before=o{}", "0".repeat(32)),
            "invalid before: it cannot stand beside after",
        ),
        ("wait=1", "invalid wait: it needs after"),
        (
            &format!("after={newest}&wait=31"),
            "invalid wait: \"31\" is not a number of seconds",
        ),
        (
            &format!("text={long}"),
            "invalid text: it has more than 1000 bytes",
        ),
        (
            "servce=a",
            "there is no parameter \"servce\": there are service, severity",
        ),
    ] {
        let answer = server.get(&format!("/logs.json?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().starts_with(why), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn pages_have_each_record_once_while_others_come() {
    let server = start().await;
    // Two of them always at the same time.
    let request = |from: u64| {
        let records = (from..from + 10).map(|n| record(n / 2, &format!("{n}")));
        of_service("s", records.collect())
    };
    for n in 0..20 {
        keep(&server, &request(10 * n)).await;
    }
    let mut seen = Vec::new();
    let mut query = "?limit=7".to_owned();
    let mut later = 1000;
    loop {
        let found = logs(&server, &query).await;
        let of_before = bodies(&found)
            .into_iter()
            .map(|body| body.parse::<u64>().unwrap());
        seen.extend(of_before);
        let Some(older) = found["older"].as_str() else {
            break;
        };
        query = format!("?limit=7&before={older}");
        // Newer than all that is asked for.
        keep(&server, &request(later)).await;
        later += 10;
    }
    // The last of those at one time arrived last.
    let expected: Vec<u64> = (0..200).rev().collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_has_each_record_once_whatever_its_time_is() {
    let server = start().await;
    keep(&server, &of_service("s", vec![record(0, "before")])).await;
    let before = logs(&server, "").await;
    assert_eq!(bodies(&before), ["before"]);
    let address = server.otlp_http.to_string();
    let senders = (0..4_u64).map(|sender| {
        let address = address.clone();
        tokio::spawn(async move {
            for n in 0..25 {
                let number = 100 * sender + n;
                // Some are older than what is there, by a day.
                let at = if number % 3 == 0 {
                    number
                } else {
                    number + 86_400_000
                };
                let record = LogRecord {
                    time_unix_nano: NINE - 86_400_000 * MS + at * MS,
                    ..record(0, &number.to_string())
                };
                let request = of_service("s", vec![record]);
                let answer = post_to(&address, &[PROTOBUF], request.encode_to_vec()).await;
                assert_eq!(answer.status, 200);
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    let mut seen = Vec::new();
    let mut newest = before["newest"].as_str().unwrap().to_owned();
    while seen.len() < 100 {
        let query = format!("?limit=3&wait=10&after={newest}");
        let found = logs(&server, &query).await;
        assert!(!bodies(&found).is_empty(), "nothing comes: {seen:?}");
        assert_eq!(found["older"], Value::Null);
        seen.extend(bodies(&found).into_iter().map(str::to_owned));
        newest = found["newest"].as_str().unwrap().to_owned();
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let of_sender = |sender: u64| (0..25).map(move |n| (100 * sender + n).to_string());
    let expected: BTreeSet<String> = (0..4).flat_map(of_sender).collect();
    assert_eq!(seen.len(), 100);
    assert_eq!(BTreeSet::from_iter(seen), expected);
    let nothing = logs(&server, &format!("?after={newest}")).await;
    assert_eq!(
        (bodies(&nothing), &nothing["newest"]),
        (vec![], &json!(newest))
    );
}

#[tokio::test]
async fn a_wait_ends_when_something_comes_that_passes_or_when_it_is_over() {
    let server = start().await;
    let newest = logs(&server, "").await["newest"].clone();
    let path = format!("/logs.json?after={}&service=b", newest.as_str().unwrap());
    let waited = async |seconds: u64| {
        let begun = Instant::now();
        let answer = server.get(&format!("{path}&wait={seconds}")).await.json();
        (bodies(&answer).len(), begun.elapsed())
    };
    let (found, took) = waited(1).await;
    assert!(found == 0 && took >= Duration::from_millis(990), "{took:?}");
    let ((found, took), ()) = tokio::join!(waited(30), async {
        keep(&server, &of_service("a", vec![record(0, "not wanted")])).await;
        keep(&server, &of_service("b", vec![record(0, "wanted")])).await;
    });
    assert!(found == 1 && took < Duration::from_secs(20), "{took:?}");
    // What was there before is not waited for.
    let (found, took) = waited(30).await;
    assert!(found == 1 && took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_process_stops_and_no_more_than_64_wait() {
    let mut server = start().await;
    let newest = logs(&server, "").await["newest"].clone();
    let path = format!("/logs.json?wait=30&after={}", newest.as_str().unwrap());
    let http = server.http.to_string();
    let mut waiting = JoinSet::new();
    for _ in 0..65 {
        let (http, path) = (http.clone(), path.clone());
        waiting.spawn(async move { get(&http, &path, &[]).await });
    }
    let next = async |waiting: &mut JoinSet<Answer>| {
        let next = timeout(Duration::from_secs(20), waiting.join_next()).await;
        next.unwrap().unwrap().unwrap()
    };
    let refused = next(&mut waiting).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.text(), "too many clients wait for logs");
    // Others are not kept waiting.
    assert_eq!(bodies(&logs(&server, "").await), [""; 0]);
    server.stop.take().unwrap().send(()).unwrap();
    let begun = Instant::now();
    for _ in 0..64 {
        let answer = next(&mut waiting).await;
        assert_eq!(bodies(&answer.json()), [""; 0]);
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn ids_of_other_lengths_are_left_out_and_counted_and_the_record_stays() {
    let server = start().await;
    let odd = |trace: Vec<u8>, span: Vec<u8>| LogRecord {
        trace_id: trace,
        span_id: span,
        ..record(0, "kept")
    };
    let records = vec![
        odd(vec![1; 15], vec![1; 8]),
        odd(vec![1; 16], vec![1; 9]),
        odd(vec![0; 16], vec![0; 8]),
        odd(vec![1; 32], vec![1]),
    ];
    keep(&server, &of_service("s", records)).await;
    let json = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"traceId": "zz", "spanId": "0101010101010101", "body": {"stringValue": "kept"}},
        {"traceId": "01".repeat(16), "spanId": "", "body": {"stringValue": "kept"}},
    ]}]}]});
    let answer = post(&server, &[JSON], json.to_string()).await;
    assert_eq!(answer.json(), json!({}));
    let found = logs(&server, "").await;
    let mut ids: Vec<_> = (found["records"].as_array().unwrap().iter())
        .map(|record| (record["traceId"].as_str(), record["spanId"].as_str()))
        .collect();
    ids.sort_unstable();
    let (trace, span) = ("01".repeat(16), "01".repeat(8));
    let (trace, span) = (Some(&*trace), Some(&*span));
    let expected = [
        (None, None),
        (None, None),
        (None, span),
        (None, span),
        (trace, None),
        (trace, None),
    ];
    assert_eq!(ids, expected);
    let metrics = server.get("/metrics").await;
    for (reason, count) in [("bad_trace_id", 3), ("bad_span_id", 2)] {
        let line = format!("tracestore_log_ids_dropped_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.text().contains(&line), "{line}");
    }
}

#[tokio::test]
async fn what_strangers_make_an_application_log_neither_breaks_nor_forges_a_record() {
    let server = start().await;
    let forged = format!(
        "\u{1b}[31m\0 {{\"traceId\":\"{CHAIN}\"}} trace_id={CHAIN}\n\
         {{\"timeUnixNano\":\"1\",\"body\":{{\"stringValue\":\"another\"}}}}\r\n</script>\u{202e}"
    );
    let mut hostile = record(1, &forged);
    hostile.attributes = vec![text("trace_id", CHAIN), text("k\n\"\0", "v\u{2028}")];
    hostile.severity_text = "INFO\nERROR".to_owned();
    keep(
        &server,
        &of_service("s\n\"", vec![hostile, record(0, "next")]),
    )
    .await;
    let found = logs(&server, "").await;
    assert_eq!(bodies(&found), [&*forged, "next"]);
    let hostile = &found["records"][0];
    assert_eq!(hostile["severityText"], "INFO\nERROR");
    assert_eq!(hostile["service"], "s\n\"");
    assert_eq!(hostile["attributes"][1]["key"], "k\n\"\0");
    assert_eq!(
        hostile["attributes"][1]["value"]["stringValue"],
        "v\u{2028}"
    );
    assert!(hostile.get("traceId").is_none());
    assert_eq!(
        bodies(&logs(&server, &format!("?trace={CHAIN}")).await),
        [""; 0]
    );
    assert_eq!(bodies(&logs(&server, "?text=another").await).len(), 1);
}

#[tokio::test]
async fn text_that_is_not_utf8_is_mended_in_protobuf() {
    let server = start().await;
    let mut message = of_service("s", vec![record(1, "a??b"), record(0, "next")]).encode_to_vec();
    let at = message
        .windows(4)
        .position(|bytes| bytes == b"a??b")
        .unwrap();
    message[at + 1..at + 3].copy_from_slice(b"\xff\xc3");
    let answer = post(&server, &[PROTOBUF], message).await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, Bytes::new()));
    assert_eq!(
        bodies(&logs(&server, "").await),
        ["a\u{fffd}\u{fffd}b", "next"]
    );
}

#[tokio::test]
async fn a_record_that_is_too_large_is_rejected_alone_and_named() {
    let server = start().await;
    let fits = "x".repeat((256 << 10) - 100);
    let large = "y".repeat(256 << 10);
    let split = LogRecord {
        attributes: (0..80).map(|_| text("k", &"z".repeat(4000))).collect(),
        ..record(0, "many")
    };
    let records = vec![
        record(2, &fits),
        record(1, &large),
        split,
        record(0, "small"),
    ];
    let request = of_service("s", records);
    let why = "rejected log records: 2 with more than 256 KiB of text and values";
    let answer = client(&server).await.export(request.clone()).await.unwrap();
    let partial = answer.into_inner().partial_success.unwrap();
    assert_eq!(
        (partial.rejected_log_records, &*partial.error_message),
        (2, why)
    );
    let answer = post(&server, &[PROTOBUF], request.encode_to_vec()).await;
    let answer = ExportLogsServiceResponse::decode(answer.body).unwrap();
    assert_eq!(answer.partial_success, Some(partial));
    assert_eq!(bodies(&logs(&server, "?text=small").await).len(), 2);
    let json = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"body": {"stringValue": large}}, {"body": {"stringValue": fits}}, null,
    ]}]}]});
    let answer = post(&server, &[JSON], json.to_string()).await;
    let why = "rejected log records: 1 with more than 256 KiB of text and values";
    let expected = json!({"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": why}});
    assert_eq!(answer.json(), expected);
    let status = server.get("/status.json").await.json();
    assert_eq!(status["logs"]["records"], 6);
}

#[tokio::test]
async fn what_is_not_a_request_with_logs_is_refused_and_says_why() {
    let server = start().await;
    let valid = every_field().encode_to_vec();
    for (headers, body, status, why) in [
        (
            &[PROTOBUF][..],
            valid[..valid.len() - 1].to_vec(),
            400,
            "not an ExportLogsServiceRequest: truncated field",
        ),
        (&[PROTOBUF, GZIP], valid.clone(), 400, "not gzip"),
        (
            &[JSON],
            valid.clone(),
            400,
            "not an ExportLogsServiceRequest in JSON: expected value",
        ),
        (
            &[JSON],
            b"{\"resourceLogs\":{}}".to_vec(),
            400,
            "expected an array",
        ),
        (
            &[("content-type", "text/plain")],
            valid,
            415,
            "only application/x-protobuf and application/json",
        ),
        (
            &[PROTOBUF],
            vec![0; (16 << 20) + 1],
            413,
            "--max-request-size",
        ),
        (
            &[PROTOBUF, GZIP],
            gzipped(&vec![0; (16 << 20) + 1]),
            413,
            "--max-request-size",
        ),
        // A million empty records in two megabytes.
        (
            &[PROTOBUF],
            many_empty(1_000_000),
            413,
            "what one request holds would take more than 64 MiB",
        ),
    ] {
        let answer = post(&server, headers, body).await;
        assert_eq!(answer.status, status, "{why}: {:?}", answer.body);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains(why), "{why}: {text}");
    }
    for body in ["", "{}", "null", r#"{"resourceLogs":null}"#] {
        assert_eq!(
            post(&server, &[JSON], body).await.json(),
            json!({}),
            "{body}"
        );
    }
    assert_eq!(logs(&server, "").await["records"], json!([]));
}

/// Of two bytes each.
fn many_empty(records: usize) -> Vec<u8> {
    let field = |tag: u8, content: &[u8]| {
        let mut message = vec![tag];
        prost::encoding::encode_varint(content.len() as u64, &mut message);
        message.extend_from_slice(content);
        message
    };
    field(0x0a, &field(0x12, &[0x12, 0].repeat(records)))
}

#[tokio::test]
async fn the_page_may_send_logs_to_its_own_port_and_nobody_else_may() {
    let server = start().await;
    let address = server.http.to_string();
    let message = of_service("s", vec![record(0, "here")]).encode_to_vec();
    let elsewhere = [PROTOBUF, ("origin", "http://evil.example")];
    let answer = post_to(&address, &elsewhere, message.clone()).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let answer = post_to(&address, &[PROTOBUF], message.clone()).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let origin = format!("http://{address}");
    let from_page = [PROTOBUF, ("origin", &*origin)];
    let answer = post_to(&address, &from_page, message).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(bodies(&logs(&server, "").await), ["here"]);
    let wrong_host = server
        .get_with("/logs.json", &[("host", "evil.example")])
        .await;
    assert_eq!(wrong_host.status, 421);
}

#[tokio::test]
async fn loose_json_is_understood() {
    let server = start().await;
    let loose = r#"{"resource_logs": [{"scope_logs": [{"log_records": [{
        "time_unix_nano": 1795251600000000001, "observed_time_unix_nano": "1795251600000000002",
        "severity_number": "SEVERITY_NUMBER_WARN2", "severity_text": null,
        "body": {"string_value": "half \ud83d"}, "flags": "257",
        "trace_id": "ABCDEFabcdef00000000000000000001", "dropped_attributes_count": "4",
        "event_name": "e", "attributes": null, "unknown": [{}]
    }, {"severityNumber": 25, "body": {}}, {"severityNumber": "NONE", "body": null}]}],
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "late"}}]}}]}"#;
    assert_eq!(post(&server, &[JSON], loose).await.json(), json!({}));
    let found = logs(&server, "").await;
    let expected = json!({
        "timeUnixNano": "1795251600000000001",
        "observedTimeUnixNano": "1795251600000000002",
        "severityNumber": 14,
        "body": {"stringValue": "half \u{fffd}"},
        "droppedAttributesCount": 4,
        "flags": 257,
        "traceId": "abcdefabcdef00000000000000000001",
        "eventName": "e",
        "service": "late",
        "resource": 0,
        "scope": {},
    });
    let records = found["records"].as_array().unwrap();
    assert!(records.contains(&expected), "{found:#}");
    let without_severity = records
        .iter()
        .filter(|record| record.get("severityNumber").is_none());
    assert_eq!(without_severity.count(), 2);
}
