//! Both directions of one connection, from the first byte to the last: half-close, resets, the idle timeout.
//!
//! What always holds: an end (FIN) of one side is passed on as an end after the last octet, the other direction goes on;
//! a broken side (RST, keepalive without answer) is passed on as a reset after what it had sent before; a relay that is
//! dropped while it holds octets resets both sides, so that nobody takes a part for the whole.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::outcome::Outcome;
use super::pump::{Broken, Pump};

/// How often a side that isn't read from at present is asked whether it was reset, as no readiness would tell.
const RESET_CHECK: Duration = Duration::from_secs(1);

/// Two sockets and the pumps between them.
pub(super) struct Relay {
    client: TcpStream,
    target: TcpStream,
    up: Pump,
    down: Pump,
    first_ended: Option<Side>,
    broken: Option<Side>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Target,
}

impl Relay {
    /// A relay that gives `header` to the target before anything that the client sends.
    pub(super) fn new(client: TcpStream, target: TcpStream, header: Vec<u8>) -> Self {
        Self { client, target, up: Pump::starting_with(header), down: Pump::default(), first_ended: None, broken: None }
    }

    /// Moves octets until both directions have ended, a side broke, or none moved for `idle`. `moved` is told the octets
    /// taken from the client and from the target, as they come.
    pub(super) async fn run(&mut self, idle: Duration, mut moved: impl FnMut(u64, u64)) -> Outcome {
        let mut told = (0, 0);
        let mut last_moved = Instant::now();
        let mut timer = pin!(sleep(idle));
        poll_fn(|cx| {
            let ended = self.poll_pumps(cx);
            let taken = (self.up.taken(), self.down.taken());
            if taken != told {
                moved(taken.0 - told.0, taken.1 - told.1);
                told = taken;
                last_moved = Instant::now();
            }
            if ended.is_ready() { ended } else { self.poll_timer(cx, timer.as_mut(), last_moved + idle) }
        })
        .await
    }

    fn poll_pumps(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if self.broken.is_none() {
            if !self.up.done()
                && let Poll::Ready(Err(broken)) = self.up.poll(cx, &mut self.client, &mut self.target)
            {
                return self.poll_broken(cx, Side::Client, broken);
            }
            if self.up.ended() {
                self.first_ended.get_or_insert(Side::Client);
            }
            if !self.down.done()
                && let Poll::Ready(Err(broken)) = self.down.poll(cx, &mut self.target, &mut self.client)
            {
                return self.poll_broken(cx, Side::Target, broken);
            }
            if self.down.ended() {
                self.first_ended.get_or_insert(Side::Target);
            }
        }
        match (self.broken, self.first_ended) {
            (Some(side), _) => self.poll_last_words(cx, side),
            (None, Some(side)) if self.up.done() && self.down.done() => Poll::Ready(match side {
                Side::Client => Outcome::ClientClosed,
                Side::Target => Outcome::TargetClosed,
            }),
            (None, _) => Poll::Pending,
        }
    }

    /// Takes in the error of the pump that reads from `reading`.
    fn poll_broken(&mut self, cx: &mut Context<'_>, reading: Side, broken: Broken) -> Poll<Outcome> {
        let (side, error, all_read) = match broken {
            Broken::From(error) => (reading, error, true),
            Broken::To(error) => (reading.other(), error, false),
        };
        tracing::debug!(?side, %error, "a side broke");
        if all_read {
            return Poll::Ready(self.reset(side));
        }
        self.broken = Some(side);
        self.poll_last_words(cx, side)
    }

    /// Passes on what the broken side had sent before (a server that answers and closes without reading the rest of the
    /// request resets after its answer), then the reset.
    fn poll_last_words(&mut self, cx: &mut Context<'_>, side: Side) -> Poll<Outcome> {
        let (pump, from, to) = match side {
            Side::Client => (&mut self.up, &mut self.client, &mut self.target),
            Side::Target => (&mut self.down, &mut self.target, &mut self.client),
        };
        if !pump.done() {
            // Whether it ends well or not: what could be passed on was.
            let _ = ready!(pump.poll(cx, from, to));
        }
        Poll::Ready(self.reset(side))
    }

    /// Ready when the idle time is over, or when a side turns out to be broken that isn't read from at present.
    fn poll_timer(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, idle_at: Instant) -> Poll<Outcome> {
        let blind = self.up.holds() || self.down.holds() || self.up.done() || self.down.done();
        if blind {
            let check_at = Instant::now() + RESET_CHECK;
            if timer.deadline() > check_at {
                timer.as_mut().reset(check_at);
            }
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if let Some(side) = self.unseen_reset() {
                return Poll::Ready(self.reset(side));
            }
            let now = Instant::now();
            if now >= idle_at {
                return Poll::Ready(Outcome::Idle);
            }
            timer.as_mut().reset(if blind { idle_at.min(now + RESET_CHECK) } else { idle_at });
        }
    }

    fn unseen_reset(&self) -> Option<Side> {
        let was_reset =
            |pump: &Pump, socket: &TcpStream| (pump.holds() || pump.done()) && !matches!(socket.take_error(), Ok(None));
        if was_reset(&self.up, &self.client) {
            Some(Side::Client)
        } else if was_reset(&self.down, &self.target) {
            Some(Side::Target)
        } else {
            None
        }
    }

    /// Lets both sockets end with RST when they are closed.
    fn reset(&self, broken: Side) -> Outcome {
        reset_on_close(&self.client);
        reset_on_close(&self.target);
        match broken {
            Side::Client => Outcome::ClientReset,
            Side::Target => Outcome::TargetReset,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.up.holds() || self.down.holds() {
            reset_on_close(&self.client);
            reset_on_close(&self.target);
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
pub(super) fn reset_on_close(socket: &TcpStream) {
    let _ = socket.set_zero_linger();
}
