//! How much memory spans take: an estimate that errs on the high side.

use crate::span::{Event, KeyValue, Link, Resource, Scope, Span, Value};

/// A block of memory as glibc hands it out: with a header, in steps of 16 bytes, at least 32.
fn block(bytes: usize) -> usize {
    if bytes == 0 {
        0
    } else {
        (bytes + 8).next_multiple_of(16).max(32)
    }
}

/// A reference count and the entry of a hash table, with its share of free slots.
const SHARED: usize = 64;

pub(crate) trait HeapSize: Sized {
    /// Bytes that the value owns beyond its own size.
    fn heap(&self) -> usize;

    /// Bytes of the value as a shared entry of a table.
    fn bytes(&self) -> usize {
        block(size_of::<Self>()) + self.heap() + SHARED
    }
}

fn text(text: &str) -> usize {
    block(text.len())
}

fn all<T: HeapSize>(values: &[T]) -> usize {
    block(size_of_val(values)) + values.iter().map(T::heap).sum::<usize>()
}

impl HeapSize for Resource<'_> {
    fn heap(&self) -> usize {
        all(&self.attributes) + text(&self.schema_url)
    }
}

impl HeapSize for Scope<'_> {
    fn heap(&self) -> usize {
        text(&self.name) + text(&self.version) + all(&self.attributes) + text(&self.schema_url)
    }
}

impl HeapSize for Span<'_> {
    fn heap(&self) -> usize {
        text(&self.trace_state)
            + text(&self.name)
            + text(&self.status.message)
            + all(&self.attributes)
            + all(&self.events)
            + all(&self.links)
    }
}

impl HeapSize for Event<'_> {
    fn heap(&self) -> usize {
        text(&self.name) + all(&self.attributes)
    }
}

impl HeapSize for Link<'_> {
    fn heap(&self) -> usize {
        text(&self.trace_state) + all(&self.attributes)
    }
}

impl HeapSize for KeyValue<'_> {
    fn heap(&self) -> usize {
        text(&self.key) + self.value.heap()
    }
}

/// Recursion is as deep as `ingest` lets values nest.
impl HeapSize for Value<'_> {
    fn heap(&self) -> usize {
        match self {
            Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
            Value::String(value) => text(value),
            Value::Bytes(bytes) => block(bytes.len()),
            Value::Array(values) => all(values),
            Value::Map(pairs) => all(pairs),
        }
    }
}
