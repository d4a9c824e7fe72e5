//! Holding new connections while the site behind moves, and letting them go.
//!
//! What always holds: a hold ends by itself, at its cap at the latest; connections are let go in the order in which they
//! came to wait, no faster than the rate set; nobody waits longer than the cap and the time that the rate takes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

pub use crate::pairing::{Beyond, Terms};

/// A gate that a rule's new connections go through.
pub(super) struct Gate {
    /// Whether anybody may have to wait; else the gate costs one look.
    busy: AtomicBool,
    inner: Mutex<Inner>,
    /// Counts the changes of `inner.hold`.
    changed: watch::Sender<u64>,
    pub(super) gave_up: AtomicU64,
    pub(super) refused: AtomicU64,
}

#[derive(Default)]
struct Inner {
    hold: Option<Hold>,
    waiting: u32,
    rate: u32,
    /// Tickets given out since nobody waited.
    tickets: u64,
    /// When the last hold ended, and the first ticket that waited then.
    ended: Option<(Instant, u64)>,
}

#[derive(Clone, Copy)]
struct Hold {
    number: u64,
    until: Instant,
    terms: Terms,
}

/// How a connection left the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It may go on.
    Passed,
    /// It waited, and may go on now.
    Released,
    /// Too many waited.
    Refused,
}

/// What a gate shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateCount {
    /// Whether new connections are held.
    pub held: bool,
    /// Connections that wait.
    pub waiting: u32,
    /// Clients that had closed their connection before it was let go, since the start.
    pub gave_up: u64,
    /// Connections refused since too many waited, since the start.
    pub refused: u64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            busy: AtomicBool::new(false),
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
            gave_up: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

impl Gate {
    /// Holds from now on, instead of a hold that may be there; gives its number.
    pub(super) fn hold(&self, terms: Terms) -> u64 {
        let mut inner = self.inner();
        let number = *self.changed.borrow() + 1;
        let until = Instant::now() + Duration::from_secs(terms.secs.min(Terms::MOST_SECS).into());
        inner.hold = Some(Hold { number, until, terms });
        inner.rate = terms.rate;
        inner.ended = None;
        self.busy.store(true, Relaxed);
        self.changed.send_replace(number);
        number
    }

    /// Ends the hold of this number, or any; whether there was one.
    pub(super) fn release(&self, number: Option<u64>) -> bool {
        let mut inner = self.inner();
        let held = inner.hold.is_some_and(|hold| number.is_none_or(|n| n == hold.number));
        if held {
            inner.end(Instant::now());
            self.changed.send_modify(|n| *n += 1);
        }
        held
    }

    /// Whether the hold of this number is still in force.
    pub(super) fn is_held(&self, number: u64) -> bool {
        self.inner().hold.is_some_and(|hold| hold.number == number && hold.until > Instant::now())
    }

    pub(super) fn count(&self) -> GateCount {
        let inner = self.inner();
        let held = inner.hold.is_some_and(|hold| hold.until > Instant::now());
        GateCount {
            held,
            waiting: inner.waiting,
            gave_up: self.gave_up.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    /// Whether nobody has to wait.
    pub(super) fn is_open(&self) -> bool {
        !self.busy.load(Relaxed)
    }

    /// Waits until a new connection may go on.
    pub(super) async fn pass(&self) -> Passage {
        if self.is_open() {
            return Passage::Passed;
        }
        let mut changed = self.changed.subscribe();
        let (ticket, _waits) = {
            let mut inner = self.inner();
            match inner.hold {
                Some(hold) if hold.until > Instant::now() && inner.waiting >= hold.terms.most => {
                    return match hold.terms.beyond {
                        Beyond::Pass => Passage::Passed,
                        Beyond::Refuse => {
                            self.refused.fetch_add(1, Relaxed);
                            Passage::Refused
                        }
                    };
                }
                _ => inner.waiting += 1,
            }
            inner.tickets += 1;
            (inner.tickets - 1, Waits(self))
        };
        loop {
            changed.borrow_and_update();
            let Some(until) = self.inner().hold.map(|hold| hold.until) else { break };
            if timeout_at(until, changed.changed()).await.is_err() {
                // Over by itself; whoever comes first notes it.
                let mut inner = self.inner();
                if inner.hold.is_some_and(|hold| hold.until == until) {
                    inner.end(until);
                }
            }
        }
        let slot = self.inner().slot(ticket);
        if let Some(slot) = slot {
            sleep_until(slot).await;
        }
        Passage::Released
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end(&mut self, at: Instant) {
        self.hold = None;
        self.ended = Some((at, self.tickets - u64::from(self.waiting)));
    }

    /// When the one with this ticket may go; `None`: at once.
    fn slot(&self, ticket: u64) -> Option<Instant> {
        let (ended, first) = self.ended.filter(|_| self.rate > 0)?;
        let before = u32::try_from(ticket.saturating_sub(first)).unwrap_or(u32::MAX);
        Some(ended + Duration::from_secs(1) / self.rate * before)
    }
}

/// One that waits; taken back also where the wait is cut off.
struct Waits<'a>(&'a Gate);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.inner();
        inner.waiting -= 1;
        if inner.waiting == 0 && inner.hold.is_none_or(|hold| hold.until <= Instant::now()) {
            inner.hold = None;
            inner.ended = None;
            inner.tickets = 0;
            self.0.busy.store(false, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_ends_at_its_cap_by_command_and_by_number() {
        let gate = Arc::new(Gate::default());
        assert_eq!(gate.pass().await, Passage::Passed);
        let start = Instant::now();
        gate.hold(Terms::default());
        assert_eq!(gate.pass().await, Passage::Released);
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(gate.pass().await, Passage::Passed, "nobody waits any more");

        let first = gate.hold(Terms::default());
        let second = gate.hold(Terms { secs: 30, ..Terms::default() });
        let waits = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass().await }
        });
        settle().await;
        assert_eq!((gate.count().held, gate.count().waiting), (true, 1));
        assert!(!gate.release(Some(first)), "that hold is gone already");
        assert!(gate.release(Some(second)) && !gate.release(None));
        let start = Instant::now();
        assert_eq!(waits.await.unwrap(), Passage::Released);
        assert!(start.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn caps_in_number_and_the_rate_are_kept() {
        let gate = Arc::new(Gate::default());
        gate.hold(Terms { most: 4, rate: 2, ..Terms::default() });
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move {
                    gate.pass().await;
                    Instant::now()
                })
            })
            .collect();
        settle().await;
        assert_eq!(gate.pass().await, Passage::Refused);
        assert_eq!(gate.count().refused, 1);
        let released = Instant::now();
        gate.release(None);
        let mut gone = Vec::new();
        for task in waiting {
            gone.push((task.await.unwrap() - released).as_millis());
        }
        assert!(gone.iter().zip([0, 500, 1000, 1500]).all(|(got, at)| got.abs_diff(at) <= 2), "{gone:?}");
        gate.hold(Terms { most: 0, beyond: Beyond::Pass, ..Terms::default() });
        assert_eq!(gate.pass().await, Passage::Passed);
    }
}
