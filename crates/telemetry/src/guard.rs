//! The guard: what a service holds on to as long as it runs, and shuts down at its end.

use std::{fmt, sync::Arc, thread, time::Duration};

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
use otlp_pipeline::{Accounts, FlushError, LogPipeline, Pipeline, Undelivered};
use tracing::subscriber::NoSubscriber;

use crate::{
    BadContexts, InitError, Problem, Sampler, Tracer, bad_contexts,
    config::{Limits, Logging},
    console::Console,
    export, logs,
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
    /// Nothing unless log records are sent by OTLP.
    logs: Option<LogPipeline>,
    /// Why there is no pipeline for log records although they should be sent.
    logs_not_exported: Option<Problem>,
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
    /// Why there is no pipeline, though there should be one.
    pub(crate) not_exported: Option<Problem>,
    pub(crate) processor: Option<Arc<dyn SpanProcessor>>,
}

/// Reads and writes the trace headers of `OTEL_PROPAGATORS`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Propagator(Arc<TextMapCompositePropagator>);

/// What became of all spans and log records; all zero for what was not sent by OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// What became of every span.
    pub spans: Accounts,
    /// What became of every log record. One begins and ends when it is logged.
    pub logs: Accounts,
}

/// Reads what became of spans and log records for as long as anybody likes, also once [`Telemetry`] is gone: what ends after the
/// shutdown is counted as late, and this is who tells.
#[derive(Clone, Debug)]
pub struct Ledger {
    spans: Option<Pipeline>,
    logs: Option<LogPipeline>,
}

impl Ledger {
    /// What became of every span and log record so far.
    pub fn outcome(&self) -> Outcome {
        let (spans, logs) = (self.spans.as_ref(), self.logs.as_ref());
        Outcome {
            spans: spans.map(Pipeline::accounts).unwrap_or_default(),
            logs: logs.map(LogPipeline::accounts).unwrap_or_default(),
        }
    }
}

/// Not all spans or log records are where they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownError(Box<Failed>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    outcome: Outcome,
    spans: Option<Why>,
    logs: Option<Why>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Undelivered(Undelivered),
    #[error("nothing was exported: {0}")]
    NotExported(Problem),
    #[error("the processor of spans failed: {0}")]
    Processor(String),
}

impl Why {
    fn undelivered(&self) -> Option<&Undelivered> {
        match self {
            Why::Undelivered(undelivered) => Some(undelivered),
            Why::NotExported(_) | Why::Processor(_) => None,
        }
    }
}

impl ShutdownError {
    /// What became of every span and log record.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// How many spans were lost, at the end or since that was last told, and what the collector or the network last said.
    /// Nothing if only log records were, if export never started, or if it is a [processor](crate::Builder::processor) that
    /// failed.
    pub fn undelivered(&self) -> Option<&Undelivered> {
        self.0.spans.as_ref()?.undelivered()
    }

    /// The same of log records.
    pub fn undelivered_logs(&self) -> Option<&Undelivered> {
        self.0.logs.as_ref()?.undelivered()
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.spans, &self.0.logs) {
            (Some(spans), Some(logs)) => write!(f, "{spans}; {logs}"),
            (Some(lost), None) | (None, Some(lost)) => lost.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for ShutdownError {}

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
            logs: None,
            logs_not_exported: None,
            providers,
            problems,
            shutdown_timeout,
            is_shutdown: false,
        }
    }

    /// Starts the export of log records, if it is asked for.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn export_logs(&mut self, logging: &Logging) -> Result<(), InitError> {
        if logging.exporters.otlp && !self.providers.disabled {
            let started = export::start(LogPipeline::start, &logging.otlp, &mut self.problems);
            match started.map_err(InitError::Export)? {
                Ok(pipeline) => self.logs = Some(pipeline),
                Err(why) => self.logs_not_exported = Some(why),
            }
        }
        Ok(())
    }

    /// What hands log records to their export.
    pub(crate) fn log_layer(&self, logging: &Logging) -> Option<logs::Otlp> {
        let layer = |pipeline| logs::Otlp::new(pipeline, self.resource(), logging.limits);
        self.logs.as_ref().map(layer)
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
        self.ledger().outcome().spans
    }

    /// What became of every log record so far; all zero if they are not sent by OTLP.
    pub fn log_accounts(&self) -> Accounts {
        self.ledger().outcome().logs
    }

    /// What tells of both, and goes on to after the shutdown.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            spans: self.providers.pipeline.clone(),
            logs: self.logs.clone(),
        }
    }

    /// Trace headers that were not believed, in all of the process.
    pub fn bad_contexts(&self) -> BadContexts {
        bad_contexts()
    }

    /// How many spans callers wanted sampled and the limit did not allow: see [`Sampler`].
    pub fn limited(&self) -> u64 {
        self.providers.sampler.limited()
    }

    pub(crate) fn pipeline(&self) -> Option<&Pipeline> {
        self.providers.pipeline.as_ref()
    }

    pub(crate) fn sampler(&self) -> &Sampler {
        &self.providers.sampler
    }

    pub(crate) fn provider(&self) -> Option<&SdkTracerProvider> {
        self.provider.as_ref()
    }

    /// Sends all spans that have ended and all log records, and waits for it as long as the
    /// [timeout](crate::Builder::shutdown_timeout) at most, on whatever runtime.
    ///
    /// # Errors
    /// Some were not delivered in time, or were lost since that was last told.
    pub async fn flush(&self) -> Result<Outcome, ShutdownError> {
        let timeout = self.shutdown_timeout;
        let pipeline = self.providers.pipeline.as_ref();
        let spans = pipeline.map(|pipeline| pipeline.flush_async(timeout));
        let logs = self.logs.as_ref().map(|logs| logs.flush_async(timeout));
        // Both have begun.
        let spans = waited(spans).await;
        self.told(spans, waited(logs).await, None)
    }

    /// Sends the last spans and log records, and ends telemetry. What comes later is not sent, and counted in the
    /// [`ledger`](Self::ledger).
    ///
    /// To be awaited after the server has drained, on whatever runtime: it needs nothing of it. It takes as long as the
    /// [timeout](crate::Builder::shutdown_timeout) at most. Where the future is dropped, the shutdown goes on, unheard.
    ///
    /// # Errors
    /// Spans or log records were not delivered, now or since that was last told, or export could not start, or the
    /// [processor](crate::Builder::processor) says that it failed.
    pub async fn shutdown(mut self) -> Result<Outcome, ShutdownError> {
        self.is_shutdown = true;
        let timeout = self.shutdown_timeout;
        let pipeline = self.providers.pipeline.as_ref();
        let spans = pipeline.map(|pipeline| pipeline.shutdown_async(timeout));
        let logs = self.logs.as_ref().map(|logs| logs.shutdown_async(timeout));
        // Both have begun.
        let spans = waited(spans).await;
        let logs = waited(logs).await;
        self.ended(spans, logs)
    }

    /// The same for a program without a runtime: the thread waits.
    ///
    /// # Errors
    /// Spans or log records were not delivered, now or since that was last told, or export could not start, or the
    /// [processor](crate::Builder::processor) says that it failed.
    pub fn shutdown_blocking(mut self) -> Result<Outcome, ShutdownError> {
        self.is_shutdown = true;
        self.stop()
    }

    fn stop(&self) -> Result<Outcome, ShutdownError> {
        let timeout = self.shutdown_timeout;
        let spans = || match &self.providers.pipeline {
            Some(pipeline) => pipeline.shutdown(timeout),
            None => Ok(()),
        };
        let Some(logs) = &self.logs else {
            return self.ended(spans(), Ok(()));
        };
        let logs = || logs.shutdown(timeout);
        // At the same time, since each may need all of it.
        let (spans, logs) = thread::scope(|scope| {
            match thread::Builder::new().spawn_scoped(scope, spans) {
                Ok(waiting) => {
                    let logs = logs();
                    let spans = waiting.join();
                    (spans.unwrap_or(Err(FlushError::AlreadyShutdown)), logs)
                }
                // There is no thread to be had.
                Err(_) => (spans(), logs()),
            }
        });
        self.ended(spans, logs)
    }

    fn ended(
        &self,
        spans: Result<(), FlushError>,
        logs: Result<(), FlushError>,
    ) -> Result<Outcome, ShutdownError> {
        let processor = self.providers.processor.as_ref();
        let processor =
            processor.map(|processor| processor.shutdown_with_timeout(self.shutdown_timeout));
        let failed = match processor {
            Some(Err(err)) => Some(Why::Processor(err.to_string())),
            None | Some(Ok(())) => None,
        };
        self.told(spans, logs, failed)
    }

    fn told(
        &self,
        spans: Result<(), FlushError>,
        logs: Result<(), FlushError>,
        processor: Option<Why>,
    ) -> Result<Outcome, ShutdownError> {
        let outcome = self.ledger().outcome();
        let why = |result, not_exported: &Option<Problem>| match (result, not_exported) {
            (Err(FlushError::Undelivered(lost)), _) => Some(Why::Undelivered(lost)),
            (_, Some(problem)) => Some(Why::NotExported(problem.clone())),
            // Nobody else has the pipelines, so that they cannot have been shut down before.
            (Ok(()) | Err(_), None) => None,
        };
        let spans = why(spans, &self.providers.not_exported).or(processor);
        match (spans, why(logs, &self.logs_not_exported)) {
            (None, None) => Ok(outcome),
            (spans, logs) => Err(ShutdownError(Box::new(Failed {
                outcome,
                spans,
                logs,
            }))),
        }
    }
}

/// What it comes to where there is something to wait for.
async fn waited(
    pending: Option<impl Future<Output = Result<(), FlushError>>>,
) -> Result<(), FlushError> {
    match pending {
        Some(pending) => pending.await,
        None => Ok(()),
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if self.is_shutdown {
            return;
        }
        let (spans, logs) = (self.accounts().pending, self.log_accounts().pending);
        match self.stop() {
            Ok(_) if spans + logs == 0 => {}
            Ok(_) => tracing::warn!(
                spans,
                log_records = logs,
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
