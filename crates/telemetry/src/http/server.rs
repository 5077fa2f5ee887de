//! The layer around what answers requests.

use std::{
    borrow::Cow,
    fmt,
    net::SocketAddr,
    sync::Arc,
    task::{Context as Task, Poll},
};

use axum::extract::{ConnectInfo, MatchedPath};
use http::{Extensions, HeaderName, Method, Request, Response, header::USER_AGENT};
use http_body::Body;
use opentelemetry::{
    Context, KeyValue, StringValue,
    propagation::TextMapPropagator,
    trace::{Link, SpanBuilder, SpanKind, TraceContextExt, Tracer as _},
};
use opentelemetry_semantic_conventions::attribute;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Tracer,
    http::{
        call::{self, Methods},
        exchange::{Exchange, Protocol, Side, Start},
        measured::Measured,
        propagation::Propagation,
        proxies::{Network, Proxies},
        request::{self, Peer, bounded},
        response::{Reply, ResponseBody, ResponseFuture},
        url,
    },
    metrics::Metrics,
};

/// Room for all attributes that this layer may add.
const ATTRIBUTES: usize = 16;

type RouteOf = dyn Fn(&Method, &str) -> Option<&'static str> + Send + Sync;
type PeerOf = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

/// What a handler answers for: put among the extensions of a response, it names the span as `{method} {route}`, unless the
/// route was known before.
///
/// It must come from a small set: `/books/{id}`, not `/books/17`.
#[derive(Clone, Debug)]
pub struct Route(pub StringValue);

/// Traces the requests that a service answers.
///
/// Each has a span of kind server. Its parent is the caller's span, as the propagator finds it in the headers, and it
/// is current while the response and its body are made.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    config: Arc<Config>,
    peer: Option<Peer>,
}

#[derive(Clone)]
struct Config {
    tracer: Tracer,
    metrics: Option<Metrics>,
    propagation: Propagation,
    grpc: bool,
    methods: Arc<Methods>,
    public: bool,
    scheme: &'static str,
    reply: Reply,
    excluded: Vec<Cow<'static, str>>,
    route: Option<Arc<RouteOf>>,
    peer: Option<Arc<PeerOf>>,
    proxies: Option<Arc<Proxies>>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("tracer", &self.tracer)
            .field("propagation", &self.propagation)
            .field("excluded", &self.excluded)
            .finish_non_exhaustive()
    }
}

impl ServerLayer {
    /// Traces requests of HTTP, with the global propagator.
    pub fn new(tracer: impl Into<Tracer>) -> Self {
        let config = Config {
            tracer: tracer.into(),
            metrics: None,
            propagation: Propagation::default(),
            grpc: false,
            methods: Arc::default(),
            public: false,
            scheme: "http",
            reply: Reply {
                traceresponse: true,
                server_timing: false,
            },
            excluded: Vec::new(),
            route: None,
            peer: None,
            proxies: None,
        };
        Self {
            config: Arc::new(config),
            peer: None,
        }
    }

    /// Traces calls of gRPC as such, and what else arrives as requests of HTTP.
    ///
    /// A span has the name of its method. Since a caller can ask for any, `rpc.method` is added at the end, and is
    /// `_OTHER` unless a call of the method has ever ended with `OK`, or it is among [`methods`](Self::methods).
    pub fn grpc(tracer: impl Into<Tracer>) -> Self {
        Self::new(tracer).with(|config| config.grpc = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Names the methods of gRPC that the service has, as `package.Service/Method`, so that they need not be learned from
    /// answers: of any other, `rpc.method` is `_OTHER`, however it is answered. Adds to what was named before.
    pub fn methods<M: Into<Arc<str>>>(self, methods: impl IntoIterator<Item = M>) -> Self {
        self.config.methods.add(methods.into_iter().map(Into::into));
        self
    }

    /// Measures the requests as well: how long they take, and how many there are at a time.
    pub fn metrics(self, metrics: &Metrics) -> Self {
        self.with(|config| config.metrics = Some(metrics.clone()))
    }

    /// Reads headers with this propagator instead of the global one.
    pub fn propagator(self, own: impl TextMapPropagator + Send + Sync + 'static) -> Self {
        self.with(|config| config.propagation = Propagation::own(own))
    }

    /// Begins a trace of its own with every request, linked to the span that the caller claims to have.
    ///
    /// For services that anybody can reach: neither the ids, nor the decision to sample, nor the baggage of a caller goes on.
    pub fn public(self) -> Self {
        self.with(|config| config.public = true)
    }

    /// Has `url.scheme` be `https` for requests that do not tell, as those of HTTP/1 never do.
    pub fn https(self) -> Self {
        self.with(|config| config.scheme = "https")
    }

    /// Leaves requests for these paths alone: neither traced nor measured. A `*` at the end stands for anything.
    pub fn exclude<P: Into<Cow<'static, str>>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        self.with(|config| config.excluded.extend(paths.into_iter().map(Into::into)))
    }

    /// Finds the route of a request by its method and path, where there is no router of axum.
    ///
    /// A route is static, so that it cannot hold what a caller chose.
    pub fn route<F>(self, route: F) -> Self
    where
        F: Fn(&Method, &str) -> Option<&'static str> + Send + Sync + 'static,
    {
        self.with(|config| config.route = Some(Arc::new(route)))
    }

    /// Names the other end of the connection, for a server that makes a service for each.
    pub fn peer(self, peer: SocketAddr) -> Self {
        Self {
            peer: Some(peer.into()),
            ..self
        }
    }

    /// Finds the other end of the connection among the extensions of a request, where it is not axum's
    /// [`ConnectInfo<SocketAddr>`].
    pub fn peer_from<F>(self, peer: F) -> Self
    where
        F: Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    {
        self.with(|config| config.peer = Some(Arc::new(peer)))
    }

    /// Believes these proxies in whose name they ask: `client.address` is the last address in this header that is not one of
    /// theirs. `forwarded` is read as RFC 7239 has it, any other header as a list of addresses, such as `x-forwarded-for`.
    ///
    /// It has to be the header that the proxies write: another one they pass on as a stranger wrote it.
    ///
    /// ```
    /// # use telemetry::{Tracer, http::{NetworkError, ServerLayer}};
    /// # fn layer(tracer: Tracer) -> Result<ServerLayer, NetworkError> {
    /// let header = http::HeaderName::from_static("x-forwarded-for");
    /// let layer = ServerLayer::new(tracer).trusted_proxies(header, ["10.0.0.0/8".parse()?, "::1".parse()?]);
    /// # Ok(layer)
    /// # }
    /// ```
    pub fn trusted_proxies(
        self,
        header: HeaderName,
        proxies: impl IntoIterator<Item = Network>,
    ) -> Self {
        self.with(|config| config.proxies = Some(Arc::new(Proxies::new(header, proxies))))
    }

    /// Does not tell the caller its span in a header `traceresponse`.
    pub fn without_traceresponse(self) -> Self {
        self.with(|config| config.reply = Reply::default())
    }

    /// Tells the caller its span in an entry `traceparent` of the header `Server-Timing` as well, which scripts in a browser can read.
    pub fn server_timing(self) -> Self {
        self.with(|config| {
            config.reply = Reply {
                traceresponse: true,
                server_timing: true,
            };
        })
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        let layer = self.clone();
        Server { inner, layer }
    }
}

/// A service with a [`ServerLayer`] around it.
#[derive(Clone, Debug)]
pub struct Server<S> {
    inner: S,
    layer: ServerLayer,
}

impl<S, B, R> Service<Request<B>> for Server<S>
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let config = &*self.layer.config;
        if config.excludes(request.uri().path()) {
            return ResponseFuture::new(self.inner.call(request), None, Reply::default());
        }
        let mut exchange = config.begin(&request, self.layer.peer.as_ref());
        let future = {
            let _current = exchange.cx().clone().attach();
            exchange.observed(|| self.inner.call(request))
        };
        ResponseFuture::new(future, Some(exchange), config.reply)
    }
}

impl Config {
    fn excludes(&self, path: &str) -> bool {
        self.excluded
            .iter()
            .any(|excluded| match excluded.strip_suffix('*') {
                Some(start) => path.starts_with(start),
                None => path == excluded,
            })
    }

    fn begin<B>(&self, request: &Request<B>, peer: Option<&Peer>) -> Exchange {
        let start = Start::now();
        let extensions = request.extensions();
        let found = match peer {
            Some(_) => None,
            None => self.find_peer(extensions).map(Peer::from),
        };
        let peer = peer.or(found.as_ref());
        let mut attributes = Vec::with_capacity(ATTRIBUTES);
        let (name, protocol) = if self.grpc && call::is_call(request) {
            let method = call::method(request.uri().path());
            attributes.push(KeyValue::new(attribute::RPC_SYSTEM_NAME, call::SYSTEM));
            let name = method.unwrap_or(call::SYSTEM).to_owned();
            let methods = Some(self.methods.clone());
            (
                name.into(),
                Protocol::Grpc {
                    method: method.map(Into::into),
                    status: None,
                    methods,
                },
            )
        } else {
            self.describe(request, &mut attributes)
        };
        add_host(request, &mut attributes);
        if let Some(Peer { ip, address, port }) = peer {
            let client = match &self.proxies {
                Some(proxies) => request::shared(proxies.client(*ip, request.headers())),
                None => address.clone(),
            };
            attributes.extend([
                KeyValue::new(attribute::NETWORK_PEER_ADDRESS, address.clone()),
                KeyValue::new(attribute::NETWORK_PEER_PORT, *port),
                KeyValue::new(attribute::CLIENT_ADDRESS, client),
            ]);
        }
        let mut parent = self.propagation.extract(request.headers());
        let mut builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_start_time(start.time)
            .with_attributes(attributes);
        if self.public {
            if parent.has_active_span() {
                let caller = parent.span().span_context().clone();
                builder = builder.with_links(vec![Link::with_context(caller)]);
            }
            parent = Context::new();
        }
        let span = self.tracer.build_with_context(builder, &parent);
        let measured = self.metrics.as_ref().map(|metrics| {
            let mut measured = Measured::new(metrics, self.scheme(request), request.headers());
            measured.version = request::version(request.version());
            measured
        });
        let cx = parent.with_span(span);
        Exchange::new(cx, Side::Server, protocol, start, measured)
    }

    fn scheme<B>(&self, request: &Request<B>) -> &'static str {
        request::scheme(request.uri()).unwrap_or(self.scheme)
    }

    fn find_peer(&self, extensions: &Extensions) -> Option<SocketAddr> {
        match &self.peer {
            Some(find) => find(extensions),
            None => extensions.get().map(|ConnectInfo(addr)| *addr),
        }
    }

    /// What HTTP's conventions ask for, but for the status and the two ends.
    fn describe<B>(
        &self,
        request: &Request<B>,
        attributes: &mut Vec<KeyValue>,
    ) -> (Cow<'static, str>, Protocol) {
        let uri = request.uri();
        let (method, original) = request::method(request.method());
        let matched = request.extensions().get::<MatchedPath>();
        let route: Option<StringValue> = match (matched, &self.route) {
            (Some(matched), _) => Some(Arc::<str>::from(matched.as_str()).into()),
            (None, Some(route)) => route(request.method(), uri.path()).map(Into::into),
            (None, None) => None,
        };
        let name = request::name(method, route.as_ref().map(StringValue::as_str));
        attributes.extend([
            KeyValue::new(attribute::HTTP_REQUEST_METHOD, method),
            KeyValue::new(attribute::URL_PATH, bounded(uri.path()).to_owned()),
            KeyValue::new(attribute::URL_SCHEME, self.scheme(request)),
            KeyValue::new(
                attribute::NETWORK_PROTOCOL_VERSION,
                request::version(request.version()),
            ),
        ]);
        if let Some(original) = original {
            let original = bounded(original).to_owned();
            attributes.push(KeyValue::new(
                attribute::HTTP_REQUEST_METHOD_ORIGINAL,
                original,
            ));
        }
        if let Some(route) = &route {
            attributes.push(KeyValue::new(attribute::HTTP_ROUTE, route.clone()));
        }
        if let Some(query) = uri.query() {
            let query = url::query(bounded(query)).into_owned();
            attributes.push(KeyValue::new(attribute::URL_QUERY, query));
        }
        if let Some(agent) = request.headers().get(USER_AGENT) {
            let agent = String::from_utf8_lossy(agent.as_bytes());
            let agent = bounded(&agent).to_owned();
            attributes.push(KeyValue::new(attribute::USER_AGENT_ORIGINAL, agent));
        }
        let head = *request.method() == Method::HEAD;
        (
            name,
            Protocol::Http {
                method,
                head,
                route,
            },
        )
    }
}

/// Whom the request is for.
fn add_host<B>(request: &Request<B>, attributes: &mut Vec<KeyValue>) {
    if let Some((host, port)) = request::host(request.uri(), request.headers()) {
        attributes.push(KeyValue::new(attribute::SERVER_ADDRESS, host.to_owned()));
        attributes.extend(port.map(|port| KeyValue::new(attribute::SERVER_PORT, i64::from(port))));
    }
}
