//! The life of one connection: access, connect, relay, and what is told of it.
//!
//! What always holds: each connection that was accepted is counted and logged with exactly one outcome, also when its
//! task is cut off.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::access::{Access, decide};
use super::counts::{Counts, RuleCounts, Source, now_ms};
use super::engine::Engines;
use super::log::{Entry, Log};
use super::outcome::Outcome;
use super::proxy;
use super::relay::reset_on_close;
use super::settings::{Host, ProxyProtocol, Rule};
use super::throttle::Throttle;

/// Silence before the kernel asks whether the other side is still there: below the five minutes after which many NATs
/// and firewalls forget a connection.
const KEEPALIVE: Duration = Duration::from_mins(2);

/// Between two tries to get a descriptor, which come back when connections end; nothing tells when.
pub(super) const DESCRIPTOR_AGAIN: Duration = Duration::from_millis(100);

/// What all connections share.
pub(super) struct Shared {
    pub(super) counts: Arc<Counts>,
    pub(super) log: Log,
    pub(super) engines: Engines,
    pub(super) shortage: Shortage,
}

/// How many connections wait for a descriptor to reach their target with. While there are any, none is accepted: a client
/// waits better in the kernel's queue than accepted and cut off.
#[derive(Default)]
pub(super) struct Shortage(AtomicUsize);

impl Shortage {
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    async fn wait(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.0);
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

/// What a listener and its connections have in common, also over reloads.
#[derive(Default)]
pub(super) struct Way {
    /// Knows when the last connection has ended.
    pub(super) connections: TaskTracker,
    /// Cuts them all.
    pub(super) cut: CancellationToken,
}

/// A rule in force, with what belongs to it.
pub(super) struct Plan {
    pub(super) rule: Arc<Rule>,
    /// Holds for all rules.
    pub(super) access: Arc<Access>,
    pub(super) counts: RuleCounts,
    /// For failures to reach the target.
    pub(super) throttle: Throttle,
}

/// Refuses a client that may not connect; else gives back what to await.
pub(super) fn admit(
    client: TcpStream,
    peer: SocketAddr,
    plan: Arc<Plan>,
    way: &Arc<Way>,
    shared: Arc<Shared>,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    if let Some(refusal) = Outcome::of_refusal(decide(&plan.access, &plan.rule.access, peer.ip())) {
        tracing::debug!(client = %peer, listen = %plan.rule.listen, outcome = %refusal, "connection refused");
        plan.counts.ended(refusal);
        shared.log.line(|| entry(&plan.rule, peer, 0, 0, refusal.in_log()));
        return None;
    }
    let source = shared.counts.open(peer.ip(), now_ms());
    plan.counts.open.inc();
    let alive = way.connections.token();
    let way = way.clone();
    let session = Session { peer, plan, way, shared, source, up: 0, down: 0, outcome: Outcome::Cut, _alive: alive };
    let cut = session.way.cut.clone();
    Some(async move { _ = cut.run_until_cancelled(session.run(client)).await })
}

/// A connection that was let in, from then to its end. Dropping it is the end.
pub(super) struct Session {
    peer: SocketAddr,
    plan: Arc<Plan>,
    way: Arc<Way>,
    shared: Arc<Shared>,
    source: Arc<Source>,
    up: u64,
    down: u64,
    /// What becomes of it; cut, as long as nothing else is known.
    pub(super) outcome: Outcome,
    _alive: TaskTrackerToken,
}

impl Session {
    /// Connects it to the target and hands it over to be relayed.
    async fn run(mut self, client: TcpStream) {
        let target = match connect(&self.plan.rule, &self.shared.shortage).await {
            Ok(target) => target,
            Err(failure) => {
                let (target, error) = (&self.plan.rule.target, &failure.error);
                if self.plan.throttle.may_speak(Instant::now()) {
                    tracing::warn!(client = %self.peer, %target, %error, "no connection to the target");
                } else {
                    tracing::debug!(client = %self.peer, %target, %error, "no connection to the target");
                }
                self.outcome = failure.outcome;
                // To the client a target that can't be reached looks as it would without a forwarder: refused.
                reset_on_close(&client);
                return;
            }
        };
        let header = match self.plan.rule.proxy_protocol {
            ProxyProtocol::None => Vec::new(),
            ProxyProtocol::V2 => {
                let listener = client.local_addr().unwrap_or(self.plan.rule.listen.address);
                proxy::header_v2(self.peer, listener)
            }
        };
        self.shared.log.line(|| entry(&self.plan.rule, self.peer, 0, 0, "opened"));
        match client.into_std().and_then(|client| Ok((client, target.into_std()?))) {
            Ok((client, target)) => {
                let shared = self.shared.clone();
                shared.engines.run(self, client, target, header);
            }
            Err(error) => tracing::error!(%error, "a connection can't be handed over to be relayed"),
        }
    }

    /// Notes octets taken from the client and from the target, at `now_ms`.
    pub(super) fn moved(&mut self, up: u64, down: u64, now_ms: i64) {
        self.up += up;
        self.down += down;
        self.source.moved(up, down, now_ms);
        self.plan.counts.up.inc_by(up);
        self.plan.counts.down.inc_by(down);
    }

    /// How long it may stand without a byte.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.plan.rule.idle_timeout
    }

    /// Whether it is to end at once.
    pub(super) fn is_cut(&self) -> bool {
        self.way.cut.is_cancelled()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.source.close(now_ms());
        self.plan.counts.open.dec();
        self.plan.counts.ended(self.outcome);
        self.shared.log.line(|| entry(&self.plan.rule, self.peer, self.up, self.down, self.outcome.in_log()));
        tracing::debug!(
            client = %self.peer, listen = %self.plan.rule.listen, outcome = %self.outcome,
            bytes_up = self.up, bytes_down = self.down, "connection ended"
        );
    }
}

fn entry(rule: &Arc<Rule>, peer: SocketAddr, up: u64, down: u64, result: &'static str) -> Entry {
    Entry { at: jiff::Timestamp::now(), client: Some(peer.ip()), rule: rule.clone(), up, down, result }
}

/// Why no connection to a target came about.
struct Failure {
    outcome: Outcome,
    error: io::Error,
}

impl Failure {
    fn connecting(error: io::Error) -> Self {
        Self { outcome: Outcome::ConnectFailed, error }
    }
}

/// Connects to the target; a name is looked up now, and all its addresses are tried in turn.
async fn connect(rule: &Rule, shortage: &Shortage) -> Result<TcpStream, Failure> {
    let name = match &rule.target.host {
        Host::Address(address) => return connect_to(rule, SocketAddr::new(*address, rule.target.port), shortage).await,
        Host::Name(name) => name.as_str(),
    };
    let looked_up = timeout(rule.connect_timeout, lookup_host((name, rule.target.port))).await;
    let addresses = looked_up
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| Failure { outcome: Outcome::NotResolved, error })?;
    let mut failure =
        Failure { outcome: Outcome::NotResolved, error: io::Error::other("the name has no address that can be used") };
    for address in addresses.filter(|a| rule.source.is_none_or(|s| s.is_ipv4() == a.is_ipv4())) {
        match connect_to(rule, address, shortage).await {
            Ok(target) => return Ok(target),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

async fn connect_to(rule: &Rule, address: SocketAddr, shortage: &Shortage) -> Result<TcpStream, Failure> {
    let started = Instant::now();
    let socket = loop {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        match socket {
            Err(e) if is_shortage(&e) && started.elapsed() < rule.connect_timeout => shortage.wait().await,
            socket => break socket.map_err(Failure::connecting)?,
        }
    };
    set_options(SockRef::from(&socket)).map_err(Failure::connecting)?;
    if let Some(source) = rule.source {
        socket.bind(SocketAddr::new(source, 0)).map_err(|error| Failure { outcome: Outcome::BindFailed, error })?;
    }
    let connected = timeout(rule.connect_timeout, socket.connect(address)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(Failure::connecting)
}

fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// What both sockets of a relay have; accepted ones inherit it from their listener.
pub(super) fn set_options(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}
