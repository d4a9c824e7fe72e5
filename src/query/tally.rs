//! What a worker counts: in memory of its own, written by it alone, merged when read.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dns::Rtype;
use crate::dns::wire::Rcode;
use crate::query::demand::Sketch;
use crate::query::limit::Buckets;
use crate::query::sample::Ring;
use crate::steering::key::ClientKey;
use crate::time::Timestamp;

/// The QTYPEs that are counted by name; all others together.
const TYPES: [Rtype; 12] = [
    Rtype::A,
    Rtype::AAAA,
    Rtype::ANY,
    Rtype::CNAME,
    Rtype::HTTPS,
    Rtype::MX,
    Rtype::NS,
    Rtype::PTR,
    Rtype::SOA,
    Rtype::SRV,
    Rtype::SVCB,
    Rtype::TXT,
];

/// How many signatures a worker makes in a second at most, for zones with compact denial: a tenth of its core with P-256, so that names
/// drawn at random cost other answers no more than that.
const SIGNATURES_A_SECOND: u64 = 5000;

/// A worker's counters. On cache lines of their own: no two workers write one.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    by_type: [AtomicU64; TYPES.len() + 1],
    by_rcode: [AtomicU64; Rcode::ALL.len()],
    truncated: AtomicU64,
    silent: AtomicU64,
    turned_away: AtomicU64,
    steered: AtomicU64,
    held_back: AtomicU64,
    slipped: AtomicU64,
    panics: AtomicU64,
    online: AtomicU64,
    online_refused: AtomicU64,
    /// What is left of this second's signatures: the second, and 16 bits of how many.
    signatures: AtomicU64,
    buckets: OnceLock<Buckets>,
    demand: Option<Box<Observed>>,
}

/// What a worker notes of who asks. On cache lines of its own, as the counters are.
#[derive(Debug)]
#[repr(align(128))]
struct Observed {
    sketch: Sketch,
    sample: Ring,
}

/// One worker's place to count: its counters, and its row in the horizon recorders.
#[derive(Clone, Copy, Debug)]
pub struct Tally<'a> {
    /// The row; none for whoever only wants to know, such as `explain`.
    pub worker: Option<usize>,
    /// The counters, written by this worker only.
    pub counters: &'a Counters,
}

/// Counts one more, in a counter that only the caller writes.
#[inline]
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Counters {
    /// Counts a response.
    #[inline]
    pub fn answered(&self, qtype: Rtype, rcode: Rcode) {
        let place = TYPES.iter().position(|t| *t == qtype).unwrap_or(TYPES.len());
        bump(&self.by_type[place]);
        bump(&self.by_rcode[rcode.index()]);
    }
    /// Counts a response without a question.
    pub fn rejected(&self, rcode: Rcode) {
        bump(&self.by_rcode[rcode.index()]);
    }
    pub(super) fn silent(&self) {
        bump(&self.silent);
    }
    /// Counts a request that found no place in the queue.
    pub fn turned_away(&self) {
        bump(&self.turned_away);
    }
    pub(super) fn held_back(&self) {
        bump(&self.held_back);
    }
    pub(super) fn slipped(&self) {
        bump(&self.slipped);
    }
    /// Counts a panic while answering.
    pub fn panicked(&self) {
        bump(&self.panics);
    }
    /// Takes this second's right to make so many signatures; `false`: there is none left.
    pub(super) fn may_sign(&self, signatures: usize, now: Timestamp) -> bool {
        let (second, used) = (now.0 << 16, self.signatures.load(Ordering::Relaxed));
        let used = if used >> 16 << 16 == second { used & 0xffff } else { 0 };
        let used = used + signatures as u64;
        let may = used <= SIGNATURES_A_SECOND;
        if may {
            self.signatures.store(second | used, Ordering::Relaxed);
            self.online.store(self.online.load(Ordering::Relaxed) + signatures as u64, Ordering::Relaxed);
        } else {
            bump(&self.online_refused);
        }
        may
    }

    /// Signatures made in answers.
    pub fn online_count(&self) -> u64 {
        self.online.load(Ordering::Relaxed)
    }

    /// Answers that were not signed, as too many signatures were wanted in their second.
    pub fn online_refused_count(&self) -> u64 {
        self.online_refused.load(Ordering::Relaxed)
    }

    /// The worker's token buckets, made when they are first needed.
    pub(super) fn buckets(&self) -> &Buckets {
        self.buckets.get_or_init(Buckets::new)
    }
    pub(super) fn truncated(&self) {
        bump(&self.truncated);
    }
    /// An answer that a pool decided, for `client`. Gives where to say what it was, if the client is in the sample.
    #[inline]
    pub(super) fn steered(&self, client: Option<&ClientKey>, now: Timestamp) -> Option<(&Ring, u64)> {
        bump(&self.steered);
        let Observed { sketch, sample } = &**self.demand.as_ref()?;
        let (packed, hash) = sketch.count(client?, now)?;
        sample.samples(hash).then_some((sample, packed))
    }

    /// Counters that keep a sketch of demand and a sample of answers too.
    pub fn with_demand(sketch: Sketch) -> Self {
        Self { demand: Some(Box::new(Observed { sketch, sample: Ring::default() })), ..Self::default() }
    }

    /// Who asks how much.
    pub fn demand(&self) -> Option<&Sketch> {
        self.demand.as_ref().map(|demand| &demand.sketch)
    }

    /// The sample of what was answered.
    pub fn sample(&self) -> Option<&Ring> {
        self.demand.as_ref().map(|demand| &demand.sample)
    }

    /// All the memory that its worker writes.
    #[cfg(test)]
    pub(super) fn written(&self) -> Vec<std::ops::Range<usize>> {
        fn of<T>(it: &T) -> std::ops::Range<usize> {
            let start = std::ptr::from_ref(it).addr();
            start..start + size_of::<T>()
        }
        let mut all = vec![of(self)];
        if let Some(demand) = &self.demand {
            all.extend([of::<Observed>(demand), demand.sample.written()]);
            all.extend(demand.sketch.written());
        }
        all.extend(self.buckets.get().map(Buckets::written));
        all
    }

    /// Queries by QTYPE (`other` for those not named), in the order of the alphabet but `other` last.
    pub fn queries(&self) -> impl Iterator<Item = (String, u64)> {
        let names = TYPES.iter().map(ToString::to_string).chain(["other".to_owned()]);
        names.zip(&self.by_type).map(|(name, n)| (name, n.load(Ordering::Relaxed)))
    }

    /// Responses by RCODE.
    pub fn responses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Rcode::ALL.iter().zip(&self.by_rcode).map(|(rcode, n)| (rcode.name(), n.load(Ordering::Relaxed)))
    }

    /// Responses with TC set.
    pub fn truncated_count(&self) -> u64 {
        self.truncated.load(Ordering::Relaxed)
    }

    /// Packets that got no answer: too short, or themselves responses.
    pub fn silent_count(&self) -> u64 {
        self.silent.load(Ordering::Relaxed)
    }

    /// Requests (transfers, updates, NOTIFY, signed queries) that found too many waiting before them.
    pub fn turned_away_count(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Responses over the rate limit that were not sent.
    pub fn held_back_count(&self) -> u64 {
        self.held_back.load(Ordering::Relaxed)
    }

    /// Responses over the rate limit that were sent truncated.
    pub fn slipped_count(&self) -> u64 {
        self.slipped.load(Ordering::Relaxed)
    }

    /// Panics while answering: each is a mistake in this program, and cost the packets in hand.
    pub fn panic_count(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Responses that a pool decided.
    pub fn steered_count(&self) -> u64 {
        self.steered.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_signatures_and_no_more() {
        let counters = Counters::default();
        let made = |second, each| (0..6000).filter(|_| counters.may_sign(each, Timestamp(second))).count();
        assert_eq!([made(100, 1), made(100, 1), made(101, 2), made(100, 1)], [5000, 0, 2500, 5000]);
        assert_eq!((counters.online_count(), counters.online_refused_count()), (15_000, 1000 + 6000 + 3500 + 1000));
    }
}
