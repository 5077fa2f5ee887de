//! Hands spans on to where they go, within the limits that the SDK does not know.

use std::{sync::Arc, time::Duration};

use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};

use crate::{console::Console, resource::service_name};

/// Clips attributes, shows spans on the console, and hands them on.
///
/// Several providers of a process hand their spans to one pipeline, which only the guard shuts down: where one of them is
/// dropped, the others go on.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) value_length: Option<usize>,
    pub(crate) console: Option<Console>,
    pub(crate) next: Option<Next>,
}

/// Where spans go.
#[derive(Debug)]
pub(crate) enum Next {
    Pipeline(otlp_pipeline::Processor),
    Other(Arc<dyn SpanProcessor>),
}

impl Next {
    #[inline]
    fn get(&self) -> &dyn SpanProcessor {
        match self {
            Next::Pipeline(processor) => processor,
            Next::Other(processor) => processor.as_ref(),
        }
    }
}

impl SpanProcessor for Feed {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        if let Some(next) = &self.next {
            next.get().on_start(span, cx);
        }
    }

    fn on_end(&self, mut span: SpanData) {
        if let Some(limit) = self.value_length {
            clip_span(&mut span, limit);
        }
        if let Some(console) = &self.console
            && span.span_context.is_sampled()
        {
            console.write(&span);
        }
        if let Some(next) = &self.next {
            next.get().on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next
            .as_ref()
            .map_or(Ok(()), |next| next.get().force_flush())
    }

    /// Nothing: see above.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(console) = &self.console {
            console.set_service(service_name(resource));
        }
        if let Some(Next::Pipeline(processor)) = &mut self.next {
            processor.set_resource(resource);
        }
    }
}

fn clip_span(span: &mut SpanData, limit: usize) {
    let clip_all = |attributes: &mut Vec<KeyValue>| {
        for attribute in attributes {
            clip(&mut attribute.value, limit);
        }
    };
    clip_all(&mut span.attributes);
    for event in &mut span.events.events {
        clip_all(&mut event.attributes);
    }
    for link in &mut span.links.links {
        clip_all(&mut link.attributes);
    }
}

/// Leaves so many characters of a string, or of each in an array.
fn clip(value: &mut Value, limit: usize) {
    match value {
        Value::String(text) => clip_text(text, limit),
        Value::Array(Array::String(texts)) => {
            for text in texts {
                clip_text(text, limit);
            }
        }
        _ => {}
    }
}

fn clip_text(text: &mut StringValue, limit: usize) {
    // There are at least as many bytes as characters.
    if text.as_str().len() > limit
        && let Some((end, _)) = text.as_str().char_indices().nth(limit)
    {
        *text = text.as_str()[..end].to_owned().into();
    }
}
