//! What the answers to a batch of queries will read, brought near for all of them together.
//!
//! Of many names or pools that are asked in turn, what one answer reads is in no near cache: and the place in the table tells
//! where the node lies, the node which pool lies over it, the pool where its records are. Answered one after the other, each
//! query waits for each of these. Here all of a batch go one step of that way at a time, so they wait together. Nothing is
//! decided here: an answer that finds less, or more, than was brought near is the same one, a little later.

use arrayvec::ArrayVec;

use crate::dns::Rtype;
use crate::dns::wire::{NAME_BUFFER, lowered_qname};
use crate::query::{Pool, Snapshot, Tally};
use crate::zone::compiled::Ahead;

/// Queries that are looked at together at most.
pub const MOST: usize = 32;

/// From so many names on it is worth while: 10 MB that queries read here and there. What fewer take stays in some cache by
/// itself, and going over a batch twice costs more than it brings: a third of all that answering takes.
const MANY_NAMES: usize = 1 << 17;
/// The same for pools, of which one with its records and its part of a horizon's has less than 1 KB.
const MANY_POOLS: usize = 1 << 13;

/// Brings memory near that is read soon.
pub trait Fetch {
    /// The first few cache lines of `value`.
    fn fetch<T: ?Sized>(&self, value: &T);
}

/// Brings near what the answers to `packets` will read, where the snapshot is so large that this is worth while.
#[inline]
pub fn fetch_ahead<'p>(
    snapshot: &Snapshot,
    tally: Tally<'_>,
    packets: impl Iterator<Item = &'p [u8]>,
    near: &impl Fetch,
) {
    if is_large(snapshot.zones.name_count(), snapshot.pools.len()) {
        fetch_all(snapshot, tally.worker, packets, near);
    }
}

fn is_large(names: usize, pools: usize) -> bool {
    names >= MANY_NAMES || pools >= MANY_POOLS
}

fn fetch_all<'p>(
    snapshot: &Snapshot,
    worker: Option<usize>,
    packets: impl Iterator<Item = &'p [u8]>,
    near: &impl Fetch,
) {
    let mut lower = [0; NAME_BUFFER];
    let mut names: ArrayVec<Ahead<'_>, MOST> = ArrayVec::new_const();
    for packet in packets.take(MOST) {
        let Some((octets, labels)) = lowered_qname(packet, &mut lower) else { continue };
        let qname = &lower[..octets];
        // DS at an apex is asked of the zone above it, and rarely.
        let zone = snapshot.zones.find(qname, labels, Rtype::A).and_then(|entry| entry.zone.as_deref());
        if let Some(zone) = zone {
            let ahead = zone.ahead(qname);
            near.fetch(ahead.place());
            names.push(ahead);
        }
    }
    for ahead in &mut names {
        if let Some(node) = ahead.node() {
            near.fetch(node);
        }
    }
    if snapshot.pools.is_empty() {
        return;
    }
    let mut pools: ArrayVec<&Pool, MOST> = ArrayVec::new_const();
    for pool in names.iter().filter_map(Ahead::slot).filter_map(|slot| snapshot.over(slot).0) {
        near.fetch(pool); // what is read comes first in it
        pools.push(pool);
    }
    for pool in &pools {
        near.fetch(&*pool.records);
        near.fetch(&*pool.recorder);
        near.fetch(pool.selector.intervals());
    }
    for pool in &pools {
        near.fetch(pool.records.run());
        if let Some(worker) = worker {
            near.fetch(pool.recorder.row(worker));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::dns::Name;
    use crate::query::Counters;
    use crate::zone::compiled::{Overlay, compile_gathered};
    use crate::zone::{ZoneSet, master};

    /// Remembers what it is asked for.
    #[derive(Default)]
    struct Seen(RefCell<Vec<usize>>);

    impl Fetch for Seen {
        fn fetch<T: ?Sized>(&self, value: &T) {
            self.0.borrow_mut().push(std::ptr::from_ref(value).addr());
        }
    }

    fn snapshot(names: usize) -> Snapshot {
        let apex: Name = "example".parse().unwrap();
        let mut text = "$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned();
        text.extend((0..names).map(|i| format!("h{i} A 192.0.2.2\n")));
        let records = master::read_text(text.into(), Path::new("zone"), &apex).unwrap().records;
        let zone = compile_gathered(records, &Overlay::default());
        Snapshot { zones: Arc::new(ZoneSet::new([(apex, Some(Arc::new(zone)))])), ..Snapshot::default() }
    }

    fn query(name: &[u8]) -> Vec<u8> {
        [&[0; 12], name, &[0, 1, 0, 1]].concat()
    }

    #[test]
    fn what_answers_will_read_is_brought_near() {
        let (snapshot, seen) = (snapshot(100), Seen::default());
        let zone = snapshot.zones.entries()[0].zone.as_deref().unwrap();
        let (known, unknown) = (query(b"\x03H77\x07eXample\0"), query(b"\x02no\x07example\0"));
        let (elsewhere, cut_off) = (query(b"\x03net\0"), &known[..18]);
        let at = |name: &[u8]| std::ptr::from_ref(zone.ahead(name).place()).addr();
        let node = zone.ahead(b"\x03h77\x07example\0").node().unwrap().as_ptr().addr();
        let places = [at(b"\x03h77\x07example\0"), at(b"\x02no\x07example\0")];
        let packets = [&known[..], &unknown, &elsewhere, cut_off, b""];
        fetch_all(&snapshot, None, packets.into_iter(), &seen);
        assert_eq!(seen.0.into_inner(), [places[0], places[1], node]);
    }

    #[test]
    fn what_stays_near_by_itself_is_not_looked_for() {
        let (snapshot, seen, counters) = (snapshot(100), Seen::default(), Counters::default());
        let known = query(b"\x02h7\x07example\0");
        let tally = Tally { counters: &counters, worker: None };
        fetch_ahead(&snapshot, tally, [&known[..], &known].into_iter(), &seen);
        assert!(seen.0.into_inner().is_empty());
        assert!(!is_large(10_000, 1000) && is_large(1_000_000, 0) && is_large(0, 10_000));
    }
}
