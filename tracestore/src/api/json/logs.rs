//! Log records.

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;

use super::values::{AnyValue, Attributes, Text, is_default, is_zero};
use crate::{
    span::{Resource, Scope, Value},
    store::{FoundLog, FoundLogs, Position},
};

/// What `/logs.json` answers.
#[derive(Serialize)]
pub(crate) struct LogsResponse<'a> {
    /// The newest first.
    records: Vec<RecordJson<'a>>,
    /// Each of those that the records are of, once.
    resources: Vec<ResourceJson<'a>>,
    /// What to give as `before` for those before these.
    older: Option<String>,
    /// What to give as `after` for what comes.
    newest: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordJson<'a> {
    time_unix_nano: Text<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    observed_time_unix_nano: Text<u64>,
    #[serde(skip_serializing_if = "is_default")]
    severity_number: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    severity_text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<AnyValue<'a>>,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "is_default")]
    flags: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    event_name: &'a str,
    /// `service.name` of its resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    /// Among `resources`.
    resource: usize,
    scope: ScopeJson<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    schema_url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceJson<'a> {
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "is_default")]
    dropped_attributes_count: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    schema_url: &'a str,
}

impl<'a> LogsResponse<'a> {
    pub(crate) fn new(found: &'a FoundLogs) -> LogsResponse<'a> {
        let mut resources: Vec<ResourceJson<'a>> = Vec::new();
        let mut numbers: HashMap<&Resource<'static>, usize> = HashMap::new();
        let records = found.records.iter().map(|found| {
            let resource: &Arc<Resource<'static>> = &found.origin.resource;
            let number = *numbers.entry(resource).or_insert_with(|| {
                resources.push(resource_json(resource));
                resources.len() - 1
            });
            record_json(found, number)
        });
        LogsResponse {
            records: records.collect(),
            older: found.older.map(older_cursor),
            newest: newest_cursor(found.next),
            resources,
        }
    }
}

fn record_json(FoundLog { record, origin }: &FoundLog, resource: usize) -> RecordJson<'_> {
    RecordJson {
        time_unix_nano: Text(record.time_unix_nano),
        observed_time_unix_nano: Text(record.observed_unix_nano),
        severity_number: record.severity,
        severity_text: &record.severity_text,
        body: match &record.body {
            Value::Empty => None,
            body => Some(AnyValue(body)),
        },
        attributes: Attributes(&record.attributes),
        dropped_attributes_count: record.dropped_attributes,
        flags: record.flags,
        trace_id: record.trace.map(|id| id.to_string()),
        span_id: record.span.map(|id| id.to_string()),
        event_name: &record.event_name,
        service: origin.service(),
        resource,
        scope: scope_json(&origin.scope),
    }
}

fn resource_json<'a>(resource: &'a Resource<'_>) -> ResourceJson<'a> {
    ResourceJson {
        attributes: Attributes(&resource.attributes),
        dropped_attributes_count: resource.dropped_attributes,
        schema_url: &resource.schema_url,
    }
}

fn scope_json<'a>(scope: &'a Scope<'_>) -> ScopeJson<'a> {
    ScopeJson {
        name: &scope.name,
        version: &scope.version,
        attributes: Attributes(&scope.attributes),
        dropped_attributes_count: scope.dropped_attributes,
        schema_url: &scope.schema_url,
    }
}

/// Opaque to clients: the place of a record among all.
fn older_cursor(Position { time, arrival }: Position) -> String {
    format!("o{time:016x}{arrival:016x}")
}

/// What `older_cursor` wrote.
pub(crate) fn older(cursor: &str) -> Option<Position> {
    let digits = digits(cursor, 'o', 32)?;
    let (time, arrival) = digits.split_at(16);
    Some(Position {
        time: u64::from_str_radix(time, 16).ok()?,
        arrival: u64::from_str_radix(arrival, 16).ok()?,
    })
}

/// Opaque to clients: the number of the next arrival.
fn newest_cursor(next: u64) -> String {
    format!("n{next:016x}")
}

/// What `newest_cursor` wrote.
pub(crate) fn newest(cursor: &str) -> Option<u64> {
    u64::from_str_radix(digits(cursor, 'n', 16)?, 16).ok()
}

fn digits(cursor: &str, kind: char, count: usize) -> Option<&str> {
    let digits = cursor.strip_prefix(kind)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && digits.len() == count).then_some(digits)
}
