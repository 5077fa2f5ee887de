//! Why a pipeline does not start, and what a flush or a shutdown has to say.

use std::{fmt, io};

use opentelemetry_sdk::error::OTelSdkError;

use crate::{ConfigError, Dropped, signal::Signal};

/// Why a pipeline did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no thread for the exporter, or no runtime for it.
    #[error("starting the exporter's thread")]
    Thread(#[source] io::Error),
}

/// Why a flush or a shutdown is no success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// There was a shutdown before, whose result was the last.
    #[error("the pipeline was shut down already")]
    AlreadyShutdown,
    /// Not all spans were delivered.
    #[error(transparent)]
    Undelivered(Undelivered),
}

/// Spans that were not delivered, and those of which no flush had told when this one was asked for.
///
/// Flushes and a shutdown that run at the same time each tell of the same losses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Undelivered {
    /// Spans that will not arrive.
    pub dropped: Dropped,
    /// Spans that had ended before a flush and were not sent when its time was over. They are still being tried.
    pub pending: u64,
    /// What the collector, or the network, last said.
    pub cause: Option<String>,
    pub(crate) signal: Signal,
}

impl Undelivered {
    /// How many spans were not delivered.
    pub fn total(&self) -> u64 {
        self.dropped.total() + self.pending
    }
}

impl fmt::Display for Undelivered {
    /// E.g. "3 spans were not delivered: 2 refused, 1 pending (permission denied)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        match total {
            1 => write!(f, "1 {} was not delivered", self.signal.one())?,
            _ => write!(f, "{total} {} were not delivered", self.signal.many())?,
        }
        let reasons = self.dropped.reasons().into_iter();
        let all = reasons.chain([("pending", self.pending)]);
        for (i, (reason, count)) in all.filter(|(_, count)| *count > 0).enumerate() {
            let separator = if i == 0 { ": " } else { ", " };
            write!(f, "{separator}{count} {reason}")?;
        }
        match &self.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl From<FlushError> for OTelSdkError {
    fn from(error: FlushError) -> Self {
        match error {
            FlushError::AlreadyShutdown => Self::AlreadyShutdown,
            FlushError::Undelivered(_) => Self::InternalFailure(error.to_string()),
        }
    }
}
