//! One trace as the rows of its spans, for whoever reads only some columns of it.
//!
//! What a query reads is opened once for each part, and a few parts are kept open. Whole spans are in `fragments`.

mod columns;

use std::{collections::HashSet, ops::Range, rc::Rc, sync::Arc};

use hashbrown::HashMap;

use self::columns::Columns;
use super::{
    describe::{Located, drop_repeated},
    fragments::{MAX_TRACE_ROWS, MAX_TRACE_SPANS},
    part::{Array, Damaged, OneTrace, Part, Traces, position},
    rows::Rows,
    scan,
    search::Failed,
    too_long,
};
use crate::{
    query::{Field, Filter, Patience, SpanSet, Stopped, TraceFilter},
    span::{SpanId, TraceId, Value},
};

/// What is read of the traces that are looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    /// Numbered from 0.
    pub(crate) fields: Vec<Field>,
    /// Numbered from 0: filters whose spans are found in whole columns, before any trace is looked at.
    pub(crate) filters: Vec<Filter>,
    /// Whether the times of events and the ids of links are read.
    pub(crate) records: bool,
}

/// Looks at one trace after the other, and tells what it found there; nothing if the trace is not wanted.
pub(crate) struct Judge<'a> {
    pub(crate) reads: Reads,
    pub(crate) look: &'a dyn Fn(&Slice) -> Result<Vec<SpanSet>, Stopped>,
}

/// A trace whose columns can be read: its spans in the order of start and id, without those that came twice.
pub(crate) struct Slice {
    id: TraceId,
    fragments: Vec<Fragment>,
    spans: Vec<Located>,
}

struct Fragment {
    part: usize,
    opened: Rc<Columns>,
    selected: Rc<Selected>,
}

impl Slice {
    pub(crate) fn id(&self) -> TraceId {
        self.id
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn span_id(&self, span: usize) -> SpanId {
        self.spans[span].id
    }

    pub(crate) fn parent(&self, span: usize) -> Option<SpanId> {
        let (columns, row) = self.place(span);
        columns.parent(row)
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn start(&self, span: usize) -> u64 {
        self.spans[span].start
    }

    /// Nanoseconds since the Unix epoch, as sent.
    pub(crate) fn end(&self, span: usize) -> u64 {
        let (columns, row) = self.place(span);
        let duration = columns.duration(row).unwrap_or(0);
        self.start(span).wrapping_add(duration)
    }

    /// Calls `each` with all values that a span has in a field: more than one only of events and links, and of a key that is
    /// repeated in one record.
    pub(crate) fn each_value<'s>(&'s self, field: usize, span: usize, each: impl FnMut(Value<'s>)) {
        let (columns, row) = self.place(span);
        columns.each_value(field, row, each);
    }

    /// Calls `each` with the times of a span's events, in nanoseconds since the Unix epoch.
    pub(crate) fn each_event(&self, span: usize, each: impl FnMut(u64)) {
        let (columns, row) = self.place(span);
        columns.each_event(row, each);
    }

    /// Calls `each` with what a span's links lead to.
    pub(crate) fn each_link(&self, span: usize, each: impl FnMut((TraceId, SpanId))) {
        let (columns, row) = self.place(span);
        columns.each_link(row, each);
    }

    /// Whether a span passes one of [`Reads::filters`].
    pub(crate) fn passes(&self, filter: usize, span: usize) -> bool {
        let Located { fragment, row, .. } = self.spans[span];
        let selected = &self.fragments[fragment].selected;
        let rows = selected.each.get(selected.wanted + filter);
        rows.is_some_and(|rows| rows.contains(row))
    }

    /// The number of the part that has a span, and its row there.
    pub(super) fn row(&self, span: usize) -> (usize, u32) {
        let Located { fragment, row, .. } = self.spans[span];
        (self.fragments[fragment].part, row)
    }

    fn place(&self, span: usize) -> (&Columns, u32) {
        let Located { fragment, row, .. } = self.spans[span];
        (&self.fragments[fragment].opened, row)
    }
}

/// The rows of a part that pass.
pub(super) struct Selected {
    /// Those of each filter that traces must pass in some combination, in their order, then of each that is known.
    pub(super) each: Vec<Rc<Rows>>,
    /// How many of them traces must pass.
    wanted: usize,
    /// What they take in memory.
    bytes: usize,
}

impl Selected {
    /// How many filters there are that traces must pass.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether a row passes any of the filters that traces must pass.
    pub(super) fn any_contains(&self, row: u32) -> bool {
        self.each[..self.wanted]
            .iter()
            .any(|rows| rows.contains(row))
    }
}

/// What one query has found out about the parts so far.
pub(super) struct Inquiry<'a> {
    parts: &'a [Arc<Part>],
    reads: &'a Reads,
    patience: &'a Patience,
    filters: Vec<&'a Filter>,
    wanted: usize,
    /// For each filter the first that is the same, once that was looked for.
    same: Vec<usize>,
    selected: Vec<Option<Rc<Selected>>>,
    selected_bytes: usize,
    pub(super) max_selected_bytes: usize,
    opened: HashMap<usize, Rc<Columns>>,
    /// The parts of which few traces are looked at next.
    few: HashSet<usize>,
    /// Where a trace was looked up, how many so far, and from some on all of them.
    traces: HashMap<usize, (usize, Option<Rc<Traces>>)>,
    /// The ids of the traces of each part, as long as all of them take few bytes.
    ids: Vec<Option<Arc<Vec<[u8; 16]>>>>,
    ids_bytes: usize,
}

/// How many parts are open at once.
const MAX_OPEN: usize = 16;

/// Of a part that is not in memory, so many traces with at most so many spans are read row by row; for more, whole pages
/// are.
const MAX_FEW: usize = 16;
const MAX_FEW_ROWS: usize = 256;

/// So many traces of a part are looked up one by one before all of them are read.
const MAX_SINGLE: usize = 8;

/// Bytes of rows that a query remembers to pass, of all its filters and parts.
const MAX_SELECTED_BYTES: usize = 64 << 20;

/// Bytes of ids that a query keeps at hand; what goes beyond it asks the cache for.
const MAX_IDS_BYTES: usize = 32 << 20;

impl<'a> Inquiry<'a> {
    pub(super) fn new(
        parts: &'a [Arc<Part>],
        filter: &'a TraceFilter,
        reads: &'a Reads,
        patience: &'a Patience,
    ) -> Inquiry<'a> {
        let mut filters = Vec::new();
        wanted(filter, &mut filters);
        let wanted = filters.len();
        filters.extend(&reads.filters);
        Inquiry {
            parts,
            reads,
            patience,
            filters,
            wanted,
            same: Vec::new(),
            selected: parts.iter().map(|_| None).collect(),
            selected_bytes: 0,
            max_selected_bytes: MAX_SELECTED_BYTES,
            opened: HashMap::new(),
            few: HashSet::new(),
            traces: HashMap::new(),
            ids: vec![None; parts.len()],
            ids_bytes: 0,
        }
    }

    /// The rows of a part that pass, remembered as long as all of them take few bytes.
    pub(super) fn selected(&mut self, part: usize) -> Result<Rc<Selected>, Failed> {
        if let Some(selected) = &self.selected[part] {
            return Ok(Rc::clone(selected));
        }
        while self.same.len() < self.filters.len() {
            self.patience.check()?;
            let number = self.same.len();
            let same = |one: &&Filter| *one == self.filters[number];
            self.same
                .push(self.filters.iter().position(same).unwrap_or(number));
        }
        let mut each: Vec<Rc<Rows>> = Vec::with_capacity(self.filters.len());
        let mut bytes = 0;
        for (number, filter) in self.filters.iter().enumerate() {
            each.push(match self.same[number] {
                same if same < number => Rc::clone(&each[same]),
                _ => {
                    let rows = scan::select(&self.parts[part], filter, self.patience)?;
                    bytes += rows.bytes();
                    Rc::new(rows)
                }
            });
        }
        let selected = Rc::new(Selected {
            each,
            wanted: self.wanted,
            bytes,
        });
        self.selected_bytes += bytes;
        if self.selected_bytes > self.max_selected_bytes {
            self.selected.fill(None);
            self.selected_bytes = bytes;
        }
        self.selected[part] = Some(Rc::clone(&selected));
        Ok(selected)
    }

    /// Forgets all of a part that is not looked at again.
    pub(super) fn close(&mut self, part: usize) {
        self.opened.remove(&part);
        self.traces.remove(&part);
        if let Some(selected) = self.selected[part].take() {
            self.selected_bytes -= selected.bytes;
        }
    }

    /// The parts that have spans of a trace, and its number there.
    pub(super) fn find(&mut self, id: TraceId) -> Result<Vec<(usize, usize)>, Damaged> {
        let mut fragments = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            let found = match &self.ids[number] {
                Some(ids) => position(ids, id.bytes()),
                None => {
                    let ids = part.ids16(Array::TraceIds)?;
                    let found = position(&ids, id.bytes());
                    self.ids_bytes += ids.as_flattened().len();
                    if self.ids_bytes <= MAX_IDS_BYTES {
                        self.ids[number] = Some(ids);
                    }
                    found
                }
            };
            fragments.extend(found.map(|trace| (number, trace)));
        }
        Ok(fragments)
    }

    /// Which traces are looked at next: their fragments, as numbers of parts and of the trace in them.
    pub(super) fn expect<'f>(&mut self, traces: impl Iterator<Item = &'f [(usize, usize)]>) {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        for (part, _) in traces.flatten() {
            *counts.entry(*part).or_default() += 1;
        }
        counts.retain(|_, count| *count <= MAX_FEW);
        self.few = counts.into_keys().collect();
    }

    /// The fragments of a trace.
    pub(super) fn traces(
        &mut self,
        fragments: &[(usize, usize)],
    ) -> Result<Vec<OneTrace>, Damaged> {
        let mut all = Vec::with_capacity(fragments.len());
        for (part, trace) in fragments {
            if self.traces.len() >= MAX_OPEN && !self.traces.contains_key(part) {
                self.traces.clear();
            }
            let (count, traces) = self.traces.entry(*part).or_default();
            *count += 1;
            if traces.is_none() && *count > MAX_SINGLE {
                *traces = Some(Rc::new(self.parts[*part].traces()?));
            }
            all.push(match traces {
                Some(traces) => traces.one(*trace),
                None => self.parts[*part].one_trace(*trace)?,
            });
        }
        Ok(all)
    }

    /// The trace that has these fragments: numbers of parts and of the trace in them. `None` if it is too long, which is
    /// said elsewhere.
    pub(super) fn slice(
        &mut self,
        id: TraceId,
        fragments: &[(usize, usize)],
    ) -> Result<Option<Slice>, Failed> {
        let mut spans = Vec::new();
        let mut opened = Vec::with_capacity(fragments.len());
        let traces = self.traces(fragments)?;
        if traces.iter().map(|trace| trace.rows.len()).sum::<usize>() > MAX_TRACE_ROWS {
            too_long::leave_out(id);
            return Ok(None);
        }
        for (fragment, ((part, _), traces)) in fragments.iter().zip(traces).enumerate() {
            let rows = traces.rows;
            let columns = self.open(*part, &rows)?;
            spans.extend(rows.filter_map(|row| {
                Some(Located {
                    start: columns.start(row)?,
                    id: columns.span_id(row)?,
                    fragment,
                    row,
                })
            }));
            opened.push(Fragment {
                part: *part,
                opened: columns,
                selected: self.selected(*part)?,
            });
        }
        spans.sort_unstable();
        drop_repeated(self.parts, fragments, &mut spans)?;
        if spans.len() > MAX_TRACE_SPANS {
            too_long::leave_out(id);
            return Ok(None);
        }
        Ok(Some(Slice {
            id,
            fragments: opened,
            spans,
        }))
    }

    /// What is read of a part, at least of these rows.
    fn open(&mut self, part: usize, rows: &Range<u32>) -> Result<Rc<Columns>, Damaged> {
        if let Some(opened) = self.opened.get(&part) {
            return Ok(Rc::clone(opened));
        }
        let few = self.few.contains(&part) && rows.len() <= MAX_FEW_ROWS;
        if few && self.parts[part].is_beyond_cache() {
            return Ok(Rc::new(Columns::few(&self.parts[part], self.reads, rows)?));
        }
        if self.opened.len() >= MAX_OPEN {
            self.opened.clear();
        }
        let opened = Rc::new(Columns::whole(&self.parts[part], self.reads)?);
        self.opened.insert(part, Rc::clone(&opened));
        Ok(opened)
    }
}

/// The filters that a trace must pass in some combination.
fn wanted<'a>(of: &'a TraceFilter, to: &mut Vec<&'a Filter>) {
    match of {
        TraceFilter::Some(filter) => to.push(filter),
        TraceFilter::And(all) => all.iter().for_each(|filter| wanted(filter, to)),
        TraceFilter::Or(any) => any.iter().for_each(|filter| wanted(filter, to)),
    }
}
