#![doc = include_str!("../README.md")]

mod accounts;
mod buffers;
mod config;
mod config_error;
mod encode;
mod errors;
mod exporter;
mod memory;
mod pipeline;
mod processor;
mod transport;

#[cfg(test)]
mod tests;

pub use crate::{
    accounts::{Accounts, Dropped},
    config::{Compression, Config, Identity, Protocol, Retry, Tls},
    config_error::{ConfigError, Mistake},
    errors::{FlushError, StartError, Undelivered},
    pipeline::Pipeline,
    processor::Processor,
};
