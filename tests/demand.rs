//! Demand on a running server: who asks much is counted, forecasts and dry runs tell shares of the load, a capped flip postpones
//! the busy clients and goes by load, and all of that is durable and can be taken back.

mod support;

use serde_json::{Value, json};
use support::{DC1, EC2, HEAD, Server, pool};

const WWW: &str = "www.example.org";

/// 60 clients ask 10 times each, and one 300 times: a third of the load. Gives its number: it is one of those that move when
/// half of the points do.
fn with_a_busy_client(server: &Server) -> u32 {
    server.shift(&[WWW], 50.0);
    let busy = (0..60).find(|client| server.address_for(WWW, *client) == DC1).unwrap();
    server.api("POST", "/api/v1/flips/2/revert", json!({}), &[("If-Match", "*")]).done();
    for client in 0..60 {
        for _ in 0..if client == busy { 300 } else { 10 } {
            server.address_for(WWW, client);
        }
    }
    busy
}

fn flip(percent: u32, cap: bool, dry_run: bool) -> Value {
    json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": percent, "cap": cap, "dry_run": dry_run})
}

fn load_of(answer: &Value, endpoint: usize) -> f64 {
    answer["pools"][0]["endpoints"][endpoint]["load"]["percent"].as_f64().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn a_capped_flip_goes_by_load_and_postpones_the_busy() {
    let mut server = Server::start(&format!("{HEAD}{}", pool(WWW, 100, 0, "")));
    let early = server.flip(flip(50, true, true)).done();
    assert!(early["warnings"].to_string().contains("too little demand"), "{early}");
    let busy = with_a_busy_client(&server);
    let clients = |server: &Server| (0..60).map(|c| server.address_for(WWW, c)).collect::<Vec<_>>();

    let plain = server.flip(flip(50, false, true)).done();
    let dry = server.flip(flip(50, true, true)).done();
    assert!(load_of(&plain, 1) > 50.0, "half of the clients and the busy one: {plain}");
    assert!((load_of(&dry, 1) - 50.0).abs() < 5.0 && dry["pools"][0]["postponed"] == 1, "{dry}");
    let path = format!("/api/v1/pools/{WWW}/forecast?from=ec2&to=dc1&percent=50&cap=true");
    let forecast = server.get(&path);
    assert_eq!(forecast["endpoints"][1]["nominal_percent"], json!([0.0, 50.0]));
    let load = &forecast["endpoints"][1]["load"];
    assert_eq!(load[0]["percent"], 0.0);
    let [low, mean, high] = ["low_percent", "percent", "high_percent"].map(|key| load[1][key].as_f64().unwrap());
    assert!(low < mean && mean < high && (mean - 50.0).abs() < 5.0, "{forecast}");
    assert_eq!(forecast["postponed"][0]["site"], "ec2");
    assert!((forecast["postponed"][0]["load_percent"].as_f64().unwrap() - 33.0).abs() < 2.0, "{forecast}");
    assert!(clients(&server).iter().all(|a| a == EC2), "nothing was changed");

    let done = server.flip(flip(50, true, false)).done();
    let generation = done["generation"].as_u64().unwrap();
    assert_eq!(server.newest()["action"], json!({"kind": "flip", "confirm_by": null, "cap": true}));
    let after = clients(&server);
    assert_eq!(after[busy as usize], EC2, "it stays behind");
    let moved = after.iter().filter(|a| *a == DC1).count();
    assert!((35..=50).contains(&moved), "about 45 light ones are as much as half of all: {moved}");
    assert_eq!(server.pool(WWW)["postponed"], 1);
    let network = forecast["postponed"][0]["client_key"].as_str().unwrap().to_owned();
    let address = network.split('/').next().unwrap();
    let explained = server.get(&format!("/api/v1/explain?name={WWW}&client={address}"));
    assert!(explained["steps"].to_string().contains("postponed"), "{explained}");

    server.kill9();
    server.start_again();
    assert_eq!(clients(&server), after, "who stays behind is part of the state");
    // On to the end: everybody comes, nobody goes back.
    server.shift(&[WWW], 100.0);
    assert!(clients(&server).iter().all(|a| a == DC1));
    let revert = |generation: u64| {
        server.api("POST", &format!("/api/v1/flips/{generation}/revert"), json!({}), &[("If-Match", "*")]).done();
    };
    revert(generation + 1);
    assert_eq!(clients(&server), after, "the way back is the way there");
}

#[test]
fn a_forecast_is_asked_for_properly() {
    let server = Server::start(&format!("{HEAD}{}", pool(WWW, 3, 1, "")));
    let now = server.get(&format!("/api/v1/pools/{WWW}/forecast"));
    assert_eq!(now["endpoints"][0]["share_percent"], json!([75.0, 75.0]));
    assert!(now["warnings"].to_string().contains("too little demand"), "{now}");
    let ask = |path: &str| server.api("GET", &format!("/api/v1/pools/{path}"), Value::Null, &[]);
    assert!(ask("nowhere.example.org/forecast").refused(404).contains("nowhere"));
    assert!(ask(&format!("{WWW}/forecast?from=ec2")).refused(400).contains("go together"));
    assert!(ask(&format!("{WWW}/forecast?from=ec2&to=dc1&percent=101")).refused(400).contains("101"));
    assert!(ask(&format!("{WWW}/forecast?from=ec2&to=dc9&percent=1")).refused(400).contains("dc9"));
}

#[test]
fn what_is_known_of_who_still_holds_an_old_answer() {
    let server = Server::start(&format!("{HEAD}{}", pool(WWW, 100, 0, "ttl = { normal = 300, low = 20 }")));
    for client in 0..50 {
        server.address_for(WWW, client);
    }
    assert_eq!(server.pool(WWW)["endpoints"][0]["held"], Value::Null, "it is still answered");
    server.shift(&[WWW], 100.0);
    server.wait_for("the sample", |s| s.pool(WWW)["endpoints"][0]["held"]["clients"] == 50);
    let ec2 = server.pool(WWW)["endpoints"][0].clone();
    let (held, horizon) = (&ec2["held"], &ec2["horizon"][0]);
    assert!(held["at"].as_str() <= horizon["at"].as_str(), "{ec2}");
    assert!((280..=303).contains(&held["seconds_left"].as_u64().unwrap()), "{ec2}");
    assert_eq!((&held["percent"], &held["gone_percent"]), (&json!(99.0), &json!(0.0)));
    assert!(held["why"].as_str().unwrap().contains("50 clients"), "{ec2}");
}
