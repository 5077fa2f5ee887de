//! What README.org and ARCHITECTURE.md promise, tried on the real processes and files.
//!
//! One test program, because linking the whole chain once is enough.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod http;
mod lab;
mod need;
mod prometheus;
mod repository;
mod trace;
mod traefik;

mod alerts;
mod architecture;
mod bad_environment;
mod bad_headers;
mod browser;
mod collector_faults;
mod compose;
mod dashboards;
mod lesson;
mod logs;
mod matrix;
mod peer_faults;
mod processes;
mod programs;
mod readme;
mod setup;
mod shutdown;
mod walkthrough;
