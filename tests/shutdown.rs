//! Beginnings and ends of `waypost serve`:
//! - SIGTERM and SIGINT end it with 0 at once, also with an idle and a half-sent connection to the API or DNS over TCP;
//! - a port in use, a state folder in use, a token that can't be used: one clear sentence and exit code 1, and the server
//!   that is there goes on undisturbed;
//! - mistakes in the configuration: exit code 2 before a port is bound or a file is written;
//! - it listens on all its addresses, IPv6 too; the token is its owner's alone.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use hickory_proto::rr::RecordType as T;
use rustix::process::Signal;
use serde_json::Value;
use support::dns::{Question, addresses};
use support::{EC2, HEAD, Server, fail_in, folder, pool};

const WWW: &str = "www.example.org";

fn config() -> String {
    format!("{HEAD}{}", pool(WWW, 100, 0, ""))
}

/// One sentence, no more, on the last line; it says `all`.
#[track_caller]
fn assert_refused(output: &std::process::Output, code: i32, all: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    let sentences: Vec<&str> = told.lines().filter(|l| l.starts_with("waypost: ")).collect();
    assert_eq!(sentences.len(), 1, "{told}");
    for part in all {
        assert!(sentences[0].contains(part), "{part:?}: {told}");
    }
    assert!(!told.contains("panicked") && !told.contains("backtrace"), "{told}");
}

#[test]
fn a_signal_ends_it_at_once() {
    let mut server = Server::start(&config());
    assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2]);
    let _idle = [TcpStream::connect(server.api).unwrap(), TcpStream::connect(server.dns[0]).unwrap()];
    let mut half = TcpStream::connect(server.dns[0]).unwrap();
    half.write_all(&[0, 40, 1, 2]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let took = server.terminate();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(server.log().contains("state saved"), "{}", server.log());
    assert!(server.question(WWW, T::A).tcp().try_send().is_err());
    TcpListener::bind(server.dns[0]).expect("its port is free again");

    server.start_again();
    server.end_by(Signal::INT);
}

#[test]
fn a_port_in_use_is_told_and_left_alone() {
    let server = Server::start(&config());
    let dns = server.dns[0];
    let second = folder(&config().replacen("127.0.0.1:0", &dns.to_string(), 1));
    for _ in 0..5 {
        let output = fail_in(second.path(), &[]);
        assert_refused(&output, 1, &[&dns.to_string(), "in use"]);
        assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2]);
    }
    assert!(!second.path().join("state").exists(), "ports are bound before the state is touched");

    let api = server.api.to_string();
    let third = folder(&config().replace("[api]\nlisten = \"127.0.0.1:0\"", &format!("[api]\nlisten = \"{api}\"")));
    assert_refused(&fail_in(third.path(), &[]), 1, &[&api, "API", "in use"]);

    // Taken by another program, for one of the transports only.
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = udp.local_addr().unwrap().to_string();
    let fourth = folder(&config().replacen("127.0.0.1:0", &taken, 1));
    assert_refused(&fail_in(fourth.path(), &[]), 1, &[&taken, "UDP"]);
}

#[test]
fn a_state_folder_has_one_server() {
    let server = Server::start(&config());
    assert_refused(&server.fail_to_start(&[]), 1, &["state", "another"]);
    assert_eq!(addresses(&server.ask(WWW, T::A)), [EC2]);
    assert_eq!(server.generation(), 1);
}

#[test]
fn mistakes_end_it_before_anything_is_touched() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap().to_string();
    // The port is in use, and nobody notices: the configuration is looked at first.
    let wrong = config().replacen("127.0.0.1:0", &address, 1).replace("weight = 100", "weight = -1");
    let folder = folder(&wrong);
    let output = fail_in(folder.path(), &[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("-1") && !told.contains(&address), "{told}");
    assert!(!folder.path().join("state").exists());
}

#[test]
fn a_token_that_is_none_is_told() {
    let folder = folder(&config());
    fs::create_dir(folder.path().join("state")).unwrap();
    fs::write(folder.path().join("state/admin.token"), "short\n").unwrap();
    assert_refused(&fail_in(folder.path(), &[]), 1, &["admin.token"]);
}

#[test]
fn the_token_is_its_owners_alone_and_stays() {
    let mut server = Server::start(&config());
    let file = server.file("state/admin.token");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&file).unwrap();
    assert!(!server.log().contains(token.trim()), "the log does not tell it");
    server.terminate();
    server.start_again();
    assert_eq!(fs::read_to_string(&file).unwrap(), token);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for (path, status) in [("/api/v1/status", 401), ("/livez", 200), ("/readyz", 200), ("/metrics", 200)] {
        let response = agent.get(format!("http://{}{path}", server.api)).call().unwrap();
        assert_eq!(response.status().as_u16(), status, "{path} without a token");
    }
    assert_eq!(server.api("GET", "/api/v1/status", Value::Null, &[]).status, 200);
}

#[test]
fn it_listens_on_all_its_addresses() {
    let server =
        Server::start(&config().replacen("\"127.0.0.1:0\"", "\"127.0.0.1:0\", \"[::1]:0\", \"127.0.0.7:0\"", 1));
    assert_eq!(server.dns.len(), 3);
    for address in &server.dns {
        let question = Question::to(*address, WWW, T::A);
        assert_eq!(addresses(&question.send()), [EC2], "{address}");
        assert_eq!(addresses(&question.tcp().send()), [EC2], "{address}");
    }
    assert_eq!(server.status()["listen"].as_array().unwrap().len(), 3);
}
