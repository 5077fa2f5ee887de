//! The language through its public door.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod completion;
mod conditions;
mod errors;
mod evaluation;
mod forest;
mod generate;
mod limits;
mod metrics;
mod patterns;
mod properties;
mod syntax;
