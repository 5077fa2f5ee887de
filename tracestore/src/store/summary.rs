//! What a list of traces says about one of them.

use std::collections::BTreeMap;

use super::part::Outlined;
use crate::span::{SpanId, StatusCode, TraceId};

/// A trace in one line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) id: TraceId,
    /// The earliest start, in nanoseconds since the Unix epoch; 0 if none is known.
    pub(crate) start_unix_nano: u64,
    /// The latest end, in nanoseconds since the Unix epoch, never before the start.
    pub(crate) end_unix_nano: u64,
    /// The span without a parent; the earliest, and of those the one with the lowest id, if there
    /// are several. `None` until it arrives.
    pub(crate) root: Option<Root>,
    /// By `service.name`, empty where there is none.
    pub(crate) services: BTreeMap<Box<str>, ServiceStats>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Root {
    pub(crate) service: Box<str>,
    pub(crate) name: Box<str>,
    start_unix_nano: u64,
    id: SpanId,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceStats {
    pub(crate) spans: u32,
    /// Spans with the status `Error`.
    pub(crate) errors: u32,
}

impl Summary {
    /// Of a trace that has no span yet.
    pub(super) fn new(id: TraceId) -> Summary {
        Summary {
            id,
            start_unix_nano: 0,
            end_unix_nano: 0,
            root: None,
            services: BTreeMap::new(),
        }
    }

    /// Counts a span in.
    pub(super) fn add(&mut self, span: &Outlined, service: &str) {
        let (start, id) = (span.start, span.id);
        self.start_unix_nano = match (self.start_unix_nano, start) {
            (0, known) | (known, 0) => known,
            (a, b) => a.min(b),
        };
        self.end_unix_nano = self.end_unix_nano.max(span.end).max(start);

        if !self.services.contains_key(service) {
            self.services
                .insert(service.into(), ServiceStats::default());
        }
        if let Some(stats) = self.services.get_mut(service) {
            stats.spans = stats.spans.saturating_add(1);
            if span.status == StatusCode::Error {
                stats.errors = stats.errors.saturating_add(1);
            }
        }

        let is_earlier = |root: &Root| (start, id) < (root.start_unix_nano, root.id);
        if let Some(name) = &span.root
            && self.root.as_ref().is_none_or(is_earlier)
        {
            self.root = Some(Root {
                service: service.into(),
                name: name.clone(),
                start_unix_nano: start,
                id,
            });
        }
    }
}
