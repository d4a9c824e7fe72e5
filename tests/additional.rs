//! What stands beside an answer never names an endpoint past the horizon: MX, SRV, NS and referrals that lead to the name of
//! a pool, or to one below a pool's wildcard, bring no addresses of it. So it is in the zone and across zones, plain and signed.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use support::{HEAD, Server, folder, pool};

/// Beside each that leads to a pool stands one that does not, whose addresses are to come.
const ZONE: &str = "\
$TTL 1h
@       SOA ns1 hostmaster 2026010101 1h 15m 4w 5m
        NS  ns1
        NS  www
ns1     A   127.0.0.1
www     A   192.0.2.99
        AAAA 2001:db8::99
*.wild  A   192.0.2.98
plain   A   192.0.2.7
mail    MX  10 www
        MX  20 a.wild
        MX  30 plain
_x._tcp SRV 0 0 80 www
        SRV 0 0 80 b.c.wild
        SRV 0 0 80 plain
lab     NS  www
        NS  ns.wild
        NS  ns.lab
ns.lab  A   192.0.2.53
";

const OTHER: &str = "\
$TTL 1h
@       SOA ns1.example.org. hostmaster.example.org. 1 1h 15m 4w 5m
        NS  www.example.org.
        NS  ns.wild.example.org.
        MX  10 www.example.org.
        MX  20 a.wild.example.org.
_x._tcp SRV 0 0 80 www.example.org.
kid     NS  www.example.org.
        NS  ns.kid
ns.kid  A   192.0.2.54
";

/// Each question, with an address that is to stand beside its answer, if there is one.
const QUESTIONS: [(&str, &str, Option<&str>); 9] = [
    ("example.org", "NS", Some("127.0.0.1")),
    ("mail.example.org", "MX", Some("192.0.2.7")),
    ("_x._tcp.example.org", "SRV", Some("192.0.2.7")),
    ("host.lab.example.org", "A", Some("192.0.2.53")),
    ("lab.example.org", "NS", Some("192.0.2.53")),
    ("example.net", "NS", None),
    ("example.net", "MX", None),
    ("_x._tcp.example.net", "SRV", None),
    ("host.kid.example.net", "A", Some("192.0.2.54")),
];

fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string(), "+tries=2", "+time=5", "+norec"]);
    let output = command.args(arguments).output().unwrap_or_else(|e| panic!("dig: {e}; see tests/setup.sh"));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn start(of_zone: &str, more: &str) -> Server {
    let pools = pool("www.example.org", 50, 50, "") + &pool("*.wild.example.org", 50, 50, "");
    let other = "[[zone]]\nname = \"example.net\"\nfile = \"example.net.zone\"\n";
    let head = HEAD.replace("file = \"example.org.zone\"", &format!("file = \"example.org.zone\"\n{of_zone}"));
    let folder = folder(&format!("{head}{other}{more}{pools}"));
    fs::write(folder.path().join("example.org.zone"), ZONE).unwrap();
    fs::write(folder.path().join("example.net.zone"), OTHER).unwrap();
    Server::start_in(folder)
}

fn names_no_endpoint(server: &Server, how: &[&str]) {
    for (name, rtype, beside) in QUESTIONS {
        let told = dig(server.dns[0], &[&[name, rtype], how].concat());
        assert!(told.contains("status: NOERROR"), "{told}");
        assert!(beside.is_none_or(|address| told.contains(address)), "{beside:?} is to stand beside it: {told}");
        for address in [support::EC2, support::DC1, "192.0.2.99", "2001:db8::99", "192.0.2.98"] {
            assert!(!told.contains(address), "{address} is an address of a steered name: {told}");
        }
    }
    for name in ["www.example.org", "*.wild.example.org"] {
        for endpoint in server.pool(name)["endpoints"].as_array().unwrap() {
            let told: Vec<&Value> = endpoint["horizon"].as_array().unwrap().iter().map(|h| &h["at"]).collect();
            assert!(told.iter().all(|at| at.is_null()), "nobody was given it: {endpoint}");
        }
    }
    // That they can be asked for.
    for name in ["www.example.org", "ns.wild.example.org"] {
        let told = dig(server.dns[0], &[&[name, "A", "+short"], how].concat());
        assert!(told.contains(support::EC2) || told.contains(support::DC1), "{told}");
    }
}

#[test]
fn no_addresses_of_steered_names_stand_beside_an_answer() {
    let server = start("", "");
    names_no_endpoint(&server, &["+tcp"]);
}

#[test]
fn nor_in_a_signed_zone() {
    let server = start("dnssec = { policy = \"test\" }", "[[dnssec-policy]]\nname = \"test\"\n");
    names_no_endpoint(&server, &["+dnssec", "+tcp"]);
    assert!(dig(server.dns[0], &["mail.example.org", "MX", "+dnssec"]).contains("RRSIG"), "it is signed");
}
