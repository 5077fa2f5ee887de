//! What is compared.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A way to trace, or not to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// No line of instrumentation.
    None,
    /// OpenTelemetry's API, and nobody behind it.
    NoOp,
    /// The SDK with a processor that drops what it gets: the floor for everything that exports.
    Drop,
    /// The SDK's batch processor and the OTLP exporter over gRPC.
    Stock,
    /// `crates/otlp-pipeline`.
    Ours,
    /// The macros of `tracing`, with the stock pipeline behind tracing-opentelemetry.
    TracingOpentelemetry,
    /// fastrace, with the stock exporter behind fastrace-opentelemetry.
    Fastrace,
}

impl Subject {
    pub(crate) const ALL: [Self; 7] = [
        Self::None,
        Self::NoOp,
        Self::Drop,
        Self::Stock,
        Self::Ours,
        Self::TracingOpentelemetry,
        Self::Fastrace,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoOp => "no-op",
            Self::Drop => "drop",
            Self::Stock => "stock",
            Self::Ours => "ours",
            Self::TracingOpentelemetry => "tracing-opentelemetry",
            Self::Fastrace => "fastrace",
        }
    }

    /// Whether its spans leave the process.
    pub(crate) fn exports(self) -> bool {
        !matches!(self, Self::None | Self::NoOp | Self::Drop)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
