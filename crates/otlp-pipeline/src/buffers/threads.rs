//! Finds the slot of the current thread.

use std::{cell::RefCell, sync::Arc};

use super::{Buffers, SLOT, Slot};

thread_local! {
    /// The slots of this thread, one for each pipeline that it has had to do with. Its end is known by these being
    /// dropped.
    static SLOTS: RefCell<Vec<Mine>> = const { RefCell::new(Vec::new()) };
}

struct Mine {
    pipeline: u64,
    slot: Arc<Slot>,
}

/// Calls `f` with this thread's slot, if it has one.
#[inline]
pub(super) fn with_slot<T>(buffers: &Buffers, f: impl FnOnce(&Slot) -> T) -> Option<T> {
    let called = SLOTS.try_with(|slots| {
        let mut slots = slots.try_borrow_mut().ok()?;
        let found = slots.iter().position(|mine| mine.pipeline == buffers.id);
        let found = found.or_else(|| register(buffers, &mut slots))?;
        Some(f(&slots[found].slot))
    });
    // While a thread is being destroyed, a span may end in another of its thread-locals.
    called.ok().flatten()
}

#[cold]
fn register(buffers: &Buffers, slots: &mut Vec<Mine>) -> Option<usize> {
    // Threads come and go, and each slot stays until the exporter comes.
    if !buffers.memory.reserve(SLOT) {
        return None;
    }
    // Nobody else has those of pipelines that are gone.
    slots.retain(|mine| Arc::strong_count(&mine.slot) > 1);
    let slot = Arc::default();
    buffers.arrivals.add(Arc::clone(&slot));
    let pipeline = buffers.id;
    slots.push(Mine { pipeline, slot });
    Some(slots.len() - 1)
}

#[cfg(test)]
pub(crate) fn slots_of_this_thread() -> usize {
    SLOTS.with_borrow(Vec::len)
}
