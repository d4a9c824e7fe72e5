//! NSD, Knot DNS and BIND 9 as secondaries of Waypost, with TSIG all the way:
//! - each is told by NOTIFY and takes the zone by AXFR, then changes by IXFR;
//! - each ends with the same zone: after 1,000 random changes, and after both ends were killed and started again;
//! - its metrics tell which serial each has;
//! - in place of a pool each answers the endpoint with the largest share, a flip reaches them with a new serial, and the
//!   horizon counts them: as long as one was not seen, with its EXPIRE, also over a crash.
//! - Knot serves the zones that a catalog lists (RFC 9432), as they come and go.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::ports::free_address;
use support::{DC1, EC2, HEAD, Server, folder, from_now, instant, now, pool};
use tempfile::TempDir;

const SECRET: &str = "c2l4dGVlbiBvY3RldHMgYXQgbGVhc3QgZm9yIGEga2V5";
/// What a loaded machine may take for what comes at once.
const SOON: Duration = Duration::from_secs(30);

/// A secondary that runs in a folder of its own.
struct Secondary {
    name: &'static str,
    at: SocketAddr,
    folder: TempDir,
    process: Option<Child>,
}

/// Writes the configuration of one that listens at the first address and has its zone from the second; its command.
type Configure = fn(&Path, SocketAddr, SocketAddr) -> Command;

impl Secondary {
    fn start(name: &'static str, at: SocketAddr, primary: SocketAddr, configure: Configure) -> Self {
        let mut secondary = Self { name, at, folder: tempfile::tempdir().unwrap(), process: None };
        secondary.run(primary, configure);
        secondary
    }

    fn run(&mut self, primary: SocketAddr, configure: Configure) {
        let mut command = configure(self.folder.path(), self.at, primary);
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = command.spawn().unwrap_or_else(|e| panic!("{}: {e}; sh tests/setup.sh installs it", self.name));
        self.process = Some(started);
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Waits until it serves what `primary` serves, record by record.
    fn wait_for_the_same(&self, primary: &Server) {
        let begun = Instant::now();
        loop {
            let (ours, theirs) = (zone(primary.dns[0]), zone(self.at));
            if !ours.is_empty() && ours == theirs {
                return;
            }
            let differs: Vec<_> = ours.symmetric_difference(&theirs).take(6).collect();
            assert!(begun.elapsed() < SOON, "{}: {differs:?}\n{}\n{}", self.name, self.log(), primary.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it as a power failure would: the process that was started, and its children, which are its group.
    fn kill9(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id())).unwrap_or_default();
        let own = process.id().to_string();
        let all = children.split_whitespace().chain([own.as_str()]);
        _ = Command::new("kill").arg("-9").args(all).stderr(Stdio::null()).status();
        _ = process.wait();
    }
}

impl Drop for Secondary {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        _ = Command::new("kill").args(["-TERM", &process.id().to_string()]).status();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            if matches!(process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.process = Some(process);
        self.kill9();
    }
}

/// All records that `at` gives by AXFR, as dig prints them, in lower case: NSD keeps no letter case.
fn zone(at: SocketAddr) -> BTreeSet<String> {
    let key = format!("hmac-sha256:transfer-key:{SECRET}");
    let mut command = Command::new("dig");
    command.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string(), "-y", &key, "+time=5", "+tries=1"]);
    let output = command.args(["example.org", "AXFR", "+nocmd", "+nostats"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let records = text.lines().filter(|l| !l.starts_with(';') && !l.trim().is_empty() && !l.contains("\tTSIG\t"));
    records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()).collect()
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// The program `name`, which Debian puts where a user's PATH may not look.
fn program(name: &str) -> Command {
    let sbin = Path::new("/usr/sbin").join(name);
    Command::new(if sbin.exists() { sbin } else { name.into() })
}

fn nsd(folder: &Path, at: SocketAddr, primary: SocketAddr) -> Command {
    let (dir, ip, port) = (folder.display(), at.ip(), at.port());
    let text = format!(
        "server:\n ip-address: {ip}@{port}\n username: \"\"\n zonesdir: \"{dir}\"\n database: \"\"\n \
         pidfile: \"{dir}/nsd.pid\"\n xfrdfile: \"{dir}/xfrd.state\"\n zonelistfile: \"{dir}/zone.list\"\n \
         xfrdir: \"{dir}\"\n server-count: 1\n xfrd-reload-timeout: 0\n verbosity: 2\nremote-control:\n control-enable: no\n\
         key:\n name: transfer-key\n algorithm: hmac-sha256\n secret: \"{SECRET}\"\n\
         zone:\n name: example.org\n zonefile: example.org.zone\n outgoing-interface: {ip}\n \
         allow-notify: 127.0.0.0/8 transfer-key\n request-xfr: {}@{} transfer-key\n \
         provide-xfr: 127.0.0.0/8 transfer-key\n",
        primary.ip(),
        primary.port(),
    );
    let mut command = program("nsd");
    command.arg("-d").arg("-c").arg(write(folder, "nsd.conf", &text));
    command
}

fn knot(folder: &Path, at: SocketAddr, primary: SocketAddr) -> Command {
    let (dir, ip, port) = (folder.display(), at.ip(), at.port());
    let text = format!(
        "server:\n  listen: {ip}@{port}\n  rundir: {dir}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {dir}\n\
         key:\n  - id: transfer-key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
         remote:\n  - id: primary\n    address: {}@{}\n    via: {ip}\n    key: transfer-key\n\
         acl:\n  - id: keyed\n    key: transfer-key\n    action: [notify, transfer]\n\
         zone:\n  - domain: example.org\n    storage: {dir}\n    file: example.org.zone\n    master: primary\n    acl: keyed\n",
        primary.ip(),
        primary.port(),
    );
    let mut command = program("knotd");
    command.arg("-c").arg(write(folder, "knot.conf", &text));
    command
}

fn bind(folder: &Path, at: SocketAddr, primary: SocketAddr) -> Command {
    let (dir, ip, port) = (folder.display(), at.ip(), at.port());
    let text = format!(
        "options {{ directory \"{dir}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; pid-file none;\n \
         session-keyfile none; lock-file none; managed-keys-directory \"{dir}\"; recursion no; notify no;\n \
         dnssec-validation no; empty-zones-enable no; }};\ncontrols {{ }};\n\
         key \"transfer-key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         zone \"example.org\" {{ type secondary; file \"example.org.zone\";\n \
         primaries {{ {} port {} key transfer-key; }}; allow-notify {{ key transfer-key; }};\n \
         allow-transfer {{ key transfer-key; }}; }};\n",
        primary.ip(),
        primary.port(),
    );
    let mut command = program("named");
    command.arg("-g").arg("-n").arg("1").arg("-c").arg(write(folder, "named.conf", &text));
    command
}

/// A zone that changes at random.
struct Random {
    seed: u64,
    serial: u32,
    records: BTreeSet<String>,
}

impl Random {
    fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn change(&mut self, times: usize) {
        for _ in 0..times {
            let (host, n) = (self.draw(60), self.draw(200));
            let record = match self.draw(5) {
                0 => format!("Host{host} 300 A 192.0.2.{n}"),
                1 => format!("host{host} 300 AAAA 2001:db8::{n}"),
                2 => format!("a.b.Host{host} 600 TXT \"{n}\" \"semi;colon\""),
                3 => format!("host{host} 900 MX {n} Mail.Host{host}"),
                _ => format!("cut{host} 300 NS ns{n}.cut{host}"),
            };
            if !self.records.remove(&record) {
                self.records.insert(record);
            }
        }
        self.serial += 1;
    }

    fn text(&self) -> String {
        let serial = self.serial;
        let mut text = format!("$TTL 1h\n@ SOA ns1 hostmaster {serial} 1h 15m 4w 5m\n@ NS ns1\nns1 A 127.0.0.1\n");
        for record in &self.records {
            writeln!(text, "{record}").unwrap();
        }
        text
    }
}

const KINDS: [(&str, &str, Configure); 3] =
    [("NSD", "127.0.0.21", nsd), ("Knot", "127.0.0.22", knot), ("BIND", "127.0.0.1", bind)];

/// A primary that listens there, with secondaries there.
fn config(primary: SocketAddr, places: [SocketAddr; 3], pools: &str) -> String {
    let targets = places.map(|at| format!("\"key:transfer-key@{at}\"")).join(", ");
    let tsig = format!("[[tsig]]\nname = \"transfer-key\"\nsecret = \"{SECRET}\"\n");
    let zone_lines =
        format!("file = \"example.org.zone\"\nallow-transfer = [\"key:transfer-key\"]\nnotify = [{targets}]");
    let config =
        HEAD.replace("file = \"example.org.zone\"", &zone_lines).replacen("127.0.0.1:0", &primary.to_string(), 1);
    format!("{config}{tsig}{pools}")
}

#[test]
fn each_follows_and_ends_with_the_same_zone() {
    let primary_at = free_address([127, 0, 0, 1]);
    let places = KINDS.map(|(_, ip, _)| free_address(ip.parse::<IpAddr>().unwrap()));
    let folder = folder(&config(primary_at, places, ""));
    let mut random = Random { seed: 4, serial: 1, records: BTreeSet::new() };
    random.change(300);
    fs::write(folder.path().join("example.org.zone"), random.text()).unwrap();
    let mut primary = Server::start_in(folder);
    let start = |i: usize| Secondary::start(KINDS[i].0, places[i], primary_at, KINDS[i].2);
    let mut secondaries = [start(0), start(1), start(2)];
    for secondary in &secondaries {
        secondary.wait_for_the_same(&primary);
    }

    // 1,000 changes in 100 versions.
    for _ in 0..100 {
        random.change(10);
        fs::write(primary.file("example.org.zone"), random.text()).unwrap();
        primary.reload().done();
    }
    for secondary in &secondaries {
        secondary.wait_for_the_same(&primary);
        let client = format!("client={}:", secondary.at.ip());
        let took = |how: &str| primary.log().lines().any(|l| l.contains(how) && l.contains(&client));
        assert!(took("how=\"whole\""), "{}: {}", secondary.name, primary.log());
        assert!(took("how=\"changes\""), "{}: {}", secondary.name, primary.log());
        for metric in ["waypost_secondary_serial", "waypost_secondary_notified_serial"] {
            let (at, serial) = (secondary.at, random.serial);
            let line = format!("{metric}{{zone=\"example.org\",secondary=\"{at}\"}} {serial}\n");
            let told = |server: &Server| server.api("GET", "/metrics", Value::Null, &[]).text.contains(&line);
            primary.wait_for(&line, told);
        }
    }

    for (secondary, kind) in secondaries.iter_mut().zip(KINDS) {
        secondary.kill9();
        primary.kill9();
        random.change(5);
        fs::write(primary.file("example.org.zone"), random.text()).unwrap();
        primary.start_again();
        secondary.run(primary_at, kind.2);
    }
    random.change(5);
    fs::write(primary.file("example.org.zone"), random.text()).unwrap();
    primary.reload().done();
    for secondary in &secondaries {
        secondary.wait_for_the_same(&primary);
    }
}

/// Waits until each answers `www.example.org A` with one address and TTL.
#[track_caller]
fn wait_for_answers<'s>(
    secondaries: impl IntoIterator<Item = &'s Secondary>,
    address: &str,
    ttl: u64,
    primary: &Server,
) {
    for secondary in secondaries {
        let at = secondary.at;
        let begun = Instant::now();
        loop {
            let mut command = Command::new("dig");
            command.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string(), "+time=2", "+tries=1", "+norec"]);
            let output = command.args(["www.example.org", "A", "+noall", "+answer"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
            if lines.len() == 1 && lines[0][1..] == [&ttl.to_string(), "IN", "A", address] {
                break;
            }
            let (log, ours) = (secondary.log(), primary.log());
            assert!(begun.elapsed() < SOON, "{}: {text}, not {address} {ttl}\n{log}\n{ours}", secondary.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The horizon of the endpoint at `site`, and whether it can still grow.
fn horizon(server: &Server, site: &str) -> (u64, bool) {
    let pool = server.pool("www.example.org");
    let endpoint = pool["endpoints"].as_array().unwrap().iter().find(|e| e["site"] == site).unwrap().clone();
    let horizon = &endpoint["horizon"][0];
    (if horizon["at"].is_null() { 0 } else { instant(&horizon["at"]) }, horizon["at_least"].as_bool().unwrap())
}

#[test]
fn a_flip_reaches_them_and_the_horizon_counts_them() {
    const EXPIRE: u64 = 28 * 86_400;
    let primary_at = free_address([127, 0, 0, 1]);
    let places = KINDS.map(|(_, ip, _)| free_address(ip.parse::<IpAddr>().unwrap()));
    let ttl = "ttl = { normal = 100, low = 20 }";
    let mut primary = Server::start(&config(primary_at, places, &pool("www.example.org", 90, 10, ttl)));
    let start = |i: usize| Secondary::start(KINDS[i].0, places[i], primary_at, KINDS[i].2);
    let mut secondaries = [start(0), start(1), start(2)];
    wait_for_answers(&secondaries, EC2, 100, &primary);
    assert!(horizon(&primary, "ec2").1 && horizon(&primary, "dc1").1);
    primary.wait_for("all have the newest serial", |server| {
        let zone = &server.status()["zones"][0];
        let known = zone["secondaries"].as_array().unwrap();
        known.len() == 3 && known.iter().all(|s| s["serial"] == zone["serial"] && s["behind_since"].is_null())
    });

    // All follow: then it is as if they had been flipped when the last of them was.
    let serial = primary.status()["zones"][0]["serial"].as_u64().unwrap();
    let flip = primary.shift(&["www.example.org"], 100.0);
    let told = instant(&flip["pools"][0]["endpoints"][0]["horizon"]);
    assert!(told >= instant(&flip["at"]) + EXPIRE, "nobody was seen yet: {told}");
    let why = &flip["pools"][0]["endpoints"][0]["horizon_why"];
    assert_eq!((&why["by"], &why["expire_secs"]), (&json!("secondaries"), &json!(EXPIRE)), "{why}");
    wait_for_answers(&secondaries, DC1, 100, &primary);
    primary.wait_for("the horizon of ec2", |server| {
        let (at, at_least) = horizon(server, "ec2");
        !at_least && at < now() + 100 + 10
    });
    assert!(horizon(&primary, "ec2").0 > instant(&flip["at"]) + 100);
    assert!(primary.status()["zones"][0]["serial"].as_u64().unwrap() > serial);

    // One does not hear of the way back. A crash in between changes nothing.
    secondaries[1].kill9();
    let back = json!({"pools": ["www.example.org"], "from": "dc1", "to": "ec2", "percent": 100});
    let back = instant(&primary.flip(back).done()["at"]);
    let others = || [&secondaries[0], &secondaries[2]];
    wait_for_answers(others(), EC2, 100, &primary);
    primary.wait_for("the horizon of dc1", |server| !horizon(server, "dc1").1);
    assert!(horizon(&primary, "dc1").0 > back + EXPIRE);
    primary.kill9();
    primary.start_again();
    let (at, at_least) = horizon(&primary, "dc1");
    assert!(at > back + EXPIRE && !at_least, "{at} after {back}");
    primary.wait_for("who has not taken the serial", |server| {
        let why = server.pool("www.example.org")["endpoints"][1]["horizon"][0]["why"].clone();
        assert_eq!(why["by"], "secondaries", "{why}");
        why["waiting"] == json!([KINDS[1].1])
    });
    secondaries[1].run(primary_at, KINDS[1].2);
    wait_for_answers(&secondaries, EC2, 100, &primary);
    primary.wait_for("the horizon of dc1", |server| {
        let (at, at_least) = horizon(server, "dc1");
        !at_least && at < now() + 100 + 10
    });

    // REFRESH is an hour: what is to change within an hour and the TTL is given with the low one.
    let at = from_now(3600);
    primary.api("PUT", "/api/v1/pools/www.example.org/cutover", json!({ "at": at }), &[]).done();
    wait_for_answers(&secondaries, EC2, 20, &primary);
}

#[test]
fn a_catalog_brings_zones_and_takes_them_away() {
    let primary_at = free_address([127, 0, 0, 1]);
    let place = free_address([127, 0, 0, 24]);
    let notify = format!("allow-transfer = [\"key:transfer-key\"]\nnotify = [\"key:transfer-key@{place}\"]\n");
    let zone = |name: &str| format!("[[zone]]\nname = \"{name}\"\nfile = \"example.org.zone\"\n{notify}");
    let with = |zones: &[&str]| {
        let zones: String = zones.iter().map(|name| zone(name)).collect();
        let tsig = format!("[[tsig]]\nname = \"transfer-key\"\nsecret = \"{SECRET}\"\n");
        let catalog = format!("[[zone]]\nname = \"catalog.invalid\"\ncatalog = true\n{notify}");
        format!("{}{tsig}{catalog}{zones}", HEAD.replacen("127.0.0.1:0", &primary_at.to_string(), 1))
    };
    let primary = Server::start(&with(&["one.example", "two.example"]));
    let configure: Configure = |folder, at, primary| {
        let member = "template:\n  - id: member\n    storage: STORAGE\n    master: primary\n    acl: keyed\n";
        let mut command = knot(folder, at, primary);
        let file = folder.join("knot.conf");
        let text = fs::read_to_string(&file).unwrap();
        let (before, _) = text.split_once("zone:\n").unwrap();
        let member = member.replace("STORAGE", &folder.display().to_string());
        let zone = member.replace("template:\n  - id: member", "zone:\n  - domain: catalog.invalid");
        fs::write(&file, format!("{before}{member}{zone}    catalog-role: interpret\n    catalog-template: member\n"))
            .unwrap();
        command.env("LC_ALL", "C");
        command
    };
    let secondary = Secondary::start("Knot", place, primary_at, configure);
    let serves = |name: &str| {
        let mut command = Command::new("dig");
        command.arg(format!("@{}", place.ip())).args([
            "-p",
            &place.port().to_string(),
            "+time=2",
            "+tries=1",
            "+norec",
        ]);
        let output = command.args([&format!("plain.{name}"), "A", "+short"]).output().unwrap();
        output.stdout == b"192.0.2.7\n"
    };
    let wait_for = |zones: [(&str, bool); 3]| {
        let begun = Instant::now();
        while !zones.iter().all(|(name, served)| serves(name) == *served) {
            assert!(begun.elapsed() < SOON, "{zones:?}\n{}\n{}", secondary.log(), primary.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for([("one.example", true), ("two.example", true), ("three.example", false)]);
    primary.configure(&with(&["two.example", "three.example"]));
    primary.reload().done();
    wait_for([("one.example", false), ("two.example", true), ("three.example", true)]);
}
