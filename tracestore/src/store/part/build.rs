//! Turns the spans of one request into a part.

use std::{hash::BuildHasher, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::{
    Key, Own, Part, Table,
    merge::{Source, SourceColumn, SourceTrace, merge_sources},
};
use crate::{
    span::{Event, KeyValue, Link, Resource, Scope, Span, TraceId},
    store::{
        Batch,
        column::{Cells, Codes, Dictionary},
        value,
    },
};

/// Columns of one request that may be for attributes: each takes up to a kilobyte, and senders that
/// do not put values into keys need hundreds.
const MAX_COLUMNS: usize = 8192;

/// A part of all spans. `received` is in nanoseconds since the Unix epoch.
pub(in crate::store) fn build(batches: &[Batch<'_>], received: u64) -> Part {
    let mut builder = Builder::new(received);
    let mut resource_before: Option<&Arc<Resource<'_>>> = None;
    // A resource without spans would be a row that nothing refers to.
    for batch in batches.iter().filter(|batch| !batch.spans.is_empty()) {
        if resource_before.is_none_or(|before| !Arc::ptr_eq(before, &batch.resource)) {
            builder.resource(&batch.resource);
            resource_before = Some(&batch.resource);
        }
        builder.scope(&batch.scope);
        for (trace, span) in &batch.spans {
            builder.span(*trace, span);
        }
    }
    merge_sources(vec![builder.finish()])
}

/// Columns under construction, in the order in which their first value came.
struct Builder {
    columns: Vec<ColumnBuilder>,
    tables: [TableBuilder; 5],
    received: u64,
    /// The rows of the traces in `source.traces`.
    traces: HashMap<[u8; 16], u32>,
    source: Source,
    /// Reused for the bytes of each value.
    scratch: Vec<u8>,
    shape: Vec<u32>,
}

struct ColumnBuilder {
    table: Table,
    key: Key,
    values: Interner,
    rows: Vec<u32>,
    codes: Vec<u32>,
    /// The column of the next occurrence of the same key in a record.
    next: Option<u32>,
}

#[derive(Default)]
struct TableBuilder {
    rows: u32,
    own: [Option<u32>; Own::ALL.len()],
    attributes: HashMap<Box<str>, u32>,
    /// The columns of the attributes of the record before: mostly they are those of the next.
    shape_before: Vec<u32>,
    shape_code_before: Option<u32>,
}

impl Builder {
    fn new(received: u64) -> Builder {
        Builder {
            columns: Vec::new(),
            tables: Default::default(),
            received,
            traces: HashMap::new(),
            source: Source::default(),
            scratch: Vec::new(),
            shape: Vec::new(),
        }
    }

    fn finish(self) -> Source {
        let columns = self.columns.into_iter().map(|column| SourceColumn {
            table: column.table,
            key: column.key,
            dictionary: Arc::new(column.values.dictionary),
            cells: Arc::new(Cells::Sparse {
                rows: column.rows,
                codes: Codes::U32(column.codes),
            }),
        });
        Source {
            columns: columns.collect(),
            rows: self.tables.map(|table| table.rows),
            ..self.source
        }
    }

    fn resource(&mut self, resource: &Resource<'_>) {
        let row = self.row(Table::Resources);
        let Resource {
            attributes,
            dropped_attributes,
            schema_url,
        } = resource;
        self.attributes(Table::Resources, row, attributes, *dropped_attributes);
        self.text(Table::Resources, Own::SchemaUrl, row, schema_url);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        let row = self.row(Table::Scopes);
        let Scope {
            name,
            version,
            attributes,
            dropped_attributes,
            schema_url,
        } = scope;
        self.attributes(Table::Scopes, row, attributes, *dropped_attributes);
        self.text(Table::Scopes, Own::Name, row, name);
        self.text(Table::Scopes, Own::Version, row, version);
        self.text(Table::Scopes, Own::SchemaUrl, row, schema_url);
    }

    /// A span of the resource and the scope that were added last.
    fn span(&mut self, trace: TraceId, span: &Span<'_>) {
        let row = self.row(Table::Spans);
        let Span {
            id,
            parent,
            trace_state,
            flags,
            name,
            kind,
            start_unix_nano,
            end_unix_nano,
            attributes,
            dropped_attributes,
            events,
            dropped_events,
            links,
            dropped_links,
            status,
        } = span;

        let traces = &mut self.source.traces;
        let number = *self.traces.entry(*trace.bytes()).or_insert_with(|| {
            traces.push(SourceTrace {
                id: *trace.bytes(),
                received: self.received,
                received_last: self.received,
            });
            u32::try_from(traces.len() - 1).expect("a request holds fewer than 2^32 traces")
        });
        let source = &mut self.source;
        source.span_traces.push(number);
        source.span_ids.push(*id.bytes());
        source
            .parent_ids
            .push(parent.map_or([0; 8], |parent| *parent.bytes()));
        source.starts.push(*start_unix_nano);
        source
            .durations
            .push(end_unix_nano.wrapping_sub(*start_unix_nano));
        let last = |table: Table| self.tables[table as usize].rows.saturating_sub(1);
        source.span_resources.push(last(Table::Resources));
        source.span_scopes.push(last(Table::Scopes));

        let spans = Table::Spans;
        self.text(spans, Own::Name, row, name);
        self.number(spans, Own::Kind, row, i64::from(kind.number()));
        self.number(spans, Own::Status, row, i64::from(status.code.number()));
        self.text(spans, Own::StatusMessage, row, &status.message);
        self.text(spans, Own::TraceState, row, trace_state);
        self.number(spans, Own::Flags, row, i64::from(*flags));
        self.attributes(spans, row, attributes, *dropped_attributes);
        for (own, dropped) in [
            (Own::DroppedEvents, dropped_events),
            (Own::DroppedLinks, dropped_links),
        ] {
            self.number(spans, own, row, i64::from(*dropped));
        }
        for event in events {
            self.event(row, event);
        }
        for link in links {
            self.link(row, link);
        }
    }

    fn event(&mut self, span: u32, event: &Event<'_>) {
        let row = self.row(Table::Events);
        let Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes,
        } = event;
        self.source.event_spans.push(span);
        self.source.event_times.push(*time_unix_nano);
        self.text(Table::Events, Own::Name, row, name);
        self.attributes(Table::Events, row, attributes, *dropped_attributes);
    }

    fn link(&mut self, span: u32, link: &Link<'_>) {
        let row = self.row(Table::Links);
        let Link {
            trace,
            span: linked,
            trace_state,
            attributes,
            dropped_attributes,
            flags,
        } = link;
        self.source.link_spans.push(span);
        self.source.link_trace_ids.push(*trace.bytes());
        self.source.link_span_ids.push(*linked.bytes());
        self.text(Table::Links, Own::TraceState, row, trace_state);
        self.number(Table::Links, Own::Flags, row, i64::from(*flags));
        self.attributes(Table::Links, row, attributes, *dropped_attributes);
    }

    fn row(&mut self, table: Table) -> u32 {
        let table = &mut self.tables[table as usize];
        table.rows += 1;
        table.rows - 1
    }

    fn text(&mut self, table: Table, own: Own, row: u32, text: &str) {
        if !text.is_empty() {
            self.scratch.clear();
            value::encode_str(text, &mut self.scratch);
            self.own(table, own, row);
        }
    }

    fn number(&mut self, table: Table, own: Own, row: u32, number: i64) {
        if number != 0 {
            self.scratch.clear();
            value::encode_int(number, &mut self.scratch);
            self.own(table, own, row);
        }
    }

    /// The value is in `scratch`. Returns its code.
    fn own(&mut self, table: Table, own: Own, row: u32) -> u32 {
        let slot = &mut self.tables[table as usize].own[own as usize];
        let column =
            *slot.get_or_insert_with(|| push_column(&mut self.columns, table, Key::Own(own)));
        self.columns[column as usize].push(row, &self.scratch)
    }

    /// Those that would need too many columns are dropped, and counted with those that were
    /// dropped before.
    fn attributes(
        &mut self,
        table: Table,
        row: u32,
        attributes: &[KeyValue<'_>],
        mut dropped: u32,
    ) {
        let mut shape = std::mem::take(&mut self.shape);
        shape.clear();
        for KeyValue { key, value } in attributes {
            let Some(column) = self.attribute(table, shape.len(), row, key) else {
                dropped = dropped.saturating_add(1);
                continue;
            };
            shape.push(column);
            self.scratch.clear();
            value::encode(value, &mut self.scratch);
            self.columns[column as usize].push(row, &self.scratch);
        }
        if !shape.is_empty() {
            shape = self.shape(table, row, shape);
        }
        self.shape = shape;
        self.number(table, Own::DroppedAttributes, row, i64::from(dropped));
    }

    /// Notes which attributes the row has. Gives the shape back.
    fn shape(&mut self, table: Table, row: u32, shape: Vec<u32>) -> Vec<u32> {
        let before = &mut self.tables[table as usize];
        match before.shape_code_before {
            Some(code) if before.shape_before == shape => {
                let column = before.own[Own::Shape as usize].expect("a shape came before") as usize;
                self.columns[column].push_code(row, code);
            }
            _ => {
                before.shape_before.clone_from(&shape);
                self.scratch.clear();
                for column in &shape {
                    self.scratch.extend(column.to_le_bytes());
                }
                let code = self.own(table, Own::Shape, row);
                self.tables[table as usize].shape_code_before = Some(code);
            }
        }
        shape
    }

    /// The column of an attribute: of its first occurrence that this row does not have yet. `None`
    /// if there are too many columns for another one.
    fn attribute(&mut self, table: Table, position: usize, row: u32, name: &str) -> Option<u32> {
        let is_full = self.columns.len() >= MAX_COLUMNS;
        let TableBuilder {
            attributes,
            shape_before,
            ..
        } = &mut self.tables[table as usize];
        if let Some(&column) = shape_before.get(position) {
            let candidate = &self.columns[column as usize];
            let is_first = matches!(&candidate.key, Key::Attribute(key, 0) if &**key == name);
            if is_first && candidate.rows.last() != Some(&row) {
                return Some(column);
            }
        }
        let first = match attributes.get(name) {
            Some(column) => *column,
            None if is_full => return None,
            None => {
                let column = push_column(&mut self.columns, table, Key::Attribute(name.into(), 0));
                attributes.insert(name.into(), column);
                column
            }
        };
        let mut column = first;
        while self.columns[column as usize].rows.last() == Some(&row) {
            column = match self.columns[column as usize].next {
                Some(next) => next,
                None if is_full => return None,
                None => {
                    let Key::Attribute(name, occurrence) =
                        self.columns[column as usize].key.clone()
                    else {
                        return None;
                    };
                    let key = Key::Attribute(name, occurrence + 1);
                    let next = push_column(&mut self.columns, table, key);
                    self.columns[column as usize].next = Some(next);
                    next
                }
            };
        }
        Some(column)
    }
}

fn push_column(columns: &mut Vec<ColumnBuilder>, table: Table, key: Key) -> u32 {
    columns.push(ColumnBuilder {
        table,
        key,
        values: Interner::default(),
        rows: Vec::new(),
        codes: Vec::new(),
        next: None,
    });
    u32::try_from(columns.len() - 1).expect("receivers bound the attributes of a request")
}

impl ColumnBuilder {
    /// Returns the code.
    fn push(&mut self, row: u32, value: &[u8]) -> u32 {
        let code = self.values.intern(value) + 1;
        self.push_code(row, code);
        code
    }

    fn push_code(&mut self, row: u32, code: u32) {
        self.rows.push(row);
        self.codes.push(code);
    }
}

/// Numbers distinct values in the order in which they come.
#[derive(Default)]
struct Interner {
    dictionary: Dictionary,
    /// Empty until there are more than `FEW` values: most columns have few.
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

const FEW: usize = 8;

impl Interner {
    fn intern(&mut self, value: &[u8]) -> u32 {
        let len = self.dictionary.len();
        let next = u32::try_from(len).expect("receivers bound the values of a request");
        if len <= FEW {
            if let Some(found) = (0..len).find(|index| self.dictionary.get(*index) == value) {
                return u32::try_from(found).expect("one of few");
            }
            self.dictionary.push(value);
            if len == FEW {
                for number in 0..=next {
                    let hash = self.hasher.hash_one(self.dictionary.get(number as usize));
                    let rehash =
                        |number: &u32| self.hasher.hash_one(self.dictionary.get(*number as usize));
                    self.numbers.insert_unique(hash, number, rehash);
                }
            }
            return next;
        }
        let hash = self.hasher.hash_one(value);
        let dictionary = &self.dictionary;
        let same = |number: &u32| dictionary.get(*number as usize) == value;
        if let Some(number) = self.numbers.find(hash, same) {
            return *number;
        }
        let rehash = |number: &u32| self.hasher.hash_one(dictionary.get(*number as usize));
        self.numbers.insert_unique(hash, next, rehash);
        self.dictionary.push(value);
        next
    }
}
