#![doc = include_str!("../README.md")]

mod baggage;
mod debug;
mod guard;
mod hex;
mod identity;
mod percent;
mod propagator;
mod rejected;
mod traceparent;

pub use crate::{
    debug::JaegerDebug, guard::TraceContextGuard, identity::UberTraceId, propagator::Propagator,
    rejected::Rejected, traceparent::TraceParent,
};
