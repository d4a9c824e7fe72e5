//! Where relays live: one epoll(7) instance for many, driven by a task of the runtime.
//!
//! A connection that stands still costs its place in a table and nothing else: no task, no timer, no buffer. Deadlines
//! are looked at in one pass over the table when the nearest is due.
//!
//! What always holds: each relay that comes in leaves with exactly one outcome; a place in the table is not given
//! again before all events of the batch are dealt with, so that no event reaches a stranger.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep_until};

use super::connection::Session;
use super::counts::now_ms;
use super::ladder::Rung;
use super::outcome::Outcome;
use super::relay::{Relay, Side, Turn};

/// Events that are taken from the kernel at once.
const EVENTS: usize = 256;
/// Deadlines are met to this precision, and looked at no more often.
const TICK: Duration = Duration::from_millis(100);
/// Events are told once, when something changes: no call to the kernel turns them on and off.
const WATCHED: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

thread_local! {
    static BATCH: RefCell<Vec<Event>> = RefCell::new(Vec::with_capacity(EVENTS));
}

/// All engines; relays are spread over them.
pub(super) struct Engines {
    inboxes: Vec<UnboundedSender<Message>>,
    next: AtomicUsize,
}

enum Message {
    Run(Box<Session>, TcpStream, TcpStream, Vec<u8>),
    /// Deadlines may have come nearer, or connections are to be cut.
    Look,
}

impl Engines {
    /// Starts as many engines as the runtime has threads. They end after the last [`Engines`] and the last relay.
    ///
    /// # Errors
    /// Those of epoll_create1(2).
    pub(super) fn start() -> io::Result<Self> {
        let count = tokio::runtime::Handle::current().metrics().num_workers().max(1);
        let inboxes = (0..count).map(|_| Engine::start()).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { inboxes, next: AtomicUsize::new(0) })
    }

    /// Relays between the sockets until both have ended; gives `header` to the target first.
    pub(super) fn run(&self, session: Session, client: TcpStream, target: TcpStream, header: Vec<u8>) {
        let engine = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        // An engine that is gone was dropped with the runtime: so are the sockets, and the session is told as cut.
        let _ = self.inboxes[engine].send(Message::Run(Box::new(session), client, target, header));
    }

    /// Lets all engines look at deadlines and cuts.
    pub(super) fn look(&self) {
        for inbox in &self.inboxes {
            let _ = inbox.send(Message::Look);
        }
    }
}

struct Engine {
    epoll: AsyncFd<OwnedFd>,
    inbox: UnboundedReceiver<Message>,
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

/// A relay in the table. The relay comes first, so that its sockets are closed before the end is told.
struct Place {
    relay: Relay,
    session: Session,
    /// Whether it is among those with more to do.
    queued: bool,
    /// The tick at which it came.
    began: u32,
    /// The tick at which octets moved last.
    moved: u32,
}

impl Engine {
    fn start() -> io::Result<UnboundedSender<Message>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        #[allow(deprecated, reason = "what it doubts, that the descriptor stays the same, is certain for an OwnedFd")]
        let epoll = AsyncFd::with_interest(epoll, tokio::io::Interest::READABLE)?;
        let (sender, inbox) = unbounded_channel();
        let engine = Self {
            epoll,
            inbox,
            places: Vec::new(),
            free: Vec::new(),
            left: Vec::new(),
            again: Vec::new(),
            started: Instant::now(),
            now: 0,
            now_ms: now_ms(),
            next_look: None,
        };
        tokio::spawn(engine.run());
        Ok(sender)
    }

    async fn run(mut self) {
        let mut timer = Box::pin(sleep_until(tokio::time::Instant::now()));
        // Its own batches bound its turn; the runtime's budget would only cut them up.
        unconstrained(poll_fn(|cx| self.poll(cx, timer.as_mut()))).await;
    }

    /// Ready when nothing can come any more.
    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<()> {
        self.read_clocks();
        let mut open = true;
        let mut look = false;
        loop {
            match self.inbox.poll_recv(cx) {
                Poll::Ready(Some(Message::Run(session, client, target, header))) => {
                    self.admit(*session, client, target, header);
                }
                Poll::Ready(Some(Message::Look)) => look = true,
                Poll::Ready(None) => {
                    open = false;
                    break;
                }
                Poll::Pending => break,
            }
        }
        for number in std::mem::take(&mut self.again) {
            if let Some(place) = &mut self.places[number as usize] {
                place.queued = false;
                self.turn(number);
            }
        }
        let drained = BATCH.with_borrow_mut(|events| {
            let drained = self.take_events(cx, events);
            for event in events.drain(..) {
                self.announce(event.data.u64(), event.flags);
            }
            drained
        });
        if look || self.next_look.is_some_and(|at| at <= self.now) {
            self.look();
        }
        self.free.append(&mut self.left);
        if !open && self.free.len() == self.places.len() {
            return Poll::Ready(());
        }
        if !drained || !self.again.is_empty() {
            cx.waker().wake_by_ref();
        } else if let Some(at) = self.next_look {
            timer.as_mut().reset((self.started + TICK * at).into());
            if timer.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    /// Takes what the kernel has to tell; whether that was all.
    fn take_events(&self, cx: &mut Context<'_>, events: &mut Vec<Event>) -> bool {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        match self.epoll.poll_read_ready(cx) {
            Poll::Pending | Poll::Ready(Err(_)) => true,
            Poll::Ready(Ok(mut ready)) => {
                let taken = epoll::wait(self.epoll.get_ref(), spare_capacity(events), Some(&AT_ONCE));
                let drained = taken.is_ok_and(|count| count < EVENTS);
                if drained {
                    // What comes from now on wakes again.
                    ready.clear_ready();
                    drop(ready);
                    return self.epoll.poll_read_ready(cx).is_pending();
                }
                false
            }
        }
    }

    fn read_clocks(&mut self) {
        self.now = (self.started.elapsed().as_millis() / TICK.as_millis()) as u32;
        self.now_ms = now_ms();
    }

    fn admit(&mut self, session: Session, client: TcpStream, target: TcpStream, header: Vec<u8>) {
        let relay = Relay::new(client, target, header);
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        for side in [Side::Client, Side::Target] {
            let data = EventData::new_u64(u64::from(place) << 1 | side as u64);
            if let Err(error) = epoll::add(self.epoll.get_ref(), relay.socket(side), data, WATCHED) {
                tracing::error!(%error, "a connection can't be watched");
                self.free.push(place);
                return;
            }
        }
        self.places[place as usize] = Some(Place { relay, session, queued: false, began: self.now, moved: self.now });
        self.turn(place);
        if let Some(due) = self.places[place as usize].as_ref().map(|place| place.due().0) {
            self.look_at(due);
        }
    }

    fn announce(&mut self, data: u64, flags: EventFlags) {
        let side = if data & 1 == Side::Client as u64 { Side::Client } else { Side::Target };
        let number = (data >> 1) as u32;
        let Some(place) = &mut self.places[number as usize] else { return };
        match place.relay.announce(side, flags) {
            Some(outcome) => self.end(number, outcome),
            None => self.turn(number),
        }
    }

    fn turn(&mut self, number: u32) {
        let Some(place) = &mut self.places[number as usize] else { return };
        let before = place.relay.taken();
        let turn = place.relay.turn();
        let after = place.relay.taken();
        if before != after {
            place.session.moved(after.0 - before.0, after.1 - before.1, self.now_ms);
            place.moved = self.now;
        }
        let hurried = place.relay.patience(Duration::MAX) < Duration::MAX;
        let hurry_to = hurried.then(|| place.due().0);
        match turn {
            Turn::Waits => {}
            Turn::Again => {
                if !std::mem::replace(&mut place.queued, true) {
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
        if let Some(mut place) = self.places[number as usize].take() {
            place.session.outcome = outcome;
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
            let Some(place) = &self.places[number as usize] else { continue };
            let (due, outcome) = place.due();
            let outcome = if place.session.is_cut() {
                Outcome::Cut
            } else if due <= self.now {
                outcome.unwrap_or_else(|| place.relay.timed_out())
            } else {
                nearest = nearest.min(due);
                continue;
            };
            self.end(number, outcome);
        }
        if nearest < u32::MAX {
            self.look_at(nearest);
        }
    }
}

impl Place {
    /// The tick at which it is over its time, and what it has come to then; `None`: it has stood still for too long.
    fn due(&self) -> (u32, Option<Outcome>) {
        let rule = self.session.rule();
        let still = self.moved.saturating_add(ticks(self.relay.patience(rule.idle_timeout)));
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
