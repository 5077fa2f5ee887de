#![doc = include_str!("../README.md")]

mod accounts;
mod config;

pub use crate::{
    accounts::{Accounts, Dropped},
    config::{Compression, Config, Identity, Protocol, Retry, Tls},
};
