//! Pools by label, and how soon they may be flipped again:
//! - thousands of pools are flipped, overridden and planned for in one generation, all or none;
//! - a flip that comes too early is refused with the instant from which on it is allowed, taking back never is.

mod support;

use std::fmt::Write as _;

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::addresses;
use support::{DC1, EC2, HEAD, Server, from_now, instant, pool};

fn put(server: &Server, path: &str, body: Value) -> support::Reply {
    server.api("PUT", path, body, &[("If-Match", "*")])
}

fn flip(server: &Server, percent: u32, more: Value) -> support::Reply {
    let mut body = json!({"from": "ec2", "to": "dc1", "percent": percent});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.flip(body)
}

#[test]
fn two_thousand_pools_in_one_generation() {
    let mut config = HEAD.to_owned();
    for i in 0..2000 {
        let labels =
            if i % 2 == 0 { "labels = [\"web\", \"eu\"]" } else { "labels = { tier = \"web\", region = \"us\" }" };
        write!(config, "{}", pool(&format!("p{i}.example.org"), 100, 0, labels)).unwrap();
    }
    config += &pool("other.example.org", 100, 0, "labels = [\"web\", \"us\"]\n");
    let server = Server::start(&config);

    let answer = flip(&server, 100, json!({"select": "web,eu"})).done();
    assert_eq!((&answer["generation"], answer["pools"].as_array().unwrap().len()), (&json!(2), 1000));
    for i in [0, 2, 998, 1998] {
        assert_eq!(addresses(&server.ask(&format!("p{i}.example.org"), T::A)), [DC1], "p{i}");
        assert_eq!(addresses(&server.ask(&format!("p{}.example.org", i + 1), T::A)), [EC2]);
    }
    assert_eq!(addresses(&server.ask("other.example.org", T::A)), [EC2]);
    flip(&server, 100, json!({"select": "tier=web", "pools": ["other.example.org"]})).done();
    assert_eq!(server.generation(), 3);
    assert_eq!(addresses(&server.ask("p1999.example.org", T::A)), [DC1]);
    assert_eq!(addresses(&server.ask("other.example.org", T::A)), [DC1]);

    // One command, one generation, also for words over health and for plans.
    put(&server, "/api/v1/overrides", json!({"select": "eu", "site": "ec2", "override": "down"})).done();
    put(&server, "/api/v1/cutovers", json!({"select": "region=us", "at": from_now(7200)})).done();
    assert_eq!(server.generation(), 5);
    assert_eq!(server.newest()["action"]["pools"].as_array().unwrap().len(), 1000);
    assert_eq!(server.pool("p0.example.org")["endpoints"][0]["override"], "down");
    assert!(server.pool("p1.example.org")["cutover"].is_string());
    assert_eq!(server.pool("p1.example.org")["labels"], json!(["region=us", "tier=web"]));
    assert!(server.pool("p0.example.org")["cutover"].is_null());

    // All or none: `ec2` of half of them is down by now, and nothing would be left.
    let detail = flip(&server, 0, json!({"select": "web"})).refused(409);
    assert!(detail.contains("nothing would be left"), "{detail}");
    assert_eq!((server.generation(), server.weights("other.example.org")), (5, vec![0, 100]));

    let wrong = flip(&server, 5, json!({"select": "webb"}));
    assert_eq!(wrong.json["errors"][0]["pointer"], "/select");
    assert!(wrong.refused(400).contains("webb"));
    put(&server, "/api/v1/cutovers", json!({"at": null})).refused(400);
    put(&server, "/api/v1/cutovers", json!({"select": "nobody", "at": null})).refused(404);
}

#[test]
fn a_pool_is_not_flipped_again_too_soon() {
    let (www, shop, free) = ("www.example.org", "shop.example.org", "free.example.org");
    let config = format!(
        "{HEAD}[steering]\nmin-between-flips = \"1h\"\n{}{}{}",
        pool(www, 100, 0, ""),
        pool(shop, 100, 0, "min-between-flips = \"2h\""),
        pool(free, 100, 0, "min-between-flips = 0")
    );
    let server = Server::start(&config);
    server.shift(&[www, shop, free], 5.0);
    let flipped = instant(&server.newest()["at"]);
    for (pools, secs) in [(json!([www]), 3600), (json!([free, www, shop]), 7200)] {
        let early = flip(&server, 10, json!({"pools": pools}));
        assert_eq!(instant(&early.json["allowed_at"]), flipped + secs);
        let detail = early.refused(409);
        assert!(detail.contains(&format!("{secs} s must lie between")), "{detail}");
    }
    assert_eq!(instant(&server.pool(www)["flip_allowed_at"]), flipped + 3600);
    let dry = server.api(
        "POST",
        "/api/v1/flips",
        json!({"pools": [www], "from": "ec2", "to": "dc1", "percent": 9, "dry_run": true}),
        &[],
    );
    assert!(dry.done()["warnings"][0].as_str().unwrap().contains("may be flipped again"));
    server.shift(&[free], 10.0);
    // Words over health and taking back wait for nothing.
    server.force(www, "ec2", "down").done();
    server.force(www, "ec2", "obey").done();
    server.api("POST", "/api/v1/restore", json!({"generation": 1}), &[("If-Match", "*")]).done();
    assert_eq!(server.weights(www), [100, 0]);
    // What was taken back counts as flipped.
    flip(&server, 10, json!({"pools": [www]})).refused(409);
}
