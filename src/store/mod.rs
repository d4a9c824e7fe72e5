//! Durable state: small records under keys, read and written as a whole.
//!
//! A key is a path in UTF-8 (`state/current`, `audit/00000000000000000017`); a value is bytes that only its writer can
//! read. What the records mean is `control`'s business.
//!
//! What always holds, whatever keeps the records:
//! - A commit is all or nothing, and durable when it returns.
//! - Commits are fenced: each names the [`Revision`] that it was made for, and is refused when another came first. So an
//!   old writer can't overwrite a newer one.
//! - Everything is asynchronous: a slow disk (or network) never stalls the runtime.
//!
//! [`Embedded`] keeps one file for one process, and one for each long value.

mod embedded;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

pub use embedded::{Embedded, FILE_NAME};

/// A future that can be named, for a trait that is used as an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Counts the commits since the store was made: 0 when it is new. The fence of the next commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A key and its value.
pub type Record = (String, Vec<u8>);

/// A value to be written.
#[derive(Clone, Debug)]
pub struct Value(Held);

#[derive(Clone, Debug)]
enum Held {
    Octets(Vec<u8>),
    /// On disk by itself already.
    File(Arc<embedded::Draft>),
}

impl Value {
    /// All of it.
    ///
    /// # Errors
    /// What the system says of a file.
    pub fn octets(&self) -> io::Result<Vec<u8>> {
        match &self.0 {
            Held::Octets(octets) => Ok(octets.clone()),
            Held::File(draft) => std::fs::read(draft.path()),
        }
    }
}

impl From<Vec<u8>> for Value {
    fn from(octets: Vec<u8>) -> Self {
        Self(Held::Octets(octets))
    }
}

/// One change of one record.
#[derive(Clone, Debug)]
pub enum Write {
    /// Makes the record, or replaces its value.
    Put {
        /// Which record.
        key: String,
        /// All of its new value.
        value: Value,
    },
    /// Removes the record; no mistake when there is none.
    Delete {
        /// Which record.
        key: String,
    },
}

/// Which records to list, and in what order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    /// Keys that begin with this; the empty prefix means all.
    pub prefix: &'a str,
    /// Begins just past this key, in the direction of `order`: the last key of one page gives the next page.
    pub past: Option<&'a str>,
    /// At most so many records.
    pub limit: usize,
    /// Order of the keys.
    pub order: Order,
}

impl<'a> Scan<'a> {
    /// All records whose key begins with `prefix`, in ascending order.
    pub fn all(prefix: &'a str) -> Self {
        Self { prefix, past: None, limit: usize::MAX, order: Order::Ascending }
    }

    /// The last `limit` records whose key begins with `prefix`, the greatest key first.
    pub fn last(prefix: &'a str, limit: usize) -> Self {
        Self { prefix, past: None, limit, order: Order::Descending }
    }
}

/// Order of keys, by their octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The least key first.
    Ascending,
    /// The greatest key first.
    Descending,
}

/// A place that keeps records.
///
/// A future that is dropped before its end may still be carried out: whoever gave up on a commit asks for the
/// [`Revision`] before the next one.
pub trait StateStore: Send + Sync + 'static {
    /// The value of one record; `None` when there is none.
    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>>;

    /// Readies a value for a commit. A long one is on disk when this returns, so that the commit itself is short; it is gone
    /// again unless one names it. Blocks.
    ///
    /// # Errors
    /// What the system says.
    fn keep(&self, octets: Vec<u8>) -> Result<Value, StoreError>;

    /// The records that `scan` asks for, all of one revision.
    fn scan<'a>(&'a self, scan: Scan<'a>) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// The revision of the last commit.
    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// Carries out all of `writes`, in order, or none, and answers with the new revision. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Stale`] unless the revision still is `expected`. After any other error the commit was not
    /// acknowledged, but may be found done when the store is opened again.
    fn commit(&self, expected: Revision, writes: Vec<Write>) -> BoxFuture<'_, Result<Revision, StoreError>>;
}

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder can't be made.
    #[error("cannot make the state folder {folder:?}: {error}")]
    Folder {
        /// As configured.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file can't be made, opened, read or written.
    #[error("cannot {doing} {file:?}: {error}")]
    File {
        /// The store's file.
        file: PathBuf,
        /// `make`, `open`, `read`, `write`.
        doing: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("the store {file:?} is held by another process: is another waypost running?")]
    Locked {
        /// The store's file.
        file: PathBuf,
    },
    /// The file is not what was written. It is left as it is.
    #[error(
        "the store {file:?} is damaged: {detail}; it is left as it is: put a copy in its place, or move it away to begin anew"
    )]
    Damaged {
        /// The store's file.
        file: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file is sound, but this program can't use it. It is left as it is.
    #[error("{file:?} is no store of this waypost: {detail}")]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        detail: String,
    },
    /// Another commit came first.
    #[error("another writer was faster: expected revision {}, found {}", expected.0, found.0)]
    Stale {
        /// The revision that the commit was made for.
        expected: Revision,
        /// The revision of the store.
        found: Revision,
    },
    /// Anything else that keeps the store from working.
    #[error("cannot {doing} {file:?}: {detail}")]
    Failed {
        /// The store's file.
        file: PathBuf,
        /// `make`, `open`, `read`, `write`.
        doing: &'static str,
        /// The reason.
        detail: String,
    },
}
