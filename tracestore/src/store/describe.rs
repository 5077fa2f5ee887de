//! Tells of a trace that was found: its summary, and its spans that pass.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use super::{
    part::{Damaged, Opened, Outline, Part},
    search::{Failed, Found},
    slice::Inquiry,
    summary::Summary,
};
use crate::{
    query::{Field, FoundSpan, Place, Search, SpanSet, distinct},
    span::{KeyValue, Span, SpanId, StatusCode, TraceId, Value},
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
        let outline = Outline::new(&parts[*part])?;
        for row in parts[*part].traces()?.rows(*trace) {
            spans.extend(outline.id(row).map(|id| Located {
                start: outline.start(row),
                id,
                fragment,
                row,
            }));
        }
        outlines.push(outline);
    }
    spans.sort_unstable();
    drop_repeated(parts, fragments, &mut spans)?;
    let mut summary = Summary::new(id);
    let mut matching = Vec::new();
    for span in &spans {
        summary.add(&outlines[span.fragment], span.id, span.row);
        let part = fragments[span.fragment].0;
        if sets.is_none() && inquiry.selected(part)?.any_contains(span.row) {
            matching.push((span.fragment, span.row));
        }
    }
    if let Some(sets) = sets {
        return Ok(Found { summary, sets });
    }
    let matched = u32::try_from(matching.len()).unwrap_or(u32::MAX);
    matching.truncate(search.spans_per_trace);
    let mut found = Vec::new();
    for (fragment, row) in matching {
        let part = &parts[fragments[fragment].0];
        let whole = Opened::new(part, std::slice::from_ref(&(row..row + 1)))?;
        found.extend(found_span(&whole, row, &search.select));
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

/// `select` has the places of each field that is wanted, of which the first that has a value counts.
fn found_span(whole: &Opened, row: u32, select: &[Vec<Field>]) -> Option<FoundSpan> {
    let span = whole.span(row)?;
    let in_place = |field: &Field| {
        let Field::Attribute(place, key) = field else {
            return own_attribute(field, &span, whole, row);
        };
        let of = |attributes: &[KeyValue<'_>]| {
            let found = attributes.iter().filter(|attribute| attribute.key == **key);
            Some(KeyValue {
                key: key.to_string().into(),
                value: found
                    .map(|found| known(&found.value))
                    .find_map(|value| value)?,
            })
        };
        match place {
            Place::Span => of(&span.attributes),
            Place::Resource => of(&whole.resource(whole.resource_of(row)?).attributes),
            Place::Scope => of(&whole.scope(whole.scope_of(row)?).attributes),
            Place::Event => span.events.iter().find_map(|event| of(&event.attributes)),
            Place::Link => span.links.iter().find_map(|link| of(&link.attributes)),
        }
    };
    let attributes = select.iter();
    let attributes = attributes.filter_map(|places| places.iter().find_map(in_place));
    Some(FoundSpan {
        id: span.id,
        name: span.name.clone().into_owned(),
        start_unix_nano: span.start_unix_nano,
        end_unix_nano: span.end_unix_nano,
        attributes: distinct(attributes),
    })
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

/// Fields that are no attributes, as Tempo lists them.
fn own_attribute(
    field: &Field,
    span: &Span<'_>,
    whole: &Opened,
    row: u32,
) -> Option<KeyValue<'static>> {
    let scope = || whole.scope_of(row).map(|row| whole.scope(row));
    let (key, value): (_, Cow<'_, str>) = match field {
        Field::Status => {
            let status = match span.status.code {
                StatusCode::Unset => "unset",
                StatusCode::Ok => "ok",
                StatusCode::Error => "error",
            };
            ("status", status.into())
        }
        Field::StatusMessage => ("statusMessage", span.status.message.clone()),
        Field::Kind => ("kind", span.kind.name().into()),
        Field::ScopeName => ("instrumentation:name", scope()?.name.into_owned().into()),
        Field::ScopeVersion => {
            let version = scope()?.version.into_owned();
            ("instrumentation:version", version.into())
        }
        Field::EventName => ("event:name", span.events.first()?.name.clone()),
        Field::Name | Field::Duration | Field::Attribute(..) => return None,
    };
    Some(KeyValue {
        key: key.into(),
        value: Value::String(value.into_owned().into()),
    })
}
