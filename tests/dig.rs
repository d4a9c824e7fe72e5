//! Debian's dig against a running server, over UDP and TCP, IPv4 and IPv6: what another implementation makes of our
//! answers. Authority, referrals, NXDOMAIN, truncation and the retry over TCP, NSID, EDNS version, ECS.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use support::{EC2, HEAD, Server, ZONE, folder, pool};

/// dig's output for these arguments.
#[track_caller]
fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string(), "+time=5", "+tries=1"]);
    let output = command.args(arguments).output().unwrap_or_else(|error| {
        panic!("dig can't be run ({error}): these tests need it, on Debian from the package bind9-dnsutils")
    });
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains(";; Warning") && !text.contains("malformed"), "{text}");
    text
}

fn server() -> Server {
    let config = HEAD.replacen("\"127.0.0.1:0\"", "\"127.0.0.1:0\", \"[::1]:0\"", 1);
    let folder = folder(&format!("{config}{}", pool("www.example.org", 100, 0, "")));
    let big: Vec<String> = (0..30).map(|i| format!("big TXT \"{i:0>60}\"\n")).collect();
    fs::write(folder.path().join("example.org.zone"), format!("{ZONE}{}", big.concat())).unwrap();
    Server::start_in(folder)
}

/// Each way to ask: arguments for dig.
const WAYS: [&[&str]; 4] = [&["+notcp"], &["+tcp"], &["+notcp", "+noedns"], &["+notcp", "+dnssec", "+nsid"]];

/// Asks in each way at each address; all answers must hold `parts`.
#[track_caller]
fn assert_everywhere(arguments: &[&str], parts: &[&str], lacking: &[&str]) {
    let server = server();
    for address in &server.dns {
        for way in WAYS {
            let text = dig(*address, &[way, arguments].concat());
            // Columns are told apart by blanks of any number.
            let plain =
                text.split('\n').map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
            let plain = plain.join("\n");
            for part in parts {
                assert!(plain.contains(part), "{part:?} by {way:?} at {address}:\n{text}");
            }
            for part in lacking {
                assert!(!plain.contains(part), "no {part:?} by {way:?} at {address}:\n{text}");
            }
        }
    }
}

#[test]
fn a_steered_answer_is_authoritative() {
    let answer = format!("www.example.org. 3600 IN A {EC2}");
    assert_everywhere(&["www.example.org", "A"], &["status: NOERROR", "flags: qr aa rd;", "ANSWER: 1,", &answer], &[]);
}

#[test]
fn zone_data_and_a_chain() {
    assert_everywhere(
        &["alias.example.org", "A"],
        &["flags: qr aa", "alias.example.org. 3600 IN CNAME www.example.org.", "ANSWER: 2,"],
        &[],
    );
    assert_everywhere(&["example.org", "SOA"], &["ns1.example.org. hostmaster.example.org. 2026010101 3600 900"], &[]);
}

#[test]
fn a_referral_is_not_authoritative_and_brings_glue() {
    let parts = [
        "status: NOERROR",
        "ANSWER: 0, AUTHORITY: 1,",
        "lab.example.org. 3600 IN NS ns.lab.example.org.",
        "ns.lab.example.org. 3600 IN A 192.0.2.53",
    ];
    assert_everywhere(&["host.lab.example.org", "A"], &parts, &["flags: qr aa"]);
}

#[test]
fn nxdomain_and_nodata_bring_the_soa() {
    let soa = "example.org. 300 IN SOA ns1.example.org.";
    assert_everywhere(
        &["no.example.org", "A"],
        &["status: NXDOMAIN", "flags: qr aa", soa, "ANSWER: 0, AUTHORITY: 1,"],
        &[],
    );
    assert_everywhere(
        &["www.example.org", "MX"],
        &["status: NOERROR", "flags: qr aa", soa, "ANSWER: 0, AUTHORITY: 1,"],
        &[],
    );
}

#[test]
fn what_is_not_ours_is_refused() {
    assert_everywhere(&["www.example.com", "A"], &["status: REFUSED", "ANSWER: 0, AUTHORITY: 0,"], &["flags: qr aa"]);
}

#[test]
fn truncated_over_udp_whole_over_tcp() {
    let server = server();
    for address in &server.dns {
        let truncated = dig(*address, &["+ignore", "+notcp", "big.example.org", "TXT"]);
        assert!(truncated.contains("flags: qr aa tc rd") && truncated.contains("ANSWER: 0,"), "{truncated}");
        let retried = dig(*address, &["+notcp", "big.example.org", "TXT"]);
        assert!(retried.contains("Truncated, retrying in TCP mode") && retried.contains("ANSWER: 30,"), "{retried}");
        let asked_for_less = dig(*address, &["+ignore", "+notcp", "+bufsize=512", "example.org", "SOA"]);
        assert!(asked_for_less.contains("ANSWER: 1,"), "{asked_for_less}");
    }
}

#[test]
fn edns_nsid_version_and_subnet() {
    let server = server();
    let ask = |arguments: &[&str]| dig(server.dns[0], &[arguments, &["www.example.org", "A"]].concat());
    let nsid = ask(&["+nsid"]);
    assert!(nsid.contains("NSID:") && nsid.contains("(\"ns1.example.org\")"), "{nsid}");
    assert!(nsid.contains("udp: 1232"), "{nsid}");
    let version = ask(&["+edns=1", "+noednsnegotiation"]);
    assert!(version.contains("status: BADVERS") && version.contains("EDNS: version: 0"), "{version}");
    assert!(ask(&["+edns=1"]).contains("status: NOERROR"), "dig comes back with version 0");
    let subnet = ask(&["+subnet=198.51.100.0/24"]);
    assert!(subnet.contains("CLIENT-SUBNET: 198.51.100.0/24/24"), "{subnet}");
    let unknown = ask(&["+ednsopt=65001:abcd", "+cookie", "+ednsflags=0x4000"]);
    assert!(unknown.contains("status: NOERROR") && !unknown.contains("; OPT=65001"), "{unknown}");
    let dnssec = ask(&["+dnssec"]);
    assert!(dnssec.contains("flags: do;"), "{dnssec}");
    assert!(!ask(&["+noedns"]).contains("OPT PSEUDOSECTION"));
}

#[test]
fn rare_questions() {
    let server = server();
    let ask = |arguments: &[&str]| dig(server.dns[0], arguments);
    let upper = ask(&["WwW.ExAmPlE.oRg", "A"]);
    assert!(upper.contains("WwW.ExAmPlE.oRg."), "the case of the question is kept: {upper}");
    let notify = ask(&["+opcode=NOTIFY", "www.example.org"]);
    assert!(notify.contains("status: NOTAUTH") || notify.contains("status: FORMERR"), "{notify}");
    assert!(ask(&["example.org", "CH", "TXT"]).contains("status: REFUSED"));
    assert!(ask(&["+tcp", "+keepopen", "www.example.org", "A", "www.example.org", "TXT"]).contains("steered"));
    assert!(ask(&["+header-only", "+noedns"]).contains("status: FORMERR"), "no question at all");
    let unknown = ask(&["www.example.org", "TYPE65280"]);
    assert!(unknown.contains("status: NOERROR") && unknown.contains("AUTHORITY: 1"), "{unknown}");
}
