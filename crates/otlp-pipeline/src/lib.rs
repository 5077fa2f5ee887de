#![doc = include_str!("../README.md")]

mod accounts;
mod config;
#[allow(dead_code, reason = "the exporter thread will use it")]
mod config_error;
#[allow(dead_code, unused_imports, reason = "the exporter thread will use it")]
mod encode;
#[allow(dead_code, reason = "the exporter thread will use it")]
mod transport;

pub use crate::{
    accounts::{Accounts, Dropped},
    config::{Compression, Config, Identity, Protocol, Retry, Tls},
    config_error::{ConfigError, Mistake},
};
