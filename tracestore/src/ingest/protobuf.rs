//! Reads an OTLP `ExportTraceServiceRequest` straight from the wire into spans. What logs have of their own is below.
//!
//! Text and bytes are borrowed from the request: only lists take memory. Decoding into messages and
//! judging them afterwards would not do: two bytes on the wire become a span of 224 bytes, so 4 MB
//! of protobuf become 450 MB. Field numbers:
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>

mod logs;

use std::{borrow::Cow, str, sync::Arc};

pub(crate) use self::logs::decode as decode_logs;
use super::{
    build::{
        Builder, Capped, Decoded, EventDraft, LinkDraft, MAX_DEPTH, Refused, ResourceDraft,
        ScopeDraft, SpanDraft,
    },
    wire::{Field, Fields, Malformed},
};
use crate::{
    span::{Double, Event, KeyValue, Kind, Resource, Scope, Status, StatusCode, Value},
    store::Batch,
};

/// Reads a whole request. If a message that belongs there once comes twice, the last one counts.
///
/// # Errors
/// All or nothing, but for spans with bad ids, which are counted in `Decoded::rejected`.
pub(crate) fn decode(request: &[u8]) -> Result<Decoded<'_>, Refused> {
    let mut decoder = Decoder::new(request.len());
    let read = decoder.elements(request, Decoder::resource_spans);
    read.map_err(|refused| refused.of("ExportTraceServiceRequest"))?;
    Ok(decoder.builder.finish())
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Refused {
        Refused::Malformed(malformed.to_string())
    }
}

struct Decoder<'a> {
    builder: Builder<'a>,
    /// Whether text that is not UTF-8 is mended instead of refused.
    mends_text: bool,
    /// How many the last span with attributes had: the next one most likely has as many.
    usual_attributes: usize,
}

impl<'a> Decoder<'a> {
    /// For a message of so many bytes.
    fn new(message: usize) -> Decoder<'a> {
        Decoder {
            builder: Builder::new(message),
            mends_text: false,
            usual_attributes: 1,
        }
    }

    /// Reads a request: nothing but a list of messages.
    fn elements(
        &mut self,
        request: &'a [u8],
        read: fn(&mut Self, &'a [u8]) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        for field in Fields::new(request) {
            if let (1, field) = field? {
                read(self, field.bytes()?)?;
            }
        }
        Ok(())
    }

    fn resource_spans(&mut self, message: &'a [u8]) -> Result<(), Refused> {
        let resource = self.resource_of(message)?;
        for field in Fields::new(message) {
            if let (2, field) = field? {
                self.scope_spans(field.bytes()?, &resource)?;
            }
        }
        Ok(())
    }

    /// Of `ResourceSpans` or `ResourceLogs`, whose fields have the same numbers.
    fn resource_of(&mut self, message: &'a [u8]) -> Result<Arc<Resource<'a>>, Refused> {
        self.builder.charge(size_of::<Resource<'_>>())?;
        let mut resource = ResourceDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => resource.attributes = self.resource(field.bytes()?)?,
                (3, field) => resource.schema_url = self.text(field)?,
                _ => {}
            }
        }
        Ok(resource.build())
    }

    fn resource(&mut self, message: &'a [u8]) -> Result<Capped<KeyValue<'a>>, Refused> {
        let mut attributes = Capped::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => self.attribute(field, &mut attributes, 1)?,
                (2, field) => attributes.drop_more(field.uint32()?),
                _ => {}
            }
        }
        Ok(attributes)
    }

    fn scope_spans(
        &mut self,
        message: &'a [u8],
        resource: &Arc<Resource<'a>>,
    ) -> Result<(), Refused> {
        let (scope, count) = self.scope_of(message)?;
        let mut spans = self.builder.list(count)?;
        for field in Fields::new(message) {
            if let (2, field) = field? {
                let draft = self.span(field.bytes()?)?;
                spans.extend(self.builder.span(draft));
            }
        }
        self.builder.add(resource, scope, spans);
        Ok(())
    }

    /// Of `ScopeSpans` or `ScopeLogs`, whose fields have the same numbers, and how many spans or log records it has.
    fn scope_of(&mut self, message: &'a [u8]) -> Result<(Scope<'a>, usize), Refused> {
        let charge = size_of::<Batch<'_>>() + size_of::<Scope<'_>>();
        self.builder.charge(charge)?;
        let mut scope = ScopeDraft::default();
        let mut schema_url = Cow::default();
        let mut count = 0;
        for field in Fields::new(message) {
            match field? {
                (1, field) => scope = self.scope(field.bytes()?)?,
                (2, _) => count += 1,
                (3, field) => schema_url = self.text(field)?,
                _ => {}
            }
        }
        Ok((scope.build(schema_url), count))
    }

    fn scope(&mut self, message: &'a [u8]) -> Result<ScopeDraft<'a>, Refused> {
        let mut scope = ScopeDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => scope.name = self.text(field)?,
                (2, field) => scope.version = self.text(field)?,
                (3, field) => self.attribute(field, &mut scope.attributes, 1)?,
                (4, field) => scope.attributes.drop_more(field.uint32()?),
                _ => {}
            }
        }
        Ok(scope)
    }

    fn span(&mut self, message: &'a [u8]) -> Result<SpanDraft<'a>, Refused> {
        let mut span = SpanDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => span.trace_id = field.bytes()?.into(),
                (2, field) => span.span_id = field.bytes()?.into(),
                (3, field) => span.trace_state = self.text(field)?,
                (4, field) => span.parent_id = field.bytes()?.into(),
                (5, field) => span.name = self.text(field)?,
                (6, field) => span.kind = Kind::from_number(field.varint()?),
                (7, field) => span.start_unix_nano = field.fixed64()?,
                (8, field) => span.end_unix_nano = field.fixed64()?,
                (9, field) => {
                    let expected = self.usual_attributes;
                    self.attribute(field, &mut span.attributes, expected)?;
                }
                (10, field) => span.attributes.drop_more(field.uint32()?),
                (11, _) if span.events.is_full() => span.events.drop_more(1),
                (11, field) => {
                    self.builder.make_room(span.events.kept(), 1)?;
                    span.events.push(self.event(field.bytes()?)?);
                }
                (12, field) => span.events.drop_more(field.uint32()?),
                (13, _) if span.links.is_full() => span.links.drop_more(1),
                (13, field) => {
                    self.builder.make_room(span.links.kept(), 1)?;
                    self.link(field.bytes()?)?.build_into(&mut span.links);
                }
                (14, field) => span.links.drop_more(field.uint32()?),
                (15, field) => span.status = self.status(field.bytes()?)?,
                (16, field) => span.flags = field.fixed32()?,
                _ => {}
            }
        }
        if !span.attributes.kept().is_empty() {
            self.usual_attributes = span.attributes.kept().len();
        }
        Ok(span)
    }

    fn event(&mut self, message: &'a [u8]) -> Result<Event<'a>, Refused> {
        let mut event = EventDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => event.time_unix_nano = field.fixed64()?,
                (2, field) => event.name = self.text(field)?,
                (3, field) => self.attribute(field, &mut event.attributes, 1)?,
                (4, field) => event.attributes.drop_more(field.uint32()?),
                _ => {}
            }
        }
        Ok(event.build())
    }

    fn link(&mut self, message: &'a [u8]) -> Result<LinkDraft<'a>, Refused> {
        let mut link = LinkDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => link.trace_id = field.bytes()?.into(),
                (2, field) => link.span_id = field.bytes()?.into(),
                (3, field) => link.trace_state = self.text(field)?,
                (4, field) => self.attribute(field, &mut link.attributes, 1)?,
                (5, field) => link.attributes.drop_more(field.uint32()?),
                (6, field) => link.flags = field.fixed32()?,
                _ => {}
            }
        }
        Ok(link)
    }

    /// `expected` is how many attributes there will be, by the first guess.
    fn attribute(
        &mut self,
        field: Field<'a>,
        into: &mut Capped<KeyValue<'a>>,
        expected: usize,
    ) -> Result<(), Refused> {
        if into.is_full() {
            into.drop_more(1);
        } else {
            self.key_value(field, into.kept(), expected, 0)?;
        }
        Ok(())
    }

    /// Reads straight into the list: of all that is in a request, attributes are the most.
    fn key_value(
        &mut self,
        field: Field<'a>,
        into: &mut Vec<KeyValue<'a>>,
        expected: usize,
        depth: usize,
    ) -> Result<(), Refused> {
        self.builder.make_room(into, expected)?;
        let pair = into.push_mut(KeyValue {
            key: Cow::Borrowed(""),
            value: Value::Empty,
        });
        for field in Fields::new(field.bytes()?) {
            match field? {
                (1, field) => pair.key = self.text(field)?,
                (2, field) => self.value(field, &mut pair.value, depth)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A value that comes twice replaces the first one, even if nothing is set in it.
    fn value(
        &mut self,
        field: Field<'a>,
        into: &mut Value<'a>,
        depth: usize,
    ) -> Result<(), Refused> {
        if depth > MAX_DEPTH {
            return Err(Malformed::Depth.into());
        }
        *into = Value::Empty;
        for field in Fields::new(field.bytes()?) {
            match field? {
                (1, field) => *into = Value::String(self.text(field)?),
                (2, field) => *into = Value::Bool(field.varint()? != 0),
                (3, field) => *into = Value::Int(field.varint()?.cast_signed()),
                (4, field) => *into = Value::Double(Double(f64::from_bits(field.fixed64()?))),
                (5, field) => *into = self.array(field.bytes()?, depth + 1)?,
                (6, field) => *into = self.map(field.bytes()?, depth + 1)?,
                (7, field) => *into = Value::Bytes(self.builder.bytes(field.bytes()?)),
                _ => {}
            }
        }
        Ok(())
    }

    fn array(&mut self, message: &'a [u8], depth: usize) -> Result<Value<'a>, Refused> {
        let mut values = Vec::new();
        for field in Fields::new(message) {
            if let (1, field) = field? {
                self.builder.make_room(&mut values, 1)?;
                self.value(field, values.push_mut(Value::Empty), depth)?;
            }
        }
        Ok(Value::Array(values))
    }

    fn map(&mut self, message: &'a [u8], depth: usize) -> Result<Value<'a>, Refused> {
        let mut pairs = Vec::new();
        for field in Fields::new(message) {
            if let (1, field) = field? {
                self.key_value(field, &mut pairs, 1, depth)?;
            }
        }
        Ok(Value::Map(pairs))
    }

    fn status(&mut self, message: &'a [u8]) -> Result<Status<'a>, Refused> {
        let mut status = Status::default();
        for field in Fields::new(message) {
            match field? {
                (2, field) => status.message = self.text(field)?,
                (3, field) => status.code = StatusCode::from_number(field.varint()?),
                _ => {}
            }
        }
        Ok(status)
    }

    fn text(&mut self, field: Field<'a>) -> Result<Cow<'a, str>, Refused> {
        let bytes = field.bytes()?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(self.builder.text(text)),
            Err(_) if self.mends_text => Ok(self.builder.mended_text(bytes)?),
            Err(_) => Err(Malformed::Utf8.into()),
        }
    }
}
