//! Tests of what the crate promises, without a process or a global of their own.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod delivery;
mod environment;
mod headers;
mod http;
mod metrics;
mod process;
mod propagation;
mod recorder;
mod sampler;
mod spans;
