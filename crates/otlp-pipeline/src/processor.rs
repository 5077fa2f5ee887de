//! Where the SDK hands its spans over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::{Context, trace::Span as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};

use crate::{FlushError, encode::ResourceBytes, pipeline::Shared};

/// Hands the spans of one provider to a [`Pipeline`](crate::Pipeline), with the provider's resource.
///
/// For each span that ends, the thread that ends it writes its bytes into a buffer of its own. It never waits for the
/// exporter or the network. Spans that are recorded but not sampled are neither counted nor sent.
#[derive(Debug)]
pub struct Processor {
    shared: Arc<Shared>,
    resource: Arc<ResourceBytes>,
    is_shutdown: AtomicBool,
}

impl Processor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.add_processor();
        Self {
            shared,
            resource: Arc::default(),
            is_shutdown: AtomicBool::new(false),
        }
    }
}

impl SpanProcessor for Processor {
    fn on_start(&self, span: &mut Span, _: &Context) {
        if span.span_context().is_sampled() {
            self.shared.buffers.start();
        }
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.shared.buffers.end(&self.resource, &span);
        }
    }

    /// Sends all spans of the pipeline that have ended, in the time that a shutdown has by default.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(self.shared.flush(crate::pipeline::DEFAULT_TIMEOUT)?)
    }

    /// Sends all spans of the pipeline that have ended. Ends the pipeline if this is its last processor and there is no
    /// [`Pipeline`](crate::Pipeline) any more that could make others: the SDK calls this for a provider that is dropped
    /// too.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
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

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = Arc::new(ResourceBytes::new(resource));
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        if !*self.is_shutdown.get_mut() {
            let last = self.shared.remove_processor();
            if last && !self.shared.has_pipelines() {
                self.shared.leave();
            }
        }
    }
}
