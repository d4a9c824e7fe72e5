//! Real programs on both sides of the forwarder. Shows that
//!
//! - `openssl s_client` makes a TLS connection through it, with the certificate of the site, and the server name that it asked
//!   for is counted,
//! - `iperf3` measures both directions, with several streams at once, and loses nothing,
//! - HAProxy, which believes its PROXY header, sees the client's address and the host that was peeked, in version 1 and 2.

#[path = "support/ports.rs"]
mod ports;
#[path = "support/running.rs"]
mod running;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ports::free_address;
use running::{Running, SOON, eventually, run, start, written};
use serde_json::Value;

const WAYPOST: &str = env!("CARGO_BIN_EXE_waypost");
fn listens(address: SocketAddr) {
    eventually("it listens", || TcpStream::connect(address).is_ok());
}

fn forward(folder: &Path, rules: &str) -> Running {
    let control = folder.join("control");
    let config = written(folder, "forward.toml", &format!("control = \"{}\"\n{rules}", control.display()));
    start(Command::new(WAYPOST).args(["forward", "--config"]).arg(config))
}

#[test]
fn openssl_speaks_tls_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let (entrance, site) = (free_address([127, 77, 4, 1]), free_address([127, 77, 4, 1]));
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=new.example.org", "-addext", "subjectAltName=DNS:new.example.org", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let _site = start(
        Command::new("openssl")
            .args(["s_server", "-www", "-accept", &site.to_string(), "-key"])
            .arg(&key)
            .arg("-cert")
            .arg(&certificate),
    );
    listens(site);
    let _forwarder = forward(
        folder.path(),
        &format!("[[rule]]\nname = \"tls\"\nlisten = \"{entrance}\"\ntarget = \"{site}\"\npeek = true\n"),
    );
    listens(entrance);
    let script = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -connect \"$0\" -servername new.example.org \
                  -verify_hostname new.example.org -verify_return_error -CAfile \"$1\" -ign_eof";
    let client = run(Command::new("sh").args(["-c", script, &entrance.to_string()]).arg(&certificate));
    let told = String::from_utf8_lossy(&client.stdout);
    assert!(client.status.success() && told.contains("Verify return code: 0 (ok)"), "{told}");
    assert!(told.contains("HTTP/1.0 200 ok"), "{told}");

    let status = Command::new(WAYPOST)
        .args(["forward", "status", "--json", "--control"])
        .arg(folder.path().join("control"))
        .output()
        .unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("new.example.org"), "{status}");
}

#[test]
fn iperf3_measures_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let (entrance, site) = (free_address([127, 77, 4, 1]), free_address([127, 77, 4, 1]));
    let port = site.port().to_string();
    let _site = start(Command::new("iperf3").args(["-s", "-B", &site.ip().to_string(), "-p", &port]));
    listens(site);
    let _forwarder = forward(folder.path(), &format!("[[rule]]\nlisten = \"{entrance}\"\ntarget = \"{site}\"\n"));
    for direction in [&["--bytes", "64M"][..], &["--bytes", "64M", "-R", "-P", "4"]] {
        let (host, port) = (entrance.ip().to_string(), entrance.port().to_string());
        let begun = Instant::now();
        let report = loop {
            let report = run(Command::new("iperf3").args(["-J", "-c", &host, "-p", &port]).args(direction));
            let report: Value = serde_json::from_slice(&report.stdout).unwrap();
            // It serves one at a time, and may not be done with the last; with -J a failure is no exit code.
            if report.get("error").is_none() || begun.elapsed() > SOON {
                break report;
            }
            thread::sleep(Duration::from_millis(200));
        };
        assert!(report.get("error").is_none(), "{report}");
        // What is under way when it ends is not counted as received.
        let octets = |side: &str| report["end"][side]["bytes"].as_u64().unwrap();
        assert!(
            octets("sum_sent") >= 64 << 20 && octets("sum_received") >= 32 << 20,
            "{}",
            report["end"]["sum_received"]
        );
    }
}

#[test]
fn haproxy_believes_both_versions_of_the_header() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, site) =
        (free_address([127, 77, 4, 1]), free_address([127, 77, 4, 1]), free_address([127, 77, 4, 1]));
    let config = written(
        folder.path(),
        "haproxy.cfg",
        &format!(
            "global\n  nbthread 1\ndefaults\n  mode http\n  timeout client 20s\n  timeout connect 5s\n  timeout server 5s\n\
             frontend f\n  bind {site} accept-proxy\n\
             \x20 http-request return status 200 content-type text/plain lf-string \"%[src] %[fc_pp_authority] %[req.hdr(host)]\"\n"
        ),
    );
    let _site = start(Command::new("haproxy").arg("-db").arg("-f").arg(&config));
    listens(site);
    let rule = |listen, version| {
        format!("[[rule]]\nlisten = \"{listen}\"\ntarget = \"{site}\"\npeek = true\nproxy-protocol = \"{version}\"\n")
    };
    let _forwarder = forward(folder.path(), &format!("{}{}", rule(first, "v1"), rule(second, "v2")));
    for (entrance, authority) in [(first, ""), (second, "old.example.org")] {
        listens(entrance);
        let resolve = format!("old.example.org:{}:{}", entrance.port(), entrance.ip());
        let url = format!("http://old.example.org:{}/", entrance.port());
        let mut curl = Command::new("curl");
        let got = run(curl.args(["-sS", "--max-time", "20", "--interface", "127.0.0.9", "--resolve", &resolve, &url]));
        let expected = format!("127.0.0.9 {authority} old.example.org:{}", entrance.port());
        assert_eq!(String::from_utf8_lossy(&got.stdout), expected, "{got:?}");
    }
}
