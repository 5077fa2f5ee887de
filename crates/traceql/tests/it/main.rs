//! The language through its public door.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod conditions;
mod errors;
mod limits;
mod patterns;
mod syntax;
