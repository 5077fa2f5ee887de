//! Queries over gRPC, on the port of the HTTP API: what HTTP answers, as messages.

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tonic::{Code, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use crate::{
    inputs::{CHAIN, NINE, chain, int, plain, request, text},
    server::{Server, start},
};

#[rustfmt::skip]
#[allow(dead_code, unreachable_pub, reason = "generated, with a server that is not needed here")]
#[path = "../../src/api/streaming/tempopb.rs"]
pub(crate) mod tempopb;

use self::tempopb::{
    QueryInstantRequest, QueryInstantResponse, QueryRangeRequest, QueryRangeResponse,
    SearchRequest, SearchResponse, SearchTagValuesRequest, SearchTagValuesResponse,
    SearchTagValuesV2Response, SearchTagsRequest, SearchTagsResponse, SearchTagsV2Response,
};

const SECOND: u64 = 1_000_000_000;

/// All messages that a method answers with.
pub(crate) async fn call<Q, A>(server: &Server, method: &str, asked: Q) -> Result<Vec<A>, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let channel = Channel::from_shared(format!("http://{}", server.http)).unwrap();
    let mut client = Grpc::new(channel.connect().await.unwrap());
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/tempopb.StreamingQuerier/{method}")).unwrap();
    let codec = ProstCodec::<Q, A>::default();
    let asked = tonic::Request::new(asked);
    let answer = client.server_streaming(asked, path, codec).await?;
    let mut stream = answer.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

async fn search(server: &Server, asked: SearchRequest) -> Result<Vec<SearchResponse>, Status> {
    call(server, "Search", asked).await
}

pub(crate) fn query(query: &str) -> SearchRequest {
    SearchRequest {
        query: query.to_owned(),
        ..SearchRequest::default()
    }
}

/// Percent-encoded.
fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_search_finds_what_it_finds_over_http() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    for text in [
        "{}",
        "{ kind = server } | select(resource.service.name, span.http.response.status_code)",
        "{} | by(resource.service.name)",
        "{ name = `GET` } >> { status = error }",
        "{ name = `nothing` }",
    ] {
        let asked = SearchRequest {
            limit: 10,
            spans_per_span_set: 2,
            start: (NINE / SECOND) as u32,
            end: (NINE / SECOND) as u32 + 10,
            ..query(text)
        };
        let path = format!(
            "/api/search?limit=10&spss=2&start={}&end={}&q={}",
            asked.start,
            asked.end,
            encoded(text)
        );
        let messages = search(&server, asked).await.unwrap();
        let [message] = &messages[..] else {
            panic!("{} messages", messages.len());
        };
        assert_eq!(as_json(message), server.get(&path).await.json(), "{text}");
    }
}

/// Grafana asks so when a data source is saved, and reads how far a search is from every answer.
#[tokio::test]
async fn an_empty_store_is_a_data_source_that_works() {
    let server = start().await;
    let asked = SearchRequest {
        limit: 1,
        start: (NINE / SECOND) as u32 - 900,
        end: (NINE / SECOND) as u32,
        ..query("{}")
    };
    let messages = search(&server, asked).await.unwrap();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].traces.is_empty() && messages[0].metrics.is_some());
}

/// The JSON of a message, as far as answers to these tests need it.
fn as_json(message: &SearchResponse) -> Value {
    let attributes = |attributes: &[KeyValue]| -> Value {
        let attribute = |attribute: &KeyValue| {
            let value = match value(attribute) {
                Any::StringValue(text) => json!({ "stringValue": text }),
                Any::IntValue(number) => json!({ "intValue": number.to_string() }),
                other => panic!("{other:?}"),
            };
            json!({ "key": attribute.key, "value": value })
        };
        attributes.iter().map(attribute).collect()
    };
    // What has its default value is left out.
    let pruned = |mut value: Value| {
        let fields = value.as_object_mut().unwrap();
        fields.retain(|_, field| *field != json!([]) && *field != json!(0));
        value
    };
    let traces = message.traces.iter().map(|trace| {
        let sets = trace.span_sets.iter().map(|set| {
            let spans = set.spans.iter().map(|span| {
                pruned(json!({
                    "spanID": span.span_id,
                    "name": span.name,
                    "startTimeUnixNano": span.start_time_unix_nano.to_string(),
                    "durationNanos": span.duration_nanos.to_string(),
                    "attributes": attributes(&span.attributes),
                }))
            });
            pruned(json!({
                "spans": spans.collect::<Value>(),
                "matched": set.matched,
                "attributes": attributes(&set.attributes),
            }))
        });
        let stats = trace.service_stats.iter().map(|(service, stats)| {
            let stats = json!({ "spanCount": stats.span_count, "errorCount": stats.error_count });
            (service.clone(), pruned(stats))
        });
        json!({
            "traceID": trace.trace_id,
            "rootServiceName": trace.root_service_name,
            "rootTraceName": trace.root_trace_name,
            "startTimeUnixNano": trace.start_time_unix_nano.to_string(),
            "durationMs": trace.duration_ms,
            "spanSets": sets.collect::<Value>(),
            "serviceStats": stats.collect::<Value>(),
        })
    });
    let metrics = message.metrics.unwrap();
    json!({
        "traces": traces.collect::<Value>(),
        "metrics": { "completedJobs": metrics.completed_jobs, "totalJobs": metrics.total_jobs },
    })
}

fn value(attribute: &KeyValue) -> &Any {
    let value = attribute.value.as_ref().unwrap();
    value.value.as_ref().unwrap()
}

#[tokio::test]
async fn a_large_answer_comes_in_messages_that_clients_take() {
    const TRACES: usize = 500;
    let server = start().await;
    for first in (1..=TRACES).step_by(100) {
        let spans = (first..first + 100).map(|trace| {
            let mut span = plain(&format!("{trace:x}"), 1, "large");
            let long = (0..4).map(|n| text(&format!("a{n}"), &"x".repeat(4000)));
            span.attributes = long.collect();
            span
        });
        server.export(request("s", spans.collect())).await.unwrap();
    }
    let asked = SearchRequest {
        limit: TRACES as u32,
        ..query("{} | select(span.a0, span.a1, span.a2, span.a3)")
    };
    // The client takes no message above 4 MiB, and these are 8 MB.
    let messages = search(&server, asked).await.unwrap();
    assert!(messages.len() > 2, "{}", messages.len());
    let traces = messages.iter().flat_map(|message| &message.traces);
    let mut ids: Vec<_> = traces.map(|trace| &trace.trace_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), TRACES);
}

#[tokio::test]
async fn tags_and_values_are_those_of_http() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let scope = |scope: &str| SearchTagsRequest {
        scope: scope.to_owned(),
        ..SearchTagsRequest::default()
    };
    for name in ["", "span", "intrinsic"] {
        let found = call(&server, "SearchTagsV2", scope(name)).await;
        let found: Vec<SearchTagsV2Response> = found.unwrap();
        let scopes = found[0].scopes.iter();
        let scopes = scopes.map(|scope| json!({ "name": scope.name, "tags": scope.tags }));
        let path = format!("/api/v2/search/tags?scope={name}");
        let http = server.get(&path).await.json();
        assert_eq!(scopes.collect::<Value>(), http["scopes"]);
    }
    let found: Vec<SearchTagsResponse> = call(&server, "SearchTags", scope("")).await.unwrap();
    let names = server.get("/api/search/tags").await.json();
    assert_eq!(json!(found[0].tag_names), names["tagNames"]);

    let values = |tag: &str, query: &str| SearchTagValuesRequest {
        tag_name: tag.to_owned(),
        query: query.to_owned(),
        ..SearchTagValuesRequest::default()
    };
    let of_edge = &["string GET", "string ReverseProxy"][..];
    for (tag, filter, expected) in [
        ("name", "{ resource.service.name = `edge` }", of_edge),
        (
            "name",
            "{ resource.service.name = `edge` && kind = }",
            of_edge,
        ),
        ("span.server.port", "", &["int 7878"]),
        ("rootName", "", &["string GET"]),
        ("span.absent", "", &[]),
    ] {
        let found = call(&server, "SearchTagValuesV2", values(tag, filter)).await;
        let found: Vec<SearchTagValuesV2Response> = found.unwrap();
        let found = found[0].tag_values.iter();
        let found: Vec<_> = found
            .map(|value| format!("{} {}", value.r#type, value.value))
            .collect();
        assert_eq!(found, expected, "{tag} {filter}");
    }
    let found = call(&server, "SearchTagValues", values("service.name", "")).await;
    let found: Vec<SearchTagValuesResponse> = found.unwrap();
    assert_eq!(found[0].tag_values, ["edge", "uservice3", "uservice4"]);
}

#[tokio::test]
async fn tags_and_values_heed_limit_and_time() {
    let server = start().await;
    let spans = (1..=5).map(|trace| {
        let mut span = plain(&format!("{trace}"), 1, &format!("span {trace}"));
        span.attributes = vec![int("a", 1), int("b", 2), int("c", 3)];
        span
    });
    server.export(request("s", spans.collect())).await.unwrap();
    const LATER: u32 = 4_000_000_000;
    let seconds = (NINE / SECOND) as u32;
    for (limit, start, end, expected) in [
        (0, 0, 0, Ok((3, 5))),
        (2, 0, 0, Ok((2, 2))),
        (2, seconds - 1, seconds + 1, Ok((2, 2))),
        (9, seconds - 1, seconds + 1, Ok((3, 5))),
        (0, LATER, LATER + 1, Ok((0, 0))),
        (0, LATER, 0, Ok((3, 5))),
        (0, 2, 1, Err("start must be before end")),
    ] {
        let tags = SearchTagsRequest {
            scope: "span".to_owned(),
            start,
            end,
            max_tags_per_scope: limit,
            ..SearchTagsRequest::default()
        };
        let values = SearchTagValuesRequest {
            tag_name: "name".to_owned(),
            start,
            end,
            max_tag_values: limit,
            ..SearchTagValuesRequest::default()
        };
        let found = async || -> Result<[(usize, usize); 2], Status> {
            let old: Vec<SearchTagsResponse> = call(&server, "SearchTags", tags.clone()).await?;
            let old_values: Vec<SearchTagValuesResponse> =
                call(&server, "SearchTagValues", values.clone()).await?;
            let new: Vec<SearchTagsV2Response> =
                call(&server, "SearchTagsV2", tags.clone()).await?;
            let new_values: Vec<SearchTagValuesV2Response> =
                call(&server, "SearchTagValuesV2", values.clone()).await?;
            Ok([
                (old[0].tag_names.len(), old_values[0].tag_values.len()),
                (
                    new[0].scopes.first().map_or(0, |scope| scope.tags.len()),
                    new_values[0].tag_values.len(),
                ),
            ])
        };
        let case = format!("{limit} {start} {end}");
        match (found().await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, [expected; 2], "{case}"),
            (Err(status), Err(why)) => {
                assert_eq!(status.code(), Code::InvalidArgument, "{case}");
                assert!(status.message().contains(why), "{case}: {status}");
            }
            (found, _) => panic!("{case}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn more_values_and_tags_than_a_client_takes_at_once_come_in_several_messages() {
    let server = start().await;
    let name = |number: usize| format!("{number}{}", "x".repeat(4000));
    for first in (0..1500).step_by(100) {
        let spans = (first..first + 100).map(|number| {
            let mut span = plain("a1", 1, &name(number));
            span.span_id = (number as u64 + 1).to_be_bytes().to_vec();
            span.attributes = vec![text(&name(number), "")];
            span
        });
        server.export(request("s", spans.collect())).await.unwrap();
    }
    let mut expected: Vec<_> = (0..1500).map(name).collect();
    expected.sort();
    // 6 MB, of a client that takes 4 MiB.
    let values = SearchTagValuesRequest {
        tag_name: "name".to_owned(),
        ..SearchTagValuesRequest::default()
    };
    let tags = SearchTagsRequest {
        scope: "span".to_owned(),
        ..SearchTagsRequest::default()
    };
    let found: Vec<SearchTagValuesV2Response> = call(&server, "SearchTagValuesV2", values.clone())
        .await
        .unwrap();
    let found = found.iter().flat_map(|message| &message.tag_values);
    assert!(found.map(|value| &value.value).eq(&expected));
    let found: Vec<SearchTagValuesResponse> =
        call(&server, "SearchTagValues", values).await.unwrap();
    assert!(
        found
            .iter()
            .flat_map(|message| &message.tag_values)
            .eq(&expected)
    );
    let found: Vec<SearchTagsV2Response> =
        call(&server, "SearchTagsV2", tags.clone()).await.unwrap();
    let found = found.iter().flat_map(|message| &message.scopes);
    assert!(found.flat_map(|scope| &scope.tags).eq(&expected));
    let found: Vec<SearchTagsResponse> = call(&server, "SearchTags", tags).await.unwrap();
    assert!(
        found
            .iter()
            .flat_map(|message| &message.tag_names)
            .eq(&expected)
    );
}

#[tokio::test]
async fn more_series_than_a_client_takes_at_once_come_in_several_messages() {
    const SERIES: usize = 3000;
    let server = start().await;
    let spans = (0..SERIES as u64).map(|number| {
        let mut span = plain("a1", 1, &format!("{number}"));
        span.span_id = (number + 1).to_be_bytes().to_vec();
        span
    });
    server.export(request("s", spans.collect())).await.unwrap();
    let asked = QueryRangeRequest {
        query: "{} | rate() by(name)".to_owned(),
        start: NINE,
        end: NINE + 240 * SECOND,
        step: SECOND,
        ..QueryRangeRequest::default()
    };
    // 6 MB, of a client that takes 4 MiB.
    let found: Vec<QueryRangeResponse> = call(&server, "MetricsQueryRange", asked).await.unwrap();
    assert!(found.len() > 1);
    let series = found.iter().flat_map(|message| &message.series);
    let mut names: Vec<_> = series.map(|series| value(&series.labels[0])).collect();
    assert_eq!(names.len(), SERIES);
    names.sort_by_key(|name| format!("{name:?}"));
    names.dedup();
    assert_eq!(names.len(), SERIES);
    assert!(found.iter().all(|message| message.metrics.is_some()));
}

#[tokio::test]
async fn series_are_those_of_http() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let (start, end) = (NINE, NINE + 60 * SECOND);
    let asked = QueryRangeRequest {
        query: "{} | count_over_time() by(kind)".to_owned(),
        start,
        end,
        step: 30 * SECOND,
        ..QueryRangeRequest::default()
    };
    let query = encoded(&asked.query);
    let found: Vec<QueryRangeResponse> = call(&server, "MetricsQueryRange", asked).await.unwrap();
    assert_eq!(found.len(), 1);
    let path = format!("/api/metrics/query_range?start={start}&end={end}&step=30s&q={query}");
    let http = server.get(&path).await.json();
    let http = http["series"].as_array().unwrap();
    assert_eq!(http.len(), found[0].series.len());
    for (http, grpc) in http.iter().zip(&found[0].series) {
        assert_eq!(http["labels"][0]["key"], grpc.labels[0].key);
        let samples = grpc.samples.iter().map(|sample| {
            let time = sample.timestamp_ms.to_string();
            match sample.value {
                0.0 => json!({ "timestampMs": time }),
                value => json!({ "timestampMs": time, "value": value as u64 }),
            }
        });
        assert_eq!(http["samples"], samples.collect::<Value>());
        let exemplars = grpc.exemplars.iter().map(|exemplar| {
            let [label] = &exemplar.labels[..] else {
                panic!("{exemplar:?}");
            };
            let Any::StringValue(id) = value(label) else {
                panic!("{label:?}");
            };
            json!({
                "labels": [{ "key": label.key, "value": { "stringValue": id } }],
                "value": exemplar.value as u64,
                "timestampMs": exemplar.timestamp_ms.to_string(),
            })
        });
        let told = http.get("exemplars").cloned().unwrap_or(json!([]));
        assert_eq!(told, exemplars.collect::<Value>());
    }
    let mut series = found[0].series.iter();
    assert!(series.any(|series| !series.exemplars.is_empty()));

    let asked = QueryInstantRequest {
        query: "{} | count_over_time()".to_owned(),
        // What starts with an interval is in the one before.
        start: start - SECOND,
        end,
    };
    let found = call(&server, "MetricsQueryInstant", asked).await;
    let found: Vec<QueryInstantResponse> = found.unwrap();
    assert_eq!(found[0].series[0].value, 7.0);
    assert_eq!(found[0].series[0].labels[0].key, "__name__");
}

#[tokio::test]
async fn what_cannot_be_asked_is_an_invalid_argument_with_its_place() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let with = |change: fn(&mut SearchRequest)| {
        let mut asked = query("{}");
        change(&mut asked);
        asked
    };
    for (asked, why) in [
        (query("{ status = }"), "at offset 11"),
        (query(&format!("{{ {}", "(".repeat(100_000))), "at offset"),
        (query("{} | rate()"), "a metrics query finds no traces"),
        (with(|asked| asked.limit = 1_000_000_000), "invalid limit"),
        (with(|asked| asked.start = 2), "start must be before end"),
        (
            with(|asked| asked.min_duration_ms = 5),
            "and q in the same query",
        ),
    ] {
        let status = search(&server, asked).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(why), "{status}");
    }
    let rate = "{} | rate()";
    for (query, start, end, step, why) in [
        ("{ status = }", 1, 2, 1, "at offset 11"),
        ("{}", NINE, NINE + SECOND, SECOND, "makes no series"),
        (
            rate,
            2 * SECOND,
            SECOND,
            SECOND,
            "end must be greater than start",
        ),
        (rate, 1, u64::MAX, 1, "too small"),
    ] {
        let asked = QueryRangeRequest {
            query: query.to_owned(),
            start,
            end,
            step,
            exemplars: 0,
        };
        let answer = call::<_, QueryRangeResponse>(&server, "MetricsQueryRange", asked).await;
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(why), "{status}");
    }
    let unknown = call::<_, SearchResponse>(&server, "Nothing", query("{}")).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
    let large = query(&"x".repeat(2 << 20));
    let status = search(&server, large).await.unwrap_err();
    assert!(status.message().contains("too large"), "{status}");
    let counted = server.get("/metrics").await;
    let line = r#"{route="/tempopb.StreamingQuerier/Search",outcome="bad_request"} 7"#;
    assert!(counted.text().contains(line), "{}", counted.text());
}

#[tokio::test]
async fn a_search_may_name_tags_instead_of_a_query() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let asked = |service: &str| SearchRequest {
        tags: [("service.name".to_owned(), service.to_owned())].into(),
        min_duration_ms: 1000,
        ..SearchRequest::default()
    };
    let found = search(&server, asked("service4")).await.unwrap();
    assert_eq!(found[0].traces[0].trace_id, CHAIN);
    let found = search(&server, asked("service5")).await.unwrap();
    assert!(found[0].traces.is_empty());
}

async fn raw(server: &Server, headers: &[(&str, &str)], host: &str) -> (u16, Option<Code>) {
    raw_call(server, "Search", headers, host, query("{}")).await
}

/// The status of HTTP that a call to this host has, and that of gRPC if it is answered.
pub(crate) async fn raw_call(
    server: &Server,
    method: &str,
    headers: &[(&str, &str)],
    host: &str,
    asked: impl Message,
) -> (u16, Option<Code>) {
    let stream = TcpStream::connect(server.http).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://{host}/tempopb.StreamingQuerier/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = asked.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let framed = [&[0], &length[..], &body].concat();
    let request = request.body(Full::<Bytes>::from(framed)).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned();
    let fields = trailers.unwrap_or(parts.headers);
    let code = fields.get("grpc-status");
    (
        parts.status.as_u16(),
        code.map(|code| Code::from_bytes(code.as_bytes())),
    )
}

#[tokio::test]
async fn a_client_that_waits_no_longer_gets_no_more() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    // Too short for any query: the deadline passes before the first part is looked at.
    let status = raw(&server, &[("grpc-timeout", "1n")], "localhost").await;
    assert_eq!(status, (200, Some(Code::DeadlineExceeded)));
    let status = raw(&server, &[("grpc-timeout", "1M")], "localhost").await;
    assert_eq!(status, (200, Some(Code::Ok)));
}

#[tokio::test]
async fn strangers_are_kept_out_of_grpc_too() {
    let server = start().await;
    for (host, expected) in [
        ("localhost:3200", (200, Some(Code::Ok))),
        ("127.0.0.1", (200, Some(Code::Ok))),
        ("tracestore", (200, Some(Code::Ok))),
        ("evil.example", (421, None)),
        ("127.0.0.1.nip.io", (421, None)),
    ] {
        assert_eq!(raw(&server, &[], host).await, expected, "{host}");
    }
    for (header, expected) in [
        (("sec-fetch-site", "cross-site"), (403, None)),
        (("origin", "http://evil.example"), (403, None)),
        (("sec-fetch-site", "same-origin"), (200, Some(Code::Ok))),
    ] {
        let answered = raw(&server, &[header], "localhost").await;
        assert_eq!(answered, expected, "{header:?}");
    }
}

#[tokio::test]
async fn lists_and_values_of_several_types_are_text_so_that_tables_take_them() {
    let server = start().await;
    let mut first = plain("a1", 1, "first");
    first.attributes = vec![int("code", 200), int("size", 3)];
    let mut second = plain("a2", 2, "second");
    second.attributes = vec![text("code", "two hundred"), int("size", 4)];
    let sent = request("s", vec![first, second]);
    server.export(sent).await.unwrap();
    let asked = query("{} | select(span.code, span.size)");
    let messages = search(&server, asked).await.unwrap();
    let traces = messages[0].traces.iter();
    let spans = traces.flat_map(|trace| &trace.span_sets[0].spans);
    let mut found: Vec<Vec<_>> = spans
        .map(|span| span.attributes.iter().map(value).collect())
        .collect();
    found.sort_by_key(|values| format!("{values:?}"));
    let text = |text: &str| Any::StringValue(text.to_owned());
    assert_eq!(
        found,
        [
            [&text("200"), &Any::IntValue(3)],
            [&text("two hundred"), &Any::IntValue(4)],
        ]
    );
}
