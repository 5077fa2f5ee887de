//! The service under measurement: hyper says hello, and each subject traces it as its users would.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use fastrace::collector::SpanContext;
use fastrace::future::FutureExt as _;
use fastrace::prelude::LocalSpan;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry::context::FutureExt as _;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{Span, SpanKind, TraceContextExt as _, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::trace::SdkTracer;
use opentelemetry_semantic_conventions::attribute;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::helper;
use crate::pipeline::{self, Accounts, Pipeline, SCOPE};
use crate::subject::Subject;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Exports what has ended so far.
    Flush,
    /// Only says what was counted.
    Accounts,
    /// Ends the pipeline.
    Shutdown,
}

/// What the pipeline answered to it, and what it counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) outcome: Result<(), String>,
    pub(crate) accounts: Option<Accounts>,
}

/// Serves on a free port of loopback until there are no more questions.
pub(crate) fn run(options: pipeline::Options, spans: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let _guard = runtime.enter();
    let subject = options.subject;
    let pipeline = Pipeline::install(options)?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let addr = listener.local_addr()?;
    let app = App::new(subject, pipeline.tracer(), spans);
    runtime.spawn(serve(listener, Arc::new(app)));
    helper::serve(&addr, |ask| {
        let outcome = match ask {
            Ask::Flush => pipeline.flush(),
            Ask::Accounts => Ok(()),
            Ask::Shutdown => pipeline.shutdown(),
        };
        Ok(Answer {
            outcome: outcome.map_err(|err| err.to_string()),
            accounts: pipeline.accounts(),
        })
    })
}

struct App {
    tracing: Tracing,
    /// Of each request: a server span, and below it in turns an internal and a client span.
    spans: usize,
}

enum Tracing {
    None,
    NoOp(BoxedTracer),
    Sdk(SdkTracer),
    Macros,
    Fastrace,
}

impl App {
    /// A tracer that the application keeps costs less than one that is asked of the whole process.
    fn new(subject: Subject, tracer: Option<SdkTracer>, spans: usize) -> Self {
        let tracing = match (subject, tracer) {
            (Subject::None, _) => Tracing::None,
            (Subject::TracingOpentelemetry, _) => Tracing::Macros,
            (Subject::Fastrace, _) => Tracing::Fastrace,
            (_, Some(tracer)) => Tracing::Sdk(tracer),
            (_, None) => Tracing::NoOp(global::tracer(SCOPE)),
        };
        Self { tracing, spans }
    }
}

async fn serve(listener: TcpListener, app: Arc<App>) {
    while let Ok((stream, from)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let app = Arc::clone(&app);
        let service = service_fn(move |request| answer(request, from, Arc::clone(&app)));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    mut request: Request<Incoming>,
    from: SocketAddr,
    app: Arc<App>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match &app.tracing {
        Tracing::None => hello(),
        Tracing::NoOp(tracer) => opentelemetry(tracer, &mut request, from, app.spans).await,
        Tracing::Sdk(tracer) => opentelemetry(tracer, &mut request, from, app.spans).await,
        Tracing::Macros => macros(&mut request, from, app.spans).await,
        Tracing::Fastrace => traced_fast(&mut request, from, app.spans).await,
    })
}

fn hello() -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from_static(b"hello\n")))
}

const PEER: &str = "http://127.0.0.1:7878/work";

async fn opentelemetry<T>(
    tracer: &T,
    request: &mut Request<Incoming>,
    from: SocketAddr,
    spans: usize,
) -> Response<Full<Bytes>>
where
    T: Tracer<Span: Span + Send + Sync + 'static>,
{
    let parent = global::get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(request.headers()))
    });
    // Room for the status, which comes last.
    let mut attributes = Vec::with_capacity(7);
    attributes.extend([
        KeyValue::new(attribute::HTTP_REQUEST_METHOD, method(request.method())),
        KeyValue::new(attribute::URL_PATH, request.uri().path().to_owned()),
        KeyValue::new(attribute::URL_SCHEME, "http"),
        KeyValue::new(attribute::HTTP_ROUTE, "/"),
        KeyValue::new(attribute::NETWORK_PEER_ADDRESS, from.ip().to_string()),
        KeyValue::new(attribute::NETWORK_PEER_PORT, i64::from(from.port())),
    ]);
    let span = tracer
        .span_builder("GET /")
        .with_kind(SpanKind::Server)
        .with_attributes(attributes)
        .start_with_context(tracer, &parent);
    let cx = parent.with_span(span);
    let work = async {
        for number in 1..spans {
            if number % 2 == 1 {
                let mut internal = tracer.start("work");
                internal.add_event("decoded", vec![KeyValue::new("happened", true)]);
                internal.end();
            } else {
                opentelemetry_call(tracer, request.headers_mut());
            }
        }
        hello()
    };
    let response = work.with_context(cx.clone()).await;
    let status = i64::from(response.status().as_u16());
    cx.span()
        .set_attribute(KeyValue::new(attribute::HTTP_RESPONSE_STATUS_CODE, status));
    cx.span().end();
    response
}

/// A text of its own only where it has to be one.
fn method(method: &Method) -> Cow<'static, str> {
    match *method {
        Method::GET => "GET".into(),
        ref other => other.to_string().into(),
    }
}

/// Everything of a call to a peer but the call, which hands on the headers of the request.
fn opentelemetry_call<T>(tracer: &T, headers: &mut HeaderMap)
where
    T: Tracer<Span: Span + Send + Sync + 'static>,
{
    let mut attributes = Vec::with_capacity(5);
    attributes.extend([
        KeyValue::new(attribute::HTTP_REQUEST_METHOD, "GET"),
        KeyValue::new(attribute::URL_FULL, PEER.to_owned()),
        KeyValue::new(attribute::SERVER_ADDRESS, "127.0.0.1"),
        KeyValue::new(attribute::SERVER_PORT, 7878),
    ]);
    let span = tracer
        .span_builder("GET")
        .with_kind(SpanKind::Client)
        .with_attributes(attributes)
        .start(tracer);
    let cx = Context::current_with_span(span);
    inject(&cx, headers);
    cx.span()
        .set_attribute(KeyValue::new(attribute::HTTP_RESPONSE_STATUS_CODE, 200));
    cx.span().end();
}

fn inject(cx: &Context, headers: &mut HeaderMap) {
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(cx, &mut HeaderInjector(headers));
    });
}

async fn macros(
    request: &mut Request<Incoming>,
    from: SocketAddr,
    spans: usize,
) -> Response<Full<Bytes>> {
    let parent = global::get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(request.headers()))
    });
    let span = tracing::info_span!(
        "GET /",
        otel.kind = "server",
        http.request.method = %request.method(),
        url.path = request.uri().path(),
        url.scheme = "http",
        http.route = "/",
        network.peer.address = %from.ip(),
        network.peer.port = from.port(),
        http.response.status_code = tracing::field::Empty,
    );
    // It fails only where no layer of this kind is installed.
    let _ = span.set_parent(parent);
    let work = async {
        for number in 1..spans {
            if number % 2 == 1 {
                let _internal = tracing::info_span!("work").entered();
                tracing::info!(happened = true, "decoded");
            } else {
                let span = tracing::info_span!(
                    "GET",
                    otel.kind = "client",
                    http.request.method = "GET",
                    url.full = PEER,
                    server.address = "127.0.0.1",
                    server.port = 7878,
                    http.response.status_code = tracing::field::Empty,
                );
                inject(&span.context(), request.headers_mut());
                span.record("http.response.status_code", 200);
            }
        }
        hello()
    };
    let response = work.instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    response
}

async fn traced_fast(
    request: &mut Request<Incoming>,
    from: SocketAddr,
    spans: usize,
) -> Response<Full<Bytes>> {
    let caller = request.headers().get("traceparent");
    let caller = caller.and_then(|value| SpanContext::decode_w3c_traceparent(value.to_str().ok()?));
    let parent = caller.unwrap_or_else(SpanContext::random);
    let span = fastrace::Span::root("GET /", parent).with_properties(|| {
        [
            ("span.kind", "server".into()),
            ("http.request.method", method(request.method())),
            ("url.path", request.uri().path().to_owned().into()),
            ("url.scheme", "http".into()),
            ("http.route", "/".into()),
            ("network.peer.address", from.ip().to_string().into()),
            ("network.peer.port", from.port().to_string().into()),
            ("http.response.status_code", Cow::from("200")),
        ]
    });
    let work = async {
        for number in 1..spans {
            if number % 2 == 1 {
                let _internal = LocalSpan::enter_with_local_parent("work");
                let event = fastrace::Event::new("decoded");
                LocalSpan::add_event(event.with_property(|| ("happened", "true")));
            } else {
                fast_call(request.headers_mut());
            }
        }
        hello()
    };
    work.in_span(span).await
}

fn fast_call(headers: &mut HeaderMap) {
    let span = fastrace::Span::enter_with_local_parent("GET").with_properties(|| {
        [
            ("span.kind", "client"),
            ("http.request.method", "GET"),
            ("url.full", PEER),
            ("server.address", "127.0.0.1"),
            ("server.port", "7878"),
            ("http.response.status_code", "200"),
        ]
    });
    let context = SpanContext::from_span(&span).map(|it| it.encode_w3c_traceparent());
    if let Some(value) = context.and_then(|it| HeaderValue::try_from(it).ok()) {
        headers.insert(HeaderName::from_static("traceparent"), value);
    }
}
