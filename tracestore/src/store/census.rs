//! Counts every value of every field, by set and by interval, for `compare()`.
//!
//! A column is read twice: to know which values are worth a number for each interval, and to count these.

use std::{ops::RangeInclusive, sync::Arc};

use hashbrown::HashMap;

use super::{
    integers::Integers,
    part::{Array, Damaged, Key, Part, Table},
    search::{Failed, overlap},
    survey::{Scattered, Sets},
    tally::Coded,
    values,
};
use crate::{
    query::{CensusField, CensusTaker, Field, Patience, Place},
    span::{SERVICE_NAME, SpanId, Value},
};

/// A span that does not count.
const NONE: u32 = u32::MAX;

/// The fields of a span that are no attributes and have few values.
const OWN: [Field; 6] = [
    Field::Name,
    Field::Kind,
    Field::Status,
    Field::StatusMessage,
    Field::ScopeName,
    Field::ScopeVersion,
];

/// Counts the spans of the first set that start in time, and tells those that are in the second set too from the rest.
pub(super) fn census(
    parts: &[Arc<Part>],
    starts: &RangeInclusive<u64>,
    sets: &Sets<'_>,
    taker: &mut impl CensusTaker,
    patience: &Patience,
) -> Result<(), Failed> {
    let found = sets.find(parts, patience)?;
    let scattered = Scattered::find(parts, patience)?;
    let roots = Roots::of_scattered(parts, &scattered, patience)?;
    for (number, part) in parts.iter().enumerate() {
        patience.check()?;
        if !overlap(&part.directory.summary.time, starts) {
            continue;
        }
        let rows = found.of(0, number, part, patience)?;
        if rows.is_empty() {
            continue;
        }
        let selected = found.of(1, number, part, patience)?;
        let intervals = taker.intervals();
        let mut slots = vec![NONE; part.directory.spans() as usize];
        let times = part.numbers(Array::Starts)?;
        for row in rows.iter() {
            let start = times.at(row as usize);
            if let Some(interval) = taker.interval(start) {
                let is_selected = selected.contains(row) && taker.may_select(start);
                let slot = interval + usize::from(is_selected) * intervals;
                slots[row as usize] = u32::try_from(slot).unwrap_or(NONE);
            }
        }
        let mut counting = Counting {
            slots: &slots,
            intervals,
            taker,
        };
        for field in OWN {
            patience.check()?;
            let coded = Coded::new(part, std::slice::from_ref(&field))?;
            counting.coded(field, &coded)?;
        }
        for (column, field) in attributes_of(part) {
            patience.check()?;
            let table = part.directory.columns[column].table;
            counting.coded(field, &Coded::column(part, table, column)?)?;
        }
        patience.check()?;
        counting.roots(number, part, &scattered, &roots)?;
    }
    Ok(())
}

/// How many fields there are to count.
pub(super) fn fields(parts: &[Arc<Part>]) -> usize {
    let tags = values::tags(parts, None).into_iter();
    let of_spans = tags.filter(|tag| !matches!(tag.place, Place::Event | Place::Link));
    of_spans.count() + OWN.len() + 2
}

/// The attributes that the spans of a part have, and their columns: of a key that a span has several times each occurrence.
fn attributes_of(part: &Part) -> impl Iterator<Item = (usize, Field)> {
    let columns = part.directory.columns.iter().enumerate();
    columns.filter_map(|(number, column)| {
        let Key::Attribute(name, _) = &column.key else {
            return None;
        };
        match column.table {
            Table::Spans | Table::Resources | Table::Scopes => {
                let place = Place::from(column.table);
                Some((number, Field::Attribute(place, name.clone())))
            }
            Table::Events | Table::Links => None,
        }
    })
}

struct Counting<'a, T> {
    /// For each span its interval, those of the second set beyond all intervals of the rest.
    slots: &'a [u32],
    intervals: usize,
    taker: &'a mut T,
}

impl<T: CensusTaker> Counting<'_, T> {
    fn coded(&mut self, field: Field, coded: &Coded) -> Result<(), Failed> {
        let value = |code: u32| coded.value_of(code);
        self.count(&CensusField::Own(field), &coded.codes, coded.len, value)
    }

    /// Counts a field of which each span has a code below `len`.
    fn count<'v>(
        &mut self,
        field: &CensusField,
        codes: &[u32],
        len: u32,
        value: impl Fn(u32) -> Option<Value<'v>>,
    ) -> Result<(), Failed> {
        let len = len as usize;
        let mut totals = vec![0_u32; 2 * len];
        let in_set = |slot: u32| usize::from(slot as usize >= self.intervals);
        let counted = || {
            let spans = self.slots.iter().zip(codes);
            spans.filter(|(slot, _)| **slot != NONE)
        };
        for (slot, code) in counted() {
            totals[in_set(*slot) * len + *code as usize] += 1;
        }
        // By set and code, the place of its numbers; those that get none of their own are counted together.
        let mut places = vec![NONE; 2 * len];
        let mut chosen: Vec<(bool, Option<Value<'v>>)> = Vec::new();
        for set in [0, 1] {
            let of_set = (0..len).map(|code| set * len + code);
            let mut kept: Vec<_> = of_set.filter(|at| totals[*at] > 0).collect();
            kept.retain(|at| value((at - set * len) as u32).is_some());
            let max = self.taker.max_values();
            if kept.len() > max {
                kept.sort_by_key(|at| std::cmp::Reverse(totals[*at]));
                for at in kept.drain(max..) {
                    places[at] = chosen.len() as u32;
                }
                chosen.push((set == 1, None));
            }
            for at in kept {
                places[at] = chosen.len() as u32;
                chosen.push((set == 1, value((at - set * len) as u32)));
            }
        }
        let mut numbers = vec![0_u32; chosen.len() * self.intervals];
        for (slot, code) in counted() {
            let set = in_set(*slot);
            let place = places[set * len + *code as usize];
            if place != NONE {
                let interval = *slot as usize - set * self.intervals;
                numbers[place as usize * self.intervals + interval] += 1;
            }
        }
        for ((is_selected, value), numbers) in
            chosen.into_iter().zip(numbers.chunks(self.intervals))
        {
            self.taker.add(field, is_selected, value, numbers)?;
        }
        Ok(())
    }

    /// Counts the names and services of the roots of the traces that spans belong to.
    fn roots(
        &mut self,
        number: usize,
        part: &Part,
        scattered: &Scattered,
        roots: &Roots,
    ) -> Result<(), Failed> {
        let traces = part.traces()?;
        let of_part = OfPart::open(part)?;
        let mut by_field: [Interner; 2] = Default::default();
        let mut codes = [0, 1].map(|_| vec![0_u32; self.slots.len()]);
        let coded = root_values(part)?;
        for trace in 0..traces.ids().len() {
            let rows = traces.rows(trace);
            let root = match scattered.has((number, trace)) {
                false => of_part
                    .root(rows.clone())
                    .map(|(.., row)| coded.each_ref().map(|coded| here(coded, row))),
                true => roots.of(number, trace),
            };
            let missing = || [0, 1].map(|_| Some(Value::String("".into())));
            let values = root.unwrap_or_else(missing);
            for ((interner, codes), value) in by_field.iter_mut().zip(&mut codes).zip(values) {
                let code = value.map_or(0, |value| interner.code(value));
                let rows = rows.start as usize..rows.end as usize;
                if let Some(codes) = codes.get_mut(rows) {
                    codes.fill(code);
                }
            }
        }
        let fields = [CensusField::RootName, CensusField::RootServiceName];
        for ((field, interner), codes) in fields.iter().zip(&by_field).zip(&codes) {
            let value = |code: u32| {
                let index = (code as usize).checked_sub(1)?;
                interner.values.get(index).cloned()
            };
            let len = interner.values.len() as u32 + 1;
            self.count(field, codes, len, value)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Interner {
    values: Vec<Value<'static>>,
    codes: HashMap<Value<'static>, u32>,
}

impl Interner {
    /// From 1.
    fn code(&mut self, value: Value<'static>) -> u32 {
        if let Some(code) = self.codes.get(&value) {
            return *code;
        }
        self.values.push(value.clone());
        let code = self.values.len() as u32;
        self.codes.insert(value, code);
        code
    }
}

/// What tells which span of a trace is its root.
struct OfPart {
    starts: Arc<Integers>,
    span_ids: Arc<Vec<[u8; 8]>>,
    parent_ids: Arc<Vec<[u8; 8]>>,
}

impl OfPart {
    fn open(part: &Part) -> Result<OfPart, Damaged> {
        Ok(OfPart {
            starts: part.numbers(Array::Starts)?,
            span_ids: part.ids8(Array::SpanIds)?,
            parent_ids: part.ids8(Array::ParentIds)?,
        })
    }

    /// Start, id and row of the first span without a parent.
    fn root(&self, rows: std::ops::Range<u32>) -> Option<(u64, SpanId, u32)> {
        let roots = rows.filter_map(|row| {
            let parent = self.parent_ids.get(row as usize)?;
            let id = SpanId::new(*self.span_ids.get(row as usize)?)?;
            (*parent == [0; 8]).then_some((self.starts.get(row as usize)?, id, row))
        });
        roots.min()
    }
}

/// Names and services of the roots of scattered traces.
struct Roots {
    /// By part: its scattered traces, ascending, and their numbers in `values`.
    numbers: Vec<Vec<(usize, usize)>>,
    /// `None` where no span is a root.
    values: Vec<Option<[Option<Value<'static>>; 2]>>,
}

impl Roots {
    /// Opens each part once, whatever it has of how many traces.
    fn of_scattered(
        parts: &[Arc<Part>],
        scattered: &Scattered,
        patience: &Patience,
    ) -> Result<Roots, Failed> {
        let mut numbers: Vec<Vec<(usize, usize)>> = vec![Vec::new(); parts.len()];
        let mut traces = 0;
        for (_, fragments) in scattered.traces() {
            for (part, trace) in fragments {
                numbers[*part].push((*trace, traces));
            }
            traces += 1;
        }
        let mut first: Vec<Option<(u64, SpanId, usize, u32)>> = vec![None; traces];
        for ((part_number, part), of_part) in parts.iter().enumerate().zip(&mut numbers) {
            of_part.sort_unstable();
            if of_part.is_empty() {
                continue;
            }
            patience.check()?;
            let (columns, traces) = (OfPart::open(part)?, part.traces()?);
            for (trace, number) in of_part {
                if let Some((start, id, row)) = columns.root(traces.rows(*trace))
                    && first[*number].is_none_or(|(s, i, ..)| (start, id) < (s, i))
                {
                    first[*number] = Some((start, id, part_number, row));
                }
            }
        }
        let mut by_part: Vec<Vec<(u32, usize)>> = vec![Vec::new(); parts.len()];
        for (number, root) in first.into_iter().enumerate() {
            if let Some((.., part, row)) = root {
                by_part[part].push((row, number));
            }
        }
        let mut values = vec![None; traces];
        for (part, roots) in parts.iter().zip(&by_part) {
            if !roots.is_empty() {
                patience.check()?;
                let coded = root_values(part)?;
                for (row, number) in roots {
                    values[*number] = Some(coded.each_ref().map(|coded| here(coded, *row)));
                }
            }
        }
        Ok(Roots { numbers, values })
    }

    fn of(&self, part: usize, trace: usize) -> Option<[Option<Value<'static>>; 2]> {
        let numbers = &self.numbers[part];
        let at = numbers
            .binary_search_by_key(&trace, |(trace, _)| *trace)
            .ok()?;
        self.values[numbers[at].1].clone()
    }
}

/// What the spans of a part would be called as roots: name and service.
fn root_values(part: &Part) -> Result<[Coded; 2], Damaged> {
    let service = Field::Attribute(Place::Resource, SERVICE_NAME.into());
    Ok([
        Coded::new(part, &[Field::Name])?,
        Coded::new(part, &[service])?,
    ])
}

fn here(coded: &Coded, row: u32) -> Option<Value<'static>> {
    let value = coded.value_of(*coded.codes.get(row as usize)?);
    value.map(Value::into_owned)
}
