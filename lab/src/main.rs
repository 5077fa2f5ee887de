//! What `cargo run --release` starts; see the library of the same name.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    lab::run().await
}
