#![doc = include_str!("../README.md")]

mod accounts;
mod buffers;
mod config;
mod config_error;
mod encode;
mod errors;
mod exporter;
mod log_pipeline;
mod memory;
mod pipeline;
mod processor;
mod signal;
mod transport;

#[cfg(test)]
mod tests;

pub use crate::{
    accounts::{Accounts, Dropped},
    config::{Compression, Config, Identity, Protocol, Retry, Tls},
    config_error::{ConfigError, Mistake},
    errors::{FlushError, StartError, Undelivered},
    log_pipeline::LogPipeline,
    pipeline::Pipeline,
    processor::{LogProcessor, Processor},
};
