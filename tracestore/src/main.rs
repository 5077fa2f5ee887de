//! Runs the trace store; see the library.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    tracestore::run(std::env::args_os().skip(1)).await
}
