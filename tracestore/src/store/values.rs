//! What there is to ask for: the names of attributes, and the values of a field.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use super::{
    field::locate,
    part::{Array, Damaged, Key, Own, Part, Table, columns_of},
    rows::Rows,
    search::{Failed, is_outside},
    survey::{FoundSets, Sets},
    value::{self, Type},
};
use crate::{
    query::{Field, Patience, Place},
    span::Value,
};

/// The name of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) place: Place,
    pub(crate) name: Box<str>,
}

/// Bytes of values that are found at most, as in Tempo.
const MAX_VALUE_BYTES: usize = 10_000_000;

/// Read from the directories alone.
pub(super) fn tags(parts: &[Arc<Part>], window: Option<&RangeInclusive<u64>>) -> Vec<Tag> {
    let mut tags = BTreeSet::new();
    for (_, part) in inside(parts, window) {
        for column in &part.directory.columns {
            let Key::Attribute(name, 0) = &column.key else {
                continue;
            };
            tags.insert(Tag {
                place: column.table.into(),
                name: name.clone(),
            });
        }
    }
    tags.into_iter().collect()
}

/// Those in which anything was running or received in the window, the oldest first, with their numbers.
fn inside<'a>(
    parts: &'a [Arc<Part>],
    window: Option<&RangeInclusive<u64>>,
) -> impl DoubleEndedIterator<Item = (usize, &'a Arc<Part>)> {
    let numbered = parts.iter().enumerate();
    numbered.filter(move |(_, part)| !is_outside(part, window))
}

/// Those that the spans of the first set have, or their resources, scopes, events and links.
pub(super) fn tags_of(
    parts: &[Arc<Part>],
    sets: &Sets<'_>,
    window: Option<&RangeInclusive<u64>>,
    patience: &Patience,
) -> Result<Vec<Tag>, Failed> {
    let found = sets.find(parts, patience)?;
    let mut tags = BTreeSet::new();
    for (number, part) in inside(parts, window) {
        let directory = &part.directory;
        let spans = found.of(0, number, part, patience)?;
        if spans.is_empty() {
            continue;
        }
        for table in Table::ALL {
            patience.check()?;
            let Some(column) = directory.column(table, &Key::Own(Own::Shape)) else {
                continue;
            };
            let rows = rows_in(part, table, &spans)?;
            let shapes = part.dictionary(column)?;
            let mut is_there = vec![false; shapes.len() + 1];
            part.cells(column)?.for_each(|row, code| {
                is_there[code as usize] |= rows.get(row as usize).is_some_and(|passes| *passes);
            });
            let there = shapes
                .iter()
                .zip(&is_there[1..])
                .filter(|(_, there)| **there);
            for number in there.flat_map(|(shape, _)| columns_of(shape)) {
                if let Some(Key::Attribute(name, _)) =
                    directory.columns.get(number).map(|column| &column.key)
                {
                    tags.insert(Tag {
                        place: table.into(),
                        name: name.clone(),
                    });
                }
            }
        }
    }
    Ok(tags.into_iter().collect())
}

/// Distinct values of each of these fields in the spans of the first set, of lists their items, since that is what a query
/// compares with. A field that has none in a span counts as absent, and numbers such as durations have no list of values.
pub(super) fn values(
    parts: &[Arc<Part>],
    fields: &[Field],
    sets: &Sets<'_>,
    window: Option<&RangeInclusive<u64>>,
    limit: usize,
    patience: &Patience,
) -> Result<Vec<Vec<Value<'static>>>, Failed> {
    let found = sets.find(parts, patience)?;
    let of_field = |field| values_of(parts, field, &found, window, limit, patience);
    fields.iter().map(of_field).collect()
}

fn values_of(
    parts: &[Arc<Part>],
    field: &Field,
    sets: &FoundSets<'_>,
    window: Option<&RangeInclusive<u64>>,
    limit: usize,
    patience: &Patience,
) -> Result<Vec<Value<'static>>, Failed> {
    let mut found = Distinct {
        values: BTreeSet::new(),
        bytes: 0,
        limit,
    };
    // The newest first: under a limit, what is in use now counts most.
    for (number, part) in inside(parts, window).rev() {
        if found.is_full() {
            break;
        }
        patience.check()?;
        let Some((table, columns, _)) = locate(&part.directory, field) else {
            return Ok(Vec::new());
        };
        if columns.is_empty() {
            continue;
        }
        let spans = sets.of(0, number, part, patience)?;
        let rows = match spans.count() {
            0 => continue,
            all if all == spans.len() => None,
            _ => Some(rows_in(part, table, &spans)?),
        };
        for column in columns {
            let dictionary = part.dictionary(column)?;
            match &rows {
                None => found.add(dictionary.iter()),
                Some(rows) => {
                    let mut codes = vec![false; dictionary.len() + 1];
                    part.cells(column)?.for_each(|row, code| {
                        if rows.get(row as usize).is_some_and(|passes| *passes) {
                            codes[code as usize] = true;
                        }
                    });
                    let passing = dictionary.iter().zip(&codes[1..]);
                    let new = passing.filter(|(_, passes)| **passes);
                    found.add(new.map(|(value, _)| value));
                }
            }
        }
    }
    let values = found.values.iter().filter_map(|value| value::decode(value));
    Ok(values.map(Value::into_owned).collect())
}

/// Encoded values.
struct Distinct {
    values: BTreeSet<Vec<u8>>,
    bytes: usize,
    limit: usize,
}

impl Distinct {
    fn is_full(&self) -> bool {
        self.values.len() >= self.limit || self.bytes >= MAX_VALUE_BYTES
    }

    /// Adds values, which ascend, and of lists their items. The least are kept, so many of them.
    fn add<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) {
        let (mut scalars, mut bytes) = (0, 0);
        for encoded in values {
            if value::type_of(encoded) != Some(Type::Array) {
                // What follows is greater.
                if scalars < self.limit && bytes < MAX_VALUE_BYTES {
                    self.insert(encoded.to_vec());
                }
                scalars += 1;
                bytes += encoded.len();
            } else if let Some(Value::Array(items)) = value::decode(encoded) {
                for item in items {
                    let mut encoded = Vec::new();
                    value::encode(&item, &mut encoded);
                    self.insert(encoded);
                }
            }
        }
    }

    fn insert(&mut self, value: Vec<u8>) {
        let bytes = value.len();
        if self.values.insert(value) {
            self.bytes += bytes;
        }
        while self.values.len() > self.limit || self.bytes > MAX_VALUE_BYTES {
            let Some(last) = self.values.pop_last() else {
                return;
            };
            self.bytes -= last.len();
        }
    }
}

/// For each row of a table whether it belongs to one of these spans.
fn rows_in(part: &Part, table: Table, spans: &Rows) -> Result<Vec<bool>, Damaged> {
    let mut rows = vec![false; part.directory.rows[table as usize] as usize];
    let array = match table {
        Table::Spans => {
            for row in spans.iter() {
                rows[row as usize] = true;
            }
            return Ok(rows);
        }
        Table::Resources => Array::SpanResources,
        Table::Scopes => Array::SpanScopes,
        Table::Events => Array::EventSpans,
        Table::Links => Array::LinkSpans,
    };
    if matches!(table, Table::Resources | Table::Scopes) {
        part.sources(array)?.for_each(|span, code| {
            if spans.contains(span) {
                rows[code as usize - 1] = true;
            }
        });
    } else {
        for (row, span) in rows.iter_mut().zip(part.numbers(array)?.plain().iter()) {
            *row = u32::try_from(*span).is_ok_and(|span| spans.contains(span));
        }
    }
    Ok(rows)
}
