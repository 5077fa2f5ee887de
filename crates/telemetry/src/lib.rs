//! What a production service links: one initialization from `OTEL_*`, one guard whose shutdown flushes, and layers
//! that trace and measure requests.
//!
//! # In your own service
//!
//! ```
//! use axum::{Router, routing::get};
//! use telemetry::http::ServerLayer;
//! use tokio::net::TcpListener;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let telemetry = telemetry::init!()?; // first, so that a bad configuration is logged
//!     let traced = ServerLayer::new(telemetry.tracer(env!("CARGO_PKG_NAME")));
//!     let app = Router::new()
//!         .route("/books/{id}", get(async || "a book"))
//!         .layer(traced);
//!
//! #   let (address, stop) = ("127.0.0.1:0", async || {});
//!     let listener = TcpListener::bind(address).await?;
//!     tracing::info!(address = %listener.local_addr()?, "listening");
//!     let served = axum::serve(listener, app)
//!         .with_graceful_shutdown(stop())
//!         .await;
//!
//!     let flushed = telemetry.shutdown().await; // even when serving failed: those spans matter most
//!     served?;
//!     flushed?;
//!     Ok(())
//! }
//! ```
//!
//! | | |
//! | --- | --- |
//! | [`init!`], [`builder()`] | start: what the environment says is in [`environment`], what code says in [`Builder`] |
//! | [`Telemetry`] | the guard: tracers, what became of every span, and the shutdown |
//! | [`http`] | layers for servers and clients of HTTP and gRPC |
//! | [`metrics`] | what the layers measure, for Prometheus |
//! | [`Sampler`] | which traces are kept, and how many of them callers may demand |
//! | [`stop`] | signals: unready first, then draining |
//! | [`bad_contexts()`] | trace headers that were not believed |
//!
//! # What holds
//!
//! A service runs whatever is the matter with its telemetry: a bad variable, a collector that is down or slow, or a
//! stranger's trace headers. Each span that ends is exported or counted as lost, by reason ([`Accounts`]), and the log says
//! when that begins and when it ends.
//!
//! A request never waits for the export, which has a thread and a runtime of its own. So a shutdown works from wherever it is
//! called: any task, any runtime, none, and it tells the truth: an `Ok` means that all spans and log records arrived.
//!
//! # Logs
//!
//! Records of `tracing` and of the crate `log` go to standard output, as JSON lines or, on a terminal, as lines for people:
//!
//! ```json
//! {"timestamp":"2026-11-21T18:27:02.508649Z","level":"INFO","target":"shop::cart","service.name":"shop","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","trace_flags":"01","message":"added","fields":{"item":7}}
//! ```
//!
//! The ids are those of the current context of OpenTelemetry, whichever API has set it. What is logged cannot end a record
//! or stand for another part of it. A reader that is gone is no failure; one that does not read holds the service up, as
//! with any program that writes.
//!
//! With `OTEL_LOGS_EXPORTER=otlp,console` they are sent by OTLP as well, with the same ids: the target is the name of the scope,
//! the message the body, fields are typed attributes, and an event with a name of its own is an event. They are accounted for
//! as spans are ([`Telemetry::log_accounts`]), and the shutdown tells of both. What telemetry says of itself is not sent, so
//! that a loss is no cause of others.
//!
//! # Spans by `tracing`
//!
//! [`Builder::bridge`] makes spans of those of `tracing`'s macros. Where a program has a subscriber of its own, a
//! [`Tracer`] goes into a layer of `tracing-opentelemetry` 0.33.
//!
//! # Several in a process
//!
//! [`Builder::build`] leaves everything global alone. A server with a runtime on each thread gives each a
//! [`thread_tracer`](Telemetry::thread_tracer), so that they do not share the counters of one provider.

mod bridge;
mod builder;
mod config;
mod console;
mod export;
mod guard;
pub mod http;
mod logs;
pub mod metrics;
mod processor;
mod propagation;
mod resource;
mod sampler;
pub mod stop;
mod tracer;

#[doc = include_str!("environment.md")]
pub mod environment {}

/// Starts the telemetry of the process with the name and the version of the calling package: [`Builder::init`].
#[macro_export]
macro_rules! init {
    () => {
        $crate::builder(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).init()
    };
}

pub use crate::{
    builder::{Builder, InitError, builder},
    config::{Config, Logs, Problem},
    guard::{Ledger, Outcome, Propagator, ShutdownError, Telemetry},
    propagation::{BadContext, BadContexts, bad_contexts},
    sampler::Sampler,
    tracer::{Span, Tracer},
};
pub use otlp_pipeline::{Accounts, Dropped, Undelivered};
