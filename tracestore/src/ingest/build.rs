//! Turns the elements of a request, whatever form they come in, into the store's spans and log records.
//!
//! The limits of a request are here, so that no form can get around them: memory is charged before
//! it is taken, and what is too much of a record is dropped and counted. Knows no form itself: see
//! `protobuf`, `json` and `jaeger`.

mod logs;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

pub(super) use self::logs::LogDraft;
pub(crate) use self::logs::{DecodedLogs, DroppedIds};
use crate::{
    metrics::Signal,
    span::{Event, KeyValue, Kind, Link, Resource, Scope, Span, SpanId, Status, TraceId},
    store::{Batch, LogBatch},
};

/// Attributes, events and links kept of each record: what SDKs send at most by default. The rest
/// is counted as dropped.
const MAX_ELEMENTS: usize = 128;

/// Bytes kept of a string or byte value.
const MAX_VALUE_BYTES: usize = 4096;

/// How deep arrays and maps may nest.
pub(super) const MAX_DEPTH: usize = 32;

/// Memory that what one request holds may take beside the message that they borrow from, in
/// bytes, or [`GROWTH`] times the message if that is more.
const MAX_DECODED_BYTES: usize = 64 << 20;

/// Real spans take about three times their size on the wire.
const GROWTH: usize = 4;

/// What a request holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded<'a> {
    pub(crate) batches: Vec<Batch<'a>>,
    pub(crate) rejected: Rejected,
}

/// Spans or log records that cannot be kept, counted by reason.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rejected {
    reasons: BTreeMap<&'static str, u64>,
}

impl Rejected {
    pub(crate) fn total(&self) -> u64 {
        self.reasons.values().sum()
    }

    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.reasons.iter().map(|(reason, count)| (*reason, *count))
    }

    /// For the sender's log: `rejected spans: 2 with a trace_id of zeros, 1 with ...`.
    pub(crate) fn message(&self, signal: Signal) -> String {
        let reasons: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count} with {reason}"))
            .collect();
        format!("rejected {}: {}", signal.elements(), reasons.join(", "))
    }

    fn add(&mut self, reason: &'static str) {
        *self.reasons.entry(reason).or_default() += 1;
    }
}

/// What the request holds would take more memory than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what one request holds would take more than {} MiB in memory", .0 >> 20)]
pub(crate) struct TooLarge(usize);

/// Why nothing of a request is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The bytes are not what they should be: what is wrong with them, at most a line long.
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl Refused {
    /// Says what the bytes ought to be.
    pub(super) fn of(self, message: &str) -> Refused {
        match self {
            Refused::Malformed(why) => Refused::Malformed(format!("not an {message}: {why}")),
            Refused::TooLarge(_) => self,
        }
    }
}

/// Collects what one request holds: spans or log records.
pub(super) struct Builder<'a> {
    /// Bytes of memory that may still be taken.
    budget: usize,
    max: usize,
    /// Bytes kept of a string or byte value that comes now.
    max_value: usize,
    batches: Vec<Batch<'a>>,
    logs: Vec<LogBatch<'a>>,
    rejected: Rejected,
    dropped_ids: DroppedIds,
}

impl<'a> Builder<'a> {
    /// For what a message of so many bytes holds.
    pub(super) fn new(message: usize) -> Builder<'a> {
        let max = MAX_DECODED_BYTES.max(message.saturating_mul(GROWTH));
        Builder {
            budget: max,
            max,
            max_value: MAX_VALUE_BYTES,
            batches: Vec::new(),
            logs: Vec::new(),
            rejected: Rejected::default(),
            dropped_ids: DroppedIds::default(),
        }
    }

    pub(super) fn finish(self) -> Decoded<'a> {
        Decoded {
            batches: self.batches,
            rejected: self.rejected,
        }
    }

    /// To be called before memory is taken.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.budget = self.budget.checked_sub(bytes).ok_or(TooLarge(self.max))?;
        Ok(())
    }

    /// An empty list with room for `count` elements, which is charged.
    pub(super) fn list<T>(&mut self, count: usize) -> Result<Vec<T>, TooLarge> {
        self.charge(count.saturating_mul(size_of::<T>()))?;
        Ok(Vec::with_capacity(count))
    }

    /// To be called before an element is made: charges for room in the list if there is none. The
    /// first time that is room for `first` elements.
    pub(super) fn make_room<T>(&mut self, list: &mut Vec<T>, first: usize) -> Result<(), TooLarge> {
        if list.len() == list.capacity() {
            let more = if list.is_empty() { first } else { list.len() };
            let more = more.max(1);
            self.charge(more.saturating_mul(size_of::<T>()))?;
            list.reserve_exact(more);
        }
        Ok(())
    }

    /// Text of the message, which costs no memory.
    pub(super) fn text(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(cut_text(text, self.max_value))
    }

    /// Bytes of the message, which cost no memory.
    pub(super) fn bytes(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        Cow::Borrowed(self.cut_bytes(bytes))
    }

    /// A copy of text that is not UTF-8, with U+FFFD for what is none.
    pub(super) fn mended_text(&mut self, bytes: &[u8]) -> Result<Cow<'a, str>, TooLarge> {
        self.copied_text(&String::from_utf8_lossy(self.cut_bytes(bytes)))
    }

    /// A copy of text that is not in the message as it is.
    pub(super) fn copied_text(&mut self, text: &str) -> Result<Cow<'a, str>, TooLarge> {
        let text = cut_text(text, self.max_value);
        self.charge(text.len())?;
        Ok(Cow::Owned(text.to_owned()))
    }

    /// A copy of bytes that are not in the message as they are.
    pub(super) fn copied_bytes(&mut self, bytes: &[u8]) -> Result<Cow<'a, [u8]>, TooLarge> {
        let bytes = self.cut_bytes(bytes);
        self.charge(bytes.len())?;
        Ok(Cow::Owned(bytes.to_owned()))
    }

    fn cut_bytes<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[..bytes.len().min(self.max_value)]
    }

    /// `None` if the span cannot be kept, which is counted.
    pub(super) fn span(&mut self, draft: SpanDraft<'a>) -> Option<(TraceId, Span<'a>)> {
        match draft.build() {
            Ok(span) => Some(span),
            Err(reason) => {
                self.rejected.add(reason);
                None
            }
        }
    }

    pub(super) fn add(
        &mut self,
        resource: &Arc<Resource<'a>>,
        scope: Scope<'a>,
        spans: Vec<(TraceId, Span<'a>)>,
    ) {
        if !spans.is_empty() {
            self.batches.push(Batch {
                resource: Arc::clone(resource),
                scope: Arc::new(scope),
                spans,
            });
        }
    }
}

/// Text of a message with spans, which costs no memory.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(cut_text(text, MAX_VALUE_BYTES))
}

/// Bytes of a message with spans, which cost no memory.
pub(super) fn bytes(bytes: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(&bytes[..bytes.len().min(MAX_VALUE_BYTES)])
}

fn cut_text(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    &text[..text.floor_char_boundary(max)]
}

/// The first 128 elements of a list, and the number of those that were dropped.
pub(super) struct Capped<T> {
    kept: Vec<T>,
    dropped: u32,
}

impl<T> Default for Capped<T> {
    fn default() -> Capped<T> {
        Capped {
            kept: Vec::new(),
            dropped: 0,
        }
    }
}

impl<T> Capped<T> {
    /// If so, the next element need not be made: `drop_more(1)` does.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= MAX_ELEMENTS
    }

    pub(super) fn push(&mut self, element: T) {
        if self.is_full() {
            self.drop_more(1);
        } else {
            self.kept.push(element);
        }
    }

    /// Counts elements that the sender, or we, have dropped.
    pub(super) fn drop_more(&mut self, count: u32) {
        self.dropped = self.dropped.saturating_add(count);
    }

    pub(super) fn kept(&mut self) -> &mut Vec<T> {
        &mut self.kept
    }

    fn into_parts(self) -> (Vec<T>, u32) {
        (self.kept, self.dropped)
    }
}

/// An id of `N` bytes as it was sent.
#[derive(Clone, Copy, Default)]
pub(super) enum Id<const N: usize> {
    #[default]
    Absent,
    Bytes([u8; N]),
    OfOtherLength,
    NotHex,
}

impl<const N: usize> From<&[u8]> for Id<N> {
    fn from(bytes: &[u8]) -> Id<N> {
        match bytes.try_into() {
            Ok(bytes) => Id::Bytes(bytes),
            Err(_) if bytes.is_empty() => Id::Absent,
            Err(_) => Id::OfOtherLength,
        }
    }
}

#[derive(Default)]
pub(super) struct ResourceDraft<'a> {
    pub(super) attributes: Capped<KeyValue<'a>>,
    pub(super) schema_url: Cow<'a, str>,
}

impl<'a> ResourceDraft<'a> {
    pub(super) fn build(self) -> Arc<Resource<'a>> {
        let (attributes, dropped_attributes) = self.attributes.into_parts();
        Arc::new(Resource {
            attributes,
            dropped_attributes,
            schema_url: self.schema_url,
        })
    }
}

#[derive(Default)]
pub(super) struct ScopeDraft<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    pub(super) attributes: Capped<KeyValue<'a>>,
}

impl<'a> ScopeDraft<'a> {
    pub(super) fn build(self, schema_url: Cow<'a, str>) -> Scope<'a> {
        let (attributes, dropped_attributes) = self.attributes.into_parts();
        Scope {
            name: self.name,
            version: self.version,
            attributes,
            dropped_attributes,
            schema_url,
        }
    }
}

#[derive(Default)]
pub(super) struct SpanDraft<'a> {
    pub(super) trace_id: Id<16>,
    pub(super) span_id: Id<8>,
    pub(super) parent_id: Id<8>,
    pub(super) trace_state: Cow<'a, str>,
    pub(super) flags: u32,
    pub(super) name: Cow<'a, str>,
    pub(super) kind: Kind,
    pub(super) start_unix_nano: u64,
    pub(super) end_unix_nano: u64,
    pub(super) attributes: Capped<KeyValue<'a>>,
    pub(super) events: Capped<Event<'a>>,
    pub(super) links: Capped<Link<'a>>,
    pub(super) status: Status<'a>,
}

impl<'a> SpanDraft<'a> {
    /// The error says why this span alone cannot be kept.
    fn build(self) -> Result<(TraceId, Span<'a>), &'static str> {
        let (trace, id) = ids(self.trace_id, self.span_id)?;
        let parent = match self.parent_id {
            Id::Absent => None,
            // Some senders write a root's missing parent as zeros.
            Id::Bytes(bytes) => SpanId::new(bytes),
            Id::OfOtherLength => {
                return Err("a parent_span_id that is neither empty nor 8 bytes long");
            }
            Id::NotHex => return Err("a parent_span_id that is not hexadecimal"),
        };
        let (attributes, dropped_attributes) = self.attributes.into_parts();
        let (events, dropped_events) = self.events.into_parts();
        let (links, dropped_links) = self.links.into_parts();
        let span = Span {
            id,
            parent,
            trace_state: self.trace_state,
            flags: self.flags,
            name: self.name,
            kind: self.kind,
            start_unix_nano: self.start_unix_nano,
            end_unix_nano: self.end_unix_nano,
            attributes,
            dropped_attributes,
            events,
            dropped_events,
            links,
            dropped_links,
            status: self.status,
        };
        Ok((trace, span))
    }
}

#[derive(Default)]
pub(super) struct EventDraft<'a> {
    pub(super) time_unix_nano: u64,
    pub(super) name: Cow<'a, str>,
    pub(super) attributes: Capped<KeyValue<'a>>,
}

impl<'a> EventDraft<'a> {
    pub(super) fn build(self) -> Event<'a> {
        let (attributes, dropped_attributes) = self.attributes.into_parts();
        Event {
            time_unix_nano: self.time_unix_nano,
            name: self.name,
            attributes,
            dropped_attributes,
        }
    }
}

#[derive(Default)]
pub(super) struct LinkDraft<'a> {
    pub(super) trace_id: Id<16>,
    pub(super) span_id: Id<8>,
    pub(super) trace_state: Cow<'a, str>,
    pub(super) attributes: Capped<KeyValue<'a>>,
    pub(super) flags: u32,
}

impl<'a> LinkDraft<'a> {
    /// `None` if the link names no valid span.
    pub(super) fn build(self) -> Option<Link<'a>> {
        let (trace, span) = ids(self.trace_id, self.span_id).ok()?;
        let (attributes, dropped_attributes) = self.attributes.into_parts();
        Some(Link {
            trace,
            span,
            trace_state: self.trace_state,
            attributes,
            dropped_attributes,
            flags: self.flags,
        })
    }

    /// Builds the link into `links`, or counts it there as dropped.
    pub(super) fn build_into(self, links: &mut Capped<Link<'a>>) {
        match self.build() {
            Some(link) => links.push(link),
            None => links.drop_more(1),
        }
    }
}

fn ids(trace: Id<16>, span: Id<8>) -> Result<(TraceId, SpanId), &'static str> {
    let trace = match trace {
        Id::Bytes(bytes) => TraceId::new(bytes).ok_or("a trace_id of zeros")?,
        Id::Absent | Id::OfOtherLength => return Err("a trace_id that is not 16 bytes long"),
        Id::NotHex => return Err("a trace_id that is not hexadecimal"),
    };
    let span = match span {
        Id::Bytes(bytes) => SpanId::new(bytes).ok_or("a span_id of zeros")?,
        Id::Absent | Id::OfOtherLength => return Err("a span_id that is not 8 bytes long"),
        Id::NotHex => return Err("a span_id that is not hexadecimal"),
    };
    Ok((trace, span))
}
