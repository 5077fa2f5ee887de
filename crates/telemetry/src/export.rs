//! Starts the pipeline, without what it cannot work with.

use std::fs;

use otlp_pipeline::{Mistake, Pipeline, StartError};

use crate::{
    Problem,
    config::{File, Otlp},
};

/// Starts a pipeline as the environment has it. What is refused of it is reported and left out; if that does not help,
/// spans are not exported, and this is reported as well: a service goes on without telemetry.
///
/// # Errors
/// There is no thread for it.
pub(crate) fn start(
    otlp: &Otlp,
    problems: &mut Vec<Problem>,
) -> Result<Option<Pipeline>, StartError> {
    let mut config = otlp.pipeline(|path| fs::read(path), problems);
    match Pipeline::start(config.clone()) {
        Err(StartError::Config(refused)) => {
            for mistake in refused.mistakes() {
                leave_out(mistake, &mut config, otlp, problems);
            }
        }
        started => return started.map(Some),
    }
    match Pipeline::start(config) {
        Err(StartError::Config(refused)) => {
            for mistake in refused.mistakes() {
                let (variable, _) = variable(mistake.setting, otlp);
                problems.push(problem(variable, mistake, "no export of spans"));
            }
            Ok(None)
        }
        started => started.map(Some),
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
        "endpoint" => (otlp.endpoint_variable, "no export of spans"),
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
        "timeout" => ("OTEL_EXPORTER_OTLP_TIMEOUT", "no export of spans"),
        _ => ("OTEL_BSP_*", "no export of spans"),
    }
}

/// What the pipeline says of it has the value, unless that is a secret.
fn problem(variable: &str, mistake: &Mistake, used: &str) -> Problem {
    Problem::secret(variable, mistake.problem.clone(), used)
}
