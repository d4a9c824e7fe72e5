//! Probes against the programs that people run, tried by `waypost probe` as an operator would:
//! - nginx over HTTP/1.1, HTTP/2 with prior knowledge, TLS with ALPN; status, body, method, Host and headers;
//! - haproxy over TCP, TLS and HTTP/2; BIND over UDP and TCP; gRPC's own library; a real Prometheus; a command;
//! - values pushed by the API, which hold for a time; a family of addresses that fails is withdrawn alone;
//! - certificates: valid, expired, self-signed, pinned, of an authority of one's own, for another name, not verified.

mod support;

use std::fs;
use std::net::IpAddr;
use std::process::Command;

use hickory_proto::rr::RecordType as T;
use serde_json::{Value, json};
use support::dns::{addresses, ttl};
use support::origin::Origin;
use support::ports::free_address;
use support::programs::{Certificates, Program, found};
use support::{DC1, EC2, HEAD, Reply, Server, folder, pool, waypost};

const WWW: &str = "www.example.org";

/// What `waypost probe p` says of one endpoint at `address` with this `[probe.p]`: its exit code, and all it prints.
fn tried(address: &str, probe: &str) -> (i32, String) {
    let config = format!(
        "[server]\nname = \"t\"\n[[zone]]\nname = \"example.org\"\nfile = \"example.org.zone\"\n[[site]]\nname = \"ec2\"\n\
         [probe.p]\n{probe}\n[[pool]]\nname = \"www.example.org\"\nprobe = \"p\"\n\
         endpoint = [{{ site = \"ec2\", address = [\"{address}\"], weight = 1 }}]\n"
    );
    let folder = folder(&config);
    let output =
        waypost().args(["probe", "p", "--config", "waypost.toml"]).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

/// That the endpoint is up, and this is in what is told.
#[track_caller]
fn is_up(address: &str, probe: &str, told: &str) {
    let (code, text) = tried(address, probe);
    assert!(code == 0 && text.contains(told), "{probe}\n{told}\n{text}");
}

/// Waits until it is up.
#[track_caller]
fn until_up(address: &str, probe: &str) {
    let until = std::time::Instant::now() + support::SOON;
    while tried(address, probe).0 != 0 {
        assert!(std::time::Instant::now() < until, "{}", tried(address, probe).1);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// That it is not, for this reason.
#[track_caller]
fn is_not_up(address: &str, probe: &str, reason: &str) {
    let (code, text) = tried(address, probe);
    assert!(code == 1 && text.contains(&format!("not up: {reason}")), "{probe}\n{reason}\n{text}");
}

/// A port that is free at `address`.
fn free_port(address: &str) -> u16 {
    free_address(address.parse::<IpAddr>().unwrap()).port()
}

/// nginx at `address` with these servers in its configuration.
fn nginx(address: &str, port: u16, servers: &str) -> Option<Program> {
    let nginx = found("nginx")?;
    let folder = tempfile::TempDir::new().unwrap();
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{ }}\n\
         http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; \
         scgi_temp_path s;\n{servers}\n}}\n"
    );
    fs::write(folder.path().join("nginx.conf"), config).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
    Some(Program::start(command, folder, format!("{address}:{port}").parse().unwrap()))
}

#[test]
fn nginx_over_http() {
    let at = "127.61.1.1";
    let (port, h2c) = (free_port(at), free_port(at));
    let servers = format!(
        "server {{ listen {at}:{port}; server_name www.example.org;\n\
         location / {{ return 200 \"host=$host agent=$http_user_agent x=$http_x_check method=$request_method\\n\"; }}\n\
         location /down {{ return 503 sorry; }}\n location /moved {{ return 301 /; }} }}\n\
         server {{ listen {at}:{port} default_server; return 421; }}\n\
         server {{ listen {at}:{h2c} http2; return 200 \"$server_protocol\"; }}"
    );
    let Some(_nginx) = nginx(at, port, &servers) else { return };
    let http = format!("type = \"http\"\nport = {port}");
    is_up(at, &http, "up: status 200\n");
    is_up(at, &format!("{http}\nexpect = \"host=www.example.org agent=waypost-probe/\""), "body as expected");
    is_up(at, &format!("{http}\nheaders = {{ X-Check = \"yes\" }}\nexpect-regex = \"x=(yes|no) method=GET\""), "200");
    is_up(at, &format!("{http}\nmethod = \"HEAD\""), "HTTP/1.1 200");
    is_up(at, &format!("{http}\npath = \"/moved\""), "up: status 301");
    is_not_up(at, &format!("{http}\nhost = \"else.example\""), "status 421, expected 200-399");
    is_not_up(at, &format!("{http}\npath = \"/moved\"\nstatus = \"200-299\""), "status 301, expected 200-299");
    is_not_up(
        at,
        &format!("{http}\npath = \"/down\"\nstatus = [\"200-299\", 304]"),
        "status 503, expected 200-299, 304",
    );
    is_not_up(
        at,
        &format!("{http}\nexpect = \"all is well\""),
        "body does not contain \"all is well\"; it begins with",
    );
    is_not_up(at, &format!("type = \"http\"\nport = {}", free_port(at)), "connection refused");

    let two = format!("type = \"http\"\nport = {h2c}\nversion = \"2\"");
    is_up(at, &format!("{two}\nexpect = \"HTTP/2.0\""), "HTTP/2.0 200");
    is_not_up(at, &format!("{http}\nversion = \"2\""), "");
}

#[test]
fn nginx_over_tls() {
    let at = "127.61.2.1";
    let certificates = Certificates::make();
    let [valid, expired, selfsigned, plain] = [(); 4].map(|()| free_port(at));
    let server = |port: u16, kind: &str, more: &str| {
        format!(
            "server {{ listen {at}:{port} ssl {more}; ssl_certificate {0}; ssl_certificate_key {1};\n\
             return 200 \"$server_protocol $ssl_server_name\"; }}\n",
            certificates.path(&format!("{kind}.pem")),
            certificates.path(&format!("{kind}.key"))
        )
    };
    let servers = server(valid, "valid", "http2")
        + &server(expired, "expired", "")
        + &server(selfsigned, "selfsigned", "")
        + &format!("server {{ listen {at}:{plain}; }}");
    let Some(_nginx) = nginx(at, valid, &servers) else { return };
    let https = |port: u16| format!("type = \"https\"\nport = {port}");
    let ca = format!("ca-file = \"{}\"", certificates.path("ca.pem"));

    is_up(
        at,
        &format!("{}\n{ca}\nexpect = \"HTTP/2.0 www.example.org\"", https(valid)),
        " for www.example.org, ALPN h2",
    );
    is_up(at, &format!("{}\n{ca}\nversion = \"1.1\"\nexpect = \"HTTP/1.1\"", https(valid)), "ALPN http/1.1");
    is_up(at, &format!("{}\n{ca}\nversion = \"2\"", https(valid)), "HTTP/2.0 200");
    is_up(at, &format!("{}\n{ca}\nhost = \"else.example\"\nsni = \"www.example.org\"", https(valid)), "status 200");
    is_not_up(
        at,
        &format!("{}\n{ca}\nsni = \"else.example\"", https(valid)),
        "certificate is for DnsName(\"www.example.org\"), not for else.example",
    );
    is_not_up(at, &https(valid), "certificate is not signed by an authority that is trusted");
    is_not_up(at, &format!("{}\n{ca}", https(expired)), "certificate expired on 2020-01-02T00:00:00Z");
    is_not_up(at, &format!("{}\n{ca}", https(selfsigned)), "certificate is not signed by an authority that is trusted");
    is_not_up(at, &https(plain), "TLS: ");

    // A pin trusts the key, and nothing but the key.
    let pinned = |port, kind: &str| format!("{}\npins = [\"{}\"]", https(port), certificates.pin(kind));
    is_up(at, &pinned(selfsigned, "selfsigned"), "key sha256/");
    is_up(at, &pinned(expired, "expired"), "status 200");
    is_not_up(at, &pinned(selfsigned, "valid"), "certificate: its key is sha256/");
    is_up(at, &format!("{}\nverify = false", https(expired)), "status 200");
    is_not_up(
        at,
        &format!("{}\nverify = false\nversion = \"2\"", https(expired)),
        "TLS: the server takes no protocol that is offered by ALPN",
    );

    is_up(at, &format!("type = \"tcp\"\nport = {valid}\ntls = true\n{ca}"), "connected");
    let talk = "send = \"GET / HTTP/1.0\\r\\n\\r\\n\"\nexpect-regex = \"^HTTP/1.1 [23]\"";
    is_up(at, &format!("type = \"tcp\"\nport = {expired}\ntls = true\nverify = false\n{talk}"), "answer as expected");
    is_not_up(at, &format!("type = \"tcp\"\nport = {expired}\ntls = true\n{ca}"), "certificate expired on 2020-01-02");
}

#[test]
fn haproxy_over_tcp_tls_and_http2() {
    let at = "127.61.3.1";
    let Some(haproxy) = found("haproxy") else { return };
    let certificates = Certificates::make();
    let (plain, tls) = (free_port(at), free_port(at));
    let folder = tempfile::TempDir::new().unwrap();
    let read = |file: &str| fs::read_to_string(certificates.path(file)).unwrap();
    fs::write(folder.path().join("both.pem"), read("valid.pem") + &read("valid.key")).unwrap();
    let config = format!(
        "defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n\
         frontend plain\n bind {at}:{plain}\n http-request return status 200 content-type text/plain string \"ready\"\n\
         frontend tls\n bind {at}:{tls} ssl crt both.pem alpn h2,http/1.1\n\
         http-request return status 429 content-type text/plain string \"busy\"\n"
    );
    fs::write(folder.path().join("haproxy.cfg"), config).unwrap();
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f", "haproxy.cfg"]);
    let _haproxy = Program::start(command, folder, format!("{at}:{plain}").parse().unwrap());
    let ca = format!("ca-file = \"{}\"", certificates.path("ca.pem"));
    is_up(at, &format!("type = \"tcp\"\nport = {plain}"), "up: connected");
    is_up(at, &format!("type = \"tcp\"\nport = {tls}\ntls = true\n{ca}"), "up: connected");
    is_up(at, &format!("type = \"http\"\nport = {plain}\nversion = \"2\"\nexpect = \"ready\""), "HTTP/2.0 200");
    is_up(
        at,
        &format!("type = \"https\"\nport = {tls}\n{ca}\nversion = \"2\"\nstatus = 429\nexpect-regex = \"^busy$\""),
        "HTTP/2.0 429",
    );
    is_not_up(at, &format!("type = \"https\"\nport = {tls}\n{ca}"), "status 429, expected 200-399");
}

#[test]
fn bind_over_udp_and_tcp() {
    let at = "127.0.0.1"; // BIND listens only where an interface has the very address
    let Some(named) = found("named") else { return };
    let port = free_port(at);
    let folder = tempfile::TempDir::new().unwrap();
    let config = format!(
        "options {{ directory \"{0}\"; pid-file none; session-keyfile none; listen-on port {port} {{ {at}; }}; listen-on-v6 {{ none; }}; \
         recursion no; }};\ncontrols {{ }};\nzone \"example.org\" {{ type primary; file \"zone\"; }};\n",
        folder.path().display()
    );
    fs::write(folder.path().join("named.conf"), config).unwrap();
    fs::write(folder.path().join("zone"), support::ZONE).unwrap();
    let mut command = Command::new(named);
    command.args(["-g", "-c", "named.conf"]);
    let _named = Program::start(command, folder, format!("{at}:{port}").parse().unwrap());
    let dns = format!("type = \"dns\"\nport = {port}");
    until_up(at, &dns); // it listens before its zone is read
    for dns in [dns.clone(), format!("{dns}\ntransport = \"tcp\"")] {
        is_up(at, &dns, "NOERROR: 192.0.2.99\n");
        is_up(at, &format!("{dns}\nexpect = \"192.0.2.99\""), "up: NOERROR, answer as expected");
        is_up(at, &format!("{dns}\nquery = \"nobody.example.org\"\nrcode = \"NXDOMAIN\""), "up: NXDOMAIN");
        is_not_up(at, &format!("{dns}\nexpect = \"192.0.2.9\""), "answer \"192.0.2.99\", expected \"192.0.2.9\"");
        is_not_up(at, &format!("{dns}\nquery = \"example.net\""), "RCODE REFUSED, expected NOERROR");
        is_up(
            at,
            &format!("{dns}\nquery = \"example.org\"\nquery-type = \"SOA\"\nexpect-regex = \" 2026010101 \""),
            "expected",
        );
    }
    is_not_up(at, &format!("type = \"dns\"\nport = {}", free_port(at)), "connection refused");
}

/// A server of gRPC's own library, whose answer depends on the service asked after.
const GRPC_SERVER: &str = r#"
import sys, time
from concurrent import futures
import grpc
def check(request, context):
    service = request[2:].decode()
    if service in ("", "good"): return b"\x08\x01"
    if service == "bad": return b"\x08\x02"
    context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
method = grpc.unary_unary_rpc_method_handler(check)
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method}),))
server.add_insecure_port(sys.argv[1])
read = lambda name: open(name, "rb").read()
server.add_secure_port(sys.argv[2], grpc.ssl_server_credentials([(read(sys.argv[3]), read(sys.argv[4]))]))
server.start()
time.sleep(600)
"#;

#[test]
fn grpc_by_its_own_library() {
    let at = "127.61.5.1";
    let Some(python) = found("python3") else { return };
    // Debian's grpc library is seen by Debian's python.
    let there = Command::new("/usr/bin/python3").args(["-c", "import grpc"]).output().is_ok_and(|o| o.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "python3-grpcio is missing: tests/setup.sh installs it");
    if !there {
        return eprintln!("skipped: python3-grpcio is missing");
    }
    let certificates = Certificates::make();
    let (plain, tls) = (free_port(at), free_port(at));
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = Command::new(python);
    command.args(["-c", GRPC_SERVER, &format!("{at}:{plain}"), &format!("{at}:{tls}")]);
    command.args([certificates.path("valid.key"), certificates.path("valid.pem")]);
    let _server = Program::start(command, folder, format!("{at}:{tls}").parse().unwrap());
    let grpc = format!("type = \"grpc\"\nport = {plain}");
    is_up(at, &grpc, "up: SERVING");
    is_up(at, &format!("{grpc}\nservice = \"good\""), "up: SERVING");
    is_not_up(at, &format!("{grpc}\nservice = \"bad\""), "NOT_SERVING, expected SERVING");
    is_not_up(at, &format!("{grpc}\nservice = \"other\""), "gRPC status 5: unknown service");
    let ca = format!("ca-file = \"{}\"", certificates.path("ca.pem"));
    is_up(at, &format!("type = \"grpc\"\nport = {tls}\ntls = true\n{ca}"), "up: SERVING");
    is_not_up(at, &format!("type = \"grpc\"\nport = {tls}\ntls = true"), "certificate is not signed by");
}

#[test]
fn a_real_prometheus() {
    let at = "127.61.6.1";
    let Some(prometheus) = found("prometheus") else { return };
    let port = free_port(at);
    let folder = tempfile::TempDir::new().unwrap();
    fs::write(folder.path().join("p.yml"), "scrape_configs: []\n").unwrap();
    let mut command = Command::new(prometheus);
    command.args(["--config.file=p.yml", "--storage.tsdb.path=data", &format!("--web.listen-address={at}:{port}")]);
    let _prometheus = Program::start(command, folder, format!("{at}:{port}").parse().unwrap());
    let ask = |query: &str, expect: &str| {
        format!("type = \"prometheus\"\nurl = \"http://{at}:{port}\"\nquery = '{query}'\nexpect = \"{expect}\"")
    };
    until_up(at, &ask("vector(1)", "== 1")); // it listens before its storage is ready
    is_up(at, &ask("vector(0.03)", "< 0.05"), "up: value 0.03");
    is_up(at, &ask("3", ">= 3"), "up: value 3");
    is_up(
        at,
        &ask(
            "label_replace(vector(1), \"s\", \"$site\", \"\", \"\") == on(s) label_replace(vector(1), \"s\", \"ec2\", \"\", \"\")",
            "== 1",
        ),
        "up: value 1",
    );
    is_not_up(
        at,
        &ask("vector(0.05) or label_replace(vector(0.01), \"a\", \"b\", \"\", \"\")", "< 0.05"),
        "value 0.05, expected < 0.05",
    );
    is_not_up(at, &ask("absent_metric", "< 1"), "unknown: the query gives no value");
    is_not_up(at, &format!("{}\nmax-age = \"30s\"", ask("absent_metric", "< 1")), "unknown: the query gives no value");
    is_not_up(at, &ask("vector(0) / 0", "< 1"), "unknown: the query gives NaN");
    is_not_up(at, &ask("sum(", "< 1"), "unknown: Prometheus: refused: ");
    let nobody = format!("http://{at}:{}", free_port(at));
    is_not_up(
        at,
        &ask("1", "< 1").replace(&format!("http://{at}:{port}"), &nobody),
        "unknown: Prometheus: connection refused",
    );
}

#[test]
fn a_command_is_told_whom_it_is_about() {
    let script = "echo \"$WAYPOST_POOL $WAYPOST_SITE $WAYPOST_FAMILY $WAYPOST_ADDRESS\"; exit $0";
    let command = |code: u8| format!("type = \"command\"\ncommand = [\"/bin/sh\", \"-c\", '{script}', \"{code}\"]");
    is_up("192.0.2.1", &command(0), "up: exit 0: www.example.org ec2 ipv4 192.0.2.1");
    is_not_up("2001:db8::1", &command(2), "exit 2: www.example.org ec2 ipv6 2001:db8::1");
    let slow = "type = \"command\"\ncommand = [\"/bin/sleep\", \"60\"]\ntimeout = \"200ms\"";
    is_not_up("192.0.2.1", slow, "no answer in 200ms (run)");
}

/// What the status says of an endpoint's health.
fn health(server: &Server, name: &str, endpoint: usize) -> Value {
    server.pool(name)["endpoints"][endpoint]["health"].clone()
}

#[test]
fn pushed_values_hold_for_their_time() {
    let probes = "[probe.strict]\ntype = \"push\"\nwhen-expired = \"down\"\n[probe.kept]\ntype = \"push\"\n";
    let (strict, kept) = ("strict.example.org", "kept.example.org");
    let pools = pool(strict, 50, 50, "probe = \"strict\"")
        + &pool(kept, 50, 50, "probe = \"kept\"")
        + &pool("plain.example.org", 1, 0, "");
    let mut server = Server::start(&format!("{HEAD}{probes}{pools}"));
    let push = |server: &Server, pool: &str, site: &str, value: Value| -> Reply {
        server.api("PUT", &format!("/api/v1/pools/{pool}/endpoints/{site}/health"), value, &[])
    };
    let given =
        |server: &Server, pool: &str, address: &str| (0..40).any(|client| server.address_for(pool, client) == address);
    assert_eq!(health(&server, strict, 0)["state"], "unknown");
    assert!(given(&server, strict, EC2), "unknown counts as up");

    let answer = push(&server, strict, "ec2", json!({"up": false, "for": "1h", "reason": "disk full"})).done();
    assert_eq!((&answer["up"], &answer["generation"]), (&json!(false), &json!(1)), "no generation is made");
    assert!(!given(&server, strict, EC2) && given(&server, strict, DC1));
    let seen = health(&server, strict, 0)["seen"].to_string();
    assert!(seen.contains("says admin: disk full"), "{seen}");
    let page = server.api("GET", "/metrics", Value::Null, &[]).text;
    assert!(page.contains("waypost_probe_observations_total{probe=\"strict\",result=\"down\"} 1"), "{page}");

    // It is still known after a restart.
    server.terminate();
    server.start_again();
    assert!(!given(&server, strict, EC2));
    assert_eq!(health(&server, strict, 0)["expires_at"], answer["expires_at"]);

    push(&server, strict, "ec2", json!({"up": true, "for": "1s"})).done();
    push(&server, kept, "ec2", json!({"up": false, "for": "1s"})).done();
    push(&server, kept, "ec2", json!({"up": true, "for": "1s"})).done();
    server.wait_for("ec2 to be taken out", |s| !given(s, strict, EC2));
    server.wait_for("the warnings", |s| {
        let warnings = s.status()["warnings"].to_string();
        warnings.contains("pool strict.example.org: what was pushed of ec2 has expired")
            && warnings.contains("pool kept.example.org: what was pushed of ec2 has expired")
    });
    assert!(given(&server, kept, EC2), "its health stays as it was");
    push(&server, strict, "ec2", json!({"up": true, "for": 3600})).done();
    assert!(given(&server, strict, EC2), "the next value counts at once");
    assert!(!server.status()["warnings"].to_string().contains("pool strict"));

    let value = json!({"up": true, "for": "90s"});
    let told = push(&server, "plain.example.org", "ec2", value.clone()).refused(409);
    assert_eq!(told, "pool plain.example.org has no probe, so nothing can be pushed to it");
    push(&server, "none.example.org", "ec2", value.clone()).refused(404);
    push(&server, strict, "mars", value).refused(404);
    push(&server, strict, "ec2", json!({"up": true})).refused(400);
}

#[test]
fn a_family_is_withdrawn_alone() {
    let (port, origins) = Origin::at(&["127.61.8.1", "::1"]);
    let probe = format!(
        "[probe.web]\ntype = \"http\"\nport = {port}\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 2\n"
    );
    let hints = "https = [\"1 . alpn=h2 ipv4hint=127.61.8.1 ipv6hint=::1\"]";
    let endpoint = format!("{{ site = \"ec2\", address = [\"127.61.8.1\", \"::1\"], {hints}, weight = 1 }}");
    let ttls = "ttl = { normal = \"1h\", low = \"30s\" }";
    let pool = format!("[[pool]]\nname = \"{WWW}\"\nprobe = \"web\"\n{ttls}\nendpoint = [{endpoint}]\n");
    let server = Server::start(&format!("{HEAD}{probe}{pool}"));
    let answered = |server: &Server| [T::A, T::AAAA].map(|rtype| addresses(&server.ask(WWW, rtype)));
    let both = [vec!["127.61.8.1".to_owned()], vec!["::1".to_owned()]];
    let withdrawn = |server: &Server| health(server, WWW, 0)["withdrawn"].clone();
    assert_eq!(answered(&server), both);

    origins[1].fail();
    server.wait_for("IPv6 to be withdrawn", |s| withdrawn(s) == "ipv6");
    assert_eq!(answered(&server), [both[0].clone(), vec![]]);
    let nodata = server.ask(WWW, T::AAAA);
    assert_eq!(nodata.metadata.response_code, hickory_proto::op::ResponseCode::NoError);
    assert_eq!((nodata.authorities[0].ttl, ttl(&server.ask(WWW, T::A))), (30, 30), "no longer than the steered TTL");
    let https = server.ask(WWW, T::HTTPS).answers[0].data.to_string();
    assert!(https.contains("127.61.8.1") && !https.contains("::1"), "{https}");
    assert_eq!(health(&server, WWW, 0)["state"], "up");
    let page = server.api("GET", "/metrics", Value::Null, &[]).text;
    let line = "waypost_endpoint_family_withdrawn{pool=\"www.example.org\",site=\"ec2\",family=\"ipv6\"} 1";
    assert!(page.contains(line), "{page}");
    let explained = server.get("/api/v1/explain?name=www.example.org&type=AAAA&client=192.0.2.1")["steps"].to_string();
    assert!(explained.contains("IPv6 of ec2 is withdrawn"), "{explained}");

    // An operator's word is about the whole endpoint.
    server.force(WWW, "ec2", "up").done();
    assert_eq!(answered(&server), both);
    server.force(WWW, "ec2", "obey").done();
    assert_eq!(answered(&server), [both[0].clone(), vec![]]);

    origins[0].fail();
    server.wait_for("fail open", |s| s.pool(WWW)["mode"] == "fail-open");
    assert_eq!(answered(&server), both, "down is when all families are, and somebody must be answered");
    origins[1].recover();
    server.wait_for("IPv4 to be withdrawn", |s| withdrawn(s) == "ipv4");
    assert_eq!(answered(&server), [vec![], both[1].clone()]);
    origins[0].recover();
    server.wait_for("both families", |s| withdrawn(s).is_null());
    assert_eq!(answered(&server), both);
}
