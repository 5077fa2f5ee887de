//! Trace headers: which formats are read and written, and what becomes of bad ones.
//!
//! A trace header is a stranger's word. Whatever it is, nothing panics, what is looked at is bounded, and what is malformed is
//! as if it were absent, and counted; the log has a line when that begins.

pub(crate) mod b3;
mod bad_contexts;
mod baggage;

use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use uber_trace_id::{Propagator, TraceContextGuard};

pub use self::bad_contexts::{BadContext, BadContexts, bad_contexts};
use self::{b3::B3Propagator, bad_contexts::Header, baggage::BaggagePropagator};
use crate::config::Format;

/// A propagator of these formats, of which the later wins where two disagree.
pub(crate) fn propagator(formats: &[Format]) -> TextMapCompositePropagator {
    let mut propagators: Vec<Box<dyn TextMapPropagator + Send + Sync>> = Vec::new();
    let b3 = [Format::B3, Format::B3Multi];
    let last_b3 = formats.iter().rposition(|format| b3.contains(format));
    for (nth, format) in formats.iter().enumerate() {
        propagators.push(match format {
            Format::TraceContext => {
                let guarded = TraceContextGuard::new(TraceContextPropagator::new());
                let guarded = guarded.on_rejected(|why| Header::TraceParent.count(why));
                Box::new(guarded.on_tracestate_rejected(|why| Header::TraceState.count(why)))
            }
            Format::Jaeger => {
                Box::new(Propagator::new().on_rejected(|why| Header::UberTraceId.count(why)))
            }
            Format::Baggage => Box::new(BaggagePropagator::new()),
            // Both read both forms, and so are one.
            Format::B3 | Format::B3Multi if Some(nth) == last_b3 => Box::new(B3Propagator::new(
                formats.contains(&Format::B3),
                formats.contains(&Format::B3Multi),
            )),
            Format::B3 | Format::B3Multi => continue,
        });
    }
    TextMapCompositePropagator::new(propagators)
}
