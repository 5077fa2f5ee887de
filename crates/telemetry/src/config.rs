//! What the environment says about telemetry, read once.
//!
//! The variables are those of the specification,
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>, and read as it says.

mod limits;
mod logging;
mod otlp;
mod sampling;
mod unsupported;
mod variables;

use std::fmt;

use opentelemetry::propagation::TextMapCompositePropagator;
use otlp_pipeline::{Compression, Protocol};

pub(crate) use self::{
    limits::{Limits, LogLimits},
    logging::Logging,
    otlp::{File, Otlp, Signal},
    sampling::{Root, Sampling},
};
pub use self::{logging::Logs, variables::Problem};
use self::{
    otlp::{batch_name, names, without_password},
    variables::Variables,
};
use crate::{Sampler, propagation};

/// What the environment says about telemetry.
///
/// Nothing that it says stops a service: what cannot be used is in [`Config::problems`], and replaced.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) disabled: bool,
    pub(crate) service_name: Option<String>,
    pub(crate) resource_attributes: Vec<(String, String)>,
    pub(crate) propagators: Vec<Format>,
    pub(crate) exporters: Exporters,
    pub(crate) sampling: Sampling,
    pub(crate) otlp: Otlp,
    pub(crate) limits: Limits,
    pub(crate) logging: Logging,
    pub(crate) problems: Vec<Problem>,
}

/// A format of trace headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    TraceContext,
    Baggage,
    Jaeger,
    B3,
    B3Multi,
}

/// Where spans or log records go: to any of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exporters {
    pub(crate) otlp: bool,
    pub(crate) console: bool,
}

/// The default for spans.
const OTLP: Exporters = Exporters {
    otlp: true,
    console: false,
};

impl Config {
    /// Reads variables by their names. An empty value is as if it were unset.
    ///
    /// ```
    /// use telemetry::Config;
    ///
    /// let variables = |name: &str| match name {
    ///     "OTEL_SERVICE_NAME" => Some("shop".to_owned()),
    ///     "OTEL_TRACES_SAMPLER" => Some("parentbased_traceidratio".to_owned()),
    ///     "OTEL_TRACES_SAMPLER_ARG" => Some("7".to_owned()),
    ///     _ => None,
    /// };
    /// let config = Config::parse(variables);
    /// assert_eq!(
    ///     config.problems()[0].to_string(),
    ///     "OTEL_TRACES_SAMPLER_ARG: `7` is not a number from 0 to 1; using 1",
    /// );
    /// ```
    pub fn parse(variables: impl Fn(&str) -> Option<String>) -> Self {
        let mut env = Variables::new(&variables);
        unsupported::report(&mut env);
        Self {
            disabled: env.flag(&["OTEL_SDK_DISABLED"]),
            service_name: env.get("OTEL_SERVICE_NAME"),
            resource_attributes: env.pairs("OTEL_RESOURCE_ATTRIBUTES"),
            propagators: propagators(&mut env),
            exporters: exporters(&mut env, "OTEL_TRACES_EXPORTER", OTLP),
            sampling: Sampling::parse(&mut env),
            otlp: Otlp::parse(&mut env, Signal::Traces),
            limits: Limits::parse(&mut env),
            logging: Logging::parse(&mut env),
            problems: env.problems,
        }
    }

    /// Reads the environment of the process. What is not UTF-8 in a value is replaced by U+FFFD.
    pub fn from_env() -> Self {
        Self::parse(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    /// What cannot be used as it is, and what is used instead.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What `OTEL_TRACES_SAMPLER` and its relatives say.
    pub fn sampler(&self) -> Sampler {
        Sampler::new(self.sampling)
    }

    /// The formats of `OTEL_PROPAGATORS` as one propagator. Of two that disagree the later wins.
    pub fn propagator(&self) -> TextMapCompositePropagator {
        propagation::propagator(&self.propagators)
    }

    /// What is in force, as variables that would say so. What may be secret is left out.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        let mut set =
            |name, value: Option<String>| settings.extend(value.map(|value| (name, value)));
        let list = |pairs: &[(String, String)]| {
            let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
            Some(pairs.collect::<Vec<_>>().join(","))
        };
        set("OTEL_SDK_DISABLED", Some(self.disabled.to_string()));
        set("OTEL_SERVICE_NAME", self.service_name.clone());
        set(
            "OTEL_RESOURCE_ATTRIBUTES",
            list(&self.resource_attributes).filter(|list| !list.is_empty()),
        );
        let formats: Vec<_> = self.propagators.iter().map(Format::to_string).collect();
        let formats = match formats[..] {
            [] => "none".to_owned(),
            _ => formats.join(","),
        };
        set("OTEL_PROPAGATORS", Some(formats));
        set("OTEL_TRACES_EXPORTER", Some(self.exporters.to_string()));
        set("OTEL_TRACES_SAMPLER", Some(self.sampling.to_string()));
        if let Root::Ratio(ratio) = self.sampling.root {
            set("OTEL_TRACES_SAMPLER_ARG", Some(ratio.to_string()));
        }
        let remote = self.sampling.remote_per_second;
        set(
            "TELEMETRY_REMOTE_TRACES_PER_SECOND",
            Some(remote.map_or("none".to_owned(), |limit| limit.to_string())),
        );
        self.otlp.settings(&mut set);
        let counts = self.limits.counts;
        for (name, count) in [
            (
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
                counts.max_attributes_per_span,
            ),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", counts.max_events_per_span),
            ("OTEL_SPAN_LINK_COUNT_LIMIT", counts.max_links_per_span),
            (
                "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
                counts.max_attributes_per_event,
            ),
            (
                "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
                counts.max_attributes_per_link,
            ),
        ] {
            set(name, Some(count.to_string()));
        }
        let length = self.limits.value_length.map(|length| length.to_string());
        set("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", length);
        let logging = &self.logging;
        set("OTEL_LOGS_EXPORTER", Some(logging.exporters.to_string()));
        if logging.exporters.otlp {
            logging.otlp.settings(&mut set);
            let LogLimits {
                attributes,
                value_length,
            } = logging.limits;
            set(
                "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
                Some(attributes.to_string()),
            );
            set(
                "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                value_length.map(|length| length.to_string()),
            );
        }
        set(
            "TELEMETRY_LOGS",
            self.logging.format.map(|logs| logs.to_string()),
        );
        set("RUST_LOG", Some(self.logging.filter.clone()));
        settings
    }
}

impl Otlp {
    fn settings(&self, set: &mut impl FnMut(&'static str, Option<String>)) {
        let milliseconds = |duration: std::time::Duration| Some(duration.as_millis().to_string());
        set(
            names!(self.signal, "ENDPOINT")[0],
            Some(without_password(&self.endpoint)),
        );
        set(
            names!(self.signal, "PROTOCOL")[0],
            Some(match self.protocol {
                Protocol::Grpc => "grpc".to_owned(),
                _ => "http/protobuf".to_owned(),
            }),
        );
        let names: Vec<_> = self
            .headers
            .iter()
            .map(|(name, _)| format!("{name}=..."))
            .collect();
        set(
            names!(self.signal, "HEADERS")[0],
            (!names.is_empty()).then(|| names.join(",")),
        );
        set(
            names!(self.signal, "TIMEOUT")[0],
            milliseconds(self.timeout),
        );
        set(
            names!(self.signal, "COMPRESSION")[0],
            Some(match self.compression {
                Compression::None => "none".to_owned(),
                _ => "gzip".to_owned(),
            }),
        );
        for (name, file) in [
            (names!(self.signal, "CERTIFICATE")[0], &self.certificate),
            (
                names!(self.signal, "CLIENT_CERTIFICATE")[0],
                &self.client_certificate,
            ),
            (names!(self.signal, "CLIENT_KEY")[0], &self.client_key),
        ] {
            let path = file
                .as_ref()
                .map(|file| file.path.to_string_lossy().into_owned());
            set(name, path);
        }
        let count = |count: Option<usize>| count.map(|count| count.to_string());
        set(
            batch_name!(self.signal, "MAX_QUEUE_SIZE"),
            count(self.max_queue_size),
        );
        set(
            batch_name!(self.signal, "MAX_EXPORT_BATCH_SIZE"),
            count(self.max_batch_size),
        );
        set(
            batch_name!(self.signal, "SCHEDULE_DELAY"),
            milliseconds(self.schedule_delay),
        );
        set(
            batch_name!(self.signal, "EXPORT_TIMEOUT"),
            milliseconds(self.give_up_after),
        );
    }
}

fn propagators(env: &mut Variables<'_>) -> Vec<Format> {
    let default = vec![Format::TraceContext, Format::Baggage];
    let known = |name: &str| match name {
        "tracecontext" => Some(Some(Format::TraceContext)),
        "baggage" => Some(Some(Format::Baggage)),
        "jaeger" => Some(Some(Format::Jaeger)),
        "b3" => Some(Some(Format::B3)),
        "b3multi" => Some(Some(Format::B3Multi)),
        "none" => Some(None),
        _ => None,
    };
    let expected = "is not tracecontext, baggage, jaeger, b3, b3multi or none";
    match names(
        env,
        "OTEL_PROPAGATORS",
        known,
        expected,
        "tracecontext,baggage",
    ) {
        Some(formats) => formats,
        None => default,
    }
}

fn exporters(env: &mut Variables<'_>, variable: &'static str, default: Exporters) -> Exporters {
    let known = |name: &str| match name {
        "otlp" => Some(Some(true)),
        "console" => Some(Some(false)),
        "none" => Some(None),
        _ => None,
    };
    let expected = "is not otlp, console or none";
    match names(env, variable, known, expected, &default.to_string()) {
        Some(exporters) => Exporters {
            otlp: exporters.contains(&true),
            console: exporters.contains(&false),
        },
        None => default,
    }
}

/// Reads a list of names, each at most once, in which `none` stands alone. Of a list without a good name nothing is left,
/// and the default is used.
fn names<T: PartialEq>(
    env: &mut Variables<'_>,
    variable: &'static str,
    known: impl Fn(&str) -> Option<Option<T>>,
    expected: &str,
    default: &str,
) -> Option<Vec<T>> {
    let list = env.get(variable)?;
    let mut values = Vec::new();
    let mut none = false;
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for name in list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        match known(&name.to_ascii_lowercase()) {
            Some(Some(value)) if values.contains(&value) => {}
            Some(Some(value)) => {
                values.push(value);
                good.push(name);
            }
            Some(None) => none = true,
            None => bad.push(name),
        }
    }
    let used = match good[..] {
        [] if none => "none".to_owned(),
        [] => default.to_owned(),
        _ => good.join(","),
    };
    if none && !values.is_empty() {
        let wrong = "stands beside others";
        env.report(Problem::new(variable, "none", wrong, &used));
    }
    for name in bad {
        env.report(Problem::new(variable, name, expected, &used));
    }
    (none || !values.is_empty()).then_some(values)
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::TraceContext => "tracecontext",
            Format::Baggage => "baggage",
            Format::Jaeger => "jaeger",
            Format::B3 => "b3",
            Format::B3Multi => "b3multi",
        })
    }
}

impl fmt::Display for Exporters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.otlp, self.console) {
            (true, true) => "otlp,console",
            (true, false) => "otlp",
            (false, true) => "console",
            (false, false) => "none",
        })
    }
}
