//! What can be asked of log records.

use std::ops::RangeInclusive;

use regex::bytes::{Regex, RegexBuilder};

use crate::span::{SpanId, TraceId};

/// Which records are wanted. Of all conditions that are there, each must hold.
#[derive(Clone, Debug)]
pub(crate) struct LogQuery {
    /// The whole `service.name`.
    pub(crate) service: Option<String>,
    /// OTLP `SeverityNumber`: no less, by the number of a record or else by its text. 0 is all.
    pub(crate) severity: u8,
    /// What the body or an attribute that is a string has in it.
    pub(crate) text: Option<Text>,
    pub(crate) trace: Option<TraceId>,
    pub(crate) span: Option<SpanId>,
    /// When it happened, in nanoseconds since the Unix epoch.
    pub(crate) times: RangeInclusive<u64>,
    /// Records.
    pub(crate) limit: usize,
    pub(crate) place: Place,
}

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The newest.
    Newest,
    /// The newest of those before this one.
    Before(Position),
    /// The first that arrived since: none with a lower number.
    Since(u64),
}

/// The place of a record among all: by time, and then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Nanoseconds since the Unix epoch.
    pub(crate) time: u64,
    /// Its number.
    pub(crate) arrival: u64,
}

/// A text in upper or lower case, as Unicode folds characters one by one.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(super) Regex);

impl Text {
    /// `None` for one that is too long to be searched for.
    pub(crate) fn new(text: &str) -> Option<Text> {
        let mut regex = RegexBuilder::new(&regex::escape(text));
        regex.case_insensitive(true).build().ok().map(Text)
    }
}
