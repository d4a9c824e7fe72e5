//! NSD, Knot DNS and BIND as installed, each in the foreground with a folder and ports of its own. They end with the process that
//! started them, however that ends: a shell ends them when its standard input does.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::packets::{Mode, packet};
use super::zones::Zone;

/// A server that runs.
pub struct Server {
    pub name: &'static str,
    address: SocketAddr,
    process: Child,
    folder: TempDir,
}

/// Packets on their way at a time.
const WINDOW: usize = 32;
const STARTUP: Duration = Duration::from_secs(20);
/// Silence for so long is the answer.
const SILENCE: Duration = Duration::from_millis(1500);

impl Server {
    /// Starts all three and waits until each answers for every zone.
    pub fn start_all(zones: &[Zone]) -> Vec<Self> {
        let servers: Vec<Self> = [("NSD", nsd as Configure), ("Knot", knot), ("BIND", bind)]
            .into_iter()
            .map(|(name, configure)| Self::start(name, configure, zones))
            .collect();
        for server in &servers {
            server.wait_for(zones);
        }
        servers
    }

    fn start(name: &'static str, configure: Configure, zones: &[Zone]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (apex, text) in zones {
            fs::write(folder.path().join(format!("{apex}.zone")), text).unwrap();
        }
        let address = super::ports::free_address(Ipv4Addr::LOCALHOST);
        let program = configure(folder.path(), address.port(), zones);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "\"$@\" & read _; kill $!; wait", "sh"])
            .arg(program.get_program())
            .args(program.get_args());
        command.current_dir(folder.path()).stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap();
        Self { name, address, process, folder }
    }

    fn wait_for(&self, zones: &[Zone]) {
        let started = Instant::now();
        for (apex, _) in zones {
            let soa = packet(&format!("{apex}."), 6, Mode::Plain);
            while !matches!(self.ask_one(&soa), Some(response) if response[2] & 4 != 0) {
                let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                assert!(
                    started.elapsed() < STARTUP,
                    "{} does not answer for {apex} (sh tests/setup.sh installs it):\n{}",
                    self.name,
                    log()
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn ask_one(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let socket = self.socket(Duration::from_millis(200));
        socket.send(packet).ok()?;
        let mut buffer = [0; 4096];
        let octets = socket.recv(&mut buffer).ok()?;
        Some(buffer[..octets].to_vec())
    }

    fn socket(&self, timeout: Duration) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(timeout)).unwrap();
        socket
    }

    /// The responses to `packets` over UDP, told apart by the ID that is set here; `None` where it stays silent.
    pub fn ask_udp(&self, packets: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let mut responses = vec![None; packets.len()];
        let socket = self.socket(SILENCE);
        let mut buffer = vec![0; 65536];
        for (window, packets) in packets.chunks(WINDOW).enumerate() {
            let first = window * WINDOW;
            for (i, packet) in packets.iter().enumerate() {
                let mut packet = packet.clone();
                set_id(&mut packet, first + i);
                socket.send(&packet).unwrap();
            }
            let mut missing = packets.len();
            while missing > 0 {
                let Ok(octets) = socket.recv(&mut buffer) else { break };
                let id = u16::from_be_bytes([buffer[0], buffer[1]]) as usize;
                // A response of an earlier window came after all: it has its own place.
                let place = (0..=first + packets.len()).rev().find(|n| n & 0xffff == id).expect("an ID that was asked");
                missing -= usize::from(place >= first);
                responses[place] = Some(buffer[..octets].to_vec());
            }
        }
        responses
    }

    /// The responses to `packets` over TCP, all of which are answered.
    pub fn ask_tcp(&self, packets: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let mut responses = vec![None; packets.len()];
        for (window, packets) in packets.chunks(WINDOW).enumerate() {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut pipelined = Vec::new();
            for (i, packet) in packets.iter().enumerate() {
                let mut packet = packet.clone();
                set_id(&mut packet, i);
                pipelined.extend_from_slice(&(packet.len() as u16).to_be_bytes());
                pipelined.extend_from_slice(&packet);
            }
            stream.write_all(&pipelined).unwrap();
            for _ in packets {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap_or_else(|e| panic!("{}: {e}", self.name));
                let mut response = vec![0; u16::from_be_bytes(length) as usize];
                stream.read_exact(&mut response).unwrap();
                let id = u16::from_be_bytes([response[0], response[1]]) as usize;
                responses[window * WINDOW + id] = Some(response);
            }
        }
        responses
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn set_id(packet: &mut [u8], id: usize) {
    if let Some(place) = packet.first_chunk_mut::<2>() {
        *place = (id as u16).to_be_bytes();
    }
}

type Configure = fn(&Path, u16, &[Zone]) -> Command;

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// The program `name`, which Debian puts where a user's PATH may not look.
fn program(name: &str) -> Command {
    let sbin = Path::new("/usr/sbin").join(name);
    Command::new(if sbin.exists() { sbin } else { name.into() })
}

fn nsd(folder: &Path, port: u16, zones: &[Zone]) -> Command {
    let dir = folder.display();
    let mut text = format!(
        "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n zonesdir: \"{dir}\"\n database: \"\"\n \
         pidfile: \"{dir}/nsd.pid\"\n xfrdfile: \"{dir}/xfrd.state\"\n zonelistfile: \"{dir}/zone.list\"\n \
         xfrdir: \"{dir}\"\n server-count: 1\n ipv4-edns-size: 1232\n rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\n \
         minimal-responses: yes\n refuse-any: no\n tcp-query-count: 0\n nsid: \"ascii_nsd\"\n\
         remote-control:\n control-enable: no\n"
    );
    for (apex, _) in zones {
        writeln!(text, "zone:\n name: {apex}\n zonefile: {apex}.zone").unwrap();
    }
    let mut command = program("nsd");
    command.arg("-d").arg("-c").arg(write(folder, "nsd.conf", &text));
    command
}

fn knot(folder: &Path, port: u16, zones: &[Zone]) -> Command {
    let dir = folder.display();
    let mut text = format!(
        "server:\n  listen: 127.0.0.1@{port}\n  rundir: {dir}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\n  udp-max-payload: 1232\n  nsid: knot\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n  storage: {dir}\n\
         template:\n  - id: default\n    storage: {dir}\n    zonefile-sync: -1\n    journal-content: none\n    \
         semantic-checks: off\nzone:\n"
    );
    for (apex, _) in zones {
        writeln!(text, "  - domain: {apex}\n    file: {apex}.zone").unwrap();
    }
    let mut command = program("knotd");
    command.arg("-c").arg(write(folder, "knot.conf", &text));
    command
}

fn bind(folder: &Path, port: u16, zones: &[Zone]) -> Command {
    let dir = folder.display();
    let mut text = format!(
        "options {{ directory \"{dir}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n \
         pid-file none; session-keyfile none; lock-file none; managed-keys-directory \"{dir}\"; recursion no;\n \
         allow-query {{ any; }}; allow-transfer {{ none; }}; notify no; dnssec-validation no; empty-zones-enable no;\n \
         minimal-responses no-auth; minimal-any yes; max-udp-size 1232; edns-udp-size 1232; server-id \"bind\";\n \
         check-names primary ignore; check-mx ignore; check-mx-cname ignore; check-srv-cname ignore;\n \
         check-integrity no; check-wildcard no; check-sibling no; rrset-order {{ order none; }}; }};\n\
         controls {{ }};\n"
    );
    for (apex, _) in zones {
        writeln!(text, "zone \"{apex}\" {{ type primary; file \"{apex}.zone\"; }};").unwrap();
    }
    let mut command = program("named");
    command.arg("-g").arg("-n").arg("1").arg("-c").arg(write(folder, "named.conf", &text));
    command
}
