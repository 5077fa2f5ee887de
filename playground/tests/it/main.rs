//! What a run of the playground leaves in a store, and what it says of that.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod ends;
mod queries;
mod readme;
mod records;
mod run;
mod store;
mod traces;
