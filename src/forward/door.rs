//! A listening socket as engines accept from it, and what can be done for a connection at once, without a wait.
//!
//! What always holds: a failed accept(2) ends nothing; what comes to be a connection that has to wait for something is
//! left to a task of the runtime.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::runtime::Handle;

use super::connect::{begin, first_address, source_of};
use super::connection::{Plan, Session, Shared, Way, behind_proxy, enter};
use super::log::Entry;
use super::throttle::Throttle;

/// A listening socket, which must not block, and what becomes of those who come by it.
pub(super) struct Door {
    pub(super) socket: TcpListener,
    pub(super) plan: Arc<ArcSwap<Plan>>,
    pub(super) way: Arc<Way>,
    pub(super) shared: Arc<Shared>,
    /// For failures to accept.
    pub(super) throttle: Throttle,
}

/// What has come of accepting once.
pub(super) enum Accepted {
    /// Its target is being connected to.
    Begun(Session, Box<Attempt>),
    /// It was refused, or something has to be waited for.
    Done,
    /// Nobody is there, or not any more.
    Nobody,
    /// There is no room; accepting should rest.
    Failed,
}

/// A connection to a target that is being made.
pub(super) struct Attempt {
    pub(super) client: TcpStream,
    pub(super) target: TcpStream,
    /// Which of the rule's targets.
    pub(super) number: usize,
    pub(super) address: SocketAddr,
    /// What the target is told before anything that the client says.
    pub(super) header: Vec<u8>,
    /// What was announced of the client meanwhile.
    pub(super) client_events: EventFlags,
}

/// An address that was tried in vain.
pub(super) struct Tried {
    /// Which of the rule's targets has it.
    pub(super) target: usize,
    pub(super) address: SocketAddr,
    pub(super) error: io::Error,
}

impl Door {
    /// Accepts one connection.
    pub(super) fn accept(&self, runtime: &Handle) -> Accepted {
        if self.shared.descriptors.are_short() {
            return Accepted::Failed;
        }
        match acceptfrom_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((client, peer)) => match peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                Some(peer) => self.admit(client.into(), peer, runtime),
                None => Accepted::Nobody,
            },
            Err(Errno::AGAIN | Errno::INTR) => Accepted::Nobody,
            // A client that went away while it waited is no reason for the others to wait.
            Err(error @ Errno::CONNABORTED) => {
                self.failed(error);
                Accepted::Nobody
            }
            Err(error) => {
                self.failed(error);
                Accepted::Failed
            }
        }
    }

    fn admit(&self, client: TcpStream, peer: SocketAddr, runtime: &Handle) -> Accepted {
        let plan = self.plan.load();
        if plan.rule.proxy_from.iter().any(|net| net.contains(&peer.ip().to_canonical())) {
            runtime.spawn(behind_proxy(client, peer, plan.clone(), self.way.clone(), self.shared.clone()));
            return Accepted::Done;
        }
        let Some(session) = enter(&client, peer, &plan, &self.way, &self.shared) else { return Accepted::Done };
        let at_once = self.way.gate.is_open() && !session.asks_first();
        let source = source_of(&plan.rule, peer.ip());
        let first = at_once.then(|| first_address(&plan.rule, source, &plan.circuits, &self.shared.names)).flatten();
        let begun = first.map(|(number, address)| (number, address, begin(&plan.rule, source, address)));
        match begun {
            Some((number, address, Ok(target))) => {
                let header = session.header(&client, None);
                let client_events = EventFlags::empty();
                Accepted::Begun(session, Box::new(Attempt { client, target, number, address, header, client_events }))
            }
            // What is wrong is found out again there, and told.
            Some((_, _, Err(_))) => {
                runtime.spawn(session.go_on(client, None));
                Accepted::Done
            }
            None => {
                runtime.spawn(session.run(client));
                Accepted::Done
            }
        }
    }

    fn failed(&self, errno: Errno) {
        let plan = self.plan.load();
        plan.counts.accept_failures.inc();
        if self.throttle.may_speak(Instant::now()) {
            let error = io::Error::from(errno);
            tracing::error!(listen = %plan.rule.listen, %error, "a connection could not be accepted");
            self.shared.log.line(|| Entry {
                at: jiff::Timestamp::now(),
                client: None,
                rule: plan.rule.clone(),
                target: 0,
                up: 0,
                down: 0,
                result: "accept-failed -",
            });
        }
    }
}
