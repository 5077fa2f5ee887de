//! Ends of calls that wait for the other end, the oldest first.

use std::{collections::VecDeque, hash::BuildHasher, time::Instant};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::edges::Half;
use crate::span::{SpanId, TraceId};

/// The span of the client.
pub(super) type Key = (TraceId, SpanId);

/// Bytes that an end takes beside its text, in the queue and in the table.
const SLOT_BYTES: usize = 256;
/// Empty slots that are no reason to move the others.
const SPARE_SLOTS: usize = 1024;

/// In the queue they stand as they came, so that the oldest is at hand; the table finds them by their span.
pub(super) struct Halves {
    hasher: DefaultHashBuilder,
    /// Those that have met their other end leave an empty slot behind.
    slots: VecDeque<Option<Slot>>,
    /// The number of the first slot.
    first: u64,
    /// The numbers of the slots that are not empty.
    table: HashTable<u64>,
    bytes: usize,
}

struct Slot {
    key: Key,
    hash: u64,
    expires: Instant,
    half: Half,
}

impl Halves {
    pub(super) fn new(hasher: DefaultHashBuilder) -> Halves {
        Halves {
            hasher,
            slots: VecDeque::new(),
            first: 0,
            table: HashTable::new(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Shows the half that waits with this key, if there is one, to `meet`, which tells whether it waits on. If it does
    /// not, it is returned.
    pub(super) fn meet(&mut self, key: &Key, meet: impl FnOnce(&mut Half) -> bool) -> Met {
        let hash = self.hasher.hash_one(key);
        let (slots, first) = (&mut self.slots, self.first);
        let is_it = |number: &u64| {
            let slot = slots.get((number - first) as usize);
            slot.is_some_and(|slot| slot.as_ref().is_some_and(|slot| slot.key == *key))
        };
        let Ok(found) = self.table.find_entry(hash, is_it) else {
            return Met::Nobody(hash);
        };
        let slot = &mut slots[(found.get() - first) as usize];
        let Some(waiting) = slot else {
            return Met::Nobody(hash);
        };
        let before = waiting.half.text_bytes();
        if meet(&mut waiting.half) {
            self.bytes = self.bytes - before + waiting.half.text_bytes();
            return Met::Waits;
        }
        self.bytes -= SLOT_BYTES + before;
        found.remove();
        match slot.take() {
            Some(slot) => Met::Done(slot.half),
            None => Met::Waits,
        }
    }

    /// To be called when nobody was met under this key, which has this hash.
    pub(super) fn wait(&mut self, key: Key, hash: u64, half: Half, expires: Instant) {
        // Most calls find their other end, and what they leave in the queue is not to outgrow them.
        if self.slots.len() > 2 * self.table.len() + SPARE_SLOTS {
            self.compact();
        }
        self.bytes += SLOT_BYTES + half.text_bytes();
        let number = self.first + self.slots.len() as u64;
        let slot = Slot {
            key,
            hash,
            expires,
            half,
        };
        self.slots.push_back(Some(slot));
        self.enlist(hash, number);
    }

    /// Takes the oldest if its time is over by then.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Half> {
        loop {
            let has_time = |slot: &Slot| slot.expires > now;
            if self.slots.front()?.as_ref().is_some_and(has_time) {
                return None;
            }
            if let Some(half) = self.pop() {
                return Some(half);
            }
        }
    }

    pub(super) fn oldest(&mut self) -> Option<Half> {
        while !self.slots.is_empty() {
            if let Some(half) = self.pop() {
                return Some(half);
            }
        }
        None
    }

    /// Removes the first slot.
    fn pop(&mut self) -> Option<Half> {
        let slot = self.slots.pop_front()?;
        let number = self.first;
        self.first += 1;
        let slot = slot?;
        if let Ok(found) = self.table.find_entry(slot.hash, |other| *other == number) {
            found.remove();
        }
        self.bytes -= SLOT_BYTES + slot.half.text_bytes();
        Some(slot.half)
    }

    fn compact(&mut self) {
        self.slots.retain(Option::is_some);
        self.table.clear();
        for index in 0..self.slots.len() {
            if let Some(slot) = &self.slots[index] {
                self.enlist(slot.hash, self.first + index as u64);
            }
        }
    }

    fn enlist(&mut self, hash: u64, number: u64) {
        let (slots, first) = (&self.slots, self.first);
        let hash_of = |number: &u64| {
            let slot = slots.get((number - first) as usize);
            slot.and_then(Option::as_ref).map_or(0, |slot| slot.hash)
        };
        self.table.insert_unique(hash, number, hash_of);
    }
}

/// What became of looking for the other end.
pub(super) enum Met {
    /// There is none yet; the hash of the key.
    Nobody(u64),
    /// The one that waits still does.
    Waits,
    /// It does not any more.
    Done(Half),
}
