//! Dynamic updates (RFC 2136), as the programs that people use ask for them:
//! - nsupdate and knsupdate add, replace and delete, over UDP and TCP, with prerequisites, signed or from an allowed address;
//! - the answer comes when the change is served, with the serial raised, and `kill -9` takes nothing of it back;
//! - a key changes what its policy says and nothing else; who may nothing is refused, who signs badly is told NOTAUTH;
//! - a type that a pool answers is refused, and the log says so; but a key with the right to it says the addresses of an endpoint;
//! - an update that takes a name from the pool of a wildcard is made, and the log says what it does;
//! - nothing that takes a pool away by delegation, DNAME or CNAME is taken; what stands in the store all the same stops no start;
//! - certbot and lego get certificates from pebble by DNS-01.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{HEAD, Server, folder, pool};

const SECRET: &str = "c2l4dGVlbiBvY3RldHMgYXQgbGVhc3QgZm9yIGEga2V5";

fn config() -> String {
    let keys =
        ["admin", "acme", "web"].map(|name| format!("[[tsig]]\nname = \"{name}\"\nsecret = \"{SECRET}\"\n")).concat();
    let zone = "file = \"example.org.zone\"\nallow-update = [\"key:admin\", \"127.0.0.9\"]\n\
                update-policy = [{ key = \"acme\", names = [\"_acme-challenge.*\"], types = [\"TXT\"] },\n\
                { key = \"web\", pool = \"www.example.org\", site = \"ec2\" }]";
    let head = HEAD.replace("file = \"example.org.zone\"", zone);
    format!("{head}{keys}{}", pool("www.example.org", 100, 0, ""))
}

/// What a program does with `lines`: whether it succeeded, and what it said.
fn run(program: &str, at: SocketAddr, key: Option<&str>, from: &str, lines: &str) -> (bool, String) {
    let mut command = Command::new(program);
    if lines.len() > 400 {
        command.arg("-v"); // over TCP, which knsupdate does not choose by itself
    }
    if let Some(key) = key {
        command.args(["-y", &format!("hmac-sha256:{key}")]);
    }
    let local = if from.is_empty() { String::new() } else { format!("local {from}\n") };
    let text = format!("server {} {}\nzone example.org.\n{local}{lines}\nsend\n", at.ip(), at.port());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}; see tests/setup.sh"));
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.success() && !said.contains("failed"), said)
}

fn key(name: &str) -> String {
    format!("{name}:{SECRET}")
}

/// The answer to a question, as dig prints it shortly.
fn dig(at: SocketAddr, name: &str, rtype: &str) -> String {
    let port = at.port().to_string();
    let output = Command::new("dig").args(["+short", "@127.0.0.1", "-p", &port, name, rtype]).output();
    String::from_utf8(output.expect("dig; see tests/setup.sh").stdout).unwrap()
}

fn serial(at: SocketAddr) -> u32 {
    dig(at, "example.org", "SOA").split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
fn programs_change_a_zone_and_it_stays_changed() {
    let mut server = Server::start(&config());
    let mut expected = serial(server.dns[0]);
    for program in ["nsupdate", "knsupdate"] {
        let at = server.dns[0];
        let step = |lines: &str, good: bool| {
            let (done, said) = run(program, at, Some(&key("admin")), "", lines);
            assert_eq!(done, good, "{program}: {lines}: {said}");
            said
        };
        step("add new.example.org. 300 A 192.0.2.1\nadd new.example.org. 300 A 192.0.2.2", true);
        expected += 1;
        assert_eq!(serial(at), expected, "{program}");
        assert_eq!(dig(at, "new.example.org", "A").lines().count(), 2);
        step("prereq yxrrset new.example.org. A\nadd new.example.org. 300 TXT \"there\"", true);
        let said = step("prereq nxdomain new.example.org.\nadd new.example.org. 300 TXT \"never\"", false);
        assert!(said.contains("YXDOMAIN"), "{said}");
        step("del new.example.org. A 192.0.2.1", true);
        assert_eq!(dig(at, "new.example.org", "A"), "192.0.2.2\n");
        step("del new.example.org.", true);
        assert_eq!(dig(at, "new.example.org", "ANY"), "");
        let line = |i: u32| format!("add big.example.org. 60 TXT \"number {i} of many\"");
        step(&(0..200).map(line).collect::<Vec<_>>().join("\n"), true);
        step("del big.example.org. TXT", true);
        expected += 5;
        assert_eq!(serial(at), expected, "{program}: what was refused raised nothing");
        step(&format!("add kept-{program}.example.org. 60 A 192.0.2.9"), true);
        expected += 1;
    }
    let at = server.dns[0];
    let (done, said) = run("nsupdate", at, None, "127.0.0.9", "add plain2.example.org. 60 A 192.0.2.3");
    assert!(done, "{said}");
    server.kill9();
    server.start_again();
    let at = server.dns[0];
    assert_eq!(serial(at), expected + 1);
    for name in ["kept-nsupdate", "kept-knsupdate", "plain2"] {
        assert_ne!(dig(at, &format!("{name}.example.org"), "A"), "", "{name}");
    }
}

#[test]
fn a_name_that_a_wildcard_no_longer_answers_for_is_told() {
    let server = Server::start(&format!("{}{}", config(), pool("*.example.org", 100, 0, "")));
    let at = server.dns[0];
    assert_eq!(dig(at, "foo.example.org", "A"), "192.0.2.11\n");
    let (done, said) = run("nsupdate", at, Some(&key("acme")), "", "add _acme-challenge.foo.example.org. 60 TXT \"x\"");
    assert!(done, "{said}");
    assert_eq!(dig(at, "foo.example.org", "A"), "", "it exists now, without records");
    assert_eq!(dig(at, "bar.example.org", "A"), "192.0.2.11\n");
    server.wait_for_log(
        "does not answer for foo.example.org, which exists without records because of _acme-challenge.foo",
    );
}

#[test]
fn a_key_changes_what_it_may_and_nothing_else() {
    let server = Server::start(&config());
    let at = server.dns[0];
    let before = serial(at);
    let refused = |key: Option<&str>, from: &str, lines: &str, rcode: &str| {
        let (done, said) = run("nsupdate", at, key, from, lines);
        assert!(!done && said.contains(rcode), "{lines}: {said}");
    };
    let acme = key("acme");
    refused(Some(&acme), "", "add plain.example.org. 60 TXT x", "REFUSED");
    refused(Some(&acme), "", "add _acme-challenge.example.org. 60 CNAME elsewhere.example.org.", "REFUSED");
    refused(
        Some(&acme),
        "",
        "add _acme-challenge.example.org. 60 TXT x\nadd plain.example.org. 60 A 192.0.2.1",
        "REFUSED",
    );
    refused(None, "127.0.0.2", "add plain.example.org. 60 A 192.0.2.1", "REFUSED");
    refused(Some(&key("admin")), "", "add www.example.org. 60 A 192.0.2.1", "REFUSED");
    refused(Some(&key("nobody")), "", "add plain.example.org. 60 A 192.0.2.1", "NOTAUTH");
    refused(Some(&key("admin")), "", "add other.example.net. 60 A 192.0.2.1", "NOTZONE");
    assert_eq!(serial(at), before);
    assert!(server.log().contains("a pool answers for this name and type"), "{}", server.log());

    let (done, said) = run("nsupdate", at, Some(&acme), "", "add _acme-challenge.www.example.org. 60 TXT token");
    assert!(done, "{said}");
    assert_eq!(dig(at, "_acme-challenge.www.example.org", "TXT"), "\"token\"\n");
    let (done, said) = run("nsupdate", at, Some(&key("admin")), "", "add www.example.org. 60 TXT beside");
    assert!(done, "{said}");
}

#[test]
fn an_edit_of_the_file_and_updates_go_together() {
    let folder = folder(&config());
    let file = folder.path().join("example.org.zone");
    let server = Server::start_in(folder);
    let at = server.dns[0];
    let before = serial(at);
    assert!(run("nsupdate", at, Some(&key("admin")), "", "add dyn.example.org. 60 A 192.0.2.1").0);
    let text = fs::read_to_string(&file).unwrap() + "edited A 192.0.2.44\n";
    fs::write(&file, text).unwrap();
    server.reload().done();
    assert_eq!(
        (dig(at, "dyn.example.org", "A"), dig(at, "edited.example.org", "A")),
        ("192.0.2.1\n".into(), "192.0.2.44\n".into())
    );
    assert_eq!(serial(at), before + 2, "it was not raised in the file, and went up all the same");
}

/// pebble, an ACME server that asks `dns` about challenges, with its API's certificate.
struct Pebble {
    child: std::process::Child,
    directory: String,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Pebble {
    fn start(folder: &Path, dns: SocketAddr) -> Self {
        let certificate = folder.join("pebble.pem");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=pebble", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
            .arg("-keyout")
            .arg(folder.join("pebble.key"))
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl; see tests/setup.sh");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let ports = [(); 2].map(|()| support::ports::free_address([127, 0, 0, 1]));
        let config = serde_json::json!({ "pebble": {
            "listenAddress": ports[0].to_string(), "managementListenAddress": ports[1].to_string(),
            "certificate": certificate, "privateKey": folder.join("pebble.key"),
            "httpPort": 5002, "tlsPort": 5001, "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        fs::write(folder.join("pebble.json"), config.to_string()).unwrap();
        let child = Command::new("pebble")
            .arg("-config")
            .arg(folder.join("pebble.json"))
            .args(["-dnsserver", &dns.to_string()])
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble; see tests/setup.sh");
        let until = std::time::Instant::now() + support::SOON;
        while TcpStream::connect(ports[0]).is_err() {
            assert!(std::time::Instant::now() < until, "pebble does not listen");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self { child, directory: format!("https://{}/dir", ports[0]) }
    }
}

#[test]
fn certbot_and_lego_get_certificates() {
    let server = Server::start(&config());
    let (folder, at) = (server.path().to_owned(), server.dns[0]);
    let pebble = Pebble::start(&folder, at);
    let before = serial(at);

    let credentials = folder.join("rfc2136.ini");
    let text = format!(
        "dns_rfc2136_server = {}\ndns_rfc2136_port = {}\ndns_rfc2136_name = acme\ndns_rfc2136_secret = {SECRET}\n\
         dns_rfc2136_algorithm = HMAC-SHA256\n",
        at.ip(),
        at.port()
    );
    fs::write(&credentials, text).unwrap();
    fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).unwrap();
    let mut certbot = Command::new("certbot");
    certbot.args(["certonly", "--non-interactive", "--agree-tos", "-m", "nobody@example.org", "--no-eff-email"]);
    certbot.args(["--server", &pebble.directory, "-d", "example.org", "-d", "*.example.org", "--dns-rfc2136"]);
    certbot.arg("--dns-rfc2136-credentials").arg(&credentials).args(["--dns-rfc2136-propagation-seconds", "1"]);
    for (option, sub) in [("--config-dir", "config"), ("--work-dir", "work"), ("--logs-dir", "logs")] {
        certbot.arg(option).arg(folder.join("certbot").join(sub));
    }
    let output =
        certbot.env("REQUESTS_CA_BUNDLE", folder.join("pebble.pem")).output().expect("certbot; see tests/setup.sh");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}\n{}", server.log());
    assert!(folder.join("certbot/config/live/example.org/fullchain.pem").exists(), "{said}");

    let mut lego = Command::new("lego");
    lego.args(["--server", &pebble.directory, "--accept-tos", "--email", "nobody@example.org", "--dns", "rfc2136"]);
    lego.args(["--dns.resolvers", &at.to_string(), "--dns.disable-cp", "--domains", "www.example.org"]);
    lego.arg("--path").arg(folder.join("lego")).arg("run").env("LEGO_CA_CERTIFICATES", folder.join("pebble.pem"));
    lego.envs([("RFC2136_TSIG_KEY", "acme."), ("RFC2136_TSIG_SECRET", SECRET)]);
    lego.envs([("RFC2136_TSIG_ALGORITHM", "hmac-sha256."), ("RFC2136_NAMESERVER", &at.to_string())]);
    let output = lego.output().expect("lego; see tests/setup.sh");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}\n{}", server.log());
    assert!(folder.join("lego/certificates/www.example.org.crt").exists(), "{said}");

    assert!(serial(at) >= before + 4, "each set a token and took it away");
    for name in ["_acme-challenge.example.org", "_acme-challenge.www.example.org"] {
        assert_eq!(dig(at, name, "TXT"), "");
    }
}

#[test]
fn a_key_with_the_right_says_the_addresses_of_an_endpoint() {
    let mut server = Server::start(&config());
    let update = |server: &Server, name: &str, lines: &str| run("nsupdate", server.dns[0], Some(&key(name)), "", lines);
    let addresses = |server: &Server| {
        let mut found: Vec<String> = dig(server.dns[0], "www.example.org", "A").lines().map(str::to_owned).collect();
        found.sort();
        found
    };
    let (done, said) = update(&server, "web", "add www.example.org. 60 A 192.0.2.21");
    assert!(done, "{said}\n{}", server.log());
    assert_eq!(addresses(&server), ["192.0.2.11", "192.0.2.21"]);
    let (done, said) =
        update(&server, "web", "del www.example.org. A 192.0.2.11\nadd www.example.org. 60 AAAA 2001:db8::1");
    assert!(done, "{said}");
    assert_eq!(addresses(&server), ["192.0.2.21"]);
    assert_eq!(dig(server.dns[0], "www.example.org", "AAAA"), "2001:db8::1\n");
    assert_eq!(server.newest()["author"], "key:web");
    server.kill9();
    server.start_again();
    assert_eq!(addresses(&server), ["192.0.2.21"]);
    for (name, lines) in [
        ("web", "del www.example.org."), // the endpoint would have none
        ("web", "add www.example.org. 60 A 192.0.2.22\nadd other.example.org. 60 A 192.0.2.22"),
        ("web", "add other.example.org. 60 A 192.0.2.22"),
        ("web", "add www.example.org. 60 TXT no"),
        ("admin", "add www.example.org. 60 A 192.0.2.22"),
    ] {
        let (done, said) = update(&server, name, lines);
        assert!(!done && said.contains("REFUSED"), "{name}: {lines}: {said}");
    }
    assert!(server.log().contains("a pool answers for this name and type"), "{}", server.log());
    let (done, said) = update(&server, "web", "prereq nxdomain www.example.org.\nadd www.example.org. 60 A 192.0.2.22");
    assert!(!done && said.contains("YXDOMAIN"), "{said}");
    assert_eq!(addresses(&server), ["192.0.2.21"]);
}

/// A pool that gives a CNAME.
fn cname_pool(name: &str) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\nendpoint = [{{ site = \"ec2\", cname = \"plain.example.org.\", weight = 1 }}]\n"
    )
}

#[test]
fn no_update_takes_a_pool_away() {
    let pools = [pool("svc.deep.example.org", 100, 0, ""), cname_pool("c.example.org")].concat();
    let mut server = Server::start(&(config() + &pools));
    let answers = |server: &Server| {
        ["www.example.org", "svc.deep.example.org", "c.example.org"].map(|name| dig(server.dns[0], name, "A"))
    };
    let (answered, before) = (answers(&server), serial(server.dns[0]));
    assert_eq!(answered, ["192.0.2.11\n", "192.0.2.11\n", "plain.example.org.\n192.0.2.7\n"]);
    for line in [
        "add www.example.org. 60 NS ns1.example.org.",
        "add svc.deep.example.org. 60 NS ns1.example.org.",
        "add deep.example.org. 60 NS ns1.example.org.",
        "add deep.example.org. 60 DNAME example.net.",
        "add example.org. 60 DNAME example.net.",
        "add svc.deep.example.org. 60 CNAME plain.example.org.",
        "add c.example.org. 60 TXT beside",
        "add c.example.org. 60 A 192.0.2.1",
        "add fine.example.org. 60 TXT x\nadd deep.example.org. 60 NS ns1.example.org.",
    ] {
        let (done, said) = run("nsupdate", server.dns[0], Some(&key("admin")), "", line);
        assert!(!done && said.contains("REFUSED"), "{line}: {said}");
    }
    assert_eq!((answers(&server), serial(server.dns[0])), (answered.clone(), before));
    assert_eq!(dig(server.dns[0], "fine.example.org", "TXT"), "", "nothing of it is made");
    server.wait_for_log("pool \"svc.deep.example.org\" is below the zone cut \"deep.example.org\"");
    // What hides no pool is as good as ever, and so is what takes itself back.
    for line in [
        "add deeper.example.org. 60 NS ns1.example.org.",
        "add deep.example.org. 60 TXT here",
        "add deep.example.org. 60 NS ns1.example.org.\ndel deep.example.org. NS",
    ] {
        let (done, said) = run("nsupdate", server.dns[0], Some(&key("admin")), "", line);
        assert!(done, "{line}: {said}");
    }
    server.reload().done();
    server.kill9();
    server.start_again();
    assert_eq!(answers(&server), answered);
}

#[test]
fn what_the_store_holds_over_a_pool_stops_no_start() {
    let mut server = Server::start(&config());
    let update = |server: &Server, line: &str| {
        let (done, said) = run("nsupdate", server.dns[0], Some(&key("admin")), "", line);
        assert!(done, "{line}: {said}");
    };
    update(&server, "add deep.example.org. 60 NS ns1.example.org.");
    update(&server, "add moved.example.org. 60 DNAME example.net.");
    update(&server, "add other.example.org. 60 CNAME plain.example.org.");
    let names = ["svc.deep.example.org", "svc.moved.example.org", "other.example.org"];
    let pools = names.map(|name| pool(name, 100, 0, "")).concat();
    server.configure(&(config() + &pools));
    let refusal = server.reload().refused(422);
    assert!(refusal.contains("zone cut"), "what comes anew is refused: {refusal}");
    // Something that was changed at run time is brought over the file at a start, and judged there.
    let path = "/api/v1/pools/www.example.org/endpoints/ec2";
    server.api("PUT", path, serde_json::json!({"address": ["192.0.2.21"]}), &[]).done();

    server.terminate();
    server.start_again();
    for (name, what) in names.iter().zip(["is below the zone cut", "is below the DNAME", "has a CNAME"]) {
        let told = |line: &str| line.contains("WARN") && line.contains(&format!("{name}\"")) && line.contains(what);
        assert!(server.log().lines().any(told), "{name}: {}", server.log());
    }
    assert_eq!(dig(server.dns[0], "www.example.org", "A"), "192.0.2.21\n");
    server.reload().done();
    update(&server, "add unrelated.example.org. 60 TXT x");
    update(&server, "del deep.example.org. NS");
    assert_eq!(dig(server.dns[0], names[0], "A"), "192.0.2.11\n");
    let (done, said) =
        run("nsupdate", server.dns[0], Some(&key("admin")), "", "add deep.example.org. 60 NS ns1.example.org.");
    assert!(!done && said.contains("REFUSED"), "what is mended stays so: {said}");
    server.reload().done();
}
