//! A sample of answers, on their way from a worker to whoever estimates how long they are held.
//!
//! Clients are sampled by a hash of their key, so that of one in the sample every answer is seen. A worker writes its ring
//! without a lock or a wait; what does not fit is dropped and counted, and the reader makes the sample thinner.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::dns::Ttl;
use crate::time::Timestamp;

/// Answers that wait to be read, for each worker.
const PLACES: usize = 1024;
/// The longest TTL that is told; longer ones are as long.
const MOST_SECS: u64 = (1 << 24) - 1;

/// An answer in the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// The packed client key.
    pub client: u64,
    /// The number of the recorder that has it too.
    pub recorder: u32,
    /// And the slot there.
    pub slot: u32,
    /// As served.
    pub ttl: Ttl,
    /// When.
    pub at: Timestamp,
}

/// One worker's ring: it alone writes, and one reader reads.
#[derive(Debug)]
pub struct Ring {
    places: Box<[Line]>,
    /// Answers written, by the worker.
    written: AtomicU64,
    /// Answers read, by the reader.
    read: AtomicU64,
    dropped: AtomicU64,
    /// Of the keys' hashes so many bits must be clear.
    bits: AtomicU32,
}

/// Places that are three cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([[AtomicU64; 3]; PLACES_IN_LINE]);

const PLACES_IN_LINE: usize = 8;

impl Default for Ring {
    fn default() -> Self {
        Self {
            places: (0..PLACES / PLACES_IN_LINE).map(|_| Line::default()).collect(),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            bits: AtomicU32::new(0),
        }
    }
}

impl Ring {
    /// Whether a client whose key has this hash is in the sample.
    #[inline]
    pub fn samples(&self, hash: u64) -> bool {
        is_sampled(hash, self.bits.load(Ordering::Relaxed))
    }

    /// Adds an answer. For the one worker.
    pub fn write(&self, sampled: &Sampled) {
        let written = self.written.load(Ordering::Relaxed);
        if written.wrapping_sub(self.read.load(Ordering::Acquire)) >= PLACES as u64 {
            self.dropped.store(self.dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return;
        }
        let Sampled { client, recorder, slot, ttl, at } = *sampled;
        let words =
            [client, u64::from(recorder) << 32 | u64::from(slot), at.0 << 24 | u64::from(ttl.secs()).min(MOST_SECS)];
        for (place, word) in self.place(written).iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.written.store(written.wrapping_add(1), Ordering::Release);
    }

    /// Hands what was written since to `take`. For the one reader. Gives how many were dropped so far.
    pub fn read(&self, mut take: impl FnMut(Sampled)) -> u64 {
        let mut read = self.read.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Acquire);
        while read != written {
            let [client, place, when] = self.place(read);
            let (place, when) = (place.load(Ordering::Relaxed), when.load(Ordering::Relaxed));
            take(Sampled {
                client: client.load(Ordering::Relaxed),
                recorder: (place >> 32) as u32,
                slot: place as u32,
                ttl: Ttl::from_secs(when & MOST_SECS),
                at: Timestamp(when >> 24),
            });
            read = read.wrapping_add(1);
        }
        self.read.store(read, Ordering::Release);
        self.dropped.load(Ordering::Relaxed)
    }

    #[inline]
    fn place(&self, number: u64) -> &[AtomicU64; 3] {
        let place = number as usize % PLACES;
        &self.places[place / PLACES_IN_LINE].0[place % PLACES_IN_LINE]
    }

    /// The memory that its worker writes beside the ring itself.
    #[cfg(test)]
    pub(super) fn written(&self) -> std::ops::Range<usize> {
        let octets = self.places.as_ptr_range();
        octets.start.addr()..octets.end.addr()
    }

    /// From now on only one client in 2^`bits`.
    pub fn thin(&self, bits: u32) {
        self.bits.store(bits, Ordering::Relaxed);
    }
}

/// Whether a hash belongs to a sample of one in 2^`bits`.
pub fn is_sampled(hash: u64, bits: u32) -> bool {
    hash.leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(number: u64) -> Sampled {
        Sampled {
            client: number,
            recorder: 7,
            slot: number as u32 % 5,
            ttl: Ttl::from_secs(number % 4000),
            at: Timestamp(1_800_000_000 + number),
        }
    }

    #[test]
    fn what_fits_arrives_and_what_does_not_is_counted() {
        let ring = Ring::default();
        (0..PLACES as u64 + 10).for_each(|n| ring.write(&sampled(n)));
        let mut seen = Vec::new();
        assert_eq!(ring.read(|s| seen.push(s)), 10);
        assert_eq!(seen, (0..PLACES as u64).map(sampled).collect::<Vec<_>>());
        ring.write(&sampled(5000));
        seen.clear();
        ring.read(|s| seen.push(s));
        assert_eq!(seen, [sampled(5000)]);
    }

    #[test]
    fn a_reader_follows_a_writer() {
        let ring = Ring::default();
        std::thread::scope(|threads| {
            threads.spawn(|| (0..20_000).for_each(|n| ring.write(&sampled(n))));
            let (mut last, mut count) = (None, 0);
            let mut dropped = 0;
            while count + dropped < 20_000 {
                dropped = ring.read(|s| {
                    assert_eq!(s, sampled(s.client));
                    assert!(Some(s.client) > last);
                    last = Some(s.client);
                    count += 1;
                });
            }
        });
    }

    #[test]
    fn a_thin_sample_is_part_of_a_thicker_one() {
        let ring = Ring::default();
        assert!(ring.samples(u64::MAX));
        ring.thin(2);
        assert!(ring.samples(u64::MAX >> 2) && !ring.samples(u64::MAX >> 1));
    }
}
