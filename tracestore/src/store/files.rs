//! The files of one data folder: what a store on disk asks of the operating system, and no more.
//!
//! Says when something is on the medium and what is left after a failure. Knows nothing of what
//! the files hold: see `log`. Blocks, so that asynchronous callers need a thread for it.

#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, IoSlice, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{self, Path, PathBuf},
    sync::Arc,
};

use prometheus_client::metrics::histogram::Histogram;

use super::timings::timed;

/// Held for as long as a process uses the folder.
const LOCK: &str = "lock";
/// Ends the name of a file that is not whole yet.
const TEMPORARY: &str = ".tmp";

/// The files of one folder, by names that are not paths.
pub(crate) trait Files: Send + Sync {
    /// Every file, in the order of names, without temporaries and the lock.
    fn list(&self) -> io::Result<Vec<Entry>>;

    /// Makes a file to append to, which begins with these bytes: whoever kills the process leaves it with them, or none. Its
    /// name, though not yet its content, survives a loss of power.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a file of that name: what a crash may have torn is not
    /// appended to. After any other error there is none, unless removing it failed as well.
    fn create(&self, name: &str, start: &[u8]) -> io::Result<Box<dyn Append>>;

    /// Opens a file as long as it is now.
    fn open(&self, name: &str) -> io::Result<Arc<dyn ReadAt>>;

    /// Makes, or replaces, a whole file: after a crash it is either as it was or as it is to be.
    /// Returns once it is on the medium.
    ///
    /// # Errors
    /// Leaves nothing behind, except for a file that was to be replaced: if only the last step
    /// failed, that one has the new content, and after a crash perhaps the old one.
    fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()>;

    /// Renames a file, over another one if there is one. Returns once that is on the medium.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file, or finds it gone. Returns once that is on the medium.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// A file that only grows.
pub(crate) trait Append: Send {
    /// Writes all parts, one after the other, or nothing. In one call of the system, if that
    /// takes them all.
    fn append(&mut self, parts: &[&[u8]]) -> Result<(), AppendError>;

    /// Bytes in the file.
    fn len(&self) -> u64;

    /// What brings the file to the medium while others append.
    fn syncer(&self) -> Arc<dyn Syncer>;
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// The file is as it was, and may be appended to.
    #[error(transparent)]
    Undone(io::Error),
    /// The file ends with a part of what was to be appended.
    #[error("{error}, and cutting the file back: {cutting}")]
    Torn {
        error: io::Error,
        cutting: io::Error,
    },
}

impl From<AppendError> for io::Error {
    fn from(error: AppendError) -> io::Error {
        match error {
            AppendError::Undone(error) => error,
            AppendError::Torn {
                error: ref cause, ..
            } => io::Error::new(cause.kind(), error.to_string()),
        }
    }
}

/// Brings a file to the medium.
pub(crate) trait Syncer: Send + Sync {
    /// Returns once everything is there that was appended before the call.
    ///
    /// # Errors
    /// What was appended since the last success may be lost even if a later call succeeds: the
    /// system reports a failure once and then forgets what it could not write.
    fn sync(&self) -> io::Result<()>;
}

/// A file, or memory, that is read in any order.
pub(crate) trait ReadAt: Send + Sync {
    /// Bytes that can be read.
    fn len(&self) -> u64;

    /// Exactly `len` bytes. However large `len`, no more memory is taken than the file has bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// The same bytes, in a buffer that grows as needed and never shrinks: reading into it again costs no more than the
    /// reading.
    fn read_into<'b>(
        &self,
        offset: u64,
        len: usize,
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<&'b [u8]> {
        *buffer = self.read_at(offset, len)?;
        Ok(buffer)
    }
}

/// Bytes that are read as if they were a file.
pub(crate) struct Memory<B>(pub(crate) B);

impl<B: AsRef<[u8]> + Send + Sync> ReadAt for Memory<B> {
    fn len(&self) -> u64 {
        self.0.as_ref().len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.0.as_ref().get(offset..)?.get(..len));
        Ok(bytes.ok_or(ErrorKind::UnexpectedEof)?.to_vec())
    }
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("{doing} {}: {error}", .path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

/// A folder of the file system, which nobody else uses meanwhile.
pub(crate) struct Folder<D = System> {
    path: PathBuf,
    disk: D,
    /// Unlocked when the last handle closes, which the system does for a process that dies.
    _lock: File,
}

/// The calls by which disks fail. In tests, some that fail on demand stand in: see `faulty`.
pub(crate) trait Disk: Clone + Send + Sync + 'static {
    fn write(&self, mut file: &File, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        file.write_vectored(parts)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    /// Of a file, or of a folder's names.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn read_exact_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(bytes, offset)
    }
}

/// The disks of the operating system.
#[derive(Clone)]
pub(crate) struct System;

impl Disk for System {}

/// The same, with how long a sync takes.
#[derive(Clone)]
pub(crate) struct Timed(Histogram);

impl Disk for Timed {
    fn sync(&self, file: &File) -> io::Result<()> {
        timed(&self.0, || System.sync(file))
    }
}

impl Folder<Timed> {
    /// Makes the folder, for this user alone, if there is none; takes it for this process; and
    /// removes what writes left that a crash cut short. Counts how long syncs take from now on.
    pub(crate) fn timed(path: &Path, syncs: Histogram) -> Result<Folder<Timed>, OpenError> {
        Folder::on(Timed(syncs), path)
    }
}

#[cfg(test)]
impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Folder, OpenError> {
        Folder::on(System, path)
    }
}

impl<D: Disk> Folder<D> {
    /// Makes the folder, for this user alone, if there is none; takes it for this process; and
    /// removes what writes left that a crash cut short.
    fn on(disk: D, path: &Path) -> Result<Folder<D>, OpenError> {
        let failed = |doing| {
            move |error| OpenError::Io {
                doing,
                path: path.to_owned(),
                error,
            }
        };
        // Absolute, so that the process may change its directory.
        let path = &path::absolute(path).map_err(failed("finding"))?;
        make_folder(&disk, path).map_err(failed("making the folder"))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed("making a lock in"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.clone())),
            Err(TryLockError::Error(error)) => return Err(failed("locking")(error)),
        }
        let folder = Folder {
            path: path.clone(),
            disk,
            _lock: lock,
        };
        for Entry { name, .. } in folder.all().map_err(failed("listing"))? {
            if name.ends_with(TEMPORARY) {
                fs::remove_file(folder.path_of(&name))
                    .map_err(failed("removing an unfinished file from"))?;
            }
        }
        Ok(folder)
    }

    /// Files of any name that is text, in no order.
    fn all(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Ok(name) = entry.file_name().into_string()
                && metadata.is_file()
            {
                entries.push(Entry {
                    name,
                    bytes: metadata.len(),
                });
            }
        }
        Ok(entries)
    }

    fn path_of(&self, name: &str) -> PathBuf {
        debug_assert!(!name.contains('/'), "{name} is a path");
        self.path.join(name)
    }

    /// Brings to the medium which names there are.
    fn sync(&self) -> io::Result<()> {
        sync_folder(&self.disk, &self.path)
    }

    fn write_temporary(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        write_all(&self.disk, &file, parts)?;
        self.disk.sync(&file)
    }
}

impl<D: Disk> Files for Folder<D> {
    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = self.all()?;
        entries.retain(|entry| entry.name != LOCK && !entry.name.ends_with(TEMPORARY));
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create(&self, name: &str, start: &[u8]) -> io::Result<Box<dyn Append>> {
        let path = self.path_of(name);
        // Nobody else makes files here, so this may be asked before it is done.
        if path.try_exists()? {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let temporary = self.path_of(&format!("{name}{TEMPORARY}"));
        let made = || {
            let file = OpenOptions::new()
                .append(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            let file = Arc::new(OnDisk {
                disk: self.disk.clone(),
                file,
            });
            let mut opened = Opened { file, len: 0 };
            opened.append(&[start])?;
            fs::rename(&temporary, &path)?;
            Ok(opened)
        };
        let made = made().inspect_err(|_: &io::Error| {
            let _ = fs::remove_file(&temporary);
        })?;
        if let Err(error) = self.sync() {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Box::new(made))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn ReadAt>> {
        let file = File::open(self.path_of(name))?;
        let len = file.metadata()?.len();
        Ok(Arc::new(Opened {
            file: Arc::new(OnDisk {
                disk: self.disk.clone(),
                file,
            }),
            len,
        }))
    }

    fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let path = self.path_of(name);
        let temporary = self.path_of(&format!("{name}{TEMPORARY}"));
        let replaces = path.try_exists()?;
        let renamed = self
            .write_temporary(&temporary, parts)
            .and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = renamed {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        let synced = self.sync();
        if synced.is_err() && !replaces {
            let _ = fs::remove_file(&path);
        }
        synced
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path_of(from), self.path_of(to))?;
        self.sync()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path_of(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            // Gone, but perhaps because of a removal that did not get this far.
            Ok(()) | Err(_) => self.sync(),
        }
    }
}

/// With the folders above it. What was made is on the medium.
fn make_folder(disk: &impl Disk, path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        if let Some(parent) = made.parent() {
            sync_folder(disk, parent)?;
        }
    }
    Ok(())
}

fn sync_folder(disk: &impl Disk, path: &Path) -> io::Result<()> {
    disk.sync(&File::open(path)?)
}

fn write_all(disk: &impl Disk, file: &File, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    // So that what is empty is not taken for a disk that takes nothing.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match disk.write(file, left) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct OnDisk<D> {
    disk: D,
    file: File,
}

/// A file and how long it is.
struct Opened<D> {
    file: Arc<OnDisk<D>>,
    len: u64,
}

impl<D: Disk> Append for Opened<D> {
    fn append(&mut self, parts: &[&[u8]]) -> Result<(), AppendError> {
        let OnDisk { disk, file } = &*self.file;
        if let Err(error) = write_all(disk, file, parts) {
            return Err(match disk.set_len(file, self.len) {
                Ok(()) => AppendError::Undone(error),
                Err(cutting) => AppendError::Torn { error, cutting },
            });
        }
        self.len += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn syncer(&self) -> Arc<dyn Syncer> {
        Arc::clone(&self.file) as Arc<dyn Syncer>
    }
}

impl<D: Disk> Syncer for OnDisk<D> {
    fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.file)
    }
}

impl<D: Disk> ReadAt for Opened<D> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_into(offset, len, &mut bytes)?;
        Ok(bytes)
    }

    fn read_into<'b>(
        &self,
        offset: u64,
        len: usize,
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<&'b [u8]> {
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if buffer.capacity() < len {
            // New memory is zeros already, and what is in the old one is not wanted.
            *buffer = vec![0; len];
        } else if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let bytes = &mut buffer[..len];
        self.file
            .disk
            .read_exact_at(&self.file.file, bytes, offset)?;
        Ok(bytes)
    }
}
