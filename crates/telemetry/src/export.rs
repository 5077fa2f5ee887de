//! Starts a pipeline, without what it cannot work with.

use std::fs;

use otlp_pipeline::{Mistake, StartError};

use crate::{
    Problem,
    config::{File, Otlp, Signal},
};

/// What became of the start of a pipeline: it, or what is refused of all that it would have to work with.
pub(crate) type Exporting<P> = Result<P, Problem>;

/// Starts a pipeline, by `start`, as the environment has it. What is refused of it is reported and left out; if that does not
/// help, nothing is exported, and this is reported as well: a service goes on without telemetry.
///
/// # Errors
/// There is no thread for it.
pub(crate) fn start<P>(
    start: impl Fn(otlp_pipeline::Config) -> Result<P, StartError>,
    otlp: &Otlp,
    problems: &mut Vec<Problem>,
) -> Result<Exporting<P>, StartError> {
    let mut config = otlp.pipeline(|path| fs::read(path), problems);
    match start(config.clone()) {
        Err(StartError::Config(refused)) => {
            for mistake in refused.mistakes() {
                leave_out(mistake, &mut config, otlp, problems);
            }
        }
        started => return started.map(Ok),
    }
    match start(config) {
        Err(StartError::Config(refused)) => {
            let mistakes = refused.mistakes().iter().map(|mistake| {
                let (variable, _) = variable(mistake.setting, otlp);
                problem(variable, mistake, no_export(otlp.signal))
            });
            let before = problems.len();
            problems.extend(mistakes);
            let first = problems.get(before).cloned();
            let nothing = || {
                let used = no_export(otlp.signal);
                Problem::secret("OTEL_EXPORTER_OTLP_*", "is refused", used)
            };
            Ok(Err(first.unwrap_or_else(nothing)))
        }
        started => started.map(Ok),
    }
}

fn leave_out(
    mistake: &Mistake,
    config: &mut otlp_pipeline::Config,
    otlp: &Otlp,
    problems: &mut Vec<Problem>,
) {
    let (variable, used) = variable(mistake.setting, otlp);
    match mistake.setting {
        "tls.certificate" if config.tls.certificate.is_some() => config.tls.certificate = None,
        setting if setting.starts_with("tls.identity") => config.tls.identity = None,
        "headers" => {
            // Its name is what the problem begins with.
            let name = mistake.problem.split('`').nth(1).unwrap_or_default();
            let kept = |(header, _): &(String, String)| !header.eq_ignore_ascii_case(name);
            config.headers.retain(kept);
        }
        // A second look tells of it, with what follows from that.
        _ => return,
    }
    problems.push(problem(variable, mistake, used));
}

/// The variable that a setting is from, and what is used instead.
fn variable(setting: &str, otlp: &Otlp) -> (&'static str, &'static str) {
    let of_file = |file: &Option<File>, other| file.as_ref().map_or(other, |file| file.variable);
    match setting {
        "endpoint" => (otlp.endpoint_variable, no_export(otlp.signal)),
        "headers" => (otlp.headers_variable, "the other headers"),
        "tls.certificate" => (
            of_file(&otlp.certificate, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
            "the certificates of the system",
        ),
        "tls.identity.key" => (
            of_file(&otlp.client_key, "OTEL_EXPORTER_OTLP_CLIENT_KEY"),
            "no client certificate",
        ),
        "tls.identity.certificate" => (
            of_file(
                &otlp.client_certificate,
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            ),
            "no client certificate",
        ),
        "timeout" => ("OTEL_EXPORTER_OTLP_TIMEOUT", no_export(otlp.signal)),
        _ => match otlp.signal {
            Signal::Traces => ("OTEL_BSP_*", no_export(otlp.signal)),
            Signal::Logs => ("OTEL_BLRP_*", no_export(otlp.signal)),
        },
    }
}

fn no_export(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "no export of spans",
        Signal::Logs => "no export of log records",
    }
}

/// What the pipeline says of it has the value, unless that is a secret.
fn problem(variable: &str, mistake: &Mistake, used: &str) -> Problem {
    Problem::secret(variable, mistake.problem.clone(), used)
}
