//! A caching resolver: a real Unbound with an address of its own, that asks Waypost for one zone.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use super::dns;
use super::process::{Process, installed};
use super::wait::wait_for;

/// One resolver.
pub struct Unbound {
    /// Where clients ask it.
    pub listen: SocketAddrV4,
    _process: Process,
}

impl Unbound {
    /// Starts it and waits until it resolves `name`, which lies in `zone`, which `authority` serves.
    pub fn start(listen: SocketAddrV4, zone: &str, name: &str, authority: SocketAddrV4, parent: &Path) -> Self {
        let what = format!("unbound-{}", listen.ip());
        let folder = parent.join(&what);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("unbound.conf");
        fs::write(&file, configuration(listen, zone, authority, &folder)).unwrap();
        let args = ["-d".into(), "-c".into(), file.display().to_string()];
        let mut process = Process::start(&what, &installed("unbound"), args, parent);
        wait_for(&format!("{what} resolves {name}"), Duration::from_secs(10), || {
            process.assert_running();
            dns::ask(listen, *listen.ip(), name).ok()?.address()
        });
        Self { listen, _process: process }
    }

    /// Its own address, by which Waypost knows it.
    pub fn address(&self) -> Ipv4Addr {
        *self.listen.ip()
    }
}

/// It obeys TTLs to the letter: no floor, nothing served expired, nothing fetched ahead. A server that is gone is asked
/// again for as long as a client would wait, as Unbound remembers a failure for 5 s.
fn configuration(listen: SocketAddrV4, zone: &str, authority: SocketAddrV4, folder: &Path) -> String {
    let (address, port) = (listen.ip(), listen.port());
    let (authority, authority_port) = (authority.ip(), authority.port());
    let folder = folder.display();
    format!(
        r#"server:
    interface: {address}
    port: {port}
    outgoing-interface: {address}
    access-control: 127.0.0.0/8 allow
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    num-threads: 1
    module-config: "iterator"
    do-not-query-localhost: no
    do-ip6: no
    qname-minimisation: no
    target-fetch-policy: "0 0 0 0 0"
    cache-min-ttl: 0
    cache-max-ttl: 86400
    serve-expired: no
    prefetch: no
    udp-connect: no
    outbound-msg-retry: 20
    infra-host-ttl: 1
    infra-keep-probing: yes
stub-zone:
    name: "{zone}"
    stub-addr: {authority}@{authority_port}
remote-control:
    control-enable: no
"#
    )
}
