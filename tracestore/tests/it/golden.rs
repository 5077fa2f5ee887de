//! Traces by id equal those of a real Tempo 3.0.3 to the same spans, recorded in `tests/golden`; `recorded` has all other answers.
//!
//! But for what Tempo loses or leaves open: it forgets trace flags and schema URLs, orders spans,
//! events and links only in traces that it combined from parts, and attributes hardly ever.
//!
//! With `UPDATE_EXPECT` in the environment, and `TEMPO_URL`, `TEMPO_OTLP` and `TEMPO_JAEGER` (each
//! `http://host:port`), the spans are sent to that Tempo and its answers are recorded anew.

use std::{env, fs, path::PathBuf, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::TracesData,
};
use prost::Message;
use serde_json::Value;

use crate::{
    inputs::{CHAIN, EVERYTHING, chain, everything},
    jaeger::{JAEGER, batch},
    server::{client, get, post_thrift, start},
};

#[tokio::test]
async fn a_chain_of_services_is_answered_as_tempo_does() {
    check("chain", CHAIN, Input::Otlp(chain())).await;
}

#[tokio::test]
async fn every_field_and_value_is_answered_as_tempo_does() {
    check("everything", EVERYTHING, Input::Otlp(everything())).await;
}

#[tokio::test]
async fn a_batch_of_jaeger_is_answered_as_tempo_does() {
    check("jaeger", JAEGER, Input::Thrift(batch())).await;
}

enum Input {
    Otlp(ExportTraceServiceRequest),
    /// A `jaeger.Batch`
    Thrift(Vec<u8>),
}

async fn check(name: &str, id: &str, input: Input) {
    let tempo = |variable| Some(env::var(variable).ok()?.replace("http://", ""));
    if env::var_os("UPDATE_EXPECT").is_some()
        && let (Some(http), Some(otlp), Some(jaeger)) = (
            tempo("TEMPO_URL"),
            tempo("TEMPO_OTLP"),
            tempo("TEMPO_JAEGER"),
        )
    {
        match &input {
            Input::Otlp(request) => {
                let mut client = client(&otlp).await;
                client.export(request.clone()).await.unwrap();
            }
            Input::Thrift(batch) => {
                let answer = post_thrift(&jaeger, batch.clone()).await;
                assert_eq!(answer.status, 202, "{}", answer.text());
            }
        }
        // While Tempo moves spans to a block its answers change from call to call.
        tokio::time::sleep(Duration::from_secs(5)).await;
        record(name, &ask(&http, id).await);
    }
    let server = start().await;
    match input {
        Input::Otlp(request) => {
            server.export(request).await.unwrap();
        }
        Input::Thrift(batch) => {
            let answer = server.post_thrift(batch).await;
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
    }
    let ours = ask(&server.http.to_string(), id).await;
    let tempos = recorded(name);
    assert_eq!(comparable(ours.v1), comparable(tempos.v1));
    assert_eq!(comparable(ours.v2), comparable(tempos.v2));
    let tempos_protobuf = comparable_protobuf(&tempos.v1_protobuf);
    assert_eq!(comparable_protobuf(&ours.v1_protobuf), tempos_protobuf);
    assert_eq!(comparable_protobuf(&ours.v2_protobuf), tempos_protobuf);
    assert_eq!(comparable_protobuf(&tempos.v2_protobuf), tempos_protobuf);
}

fn comparable(mut json: Value) -> Value {
    match &mut json {
        Value::Object(fields) => {
            fields.remove("flags");
            fields.remove("schemaUrl");
            for (name, field) in fields.iter_mut() {
                *field = comparable(field.take());
                if let ("spans" | "events" | "links" | "attributes", Value::Array(elements)) =
                    (name.as_str(), field)
                {
                    elements.sort_by_key(Value::to_string);
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                *element = comparable(element.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    json
}

/// Shown as text, since a NaN is unlike itself.
fn comparable_protobuf(message: &[u8]) -> String {
    let mut trace = TracesData::decode(message).unwrap();
    for resource_spans in &mut trace.resource_spans {
        resource_spans.schema_url.clear();
        let resource = resource_spans.resource.as_mut().unwrap();
        resource.attributes.sort_by(|a, b| a.key.cmp(&b.key));
        for scope_spans in &mut resource_spans.scope_spans {
            scope_spans.schema_url.clear();
            for span in &mut scope_spans.spans {
                span.flags = 0;
                span.attributes.sort_by(|a, b| a.key.cmp(&b.key));
                span.events.sort_by_key(|event| event.time_unix_nano);
                span.links.sort_by(|a, b| a.trace_id.cmp(&b.trace_id));
                for link in &mut span.links {
                    link.flags = 0;
                }
            }
            scope_spans.spans.sort_by(|a, b| a.span_id.cmp(&b.span_id));
        }
    }
    format!("{trace:#?}")
}

/// What is comparable of the answers: without measurements such as `inspectedBytes`.
struct Answers {
    v1: Value,
    v2: Value,
    /// `tempopb.Trace`
    v1_protobuf: Vec<u8>,
    /// `trace` of `tempopb.TraceByIDResponse`
    v2_protobuf: Vec<u8>,
}

async fn ask(http: &str, id: &str) -> Answers {
    #[derive(Message)]
    struct TraceByIdResponse {
        #[prost(bytes, tag = "1")]
        trace: Vec<u8>,
    }
    let (v1, v2) = (format!("/api/traces/{id}"), format!("/api/v2/traces/{id}"));
    let protobuf = [("accept", "application/protobuf")];
    let v2_protobuf = get(http, &v2, &protobuf).await.body;
    Answers {
        v1: get(http, &v1, &[]).await.json(),
        v2: get(http, &v2, &[]).await.json()["trace"].take(),
        v1_protobuf: get(http, &v1, &protobuf).await.body.to_vec(),
        v2_protobuf: TraceByIdResponse::decode(v2_protobuf).unwrap().trace,
    }
}

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.join("tests/golden").join(name)
}

fn record(name: &str, answers: &Answers) {
    record_json(name, "v1", &answers.v1);
    record_json(name, "v2", &answers.v2);
    fs::write(file(&format!("{name}.v1.pb")), &answers.v1_protobuf).unwrap();
    fs::write(file(&format!("{name}.v2.pb")), &answers.v2_protobuf).unwrap();
}

fn record_json(name: &str, kind: &str, value: &Value) {
    let text = format!("{value:#}\n");
    fs::write(file(&format!("{name}.{kind}.json")), text).unwrap();
}

fn recorded_json(name: &str, kind: &str) -> Value {
    let text = fs::read(file(&format!("{name}.{kind}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn recorded(name: &str) -> Answers {
    let read = |kind: &str| fs::read(file(&format!("{name}.{kind}"))).unwrap();
    Answers {
        v1: recorded_json(name, "v1"),
        v2: recorded_json(name, "v2"),
        v1_protobuf: read("v1.pb"),
        v2_protobuf: read("v2.pb"),
    }
}
