//! What a query reads of a part: whole pages, or only what stands in a few neighbouring rows.

use std::{ops::Range, sync::Arc};

use super::Reads;
use crate::{
    query::Field,
    span::{SpanId, TraceId, Value},
    store::{
        column::{Cells, Codes, Dictionary},
        field::locate,
        integers::Integers,
        part::{Array, Damaged, Excerpt, Part, Table, records_of},
        value,
    },
};

/// What a query reads of some or all spans of a part.
pub(super) struct Columns {
    span_ids: Excerpt,
    parent_ids: Excerpt,
    starts: Excerpt,
    durations: Excerpt,
    /// By number in [`Reads::fields`].
    fields: Vec<Column>,
    records: Option<Records>,
}

struct Records {
    event_spans: Arc<Integers>,
    event_times: Arc<Integers>,
    link_spans: Arc<Integers>,
    link_trace_ids: Arc<Vec<[u8; 16]>>,
    link_span_ids: Arc<Vec<[u8; 8]>>,
}

impl Columns {
    /// For all spans of a part.
    pub(super) fn whole(part: &Part, reads: &Reads) -> Result<Columns, Damaged> {
        Columns::open(part, reads, None)
    }

    /// For the spans in these rows.
    pub(super) fn few(part: &Part, reads: &Reads, rows: &Range<u32>) -> Result<Columns, Damaged> {
        Columns::open(part, reads, Some(rows))
    }

    fn open(part: &Part, reads: &Reads, rows: Option<&Range<u32>>) -> Result<Columns, Damaged> {
        let array = |array: Array| match rows {
            None => part.array(array),
            Some(rows) => part.array_rows(array, rows),
        };
        let fields = (reads.fields.iter()).map(|field| Column::open(part, field, rows));
        let records = match reads.records {
            false => None,
            true => Some(Records {
                event_spans: part.numbers(Array::EventSpans)?,
                event_times: part.numbers(Array::EventTimes)?,
                link_spans: part.numbers(Array::LinkSpans)?,
                link_trace_ids: part.ids16(Array::LinkTraceIds)?,
                link_span_ids: part.ids8(Array::LinkSpanIds)?,
            }),
        };
        Ok(Columns {
            span_ids: array(Array::SpanIds)?,
            parent_ids: array(Array::ParentIds)?,
            starts: array(Array::Starts)?,
            durations: array(Array::Durations)?,
            fields: fields.collect::<Result<_, _>>()?,
            records,
        })
    }

    pub(super) fn span_id(&self, row: u32) -> Option<SpanId> {
        SpanId::new(self.span_ids.id8(row)?)
    }

    pub(super) fn parent(&self, row: u32) -> Option<SpanId> {
        SpanId::new(self.parent_ids.id8(row)?)
    }

    pub(super) fn start(&self, row: u32) -> Option<u64> {
        self.starts.number(row)
    }

    /// The end minus the start, modulo 2^64.
    pub(super) fn duration(&self, row: u32) -> Option<u64> {
        self.durations.number(row)
    }

    /// Calls `each` with the values that a span has in a field of the [`Reads`].
    pub(super) fn each_value<'c>(
        &'c self,
        field: usize,
        row: u32,
        mut each: impl FnMut(Value<'c>),
    ) {
        let Some(column) = self.fields.get(field) else {
            return;
        };
        match &column.at {
            At::Span => column.each(row, &mut each),
            At::Duration => {
                let start = self.start(row).unwrap_or(0);
                let end = start.wrapping_add(self.duration(row).unwrap_or(0));
                let nanos = end.saturating_sub(start);
                each(Value::Int(i64::try_from(nanos).unwrap_or(i64::MAX)));
            }
            At::Source(sources) => match sources.code(row).checked_sub(1) {
                Some(row) => column.each(row, &mut each),
                None => {
                    column.default.clone().map(each);
                }
            },
            At::Records(owners) => {
                for row in records_of(owners, row) {
                    column.each(row, &mut each);
                }
            }
        }
    }

    /// Calls `each` with the times of a span's events.
    pub(super) fn each_event(&self, row: u32, each: impl FnMut(u64)) {
        if let Some(records) = &self.records {
            let rows = records_of(&records.event_spans, row);
            let time = |row: u32| records.event_times.get(row as usize);
            rows.filter_map(time).for_each(each);
        }
    }

    /// Calls `each` with what a span's links lead to.
    pub(super) fn each_link(&self, row: u32, each: impl FnMut((TraceId, SpanId))) {
        if let Some(records) = &self.records {
            let rows = records_of(&records.link_spans, row);
            let link = |row: u32| {
                let trace = TraceId::new(*records.link_trace_ids.get(row as usize)?)?;
                let span = SpanId::new(*records.link_span_ids.get(row as usize)?)?;
                Some((trace, span))
            };
            rows.filter_map(link).for_each(each);
        }
    }
}

struct Column {
    /// One, or none if there are no values, or more of a key that is repeated in one record.
    occurrences: Vec<(Arc<Dictionary>, Arc<Cells>)>,
    /// What a row has that has no value.
    default: Option<Value<'static>>,
    at: At,
}

/// How a span leads to the rows of a column.
enum At {
    Span,
    /// No column: it is computed.
    Duration,
    /// Resources or scopes.
    Source(Excerpt),
    /// Events or links.
    Records(Arc<Integers>),
}

impl Column {
    fn open(part: &Part, field: &Field, rows: Option<&Range<u32>>) -> Result<Column, Damaged> {
        let Some((table, columns, default)) = locate(&part.directory, field) else {
            return Ok(Column {
                occurrences: Vec::new(),
                default: None,
                at: At::Duration,
            });
        };
        let sources = |array: Array| match rows {
            None => part.array(array),
            Some(rows) => part.array_rows(array, rows),
        };
        let at = match table {
            Table::Spans => At::Span,
            Table::Resources => At::Source(sources(Array::SpanResources)?),
            Table::Scopes => At::Source(sources(Array::SpanScopes)?),
            Table::Events => At::Records(part.numbers(Array::EventSpans)?),
            Table::Links => At::Records(part.numbers(Array::LinkSpans)?),
        };
        let occurrence = |column: usize| match (&at, rows) {
            (At::Span, Some(rows)) => {
                let codes = part.cell_rows(column, rows)?;
                let codes = rows.clone().map(|row| Ok((row, codes.code(row))));
                values_of(part, column, codes)
            }
            (At::Source(sources), Some(rows)) => {
                let of_span = |row| sources.code(row).checked_sub(1);
                let mut rows: Vec<u32> = rows.clone().filter_map(of_span).collect();
                rows.sort_unstable();
                rows.dedup();
                let code = |row| Ok((row, part.cell_rows(column, &(row..row + 1))?.code(row)));
                values_of(part, column, rows.into_iter().map(code))
            }
            _ => Ok((part.dictionary(column)?, part.cells(column)?)),
        };
        Ok(Column {
            occurrences: columns.map(occurrence).collect::<Result<_, Damaged>>()?,
            default,
            at,
        })
    }

    fn each<'c>(&'c self, row: u32, each: &mut impl FnMut(Value<'c>)) {
        let mut is_absent = true;
        for (dictionary, cells) in &self.occurrences {
            if let Some(code) = cells.code(row).checked_sub(1) {
                is_absent = false;
                value::decode(dictionary.get(code as usize)).map(&mut *each);
            }
        }
        if is_absent {
            self.default.clone().map(each);
        }
    }
}

/// A column of nothing but some rows, which ascend and come with their codes in that of the part.
fn values_of(
    part: &Part,
    column: usize,
    rows: impl Iterator<Item = Result<(u32, u32), Damaged>>,
) -> Result<(Arc<Dictionary>, Arc<Cells>), Damaged> {
    let has_value = |row: &Result<(u32, u32), Damaged>| !matches!(row, Ok((_, 0)));
    let (rows, codes): (Vec<u32>, Vec<u32>) =
        (rows.filter(has_value)).collect::<Result<_, Damaged>>()?;
    // In the order in which the blocks of the dictionary are read.
    let mut distinct = codes.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let values = part.values(column)?;
    let mut dictionary = Dictionary::default();
    for code in &distinct {
        values.look(*code as usize - 1, |value| dictionary.push(value))?;
    }
    let number = |code: &u32| distinct.partition_point(|other| other <= code);
    let number = |code: &u32| u32::try_from(number(code)).unwrap_or(u32::MAX);
    let codes = Codes::narrowed(codes.iter().map(number).collect(), number(&u32::MAX));
    Ok((
        Arc::new(dictionary),
        Arc::new(Cells::Sparse { rows, codes }),
    ))
}
