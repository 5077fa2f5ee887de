//! Realistic requests as traces and logs, and the queries that find them.

mod api;
mod chance;
mod database;
mod options;
mod queries;
mod request;
mod scenario;
mod summary;
mod traffic;

use std::{env, ffi::OsString, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use opentelemetry::KeyValue;
use telemetry::Config;
use tokio::net::TcpListener;

use crate::{
    options::Options,
    queries::RUN,
    summary::{Destination, Summary},
    traffic::Measurements,
};

/// The default of `OTEL_EXPORTER_PROMETHEUS_PORT`,
/// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#prometheus-exporter>.
const METRICS: &str = "127.0.0.1:9464";

/// How long the last spans and log records get to leave. Somebody waits for it, and would rather have them all.
const FLUSH: Duration = Duration::from_secs(10);

/// Plays what the arguments ask for, of which the first is the name of the program. Bad ones end the process with 2.
///
/// 0 if all spans and log records arrived, or the collector does not know log records; 1 if not.
///
/// # Errors
/// It could not begin.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let options = Options::parse_from(arguments);
    let config = Config::parse(|name| env::var(name).ok().or_else(|| preset(name)));
    let destination = Destination::of(&config, env::var("TRACE_URL").ok());
    // Of what an earlier run has left in a store nothing is found by the queries of this one.
    let run = format!("{:08x}", rand::random::<u32>());
    let telemetry = telemetry::builder(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .shutdown_timeout(FLUSH)
        .attribute(KeyValue::new(RUN, run.clone()))
        .config(config)
        .bridge()
        .init()?; // first, so that a bad configuration is logged
    let listener = listen(options.listen.as_deref()).await?;
    let measurements = Measurements::served(listener, &telemetry)?;

    let mut summary = Summary::new(run, options.seed(), options.latency, telemetry.is_enabled());
    traffic::run(&options, &measurements, &mut summary).await?;

    let ended = telemetry.shutdown().await;
    Ok(summary.tell(&destination, ended))
}

/// Where metrics are shown: where it was wished, or else where exporters for Prometheus usually are, or anywhere if that is taken.
async fn listen(wished: Option<&str>) -> anyhow::Result<TcpListener> {
    let address = wished.unwrap_or(METRICS);
    let listener = match TcpListener::bind(address).await {
        Err(_) if wished.is_none() => TcpListener::bind("127.0.0.1:0").await,
        listener => listener,
    };
    listener.with_context(|| format!("listening on {address}"))
}

/// What holds here unless the environment says otherwise: log records beside the spans, soon.
fn preset(name: &str) -> Option<String> {
    let value = match name {
        "OTEL_LOGS_EXPORTER" => "otlp,console",
        "OTEL_BSP_SCHEDULE_DELAY" | "OTEL_BLRP_SCHEDULE_DELAY" => "200",
        _ => return None,
    };
    Some(value.to_owned())
}
