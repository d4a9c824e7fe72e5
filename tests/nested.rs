//! Endpoints that are pools, regions over sites, on a running server:
//! - a client is given one leaf under the outer name and under its region's own, over all types and after each flip; a flip of a
//!   region moves its own clients alone, and is seen at once under both names;
//! - the TTL is the least on the way; horizons count a leaf under whatever name it was answered, also over a kill;
//! - a region is up while it has somebody healthy: if not its clients go elsewhere, and if nobody is anywhere, all are answered;
//! - an operator's word counts at either level; nothing is pushed to a region;
//! - regions come and go at run time, by API and command; one that is used is not removed; circles are named;
//! - explain tells each level, a region may answer all of its sites, transfers carry the largest leaf.

mod support;

use std::collections::BTreeSet;
use std::process::Command;

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::{addresses, scope, ttl};
use support::{HEAD, Reply, Server, from_now, instant, now};

const WWW: &str = "www.example.org";
const EU: &str = "eu.www.example.org";
const US: &str = "us.www.example.org";
const FRA: &str = "192.0.2.11";
const AMS: &str = "192.0.2.12";
const NYC: &str = "192.0.2.21";

fn head() -> String {
    let sites = ["eu", "us", "fra", "ams", "nyc"].map(|site| format!("[[site]]\nname = \"{site}\"\n"));
    format!("{HEAD}{}[probe.pushed]\ntype = \"push\"\n", sites.concat())
}

/// `more` are lines of the outer pool and of both regions.
fn regions(more: [&str; 2]) -> String {
    let [outer, inner] = more;
    format!(
        "[[pool]]\nname = \"{WWW}\"\n{outer}\nendpoint = [\n\
         {{ site = \"eu\", pool = \"{EU}\", weight = 70 }},\n{{ site = \"us\", pool = \"{US}\", weight = 30 }},\n]\n\
         [[pool]]\nname = \"{EU}\"\n{inner}\nendpoint = [\n\
         {{ site = \"fra\", address = [\"{FRA}\", \"2001:db8::11\"], weight = 50 }},\n\
         {{ site = \"ams\", address = [\"{AMS}\", \"2001:db8::12\"], weight = 50 }},\n]\n\
         [[pool]]\nname = \"{US}\"\n{inner}\nendpoint = [{{ site = \"nyc\", address = [\"{NYC}\"], weight = 1 }}]\n"
    )
}

fn start(more: [&str; 2]) -> Server {
    Server::start(&format!("{}{}", head(), regions(more)))
}

/// The sites in `pool` that clients are given at `name`, one by one.
fn given(server: &Server, name: &str, clients: u32) -> Vec<String> {
    (0..clients).map(|client| server.address_for(name, client)).collect()
}

fn all_given(server: &Server, name: &str) -> BTreeSet<String> {
    given(server, name, 60).into_iter().collect()
}

fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(|address| (*address).to_owned()).collect()
}

#[track_caller]
fn endpoint(server: &Server, pool: &str, site: &str) -> Value {
    let pool = server.pool(pool);
    let found = pool["endpoints"].as_array().unwrap().iter().find(|e| e["site"] == site).cloned();
    found.unwrap_or_else(|| panic!("no {site}: {pool}"))
}

/// The horizon for A, and whether it can still grow.
#[track_caller]
fn horizon(server: &Server, pool: &str, site: &str) -> (Option<u64>, bool) {
    let endpoint = endpoint(server, pool, site);
    let found = endpoint["horizon"].as_array().unwrap().iter().find(|h| h["type"] == "A").unwrap().clone();
    (found["at"].as_str().map(|_| instant(&found["at"])), found["at_least"].as_bool().unwrap())
}

fn push(server: &Server, pool: &str, site: &str, up: bool) -> Reply {
    let value = json!({"up": up, "for": "1h"});
    server.api("PUT", &format!("/api/v1/pools/{pool}/endpoints/{site}/health"), value, &[])
}

#[test]
fn a_client_has_one_leaf_and_each_flip_moves_its_own() {
    let server = start(["", ""]);
    let clients = 300;
    let check = || {
        let leaves = given(&server, WWW, clients);
        for (client, leaf) in (0..).zip(&leaves) {
            let region = if leaf == NYC { US } else { EU };
            assert_eq!(server.address_for(region, client), *leaf, "client {client}");
            let v6 = server.question(WWW, T::AAAA).client(client).send();
            let expected: &[&str] = match leaf.as_str() {
                FRA => &["2001:db8::11"],
                AMS => &["2001:db8::12"],
                _ => &[], // nyc has none: the whole region lacks the type
            };
            assert_eq!((addresses(&v6), scope(&v6)), (expected.iter().map(|a| (*a).to_owned()).collect(), Some(24)));
        }
        leaves
    };
    let first = check();
    let count = |leaves: &[String], address: &str| leaves.iter().filter(|leaf| *leaf == address).count();
    let counts = [FRA, AMS, NYC].map(|address| count(&first, address));
    assert!((70..140).contains(&counts[0]) && (70..140).contains(&counts[1]) && (60..120).contains(&counts[2]));
    let leaves = server.pool(WWW)["leaves"].clone();
    assert_eq!(leaves[0], json!({"sites": ["eu", "fra"], "share_percent": 35.0, "answered": true}));
    assert_eq!(leaves[2], json!({"sites": ["us", "nyc"], "share_percent": 30.0, "answered": true}));

    let flip = server.flip(json!({"pools": [EU], "from": "fra", "to": "ams", "percent": 75})).done();
    assert!(flip["warnings"].to_string().contains("is an endpoint of www.example.org at eu: clients move there, too"));
    let second = check();
    for (before, after) in first.iter().zip(&second) {
        assert!(before == after || (before == FRA && after == AMS), "{before} to {after}");
    }
    assert!(count(&second, FRA) < counts[0]);
    let flip = server.flip(json!({"pools": [WWW], "from": "us", "to": "eu", "percent": 90})).done();
    assert_eq!(flip["pools"][0]["moved_percent"], 20.0);
    let third = check();
    for (before, after) in second.iter().zip(&third) {
        assert!(before == after || (before == NYC && after != NYC), "{before} to {after}");
    }
    assert!(count(&third, NYC) < counts[2]);
}

#[test]
fn the_ttl_is_the_least_and_a_leaf_is_remembered_under_each_name() {
    let mut server =
        start(["ttl = { normal = 500, low = 20, spread = 0 }", "ttl = { normal = 300, low = 10, spread = 0 }"]);
    let ttl_for = |server: &Server, name: &str, address: &str| {
        let asked = (0..200).map(|client| server.question(name, T::A).client(client).send());
        ttl(&asked.into_iter().find(|answer| addresses(answer)[0] == address).unwrap())
    };
    assert_eq!((ttl_for(&server, WWW, FRA), ttl_for(&server, EU, FRA)), (300, 300), "the region's is the least");
    assert_eq!(server.pool(WWW)["ttl"]["served"], 300);
    let cutover = |pool: &str| {
        let path = format!("/api/v1/pools/{pool}/cutover");
        server.api("PUT", &path, json!({"at": from_now(100)}), &[]).done();
    };
    cutover(EU);
    assert!(ttl_for(&server, WWW, FRA) <= 100 && ttl_for(&server, WWW, NYC) == 300, "one region counts down");
    cutover(WWW);
    assert!(ttl_for(&server, WWW, NYC) <= 100 && ttl_for(&server, US, NYC) == 300, "all under the outer name do");
    for pool in [WWW, EU] {
        server.api("DELETE", &format!("/api/v1/pools/{pool}/cutover"), Value::Null, &[]).done();
    }
    drop(server);

    // Nobody asks for the region's own name.
    server = start(["ttl = { normal = 500, low = 20, spread = 0 }", "ttl = { normal = 300, low = 10, spread = 0 }"]);
    assert_eq!(horizon(&server, EU, "fra"), (None, true));
    let before = now();
    given(&server, WWW, 100);
    let after = now();
    for (pool, site) in [(WWW, "eu"), (EU, "fra"), (EU, "ams"), (WWW, "us"), (US, "nyc")] {
        let (at, at_least) = horizon(&server, pool, site);
        assert!((before + 303..=after + 303).contains(&at.unwrap()) && at_least, "{pool} {site}: {at:?}");
        assert!(endpoint(&server, pool, site)["answers"].as_u64() > Some(0));
    }
    let flip = server.flip(json!({"pools": [EU], "from": "fra", "to": "ams", "percent": 100})).done();
    let told = instant(&flip["pools"][0]["endpoints"][0]["horizon"]);
    assert!(told >= before + 303);
    server.wait_for("the horizon of fra is final", |server| !horizon(server, EU, "fra").1);
    assert!(horizon(&server, WWW, "eu").1, "the region is answered on");
    let fra = horizon(&server, EU, "fra").0.unwrap();
    assert!(fra >= before + 303);
    server.kill9();
    let killed = now();
    server.start_again();
    assert!(horizon(&server, EU, "fra").0.unwrap() >= fra, "never too early");
    let (at, at_least) = horizon(&server, WWW, "eu");
    assert!(at.unwrap() > killed + 300 && at_least, "{at:?}");
    assert!(horizon(&server, EU, "ams").0.unwrap() > killed);
    assert_eq!(all_given(&server, WWW), set(&[AMS, NYC]), "the flip has stayed");
}

#[test]
fn a_region_without_anybody_healthy_is_down() {
    let mut server = start(["", "probe = \"pushed\""]);
    assert_eq!(endpoint(&server, WWW, "eu")["health"]["state"], "unknown");
    assert_eq!(endpoint(&server, WWW, "eu")["pool"], EU);
    for (pool, site) in [(EU, "fra"), (EU, "ams"), (US, "nyc")] {
        push(&server, pool, site, true).done();
    }
    assert_eq!(endpoint(&server, WWW, "eu")["health"]["state"], "up");
    let told = push(&server, WWW, "eu", false).refused(409);
    assert!(told.contains("at \"eu\" is the pool eu.www.example.org, and as that one is"), "{told}");

    push(&server, EU, "fra", false).done();
    assert_eq!(all_given(&server, WWW), set(&[AMS, NYC]), "within the region first");
    assert_eq!(endpoint(&server, WWW, "eu")["health"]["state"], "up");
    let stayed = given(&server, WWW, 60);
    let ttl_of = |server: &Server, address: &str| {
        let client = stayed.iter().position(|given| given == address).unwrap();
        ttl(&server.question(WWW, T::A).client(client as u32).send())
    };
    assert_eq!((ttl_of(&server, AMS), ttl_of(&server, NYC)), (60, 3600), "a change of one region's health alone");
    push(&server, EU, "ams", false).done();
    assert_eq!(all_given(&server, WWW), set(&[NYC]), "then elsewhere");
    assert_eq!(ttl_of(&server, NYC), 60, "which is a change of the outer pool's health");
    assert_eq!(all_given(&server, EU), set(&[FRA, AMS]), "the region itself is never empty");
    let eu = endpoint(&server, WWW, "eu");
    assert_eq!((&eu["health"]["state"], &eu["answered"]), (&json!("down"), &json!(false)));
    assert_eq!(eu["health"]["seen"], "pool eu.www.example.org has nobody healthy to answer");
    assert!(instant(&eu["health"]["since"]) + 60 > now());
    assert_eq!(server.pool(WWW)["leaves"][0]["answered"], false);
    let page = server.api("GET", "/metrics", Value::Null, &[]).text;
    assert!(page.contains("waypost_endpoint_up{pool=\"www.example.org\",site=\"eu\"} 0"), "{page}");
    server.wait_for_log("eu is down: pool eu.www.example.org has nobody healthy to answer");
    let dry = server.flip(json!({"pools": [WWW], "from": "us", "to": "eu", "percent": 80, "dry_run": true})).done();
    assert!(dry["warnings"].to_string().contains("eu is down, as pool eu.www.example.org has nobody healthy"), "{dry}");

    server.terminate();
    server.start_again();
    server.wait_for("health as it was", |server| all_given(server, WWW) == set(&[NYC]));

    // An operator's word counts over it, and below it.
    server.force(WWW, "eu", "up").done();
    assert_eq!(all_given(&server, WWW), set(&[FRA, AMS, NYC]));
    server.force(WWW, "eu", "obey").done();
    server.force(EU, "ams", "up").done();
    assert_eq!(all_given(&server, WWW), set(&[AMS, NYC]), "the word below makes the region up at once");
    server.force(EU, "ams", "obey").done();
    assert_eq!(all_given(&server, WWW), set(&[NYC]));

    push(&server, US, "nyc", false).done();
    assert_eq!(all_given(&server, WWW), set(&[FRA, AMS, NYC]), "fail open at each level");
    assert_eq!(server.pool(WWW)["mode"], "fail-open");
    server.force(EU, "fra", "down").done();
    assert!(server.force(EU, "ams", "down").refused(409).contains("nothing would be left to answer"));
    assert_eq!(all_given(&server, WWW), set(&[AMS, NYC]));
    server.force(EU, "fra", "obey").done();
    push(&server, EU, "ams", true).done();
    push(&server, US, "nyc", true).done();
    assert_eq!(given(&server, WWW, 60), stayed, "everybody is back");
}

#[test]
fn regions_come_and_go_while_it_runs() {
    let flat =
        format!("[[pool]]\nname = \"{WWW}\"\nendpoint = [{{ site = \"us\", address = [\"{NYC}\"], weight = 1 }}]\n");
    let mut server = Server::start(&format!("{}{flat}", head()));
    let run = |server: &Server, arguments: &str| {
        let output = support::waypost()
            .args(arguments.split(' '))
            .args(["--api", &format!("http://{}", server.api), "--token-file", "state/admin.token"])
            .current_dir(server.path())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let done = |server: &Server, arguments: &str| {
        let (success, text) = run(server, arguments);
        assert!(success, "{arguments}: {text}");
        text
    };
    let (success, text) = run(&server, &format!("endpoint add {WWW} eu --pool-endpoint {EU}"));
    assert!(
        !success && text.contains("has the pool \"eu.www.example.org\" as an endpoint, which is not there"),
        "{text}"
    );
    done(&server, &format!("pool add {EU} --endpoint fra={FRA} --endpoint ams={AMS} --weight fra=1 --weight ams=1"));
    let added = done(&server, &format!("endpoint add {WWW} eu --pool-endpoint {EU}"));
    assert!(added.contains("eu    0"), "{added}");
    assert_eq!(all_given(&server, WWW), set(&[NYC]), "it begins at weight 0");
    server.flip(json!({"pools": [WWW], "from": "us", "to": "eu", "percent": 50})).done();
    assert_eq!(all_given(&server, WWW), set(&[FRA, AMS, NYC]));
    assert!(done(&server, &format!("pool show {WWW}")).contains("pool = \"eu.www.example.org"));
    let status = done(&server, "status");
    assert!(
        status.contains("eu = eu.www.example.org") && status.contains("in the end: us 50 %, eu/fra 25 %"),
        "{status}"
    );

    server.kill9();
    server.start_again();
    assert_eq!(all_given(&server, WWW), set(&[FRA, AMS, NYC]));

    for force in ["", " --force"] {
        let (success, text) = run(&server, &format!("pool remove {EU}{force}"));
        assert!(!success && text.contains("pool eu.www.example.org is an endpoint of www.example.org at eu"), "{text}");
    }
    let (success, text) = run(&server, &format!("endpoint add {EU} nyc --pool-endpoint {WWW}"));
    assert!(
        !success && text.contains("pools lead in a circle: \"www.example.org\" -> \"eu.www.example.org\" -> \"www"),
        "{text}"
    );
    let body = json!({"site": "nyc", "pool": US, "address": [NYC]});
    let told = server.api("POST", &format!("/api/v1/pools/{EU}/endpoints"), body, &[]).refused(400);
    assert!(told.contains("has records beside it"), "{told}");

    // What stands below changes at once, and its types with it.
    done(&server, &format!("endpoint set {EU} fra --address 192.0.2.19,2001:db8::19"));
    assert!(all_given(&server, WWW).contains("192.0.2.19"));
    assert_eq!(server.pool(WWW)["types"], json!(["A", "AAAA"]));
    done(&server, &format!("endpoint set {WWW} eu --address 192.0.2.31"));
    assert_eq!(all_given(&server, WWW), set(&["192.0.2.31", NYC]));
    assert!(horizon(&server, EU, "fra").0.unwrap() > now(), "what was answered under the outer name is not forgotten");
    done(&server, &format!("pool remove {EU} --force"));
    done(&server, &format!("pool add {US} --endpoint nyc={NYC} --weight nyc=1"));
    done(
        &server,
        &format!("pool set {WWW} --pool-endpoint us={US} --endpoint eu=192.0.2.31 --weight us=1 --weight eu=1"),
    );
    assert_eq!(all_given(&server, WWW), set(&["192.0.2.31", NYC]));

    // A file that lacks the pool is refused whole.
    server.configure(&format!(
        "{}{}",
        head(),
        regions(["", ""]).replace(&format!("name = \"{EU}\""), "name = \"x.example.org\"")
    ));
    let told = server.reload().refused(422);
    assert!(told.contains("as an endpoint, which is not there"), "{told}");
}

#[test]
fn each_level_is_explained_and_may_have_its_policy() {
    let config = regions(["policy = \"failover\"", ""]).replacen(
        &format!("name = \"{EU}\"\n"),
        &format!("name = \"{EU}\"\npolicy = \"all\"\n"),
        1,
    );
    let server = Server::start(&format!("{}{config}", head()));
    let answer = server.question(WWW, T::A).client(1).send();
    assert_eq!(addresses(&answer).into_iter().collect::<BTreeSet<_>>(), set(&[FRA, AMS]), "all of the first region");
    assert_eq!(scope(&answer), Some(0));
    for (pool, site) in [(WWW, "eu"), (EU, "fra"), (EU, "ams")] {
        assert!(horizon(&server, pool, site).0.is_some(), "{pool} {site}");
    }
    assert_eq!(horizon(&server, WWW, "us").0, None);
    server.force(EU, "fra", "down").done();
    assert_eq!(addresses(&server.ask(WWW, T::A)), [AMS]);
    server.force(WWW, "eu", "down").done();
    let explained = server.get(&format!("/api/v1/explain?name={WWW}&type=A&client=198.51.100.7"));
    let pools = explained["pools"].as_array().unwrap();
    assert_eq!(pools.len(), 2, "{explained}");
    assert_eq!([&pools[0]["name"], &pools[0]["site"], &pools[0]["pool"]], [WWW, "us", US]);
    assert_eq!([&pools[1]["name"], &pools[1]["site"]], [US, "nyc"]);
    let steps = explained["steps"].to_string();
    assert!(steps.contains("us is the pool us.www.example.org: what that one answers is answered"), "{steps}");
    assert!(steps.contains("the least of these TTLs is served: 60 s"), "{steps}");
    assert_eq!(explained["answer"], json!([format!("www.example.org. 60 IN A {NYC}")]));
    // A type that the region does not steer, though another one does.
    let none = server.ask(WWW, T::AAAA);
    assert_eq!((none.answers.len(), none.authorities[0].ttl), (0, 60));
}

#[test]
fn secondaries_are_given_the_largest_leaf() {
    let head = head().replace(
        "file = \"example.org.zone\"",
        "file = \"example.org.zone\"\nallow-transfer = [\"127.0.0.0/8\"]\nnotify = [\"127.0.0.77:9\"]",
    );
    let server = Server::start(&format!("{head}{}", regions(["", ""])));
    let carried = || {
        let at = server.dns[0];
        let output = Command::new("dig")
            .args([&format!("@{}", at.ip()), "-p", &at.port().to_string(), "example.org", "AXFR", "+noall", "+answer"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let of = |name: &str| {
            let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let found = lines.filter(|line| line.len() == 5 && line[0] == format!("{name}.") && line[3] == "A");
            found.map(|line| line[4].to_owned()).collect::<Vec<_>>()
        };
        (of(WWW), of(EU))
    };
    let one = |address: &str| (vec![address.to_owned()], vec![address.to_owned()]);
    server.wait_for("fra, of equal ones the first", |_| carried() == one(FRA));
    server.flip(json!({"pools": [EU], "from": "fra", "to": "ams", "percent": 90})).done();
    server.wait_for("ams", |_| carried() == one(AMS));
    // The receiver listed was never seen: what it had under either name counts for the leaf.
    let (at, at_least) = horizon(&server, EU, "fra");
    assert!(at.unwrap() > now() + 86_400 && at_least, "{at:?}");
    server.flip(json!({"weights": {EU: {"fra": 0}}})).done();
    server.wait_for("only receivers may have it", |server| !horizon(server, EU, "fra").1);
    server.flip(json!({"pools": [WWW], "from": "eu", "to": "us", "percent": 100})).done();
    server.wait_for("the other region", |_| carried() == (vec![NYC.to_owned()], vec![AMS.to_owned()]));
    assert!(horizon(&server, WWW, "eu").0.unwrap() > now() + 86_400);
}

#[test]
fn pools_of_a_group_lead_one_client_to_one_leaf() {
    // The last octet tells the leaf, the third one the pool.
    let of = |number: u8, name: &str| {
        let leaf = |last: u8| format!("address = [\"192.0.{number}.{last}\"]");
        format!(
            "[[pool]]\nname = \"{name}\"\ngroup = \"web\"\nendpoint = [\n\
             {{ site = \"eu\", pool = \"eu.{name}\", weight = 60 }},\n{{ site = \"us\", {}, weight = 40 }},\n]\n\
             [[pool]]\nname = \"eu.{name}\"\ngroup = \"web-eu\"\nendpoint = [\n\
             {{ site = \"fra\", {}, weight = 50 }},\n{{ site = \"ams\", {}, weight = 50 }},\n]\n",
            leaf(3),
            leaf(1),
            leaf(2)
        )
    };
    let server = Server::start(&format!("{}{}{}", head(), of(2, WWW), of(3, "shop.example.org")));
    let check = || -> [usize; 3] {
        let mut counts = [0; 3];
        for client in 0..200 {
            let [www, shop] = [WWW, "shop.example.org"].map(|name| server.address_for(name, client));
            assert_eq!(www.replace("192.0.2.", ""), shop.replace("192.0.3.", ""), "client {client}");
            counts[www.as_bytes()[www.len() - 1] as usize - usize::from(b'1')] += 1;
        }
        counts
    };
    let before = check();
    assert!(before.iter().all(|count| *count > 30), "{before:?}");
    let flip =
        server.flip(json!({"pools": ["eu.shop.example.org"], "from": "fra", "to": "ams", "percent": 100})).done();
    assert!(flip["warnings"].to_string().contains("change together"), "{flip}");
    assert_eq!(check(), [0, before[0] + before[1], before[2]]);
    server.force(WWW, "us", "down").done();
    assert_eq!(check(), [0, 200, 0]);
}
