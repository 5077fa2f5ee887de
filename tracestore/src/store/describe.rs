//! Tells of a trace that was found: its summary, and its spans that pass.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use super::{
    field::locate,
    part::{Array, Damaged, Opened, Outline, Outlined, Part, Table, records_of},
    scan,
    search::{Failed, Found},
    slice::Inquiry,
    summary::Summary,
    value,
};
use crate::{
    query::{Field, FoundSpan, MAX_ANSWER_BYTES, Search, Select, SpanSet, Test, distinct},
    span::{KeyValue, Kind, SpanId, StatusCode, TraceId, Value},
};

/// A span of a trace, wherever it is: ordered by start and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Located {
    pub(super) start: u64,
    pub(super) id: SpanId,
    pub(super) fragment: usize,
    pub(super) row: u32,
}

/// `fragments` are numbers of parts and of the trace in them.
pub(super) fn describe(
    parts: &[Arc<Part>],
    search: &Search,
    inquiry: &mut Inquiry<'_>,
    id: TraceId,
    fragments: &[(usize, usize)],
    sets: Option<Vec<SpanSet>>,
) -> Result<Found, Failed> {
    let mut outlines = Vec::new();
    let mut spans = Vec::new();
    for (fragment, (part, trace)) in fragments.iter().enumerate() {
        let rows = parts[*part].one_trace(*trace)?.rows;
        let outline = Outline::new(&parts[*part], &rows)?;
        spans.extend(outline.spans().iter().map(|span| Located {
            start: span.start,
            id: span.id,
            fragment,
            row: span.row,
        }));
        outlines.push(outline);
    }
    spans.sort_unstable();
    drop_repeated(parts, fragments, &mut spans)?;
    let mut summary = Summary::new(id);
    let mut matching = Vec::new();
    for located in &spans {
        let outline = &outlines[located.fragment];
        let (part, _) = fragments[located.fragment];
        let Ok(index) = (outline.spans()).binary_search_by_key(&located.row, |span| span.row)
        else {
            continue;
        };
        let span = &outline.spans()[index];
        summary.add(span, outline.service(span));
        if sets.is_none() && inquiry.selected(part)?.any_contains(span.row) {
            matching.push((part, span));
        }
    }
    if let Some(sets) = sets {
        return Ok(Found { summary, sets });
    }
    let matched = u32::try_from(matching.len()).unwrap_or(u32::MAX);
    matching.truncate(search.spans_per_trace);
    let mut found = Vec::new();
    let mut bytes = 0;
    for (part, span) in matching {
        let span = found_span(&parts[part], span, search)?;
        bytes += span.bytes();
        if bytes > MAX_ANSWER_BYTES {
            return Err(Failed::TooLarge);
        }
        found.push(span);
    }
    let set = SpanSet {
        matched,
        spans: found,
        attributes: Vec::new(),
    };
    Ok(Found {
        summary,
        sets: vec![set],
    })
}

/// Drops spans that came twice, identical to the last byte.
pub(super) fn drop_repeated(
    parts: &[Arc<Part>],
    fragments: &[(usize, usize)],
    spans: &mut Vec<Located>,
) -> Result<(), Damaged> {
    let same = |a: &Located, b: &Located| (a.start, a.id) == (b.start, b.id);
    if spans.chunk_by(same).all(|group| group.len() == 1) {
        return Ok(());
    }
    let is_repeated = |group: &&[Located]| group.len() > 1;
    let mut rows = vec![Vec::new(); fragments.len()];
    for span in spans.chunk_by(same).filter(is_repeated).flatten() {
        rows[span.fragment].push(span.row..span.row + 1);
    }
    let open = |((part, _), rows): (&(usize, usize), &Vec<_>)| Opened::new(&parts[*part], rows);
    let opened: Vec<Opened> = fragments
        .iter()
        .zip(&rows)
        .map(open)
        .collect::<Result<_, _>>()?;
    let mut kept = Vec::new();
    for group in spans.chunk_by(same) {
        if group.len() == 1 {
            kept.extend_from_slice(group);
            continue;
        }
        let mut distinct = HashSet::new();
        kept.extend(group.iter().filter(|span| {
            let whole = &opened[span.fragment];
            distinct.insert((
                whole.resource_of(span.row).map(|row| whole.resource(row)),
                whole.scope_of(span.row).map(|row| whole.scope(row)),
                whole.span(span.row),
            ))
        }));
    }
    *spans = kept;
    Ok(())
}

fn found_span(part: &Part, span: &Outlined, search: &Search) -> Result<FoundSpan, Damaged> {
    let name = match first_value(part, &Field::Name, span.row, &[])? {
        Some(Value::String(name)) => name.into_owned(),
        _ => String::new(),
    };
    let mut attributes = Vec::new();
    for Select { places, preferred } in &search.select {
        for field in places {
            let value = first_value(part, field, span.row, preferred)?;
            if let Some(attribute) = value.and_then(|value| attribute(field, value)) {
                attributes.push(attribute);
                break;
            }
        }
    }
    Ok(FoundSpan {
        id: span.id,
        name,
        start_unix_nano: span.start,
        end_unix_nano: span.end,
        attributes: distinct(attributes.into_iter()),
    })
}

/// The first value of a field that query languages know, of those that pass one of the tests if any does. What a span is
/// without has its default, but of an event that there is not there is nothing.
fn first_value(
    part: &Part,
    field: &Field,
    row: u32,
    tests: &[Test],
) -> Result<Option<Value<'static>>, Damaged> {
    let mut first = None;
    let Some((table, columns, default)) = locate(&part.directory, field) else {
        return Ok(None);
    };
    let source = |array: Array| {
        let sources = part.array_rows(array, &(row..row + 1))?;
        let source = sources.code(row).checked_sub(1);
        Ok(source.map_or(0..0, |row| row..row + 1))
    };
    let rows = match table {
        Table::Spans => row..row + 1,
        Table::Resources => source(Array::SpanResources)?,
        Table::Scopes => source(Array::SpanScopes)?,
        Table::Events => records_of(&*part.numbers(Array::EventSpans)?, row),
        Table::Links => records_of(&*part.numbers(Array::LinkSpans)?, row),
    };
    for row in rows {
        for column in columns.clone() {
            let code = part.cell_rows(column, &(row..row + 1))?.code(row);
            let Some(number) = code.checked_sub(1) else {
                continue;
            };
            let of = |bytes: &[u8]| {
                let value = value::decode(bytes).and_then(|value| known(&value))?;
                let passes = tests.iter().any(|test| scan::passes(bytes, test));
                Some((value, passes))
            };
            match part.values(column)?.look(number as usize, of)? {
                Some((value, passes)) if passes || tests.is_empty() => return Ok(Some(value)),
                Some((value, _)) => first = first.or(Some(value)),
                None => {}
            }
        }
        first = first.or_else(|| default.clone());
        if tests.is_empty() && first.is_some() {
            break;
        }
    }
    Ok(first)
}

/// `None` for values of types that query languages do not know; lists lose such items.
fn known(value: &Value<'_>) -> Option<Value<'static>> {
    match value {
        Value::Empty | Value::Bytes(_) | Value::Map(_) => None,
        Value::Array(items) => {
            let scalars = items.iter();
            let scalars = scalars.filter(|item| !matches!(item, Value::Array(_)));
            Some(Value::Array(scalars.filter_map(known).collect()))
        }
        scalar => Some(scalar.clone().into_owned()),
    }
}

/// A value as Tempo lists it.
fn attribute(field: &Field, value: Value<'static>) -> Option<KeyValue<'static>> {
    let number = || match value {
        Value::Int(number) => u64::try_from(number).unwrap_or_default(),
        _ => 0,
    };
    let text = |text: &'static str| Value::String(text.into());
    let (key, value): (Cow<'static, str>, _) = match field {
        Field::Attribute(_, key) => (key.to_string().into(), value),
        Field::Status => {
            let status = match StatusCode::from_number(number()) {
                StatusCode::Unset => "unset",
                StatusCode::Ok => "ok",
                StatusCode::Error => "error",
            };
            ("status".into(), text(status))
        }
        Field::Kind => ("kind".into(), text(Kind::from_number(number()).name())),
        Field::StatusMessage => ("statusMessage".into(), value),
        Field::ScopeName => ("instrumentation:name".into(), value),
        Field::ScopeVersion => ("instrumentation:version".into(), value),
        Field::EventName => ("event:name".into(), value),
        Field::Name | Field::Duration => return None,
    };
    Some(KeyValue { key, value })
}
