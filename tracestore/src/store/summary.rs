//! What a list of traces says about one of them, kept up to date span by span.

use std::collections::BTreeMap;

use crate::span::{Resource, Span, SpanId, StatusCode, TraceId};

/// A trace in one line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) id: TraceId,
    /// The earliest start, in nanoseconds since the Unix epoch.
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

/// What an entry of `Summary::services` takes beside its name, in bytes.
const SERVICE_BYTES: usize = 64;

impl Summary {
    /// Of a trace that has no span yet.
    pub(super) fn new(id: TraceId) -> Summary {
        Summary {
            id,
            start_unix_nano: u64::MAX,
            end_unix_nano: 0,
            root: None,
            services: BTreeMap::new(),
        }
    }

    /// Returns the bytes by which the summary grew.
    pub(super) fn add(&mut self, resource: &Resource<'_>, span: &Span<'_>) -> usize {
        self.start_unix_nano = self.start_unix_nano.min(span.start_unix_nano);
        self.end_unix_nano = self
            .end_unix_nano
            .max(span.end_unix_nano.max(span.start_unix_nano));

        let mut grown = 0;
        let service = resource.service_name().unwrap_or_default();
        let stats = match self.services.get_mut(service) {
            Some(stats) => stats,
            None => {
                grown += service.len() + SERVICE_BYTES;
                self.services.entry(service.into()).or_default()
            }
        };
        stats.spans = stats.spans.saturating_add(1);
        if span.status.code == StatusCode::Error {
            stats.errors = stats.errors.saturating_add(1);
        }

        let rank = (span.start_unix_nano, span.id);
        if span.parent.is_none()
            && self
                .root
                .as_ref()
                .is_none_or(|root| rank < (root.start_unix_nano, root.id))
        {
            grown += service.len() + span.name.len();
            self.root = Some(Root {
                service: service.into(),
                name: (*span.name).into(),
                start_unix_nano: span.start_unix_nano,
                id: span.id,
            });
        }
        grown
    }
}
