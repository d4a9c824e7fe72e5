//! Where connections live: threads with an epoll(7) instance each, which accept, connect and relay without a wait.
//!
//! A connection that stands still costs its place in a table and nothing else: no task, no timer, no buffer. Deadlines
//! are looked at in one pass over the table when the nearest is due. What has to be waited for otherwise (a hold, a name, a
//! PROXY header, a host that the target shall be told) is a task of the runtime, which gives the connection back. All engines
//! accept from the same listening sockets; the kernel wakes one of them for a connection. A socket for each engine
//! (SO_REUSEPORT) would have a queue of its own, lost when it is closed, so that nothing could be handed over.
//!
//! What always holds: each connection that comes in leaves with exactly one outcome; a place in the table is not given
//! again before all events of the batch are dealt with, so that no event reaches a stranger.

use std::io;
use std::mem;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::connect::keep_alive;
use super::connection::Session;
use super::counts::now_ms;
use super::door::{Accepted, Attempt, Door, Tried};
use super::inbox::{Inbox, Message};
use super::ladder::Rung;
use super::outcome::Outcome;
use super::relay::{Relay, Side, Turn};

/// Events that are taken from the kernel at once.
const EVENTS: usize = 256;
/// Deadlines are met to this precision, and looked at no more often.
const TICK: Duration = Duration::from_millis(100);
/// The age at which the connection to the target begins to be kept alive: most end before, and save two system calls.
const KEPT_FROM: Duration = Duration::from_secs(30);
/// Events are told once, when something changes: no call to the kernel turns them on and off.
const WATCHED: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);
/// Of the engines that wait, one is woken. Kernels before 4.5 know no such flag, pass over it and wake them all.
const ENTRANCE: EventFlags = EventFlags::IN.union(EventFlags::EXCLUSIVE);
/// Marks in the data of an event what it is of; else of a relay.
const OF_DOOR: u64 = 1 << 62;
const OF_INBOX: u64 = 1 << 63;

/// One of them.
pub(super) struct Engine {
    epoll: OwnedFd,
    inbox: Receiver<Message>,
    runtime: Handle,
    doors: Vec<Option<Arc<Door>>>,
    /// Doors that aren't watched, as accepting failed; until the next look.
    resting: Vec<usize>,
    places: Vec<Option<Place>>,
    free: Vec<u32>,
    /// Places left in this batch.
    left: Vec<u32>,
    /// Relays with more to do.
    again: Vec<u32>,
    started: Instant,
    /// Ticks since `started`, and the wall clock, both read once for each batch.
    now: u32,
    now_ms: i64,
    /// When deadlines are looked at next.
    next_look: Option<u32>,
}

/// A connection in the table.
struct Place {
    stage: Stage,
    session: Session,
    /// Whether it is among those with more to do.
    queued: bool,
    /// Whether the connection to the target is kept alive.
    kept: bool,
    /// The tick at which it came.
    began: u32,
    /// The tick at which octets moved last.
    moved: u32,
}

enum Stage {
    Connecting(Box<Attempt>),
    Relaying(Relay),
}

impl Engine {
    /// Starts a thread; gives the way to tell it something.
    ///
    /// # Errors
    /// Those of epoll_create1(2), eventfd2(2) and clone(2).
    pub(super) fn start(number: usize) -> io::Result<Inbox> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        // Each ring is told once, so that it needs not be read.
        epoll::add(&epoll, &bell, EventData::new_u64(OF_INBOX), EventFlags::IN | EventFlags::ET)?;
        let (sender, inbox) = channel();
        let engine = Self {
            epoll,
            inbox,
            runtime: Handle::current(),
            doors: Vec::new(),
            resting: Vec::new(),
            places: Vec::new(),
            free: Vec::new(),
            left: Vec::new(),
            again: Vec::new(),
            started: Instant::now(),
            now: 0,
            now_ms: now_ms(),
            next_look: None,
        };
        let kept = bell.clone();
        thread::Builder::new().name(format!("relay-{number}")).spawn(move || {
            engine.run();
            drop(kept);
        })?;
        Ok(Inbox::new(sender, bell))
    }

    /// Ends when nothing can come any more.
    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut open = true;
        while open || self.places.len() > self.free.len() {
            let until = self.next_look.map(|at| (self.started + TICK * at).saturating_duration_since(Instant::now()));
            let until = if self.again.is_empty() { until } else { Some(Duration::ZERO) };
            // A whole millisecond later, as the kernel counts in those.
            let timeout = until.map(|until| Timespec {
                tv_sec: until.as_secs() as i64,
                tv_nsec: if until.is_zero() { 0 } else { i64::from(until.subsec_millis()) * 1_000_000 + 999_999 },
            });
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "connections can't be watched");
                    thread::sleep(TICK);
                }
            }
            self.now = (self.started.elapsed().as_millis() / TICK.as_millis()) as u32;
            self.now_ms = now_ms();
            for number in mem::take(&mut self.again) {
                if let Some(place) = &mut self.places[number as usize] {
                    place.queued = false;
                    self.turn(number);
                }
            }
            // Where much is to be relayed, the more are let in before it comes to that.
            let most = 1 + events.len() / 8;
            for event in events.drain(..) {
                match event.data.u64() {
                    OF_INBOX => open = self.read_inbox(),
                    data if data & OF_DOOR != 0 => self.accept((data & !OF_DOOR) as usize, most),
                    data => self.announce(data, event.flags),
                }
            }
            if self.next_look.is_some_and(|at| at <= self.now) {
                self.look();
            }
            self.free.append(&mut self.left);
        }
    }

    /// Whether more can come.
    fn read_inbox(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Message::Run(both)) => {
                    let (session, relay) = *both;
                    self.admit(session, Stage::Relaying(relay));
                }
                Ok(Message::Open(door)) => {
                    let number = self.doors.iter().position(Option::is_none).unwrap_or_else(|| {
                        self.doors.push(None);
                        self.doors.len() - 1
                    });
                    self.doors[number] = Some(door);
                    self.watch(number);
                }
                Ok(Message::Close(door, done)) => {
                    let known =
                        |known: &Option<Arc<Door>>| known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &door));
                    if let Some(number) = self.doors.iter().position(known) {
                        self.doors[number] = None;
                        if !self.resting.contains(&number) {
                            let _ = epoll::delete(&self.epoll, &door.socket);
                        }
                        self.resting.retain(|&resting| resting != number);
                    }
                    drop(door);
                    // Who asked may not wait for it.
                    let _ = done.send(());
                }
                Ok(Message::Look) => self.look(),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Hears of what comes by a door.
    fn watch(&mut self, number: usize) {
        let Some(door) = &self.doors[number] else { return };
        let data = EventData::new_u64(OF_DOOR | number as u64);
        if let Err(error) = epoll::add(&self.epoll, &door.socket, data, ENTRANCE) {
            tracing::error!(%error, "a listening socket can't be watched; it is tried again");
            self.rest(number);
        }
    }

    /// Doesn't watch a door until the next look; a client waits better in the kernel's queue.
    fn rest(&mut self, number: usize) {
        self.resting.push(number);
        self.look_at(self.now + 1);
    }

    /// Takes `most` connections at most.
    fn accept(&mut self, number: usize, most: usize) {
        let Some(door) = self.doors[number].clone() else { return };
        for _ in 0..most {
            match door.accept(&self.runtime) {
                Accepted::Begun(session, attempt) => self.admit(session, Stage::Connecting(attempt)),
                Accepted::Done => {}
                Accepted::Nobody => return,
                Accepted::Failed => {
                    let _ = epoll::delete(&self.epoll, &door.socket);
                    return self.rest(number);
                }
            }
        }
    }

    fn admit(&mut self, session: Session, stage: Stage) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        for side in [Side::Client, Side::Target] {
            let data = EventData::new_u64(u64::from(place) << 1 | side as u64);
            if let Err(error) = epoll::add(&self.epoll, stage.socket(side), data, WATCHED) {
                tracing::error!(%error, "a connection can't be watched");
                self.free.push(place);
                return;
            }
        }
        let relaying = matches!(stage, Stage::Relaying(_));
        let entered = Place { stage, session, queued: false, kept: false, began: self.now, moved: self.now };
        let due = entered.due().0.min(self.now.saturating_add(ticks(KEPT_FROM)));
        self.places[place as usize] = Some(entered);
        self.look_at(due);
        if relaying {
            self.turn(place);
        }
    }

    fn announce(&mut self, data: u64, flags: EventFlags) {
        let side = if data & 1 == Side::Client as u64 { Side::Client } else { Side::Target };
        let number = (data >> 1) as u32;
        let Some(place) = &mut self.places[number as usize] else { return };
        match &mut place.stage {
            Stage::Relaying(relay) => match relay.announce(side, flags) {
                Some(outcome) => self.end(number, outcome),
                None => self.turn(number),
            },
            Stage::Connecting(attempt) if side == Side::Client => attempt.client_events |= flags,
            Stage::Connecting(attempt) if flags.contains(EventFlags::ERR) => match attempt.target.take_error() {
                // It was there, and broke off.
                Ok(Some(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    self.connected(number, flags, true);
                }
                Ok(Some(error)) | Err(error) => self.unreached(number, error),
                Ok(None) => self.unreached(number, io::ErrorKind::ConnectionRefused.into()),
            },
            Stage::Connecting(_) if flags.contains(EventFlags::OUT) => self.connected(number, flags, false),
            Stage::Connecting(_) => {}
        }
    }

    fn connected(&mut self, number: u32, flags: EventFlags, broken: bool) {
        let Some(Place { stage, mut session, began, .. }) = self.places[number as usize].take() else { return };
        let Stage::Connecting(attempt) = stage else { return };
        let client_events = attempt.client_events;
        let mut relay = session.connected(*attempt);
        relay.announce(Side::Client, client_events);
        relay.announce(Side::Target, flags);
        if broken {
            relay.breaks(Side::Target);
        }
        let stage = Stage::Relaying(relay);
        self.places[number as usize] =
            Some(Place { stage, session, queued: false, kept: false, began, moved: self.now });
        self.turn(number);
    }

    /// The first try to reach a target failed; what comes next may have to be waited for.
    fn unreached(&mut self, number: u32, error: io::Error) {
        let Some(Place { stage: Stage::Connecting(attempt), session, .. }) = self.places[number as usize].take() else {
            return;
        };
        self.left.push(number);
        let Attempt { client, number: target, address, .. } = *attempt;
        // It can be watched by one engine at a time, and that may be another one.
        let _ = epoll::delete(&self.epoll, &client);
        self.runtime.spawn(session.go_on(client, Some(Tried { target, address, error })));
    }

    fn turn(&mut self, number: u32) {
        let Some(place) = &mut self.places[number as usize] else { return };
        let Stage::Relaying(relay) = &mut place.stage else { return };
        let before = relay.taken();
        let turn = relay.turn();
        let after = relay.taken();
        if let Some(host) = relay.heard() {
            place.session.wants(&host);
        }
        if before != after {
            place.session.moved(after.0 - before.0, after.1 - before.1, self.now_ms);
            place.moved = self.now;
        }
        let hurried = relay.patience(Duration::MAX) < Duration::MAX;
        let hurry_to = hurried.then(|| place.due().0);
        match turn {
            Turn::Waits => {}
            Turn::Again => {
                if !mem::replace(&mut place.queued, true) {
                    self.again.push(number);
                }
            }
            Turn::Ended(outcome) => return self.end(number, outcome),
        }
        if let Some(due) = hurry_to {
            self.look_at(due);
        }
    }

    fn end(&mut self, number: u32, outcome: Outcome) {
        if let Some(Place { stage, mut session, .. }) = self.places[number as usize].take() {
            session.outcome = outcome;
            // The sockets are closed before the end is told.
            drop(stage);
            drop(session);
            self.left.push(number);
        }
    }

    fn look_at(&mut self, tick: u32) {
        self.next_look = Some(self.next_look.map_or(tick, |at| at.min(tick)).max(self.now + 1));
    }

    /// Ends what is over its time or cut, and finds out when the next is.
    fn look(&mut self) {
        self.next_look = None;
        let mut nearest = u32::MAX;
        for number in 0..self.places.len() as u32 {
            let Some(place) = &mut self.places[number as usize] else { continue };
            let kept_from = place.began.saturating_add(ticks(KEPT_FROM));
            if !place.kept && kept_from <= self.now {
                place.kept = true;
                // One that can't be told so is dead already.
                let _ = keep_alive(place.stage.socket(Side::Target).into());
            }
            let (due, outcome) = place.due();
            let due = if place.kept { due } else { due.min(kept_from) };
            match &place.stage {
                _ if place.session.is_cut() => self.end(number, Outcome::Cut),
                _ if due > self.now => nearest = nearest.min(due),
                Stage::Connecting(_) => self.unreached(number, io::ErrorKind::TimedOut.into()),
                Stage::Relaying(relay) => {
                    let outcome = outcome.unwrap_or_else(|| relay.timed_out());
                    self.end(number, outcome);
                }
            }
        }
        for number in mem::take(&mut self.resting) {
            self.watch(number);
        }
        if nearest < u32::MAX {
            self.look_at(nearest);
        }
    }
}

impl Stage {
    fn socket(&self, side: Side) -> &TcpStream {
        match (self, side) {
            (Self::Relaying(relay), side) => relay.socket(side),
            (Self::Connecting(attempt), Side::Client) => &attempt.client,
            (Self::Connecting(attempt), Side::Target) => &attempt.target,
        }
    }
}

impl Place {
    /// The tick at which it is over its time, and what it has come to then; `None`: it has stood still for too long.
    fn due(&self) -> (u32, Option<Outcome>) {
        let rule = self.session.rule();
        let Stage::Relaying(relay) = &self.stage else {
            return (self.began.saturating_add(ticks(rule.connect_timeout)), None);
        };
        let still = self.moved.saturating_add(ticks(relay.patience(rule.idle_timeout)));
        let mut old = rule.total_timeout.map_or(u32::MAX, |limit| self.began.saturating_add(ticks(limit)));
        let aged = |secs: u32| self.began.saturating_add(ticks(Duration::from_secs(secs.into())));
        match self.session.rung() {
            Rung::CapLife { age_secs } => old = old.min(aged(age_secs)),
            Rung::CloseIdle { age_secs } => {
                old = old.min(aged(age_secs).max(self.moved.saturating_add(ticks(Rung::STILL))));
            }
            Rung::Forward | Rung::RefusePart { .. } | Rung::Refuse => {}
        }
        if old < still { (old, Some(Outcome::TooOld)) } else { (still, None) }
    }
}

/// At least as long as `duration`, by as little as ticks allow.
fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / TICK.as_millis() + 1).unwrap_or(u32::MAX)
}
