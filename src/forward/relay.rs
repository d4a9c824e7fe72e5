//! Both directions of one connection, from the first byte to the last: half-close and resets.
//!
//! What always holds: an end (FIN) of one side is passed on as an end after the last octet, the other direction goes on;
//! a broken side (RST, keepalive without answer) is passed on as a reset after what it had sent before; a relay that is
//! dropped while it holds octets resets both sides, so that nobody takes a part for the whole.

use std::net::TcpStream;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use socket2::SockRef;

use super::outcome::Outcome;
use super::pump::{Broken, Pump, Socket, Step};

/// Two sockets and the pumps between them.
pub(super) struct Relay {
    client: Socket,
    target: Socket,
    up: Pump,
    down: Pump,
    first_ended: Option<Side>,
    broken: Option<Side>,
}

/// One of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Target,
}

/// Where a relay stands after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Until a socket is ready.
    Waits,
    /// It has more to do.
    Again,
    /// It is over; its sockets are to be closed.
    Ended(Outcome),
}

impl Relay {
    /// A relay that gives `header` to the target before anything that the client sends, and looks for the host that the
    /// client wants, if so asked. The sockets must not block; what there is to read will be announced.
    pub(super) fn new(client: TcpStream, target: TcpStream, header: Vec<u8>, look: bool) -> Self {
        let (client, target) = (Socket::new(client), Socket::new(target));
        let up = Pump::starting_with(header, look);
        Self { client, target, up, down: Pump::default(), first_ended: None, broken: None }
    }

    /// The socket of a side.
    pub(super) fn socket(&self, side: Side) -> &TcpStream {
        match side {
            Side::Client => &self.client.stream,
            Side::Target => &self.target.stream,
        }
    }

    /// Octets taken from the client and from the target so far.
    pub(super) fn taken(&self) -> (u64, u64) {
        (self.up.taken(), self.down.taken())
    }

    /// The host that the client wants, once, when it has said so.
    pub(super) fn heard(&mut self) -> Option<String> {
        self.up.heard()
    }

    /// This side broke before its first event.
    pub(super) fn breaks(&mut self, side: Side) {
        self.broken = Some(side);
    }

    /// How long it may stand still, where `idle` is set for connections in order: one whose other side broke is given
    /// a moment to take what is left.
    pub(super) fn patience(&self, idle: Duration) -> Duration {
        const LAST_WORDS: Duration = Duration::from_secs(1);
        if self.broken.is_some() { idle.min(LAST_WORDS) } else { idle }
    }

    /// Takes in what the kernel announced of one side.
    pub(super) fn announce(&mut self, side: Side, events: EventFlags) -> Option<Outcome> {
        let (socket, reading) = match side {
            Side::Client => (&mut self.client, &self.up),
            Side::Target => (&mut self.target, &self.down),
        };
        let failed = events.contains(EventFlags::ERR);
        let ending = events.intersects(EventFlags::RDHUP | EventFlags::HUP) || failed;
        socket.ending |= ending;
        socket.readable |= ending || events.contains(EventFlags::IN);
        socket.writable |= failed || events.contains(EventFlags::OUT);
        // Where it is being read from, reading comes to the error after the last octet.
        if failed && reading.done() && self.broken.is_none() {
            return Some(self.reset(side));
        }
        if failed && reading.holds() {
            self.broken.get_or_insert(side);
        }
        None
    }

    /// Moves what can be moved.
    pub(super) fn turn(&mut self) -> Turn {
        if let Some(side) = self.broken {
            return self.last_words(side);
        }
        let up = match self.up.run(&mut self.client, &mut self.target, self.down.done()) {
            Ok(step) => step,
            Err(broken) => return self.broke(Side::Client, broken),
        };
        if self.up.ended() {
            self.first_ended.get_or_insert(Side::Client);
        }
        let down = match self.down.run(&mut self.target, &mut self.client, self.up.done()) {
            Ok(step) => step,
            Err(broken) => return self.broke(Side::Target, broken),
        };
        if self.down.ended() {
            self.first_ended.get_or_insert(Side::Target);
        }
        match (up, down, self.first_ended) {
            (Step::Done, Step::Done, Some(Side::Target)) => Turn::Ended(Outcome::TargetClosed),
            (Step::Done, Step::Done, _) => Turn::Ended(Outcome::ClientClosed),
            (Step::Again, ..) | (_, Step::Again, _) => Turn::Again,
            _ => Turn::Waits,
        }
    }

    /// Takes in the error of the pump that reads from `reading`.
    fn broke(&mut self, reading: Side, broken: Broken) -> Turn {
        let (side, error, all_read) = match broken {
            Broken::From(error) => (reading, error, true),
            Broken::To(error) => (reading.other(), error, false),
        };
        tracing::debug!(?side, %error, "a side broke");
        if all_read {
            return Turn::Ended(self.reset(side));
        }
        self.broken = Some(side);
        self.last_words(side)
    }

    /// Passes on what the broken side had sent before (a server that answers and closes without reading the rest of the
    /// request resets after its answer), then the reset.
    fn last_words(&mut self, side: Side) -> Turn {
        let (pump, from, to) = match side {
            Side::Client => (&mut self.up, &mut self.client, &mut self.target),
            Side::Target => (&mut self.down, &mut self.target, &mut self.client),
        };
        match pump.run(from, to, false) {
            Ok(Step::Waits) => Turn::Waits,
            Ok(Step::Again) => Turn::Again,
            // Whether it ended well or not: what could be passed on was.
            Ok(Step::Done) | Err(_) => Turn::Ended(self.reset(side)),
        }
    }

    /// What a relay that stood still for too long has come to.
    pub(super) fn timed_out(&self) -> Outcome {
        self.broken.map_or(Outcome::Idle, |side| self.reset(side))
    }

    /// Lets both sockets end with RST when they are closed.
    fn reset(&self, broken: Side) -> Outcome {
        reset_on_close(&self.client.stream);
        reset_on_close(&self.target.stream);
        match broken {
            Side::Client => Outcome::ClientReset,
            Side::Target => Outcome::TargetReset,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.up.holds() || self.down.holds() {
            reset_on_close(&self.client.stream);
            reset_on_close(&self.target.stream);
        }
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Target,
            Self::Target => Self::Client,
        }
    }
}

/// Lets a socket end with RST when it is closed. A socket that can't be told so is dead already.
pub(super) fn reset_on_close<'s, S>(socket: &'s S)
where
    SockRef<'s>: From<&'s S>,
{
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
