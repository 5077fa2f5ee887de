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

    /// What the headers of a request tell of its caller.
    ///
    /// Begins with nothing, since whatever is current where a connection is served is not of this request.
    pub(super) fn extract(&self, headers: &HeaderMap) -> Context {
        let nothing = Context::new();
        let received = Received(headers);
        let extracted = match &self.0 {
            Some(own) => own.extract_with_context(&nothing, &received),
            None => global::get_text_map_propagator(|global| {
                global.extract_with_context(&nothing, &received)
            }),
        };
        // The SDK would make a span with a trace id of zero of such a parent.
        if extracted.has_active_span() && !extracted.span().span_context().is_valid() {
            return nothing;
        }
        extracted
    }

    /// Names the span of `cx` as the caller, in place of whom the headers named before.
    pub(super) fn inject(&self, cx: &Context, headers: &mut HeaderMap) {
        let mut inject = |propagator: &dyn TextMapPropagator| {
            if !headers.is_empty() {
                for field in propagator.fields() {
                    headers.remove(field);
                }
            }
            propagator.inject_context(cx, &mut Sent(headers));
        };
        match &self.0 {
            Some(own) => inject(&**own),
            None => global::get_text_map_propagator(inject),
        }
    }
}
