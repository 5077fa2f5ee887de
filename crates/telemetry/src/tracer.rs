//! Makes spans, or none where telemetry is switched off.

use std::{borrow::Cow, time::SystemTime};

use opentelemetry::{
    Context, KeyValue,
    trace::{
        SpanBuilder, SpanContext, Status,
        noop::{NoopSpan, NoopTracer},
    },
};
use opentelemetry_sdk::trace::SdkTracer;

/// Makes spans that go where [`Telemetry`](crate::Telemetry) sends them.
///
/// With `OTEL_SDK_DISABLED` they go nowhere and a caller's trace context is passed on as it is, which a tracer of the SDK
/// that samples nothing would replace. Cheap to clone; making it is not, so keep it.
#[derive(Clone, Debug)]
pub struct Tracer(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Sdk(SdkTracer),
    Off(NoopTracer),
}

/// A span that a [`Tracer`] made.
#[derive(Debug)]
pub struct Span(SpanKind);

#[expect(clippy::large_enum_variant, reason = "the small one is the rare one")]
#[derive(Debug)]
enum SpanKind {
    Sdk(opentelemetry_sdk::trace::Span),
    Off(NoopSpan),
}

impl Tracer {
    /// Of no provider, it makes no spans.
    pub(crate) fn new(tracer: Option<SdkTracer>) -> Self {
        Self(match tracer {
            Some(tracer) => Kind::Sdk(tracer),
            None => Kind::Off(NoopTracer::new()),
        })
    }
}

/// For spans of a provider that was made elsewhere.
impl From<SdkTracer> for Tracer {
    fn from(tracer: SdkTracer) -> Self {
        Self::new(Some(tracer))
    }
}

impl opentelemetry::trace::Tracer for Tracer {
    type Span = Span;

    #[inline]
    fn build_with_context(&self, builder: SpanBuilder, parent_cx: &Context) -> Span {
        Span(match &self.0 {
            Kind::Sdk(tracer) => SpanKind::Sdk(tracer.build_with_context(builder, parent_cx)),
            Kind::Off(tracer) => SpanKind::Off(tracer.build_with_context(builder, parent_cx)),
        })
    }
}

/// The same call on either kind.
macro_rules! on {
    ($span:expr, $name:ident($($argument:expr),*)) => {
        match $span {
            SpanKind::Sdk(span) => span.$name($($argument),*),
            SpanKind::Off(span) => span.$name($($argument),*),
        }
    };
}

impl opentelemetry::trace::Span for Span {
    fn add_event_with_timestamp<T>(
        &mut self,
        name: T,
        timestamp: SystemTime,
        attributes: Vec<KeyValue>,
    ) where
        T: Into<Cow<'static, str>>,
    {
        on!(
            &mut self.0,
            add_event_with_timestamp(name, timestamp, attributes)
        );
    }

    fn span_context(&self) -> &SpanContext {
        on!(&self.0, span_context())
    }

    fn is_recording(&self) -> bool {
        on!(&self.0, is_recording())
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        on!(&mut self.0, set_attribute(attribute));
    }

    fn set_status(&mut self, status: Status) {
        on!(&mut self.0, set_status(status));
    }

    fn update_name<T>(&mut self, new_name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        on!(&mut self.0, update_name(new_name));
    }

    fn add_link(&mut self, span_context: SpanContext, attributes: Vec<KeyValue>) {
        on!(&mut self.0, add_link(span_context, attributes));
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        on!(&mut self.0, end_with_timestamp(timestamp));
    }

    fn end(&mut self) {
        on!(&mut self.0, end());
    }
}
