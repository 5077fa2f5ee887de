//! How often, how long and how large: for each service, name, kind and status of spans.

use std::{hash::BuildHasher, time::Instant};

use hashbrown::DefaultHashBuilder;

use super::{
    series::{Histogram, Labels, Limits, Series},
    text,
};
use crate::span::{Kind, Span, SpanId, StatusCode, TraceId};

/// In seconds.
pub(super) const BOUNDS: [f64; 14] = [
    0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
    16.384,
];

const LIMITS: Limits = Limits {
    rows: 4000,
    bytes: 1 << 20,
};

pub(super) struct Calls {
    pub(super) series: Series<CallLabels, CallCounts>,
}

/// What a span is counted under.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Call<'a> {
    pub(super) service: &'a str,
    pub(super) name: &'a str,
    kind: u8,
    status: u8,
}

/// The same, free of what it was read from.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallLabels {
    pub(super) service: Box<str>,
    pub(super) name: Box<str>,
    kind: u8,
    status: u8,
}

#[derive(Clone, Default)]
pub(super) struct CallCounts {
    pub(super) seconds: Histogram<{ BOUNDS.len() + 1 }>,
    /// The newest span of each bucket.
    pub(super) examples: [Option<Example>; BOUNDS.len() + 1],
    pub(super) bytes: u64,
}

/// A span that fell into a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Example {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) seconds: f64,
    pub(super) end_unix_nano: u64,
}

impl<'a> Call<'a> {
    pub(super) fn new(service: &'a str, span: &'a Span<'_>) -> Call<'a> {
        Call {
            service,
            name: text::cut(&span.name),
            kind: span.kind.number(),
            status: span.status.code.number(),
        }
    }

    pub(super) fn hash(&self, hasher: &DefaultHashBuilder) -> u64 {
        hasher.hash_one(self)
    }
}

impl CallLabels {
    fn call(&self) -> Call<'_> {
        Call {
            service: &self.service,
            name: &self.name,
            kind: self.kind,
            status: self.status,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::from_number(self.kind.into())
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_number(self.status.into())
    }
}

impl Labels for CallLabels {
    fn hash(&self, hasher: &DefaultHashBuilder) -> u64 {
        self.call().hash(hasher)
    }

    fn bytes(&self) -> usize {
        self.service.len() + self.name.len()
    }
}

impl Calls {
    pub(super) fn new(hasher: DefaultHashBuilder, now: Instant) -> Calls {
        Calls {
            series: Series::new(LIMITS, hasher, now),
        }
    }

    /// `hash` is that of the call.
    pub(super) fn count(
        &mut self,
        call: Call<'_>,
        hash: u64,
        example: Example,
        bytes: u64,
        now: Instant,
    ) {
        let is = |labels: &CallLabels| labels.call() == call;
        let labels = || CallLabels {
            service: call.service.into(),
            name: call.name.into(),
            kind: call.kind,
            status: call.status,
        };
        let counts = self.series.row(hash, now, is, labels);
        let bucket = counts.seconds.observe(&BOUNDS, example.seconds);
        if let Some(newest) = counts.examples.get_mut(bucket) {
            *newest = Some(example);
        }
        counts.bytes += bytes;
    }
}
