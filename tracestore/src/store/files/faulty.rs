//! A folder that fails on demand, and its files as a crash of the process leaves them.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use tempfile::TempDir;

use super::{Disk, Files, Folder, System};

/// A temporary folder on a disk whose faults are switched while it is used.
pub(crate) struct Faulty {
    pub(crate) faults: Arc<Faults>,
    folder: TempDir,
}

/// What is wrong with the disk. Nothing, at first.
#[derive(Default)]
pub(crate) struct Faults {
    /// Bytes that still fit; a write takes what does. `None`: any number.
    pub(crate) space: Mutex<Option<u64>>,
    /// Bytes that one call writes at most. 0: any number.
    pub(crate) write_at_most: AtomicUsize,
    pub(crate) fail_sync: AtomicBool,
    /// So many syncs succeed before `fail_sync` is set. `None`: all.
    good_syncs: Mutex<Option<usize>>,
    pub(crate) fail_set_len: AtomicBool,
    pub(crate) fail_read: AtomicBool,
    /// The only file that cannot be read, by its number.
    unreadable: Mutex<Option<u64>>,
    /// While somebody holds it, every sync waits.
    pub(crate) hold_sync: Mutex<()>,
    /// So many syncs do not wait for it.
    pub(crate) free_syncs: Mutex<usize>,
    /// Calls of sync on files that are open for appending or writing, as they begin.
    pub(crate) file_syncs: AtomicUsize,
    /// Calls that wrote something.
    pub(crate) writes: AtomicUsize,
}

impl Faulty {
    pub(crate) fn new() -> Faulty {
        Faulty {
            faults: Arc::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The folder, which nobody must use at the time.
    pub(crate) fn open(&self) -> Arc<dyn Files> {
        Arc::new(Folder::on(Arc::clone(&self.faults), self.path()).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Faults {
    /// Says that the disk has so many bytes left. `None`: any number.
    pub(crate) fn leave(&self, bytes: Option<u64>) {
        *self.space.lock().unwrap() = bytes;
    }

    /// Says that this file cannot be read. `None`: all can.
    pub(crate) fn make_unreadable(&self, path: Option<&Path>) {
        let number = path.map(|path| path.metadata().unwrap().ino());
        *self.unreadable.lock().unwrap() = number;
    }

    /// Lets that many more syncs succeed, of files and folders, and none after them.
    pub(crate) fn fail_syncs_after(&self, good: usize) {
        self.fail_sync.store(false, SeqCst);
        *self.good_syncs.lock().unwrap() = Some(good);
    }
}

impl Disk for Arc<Faults> {
    fn write(&self, file: &File, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writes.fetch_add(1, SeqCst);
        let mut space = self.space.lock().unwrap();
        let at_most = match self.write_at_most.load(SeqCst) {
            0 => usize::MAX,
            at_most => at_most,
        };
        let fitting = space.map_or(usize::MAX, |left| left.try_into().unwrap());
        if fitting == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        bytes.truncate(at_most.min(fitting));
        let written = System.write(file, &[IoSlice::new(&bytes)])?;
        if let Some(left) = &mut *space {
            *left -= written as u64;
        }
        Ok(written)
    }

    fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        if self.fail_set_len.load(SeqCst) {
            return Err(io::Error::other("set_len fails"));
        }
        let freed = file.metadata()?.len() - len;
        System.set_len(file, len)?;
        if let Some(left) = &mut *self.space.lock().unwrap() {
            *left += freed;
        }
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if file.metadata()?.is_file() {
            self.file_syncs.fetch_add(1, SeqCst);
        }
        let is_free = {
            let mut free = self.free_syncs.lock().unwrap();
            let is_free = *free > 0;
            *free = free.saturating_sub(1);
            is_free
        };
        if !is_free {
            drop(self.hold_sync.lock().unwrap());
        }
        match &mut *self.good_syncs.lock().unwrap() {
            Some(0) => self.fail_sync.store(true, SeqCst),
            Some(good) => *good -= 1,
            None => {}
        }
        if self.fail_sync.load(SeqCst) {
            return Err(io::Error::other("sync fails"));
        }
        System.sync(file)
    }

    fn read_exact_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let number = file.metadata()?.ino();
        if self.fail_read.load(SeqCst) || *self.unreadable.lock().unwrap() == Some(number) {
            return Err(io::Error::other("read fails"));
        }
        file.read_exact_at(bytes, offset)
    }
}
