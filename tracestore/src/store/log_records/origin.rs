//! Where a log record is from: the process and the library.

use std::{borrow::Cow, sync::Arc};

use super::super::{
    bytes::{Reader, Writer},
    value,
};
use crate::span::{KeyValue, Resource, SERVICE_NAME, Scope, Value};

/// A resource and a scope that records share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) resource: Arc<Resource<'static>>,
    pub(crate) scope: Scope<'static>,
}

/// Bytes of attributes kept of a resource or of a scope: they stand in each chunk that has records
/// of them. The rest is counted as dropped.
const MAX_ATTRIBUTES_BYTES: usize = 64 << 10;

impl Origin {
    pub(super) fn new(resource: Arc<Resource<'static>>, scope: &Scope<'_>) -> Origin {
        let (attributes, dropped) = kept(&scope.attributes);
        let owned = |text: &str| Cow::Owned(text.to_owned());
        let scope = Scope {
            name: owned(&scope.name),
            version: owned(&scope.version),
            attributes,
            dropped_attributes: scope.dropped_attributes.saturating_add(dropped),
            schema_url: owned(&scope.schema_url),
        };
        Origin { resource, scope }
    }

    /// `service.name`, if it is there and a string.
    pub(crate) fn service(&self) -> Option<&str> {
        self.resource.service_name()
    }

    pub(super) fn encode(&self, to: &mut Writer<'_>) {
        self.encode_resource(to);
        self.encode_scope(to);
    }

    fn encode_resource(&self, to: &mut Writer<'_>) {
        let Resource {
            attributes,
            dropped_attributes,
            schema_url,
        } = &*self.resource;
        encode_attributes(attributes, to);
        to.u32(*dropped_attributes);
        to.bytes(schema_url.as_bytes());
    }

    fn encode_scope(&self, to: &mut Writer<'_>) {
        let Scope {
            name,
            version,
            attributes,
            dropped_attributes,
            schema_url,
        } = &self.scope;
        to.bytes(name.as_bytes());
        to.bytes(version.as_bytes());
        encode_attributes(attributes, to);
        to.u32(*dropped_attributes);
        to.bytes(schema_url.as_bytes());
    }

    /// Bytes of the resource where it is written.
    pub(super) fn resource_bytes(&self) -> usize {
        let mut bytes = Vec::new();
        self.encode_resource(&mut Writer(&mut bytes));
        bytes.len()
    }

    /// Bytes of the scope where it is written.
    pub(super) fn scope_bytes(&self) -> usize {
        let mut bytes = Vec::new();
        self.encode_scope(&mut Writer(&mut bytes));
        bytes.len()
    }

    /// `None` for what `encode` does not write.
    pub(super) fn decode(from: &mut Reader<'_>) -> Option<Origin> {
        let owned = |text: &str| Cow::Owned(text.to_owned());
        let resource = Resource {
            attributes: owned_attributes(decode_attributes(from)?),
            dropped_attributes: from.u32()?,
            schema_url: owned(text(from)?),
        };
        Some(Origin {
            resource: Arc::new(resource),
            scope: Scope {
                name: owned(text(from)?),
                version: owned(text(from)?),
                attributes: owned_attributes(decode_attributes(from)?),
                dropped_attributes: from.u32()?,
                schema_url: owned(text(from)?),
            },
        })
    }
}

/// What is kept of a resource.
pub(super) fn kept_resource(resource: &Resource<'_>) -> Resource<'static> {
    let (attributes, dropped) = kept(&resource.attributes);
    Resource {
        attributes,
        dropped_attributes: resource.dropped_attributes.saturating_add(dropped),
        schema_url: Cow::Owned(resource.schema_url.clone().into_owned()),
    }
}

/// Attributes as far as there is room, and how many were dropped.
fn kept(attributes: &[KeyValue<'_>]) -> (Vec<KeyValue<'static>>, u32) {
    let mut left = MAX_ATTRIBUTES_BYTES;
    let (mut kept, mut dropped) = (Vec::new(), 0);
    let mut bytes = Vec::new();
    for attribute in attributes {
        bytes.clear();
        value::encode(&attribute.value, &mut bytes);
        let len = attribute.key.len() + bytes.len();
        // The name of the service is asked for.
        let is_name = attribute.key == SERVICE_NAME && matches!(attribute.value, Value::String(_));
        if len <= left || is_name {
            left = left.saturating_sub(len);
            kept.push(attribute.clone().into_owned());
        } else {
            dropped += 1;
        }
    }
    (kept, dropped)
}

pub(super) fn encode_attributes(attributes: &[KeyValue<'_>], to: &mut Writer<'_>) {
    to.u32(u32::try_from(attributes.len()).expect("receivers bound the attributes of a record"));
    let mut bytes = Vec::new();
    for KeyValue { key, value } in attributes {
        to.bytes(key.as_bytes());
        bytes.clear();
        value::encode(value, &mut bytes);
        to.bytes(&bytes);
    }
}

/// `None` for what `encode_attributes` does not write.
pub(super) fn decode_attributes<'a>(from: &mut Reader<'a>) -> Option<Vec<KeyValue<'a>>> {
    let count = from.len()?;
    let mut attributes = Vec::new();
    for _ in 0..count {
        attributes.push(KeyValue {
            key: Cow::Borrowed(text(from)?),
            value: value::decode(from.bytes()?)?,
        });
    }
    Some(attributes)
}

fn owned_attributes(attributes: Vec<KeyValue<'_>>) -> Vec<KeyValue<'static>> {
    let owned = attributes.into_iter().map(KeyValue::into_owned);
    owned.collect()
}

pub(super) fn text<'a>(from: &mut Reader<'a>) -> Option<&'a str> {
    std::str::from_utf8(from.bytes()?).ok()
}
