//! Log records on standard output and by OTLP, each with the trace and the span that it belongs to.

mod json;
mod otlp;
mod record;
mod text;

use std::io::{self, IsTerminal as _};

use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, filter_fn},
    fmt::{
        FormatEvent,
        format::{DefaultFields, JsonFields},
    },
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

pub(crate) use self::otlp::Otlp;
use self::{json::Json, text::Text};
use crate::{bridge, config::Logging, config::Logs, tracer::Tracer};

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// Installs the subscriber of the process, with a bridge from spans of `tracing` if there is a tracer for them, and records by
/// OTLP if they are to be sent.
///
/// # Errors
/// There is one already, which then goes on as it did. Says so in words.
pub(crate) fn install(
    logging: &Logging,
    logs: Logs,
    service: &str,
    bridge: Option<Tracer>,
    otlp: Option<Otlp>,
) -> Result<(), String> {
    let filter = || EnvFilter::builder().parse_lossy(&logging.filter);
    let shown = match (logging.exporters.console, logging.exporters.otlp) {
        (true, _) => Some(Shown::All),
        // What is wrong with telemetry cannot be told by telemetry.
        (false, true) => Some(Shown::Troubles),
        (false, false) => None,
    };
    let lines: Option<Boxed> = match (logs, shown) {
        (Logs::Off, _) | (_, None) => None,
        (Logs::Json, Some(shown)) => Some(lines(
            Json::new(service),
            JsonFields::new(),
            filter(),
            shown,
        )),
        (Logs::Text, Some(shown)) => Some(lines(
            Text::new(service),
            DefaultFields::new(),
            filter(),
            shown,
        )),
    };
    let otlp = otlp.map(|otlp| otlp.with_filter(filter()).boxed());
    let bridge = bridge.map(bridge::layer);
    let layers: Vec<Boxed> = lines.into_iter().chain(otlp).chain(bridge).collect();
    if layers.is_empty() {
        return Ok(());
    }
    let subscriber = tracing_subscriber::registry().with(layers);
    subscriber.try_init().map_err(|err| err.to_string())
}

/// Where nobody has said how logs should look.
pub(crate) fn default_format() -> Logs {
    if io::stdout().is_terminal() {
        Logs::Text
    } else {
        Logs::Json
    }
}

/// Whether it speaks of telemetry itself.
fn is_of_telemetry(target: &str) -> bool {
    otlp::is_never_sent(target) || target.starts_with("telemetry")
}

/// Which records have lines.
#[derive(Clone, Copy)]
enum Shown {
    All,
    /// Warnings and errors of telemetry itself.
    Troubles,
}

fn lines<E, N>(event: E, fields: N, filter: EnvFilter, shown: Shown) -> Boxed
where
    E: FormatEvent<Registry, N> + Send + Sync + 'static,
    N: for<'w> tracing_subscriber::fmt::FormatFields<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .fmt_fields(fields)
        .event_format(event)
        .with_writer(io::stdout)
        .with_ansi(false)
        // Of a pipe that nobody reads there is nobody to tell, and telling standard error could panic.
        .log_internal_errors(false);
    let is_shown = filter_fn(move |metadata| match shown {
        Shown::All => true,
        Shown::Troubles => {
            metadata.is_span()
                || *metadata.level() <= Level::WARN && is_of_telemetry(metadata.target())
        }
    });
    layer.with_filter(filter.and(is_shown)).boxed()
}
