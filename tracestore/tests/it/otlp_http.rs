//! Spans over OTLP/HTTP, in protobuf and JSON, and what no honest sender makes of it.

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use hyper::{Method, body::Bytes};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    trace::v1::{ResourceSpans, TracesData},
};
use prost::Message;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;

use crate::{
    bad_input::{is_alive, resident_bytes},
    inputs::{CHAIN, EVERYTHING, chain, everything, plain, request},
    server::{Answer, Server, send, start},
};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto>
#[derive(Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

async fn trace(server: &Server, id: &str) -> Vec<ResourceSpans> {
    let answer = server.get_protobuf(&format!("/api/traces/{id}")).await;
    TracesData::decode(answer.body).unwrap().resource_spans
}

/// A request as the specification writes it in JSON: what Tempo answers is the same, but for the
/// name of the outermost list and ids in base64.
pub(crate) async fn as_json(request: ExportTraceServiceRequest, id: &str) -> Value {
    let server = start().await;
    server.export(request).await.unwrap();
    let answer = server.get(&format!("/api/v2/traces/{id}")).await.json();
    let mut trace = answer["trace"].clone();
    ids_in_hex(&mut trace);
    trace
}

fn ids_in_hex(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(id) if name.ends_with("Id") => *id = hex(id),
                    _ => ids_in_hex(field),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(ids_in_hex),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn hex(base64: &str) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let bytes = BASE64_STANDARD.decode(base64).unwrap();
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn error(answer: &Answer) -> (i32, String) {
    if answer.headers["content-type"] == "application/json" {
        let status: Value = serde_json::from_slice(&answer.body).unwrap();
        let code = status["code"].as_i64().unwrap();
        let message = status["message"].as_str().unwrap().to_owned();
        return (code.try_into().unwrap(), message);
    }
    assert_eq!(answer.headers["content-type"], PROTOBUF.1);
    let status = RpcStatus::decode(answer.body.clone()).unwrap();
    (status.code, status.message)
}

#[tokio::test]
async fn a_trace_is_the_same_however_it_was_sent() {
    for (input, id) in [(chain(), CHAIN), (everything(), EVERYTHING)] {
        let by_grpc = start().await;
        by_grpc.export(input.clone()).await.unwrap();
        let expected = format!("{:#?}", trace(&by_grpc, id).await);
        let protobuf = input.encode_to_vec();
        let json = as_json(input, id).await.to_string().into_bytes();
        for (headers, body) in [
            (vec![PROTOBUF], protobuf.clone()),
            (vec![PROTOBUF, GZIP], gzipped(&protobuf)),
            (vec![JSON], json.clone()),
            (vec![JSON, GZIP], gzipped(&json)),
        ] {
            let server = start().await;
            let answer = server.post(&headers, body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            // The flags and schema URLs that Tempo's JSON lacks are not in ours either.
            let found = format!("{:#?}", trace(&server, id).await);
            assert_eq!(found, expected, "{headers:?}");
        }
    }
}

#[tokio::test]
async fn the_answer_has_the_form_of_the_request() {
    let server = start().await;
    let good = chain();
    let mut bad = chain();
    bad.resource_spans[1].scope_spans[0].spans[0].trace_id = vec![0; 16];
    bad.resource_spans[1].scope_spans[0].spans[1].trace_id = vec![1; 2];

    let answer = server.post(&[PROTOBUF], good.encode_to_vec()).await;
    assert_eq!(answer.headers["content-type"], PROTOBUF.1);
    assert_eq!(answer.body, Bytes::new());
    let answer = server.post(&[PROTOBUF], bad.encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let response = ExportTraceServiceResponse::decode(answer.body).unwrap();
    assert_eq!(response.partial_success.unwrap().rejected_spans, 2);

    let with_parameters = ("content-type", "Application/JSON; charset=utf-8");
    let answer = server.post(&[with_parameters], "{}").await;
    assert_eq!(answer.json(), json!({}));
    let spans = json!([
        {"traceId": "00000000000000000000000000000000", "spanId": "0000000000000001"},
        {"traceId": "S/kvNXezTaajzpKdDg5HNg==", "spanId": "0000000000000001"},
        {"traceId": CHAIN, "spanId": "01"},
        {"traceId": CHAIN, "spanId": "0000000000000001", "parentSpanId": "x"},
        {"traceId": "a".repeat(32), "spanId": "b".repeat(16), "parentSpanId": ""},
        null,
    ]);
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]});
    let answer = server.post(&[JSON], body.to_string()).await;
    let expected = json!({
        "partialSuccess": {
            "rejectedSpans": "5",
            "errorMessage": "rejected spans: 1 with a parent_span_id that is not hexadecimal, \
                1 with a span_id that is not 8 bytes long, \
                1 with a trace_id of zeros, \
                1 with a trace_id that is not 16 bytes long, \
                1 with a trace_id that is not hexadecimal",
        },
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(trace(&server, &"a".repeat(32)).await.len(), 1);
}

#[tokio::test]
async fn empty_requests_succeed() {
    let server = start().await;
    for headers in [&[PROTOBUF][..], &[JSON], &[PROTOBUF, GZIP], &[JSON, GZIP]] {
        assert_eq!(server.post(headers, "").await.status, 200, "{headers:?}");
    }
    for body in [
        "{}",
        " {\n} ",
        "null",
        r#"{"resourceSpans":null}"#,
        r#"{"resourceSpans":[]}"#,
    ] {
        assert_eq!(server.post(&[JSON], body).await.json(), json!({}), "{body}");
    }
    assert_eq!(server.get("/status.json").await.json()["usage"]["spans"], 0);
}

/// A request that only a tolerant reader understands.
pub(crate) const LOOSE: &str = r#"{
    "unknown": [[{"a": null}], 1e400000, "\u0000"],
    "resourceSpans": [{
        "scopeSpans": [{
            "schemaUrl": null,
            "spans": [{
                "traceId": "ABCDEFabcdef00000000000000000001", "span_id": "00000000000000Ff",
                "name": "first", "name": "last", "kind": "SPAN_KIND_CLIENT",
                "startTimeUnixNano": 1795251600000000001, "endTimeUnixNano": "1795251600000000002",
                "attributes": [
                    {"key": "empty", "value": {}}, {"key": "none"}, {"key": "null", "value": null},
                    {"key": "number", "value": {"intValue": 9007199254740993}},
                    {"key": "text", "value": {"intValue": "-9223372036854775808"}},
                    {"key": "whole", "value": {"intValue": 1e3}},
                    {"key": "beyond 64 bits", "value": {"intValue": 9223372036854776000}},
                    {"key": "far beyond", "value": {"intValue": -1e300}},
                    {"key": "halves", "value": {"stringValue": "\ud83d\ude00\ud83d \ude00\n\ud83d"}},
                    {"key": "nan", "value": {"doubleValue": "NaN"}},
                    {"key": "infinity", "value": {"doubleValue": "-Infinity"}},
                    {"key": "double", "value": {"double_value": 1}},
                    {"key": "bytes", "value": {"bytesValue": "-_8"}},
                    {"key": "array", "value": {"arrayValue": {"values": [{}, null, {"boolValue": true}]}}},
                    {"key": "no map", "value": {"kvlistValue": {}}},
                    {"key": "absent", "value": {"stringValue": "kept", "intValue": null, "arrayValue": null}}
                ],
                "events": null, "links": [null],
                "status": {"code": "STATUS_CODE_ERROR", "message": null}
            }, {"traceId": "abcdefabcdef00000000000000000001", "spanId": "01", "kind": "NO_KIND"}]
        }],
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "late"}}]}
    }]
}"#;

#[tokio::test]
async fn json_may_be_written_as_loosely_as_senders_do() {
    let server = start().await;
    let body = LOOSE;
    let answer = server.post(&[JSON], body).await.json();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1");
    let found = server.get("/api/v2/traces/abcdefabcdef00000000000000000001");
    let found = found.await.json()["trace"]["resourceSpans"][0].take();
    let service = &found["resource"]["attributes"][0]["value"]["stringValue"];
    assert_eq!(service, "late");
    let span = &found["scopeSpans"][0]["spans"][0];
    assert_eq!(span["name"], "last");
    assert_eq!(span["kind"], "SPAN_KIND_CLIENT");
    assert_eq!(span["startTimeUnixNano"], "1795251600000000001");
    assert_eq!(span["endTimeUnixNano"], "1795251600000000002");
    assert_eq!(span["droppedLinksCount"], 1);
    assert_eq!(span["status"], json!({"code": "STATUS_CODE_ERROR"}));
    let values: Vec<String> = span["attributes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attribute| attribute["value"].to_string())
        .collect();
    assert_eq!(
        values,
        [
            "{}",
            "{}",
            "{}",
            r#"{"intValue":"9007199254740993"}"#,
            r#"{"intValue":"-9223372036854775808"}"#,
            r#"{"intValue":"1000"}"#,
            r#"{"doubleValue":9.223372036854776e+18}"#,
            r#"{"doubleValue":-1e+300}"#,
            "{\"stringValue\":\"\u{1f600}\u{fffd} \u{fffd}\\n\u{fffd}\"}",
            r#"{"doubleValue":"NaN"}"#,
            r#"{"doubleValue":"-Infinity"}"#,
            r#"{"doubleValue":1}"#,
            r#"{"bytesValue":"+/8="}"#,
            r#"{"arrayValue":{"values":[{},{},{"boolValue":true}]}}"#,
            r#"{"kvlistValue":{}}"#,
            r#"{"stringValue":"kept"}"#,
        ]
    );
}

#[tokio::test]
async fn what_is_not_an_otlp_request_is_a_400_that_says_why() {
    let server = start().await;
    let valid = chain().encode_to_vec();
    let spans =
        |span: &str| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    let mut corrupt = gzipped(&valid);
    let at = corrupt.len() - 6;
    corrupt[at] ^= 1;
    for (headers, body, why) in [
        (
            vec![PROTOBUF],
            valid[..valid.len() - 1].to_vec(),
            "truncated field",
        ),
        (
            vec![PROTOBUF],
            vec![0xff; 64],
            "varint longer than 10 bytes",
        ),
        (
            vec![PROTOBUF],
            b"{\"resourceSpans\":[]}".to_vec(),
            "wire type",
        ),
        (vec![PROTOBUF], gzipped(&valid), "wire type"),
        (vec![PROTOBUF, GZIP], valid.clone(), "not gzip"),
        (
            vec![PROTOBUF, GZIP],
            gzipped(&valid)[..40].to_vec(),
            "not gzip",
        ),
        (vec![PROTOBUF, GZIP], gzipped(&gzipped(&valid)), "wire type"),
        (vec![PROTOBUF, GZIP], corrupt, "not gzip"),
        (vec![JSON], valid.clone(), "expected value at line"),
        (vec![JSON], b"[]".to_vec(), "expected an object"),
        (vec![JSON], b"{\"resourceSpans\":".to_vec(), "EOF"),
        (vec![JSON], b"{}{}".to_vec(), "trailing characters"),
        (
            vec![JSON],
            spans("{\"name\":1}").into(),
            "expected a string",
        ),
        (
            vec![JSON],
            spans("{\"traceId\":{}}").into(),
            "expected an id",
        ),
        (
            vec![JSON],
            spans("{\"name\":[\"a\"]}").into(),
            "expected a string",
        ),
        (vec![JSON], spans("{\"name\":\"\\ud8\"}").into(), "line 1"),
        (
            vec![JSON],
            [
                br#"{"resourceSpans":[{"schemaUrl":""#.as_slice(),
                b"\xff\"}]}",
            ]
            .concat(),
            "utf-8",
        ),
        (
            vec![JSON],
            [
                br#"{"resourceSpans":[{"schemaUrl":"\ud800"#.as_slice(),
                b"\xff\"}]}",
            ]
            .concat(),
            "utf-8",
        ),
        (
            vec![JSON],
            [b"{\"".as_slice(), b"\xff\":1}"].concat(),
            "line 1",
        ),
        (
            vec![JSON],
            spans("{\"startTimeUnixNano\":-1}").into(),
            "expected an integer",
        ),
        (
            vec![JSON],
            spans("{\"flags\":4294967296}").into(),
            "expected an integer",
        ),
        (
            vec![JSON],
            spans("{\"attributes\":[{\"value\":{\"intValue\":1.5}}]}").into(),
            "64-bit",
        ),
        (
            vec![JSON],
            spans("{\"attributes\":[{\"value\":{\"intValue\":\"9223372036854775808\"}}]}").into(),
            "64-bit",
        ),
        (
            vec![JSON],
            spans("{\"attributes\":[{\"value\":{\"bytesValue\":\"?\"}}]}").into(),
            "base64",
        ),
    ] {
        let answer = server.post(&headers, body).await;
        assert_eq!(answer.status, 400, "{why}");
        assert_eq!(answer.headers["content-type"], headers[0].1);
        let (code, message) = error(&answer);
        assert_eq!(code, Code::InvalidArgument as i32);
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(server.get("/status.json").await.json()["usage"]["spans"], 0);
    is_alive(&server).await;
}

#[tokio::test]
async fn an_error_does_not_repeat_what_was_sent() {
    let server = start().await;
    let long = format!(r#"{{"resourceSpans":"{}"}}"#, "x".repeat(1 << 20));
    let answer = server.post(&[JSON], long).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 1000, "{}", answer.body.len());
}

#[tokio::test]
async fn other_methods_paths_types_and_encodings_are_refused() {
    let server = start().await;
    let address = server.otlp_http.to_string();
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = send(&address, method, "/v1/traces", &[JSON], Bytes::new()).await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.headers["allow"], "POST");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    for path in ["/", "/v1/metrics", "/v1/traces/", "/api/traces"] {
        let answer = send(&address, Method::POST, path, &[JSON], Bytes::new()).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    for headers in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/grpc")],
        &[JSON, ("content-encoding", "zstd")],
        &[PROTOBUF, ("content-encoding", "gzip, gzip")],
        &[PROTOBUF, GZIP, GZIP],
    ] {
        let answer = server.post(headers, "").await;
        assert_eq!(answer.status, 415, "{headers:?}");
    }
    let answer = server.post(&[JSON, ("content-encoding", "br")], "{}").await;
    assert_eq!(answer.headers["accept-encoding"], "gzip");
    let identity = server.post(&[JSON, ("content-encoding", "identity")], "{}");
    assert_eq!(identity.await.status, 200);
    is_alive(&server).await;
}

#[tokio::test]
async fn pages_of_strangers_may_not_send() {
    let server = start().await;
    let port = server.otlp_http.port();
    let own = format!("http://127.0.0.1:{port}");
    for (headers, status) in [
        (vec![JSON], 200),
        (vec![JSON, ("origin", &own)], 200),
        (vec![JSON, ("origin", "http://evil.example")], 403),
        (vec![JSON, ("origin", "http://localhost:3000")], 403),
        (vec![JSON, ("origin", "null")], 403),
        (vec![PROTOBUF, ("origin", "http://evil.example")], 403),
        (vec![JSON, ("host", "rebound.example")], 421),
        (
            vec![
                JSON,
                ("host", "rebound.example"),
                ("origin", "http://rebound.example"),
            ],
            421,
        ),
        (vec![JSON, ("host", "tracestore:4318")], 200),
    ] {
        let answer = server.post(&headers, "{}").await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_a_413_and_takes_no_memory() {
    let server = start().await;
    let spans = "{},".repeat(2_000_000);
    let empty_spans =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}{{}}]}}]}}]}}"#);
    let values = "{},".repeat(4_000_000);
    let empty_values = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"value":{{"arrayValue":{{"values":[{values}{{}}]}}}}}}]}}}}]}}"#
    );
    let zeros = vec![0; 256 << 20];
    let bomb = gzipped(&zeros);
    drop(zeros);
    for (headers, body, why) in [
        (vec![PROTOBUF], vec![0; 17 << 20], "16 MiB"),
        (vec![JSON], vec![b' '; 17 << 20], "16 MiB"),
        (vec![PROTOBUF, GZIP], bomb.clone(), "16 MiB"),
        (vec![JSON, GZIP], bomb, "16 MiB"),
        (vec![JSON], empty_spans.into_bytes(), "64 MiB"),
        (vec![JSON], empty_values.into_bytes(), "64 MiB"),
    ] {
        let before = resident_bytes();
        let answer = server.post(&headers, body).await;
        let grown = resident_bytes().saturating_sub(before);
        assert_eq!(answer.status, 413, "{headers:?}");
        let (code, message) = error(&answer);
        assert_eq!(code, Code::ResourceExhausted as i32);
        assert!(message.contains(why), "{message}");
        assert!(grown < 128 << 20, "{grown}");
    }
    is_alive(&server).await;
}

#[tokio::test]
async fn too_much_of_a_span_is_dropped_from_json_as_it_is_from_protobuf() {
    let server = start().await;
    let attributes = r#"{"key":"n","value":{"intValue":1}},"#.repeat(100_000);
    let link = format!(
        r#"{{"traceId":"{:0>32}","spanId":"0000000000000001"}},"#,
        "a1"
    );
    let link = link.repeat(50_000);
    let body = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{
            "traceId":"{:0>32}","spanId":"0000000000000001",
            "attributes":[{attributes}{{"key":"last"}}],"droppedAttributesCount":1,
            "events":[{}{{}}],"droppedEventsCount":"2",
            "links":[{link}{link}{{}}],"droppedLinksCount":3,
            "name":"{}"
        }}]}}]}}]}}"#,
        "a1",
        "{},".repeat(99_999),
        "\u{1F980}".repeat(1 << 18),
    );
    assert_eq!(server.post(&[JSON], body).await.json(), json!({}));
    let found = server.get("/api/v2/traces/a1").await.json();
    let span = &found["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["attributes"].as_array().unwrap().len(), 128);
    assert_eq!(span["droppedAttributesCount"], 100_001 - 128 + 1);
    assert_eq!(span["events"].as_array().unwrap().len(), 128);
    assert_eq!(span["droppedEventsCount"], 100_000 - 128 + 2);
    assert_eq!(span["links"].as_array().unwrap().len(), 128);
    // The last one leads nowhere.
    assert_eq!(span["droppedLinksCount"], 100_001 - 128 + 3);
    assert_eq!(span["name"], "\u{1F980}".repeat(1024));
}

#[tokio::test]
async fn json_that_nests_without_end_is_refused_and_overflows_no_stack() {
    let server = start().await;
    for (open, close) in [
        (r#"{"arrayValue":{"values":["#, "]}}"),
        (r#"{"kvlistValue":{"values":[{"value":"#, "}]}}"),
    ] {
        let nested = |depth: usize| {
            let value = format!("{}{{}}{}", open.repeat(depth), close.repeat(depth));
            format!(
                r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"value":{value}}}]}}}}]}}"#
            )
        };
        assert_eq!(server.post(&[JSON], nested(32)).await.status, 200);
        for depth in [33, 100_000] {
            let answer = server.post(&[JSON], nested(depth)).await;
            assert_eq!(answer.status, 400);
            assert!(error(&answer).1.contains("nested too deeply"));
        }
    }
    let ignored = format!(
        "{{\"unknown\":{}{}}}",
        "[".repeat(1 << 20),
        "]".repeat(1 << 20)
    );
    assert_eq!(server.post(&[JSON], ignored).await.status, 200);
    let unexpected = format!("{{\"resourceSpans\":{}", "[".repeat(1 << 20));
    assert_eq!(server.post(&[JSON], unexpected).await.status, 400);
    is_alive(&server).await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    for address in [
        |server: &Server| server.otlp_http,
        |server: &Server| server.jaeger,
    ] {
        let server = start().await;
        let mut stream = TcpStream::connect(address(&server)).await.unwrap();
        let (path, kind) = if address(&server) == server.jaeger {
            ("/api/traces", "application/x-thrift")
        } else {
            ("/v1/traces", JSON.1)
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 10\r\n\r\n{{}}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let before = tokio::time::Instant::now();
        // With the clock paused, a wait takes no time, but is still as long.
        tokio::time::pause();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(Duration::from_secs(30), read)
            .await
            .expect("it is closed within 30 seconds")
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(before.elapsed() < Duration::from_secs(30));
        tokio::time::resume();
        is_alive(&server).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_harm() {
    let server = start().await;
    for rest in [
        "Content-Length: 10\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    ] {
        let mut stream = TcpStream::connect(server.otlp_http).await.unwrap();
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{rest}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{answer}"
        );
    }
    is_alive(&server).await;
}

#[tokio::test]
async fn http_2_without_encryption_is_served_too() {
    let server = start().await;
    let stream = TcpStream::connect(server.otlp_http).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let body = request("s", vec![plain("a1", 1, "over HTTP/2")]).encode_to_vec();
    let post = hyper::Request::post(format!("http://{}/v1/traces", server.otlp_http))
        .header(PROTOBUF.0, PROTOBUF.1)
        .body(http_body_util::Full::<Bytes>::from(body))
        .unwrap();
    assert_eq!(sender.send_request(post).await.unwrap().status(), 200);
    assert_eq!(trace(&server, "a1").await.len(), 1);
}
