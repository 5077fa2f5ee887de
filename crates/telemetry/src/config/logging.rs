//! `OTEL_LOGS_EXPORTER`, `RUST_LOG`, `OTEL_LOG_LEVEL` and `TELEMETRY_LOGS`: what is logged, where it goes and how it looks.

use std::fmt;

use super::{Exporters, LogLimits, Otlp, exporters, otlp::Signal, variables::Variables};

/// How log records are written to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Logs {
    /// A JSON object in each line.
    Json,
    /// A line for people.
    Text,
    /// Not at all: the program has a `tracing` subscriber of its own, or wants none. With `OTEL_LOGS_EXPORTER=otlp` they are
    /// sent all the same.
    Off,
}

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Logs::Json => "json",
            Logs::Text => "text",
            Logs::Off => "off",
        })
    }
}

/// What the variables say of logs.
#[derive(Clone, Debug)]
pub(crate) struct Logging {
    /// Nothing: lines for people on a terminal, else JSON.
    pub(crate) format: Option<Logs>,
    /// Directives as in `RUST_LOG`.
    pub(crate) filter: String,
    pub(crate) exporters: Exporters,
    pub(crate) otlp: Otlp,
    pub(crate) limits: LogLimits,
}

/// Where the specification says OTLP: what a platform for containers reads is standard output.
const CONSOLE: Exporters = Exporters {
    otlp: false,
    console: true,
};

/// The SDK tells at level `info` what it was told to do.
const DEFAULT: &str = "info,opentelemetry=warn,opentelemetry_sdk=warn";
/// The targets of what telemetry says of itself.
const OURS: [&str; 4] = [
    "opentelemetry",
    "opentelemetry_sdk",
    "otlp_pipeline",
    "telemetry",
];

impl Logging {
    pub(crate) fn parse(env: &mut Variables<'_>) -> Self {
        let expected = "json, text or off";
        let used = "json, or text on a terminal";
        let format = env.first(&["TELEMETRY_LOGS"], expected, used, |value| {
            match value.to_ascii_lowercase().as_str() {
                "json" => Some(Logs::Json),
                "text" => Some(Logs::Text),
                "off" => Some(Logs::Off),
                _ => None,
            }
        });
        let rust_log = env.first(&["RUST_LOG"], "a list of target=level", DEFAULT, directives);
        let level = env.first(&["OTEL_LOG_LEVEL"], LEVELS, "the level of RUST_LOG", level);
        let filter = match (rust_log, level) {
            (None, None) => DEFAULT.to_owned(),
            (Some(rust_log), None) => rust_log,
            (rust_log, Some(level)) => {
                let ours = OURS.map(|target| format!("{target}={level}"));
                // Of two directives for a target the later counts: what RUST_LOG says of it.
                let rest = rust_log.unwrap_or_else(|| "info".to_owned());
                format!("{},{rest}", ours.join(","))
            }
        };
        let exporters = exporters(env, "OTEL_LOGS_EXPORTER", CONSOLE);
        let mut of_logs = env.anew();
        let otlp = Otlp::parse(&mut of_logs, Signal::Logs);
        let limits = LogLimits::parse(&mut of_logs);
        // What is wrong with a variable of all signals is told once, and not at all of those that nothing depends on.
        let known = |name: &str| {
            name.contains("_LOGS_") || name.contains("_BLRP_") || name.contains("_LOGRECORD_")
        };
        for problem in of_logs.problems {
            let told = env
                .problems
                .iter()
                .any(|told| told.variable() == problem.variable());
            if known(problem.variable()) || (exporters.otlp && !told) {
                env.report(problem);
            }
        }
        Self {
            format,
            filter,
            exporters,
            otlp,
            limits,
        }
    }
}

fn directives(value: &str) -> Option<String> {
    let filter = tracing_subscriber::EnvFilter::builder().parse(value);
    filter.is_ok().then(|| value.to_owned())
}

const LEVELS: &str = "none, error, warn, info, debug or trace";

fn level(value: &str) -> Option<&'static str> {
    Some(match value.to_ascii_lowercase().as_str() {
        "none" | "off" => "off",
        "fatal" | "error" => "error",
        "warn" | "warning" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" | "all" => "trace",
        _ => return None,
    })
}
