//! Requests that no honest sender makes: refused in gRPC's own form, and the store goes on.

use std::{
    convert::Infallible,
    io::Write,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    body::{Body, Bytes, Frame},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{
        Span,
        span::{Event, Link},
    },
};
use prost::Message;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::mpsc, time::timeout};
use tonic::Code;

use crate::{
    inputs::{CHAIN, attribute, chain, id, int, plain, request, span_id, text},
    server::{Server, start},
};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The gRPC status of a call that no generated client would make, and its message.
async fn call(server: &Server, path: &str, message: &[u8]) -> (i32, String) {
    let body = Full::<Bytes>::from(framed(message));
    send(server, path, body).await
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

async fn send<B>(server: &Server, path: &str, body: B) -> (i32, String)
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    send_encoded(server, path, "identity", body).await
}

async fn send_encoded<B>(server: &Server, path: &str, encoding: &str, body: B) -> (i32, String)
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(server.otlp).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://{}{path}", server.otlp))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", encoding)
        .body(body)
        .unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned();
    let fields = trailers.unwrap_or(parts.headers);
    assert!(
        !fields.contains_key("grpc-status-details-bin"),
        "no RetryInfo"
    );
    let field = |name| fields.get(name).map_or("", |value| value.to_str().unwrap());
    (
        field("grpc-status").parse().unwrap(),
        field("grpc-message").replace("%20", " "),
    )
}

/// A body that arrives as the test sends it.
struct Slow(mpsc::Receiver<Bytes>);

impl Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let received = self.0.poll_recv(context);
        received.map(|part| part.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[tokio::test]
async fn a_request_that_is_half_here_when_the_server_stops_is_answered() {
    let mut server = start().await;
    let stop = server.stop.take().unwrap();
    let (sender, body) = mpsc::channel(1);
    let message = framed(&chain().encode_to_vec());
    let (first, second) = message.split_at(message.len() / 2);
    let (first, second) = (first.to_vec().into(), second.to_vec().into());
    let sending = async {
        // A channel of one: the second send waits until the first part is on its way.
        sender.send(first).await.unwrap();
        sender.send(Bytes::new()).await.unwrap();
        stop.send(()).unwrap();
        while TcpStream::connect(server.otlp).await.is_ok() {
            tokio::task::yield_now().await;
        }
        sender.send(second).await.unwrap();
        drop(sender);
    };
    let ((code, message), ()) = tokio::join!(send(&server, EXPORT, Slow(body)), sending);
    assert_eq!((code, message.as_str()), (Code::Ok as i32, ""));
    timeout(Duration::from_secs(5), server.stopped)
        .await
        .expect("it stops")
        .unwrap();
}

pub(crate) async fn is_alive(server: &Server) {
    server.export(chain()).await.unwrap();
    let found = server.get(&format!("/api/traces/{CHAIN}")).await;
    assert_eq!(found.status, 200);
}

#[tokio::test]
async fn what_is_not_an_otlp_request_is_an_invalid_argument() {
    let server = start().await;
    let valid = chain().encode_to_vec();
    let not_utf8 = {
        let named = request("s", vec![plain("a1", 1, "name")]).encode_to_vec();
        let at = named.windows(4).position(|bytes| bytes == b"name").unwrap();
        [&named[..at], b"\xff\xfe\xfd\xfc", &named[at + 4..]].concat()
    };
    for (bytes, why) in [
        (&valid[..valid.len() - 1], "truncated field"),
        (&[0xff; 64][..], "varint longer than 10 bytes"),
        (b"{\"resourceSpans\":[]}", "wire type"),
        (&not_utf8, "string that is not UTF-8"),
    ] {
        let (code, message) = call(&server, EXPORT, bytes).await;
        assert_eq!(code, Code::InvalidArgument as i32, "{message}");
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(server.get("/status.json").await.json()["usage"]["spans"], 0);
    is_alive(&server).await;
}

#[tokio::test]
async fn a_message_that_is_framed_or_compressed_badly_is_an_invalid_argument() {
    let server = start().await;
    let valid = chain().encode_to_vec();
    let gzip = {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&valid).unwrap();
        gzip.finish().unwrap()
    };
    let compressed = |content: &[u8]| {
        let mut message = framed(content);
        message[0] = 1;
        message
    };
    let whole = framed(&valid);
    let mut wrong = gzip.clone();
    let checksum = wrong.len() - 8;
    wrong[checksum] ^= 1;
    let mut flagged = whole.clone();
    flagged[0] = 2;
    for (encoding, body, why) in [
        ("identity", Vec::new(), "there is no message"),
        ("identity", whole[..3].to_vec(), "there is no message"),
        ("identity", whole[..whole.len() - 1].to_vec(), "breaks off"),
        ("identity", [&whole[..], &whole].concat(), "more than one"),
        ("identity", flagged, "neither 0 nor 1"),
        ("identity", compressed(&gzip), "does not say how"),
        ("gzip", compressed(&gzip[..gzip.len() - 9]), "not gzip"),
        ("gzip", compressed(&wrong), "not gzip"),
        ("gzip", compressed(&valid), "not gzip"),
    ] {
        let body = Full::<Bytes>::from(body);
        let (code, message) = send_encoded(&server, EXPORT, encoding, body).await;
        assert_eq!(code, Code::InvalidArgument as i32, "{message}");
        assert!(message.contains(why), "{message}");
    }
    let unknown = Full::<Bytes>::from(compressed(&valid));
    let (code, message) = send_encoded(&server, EXPORT, "zstd", unknown).await;
    assert_eq!(code, Code::Unimplemented as i32, "{message}");
    for (encoding, body) in [
        ("gzip", compressed(&gzip)),
        // Not every message has to be compressed.
        ("gzip", whole.clone()),
        ("identity", whole),
    ] {
        let body = Full::<Bytes>::from(body);
        let (code, message) = send_encoded(&server, EXPORT, encoding, body).await;
        assert_eq!(code, Code::Ok as i32, "{message}");
    }
    is_alive(&server).await;
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let server = start().await;
    let metrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let (code, _) = call(&server, metrics, &[]).await;
    assert_eq!(code, Code::Unimplemented as i32);
}

#[tokio::test]
async fn two_million_empty_spans_are_refused_before_they_take_memory() {
    let server = start().await;
    let field = |number: u8, content: Vec<u8>| {
        let mut message = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut message);
        message.extend(content);
        message
    };
    let spans = [0x12, 0].repeat(2_000_000);
    let request = field(1, field(2, spans));
    let before = resident_bytes();
    let (code, message) = call(&server, EXPORT, &request).await;
    let grown = resident_bytes().saturating_sub(before);
    assert_eq!(code, Code::ResourceExhausted as i32, "{message}");
    assert!(message.contains("64 MiB"), "{message}");
    assert!(grown < 64 << 20, "{grown}");
    is_alive(&server).await;
}

/// Of this process, the server's tasks included.
pub(crate) fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split(' ').nth(1).unwrap();
    pages.parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn a_message_over_16_mib_must_not_be_sent_again() {
    let server = start().await;
    let large = || request("s", vec![named("n".repeat(17 << 20))]);
    let status = server.export(large()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let status = server.export_gzipped(large()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    is_alive(&server).await;
}

fn named(name: String) -> Span {
    Span {
        name,
        ..plain("a1", 1, "")
    }
}

#[tokio::test]
async fn spans_with_bad_ids_are_rejected_by_name_and_the_rest_is_kept() {
    let server = start().await;
    let bad = |change: fn(&mut Span)| {
        let mut span = plain("a1", 2, "bad");
        change(&mut span);
        span
    };
    let spans = vec![
        bad(|span| span.trace_id = vec![0; 16]),
        bad(|span| span.trace_id = vec![1; 2]),
        bad(|span| span.trace_id = vec![1; 17]),
        bad(|span| span.span_id = vec![0; 8]),
        bad(|span| span.span_id = Vec::new()),
        bad(|span| span.parent_span_id = vec![1; 7]),
        plain("a1", 1, "good"),
        Span {
            parent_span_id: vec![0; 8],
            ..plain("a1", 3, "good root")
        },
    ];
    let answer = server.export(request("s", spans)).await.unwrap();
    let rejected = answer.partial_success.unwrap();
    assert_eq!(rejected.rejected_spans, 6);
    assert_eq!(
        rejected.error_message,
        "rejected spans: \
         1 with a parent_span_id that is neither empty nor 8 bytes long, \
         1 with a span_id of zeros, \
         1 with a span_id that is not 8 bytes long, \
         1 with a trace_id of zeros, \
         2 with a trace_id that is not 16 bytes long"
    );
    let found = server.get("/api/v2/traces/a1").await.json();
    let spans = &found["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().unwrap().len(), 2);
    assert_eq!(spans[1]["name"], "good root");
    assert!(spans[1]["parentSpanId"].is_null());
}

#[tokio::test]
async fn what_is_too_much_of_a_span_is_dropped_and_counted() {
    const MANY: i32 = 100_000;
    let server = start().await;
    let event = Event::default();
    let link = Link {
        trace_id: id("a1"),
        span_id: span_id(1),
        ..Link::default()
    };
    let broken_link = Link::default();
    let span = Span {
        attributes: (0..MANY).map(|n| int("n", n.into())).collect(),
        dropped_attributes_count: 1,
        ..plain("a1", 1, "attributes")
    };
    let listed = Span {
        events: vec![event; MANY as usize],
        links: [vec![broken_link], vec![link; MANY as usize]].concat(),
        ..plain("a1", 2, "lists")
    };
    let long = Span {
        attributes: vec![
            text("text", &"\u{1F980}".repeat(1 << 18)),
            attribute("bytes", Value::BytesValue(vec![0; 1 << 20])),
        ],
        ..plain("a1", 3, "long")
    };
    server
        .export(request("s", vec![span, listed, long]))
        .await
        .unwrap();

    let found = server.get("/api/v2/traces/a1").await.json();
    let spans = &found["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"];
    let length = |span: usize, list: &str| spans[span][list].as_array().unwrap().len();
    assert_eq!(length(0, "attributes"), 128);
    assert_eq!(spans[0]["droppedAttributesCount"], MANY - 128 + 1);
    assert_eq!((length(1, "events"), length(1, "links")), (128, 128));
    assert_eq!(spans[1]["droppedEventsCount"], MANY - 128);
    assert_eq!(spans[1]["droppedLinksCount"], 1 + MANY - 128);
    let kept = spans[2]["attributes"][0]["value"]["stringValue"].as_str();
    assert_eq!(kept.unwrap(), "\u{1F980}".repeat(1024));
    let kept = spans[2]["attributes"][1]["value"]["bytesValue"].as_str();
    assert_eq!(kept.unwrap().len(), 4096_usize.div_ceil(3) * 4);
}

#[tokio::test]
async fn a_value_that_nests_a_thousand_deep_is_refused() {
    let server = start().await;
    // An `AnyValue` with an array of one such value, and so on.
    let mut value = Vec::new();
    for _ in 0..1000 {
        for tag in [0x0a, 0x2a] {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(value.len() as u64, &mut outer);
            outer.extend(&value);
            value = outer;
        }
    }
    let mut request = Vec::new();
    for (number, rest) in [
        (2, value),
        (9, Vec::new()),
        (2, Vec::new()),
        (2, Vec::new()),
        (1, Vec::new()),
    ] {
        let content = if rest.is_empty() {
            std::mem::take(&mut request)
        } else {
            rest
        };
        prost::encoding::encode_key(
            number,
            prost::encoding::WireType::LengthDelimited,
            &mut request,
        );
        prost::encoding::encode_varint(content.len() as u64, &mut request);
        request.extend(content);
    }
    let (code, message) = call(&server, EXPORT, &request).await;
    assert_eq!(code, Code::InvalidArgument as i32, "{message}");
    assert!(message.contains("nested too deeply"), "{message}");
}

#[tokio::test]
async fn noise_on_any_port_ends_that_connection_and_nothing_else() {
    let server = start().await;
    for address in [server.http, server.otlp, server.otlp_http, server.jaeger] {
        for noise in [
            &b"\x16\x03\x01\x02\x00\x01\x00"[..],
            b"GET / HTTP/9.9\r\n\r\n",
            &[0xff; 4096],
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The other side may have closed already.
            let _ = stream.write_all(noise).await;
        }
    }
    is_alive(&server).await;
    let empty = server.export(ExportTraceServiceRequest::default()).await;
    empty.unwrap();
}

/// By a timeout of its own, or because its process ends.
#[tokio::test]
async fn a_sender_that_leaves_while_it_sends_is_no_line_in_the_log() {
    let mut running = crate::process::start(&[]);
    // A body would end with its sender, and in good order.
    let mut senders = Vec::new();
    for number in 0..40 {
        let (sender, body) = mpsc::channel(1);
        let stream = TcpStream::connect(&running.otlp).await.unwrap();
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::post(format!("http://{}{EXPORT}", running.otlp))
            .header("content-type", "application/grpc")
            .body(Slow(body))
            .unwrap();
        let answer = tokio::spawn(client.send_request(request));
        let half = framed(b"half")[..6].to_vec();
        sender.send(half.into()).await.unwrap();
        // A channel of one: this waits until the first part is on its way.
        sender.send(Bytes::new()).await.unwrap();
        match number % 2 {
            0 => answer.abort(),
            _ => connection.abort(),
        }
        senders.push(sender);
    }
    let client = crate::server::client(&running.otlp);
    client.await.export(chain()).await.unwrap();
    running.child.kill().unwrap();
    assert_eq!(crate::process::complaints(&mut running.child), "");
}
