//! The embedded store under `kill -9`. What it shows:
//! - every commit that was acknowledged before the kill is there afterwards, with its revision;
//! - a commit is there with all of its writes or with none, long values too;
//! - the killed process' hold on the file ends with it;
//! - a first start that is killed at any point leaves nothing that hinders the second.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use waypost::store::{Embedded, Revision, Scan, StateStore, Write};

/// In the environment of a child: the folder to commit to until it is killed.
const CHILD: &str = "WAYPOST_TEST_STORE_FOLDER";
const LAST: &str = "state/last";
const LONG: &str = "zone/long";

/// A value that is kept in a file of its own.
fn long(number: u64) -> Vec<u8> {
    number.to_string().repeat(200_000).into_bytes()
}

#[test]
fn no_acknowledged_commit_is_lost_to_kill_9() {
    if let Some(folder) = std::env::var_os(CHILD) {
        commit_until_killed(Path::new(&folder));
    }
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state");
    let mut before = 0;
    for acknowledged_at_least in [1, 7, 0, 30, 3, 12] {
        let acknowledged = kill_after(acknowledged_at_least, &folder).unwrap_or(before);
        let found = check(&folder);
        assert!(found >= acknowledged, "{acknowledged} was acknowledged, {found} is the last one found");
        assert!(found >= before + acknowledged_at_least);
        before = found;
    }
}

#[test]
fn a_killed_first_start_hinders_no_second() {
    for hundreds_of_microseconds in 0..60 {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        let mut child = start(&folder);
        std::thread::sleep(Duration::from_micros(100 * hundreds_of_microseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        check(&folder);
    }
}

/// A process that runs [`commit_until_killed`].
fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_acknowledged_commit_is_lost_to_kill_9", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a child on `folder`, kills it after so many acknowledgements; the last one that it got out.
fn kill_after(acknowledgements: u64, folder: &Path) -> Option<u64> {
    let mut child = start(folder);
    let (sender, lines) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        for line in out.lines() {
            // The test harness of the child writes to the same pipe.
            if let Some(number) = line.unwrap().strip_prefix("committed ").and_then(|n| n.parse::<u64>().ok()) {
                sender.send(number).unwrap();
            }
        }
    });
    let mut last = None;
    for _ in 0..acknowledgements {
        last = Some(lines.recv_timeout(Duration::from_secs(10)).expect("the child commits"));
    }
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    reader.join().unwrap();
    lines.try_iter().last().or(last)
}

/// Commits numbered records, three writes each, and says so on stdout.
fn commit_until_killed(folder: &Path) -> ! {
    let store = Embedded::open(folder).unwrap();
    runtime().block_on(async {
        let mut revision = store.revision().await.unwrap();
        loop {
            let number = revision.0 + 1;
            let value = number.to_string().into_bytes();
            let numbered = Write::Put { key: format!("record/{number:020}"), value: value.clone().into() };
            let kept = Write::Put { key: LONG.to_owned(), value: store.keep(long(number)).unwrap() };
            let writes = vec![numbered, kept, Write::Put { key: LAST.to_owned(), value: value.into() }];
            revision = store.commit(revision, writes).await.unwrap();
            println!("committed {number}");
        }
    })
}

/// Opens the store again; the number of the last record, 0 when there is none.
fn check(folder: &Path) -> u64 {
    let store = Embedded::open(folder).unwrap();
    runtime().block_on(async {
        let records = store.scan(Scan::all("record/")).await.unwrap();
        let last = records.len() as u64;
        for (number, (key, value)) in (1..=last).zip(&records) {
            assert_eq!((key, value), (&format!("record/{number:020}"), &number.to_string().into_bytes()));
        }
        assert_eq!(store.revision().await.unwrap(), Revision(last));
        let expected = (last > 0).then(|| last.to_string().into_bytes());
        assert_eq!(store.read(LAST).await.unwrap(), expected, "all writes of a commit, or none");
        assert!(store.read(LONG).await.unwrap() == (last > 0).then(|| long(last)), "the long one, too");
        last
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}
