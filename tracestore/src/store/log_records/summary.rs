//! What is known of a chunk without reading it.

use std::{ops::RangeInclusive, sync::Arc};

use super::{
    super::bytes::{Reader, Writer},
    chunk::{Row, Rows},
    origin::text,
};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) records: u32,
    /// Nanoseconds since the Unix epoch.
    pub(super) times: RangeInclusive<u64>,
    /// Numbers.
    pub(super) arrivals: RangeInclusive<u64>,
    /// The highest.
    pub(super) severity: u8,
    /// The names of the services that have records in it, each once.
    pub(super) services: Vec<Arc<str>>,
    /// None if there may be any trace.
    pub(super) traces: Option<TraceFilter>,
}

impl Summary {
    /// Of a chunk that is empty.
    pub(super) fn empty() -> Summary {
        Summary {
            records: 0,
            times: RangeInclusive::new(u64::MAX, 0),
            arrivals: RangeInclusive::new(u64::MAX, 0),
            severity: 0,
            services: Vec::new(),
            traces: None,
        }
    }

    pub(super) fn add(&mut self, row: &Row) {
        let with = |range: &RangeInclusive<u64>, number: u64| {
            number.min(*range.start())..=number.max(*range.end())
        };
        self.records += 1;
        self.times = with(&self.times, row.time);
        self.arrivals = with(&self.arrivals, row.arrival);
        self.severity = self.severity.max(row.severity);
    }

    pub(super) fn add_service(&mut self, name: &str) {
        if !self.services.iter().any(|known| **known == *name) {
            self.services.push(name.into());
        }
    }

    /// With a filter of its traces.
    pub(super) fn sealed(&self, rows: &Rows) -> Summary {
        let traces = rows.rows.iter().map(|row| row.trace);
        Summary {
            traces: Some(TraceFilter::new(
                traces.filter(|id| *id != [0; 16]).collect(),
            )),
            ..self.clone()
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let services = self.services.iter();
        let services: usize = services
            .map(|name| name.len() + size_of::<Arc<str>>() + 16)
            .sum();
        let traces = self.traces.as_ref().map_or(0, |traces| 8 * traces.0.len());
        size_of::<Summary>() + services + traces
    }

    pub(super) fn encode(&self, to: &mut Writer<'_>) {
        to.u32(self.records);
        for number in [
            self.times.start(),
            self.times.end(),
            self.arrivals.start(),
            self.arrivals.end(),
        ] {
            to.u64(*number);
        }
        to.u8(self.severity);
        to.u32(u32::try_from(self.services.len()).expect("a chunk has few records"));
        for name in &self.services {
            to.bytes(name.as_bytes());
        }
        let words = self.traces.iter().flat_map(|traces| &traces.0);
        let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        to.bytes(&bytes);
    }

    /// `None` for what `encode` does not write.
    pub(super) fn decode(from: &mut Reader<'_>) -> Option<Summary> {
        let records = from.u32()?;
        let times = from.u64()?..=from.u64()?;
        let arrivals = from.u64()?..=from.u64()?;
        let severity = from.u8()?;
        let count = from.len()?;
        let mut services = Vec::new();
        for _ in 0..count {
            services.push(text(from)?.into());
        }
        let (words, rest) = from.bytes()?.as_chunks();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        rest.is_empty().then_some(Summary {
            records,
            times,
            arrivals,
            severity,
            services,
            traces: Some(TraceFilter(words.collect())),
        })
    }
}

/// Tells of most traces that they have no record in a chunk: a Bloom filter, which is wrong for one
/// in a hundred.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TraceFilter(Vec<u64>);

const BITS_OF_EACH: usize = 10;
const PROBES: u64 = 7;

impl TraceFilter {
    fn new(mut traces: Vec<[u8; 16]>) -> TraceFilter {
        traces.sort_unstable();
        traces.dedup();
        let mut filter = TraceFilter(vec![0; (traces.len() * BITS_OF_EACH).div_ceil(64)]);
        for id in traces {
            for bit in filter.bits(id) {
                filter.0[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        }
        filter
    }

    /// Whether the trace may have a record.
    pub(super) fn may_have(&self, id: [u8; 16]) -> bool {
        !self.0.is_empty()
            && (self.bits(id)).all(|bit| self.0[(bit / 64) as usize] & (1 << (bit % 64)) != 0)
    }

    fn bits(&self, id: [u8; 16]) -> impl Iterator<Item = u64> + use<> {
        let id = u128::from_le_bytes(id);
        let first = mixed(id as u64 ^ mixed((id >> 64) as u64));
        let step = mixed(first) | 1;
        let bits = 64 * self.0.len().max(1) as u64;
        (0..PROBES).map(move |probe| first.wrapping_add(probe.wrapping_mul(step)) % bits)
    }
}

/// Ids need not be random: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>. It is on disk.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
