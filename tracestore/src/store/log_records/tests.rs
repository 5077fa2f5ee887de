//! Records that are kept, asked for, sealed and evicted. Chunks are of eight records here.

mod disk;
mod repeats;
mod search;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use super::{AcceptedLogs, FoundLogs, LogBatch, LogQuery, Options, Place, Shared, search::search};
use crate::{
    log_record::LogRecord,
    query::{Abandon, Patience},
    span::{KeyValue, Resource, SERVICE_NAME, Scope, Value},
    store::{Fsync, files::Files},
};

fn unbounded() -> Options {
    Options {
        data: None,
        max_memory: 1 << 30,
        max_disk: 1 << 40,
        max_age: Duration::MAX,
        fsync: Fsync::Always,
    }
}

/// A store whose keeper does nothing by itself.
fn still(files: Option<Arc<dyn Files>>, options: Options) -> Arc<Shared> {
    Shared::open(files, options, decode).unwrap()
}

fn patience() -> (Patience, Abandon) {
    Patience::until(std::time::Instant::now() + Duration::from_secs(60))
}

fn attribute(key: &str, value: &str) -> KeyValue<'static> {
    KeyValue {
        key: key.to_owned().into(),
        value: Value::String(value.to_owned().into()),
    }
}

fn text_record(time: u64, body: &str) -> LogRecord<'static> {
    LogRecord {
        time_unix_nano: time,
        observed_unix_nano: 0,
        severity: 9,
        severity_text: "".into(),
        body: Value::String(body.to_owned().into()),
        attributes: Vec::new(),
        dropped_attributes: 0,
        flags: 0,
        trace: None,
        span: None,
        event_name: "".into(),
    }
}

fn of_service(name: &str, records: Vec<LogRecord<'static>>) -> LogBatch<'static> {
    LogBatch {
        resource: Arc::new(Resource {
            attributes: vec![attribute(SERVICE_NAME, name)],
            ..Resource::default()
        }),
        scope: Arc::new(Scope::default()),
        records,
    }
}

/// A request that is no other's.
fn keep(shared: &Shared, received: u64, records: &[LogRecord<'static>]) -> Result<(), String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    keep_as(shared, received, number, records)
}

/// A request: its body is its number and the texts of its records, one per line, each after its time.
fn keep_as(
    shared: &Shared,
    received: u64,
    number: u64,
    records: &[LogRecord<'static>],
) -> Result<(), String> {
    let lines = records.iter().map(|record| {
        let text = record.body_text();
        format!("{} {text}\n", record.time_unix_nano)
    });
    let body = format!("{number}\n{}", lines.collect::<String>());
    let accepted = AcceptedLogs {
        form: 1,
        body: body.as_bytes(),
        batches: vec![of_service("s", records.to_vec())],
        received: UNIX_EPOCH + Duration::from_nanos(received),
    };
    shared.append(&accepted).map_err(|error| error.to_string())
}

/// Reads what `keep` wrote.
fn decode(form: u8, body: &[u8]) -> Result<Vec<LogBatch<'_>>, String> {
    if form != 1 {
        return Err("another form".to_owned());
    }
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let records = text.lines().skip(1).map(|line| {
        let (time, text) = line.split_once(' ').ok_or("no time")?;
        let time = time.parse().map_err(|_| "no time")?;
        Ok(text_record(time, text))
    });
    let records: Result<_, &str> = records.collect();
    Ok(vec![of_service("s", records?)])
}

/// Asks for everything.
fn all() -> LogQuery {
    LogQuery {
        service: None,
        severity: 0,
        text: None,
        trace: None,
        span: None,
        times: 0..=u64::MAX,
        limit: 1000,
        place: Place::Newest,
    }
}

fn ask(shared: &Shared, query: &LogQuery) -> FoundLogs {
    let (patience, _abandon) = patience();
    let found = search(&shared.snapshot(), query, &patience);
    found.unwrap_or_else(|_| panic!("a query failed"))
}

fn texts(found: &FoundLogs) -> Vec<String> {
    let records = found.records.iter();
    let text = records.map(|found| found.record.body_text().into_owned());
    text.collect()
}
