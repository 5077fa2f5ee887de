//! The store against a model that keeps everything in one vector.

mod bounds;
mod concurrency;
mod damage;
mod faults;
mod hostile;
mod model;
mod naive;
mod requests;
mod restart;
mod search;
mod values;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    Accepted, Batch, Options, QueryError, Shared, Store, Timings, Unavailable,
    files::{Files, Folder},
    keeper,
    log::Fsync,
    orders::Trouble,
};
use crate::{
    query::{Abandon, Patience},
    span::{Resource, Scope, Span, SpanId, TraceId},
};

/// What was sent in one call.
#[derive(Clone, Debug)]
struct Request {
    batches: Vec<Batch<'static>>,
    /// Nanoseconds since the Unix epoch.
    received: u64,
}

/// Bodies are numbers of these: what they look like is not the store's business.
static BODIES: Mutex<Vec<Vec<Batch<'static>>>> = Mutex::new(Vec::new());

fn decode(_: u8, body: &[u8]) -> Result<Vec<Batch<'_>>, String> {
    let number = body.first_chunk().ok_or("too short for a number")?;
    let number = usize::try_from(u64::from_le_bytes(*number)).map_err(|error| error.to_string())?;
    let bodies = BODIES.lock().unwrap();
    bodies
        .get(number)
        .cloned()
        .ok_or_else(|| format!("there is no body {number}"))
}

/// The number of the batches, and as many bytes after it as spans would take.
fn body(batches: &[Batch<'static>]) -> Vec<u8> {
    let mut bodies = BODIES.lock().unwrap();
    bodies.push(batches.to_vec());
    let mut body = (bodies.len() as u64 - 1).to_le_bytes().to_vec();
    let spans: usize = batches.iter().map(|batch| batch.spans.len()).sum();
    body.resize(8 + 100 * spans, 0);
    body
}

fn append(store: &Store, request: &Request) -> Result<(), Unavailable> {
    store.append(&Accepted {
        form: 1,
        body: &body(&request.batches),
        batches: request.batches.clone(),
        received: UNIX_EPOCH + Duration::from_nanos(request.received),
    })
}

/// Bounds that nothing comes near.
fn unbounded() -> Options {
    Options {
        data: None,
        max_memory: 1 << 30,
        max_disk: 1 << 40,
        max_age: Duration::MAX,
        fsync: Fsync::Within(Duration::MAX),
    }
}

/// A store that nobody keeps in order but the test.
fn still(files: Option<Arc<dyn Files>>, options: Options) -> Store {
    Store {
        shared: Shared::open(files, options, decode, Timings::new()).unwrap(),
        keeper: None,
    }
}

fn on_disk(path: &Path, options: Options) -> Store {
    still(Some(Arc::new(Folder::open(path).unwrap())), options)
}

/// What the keeper does when it wakes.
fn keep(store: &Store) {
    keeper::keep(&store.shared, &mut Trouble::default());
}

/// For as long as any test may take.
fn patience() -> (Patience, Abandon) {
    Patience::until(Instant::now() + Duration::from_secs(600))
}

/// The names of the files in a folder that end so.
fn names(path: &Path, end: &str) -> Vec<String> {
    let names = fs::read_dir(path).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

/// Copies the files whose names end so, as a crash would leave them.
fn copy(from: &Path, to: &Path, end: &str) {
    for name in names(from, end) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

pub(super) fn trace_id(number: u64) -> TraceId {
    TraceId::new((u128::from(number) + 1).to_be_bytes()).unwrap()
}

fn span_id(number: u64) -> SpanId {
    SpanId::new((number + 1).to_be_bytes()).unwrap()
}

/// A span of which nothing but this is known.
pub(super) fn plain(id: u64, start: u64) -> Span<'static> {
    Span {
        start_unix_nano: start,
        end_unix_nano: start,
        ..Span::plain(span_id(id))
    }
}

/// Spans without a resource or a scope to speak of.
fn request(spans: Vec<(TraceId, Span<'static>)>) -> Request {
    Request {
        batches: vec![Batch {
            resource: Arc::new(Resource::default()),
            scope: Arc::new(Scope::default()),
            spans,
        }],
        received: now(),
    }
}

/// Nanoseconds since the Unix epoch.
fn now() -> u64 {
    super::nanos(SystemTime::now())
}

/// How many spans of a trace are found, each of its contents once.
fn count(store: &Store, trace: TraceId) -> Result<usize, QueryError> {
    let found = store.find(trace, &patience().0)?;
    Ok(found.map_or(0, |found| {
        found
            .trace(&patience().0)
            .unwrap()
            .groups
            .iter()
            .map(|group| group.spans.len())
            .sum()
    }))
}
