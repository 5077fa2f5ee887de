//! Makes one part of several, or of the spans of a request.

use std::{collections::HashMap, ops::RangeInclusive, sync::Arc};

use super::{
    ARRAYS, Array, Column, Damaged, Directory, Key, Own, Part, Summary, Table, Traces, rank,
    traces::time,
};
use crate::store::column::{Cells, Codes, Dictionary, Page};

/// Spans in any order. The values of its dictionaries are distinct, in any order too.
#[derive(Default)]
pub(super) struct Source {
    /// In the order of the numbers in shapes.
    pub(super) columns: Vec<SourceColumn>,
    pub(super) rows: [u32; 5],
    pub(super) traces: Vec<SourceTrace>,
    /// By span, as are those that follow: the number of its trace.
    pub(super) span_traces: Vec<u32>,
    pub(super) span_ids: Vec<[u8; 8]>,
    pub(super) parent_ids: Vec<[u8; 8]>,
    pub(super) starts: Vec<u64>,
    pub(super) durations: Vec<u64>,
    /// The row of its resource.
    pub(super) span_resources: Vec<u32>,
    pub(super) span_scopes: Vec<u32>,
    /// By event, as are those that follow: the row of its span.
    pub(super) event_spans: Vec<u32>,
    pub(super) event_times: Vec<u64>,
    /// By link, as are those that follow: the row of its span.
    pub(super) link_spans: Vec<u32>,
    pub(super) link_trace_ids: Vec<[u8; 16]>,
    pub(super) link_span_ids: Vec<[u8; 8]>,
}

pub(super) struct SourceColumn {
    pub(super) table: Table,
    pub(super) key: Key,
    pub(super) dictionary: Arc<Dictionary>,
    pub(super) cells: Arc<Cells>,
}

pub(super) struct SourceTrace {
    pub(super) id: [u8; 16],
    pub(super) received: u64,
    pub(super) received_last: u64,
}

/// One part of all spans of several.
pub(in crate::store) fn merge(parts: &[Arc<Part>]) -> Result<Part, Damaged> {
    let sources: Result<_, _> = parts.iter().map(|part| source(part)).collect();
    Ok(merge_sources(sources?))
}

fn source(part: &Part) -> Result<Source, Damaged> {
    let traces = part.traces()?;
    let spans = part.directory.spans() as usize;
    let mut span_traces = Vec::with_capacity(spans);
    for (trace, number) in (0..traces.ids().len()).zip(0..) {
        let rows = traces.rows(trace);
        if rows.start as usize != span_traces.len() {
            return Err(part.damaged("a span belongs to no trace or to two"));
        }
        span_traces.extend(rows.map(|_| number));
    }
    if span_traces.len() != spans {
        return Err(part.damaged("a span belongs to no trace or to two"));
    }
    let columns = part.directory.columns.iter().enumerate();
    let columns = columns.map(|(number, column)| {
        Ok(SourceColumn {
            table: column.table,
            key: column.key.clone(),
            dictionary: part.dictionary(number)?,
            cells: part.cells(number)?,
        })
    });
    Ok(Source {
        columns: columns.collect::<Result<_, _>>()?,
        rows: part.directory.rows,
        traces: source_traces(&traces),
        span_traces,
        span_ids: part.ids8(Array::SpanIds)?.to_vec(),
        parent_ids: part.ids8(Array::ParentIds)?.to_vec(),
        starts: part.numbers(Array::Starts)?.plain().into_owned(),
        durations: part.numbers(Array::Durations)?.plain().into_owned(),
        span_resources: span_sources(part, Array::SpanResources)?,
        span_scopes: span_sources(part, Array::SpanScopes)?,
        event_spans: rows(part, Array::EventSpans)?,
        event_times: part.numbers(Array::EventTimes)?.plain().into_owned(),
        link_spans: rows(part, Array::LinkSpans)?,
        link_trace_ids: part.ids16(Array::LinkTraceIds)?.to_vec(),
        link_span_ids: part.ids8(Array::LinkSpanIds)?.to_vec(),
    })
}

fn source_traces(traces: &Traces) -> Vec<SourceTrace> {
    let each = traces.ids().iter().enumerate().map(|(trace, id)| {
        let (received, received_last) = traces.received(trace).into_inner();
        SourceTrace {
            id: *id,
            received,
            received_last,
        }
    });
    each.collect()
}

fn span_sources(part: &Part, array: Array) -> Result<Vec<u32>, Damaged> {
    let sources = part.sources(array)?;
    let row = |span: u32| sources.code(span).checked_sub(1);
    let rows: Option<Vec<u32>> = (0..part.directory.spans()).map(row).collect();
    rows.ok_or_else(|| part.damaged("a span has no resource or no scope"))
}

fn rows(part: &Part, array: Array) -> Result<Vec<u32>, Damaged> {
    let spans = part.directory.spans();
    let rows = part.numbers(array)?;
    let row = |row: &u64| u32::try_from(*row).ok().filter(|row| *row < spans);
    let rows: Option<Vec<u32>> = rows.plain().iter().map(row).collect();
    rows.ok_or_else(|| part.damaged("an event or a link belongs to no span"))
}

/// Where the rows of each source are in the merged tables, by table.
type Placement = [Vec<Vec<u32>>; 5];

pub(super) fn merge_sources(sources: Vec<Source>) -> Part {
    let mut placement: Placement = Default::default();
    let mut pages = Vec::with_capacity(ARRAYS + 64);
    let (resources, scopes);
    (placement[Table::Resources as usize], resources) = unify(&sources, Table::Resources);
    (placement[Table::Scopes as usize], scopes) = unify(&sources, Table::Scopes);
    let (summary, traces) = merge_spans(&sources, &mut placement, (resources, scopes), &mut pages);
    merge_events(&sources, &mut placement, &mut pages);
    merge_links(&sources, &mut placement, &mut pages);
    let total = |table: Table| {
        sources
            .iter()
            .map(|source| source.rows[table as usize])
            .sum()
    };
    let mut directory = Directory {
        summary,
        traces,
        rows: [
            total(Table::Spans),
            resources,
            scopes,
            total(Table::Events),
            total(Table::Links),
        ],
        columns: Vec::new(),
    };
    merge_columns(&sources, &placement, &mut directory, &mut pages);
    Part::resident(directory, pages)
}

/// A trace while its spans are counted together.
struct Growing {
    row: u64,
    start: u64,
    end: u64,
    received: RangeInclusive<u64>,
}

/// Sorts spans by trace and start and writes their arrays and those of their traces.
fn merge_spans(
    sources: &[Source],
    placement: &mut Placement,
    (resources, scopes): (u32, u32),
    pages: &mut Vec<Page>,
) -> (Summary, u32) {
    let mut order: Vec<(u128, u64, u32, u32)> = Vec::new();
    for (source, number) in sources.iter().zip(0..) {
        let ids: Vec<u128> = (source.traces.iter())
            .map(|trace| u128::from_be_bytes(trace.id))
            .collect();
        let rows = source.span_traces.iter().zip(&source.starts).zip(0..);
        order.extend(rows.map(|((trace, start), row)| (ids[*trace as usize], *start, number, row)));
    }
    // Parts are sorted already, and a stable sort merges such runs.
    order.sort_by_key(|(id, start, ..)| (*id, *start));

    let count = order.len();
    let mut inverse: Vec<Vec<u32>> = (sources.iter())
        .map(|source| vec![0; source.span_ids.len()])
        .collect();
    let mut ids: Vec<[u8; 16]> = Vec::new();
    let mut traces: Vec<Growing> = Vec::new();
    let mut span_ids = Vec::with_capacity(count);
    let mut parent_ids = Vec::with_capacity(count);
    let mut starts = Vec::with_capacity(count);
    let mut durations = Vec::with_capacity(count);
    let mut span_resources = Vec::with_capacity(count);
    let mut span_scopes = Vec::with_capacity(count);
    for ((id, start, number, row), merged) in order.into_iter().zip(0_u32..) {
        let (number, row) = (number as usize, row as usize);
        let source = &sources[number];
        let trace = &source.traces[source.span_traces[row] as usize];
        inverse[number][row] = merged;
        if ids.last().map(|last| u128::from_be_bytes(*last)) != Some(id) {
            ids.push(id.to_be_bytes());
            traces.push(Growing {
                row: u64::from(merged),
                start: 0,
                end: 0,
                received: trace.received..=trace.received_last,
            });
        }
        let growing = traces.last_mut().expect("its id was just pushed");
        let duration = source.durations[row];
        growing.start = earliest(growing.start, start);
        growing.end = growing.end.max(start).max(start.wrapping_add(duration));
        growing.received = trace.received.min(*growing.received.start())
            ..=trace.received_last.max(*growing.received.end());
        span_ids.push(source.span_ids[row]);
        parent_ids.push(source.parent_ids[row]);
        starts.push(start);
        durations.push(duration);
        let place = |table: Table, row: u32| placement[table as usize][number][row as usize] + 1;
        span_resources.push(place(Table::Resources, source.span_resources[row]));
        span_scopes.push(place(Table::Scopes, source.span_scopes[row]));
    }
    placement[Table::Spans as usize] = inverse;

    let begins = traces
        .iter()
        .map(|trace| *time(trace.start, trace.end).start());
    let max = |of: fn(&Growing) -> u64| traces.iter().map(of).max().unwrap_or(0);
    let min = |of: fn(&Growing) -> u64| traces.iter().map(of).min().unwrap_or(0);
    let summary = Summary {
        time: begins.fold(0, earliest)..=max(|trace| trace.end),
        received: min(|trace| *trace.received.start())..=max(|trace| *trace.received.end()),
        newest: max(|trace| rank(trace.start, *trace.received.start())),
        generations: 0..=0,
    };
    let numbers = |of: fn(&Growing) -> u64| {
        Page::Numbers(Arc::new(traces.iter().map(of).collect::<Vec<_>>().into()))
    };
    let trace_count = u32::try_from(ids.len()).expect("no more traces than spans");
    pages.extend([
        Page::Ids16(Arc::new(ids)),
        numbers(|trace| trace.row),
        numbers(|trace| trace.start),
        numbers(|trace| trace.end),
        numbers(|trace| *trace.received.start()),
        numbers(|trace| *trace.received.end()),
        Page::Ids8(Arc::new(span_ids)),
        Page::Ids8(Arc::new(parent_ids)),
        Page::Numbers(Arc::new(starts.into())),
        Page::Numbers(Arc::new(durations.into())),
        Page::Cells(Arc::new(Cells::Dense(Codes::narrowed(
            span_resources,
            resources,
        )))),
        Page::Cells(Arc::new(Cells::Dense(Codes::narrowed(span_scopes, scopes)))),
    ]);
    (summary, trace_count)
}

/// 0 means unknown.
fn earliest(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, known) | (known, 0) => known,
        (a, b) => a.min(b),
    }
}

/// The merged row of its span, the source of an event or link, and its row there.
type Record = (u32, usize, usize);

/// Where the records of each source are when those that follow them, `owners`, are in the order of
/// their spans.
fn order_by_span(
    sources: &[Source],
    spans: &[Vec<u32>],
    owners: impl Fn(&Source) -> &[u32],
) -> (Vec<Vec<u32>>, Vec<Record>) {
    let mut order: Vec<Record> = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let rows = owners(source).iter().enumerate();
        order.extend(rows.map(|(row, span)| (spans[number][*span as usize], number, row)));
    }
    order.sort_by_key(|(span, ..)| *span);
    let mut inverse: Vec<Vec<u32>> = (sources.iter())
        .map(|source| vec![0; owners(source).len()])
        .collect();
    for ((_, number, row), merged) in order.iter().zip(0..) {
        inverse[*number][*row] = merged;
    }
    (inverse, order)
}

/// The row of the span of each event or link.
fn owners_of(order: &[Record]) -> Page {
    let spans = order.iter().map(|(span, ..)| u64::from(*span));
    Page::Numbers(Arc::new(spans.collect::<Vec<_>>().into()))
}

fn merge_events(sources: &[Source], placement: &mut Placement, pages: &mut Vec<Page>) {
    let spans = &placement[Table::Spans as usize];
    let (inverse, order) = order_by_span(sources, spans, |source| &source.event_spans);
    let times = order
        .iter()
        .map(|(_, number, row)| sources[*number].event_times[*row]);
    pages.extend([
        owners_of(&order),
        Page::Numbers(Arc::new(times.collect::<Vec<_>>().into())),
    ]);
    placement[Table::Events as usize] = inverse;
}

fn merge_links(sources: &[Source], placement: &mut Placement, pages: &mut Vec<Page>) {
    let spans = &placement[Table::Spans as usize];
    let (inverse, order) = order_by_span(sources, spans, |source| &source.link_spans);
    let traces = order
        .iter()
        .map(|(_, number, row)| sources[*number].link_trace_ids[*row]);
    let linked = order
        .iter()
        .map(|(_, number, row)| sources[*number].link_span_ids[*row]);
    pages.extend([
        owners_of(&order),
        Page::Ids16(Arc::new(traces.collect())),
        Page::Ids8(Arc::new(linked.collect())),
    ]);
    placement[Table::Links as usize] = inverse;
}

/// Gives equal records one row. Returns where each row of each source went, and how many there are.
///
/// Goes through the columns and not through the rows, most of which do not have most columns.
fn unify(sources: &[Source], table: Table) -> (Vec<Vec<u32>>, u32) {
    let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
    let placed = sources.iter().map(|source| {
        let mut columns: Vec<&SourceColumn> = (source.columns.iter())
            .filter(|column| column.table == table)
            .collect();
        columns.sort_unstable_by_key(|column| &column.key);
        let mut contents = vec![Vec::new(); source.rows[table as usize] as usize];
        for column in columns {
            column.cells.for_each(|row, code| {
                let content = &mut contents[row as usize];
                let value = column.dictionary.get(code as usize - 1);
                match &column.key {
                    Key::Own(Own::Shape) => keys(source, value, content),
                    Key::Own(own) => {
                        content.extend([0, *own as u8]);
                        field(content, value);
                    }
                    Key::Attribute(..) => {
                        content.push(1);
                        key(&column.key, content);
                        field(content, value);
                    }
                }
            });
        }
        let place = |content: Vec<u8>| {
            let next = u32::try_from(known.len()).expect("no more than rows");
            *known.entry(content).or_insert(next)
        };
        contents.into_iter().map(place).collect()
    });
    let placed = placed.collect();
    (
        placed,
        u32::try_from(known.len()).expect("no more than rows"),
    )
}

/// The keys of attributes in the order of a shape.
fn keys(source: &Source, shape: &[u8], to: &mut Vec<u8>) {
    to.push(2);
    to.extend((shape.len() as u64).to_le_bytes());
    for number in numbers(shape) {
        if let Some(column) = source.columns.get(number) {
            key(&column.key, to);
        }
    }
}

fn key(key: &Key, to: &mut Vec<u8>) {
    if let Key::Attribute(name, occurrence) = key {
        to.extend(occurrence.to_le_bytes());
        field(to, name.as_bytes());
    }
}

fn field(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u64).to_le_bytes());
    to.extend_from_slice(bytes);
}

/// The columns that a shape names.
pub(in crate::store) fn numbers(shape: &[u8]) -> impl Iterator<Item = usize> {
    let (numbers, _) = shape.as_chunks();
    numbers
        .iter()
        .map(|number| u32::from_le_bytes(*number) as usize)
}

fn merge_columns(
    sources: &[Source],
    placement: &Placement,
    directory: &mut Directory,
    pages: &mut Vec<Page>,
) {
    let mut columns: Vec<(Table, &Key, usize, usize)> = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let each = source.columns.iter().enumerate();
        columns.extend(each.map(|(index, column)| (column.table, &column.key, number, index)));
    }
    columns.sort_unstable();
    let same =
        |a: &(Table, &Key, usize, usize), b: &(Table, &Key, usize, usize)| (a.0, a.1) == (b.0, b.1);
    // Of each source: the number of each of its columns among the merged ones.
    let mut numbers: Vec<Vec<u32>> = (sources.iter())
        .map(|source| vec![0; source.columns.len()])
        .collect();
    for (merged, group) in (0..).zip(columns.chunk_by(same)) {
        for (_, _, source, index) in group {
            numbers[*source][*index] = merged;
        }
    }
    for group in columns.chunk_by(same) {
        let (table, key, ..) = group[0];
        let rows = directory.rows[table as usize] as usize;
        let inputs = group.iter().map(|(_, _, number, index)| {
            let column = &sources[*number].columns[*index];
            let dictionary = match key {
                Key::Own(Own::Shape) => renumbered(&column.dictionary, &numbers[*number]),
                _ => Arc::clone(&column.dictionary),
            };
            Input {
                dictionary,
                cells: &column.cells,
                placed: &placement[table as usize][*number],
            }
        });
        let inputs: Vec<Input<'_>> = inputs.collect();
        let (dictionary, cells) = merge_column(&inputs, rows);
        directory.columns.push(Column {
            table,
            key: key.clone(),
            distinct: u32::try_from(dictionary.len()).expect("no more values than rows"),
        });
        pages.push(Page::Dictionary(Arc::new(dictionary)));
        pages.push(Page::Cells(Arc::new(cells)));
    }
}

/// Shapes in terms of other numbers of their columns.
fn renumbered(shapes: &Dictionary, columns: &[u32]) -> Arc<Dictionary> {
    let mut renumbered = Dictionary::default();
    for shape in shapes.iter() {
        let numbers = numbers(shape).map(|number| columns.get(number).copied().unwrap_or(0));
        let bytes: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
        renumbered.push(&bytes);
    }
    Arc::new(renumbered)
}

struct Input<'a> {
    dictionary: Arc<Dictionary>,
    cells: &'a Cells,
    /// Where its rows go.
    placed: &'a [u32],
}

fn merge_column(inputs: &[Input<'_>], rows: usize) -> (Dictionary, Cells) {
    let mut values: Vec<(&[u8], usize)> = Vec::new();
    // Codes of all inputs, counted through.
    let mut firsts = Vec::with_capacity(inputs.len());
    for input in inputs {
        let first = values.len();
        firsts.push(first);
        values.extend(input.dictionary.iter().zip(first..));
    }
    values.sort_by(|a, b| a.0.cmp(b.0));
    let mut dictionary = Dictionary::default();
    let mut codes = vec![0_u32; values.len()];
    let mut last = None;
    let mut code = 0;
    for (value, number) in values {
        if last != Some(value) {
            dictionary.push(value);
            code += 1;
            last = Some(value);
        }
        codes[number] = code;
    }

    let mut present = 0;
    for input in inputs {
        present += input.cells.present();
    }
    let width = match dictionary.len() {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    let each = |to: &mut dyn FnMut(u32, u32)| {
        for (input, first) in inputs.iter().zip(&firsts) {
            input.cells.for_each(|row, code| {
                to(input.placed[row as usize], codes[first + code as usize - 1]);
            });
        }
    };
    let cells = if rows * width <= present * (4 + width) {
        let mut dense = vec![0; rows];
        each(&mut |row, code| dense[row as usize] = code);
        Cells::Dense(Codes::narrowed(dense, code))
    } else {
        let mut pairs = Vec::with_capacity(present);
        each(&mut |row, code| pairs.push((row, code)));
        pairs.sort_unstable();
        // Equal records of several sources share a row.
        pairs.dedup();
        let (rows, codes): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        Cells::Sparse {
            rows,
            codes: Codes::narrowed(codes, code),
        }
    };
    (dictionary, cells)
}
