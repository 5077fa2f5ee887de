//! A bounded number of series, each for one combination of labels.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

/// A series that got nothing for so long goes away.
const STALE: Duration = Duration::from_secs(15 * 60);
const SWEEP: Duration = Duration::from_secs(60);

/// What tells series apart.
pub(super) trait Labels: Ord {
    fn hash(&self, hasher: &DefaultHashBuilder) -> u64;

    /// Bytes of text in them.
    fn bytes(&self) -> usize;
}

pub(super) struct Series<L, V> {
    rows: HashTable<Row<L, V>>,
    /// What is counted of combinations for which there is no room.
    overflow: Option<Row<L, V>>,
    overflows: u64,
    hasher: DefaultHashBuilder,
    bytes: usize,
    limits: Limits,
    swept: Instant,
}

/// Bounds memory, and with it what a scrape transfers.
pub(super) struct Limits {
    pub(super) rows: usize,
    /// Bytes of text in all labels.
    pub(super) bytes: usize,
}

struct Row<L, V> {
    /// None for the one that takes what overflows.
    labels: Option<Arc<L>>,
    values: V,
    updated: Instant,
    was_scraped: bool,
}

/// A series at one moment.
pub(super) struct Shown<L, V> {
    /// None for the one that takes what overflows.
    pub(super) labels: Option<Arc<L>>,
    pub(super) values: V,
}

impl<L: Labels, V: Default + Clone> Series<L, V> {
    pub(super) fn new(limits: Limits, hasher: DefaultHashBuilder, now: Instant) -> Series<L, V> {
        Series {
            rows: HashTable::new(),
            overflow: None,
            overflows: 0,
            hasher,
            bytes: 0,
            limits,
            swept: now,
        }
    }

    /// What is counted for the labels with this hash that `is` knows; `labels` makes them if they are new.
    pub(super) fn row(
        &mut self,
        hash: u64,
        now: Instant,
        is: impl Fn(&L) -> bool,
        labels: impl FnOnce() -> L,
    ) -> &mut V {
        let hasher = &self.hasher;
        let is_full = self.rows.len() >= self.limits.rows || self.bytes >= self.limits.bytes;
        let entry = self.rows.entry(
            hash,
            |row| row.labels.as_deref().is_some_and(&is),
            |row| (row.labels.as_deref()).map_or(0, |labels| labels.hash(hasher)),
        );
        let row = match entry {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full => {
                self.overflows += 1;
                self.overflow.get_or_insert_with(|| Row::new(None, now))
            }
            Entry::Vacant(new) => {
                let labels = labels();
                self.bytes += labels.bytes();
                new.insert(Row::new(Some(Arc::new(labels)), now)).into_mut()
            }
        };
        row.updated = now;
        &mut row.values
    }

    pub(super) fn forget_stale(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let is_fresh = |row: &Row<L, V>| now.saturating_duration_since(row.updated) < STALE;
        let bytes = &mut self.bytes;
        self.rows.retain(|row| {
            let keep = is_fresh(row);
            if !keep {
                *bytes -= row.labels.as_deref().map_or(0, L::bytes);
            }
            keep
        });
        self.overflow.take_if(|row| !is_fresh(row));
    }

    /// How often something was counted for a combination for which there was no room.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// In the order of the labels, and what overflows first.
    pub(super) fn snapshot(&mut self, is_scraper: bool) -> Vec<Shown<L, V>> {
        let rows = self.rows.iter_mut().chain(&mut self.overflow);
        let mut shown: Vec<_> = rows
            .map(|row| {
                let values = match is_scraper && !row.was_scraped {
                    true => V::default(),
                    false => row.values.clone(),
                };
                row.was_scraped |= is_scraper;
                Shown {
                    labels: row.labels.clone(),
                    values,
                }
            })
            .collect();
        shown.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        shown
    }
}

impl<L, V: Default> Row<L, V> {
    fn new(labels: Option<Arc<L>>, now: Instant) -> Row<L, V> {
        Row {
            labels,
            values: V::default(),
            updated: now,
            was_scraped: false,
        }
    }
}

/// How often values fell between bounds: `N` is one more than there are bounds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram<const N: usize> {
    counts: [u64; N],
    sum: f64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Histogram<N> {
        Histogram {
            counts: [0; N],
            sum: 0.0,
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// `bounds` are ascending upper bounds, which belong to what is below them. Returns the index of the bucket.
    pub(super) fn observe(&mut self, bounds: &[f64], value: f64) -> usize {
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
        bucket
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// Upper bounds, the last infinite, and what each bucket has beyond the one before.
    pub(super) fn buckets(&self, bounds: &[f64]) -> [(f64, u64); N] {
        std::array::from_fn(|bucket| {
            let bound = bounds.get(bucket).copied().unwrap_or(f64::INFINITY);
            (bound, self.counts[bucket])
        })
    }
}
