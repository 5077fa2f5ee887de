//! An embedded trace backend: OTLP/gRPC in, traces by id and by time out, as Tempo answers them,
//! and a page that shows them.
//!
//! Spans come in through `ingest`, are kept by `store`, and are read through `api` (programs) and
//! `page` (people). Nothing is written to disk.

mod api;
mod config;
mod guard;
mod healthcheck;
mod ingest;
mod output;
mod page;
mod serve;
mod span;
mod store;

use std::{
    env,
    ffi::OsString,
    io::{self, stderr, stdout},
    process::ExitCode,
    sync::Arc,
};

use axum::{Router, middleware};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

pub use config::{Config, ConfigError};

use crate::store::Store;

/// The process: configured by the environment (see [`Config`]), ended by SIGTERM or SIGINT.
///
/// Prints `receiving OTLP/gRPC on ADDR` and then `listening on ADDR` once both ports are bound. If
/// the last argument is `healthcheck`, asks the server that the same environment describes for
/// `/ready` instead.
///
/// Returns 0 on success, 1 on failure, 2 for a bad environment.
pub async fn run() -> ExitCode {
    let config = match Config::parse(|name| env::var_os(name).map(lossy)) {
        Ok(config) => config,
        Err(error) => {
            output::line(stderr(), &format!("bad environment: {error}"));
            return ExitCode::from(2);
        }
    };
    if env::args_os()
        .skip(1)
        .last()
        .is_some_and(|last| last == "healthcheck")
    {
        return match healthcheck::ask(&config.listen_addr).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed("asking for /ready", &error),
        };
    }
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return failed("listening for SIGTERM", &error),
    };
    let mut interrupt = match signal(SignalKind::interrupt()) {
        Ok(interrupt) => interrupt,
        Err(error) => return failed("listening for SIGINT", &error),
    };
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };

    let otlp_grpc = match bind("OTLP/gRPC", &config.otlp_grpc_addr).await {
        Ok(listener) => listener,
        Err(error) => return failed("binding OTLP_GRPC_ADDR", &error),
    };
    let http = match bind("HTTP", &config.listen_addr).await {
        Ok(listener) => listener,
        Err(error) => return failed("binding LISTEN_ADDR", &error),
    };
    match (otlp_grpc.local_addr(), http.local_addr()) {
        (Ok(otlp_grpc), Ok(http)) => {
            output::line(stdout(), &format!("receiving OTLP/gRPC on {otlp_grpc}"));
            output::line(stdout(), &format!("listening on {http}"));
        }
        (Err(error), _) | (_, Err(error)) => return failed("reading a bound address", &error),
    }
    serve(http, otlp_grpc, config, stop).await;
    ExitCode::SUCCESS
}

/// Serves on two bound listeners until `shutdown`, then drains for up to 3 seconds. Of the
/// configuration, the addresses are not used.
pub async fn serve(
    http: TcpListener,
    otlp_grpc: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) {
    let store = Arc::new(Store::new(config.max_bytes));
    let otlp_grpc_port = otlp_grpc.local_addr().map_or(0, |address| address.port());
    let site = Router::new()
        .merge(api::router(Arc::clone(&store)))
        .merge(page::router(Arc::clone(&store), otlp_grpc_port))
        .layer(middleware::from_fn_with_state(
            Arc::new(config.allow_hosts),
            guard::check_host,
        ))
        .layer(middleware::map_response(guard::restrict));
    let receiver = ingest::router(store);
    let (stop, stopped) = watch::channel(());
    tokio::join!(
        serve::serve(http, serve::http(), site, stopped.clone()),
        serve::serve(otlp_grpc, serve::grpc(), receiver, stopped),
        async move {
            shutdown.await;
            drop(stop);
        },
    );
}

/// Binds the wished address, or a free port of the same host if that one is taken.
async fn bind(what: &str, wished: &str) -> io::Result<TcpListener> {
    let error = match TcpListener::bind(wished).await {
        Ok(listener) => return Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
        Err(error) => return Err(error),
    };
    let Some((host, _)) = config::host_and_port(wished) else {
        return Err(error);
    };
    let listener = TcpListener::bind((host, 0)).await?;
    let taken = listener.local_addr()?;
    output::line(
        stderr(),
        &format!("{wished} is in use: {what} takes {taken} instead"),
    );
    Ok(listener)
}

fn failed(doing: &str, error: &io::Error) -> ExitCode {
    output::line(stderr(), &format!("{doing}: {error}"));
    ExitCode::FAILURE
}

/// A value that is not UTF-8 becomes one that no variable accepts.
fn lossy(value: OsString) -> String {
    value.to_string_lossy().into_owned()
}
