//! Measurements that a reader can repeat. Everything runs on this machine, over loopback, for a bounded time.

mod bare;
mod chain;
mod count;
mod edge;
mod faults;
mod figure;
mod helper;
mod load;
mod machine;
mod pipeline;
mod plot;
mod process;
mod report;
mod requests;
mod saturation;
mod sink;
mod spans;
mod subject;
mod table;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime;

#[global_allocator]
static ALLOCATOR: alloc_tracker::Allocator<std::alloc::System> = alloc_tracker::Allocator::system();

#[derive(Parser)]
#[command(about, version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: report::Options,
}

/// What this program is when it starts itself.
#[derive(Subcommand)]
enum Role {
    /// Our edge, configured by its environment.
    #[command(name = "run-edge", hide = true)]
    Edge,
    /// A hyper proxy that does nothing but forward.
    #[command(name = "run-bare", hide = true)]
    Bare,
    /// A collector.
    #[command(name = "run-sink", hide = true)]
    Sink { behaviour: sink::Behaviour },
    /// A process that makes spans.
    #[command(name = "run-spans", hide = true)]
    Spans(pipeline::Options),
    /// A service that makes so many spans of each request.
    #[command(name = "run-service", hide = true)]
    Service {
        #[command(flatten)]
        options: pipeline::Options,
        spans: usize,
        /// The one that all its threads are kept on.
        #[arg(long)]
        processor: Option<usize>,
    },
    /// One of the services, with our pipeline under it if there is an endpoint.
    #[command(name = "run-uservice", hide = true)]
    Uservice {
        name: chain::Name,
        endpoint: Option<String>,
    },
}

fn main() -> ExitCode {
    let Cli { role, options } = Cli::parse();
    let done = match role {
        None => current_thread(report::run(options)).map(|()| ExitCode::SUCCESS),
        Some(Role::Edge) => every_thread(::edge::run()),
        Some(Role::Bare) => every_thread(bare::run())
            .flatten()
            .map(|()| ExitCode::SUCCESS),
        Some(Role::Sink { behaviour }) => sink::run(behaviour).map(|()| ExitCode::SUCCESS),
        Some(Role::Spans(options)) => spans::run(options).map(|()| ExitCode::SUCCESS),
        Some(Role::Service {
            options,
            spans,
            processor,
        }) => requests::run(options, spans, processor).map(|()| ExitCode::SUCCESS),
        Some(Role::Uservice { name, endpoint }) => chain::run(name, endpoint),
    };
    done.unwrap_or_else(|err| {
        let _ = writeln!(io::stderr(), "{err:#}");
        ExitCode::FAILURE
    })
}

/// Whoever asks and measures takes no more than one thread from those that are measured.
fn current_thread<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(future)
}

fn every_thread<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}
