//! Which operators take which types, as Tempo has it.

use std::fmt;

use crate::ParseError;
use crate::ast::Intrinsic;
use crate::lexer::error;

/// What is known of a value before there is a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Type {
    /// An attribute's, which may be anything.
    Unknown,
    Int,
    Float,
    String,
    Bool,
    Duration,
    Status,
    Kind,
}

impl Type {
    pub(super) fn is_number(self) -> bool {
        matches!(self, Type::Int | Type::Float | Type::Duration)
    }

    pub(super) fn of(intrinsic: Intrinsic) -> Type {
        match intrinsic {
            Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart => {
                Type::Duration
            }
            Intrinsic::Status => Type::Status,
            Intrinsic::Kind => Type::Kind,
            Intrinsic::ChildCount
            | Intrinsic::NestedSetParent
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight => Type::Int,
            Intrinsic::Name
            | Intrinsic::StatusMessage
            | Intrinsic::SpanId
            | Intrinsic::ParentId
            | Intrinsic::TraceId
            | Intrinsic::RootName
            | Intrinsic::RootServiceName
            | Intrinsic::EventName
            | Intrinsic::LinkTraceId
            | Intrinsic::LinkSpanId => Type::String,
            // Strings too, but Tempo 3.0.3 takes any comparison of them.
            Intrinsic::InstrumentationName | Intrinsic::InstrumentationVersion => Type::Unknown,
        }
    }

    /// Whether the operator takes an operand of this type, whatever the other is.
    pub(super) fn takes(self, op: &str) -> bool {
        let equates = matches!(op, "=" | "!=");
        let orders = matches!(op, "<" | "<=" | ">" | ">=");
        match self {
            Type::Unknown => true,
            Type::Int | Type::Float | Type::Duration => {
                equates || orders || matches!(op, "+" | "-" | "*" | "/" | "%" | "^")
            }
            Type::String => equates || orders || matches!(op, "=~" | "!~"),
            Type::Bool => equates || matches!(op, "&&" | "||"),
            Type::Status | Type::Kind => equates,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Unknown => "an attribute",
            Type::Int => "an int",
            Type::Float => "a float",
            Type::String => "a string",
            Type::Bool => "a boolean",
            Type::Duration => "a duration",
            Type::Status => "a status",
            Type::Kind => "a kind",
        })
    }
}

/// The type of `left op right`, or why there is none.
pub(super) fn check(op: &str, left: Type, right: Type, at: usize) -> Result<Type, ParseError> {
    let fits = left == right
        || left == Type::Unknown
        || right == Type::Unknown
        || (left.is_number() && right.is_number());
    if !fits {
        let why = format!("`{op}` needs two values of one type, not {left} and {right}");
        return Err(error(at, why));
    }
    for operand in [left, right] {
        if !operand.takes(op) {
            return Err(error(at, format!("`{op}` does not take {operand}")));
        }
    }
    if !matches!(op, "+" | "-" | "*" | "/" | "%" | "^") {
        return Ok(Type::Bool);
    }
    Ok(if left == Type::Unknown { right } else { left })
}
