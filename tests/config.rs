//! The configuration file: the samples load; each mistake is told with its place, all of them at once; no octets panic.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use waypost::config::{LogFormat, Settings, load, parse, render};
use waypost::dns::{Rtype, Ttl};
use waypost::probe::Kind;
use waypost::steering::pool::{Policy, Role, SiteState};
use waypost::steering::ttl::Approach;

/// The example of the design.
const DESIGN: &str = r#"
[server]
name = "ns1.example.org"            # NSID; the name in logs, metrics and etcd
listen = ["127.0.0.1:5300"]         # UDP and TCP
workers = 0                         # 0 = one for each core
state = "state"                     # folder of the embedded store

[api]
listen = "127.0.0.1:5380"           # first start writes an admin token to state/admin.token (0600)

[[zone]]
name = "example.org"
file = "zones/example.org.zone"

[[site]]
name = "ec2"
[[site]]
name = "dc1"

[probe.web]                         # [[site]], [[pool]] and [probe.*] may be missing
type = "http"                       # GET http://ADDRESS:8080/healthz, Host: the pool's name
port = 8080
path = "/healthz"
interval = "5s"
timeout = "2s"
rise = 2
fall = 3

[[pool]]
name = "www.example.org"
policy = "sticky"                   # sticky | random | failover | all
ttl = { normal = "1h", low = "60s" }
probe = "web"                       # left out: always up
endpoint = [
  { site = "ec2", address = ["127.0.0.11"], weight = 100 },
  { site = "dc1", address = ["127.0.0.12"], weight = 0 },
]
"#;

/// What a file must have around a pool.
const HEAD: &str = "zone = [{ name = \"example.org\", file = \"z\" }]\nsite = [{ name = \"a\" }, { name = \"b\" }]\n";

fn taken(text: &str) -> Settings {
    match parse(text, Path::new("w.toml")) {
        Ok(loaded) => {
            assert_eq!(loaded.warnings, []);
            loaded.settings
        }
        Err(found) => panic!("{}", render(&found, false)),
    }
}

/// What is told of a file, each on one line.
fn told(text: &str) -> Vec<String> {
    let found = parse(text, Path::new("w.toml")).map_or_else(|found| found, |loaded| loaded.warnings);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn the_sample_of_the_design_loads_as_it_stands() {
    let settings = taken(DESIGN);
    assert_eq!(settings.name, "ns1.example.org");
    assert_eq!(settings.server.listen, ["127.0.0.1:5300".parse().unwrap()]);
    assert!(settings.server.workers >= 1);
    assert_eq!(settings.state, Path::new("state"));
    assert_eq!(settings.api.listen, "127.0.0.1:5380".parse().unwrap());
    assert_eq!(settings.api.token_file, Path::new("state/admin.token"));
    assert_eq!((settings.log.format, settings.log.level.as_str()), (LogFormat::Text, "info"));
    assert_eq!(settings.zones[0].file.as_deref(), Some(Path::new("zones/example.org.zone")));
    let sites: Vec<_> = settings.sites.iter().map(|s| (s.name.as_str(), s.state)).collect();
    assert_eq!(sites, [("ec2", SiteState::Active), ("dc1", SiteState::Active)]);
    let probe = &settings.probes["web"];
    let Kind::Http(http) = &probe.kind else { panic!("{:?}", probe.kind) };
    assert_eq!((http.port, http.path.as_str(), &http.host, &http.tls), (8080, "/healthz", &None, &None));
    assert_eq!((http.statuses.to_string().as_str(), http.method.as_str()), ("200-399", "GET"));
    assert_eq!((probe.interval, probe.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
    assert_eq!((probe.thresholds.rise, probe.thresholds.fall), (2, 3));
    let pool = &settings.pools[0];
    assert_eq!((pool.name.to_string().as_str(), pool.policy), ("www.example.org", Policy::Sticky));
    assert_eq!((pool.ttl.normal, pool.ttl.low), (Ttl::from_secs(3600), Ttl::from_secs(60)));
    assert_eq!((pool.ttl.spread_secs, pool.ttl.mode), (120, Approach::Countdown));
    assert_eq!(pool.probe.as_deref(), Some("web"));
    let weights: Vec<_> = pool.endpoints.iter().map(|e| (e.site.as_str(), e.weight.get(), e.role)).collect();
    assert_eq!(weights, [("ec2", 100, Role::Never), ("dc1", 0, Role::Never)]);
    assert_eq!(pool.endpoints[1].rdata, [(Rtype::A, vec![[127, 0, 0, 12].into()])]);
}

#[test]
fn the_sample_file_says_what_the_design_says() {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/waypost.toml"));
    let loaded = load(file).unwrap_or_else(|found| panic!("{}", render(&found, false)));
    assert_eq!(loaded.settings, taken(DESIGN));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.zone_places[0].source.trim(), "file = \"zones/example.org.zone\"");
    assert_eq!(loaded.pool_places[0].as_ref().unwrap().source, "name = \"www.example.org\"");
}

#[test]
fn what_is_left_out_has_its_default() {
    let settings = taken("[[zone]]\nname = \".\"\nfile = \"root.zone\"\n");
    assert!(settings.zones[0].name.is_root());
    assert_eq!(settings.server.listen, ["0.0.0.0:53".parse().unwrap(), "[::]:53".parse().unwrap()]);
    assert!(!settings.name.is_empty());
    assert_eq!(settings.api.token_file, Path::new("state/admin.token"));
    assert!(settings.sites.is_empty() && settings.pools.is_empty() && settings.probes.is_empty());

    let settings = taken(&format!(
        "{HEAD}[server]\nstate = \"/var/lib/waypost/\"\n[probe.t]\ntype = \"tcp\"\nport = 0x50\n[[pool]]\nname = \"w.example.org.\"\n\
         probe = \"t\"\nttl = {{ normal = 40 }}\n[[pool.endpoint]]\nsite = \"a\"\nweight = 1\naddress = [\"::1\", \"127.0.0.1\"]\n\
         https = [\"1 . port=8443 alpn=h2\"]\n"
    ));
    assert_eq!(settings.api.token_file, Path::new("/var/lib/waypost/admin.token"));
    let probe = &settings.probes["t"];
    let Kind::Tcp(tcp) = &probe.kind else { panic!("{:?}", probe.kind) };
    assert_eq!((tcp.port, &tcp.expect, probe.thresholds.fall), (80, &None, 3));
    let pool = &settings.pools[0];
    assert_eq!((pool.ttl.low.secs(), pool.ttl.spread_secs), (40, 20), "they give way to a small normal TTL");
    let types: Vec<_> = pool.endpoints[0].rdata.iter().map(|(t, _)| *t).collect();
    assert_eq!(types, [Rtype::AAAA, Rtype::A, Rtype::HTTPS]);
}

/// What is told of a pool `w.example.org` with these lines; the first of them is line 5.
fn of_pool(lines: &str) -> Vec<String> {
    told(&format!("{HEAD}[[pool]]\nname = \"w.example.org\"\n{lines}"))
}

/// The same of a pool that has a right endpoint besides.
fn beside_endpoint(lines: &str) -> Vec<String> {
    of_pool(&format!("{lines}\nendpoint = [{{ site = \"a\", address = [\"127.0.0.1\"], weight = 1 }}]\n"))
}

#[test]
fn each_mistake_in_the_sections_is_told_with_its_place() {
    let ok = "[[zone]]\nname = \"example.org\"\nfile = \"z\"\n";
    for (lines, expected) in [
        (
            "[sever]",
            "4:2: error: unknown key \"sever\" (did you mean \"server\"? known here: server, api, log, rrl, tsig, dnssec-policy, steering, zone, site, overrides, probes, probe, pool, rrset, forwarder, webhook)",
        ),
        (
            "[server]\nlisen = []",
            "5:1: error: unknown key \"lisen\" in [server] (did you mean \"listen\"? known here: name, listen, workers, cookie-secrets, state, tls)",
        ),
        (
            "[server]\nlisten = \"127.0.0.1:53\"",
            "5:10: error: \"listen\" must be an array of addresses, such as [\"127.0.0.1:5300\", \"[::1]:5300\"], not \"127.0.0.1:53\"",
        ),
        (
            "[server]\nlisten = []",
            "5:10: error: \"listen\" must be an array of addresses, such as [\"127.0.0.1:5300\", \"[::1]:5300\"], not an empty array",
        ),
        (
            "[server]\nlisten = [\"localhost:53\"]",
            "5:11: error: \"listen\" must be an IP address with a port, such as \"127.0.0.1:5300\" or \"[::1]:5300\", not \"localhost:53\"",
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:53\",\n\"127.0.0.1:53\"]",
            "6:1: error: the address \"127.0.0.1:53\" is written twice",
        ),
        (
            "[server]\ncookie-secrets = [\"e5e973e5a6b2a43f\"]",
            "5:19: error: a secret for cookies has 32 hexadecimal digits",
        ),
        (
            "[server]\ncookie-secrets = []",
            "5:18: error: \"cookie-secrets\" must be an array of one or two secrets of 32 hexadecimal digits, not an empty array",
        ),
        ("[server]\nworkers = 1025", "5:11: error: \"workers\" must be a whole number from 0 to 1024, not 1025"),
        ("[server]\nworkers = \"two\"", "5:11: error: \"workers\" must be a whole number from 0 to 1024, not \"two\""),
        ("[server]\nworkers = -1", "5:11: error: \"workers\" must be a whole number from 0 to 1024, not -1"),
        (
            "[server]\nname = \"a b\"",
            "5:8: error: \"name\" must be 1 to 255 printable ASCII characters without spaces, not \"a b\"",
        ),
        (
            "[server]\ntls = { certificate = \"c.pem\", key = \"k.pem\" }",
            "5:7: error: nothing listens with this certificate (say where: listen (TLS), quic or https, such as [\"127.0.0.1:853\"])",
        ),
        ("[server]\nstate = \"\"", "5:9: error: \"state\" must be a folder, not \"\""),
        ("[[server]]", "4:1: error: \"server\" must be a table, headed [server], not [[server]]"),
        (
            "[api]\nlisten = 5380",
            "5:10: error: \"listen\" must be an IP address with a port, such as \"127.0.0.1:5300\" or \"[::1]:5300\", not 5380",
        ),
        (
            "[log]\nformat = \"jsn\"",
            "5:10: error: \"format\" must be \"text\" or \"json\", not \"jsn\" (did you mean \"json\"?)",
        ),
        (
            "[log]\nlevel = \"inof\"",
            "5:9: error: \"level\" must be a level (off, error, warn, info, debug, trace) or a filter such as \"info,waypost::probe=debug\", not \"inof\"",
        ),
        ("[[zone]]\nfile = \"f\"", "4:1: error: [[zone]] has no \"name\""),
        (
            "[[zone]]\nname = \"Example.ORG.\"\nfile = \"f\"",
            "5:8: error: zone \"Example.ORG\" is already written on line 2",
        ),
        ("[[zone]]\nname = \"a..b\"\nfile = \"f\"", "5:8: error: \"a..b\" is no domain name: a label is empty"),
        (
            "[[zone]]\nname = \"bücher.de\"\nfile = \"f\"",
            "5:8: error: \"bücher.de\" is no domain name: it has letters outside ASCII (write its A-labels (xn--...), or octets as \\DDD)",
        ),
        (
            "[[zone]]\nname = \"a b\"\nfile = \"f\"",
            "5:8: error: \"a b\" is no domain name: ' ' stands in it (if that is meant, write it as \\032)",
        ),
        ("[site]\nname = \"a\"", "4:1: error: \"site\" must be an array of tables, each headed [[site]], not [site]"),
        (
            "[[site]]\nname = \"DC1\"",
            "5:8: error: \"name\" must be 1 to 63 letters a-z, digits, \"-\", \"_\" or \".\", not \"DC1\"",
        ),
        ("[[site]]\nname = \"a\"\n[[site]]\nname = \"a\"", "7:8: error: site \"a\" is already written on line 5"),
        (
            "[[site]]\nname = 1",
            "5:8: error: \"name\" must be 1 to 63 letters a-z, digits, \"-\", \"_\" or \".\", not 1",
        ),
        (
            "[[site]]\nname = \"a\"\nstate = \"retierd\"",
            "6:9: error: \"state\" must be \"active\", \"drained\" or \"retired\", not \"retierd\" (did you mean \"retired\"?)",
        ),
        ("a = 1\na = 2", "5:1: error: key \"a\" is written twice"),
    ] {
        let place = expected.split_once(": error").unwrap().0;
        let text = format!("{ok}{lines}\n");
        let said = told(&text);
        assert!(said.contains(&format!("w.toml:{expected}")), "{lines}\nat {place}: {said:#?}");
        assert_eq!(said.iter().filter(|s| !s.contains("unknown key \"a\"")).count(), 1, "{lines}: {said:#?}");
    }
}

#[test]
fn each_mistake_in_a_probe_is_told_with_its_place() {
    for (lines, expected) in [
        ("type = \"tcp\"", "4:1: error: [probe.p] has no \"port\""),
        ("port = 80", "4:1: error: [probe.p] has no \"type\""),
        (
            "type = \"htps\"\nport = 80",
            "5:8: error: \"type\" must be \"http\", \"https\", \"tcp\", \"dns\", \"grpc\", \"prometheus\", \"command\" or \"push\", not \"htps\" (did you mean \"https\"?)",
        ),
        ("type = \"tcp\"\nport = 70000", "6:8: error: \"port\" must be a port from 1 to 65535, not 70000"),
        (
            "type = \"tcp\"\nport = 80\npath = \"/\"",
            "7:1: error: \"path\" is for probes of type \"http\", \"https\", and [probe.p] is of type \"tcp\"",
        ),
        (
            "type = \"http\"\nport = 80\npath = \"x\"",
            "7:8: error: \"path\" must be a path that begins with \"/\", of printable ASCII characters without spaces, not \"x\"",
        ),
        (
            "type = \"http\"\nport = 80\nhost = \"a\\r\\nb\"",
            "7:8: error: \"host\" must be what the Host header shall say, of printable ASCII characters without spaces, not \"a\\r\\nb\"",
        ),
        (
            "type = \"tcp\"\nport = 80\ninterval = \"5 parsecs\"",
            "7:12: error: \"interval\" must be a duration from 100 ms to 1 day, such as \"500ms\", \"5s\" or \"1m30s\", not \"5 parsecs\"",
        ),
        (
            "type = \"tcp\"\nport = 80\ninterval = 0",
            "7:12: error: \"interval\" must be a duration from 100 ms to 1 day, such as \"500ms\", \"5s\" or \"1m30s\", not 0",
        ),
        (
            "type = \"tcp\"\nport = 80\ntimeout = 6",
            "7:11: error: the timeout of [probe.p], 6s, is longer than its interval, 5s",
        ),
        (
            "type = \"tcp\"\nport = 80\ninterval = 1",
            "7:12: error: the timeout of [probe.p], 2s, is longer than its interval, 1s",
        ),
        (
            "type = \"push\"\nfall = 2",
            "6:8: error: [probe.p] is of type \"push\": nobody is asked, and each value counts at once",
        ),
        (
            "type = \"push\"\nwhen-expired = \"up\"",
            "6:16: error: \"when-expired\" must be \"keep\" or \"down\", not \"up\"",
        ),
        ("type = \"tcp\"\nport = 80\nrise = 0", "7:8: error: \"rise\" must be a whole number from 1 to 1000, not 0"),
        (
            "type = \"tcp\"\nport = 80\nfal = 1",
            "7:1: error: unknown key \"fal\" in [probe.p] (did you mean \"fall\"? known here: type, interval, timeout, rise, fall, source, flap, port, send, expect, expect-regex, tls, sni, ca-file, pins, verify)",
        ),
        (
            "type = \"http\"\nstatus = [\"200-299\", \"404-400\"]",
            "6:22: error: \"status\" must be a status from 100 to 599, a range such as \"200-299\", or an array of these, not \"404-400\"",
        ),
        (
            "type = \"http\"\nmethod = \"HEAD\"\nexpect = \"ok\"",
            "7:10: error: an answer to HEAD has no body to look at",
        ),
        ("type = \"http\"\nexpect-regex = \"(ok\"", "6:16: error: \"(ok\" is no regular expression: unclosed group"),
        (
            "type = \"http\"\nexpect = \"a\"\nexpect-regex = \"b\"",
            "7:16: error: \"expect\" and \"expect-regex\" don't go together: say one of them",
        ),
        (
            "type = \"http\"\nheaders = { Host = \"x\" }",
            "6:13: error: \"Host\" is sent as it must be (\"host\" is a key of the probe)",
        ),
        (
            "type = \"http\"\nverify = false",
            "6:1: error: \"verify\" is for probes of type \"https\", \"tcp\", \"grpc\", \"prometheus\", and [probe.p] is of type \"http\"",
        ),
        (
            "type = \"https\"\npins = [\"abc\"]",
            "6:9: error: \"pins\" must be the SHA-256 of a key (SubjectPublicKeyInfo) in base64 or hexadecimal digits, not \"abc\"",
        ),
        (
            "type = \"https\"\nca-file = \"/nowhere/ca.pem\"",
            "6:11: error: \"/nowhere/ca.pem\" can't be read: I/O error: No such file or directory (os error 2)",
        ),
        (
            "type = \"https\"\nverify = false",
            "6:10: warning: [probe.p] verifies no certificate: anyone could answer in the endpoint's place (\"ca-file\" or \"pins\" trust a certificate of one's own)",
        ),
        ("type = \"grpc\"", "4:1: error: [probe.p] has no \"port\""),
        (
            "type = \"command\"\ncommand = [\"check\"]",
            "6:11: error: \"check\" must be a whole path: no shell looks it up",
        ),
        (
            "type = \"dns\"\nrcode = \"NOEROR\"",
            "6:9: error: \"rcode\" must be \"NOERROR\", \"NXDOMAIN\", \"SERVFAIL\", \"REFUSED\", \"NOTIMP\" or \"FORMERR\", not \"NOEROR\" (did you mean \"NOERROR\"?)",
        ),
        (
            "type = \"prometheus\"\nurl = \"http://127.0.0.1:9090\"\nquery = \"up\"\nexpect = \"0.05\"",
            "8:10: error: \"expect\" must be a comparison with a number, such as \"< 0.05\" or \">= 1\", not \"0.05\"",
        ),
        ("type = \"tcp\"\nport = 80\nsni = \"x\"", "7:7: error: \"sni\" is for TLS: say tls = true, too"),
        (
            "type = \"tcp\"\nport = 80\nsource = [\"192.0.2.1\", \"192.0.2.2\"]",
            "7:24: error: one source of each family is used: this is one too many",
        ),
    ] {
        let said = told(&format!("zone = [{{ name = \".\", file = \"z\" }}]\n\n\n[probe.p]\n{lines}\n"));
        let unused = "w.toml:4:8: warning: no pool uses probe \"p\"".to_owned();
        let mut expected = vec![format!("w.toml:{expected}"), unused];
        expected.sort();
        let mut said = said;
        said.sort();
        assert_eq!(said, expected, "{lines}");
    }
}

#[test]
fn whom_answers_are_for() {
    let folder = tempfile::TempDir::new().unwrap();
    let map = folder.path().join("resolvers.map");
    let text = format!(
        "{HEAD}[steering]\nipv4-prefix = 20\nipv6-prefix = 40\necs = [\"192.0.2.0/24\"]\nprefix-map = {map:?}\n"
    );
    std::fs::write(&map, "# farms\n198.51.100.0/24 2001:db8:1::/48 public # a comment\n\n203.0.113.7 public\n")
        .unwrap();
    let clients = taken(&text).clients;
    let key = |address: &str| clients.resolver(address.parse().unwrap()).key.to_string();
    assert_eq!(
        [key("10.1.255.1"), key("203.0.113.7"), key("2001:db8:1::9")],
        ["10.1.240.0/20", "198.51.100.0/24", "198.51.100.0/24"]
    );
    let subnet = |resolver: &str| clients.subnet(resolver.parse().unwrap(), "10.1.2.0".parse().unwrap(), 24);
    assert!(subnet("192.0.2.9").is_some() && subnet("192.0.3.9").is_none());
    assert!(clients.farms.name(0) == Some("public") && clients.farms.len() == 1);

    std::fs::write(&map, "198.51.100.1/24 a\n2001:db8::/32\n10.0.0.0/8 a\n10.0.0.0/8 b\nwho knows\n").unwrap();
    let file = map.display();
    assert_eq!(
        told(&text),
        [
            format!("{file}:1:1: error: \"198.51.100.1/24\" has bits beyond its length; 198.51.100.0/24 has none"),
            format!("{file}:2:1: error: a line has prefixes, and then a name"),
            format!("{file}:4:1: error: the prefix 10.0.0.0/8 is already written on line 3"),
            format!("{file}:5:1: error: \"who\" is no address prefix, such as 192.0.2.0/24 or 2001:db8::/32"),
        ]
    );
    let said = told(&format!("{HEAD}[steering]\nipv6-prefix = 64\necs = [\"all\"]\nprefix-map = \"/nonexistent\"\n"));
    assert_eq!(
        said,
        [
            "w.toml:4:15: error: \"ipv6-prefix\" must be a number of bits from 1 to 56, not 64",
            "w.toml:5:8: error: \"ecs\" must be a network, such as \"192.0.2.0/24\" or \"2001:db8::/32\", not \"all\"",
            "/nonexistent: error: can't be read: No such file or directory (os error 2)",
        ]
    );
}

#[test]
fn pools_of_a_group_agree() {
    let pool = |name: &str, more: &str, endpoints: [&str; 2]| {
        let [a, b] = endpoints;
        format!(
            "[[pool]]\nname = \"{name}.example.org\"\ngroup = \"web\"\n{more}endpoint = [\n\
             {{ site = {a}, address = [\"127.0.0.1\"] }},\n{{ site = {b}, address = [\"127.0.0.2\"] }}]\n"
        )
    };
    let full = ["\"a\", weight = 7, role = \"spare\"", "\"b\", weight = 3"];
    let settings = taken(&format!(
        "{HEAD}{}{}",
        pool("x", "policy = \"failover\"\n", full),
        pool("y", "", ["\"b\"", "\"a\", weight = 7"])
    ));
    for pool in &settings.pools {
        let endpoints: Vec<_> = pool.endpoints.iter().map(|e| (e.site.as_str(), e.weight.get(), e.role)).collect();
        assert_eq!(endpoints, [("a", 7, Role::Spare), ("b", 3, Role::Never)], "in the order of the first pool");
        assert_eq!((pool.policy, pool.selection.group.as_deref()), (Policy::Failover, Some("web")));
    }
    for (more, endpoints, expected) in [
        (
            "",
            ["\"b\", weight = 4", "\"a\""],
            "14:10: error: the weight of site \"b\" is 4 here, and 3 in group \"web\" on line 9 (say it in one pool of the group, or alike in all)",
        ),
        (
            "policy = \"random\"\n",
            ["\"a\"", "\"b\""],
            "11:8: error: the policy is random here, and sticky in group \"web\" on line 4 (say it in one pool of the group, or alike in all)",
        ),
        (
            "",
            ["\"a\"", "\"c\""],
            "11:8: error: pool \"y.example.org\" has the sites a, c, and pool \"x.example.org\" of the same group \"web\" has a, b (pools of a group have the same sites)",
        ),
    ] {
        let head = format!(
            "site = [{{ name = \"a\" }}, {{ name = \"b\" }}, {{ name = \"c\" }}]\n{}",
            HEAD.lines().next().unwrap()
        );
        let text = format!("{head}\n{}{}", pool("x", "policy = \"sticky\"\n", full), pool("y", more, endpoints));
        assert_eq!(told(&text), [format!("w.toml:{expected}")]);
    }
    let said = told(&format!("{HEAD}{}", pool("x", "", ["\"a\"", "\"b\", weight = 1"])));
    assert_eq!(said, ["w.toml:7:10: error: no pool of group \"web\" says the weight of site \"a\""]);
}

#[test]
fn each_mistake_in_a_pool_is_told_with_its_place() {
    for (lines, expected) in [
        (
            "policy = \"any\"",
            "5:10: error: \"policy\" must be \"sticky\", \"random\", \"failover\", \"all\" or \"geo\", not \"any\"",
        ),
        ("trickle = 5", "5:11: error: \"trickle\" is for the policy failover, and pool \"w.example.org\" has sticky"),
        (
            "preview = [{ site = \"b\", networks = [\"192.0.2.0/24\"] }]",
            "5:21: error: pool \"w.example.org\" has no endpoint at site \"b\"",
        ),
        (
            "min-healthy = \"120%\"",
            "5:15: error: \"min-healthy\" must be a percentage from 0 to 100, such as 30 or \"12.5%\", not \"120%\"",
        ),
        ("ttl = \"1h\"", "5:7: error: \"ttl\" must be a table, in braces, not \"1h\""),
        (
            "ttl = { normal = \"1h\", low = \"2h\" }",
            "5:30: error: \"low\" is \"2h\", which is above \"normal\", 3600 s",
        ),
        ("ttl = { low = 4000 }", "5:15: error: \"low\" is 4000, which is above \"normal\", 3600 s"),
        (
            "ttl = { normal = 0 }",
            "5:18: error: \"normal\" must be a TTL from 1 s to 2147483647 s, such as \"1h\", \"1h30m\" or 5400, not 0",
        ),
        (
            "ttl = { normal = \"1y\" }",
            "5:18: error: \"normal\" must be a TTL from 1 s to 2147483647 s, such as \"1h\", \"1h30m\" or 5400, not \"1y\"",
        ),
        ("ttl = { spread = \"31m\" }", "5:18: error: \"spread\" is \"31m\", which is above half of \"normal\", 3600 s"),
        (
            "ttl = { spread = \"-\" }",
            "5:18: error: \"spread\" must be a duration in whole seconds, such as \"2m\" or 120, not \"-\"",
        ),
        (
            "ttl = { mode = \"stop\" }",
            "5:16: error: \"mode\" must be \"countdown\" or \"step\", not \"stop\" (did you mean \"step\"?)",
        ),
        (
            "ttl = { norma = 1 }",
            "5:9: error: unknown key \"norma\" in ttl (did you mean \"normal\"? known here: normal, low, spread, mode, max-wait, by-health)",
        ),
        ("probe = \"web\"", "5:9: error: there is no [probe.web] (none is known here)"),
        (
            "[[pool]]\nname = \"W.example.org.\"\nendpoint = [{ site = \"b\", address = [\"127.0.0.2\"], weight = 1 }]\n[[pool]]\nname = \"x.example.org\"",
            "6:8: error: pool \"W.example.org\" is already written on line 4",
        ),
    ] {
        let said = beside_endpoint(lines);
        let said: Vec<_> = said.iter().filter(|s| !s.contains("[[pool]] has no \"endpoint\"")).collect();
        assert_eq!(said, [&format!("w.toml:{expected}")], "{lines}");
    }
    let outside = told(&format!(
        "{HEAD}[[pool]]\nname = \"www.example.com\"\nendpoint = [{{ site = \"a\", srv = [\"1 1 1 a.\"], weight = 1 }}]\n"
    ));
    assert_eq!(
        outside,
        ["w.toml:4:8: error: pool \"www.example.com\" is outside the zones served (served: example.org)"]
    );
}

#[test]
fn each_mistake_in_an_endpoint_is_told_with_its_place() {
    let a = "address = [\"127.0.0.1\"]";
    let site = |rest: &str| format!("{{ site = \"a\", {rest} }}");
    for (endpoints, expected) in [
        (
            String::new(),
            "5:12: error: \"endpoint\" must be an array of endpoints, such as [{ site = \"dc1\", address = [\"127.0.0.12\"], weight = 100 }], not an empty array",
        ),
        (site(a), "5:13: error: the endpoint has no \"weight\""),
        (
            site("weight = 1"),
            "5:13: error: the endpoint of site \"a\" has no records (one of address, cname, https, svcb, srv, pool is wanted)",
        ),
        (
            site(&format!("{a}, weight = 1000001")),
            "5:61: error: \"weight\" must be a weight from 0 to 1000000, not 1000001",
        ),
        (site(&format!("{a}, weight = 0.5")), "5:61: error: \"weight\" must be a weight from 0 to 1000000, not 0.5"),
        (site(&format!("{a}, weight = 0")), "4:8: error: the weights of pool \"w.example.org\" add up to nothing"),
        (
            site(&format!("{a}, weight = 1, role = \"Spare\"")),
            "5:71: error: \"role\" must be \"never\" or \"spare\", not \"Spare\" (did you mean \"spare\"?)",
        ),
        (
            site(&format!("{a}, weight = 1, wieght = 2")),
            "5:64: error: unknown key \"wieght\" in the endpoint (did you mean \"weight\"? known here: site, weight, role, address, cname, https, svcb, srv, pool)",
        ),
        (
            format!("{{ site = \"aa\", {a}, weight = 1 }}"),
            "5:22: error: there is no [[site]] named \"aa\" (did you mean \"a\"? known here: a, b)",
        ),
        (
            site(&format!("{a}, weight = 1")) + ", " + &site("address = [\"127.0.0.2\"], weight = 1"),
            "5:75: error: site \"a\" is already in this pool, on line 5",
        ),
        (site("address = [\"127.0.0.1\", \"127.0.0.1\"], weight = 1"), "5:51: error: \"127.0.0.1\" is written twice"),
        (
            site("address = [\"127.0.0.1:80\"], weight = 1"),
            "5:38: error: \"address\" must be an IP address without a port, such as \"127.0.0.1\" or \"::1\", not \"127.0.0.1:80\"",
        ),
        (
            site("address = \"127.0.0.1\", weight = 1"),
            "5:37: error: \"address\" must be an array of IP addresses, such as [\"127.0.0.1\", \"::1\"], not \"127.0.0.1\"",
        ),
        (
            site(&format!("{a}, cname = \"x.\", weight = 1")),
            "5:60: error: the endpoint has the CNAME \"x.\" beside A (a CNAME stands alone (RFC 1034, 3.6.2))",
        ),
        (
            site("cname = \"W.example.org\", weight = 1"),
            "5:35: error: the CNAME of pool \"W.example.org\" points at itself",
        ),
        (
            site("https = [\"1 . alpn\"], weight = 1"),
            "5:36: error: \"1 . alpn\" is no RDATA of type HTTPS: \"alpn\" has no value (such as \"1 . alpn=h2\")",
        ),
        (
            site("srv = [\"1 1 1\"], weight = 1"),
            "5:34: error: \"1 1 1\" is no RDATA of type SRV: the target name is missing (such as \"10 5 443 host.example.org.\")",
        ),
        (site("srv = [\"1 1 1 x.\", \"1 1 1 x.\"], weight = 1"), "5:46: error: \"1 1 1 x.\" is written twice"),
        (
            site("cname = \"x.\", weight = 1") + ", { site = \"b\", address = [\"127.0.0.1\"], weight = 1 }",
            "5:64: error: pool \"w.example.org\" mixes types: site \"a\" has a CNAME, site \"b\" has A (a CNAME stands alone (RFC 1034, 3.6.2), also over time)",
        ),
        ("1".to_owned(), "5:13: error: \"endpoint\" must be a table, in braces, not 1"),
        // Doubts.
        (
            site(&format!("{a}, weight = 1")) + ", { site = \"b\", address = [\"127.0.0.2\", \"::1\"], weight = 1 }",
            "5:22: warning: site \"a\" has no AAAA, which other sites of the pool have (whoever is sent to \"a\" gets NODATA for it)",
        ),
        (
            site(&format!("{a}, weight = 1")) + ", { site = \"b\", address = [\"127.0.0.1\"], weight = 1 }",
            "5:75: warning: site \"b\" has an address of site \"a\": a flip between them moves nobody",
        ),
    ] {
        assert_eq!(of_pool(&format!("endpoint = [{endpoints}]\n")), [format!("w.toml:{expected}")], "{endpoints}");
    }
    let apex = told(&format!(
        "{HEAD}[[pool]]\nname = \"example.org\"\nendpoint = [{{ site = \"a\", cname = \"x.\", weight = 1 }}]\n"
    ));
    assert_eq!(
        apex,
        [
            "w.toml:4:8: error: pool \"example.org\" gives a CNAME at the apex of a zone, beside its SOA and NS (a CNAME stands alone (RFC 1034, 3.6.2))"
        ]
    );
}

#[test]
fn ten_mistakes_are_ten_diagnostics_from_top_to_bottom() {
    let text = r#"
[server]
listen = ["nowhere"]
worker = 4
[api]
listen = "::1"
[log]
format = "xml"
[[zone]]
name = "example.org"
[[site]]
name = "a"
[probe.web]
type = "icmp"
port = 80
[[pool]]
name = "www.example.org"
ttl = { normal = "1m", low = "1h" }
probe = "wbe"
endpoint = [
  { site = "b", address = ["127.0.0.1"], weight = 1 },
  { site = "a", address = ["127.0.0.300"], weight = 1 },
]
"#;
    let found = parse(text, Path::new("w.toml")).unwrap_err();
    let lines: Vec<_> = found.iter().filter_map(|d| Some(d.place.as_ref()?.line)).collect();
    assert_eq!(lines, [3, 4, 6, 8, 9, 13, 14, 18, 19, 21, 22], "ten errors, and the probe that no pool uses");
    let page = render(&found, false);
    assert!(page.ends_with("\n10 errors, 1 warning\n"), "{page}");
    assert!(page.contains(" --> w.toml:19:9\n"), "{page}");
    assert!(page.contains("19 | probe = \"wbe\"\n   |         ^^^^^\n"), "{page}");
}

#[test]
fn what_is_not_toml_is_told_by_its_line_and_nothing_is_guessed_from_it() {
    let value = beside_endpoint("policy = random\nprobe = \"web\"");
    assert_eq!(
        value,
        [
            "w.toml:5:10: error: this is not TOML: string values must be quoted, expected literal string",
            "w.toml:6:9: error: there is no [probe.web] (none is known here)",
        ]
    );
    let torn = told("[[zone\nname = \"example.org\"\n[[pool]]\nname = \"www.example.org\"\n[api]\nlisten = 1\n");
    assert_eq!(
        torn,
        [
            "w.toml:1:7: error: this is not TOML: unclosed array table, expected `]]`",
            "w.toml:6:10: error: \"listen\" must be an IP address with a port, such as \"127.0.0.1:5300\" or \"[::1]:5300\", not 1",
        ]
    );
}

#[test]
fn files_that_are_no_text_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.toml");
    let missing = load(&file).unwrap_err();
    assert_eq!(missing[0].message, "can't be read: No such file or directory (os error 2)");
    std::fs::write(&file, b"a = 1\nb = \"\xff\"\n").unwrap();
    let found = load(&file).unwrap_err();
    assert_eq!(found[0].message, "the octet 0xff is not UTF-8, as TOML must be");
    let place = found[0].place.as_ref().unwrap();
    assert_eq!((place.line, place.column), (2, 6));
    std::fs::write(&file, format!("\u{feff}{HEAD}").replace('\n', "\r\n")).unwrap();
    assert!(load(&file).is_ok(), "a byte order mark and CR LF");
}

/// The example with some octets changed, taken out or put in: near enough to reach all of the checks.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edit =
        (0..DESIGN.len(), 0..40_usize, prop_oneof![Just(String::new()), "\\PC{0,3}", "[\\[\\]{}=\",.0-9\n\\\\]{0,3}"]);
    proptest::collection::vec(edit, 1..6).prop_map(|edits| {
        let mut text = DESIGN.as_bytes().to_vec();
        for (at, length, put) in edits {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, put.bytes());
        }
        text
    })
}

proptest! {
    #[test]
    fn no_octets_panic(octets in prop_oneof![damaged(), proptest::collection::vec(any::<u8>(), 0..300)]) {
        if let Err(found) = parse(&String::from_utf8_lossy(&octets), Path::new("w.toml")) {
            prop_assert!(!found.is_empty());
            prop_assert!(!render(&found, true).is_empty());
            for d in &found {
                let Some(p) = &d.place else { continue };
                prop_assert!(p.line >= 1 && p.column >= 1 && p.length >= 1);
                prop_assert!(p.column <= p.source.chars().count() + 1);
            }
        }
    }

    #[test]
    fn no_value_panics(value in "\\PC{0,12}", key in 0..8_usize) {
        let value = format!("{value:?}").replace("\\u{", "\\\\u{").replace("\\'", "'");
        let key = ["site", "weight", "cname", "address", "https", "svcb", "srv", "role"][key];
        for value in [&value, &format!("[{value}]"), &format!("[\"1 . \" , {value}]")] {
            let found = of_pool(&format!("endpoint = [{{ site = \"a\", weight = 1, {key} = {value} }}]\n"));
            prop_assert!(found.len() < 8);
        }
    }

    #[test]
    fn no_rdata_panics(text in "[0-9]{0,2} [.a-z]{0,3} (alpn|port|ipv4hint|ipv6hint|mandatory|ech|key1|no-default-alpn)=?[\"\\\\,a-z0-9;()=: ]{0,8}") {
        for rtype in ["https", "svcb", "srv"] {
            of_pool(&format!("endpoint = [{{ site = \"a\", weight = 1, {rtype} = ['{text}'] }}]\n"));
        }
    }
}
