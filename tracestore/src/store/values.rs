//! What there is to ask for: the names of attributes, and the values of a field.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    field::locate,
    part::{Array, Key, Own, Part, Table, columns_of},
    scan,
    search::Failed,
    value::{self, Type},
};
use crate::{
    query::{Field, Filter, Patience, Place},
    span::Value,
};

/// The name of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) place: Place,
    pub(crate) name: Box<str>,
}

/// Read from the directories alone.
pub(super) fn tags(parts: &[Arc<Part>]) -> Vec<Tag> {
    let mut tags = BTreeSet::new();
    for part in parts {
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

/// Those that spans which pass have, or their resources, scopes, events and links.
pub(super) fn tags_of(
    parts: &[Arc<Part>],
    filter: &Filter,
    patience: &Patience,
) -> Result<Vec<Tag>, Failed> {
    let mut tags = BTreeSet::new();
    for part in parts {
        let directory = &part.directory;
        for table in Table::ALL {
            patience.check()?;
            let Some(column) = directory.column(table, &Key::Own(Own::Shape)) else {
                continue;
            };
            let rows = rows_in(part, table, filter)?;
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

/// Distinct values of a field in the spans that pass, of lists their items, since that is what a query compares with. A field
/// that has none in a span counts as absent, and numbers such as durations have no list of values.
pub(super) fn values(
    parts: &[Arc<Part>],
    field: &Field,
    filter: &Filter,
    limit: usize,
    patience: &Patience,
) -> Result<Vec<Value<'static>>, Failed> {
    let mut found: BTreeSet<Vec<u8>> = BTreeSet::new();
    // The newest first: under a limit, what is in use now counts most.
    for part in parts.iter().rev() {
        if found.len() >= limit {
            break;
        }
        patience.check()?;
        let Some((table, columns, _)) = locate(&part.directory, field) else {
            return Ok(Vec::new());
        };
        if columns.is_empty() {
            continue;
        }
        let rows = match filter {
            Filter::All => None,
            filter => Some(rows_in(part, table, filter)?),
        };
        for column in columns {
            let dictionary = part.dictionary(column)?;
            match &rows {
                None => add(&mut found, dictionary.iter(), limit),
                Some(rows) => {
                    let mut codes = vec![false; dictionary.len() + 1];
                    part.cells(column)?.for_each(|row, code| {
                        if rows.get(row as usize).is_some_and(|passes| *passes) {
                            codes[code as usize] = true;
                        }
                    });
                    let passing = dictionary.iter().zip(&codes[1..]);
                    let new = passing.filter(|(_, passes)| **passes);
                    add(&mut found, new.map(|(value, _)| value), limit);
                }
            }
        }
    }
    let values = found.iter().filter_map(|value| value::decode(value));
    Ok(values.map(Value::into_owned).collect())
}

/// Adds encoded values, which ascend, and of lists their items. The least are kept, `limit` of them.
fn add<'a>(found: &mut BTreeSet<Vec<u8>>, values: impl Iterator<Item = &'a [u8]>, limit: usize) {
    let mut scalars = 0;
    for encoded in values {
        if value::type_of(encoded) != Some(Type::Array) {
            // What follows is greater.
            if scalars < limit {
                found.insert(encoded.to_vec());
            }
            scalars += 1;
        } else if let Some(Value::Array(items)) = value::decode(encoded) {
            for item in items {
                let mut encoded = Vec::new();
                value::encode(&item, &mut encoded);
                found.insert(encoded);
            }
        }
    }
    while found.len() > limit {
        found.pop_last();
    }
}

/// For each row of a table whether it belongs to a span that passes.
fn rows_in(part: &Part, table: Table, filter: &Filter) -> Result<Vec<bool>, Failed> {
    let spans = scan::select(part, filter)?;
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
        for (row, span) in rows.iter_mut().zip(part.numbers(array)?.iter()) {
            *row = u32::try_from(*span).is_ok_and(|span| spans.contains(span));
        }
    }
    Ok(rows)
}
