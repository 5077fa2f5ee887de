//! What a field holds and a literal says, and how TraceQL compares the two.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::Pattern;
use crate::ast::Comparison;

/// A literal of a query, or a value that outlives the trace it came from.
#[derive(Clone, Debug, PartialEq)]
pub enum Static {
    /// Nothing. No literal is this: `nil` can only be compared with, which has [nodes of its own].
    ///
    /// [nodes of its own]: crate::FieldExpression::Exists
    Nil,
    /// `42`, `minInt`.
    Int(i64),
    /// `4.2`. The parser makes no infinities and no NaN, and neither can be printed.
    Float(f64),
    /// `"x"` or `` `x` ``.
    String(String),
    /// `true`
    Bool(bool),
    /// `1h30m`, in nanoseconds.
    Duration(i64),
    /// `ok`
    Status(Status),
    /// `server`
    Kind(Kind),
    /// An attribute's list. No literal is one.
    Array(Vec<Static>),
}

impl Static {
    /// The same, borrowed.
    pub fn as_value(&self) -> Option<Value<'_>> {
        Some(match self {
            Static::Nil => return None,
            Static::Int(int) => Value::Int(*int),
            Static::Float(float) => Value::Float(*float),
            Static::String(string) => Value::Str(string),
            Static::Bool(bool) => Value::Bool(*bool),
            Static::Duration(nanoseconds) => Value::Duration(*nanoseconds),
            Static::Status(status) => Value::Status(*status),
            Static::Kind(kind) => Value::Kind(*kind),
            Static::Array(items) => Value::Array(Items::new(items, 0, items.len())),
        })
    }
}

/// The outcome of a span, as the literals name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// `error`
    Error,
    /// `ok`
    Ok,
    /// `unset`
    Unset,
}

impl Status {
    /// As a query spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Error => "error",
            Status::Ok => "ok",
            Status::Unset => "unset",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The role of a span, as the literals name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `unspecified`
    Unspecified,
    /// `internal`
    Internal,
    /// `client`
    Client,
    /// `server`
    Server,
    /// `producer`
    Producer,
    /// `consumer`
    Consumer,
}

impl Kind {
    /// As a query spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Unspecified => "unspecified",
            Kind::Internal => "internal",
            Kind::Client => "client",
            Kind::Server => "server",
            Kind::Producer => "producer",
            Kind::Consumer => "consumer",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a field of a span holds, borrowed from wherever the trace is kept.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// A boolean.
    Bool(bool),
    /// A time span in nanoseconds. Only intrinsics are this: attributes have no such type.
    Duration(i64),
    /// The outcome of a span.
    Status(Status),
    /// The role of a span.
    Kind(Kind),
    /// An attribute that is a list: it equals what any of its items equals, and differs from what all of them differ from.
    Array(Items<'a>),
    /// What the events or links of a span hold, in their order, or what a key does that a span has several times: any of them
    /// may make a comparison true.
    Several(Items<'a>),
}

/// A range of values that live in some [`Source`], so that a column store can point to them without an allocation.
#[derive(Clone, Copy)]
pub struct Items<'a> {
    source: &'a dyn Source,
    start: usize,
    len: usize,
}

/// Where the items of an array are kept.
pub trait Source {
    /// The item at an index that was given to [`Items::new`]. Never [`Value::Several`].
    fn item(&self, index: usize) -> Value<'_>;
}

impl<'a> Items<'a> {
    /// The items of `source` from `start` to `start + len`.
    pub fn new(source: &'a dyn Source, start: usize, len: usize) -> Items<'a> {
        Items { source, start, len }
    }

    /// Whether there is no item.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// How many items there are.
    pub fn len(self) -> usize {
        self.len
    }

    /// The items in order.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        (self.start..self.start + self.len).map(move |index| self.source.item(index))
    }
}

impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Source for Vec<Static> {
    fn item(&self, index: usize) -> Value<'_> {
        self[index].as_value().unwrap_or(Value::Bool(false))
    }
}

impl Source for Vec<i64> {
    fn item(&self, index: usize) -> Value<'_> {
        Value::Int(self[index])
    }
}

impl Source for Vec<f64> {
    fn item(&self, index: usize) -> Value<'_> {
        Value::Float(self[index])
    }
}

impl Source for Vec<bool> {
    fn item(&self, index: usize) -> Value<'_> {
        Value::Bool(self[index])
    }
}

impl Source for Vec<String> {
    fn item(&self, index: usize) -> Value<'_> {
        Value::Str(&self[index])
    }
}

impl<'a> Value<'a> {
    /// A copy that outlives the trace; of several values the first.
    pub fn to_static(self) -> Static {
        match self {
            Value::Int(int) => Static::Int(int),
            Value::Float(float) => Static::Float(float),
            Value::Str(string) => Static::String(string.to_owned()),
            Value::Bool(bool) => Static::Bool(bool),
            Value::Duration(nanoseconds) => Static::Duration(nanoseconds),
            Value::Status(status) => Static::Status(status),
            Value::Kind(kind) => Static::Kind(kind),
            Value::Array(items) => Static::Array(items.iter().map(Value::to_static).collect()),
            Value::Several(items) => items.iter().next().map_or(Static::Nil, Value::to_static),
        }
    }

    /// The number, where this is an int, a float or a duration (its nanoseconds); of several values the first.
    pub fn as_float(self) -> Option<f64> {
        match self {
            Value::Int(int) | Value::Duration(int) => Some(int as f64),
            Value::Float(float) => Some(float),
            Value::Several(items) => items.iter().next()?.as_float(),
            Value::Str(_)
            | Value::Bool(_)
            | Value::Status(_)
            | Value::Kind(_)
            | Value::Array(_) => None,
        }
    }

    /// Whether `self <op> other` is true.
    ///
    /// - Numbers and durations compare by value, a duration by its nanoseconds: `1.0 = 1`, `duration > 1000`. An int
    ///   compares with a float as a float, so beyond 2^53 neighbours are equal.
    /// - Strings are ordered by their bytes. Booleans, statuses and kinds have no order.
    /// - Values of different types are neither equal nor unequal: every comparison of them is false.
    /// - An array is equal to, less than or greater than what any of its items is, and unequal to what all of its items
    ///   are unequal to; so an empty one is unequal to everything. Two arrays do not compare.
    pub fn compare(self, op: Comparison, other: Value<'_>) -> bool {
        match (self, other) {
            (Value::Several(items), other) => items.iter().any(|item| item.compare(op, other)),
            (item, Value::Several(others)) => others.iter().any(|other| item.compare(op, other)),
            (Value::Array(_), Value::Array(_)) => false,
            (Value::Array(items), other) if op == Comparison::NotEqual => {
                items.iter().all(|item| item.compare(op, other))
            }
            (Value::Array(items), other) => items.iter().any(|item| item.compare(op, other)),
            (item, Value::Array(_)) => other.compare(op.flipped(), item),
            (left, right) => left.order(right).is_some_and(|order| match op {
                Comparison::Equal => order == Some(Ordering::Equal),
                Comparison::NotEqual => order != Some(Ordering::Equal),
                Comparison::Less => left.is_ordered() && order == Some(Ordering::Less),
                Comparison::LessOrEqual => left.is_ordered() && order.is_some_and(Ordering::is_le),
                Comparison::Greater => left.is_ordered() && order == Some(Ordering::Greater),
                Comparison::GreaterOrEqual => {
                    left.is_ordered() && order.is_some_and(Ordering::is_ge)
                }
            }),
        }
    }

    /// Whether the whole of this string matches, or, if `negated`, does not. What is no string does neither.
    ///
    /// Of an array any item has to match, or, if `negated`, all of them not to.
    pub fn matches(self, pattern: &Pattern, negated: bool) -> bool {
        match self {
            Value::Str(string) => pattern.is_match(string) != negated,
            Value::Array(items) if negated => items.iter().all(|item| item.matches(pattern, true)),
            Value::Array(items) | Value::Several(items) => {
                items.iter().any(|item| item.matches(pattern, negated))
            }
            Value::Int(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Duration(_)
            | Value::Status(_)
            | Value::Kind(_) => false,
        }
    }

    /// `None` if the types do not compare, `Some(None)` if the floats do not, as NaN.
    #[expect(clippy::option_option, reason = "two ways of not comparing")]
    fn order(self, other: Value<'_>) -> Option<Option<Ordering>> {
        Some(match (self, other) {
            (Value::Str(left), Value::Str(right)) => Some(left.cmp(right)),
            (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(&right)),
            (Value::Status(left), Value::Status(right)) => Some(left.cmp(&right)),
            (Value::Kind(left), Value::Kind(right)) => Some(left.cmp(&right)),
            (
                Value::Int(left) | Value::Duration(left),
                Value::Int(right) | Value::Duration(right),
            ) => Some(left.cmp(&right)),
            (left, right) => left.as_float()?.partial_cmp(&right.as_float()?),
        })
    }

    fn is_ordered(self) -> bool {
        matches!(
            self,
            Value::Int(_) | Value::Float(_) | Value::Duration(_) | Value::Str(_)
        )
    }
}
/// A value as a key of groups: types are told apart, so `1` and `1.0` are two groups, and NaN is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a>(pub(crate) Option<Value<'a>>);

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (None, None) => true,
            (Some(left), Some(right)) => match (left, right) {
                (Value::Float(left), Value::Float(right)) => left.to_bits() == right.to_bits(),
                (Value::Array(left), Value::Array(right)) => {
                    let key = |value| Key(Some(value));
                    left.iter().map(key).eq(right.iter().map(key))
                }
                (left, right) => {
                    std::mem::discriminant(&left) == std::mem::discriminant(&right)
                        && left.order(right) == Some(Some(Ordering::Equal))
                }
            },
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Some(value) = self.0 else {
            return state.write_u8(0);
        };
        std::mem::discriminant(&value).hash(state);
        match value {
            Value::Int(int) | Value::Duration(int) => int.hash(state),
            Value::Float(float) => float.to_bits().hash(state),
            Value::Str(string) => string.hash(state),
            Value::Bool(bool) => bool.hash(state),
            Value::Status(status) => status.hash(state),
            Value::Kind(kind) => kind.hash(state),
            Value::Array(items) | Value::Several(items) => {
                items.iter().for_each(|item| Key(Some(item)).hash(state));
            }
        }
    }
}
