//! The cache horizon: after it no cache that obeys TTLs holds an answer that named an endpoint.
//!
//! Workers record each answer here ([`Recorder`]); `control` reads, stores at its own pace and, after an unclean stop,
//! bounds what it could not read ([`recovered`]). Which slot stands for which endpoint and type is the caller's affair.
//!
//! What always holds:
//! - what is told for a slot never decreases, and is never earlier than any answer recorded for it demands;
//! - recording takes no lock and, in a worker's own row, no atomic read-modify-write; two workers share no cache line.
//!
//! Reading sees all that a worker recorded before the reader learned, by an acquiring load of something that the worker
//! released afterwards, that it has left a snapshot. Without that a horizon is told as "at least" ([`Report`]).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::dns::Ttl;
use crate::time::Timestamp;

/// The longest that an answer is under way: it bounds delay in the network, and slow TCP writes are cut off.
pub const TRANSIT_SECS: u64 = 2;

/// By how much a horizon is later than the instant sent and the TTL: transit, and a second as the clock is rounded down.
pub const MARGIN_SECS: u64 = 1 + TRANSIT_SECS;

/// When the last cache has let go of an answer sent at `sent`.
pub const fn expires(sent: Timestamp, ttl: Ttl) -> Timestamp {
    sent.after(ttl.secs() as u64 + MARGIN_SECS)
}

/// The latest expiry and the number of answers for each slot, by worker. One for each pool, shared between snapshots.
#[derive(Debug)]
pub struct Recorder {
    /// A row for each worker, one behind the other, and one more that everybody may write.
    lines: Box<[Line]>,
    /// Lines of a row.
    row_lines: usize,
    number: u32,
}

/// What fits into a pair of cache lines, which processors fetch together. Its alignment keeps other rows out of it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([Slot; SLOTS_IN_LINE]);

const SLOTS_IN_LINE: usize = 128 / size_of::<Slot>();

#[derive(Debug, Default)]
struct Slot {
    /// Seconds since 1970; 0 = no answer yet.
    latest: AtomicU64,
    answers: AtomicU64,
}

impl Recorder {
    /// Nothing recorded, for `workers` rows of `slots`.
    pub fn new(workers: usize, slots: usize) -> Self {
        let row_lines = slots.div_ceil(SLOTS_IN_LINE);
        Self { lines: (0..row_lines * (workers + 1)).map(|_| Line::default()).collect(), row_lines, number: 0 }
    }

    /// The same with a number by which answers on record here are told from others.
    pub fn numbered(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// Its number; 0 unless it was given one.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Takes in one answer that [`expires`] then. Only one thread at a time may write a worker's row: no other one may
    /// call this with the same `worker`, or an expiry could be lost.
    ///
    /// # Panics
    /// If the recorder was made for fewer workers or slots, as all functions here.
    #[inline]
    pub fn record(&self, worker: usize, slot: usize, expires: Timestamp) {
        assert!((worker + 1) * self.row_lines < self.lines.len(), "no row for worker {worker}");
        let slot = self.at(worker, slot);
        if slot.latest.load(Relaxed) < expires.0 {
            slot.latest.store(expires.0, Relaxed);
        }
        slot.answers.store(slot.answers.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// What a worker writes, as it lies in memory; nothing where there is no such worker.
    #[inline]
    pub fn row(&self, worker: usize) -> &[impl Sized] {
        self.lines.get(worker * self.row_lines..).unwrap_or_default()
    }

    /// Takes in one answer from any thread, at the price of a contended cache line: for TCP.
    pub fn record_shared(&self, slot: usize, expires: Timestamp) {
        let slot = self.at(self.workers(), slot);
        slot.latest.fetch_max(expires.0, Relaxed);
        slot.answers.fetch_add(1, Relaxed);
    }

    /// Makes the slot's latest expiry at least `expires`, known from elsewhere: an earlier run, another recorder.
    pub fn raise(&self, slot: usize, expires: Timestamp) {
        self.at(self.workers(), slot).latest.fetch_max(expires.0, Relaxed);
    }

    /// The latest expiry over all workers; `None` = no answer was recorded.
    pub fn latest(&self, slot: usize) -> Option<Timestamp> {
        let latest = (0..=self.workers()).map(|row| self.at(row, slot).latest.load(Relaxed)).max();
        latest.filter(|&seconds| seconds > 0).map(Timestamp)
    }

    /// How many answers were recorded, over all workers.
    pub fn answers(&self, slot: usize) -> u64 {
        (0..=self.workers()).fold(0, |sum, row| sum.wrapping_add(self.at(row, slot).answers.load(Relaxed)))
    }

    /// The memory of a worker's row.
    #[cfg(test)]
    pub(crate) fn written(&self, worker: usize) -> std::ops::Range<usize> {
        let row = self.lines[worker * self.row_lines..(worker + 1) * self.row_lines].as_ptr_range();
        row.start.addr()..row.end.addr()
    }

    /// How many workers have a row; the row of everybody comes behind theirs.
    fn workers(&self) -> usize {
        (self.lines.len() / self.row_lines.max(1)).saturating_sub(1)
    }

    #[inline]
    fn at(&self, row: usize, slot: usize) -> &Slot {
        let line = slot / SLOTS_IN_LINE;
        assert!(line < self.row_lines, "no slot {slot} in {} lines", self.row_lines);
        &self.lines[row * self.row_lines + line].0[slot % SLOTS_IN_LINE]
    }
}

/// The horizon of one endpoint and type after an unclean stop.
///
/// `recorded` is what the store has of it; `answerable` says whether a state that was in force since then could give the
/// endpoint; `largest` is the most that those states could serve (see
/// [`largest_ttl_within`](crate::steering::ttl::largest_ttl_within)); `restart` is any instant at which the old run was
/// surely over, such as the start of this one. So nothing has to be written per answer.
pub fn recovered(recorded: Option<Timestamp>, restart: Timestamp, largest: Ttl, answerable: bool) -> Option<Timestamp> {
    recorded.max(answerable.then(|| expires(restart, largest)))
}

/// A horizon as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The latest expiry so far; `None` = never answered.
    pub at: Option<Timestamp>,
    /// Whether it can still grow: a worker may answer the endpoint yet.
    pub at_least: bool,
}

impl Report {
    /// From the latest expiry, and whether any worker still holds a snapshot that could give the endpoint.
    pub const fn of(latest: Option<Timestamp>, answerable: bool) -> Self {
        Self { at: latest, at_least: answerable }
    }

    /// Whether no cache that obeys TTLs holds an answer at `now` or later.
    pub fn has_passed(&self, now: Timestamp) -> bool {
        !self.at_least && self.at.is_none_or(|at| at <= now)
    }

    /// The merged horizon of two servers, or of two types: the later one, final only if both are.
    pub fn merged(self, other: Self) -> Self {
        Self { at: self.at.max(other.at), at_least: self.at_least || other.at_least }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.at, self.at_least) {
            (Some(at), false) => write!(f, "{at}"),
            (Some(at), true) => write!(f, "at least {at}"),
            (None, false) => f.write_str("never answered"),
            (None, true) => f.write_str("not answered yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_is_gone_after_ttl_rounding_and_transit() {
        assert_eq!(expires(Timestamp(100), Ttl::from_secs(60)), Timestamp(163));
        assert_eq!(expires(Timestamp(u64::MAX), Ttl::MAX), Timestamp(u64::MAX));
    }

    #[test]
    fn rows_share_no_cache_line() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (128, 128));
        let r = Recorder::new(3, 9);
        let row_of = |row, slot| std::ptr::from_ref(r.at(row, slot)).addr() / 128;
        let rows: Vec<Vec<usize>> = (0..=3).map(|row| (0..9).map(|slot| row_of(row, slot)).collect()).collect();
        for (row, lines) in rows.iter().enumerate() {
            assert_eq!(lines.iter().collect::<std::collections::BTreeSet<_>>().len(), 2);
            assert!(rows[row + 1..].iter().flatten().all(|line| !lines.contains(line)), "{rows:?}");
        }
    }

    #[test]
    fn workers_and_others_record_at_once() {
        let r = Recorder::new(2, 20);
        std::thread::scope(|threads| {
            for worker in 0..4 {
                let r = &r;
                threads.spawn(move || {
                    for i in 0..1000u64 {
                        let expires = Timestamp(1 + (i * 7919) % 1000 + worker as u64);
                        if worker < 2 { r.record(worker, 17, expires) } else { r.record_shared(17, expires) }
                    }
                });
            }
        });
        assert_eq!((r.latest(17), r.answers(17)), (Some(Timestamp(1003)), 4000));
        assert_eq!((r.latest(16), r.answers(16)), (None, 0));
        r.raise(16, Timestamp(5));
        assert_eq!((r.latest(16), r.answers(16)), (Some(Timestamp(5)), 0));
    }

    #[test]
    fn after_an_unclean_stop_the_later_of_two_bounds() {
        let (early, late, restart, ttl) = (Timestamp(10), Timestamp(9000), Timestamp(1000), Ttl::from_secs(3600));
        assert_eq!(recovered(None, restart, ttl, false), None);
        assert_eq!(recovered(Some(early), restart, ttl, false), Some(early));
        assert_eq!(recovered(Some(early), restart, ttl, true), Some(Timestamp(4603)));
        assert_eq!(recovered(Some(late), restart, ttl, true), Some(late));
    }

    #[test]
    fn a_horizon_is_final_only_when_nobody_can_answer() {
        let (at, none) = (Some(Timestamp(1_800_000_000)), None);
        assert_eq!(Report::of(at, false).to_string(), "2027-01-15T08:00:00Z");
        assert_eq!(Report::of(at, true).to_string(), "at least 2027-01-15T08:00:00Z");
        assert_eq!(Report::of(none, false).to_string(), "never answered");
        assert!(Report::of(at, false).has_passed(Timestamp(1_800_000_000)));
        assert!(!Report::of(at, false).has_passed(Timestamp(1_799_999_999)));
        assert!(!Report::of(at, true).has_passed(Timestamp(u64::MAX)));
        assert!(Report::of(none, false).has_passed(Timestamp(0)) && !Report::of(none, true).has_passed(Timestamp(0)));
        assert_eq!(Report::of(at, false).merged(Report::of(none, true)), Report::of(at, true));
    }

    proptest! {
        #[test]
        fn the_horizon_never_decreases_and_covers_every_answer(
            answers in prop::collection::vec((0usize..4, 0usize..10, 0u64..5000, 0u64..4000), 0..200)
        ) {
            let r = Recorder::new(3, 10);
            let mut truth = [None; 10];
            for (count, (worker, slot, sent, ttl)) in answers.into_iter().enumerate() {
                let before = r.latest(slot);
                let gone = expires(Timestamp(sent), Ttl::from_secs(ttl));
                if worker < 3 { r.record(worker, slot, gone) } else { r.record_shared(slot, gone) }
                truth[slot] = truth[slot].max(Some(gone));
                prop_assert!(r.latest(slot) >= before);
                prop_assert_eq!((0..10).map(|s| r.answers(s)).sum::<u64>(), count as u64 + 1);
            }
            for (slot, truth) in truth.into_iter().enumerate() {
                prop_assert_eq!(r.latest(slot), truth);
            }
        }
    }
}
