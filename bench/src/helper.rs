//! Other processes of this program, which answer questions: a line of JSON each, over their standard input and output.

use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde::{Serialize, de::DeserializeOwned};

use crate::process::Process;

/// Ends with the pipe to it, and so never outlives this process.
pub(crate) struct Helper {
    process: Process,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    role: String,
}

impl Helper {
    /// Starts this program with these arguments, and waits for what it says first.
    pub(crate) fn start<R: DeserializeOwned>(arguments: &[&str]) -> anyhow::Result<(Self, R)> {
        Self::start_with(arguments, &[])
    }

    /// As [`start`](Self::start), with these variables in its environment.
    pub(crate) fn start_with<R: DeserializeOwned>(
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<(Self, R)> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args(arguments)
            // Its pipeline is the one that it was told to have, whatever OTEL_* says here.
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let (asks, answers) = process.pipes().context("started with pipes")?;
        let mut helper = Self {
            process,
            asks,
            answers: BufReader::new(answers),
            role: arguments.join(" "),
        };
        let hello = helper.answer()?;
        Ok((helper, hello))
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask<A: Serialize, R: DeserializeOwned>(&mut self, ask: &A) -> anyhow::Result<R> {
        writeln!(self.asks, "{}", serde_json::to_string(ask)?).context(self.role.clone())?;
        self.answer()
    }

    fn answer<R: DeserializeOwned>(&mut self) -> anyhow::Result<R> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("`{}` ended without an answer", self.role);
        }
        serde_json::from_str(&line).with_context(|| format!("`{}` said {line}", self.role))
    }

    /// Tells it that there are no more questions, and waits until it has ended.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        drop(self.asks);
        self.process.ended().context(self.role)
    }
}

/// The other side: says hello, and answers until there are no more questions.
pub(crate) fn serve<A: DeserializeOwned, R: Serialize>(
    hello: &impl Serialize,
    mut answer: impl FnMut(A) -> anyhow::Result<R>,
) -> anyhow::Result<()> {
    let say = |line: String| writeln!(io::stdout(), "{line}");
    say(serde_json::to_string(hello)?)?;
    for line in io::stdin().lines() {
        let answer = answer(serde_json::from_str(&line?)?)?;
        say(serde_json::to_string(&answer)?)?;
    }
    Ok(())
}
