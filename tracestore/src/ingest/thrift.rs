//! Reads a Jaeger `Batch` in thrift straight from the bytes into spans.
//!
//! Fields: <https://github.com/jaegertracing/jaeger-idl/blob/main/thrift/jaeger.thrift>. What they
//! become is what the OpenTelemetry Collector makes of them:
//! <https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/pkg/translator/jaeger>.
//! Beyond that, `otel.scope.*` and `w3c.tracestate` are read as the specification writes them:
//! <https://github.com/open-telemetry/opentelemetry-specification/blob/34b907207f3dfe1635a35c4cdac6b6ab3a495e18/specification/trace/sdk_exporters/jaeger.md>

use std::borrow::Cow;

use indexmap::IndexMap;

use super::{
    build::{
        Builder, Capped, Decoded, EventDraft, Id, LinkDraft, Refused, ResourceDraft, ScopeDraft,
        SpanDraft, TooLarge, bytes, text,
    },
    tbinary::{Malformed, Reader, Type},
};
use crate::{
    span::{
        Double, Event, KeyValue, Kind, Link, SERVICE_NAME, Scope, Span, Status, StatusCode,
        TraceId, Value,
    },
    store::Batch,
};

/// Tags that say what OTLP has fields for:
/// <https://opentelemetry.io/docs/specs/otel/common/mapping-to-non-otlp/>
const SPAN_KIND: &str = "span.kind";
const ERROR: &str = "error";
const STATUS_CODE: &str = "otel.status_code";
const STATUS_DESCRIPTION: &str = "otel.status_description";
const SCOPE_NAME: &str = "otel.scope.name";
const SCOPE_VERSION: &str = "otel.scope.version";
const TRACE_STATE: &str = "w3c.tracestate";
const EVENT_NAME: &str = "event";

/// Tags of OpenTracing, from which the Collector infers a status:
/// <https://github.com/opentracing/specification/blob/master/semantic_conventions.md>
const HTTP_STATUS_CODE: &str = "http.status_code";
const HTTP_STATUS_MESSAGE: &str = "http.status_message";

/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/opentracing/>
const REF_TYPE: &str = "opentracing.ref_type";

/// Reads a whole batch. Spans of the same scope are together.
///
/// # Errors
/// All or nothing, but for spans with ids of zeros, which are counted in `Decoded::rejected`.
pub(crate) fn decode(batch: &[u8]) -> Result<Decoded<'_>, Refused> {
    let mut decoder = Decoder(Builder::new(batch.len()));
    decoder.batch(&mut Reader::new(batch))?;
    Ok(decoder.0.finish())
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Refused {
        Refused::Malformed(format!(
            "not a jaeger.Batch in thrift's binary protocol: {malformed}"
        ))
    }
}

type Spans<'a> = IndexMap<Scope<'a>, Vec<(TraceId, Span<'a>)>>;

/// A tag as it is on the wire. A value that is missing is the default of its type.
struct Tag<'a> {
    key: &'a str,
    value: TagValue<'a>,
}

#[derive(Clone, Copy)]
enum TagValue<'a> {
    Text(&'a str),
    Double(f64),
    Bool(bool),
    Long(i64),
    Binary(&'a [u8]),
    /// Of a type that does not exist.
    Unknown,
}

/// A `SpanRef`.
struct Reference {
    follows: bool,
    trace: [u8; 16],
    span: i64,
}

/// Tags of a span that are not kept as attributes, but for those that turn out to say nothing.
#[derive(Default)]
struct Special<'a> {
    error: bool,
    code: Option<&'a str>,
    description: Option<&'a str>,
    http_code: Option<i64>,
    http_message: &'a str,
    scope_name: Option<&'a str>,
    scope_version: Option<&'a str>,
}

struct Decoder<'a>(Builder<'a>);

impl<'a> Decoder<'a> {
    fn batch(&mut self, reader: &mut Reader<'a>) -> Result<(), Refused> {
        let (mut process, mut spans) = (None, None);
        while let Some((id, kind)) = reader.field()? {
            match (id, kind) {
                (1, Type::Struct) => process = Some(self.process(reader)?),
                (2, Type::List) => {
                    let spans = spans.get_or_insert_with(Spans::new);
                    for _ in 0..reader.list_of_structs()? {
                        self.span(reader, spans)?;
                    }
                }
                _ => reader.skip(kind)?,
            }
        }
        reader.end()?;
        let resource = process.ok_or(Malformed::Missing("Batch.process"))?.build();
        for (scope, spans) in spans.ok_or(Malformed::Missing("Batch.spans"))? {
            self.0.add(&resource, scope, spans);
        }
        Ok(())
    }

    fn process(&mut self, reader: &mut Reader<'a>) -> Result<ResourceDraft<'a>, Refused> {
        let mut service_name = None;
        let mut tags = Capped::default();
        while let Some((id, kind)) = reader.field()? {
            match (id, kind) {
                (1, Type::String) => service_name = Some(reader.string()?),
                (2, Type::List) => {
                    for _ in 0..reader.list_of_structs()? {
                        let tag = tag(reader)?;
                        self.put(&mut tags, tag.key, tag.value)?;
                    }
                }
                _ => reader.skip(kind)?,
            }
        }
        let name = service_name.ok_or(Malformed::Missing("Process.serviceName"))?;
        let has =
            |tags: &mut Capped<KeyValue<'a>>, key| tags.kept().iter().any(|tag| tag.key == key);
        if !name.is_empty() && !has(&mut tags, SERVICE_NAME) {
            // First, and kept however many tags there are.
            self.0.make_room(tags.kept(), 1)?;
            let attribute = key_value(SERVICE_NAME, TagValue::Text(name));
            tags.kept().insert(0, attribute);
        }
        if !has(&mut tags, "host.name")
            && let Some(host) = find(&mut tags, "hostname")
        {
            host.key = "host.name".into();
        }
        if !has(&mut tags, "opencensus.exporterversion")
            && let Some(version) = find(&mut tags, "jaeger.version")
            && let Value::String(text) = &version.value
        {
            let text = self.0.copied_text(&format!("Jaeger-{text}"))?;
            version.value = Value::String(text);
            version.key = "opencensus.exporterversion".into();
        }
        Ok(ResourceDraft {
            attributes: tags,
            ..ResourceDraft::default()
        })
    }

    fn span(&mut self, reader: &mut Reader<'a>, spans: &mut Spans<'a>) -> Result<(), Refused> {
        self.0.charge(size_of::<(TraceId, Span<'_>)>())?;
        let mut span = SpanDraft::default();
        let mut special = Special::default();
        let (mut low, mut high, mut span_id, mut parent) = (None, None, None, None);
        let (mut name, mut flags, mut start, mut duration) = (None, None, None, None);
        let mut references = Vec::new();
        while let Some((id, kind)) = reader.field()? {
            match (id, kind) {
                (1, Type::I64) => low = Some(reader.i64()?),
                (2, Type::I64) => high = Some(reader.i64()?),
                (3, Type::I64) => span_id = Some(reader.i64()?),
                (4, Type::I64) => parent = Some(reader.i64()?),
                (5, Type::String) => name = Some(reader.string()?),
                (6, Type::List) => {
                    for _ in 0..reader.list_of_structs()? {
                        self.0.make_room(&mut references, 1)?;
                        references.push(reference(reader)?);
                    }
                }
                (7, Type::I32) => flags = Some(reader.i32()?),
                (8, Type::I64) => start = Some(reader.i64()?),
                (9, Type::I64) => duration = Some(reader.i64()?),
                (10, Type::List) => {
                    for _ in 0..reader.list_of_structs()? {
                        let tag = tag(reader)?;
                        self.span_tag(&tag, &mut span, &mut special)?;
                    }
                }
                (11, Type::List) => {
                    for _ in 0..reader.list_of_structs()? {
                        self.log(reader, &mut span.events)?;
                    }
                }
                _ => reader.skip(kind)?,
            }
        }
        let low = low.ok_or(Malformed::Missing("Span.traceIdLow"))?;
        let high = high.ok_or(Malformed::Missing("Span.traceIdHigh"))?;
        let id = span_id.ok_or(Malformed::Missing("Span.spanId"))?;
        let parent = parent.ok_or(Malformed::Missing("Span.parentSpanId"))?;
        let name = name.ok_or(Malformed::Missing("Span.operationName"))?;
        // Jaeger's flags are no trace flags, and the Collector leaves them out.
        flags.ok_or(Malformed::Missing("Span.flags"))?;
        let start = start.ok_or(Malformed::Missing("Span.startTime"))?;
        let duration = duration.ok_or(Malformed::Missing("Span.duration"))?;

        let trace = trace_id(high, low);
        let parent = parent_of(parent, &references, trace);
        span.trace_id = Id::Bytes(trace);
        span.span_id = Id::Bytes(id.to_be_bytes());
        span.parent_id = Id::Bytes(parent.to_be_bytes());
        span.name = text(name);
        span.start_unix_nano = nanoseconds(start);
        span.end_unix_nano = nanoseconds(start.saturating_add(duration));
        for reference in references {
            if reference.follows || reference.span != parent {
                self.link(&reference, &mut span.links)?;
            }
        }
        self.finish_status(&mut span, &mut special)?;
        let scope = self.scope(&mut span, &special)?;
        if let Some(built) = self.0.span(span) {
            if !spans.contains_key(&scope) {
                let charge = size_of::<Batch<'_>>() + 2 * size_of::<Scope<'_>>();
                self.0.charge(charge)?;
            }
            spans.entry(scope).or_default().push(built);
        }
        Ok(())
    }

    fn span_tag(
        &mut self,
        tag: &Tag<'a>,
        span: &mut SpanDraft<'a>,
        special: &mut Special<'a>,
    ) -> Result<(), Refused> {
        match (tag.key, tag.value) {
            (SPAN_KIND, TagValue::Text(text)) if let Some(kind) = span_kind(text) => {
                span.kind = kind;
            }
            (ERROR, TagValue::Bool(true)) => special.error = true,
            (STATUS_CODE, TagValue::Text(code)) => special.code = Some(code),
            (STATUS_DESCRIPTION, TagValue::Text(text)) => special.description = Some(text),
            (SCOPE_NAME, TagValue::Text(name)) => special.scope_name = Some(name),
            (SCOPE_VERSION, TagValue::Text(version)) => special.scope_version = Some(version),
            (TRACE_STATE, TagValue::Text(state)) => span.trace_state = text(state),
            (key, value) => {
                match (key, value) {
                    (HTTP_STATUS_CODE, TagValue::Long(code)) => special.http_code = Some(code),
                    (HTTP_STATUS_CODE, TagValue::Text(code)) => {
                        special.http_code = code.parse().ok();
                    }
                    (HTTP_STATUS_MESSAGE, TagValue::Text(text)) => special.http_message = text,
                    _ => {}
                }
                self.put(&mut span.attributes, key, value)?;
            }
        }
        Ok(())
    }

    /// The tag `error` has the last word, then the status of OpenTelemetry, then that of HTTP.
    fn finish_status(
        &mut self,
        span: &mut SpanDraft<'a>,
        special: &mut Special<'a>,
    ) -> Result<(), Refused> {
        let (code, message) = if special.error {
            let described = special.description.take();
            (StatusCode::Error, described.unwrap_or(special.http_message))
        } else if let Some(code) = special.code {
            let code = match code.to_ascii_uppercase().as_str() {
                "OK" => StatusCode::Ok,
                "ERROR" => StatusCode::Error,
                _ => StatusCode::Unset,
            };
            (code, special.description.take().unwrap_or_default())
        } else {
            match special.http_code {
                Some(code) if is_http_error(code, span.kind) => {
                    (StatusCode::Error, special.http_message)
                }
                _ => (StatusCode::Unset, ""),
            }
        };
        let message = text(message);
        span.status = Status { code, message };
        if let Some(text) = special.description {
            let value = TagValue::Text(text);
            self.put(&mut span.attributes, STATUS_DESCRIPTION, value)?;
        }
        Ok(())
    }

    fn scope(
        &mut self,
        span: &mut SpanDraft<'a>,
        special: &Special<'a>,
    ) -> Result<Scope<'a>, Refused> {
        let mut scope = ScopeDraft::default();
        match (special.scope_name, special.scope_version) {
            (Some(name), version) => {
                scope.name = text(name);
                scope.version = text(version.unwrap_or_default());
            }
            (None, Some(version)) => {
                let value = TagValue::Text(version);
                self.put(&mut span.attributes, SCOPE_VERSION, value)?;
            }
            (None, None) => {}
        }
        Ok(scope.build(Cow::default()))
    }

    fn log(
        &mut self,
        reader: &mut Reader<'a>,
        events: &mut Capped<Event<'a>>,
    ) -> Result<(), Refused> {
        let mut event = EventDraft::default();
        let (mut timestamp, mut fields) = (None, None);
        let full = events.is_full();
        if !full {
            self.0.make_room(events.kept(), 1)?;
        }
        while let Some((id, kind)) = reader.field()? {
            match (id, kind) {
                (1, Type::I64) => timestamp = Some(reader.i64()?),
                (2, Type::List) => {
                    fields = Some(());
                    for _ in 0..reader.list_of_structs()? {
                        let tag = tag(reader)?;
                        match (tag.key, tag.value) {
                            _ if full => {}
                            (EVENT_NAME, TagValue::Text(name)) => event.name = text(name),
                            (key, value) => self.put(&mut event.attributes, key, value)?,
                        }
                    }
                }
                _ => reader.skip(kind)?,
            }
        }
        fields.ok_or(Malformed::Missing("Log.fields"))?;
        let timestamp = timestamp.ok_or(Malformed::Missing("Log.timestamp"))?;
        event.time_unix_nano = nanoseconds(timestamp);
        events.push(event.build());
        Ok(())
    }

    fn link(&mut self, reference: &Reference, links: &mut Capped<Link<'a>>) -> Result<(), Refused> {
        if links.is_full() {
            links.drop_more(1);
            return Ok(());
        }
        self.0.make_room(links.kept(), 1)?;
        let mut link = LinkDraft {
            trace_id: Id::Bytes(reference.trace),
            span_id: Id::Bytes(reference.span.to_be_bytes()),
            ..LinkDraft::default()
        };
        let kind = if reference.follows {
            "follows_from"
        } else {
            "child_of"
        };
        self.put(&mut link.attributes, REF_TYPE, TagValue::Text(kind))?;
        link.build_into(links);
        Ok(())
    }

    /// Of tags with the same key, the last one counts, as the Collector has it.
    fn put(
        &mut self,
        attributes: &mut Capped<KeyValue<'a>>,
        key: &'a str,
        value: TagValue<'a>,
    ) -> Result<(), TooLarge> {
        if let Some(known) = find(attributes, key) {
            known.value = self::value(value);
        } else if attributes.is_full() {
            attributes.drop_more(1);
        } else {
            self.0.make_room(attributes.kept(), 1)?;
            attributes.push(key_value(key, value));
        }
        Ok(())
    }
}

fn key_value<'a>(key: &'a str, tag: TagValue<'a>) -> KeyValue<'a> {
    KeyValue {
        key: text(key),
        value: value(tag),
    }
}

fn value(tag: TagValue<'_>) -> Value<'_> {
    match tag {
        TagValue::Text(value) => Value::String(text(value)),
        TagValue::Double(number) => Value::Double(Double(number)),
        TagValue::Bool(truth) => Value::Bool(truth),
        TagValue::Long(number) => Value::Int(number),
        TagValue::Binary(value) => Value::Bytes(bytes(value)),
        TagValue::Unknown => Value::Empty,
    }
}

fn find<'l, 'a>(
    attributes: &'l mut Capped<KeyValue<'a>>,
    key: &str,
) -> Option<&'l mut KeyValue<'a>> {
    let mut kept = attributes.kept().iter_mut();
    kept.find(|attribute| attribute.key == key)
}

fn tag<'a>(reader: &mut Reader<'a>) -> Result<Tag<'a>, Malformed> {
    let (mut key, mut tag_type) = (None, None);
    let (mut text, mut double, mut truth, mut long) = ("", 0.0, false, 0);
    let mut binary = &[][..];
    while let Some((id, kind)) = reader.field()? {
        match (id, kind) {
            (1, Type::String) => key = Some(reader.string()?),
            (2, Type::I32) => tag_type = Some(reader.i32()?),
            (3, Type::String) => text = reader.string()?,
            (4, Type::Double) => double = reader.double()?,
            (5, Type::Bool) => truth = reader.bool()?,
            (6, Type::I64) => long = reader.i64()?,
            (7, Type::String) => binary = reader.bytes()?,
            _ => reader.skip(kind)?,
        }
    }
    let value = match tag_type.ok_or(Malformed::Missing("Tag.vType"))? {
        0 => TagValue::Text(text),
        1 => TagValue::Double(double),
        2 => TagValue::Bool(truth),
        3 => TagValue::Long(long),
        4 => TagValue::Binary(binary),
        _ => TagValue::Unknown,
    };
    let key = key.ok_or(Malformed::Missing("Tag.key"))?;
    Ok(Tag { key, value })
}

fn reference(reader: &mut Reader<'_>) -> Result<Reference, Malformed> {
    let (mut ref_type, mut low, mut high, mut span) = (None, None, None, None);
    while let Some((id, kind)) = reader.field()? {
        match (id, kind) {
            (1, Type::I32) => ref_type = Some(reader.i32()?),
            (2, Type::I64) => low = Some(reader.i64()?),
            (3, Type::I64) => high = Some(reader.i64()?),
            (4, Type::I64) => span = Some(reader.i64()?),
            _ => reader.skip(kind)?,
        }
    }
    let low = low.ok_or(Malformed::Missing("SpanRef.traceIdLow"))?;
    let high = high.ok_or(Malformed::Missing("SpanRef.traceIdHigh"))?;
    Ok(Reference {
        follows: ref_type.ok_or(Malformed::Missing("SpanRef.refType"))? != 0,
        trace: trace_id(high, low),
        span: span.ok_or(Malformed::Missing("SpanRef.spanId"))?,
    })
}

/// Tracers that know no `parentSpanId` refer to a span of the same trace.
fn parent_of(parent: i64, references: &[Reference], trace: [u8; 16]) -> i64 {
    if parent != 0 {
        return parent;
    }
    let mut own = references.iter().filter(|to| to.trace == trace);
    let first = own.clone().next();
    own.find(|to| !to.follows).or(first).map_or(0, |to| to.span)
}

fn trace_id(high: i64, low: i64) -> [u8; 16] {
    let (high, low) = (high.cast_unsigned(), low.cast_unsigned());
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// Of microseconds since the Unix epoch. What lies before it is unknown.
fn nanoseconds(microseconds: i64) -> u64 {
    u64::try_from(microseconds).map_or(0, |time| time.saturating_mul(1000))
}

fn span_kind(text: &str) -> Option<Kind> {
    Some(match text {
        "internal" => Kind::Internal,
        "server" => Kind::Server,
        "client" => Kind::Client,
        "producer" => Kind::Producer,
        "consumer" => Kind::Consumer,
        _ => return None,
    })
}

/// A client's mistake is no error of the server.
fn is_http_error(code: i64, kind: Kind) -> bool {
    match code {
        100..=399 => false,
        400..=499 => kind != Kind::Server,
        _ => true,
    }
}
