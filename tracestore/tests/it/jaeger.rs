//! Spans in Jaeger's thrift, and what no honest sender makes of it.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use hyper::{Method, body::Bytes};
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value as Any,
    trace::v1::{ResourceSpans, Span, TracesData},
};
use proptest::{collection::vec, prelude::*};
use prost::Message;
use serde_json::json;
use tokio::runtime;

use crate::{
    bad_input::is_alive,
    inputs::{CHAIN, NINE, chain},
    server::{Server, send, start},
    thrift::{
        Required, Struct, batch_of, binary_tag, bool_tag, double_tag, log, long_tag, reference,
        span, text_tag,
    },
};

pub(crate) const JAEGER: &str = "8a3ce929d0e0e4730af7651916cd43dd";
const TRACE: (i64, i64) = (0x8a3c_e929_d0e0_e473_u64 as i64, 0x0af7_6519_16cd_43dd);
const START: i64 = (NINE / 1000) as i64;

fn named(span_id: i64, parent: i64, name: &str) -> Struct {
    span(Required {
        trace: TRACE,
        span: span_id,
        parent,
        name,
        start: START + span_id,
        duration: 1000,
    })
}

/// Everything that Jaeger's model has and Tempo keeps.
pub(crate) fn batch() -> Vec<u8> {
    let process = vec![
        text_tag("hostname", "box"),
        text_tag("jaeger.version", "Go-2.30.0"),
        long_tag("process.pid", 7),
    ];
    let tags = vec![
        text_tag("span.kind", "server"),
        text_tag("text", "a \"quoted\" <tag> \u{2028}\u{e9}"),
        double_tag("double", 2.5),
        bool_tag("bool", false),
        long_tag("long", i64::MIN),
        binary_tag("binary", &[0, 0xff, 0xfe]),
        text_tag("twice", "first"),
        text_tag("twice", "second"),
    ];
    let logs = vec![
        log(
            START + 5,
            vec![text_tag("event", "retry"), long_tag("n", 1)],
        ),
        log(START + 6, vec![text_tag("message", "no event")]),
        log(START + 7, vec![]),
    ];
    let whole = named(1, 0, "whole").list(10, tags).list(11, logs);
    let failed = named(2, 1, "failed")
        .list(
            6,
            vec![reference(false, TRACE, 1), reference(true, TRACE, 3)],
        )
        .list(
            10,
            vec![bool_tag("error", true), text_tag("span.kind", "client")],
        );
    let described = named(3, 1, "described").list(
        10,
        vec![
            text_tag("otel.status_code", "Error"),
            text_tag("otel.status_description", "timed out"),
        ],
    );
    let both = named(4, 1, "both").list(
        10,
        vec![
            bool_tag("error", true),
            text_tag("otel.status_code", "OK"),
            text_tag("otel.status_description", "but"),
        ],
    );
    let well = named(5, 0, "by reference")
        .list(
            6,
            vec![reference(true, TRACE, 2), reference(false, TRACE, 1)],
        )
        .list(
            10,
            vec![text_tag("otel.status_code", "OK"), bool_tag("error", false)],
        );
    let follows = named(6, 0, "follows").list(
        6,
        vec![reference(false, (1, 2), 9), reference(true, TRACE, 2)],
    );
    let not_found = named(7, 1, "not found").list(
        10,
        vec![
            text_tag("span.kind", "client"),
            long_tag("http.status_code", 404),
            text_tag("http.status_message", "Not Found"),
        ],
    );
    let mistake = named(8, 1, "not ours").list(
        10,
        vec![
            text_tag("span.kind", "server"),
            text_tag("http.status_code", "404"),
            text_tag("otel.status_description", "kept"),
        ],
    );
    let spans = vec![
        whole, failed, described, both, well, follows, not_found, mistake,
    ];
    batch_of("jaeger-client", process, spans)
}

async fn trace(server: &Server, id: &str) -> Vec<ResourceSpans> {
    let answer = server.get_protobuf(&format!("/api/traces/{id}")).await;
    TracesData::decode(answer.body).unwrap().resource_spans
}

/// A batch of what Jaeger's model has of a resource's spans.
fn as_thrift(resource_spans: &ResourceSpans) -> Vec<u8> {
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, i64::from_be_bytes);
    let micros = |nanos: u64| i64::try_from(nanos / 1000).unwrap();
    let tag = |key: &str, value: &Any| match value {
        Any::StringValue(text) => text_tag(key, text),
        Any::IntValue(number) => long_tag(key, *number),
        _ => panic!("{value:?}"),
    };
    let tags = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        let value = |value: &opentelemetry_proto::tonic::common::v1::AnyValue| value.value.clone();
        let tags = attributes.iter().map(|pair| {
            let value = pair.value.as_ref().and_then(value).unwrap();
            tag(&pair.key, &value)
        });
        tags.collect::<Vec<Struct>>()
    };
    let scope = &resource_spans.scope_spans[0];
    let spans = scope.spans.iter().map(|sent| {
        let (high, low) = sent.trace_id.split_at(8);
        let kind = ["", "internal", "server", "client"][sent.kind as usize];
        let status = sent.status.clone().unwrap_or_default();
        let mut all = tags(&sent.attributes);
        all.push(text_tag("span.kind", kind));
        all.push(text_tag(
            "otel.scope.name",
            &scope.scope.as_ref().unwrap().name,
        ));
        if status.code == 2 {
            all.push(bool_tag("error", true));
            all.push(text_tag("otel.status_description", &status.message));
        }
        let logs = sent.events.iter().map(|event| {
            let mut fields = tags(&event.attributes);
            fields.push(text_tag("event", &event.name));
            log(micros(event.time_unix_nano), fields)
        });
        let (start, end) = (
            micros(sent.start_time_unix_nano),
            micros(sent.end_time_unix_nano),
        );
        span(Required {
            trace: (number(high), number(low)),
            span: number(&sent.span_id),
            parent: number(&sent.parent_span_id),
            name: &sent.name,
            start,
            duration: end - start,
        })
        .list(10, all)
        .list(11, logs.collect())
    });
    let service = &resource_spans.resource.as_ref().unwrap().attributes[0];
    let Some(Any::StringValue(service)) = service.value.as_ref().and_then(|it| it.value.clone())
    else {
        panic!("{service:?}");
    };
    batch_of(&service, Vec::new(), spans.collect())
}

#[tokio::test]
async fn a_trace_is_the_same_by_thrift_as_by_otlp_as_far_as_the_model_goes() {
    let mut input = chain();
    let spans = input
        .resource_spans
        .iter_mut()
        .flat_map(|group| &mut group.scope_spans);
    for span in spans.flat_map(|group| &mut group.spans) {
        span.flags = 0;
        span.start_time_unix_nano -= span.start_time_unix_nano % 1000;
        span.end_time_unix_nano -= span.end_time_unix_nano % 1000;
    }
    let server = start().await;
    for resource_spans in &input.resource_spans {
        let answer = server.post_thrift(as_thrift(resource_spans)).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (202, ""));
    }
    assert_eq!(trace(&server, CHAIN).await, input.resource_spans);
}

#[tokio::test]
async fn tags_of_opentelemetry_become_scope_and_tracestate() {
    let server = start().await;
    let scoped = vec![
        text_tag("otel.scope.version", "1.0"),
        text_tag("otel.scope.name", "scope"),
        text_tag("w3c.tracestate", "vendor=1"),
        text_tag("span.kind", "of no kind"),
    ];
    let unnamed = vec![text_tag("otel.scope.version", "1.0")];
    let spans = vec![
        named(1, 0, "scoped").list(10, scoped),
        named(2, 0, "unnamed").list(10, unnamed),
    ];
    let batch = batch_of("s", vec![text_tag("service.name", "tag")], spans);
    assert_eq!(server.post_thrift(batch).await.status, 202);
    let found = server.get(&format!("/api/v2/traces/{JAEGER}")).await.json();
    let found = &found["trace"]["resourceSpans"][0];
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    assert_eq!(
        found["resource"]["attributes"],
        json!([text("service.name", "tag")])
    );
    let scopes = found["scopeSpans"].as_array().unwrap();
    assert_eq!(
        scopes[0]["scope"],
        json!({"name": "scope", "version": "1.0"})
    );
    assert_eq!(scopes[0]["spans"][0]["traceState"], "vendor=1");
    let kept = json!([text("span.kind", "of no kind")]);
    assert_eq!(scopes[0]["spans"][0]["attributes"], kept);
    assert_eq!(scopes[1]["scope"], json!({}));
    let kept = json!([text("otel.scope.version", "1.0")]);
    assert_eq!(scopes[1]["spans"][0]["attributes"], kept);
}

#[tokio::test]
async fn times_that_cannot_be_are_bounded() {
    let server = start().await;
    let span = |id, start, duration| {
        span(Required {
            trace: (0, 0xa1),
            span: id,
            parent: 0,
            name: "odd",
            start,
            duration,
        })
    };
    let spans = vec![
        span(1, -1, 2),
        span(2, i64::MAX, i64::MAX),
        span(3, START, i64::MIN),
    ];
    let answer = server.post_thrift(batch_of("s", vec![], spans)).await;
    assert_eq!(answer.status, 202);
    let found = trace(&server, "a1").await;
    let times = |span: &Span| (span.start_time_unix_nano, span.end_time_unix_nano);
    let times: Vec<_> = found[0].scope_spans[0].spans.iter().map(times).collect();
    assert_eq!(times, [(0, 1000), (NINE, NINE), (u64::MAX, u64::MAX)]);
}

#[tokio::test]
async fn spans_with_ids_of_zeros_are_named_and_the_rest_is_kept() {
    let server = start().await;
    let zero_trace = span(Required {
        trace: (0, 0),
        span: 1,
        parent: 0,
        name: "bad",
        start: START,
        duration: 1,
    });
    let dangling = named(2, 0, "good").list(6, vec![reference(true, (0, 0), 0)]);
    let spans = vec![zero_trace, named(0, 0, "bad"), dangling];
    let answer = server.post_thrift(batch_of("s", vec![], spans)).await;
    let expected = "rejected spans: 1 with a span_id of zeros, 1 with a trace_id of zeros";
    assert_eq!((answer.status.as_u16(), answer.text()), (202, expected));
    let found = trace(&server, JAEGER).await;
    let spans = &found[0].scope_spans[0].spans;
    assert_eq!((spans.len(), spans[0].dropped_links_count), (1, 1));
}

#[tokio::test]
async fn what_is_not_a_batch_is_a_400_that_says_why() {
    let server = start().await;
    let valid = batch();
    let two_billion = [15, 0, 9, 12, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let nested = [vec![15, 0, 9], [15, 0, 0, 0, 1].repeat(1000)].concat();
    let not_utf8 = {
        let at = valid
            .windows(5)
            .position(|bytes| bytes == b"whole")
            .unwrap();
        [&valid[..at], b"\xff\xfe\xfd\xfc\xfb", &valid[at + 5..]].concat()
    };
    let message = [b"\x80\x01\x00\x01\0\0\0\x04emit\0\0\0\0", &valid[..]].concat();
    let old_message = [b"\0\0\0\x04emit\x01\0\0\0\0", &valid[..]].concat();
    let process = || Struct::default().text(1, "s");
    let spans = |span| {
        Struct::default()
            .inner(1, process())
            .list(2, vec![span])
            .end()
    };
    for (bytes, why) in [
        (Vec::new(), "truncated field"),
        (valid[..valid.len() - 1].to_vec(), "truncated field"),
        (vec![0xff; 64], "unknown type"),
        (b"{\"spans\":[]}".to_vec(), "unknown type"),
        (two_billion.to_vec(), "truncated field"),
        (nested, "nested too deeply"),
        (not_utf8, "string that is not UTF-8"),
        (message, "unknown type"),
        (old_message, "bytes after the end"),
        ([&valid[..], b"\0"].concat(), "bytes after the end"),
        (Struct::default().end(), "Batch.process is missing"),
        (
            Struct::default().inner(1, process()).end(),
            "Batch.spans is missing",
        ),
        (
            Struct::default().inner(1, Struct::default()).end(),
            "Process.serviceName",
        ),
        (spans(Struct::default()), "Span.traceIdLow is missing"),
        (
            spans(named(1, 0, "s").list(10, vec![Struct::default()])),
            "Tag.vType",
        ),
        (
            spans(named(1, 0, "s").list(11, vec![Struct::default()])),
            "Log.fields",
        ),
        (
            spans(named(1, 0, "s").list(6, vec![Struct::default()])),
            "SpanRef.traceIdLow",
        ),
    ] {
        let answer = server.post_thrift(bytes).await;
        assert_eq!(answer.status, 400, "{why}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert!(answer.text().contains(why), "{why}: {}", answer.text());
    }
    assert_eq!(server.get("/status.json").await.json()["usage"]["spans"], 0);
    is_alive(&server).await;
}

#[tokio::test]
async fn other_methods_paths_and_types_are_refused_and_gzip_is_accepted() {
    let server = start().await;
    let address = server.jaeger.to_string();
    let thrift = (
        "content-type",
        "application/vnd.apache.thrift.binary; charset=utf-8",
    );
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&batch()).unwrap();
    let gzipped: Bytes = gzip.finish().unwrap().into();
    let batch = Bytes::from(batch());
    let encoding = |name| ("content-encoding", name);
    for (method, path, headers, body, status) in [
        (Method::POST, "/api/traces", vec![thrift], &batch, 202),
        (
            Method::POST,
            "/api/traces",
            vec![thrift, encoding("gzip")],
            &gzipped,
            202,
        ),
        (
            Method::POST,
            "/api/traces",
            vec![thrift, encoding("zstd")],
            &batch,
            415,
        ),
        (
            Method::POST,
            "/api/traces",
            vec![("content-type", "application/json")],
            &batch,
            400,
        ),
        (Method::POST, "/api/traces", vec![], &batch, 400),
        (Method::GET, "/api/traces", vec![thrift], &batch, 405),
        (Method::POST, "/v1/traces", vec![thrift], &batch, 404),
        (
            Method::POST,
            "/api/traces",
            vec![thrift, ("origin", "http://evil.example")],
            &batch,
            403,
        ),
        (
            Method::POST,
            "/api/traces",
            vec![thrift, ("host", "rebound.example")],
            &batch,
            421,
        ),
    ] {
        let answer = send(&address, method, path, &headers, body.clone()).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    is_alive(&server).await;
}

#[tokio::test]
async fn too_much_is_refused_or_dropped_and_counted() {
    let server = start().await;
    let answer = server.post_thrift(vec![0; 17 << 20]).await;
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("16 MiB"));
    // What grows most of all that a span may have.
    let links = vec![reference(true, TRACE, 9); 128];
    let spans = (1..3130).map(|id| named(id, 1, "").list(6, links.clone()));
    let answer = server
        .post_thrift(batch_of("s", vec![], spans.collect()))
        .await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(answer.text().contains("64 MiB"));

    let server = start().await;
    let tags = [
        vec![long_tag("n", 1); 10],
        (0..100_000).map(|n| long_tag(&n.to_string(), n)).collect(),
        vec![
            text_tag("span.kind", "server"),
            text_tag("long", &"x".repeat(1 << 20)),
        ],
    ];
    let span = named(1, 0, "attributes")
        .list(6, vec![reference(true, TRACE, 2); 100_000])
        .list(10, tags.concat())
        .list(11, vec![log(START, vec![]); 100_000]);
    let answer = server.post_thrift(batch_of("s", vec![], vec![span])).await;
    assert_eq!(answer.status, 202);
    let found = server.get(&format!("/api/v2/traces/{JAEGER}")).await.json();
    let span = &found["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["kind"], "SPAN_KIND_SERVER");
    assert_eq!(span["attributes"].as_array().unwrap().len(), 128);
    assert_eq!(span["droppedAttributesCount"], 1 + 100_000 + 1 - 128);
    assert_eq!(span["events"].as_array().unwrap().len(), 128);
    assert_eq!(span["droppedEventsCount"], 100_000 - 128);
    assert_eq!(span["links"].as_array().unwrap().len(), 128);
    assert_eq!(span["droppedLinksCount"], 100_000 - 128);
    assert_eq!(
        span["links"][0]["attributes"][0]["value"],
        json!({"stringValue": "follows_from"})
    );
    // A span that refers to another without naming a parent is its child.
    assert_eq!(span["parentSpanId"], "AAAAAAAAAAI=");
    is_alive(&server).await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 64,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_bytes_make_the_receiver_panic(
        noise in vec(vec(any::<u8>(), 0..100), 8),
        damage in vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 8),
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = start().await;
            let damaged = damage.into_iter().map(|(at, byte, cut)| {
                let mut bytes = batch();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if cut {
                    bytes.truncate(at);
                }
                bytes
            });
            for bytes in noise.into_iter().chain(damaged) {
                // A panic would close the connection without an answer.
                let status = server.post_thrift(bytes).await.status.as_u16();
                assert!([202, 400].contains(&status), "{status}");
            }
            is_alive(&server).await;
        });
    }
}
