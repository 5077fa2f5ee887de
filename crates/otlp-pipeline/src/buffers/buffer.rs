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
    /// All of its capacity is initialized, so that spans are written into it without a look at their length before.
    current: Chunk,
    /// How much of the current chunk is spans.
    filled: usize,
    full: Vec<Chunk>,
    /// Capacity for the next chunk: what was enough the last time.
    expected: usize,
    /// No span came since the exporter last took everything.
    idle: bool,
}

/// Why a span is not kept.
enum Lost {
    Oversized,
    Full,
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
    pub(super) fn end(
        &mut self,
        memory: &Memory,
        scopes: &Scopes,
        resource: &Arc<ResourceBytes>,
        scope: &InstrumentationScope,
        item: &impl Encoded,
    ) {
        self.counts.ended += 1;
        if self.closed {
            self.counts.late += 1;
            return;
        }
        let Some(group) = self.group(memory, scopes, resource, scope) else {
            self.counts.full += 1;
            return;
        };
        if self.reserved == 0 {
            self.reserved = memory.reserve_spans();
        }
        let group = &mut self.groups[group];
        if self.reserved == 0 || !group.keep_quickly(memory, item) {
            match group.keep(memory, item, self.reserved > 0) {
                Ok(()) => {}
                Err(Lost::Oversized) => {
                    self.counts.oversized += 1;
                    return;
                }
                Err(Lost::Full) => {
                    self.counts.full += 1;
                    return;
                }
            }
        }
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
            filled: 0,
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
    /// Writes the span where there is room for it already. False if it may be that there is none.
    #[inline]
    fn keep_quickly(&mut self, memory: &Memory, item: &impl Encoded) -> bool {
        let room = &mut self.current.bytes[self.filled..];
        match item.write(room) {
            Some(len) if len + self.around <= memory.limits.request => {
                self.filled += len;
                self.current.spans += 1;
                true
            }
            _ => false,
        }
    }

    /// Makes room for the span, if there may be more, and writes it.
    #[cold]
    fn keep(&mut self, memory: &Memory, item: &impl Encoded, may_grow: bool) -> Result<(), Lost> {
        let len = item.len();
        if len + self.around > memory.limits.request {
            return Err(Lost::Oversized);
        }
        if !may_grow || !self.make_room(memory, len) {
            return Err(Lost::Full);
        }
        let written = item.write_within(&mut self.current.bytes[self.filled..]);
        debug_assert_eq!(written, Some(len), "the passes disagree");
        self.filled += len;
        self.current.spans += 1;
        Ok(())
    }

    /// Whether the current chunk has room for `need` bytes more, by another chunk if there must be one.
    fn make_room(&mut self, memory: &Memory, need: usize) -> bool {
        let (len, capacity) = (self.filled, self.current.bytes.len());
        if need <= capacity - len {
            return true;
        }
        self.idle = false;
        let largest = memory.limits.chunk;
        if len > 0 && (capacity >= largest || len + need > largest) {
            let full = self.finished();
            if self.start_chunk(memory, need, largest) {
                self.full.push(full);
                return true;
            }
            self.filled = full.bytes.len();
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
                let chunk = &mut self.current.bytes;
                chunk.reserve_exact(capacity_then - capacity);
                chunk.resize(capacity_then, 0);
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
            && let Some(mut chunk) = memory.chunk()
        {
            // What it held before is as good as zeros.
            chunk.resize(chunk.capacity(), 0);
            self.current.bytes = chunk;
            return true;
        }
        for capacity in [need.max(wished.clamp(SMALLEST, largest)), need] {
            if memory.reserve(capacity) {
                self.current.bytes = vec![0; capacity];
                return true;
            }
        }
        false
    }

    /// The current chunk, as long as its spans.
    fn finished(&mut self) -> Chunk {
        let mut chunk = std::mem::take(&mut self.current);
        chunk.bytes.truncate(std::mem::take(&mut self.filled));
        chunk
    }

    fn take_current(&mut self) -> Option<Chunk> {
        if self.current.spans == 0 {
            return None;
        }
        self.idle = false;
        let fullest = if self.full.is_empty() {
            self.filled
        } else {
            usize::MAX
        };
        self.expected = fullest.checked_next_power_of_two().unwrap_or(usize::MAX);
        Some(self.finished())
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
    let same = |a: Option<&str>, b: Option<&str>| match (a, b) {
        (Some(a), Some(b)) => same_text(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    let version = || same(a.version(), b.version());
    let schema_url = || same(a.schema_url(), b.schema_url());
    same_text(a.name(), b.name()) && version() && schema_url() && {
        let mut others = b.attributes();
        let all = |a| others.next().is_some_and(|b| same_attribute(a, b));
        a.attributes().all(all) && others.next().is_none()
    }
}

/// Mostly it is one text, not two that are alike.
#[inline]
fn same_text(a: &str, b: &str) -> bool {
    a.len() == b.len() && (a.as_ptr() == b.as_ptr() || a == b)
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
