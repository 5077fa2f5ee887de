//! A line of a pipeline's log, for the tests of two programs.

use std::fmt::Debug;

use tracing::{
    Event,
    field::{Field, Visit},
};

/// What it says, and of which collector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) endpoint: String,
    pub(crate) message: String,
}

impl Line {
    /// `None` if somebody else says it.
    pub(crate) fn of(event: &Event<'_>) -> Option<Self> {
        (event.metadata().target() == "otlp_pipeline").then(|| {
            let mut line = Self::default();
            event.record(&mut line);
            line
        })
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "endpoint" {
            value.clone_into(&mut self.endpoint);
        }
    }
}
