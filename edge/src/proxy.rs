//! Answers one request: by asking the upstream of its host, or with a page that says why not.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::iter;
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
use hyper_util::client::legacy::connect::HttpInfo;
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
    let version = req.version();
    let mut response = answered(&connection, req).await;
    if !connection.edge.readiness.is_ready() && version < Version::HTTP_2 {
        // The next request is for somebody else.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}

async fn answered(connection: &Connection, req: Request<Incoming>) -> Response<ResponseBody> {
    let edge = &connection.edge;
    let version = req.version();
    let exchange = || {
        let entry = Entry::new(&req, connection.peer.addr);
        Exchange::new(edge.log.clone(), edge.metrics.clone(), entry)
    };
    let host = match guard::check(&req, &edge.limits) {
        Ok(host) => host,
        Err(refusal) => return refuse(refusal, version, exchange()),
    };
    let upstream = edge.routes.find(host.name);
    if upstream.is_none()
        && let Some(answer) = about_itself(edge, &req)
    {
        return answer;
    }
    let mut exchange = exchange();
    let parent = telemetry::http::extract(&edge.propagator, req.headers());
    let (tracer, peer) = (&edge.tracer, &connection.peer);
    exchange.traced(spans::server(tracer, &parent, &req, &host, peer));
    let Some(upstream) = upstream else {
        return refuse(UNKNOWN_HOST, version, exchange);
    };
    let caller = Caller {
        port: host.port,
        context: parent,
    };
    let (req, sent) = outgoing(connection, req, upstream, caller, &mut exchange);
    match forward(edge, req, sent, upstream, &exchange).await {
        Ok(response) => pass_on(response, upstream, exchange),
        Err(failure) => fail(failure, upstream, version, exchange),
    }
}

/// Unlike what the guard refuses this is traced, as Traefik does.
const UNKNOWN_HOST: Refusal = Refusal {
    status: StatusCode::NOT_FOUND,
    what: "There is no service of this name",
};

/// `/healthz`, whether it runs, and `/ready`, whether it is to be given more requests.
fn about_itself<B>(edge: &Edge, req: &Request<B>) -> Option<Response<ResponseBody>> {
    let (status, text) = match (req.method(), req.uri().path()) {
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n"),
        (&Method::GET, "/ready") if edge.readiness.is_ready() => (StatusCode::OK, "ready\n"),
        (&Method::GET, "/ready") => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        _ => return None,
    };
    let mut response = Response::new(ResponseBody::page(text.into(), None));
    *response.status_mut() = status;
    Some(response)
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
    upstream: &Upstream,
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
        response = ask(edge, req, upstream) => match response {
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

/// Sends the request, and again to one address of the upstream after the other if the connection ended without an answer and it
/// does no harm.
///
/// An upstream that stops closes connections that carry no request, and does not see one that is on its way. So these attempts
/// have connections of their own, and come to whichever of its addresses does not stop. Go, and so Traefik, does so only where
/// the connection had served before, and gives up on a new one: but while one address after the other is replaced, a new one may
/// well close, too. What it costs is that a request at which an upstream dies comes to each of its addresses.
async fn ask(
    edge: &Edge,
    req: Request<RequestBody>,
    upstream: &Upstream,
) -> Result<Response<Incoming>, legacy::Error> {
    let copy = copied(&req);
    let mut answered = edge.client.request(req).await;
    let (Err(err), Some(copy)) = (&answered, copy) else {
        return answered;
    };
    if upstream_failure(err).error != RESET.error {
        return answered;
    }
    for authority in iter::once(&upstream.authority).chain(&upstream.others) {
        let Some(mut again) = copied(&copy) else {
            break;
        };
        let mut uri = again.uri().clone().into_parts();
        uri.authority = Some(authority.clone());
        *again.uri_mut() = Uri::from_parts(uri).expect("another authority takes its place");
        answered = edge.fresh.request(again).await;
        if answered.is_ok() {
            break;
        }
    }
    answered
}

/// The same request, if it may be sent twice: those that change nothing and have no body.
fn copied(req: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !req.method().is_safe() || !matches!(req.body(), RequestBody::Empty) {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = req.method().clone();
    *copy.uri_mut() = req.uri().clone();
    *copy.headers_mut() = req.headers().clone();
    Some(copy)
}

const RESET: Failure = Failure {
    status: StatusCode::BAD_GATEWAY,
    what: "closed the connection before it answered",
    error: "connection_reset",
};

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
        _ => return RESET,
    };
    Failure {
        status,
        what,
        error,
    }
}

/// Hands the upstream's response on, with the trace's name if it has none.
fn pass_on(
    response: Response<Incoming>,
    upstream: &Upstream,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    let (mut parts, body) = response.into_parts();
    exchange.answered(parts.status);
    if !upstream.others.is_empty()
        && let Some(connection) = parts.extensions.get::<HttpInfo>()
    {
        exchange.answered_by(connection.remote_addr());
    }
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
