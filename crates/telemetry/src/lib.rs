//! What a production service links: one initialization from `OTEL_*`, one guard whose shutdown flushes, and layers
//! that trace and measure requests.

mod config;
mod propagation;
mod sampler;

#[doc = include_str!("environment.md")]
pub mod environment {}

pub use crate::{
    config::{Config, Logs, Problem},
    propagation::{BadContext, BadContexts, bad_contexts},
    sampler::Sampler,
};
