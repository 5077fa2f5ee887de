//! `trace_service.proto`: what is around spans in a request.
//!
//! `logs_service.proto` differs in names only: all that is said here of spans holds for log records.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;

use super::{
    attribute::attribute,
    wire::{Message, Output, append_message, begin_message, delimited_len},
};

/// The fields of `ResourceSpans` but for the spans.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourceBytes(Around);

/// The fields of `ScopeSpans` but for the spans.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ScopeBytes(Around);

/// A request that is being put together from spans of several resources and scopes.
#[derive(Debug, Default)]
pub(crate) struct Request<S> {
    resources: Vec<OfResource<S>>,
}

/// What comes before the spans, and what after them, so that fields are in ascending order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Around {
    before: Vec<u8>,
    after: Vec<u8>,
}

#[derive(Debug)]
struct OfResource<S> {
    resource: Arc<ResourceBytes>,
    scopes: Vec<OfScope<S>>,
}

#[derive(Debug)]
struct OfScope<S> {
    scope: Arc<ScopeBytes>,
    spans: Vec<S>,
}

/// `ExportTraceServiceRequest.resource_spans`.
const RESOURCE_SPANS: u32 = 1;
/// `ResourceSpans.scope_spans`.
const SCOPE_SPANS: u32 = 2;

/// `Resource`.
struct ResourceFields<'a>(&'a [KeyValue]);

/// `InstrumentationScope`.
struct ScopeFields<'a>(&'a InstrumentationScope);

/// `schema_url`, in `ResourceSpans` and `ScopeSpans`.
struct SchemaUrl<'a>(Option<&'a str>);

impl ResourceBytes {
    /// Attributes are sorted, since the SDK has none of an order.
    pub(crate) fn new(resource: &Resource) -> Self {
        let mut attributes: Vec<_> = resource
            .iter()
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
            .collect();
        attributes.sort_by(|a, b| a.key.cmp(&b.key));
        let fields = ResourceFields(&attributes);
        Self(Around::new(&fields, resource.schema_url()))
    }
}

impl ScopeBytes {
    pub(crate) fn new(scope: &InstrumentationScope) -> Self {
        Self(Around::new(&ScopeFields(scope), scope.schema_url()))
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Most bytes that a request has beside the spans, if they are all of one resource and scope.
pub(crate) fn around_one(resource: &ResourceBytes, scope: &ScopeBytes) -> usize {
    // Two keys of a byte each and two lengths of at most ten.
    resource.0.len() + scope.0.len() + 22
}

impl<S: AsRef<[u8]>> Request<S> {
    pub(crate) fn new() -> Self {
        let resources = Vec::new();
        Self { resources }
    }

    /// Takes spans of one resource and scope.
    pub(crate) fn add(&mut self, resource: &Arc<ResourceBytes>, scope: &Arc<ScopeBytes>, spans: S) {
        // What is encoded alike is the same: providers may share a resource and threads a scope.
        let of_resource = find_or_add(
            &mut self.resources,
            |of| Arc::ptr_eq(&of.resource, resource) || of.resource == *resource,
            || OfResource {
                resource: Arc::clone(resource),
                scopes: Vec::new(),
            },
        );
        let of_scope = find_or_add(
            &mut of_resource.scopes,
            |of| Arc::ptr_eq(&of.scope, scope) || of.scope == *scope,
            || OfScope {
                scope: Arc::clone(scope),
                spans: Vec::new(),
            },
        );
        of_scope.spans.push(spans);
    }

    /// How many bytes the request has.
    pub(crate) fn len(&self) -> usize {
        let len = |of: &OfResource<S>| delimited_len(RESOURCE_SPANS, of.len());
        self.resources.iter().map(len).sum()
    }

    /// An `ExportTraceServiceRequest`.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.len());
        for of_resource in &self.resources {
            begin_message(&mut out, RESOURCE_SPANS, of_resource.len());
            out.extend_from_slice(&of_resource.resource.0.before);
            for of_scope in &of_resource.scopes {
                begin_message(&mut out, SCOPE_SPANS, of_scope.len());
                out.extend_from_slice(&of_scope.scope.0.before);
                for spans in &of_scope.spans {
                    out.extend_from_slice(spans.as_ref());
                }
                out.extend_from_slice(&of_scope.scope.0.after);
            }
            out.extend_from_slice(&of_resource.resource.0.after);
        }
        debug_assert_eq!(out.len(), self.len(), "the length is not what was written");
        Bytes::from(out)
    }
}

impl<S: AsRef<[u8]>> OfResource<S> {
    fn len(&self) -> usize {
        let len = |of: &OfScope<S>| delimited_len(SCOPE_SPANS, of.len());
        self.resource.0.len() + self.scopes.iter().map(len).sum::<usize>()
    }
}

impl<S: AsRef<[u8]>> OfScope<S> {
    fn len(&self) -> usize {
        let len = |spans: &S| spans.as_ref().len();
        self.scope.0.len() + self.spans.iter().map(len).sum::<usize>()
    }
}

impl Around {
    fn new(first: &impl Message, schema_url: Option<&str>) -> Self {
        let mut around = Self::default();
        append_message(&mut around.before, 1, first);
        let schema_url = SchemaUrl(schema_url);
        super::wire::append_fields(&mut around.after, &schema_url);
        around
    }

    fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }
}

impl Message for ResourceFields<'_> {
    fn fields(&self, out: &mut impl Output) {
        for it in self.0 {
            attribute(out, 1, it);
        }
    }
}

impl Message for ScopeFields<'_> {
    fn fields(&self, out: &mut impl Output) {
        out.string(1, self.0.name());
        out.string(2, self.0.version().unwrap_or_default());
        for it in self.0.attributes() {
            attribute(out, 3, it);
        }
    }
}

impl Message for SchemaUrl<'_> {
    fn fields(&self, out: &mut impl Output) {
        out.string(3, self.0.unwrap_or_default());
    }
}

fn find_or_add<T>(
    list: &mut Vec<T>,
    is_it: impl Fn(&T) -> bool,
    make: impl FnOnce() -> T,
) -> &mut T {
    let found = list.iter().position(is_it).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    });
    &mut list[found]
}
