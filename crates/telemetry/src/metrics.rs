//! Measurements of requests, of the process and of what it is, in the format of OpenMetrics.
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
mod labels;
mod process;
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
    process::register as register_process, target::register as register_target,
};

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
