//! Operator states of sites, on a running server:
//! - drained: answered to nobody in any pool, weights kept; back as it was once it is active;
//! - retired: its weights go to the others, it can't be flipped to, and it comes back by active and a flip only;
//! - neither probes, overrides, spares nor a restart bring it back; a pool is never left with nothing;
//! - the configured state counts at the first start only; all of it is audited, conditional and told.

mod support;

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::ttl;
use support::{DC1, EC2, HEAD, Reply, Server, pool, waypost};

const WWW: &str = "www.example.org";
const API: &str = "api.example.org";

fn site(server: &Server, name: &str, state: &str) -> Reply {
    server.api("PUT", &format!("/api/v1/sites/{name}"), json!({"state": state, "reason": "a test"}), &[])
}

fn all(server: &Server, name: &str) -> Vec<String> {
    (0..60).map(|client| server.address_for(name, client)).collect()
}

fn two() -> String {
    let spare = pool(API, 100, 0, "").replace("weight = 0", "weight = 0, role = \"spare\"");
    format!("{HEAD}{}{spare}", pool(WWW, 50, 50, ""))
}

#[test]
fn a_drained_site_comes_back_as_it_was() {
    let mut server = Server::start(&two());
    let before = all(&server, WWW);
    let answer = site(&server, "dc1", "drained").done();
    assert_eq!(answer["generation"], 2);
    assert!(all(&server, WWW).iter().all(|a| a == EC2));
    assert_eq!((server.weights(WWW), ttl(&server.ask(WWW, T::A))), (vec![50, 50], 60));
    server.force(WWW, "dc1", "up").done();
    assert!(all(&server, WWW).iter().all(|a| a == EC2), "an override says nothing about the site");
    let refused = server.force(WWW, "ec2", "down").refused(409);
    assert!(refused.contains("drained or retired"), "{refused}");
    assert!(site(&server, "ec2", "drained").refused(409).contains("nothing would be left"));
    server.kill9();
    server.start_again();
    assert!(all(&server, WWW).iter().all(|a| a == EC2));
    let told = server.shift(&[WWW], 60.0);
    assert!(told["warnings"].to_string().contains("dc1 is drained"), "{told}");
    server
        .api("POST", &format!("/api/v1/flips/{}/revert", server.generation()), json!({}), &[("If-Match", "*")])
        .done();
    site(&server, "dc1", "active").done();
    assert_eq!(all(&server, WWW), before);

    let newest = server.newest();
    assert_eq!((&newest["action"]["site"], &newest["action"]["state"]), (&json!("dc1"), &json!("active")));
    assert_eq!(newest["reason"], "a test");
    let stale = server.api("PUT", "/api/v1/sites/dc1", json!({"state": "drained"}), &[("If-Match", "\"1\"")]);
    stale.refused(412);
    assert!(site(&server, "dc9", "drained").refused(404).contains("ec2"));
    site(&server, "dc1", "gone").refused(400);
}

#[test]
fn a_retired_site_has_nothing_and_gets_nothing() {
    let server = Server::start(&two());
    let before = all(&server, WWW);
    site(&server, "dc1", "retired").done();
    assert_eq!((server.weights(WWW), server.weights(API)), (vec![50, 0], vec![100, 0]));
    assert!(all(&server, WWW).iter().all(|a| a == EC2));
    assert_eq!(server.newest()["changes"][0]["name"], API);
    let flip = server.flip(json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 5}));
    assert!(flip.refused(409).contains("dc1 is retired"));
    // Not even as a spare, and no older flip is undone behind it.
    server.force(API, "ec2", "down").refused(409);
    site(&server, "dc1", "active").done();
    assert_eq!(server.weights(WWW), [50, 0], "it comes back by a flip, not by itself");
    server.flip(json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 50})).done();
    assert!(all(&server, WWW).iter().any(|a| a == DC1));
    let sites = server.get("/api/v1/sites");
    assert_eq!(
        sites["sites"][1],
        json!({"name": "dc1", "state": "active", "configured_state": "active", "pools": [API, WWW]})
    );
    assert!(before.iter().any(|a| a == DC1));

    server.flip(json!({"weights": {WWW: {"ec2": 1}}, "confirm_within_s": 600})).done();
    assert!(site(&server, "dc1", "retired").refused(409).contains("waits to be confirmed"));
    site(&server, "dc1", "drained").done();
}

#[test]
fn the_configured_state_counts_once_and_the_command_says_it() {
    let config = two().replace("name = \"dc1\"\n", "name = \"dc1\"\nstate = \"drained\"\n");
    let server = Server::start(&config);
    assert!(all(&server, WWW).iter().all(|a| a == EC2));
    let run = |arguments: &[&str]| {
        let (api, token) = (format!("http://{}", server.api), server.file("state/admin.token"));
        let mut command = waypost();
        command.args(arguments).arg("--api").arg(api).arg("--token-file").arg(token);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["status"]).contains("site dc1 drained: it is not answered"));
    assert!(run(&["site", "dc1", "active", "--reason", "go"]).starts_with("Generation 2"));
    assert!(run(&["audit"]).contains("site dc1 active"));
    assert!(all(&server, WWW).iter().any(|a| a == DC1));
    server.reload().done();
    assert!(all(&server, WWW).iter().any(|a| a == DC1), "from then on the store rules");
    let page = server.api("GET", "/metrics", Value::Null, &[]).text;
    assert!(page.contains("waypost_site_state{site=\"dc1\",state=\"active\"} 1"), "{page}");
}
