//! Plays requests to a shop; see the library of the same name.

use std::{env, process::ExitCode};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    playground::run(env::args_os()).await
}
