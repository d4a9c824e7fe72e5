//! The embedded store: what it keeps, what it refuses, and what it tells.

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
    let abandoned =
        tokio::time::timeout(std::time::Duration::ZERO, store.commit(Revision(0), vec![put("a", "1"), put("b", "1")]));
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
