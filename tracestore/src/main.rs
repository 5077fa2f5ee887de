//! Runs the trace store; see the library.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    tracestore::run().await
}
