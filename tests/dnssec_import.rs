//! Keys that other programs made, brought in by `waypost dnssec import`: made by the real `dnssec-keygen`, `keymgr` and
//! `ldns-keygen`.
//!
//! - a zone signed by BIND with KSK and ZSK is taken over: who trusts its KSK goes on without a break, also over a restart;
//! - a CSK of Knot DNS, in PEM;
//! - keys of RSA, which are not made here;
//! - a ZSK that comes in as published takes over in time;
//! - what does not fit is refused as a whole, with one sentence, and without a word of the key.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use support::validators::{Unbound, dig, verify};
use support::{HEAD, Server, ZONE, folder, waypost};

fn config(policy: &str) -> String {
    let zone = "file = \"example.org.zone\"\nallow-transfer = [\"127.0.0.0/8\"]\ndnssec = { policy = \"test\" }";
    format!("{}[[dnssec-policy]]\nname = \"test\"\n{policy}\n", HEAD.replace("file = \"example.org.zone\"", zone))
}

/// What `program` says, run in `folder`.
#[track_caller]
fn run(folder: &Path, program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).current_dir(folder).output();
    let output = output.unwrap_or_else(|e| panic!("{program} (tests/setup.sh installs it): {e}"));
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn import(server: &Server, arguments: &str) -> Output {
    let mut command = waypost();
    command.args(["dnssec", "import", "example.org"]).env("WAYPOST_API", format!("http://{}", server.api));
    command.args(["--token-file", "state/admin.token"]).args(arguments.split(' ')).current_dir(server.path());
    command.output().unwrap()
}

#[track_caller]
fn imported(server: &Server, arguments: &str) -> String {
    let output = import(server, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The sentence that refuses an import, and the exit code.
#[track_caller]
fn refused(server: &Server, arguments: &str) -> (i32, String) {
    let output = import(server, arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The number in the name `Kexample.org.+013+12345`.
fn tag(name: &str) -> u64 {
    name.rsplit('+').next().unwrap().parse().unwrap()
}

/// Tags of the zone's keys, from the oldest to the newest.
fn tags(server: &Server) -> Vec<u64> {
    let status = server.get("/api/v1/zones/example.org/dnssec");
    status["keys"].as_array().unwrap().iter().map(|key| key["tag"].as_u64().unwrap()).collect()
}

/// The tags that an RRset is signed with.
fn signers(server: &Server, name: &str, rtype: &str) -> Vec<u64> {
    let answer = dig(server.dns[0], &[name, rtype, "+dnssec", "+noall", "+answer"]);
    let fields = answer.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields[3] == "RRSIG").map(|fields| fields[10].parse().unwrap()).collect()
}

/// The transferred zone before `dnssec-verify`.
#[track_caller]
fn bind_verifies(server: &Server, roles: &str) {
    let zone = dig(server.dns[0], &["example.org", "AXFR", "+onesoa"]);
    fs::write(server.file("transferred"), zone).unwrap();
    run(server.path(), "dnssec-verify", &format!("-q {roles} -o example.org transferred"));
}

/// Validates all kinds of answers, with this record as all that is trusted.
#[track_caller]
fn validates(server: &Server, anchor: &str) {
    let unbound = Unbound::trusting(&[anchor], server, server.path());
    for (name, rtype, status) in [
        ("plain.example.org", "A", "NOERROR"),
        ("plain.example.org", "AAAA", "NOERROR"),
        ("missing.example.org", "A", "NXDOMAIN"),
        ("example.org", "DNSKEY", "NOERROR"),
    ] {
        unbound.validates(name, rtype, status, server);
    }
}

/// The DNSKEY record in a `.key` file.
fn dnskey(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| !line.starts_with(';')).unwrap();
    line.split(';').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_zone_that_bind_signed_is_taken_over() {
    let mut server = Server::start(&config("keys = \"ksk-zsk\""));
    let own = tags(&server);
    let ksk = run(server.path(), "dnssec-keygen", "-q -a ECDSAP256SHA256 -f KSK example.org");
    let zsk = run(server.path(), "dnssec-keygen", "-q -a ECDSAP256SHA256 -L 3600 example.org");
    // As it is signed until now; what caches have of it must hold with what they get from now on.
    fs::write(server.file("bind.zone"), ZONE).unwrap();
    run(server.path(), "dnssec-signzone", "-S -z -Q -o example.org -f bind.signed bind.zone");

    let told = imported(&server, &format!("--key {ksk}.key --key {zsk} --state active"));
    assert!(told.contains(&format!("KSK {:>5}  ecdsap256sha256  in use, at the parent", tag(&ksk))), "{told}");
    assert_eq!(tags(&server), [&own[..], &[tag(&ksk), tag(&zsk)]].concat());
    assert_eq!(signers(&server, "plain.example.org", "A"), [tag(&zsk)]);
    assert!(signers(&server, "example.org", "DNSKEY").contains(&tag(&ksk)));
    let cds = dig(server.dns[0], &["example.org", "CDS", "+short"]);
    assert_eq!(cds.split(' ').next(), Some(&*tag(&ksk).to_string()), "{cds}");
    verify(&server);
    bind_verifies(&server, "-x");
    let anchor = dnskey(&server.file(&format!("{ksk}.key")));
    validates(&server, &anchor);
    // The RRSIGs that caches have from BIND validate with the DNSKEY RRset that they get here.
    let keys = dig(server.dns[0], &["example.org", "DNSKEY", "+short"]);
    let public = dnskey(&server.file(&format!("{zsk}.key"))).split(" 13 ").nth(1).unwrap().replace(' ', "");
    assert!(keys.replace(' ', "").contains(&public), "{keys}");

    let file = server.file("state/keys/example.org.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    server.kill9();
    server.start_again();
    assert_eq!(signers(&server, "plain.example.org", "A"), [tag(&zsk)]);
    validates(&server, &anchor);
}

#[test]
fn a_key_of_knot_dns_comes_as_pem() {
    let server = Server::start(&config("algorithm = \"ed25519\""));
    let knot = "database:\n  storage: knot\npolicy:\n  - id: p\n    algorithm: ed25519\n    single-type-signing: on\nzone:\n  \
                - domain: example.org\n    dnssec-signing: on\n    dnssec-policy: p\n";
    fs::write(server.file("knot.conf"), knot).unwrap();
    fs::create_dir(server.file("knot")).unwrap();
    let id = run(server.path(), "keymgr", "-c knot.conf example.org generate algorithm=ed25519 ksk=yes zsk=yes");
    let public = run(server.path(), "keymgr", "-c knot.conf example.org dnskey");
    let pem = format!("knot/keys/keys/{id}.pem");
    let (code, told) = refused(&server, &format!("--key {pem} --state active"));
    assert!(code == 2 && told.contains(&format!("{pem}: error: ")) && told.contains("name its role"), "{told}");
    imported(&server, &format!("--key csk={pem} --state active"));
    let keys = dig(server.dns[0], &["example.org", "DNSKEY", "+short"]).replace(' ', "");
    assert!(keys.contains(&public.split("DNSKEY ").nth(1).unwrap().replace(' ', "")), "{keys} {public}");
    verify(&server);
    bind_verifies(&server, "-z");
    validates(&server, &public);
}

#[test]
fn keys_of_rsa_are_only_imported() {
    let server = Server::start(&config("algorithm = \"rsasha256\"\nkeys = \"ksk-zsk\""));
    assert!(dig(server.dns[0], &["example.org", "DNSKEY", "+short"]).is_empty());
    server.wait_for_log("the zone waits for its keys");
    let ksk = run(server.path(), "ldns-keygen", "-k -a RSASHA256 -b 2048 example.org");
    let zsk = run(server.path(), "dnssec-keygen", "-q -a RSASHA256 -b 2048 example.org");
    let small = run(server.path(), "dnssec-keygen", "-q -a RSASHA256 -b 1024 example.org");
    let (code, told) = refused(&server, &format!("--key {small} --state active"));
    assert!(code == 2 && told.contains(&format!("{small}.private: error: ")) && told.contains("2048"), "{told}");
    imported(&server, &format!("--key {ksk}.private --key {zsk} --state active"));
    assert_eq!(tags(&server), [tag(&ksk), tag(&zsk)]);
    verify(&server);
    bind_verifies(&server, "-x");
    validates(&server, &dnskey(&server.file(&format!("{ksk}.key"))));
    let path = "/api/v1/zones/example.org/dnssec/roll";
    let told = server.api("POST", path, serde_json::json!({}), &[]).refused(409);
    assert!(told.contains("rsasha256 are not made here"), "{told}");
}

#[test]
fn a_published_key_takes_over_in_time() {
    let quick = "keys = \"ksk-zsk\"\ndnskey-ttl = 1\npropagation = 1\nparent-ds-ttl = 1\nparent-propagation = 1";
    let folder = folder(&config(quick));
    fs::write(folder.path().join("example.org.zone"), ZONE.replace("$TTL 1h", "$TTL 1")).unwrap();
    let server = Server::start_in(folder);
    let before = signers(&server, "plain.example.org", "A");
    let zsk = run(server.path(), "ldns-keygen", "-a ECDSAP256SHA256 example.org");
    imported(&server, &format!("--key {zsk} --state published"));
    assert_eq!(signers(&server, "plain.example.org", "A"), before);
    server.wait_for("the new key's turn", |s| signers(s, "plain.example.org", "A") == [tag(&zsk)]);
    verify(&server);
    server.wait_for("the old key's end", |s| !tags(s).contains(&before[0]));
    verify(&server);
}

#[test]
fn what_does_not_fit_is_refused_as_a_whole() {
    let server = Server::start(&config(""));
    let before = tags(&server);
    let csk = run(server.path(), "dnssec-keygen", "-q -a ECDSAP256SHA256 -f KSK example.org");
    let other = run(server.path(), "dnssec-keygen", "-q -a ED25519 -f KSK example.org");
    let zsk = run(server.path(), "dnssec-keygen", "-q -a ECDSAP256SHA256 example.org");
    let foreign = run(server.path(), "dnssec-keygen", "-q -a ECDSAP256SHA256 -f KSK example.net");
    let third = run(server.path(), "dnssec-keygen", "-q -a ECDSAP256SHA256 -f KSK example.org");
    fs::copy(server.file(&format!("{csk}.private")), server.file("mixed.private")).unwrap();
    fs::copy(server.file(&format!("{third}.key")), server.file("mixed.key")).unwrap();
    for (arguments, code, wanted) in [
        (
            format!("--key {csk} --key {other} --state active"),
            1,
            "is of ed25519, but the zone's policy says ecdsap256sha256",
        ),
        (format!("--key {zsk} --state active"), 1, "is a ZSK, but the zone's policy says keys = \"csk\""),
        (format!("--key {csk} --key {csk} --state active"), 1, "is there already"),
        (format!("--key {csk} --key {third} --state active"), 1, "two keys of one role can't be active at once"),
        (format!("--key {foreign} --state active"), 2, "\"example.net.\", not of example.org"),
        ("--key mixed --state active".to_owned(), 2, "is not the public half"),
        ("--key nothing --state active".to_owned(), 2, "nothing.private: No such file"),
        (format!("--key {third} --state published"), 1, "is on its way"),
        (format!("--key {csk}"), 2, "--state"),
        (format!("--key {csk} --state active --api http://192.0.2.1:5380"), 2, "is another machine"),
    ] {
        let (ended, told) = refused(&server, &arguments);
        assert!(ended == code && told.contains(wanted), "{arguments}: {ended} {told}");
    }
    assert_eq!(tags(&server), before, "nothing has changed");
    let private = fs::read_to_string(server.file(&format!("{csk}.private"))).unwrap();
    let secret = private.lines().find_map(|line| line.strip_prefix("PrivateKey: ")).unwrap();
    let body = serde_json::json!({"keys": [{"private": secret}], "state": "active"});
    let told = server.api("POST", "/api/v1/zones/example.org/dnssec/import", body, &[]);
    assert!(told.status == 400 && !told.text.contains(secret), "{}", told.text);
    imported(&server, &format!("--key {csk} --state active"));
    let (_, told) = refused(&server, &format!("--key {third} --state active"));
    assert!(told.contains(&format!("key {} is in service", tag(&csk))), "{told}");
    assert!(!server.log().contains(secret));
}
