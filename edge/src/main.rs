//! Runs the edge as a process of its own.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    edge::run().await
}
