//! Columns: the distinct values in order, and for each row the number of its value.
//!
//! Also the plain arrays that stand beside them. Everything here is called a page: the unit that is
//! written, checked, loaded and cached.

use std::sync::Arc;

use super::{
    bisect::bisect,
    bytes::{Reader, Writer},
    integers::Integers,
};

/// Distinct values. In a page they ascend, so that a value is found by bisection.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Dictionary {
    /// Where each value ends in `bytes`.
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Dictionary {
    /// Values whose bytes stand one after the other, the first of them at `start` of what `ends` count. `None` if they do
    /// not take exactly these bytes.
    pub(super) fn slice(mut ends: Vec<u32>, start: u32, bytes: Vec<u8>) -> Option<Dictionary> {
        for end in &mut ends {
            *end = end.checked_sub(start)?;
        }
        let last = ends.last().map_or(0, |last| *last as usize);
        (ends.is_sorted() && last == bytes.len()).then_some(Dictionary { ends, bytes })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(offset(self.bytes.len()));
    }

    /// Empty if there is no such value.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        let Some(&end) = self.ends.get(index) else {
            return &[];
        };
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1],
        };
        &self.bytes[start as usize..end as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// How many values stand before the first for which `before` is false.
    pub(super) fn partition_point(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        bisect(0..self.len(), |index| before(self.get(index)))
    }
}

/// Bytes of values in one dictionary; whoever builds one stays far below 4 GiB.
fn offset(len: usize) -> u32 {
    u32::try_from(len).expect("the builder of a part bounds its bytes")
}

/// Numbers in as few bytes as the largest needs.
#[derive(Debug, PartialEq)]
pub(super) enum Codes {
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
}

impl Codes {
    /// None of the codes is greater than `max`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the width is chosen for the largest code"
    )]
    pub(super) fn narrowed(codes: Vec<u32>, max: u32) -> Codes {
        match max {
            0..=0xff => Codes::U8(codes.iter().map(|code| *code as u8).collect()),
            0x100..=0xffff => Codes::U16(codes.iter().map(|code| *code as u16).collect()),
            _ => Codes::U32(codes),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Codes::U8(codes) => codes.len(),
            Codes::U16(codes) => codes.len(),
            Codes::U32(codes) => codes.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<u32> {
        match self {
            Codes::U8(codes) => codes.get(index).map(|code| u32::from(*code)),
            Codes::U16(codes) => codes.get(index).map(|code| u32::from(*code)),
            Codes::U32(codes) => codes.get(index).copied(),
        }
    }

    /// Written so that compilers make vector instructions of it.
    fn max(&self) -> u32 {
        match self {
            Codes::U8(codes) => codes.iter().fold(0, |max, code| max.max(*code)).into(),
            Codes::U16(codes) => codes.iter().fold(0, |max, code| max.max(*code)).into(),
            Codes::U32(codes) => codes.iter().fold(0, |max, code| max.max(*code)),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Codes::U8(codes) => codes.len(),
            Codes::U16(codes) => codes.len() * 2,
            Codes::U32(codes) => codes.len() * 4,
        }
    }
}

/// For each row the number of its value: 0 if it has none, else one more than the index in the
/// dictionary.
#[derive(Debug, PartialEq)]
pub(super) enum Cells {
    Dense(Codes),
    /// Only rows that have a value, ascending.
    Sparse {
        rows: Vec<u32>,
        codes: Codes,
    },
}

impl Cells {
    pub(super) fn code(&self, row: u32) -> u32 {
        match self {
            Cells::Dense(codes) => codes.get(row as usize).unwrap_or(0),
            Cells::Sparse { rows, codes } => match rows.binary_search(&row) {
                Ok(index) => codes.get(index).unwrap_or(0),
                Err(_) => 0,
            },
        }
    }

    /// How many rows may have a value.
    pub(super) fn present(&self) -> usize {
        match self {
            Cells::Dense(codes) => codes.len(),
            Cells::Sparse { rows, .. } => rows.len(),
        }
    }

    /// Calls `each` with the rows that have a value, ascending, and their codes.
    pub(super) fn for_each(&self, mut each: impl FnMut(u32, u32)) {
        match self {
            Cells::Dense(Codes::U8(codes)) => dense(codes, |code| u32::from(*code), each),
            Cells::Dense(Codes::U16(codes)) => dense(codes, |code| u32::from(*code), each),
            Cells::Dense(Codes::U32(codes)) => dense(codes, |code| *code, each),
            Cells::Sparse { rows, codes } => {
                for (index, row) in rows.iter().enumerate() {
                    each(*row, codes.get(index).unwrap_or(0));
                }
            }
        }
    }

    /// Whether no code lies beyond a dictionary and no row beyond a table, and whether what is
    /// sparse has a value in each row that it lists.
    fn fit(&self, distinct: usize, table_rows: usize) -> bool {
        let (rows_fit, codes) = match self {
            Cells::Dense(codes) => (codes.len() == table_rows, codes),
            Cells::Sparse { rows, codes } => {
                let ascending = rows.is_sorted_by(|a, b| a < b);
                let within = rows.last().is_none_or(|last| (*last as usize) < table_rows);
                let valued = (0..codes.len()).all(|index| codes.get(index) != Some(0));
                (
                    ascending && within && valued && rows.len() == codes.len(),
                    codes,
                )
            }
        };
        rows_fit && codes.max() as usize <= distinct
    }
}

fn dense<T>(codes: &[T], widen: impl Fn(&T) -> u32, mut each: impl FnMut(u32, u32)) {
    for (row, code) in (0..).zip(codes) {
        let code = widen(code);
        if code != 0 {
            each(row, code);
        }
    }
}

/// What is written, checked, loaded and cached as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Page {
    Dictionary(Arc<Dictionary>),
    Cells(Arc<Cells>),
    Numbers(Arc<Integers>),
    Ids8(Arc<Vec<[u8; 8]>>),
    Ids16(Arc<Vec<[u8; 16]>>),
}

/// The first byte of a page on disk.
mod form {
    pub(super) const DICTIONARY: u8 = 1;
    pub(super) const DENSE: u8 = 2;
    pub(super) const SPARSE: u8 = 3;
    pub(super) const NUMBERS: u8 = 4;
    pub(super) const IDS8: u8 = 5;
    pub(super) const IDS16: u8 = 6;
}

/// What a page must agree with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// Rows of its table, values of a dictionary or of its index, or checksums.
    pub(super) rows: usize,
    /// Values of the dictionary that cells point into.
    pub(super) distinct: usize,
}

impl Page {
    /// What it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        48 + match self {
            Page::Dictionary(dictionary) => dictionary.ends.len() * 4 + dictionary.bytes.len(),
            Page::Cells(cells) => match &**cells {
                Cells::Dense(codes) => codes.bytes(),
                Cells::Sparse { rows, codes } => rows.len() * 4 + codes.bytes(),
            },
            Page::Numbers(numbers) => numbers.bytes(),
            Page::Ids8(ids) => ids.len() * 8,
            Page::Ids16(ids) => ids.len() * 16,
        }
    }

    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        let mut to = Writer(to);
        match self {
            Page::Dictionary(dictionary) => {
                to.u8(form::DICTIONARY);
                to.u32s(&dictionary.ends);
                to.bytes(&dictionary.bytes);
            }
            Page::Cells(cells) => match &**cells {
                Cells::Dense(codes) => {
                    to.u8(form::DENSE);
                    to.codes(codes);
                }
                Cells::Sparse { rows, codes } => {
                    to.u8(form::SPARSE);
                    to.u32s(rows);
                    to.codes(codes);
                }
            },
            Page::Numbers(numbers) => {
                to.u8(form::NUMBERS);
                to.numbers(&numbers.plain());
            }
            Page::Ids8(ids) => {
                to.u8(form::IDS8);
                to.bytes(ids.as_flattened());
            }
            Page::Ids16(ids) => {
                to.u8(form::IDS16);
                to.bytes(ids.as_flattened());
            }
        }
    }

    /// Bytes with which a page begins that has rows of one width: at most so many.
    pub(super) const MAX_HEAD: usize = 10;

    /// What comes before the rows in a page that begins like this, and the bytes of a row. `None` of a page without rows of
    /// one width.
    pub(super) fn head(start: &[u8]) -> Option<(&[u8], usize)> {
        let (len, width) = match *start.first()? {
            // Its form, the count of its rows, and their width; or the smallest of them instead of the count.
            form::DENSE => (6, usize::from(*start.get(5)?)),
            form::NUMBERS => (10, usize::from(*start.get(9)?)),
            form::IDS8 => (5, 8),
            form::IDS16 => (5, 16),
            _ => return None,
        };
        Some((start.get(..len)?, width))
    }

    /// A page of some rows of another one, which begins with this head. `None` as below.
    pub(super) fn of_rows(head: &[u8], rows: &[u8], shape: Shape) -> Option<Page> {
        let mut bytes = head.to_vec();
        let count = match *head.first()? {
            form::DENSE => Some(shape.rows),
            form::NUMBERS => None,
            _ => Some(rows.len()),
        };
        if let Some(count) = count {
            let count = u32::try_from(count).ok()?;
            bytes.get_mut(1..5)?.copy_from_slice(&count.to_le_bytes());
        }
        bytes.extend_from_slice(rows);
        Page::decode(&bytes, shape)
    }

    /// `None` for bytes that `encode` does not write, or that do not have this shape.
    pub(super) fn decode(bytes: &[u8], shape: Shape) -> Option<Page> {
        let mut from = Reader(bytes);
        let page = match from.u8()? {
            form::DICTIONARY => {
                let ends = from.u32s()?;
                let dictionary = Dictionary::slice(ends, 0, from.bytes()?.to_vec())?;
                (dictionary.len() == shape.rows).then_some(())?;
                Page::Dictionary(Arc::new(dictionary))
            }
            form::DENSE => {
                let cells = Cells::Dense(from.codes()?);
                cells.fit(shape.distinct, shape.rows).then_some(())?;
                Page::Cells(Arc::new(cells))
            }
            form::SPARSE => {
                let rows = from.u32s()?;
                let codes = from.codes()?;
                let cells = Cells::Sparse { rows, codes };
                cells.fit(shape.distinct, shape.rows).then_some(())?;
                Page::Cells(Arc::new(cells))
            }
            form::NUMBERS => {
                let numbers = Integers::read(&mut from, shape.rows)?;
                Page::Numbers(Arc::new(numbers))
            }
            form::IDS8 => {
                let (ids, rest) = from.bytes()?.as_chunks();
                (rest.is_empty() && ids.len() == shape.rows).then_some(())?;
                Page::Ids8(Arc::new(ids.to_vec()))
            }
            form::IDS16 => {
                let (ids, rest) = from.bytes()?.as_chunks();
                (rest.is_empty() && ids.len() == shape.rows).then_some(())?;
                Page::Ids16(Arc::new(ids.to_vec()))
            }
            _ => return None,
        };
        from.0.is_empty().then_some(page)
    }
}
