//! The busiest of more keys than can be kept: space-saving (Metwally, Agrawal, El Abbadi, 2005). Pure.
//!
//! What always holds: with `n` counters and `N` counts taken in, a counter is never below the truth and above it by its
//! `error` at most, which is `N / n` at most; each key with more than `N / n` counts has a counter.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Counters for the busiest keys.
pub(super) struct Sketch<K> {
    most: usize,
    counters: HashMap<K, Counter>,
    /// By count, then by the order in which they came to it; the first gives way.
    order: BTreeMap<(u64, u64), K>,
    step: u64,
}

/// The count of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    /// At least the truth.
    pub(super) count: u64,
    /// By how much `count` may be above the truth.
    pub(super) error: u64,
    place: u64,
}

impl<K: Clone + Eq + Hash> Sketch<K> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, counters: HashMap::new(), order: BTreeMap::new(), step: 0 }
    }

    /// Counts `key` once more.
    pub(super) fn count(&mut self, key: K) {
        self.step += 1;
        let place = self.step;
        let counter = match self.counters.get(&key) {
            Some(old) => {
                self.order.remove(&(old.count, old.place));
                Counter { count: old.count + 1, error: old.error, place }
            }
            None if self.counters.len() < self.most => Counter { count: 1, error: 0, place },
            None => {
                let Some(((least, _), gives_way)) = self.order.pop_first() else { return };
                self.counters.remove(&gives_way);
                Counter { count: least + 1, error: least, place }
            }
        };
        self.order.insert((counter.count, place), key.clone());
        self.counters.insert(key, counter);
    }

    /// The busiest first, `most` of them at most.
    pub(super) fn top(&self, most: usize) -> impl Iterator<Item = (&K, Counter)> {
        self.order.values().rev().take(most).map(|key| (key, self.counters[key]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn counts_are_within_their_error(keys in proptest::collection::vec(0_u8..40, 0..600)) {
            const MOST: usize = 8;
            let mut sketch = Sketch::new(MOST);
            let mut truth = HashMap::new();
            for &key in &keys {
                sketch.count(key);
                *truth.entry(key).or_insert(0_u64) += 1;
            }
            let bound = keys.len() as u64 / MOST as u64;
            for (key, counter) in sketch.top(MOST) {
                proptest::prop_assert!(counter.error <= bound);
                proptest::prop_assert!(counter.count >= truth[key] && counter.count - counter.error <= truth[key]);
            }
            for (key, _) in truth.into_iter().filter(|(_, count)| *count > bound) {
                proptest::prop_assert!(sketch.counters.contains_key(&key));
            }
        }
    }
}
