//! What becomes of headers, with whatever version of OpenTelemetry this is built with.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod documented;
mod guard;
mod promises;
mod propagator;
mod properties;
