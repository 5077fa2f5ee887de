//! The lab once more, and the playground, so that the tests of this package have executables of the same build.

use std::{env, process::ExitCode};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    if env::args_os()
        .nth(1)
        .is_some_and(|part| part == "playground")
    {
        return playground::run(env::args_os().skip(1)).await;
    }
    Ok(lab::run().await)
}
