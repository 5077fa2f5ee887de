//! The numbers of an array: as they were put together, or packed as they stand in a segment.
//!
//! A page from a segment stays as it is there, so that a cache of the same size has room for about twice as many.

use std::borrow::Cow;

use super::{bisect::bisect, bytes::Reader};

/// Numbers that are looked at together: as many as a word of a set of rows has bits.
pub(super) const BLOCK: usize = 64;

#[derive(Debug)]
pub(super) enum Integers {
    Plain(Vec<u64>),
    Packed(Packed),
}

/// Offsets from the smallest number, of one width.
#[derive(Debug)]
pub(super) struct Packed {
    base: u64,
    /// Bytes of an offset, from 1 to 8.
    width: usize,
    /// The bits of an offset.
    mask: u64,
    len: usize,
    /// With [`PADDING`] behind the last offset, so that each can be read as if it had 8 bytes.
    bytes: Box<[u8]>,
}

const PADDING: usize = 7;

impl From<Vec<u64>> for Integers {
    fn from(numbers: Vec<u64>) -> Integers {
        Integers::Plain(numbers)
    }
}

/// Whatever their form.
impl PartialEq for Integers {
    fn eq(&self, other: &Integers) -> bool {
        self.len() == other.len()
            && (0..self.len()).all(|index| self.get(index) == other.get(index))
    }
}

impl Integers {
    /// As [`Writer::numbers`](super::bytes::Writer::numbers) wrote so many of them. `None` if they are not there.
    pub(super) fn read(from: &mut Reader<'_>, len: usize) -> Option<Integers> {
        let (base, width, packed) = from.packed(len)?;
        let mut bytes = Vec::with_capacity(packed.len() + PADDING);
        bytes.extend_from_slice(packed);
        bytes.resize(packed.len() + PADDING, 0);
        Some(Integers::Packed(Packed {
            base,
            width,
            mask: u64::MAX >> (64 - 8 * width),
            len,
            bytes: bytes.into(),
        }))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Integers::Plain(numbers) => numbers.len(),
            Integers::Packed(packed) => packed.len,
        }
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Integers::Plain(numbers) => numbers.len() * 8,
            Integers::Packed(packed) => packed.bytes.len(),
        }
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<u64> {
        match self {
            Integers::Plain(numbers) => numbers.get(index).copied(),
            Integers::Packed(packed) => packed.get(index),
        }
    }

    /// 0 if there is no such number: for those who know that there is.
    #[inline]
    pub(super) fn at(&self, index: usize) -> u64 {
        self.get(index).unwrap_or(0)
    }

    /// At most the greatest number that this form could hold, which may be far above the greatest that there is.
    pub(super) fn bound(&self) -> u64 {
        match self {
            Integers::Plain(numbers) => numbers.iter().copied().max().unwrap_or(0),
            Integers::Packed(packed) => packed.base.saturating_add(packed.mask),
        }
    }

    /// How many stand before the first for which `before` is false.
    pub(super) fn partition_point(&self, before: impl Fn(u64) -> bool) -> usize {
        bisect(0..self.len(), |index| before(self.at(index)))
    }

    /// Calls `each` with all of them, a block after the other; only the last one may be shorter.
    pub(super) fn for_each_block(&self, mut each: impl FnMut(&[u64])) {
        match self {
            Integers::Plain(numbers) => numbers.chunks(BLOCK).for_each(each),
            // A width that is known to the compiler makes this several times faster.
            Integers::Packed(packed) => match packed.width {
                1 => packed.blocks::<1>(&mut each),
                2 => packed.blocks::<2>(&mut each),
                3 => packed.blocks::<3>(&mut each),
                4 => packed.blocks::<4>(&mut each),
                5 => packed.blocks::<5>(&mut each),
                6 => packed.blocks::<6>(&mut each),
                7 => packed.blocks::<7>(&mut each),
                _ => packed.blocks::<8>(&mut each),
            },
        }
    }

    /// For whoever looks at nearly all of them.
    pub(super) fn plain(&self) -> Cow<'_, [u64]> {
        match self {
            Integers::Plain(numbers) => Cow::Borrowed(numbers),
            Integers::Packed(packed) => {
                let mut all = Vec::with_capacity(packed.len);
                self.for_each_block(|block| all.extend_from_slice(block));
                Cow::Owned(all)
            }
        }
    }
}

impl Packed {
    #[inline]
    fn get(&self, index: usize) -> Option<u64> {
        let at = index.checked_mul(self.width)?;
        // What begins beyond the last offset does not have 8 bytes.
        let offset = self.bytes.get(at..)?.first_chunk()?;
        Some(
            self.base
                .wrapping_add(u64::from_le_bytes(*offset) & self.mask),
        )
    }

    fn blocks<const WIDTH: usize>(&self, each: &mut impl FnMut(&[u64])) {
        let (packed, _) = self.bytes[..self.len * WIDTH].as_chunks::<WIDTH>();
        let mut numbers = [0; BLOCK];
        for block in packed.chunks(BLOCK) {
            for (number, bytes) in numbers.iter_mut().zip(block) {
                let mut offset = [0; 8];
                offset[..WIDTH].copy_from_slice(bytes);
                *number = self.base.wrapping_add(u64::from_le_bytes(offset));
            }
            each(&numbers[..block.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::store::bytes::Writer;

    fn any_numbers() -> impl Strategy<Value = Vec<u64>> {
        // Of every width, at either end of what there is.
        (0..=64_u32, any::<u64>(), vec(any::<u64>(), 0..200)).prop_map(|(bits, base, numbers)| {
            let spread = |number: u64| number.checked_shr(64 - bits).unwrap_or(0);
            let number = |number: u64| base.saturating_add(spread(number));
            numbers.into_iter().map(number).collect()
        })
    }

    proptest! {
        #[test]
        fn packed_numbers_are_those_that_were_written(numbers in any_numbers(), bound in any::<u64>()) {
            let mut bytes = Vec::new();
            Writer(&mut bytes).numbers(&numbers);
            let mut reader = Reader(&bytes);
            let packed = Integers::read(&mut reader, numbers.len()).unwrap();
            prop_assert!(reader.0.is_empty());
            let plain = Integers::from(numbers.clone());
            for index in 0..numbers.len() + 10 {
                prop_assert_eq!(packed.get(index), numbers.get(index).copied());
                prop_assert_eq!(plain.get(index), numbers.get(index).copied());
            }
            prop_assert_eq!(packed.get(usize::MAX), None);
            for integers in [&packed, &plain] {
                prop_assert_eq!(&*integers.plain(), &numbers[..]);
                let mut blocks = Vec::new();
                integers.for_each_block(|block| blocks.push(block.to_vec()));
                let expected: Vec<_> = numbers.chunks(BLOCK).map(<[u64]>::to_vec).collect();
                prop_assert_eq!(blocks, expected);
                prop_assert!(numbers.iter().all(|number| *number <= integers.bound()));
            }
            prop_assert_eq!(&packed, &plain);

            let mut ascending = numbers;
            ascending.sort_unstable();
            let expected = ascending.partition_point(|number| *number < bound);
            let ascending = Integers::from(ascending);
            prop_assert_eq!(ascending.partition_point(|number| number < bound), expected);
        }

        #[test]
        fn numbers_that_are_not_all_there_are_none(numbers in any_numbers(), missing in 1..9_usize) {
            let mut bytes = Vec::new();
            Writer(&mut bytes).numbers(&numbers);
            let cut = bytes.len().saturating_sub(missing);
            let is_there = |len: usize| Integers::read(&mut Reader(&bytes[..cut]), len).is_some();
            prop_assert!(numbers.is_empty() || !is_there(numbers.len()));
            prop_assert!(!is_there(usize::MAX));
        }
    }
}
