//! Log records over every way in, and what the page and scripts find of them.

pub(crate) mod hostile;
mod process;
mod search;
mod tail;

use std::io::Write;

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
use tonic::{codec::CompressionEncoding, transport::Channel};

use crate::{
    inputs::{CHAIN, MS, NINE, everything, id, int, span_id, text},
    server::{Answer, Server, send, start},
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
pub(crate) fn every_field() -> ExportLogsServiceRequest {
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

/// A request as OTLP writes it in JSON.
pub(crate) async fn as_json(request: ExportLogsServiceRequest) -> Value {
    let server = start().await;
    keep(&server, &request).await;
    of_answer(&logs(&server, "").await)
}

/// What was sent, of one resource and scope: what is found is that, but for the lists around it.
fn of_answer(found: &Value) -> Value {
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
    let json = of_answer(&expected).to_string();
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

#[tokio::test]
async fn what_a_sender_sends_again_is_there_once_whatever_it_is_compressed_with() {
    let server = start().await;
    let said = of_service("shop", vec![record(0, "paid"), record(0, "paid")]);
    keep(&server, &said).await;
    keep(&server, &said).await;
    let zipped = gzipped(&said.encode_to_vec());
    post(&server, &[PROTOBUF, GZIP], zipped).await;
    keep(&server, &of_service("shop", vec![record(1, "paid")])).await;
    keep(&server, &of_service("mailer", vec![record(0, "paid")])).await;
    assert_eq!(bodies(&logs(&server, "").await).len(), 4);
    let metrics = server.get("/metrics").await;
    let repeated = "\ntracestore_log_requests_repeated_total 2\n";
    assert!(metrics.text().contains(repeated), "{}", metrics.text());
}
