//! NSD, Knot DNS and BIND 9 as secondaries of Waypost, with TSIG all the way:
//! - each is told by NOTIFY and takes the zone by AXFR, then changes by IXFR;
//! - each ends with the same zone: after 1,000 random changes, and after both ends were killed and started again;
//! - its metrics tell which serial each has.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::ports::free_address;
use support::{HEAD, Server, folder};
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

#[test]
fn each_follows_and_ends_with_the_same_zone() {
    let primary_at = free_address([127, 0, 0, 1]);
    let kinds: [(&str, &str, Configure); 3] =
        [("NSD", "127.0.0.21", nsd), ("Knot", "127.0.0.22", knot), ("BIND", "127.0.0.1", bind)];
    let places = kinds.map(|(_, ip, _)| free_address(ip.parse::<IpAddr>().unwrap()));
    let targets = places.map(|at| format!("\"key:transfer-key@{at}\"")).join(", ");
    let tsig = format!("[[tsig]]\nname = \"transfer-key\"\nsecret = \"{SECRET}\"\n");
    let zone_lines =
        format!("file = \"example.org.zone\"\nallow-transfer = [\"key:transfer-key\"]\nnotify = [{targets}]");
    let config =
        HEAD.replace("file = \"example.org.zone\"", &zone_lines).replacen("127.0.0.1:0", &primary_at.to_string(), 1);
    let folder = folder(&format!("{config}{tsig}"));
    let mut random = Random { seed: 4, serial: 1, records: BTreeSet::new() };
    random.change(300);
    fs::write(folder.path().join("example.org.zone"), random.text()).unwrap();
    let mut primary = Server::start_in(folder);
    let start = |i: usize| Secondary::start(kinds[i].0, places[i], primary_at, kinds[i].2);
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

    for (secondary, kind) in secondaries.iter_mut().zip(kinds) {
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
