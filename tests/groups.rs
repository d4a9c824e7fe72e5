//! Pools of one group, on a running server:
//! - one client key has one site at all names and types of the group, before and after flips, overrides and failures;
//! - a flip, override, cutover or revert of one pool is one of all, and says so; two of them can't be set apart;
//! - it stays so over a restart; a pool that joins takes the group's shares.

mod support;

use std::collections::BTreeSet;

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::{addresses, ttl};
use support::origin::Origin;
use support::{HEAD, Server, from_now};

const NAMES: [&str; 3] = ["www.example.org", "api.example.org", "_sip._tcp.example.org"];

/// Three pools of the group `web`; only the first one says weights.
fn web() -> String {
    let www = pool(NAMES[0], &addresses_of(1), [", weight = 50", ", weight = 50"]);
    let srv = [1, 2].map(|site| format!("srv = [\"1 1 5060 s{site}.example.org.\"]"));
    format!("{www}{}{}", pool(NAMES[1], &addresses_of(2), ["", ""]), pool(NAMES[2], &srv, ["", ""]))
}

/// Of a pool whose net is 192.0.2.(10 * n): the host says the site.
fn addresses_of(n: u8) -> [String; 2] {
    [1, 2].map(|site| {
        let host = 10 * n + site;
        format!("address = [\"192.0.2.{host}\", \"2001:db8::{host}\"], https = [\"1 . ipv4hint=192.0.2.{host}\"]")
    })
}

fn pool(name: &str, records: &[String; 2], weights: [&str; 2]) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\ngroup = \"web\"\nendpoint = [\n{{ site = \"ec2\", {}{} }},\n{{ site = \"dc1\", {}{} }},\n]\n",
        records[0], weights[0], records[1], weights[1]
    )
}

/// The sites, 1 and 2, that a client is given over all names and types.
fn sites_of(server: &Server, client: u32) -> BTreeSet<char> {
    let questions = [(0, T::A), (0, T::AAAA), (0, T::HTTPS), (1, T::A), (1, T::AAAA), (1, T::HTTPS), (2, T::SRV)];
    let given = questions.iter().map(|(name, rtype)| {
        let answer = server.question(NAMES[*name], *rtype).client(client).send();
        let text = addresses(&answer)[0].clone();
        // 192.0.2.21, 2001:db8::22, 1 . ipv4hint=192.0.2.11, 1 1 5060 s2.example.org.
        text.trim_end_matches([',', ' ', '.']).trim_end_matches(".example.org").chars().last().unwrap()
    });
    given.collect()
}

/// How many of the clients are at the second site; each must be at one.
#[track_caller]
fn at_dc1(server: &Server, clients: u32) -> usize {
    let sites: Vec<_> = (0..clients).map(|client| sites_of(server, client)).collect();
    for (client, sites) in sites.iter().enumerate() {
        assert_eq!(sites.len(), 1, "client {client} sees {sites:?}");
    }
    sites.iter().filter(|sites| sites.contains(&'2')).count()
}

#[test]
fn a_client_sees_one_site_and_a_flip_of_one_flips_all() {
    let mut server = Server::start(&format!("{HEAD}{}", web()));
    assert!((20..=80).contains(&at_dc1(&server, 100)));
    assert_eq!(server.pool(NAMES[1])["group"], "web");
    assert_eq!(server.weights(NAMES[2]), [50, 50], "weights are those of the pool that says them");

    let flipped = server.shift(&[NAMES[1]], 90.0);
    assert_eq!(flipped["pools"].as_array().unwrap().len(), 3);
    let warning = "the pools of group \"web\" change together: api.example.org, _sip._tcp.example.org, www.example.org";
    assert!(flipped["warnings"].to_string().replace('\\', "").contains(warning), "{flipped}");
    assert!(at_dc1(&server, 100) > 75);
    assert!(NAMES.iter().all(|name| server.weights(name) == [10, 90]));
    assert_eq!(server.newest()["changes"].as_array().unwrap().len(), 3);

    server.force(NAMES[2], "dc1", "down").done();
    assert_eq!(at_dc1(&server, 40), 0);
    let words = NAMES.map(|name| server.pool(name)["endpoints"][1]["override"].clone());
    assert_eq!(words, [json!("down"), json!("down"), json!("down")]);
    server.kill9();
    server.start_again();
    assert_eq!(at_dc1(&server, 40), 0);
    server.force(NAMES[0], "dc1", "obey").done();

    let apart = json!({"weights": {NAMES[0]: {"ec2": 1}, NAMES[1]: {"ec2": 2}}});
    assert!(server.flip(apart).refused(409).contains("they can't have different weights"));
    server.flip(json!({"weights": {NAMES[0]: {"ec2": 0}}, "confirm_within_s": 600})).done();
    assert!(server.flip(json!({"weights": {NAMES[1]: {"ec2": 9}}})).refused(409).contains("waits to be confirmed"));
    assert_eq!(at_dc1(&server, 40), 40);
    let generation = server.generation();
    server.api("POST", &format!("/api/v1/flips/{generation}/revert"), json!({}), &[("If-Match", "*")]).done();
    assert!(NAMES.iter().all(|name| server.weights(name) == [10, 90]));

    let path = format!("/api/v1/pools/{}/cutover", NAMES[0]);
    server.api("PUT", &path, json!({"at": from_now(900)}), &[]).done();
    assert!(NAMES.iter().all(|name| server.pool(name)["cutover"] != Value::Null));
    assert!(ttl(&server.ask(NAMES[1], T::A)) <= 900, "TTLs of the whole group count down");
}

#[test]
fn testers_see_a_site_before_all_others() {
    let weighty = pool(NAMES[0], &addresses_of(1), [", weight = 100", ", weight = 0"]);
    let own = "preview = [{ site = \"dc1\", networks = [\"10.0.7.0/24\", \"127.0.7.7\"] }]\nendpoint =";
    let rest = pool(NAMES[1], &addresses_of(2), ["", ""]).replace("endpoint =", own);
    let srv = [1, 2].map(|site| format!("srv = [\"1 1 5060 s{site}.example.org.\"]"));
    let global = "[steering]\npreview = [{ site = \"dc1\", networks = [\"10.0.9.0/24\"] }]\n";
    let mut server = Server::start(&format!("{HEAD}{global}{weighty}{rest}{}", pool(NAMES[2], &srv, ["", ""])));
    let dc1 = |server: &Server| {
        (0..12).filter(|client| sites_of(server, *client) == BTreeSet::from(['2'])).collect::<Vec<u32>>()
    };
    assert_eq!(dc1(&server), [7, 9], "at weight 0, for all names of the group");
    let resolver = |host: u8| addresses(&server.question(NAMES[0], T::A).from([127, 0, 7, host]).send())[0].clone();
    assert_eq!([resolver(7), resolver(8)], ["192.0.2.12", "192.0.2.11"]);
    let scope = support::dns::scope(&server.question(NAMES[0], T::A).client(7).send());
    assert_eq!(scope, Some(24));
    let endpoint = server.pool(NAMES[0])["endpoints"][1].clone();
    assert_eq!((&endpoint["answered"], &endpoint["share_percent"]), (&json!(true), &json!(0.0)));
    assert!(!endpoint["horizon"][0]["at"].is_null(), "what testers were given is in the horizon: {endpoint}");
    let told = server.get(&format!("/api/v1/explain?name={}&client=127.0.7.7", NAMES[0]));
    assert_eq!((&told["pools"][0]["previewed"], &told["pools"][0]["site"]), (&json!(true), &json!("dc1")));
    // After a crash the horizon still counts with them.
    server.kill9();
    server.start_again();
    assert!(!server.pool(NAMES[0])["endpoints"][1]["horizon"][0]["at"].is_null());
    server.force(NAMES[0], "dc1", "down").done();
    assert!(dc1(&server).is_empty(), "an override is stronger");
}

#[test]
fn who_joins_a_group_follows_it() {
    let alone =
        pool("old.example.org", &addresses_of(3), [", weight = 100", ", weight = 0"]).replace("group = \"web\"\n", "");
    let server = Server::start(&format!("{HEAD}{}{alone}", web()));
    server.shift(&[NAMES[0]], 100.0);
    let joined = pool("old.example.org", &addresses_of(3), ["", ""]);
    server.configure(&format!("{HEAD}{}{joined}", web()));
    assert!(server.reload().refused(422).contains("the group web gives nobody ec2"));
    server.shift(&[NAMES[0]], 50.0);
    server.reload().done();
    assert_eq!(server.weights("old.example.org"), [50, 50]);
    for client in 0..40 {
        let own = addresses(&server.question("old.example.org", T::A).client(client).send())[0].clone();
        assert_eq!(sites_of(&server, client), own.chars().last().into_iter().collect());
    }
    assert_eq!(ttl(&server.ask("old.example.org", T::A)), 60, "low after a change");
}

#[test]
fn a_site_that_is_down_for_one_pool_is_down_for_the_group() {
    let sites = ["127.43.1.1", "127.43.1.2"];
    let (port, origins) = Origin::at(&sites);
    let probe = format!(
        "[probe.web]\ntype = \"http\"\nport = {port}\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 2\nfall = 2\n"
    );
    let records = sites.map(|site| format!("address = [\"{site}\"]"));
    let probed = pool("probed.example.org", &records, ["", ""]).replace("endpoint =", "probe = \"web\"\nendpoint =");
    let server = Server::start(&format!("{HEAD}{probe}{}{probed}", web()));
    assert!(at_dc1(&server, 100) > 20);
    origins[1].fail();
    server.wait_for("dc1 to be taken out", |s| !s.pool(NAMES[0])["endpoints"][1]["answered"].as_bool().unwrap());
    assert_eq!(at_dc1(&server, 100), 0);
    assert_eq!(ttl(&server.ask(NAMES[1], T::A)), 60);
}
