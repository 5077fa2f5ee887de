//! `trace.proto`: a span.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceState};
use opentelemetry_sdk::trace::SpanData;

use super::{
    Encoded,
    attribute::attribute,
    wire::{Message, Output, delimited_len, write_message, write_message_within},
};

/// `ScopeSpans.spans`.
const SPANS: u32 = 2;

/// `SpanFlags`, beside the flags of Trace Context.
const CONTEXT_HAS_IS_REMOTE: u32 = 0x100;
const CONTEXT_IS_REMOTE: u32 = 0x200;

/// A span as an element of `ScopeSpans.spans`, with key and length.
pub(crate) struct SpanBytes<'a>(Span<'a>);

impl<'a> SpanBytes<'a> {
    #[inline]
    pub(crate) fn new(span: &'a SpanData) -> Self {
        Self(Span(span))
    }
}

impl Encoded for SpanBytes<'_> {
    #[inline]
    fn write(&self, out: &mut [u8]) -> Option<usize> {
        // With a few attributes, a span has more than 127 bytes and less than 16384.
        write_message(out, SPANS, &self.0, 2)
    }

    fn write_within(&self, out: &mut [u8]) -> Option<usize> {
        write_message_within(out, SPANS, &self.0)
    }

    fn len(&self) -> usize {
        delimited_len(SPANS, self.0.len())
    }
}

/// How many of `spans`, which [`SpanBytes`] wrote, belong to the first span. None if there is none.
pub(crate) fn first_span_len(spans: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (i, byte) in spans.get(1..)?.iter().enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(delimited_len(SPANS, len));
        }
    }
    None
}

/// `Span`.
struct Span<'a>(&'a SpanData);

/// `Span.Event`.
struct EventFields<'a>(&'a Event);

/// `Span.Link`.
struct LinkFields<'a>(&'a Link);

/// `Status`.
struct StatusFields<'a>(&'a Status);

impl Message for Span<'_> {
    #[inline]
    fn fields(&self, out: &mut impl Output) {
        let span = self.0;
        let cx = &span.span_context;
        out.id(1, &cx.trace_id().to_bytes());
        out.id(2, &cx.span_id().to_bytes());
        trace_state(out, cx.trace_state());
        if span.parent_span_id != SpanId::INVALID {
            out.id(4, &span.parent_span_id.to_bytes());
        }
        out.string(5, &span.name);
        out.integer(6, kind(&span.span_kind));
        time(out, 7, span.start_time);
        time(out, 8, span.end_time);
        for it in &span.attributes {
            attribute(out, 9, it);
        }
        out.count(10, span.dropped_attributes_count);
        for event in span.events.iter() {
            out.message(11, &EventFields(event));
        }
        out.count(12, span.events.dropped_count);
        for link in span.links.iter() {
            out.message(13, &LinkFields(link));
        }
        out.count(14, span.links.dropped_count);
        out.message(15, &StatusFields(&span.status));
        out.four_bytes(16, flags(cx, span.parent_span_is_remote));
    }
}

impl Message for EventFields<'_> {
    #[inline]
    fn fields(&self, out: &mut impl Output) {
        let event = self.0;
        time(out, 1, event.timestamp);
        out.string(2, &event.name);
        for it in &event.attributes {
            attribute(out, 3, it);
        }
        out.count(4, event.dropped_attributes_count);
    }
}

impl Message for LinkFields<'_> {
    #[inline]
    fn fields(&self, out: &mut impl Output) {
        let link = self.0;
        let cx = &link.span_context;
        out.id(1, &cx.trace_id().to_bytes());
        out.id(2, &cx.span_id().to_bytes());
        trace_state(out, cx.trace_state());
        for it in &link.attributes {
            attribute(out, 4, it);
        }
        out.count(5, link.dropped_attributes_count);
        out.four_bytes(6, flags(cx, cx.is_remote()));
    }
}

impl Message for StatusFields<'_> {
    #[inline]
    fn fields(&self, out: &mut impl Output) {
        match self.0 {
            Status::Unset => {}
            Status::Ok => out.integer(3, 1),
            Status::Error { description } => {
                out.string(2, description);
                out.integer(3, 2);
            }
        }
    }
}

#[inline]
fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

#[inline]
fn flags(cx: &SpanContext, remote: bool) -> u32 {
    let remote = if remote { CONTEXT_IS_REMOTE } else { 0 };
    CONTEXT_HAS_IS_REMOTE | remote | u32::from(cx.trace_flags().to_u8())
}

/// Nanoseconds since the epoch; what was before it is unknown, which is zero.
#[inline]
pub(super) fn time(out: &mut impl Output, field: u32, time: SystemTime) {
    let nanos = time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        // As `as_nanos` does, but for what has no place in 64 bits, i.e. from the year 2554 on.
        let seconds = since.as_secs().wrapping_mul(1_000_000_000);
        seconds.wrapping_add(since.subsec_nanos().into())
    });
    if nanos != 0 {
        out.eight_bytes(field, nanos);
    }
}

/// The `tracestate` header, which would be a string of its own in [`TraceState::header`].
#[inline]
fn trace_state(out: &mut impl Output, state: &TraceState) {
    if state.into_iter().len() > 0 {
        out.message(3, &Header(state));
    }
}

/// A string looks like a message on the wire: key, length, bytes.
struct Header<'a>(&'a TraceState);

impl Message for Header<'_> {
    fn fields(&self, out: &mut impl Output) {
        for (i, (key, value)) in self.0.into_iter().enumerate() {
            if i > 0 {
                out.bytes(b",");
            }
            out.bytes(key.as_bytes());
            out.bytes(b"=");
            out.bytes(value.as_bytes());
        }
    }
}
