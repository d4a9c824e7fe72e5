//! Queries taken at a network interface (`listen = ["...", "xdp:IFACE"]`), between two network namespaces that the test makes.
//! That needs root, as the server itself does for it.

mod support;

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{SOON, ZONE, waypost};
use tempfile::TempDir;

/// Two hosts joined by a cable: `waypost serve` on one, clients on the other. They are gone when this is dropped.
struct Hosts {
    server: String,
    client: String,
}

const SERVER: (&str, &str) = ("198.18.0.1", "fd00:18::1");
const CLIENT: (&str, &str) = ("198.18.0.2", "fd00:18::2");

fn run(words: &[&str]) -> Output {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn must(words: &[&str]) -> String {
    let output = run(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Hosts {
    fn new(test: &str) -> Self {
        let id = std::process::id();
        let hosts = Self { server: format!("wp-{id}-{test}-s"), client: format!("wp-{id}-{test}-c") };
        must(&["ip", "netns", "add", &hosts.server]);
        must(&["ip", "netns", "add", &hosts.client]);
        let cable = ["type", "veth", "peer", "name", "near", "netns", &hosts.client];
        must(&[&["ip", "link", "add", "far", "netns", &hosts.server][..], &cable].concat());
        for (host, interface, (v4, v6)) in [(&hosts.server, "far", SERVER), (&hosts.client, "near", CLIENT)] {
            must(&["ip", "-n", host, "addr", "add", &format!("{v4}/24"), "dev", interface]);
            must(&["ip", "-n", host, "addr", "add", &format!("{v6}/64"), "dev", interface, "nodad"]);
            must(&["ip", "-n", host, "link", "set", "lo", "up"]);
            must(&["ip", "-n", host, "link", "set", interface, "up"]);
        }
        hosts
    }

    fn kdig(&self, words: &[&str]) -> String {
        must(&[&["ip", "netns", "exec", &self.client, "kdig", "+retry=2", "+timeout=3"][..], words].concat())
    }

    /// UDP datagrams that sockets of the server's host have received, by IPv4 and IPv6.
    fn datagrams(&self) -> (u64, u64) {
        let number = |file: &str, take: &dyn Fn(&str) -> Option<u64>| {
            let text = must(&["ip", "netns", "exec", &self.server, "cat", file]);
            take(&text).unwrap_or_else(|| panic!("{file}: {text}"))
        };
        let v4 = |text: &str| text.lines().filter(|l| l.starts_with("Udp:")).nth(1)?.split(' ').nth(1)?.parse().ok();
        let v6 = |text: &str| {
            text.lines().find(|l| l.starts_with("Udp6InDatagrams"))?.split_whitespace().nth(1)?.parse().ok()
        };
        (number("/proc/net/snmp", &v4), number("/proc/net/snmp6", &v6))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        run(&["ip", "netns", "del", &self.server]);
        run(&["ip", "netns", "del", &self.client]);
    }
}

struct Server {
    child: Child,
    folder: TempDir,
}

impl Server {
    fn start(hosts: &Hosts, interface: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        fs::write(path.join("example.org.zone"), ZONE).unwrap();
        let (v4, v6) = SERVER;
        fs::write(
            path.join("waypost.toml"),
            format!(
                "[server]\nname = \"ns1\"\nlisten = [\"{v4}:53\", \"[{v6}]:53\", \"xdp:{interface}\"]\nworkers = 1\nstate = \"state\"\n\
                 [api]\nlisten = \"127.0.0.1:5380\"\n[[zone]]\nname = \"example.org\"\nfile = \"example.org.zone\"\n"
            ),
        )
        .unwrap();
        let program = waypost().get_program().to_owned();
        let child = Command::new("ip")
            .args(["netns", "exec", &hosts.server])
            .arg(program)
            .args(["serve", "--config", "waypost.toml"])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(path.join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self { child, folder };
        let begun = Instant::now();
        while !server.log().contains("serving") && begun.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn kill(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

#[test]
fn queries_are_answered_at_the_interface_and_all_else_by_sockets() {
    let hosts = Hosts::new("a");
    let mut server = Server::start(&hosts, "far");
    let before = hosts.datagrams();
    for (host, answer) in [(SERVER.0, "192.0.2.7"), (SERVER.1, "192.0.2.7")] {
        let at = format!("@{host}");
        assert_eq!(hosts.kdig(&[&at, "plain.example.org", "A", "+short"]).trim(), answer, "{}", server.log());
        assert!(hosts.kdig(&[&at, "nothing.example.org", "A"]).contains("NXDOMAIN"));
        assert!(hosts.kdig(&[&at, "example.com", "A"]).contains("REFUSED"));
    }
    assert_eq!(hosts.datagrams(), before, "a query came to a socket:\n{}", server.log());

    // What is no plain query comes to the sockets.
    let at = format!("@{}", SERVER.0);
    assert_eq!(hosts.kdig(&[&at, "+tcp", "plain.example.org", "A", "+short"]).trim(), "192.0.2.7");
    let notify =
        run(&["ip", "netns", "exec", &hosts.client, "kdig", "+retry=0", "+timeout=2", &at, "example.org", "NOTIFY=1"]);
    assert!(hosts.datagrams().0 > before.0, "{}", String::from_utf8_lossy(&notify.stdout));

    // It takes its program along, however it ends.
    let link = || must(&["ip", "-n", &hosts.server, "link", "show", "far"]);
    assert!(link().contains("xdp"), "{}", link());
    server.kill();
    let begun = Instant::now();
    while link().contains("xdp") {
        assert!(begun.elapsed() < SOON, "{}", link());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn where_an_interface_can_not_be_had_sockets_answer() {
    let hosts = Hosts::new("b");
    let server = Server::start(&hosts, "nowhere");
    let at = format!("@{}", SERVER.0);
    assert_eq!(hosts.kdig(&[&at, "plain.example.org", "A", "+short"]).trim(), "192.0.2.7", "{}", server.log());
    let log = server.log();
    assert!(log.contains("answered through sockets") && log.contains("nowhere"), "{log}");
}
