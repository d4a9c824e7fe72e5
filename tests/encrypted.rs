//! DNS over TLS, QUIC and HTTPS, asked by Debian's kdig, which verifies the certificate:
//! - the same answers as over UDP, steered ones too, and they count for the horizon;
//! - padded where the query is (RFC 8467);
//! - a new certificate is taken without a restart; a missing one is told before anything is served.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{EC2, HEAD, Server, folder, pool};

/// Loopback addresses of this test process, so that fixed ports are free on them.
fn own_address(last: u8) -> String {
    let id = std::process::id();
    format!("127.{}.{}.{last}", 20 + id % 200, id / 200 % 250)
}

/// A self-signed certificate for ns1.example.org.
#[track_caller]
fn make_certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=ns1.example.org"])
        .args(["-addext", "subjectAltName=DNS:ns1.example.org"])
        .current_dir(folder)
        .output()
        .expect("openssl can be run: on Debian from the package openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn server(last: u8) -> (Server, String) {
    let at = own_address(last);
    let tls = format!(
        "state = \"state\"\ntls = {{ certificate = \"cert.pem\", key = \"key.pem\", listen = [\"{at}:8853\"], \
         quic = [\"{at}:8854\"], https = [\"{at}:8443\"] }}"
    );
    let config = HEAD.replacen("state = \"state\"", &tls, 1);
    let folder = folder(&format!("{config}{}", pool("www.example.org", 100, 0, "")));
    make_certificate(folder.path());
    (Server::start_in(folder), at)
}

fn kdig(server: &Server, at: &str, arguments: &[&str]) -> String {
    let output = Command::new("kdig")
        .arg(format!("@{at}"))
        .args([&format!("+tls-ca={}", server.file("cert.pem").display()), "+tls-hostname=ns1.example.org", "+time=5"])
        .args(arguments)
        .output()
        .expect("kdig can be run: on Debian from the package knot-dnsutils");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn each_transport_gives_the_same_answers() {
    let (server, at) = server(1);
    for way in [&["+tls", "-p", "8853"][..], &["+https", "-p", "8443"], &["+quic", "-p", "8854"]] {
        let steered = kdig(&server, &at, &[way, &["www.example.org", "A"]].concat());
        assert!(steered.contains("status: NOERROR") && steered.contains(EC2), "{way:?}: {steered}");
        assert!(steered.contains("Flags: qr aa rd"), "{way:?}: {steered}");
        let chain = kdig(&server, &at, &[way, &["alias.example.org", "A", "+short"]].concat());
        assert_eq!(chain, format!("www.example.org.\n{EC2}\n"), "{way:?}");
        let nothing = kdig(&server, &at, &[way, &["nothing.example.org", "A"]].concat());
        assert!(nothing.contains("status: NXDOMAIN") && nothing.contains("SOA"), "{way:?}: {nothing}");
    }
    let ec2 = &server.pool("www.example.org")["endpoints"][0];
    assert_eq!(ec2["answers"], 6, "what is answered encrypted counts, for the horizon too: {ec2}");
    assert!(ec2["horizon"][0]["seconds_left"].as_u64().unwrap() > 3500, "{ec2}");
}

#[test]
fn a_padded_query_has_a_padded_answer() {
    let (server, at) = server(2);
    let padded = kdig(&server, &at, &["+tls", "-p", "8853", "+padding", "www.example.org", "A"]);
    assert!(padded.contains(";; Received 468 B"), "{padded}");
    let plain = kdig(&server, &at, &["+tls", "-p", "8853", "+nopadding", "www.example.org", "A"]);
    assert!(!plain.contains("PADDING"), "{plain}");
}

#[test]
fn a_new_certificate_is_taken_without_a_restart() {
    let (server, at) = server(3);
    let answered = |server: &Server| {
        kdig(server, &at, &["+tls", "-p", "8853", "www.example.org", "A"]).contains("status: NOERROR")
    };
    assert!(answered(&server));
    make_certificate(server.path());
    assert!(!answered(&server), "kdig trusts the new one only");
    server.wait_for("the new certificate", |server| answered(server));
    assert!(server.log().contains("a new certificate is in use"), "{}", server.log());
}

#[test]
fn a_certificate_that_is_missing_is_told() {
    let (mut server, _) = server(4);
    server.terminate();
    fs::remove_file(server.file("cert.pem")).unwrap();
    let output = server.fail_to_start(&[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("(TLS): cert.pem: No such file or directory"), "{told}");
}
