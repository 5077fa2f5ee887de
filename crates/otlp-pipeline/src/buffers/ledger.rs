//! What the exporter has taken over from threads, and what became of it.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;

use super::{
    Chunk, Part, SLOT, SharedSlot, Slot,
    arrivals::Arrivals,
    buffer::{Buffer, Counts, Take},
};
use crate::{
    Accounts, Dropped,
    encode::{Request, ResourceBytes, ScopeBytes, around_one, first_span_len},
    memory::Memory,
};

/// The books of all spans, and those that wait to be sent.
///
/// A span is pending in exactly one of three places: a slot, the backlog, the request on its way.
#[derive(Debug)]
pub(crate) struct Ledger {
    shared: Arc<SharedSlot>,
    slots: Vec<Arc<Slot>>,
    arrivals: Arc<Arrivals>,
    /// Counts of threads that have ended.
    of_dead: Counts,
    started_by_dead: u64,
    backlog: VecDeque<Waiting>,
    /// Number of the next part that is taken over.
    next: u64,
    /// Parts of lower numbers are to be sent before those of higher ones.
    sealed: u64,
    in_flight: InFlight,
    settled: Settled,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    part: Part,
    /// How many bytes of the chunk were sent.
    sent: usize,
}

/// What a request is made of.
#[derive(Debug)]
pub(crate) struct Outgoing {
    parts: Vec<Part>,
    spans: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct InFlight {
    spans: u64,
    /// Number of its oldest part.
    oldest: u64,
}

/// What became of spans that had been in a request, or in the backlog at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settled {
    pub(crate) exported: u64,
    pub(crate) rejected: u64,
    pub(crate) refused: u64,
    pub(crate) gave_up: u64,
    pub(crate) panicked: u64,
    pub(crate) unflushed: u64,
}

/// In how many of the last parts there may be room for a small one.
const LOOK_BACK: usize = 8;

impl Ledger {
    pub(super) fn new(shared: Arc<SharedSlot>, arrivals: Arc<Arrivals>) -> Self {
        Self {
            shared,
            slots: Vec::new(),
            arrivals,
            of_dead: Counts::default(),
            started_by_dead: 0,
            backlog: VecDeque::new(),
            next: 0,
            sealed: 0,
            in_flight: InFlight::default(),
            settled: Settled::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn slots(&mut self) -> usize {
        self.arrivals.join(&mut self.slots);
        self.slots.len()
    }

    pub(super) fn accounts(&mut self) -> Accounts {
        self.arrivals.join(&mut self.slots);
        let mut counts = self.of_dead;
        let mut pending = self.backlog_spans() + self.in_flight.spans;
        let mut add = |buffer: &Buffer| {
            counts.add(&buffer.counts);
            pending += buffer.pending;
        };
        add(&self.shared.buffer());
        for slot in &self.slots {
            add(&slot.buffer());
        }
        // A span that ended in a slot had started in another, maybe one that is new since: all ends are read before any
        // start.
        self.arrivals.join(&mut self.slots);
        let started = self.slots.iter().map(|slot| slot.started.load(Relaxed));
        let by_threads = self.started_by_dead + started.sum::<u64>();
        let started = by_threads + self.shared.started.load(Relaxed);
        let settled = &self.settled;
        Accounts {
            started,
            ended: counts.ended,
            exported: settled.exported,
            dropped: Dropped {
                full: counts.full,
                oversized: counts.oversized,
                rejected: settled.rejected,
                refused: settled.refused,
                gave_up: settled.gave_up,
                late: counts.late,
                unflushed: settled.unflushed,
                panicked: settled.panicked,
            },
            pending,
        }
    }

    pub(super) fn collect(&mut self, what: Take, memory: &Memory) {
        self.arrivals.join(&mut self.slots);
        // Taken off while slots are looked at, since what they hand over goes to the rest of the ledger.
        let mut slots = std::mem::take(&mut self.slots);
        let mut left = Vec::new();
        self.shared
            .buffer()
            .take(what, memory, |part| left.push(part));
        // Threads that have no slot would wait meanwhile.
        for part in left {
            self.wait(part, memory);
        }
        slots.retain_mut(|slot| {
            let Some(slot) = Arc::get_mut(slot) else {
                slot.buffer()
                    .take(what, memory, |part| self.wait(part, memory));
                return true;
            };
            // The thread has ended, and nobody can add to what it left.
            let mut buffer = slot.buffer();
            buffer.take(Take::Everything, memory, |part| self.wait(part, memory));
            buffer.forget_groups(memory);
            self.of_dead.add(&buffer.counts);
            self.started_by_dead += slot.started.load(Relaxed);
            memory.release(SLOT);
            false
        });
        self.slots = slots;
    }

    pub(super) fn close(&mut self, memory: &Memory) {
        self.arrivals.close();
        self.collect(Take::Everything, memory);
        let slots = std::mem::take(&mut self.slots);
        let shared = Arc::clone(&self.shared);
        // Closed and emptied at once, so that nothing is added in between.
        let mut close = |buffer: &mut Buffer| {
            buffer.close();
            buffer.take(Take::Everything, memory, |part| self.wait(part, memory));
            buffer.forget_groups(memory);
        };
        close(&mut shared.buffer());
        for slot in &slots {
            close(&mut slot.buffer());
        }
        self.slots = slots;
    }

    /// Nothing that is taken over from now on is sent before what is here; see [`Ledger::sent_before`].
    pub(crate) fn seal(&mut self) -> u64 {
        self.sealed = self.next;
        self.sealed
    }

    /// How many spans that were here when it was sealed are still pending.
    pub(crate) fn pending_before(&self, seal: u64) -> u64 {
        let in_flight = match self.in_flight {
            InFlight { spans, oldest } if oldest < seal => spans,
            InFlight { .. } => 0,
        };
        let before = self
            .backlog
            .iter()
            .take_while(|waiting| waiting.number < seal);
        in_flight + before.map(|waiting| waiting.part.chunk.spans).sum::<u64>()
    }

    /// Takes the oldest spans that fit in a request, which are then in flight. None if there are none.
    pub(crate) fn next_request(&mut self, memory: &Memory) -> Option<Outgoing> {
        let mut room = memory.limits.request;
        let mut outgoing = Outgoing {
            parts: Vec::new(),
            spans: 0,
        };
        let mut groups: Vec<(*const ResourceBytes, *const ScopeBytes)> = Vec::new();
        let oldest = self.backlog.front()?.number;
        while let Some(front) = self.backlog.front_mut() {
            let group = (
                Arc::as_ptr(&front.part.resource),
                Arc::as_ptr(&front.part.scope),
            );
            if !groups.contains(&group) {
                groups.push(group);
                room = room.saturating_sub(around_one(&front.part.resource, &front.part.scope));
            }
            let all = outgoing.spans + front.part.chunk.spans <= memory.limits.batch
                && front.part.chunk.bytes.len() - front.sent <= room;
            let part = if all {
                self.backlog.pop_front().map(Waiting::rest)
            } else {
                // At least one, lest none is ever sent.
                let least = u64::from(outgoing.parts.is_empty());
                front.some(
                    room,
                    (memory.limits.batch - outgoing.spans).max(least),
                    least,
                )
            };
            let Some(part) = part else { break };
            if !all {
                memory.reserve_anyhow(part.chunk.bytes.capacity());
                if front_is_empty(&self.backlog)
                    && let Some(front) = self.backlog.pop_front()
                {
                    memory.recycle(front.part.chunk.bytes);
                }
            }
            room = room.saturating_sub(part.chunk.bytes.len());
            outgoing.spans += part.chunk.spans;
            outgoing.parts.push(part);
            if !all {
                break;
            }
        }
        self.in_flight = InFlight {
            spans: outgoing.spans,
            oldest,
        };
        Some(outgoing)
    }

    /// What became of the request in flight, by a function of how many spans it has.
    pub(crate) fn settle(&mut self, memory: &Memory, outcome: impl FnOnce(u64) -> Settled) {
        let InFlight { spans, .. } = std::mem::take(&mut self.in_flight);
        self.settled.add(&outcome(spans));
        memory.release_spans(spans);
    }

    /// Whatever is pending will not be sent.
    pub(crate) fn abandon(&mut self, memory: &Memory) {
        self.settle(memory, |unflushed| Settled {
            unflushed,
            ..Settled::default()
        });
        let spans = self.backlog_spans();
        self.settled.unflushed += spans;
        memory.release_spans(spans);
        for waiting in self.backlog.drain(..) {
            memory.recycle(waiting.part.chunk.bytes);
        }
    }

    pub(crate) fn backlog_spans(&self) -> u64 {
        let spans = |waiting: &Waiting| waiting.part.chunk.spans;
        self.backlog.iter().map(spans).sum()
    }

    fn wait(&mut self, mut part: Part, memory: &Memory) {
        let bytes = &part.chunk.bytes;
        // While a request is on its way, the little that a thread left is put together with that of others, lest they
        // fill the memory with holes. Otherwise it is about to be sent.
        if self.in_flight.spans > 0 && bytes.len() <= memory.limits.chunk / 4 {
            let unsealed = |waiting: &&mut Waiting| waiting.number >= self.sealed;
            let recent = self.backlog.iter_mut().rev().take(LOOK_BACK);
            let room = |waiting: &&mut Waiting| waiting.has_room_for(&part);
            if let Some(waiting) = recent.take_while(unsealed).find(room) {
                waiting.part.chunk.bytes.extend_from_slice(bytes);
                waiting.part.chunk.spans += part.chunk.spans;
                memory.recycle(part.chunk.bytes);
                return;
            }
            if let Some(mut larger) = memory.chunk() {
                larger.clear();
                larger.extend_from_slice(bytes);
                memory.recycle(std::mem::replace(&mut part.chunk.bytes, larger));
            }
        }
        let number = self.next;
        self.next += 1;
        self.backlog.push_back(Waiting {
            number,
            part,
            sent: 0,
        });
    }
}

fn front_is_empty(backlog: &VecDeque<Waiting>) -> bool {
    backlog
        .front()
        .is_some_and(|front| front.part.chunk.spans == 0)
}

impl Outgoing {
    /// The request. What it was made of goes back to `memory`.
    pub(crate) fn encode(self, memory: &Memory) -> Bytes {
        let mut request = Request::new();
        for part in &self.parts {
            request.add(&part.resource, &part.scope, &part.chunk.bytes[..]);
        }
        let encoded = request.encode();
        for part in self.parts {
            memory.recycle(part.chunk.bytes);
        }
        encoded
    }
}

impl Waiting {
    /// What was not sent.
    fn rest(mut self) -> Part {
        self.part.chunk.bytes.drain(..self.sent);
        self.part
    }

    /// As many spans as fit, at most `most` of them, and at least `least`.
    fn some(&mut self, mut room: usize, most: u64, least: u64) -> Option<Part> {
        let rest = &self.part.chunk.bytes[self.sent..];
        let (mut len, mut spans) = (0, 0);
        while let Some(next) = first_span_len(&rest[len..])
            && spans < most
            && (next <= room || spans < least)
        {
            len += next;
            spans += 1;
            room = room.saturating_sub(next);
        }
        let chunk = Chunk {
            bytes: rest[..len].to_vec(),
            spans,
        };
        self.sent += len;
        self.part.chunk.spans -= spans;
        (spans > 0).then(|| Part {
            resource: Arc::clone(&self.part.resource),
            scope: Arc::clone(&self.part.scope),
            chunk,
        })
    }

    fn has_room_for(&self, part: &Part) -> bool {
        let bytes = &self.part.chunk.bytes;
        Arc::ptr_eq(&self.part.resource, &part.resource)
            && Arc::ptr_eq(&self.part.scope, &part.scope)
            && bytes.capacity() - bytes.len() >= part.chunk.bytes.len()
    }
}

impl Settled {
    fn add(&mut self, more: &Self) {
        self.exported += more.exported;
        self.rejected += more.rejected;
        self.refused += more.refused;
        self.gave_up += more.gave_up;
        self.panicked += more.panicked;
        self.unflushed += more.unflushed;
    }
}

impl Counts {
    fn add(&mut self, more: &Self) {
        self.ended += more.ended;
        self.full += more.full;
        self.oversized += more.oversized;
        self.late += more.late;
    }
}
