//! What fuzz targets call, and the tests that replay their corpora: no part of the interface.
//!
//! Each function takes bytes from a stranger and panics if they break a promise. The shapes of what
//! they read are in `store::fuzz`.

use std::collections::HashSet;

use crate::{
    api, ingest,
    log_record::LogRecord,
    span::{Event, KeyValue, Link, Resource, Scope, Span, Trace, Value},
    store::{
        Batch, LogBatch,
        fuzz::{self as stored, Whole},
        log_fuzz,
    },
};

const PROTOBUF: u8 = 1;
const JSON: u8 = 2;
const THRIFT: u8 = 3;

/// An OTLP request in protobuf.
pub fn otlp_protobuf(body: &[u8]) {
    message(PROTOBUF, body);
}

/// An OTLP request in JSON.
pub fn otlp_json(body: &[u8]) {
    message(JSON, body);
}

/// A batch of Jaeger's spans in thrift.
pub fn jaeger_thrift(body: &[u8]) {
    message(THRIFT, body);
}

/// An OTLP request with logs in protobuf.
pub fn otlp_logs_protobuf(body: &[u8]) {
    logs(PROTOBUF, body);
}

/// An OTLP request with logs in JSON.
pub fn otlp_logs_json(body: &[u8]) {
    logs(JSON, body);
}

/// A segment of logs as it is, and one that is put together from its pieces with the right
/// checksums: see [`log_segment_pieces`].
pub fn log_segment(bytes: &[u8]) {
    log_fuzz::segment(bytes.to_vec());
    log_fuzz::segment(log_fuzz::assemble(bytes));
}

/// The pieces of the segment that holds an OTLP request with logs, as `log_segment` takes them.
pub fn log_segment_pieces(protobuf: &[u8]) -> Option<Vec<u8>> {
    let batches = ingest::decode_logs_again(PROTOBUF, protobuf).ok()?;
    Some(log_fuzz::pieces(&batches))
}

/// A segment as it is, and one that is put together from its pieces with the right checksums: see
/// [`segment_pieces`].
pub fn segment(bytes: &[u8]) {
    stored::segment(bytes.to_vec());
    if let Some(whole) = stored::assemble(bytes) {
        stored::segment(whole);
    }
}

/// The pieces of the segment that holds an OTLP request, as `segment` takes them.
pub fn segment_pieces(protobuf: &[u8]) -> Option<Vec<u8>> {
    let batches = ingest::decode_again(PROTOBUF, protobuf).ok()?;
    stored::disassemble(&stored::segment_of(&batches))
}

/// A log as it is, and one that is made of records and then damaged: see `store::fuzz`.
pub fn log_replay(bytes: &[u8]) {
    let read = |form, body: &[u8]| drop(ingest::decode_again(form, body));
    stored::log(bytes, read);
    stored::damaged_log(bytes, read);
}

/// A query.
pub fn traceql(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    match traceql::parse(text) {
        Ok(query) => stored::query(&query),
        Err(error) => {
            assert!(text.is_char_boundary(error.offset), "{error} in {text:?}");
            assert!(!error.message.is_empty());
        }
    }
}

/// A query that is printed, and parsed again.
pub fn traceql_print(bytes: &[u8]) {
    let Some(Ok(query)) = str::from_utf8(bytes).ok().map(traceql::parse) else {
        return;
    };
    let printed = query.to_string();
    // Brackets that a text can do without may be what makes it too long.
    if printed.len() <= traceql::MAX_LEN {
        let again = traceql::parse(&printed);
        let again = again.unwrap_or_else(|error| panic!("{printed}: {error}"));
        assert_eq!(again, query, "{printed}");
        assert_eq!(again.to_string(), printed);
    }
}

/// A query that is being typed: at each of some places of it.
pub fn traceql_completion(bytes: &[u8]) {
    const PLACES: usize = 16;
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    // No character ends or begins beyond the end, and where none does nothing is offered.
    let step = (text.len() / PLACES).max(1);
    for offset in (0..=text.len() + 1).rev().step_by(step) {
        let found = traceql::complete(text, offset);
        let is_empty = found.words.is_empty() && found.attributes.is_none();
        if !text.is_char_boundary(offset) {
            assert!(is_empty && found.values.is_none(), "{offset} of {text:?}");
            continue;
        }
        let replaces = &found.replaces;
        assert!(
            replaces.contains(&offset) || replaces.end == offset,
            "{replaces:?} is not at {offset} of {text:?}"
        );
        assert!(
            text.get(replaces.clone()).is_some(),
            "{replaces:?} of {text:?}"
        );
        for (number, word) in found.words.iter().enumerate() {
            assert!(!word.text.is_empty());
            let before = &found.words[..number];
            assert!(
                before.iter().all(|other| other.text != word.text),
                "{} is offered twice at {offset} of {text:?}",
                word.text
            );
        }
        if let Some(beside) = found.values.and_then(|values| values.beside) {
            let parsed = traceql::parse(&beside);
            assert!(parsed.is_ok(), "{beside} at {offset} of {text:?}");
        }
    }
}

fn message(form: u8, body: &[u8]) {
    let batches = match ingest::decode_again(form, body) {
        Ok(batches) => batches,
        Err(why) => {
            assert!(why.lines().count() == 1 && why.len() < 400, "{why}");
            return;
        }
    };
    let again = ingest::decode_again(form, body);
    assert_eq!(again.as_ref(), Ok(&batches), "another reading");
    let bytes: usize = batches.iter().map(batch_bytes).sum();
    assert!(bytes <= MAX_DECODED_BYTES, "{bytes} bytes of memory");
    assert!(
        bytes <= body.len() * MAX_GROWTH,
        "{bytes} bytes of memory for {}",
        body.len()
    );
    stored::check_found(&batches, presented);
}

fn logs(form: u8, body: &[u8]) {
    let batches = match ingest::decode_logs_again(form, body) {
        Ok(batches) => batches,
        Err(why) => {
            assert!(why.lines().count() == 1 && why.len() < 400, "{why}");
            return;
        }
    };
    let again = ingest::decode_logs_again(form, body);
    assert_eq!(again.as_ref(), Ok(&batches), "another reading");
    let bytes: usize = batches.iter().map(log_batch_bytes).sum();
    assert!(bytes <= MAX_DECODED_BYTES, "{bytes} bytes of memory");
    assert!(
        bytes <= body.len() * MAX_GROWTH,
        "{bytes} bytes of memory for {}",
        body.len()
    );
    for found in log_fuzz::found(&batches) {
        let shown = serde_json::to_value(api::LogsResponse::new(&found));
        let mut shown = shown.expect("records have a form in JSON");
        let records = shown["records"].take();
        // What readers get is a request with the same records.
        let request = serde_json::json!({
            "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }],
        });
        let request = request.to_string();
        let decoded = ingest::decode_logs_again(JSON, request.as_bytes());
        let decoded = decoded.expect("it was accepted before");
        let read = decoded.iter().flat_map(|batch| &batch.records);
        let sent = found.records.iter().map(|found| &found.record);
        // JSON has no more than one NaN.
        let text = |record: &LogRecord<'_>| format!("{record:?}");
        assert!(read.map(text).eq(sent.map(text)), "{request}");
    }
}

fn log_batch_bytes(batch: &LogBatch<'_>) -> usize {
    let records = batch
        .records
        .iter()
        .map(|record| value_bytes(&record.body) + attributes_bytes(&record.attributes));
    list(&batch.records)
        + records.sum::<usize>()
        + attributes_bytes(&batch.resource.attributes)
        + attributes_bytes(&batch.scope.attributes)
}

/// What the receivers promise for one request.
const MAX_DECODED_BYTES: usize = 64 << 20;

/// An empty span takes two bytes on the wire, a resource and a scope with it six.
const MAX_GROWTH: usize = 512;

/// What readers get of a trace is a request with the same spans.
fn presented(trace: &Trace<'_>) {
    let shown = api::in_order(trace.clone());
    assert_eq!(api::in_order(shown.clone()), shown, "in another order");
    let json = serde_json::to_vec(&api::TraceV1::new(&shown)).expect("a trace has a form in JSON");
    serde_json::from_slice::<serde::de::IgnoredAny>(&json).expect("it is JSON");

    let encoded = ingest::trace(&shown);
    let decoded = ingest::decode_again(PROTOBUF, &encoded).expect("it was accepted before");
    let spans: HashSet<Whole<'_>> = stored::spans_of(&shown).collect();
    for batch in &decoded {
        for (id, span) in &batch.spans {
            assert_eq!(*id, shown.id);
            let whole = (&*batch.resource, &*batch.scope, span);
            assert!(spans.contains(&whole), "not what was shown: {whole:?}");
        }
    }
    let count: usize = decoded.iter().map(|batch| batch.spans.len()).sum();
    let of_shown: usize = shown.groups.iter().map(|group| group.spans.len()).sum();
    assert_eq!(count, of_shown);
}

fn batch_bytes(batch: &Batch<'_>) -> usize {
    let Resource {
        attributes,
        dropped_attributes: _,
        schema_url: _,
    } = &*batch.resource;
    let Scope {
        name: _,
        version: _,
        attributes: of_scope,
        dropped_attributes: _,
        schema_url: _,
    } = &*batch.scope;
    let spans = batch.spans.iter().map(|(_, span)| span_bytes(span));
    list(&batch.spans)
        + spans.sum::<usize>()
        + attributes_bytes(attributes)
        + attributes_bytes(of_scope)
}

fn span_bytes(span: &Span<'_>) -> usize {
    let events = span
        .events
        .iter()
        .map(|event: &Event<'_>| attributes_bytes(&event.attributes));
    let links = span
        .links
        .iter()
        .map(|link: &Link<'_>| attributes_bytes(&link.attributes));
    list(&span.events)
        + list(&span.links)
        + attributes_bytes(&span.attributes)
        + events.sum::<usize>()
        + links.sum::<usize>()
}

fn attributes_bytes(attributes: &Vec<KeyValue<'_>>) -> usize {
    let values = attributes
        .iter()
        .map(|attribute| value_bytes(&attribute.value));
    list(attributes) + values.sum::<usize>()
}

/// Text is mostly borrowed, and what is copied is no longer than what it was read from.
fn value_bytes(value: &Value<'_>) -> usize {
    match value {
        Value::Array(values) => list(values) + values.iter().map(value_bytes).sum::<usize>(),
        Value::Map(entries) => attributes_bytes(entries),
        Value::Empty
        | Value::String(_)
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Double(_)
        | Value::Bytes(_) => 0,
    }
}

fn list<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}
