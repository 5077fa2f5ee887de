//! Measurements that a reader can repeat. Everything runs on this machine, over loopback, for a bounded time.

mod bare;
mod edge;
mod load;
mod process;
mod sink;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a traced and logged request costs the edge, beside a bare hyper proxy and Traefik.
    Edge(edge::Options),
    /// The process under measurement: our edge, configured by its environment.
    #[command(hide = true)]
    RunEdge,
    /// The process under measurement: a hyper proxy that does nothing but forward.
    #[command(hide = true)]
    RunBare,
}

#[tokio::main]
async fn main() -> ExitCode {
    let measured = match Cli::parse().command {
        Command::Edge(options) => edge::measure(&options).await,
        Command::RunEdge => return ::edge::run().await,
        Command::RunBare => bare::run().await,
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            let _ = writeln!(io::stderr(), "{err:#}");
            ExitCode::FAILURE
        }
    }
}
