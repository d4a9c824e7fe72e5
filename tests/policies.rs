//! Policies beyond sticky, on a running server:
//! - `all`: every healthy endpoint in one RRset, in changing order, scope 0, each in the horizon; one that is down is left out;
//! - `failover` with `trickle`: a share of the clients, always the same, is given the next one;
//! - `min-healthy`: too little of the weight that is up counts as none.

mod support;

use std::collections::BTreeSet;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType as T;
use support::dns::{addresses, rcode, scope, ttl};
use support::{DC1, EC2, HEAD, Server, pool};

const WWW: &str = "www.example.org";

#[test]
fn all_are_answered_in_changing_order() {
    let config = format!(
        "{HEAD}[[site]]\nname = \"dc2\"\n[[pool]]\nname = \"{WWW}\"\npolicy = \"all\"\nendpoint = [\n\
         {{ site = \"ec2\", address = [\"{EC2}\", \"192.0.2.99\"], weight = 1 }},\n\
         {{ site = \"dc1\", address = [\"{DC1}\", \"192.0.2.99\", \"2001:db8::12\"], weight = 7 }},\n\
         {{ site = \"dc2\", address = [\"192.0.2.13\"], weight = 0 }},\n]\n"
    );
    let server = Server::start(&config);
    let set = |server: &Server| addresses(&server.ask(WWW, T::A)).into_iter().collect::<BTreeSet<_>>();
    let whole = BTreeSet::from([EC2, DC1, "192.0.2.99"].map(str::to_owned));
    let orders: BTreeSet<_> = (0..60).map(|_| addresses(&server.ask(WWW, T::A))).collect();
    assert_eq!((orders.len(), set(&server)), (6, whole), "each record once, never one of weight 0");
    assert_eq!(scope(&server.question(WWW, T::A).subnet([10, 1, 2, 0], 24).send()), Some(0), "the same for everybody");
    assert_eq!(addresses(&server.ask(WWW, T::AAAA)), ["2001:db8::12"]);
    let endpoints = server.pool(WWW)["endpoints"].clone();
    for (endpoint, given) in [(0, true), (1, true), (2, false)] {
        assert_eq!(!endpoints[endpoint]["horizon"][0]["at"].is_null(), given, "{endpoints}");
    }
    server.force(WWW, "ec2", "down").done();
    assert_eq!(set(&server), BTreeSet::from([DC1, "192.0.2.99"].map(str::to_owned)));
    assert_eq!(ttl(&server.ask(WWW, T::A)), 60);
    server.force(WWW, "ec2", "obey").done();
    server.flip(serde_json::json!({"weights": {WWW: {"dc1": 0}}})).done();
    let none = server.ask(WWW, T::AAAA);
    assert_eq!((rcode(&none), none.answers.len(), none.authorities[0].ttl), (ResponseCode::NoError, 0, 60));
}

#[test]
fn a_trickle_proves_the_next_one_alive() {
    let more = "policy = \"failover\"\ntrickle = \"10%\"";
    let server = Server::start(&format!("{HEAD}{}", pool(WWW, 1, 1, more)));
    let at_dc1 =
        |server: &Server| -> Vec<u32> { (0..600).filter(|client| server.address_for(WWW, *client) == DC1).collect() };
    let given = at_dc1(&server);
    assert!((30..=95).contains(&given.len()), "{}", given.len());
    assert_eq!(at_dc1(&server), given, "always the same clients");
    assert_eq!(scope(&server.question(WWW, T::A).client(given[0]).send()), Some(24));
    assert_eq!(server.pool(WWW)["endpoints"][1]["answered"], true);
    server.force(WWW, "dc1", "down").done();
    assert!(at_dc1(&server).is_empty());
}

#[test]
fn too_little_that_is_healthy_is_fail_open() {
    let sites = ["127.44.1.1", "127.44.1.2"];
    let (port, origins) = support::origin::Origin::at(&sites);
    let probe = format!(
        "[probe.web]\ntype = \"http\"\nport = {port}\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 2\nfall = 2\n"
    );
    let pool = pool(WWW, 80, 20, "probe = \"web\"\nmin-healthy = 30").replace(EC2, sites[0]).replace(DC1, sites[1]);
    let server = Server::start(&format!("{HEAD}{probe}{pool}"));
    let all = |server: &Server| (0..60).map(|client| server.address_for(WWW, client)).collect::<Vec<_>>();
    let before = all(&server);
    origins[1].fail();
    server.wait_for("dc1 to be taken out", |s| !s.pool(WWW)["endpoints"][1]["answered"].as_bool().unwrap());
    assert_eq!(server.pool(WWW)["mode"], "normal", "80 % are up");
    origins[1].recover();
    server.wait_for("dc1 to come back", |s| s.pool(WWW)["endpoints"][1]["answered"].as_bool().unwrap());
    origins[0].fail();
    server.wait_for("fail open", |s| s.pool(WWW)["mode"] == "fail-open");
    assert_eq!(all(&server), before, "20 % can't carry all");
    assert!(server.status()["warnings"].to_string().contains("too little of the weight"));
}
