//! Keeps log records beside the spans, finds them, and forgets the oldest when there is no more room.
//!
//! What is accepted is in a log of requests before it is acknowledged, as spans are, and found from
//! then on. In memory records stand in chunks; chunks are compressed and sealed, many at a time, as
//! segments, of each of which a summary stays in memory, so that a search reads few of them. The
//! number of a record's arrival is its place in the order of all: nanoseconds since the Unix epoch,
//! or more where others arrived at the same time. It survives restarts.

mod chunk;
mod encoding;
pub(crate) mod fuzz;
mod keeper;
mod origin;
mod query;
mod repeats;
mod search;
mod segment;
mod summary;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt, io,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::SystemTime,
};

use serde_json::json;
use tokio::sync::watch;

use self::{
    chunk::{Loose, Page, Prepared},
    repeats::{Fingerprints, Repeats, State},
    segment::Segment,
};
pub(crate) use self::{
    origin::Origin,
    query::{LogQuery, Place, Position, Text},
    search::{FoundLog, FoundLogs},
};
use super::{
    Losses, Options, QueryError, Timings, Unavailable,
    cache::Cache,
    files::Files,
    lock,
    log::Record,
    nanos, open_folder,
    orders::Orders,
    part::Damaged,
    read,
    search::Failed,
    storage::{InMemory, OnDisk, Sealed, Storage},
    write,
};
use crate::{
    log_record::LogRecord,
    output,
    query::Patience,
    span::{Resource, Scope},
};

/// The part of the memory that pages may take that were read from disk is one of so many.
const CACHE_SHARE: usize = 4;

/// Log records that arrived together and share a resource and a scope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogBatch<'a> {
    pub(crate) resource: Arc<Resource<'a>>,
    pub(crate) scope: Arc<Scope<'a>>,
    pub(crate) records: Vec<LogRecord<'a>>,
}

/// A request whose log records are to be kept.
#[derive(Debug)]
pub(crate) struct AcceptedLogs<'a> {
    /// How `body` is to be read, for whoever replays it.
    pub(crate) form: u8,
    /// What the records were read from.
    pub(crate) body: &'a [u8],
    pub(crate) batches: Vec<LogBatch<'a>>,
    pub(crate) received: SystemTime,
}

/// Reads the body of a request again, after a restart.
pub(crate) type DecodeLogs = for<'a> fn(u8, &'a [u8]) -> Result<Vec<LogBatch<'a>>, String>;

/// How full the store of logs is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogUsage {
    pub(crate) records: u64,
    /// Bytes of memory, without what is being received or asked for.
    pub(crate) memory_bytes: u64,
    pub(crate) disk_bytes: u64,
    /// Nanoseconds since the Unix epoch at which the oldest arrived, 0 if there is none.
    pub(crate) oldest_unix_nano: u64,
    pub(crate) segments: u64,
    /// Requests that were read from the log of requests at the start.
    pub(crate) replayed_requests: u64,
    pub(crate) evicted: u64,
    /// Requests that were not kept because of the store, not because of what they were.
    pub(crate) refused_requests: u64,
    /// Requests that came again, and are kept once.
    pub(crate) repeated_requests: u64,
    /// What could not be read.
    pub(crate) damaged: Losses,
}

/// All log records that are kept.
pub(crate) struct Logs {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

struct Shared {
    options: Options,
    storage: Box<dyn Storage<Segment>>,
    cache: Arc<Cache<Page>>,
    kept: RwLock<Arc<Kept>>,
    /// Held from when a request is written until its records are listed: they are listed in the
    /// order of the log, so that a restart numbers them as they were.
    order: Mutex<Repeats>,
    fingerprints: Fingerprints,
    evicted: AtomicU64,
    refused_requests: AtomicU64,
    repeated_requests: AtomicU64,
    replayed_requests: u64,
    damaged: Mutex<Losses>,
    /// What the keeper is to do.
    orders: Orders,
    /// The number of the next arrival.
    arrived: watch::Sender<u64>,
}

/// What is kept, at one moment.
#[derive(Clone, Default)]
struct Kept {
    /// The oldest first.
    sealed: Vec<Sealed<Segment>>,
    /// The last generation of a segment that the disk did not give at the start.
    unopened: Option<u64>,
    /// In the order of arrival. Their requests are in the log.
    loose: Vec<Loose>,
    /// The number of the next arrival: all that is listed is below.
    next: u64,
}

impl Kept {
    fn loose_bytes(&self) -> usize {
        self.loose.iter().map(Loose::bytes).sum()
    }

    fn sealed_memory(&self) -> usize {
        let segments = self.sealed.iter();
        segments.map(|sealed| sealed.part.resident_bytes()).sum()
    }

    /// The generation up to which everything is sealed.
    fn sealed_up_to(&self) -> Option<u64> {
        let ends = self.sealed.iter().map(|sealed| *sealed.generations.end());
        ends.chain(self.unopened).max()
    }

    fn sealed_disk(&self) -> u64 {
        self.sealed.iter().map(|sealed| sealed.disk_bytes).sum()
    }

    /// Lists records, whose first gets that number.
    fn add(&mut self, records: &Prepared, first: u64, generation: u64) {
        records.add_to(&mut self.loose, first, generation);
        self.next = first.saturating_add(records.len());
    }
}

impl Logs {
    /// Opens the store, and what it held before. If another process has the folder, records are
    /// kept in memory only, which is said.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub(crate) fn open(
        options: Options,
        timings: &Timings,
        decode: DecodeLogs,
    ) -> io::Result<Logs> {
        let files = match &options.data {
            None => None,
            Some(path) => open_folder(path, timings)?,
        };
        let shared = Shared::open(files, options, decode)?;
        let keeper = thread::Builder::new()
            .name("log-keeper".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || keeper::run(&shared)
            })?;
        Ok(Logs {
            shared,
            keeper: Some(keeper),
        })
    }

    /// Keeps the records of a request: on disk if there is one, and to be found from now on.
    /// Blocks while it is written, and for up to 2 s if there is no room.
    pub(crate) fn append(&self, accepted: &AcceptedLogs<'_>) -> Result<(), Unavailable> {
        let appended = self.shared.append(accepted);
        if appended.is_err() {
            self.shared.refused_requests.fetch_add(1, Ordering::Relaxed);
        }
        appended
    }

    /// Records that pass.
    ///
    /// # Errors
    /// The query took too long, or what it needs cannot be read, again and again.
    pub(crate) fn search(
        &self,
        query: &LogQuery,
        patience: &Patience,
    ) -> Result<FoundLogs, QueryError> {
        self.query(|kept| search::search(kept, query, patience))
    }

    /// The names of services that have records, ascending, at most `limit`.
    pub(crate) fn services(&self, limit: usize) -> Vec<String> {
        let kept = self.shared.snapshot();
        let sealed = kept.sealed.iter();
        let sealed = sealed.flat_map(|sealed| sealed.part.summaries());
        let summaries = sealed.chain(kept.loose.iter().map(Loose::summary));
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for summary in summaries {
            names.extend(summary.services.iter().map(|name| &**name));
            while names.len() > limit {
                names.pop_last();
            }
        }
        names.into_iter().map(str::to_owned).collect()
    }

    /// The number of the next arrival, now and whenever it changes.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.shared.arrived.subscribe()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Whether records outlive the process.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.shared.storage.is_on_disk()
    }

    /// Since the store was opened. Cheap.
    pub(crate) fn evicted(&self) -> u64 {
        self.shared.evicted.load(Ordering::Relaxed)
    }

    pub(crate) fn usage(&self) -> LogUsage {
        let shared = &*self.shared;
        let kept = shared.snapshot();
        let sealed = kept.sealed.iter();
        let sealed = sealed.flat_map(|sealed| sealed.part.summaries());
        let (mut records, mut oldest) = (0, u64::MAX);
        for summary in sealed.chain(kept.loose.iter().map(Loose::summary)) {
            records += u64::from(summary.records);
            oldest = oldest.min(*summary.arrivals.start());
        }
        LogUsage {
            records,
            memory_bytes: (kept.loose_bytes() + kept.sealed_memory()) as u64 + shared.cache.bytes(),
            disk_bytes: kept.sealed_disk() + shared.storage.log_bytes(),
            oldest_unix_nano: if records == 0 { 0 } else { oldest },
            segments: kept.sealed.len() as u64,
            replayed_requests: shared.replayed_requests,
            evicted: self.evicted(),
            refused_requests: shared.refused_requests.load(Ordering::Relaxed),
            repeated_requests: shared.repeated_requests.load(Ordering::Relaxed),
            damaged: lock(&shared.damaged).clone(),
        }
    }

    /// Asks what there is now. A chunk that turns out to be damaged is dropped, and the rest is
    /// asked again.
    fn query<T>(&self, ask: impl Fn(&Kept) -> Result<T, Failed>) -> Result<T, QueryError> {
        loop {
            let kept = self.shared.snapshot();
            match ask(&kept) {
                Ok(answer) => return Ok(answer),
                Err(Failed::Stopped(stopped)) => return Err(QueryError::Stopped(stopped)),
                Err(error @ Failed::TooLarge) => {
                    return Err(QueryError::TooLarge(error.to_string()));
                }
                Err(Failed::Damaged(damaged)) => {
                    if !self.shared.quarantine(&kept, &damaged) {
                        return Err(QueryError::Damaged(damaged.to_string()));
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

/// Waits until all that was accepted is on the medium.
impl Drop for Logs {
    fn drop(&mut self) {
        self.shared.orders.stop();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            output::warn("the keeper of logs panicked", json!({}));
        }
    }
}

impl Shared {
    /// Without a keeper. `files` is the folder, if there is one.
    fn open(
        files: Option<Arc<dyn Files>>,
        options: Options,
        decode: DecodeLogs,
    ) -> io::Result<Arc<Shared>> {
        let cache = Arc::new(Cache::new(options.max_memory / CACHE_SHARE));
        let mut kept = Kept::default();
        let fingerprints = Fingerprints::default();
        let mut repeats = Repeats::default();
        let storage: Box<dyn Storage<Segment>>;
        let mut damaged = Losses::default();
        let mut replayed_requests = 0;
        match files {
            None => storage = Box::new(InMemory::default()),
            Some(files) => {
                let replay = |generation: u64, record: Record<'_>| {
                    let batches = decode(record.form, record.body)?;
                    replayed_requests += 1;
                    if let Some(own) = fingerprints.of(record.form, record.body, &batches) {
                        // It stands here once more if it could not be synced the first time.
                        if repeats.find(own).is_some() {
                            return Ok(());
                        }
                        repeats.remember(own, generation, State::Acknowledged);
                    }
                    let first = kept.next.max(record.received_unix_nano);
                    kept.add(&Prepared::new(&batches), first, generation);
                    Ok(())
                };
                let on_disk = OnDisk::open(files, Arc::clone(&cache), options.fsync, replay)?;
                let (on_disk, recovered) = on_disk;
                kept.sealed = recovered.sealed;
                kept.unopened = recovered.unopened;
                let ends = kept.sealed.iter().map(|sealed| sealed.part.last_arrival());
                let after = ends.max().map_or(0, |last| last.saturating_add(1));
                kept.next = kept.next.max(after);
                for dropped in &recovered.dropped.first {
                    let text = format!("damaged log data dropped: {dropped}");
                    output::warn(&text, json!({}));
                }
                let more = recovered.dropped.count - recovered.dropped.first.len() as u64;
                if more > 0 {
                    let text = format!("damaged log data dropped: {more} more pieces");
                    output::warn(&text, json!({ "pieces": more }));
                }
                damaged = recovered.dropped;
                storage = Box::new(on_disk);
            }
        }
        let arrived = watch::Sender::new(kept.next);
        Ok(Arc::new(Shared {
            options,
            storage,
            cache,
            kept: RwLock::new(Arc::new(kept)),
            order: Mutex::new(repeats),
            fingerprints,
            evicted: AtomicU64::new(0),
            refused_requests: AtomicU64::new(0),
            repeated_requests: AtomicU64::new(0),
            replayed_requests,
            damaged: Mutex::new(damaged),
            orders: Orders::new("logs"),
            arrived,
        }))
    }

    fn append(&self, accepted: &AcceptedLogs<'_>) -> Result<(), Unavailable> {
        let records = Prepared::new(&accepted.batches);
        if records.is_empty() {
            return Ok(());
        }
        self.wait_for_room()?;
        let refused = |error: io::Error| {
            self.orders.wake();
            Unavailable {
                reason: format!("writing the request: {error}"),
            }
        };
        let AcceptedLogs {
            form,
            body,
            batches,
            ..
        } = accepted;
        let own = self.fingerprints.of(*form, body, batches);
        let (written, next) = {
            let mut repeats = lock(&self.order);
            if let Some(state) = own.and_then(|own| repeats.find(own)) {
                drop(repeats);
                self.repeated_requests.fetch_add(1, Ordering::Relaxed);
                return match state {
                    State::Acknowledged => Ok(()),
                    State::Written(earlier) => self.storage.sync(&earlier).map_err(refused),
                };
            }
            let first = read(&self.kept).next.max(nanos(accepted.received));
            let record = Record {
                received_unix_nano: first,
                form: accepted.form,
                body: accepted.body,
            };
            let written = Arc::new(self.storage.write(&record).map_err(refused)?);
            if let Some(own) = own {
                repeats.remember(
                    own,
                    written.generation(),
                    State::Written(Arc::clone(&written)),
                );
            }
            let mut kept = write(&self.kept);
            let kept = Arc::make_mut(&mut *kept);
            kept.add(&records, first, written.generation());
            (written, kept.next)
        };
        self.arrived
            .send_if_modified(|before| next > std::mem::replace(before, next.max(*before)));
        // They are found even if this fails, as a restart may find them.
        let synced = self.storage.sync(&written);
        if let Some(own) = own {
            lock(&self.order).settle(own, synced.is_ok());
        }
        synced.map_err(refused)?;
        if keeper::is_full(self, &self.snapshot()) {
            self.orders.wake();
        }
        Ok(())
    }

    fn snapshot(&self) -> Arc<Kept> {
        Arc::clone(&read(&self.kept))
    }

    /// A disk that is full keeps records in memory, which has its bound too.
    fn wait_for_room(&self) -> Result<(), Unavailable> {
        (self.orders).wait_for_room(|| self.snapshot().loose_bytes() <= self.options.max_memory / 2)
    }

    /// Takes chunks that cannot be read out of what is asked, as they were in `seen`: until they can
    /// be read, if a disk did not give them, else for good. Whether they were still there, or are
    /// gone by now.
    fn quarantine(&self, seen: &Kept, damaged: &Damaged) -> bool {
        let of = |kept: &Kept| {
            let mut segments = kept.sealed.iter();
            let found = segments.position(|sealed| sealed.part.owns(&damaged.part));
            found.map(|index| (index, kept.sealed[index].clone()))
        };
        let lost = {
            let mut kept = write(&self.kept);
            let kept = Arc::make_mut(&mut *kept);
            let Some((index, mut sealed)) = of(kept) else {
                // Another query may have dropped it meanwhile.
                return of(seen).is_some();
            };
            let (rest, lost) = sealed.part.without(damaged);
            sealed.part = Arc::new(rest);
            kept.sealed[index] = sealed;
            lost
        };
        if lost > 0 {
            self.say_lost(damaged, lost);
        }
        true
    }

    fn say_lost(&self, damaged: &Damaged, records: u64) {
        let what = match damaged.is_unread {
            true => "log data left out until it can be read",
            false => "damaged log data",
        };
        let message = format!("{damaged}; {records} log records left out");
        output::warn(
            &format!("{what}: {message}"),
            json!({ "chunk": &*damaged.part, "reason": damaged.why, "records": records }),
        );
        lock(&self.damaged).note(message);
    }
}
