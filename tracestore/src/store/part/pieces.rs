//! Pieces of pages, for whoever wants little of a large page.
//!
//! A piece is read as the chunks around it, each of which has a checksum. Where the page is small, or in memory already, or
//! of a segment without such checksums, the whole of it is taken.

use std::{cell::RefCell, ops::Range};

use super::{ARRAYS, Array, Damaged, Location, Pages, Part};
use crate::store::column::{Page, Shape};

/// Bytes of a page that have a checksum of their own, if the page is larger. Few in tests, so that small parts have many.
pub(in crate::store) const CHUNK: u32 = if cfg!(test) { 32 } else { 4096 };

/// Bytes that a thread keeps for what it reads next: fresh memory costs more than the reading.
const MAX_BUFFER: usize = 1 << 20;

/// Gives a buffer for what is read, which is not needed afterwards.
pub(super) fn with_buffer<T>(read: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        let read = read(buffer);
        buffer.truncate(MAX_BUFFER);
        buffer.shrink_to(MAX_BUFFER);
        read
    })
}

impl Location {
    /// How many chunks have checksums: none of a page that is no larger than one.
    pub(super) fn chunks(&self) -> u32 {
        match self.bytes {
            0..=CHUNK => 0,
            bytes => bytes.div_ceil(CHUNK),
        }
    }
}

/// Rows of a page, as few as are wanted or all of them.
pub(in crate::store) struct Excerpt {
    page: Page,
    /// The row that is the first of the page.
    first: u32,
}

impl Excerpt {
    fn index(&self, row: u32) -> Option<usize> {
        row.checked_sub(self.first).map(|index| index as usize)
    }

    pub(in crate::store) fn id8(&self, row: u32) -> Option<[u8; 8]> {
        match &self.page {
            Page::Ids8(ids) => ids.get(self.index(row)?).copied(),
            _ => None,
        }
    }

    pub(in crate::store) fn id16(&self, row: u32) -> Option<[u8; 16]> {
        match &self.page {
            Page::Ids16(ids) => ids.get(self.index(row)?).copied(),
            _ => None,
        }
    }

    pub(in crate::store) fn number(&self, row: u32) -> Option<u64> {
        match &self.page {
            Page::Numbers(numbers) => numbers.get(self.index(row)?),
            _ => None,
        }
    }

    /// 0 if the row has no value.
    pub(in crate::store) fn code(&self, row: u32) -> u32 {
        match (&self.page, row.checked_sub(self.first)) {
            (Page::Cells(cells), Some(row)) => cells.code(row),
            _ => 0,
        }
    }
}

impl Part {
    /// Whether pieces can be read without reading the whole page.
    pub(super) fn has_pieces(&self) -> bool {
        self.checksums().is_some()
    }

    /// The page of the checksums of chunks.
    fn checksums(&self) -> Option<usize> {
        match &self.pages {
            Pages::Resident(_) => None,
            Pages::Stored {
                locations, indexed, ..
            } => {
                let number = self.directory.pages() + indexed.len();
                (number < locations.len()).then_some(number)
            }
        }
    }

    /// Bytes of a page of a segment.
    pub(super) fn piece(&self, page: usize, at: usize, len: usize) -> Result<Vec<u8>, Damaged> {
        let missing = || self.damaged("a piece of a page is missing");
        let Pages::Stored {
            file, locations, ..
        } = &self.pages
        else {
            return Err(missing());
        };
        let location = locations.get(page).ok_or_else(missing)?;
        let bytes = location.bytes as usize;
        let end = at.checked_add(len).filter(|end| *end <= bytes);
        let end = end.ok_or_else(missing)?;
        if len == 0 {
            return Ok(Vec::new());
        }
        let checksums = match (location.chunks(), self.checksums()) {
            (0, _) => None,
            (_, None) => return Err(missing()),
            (_, Some(page)) => Some(self.page(page)?),
        };
        let chunk = CHUNK as usize;
        let (around, expected) = match &checksums {
            Some(Page::Numbers(checksums)) => {
                let first = location.first_chunk as usize;
                let chunks = at / chunk..end.div_ceil(chunk);
                let expected =
                    (first + chunks.start..first + chunks.end).map(|at| checksums.get(at));
                let expected: Option<Vec<u64>> = expected.collect();
                let around = chunks.start * chunk..bytes.min(chunks.end * chunk);
                (around, expected.ok_or_else(missing)?)
            }
            None => (0..bytes, vec![u64::from(location.checksum)]),
            Some(_) => return Err(self.damaged("a page does not hold checksums")),
        };
        with_buffer(|buffer| {
            let offset = location.offset + around.start as u64;
            let read = file.read_into(offset, around.len(), buffer);
            let read = read.map_err(|error| self.unread(&error))?;
            let size = match checksums {
                Some(_) => chunk,
                None => bytes,
            };
            for (chunk, expected) in read.chunks(size).zip(expected) {
                if u64::from(crc32c::crc32c(chunk)) != expected {
                    return Err(self.damaged(format!(
                        "{} bytes within the page at offset {} do not have their checksum",
                        chunk.len(),
                        location.offset
                    )));
                }
            }
            Ok(read[at - around.start..end - around.start].to_vec())
        })
    }

    /// Whether reading whole pages pushes others out of the cache, or they are not kept at all.
    pub(in crate::store) fn is_beyond_cache(&self) -> bool {
        match &self.pages {
            Pages::Resident(_) => false,
            Pages::Stored { cache, .. } => cache.is_full(),
        }
    }

    /// All rows of an array.
    pub(in crate::store) fn array(&self, array: Array) -> Result<Excerpt, Damaged> {
        let page = self.page(array as usize)?;
        Ok(Excerpt { page, first: 0 })
    }

    /// Rows of an array.
    pub(in crate::store) fn array_rows(
        &self,
        array: Array,
        rows: &Range<u32>,
    ) -> Result<Excerpt, Damaged> {
        self.excerpt(array as usize, rows)
    }

    /// Rows of a column.
    pub(in crate::store) fn cell_rows(
        &self,
        column: usize,
        rows: &Range<u32>,
    ) -> Result<Excerpt, Damaged> {
        self.excerpt(ARRAYS + 2 * column + 1, rows)
    }

    fn excerpt(&self, page: usize, rows: &Range<u32>) -> Result<Excerpt, Damaged> {
        let whole = |page| Ok(Excerpt { page, first: 0 });
        let Pages::Stored {
            cache,
            number,
            locations,
            ..
        } = &self.pages
        else {
            return whole(self.page(page)?);
        };
        if let Some(page) = cache.peek(*number, page) {
            return whole(page);
        }
        let bytes = locations.get(page).map_or(0, |location| location.bytes);
        if bytes <= CHUNK || !self.has_pieces() {
            return whole(self.page(page)?);
        }
        let head = self.piece(page, 0, Page::MAX_HEAD)?;
        let Some((head, width)) = Page::head(&head) else {
            return whole(self.page(page)?);
        };
        let at = head.len() + rows.start as usize * width;
        let bytes = self.piece(page, at, rows.len() * width)?;
        let shape = Shape {
            rows: rows.len(),
            ..self.directory.shape(page)
        };
        let page = Page::of_rows(head, &bytes, shape)
            .ok_or_else(|| self.damaged("rows of a page are malformed"))?;
        Ok(Excerpt {
            page,
            first: rows.start,
        })
    }
}
