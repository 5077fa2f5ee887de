//! Pages that were read from disk, as many as fit a bound of bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::{Weighter, sync};

use super::column::Page;

/// What takes memory.
pub(super) trait Weighed: Clone {
    fn bytes(&self) -> usize;
}

impl Weighed for Page {
    fn bytes(&self) -> usize {
        Page::bytes(self)
    }
}

pub(super) struct Cache<P: Weighed = Page> {
    pages: sync::Cache<(u64, usize), P, Bytes>,
    next_part: AtomicU64,
}

#[derive(Clone)]
struct Bytes;

impl<P: Weighed> Weighter<(u64, usize), P> for Bytes {
    fn weight(&self, _: &(u64, usize), page: &P) -> u64 {
        page.bytes() as u64 + 64
    }
}

/// Bytes of a page of a part of usual size: a guess that sizes the cache's own table.
const USUAL_PAGE_BYTES: usize = 64 << 10;

impl<P: Weighed> Cache<P> {
    pub(super) fn new(max_bytes: usize) -> Cache<P> {
        let pages = max_bytes / USUAL_PAGE_BYTES;
        Cache {
            pages: sync::Cache::with_weighter(pages.max(64), max_bytes as u64, Bytes),
            next_part: AtomicU64::new(0),
        }
    }

    /// A number for a part that no other has.
    pub(super) fn new_part(&self) -> u64 {
        self.next_part.fetch_add(1, Ordering::Relaxed)
    }

    /// Bytes that are kept now.
    pub(super) fn bytes(&self) -> u64 {
        self.pages.weight()
    }

    /// Whether there is hardly room for another page.
    pub(super) fn is_full(&self) -> bool {
        let max = self.pages.capacity();
        self.bytes() >= max - max / 8
    }

    /// A page, if it is there.
    pub(super) fn peek(&self, part: u64, page: usize) -> Option<P> {
        self.pages.get(&(part, page))
    }

    pub(super) fn get<E>(
        &self,
        part: u64,
        page: usize,
        read: impl FnOnce() -> Result<P, E>,
    ) -> Result<P, E> {
        self.pages.get_or_insert_with(&(part, page), read)
    }
}
