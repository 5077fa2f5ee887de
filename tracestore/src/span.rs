//! What a trace is made of, free of any wire form.
//!
//! The names and meanings are those of OTLP 1.x (`opentelemetry/proto/trace/v1/trace.proto`).
//! Nothing here is validated beyond what its type says: `ingest` does that. Text and bytes may be
//! borrowed from the message that a span came in.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TraceId([u8; 16]);

impl TraceId {
    /// `None` if all bytes are zero, which W3C and OTLP call invalid.
    pub(crate) fn new(bytes: [u8; 16]) -> Option<TraceId> {
        (bytes != [0; 16]).then_some(TraceId(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// 32 lower-case hex digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SpanId([u8; 8]);

impl SpanId {
    /// `None` if all bytes are zero, which W3C and OTLP call invalid.
    pub(crate) fn new(bytes: [u8; 8]) -> Option<SpanId> {
        (bytes != [0; 8]).then_some(SpanId(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// 16 lower-case hex digits.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The spans of one trace, grouped by where they come from. No group is empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace<'a> {
    pub(crate) id: TraceId,
    pub(crate) groups: Vec<Group<'a>>,
    /// Why not all of its spans are here, if they are not.
    pub(crate) partial: Option<String>,
}

impl<'a> Trace<'a> {
    /// Neighbouring groups that share a resource, as OTLP nests them.
    pub(crate) fn by_resource(&self) -> impl Iterator<Item = &[Group<'a>]> {
        self.groups.chunk_by(|a, b| a.resource == b.resource)
    }
}

/// Spans that share a resource and a scope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group<'a> {
    pub(crate) resource: Arc<Resource<'a>>,
    pub(crate) scope: Arc<Scope<'a>>,
    pub(crate) spans: Vec<Span<'a>>,
}

/// The process that made a span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Resource<'a> {
    pub(crate) attributes: Vec<KeyValue<'a>>,
    pub(crate) dropped_attributes: u32,
    /// OTLP `ResourceSpans.schema_url`.
    pub(crate) schema_url: Cow<'a, str>,
}

impl Resource<'_> {
    /// `service.name`, if it is there and a string.
    pub(crate) fn service_name(&self) -> Option<&str> {
        self.attributes
            .iter()
            .find_map(|attribute| match &attribute.value {
                Value::String(name) if attribute.key == SERVICE_NAME => Some(&**name),
                _ => None,
            })
    }
}

/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/service/#service-name>
pub(crate) const SERVICE_NAME: &str = "service.name";

/// The library that made a span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) version: Cow<'a, str>,
    pub(crate) attributes: Vec<KeyValue<'a>>,
    pub(crate) dropped_attributes: u32,
    /// OTLP `ScopeSpans.schema_url`.
    pub(crate) schema_url: Cow<'a, str>,
}

/// One operation. Which trace it belongs to is known by whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span<'a> {
    pub(crate) id: SpanId,
    /// `None` for the root of a trace; it may name a span that never arrives.
    pub(crate) parent: Option<SpanId>,
    /// W3C `tracestate`, as it came.
    pub(crate) trace_state: Cow<'a, str>,
    /// W3C trace flags in the lowest 8 bits; OTLP `SpanFlags`.
    pub(crate) flags: u32,
    pub(crate) name: Cow<'a, str>,
    pub(crate) kind: Kind,
    /// Nanoseconds since the Unix epoch; 0 means unknown and is kept.
    pub(crate) start_unix_nano: u64,
    /// Nanoseconds since the Unix epoch, as sent: it may lie before the start.
    pub(crate) end_unix_nano: u64,
    pub(crate) attributes: Vec<KeyValue<'a>>,
    pub(crate) dropped_attributes: u32,
    pub(crate) events: Vec<Event<'a>>,
    pub(crate) dropped_events: u32,
    pub(crate) links: Vec<Link<'a>>,
    pub(crate) dropped_links: u32,
    pub(crate) status: Status<'a>,
}

#[cfg(test)]
impl Span<'static> {
    /// Of which nothing but its id is known.
    pub(crate) fn plain(id: SpanId) -> Self {
        Self {
            id,
            parent: None,
            trace_state: "".into(),
            flags: 0,
            name: "".into(),
            kind: Kind::Unspecified,
            start_unix_nano: 0,
            end_unix_nano: 0,
            attributes: Vec::new(),
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            links: Vec::new(),
            dropped_links: 0,
            status: Status::default(),
        }
    }
}

/// OTLP `Span.SpanKind`; a number that it does not know is `Unspecified`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    #[default]
    Unspecified,
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

/// OTLP `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Status<'a> {
    pub(crate) code: StatusCode,
    pub(crate) message: Cow<'a, str>,
}

/// OTLP `Status.StatusCode`; a number that it does not know is `Unset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum StatusCode {
    #[default]
    Unset,
    Ok,
    Error,
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Event<'a> {
    /// Nanoseconds since the Unix epoch.
    pub(crate) time_unix_nano: u64,
    pub(crate) name: Cow<'a, str>,
    pub(crate) attributes: Vec<KeyValue<'a>>,
    pub(crate) dropped_attributes: u32,
}

/// A span of this or another trace that is related, but not the parent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Link<'a> {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) trace_state: Cow<'a, str>,
    pub(crate) attributes: Vec<KeyValue<'a>>,
    pub(crate) dropped_attributes: u32,
    pub(crate) flags: u32,
}

/// An attribute. Keys may repeat and may be empty: they are kept as sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyValue<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Value<'a>,
}

/// OTLP `AnyValue`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value<'a> {
    /// An `AnyValue` with nothing set.
    Empty,
    String(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(Double),
    Bytes(Cow<'a, [u8]>),
    Array(Vec<Value<'a>>),
    Map(Vec<KeyValue<'a>>),
}

/// A float that is equal to itself bit by bit, so that a NaN that is sent twice is one value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Double(pub(crate) f64);

impl PartialEq for Double {
    fn eq(&self, other: &Double) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Double {}

impl Hash for Double {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Span<'_> {
    /// About what it takes in an answer.
    pub(crate) fn bytes(&self) -> usize {
        let attributes = |all: &[KeyValue<'_>]| all.iter().map(KeyValue::bytes).sum::<usize>();
        let event = |event: &Event<'_>| 32 + event.name.len() + attributes(&event.attributes);
        let link = |link: &Link<'_>| 64 + link.trace_state.len() + attributes(&link.attributes);
        128 + self.name.len()
            + self.trace_state.len()
            + self.status.message.len()
            + attributes(&self.attributes)
            + self.events.iter().map(event).sum::<usize>()
            + self.links.iter().map(link).sum::<usize>()
    }
}

impl KeyValue<'_> {
    /// As above.
    pub(crate) fn bytes(&self) -> usize {
        16 + self.key.len() + self.value.bytes()
    }

    /// Free of what it was read from.
    pub(crate) fn into_owned(self) -> KeyValue<'static> {
        KeyValue {
            key: Cow::Owned(self.key.into_owned()),
            value: self.value.into_owned(),
        }
    }
}

impl Value<'_> {
    fn bytes(&self) -> usize {
        match self {
            Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_) => 16,
            Value::String(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Array(values) => values.iter().map(|value| 4 + value.bytes()).sum(),
            Value::Map(entries) => entries.iter().map(KeyValue::bytes).sum(),
        }
    }

    /// Free of what it was read from.
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Value::Empty => Value::Empty,
            Value::String(text) => Value::String(Cow::Owned(text.into_owned())),
            Value::Bool(value) => Value::Bool(value),
            Value::Int(value) => Value::Int(value),
            Value::Double(value) => Value::Double(value),
            Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Value::Array(values) => {
                Value::Array(values.into_iter().map(Value::into_owned).collect())
            }
            Value::Map(entries) => {
                Value::Map(entries.into_iter().map(KeyValue::into_owned).collect())
            }
        }
    }
}

impl Kind {
    /// By number: OTLP `Span.SpanKind`.
    pub(crate) const PROTO_NAMES: [&'static str; 6] = [
        "SPAN_KIND_UNSPECIFIED",
        "SPAN_KIND_INTERNAL",
        "SPAN_KIND_SERVER",
        "SPAN_KIND_CLIENT",
        "SPAN_KIND_PRODUCER",
        "SPAN_KIND_CONSUMER",
    ];

    pub(crate) fn proto_name(self) -> &'static str {
        Kind::PROTO_NAMES[usize::from(self.number())]
    }

    /// OTLP `Span.SpanKind`; a number that it does not know is `Unspecified`.
    pub(crate) fn from_number(number: u64) -> Kind {
        match number {
            1 => Kind::Internal,
            2 => Kind::Server,
            3 => Kind::Client,
            4 => Kind::Producer,
            5 => Kind::Consumer,
            _ => Kind::Unspecified,
        }
    }

    /// OTLP `Span.SpanKind`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Kind::Unspecified => 0,
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
            Kind::Producer => 4,
            Kind::Consumer => 5,
        }
    }

    /// As TraceQL spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Unspecified => "unspecified",
            Kind::Internal => "internal",
            Kind::Server => "server",
            Kind::Client => "client",
            Kind::Producer => "producer",
            Kind::Consumer => "consumer",
        }
    }
}

impl StatusCode {
    /// By number: OTLP `Status.StatusCode`.
    pub(crate) const PROTO_NAMES: [&'static str; 3] =
        ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

    pub(crate) fn proto_name(self) -> &'static str {
        StatusCode::PROTO_NAMES[usize::from(self.number())]
    }

    /// OTLP `Status.StatusCode`; a number that it does not know is `Unset`.
    pub(crate) fn from_number(number: u64) -> StatusCode {
        match number {
            1 => StatusCode::Ok,
            2 => StatusCode::Error,
            _ => StatusCode::Unset,
        }
    }

    /// OTLP `Status.StatusCode`.
    pub(crate) fn number(self) -> u8 {
        match self {
            StatusCode::Unset => 0,
            StatusCode::Ok => 1,
            StatusCode::Error => 2,
        }
    }
}
