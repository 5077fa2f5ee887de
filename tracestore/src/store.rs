//! Keeps traces, finds them, and forgets the oldest when there is no more room.
//!
//! What is accepted is on disk before it is acknowledged, and found from then on. Spans are kept in
//! parts that never change, so that a query works on those that were there when it began and never
//! waits for a request, nor a request for it. Knows nothing of protobuf, HTTP or JSON: see `ingest`
//! and `api`.

mod bisect;
mod bytes;
mod cache;
mod census;
mod column;
mod describe;
mod envelope;
mod field;
mod files;
mod fragments;
pub(crate) mod fuzz;
mod integers;
mod keeper;
mod log;
mod log_records;
mod orders;
mod part;
mod rows;
mod scan;
mod search;
mod slice;
mod storage;
mod summary;
mod survey;
mod tally;
#[cfg(test)]
mod tests;
mod timings;
mod too_long;
mod value;
mod values;

use std::{
    collections::HashSet,
    fmt, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::json;

pub use self::log::Fsync;
use self::{
    cache::Cache,
    log::Record,
    orders::Orders,
    part::{Damaged, Part},
    search::Failed,
    storage::{InMemory, OnDisk, Sealed, Storage},
};
pub(crate) use self::{
    fragments::{Fragments, MAX_TRACE_SPANS},
    log_records::fuzz as log_fuzz,
    log_records::{
        AcceptedLogs, FoundLog, FoundLogs, LogBatch, LogQuery, Logs, Place as LogPlace, Position,
        Text,
    },
    search::{Early, Found},
    slice::{Judge, Reads, Slice},
    summary::{Root, Summary},
    survey::{Marks, Sets, Survey},
    timings::Timings,
    values::Tag,
};
use crate::{
    output,
    query::{CensusTaker, Counter, Field, Patience, Search, Stopped, Tally},
    span::{Resource, Scope, Span, TraceId, Value},
};

/// Spans that arrived together and share a resource and a scope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch<'a> {
    pub(crate) resource: Arc<Resource<'a>>,
    pub(crate) scope: Arc<Scope<'a>>,
    pub(crate) spans: Vec<(TraceId, Span<'a>)>,
}

/// A request whose spans are to be kept.
#[derive(Debug)]
pub(crate) struct Accepted<'a> {
    /// How `body` is to be read, for whoever replays it.
    pub(crate) form: u8,
    /// What the spans were read from.
    pub(crate) body: &'a [u8],
    pub(crate) batches: Vec<Batch<'a>>,
    pub(crate) received: SystemTime,
}

/// Reads the body of a request again, after a restart.
pub(crate) type Decode = for<'a> fn(u8, &'a [u8]) -> Result<Vec<Batch<'a>>, String>;

/// The bounds of a store, of traces or of logs. Whatever exceeds one is evicted, the oldest first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// Where to keep them; in memory only if there is none.
    pub(crate) data: Option<PathBuf>,
    /// Bytes of memory: for all of them if they are kept in memory only, else those that
    /// are not sealed yet and what queries read.
    pub(crate) max_memory: usize,
    /// Bytes on disk.
    pub(crate) max_disk: u64,
    pub(crate) max_age: Duration,
    pub(crate) fsync: Fsync,
}

/// How full the store is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Those whose spans were sealed in two parts count twice.
    pub(crate) traces: u64,
    /// Those that came twice count twice until they are read.
    pub(crate) spans: u64,
    /// Bytes of memory, without what is being received or asked for.
    pub(crate) memory_bytes: u64,
    pub(crate) disk_bytes: u64,
    /// Nanoseconds since the Unix epoch at which the oldest arrived, 0 if there is none.
    pub(crate) oldest_unix_nano: u64,
    pub(crate) parts: u64,
    /// The parts that are sealed: files, if there is a disk.
    pub(crate) segments: u64,
    /// Requests that were read from the log when the store was opened.
    pub(crate) replayed_requests: u64,
    pub(crate) evicted_traces: u64,
    pub(crate) evicted_spans: u64,
    /// Requests that were not kept because of the store, not because of what they were.
    pub(crate) refused_requests: u64,
    /// What could not be read.
    pub(crate) damaged: Losses,
}

/// What was lost, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Losses {
    pub(crate) count: u64,
    /// What and why, of the first of them.
    pub(crate) first: Vec<String>,
}

impl Losses {
    const MOST: usize = 100;

    fn note(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < Losses::MOST {
            self.first.push(what);
        }
    }
}

/// The store takes nothing for now. What it refused may be sent again as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable: {reason}")]
pub(crate) struct Unavailable {
    /// What was attempted and why it failed.
    pub(crate) reason: String,
}

/// All traces that are kept.
pub(crate) struct Store {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

struct Shared {
    options: Options,
    storage: Box<dyn Storage>,
    cache: Arc<Cache>,
    parts: RwLock<Arc<Parts>>,
    /// Held for reading from when a request is given to storage until its part is listed: who
    /// holds it for writing sees all parts of a generation that has ended.
    arrivals: RwLock<()>,
    evicted: EvictedSoFar,
    refused_requests: AtomicU64,
    replayed_requests: u64,
    damaged: Mutex<Losses>,
    timings: Timings,
    /// What the keeper is to do.
    orders: Orders,
}

#[derive(Default)]
struct EvictedSoFar {
    traces: AtomicU64,
    spans: AtomicU64,
}

/// What was removed to stay within the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub(crate) traces: u64,
    pub(crate) spans: u64,
}

/// What is kept, at one moment.
#[derive(Clone, Default)]
struct Parts {
    /// The oldest first.
    sealed: Vec<Sealed>,
    /// Sealed as well, in the same order, but nothing is asked of them.
    unread: Vec<Unread>,
    /// The last generation of a segment that the disk did not give at the start.
    unopened: Option<u64>,
    /// In the order of arrival. Their requests are in the log.
    loose: Vec<Loose>,
}

/// A sealed part that a disk did not give, though it may another time.
#[derive(Clone)]
struct Unread {
    sealed: Sealed,
    tried: Instant,
}

#[derive(Clone)]
struct Loose {
    part: Arc<Part>,
    generation: u64,
    bytes: usize,
}

impl Parts {
    fn all(&self) -> Vec<Arc<Part>> {
        let sealed = self.sealed.iter().map(|sealed| &sealed.part);
        let loose = self.loose.iter().map(|loose| &loose.part);
        sealed.chain(loose).map(Arc::clone).collect()
    }

    fn loose_spans(&self) -> u64 {
        let spans = |loose: &Loose| u64::from(loose.part.directory.spans());
        self.loose.iter().map(spans).sum()
    }

    fn loose_bytes(&self) -> usize {
        self.loose.iter().map(|loose| loose.bytes).sum()
    }

    fn sealed_memory(&self) -> usize {
        let parts = self.sealed.iter().map(|sealed| &sealed.part);
        parts.map(|part| part.resident_bytes()).sum()
    }

    fn sealed_disk(&self) -> u64 {
        let unread = self.unread.iter().map(|unread| &unread.sealed);
        let sealed = self.sealed.iter().chain(unread);
        sealed.map(|sealed| sealed.disk_bytes).sum()
    }

    /// The generation up to which everything is sealed.
    fn sealed_up_to(&self) -> Option<u64> {
        let unread = self.unread.last().map(|unread| &unread.sealed);
        let ends = [self.sealed.last(), unread].into_iter().flatten();
        let ends = ends.map(|sealed| *sealed.generations.end());
        ends.chain(self.unopened).max()
    }

    fn forget(&mut self, part: &Arc<Part>) {
        self.sealed
            .retain(|sealed| !Arc::ptr_eq(&sealed.part, part));
        self.unread
            .retain(|unread| !Arc::ptr_eq(&unread.sealed.part, part));
    }
}

/// The part of the memory that pages may take that were read from disk is one of so many: with the default, what a query
/// for metrics reads of ten million spans.
const CACHE_SHARE: usize = 2;

impl Store {
    /// Opens the store, and what it held before. If another process has the folder, traces are
    /// kept in memory only, which is said.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub(crate) fn open(options: Options, decode: Decode) -> io::Result<Store> {
        let timings = Timings::new();
        let files = match &options.data {
            None => None,
            Some(path) => open_folder(path, &timings)?,
        };
        let shared = Shared::open(files, options, decode, timings)?;
        let keeper = thread::Builder::new().name("keeper".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || keeper::run(&shared)
        })?;
        Ok(Store {
            shared,
            keeper: Some(keeper),
        })
    }

    /// Keeps the spans of a request: on disk if there is one, and to be found from now on.
    /// Blocks while it is written, and for up to 2 s if there is no room.
    pub(crate) fn append(&self, accepted: &Accepted<'_>) -> Result<(), Unavailable> {
        let appended = self.try_append(accepted);
        if appended.is_err() {
            self.shared.refused_requests.fetch_add(1, Ordering::Relaxed);
        }
        appended
    }

    fn try_append(&self, accepted: &Accepted<'_>) -> Result<(), Unavailable> {
        if accepted.batches.iter().all(|batch| batch.spans.is_empty()) {
            return Ok(());
        }
        let shared = &*self.shared;
        shared.wait_for_room()?;
        let received_unix_nano = nanos(accepted.received);
        let part = part::build(&accepted.batches, received_unix_nano);
        let record = Record {
            received_unix_nano,
            form: accepted.form,
            body: accepted.body,
        };
        let _arrival = read(&shared.arrivals);
        let generation = shared.storage.append(&record).map_err(|error| {
            shared.orders.wake();
            Unavailable {
                reason: format!("writing the request: {error}"),
            }
        })?;
        {
            let mut parts = write(&shared.parts);
            Arc::make_mut(&mut *parts)
                .loose
                .push(loose(part, generation));
        }
        // Not under the lock that queries need: it may wait for somebody's write to the log.
        if keeper::is_wanted(shared, &shared.snapshot()) {
            shared.orders.wake();
        }
        Ok(())
    }

    /// The spans of a trace, if any are kept.
    ///
    /// # Errors
    /// Only if its parts cannot be read, again and again.
    pub(crate) fn find(
        &self,
        id: TraceId,
        patience: &Patience,
    ) -> Result<Option<Fragments>, QueryError> {
        self.query(|parts| Fragments::find(parts, id, patience))
    }

    /// Traces that pass, and in which the judge, if there is one, finds something: the newest first
    /// by their start, and by id where that is equal.
    ///
    /// A trace whose start is unknown (0) or lies in the future counts as started when it
    /// arrived. With a window only traces that were running or received in it: a skewed clock
    /// hides nothing.
    pub(crate) fn search(
        &self,
        search: &Search,
        judge: Option<&Judge<'_>>,
        early: Option<&Early<'_>>,
        patience: &Patience,
    ) -> Result<Vec<Found>, QueryError> {
        self.query(|parts| search::search(parts, search, judge, early, patience))
    }

    /// Shows every trace that passes to `each`, in no particular order.
    ///
    /// The state begins anew if a part turns out to be damaged.
    pub(crate) fn survey<T>(
        &self,
        survey: &Survey,
        patience: &Patience,
        begin: impl Fn() -> T,
        each: impl Fn(&mut T, &Slice) -> Result<(), Stopped>,
    ) -> Result<T, QueryError> {
        self.query(|parts| {
            let mut state = begin();
            survey::survey(parts, survey, patience, |slice| each(&mut state, slice))?;
            Ok(state)
        })
    }

    /// Counts the spans of the first set, read from columns alone. One that came twice counts twice, unless sets are marked.
    ///
    /// The counter begins anew if a part turns out to be damaged.
    pub(crate) fn tally<C: Counter>(
        &self,
        tally: &Tally,
        sets: &Sets<'_>,
        patience: &Patience,
        begin: impl Fn() -> C,
    ) -> Result<C, QueryError> {
        self.query(|parts| {
            let mut counter = begin();
            tally::tally(parts, tally, sets, &mut counter, patience)?;
            Ok(counter)
        })
    }

    /// Counts all that the spans of the first set have that start in time, of those in the second set apart. As above, spans
    /// may count twice.
    pub(crate) fn census<T: CensusTaker>(
        &self,
        starts: &RangeInclusive<u64>,
        sets: &Sets<'_>,
        patience: &Patience,
        begin: impl Fn(usize) -> T,
    ) -> Result<T, QueryError> {
        self.query(|parts| {
            let mut taker = begin(census::fields(parts));
            census::census(parts, starts, sets, &mut taker, patience)?;
            Ok(taker)
        })
    }

    /// The names of all attributes, by where they are. With a window, here and below, nothing of segments and other parts of
    /// which nothing was running or received in it; nanoseconds since the Unix epoch.
    pub(crate) fn tags(&self, window: Option<&RangeInclusive<u64>>) -> Vec<Tag> {
        values::tags(&self.shared.snapshot().all(), window)
    }

    /// The names of the attributes that belong to spans of the first set, by where they are.
    pub(crate) fn tags_of(
        &self,
        sets: &Sets<'_>,
        window: Option<&RangeInclusive<u64>>,
        patience: &Patience,
    ) -> Result<Vec<Tag>, QueryError> {
        self.query(|parts| values::tags_of(parts, sets, window, patience))
    }

    /// Distinct values of each of these fields in the spans of the first set, ascending, at most `limit`, and 10 MB of them.
    pub(crate) fn values(
        &self,
        fields: &[Field],
        sets: &Sets<'_>,
        window: Option<&RangeInclusive<u64>>,
        limit: usize,
        patience: &Patience,
    ) -> Result<Vec<Vec<Value<'static>>>, QueryError> {
        self.query(|parts| values::values(parts, fields, sets, window, limit, patience))
    }

    /// Asks the parts that there are now. One that turns out to be damaged is dropped, and the
    /// others are asked again.
    fn query<T>(&self, ask: impl Fn(&[Arc<Part>]) -> Result<T, Failed>) -> Result<T, QueryError> {
        loop {
            let parts = self.shared.snapshot().all();
            match ask(&parts) {
                Ok(answer) => return Ok(answer),
                Err(Failed::Stopped(stopped)) => return Err(QueryError::Stopped(stopped)),
                Err(error @ Failed::TooLarge) => {
                    return Err(QueryError::TooLarge(error.to_string()));
                }
                Err(Failed::Damaged(damaged)) => {
                    let has =
                        |parts: &[Arc<Part>]| parts.iter().any(|part| *part.name() == damaged.part);
                    // Another query may have dropped it meanwhile.
                    let is_gone = || has(&parts) && !has(&self.shared.snapshot().all());
                    if !self.shared.quarantine(&damaged) && !is_gone() {
                        return Err(QueryError::Damaged(damaged.to_string()));
                    }
                }
            }
        }
    }

    /// Seals what is there now.
    #[cfg(test)]
    pub(crate) fn seal(&self) {
        keeper::seal(&self.shared).expect("memory has room");
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn timings(&self) -> &Timings {
        &self.shared.timings
    }

    /// Whether traces outlive the process.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.shared.storage.is_on_disk()
    }

    /// Since the store was opened. Cheap, unlike `usage`.
    pub(crate) fn evicted(&self) -> Evicted {
        let evicted = &self.shared.evicted;
        Evicted {
            traces: evicted.traces.load(Ordering::Relaxed),
            spans: evicted.spans.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let shared = &*self.shared;
        let parts = shared.snapshot();
        let all = parts.all();
        let sealed_traces = (parts.sealed.iter())
            .map(|sealed| u64::from(sealed.part.directory.traces))
            .sum::<u64>();
        let mut loose_traces: HashSet<[u8; 16]> = HashSet::new();
        for loose in &parts.loose {
            if let Ok(traces) = loose.part.traces() {
                loose_traces.extend(traces.ids().iter());
            }
        }
        let evicted = self.evicted();
        let received = |part: &Arc<Part>| *part.directory.summary.received.start();
        Usage {
            traces: sealed_traces + loose_traces.len() as u64,
            spans: all
                .iter()
                .map(|part| u64::from(part.directory.spans()))
                .sum(),
            memory_bytes: shared.memory(&parts),
            disk_bytes: parts.sealed_disk() + shared.storage.log_bytes(),
            oldest_unix_nano: all.iter().map(received).min().unwrap_or(0),
            parts: all.len() as u64,
            segments: parts.sealed.len() as u64,
            replayed_requests: shared.replayed_requests,
            evicted_traces: evicted.traces,
            evicted_spans: evicted.spans,
            refused_requests: shared.refused_requests.load(Ordering::Relaxed),
            damaged: lock(&shared.damaged).clone(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

/// Waits until all that was accepted is on the medium.
impl Drop for Store {
    fn drop(&mut self) {
        self.shared.orders.stop();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            output::warn("the keeper of the store panicked", json!({}));
        }
    }
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    TooLarge(String),
}

impl QueryError {
    /// What was found takes too many bytes.
    pub(crate) fn too_large() -> QueryError {
        QueryError::TooLarge(Failed::TooLarge.to_string())
    }
}

impl Shared {
    /// Without a keeper. `files` is the folder, if there is one.
    fn open(
        files: Option<Arc<dyn files::Files>>,
        options: Options,
        decode: Decode,
        timings: Timings,
    ) -> io::Result<Arc<Shared>> {
        let cache = Arc::new(Cache::new(options.max_memory / CACHE_SHARE));
        let mut parts = Parts::default();
        let storage: Box<dyn Storage>;
        let mut damaged = Losses::default();
        let mut replayed_requests = 0;
        match files {
            None => storage = Box::new(InMemory::default()),
            Some(files) => {
                let replay = |generation: u64, record: Record<'_>| {
                    let batches = decode(record.form, record.body)?;
                    parts.loose.push(loose(
                        part::build(&batches, record.received_unix_nano),
                        generation,
                    ));
                    keeper::merge_small(&mut parts.loose);
                    replayed_requests += 1;
                    Ok(())
                };
                let cache = Arc::clone(&cache);
                let (on_disk, recovered) = OnDisk::open(files, cache, options.fsync, replay)?;
                parts.sealed = recovered.sealed;
                parts.unopened = recovered.unopened;
                for dropped in &recovered.dropped.first {
                    let text = format!("damaged data dropped: {dropped}");
                    output::warn(&text, json!({}));
                }
                let more = recovered.dropped.count - recovered.dropped.first.len() as u64;
                if more > 0 {
                    let text = format!("damaged data dropped: {more} more pieces");
                    output::warn(&text, json!({ "pieces": more }));
                }
                damaged = recovered.dropped;
                storage = Box::new(on_disk);
            }
        }
        Ok(Arc::new(Shared {
            options,
            storage,
            cache,
            parts: RwLock::new(Arc::new(parts)),
            arrivals: RwLock::default(),
            evicted: EvictedSoFar::default(),
            refused_requests: AtomicU64::new(0),
            replayed_requests,
            damaged: Mutex::new(damaged),
            timings,
            orders: Orders::new("traces"),
        }))
    }

    fn snapshot(&self) -> Arc<Parts> {
        Arc::clone(&read(&self.parts))
    }

    fn memory(&self, parts: &Parts) -> u64 {
        (parts.loose_bytes() + parts.sealed_memory()) as u64 + self.cache.bytes()
    }

    /// A disk that is full keeps parts in memory, which has its bound too.
    fn wait_for_room(&self) -> Result<(), Unavailable> {
        (self.orders).wait_for_room(|| self.snapshot().loose_bytes() <= self.options.max_memory / 2)
    }

    /// Takes a part out of what is asked: until it can be read, if it could not, else for good.
    /// Whether it was there.
    fn quarantine(&self, damaged: &Damaged) -> bool {
        let sealed = {
            let mut parts = write(&self.parts);
            let parts = Arc::make_mut(&mut *parts);
            let is_it = |sealed: &Sealed| sealed.part.name() == &damaged.part;
            let sealed = match parts.sealed.iter().position(is_it) {
                Some(index) => parts.sealed.remove(index),
                None => return false,
            };
            if damaged.is_unread {
                parts.unread.push(Unread {
                    sealed: sealed.clone(),
                    tried: Instant::now(),
                });
                (parts.unread).sort_by_key(|unread| *unread.sealed.generations.end());
            }
            sealed
        };
        if damaged.is_unread {
            let what = "data left out until it can be read";
            self.say_lost(what, damaged, &sealed, "left out");
        } else {
            self.drop_damaged(damaged, &sealed);
        }
        true
    }

    /// `sealed` is not in the lists any more.
    fn drop_damaged(&self, damaged: &Damaged, sealed: &Sealed) {
        let mut fate = "dropped".to_owned();
        if let Err(error) = self.storage.set_aside(sealed) {
            fate = format!("{fate}; renaming it: {error}");
        }
        self.say_lost("damaged data dropped", damaged, sealed, &fate);
    }

    fn say_lost(&self, what: &str, damaged: &Damaged, sealed: &Sealed, fate: &str) {
        let spans = sealed.part.directory.spans();
        let message = format!("{damaged}; {spans} spans {fate}");
        output::warn(
            &format!("{what}: {message}"),
            json!({ "segment": &*damaged.part, "reason": damaged.why, "spans": spans }),
        );
        lock(&self.damaged).note(message);
    }
}

/// `None` if another process has it.
fn open_folder(path: &Path, timings: &Timings) -> io::Result<Option<Arc<dyn files::Files>>> {
    match storage::folder(path, timings) {
        Ok(files) => Ok(Some(files)),
        Err(files::OpenError::InUse { .. }) => {
            let path = path.display();
            output::warn(
                &format!("{path} is in use by another tracestore: keeping traces in memory only"),
                json!({ "data": path.to_string() }),
            );
            Ok(None)
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

fn loose(part: Part, generation: u64) -> Loose {
    Loose {
        bytes: part.resident_bytes(),
        part: Arc::new(part),
        generation,
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
