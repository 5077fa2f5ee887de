//! Where parts are kept: on disk, or only in memory.

use std::{
    io,
    ops::RangeInclusive,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Losses,
    files::{Entry, Files, Folder, OpenError, ReadAt},
    lock,
    log::{self, Fsync, Log, Record, Written},
    part::{Damaged, Part},
    timings::Timings,
};

/// What can be kept as a file: a part of spans, or one of log records.
pub(super) trait Sealable: Send + Sync + Sized + 'static {
    /// Holds what is read of files, for all of them.
    type Cache: Send + Sync;

    /// Opens a file that `encode` made.
    fn open(name: &str, file: Arc<dyn ReadAt>, cache: &Arc<Self::Cache>) -> Result<Self, Damaged>;

    /// The bytes of the file.
    fn encode(&self) -> Result<Vec<u8>, Damaged>;

    /// Of its file, if it has one.
    fn name(&self) -> &Arc<str>;

    /// Those that it stands for.
    fn generations(&self) -> RangeInclusive<u64>;

    fn set_generations(&mut self, generations: RangeInclusive<u64>);
}

/// Makes what was accepted durable, and keeps what was merged.
///
/// Requests come in generations. Once all parts of some generations are sealed as one, their
/// requests are not needed any more.
pub(super) trait Storage<P = Part>: Send + Sync {
    /// Keeps a request until its generation is sealed. Returns the generation.
    ///
    /// # Errors
    /// The request is not kept, and may be sent again: `StorageFull` if the disk is.
    fn append(&self, request: &Record<'_>) -> io::Result<u64> {
        let written = self.write(request)?;
        self.sync(&written)?;
        Ok(written.generation())
    }

    /// The first half of `append`: a crash of the process alone does not lose the request any more.
    ///
    /// # Errors
    /// As above.
    fn write(&self, request: &Record<'_>) -> io::Result<Written>;

    /// The second half: returns once the request is as safe as was asked for.
    ///
    /// # Errors
    /// The request counts as not accepted, though a later start may find it.
    fn sync(&self, written: &Written) -> io::Result<()>;

    /// Ends the generation that requests go to now, and returns it. The next one begins.
    fn rotate(&self) -> io::Result<u64>;

    /// Bytes of requests in the generation that they go to now.
    fn appended_bytes(&self) -> u64;

    /// Whether something that was appended is safe only once it is sealed.
    fn is_suspect(&self) -> bool;

    /// Keeps a part for as long as it is not removed. It stands for these generations, and for
    /// the sealed parts among them: they count as removed.
    ///
    /// # Errors
    /// Nothing has changed.
    fn seal(&self, part: P, generations: RangeInclusive<u64>) -> Result<Sealed<P>, NotSealed>;

    /// Removes a sealed part.
    fn remove(&self, sealed: &Sealed<P>) -> io::Result<()>;

    /// Puts a sealed part that is damaged out of the way, for people to look at.
    fn set_aside(&self, sealed: &Sealed<P>) -> io::Result<()>;

    /// Removes the oldest of what was set aside, now or by an earlier process, and returns its
    /// name, if there is any.
    fn remove_set_aside(&self) -> Option<String>;

    /// Whether parts leave memory when they are sealed.
    fn is_on_disk(&self) -> bool;

    /// Bytes on disk beside the sealed parts.
    fn log_bytes(&self) -> u64;
}

/// A part that storage keeps.
#[derive(Debug)]
pub(super) struct Sealed<P = Part> {
    pub(super) part: Arc<P>,
    pub(super) generations: RangeInclusive<u64>,
    /// On disk, or 0.
    pub(super) disk_bytes: u64,
}

impl<P> Clone for Sealed<P> {
    fn clone(&self) -> Sealed<P> {
        Sealed {
            part: Arc::clone(&self.part),
            generations: self.generations.clone(),
            disk_bytes: self.disk_bytes,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum NotSealed {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Keeps nothing beyond the end of the process.
#[derive(Default)]
pub(super) struct InMemory {
    generation: AtomicU64,
    appended: AtomicU64,
}

impl<P: Send + Sync> Storage<P> for InMemory {
    fn write(&self, request: &Record<'_>) -> io::Result<Written> {
        let bytes = request.body.len() as u64;
        self.appended.fetch_add(bytes, Ordering::Relaxed);
        Ok(Written::nowhere(self.generation.load(Ordering::Relaxed)))
    }

    fn sync(&self, _: &Written) -> io::Result<()> {
        Ok(())
    }

    fn rotate(&self) -> io::Result<u64> {
        self.appended.store(0, Ordering::Relaxed);
        Ok(self.generation.fetch_add(1, Ordering::Relaxed))
    }

    fn appended_bytes(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    fn is_suspect(&self) -> bool {
        false
    }

    fn seal(&self, part: P, generations: RangeInclusive<u64>) -> Result<Sealed<P>, NotSealed> {
        Ok(Sealed {
            part: Arc::new(part),
            generations,
            disk_bytes: 0,
        })
    }

    fn remove(&self, _: &Sealed<P>) -> io::Result<()> {
        Ok(())
    }

    fn set_aside(&self, _: &Sealed<P>) -> io::Result<()> {
        Ok(())
    }

    fn remove_set_aside(&self) -> Option<String> {
        None
    }

    fn is_on_disk(&self) -> bool {
        false
    }

    fn log_bytes(&self) -> u64 {
        0
    }
}

/// A folder with a log of requests and a segment for each sealed part.
///
/// Segments are named for the last of their generations, logs for their only one.
pub(super) struct OnDisk<P: Sealable> {
    files: Arc<dyn Files>,
    log: Log,
    cache: Arc<P::Cache>,
    /// Bytes of logs of ended generations that are not sealed.
    ended_bytes: AtomicU64,
    /// What is damaged and kept until there is no more room, the oldest first.
    aside: Mutex<Vec<Entry>>,
    /// The last generation that ended without getting to the medium, until it is sealed. 0 is none.
    unsynced: AtomicU64,
}

/// What a folder held when it was opened.
pub(super) struct Recovered<P = Part> {
    pub(super) sealed: Vec<Sealed<P>>,
    /// The last generation of a segment that the disk did not give: it is left where it is.
    pub(super) unopened: Option<u64>,
    /// What was dropped, and why.
    pub(super) dropped: Losses,
}

const SEGMENT: &str = ".segment";
const DAMAGED: &str = ".damaged";

/// Takes a folder for this process.
pub(super) fn folder(path: &Path, timings: &Timings) -> Result<Arc<dyn Files>, OpenError> {
    Ok(Arc::new(Folder::timed(path, timings.fsync.clone())?))
}

impl<P: Sealable> OnDisk<P> {
    /// Opens the segments and reads the logs, whose requests `replay` gets in their order with
    /// their generation. Then starts a new generation.
    pub(super) fn open(
        files: Arc<dyn Files>,
        cache: Arc<P::Cache>,
        fsync: Fsync,
        mut replay: impl FnMut(u64, Record<'_>) -> Result<(), String>,
    ) -> io::Result<(OnDisk<P>, Recovered<P>)> {
        let mut recovered = Recovered {
            sealed: Vec::new(),
            unopened: None,
            dropped: Losses::default(),
        };
        let mut logs = Vec::new();
        let mut last = 0;
        let set_aside =
            |entry: &Entry| files.rename(&entry.name, &format!("{}{DAMAGED}", entry.name));
        for entry in files.list()? {
            if let Some(generation) = log::generation_of(&entry.name) {
                logs.push((generation, entry));
                last = last.max(generation);
            } else if let Some(generation) = segment_generation(&entry.name) {
                last = last.max(generation);
                let file = files.open(&entry.name).map_err(|error| Damaged {
                    part: entry.name.as_str().into(),
                    why: error.to_string(),
                    is_unread: true,
                });
                let opened = file.and_then(|file| P::open(&entry.name, file, &cache));
                let opened = opened.and_then(|part| {
                    let is_its_own = *part.generations().end() == generation;
                    is_its_own.then_some(part).ok_or_else(|| Damaged {
                        part: entry.name.as_str().into(),
                        why: "it is that of another name".to_owned(),
                        is_unread: false,
                    })
                });
                match opened {
                    Ok(part) => recovered.sealed.push(Sealed {
                        generations: part.generations(),
                        part: Arc::new(part),
                        disk_bytes: entry.bytes,
                    }),
                    Err(damaged) if damaged.is_unread => {
                        let text = format!("{damaged}; left out until the next start");
                        recovered.dropped.note(text);
                        recovered.unopened = recovered.unopened.max(Some(generation));
                    }
                    Err(damaged) => {
                        recovered.dropped.note(damaged.to_string());
                        set_aside(&entry)?;
                    }
                }
            }
        }
        // A crash can leave what a later segment stands for.
        recovered
            .sealed
            .sort_by_key(|sealed| *sealed.generations.end());
        let covers: Vec<RangeInclusive<u64>> = (recovered.sealed.iter())
            .map(|sealed| sealed.generations.clone())
            .collect();
        let is_covered = |generation: &u64| covers.iter().any(|range| range.contains(generation));
        let mut kept = Vec::new();
        for (number, sealed) in recovered.sealed.into_iter().enumerate() {
            let end = sealed.generations.end();
            if covers[number + 1..].iter().any(|range| range.contains(end)) {
                files.remove(sealed.part.name())?;
            } else {
                kept.push(sealed);
            }
        }
        recovered.sealed = kept;
        logs.sort_by_key(|(generation, _)| *generation);
        let mut ended_bytes = 0;
        for (generation, entry) in logs {
            if is_covered(&generation) {
                files.remove(&entry.name)?;
                continue;
            }
            let mut unread = 0;
            let replayed = log::replay(&*files.open(&entry.name)?, |record| {
                if let Err(why) = replay(generation, record) {
                    unread += 1;
                    let name = &entry.name;
                    recovered.dropped.note(format!("{name}: a request: {why}"));
                }
            });
            let replayed = match replayed {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    recovered.dropped.note(format!("{}: {error}", entry.name));
                    set_aside(&entry)?;
                    continue;
                }
                replayed => replayed.map_err(|error| {
                    io::Error::new(error.kind(), format!("reading {}: {error}", entry.name))
                })?,
            };
            for dropped in &replayed.dropped {
                recovered.dropped.note(format!(
                    "{}: {} bytes at offset {}: {}",
                    entry.name, dropped.bytes, dropped.offset, dropped.why
                ));
            }
            if replayed.records > unread {
                ended_bytes += entry.bytes;
            } else if unread > 0 || !replayed.dropped.is_empty() {
                // Another version may read it.
                set_aside(&entry)?;
            } else {
                files.remove(&entry.name)?;
            }
        }
        let mut aside = files.list()?;
        aside.retain(|entry| {
            let name = entry.name.strip_suffix(DAMAGED);
            let is_ours = |name| {
                segment_generation(name)
                    .or(log::generation_of(name))
                    .is_some()
            };
            name.is_some_and(is_ours)
        });
        let log = Log::start(Arc::clone(&files), last.saturating_add(1), fsync)?;
        let on_disk = OnDisk {
            files,
            log,
            cache,
            ended_bytes: AtomicU64::new(ended_bytes),
            aside: Mutex::new(aside),
            unsynced: AtomicU64::new(0),
        };
        Ok((on_disk, recovered))
    }
}

fn segment_name(generation: u64) -> String {
    format!("{generation:016x}{SEGMENT}")
}

fn segment_generation(name: &str) -> Option<u64> {
    let generation = u64::from_str_radix(name.strip_suffix(SEGMENT)?, 16).ok()?;
    (segment_name(generation) == name).then_some(generation)
}

impl<P: Sealable> Storage<P> for OnDisk<P> {
    fn write(&self, request: &Record<'_>) -> io::Result<Written> {
        self.log.write(request)
    }

    fn sync(&self, written: &Written) -> io::Result<()> {
        self.log.sync(written)
    }

    fn rotate(&self) -> io::Result<u64> {
        let bytes = self.log.bytes();
        // A disk that stays full would get a file for each attempt to seal.
        if let Some(ended) = self.log.ended_before() {
            return Ok(ended);
        }
        let ended = self.log.rotate()?;
        self.ended_bytes.fetch_add(bytes, Ordering::Relaxed);
        if !ended.synced {
            self.unsynced.store(ended.generation, Ordering::Relaxed);
        }
        Ok(ended.generation)
    }

    fn appended_bytes(&self) -> u64 {
        self.log.bytes()
    }

    fn is_suspect(&self) -> bool {
        self.log.is_suspect() || self.unsynced.load(Ordering::Relaxed) != 0
    }

    fn seal(&self, mut part: P, generations: RangeInclusive<u64>) -> Result<Sealed<P>, NotSealed> {
        part.set_generations(generations.clone());
        let name = segment_name(*generations.end());
        let segment = part.encode()?;
        drop(part);
        self.files.write(&name, &[&segment])?;
        let disk_bytes = segment.len() as u64;
        drop(segment);
        if generations.contains(&self.unsynced.load(Ordering::Relaxed)) {
            self.unsynced.store(0, Ordering::Relaxed);
        }
        let part = P::open(&name, self.files.open(&name)?, &self.cache)?;
        // What it stands for is not needed any more. If removing it fails, the next start does it.
        for entry in self.files.list()? {
            let generation = log::generation_of(&entry.name).or_else(|| {
                segment_generation(&entry.name).filter(|other| other != generations.end())
            });
            if generation.is_some_and(|generation| generations.contains(&generation))
                && self.files.remove(&entry.name).is_ok()
                && entry.name.ends_with(".log")
            {
                let left = |bytes: u64| Some(bytes.saturating_sub(entry.bytes));
                let _ = self
                    .ended_bytes
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
            }
        }
        Ok(Sealed {
            part: Arc::new(part),
            generations,
            disk_bytes,
        })
    }

    fn remove(&self, sealed: &Sealed<P>) -> io::Result<()> {
        self.files.remove(sealed.part.name())
    }

    fn set_aside(&self, sealed: &Sealed<P>) -> io::Result<()> {
        let name = sealed.part.name();
        let aside = format!("{name}{DAMAGED}");
        self.files.rename(name, &aside)?;
        lock(&self.aside).push(Entry {
            name: aside,
            bytes: sealed.disk_bytes,
        });
        Ok(())
    }

    fn remove_set_aside(&self) -> Option<String> {
        let mut aside = lock(&self.aside);
        let oldest = (!aside.is_empty()).then(|| aside.remove(0))?;
        // If it cannot be removed, the next start finds it again.
        let _ = self.files.remove(&oldest.name);
        Some(oldest.name)
    }

    fn is_on_disk(&self) -> bool {
        true
    }

    fn log_bytes(&self) -> u64 {
        let aside: u64 = lock(&self.aside).iter().map(|entry| entry.bytes).sum();
        self.log.bytes() + self.ended_bytes.load(Ordering::Relaxed) + aside
    }
}
