//! TTLs around a cutover and after a change, on a running server with small TTLs:
//! - the TTL counts down to the cutover, each client's a fixed jitter ahead, down to `low`, and stays there past it;
//! - `step` lowers it once, one `normal` ahead;
//! - setting one says when caches will be clear, warns when that is too late, refuses what has passed;
//! - it is cleared by `null` and by DELETE, and done with by the flip that it was planned for, not by one ahead of it;
//! - while it stands the TTL is at most `max-wait`; and by `by-health` at most the time in which probes could change the answer;
//! - it is kept through `kill -9`;
//! - after a flip the TTL is low until confirmed, then doubles with each TTL served.

mod support;

use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::ttl;
use support::origin::Origin;
use support::{HEAD, Reply, Server, from_now, instant, now, pool};

const WWW: &str = "www.example.org";

fn server(ttl: &str) -> Server {
    Server::start(&format!("{HEAD}{}", pool(WWW, 1, 1, &format!("ttl = {{ {ttl} }}"))))
}

fn set(server: &Server, at: Value) -> Reply {
    server.api("PUT", &format!("/api/v1/pools/{WWW}/cutover"), json!({"at": at, "reason": "tonight"}), &[])
}

/// The TTL for a client, and the seconds that the clock showed before and after it was sent.
fn served(server: &Server, client: u32) -> (u64, u64, u64) {
    let before = now();
    let message = server.question(WWW, T::A).client(client).send();
    (u64::from(ttl(&message)), before, now())
}

#[test]
fn it_counts_down_second_by_second() {
    let server = server("normal = 100, low = 1, spread = 0");
    let at = now() + 6;
    set(&server, json!(waypost::time::Timestamp(at).to_string())).done();
    let mut seen = Vec::new();
    while now() <= at + 1 {
        let (ttl, before, after) = served(&server, 1);
        let expected = |now: u64| at.saturating_sub(now).max(1);
        assert!((expected(after)..=expected(before)).contains(&ttl), "{ttl} at {before}..={after}, cutover {at}");
        assert!(server.pool(WWW)["ttl"]["served"].as_u64().unwrap() <= ttl);
        seen.push(ttl);
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(seen.windows(2).all(|pair| pair[0] >= pair[1]) && seen[0] >= 5 && seen.ends_with(&[1]), "{seen:?}");
    assert!(server.status()["warnings"].to_string().contains("has passed"), "{}", server.status());
    server.wait_for_log("the cutover has passed without a change");
}

#[test]
fn each_client_is_a_fixed_jitter_ahead() {
    let server = server("normal = 1000, low = 1, spread = 400");
    let at = now() + 900;
    set(&server, json!(waypost::time::Timestamp(at).to_string())).done();
    let ahead = |client: u32| {
        let (ttl, before, after) = served(&server, client);
        (before == after).then(|| at - before - ttl)
    };
    let jitters: Vec<u64> = (0..400).map(|c| (0..9).find_map(|_| ahead(c)).expect("a second has room")).collect();
    assert!(jitters.iter().all(|j| *j <= 400), "{jitters:?}");
    let early = jitters.iter().filter(|j| **j < 100).count();
    assert!((60..140).contains(&early), "a quarter of them is in the first quarter: {early}");
    for (client, jitter) in jitters.iter().enumerate().take(20) {
        let again = (0..9).find_map(|_| ahead(client as u32)).unwrap();
        assert_eq!(again, *jitter, "it is fixed for the client");
    }
}

#[test]
fn in_steps_it_is_lowered_once() {
    let server = server("normal = 4, low = 1, mode = \"step\"");
    let at = now() + 7;
    set(&server, json!(waypost::time::Timestamp(at).to_string())).done();
    let mut seen = Vec::new();
    while now() < at {
        let (ttl, before, after) = served(&server, 1);
        if before == after {
            assert_eq!(ttl, if at - before > 4 { 4 } else { 1 }, "{} s ahead", at - before);
            seen.push(ttl);
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(seen.contains(&4) && seen.contains(&1), "{seen:?}");
}

#[test]
fn setting_one_says_when_caches_are_clear() {
    let server = server("normal = 600, low = 10");
    let (ttl, before, after) = served(&server, 1);
    assert_eq!(ttl, 600);

    let in_time = set(&server, json!(from_now(1000))).done();
    let at = instant(&server.pool(WWW)["cutover"]);
    assert_eq!((instant(&in_time["caches_clear_at"]), &in_time["warnings"]), (at, &Value::Null));
    server.api("DELETE", &format!("/api/v1/pools/{WWW}/cutover"), Value::Null, &[]).done();
    let late = set(&server, json!(from_now(300))).done();
    let clear = instant(&late["caches_clear_at"]);
    assert_eq!(clear, instant(&late["at"]) + 600);
    let warning = late["warnings"][0].as_str().unwrap();
    assert!(warning.contains(late["caches_clear_at"].as_str().unwrap()), "{warning}");

    // Where the TTL is low already, what was given counts, not what might have been.
    let moved = set(&server, json!(from_now(310))).done();
    let given = instant(&moved["caches_clear_at"]);
    assert!((before + 600..=after + 600).contains(&given), "{moved}");

    // A normal TTL that a reload lowered does not shorten what caches hold already.
    server.configure(&format!("{HEAD}{}", pool(WWW, 1, 1, "ttl = { normal = 5, low = 1 }")));
    server.reload().done();
    let lowered = set(&server, json!(from_now(100))).done();
    assert_eq!(instant(&lowered["caches_clear_at"]), given, "{lowered}");
    let generation = server.generation();

    for past in ["2020-01-01T00:00:00Z".to_owned(), waypost::time::Timestamp(now() - 1).to_string()] {
        let refused = set(&server, json!(past));
        assert_eq!(refused.json["errors"][0]["pointer"], "/at");
        assert!(refused.refused(400).contains(&past));
    }
    for wrong in [json!("tomorrow"), json!(17), json!(true)] {
        set(&server, wrong).refused(400);
    }
    server.api("PUT", &format!("/api/v1/pools/{WWW}/cutover"), json!({}), &[]).refused(400);
    server.api("PUT", "/api/v1/pools/no.example.org/cutover", json!({"at": from_now(9)}), &[]).refused(404);
    assert_eq!(server.generation(), generation, "what is refused makes no generation");
}

#[test]
fn it_is_cleared_and_kept_through_a_kill() {
    let mut server = server("normal = 600, low = 10, spread = 0");
    let normal = |server: &Server| served(server, 1).0 == 600;
    for clear in ["PUT", "DELETE"] {
        set(&server, json!(from_now(100))).done();
        assert!(!normal(&server));
        let body = if clear == "PUT" { json!({"at": null}) } else { Value::Null };
        server.api(clear, &format!("/api/v1/pools/{WWW}/cutover"), body, &[]).done();
        assert!(normal(&server), "by {clear}");
        assert_eq!(server.pool(WWW)["cutover"], Value::Null);
    }
    set(&server, json!(from_now(100))).done();
    let at = server.pool(WWW)["cutover"].clone();
    server.kill9();
    server.start_again();
    assert_eq!(server.pool(WWW)["cutover"], at);
    assert!(served(&server, 1).0 <= 100);
}

#[test]
fn the_flip_that_it_was_planned_for_is_its_end() {
    let server = server("normal = 8, low = 1, spread = 0");
    let at = now() + 4;
    set(&server, json!(waypost::time::Timestamp(at).to_string())).done();
    let early = server.shift(&[WWW], 60.0);
    assert!(early["warnings"][0].as_str().unwrap().contains("ahead of its cutover"), "{early}");
    assert_eq!(instant(&server.pool(WWW)["cutover"]), at, "it was planned for later");
    while now() < at {
        std::thread::sleep(Duration::from_millis(50));
    }
    let planned = server.shift(&[WWW], 100.0);
    assert_eq!(planned["warnings"], Value::Null);
    assert_eq!(server.pool(WWW)["cutover"], Value::Null);
    assert_eq!(planned["pools"][0]["endpoints"][1]["ttl"], 1);
}

/// Looks at the TTL until it is `normal` again; which ones it was, each with the second it came.
fn growth(server: &Server, normal: u64) -> Vec<(u64, u64)> {
    let mut seen: Vec<(u64, u64)> = Vec::new();
    let until = Instant::now() + support::SOON;
    while seen.last().is_none_or(|(ttl, _)| *ttl < normal) && Instant::now() < until {
        let (ttl, before, _) = served(server, 1);
        if seen.last().is_none_or(|(last, _)| *last != ttl) {
            seen.push((ttl, before));
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    seen
}

#[test]
fn after_a_flip_it_doubles_with_each_ttl_served() {
    let server = server("normal = 8, low = 1");
    assert_eq!(served(&server, 1).0, 8);
    let made = instant(&server.shift(&[WWW], 100.0)["at"]);
    let seen = growth(&server, 8);
    let ttls: Vec<u64> = seen.iter().map(|(ttl, _)| *ttl).collect();
    // The first lasts for a second, which a busy machine may sleep through.
    assert!(ttls == [1, 2, 4, 8] || ttls == [2, 4, 8], "{ttls:?}");
    for (ttl, second) in seen {
        assert!((ttl - 1..=ttl + 1).contains(&(second - made)), "{ttl} came {} s after the flip", second - made);
    }
}

#[test]
fn unconfirmed_it_stays_low_and_grows_from_the_confirmation_on() {
    let server = server("normal = 4, low = 1");
    let request = json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 100, "confirm_within": "1h"});
    let generation = server.flip(request).done()["generation"].clone();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(3500) {
        assert_eq!(served(&server, 1).0, 1);
        std::thread::sleep(Duration::from_millis(200));
    }
    // An operator's word over health meanwhile confirms nothing.
    server.force(WWW, "ec2", "up").done();
    assert_eq!(served(&server, 1).0, 1);
    let path = format!("/api/v1/flips/{generation}/confirm");
    let confirmed = instant(&server.api("POST", &path, json!({}), &[]).done()["at"]);
    let seen = growth(&server, 4);
    assert_eq!(seen.iter().map(|(ttl, _)| *ttl).collect::<Vec<_>>(), [1, 2, 4]);
    assert!((3..=5).contains(&(seen[2].1 - confirmed)), "{seen:?} since {confirmed}");
}

#[test]
fn while_it_stands_nobody_waits_longer_than_agreed() {
    let server = server("normal = 1000, low = 1, spread = 0, max-wait = 300");
    assert_eq!(served(&server, 1).0, 1000);
    set(&server, json!(from_now(5000))).done();
    assert_eq!((served(&server, 1).0, server.pool(WWW)["ttl"]["served"].as_u64()), (300, Some(300)));
    let told = server.get(&format!("/api/v1/explain?name={WWW}&client=127.0.0.1"))["steps"].to_string();
    assert!(told.contains("nobody shall wait longer while the cutover"), "{told}");
    set(&server, Value::Null).done();
    assert_eq!(served(&server, 1).0, 1000);
}

#[test]
fn the_ttl_is_no_longer_than_health_may_last() {
    let (port, origins) = Origin::at(&["127.0.0.51", "127.0.0.52"]);
    let probe = format!("[probe.web]\ntype = \"http\"\nport = {port}\ninterval = \"4s\"\nfall = 3\nrise = 5\n");
    let config = format!(
        "{HEAD}{probe}{}",
        pool(WWW, 1, 1, "ttl = { normal = 1000, low = 5, by-health = true }\nprobe = \"web\"")
    )
    .replace(support::EC2, "127.0.0.51")
    .replace(support::DC1, "127.0.0.52");
    let server = Server::start(&config);
    assert_eq!(served(&server, 1).0, 10, "three checks, a tenth early each");
    assert_eq!(server.pool(WWW)["ttl"]["served"], 10);
    let told = server.get(&format!("/api/v1/explain?name={WWW}&client=127.0.0.1"))["steps"].to_string();
    assert!(told.contains("in that time health could change what is answered"), "{told}");
    origins[0].fail();
    // One bad check is on record: two more are wanted.
    server.wait_for("a bad check", |s| s.pool(WWW)["ttl"]["served"] == 7);
    server.force(WWW, "ec2", "up").done();
    server.wait_for("the other's to count", |s| s.pool(WWW)["ttl"]["served"].as_u64() == Some(10));
}
