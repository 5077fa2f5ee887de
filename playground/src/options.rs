//! The command line.

use std::sync::OnceLock;

use clap::Parser;

/// Plays requests to a small shop, as traces and logs, and tells which queries find them
///
/// Sends spans and log records to whatever listens on port 4317, e.g. what `cargo run --release` or
/// `cargo run -p tracestore` starts. Logs are on standard output too, as text on a terminal and as JSON
/// otherwise; progress and summary are on standard error.
#[derive(Debug, Parser)]
#[command(name = "playground", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Options {
    /// How many requests, 0 for as many as there is time for until Ctrl-C
    ///
    /// Among twelve there is one of each kind: plain ones, slow ones, failures, and calls that are repeated.
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) requests: u64,

    /// How many of them begin in a second
    #[arg(long, value_name = "PER_SECOND", default_value_t = 5.0, value_parser = rate)]
    pub(crate) rate: f64,

    /// The same number makes the same requests: kinds, order, durations, outcomes
    ///
    /// It is random by default, and told. Ids differ in any case: two traces with the same one would be one
    /// trace to a store.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Multiply the simulated durations
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    pub(crate) latency: f64,

    /// Show metrics at http://ADDR/metrics
    ///
    /// 127.0.0.1:9464 by default, or another port if that is taken, which is told.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,

    #[arg(skip)]
    random: OnceLock<u64>,
}

impl Options {
    /// The one that was asked for, or else one for this run.
    pub(crate) fn seed(&self) -> u64 {
        // Short enough to be typed again.
        let random = || u64::from(rand::random::<u16>());
        self.seed
            .unwrap_or_else(|| *self.random.get_or_init(random))
    }
}

const EXAMPLES: &str = "\
Examples:
  playground                            twelve requests, one of each kind
  playground --seed 42                  the same twelve as last time
  playground --requests 0 --rate 1      one in a second, until Ctrl-C
  OTEL_LOGS_EXPORTER=console playground   log records on standard output only

Where to send, and all else of OpenTelemetry, is in OTEL_* variables. TRACE_URL is the address of a
page that shows a trace, with {trace_id} for its id.";

fn rate(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(rate) if (0.001..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("not a number from 0.001 to 10000"),
    }
}

fn factor(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(factor) if (0.0..=100.0).contains(&factor) => Ok(factor),
        _ => Err("not a number from 0 to 100"),
    }
}
