//! Measurements of requests, of the process, of what it is and of its telemetry, in the format of OpenMetrics.
//!
//! The layers of [`http`](crate::http) measure into [`Metrics`]. Names are those of the semantic conventions as
//! Prometheus spells them: `http.server.request.duration` is `http_server_request_duration_seconds`. Each bucket of a duration remembers
//! the last sampled request in it as an exemplar, with the ids of its span.
//!
//! ```
//! use prometheus_client::registry::Registry;
//! use telemetry::{http::ServerLayer, metrics::{self, Metrics}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let telemetry = telemetry::builder("bookapp", "").build()?;
//! let requests = Metrics::new();
//! let layer = ServerLayer::new(telemetry.tracer("bookapp")).metrics(&requests);
//!
//! let mut registry = Registry::default();
//! requests.register(&mut registry);
//! metrics::register_target(&mut registry, telemetry.resource());
//! metrics::register_process(&mut registry);
//! metrics::register_telemetry(&mut registry, &telemetry);
//!
//! // What `GET /metrics` answers, as `metrics::CONTENT_TYPE`.
//! let text = metrics::text(&registry)?;
//! assert!(text.contains("service_name=\"bookapp\""));
//! # Ok(())
//! # }
//! ```
//!
//! # How many series there can be
//!
//! Labels come from what the program has few of: routes, methods that the conventions know, statuses. Where it does
//! not, as with the hosts that a client calls, there is a limit for every metric; whatever is beyond it is counted together, in a
//! series with the label `otel_metric_overflow="true"`.

mod active;
mod endpoint;
mod labels;
mod pipeline;
mod series;
mod target;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::trace::SpanContext;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};

pub(crate) use crate::metrics::labels::Labels;
use crate::metrics::{
    active::Active,
    series::{Series, Sizes},
};

pub use crate::metrics::{
    endpoint::serve, pipeline::register as register_telemetry, target::register as register_target,
};
pub use process_metrics::register as register_process;

/// The media type of what [`text()`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Most series of a metric, unless told otherwise. The SDK has the same limit.
pub const MAX_SERIES: usize = 2000;

/// Measures requests. Clones measure into the same series.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Measured>);

#[derive(Debug)]
struct Measured {
    http_server: Series,
    http_server_active: Active,
    http_client: Series,
    rpc_server: Series,
    rpc_client: Series,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    HttpServer,
    HttpClient,
    RpcServer,
    RpcClient,
}

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Observation<'a> {
    pub(crate) duration: Duration,
    pub(crate) end: SystemTime,
    pub(crate) span: &'a SpanContext,
    /// Bytes of the request's body and of the response's, as far as known.
    pub(crate) sizes: [Option<u64>; 2],
}

/// A request of HTTP that no layer of this crate has seen, as its labels tell of it. What is empty, or 0, is no label.
///
/// Only what the program has few of belongs here, since each combination is a series.
/// <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpRequest<'a> {
    /// `http.request.method`: one that the conventions know, or `_OTHER`.
    pub method: &'static str,
    /// `http.response.status_code`: of the response that was sent, or received.
    pub status: u16,
    /// `error.type`.
    pub error: &'a str,
    /// `url.scheme`.
    pub scheme: &'static str,
    /// `network.protocol.version`, e.g. `1.1` or `2`.
    pub version: &'static str,
    /// `http.route`.
    pub route: &'a str,
    /// `server.address`.
    pub host: &'a str,
    /// `server.port`.
    pub port: u16,
}

impl<'a> From<&HttpRequest<'a>> for Labels<'a> {
    fn from(request: &HttpRequest<'a>) -> Self {
        Labels {
            target: request.route.into(),
            method: request.method,
            status: request.status,
            error: request.error.into(),
            scheme: request.scheme,
            version: request.version,
            host: request.host.into(),
            port: request.port,
            ..Labels::default()
        }
    }
}

/// When a request was over, and in which span.
#[derive(Clone, Copy, Debug)]
pub struct Over<'a> {
    /// From its beginning to the end of its response.
    pub duration: Duration,
    /// The time of the exemplar.
    pub end: SystemTime,
    /// [`SpanContext::NONE`] for a request that was not traced. One that was not sampled leaves no exemplar.
    pub span: &'a SpanContext,
}

impl<'a> From<Over<'a>> for Observation<'a> {
    fn from(over: Over<'a>) -> Self {
        Observation {
            duration: over.duration,
            end: over.end,
            span: over.span,
            sizes: [None; 2],
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most series of each metric, without the one for the rest. [`MAX_SERIES`] by default.
    pub max_series: usize,
    /// Whether the bodies of HTTP are measured: those of requests as far as their headers tell, of responses all. Not by
    /// default, since that is two more histograms for every series.
    pub body_sizes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_series: MAX_SERIES,
            body_sizes: false,
        }
    }
}

impl Metrics {
    /// With the default [`Options`].
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// Measures so much.
    pub fn with(options: Options) -> Self {
        let sizes = options.body_sizes;
        let series = |name, sizes| Series::new(name, options.max_series, sizes);
        let (server, client) = (Sizes::SERVER, Sizes::CLIENT);
        Self(Arc::new(Measured {
            http_server: series("http_server_request_duration", sizes.then_some(server)),
            http_server_active: Active::default(),
            http_client: series("http_client_request_duration", sizes.then_some(client)),
            rpc_server: series("rpc_server_call_duration", None),
            rpc_client: series("rpc_client_call_duration", None),
        }))
    }

    /// Has the registry show what is measured.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// A server that does not use [`http::ServerLayer`](crate::http::ServerLayer) has a request to answer. Each is to
    /// end by [`Self::server_ended`] with the same method and scheme.
    pub fn server_begun(&self, method: &'static str, scheme: &'static str) {
        self.active().add(method, scheme, 1);
    }

    /// Its response has come to its end, or was cut.
    pub fn server_ended(&self, request: &HttpRequest<'_>, over: Over<'_>) {
        self.active().add(request.method, request.scheme, -1);
        self.observe(Kind::HttpServer, &request.into(), &over.into());
    }

    /// A request that was sent without [`http::ClientLayer`](crate::http::ClientLayer) is over.
    pub fn client_ended(&self, request: &HttpRequest<'_>, over: Over<'_>) {
        self.observe(Kind::HttpClient, &request.into(), &over.into());
    }

    pub(crate) fn observe(&self, kind: Kind, labels: &Labels<'_>, observation: &Observation<'_>) {
        let series = match kind {
            Kind::HttpServer => &self.0.http_server,
            Kind::HttpClient => &self.0.http_client,
            Kind::RpcServer => &self.0.rpc_server,
            Kind::RpcClient => &self.0.rpc_client,
        };
        series.observe(labels, observation);
    }

    /// Requests of HTTP that a server has begun and not ended.
    pub(crate) fn active(&self) -> &Active {
        &self.0.http_server_active
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let measured = &*self.0;
        measured
            .http_server
            .encode(&mut encoder, "Duration of HTTP server requests.")?;
        measured.http_server_active.encode(&mut encoder)?;
        measured
            .http_client
            .encode(&mut encoder, "Duration of HTTP client requests.")?;
        measured
            .rpc_server
            .encode(&mut encoder, "Duration of inbound calls of gRPC.")?;
        measured
            .rpc_client
            .encode(&mut encoder, "Duration of outbound calls of gRPC.")
    }
}

/// Writes everything that a registry has in the text format of OpenMetrics.
///
/// # Errors
/// If a collector in it fails; none of this module does.
pub fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}
