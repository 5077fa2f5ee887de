//! What an edge does, seen from its clients, its upstreams, its collector and its operator.

#![expect(
    clippy::unwrap_used,
    reason = "everything here is a test, its helpers too"
)]

#[expect(dead_code, reason = "its main is not what is tested")]
#[path = "../../../crates/telemetry/examples/books.rs"]
mod books;
mod forwarding;
mod measurements;
mod process;
mod refusals;
mod rolling;
mod shutdown;
mod support;
mod tracing;
mod upstreams;
