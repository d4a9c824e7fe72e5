//! Zonemaster's tests of the sample configuration and its zone, as a registry would run them before a delegation: unsigned, signed
//! with NSEC and with NSEC3, undelegated and with the DS that the parent would have.
//!
//! Zonemaster asks port 53 alone, so all runs in a network namespace that the test makes, with a root and `org.` served by NSD:
//! that needs root. What is found there beyond [`EXPECTED`] is a mistake of the sample zone or of the server.

mod support;

use std::fs;
use std::path::Path;

use support::host::{Host, Running};

/// Findings of the level NOTICE and above that are right, with their reasons.
const EXPECTED: [(&str, &str); 7] = [
    ("NAMESERVER_IP_PRIVATE_NETWORK", "the sample's name servers are on loopback addresses, so that it reaches nobody"),
    ("NAMESERVER_IP_WITHOUT_REVERSE", "nobody can be delegated the reverse zone of loopback addresses"),
    ("Z01_MNAME_HAS_LOCALHOST_ADDR", "so is the one that the SOA names"),
    ("NO_IPV6_NS_CHILD", "IPv6 has one loopback address, name servers are two"),
    ("NO_IPV6_NS_DEL", "the same as the parent sees it"),
    ("NOT_SIGNED", "the sample is not signed as it stands; where the test signs it, ALGORITHM_OK is to be told"),
    ("NEITHER_DNSKEY_NOR_DS", "the same"),
];

/// That these are told shows that the tests were run and not passed over.
const TOLD: [&str; 8] = [
    "ONE_SOA_SERIAL",
    "ADDRESSES_MATCH",
    "ARE_AUTHORITATIVE",
    "NAMES_MATCH",
    "REFERRAL_SIZE_OK",
    "EDNS0_SUPPORT",
    "NO_UPWARD_REFERRAL",
    "QNAME_CASE_SENSITIVE",
];

#[test]
fn it_finds_nothing_in_the_sample_zone_but_loopback_addresses() {
    assert_clean("plain", "", &["Z09_MX_DATA", "NOT_SIGNED"]);
}

#[test]
fn nor_when_it_is_signed_with_nsec() {
    assert_clean("nsec", "denial = \"nsec\"", &["ALGORITHM_OK", "DS10_HAS_NSEC", "RRSIG_EXPIRATION"]);
}

#[test]
fn nor_when_it_is_signed_with_nsec3() {
    assert_clean("nsec3", "denial = \"nsec3\"", &["ALGORITHM_OK", "DS10_HAS_NSEC3", "RRSIG_EXPIRATION"]);
}

/// Signs with this line of a policy, if there is one, and looks at what Zonemaster says.
fn assert_clean(test: &str, policy: &str, told: &[&str]) {
    if support::programs::found("zonemaster-cli").is_none() {
        return;
    }
    let host = Host::new(test);
    let parents = parents(&host);
    let server = served(&host, policy);
    let mut arguments = vec!["example.org", "--hints", "hints", "--no-ipv6", "--level", "INFO", "--raw"];
    arguments.extend(["--no-progress", "--ns", "ns1.example.org/127.0.0.1", "--ns", "ns2.example.org/127.0.0.2"]);
    let ds = ds(&host);
    if !policy.is_empty() {
        arguments.extend(["--ds", &ds]);
    }
    let output = host.run("zonemaster-cli", &arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let findings: Vec<(&str, &str)> = said.lines().filter_map(finding).collect();
    for tag in TOLD.iter().chain(told) {
        assert!(findings.iter().any(|(_, found)| found == tag), "{tag} is not told:\n{said}");
    }
    let wrong: Vec<_> = (findings.iter())
        .filter(|(level, tag)| !matches!(*level, "INFO" | "DEBUG") && EXPECTED.iter().all(|(caused, _)| caused != tag))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}\n{said}");
    drop((server, parents));
}

/// Level and tag of a line, behind the time.
fn finding(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace().skip(1);
    Some((words.next()?, words.next()?))
}

/// NSD with a root and `org.`.
fn parents(host: &Host) -> Running {
    let dir = host.folder.path().display();
    let soa = "3600 SOA ns hostmaster.example. 1 7200 3600 1209600 3600";
    let root =
        "@ NS a.root-servers.example.\na.root-servers.example. A 127.0.0.53\norg. NS ns.org.\nns.org. A 127.0.0.54";
    let org = "@ NS ns\nns A 127.0.0.54\nexample NS ns1.example\nexample NS ns2.example\nns1.example A 127.0.0.1\n\
               ns2.example A 127.0.0.2";
    host.write("root.zone", &format!("$TTL 3600\n@ {soa}\n{root}\n"));
    host.write("org.zone", &format!("$TTL 3600\n@ {soa}\n{org}\n"));
    host.write("hints", ". 3600000 NS a.root-servers.example.\na.root-servers.example. 3600000 A 127.0.0.53\n");
    host.write(
        "nsd.conf",
        &format!(
            "server:\n ip-address: 127.0.0.53\n ip-address: 127.0.0.54\n username: \"\"\n zonesdir: \"{dir}\"\n \
             database: \"\"\n pidfile: \"{dir}/nsd.pid\"\n xfrdfile: \"{dir}/xfrd.state\"\n \
             zonelistfile: \"{dir}/zone.list\"\n xfrdir: \"{dir}\"\n server-count: 1\n\
             remote-control:\n control-enable: no\n\
             zone:\n name: .\n zonefile: root.zone\nzone:\n name: org\n zonefile: org.zone\n"
        ),
    );
    let nsd = host.start("/usr/sbin/nsd", &["-d", "-c", "nsd.conf"]);
    host.wait_for("127.0.0.53", ".");
    host.wait_for("127.0.0.54", "org");
    nsd
}

/// The server with the sample configuration, at the addresses of the sample's name servers.
fn served(host: &Host, policy: &str) -> Running {
    let sample = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let listen = "listen = [\"127.0.0.1:5300\"]";
    let file = "file = \"zones/example.org.zone\"\n";
    let mut config = sample("config/waypost.toml");
    assert!(config.contains(listen) && config.contains(file), "{config}");
    config = config.replacen(listen, "listen = [\"127.0.0.1:53\", \"127.0.0.2:53\"]", 1);
    if !policy.is_empty() {
        config = config.replacen(file, &format!("{file}dnssec = {{ policy = \"test\" }}\n"), 1);
        let policy = format!("\n[[dnssec-policy]]\nname = \"test\"\nkeys = \"ksk-zsk\"\n{policy}\n");
        config.push_str(&policy);
    }
    host.write("config/waypost.toml", &config);
    host.write("zones/example.org.zone", &sample("zones/example.org.zone"));
    let server = host.serve("config/waypost.toml");
    host.wait_for("127.0.0.1", "example.org");
    server
}

/// The DS of the zone's key signing key, as Zonemaster wants it.
fn ds(host: &Host) -> String {
    let keys = host.dig("127.0.0.1", &["example.org", "DNSKEY", "+noall", "+answer"]);
    host.write("keys", &keys);
    let output = host.run("dnssec-dsfromkey", &["-2", "-f", "keys", "example.org"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().skip(3).collect::<Vec<_>>().join(",")
}
