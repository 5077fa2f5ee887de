//! An append-only log of requests, so that what was accepted outlives a crash.
//!
//! One file for each generation, which ends when its owner has, or is about to have, the content
//! elsewhere. The log says what is on the medium and gives it back; it neither reads the bodies
//! nor removes a file, and it does not decide when a generation ends.

mod frame;
mod replay;
#[cfg(test)]
mod tests;

use std::{
    io::{self, ErrorKind},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use self::frame::FileHeader;
pub(crate) use self::replay::{Dropped, Replayed, replay};
use crate::store::files::{Append, AppendError, Files, Syncer};

/// Bytes that the body of a record may have.
pub(crate) const MAX_BODY: usize = 64 << 20;

/// A request as it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Nanoseconds since the Unix epoch.
    pub(crate) received_unix_nano: u64,
    /// How to read the body. The log only keeps it.
    pub(crate) form: u8,
    pub(crate) body: &'a [u8],
}

/// When records are brought to the medium. A crash of the process alone loses none either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before they are acknowledged.
    Always,
    /// That long after they were written, at the latest.
    Within(Duration),
}

impl Default for Fsync {
    fn default() -> Fsync {
        Fsync::Within(Duration::from_millis(200))
    }
}

/// A generation that takes no more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) generation: u64,
    /// Whether all its records are on the medium. If not, they are safe only once they are
    /// somewhere else.
    pub(crate) synced: bool,
}

/// A record that was written, perhaps not yet to the medium.
pub(crate) struct Written {
    number: u64,
    /// The file, and where the record ends in it, if there is one.
    until: Option<(Arc<Generation>, u64)>,
}

impl Written {
    /// One that has no file.
    pub(crate) fn nowhere(generation: u64) -> Written {
        Written {
            number: generation,
            until: None,
        }
    }

    /// The one that holds the record.
    pub(crate) fn generation(&self) -> u64 {
        self.number
    }
}

/// The name of a generation's file.
pub(crate) fn file_name(generation: u64) -> String {
    format!("{generation:016x}.log")
}

/// The generation whose file has that name, if any has.
pub(crate) fn generation_of(name: &str) -> Option<u64> {
    let generation = u64::from_str_radix(name.strip_suffix(".log")?, 16).ok()?;
    (file_name(generation) == name).then_some(generation)
}

/// A log that is written to. Dropping it waits until its records are on the medium.
pub(crate) struct Log {
    shared: Arc<Shared>,
    /// There is none if no record is acknowledged before it is synced.
    syncing: Option<JoinHandle<()>>,
}

impl Log {
    /// Starts a generation that has no file yet.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a file: a generation is never continued.
    pub(crate) fn start(files: Arc<dyn Files>, generation: u64, fsync: Fsync) -> io::Result<Log> {
        let (file, current) = begin(&*files, generation)?;
        let shared = Arc::new(Shared {
            files,
            fsync,
            next: Mutex::new(generation.saturating_add(1)),
            writer: Mutex::new(Writer {
                file,
                generation: current,
                torn: None,
                dirty_since: None,
                stopping: false,
            }),
            woken: Condvar::new(),
        });
        let syncing = match fsync {
            Fsync::Always => None,
            Fsync::Within(delay) => {
                let shared = Arc::clone(&shared);
                let thread = thread::Builder::new().name("log-sync".to_owned());
                Some(thread.spawn(move || shared.keep_syncing(delay))?)
            }
        };
        Ok(Log { shared, syncing })
    }

    /// Writes a record and returns the generation that holds it; with [`Fsync::Always`] once it
    /// is on the medium. Callers that wait at the same time share one fsync.
    ///
    /// # Errors
    /// The record counts as not accepted, though a replay may find it if it was the fsync that
    /// failed. `InvalidInput` if the body exceeds [`MAX_BODY`]. `StorageFull` if the disk is,
    /// and then a later append may succeed; not so while the log is suspect.
    #[cfg(test)]
    pub(crate) fn append(&self, record: &Record<'_>) -> io::Result<u64> {
        let written = self.write(record)?;
        self.sync(&written)?;
        Ok(written.generation())
    }

    /// Writes a record: the first half of what keeps it, in which callers take turns.
    ///
    /// # Errors
    /// The record is not accepted. `InvalidInput` if the body exceeds [`MAX_BODY`]. `StorageFull`
    /// if the disk is, and then a later one may succeed; not so while the log is suspect.
    pub(crate) fn write(&self, record: &Record<'_>) -> io::Result<Written> {
        if record.body.len() > MAX_BODY {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "the record is too long for the log",
            ));
        }
        let body_crc = crc32c::crc32c(record.body);
        let (generation, end) = self.shared.write(record, body_crc)?;
        Ok(Written {
            number: generation.number,
            until: Some((generation, end)),
        })
    }

    /// With [`Fsync::Always`] returns once the record is on the medium. Callers that wait at the
    /// same time share one fsync.
    ///
    /// # Errors
    /// The record counts as not accepted, though a replay may find it.
    pub(crate) fn sync(&self, written: &Written) -> io::Result<()> {
        match &written.until {
            Some((generation, end)) if self.shared.fsync == Fsync::Always => {
                generation.sync_to(*end)
            }
            _ => Ok(()),
        }
    }

    /// Bytes in the file of the current generation.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.writer().generation.written()
    }

    /// The generation that ended last, if nothing was appended since.
    pub(crate) fn ended_before(&self) -> Option<u64> {
        let writer = self.shared.writer();
        let is_empty = writer.generation.written() <= frame::FILE_HEADER as u64;
        (is_empty && !writer.is_suspect()).then(|| writer.generation.number.saturating_sub(1))
    }

    /// The generation that takes records now.
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.shared.writer().generation.number
    }

    /// Ends this generation and starts the next, which takes the appends that come meanwhile.
    /// Returns once the ended one is on the medium, or cannot be brought there. Its file stays.
    ///
    /// # Errors
    /// The generation goes on: the next one has no file. Its number is not used again.
    pub(crate) fn rotate(&self) -> io::Result<Ended> {
        let shared = &*self.shared;
        let mut next = shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *next;
        *next = number.saturating_add(1);
        let (file, started) = begin(&*shared.files, number)?;
        let ended = {
            let mut writer = shared.writer();
            writer.file = file;
            writer.torn = None;
            writer.dirty_since = None;
            mem::replace(&mut writer.generation, started)
        };
        Ok(Ended {
            generation: ended.number,
            synced: ended.sync_to(ended.written()).is_ok(),
        })
    }

    /// Whether the medium failed this generation: an fsync did, which is never retried because
    /// its success would prove nothing, or a record that was written in part could not be cut
    /// off. From then on, until `rotate`, no record is accepted, and those that were are safe
    /// only once they are somewhere else.
    pub(crate) fn is_suspect(&self) -> bool {
        self.shared.writer().is_suspect()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.writer().stopping = true;
        self.shared.woken.notify_all();
        if let Some(syncing) = self.syncing.take() {
            // It does not panic; if it did, a panic here would hide where.
            let _ = syncing.join();
        }
    }
}

struct Shared {
    files: Arc<dyn Files>,
    fsync: Fsync,
    /// The generation after this one. Locked throughout a rotation, and before `writer`.
    next: Mutex<u64>,
    /// Never locked during an fsync.
    writer: Mutex<Writer>,
    /// When the writer becomes dirty or stops.
    woken: Condvar,
}

struct Writer {
    file: Box<dyn Append>,
    generation: Arc<Generation>,
    /// Why the file ends with a part of a record, if it does.
    torn: Option<Failure>,
    /// When the oldest record was written that no fsync has begun for, unless that is the
    /// business of its caller.
    dirty_since: Option<Instant>,
    stopping: bool,
}

impl Writer {
    fn is_suspect(&self) -> bool {
        self.torn.is_some() || self.generation.failure().is_some()
    }
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation that has the record now, and where the record ends in it.
    fn write(&self, record: &Record<'_>, body_crc: u32) -> io::Result<(Arc<Generation>, u64)> {
        let mut writer = self.writer();
        let Writer {
            file,
            generation,
            torn,
            dirty_since,
            ..
        } = &mut *writer;
        if let Some(failure) = torn.clone().or_else(|| generation.failure()) {
            return Err(failure.of_the_past());
        }
        let header = generation.header.of_record(record, body_crc);
        match file.append(&[&header, record.body]) {
            Ok(()) => {}
            Err(AppendError::Undone(error)) => return Err(error),
            Err(error @ AppendError::Torn { .. }) => {
                let failure = Failure::from(io::Error::from(error));
                *torn = Some(failure.clone());
                return Err(failure.now());
            }
        }
        let end = file.len();
        generation.written.store(end, Ordering::Release);
        if matches!(self.fsync, Fsync::Within(_)) && dirty_since.is_none() {
            *dirty_since = Some(Instant::now());
            self.woken.notify_all();
        }
        Ok((Arc::clone(generation), end))
    }

    /// Until the log is dropped, and then once more.
    fn keep_syncing(&self, delay: Duration) {
        let mut writer = self.writer();
        loop {
            let wait = match writer.dirty_since {
                None if writer.stopping => return,
                None => None,
                Some(_) if writer.stopping => Some(Duration::ZERO),
                Some(since) => Some(delay.saturating_sub(since.elapsed())),
            };
            writer = match wait {
                None => self
                    .woken
                    .wait(writer)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    writer.dirty_since = None;
                    let generation = Arc::clone(&writer.generation);
                    drop(writer);
                    // The generation remembers a failure.
                    let _ = generation.sync_to(generation.written());
                    self.writer()
                }
                Some(wait) => {
                    self.woken
                        .wait_timeout(writer, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}

/// One file of the log, as far as it is on the medium.
struct Generation {
    number: u64,
    header: FileHeader,
    /// Bytes that were appended.
    written: AtomicU64,
    syncer: Arc<dyn Syncer>,
    progress: Mutex<Progress>,
    /// When an fsync ends.
    synced: Condvar,
}

#[derive(Default)]
struct Progress {
    /// Bytes that are on the medium.
    synced: u64,
    /// Whether somebody is in an fsync, whose outcome others wait for.
    syncing: bool,
    failure: Option<Failure>,
}

/// Makes the file of a generation. If that fails, there is none.
fn begin(files: &dyn Files, number: u64) -> io::Result<(Box<dyn Append>, Arc<Generation>)> {
    let header = FileHeader::new();
    let file = files.create(&file_name(number), &header.bytes())?;
    let generation = Generation {
        number,
        header,
        written: AtomicU64::new(file.len()),
        syncer: file.syncer(),
        progress: Mutex::default(),
        synced: Condvar::new(),
    };
    Ok((file, Arc::new(generation)))
}

impl Generation {
    fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> Option<Failure> {
        self.progress().failure.clone()
    }

    /// Returns once that many bytes are on the medium. The first who waits syncs for all that
    /// have written by then; those that come meanwhile wait for the next one.
    fn sync_to(&self, end: u64) -> io::Result<()> {
        let mut progress = self.progress();
        loop {
            if progress.synced >= end {
                return Ok(());
            }
            if let Some(failure) = &progress.failure {
                return Err(failure.now());
            }
            if progress.syncing {
                progress = self
                    .synced
                    .wait(progress)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            progress.syncing = true;
            drop(progress);
            let written = self.written();
            let outcome = self.syncer.sync();
            progress = self.progress();
            progress.syncing = false;
            match outcome {
                Ok(()) => progress.synced = written,
                Err(error) => progress.failure = Some(Failure::from(error)),
            }
            self.synced.notify_all();
        }
    }
}

/// An error for everybody whom it concerns.
#[derive(Clone)]
struct Failure {
    kind: ErrorKind,
    message: Arc<str>,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure {
            kind: error.kind(),
            message: error.to_string().into(),
        }
    }
}

impl Failure {
    fn now(&self) -> io::Error {
        io::Error::new(self.kind, &*self.message)
    }

    fn of_the_past(&self) -> io::Error {
        let Failure { kind, message } = self;
        io::Error::new(*kind, format!("the log failed before: {message}"))
    }
}
