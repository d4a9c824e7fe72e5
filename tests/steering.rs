//! What clients are given, asked over UDP and TCP on a running server:
//! - sticky: one client key (the /24 asked from, or the ECS prefix) one site, for A and AAAA alike; shares as the weights
//!   say; a flip from 90/10 to 80/20 moves exactly whom it must and nobody back;
//! - random and failover; weight 0 as `never` and as `spare`;
//! - a probe that fails takes a site out and brings it back, at a low TTL; all down is fail open; an override is stronger;
//! - HTTPS, SVCB, SRV and CNAME endpoints; a type that the site lacks is NODATA, remembered no longer than the steered TTL;
//! - the scope of ECS, a wildcard pool, a pool at a name that the zone file lacks, a CNAME that leads to a pool.

mod support;

use std::net::Ipv4Addr;
use std::ops::Range;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::{addresses, rcode, scope, ttl};
use support::origin::Origin;
use support::{DC1, EC2, HEAD, Server, pool};

const WWW: &str = "www.example.org";

/// Both families at both sites.
fn dual(name: &str, ec2: u32, dc1: u32) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\nendpoint = [\n\
         {{ site = \"ec2\", address = [\"{EC2}\", \"2001:db8::11\"], weight = {ec2} }},\n\
         {{ site = \"dc1\", address = [\"{DC1}\", \"2001:db8::12\"], weight = {dc1} }},\n]\n"
    )
}

/// Which of these clients are at dc1.
fn at_dc1(server: &Server, name: &str, clients: Range<u32>) -> Vec<u32> {
    clients.filter(|&client| server.address_for(name, client) == DC1).collect()
}

/// Whether `hits` of `all` is what chance makes of a share, within three standard deviations.
#[track_caller]
fn assert_share(hits: usize, all: usize, share: f64) {
    let deviation = (all as f64 * share * (1.0 - share)).sqrt();
    let off = (hits as f64 - all as f64 * share).abs();
    assert!(off <= 3.0 * deviation, "{hits} of {all}, for a share of {share}");
}

#[test]
fn one_client_key_has_one_site() {
    let server = Server::start(&format!("{HEAD}{}", dual(WWW, 50, 50)));
    let mut sites = [0, 0];
    for network in 0..40u8 {
        let ask = |host: u8, rtype: T, tcp: bool| {
            let from = Ipv4Addr::new(127, 0, network, host);
            let question = server.question(WWW, rtype);
            addresses(&if tcp { question.subnet(from, 24).tcp() } else { question.from(from) }.send())[0].clone()
        };
        let address = ask(1, T::A, false);
        let site = usize::from(address == DC1);
        sites[site] += 1;
        for host in [2, 77, 254] {
            assert_eq!(ask(host, T::A, false), address, "127.0.{network}.{host}");
            assert_eq!(ask(host, T::AAAA, false), ["2001:db8::11", "2001:db8::12"][site]);
            assert_eq!(ask(host, T::A, true), address, "the subnet is the same key as the network asked from");
        }
        // A finer prefix is the same client, and no more is told of it.
        let finer = server.question(WWW, T::A).subnet([127, 0, network, 9], 32).send();
        assert_eq!((addresses(&finer), scope(&finer)), (vec![address], Some(24)));
    }
    assert!(sites.iter().all(|&n| n > 5), "{sites:?}");
}

#[test]
fn shares_are_as_the_weights_say_and_a_flip_moves_nobody_back() {
    const CLIENTS: u32 = 4000;
    let server = Server::start(&format!("{HEAD}{}", dual(WWW, 90, 10)));
    let before = at_dc1(&server, WWW, 0..CLIENTS);
    assert_share(before.len(), CLIENTS as usize, 0.1);
    server.shift(&[WWW], 20.0);
    let after = at_dc1(&server, WWW, 0..CLIENTS);
    assert_share(after.len(), CLIENTS as usize, 0.2);
    let back: Vec<_> = before.iter().filter(|client| !after.contains(client)).collect();
    assert!(back.is_empty(), "moved back: {back:?}");
    server.api("POST", "/api/v1/flips/2/revert", json!({}), &[("If-Match", "*")]).done();
    assert_eq!(at_dc1(&server, WWW, 0..CLIENTS), before, "the way back is the way there");
}

#[test]
fn a_site_overridden_down_hands_over_its_own_clients_only() {
    let config = format!(
        "{HEAD}[[site]]\nname = \"dc2\"\n[[pool]]\nname = \"{WWW}\"\nendpoint = [\n\
         {{ site = \"ec2\", address = [\"{EC2}\"], weight = 1 }},\n{{ site = \"dc1\", address = [\"{DC1}\"], weight = 1 }},\n\
         {{ site = \"dc2\", address = [\"192.0.2.13\"], weight = 1 }},\n]\n"
    );
    let server = Server::start(&config);
    let all = |server: &Server| (0..600).map(|client| server.address_for(WWW, client)).collect::<Vec<_>>();
    let before = all(&server);
    server.force(WWW, "dc1", "down").done();
    let without = all(&server);
    for (was, is) in before.iter().zip(&without) {
        assert!(if was == DC1 { is != DC1 } else { is == was }, "{was} -> {is}");
    }
    let handed = before.iter().filter(|was| *was == DC1).count();
    let to_ec2 = before.iter().zip(&without).filter(|(was, is)| *was == DC1 && *is == EC2).count();
    assert_share(to_ec2, handed, 0.5);
    server.force(WWW, "dc1", "obey").done();
    assert_eq!(all(&server), before);
}

#[test]
fn random_and_failover() {
    let random = pool("random.example.org", 75, 25, "policy = \"random\"");
    let failover = pool("failover.example.org", 1, 1, "policy = \"failover\"");
    let server = Server::start(&format!("{HEAD}{random}{failover}"));
    let drawn = (0..1000).filter(|_| addresses(&server.ask("random.example.org", T::A)) == [DC1]).count();
    assert_share(drawn, 1000, 0.25);

    assert!(at_dc1(&server, "failover.example.org", 0..50).is_empty(), "the first that is up, whatever the weights");
    server.force("failover.example.org", "ec2", "down").done();
    assert_eq!(at_dc1(&server, "failover.example.org", 0..50).len(), 50);
    server.force("failover.example.org", "ec2", "obey").done();
    assert!(at_dc1(&server, "failover.example.org", 0..50).is_empty());
}

/// A pool over `name` whose sites are probed at `addresses`, five times a second; `dc1` at weight 0 has `role`.
fn probed(name: &str, addresses: [&str; 2], weights: [u32; 2], role: &str) -> String {
    let [ec2, dc1] = addresses;
    format!(
        "[[pool]]\nname = \"{name}\"\nprobe = \"web\"\nttl = {{ normal = \"1h\", low = \"30s\" }}\nendpoint = [\n\
         {{ site = \"ec2\", address = [\"{ec2}\"], weight = {} }},\n\
         {{ site = \"dc1\", address = [\"{dc1}\"], weight = {}, role = \"{role}\" }},\n]\n",
        weights[0], weights[1]
    )
}

fn probe(port: u16) -> String {
    format!(
        "[probe.web]\ntype = \"http\"\nport = {port}\npath = \"/healthz\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\n\
         rise = 2\nfall = 2\n"
    )
}

#[test]
fn health_takes_a_site_out_and_brings_it_back() {
    let sites = ["127.41.1.1", "127.41.1.2"];
    let (port, origins) = Origin::at(&sites);
    let server = Server::start(&format!("{HEAD}{}{}", probe(port), probed(WWW, sites, [50, 50], "never")));
    let all = |server: &Server| (0..60).map(|client| server.address_for(WWW, client)).collect::<Vec<_>>();
    let before = all(&server);
    assert!(sites.iter().all(|site| before.iter().any(|b| b == site)), "{before:?}");
    assert_eq!(ttl(&server.ask(WWW, T::A)), 3600);

    origins[0].fail();
    server.wait_for("ec2 to be taken out", |s| !s.pool(WWW)["endpoints"][0]["answered"].as_bool().unwrap());
    assert!(all(&server).iter().all(|a| a == sites[1]));
    assert_eq!(ttl(&server.ask(WWW, T::A)), 30, "low after a change of health");
    let health = server.pool(WWW)["endpoints"][0]["health"].clone();
    assert_eq!((&health["state"], &health["seen"]), (&json!("down"), &json!("status 503, expected 200-399")));
    assert_eq!(server.generation(), 1, "health makes no generation");

    // An operator's word is stronger, both ways, and probes don't undo it.
    server.force(WWW, "ec2", "up").done();
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(all(&server), before);
    server.force(WWW, "ec2", "obey").done();
    assert!(all(&server).iter().all(|a| a == sites[1]));

    origins[1].close();
    server.wait_for("fail open", |s| s.pool(WWW)["mode"] == "fail-open");
    assert_eq!(all(&server), before, "nobody is up: all are answered, each to its own clients");
    assert!(server.status()["warnings"].to_string().contains("fail open"));
    // Not those that an operator took out.
    server.force(WWW, "ec2", "down").done();
    assert!(all(&server).iter().all(|a| a == sites[1]));
    server.force(WWW, "ec2", "obey").done();

    origins[0].recover();
    server.wait_for("ec2 to come back", |s| s.pool(WWW)["mode"] == "normal");
    assert!(all(&server).iter().all(|a| a == sites[0]));
    origins[1].recover();
    server.wait_for("dc1 to come back", |s| s.pool(WWW)["endpoints"][1]["answered"].as_bool().unwrap());
    assert_eq!(all(&server), before);
}

#[test]
fn weight_0_is_never_answered_unless_it_is_a_spare() {
    let sites = ["127.42.1.1", "127.42.1.2"];
    let (port, origins) = Origin::at(&sites);
    let never = probed("never.example.org", sites, [1, 0], "never");
    let spare = probed("spare.example.org", sites, [1, 0], "spare");
    let mut server = Server::start(&format!("{HEAD}{}{never}{spare}", probe(port)));
    let given = |server: &Server, name: &str| addresses(&server.ask(name, T::A))[0].clone();
    assert_eq!(given(&server, "spare.example.org"), sites[0]);
    origins[0].close();
    server.wait_for("the spare", |s| given(s, "spare.example.org") == sites[1]);
    server.wait_for("fail open", |s| s.pool("never.example.org")["mode"] == "fail-open");
    assert_eq!(
        given(&server, "never.example.org"),
        sites[0],
        "an all-down pool can't bring back what is never answered"
    );
    server.force("never.example.org", "dc1", "up").done();
    assert_eq!(given(&server, "never.example.org"), sites[0]);

    // What health was is known again after a restart, and the first round of probes is in before the first answer.
    origins[1].close();
    server.wait_for("both down", |s| s.pool("spare.example.org")["mode"] == "fail-open");
    origins[0].recover();
    origins[1].recover();
    server.kill9();
    server.start_again();
    assert_eq!(given(&server, "spare.example.org"), sites[0]);
    assert_eq!(server.pool("spare.example.org")["endpoints"][0]["health"]["state"], "up");
    origins[0].fail();
    server.kill9();
    server.start_again();
    assert_eq!(given(&server, "spare.example.org"), sites[1], "the first observation after a start counts at once");
}

fn authority_ttl(message: &Message) -> u32 {
    assert!(message.answers.is_empty(), "{message:?}");
    assert_eq!((rcode(message), message.authorities.len()), (ResponseCode::NoError, 1), "{message:?}");
    assert_eq!(message.authorities[0].record_type(), T::SOA);
    message.authorities[0].ttl
}

#[test]
fn endpoints_of_all_types() {
    let config = format!(
        "{HEAD}
[[pool]]
name = \"{WWW}\"
ttl = {{ normal = \"2m\", low = \"7s\" }}
endpoint = [
  {{ site = \"ec2\", address = [\"{EC2}\"], https = [\"1 . alpn=h2\"], weight = 100 }},
  {{ site = \"dc1\", address = [\"2001:db8::12\"], weight = 0 }},
]
[[pool]]
name = \"_sip._tcp.example.org\"
endpoint = [{{ site = \"ec2\", srv = [\"10 5 5060 a.example.net.\", \"10 5 5061 b.example.net.\"], weight = 1 }}]
[[pool]]
name = \"_dns.example.org\"
endpoint = [{{ site = \"ec2\", svcb = [\"1 dns.example.net. alpn=dot\"], weight = 1 }}]
[[pool]]
name = \"away.example.org\"
ttl = {{ normal = \"2m\", low = \"7s\" }}
endpoint = [
  {{ site = \"ec2\", cname = \"edge.example.net.\", weight = 1 }},
  {{ site = \"dc1\", cname = \"plain.example.org.\", weight = 0 }},
]
"
    );
    let server = Server::start(&config);
    assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2]);
    assert!(addresses(&server.ask(WWW, T::HTTPS))[0].starts_with("1 . alpn=h2"));
    assert_eq!(addresses(&server.ask("_sip._tcp.example.org", T::SRV)).len(), 2);
    assert!(addresses(&server.ask("_dns.example.org", T::SVCB))[0].starts_with("1 dns.example.net. alpn=dot"));
    assert_eq!(addresses(&server.ask(WWW, T::TXT)), ["steered"], "a type that the pool does not steer is the zone's");
    assert_eq!(authority_ttl(&server.ask(WWW, T::AAAA)), 120, "NODATA lasts no longer than the steered TTL");
    assert_eq!(authority_ttl(&server.ask(WWW, T::MX)), 300, "the zone's own");
    assert_eq!(server.pool(WWW)["types"], json!(["A", "AAAA", "HTTPS"]));

    server.shift(&[WWW], 100.0);
    assert_eq!(addresses(&server.ask(WWW, T::AAAA)), ["2001:db8::12"]);
    for rtype in [T::A, T::HTTPS] {
        assert_eq!(authority_ttl(&server.ask(WWW, rtype)), 7, "{rtype}");
    }
    let any = server.question(WWW, T::ANY).tcp().send();
    assert_eq!(addresses(&any), ["2001:db8::12"], "ANY gives what the site has");

    for rtype in [T::A, T::CNAME, T::TXT] {
        let away = server.ask("away.example.org", rtype);
        assert_eq!((addresses(&away), ttl(&away)), (vec!["edge.example.net.".to_owned()], 120), "{rtype}");
    }
    server.shift(&["away.example.org"], 100.0);
    let home = server.ask("away.example.org", T::A);
    assert_eq!(addresses(&home), ["plain.example.org.", "192.0.2.7"]);
    let ttls: Vec<u32> = home.answers.iter().map(|r| r.ttl).collect();
    assert_eq!(ttls, [7, 3600], "each RRset has its own TTL");
    assert_eq!(addresses(&server.ask("away.example.org", T::MX)), ["plain.example.org."]);
}

#[test]
fn the_scope_of_ecs() {
    let server = Server::start(&format!("{HEAD}{}", dual(WWW, 50, 50)));
    let asked = |name: &str, question: fn(support::dns::Question) -> support::dns::Question| {
        scope(&question(server.question(name, T::A)).send())
    };
    assert_eq!(asked(WWW, |q| q.subnet([10, 1, 2, 0], 24)), Some(24));
    assert_eq!(asked(WWW, |q| q.subnet([10, 1, 0, 0], 16)), Some(16));
    assert_eq!(asked(WWW, |q| q.subnet("2001:db8:7::".parse::<std::net::Ipv6Addr>().unwrap(), 56)), Some(48));
    assert_eq!(asked("plain.example.org", |q| q.subnet([10, 1, 2, 0], 24)), Some(0));
    assert_eq!(asked("nothing.example.org", |q| q.subnet([10, 1, 2, 0], 24)), Some(0));
    assert_eq!(asked("alias.example.org", |q| q.subnet([10, 1, 2, 0], 24)), Some(24), "a pool on the way");
    assert_eq!(
        asked(WWW, |q| q.subnet([0, 0, 0, 0], 0)),
        Some(0),
        "nothing is told: the resolver's own address counts"
    );
    assert_eq!(asked(WWW, support::dns::Question::edns), None, "nobody asked");
    let opted_out = server.question(WWW, T::A).subnet([0, 0, 0, 0], 0).from([127, 0, 9, 1]).send();
    assert_eq!(addresses(&opted_out), addresses(&server.question(WWW, T::A).from([127, 0, 9, 2]).send()));
}

#[test]
fn whom_answers_are_for() {
    let folder = support::folder(&format!(
        "{HEAD}[steering]\nipv4-prefix = 20\necs = [\"127.0.77.0/24\"]\nprefix-map = \"farms\"\n{}",
        dual(WWW, 50, 50)
    ));
    std::fs::write(folder.path().join("farms"), "127.9.1.0/24 127.9.2.0/24 127.9.99.99 farm\n").unwrap();
    let server = Server::start_in(folder);
    let from = |a: [u8; 4]| addresses(&server.question(WWW, T::A).from(a).send())[0].clone();
    let mut seen = std::collections::BTreeSet::new();
    for network in 0..16u8 {
        let given = from([127, network, 0, 1]);
        assert_eq!(from([127, network, 15, 9]), given, "a /20 is one client");
        seen.insert(given);
    }
    assert_eq!(seen.len(), 2);
    let farm = [[127, 9, 1, 7], [127, 9, 2, 8], [127, 9, 99, 99]].map(from);
    assert!(farm.iter().all(|given| *given == farm[0]), "{farm:?}");
    let told = server.get(&format!("/api/v1/explain?name={WWW}&client=127.9.2.8"));
    assert!(told["steps"][0].as_str().unwrap().contains("farm in the prefix map, whose client key is 127.9.1.0/24"));

    let named = |resolver: [u8; 4], client| {
        let answer = server.question(WWW, T::A).from(resolver).client(client).send();
        (addresses(&answer)[0].clone(), scope(&answer))
    };
    let trusted: std::collections::BTreeSet<_> = (0..400).step_by(16).map(|c| named([127, 0, 77, 1], c)).collect();
    assert!(trusted.len() == 2 && trusted.iter().all(|(_, scope)| *scope == Some(20)), "{trusted:?}");
    let others: std::collections::BTreeSet<_> = (0..400).step_by(16).map(|c| named([127, 0, 78, 1], c)).collect();
    assert_eq!(others, std::iter::once((from([127, 0, 78, 1]), Some(0))).collect(), "the resolver's own, for all");
}

#[test]
fn where_a_pool_may_lie() {
    let names = ["*.wild.example.org", "deep.down.example.org", WWW, "example.org"];
    let pools: String = names.map(|name| pool(name, 1, 0, "")).concat();
    let server = Server::start(&format!("{HEAD}{pools}"));
    for name in
        ["a.wild.example.org", "a.b.wild.example.org", "deep.down.example.org", "example.org", "WwW.eXample.org"]
    {
        let answer = server.ask(name, T::A);
        assert_eq!(addresses(&answer), [EC2], "{name}");
        assert_eq!(answer.answers[0].name.to_string(), format!("{name}."), "the name as it was asked for");
        assert!(answer.metadata.authoritative);
    }
    // What a pool brings into being exists, and what lies between it and the apex too.
    for name in ["wild.example.org", "down.example.org"] {
        authority_ttl(&server.ask(name, T::A));
    }
    authority_ttl(&server.ask("deep.down.example.org", T::TXT));
    authority_ttl(&server.ask("a.wild.example.org", T::TXT));
    for name in ["other.down.example.org", "no.example.org", "below.deep.down.example.org"] {
        assert_eq!(rcode(&server.ask(name, T::A)), ResponseCode::NXDomain, "{name}");
    }
    let apex = server.ask("example.org", T::SOA);
    assert_eq!(apex.answers.len(), 1, "what the zone has at the apex stays");
    assert_eq!(addresses(&server.ask("alias.example.org", T::A)), ["www.example.org.", EC2]);
    server.shift(&[WWW], 100.0);
    assert_eq!(addresses(&server.ask("alias.example.org", T::A)), ["www.example.org.", DC1]);
    server.shift(&["*.wild.example.org"], 100.0);
    assert_eq!(addresses(&server.ask("x.wild.example.org", T::A)), [DC1]);
}

#[test]
fn an_explanation_is_what_is_answered() {
    let server = Server::start(&format!("{HEAD}{}", dual(WWW, 50, 50)));
    for network in 0..20u8 {
        let client = Ipv4Addr::new(127, 0, network, 1);
        let told = server.get(&format!("/api/v1/explain?name=alias.example.org&type=A&client={client}"));
        let given = addresses(&server.question(WWW, T::A).from(client).send())[0].clone();
        let site = if given == EC2 { "ec2" } else { "dc1" };
        assert_eq!(
            (&told["pools"][0]["site"], &told["client_key"]),
            (&json!(site), &json!(format!("127.0.{network}.0/24")))
        );
        assert!(told["answer"].to_string().contains(&given), "{told}");
    }
    assert_eq!(
        server.pool(WWW)["endpoints"][0]["answers"].as_u64().unwrap()
            + server.pool(WWW)["endpoints"][1]["answers"].as_u64().unwrap(),
        20,
        "explaining counts nothing"
    );
    let steps = |server: &Server| {
        let told = server.get("/api/v1/explain?name=www.example.org&client=127.0.0.1");
        told["steps"].as_array().unwrap().iter().map(|step| step.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    server.api("PUT", "/api/v1/sites/ec2", json!({"state": "drained"}), &[]).done();
    let told = steps(&server);
    let place =
        |part: &str| told.iter().position(|step| step.contains(part)).unwrap_or_else(|| panic!("{part}: {told:?}"));
    let order = [
        place("belongs to the client key"),
        place("the pool www.example.org, sticky, is asked"),
        place("the site ec2 is drained: it is not answered"),
        place("TTL "),
    ];
    assert!(order.is_sorted(), "{told:?}");
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1]);
    let wrong = server.api("GET", "/api/v1/explain?name=www.example.org&client=nobody", Value::Null, &[]);
    wrong.refused(400);
}

#[test]
fn an_explanation_tells_scores_health_and_each_part_of_the_ttl() {
    let third = "[[site]]\nname = \"dc2\"\n";
    let pool = pool(WWW, 40, 30, "")
        .replace("endpoint = [", "endpoint = [\n  { site = \"dc2\", address = [\"192.0.2.13\"], weight = 30 },");
    let server = Server::start(&format!("{HEAD}{third}{pool}"));
    server.force(WWW, "ec2", "down").done();
    let cutover = json!({"at": support::from_now(300)});
    server.api("PUT", &format!("/api/v1/pools/{WWW}/cutover"), cutover, &[]).done();
    let explain = |client: &str| server.get(&format!("/api/v1/explain?name={WWW}&client={client}"));
    let (mut handed_over, mut winners) = (0, std::collections::BTreeSet::new());
    for network in 0..40u8 {
        let client = Ipv4Addr::new(127, 0, network, 1);
        let told = explain(&client.to_string());
        let pool = &told["pools"][0];
        let scores: Vec<(&str, f64)> = (pool["endpoints"].as_array().unwrap().iter())
            .filter_map(|e| Some((e["site"].as_str()?, e["score"].as_f64()?)))
            .collect();
        let given = addresses(&server.question(WWW, T::A).from(client).send())[0].clone();
        assert!(told["answer"].to_string().contains(&given), "{told}");
        if pool["site_by_share"] == "ec2" {
            handed_over += 1;
            let least = scores.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            assert_eq!((scores.len(), &json!(least.0)), (2, &pool["site"]), "{told}");
            assert!(told["steps"].to_string().contains("scores by weighted rendezvous"), "{told}");
            winners.insert(least.0.to_owned());
        } else {
            assert!(scores.is_empty(), "it is its own: {told}");
        }
    }
    assert!(handed_over > 5 && winners.len() == 2, "{handed_over} {winners:?}");

    let told = explain("127.0.0.1");
    let ups: Vec<bool> =
        told["pools"][0]["endpoints"].as_array().unwrap().iter().map(|e| e["up"] == json!(true)).collect();
    assert_eq!(ups, [true, false, true], "dc2, ec2, dc1: {told}");
    let steps = told["steps"].to_string();
    assert!(
        steps.contains("shares of the points, and health: dc2 30 %, up by its probes; ec2 40 %, overridden down"),
        "{steps}"
    );
    let parts: Vec<&str> =
        told["pools"][0]["ttl_parts"].as_array().unwrap().iter().map(|p| p["rule"].as_str().unwrap()).collect();
    assert_eq!(parts.len(), 3, "normal, change, cutover: {parts:?}");
    assert!(steps.contains("s, the least of: 3600 s, the normal one; 60 s, it grows back since the change"), "{steps}");
    assert!(steps.contains("keeps the horizon of "), "{steps}");
}

#[test]
fn an_explanation_is_for_a_client_subnet_too() {
    let server = Server::start(&format!("{HEAD}{}", dual(WWW, 50, 50)));
    let mut sites = std::collections::BTreeSet::new();
    for network in 0..20u8 {
        let subnet = Ipv4Addr::new(203, 0, network, 0);
        let path = format!("/api/v1/explain?name={WWW}&client=127.0.0.1&subnet={subnet}%2F24");
        let told = server.get(&path);
        let given = addresses(&server.question(WWW, T::A).from([127, 0, 0, 1]).subnet(subnet, 24).send())[0].clone();
        assert!(told["answer"].to_string().contains(&given), "{told}");
        assert_eq!(
            (&told["client_key"], &told["subnet"]),
            (&json!(format!("{subnet}/24")), &json!(format!("{subnet}/24")))
        );
        sites.insert(told["pools"][0]["site"].to_string());
    }
    assert_eq!(sites.len(), 2, "the resolver alone would be at one");
    let wrong = format!("/api/v1/explain?name={WWW}&client=127.0.0.1&subnet=203.0.113.7%2F24");
    assert!(server.api("GET", &wrong, Value::Null, &[]).refused(400).contains("write 203.0.113.0/24"));

    let output = support::waypost()
        .args(["explain", WWW, "--client", "127.0.0.1", "--subnet", "203.0.113.0/24"])
        .args(["--api", &format!("http://{}", server.api), "--token-file", "state/admin.token"])
        .current_dir(server.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("asked by 127.0.0.1 for 203.0.113.0/24: NOERROR"), "{text}");
    assert!(text.contains("it asks for the client subnet 203.0.113.0/24, which counts"), "{text}");
}

#[test]
fn two_servers_with_one_state_give_one_answer() {
    let config = format!("{HEAD}{}", pool(WWW, 70, 30, "ttl = { normal = 2000, low = 10, spread = 900 }"));
    let servers = [Server::start(&config), Server::start(&config)];
    for server in &servers {
        let body = json!({"at": waypost::time::Timestamp(1_000 + support::now()).to_string()});
        server.api("PUT", &format!("/api/v1/pools/{WWW}/cutover"), body, &[]).done();
    }
    let at = servers[0].pool(WWW)["cutover"].clone();
    servers[1].api("PUT", &format!("/api/v1/pools/{WWW}/cutover"), json!({ "at": at }), &[]).done();
    let same = |client: u32| {
        // The same instant is the same second.
        let answers = loop {
            let before = support::now();
            let answers = servers.each_ref().map(|server| server.question(WWW, T::A).client(client).send());
            if support::now() == before {
                break answers;
            }
        };
        let [one, other] = answers.each_ref().map(|answer| (addresses(answer), support::dns::ttl(answer)));
        assert_eq!(one, other, "client {client}");
        one
    };
    let given: std::collections::BTreeSet<_> = (0..100).map(same).collect();
    assert!(given.len() > 10, "both sites, and TTLs that differ by client: {given:?}");
}
