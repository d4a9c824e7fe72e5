//! What goes wrong around a forwarder that runs. Shows that
//!
//! - with a disk that is full everything is forwarded, lines of the log and what would be kept are lost, and that is said,
//! - a wall clock that jumps forth and back ends no connection, and a hold ends at its cap.

#[path = "support/ports.rs"]
mod ports;
#[path = "support/running.rs"]
mod running;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ports::free_address;
use running::{Running, SOON, eventually, found, run, start, written};

const WAYPOST: &str = env!("CARGO_BIN_EXE_waypost");

/// Answers each connection with what it sends.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let Ok(mut stream) = stream else { return };
                let Ok(mut from) = stream.try_clone() else { return };
                let _ = std::io::copy(&mut from, &mut stream);
            });
        }
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = found("it listens", || TcpStream::connect(address).ok());
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn echoes(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, text);
}

fn ask(control: &Path, arguments: &[&str]) -> String {
    let output = run(Command::new(WAYPOST).arg("forward").args(arguments).arg("--control").arg(control));
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a page says over HTTP.
fn page(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_full_disk_loses_lines_and_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (entrance, metrics, control) =
        (free_address([127, 77, 2, 1]), free_address([127, 77, 2, 1]), folder.path().join("control"));
    let state = folder.path().join("gone/state");
    let config = format!(
        "control = {control:?}\nstate = {state:?}\nmetrics = \"{metrics}\"\nlog = \"/dev/full\"\n\
         [[rule]]\nname = \"web\"\nlisten = \"{entrance}\"\ntarget = \"{}\"\n",
        echo()
    );
    let config = written(folder.path(), "forward.toml", &config);
    let log = folder.path().join("told");
    let told = || fs::read_to_string(&log).unwrap();
    let mut command = Command::new(WAYPOST);
    command.args(["forward", "--config"]).arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
    let _forwarder = Running(command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap());
    for _ in 0..20 {
        echoes(&mut connect(entrance), b"forwarded");
    }
    eventually("lost lines are counted", || {
        let page = page(metrics, "/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix("waypost_forward_log_lines_lost_total "));
        line.is_some_and(|count| count.parse::<u32>().unwrap() >= 40)
    });
    assert!(page(metrics, "/sources").contains("127.0.0.1"));
    ask(&control, &["ladder", "refuse"]);
    eventually("what is told counts all the same", || {
        connect(entrance).read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
    });
    ask(&control, &["ladder", "forward"]);
    echoes(&mut connect(entrance), b"again");
    assert_eq!(told().matches("connections can't be logged").count(), 1, "it is said once: {}", told());
    assert!(told().contains("the state can't be kept"), "{}", told());
}

/// The library that moves a program's wall clock (Debian's faketime); `None` where it is missing and may be.
fn clock_mover() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").unwrap().flatten();
    let found = libraries.map(|at| at.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "faketime is missing: tests/setup.sh installs it");
    found
}

#[test]
fn a_clock_that_jumps_ends_nothing_early_or_late() {
    let Some(library) = clock_mover() else { return eprintln!("skipped: faketime is missing") };
    let folder = tempfile::tempdir().unwrap();
    let (entrance, control) = (free_address([127, 77, 2, 1]), folder.path().join("control"));
    let config = format!(
        "control = {control:?}\n[[rule]]\nname = \"web\"\nlisten = \"{entrance}\"\ntarget = \"{}\"\n\
         idle-timeout = \"1h\"\ntotal-timeout = \"2h\"\n",
        echo()
    );
    let config = written(folder.path(), "forward.toml", &config);
    let clock = written(folder.path(), "clock", "+0\n");
    let mut command = Command::new(WAYPOST);
    command.args(["forward", "--config"]).arg(&config).env("LD_PRELOAD", library);
    command.env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1").env("DONT_FAKE_MONOTONIC", "1");
    let _forwarder = start(&mut command);
    let mut open = connect(entrance);
    echoes(&mut open, b"before");
    let year = || {
        let status: serde_json::Value = serde_json::from_str(&ask(&control, &["status", "--json"])).unwrap();
        status["sources"]["sources"][0]["last_seen"].as_str().unwrap()[..4].parse::<i32>().unwrap()
    };
    let now = year();
    fs::write(&clock, "+1000d\n").unwrap();
    echoes(&mut open, b"after a jump forth");
    echoes(&mut connect(entrance), b"so does a new one");
    assert!(year() >= now + 2, "the clock has jumped");

    let begun = Instant::now();
    let mut hold = start(Command::new(WAYPOST).args(["forward", "hold", "--secs", "3", "--control"]).arg(&control));
    eventually("it holds", || ask(&control, &["status", "--json"]).contains("\"held\": true"));
    let mut held = connect(entrance);
    fs::write(&clock, "-1000d\n").unwrap();
    echoes(&mut held, b"let go");
    assert!(begun.elapsed() >= Duration::from_millis(2900), "not before its cap");
    assert!(hold.0.wait().unwrap().success());
    echoes(&mut open, b"after a jump back");
    thread::sleep(Duration::from_millis(300));
    echoes(&mut open, b"and later");
    assert!(year() < now);
}
