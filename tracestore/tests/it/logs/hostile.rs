//! What no honest sender makes of log records, and what honest ones differ in.

use hyper::body::Bytes;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceResponse,
    logs::v1::{LogRecord, ResourceLogs},
    resource::v1::Resource,
};
use prost::Message;
use serde_json::json;

use super::{
    GZIP, JSON, PROTOBUF, bodies, client, every_field, gzipped, keep, logs, of_service, post,
    post_to, record,
};
use crate::{
    inputs::{CHAIN, text},
    server::start,
};

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
    // The same bytes: a sender that sends them again.
    assert_eq!(bodies(&logs(&server, "?text=small").await).len(), 1);
    let json = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"body": {"stringValue": large}}, {"body": {"stringValue": fits}}, null,
    ]}]}]});
    let answer = post(&server, &[JSON], json.to_string()).await;
    let why = "rejected log records: 1 with more than 256 KiB of text and values";
    let expected = json!({"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": why}});
    assert_eq!(answer.json(), expected);
    let status = server.get("/status.json").await.json();
    assert_eq!(status["logs"]["records"], 4);
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
        // Two thousand scopes, each with an empty record, of a resource of 64 KB.
        (
            &[PROTOBUF],
            many_scopes(2000),
            413,
            "what one request holds would take more than 64 MiB",
        ),
        (
            &[JSON],
            many_scopes_in_json(2000),
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

/// Of four bytes each.
fn many_scopes(scopes: usize) -> Vec<u8> {
    let large = (0..16).map(|n| text(&n.to_string(), &"x".repeat(4000)));
    let resource_logs = ResourceLogs {
        resource: Some(Resource {
            attributes: large.collect(),
            ..Resource::default()
        }),
        ..ResourceLogs::default()
    };
    let mut message = resource_logs.encode_to_vec();
    message.extend([0x12, 2, 0x12, 0].repeat(scopes));
    let mut request = vec![0x0a];
    prost::encoding::encode_varint(message.len() as u64, &mut request);
    request.extend(message);
    request
}

fn many_scopes_in_json(scopes: usize) -> Vec<u8> {
    let attribute =
        |n: i32| json!({"key": n.to_string(), "value": {"stringValue": "x".repeat(4000)}});
    let request = json!({"resourceLogs": [{
        "scopeLogs": vec![json!({"logRecords": [{}]}); scopes],
        "resource": {"attributes": (0..16).map(attribute).collect::<Vec<_>>()},
    }]});
    request.to_string().into_bytes()
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

/// A request that only a tolerant reader understands.
pub(crate) const LOOSE: &str = r#"{"resource_logs": [{"scope_logs": [{"log_records": [{
        "time_unix_nano": 1795251600000000001, "observed_time_unix_nano": "1795251600000000002",
        "severity_number": "SEVERITY_NUMBER_WARN2", "severity_text": null,
        "body": {"string_value": "half \ud83d"}, "flags": "257",
        "trace_id": "ABCDEFabcdef00000000000000000001", "dropped_attributes_count": "4",
        "event_name": "e", "attributes": null, "unknown": [{}]
    }, {"severityNumber": 25, "body": {}}, {"severityNumber": "NONE", "body": null}]}],
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "late"}}]}}]}"#;

#[tokio::test]
async fn json_may_be_written_as_loosely_as_senders_do() {
    let server = start().await;
    assert_eq!(post(&server, &[JSON], LOOSE).await.json(), json!({}));
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

#[tokio::test]
async fn what_is_received_is_counted_by_protocol_and_outcome() {
    let server = start().await;
    client(&server).await.export(every_field()).await.unwrap();
    let large = record(0, &"y".repeat(256 << 10));
    let request = of_service("s", vec![large, record(0, "small")]);
    let message = request.encode_to_vec();
    let bytes = message.len();
    post(&server, &[PROTOBUF], message).await;
    post(&server, &[JSON], "{").await;
    post(&server, &[("content-type", "text/plain")], "").await;
    let metrics = server.get("/metrics").await;
    for line in [
        "requests_total{protocol=\"otlp_grpc\",outcome=\"accepted\"} 1".to_owned(),
        "requests_total{protocol=\"otlp_http_protobuf\",outcome=\"partial\"} 1".to_owned(),
        "requests_total{protocol=\"otlp_http_protobuf\",outcome=\"unsupported\"} 1".to_owned(),
        "requests_total{protocol=\"otlp_http_json\",outcome=\"malformed\"} 1".to_owned(),
        format!("received_bytes_total{{protocol=\"otlp_http_protobuf\"}} {bytes}"),
        "records_accepted_total{protocol=\"otlp_grpc\"} 2".to_owned(),
        "records_accepted_total{protocol=\"otlp_http_protobuf\"} 1".to_owned(),
        "records_rejected_total{protocol=\"otlp_http_protobuf\",reason=\"too_large\"} 1".to_owned(),
        "records 3.0".to_owned(),
    ] {
        let line = format!("\ntracestore_log_{line}\n");
        assert!(
            metrics.text().contains(&line),
            "{line} in {}",
            metrics.text()
        );
    }
    // Of spans nothing was counted.
    let spans = "\ntracestore_requests_total{protocol=\"otlp_grpc\",outcome=\"accepted\"} 0\n";
    assert!(metrics.text().contains(spans));
}
