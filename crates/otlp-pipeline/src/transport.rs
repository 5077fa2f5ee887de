//! Brings encoded requests to the collector, and settles what became of each.
//!
//! Knows nothing of spans: a request is bytes, an encoded `ExportTraceServiceRequest`.

use std::time::Duration;

use bytes::Bytes;

use crate::{Config, ConfigError};

/// A collector, and the connection to it.
///
/// Holds one connection at most, made by the first request that needs it and made anew after it failed.
#[derive(Debug)]
pub(crate) struct Transport {}

/// What happens while a request is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// An attempt failed, and is repeated after a pause.
    Failed { cause: String, again_in: Duration },
}

/// What became of a request. Causes are one line, bounded, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The collector took it.
    Accepted {
        /// How many of its spans the collector says it rejected (OTLP, "Partial Success"). The
        /// collector's word: it may be more than the request had.
        rejected: u64,
        /// Why, or if none were rejected a warning; often empty.
        message: String,
    },
    /// The collector refused it, and would refuse it again.
    Refused { cause: String },
    /// [`Retry`](crate::Retry) allows no further attempt.
    GaveUp { cause: String },
}

impl Transport {
    /// Checks endpoint, headers, certificates and times: all that can be wrong before the first request.
    ///
    /// Needs no runtime and does not connect. Reads the system's certificates if it needs them.
    pub(crate) fn new(_config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {})
    }

    /// Sends a request, repeating it as [`Retry`](crate::Retry) allows, until it is settled.
    ///
    /// `told` hears of each failure after which the request is repeated. Dropping the future abandons the
    /// request, which may have arrived; the transport can be used further.
    ///
    /// Needs a runtime of tokio with I/O and time. Names are resolved on its blocking threads, which a
    /// dropped runtime waits for: end it with `shutdown_background`.
    pub(crate) async fn deliver(
        &mut self,
        _request: Bytes,
        _told: &mut dyn FnMut(Event),
    ) -> Outcome {
        Outcome::GaveUp {
            cause: "no protocol is spoken yet".to_owned(),
        }
    }
}
