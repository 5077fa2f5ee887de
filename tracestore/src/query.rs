//! What can be asked of the store: the form into which query languages are compiled.
//!
//! Knows neither a language nor columns: see `api` and `store`.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use traceql::Pattern;

use crate::span::{KeyValue, SpanId, TraceId, Value};

/// Which spans are wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    All,
    /// The span has no parent.
    Root,
    Not(Box<Filter>),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    /// The field has a value, and it passes the test.
    Field(Field, Test),
}

/// What a span can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

impl Field {
    /// Whether a span may have several values there: those of its events or links.
    pub(crate) fn has_several(&self) -> bool {
        matches!(
            self,
            Field::EventName | Field::Attribute(Place::Event | Place::Link, _)
        )
    }
}

/// Where an attribute is. A span has the attributes of all its events and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    Span,
    Resource,
    Scope,
    Event,
    Link,
}

/// What a value is held against. Integers and floats are compared as numbers; values of any other
/// two types never pass.
#[derive(Clone, Debug, PartialEq)]
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

/// About how many bytes of spans an answer has at most: a value that is kept once may be in every span.
pub(crate) const MAX_ANSWER_BYTES: usize = 128 << 20;

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

impl SpanSet {
    /// About what it takes in an answer.
    pub(crate) fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(KeyValue::bytes).sum::<usize>();
        64 + attributes + self.spans.iter().map(FoundSpan::bytes).sum::<usize>()
    }
}

/// What is told of a span that was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FoundSpan {
    pub(crate) id: SpanId,
    pub(crate) name: String,
    /// Nanoseconds since the Unix epoch.
    pub(crate) start_unix_nano: u64,
    pub(crate) end_unix_nano: u64,
    /// The wanted attributes that it has, each once.
    pub(crate) attributes: Vec<KeyValue<'static>>,
}

impl FoundSpan {
    /// As above.
    pub(crate) fn bytes(&self) -> usize {
        128 + self.name.len() + self.attributes.iter().map(KeyValue::bytes).sum::<usize>()
    }
}

/// Without what two fields of a query found, as `.a` and `span.a` may.
pub(crate) fn distinct(
    attributes: impl Iterator<Item = KeyValue<'static>>,
) -> Vec<KeyValue<'static>> {
    let mut all = Vec::new();
    for attribute in attributes {
        if !all.contains(&attribute) {
            all.push(attribute);
        }
    }
    all
}

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
    /// What is wanted of those spans beside their names.
    pub(crate) select: Vec<Select>,
}

/// A value that is wanted of a span.
#[derive(Clone, Debug, Default)]
pub(crate) struct Select {
    /// Where to look for it: the first field that the span has counts.
    pub(crate) places: Vec<Field>,
    /// Of several values the first that passes one of these, or else the first.
    pub(crate) preferred: Vec<Test>,
}

impl Select {
    /// Whatever a field holds.
    pub(crate) fn of(field: &Field) -> Select {
        Select {
            places: vec![field.clone()],
            preferred: Vec::new(),
        }
    }
}

/// What is to be read of spans one by one, whichever these are.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
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

    /// The same for a number.
    fn number_of_int(&self, value: i64) -> Option<f64> {
        self.number(Some(Value::Int(value)))
    }

    /// The number of a group. Asked once for each part of the store that has such a span.
    fn group(&mut self, values: &[Option<Value<'_>>]) -> Result<usize, Stopped>;

    /// Counts a span.
    fn add(&mut self, group: usize, start_unix_nano: u64, number: f64);

    /// Whether a span of this group would do as an example.
    fn wants_example(&self, group: usize, start_unix_nano: u64) -> bool;

    /// Takes a span as an example, with its value.
    fn example(
        &mut self,
        group: usize,
        start_unix_nano: u64,
        value: Option<Value<'_>>,
        trace: TraceId,
    );
}

/// A field whose values are all counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CensusField {
    Own(Field),
    /// Of the root of a span's trace.
    RootName,
    /// As above.
    RootServiceName,
}

/// Takes how often values were counted. Values are those of [`Field`].
pub(crate) trait CensusTaker {
    /// How many intervals there are.
    fn intervals(&self) -> usize;

    /// The interval of a span; `None` if it does not count.
    fn interval(&self, start_unix_nano: u64) -> Option<usize>;

    /// Whether a span that starts then may be in the second set.
    fn may_select(&self, start_unix_nano: u64) -> bool;

    /// How many values of a field get numbers of their own, in each set.
    fn max_values(&self) -> usize;

    /// Adds the numbers of spans in each interval that have a value, or, if there is none, one of those that get no
    /// numbers of their own.
    fn add(
        &mut self,
        field: &CensusField,
        is_selected: bool,
        value: Option<Value<'_>>,
        numbers: &[u32],
    ) -> Result<(), Stopped>;
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

    /// For a part of the work, of which the rest does not depend.
    pub(crate) fn at_most(&self, time: Duration) -> Patience {
        Patience {
            until: self.until.min(Instant::now() + time),
            abandoned: Arc::clone(&self.abandoned),
        }
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
