//! A network and an OTLP collector that fail on request, for tests and measurements.
//!
//! Each runs on a thread of its own, so that it works for code of any shape, and ends when it is dropped.
//! Both panic where they cannot do what a test asked of them.

mod background;
mod collector;
mod proxy;
mod tls;

pub use crate::{
    collector::{Answer, Collector, Export, Failure},
    proxy::{Fault, Proxy},
    tls::{Authority, Certified},
};
