//! Reaching a target: which one, by which address, and what is learnt of it.
//!
//! What always holds: before any octet has passed, a target that refuses or doesn't answer is followed by the next.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::time::{sleep, timeout};

use super::balance::{Circuit, Health, order};
use super::door::Tried;
use super::outcome::Outcome;
use super::resolve::Names;
use super::settings::{Host, Rule, Target};

/// Silence before the kernel asks whether the other side is still there: below the five minutes after which many NATs
/// and firewalls forget a connection.
const KEEPALIVE: Duration = Duration::from_mins(2);

/// Between two tries to get a descriptor, which come back when connections end; nothing tells when.
pub(super) const DESCRIPTOR_AGAIN: Duration = Duration::from_millis(100);

/// Descriptors, of which each connection takes two. While they are short, no connection is accepted: a client waits better
/// in the kernel's queue than accepted and cut off, and one that has its descriptor can't reach its target without another.
pub(super) struct Descriptors {
    /// Connections that the limit has room for.
    room: usize,
    connections: AtomicUsize,
    /// Connections that wait for a descriptor to reach their target with.
    waiting: AtomicUsize,
}

impl Descriptors {
    /// Those of this process, by its limit now.
    pub(super) fn of_process() -> Self {
        /// For lookups, logs, pages and pipes.
        const SPARE: usize = 16;
        let limit = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize);
        let open = std::fs::read_dir("/proc/self/fd").map_or(SPARE, Iterator::count);
        let room = (limit.saturating_sub(open + SPARE) / 2).max(1);
        Self { room, connections: AtomicUsize::new(0), waiting: AtomicUsize::new(0) }
    }

    pub(super) fn are_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.connections.load(Ordering::Relaxed) >= self.room
    }

    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    async fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        sleep(DESCRIPTOR_AGAIN).await;
    }
}

/// Takes back the count also where the wait is cut off.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is known of a rule's targets, in their order.
pub(super) struct Circuits(Vec<Mutex<Circuit>>);

impl Circuits {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Mutex::default()).collect())
    }

    pub(super) fn health(&self, now: Instant) -> Vec<Health> {
        (0..self.0.len()).map(|at| self.of(at).health(now)).collect()
    }

    pub(super) fn succeeded(&self, at: usize) {
        self.of(at).succeeded();
    }

    pub(super) fn failed(&self, at: usize) {
        self.of(at).failed(Instant::now());
    }

    fn of(&self, at: usize) -> MutexGuard<'_, Circuit> {
        self.0[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why no connection to a target came about.
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) error: io::Error,
    /// The target tried last.
    pub(super) target: usize,
}

/// Why one target could not be reached.
type Unreached = (Outcome, io::Error);

/// The address that the way to the target of this client begins at; `None`: as the kernel chooses.
pub(super) fn source_of(rule: &Rule, client: IpAddr) -> Option<IpAddr> {
    if rule.transparent { Some(client.to_canonical()) } else { rule.source }
}

/// Lets a socket be bound to `source`, though it is none of our addresses.
///
/// # Errors
/// `PermissionDenied` without the capability `CAP_NET_ADMIN`.
pub(super) fn make_transparent(socket: SockRef<'_>, source: IpAddr) -> io::Result<()> {
    if source.is_ipv4() { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) }
}

/// Whether connections can come from clients' addresses at all.
///
/// # Errors
/// `PermissionDenied` without the capability `CAP_NET_ADMIN`.
pub(super) fn try_transparent() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    make_transparent(SockRef::from(&socket), Ipv4Addr::UNSPECIFIED.into())
}

/// The address that is tried first, and which target has it, where no name has to be looked up for that.
pub(super) fn first_address(
    rule: &Rule,
    source: Option<IpAddr>,
    circuits: &Circuits,
    names: &Names,
) -> Option<(usize, SocketAddr)> {
    let number = match &rule.targets[..] {
        [_] => 0,
        _ => *ordered(rule, circuits).first()?,
    };
    let target = &rule.targets[number].target;
    let address = match &target.host {
        Host::Address(address) => SocketAddr::new(*address, target.port),
        Host::Name(name) => names.first_known(name, target.port, |a| fits(source, a))?,
    };
    circuits.of(number).trying(Instant::now());
    Some((number, address))
}

fn ordered(rule: &Rule, circuits: &Circuits) -> Vec<usize> {
    let healths = circuits.health(Instant::now());
    let standing: Vec<_> = rule.targets.iter().zip(healths).map(|(t, health)| (t.weight, health)).collect();
    order(&standing, draw())
}

fn fits(source: Option<IpAddr>, address: &SocketAddr) -> bool {
    source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
}

/// Connects to one of the rule's targets, and says which. One whose address was `tried` in vain comes first, with its other
/// addresses.
pub(super) async fn connect(
    rule: &Rule,
    source: Option<IpAddr>,
    circuits: &Circuits,
    names: &Names,
    descriptors: &Descriptors,
    mut tried: Option<Tried>,
) -> Result<(TcpStream, usize), Failure> {
    let mut order = ordered(rule, circuits);
    if let Some(tried) = &tried {
        order.sort_by_key(|&target| target != tried.target);
    }
    let mut failure = None;
    for target in order {
        circuits.of(target).trying(Instant::now());
        let here = tried.take_if(|tried| tried.target == target);
        match connect_target(rule, source, &rule.targets[target].target, names, descriptors, here).await {
            Ok(stream) => {
                circuits.succeeded(target);
                return Ok((stream, target));
            }
            Err((outcome, error)) => {
                circuits.failed(target);
                if rule.targets.len() > 1 {
                    tracing::debug!(target = %rule.targets[target].target, %error, "the next target is tried");
                }
                failure = Some(Failure { outcome, error, target });
            }
        }
    }
    Err(failure.expect("a rule has at least one target"))
}

/// Where a client's datagrams go, and which target that is. Nothing shows whether anybody is there.
pub(super) async fn datagram_target(
    rule: &Rule,
    source: Option<IpAddr>,
    circuits: &Circuits,
    names: &Names,
) -> Result<(SocketAddr, usize), Unreached> {
    let mut failure = (Outcome::NotResolved, io::Error::other("the name has no address that can be used"));
    for number in ordered(rule, circuits) {
        let target = &rule.targets[number].target;
        circuits.of(number).trying(Instant::now());
        let addresses = match &target.host {
            Host::Address(address) => Ok(vec![SocketAddr::new(*address, target.port)]),
            Host::Name(name) => names.addresses(name, target.port, rule.connect_timeout).await,
        };
        match addresses {
            Ok(addresses) => {
                if let Some(address) = addresses.iter().find(|a| fits(source, a)) {
                    return Ok((*address, number));
                }
            }
            Err(error) => failure = (Outcome::NotResolved, error),
        }
    }
    Err(failure)
}

/// Connects to a target; all its addresses are tried in turn, but for one that was `tried` just now.
async fn connect_target(
    rule: &Rule,
    source: Option<IpAddr>,
    target: &Target,
    names: &Names,
    descriptors: &Descriptors,
    mut tried: Option<Tried>,
) -> Result<TcpStream, Unreached> {
    let addresses = match &target.host {
        Host::Address(address) => vec![SocketAddr::new(*address, target.port)],
        Host::Name(name) => {
            let addresses = names.addresses(name, target.port, rule.connect_timeout).await;
            addresses.map_err(|error| (Outcome::NotResolved, error))?
        }
    };
    let named = matches!(target.host, Host::Name(_));
    let mut failure = (Outcome::NotResolved, io::Error::other("the name has no address that can be used"));
    for address in addresses.into_iter().filter(|address| !named || fits(source, address)) {
        let connected = match tried.take_if(|tried| tried.address == address) {
            Some(tried) => Err((Outcome::ConnectFailed, tried.error)),
            None => connect_to(rule, source, address, descriptors).await,
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

async fn connect_to(
    rule: &Rule,
    source: Option<IpAddr>,
    address: SocketAddr,
    descriptors: &Descriptors,
) -> Result<TcpStream, Unreached> {
    let failed = |error| (Outcome::ConnectFailed, error);
    let started = Instant::now();
    let stream = loop {
        match begin(rule, source, address) {
            Err((_, e)) if is_shortage(&e) && started.elapsed() < rule.connect_timeout => descriptors.wait().await,
            begun => break begun?,
        }
    };
    let watched = tokio::net::TcpStream::from_std(stream).map_err(failed)?;
    let connected = timeout(rule.connect_timeout, watched.writable()).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    match watched.take_error().map_err(failed)? {
        Some(error) => Err(failed(error)),
        None => watched.into_std().map_err(failed),
    }
}

/// A connection to `address` that is being made: writable once it is there. It is not yet [kept alive](keep_alive).
///
/// # Errors
/// What the kernel says at once.
pub(super) fn begin(rule: &Rule, source: Option<IpAddr>, address: SocketAddr) -> Result<TcpStream, Unreached> {
    let failed = |error| (Outcome::ConnectFailed, error);
    if let Some(source) = source.filter(|source| source.is_ipv4() != address.is_ipv4()) {
        let told = format!("{source} and {} are of different families", address.ip());
        return Err((Outcome::BindFailed, io::Error::other(told)));
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None).map_err(failed)?;
    socket.set_tcp_nodelay(true).map_err(failed)?;
    if let Some(source) = source {
        let free = if rule.transparent { make_transparent(SockRef::from(&socket), source) } else { Ok(()) };
        let bound = free.and_then(|()| socket.bind(&SocketAddr::new(source, 0).into()));
        bound.map_err(|error| (Outcome::BindFailed, error))?;
    }
    match socket.connect(&address.into()) {
        Err(e) if e.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(failed(e)),
        _ => Ok(socket.into()),
    }
}

fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// What accepted sockets inherit from their listener.
pub(super) fn set_options(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    keep_alive(socket)
}

/// Lets the kernel ask whether the other side is still there, after [`KEEPALIVE`] without a word.
pub(super) fn keep_alive(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// A number that nobody needs to guess, uniform over all of `u64` (SplitMix64): shares of connections, not secrets.
pub(super) fn draw() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0);
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = STATE.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
