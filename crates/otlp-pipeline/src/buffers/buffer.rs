//! What one thread keeps until the exporter takes it.

use std::sync::Arc;

use opentelemetry::{Array, InstrumentationScope, KeyValue, Value};

use super::{Chunk, Part, Scopes};
use crate::{
    encode::{Encoded, ResourceBytes, ScopeBytes, around_one},
    memory::Memory,
};

/// Encoded spans by resource and scope, and what became of others.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) counts: Counts,
    /// Spans in chunks.
    pub(super) pending: u64,
    /// After the shutdown nothing is added.
    closed: bool,
    /// Spans that there is room for within [`Config::max_queue_size`](crate::Config::max_queue_size).
    reserved: u64,
    groups: Vec<Group>,
    /// Where in `groups` the last span went, and likely the next one goes.
    last: usize,
}

/// Spans that ended here, and those of them that were not kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) ended: u64,
    pub(super) full: u64,
    pub(super) oversized: u64,
    pub(super) late: u64,
}

#[derive(Debug)]
struct Group {
    resource: Arc<ResourceBytes>,
    scope: InstrumentationScope,
    scope_bytes: Arc<ScopeBytes>,
    /// Most bytes that a request has beside the spans of this group.
    around: usize,
    current: Chunk,
    full: Vec<Chunk>,
    /// Capacity for the next chunk: what was enough the last time.
    expected: usize,
    /// No span came since the exporter last took everything.
    idle: bool,
}

/// What the exporter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// What will not change any more: full chunks, and whatever dead threads left.
    Finished,
    /// All there is.
    Everything,
}

/// A thread with more groups than this forgets those that are not used.
const GROUPS_KEPT: usize = 8;

impl Buffer {
    /// Keeps a span that ended, or counts why not.
    #[inline]
    pub(super) fn end<E: Encoded>(
        &mut self,
        memory: &Memory,
        scopes: &Scopes,
        resource: &Arc<ResourceBytes>,
        scope: &InstrumentationScope,
        measure: impl FnOnce() -> E,
    ) {
        self.counts.ended += 1;
        if self.closed {
            self.counts.late += 1;
            return;
        }
        let bytes = measure();
        let Some(group) = self.group(memory, scopes, resource, scope) else {
            self.counts.full += 1;
            return;
        };
        if bytes.len() + self.groups[group].around > memory.limits.request {
            self.counts.oversized += 1;
            return;
        }
        if self.reserved == 0 {
            self.reserved = memory.reserve_spans();
        }
        let group = &mut self.groups[group];
        if self.reserved == 0 || !group.make_room(memory, bytes.len()) {
            self.counts.full += 1;
            return;
        }
        bytes.append_to(&mut group.current.bytes);
        group.current.spans += 1;
        self.reserved -= 1;
        self.pending += 1;
        if self.pending == memory.limits.batch {
            memory.ring();
        }
    }

    /// From now on, whatever ends is late.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Hands over what is kept, and the reservations for it.
    pub(super) fn take(&mut self, what: Take, memory: &Memory, mut taken: impl FnMut(Part)) {
        for group in &mut self.groups {
            let current = match what {
                Take::Finished => None,
                Take::Everything => group.take_current(),
            };
            for chunk in group.full.drain(..).chain(current) {
                self.pending -= chunk.spans;
                taken(Part {
                    resource: Arc::clone(&group.resource),
                    scope: Arc::clone(&group.scope_bytes),
                    chunk,
                });
            }
        }
        if what == Take::Everything {
            if memory.limits.spans.is_some() {
                memory.release_spans(std::mem::take(&mut self.reserved));
            }
            self.forget_idle_groups(memory);
        }
    }

    /// Gives back what is reserved for an empty buffer.
    pub(super) fn forget_groups(&mut self, memory: &Memory) {
        for group in self.groups.drain(..) {
            memory.release(group.cost() + group.current.bytes.capacity());
        }
    }

    #[inline]
    fn group(
        &mut self,
        memory: &Memory,
        scopes: &Scopes,
        resource: &Arc<ResourceBytes>,
        scope: &InstrumentationScope,
    ) -> Option<usize> {
        let is_it =
            |group: &Group| Arc::ptr_eq(&group.resource, resource) && same(&group.scope, scope);
        if !self.groups.get(self.last).is_some_and(is_it) {
            self.last = match self.groups.iter().position(is_it) {
                Some(found) => found,
                None => self.add_group(memory, scopes, resource, scope)?,
            };
        }
        Some(self.last)
    }

    #[cold]
    fn add_group(
        &mut self,
        memory: &Memory,
        scopes: &Scopes,
        resource: &Arc<ResourceBytes>,
        scope: &InstrumentationScope,
    ) -> Option<usize> {
        let scope_bytes = ScopeBytes::new(scope);
        // Without room nothing is shared, and the lock of the scopes is not asked for.
        if !memory.reserve(Group::cost_of(&scope_bytes)) {
            return None;
        }
        let scope_bytes = scopes.shared(scope_bytes);
        self.groups.push(Group {
            resource: Arc::clone(resource),
            scope: scope.clone(),
            around: around_one(resource, &scope_bytes),
            scope_bytes,
            current: Chunk::default(),
            full: Vec::new(),
            expected: 0,
            idle: false,
        });
        Some(self.groups.len() - 1)
    }

    fn forget_idle_groups(&mut self, memory: &Memory) {
        if self.groups.len() > GROUPS_KEPT {
            self.groups.retain(|group| {
                if group.idle {
                    memory.release(group.cost());
                }
                !group.idle
            });
            self.groups.shrink_to(GROUPS_KEPT);
        }
        for group in &mut self.groups {
            group.idle = true;
        }
    }
}

impl Group {
    /// Whether the current chunk has room for `need` bytes more, by another chunk if there must be one.
    #[inline]
    fn make_room(&mut self, memory: &Memory, need: usize) -> bool {
        let chunk = &self.current.bytes;
        need <= chunk.capacity() - chunk.len() || self.make_more_room(memory, need)
    }

    #[cold]
    fn make_more_room(&mut self, memory: &Memory, need: usize) -> bool {
        self.idle = false;
        let largest = memory.limits.chunk;
        let chunk = &mut self.current.bytes;
        let (len, capacity) = (chunk.len(), chunk.capacity());
        if len > 0 && (capacity >= largest || len + need > largest) {
            let full = std::mem::take(&mut self.current);
            if self.start_chunk(memory, need, largest) {
                self.full.push(full);
                return true;
            }
            self.current = full;
            return false;
        }
        if len == 0 && capacity == 0 {
            return self.start_chunk(memory, need, self.expected);
        }
        // Twice as much, or if that is too much just enough.
        let wished = (2 * capacity).clamp(len + need, largest.max(len + need));
        for capacity_then in [wished, len + need] {
            if memory.reserve(capacity_then - capacity) {
                chunk.reserve_exact(capacity_then - len);
                return true;
            }
        }
        false
    }

    /// Replaces the current chunk, which is nobody's any more.
    fn start_chunk(&mut self, memory: &Memory, need: usize, wished: usize) -> bool {
        let largest = memory.limits.chunk;
        if need <= largest
            && wished > largest / 2
            && let Some(chunk) = memory.chunk()
        {
            self.current.bytes = chunk;
            return true;
        }
        for capacity in [need.max(wished.clamp(SMALLEST, largest)), need] {
            if memory.reserve(capacity) {
                self.current.bytes = Vec::with_capacity(capacity);
                return true;
            }
        }
        false
    }

    fn take_current(&mut self) -> Option<Chunk> {
        if self.current.spans == 0 {
            return None;
        }
        self.idle = false;
        let fullest = if self.full.is_empty() {
            self.current.bytes.len()
        } else {
            usize::MAX
        };
        self.expected = fullest.checked_next_power_of_two().unwrap_or(usize::MAX);
        Some(std::mem::take(&mut self.current))
    }

    /// Bytes that it takes beside its chunks.
    fn cost(&self) -> usize {
        Self::cost_of(&self.scope_bytes)
    }

    fn cost_of(scope: &ScopeBytes) -> usize {
        size_of::<Self>() + 2 * scope.len()
    }
}

/// First capacity of a chunk.
const SMALLEST: usize = 512;

/// As `==` for attributes in the same order, but without lists of them and with numbers that are not a number.
#[inline]
fn same(a: &InstrumentationScope, b: &InstrumentationScope) -> bool {
    a.name() == b.name() && a.version() == b.version() && a.schema_url() == b.schema_url() && {
        let mut others = b.attributes();
        let all = |a| others.next().is_some_and(|b| same_attribute(a, b));
        a.attributes().all(all) && others.next().is_none()
    }
}

fn same_attribute(a: &KeyValue, b: &KeyValue) -> bool {
    let bits = |a: &f64, b: &f64| a.to_bits() == b.to_bits();
    a.key == b.key
        && match (&a.value, &b.value) {
            (Value::F64(a), Value::F64(b)) => bits(a, b),
            (Value::Array(Array::F64(a)), Value::Array(Array::F64(b))) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| bits(a, b))
            }
            (a, b) => a == b,
        }
}
