//! Spans as columns that never change: a part.
//!
//! A request becomes a small part in memory. Parts are merged into larger ones, and those that are
//! large enough are written to disk as segments, of which only the directory stays in memory. Rows
//! stand in the order of trace id and start, so the spans of a trace are neighbours.

mod build;
mod file;
mod merge;
mod outline;
mod pieces;
mod read;
mod traces;
mod values;

use std::{
    fmt, io,
    ops::{Range, RangeInclusive},
    sync::Arc,
};

pub(super) use self::{
    build::build,
    file::{encode, open},
    merge::{merge, numbers as columns_of},
    outline::{Outline, Outlined},
    pieces::Excerpt,
    read::{Opened, records_of},
    traces::{OneTrace, Traces, position, rank},
    values::Values,
};
#[cfg(test)]
pub(super) use self::{file::encode_as, pieces::CHUNK};
use super::{
    cache::Cache,
    column::{Cells, Dictionary, Page, Shape},
    files::ReadAt,
    integers::Integers,
};
use crate::query::Place;

/// What has rows. The number of a table is written into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Table {
    Spans,
    Resources,
    Scopes,
    Events,
    Links,
}

impl Table {
    pub(super) const ALL: [Table; 5] = [
        Table::Spans,
        Table::Resources,
        Table::Scopes,
        Table::Events,
        Table::Links,
    ];
}

impl From<Place> for Table {
    fn from(place: Place) -> Table {
        match place {
            Place::Span => Table::Spans,
            Place::Resource => Table::Resources,
            Place::Scope => Table::Scopes,
            Place::Event => Table::Events,
            Place::Link => Table::Links,
        }
    }
}

impl From<Table> for Place {
    fn from(table: Table) -> Place {
        match table {
            Table::Spans => Place::Span,
            Table::Resources => Place::Resource,
            Table::Scopes => Place::Scope,
            Table::Events => Place::Event,
            Table::Links => Place::Link,
        }
    }
}

/// Columns that are no attributes. A row without a value has the default of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Own {
    /// The attribute columns of a row in their order, as numbers in the directory, four bytes each.
    Shape,
    Name,
    Kind,
    Status,
    StatusMessage,
    TraceState,
    Flags,
    Version,
    SchemaUrl,
    DroppedAttributes,
    DroppedEvents,
    DroppedLinks,
}

impl Own {
    const ALL: [Own; 12] = [
        Own::Shape,
        Own::Name,
        Own::Kind,
        Own::Status,
        Own::StatusMessage,
        Own::TraceState,
        Own::Flags,
        Own::Version,
        Own::SchemaUrl,
        Own::DroppedAttributes,
        Own::DroppedEvents,
        Own::DroppedLinks,
    ];
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Own(Own),
    /// A key that is repeated in one record has a column for each of its occurrences, counted
    /// from 0.
    Attribute(Box<str>, u32),
}

/// Arrays beside the columns. Each is a page of every part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Array {
    /// Ascending.
    TraceIds,
    /// The row of its first span.
    TraceRows,
    /// The earliest start of its spans, 0 if none is known.
    TraceStarts,
    /// The latest end or start of its spans.
    TraceEnds,
    /// When its first span arrived.
    TraceReceived,
    /// When its last span arrived.
    TraceReceivedLast,
    SpanIds,
    /// Zeros where there is no parent.
    ParentIds,
    Starts,
    /// The end minus the start, modulo 2^64.
    Durations,
    /// Cells without a dictionary: one more than the row of the resource.
    SpanResources,
    SpanScopes,
    /// The row of the span of an event. Ascending.
    EventSpans,
    EventTimes,
    /// The row of the span of a link. Ascending.
    LinkSpans,
    LinkTraceIds,
    LinkSpanIds,
}

pub(super) const ARRAYS: usize = Array::LinkSpanIds as usize + 1;

/// What a part holds, without its pages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Directory {
    pub(super) summary: Summary,
    pub(super) traces: u32,
    /// By `Table`.
    pub(super) rows: [u32; 5],
    /// Ascending by table and key.
    pub(super) columns: Vec<Column>,
}

/// What is known of a part at a glance. All times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    /// The times of its traces, without unknown ones.
    pub(super) time: RangeInclusive<u64>,
    pub(super) received: RangeInclusive<u64>,
    /// The greatest `rank` of its traces.
    pub(super) newest: u64,
    /// The generations of requests that a sealed part stands for; of no meaning for others.
    pub(super) generations: RangeInclusive<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) table: Table,
    pub(super) key: Key,
    /// Distinct values.
    pub(super) distinct: u32,
}

impl Directory {
    pub(super) fn spans(&self) -> u32 {
        self.rows[Table::Spans as usize]
    }

    pub(super) fn column(&self, table: Table, key: &Key) -> Option<usize> {
        self.columns
            .binary_search_by(|column| (column.table, &column.key).cmp(&(table, key)))
            .ok()
    }

    /// All occurrences of an attribute.
    pub(super) fn attribute(&self, table: Table, name: &str) -> Range<usize> {
        let before = |column: &Column| match &column.key {
            Key::Own(_) => column.table <= table,
            Key::Attribute(other, _) => (column.table, &**other) < (table, name),
        };
        let start = self.columns.partition_point(before);
        let same = self.columns[start..].iter().take_while(|column| {
            column.table == table
                && matches!(&column.key, Key::Attribute(other, _) if &**other == name)
        });
        start..start + same.count()
    }

    /// Without those of indexes.
    fn pages(&self) -> usize {
        ARRAYS + 2 * self.columns.len()
    }

    /// What the page of the index of a column must agree with.
    fn shape_of_index(&self, column: usize) -> Shape {
        let distinct = self.columns[column].distinct as usize;
        Shape {
            rows: distinct.div_ceil(values::BLOCK),
            distinct,
        }
    }

    /// What the page with this number must agree with.
    fn shape(&self, page: usize) -> Shape {
        let rows = |table: Table| self.rows[table as usize] as usize;
        let traces = self.traces as usize;
        if let Some(column) = page.checked_sub(ARRAYS) {
            let Column {
                table, distinct, ..
            } = self.columns[column / 2];
            let distinct = distinct as usize;
            let rows = if column % 2 == 0 {
                distinct
            } else {
                rows(table)
            };
            return Shape { rows, distinct };
        }
        const SPANS: Range<usize> = Array::SpanIds as usize..Array::SpanResources as usize;
        let (rows, distinct) = match page {
            page if page < Array::SpanIds as usize => (traces, 0),
            page if SPANS.contains(&page) => (rows(Table::Spans), 0),
            page if page == Array::SpanResources as usize => {
                (rows(Table::Spans), rows(Table::Resources))
            }
            page if page == Array::SpanScopes as usize => (rows(Table::Spans), rows(Table::Scopes)),
            page if page <= Array::EventTimes as usize => (rows(Table::Events), 0),
            _ => (rows(Table::Links), 0),
        };
        Shape { rows, distinct }
    }
}

/// A page could not be read: the part is of no use, for now or for good.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{part}: {why}")]
pub(super) struct Damaged {
    pub(super) part: Arc<str>,
    pub(super) why: String,
    /// Nothing was read, and another time it may be. Else something was that is not right.
    pub(super) is_unread: bool,
}

/// Spans as columns.
pub(super) struct Part {
    /// For people: the name of its file.
    name: Arc<str>,
    pub(super) directory: Directory,
    pages: Pages,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("name", &self.name)
            .field("summary", &self.directory.summary)
            .finish_non_exhaustive()
    }
}

enum Pages {
    Resident(Vec<Page>),
    Stored {
        file: Arc<dyn ReadAt>,
        locations: Vec<Location>,
        cache: Arc<Cache>,
        /// Unlike that of any other part that uses the cache.
        number: u64,
        /// The columns whose dictionaries have an index, ascending. The pages of the indexes follow those of all columns,
        /// and after them comes that of the checksums of chunks, if there is one.
        indexed: Vec<usize>,
    },
}

/// Where a page is in its file.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Location {
    offset: u64,
    bytes: u32,
    /// CRC-32C.
    checksum: u32,
    /// Chunks of the pages before it that have checksums of their own.
    first_chunk: u32,
}

impl Part {
    fn resident(directory: Directory, pages: Vec<Page>) -> Part {
        Part {
            name: "a part in memory".into(),
            directory,
            pages: Pages::Resident(pages),
        }
    }

    /// All pages that are written, those of no column as well.
    #[cfg(test)]
    pub(super) fn pages(&self) -> usize {
        match &self.pages {
            Pages::Resident(pages) => pages.len(),
            Pages::Stored { locations, .. } => locations.len(),
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> Damaged {
        Damaged {
            part: Arc::clone(&self.name),
            why: why.into(),
            is_unread: false,
        }
    }

    fn unread(&self, error: &io::Error) -> Damaged {
        Damaged {
            is_unread: true,
            ..self.damaged(error.to_string())
        }
    }

    /// Bytes of memory that it holds as long as it lives; the cache is not counted.
    pub(super) fn resident_bytes(&self) -> usize {
        let columns = self.directory.columns.iter();
        let directory: usize = columns
            .map(|column| {
                size_of::<Column>()
                    + match &column.key {
                        Key::Own(_) => 0,
                        Key::Attribute(name, _) => name.len() + 16,
                    }
            })
            .sum();
        let pages = match &self.pages {
            Pages::Resident(pages) => pages
                .iter()
                .map(|page| page.bytes() + size_of::<Page>())
                .sum(),
            Pages::Stored {
                locations, indexed, ..
            } => size_of_val(&locations[..]) + size_of_val(&indexed[..]),
        };
        size_of::<Part>() + directory + pages
    }

    fn page(&self, number: usize) -> Result<Page, Damaged> {
        match &self.pages {
            Pages::Resident(pages) => pages
                .get(number)
                .cloned()
                .ok_or_else(|| self.damaged("a page is missing")),
            Pages::Stored {
                file,
                locations,
                cache,
                number: part,
                indexed,
            } => cache.get(*part, number, || {
                let location = locations
                    .get(number)
                    .ok_or_else(|| self.damaged("a page is missing"))?;
                let shape = match number.checked_sub(self.directory.pages()) {
                    None => self.directory.shape(number),
                    Some(index) => match indexed.get(index) {
                        Some(column) => self.directory.shape_of_index(*column),
                        None => Shape {
                            rows: location.first_chunk as usize,
                            distinct: 0,
                        },
                    },
                };
                pieces::with_buffer(|buffer| {
                    let bytes = file
                        .read_into(location.offset, location.bytes as usize, buffer)
                        .map_err(|error| self.unread(&error))?;
                    if crc32c::crc32c(bytes) != location.checksum {
                        return Err(self.damaged(format!(
                            "{} bytes at offset {} do not have their checksum",
                            location.bytes, location.offset
                        )));
                    }
                    Page::decode(bytes, shape).ok_or_else(|| {
                        self.damaged(format!(
                            "the page at offset {} is malformed",
                            location.offset
                        ))
                    })
                })
            }),
        }
    }

    /// Reads every page once, past the cache: what is damaged is found before it is asked for.
    pub(super) fn verify(&self) -> Result<(), Damaged> {
        let Pages::Stored {
            file, locations, ..
        } = &self.pages
        else {
            return Ok(());
        };
        for (number, location) in locations.iter().enumerate() {
            pieces::with_buffer(|buffer| {
                let bytes = file
                    .read_into(location.offset, location.bytes as usize, buffer)
                    .map_err(|error| self.unread(&error))?;
                if crc32c::crc32c(bytes) != location.checksum {
                    return Err(self.damaged(format!(
                        "page {number} at offset {} does not have its checksum",
                        location.offset
                    )));
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(super) fn dictionary(&self, column: usize) -> Result<Arc<Dictionary>, Damaged> {
        match self.page(ARRAYS + 2 * column)? {
            Page::Dictionary(dictionary) => Ok(dictionary),
            _ => Err(self.damaged("a page is not a dictionary")),
        }
    }

    pub(super) fn cells(&self, column: usize) -> Result<Arc<Cells>, Damaged> {
        match self.page(ARRAYS + 2 * column + 1)? {
            Page::Cells(cells) => Ok(cells),
            _ => Err(self.damaged("a page does not hold cells")),
        }
    }

    /// One more than the row of the resource or scope of each span.
    pub(super) fn sources(&self, array: Array) -> Result<Arc<Cells>, Damaged> {
        match self.page(array as usize)? {
            Page::Cells(cells) => Ok(cells),
            _ => Err(self.damaged("a page does not hold cells")),
        }
    }

    pub(super) fn numbers(&self, array: Array) -> Result<Arc<Integers>, Damaged> {
        match self.page(array as usize)? {
            Page::Numbers(numbers) => Ok(numbers),
            _ => Err(self.damaged("a page does not hold numbers")),
        }
    }

    pub(super) fn ids8(&self, array: Array) -> Result<Arc<Vec<[u8; 8]>>, Damaged> {
        match self.page(array as usize)? {
            Page::Ids8(ids) => Ok(ids),
            _ => Err(self.damaged("a page does not hold ids")),
        }
    }

    pub(super) fn ids16(&self, array: Array) -> Result<Arc<Vec<[u8; 16]>>, Damaged> {
        match self.page(array as usize)? {
            Page::Ids16(ids) => Ok(ids),
            _ => Err(self.damaged("a page does not hold ids")),
        }
    }
}
