//! The forwarder between hosts: clients, the old host and the new site are network namespaces that each test makes, joined by
//! cables. That needs root. Shows that
//!
//! - with packets lost and a slow cable every octet arrives once and in order, with either side closing first,
//! - idle connections by the thousand stay while a successor takes over under load, and no new one is refused or reset,
//! - a site that dies is gone for clients at once, or is passed over for another, and is used again when it comes back,
//! - a site that stalls costs no memory, and nothing is lost when it goes on,
//! - a transparent rule shows the site the client's own address, by TCP and UDP, IPv4 and IPv6; without the capability for
//!   it nothing starts.

#[path = "support/running.rs"]
mod running;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use running::{SOON, eventually};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

const WAYPOST: &str = env!("CARGO_BIN_EXE_waypost");

const CLIENT: &str = "198.18.1.2";
const CLIENT_V6: &str = "fd00:18:1::2";
const OLD: &str = "198.18.1.1";
const OLD_V6: &str = "fd00:18:1::1";
const SITE: &str = "198.18.2.2";
const SITE_V6: &str = "fd00:18:2::2";
/// The old host's address on the site's cable.
const BEHIND: &str = "198.18.2.1";

/// Three hosts; they are gone when this is dropped.
struct Hosts {
    client: String,
    old: String,
    site: String,
}

fn must(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Hosts {
    fn new(test: &str) -> Self {
        let id = std::process::id();
        let name = |host: &str| format!("wp-{id}-{test}-{host}");
        let hosts = Self { client: name("c"), old: name("o"), site: name("s") };
        for host in [&hosts.client, &hosts.old, &hosts.site] {
            must(&["ip", "netns", "add", host]);
            must(&["ip", "-n", host, "link", "set", "lo", "up"]);
        }
        for (far, interface) in [(&hosts.client, "clients"), (&hosts.site, "site")] {
            let near = ["ip", "link", "add", interface, "netns", &hosts.old];
            must(&[&near[..], &["type", "veth", "peer", "name", "cable", "netns", far]].concat());
        }
        let ends = [
            (&hosts.client, "cable", CLIENT, CLIENT_V6),
            (&hosts.old, "clients", OLD, OLD_V6),
            (&hosts.old, "site", BEHIND, "fd00:18:2::1"),
            (&hosts.site, "cable", SITE, SITE_V6),
        ];
        for (host, interface, v4, v6) in ends {
            must(&["ip", "-n", host, "addr", "add", &format!("{v4}/24"), "dev", interface]);
            must(&["ip", "-n", host, "addr", "add", &format!("{v6}/64"), "dev", interface, "nodad"]);
            must(&["ip", "-n", host, "link", "set", interface, "up"]);
        }
        hosts
    }

    /// Runs a command on the old host.
    fn old(&self, words: &[&str]) {
        must(&[&["ip", "netns", "exec", &self.old][..], words].concat());
    }

    fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        on(&self.client, || connect(SocketAddr::new(OLD.parse().unwrap(), port)))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.client, &self.old, &self.site] {
            let _ = Command::new("ip").args(["netns", "del", host]).status();
        }
    }
}

/// Lets the sockets that `act` and its threads make be those of a host.
fn on<T: Send>(host: &str, act: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        let place = File::open(format!("/var/run/netns/{host}")).unwrap();
        move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        act()
    };
    thread::scope(|scope| scope.spawn(inside).join().unwrap())
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// Accepts for as long as it lives.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(host: &str, address: &str, serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        let listener = on(host, || TcpListener::bind(address).unwrap());
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let accept = move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        stream.set_read_timeout(Some(SOON * 3)).unwrap();
                        let serve = serve.clone();
                        thread::spawn(move || serve(stream));
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(2)),
                    Err(e) => panic!("{e}"),
                }
            }
        };
        Self { stop, thread: Some(thread::spawn(accept)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `waypost forward` on the old host.
struct Forwarder {
    child: Child,
    log: PathBuf,
}

impl Forwarder {
    fn start(hosts: &Hosts, folder: &TempDir, config: &str, more: &[&str]) -> Self {
        let file = folder.path().join("forward.toml");
        std::fs::write(&file, config).unwrap();
        let log = folder.path().join(format!("log{}", std::fs::read_dir(folder).unwrap().count()));
        let child = Command::new("ip")
            .args(["netns", "exec", &hosts.old, WAYPOST, "forward", "--config"])
            .arg(&file)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let forwarder = Self { child, log };
        let rules = config.matches("[[rule]]").count();
        eventually("it forwards", || forwarder.told().matches("forwarding").count() >= rules);
        forwarder
    }

    fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Resident memory.
    fn kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Octets that no two connections share, and that don't repeat in step with any buffer.
fn pattern(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    got
}

const UP: usize = 150_000;
const DOWN: usize = 250_000;

/// One exchange as the site sees it: even numbers are asked to the end and answered then, with odd ones the site speaks
/// and ends first.
fn exchange(mut stream: TcpStream, whole: &AtomicUsize) {
    let mut number = [0; 4];
    if stream.read_exact(&mut number).is_err() {
        return;
    }
    let number = u32::from_be_bytes(number);
    let down = pattern(!number, DOWN);
    if number % 2 == 1 {
        stream.write_all(&down).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    assert!(rest(&mut stream) == pattern(number, UP), "what came up by connection {number}");
    if number.is_multiple_of(2) {
        stream.write_all(&down).unwrap();
    }
    whole.fetch_add(1, Ordering::Relaxed);
}

fn exchanged(mut stream: TcpStream, number: u32) {
    stream.write_all(&number.to_be_bytes()).unwrap();
    let mut down = Vec::new();
    if number % 2 == 1 {
        down = rest(&mut stream);
    }
    stream.write_all(&pattern(number, UP)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    if number.is_multiple_of(2) {
        down = rest(&mut stream);
    }
    assert!(down == pattern(!number, DOWN), "what came down by connection {number}");
}

fn echo(mut stream: TcpStream) {
    let mut octets = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut octets) {
        if stream.write_all(&octets[..count]).is_err() {
            return;
        }
    }
}

fn echoes(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    stream.write_all(text)?;
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got)?;
    assert_eq!(got, text);
    Ok(())
}

#[test]
fn every_octet_arrives_over_a_bad_network() {
    const CONNECTIONS: u32 = 120;
    let (hosts, folder) = (Hosts::new("loss"), TempDir::new().unwrap());
    let loss =
        "table inet loss { chain p { type filter hook prerouting priority 0; numgen random mod 100 < 3 drop; }; }";
    hosts.old(&["nft", loss]);
    let rate = ["rate", "200mbit", "burst", "64kb", "latency", "100ms"];
    hosts.old(&[&["tc", "qdisc", "add", "dev", "site", "root", "tbf"][..], &rate].concat());
    let whole = Arc::new(AtomicUsize::new(0));
    let counted = whole.clone();
    let _server = Server::start(&hosts.site, &format!("{SITE}:80"), move |stream| exchange(stream, &counted));
    let config = format!("[[rule]]\nlisten = \"0.0.0.0:80\"\ntarget = \"{SITE}:80\"\nconnect-timeout = \"15s\"\n");
    let forwarder = Forwarder::start(&hosts, &folder, &config, &[]);
    thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let hosts = &hosts;
            scope.spawn(move || exchanged(hosts.connect(80).unwrap(), number));
        }
    });
    eventually("the site has it all as well", || whole.load(Ordering::Relaxed) == CONNECTIONS as usize);
    drop(forwarder);
}

#[test]
fn a_successor_takes_over_among_idle_and_busy_connections() {
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    // Each has two ends in this process.
    let idle = limit.map_or(2_000, |limit| (limit as usize / 2).saturating_sub(500)).min(10_000);
    let (hosts, folder) = (Hosts::new("life"), TempDir::new().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (count, keep) = (accepted.clone(), kept.clone());
    let _idle_server = Server::start(&hosts.site, &format!("{SITE}:81"), move |stream| {
        count.fetch_add(1, Ordering::Relaxed);
        keep.lock().unwrap().push(stream);
    });
    let _server = Server::start(&hosts.site, &format!("{SITE}:80"), echo);
    let control = folder.path().join("control");
    let config = format!(
        "control = {control:?}\ndrain = \"60s\"\n[[rule]]\nlisten = \"0.0.0.0:80\"\ntarget = \"{SITE}:80\"\n\
         [[rule]]\nlisten = \"0.0.0.0:81\"\ntarget = \"{SITE}:81\"\n"
    );
    let mut first = Forwarder::start(&hosts, &folder, &config, &[]);
    let mut held = on(&hosts.client, || {
        let address = SocketAddr::new(OLD.parse().unwrap(), 81);
        let one = |number: usize| {
            // No faster than the site takes them: its queue is short.
            eventually("the site accepts", || accepted.load(Ordering::Relaxed) + 64 > number);
            connect(address).unwrap()
        };
        (0..idle).map(one).collect::<Vec<_>>()
    });
    eventually("all idle ones came through", || accepted.load(Ordering::Relaxed) == idle);

    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut successors = Vec::new();
    thread::scope(|scope| {
        for number in 0..8_u8 {
            let (hosts, stop, done) = (&hosts, &stop, &done);
            scope.spawn(move || {
                on(&hosts.client, || {
                    let address = SocketAddr::new(OLD.parse().unwrap(), 80);
                    while !stop.load(Ordering::Relaxed) {
                        let mut stream = connect(address).expect("never refused");
                        echoes(&mut stream, &vec![number; 20_000]).expect("never reset");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            });
        }
        for _ in 0..2 {
            let more = |count| {
                let before = done.load(Ordering::Relaxed);
                eventually("the load goes on", || done.load(Ordering::Relaxed) >= before + count);
            };
            more(100);
            successors.push(Forwarder::start(&hosts, &folder, &config, &["--take-over"]));
            more(100);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(first.child.try_wait().unwrap().is_none(), "it still has idle ones: {}", first.told());
    for (number, stream) in held.iter_mut().enumerate() {
        stream.write_all(&(number as u32).to_be_bytes()).unwrap();
    }
    let mut seen: Vec<_> = kept
        .lock()
        .unwrap()
        .iter_mut()
        .map(|stream| {
            let mut number = [0; 4];
            stream.read_exact(&mut number).unwrap();
            u32::from_be_bytes(number)
        })
        .collect();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..idle as u32), "each once");
    drop(held);
    kept.lock().unwrap().clear();
    eventually("the first has drained", || first.child.try_wait().unwrap().is_some());
    assert!(first.child.wait().unwrap().success() && first.told().contains("ended"), "{}", first.told());
}

#[test]
fn a_site_that_dies_comes_back_or_stalls() {
    const HELD: usize = 64 << 20;
    let (hosts, folder) = (Hosts::new("dies"), TempDir::new().unwrap());
    let config = format!(
        "[[rule]]\nlisten = \"0.0.0.0:80\"\ntarget = \"{SITE}:80\"\n\
         [[rule]]\nlisten = \"0.0.0.0:81\"\ntarget = \"{SITE}:81\"\n\
         [[rule]]\nlisten = \"0.0.0.0:82\"\nconnect-timeout = \"500ms\"\n\
         targets = [\"198.18.2.99:80\", {{ target = \"{SITE}:80\", weight = 0 }}]\n"
    );
    let forwarder = Forwarder::start(&hosts, &folder, &config, &[]);
    let server = Server::start(&hosts.site, &format!("{SITE}:80"), echo);
    let mut open = hosts.connect(80).unwrap();
    echoes(&mut open, b"here").unwrap();
    drop(server);
    echoes(&mut open, b"a connection that is open is served to its end").unwrap();
    let gone = |stream: std::io::Result<TcpStream>| stream.and_then(|mut s| s.read(&mut [0; 1]));
    assert!(matches!(gone(hosts.connect(80)), Ok(0) | Err(_)), "nobody is there");
    let _server = Server::start(&hosts.site, &format!("{SITE}:80"), echo);
    echoes(&mut hosts.connect(80).unwrap(), b"back").unwrap();
    // A host that isn't there says nothing at all; the next target has it.
    echoes(&mut hosts.connect(82).unwrap(), b"by the other").unwrap();

    let go_on = Arc::new(AtomicBool::new(false));
    let (may, whole) = (go_on.clone(), Arc::new(AtomicBool::new(false)));
    let arrived = whole.clone();
    let _stalled = Server::start(&hosts.site, &format!("{SITE}:81"), move |mut stream| {
        while !may.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        arrived.store(rest(&mut stream) == pattern(7, HELD), Ordering::Relaxed);
    });
    let before = forwarder.kib();
    let mut stream = hosts.connect(81).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let sending = thread::spawn(move || {
        for piece in pattern(7, HELD).chunks(64 << 10) {
            stream.write_all(piece).unwrap();
            count.fetch_add(piece.len(), Ordering::Relaxed);
        }
    });
    let mut last = usize::MAX;
    eventually("the sender is stopped", || {
        thread::sleep(Duration::from_millis(200));
        let now = sent.load(Ordering::Relaxed);
        std::mem::replace(&mut last, now) == now && now > 0
    });
    assert!(last < HELD, "the kernel's buffers hold it all: nothing is shown");
    assert!(forwarder.kib() < before + 4096, "{} KiB before, {} now", before, forwarder.kib());
    go_on.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    eventually("all of it has arrived", || whole.load(Ordering::Relaxed));
}

/// Answers each datagram with who sent it.
fn who_asks(host: &str, address: &str) {
    let socket = on(host, || UdpSocket::bind(address).unwrap());
    thread::spawn(move || {
        while let Ok((_, client)) = socket.recv_from(&mut [0; 100]) {
            let _ = socket.send_to(client.ip().to_string().as_bytes(), client);
        }
    });
}

#[test]
fn a_transparent_rule_shows_the_client() {
    let (hosts, folder) = (Hosts::new("who"), TempDir::new().unwrap());
    // As docs/forward.md says: answers to clients come by the old host, and are its own where it has the connection.
    for family in ["-4", "-6"] {
        hosts.old(&["ip", family, "rule", "add", "iif", "site", "lookup", "100"]);
        hosts.old(&["ip", family, "route", "add", "local", "default", "dev", "lo", "table", "100"]);
    }
    must(&["ip", "-n", &hosts.site, "route", "add", "default", "via", BEHIND]);
    must(&["ip", "-n", &hosts.site, "-6", "route", "add", "default", "via", "fd00:18:2::1"]);
    let mut config = String::new();
    let mut servers = Vec::new();
    for (entrance, site) in [(OLD.to_owned(), SITE.to_owned()), (format!("[{OLD_V6}]"), format!("[{SITE_V6}]"))] {
        for protocol in ["tcp", "udp"] {
            write!(
                config,
                "[[rule]]\nprotocol = \"{protocol}\"\nlisten = \"{entrance}:80\"\ntarget = \"{site}:80\"\ntransparent = true\n"
            )
            .unwrap();
        }
        servers.push(Server::start(&hosts.site, &format!("{site}:80"), |mut stream| {
            let client = stream.peer_addr().unwrap().ip().to_string();
            stream.write_all(client.as_bytes()).unwrap();
        }));
        who_asks(&hosts.site, &format!("{site}:80"));
    }
    let forwarder = Forwarder::start(&hosts, &folder, &config, &[]);
    for (entrance, client) in [(OLD, CLIENT), (OLD_V6, CLIENT_V6)] {
        let entrance: SocketAddr = (entrance.parse::<IpAddr>().unwrap(), 80).into();
        let mut stream = on(&hosts.client, || connect(entrance).unwrap());
        assert_eq!(String::from_utf8(rest(&mut stream)).unwrap(), client, "{}", forwarder.told());
        let socket = on(&hosts.client, || UdpSocket::bind((client, 0)).unwrap());
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.send_to(b"who am I?", entrance).unwrap();
        let mut octets = [0; 100];
        let (count, _) = socket.recv_from(&mut octets).unwrap();
        assert_eq!(std::str::from_utf8(&octets[..count]).unwrap(), client);
    }

    let file = folder.path().join("forward.toml");
    let refused = Command::new("setpriv")
        .args(["--bounding-set=-net_admin,-net_raw", WAYPOST, "forward", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("CAP_NET_ADMIN") && told.contains(&format!("{OLD}:80")), "{told}");
}
