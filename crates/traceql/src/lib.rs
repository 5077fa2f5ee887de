//! TraceQL, the query language of Grafana Tempo, as of Tempo 3.0.
//!
//! [`parse`] makes a tree of a query or says where and why it cannot; the tree prints in a canonical form that parses back
//! to the same tree. [`Query::trace_condition`] and [`FieldExpression::condition`] say what a store may skip.
//! Nothing here does I/O or knows how traces are kept.
//!
//! ```
//! let query = traceql::parse("{resource.service.name=\"shop\"}>>{status=error}|count()>2")?;
//! assert_eq!(
//!     query.to_string(),
//!     "{ resource.service.name = `shop` } >> { status = error } | count() > 2",
//! );
//!
//! let error = traceql::parse("{ duration > \"1s\" }").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "at offset 11: `>` needs two values of one type, not a duration and a string",
//! );
//! # Ok::<(), traceql::ParseError>(())
//! ```

mod ast;
mod condition;
mod display;
mod duration;
mod lexer;
mod parser;
mod pattern;
mod value;

use std::fmt;
use std::str::FromStr;

pub use ast::{
    Aggregate, Arithmetic, Attribute, Comparison, Field, FieldExpression, Form, Hint, Intrinsic,
    Kin, Metrics, MetricsFunction, Pipeline, Query, Relation, ScalarExpression, ScalarFilter,
    Scope, SecondStage, SpansetExpression, Stage,
};
pub use condition::{Condition, Necessary, TraceCondition};
pub use pattern::Pattern;
pub use value::{Items, Kind, Source, Static, Status, Value};

/// The longest query, in bytes.
pub const MAX_LEN: usize = 128 * 1024;

/// How deep a query may nest, counting brackets, prefixes and operands; `&&` and `||` chains of any length are one level.
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
