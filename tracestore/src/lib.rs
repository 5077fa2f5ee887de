//! An embedded trace backend: OTLP and Jaeger's thrift in, traces by id and by time out, as Tempo
//! answers them, and a page that shows them.
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
/// Once all ports are bound, prints `receiving OTLP/HTTP on ADDR`, `receiving Jaeger thrift on
/// ADDR`, `receiving OTLP/gRPC on ADDR`, and last `listening on ADDR`. If the last argument is
/// `healthcheck`, asks the server that the same environment describes for `/ready` instead.
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

    let listeners = match Listeners::bind(&config).await {
        Ok(listeners) => listeners,
        Err((doing, error)) => return failed(doing, &error),
    };
    for (what, listener) in [
        ("receiving OTLP/HTTP", &listeners.otlp_http),
        ("receiving Jaeger thrift", &listeners.jaeger_http),
        ("receiving OTLP/gRPC", &listeners.otlp_grpc),
        ("listening", &listeners.http),
    ] {
        match listener.local_addr() {
            Ok(address) => output::line(stdout(), &format!("{what} on {address}")),
            Err(error) => return failed("reading a bound address", &error),
        }
    }
    serve(listeners, config, stop).await;
    ExitCode::SUCCESS
}

/// What is served on: one bound port for each protocol.
#[derive(Debug)]
pub struct Listeners {
    /// Tempo's HTTP API and the page.
    pub http: TcpListener,
    /// The OTLP/gRPC receiver.
    pub otlp_grpc: TcpListener,
    /// The OTLP/HTTP receiver.
    pub otlp_http: TcpListener,
    /// The receiver of Jaeger's thrift over HTTP.
    pub jaeger_http: TcpListener,
}

impl Listeners {
    /// The error says what was attempted.
    async fn bind(config: &Config) -> Result<Listeners, (&'static str, io::Error)> {
        Ok(Listeners {
            otlp_grpc: bind("OTLP/gRPC", &config.otlp_grpc_addr)
                .await
                .map_err(|error| ("binding OTLP_GRPC_ADDR", error))?,
            otlp_http: bind("OTLP/HTTP", &config.otlp_http_addr)
                .await
                .map_err(|error| ("binding OTLP_HTTP_ADDR", error))?,
            jaeger_http: bind("Jaeger thrift", &config.jaeger_http_addr)
                .await
                .map_err(|error| ("binding JAEGER_HTTP_ADDR", error))?,
            http: bind("HTTP", &config.listen_addr)
                .await
                .map_err(|error| ("binding LISTEN_ADDR", error))?,
        })
    }
}

/// Serves on bound listeners until `shutdown`, then drains for up to 3 seconds. Of the
/// configuration, the addresses are not used.
pub async fn serve(listeners: Listeners, config: Config, shutdown: impl Future<Output = ()>) {
    let store = Arc::new(Store::new(config.max_bytes));
    let allowed = Arc::new(config.allow_hosts);
    let port = |listener: &TcpListener| listener.local_addr().map_or(0, |address| address.port());
    let ports = page::Ports {
        otlp_grpc: port(&listeners.otlp_grpc),
        otlp_http: port(&listeners.otlp_http),
        jaeger_http: port(&listeners.jaeger_http),
    };
    let site = Router::new()
        .merge(api::router(Arc::clone(&store)))
        .merge(page::router(Arc::clone(&store), ports))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&allowed),
            guard::check_host,
        ))
        .layer(middleware::map_response(guard::restrict));
    let receiver = ingest::Receiver::new(store);
    // Browsers reach these two, and no page of a stranger has anything to send.
    let [otlp_http, jaeger_http] = [
        ingest::otlp_http_router(receiver.clone()),
        ingest::jaeger_router(receiver.clone()),
    ]
    .map(|router| {
        router
            .layer(middleware::from_fn(guard::refuse_foreign_origins))
            .layer(middleware::from_fn_with_state(
                Arc::clone(&allowed),
                guard::check_host,
            ))
    });
    let otlp_grpc = ingest::grpc_router(receiver.clone());
    let (stop, stopped) = watch::channel(());
    tokio::join!(
        serve::serve(listeners.http, serve::http(), site, stopped.clone()),
        serve::serve(
            listeners.otlp_http,
            serve::http(),
            otlp_http,
            stopped.clone()
        ),
        serve::serve(
            listeners.jaeger_http,
            serve::http(),
            jaeger_http,
            stopped.clone()
        ),
        serve::serve(listeners.otlp_grpc, serve::grpc(), otlp_grpc, stopped),
        async move {
            shutdown.await;
            drop(stop);
        },
    );
    // A request whose connection was cut may still be on its way into the store.
    receiver.idle().await;
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
