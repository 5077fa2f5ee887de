//! A lab of a test's own, on ports that nobody else has.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time;

/// The lab's executable, and that of each of its parts.
pub(crate) const LAB: &str = env!("CARGO_BIN_EXE_checks");

const ADDRESSES: &str = "addresses.json";

/// How long anything may take before a test gives up; never a measure of speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process and what it has written so far, its errors included.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Process {
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Arc::default();
        collect(child.stdout.take().unwrap(), &lines);
        collect(child.stderr.take().unwrap(), &lines);
        Process { child, lines }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Everything it has written, line by line.
    pub(crate) fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits until it has written this, and returns the line.
    pub(crate) async fn says(&self, text: &str) -> String {
        until(|| {
            self.log()
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
        .await
        .unwrap_or_else(|| panic!("nobody says {text:?}:\n{}", self.log()))
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE).await
    }

    pub(crate) async fn ended_within(&mut self, patience: Duration) -> ExitStatus {
        until_within(patience, || self.child.try_wait().unwrap())
            .await
            .unwrap_or_else(|| panic!("still running:\n{}", self.lines.lock().unwrap().join("\n")))
    }
}

impl Drop for Process {
    #[expect(
        clippy::print_stdout,
        reason = "the test runner shows it beside the failure"
    )]
    fn drop(&mut self) {
        // Its standard input ends too, which takes the parts of a lab down.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("{}", self.lines.lock().unwrap().join("\n"));
        }
    }
}

fn collect(pipe: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            lines
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(answer: impl FnMut() -> Option<T>) -> Option<T> {
    until_within(PATIENCE, answer).await
}

async fn until_within<T>(patience: Duration, mut answer: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(answer) = answer() {
            return Some(answer);
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// A lab that is ready.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) process: Process,
    addresses: Value,
    folder: TempDir,
}

impl Lab {
    /// Starts a lab with mocks that take a hundredth of their time.
    pub(crate) async fn start(args: &[&str]) -> Lab {
        Lab::start_with(args, &[]).await
    }

    /// Starts a lab with mocks that take long enough for something to happen meanwhile.
    pub(crate) async fn start_slow(args: &[&str]) -> Lab {
        Lab::start_process(&[&["--latency", "0.3"], args].concat(), &[]).await
    }

    /// Starts a lab with mocks that take their time.
    pub(crate) async fn start_unhurried() -> Lab {
        Lab::start_process(&["--latency", "1"], &[]).await
    }

    pub(crate) async fn start_with(args: &[&str], env: &[(&str, &str)]) -> Lab {
        Lab::start_process(&[&["--latency", "0.01"], args].concat(), env).await
    }

    /// Starts a lab that cargo built in the target folder of this project, and that is told nothing of where to keep traces.
    pub(crate) async fn start_in(project: &Path) -> Lab {
        let target = project.join("target");
        let program = target.join("release/lab");
        if !program.exists() {
            fs::create_dir_all(target.join("release")).unwrap();
            // As cargo marks it.
            fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
            // It is large, and a link is as good where there can be one.
            fs::hard_link(LAB, &program)
                .or_else(|_| fs::copy(LAB, &program).map(drop))
                .unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(ADDRESSES);
        let mut command = Lab::command_of(&program, &file);
        command.current_dir(project).args(["--latency", "0.01"]);
        Lab::ready(command, folder).await
    }

    async fn start_process(args: &[&str], env: &[(&str, &str)]) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(ADDRESSES);
        let mut command = Lab::command(&file);
        // Labs that ran beside each other would find each other's traces.
        let chosen = |arg: &&str| ["--data", "--memory", "--otlp"].contains(arg);
        if !args.iter().any(chosen) {
            command.arg("--memory");
        }
        command.args(args).envs(env.iter().copied());
        Lab::ready(command, folder).await
    }

    /// Of a command that writes the addresses into this folder.
    async fn ready(mut command: Command, folder: TempDir) -> Lab {
        let file = folder.path().join(ADDRESSES);
        let mut process = Process::start(&mut command);
        let ready = until(|| {
            let ended = process.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the lab has ended, {ended:?}:\n{}",
                process.log()
            );
            fs::read_to_string(&file).ok()
        });
        let addresses = ready
            .await
            .unwrap_or_else(|| panic!("never ready:\n{}", process.log()));
        let addresses = serde_json::from_str(&addresses).unwrap();
        Lab {
            process,
            addresses,
            folder,
        }
    }

    pub(crate) fn command(addresses: &Path) -> Command {
        Lab::command_of(Path::new(LAB), addresses)
    }

    fn command_of(program: &Path, addresses: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["--free-ports", "--addresses"]).arg(addresses);
        for (name, _) in
            env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL"))
        {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn addresses_file(&self) -> PathBuf {
        self.folder.path().join(ADDRESSES)
    }

    /// Where a part listens, e.g. `http://127.0.0.1:8000`.
    pub(crate) fn url(&self, part: &str) -> String {
        let url = self.addresses[part].as_str();
        url.unwrap_or_else(|| panic!("no {part} in {}", self.addresses))
            .to_owned()
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = (&String, String)> {
        let parts = self.addresses.as_object().unwrap();
        parts
            .iter()
            .map(|(part, url)| (part, url.as_str().unwrap().to_owned()))
    }

    /// Asks the lab to stop.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.process.pid(), signal).unwrap();
    }
}
