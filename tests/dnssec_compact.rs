//! Compact denial of existence (RFC 9824), `denial = "compact"`, before Unbound as a validating resolver.
//!
//! - all kinds of answers validate: names that are there, that are not, empty non-terminals, wildcards, delegations, what pools steer
//!   at a name and at a wildcard, and what an endpoint lacks;
//! - what is not there is NOERROR with one NSEC record of its own name and NXNAME (3.1); NXDOMAIN for who says that it understands (5.1)
//!   and for who wants no proof; NXNAME itself can't be asked for (3.5);
//! - names and their proofs follow UPDATE;
//! - a live zone changes between NSEC3, NSEC and this, each answer being of one of them;
//! - such a zone is not transferred, and not signed with RSA.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::mpsc::{TryRecvError, channel};

use serde_json::Value;
use support::validators::{Unbound, dig};
use support::{HEAD, Server, ZONE, folder, pool};

fn config(policy: &str, zone: &str, pools: &str) -> String {
    let zone = format!("file = \"example.org.zone\"\ndnssec = {{ policy = \"test\" }}\n{zone}");
    let policy = format!("[[dnssec-policy]]\nname = \"test\"\ndenial = \"compact\"\n{policy}\n");
    format!("{}{policy}{pools}", HEAD.replace("file = \"example.org.zone\"", &zone))
}

fn zone() -> String {
    format!(
        "{ZONE}*.wild A 192.0.2.8\n*.wild TXT \"wild\"\n*.cw CNAME plain\na.b.ent A 192.0.2.9\ndn DNAME plain\nx.plain A 192.0.2.10\n"
    )
}

fn pools() -> String {
    let both = |name: &str, policy: &str| {
        format!(
            "[[pool]]\nname = \"{name}\"\n{policy}\nendpoint = [\n\
             {{ site = \"ec2\", address = [\"192.0.2.11\", \"2001:db8::11\"], weight = 50 }},\n\
             {{ site = \"dc1\", address = [\"192.0.2.12\"], weight = 50 }},\n]\n"
        )
    };
    let cname = "[[pool]]\nname = \"*.cn.example.org\"\nendpoint = [\n\
        { site = \"ec2\", cname = \"plain.example.org\", weight = 100 },\n\
        { site = \"dc1\", cname = \"x.plain.example.org\", weight = 0 },\n]\n";
    let (all, wild_all) = (both("all.example.org", "policy = \"all\""), both("*.wall.example.org", "policy = \"all\""));
    format!("{}{all}{wild_all}{cname}{}", both("www.example.org", ""), pool("*.pool.example.org", 100, 0, ""))
}

fn start(policy: &str) -> Server {
    let folder = folder(&config(policy, "allow-update = [\"127.0.0.1\"]", &pools()));
    fs::write(folder.path().join("example.org.zone"), zone()).unwrap();
    Server::start_in(folder)
}

fn all_answers(server: &Server) {
    let unbound = Unbound::start(server, server.path());
    for (name, rtype) in [
        ("plain.example.org", "A"),
        ("plain.example.org", "AAAA"),
        ("example.org", "NS"),
        ("example.org", "MX"),
        ("example.org", "DNSKEY"),
        ("alias.example.org", "TXT"),
        ("alias.example.org", "MX"),
        ("missing.example.org", "A"),
        ("so.very.missing.example.org", "A"),
        ("missing.ent.example.org", "A"),
        ("ent.example.org", "A"),
        ("b.ent.example.org", "NSEC"),
        ("some.wild.example.org", "A"),
        ("so.me.wild.example.org", "TXT"),
        ("some.wild.example.org", "MX"),
        ("some.cw.example.org", "A"),
        ("x.dn.example.org", "A"),
        ("y.dn.example.org", "A"),
        ("lab.example.org", "DS"),
        ("www.example.org", "A"),
        ("www.example.org", "AAAA"),
        ("www.example.org", "MX"),
        ("all.example.org", "A"),
        ("all.example.org", "AAAA"),
        ("any.wall.example.org", "A"),
        ("any.wall.example.org", "TXT"),
        ("any.pool.example.org", "A"),
        ("any.pool.example.org", "AAAA"),
        ("any.cn.example.org", "A"),
        ("any.cn.example.org", "CNAME"),
        ("pool.example.org", "A"),
    ] {
        unbound.validates(name, rtype, "NOERROR", server);
    }
}

#[test]
fn everything_validates() {
    let server = start("");
    all_answers(&server);
    server.shift(&["www.example.org", "*.pool.example.org", "*.cn.example.org"], 100.0);
    server.force("*.wall.example.org", "ec2", "down").done();
    server.force("all.example.org", "ec2", "down").done();
    all_answers(&server);
    let page = server.api("GET", "/metrics", Value::Null, &[]).text;
    let count = |name: &str| -> u64 {
        page.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap().parse().unwrap()
    };
    assert!(count("waypost_dnssec_online_signatures_total") > 10, "{page}");
    assert_eq!(count("waypost_dnssec_online_refused_total"), 0);
    all_answers(&start("algorithm = \"ed25519\"\nkeys = \"ksk-zsk\""));
}

/// The lines of dig's answer of this type.
fn of_type<'a>(answer: &'a str, rtype: &str) -> Vec<&'a str> {
    answer.lines().filter(|line| line.split_whitespace().nth(3) == Some(rtype)).collect()
}

#[test]
fn what_is_not_there_is_told_as_the_rfc_says() {
    let server = start("");
    let ask = |arguments: &[&str]| dig(server.dns[0], arguments);
    let plain = ask(&["missing.example.org", "A", "+norec"]);
    assert!(plain.contains("status: NXDOMAIN") && !plain.contains("NSEC"), "{plain}");

    let signed = ask(&["Missing.Example.org", "A", "+norec", "+dnssec"]);
    let proofs = of_type(&signed, "NSEC");
    assert!(signed.contains("status: NOERROR") && proofs.len() == 1, "{signed}");
    let fields: Vec<&str> = proofs[0].split_whitespace().collect();
    assert_eq!(fields[0].to_lowercase(), "missing.example.org.");
    assert_eq!(fields[4], "\\000.missing.example.org.");
    assert_eq!(fields[5..].join(" ").replace("TYPE128", "NXNAME"), "RRSIG NSEC NXNAME");
    assert_eq!(of_type(&signed, "RRSIG").len(), 2, "of the SOA and the NSEC: {signed}");
    assert!(!signed.contains("MBZ"), "{signed}");

    // RCODE and the EDNS flags, asked with DO and CO; dig can't set the latter alone.
    let with_co = |name: &str| {
        let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.bytes());
        }
        query.extend([0, 0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0xc0, 0, 0, 0]);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(support::SOON)).unwrap();
        socket.send_to(&query, server.dns[0]).unwrap();
        let mut response = [0; 1500];
        let octets = socket.recv(&mut response).unwrap();
        (response[3] & 15, response[octets - 4], u16::from_be_bytes([response[8], response[9]]))
    };
    assert_eq!(with_co("missing.example.org"), (3, 0xc0, 4), "NXDOMAIN; SOA, NSEC and their signatures");
    assert_eq!(with_co("plain.example.org"), (0, 0xc0, 0));

    let ent = ask(&["ent.example.org", "A", "+norec", "+dnssec"]);
    let fields: Vec<&str> = of_type(&ent, "NSEC")[0].split_whitespace().collect();
    assert_eq!(fields[4..], ["\\000.ent.example.org.", "RRSIG", "NSEC"]);
    let wild = ask(&["some.wild.example.org", "A", "+norec", "+dnssec"]);
    let signature: Vec<&str> = of_type(&wild, "RRSIG")[0].split_whitespace().collect();
    assert_eq!((signature[6], of_type(&wild, "NSEC").len()), ("4", 0), "as if the name were there: {wild}");
    let meta = ask(&["plain.example.org", "TYPE128", "+norec"]);
    assert!(meta.contains("status: FORMERR") && meta.contains("EDE: 30"), "{meta}");
}

#[test]
fn names_come_and_go() {
    let server = start("");
    let update = |line: &str| {
        let text = format!("server 127.0.0.1 {}\nzone example.org.\n{line}\nsend\n", server.dns[0].port());
        fs::write(server.file("update"), text).unwrap();
        let output = Command::new("nsupdate").arg(server.file("update")).output().expect("tests/setup.sh installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let types = |name: &str| {
        let answer = dig(server.dns[0], &[name, "LOC", "+norec", "+dnssec"]);
        let proof =
            of_type(&answer, "NSEC").first().map(|line| line.split_whitespace().skip(5).collect::<Vec<_>>().join(" "));
        proof.unwrap_or_default().replace("TYPE128", "NXNAME")
    };
    assert_eq!(types("new.deep.example.org"), "RRSIG NSEC NXNAME");
    update("add new.deep.example.org. 300 A 192.0.2.1");
    assert_eq!([types("new.deep.example.org"), types("deep.example.org")], ["A RRSIG NSEC", "RRSIG NSEC"]);
    all_answers(&server);
    update("del new.deep.example.org. A");
    assert_eq!([types("new.deep.example.org"), types("deep.example.org")], ["RRSIG NSEC NXNAME"; 2]);
    all_answers(&server);
}

#[test]
fn a_live_zone_changes_its_denial_and_back_at_once() {
    let with =
        |denial: &str| config("", "", &pools()).replace("denial = \"compact\"", &format!("denial = \"{denial}\""));
    let folder = folder(&with("nsec3"));
    fs::write(folder.path().join("example.org.zone"), zone()).unwrap();
    let server = Server::start_in(folder);
    let dns = server.dns[0];
    let (goes_on, over) = channel::<()>();
    std::thread::scope(|scope| {
        let asked = scope.spawn(move || {
            let mut kinds = BTreeSet::new();
            while over.try_recv() == Err(TryRecvError::Empty) {
                for (name, rtype) in [("missing.example.org", "A"), ("any.pool.example.org", "AAAA")] {
                    let answer = dig(dns, &[name, rtype, "+norec", "+dnssec"]);
                    let [nsec, nsec3] = ["NSEC", "NSEC3"].map(|rtype| !of_type(&answer, rtype).is_empty());
                    let no_such_name = answer.contains("NXNAME") || answer.contains("TYPE128");
                    assert!(nsec != nsec3, "{answer}");
                    assert_eq!(answer.contains("status: NXDOMAIN"), rtype == "A" && !no_such_name, "{answer}");
                    kinds.insert((nsec, no_such_name));
                }
            }
            kinds
        });
        let change = |denial: &str, there: &str| {
            server.configure(&with(denial));
            server.reload().done();
            let unbound = Unbound::start(&server, server.path());
            unbound.validates("missing.example.org", "A", there, &server);
            unbound.validates("some.wild.example.org", "MX", "NOERROR", &server);
            unbound.validates("any.pool.example.org", "AAAA", "NOERROR", &server);
        };
        change("nsec3", "NXDOMAIN");
        change("compact", "NOERROR");
        all_answers(&server);
        fs::write(server.file("example.org.zone"), zone() + "more A 192.0.2.1\n").unwrap();
        change("compact", "NOERROR");
        all_answers(&server);
        change("nsec", "NXDOMAIN");
        change("compact", "NOERROR");
        change("nsec3", "NXDOMAIN");
        drop(goes_on);
        let kinds = asked.join().unwrap();
        assert_eq!(kinds.len(), 3, "NSEC3, NSEC and compact: {kinds:?}");
    });
}

#[test]
fn what_does_not_go_with_it_is_refused() {
    for (policy, zone, wanted) in [
        ("algorithm = \"rsasha256\"", "", "RSA is too slow"),
        ("", "allow-transfer = [\"127.0.0.1\"]", "a secondary can't sign answers"),
    ] {
        let folder = folder(&config(policy, zone, ""));
        let output = support::fail_in(folder.path(), &[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(wanted), "{told}");
    }
}
