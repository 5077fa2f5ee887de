//! Reads spans back from a part.

use std::{borrow::Cow, collections::HashMap, ops::Range, sync::Arc};

use super::{Array, Damaged, Key, Own, Part, Table, merge::numbers};
use crate::{
    span::{
        Event, KeyValue, Kind, Link, Resource, Scope, Span, SpanId, Status, StatusCode, TraceId,
        Value,
    },
    store::{
        column::{Cells, Dictionary},
        integers::Integers,
        value,
    },
};

/// Spans of a part with all pages that they need, so that reading them cannot fail.
pub(in crate::store) struct Opened {
    part: Arc<Part>,
    span_ids: Arc<Vec<[u8; 8]>>,
    parent_ids: Arc<Vec<[u8; 8]>>,
    starts: Arc<Integers>,
    durations: Arc<Integers>,
    resources: Arc<Cells>,
    scopes: Arc<Cells>,
    event_spans: Arc<Integers>,
    event_times: Arc<Integers>,
    link_spans: Arc<Integers>,
    link_trace_ids: Arc<Vec<[u8; 16]>>,
    link_span_ids: Arc<Vec<[u8; 8]>>,
    /// By number in the directory: columns of attributes that any of the spans has.
    attributes: HashMap<usize, Column>,
    /// By table and kind.
    own: HashMap<(Table, Own), Column>,
}

struct Column {
    dictionary: Arc<Dictionary>,
    cells: Arc<Cells>,
}

impl Column {
    fn value(&self, row: u32) -> Option<&[u8]> {
        let code = self.cells.code(row) as usize;
        Some(self.dictionary.get(code.checked_sub(1)?))
    }
}

impl Opened {
    /// Loads what the spans in these rows consist of.
    pub(in crate::store) fn new(part: &Arc<Part>, rows: &[Range<u32>]) -> Result<Opened, Damaged> {
        let mut own = HashMap::new();
        for (number, column) in part.directory.columns.iter().enumerate() {
            if let Key::Own(kind) = column.key {
                own.insert((column.table, kind), load(part, number)?);
            }
        }
        let mut opened = Opened {
            part: Arc::clone(part),
            span_ids: part.ids8(Array::SpanIds)?,
            parent_ids: part.ids8(Array::ParentIds)?,
            starts: part.numbers(Array::Starts)?,
            durations: part.numbers(Array::Durations)?,
            resources: part.sources(Array::SpanResources)?,
            scopes: part.sources(Array::SpanScopes)?,
            event_spans: part.numbers(Array::EventSpans)?,
            event_times: part.numbers(Array::EventTimes)?,
            link_spans: part.numbers(Array::LinkSpans)?,
            link_trace_ids: part.ids16(Array::LinkTraceIds)?,
            link_span_ids: part.ids8(Array::LinkSpanIds)?,
            attributes: HashMap::new(),
            own,
        };
        opened.load_attributes(rows)?;
        Ok(opened)
    }

    fn load_attributes(&mut self, rows: &[Range<u32>]) -> Result<(), Damaged> {
        let mut records: Vec<(Table, u32)> = Vec::new();
        for row in rows.iter().cloned().flatten() {
            records.push((Table::Spans, row));
            records.extend(self.resource_of(row).map(|row| (Table::Resources, row)));
            records.extend(self.scope_of(row).map(|row| (Table::Scopes, row)));
            records.extend(self.events_of(row).map(|row| (Table::Events, row)));
            records.extend(self.links_of(row).map(|row| (Table::Links, row)));
        }
        let mut shapes: Vec<(Table, u32)> = Vec::new();
        for (table, row) in records {
            if let Some(column) = self.own.get(&(table, Own::Shape)) {
                shapes.push((table, column.cells.code(row)));
            }
        }
        shapes.sort_unstable();
        shapes.dedup();
        for (table, code) in shapes {
            let Some(index) = (code as usize).checked_sub(1) else {
                continue;
            };
            let shape = &self.own[&(table, Own::Shape)].dictionary;
            for number in numbers(shape.get(index)) {
                if number >= self.part.directory.columns.len() {
                    return Err(self
                        .part
                        .damaged("a shape names a column that is not there"));
                }
                if !self.attributes.contains_key(&number) {
                    self.attributes.insert(number, load(&self.part, number)?);
                }
            }
        }
        Ok(())
    }

    /// The row of the resource of a span.
    pub(in crate::store) fn resource_of(&self, row: u32) -> Option<u32> {
        self.resources.code(row).checked_sub(1)
    }

    pub(in crate::store) fn scope_of(&self, row: u32) -> Option<u32> {
        self.scopes.code(row).checked_sub(1)
    }

    fn events_of(&self, row: u32) -> Range<u32> {
        records_of(&self.event_spans, row)
    }

    fn links_of(&self, row: u32) -> Range<u32> {
        records_of(&self.link_spans, row)
    }

    pub(in crate::store) fn resource(&self, row: u32) -> Resource<'_> {
        let table = Table::Resources;
        Resource {
            attributes: self.attributes(table, row),
            dropped_attributes: self.count(table, Own::DroppedAttributes, row),
            schema_url: self.text(table, Own::SchemaUrl, row),
        }
    }

    pub(in crate::store) fn scope(&self, row: u32) -> Scope<'_> {
        let table = Table::Scopes;
        Scope {
            name: self.text(table, Own::Name, row),
            version: self.text(table, Own::Version, row),
            attributes: self.attributes(table, row),
            dropped_attributes: self.count(table, Own::DroppedAttributes, row),
            schema_url: self.text(table, Own::SchemaUrl, row),
        }
    }

    /// `None` if there is no such row, or its id is not valid.
    pub(in crate::store) fn span(&self, row: u32) -> Option<Span<'_>> {
        let table = Table::Spans;
        let index = row as usize;
        let start_unix_nano = self.starts.get(index)?;
        Some(Span {
            id: SpanId::new(*self.span_ids.get(index)?)?,
            parent: SpanId::new(*self.parent_ids.get(index)?),
            trace_state: self.text(table, Own::TraceState, row),
            flags: self.count(table, Own::Flags, row),
            name: self.text(table, Own::Name, row),
            kind: Kind::from_number(self.count(table, Own::Kind, row).into()),
            start_unix_nano,
            end_unix_nano: start_unix_nano.wrapping_add(self.durations.get(index)?),
            attributes: self.attributes(table, row),
            dropped_attributes: self.count(table, Own::DroppedAttributes, row),
            events: self.events_of(row).map(|row| self.event(row)).collect(),
            dropped_events: self.count(table, Own::DroppedEvents, row),
            links: self
                .links_of(row)
                .filter_map(|row| self.link(row))
                .collect(),
            dropped_links: self.count(table, Own::DroppedLinks, row),
            status: Status {
                code: StatusCode::from_number(self.count(table, Own::Status, row).into()),
                message: self.text(table, Own::StatusMessage, row),
            },
        })
    }

    fn event(&self, row: u32) -> Event<'_> {
        let table = Table::Events;
        Event {
            time_unix_nano: self.event_times.at(row as usize),
            name: self.text(table, Own::Name, row),
            attributes: self.attributes(table, row),
            dropped_attributes: self.count(table, Own::DroppedAttributes, row),
        }
    }

    fn link(&self, row: u32) -> Option<Link<'_>> {
        let table = Table::Links;
        Some(Link {
            trace: TraceId::new(*self.link_trace_ids.get(row as usize)?)?,
            span: SpanId::new(*self.link_span_ids.get(row as usize)?)?,
            trace_state: self.text(table, Own::TraceState, row),
            attributes: self.attributes(table, row),
            dropped_attributes: self.count(table, Own::DroppedAttributes, row),
            flags: self.count(table, Own::Flags, row),
        })
    }

    fn attributes(&self, table: Table, row: u32) -> Vec<KeyValue<'_>> {
        let shapes = self.own.get(&(table, Own::Shape));
        let shape = shapes.and_then(|column| column.value(row)).unwrap_or(&[]);
        let attribute = |number: usize| {
            let Key::Attribute(key, _) = &self.part.directory.columns.get(number)?.key else {
                return None;
            };
            let value = self.attributes.get(&number)?.value(row)?;
            Some(KeyValue {
                key: Cow::Borrowed(&**key),
                value: value::decode(value).unwrap_or(Value::Empty),
            })
        };
        numbers(shape).filter_map(attribute).collect()
    }

    fn text(&self, table: Table, own: Own, row: u32) -> Cow<'_, str> {
        let value = self.own.get(&(table, own));
        let value = value.and_then(|column| column.value(row));
        Cow::Borrowed(value.and_then(value::decode_str).unwrap_or_default())
    }

    fn count(&self, table: Table, own: Own, row: u32) -> u32 {
        let value = self.own.get(&(table, own));
        let value = value.and_then(|column| column.value(row));
        let number = value.and_then(value::decode_int).unwrap_or_default();
        u32::try_from(number).unwrap_or_default()
    }
}

fn load(part: &Part, number: usize) -> Result<Column, Damaged> {
    Ok(Column {
        dictionary: part.dictionary(number)?,
        cells: part.cells(number)?,
    })
}

/// The records that belong to a span.
pub(in crate::store) fn records_of(spans: &Integers, row: u32) -> Range<u32> {
    let row = u64::from(row);
    let start = spans.partition_point(|span| span < row);
    let following = start..spans.len();
    let count = following
        .take_while(|index| spans.get(*index) == Some(row))
        .count();
    let bound = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    bound(start)..bound(start + count)
}
