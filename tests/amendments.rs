//! Endpoints and pools that come, change and go while the server runs:
//! - a new endpoint begins at weight 0, is flipped to, and is there after a kill; its zone, probes and answers follow;
//! - what is being answered goes only by force, never the last of a pool, and its horizon stays known;
//! - a dry run changes nothing, a repeated key gives its first answer, a stale generation is refused, the audit tells;
//! - a pool comes over a name of the zone and gives it back; pools of a group get and lose a site together;
//! - the file is the later word where it is edited at the same place, and only there;
//! - mistakes are those that the file would have, all at once.

mod support;

use std::fs;

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::addresses;
use support::{DC1, EC2, HEAD, Reply, Server, instant, now, pool};

const WWW: &str = "www.example.org";
const DC2: &str = "192.0.2.13";

fn head() -> String {
    format!("{HEAD}[[site]]\nname = \"dc2\"\n")
}

fn endpoint(server: &Server, method: &str, site: &str, body: Value) -> Reply {
    let path = match method {
        "POST" => format!("/api/v1/pools/{WWW}/endpoints"),
        _ => format!("/api/v1/pools/{WWW}/endpoints/{site}"),
    };
    server.api(method, &path, body, &[])
}

fn sites(server: &Server, pool: &str) -> Vec<(String, u64)> {
    let pool = server.pool(pool);
    let endpoints = pool["endpoints"].as_array().unwrap().iter().filter(|e| !e["configured_weight"].is_null());
    endpoints.map(|e| (e["site"].as_str().unwrap().to_owned(), e["weight"].as_u64().unwrap())).collect()
}

#[test]
fn an_endpoint_comes_is_flipped_to_and_goes() {
    let config = format!("{}{}", head(), pool(WWW, 100, 0, ""));
    let mut server = Server::start(&config);
    assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2]);
    let add = || json!({"site": "dc2", "address": [DC2], "reason": "a third"});

    let dry = endpoint(&server, "POST", "", json!({"site": "dc2", "address": [DC2], "dry_run": true})).done();
    assert_eq!((dry["dry_run"].as_bool(), dry["generation"].as_u64()), (Some(true), Some(1)));
    assert_eq!(sites(&server, WWW).len(), 2);
    let stale = server.api("POST", &format!("/api/v1/pools/{WWW}/endpoints"), add(), &[("If-Match", "\"9\"")]);
    stale.refused(412);
    let keyed = || {
        let path = format!("/api/v1/pools/{WWW}/endpoints");
        server.api("POST", &path, add(), &[("If-Match", "\"1\""), ("Idempotency-Key", "third")]).done()
    };
    let first = keyed();
    assert_eq!(
        (first["generation"].as_u64(), first.clone()),
        (Some(2), keyed()),
        "a repetition gives the first answer"
    );
    endpoint(&server, "POST", "", add()).refused(409);
    assert_eq!(sites(&server, WWW)[2], ("dc2".to_owned(), 0));
    let newest = server.newest();
    assert_eq!(newest["reason"], "a third");
    assert_eq!(
        newest["action"],
        json!({"kind": "amend", "amended": [{"pool": WWW, "site": "dc2", "change": "added"}]})
    );
    assert_eq!(server.pool(WWW)["amended"], json!(["dc2 was added at run time"]));

    server.flip(json!({"pools": [WWW], "from": "ec2", "to": "dc2", "percent": 100})).done();
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC2]);
    server.kill9();
    server.start_again();
    assert_eq!(sites(&server, WWW)[2].1, 100, "it was durable before it was answered");
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC2]);

    // Other records; the weight stays. The same again changes nothing.
    let set = || endpoint(&server, "PUT", "dc2", json!({"address": ["192.0.2.14"]})).done();
    let generation = set()["generation"].as_u64();
    assert_eq!(addresses(&server.ask(WWW, T::A)), ["192.0.2.14"]);
    assert_eq!(set()["generation"].as_u64(), generation);

    // What is answered goes only by force, and the last not at all.
    let why = endpoint(&server, "DELETE", "dc2", Value::Null).refused(409);
    assert!(why.contains("dc2, which is given 100.00 %"), "{why}");
    let why = endpoint(&server, "DELETE", "dc2", json!({"force": true})).refused(409);
    assert!(why.contains("nothing would be left to answer"), "{why}");
    server.flip(json!({"pools": [WWW], "from": "dc2", "to": "ec2", "percent": 50})).done();
    let gone = endpoint(&server, "DELETE", "dc2", json!({"force": true})).done();
    assert_eq!(gone["departed"][0]["site"], "dc2");
    assert!(instant(&gone["departed"][0]["horizon"]) > now(), "caches hold it still: {gone}");
    assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2]);
    let of_dc2 = |server: &Server| {
        let pool = server.pool(WWW);
        let departed = pool["endpoints"].as_array().unwrap().iter().find(|e| e["site"] == "dc2").cloned();
        instant(&departed.expect("its horizon is told")["horizon"][0]["at"])
    };
    let told = of_dc2(&server);
    server.kill9();
    server.start_again();
    assert!(of_dc2(&server) >= told.min(instant(&gone["departed"][0]["horizon"])), "the horizon is not forgotten");
    assert_eq!(sites(&server, WWW), [("ec2".to_owned(), 50), ("dc1".to_owned(), 0)]);
    assert_eq!(server.pool(WWW)["amended"], Value::Null, "all is as the file says");

    // The endpoint that the file has goes, too; the file's weight is no promise.
    server.shift(&[WWW], 100.0);
    endpoint(&server, "DELETE", "ec2", Value::Null).done();
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1]);
    server.reload().done();
    server.terminate();
    server.start_again();
    assert_eq!(sites(&server, WWW).len(), 1);
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1]);
}

#[test]
fn a_pool_comes_over_the_zone_and_gives_it_back() {
    let mut server = Server::start(&format!("{}{}", head(), pool(WWW, 100, 0, "")));
    assert_eq!(addresses(&server.ask("plain.example.org", T::A)), ["192.0.2.7"]);
    let definition = json!({"name": "plain.example.org", "ttl": {"normal": "10m"},
        "endpoint": [{"site": "ec2", "address": [EC2], "weight": 1}, {"site": "dc1", "address": [DC1], "weight": 0}]});
    server.api("POST", "/api/v1/pools", definition.clone(), &[]).done();
    assert_eq!(addresses(&server.ask("plain.example.org", T::A)), [EC2]);
    server.api("POST", "/api/v1/pools", definition, &[]).refused(409);
    server.shift(&["plain.example.org", WWW], 100.0);
    server.kill9();
    server.start_again();
    assert_eq!(addresses(&server.ask("plain.example.org", T::A)), [DC1]);
    let shown = server.get("/api/v1/pools/plain.example.org/definition");
    assert_eq!((&shown["name"], &shown["ttl"]["normal"]), (&json!("plain.example.org"), &json!("10m")));

    // All that it is, anew: the store keeps its weights.
    let other = json!({"ttl": {"normal": "20m"}, "endpoint": [{"site": "dc1", "address": [DC2], "weight": 0},
        {"site": "ec2", "address": [EC2], "weight": 5}]});
    server.api("PUT", "/api/v1/pools/plain.example.org", other, &[]).done();
    assert_eq!(addresses(&server.ask("plain.example.org", T::A)), [DC2]);
    assert_eq!(server.pool("plain.example.org")["ttl"]["normal"], 1200);

    let path = "/api/v1/pools/plain.example.org";
    assert!(server.api("DELETE", path, Value::Null, &[]).refused(409).contains("answered now"));
    let gone = server.api("DELETE", path, json!({"force": true}), &[]).done();
    assert_eq!(gone["departed"].as_array().unwrap().len(), 2);
    assert_eq!(addresses(&server.ask("plain.example.org", T::A)), ["192.0.2.7"]);
    server.api("DELETE", path, Value::Null, &[]).refused(404);
    // The pool of the file, too, and it stays away until it comes back.
    server.api("DELETE", &format!("/api/v1/pools/{WWW}"), json!({"force": true}), &[]).done();
    assert_eq!(addresses(&server.ask(WWW, T::A)), ["192.0.2.99"]);
    server.reload().done();
    server.terminate();
    server.start_again();
    assert_eq!(addresses(&server.ask(WWW, T::A)), ["192.0.2.99"]);
}

#[test]
fn a_group_gets_and_loses_a_site_together() {
    let api = "api.example.org";
    let config = format!("{}{}{}", head(), pool(WWW, 100, 0, "group = \"web\""), pool(api, 100, 0, "group = \"web\""));
    let server = Server::start(&config);
    let why = endpoint(&server, "POST", "", json!({"site": "dc2", "address": [DC2]})).refused(400);
    assert!(why.contains("pools of a group have the same sites"), "{why}");
    let pools = json!({WWW: {"address": [DC2]}, api: {"address": ["192.0.2.14"]}});
    server.api("POST", "/api/v1/endpoints", json!({"site": "dc2", "pools": pools}), &[]).done();
    server.flip(json!({"pools": [WWW], "from": "ec2", "to": "dc2", "percent": 100})).done();
    assert_eq!(addresses(&server.ask(api, T::A)), ["192.0.2.14"]);
    endpoint(&server, "DELETE", "ec2", Value::Null).done();
    assert_eq!((sites(&server, WWW).len(), sites(&server, api).len()), (2, 2));
}

#[test]
fn the_file_is_the_later_word_where_it_is_edited() {
    let config = format!("{}{}", head(), pool(WWW, 100, 0, ""));
    let mut server = Server::start(&config);
    endpoint(&server, "POST", "", json!({"site": "dc2", "address": [DC2]})).done();
    endpoint(&server, "PUT", "ec2", json!({"address": ["192.0.2.21"]})).done();
    // Elsewhere in the pool: what was said at run time holds.
    server.configure(&config.replace(DC1, "192.0.2.22"));
    server.reload().done();
    assert_eq!(addresses(&server.ask(WWW, T::A)), ["192.0.2.21"]);
    assert_eq!(sites(&server, WWW).len(), 3);
    // At the same endpoint: the file counts, and says so once.
    server.configure(&config.replace(EC2, "192.0.2.31"));
    let told = server.reload().done()["warnings"].to_string();
    assert!(
        told.contains("the endpoint at ec2 was changed at run time, and in the file since: the file counts"),
        "{told}"
    );
    assert_eq!(addresses(&server.ask(WWW, T::A)), ["192.0.2.31"]);
    assert_eq!(sites(&server, WWW).len(), 3);
    // A file that no longer goes with it is refused, at a start too, unless by force.
    let without = config.replace("[[site]]\nname = \"dc2\"\n", "");
    server.configure(&without);
    assert!(server.reload().refused(422).contains("there is no [[site]] named \"dc2\""));
    server.kill9();
    let refused = server.fail_to_start(&[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force drops it"), "{refused:?}");
    server.start_again_with(&["--force"]);
    assert_eq!(sites(&server, WWW).len(), 2);
    server.wait_for_log("is dropped, by force");
}

#[test]
fn mistakes_are_those_of_the_file() {
    let server = Server::start(&format!("{}{}", head(), pool(WWW, 100, 0, "")));
    let told =
        endpoint(&server, "POST", "", json!({"site": "dc9", "address": ["192.0.2.300"], "colour": "red"})).refused(400);
    for part in ["dc9", "192.0.2.300", "colour"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = endpoint(&server, "POST", "", json!({"site": "dc2", "address": [DC2], "weight": 5})).refused(400);
    assert!(told.contains("flips change weights"), "{told}");
    let told = endpoint(&server, "PUT", "ec2", json!({"cname": "www.example.net"})).refused(400);
    assert!(told.contains("mixes types"), "{told}");
    endpoint(&server, "PUT", "dc2", json!({"address": [DC2]})).refused(404);
    endpoint(&server, "DELETE", "dc2", Value::Null).refused(404);
    let nothing = json!({"name": "plain.example.org", "endpoint": [{"site": "ec2", "address": [EC2], "weight": 0}]});
    server.api("POST", "/api/v1/pools", nothing, &[]).refused(409);
    let outside = json!({"name": "www.example.net", "endpoint": [{"site": "ec2", "address": [EC2], "weight": 1}]});
    assert!(server.api("POST", "/api/v1/pools", outside, &[]).refused(400).contains("outside the zones served"));
    // While a flip waits to be confirmed, its way back stays open.
    let flip = json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 5, "confirm_within": "10m"});
    server.flip(flip).done();
    endpoint(&server, "POST", "", json!({"site": "dc2", "address": [DC2]})).refused(409);
    assert_eq!(server.generation(), 2);
    assert!(fs::metadata(server.file("state")).is_ok());
}

#[test]
fn by_command() {
    let server = Server::start(&format!("{}{}", head(), pool(WWW, 100, 0, "")));
    let run = |arguments: &str| {
        let output = support::waypost()
            .args(arguments.split(' '))
            .args(["--api", &format!("http://{}", server.api), "--token-file", "state/admin.token"])
            .current_dir(server.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments}: {text}");
        text
    };
    assert!(run(&format!("endpoint add {WWW} dc2 --address {DC2} --dry-run")).contains("nothing was changed"));
    assert!(run(&format!("endpoint add {WWW} dc2 --address {DC2}")).contains("dc2   0       0 %"));
    assert!(run("status").contains("dc2 was added at run time"));
    run(&format!("endpoint set {WWW} dc2 --address {DC2},192.0.2.14 --role spare"));
    let shown = run(&format!("pool show {WWW}"));
    assert!(
        shown.contains("[[pool]]") && shown.contains("\"192.0.2.14\"") && shown.contains("role = \"spare\""),
        "{shown}"
    );
    run(&format!("endpoint remove {WWW} dc2 --force"));
    run("pool add plain.example.org --endpoint ec2=192.0.2.11 --weight ec2=1");
    fs::write(
        server.file("plain.toml"),
        "policy = \"failover\"\nendpoint = [{ site = \"ec2\", address = [\"192.0.2.15\"], weight = 1 }]\n",
    )
    .unwrap();
    run("pool set plain.example.org --file plain.toml");
    assert_eq!(addresses(&server.ask("plain.example.org", T::A)), ["192.0.2.15"]);
    assert!(run("pool remove plain.example.org --force").contains("ec2 is gone"));
    assert!(run("audit").contains("pool plain.example.org removed"));
}
