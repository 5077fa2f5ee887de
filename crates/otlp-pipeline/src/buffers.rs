//! Where spans are kept from their end until they are in a request, and the books about all of them.
//!
//! Of a pipeline of log records all of this holds for those: they begin and end at once.
//!
//! Each thread has a [`Slot`] of its own, whose lock only who holds the [`Ledger`] contends for, and only for a moment. The
//! ledger is for the exporter and for who reads the accounts; a thread that is new leaves its slot among the [`Arrivals`], so
//! that no thread that ends a span waits for the ledger. A thread that holds the lock of a slot takes no other lock than those
//! of `memory` and `scopes`; who needs ledger and slot locks the ledger first.

mod arrivals;
mod buffer;
mod ledger;
mod scopes;
#[cfg(test)]
mod tests;
mod threads;

use std::{
    hint,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::{logs::SdkLogRecord, trace::SpanData};
use try_lock::{Locked, TryLock};

#[cfg(test)]
pub(crate) use self::threads::slots_of_this_thread;
use self::{arrivals::Arrivals, buffer::Buffer, scopes::Scopes, threads::with_slot};
pub(crate) use self::{
    buffer::Take,
    ledger::{Ledger, Outgoing, Settled},
};
use crate::{
    Accounts,
    encode::{Encoded, LogBytes, ResourceBytes, ScopeBytes, SpanBytes, log_scope},
    memory::Memory,
};

/// All that is kept, and its books.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// Tells one pipeline of the process from another.
    id: u64,
    pub(crate) memory: Memory,
    scopes: Scopes,
    ledger: Mutex<Ledger>,
    arrivals: Arc<Arrivals>,
    shared: Arc<SharedSlot>,
}

/// What one thread adds to. Aligned so that no two threads write to one cache line, or to the pair that is fetched
/// with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot {
    /// Written by its thread alone.
    started: AtomicU64,
    /// Only two threads ever want it at once. A `Mutex` would look for those who wait whenever it is given back.
    buffer: TryLock<Buffer>,
}

/// For threads that are being destroyed, or for which there is no memory.
#[derive(Debug, Default)]
struct SharedSlot {
    started: AtomicU64,
    buffer: Mutex<Buffer>,
}

/// Memory that a thread takes even without spans.
pub(crate) const SLOT: usize = size_of::<Slot>();

/// Encoded spans, as elements of `ScopeSpans.spans`.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) spans: u64,
}

/// Spans of one resource and scope.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) resource: Arc<ResourceBytes>,
    pub(crate) scope: Arc<ScopeBytes>,
    pub(crate) chunk: Chunk,
}

impl Buffers {
    pub(crate) fn new(memory: Memory) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let shared = Arc::<SharedSlot>::default();
        let arrivals = Arc::<Arrivals>::default();
        let ledger = Ledger::new(Arc::clone(&shared), Arc::clone(&arrivals));
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            memory,
            scopes: Scopes::default(),
            ledger: Mutex::new(ledger),
            arrivals,
            shared,
        }
    }

    /// Counts a span that begins on this thread.
    #[inline]
    pub(crate) fn start(&self) {
        if with_slot(self, Slot::start).is_none() {
            self.shared.start();
        }
    }

    /// Keeps a span that ends on this thread, or counts why not.
    #[inline]
    pub(crate) fn end(&self, resource: &Arc<ResourceBytes>, span: &SpanData) {
        self.keep(resource, &span.instrumentation_scope, &SpanBytes::new(span));
    }

    /// Keeps a log record, or counts why not.
    pub(crate) fn log(
        &self,
        resource: &Arc<ResourceBytes>,
        record: &SdkLogRecord,
        scope: &InstrumentationScope,
    ) {
        self.start();
        self.keep(resource, &log_scope(record, scope), &LogBytes::new(record));
    }

    #[inline]
    fn keep(
        &self,
        resource: &Arc<ResourceBytes>,
        scope: &InstrumentationScope,
        item: &impl Encoded,
    ) {
        let end = |buffer: &mut Buffer| {
            buffer.end(&self.memory, &self.scopes, resource, scope, item);
        };
        if with_slot(self, |slot| end(&mut slot.buffer())).is_none() {
            end(&mut self.shared.buffer());
        }
    }

    pub(crate) fn accounts(&self) -> Accounts {
        self.ledger().accounts()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Whoever panics with the lock leaves numbers that are as good as any.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what threads have kept to the ledger, and forgets threads that have ended.
    pub(crate) fn collect(&self, what: Take) {
        self.memory.attend();
        self.ledger().collect(what, &self.memory);
        self.scopes.forget_unused();
    }

    /// As [`collect`](Self::collect), for the last time: what ends from now on is late.
    pub(crate) fn close(&self) {
        self.memory.attend();
        self.ledger().close(&self.memory);
    }
}

impl Slot {
    /// Counts a span that begins on the thread of this slot.
    #[inline]
    fn start(&self) {
        // Nobody else writes, so that there need be no addition that no other thread comes between.
        self.started.store(self.started.load(Relaxed) + 1, Relaxed);
    }

    #[inline]
    fn buffer(&self) -> Locked<'_, Buffer> {
        self.buffer.try_lock().unwrap_or_else(|| self.wait())
    }

    /// Until the other one has kept a span, or taken what there is, for which a microsecond is long.
    #[cold]
    fn wait(&self) -> Locked<'_, Buffer> {
        /// The other one may have to wait for a processor, with the lock in its hands.
        const PAUSE: Duration = Duration::from_micros(50);
        loop {
            for _ in 0..100 {
                if let Some(buffer) = self.buffer.try_lock() {
                    return buffer;
                }
                hint::spin_loop();
            }
            thread::sleep(PAUSE);
        }
    }
}

impl SharedSlot {
    fn start(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
