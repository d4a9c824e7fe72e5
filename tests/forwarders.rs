//! What the authority knows and wants of its forwarders, by the API of a real `waypost serve`. Shows that
//!
//! - a token is printed once and opens the forwarder's own stream and reports, nothing else, and nobody else opens those,
//! - a stream tells the state at once and each change after it; a hold only to streams that were open when it began,
//! - what is wanted is kept over a kill of the authority, audited, and refused where it makes no sense,
//! - status shows what is wanted, what is applied, and when the forwarder was last seen,
//! - the API listens with TLS, and the subcommands verify its certificate,
//! - a real `waypost forward` follows over TLS: targets, rungs, holds; it says what it can't do,
//! - authority killed: the hold ends, all else goes on, also after the forwarder's own restart; when the authority is back the
//!   forwarder follows again; an authority that stands still ends a hold too,
//! - who comes is reported, joined with what DNS knows and classed, also after both were restarted, and a rung for a class meets
//!   that class alone,
//! - a wrong token, a wrong certificate, and a damaged state file are told, and it forwards all the same.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use support::{HEAD, SOON, Server, folder, pool, waypost};

const FORWARDERS: &str = "/api/v1/forwarders";

fn config() -> String {
    format!("{HEAD}{}[[forwarder]]\nname = \"old-web-2\"\n", pool("www.example.org", 100, 0, ""))
}

/// Makes a forwarder known; gives its token.
fn add(server: &Server, name: &str) -> String {
    let answer = server.api("POST", FORWARDERS, json!({ "name": name }), &[]).done();
    answer["token"].as_str().unwrap().to_owned()
}

struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Opens a forwarder's stream; the status that it is answered with.
    fn open(server: &Server, name: &str, token: &str) -> Result<Self, String> {
        let mut stream = TcpStream::connect(server.api).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let path = format!("{FORWARDERS}/{name}/stream");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status).unwrap();
        if status.starts_with("HTTP/1.1 200 ") { Ok(Self(reader)) } else { Err(status) }
    }

    /// The next line that says something.
    fn next(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            // Heads, sizes of chunks and signs of life are no objects.
            if let Ok(value @ Value::Object(_)) = serde_json::from_str(&line) {
                return value;
            }
        }
    }
}

#[test]
fn a_token_opens_its_own_paths_alone() {
    let server = Server::start(&config());
    let (one, two) = (add(&server, "old-web-1"), add(&server, "old-web-2"));
    let report = |name: &str, token: &str| {
        let headers = [("Authorization", format!("Bearer {token}"))];
        let path = format!("http://{}{FORWARDERS}/{name}/report", server.api);
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.post(&path);
        for (key, value) in &headers {
            request = request.header(*key, value);
        }
        request
            .send(json!({"run": 1, "seq": 1, "version": "0", "applied": null}).to_string())
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!((report("old-web-1", &one), report("old-web-2", &two)), (200, 200));
    assert_eq!((report("old-web-1", &two), report("nobody", &two)), (401, 401));
    assert!(Stream::open(&server, "old-web-1", &two).is_err());
    let mine = [("Authorization", &*format!("Bearer {one}"))];
    for path in [FORWARDERS, "/api/v1/status", "/api/v1/forwarders/old-web-1"] {
        let status = ureq::get(&format!("http://{}{path}", server.api)).header(mine[0].0, mine[0].1).call();
        assert!(matches!(status, Err(ureq::Error::StatusCode(401))), "{path}: {status:?}");
    }
    assert_eq!(
        server.api("POST", "/api/v1/forwarders/old-web-1/report", json!({}), &[]).status,
        401,
        "not the admin's"
    );

    assert!(server.api("POST", FORWARDERS, json!({"name": "old-web-1"}), &[]).refused(409).contains("already"));
    assert!(server.api("POST", FORWARDERS, json!({"name": "Old Web"}), &[]).refused(400).contains("Old Web"));
    let fresh = server.api("POST", "/api/v1/forwarders/old-web-1/token", Value::Null, &[]).done();
    assert_eq!(report("old-web-1", &one), 401, "the old token is good for nothing");
    assert_eq!(report("old-web-1", fresh["token"].as_str().unwrap()), 200);
    let store = std::fs::read(server.file("state/waypost.redb")).unwrap();
    assert!(!store.windows(two.len()).any(|part| part == two.as_bytes()), "no token is stored");
    assert!(
        server.api("DELETE", "/api/v1/forwarders/old-web-2", Value::Null, &[]).refused(409).contains("configuration")
    );
    server.api("DELETE", "/api/v1/forwarders/old-web-1", Value::Null, &[]).done();
    assert_eq!(server.api("GET", "/api/v1/forwarders/old-web-1", Value::Null, &[]).status, 404);
}

#[test]
fn a_stream_tells_the_state_and_each_change_also_after_a_kill() {
    let mut server = Server::start(&config());
    let token = add(&server, "old-web-1");
    let path = |rest: &str| format!("{FORWARDERS}/old-web-1/{rest}");
    assert!(server.api("PUT", &path("hold"), json!({}), &[]).refused(409).contains("not connected"));
    let mut stream = Stream::open(&server, "old-web-1", &token).unwrap();
    assert_eq!(stream.next()["state"]["revision"], 1);

    let rung =
        json!({"class": "stays", "ladder": {"rung": "close-idle", "age_secs": 600}, "reason": "they keep theirs"});
    let answer =
        server.api("PUT", &path("ladder"), rung, &[("X-Waypost-Author", "anna"), ("If-Match", "\"1\"")]).done();
    assert_eq!((&answer["revision"], &answer["connected"]), (&json!(2), &json!(true)));
    assert_eq!(stream.next()["state"]["ladder"][0]["class"], "stays");
    let stale = json!({"ladder": {"rung": "refuse"}});
    assert_eq!(server.api("PUT", &path("ladder"), stale, &[("If-Match", "\"1\"")]).status, 412);
    let wish = json!({"targets": [{"target": "192.0.2.1:80"}], "pool": "www.example.org", "site": "ec2"});
    server.api("PUT", &path("rules/web"), wish, &[]).done();
    assert_eq!(stream.next()["state"]["rules"]["web"]["targets"][0]["weight"], 100);
    let wrong = json!({"targets": [{"target": "nowhere"}], "pool": "no.example.org", "site": "ec2"});
    assert!(server.api("PUT", &path("rules/web"), wrong, &[]).refused(400).contains("nowhere"));
    let wrong = json!({"pool": "www.example.org", "site": "dc9"});
    assert!(server.api("PUT", &path("rules/web"), wrong, &[]).refused(400).contains("dc9"));

    assert!(server.api("PUT", &path("hold"), json!({"secs": 31}), &[]).refused(400).contains("31"));
    server.api("PUT", &path("hold"), json!({"secs": 30, "rate": 200}), &[]).done();
    assert_eq!(stream.next()["state"]["revision"], 4);
    assert_eq!(stream.next()["holds"][0]["terms"]["rate"], 200);
    let mut late = Stream::open(&server, "old-web-1", &token).unwrap();
    assert_eq!(late.next()["state"]["revision"], 4);
    server.api("DELETE", &path("hold"), Value::Null, &[]).done();
    assert_eq!(stream.next()["state"]["revision"], 5);
    assert_eq!(stream.next()["holds"], json!([]));
    assert_eq!(late.next()["state"]["revision"], 5, "it was told of no hold");
    server.api("PUT", &path("hold"), json!({"secs": 30}), &[]).done();

    server.kill9();
    server.start_again();
    let mut stream = Stream::open(&server, "old-web-1", &token).unwrap();
    let state = stream.next()["state"].clone();
    assert_eq!((&state["revision"], &state["ladder"][0]["set"]), (&json!(6), &json!(2)));
    assert_eq!(state["rules"]["web"]["pool"], "www.example.org");
    let shown = server.get("/api/v1/forwarders/old-web-1");
    assert_eq!((&shown["connected"], &shown["holds"], &shown["applied"]), (&json!(true), &json!([]), &Value::Null));
    let audit = server.get("/api/v1/audit/forwarders");
    let kinds: Vec<_> = audit["entries"].as_array().unwrap().iter().map(|e| e["change"]["kind"].clone()).collect();
    assert_eq!(kinds, ["hold", "release", "hold", "rule", "ladder", "add"]);
    let ladder = &audit["entries"][4];
    assert_eq!((&ladder["author"], &ladder["reason"]), (&json!("anna"), &json!("they keep theirs")));
    assert_eq!(server.get(FORWARDERS)["forwarders"][1]["has_token"], false, "the configuration names it");
    server.terminate();
}

/// A self-signed certificate for 127.0.0.1.
#[track_caller]
fn make_certificate(server_folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=authority"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(server_folder)
        .output()
        .expect("openssl can be run: on Debian from the package openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn subcommands_speak_tls_with_the_authority() {
    let tls = "[api]\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }";
    let folder = folder(&config().replacen("[api]", tls, 1));
    make_certificate(folder.path());
    let server = Server::start_in(folder);
    let run = |arguments: &[&str]| -> Output {
        let mut command = waypost();
        command.args(arguments).args(["--api", &format!("https://{}", server.api)]).env_remove("WAYPOST_CA");
        command.args(["--token-file", "state/admin.token"]).current_dir(server.path()).output().unwrap()
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let added = run(&["forwarder", "add", "old-web-1", "--ca", "cert.pem"]);
    assert!(added.status.success() && text(&added).contains("token-file"), "{added:?}");
    let listed = run(&["forwarder", "list", "--ca", "cert.pem"]);
    assert!(text(&listed).contains("old-web-1  away"), "{listed:?}");
    assert!(text(&run(&["status", "--ca", "cert.pem"])).contains("www.example.org"));
    let stranger = run(&["forwarder", "list"]);
    assert!(!stranger.status.success() && stranger.stdout.is_empty(), "{stranger:?}");
    let rung = run(&[
        "forwarder",
        "rung",
        "old-web-1",
        "--class",
        "never-asked",
        "refuse-part",
        "5",
        "60",
        "--ca",
        "cert.pem",
    ]);
    assert!(text(&rung).contains("old-web-1: revision 2\n  warning: old-web-1 is not connected"), "{rung:?}");
    let held = run(&["forwarder", "hold", "--all", "--ca", "cert.pem"]);
    assert!(text(&held).contains("No forwarder is connected"), "{held:?}");
    let audit = run(&["forwarder", "audit", "--ca", "cert.pem"]);
    assert!(text(&audit).contains("ladder, never-asked: refuse 5 % for 60 s"), "{audit:?}");
}

/// Answers each connection with `word`.
fn target(word: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|mut s| _ = s.write_all(word.as_bytes())));
    address
}

/// A forwarder as a process, in the server's folder.
struct Forwarder {
    child: Child,
    folder: PathBuf,
    entrance: SocketAddr,
}

impl Forwarder {
    fn start(server: &Server, settings: &str) -> Self {
        let folder = server.path().to_owned();
        // A port that was free just now, at an address that no outgoing connection takes.
        let entrance = support::ports::free_address([127, 77, 1, 2]);
        fs::write(folder.join("forward.toml"), settings.replace("ENTRANCE", &entrance.to_string())).unwrap();
        let forwarder = Self { child: spawn_forwarder(&folder), folder, entrance };
        forwarder.wait_for("it listens", |f| TcpStream::connect(f.entrance).is_ok());
        forwarder
    }

    fn start_again(&mut self) {
        self.child = spawn_forwarder(&self.folder);
        self.wait_for("it listens", |f| TcpStream::connect(f.entrance).is_ok());
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("forward.log")).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let until = Instant::now() + SOON;
        while !is(self) {
            assert!(Instant::now() < until, "waited in vain for {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a connection is answered; nothing where it is refused or held for longer than `patience`.
    fn answer_within(&self, patience: Duration) -> Option<String> {
        let mut stream = TcpStream::connect(self.entrance).ok()?;
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut octets = [0; 16];
        let count = stream.read(&mut octets).ok().filter(|count| *count > 0)?;
        Some(String::from_utf8_lossy(&octets[..count]).into_owned())
    }

    fn answer(&self) -> Option<String> {
        self.answer_within(SOON)
    }
}

fn spawn_forwarder(folder: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("forward.log")).unwrap();
    waypost().args(["forward", "-c", "forward.toml"]).current_dir(folder).stderr(log).spawn().unwrap()
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

const SHORT: Duration = Duration::from_millis(300);

/// An authority with TLS that leads `old-web-1`, whose rule `web` leads to `target`.
fn led(target: SocketAddr) -> (Server, Forwarder) {
    // The port stays over restarts of the authority.
    let api = support::ports::free_address([127, 0, 0, 1]);
    let tls = format!("[api]\ntls = {{ certificate = \"cert.pem\", key = \"key.pem\" }}\nlisten = \"{api}\"");
    let folder = folder(&config().replacen("[api]\nlisten = \"127.0.0.1:0\"", &tls, 1));
    make_certificate(folder.path());
    let server = Server::start_in(folder);
    let added = command(&server, &["forwarder", "add", "old-web-1"]);
    fs::write(server.file("forwarder.token"), added.lines().next().unwrap()).unwrap();
    let forwarder = Forwarder::start(
        &server,
        &format!(
            "control = \"control\"\n[authority]\nurl = \"https://{api}\"\nname = \"old-web-1\"\n\
             token-file = \"forwarder.token\"\nca = \"cert.pem\"\n\
             [[rule]]\nname = \"web\"\nlisten = \"ENTRANCE\"\ntarget = \"{target}\"\n"
        ),
    );
    (server, forwarder)
}

/// What a subcommand says, given that it does what it shall.
#[track_caller]
fn command(server: &Server, arguments: &[&str]) -> String {
    let mut command = waypost();
    command.args(arguments).args(["--api", &format!("https://{}", server.api), "--ca", "cert.pem"]);
    let output = command.args(["--token-file", "state/admin.token"]).current_dir(server.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn shown(server: &Server) -> Value {
    serde_json::from_str(&command(server, &["forwarder", "show", "old-web-1", "--json"])).unwrap()
}

#[track_caller]
fn wait_until_applied(server: &Server, revision: u64) {
    server.wait_for("it is applied", |server| shown(server)["applied"] == revision);
}

#[test]
fn a_forwarder_follows_and_goes_on_alone() {
    let (mut server, mut forwarder) = led(target("old"));
    let new = target("new");
    wait_until_applied(&server, 1);
    assert_eq!(forwarder.answer().unwrap(), "old");
    command(&server, &["forwarder", "rule", "old-web-1", "web", "--target", &new.to_string()]);
    command(&server, &["forwarder", "rung", "old-web-1", "--rule", "nonsense", "refuse"]);
    wait_until_applied(&server, 3);
    assert_eq!(forwarder.answer().unwrap(), "new");
    assert_eq!(shown(&server)["problems"], json!(["there is no rule \"nonsense\""]));

    // A hold, let go by word; another, ended by the authority's end.
    command(&server, &["forwarder", "hold", "--all", "--secs", "30"]);
    server.wait_for("it holds", |_| forwarder.answer_within(SHORT).is_none());
    server.wait_for("it tells that it holds", |server| shown(server)["rules"][0]["held"] == true);
    command(&server, &["forwarder", "release", "old-web-1"]);
    assert_eq!(forwarder.answer().unwrap(), "new");
    command(&server, &["forwarder", "hold", "old-web-1", "--secs", "30"]);
    server.wait_for("it holds", |_| forwarder.answer_within(SHORT).is_none());
    let begun = Instant::now();
    server.kill9();
    assert_eq!(forwarder.answer().unwrap(), "new");
    assert!(begun.elapsed() < Duration::from_secs(25), "not the hold's own end");

    // Alone, also after a restart of its own.
    forwarder.kill();
    forwarder.start_again();
    assert_eq!(forwarder.answer().unwrap(), "new");
    server.start_again();
    command(&server, &["forwarder", "rung", "old-web-1", "refuse"]);
    wait_until_applied(&server, 7);
    assert_eq!(forwarder.answer(), None, "refused");
    forwarder.kill();
    forwarder.start_again();
    assert_eq!(forwarder.answer(), None, "the rung stays over a restart");
    command(&server, &["forwarder", "rung", "old-web-1", "forward"]);
    wait_until_applied(&server, 8);
    assert_eq!(forwarder.answer().unwrap(), "new");

    // An authority that stands still is as good as dead to a hold.
    command(&server, &["forwarder", "hold", "old-web-1", "--secs", "30"]);
    server.wait_for("it holds", |_| forwarder.answer_within(SHORT).is_none());
    let begun = Instant::now();
    kill_process(server.pid(), Signal::STOP).unwrap();
    let answer = forwarder.answer();
    let waited = begun.elapsed();
    kill_process(server.pid(), Signal::CONT).unwrap();
    assert_eq!(answer.unwrap(), "new");
    assert!(waited < Duration::from_secs(15), "{waited:?}");
}

#[test]
fn what_is_wrong_is_told_and_it_forwards_all_the_same() {
    let (server, mut forwarder) = led(target("old"));
    wait_until_applied(&server, 1);
    forwarder.kill();
    let token = fs::read(server.file("forwarder.token")).unwrap();
    let state = server.file("control.state");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, &text[..text.len() / 2]).unwrap();
    fs::write(server.file("forwarder.token"), "0123456789abcdef0123456789abcdef").unwrap();
    forwarder.start_again();
    forwarder.wait_for("the damage is told", |f| f.log().contains("it begins anew"));
    forwarder.wait_for("the wrong token is told", |f| f.log().contains("401 Unauthorized"));
    assert_eq!(forwarder.answer().unwrap(), "old");

    // Another authority's certificate, as anybody in between would have.
    forwarder.kill();
    let ours = fs::read(server.file("cert.pem")).unwrap();
    fs::write(server.file("forwarder.token"), token).unwrap();
    let stranger = tempfile::tempdir().unwrap();
    make_certificate(stranger.path());
    fs::copy(stranger.path().join("cert.pem"), server.file("cert.pem")).unwrap();
    forwarder.start_again();
    forwarder.wait_for("the certificate is refused", |f| f.log().contains("invalid peer certificate"));
    assert_eq!(forwarder.answer().unwrap(), "old");
    fs::write(server.file("cert.pem"), ours).unwrap();
    server.wait_for("it is connected", |server| shown(server)["connected"] == true);
}

#[test]
fn who_comes_is_reported_classed_and_nudged_by_class() {
    let (mut server, mut forwarder) = led(target("old"));
    command(&server, &["forwarder", "rule", "old-web-1", "web", "--pool", "www.example.org", "--site", "ec2"]);
    wait_until_applied(&server, 2);
    (0..3).for_each(|_| _ = forwarder.answer());
    let connections = |server: &Server| {
        let told = command(server, &["stragglers", "--pool", "www.example.org", "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let first = &told["pools"][0]["sources"][0];
        (first["connections"].as_u64().unwrap_or(0), first["class"].as_str().unwrap_or("").to_owned())
    };
    // The site is still answered, so it may be a cache's word.
    server.wait_for("it is reported", |server| connections(server) == (3, "cached".to_owned()));

    // The authority forgets, and is told again; the forwarder begins anew at 0, and nothing counts twice.
    server.kill9();
    server.start_again();
    server.wait_for("all is told again", |server| connections(server).0 == 3);
    forwarder.kill();
    forwarder.start_again();
    let come = std::cell::Cell::new(0);
    let before = connections(&server).0;
    _ = forwarder.answer();
    server.wait_for("it goes on", |server| {
        come.set(connections(server).0);
        come.get() > before
    });
    assert!(come.get() <= before + 2, "the look whether it listens, and one more: {}", come.get());

    command(&server, &["forwarder", "rung", "old-web-1", "--class", "never-asked", "refuse"]);
    wait_until_applied(&server, 3);
    assert_eq!(forwarder.answer().unwrap(), "old");
    command(&server, &["forwarder", "rung", "old-web-1", "--class", "cached", "refuse"]);
    forwarder.wait_for("its class is refused", |f| f.answer().is_none());
    command(&server, &["forwarder", "rung", "old-web-1", "--class", "cached", "forward"]);
    forwarder.wait_for("it is taken back", |f| f.answer().is_some());
    let text = command(&server, &["stragglers"]);
    assert!(text.contains("www.example.org\n") && text.contains("127.0.0.1"), "{text}");
}
