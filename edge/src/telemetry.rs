//! The edge's own tracing: spans go to a collector over OTLP/gRPC, in batches, behind the back of the requests.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use opentelemetry_semantic_conventions::attribute;
use tracing_subscriber::filter::LevelFilter;

use crate::config::Config;

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// Must be shut down, or the last spans are lost.
#[derive(Debug)]
pub(crate) struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Sets up export and, on stderr, the warnings of the SDK: lost spans are never silent.
    ///
    /// # Errors
    /// If the exporter cannot be built. A collector that is down is no error.
    pub(crate) fn init(config: &Config) -> anyhow::Result<Self> {
        // A second subscriber in the process is a test's, and as good as this one.
        let _ = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::WARN)
            .with_writer(io::stderr)
            .with_ansi(false)
            .log_internal_errors(false)
            .try_init();
        let resource = Resource::builder()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new(
                attribute::SERVICE_VERSION,
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let mut provider = SdkTracerProvider::builder().with_resource(resource);
        if let Some(export) = &config.export {
            let exporter = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(&export.endpoint)
                .with_timeout(export.timeout)
                .build()
                .context("building the OTLP exporter")?;
            provider = provider.with_batch_exporter(exporter);
        }
        Ok(Self(provider.build()))
    }

    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer(env!("CARGO_PKG_NAME"))
    }

    /// Flushes the last spans.
    ///
    /// # Errors
    /// If they did not leave within 2 s.
    pub(crate) async fn shutdown(self) -> anyhow::Result<()> {
        // The SDK blocks until its exporter is done, and that needs this runtime.
        tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH))
            .await?
            .context("flushing the last spans")
    }
}
