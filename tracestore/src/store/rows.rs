//! Sets of rows of a table: a bit for each row.

use std::ops::Range;

use super::integers::{BLOCK, Integers};

/// A set of rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    /// A bit for each row, the lowest first. Bits beyond the last row are 0.
    words: Vec<u64>,
    len: usize,
}

impl Rows {
    pub(super) fn none(len: usize) -> Rows {
        Rows {
            words: vec![0; len.div_ceil(64)],
            len,
        }
    }

    pub(super) fn all(len: usize) -> Rows {
        let mut rows = Rows {
            words: vec![u64::MAX; len.div_ceil(64)],
            len,
        };
        rows.trim();
        rows
    }

    fn trim(&mut self) {
        let beyond = self.words.len() * 64 - self.len;
        if let Some(last) = self.words.last_mut() {
            *last &= u64::MAX >> beyond;
        }
    }

    /// A row that there is not is not inserted.
    pub(super) fn insert(&mut self, row: u32) {
        if (row as usize) < self.len {
            self.words[row as usize / 64] |= 1 << (row % 64);
        }
    }

    pub(super) fn contains(&self, row: u32) -> bool {
        let word = self.words.get(row as usize / 64);
        word.is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.words[..])
    }

    pub(super) fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether any of these rows is in the set.
    pub(super) fn has_any(&self, rows: &Range<u32>) -> bool {
        if rows.is_empty() {
            return false;
        }
        let (first, last) = (rows.start as usize / 64, (rows.end as usize - 1) / 64);
        let from = u64::MAX << (rows.start % 64);
        let to = u64::MAX >> (63 - (rows.end - 1) % 64);
        let word = |index: usize| self.words.get(index).copied().unwrap_or(0);
        match first == last {
            true => word(first) & from & to != 0,
            false => {
                word(first) & from != 0
                    || (first + 1..last).any(|index| word(index) != 0)
                    || word(last) & to != 0
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().zip(0_u32..).flat_map(|(word, index)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }

    pub(super) fn and(&mut self, other: &Rows) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    pub(super) fn or(&mut self, other: &Rows) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    pub(super) fn not(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.trim();
    }

    /// The rows whose value passes.
    pub(super) fn from_chunks<T>(values: &[T], bit: impl Fn(&T) -> bool) -> Rows {
        let word = |chunk: &[T]| {
            let mut word = 0;
            for (value, shift) in chunk.iter().zip(0..) {
                word |= u64::from(bit(value)) << shift;
            }
            word
        };
        Rows {
            words: values.chunks(64).map(word).collect(),
            len: values.len(),
        }
    }

    /// The same of numbers.
    pub(super) fn from_integers(numbers: &Integers, bit: impl Fn(u64) -> bool) -> Rows {
        let mut words = Vec::with_capacity(numbers.len().div_ceil(BLOCK));
        numbers.for_each_block(|block| {
            let word = (block.iter().zip(0..)).fold(0, |word, (number, shift)| {
                word | u64::from(bit(*number)) << shift
            });
            words.push(word);
        });
        Rows {
            words,
            len: numbers.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_has_a_row_if_any_of_its_rows_is_there(
            inserted in prop::collection::vec(0..300_u32, 0..6),
            start in 0..320_u32,
            len in 0..320_u32,
        ) {
            let mut rows = Rows::none(300);
            inserted.iter().for_each(|row| rows.insert(*row));
            let range = start..start + len;
            let any = inserted.iter().any(|row| range.contains(row));
            prop_assert_eq!(rows.has_any(&range), any);
            let mut distinct = inserted;
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(rows.count(), distinct.len());
            prop_assert_eq!(rows.iter().collect::<Vec<_>>(), distinct);
        }
    }
}
