//! TTLs of RRsets that the zone itself answers (`[[rrset]]`), on a running server:
//! - the TTL counts down to a cutover, by step too, `max-wait` bounds it; all else keeps its own TTL;
//! - each copy counts: ANY, a wildcard's, a CNAME in front of its target; addresses of it are no additional data;
//! - nsupdate and an edit of the file change it: it stays low, grows back, and the horizon covers each answer given before;
//! - over `kill -9` and a clean stop the cutover stays, and the horizon is never too early;
//! - what is not there yet is denied for no longer than it is planned;
//! - who was given the zone counts with its EXPIRE until it has taken the change;
//! - in a signed zone the TTL of signatures follows, the Original TTL stays;
//! - what can't be planned is refused, all mistakes at once.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::{addresses, rcode, ttl};
use support::{HEAD, Server, fail_in, folder, from_now, instant, now, pool};

const APEX: &str = "example.org";

/// Rounding and transit: what a horizon adds to sent + TTL.
const MARGIN: u64 = 3;
/// What a commit provides for.
const STALL: u64 = 10;

const ZONE: &str = "\
$TTL 1h
@      SOA ns1 hostmaster 2026010101 1h 15m 4w 5m
       NS  ns1
       MX  10 mail1
       TXT \"plain\"
ns1    A   127.0.0.1
mail1  A   192.0.2.21
mail2  A   192.0.2.22
alias  CNAME mail1
*.wild TXT \"wild\"
lab    NS  ns.lab
ns.lab A   192.0.2.53
";

fn start(zone: &str, config: &str) -> Server {
    let update = "file = \"example.org.zone\"\nallow-update = [\"127.0.0.1\"]";
    let folder = folder(&config.replacen("file = \"example.org.zone\"", update, 1));
    fs::write(folder.path().join("example.org.zone"), zone).unwrap();
    Server::start_in(folder)
}

fn rrset(name: &str, types: &str, ttl: &str) -> String {
    format!("[[rrset]]\nname = \"{name}\"\ntypes = [{types}]\nttl = {{ {ttl} }}\n")
}

fn server(ttl: &str) -> Server {
    start(ZONE, &format!("{HEAD}{}", rrset(APEX, "\"MX\"", ttl)))
}

fn set(server: &Server, name: &str, at: &Value) -> support::Reply {
    server.api("PUT", &format!("/api/v1/rrsets/{name}/cutover"), json!({"at": at, "reason": "tonight"}), &[])
}

/// One planned RRset of the status.
fn status(server: &Server, name: &str, rtype: &str) -> Value {
    let all = server.get(&format!("/api/v1/rrsets/{name}"))["rrsets"].clone();
    all.as_array().unwrap().iter().find(|rrset| rrset["type"] == rtype).cloned().unwrap()
}

/// The TTL of an answer, and the seconds that the clock showed before and after it was sent.
fn served(server: &Server, name: &str, rtype: T) -> (u64, u64, u64) {
    let before = now();
    let message = server.ask(name, rtype);
    (u64::from(ttl(&message)), before, now())
}

/// The TTL of the SOA in AUTHORITY.
fn denied(message: &Message) -> u64 {
    assert!(message.answers.is_empty(), "{message:?}");
    u64::from(message.authorities.iter().find(|r| r.record_type() == T::SOA).unwrap().ttl)
}

fn nsupdate(at: SocketAddr, lines: &str) {
    let text = format!("server {} {}\nzone example.org.\nlocal 127.0.0.1\n{lines}\nsend\n", at.ip(), at.port());
    let mut command = Command::new("nsupdate");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("nsupdate: {e}; see tests/setup.sh"));
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

const MOVE: &str = "del example.org. MX\nadd example.org. 3600 MX 10 mail2.example.org.";

/// The horizon of what it was before its last change.
fn horizon(server: &Server, name: &str, rtype: &str) -> (u64, bool) {
    let horizon = status(server, name, rtype)["horizon"].clone();
    (instant(&horizon["at"]), horizon["at_least"].as_bool().unwrap())
}

#[test]
fn it_counts_down_and_nothing_else_does() {
    let server = server("normal = 100, low = 2, spread = 0");
    assert_eq!(served(&server, APEX, T::MX).0, 100, "not above normal");
    assert_eq!(served(&server, APEX, T::TXT).0, 3600);
    let at = now() + 7;
    let done = set(&server, APEX, &json!(waypost::time::Timestamp(at).to_string())).done();
    assert!(done["warnings"][0].as_str().unwrap().contains("is too early"), "{done}");
    let mut seen = Vec::new();
    while now() <= at + 1 {
        let (ttl, before, after) = served(&server, APEX, T::MX);
        let expected = |now: u64| at.saturating_sub(now).max(2);
        assert!((expected(after)..=expected(before)).contains(&ttl), "{ttl} at {before}..={after}, cutover {at}");
        seen.push(ttl);
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(seen.windows(2).all(|pair| pair[0] >= pair[1]) && seen[0] >= 5 && seen.ends_with(&[2]), "{seen:?}");
    let answer = server.ask(APEX, T::MX);
    let additional = &answer.additionals[0];
    assert_eq!((additional.name.to_string().as_str(), additional.ttl), ("mail1.example.org.", 3600));
    assert_eq!(served(&server, APEX, T::NS).0, 3600);
    assert_eq!(denied(&server.ask("no.example.org", T::A)), 300);
    let status = server.status();
    assert!(status["warnings"].to_string().contains("has passed"), "{}", status["warnings"]);
    server.wait_for_log("the cutover has passed without a change");
    assert_eq!(status["rrsets"][0]["ttl"], json!({"normal": 100, "low": 2, "served": 2}));
}

#[test]
fn in_steps_or_no_longer_than_agreed() {
    let config = [
        rrset(APEX, "\"MX\"", "normal = 4, low = 1, mode = \"step\""),
        rrset(APEX, "\"NS\"", "low = 1, spread = 0, max-wait = 300"),
    ];
    let server = start(ZONE, &format!("{HEAD}{}", config.concat()));
    let at = now() + 7;
    set(&server, APEX, &json!(waypost::time::Timestamp(at).to_string())).done();
    let mut seen = Vec::new();
    while now() < at {
        let (ttl, before, after) = served(&server, APEX, T::MX);
        if before == after {
            assert_eq!(ttl, if at - before > 4 { 4 } else { 1 }, "{} s ahead", at - before);
            seen.push(ttl);
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(seen.contains(&4) && seen.contains(&1), "{seen:?}");
    let only_ns = json!({"types": ["NS"], "at": from_now(5000)});
    assert_eq!(served(&server, APEX, T::NS).0, 1, "both types were planned together");
    server.api("PUT", "/api/v1/rrsets/example.org/cutover", only_ns, &[]).done();
    assert_eq!(served(&server, APEX, T::NS).0, 300);
    assert!(status(&server, APEX, "MX")["cutover"] != status(&server, APEX, "NS")["cutover"]);
    let cleared = json!({"types": ["NS"], "reason": "not tonight"});
    server.api("DELETE", "/api/v1/rrsets/example.org/cutover", cleared, &[]).done();
    assert_eq!(served(&server, APEX, T::NS).0, 3600, "its own");
}

#[test]
fn each_copy_has_the_planned_ttl_and_counts() {
    let config = [
        rrset("mail1.example.org", "\"A\"", "normal = 1000, low = 1"),
        rrset("alias.example.org", "\"CNAME\"", "normal = 900, low = 1"),
        rrset("*.wild.example.org", "\"TXT\"", "normal = 800, low = 1"),
    ];
    let server = start(ZONE, &format!("{HEAD}{}", config.concat()));
    let ttls = |message: &Message| message.answers.iter().map(|r| r.ttl).collect::<Vec<_>>();
    assert_eq!(ttls(&server.ask("alias.example.org", T::A)), [900, 1000]);
    assert_eq!(ttls(&server.ask("alias.example.org", T::CNAME)), [900]);
    assert_eq!(ttls(&server.ask("a.wild.example.org", T::TXT)), [800]);
    assert_eq!(ttls(&server.ask("mail1.example.org", T::ANY)), [1000]);
    let answers = |name: &str, rtype: &str| status(&server, name, rtype)["answers"].as_u64().unwrap();
    assert_eq!(answers("mail1.example.org", "A"), 2);
    assert_eq!(answers("alias.example.org", "CNAME"), 2);
    assert_eq!(answers("*.wild.example.org", "TXT"), 1);
    let mx = server.ask(APEX, T::MX);
    assert!(mx.additionals.is_empty(), "who wants it asks for it: {mx:?}");
    assert_eq!(rcode(&server.ask("wild.example.org", T::TXT)), rcode(&mx), "the name itself is there, without TXT");
}

#[test]
fn an_update_leaves_it_low_and_the_horizon_covers_what_was_given() {
    let server = server("normal = 8, low = 1, spread = 0");
    assert_eq!(status(&server, APEX, "MX")["horizon"], Value::Null);
    let (mut first, mut last) = (0, 0);
    for i in 0..40 {
        let before = now();
        let question = server.question(APEX, T::MX);
        let answer = if i % 3 == 0 { question.tcp() } else { question }.send();
        (first, last) = (before + u64::from(ttl(&answer)), now() + u64::from(ttl(&answer)));
    }
    let changed = now();
    nsupdate(server.dns[0], MOVE);
    assert_eq!(addresses(&server.ask(APEX, T::MX)), ["10 mail2.example.org."]);
    server.wait_for("all workers to have left", |s| !horizon(s, APEX, "MX").1);
    let at = horizon(&server, APEX, "MX").0;
    // A plan that has just begun provides for what was given before it, at the zone's own TTL.
    assert!(at >= first + MARGIN && last > 0, "{at} is too early");
    assert!(at <= changed + 3600 + STALL + MARGIN);
    let mut seen: Vec<u64> = Vec::new();
    while seen.last() != Some(&8) && now() < changed + 30 {
        let ttl = served(&server, APEX, T::MX).0;
        if seen.last() != Some(&ttl) {
            seen.push(ttl);
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    assert!(seen == [1, 2, 4, 8] || seen == [2, 4, 8], "{seen:?}");
    let told = server.get("/api/v1/explain?name=example.org&type=MX&client=127.0.0.1")["steps"].to_string();
    assert!(told.contains("the TTL of its MX is planned: 8 s, the least of: 8 s, the normal one"), "{told}");
    assert!(told.contains("the last answer of this server with it as it was lives until"), "{told}");
}

#[test]
fn the_change_that_was_planned_ends_the_cutover_and_is_known_to_the_second() {
    let server = server("normal = 600, low = 1, spread = 0");
    // What the zone's own TTL left behind, before it was planned, is waited out by a second plan: it is known by then.
    let at = now() + 4;
    set(&server, APEX, &json!(waypost::time::Timestamp(at).to_string())).done();
    nsupdate(server.dns[0], "del example.org. MX\nadd example.org. 3600 MX 10 mail3.example.org.");
    let early = status(&server, APEX, "MX");
    assert_eq!(instant(&early["cutover"]), at, "it was planned for later");
    server.wait_for_log("ahead of the cutover");
    let before = horizon(&server, APEX, "MX").0;
    while now() < at {
        served(&server, APEX, T::MX);
        std::thread::sleep(Duration::from_millis(50));
    }
    nsupdate(server.dns[0], MOVE);
    let planned = status(&server, APEX, "MX");
    assert_eq!(planned["cutover"], Value::Null, "it has done its work");
    assert!(horizon(&server, APEX, "MX").0 >= before, "what was before is held for as long as it was");
}

#[test]
fn horizons_are_exact_over_a_clean_stop_and_never_too_early_over_a_kill() {
    let ttl = "normal = 500, low = 20, spread = 0";
    let mut server = server(ttl);
    // Two changes ahead: what was given before the plan began is far away, and no longer counts for the next ones.
    let given = |server: &Server| {
        let before = now();
        let ttl = u64::from(support::dns::ttl(&server.ask(APEX, T::MX)));
        (before + ttl, now() + ttl)
    };
    given(&server);
    nsupdate(server.dns[0], MOVE);
    let second = given(&server);
    server.wait_for("all workers to have left", |s| !horizon(s, APEX, "MX").1);
    let first = horizon(&server, APEX, "MX");
    server.terminate();
    server.start_again();
    assert_eq!(horizon(&server, APEX, "MX"), first, "to the second");
    let changed_at = status(&server, APEX, "MX")["changed_at"].clone();
    set(&server, APEX, &json!(from_now(900))).done();
    let cutover = status(&server, APEX, "MX")["cutover"].clone();
    server.kill9();
    server.start_again();
    assert_eq!(status(&server, APEX, "MX")["cutover"], cutover);
    assert_eq!(status(&server, APEX, "MX")["changed_at"], changed_at);
    assert_eq!(horizon(&server, APEX, "MX"), first, "it is given no more: a kill does not move it");
    let third = given(&server);
    // The change comes right before the kill.
    nsupdate(server.dns[0], "del example.org. MX\nadd example.org. 3600 MX 10 mail1.example.org.");
    server.kill9();
    server.start_again();
    let (at, at_least) = horizon(&server, APEX, "MX");
    assert!(at >= third.0.max(second.0) + MARGIN && !at_least, "{at} {third:?}");
    // And here the file is edited while nobody looks, after answers that nobody wrote down.
    let fourth = given(&server);
    server.kill9();
    let file = server.file("example.org.zone");
    fs::write(file, ZONE.replace("10 mail1", "20 mail1").replace("2026010101", "2026020101")).unwrap();
    let restart = now() + 1;
    server.start_again();
    assert_eq!(addresses(&server.ask(APEX, T::MX)), ["20 mail1.example.org."]);
    let at = horizon(&server, APEX, "MX").0;
    assert!(at >= fourth.0 + MARGIN, "{at} {fourth:?}");
    assert!(at <= (restart + 500 + STALL + MARGIN).max(first.0));
}

#[test]
fn an_edit_of_the_file_is_a_change_and_another_ttl_is_none() {
    let server = server("low = 5");
    assert_eq!(served(&server, APEX, T::MX).0, 3600, "its own");
    let edit = |zone: String| {
        fs::write(server.file("example.org.zone"), zone).unwrap();
        server.reload().done();
    };
    edit(ZONE.replace("2026010101", "2026010102").replace("       MX  10", "@ 1800 MX 10"));
    assert_eq!((served(&server, APEX, T::MX).0, &status(&server, APEX, "MX")["changed_at"]), (1800, &Value::Null));
    edit(ZONE.replace("2026010101", "2026010103").replace("10 mail1", "10 mail2"));
    let changed = status(&server, APEX, "MX");
    assert_eq!((changed["ttl"]["served"].as_u64(), changed["ttl"]["normal"].as_u64()), (Some(5), Some(3600)));
    assert_eq!(served(&server, APEX, T::MX).0, 5);
    let at = instant(&changed["horizon"]["at"]);
    assert!(at + 60 >= now() + 3600, "what was given before at an hour counts: {changed}");
    // One that is planned and edited in one step has changed too; one that is planned no more has its own TTL.
    let both = format!("{HEAD}{}", rrset(APEX, "\"TXT\"", "low = 5"));
    fs::write(server.file("example.org.zone"), ZONE.replace("2026010101", "2026010104").replace("plain", "other"))
        .unwrap();
    server.configure(&both);
    server.reload().done();
    let txt = status(&server, APEX, "TXT");
    assert_eq!(served(&server, APEX, T::TXT).0, 5);
    assert!(instant(&txt["horizon"]["at"]) >= now() + 3500, "{txt}");
    assert_eq!(served(&server, APEX, T::MX).0, 3600);
    assert_eq!(server.status()["rrsets"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_not_there_yet_is_denied_for_no_longer_than_planned() {
    let server = start(ZONE, &format!("{HEAD}{}", rrset("new.host.example.org", "\"A\"", "low = 2, spread = 0")));
    assert_eq!(status(&server, "new.host.example.org", "A")["answered"], "nothing");
    let refused = rcode(&server.ask("no.example.org", T::A));
    assert_eq!(rcode(&server.ask("new.host.example.org", T::A)), refused, "no name is made of it");
    assert_eq!(denied(&server.ask("new.host.example.org", T::A)), 300);
    set(&server, "new.host.example.org", &json!(from_now(100))).done();
    let (asked, given) = (now(), denied(&server.ask("new.host.example.org", T::A)));
    assert!((97..=100).contains(&given), "{given}");
    for (name, rtype) in [("host.example.org", T::A), (APEX, T::AAAA), ("mail1.example.org", T::TXT)] {
        assert!(denied(&server.ask(name, rtype)) <= 100, "{name}: it may deny the name below");
    }
    nsupdate(server.dns[0], "add new.host.example.org. 600 A 192.0.2.77");
    assert_eq!(served(&server, "new.host.example.org", T::A).0, 2);
    assert_eq!(denied(&server.ask("no.example.org", T::A)), 300, "nothing is lacking any more");
    let (at, _) = horizon(&server, "new.host.example.org", "A");
    assert!(at >= asked + given + MARGIN, "{at}: caches deny it until {}", asked + given);
    nsupdate(server.dns[0], "del new.host.example.org. A");
    let gone = status(&server, "new.host.example.org", "A");
    assert_eq!((gone["answered"].as_str(), gone["ttl"]["served"].as_u64()), (Some("nothing"), Some(2)));
    assert_eq!(denied(&server.ask("new.host.example.org", T::A)), 2, "it may come back: doubt is fresh");
}

#[test]
fn in_a_signed_zone_signatures_follow_and_nothing_is_signed_anew() {
    let signed = "file = \"example.org.zone\"\ndnssec = { policy = \"main\" }";
    let policy = "[[dnssec-policy]]\nname = \"main\"\n";
    let config = format!("{HEAD}{policy}{}", rrset(APEX, "\"MX\", \"SPF\"", "normal = 1000, low = 2, spread = 0"));
    let server = start(ZONE, &config.replace("file = \"example.org.zone\"", signed));
    let dig = |name: &str, rtype: &str| {
        let port = server.dns[0].port().to_string();
        let arguments = ["@127.0.0.1", "-p", &port, name, rtype, "+dnssec", "+noall", "+answer", "+authority"];
        let output = Command::new("dig").args(arguments).output().expect("dig; see tests/setup.sh");
        String::from_utf8(output.stdout).unwrap()
    };
    let serial = server.status()["zones"][0]["serial"].clone();
    set(&server, APEX, &json!(from_now(500))).done();
    let answer = dig(APEX, "MX");
    let ttl = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    let (mx, rrsig) = (answer.lines().next().unwrap(), answer.lines().nth(1).unwrap());
    assert!(rrsig.contains("RRSIG") && ttl(mx) == ttl(rrsig) && ttl(mx) <= 500, "{answer}");
    assert_eq!(rrsig.split_whitespace().nth(7), Some("3600"), "Original TTL: {answer}");
    // What is lacking is denied by signed proofs, which validators may use for other names (RFC 8198).
    set(&server, APEX, &json!(from_now(60))).done();
    for (name, rtype) in [("no.example.org", "A"), ("mail1.example.org", "TXT"), ("lab.example.org", "NS")] {
        let answer = dig(name, rtype);
        assert!(answer.contains("NSEC") && answer.lines().all(|line| ttl(line) <= 60), "{name}: {answer}");
    }
    assert_eq!(server.status()["zones"][0]["serial"], serial, "nothing was signed for it");
}

#[test]
fn who_was_given_the_zone_counts_until_it_has_taken_the_change() {
    let config = format!("{HEAD}{}", rrset(APEX, "\"MX\"", "normal = 60, low = 1"));
    let given = "file = \"example.org.zone\"\nallow-transfer = [\"127.0.0.0/8\"]";
    let mut server = start(ZONE, &config.replace("file = \"example.org.zone\"", given));
    let transfer = |server: &Server| {
        let port = server.dns[0].port().to_string();
        let arguments = ["@127.0.0.1", "-p", &port, APEX, "AXFR", "+noall", "+answer"];
        let output = Command::new("dig").args(arguments).output().expect("dig; see tests/setup.sh");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(transfer(&server).contains("3600\tIN\tMX\t10 mail1"), "secondaries have the zone's own TTL");
    std::thread::sleep(Duration::from_millis(600)); // it is taken in by then
    let changed = now();
    nsupdate(server.dns[0], MOVE);
    let expire = 4 * 7 * 86_400;
    server.wait_for("the receiver to count", |s| horizon(s, APEX, "MX").0 >= changed + expire + 3600);
    let why = |server: &Server| status(server, APEX, "MX")["horizon"]["why"].as_str().unwrap().to_owned();
    assert!(why(&server).starts_with("127.0.0.1 was not seen at serial"), "{}", why(&server));
    server.kill9();
    server.start_again();
    assert!(horizon(&server, APEX, "MX").0 >= changed + expire + 3600, "{}", why(&server));
    assert!(transfer(&server).contains("mail2"));
    let seen = now();
    server.wait_for("it to be seen", |s| horizon(s, APEX, "MX").0 <= seen + 3600 + 60);
    assert!(horizon(&server, APEX, "MX").0 >= changed + 3600, "{}", why(&server));
}

#[test]
fn one_of_a_name_with_a_pool_goes_beside_it() {
    let beside = rrset("www.example.org", "\"TXT\"", "normal = 50, low = 1");
    let zone = ZONE.replace("mail1  A", "www TXT \"beside\"\nmail1  A");
    let server =
        start(&zone, &format!("{HEAD}{}{beside}", pool("www.example.org", 1, 0, "ttl = { normal = 70, low = 1 }")));
    assert_eq!(served(&server, "www.example.org", T::TXT).0, 50);
    assert_eq!(served(&server, "www.example.org", T::A).0, 70);
    server.shift(&["www.example.org"], 100.0);
    assert_eq!(served(&server, "www.example.org", T::A).0, 1);
    assert_eq!(served(&server, "www.example.org", T::TXT).0, 50);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let server = server("normal = 600, low = 10");
    let generation = server.generation();
    let past = set(&server, APEX, &json!(waypost::time::Timestamp(now() - 1).to_string()));
    assert_eq!(past.json["errors"][0]["pointer"], "/at");
    past.refused(400);
    set(&server, "mail1.example.org", &json!(from_now(9))).refused(404);
    let others = json!({"at": from_now(9), "types": ["MX", "NS"]});
    let told = server.api("PUT", "/api/v1/rrsets/example.org/cutover", others, &[]).refused(404);
    assert!(told.contains("no [[rrset]] plans example.org NS"), "{told}");
    let wrong = json!({"at": from_now(9), "types": ["MIX"]});
    server.api("PUT", "/api/v1/rrsets/example.org/cutover", wrong, &[]).refused(400);
    assert_eq!(server.generation(), generation);

    let mistakes = [
        rrset("example.net", "\"MX\"", "low = 5"),
        rrset(APEX, "\"SOA\", \"MX\", \"MX\", \"AXFR\"", "low = 5, by-health = true"),
        rrset("www.example.org", "\"A\", \"TXT\"", "normal = 5, low = 6"),
        rrset("www.lab.example.org", "\"A\"", "low = 5"),
        rrset("alias.example.org", "\"A\"", "low = 5"),
    ];
    let config = format!("{HEAD}{}{}", pool("www.example.org", 1, 0, ""), mistakes.concat());
    server.configure(&config);
    let told = server.reload().refused(422);
    for part in [
        "rrset \"example.net\" is outside the zones served",
        "the TTL of SOA can't be planned",
        "rrset \"example.org\" MX is already written",
        "\"AXFR\"",
        "by-health",
        "\"low\" is 6, which is above \"normal\", 5 s",
        "rrset \"www.example.org\" A: the pool of this name steers A",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let against_zone = format!("{HEAD}{}{}", mistakes[3], mistakes[4]);
    let folder = folder(&against_zone);
    fs::write(folder.path().join("example.org.zone"), ZONE).unwrap();
    let output = fail_in(folder.path(), &[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("rrset \"www.lab.example.org\" A is below the zone cut \"lab.example.org\""), "{told}");
    assert!(told.contains("rrset \"alias.example.org\" A: zone \"example.org\" has a CNAME there"), "{told}");
}

#[test]
fn the_command_says_and_shows_it() {
    let server = server("normal = 600, low = 10");
    let run = |arguments: &[&str]| {
        let api = format!("http://{}", server.api);
        let mut command = support::waypost();
        command.current_dir(server.path()).args(arguments).args(["--api", &api]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&["cutover", APEX, "--type", "MX", "--in", "2h", "--reason", "new mail hub"]);
    assert!(said.contains("no cache holds an answer with more than the low TTL"), "{said}");
    nsupdate(server.dns[0], MOVE);
    let shown = run(&["status"]);
    assert!(shown.contains("example.org MX  yes       10   600     10   in 2h"), "{shown}");
    assert!(shown.contains("example.org MX: as it was it is held until"), "{shown}");
    assert!(run(&["audit"]).contains("cutover of example.org MX at"), "the audit knows");
    let metrics = server.api("GET", "/metrics", Value::Null, &[]).text;
    assert!(metrics.contains("waypost_rrset_horizon_timestamp_seconds{name=\"example.org\",type=\"MX\"}"), "{metrics}");
}
