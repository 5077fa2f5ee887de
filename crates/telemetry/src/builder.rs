//! What is asked for in code, and how telemetry starts.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::trace::SpanProcessor;
use otlp_pipeline::{Pipeline, StartError};

use crate::{
    Config, Logs, Telemetry, export,
    guard::Providers,
    logs,
    resource::{Service, resource},
};

/// Whether this process has its telemetry.
static INITIALIZED: AtomicBool = AtomicBool::new(false);

/// How long the last spans get to leave, unless code says otherwise: as long as with the SDK.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Telemetry that is about to start. What is asked for here counts before what the environment says.
///
/// ```
/// # fn main() -> Result<(), telemetry::InitError> {
/// use std::time::Duration;
///
/// let telemetry = telemetry::builder(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
///     .shutdown_timeout(Duration::from_secs(2))
///     .init()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing has started yet"]
pub struct Builder {
    service: Service,
    config: Option<Config>,
    logs: Option<Logs>,
    bridge: bool,
    processor: Option<Box<dyn SpanProcessor>>,
    shutdown_timeout: Duration,
}

/// Starts with the name and the version of the calling service, where neither `OTEL_SERVICE_NAME` nor
/// `OTEL_RESOURCE_ATTRIBUTES` has others. A version may be empty.
///
/// [`init!`](crate::init!) takes them from the package that calls it.
pub fn builder(service_name: impl Into<String>, service_version: impl Into<String>) -> Builder {
    Builder {
        service: Service {
            name: service_name.into(),
            version: service_version.into(),
            attributes: Vec::new(),
            command_args: false,
        },
        config: None,
        logs: None,
        bridge: false,
        processor: None,
        shutdown_timeout: SHUTDOWN,
    }
}

/// Why telemetry did not start. Nothing that the environment says is a reason, nor a collector that is down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// It has, and there is one for each process: [`Builder::build`] makes others.
    #[error("telemetry is initialized already, which can be done once in a process")]
    Twice,
    /// There is no thread for the exporter.
    #[error("starting the export of telemetry")]
    Export(#[source] StartError),
}

impl Builder {
    /// Instead of the environment of the process.
    pub fn config(self, config: Config) -> Self {
        Self {
            config: Some(config),
            ..self
        }
    }

    /// Something else to know of the service, e.g. `deployment.environment.name`.
    pub fn attribute(mut self, attribute: KeyValue) -> Self {
        self.service.attributes.push(attribute);
        self
    }

    /// Has `process.command_args` in the resource: the whole command line, whatever secrets are in it.
    pub fn command_args(mut self) -> Self {
        self.service.command_args = true;
        self
    }

    /// Instead of what `TELEMETRY_LOGS` says.
    pub fn logs(self, logs: Logs) -> Self {
        Self {
            logs: Some(logs),
            ..self
        }
    }

    /// Makes spans of those of `tracing`, too. They cost about three times as much as those of a [`Tracer`](crate::Tracer).
    ///
    /// Only with [`init`](Self::init), and only from level `info`. What speaks of telemetry or of the connections
    /// that it goes through makes no spans.
    pub fn bridge(self) -> Self {
        Self {
            bridge: true,
            ..self
        }
    }

    /// Hands spans to this, whatever `OTEL_TRACES_EXPORTER` says: for tests, and for backends that do not speak OTLP.
    ///
    /// It is flushed, and shut down after the last span, where this may block; if it then says that it failed, so does the
    /// shutdown.
    pub fn processor(self, processor: impl SpanProcessor + 'static) -> Self {
        Self {
            processor: Some(Box::new(processor)),
            ..self
        }
    }

    /// How long the last spans get to leave at the end. Default 5 s.
    pub fn shutdown_timeout(self, timeout: Duration) -> Self {
        Self {
            shutdown_timeout: timeout,
            ..self
        }
    }

    /// Starts the telemetry of the process: tracer provider and propagator for
    /// [`opentelemetry::global`], and logs. To be kept until the end of `main`.
    ///
    /// Needs no runtime, and works inside of one. Where the process has a subscriber of `tracing` already, that one goes
    /// on, and a warning in it says so.
    ///
    /// # Errors
    /// It was called before, or there is no thread for the exporter. The state of the environment and of the collector
    /// is no error: see [`Telemetry::problems`].
    pub fn init(mut self) -> Result<Telemetry, InitError> {
        if INITIALIZED.swap(true, Ordering::SeqCst) {
            return Err(InitError::Twice);
        }
        let config = self.config.take().unwrap_or_else(Config::from_env);
        let logging = config.logging.clone();
        let format = self.logs.or(logging.format);
        let format = format.unwrap_or_else(logs::default_format);
        let bridge = self.bridge;
        let telemetry = self.config(config).build();
        let telemetry = telemetry.and_then(|mut telemetry| {
            telemetry.export_logs(&logging)?;
            Ok(telemetry)
        });
        let telemetry = telemetry.inspect_err(|_| {
            INITIALIZED.store(false, Ordering::SeqCst);
        })?;

        let bridge = bridge.then(|| telemetry.tracer("tracing"));
        let otlp = telemetry.log_layer(&logging);
        let installed = logs::install(&logging, format, telemetry.service_name(), bridge, otlp);
        if let Some(provider) = telemetry.provider() {
            global::set_tracer_provider(provider.clone());
        }
        global::set_text_map_propagator(telemetry.propagator());
        if let Err(cause) = installed {
            tracing::warn!(
                cause,
                "the process has logs of its own, which go on as they did"
            );
        }
        for problem in telemetry.problems() {
            tracing::warn!("{problem}");
        }
        Ok(telemetry)
    }

    /// The same without anything global: for tests, and for several in a process. Logs are as they were.
    ///
    /// # Errors
    /// There is no thread for the exporter.
    pub fn build(self) -> Result<Telemetry, InitError> {
        let config = self.config.unwrap_or_else(Config::from_env);
        let mut problems = config.problems.clone();
        let resource = resource(&self.service, &config);
        let (mut pipeline, mut not_exported) = (None, None);
        if config.exporters.otlp && !config.disabled && self.processor.is_none() {
            match export::start(Pipeline::start, &config.otlp, &mut problems)
                .map_err(InitError::Export)?
            {
                Ok(started) => pipeline = Some(started),
                Err(why) => not_exported = Some(why),
            }
        }
        let processor = self
            .processor
            .filter(|_| !config.disabled)
            .map(|mut processor| {
                processor.set_resource(&resource);
                Arc::from(processor)
            });
        let providers = Providers {
            sampler: config.sampler(),
            limits: config.limits,
            console: config.exporters.console && processor.is_none(),
            disabled: config.disabled,
            resource,
            pipeline,
            not_exported,
            processor,
        };
        let propagator = Arc::new(config.propagator());
        Ok(Telemetry::new(
            providers,
            propagator,
            problems,
            self.shutdown_timeout,
        ))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("service", &self.service)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
