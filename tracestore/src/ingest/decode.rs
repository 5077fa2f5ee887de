//! Reads an OTLP `ExportTraceServiceRequest` straight from the wire into spans.
//!
//! Decoding into messages and judging them afterwards would not do: two bytes on the wire become
//! a span of 264 bytes, so 4 MB of protobuf become 500 MB. Here memory is charged before it is
//! taken. Field numbers:
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>

use std::{collections::BTreeMap, sync::Arc};

use super::wire::{Field, Fields, Malformed};
use crate::{
    span::{
        Double, Event, KeyValue, Kind, Link, Resource, Scope, Span, SpanId, Status, StatusCode,
        TraceId, Value,
    },
    store::Batch,
};

/// Attributes, events and links kept of each record: what SDKs send at most by default. The rest
/// is counted as dropped.
const MAX_ELEMENTS: usize = 128;

/// Bytes kept of a string or byte value.
const MAX_VALUE_BYTES: usize = 4096;

/// How deep arrays and maps may nest.
const MAX_DEPTH: usize = 32;

/// Memory that the spans of one request may take, in bytes: four times the largest message, and
/// real spans take about three times their size on the wire.
const MAX_DECODED_BYTES: usize = 64 << 20;

/// What a request holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) batches: Vec<Batch>,
    pub(crate) rejected: Rejected,
}

/// Spans that cannot be kept, counted by reason.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rejected {
    reasons: BTreeMap<&'static str, u64>,
}

impl Rejected {
    pub(crate) fn spans(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// For the sender's log: `rejected spans: 2 with a trace_id of zeros, 1 with ...`.
    pub(crate) fn message(&self) -> String {
        let reasons: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count} with {reason}"))
            .collect();
        format!("rejected spans: {}", reasons.join(", "))
    }

    fn add(&mut self, reason: &'static str) {
        *self.reasons.entry(reason).or_default() += 1;
    }
}

/// Why nothing of a request is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("not an ExportTraceServiceRequest: {0}")]
    Malformed(#[from] Malformed),
    #[error("the spans of one request would take more than {} MiB in memory", MAX_DECODED_BYTES >> 20)]
    TooLarge,
}

/// Reads a whole request. If a message that belongs there once comes twice, the last one counts.
///
/// # Errors
/// All or nothing, but for spans with bad ids, which are counted in `Decoded::rejected`.
pub(crate) fn decode(request: &[u8]) -> Result<Decoded, Refused> {
    let mut decoder = Decoder {
        budget: MAX_DECODED_BYTES,
        batches: Vec::new(),
        rejected: Rejected::default(),
    };
    for field in Fields::new(request) {
        if let (1, field) = field? {
            decoder.resource_spans(field.bytes()?)?;
        }
    }
    Ok(Decoded {
        batches: decoder.batches,
        rejected: decoder.rejected,
    })
}

struct Decoder {
    /// Bytes of memory that may still be taken.
    budget: usize,
    batches: Vec<Batch>,
    rejected: Rejected,
}

impl Decoder {
    fn resource_spans(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.charge(size_of::<Resource>())?;
        let mut resource = Resource::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => {
                    (resource.attributes, resource.dropped_attributes) =
                        self.resource(field.bytes()?)?;
                }
                (3, field) => resource.schema_url = self.text(field)?,
                _ => {}
            }
        }
        let resource = Arc::new(resource);
        for field in Fields::new(message) {
            if let (2, field) = field? {
                self.scope_spans(field.bytes()?, &resource)?;
            }
        }
        Ok(())
    }

    fn resource(&mut self, message: &[u8]) -> Result<(Box<[KeyValue]>, u32), Refused> {
        let (mut attributes, mut dropped) = (Vec::new(), 0);
        for field in Fields::new(message) {
            match field? {
                (1, field) => self.attribute(field, &mut attributes, &mut dropped)?,
                (2, field) => dropped = field.uint32()?.saturating_add(dropped),
                _ => {}
            }
        }
        Ok((attributes.into(), dropped))
    }

    fn scope_spans(&mut self, message: &[u8], resource: &Arc<Resource>) -> Result<(), Refused> {
        self.charge(size_of::<Batch>() + size_of::<Scope>())?;
        let mut scope = Scope::default();
        let mut schema_url = Box::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => scope = self.scope(field.bytes()?)?,
                (3, field) => schema_url = self.text(field)?,
                _ => {}
            }
        }
        scope.schema_url = schema_url;
        let mut spans = Vec::new();
        for field in Fields::new(message) {
            if let (2, field) = field? {
                self.charge(size_of::<(TraceId, Span)>())?;
                match self.span(field.bytes()?)? {
                    Ok(span) => spans.push(span),
                    Err(reason) => self.rejected.add(reason),
                }
            }
        }
        if !spans.is_empty() {
            self.batches.push(Batch {
                resource: Arc::clone(resource),
                scope: Arc::new(scope),
                spans,
            });
        }
        Ok(())
    }

    fn scope(&mut self, message: &[u8]) -> Result<Scope, Refused> {
        let mut scope = Scope::default();
        let (mut attributes, mut dropped) = (Vec::new(), 0);
        for field in Fields::new(message) {
            match field? {
                (1, field) => scope.name = self.text(field)?,
                (2, field) => scope.version = self.text(field)?,
                (3, field) => self.attribute(field, &mut attributes, &mut dropped)?,
                (4, field) => dropped = field.uint32()?.saturating_add(dropped),
                _ => {}
            }
        }
        scope.attributes = attributes.into();
        scope.dropped_attributes = dropped;
        Ok(scope)
    }

    /// The inner error says why this span alone cannot be kept.
    fn span(&mut self, message: &[u8]) -> Result<Result<(TraceId, Span), &'static str>, Refused> {
        let (mut trace_id, mut span_id, mut parent_id) = (&[][..], &[][..], &[][..]);
        let (mut trace_state, mut name) = (Box::default(), Box::default());
        let (mut flags, mut kind) = (0, Kind::Unspecified);
        let (mut start_unix_nano, mut end_unix_nano) = (0, 0);
        let (mut attributes, mut dropped_attributes) = (Vec::new(), 0);
        let (mut events, mut dropped_events) = (Vec::new(), 0_u32);
        let (mut links, mut dropped_links) = (Vec::new(), 0_u32);
        let mut status = Status::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => trace_id = field.bytes()?,
                (2, field) => span_id = field.bytes()?,
                (3, field) => trace_state = self.text(field)?,
                (4, field) => parent_id = field.bytes()?,
                (5, field) => name = self.text(field)?,
                (6, field) => kind = span_kind(field.varint()?),
                (7, field) => start_unix_nano = field.fixed64()?,
                (8, field) => end_unix_nano = field.fixed64()?,
                (9, field) => self.attribute(field, &mut attributes, &mut dropped_attributes)?,
                (10, field) => {
                    dropped_attributes = field.uint32()?.saturating_add(dropped_attributes);
                }
                (11, field) if events.len() < MAX_ELEMENTS => {
                    events.push(self.event(field.bytes()?)?);
                }
                (11, _) => dropped_events = dropped_events.saturating_add(1),
                (12, field) => dropped_events = field.uint32()?.saturating_add(dropped_events),
                (13, field) if links.len() < MAX_ELEMENTS => match self.link(field.bytes()?)? {
                    Some(link) => links.push(link),
                    None => dropped_links = dropped_links.saturating_add(1),
                },
                (13, _) => dropped_links = dropped_links.saturating_add(1),
                (14, field) => dropped_links = field.uint32()?.saturating_add(dropped_links),
                (15, field) => status = self.status(field.bytes()?)?,
                (16, field) => flags = field.fixed32()?,
                _ => {}
            }
        }
        Ok(
            ids(trace_id, span_id, parent_id).map(|(trace, id, parent)| {
                let span = Span {
                    id,
                    parent,
                    trace_state,
                    flags,
                    name,
                    kind,
                    start_unix_nano,
                    end_unix_nano,
                    attributes: attributes.into(),
                    dropped_attributes,
                    events: events.into(),
                    dropped_events,
                    links: links.into(),
                    dropped_links,
                    status,
                };
                (trace, span)
            }),
        )
    }

    fn event(&mut self, message: &[u8]) -> Result<Event, Refused> {
        self.charge(size_of::<Event>())?;
        let (mut time_unix_nano, mut name) = (0, Box::default());
        let (mut attributes, mut dropped_attributes) = (Vec::new(), 0);
        for field in Fields::new(message) {
            match field? {
                (1, field) => time_unix_nano = field.fixed64()?,
                (2, field) => name = self.text(field)?,
                (3, field) => self.attribute(field, &mut attributes, &mut dropped_attributes)?,
                (4, field) => {
                    dropped_attributes = field.uint32()?.saturating_add(dropped_attributes);
                }
                _ => {}
            }
        }
        Ok(Event {
            time_unix_nano,
            name,
            attributes: attributes.into(),
            dropped_attributes,
        })
    }

    /// `None` if the link names no valid span.
    fn link(&mut self, message: &[u8]) -> Result<Option<Link>, Refused> {
        self.charge(size_of::<Link>())?;
        let (mut trace_id, mut span_id) = (&[][..], &[][..]);
        let (mut trace_state, mut flags) = (Box::default(), 0);
        let (mut attributes, mut dropped_attributes) = (Vec::new(), 0);
        for field in Fields::new(message) {
            match field? {
                (1, field) => trace_id = field.bytes()?,
                (2, field) => span_id = field.bytes()?,
                (3, field) => trace_state = self.text(field)?,
                (4, field) => self.attribute(field, &mut attributes, &mut dropped_attributes)?,
                (5, field) => {
                    dropped_attributes = field.uint32()?.saturating_add(dropped_attributes);
                }
                (6, field) => flags = field.fixed32()?,
                _ => {}
            }
        }
        let ids = ids(trace_id, span_id, &[]).ok();
        Ok(ids.map(|(trace, span, _)| Link {
            trace,
            span,
            trace_state,
            attributes: attributes.into(),
            dropped_attributes,
            flags,
        }))
    }

    fn status(&mut self, message: &[u8]) -> Result<Status, Refused> {
        let mut status = Status::default();
        for field in Fields::new(message) {
            match field? {
                (2, field) => status.message = self.text(field)?,
                (3, field) => {
                    status.code = match field.varint()? {
                        1 => StatusCode::Ok,
                        2 => StatusCode::Error,
                        _ => StatusCode::Unset,
                    }
                }
                _ => {}
            }
        }
        Ok(status)
    }

    fn attribute(
        &mut self,
        field: Field<'_>,
        into: &mut Vec<KeyValue>,
        dropped: &mut u32,
    ) -> Result<(), Refused> {
        if into.len() < MAX_ELEMENTS {
            into.push(self.key_value(field.bytes()?, 0)?);
        } else {
            *dropped = dropped.saturating_add(1);
        }
        Ok(())
    }

    fn key_value(&mut self, message: &[u8], depth: usize) -> Result<KeyValue, Refused> {
        self.charge(size_of::<KeyValue>())?;
        let (mut key, mut value) = (Box::default(), Value::Empty);
        for field in Fields::new(message) {
            match field? {
                (1, field) => key = self.text(field)?,
                (2, field) => value = self.value(field.bytes()?, depth)?,
                _ => {}
            }
        }
        Ok(KeyValue { key, value })
    }

    fn value(&mut self, message: &[u8], depth: usize) -> Result<Value, Refused> {
        if depth > MAX_DEPTH {
            return Err(Malformed::Depth.into());
        }
        let mut value = Value::Empty;
        for field in Fields::new(message) {
            value = match field? {
                (1, field) => Value::String(self.text(field)?),
                (2, field) => Value::Bool(field.varint()? != 0),
                (3, field) => Value::Int(field.varint()?.cast_signed()),
                (4, field) => Value::Double(Double(f64::from_bits(field.fixed64()?))),
                (5, field) => self.array(field.bytes()?, depth + 1)?,
                (6, field) => self.map(field.bytes()?, depth + 1)?,
                (7, field) => {
                    let bytes = field.bytes()?;
                    let bytes = &bytes[..bytes.len().min(MAX_VALUE_BYTES)];
                    self.charge(bytes.len())?;
                    Value::Bytes(bytes.into())
                }
                _ => value,
            };
        }
        Ok(value)
    }

    fn array(&mut self, message: &[u8], depth: usize) -> Result<Value, Refused> {
        let mut values = Vec::new();
        for field in Fields::new(message) {
            if let (1, field) = field? {
                self.charge(size_of::<Value>())?;
                values.push(self.value(field.bytes()?, depth)?);
            }
        }
        Ok(Value::Array(values.into()))
    }

    fn map(&mut self, message: &[u8], depth: usize) -> Result<Value, Refused> {
        let mut pairs = Vec::new();
        for field in Fields::new(message) {
            if let (1, field) = field? {
                pairs.push(self.key_value(field.bytes()?, depth)?);
            }
        }
        Ok(Value::Map(pairs.into()))
    }

    fn text(&mut self, field: Field<'_>) -> Result<Box<str>, Refused> {
        let text = field.string()?;
        let text = &text[..text.floor_char_boundary(MAX_VALUE_BYTES)];
        self.charge(text.len())?;
        Ok(text.into())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Refused> {
        self.budget = self.budget.checked_sub(bytes).ok_or(Refused::TooLarge)?;
        Ok(())
    }
}

fn ids(
    trace: &[u8],
    span: &[u8],
    parent: &[u8],
) -> Result<(TraceId, SpanId, Option<SpanId>), &'static str> {
    let trace = trace
        .try_into()
        .map_err(|_| "a trace_id that is not 16 bytes long")?;
    let trace = TraceId::new(trace).ok_or("a trace_id of zeros")?;
    let span = span
        .try_into()
        .map_err(|_| "a span_id that is not 8 bytes long")?;
    let span = SpanId::new(span).ok_or("a span_id of zeros")?;
    if parent.is_empty() {
        return Ok((trace, span, None));
    }
    let parent = parent
        .try_into()
        .map_err(|_| "a parent_span_id that is neither empty nor 8 bytes long")?;
    // Some senders write a root's missing parent as zeros.
    Ok((trace, span, SpanId::new(parent)))
}

fn span_kind(number: u64) -> Kind {
    match number {
        1 => Kind::Internal,
        2 => Kind::Server,
        3 => Kind::Client,
        4 => Kind::Producer,
        5 => Kind::Consumer,
        _ => Kind::Unspecified,
    }
}
