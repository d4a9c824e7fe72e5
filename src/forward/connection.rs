//! The life of one connection up to its relay: who it is, whether it may pass, where it goes; and what is told of it.
//!
//! What always holds: each connection that was accepted is counted and logged with exactly one outcome, also when its
//! task is cut off. Nothing that a client sent is taken from its socket but a PROXY header of a trusted peer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::access::{Access, decide};
use super::connect::{Circuits, Descriptors, connect, draw, source_of};
use super::counts::{Counts, RuleCounts, Source, now_ms};
use super::door::{Attempt, Tried};
use super::hold::{Gate, Passage};
use super::inbox::Engines;
use super::ladder::{Ladder, Rung};
use super::log::{Entry, Log};
use super::orders::Orders;
use super::outcome::Outcome;
use super::peek::{self, Peeked};
use super::proxy;
use super::relay::{Relay, reset_on_close};
use super::resolve::Names;
use super::settings::{ProxyProtocol, Rule};
use super::throttle::Throttle;

/// How long a trusted peer may take to send its PROXY header.
const HEADER_WAIT: Duration = Duration::from_secs(3);
/// How long the octets that name the host are waited for; a client that says nothing is forwarded without.
const PEEK_WAIT: Duration = Duration::from_millis(500);
/// Between two looks at octets that are incomplete: new ones aren't told apart from those there already.
const PEEK_AGAIN: Duration = Duration::from_millis(5);

/// What all connections share.
pub(super) struct Shared {
    pub(super) counts: Arc<Counts>,
    pub(super) log: Log,
    pub(super) engines: Engines,
    pub(super) descriptors: Descriptors,
    pub(super) names: Names,
    pub(super) orders: Orders,
}

/// What a listener and its connections have in common, also over reloads.
pub(super) struct Way {
    /// Knows when the last connection has ended.
    pub(super) connections: TaskTracker,
    /// Cuts them all.
    pub(super) cut: CancellationToken,
    pub(super) gate: Gate,
    /// The listening socket, to be handed over; gone when it no longer listens.
    socket: Mutex<Option<Arc<OwnedFd>>>,
    ladder: Mutex<Ladder>,
}

impl Way {
    /// The listening socket, while there is one.
    pub(super) fn socket(&self) -> Option<Arc<OwnedFd>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_socket(&self, socket: Option<OwnedFd>) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = socket.map(Arc::new);
    }

    /// What counts of the nudge ladder.
    pub(super) fn ladder(&self) -> Ladder {
        *self.ladder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_ladder(&self, ladder: Ladder) {
        *self.ladder.lock().unwrap_or_else(PoisonError::into_inner) = ladder;
    }
}

impl Default for Way {
    fn default() -> Self {
        Self {
            connections: TaskTracker::new(),
            cut: CancellationToken::new(),
            gate: Gate::default(),
            socket: Mutex::default(),
            ladder: Mutex::default(),
        }
    }
}

/// A rule in force, with what belongs to it.
pub(super) struct Plan {
    pub(super) rule: Arc<Rule>,
    /// As it is set, without what an authority wants of it.
    pub(super) set: Arc<Rule>,
    /// The place of what it belongs to.
    pub(super) place: Option<u16>,
    /// Its name as the PROXY header tells it.
    pub(super) label: String,
    /// Holds for all rules.
    pub(super) access: Arc<Access>,
    pub(super) counts: RuleCounts,
    pub(super) circuits: Circuits,
    /// For failures to reach the target.
    pub(super) throttle: Throttle,
}

/// Takes in a connection whose first octets tell whose it is.
pub(super) async fn behind_proxy(
    client: std::net::TcpStream,
    peer: SocketAddr,
    plan: Arc<Plan>,
    way: Arc<Way>,
    shared: Arc<Shared>,
) {
    let alive = way.connections.token();
    let cut = way.cut.clone();
    let life = async {
        let mut client = TcpStream::from_std(client)?;
        let told = timeout(HEADER_WAIT, read_header(&mut client)).await;
        match told.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(told) => {
                if let Some(session) = enter(&client, told.unwrap_or(peer), &plan, &way, &shared) {
                    session.run(client.into_std()?).await;
                }
            }
            Err(error) => {
                if plan.throttle.may_speak(Instant::now()) {
                    tracing::warn!(%peer, %error, "no PROXY header from a peer that is trusted to send one");
                }
                refused(peer, &plan, &shared, Outcome::NoProxyHeader);
                reset_on_close(&client);
            }
        }
        io::Result::Ok(())
    };
    if let Some(Err(error)) = cut.run_until_cancelled(life).await {
        tracing::error!(%error, "a connection can't be watched");
    }
    drop(alive);
}

/// Takes the PROXY header off; gives the client that it tells.
async fn read_header(client: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut octets = vec![0; proxy::LONGEST];
    loop {
        let count = client.peek(&mut octets).await?;
        let header = proxy::read(&octets[..count]).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        if let Some(header) = header {
            client.read_exact(&mut octets[..header.length]).await?;
            return Ok(header.client);
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sleep(PEEK_AGAIN).await;
    }
}

/// Lets in a client that may connect; else closes its connection.
pub(super) fn enter<'c, C>(
    client: &'c C,
    peer: SocketAddr,
    plan: &Arc<Plan>,
    way: &Arc<Way>,
    shared: &Arc<Shared>,
) -> Option<Session>
where
    SockRef<'c>: From<&'c C>,
{
    match Session::enter(peer, plan, way, shared) {
        Ok(session) => Some(session),
        Err(outcome) => {
            if matches!(outcome, Outcome::TurnedAway | Outcome::TooMany) {
                reset_on_close(client);
            }
            None
        }
    }
}

fn refused(peer: SocketAddr, plan: &Plan, shared: &Shared, outcome: Outcome) {
    tracing::debug!(client = %peer, listen = %plan.rule.listen, %outcome, "connection refused");
    plan.counts.ended(outcome);
    shared.log.line(|| entry(&plan.rule, 0, peer, (0, 0), outcome.in_log()));
}

/// A connection that was let in, from then to its end. Dropping it is the end.
pub(super) struct Session {
    peer: SocketAddr,
    plan: Arc<Plan>,
    way: Arc<Way>,
    shared: Arc<Shared>,
    source: Arc<Source>,
    opened_ms: i64,
    up: u64,
    down: u64,
    /// Which of the rule's targets.
    target: u32,
    /// What becomes of it; cut, as long as nothing else is known.
    pub(super) outcome: Outcome,
    _alive: TaskTrackerToken,
}

impl Session {
    /// Lets in a client that may connect.
    ///
    /// # Errors
    /// Why it may not; that is counted and logged.
    pub(super) fn enter(
        peer: SocketAddr,
        plan: &Arc<Plan>,
        way: &Arc<Way>,
        shared: &Arc<Shared>,
    ) -> Result<Self, Outcome> {
        if let Some(refusal) = Outcome::of_refusal(decide(&plan.access, &plan.rule.access, peer.ip())) {
            refused(peer, plan, shared, refusal);
            return Err(refusal);
        }
        if way.ladder().standing(|| shared.orders.classes.load().of(peer.ip())).refuses(Instant::now(), draw()) {
            refused(peer, plan, shared, Outcome::TurnedAway);
            return Err(Outcome::TurnedAway);
        }
        if plan.rule.max_connections.is_some_and(|most| plan.counts.open.get() >= i64::from(most)) {
            refused(peer, plan, shared, Outcome::TooMany);
            return Err(Outcome::TooMany);
        }
        let opened_ms = now_ms();
        let source = shared.counts.open(peer.ip(), plan.place, plan.rule.listen.address.port(), opened_ms);
        plan.counts.open.inc();
        shared.descriptors.opened();
        Ok(Self {
            peer,
            plan: plan.clone(),
            way: way.clone(),
            shared: shared.clone(),
            source,
            opened_ms,
            up: 0,
            down: 0,
            target: 0,
            outcome: Outcome::Cut,
            _alive: way.connections.token(),
        })
    }

    /// Waits while it is held, connects it to a target and hands it over to be relayed.
    pub(super) async fn run(self, client: std::net::TcpStream) {
        let cut = self.way.cut.clone();
        let life = async {
            match self.held(&client).await {
                Some(outcome) => self.turn_away(&client, outcome),
                None => self.reach(client, None).await,
            }
        };
        cut.run_until_cancelled(life).await;
    }

    fn turn_away(mut self, client: &std::net::TcpStream, outcome: Outcome) {
        self.outcome = outcome;
        // To the client a target that can't be reached looks as it would without a forwarder: refused.
        reset_on_close(client);
    }

    /// As [`run`](Self::run), for one that was let go on already; an address that was `tried` in vain isn't tried again.
    pub(super) async fn go_on(self, client: std::net::TcpStream, tried: Option<Tried>) {
        let cut = self.way.cut.clone();
        cut.run_until_cancelled(self.reach(client, tried)).await;
    }

    async fn reach(mut self, client: std::net::TcpStream, tried: Option<Tried>) {
        let (rule, shared) = (&self.plan.rule, &self.shared);
        let source = source_of(rule, self.peer.ip());
        let connecting = connect(rule, source, &self.plan.circuits, &shared.names, &shared.descriptors, tried);
        let reached = if self.asks_first() {
            let peeking = async { Ok(timeout(PEEK_WAIT, wanted_host(&client)).await.ok().flatten()) };
            tokio::try_join!(connecting, peeking)
        } else {
            connecting.await.map(|reached| (reached, None))
        };
        let ((target, number), host) = match reached {
            Ok(reached) => reached,
            Err(failure) => {
                let (target, error) = (&self.plan.rule.targets[failure.target].target, &failure.error);
                if self.plan.throttle.may_speak(Instant::now()) {
                    tracing::warn!(client = %self.peer, %target, %error, "no connection to the target");
                } else {
                    tracing::debug!(client = %self.peer, %target, %error, "no connection to the target");
                }
                self.target = failure.target as u32;
                return self.turn_away(&client, failure.outcome);
            }
        };
        if let Some(host) = &host {
            self.wants(host);
        }
        let header = self.header(&client, host.as_deref());
        let look = self.looks();
        self.opened(number);
        let shared = self.shared.clone();
        shared.engines.run(self, Relay::new(client, target, header, look));
    }

    /// The relay of a connection whose target was reached at once.
    pub(super) fn connected(&mut self, attempt: Attempt) -> Relay {
        self.plan.circuits.succeeded(attempt.number);
        self.opened(attempt.number);
        Relay::new(attempt.client, attempt.target, attempt.header, self.looks())
    }

    fn opened(&mut self, number: usize) {
        self.target = number as u32;
        self.shared.log.line(|| entry(&self.plan.rule, number, self.peer, (0, 0), "opened"));
    }

    /// Whether the target is to be told the host before anything else, so that it must be known first.
    pub(super) fn asks_first(&self) -> bool {
        self.plan.rule.peek && self.plan.rule.proxy_protocol == ProxyProtocol::V2
    }

    /// Whether the host is looked for in what passes.
    fn looks(&self) -> bool {
        self.plan.rule.peek && !self.asks_first()
    }

    /// Notes the host that the client wants.
    pub(super) fn wants(&self, host: &str) {
        self.shared.counts.wants(&self.source, host);
    }

    /// Waits at the gate; gives the outcome of one that goes no further.
    async fn held(&self, client: &std::net::TcpStream) -> Option<Outcome> {
        match self.way.gate.pass().await {
            Passage::Passed => None,
            Passage::Refused => Some(Outcome::HoldFull),
            Passage::Released => {
                if !closed(client) {
                    return None;
                }
                self.way.gate.gave_up.fetch_add(1, Relaxed);
                // One that closed after it had sent something may only have half-closed: it gets its answer.
                let sent = recv(client, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
                if sent.is_ok_and(|(_, count)| count > 0) { None } else { Some(Outcome::GaveUp) }
            }
        }
    }

    /// What the target is told before anything that the client says.
    pub(super) fn header(&self, client: &std::net::TcpStream, host: Option<&str>) -> Vec<u8> {
        let rule = &self.plan.rule;
        let listener = || client.local_addr().unwrap_or(rule.listen.address);
        match rule.proxy_protocol {
            ProxyProtocol::None => Vec::new(),
            ProxyProtocol::V1 => proxy::header_v1(self.peer, listener()),
            ProxyProtocol::V2 => proxy::header_v2(self.peer, listener(), host, rule.name.as_deref()),
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

    pub(super) fn set_target(&mut self, number: usize) {
        self.target = number as u32;
    }

    pub(super) fn rule(&self) -> &Rule {
        &self.plan.rule
    }

    pub(super) fn rung(&self) -> Rung {
        let class = || self.shared.orders.classes.load().of(self.peer.ip());
        self.way.ladder().standing(class).rung(Instant::now())
    }

    /// Whether it is to end at once.
    pub(super) fn is_cut(&self) -> bool {
        self.way.cut.is_cancelled()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.source.close(self.opened_ms, now_ms());
        self.plan.counts.open.dec();
        self.shared.descriptors.closed();
        self.plan.counts.ended(self.outcome);
        let octets = (self.up, self.down);
        self.shared.log.line(|| entry(&self.plan.rule, self.target as usize, self.peer, octets, self.outcome.in_log()));
        tracing::debug!(
            client = %self.peer, listen = %self.plan.rule.listen, outcome = %self.outcome,
            bytes_up = self.up, bytes_down = self.down, "connection ended"
        );
    }
}

/// The host that the client wants, as soon as it has said so; `None` where it will not.
async fn wanted_host(client: &std::net::TcpStream) -> Option<String> {
    #[allow(
        deprecated,
        reason = "what it doubts, that the descriptor stays the same, is certain for a borrowed stream"
    )]
    let watched = AsyncFd::with_interest(client.as_fd(), Interest::READABLE).ok()?;
    let mut octets = vec![0; peek::MOST];
    loop {
        let mut ready = watched.readable().await.ok()?;
        let looked = recv(client, &mut octets[..], RecvFlags::PEEK | RecvFlags::DONTWAIT).map(|(_, count)| count);
        match looked {
            Ok(0) => return None,
            Ok(count) => match peek::peek(&octets[..count]) {
                Peeked::Host(host) => return Some(host),
                Peeked::Nothing => return None,
                Peeked::Incomplete if count == octets.len() => return None,
                Peeked::Incomplete => sleep(PEEK_AGAIN).await,
            },
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(_) => return None,
        }
    }
}

/// Whether the client has closed its side, or is gone.
fn closed(client: &std::net::TcpStream) -> bool {
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut asked = [PollFd::new(client, PollFlags::RDHUP)];
    poll(&mut asked, Some(&AT_ONCE)).is_ok() && !asked[0].revents().is_empty()
}

fn entry(rule: &Arc<Rule>, target: usize, peer: SocketAddr, (up, down): (u64, u64), result: &'static str) -> Entry {
    Entry { at: jiff::Timestamp::now(), client: Some(peer.ip()), rule: rule.clone(), target, up, down, result }
}
