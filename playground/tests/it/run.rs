//! The playground as a process, and what it says at its end.

use std::{
    collections::BTreeSet,
    process::{Command, Output, Stdio},
};

/// A playground that sends to `endpoint`, ten times as fast as it is for people.
pub(crate) fn playground(endpoint: &str, arguments: &[&str]) -> Command {
    let quick = ["--latency", "0.1", "--rate", "100"];
    bare(endpoint, &[&quick[..], arguments].concat())
}

/// With these arguments alone.
pub(crate) fn bare(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_playground"));
    let inherited = std::env::vars().map(|(name, _)| name);
    for name in inherited.filter(|name| name.starts_with("OTEL_") || name == "TRACE_URL") {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a run said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
    pub(crate) summary: String,
}

/// A trace as the summary lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    /// Method, route and status.
    pub(crate) request: String,
    pub(crate) marks: BTreeSet<String>,
}

/// A query as the summary has it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) finds: usize,
    pub(crate) mark: String,
    pub(crate) query: String,
}

impl Said {
    pub(crate) fn by(command: &mut Command) -> Self {
        Self::at_the_end(command.output().unwrap())
    }

    pub(crate) fn at_the_end(output: Output) -> Self {
        Self {
            code: output.status.code(),
            log: String::from_utf8(output.stdout).unwrap(),
            summary: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn traces(&self) -> Vec<Listed> {
        let rows = self
            .summary
            .lines()
            .filter(|line| line.starts_with("  http"));
        let listed = rows.map(|row| {
            let words: Vec<_> = row.split_whitespace().collect();
            let [url, method, route, status, _time, "s", ref marks @ ..] = words[..] else {
                panic!("{row}");
            };
            Listed {
                id: url.rsplit_once('/').unwrap().1.to_owned(),
                request: format!("{method} {route} {status}"),
                marks: marks.iter().map(|mark| (*mark).to_owned()).collect(),
            }
        });
        listed.collect()
    }

    pub(crate) fn queries(&self) -> Vec<Asked> {
        let rows = self.summary.lines().filter(|line| line.contains(" { "));
        let asked = rows.map(|row| {
            let (finds, rest) = row.trim().split_once(' ').unwrap();
            let (mark, query) = rest.split_once(' ').unwrap();
            Asked {
                finds: finds.parse().unwrap(),
                mark: mark.to_owned(),
                query: query.trim().to_owned(),
            }
        });
        asked.collect()
    }

    /// The listed traces that a query should find.
    pub(crate) fn marked(&self, mark: &str) -> BTreeSet<String> {
        let traces = self.traces().into_iter();
        let marked = traces.filter(|trace| mark == "traces" || trace.marks.contains(mark));
        marked.map(|trace| trace.id).collect()
    }
}
