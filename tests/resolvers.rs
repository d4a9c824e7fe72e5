//! What clients of a real Unbound see in front of a running server, with and without ECS:
//! - with ECS each client's subnet gets its own site, as if it had asked itself, and shares are as the weights say;
//! - without it the addresses that Unbound asks from decide, and shares are as the weights say over those;
//! - TTLs count down to a cutover through the cache;
//! - after a flip no client is given the old site past the horizon, also by a cache that was filled at the last moment.

#[path = "migration/process.rs"]
#[allow(dead_code, reason = "the migration test uses the rest of it")]
mod process;
mod support;
#[path = "migration/wait.rs"]
#[allow(dead_code, reason = "the migration test uses the rest of it")]
mod wait;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType as T;
use process::{Process, installed};
use serde_json::json;
use support::dns::{Question, addresses, rcode, ttl};
use support::ports::free_address;
use support::{DC1, EC2, HEAD, Server, from_now, instant, now, pool};
use tempfile::TempDir;

const WWW: &str = "www.example.org";

/// An Unbound that asks the server for example.org, and obeys TTLs to the letter.
struct Unbound {
    listen: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Unbound {
    fn start(server: &Server, more: &str, modules: &str) -> Self {
        let listen = free_address(Ipv4Addr::LOCALHOST);
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("unbound.conf");
        let configuration = format!(
            "server:\n interface: {}\n port: {}\n access-control: 127.0.0.0/8 allow_setrd\n directory: \"{}\"\n chroot: \"\"\n \
             username: \"\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n num-threads: 1\n module-config: \"{modules}\"\n \
             do-not-query-localhost: no\n do-ip6: no\n qname-minimisation: no\n target-fetch-policy: \"0 0 0 0 0\"\n \
             cache-min-ttl: 0\n serve-expired: no\n prefetch: no\n udp-connect: no\n outbound-msg-retry: 20\n outgoing-port-avoid: 10000-29999\n{more}\
             stub-zone:\n name: \"example.org\"\n stub-addr: {}@{}\nremote-control:\n control-enable: no\n",
            listen.ip(),
            listen.port(),
            folder.path().display(),
            server.dns[0].ip(),
            server.dns[0].port()
        );
        fs::write(&file, configuration).unwrap();
        let args = ["-d".to_owned(), "-c".to_owned(), file.display().to_string()];
        let process = Process::start("unbound", &installed("unbound"), args, folder.path());
        let unbound = Self { listen, _process: process, _folder: folder };
        wait::wait_for("unbound resolves", Duration::from_secs(20), || {
            let answer = Question::to(listen, "plain.example.org", T::A).try_send().ok()?;
            (rcode(&answer) == ResponseCode::NoError && !answer.answers.is_empty()).then_some(())
        });
        unbound
    }

    /// One that sends its clients' subnets along.
    fn with_ecs(server: &Server) -> Self {
        let more = " send-client-subnet: 127.0.0.1\n client-subnet-always-forward: yes\n max-client-subnet-ipv4: 24\n";
        Self::start(server, more, "subnetcache iterator")
    }

    fn ask(&self, name: &str, client: Ipv4Addr) -> hickory_proto::op::Message {
        Question::to(self.listen, name, T::A).from(client).send()
    }

    fn address_for(&self, client: Ipv4Addr) -> String {
        addresses(&self.ask(WWW, client))[0].clone()
    }
}

/// So many clients, each in a /24 of its own.
fn clients(count: u32) -> impl Iterator<Item = Ipv4Addr> {
    (0..count).map(|n| Ipv4Addr::new(127, 60 + (n / 250) as u8, (n % 250) as u8, 1))
}

/// Whether `hits` of `all` is what chance makes of a share, within four standard deviations.
#[track_caller]
fn assert_share(hits: usize, all: usize, share: f64) {
    let off = (hits as f64 - all as f64 * share).abs();
    assert!(off <= 4.0 * (all as f64 * share * (1.0 - share)).sqrt(), "{hits} of {all}, for a share of {share}");
}

#[test]
fn with_ecs_each_client_gets_its_own_site() {
    let server = Server::start(&format!("{HEAD}{}", pool(WWW, 80, 20, "")));
    let unbound = Unbound::with_ecs(&server);
    let at_dc1 = |unbound: &Unbound| clients(600).filter(|c| unbound.address_for(*c) == DC1).collect::<Vec<_>>();
    let seen = at_dc1(&unbound);
    assert_share(seen.len(), 600, 0.2);
    for client in clients(600) {
        let own = addresses(&server.question(WWW, T::A).subnet(client, 24).send())[0].clone();
        assert_eq!(own == DC1, seen.contains(&client), "{client}: as if it had asked itself");
    }
    assert_eq!(at_dc1(&unbound), seen, "asked again, from the cache or not");
}

#[test]
fn without_ecs_the_addresses_asked_from_decide() {
    let server = Server::start(&format!("{HEAD}{}", pool("*.wild.example.org", 80, 20, "")));
    let from: Vec<Ipv4Addr> = (0..200).map(|n| Ipv4Addr::new(127, 70, n, 1)).collect();
    let interfaces = from.iter().map(|a| format!(" outgoing-interface: {a}\n")).collect::<Vec<_>>().concat();
    let unbound = Unbound::start(&server, &interfaces, "iterator");
    let own =
        |address: &&Ipv4Addr| addresses(&server.question("a.wild.example.org", T::A).from(**address).send()) == [DC1];
    let share = from.iter().filter(own).count();
    assert_share(share, 200, 0.2);
    // Each name is asked anew, from one of the addresses.
    let name = |n: u32| format!("n{n}.wild.example.org");
    let seen = (0..600).filter(|n| addresses(&unbound.ask(&name(*n), Ipv4Addr::new(127, 0, 0, 9))) == [DC1]).count();
    assert_share(seen, 600, share as f64 / 200.0);
}

#[test]
fn a_countdown_and_a_horizon_hold_behind_a_cache() {
    let ttl_of_pool = "ttl = { normal = 6, low = 1, spread = 0 }";
    let server = Server::start(&format!("{HEAD}{}", pool(WWW, 100, 0, ttl_of_pool)));
    let unbound = Unbound::with_ecs(&server);
    let at = now() + 9;
    let path = format!("/api/v1/pools/{WWW}/cutover");
    server.api("PUT", &path, json!({"at": from_now(at - now())}), &[]).done();
    let mut lowest = u32::MAX;
    while now() < at {
        for client in clients(40) {
            let (seen, left) = (ttl(&unbound.ask(WWW, client)), at.saturating_sub(now()));
            assert!(u64::from(seen) <= left.max(1) + 1, "TTL {seen}, {left} s before the cutover");
            lowest = lowest.min(seen);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(lowest <= 2, "it counts down");

    // Fill the cache at the last moment, then flip.
    assert!(clients(40).all(|client| unbound.address_for(client) == EC2));
    server.shift(&[WWW], 100.0);
    server.wait_for("the horizon is final", |s| s.pool(WWW)["endpoints"][0]["horizon"][0]["at_least"] == false);
    let horizon = instant(&server.pool(WWW)["endpoints"][0]["horizon"][0]["at"]);
    assert!(horizon <= now() + 1 + 4, "low, and the margin");
    let mut last_old = 0;
    while now() <= horizon {
        for client in clients(40) {
            if unbound.address_for(client) == EC2 {
                last_old = now();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(last_old <= horizon, "{last_old} is after {horizon}");
    assert!(clients(40).all(|client| unbound.address_for(client) == DC1), "after the horizon nobody holds the old one");
}
