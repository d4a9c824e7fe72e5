//! The store of a single server: one `redb` file, held by one process, and a file for each long value.
//!
//! Each call runs on a thread for blocking work, so the calls need a Tokio runtime; [`Embedded::open`] does not.

mod long;

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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn put(key: &str, value: &str) -> Write {
        Write::Put { key: key.to_owned(), value: value.as_bytes().to_vec().into() }
    }

    fn delete(key: &str) -> Write {
        Write::Delete { key: key.to_owned() }
    }

    fn keys(found: Vec<Record>) -> Vec<String> {
        found.into_iter().map(|(key, _)| key).collect()
    }

    #[tokio::test]
    async fn what_was_committed_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        assert_eq!(store.revision().await.unwrap(), Revision(0));
        assert_eq!(store.read("state/current").await.unwrap(), None);
        let writes = vec![put("state/current", "one"), put("horizon", "x"), delete("horizon"), delete("nobody")];
        assert_eq!(store.commit(Revision(0), writes).await.unwrap(), Revision(1));
        drop(store);

        let store = Embedded::open(folder.path()).unwrap();
        assert_eq!(store.revision().await.unwrap(), Revision(1));
        assert_eq!(store.read("state/current").await.unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(store.read("horizon").await.unwrap(), None);
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(folder.join("values")).into_iter().flatten();
        files.map(|file| file.unwrap().path()).collect()
    }

    #[tokio::test]
    async fn values_of_any_length_come_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Embedded::open(folder.path()).unwrap();
        let value = |octets: usize| (0..octets).map(|i| (i * 31 % 251) as u8).collect::<Vec<u8>>();
        let lengths = [0, 1, LONG - 1, LONG, LONG + 1, 2 * LONG, 5 * LONG + 7, 0, 3 * LONG, 1, LONG];
        for (revision, octets) in (0..).zip(lengths) {
            let put_it = |key: &str, value| Write::Put { key: key.to_owned(), value };
            let (kept, plain) = (store.keep(value(octets)).unwrap(), value(octets).into());
            let writes = vec![
                put_it("a", kept),
                put("a ", "next"),
                put_it("b", plain),
                delete("b"),
                put_it("c", value(octets).into()),
            ];
            store.commit(Revision(revision), writes).await.unwrap();
            assert_eq!(store.read("a").await.unwrap(), Some(value(octets)), "{octets}");
            assert_eq!(store.read("b").await.unwrap(), None);
            let all = [("a", value(octets)), ("a ", b"next".to_vec()), ("c", value(octets))];
            assert_eq!(store.scan(Scan::all("")).await.unwrap(), all.map(|(key, value)| (key.to_owned(), value)));
            drop(store);
            store = Embedded::open(folder.path()).unwrap();
            assert_eq!(files(folder.path()).len(), if octets < LONG { 0 } else { 2 }, "files of values that are gone");
        }
    }

    #[tokio::test]
    async fn a_long_value_that_no_commit_named_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        drop(store.keep(vec![1; LONG]).unwrap());
        assert!(files(folder.path()).is_empty(), "of a value that nobody wants");
        let kept = store.keep(vec![2; LONG]).unwrap();
        let refused = store.commit(Revision(5), vec![Write::Put { key: "a".to_owned(), value: kept.clone() }]).await;
        assert!(matches!(refused, Err(StoreError::Stale { .. })));
        assert_eq!(files(folder.path()).len(), 1, "it may be tried again");
        drop(kept);
        assert!(files(folder.path()).is_empty());
        let (kept, orphan) = (store.keep(vec![3; LONG]).unwrap(), folder.path().join("values/00000000000000aa"));
        store.commit(Revision(0), vec![Write::Put { key: "a".to_owned(), value: kept }]).await.unwrap();
        fs::write(&orphan, "of a process that was killed").unwrap();
        drop(store);
        let store = Embedded::open(folder.path()).unwrap();
        assert!(!orphan.exists());
        assert_eq!(store.read("a").await.unwrap(), Some(vec![3; LONG]));
    }

    #[tokio::test]
    async fn a_long_value_that_is_lost_or_cut_off_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        store.commit(Revision(0), vec![put("zone/a", &"x".repeat(LONG)), put("b", "1")]).await.unwrap();
        let file = files(folder.path()).remove(0);
        File::options().write(true).open(&file).unwrap().set_len(3).unwrap();
        let told = store.read("zone/a").await.unwrap_err();
        assert!(matches!(&told, StoreError::Damaged { detail, .. } if detail.contains("\"zone/a\"")), "{told}");
        fs::remove_file(file).unwrap();
        let told = store.read("zone/a").await.unwrap_err();
        assert!(matches!(told, StoreError::Damaged { .. }), "{told}");
        assert_eq!(store.read("b").await.unwrap().as_deref(), Some(&b"1"[..]));
    }

    #[tokio::test]
    async fn a_store_of_the_format_before_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let long = "x".repeat(3 * LONG);
        {
            let database = Database::create(&file).unwrap();
            let transaction = database.begin_write().unwrap();
            transaction.open_table(META).unwrap().insert(FORMAT, 1).unwrap();
            transaction.open_table(META).unwrap().insert(REVISION, 7).unwrap();
            transaction.open_table(RECORDS).unwrap().insert(&b"long"[..], long.as_bytes()).unwrap();
            transaction.commit().unwrap();
        }
        for revision in 7..9 {
            let store = Embedded::open(folder.path()).unwrap();
            assert_eq!(store.read("long").await.unwrap().as_deref(), Some(long.as_bytes()));
            store.commit(Revision(revision), vec![put("long", &long)]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_stale_commit_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        store.commit(Revision(0), vec![put("a", "1"), put("b", "1")]).await.unwrap();
        for expected in [Revision(0), Revision(2)] {
            let refused = store.commit(expected, vec![put("a", "2"), delete("b")]).await.unwrap_err();
            assert!(matches!(refused, StoreError::Stale { found: Revision(1), .. }), "{refused}");
        }
        assert_eq!(store.read("a").await.unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(store.read("b").await.unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(store.revision().await.unwrap(), Revision(1));
    }

    #[tokio::test]
    async fn of_racing_writers_exactly_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let mut racers = tokio::task::JoinSet::new();
        for racer in 0..8 {
            let store = store.clone();
            racers.spawn(async move { store.commit(Revision(0), vec![put("who", &racer.to_string())]).await });
        }
        let won = racers.join_all().await.into_iter().flatten().count();
        assert_eq!((won, store.revision().await.unwrap()), (1, Revision(1)));
    }

    #[tokio::test]
    async fn a_commit_that_nobody_waits_for_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let abandoned = tokio::time::timeout(
            std::time::Duration::ZERO,
            store.commit(Revision(0), vec![put("a", "1"), put("b", "1")]),
        );
        let _ = abandoned.await;
        while Arc::strong_count(&store.database) > 1 {
            tokio::task::yield_now().await;
        }
        let found = keys(store.scan(Scan::all("")).await.unwrap());
        let revision = store.revision().await.unwrap();
        assert_eq!(found.len(), 2 * revision.0 as usize, "{found:?} at {revision:?}");
    }

    #[tokio::test]
    async fn a_scan_keeps_prefix_order_limit_and_page() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let all = ["audit", "audit/1", "audit/2", "audit/3", "audit0", "zone/é"];
        store.commit(Revision(0), all.iter().map(|key| put(key, key)).collect()).await.unwrap();
        let scan = async |scan| keys(store.scan(scan).await.unwrap());

        assert_eq!(scan(Scan::all("")).await, all);
        assert_eq!(scan(Scan::all("audit/")).await, ["audit/1", "audit/2", "audit/3"]);
        assert_eq!(scan(Scan::all("zone/é")).await, ["zone/é"]);
        assert_eq!(scan(Scan::last("audit/", 2)).await, ["audit/3", "audit/2"]);
        assert_eq!(scan(Scan::last("audit/", 0)).await, Vec::<String>::new());
        let page = Scan { past: Some("audit/2"), ..Scan::all("audit/") };
        assert_eq!(scan(page).await, ["audit/3"]);
        assert_eq!(scan(Scan { order: Order::Descending, ..page }).await, ["audit/1"]);
        // A key outside the prefix widens nothing.
        assert_eq!(scan(Scan { past: Some("a"), ..page }).await, ["audit/1", "audit/2", "audit/3"]);
        assert_eq!(scan(Scan { past: Some("zone"), ..page }).await, Vec::<String>::new());
        let down = Scan::last("audit/", 9);
        assert_eq!(scan(Scan { past: Some("zone"), ..down }).await, ["audit/3", "audit/2", "audit/1"]);
        assert_eq!(scan(Scan { past: Some("a"), ..down }).await, Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn the_bounds_of_a_scan_are_its_prefix_and_page(
            key in "[a-c/é\u{10ffff}]{0,4}", prefix in "[a-c/é\u{10ffff}]{0,3}",
            past in proptest::option::of("[a-c/é\u{10ffff}]{0,4}"), descending: bool,
        ) {
            let order = if descending { Order::Descending } else { Order::Ascending };
            let (from, to) = bounds(&Scan { prefix: &prefix, past: past.as_deref(), limit: 1, order });
            let inside = !is_empty(&from, &to) && std::ops::RangeBounds::contains(&(from, to), &key.as_bytes().to_vec());
            let beyond = past.is_none_or(|past| if descending { key < past } else { key > past });
            prop_assert_eq!(inside, key.starts_with(&prefix) && beyond);
        }
    }

    #[test]
    fn folder_and_file_are_the_owners_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        let _store = Embedded::open(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join(FILE_NAME))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_draft_left_by_a_killed_process_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(format!(".{FILE_NAME}.{}", std::process::id()));
        let moved_away = folder.path().join("backup");
        fs::write(&left, "a store").unwrap();
        fs::hard_link(&left, &moved_away).unwrap();
        Embedded::open(folder.path()).unwrap();
        assert_eq!(fs::read(&moved_away).unwrap(), b"a store");
        assert!(!left.exists());
    }

    #[test]
    fn a_store_in_use_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let first = Embedded::open(folder.path()).unwrap();
        let refused = Embedded::open(folder.path()).unwrap_err();
        assert!(matches!(refused, StoreError::Locked { .. }));
        assert!(refused.to_string().contains("waypost.redb\" is held by another process"), "{refused}");
        drop(first);
        Embedded::open(folder.path()).unwrap();
    }

    #[test]
    fn what_is_no_store_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        for content in [vec![], b"these are not the bytes".to_vec(), vec![0; 100_000]] {
            fs::write(&file, &content).unwrap();
            let refused = Embedded::open(folder.path()).unwrap_err();
            assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
            assert_eq!(fs::read(&file).unwrap(), content);
        }
    }

    #[tokio::test]
    async fn a_store_that_was_cut_off_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        store.commit(Revision(0), vec![put("big", &"x".repeat(200_000))]).await.unwrap();
        drop(store);
        let file = folder.path().join(FILE_NAME);
        for octets in [100_000, 5000, 400, 3] {
            File::options().write(true).open(&file).unwrap().set_len(octets).unwrap();
            let left = fs::read(&file).unwrap();
            let refused = Embedded::open(folder.path()).unwrap_err();
            assert!(matches!(refused, StoreError::Damaged { .. }), "{octets}: {refused}");
            assert!(fs::read(&file).unwrap() == left, "{octets}: overwritten");
        }
    }

    #[test]
    fn a_database_of_another_program_or_format_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        drop(Database::create(&file).unwrap());
        let refused = Embedded::open(folder.path()).unwrap_err();
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");

        fs::remove_file(&file).unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        drop(store);
        let database = Database::open(&file).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(FORMAT, 3).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let refused = Embedded::open(folder.path()).unwrap_err();
        assert!(refused.to_string().ends_with("its format is 3, this program reads 2"), "{refused}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_with_the_systems_reason() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("taken"), "").unwrap();
        let refused = Embedded::open(&parent.path().join("taken/state")).unwrap_err();
        assert!(matches!(refused, StoreError::Folder { .. }));
        assert!(refused.to_string().ends_with("Not a directory (os error 20)"), "{refused}");
    }
}
