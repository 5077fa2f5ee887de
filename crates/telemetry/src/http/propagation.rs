//! The propagator of a layer: its own, or the global one at the time.

use std::{fmt, sync::Arc};

use http::HeaderMap;
use opentelemetry::{Context, global, propagation::TextMapPropagator, trace::TraceContextExt};

use crate::http::headers::{Received, Sent};

#[derive(Clone, Default)]
pub(super) struct Propagation(Option<Arc<dyn TextMapPropagator + Send + Sync>>);

impl fmt::Debug for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(own) => f.debug_tuple("Own").field(own).finish(),
            None => f.write_str("Global"),
        }
    }
}

impl Propagation {
    pub(super) fn own(propagator: impl TextMapPropagator + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(propagator)))
    }

    pub(super) fn extract(&self, headers: &HeaderMap) -> Context {
        match &self.0 {
            Some(own) => extract(&**own, headers),
            None => global::get_text_map_propagator(|global| extract(global, headers)),
        }
    }

    pub(super) fn inject(&self, cx: &Context, headers: &mut HeaderMap) {
        match &self.0 {
            Some(own) => inject(&**own, cx, headers),
            None => global::get_text_map_propagator(|global| inject(global, cx, headers)),
        }
    }
}

/// What the headers of a request tell of its caller: for a server that makes spans of its own.
///
/// Begins with nothing, since whatever is current where a connection is served is not of this request. A parent without
/// valid ids is none.
pub fn extract(propagator: &dyn TextMapPropagator, headers: &HeaderMap) -> Context {
    let nothing = Context::new();
    let extracted = propagator.extract_with_context(&nothing, &Received(headers));
    // The SDK would make a span with a trace id of zero of such a parent.
    if extracted.has_active_span() && !extracted.span().span_context().is_valid() {
        return nothing;
    }
    extracted
}

/// Names the span of a context as the caller, in place of whom the headers named before: for a client that makes spans of
/// its own.
pub fn inject(propagator: &dyn TextMapPropagator, cx: &Context, headers: &mut HeaderMap) {
    if !headers.is_empty() {
        for field in propagator.fields() {
            headers.remove(field);
        }
    }
    propagator.inject_context(cx, &mut Sent(headers));
}
