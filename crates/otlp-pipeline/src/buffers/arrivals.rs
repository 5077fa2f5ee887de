//! Slots of threads that are new, until the ledger looks at them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Slot;

/// Locked only for as long as it takes to add a slot, or to take them all over.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    slots: Vec<Arc<Slot>>,
    closed: bool,
}

impl Arrivals {
    /// Adds the slot of a thread that is new, in which nothing is kept after the shutdown.
    pub(super) fn add(&self, slot: Arc<Slot>) {
        let mut list = self.list();
        if list.closed {
            slot.buffer().close();
        }
        list.slots.push(slot);
    }

    /// Moves the slots to those that are known.
    pub(super) fn join(&self, known: &mut Vec<Arc<Slot>>) {
        known.append(&mut self.list().slots);
    }

    /// From now on, slots are closed when they come.
    pub(super) fn close(&self) {
        self.list().closed = true;
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
