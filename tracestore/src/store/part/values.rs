//! The values of a column, of which no more is read than a question needs.
//!
//! A dictionary of a sealed part may take more bytes than all that is else read to find one of its values. Such a one has an
//! index: the first value of each of its blocks, by which a bisection in memory tells which block to read.

use std::{cell::RefCell, ops::Range, sync::Arc};

use super::{ARRAYS, Damaged, Directory, Pages, Part};
use crate::store::{
    bisect::{bisect, try_bisect},
    column::{Dictionary, Page},
};

/// Values in a block of a dictionary that has an index. Few in tests, so that small parts have many.
pub(super) const BLOCK: usize = if cfg!(test) { 2 } else { 128 };

/// A dictionary with more values has an index.
const MAX_PLAIN: u32 = if cfg!(test) { 3 } else { 4 * BLOCK as u32 };

/// Bytes before the ends of values in the page of a dictionary: its form and their number.
const BEFORE_ENDS: usize = 1 + 4;
/// Bytes between them and the values: the length of all values.
const BEFORE_VALUES: usize = 4;

/// See the module.
pub(in crate::store) enum Values<'a> {
    Whole(Arc<Dictionary>),
    Indexed {
        part: &'a Part,
        column: usize,
        firsts: Arc<Dictionary>,
        /// The block that was read last, by its number.
        last: RefCell<(usize, Dictionary)>,
    },
}

impl From<Dictionary> for Values<'_> {
    fn from(dictionary: Dictionary) -> Self {
        Values::Whole(Arc::new(dictionary))
    }
}

impl Values<'_> {
    pub(in crate::store) fn len(&self) -> usize {
        match self {
            Values::Whole(dictionary) => dictionary.len(),
            Values::Indexed { part, column, .. } => {
                part.directory.columns[*column].distinct as usize
            }
        }
    }

    /// Every value, for questions that only all of them answer.
    pub(in crate::store) fn whole(&self) -> Result<Arc<Dictionary>, Damaged> {
        match self {
            Values::Whole(dictionary) => Ok(Arc::clone(dictionary)),
            Values::Indexed { part, column, .. } => part.dictionary(*column),
        }
    }

    /// Shows a value, which is empty if there is none of this number.
    pub(in crate::store) fn look<T>(
        &self,
        number: usize,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Damaged> {
        match self {
            Values::Whole(dictionary) => Ok(look(dictionary.get(number))),
            Values::Indexed { .. } if number >= self.len() => Ok(look(&[])),
            Values::Indexed { firsts, .. } if number.is_multiple_of(BLOCK) => {
                Ok(look(firsts.get(number / BLOCK)))
            }
            Values::Indexed { .. } => {
                let look = |block: &Dictionary| look(block.get(number % BLOCK));
                self.in_block(number / BLOCK, look)
            }
        }
    }

    /// The first number of this range whose value is not `before`, or its end. Values that are stand before those that are
    /// not.
    pub(in crate::store) fn partition_point(
        &self,
        within: Range<usize>,
        before: impl Fn(&[u8]) -> bool,
    ) -> Result<usize, Damaged> {
        let Values::Indexed { firsts, .. } = self else {
            return try_bisect(within, |number| self.look(number, &before));
        };
        if within.is_empty() {
            return Ok(within.start);
        }
        // Blocks that begin within the range, and not where it does.
        let blocks = within.start / BLOCK + 1..(within.end - 1) / BLOCK + 1;
        let after = bisect(blocks, |block| before(firsts.get(block)));
        let block = after - 1;
        let first = within.start.max(block * BLOCK);
        let end = within.end.min(after * BLOCK);
        self.in_block(block, |values| {
            bisect(first..end, |number| before(values.get(number % BLOCK)))
        })
    }

    fn in_block<T>(&self, block: usize, look: impl FnOnce(&Dictionary) -> T) -> Result<T, Damaged> {
        let Values::Indexed {
            part, column, last, ..
        } = self
        else {
            return Ok(look(&Dictionary::default()));
        };
        let mut last = last.borrow_mut();
        if last.0 != block {
            *last = (block, part.block(*column, block)?);
        }
        Ok(look(&last.1))
    }
}

impl Part {
    /// The values of a column, read as far as they are looked at.
    pub(in crate::store) fn values(&self, column: usize) -> Result<Values<'_>, Damaged> {
        let index = match &self.pages {
            Pages::Stored { indexed, .. } => indexed.binary_search(&column).ok(),
            Pages::Resident(_) => None,
        };
        if let Some(index) = index
            && self.has_pieces()
        {
            return match self.page(self.directory.pages() + index)? {
                Page::Dictionary(firsts) => Ok(Values::Indexed {
                    part: self,
                    column,
                    firsts,
                    last: RefCell::new((usize::MAX, Dictionary::default())),
                }),
                _ => Err(self.damaged("a page is not an index")),
            };
        }
        Ok(Values::Whole(self.dictionary(column)?))
    }

    /// A block of a dictionary that has an index.
    fn block(&self, column: usize, block: usize) -> Result<Dictionary, Damaged> {
        let page = ARRAYS + 2 * column;
        let distinct = self.directory.columns[column].distinct as usize;
        let first = block * BLOCK;
        let numbers = first..distinct.min(first + BLOCK);
        // The end of the value before is the start of the first.
        let before = usize::from(first > 0);
        let ends_at = BEFORE_ENDS + 4 * (first - before);
        let ends = self.piece(page, ends_at, 4 * (before + numbers.len()))?;
        let (ends, _) = ends.as_chunks();
        let mut ends: Vec<u32> = ends.iter().map(|end| u32::from_le_bytes(*end)).collect();
        let start = match before {
            0 => 0,
            _ => ends.remove(0),
        };
        let malformed = || self.damaged("a block of a dictionary is malformed");
        let end = ends.last().copied().unwrap_or(start);
        let len = end.checked_sub(start).ok_or_else(malformed)?;
        let values_at = BEFORE_ENDS + 4 * distinct + BEFORE_VALUES + start as usize;
        let values = self.piece(page, values_at, len as usize)?;
        Dictionary::slice(ends, start, values).ok_or_else(malformed)
    }
}

/// The columns whose dictionaries are to have an index.
pub(super) fn to_be_indexed(directory: &Directory) -> Vec<usize> {
    let columns = directory.columns.iter().enumerate();
    let large = columns.filter(|(_, column)| column.distinct > MAX_PLAIN);
    large.map(|(number, _)| number).collect()
}

/// The first value of each block.
pub(super) fn index_of(dictionary: &Dictionary) -> Dictionary {
    let mut index = Dictionary::default();
    for first in (0..dictionary.len()).step_by(BLOCK) {
        index.push(dictionary.get(first));
    }
    index
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        span::Span,
        store::{
            Batch,
            cache::Cache,
            files::{Files, Folder, ReadAt},
            part::{Key, Own, Table, build, encode, open},
            tests::{plain, trace_id},
        },
    };

    #[test]
    fn an_index_tells_what_the_whole_dictionary_would() {
        let span = |number: u64| Span {
            name: format!("{:02}", 2 * number).into(),
            ..plain(number, 1)
        };
        let batch = Batch {
            resource: Arc::default(),
            scope: Arc::default(),
            spans: (1..=11).map(|number| (trace_id(1), span(number))).collect(),
        };
        let whole = build(&[batch], 1);
        let folder = tempfile::TempDir::new().unwrap();
        let files = Folder::open(folder.path()).unwrap();
        files
            .write("part", &[encode(&whole).unwrap().bytes()])
            .unwrap();
        let file: Arc<dyn ReadAt> = files.open("part").unwrap();
        let part = open("part", file, &Arc::new(Cache::new(0))).unwrap();
        let column = part.directory.column(Table::Spans, &Key::Own(Own::Name));
        let column = column.unwrap();
        let (whole, indexed) = (whole.values(column).unwrap(), part.values(column).unwrap());
        assert!(matches!(whole, Values::Whole(_)));
        assert!(matches!(indexed, Values::Indexed { .. }));
        assert_eq!(indexed.len(), 11);
        for number in 0..=11 {
            let [a, b] = [&whole, &indexed].map(|values| values.look(number, <[u8]>::to_vec));
            assert_eq!(a.unwrap(), b.unwrap(), "{number}");
        }
        for start in 0..=11 {
            for end in start..=11 {
                for bound in 0..=24 {
                    let bound = format!("\u{5}{bound:02}");
                    let [a, b] = [&whole, &indexed].map(|values| {
                        let before = |value: &[u8]| value < bound.as_bytes();
                        values.partition_point(start..end, before).unwrap()
                    });
                    assert_eq!(a, b, "{bound} in {start}..{end}");
                }
            }
        }
    }
}
