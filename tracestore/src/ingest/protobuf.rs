//! Reads an OTLP `ExportTraceServiceRequest` straight from the wire into spans.
//!
//! Decoding into messages and judging them afterwards would not do: two bytes on the wire become
//! a span of 264 bytes, so 4 MB of protobuf become 500 MB. Field numbers:
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>

use std::sync::Arc;

use super::{
    build::{
        Builder, Capped, Decoded, EventDraft, LinkDraft, MAX_DEPTH, Refused, ResourceDraft,
        ScopeDraft, SpanDraft, span_kind, status_code,
    },
    wire::{Field, Fields, Malformed},
};
use crate::{
    span::{Double, Event, KeyValue, Link, Resource, Scope, Span, Status, TraceId, Value},
    store::Batch,
};

/// Reads a whole request. If a message that belongs there once comes twice, the last one counts.
///
/// # Errors
/// All or nothing, but for spans with bad ids, which are counted in `Decoded::rejected`.
pub(crate) fn decode(request: &[u8]) -> Result<Decoded, Refused> {
    let mut decoder = Decoder(Builder::new());
    for field in Fields::new(request) {
        if let (1, field) = field? {
            decoder.resource_spans(field.bytes()?)?;
        }
    }
    Ok(decoder.0.finish())
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Refused {
        Refused::Malformed(format!("not an ExportTraceServiceRequest: {malformed}"))
    }
}

struct Decoder(Builder);

impl Decoder {
    fn resource_spans(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.0.charge(size_of::<Resource>())?;
        let mut resource = ResourceDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => resource.attributes = self.resource(field.bytes()?)?,
                (3, field) => resource.schema_url = self.text(field)?,
                _ => {}
            }
        }
        let resource = resource.build();
        for field in Fields::new(message) {
            if let (2, field) = field? {
                self.scope_spans(field.bytes()?, &resource)?;
            }
        }
        Ok(())
    }

    fn resource(&mut self, message: &[u8]) -> Result<Capped<KeyValue>, Refused> {
        let mut attributes = Capped::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => self.attribute(field, &mut attributes)?,
                (2, field) => attributes.drop_more(field.uint32()?),
                _ => {}
            }
        }
        Ok(attributes)
    }

    fn scope_spans(&mut self, message: &[u8], resource: &Arc<Resource>) -> Result<(), Refused> {
        self.0.charge(size_of::<Batch>() + size_of::<Scope>())?;
        let mut scope = ScopeDraft::default();
        let mut schema_url = Box::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => scope = self.scope(field.bytes()?)?,
                (3, field) => schema_url = self.text(field)?,
                _ => {}
            }
        }
        let mut spans = Vec::new();
        for field in Fields::new(message) {
            if let (2, field) = field? {
                self.0.charge(size_of::<(TraceId, Span)>())?;
                let draft = self.span(field.bytes()?)?;
                spans.extend(self.0.span(draft));
            }
        }
        self.0.add(resource, scope.build(schema_url), spans);
        Ok(())
    }

    fn scope(&mut self, message: &[u8]) -> Result<ScopeDraft, Refused> {
        let mut scope = ScopeDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => scope.name = self.text(field)?,
                (2, field) => scope.version = self.text(field)?,
                (3, field) => self.attribute(field, &mut scope.attributes)?,
                (4, field) => scope.attributes.drop_more(field.uint32()?),
                _ => {}
            }
        }
        Ok(scope)
    }

    fn span(&mut self, message: &[u8]) -> Result<SpanDraft, Refused> {
        let mut span = SpanDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => span.trace_id = field.bytes()?.into(),
                (2, field) => span.span_id = field.bytes()?.into(),
                (3, field) => span.trace_state = self.text(field)?,
                (4, field) => span.parent_id = field.bytes()?.into(),
                (5, field) => span.name = self.text(field)?,
                (6, field) => span.kind = span_kind(field.varint()?),
                (7, field) => span.start_unix_nano = field.fixed64()?,
                (8, field) => span.end_unix_nano = field.fixed64()?,
                (9, field) => self.attribute(field, &mut span.attributes)?,
                (10, field) => span.attributes.drop_more(field.uint32()?),
                (11, _) if span.events.is_full() => span.events.drop_more(1),
                (11, field) => span.events.push(self.event(field.bytes()?)?),
                (12, field) => span.events.drop_more(field.uint32()?),
                (13, _) if span.links.is_full() => span.links.drop_more(1),
                (13, field) => self.link(field.bytes()?)?.build_into(&mut span.links),
                (14, field) => span.links.drop_more(field.uint32()?),
                (15, field) => span.status = self.status(field.bytes()?)?,
                (16, field) => span.flags = field.fixed32()?,
                _ => {}
            }
        }
        Ok(span)
    }

    fn event(&mut self, message: &[u8]) -> Result<Event, Refused> {
        self.0.charge(size_of::<Event>())?;
        let mut event = EventDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => event.time_unix_nano = field.fixed64()?,
                (2, field) => event.name = self.text(field)?,
                (3, field) => self.attribute(field, &mut event.attributes)?,
                (4, field) => event.attributes.drop_more(field.uint32()?),
                _ => {}
            }
        }
        Ok(event.build())
    }

    fn link(&mut self, message: &[u8]) -> Result<LinkDraft, Refused> {
        self.0.charge(size_of::<Link>())?;
        let mut link = LinkDraft::default();
        for field in Fields::new(message) {
            match field? {
                (1, field) => link.trace_id = field.bytes()?.into(),
                (2, field) => link.span_id = field.bytes()?.into(),
                (3, field) => link.trace_state = self.text(field)?,
                (4, field) => self.attribute(field, &mut link.attributes)?,
                (5, field) => link.attributes.drop_more(field.uint32()?),
                (6, field) => link.flags = field.fixed32()?,
                _ => {}
            }
        }
        Ok(link)
    }

    fn status(&mut self, message: &[u8]) -> Result<Status, Refused> {
        let mut status = Status::default();
        for field in Fields::new(message) {
            match field? {
                (2, field) => status.message = self.text(field)?,
                (3, field) => status.code = status_code(field.varint()?),
                _ => {}
            }
        }
        Ok(status)
    }

    fn attribute(&mut self, field: Field<'_>, into: &mut Capped<KeyValue>) -> Result<(), Refused> {
        if into.is_full() {
            into.drop_more(1);
        } else {
            into.push(self.key_value(field.bytes()?, 0)?);
        }
        Ok(())
    }

    fn key_value(&mut self, message: &[u8], depth: usize) -> Result<KeyValue, Refused> {
        self.0.charge(size_of::<KeyValue>())?;
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
                (7, field) => Value::Bytes(self.0.bytes(field.bytes()?)?),
                _ => value,
            };
        }
        Ok(value)
    }

    fn array(&mut self, message: &[u8], depth: usize) -> Result<Value, Refused> {
        let mut values = Vec::new();
        for field in Fields::new(message) {
            if let (1, field) = field? {
                self.0.charge(size_of::<Value>())?;
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
        Ok(self.0.text(field.string()?)?)
    }
}
