//! How much may be kept: a count of bytes and of spans that all threads share, and touch only now and then.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::Notify;

use crate::{Config, config_error::Mistakes};

/// What is in use of [`Config::max_memory`] and [`Config::max_queue_size`].
///
/// Bytes are those that are allocated, not those that are filled, so that the process grows by no more.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) limits: Limits,
    bytes: AtomicUsize,
    spans: AtomicU64,
    /// Chunks of [`Limits::chunk`] that were emptied. Their bytes are in use.
    free: Mutex<Vec<Vec<u8>>>,
    /// There may be some, so that threads without room do not all ask for the lock.
    has_free: AtomicBool,
    bell: Bell,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most bytes of all chunks, but for the piece of one that [`Memory::reserve_anyhow`] counts.
    pub(crate) bytes: usize,
    /// Most bytes of a request; there is always room for one beside the chunks and that piece.
    pub(crate) request: usize,
    /// Capacity that chunks grow to, unless a single span needs more.
    pub(crate) chunk: usize,
    /// Most spans that are kept.
    pub(crate) spans: Option<u64>,
    /// Most spans of a request.
    pub(crate) batch: u64,
}

/// Tells the exporter that it should come before its time.
#[derive(Debug)]
struct Bell {
    notify: Notify,
    /// Since the exporter has last come.
    rung: AtomicBool,
    /// Rings when so many bytes are in use.
    at: AtomicUsize,
}

/// A chunk is not smaller unless the limits are.
const SMALLEST_CHUNK: usize = 1 << 10;
const LARGEST_CHUNK: usize = 64 << 10;

/// With less, hardly a span would be kept.
const LEAST_MEMORY: usize = 16 << 10;
const LEAST_REQUEST: usize = 1 << 10;
/// What OTLP advises servers to take, so that a larger one would be refused.
const LARGEST_REQUEST: usize = 64 << 20;

/// Tells of limits under which nothing could be sent.
pub(crate) fn check(config: &Config, mistakes: &mut Mistakes) {
    for (setting, bytes, least) in [
        ("max_request_bytes", config.max_request_bytes, LEAST_REQUEST),
        ("max_memory", config.max_memory, LEAST_MEMORY),
    ] {
        if bytes < least {
            mistakes.add(setting, format!("`{bytes}` is less than {least} bytes"));
        }
    }
    for (setting, spans) in [
        ("max_batch_size", config.max_batch_size),
        ("max_queue_size", config.max_queue_size),
    ] {
        if spans == Some(0) {
            let one = config.signal.one();
            mistakes.add(setting, format!("`0` leaves no room for a {one}"));
        }
    }
}

impl Limits {
    fn new(config: &Config) -> Self {
        // A request is copied together from chunks that are there until then.
        let request = config.max_request_bytes.min(config.max_memory / 4);
        let request = request.min(LARGEST_REQUEST);
        let rest = config.max_memory - request;
        let chunk = (rest / 64).clamp(SMALLEST_CHUNK, LARGEST_CHUNK);
        // A request that ends within a chunk copies a piece of it while the whole is still there.
        let bytes = rest - chunk;
        let count = |spans: usize| u64::try_from(spans).unwrap_or(u64::MAX);
        Self {
            bytes,
            request,
            chunk,
            spans: config.max_queue_size.map(count),
            batch: config.max_batch_size.map_or(u64::MAX, count).max(1),
        }
    }
}

impl Memory {
    pub(crate) fn new(config: &Config) -> Self {
        let limits = Limits::new(config);
        Self {
            limits,
            bytes: AtomicUsize::new(0),
            spans: AtomicU64::new(0),
            free: Mutex::default(),
            has_free: AtomicBool::new(false),
            bell: Bell {
                notify: Notify::new(),
                rung: AtomicBool::new(false),
                at: AtomicUsize::new(limits.request.min(limits.bytes / 2)),
            },
        }
    }

    /// Whether there was room for `bytes` more. If not, emptied chunks are given up for them.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        let room = |used: usize| {
            let used = used.checked_add(bytes)?;
            (used <= self.limits.bytes).then_some(used)
        };
        let reserve = || self.bytes.fetch_update(Relaxed, Relaxed, room);
        let mut reserved = reserve();
        if reserved.is_err() && self.has_free.load(Relaxed) {
            self.give_up_free_chunks();
            reserved = reserve();
        }
        match reserved {
            Ok(used) if used + bytes >= self.bell.at.load(Relaxed) => self.ring(),
            Ok(_) => {}
            Err(_) => self.ring(),
        }
        reserved.is_ok()
    }

    /// Counts what is needed for a moment, so that what is there can leave: at most [`Limits::chunk`] at a time.
    pub(crate) fn reserve_anyhow(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    /// Room for some spans, to be used by one thread without asking again; zero if there is none.
    pub(crate) fn reserve_spans(&self) -> u64 {
        let Some(limit) = self.limits.spans else {
            return u64::from(u32::MAX);
        };
        // Few enough that threads do not keep each other out, many enough that they seldom meet.
        let wish = (limit / 64).clamp(1, 64);
        let room = |used: u64| (used < limit).then(|| limit.min(used + wish));
        match self.spans.fetch_update(Relaxed, Relaxed, room) {
            Ok(used) => {
                let reserved = (used + wish).min(limit) - used;
                if used + reserved > limit / 2 {
                    self.ring();
                }
                reserved
            }
            Err(_) => {
                self.ring();
                0
            }
        }
    }

    pub(crate) fn release_spans(&self, spans: u64) {
        if self.limits.spans.is_some() {
            self.spans.fetch_sub(spans, Relaxed);
        }
    }

    /// A chunk of [`Limits::chunk`] with whatever it held before, if there is room for one.
    pub(crate) fn chunk(&self) -> Option<Vec<u8>> {
        let free = self.free().pop();
        let capacity = self.limits.chunk;
        free.or_else(|| self.reserve(capacity).then(|| Vec::with_capacity(capacity)))
    }

    /// Takes back a chunk and its reservation, to be used again.
    pub(crate) fn recycle(&self, chunk: Vec<u8>) {
        if chunk.capacity() == self.limits.chunk {
            let mut free = self.free();
            // As many as one request is made of.
            if free.len() * self.limits.chunk < self.limits.request {
                free.push(chunk);
                self.has_free.store(true, Relaxed);
                return;
            }
        }
        self.release(chunk.capacity());
    }

    /// Asks the exporter to come, if nobody has since it last came.
    pub(crate) fn ring(&self) {
        // Read first, since those who find no room ask for every span.
        if !self.bell.rung.load(Relaxed) && !self.bell.rung.swap(true, Relaxed) {
            self.bell.notify.notify_one();
        }
    }

    /// Ready once the exporter is asked to come.
    pub(crate) async fn rung(&self) {
        self.bell.notify.notified().await;
    }

    /// The exporter has come: whoever needs it from now on rings again.
    pub(crate) fn attend(&self) {
        self.bell.rung.store(false, Relaxed);
        self.expect_more();
    }

    /// Has the exporter come once there is as much more as fits in a request.
    ///
    /// To be said again when it has sent what there was: by then less is in use, and with what it waited for before, it would
    /// come later each time, until nearly all room is taken.
    pub(crate) fn expect_more(&self) {
        let used = self.used();
        let left = self.limits.bytes.saturating_sub(used);
        let more = self.limits.request.min(left / 2);
        self.bell.at.store(used + more, Relaxed);
    }

    /// Bytes in use, emptied chunks among them.
    pub(crate) fn used(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn give_up_free_chunks(&self) {
        let mut free = self.free();
        self.has_free.store(false, Relaxed);
        let free = std::mem::take(&mut *free);
        self.release(free.len() * self.limits.chunk);
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_no_larger_than_64_mib() {
        for (max_request_bytes, max_memory, request) in [
            (usize::MAX, 1 << 30, 64 << 20),
            ((64 << 20) + 1, 1 << 30, 64 << 20),
            (64 << 20, 1 << 30, 64 << 20),
            (usize::MAX, 1 << 20, 1 << 18),
            (1 << 10, usize::MAX, 1 << 10),
        ] {
            let limits = Limits::new(&Config {
                max_request_bytes,
                max_memory,
                ..Config::default()
            });
            assert_eq!(limits.request, request);
            assert_eq!(limits.bytes, max_memory - request - limits.chunk);
        }
    }
}
