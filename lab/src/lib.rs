//! Runs the whole chain on one machine: every part a process of its own, their logs side by side.
//!
//! The parts are linked into this binary, which executes itself once for each (`lab uservice3`). What a part
//! does is its own package's business; this one only starts, watches and stops them.

mod child;
mod logs;
mod options;
mod output;
mod part;
mod plan;

use std::time::Instant;
use std::{env, fs, io, path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::options::Options;
use crate::output::Output;
use crate::part::Parts;

/// Runs the lab until a signal, or, as one of its children, the part that the first argument names.
///
/// Exit code 0 stands for a stop that was asked for, 1 for a failure, 2 for bad arguments.
pub async fn run() -> ExitCode {
    if let Some(name) = env::args_os().nth(1)
        && let Some(code) = child::run(&name.to_string_lossy()).await
    {
        return code;
    }
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(err) => {
            // To a closed pipe there is nothing to say.
            let _ = err.print();
            return if err.use_stderr() {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let output = Output::new();
    let mut stop = match stop_requests(&output) {
        Ok(stop) => stop,
        Err(err) => {
            output.lab(format_args!("{err:#}"));
            return ExitCode::FAILURE;
        }
    };
    let mut parts = Parts::new(output.clone());
    let code = tokio::select! {
        Err(err) = start_and_watch(&options, &output, &mut parts) => {
            output.lab(format_args!("{err:#}"));
            ExitCode::FAILURE
        }
        _ = stop.recv() => ExitCode::SUCCESS,
    };
    output.lab(format_args!("stopping"));
    output.hurry();
    tokio::select! {
        () = parts.stop() => {}
        _ = stop.recv() => {}
    }
    parts.kill().await;
    output.flush().await;
    code
}

/// Starts all parts and watches them.
///
/// # Errors
/// It returns only with one: a part could not be started, or has ended and with it the run.
async fn start_and_watch(
    options: &Options,
    output: &Output,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let stack = plan::start(options, parts).await?;
    if let Some(path) = &options.addresses {
        write_whole(path, &stack.as_json()).context("writing the file of addresses")?;
    }
    output.lab(format_args!(
        "ready after {} ms",
        begun.elapsed().as_millis()
    ));
    for line in stack.map() {
        output.lab(format_args!("{line}"));
    }
    while let Some(ended) = parts.next_end().await {
        if !options.keep_going {
            bail!("{ended}: stopping the others (--keep-going would not)");
        }
        output.lab(format_args!("{ended}"));
    }
    bail!("nothing is left running")
}

/// What asks for a stop: SIGINT, SIGTERM, SIGHUP, or nobody left to read the output.
fn stop_requests(output: &Output) -> anyhow::Result<mpsc::Receiver<()>> {
    let (ask, asked) = mpsc::channel(1);
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind).context("watching for signals")?;
        let ask = ask.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && ask.send(()).await.is_ok() {}
        });
    }
    let output = output.clone();
    tokio::spawn(async move {
        output.broken().await;
        let _ = ask.send(()).await;
    });
    Ok(asked)
}

/// Writes a file so that a reader sees all of it or nothing.
fn write_whole(path: &Path, contents: &str) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    fs::write(&unfinished, contents)?;
    fs::rename(&unfinished, path)
}
