//! Runs the trace store; see the library.

use std::{
    env,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    begin_with_few_arenas();
    run()
}

#[tokio::main]
async fn run() -> ExitCode {
    tracestore::run(env::args_os().skip(1)).await
}

/// Begins once more as the same process, unless somebody has chosen already: the C library reads the variable before
/// anything of ours runs.
fn begin_with_few_arenas() {
    let (name, count) = tracestore::ARENAS;
    let mut arguments = env::args_os();
    if cfg!(target_env = "gnu")
        && env::var_os(name).is_none()
        && let Some(called) = arguments.next()
        && let Ok(program) = env::current_exe()
    {
        let mut again = Command::new(program);
        again.arg0(called).args(arguments).env(name, count);
        // It returns only if it failed, and then the store merely takes more memory.
        let _ = again.exec();
    }
}
