//! The forwarder as a process of its own, beside real programs. Shows that
//!
//! - a successor takes over under load: no connection is refused or reset, open ones go on to their end,
//! - sockets that systemd passes are used,
//! - with all descriptors used up it waits without spinning, and goes on when there are some again,
//! - rinetd and this one, on the same configuration file, let the same clients through and log the same words,
//! - nginx believes its PROXY header, curl goes through,
//! - the subcommands ask a forwarder that runs, and say what is wrong where they can't.

#[path = "support/ports.rs"]
mod ports;
#[path = "support/running.rs"]
mod running;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ports::free_address;
use running::{Running, SOON, found, run, start, written};

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
                let _ = stream.shutdown(Shutdown::Write);
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

fn echoes(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    stream.write_all(text)?;
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got)?;
    assert_eq!(got, text);
    Ok(())
}

fn forward(config: &Path) -> Command {
    let mut command = Command::new(WAYPOST);
    command.arg("forward").arg("--config").arg(config);
    command
}

#[test]
fn a_successor_takes_over_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let (entrance, target, control) = (free_address([127, 77, 1, 1]), echo(), folder.path().join("control"));
    let config = written(
        folder.path(),
        "forward.toml",
        &format!("control = {control:?}\n[[rule]]\nlisten = \"{entrance}\"\ntarget = \"{target}\"\n"),
    );
    let mut first = start(&mut forward(&config));
    let mut open = connect(entrance);
    echoes(&mut open, b"by the first").unwrap();

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, done) = (stop.clone(), done.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(entrance).expect("never refused");
                    echoes(&mut stream, &vec![7; 30_000]).expect("never reset");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut taken = Vec::new();
    for _ in 0..3 {
        let before = done.load(Ordering::Relaxed);
        found("there is load", || (done.load(Ordering::Relaxed) > before + 50).then_some(()));
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&control).unwrap());
        taken.push(start(forward(&config).arg("--take-over")));
        let moved = || {
            let now = std::fs::metadata(&control).ok()?;
            (std::os::unix::fs::MetadataExt::ino(&now) != inode).then_some(())
        };
        found("the control socket is the successor's", moved);
        let before = done.load(Ordering::Relaxed);
        found("the load goes on", || (done.load(Ordering::Relaxed) > before + 50).then_some(()));
    }
    stop.store(true, Ordering::Relaxed);
    for thread in load {
        thread.join().expect("no connection failed");
    }
    echoes(&mut open, b"still by the first").unwrap();
    drop(open);
    let ended = found("the first has ended", || first.0.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    let mut last = taken.pop().unwrap();
    assert!(last.0.try_wait().unwrap().is_none(), "the last one goes on");
    echoes(&mut connect(entrance), b"by the last").unwrap();
}

#[test]
fn sockets_of_systemd_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let entrance = listener.local_addr().unwrap();
    let target = echo();
    let config = written(
        folder.path(),
        "rinetd.conf",
        &format!("{} {} {} {}\n", entrance.ip(), entrance.port(), target.ip(), target.port()),
    );
    // Its place is the third descriptor, and the process knows its own number.
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" forward --config \"$1\"";
    let child = Command::new("sh")
        .args(["-c", script, WAYPOST])
        .arg(&config)
        .stdin(OwnedFd::from(listener))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    echoes(&mut connect(entrance), b"through a socket that was there before").unwrap();
    assert!(running.0.try_wait().unwrap().is_none());
}

/// Processor time that a process has used, in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn descriptors_used_up_are_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (entrance, target) = (free_address([127, 77, 1, 1]), echo());
    let config = written(
        folder.path(),
        "forward.toml",
        &format!("[[rule]]\nlisten = \"{entrance}\"\ntarget = \"{target}\"\nconnect-timeout = \"60s\"\n"),
    );
    let script = "ulimit -n 64; exec \"$0\" forward --config \"$1\"";
    let mut running = start(Command::new("sh").args(["-c", script, WAYPOST]).arg(&config));
    echoes(&mut connect(entrance), b"first").unwrap();
    let held: Vec<_> = (0..100).map(|_| TcpStream::connect(entrance).unwrap()).collect();
    thread::sleep(Duration::from_millis(500));
    let before = ticks(running.0.id());
    thread::sleep(Duration::from_secs(1));
    let used = ticks(running.0.id()) - before;
    assert!(used < 20, "it spins: {used} of 100");
    assert!(running.0.try_wait().unwrap().is_none());
    drop(held);
    echoes(&mut connect(entrance), b"last").unwrap();
}

/// What came of a connection from `source`: what was echoed, nothing if it was closed.
fn attempt(entrance: SocketAddr, source: [u8; 4]) -> Vec<u8> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&entrance.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    let _ = stream.write_all(b"who may pass");
    let mut got = Vec::new();
    while got.len() < 12 {
        let mut octets = [0; 12];
        match stream.read(&mut octets) {
            Ok(0) | Err(_) => break,
            Ok(count) => got.extend(&octets[..count]),
        }
    }
    got
}

/// What a log says: clients, each with what became of its connections.
fn results(log: &Path) -> BTreeSet<String> {
    let result = |line: &str| {
        let fields: Vec<_> = line.split('\t').collect();
        let result = *fields.get(8)?;
        // Where it isn't allowed, rinetd 0.73 says that it was denied; where it was denied, nothing of sense.
        let passed = result.starts_with("done") || result == "opened";
        Some(format!("{} {}", fields[1], if passed { result } else { "refused" }))
    };
    std::fs::read_to_string(log).unwrap_or_default().lines().filter_map(result).collect()
}

#[test]
fn rinetd_and_this_one_agree() {
    let folder = tempfile::tempdir().unwrap();
    let target = echo();
    let sources = [[127, 0, 0, 1], [127, 0, 0, 9], [127, 0, 0, 17], [127, 0, 1, 1], [127, 5, 0, 1], [127, 0, 0, 99]];
    let configs = [
        "RULE\n",
        "allow 127.0.*\nRULE\n",
        "deny 127.0.0.1?\ndeny 127.0.0.9\nRULE\n",
        "allow 127.0.*\ndeny 127.0.1.*\nRULE\nallow 127.0.0.?\nRULE\nallow 127.0.0.*\ndeny 127.0.0.17\n",
        // One allow pattern for each: of several, rinetd 0.73 heeds only the last, against its manual.
        "RULE\nallow 127.0.0.1\n# comment\n\nRULE\ndeny *\n",
    ];
    for (number, text) in configs.iter().enumerate() {
        let mut outcomes = Vec::new();
        for program in ["rinetd", WAYPOST] {
            let log = folder.path().join(format!("{number}-{}.log", outcomes.len()));
            let mut entrances = Vec::new();
            let mut config = text.to_string();
            while let Some(at) = config.find("RULE") {
                let entrance = free_address([127, 77, 1, 1]);
                let line = format!("{} {} {} {}", entrance.ip(), entrance.port(), target.ip(), target.port());
                config.replace_range(at..at + 4, &line);
                entrances.push(entrance);
            }
            let config = written(folder.path(), "rinetd.conf", &format!("{config}logfile {}\n", log.display()));
            let mut command = Command::new(program);
            match program {
                "rinetd" => command.arg("-f").arg("-c").arg(&config),
                _ => command.arg("forward").arg("--config").arg(&config),
            };
            let _running = start(&mut command);
            let mut came = Vec::new();
            for &entrance in &entrances {
                connect(entrance);
                came.extend(sources.map(|source| String::from_utf8(attempt(entrance, source)).unwrap()));
            }
            // The log says of each source what it saw.
            let mut expected = BTreeSet::new();
            for (text, source) in came.iter().zip(sources.iter().cycle()) {
                let words: &[_] = if text.is_empty() { &["refused"] } else { &["opened", "done-remote-closed"] };
                expected.extend(words.iter().map(|word| format!("{} {word}", Ipv4Addr::from(*source))));
            }
            found("the log is whole", || (results(&log) == expected).then_some(()));
            outcomes.push(came);
        }
        assert_eq!(outcomes[0], outcomes[1], "who passes, by {text:?}");
    }
}

#[test]
fn nginx_believes_and_curl_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    let (entrance, back, control) =
        (free_address([127, 77, 1, 1]), free_address([127, 77, 1, 1]), folder.path().join("control"));
    let place = folder.path().display();
    let nginx = format!(
        "daemon off; master_process off; pid {place}/nginx.pid; error_log {place}/error.log;\n\
         events {{}}\nhttp {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b;\n\
         fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n\
         server {{ listen {back} proxy_protocol; location / {{ return 200 \"$proxy_protocol_addr $host\"; }} }} }}\n"
    );
    let nginx = written(folder.path(), "nginx.conf", &nginx);
    let config = format!(
        "control = {control:?}\n[[rule]]\nname = \"web\"\nlisten = \"{entrance}\"\ntarget = \"{back}\"\npeek = true\n\
         proxy-protocol = \"v2\"\n"
    );
    let config = written(folder.path(), "forward.toml", &config);
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let _nginx = start(Command::new(program).arg("-c").arg(&nginx).arg("-e").arg(folder.path().join("error.log")));
    let mut forwarder = start(&mut forward(&config));
    drop(connect(back));
    drop(connect(entrance));
    let (name, port) = ("old.example.org", entrance.port());
    let resolve = format!("{name}:{port}:{}", entrance.ip());
    let url = format!("http://{name}:{port}/");
    let curl = run(Command::new("curl").args(["-sS", "--interface", "127.0.0.9", "--resolve", &resolve, &url]));
    assert_eq!(String::from_utf8_lossy(&curl.stdout), format!("127.0.0.9 {name}"), "{curl:?}");

    let ask = |arguments: &[&str]| {
        let output = run(Command::new(WAYPOST).arg("forward").args(arguments).arg("--control").arg(&control));
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, status, _) = ask(&["status"]);
    assert_eq!(code, Some(0));
    assert!(status.contains("web (tcp ") && status.contains("127.0.0.9") && status.contains(name), "{status}");
    assert_eq!(ask(&["ladder", "refuse", "--rule", "web"]).0, Some(0));
    assert!(!run(Command::new("curl").args(["-sS", "--resolve", &resolve, &url])).status.success());
    assert_eq!(ask(&["ladder", "forward"]).0, Some(0));
    let held = ask(&["hold", "--secs", "1"]);
    assert!(held.1.starts_with("released: 0 waited"), "{held:?}");
    let (code, _, told) = ask(&["release", "--rule", "mail"]);
    assert_eq!(code, Some(1));
    assert_eq!(told, "waypost forward: \"mail\" is no rule: there are web\n");
    let _ = forwarder.0.kill();
    let _ = forwarder.0.wait();
    let (code, _, told) = ask(&["status"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("no forwarder answers on"), "{told}");
    assert_eq!(told.matches("os error").count(), 1, "the cause is told once: {told}");
}
