//! Where the SDK hands its spans and log records over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::{Context, InstrumentationScope, trace::Span as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::SdkLogRecord,
    trace::{Span, SpanData, SpanProcessor},
};

use crate::{FlushError, encode::ResourceBytes, pipeline::Shared};

/// Hands the spans of one provider to a [`Pipeline`](crate::Pipeline), with the provider's resource.
///
/// For each span that ends, the thread that ends it writes its bytes into a buffer of its own. It never waits for the
/// exporter or the network. Spans that are recorded but not sampled are neither counted nor sent.
#[derive(Debug)]
pub struct Processor(Feed);

/// Hands the log records of one provider to a [`LogPipeline`](crate::LogPipeline), with the provider's resource.
///
/// The thread that logs writes the record's bytes into a buffer of its own, and never waits for the exporter or the network.
/// A record's target takes the place of its scope's name, as with other exporters.
#[derive(Debug)]
pub struct LogProcessor(Feed);

/// One provider's way into a pipeline.
#[derive(Debug)]
struct Feed {
    shared: Arc<Shared>,
    resource: Arc<ResourceBytes>,
    is_shutdown: AtomicBool,
}

impl Processor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Feed::new(shared))
    }
}

impl SpanProcessor for Processor {
    fn on_start(&self, span: &mut Span, _: &Context) {
        if span.span_context().is_sampled() {
            self.0.shared.buffers.start();
        }
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.shared.buffers.end(&self.0.resource, &span);
        }
    }

    /// Sends all spans of the pipeline that have ended, in the time that a shutdown has by default.
    fn force_flush(&self) -> OTelSdkResult {
        self.0.flush()
    }

    /// Sends all spans of the pipeline that have ended. Ends the pipeline if this is its last processor and there is no
    /// [`Pipeline`](crate::Pipeline) any more that could make others: the SDK calls this for a provider that is dropped
    /// too.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.resource = Arc::new(ResourceBytes::new(resource));
    }
}

impl LogProcessor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Feed::new(shared))
    }
}

impl opentelemetry_sdk::logs::LogProcessor for LogProcessor {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.shared.buffers.log(&self.0.resource, record, scope);
    }

    /// Sends all log records of the pipeline, in the time that a shutdown has by default.
    fn force_flush(&self) -> OTelSdkResult {
        self.0.flush()
    }

    /// Sends all log records of the pipeline. Ends the pipeline if this is its last processor and there is no
    /// [`LogPipeline`](crate::LogPipeline) any more that could make others.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.resource = Arc::new(ResourceBytes::new(resource));
    }
}

impl Feed {
    fn new(shared: Arc<Shared>) -> Self {
        shared.add_processor();
        Self {
            shared,
            resource: Arc::default(),
            is_shutdown: AtomicBool::new(false),
        }
    }

    fn flush(&self) -> OTelSdkResult {
        Ok(self.shared.flush(crate::pipeline::DEFAULT_TIMEOUT)?)
    }

    fn shutdown(&self, timeout: Duration) -> OTelSdkResult {
        if self.is_shutdown.swap(true, Relaxed) {
            return Err(FlushError::AlreadyShutdown.into());
        }
        let last = self.shared.remove_processor();
        let result = if last && !self.shared.has_pipelines() {
            self.shared.stop(timeout)
        } else {
            self.shared.flush(timeout)
        };
        Ok(result?)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if !*self.is_shutdown.get_mut() {
            let last = self.shared.remove_processor();
            if last && !self.shared.has_pipelines() {
                self.shared.leave();
            }
        }
    }
}
