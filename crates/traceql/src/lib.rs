#![doc = include_str!("../README.md")]
//!
//! # What may surprise, and is as in Tempo 3.0.3
//!
//! - `&&` and `||` bind alike, from the left: `a || b && c` is `(a || b) && c`.
//! - The name of an attribute ends only at white space or one of `{ } ( ) = ~ ! < > & | ^ ,`: `.a+1` is a name.
//! - Nothing compares with an attribute that a span does not have, nor with one of another type: neither `.a = 1` nor
//!   `.a != 1` is true then. Only `.a = nil` is; `!(.a = 1)` too. Intrinsics and `resource.service.name` are never nil,
//!   and asking whether they are is a mistake.
//! - Numbers and durations compare with each other, a duration as its nanoseconds; strings have an order, statuses and
//!   kinds have none. A status is no number: `status = 2` is a mistake.
//! - Of equal series `topk` and `bottomk` choose by how labels are written: text by the alphabet, `nil` is text too.
//! - A list equals, and matches, what any of its items does.
//! - `.a` by itself is true if it is the boolean `true`. `a || b` is false where one of both is no boolean.
//! - An attribute without a scope is the span's, else the resource's.
//! - Regular expressions match whole strings, `.` matches line ends.
//! - `a ^ b` of two ints is b to the power of a; if either is a float, it is a to the power of b.
//! - Metrics are of intervals that end with their last nanosecond, from one step before the query's time. Of durations only
//!   a span's own is in seconds for `min_over_time` and its like. Histograms and quantiles know powers of two only, and
//!   leave out floats and what is less than two.
//! - Structural operators return spans of the right side. Roots are siblings of each other.
//! - `parent.` is refused, and so is a pipeline as an operand of arithmetic, though both have a grammar.
//!
//! # What differs from Tempo 3.0.3
//!
//! ## The language
//!
//! - Aggregates compare with each other and with computed numbers, `max(duration) > 2 * avg(duration)`; Tempo takes only
//!   one aggregate and one literal, in this order. An operand of a spanset operator may be a pipeline on either side.
//! - `parent.` is refused after metrics functions too; a hint may have any word as its name.
//! - What has no value is nil and fails no query: a division of ints by zero, the opposite of a string, arithmetic with
//!   lists or with what is no number. Tempo fails the query, or takes `false` for the value.
//!
//! ## Attributes, and those that are missing
//!
//! - An attribute without a scope that neither the span nor its resource has is the event's, the link's, the
//!   instrumentation's. Tempo finds these only if the query names them with their scope too. Where both the span and its
//!   resource have it, the span's counts and is shown; Tempo shows both.
//! - Ints compare with floats everywhere. Tempo finds no int with `span.a > 0.5` and no float with `span.a > 1`, unless one
//!   side is computed or is another attribute.
//! - `.a = nil` is true of every span that has no `.a`, `event.a = nil` of a span without events. Tempo leaves out spans,
//!   resources and events that have no attributes at all, and finds `.a = nil` where only one of span and resource has it.
//!   Where a query asks for more it misses others too, and `.a != nil` finds there what `.a = nil` does. As the value of `.a` it
//!   may show the name of another attribute.
//! - `!(.a = 1)`, and `true` or a boolean attribute as an operand of `||`, are true of spans that nothing else in the query
//!   is about. Tempo does not look at these. To it `nil` has an order too where the attribute has a column of its own, as
//!   `http.status_code` and `k8s.pod.name` do.
//! - A service name that is missing compares with nothing. Tempo takes it for an empty string: `resource.service.name != "a"`.
//! - A list differs from what all of its items differ from, as Tempo's documentation says. Tempo finds one of which any item
//!   differs, and fails most queries with a regular expression, or two comparisons joined by `||`, over lists, and all that
//!   compare two lists. A span is shown with its whole list, in Tempo with the items that a comparison finds.
//! - A list of a single item is a list, and an empty one is a value. To Tempo they are that item, and nil.
//! - An attribute that has a column of its own in Tempo exists whatever its type. Tempo finds with `.http.status_code != nil`
//!   only ints.
//! - A key that a span has several times, which OTLP does not allow, has all of these values: any may make a comparison true,
//!   and the first that does is shown; metrics count the first, `compare()` counts each. Tempo does the same of one filter that
//!   compares with literals; of other queries it takes the first value alone, and shows the last. A column of its own has one.
//!
//! ## Events and links
//!
//! - A comparison is true if it is for any event or link of the span, each comparison by itself. In Tempo those that `&&` joins
//!   have to be for the same event, and with `||` or several spansets only the first event that has the attribute counts.
//! - Of several events or links that meet a comparison, or of which nothing is asked, the first is shown; in Tempo the last.
//! - `link:traceID` has all its digits; Tempo drops leading zeros.
//! - Spans without links meet nothing that is asked of an id of links. To Tempo they meet two `!=` of the same one:
//!   `{ link:spanID != "1" && link:spanID != "2" }`.
//!
//! ## Structure and pipelines
//!
//! - `span:parentID` of a root is empty. Tempo shows sixteen zeros, which a query for the roots has to name, and finds nothing
//!   with `span:parentID = ""`.
//! - Spans whose parent is missing, cycles of parents, and traces without a root have a structure too. Where nothing else in
//!   the query is about such spans, Tempo does not look at them: `{ kind = client } !>> { }`.
//! - Of several roots the one that starts first names the trace, in Tempo the one that it keeps last.
//! - Who implements [`Trace::parent`] decides what is above a span. Of a client and a server that share an id, as with Zipkin,
//!   this is meant to be the client for the server, unless that is a root, and the server for others, or the client if they are
//!   servers. In Tempo the server is below the client only if the shared id is that of its parent too.
//! - Of other spans with one id the first is the parent. Tempo takes the server of two, for a server the client, and knows no
//!   parent if neither is that; of three with one id it knows no structure of their trace.
//! - A span that ends before it starts takes no time. To Tempo its duration is negative, and shown as 584 years;
//!   `duration >= 0s` misses it and spans that came with it.
//! - Siblings are numbered as nested sets in the order of the trace's spans. Tempo numbers them as they came.
//! - `&>>` and the like return exactly the spans that take part.
//! - Spansets after `by(…)` each have their own relatives: `{} | by(status) | {} ~ {}`. Tempo mixes the groups up. After
//!   `select(…)` it groups by nil.
//! - The average of ints may be negative, and aggregates ignore what is no number. Ints and floats are numbers alike; Tempo
//!   adds up only what has the type of the first value, and takes text for more than a number.
//! - Of floats below zero `max` is the nearest to it and `min` the farthest. Tempo has it the other way round.
//!
//! ## Metrics
//!
//! - `max_over_time(event:timeSinceStart)` ignores spans without events, which are 0 to Tempo.
//! - `sum_over_time` ignores spans without the value, of which Tempo forgets what it summed before.
//! - A label is left out where it is nil, of which Tempo writes `nil` for attributes that have a column of their own, so that
//!   `topk` and `bottomk` choose otherwise among equal series.
//! - All values are counted and grouped by. Tempo takes for nil those that no filter matches, if the query has `||` or several
//!   spansets: `{ span.a != 1 } << { } | rate() by (span.a)`, `{ span.a <= 1 } || { } | avg_over_time(span.a)`,
//!   `{ duration < 1s } !~ { } | quantile_over_time(duration, .5)`.
//! - `by (.a)` has a series for each list. Tempo has one for all lists of more than one item, as if they were nil, and ends with
//!   a panic if that is asked of `avg_over_time`.
//! - `compare()` counts up to 1000 values of a field before it chooses the most frequent ones, and every list is a value. To
//!   Tempo all lists of more than one item are nil.
//! - `compare()` counts neither nil, as Tempo does for attributes that have a column of their own, nor `span:childCount`, which
//!   it can count only of whole traces. Tempo counts twice what the filters before it ask for, and of events and links nothing
//!   else.
//! - What `compare()` selects may be asked of events, links, ids and nested sets, too. Tempo selects nothing then, and where an
//!   attribute is missing that has a column of its own, it takes it for the text `nil`: `compare({ .http.method != nil })`.
//! - The selection's own time is exact. Tempo rounds the starts of spans up to whole 15 seconds, minutes, five minutes or hours,
//!   of which the step is a multiple.

mod ast;
mod completion;
mod condition;
mod display;
mod duration;
mod evaluate;
mod lexer;
mod metrics;
mod parser;
mod pattern;
mod structure;
mod value;

use std::fmt;
use std::str::FromStr;

pub use ast::{
    Aggregate, Arithmetic, Attribute, Comparison, Field, FieldExpression, Form, Hint, Intrinsic,
    Kin, Metrics, MetricsFunction, Pipeline, Query, Relation, ScalarExpression, ScalarFilter,
    Scope, SecondStage, SpansetExpression, Stage,
};
pub use completion::{AttributesOf, Completion, ValuesOf, Word, WordKind, complete};
pub use condition::{Condition, Necessary, TraceCondition};
pub use evaluate::{EvaluateError, Expressions, Spanset, Trace, evaluate};
pub use metrics::{Aggregator, Contrast, Exemplar, Series, Window};
pub use pattern::{Pattern, PatternError};
pub use structure::{Parent, Structure};
pub use value::{Items, Kind, Source, Static, Status, Value};

/// The longest query, in bytes.
pub const MAX_LEN: usize = 128 * 1024;

/// How deep a query may nest, counting brackets, prefixes and operands; `&&` and `||` chains of any length are one level,
/// and so are a prefix or an operator and the bracket right behind it.
///
/// Whatever walks a parsed tree may recurse: 512 KiB of stack are enough. A tree made by hand has no such bound.
pub const MAX_DEPTH: usize = 100;

/// How many fields a metrics query may group by.
pub const MAX_GROUP_BY: usize = 5;

/// Parses and checks a query.
///
/// # Errors
/// If the text is no query of Tempo 3.0, is longer than [`MAX_LEN`], nests deeper than [`MAX_DEPTH`], or has a regular
/// expression that is too large. It takes time linear in the text, whatever the text is.
pub fn parse(query: &str) -> Result<Query, ParseError> {
    parser::parse(query)
}

/// Parses the name of an attribute or intrinsic, e.g. `span."http.route"`, `.a`, `span:name` or `duration`.
///
/// ```
/// use traceql::{Field, Intrinsic, Scope, parse_field};
///
/// assert_eq!(parse_field("span:name")?, Field::Intrinsic(Intrinsic::Name));
/// let Field::Attribute(route) = parse_field("span.\"http.route\"")? else { unreachable!() };
/// assert_eq!((route.scope, &*route.name), (Some(Scope::Span), "http.route"));
/// # Ok::<(), traceql::ParseError>(())
/// ```
///
/// # Errors
/// If the text is none, or more than one.
pub fn parse_field(field: &str) -> Result<Field, ParseError> {
    parser::parse_field(field)
}

impl FromStr for Query {
    type Err = ParseError;

    fn from_str(query: &str) -> Result<Query, ParseError> {
        parse(query)
    }
}

impl FromStr for Field {
    type Err = ParseError;

    fn from_str(field: &str) -> Result<Field, ParseError> {
        parse_field(field)
    }
}

/// Why a text is no query.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseError {
    /// The byte of the query at which the part that is wrong begins; its length if something is missing at the end.
    pub offset: usize,
    /// Lower case and without a full stop.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.message)
    }
}

impl std::error::Error for ParseError {}
