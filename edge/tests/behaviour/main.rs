//! What an edge does, seen from its clients, its upstreams, its collector and its operator.

#![expect(
    clippy::unwrap_used,
    reason = "everything here is a test, its helpers too"
)]

mod forwarding;
mod measurements;
mod process;
mod refusals;
mod shutdown;
mod support;
mod tracing;
mod upstreams;
