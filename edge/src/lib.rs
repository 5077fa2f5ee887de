//! A small reverse proxy that routes by `Host` and traces as Traefik does, for runs without Traefik.
//!
//! `run` is the process, `serve` the service in it. It terminates no TLS, balances no load and caches nothing.

mod access_log;
mod body;
mod config;
mod connect;
mod exchange;
mod forward;
mod guard;
mod healthcheck;
mod listen;
mod measured;
mod page;
mod proxy;
mod route;
mod server;
mod span_url;
mod spans;
mod worker;

use std::env;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use telemetry::Telemetry;
use telemetry::metrics::{self, Metrics};
use telemetry::stop::Stop;
use tokio::task::JoinSet;

pub use crate::access_log::AccessLog;
pub use crate::config::{Config, ConfigError};
pub use crate::route::Routes;
pub use crate::server::{Limits, Service, serve};

use crate::config::process_env;

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// Writes a line to stderr in one write; that it may be closed is no reason to stop.
macro_rules! say {
    ($($arg:tt)*) => {
        $crate::write_line(&mut std::io::stderr(), &format!($($arg)*))
    };
}
use say;

/// Runs the edge as this process, configured by its environment, until SIGTERM or SIGINT.
///
/// With `healthcheck` as the last argument, asks an edge that runs with the same environment how it is.
/// Exit status: 0 stopped or healthy, 1 failed or ill, 2 bad environment.
pub async fn run() -> ExitCode {
    if env::args_os()
        .next_back()
        .is_some_and(|last| last == "healthcheck")
    {
        return healthcheck::run().await;
    }
    let config = match Config::parse(process_env) {
        Ok(config) => config,
        Err(err) => {
            say!("bad environment: {err}");
            return ExitCode::from(2);
        }
    };
    match run_with(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) if err.is::<ConfigError>() => {
            say!("bad environment: {err}");
            ExitCode::from(2)
        }
        Err(err) => {
            say!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_with(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::builder(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .config(config.telemetry)
        .shutdown_timeout(FLUSH)
        .init()?;
    config::accepted(telemetry.problems())?;
    let stop = Stop::on_signals(config.shutdown_delay)?;
    let bound = listen::bind(&config.listen)
        .await
        .context("binding LISTEN_ADDR")?;
    let metrics = Metrics::new();
    let scraped = match config.metrics {
        Some(addr) => Some(scraped(addr, &metrics, &telemetry).await?),
        None => None,
    };
    for notice in &bound.notices {
        say!("{notice}");
    }
    for listener in &bound.listeners {
        let addr = listener.local_addr()?;
        write_line(&mut io::stdout(), &format!("listening on {addr}"));
    }
    let service = Service {
        routes: config.routes,
        propagator: telemetry.propagator(),
        tracer: telemetry.tracer(env!("CARGO_PKG_NAME")),
        log: AccessLog::stdout(telemetry.service_name()),
        metrics: metrics.clone(),
        limits: Limits::default(),
        readiness: stop.readiness(),
    };
    let served = serve(bound.listeners, service, stop.draining()).await;
    drop(scraped);
    if let Err(err) = telemetry.shutdown().await {
        say!("flushing the last spans: {err:#}");
    }
    served.context("starting to serve")
}

/// Shows at `/metrics` what is measured, until the tasks are dropped.
async fn scraped(
    addr: SocketAddr,
    requests: &Metrics,
    telemetry: &Telemetry,
) -> anyhow::Result<JoinSet<()>> {
    let mut bound = listen::bind(&[addr])
        .await
        .context("binding METRICS_ADDR")?;
    for notice in &bound.notices {
        say!("{notice}");
    }
    let mut registry = Registry::default();
    requests.register(&mut registry);
    metrics::register_target(&mut registry, telemetry.resource());
    metrics::register_process(&mut registry);
    metrics::register_telemetry(&mut registry, telemetry);
    let listener = bound.listeners.remove(0);
    let line = format!("metrics on {}", listener.local_addr()?);
    write_line(&mut io::stdout(), &line);
    let mut tasks = JoinSet::new();
    tasks.spawn(metrics::serve(listener, registry, std::future::pending()));
    Ok(tasks)
}

fn write_line(out: &mut impl io::Write, line: &str) {
    let _ = out.write_all(format!("{line}\n").as_bytes());
}
