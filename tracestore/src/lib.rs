//! An embedded trace backend: OTLP and Jaeger's thrift in, traces by id and by what is in them out, as Tempo
//! answers them, and a page that shows them.
//!
//! Spans come in through `ingest`, are kept by `store`, and are read through `api` (programs) and
//! `page` (people).

mod api;
mod compile;
mod config;
mod engine;
mod evictions;
#[doc(hidden)]
pub mod fuzz;
mod graph;
mod guard;
mod healthcheck;
mod ingest;
mod log_record;
mod metrics;
mod operations;
mod output;
mod page;
mod parameters;
mod query;
mod serve;
mod span;
mod stop;
mod store;

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    io,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, middleware};
use clap::Parser;
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, time};

pub use config::{Config, ConfigError, Flags, Format, Fsync};

use crate::{
    config::{Command, CommandLine},
    graph::Graph,
    metrics::Metrics,
    operations::Readiness,
    output::{counted, grouped},
    stop::{DRAIN, Signals},
    store::{Logs, Store},
};

/// The environment variable by which glibc's allocator is told how many arenas to have, and how many the store needs.
///
/// By default there are eight for each processor. Every thread that answers a query leaves in another one what it read for
/// the cache, and around it memory that is free and stays with the process: several times as much as is in use.
pub const ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "2");

/// The process: configured by the arguments after its name and by the environment (see [`Config`]),
/// ended by SIGTERM or SIGINT.
///
/// Once all ports are bound, prints `receiving OTLP/HTTP on ADDR`, `receiving Jaeger thrift on
/// ADDR`, `receiving OTLP/gRPC on ADDR`, and last `listening on ADDR`. The argument `healthcheck`
/// asks the server that the same settings describe for `/ready` instead.
///
/// Returns 0 on success, 1 on failure, 2 for bad arguments or a bad environment. After a signal and
/// the delay that is configured it returns within 5 seconds, or the process ends with status 1.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let name = OsString::from("tracestore");
    let line = match CommandLine::try_parse_from([name].into_iter().chain(arguments)) {
        Ok(line) => line,
        Err(error) => {
            // To a closed pipe there is nothing to say.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let config = match Config::parse(&line.flags, |name| env::var_os(name)) {
        Ok(config) => config,
        Err(error) => {
            output::error(&format!("bad settings: {error}"));
            return ExitCode::from(2);
        }
    };
    output::choose(config.log);
    if line.command == Some(Command::Healthcheck) {
        return match healthcheck::ask(&config.listen_addr).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed("asking for /ready", &error),
        };
    }
    allow_open_files();
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err((doing, error)) => return failed(doing, &error),
    };
    let data = match Data::open(&config) {
        Ok(data) => data,
        Err(error) => return failed("opening --data", &error),
    };
    data.describe();
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
            Ok(address) => output::announce(
                &format!("{what} on {address}"),
                json!({ "address": address.to_string() }),
            ),
            Err(error) => return failed("reading a bound address", &error),
        }
    }
    let (begun, at) = watch::channel(None);
    let delay = config.shutdown_delay;
    let stop = async move {
        begun.send_replace(Some(signals.first(delay).await));
    };
    serve(listeners, config, data, stop).await;
    let took = at.borrow().map_or(Duration::ZERO, |begun| begun.elapsed());
    let took = took.as_millis() as u64;
    output::info(
        &format!("stopped after {} ms", grouped(took)),
        json!({ "milliseconds": took }),
    );
    ExitCode::SUCCESS
}

/// Raises the number of files that the process may have open to what it is allowed to raise it to:
/// each segment and each connection is one, and the usual limit is for programs that call `select`.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where that is refused, what it was may well be enough.
    let _ = setrlimit(Resource::Nofile, raised);
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
                .map_err(|error| ("binding --otlp-grpc-addr", error))?,
            otlp_http: bind("OTLP/HTTP", &config.otlp_http_addr)
                .await
                .map_err(|error| ("binding --otlp-http-addr", error))?,
            jaeger_http: bind("Jaeger thrift", &config.jaeger_http_addr)
                .await
                .map_err(|error| ("binding --jaeger-http-addr", error))?,
            http: bind("HTTP", &config.listen_addr)
                .await
                .map_err(|error| ("binding --listen-addr", error))?,
        })
    }
}

/// The traces and the logs that are kept.
#[derive(Debug)]
pub struct Data {
    store: Arc<Store>,
    logs: Arc<Logs>,
    opening: Duration,
    opening_logs: Duration,
}

/// The folder of logs, in that of traces.
const LOGS: &str = "logs";

impl Data {
    /// Opens what the configuration names, and what was kept there before. Blocks.
    ///
    /// # Errors
    /// The data folder cannot be used. If another process uses it, all is kept in memory.
    pub fn open(config: &Config) -> io::Result<Data> {
        let options = store::Options {
            data: config.data.clone(),
            max_memory: config.max_memory,
            max_disk: config.max_disk,
            max_age: config.max_age,
            fsync: config.fsync,
        };
        let begun = Instant::now();
        let store = Arc::new(Store::open(options, ingest::decode_again)?);
        let opening = begun.elapsed();
        let options = store::Options {
            // Whoever has the folder has the one within it too.
            data: (config.data.as_ref())
                .filter(|_| store.is_on_disk())
                .map(|data| data.join(LOGS)),
            max_memory: config.max_log_memory,
            max_disk: config.max_log_disk,
            max_age: config.max_log_age,
            fsync: config.fsync,
        };
        let logs = Logs::open(options, store.timings(), ingest::decode_logs_again)?;
        Ok(Data {
            store,
            logs: Arc::new(logs),
            opening,
            opening_logs: begun.elapsed() - opening,
        })
    }

    /// Says where traces are kept, and what was found there.
    fn describe(&self) {
        let data = self.store.options().data.as_deref();
        let Some(folder) = data.filter(|_| self.store.is_on_disk()) else {
            // If a folder was wanted, the store has said why it is not used.
            if data.is_none() {
                output::info(
                    "keeping traces in memory only: they end with the process",
                    json!({}),
                );
            }
            return;
        };
        let usage = self.store.usage();
        let took = self.opening.as_millis() as u64;
        let folder = shown(folder);
        output::info(
            &format!(
                "opened {folder}: {}, {}, replayed {} in {} ms",
                counted(usage.segments, "segment"),
                counted(usage.spans, "span"),
                counted(usage.replayed_requests, "request"),
                grouped(took)
            ),
            json!({
                "data": folder,
                "segments": usage.segments,
                "spans": usage.spans,
                "replayed_requests": usage.replayed_requests,
                "damaged": usage.damaged.count,
                "milliseconds": took,
            }),
        );
        let usage = self.logs.usage();
        if usage.records > 0 {
            let took = self.opening_logs.as_millis() as u64;
            output::info(
                &format!(
                    "opened {folder}/{LOGS}: {}, {}, replayed {} in {} ms",
                    counted(usage.segments, "segment"),
                    counted(usage.records, "log record"),
                    counted(usage.replayed_requests, "request"),
                    grouped(took)
                ),
                json!({
                    "data": format!("{folder}/{LOGS}"),
                    "segments": usage.segments,
                    "log_records": usage.records,
                    "replayed_requests": usage.replayed_requests,
                    "damaged": usage.damaged.count,
                    "milliseconds": took,
                }),
            );
        }
    }
}

/// From where the process stands, if it is below.
fn shown(folder: &Path) -> String {
    let current = env::current_dir().unwrap_or_default();
    let below = folder.strip_prefix(&current).unwrap_or(folder);
    below.display().to_string()
}

/// The least time that queries have to end once no more spans are received.
const LAST_QUERIES: Duration = Duration::from_millis(500);

/// Serves on bound listeners until `shutdown` and the delay after it, then drains for up to 3 seconds. Meanwhile the HTTP
/// port answers on, and says at `/ready` that it stops. Of the configuration, only the allowed
/// hosts, the size of requests, the metrics generator and the delay are used.
pub async fn serve(
    listeners: Listeners,
    config: Config,
    data: Data,
    shutdown: impl Future<Output = ()>,
) {
    let Data { store, logs, .. } = data;
    let allowed = Arc::new(config.allow_hosts);
    let graph = config.metrics_generator.then(Graph::new);
    let metrics = Arc::new(Metrics::new(Arc::clone(&store), Arc::clone(&logs), graph));
    let readiness = Readiness::default();
    let port = |listener: &TcpListener| listener.local_addr().map_or(0, |address| address.port());
    let ports = page::Ports {
        otlp_grpc: port(&listeners.otlp_grpc),
        otlp_http: port(&listeners.otlp_http),
        jaeger_http: port(&listeners.jaeger_http),
    };
    let receiver = ingest::Receiver::new(
        Arc::clone(&store),
        Arc::clone(&logs),
        Arc::clone(&metrics),
        config.max_request_size,
    );
    let uploads = ingest::otlp_http_route(receiver.clone())
        .route_layer(middleware::from_fn(guard::require_same_origin));
    let queries = api::router(Arc::clone(&store), Arc::clone(&logs), readiness.clone());
    let queries = queries.route_layer(middleware::from_fn_with_state(
        Arc::clone(&metrics),
        metrics::count_queries,
    ));
    let site = queries
        .merge(page::router(
            Arc::clone(&store),
            Arc::clone(&logs),
            Arc::clone(&metrics),
            ports,
        ))
        .merge(uploads)
        .merge(operations::router(readiness.clone(), metrics));
    let site = guarded(site, &allowed).layer(middleware::map_response(guard::restrict));
    let otlp_http = guarded(ingest::otlp_http_router(receiver.clone()), &allowed);
    let jaeger_http = guarded(ingest::jaeger_router(receiver.clone()), &allowed);
    // Browsers do not speak this one: HTTP/2 without TLS.
    let otlp_grpc = ingest::grpc_router(receiver.clone());

    let (stop_receivers, deadline) = watch::channel(None);
    let (stop_site, site_deadline) = watch::channel(None);
    let receivers = async {
        tokio::join!(
            serve::serve(
                listeners.otlp_http,
                serve::http(),
                otlp_http,
                deadline.clone()
            ),
            serve::serve(
                listeners.jaeger_http,
                serve::http(),
                jaeger_http,
                deadline.clone()
            ),
            serve::serve(
                listeners.otlp_grpc,
                serve::grpc(),
                otlp_grpc,
                deadline.clone()
            ),
        );
        let until = deadline.borrow().unwrap_or_else(time::Instant::now);
        stop_site.send_replace(Some(until.max(time::Instant::now() + LAST_QUERIES)));
    };
    let served = async {
        tokio::join!(
            receivers,
            serve::serve(listeners.http, serve::http(), site, site_deadline),
            async {
                shutdown.await;
                readiness.end();
                time::sleep(config.shutdown_delay).await;
                readiness.stop();
                stop_receivers.send_replace(Some(time::Instant::now() + DRAIN));
            },
        );
    };
    tokio::select! {
        _ = served => {}
        () = evictions::report(&store, &logs) => {}
    }
    // A request whose connection was cut may still be on its way into the store.
    receiver.idle().await;
}

/// What every port that browsers reach has around it.
fn guarded(router: Router, allowed: &Arc<BTreeSet<String>>) -> Router {
    router
        .layer(middleware::from_fn(guard::refuse_strangers))
        .layer(middleware::from_fn_with_state(
            Arc::clone(allowed),
            guard::check_host,
        ))
}

/// Binds the wished address, or a free port of the same host if that one is taken.
///
/// Where there is no IPv6, all interfaces are those of IPv4.
async fn bind(what: &str, wished: &str) -> io::Result<TcpListener> {
    let mut bound = TcpListener::bind(wished).await;
    let mut wished = wished.to_owned();
    if let Err(error) = &bound
        && let Some(port) = wished.strip_prefix("[::]:")
        && [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].contains(&errno(error))
    {
        wished = format!("0.0.0.0:{port}");
        bound = TcpListener::bind(&wished).await;
    }
    let error = match bound {
        Ok(listener) => return Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
        Err(error) => return Err(error),
    };
    let Some((host, _)) = config::host_and_port(&wished) else {
        return Err(error);
    };
    let listener = TcpListener::bind((host, 0)).await?;
    let taken = listener.local_addr()?;
    output::warn(
        &format!("{wished} is in use: {what} takes {taken} instead"),
        json!({ "address": taken.to_string() }),
    );
    Ok(listener)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or_default())
}

fn failed(doing: &str, error: &io::Error) -> ExitCode {
    output::error(&format!("{doing}: {error}"));
    ExitCode::FAILURE
}
