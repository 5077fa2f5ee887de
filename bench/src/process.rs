//! A child process, and what Linux says it has used.

use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a child may take to stop when it is asked to.
const GRACE: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(20);

/// Killed when dropped.
pub(crate) struct Process(Child);

/// What a process has used so far, of the threads that it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Of user and kernel.
    pub(crate) cpu: Duration,
    /// How often a thread got a processor.
    pub(crate) switches: u64,
}

impl Used {
    /// What it used meanwhile.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            switches: self.switches.saturating_sub(before.switches),
        }
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn();
        let child = child.with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self(child))
    }

    /// The ends of the pipes to it, once, where it was started with pipes.
    pub(crate) fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.0.stdin.take()?, self.0.stdout.take()?))
    }

    /// The end of the pipe to it alone.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(self.used()?.cpu)
    }

    /// CPU time to the nanosecond, while `/proc/PID/stat` counts in hundredths of a second.
    pub(crate) fn used(&self) -> anyhow::Result<Used> {
        let mut used = Used::default();
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            // proc_pid_schedstat: time on the CPU, time waiting for it, number of time slices.
            let schedstat = match fs::read_to_string(task?.path().join("schedstat")) {
                // A thread that ended meanwhile.
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            let mut fields = schedstat.split_whitespace().map(str::parse);
            let (Some(cpu), _, Some(slices)) = (fields.next(), fields.next(), fields.next()) else {
                bail!("schedstat says `{schedstat}`");
            };
            used.cpu += Duration::from_nanos(cpu?);
            used.switches += slices?;
        }
        Ok(used)
    }

    /// Resident memory now, in kB.
    pub(crate) fn resident_kb(&self) -> anyhow::Result<u64> {
        self.status_kb("VmRSS:")
    }

    /// The most resident memory that it ever had, in kB.
    pub(crate) fn peak_kb(&self) -> anyhow::Result<u64> {
        self.status_kb("VmHWM:")
    }

    fn status_kb(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kb = line.and_then(|line| line.split_whitespace().next());
        Ok(kb
            .with_context(|| format!("/proc/PID/status has no {name}"))?
            .parse()?)
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        self.ended()
    }

    /// Waits until it has stopped.
    pub(crate) fn ended(mut self) -> anyhow::Result<()> {
        for _ in 0..GRACE.as_millis() / POLL.as_millis() {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("process {} did not stop within {GRACE:?}", self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Finds a program on PATH.
pub(crate) fn on_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(name));
    found.find(|file| is_file(file))
}

pub(crate) fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file())
}
