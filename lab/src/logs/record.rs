//! What lines say: which of them belong together, how bad it is, and to which trace it belongs.
//!
//! The rules for uservice1 to 4 and for objects are those of conf/alloy/config.alloy.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{Line, Stream};

/// Most bytes of a block.
const LONGEST: usize = 64 << 10;

/// How the block of a request begins.
const REQUEST: &str = "Request: {";

/// How long its end may take: whoever reads our output may pause in the midst of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A record, as it is sent.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    service: String,
    stream: Stream,
    time: SystemTime,
    severity: Severity,
    body: String,
    attributes: Map<String, Value>,
    /// 32 digits, lower case.
    trace: Option<String>,
    /// 16 digits, lower case.
    span: Option<String>,
}

/// <https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Debug = 5,
    Info = 9,
    Warn = 13,
    Error = 17,
}

impl Severity {
    fn of(word: &str) -> Severity {
        let begins = |with: &[&str]| {
            with.iter().any(|with| {
                let word = word.get(..with.len());
                word.is_some_and(|word| word.eq_ignore_ascii_case(with))
            })
        };
        if begins(&["err", "fatal", "crit", "panic", "alert", "emerg"]) {
            Severity::Error
        } else if begins(&["warn"]) {
            Severity::Warn
        } else if begins(&["debug", "trace"]) {
            Severity::Debug
        } else {
            Severity::Info
        }
    }

    fn text(self) -> &'static str {
        match self {
            Severity::Debug => "DEBUG",
            Severity::Info => "INFO",
            Severity::Warn => "WARN",
            Severity::Error => "ERROR",
        }
    }
}

/// Joins the lines of blocks, which uservice1 to 4 print.
#[derive(Debug, Default)]
pub(super) struct Blocks(HashMap<(&'static str, bool), Line>);

impl Blocks {
    /// Takes a line; returns what is complete before it, or with it.
    pub(super) fn line(&mut self, line: Line) -> Option<Record> {
        if !line.part.starts_with("uservice") {
            return Some(record(line));
        }
        let place = (line.part, line.stream == Stream::Stderr);
        // As Alloy has it: further lines begin with a blank or a brace, and those of a page with a tag.
        let is_first = !line.text.starts_with([' ', '\t', '<', '}']) && !line.text.is_empty();
        match self.0.get_mut(&place) {
            Some(block) if !is_first => {
                if block.text.len() + line.text.len() < LONGEST {
                    block.text.push('\n');
                    block.text.push_str(&line.text);
                }
                None
            }
            _ => self.0.insert(place, line).map(record),
        }
    }

    /// What has no further lines, as far as can be told at that time.
    pub(super) fn ended(&mut self, now: SystemTime) -> Vec<Record> {
        let ended = |block: &Line| {
            let age = now.duration_since(block.time).unwrap_or_default();
            let is_open = block.text.starts_with(REQUEST) && !block.text.ends_with("\n}");
            !is_open || age > PATIENCE
        };
        let ended = self.0.extract_if(|_, block| ended(block));
        ended.map(|(_, block)| record(block)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn record(line: Line) -> Record {
    let Line {
        part,
        stream,
        time,
        text,
    } = line;
    let printed = Record {
        service: part.to_owned(),
        stream,
        time,
        severity: match stream {
            Stream::Stdout => Severity::Info,
            Stream::Stderr => Severity::Warn,
        },
        body: String::new(),
        attributes: Map::new(),
        trace: None,
        span: None,
    };
    if part.starts_with("uservice") {
        return Record {
            trace: claimed(&text),
            body: text,
            ..printed
        };
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => structured(fields, printed),
        _ => Record {
            body: text,
            severity: Severity::Info,
            ..printed
        },
    }
}

/// A line of the edge, of Traefik, or of whatever else prints an object.
fn structured(mut fields: Map<String, Value>, printed: Record) -> Record {
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let (trace, span) = (text("trace_id"), text("span_id"));
    let word = text("severity").or(text("level"));
    let service = text("service.name").unwrap_or(printed.service);
    let message = text("message").or(text("msg"));
    for time in ["time", "timestamp"] {
        fields.remove(time);
    }
    if let Some(Value::Object(more)) = fields.remove("fields") {
        fields.extend(more);
    }
    let status = ["DownstreamStatus", "status"]
        .iter()
        .find_map(|name| fields.get(*name)?.as_u64());
    let severity = match status {
        // An access log says `info` of whatever it answered.
        Some(500..) => Severity::Error,
        _ => Severity::of(word.as_deref().unwrap_or_default()),
    };
    let body = message.unwrap_or_else(|| answered(&fields, status));
    let trace = trace.and_then(|id| id_of(&id, 32));
    let span = span
        .and_then(|id| id_of(&id, 16))
        .filter(|_| trace.is_some());
    Record {
        service,
        severity,
        body,
        attributes: fields,
        trace,
        span,
        ..printed
    }
}

/// What an access log says, in words: `GET uservice1.localhost/ 200`.
fn answered(fields: &Map<String, Value>, status: Option<u64>) -> String {
    let text = |names: [&str; 2]| {
        let field = names.iter().find_map(|name| fields.get(*name)?.as_str());
        field.unwrap_or_default()
    };
    let (method, path) = (
        text(["method", "RequestMethod"]),
        text(["path", "RequestPath"]),
    );
    let host = text(["host", "RequestHost"]);
    let status = status.map_or_else(String::new, |status| format!(" {status}"));
    format!("{method} {host}{path}{status}").trim().to_owned()
}

/// An id of so many hexadecimal digits, not all of them zero.
fn id_of(text: &str, digits: usize) -> Option<String> {
    let is_id = text.len() == digits
        && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        && text.bytes().any(|digit| digit != b'0');
    is_id.then(|| text.to_ascii_lowercase())
}

/// The trace that the header of a request names. Names and values are JSON strings, in which quotes and line feeds are escaped, and
/// a header that came twice is an array, so that no other header can pass for it.
fn claimed(block: &str) -> Option<String> {
    let headers = block.strip_prefix(REQUEST)?.strip_prefix('\n')?.lines();
    let mut headers = headers.take_while(|line| line.starts_with("  "));
    let value = headers.find_map(|line| line.strip_prefix("  \"uber-trace-id\": \""))?;
    let value = value.strip_suffix(',').unwrap_or(value).strip_suffix('"')?;
    // As OpenTelemetry's propagators for Jaeger read it.
    let value = value.replace("%3A", ":").replace("%3a", ":");
    let fields: Vec<_> = value.split(':').collect();
    let [trace, span, parent, flags] = fields[..] else {
        return None;
    };
    let is_hex = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    let is_header = is_hex(trace, 1..=32)
        && is_hex(span, 1..=16)
        && is_hex(parent, 0..=usize::MAX)
        && is_hex(flags, 1..=2);
    // Fewer digits stand for leading zeros.
    is_header.then(|| id_of(&format!("{trace:0>32}"), 32))?
}

impl Record {
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// As OTLP has it in JSON.
    pub(super) fn otlp(&self) -> Value {
        let nanos = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = nanos.as_nanos().to_string();
        let stream = match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        // <https://opentelemetry.io/docs/specs/semconv/registry/attributes/log/>
        let stream = [attribute("log.iostream", &json!(stream))];
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(key, value)| attribute(key, value));
        let mut record = json!({
            "timeUnixNano": nanos,
            "observedTimeUnixNano": nanos,
            "severityNumber": self.severity as i32,
            "severityText": self.severity.text(),
            "body": {"stringValue": self.body},
            "attributes": attributes.chain(stream).collect::<Vec<_>>(),
        });
        for (key, id) in [("traceId", &self.trace), ("spanId", &self.span)] {
            if let Some(id) = id {
                record[key] = json!(id);
            }
        }
        record
    }
}

/// A KeyValue of OTLP. What is nested is told as JSON.
pub(super) fn attribute(key: &str, value: &Value) -> Value {
    let value = match value {
        Value::String(text) => json!({ "stringValue": text }),
        Value::Bool(value) => json!({ "boolValue": value }),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => json!({ "intValue": int.to_string() }),
            (None, Some(double)) => json!({ "doubleValue": double }),
            (None, None) => json!({ "stringValue": number.to_string() }),
        },
        Value::Null => json!({}),
        nested => json!({ "stringValue": nested.to_string() }),
    };
    json!({ "key": key, "value": value })
}

#[cfg(test)]
mod tests;
