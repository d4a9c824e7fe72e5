//! The store of a single server: one `redb` file, held by one process, and a file for each long value.
//!
//! Each call runs on a thread for blocking work, so the calls need a Tokio runtime; [`Embedded::open`] does not.

mod long;
#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

pub(super) use self::long::Draft;
use self::long::{Files, LONG, Named, Reading};
use super::{BoxFuture, Held, Order, Record, Revision, Scan, StateStore, StoreError, Value, Write};

/// The name of the store's file in its folder.
pub const FILE_NAME: &str = "waypost.redb";

/// Keys are kept as octets: redb panics over a text that turns out not to be UTF-8, we can say which file is damaged.
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The files of records whose row is empty since their value is long: number and octets.
const LONG_VALUES: TableDefinition<&[u8], (u64, u64)> = TableDefinition::new("long values");
/// In `META`: how the tables are to be read.
const FORMAT: &str = "format";
const THIS_FORMAT: u64 = 2;
/// Had no long values; brought to this one when it is opened.
const FORMAT_BEFORE: u64 = 1;
/// In `META`: the number of commits.
const REVISION: &str = "revision";
/// The state is small, and read once at a start; redb's own default is 1 GiB.
const CACHE_OCTETS: usize = 8 << 20;

/// A store in one file, `waypost.redb`. Cheap to clone; the last clone to go releases the file.
///
/// After a failed write, a full disk say, redb takes no more: the file is opened anew at the next call.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// `None` between a failure and the next call.
    database: Arc<RwLock<Option<Database>>>,
    file: Arc<Path>,
    files: Arc<Files>,
}

impl Embedded {
    /// Opens the store in `folder`; makes the folder (mode 0700) and an empty store (mode 0600) where there is none.
    /// After an unclean end this reads the whole file. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when a process has it open, even this one; [`StoreError::Damaged`] and
    /// [`StoreError::Foreign`] when the file is not what it should be: it is never overwritten.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        make_folder(folder).map_err(|error| StoreError::Folder { folder: folder.to_owned(), error })?;
        let file: Arc<Path> = folder.join(FILE_NAME).into();
        match fs::symlink_metadata(&file) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_file(folder, &file)?,
            Err(error) => return Err(StoreError::File { file: file.to_path_buf(), doing: "open", error }),
        }
        let database = unless_it_panics(&file, "open", || open_file(&file))?;
        let files = Files::beside(&file);
        unless_it_panics(&file, "open", || {
            forget_drafts(&database, &files).map_err(|error| told(&file, "open", error))
        })?;
        Ok(Self { database: Arc::new(RwLock::new(Some(database))), file, files: Arc::new(files) })
    }

    /// Runs `work` where it may block. It is carried out even when nobody waits for it any more.
    fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Database, &Path) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let Self { database, file, .. } = self.clone();
        Box::pin(async move {
            let of_work = file.clone();
            tokio::task::spawn_blocking(move || with_database(&database, &of_work, doing, work)).await.unwrap_or_else(
                |_| {
                    let detail = "the program is about to end".to_owned();
                    Err(StoreError::Failed { file: file.to_path_buf(), doing, detail })
                },
            )
        })
    }
}

/// Runs `work`, on the file opened anew if an earlier failure closed it.
fn with_database<T>(
    database: &RwLock<Option<Database>>,
    file: &Path,
    doing: &'static str,
    work: impl FnOnce(&Database, &Path) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    {
        let mut opened = database.write().unwrap_or_else(PoisonError::into_inner);
        if opened.is_none() {
            *opened = Some(unless_it_panics(file, "open", || open_file(file))?);
        }
    }
    let opened = database.read().unwrap_or_else(PoisonError::into_inner);
    let Some(current) = opened.as_ref() else {
        let detail = "another call has just failed".to_owned();
        return Err(StoreError::Failed { file: file.to_owned(), doing, detail });
    };
    let done = unless_it_panics(file, doing, || work(current, file));
    drop(opened);
    if matches!(done, Err(StoreError::File { .. } | StoreError::Failed { .. })) {
        *database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
    done
}

impl StateStore for Embedded {
    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        let (key, files) = (key.to_owned(), self.files.clone());
        self.blocking("read", move |database, file| {
            let read = || -> Result<_, redb::Error> {
                let rows = Rows::of(database, &files)?;
                let row = rows.records.get(key.as_bytes())?;
                row.map(|row| rows.value(key.as_bytes(), row.value())).transpose()
            };
            read().map_err(|error| told(file, "read", error))
        })
    }

    fn keep(&self, octets: Vec<u8>) -> Result<Value, StoreError> {
        if octets.len() < LONG {
            return Ok(octets.into());
        }
        let draft = self.files.write(&octets).map_err(|error| StoreError::File {
            file: self.file.to_path_buf(),
            doing: "write a long value beside",
            error,
        })?;
        Ok(Value(Held::File(Arc::new(draft))))
    }

    fn scan<'a>(&'a self, scan: Scan<'a>) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        let Scan { limit, order, .. } = scan;
        let (from, to) = bounds(&scan);
        let files = self.files.clone();
        self.blocking("read", move |database, file| {
            if is_empty(&from, &to) {
                return Ok(Vec::new());
            }
            let read = || -> Result<_, redb::Error> {
                let rows = Rows::of(database, &files)?;
                let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
                let mut range = rows.records.range::<&[u8]>(bounds)?;
                let mut found = Vec::new();
                while found.len() < limit {
                    let next = match order {
                        Order::Ascending => range.next(),
                        Order::Descending => range.next_back(),
                    };
                    let Some(record) = next else { break };
                    let (key, row) = record?;
                    let value = rows.value(key.value(), row.value())?;
                    let key = String::from_utf8(key.value().to_vec())
                        .map_err(|_| redb::Error::Corrupted(format!("the key {:02x?} is no UTF-8", key.value())))?;
                    found.push((key, value));
                }
                Ok(found)
            };
            read().map_err(|error| told(file, "read", error))
        })
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.blocking("read", |database, file| {
            let read = || -> Result<_, redb::Error> { revision_in(&database.begin_read()?.open_table(META)?) };
            read().map_err(|error| told(file, "read", error))
        })
    }

    fn commit(&self, expected: Revision, writes: Vec<Write>) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let files = self.files.clone();
        self.blocking("write", move |database, file| match write_all(database, &files, expected, &writes) {
            Ok(Ok(revision)) => Ok(revision),
            Ok(Err(found)) => Err(StoreError::Stale { expected, found }),
            Err(error) => Err(told(file, "write", error)),
        })
    }
}

/// One transaction. The inner error is the revision found when it is not `expected`.
fn write_all(
    database: &Database,
    files: &Files,
    expected: Revision,
    writes: &[Write],
) -> Result<Result<Revision, Revision>, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let (revision, named, gone) = {
        let mut meta = transaction.open_table(META)?;
        let found = revision_in(&meta)?;
        if found != expected {
            return Ok(Err(found)); // a transaction that is dropped has done nothing
        }
        let next = Revision(found.0 + 1);
        meta.insert(REVISION, next.0)?;
        let mut records = transaction.open_table(RECORDS)?;
        let mut long = transaction.open_table(LONG_VALUES)?;
        let (mut named, mut gone) = (Vec::new(), Vec::new());
        for write in writes {
            let key = match write {
                Write::Put { key, .. } | Write::Delete { key } => key.as_bytes(),
            };
            gone.extend(long.remove(key)?.map(|before| before.value().0));
            let value = match write {
                Write::Put { value, .. } => value,
                Write::Delete { .. } => {
                    records.remove(key)?;
                    continue;
                }
            };
            let draft = match &value.0 {
                Held::Octets(octets) if octets.len() < LONG => {
                    records.insert(key, octets.as_slice())?;
                    continue;
                }
                Held::Octets(octets) => Arc::new(files.write(octets)?),
                Held::File(draft) => draft.clone(),
            };
            records.insert(key, &[][..])?;
            long.insert(key, (draft.named.number, draft.named.octets))?;
            named.push(draft);
        }
        (next, named, gone)
    };
    // From here on it may be durable, whatever is said of it.
    for draft in &named {
        draft.give();
    }
    transaction.commit()?;
    if !gone.is_empty() {
        files.remove(gone);
    }
    Ok(Ok(revision))
}

/// The tables of records, as they are at one moment.
struct Rows<'f> {
    records: ReadOnlyTable<&'static [u8], &'static [u8]>,
    long: ReadOnlyTable<&'static [u8], (u64, u64)>,
    files: Reading<'f>,
}

impl<'f> Rows<'f> {
    fn of(database: &Database, files: &'f Files) -> Result<Self, redb::Error> {
        let files = files.reading(); // before the moment is fixed
        let transaction = database.begin_read()?;
        let (records, long) = (transaction.open_table(RECORDS)?, transaction.open_table(LONG_VALUES)?);
        Ok(Self { records, long, files })
    }

    /// The value of the record whose row this is.
    fn value(&self, key: &[u8], row: &[u8]) -> Result<Vec<u8>, redb::Error> {
        let long = if row.is_empty() { self.long.get(key)? } else { None };
        let Some((number, octets)) = long.map(|long| long.value()) else { return Ok(row.to_vec()) };
        self.files.read(Named { number, octets }).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
                let key = String::from_utf8_lossy(key);
                redb::Error::Corrupted(format!(
                    "the value of \"{key}\", the file values/{number:016x} beside it: {error}"
                ))
            }
            _ => error.into(),
        })
    }
}

fn revision_in(meta: &impl ReadableTable<&'static str, u64>) -> Result<Revision, redb::Error> {
    match meta.get(REVISION)? {
        Some(revision) => Ok(Revision(revision.value())),
        None => Err(redb::Error::Corrupted("it has no revision".to_owned())),
    }
}

/// Where the keys of a scan begin and end.
fn bounds(scan: &Scan<'_>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let prefix = scan.prefix.as_bytes();
    let past = scan.past.map(|key| key.as_bytes().to_vec());
    let mut from = Bound::Included(prefix.to_vec());
    let mut to = match prefix.split_last() {
        // The octet 0xff is no part of any UTF-8, so there is always a next one.
        Some((last, rest)) => Bound::Excluded([rest, &[last + 1]].concat()),
        None => Bound::Unbounded,
    };
    match (scan.order, past) {
        (Order::Ascending, Some(past)) if past.as_slice() >= prefix => from = Bound::Excluded(past),
        (Order::Descending, Some(past)) => match &to {
            Bound::Excluded(end) if *end <= past => {}
            _ => to = Bound::Excluded(past),
        },
        _ => {}
    }
    (from, to)
}

/// Whether no key can lie between; redb panics over such bounds.
fn is_empty(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
        _ => false,
    }
}

fn open_file(file: &Path) -> Result<Database, StoreError> {
    let database =
        Builder::new().set_cache_size(CACHE_OCTETS).open(file).map_err(|error| told(file, "open", error.into()))?;
    let read_format = || -> Result<Option<u64>, redb::Error> {
        let transaction = database.begin_read()?;
        transaction.open_table(RECORDS)?;
        Ok(transaction.open_table(META)?.get(FORMAT)?.map(|format| format.value()))
    };
    let foreign = |detail| StoreError::Foreign { file: file.to_owned(), detail };
    match read_format() {
        Ok(Some(THIS_FORMAT)) => Ok(database),
        Ok(Some(FORMAT_BEFORE)) => {
            bring_up(&database).map(|()| database).map_err(|error| told(file, "bring up", error))
        }
        Ok(Some(format)) => Err(foreign(format!("its format is {format}, this program reads {THIS_FORMAT}"))),
        Ok(None) | Err(redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }) => {
            Err(foreign("it is a database of another program".to_owned()))
        }
        Err(error) => Err(told(file, "open", error)),
    }
}

/// Brings a file of the format before to this one.
fn bring_up(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(LONG_VALUES)?;
    transaction.open_table(META)?.insert(FORMAT, THIS_FORMAT)?;
    Ok(transaction.commit()?)
}

/// Removes the files of long values that no record names.
fn forget_drafts(database: &Database, files: &Files) -> Result<(), redb::Error> {
    let long = database.begin_read()?.open_table(LONG_VALUES)?;
    let named = long.iter()?.map(|row| Ok(row?.1.value().0)).collect::<Result<_, redb::Error>>()?;
    Ok(files.retain(&named)?)
}

/// The folder itself is on disk when this returns, not only what will be in it.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    match folder.canonicalize()?.parent() {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Makes an empty store under another name and gives it its own when it is complete: a process that is killed on the
/// way leaves no half-made file, which would look like a damaged one.
fn make_file(folder: &Path, file: &Path) -> Result<(), StoreError> {
    let draft = folder.join(format!(".{FILE_NAME}.{}", std::process::id()));
    let cannot = |error| StoreError::File { file: file.to_owned(), doing: "make", error };
    // What a killed process left may be linked to a complete store: never truncated, only unlinked.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    let opened = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&draft);
    let made = fill(opened.map_err(cannot)?).map_err(|error| told(file, "make", error)).and_then(|()| {
        match fs::hard_link(&draft, file) {
            // Unlike a rename, a link leaves alone what another process made meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked.map_err(cannot),
        }
    });
    let removed = fs::remove_file(&draft).map_err(cannot);
    made.and(removed)?;
    sync_folder(folder).map_err(cannot)
}

fn fill(empty: File) -> Result<(), redb::Error> {
    let database = Builder::new().set_cache_size(CACHE_OCTETS).create_file(empty)?;
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, THIS_FORMAT)?;
        meta.insert(REVISION, 0)?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(LONG_VALUES)?;
    }
    Ok(transaction.commit()?)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file that somebody else has written to can trip an assertion inside redb; that too is told as damage.
fn unless_it_panics<T>(
    file: &Path,
    doing: &'static str,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let detail = format!("its pages contradict each other (a panic of the library in the attempt to {doing} it)");
        Err(StoreError::Damaged { file: file.to_owned(), detail })
    })
}

/// An error of the library in our words.
fn told(file: &Path, doing: &'static str, error: redb::Error) -> StoreError {
    let file = PathBuf::from(file);
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::Locked { file },
        redb::Error::Corrupted(detail) => StoreError::Damaged { file, detail },
        // What redb says of a file that is empty, cut off or no redb file at all.
        redb::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
                && error.raw_os_error().is_none() =>
        {
            StoreError::Damaged { file, detail: error.to_string() }
        }
        redb::Error::Io(error) => StoreError::File { file, doing, error },
        redb::Error::UpgradeRequired(version) => {
            StoreError::Foreign { file, detail: format!("it has version {version} of redb's file format") }
        }
        redb::Error::PreviousIo => {
            let detail = "an earlier read or write failed; the file is opened anew at the next try".to_owned();
            StoreError::Failed { file, doing, detail }
        }
        other => StoreError::Failed { file, doing, detail: other.to_string() },
    }
}
