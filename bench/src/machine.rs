//! On what was measured, and with which versions.

use std::collections::BTreeMap;
use std::process::Command;
use std::{fs, thread};

use anyhow::Context as _;
use serde::Serialize;

/// The lock file that this program was built with.
const LOCKED: &str = include_str!("../../Cargo.lock");

/// The crates that are compared, and those that everything stands on.
const CRATES: [&str; 10] = [
    "fastrace",
    "fastrace-opentelemetry",
    "hyper",
    "opentelemetry",
    "opentelemetry-otlp",
    "opentelemetry_sdk",
    "tokio",
    "tonic",
    "tracing",
    "tracing-opentelemetry",
];

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// As the processor calls itself.
    pub(crate) cpu: String,
    /// That many threads run at once.
    pub(crate) parallelism: usize,
    pub(crate) memory_gb: u64,
    pub(crate) system: String,
    /// The compiler on PATH, most likely that of this program.
    pub(crate) compiler: Option<String>,
    pub(crate) versions: BTreeMap<&'static str, &'static str>,
}

impl Machine {
    pub(crate) fn look() -> anyhow::Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let memory = field(&memory, "MemTotal").context("/proc/meminfo")?;
        let kb: u64 = memory.trim_end_matches(" kB").parse()?;
        let kernel = rustix::system::uname();
        Ok(Self {
            cpu: field(&cpu, "model name").unwrap_or("unknown").to_owned(),
            parallelism: thread::available_parallelism()?.get(),
            memory_gb: (kb + (1 << 19)) >> 20,
            system: format!(
                "{} {}",
                kernel.sysname().to_string_lossy(),
                kernel.release().to_string_lossy()
            ),
            compiler: compiler(),
            versions: CRATES
                .into_iter()
                .filter_map(|name| Some((name, version(name)?)))
                .collect(),
        })
    }
}

fn compiler() -> Option<String> {
    let said = Command::new("rustc").arg("--version").output().ok()?;
    let version = String::from_utf8(said.stdout).ok()?;
    Some(version.trim().to_owned()).filter(|version| !version.is_empty())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| field.trim() == name)?;
    Some(value.trim())
}

/// The version of a crate that is locked once.
fn version(name: &str) -> Option<&'static str> {
    let (_, package) = LOCKED.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    package.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::{CRATES, version};

    #[test]
    fn every_crate_that_is_named_is_in_the_lock_file() {
        for name in CRATES {
            assert!(version(name).is_some_and(|it| it.contains('.')), "{name}");
        }
    }
}
