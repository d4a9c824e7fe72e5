//! Zone transfers out, as dig and kdig ask for them:
//! - AXFR brings the whole zone in many messages, signed each, glue and what is occluded included, in its letter case;
//! - who is not on the list is refused, and who signs badly is told NOTAUTH;
//! - a query that is signed is answered signed;
//! - IXFR without a history is the whole zone, and for who has the newest version one SOA.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use support::name_servers::{KEY, TSIG, records};
use support::{HEAD, Server, ZONE, folder, pool};

fn config(allow: &str) -> String {
    let zone = format!("file = \"example.org.zone\"\nallow-transfer = [{allow}]");
    format!("{}{TSIG}{}", HEAD.replace("file = \"example.org.zone\"", &zone), pool("www.example.org", 100, 0, ""))
}

/// What `program`, dig or kdig, prints.
fn ask(program: &str, server: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string()]);
    let output = command.args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}; see tests/setup.sh"));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn the_whole_zone_in_many_messages_each_signed() {
    let folder = folder(&config("\"key:transfer-key\""));
    let mut zone = ZONE.to_owned();
    let mut expected = BTreeSet::new();
    for i in 0..4000 {
        writeln!(zone, "Host{i} 300 A 192.0.2.{}\nHost{i} 300 MX 10 Mail.Host{i}", i % 200).unwrap();
        expected.insert(format!("Host{i}.example.org. 300 IN A 192.0.2.{}", i % 200));
        expected.insert(format!("Host{i}.example.org. 300 IN MX 10 Mail.Host{i}.example.org."));
    }
    expected.insert("www.example.org. 3600 IN A 192.0.2.11".to_owned()); // what the pool gives, not the file
    zone.push_str("hidden.ns.lab 60 TXT \"occluded\"\n");
    expected.insert("hidden.ns.lab.example.org. 60 IN TXT \"occluded\"".to_owned());
    expected.insert("ns.lab.example.org. 3600 IN A 192.0.2.53".to_owned());
    fs::write(folder.path().join("example.org.zone"), zone).unwrap();
    let server = Server::start_in(folder);
    for program in ["dig", "kdig"] {
        for options in [&[][..], &["+edns=0"]] {
            let text = ask(program, server.dns[0], &[&["-y", KEY, "example.org", "AXFR"], options].concat());
            assert!(!text.contains("verify") && !text.contains("failed"), "{program}: {text}");
            let plain = records(&text);
            let soa =
                "example.org. 3600 IN SOA ns1.example.org. hostmaster.example.org. 2026010102 3600 900 2419200 300";
            assert_eq!([&plain[0], &plain[plain.len() - 1]], [soa, soa], "{program}");
            assert_eq!(plain.iter().filter(|r| r.contains(" SOA ")).count(), 2);
            let got: BTreeSet<String> = plain.into_iter().collect();
            assert!(
                got.is_superset(&expected),
                "{program}: {:?}",
                expected.difference(&got).take(5).collect::<Vec<_>>()
            );
            assert_eq!(got.len(), expected.len() + 7, "{program}");
        }
    }
    assert!(server.log().contains("zone transferred"), "{}", server.log());
}

#[test]
fn who_may_not_is_refused_and_who_signs_badly_is_told() {
    let server = Server::start(&config("\"key:transfer-key\", \"127.0.0.7\""));
    let at = server.dns[0];
    let refused = ask("kdig", at, &["+tcp", "example.org", "AXFR"]);
    assert!(refused.contains("REFUSED"), "{refused}");
    assert_eq!(records(&ask("dig", at, &["-b", "127.0.0.7", "example.org", "AXFR"])).len(), 10);
    let elsewhere = ask("kdig", at, &["-y", KEY, "+tcp", "www.example.org", "AXFR"]);
    assert!(elsewhere.contains("NOTAUTH"), "{elsewhere}");

    let other = KEY.replace("c2l4", "YWJj");
    let bad = ask("dig", at, &["-y", &other, "example.org", "SOA"]);
    assert!(bad.contains("NOTAUTH") && bad.contains("BADSIG"), "{bad}");
    let unknown = KEY.replace("transfer-key", "nobody");
    let bad = ask("dig", at, &["-y", &unknown, "example.org", "SOA"]);
    assert!(bad.contains("NOTAUTH") && bad.contains("BADKEY"), "{bad}");
    for way in ["+notcp", "+tcp"] {
        let good = ask("dig", at, &["-y", KEY, way, "www.example.org", "A"]);
        assert!(
            good.contains("NOERROR") && good.contains("192.0.2.11") && good.contains("TSIG PSEUDOSECTION"),
            "{good}"
        );
        assert!(!good.contains("Couldn't verify"), "{good}");
    }
}

#[test]
fn ixfr_without_a_history_is_the_whole_zone() {
    let server = Server::start(&config("\"127.0.0.1\""));
    let at = server.dns[0];
    let count = |arguments: &[&str]| records(&ask("dig", at, arguments)).len();
    assert_eq!(count(&["example.org", "IXFR=2026010100", "+tcp"]), 10);
    assert_eq!(count(&["example.org", "IXFR=2026010101", "+tcp"]), 6, "the pool's address in place of the file's");
    assert_eq!(count(&["example.org", "IXFR=2026010102", "+tcp"]), 1);
    assert_eq!(count(&["example.org", "IXFR=2026010103", "+tcp"]), 1);
    assert_eq!(count(&["example.org", "IXFR=2026010102", "+notcp"]), 1);
    assert_eq!(count(&["example.org", "IXFR=2026010100", "+notcp"]), 10, "it fits");
}
