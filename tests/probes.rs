//! Probes against the programs that people run, tried by `waypost probe` as an operator would:
//! - nginx over HTTP/1.1, HTTP/2 with prior knowledge, TLS with ALPN; status, body, method, Host and headers;
//! - certificates: valid, expired, self-signed, pinned, of an authority of one's own, for another name, not verified.

mod support;

use std::fs;
use std::process::Command;

use support::programs::{Certificates, Program, found, free_port};
use support::{folder, waypost};

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

/// That it is not, for this reason.
#[track_caller]
fn is_not_up(address: &str, probe: &str, reason: &str) {
    let (code, text) = tried(address, probe);
    assert!(code == 1 && text.contains(&format!("not up: {reason}")), "{probe}\n{reason}\n{text}");
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
