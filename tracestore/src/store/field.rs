//! Where a field stands in a part.

use std::ops::Range;

use super::part::{Directory, Key, Own, Table};
use crate::{query::Field, span::Value};

/// Its columns, and what a row has that has no value there. A key that is repeated in one record has a column for each of
/// its occurrences: any of them may meet a condition, and the first value counts where there can be only one.
///
/// `None` for the duration, which has no column.
pub(super) fn locate(
    directory: &Directory,
    field: &Field,
) -> Option<(Table, Range<usize>, Option<Value<'static>>)> {
    let text = Some(Value::String("".into()));
    let zero = Some(Value::Int(0));
    let (table, own, default) = match field {
        Field::Name => (Table::Spans, Own::Name, text),
        Field::Kind => (Table::Spans, Own::Kind, zero),
        Field::Status => (Table::Spans, Own::Status, zero),
        Field::StatusMessage => (Table::Spans, Own::StatusMessage, text),
        Field::ScopeName => (Table::Scopes, Own::Name, text),
        Field::ScopeVersion => (Table::Scopes, Own::Version, text),
        Field::EventName => (Table::Events, Own::Name, text),
        Field::Duration => return None,
        Field::Attribute(place, name) => {
            let table = Table::from(*place);
            return Some((table, directory.attribute(table, name), None));
        }
    };
    let column = directory.column(table, &Key::Own(own));
    Some((
        table,
        column.map_or(0..0, |column| column..column + 1),
        default,
    ))
}
