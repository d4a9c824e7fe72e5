//! NSD, Knot DNS and BIND 9 as secondaries and primaries, each in a folder of its own and ended with its test; and what dig sees of
//! a zone. All sign with one key.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Of the key `transfer-key`.
pub const SECRET: &str = "c2l4dGVlbiBvY3RldHMgYXQgbGVhc3QgZm9yIGEga2V5";
/// The same, as Waypost is told of it.
pub const TSIG: &str = "[[tsig]]\nname = \"transfer-key\"\nsecret = \"c2l4dGVlbiBvY3RldHMgYXQgbGVhc3QgZm9yIGEga2V5\"\n";
/// The same, as dig and kdig are told of it.
pub const KEY: &str = "hmac-sha256:transfer-key:c2l4dGVlbiBvY3RldHMgYXQgbGVhc3QgZm9yIGEga2V5";
/// What a loaded machine may take for what comes at once.
pub const SOON: Duration = Duration::from_secs(30);

/// A name server that runs in a folder of its own.
pub struct NameServer {
    /// Whose program it is.
    pub name: &'static str,
    /// Where it listens.
    pub at: SocketAddr,
    /// Its folder.
    pub folder: TempDir,
    process: Option<Child>,
}

impl NameServer {
    /// One that does not run yet.
    pub fn new(name: &'static str, at: SocketAddr) -> Self {
        Self { name, at, folder: tempfile::tempdir().unwrap(), process: None }
    }

    /// Runs the command that `configure` makes for its folder.
    pub fn run(&mut self, configure: impl FnOnce(&Path) -> Command) {
        let mut command = configure(self.folder.path());
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = command.spawn().unwrap_or_else(|e| panic!("{}: {e}; sh tests/setup.sh installs it", self.name));
        self.process = Some(started);
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Makes it read its zones again.
    pub fn reload(&self) {
        kill_process(Pid::from_child(self.process.as_ref().unwrap()), Signal::HUP).unwrap();
    }

    /// Ends it as a power failure would: the process that was started, and its children, which are its group.
    pub fn kill9(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id())).unwrap_or_default();
        let own = process.id().to_string();
        let all = children.split_whitespace().chain([own.as_str()]);
        _ = Command::new("kill").arg("-9").args(all).stderr(Stdio::null()).status();
        _ = process.wait();
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        _ = kill_process(Pid::from_child(&process), Signal::TERM);
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

/// What dig prints of an answer.
pub fn dig(at: SocketAddr, more: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string(), "+time=5", "+tries=1", "+nostats"]);
    let output = command.args(more).arg("+nocmd").output().expect("dig can be run: sh tests/setup.sh installs it");
    String::from_utf8(output.stdout).unwrap()
}

/// The records among what dig or kdig prints, white space made one, TSIG left out.
pub fn records(text: &str) -> Vec<String> {
    let records = text.lines().filter(|l| !l.starts_with(';') && !l.trim().is_empty());
    let records = records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    records.filter(|record| !record.contains(" TSIG ")).collect()
}

/// All records that `at` gives by AXFR, as dig prints them, in lower case: NSD keeps no letter case.
pub fn zone(name: &str, at: SocketAddr) -> BTreeSet<String> {
    records(&dig(at, &["-y", KEY, name, "AXFR"])).into_iter().map(|record| record.to_lowercase()).collect()
}

/// Waits until both give the same zone, record by record, `holding` among it.
#[track_caller]
pub fn wait_for_the_same(name: &str, ours: SocketAddr, theirs: SocketAddr, holding: &str, logs: impl Fn() -> String) {
    let begun = Instant::now();
    loop {
        let (ours, theirs) = (zone(name, ours), zone(name, theirs));
        if ours == theirs && ours.iter().any(|line| line.contains(holding)) {
            return;
        }
        let differs: Vec<_> = ours.symmetric_difference(&theirs).take(6).collect();
        assert!(begun.elapsed() < SOON, "{name}: {differs:?}\n{}", logs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A file of `folder` with this text.
pub fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Changes a file that was written.
pub fn edit(folder: &Path, name: &str, change: impl FnOnce(String) -> String) {
    let path = folder.join(name);
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
}

/// The program `name`, which Debian puts where a user's PATH may not look.
pub fn program(name: &str) -> Command {
    let sbin = Path::new("/usr/sbin").join(name);
    Command::new(if sbin.exists() { sbin } else { name.into() })
}

/// NSD at `at`; `zone` are the lines of its zone that say what it does. Its configuration is `nsd.conf`.
fn nsd(folder: &Path, at: SocketAddr, zone: &str) -> Command {
    let (dir, ip, port) = (folder.display(), at.ip(), at.port());
    let text = format!(
        "server:\n ip-address: {ip}@{port}\n username: \"\"\n zonesdir: \"{dir}\"\n database: \"\"\n \
         pidfile: \"{dir}/nsd.pid\"\n xfrdfile: \"{dir}/xfrd.state\"\n zonelistfile: \"{dir}/zone.list\"\n \
         xfrdir: \"{dir}\"\n server-count: 1\n xfrd-reload-timeout: 0\n verbosity: 2\nremote-control:\n control-enable: no\n\
         key:\n name: transfer-key\n algorithm: hmac-sha256\n secret: \"{SECRET}\"\n\
         zone:\n outgoing-interface: {ip}\n provide-xfr: 127.0.0.0/8 transfer-key\n{zone}"
    );
    let mut command = program("nsd");
    command.arg("-d").arg("-c").arg(write(folder, "nsd.conf", &text));
    command
}

/// Knot DNS at `at`, with a remote `other` there. Its configuration is `knot.conf`.
fn knot(folder: &Path, at: SocketAddr, other: SocketAddr, action: &str, zone: &str) -> Command {
    let (dir, ip, port) = (folder.display(), at.ip(), at.port());
    let text = format!(
        "server:\n  listen: {ip}@{port}\n  rundir: {dir}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {dir}\n\
         key:\n  - id: transfer-key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
         remote:\n  - id: other\n    address: {}@{}\n    via: {ip}\n    key: transfer-key\n\
         acl:\n  - id: keyed\n    key: transfer-key\n    action: {action}\nzone:\n{zone}    storage: {dir}\n    acl: keyed\n",
        other.ip(),
        other.port(),
    );
    let mut command = program("knotd");
    command.arg("-c").arg(write(folder, "knot.conf", &text));
    command
}

/// BIND 9 at `at`. Its configuration is `named.conf`.
fn bind(folder: &Path, at: SocketAddr, options: &str, zone: &str) -> Command {
    let (dir, ip, port) = (folder.display(), at.ip(), at.port());
    let text = format!(
        "options {{ directory \"{dir}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; pid-file none;\n \
         session-keyfile none; lock-file none; managed-keys-directory \"{dir}\"; recursion no;\n \
         dnssec-validation no; empty-zones-enable no; {options} }};\ncontrols {{ }};\n\
         key \"transfer-key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n{zone}"
    );
    let mut command = program("named");
    command.arg("-g").arg("-n").arg("1").arg("-c").arg(write(folder, "named.conf", &text));
    command
}

/// Writes the configuration of one that listens at the first address and has the zone example.org from the second; its command.
pub type Secondary = fn(&Path, SocketAddr, SocketAddr) -> Command;

/// NSD as a secondary.
pub fn nsd_secondary(folder: &Path, at: SocketAddr, primary: SocketAddr) -> Command {
    let (ip, port) = (primary.ip(), primary.port());
    let zone = format!(
        " name: example.org\n zonefile: example.org.zone\n allow-notify: 127.0.0.0/8 transfer-key\n \
         request-xfr: {ip}@{port} transfer-key\n"
    );
    nsd(folder, at, &zone)
}

/// Knot DNS as a secondary.
pub fn knot_secondary(folder: &Path, at: SocketAddr, primary: SocketAddr) -> Command {
    let zone = "  - domain: example.org\n    file: example.org.zone\n    master: other\n";
    knot(folder, at, primary, "[notify, transfer]", zone)
}

/// BIND 9 as a secondary.
pub fn bind_secondary(folder: &Path, at: SocketAddr, primary: SocketAddr) -> Command {
    let (ip, port) = (primary.ip(), primary.port());
    let zone = format!(
        "zone \"example.org\" {{ type secondary; file \"example.org.zone\";\n \
         primaries {{ {ip} port {port} key transfer-key; }}; allow-notify {{ key transfer-key; }};\n \
         allow-transfer {{ key transfer-key; }}; }};\n"
    );
    bind(folder, at, "notify no;", &zone)
}

/// Writes the configuration of one that listens at the first address, serves the zone from its file `zone` and tells the second
/// address; its command.
pub type Primary = fn(&Path, &str, SocketAddr, SocketAddr) -> Command;

/// NSD as a primary.
pub fn nsd_primary(folder: &Path, name: &str, at: SocketAddr, secondary: SocketAddr) -> Command {
    let (ip, port) = (secondary.ip(), secondary.port());
    nsd(folder, at, &format!(" name: {name}\n zonefile: zone\n notify: {ip}@{port} transfer-key\n"))
}

/// Knot DNS as a primary.
pub fn knot_primary(folder: &Path, name: &str, at: SocketAddr, secondary: SocketAddr) -> Command {
    let zone = format!(
        "  - domain: {name}\n    file: zone\n    notify: other\n    zonefile-load: difference\n    journal-content: changes\n"
    );
    knot(folder, at, secondary, "transfer", &zone)
}

/// BIND 9 as a primary.
pub fn bind_primary(folder: &Path, name: &str, at: SocketAddr, secondary: SocketAddr) -> Command {
    let (ip, port) = (secondary.ip(), secondary.port());
    let options = format!("notify explicit; notify-source {}; notify-delay 0; ixfr-from-differences yes;", at.ip());
    let zone = format!(
        "zone \"{name}\" {{ type primary; file \"zone\"; also-notify {{ {ip} port {port} key transfer-key; }};\n \
         allow-transfer {{ key transfer-key; }}; }};\n"
    );
    bind(folder, at, &options, &zone)
}
