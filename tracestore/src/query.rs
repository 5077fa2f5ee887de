//! What can be asked of the store: the form into which query languages are compiled.
//!
//! Knows neither a language nor columns: see `api` and `store`.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use traceql::Pattern;

use crate::span::{KeyValue, SpanId, Trace, Value};

/// Which spans are wanted.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    All,
    Not(Box<Filter>),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    /// The field has a value, and it passes the test.
    Field(Field, Test),
}

/// What a span can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    Name,
    /// The number of OTLP's `SpanKind`.
    Kind,
    /// The number of OTLP's `StatusCode`.
    Status,
    StatusMessage,
    /// In nanoseconds; 0 for a span that ends before it starts.
    Duration,
    ScopeName,
    ScopeVersion,
    /// Of any of its events.
    EventName,
    Attribute(Place, Box<str>),
}

/// Where an attribute is. A span has the attributes of all its events and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Span,
    Resource,
    Scope,
    Event,
    Link,
}

/// What a value is held against. Integers and floats are compared as numbers; values of any other
/// two types never pass.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// A value of a type that query languages know: none that is empty, bytes or a map.
    Present,
    Compare(Comparison, Operand),
    /// The whole of a string matches.
    Matches(Pattern),
    /// It is a string and does not match.
    MatchesNot(Pattern),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    String(Box<str>),
    Bool(bool),
    Int(i64),
    Float(f64),
}

/// Which traces are wanted.
#[derive(Clone, Debug)]
pub(crate) enum TraceFilter {
    /// Any span passes.
    Some(Filter),
    And(Vec<TraceFilter>),
    Or(Vec<TraceFilter>),
}

/// Spans of a trace that a query found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SpanSet {
    /// How many there are.
    pub(crate) matched: u32,
    /// The first of them by start and id.
    pub(crate) spans: Vec<FoundSpan>,
    /// What they have in common.
    pub(crate) attributes: Vec<KeyValue<'static>>,
}

/// What is told of a span that was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FoundSpan {
    pub(crate) id: SpanId,
    pub(crate) name: String,
    /// Nanoseconds since the Unix epoch.
    pub(crate) start_unix_nano: u64,
    pub(crate) end_unix_nano: u64,
    /// The wanted attributes that it has.
    pub(crate) attributes: Vec<KeyValue<'static>>,
}

/// Looks at a whole trace, and tells what it found there; nothing if the trace is not wanted.
pub(crate) type Judge<'a> = dyn Fn(&Trace<'_>) -> Result<Vec<SpanSet>, Stopped> + 'a;

/// A search for traces.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// What columns can tell. Without a judge, its spans are those that were found.
    pub(crate) filter: TraceFilter,
    /// Nanoseconds since the Unix epoch: only traces that were running or received in it.
    pub(crate) window: Option<RangeInclusive<u64>>,
    /// Traces, the newest first.
    pub(crate) limit: usize,
    /// Spans that passed, of each trace; the earliest.
    pub(crate) spans_per_trace: usize,
    /// Attributes of those spans that are wanted beside their names.
    pub(crate) select: Vec<Field>,
}

/// What is to be read of spans one by one.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) filter: Filter,
    /// Nanoseconds since the Unix epoch.
    pub(crate) starts: RangeInclusive<u64>,
    /// Where to look for a value, in this order. Not events and links, of which a span may have several.
    pub(crate) value: Option<Vec<Field>>,
    /// Likewise for each field that spans are grouped by.
    pub(crate) by: Vec<Vec<Field>>,
}

/// Takes what is read. Values are those of [`Field`]: kinds, statuses and durations are integers.
pub(crate) trait Counter {
    /// What a span with this value adds to its group; nothing if it does not count.
    fn number(&self, value: Option<Value<'_>>) -> Option<f64>;

    /// The number of a group. Asked once for each part of the store that has such a span.
    fn group(&mut self, values: &[Option<Value<'_>>]) -> Result<usize, Stopped>;

    /// Counts a span.
    fn add(&mut self, group: usize, start_unix_nano: u64, number: f64);
}

/// How long a query may go on.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    until: Instant,
    abandoned: Arc<AtomicBool>,
}

/// Ends the query when it is dropped: the client that asked is gone.
#[derive(Debug)]
pub(crate) struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A query did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("the query took too long")]
    Deadline,
    #[error("nobody waits for the answer")]
    Abandoned,
}

impl Patience {
    pub(crate) fn until(until: Instant) -> (Patience, Abandon) {
        let abandoned = Arc::new(AtomicBool::new(false));
        let patience = Patience {
            until,
            abandoned: Arc::clone(&abandoned),
        };
        (patience, Abandon(abandoned))
    }

    /// To be called before each piece of work of about a millisecond.
    pub(crate) fn check(&self) -> Result<(), Stopped> {
        if self.abandoned.load(Ordering::Relaxed) {
            Err(Stopped::Abandoned)
        } else if Instant::now() >= self.until {
            Err(Stopped::Deadline)
        } else {
            Ok(())
        }
    }
}
