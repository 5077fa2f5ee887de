//! Answers one request: by asking the upstream of its host, or with a page that says why not.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy;
use opentelemetry::baggage::BaggageExt as _;
use opentelemetry::trace::{Span as _, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use telemetry::http::traceresponse;
use tokio::{sync::oneshot, time};

use crate::access_log::Entry;
use crate::body::{BodyFailure, Progress, RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::guard::{self, Refusal};
use crate::route::Upstream;
use crate::server::{Connection, Edge};
use crate::{forward, page, spans};

/// Tells the client its trace (<https://w3c.github.io/trace-context/#trace-context-http-response-headers-format>).
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// What the edge says instead of an upstream.
struct Failure {
    status: StatusCode,
    /// For the page, after the name of the service.
    what: &'static str,
    /// For the span and the log.
    error: &'static str,
}

/// Never fails: whatever goes wrong before the response begins is answered with a page.
pub(crate) async fn answer(
    connection: Arc<Connection>,
    req: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    connection.asked.store(true, Relaxed);
    let edge = &connection.edge;
    let version = req.version();
    let exchange = || {
        let entry = Entry::new(&req, connection.peer.addr);
        Exchange::new(edge.log.clone(), edge.metrics.clone(), entry)
    };
    let host = match guard::check(&req, &edge.limits) {
        Ok(host) => host,
        Err(refusal) => return Ok(refuse(refusal, version, exchange())),
    };
    let upstream = edge.routes.find(host.name);
    if upstream.is_none() && is_health_check(&req) {
        return Ok(Response::new(ResponseBody::page("ok\n".into(), None)));
    }
    let mut exchange = exchange();
    let parent = telemetry::http::extract(&edge.propagator, req.headers());
    let (tracer, peer) = (&edge.tracer, &connection.peer);
    exchange.traced(spans::server(tracer, &parent, &req, &host, peer));
    let Some(upstream) = upstream else {
        return Ok(refuse(UNKNOWN_HOST, version, exchange));
    };
    let caller = Caller {
        port: host.port,
        context: parent,
    };
    let (req, sent) = outgoing(&connection, req, upstream, caller, &mut exchange);
    Ok(match forward(edge, req, sent, &exchange).await {
        Ok(response) => pass_on(response, exchange),
        Err(failure) => fail(failure, upstream, version, exchange),
    })
}

/// Unlike what the guard refuses this is traced, as Traefik does.
const UNKNOWN_HOST: Refusal = Refusal {
    status: StatusCode::NOT_FOUND,
    what: "There is no service of this name",
};

fn is_health_check<B>(req: &Request<B>) -> bool {
    req.method() == Method::GET && req.uri().path() == "/healthz"
}

/// What the head of a request said, for the head that is sent on.
struct Caller {
    /// The port in its `Host`.
    port: Option<u16>,
    /// Its span, and whether its trace is to be kept at any price.
    context: Context,
}

/// Makes the request for the upstream. The receiver ends when its body is sent, if there is one.
fn outgoing(
    connection: &Connection,
    req: Request<Incoming>,
    upstream: &Arc<Upstream>,
    caller: Caller,
    exchange: &mut Exchange,
) -> (Request<RequestBody>, Option<oneshot::Receiver<()>>) {
    let edge = &connection.edge;
    let span = exchange
        .span_context()
        .map(|server| spans::client(&edge.tracer, server, &req, upstream));
    let (mut parts, incoming) = req.into_parts();
    let host = match parts.headers.get(HOST) {
        Some(host) => host.clone(),
        None => {
            let authority = parts
                .uri
                .authority()
                .map_or("", |authority| authority.as_str());
            HeaderValue::from_str(authority).expect("an authority is visible ASCII")
        }
    };
    let headers = &mut parts.headers;
    forward::remove_hop_by_hop(headers);
    forward::set_forwarded(
        headers,
        &host,
        caller.port,
        &connection.peer,
        &edge.hostname,
    );
    headers.insert(HOST, host);
    if let Some(span) = &span {
        let mut context = caller.context;
        if !context.baggage().is_empty() {
            // It is forwarded as it came, not as it was read.
            context = context.with_baggage([] as [KeyValue; 0]);
        }
        let context = context.with_remote_span_context(span.span_context().clone());
        telemetry::http::inject(&edge.propagator, &context, headers);
    }

    let mut uri = parts.uri.into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(upstream.authority.clone());
    uri.path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    parts.uri = Uri::from_parts(uri).expect("it has a scheme, an authority and a path");
    parts.version = Version::HTTP_11;

    let (body, sent, progress) = if incoming.is_end_stream() {
        (RequestBody::Empty, None, None)
    } else {
        if incoming.size_hint().exact().is_none() {
            // Else hyper sends no body with a method that rarely has one.
            let chunked = HeaderValue::from_static("chunked");
            parts.headers.insert(TRANSFER_ENCODING, chunked);
        }
        let progress = Arc::new(Progress::default());
        let (body, sent) = RequestBody::limited(incoming, &edge.limits, progress.clone());
        (body, Some(sent), Some(progress))
    };
    exchange.forwarded(upstream.clone(), span, progress);
    (Request::from_parts(parts, body), sent)
}

/// Asks the upstream, and waits as long as the limits allow.
async fn forward(
    edge: &Edge,
    req: Request<RequestBody>,
    sent: Option<oneshot::Receiver<()>>,
    exchange: &Exchange,
) -> Result<Response<Incoming>, Failure> {
    let limits = &edge.limits;
    // The upstream's time begins when it has the whole request, or could have it.
    let too_late = async {
        if let Some(sent) = sent {
            let _ = time::timeout(limits.body_time, sent).await;
        }
        time::sleep(limits.upstream_head).await;
    };
    tokio::select! {
        response = edge.client.request(req) => match response {
            // Upgrades are not forwarded, so no upstream may switch.
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => Err(GARBAGE),
            Ok(response) => Ok(response),
            Err(err) => Err(exchange.body_failure().map_or_else(|| upstream_failure(&err), client_failure)),
        },
        () = too_late => Err(Failure {
            status: StatusCode::GATEWAY_TIMEOUT,
            what: "did not answer in time",
            error: "upstream_timeout",
        }),
    }
}

const GARBAGE: Failure = Failure {
    status: StatusCode::BAD_GATEWAY,
    what: "answered with something that is not HTTP",
    error: "upstream_malformed",
};

fn client_failure(failure: BodyFailure) -> Failure {
    let (status, what, error) = match failure {
        BodyFailure::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "was not given this request: its body is too large",
            "request_body_too_large",
        ),
        BodyFailure::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "was not given this request: its body took too long",
            "request_body_timeout",
        ),
        BodyFailure::Broken => (
            StatusCode::BAD_REQUEST,
            "was not given this request: its body is malformed or incomplete",
            "request_body_malformed",
        ),
    };
    Failure {
        status,
        what,
        error,
    }
}

fn upstream_failure(err: &legacy::Error) -> Failure {
    let mut io_kind = None;
    let mut malformed = false;
    let mut source = err.source();
    while let Some(err) = source {
        if let Some(err) = err.downcast_ref::<io::Error>() {
            io_kind = Some(err.kind());
        }
        if let Some(err) = err.downcast_ref::<hyper::Error>() {
            malformed |= err.is_parse();
        }
        source = err.source();
    }
    let (status, what, error) = match io_kind {
        Some(io::ErrorKind::TimedOut) if err.is_connect() => (
            StatusCode::GATEWAY_TIMEOUT,
            "could not be reached in time",
            "connect_timeout",
        ),
        Some(io::ErrorKind::ConnectionRefused) => (
            StatusCode::BAD_GATEWAY,
            "is down: it refused the connection",
            "connection_refused",
        ),
        _ if err.is_connect() => (
            StatusCode::BAD_GATEWAY,
            "could not be reached",
            "connect_failed",
        ),
        _ if malformed => return GARBAGE,
        _ => (
            StatusCode::BAD_GATEWAY,
            "closed the connection before it answered",
            "connection_reset",
        ),
    };
    Failure {
        status,
        what,
        error,
    }
}

/// Hands the upstream's response on, with the trace's name if it has none.
fn pass_on(response: Response<Incoming>, mut exchange: Box<Exchange>) -> Response<ResponseBody> {
    let (mut parts, body) = response.into_parts();
    exchange.answered(parts.status);
    forward::remove_hop_by_hop(&mut parts.headers);
    if let Some(span) = exchange.span_context() {
        let name = parts.headers.entry(TRACERESPONSE);
        name.or_insert_with(|| traceresponse(span));
    }
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, ResponseBody::upstream(body, exchange))
}

/// Answers in the upstream's place.
fn fail(
    failure: Failure,
    upstream: &Upstream,
    version: Version,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    exchange.failed(failure.error);
    let page = page::render(failure.status, Some(&upstream.name), failure.what);
    own_answer(failure.status, page, version, exchange)
}

/// Answers a request that is not forwarded.
fn refuse(
    refusal: Refusal,
    version: Version,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    exchange.failed(refusal.what);
    let page = page::render(refusal.status, None, refusal.what);
    own_answer(refusal.status, page, version, exchange)
}

fn own_answer(
    status: StatusCode,
    page: Bytes,
    version: Version,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    exchange.answered(status);
    let traced = exchange.span_context().map(traceresponse);
    let mut response = Response::new(ResponseBody::page(page, Some(exchange)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(traced) = traced {
        headers.insert(TRACERESPONSE, traced);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_static("GET, POST, HEAD, PUT, DELETE, OPTIONS, PATCH");
        headers.insert(ALLOW, allowed);
    }
    // What follows a refused head is not worth reading, or not safe to.
    let refused = status.is_client_error() && status != StatusCode::NOT_FOUND;
    if refused && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
