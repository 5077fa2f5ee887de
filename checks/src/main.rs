//! The lab once more, so that the tests of this package have its executable and not an older one.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    lab::run().await
}
