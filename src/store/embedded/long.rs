//! Long values in files of their own, beside the store's file: the copy of a large zone, say. Such a one is written and on disk
//! before the commit that names it, by whoever has the time, so that the commit itself is short; and in short calls, since a
//! kernel without preemption lets nobody else on the core during one.
//!
//! A file is named by at most one record and never changed. One that no record names is what a process left that was killed
//! before its commit; it is removed when the store is opened.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::{make_folder, sync_folder};

/// From so many octets on, a value is a long one.
pub(super) const LONG: usize = 128 << 10;
/// Octets that are written or read at a time.
const PIECE: usize = 128 << 10;

/// The folder of the files, in the store's.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    /// No file goes while somebody reads what names it.
    readers: RwLock<()>,
}

/// Reads files: none goes for as long as this is held.
pub(super) struct Reading<'f> {
    files: &'f Files,
    _reader: RwLockReadGuard<'f, ()>,
}

/// What a record says of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub number: u64,
    pub octets: u64,
}

impl Files {
    pub(super) fn beside(store: &Path) -> Self {
        Self { folder: store.with_file_name("values"), readers: RwLock::default() }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}"))
    }

    /// Writes one; it is on disk when this returns.
    pub(super) fn write(&self, value: &[u8]) -> io::Result<Draft> {
        make_folder(&self.folder)?;
        let number = getrandom::u64().map_err(io::Error::other)?;
        let path = self.path(number);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let draft =
            Draft { named: Named { number, octets: value.len() as u64 }, path, is_given: AtomicBool::new(false) };
        for piece in value.chunks(PIECE) {
            file.write_all(piece)?;
        }
        file.sync_all()?;
        sync_folder(&self.folder)?;
        Ok(draft)
    }

    /// Keeps all files where they are for a while.
    pub(super) fn reading(&self) -> Reading<'_> {
        Reading { files: self, _reader: self.readers.read().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Removes some that no record names any more. What is left of them goes when the store is opened next.
    pub(super) fn remove(&self, numbers: Vec<u64>) {
        let _none_reads = self.readers.write().unwrap_or_else(PoisonError::into_inner);
        for number in numbers {
            _ = fs::remove_file(self.path(number));
        }
    }

    /// Removes all that are not `named`.
    pub(super) fn retain(&self, named: &HashSet<u64>) -> io::Result<()> {
        let files = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files?,
        };
        for file in files {
            let file = file?;
            let number = file.file_name().to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
            if number.is_some_and(|number| !named.contains(&number)) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }
}

impl Reading<'_> {
    /// Reads one. [`io::ErrorKind::UnexpectedEof`] when it is shorter than it was.
    pub(super) fn read(&self, named: Named) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.files.path(named.number))?;
        let mut value = vec![0; usize::try_from(named.octets).map_err(io::Error::other)?];
        value.chunks_mut(PIECE).try_for_each(|piece| file.read_exact(piece))?;
        Ok(value)
    }
}

/// A file that no record names yet. It goes when it is dropped, unless a commit was given it.
#[derive(Debug)]
pub(in crate::store) struct Draft {
    pub(super) named: Named,
    path: PathBuf,
    is_given: AtomicBool,
}

impl Draft {
    /// A commit names it that may be durable from now on.
    pub(super) fn give(&self) {
        self.is_given.store(true, Ordering::Relaxed);
    }

    pub(in crate::store) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !*self.is_given.get_mut() {
            _ = fs::remove_file(&self.path); // else at the next start
        }
    }
}
