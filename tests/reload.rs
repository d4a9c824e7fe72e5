//! The configuration and the zones, read again on a running server and at a start:
//! - by SIGHUP and over HTTP; the store's weights rule, `status` shows where the file differs; a new endpoint enters at 0;
//! - a configuration with mistakes is refused whole, all mistakes told; the old one stays;
//! - a zone file with mistakes takes nobody down: the old zone stays, `/readyz`, `status` and the log say so; at a start
//!   the last good copy is served; a zone that was never read is SERVFAIL, alone;
//! - an endpoint that is answered is not taken away without `--force`, by a start as by a reload;
//! - what a little change of a large file adds to the store is little, and is there after `kill -9`, the file broken meanwhile;
//! - the file of one zone is read again by name, or when it changes and is watched: no generation, nothing else changes;
//! - `waypost check` tells all mistakes with their places, by exit code 2: those of zones also where the configuration has some.

mod support;

use std::fs;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::{addresses, rcode};
use support::{DC1, EC2, HEAD, Server, ZONE, fail_in, folder, pool, waypost};

const WWW: &str = "www.example.org";
const BROKEN_ZONE: &str =
    "$TTL 1h\n@ SOA ns1 hostmaster 2 1h 15m 4w 5m\n  NS ns1\nns1 A 127.0.0.1\nwww A 192.0.2.300\n";

fn two_endpoints(ec2: u32, dc1: u32) -> String {
    format!("{HEAD}{}", pool(WWW, ec2, dc1, ""))
}

#[test]
fn the_store_rules_over_the_weights_of_the_file() {
    let mut server = Server::start(&two_endpoints(100, 0));
    server.shift(&[WWW], 100.0);
    assert_eq!(server.pool(WWW)["differs_from_configuration"], true);
    server.configure(&two_endpoints(70, 30));
    let reload = server.reload().done();
    assert_eq!(reload["generation"], 3);
    assert_eq!(server.weights(WWW), [0, 100]);
    let pool = server.pool(WWW);
    assert_eq!(pool["endpoints"][0]["configured_weight"], 70);
    assert_eq!(pool["differs_from_configuration"], true);
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1]);
    server.terminate();
    server.start_again();
    assert_eq!(server.weights(WWW), [0, 100]);
    assert_eq!(addresses(&server.ask(WWW, T::A)), [DC1]);
}

#[test]
fn sighup_brings_a_new_zone_a_new_pool_and_a_new_endpoint() {
    let server = Server::start(&two_endpoints(100, 0));
    let new_endpoint = "  { site = \"dc2\", address = [\"192.0.2.13\"], weight = 50 },\n]";
    let config = format!(
        "{HEAD}[[site]]\nname = \"dc2\"\n{}{}",
        pool(WWW, 100, 0, "").replace("\n]", &format!("\n{new_endpoint}")),
        pool("shop.example.org", 0, 100, "")
    );
    server.configure(&config);
    fs::write(server.file("example.org.zone"), format!("{ZONE}new A 192.0.2.8\n").replace("2026010101", "2026010102"))
        .unwrap();
    server.hang_up();
    server.wait_for("the reload", |s| s.generation() == 2);
    assert_eq!(addresses(&server.ask("new.example.org", T::A)), ["192.0.2.8"]);
    assert_eq!(server.weights(WWW), [100, 0, 0], "a new endpoint of an old pool enters at weight 0");
    assert_eq!(addresses(&server.ask("shop.example.org", T::A)), [DC1], "a new pool as configured");
    assert_eq!(server.status()["zones"][0]["serial"], 2_026_010_102);
    assert_eq!(server.newest()["author"], "SIGHUP");

    // Addresses, too, are the configuration's.
    server.configure(&config.replace(EC2, "192.0.2.21"));
    server.reload().done();
    assert_eq!(addresses(&server.ask(WWW, T::A)), ["192.0.2.21"]);
}

#[test]
fn a_configuration_with_mistakes_is_refused_whole() {
    let server = Server::start(&two_endpoints(100, 0));
    let wrong = two_endpoints(100, 0).replace("site = \"dc1\"", "site = \"dc9\"").replace("192.0.2.11", "192.0.2.511");
    server.configure(&format!("{wrong}[[pool]]\nname = \"new.example.org\"\nendpoint = [{{ site = \"ec2\", address = [\"192.0.2.1\"], weight = 1 }}]\n"));
    fs::write(server.file("example.org.zone"), format!("{ZONE}new A 192.0.2.8\n")).unwrap();
    let reply = server.reload();
    let errors: Vec<String> =
        reply.json["errors"].as_array().unwrap().iter().map(|e| e["detail"].as_str().unwrap().to_owned()).collect();
    reply.refused(422);
    assert_eq!(errors.len(), 2, "{errors:?}");
    for quoted in ["dc9", "192.0.2.511"] {
        assert!(errors.iter().any(|e| e.contains(quoted) && e.contains("waypost.toml:")), "{quoted}: {errors:?}");
    }
    server.hang_up();
    server.wait_for("the second refusal", |s| s.log().matches("the configuration was not taken over").count() == 2);
    assert_eq!(server.generation(), 1);
    assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2]);
    assert_eq!(rcode(&server.ask("new.example.org", T::A)), ResponseCode::NXDomain, "nothing is half-applied");
    fs::remove_file(server.file("waypost.toml")).unwrap();
    server.reload().refused(422);
    server.configure(&two_endpoints(100, 0));
    server.reload().done();
    assert_eq!(addresses(&server.ask("new.example.org", T::A)), ["192.0.2.8"]);
}

/// The detail of what `/readyz` says of the zone.
fn readiness(server: &Server, zone: &str) -> Option<(String, String)> {
    let ready = server.get("/readyz");
    assert_eq!(ready["ready"], true, "one zone does not take the server down");
    let check = ready["checks"].as_array().unwrap().iter().find(|c| c["name"] == format!("zone {zone}"))?.clone();
    Some((check["state"].as_str().unwrap().to_owned(), check["detail"].as_str().unwrap().to_owned()))
}

#[test]
fn a_zone_with_mistakes_takes_nobody_down() {
    let second = "[[zone]]\nname = \"example.net\"\nfile = \"example.net.zone\"\n";
    let config = format!("{}{second}", two_endpoints(100, 0));
    let folder = folder(&config);
    fs::write(folder.path().join("example.net.zone"), BROKEN_ZONE).unwrap();
    let mut server = Server::start_in(folder);

    // Never read: SERVFAIL, alone.
    assert_eq!(rcode(&server.ask("www.example.net", T::A)), ResponseCode::ServFail);
    assert_eq!(addresses(&server.ask("plain.example.org", T::A)), ["192.0.2.7"]);
    let (state, detail) = readiness(&server, "example.net").unwrap();
    assert!(state == "failing" && detail.contains("192.0.2.300") && detail.contains("example.net.zone:5"), "{detail}");
    assert_eq!(server.status()["zones"][1]["state"], "unloaded");
    assert!(server.log().contains("192.0.2.300"), "{}", server.log());

    // Mended, then broken again: what was good is served.
    fs::write(server.file("example.net.zone"), BROKEN_ZONE.replace("300", "30")).unwrap();
    server.reload().done();
    assert_eq!(addresses(&server.ask("www.example.net", T::A)), ["192.0.2.30"]);
    assert_eq!(readiness(&server, "example.net"), None);
    fs::write(server.file("example.net.zone"), BROKEN_ZONE).unwrap();
    fs::remove_file(server.file("example.org.zone")).unwrap();
    let warnings = server.reload().done()["warnings"].to_string();
    assert!(warnings.contains("zone example.net") && warnings.contains("zone example.org"), "{warnings}");
    for restart in [false, true, true] {
        if restart {
            server.kill9();
            server.start_again();
        }
        assert_eq!(addresses(&server.ask("www.example.net", T::A)), ["192.0.2.30"], "restarted: {restart}");
        assert_eq!(addresses(&server.ask("plain.example.org", T::A)), ["192.0.2.7"]);
        assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2], "a pool over it is answered");
        assert_eq!(readiness(&server, "example.net").unwrap().0, "degraded");
        assert_eq!(server.status()["zones"][0]["state"], "last-good");
        assert!(server.status()["warnings"].to_string().contains("example.org"));
        let metrics = server.api("GET", "/metrics", Value::Null, &[]).text;
        assert!(metrics.contains("waypost_zone_state{zone=\"example.org\",state=\"last-good\"} 1"), "{metrics}");
    }
    fs::write(server.file("example.org.zone"), ZONE).unwrap();
    server.reload().done();
    assert_eq!(server.status()["zones"][0]["state"], "current");
}

#[test]
fn what_is_answered_is_not_taken_away_without_force() {
    let mut server = Server::start(&two_endpoints(75, 25));
    let one = format!(
        "{HEAD}[[pool]]\nname = \"{WWW}\"\nendpoint = [{{ site = \"ec2\", address = [\"{EC2}\"], weight = 1 }}]\n"
    );
    server.configure(&one);
    let detail = server.reload().refused(422);
    assert!(detail.contains(WWW) && detail.contains("dc1") && detail.contains("25.00 %"), "{detail}");
    server.configure(HEAD);
    assert!(server.reload().refused(422).contains(WWW), "nor a whole pool");
    assert_eq!((server.generation(), server.weights(WWW)), (1, vec![75, 25]));

    server.configure(&one);
    server.terminate();
    let refused = server.fail_to_start(&[]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("dc1") && told.contains("--force"), "{told}");
    server.start_again_with(&["--force"]);
    assert_eq!(server.weights(WWW), [75]);
    for client in 0..50 {
        assert_eq!(server.address_for(WWW, client), EC2);
    }
    assert_eq!(server.newest()["action"], json!({"kind": "reload"}));

    // What would leave nothing is refused even then.
    let other = one.replace("ec2\", address", "dc1\", address");
    server.configure(&other);
    server.terminate();
    let refused = server.fail_to_start(&["--force"]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("nothing would be left to answer"), "{told}");
}

#[test]
fn an_endpoint_at_weight_0_may_go() {
    let server = Server::start(&two_endpoints(100, 0));
    let one = format!(
        "{HEAD}[[pool]]\nname = \"{WWW}\"\nendpoint = [{{ site = \"ec2\", address = [\"{EC2}\"], weight = 1 }}]\n"
    );
    server.configure(&one);
    server.reload().done();
    assert_eq!(server.weights(WWW), [100]);
}

#[test]
fn while_a_flip_waits_its_pools_keep_their_endpoints() {
    let server = Server::start(&two_endpoints(100, 0));
    let request = json!({"pools": [WWW], "from": "ec2", "to": "dc1", "percent": 100, "confirm_within": "1h"});
    server.flip(request).done();
    let one = format!(
        "{HEAD}[[pool]]\nname = \"{WWW}\"\nendpoint = [{{ site = \"dc1\", address = [\"{DC1}\"], weight = 1 }}]\n"
    );
    server.configure(&one);
    assert!(server.reload().refused(409).contains("waits to be confirmed"));
}

#[test]
fn a_listener_changes_only_at_a_restart_and_that_is_told() {
    let server = Server::start(&two_endpoints(100, 0));
    server.configure(&two_endpoints(100, 0).replace("workers = 2", "workers = 1"));
    let warnings = server.reload().done()["warnings"].to_string();
    assert!(warnings.contains("restart"), "{warnings}");
}

/// `waypost check` on what is in `folder`: exit code, stdout, stderr.
fn check(folder: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = waypost();
    let output =
        command.args(["check", "--config", "waypost.toml"]).args(arguments).current_dir(folder).output().unwrap();
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_little_change_of_a_large_file_is_kept_as_that() {
    let zone = |serial: u32, more: &str| {
        let hosts: Vec<String> = (0..12_000).map(|i| format!("h{i} A 192.0.2.{}\n", i % 200)).collect();
        format!("{}{}{more}", ZONE.replace("2026010101", &serial.to_string()), hosts.concat())
    };
    let folder = folder(HEAD);
    fs::write(folder.path().join("example.org.zone"), zone(2_026_010_101, "")).unwrap();
    let mut server = Server::start_in(folder);
    let copies = |server: &Server| {
        let files = fs::read_dir(server.file("state/values")).into_iter().flatten();
        files.map(|file| file.unwrap().file_name()).collect::<Vec<_>>()
    };
    server.wait_for("the copy of the zone", |server| !copies(server).is_empty());
    let whole = copies(&server);
    for (serial, more) in [(2_026_010_102, "one A 192.0.2.1\n"), (2_026_010_103, "one A 192.0.2.1\ntwo A 192.0.2.2\n")]
    {
        fs::write(server.file("example.org.zone"), zone(serial, more)).unwrap();
        server.reload().done();
        assert_eq!(server.status()["zones"][0]["serial"], serial);
        assert_eq!(copies(&server), whole, "the copy is not written anew");
    }
    assert_eq!(addresses(&server.ask("two.example.org", T::A)), ["192.0.2.2"]);

    server.kill9();
    fs::write(server.file("example.org.zone"), BROKEN_ZONE).unwrap();
    server.start_again();
    assert_eq!(server.status()["zones"][0]["state"], "last-good");
    for (name, address) in [("one", "192.0.2.1"), ("two", "192.0.2.2"), ("h11999", "192.0.2.199")] {
        assert_eq!(addresses(&server.ask(&format!("{name}.example.org"), T::A)), [address]);
    }
    fs::write(server.file("example.org.zone"), zone(2_026_010_104, "two A 192.0.2.2\n")).unwrap();
    server.reload().done();
    assert_eq!(rcode(&server.ask("one.example.org", T::A)), ResponseCode::NXDomain, "it is known what was taken away");
    assert_eq!(addresses(&server.ask("two.example.org", T::A)), ["192.0.2.2"]);
    server.kill9();
    server.start_again();
    assert_eq!(rcode(&server.ask("one.example.org", T::A)), ResponseCode::NXDomain);
}

#[test]
fn check_tells_all_mistakes_of_all_files() {
    let good = folder(&two_endpoints(100, 0));
    let (code, out, err) = check(good.path(), &["--strict"]);
    assert_eq!((code, &*err), (Some(0), ""), "{out}");
    assert!(out.contains("zones 1") && out.contains("pools 1"), "{out}");
    assert!(!good.path().join("state").exists(), "checking leaves nothing behind");

    // Mistakes in the configuration: all at once, each quoted, with its place.
    let wrong = two_endpoints(100, 0).replace("weight = 100", "weight = \"many\"").replace("[api]", "[appi]");
    let bad = folder(&wrong.replace("site = \"dc1\"", "site = \"dc9\""));
    let (code, out, err) = check(bad.path(), &[]);
    assert_eq!((code, &*out), (Some(2), ""), "{err}");
    for quoted in ["many", "appi", "dc9"] {
        assert!(err.contains(quoted), "{quoted}: {err}");
    }
    let places = err.matches("waypost.toml:").count();
    assert!(places >= 3, "{places} places: {err}");

    // Mistakes in a zone, several too; the server would start all the same, the check fails.
    let zone = folder(&two_endpoints(100, 0));
    fs::write(zone.path().join("example.org.zone"), format!("{BROKEN_ZONE}x AAAA 1.2.3.4\n")).unwrap();
    let (code, _, err) = check(zone.path(), &[]);
    assert_eq!(code, Some(2), "{err}");
    for place in ["example.org.zone:5", "example.org.zone:6"] {
        assert!(err.contains(place), "{place}: {err}");
    }
    // Doubts are told, and refused when asked to be strict.
    let doubt = folder(&format!("{}[probe.idle]\ntype = \"tcp\"\nport = 80\n", two_endpoints(100, 0)));
    let (code, _, err) = check(doubt.path(), &[]);
    assert!(code == Some(0) && err.contains("idle"), "{err}");
    assert_eq!(check(doubt.path(), &["--strict"]).0, Some(2));

    let nothing = tempfile::TempDir::new().unwrap();
    let (code, _, err) = check(nothing.path(), &[]);
    assert!(code == Some(2) && err.contains("waypost.toml"), "{err}");
    assert_eq!(fail_in(nothing.path(), &[]).status.code(), Some(2));
}

#[test]
fn one_zone_is_read_again_by_name_or_when_its_watched_file_changes() {
    let watched =
        two_endpoints(100, 0).replace("file = \"example.org.zone\"", "file = \"example.org.zone\"\nwatch = true");
    for (config, by_name) in [(two_endpoints(100, 0), true), (watched, false)] {
        let server = Server::start(&config);
        server.configure("broken"); // nobody reads it
        let zone = format!("{ZONE}new A 192.0.2.8\n").replace("2026010101", "2026010102");
        fs::write(server.file("example.org.zone"), zone).unwrap();
        if by_name {
            let mut command = waypost();
            command.args(["reload", "--zone", "example.org", "--api", &format!("http://{}", server.api)]);
            let output =
                command.args(["--token-file", "state/admin.token"]).current_dir(server.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        server.wait_for("the zone", |server| server.status()["zones"][0]["serial"] == 2_026_010_102);
        assert_eq!(addresses(&server.ask("new.example.org", T::A)), ["192.0.2.8"]);
        assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2]);
        assert_eq!(server.generation(), 1);
        let unknown = json!({"zone": "example.net"});
        let refused = server.api("POST", "/api/v1/reload", unknown, &[]).refused(404);
        assert!(refused.contains("no zone \"example.net\" is served here"), "{refused}");
        let page = server.api("GET", "/metrics", Value::Null, &[]).text;
        assert!(page.contains("waypost_reloads_total{result=\"refused\"} 1\n"), "{page}");
        assert!(!page.contains("waypost_reloads_total{result=\"done\"} 0\n"), "{page}");
    }
}

/// A folder with two zones, one of which includes a file, all of it written a while ago: what was just written is not trusted.
fn settled_folder(more: &str) -> tempfile::TempDir {
    let other = "[[zone]]\nname = \"example.net\"\nfile = \"net.zone\"\n";
    let config =
        two_endpoints(100, 0).replace("file = \"example.org.zone\"", &format!("file = \"example.org.zone\"\n{more}"));
    let folder = folder(&format!("{config}{other}"));
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("example.org.zone", &format!("{ZONE}$INCLUDE hosts\n"));
    write("hosts", "included A 192.0.2.70\n");
    write(
        "net.zone",
        "$TTL 60\n@ SOA ns1.example.org. h 1 2 3 4 5\n@ NS ns1.example.org.\nodd CNAME ns1.example.org\n",
    );
    let written = support::now();
    while support::now() <= written + 2 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    folder
}

#[test]
fn zones_whose_files_are_unchanged_are_not_read_again() {
    let server = Server::start_in(settled_folder(""));
    let reload = |expected: &str| {
        let told = server.reload().done()["warnings"].to_string();
        assert!(told.contains("odd"), "what is doubtful is told each time: {told}");
        assert!(
            server.log().lines().rev().find(|l| l.contains("zone files")).unwrap().contains(expected),
            "{expected}"
        );
    };
    let included = || addresses(&server.ask("included.example.org", T::A));
    reload("read=0 unchanged=2");
    fs::write(server.file("hosts"), "included A 192.0.2.71\n").unwrap(); // as many octets
    reload("read=1 unchanged=1");
    assert_eq!(included(), ["192.0.2.71"]);
    // A new time on the old contents: it is read, and nothing comes of it.
    let serial = server.status()["zones"][1]["serial"].clone();
    fs::File::options().write(true).open(server.file("net.zone")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    server.reload().done();
    assert_eq!(server.status()["zones"][1]["serial"], serial);
    // An included file that comes to lie nearer takes the place of the other.
    fs::write(server.file("example.org.zone"), format!("{ZONE}$INCLUDE broken\n")).unwrap();
    server.reload().done();
    assert_eq!((included().len(), &server.status()["zones"][0]["state"]), (1, &json!("last-good")));
    fs::write(server.file("broken"), "included A 192.0.2.72\n").unwrap();
    server.reload().done();
    assert_eq!(included(), ["192.0.2.72"], "what has mistakes is read again");
    let page = server.api("GET", "/metrics", Value::Null, &[]).text;
    assert!(!page.contains("waypost_zone_files_total{result=\"unchanged\"} 0\n"), "{page}");
}

#[test]
fn a_watched_zone_is_read_again_when_a_file_that_it_includes_changes() {
    let server = Server::start_in(settled_folder("watch = true"));
    fs::write(server.file("hosts"), "included A 192.0.2.71\n").unwrap();
    let included = |server: &Server| addresses(&server.ask("included.example.org", T::A));
    server.wait_for("the included file", |server| included(server) == ["192.0.2.71"]);
    // One that is missing at first is waited for.
    fs::write(server.file("example.org.zone"), format!("{ZONE}$INCLUDE later\n")).unwrap();
    server.wait_for_log("later");
    fs::write(server.file("later"), "included A 192.0.2.72\n").unwrap();
    server.wait_for("the missing file", |server| included(server) == ["192.0.2.72"]);
}

#[test]
fn check_tells_of_zones_although_the_configuration_has_mistakes() {
    let folder = folder(&format!("{}colour = \"red\"\n", two_endpoints(100, 0)));
    fs::write(folder.path().join("example.org.zone"), BROKEN_ZONE).unwrap();
    let (code, _, told) = check(folder.path(), &[]);
    assert_eq!(code, Some(2));
    assert!(told.contains("\"colour\"") && told.contains("192.0.2.300"), "{told}");
    fs::write(folder.path().join("waypost.toml"), two_endpoints(100, 0)).unwrap();
    fs::remove_file(folder.path().join("example.org.zone")).unwrap();
    let (code, _, told) = check(folder.path(), &[]);
    assert_eq!(code, Some(2));
    let place = "zone \"example.org\": example.org.zone can't be read";
    assert!(told.contains(place) && told.contains("waypost.toml:13:8"), "the line that names the file: {told}");
}
