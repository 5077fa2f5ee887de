//! Makes spans of OpenTelemetry of those of `tracing`, for those who prefer its macros.

use tracing::{Level, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, filter_fn},
    registry::LookupSpan,
};

use crate::tracer::Tracer;

/// The crates that spans are exported through, and those that speak of telemetry: a span made of what they say would have
/// to be exported as well.
const SILENT: [&str; 15] = [
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "opentelemetry",
    "opentelemetry-http",
    "opentelemetry-otlp",
    "opentelemetry_sdk",
    "otlp_pipeline",
    "reqwest",
    "rustls",
    "telemetry",
    "tokio",
    "tonic",
    "tower",
];

/// Spans and events of level `info` and above, without what costs most and says least: source locations, threads,
/// and times of inactivity.
pub(crate) fn layer<S>(tracer: Tracer) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
{
    let filter = filter_fn(|metadata| {
        let of_crate = metadata.target().split("::").next().unwrap_or_default();
        *metadata.level() <= Level::INFO && !SILENT.contains(&of_crate)
    });
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_filter(filter.with_max_level_hint(LevelFilter::INFO))
        .boxed()
}
