//! Counts spans without looking at whole traces: by the codes of their values.
//!
//! For each part, a combination of codes is taken to its group once; from then on a span costs a look at its start, its
//! value and its combination.
//!
//! A span that was sent twice counts twice, unless the spans were marked trace by trace: only a look at the ids of all parts
//! would tell, which takes as long as the count.

use std::{ops::RangeInclusive, sync::Arc};

use hashbrown::{HashMap, hash_map};

use super::{
    column::{Cells, Dictionary},
    field::locate,
    integers::Integers,
    part::{Array, Damaged, Part, Table},
    rows::Rows,
    search::{Failed, overlap},
    survey::Sets,
    value::{self, Type},
};
use crate::{
    query::{Counter, Field, Patience, Tally},
    span::Value,
};

/// A table of combinations may have so many entries for each span.
const ENTRIES_PER_SPAN: usize = 4;
const MIN_ENTRIES: usize = 1 << 16;

/// Spans that may become examples, of all parts together and of one: enough to choose a hundred from, and few beside those
/// that are counted.
const EXAMPLES_LOOKED_AT: usize = 1 << 16;
const EXAMPLES_OF_A_PART: RangeInclusive<usize> = 256..=4096;

/// Counts the spans of the first set.
pub(super) fn tally(
    parts: &[Arc<Part>],
    tally: &Tally,
    sets: &Sets<'_>,
    counter: &mut impl Counter,
    patience: &Patience,
) -> Result<(), Failed> {
    let found = sets.find(parts, patience)?;
    let is_inside = |part: &&Arc<Part>| overlap(&part.directory.summary.time, &tally.starts);
    let inside = parts.iter().filter(is_inside).count();
    let (least, most) = EXAMPLES_OF_A_PART.into_inner();
    let examples = (EXAMPLES_LOOKED_AT / inside.max(1)).clamp(least, most);
    for (number, part) in parts.iter().enumerate() {
        patience.check()?;
        if is_inside(&part) {
            let rows = found.of(0, number, part, patience)?;
            count(part, &rows, tally, examples, counter)?;
        }
    }
    Ok(())
}

fn count(
    part: &Part,
    rows: &Rows,
    tally: &Tally,
    examples: usize,
    counter: &mut impl Counter,
) -> Result<(), Failed> {
    if rows.is_empty() {
        return Ok(());
    }
    let starts = part.numbers(Array::Starts)?;
    let numbers = Numbers::new(part, tally.value.as_deref(), counter)?;
    let by = tally.by.iter().map(|places| Coded::new(part, places));
    let by: Vec<Coded> = by.collect::<Result<_, _>>()?;
    let combined = Combined::new(&by);
    // Read once there is an example.
    let mut traces = None;
    let mut groups: Vec<Option<usize>> = vec![None; combined.len];
    // Every so many spans one may become an example: of few spans any.
    let stride = rows.count() / examples;
    let mut until_example = 0;
    for row in rows.iter() {
        let start = starts.at(row as usize);
        if !tally.starts.contains(&start) {
            continue;
        }
        let Some(number) = numbers.of(row as usize, start, counter) else {
            continue;
        };
        let combination = combined.codes.get(row as usize);
        let combination = combination.map_or(0, |code| *code as usize);
        let group = match groups[combination] {
            Some(group) => group,
            None => {
                let values = by.iter().map(|coded| coded.value(row as usize));
                *groups[combination].insert(counter.group(&values.collect::<Vec<_>>())?)
            }
        };
        counter.add(group, start, number);
        if until_example > 0 {
            until_example -= 1;
            continue;
        }
        until_example = stride;
        if counter.wants_example(group, start) {
            let traces = match &traces {
                Some(traces) => traces,
                None => traces.insert(part.trace_rows()?),
            };
            if let Some(trace) = traces.of(row) {
                counter.example(group, start, numbers.value(row as usize), trace);
            }
        }
    }
    Ok(())
}

/// What each span adds to its group.
enum Numbers {
    Same(Option<f64>),
    Durations(Durations),
    /// The code of each span, and the number of each code.
    ByCode(Coded, Vec<Option<f64>>),
}

impl Numbers {
    fn new(
        part: &Part,
        places: Option<&[Field]>,
        counter: &impl Counter,
    ) -> Result<Numbers, Damaged> {
        let Some(places) = places else {
            return Ok(Numbers::Same(counter.number(None)));
        };
        if let [Field::Duration] = places {
            return Ok(Numbers::Durations(Durations::new(part)?));
        }
        let coded = Coded::new(part, places)?;
        let numbers = (0..coded.len).map(|code| counter.number(coded.value_of(code)));
        let numbers = numbers.collect();
        Ok(Numbers::ByCode(coded, numbers))
    }

    /// That of a span, whose start is known already.
    fn of(&self, row: usize, start: u64, counter: &impl Counter) -> Option<f64> {
        match self {
            Numbers::Same(number) => *number,
            Numbers::Durations(durations) => counter.number_of_int(durations.from(row, start)),
            Numbers::ByCode(coded, numbers) => numbers[coded.codes[row] as usize],
        }
    }

    /// What the number is made of.
    fn value(&self, row: usize) -> Option<Value<'_>> {
        match self {
            Numbers::Same(_) => None,
            Numbers::Durations(durations) => Some(Value::Int(durations.of(row))),
            Numbers::ByCode(coded, _) => coded.value(row),
        }
    }
}

struct Durations {
    starts: Arc<Integers>,
    durations: Arc<Integers>,
}

impl Durations {
    fn new(part: &Part) -> Result<Durations, Damaged> {
        Ok(Durations {
            starts: part.numbers(Array::Starts)?,
            durations: part.numbers(Array::Durations)?,
        })
    }

    /// In nanoseconds; 0 for a span that ends before it starts, of which the difference wrapped around.
    fn of(&self, row: usize) -> i64 {
        self.from(row, self.starts.at(row))
    }

    /// The same for a start that is known already.
    fn from(&self, row: usize, start: u64) -> i64 {
        let duration = self.durations.at(row);
        let end = start.checked_add(duration);
        end.map_or(0, |_| i64::try_from(duration).unwrap_or(i64::MAX))
    }
}

/// A field of all spans of a part.
pub(super) struct Coded {
    /// For each span the code of its value.
    pub(super) codes: Vec<u32>,
    /// Above the greatest code.
    pub(super) len: u32,
    values: Values,
}

enum Values {
    /// The code of the first value of each dictionary, ascending from 1; and what a span has that has none, whose code is 0.
    Dictionaries(Vec<(u32, Arc<Dictionary>)>, Option<Value<'static>>),
    Numbers(Vec<i64>),
}

impl Coded {
    /// The value in the first of these places that has one.
    pub(super) fn new(part: &Part, places: &[Field]) -> Result<Coded, Damaged> {
        if let [Field::Duration] = places {
            return Coded::durations(part, part.directory.spans() as usize);
        }
        let mut columns = Vec::new();
        let mut default = None;
        for place in places {
            if let Some((table, here, default_here)) = locate(&part.directory, place) {
                default = default_here;
                columns.extend(here.map(|column| (table, column)));
            }
        }
        Coded::columns(part, columns, default)
    }

    /// The values of one column alone.
    pub(super) fn column(part: &Part, table: Table, column: usize) -> Result<Coded, Damaged> {
        Coded::columns(part, vec![(table, column)], None)
    }

    /// The value in the first of these columns that has one.
    fn columns(
        part: &Part,
        columns: Vec<(Table, usize)>,
        default: Option<Value<'static>>,
    ) -> Result<Coded, Damaged> {
        let mut codes = vec![0; part.directory.spans() as usize];
        let mut len = 1;
        let mut dictionaries = Vec::new();
        for (table, column) in columns {
            let dictionary = part.dictionary(column)?;
            let known = Known::of(&dictionary);
            let cells = part.cells(column)?;
            let mut put = |span: u32, code: u32| {
                let at = &mut codes[span as usize];
                if *at == 0 && known.has(code) {
                    *at = len + code - 1;
                }
            };
            match table {
                Table::Resources => via(&*part.sources(Array::SpanResources)?, &cells, put),
                Table::Scopes => via(&*part.sources(Array::SpanScopes)?, &cells, put),
                Table::Spans | Table::Events | Table::Links => cells.for_each(&mut put),
            }
            let first = len;
            len += u32::try_from(dictionary.len()).unwrap_or(u32::MAX);
            dictionaries.push((first, dictionary));
        }
        Ok(Coded {
            codes,
            len,
            values: Values::Dictionaries(dictionaries, default),
        })
    }

    fn durations(part: &Part, spans: usize) -> Result<Coded, Damaged> {
        let durations = Durations::new(part)?;
        let mut numbers = Vec::new();
        let mut known: HashMap<i64, u32> = HashMap::default();
        let mut len = 0;
        let codes = (0..spans).map(|row| {
            let duration = durations.of(row);
            *known.entry(duration).or_insert_with(|| {
                numbers.push(duration);
                len += 1;
                len - 1
            })
        });
        Ok(Coded {
            codes: codes.collect(),
            len,
            values: Values::Numbers(numbers),
        })
    }

    fn value(&self, row: usize) -> Option<Value<'_>> {
        self.value_of(self.codes[row])
    }

    pub(super) fn value_of(&self, code: u32) -> Option<Value<'_>> {
        match &self.values {
            Values::Numbers(numbers) => Some(Value::Int(*numbers.get(code as usize)?)),
            Values::Dictionaries(_, default) if code == 0 => default.clone(),
            Values::Dictionaries(dictionaries, _) => {
                let after = dictionaries.partition_point(|(first, _)| *first <= code);
                let (first, dictionary) = dictionaries.get(after.checked_sub(1)?)?;
                value::decode(dictionary.get((code - first) as usize))
            }
        }
    }
}

/// Calls `put` with each span and the code of its resource or scope.
fn via(sources: &Cells, cells: &Cells, mut put: impl FnMut(u32, u32)) {
    sources.for_each(|span, source| {
        let code = cells.code(source - 1);
        if code != 0 {
            put(span, code);
        }
    });
}

/// The codes of values whose types query languages know: see `Test::Present`.
struct Known {
    scalars: std::ops::Range<usize>,
    arrays: std::ops::Range<usize>,
}

impl Known {
    fn of(dictionary: &Dictionary) -> Known {
        let before = |of: Type| {
            let bound = [of as u8];
            dictionary.partition_point(|value| value < &bound[..])
        };
        Known {
            scalars: before(Type::Bool)..before(Type::Bytes),
            arrays: before(Type::Array)..before(Type::Map),
        }
    }

    fn has(&self, code: u32) -> bool {
        let index = code as usize - 1;
        self.scalars.contains(&index) || self.arrays.contains(&index)
    }
}

/// Each span's combination of codes, as a code of its own.
struct Combined {
    /// Empty if there is but one combination.
    codes: Vec<u32>,
    /// Above the greatest code.
    len: usize,
}

impl Combined {
    fn new(fields: &[Coded]) -> Combined {
        let Some((first, rest)) = fields.split_first() else {
            return Combined {
                codes: Vec::new(),
                len: 1,
            };
        };
        let mut combined = Combined {
            codes: first.codes.clone(),
            len: first.len as usize,
        };
        for field in rest {
            combined.with(field);
        }
        combined
    }

    fn with(&mut self, field: &Coded) {
        let pairs = self.codes.iter_mut().zip(&field.codes);
        let max = MIN_ENTRIES.max(pairs.len() * ENTRIES_PER_SPAN);
        match self.len.checked_mul(field.len as usize) {
            Some(len) if len <= max => {
                pairs.for_each(|(code, other)| *code = *code * field.len + other);
                self.len = len;
            }
            _ => {
                let mut known: HashMap<(u32, u32), u32> = HashMap::default();
                let mut len = 0;
                for (code, other) in pairs {
                    *code = match known.entry((*code, *other)) {
                        hash_map::Entry::Occupied(known) => *known.get(),
                        hash_map::Entry::Vacant(new) => {
                            len += 1;
                            *new.insert(len - 1)
                        }
                    };
                }
                self.len = len as usize;
            }
        }
    }
}
