//! What a production service links: one initialization from `OTEL_*`, one guard whose shutdown flushes, and layers
//! that trace and measure requests.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(run()) }
//! # async fn serve() -> std::io::Result<()> { Ok(()) }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let telemetry = telemetry::init!()?; // first, so that a bad configuration is logged
//! let served = serve().await;
//! telemetry.shutdown().await?; // even when serving failed: those spans matter most
//! served?;
//! # Ok(())
//! # }
//! ```
//!
//! What the environment says is in [`environment`]; [`Builder`] has what is said in code.

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
    guard::{Propagator, ShutdownError, Telemetry},
    propagation::{BadContext, BadContexts, bad_contexts},
    sampler::Sampler,
    tracer::{Span, Tracer},
};
pub use otlp_pipeline::{Accounts, Dropped, Undelivered};
