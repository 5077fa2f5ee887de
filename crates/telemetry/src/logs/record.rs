//! What an event says, and to which span it belongs.

use std::{borrow::Cow, error::Error, fmt};

use opentelemetry::{
    Context, SpanId, TraceId,
    trace::{SpanContext, TraceContextExt},
};
use serde::{Serialize, Serializer};
use tracing::{
    Event, Level, dispatcher,
    field::{Field, Visit},
};
use tracing_log::NormalizeEvent as _;

/// The parts of a record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) message: Value,
    pub(super) fields: Vec<(&'static str, Value)>,
    pub(super) span: Option<Ids>,
}

/// What a field says.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(String),
}

/// Names a span, and says whether it is sampled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) sampled: bool,
}

impl Record {
    pub(super) fn new(event: &Event<'_>) -> Self {
        // Those of the crate `log` name their target in a field.
        let of_log = event.normalized_metadata();
        let metadata = of_log.as_ref().unwrap_or_else(|| event.metadata());
        let mut visitor = Visitor {
            of_log: of_log.is_some(),
            message: Value::Text(String::new()),
            fields: Vec::new(),
        };
        event.record(&mut visitor);
        Self {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            file: metadata.file().map(str::to_owned),
            line: metadata.line(),
            message: visitor.message,
            fields: visitor.fields,
            span: span(metadata.target(), event),
        }
    }
}

/// The span that was named for the event, or the one that it happened in.
fn span(target: &str, event: &Event<'_>) -> Option<Ids> {
    // The API complains of contexts while it holds on to the current one, and to ask for that then would be a panic.
    if target.starts_with("opentelemetry") {
        return None;
    }
    let ids = |span: &SpanContext| {
        span.is_valid().then(|| Ids {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            sampled: span.is_sampled(),
        })
    };
    let named = event.parent().and_then(|parent| {
        let context = dispatcher::get_default(|dispatch| {
            tracing_opentelemetry::get_otel_context(parent, dispatch)
        });
        ids(context?.span().span_context())
    });
    named.or_else(|| Context::map_current(|cx| ids(cx.span().span_context())))
}

struct Visitor {
    of_log: bool,
    message: Value,
    fields: Vec<(&'static str, Value)>,
}

impl Visitor {
    fn add(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value,
            // Its target, file and line, as fields.
            name if self.of_log && name.starts_with("log.") => {}
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Visitor {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::U64(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.add(field, Value::Text(value.to_string()));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, Value::Text(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut chain = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            source = error.source();
        }
        self.add(field, Value::Text(chain));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::Text(format!("{value:?}")));
    }
}

impl Value {
    /// As text, which a message is in nearly all records.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Value::Text(text) => text.into(),
            other => other.to_string().into(),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I64(value) => serializer.serialize_i64(*value),
            Value::U64(value) => serializer.serialize_u64(*value),
            Value::F64(value) if value.is_finite() => serializer.serialize_f64(*value),
            // It would be null.
            Value::F64(value) => serializer.collect_str(value),
            Value::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// As in JSON.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Characters that a terminal or a reader of lines could take for more than text: control characters, line separators,
/// and what changes the direction of text.
pub(super) fn is_special(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}
