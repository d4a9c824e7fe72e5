//! From a name's hash to its node: open addressing in one array, so that a look-up touches one cache line of it, most times.
//!
//! Each entry keeps the upper half of the hash. It says where the entry belongs, so that growing needs no name, and tells
//! nearly all other names from the one that is looked for without a look at them.

/// No node.
pub(in crate::zone) const NONE: u32 = u32::MAX;

/// The fewest entries there are.
const LEAST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Entry {
    tag: u32,
    /// [`NONE`] where the entry is free.
    at: u32,
}

const FREE: Entry = Entry { tag: 0, at: NONE };

/// The table. At most seven in ten of its entries are taken.
#[derive(Clone, Debug)]
pub(in crate::zone) struct Table {
    entries: Vec<Entry>,
    taken: usize,
}

impl Table {
    /// A table that takes `names` before it grows.
    pub(in crate::zone) fn for_names(names: usize) -> Self {
        Self { entries: vec![FREE; (names + names / 2).max(LEAST)], taken: 0 }
    }

    /// What was put in under `hash`, and is what is looked for.
    #[inline]
    pub(in crate::zone) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = (hash >> 32) as u32;
        let mut place = self.home(tag);
        loop {
            let entry = self.entries[place];
            if entry.at == NONE {
                return None;
            }
            if entry.tag == tag && is_it(entry.at) {
                return Some(entry.at);
            }
            place = if place + 1 == self.entries.len() { 0 } else { place + 1 };
        }
    }

    /// Where what was put in under `hash` is looked for first.
    #[inline]
    pub(in crate::zone) fn place(&self, hash: u64) -> &impl Sized {
        &self.entries[self.home((hash >> 32) as u32)]
    }

    /// Puts in `at`, which is not there yet.
    pub(in crate::zone) fn insert(&mut self, hash: u64, at: u32) {
        if (self.taken + 1) * 10 > self.entries.len() * 7 {
            self.resize(self.entries.len() * 2);
        }
        self.put(Entry { tag: (hash >> 32) as u32, at });
    }

    /// Gives back what was reserved and not used.
    pub(in crate::zone) fn fit(&mut self) {
        let wanted = (self.taken * 10 / 7 + 1).max(LEAST);
        if wanted < self.entries.len() / 8 * 7 {
            self.resize(wanted);
        }
    }

    /// Puts `to(at)` in the place of each `at`.
    pub(in crate::zone) fn replace(&mut self, to: impl Fn(u32) -> u32) {
        for entry in self.entries.iter_mut().filter(|entry| entry.at != NONE) {
            entry.at = to(entry.at);
        }
    }

    /// Octets of memory it holds.
    pub(in crate::zone) fn memory_octets(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Where it lies.
    pub(in crate::zone) fn addresses(&self) -> std::ops::Range<usize> {
        let entries = self.entries.as_ptr_range();
        entries.start.addr()..entries.end.addr()
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.entries.len() as u64) >> 32) as usize
    }

    fn put(&mut self, entry: Entry) {
        let mut place = self.home(entry.tag);
        while self.entries[place].at != NONE {
            place = if place + 1 == self.entries.len() { 0 } else { place + 1 };
        }
        self.entries[place] = entry;
        self.taken += 1;
    }

    fn resize(&mut self, entries: usize) {
        let old = std::mem::replace(&mut self.entries, vec![FREE; entries]);
        self.taken = 0;
        for entry in old.into_iter().filter(|entry| entry.at != NONE) {
            self.put(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_is_found(hashes in proptest::collection::hash_set(0u64..1 << 12, 0..400)) {
            let hashes: Vec<u64> = hashes.into_iter().map(|h| h << 50 | h).collect(); // tags that collide
            let mut table = Table::for_names(0);
            for (at, hash) in hashes.iter().enumerate() {
                prop_assert_eq!(table.find(*hash, |found| hashes[found as usize] == *hash), None);
                table.insert(*hash, at as u32);
            }
            table.fit();
            for (at, hash) in hashes.iter().enumerate() {
                prop_assert_eq!(table.find(*hash, |found| hashes[found as usize] == *hash), Some(at as u32));
            }
        }
    }
}
