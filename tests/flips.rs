//! Flips over HTTP, on a running server:
//! - by percent and by weights, over several pools all or none, visible in the very next answer over UDP and TCP;
//! - a dry run changes nothing and says the same as the flip;
//! - only on the generation that they were decided on: 412, 428, `*`;
//! - an idempotency key gives its first answer again: stale, and after `kill -9`, and for every kind of change; for another
//!   request it is refused, and nothing is changed;
//! - what would leave a pool with nothing is refused, all mistakes of a request come at once;
//! - revert names the later flip in its way, restore goes back to a generation;
//! - a flip that nobody confirms takes itself back: in time, after `kill -9`, whatever was changed in between;
//! - each change is in the audit with author and reason; `kill -9` right after the answer loses none.

mod support;

use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::{addresses, ttl};
use support::{DC1, EC2, HEAD, Server, instant, now, pool};

const WWW: &str = "www.example.org";
const SHOP: &str = "shop.example.org";

fn two_pools() -> String {
    format!("{HEAD}{}{}", pool(WWW, 100, 0, ""), pool(SHOP, 100, 0, "ttl = { normal = \"1m\", low = \"1s\" }"))
}

fn server() -> Server {
    Server::start(&two_pools())
}

fn post(server: &Server, path: &str, body: Value) -> support::Reply {
    server.api("POST", path, body, &[("If-Match", "*")])
}

#[test]
fn by_percent_and_by_weights() {
    let server = server();
    let answer = server.shift(&[WWW], 5.0);
    assert_eq!(answer["generation"], 2);
    assert_eq!(answer["dry_run"], false);
    let change = &answer["pools"][0];
    assert_eq!((&change["name"], &change["moved_percent"]), (&json!(WWW), &json!(5.0)));
    assert_eq!(change["endpoints"][0]["weight"], json!([100, 95]));
    assert_eq!(change["endpoints"][1]["share_percent"], json!([0.0, 5.0]));
    assert_eq!(server.weights(WWW), [95, 5]);
    assert_eq!(server.weights(SHOP), [100, 0]);

    let reply = server.flip(json!({"weights": {WWW: {"dc1": 285}}}));
    assert_eq!(reply.etag.as_deref(), Some("\"3\""));
    assert_eq!(reply.done()["pools"][0]["endpoints"][1]["share_percent"], json!([5.0, 75.0]));
    assert_eq!(server.weights(WWW), [95, 285], "a site left out keeps its weight");
    server.flip(json!({"pools": ["WWW.example.org."], "from": "ec2", "to": "dc1", "percent": "0.0001"})).done();
    let weights = server.weights(WWW);
    assert!(weights[1] > 0 && weights[0] > 0, "above 0 never becomes nothing: {weights:?}");
}

#[test]
fn the_very_next_answer_shows_it() {
    let server = server();
    for round in 0..40 {
        let (percent, expected) = if round % 2 == 0 { (100, DC1) } else { (0, EC2) };
        server.shift(&[WWW], f64::from(percent));
        let question = server.question(WWW, T::A);
        let question = if round % 4 < 2 { question } else { question.tcp() };
        assert_eq!(addresses(&question.send()), [expected], "flip {round}");
    }
}

#[test]
fn several_pools_at_once_or_none() {
    let server = server();
    let answer = server.shift(&[WWW, SHOP], 100.0);
    assert_eq!(answer["pools"].as_array().unwrap().len(), 2);
    for name in [WWW, SHOP] {
        assert_eq!(addresses(&server.ask(name, T::A)), [DC1]);
    }
    let generation = server.generation();

    // A pool that is not there.
    let wrong = json!({"pools": [WWW, "nobody.example.org", SHOP], "from": "dc1", "to": "ec3", "percent": 5});
    let reply = server.flip(wrong);
    let errors = reply.json["errors"].as_array().unwrap().clone();
    reply.refused(400);
    let pointers: Vec<&str> = errors.iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/pools/0", "/pools/1", "/pools/2"], "{errors:?}");
    assert!(errors[1]["detail"].as_str().unwrap().contains("nobody.example.org"), "{errors:?}");

    // A pool in which it would leave nothing.
    server.force(SHOP, "ec2", "down").done();
    let detail = server.flip(json!({"pools": [WWW, SHOP], "from": "dc1", "to": "ec2", "percent": 100})).refused(409);
    assert!(detail.contains(SHOP), "{detail}");
    assert_eq!(server.weights(WWW), server.weights(SHOP));
    assert_eq!(server.generation(), generation + 1, "the override is the last change");
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1]);
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_the_flip_does() {
    let server = server();
    let request =
        |dry_run: bool| json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 25, "dry_run": dry_run});
    let dry = server.api("POST", "/api/v1/flips", request(true), &[]).done();
    assert_eq!((&dry["generation"], &dry["dry_run"]), (&json!(1), &json!(true)));
    assert_eq!((server.generation(), server.weights(WWW)), (1, vec![100, 0]));
    assert_eq!(server.get("/api/v1/audit")["entries"].as_array().unwrap().len(), 1);
    let wet = server.flip(request(false)).done();
    for part in ["name", "moved_percent"] {
        assert_eq!(dry["pools"][0][part], wet["pools"][0][part]);
    }
    for part in ["site", "weight", "share_percent", "ttl"] {
        assert_eq!(dry["pools"][0]["endpoints"][1][part], wet["pools"][0]["endpoints"][1][part]);
    }
    assert_eq!(dry["undo_s"], wet["undo_s"]);
}

#[test]
fn only_on_the_generation_that_it_was_decided_on() {
    let server = server();
    let request = || json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 5});
    let flip = |headers: &[(&str, &str)]| server.api("POST", "/api/v1/flips", request(), headers);
    let unsaid = flip(&[]);
    assert_eq!(unsaid.json["generation"], 1);
    unsaid.refused(428);
    let stale = flip(&[("If-Match", "\"7\"")]);
    assert_eq!(stale.json["generation"], 1);
    stale.refused(412);
    for path in ["/api/v1/flips/1/revert", "/api/v1/restore"] {
        let body = if path.ends_with("restore") { json!({"generation": 1}) } else { json!({}) };
        server.api("POST", path, body.clone(), &[]).refused(428);
        server.api("POST", path, body, &[("If-Match", "\"9\"")]).refused(412);
    }
    flip(&[("If-Match", "not a generation")]).refused(400);
    assert_eq!(server.generation(), 1);
    assert_eq!(flip(&[("If-Match", "\"1\"")]).done()["generation"], 2);
    flip(&[("If-Match", "\"1\"")]).refused(412);
    assert_eq!(flip(&[("If-Match", "*")]).done()["generation"], 3);

    // What is not a flip is checked when it says something.
    let path = format!("/api/v1/pools/{WWW}/cutover");
    server.api("PUT", &path, json!({"at": support::from_now(600)}), &[("If-Match", "\"2\"")]).refused(412);
    server.api("POST", "/api/v1/reload", Value::Null, &[("If-Match", "\"2\"")]).refused(412);
}

#[test]
fn a_repeated_key_gives_its_first_answer() {
    let mut server = server();
    let flip = |server: &Server, key: &str, percent: u32, on: &str| {
        let request = json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": percent});
        server.api("POST", "/api/v1/flips", request, &[("If-Match", on), ("Idempotency-Key", key)])
    };
    let first = flip(&server, "night/1", 5, "\"1\"").done();
    assert_eq!(flip(&server, "night/1", 5, "\"1\"").done(), first, "although stale by now");
    server.shift(&[WWW], 50.0);
    assert_eq!(flip(&server, "night/1", 5, "\"1\"").done(), first);
    assert_eq!(server.weights(WWW), [50, 50]);
    let last = flip(&server, "night/2", 60, "\"3\"").done();
    server.kill9();
    server.start_again();
    assert_eq!(flip(&server, "night/1", 5, "\"1\"").done(), first);
    assert_eq!(flip(&server, "night/2", 60, "\"3\"").done(), last);
    assert_eq!((server.generation(), server.weights(WWW)), (4, vec![40, 60]));
    let told = flip(&server, "night/1", 6, "\"4\"").refused(422);
    assert!(told.contains("night/1") && told.contains("another request"), "{told}");
    assert_eq!((server.generation(), server.weights(WWW)), (4, vec![40, 60]));
    flip(&server, "night/3", 5, "\"1\"").refused(412);
    // A refusal is not kept: the same key may succeed later.
    assert_eq!(flip(&server, "night/3", 5, "\"4\"").done()["generation"], 5);
}

#[test]
fn a_repeated_key_gives_the_first_answer_of_any_change() {
    let server = server();
    let flip = json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 5, "confirm_within": "1h"});
    let generation = server.flip(flip).done()["generation"].clone();
    let cutover = format!("/api/v1/pools/{WWW}/cutover");
    let forced = format!("/api/v1/pools/{WWW}/endpoints/dc1/override");
    let at = support::from_now(600);
    let changes = [
        ("POST", format!("/api/v1/flips/{generation}/confirm"), json!({})),
        ("PUT", forced, json!({"override": "up"})),
        ("PUT", cutover.clone(), json!({"at": at})),
        ("DELETE", cutover, Value::Null),
        ("POST", "/api/v1/reload".to_owned(), json!({})),
    ];
    for (i, (method, path, body)) in changes.into_iter().enumerate() {
        let key = format!("change-{i}");
        let headers = [("Idempotency-Key", &*key)];
        let first = server.api(method, &path, body.clone(), &headers).done();
        assert_eq!(server.api(method, &path, body, &headers).done(), first, "{method} {path}");
        assert_eq!(server.generation(), first["generation"], "{method} {path}");
    }
    let other = json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 6});
    let headers = [("If-Match", "*"), ("Idempotency-Key", "change-0")];
    let detail = server.api("POST", "/api/v1/flips", other, &headers).refused(422);
    assert!(detail.contains("change-0") && detail.contains("confirm"), "{detail}");
}

#[test]
fn what_makes_no_sense_is_refused_and_all_of_it_told() {
    let server = server();
    let told = |request: Value| {
        let reply = server.flip(request);
        let errors = reply.json["errors"].clone();
        reply.refused(400);
        let errors = errors.as_array().unwrap().clone();
        errors.iter().map(|e| e["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(json!({})), ["/pools", "/from", "/to", "/percent"]);
    assert_eq!(told(json!({"pools": [WWW], "from": "dc1", "to": "dc1", "percent": 5})), ["/to"]);
    let many = json!({"pools": [WWW, 5], "from": "", "percent": 101, "confirm_within": "soon", "reson": "typo"});
    let pointers = told(many);
    for pointer in ["/pools/1", "/from", "/percent", "/confirm_within", "/reson"] {
        assert!(pointers.contains(&pointer.to_owned()), "{pointer} in {pointers:?}");
    }
    assert_eq!(told(json!({"weights": {WWW: {"ec3": 1, "ec2": 1}}})), ["/weights/www.example.org/ec3"]);
    assert_eq!(told(json!({"weights": {WWW: {"ec2": 1_000_001}}})), ["/weights/www.example.org/ec2"]);
    assert_eq!(
        told(json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 5, "confirm_within": "0s"})).len(),
        1
    );
    assert_eq!(server.generation(), 1);
}

#[test]
fn never_empty() {
    let server = server();
    server.flip(json!({"weights": {WWW: {"ec2": 0}}})).refused(409);
    server.force(WWW, "dc1", "down").done();
    let detail = server.flip(json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 100})).refused(409);
    assert!(detail.contains(WWW) && detail.contains("down"), "{detail}");
    server.force(WWW, "ec2", "down").refused(409);
    assert_eq!(server.pool(WWW)["endpoints"][0]["override"], "obey");
    // Some weight there is no harm: the other endpoint answers for it.
    server.shift(&[WWW], 50.0);
    for client in 0..50 {
        assert_eq!(server.address_for(WWW, client), EC2);
    }
    server.force(WWW, "nowhere", "up").refused(404);
    server.force("nobody.example.org", "ec2", "up").refused(404);
}

#[test]
fn revert_undoes_one_flip_and_names_what_stands_in_its_way() {
    let server = server();
    let revert =
        |generation: u64| post(&server, &format!("/api/v1/flips/{generation}/revert"), json!({"reason": "no"}));
    server.shift(&[WWW], 10.0); // 2
    let owners: Vec<String> = (0..300).map(|client| server.address_for(WWW, client)).collect();
    server.shift(&[WWW, SHOP], 60.0); // 3
    let detail = revert(2).refused(409);
    assert!(detail.contains("generation 3") && detail.contains(WWW), "{detail}");
    server.force(WWW, "dc1", "up").done(); // 4: stands in nobody's way, and stays
    let answer = revert(3).done();
    assert_eq!(answer["generation"], 5);
    assert_eq!((server.weights(WWW), server.weights(SHOP)), (vec![90, 10], vec![100, 0]));
    assert_eq!(server.pool(WWW)["endpoints"][1]["override"], "up");
    let now: Vec<String> = (0..300).map(|client| server.address_for(WWW, client)).collect();
    assert_eq!(now, owners, "each client is where it was");
    // The revert is a flip: it stands in the way, and can be undone itself.
    assert!(revert(2).refused(409).contains("generation 3"));
    revert(5).done();
    assert_eq!((server.weights(WWW), server.weights(SHOP)), (vec![40, 60], vec![40, 60]));
    for (generation, status) in [(99, 404), (4, 409), (1, 409)] {
        revert(generation).refused(status);
    }
    assert_eq!(server.newest()["action"], json!({"kind": "revert", "undone": 5}));
    assert_eq!(server.newest()["reason"], "no");
}

#[test]
fn a_reload_that_moves_nobody_does_not_stand_in_the_way_of_a_revert() {
    let server = server();
    server.shift(&[WWW], 10.0);
    server.configure(
        &two_pools().replace("\"1m\"", "\"2m\"").replace("name = \"www", "ttl = { normal = \"2h\" }\nname = \"www"),
    );
    server.reload().done();
    post(&server, "/api/v1/flips/2/revert", json!({})).done();
    assert_eq!(server.weights(WWW), [100, 0]);
}

#[test]
fn restore_goes_back_to_the_weights_of_a_generation() {
    let server = server();
    let restore = |generation: u64| post(&server, "/api/v1/restore", json!({"generation": generation}));
    server.shift(&[WWW], 10.0); // 2
    server.shift(&[SHOP], 20.0); // 3
    server.shift(&[WWW], 30.0); // 4
    server.shift(&[WWW, SHOP], 100.0); // 5
    assert!(restore(5).refused(409).contains("already"));
    restore(2).done();
    assert_eq!((server.weights(WWW), server.weights(SHOP)), (vec![90, 10], vec![100, 0]));
    restore(4).done();
    assert_eq!((server.weights(WWW), server.weights(SHOP)), (vec![70, 30], vec![80, 20]));
    restore(1).done();
    assert_eq!((server.weights(WWW), server.weights(SHOP)), (vec![100, 0], vec![100, 0]));
    restore(0).refused(404);
    restore(99).refused(404);
    assert_eq!(server.newest()["action"], json!({"kind": "restore", "restored": 1}));
}

/// A flip of all of `pools` to dc1 that wants to be confirmed within so many seconds.
fn unsure(server: &Server, pools: &[&str], seconds: u64) -> u64 {
    let within = format!("{seconds}s");
    let request = json!({"pools": pools, "from": "ec2", "to": "dc1", "percent": 100, "confirm_within": within});
    let answer = server.flip(request).done();
    assert_eq!(instant(&answer["confirm_by"]), instant(&answer["at"]) + seconds);
    answer["generation"].as_u64().unwrap()
}

#[track_caller]
fn wait_until_taken_back(server: &Server, pool: &str, generation: u64) {
    server.wait_for("the flip to be taken back", |s| s.status()["pending"] == json!([]));
    assert_eq!(server.weights(pool), [100, 0], "{}", server.log());
    let entry = server.newest();
    assert_eq!(entry["action"], json!({"kind": "unconfirmed", "undone": generation}));
    assert_eq!(entry["author"], "waypost");
    assert_eq!(addresses(&server.ask(pool, T::A)), [EC2]);
}

#[test]
fn unconfirmed_it_takes_itself_back_confirmed_it_stays() {
    let server = server();
    let begun = Instant::now();
    let generation = unsure(&server, &[WWW, SHOP], 2);
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1]);
    assert_eq!(server.status()["pending"][0]["generation"], generation);
    // Another flip on one of its pools is refused, also by weights and by restore.
    let again = json!({"pools": [SHOP], "from": "dc1", "to": "ec2", "percent": 5});
    let detail = server.flip(again).refused(409);
    assert!(detail.contains(&format!("generation {generation}")) && detail.contains(SHOP), "{detail}");
    server.flip(json!({"weights": {WWW: {"ec2": 7}}})).refused(409);
    wait_until_taken_back(&server, WWW, generation);
    assert_eq!(server.weights(SHOP), [100, 0]);
    assert!(begun.elapsed() >= Duration::from_secs(2) && begun.elapsed() < Duration::from_secs(5));

    let generation = unsure(&server, &[WWW], 1);
    let confirm = || post(&server, &format!("/api/v1/flips/{generation}/confirm"), json!({"reason": "looks good"}));
    confirm().done();
    confirm().refused(404);
    std::thread::sleep(Duration::from_millis(1700));
    assert_eq!(server.weights(WWW), [0, 100]);
    assert_eq!(server.newest()["action"], json!({"kind": "confirm", "confirmed": generation}));

    let generation = unsure(&server, &[SHOP], 600);
    post(&server, &format!("/api/v1/flips/{generation}/revert"), json!({})).done();
    assert_eq!(server.status()["pending"], json!([]));
    assert_eq!(server.weights(SHOP), [100, 0]);
}

#[test]
fn a_restore_is_a_flip_too_while_one_waits() {
    let server = server();
    server.shift(&[SHOP], 10.0); // 2
    let generation = unsure(&server, &[WWW, SHOP], 2);
    let detail = post(&server, "/api/v1/restore", json!({"generation": 1})).refused(409);
    assert!(detail.contains(&format!("generation {generation}")), "{detail}");
    wait_until_taken_back(&server, WWW, generation);
    assert_eq!(server.weights(SHOP), [90, 10]);
}

#[test]
fn it_is_taken_back_although_the_server_was_killed() {
    let mut server = server();
    let generation = unsure(&server, &[WWW], 1);
    server.kill9();
    std::thread::sleep(Duration::from_millis(2100));
    server.start_again();
    // Before the first answer: no tick has to pass.
    assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2]);
    wait_until_taken_back(&server, WWW, generation);

    let generation = unsure(&server, &[WWW], 2);
    server.kill9();
    server.start_again();
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1], "it still waits");
    wait_until_taken_back(&server, WWW, generation);
}

#[test]
fn it_is_taken_back_whatever_was_changed_in_between() {
    let server = server();
    let generation = unsure(&server, &[WWW], 2);
    server.force(WWW, "dc1", "up").done();
    let path = format!("/api/v1/pools/{WWW}/cutover");
    server.api("PUT", &path, json!({"at": support::from_now(600)}), &[]).done();
    server.configure(&two_pools().replace("name = \"www", "ttl = { normal = \"2h\" }\nname = \"www"));
    server.reload().done();
    wait_until_taken_back(&server, WWW, generation);
    assert_eq!(server.pool(WWW)["endpoints"][1]["override"], "up");
}

#[test]
fn where_taking_back_would_leave_nothing_the_flip_stays_and_counts_as_confirmed() {
    let server = server();
    unsure(&server, &[SHOP], 1);
    server.force(SHOP, "ec2", "down").done();
    server.wait_for("the end of waiting", |s| s.status()["pending"] == json!([]));
    assert_eq!(server.weights(SHOP), [0, 100], "never empty");
    assert!(server.newest()["reason"].as_str().unwrap().contains("can't be taken back"), "{}", server.newest());
    assert_eq!(addresses(&server.ask(SHOP, T::A)), [DC1]);
    server.wait_for("the TTL to rise again", |s| ttl(&s.ask(SHOP, T::A)) > 1);
}

#[test]
fn the_audit_says_who_did_what_and_why() {
    let server = server();
    let request =
        json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 5, "reason": "canary, ticket 7 \u{1f426}"});
    server.api("POST", "/api/v1/flips", request, &[("If-Match", "\"1\""), ("X-Waypost-Author", "ada")]).done();
    server.force(WWW, "dc1", "up").done();
    let path = format!("/api/v1/pools/{WWW}/cutover");
    let at = support::from_now(600);
    server.api("PUT", &path, json!({"at": at, "reason": "tonight"}), &[("X-Waypost-Author", "grace")]).done();
    server.reload().done();

    let entries = server.get("/api/v1/audit")["entries"].clone();
    let seen: Vec<Value> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            assert!(now().abs_diff(instant(&e["at"])) < 30, "{e}");
            json!([e["generation"], e["author"], e["reason"], e["action"]["kind"]])
        })
        .collect();
    let expected = [
        json!([5, "admin", null, "reload"]),
        json!([4, "grace", "tonight", "cutover"]),
        json!([3, "admin", null, "override"]),
        json!([2, "ada", "canary, ticket 7 \u{1f426}", "flip"]),
        json!([1, "waypost", null, "start"]),
    ];
    assert_eq!(seen, expected);
    assert_eq!(entries[3]["changes"][0]["endpoints"][1]["weight"], json!([0, 5]));
    let page = server.get("/api/v1/audit?before=4&limit=2")["entries"].clone();
    assert_eq!(
        (&page[0]["generation"], &page[1]["generation"], page.as_array().unwrap().len()),
        (&json!(3), &json!(2), 2)
    );
}

#[test]
fn the_metrics_count_commits() {
    let server = server();
    server.shift(&[WWW], 5.0);
    let page = server.api("GET", "/metrics", Value::Null, &[]).text;
    let commits = page.lines().find_map(|l| l.strip_prefix("waypost_store_commits_total{result=\"done\"} "));
    assert!(commits.is_some_and(|n| n.parse::<f64>().unwrap() >= 1.0), "{page}");
}

/// A client flips as fast as it can; the server is killed at some moment. Whatever was answered holds afterwards, and what
/// was not answered was made whole or not at all.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut server = server();
    let (mut acknowledged, mut weight) = (1, 0);
    let until = Instant::now() + Duration::from_secs(15);
    for round in 0..20u64 {
        let pid = server.pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(3 + round * 7 % 40));
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        let mut attempted = weight;
        for next in (weight + 1).. {
            attempted = next;
            let request = json!({"weights": {WWW: {"dc1": next}, SHOP: {"dc1": next}}, "reason": next.to_string()});
            match server.try_api("POST", "/api/v1/flips", request, &[("If-Match", "*")]) {
                Ok(reply) => (acknowledged, weight) = (reply.done()["generation"].as_u64().unwrap(), next),
                Err(_) => break,
            }
        }
        killer.join().unwrap();
        server.kill9();
        server.start_again();
        let (generation, seen) = (server.generation(), server.weights(WWW)[1]);
        assert_eq!(server.weights(SHOP)[1], seen, "both pools or none");
        assert!(
            (generation, seen) == (acknowledged, weight) || (generation, seen) == (acknowledged + 1, attempted),
            "acknowledged {acknowledged} ({weight}), attempted {attempted}, found {generation} ({seen})"
        );
        if weight > 0 {
            assert_eq!(server.newest()["reason"], seen.to_string());
        }
        (acknowledged, weight) = (generation, seen);
        if Instant::now() > until {
            break;
        }
    }
    assert!(weight > 0, "nothing was ever acknowledged");
}
