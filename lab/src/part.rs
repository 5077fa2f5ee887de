//! The processes of the lab: started, listened to, and stopped in the order that loses nothing.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::{env, ffi::OsString, fmt, os::unix::process::ExitStatusExt};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{self, Duration};

use crate::child::STOP;
use crate::logs::{Logs, Stream};
use crate::output::Output;

/// How lines begin that say where a part is.
const ANNOUNCED: [&[u8]; 3] = [b"listening on ", b"metrics on ", b"receiving "];

/// How long a part may take to do what others wait for.
const START: Duration = Duration::from_secs(10);

/// Who must be stopped before whom: whatever still sends, before what receives it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) enum Stage {
    Edge,
    Caller,
    Called,
    Store,
}

/// What to start: this binary as the part `name`.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) stage: Stage,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(&'static str, String)>,
}

/// All parts that have been started, and how those ended that have.
#[derive(Debug)]
pub(crate) struct Parts {
    output: Output,
    /// Where lines go beside the output.
    logs: Option<Logs>,
    started: usize,
    running: Vec<Running>,
    end: UnboundedSender<End>,
    ends: UnboundedReceiver<End>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    stage: Stage,
    pid: Pid,
    /// Its end tells the part that the lab is gone.
    _stdin: Option<ChildStdin>,
}

/// The end of a part.
#[derive(Debug)]
pub(crate) struct End {
    name: &'static str,
    status: std::io::Result<ExitStatus>,
}

/// The lines on which a part says where it listens.
#[derive(Debug)]
pub(crate) struct Announcements {
    name: &'static str,
    lines: UnboundedReceiver<String>,
}

impl Parts {
    pub(crate) fn new(output: Output) -> Parts {
        let (end, ends) = mpsc::unbounded_channel();
        Parts {
            output,
            logs: None,
            started: 0,
            running: Vec::new(),
            end,
            ends,
        }
    }

    /// Writes a line of the lab itself.
    pub(crate) fn say(&self, line: fmt::Arguments<'_>) {
        self.output.lab(line);
    }

    /// Has the lines of parts that are started from now on handed to a store, too, which receives OTLP over HTTP.
    pub(crate) fn keep_logs(&mut self, receiver: SocketAddr) {
        self.logs = Some(Logs::to(receiver, self.output.clone()));
    }

    /// Starts a part, whose output goes on to ours line by line.
    pub(crate) fn start(&mut self, recipe: Recipe) -> anyhow::Result<Announcements> {
        let name = recipe.name;
        let mut child = Command::new(env::current_exe()?)
            .arg(name)
            .args(recipe.args)
            .envs(recipe.env)
            // One name and one set of attributes for five services would be a lie.
            .env_remove("OTEL_SERVICE_NAME")
            .env_remove("OTEL_RESOURCE_ATTRIBUTES")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.with_context(|| format!("{name} has no process id"))?;
        let stdin = child.stdin.take();
        self.running.push(Running {
            name,
            stage: recipe.stage,
            pid,
            _stdin: stdin,
        });

        let (announce, lines) = mpsc::unbounded_channel();
        let nth = self.started;
        self.started += 1;
        let speaker = Speaker {
            name,
            nth,
            output: self.output.clone(),
            logs: self.logs.clone(),
        };
        tokio::spawn(accompany(speaker, child, announce, self.end.clone()));
        Ok(Announcements { name, lines })
    }

    /// The address on the next line of a part that begins with these words.
    ///
    /// # Errors
    /// As [`Parts::wait_for`].
    pub(crate) async fn address(
        &mut self,
        from: &mut Announcements,
        words: &str,
    ) -> anyhow::Result<SocketAddr> {
        let what = format!("{} {words}an address", from.name);
        let address = async {
            while let Some(line) = from.lines.recv().await {
                if let Some(address) = line.strip_prefix(words) {
                    return address.trim().parse().context(line);
                }
            }
            bail!("{} says nothing any more", from.name);
        };
        self.wait_for(&what, address).await?
    }

    /// Waits for something that the parts do.
    ///
    /// # Errors
    /// It has not happened within 10 s, or a part has ended before.
    pub(crate) async fn wait_for<T>(
        &mut self,
        what: &str,
        happening: impl Future<Output = T>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            biased;
            Some(end) = self.next_end() => bail!("{end} before everything was ready"),
            happened = time::timeout(START, happening) => {
                happened.with_context(|| format!("waited {START:?} for {what}"))
            }
        }
    }

    /// Waits for the next part to end; `None` when all have.
    pub(crate) async fn next_end(&mut self) -> Option<End> {
        if self.running.is_empty() {
            return None;
        }
        let end = self.ends.recv().await?;
        let ended = self.running.iter().position(|part| part.name == end.name)?;
        // What it may have started itself must not outlive it.
        let _ = kill_process_group(self.running.remove(ended).pid, Signal::KILL);
        Some(end)
    }

    /// Stops all parts, the edge first and the store last, and kills those that do not.
    pub(crate) async fn stop(&mut self) {
        for stage in [Stage::Edge, Stage::Caller, Stage::Called, Stage::Store] {
            if stage == Stage::Store
                && let Some(logs) = &self.logs
            {
                logs.flush().await;
            }
            for part in self.running.iter().filter(|part| part.stage == stage) {
                // It may have ended by itself a moment ago.
                let _ = kill_process(part.pid, Signal::TERM);
            }
            if time::timeout(STOP, self.ended(stage)).await.is_err() {
                for part in self.running.iter().filter(|part| part.stage == stage) {
                    self.say(format_args!(
                        "{} did not stop within {STOP:?}: killing it",
                        part.name
                    ));
                    let _ = kill_process_group(part.pid, Signal::KILL);
                }
                self.ended(stage).await;
            }
        }
    }

    /// Waits until nothing of a stage runs any more, and reports who failed.
    async fn ended(&mut self, stage: Stage) {
        while self.running.iter().any(|part| part.stage == stage) {
            let Some(end) = self.next_end().await else {
                return;
            };
            if !end.status.as_ref().is_ok_and(ExitStatus::success) {
                self.say(format_args!("{end}"));
            }
        }
    }

    /// Kills what still runs.
    pub(crate) async fn kill(&mut self) {
        for part in &self.running {
            let _ = kill_process_group(part.pid, Signal::KILL);
        }
        while self.next_end().await.is_some() {}
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let End { name, status } = self;
        match status {
            Err(err) => write!(f, "{name} is lost: {err}"),
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "{name} ended with exit status {code}"),
                (None, Some(signal)) => write!(f, "{name} was ended by signal {signal}"),
                (None, None) => write!(f, "{name} ended: {status}"),
            },
        }
    }
}

/// Passes a part's lines on until it has ended and everything it said has been written.
async fn accompany(
    speaker: Speaker,
    mut child: Child,
    announce: UnboundedSender<String>,
    end: UnboundedSender<End>,
) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let both = async {
        tokio::join!(
            speaker.pass_on(stdout, Stream::Stdout, Some(announce)),
            speaker.pass_on(stderr, Stream::Stderr, None),
        )
    };
    let mut both = std::pin::pin!(both);
    let status = tokio::select! {
        status = child.wait() => {
            // What it has written is in the pipes; somebody it started may hold them open for ever.
            let _ = time::timeout(Duration::from_secs(1), both).await;
            status
        }
        _ = &mut both => child.wait().await,
    };
    let name = speaker.name;
    // Nobody listens any more once the lab itself is at its end.
    let _ = end.send(End { name, status });
}

/// A part whose lines are passed on.
struct Speaker {
    name: &'static str,
    nth: usize,
    output: Output,
    logs: Option<Logs>,
}

impl Speaker {
    async fn pass_on(
        &self,
        pipe: Option<impl AsyncRead + Unpin>,
        stream: Stream,
        announce: Option<UnboundedSender<String>>,
    ) {
        let Some(pipe) = pipe else { return };
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while pipe
            .read_until(b'\n', &mut bytes)
            .await
            .is_ok_and(|read| read > 0)
        {
            let line = bytes.trim_ascii_end();
            if let Some(announce) = &announce
                && ANNOUNCED.iter().any(|words| line.starts_with(words))
            {
                // The receiver goes away once it has heard enough.
                let _ = announce.send(String::from_utf8_lossy(line).into_owned());
            }
            if let Some(logs) = &self.logs {
                logs.line(self.name, stream, line);
            }
            self.output.part(self.name, self.nth, line).await;
            bytes.clear();
        }
    }
}
