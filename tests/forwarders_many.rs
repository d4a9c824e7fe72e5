//! What a thousand forwarders cost their authority: `cargo test --release --test forwarders_many -- --ignored --nocapture`.
//!
//! Streams over TLS that stay open, a report of each within half a minute, one in ten busy with twenty changed sources every
//! five seconds. The CPU time of the server's process is taken from the
//! kernel while all is steady; the clients' is their own.

mod support;

use std::fs;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use support::{HEAD, Server, folder, pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waypost::api::token::sha256;

const FORWARDERS: u32 = 1000;
const MEASURED: Duration = Duration::from_secs(20);

#[test]
#[ignore = "it takes the machine for half a minute"]
fn a_thousand_forwarders_cost_little() {
    let named = |n| format!("[[forwarder]]\nname = \"old-{n}\"\ntoken-sha256 = \"{}\"\n", sha256(token(n).as_bytes()));
    let forwarders = (0..FORWARDERS).map(named).collect::<Vec<_>>().concat();
    let config = format!("{HEAD}{}{forwarders}", pool("www.example.org", 0, 100, ""));
    let config = config.replacen("[api]", "[api]\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }", 1);
    let folder = folder(&config);
    make_certificate(folder.path());
    let server = Server::start_in(folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connector = connector(&server.file("cert.pem"));
        let begun = Instant::now();
        for n in 0..FORWARDERS {
            let (streaming, reporting, api) = (connector.clone(), connector.clone(), server.api);
            tokio::spawn(async move { stream(&streaming, api, n).await });
            tokio::spawn(async move { reports(&reporting, api, n).await });
            if n % 50 == 0 {
                sleep(Duration::from_millis(20)).await;
            }
        }
        // All are connected and have reported once.
        sleep(Duration::from_secs(8).saturating_sub(begun.elapsed())).await;
        let before = cpu_ms(&server);
        let begun = Instant::now();
        sleep(MEASURED).await;
        let used = cpu_ms(&server) - before;
        let part = used as f64 / begun.elapsed().as_millis() as f64 * 100.0;
        println!("{FORWARDERS} forwarders: {part:.2} % of a core");
        assert!(part < 5.0 || cfg!(debug_assertions), "{part} %");
    });
    let log = server.log();
    assert_eq!(log.matches("forwarder connected").count(), FORWARDERS as usize, "all stayed");
    assert!(!log.contains("forwarder disconnected"));
}

fn token(n: u32) -> String {
    format!("0123456789abcdef-{n}")
}

/// Of its process so far.
fn cpu_ms(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid().as_raw_nonzero())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // User and system time, in hundredths of a second (proc(5)).
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}

async fn connect(connector: &TlsConnector, api: std::net::SocketAddr) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(api).await.unwrap();
    connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap()
}

async fn stream(connector: &TlsConnector, api: std::net::SocketAddr, n: u32) {
    let mut stream = connect(connector, api).await;
    let head = format!(
        "GET /api/v1/forwarders/old-{n}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        token(n)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut octets = [0; 4096];
    while stream.read(&mut octets).await.is_ok_and(|count| count > 0) {}
}

/// As a forwarder does: every half minute when nothing happens, every five seconds when something does.
async fn reports(connector: &TlsConnector, api: std::net::SocketAddr, n: u32) {
    let busy = n.is_multiple_of(10);
    let every = Duration::from_secs(if busy { 5 } else { 30 });
    let mut next = tokio::time::Instant::now() + every.mul_f64(f64::from(n % 100) / 100.0);
    for seq in 1_u64.. {
        sleep_until(next).await;
        next += every;
        let mut stream = connect(connector, api).await;
        let source = |i: u64| {
            json!({"address": format!("10.{}.{}.{i}", n / 256, n % 256), "belongs": 0, "connections": seq, "open": 1,
                "bytes_up": seq * 1000, "bytes_down": seq * 9000, "first_ms": 1, "last_ms": 2, "opened_ms": 2,
                "oldest_ms": 1, "ports": [80, 443], "hosts": ["www.example.org"]})
        };
        let sources: Vec<_> = if busy { (0..20).map(source).collect() } else { Vec::new() };
        let body = json!({"run": n, "seq": seq, "version": "0.1.0", "now_ms": 2, "sources": sources,
            "belongs": [{"pool": "www.example.org", "site": "ec2"}],
            "rules": [{"rule": "web", "listen": "0.0.0.0:80", "open": 1, "held": false, "waiting": 0, "gave_up": 0,
                "refused": 0, "ladder": {"rung": "forward"}, "targets": ["192.0.2.1:80"]}]})
        .to_string();
        let head = format!(
            "POST /api/v1/forwarders/old-{n}/report HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            token(n),
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that closes without a word of TLS is no failure here.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}

fn connector(ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let mut pem = Vec::new();
    BufReader::new(fs::File::open(ca).unwrap()).read_to_end(&mut pem).unwrap();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// A self-signed certificate for 127.0.0.1.
fn make_certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=authority"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(folder)
        .output()
        .expect("openssl can be run: on Debian from the package openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
