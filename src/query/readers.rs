//! Who reads which snapshot: each worker's own view of the published state.
//!
//! A worker reads inside [`Reader::read`] only, and holds nothing between two reads: so it may wait for packets as long as it
//! likes, and keeps no old zone by that. Before it takes a snapshot it says that it is entering, after it, which
//! serial it uses, and when done, that it is idle. So the writer can tell when nobody answers from an old snapshot any more
//! ([`Readers::left`]) without a lock or a counter that two workers write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use arc_swap::ArcSwap;

use crate::query::demand::{Sketch, hash, merged};
use crate::query::sample::{Sampled, is_sampled};
use crate::query::snapshot::Snapshot;
use crate::query::tally::{Counters, Tally};
use crate::steering::demand::Demand;
use crate::time::Timestamp;

/// Between two reads.
const IDLE: u64 = u64::MAX;
/// About to take a snapshot, it can't be said which.
const ENTERING: u64 = 0;

/// The workers of the data plane: a row for each.
#[derive(Debug)]
pub struct Readers {
    rows: Box<[Row]>,
    /// Of the hashes of client keys.
    seed: u64,
}

#[derive(Debug)]
#[repr(align(128))]
struct Row {
    serial: AtomicU64,
    counters: Counters,
}

impl Readers {
    /// For `workers` workers.
    pub fn new(workers: usize) -> Arc<Self> {
        let seed = getrandom::u64().unwrap_or(0); // then keys that share a line could be chosen, to be told apart less
        let counters = || Counters::with_demand(Sketch::new(workers, seed));
        let row = |_| Row { serial: AtomicU64::new(IDLE), counters: counters() };
        Arc::new(Self { rows: (0..workers).map(row).collect(), seed })
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.rows.len()
    }

    /// Each worker's counters.
    pub fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.rows.iter().map(|row| &row.counters)
    }

    /// Who asks how much, over all workers, who count since `since`.
    pub fn demand(&self, since: Timestamp, now: Timestamp) -> Demand {
        merged(self.counters().filter_map(Counters::demand), since, now)
    }

    /// Gives workers who hear of many clients more room to count them.
    pub fn make_room(&self) {
        self.counters().filter_map(Counters::demand).for_each(Sketch::make_room);
    }

    /// Hands the sample of what was answered since to `take`. Gives how many did not fit into it, since the start.
    pub fn sampled(&self, mut take: impl FnMut(Sampled)) -> u64 {
        self.counters().filter_map(Counters::sample).map(|ring| ring.read(&mut take)).sum()
    }

    /// From now on only one client in 2^`bits` is in the sample.
    pub fn thin(&self, bits: u32) {
        self.counters().filter_map(Counters::sample).for_each(|ring| ring.thin(bits));
    }

    /// Whether a packed client key is in a sample of one in 2^`bits`.
    pub fn samples(&self, packed: u64, bits: u32) -> bool {
        is_sampled(hash(packed, self.seed), bits)
    }

    /// Whether no worker answers from a snapshot older than `serial` any more, given that it has been published.
    pub fn left(&self, serial: u64) -> bool {
        // Pairs with the fence in `Reader::read`: a worker that is seen idle here will see what was published.
        fence(Ordering::SeqCst);
        self.rows.iter().all(|row| row.serial.load(Ordering::SeqCst) >= serial)
    }
}

/// One worker's way to the published state.
pub struct Reader {
    readers: Arc<Readers>,
    worker: usize,
    published: Arc<ArcSwap<Snapshot>>,
}

impl Reader {
    /// The reader of `worker`, which no other reader shares.
    pub fn new(readers: Arc<Readers>, worker: usize, published: Arc<ArcSwap<Snapshot>>) -> Self {
        assert!(worker < readers.rows.len(), "a row was made for each worker");
        Self { readers, worker, published }
    }

    /// What this worker counts.
    pub fn counters(&self) -> &Counters {
        &self.readers.rows[self.worker].counters
    }

    /// Reads the newest snapshot. What is answered from it is recorded before `read` returns, and sent then or right after.
    pub fn read<T>(&mut self, with: impl FnOnce(&Snapshot, Tally<'_>) -> T) -> T {
        struct Leave<'a>(&'a AtomicU64);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.store(IDLE, Ordering::Release);
            }
        }
        let row = &self.readers.rows[self.worker];
        row.serial.store(ENTERING, Ordering::SeqCst);
        let _leave = Leave(&row.serial);
        fence(Ordering::SeqCst); // the load below is not done before the writer can see that we enter
        let snapshot = self.published.load(); // given back before we leave
        row.serial.store(snapshot.serial, Ordering::SeqCst);
        with(&snapshot, Tally { worker: Some(self.worker), counters: &row.counters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::demand::LINES;
    use crate::steering::horizon::Recorder;
    use crate::steering::key::ClientKey;
    use std::collections::BTreeSet;

    #[test]
    fn a_snapshot_is_left_when_no_reader_uses_it() {
        let published = Arc::new(ArcSwap::from_pointee(Snapshot { serial: 1, ..Snapshot::default() }));
        let readers = Readers::new(2);
        let mut reader = Reader::new(readers.clone(), 1, published.clone());
        assert!(readers.left(1));
        reader.read(|old, _| {
            assert_eq!(old.serial, 1);
            published.store(Arc::new(Snapshot { serial: 2, ..Snapshot::default() }));
            assert!(!readers.left(2), "it is still read");
            assert!(readers.left(1));
        });
        assert!(readers.left(2));
        reader.read(|new, _| assert_eq!(new.serial, 2));
    }

    /// All that a worker writes when it answers: its row, counters, sketch, sample, buckets, and its rows of the horizons.
    #[test]
    fn no_two_workers_write_one_cache_line() {
        const WORKERS: usize = 5;
        assert_eq!((align_of::<Row>(), size_of::<Row>() % 128), (128, 0));
        let readers = Readers::new(WORKERS);
        let recorders: Vec<Recorder> = (1..20).map(|slots| Recorder::new(WORKERS, slots)).collect();
        for number in 0..1000u32 {
            let key = ClientKey::of_resolver(std::net::Ipv4Addr::from_bits(number << 8).into());
            readers.counters().for_each(|counters| _ = counters.demand().unwrap().count(&key, Timestamp(7)));
        }
        readers.make_room();
        let lines = |worker: usize| -> BTreeSet<usize> {
            let row = &readers.rows[worker];
            row.counters.buckets();
            let serial = std::ptr::from_ref(&row.serial).addr();
            let mut written = row.counters.written();
            written.push(serial..serial + size_of::<AtomicU64>());
            written.extend(recorders.iter().map(|recorder| recorder.written(worker)));
            written.into_iter().flat_map(|octets| octets.start / 64..octets.end.div_ceil(64)).collect()
        };
        let all: Vec<BTreeSet<usize>> = (0..WORKERS).map(lines).collect();
        assert!(all[0].len() > LINES, "the large sketch is among them: {}", all[0].len());
        for (worker, own) in all.iter().enumerate() {
            assert!(all[worker + 1..].iter().all(|other| own.is_disjoint(other)));
        }
    }
}
