//! Who asks how much: a bounded sketch of demand per client key, one for each worker.
//!
//! A worker counts each steered answer for its client key, in memory that it alone writes: no lock, no allocation, one cache
//! line. Whoever wants to know merges the sketches ([`merged`]). A line has places for five keys and works as a Space-Saving
//! summary of its own (Metwally, Agrawal, El Abbadi 2005): a key that finds no place takes that of the smallest, and its count
//! with it. Counts are halved every [`HALF_LIFE_SECS`], each line for itself when it is next written.
//!
//! A sketch begins with [`FEW_LINES`], which stay in the processor's cache. Whoever looks at the sketches now and then gives
//! those that have many keys more room ([`Sketch::make_room`]); the worker counts there from then on, and what it counted
//! before is still read.
//!
//! What always holds, for what was counted and not yet halved away:
//! - the counts of a line add up to the queries of its keys, so the total is exact;
//! - a key's count in its line is never too small, and too large by at most the smallest there, which is at most a fifth of
//!   the line's queries: in the mean 1/80,000 of all, as a sketch of many keys has [`LINES`] lines.
//!
//! All sketches together take at most [`MOST_OCTETS`], however many workers and keys there are.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use hashbrown::HashMap;

use crate::steering::demand::{Demand, KeyDemand};
use crate::steering::key::{ClientKey, mix};
use crate::time::Timestamp;

/// Counts are halved so often: a cache asks once per TTL, so much less than the usual TTL would show chance.
pub const HALF_LIFE_SECS: u64 = 3600;
/// Lines of a sketch, where there are no more than [`MOST_OCTETS`] allow: 1 MiB for each worker.
pub const LINES: usize = 1 << 14;
/// Lines that it begins with: 16 KiB.
pub const FEW_LINES: usize = 1 << 8;
/// What all sketches may take.
pub const MOST_OCTETS: usize = 64 << 20;

/// Keys of a line.
const PLACES: usize = 5;
/// What one query adds: counts are halved as whole numbers.
const QUERY: u32 = 16;

/// So many keys in the lines that it begins with are too many: of 1,280 places an eighth.
const MANY_KEYS: u32 = (FEW_LINES * PLACES / 8) as u32;

/// One worker's sketch. Only that worker may count.
#[derive(Debug)]
pub struct Sketch {
    few: Box<[Line]>,
    /// What is counted in from when it is there.
    many: OnceLock<Box<[Line]>>,
    /// How many lines that may have.
    most: usize,
    /// Places taken, where counting goes on; written by the worker.
    taken: AtomicU32,
    /// Random, so that nobody can choose keys that share a line.
    seed: u64,
}

/// A cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    /// Packed client keys; 0 is nobody.
    keys: [AtomicU64; PLACES],
    /// In units of 1/[`QUERY`].
    counts: [AtomicU32; PLACES],
    /// Up to which half-life it has been halved.
    halved: AtomicU32,
}

impl Sketch {
    /// An empty one, of as many as there are `workers`. Sketches that shall be merged have one `seed`.
    pub fn new(workers: usize, seed: u64) -> Self {
        let fitting = MOST_OCTETS / size_of::<Line>() / workers.max(1);
        let few = power_of_two_within(FEW_LINES.min(fitting));
        let most = power_of_two_within(LINES.min(fitting.saturating_sub(few)));
        Self { few: lines(few), many: OnceLock::new(), most, taken: AtomicU32::new(0), seed }
    }

    /// Gives it all the room that it may have, if it has many keys. For anybody but its worker, now and then.
    pub fn make_room(&self) {
        if self.taken.load(Relaxed) > MANY_KEYS && self.most > self.few.len() {
            self.many.get_or_init(|| lines(self.most));
        }
    }

    /// Counts a query of `key`. Gives the key, packed, and its hash; one that can't be packed is nobody's (see
    /// [`ClientKey::packed`]).
    #[inline]
    pub fn count(&self, key: &ClientKey, now: Timestamp) -> Option<(u64, u64)> {
        let packed = key.packed()?;
        let hash = hash(packed, self.seed);
        self.count_packed(packed, hash, now);
        Some((packed, hash))
    }

    #[inline]
    fn count_packed(&self, packed: u64, hash: u64, now: Timestamp) {
        let lines = self.many.get().unwrap_or(&self.few);
        let line = &lines[hash as usize & (lines.len() - 1)];
        let half_life = half_life(now);
        if line.halved.load(Relaxed) < half_life {
            line.halve(half_life);
        }
        let mut least = (0, u32::MAX);
        for place in 0..PLACES {
            let count = line.counts[place].load(Relaxed);
            if line.keys[place].load(Relaxed) == packed {
                line.counts[place].store(count.saturating_add(QUERY), Relaxed);
                return;
            }
            if count < least.1 {
                least = (place, count);
            }
        }
        if line.keys[least.0].load(Relaxed) == 0 {
            self.taken.store(self.taken.load(Relaxed) + 1, Relaxed);
        }
        line.keys[least.0].store(packed, Relaxed);
        line.counts[least.0].store(least.1.saturating_add(QUERY), Relaxed);
    }

    /// The memory that its worker writes beside the sketch itself.
    #[cfg(test)]
    pub(super) fn written(&self) -> Vec<std::ops::Range<usize>> {
        let all = [Some(&self.few), self.many.get()].into_iter().flatten().map(|lines| lines.as_ptr_range());
        all.map(|octets| octets.start.addr()..octets.end.addr()).collect()
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.few.iter().chain(self.many.get().into_iter().flatten())
    }
}

fn lines(count: usize) -> Box<[Line]> {
    (0..count).map(|_| Line::default()).collect()
}

/// The largest power of two that is not above `most`; 1 at least.
fn power_of_two_within(most: usize) -> usize {
    1 << most.max(1).ilog2()
}

impl Line {
    #[cold]
    fn halve(&self, half_life: u32) {
        let shift = self.halvings(half_life);
        for count in &self.counts {
            count.store(count.load(Relaxed).checked_shr(shift).unwrap_or(0), Relaxed);
        }
        self.halved.store(half_life, Relaxed);
    }

    /// How often its counts are still to be halved. A clock that was set back halves nothing.
    fn halvings(&self, half_life: u32) -> u32 {
        half_life.saturating_sub(self.halved.load(Relaxed))
    }
}

/// Where a packed key belongs, under the seed of the sketches.
pub fn hash(packed: u64, seed: u64) -> u64 {
    mix(packed ^ seed)
}

fn half_life(now: Timestamp) -> u32 {
    (now.0 / HALF_LIFE_SECS) as u32
}

/// What all workers counted since `since`, at `now`. It may miss a query that is being counted.
pub fn merged<'a>(sketches: impl Iterator<Item = &'a Sketch>, since: Timestamp, now: Timestamp) -> Demand {
    let mut keys: HashMap<u64, (f64, f64), foldhash::quality::RandomState> = HashMap::default();
    let half_life = half_life(now);
    for line in sketches.flat_map(Sketch::lines) {
        let shift = line.halvings(half_life);
        let of = |count: &AtomicU32| f64::from(count.load(Relaxed).checked_shr(shift).unwrap_or(0)) / f64::from(QUERY);
        let counts: [f64; PLACES] = std::array::from_fn(|place| of(&line.counts[place]));
        let least = counts.iter().copied().fold(f64::INFINITY, f64::min);
        for (key, count) in line.keys.iter().zip(counts).filter(|(_, count)| *count > 0.0) {
            let known = keys.entry(key.load(Relaxed)).or_insert((0.0, 0.0));
            *known = (known.0 + count, known.1 + least);
        }
    }
    let known = keys
        .into_iter()
        .filter_map(|(packed, (queries, error))| Some(KeyDemand { key: ClientKey::unpacked(packed)?, queries, error }));
    Demand::new(known.collect(), window_secs(since, now))
}

/// So many seconds of steady queries make the counts at `now`: the part of this half-life, and half of the one before, a
/// quarter of that before, ..., up to the beginning.
fn window_secs(since: Timestamp, now: Timestamp) -> f64 {
    let begun = |half_life: u64| Timestamp(half_life * HALF_LIFE_SECS).max(since);
    let current = now.0 / HALF_LIFE_SECS;
    let mut window = now.since(begun(current)) as f64;
    for back in 1..=20.min(current) {
        let (from, to) = (begun(current - back), Timestamp((current - back + 1) * HALF_LIFE_SECS));
        window += to.since(from) as f64 / 2f64.powi(back as i32);
    }
    window.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    const NOW: Timestamp = Timestamp(500_000 * HALF_LIFE_SECS);

    fn key(number: u32) -> ClientKey {
        ClientKey::of_resolver(Ipv4Addr::from_bits((number + 256) << 8).into())
    }

    fn queries(demand: &Demand, number: u32) -> u64 {
        demand.keys().iter().find(|k| k.key == key(number)).map_or(0, |k| k.queries.round() as u64)
    }

    #[test]
    fn a_line_is_a_cache_line_and_all_are_bounded() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
        assert_eq!((Sketch::new(4, 0).few.len(), Sketch::new(4, 0).most), (FEW_LINES, LINES));
        for workers in [1, 3, 63, 64, 65, 100, 1000, 10_000] {
            let sketch = Sketch::new(workers, 0);
            let octets = (sketch.few.len() + sketch.most) * size_of::<Line>() * workers;
            assert!(octets <= MOST_OCTETS, "{workers}: {octets}");
        }
    }

    #[test]
    fn room_is_made_for_many_keys_and_what_was_counted_stays() {
        let sketch = Sketch::new(1, 7);
        (0..100).for_each(|number| _ = sketch.count(&key(number), NOW));
        sketch.make_room();
        assert!(sketch.many.get().is_none(), "they have room");
        (0..200).for_each(|number| _ = sketch.count(&key(number), NOW));
        sketch.make_room();
        assert_eq!(sketch.lines().count(), FEW_LINES + LINES);
        (0..300).for_each(|number| _ = sketch.count(&key(number), NOW));
        let demand = merged([&sketch].into_iter(), NOW, NOW);
        assert!((demand.queries() - 600.0).abs() < 1e-9);
        assert_eq!([0, 150, 250].map(|number| queries(&demand, number)), [3, 2, 1]);
    }

    #[test]
    fn counts_are_halved_and_merged() {
        let sketches = [Sketch::new(2, 7), Sketch::new(2, 7)];
        for _ in 0..100 {
            sketches[0].count(&key(1), NOW);
            sketches[1].count(&key(1), NOW);
            sketches[1].count(&key(2), NOW);
        }
        let at = |later| merged(sketches.iter(), NOW, NOW.after(later));
        assert_eq!((queries(&at(0), 1), queries(&at(0), 2)), (200, 100));
        assert_eq!((queries(&at(3600), 1), queries(&at(7200), 2)), (100, 25));
        sketches[1].count(&key(1), NOW.after(3600));
        assert_eq!(queries(&at(3600), 1), 101);
        assert_eq!(queries(&at(40 * 3600), 1), 0);
        sketches[0].count(&key(1), NOW.before(7200)); // the clock was set back: nothing is halved twice
        assert_eq!(queries(&at(0), 1), 101 + 51);
    }

    #[test]
    fn a_steady_rate_is_told_as_such() {
        let sketch = Sketch::new(1, 7);
        let since = NOW.before(1234);
        let mut now = since;
        for step in 0..6 * 3600 {
            for _ in 0..3 {
                sketch.count(&key(1), now);
            }
            now = now.after(1);
            if [10, 2000, 5000, 21_000].contains(&step) {
                let rate = merged([&sketch].into_iter(), since, now).per_second();
                assert!((rate - 3.0).abs() < 0.01, "{rate} after {step} s");
            }
        }
    }

    #[test]
    fn heavy_keys_stand_out_of_a_million() {
        let sketch = Sketch::new(1, 7);
        let mut count = 0u32;
        for round in 0..4u32 {
            for number in 0..250_000 {
                if number % 10_000 == 0 {
                    sketch.make_room();
                }
                sketch.count(&key(1000 + number * 4 + round), NOW);
                if number % 100 == 0 {
                    sketch.count(&key(number % 1000 / 100), NOW); // ten keys of 1,000 queries each
                    count += 1;
                }
            }
        }
        let demand = merged([&sketch].into_iter(), NOW, NOW);
        assert!((demand.queries() - f64::from(1_000_000 + count)).abs() < 0.5, "the total is exact");
        for number in 0..10 {
            let seen = queries(&demand, number);
            assert!((1000..1100).contains(&seen), "{seen}");
        }
    }

    proptest! {
        #[test]
        fn never_too_small_and_too_large_by_no_more_than_told(asked in prop::collection::vec(0u32..40, 0..400)) {
            // Two lines, so that places are fought for.
            let sketch = Sketch { few: lines(2), ..Sketch::new(1, 7) };
            let mut truth = BTreeMap::<u32, f64>::new();
            for number in &asked {
                sketch.count(&key(*number), NOW);
                *truth.entry(*number).or_default() += 1.0;
            }
            let demand = merged([&sketch].into_iter(), NOW, NOW);
            prop_assert_eq!(demand.queries().round() as usize, asked.len());
            for known in demand.keys() {
                let number = (0..40).find(|n| key(*n) == known.key).unwrap();
                let true_count = truth[&number];
                prop_assert!(known.queries >= true_count && known.queries - known.error <= true_count);
                prop_assert!(known.error <= asked.len() as f64 / PLACES as f64);
            }
        }
    }
}
