//! Waypost as a secondary of NSD, Knot DNS and BIND 9, with TSIG all the way:
//! - it takes their zones, follows each change when it is told, and gives them on;
//! - killed, and with the primaries gone, it serves at once what it had, pools over it among that;
//! - once EXPIRE has passed it answers SERVFAIL and says why, but for what pools steer;
//! - NOTIFY from others is refused.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use serde_json::Value;
use support::name_servers::{
    self, NameServer, SOON, TSIG, bind_primary, dig, knot_primary, nsd_primary, write as write_file, zone,
};
use support::ports::free_address;
use support::{Server, folder, pool};

/// A primary and its zone.
struct Primary {
    server: NameServer,
    zone: &'static str,
}

impl Primary {
    fn start(
        name: &'static str,
        zone: &'static str,
        ip: &str,
        secondary: SocketAddr,
        configure: name_servers::Primary,
    ) -> Self {
        let at = free_address(ip.parse::<IpAddr>().unwrap());
        let mut primary = Self { server: NameServer::new(name, at), zone };
        primary.write(1, "");
        primary.server.run(|folder| configure(folder, zone, at, secondary));
        primary
    }

    /// Writes its zone's file; EXPIRE is an hour, so that the zone outlives the test.
    fn write(&self, serial: u32, more: &str) {
        let text = format!(
            "$TTL 1h\n@ SOA ns1 hostmaster {serial} 1h 1h 1h 5m\n@ NS ns1\nns1 A 127.0.0.1\nWww A 192.0.2.99\n\
             www TXT \"a b\" \"c\"\nmx MX 5 www\n_x._tcp SRV 1 2 3 www\nplain A 192.0.2.{serial}\n{more}"
        );
        write_file(self.server.folder.path(), "zone", &text);
    }

    /// Changes the zone, and makes it read that.
    fn change(&self, serial: u32, more: &str) {
        self.write(serial, more);
        self.server.reload();
    }

    /// Waits until `secondary` gives what it gives, record by record, `holding` among it.
    #[track_caller]
    fn wait_for_the_same(&self, secondary: &Server, holding: &str) {
        let logs = || format!("{}: {}\n{}", self.server.name, self.server.log(), secondary.log());
        name_servers::wait_for_the_same(self.zone, self.server.at, secondary.dns[0], holding, logs);
    }
}

#[test]
fn it_follows_each_kind_of_primary_and_outlives_them() {
    let own = free_address([127, 0, 0, 1]);
    let mut primaries = [
        Primary::start("NSD", "nsd.example", "127.0.0.31", own, nsd_primary),
        Primary::start("Knot", "knot.example", "127.0.0.32", own, knot_primary),
        Primary::start("BIND", "bind.example", "127.0.0.1", own, bind_primary),
    ];
    let mut config = format!(
        "[server]\nname = \"ns2\"\nlisten = [\"{own}\"]\nworkers = 1\nstate = \"state\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
         {TSIG}[[site]]\nname = \"ec2\"\n[[site]]\nname = \"dc1\"\n"
    );
    for Primary { zone, server } in &primaries {
        let at = server.at;
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
    for primary in &mut primaries {
        primary.server.kill9();
    }
    secondary.start_again();
    for (primary, before) in primaries.iter().zip(&before) {
        assert_eq!(zone(primary.zone, secondary.dns[0]), *before, "{}", primary.server.name);
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
    let head = |listen: &str, zone: &str| {
        format!(
            "[server]\nlisten = [\"{listen}\"]\nworkers = 1\nstate = \"state\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
             [[site]]\nname = \"ec2\"\n[[site]]\nname = \"dc1\"\n{TSIG}[[zone]]\nname = \"example.org\"\n{zone}\n"
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
            "{TSIG}[[zone]]\nname = \"follows.example\"\n\
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
