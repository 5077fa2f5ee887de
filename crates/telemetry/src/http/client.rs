//! The layer around what sends requests.

use std::{
    sync::Arc,
    task::{Context as Task, Poll},
};

use http::{Method, Request, Response, Uri};
use http_body::Body;
use opentelemetry::{
    Context, KeyValue, StringValue,
    propagation::TextMapPropagator,
    trace::{SpanBuilder, SpanKind, TraceContextExt, Tracer as _},
};
use opentelemetry_semantic_conventions::attribute;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Tracer,
    http::{
        call,
        exchange::{Exchange, Protocol, Side, Start},
        measured::Measured,
        propagation::Propagation,
        request,
        response::{Reply, ResponseBody, ResponseFuture},
        url,
    },
    metrics::Metrics,
};

/// Room for all attributes that this layer may add.
const ATTRIBUTES: usize = 12;

/// How often a request was sent before: put among its extensions by who sends it again, it becomes
/// `http.request.resend_count`.
#[derive(Clone, Copy, Debug)]
pub struct ResendCount(pub u32);

/// Traces the requests that a client sends.
///
/// Each has a span of kind client, the parent of which is the span of the current [`Context`], and is named in the headers as
/// the caller. A retry is another request: what retries belongs around this layer, so that each try has its span.
#[derive(Clone, Debug)]
pub struct ClientLayer {
    config: Arc<Config>,
}

#[derive(Clone, Debug)]
struct Config {
    tracer: Tracer,
    metrics: Option<Metrics>,
    propagation: Propagation,
    grpc: bool,
    origin: Option<Uri>,
}

impl ClientLayer {
    /// Traces requests of HTTP, with the global propagator.
    pub fn new(tracer: impl Into<Tracer>) -> Self {
        let config = Config {
            tracer: tracer.into(),
            metrics: None,
            propagation: Propagation::default(),
            grpc: false,
            origin: None,
        };
        Self {
            config: Arc::new(config),
        }
    }

    /// Traces calls of gRPC as such, and what else is sent as requests of HTTP.
    pub fn grpc(tracer: impl Into<Tracer>) -> Self {
        Self::new(tracer).with(|config| config.grpc = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Measures how long the requests take as well.
    pub fn metrics(self, metrics: &Metrics) -> Self {
        self.with(|config| config.metrics = Some(metrics.clone()))
    }

    /// Writes headers with this propagator instead of the global one.
    pub fn propagator(self, own: impl TextMapPropagator + Send + Sync + 'static) -> Self {
        self.with(|config| config.propagation = Propagation::own(own))
    }

    /// Where requests go whose URIs do not say, as those to a channel of tonic.
    pub fn origin(self, origin: &Uri) -> Self {
        self.with(|config| config.origin = Some(origin.clone()))
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        let config = self.config.clone();
        Client { inner, config }
    }
}

/// A service with a [`ClientLayer`] around it.
#[derive(Clone, Debug)]
pub struct Client<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: 'static,
    R: Body,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Task<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut exchange = self.config.begin(&request);
        self.config
            .propagation
            .inject(exchange.cx(), request.headers_mut());
        let future = {
            let _current = exchange.cx().clone().attach();
            exchange.observed(|| self.inner.call(request))
        };
        ResponseFuture::new(future, Some(exchange), Reply::default())
    }
}

impl Config {
    fn begin<B>(&self, request: &Request<B>) -> Exchange {
        let start = Start::now();
        let uri = request.uri();
        let target = match (uri.authority(), &self.origin) {
            (None, Some(origin)) => origin,
            _ => uri,
        };
        let scheme = request::scheme(target).unwrap_or("http");
        let mut attributes = Vec::with_capacity(ATTRIBUTES);
        let (name, protocol) = if self.grpc && call::is_call(request) {
            let method: Option<Arc<str>> = call::method(uri.path()).map(Into::into);
            let value = match &method {
                Some(method) => KeyValue::new(attribute::RPC_METHOD, method.clone()),
                None => KeyValue::new(attribute::RPC_METHOD, call::OTHER),
            };
            attributes.extend([
                KeyValue::new(attribute::RPC_SYSTEM_NAME, call::SYSTEM),
                value,
            ]);
            let name = method.as_deref().unwrap_or(call::SYSTEM).to_owned().into();
            (
                name,
                Protocol::Grpc {
                    method,
                    status: None,
                    methods: None,
                },
            )
        } else {
            let (method, original) = request::method(request.method());
            attributes.push(KeyValue::new(attribute::HTTP_REQUEST_METHOD, method));
            if let Some(original) = original {
                let original = original.to_owned();
                attributes.push(KeyValue::new(
                    attribute::HTTP_REQUEST_METHOD_ORIGINAL,
                    original,
                ));
            }
            if let Some(authority) = target.authority() {
                let url = url::full(scheme, authority, uri);
                attributes.push(KeyValue::new(attribute::URL_FULL, url));
            }
            let head = *request.method() == Method::HEAD;
            (
                request::name(method, None),
                Protocol::Http {
                    method,
                    head,
                    route: None,
                },
            )
        };
        let mut measured = (self.metrics.as_ref())
            .map(|metrics| Measured::new(metrics, scheme, request.headers()));
        if let Some((host, port)) = request::host(target, request.headers()) {
            let host: StringValue = Arc::<str>::from(host).into();
            let port = port.unwrap_or(if scheme == "https" { 443 } else { 80 });
            attributes.extend([
                KeyValue::new(attribute::SERVER_ADDRESS, host.clone()),
                KeyValue::new(attribute::SERVER_PORT, i64::from(port)),
            ]);
            if let Some(measured) = &mut measured {
                measured.host = Some(host);
                measured.port = port;
            }
        }
        if let Some(ResendCount(count @ 1..)) = request.extensions().get() {
            let count = i64::from(*count);
            attributes.push(KeyValue::new(attribute::HTTP_REQUEST_RESEND_COUNT, count));
        }
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_start_time(start.time)
            .with_attributes(attributes);
        let parent = Context::current();
        let span = self.tracer.build_with_context(builder, &parent);
        let cx = parent.with_span(span);
        Exchange::new(cx, Side::Client, protocol, start, measured)
    }
}
