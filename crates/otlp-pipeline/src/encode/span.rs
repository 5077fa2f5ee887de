//! `trace.proto`: a span.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceState};
use opentelemetry_sdk::trace::SpanData;

use super::{
    Encoded,
    attribute::Attribute,
    wire::{Message, Output, append_fields, begin_message, delimited_len},
};

/// A span as an element of `ScopeSpans.spans`, with key and length.
pub(crate) struct SpanBytes<'a> {
    span: Span<'a>,
    len: usize,
}

/// `ScopeSpans.spans`.
const SPANS: u32 = 2;

/// `SpanFlags`, beside the flags of Trace Context.
const CONTEXT_HAS_IS_REMOTE: u32 = 0x100;
const CONTEXT_IS_REMOTE: u32 = 0x200;

impl<'a> SpanBytes<'a> {
    /// Looks at the whole span in order to count its bytes, and writes nothing.
    #[inline]
    pub(crate) fn new(span: &'a SpanData) -> Self {
        let span = Span(span);
        let len = span.len();
        Self { span, len }
    }
}

impl Encoded for SpanBytes<'_> {
    #[inline]
    fn len(&self) -> usize {
        delimited_len(SPANS, self.len)
    }

    #[inline]
    fn append_to(&self, out: &mut Vec<u8>) {
        begin_message(out, SPANS, self.len);
        append_fields(out, &self.span, self.len);
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
        out.delimited(1, &cx.trace_id().to_bytes());
        out.delimited(2, &cx.span_id().to_bytes());
        trace_state(out, cx.trace_state());
        if span.parent_span_id != SpanId::INVALID {
            out.delimited(4, &span.parent_span_id.to_bytes());
        }
        out.string(5, &span.name);
        out.integer(6, kind(&span.span_kind));
        time(out, 7, span.start_time);
        time(out, 8, span.end_time);
        for attribute in &span.attributes {
            out.message(9, &Attribute(attribute));
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
        for attribute in &event.attributes {
            out.message(3, &Attribute(attribute));
        }
        out.count(4, event.dropped_attributes_count);
    }
}

impl Message for LinkFields<'_> {
    #[inline]
    fn fields(&self, out: &mut impl Output) {
        let link = self.0;
        let cx = &link.span_context;
        out.delimited(1, &cx.trace_id().to_bytes());
        out.delimited(2, &cx.span_id().to_bytes());
        trace_state(out, cx.trace_state());
        for attribute in &link.attributes {
            out.message(4, &Attribute(attribute));
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
    let nanos = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
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
