//! Addresses of target names, by /etc/hosts and DNS, kept for as long as their TTL says.
//!
//! What always holds: one lookup of a name is under way at a time, whoever waits for it; where it fails, the last addresses
//! go on being used; the system's configuration is read anew for each lookup. Connections that are open are left alone.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, Resolver, system_conf};
use tokio::sync::watch;
use tokio::time::timeout;

/// A TTL of 0 would have the resolver asked for each connection.
const SHORTEST: Duration = Duration::from_secs(1);
/// A target that moves should not be missed for a day.
const LONGEST: Duration = Duration::from_hours(1);
/// When to look again at what tells no TTL: /etc/hosts, and a lookup that failed.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a connection waits for newer addresses than it has.
const HURRY: Duration = Duration::from_secs(1);
/// How long a lookup may take at all.
const PATIENCE: Duration = Duration::from_secs(30);

type Configure = fn() -> (ResolverConfig, ResolverOpts);

/// What is known of names.
pub(super) struct Names {
    known: Mutex<HashMap<String, Arc<Known>>>,
    configure: Configure,
}

impl Default for Names {
    fn default() -> Self {
        Self { known: Mutex::default(), configure: of_system }
    }
}

/// What is known of a name.
#[derive(Default)]
struct Known {
    answer: watch::Sender<Answer>,
    /// Whether a lookup is under way.
    asking: AtomicBool,
}

#[derive(Default)]
struct Answer {
    addresses: Vec<IpAddr>,
    /// When it is asked for again; `None`: it never was.
    due: Option<Instant>,
    /// Why the last lookup failed, if it did.
    failure: Option<String>,
}

impl Names {
    /// The addresses of `name`, IPv4 first, with `port`; waits for `patience` at most, and less where older ones are known.
    ///
    /// # Errors
    /// The resolver's, when nothing is known of the name.
    pub(super) async fn addresses(&self, name: &str, port: u16, patience: Duration) -> io::Result<Vec<SocketAddr>> {
        let known =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
        let mut answer = known.answer.subscribe();
        let (due, empty) = {
            let answer = answer.borrow_and_update();
            (answer.due, answer.addresses.is_empty())
        };
        if due.is_none_or(|due| due <= Instant::now()) {
            if !known.asking.swap(true, Ordering::AcqRel) {
                tokio::spawn(renew(known.clone(), name.to_owned(), self.configure));
            }
            // Without an answer in time the last one counts; the lookup goes on.
            let _ = timeout(if empty { patience } else { patience.min(HURRY) }, answer.changed()).await;
        }
        let answer = answer.borrow();
        if answer.addresses.is_empty() {
            let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
            return Err(answer.failure.as_ref().map_or_else(timed_out, |failure| io::Error::other(failure.clone())));
        }
        Ok(answer.addresses.iter().map(|&address| SocketAddr::new(address, port)).collect())
    }

    /// The first address of `name` that fits, where one is known and needs not be asked for again.
    pub(super) fn first_known(&self, name: &str, port: u16, fits: impl Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name)?.clone();
        let answer = known.answer.borrow();
        answer.due.filter(|due| *due > Instant::now())?;
        answer.addresses.iter().map(|&address| SocketAddr::new(address, port)).find(fits)
    }
}

/// Looks a name up, and tells all who wait.
async fn renew(known: Arc<Known>, name: String, configure: Configure) {
    let found =
        timeout(PATIENCE, look_up(&name, configure)).await.unwrap_or_else(|_| Err("it took too long".to_owned()));
    known.answer.send_modify(|answer| match found {
        Ok((addresses, ttl)) => {
            let due = Some(Instant::now() + ttl.clamp(SHORTEST, LONGEST));
            *answer = Answer { addresses, due, failure: None };
        }
        Err(error) => {
            if !answer.addresses.is_empty() {
                tracing::warn!(%name, %error, "the name can't be looked up; its last addresses go on being used");
            }
            answer.due = Some(Instant::now() + AGAIN);
            answer.failure = Some(error);
        }
    });
    known.asking.store(false, Ordering::Release);
}

/// The addresses of a name, and how long they hold.
async fn look_up(name: &str, configure: Configure) -> Result<(Vec<IpAddr>, Duration), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{name:?} can't be looked up: {error}");
    let parsed = Name::from_utf8(name).map_err(|e| failed(&e))?;
    let written = of_hosts(&parsed);
    if !written.is_empty() {
        return Ok((written, AGAIN));
    }
    let (config, mut options) = configure();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build();
    let found = resolver.map_err(|e| failed(&e))?.lookup_ip(parsed).await.map_err(|e| failed(&e))?;
    let mut addresses: Vec<_> = found.iter().collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    if addresses.is_empty() {
        return Err(failed(&"it has no address"));
    }
    Ok((addresses, found.valid_until().saturating_duration_since(Instant::now())))
}

/// What /etc/hosts says of a name.
fn of_hosts(name: &Name) -> Vec<IpAddr> {
    let hosts = Hosts::from_system().unwrap_or_default();
    let of_type = |record_type| hosts.lookup_static_host(&Query::query(name.clone(), record_type));
    let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of_type);
    found
        .flat_map(|found| found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
        .collect()
}

/// /etc/resolv.conf; where it names no server, the one on this host (resolv.conf(5)).
fn of_system() -> (ResolverConfig, ResolverOpts) {
    system_conf::read_system_conf().unwrap_or_else(|_| {
        let here = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        (ResolverConfig::from_name_servers(vec![here]), ResolverOpts::default())
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use hickory_resolver::config::ConnectionConfig;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    /// What the name server tells: 0 fails, and the last octet of the address otherwise.
    static TOLD: AtomicU32 = AtomicU32::new(1);
    static ASKED: AtomicU32 = AtomicU32::new(0);
    static PORT: OnceLock<u16> = OnceLock::new();

    /// A name server that knows one address, with a TTL of 90 s, whatever it is asked.
    fn name_server() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        PORT.set(socket.local_addr().unwrap().port()).unwrap();
        thread::spawn(move || {
            let mut octets = [0; 1500];
            while let Ok((_, client)) = socket.recv_from(&mut octets) {
                let mut end = 12;
                while octets[end] != 0 {
                    end += usize::from(octets[end]) + 1;
                }
                let address = octets[end + 2] == 1;
                ASKED.fetch_add(u32::from(address), Ordering::Relaxed);
                let told = TOLD.load(Ordering::Relaxed) as u8;
                let mut response = octets[..end + 5].to_vec();
                response[2..12].copy_from_slice(&[0x81, if told == 0 { 0x82 } else { 0x80 }, 0, 1, 0, 0, 0, 0, 0, 0]);
                if told > 0 && address {
                    response[7] = 1;
                    response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 90, 0, 4, 192, 0, 2, told]);
                }
                socket.send_to(&response, client).unwrap();
            }
        });
    }

    fn configure() -> (ResolverConfig, ResolverOpts) {
        let mut udp = ConnectionConfig::udp();
        udp.port = *PORT.get().unwrap();
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![udp]);
        (ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
    }

    impl Names {
        fn known(&self, name: &str) -> Arc<Known> {
            self.known.lock().unwrap()[name].clone()
        }

        /// As if the TTL had passed.
        fn age(&self, name: &str) {
            self.known(name).answer.send_modify(|answer| answer.due = Some(Instant::now()));
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_for_when_its_ttl_is_over_and_kept_when_nobody_answers() {
        name_server();
        let names = Names { configure, ..Names::default() };
        let ask = || names.addresses("old.example.org", 80, SOON);
        let address = |last| vec![SocketAddr::from(([192, 0, 2, last], 80))];
        let together = tokio::join!(ask(), ask(), ask());
        assert_eq!((together.0.unwrap(), together.2.unwrap()), (address(1), address(1)));
        TOLD.store(2, Ordering::Relaxed);
        assert_eq!(ask().await.unwrap(), address(1));
        assert_eq!(ASKED.load(Ordering::Relaxed), 1, "once for all who wait, and not again within its TTL");
        let due = names.known("old.example.org").answer.borrow().due.unwrap();
        let left = due.saturating_duration_since(Instant::now());
        assert!((Duration::from_mins(1)..=Duration::from_secs(90)).contains(&left), "{left:?}");
        names.age("old.example.org");
        assert_eq!(ask().await.unwrap(), address(2));
        TOLD.store(0, Ordering::Relaxed);
        names.age("old.example.org");
        assert_eq!(ask().await.unwrap(), address(2), "a failure takes nothing away");
        let unknown = names.addresses("unknown.example.org", 80, SOON).await.unwrap_err();
        assert!(unknown.to_string().contains("unknown.example.org"), "{unknown}");
    }

    #[tokio::test]
    async fn the_hosts_file_comes_first() {
        let names = Names::default();
        let found = names.addresses("LOCALHOST", 80, SOON).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 80) && !found.is_empty(), "{found:?}");
        assert!(found.is_sorted_by_key(SocketAddr::is_ipv6));
    }
}
