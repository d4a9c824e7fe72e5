//! Zone transfers over TLS (RFC 9103) and QUIC (RFC 9250), with TSIG, as real programs have them:
//! - dig and kdig are given the whole zone in many messages, and what has changed since a serial; signed queries are answered signed;
//! - BIND 9 and NSD follow as secondaries, by NOTIFY and IXFR;
//! - Waypost follows Waypost and BIND, and does not take a zone from who is not the primary;
//! - a transfer stands beside queries on one connection and waits for its reader; TLS 1.2, TLS without ALPN and, where
//!   `transfer-tls` says so, TCP get none;
//! - signed UPDATE and NOTIFY are taken over TLS.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::name_servers::{
    self, KEY, NameServer, SECRET, Secondary, TSIG, bind_primary, bind_secondary, dig, edit, nsd_secondary, records,
    write,
};
use support::ports::free_address;
use support::tls::{Encrypted, NAME, message};
use support::{HEAD, Server, ZONE, folder};
use tempfile::TempDir;
use waypost::dns::rdata::base64;
use waypost::dns::tsig::{Algorithm, Key};
use waypost::time::Timestamp;

const SOA: u16 = 6;
const AXFR: u16 = 252;
const NOTIFY: u8 = 4;
const UPDATE: u8 = 5;

/// A folder of a server with the zone of [`ZONE`] and what `more` adds to it, for which `lines` hold.
fn primary(encrypted: &Encrypted, at: SocketAddr, lines: &str, more: &str) -> TempDir {
    let server = format!("state = \"state\"\n{}", encrypted.config());
    let config = HEAD.replacen("state = \"state\"", &server, 1).replacen("127.0.0.1:0", &at.to_string(), 1).replacen(
        "file = \"example.org.zone\"",
        &format!("file = \"example.org.zone\"\n{lines}"),
        1,
    );
    let folder = folder(&format!("{config}{TSIG}"));
    fs::write(folder.path().join("example.org.zone"), format!("{ZONE}{more}")).unwrap();
    folder
}

/// Two records for each of so many hosts: 8,000 fill 21 messages.
fn many(hosts: usize) -> String {
    let mut more = String::new();
    for i in 0..hosts {
        writeln!(more, "Host{i} 300 A 192.0.2.{}\nHost{i} 300 TXT \"{i} of many\"", i % 200).unwrap();
    }
    more
}

/// The zone's file with another serial and one more record.
fn change(server: &Server, serial: u32) {
    edit(server.path(), "example.org.zone", |text| {
        text.replacen(&format!(" {} ", serial - 1), &format!(" {serial} "), 1)
            + &format!("new{serial} TXT \"{serial}\"\n")
    });
    server.reload().done();
}

/// What `program`, dig or kdig, prints.
fn ask(program: &str, at: SocketAddr, trust: &[String], arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string()]).args(trust);
    let output = command.args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}; see tests/setup.sh"));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The zone, changed once, as `program` is given it when it asks `way` at `place`.
fn the_whole_zone_and_its_changes(program: &str, way: &str, place: impl Fn(&Encrypted) -> SocketAddr, hosts: usize) {
    let encrypted = Encrypted::make();
    let at = free_address([127, 0, 0, 1]);
    let server = Server::start_in(primary(&encrypted, at, "allow-transfer = [\"key:transfer-key\"]", &many(hosts)));
    let whole = records(&ask("dig", at, &[], &["-y", KEY, "example.org", "AXFR"]));
    assert!(whole.len() > 2 * hosts && whole[0].contains(" SOA "), "{}", whole.len());
    change(&server, 2_026_010_102);
    let newest = records(&ask("dig", at, &[], &["-y", KEY, "example.org", "AXFR"]));
    assert_eq!(newest.len(), whole.len() + 1);
    let ask = |arguments: &[&str]| {
        let text = ask(program, place(&encrypted), &encrypted.trust(), &[&["-y", KEY, way], arguments].concat());
        assert!(!text.contains("verify") && !text.contains("failed"), "{program} {way}: {text}");
        records(&text)
    };
    let seen = ask(&["example.org", "AXFR"]);
    assert!(seen == newest, "{program} {way}: {} records of {}", seen.len(), newest.len());
    assert_eq!(ask(&["example.org", "IXFR=2026010101"]).len(), 5, "{program} {way}");
    assert_eq!(ask(&["example.org", "IXFR=2026010102"]).len(), 1, "{program} {way}");
    let over = format!("over=\"{}\"", &way[1..].to_uppercase());
    server.wait_for(&over, |server| server.log().matches(&over).count() >= 3);
}

#[test]
fn dig_and_kdig_have_the_whole_zone_and_its_changes_over_tls() {
    for program in ["dig", "kdig"] {
        the_whole_zone_and_its_changes(program, "+tls", |encrypted| encrypted.tls, 8000);
    }
}

/// Three messages, for which its socket has room: when a datagram is lost, kdig 3.2 forgets whole messages that came behind it
/// (mended in 3.3.0, "quic/xdp-tcp/inbuf").
#[test]
fn kdig_has_the_whole_zone_and_its_changes_over_quic() {
    the_whole_zone_and_its_changes("kdig", "+quic", |encrypted| encrypted.quic, 1000);
}

#[test]
fn signed_queries_are_answered_signed_but_over_https() {
    let encrypted = Encrypted::make();
    let at = free_address([127, 0, 0, 1]);
    let _server = Server::start_in(primary(&encrypted, at, "allow-transfer = [\"key:transfer-key\"]", ""));
    let trust = encrypted.trust();
    let places = [("dig", "+tls", encrypted.tls), ("kdig", "+tls", encrypted.tls), ("kdig", "+quic", encrypted.quic)];
    for (program, way, place) in places {
        let ask = |key: &str| ask(program, place, &trust, &["-y", key, way, "plain.example.org", "A"]);
        let good = ask(KEY);
        assert!(good.contains("NOERROR") && good.contains("192.0.2.7") && good.contains("TSIG"), "{way}: {good}");
        assert!(!good.contains("verify") && !good.contains("failed"), "{way}: {good}");
        let bad = ask(&KEY.replace("c2l4", "YWJj"));
        assert!(bad.contains("BADSIG") && !bad.contains("192.0.2.7"), "{way}: {bad}");
    }
    let signed = ["-y", KEY, "+tls", "+padding", "plain.example.org", "A"];
    let padded = ask("kdig", encrypted.tls, &trust, &signed);
    assert!(padded.contains(";; Received 468 B"), "with the signature it is a block: {padded}");
    let https = ask("kdig", encrypted.https, &trust, &["-y", KEY, "+https", "+edns", "plain.example.org", "A"]);
    assert!(https.contains("REFUSED") && https.contains("Not Supported"), "{https}");
    assert!(!https.contains("192.0.2.7"), "{https}");
}

#[test]
fn transfers_take_tls_1_3_and_alpn_and_may_take_no_less() {
    let encrypted = Encrypted::make();
    let at = free_address([127, 0, 0, 1]);
    let lines = "allow-transfer = [\"127.0.0.1\"]\ntransfer-tls = true";
    let server = Server::start_in(primary(&encrypted, at, lines, ""));
    for (version, protocols, rcode) in [
        (&rustls::version::TLS13, &["dot"][..], 0),
        (&rustls::version::TLS13, &[], 5),
        (&rustls::version::TLS12, &["dot"], 5),
    ] {
        let mut client = encrypted.connect_by(version, protocols);
        client.send(&[message(1, 0, "example.org", AXFR)]);
        let response = client.read();
        assert_eq!((response[1], response[3] & 0xf, response[7] > 1), (1, rcode, rcode == 0), "{version:?}");
        client.send(&[message(2, 0, "example.org", SOA)]);
        let response = client.read();
        assert_eq!((response[1], response[3] & 0xf, response[7]), (2, 0, 1), "queries are answered by both");
    }
    for way in ["+tcp", "+notcp"] {
        let refused = dig(at, &["+noall", "+comments", way, "example.org", "IXFR=2026010100"]);
        assert!(refused.contains("failed") || refused.contains("REFUSED"), "{way}: {refused}");
    }
    assert!(server.log().contains("transfer-tls wants TLS or QUIC"), "{}", server.log());
    assert!(server.log().contains("over TLS it takes TLS 1.3 and ALPN dot"), "{}", server.log());
}

/// Whether the last record of a message is the SOA.
fn ends_with_soa(message: &[u8]) -> bool {
    message[message.len() - 20..].starts_with(&2_026_010_101u32.to_be_bytes())
}

#[test]
fn a_transfer_stands_beside_queries_and_waits_for_its_reader() {
    let encrypted = Encrypted::make();
    let at = free_address([127, 0, 0, 1]);
    let _server = Server::start_in(primary(&encrypted, at, "allow-transfer = [\"127.0.0.1\"]", &many(8000)));
    let mut client = encrypted.connect();
    let query = |id| message(id, 0, "plain.example.org", 1);
    client.send(&[query(1), message(2, 0, "example.org", AXFR), query(3), query(4)]);
    std::thread::sleep(Duration::from_millis(2500)); // longer than an answer may be on its way
    let (mut queries, mut whole, mut messages) = (Vec::new(), false, 0);
    while !whole || queries.len() < 3 {
        let response = client.read();
        match u16::from_be_bytes([response[0], response[1]]) {
            2 => {
                messages += 1;
                whole = messages > 1 && ends_with_soa(&response);
            }
            id => queries.push((id, response[3] & 0xf)),
        }
    }
    assert!(messages > 5, "{messages}");
    assert_eq!(queries, [(1, 0), (3, 0), (4, 0)]);
    client.send(&[query(5)]);
    assert_eq!(client.read()[..2], [0, 5], "and it goes on");
}

#[test]
fn signed_updates_and_notifications_are_taken_over_tls() {
    let encrypted = Encrypted::make();
    let at = free_address([127, 0, 0, 1]);
    let lines = "allow-update = [\"key:transfer-key\"]\n[[zone]]\nname = \"follows.example\"\n\
                 primary = [\"127.0.0.1:1\"]\nallow-notify = [\"key:transfer-key\"]";
    let server = Server::start_in(primary(&encrypted, at, lines, ""));
    let key = Arc::new(Key::new(&"transfer-key".parse().unwrap(), Algorithm::HmacSha256, &base64(SECRET).unwrap()));
    let mut client = encrypted.connect();
    let mut exchange = |mut request: Vec<u8>| {
        let mut verifier = key.sign_request(&mut request, Timestamp::now());
        client.send(&[request]);
        let response = client.read();
        assert_eq!(verifier.verify(&response, Timestamp::now()), Ok(true));
        response[3] & 0xf
    };
    let mut update = message(1, UPDATE, "example.org", SOA);
    update[9] = 1;
    update.extend_from_slice(b"\x03new\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x2a");
    assert_eq!(exchange(update), 0);
    assert_eq!(dig(server.dns[0], &["+short", "new.example.org", "A"]), "192.0.2.42\n");
    assert_eq!(exchange(message(2, NOTIFY, "follows.example", SOA)), 0);
    assert_eq!(exchange(message(3, NOTIFY, "example.org", SOA)), 5, "it has a file");
}

/// A secondary that is told over TLS where its zone comes from.
fn over_tls(
    configure: Secondary,
    tell: impl Fn(&Path, SocketAddr),
) -> impl Fn(&Path, SocketAddr, SocketAddr) -> Command {
    move |folder, at, primary| {
        let command = configure(folder, at, primary);
        tell(folder, primary);
        command
    }
}

#[test]
fn bind_and_nsd_follow_over_tls() {
    let encrypted = Encrypted::make();
    let ca = encrypted.certificates.path("ca.pem");
    let primary_at = free_address([127, 0, 0, 1]);
    let bind = over_tls(bind_secondary, |folder, primary| {
        edit(folder, "named.conf", |text| {
            let (ip, port) = (primary.ip(), primary.port());
            let plain = format!("primaries {{ {ip} port {port} key transfer-key; }}");
            let tls = format!("primaries {{ {ip} port {port} key transfer-key tls primary; }}");
            assert!(text.contains(&plain));
            let trust = format!("tls primary {{ ca-file \"{ca}\"; remote-hostname \"{NAME}\"; }};\n");
            format!("{trust}{}", text.replace(&plain, &tls))
        });
    });
    let nsd = over_tls(nsd_secondary, |folder, primary| {
        edit(folder, "nsd.conf", |text| {
            let plain = format!("request-xfr: {}@{} transfer-key", primary.ip(), primary.port());
            assert!(text.contains(&plain));
            let text = text.replace(&plain, &format!("{plain} primary"));
            let text = text.replace("server:\n", &format!("server:\n tls-cert-bundle: \"{ca}\"\n"));
            text.replace("zone:\n", &format!("tls-auth:\n name: primary\n auth-domain-name: {NAME}\nzone:\n"))
        });
    });
    let places = [free_address([127, 0, 0, 1]), free_address([127, 0, 0, 23])];
    let notify = places.map(|at| format!("\"key:transfer-key@{at}\"")).join(", ");
    let lines = format!("allow-transfer = [\"key:transfer-key\"]\ntransfer-tls = true\nnotify = [{notify}]");
    let server = Server::start_in(primary(&encrypted, primary_at, &lines, ""));
    let mut secondaries = [NameServer::new("BIND", places[0]), NameServer::new("NSD", places[1])];
    secondaries[0].run(|folder| bind(folder, places[0], encrypted.tls));
    secondaries[1].run(|folder| nsd(folder, places[1], encrypted.tls));
    for serial in 2_026_010_101..2_026_010_104 {
        if serial > 2_026_010_101 {
            change(&server, serial);
        }
        for secondary in &secondaries {
            server.wait_for("a secondary has the newest serial", |_| {
                dig(secondary.at, &["+short", "example.org", "SOA"]).contains(&serial.to_string())
            });
        }
    }
    for secondary in &secondaries {
        let theirs = name_servers::zone("example.org", secondary.at);
        assert!(theirs.iter().any(|record| record.starts_with("new2026010103.")), "{}", secondary.log());
        let client = format!("client={}:", secondary.at.ip());
        let took = |how: &str| {
            server.log().lines().any(|l| l.contains(how) && l.contains(&client) && l.contains("over=\"TLS\""))
        };
        assert!(took("how=\"whole\"") && took("how=\"changes\""), "{}: {}", secondary.name, server.log());
    }
    assert!(!server.log().contains("over=\"TCP\""), "{}", server.log());
}

/// A server that has `zone` from this primary.
fn secondary(at: SocketAddr, zone: &str, primary: &str) -> Server {
    Server::start(&format!(
        "[server]\nname = \"ns2\"\nlisten = [\"{at}\"]\nworkers = 1\nstate = \"state\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
         {TSIG}[[zone]]\nname = \"{zone}\"\nprimary = [{primary}]\nallow-transfer = [\"key:transfer-key\"]\n"
    ))
}

#[test]
fn waypost_follows_waypost_and_trusts_nobody_else() {
    let encrypted = Encrypted::make();
    let (theirs, ours) = (free_address([127, 0, 0, 1]), free_address([127, 0, 0, 1]));
    let lines =
        format!("allow-transfer = [\"key:transfer-key\"]\ntransfer-tls = true\nnotify = [\"key:transfer-key@{ours}\"]");
    let server = Server::start_in(primary(&encrypted, theirs, &lines, &many(8000)));
    let (ca, pin) = (encrypted.certificates.path("ca.pem"), encrypted.certificates.pin("valid"));
    let from =
        |trust: &str| format!("{{ address = \"{}\", key = \"transfer-key\", tls = true, {trust} }}", encrypted.tls);
    let by_name = from(&format!("sni = \"{NAME}\", ca-file = \"{ca}\""));
    let follower = secondary(ours, "example.org", &by_name);
    for serial in 2_026_010_101..2_026_010_103 {
        if serial > 2_026_010_101 {
            change(&server, serial);
        }
        follower.wait_for("it has the newest serial", |follower| {
            dig(follower.dns[0], &["+short", "example.org", "SOA"]).contains(&serial.to_string())
        });
    }
    assert_eq!(dig(ours, &["+short", "new2026010102.example.org", "TXT"]), "\"2026010102\"\n");
    assert_eq!(dig(ours, &["+short", "host7999.example.org", "A"]), "192.0.2.199\n");
    assert!(follower.log().contains("transferred by IXFR"), "{}", follower.log());
    assert!(server.log().contains("over=\"TLS\""), "{}", server.log());
    drop(follower);

    let pinned = secondary(ours, "example.org", &from(&format!("pins = [\"{pin}\"]")));
    pinned.wait_for("it has the zone", |pinned| !dig(pinned.dns[0], &["+short", "example.org", "SOA"]).is_empty());
    drop(pinned);
    let other_pin = encrypted.certificates.pin("selfsigned");
    for (trust, expected) in [
        (format!("sni = \"ns2.example.org\", ca-file = \"{ca}\""), "certificate is for"),
        (format!("ca-file = \"{ca}\""), "certificate is for"),
        (format!("pins = [\"{other_pin}\"]"), "which is not pinned"),
        (format!("sni = \"{NAME}\""), "is not signed by an authority that is trusted"),
    ] {
        let refuses = secondary(ours, "example.org", &from(&trust));
        refuses.wait_for(expected, |refuses| refuses.status()["zones"][0]["problem"].to_string().contains(expected));
    }
}

#[test]
fn waypost_follows_bind_over_tls() {
    let encrypted = Encrypted::make();
    let (theirs, ours) = (free_address([127, 0, 0, 1]), free_address([127, 0, 0, 1]));
    let mut bind = NameServer::new("BIND", theirs);
    let others = (0..50).map(|i| format!("host{i} A 192.0.2.{i}")).collect::<Vec<_>>().join("\n");
    let zone = |serial: u32| {
        format!("$TTL 1h\n@ SOA ns1 host {serial} 1h 1h 1h 5m\n@ NS ns1\nns1 A 192.0.2.{serial}\n{others}\n")
    };
    write(bind.folder.path(), "zone", &zone(1));
    bind.run(|folder| {
        let command = bind_primary(folder, "bind.example", theirs, ours);
        let [cert, key] = ["valid.pem", "valid.key"].map(|file| encrypted.certificates.path(file));
        edit(folder, "named.conf", |text| {
            let (ip, port) = (encrypted.tls.ip(), encrypted.tls.port());
            let listen = format!("listen-on port {port} tls own {{ {ip}; }}; listen-on-v6");
            let text = text.replacen("listen-on-v6", &listen, 1);
            let allow = "allow-transfer { key transfer-key; }";
            assert!(text.contains(allow));
            let only = format!("allow-transfer port {port} transport tls {{ key transfer-key; }}");
            format!("tls own {{ cert-file \"{cert}\"; key-file \"{key}\"; }};\n{}", text.replace(allow, &only))
        });
        command
    });
    let ca = encrypted.certificates.path("ca.pem");
    let from = format!(
        "{{ address = \"{}\", key = \"transfer-key\", tls = true, sni = \"{NAME}\", ca-file = \"{ca}\" }}",
        encrypted.tls
    );
    let follower = secondary(ours, "bind.example", &from);
    for serial in 1..4 {
        if serial > 1 {
            write(bind.folder.path(), "zone", &zone(serial));
            bind.reload();
        }
        let expected = format!("192.0.2.{serial}\n");
        follower.wait_for(&expected, |follower| dig(follower.dns[0], &["+short", "ns1.bind.example", "A"]) == expected);
    }
    assert!(follower.log().contains("transferred by IXFR"), "{}\n{}", follower.log(), bind.log());
}

#[tokio::test]
async fn a_transfer_over_quic_waits_for_its_reader() {
    let encrypted = Encrypted::make();
    let at = free_address([127, 0, 0, 1]);
    let _server = Server::start_in(primary(&encrypted, at, "allow-transfer = [\"127.0.0.1\"]", &many(8000)));
    let (_endpoint, connection) = encrypted.quic(20_000).await;
    let ask = async |message: Vec<u8>| {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&(message.len() as u16).to_be_bytes()).await.unwrap();
        send.write_all(&message).await.unwrap();
        send.finish().unwrap();
        receive
    };
    let expected = records(&dig(at, &["example.org", "AXFR"])).len();
    let mut transfer = ask(message(0, 0, "example.org", AXFR)).await;
    tokio::time::sleep(Duration::from_millis(2500)).await; // longer than an answer may be on its way
    let answer = ask(message(0, 0, "plain.example.org", 1)).await.read_to_end(1000).await.unwrap();
    assert_eq!(answer[2..6], [0, 0, 0x84, 0], "other streams go on");
    let whole = transfer.read_to_end(10_000_000).await.unwrap();
    let (mut rest, mut messages, mut records, mut last) = (&whole[..], 0, 0, &whole[..0]);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        (last, rest) = after.split_at(u16::from_be_bytes(*length).into());
        assert_eq!(last[..2], [0, 0]);
        messages += 1;
        records += usize::from(u16::from_be_bytes([last[6], last[7]]));
    }
    assert!(messages > 5 && ends_with_soa(last), "{messages}");
    assert_eq!(records, expected, "all that goes over TCP");
}

#[test]
fn a_reader_that_takes_none_of_a_transfer_stops_nobody() {
    let encrypted = Encrypted::make();
    let at = free_address([127, 0, 0, 1]);
    let _server = Server::start_in(primary(&encrypted, at, "allow-transfer = [\"127.0.0.1\"]", &many(8000)));
    let mut idle: Vec<_> = (0..4).map(|_| encrypted.connect()).collect();
    for client in &mut idle {
        client.send(&[message(1, 0, "example.org", AXFR)]);
        client.0.flush().unwrap();
    }
    let mut client = encrypted.connect();
    client.send(&[message(2, 0, "plain.example.org", 1)]);
    assert_eq!(client.read()[..2], [0, 2]);
    client.send(&[message(3, 0, "example.org", AXFR)]);
    while !ends_with_soa(&client.read()) {}
}
