//! Little-endian arrays, as they stand in a segment.

use super::column::Codes;

pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    /// With its length before it.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u32s(&mut self, values: &[u32]) {
        self.len(values.len());
        for value in values {
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Offsets from the smallest, each in as few bytes as the largest offset needs, but at least one.
    pub(super) fn numbers(&mut self, values: &[u64]) {
        let base = values.iter().min().copied().unwrap_or(0);
        let spread = values.iter().max().copied().unwrap_or(0) - base;
        let width = (u64::BITS - spread.leading_zeros()).div_ceil(8).max(1) as usize;
        self.u64(base);
        self.u8(width as u8);
        for value in values {
            self.0
                .extend_from_slice(&(value - base).to_le_bytes()[..width]);
        }
    }

    pub(super) fn codes(&mut self, codes: &Codes) {
        self.len(codes.len());
        match codes {
            Codes::U8(codes) => {
                self.u8(1);
                self.0.extend_from_slice(codes);
            }
            Codes::U16(codes) => {
                self.u8(2);
                for code in codes {
                    self.0.extend_from_slice(&code.to_le_bytes());
                }
            }
            Codes::U32(codes) => {
                self.u8(4);
                for code in codes {
                    self.0.extend_from_slice(&code.to_le_bytes());
                }
            }
        }
    }

    fn len(&mut self, len: usize) {
        self.u32(u32::try_from(len).expect("the builder of a part bounds its bytes"));
    }
}

/// `None` wherever the bytes end too early. Nothing is allocated for what is not there.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn len(&mut self) -> Option<usize> {
        self.u32().map(|len| len as usize)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.len()?;
        self.take(len)
    }

    pub(super) fn u32s(&mut self) -> Option<Vec<u32>> {
        let len = self.len()?;
        let (values, _) = self.take(len.checked_mul(4)?)?.as_chunks();
        Some(
            values
                .iter()
                .map(|value| u32::from_le_bytes(*value))
                .collect(),
        )
    }

    pub(super) fn arrays<const N: usize>(&mut self, len: usize) -> Option<&'a [[u8; N]]> {
        let (arrays, _) = self.take(len.checked_mul(N)?)?.as_chunks();
        Some(arrays)
    }

    /// What `Writer::numbers` wrote: the smallest number, the bytes of an offset from it, from 1 to 8, and the offsets.
    pub(super) fn packed(&mut self, len: usize) -> Option<(u64, usize, &'a [u8])> {
        let base = self.u64()?;
        let width = usize::from(self.u8()?);
        // Without a byte for each, nothing would bound their count.
        (1..=8).contains(&width).then_some(())?;
        Some((base, width, self.take(len.checked_mul(width)?)?))
    }

    pub(super) fn codes(&mut self) -> Option<Codes> {
        let len = self.len()?;
        Some(match self.u8()? {
            1 => Codes::U8(self.take(len)?.to_vec()),
            2 => {
                let (codes, _) = self.take(len.checked_mul(2)?)?.as_chunks();
                Codes::U16(codes.iter().map(|code| u16::from_le_bytes(*code)).collect())
            }
            4 => {
                let (codes, _) = self.take(len.checked_mul(4)?)?.as_chunks();
                Codes::U32(codes.iter().map(|code| u32::from_le_bytes(*code)).collect())
            }
            _ => return None,
        })
    }
}
