//! Sets a subject up in the process that is measured.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::Context as _;
use fastrace_opentelemetry::OpenTelemetryReporter;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, InstrumentationScope, global};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData,
    SpanProcessor,
};
use opentelemetry_sdk::{Resource, trace::TracerProviderBuilder};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::subject::Subject;

/// The name of every tracer here.
pub(crate) const SCOPE: &str = "bench";

/// How long the last spans of a process may take to be exported.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// What a process under measurement is told about its pipeline.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    pub(crate) subject: Subject,
    /// The collector.
    pub(crate) endpoint: String,
    /// How many spans the stock processor may keep; its own default is 2048.
    #[arg(long)]
    pub(crate) queue: Option<usize>,
}

/// What the pipeline itself says about its spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accounts {
    pub(crate) ended: u64,
    pub(crate) exported: u64,
    pub(crate) dropped: u64,
    pub(crate) pending: u64,
}

impl std::ops::Add for Accounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            ended: self.ended + other.ended,
            exported: self.exported + other.exported,
            dropped: self.dropped + other.dropped,
            pending: self.pending + other.pending,
        }
    }
}

/// What exports the spans of this process.
pub(crate) struct Pipeline {
    options: Options,
    providers: Vec<SdkTracerProvider>,
    ours: Option<otlp_pipeline::Pipeline>,
}

impl Pipeline {
    /// Installs the subject for the whole process. What the stock exporter spawns runs on the current runtime.
    pub(crate) fn install(options: Options) -> anyhow::Result<Self> {
        let mut pipeline = Self {
            options,
            providers: Vec::new(),
            ours: None,
        };
        if pipeline.options.subject == Subject::Ours {
            let mut config = otlp_pipeline::Config::default();
            config.endpoint.clone_from(&pipeline.options.endpoint);
            pipeline.ours = Some(otlp_pipeline::Pipeline::start(config)?);
        }
        match pipeline.options.subject {
            Subject::None | Subject::NoOp => {}
            Subject::Drop | Subject::Stock | Subject::Ours => {
                global::set_tracer_provider(pipeline.provider()?);
            }
            Subject::TracingOpentelemetry => {
                let tracer = pipeline.provider()?.tracer(SCOPE);
                tracing_subscriber::registry()
                    // The exporter's own libraries trace what they do, at lower levels.
                    .with(LevelFilter::INFO)
                    .with(tracing_opentelemetry::layer().with_tracer(tracer))
                    .init();
            }
            Subject::Fastrace => {
                let scope = InstrumentationScope::builder(SCOPE).build();
                let resource = Cow::Owned(resource());
                let reporter = OpenTelemetryReporter::new(pipeline.exporter()?, resource, scope);
                fastrace::set_reporter(reporter, fastrace::collector::Config::default());
            }
        }
        global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(pipeline)
    }

    fn provider(&mut self) -> anyhow::Result<SdkTracerProvider> {
        let builder = SdkTracerProvider::builder().with_resource(resource());
        let provider = self.processor(builder)?.build();
        self.providers.push(provider.clone());
        Ok(provider)
    }

    /// So many providers that feed the pipeline: threads that share one contend for its reference count.
    pub(crate) fn providers(&mut self, count: usize) -> anyhow::Result<Vec<SdkTracerProvider>> {
        while !self.providers.is_empty() && self.providers.len() < count {
            self.provider()?;
        }
        Ok(self.providers.iter().take(count).cloned().collect())
    }

    fn processor(&self, builder: TracerProviderBuilder) -> anyhow::Result<TracerProviderBuilder> {
        Ok(match self.options.subject {
            Subject::None | Subject::NoOp | Subject::Fastrace => builder,
            Subject::Drop => builder.with_span_processor(Dropping),
            Subject::Stock | Subject::TracingOpentelemetry => {
                let mut config = BatchConfigBuilder::default();
                if let Some(queue) = self.options.queue {
                    config = config.with_max_queue_size(queue);
                }
                builder.with_span_processor(
                    BatchSpanProcessor::builder(self.exporter()?)
                        .with_batch_config(config.build())
                        .build(),
                )
            }
            Subject::Ours => builder.with_span_processor(self.ours_processor()?),
        })
    }

    /// The tracer of the first provider, if there is one.
    pub(crate) fn tracer(&self) -> Option<SdkTracer> {
        Some(self.providers.first()?.tracer(SCOPE))
    }

    /// A processor that belongs to no provider yet.
    pub(crate) fn ours_processor(&self) -> anyhow::Result<otlp_pipeline::Processor> {
        let ours = self.ours.as_ref().context("another subject")?;
        Ok(ours.processor())
    }

    fn exporter(&self) -> anyhow::Result<SpanExporter> {
        let exporter = SpanExporter::builder().with_tonic();
        Ok(exporter.with_endpoint(&self.options.endpoint).build()?)
    }

    /// Exports what has ended so far, and says whether the pipeline believes that it did.
    pub(crate) fn flush(&self) -> OTelSdkResult {
        if self.options.subject == Subject::Fastrace {
            fastrace::flush();
        }
        self.providers
            .iter()
            .try_for_each(SdkTracerProvider::force_flush)
    }

    /// What the pipeline says itself, if it does.
    pub(crate) fn accounts(&self) -> Option<Accounts> {
        let accounts = self.ours.as_ref()?.accounts();
        Some(Accounts {
            ended: accounts.ended,
            exported: accounts.exported,
            dropped: accounts.dropped.total(),
            pending: accounts.pending,
        })
    }

    /// Exports the rest and ends.
    pub(crate) fn shutdown(&self) -> OTelSdkResult {
        if let Some(ours) = &self.ours {
            return Ok(ours.shutdown(SHUTDOWN)?);
        }
        if self.options.subject == Subject::Fastrace {
            fastrace::flush();
        }
        self.providers
            .iter()
            .try_for_each(|provider| provider.shutdown_with_timeout(SHUTDOWN))
    }
}

/// What a service usually says about itself.
pub(crate) fn resource() -> Resource {
    Resource::builder().with_service_name(SCOPE).build()
}

/// Drops spans as soon as they end.
#[derive(Debug)]
struct Dropping;

impl SpanProcessor for Dropping {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        drop(std::hint::black_box(span));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
