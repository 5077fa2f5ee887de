//! The messages of OTLP: which fields they have, in which form, and what of the store's spans they become.
//!
//! How JSON is read, within which bounds, is the business of the module above.

use std::{borrow::Cow, sync::Arc};

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{Error, MapAccess};

use super::{
    Characters, Element, Reader, Record, Scalar, array, count, enumerator, groups::Signal, id,
    integer, object, scalar, skip, text, whole,
};
use crate::{
    ingest::build::{
        Builder, Capped, EventDraft, LinkDraft, MAX_DEPTH, ResourceDraft, ScopeDraft, SpanDraft,
        TooLarge,
    },
    span::{
        Double, Event, KeyValue, Kind, Link, Resource, Scope, Span, Status, StatusCode, TraceId,
        Value,
    },
    store::Batch,
};

impl<'de> Signal<'de> for SpanDraft<'de> {
    const OF_RESOURCES: [&'static str; 2] = ["resourceSpans", "resource_spans"];
    const OF_SCOPES: [&'static str; 2] = ["scopeSpans", "scope_spans"];
    const ITEMS: [&'static str; 2] = ["spans", "spans"];
    const BATCH: usize = size_of::<Batch<'_>>();

    fn keep(
        items: Self::List,
        resource: &Arc<Resource<'de>>,
        scope: Scope<'de>,
        builder: &mut Builder<'de>,
    ) {
        builder.add(resource, scope, items);
    }
}

impl<'de> Record<'de> for ResourceDraft<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
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

impl<'de> Record<'de> for ScopeDraft<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
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

impl<'de> Record<'de> for SpanDraft<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match name {
            "traceId" | "trace_id" => id(map, &mut self.trace_id),
            "spanId" | "span_id" => id(map, &mut self.span_id),
            "traceState" | "trace_state" => text(map, &mut self.trace_state, reader),
            "parentSpanId" | "parent_span_id" => id(map, &mut self.parent_id),
            "flags" => integer(map, &mut self.flags),
            "name" => text(map, &mut self.name, reader),
            "kind" => {
                self.kind = enumerator(map, &Kind::PROTO_NAMES)?
                    .map(Kind::from_number)
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

impl<'de> Element<'de> for SpanDraft<'de> {
    type List = Vec<(TraceId, Span<'de>)>;

    fn make_room(_: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        // Those that will be rejected too: they are work.
        builder.charge(size_of::<(TraceId, Span<'_>)>())
    }

    fn add_to(self, list: &mut Self::List, reader: &mut Reader<'de>) {
        list.extend(reader.builder.span(self));
    }
}

impl<'de> Record<'de> for EventDraft<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
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

impl<'de> Element<'de> for EventDraft<'de> {
    type List = Capped<Event<'de>>;

    fn make_room(list: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.make_room(list.kept(), 1)
    }

    fn is_full(list: &Self::List) -> bool {
        list.is_full()
    }

    fn skipped(list: &mut Self::List) {
        list.drop_more(1);
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader<'de>) {
        list.push(self.build());
    }
}

impl<'de> Record<'de> for LinkDraft<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
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

impl<'de> Element<'de> for LinkDraft<'de> {
    type List = Capped<Link<'de>>;

    fn make_room(list: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.make_room(list.kept(), 1)
    }

    fn is_full(list: &Self::List) -> bool {
        list.is_full()
    }

    fn skipped(list: &mut Self::List) {
        list.drop_more(1);
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader<'de>) {
        self.build_into(list);
    }
}

impl<'de> Record<'de> for Status<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match name {
            "message" => text(map, &mut self.message, reader),
            "code" => {
                let code = enumerator(map, &StatusCode::PROTO_NAMES)?;
                self.code = code.map(StatusCode::from_number).unwrap_or_default();
                Ok(())
            }
            _ => skip(map),
        }
    }
}

/// A `KeyValue` of a record, of which there may be too many.
#[derive(Default)]
pub(super) struct Attribute<'de>(Pair<'de>);

impl<'de> Record<'de> for Attribute<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        self.0.field(name, map, reader)
    }
}

impl<'de> Element<'de> for Attribute<'de> {
    type List = Capped<KeyValue<'de>>;

    fn make_room(list: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.make_room(list.kept(), 1)
    }

    fn is_full(list: &Self::List) -> bool {
        list.is_full()
    }

    fn skipped(list: &mut Self::List) {
        list.drop_more(1);
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader<'de>) {
        list.push(self.0.build());
    }
}

/// A `KeyValue` of a value that is a map.
#[derive(Default)]
pub(super) struct Pair<'de> {
    key: Cow<'de, str>,
    value: AnyValue<'de>,
}

impl<'de> Pair<'de> {
    fn build(self) -> KeyValue<'de> {
        KeyValue {
            key: self.key,
            value: self.value.0.unwrap_or(Value::Empty),
        }
    }
}

impl<'de> Record<'de> for Pair<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
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

impl<'de> Element<'de> for Pair<'de> {
    type List = Vec<KeyValue<'de>>;

    fn make_room(list: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.make_room(list, 1)
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader<'de>) {
        list.push(self.build());
    }
}

#[derive(Default)]
pub(super) struct AnyValue<'de>(pub(super) Option<Value<'de>>);

impl<'de> Record<'de> for AnyValue<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        let value = &mut self.0;
        match name {
            "stringValue" | "string_value" => {
                if let Some(text) = map.next_value_seed(Characters(reader))? {
                    *value = Some(Value::String(text));
                }
                Ok(())
            }
            "boolValue" | "bool_value" => {
                scalar(map, value, "true or false", |scalar| match scalar {
                    Scalar::Bool(truth) => Some(Some(Value::Bool(truth))),
                    Scalar::Integer(_) | Scalar::Float(_) | Scalar::Text(_) => None,
                })
            }
            "intValue" | "int_value" => scalar(map, value, "a 64-bit integer", |scalar| {
                whole_value(scalar).map(Some)
            }),
            "doubleValue" | "double_value" => scalar(map, value, "a number", |scalar| {
                Some(Some(Value::Double(Double(float(scalar)?))))
            }),
            "bytesValue" | "bytes_value" => {
                scalar(map, value, "bytes in base64", |scalar| match scalar {
                    Scalar::Text(text) => {
                        let kept = reader.builder.copied_bytes(&base64(&text)?);
                        reader.or_end(kept).map(|bytes| Some(Value::Bytes(bytes)))
                    }
                    Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => None,
                })
            }
            "arrayValue" | "array_value" => {
                if let Some(array) = nested::<ArrayValue, A>(map, reader)? {
                    *value = Some(Value::Array(array.values));
                }
                Ok(())
            }
            "kvlistValue" | "kvlist_value" => {
                if let Some(pairs) = nested::<KeyValueList, A>(map, reader)? {
                    *value = Some(Value::Map(pairs.values));
                }
                Ok(())
            }
            _ => skip(map),
        }
    }
}

/// JavaScript has no other numbers than doubles, and its SDK calls each without a fraction an
/// integer, however large. What is beyond 64 bits stays a double, as that SDK has it in protobuf.
fn whole_value<'de>(scalar: Scalar<'de, '_>) -> Option<Value<'de>> {
    let double = match &scalar {
        Scalar::Integer(number) => Some(*number as f64),
        Scalar::Float(number) => Some(*number),
        Scalar::Bool(_) | Scalar::Text(_) => None,
    };
    match i64::try_from(whole(scalar)?) {
        Ok(number) => Some(Value::Int(number)),
        Err(_) => double.map(|number| Value::Double(Double(number))),
    }
}

fn nested<'de, T: Record<'de>, A: MapAccess<'de>>(
    map: &mut A,
    reader: &mut Reader<'de>,
) -> Result<Option<T>, A::Error> {
    if reader.depth == MAX_DEPTH {
        return Err(A::Error::custom("values nested too deeply"));
    }
    reader.depth += 1;
    let read = object(map, reader);
    reader.depth -= 1;
    read
}

impl<'de> Element<'de> for AnyValue<'de> {
    type List = Vec<Value<'de>>;

    fn make_room(list: &mut Self::List, builder: &mut Builder<'de>) -> Result<(), TooLarge> {
        builder.make_room(list, 1)
    }

    fn add_to(self, list: &mut Self::List, _: &mut Reader<'de>) {
        list.push(self.0.unwrap_or(Value::Empty));
    }
}

#[derive(Default)]
struct ArrayValue<'de> {
    values: Vec<Value<'de>>,
}

impl<'de> Record<'de> for ArrayValue<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match name {
            "values" => array::<AnyValue, A>(map, &mut self.values, reader),
            _ => skip(map),
        }
    }
}

#[derive(Default)]
struct KeyValueList<'de> {
    values: Vec<KeyValue<'de>>,
}

impl<'de> Record<'de> for KeyValueList<'de> {
    fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        reader: &mut Reader<'de>,
    ) -> Result<(), A::Error> {
        match name {
            "values" => array::<Pair, A>(map, &mut self.values, reader),
            _ => skip(map),
        }
    }
}

fn float(scalar: Scalar<'_, '_>) -> Option<f64> {
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
