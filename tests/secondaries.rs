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
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::name_servers::{
    self, NameServer, SOON, Secondary, TSIG, bind_secondary, edit, knot_secondary, nsd_secondary,
};
use support::ports::free_address;
use support::{DC1, EC2, HEAD, Server, folder, from_now, instant, now, pool};

/// Waits until `secondary` serves what `primary` serves, record by record.
#[track_caller]
fn wait_for_the_same(secondary: &NameServer, primary: &Server) {
    let logs = || format!("{}: {}\n{}", secondary.name, secondary.log(), primary.log());
    name_servers::wait_for_the_same("example.org", primary.dns[0], secondary.at, "", logs);
}

/// Starts one of [`KINDS`].
fn start(i: usize, at: SocketAddr, primary: SocketAddr) -> NameServer {
    let (name, _, configure) = KINDS[i];
    let mut secondary = NameServer::new(name, at);
    secondary.run(|folder| configure(folder, at, primary));
    secondary
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

const KINDS: [(&str, &str, Secondary); 3] = [
    ("NSD", "127.0.0.21", nsd_secondary),
    ("Knot", "127.0.0.22", knot_secondary),
    ("BIND", "127.0.0.1", bind_secondary),
];

/// A primary that listens there, with secondaries there.
fn config(primary: SocketAddr, places: [SocketAddr; 3], pools: &str) -> String {
    let targets = places.map(|at| format!("\"key:transfer-key@{at}\"")).join(", ");
    let zone_lines =
        format!("file = \"example.org.zone\"\nallow-transfer = [\"key:transfer-key\"]\nnotify = [{targets}]");
    let config =
        HEAD.replace("file = \"example.org.zone\"", &zone_lines).replacen("127.0.0.1:0", &primary.to_string(), 1);
    format!("{config}{TSIG}{pools}")
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
    let start = |i: usize| start(i, places[i], primary_at);
    let mut secondaries = [start(0), start(1), start(2)];
    for secondary in &secondaries {
        wait_for_the_same(secondary, &primary);
    }

    // 1,000 changes in 100 versions.
    for _ in 0..100 {
        random.change(10);
        fs::write(primary.file("example.org.zone"), random.text()).unwrap();
        primary.reload().done();
    }
    for secondary in &secondaries {
        wait_for_the_same(secondary, &primary);
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
        let at = secondary.at;
        secondary.run(|folder| kind.2(folder, at, primary_at));
    }
    random.change(5);
    fs::write(primary.file("example.org.zone"), random.text()).unwrap();
    primary.reload().done();
    for secondary in &secondaries {
        wait_for_the_same(secondary, &primary);
    }
}

/// Waits until each answers `www.example.org A` with one address and TTL.
#[track_caller]
fn wait_for_answers<'s>(
    secondaries: impl IntoIterator<Item = &'s NameServer>,
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
    let start = |i: usize| start(i, places[i], primary_at);
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
    secondaries[1].run(|folder| KINDS[1].2(folder, places[1], primary_at));
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
        let catalog = format!("[[zone]]\nname = \"catalog.invalid\"\ncatalog = true\n{notify}");
        format!("{}{TSIG}{catalog}{zones}", HEAD.replacen("127.0.0.1:0", &primary_at.to_string(), 1))
    };
    let primary = Server::start(&with(&["one.example", "two.example"]));
    let configure = |folder: &Path| {
        let member = "template:\n  - id: member\n    storage: STORAGE\n    master: other\n    acl: keyed\n";
        let mut command = knot_secondary(folder, place, primary_at);
        edit(folder, "knot.conf", |text| {
            let (before, _) = text.split_once("zone:\n").unwrap();
            let member = member.replace("STORAGE", &folder.display().to_string());
            let zone = member.replace("template:\n  - id: member", "zone:\n  - domain: catalog.invalid");
            format!("{before}{member}{zone}    catalog-role: interpret\n    catalog-template: member\n")
        });
        command.env("LC_ALL", "C");
        command
    };
    let mut secondary = NameServer::new("Knot", place);
    secondary.run(configure);
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
