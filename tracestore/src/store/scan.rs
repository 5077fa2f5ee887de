//! Finds the spans of a part that pass a filter, column by column.

mod passing;

use std::{ops::Range, sync::Arc};

pub(super) use self::passing::passes;
use self::passing::{Passing, passing};
use super::{
    column::{Cells, Codes},
    field::locate,
    part::{Array, Damaged, Part, Table},
    rows::Rows,
    search::Failed,
    value,
};
use crate::{
    query::{Comparison, Field, Filter, Operand, Patience, Test},
    span::Value,
};

/// The spans of a part that pass.
pub(super) fn select(part: &Part, filter: &Filter, patience: &Patience) -> Result<Rows, Failed> {
    let spans = part.directory.spans() as usize;
    match filter {
        Filter::All => Ok(Rows::all(spans)),
        Filter::Root => {
            let parents = part.ids8(Array::ParentIds)?;
            Ok(Rows::from_chunks(&parents, |parent| *parent == [0; 8]))
        }
        Filter::Not(filter) => {
            let mut rows = select(part, filter, patience)?;
            rows.not();
            Ok(rows)
        }
        Filter::And(filters) => {
            let mut rows = Rows::all(spans);
            for filter in filters {
                if rows.is_empty() {
                    break;
                }
                rows.and(&select(part, filter, patience)?);
            }
            Ok(rows)
        }
        Filter::Or(filters) => {
            let mut rows = Rows::none(spans);
            for filter in filters {
                rows.or(&select(part, filter, patience)?);
            }
            Ok(rows)
        }
        Filter::Field(field, test) => {
            patience.check()?;
            Ok(select_field(part, field, test)?)
        }
    }
}

fn select_field(part: &Part, field: &Field, test: &Test) -> Result<Rows, Damaged> {
    let Some((table, columns, default)) = locate(&part.directory, field) else {
        return select_duration(part, test);
    };
    let rows = select_rows(part, table, columns, default.as_ref(), test)?;
    match table {
        Table::Spans => Ok(rows),
        Table::Resources => of_sources(part, Array::SpanResources, &rows),
        Table::Scopes => of_sources(part, Array::SpanScopes, &rows),
        Table::Events => of_records(part, Array::EventSpans, &rows),
        Table::Links => of_records(part, Array::LinkSpans, &rows),
    }
}

fn select_duration(part: &Part, test: &Test) -> Result<Rows, Damaged> {
    let durations = part.numbers(Array::Durations)?;
    let passes = |nanos: i64| is_passed_by_number(test, nanos);
    let fits = |nanos: u64| i64::try_from(nanos).is_ok();
    // Then none of them wrapped around.
    if fits(*part.directory.summary.time.end()) && fits(durations.bound()) {
        let passes = |duration: u64| passes(duration.cast_signed());
        return Ok(Rows::from_integers(&durations, passes));
    }
    // Those that wrapped around end before they start, and those that did not are long.
    let starts = part.numbers(Array::Starts)?;
    let (starts, durations) = (starts.plain(), durations.plain());
    let nanos = starts.iter().zip(&*durations).map(|(start, duration)| {
        let end = start.checked_add(*duration);
        end.map_or(0, |_| i64::try_from(*duration).unwrap_or(i64::MAX))
    });
    let nanos: Vec<i64> = nanos.collect();
    Ok(Rows::from_chunks(&nanos, |nanos| passes(*nanos)))
}

/// The rows of a table that have a value in these columns that passes. A row without any has the default.
fn select_rows(
    part: &Part,
    table: Table,
    columns: Range<usize>,
    default: Option<&Value<'_>>,
    test: &Test,
) -> Result<Rows, Damaged> {
    let len = part.directory.rows[table as usize] as usize;
    let default_passes = default.is_some_and(|default| {
        let mut bytes = Vec::new();
        value::encode(default, &mut bytes);
        passes(&bytes, test)
    });
    let mut rows = Rows::none(len);
    let mut absent = default_passes.then(|| Rows::all(len));
    for column in columns {
        let passing = passing(&part.values(column)?, test)?;
        if passing.is_empty() && absent.is_none() {
            continue;
        }
        let cells = part.cells(column)?;
        rows.or(&pick(&cells, &passing, len));
        if let Some(absent) = &mut absent {
            let any = Passing::Ranges(std::iter::once(1..u32::MAX).collect());
            let mut without = pick(&cells, &any, len);
            without.not();
            absent.and(&without);
        }
    }
    if let Some(absent) = absent {
        rows.or(&absent);
    }
    Ok(rows)
}

/// The spans whose resource or scope is one of `rows`.
fn of_sources(part: &Part, array: Array, rows: &Rows) -> Result<Rows, Damaged> {
    let spans = part.directory.spans() as usize;
    if rows.is_empty() {
        return Ok(Rows::none(spans));
    }
    let mut passing = vec![false];
    passing.extend((0..rows.len()).zip(0..).map(|(_, row)| rows.contains(row)));
    let sources: Arc<Cells> = part.sources(array)?;
    Ok(pick(&sources, &Passing::Set(passing), spans))
}

/// The spans that have one of the records in `rows`.
fn of_records(part: &Part, array: Array, rows: &Rows) -> Result<Rows, Damaged> {
    let mut spans = Rows::none(part.directory.spans() as usize);
    if !rows.is_empty() {
        let owners = part.numbers(array)?;
        for row in rows.iter() {
            if let Some(owner) = owners.get(row as usize) {
                spans.insert(u32::try_from(owner).unwrap_or(u32::MAX));
            }
        }
    }
    Ok(spans)
}

/// The rows whose code passes.
fn pick(cells: &Cells, passing: &Passing, len: usize) -> Rows {
    match (cells, passing) {
        (Cells::Dense(codes), Passing::Ranges(ranges)) => {
            let mut rows = Rows::none(len);
            for range in ranges.iter().filter(|range| !range.is_empty()) {
                rows.or(&pick_range(codes, range));
            }
            rows
        }
        (Cells::Dense(codes), Passing::Set(set)) => {
            let has = |code: usize| set.get(code).is_some_and(|passes| *passes);
            match codes {
                Codes::U8(codes) => Rows::from_chunks(codes, |code| has(usize::from(*code))),
                Codes::U16(codes) => Rows::from_chunks(codes, |code| has(usize::from(*code))),
                Codes::U32(codes) => Rows::from_chunks(codes, |code| has(*code as usize)),
            }
        }
        (Cells::Sparse { .. }, passing) => {
            let mut rows = Rows::none(len);
            cells.for_each(|row, code| {
                let passes = match passing {
                    Passing::Ranges(ranges) => ranges.iter().any(|range| range.contains(&code)),
                    Passing::Set(set) => set.get(code as usize).is_some_and(|passes| *passes),
                };
                if passes {
                    rows.insert(row);
                }
            });
            rows
        }
    }
}

/// One subtraction and one comparison for each row, of the width of the codes, which compilers
/// turn into vector instructions.
#[expect(
    clippy::cast_possible_truncation,
    reason = "codes of a width lie below its limit, and bounds beyond it are cut to it before"
)]
fn pick_range(codes: &Codes, range: &Range<u32>) -> Rows {
    match codes {
        Codes::U8(codes) => {
            let (first, last) = (range.start.min(0x100), (range.end - 1).min(0xff));
            let width = last.wrapping_sub(first) as u8;
            match first {
                0x100 => Rows::none(codes.len()),
                _ => Rows::from_chunks(codes, |code| code.wrapping_sub(first as u8) <= width),
            }
        }
        Codes::U16(codes) => {
            let (first, last) = (range.start.min(0x1_0000), (range.end - 1).min(0xffff));
            let width = last.wrapping_sub(first) as u16;
            match first {
                0x1_0000 => Rows::none(codes.len()),
                _ => Rows::from_chunks(codes, |code| code.wrapping_sub(first as u16) <= width),
            }
        }
        Codes::U32(codes) => {
            let width = range.end - range.start;
            Rows::from_chunks(codes, |code| code.wrapping_sub(range.start) < width)
        }
    }
}

fn is_passed_by_number(test: &Test, number: i64) -> bool {
    let order = match test {
        Test::Present => return true,
        Test::Compare(_, Operand::Int(operand)) => number.cmp(operand),
        #[expect(clippy::cast_precision_loss, reason = "as the languages compare them")]
        Test::Compare(_, Operand::Float(operand)) => match (number as f64).partial_cmp(operand) {
            Some(order) => order,
            None => return false,
        },
        Test::Compare(..) | Test::Matches(_) | Test::MatchesNot(_) => return false,
    };
    let Test::Compare(comparison, _) = test else {
        return false;
    };
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}
