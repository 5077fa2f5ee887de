//! The command line.

use std::path::{Path, PathBuf};
use std::{env, ffi::OsString};

use clap::{Parser, ValueEnum};
use hyper::Uri;

/// Runs the chain of services twice, once blind and once traced, behind an edge, with a trace store beside
/// it, until Ctrl-C.
///
/// Visit http://uservice1.localhost:8000/ and try to tell which part was slow. Then visit
/// http://uservice3.localhost:8000/ and look its trace up at http://127.0.0.1:3200/. Where a port is taken, a
/// free one is used; the addresses that hold are printed once everything is ready.
#[derive(Debug, Parser)]
#[command(name = "lab", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Options {
    /// What stands in front of the services
    ///
    /// `embedded` is our own proxy. `traefik` is a real Traefik 3, found in target/tools or on the PATH,
    /// with the routes of conf/traefik.
    #[arg(long, value_enum, default_value_t = Edge::Embedded)]
    pub(crate) edge: Edge,

    /// Send traces to a Tempo or a collector that already runs, instead of starting a trace store
    ///
    /// The endpoint takes OTLP over gRPC, e.g. http://127.0.0.1:4317. TRACE_URL in the environment tells
    /// the services where people can look at a trace then.
    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    pub(crate) otlp: Option<String>,

    /// Where the trace store keeps traces, so that they are there again after a restart
    ///
    /// Without it that is `lab` in cargo's target folder, or target/lab below the current folder. If another
    /// lab has the folder, traces are kept in memory only, which is said.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["memory", "otlp"])]
    pub(crate) data: Option<PathBuf>,

    /// Let the trace store keep traces in memory only: they end with the lab
    #[arg(long, conflicts_with = "otlp")]
    pub(crate) memory: bool,

    /// Multiply the mock latencies: 1 keeps 100 to 199 ms for Redis and 1000 to 1999 ms for the database
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    pub(crate) latency: Option<f64>,

    /// Write the addresses to this file as JSON, once everything is ready
    #[arg(long, value_name = "FILE")]
    pub(crate) addresses: Option<PathBuf>,

    /// Take free ports for everything instead of 8000, 8080 to 8084, 3200, 4317, 4318 and 14268
    #[arg(long)]
    pub(crate) free_ports: bool,

    /// Report a part that ends, but go on without it
    #[arg(long)]
    pub(crate) keep_going: bool,
}

impl Options {
    /// The port to wish for, 0 for any.
    pub(crate) fn port(&self, usual: u16) -> u16 {
        if self.free_ports { 0 } else { usual }
    }

    /// Where the trace store is to keep traces, as it is told.
    pub(crate) fn storage(&self) -> Vec<OsString> {
        if self.memory {
            return vec!["--memory".into()];
        }
        let data = self.data.clone().unwrap_or_else(|| {
            let program = env::current_exe().unwrap_or_default();
            target(&program).join("lab")
        });
        vec!["--data".into(), data.into()]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Edge {
    Embedded,
    Traefik,
}

/// Cargo's target folder, if this program stands in it: `release/lab` or `{platform}/release/lab` below. Cargo
/// marks it, as <https://bford.info/cachedir/> has it.
fn target(program: &Path) -> PathBuf {
    let above = program.ancestors().skip(2).take(2);
    let mut marked = above.filter(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked
        .next()
        .map_or_else(|| PathBuf::from("target"), Path::to_owned)
}

const EXAMPLES: &str = "\
Examples:
  lab                                   everything, on one machine
  lab --latency 0.1                     the same, ten times as fast
  lab --memory                          without a trace of it on disk
  lab --edge traefik                    behind a real Traefik
  lab --otlp http://127.0.0.1:4317      into a Tempo that already runs
  OTEL_TRACES_EXPORTER=console lab      spans of uservice3 and uservice4 as text in the log

Variables of OpenTelemetry (OTEL_*) reach the services, except the name and the attributes of a resource.
NO_COLOR turns colours off.";

fn endpoint(text: &str) -> Result<String, &'static str> {
    match text.parse::<Uri>() {
        Ok(url) if url.scheme_str() == Some("http") => Ok(text.to_owned()),
        _ => Err("not an http:// URL"),
    }
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (0.0..=100.0).contains(&factor) => Ok(factor),
        _ => Err("not a number from 0 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn traces_are_kept_in_the_target_folder_that_the_program_stands_in() {
        let folder = env::temp_dir().join(format!("lab-options-{}", std::process::id()));
        let target_folder = folder.join("somewhere");
        fs::create_dir_all(&target_folder).unwrap();
        let elsewhere = PathBuf::from("target");
        assert_eq!(target(&target_folder.join("release/lab")), elsewhere);
        fs::write(target_folder.join("CACHEDIR.TAG"), "").unwrap();
        for program in ["release/lab", "aarch64-unknown-linux-gnu/debug/lab"] {
            assert_eq!(target(&target_folder.join(program)), target_folder);
        }
        assert_eq!(target(Path::new("/usr/local/bin/lab")), elsewhere);
        assert_eq!(target(Path::new("")), elsewhere);
        fs::remove_dir_all(folder).unwrap();
    }
}
