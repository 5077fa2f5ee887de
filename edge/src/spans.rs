//! The two spans of a request, named and described as Traefik 3.7 does, recorded from a real one.
//!
//! Beyond Traefik, a client span that failed says why in `error.type`, and so does a server span whose response
//! was cut.

use hyper::{Method, Request, Version, body::Body};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute;
use telemetry::{Span, Tracer};

use crate::guard::{Host, method_name};
use crate::route::Upstream;
use crate::server::Peer;
use crate::span_url::{decoded_path, redacted_query};

/// Traefik's own attribute, and the name of its entry point in this project.
const ENTRY_POINT: &str = "entry_point";
const WEB: &str = "web";

/// Starts the span of a request as the client sees it.
pub(crate) fn server<B: Body>(
    tracer: &Tracer,
    parent: &Context,
    req: &Request<B>,
    host: &Host<'_>,
    peer: &Peer,
) -> Span {
    let uri = req.uri();
    let port = i64::from(peer.addr.port());
    // Go calls a body of unknown length -1 bytes long.
    let body_size = req.body().size_hint().exact();
    let body_size = body_size.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    // Room for the status and error.type, which follow.
    let mut attributes = Vec::with_capacity(15);
    attributes.extend([
        KeyValue::new(ENTRY_POINT, WEB),
        KeyValue::new(attribute::HTTP_REQUEST_METHOD, name(req.method())),
        KeyValue::new(attribute::NETWORK_PROTOCOL_VERSION, version(req.version())),
        KeyValue::new(attribute::HTTP_REQUEST_BODY_SIZE, body_size),
        KeyValue::new(
            attribute::URL_PATH,
            bounded(decoded_path(uri.path()).into_owned()),
        ),
        KeyValue::new(
            attribute::URL_QUERY,
            bounded(uri.query().map_or(String::new(), redacted_query)),
        ),
        KeyValue::new(attribute::URL_SCHEME, "http"),
        KeyValue::new(attribute::USER_AGENT_ORIGINAL, user_agent(req)),
        KeyValue::new(attribute::SERVER_ADDRESS, host.full.to_owned()),
        KeyValue::new(attribute::NETWORK_PEER_ADDRESS, peer.ip.clone()),
        KeyValue::new(attribute::CLIENT_ADDRESS, peer.ip.clone()),
        KeyValue::new(attribute::CLIENT_PORT, port),
        KeyValue::new(attribute::NETWORK_PEER_PORT, port),
    ]);
    let builder = SpanBuilder::from_name(name(req.method()))
        .with_kind(SpanKind::Server)
        .with_attributes(attributes);
    tracer.build_with_context(builder, parent)
}

/// Starts the span of the same request as the upstream sees it.
pub(crate) fn client<B>(
    tracer: &Tracer,
    parent: &SpanContext,
    req: &Request<B>,
    upstream: &Upstream,
) -> Span {
    let uri = req.uri();
    let (authority, path) = (&upstream.authority, uri.path());
    let url = match uri.query() {
        Some(query) => format!("http://{authority}{path}?{}", redacted_query(query)),
        None => format!("http://{authority}{path}"),
    };
    let port = i64::from(upstream.port);
    let mut attributes = Vec::with_capacity(11);
    attributes.extend([
        KeyValue::new(attribute::HTTP_REQUEST_METHOD, name(req.method())),
        KeyValue::new(attribute::NETWORK_PROTOCOL_VERSION, "1.1"),
        KeyValue::new(attribute::URL_FULL, bounded(url)),
        KeyValue::new(attribute::URL_SCHEME, "http"),
        KeyValue::new(attribute::USER_AGENT_ORIGINAL, user_agent(req)),
        KeyValue::new(attribute::SERVER_ADDRESS, upstream.address.clone()),
        KeyValue::new(attribute::SERVER_PORT, port),
    ]);
    if upstream.others.is_empty() {
        attributes.extend(peer(upstream.address.clone(), upstream.port));
    }
    let builder = SpanBuilder::from_name("ReverseProxy")
        .with_kind(SpanKind::Client)
        .with_attributes(attributes);
    let parent = Context::new().with_remote_span_context(parent.clone());
    tracer.build_with_context(builder, &parent)
}

/// Who is at the other end of the connection to an upstream.
pub(crate) fn peer(address: impl Into<opentelemetry::Value>, port: u16) -> [KeyValue; 2] {
    [
        KeyValue::new(attribute::NETWORK_PEER_ADDRESS, address),
        KeyValue::new(attribute::NETWORK_PEER_PORT, i64::from(port)),
    ]
}

/// Records the status of a response.
pub(crate) fn set_response_status(span: &mut Span, status: u16) {
    span.set_attribute(KeyValue::new(
        attribute::HTTP_RESPONSE_STATUS_CODE,
        i64::from(status),
    ));
}

/// Marks an operation as failed for a reason of low cardinality.
pub(crate) fn set_error(span: &mut Span, error_type: impl Into<opentelemetry::Value>) {
    span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, error_type));
    span.set_status(Status::error(""));
}

fn name(method: &Method) -> &'static str {
    method_name(method).unwrap_or("HTTP")
}

/// As Traefik has it, which for HTTP/2 is not the bare number that the conventions ask for.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

fn user_agent<B>(req: &Request<B>) -> String {
    let value = req.headers().get(hyper::header::USER_AGENT);
    value.map_or(String::new(), |value| {
        bounded(String::from_utf8_lossy(value.as_bytes()).into_owned())
    })
}

/// What a client chose, up to a length. Traefik has no such limit; spans of a few requests could fill the room for all.
fn bounded(mut value: String) -> String {
    value.truncate(telemetry::http::bounded(&value).len());
    value
}
