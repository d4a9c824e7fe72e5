//! UDP rules: each client has a socket of its own to the target, until both have been silent for a while.
//!
//! What always holds: a client that is remembered keeps its target; datagrams that can't be passed on are dropped, as a
//! network does; the number of clients is bounded.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use socket2::{Domain, SockRef, Type};
use tokio::net::UdpSocket;
use tokio::time::{sleep, sleep_until};

use super::connect::{DESCRIPTOR_AGAIN, datagram_target, make_transparent, source_of};
use super::connection::{Plan, Session, Shared, Way};
use super::counts::now_ms;
use super::entrance::{Client, Entrance};
use super::outcome::Outcome;

/// Clients that one rule remembers at a time; each takes a descriptor.
const CLIENTS: usize = 10_000;
/// The largest datagram there is.
const LARGEST: usize = 65_535;
/// Datagrams from one socket before others get their turn.
const TURN: usize = 64;
/// Datagrams that wait while a client's target is looked up.
const EARLY: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; LARGEST].into_boxed_slice());
}

type Flows = Arc<Mutex<HashMap<Client, Arc<Flow>, RandomState>>>;

/// A client that is remembered.
struct Flow {
    /// Set once the target is known; what comes before waits here.
    state: Mutex<State>,
    /// Octets from the client that were passed on and are not yet counted.
    up: AtomicU64,
    /// Milliseconds since the rule began to listen.
    used_ms: AtomicU32,
}

enum State {
    Early(Vec<Vec<u8>>),
    Ready(Arc<UdpSocket>),
}

/// Forwards what comes to `socket` until it is dropped; flows go on.
pub(super) async fn serve(socket: UdpSocket, plan: &ArcSwap<Plan>, way: &Arc<Way>, shared: &Arc<Shared>) {
    let (socket, flows, started) = (Arc::new(Entrance::new(socket)), Flows::default(), Instant::now());
    loop {
        if let Err(error) = socket.readable().await {
            tracing::error!(%error, "no datagrams can be received");
            sleep(DESCRIPTOR_AGAIN).await;
            continue;
        }
        for _ in 0..TURN {
            let taken = SCRATCH.with_borrow_mut(|scratch| {
                let (count, client) = socket.try_recv(scratch)?;
                let used_ms = started.elapsed().as_millis() as u32;
                let known = lock(&flows).get(&client).cloned();
                if let Some(flow) = known {
                    flow.pass_on(&scratch[..count], used_ms);
                } else if let Some(life) =
                    admit(client, &scratch[..count], &socket, &flows, &plan.load_full(), way, shared, started)
                {
                    tokio::spawn(life);
                }
                io::Result::Ok(())
            });
            match taken {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // An answer that could not be delivered to some client.
                Err(error) => tracing::debug!(%error, "a datagram was returned"),
            }
        }
        // Targets' answers get their turn.
        tokio::task::yield_now().await;
    }
}

fn lock(flows: &Flows) -> std::sync::MutexGuard<'_, HashMap<Client, Arc<Flow>, RandomState>> {
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::too_many_arguments, reason = "all of it belongs to the one place that calls it")]
fn admit(
    client: Client,
    first: &[u8],
    socket: &Arc<Entrance>,
    flows: &Flows,
    plan: &Arc<Plan>,
    way: &Arc<Way>,
    shared: &Arc<Shared>,
    started: Instant,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    if lock(flows).len() >= CLIENTS {
        plan.counts.accept_failures.inc();
        return None;
    }
    let session = Session::enter(client.address, plan, way, shared).ok()?;
    let flow = Arc::new(Flow {
        state: Mutex::new(State::Early(vec![first.to_vec()])),
        up: AtomicU64::new(0),
        used_ms: AtomicU32::new(started.elapsed().as_millis() as u32),
    });
    lock(flows).insert(client, flow.clone());
    let known = Known { client, flows: flows.clone() };
    let (socket, plan, shared, cut) = (socket.clone(), plan.clone(), shared.clone(), way.cut.clone());
    Some(async move {
        let life = live(flow, client, socket, plan, shared, session, started);
        cut.run_until_cancelled(life).await;
        drop(known);
    })
}

/// Lets a client be forgotten at the end of its flow, also where that is cut off.
struct Known {
    client: Client,
    flows: Flows,
}

impl Drop for Known {
    fn drop(&mut self) {
        lock(&self.flows).remove(&self.client);
    }
}

impl Flow {
    fn pass_on(&self, datagram: &[u8], used_ms: u32) {
        self.used_ms.store(used_ms, Relaxed);
        match &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Ready(target) => {
                if target.try_send(datagram).is_ok() {
                    self.up.fetch_add(datagram.len() as u64, Relaxed);
                }
            }
            State::Early(waiting) if waiting.len() < EARLY => waiting.push(datagram.to_vec()),
            State::Early(_) => {}
        }
    }
}

/// The life of a client's flow: reaches the target, passes its answers back, ends after silence.
async fn live(
    flow: Arc<Flow>,
    client: Client,
    socket: Arc<Entrance>,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    mut session: Session,
    started: Instant,
) {
    let (target, number) = match reach(&plan, &shared, client.address.ip()).await {
        Ok(reached) => reached,
        Err((outcome, error)) => {
            if plan.throttle.may_speak(Instant::now()) {
                tracing::warn!(client = %client.address, listen = %plan.rule.listen, %error, "no way to the target");
            }
            session.outcome = outcome;
            return;
        }
    };
    session.set_target(number);
    let target = Arc::new(target);
    {
        let mut state = flow.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Early(waiting) = std::mem::replace(&mut *state, State::Ready(target.clone())) {
            for datagram in waiting {
                if target.try_send(&datagram).is_ok() {
                    flow.up.fetch_add(datagram.len() as u64, Relaxed);
                }
            }
        }
    }
    let quiet = plan.rule.idle_timeout;
    let mut timer = std::pin::pin!(sleep(quiet));
    session.outcome = loop {
        tokio::select! {
            ready = target.readable() => {
                if let Err(error) = ready.and_then(|()| answers(&target, &socket, client, &flow, &mut session, started)) {
                    // The target's host says that nobody listens; the client's next datagram is a new try.
                    tracing::debug!(client = %client.address, %error, "the target returned a datagram");
                    plan.circuits.failed(number);
                    break Outcome::ConnectFailed;
                }
            }
            () = timer.as_mut() => {
                let used = started + Duration::from_millis(flow.used_ms.load(Relaxed).into());
                if used.elapsed() >= quiet {
                    break Outcome::Idle;
                }
                timer.set(sleep_until((used + quiet).into()));
            }
        }
    };
    session.moved(flow.up.swap(0, Relaxed), 0, now_ms());
}

/// Passes on what the target has answered.
fn answers(
    target: &UdpSocket,
    socket: &Entrance,
    client: Client,
    flow: &Flow,
    session: &mut Session,
    started: Instant,
) -> io::Result<()> {
    SCRATCH.with_borrow_mut(|scratch| {
        let (mut down, mut result) = (0, Ok(()));
        for _ in 0..TURN {
            match target.try_recv(scratch) {
                Ok(count) => {
                    // Where the client's side is full, the datagram is lost, as in any network.
                    let _ = socket.try_send(&scratch[..count], client);
                    down += count as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => {
                    result = Err(e);
                    break;
                }
            }
        }
        flow.used_ms.store(started.elapsed().as_millis() as u32, Relaxed);
        session.moved(flow.up.swap(0, Relaxed), down, now_ms());
        result
    })
}

/// A socket that sends to one of the rule's targets, and which.
async fn reach(plan: &Plan, shared: &Shared, client: IpAddr) -> Result<(UdpSocket, usize), (Outcome, io::Error)> {
    let source = source_of(&plan.rule, client);
    let (address, number) = datagram_target(&plan.rule, source, &plan.circuits, &shared.names).await?;
    let local = match (source, address) {
        (Some(source), _) => source,
        (None, SocketAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        (None, SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let bind = || {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), None)?;
        if plan.rule.transparent {
            make_transparent(SockRef::from(&socket), local)?;
        }
        socket.bind(&SocketAddr::new(local, 0).into())?;
        UdpSocket::from_std(socket.into())
    };
    let socket = bind().map_err(|e| (Outcome::BindFailed, e))?;
    let failed = |e| (Outcome::ConnectFailed, e);
    socket.connect(address).await.map_err(failed)?;
    // Until it was announced as such, nothing is sent.
    socket.writable().await.map_err(failed)?;
    Ok((socket, number))
}
