use std::{io, path::Path, time::Duration};

use super::{Otlp, Signal};
use crate::config::variables::{Problem, Variables};

/// The pipeline's configuration, where `/pem` is a file with a certificate and `/text` one without.
fn pipeline(variables: &[(&str, &str)]) -> (otlp_pipeline::Config, Vec<String>) {
    let lookup = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let mut env = Variables::new(&lookup);
    let otlp = Otlp::parse(&mut env, Signal::Traces);
    assert_eq!(env.problems, []);
    let mut problems: Vec<Problem> = Vec::new();
    let read = |path: &Path| match path.to_str() {
        Some("/pem") => Ok(b"# ours\n-----BEGIN CERTIFICATE-----\n".to_vec()),
        Some("/text") => Ok(b"ours".to_vec()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let config = otlp.pipeline(read, &mut problems);
    (config, problems.iter().map(ToString::to_string).collect())
}

#[test]
fn the_pipeline_is_told_what_the_variables_say() {
    let (config, problems) = pipeline(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20a%3Db"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "2"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "3"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "5"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/pem"),
    ]);
    assert!(problems.is_empty(), "{problems:?}");
    let authorization = ("authorization".to_owned(), "Bearer a=b".to_owned());
    assert_eq!(config.headers, [authorization]);
    assert_eq!(config.timeout, Duration::from_millis(1));
    assert_eq!(config.schedule_delay, Duration::from_millis(2));
    assert_eq!(config.retry.give_up_after, Duration::from_millis(3));
    assert_eq!(config.max_batch_size, Some(4));
    assert_eq!(config.max_queue_size, Some(5));
    assert!(config.tls.certificate.is_some() && config.tls.identity.is_some());
}

#[test]
fn files_that_cannot_be_used_are_reported_by_the_variable_that_names_them() {
    let certificate = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE";
    let (config, problems) = pipeline(&[(certificate, "/none")]);
    assert!(config.tls.certificate.is_none());
    let told = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: `/none` cannot be read: entity not found; \
                using the certificates of the system";
    assert_eq!(problems, [told]);

    let (_, problems) = pipeline(&[(certificate, "/text")]);
    let told = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: `/text` has no PEM in it; \
                using the certificates of the system";
    assert_eq!(problems, [told]);

    let key = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
    let (config, problems) = pipeline(&[(key, "/pem")]);
    assert!(config.tls.identity.is_none());
    let told = "OTEL_EXPORTER_OTLP_CLIENT_KEY: `/pem` is there without the other of certificate and key; \
                using no client certificate";
    assert_eq!(problems, [told]);

    let certificate = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
    let (config, problems) = pipeline(&[(key, "/pem"), (certificate, "/none")]);
    assert!(config.tls.identity.is_none());
    let told = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: `/none` cannot be read: entity not found; \
                using no client certificate";
    assert_eq!(problems, [told]);
}
