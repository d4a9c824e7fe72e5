//! DNS over TLS, QUIC and HTTPS, asked by Debian's kdig, which verifies the certificate:
//! - the same answers as over UDP, steered ones too, and they count for the horizon;
//! - padded where the query is (RFC 8467);
//! - a new certificate is taken without a restart; a missing one is told before anything is served;
//! - over TLS many queries in one write are answered in order, and who does not take its answers is reset within the horizon's transit;
//! - over QUIC what RFC 9250 forbids ends the connection with its error code, silence a stream, and so does an answer that is not taken.

mod support;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use quinn::{ConnectionError, ReadError, ReadToEndError, VarInt};
use socket2::{Domain, Socket, Type};
use support::tls::{Encrypted, message};
use support::{EC2, HEAD, SOON, Server, folder, pool};

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

/// A server, and where it listens encrypted.
fn encrypted() -> (Server, Encrypted) {
    let encrypted = Encrypted::make();
    let config = HEAD.replacen("state = \"state\"", &format!("state = \"state\"\n{}", encrypted.config()), 1);
    (Server::start(&format!("{config}{}", pool("www.example.org", 100, 0, ""))), encrypted)
}

fn www(id: u16) -> Vec<u8> {
    message(id, 0, "www.example.org", 1)
}

#[test]
fn what_is_asked_in_one_write_is_answered_in_order() {
    let (_server, encrypted) = encrypted();
    let mut client = encrypted.connect_by(&rustls::version::TLS12, &[]);
    client.send(&(0..500).map(www).collect::<Vec<_>>());
    for id in 0..500u16 {
        assert_eq!(client.read()[..2], id.to_be_bytes());
    }
    // Who has closed its half still gets its answers, said in TLS or not.
    for said in [true, false] {
        let mut client = encrypted.connect();
        client.send(&[www(1), message(2, 4, "example.org", 6)]);
        if said {
            client.0.conn.send_close_notify();
            client.0.flush().unwrap();
        }
        client.0.sock.shutdown(Shutdown::Write).unwrap();
        let mut ids = [client.read()[1], client.read()[1]];
        ids.sort_unstable();
        assert_eq!(ids, [1, 2]);
        assert_eq!(client.0.read(&mut [0; 1]).unwrap(), 0, "and then it is told that this is the end");
    }
}

#[test]
fn who_does_not_take_its_answers_is_reset() {
    let (_server, encrypted) = encrypted();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2304).unwrap();
    socket.connect(&encrypted.tls.into()).unwrap();
    let mut slow = TcpStream::from(socket);
    let mut tls = encrypted.connection(&rustls::version::TLS13, &["dot"]);
    while tls.is_handshaking() {
        tls.complete_io(&mut slow).unwrap();
    }
    slow.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let framed = [&[0, 33][..], &www(7)].concat();
    let many = framed.repeat(1000);
    let begun = Instant::now();
    let ended = loop {
        assert!(begun.elapsed() < SOON, "it was never cut off");
        if !tls.wants_write() {
            tls.writer().write_all(&many).unwrap();
        }
        match tls.write_tls(&mut slow) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let mut other = encrypted.connect();
                other.send(&[www(9)]);
                assert_eq!(other.read()[..2], [0, 9], "others are answered meanwhile");
            }
            Err(error) => break error.kind(),
        }
    };
    assert!(matches!(ended, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{ended}");
}

/// A message behind its length.
fn framed(message: Vec<u8>) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

/// Sends `octets` on a stream of their own; all that comes back on it.
async fn on_a_stream(connection: &quinn::Connection, octets: &[u8]) -> Result<Vec<u8>, ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(octets).await.unwrap();
    send.finish().unwrap();
    receive.read_to_end(100_000).await
}

#[tokio::test]
async fn each_query_has_a_stream_and_what_is_forbidden_ends_the_connection() {
    let (server, encrypted) = encrypted();
    let (_endpoint, connection) = encrypted.quic(100_000).await;
    for _ in 0..300 {
        let answer = on_a_stream(&connection, &framed(www(0))).await.unwrap();
        assert_eq!((&answer[2..6], answer.len()), (&[0, 0, 0x84, 0][..], 2 + 33 + 16));
    }
    let mut response = www(0);
    response[2] |= 0x80;
    let ended = on_a_stream(&connection, &framed(response)).await.unwrap_err();
    assert!(ended.to_string().contains("reset by peer"), "silence: {ended}");
    assert!(on_a_stream(&connection, &framed(www(0))).await.is_ok(), "the others go on");

    let mut keepalive = www(0);
    keepalive[11] = 1;
    keepalive.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0b\0\0");
    let twice = framed(www(0)).repeat(2);
    for forbidden in [framed(www(1)), framed(www(0))[..20].to_vec(), framed(vec![0; 5]), framed(keepalive), twice] {
        let (_endpoint, connection) = encrypted.quic(100_000).await;
        assert!(on_a_stream(&connection, &forbidden).await.is_err());
        match connection.closed().await {
            ConnectionError::ApplicationClosed(closed) => assert_eq!(closed.error_code, VarInt::from_u32(2)),
            other => panic!("{other}"),
        }
    }
    let (_endpoint, connection) = encrypted.quic(100_000).await;
    let mut server = server;
    server.terminate();
    match connection.closed().await {
        ConnectionError::ApplicationClosed(closed) => assert_eq!(closed.error_code, VarInt::from_u32(0)),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_taken_back() {
    let (_server, encrypted) = encrypted();
    let (_endpoint, slow) = encrypted.quic(20).await;
    let (mut send, mut receive) = slow.open_bi().await.unwrap();
    send.write_all(&framed(www(0))).await.unwrap();
    send.finish().unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await; // more than half of the transit time
    let mut seen = [0; 100];
    let ended = loop {
        match receive.read(&mut seen).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("all of it came"),
            Err(error) => break error,
        }
    };
    assert_eq!(ended, ReadError::Reset(VarInt::from_u32(4)));
    let (_endpoint, other) = encrypted.quic(100_000).await;
    assert!(on_a_stream(&other, &framed(www(0))).await.is_ok());
}
