//! When the primaries of a zone are asked (RFC 1034, 4.3.5; RFC 1996, 4). Pure: instants and draws come as arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::zone::serial::is_newer;

/// Nobody is asked more often than that, whatever a SOA says.
const LEAST: Duration = Duration::from_secs(1);
/// Nor is a zone left alone for longer.
const MOST: Duration = Duration::from_hours(24 * 7);
/// While nothing was ever transferred, and no SOA says RETRY, it is tried again after at most so long.
const MOST_FIRST: Duration = Duration::from_mins(5);

/// What a SOA says of the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between successes.
    pub refresh: Duration,
    /// After a failure.
    pub retry: Duration,
}

impl Pace {
    /// From RDATA of a SOA.
    pub fn of(soa: &[u8]) -> Option<Self> {
        let tail = soa.last_chunk::<16>()?; // REFRESH RETRY EXPIRE MINIMUM
        let secs = |at: usize| u32::from_be_bytes([tail[at], tail[at + 1], tail[at + 2], tail[at + 3]]);
        let bounded = |secs: u32| Duration::from_secs(u64::from(secs)).clamp(LEAST, MOST);
        Some(Self { refresh: bounded(secs(0)), retry: bounded(secs(4)) })
    }
}

/// When one zone's primaries are to be asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    next: Instant,
    /// Being asked now.
    busy: bool,
    /// Something new was told meanwhile.
    again: bool,
    /// Failures in a row.
    failures: u32,
}

impl Timers {
    /// Of a zone that is new here at `now`: asked for at once.
    pub fn new(now: Instant) -> Self {
        Self { next: now, busy: false, again: false, failures: 0 }
    }

    /// Whether they are to be asked; then they are being asked.
    pub fn begin(&mut self, now: Instant) -> bool {
        let due = !self.busy && self.next <= now;
        self.busy |= due;
        due
    }

    /// A primary says that it has something new, maybe `told`; `held` is what is held.
    pub fn notified(&mut self, told: Option<u32>, held: Option<u32>, now: Instant) {
        if let (Some(told), Some(held)) = (told, held)
            && !is_newer(told, held)
        {
            return;
        }
        if self.busy {
            self.again = true; // what is under way may have begun before
        } else {
            self.next = self.next.min(now);
        }
    }

    /// They were asked: whether that was good, and what the SOA says that is held now. `draw` is uniform over all of `u32`; it
    /// makes a wait up to a tenth shorter, so that zones that came together do not stay together.
    pub fn done(&mut self, good: bool, pace: Option<Pace>, now: Instant, draw: u32) {
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        let wait = match pace {
            Some(pace) if good => pace.refresh,
            Some(pace) => pace.retry,
            None => LEAST.saturating_mul(1 << self.failures.min(16)).min(MOST_FIRST),
        };
        let wait = wait.mul_f64(1.0 - 0.1 * f64::from(draw) / f64::from(u32::MAX));
        self.busy = false;
        self.next = if std::mem::take(&mut self.again) && good { now } else { now + wait };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { refresh: Duration::from_hours(1), retry: Duration::from_mins(10) };

    fn asked(timers: &mut Timers, from: Instant, until_secs: u64, good: bool) -> Vec<u64> {
        let mut at = Vec::new();
        for secs in 0..until_secs {
            let now = from + Duration::from_secs(secs);
            if timers.begin(now) {
                at.push(secs);
                timers.done(good, Some(PACE), now, 0);
            }
        }
        at
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_at_refresh_and_after_failures_at_retry() {
        let now = Instant::now();
        assert_eq!(asked(&mut Timers::new(now), now, 7201, true), [0, 3600, 7200]);
        assert_eq!(asked(&mut Timers::new(now), now, 1801, false), [0, 600, 1200, 1800]);
        let mut timers = Timers::new(now);
        assert!(timers.begin(now) && !timers.begin(now), "once at a time");
        timers.done(true, Some(PACE), now, u32::MAX);
        assert!(!timers.begin(now + Duration::from_secs(3239)) && timers.begin(now + Duration::from_secs(3241)));
    }

    #[tokio::test(start_paused = true)]
    async fn before_the_first_transfer_it_is_tried_ever_less_often() {
        let (start, mut timers) = (Instant::now(), Timers::new(Instant::now()));
        let (mut at, mut tried) = (start, Vec::new());
        while tried.len() < 11 {
            if timers.begin(at) {
                tried.push((at - start).as_secs());
                timers.done(false, None, at, 0);
            }
            at += Duration::from_secs(1);
        }
        assert_eq!(tried, [0, 2, 6, 14, 30, 62, 126, 254, 510, 810, 1110]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_is_looked_into_at_once_unless_it_is_old() {
        let now = Instant::now();
        let mut timers = Timers::new(now);
        assert!(timers.begin(now));
        timers.notified(Some(8), Some(7), now);
        timers.done(true, Some(PACE), now, 0);
        assert!(timers.begin(now), "told while it was asked");
        timers.done(true, Some(PACE), now, 0);
        timers.notified(Some(7), Some(7), now);
        timers.notified(Some(6), Some(7), now);
        assert!(!timers.begin(now));
        timers.notified(None, Some(7), now);
        assert!(timers.begin(now));
    }
}
