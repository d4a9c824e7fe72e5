//! Zones that the server signs itself, before real validators: `ldns-verify-zone` over a transfer, and Unbound as a validating
//! resolver with the zone's key as its anchor.
//!
//! - all kinds of answers and proofs validate;
//! - signatures and keys stay over a restart; an edit of the file is signed with the serial that it brings;
//! - the same with NSEC3, also in a zone that was signed elsewhere, with salt and iterations;
//! - steered answers validate for each endpoint, during a countdown, after a flip, and where an endpoint lacks a type;
//! - what all endpoints answer together validates, whichever of them do;
//! - a key is replaced, and so is the algorithm, while validators watch that ask for each algorithm (RFC 6840, 5.11).

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::origin::Origin;
use support::validators::{Unbound, dig, verify};
use support::{HEAD, Server, ZONE, folder, pool};

fn config(policy: &str, pools: &str) -> String {
    let zone = "file = \"example.org.zone\"\nallow-transfer = [\"127.0.0.0/8\"]\ndnssec = { policy = \"test\" }";
    let policy = format!("[[dnssec-policy]]\nname = \"test\"\n{policy}\n");
    format!("{}{policy}{pools}", HEAD.replace("file = \"example.org.zone\"", zone))
}

fn zone() -> String {
    format!(
        "{ZONE}*.wild A 192.0.2.8\n*.wild TXT \"wild\"\na.b.ent A 192.0.2.9\ndn DNAME plain\nx.plain A 192.0.2.10\n"
    )
}

/// Changes the zone by `nsupdate`.
#[track_caller]
fn update(server: &Server, lines: &str) {
    let text = format!("server 127.0.0.1 {}\nzone example.org.\n{lines}\nsend\n", server.dns[0].port());
    let file = server.file("update");
    fs::write(&file, text).unwrap();
    let output = Command::new("nsupdate").arg(&file).output().expect("tests/setup.sh installs nsupdate");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_an_update_changes_is_signed_with_it() {
    let config = config("", "").replace("dnssec =", "allow-update = [\"127.0.0.1\"]\ndnssec =");
    let folder = folder(&config);
    fs::write(folder.path().join("example.org.zone"), zone()).unwrap();
    let server = Server::start_in(folder);
    verify(&server);
    for lines in [
        "add new.example.org. 300 A 192.0.2.1\nadd deep.er.example.org. 300 TXT \"x\"",
        "add new.example.org. 600 A 192.0.2.2", // another TTL, for both
        "del plain.example.org. A",
        "del new.example.org.\nadd new.example.org. 60 AAAA 2001:db8::1",
        "del deep.er.example.org.",
        "add sub.example.org. 300 NS ns.sub.example.org.\nadd ns.sub.example.org. 300 A 192.0.2.3",
        "del sub.example.org. NS",
    ] {
        update(&server, lines);
        verify(&server);
    }
    assert!(dig(server.dns[0], &["new.example.org", "AAAA", "+short"]).contains("2001:db8::1"));
    assert!(dig(server.dns[0], &["deep.er.example.org", "TXT"]).contains("NXDOMAIN"));
    let refused =
        format!("server 127.0.0.1 {}\nzone example.org.\ndel example.org. DNSKEY\nsend\n", server.dns[0].port());
    fs::write(server.file("update"), refused).unwrap();
    let output = Command::new("nsupdate").arg(server.file("update")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("REFUSED"), "the keys are the server's");
    verify(&server);
}

fn all_answers(server: &Server, denial: &str) {
    verify(server);
    let unbound = Unbound::start(server, server.path());
    for (name, rtype, status) in [
        ("plain.example.org", "A", "NOERROR"),
        ("plain.example.org", "AAAA", "NOERROR"),
        ("example.org", "NS", "NOERROR"),
        ("alias.example.org", "TXT", "NOERROR"),
        ("alias.example.org", "MX", "NOERROR"),
        ("missing.example.org", "A", "NXDOMAIN"),
        ("missing.ent.example.org", "A", "NXDOMAIN"),
        ("ent.example.org", "A", "NOERROR"),
        ("b.ent.example.org", "A", "NOERROR"),
        ("some.wild.example.org", "A", "NOERROR"),
        ("so.me.wild.example.org", "TXT", "NOERROR"),
        ("some.wild.example.org", "MX", "NOERROR"),
        ("x.dn.example.org", "A", "NOERROR"),
        ("y.dn.example.org", "A", "NXDOMAIN"),
        ("lab.example.org", "DS", "NOERROR"),
        ("example.org", "DNSKEY", "NOERROR"),
    ] {
        unbound.validates(name, rtype, status, server);
    }
    let apex = dig(server.dns[0], &["example.org", "MX", "+dnssec", "+noall", "+authority"]);
    assert!(apex.lines().any(|line| is_type(line, denial)), "{apex}");
    drop(unbound);
}

#[test]
fn a_zone_is_signed_with_nsec_and_stays_so() {
    let folder = folder(&config("keys = \"ksk-zsk\"", ""));
    fs::write(folder.path().join("example.org.zone"), zone()).unwrap();
    let mut server = Server::start_in(folder);
    all_answers(&server, "NSEC");
    let keys = |server: &Server| {
        let mut keys: Vec<String> =
            (dig(server.dns[0], &["example.org", "DNSKEY", "+short"]).lines()).map(str::to_owned).collect();
        keys.sort();
        keys
    };
    let signature = |server: &Server| dig(server.dns[0], &["plain.example.org", "RRSIG", "+short"]);
    let serial = |server: &Server| dig(server.dns[0], &["example.org", "SOA", "+short"]);
    let before = (keys(&server), signature(&server), serial(&server));
    assert_eq!(before.0.len(), 2);
    server.kill9();
    server.start_again();
    assert_eq!((keys(&server), signature(&server), serial(&server)), before);
    let text = zone().replace("2026010101", "2026010105").replace("192.0.2.7", "192.0.2.77");
    fs::write(server.file("example.org.zone"), text).unwrap();
    server.hang_up();
    server.wait_for("the edit", |s| dig(s.dns[0], &["plain.example.org", "A", "+short"]).contains("192.0.2.77"));
    verify(&server);
    assert_eq!(keys(&server), before.0);
    assert!(!server.log().contains("PRIVATE") && !server.log().contains("pkcs8"));
}

/// Whether a line of dig is a record of this type.
fn is_type(line: &str, rtype: &str) -> bool {
    line.split_whitespace().nth(3) == Some(rtype)
}

#[test]
fn a_zone_is_signed_with_nsec3() {
    let pools = pool("*.pool.example.org", 100, 0, "");
    let folder = folder(&config("denial = \"nsec3\"", &pools));
    fs::write(folder.path().join("example.org.zone"), zone()).unwrap();
    let server = Server::start_in(folder);
    all_answers(&server, "NSEC3");
    let unbound = Unbound::start(&server, server.path());
    for (name, rtype) in [
        ("any.pool.example.org", "A"),
        ("any.pool.example.org", "AAAA"),
        ("any.pool.example.org", "TXT"),
        ("pool.example.org", "A"),
    ] {
        unbound.validates(name, rtype, "NOERROR", &server);
    }
    let hash = dig(server.dns[0], &["missing.example.org", "A", "+dnssec", "+noall", "+authority"]);
    let hash = hash
        .lines()
        .find(|line| is_type(line, "NSEC3"))
        .and_then(|line| line.split_whitespace().next())
        .unwrap()
        .to_owned();
    unbound.validates(&hash, "NSEC3", "NXDOMAIN", &server); // its owner is no name of the zone (RFC 5155, 7.2.8)
}

/// Signs `zone` as its operator would, with NSEC3.
fn signed_elsewhere(folder: &Path, zone: &str, how: &[&str]) {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder).output();
        let output = output.unwrap_or_else(|e| panic!("{program} (tests/setup.sh installs it): {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    fs::write(folder.join("plain.zone"), zone).unwrap();
    run("dnssec-keygen", &["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "example.org"]);
    let signed = ["-S", "-z", "-Q", "-o", "example.org", "-f", "example.org.zone"];
    run("dnssec-signzone", &[&signed[..], how, &["plain.zone"]].concat());
}

#[test]
fn a_zone_that_brings_nsec3_is_served_with_its_proofs() {
    let folder = folder(HEAD);
    signed_elsewhere(folder.path(), &zone(), &["-3", "aabbccdd", "-H", "5"]);
    let server = Server::start_in(folder);
    let unbound = Unbound::start(&server, server.path());
    for (name, rtype, status) in [
        ("plain.example.org", "A", "NOERROR"),
        ("plain.example.org", "AAAA", "NOERROR"),
        ("missing.example.org", "A", "NXDOMAIN"),
        ("ent.example.org", "A", "NOERROR"),
        ("some.wild.example.org", "A", "NOERROR"),
        ("some.wild.example.org", "MX", "NOERROR"),
        ("lab.example.org", "DS", "NOERROR"),
    ] {
        unbound.validates(name, rtype, status, &server);
    }
    // A referral without DS proves that there is none, also where opt-out leaves the cut out of the chain.
    let proofs = |server: &Server| {
        let referral = dig(server.dns[0], &["x.lab.example.org", "A", "+dnssec", "+norec", "+noall", "+authority"]);
        referral.lines().filter(|line| is_type(line, "NSEC3")).count()
    };
    assert_eq!(proofs(&server), 1);
    let folder = support::folder(HEAD);
    signed_elsewhere(folder.path(), &zone(), &["-3", "-", "-H", "0", "-A"]);
    assert_eq!(proofs(&Server::start_in(folder)), 2);
}

/// The TTLs of the records of `name` in an answer, that of the RRSIG among them, and the Original TTL.
fn ttls(answer: &str, name: &str) -> (Vec<String>, String) {
    let lines = answer.lines().filter(|line| line.starts_with(&format!("{name}.\t")));
    let fields: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    let original = fields.iter().find(|fields| fields[3] == "RRSIG").map(|fields| fields[7].to_owned());
    (fields.iter().map(|fields| fields[1].to_owned()).collect(), original.unwrap())
}

#[test]
fn steered_answers_validate_whatever_is_steered() {
    let both = "[[pool]]\nname = \"www.example.org\"\nendpoint = [\n\
        { site = \"ec2\", address = [\"192.0.2.11\", \"192.0.2.13\", \"2001:db8::11\"], weight = 100 },\n\
        { site = \"dc1\", address = [\"192.0.2.12\"], weight = 0 },\n]\n";
    let cname = "[[pool]]\nname = \"cn.example.org\"\nendpoint = [\n\
        { site = \"ec2\", cname = \"plain.example.org\", weight = 100 },\n\
        { site = \"dc1\", cname = \"x.plain.example.org\", weight = 0 },\n]\n";
    let pools = format!("{both}{cname}{}", pool("*.pool.example.org", 100, 0, ""));
    let folder = folder(&config("", &pools));
    fs::write(folder.path().join("example.org.zone"), zone()).unwrap();
    let server = Server::start_in(folder);
    let answers = |ipv6: &str| {
        let unbound = Unbound::start(&server, server.path());
        for (name, rtype) in [
            ("www.example.org", "A"),
            ("www.example.org", "AAAA"),
            ("www.example.org", "TXT"),
            ("www.example.org", "MX"),
            ("alias.example.org", "A"),
            ("cn.example.org", "A"),
            ("cn.example.org", "CNAME"),
            ("any.pool.example.org", "A"),
            ("any.pool.example.org", "AAAA"),
        ] {
            unbound.validates(name, rtype, "NOERROR", &server);
        }
        assert_eq!(unbound.ask("www.example.org", "AAAA").contains("2001:db8::11"), !ipv6.is_empty());
        unbound.validates("none.example.org", "A", "NXDOMAIN", &server);
    };
    answers("2001:db8::11");
    let www = dig(server.dns[0], &["www.example.org", "A", "+dnssec"]);
    assert_eq!(ttls(&www, "www.example.org"), (vec!["3600".to_owned(); 3], "3600".to_owned()), "{www}");

    server.shift(&["www.example.org", "cn.example.org", "*.pool.example.org"], 100.0);
    let www = dig(server.dns[0], &["www.example.org", "A", "+dnssec"]);
    let (after_flip, original) = ttls(&www, "www.example.org");
    assert!(after_flip.iter().all(|ttl| *ttl == after_flip[0] && ttl != "3600") && original == "3600", "{www}");
    answers("");

    let normal = "name = \"www.example.org\"\nttl = { normal = \"2h\" }";
    let pools = pools.replace("name = \"www.example.org\"", normal);
    server.configure(&config("", &pools));
    server.hang_up();
    let original = |s: &Server| ttls(&dig(s.dns[0], &["www.example.org", "A", "+dnssec"]), "www.example.org").1;
    server.wait_for("the larger TTL", |s| original(s) == "7200");
    answers("");
}

/// Regions over sites: each leaf is signed under the outer name, too.
#[test]
fn what_pools_below_pools_answer_validates_under_both_names() {
    let sites = "[[site]]\nname = \"eu\"\n[[site]]\nname = \"us\"\n";
    let pools = "[[pool]]\nname = \"www.example.org\"\nendpoint = [\n\
        { site = \"eu\", pool = \"eu.example.org\", weight = 100 },\n\
        { site = \"us\", address = [\"192.0.2.21\", \"2001:db8::21\"], weight = 0 },\n]\n\
        [[pool]]\nname = \"eu.example.org\"\nttl = { normal = \"30m\" }\nendpoint = [\n\
        { site = \"ec2\", address = [\"192.0.2.11\"], weight = 100 },\n\
        { site = \"dc1\", address = [\"192.0.2.12\", \"2001:db8::12\"], weight = 0 },\n]\n";
    let folder = folder(&config("", &format!("{sites}{pools}")));
    fs::write(folder.path().join("example.org.zone"), zone()).unwrap();
    let server = Server::start_in(folder);
    let answers = |v4: &str, v6: bool| {
        let unbound = Unbound::start(&server, server.path());
        for (name, rtype) in [
            ("www.example.org", "A"),
            ("www.example.org", "AAAA"),
            ("www.example.org", "MX"),
            ("alias.example.org", "A"),
            ("eu.example.org", "A"),
            ("eu.example.org", "AAAA"),
        ] {
            unbound.validates(name, rtype, "NOERROR", &server);
        }
        assert!(unbound.ask("www.example.org", "A").contains(v4));
        assert_eq!(unbound.ask("www.example.org", "AAAA").contains("2001:db8::"), v6);
    };
    answers("192.0.2.11", false);
    let www = dig(server.dns[0], &["www.example.org", "A", "+dnssec"]);
    let (served, original) = ttls(&www, "www.example.org");
    assert!(
        served.iter().all(|ttl| ttl == "1800") && original == "3600",
        "the region's TTL, the pool's own signature: {www}"
    );
    server.shift(&["eu.example.org"], 100.0);
    answers("192.0.2.12", true);
    server.flip(json!({"pools": ["www.example.org"], "from": "eu", "to": "us", "percent": 100})).done();
    answers("192.0.2.21", true);
    let set = json!({"address": ["192.0.2.31"]});
    server.api("PUT", "/api/v1/pools/eu.example.org/endpoints/dc1", set, &[]).done();
    server.flip(json!({"pools": ["www.example.org"], "from": "us", "to": "eu", "percent": 100})).done();
    answers("192.0.2.31", false);
}

#[test]
fn a_key_is_replaced_while_a_validator_watches() {
    let quick = "dnskey-ttl = 1\npropagation = 1\nparent-ds-ttl = 1\nparent-propagation = 1";
    let folder = folder(&config(quick, ""));
    fs::write(folder.path().join("example.org.zone"), ZONE.replace("$TTL 1h", "$TTL 1")).unwrap();
    let server = Server::start_in(folder);
    let path = "/api/v1/zones/example.org/dnssec";
    let post = |word: &str| server.api("POST", &format!("{path}/{word}"), json!({}), &[]);
    let watch = |unbound: &Unbound, what: &str, is: &dyn Fn(&Value) -> bool| {
        let until = Instant::now() + support::SOON;
        loop {
            unbound.validates("plain.example.org", "A", "NOERROR", &server);
            let status = server.get(path);
            if is(&status) {
                return status;
            }
            assert!(Instant::now() < until, "waited in vain for {what}: {status}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let first = Unbound::start(&server, server.path());
    post("roll").refused(409);
    let status = watch(&first, "the parent's turn", &|s| s["waits_for_parent"] == true);
    let ds = status["keys"][0]["ds"].as_str().unwrap().to_owned();
    let cds = dig(server.dns[0], &["example.org", "CDS", "+short"]).replace(' ', "");
    assert_eq!(cds.trim(), ds.replace(' ', ""));
    post("confirm-ds").done();
    post("confirm-ds").refused(409);

    post("roll").done();
    let status = watch(&first, "the new key's turn", &|s| s["keys"][1]["wanted_at_parent"] == true);
    assert_eq!(status["keys"].as_array().unwrap().len(), 2);
    verify(&server);
    let second = Unbound::start(&server, server.path());
    post("confirm-ds").done();
    let until = Instant::now() + support::SOON;
    while server.get(path)["keys"].as_array().unwrap().len() > 1 {
        second.validates("plain.example.org", "A", "NOERROR", &server);
        assert!(Instant::now() < until, "the old key stays");
        std::thread::sleep(Duration::from_millis(200));
    }
    let third = Unbound::start(&server, server.path());
    third.validates("missing.example.org", "A", "NXDOMAIN", &server);
    verify(&server);

    post("leave").done();
    assert_eq!(dig(server.dns[0], &["example.org", "CDNSKEY", "+short"]).trim(), "0 3 0 AA==");
    post("confirm-ds").done();
    server.wait_for("an unsigned zone", |s| dig(s.dns[0], &["example.org", "DNSKEY", "+short"]).is_empty());
    assert!(!dig(server.dns[0], &["plain.example.org", "A", "+dnssec"]).contains("RRSIG"));
}

/// The signatures beside an RRset, by algorithm.
fn algorithms(server: &Server, name: &str, rtype: &str) -> Vec<String> {
    let answer = dig(server.dns[0], &[name, rtype, "+dnssec", "+noall", "+answer"]);
    let fields = answer.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut all: Vec<String> = fields.filter(|f| f[3] == "RRSIG").map(|fields| fields[5].to_owned()).collect();
    all.sort();
    all
}

#[test]
fn the_algorithm_is_replaced_while_validators_watch() {
    let policy = |algorithm: &str| {
        let quick = "dnskey-ttl = 1\npropagation = 1\nparent-ds-ttl = 1\nparent-propagation = 1";
        config(
            &format!("algorithm = \"{algorithm}\"\nkeys = \"ksk-zsk\"\n{quick}"),
            &pool("www.example.org", 100, 0, "ttl = { normal = \"2s\", low = \"1s\" }"),
        )
    };
    let folder = folder(&policy("ecdsap256sha256"));
    fs::write(folder.path().join("example.org.zone"), ZONE.replace("$TTL 1h", "$TTL 1")).unwrap();
    let server = Server::start_in(folder);
    let path = "/api/v1/zones/example.org/dnssec";
    let confirm = || server.api("POST", &format!("{path}/confirm-ds"), json!({}), &[]).done();
    let mut seen: Vec<[Vec<String>; 2]> = Vec::new();
    let mut watch = |unbound: &Unbound, what: &str, is: &dyn Fn(&Value) -> bool| {
        let until = Instant::now() + 2 * support::SOON;
        loop {
            let status = server.get(path); // what is seen below is so, or newer
            for (name, rtype, status) in [
                ("plain.example.org", "A", "NOERROR"),
                ("www.example.org", "A", "NOERROR"),
                ("www.example.org", "AAAA", "NOERROR"),
                ("missing.example.org", "A", "NXDOMAIN"),
            ] {
                unbound.validates(name, rtype, status, &server);
            }
            let now = [algorithms(&server, "example.org", "DNSKEY"), algorithms(&server, "www.example.org", "A")];
            if seen.last() != Some(&now) {
                seen.push(now);
            }
            if is(&status) {
                return;
            }
            assert!(Instant::now() < until, "waited in vain for {what}: {status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let first = Unbound::start(&server, server.path());
    watch(&first, "the parent's turn", &|s| s["waits_for_parent"] == true);
    confirm();
    server.configure(&policy("ed25519"));
    server.hang_up();
    let is_asked =
        |s: &Value| s["keys"].as_array().unwrap().iter().any(|k| k["algorithm"] == "ed25519" && k["asked"].is_string());
    watch(&first, "the new key's turn", &is_asked);
    verify(&server);
    let keys = dig(server.dns[0], &["example.org", "DNSKEY", "+noall", "+answer"]).replace('\t', " ");
    let of = |number: &str| -> Vec<String> {
        keys.lines().filter(|line| line.contains(&format!(" 257 3 {number} "))).map(str::to_owned).collect()
    };
    let second = Unbound::trusting(&[&of("15")[0]], &server, server.path());
    let both = Unbound::trusting(&[&of("13")[0], &of("15")[0]], &server, server.path());
    both.validates("www.example.org", "A", "NOERROR", &server);
    watch(&second, "nothing", &|_| true);
    confirm();
    watch(&second, "the end", &|s| s["keys"].as_array().unwrap().len() == 2);
    verify(&server);
    let one = |number: &str| vec![number.to_owned()];
    let two = || vec!["13".to_owned(), "15".to_owned()];
    let wanted = [
        [one("13"), one("13")],
        [one("13"), two()], // new signatures first
        [two(), two()],     // then the new keys
        [one("15"), two()], // then the old keys are gone
        [one("15"), one("15")],
    ];
    assert_eq!(seen, wanted, "signatures over DNSKEY and over a steered answer");
}

#[test]
fn what_all_endpoints_answer_together_validates() {
    let (port, origins) = Origin::at(&["127.45.1.1", "::1"]);
    let probe = format!(
        "[probe.web]\ntype = \"http\"\nport = {port}\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 2\n"
    );
    let https = "https = [\"1 . alpn=h2 ipv4hint=127.45.1.1 ipv6hint=::1\"]";
    let pools = format!(
        "[[site]]\nname = \"dc2\"\n{probe}[[pool]]\nname = \"www.example.org\"\npolicy = \"all\"\nendpoint = [\n\
         {{ site = \"ec2\", address = [\"192.0.2.11\", \"192.0.2.99\", \"192.0.2.3\"], weight = 1 }},\n\
         {{ site = \"dc1\", address = [\"192.0.2.12\", \"192.0.2.99\", \"2001:db8::12\"], weight = 7 }},\n\
         {{ site = \"dc2\", address = [\"192.0.2.13\"], weight = 0 }},\n]\n\
         [[pool]]\nname = \"*.all.example.org\"\npolicy = \"all\"\nprobe = \"web\"\nendpoint = [\n\
         {{ site = \"ec2\", address = [\"127.45.1.1\", \"::1\"], {https}, weight = 1 }},\n]\n\
         [[pool]]\nname = \"cn.example.org\"\npolicy = \"all\"\nendpoint = [\n\
         {{ site = \"ec2\", cname = \"plain.example.org\", weight = 1 }},\n]\n"
    );
    let server = Server::start(&config("denial = \"nsec3\"", &pools));
    let answers = |wanted: &[(&str, &str, usize)]| {
        let unbound = Unbound::start(&server, server.path());
        for (name, rtype, records) in wanted {
            for _ in 0..3 {
                unbound.validates(name, rtype, "NOERROR", &server);
            }
            let answer = dig(server.dns[0], &[name, rtype, "+dnssec", "+noall", "+answer"]);
            let of_type = answer.lines().filter(|line| is_type(line, rtype)).count();
            assert_eq!(of_type, *records, "{answer}");
        }
    };
    answers(&[
        ("www.example.org", "A", 4),
        ("www.example.org", "AAAA", 1),
        ("www.example.org", "MX", 0),
        ("alias.example.org", "A", 4),
        ("x.all.example.org", "A", 1),
        ("x.all.example.org", "AAAA", 1),
        ("x.all.example.org", "HTTPS", 1),
        ("x.all.example.org", "TXT", 0),
        ("cn.example.org", "A", 1),
    ]);
    // The order is another each time, the signature the same.
    let whole = || dig(server.dns[0], &["www.example.org", "A", "+dnssec", "+short"]);
    let addresses = |answer: &str| answer.lines().take(4).map(str::to_owned).collect::<Vec<_>>();
    let (first, again) = (whole(), (0..40).map(|_| whole()).collect::<Vec<_>>());
    assert!(again.iter().any(|answer| addresses(answer) != addresses(&first)));
    assert!(again.iter().all(|answer| answer.lines().last() == first.lines().last()), "{first}");

    server.force("www.example.org", "dc1", "down").done();
    answers(&[("www.example.org", "A", 3), ("www.example.org", "AAAA", 0)]);
    server.force("www.example.org", "dc1", "obey").done();
    server.flip(json!({"weights": {"www.example.org": {"ec2": 0, "dc2": 5}}})).done();
    answers(&[("www.example.org", "A", 3), ("www.example.org", "AAAA", 1)]);
    let www = dig(server.dns[0], &["www.example.org", "A", "+dnssec"]);
    let (served, original) = ttls(&www, "www.example.org");
    assert!(served.iter().all(|ttl| *ttl == served[0] && ttl != "3600") && original == "3600", "{www}");

    origins[1].fail();
    server.wait_for("IPv6 to be withdrawn", |s| {
        s.pool("*.all.example.org")["endpoints"][0]["health"]["withdrawn"] == "ipv6"
    });
    answers(&[("x.all.example.org", "A", 1), ("x.all.example.org", "AAAA", 0), ("x.all.example.org", "HTTPS", 1)]);
}
