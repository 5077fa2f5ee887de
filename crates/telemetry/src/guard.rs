//! The guard: what a service holds on to as long as it runs, and shuts down at its end.

use std::{fmt, sync::Arc, time::Duration};

use opentelemetry::{
    Context, InstrumentationScope,
    propagation::{
        Extractor, Injector, TextMapCompositePropagator, TextMapPropagator,
        text_map_propagator::FieldIter,
    },
    trace::TracerProvider as _,
};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracerProvider, SpanProcessor},
};
use opentelemetry_semantic_conventions::SCHEMA_URL;
use otlp_pipeline::{Accounts, FlushError, Pipeline, Undelivered};
use tracing::subscriber::NoSubscriber;

use crate::{
    BadContexts, Problem, Sampler, Tracer, bad_contexts,
    config::Limits,
    console::Console,
    processor::{Feed, Next},
    resource::service_name,
};

/// Telemetry that runs, until it is shut down.
///
/// Keep it to the end of `main`, and let [`shutdown`](Self::shutdown) be the last call, even when serving has failed: those
/// spans matter most. Where it is dropped instead, the last spans are sent as well, but the thread waits for it, and only the
/// log says what was lost. `std::process::exit` does neither.
#[must_use = "dropping it ends telemetry"]
pub struct Telemetry {
    providers: Providers,
    /// Nothing if telemetry is switched off.
    provider: Option<SdkTracerProvider>,
    propagator: Propagator,
    service_name: String,
    problems: Vec<Problem>,
    shutdown_timeout: Duration,
    is_shutdown: bool,
}

/// What it takes to make a tracer provider.
#[derive(Debug)]
pub(crate) struct Providers {
    pub(crate) sampler: Sampler,
    pub(crate) limits: Limits,
    pub(crate) resource: Resource,
    pub(crate) disabled: bool,
    pub(crate) console: bool,
    pub(crate) pipeline: Option<Pipeline>,
    pub(crate) processor: Option<Arc<dyn SpanProcessor>>,
}

/// Reads and writes the trace headers of `OTEL_PROPAGATORS`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Propagator(Arc<TextMapCompositePropagator>);

/// Spans were lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.1)]
pub struct ShutdownError(Box<(Accounts, Undelivered)>);

impl ShutdownError {
    /// What became of every span.
    pub fn accounts(&self) -> Accounts {
        self.0.0
    }

    /// How many were lost, at the end or since that was last told, and what the collector or the network last said.
    pub fn undelivered(&self) -> &Undelivered {
        &self.0.1
    }
}

impl Telemetry {
    pub(crate) fn new(
        providers: Providers,
        propagator: Arc<TextMapCompositePropagator>,
        problems: Vec<Problem>,
        shutdown_timeout: Duration,
    ) -> Self {
        Self {
            provider: (!providers.disabled).then(|| providers.make()),
            propagator: Propagator(propagator),
            service_name: service_name(&providers.resource),
            providers,
            problems,
            shutdown_timeout,
            is_shutdown: false,
        }
    }

    /// Makes spans; `name` is that of the crate or module which does, the scope of its spans.
    pub fn tracer(&self, name: &'static str) -> Tracer {
        self.tracer_with_scope(scope(name))
    }

    /// The same with a version and attributes of the scope.
    pub fn tracer_with_scope(&self, scope: InstrumentationScope) -> Tracer {
        let tracer = |provider: &SdkTracerProvider| provider.tracer_with_scope(scope);
        Tracer::new(self.provider.as_ref().map(tracer))
    }

    /// A tracer for the spans of one thread: on several, spans of one provider cost up to twice as much, since all of them
    /// count its references.
    ///
    /// For servers with a runtime on each thread. Its spans go where the others go, and may outlive it.
    pub fn thread_tracer(&self, name: &'static str) -> Tracer {
        let provider = self.provider.as_ref().map(|_| self.providers.make());
        Tracer::new(provider.map(|provider| provider.tracer_with_scope(scope(name))))
    }

    /// Reads and writes trace headers, as [`opentelemetry::global`] does after [`init`](crate::Builder::init).
    pub fn propagator(&self) -> Propagator {
        self.propagator.clone()
    }

    /// Who made the spans.
    pub fn resource(&self) -> &Resource {
        &self.providers.resource
    }

    /// `service.name` of the resource.
    pub fn service_name(&self) -> &str {
        &self.service_name
    }

    /// False with `OTEL_SDK_DISABLED`: then there are no spans.
    pub fn is_enabled(&self) -> bool {
        self.provider.is_some()
    }

    /// What of the environment cannot be used, and what is used instead.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What became of every span so far; all zero if they are not sent by OTLP.
    pub fn accounts(&self) -> Accounts {
        let pipeline = self.providers.pipeline.as_ref();
        pipeline.map(Pipeline::accounts).unwrap_or_default()
    }

    /// Trace headers that were not believed, in all of the process.
    pub fn bad_contexts(&self) -> BadContexts {
        bad_contexts()
    }

    /// How many spans callers wanted sampled and the limit did not allow: see [`Sampler`].
    pub fn limited(&self) -> u64 {
        self.providers.sampler.limited()
    }

    pub(crate) fn provider(&self) -> Option<&SdkTracerProvider> {
        self.provider.as_ref()
    }

    /// Sends the last spans and ends telemetry. Spans that end later are counted, and not sent.
    ///
    /// To be awaited after the server has drained, on whatever runtime: it needs nothing of it. It takes as long as the
    /// [timeout](crate::Builder::shutdown_timeout) at most. Where the future is dropped, the shutdown goes on, unheard.
    ///
    /// # Errors
    /// Spans were not delivered, now or since that was last told.
    pub async fn shutdown(mut self) -> Result<Accounts, ShutdownError> {
        self.is_shutdown = true;
        let result = match &self.providers.pipeline {
            Some(pipeline) => pipeline.shutdown_async(self.shutdown_timeout).await,
            None => Ok(()),
        };
        self.ended(result)
    }

    /// The same for a program without a runtime: the thread waits.
    ///
    /// # Errors
    /// Spans were not delivered, now or since that was last told.
    pub fn shutdown_blocking(mut self) -> Result<Accounts, ShutdownError> {
        self.is_shutdown = true;
        self.stop()
    }

    fn stop(&self) -> Result<Accounts, ShutdownError> {
        let result = match &self.providers.pipeline {
            Some(pipeline) => pipeline.shutdown(self.shutdown_timeout),
            None => Ok(()),
        };
        self.ended(result)
    }

    fn ended(&self, result: Result<(), FlushError>) -> Result<Accounts, ShutdownError> {
        if let Some(processor) = &self.providers.processor {
            // Whoever wrote it knows where to tell of it.
            let _ = processor.shutdown_with_timeout(self.shutdown_timeout);
        }
        let accounts = self.accounts();
        match result {
            Err(FlushError::Undelivered(lost)) => Err(ShutdownError(Box::new((accounts, lost)))),
            // Nobody else has the pipeline, so that it cannot have been shut down before.
            Ok(()) | Err(_) => Ok(accounts),
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if self.is_shutdown {
            return;
        }
        let waiting = self.accounts().pending;
        match self.stop() {
            Ok(_) if waiting == 0 => {}
            Ok(_) => tracing::warn!(
                spans = waiting,
                "telemetry was dropped without a shutdown, and the thread waited for its last spans"
            ),
            Err(err) => tracing::error!(
                error = err.to_string(),
                "telemetry was dropped without a shutdown"
            ),
        }
    }
}

impl Providers {
    fn make(&self) -> SdkTracerProvider {
        // It reads variables that were read better before, and would complain of them again.
        let builder =
            tracing::subscriber::with_default(NoSubscriber::new(), SdkTracerProvider::builder);
        let builder = builder
            .with_sampler(self.sampler.clone())
            .with_span_limits(self.limits.counts)
            .with_resource(self.resource.clone());
        let feed = Feed {
            value_length: self.limits.value_length,
            console: self.console.then(Console::default),
            next: match (&self.pipeline, &self.processor) {
                (Some(pipeline), _) => Some(Next::Pipeline(pipeline.processor())),
                (None, Some(processor)) => Some(Next::Other(Arc::clone(processor))),
                (None, None) => None,
            },
        };
        if feed.console.is_none() && feed.next.is_none() {
            return builder.build();
        }
        builder.with_span_processor(feed).build()
    }
}

fn scope(name: &'static str) -> InstrumentationScope {
    InstrumentationScope::builder(name)
        .with_schema_url(SCHEMA_URL)
        .build()
}

impl TextMapPropagator for Propagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        self.0.inject_context(cx, injector);
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        self.0.extract_with_context(cx, extractor)
    }

    fn fields(&self) -> FieldIter<'_> {
        self.0.fields()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("service_name", &self.service_name)
            .field("accounts", &self.accounts())
            .finish_non_exhaustive()
    }
}
