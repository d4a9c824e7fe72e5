//! Zones that change while they are served. What it shows:
//! - after any course of updates, edits of the file and restarts (clean, cut off, with the file edited or broken meanwhile) the
//!   zone is served as it was, serial and all, and its serial never goes back;
//! - a zone that is taken out of the configuration and put back is what its file says then, whatever the store had of it;
//! - no change that was acknowledged is lost to `kill -9`, and none is there in part;
//! - the journal tells what led from one serial to another;
//! - a change decided on another serial is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use waypost::control::catalog::Catalog;
use waypost::control::message::{Origin, ReloadWish};
use waypost::control::{self, Handle, Start, ZoneChange, ZoneError};
use waypost::dns::{Name, Rtype, Ttl};
use waypost::query::Readers;
use waypost::store::Embedded;
use waypost::time::Timestamp;
use waypost::zone::compiled::Overlay;
use waypost::zone::serial::is_newer;
use waypost::zone::{Edit, Record, Zone};

/// In the environment of a child: the folder to work in until it is killed.
const CHILD: &str = "WAYPOST_TEST_ZONES_FOLDER";
const APEX: &str = "example.org";

/// A writer at work, with its store, configuration and zone file in one folder.
struct World {
    folder: PathBuf,
    handle: Handle,
    running: JoinHandle<()>,
    stop: CancellationToken,
}

impl World {
    async fn start(folder: &Path) -> Self {
        Self::start_with(folder, true).await
    }

    /// The same with or without the zone.
    async fn start_with(folder: &Path, has_zone: bool) -> Self {
        let config_file = folder.join("waypost.toml");
        configure(folder, has_zone);
        let now = Timestamp::now();
        let catalog = Catalog::read(&config_file, None, &BTreeMap::new(), false, now).unwrap();
        let mut store = Embedded::open(&folder.join("state"));
        for _ in 0..100 {
            if store.is_ok() {
                break; // a writer that was cut off may still be letting go of it
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            store = Embedded::open(&folder.join("state"));
        }
        let start = Start {
            config_file,
            catalog,
            store: Arc::new(store.unwrap()),
            secondaries: Arc::default(),
            readers: Readers::new(1),
            udp_workers: 1,
            listen: Vec::new(),
            force: false,
            now,
        };
        let (writer, handle, _) = control::start(start).await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(writer.run(stop.clone()));
        Self { folder: folder.to_owned(), handle, running, stop }
    }

    /// Ends it as a power cut does, or as it should be.
    async fn end(self, clean: bool) -> PathBuf {
        if clean {
            self.stop.cancel();
        } else {
            self.running.abort();
        }
        _ = self.running.await;
        self.folder
    }

    fn zone(&self) -> Arc<Zone> {
        self.handle.published().zones.entries()[0].zone.clone().unwrap()
    }

    async fn change(
        &self,
        edit: impl FnOnce(&mut Edit<'_>) + Send + 'static,
    ) -> Result<control::ZoneChanged, ZoneError> {
        let edit = Box::new(|e: &mut Edit<'_>| {
            edit(e);
            Ok(())
        });
        let (apex, author, reason) = (name(APEX), "test".to_owned(), "to see".to_owned());
        self.handle.change_zone(ZoneChange { apex, expected: None, author, reason, edit }).await
    }

    async fn reload(&self) -> Vec<String> {
        let origin = Origin { author: "test".to_owned(), ..Origin::default() };
        self.handle.reload(origin, ReloadWish::default()).await.unwrap().warnings
    }

    fn write_file(&self, serial: u32, hosts: &BTreeSet<u8>) {
        write_file(&self.folder, serial, hosts);
    }
}

fn configure(folder: &Path, has_zone: bool) {
    let zone = |name: &str, file: &str| {
        let file = folder.join(file);
        format!("[[zone]]\nname = \"{name}\"\nfile = \"{}\"\n", file.display())
    };
    let zones = if has_zone { zone(APEX, "zone") } else { zone("other.example", "other") };
    fs::write(folder.join("other"), "@ 60 SOA ns mail 1 1 1 1 60\n@ 60 NS ns\nns 60 A 192.0.2.53\n").unwrap();
    fs::write(folder.join("waypost.toml"), format!("{zones}[server]\nlisten = [\"127.0.0.1:0\"]\n")).unwrap();
}

fn write_file(folder: &Path, serial: u32, hosts: &BTreeSet<u8>) {
    let mut text = format!("@ 60 SOA ns mail {serial} 1 1 1 60\n@ 60 NS ns\nns 60 A 192.0.2.53\n");
    for host in hosts {
        writeln!(text, "h{host} 60 A 192.0.2.{host}").unwrap();
    }
    fs::write(folder.join("zone"), text).unwrap();
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn host(number: u8) -> Record {
    let owner = name(&format!("h{number}.{APEX}"));
    Record { owner, rtype: Rtype::A, ttl: Ttl::from_secs(60), rdata: Box::new([192, 0, 2, number]) }
}

fn text_of(zone: &Zone) -> BTreeSet<String> {
    let line = |(owner, set): (Name, waypost::zone::Rrset)| {
        let (ttl, rtype) = (set.ttl, set.rtype);
        set.rdatas.iter().map(|rdata| format!("{owner} {ttl} {rtype} {rdata:?}")).collect::<Vec<_>>()
    };
    zone.rrsets().flat_map(line).collect()
}

/// Numbers that look like chance and are the same each time.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_served_is_served_again_whatever_happened() {
    let folder = tempfile::tempdir().unwrap();
    let mut in_file: BTreeSet<u8> = (1..5).collect();
    let mut file_serial = 10;
    write_file(folder.path(), file_serial, &in_file);
    let mut world = World::start(folder.path()).await;
    let mut versions = vec![world.zone()];
    let mut draws = Draws(1);
    for turn in 0..120 {
        let number = draws.below(30) as u8;
        let before = world.zone();
        match draws.below(10) {
            0..5 => {
                world
                    .change(move |edit| {
                        let record = host(number);
                        if !edit.remove(&record.owner, record.rtype, &record.rdata) {
                            edit.add(record);
                        }
                    })
                    .await
                    .unwrap();
            }
            5 | 6 => {
                if !in_file.remove(&number) {
                    in_file.insert(number);
                }
                file_serial += draws.below(3) as u32;
                world.write_file(file_serial, &in_file);
                world.reload().await;
                let file_has = |zone: &Zone| zone.rrset(&host(number).owner, Rtype::A).is_some();
                assert_eq!(file_has(&world.zone()), in_file.contains(&number), "turn {turn}: h{number}");
            }
            7 => {
                let folder = world.end(draws.below(2) == 0).await;
                world = World::start(&folder).await;
                assert_eq!(text_of(&world.zone()), text_of(&before), "turn {turn}");
            }
            8 => {
                let folder = world.end(draws.below(2) == 0).await;
                fs::write(folder.join("zone"), "this is no zone").unwrap();
                world = World::start(&folder).await;
                assert_eq!(text_of(&world.zone()), text_of(&before), "turn {turn}");
                world.write_file(file_serial, &in_file);
                world.reload().await;
                assert_eq!(text_of(&world.zone()), text_of(&before), "turn {turn}: the file is as it was");
            }
            _ => {
                let folder = world.end(draws.below(2) == 0).await;
                if !in_file.remove(&number) {
                    in_file.insert(number);
                }
                file_serial += draws.below(3) as u32;
                write_file(&folder, file_serial, &in_file);
                world = World::start(&folder).await;
                let there = world.zone().rrset(&host(number).owner, Rtype::A).is_some();
                assert_eq!(there, in_file.contains(&number), "turn {turn}: h{number}");
            }
        }
        let after = world.zone();
        let went_up = is_newer(after.serial(), before.serial());
        assert_eq!(went_up, text_of(&after) != text_of(&before), "turn {turn}: from {}", before.serial());
        if went_up {
            versions.push(after);
        }
    }
    // The journal leads from every version to the last, whatever made it.
    let last = versions.pop().unwrap();
    for version in versions {
        let steps = world.handle.journal(&name(APEX), version.serial(), last.serial()).await.unwrap().unwrap();
        let mut edit = Edit::new(&version);
        for step in &steps {
            edit.apply(step).unwrap();
        }
        let made = version.with(&edit.diff(), &Overlay::default()).unwrap();
        assert_eq!(text_of(&made), text_of(&last), "from {}", version.serial());
    }
    assert_eq!(world.handle.journal(&name(APEX), 1, last.serial()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_comes_back_is_what_its_file_says() {
    for restarts in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let hosts = |hosts: &[u8]| hosts.iter().copied().collect::<BTreeSet<u8>>();
        write_file(folder.path(), 1, &hosts(&[1]));
        let mut world = World::start(folder.path()).await;
        world.write_file(2, &hosts(&[1, 2])); // a step behind the copy
        world.reload().await;
        world.change(|edit| _ = edit.add(host(3))).await.unwrap();
        if restarts {
            let folder = world.end(false).await;
            world = World::start_with(&folder, false).await;
        } else {
            configure(folder.path(), false);
            world.reload().await;
        }
        for (serial, hosts) in [(7, hosts(&[1, 4])), (8, hosts(&[1, 4, 5]))] {
            world.write_file(serial, &hosts);
            configure(folder.path(), true);
            world.reload().await;
            let served = text_of(&world.zone());
            assert_eq!(world.zone().serial(), serial);
            assert_eq!(served.len(), 3 + hosts.len(), "{served:?}");
            let folder = world.end(false).await;
            fs::write(folder.join("zone"), "this is no zone").unwrap();
            world = World::start(&folder).await;
            assert_eq!(text_of(&world.zone()), served, "the last good one, restarted: {restarts}");
            world.write_file(serial, &hosts);
            let folder = world.end(false).await;
            world = World::start(&folder).await;
            assert_eq!(text_of(&world.zone()), served);
        }
    }
}

#[tokio::test]
async fn a_change_names_what_it_was_decided_on_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write_file(folder.path(), 10, &BTreeSet::new());
    let world = World::start(folder.path()).await;
    let mut events = world.handle.zone_events();
    let change = |expected, apex: &str, number| ZoneChange {
        apex: name(apex),
        expected,
        author: "test".to_owned(),
        reason: String::new(),
        edit: Box::new(move |edit| {
            edit.add(host(number));
            Ok(())
        }),
    };
    let changed = world.handle.change_zone(change(Some(10), APEX, 1)).await.unwrap();
    assert_eq!((changed.serial, changed.changed), (11, true));
    assert_eq!(events.recv().await.unwrap().serial, 11);
    let again = world.handle.change_zone(change(None, APEX, 1)).await.unwrap();
    assert_eq!((again.serial, again.changed), (11, false));
    assert_eq!(world.handle.change_zone(change(Some(10), APEX, 2)).await, Err(ZoneError::Stale { serial: 11 }));
    assert_eq!(world.handle.change_zone(change(None, "www.example.org", 2)).await, Err(ZoneError::NoZone));
    let without_ns = world.change(|edit| edit.set(&name(APEX), Rtype::NS, None)).await;
    assert_eq!(without_ns, Err(ZoneError::NoLongerAZone { rtype: Rtype::NS }));
    assert!(events.try_recv().is_err());
}

#[test]
fn no_acknowledged_change_is_lost_to_kill_9() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(change_until_killed(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().unwrap();
    write_file(folder.path(), 10, &BTreeSet::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut least = 10;
    for acknowledgements in [1, 20, 3, 40] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "no_acknowledged_change_is_lost_to_kill_9", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let serials = lines.filter_map(|line| line.ok()?.strip_prefix("changed ")?.parse::<u32>().ok());
        let acknowledged = serials.take(acknowledgements).last().unwrap();
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        least = least.max(acknowledged);
        runtime.block_on(async {
            let world = World::start(folder.path()).await;
            let serial = world.zone().serial();
            assert!(serial >= least, "{acknowledged} was acknowledged, {serial} is served");
            assert_eq!(counters(&world.zone()), [serial, serial], "both of a change, or none");
            world.end(false).await;
        });
    }
}

async fn change_until_killed(folder: &Path) -> ! {
    let world = World::start(folder).await;
    loop {
        let serial = world.zone().serial() + 1;
        let changed = world.change(move |edit| {
            for owner in ["one", "two"] {
                let owner = name(&format!("{owner}.{APEX}"));
                let mut rdata = vec![4];
                rdata.extend(serial.to_be_bytes());
                edit.set(&owner, Rtype::TXT, None);
                edit.add(Record { owner, rtype: Rtype::TXT, ttl: Ttl::from_secs(60), rdata: rdata.into() });
            }
        });
        println!("changed {}", changed.await.unwrap().serial);
    }
}

fn counters(zone: &Zone) -> [u32; 2] {
    ["one", "two"].map(|owner| {
        let set = zone.rrset(&name(&format!("{owner}.{APEX}")), Rtype::TXT).unwrap();
        u32::from_be_bytes(set.rdatas[0][1..].try_into().unwrap())
    })
}
