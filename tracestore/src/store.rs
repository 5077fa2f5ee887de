//! Keeps recent traces in memory and forgets the oldest first.
//!
//! Spans of one trace merge however late they come. Knows nothing of protobuf, HTTP or JSON: see
//! `ingest` and `api`.

mod owned;
mod size;
mod summary;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use indexmap::{IndexMap, IndexSet};

pub(crate) use self::summary::Summary;
use crate::{
    span::{Group, Resource, Scope, Span, Trace, TraceId},
    store::size::HeapSize,
};

/// Spans that arrived together and share a resource and a scope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch<'a> {
    pub(crate) resource: Arc<Resource<'a>>,
    pub(crate) scope: Arc<Scope<'a>>,
    pub(crate) spans: Vec<(TraceId, Span<'a>)>,
}

/// What the body of a request is written in. The numbers may be kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    OtlpProtobuf = 1,
    OtlpJson = 2,
    JaegerThrift = 3,
}

/// A request that was read and found good.
#[derive(Debug)]
pub(crate) struct Accepted<'a> {
    #[expect(dead_code, reason = "for a store that logs what it accepts")]
    pub(crate) form: Form,
    /// The message after decompression: read again, it has the same spans.
    #[expect(dead_code, reason = "for a store that logs what it accepts")]
    pub(crate) body: &'a [u8],
    pub(crate) batches: Vec<Batch<'a>>,
    pub(crate) received: SystemTime,
}

/// The store takes nothing for now. What it refused, may be sent again as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable: {reason}")]
pub(crate) struct Unavailable {
    /// What was attempted and why it failed.
    pub(crate) reason: String,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) traces: usize,
    pub(crate) spans: usize,
    /// Bytes of memory, by an account that errs on the high side.
    pub(crate) bytes: usize,
    pub(crate) evicted_traces: u64,
    pub(crate) evicted_spans: u64,
}

/// All traces that are kept.
pub(crate) struct Store {
    max_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    traces: HashMap<TraceId, Entry>,
    /// Least recently extended first: the order of eviction.
    by_arrival: BTreeMap<u64, TraceId>,
    /// Newest first: the order of listing.
    by_start: BTreeSet<(Reverse<u64>, TraceId)>,
    resources: Interner<Resource<'static>>,
    scopes: Interner<Scope<'static>>,
    next_arrival: u64,
    usage: Usage,
}

/// Where spans come from.
type Source = (Arc<Resource<'static>>, Arc<Scope<'static>>);

/// One trace.
struct Entry {
    groups: IndexMap<Source, IndexSet<Span<'static>>>,
    summary: Summary,
    /// Key in `Inner::by_arrival`.
    arrival: u64,
    /// Key in `Inner::by_start`.
    listed_at: u64,
    /// Nanoseconds since the Unix epoch of the first and the last arrival.
    received: RangeInclusive<u64>,
    /// Without the resources and scopes, which it may share.
    bytes: usize,
}

/// What a trace and a group of spans take beside their spans: entries of maps and their slack.
const TRACE_BYTES: usize = size_of::<Entry>() + 512;
const GROUP_BYTES: usize = 256;

impl Store {
    /// An empty store that keeps at most `max_bytes` of traces.
    pub(crate) fn new(max_bytes: usize) -> Store {
        Store {
            max_bytes,
            inner: Mutex::default(),
        }
    }

    /// Adds spans to their traces, then evicts until the store fits its bound: whole traces, the
    /// one that was extended least recently first. A span that is already there, identical to
    /// the last byte, is not added again.
    ///
    /// May block: not to be called on the async runtime.
    ///
    /// # Errors
    /// All or nothing: of a request that is refused, nothing is kept.
    pub(crate) fn append(&self, request: Accepted<'_>) -> Result<(), Unavailable> {
        let received = request
            .received
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        let batches = request.batches.into_iter().map(owned::batch);
        let batches: Vec<_> = batches.collect();
        let mut inner = self.lock();
        for batch in batches {
            inner.insert(batch, received);
        }
        while inner.usage.bytes > self.max_bytes && inner.evict_oldest() {}
        Ok(())
    }

    /// Everything known of a trace, in the order of arrival.
    pub(crate) fn trace(&self, id: TraceId) -> Option<Trace<'static>> {
        let inner = self.lock();
        let entry = inner.traces.get(&id)?;
        let groups = entry.groups.iter().map(|((resource, scope), spans)| Group {
            resource: Arc::clone(resource),
            scope: Arc::clone(scope),
            spans: spans.iter().cloned().collect(),
        });
        Some(Trace {
            id,
            groups: groups.collect(),
        })
    }

    /// The newest traces by their start, and by id where that is equal.
    ///
    /// A trace whose start is unknown (0) or lies in the future counts as started when it
    /// arrived. With a window (nanoseconds since the Unix epoch) only traces that were running or
    /// received in it: a skewed clock hides nothing.
    pub(crate) fn newest(&self, limit: usize, window: Option<RangeInclusive<u64>>) -> Vec<Summary> {
        let inner = self.lock();
        inner
            .by_start
            .iter()
            .filter_map(|(_, id)| inner.traces.get(id))
            .filter(|entry| {
                window.as_ref().is_none_or(|window| {
                    let summary = &entry.summary;
                    overlap(window, &(summary.start_unix_nano..=summary.end_unix_nano))
                        || overlap(window, &entry.received)
                })
            })
            .map(|entry| entry.summary.clone())
            .take(limit)
            .collect()
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(crate) fn usage(&self) -> Usage {
        self.lock().usage
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn overlap(a: &RangeInclusive<u64>, b: &RangeInclusive<u64>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

impl Inner {
    fn insert(&mut self, batch: Batch<'static>, received: u64) {
        let mut by_trace: IndexMap<TraceId, Vec<Span<'static>>> = IndexMap::new();
        for (trace, span) in batch.spans {
            by_trace.entry(trace).or_default().push(span);
        }
        let source = (batch.resource, batch.scope);
        for (trace, spans) in by_trace {
            self.extend(trace, &source, spans, received);
        }
    }

    fn extend(&mut self, id: TraceId, source: &Source, spans: Vec<Span<'static>>, received: u64) {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let entry = self.traces.entry(id).or_insert_with(|| {
            self.usage.traces += 1;
            self.usage.bytes += TRACE_BYTES;
            Entry {
                groups: IndexMap::new(),
                summary: Summary::new(id),
                arrival,
                listed_at: 0,
                received: received..=received,
                bytes: TRACE_BYTES,
            }
        });
        self.by_arrival.remove(&entry.arrival);
        self.by_arrival.insert(arrival, id);
        entry.arrival = arrival;
        entry.received = *entry.received.start()..=received.max(*entry.received.end());

        let bytes_before = entry.bytes;
        if !entry.groups.contains_key(source) {
            let (resource, resource_bytes) = self.resources.intern(&source.0);
            let (scope, scope_bytes) = self.scopes.intern(&source.1);
            self.usage.bytes += resource_bytes + scope_bytes;
            entry.bytes += GROUP_BYTES;
            entry.groups.insert((resource, scope), IndexSet::new());
        }
        let kept = &mut entry.groups[source];
        for span in spans {
            let (at, is_new) = kept.insert_full(span);
            if is_new {
                self.usage.spans += 1;
                let span = &kept[at];
                entry.bytes += span.bytes() + entry.summary.add(&source.0, span);
            }
        }
        self.usage.bytes += entry.bytes - bytes_before;

        let start = match entry.summary.start_unix_nano {
            0 => *entry.received.start(),
            start => start.min(*entry.received.start()),
        };
        self.by_start.remove(&(Reverse(entry.listed_at), id));
        self.by_start.insert((Reverse(start), id));
        entry.listed_at = start;
    }

    /// Whether there was one.
    fn evict_oldest(&mut self) -> bool {
        let Some((_, id)) = self.by_arrival.pop_first() else {
            return false;
        };
        let entry = self
            .traces
            .remove(&id)
            .expect("every arrival is that of a trace");
        self.by_start.remove(&(Reverse(entry.listed_at), id));
        let spans: usize = entry.groups.values().map(IndexSet::len).sum();
        let mut bytes = entry.bytes;
        for (resource, scope) in entry.groups.keys() {
            bytes += self.resources.release(resource) + self.scopes.release(scope);
        }
        self.usage.traces -= 1;
        self.usage.spans -= spans;
        self.usage.bytes -= bytes;
        self.usage.evicted_traces += 1;
        self.usage.evicted_spans += spans as u64;
        true
    }
}

/// Keeps one copy of equal values while somebody uses them.
struct Interner<T> {
    users: HashMap<Arc<T>, usize>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Interner {
            users: HashMap::new(),
        }
    }
}

impl<T: Eq + Hash + HeapSize> Interner<T> {
    /// The one copy, and the bytes that it takes if it is new here.
    fn intern(&mut self, value: &Arc<T>) -> (Arc<T>, usize) {
        if let Some((kept, _)) = self.users.get_key_value(value) {
            let kept = Arc::clone(kept);
            *self.users.get_mut(value).expect("just found") += 1;
            return (kept, 0);
        }
        self.users.insert(Arc::clone(value), 1);
        (Arc::clone(value), value.bytes())
    }

    /// The bytes that this frees: 0 while somebody else uses the value.
    fn release(&mut self, value: &Arc<T>) -> usize {
        let users = self.users.get_mut(value).expect("released by its user");
        *users -= 1;
        if *users > 0 {
            return 0;
        }
        self.users.remove(value);
        value.bytes()
    }
}
