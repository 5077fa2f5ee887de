//! What this binary is when the lab has started it as one of its parts.

use std::io;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use std::{env, process, thread};

use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time;

/// The child that looks after a real Traefik, which knows nothing of the lab's pipe.
pub(crate) const TRAEFIK: &str = "traefik";

/// How long a part may take to stop: 3 s for its requests, 2 s for its spans, and one to spare.
pub(crate) const STOP: Duration = Duration::from_secs(6);

/// Runs the part of this name until it is told to stop; `None` if there is none.
pub(crate) async fn run(name: &str) -> Option<ExitCode> {
    Some(match name {
        "edge" => linked(edge::run()).await,
        "tracestore" => linked(tracestore::run(env::args_os().skip(2))).await,
        "uservice1" => linked(uservice1::run()).await,
        "uservice2" => linked(uservice2::run()).await,
        "uservice3" => linked(uservice3::run()).await,
        "uservice4" => linked(uservice4::run()).await,
        TRAEFIK => linked(traefik()).await,
        _ => return None,
    })
}

async fn linked(part: impl Future<Output = ExitCode>) -> ExitCode {
    thread::spawn(stop_with_the_lab);
    part.await
}

/// Standard input is a pipe from the lab. It ends when the lab does, however that comes about.
fn stop_with_the_lab() {
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    let _ = kill_process(getpid(), Signal::TERM);
    // This thread has nothing else to do, and the runtime may be stuck.
    thread::sleep(STOP);
    process::exit(1);
}

/// Runs Traefik with the arguments after our own name, and takes it down when told to stop.
async fn traefik() -> ExitCode {
    let mut args = env::args_os().skip(2);
    let Some(program) = args.next() else {
        return ExitCode::from(2);
    };
    let (Ok(mut sigterm), Ok(spawned)) = (
        signal(SignalKind::terminate()),
        Command::new(&program)
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn(),
    ) else {
        return ExitCode::FAILURE;
    };
    let mut traefik = spawned;
    let status = tokio::select! {
        status = traefik.wait() => status,
        _ = sigterm.recv() => {
            if let Some(pid) = traefik.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                let _ = kill_process(pid, Signal::TERM);
            }
            match time::timeout(STOP - Duration::from_secs(1), traefik.wait()).await {
                Ok(status) => status,
                Err(_) => traefik.kill().await.and(traefik.wait().await),
            }
        }
    };
    match status.map(|status| status.code()) {
        Ok(Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        _ => ExitCode::FAILURE,
    }
}
