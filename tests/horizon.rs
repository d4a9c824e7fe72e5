//! The cache horizon, which no cache that obeys TTLs may outlive, held against every answer that was given:
//! - while running it is exactly the latest (sent + TTL + 3 s), over UDP and TCP, NODATA included;
//! - `at_least` while the endpoint is answered, final within a second after a flip away from it;
//! - exact over a clean restart; after `kill -9` never too early and at most one `normal` late, whatever was changed in
//!   the configuration meanwhile, also in the middle of a step to a cutover;
//! - each instant is told with where it comes from: an answer, a change, what was stored, a restart;
//! - an endpoint, a type or a pool that a reload takes away stays in it, also over a restart.

mod support;

use std::time::Duration;

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::addresses;
use support::{DC1, EC2, HEAD, Server, from_now, instant, now, pool};

const WWW: &str = "www.example.org";

/// Rounding and transit: what a horizon adds to sent + TTL.
const MARGIN: u64 = 3;

/// What a cache holds of one endpoint: the truth to be covered.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    /// Latest (sent + TTL), by the clock before and after the answers.
    at: (u64, u64),
}

/// Asks for `rtype` as this client; adds what a cache now holds to the truth of the endpoint that was given.
fn ask(server: &Server, rtype: T, client: u32, tcp: bool, truths: &mut [Truth; 2]) {
    let before = now();
    let question = server.question(WWW, rtype).client(client);
    let answer = if tcp { question.tcp() } else { question }.send();
    let after = now();
    let site = usize::from(addresses(&answer)[0] != EC2 && addresses(&answer)[0] != "2001:db8::11");
    let ttl = u64::from(answer.answers[0].ttl);
    let truth = &mut truths[site].at;
    *truth = (truth.0.max(before + ttl), truth.1.max(after + ttl));
}

/// The horizon of the endpoint at `site` for A, and whether it can still grow.
fn horizon(server: &Server, name: &str, site: &str) -> (Option<u64>, bool) {
    horizon_of(&server.pool(name), site, "A")
}

#[track_caller]
fn horizon_of(pool: &Value, site: &str, rtype: &str) -> (Option<u64>, bool) {
    let endpoints = pool["endpoints"].as_array().unwrap();
    let of_site: Vec<&Value> = endpoints.iter().filter(|e| e["site"] == site).collect();
    assert_eq!(of_site.len(), 1, "each site once: {pool}");
    let types = of_site[0]["horizon"].as_array().unwrap();
    let found = types.iter().find(|h| h["type"] == rtype).unwrap_or_else(|| panic!("no {rtype} of {site}: {pool}"));
    let at = found["at"].as_str().map(|_| instant(&found["at"]));
    (at, found["at_least"].as_bool().unwrap())
}

#[track_caller]
fn assert_exact(server: &Server, site: usize, truths: &[Truth; 2]) {
    let (earliest, latest) = truths[site].at;
    let at = horizon(server, WWW, ["ec2", "dc1"][site]).0.expect("it was answered");
    assert!((earliest + MARGIN..=latest + MARGIN).contains(&at), "{at}, sent + TTL is {earliest}..={latest}");
}

#[test]
fn exact_while_running_final_after_a_flip_exact_over_a_clean_restart() {
    let mut server = Server::start(&format!("{HEAD}{}", pool(WWW, 1, 1, "ttl = { normal = 500, low = 20 }")));
    assert_eq!(horizon(&server, WWW, "ec2"), (None, true), "not answered yet, but it may be at any moment");
    let mut truths = [Truth::default(); 2];
    for client in 0..60 {
        ask(&server, T::A, client, client % 3 == 0, &mut truths);
    }
    for site in [0, 1] {
        assert_exact(&server, site, &truths);
    }
    assert!(horizon(&server, WWW, "ec2").1);
    let status = server.status();
    let left = status["pools"][0]["endpoints"][0]["horizon"][0]["seconds_left"].as_u64().unwrap();
    assert_eq!(left, horizon(&server, WWW, "ec2").0.unwrap() - instant(&status["now"]));

    let flip = server.shift(&[WWW], 100.0);
    std::thread::sleep(Duration::from_millis(700));
    let (at, at_least) = horizon(&server, WWW, "ec2");
    assert!(!at_least, "nobody can be given it any more");
    assert_exact(&server, 0, &truths);
    let told = instant(&flip["pools"][0]["endpoints"][0]["horizon"]);
    assert!(told >= at.unwrap(), "what the flip told may not be earlier than what was: {told}");
    assert!(told <= instant(&flip["at"]) + 500 + MARGIN + 1);

    for client in 0..20 {
        ask(&server, T::A, client, false, &mut truths);
    }
    for _ in 0..2 {
        server.terminate();
        server.start_again();
        assert_eq!(horizon(&server, WWW, "ec2"), (at, false), "to the second");
        assert_exact(&server, 1, &truths);
    }
}

/// What a flip stores for workers that are still on their way when it is made durable, until they have settled.
const STALL: u64 = 10;

/// After a kill: not before the truth, and at most one `normal` (and the stall that a flip provides for) after what the
/// restart could know.
#[track_caller]
fn assert_covered(server: &Server, name: &str, site: usize, truths: &[Truth; 2], restart: u64, normal: u64) {
    let at = horizon(server, name, ["ec2", "dc1"][site]).0.expect("it was answered");
    assert!(at >= truths[site].at.0 + 2, "{at} is too early: caches hold it until {:?}", truths[site].at);
    assert!(
        at <= restart + normal + STALL + MARGIN,
        "{at} is much more than {normal} s after the restart at {restart}"
    );
}

#[test]
fn after_a_kill_it_is_never_too_early_and_at_most_one_normal_late() {
    let mut server = Server::start(&format!("{HEAD}{}", pool(WWW, 1, 1, "ttl = { normal = 500, low = 20 }")));
    let mut truths = [Truth::default(); 2];
    for round in 0..4 {
        for client in 0..30 {
            ask(&server, T::A, client, false, &mut truths);
        }
        match round {
            1 => _ = server.shift(&[WWW], 100.0),
            2 => std::thread::sleep(Duration::from_millis(600)), // the writer has settled
            _ => {}
        }
        server.kill9();
        let restart = now() + 1;
        server.start_again();
        for site in [0, 1] {
            assert_covered(&server, WWW, site, &truths, restart, 500);
        }
    }
    // It is no longer answered: the bound does not move with each further kill.
    let before = horizon(&server, WWW, "ec2");
    assert!(!before.1);
    std::thread::sleep(Duration::from_millis(1100));
    server.kill9();
    server.start_again();
    assert_eq!(horizon(&server, WWW, "ec2"), before);
}

#[test]
fn where_it_comes_from_is_told_with_it() {
    let mut server = Server::start(&format!("{HEAD}{}", pool(WWW, 1, 1, "ttl = { normal = 500, low = 20 }")));
    let told = |server: &Server, site: usize| server.pool(WWW)["endpoints"][site]["horizon"][0].clone();
    assert_eq!((&told(&server, 0)["why"], &told(&server, 0)["growing"]), (&Value::Null, &json!("answered")));
    let mut truths = [Truth::default(); 2];
    for client in 0..60 {
        ask(&server, T::A, client, false, &mut truths);
    }
    let normal = json!({"ttl": 500, "rule": "the normal one"});
    assert_eq!(told(&server, 0)["why"], json!({"by": "answer", "ttl": normal}));
    server.kill9();
    server.start_again();
    assert_eq!(told(&server, 0)["why"]["by"], "recovered");
    let output = support::waypost()
        .args(["status", "--api", &format!("http://{}", server.api), "--token-file", "state/admin.token"])
        .current_dir(server.path())
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&output.stdout);
    assert!(status.contains("ec2: horizon of A: a bound, as the process before ended without saving"), "{status}");

    std::thread::sleep(Duration::from_millis(1100)); // so that an answer is the later one
    for client in 0..60 {
        ask(&server, T::A, client, false, &mut truths);
    }
    let flip = server.shift(&[WWW], 100.0);
    assert_eq!(flip["pools"][0]["endpoints"][0]["horizon_why"], json!({"by": "change", "ttl": normal}));
    server.wait_for("no worker to have it", |server| told(server, 0)["growing"].is_null());
    assert_eq!(told(&server, 0)["why"], json!({"by": "answer"}));
    server.terminate();
    server.start_again();
    assert_eq!(told(&server, 0)["why"], json!({"by": "stored"}));

    // A kill in the moment of a change: the bound that the change stored. Where the writer was faster it has settled.
    let mut percent = 0.0;
    let found = (0..20).any(|_| {
        server.shift(&[WWW], percent);
        let gone = usize::from(percent < 50.0);
        percent = 100.0 - percent;
        server.kill9();
        server.start_again();
        told(&server, gone)["why"]["by"] == "bound"
    });
    assert!(found, "{}", told(&server, 0));
}

#[test]
fn what_was_answered_under_an_unconfirmed_flip_is_covered_once_it_is_taken_back_at_a_start() {
    let mut server = Server::start(&format!("{HEAD}{}", pool(WWW, 1, 0, "ttl = { normal = 500, low = 20 }")));
    let request = json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 100, "confirm_within": "1s"});
    server.flip(request).done();
    let mut truths = [Truth::default(); 2];
    ask(&server, T::A, 1, false, &mut truths);
    server.kill9();
    std::thread::sleep(Duration::from_millis(2100));
    let restart = now() + 1;
    server.start_again();
    assert_eq!(server.weights(WWW), [1, 0]);
    assert_covered(&server, WWW, 1, &truths, restart, 20);
    assert!(!horizon(&server, WWW, "dc1").1);
}

#[test]
fn a_policy_changed_between_a_kill_and_the_restart_makes_it_no_earlier() {
    let with = |ttl: &str| format!("{HEAD}{}", pool(WWW, 1, 1, &format!("ttl = {{ {ttl} }}")));
    for after in ["normal = 500, low = 1", "normal = 2, low = 1", "normal = 500, low = 400"] {
        let mut server = Server::start(&with("normal = 500, low = 400"));
        server.shift(&[WWW], 60.0);
        std::thread::sleep(Duration::from_millis(600)); // the bound of the flip itself is settled
        let mut truths = [Truth::default(); 2];
        for client in 0..20 {
            ask(&server, T::A, client, false, &mut truths);
        }
        server.kill9();
        server.configure(&with(after));
        let restart = now() + 1;
        server.start_again();
        for site in [0, 1] {
            assert_covered(&server, WWW, site, &truths, restart, 500);
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_a_step_to_a_cutover() {
    let ttl = "ttl = { normal = 3, low = 1, mode = \"step\" }";
    let mut server = Server::start(&format!("{HEAD}{}", pool(WWW, 1, 1, ttl)));
    let at = now() + 5;
    let path = format!("/api/v1/pools/{WWW}/cutover");
    server.api("PUT", &path, json!({"at": waypost::time::Timestamp(at).to_string()}), &[]).done();
    let mut truths = [Truth::default(); 2];
    // Just before the step the TTL is 3, just after it 1: the kill comes after, and must cover what went out before.
    while now() <= at - 3 {
        for client in 0..20 {
            ask(&server, T::A, client, false, &mut truths);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    server.kill9();
    let restart = now() + 1;
    server.start_again();
    for site in [0, 1] {
        assert_covered(&server, WWW, site, &truths, restart, 3);
    }
}

#[test]
fn what_a_reload_takes_away_stays_in_it() {
    let shop = "shop.example.org";
    let both = format!(
        "[[pool]]\nname = \"{WWW}\"\nttl = {{ normal = 500, low = 20 }}\nendpoint = [\n\
         {{ site = \"ec2\", address = [\"{EC2}\", \"2001:db8::11\"], weight = 1 }},\n\
         {{ site = \"dc1\", address = [\"{DC1}\", \"2001:db8::12\"], weight = 1 }},\n]\n"
    );
    let mut server = Server::start(&format!("{HEAD}{both}{}", pool(shop, 1, 0, "")));
    let mut truths = [Truth::default(); 2];
    for client in 0..40 {
        ask(&server, T::A, client, false, &mut truths);
        ask(&server, T::AAAA, client, false, &mut truths);
    }
    let v6 = horizon_of(&server.pool(WWW), "dc1", "AAAA").0.unwrap();

    // A type goes: its horizon stays with the endpoint.
    let v4_only = both.replace(", \"2001:db8::11\"", "").replace(", \"2001:db8::12\"", "");
    server.configure(&format!("{HEAD}{v4_only}{}", pool(shop, 1, 0, "")));
    server.reload().done();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(horizon_of(&server.pool(WWW), "dc1", "AAAA"), (Some(v6), false));
    assert_exact(&server, 1, &truths);

    // An endpoint goes.
    server.flip(json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 0})).done();
    let without = v4_only.replace(&format!("{{ site = \"dc1\", address = [\"{DC1}\"], weight = 1 }},\n"), "");
    server.configure(&format!("{HEAD}{without}{}", pool(shop, 1, 0, "")));
    server.reload().done();
    std::thread::sleep(Duration::from_millis(700));
    let gone = server.pool(WWW);
    assert_eq!(
        (&gone["endpoints"][1]["site"], &gone["endpoints"][1]["configured_weight"]),
        (&json!("dc1"), &Value::Null)
    );
    assert_exact(&server, 1, &truths);
    let settled = horizon(&server, WWW, "dc1");
    assert!(!settled.1);
    server.terminate();
    server.start_again();
    assert_eq!(horizon(&server, WWW, "dc1"), settled);
    server.kill9();
    server.start_again();
    assert_eq!(horizon(&server, WWW, "dc1"), settled);

    // It comes back: the same horizon goes on.
    server.configure(&format!("{HEAD}{v4_only}{}", pool(shop, 1, 0, "")));
    server.reload().done();
    assert_eq!(horizon(&server, WWW, "dc1").0, settled.0);
    assert_eq!(server.weights(WWW)[1], 0, "at weight 0");
}

#[test]
fn a_countdown_lets_caches_go_by_the_cutover() {
    let server = Server::start(&format!("{HEAD}{}", pool(WWW, 1, 1, "ttl = { normal = 6, low = 1, spread = 2 }")));
    let at = now() + 8;
    let path = format!("/api/v1/pools/{WWW}/cutover");
    let answer = server.api("PUT", &path, json!({"at": from_now(at - now())}), &[]).done();
    assert_eq!(answer["warnings"], Value::Null);
    let mut truths = [Truth::default(); 2];
    while now() < at {
        for client in 0..20 {
            ask(&server, T::A, client, false, &mut truths);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    server.shift(&[WWW], 100.0);
    std::thread::sleep(Duration::from_millis(700));
    let (horizon, at_least) = horizon(&server, WWW, "ec2");
    assert!(!at_least && horizon.unwrap() <= at + 1 + 1 + MARGIN, "a second of low after the flip, and the margin");
}
