//! Real validators of signed zones: `ldns-verify-zone` over a transfer, Unbound as a resolver; and dig, to look at answers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Server;
use super::ports::free_address;

/// What dig says.
pub fn dig(server: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new("dig");
    command.arg(format!("@{}", server.ip())).args(["-p", &server.port().to_string(), "+tries=2", "+time=5"]);
    let output = command.args(arguments).output().unwrap_or_else(|e| panic!("dig: {e}; see tests/setup.sh"));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The zone as transferred verifies.
#[track_caller]
pub fn verify(server: &Server) {
    let zone = dig(server.dns[0], &["example.org", "AXFR", "+onesoa"]);
    let file = server.file("transferred");
    fs::write(&file, &zone).unwrap();
    let output =
        Command::new("ldns-verify-zone").arg(&file).output().expect("tests/setup.sh installs ldns-verify-zone");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}\n{zone}");
}

/// An Unbound as a validating resolver of `example.org` alone.
pub struct Unbound {
    child: Child,
    at: SocketAddr,
}

impl Unbound {
    /// One that trusts the zone's keys as they are now.
    pub fn start(server: &Server, folder: &Path) -> Self {
        let keys = dig(server.dns[0], &["example.org", "DNSKEY", "+noall", "+answer"]).replace('\t', " ");
        let anchors: Vec<&str> = keys.lines().filter(|line| line.contains(" 257 ")).collect();
        Self::trusting(&anchors, server, folder)
    }

    /// One that trusts these DNSKEY or DS records.
    pub fn trusting(anchors: &[&str], server: &Server, folder: &Path) -> Self {
        assert!(!anchors.is_empty());
        let anchor = format!("    trust-anchor: \"{}\"\n", anchors.join("\"\n    trust-anchor: \""));
        let at = free_address(Ipv4Addr::LOCALHOST);
        let file = folder.join(format!("unbound-{}.conf", at.port()));
        let text = format!(
            "server:\n    interface: {}\n    port: {}\n    access-control: 127.0.0.0/8 allow\n    directory: \"{}\"\n    \
             chroot: \"\"\n    username: \"\"\n    pidfile: \"\"\n    use-syslog: no\n    logfile: \"\"\n    \
             module-config: \"validator iterator\"\n    do-not-query-localhost: no\n    do-ip6: no\n    \
             harden-dnssec-stripped: yes\n    harden-algo-downgrade: yes\n    val-log-level: 2\n    cache-min-ttl: 0\n    target-fetch-policy: \"0 0 0 0 0\"\n    \
             aggressive-nsec: no\n    outgoing-port-avoid: 10000-29999\n{anchor}\
             stub-zone:\n    name: \"example.org\"\n    stub-addr: {}@{}\nremote-control:\n    control-enable: no\n",
            at.ip(),
            at.port(),
            folder.display(),
            server.dns[0].ip(),
            server.dns[0].port(),
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new("/usr/sbin/unbound");
        command.args(["-d", "-c"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(folder.join("unbound.log")).unwrap());
        let unbound = Self { child: command.spawn().expect("tests/setup.sh installs unbound"), at };
        let until = Instant::now() + Duration::from_secs(20);
        while !unbound.ask("example.org", "SOA").contains("status: NOERROR") {
            assert!(Instant::now() < until, "{}", fs::read_to_string(folder.join("unbound.log")).unwrap());
            std::thread::sleep(Duration::from_millis(100));
        }
        unbound
    }

    /// What it answers.
    pub fn ask(&self, name: &str, rtype: &str) -> String {
        dig(self.at, &[name, rtype, "+dnssec", "+noidnin"])
    }

    /// Resolves, and has validated the answer, which has this status.
    #[track_caller]
    pub fn validates(&self, name: &str, rtype: &str, status: &str, server: &Server) {
        let answer = self.ask(name, rtype);
        let flags = answer.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_default();
        let is_secure = flags.split(';').nth(2).is_some_and(|flags| flags.contains(" ad"));
        let plain = || dig(server.dns[0], &[name, rtype, "+dnssec", "+norec"]);
        assert!(answer.contains(&format!("status: {status}")) && is_secure, "{answer}\nof\n{}", plain());
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
