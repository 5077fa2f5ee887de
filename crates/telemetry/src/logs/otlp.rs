//! Log records by OTLP, with the ids that the lines have.

use std::{borrow::Cow, time::SystemTime};

use opentelemetry::{
    TraceFlags,
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity},
};
use opentelemetry_sdk::{
    Resource,
    logs::{SdkLogger, SdkLoggerProvider},
};
use opentelemetry_semantic_conventions::attribute;
use otlp_pipeline::LogPipeline;
use tracing::{Event, Level, Subscriber, subscriber::NoSubscriber};
use tracing_subscriber::{Layer, layer::Context};

use super::record::{Record, Value};
use crate::config::LogLimits;

/// Makes records of events.
///
/// Not of what telemetry says of itself: were it lost, telling so would be a loss too. Nor does the exporter's thread make any,
/// where the SDK suppresses them.
#[derive(Debug)]
pub(crate) struct Otlp {
    logger: SdkLogger,
    limits: LogLimits,
}

impl Otlp {
    pub(crate) fn new(pipeline: &LogPipeline, resource: &Resource, limits: LogLimits) -> Self {
        // It reads variables that were read better before, and would complain of them again.
        let builder =
            tracing::subscriber::with_default(NoSubscriber::new(), SdkLoggerProvider::builder);
        let provider = builder
            .with_resource(resource.clone())
            .with_log_processor(pipeline.processor())
            .build();
        // The name of each record's scope is its target.
        let logger = provider.logger("");
        Self { logger, limits }
    }
}

impl<S: Subscriber> Layer<S> for Otlp {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if is_never_sent(metadata.target()) {
            return;
        }
        let Record {
            level,
            target,
            file,
            line,
            message,
            fields,
            span,
        } = Record::new(event);
        if is_never_sent(&target) {
            return;
        }
        let mut record = self.logger.create_log_record();
        let now = SystemTime::now();
        record.set_timestamp(now);
        record.set_observed_timestamp(now);
        record.set_severity_number(severity(level));
        record.set_severity_text(level.as_str());
        // One of the crate `log` has a target of its own.
        record.set_target(match metadata.target() {
            known if known == target => Cow::Borrowed(known),
            _ => Cow::Owned(target),
        });
        // Without a name, it has one of its place.
        if !metadata.name().starts_with("event ") && !metadata.name().starts_with("log ") {
            record.set_event_name(metadata.name());
        }
        record.set_body(any(message, None));
        let place = [
            file.map(|file| (attribute::CODE_FILE_PATH, Value::Text(file))),
            line.map(|line| (attribute::CODE_LINE_NUMBER, Value::U64(line.into()))),
        ];
        // Those of the program first, of which none should be lost for ours.
        let attributes = fields.into_iter().chain(place.into_iter().flatten());
        for (name, value) in attributes.take(self.limits.attributes) {
            record.add_attribute(name, any(value, self.limits.value_length));
        }
        if let Some(span) = span {
            let flags = TraceFlags::NOT_SAMPLED.with_sampled(span.sampled);
            record.set_trace_context(span.trace_id, span.span_id, Some(flags));
        }
        self.logger.emit(record);
    }
}

/// Whether it speaks of telemetry. The API does so while it holds on to the current context, and to ask for that then would be
/// a panic.
pub(super) fn is_never_sent(target: &str) -> bool {
    target.starts_with("opentelemetry") || target.starts_with("otlp_pipeline")
}

fn severity(level: Level) -> Severity {
    match level {
        Level::TRACE => Severity::Trace,
        Level::DEBUG => Severity::Debug,
        Level::INFO => Severity::Info,
        Level::WARN => Severity::Warn,
        Level::ERROR => Severity::Error,
    }
}

/// Of a longer text only so many characters.
fn any(value: Value, longest: Option<usize>) -> AnyValue {
    match value {
        Value::Bool(value) => AnyValue::Boolean(value),
        Value::I64(value) => AnyValue::Int(value),
        // One that is too large for OTLP is text.
        Value::U64(value) => match i64::try_from(value) {
            Ok(value) => AnyValue::Int(value),
            Err(_) => AnyValue::from(value.to_string()),
        },
        Value::F64(value) => AnyValue::Double(value),
        Value::Text(mut text) => {
            let end = longest.and_then(|longest| text.char_indices().nth(longest));
            if let Some((end, _)) = end {
                text.truncate(end);
            }
            AnyValue::from(text)
        }
    }
}
