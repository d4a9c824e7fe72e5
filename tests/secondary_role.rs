//! Waypost as a secondary of NSD, Knot DNS and BIND 9, with TSIG all the way:
//! - it takes their zones, follows each change when it is told, and gives them on;
//! - killed, and with the primaries gone, it serves at once what it had, pools over it among that;
//! - once EXPIRE has passed it answers SERVFAIL and says why, but for what pools steer;
//! - NOTIFY from others is refused.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::ports::free_address;
use support::{Server, folder, pool};
use tempfile::TempDir;

const SECRET: &str = "c2l4dGVlbiBvY3RldHMgYXQgbGVhc3QgZm9yIGEga2V5";
/// What a loaded machine may take for what comes at once.
const SOON: Duration = Duration::from_secs(30);

/// A primary that runs in a folder of its own.
struct Primary {
    name: &'static str,
    zone: &'static str,
    at: SocketAddr,
    folder: TempDir,
    process: Option<Child>,
}

/// Writes the configuration of one that listens at the first address, serves the zone and tells the second; its command.
type Configure = fn(&Path, &str, SocketAddr, SocketAddr) -> Command;

impl Primary {
    fn start(name: &'static str, zone: &'static str, ip: &str, secondary: SocketAddr, configure: Configure) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut primary = Self { name, zone, at: free_address(ip.parse::<IpAddr>().unwrap()), folder, process: None };
        primary.write(1, "");
        let mut command = configure(primary.folder.path(), zone, primary.at, secondary);
        let log = fs::File::create(primary.folder.path().join("log")).unwrap();
        command.current_dir(primary.folder.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}; sh tests/setup.sh installs it"));
        primary.process = Some(started);
        primary
    }

    /// Writes its zone's file; EXPIRE is an hour, so that the zone outlives the test.
    fn write(&self, serial: u32, more: &str) {
        let text = format!(
            "$TTL 1h\n@ SOA ns1 hostmaster {serial} 1h 1h 1h 5m\n@ NS ns1\nns1 A 127.0.0.1\nWww A 192.0.2.99\n\
             www TXT \"a b\" \"c\"\nmx MX 5 www\n_x._tcp SRV 1 2 3 www\nplain A 192.0.2.{serial}\n{more}"
        );
        fs::write(self.folder.path().join("zone"), text).unwrap();
    }

    /// Changes the zone, and makes it read that.
    fn change(&self, serial: u32, more: &str) {
        self.write(serial, more);
        kill_process(Pid::from_child(self.process.as_ref().unwrap()), Signal::HUP).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until `secondary` gives what it gives, record by record, `holding` among it.
    fn wait_for_the_same(&self, secondary: &Server, holding: &str) {
        let begun = Instant::now();
        loop {
            let (theirs, ours) = (zone(self.zone, self.at), zone(self.zone, secondary.dns[0]));
            if theirs == ours && theirs.iter().any(|line| line.contains(holding)) {
                return;
            }
            let differs: Vec<_> = theirs.symmetric_difference(&ours).take(6).collect();
            let (name, log) = (self.name, self.log());
            assert!(begun.elapsed() < SOON, "{name}: {differs:?}\n{log}\n{}", secondary.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn kill9(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.id())).unwrap_or_default();
        let own = process.id().to_string();
        let all = children.split_whitespace().chain([own.as_str()]);
        _ = Command::new("kill").arg("-9").args(all).stderr(Stdio::null()).status();
        _ = process.wait();
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// All records that `at` gives by AXFR, as dig prints them, in lower case: NSD keeps no letter case.
fn zone(name: &str, at: SocketAddr) -> BTreeSet<String> {
    let key = format!("hmac-sha256:transfer-key:{SECRET}");
    let text = dig(at, &["-y", &key, name, "AXFR"]);
    let records = text.lines().filter(|l| !l.starts_with(';') && !l.trim().is_empty() && !l.contains("\tTSIG\t"));
    records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()).collect()
}

fn dig(at: SocketAddr, more: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string(), "+time=5", "+tries=1", "+nostats"]);
    let output = command.args(more).arg("+nocmd").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
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

fn nsd(folder: &Path, zone: &str, at: SocketAddr, secondary: SocketAddr) -> Command {
    let (dir, ip, port) = (folder.display(), at.ip(), at.port());
    let text = format!(
        "server:\n ip-address: {ip}@{port}\n username: \"\"\n zonesdir: \"{dir}\"\n database: \"\"\n \
         pidfile: \"{dir}/nsd.pid\"\n xfrdfile: \"{dir}/xfrd.state\"\n zonelistfile: \"{dir}/zone.list\"\n \
         xfrdir: \"{dir}\"\n server-count: 1\n xfrd-reload-timeout: 0\n verbosity: 2\nremote-control:\n control-enable: no\n\
         key:\n name: transfer-key\n algorithm: hmac-sha256\n secret: \"{SECRET}\"\n\
         zone:\n name: {zone}\n zonefile: zone\n outgoing-interface: {ip}\n notify: {}@{} transfer-key\n \
         provide-xfr: 127.0.0.0/8 transfer-key\n",
        secondary.ip(),
        secondary.port(),
    );
    let mut command = program("nsd");
    command.arg("-d").arg("-c").arg(write(folder, "nsd.conf", &text));
    command
}

fn knot(folder: &Path, zone: &str, at: SocketAddr, secondary: SocketAddr) -> Command {
    let (dir, ip, port) = (folder.display(), at.ip(), at.port());
    let text = format!(
        "server:\n  listen: {ip}@{port}\n  rundir: {dir}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: {dir}\n\
         key:\n  - id: transfer-key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
         remote:\n  - id: secondary\n    address: {}@{}\n    via: {ip}\n    key: transfer-key\n\
         acl:\n  - id: keyed\n    key: transfer-key\n    action: transfer\n\
         zone:\n  - domain: {zone}\n    storage: {dir}\n    file: zone\n    notify: secondary\n    acl: keyed\n    \
         zonefile-load: difference\n    journal-content: changes\n",
        secondary.ip(),
        secondary.port(),
    );
    let mut command = program("knotd");
    command.arg("-c").arg(write(folder, "knot.conf", &text));
    command
}

fn bind(folder: &Path, zone: &str, at: SocketAddr, secondary: SocketAddr) -> Command {
    let (dir, ip, port) = (folder.display(), at.ip(), at.port());
    let text = format!(
        "options {{ directory \"{dir}\"; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; pid-file none;\n \
         session-keyfile none; lock-file none; managed-keys-directory \"{dir}\"; recursion no; notify explicit;\n \
         notify-source {ip}; notify-delay 0; ixfr-from-differences yes; dnssec-validation no; empty-zones-enable no; }};\n\
         controls {{ }};\nkey \"transfer-key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         zone \"{zone}\" {{ type primary; file \"zone\"; also-notify {{ {} port {} key transfer-key; }};\n \
         allow-transfer {{ key transfer-key; }}; }};\n",
        secondary.ip(),
        secondary.port(),
    );
    let mut command = program("named");
    command.arg("-g").arg("-n").arg("1").arg("-c").arg(write(folder, "named.conf", &text));
    command
}

#[test]
fn it_follows_each_kind_of_primary_and_outlives_them() {
    let own = free_address([127, 0, 0, 1]);
    let mut primaries = [
        Primary::start("NSD", "nsd.example", "127.0.0.31", own, nsd),
        Primary::start("Knot", "knot.example", "127.0.0.32", own, knot),
        Primary::start("BIND", "bind.example", "127.0.0.1", own, bind),
    ];
    let mut config = format!(
        "[server]\nname = \"ns2\"\nlisten = [\"{own}\"]\nworkers = 1\nstate = \"state\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
         [[tsig]]\nname = \"transfer-key\"\nsecret = \"{SECRET}\"\n[[site]]\nname = \"ec2\"\n[[site]]\nname = \"dc1\"\n"
    );
    for Primary { zone, at, .. } in &primaries {
        write!(
            config,
            "[[zone]]\nname = \"{zone}\"\nprimary = [\"key:transfer-key@{at}\"]\nallow-transfer = [\"key:transfer-key\"]\n"
        )
        .unwrap();
    }
    config += &pool("www.knot.example", 100, 0, "");
    let mut secondary = Server::start_in(folder(&config));
    for primary in &primaries {
        primary.wait_for_the_same(&secondary, " 192.0.2.1");
    }
    for (serial, more) in [(2, "new A 192.0.2.200\n"), (3, "new.deep TXT here\n")] {
        for primary in &primaries {
            primary.change(serial, more);
        }
        for primary in &primaries {
            primary.wait_for_the_same(&secondary, &format!("{serial} 3600 3600 3600 300"));
        }
    }
    let log = secondary.log();
    for zone in ["knot.example", "bind.example"] {
        let by_ixfr = log.lines().any(|l| l.contains("transferred by IXFR") && l.contains(zone));
        assert!(by_ixfr, "{log}");
    }
    let www = |server: &Server| dig(server.dns[0], &["+short", "www.knot.example", "A"]);
    assert_eq!(www(&secondary), "192.0.2.11\n", "the pool lies over it");
    let status = secondary.api("GET", "/api/v1/status", Value::Null, &[]).done();
    assert!(status["zones"][0]["expires_at"].is_string(), "{status}");

    // All is gone, and the primaries stay so: what was held is served at once.
    let before: Vec<_> = primaries.iter().map(|p| zone(p.zone, secondary.dns[0])).collect();
    secondary.kill9();
    primaries.iter_mut().for_each(Primary::kill9);
    secondary.start_again();
    for (primary, before) in primaries.iter().zip(&before) {
        assert_eq!(zone(primary.zone, secondary.dns[0]), *before, "{}", primary.name);
    }
    assert_eq!(www(&secondary), "192.0.2.11\n");
    secondary.wait_for("the primary is missed", |server| {
        let status = server.api("GET", "/api/v1/status", Value::Null, &[]).done();
        status["zones"][2]["problem"].is_string() && status["zones"][2]["state"] == "current"
    });
}

#[test]
fn what_has_expired_is_not_answered_but_for_pools() {
    let (own, theirs) = (free_address([127, 0, 0, 1]), free_address([127, 0, 0, 1]));
    let key = format!("[[tsig]]\nname = \"transfer-key\"\nsecret = \"{SECRET}\"\n");
    let head = |listen: &str, zone: &str| {
        format!(
            "[server]\nlisten = [\"{listen}\"]\nworkers = 1\nstate = \"state\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
             [[site]]\nname = \"ec2\"\n[[site]]\nname = \"dc1\"\n{key}[[zone]]\nname = \"example.org\"\n{zone}\n"
        )
    };
    let rights = "allow-transfer = [\"key:transfer-key\"]";
    let folder_of_primary =
        folder(&head(&theirs.to_string(), &format!("file = \"example.org.zone\"\n{rights}\nnotify = [\"{own}\"]")));
    let short = support::ZONE.replace("1h 15m 4w 5m", "1h 1s 3s 5m");
    fs::write(folder_of_primary.path().join("example.org.zone"), short).unwrap();
    let mut primary = Server::start_in(folder_of_primary);
    let from = format!("primary = [\"key:transfer-key@{theirs}\"]");
    let config = head(&own.to_string(), &from) + &pool("www.example.org", 100, 0, "");
    let secondary = Server::start_in(folder(&config));
    let plain = |server: &Server| dig(server.dns[0], &["plain.example.org", "A"]);
    secondary.wait_for("it has the zone", |server| plain(server).contains("192.0.2.7"));
    secondary.wait_for("it has expired, as REFRESH is longer", |server| plain(server).contains("EDE: 24"));
    let answer = plain(&secondary);
    assert!(answer.contains("SERVFAIL") && !answer.contains("192.0.2.7"), "{answer}");
    assert_eq!(dig(secondary.dns[0], &["+short", "www.example.org", "A"]), "192.0.2.11\n", "a pool is never empty");
    assert!(dig(secondary.dns[0], &["www.example.org", "TXT"]).contains("SERVFAIL"));
    let explained = secondary.get("/api/v1/explain?name=www.example.org&client=127.0.0.1")["steps"].to_string();
    assert!(explained.contains("the zone example.org has expired: SERVFAIL, but for what pools steer"), "{explained}");

    // NOTIFY brings it back: from who may.
    primary.kill9();
    primary.start_again();
    secondary.wait_for("it has come back", |server| plain(server).contains("192.0.2.7"));
}

#[test]
fn a_notify_from_others_is_refused() {
    let nobody = free_address([127, 0, 0, 77]);
    let config = support::HEAD.to_owned()
        + &format!(
            "[[tsig]]\nname = \"transfer-key\"\nsecret = \"{SECRET}\"\n[[zone]]\nname = \"follows.example\"\n\
             primary = [\"{nobody}\"]\nallow-notify = [\"127.0.0.78\", \"!127.0.0.0/8\", \"key:transfer-key\"]\n"
        );
    let server = Server::start(&config);
    let ask = |from: &str, apex: &str| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut message = b"\x12\x34\x24\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in apex.split('.') {
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
        }
        message.extend_from_slice(b"\0\0\x06\0\x01");
        socket.send_to(&message, server.dns[0]).unwrap();
        let mut answer = [0; 512];
        let octets = socket.recv(&mut answer).unwrap();
        assert_eq!((octets, &answer[..2], answer[2] & 0xf8), (message.len(), &message[..2], 0xa0));
        answer[3] & 0x0f
    };
    for (from, apex, rcode) in [
        ("127.0.0.77", "follows.example", 0),
        ("127.0.0.78", "Follows.example", 0),
        ("127.0.0.79", "follows.example", 5),
        ("127.0.0.77", "example.org", 5),
        ("127.0.0.77", "elsewhere.example", 9),
    ] {
        assert_eq!(ask(from, apex), rcode, "{from} {apex}");
    }
    let answer = dig(server.dns[0], &["follows.example", "SOA"]);
    assert!(answer.contains("SERVFAIL") && answer.contains("EDE: 14"), "{answer}");
}
