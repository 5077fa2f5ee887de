//! Reads an OTLP `ExportTraceServiceRequest` in JSON, element by element, into spans.
//!
//! By <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>, and tolerant where
//! senders differ: ids in either case, numbers as numbers or strings, names for enumerators, names
//! of fields as protobuf has them, base64 with either alphabet. `null` is absent. Of a field that
//! comes twice, the last one counts, but lists are joined.

use std::{borrow::Cow, fmt, marker::PhantomData};

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::build::{
    Builder, Capped, Decoded, EventDraft, Id, LinkDraft, MAX_DEPTH, Refused, ResourceDraft,
    ScopeDraft, SpanDraft, TooLarge, span_kind, status_code,
};
use crate::{
    span::{Double, Event, KeyValue, Link, Resource, Scope, Span, Status, TraceId, Value},
    store::Batch,
};

/// Bytes kept of what the parser says, which quotes strings whole.
const MAX_MESSAGE_BYTES: usize = 200;

/// Reads a whole request. An empty one may be of no bytes at all, as in protobuf.
///
/// # Errors
/// All or nothing, but for spans with bad ids, which are counted in `Decoded::rejected`.
pub(crate) fn decode(request: &[u8]) -> Result<Decoded, Refused> {
    let mut reader = Reader {
        builder: Builder::new(),
        depth: 0,
        too_large: None,
    };
    if request.is_empty() {
        return Ok(reader.builder.finish());
    }
    let mut json = serde_json::Deserializer::from_slice(request);
    // Of what is read, only values nest without bound, and `AnyValue` counts. What is skipped, is
    // skipped without recursion.
    json.disable_recursion_limit();
    let read = Object::<Request>::new(&mut reader, 0)
        .deserialize(&mut json)
        .and_then(|_| json.end());
    match (read, reader.too_large) {
        (_, Some(too_large)) => Err(too_large.into()),
        (Err(error), None) => {
            let error = error.to_string();
            let shown = &error[..error.floor_char_boundary(MAX_MESSAGE_BYTES)];
            Err(Refused::Malformed(format!(
                "not an ExportTraceServiceRequest in JSON: {shown}"
            )))
        }
        (Ok(()), None) => Ok(reader.builder.finish()),
    }
}

/// What is known while a request is read.
struct Reader {
    builder: Builder,
    /// Of the value that is being read.
    depth: usize,
    /// Set before the error that ends the reading, since serde's carry only text.
    too_large: Option<TooLarge>,
}

impl Reader {
    /// `None` ends the reading.
    fn or_end<T>(&mut self, result: Result<T, TooLarge>) -> Option<T> {
        result
            .map_err(|too_large| self.too_large = Some(too_large))
            .ok()
    }
}

/// An object whose fields are known.
trait Record: Default {
    /// Reads the value of one field, or skips it.
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error>;
}

/// A record that stands in a list.
trait Element: Record {
    /// What it takes in memory, without what it points to.
    const BYTES: usize;

    /// What the list becomes.
    type List;

    /// Whether the next element is to be skipped.
    fn is_full(_list: &Self::List) -> bool {
        false
    }

    /// Counts an element that was skipped.
    fn skipped(_list: &mut Self::List) {}

    fn add_to(self, list: &mut Self::List, reader: &mut Reader);
}

/// Reads one object, or `null`.
struct Object<'r, T> {
    reader: &'r mut Reader,
    /// Charged before anything is read.
    bytes: usize,
    record: PhantomData<T>,
}

impl<'r, T> Object<'r, T> {
    fn new(reader: &'r mut Reader, bytes: usize) -> Object<'r, T> {
        Object {
            reader,
            bytes,
            record: PhantomData,
        }
    }
}

impl<'de, T: Record> DeserializeSeed<'de> for Object<'_, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<T>, D::Error> {
        let charged = self.reader.builder.charge(self.bytes);
        match self.reader.or_end(charged) {
            Some(()) => json.deserialize_any(self),
            None => Err(D::Error::custom("too large")),
        }
    }
}

impl<'de, T: Record> Visitor<'de> for Object<'_, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<T>, A::Error> {
        let mut record = T::default();
        while let Some(Name(name)) = map.next_key()? {
            record.field(&name, &mut map, self.reader)?;
        }
        Ok(Some(record))
    }
}

/// Of a field; borrowed unless it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads one array, or `null`, into a list. An element that is `null` is an empty one.
struct Array<'r, T: Element> {
    list: &'r mut T::List,
    reader: &'r mut Reader,
}

impl<'de, T: Element> DeserializeSeed<'de> for Array<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Array<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        loop {
            if T::is_full(self.list) {
                if elements.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(());
                }
                T::skipped(self.list);
                continue;
            }
            let object = Object::<T>::new(self.reader, T::BYTES);
            match elements.next_element_seed(object)? {
                Some(element) => element.unwrap_or_default().add_to(self.list, self.reader),
                None => return Ok(()),
            }
        }
    }
}

/// What is neither an object nor an array.
enum Scalar<'a> {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
}

/// Reads a scalar by a function that answers `None` for what it does not expect.
struct Expected<F> {
    expected: &'static str,
    read: F,
}

impl<'de, T, F: FnOnce(Scalar<'_>) -> Option<T>> DeserializeSeed<'de> for Expected<F> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<T>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<F> Expected<F> {
    fn read<T, E: Error>(self, scalar: Scalar<'_>) -> Result<Option<T>, E>
    where
        F: FnOnce(Scalar<'_>) -> Option<T>,
    {
        match (self.read)(scalar) {
            Some(value) => Ok(Some(value)),
            None => Err(E::custom(format_args!("expected {}", self.expected))),
        }
    }
}

impl<'de, T, F: FnOnce(Scalar<'_>) -> Option<T>> Visitor<'de> for Expected<F> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Option<T>, E> {
        self.read(Scalar::Bool(truth))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
        self.read(Scalar::Integer(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
        self.read(Scalar::Integer(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<T>, E> {
        self.read(Scalar::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        self.read(Scalar::Text(text))
    }
}

/// Each of these leaves the field as it is if it is `null`.
fn scalar<'de, A: MapAccess<'de>, T>(
    map: &mut A,
    into: &mut T,
    expected: &'static str,
    read: impl FnOnce(Scalar<'_>) -> Option<T>,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value_seed(Expected { expected, read })? {
        *into = value;
    }
    Ok(())
}

fn text<'de, A: MapAccess<'de>>(
    map: &mut A,
    into: &mut Box<str>,
    reader: &mut Reader,
) -> Result<(), A::Error> {
    scalar(map, into, "a string", |scalar| match scalar {
        Scalar::Text(text) => {
            let kept = reader.builder.text(text);
            reader.or_end(kept)
        }
        Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => None,
    })
}

fn integer<'de, A: MapAccess<'de>, T: TryFrom<i128>>(
    map: &mut A,
    into: &mut T,
) -> Result<(), A::Error> {
    scalar(
        map,
        into,
        "an integer within the range of its type",
        |scalar| T::try_from(whole(scalar)?).ok(),
    )
}

fn whole(scalar: Scalar<'_>) -> Option<i128> {
    match scalar {
        Scalar::Integer(number) => Some(number),
        Scalar::Text(text) => text.parse().ok(),
        // Such as `1.0` or `1e3`; what is beyond every type saturates and is out of range.
        Scalar::Float(number) => (number.fract() == 0.0).then_some(number as i128),
        Scalar::Bool(_) => None,
    }
}

/// Of dropped elements.
fn count<'de, A: MapAccess<'de>, T>(map: &mut A, list: &mut Capped<T>) -> Result<(), A::Error> {
    let mut count = 0;
    integer(map, &mut count)?;
    list.drop_more(count);
    Ok(())
}

/// `names` are those of the enumerators from 0 on; what has no number there becomes `unknown`.
fn enumerator<'de, A: MapAccess<'de>>(
    map: &mut A,
    names: &[&str],
) -> Result<Option<u64>, A::Error> {
    let mut number = None;
    scalar(map, &mut number, "an enumerator", |scalar| {
        if let Scalar::Text(name) = &scalar
            && !name.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Some(
                names
                    .iter()
                    .position(|known| known == name)
                    .map(|at| at as u64),
            );
        }
        whole(scalar).map(|number| u64::try_from(number).ok())
    })?;
    Ok(number)
}

fn id<'de, A: MapAccess<'de>, const N: usize>(
    map: &mut A,
    into: &mut Id<N>,
) -> Result<(), A::Error> {
    scalar(
        map,
        into,
        "an id in hexadecimal digits",
        |scalar| match scalar {
            Scalar::Text(text) => Some(hex(text.as_bytes())),
            Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => None,
        },
    )
}

fn hex<const N: usize>(digits: &[u8]) -> Id<N> {
    if digits.is_empty() {
        return Id::Absent;
    }
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Id::NotHex;
    }
    if digits.len() != 2 * N {
        return Id::OfOtherLength;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    };
    Id::Bytes(std::array::from_fn(|at| {
        value(digits[2 * at]) << 4 | value(digits[2 * at + 1])
    }))
}

fn array<'de, T: Element, A: MapAccess<'de>>(
    map: &mut A,
    list: &mut T::List,
    reader: &mut Reader,
) -> Result<(), A::Error> {
    map.next_value_seed(Array::<T> { list, reader })
}

fn object<'de, T: Record, A: MapAccess<'de>>(
    map: &mut A,
    reader: &mut Reader,
) -> Result<Option<T>, A::Error> {
    map.next_value_seed(Object::new(reader, 0))
}

fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

#[derive(Default)]
struct Request;

impl Record for Request {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "resourceSpans" | "resource_spans" => array::<ResourceSpans, A>(map, &mut (), reader),
            _ => skip(map),
        }
    }
}

#[derive(Default)]
struct ResourceSpans {
    resource: ResourceDraft,
    schema_url: Box<str>,
    scopes: Vec<(Scope, Vec<(TraceId, Span)>)>,
}

impl Record for ResourceSpans {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "resource" => {
                self.resource = object(map, reader)?.unwrap_or_default();
                Ok(())
            }
            "scopeSpans" | "scope_spans" => array::<ScopeSpans, A>(map, &mut self.scopes, reader),
            "schemaUrl" | "schema_url" => text(map, &mut self.schema_url, reader),
            _ => skip(map),
        }
    }
}

impl Element for ResourceSpans {
    const BYTES: usize = size_of::<Resource>();

    type List = ();

    fn add_to(self, (): &mut (), reader: &mut Reader) {
        let resource = ResourceDraft {
            schema_url: self.schema_url,
            ..self.resource
        };
        let resource = resource.build();
        for (scope, spans) in self.scopes {
            reader.builder.add(&resource, scope, spans);
        }
    }
}

impl Record for ResourceDraft {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "attributes" => array::<Attribute, A>(map, &mut self.attributes, reader),
            "droppedAttributesCount" | "dropped_attributes_count" => {
                count(map, &mut self.attributes)
            }
            _ => skip(map),
        }
    }
}

#[derive(Default)]
struct ScopeSpans {
    scope: ScopeDraft,
    schema_url: Box<str>,
    spans: Vec<(TraceId, Span)>,
}

impl Record for ScopeSpans {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "scope" => {
                self.scope = object(map, reader)?.unwrap_or_default();
                Ok(())
            }
            "spans" => array::<SpanDraft, A>(map, &mut self.spans, reader),
            "schemaUrl" | "schema_url" => text(map, &mut self.schema_url, reader),
            _ => skip(map),
        }
    }
}

impl Element for ScopeSpans {
    const BYTES: usize = size_of::<Batch>() + size_of::<Scope>();

    type List = Vec<(Scope, Vec<(TraceId, Span)>)>;

    fn add_to(self, list: &mut Self::List, _: &mut Reader) {
        list.push((self.scope.build(self.schema_url), self.spans));
    }
}

impl Record for ScopeDraft {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "name" => text(map, &mut self.name, reader),
            "version" => text(map, &mut self.version, reader),
            "attributes" => array::<Attribute, A>(map, &mut self.attributes, reader),
            "droppedAttributesCount" | "dropped_attributes_count" => {
                count(map, &mut self.attributes)
            }
            _ => skip(map),
        }
    }
}

impl Record for SpanDraft {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "traceId" | "trace_id" => id(map, &mut self.trace_id),
            "spanId" | "span_id" => id(map, &mut self.span_id),
            "traceState" | "trace_state" => text(map, &mut self.trace_state, reader),
            "parentSpanId" | "parent_span_id" => id(map, &mut self.parent_id),
            "flags" => integer(map, &mut self.flags),
            "name" => text(map, &mut self.name, reader),
            "kind" => {
                self.kind = enumerator(map, &SPAN_KINDS)?
                    .map(span_kind)
                    .unwrap_or_default();
                Ok(())
            }
            "startTimeUnixNano" | "start_time_unix_nano" => integer(map, &mut self.start_unix_nano),
            "endTimeUnixNano" | "end_time_unix_nano" => integer(map, &mut self.end_unix_nano),
            "attributes" => array::<Attribute, A>(map, &mut self.attributes, reader),
            "droppedAttributesCount" | "dropped_attributes_count" => {
                count(map, &mut self.attributes)
            }
            "events" => array::<EventDraft, A>(map, &mut self.events, reader),
            "droppedEventsCount" | "dropped_events_count" => count(map, &mut self.events),
            "links" => array::<LinkDraft, A>(map, &mut self.links, reader),
            "droppedLinksCount" | "dropped_links_count" => count(map, &mut self.links),
            "status" => {
                self.status = object(map, reader)?.unwrap_or_default();
                Ok(())
            }
            _ => skip(map),
        }
    }
}

const SPAN_KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

impl Element for SpanDraft {
    const BYTES: usize = size_of::<(TraceId, Span)>();

    type List = Vec<(TraceId, Span)>;

    fn add_to(self, list: &mut Self::List, reader: &mut Reader) {
        list.extend(reader.builder.span(self));
    }
}

impl Record for EventDraft {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "timeUnixNano" | "time_unix_nano" => integer(map, &mut self.time_unix_nano),
            "name" => text(map, &mut self.name, reader),
            "attributes" => array::<Attribute, A>(map, &mut self.attributes, reader),
            "droppedAttributesCount" | "dropped_attributes_count" => {
                count(map, &mut self.attributes)
            }
            _ => skip(map),
        }
    }
}

impl Element for EventDraft {
    const BYTES: usize = size_of::<Event>();

    type List = Capped<Event>;

    fn is_full(list: &Self::List) -> bool {
        list.is_full()
    }

    fn skipped(list: &mut Self::List) {
        list.drop_more(1);
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader) {
        list.push(self.build());
    }
}

impl Record for LinkDraft {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "traceId" | "trace_id" => id(map, &mut self.trace_id),
            "spanId" | "span_id" => id(map, &mut self.span_id),
            "traceState" | "trace_state" => text(map, &mut self.trace_state, reader),
            "flags" => integer(map, &mut self.flags),
            "attributes" => array::<Attribute, A>(map, &mut self.attributes, reader),
            "droppedAttributesCount" | "dropped_attributes_count" => {
                count(map, &mut self.attributes)
            }
            _ => skip(map),
        }
    }
}

impl Element for LinkDraft {
    const BYTES: usize = size_of::<Link>();

    type List = Capped<Link>;

    fn is_full(list: &Self::List) -> bool {
        list.is_full()
    }

    fn skipped(list: &mut Self::List) {
        list.drop_more(1);
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader) {
        self.build_into(list);
    }
}

impl Record for Status {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "message" => text(map, &mut self.message, reader),
            "code" => {
                let code = enumerator(map, &STATUS_CODES)?;
                self.code = code.map(status_code).unwrap_or_default();
                Ok(())
            }
            _ => skip(map),
        }
    }
}

const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// A `KeyValue` of a record, of which there may be too many.
#[derive(Default)]
struct Attribute(Pair);

impl Record for Attribute {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        self.0.field(name, map, reader)
    }
}

impl Element for Attribute {
    const BYTES: usize = size_of::<KeyValue>();

    type List = Capped<KeyValue>;

    fn is_full(list: &Self::List) -> bool {
        list.is_full()
    }

    fn skipped(list: &mut Self::List) {
        list.drop_more(1);
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader) {
        list.push(self.0.build());
    }
}

/// A `KeyValue` of a value that is a map.
#[derive(Default)]
struct Pair {
    key: Box<str>,
    value: AnyValue,
}

impl Pair {
    fn build(self) -> KeyValue {
        KeyValue {
            key: self.key,
            value: self.value.0.unwrap_or(Value::Empty),
        }
    }
}

impl Record for Pair {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "key" => text(map, &mut self.key, reader),
            "value" => {
                self.value = object(map, reader)?.unwrap_or_default();
                Ok(())
            }
            _ => skip(map),
        }
    }
}

impl Element for Pair {
    const BYTES: usize = size_of::<KeyValue>();

    type List = Vec<KeyValue>;

    fn add_to(self, list: &mut Self::List, _: &mut Reader) {
        list.push(self.build());
    }
}

#[derive(Default)]
struct AnyValue(Option<Value>);

impl Record for AnyValue {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        let value = &mut self.0;
        match name {
            "stringValue" | "string_value" => {
                scalar(map, value, "a string", |scalar| match scalar {
                    Scalar::Text(text) => {
                        let kept = reader.builder.text(text);
                        reader.or_end(kept).map(|text| Some(Value::String(text)))
                    }
                    Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => None,
                })
            }
            "boolValue" | "bool_value" => {
                scalar(map, value, "true or false", |scalar| match scalar {
                    Scalar::Bool(truth) => Some(Some(Value::Bool(truth))),
                    Scalar::Integer(_) | Scalar::Float(_) | Scalar::Text(_) => None,
                })
            }
            "intValue" | "int_value" => scalar(map, value, "a 64-bit integer", |scalar| {
                Some(Some(Value::Int(whole(scalar)?.try_into().ok()?)))
            }),
            "doubleValue" | "double_value" => scalar(map, value, "a number", |scalar| {
                Some(Some(Value::Double(Double(float(scalar)?))))
            }),
            "bytesValue" | "bytes_value" => {
                scalar(map, value, "bytes in base64", |scalar| match scalar {
                    Scalar::Text(text) => {
                        let kept = reader.builder.bytes(&base64(text)?);
                        reader.or_end(kept).map(|bytes| Some(Value::Bytes(bytes)))
                    }
                    Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => None,
                })
            }
            "arrayValue" | "array_value" => {
                if let Some(array) = nested::<ArrayValue, A>(map, reader)? {
                    *value = Some(Value::Array(array.values.into()));
                }
                Ok(())
            }
            "kvlistValue" | "kvlist_value" => {
                if let Some(pairs) = nested::<KeyValueList, A>(map, reader)? {
                    *value = Some(Value::Map(pairs.values.into()));
                }
                Ok(())
            }
            _ => skip(map),
        }
    }
}

fn nested<'de, T: Record, A: MapAccess<'de>>(
    map: &mut A,
    reader: &mut Reader,
) -> Result<Option<T>, A::Error> {
    if reader.depth == MAX_DEPTH {
        return Err(A::Error::custom("values nested too deeply"));
    }
    reader.depth += 1;
    let read = object(map, reader);
    reader.depth -= 1;
    read
}

impl Element for AnyValue {
    const BYTES: usize = size_of::<Value>();

    type List = Vec<Value>;

    fn add_to(self, list: &mut Self::List, _: &mut Reader) {
        list.push(self.0.unwrap_or(Value::Empty));
    }
}

#[derive(Default)]
struct ArrayValue {
    values: Vec<Value>,
}

impl Record for ArrayValue {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "values" => array::<AnyValue, A>(map, &mut self.values, reader),
            _ => skip(map),
        }
    }
}

#[derive(Default)]
struct KeyValueList {
    values: Vec<KeyValue>,
}

impl Record for KeyValueList {
    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader,
    ) -> Result<(), A::Error> {
        match name {
            "values" => array::<Pair, A>(map, &mut self.values, reader),
            _ => skip(map),
        }
    }
}

fn float(scalar: Scalar<'_>) -> Option<f64> {
    match scalar {
        Scalar::Float(number) => Some(number),
        Scalar::Integer(number) => Some(number as f64),
        // `NaN`, `Infinity` and `-Infinity` too.
        Scalar::Text(text) => text.parse().ok(),
        Scalar::Bool(_) => None,
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, lenient).decode(text).ok()
}
