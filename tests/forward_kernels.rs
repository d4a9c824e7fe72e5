//! The forwarder on kernels that lack what is new, or that forbid it: a seccomp filter answers such calls with ENOSYS (an old
//! kernel) or EPERM (a strict container), and all works as before, by older ways.
//!
//! What is older than Linux 3.2, the oldest that Rust's standard library runs on (accept4, epoll_create1), is not among them,
//! but splice is: bytes are copied then.

#[path = "support/running.rs"]
mod running;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use running::{Running, SOON};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// Calls that Linux has since 3.3 or later, and those that move bytes without copying them.
const NEWER: [i64; 18] = [
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_epoll_pwait2,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_close_range,
    libc::SYS_openat2,
    libc::SYS_faccessat2,
    libc::SYS_statx,
    libc::SYS_memfd_create,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
];

/// Becomes the forwarder, under the filter that the environment names; nothing where it names none.
#[test]
#[ignore = "the other tests run it as a program"]
fn launcher() {
    let Ok(errno) = std::env::var("FILTER_ERRNO") else { return };
    let errno: i32 = errno.parse().unwrap();
    let mut calls: BTreeMap<i64, Vec<_>> = NEWER.iter().map(|&call| (call, Vec::new())).collect();
    if errno == libc::ENOSYS {
        // With EPERM the C library makes no thread at all: it takes that for the answer.
        calls.insert(libc::SYS_clone3, Vec::new());
    }
    let (pass, answer) = (SeccompAction::Allow, SeccompAction::Errno(errno as u32));
    let filter = SeccompFilter::new(calls, pass, answer, std::env::consts::ARCH.try_into().unwrap()).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    let arguments = std::env::var("FORWARD_ARGUMENTS").unwrap();
    let mut command = Command::new("sh");
    // Sockets of systemd are told to the process that has this number.
    command.args([
        "-c",
        "[ -z \"$LISTEN_FDS\" ] || { exec 3<&0 </dev/null; export LISTEN_PID=$$; }; exec \"$0\" forward $1",
    ]);
    panic!("{}", command.args([env!("CARGO_BIN_EXE_waypost"), &arguments]).exec());
}

fn start(errno: i32, arguments: &str, log: &Path, passed: Option<TcpListener>) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["launcher", "--exact", "--ignored", "--nocapture"]);
    command.env("FILTER_ERRNO", errno.to_string()).env("FORWARD_ARGUMENTS", arguments).stdin(Stdio::null());
    if let Some(socket) = passed {
        command.env("LISTEN_FDS", "1").stdin(OwnedFd::from(socket));
    }
    let log = std::fs::File::options().append(true).create(true).open(log).unwrap();
    Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut from, mut to) = (&stream, &stream);
                let _ = std::io::copy(&mut from, &mut to);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(SOON)).unwrap();
                return stream;
            }
            Err(error) => assert!(start.elapsed() < SOON, "nobody listens on {address}: {error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends 8 MiB and gets them back whole.
fn relays(entrance: SocketAddr) {
    let sent: Vec<u8> = (0..2_u32 << 20).flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let mut stream = connect(entrance);
    let mut writer = stream.try_clone().unwrap();
    let octets = sent.clone();
    let sending = thread::spawn(move || {
        writer.write_all(&octets).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    sending.join().unwrap();
    assert!(got == sent, "{} octets of {} came back", got.len(), sent.len());
}

#[test]
fn without_what_is_newer_it_forwards_all_the_same() {
    let target = echo();
    for errno in [libc::ENOSYS, libc::EPERM] {
        let folder = tempfile::tempdir().unwrap();
        let (config, log, control) =
            (folder.path().join("forward.toml"), folder.path().join("log"), folder.path().join("control"));
        // The one that systemd passes, and one of its own.
        let passed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let first = passed.local_addr().unwrap();
        let second = TcpListener::bind((Ipv4Addr::new(127, 77, 3, 1), 0)).unwrap().local_addr().unwrap();
        let rule = |listen| format!("[[rule]]\nlisten = \"{listen}\"\ntarget = \"{target}\"\n");
        std::fs::write(&config, format!("control = {control:?}\n{}{}", rule(first), rule(second))).unwrap();
        let arguments = format!("--config {}", config.display());
        let _running = start(errno, &arguments, &log, Some(passed));
        relays(first);
        relays(second);
        let told = || std::fs::read_to_string(&log).unwrap();
        assert!(told().contains("splice(2) is refused"), "the filter is on: {}", told());

        let mut successor = start(errno, &format!("{arguments} --take-over"), &log, None);
        let begun = Instant::now();
        while !told().contains("a successor has taken over") {
            assert!(begun.elapsed() < SOON, "no successor: {}", told());
            thread::sleep(Duration::from_millis(20));
        }
        relays(first);
        relays(second);
        assert!(successor.0.try_wait().unwrap().is_none());
        let status = Command::new(env!("CARGO_BIN_EXE_waypost"))
            .args(["forward", "status", "--control"])
            .arg(&control)
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
    }
}
