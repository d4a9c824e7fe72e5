//! Response-rate limiting: no more than so many UDP responses a second to one prefix, so that this server is no help to who
//! forges the addresses of others.
//!
//! A token bucket for each prefix, in memory of the worker alone: no lock, no allocation once it is there, one cache line.
//! Each worker over UDP gives its share of the rate, as the kernel spreads a prefix' queries over them; who asks at one of several
//! addresses alone meets only the workers of that one. The thread of requests has one more such part. When a bucket is empty,
//! each `slip`th response is truncated, so that a real resolver behind the prefix can ask over TCP, and the others are not
//! sent. Who shows a valid cookie (RFC 7873) or signs a request (RFC 8945) is who they say, and is not limited; neither is TCP.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ipnet::IpNet;

use crate::query::{Context, Tally};
use crate::steering::key::mix;
use crate::time::Timestamp;

/// What is limited, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Responses a second to one prefix, from all workers together, if each has at least one; at least 1.
    pub rate: u32,
    /// Of so many responses that are held back, one is sent truncated; 0: none.
    pub slip: u8,
    /// Leading bits of a client's address that are its prefix: IPv4, IPv6.
    pub prefixes: (u8, u8),
    /// Who is not limited.
    pub exempt: Vec<IpNet>,
}

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes out.
    Send,
    /// Truncated, with nothing but the question.
    Slip,
    /// It is not sent.
    Hold,
}

/// Prefixes in one cache line.
const PLACES: usize = 8;
/// Cache lines of a worker: 32,768 prefixes at a time in 256 KiB.
const LINES: usize = 1 << 12;

/// One worker's buckets. Only that worker may write them.
#[derive(Debug)]
pub struct Buckets {
    lines: Box<[Line]>,
    /// Random, so that nobody can choose prefixes that share a line.
    seed: u64,
}

/// The buckets of prefixes that share a line: 24 bits to tell them apart, 24 of the second they were last filled in, 16 of
/// tokens.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; PLACES]);

impl Buckets {
    /// All full.
    pub(super) fn new() -> Self {
        let lines = (0..LINES).map(|_| Line::default()).collect();
        Self { lines, seed: getrandom::u64().unwrap_or(0) }
    }

    /// The memory that its worker writes.
    #[cfg(test)]
    pub(super) fn written(&self) -> std::ops::Range<usize> {
        let octets = self.lines.as_ptr_range();
        octets.start.addr()..octets.end.addr()
    }

    /// Takes a token for a response to `client`. `rate` is this worker's; `draw` decides which of those held back slip.
    pub(super) fn take(&self, limit: &RateLimit, rate: u16, client: IpAddr, now: Timestamp, draw: u64) -> Verdict {
        let hash = mix(prefix(limit, client) ^ self.seed);
        let line = &self.lines[hash as usize & (LINES - 1)];
        let (tag, second) = (hash >> 40, now.0 & 0xff_ffff);
        let (place, tokens) = line.find(tag, second, rate);
        line.0[place].store(tag << 40 | second << 16 | u64::from(tokens.saturating_sub(1)), Relaxed);
        match (tokens, limit.slip) {
            (1.., _) => Verdict::Send,
            (0, slip @ 1..) if draw.is_multiple_of(slip.into()) => Verdict::Slip,
            _ => Verdict::Hold,
        }
    }
}

impl Line {
    /// The bucket of `tag`, filled up to `second`: its place, and its tokens. A new one takes the place of that which was
    /// used longest ago.
    fn find(&self, tag: u64, second: u64, rate: u16) -> (usize, u16) {
        let mut oldest = (0, 0);
        for (place, bucket) in self.0.iter().enumerate() {
            let bucket = bucket.load(Relaxed);
            let age = second.wrapping_sub(bucket >> 16) & 0xff_ffff;
            if bucket >> 40 == tag && bucket != 0 {
                // A clock that was set back gives a great age: the bucket is full then.
                let filled = u64::from(bucket as u16) + age.min(2) * u64::from(rate);
                return (place, filled.min(rate.into()) as u16);
            }
            let age = if bucket == 0 { u64::MAX } else { age };
            if age >= oldest.1 {
                oldest = (place, age);
            }
        }
        (oldest.0, rate)
    }
}

impl RateLimit {
    /// Takes a token for a response, unless it goes to somebody who is exempt.
    pub(super) fn judge(&self, rate: u16, context: &Context, tally: Tally<'_>) -> Verdict {
        let client = context.client.to_canonical();
        if self.exempt.iter().any(|net| net.contains(&client)) {
            return Verdict::Send;
        }
        tally.counters.buckets().take(self, rate, client, context.now, context.draw)
    }

    /// The rate of each of `workers`, which share it.
    pub fn each(&self, workers: usize) -> u16 {
        self.rate.div_ceil(workers.max(1) as u32).clamp(1, u16::MAX.into()) as u16
    }
}

/// The prefix of a client, as a number that no other prefix of its family has.
fn prefix(limit: &RateLimit, client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(ip) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(limit.prefixes.0)).unwrap_or(0);
            u64::from(ip.to_bits() & kept) | 1 << 40
        }
        IpAddr::V6(ip) => {
            let kept = u64::MAX.checked_shl(64 - u32::from(limit.prefixes.1)).unwrap_or(0);
            mix((ip.to_bits() >> 64) as u64 & kept)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(slip: u8) -> RateLimit {
        RateLimit { rate: 10, slip, prefixes: (24, 56), exempt: Vec::new() }
    }

    fn taken(buckets: &Buckets, limit: &RateLimit, client: &str, second: u64, queries: u64) -> [u64; 3] {
        let mut counts = [0; 3];
        for draw in 0..queries {
            let verdict = buckets.take(limit, limit.each(1), client.parse().unwrap(), Timestamp(second), draw);
            counts[verdict as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_prefix_gets_its_rate_and_what_slips() {
        let (buckets, limit) = (Buckets::new(), limit(2));
        assert_eq!(taken(&buckets, &limit, "192.0.2.1", 100, 30), [10, 10, 10]);
        assert_eq!(taken(&buckets, &limit, "192.0.2.200", 100, 4), [0, 2, 2], "the same prefix");
        assert_eq!(taken(&buckets, &limit, "192.0.3.1", 100, 4), [4, 0, 0], "another one");
        assert_eq!(taken(&buckets, &limit, "192.0.2.1", 101, 12), [10, 1, 1], "a second later");
        assert_eq!(
            taken(&buckets, &limit, "192.0.2.1", 200, 12),
            [10, 1, 1],
            "no more than one second's worth is saved"
        );
        assert_eq!(taken(&buckets, &limit, "192.0.2.1", 100, 12), [10, 1, 1], "a clock that is set back stops nobody");
        assert_eq!(taken(&buckets, &limit, "2001:db8:0:1::1", 100, 12), [10, 1, 1]);
        assert_eq!(taken(&buckets, &limit, "2001:db8:0:ff::1", 100, 2), [0, 1, 1]);
        assert_eq!(taken(&buckets, &limit, "2001:db8:0:100::1", 100, 2), [2, 0, 0]);
    }

    #[test]
    fn without_slip_nothing_is_sent() {
        assert_eq!(taken(&Buckets::new(), &limit(0), "192.0.2.1", 1, 30), [10, 0, 20]);
        assert_eq!(taken(&Buckets::new(), &limit(1), "192.0.2.1", 1, 30), [10, 20, 0]);
    }

    #[test]
    fn many_prefixes_take_the_places_of_those_gone() {
        let (buckets, limit) = (Buckets::new(), limit(0));
        for net in 0..200_000u32 {
            let client = IpAddr::from((net << 8 | 1).to_be_bytes());
            assert_eq!(buckets.take(&limit, 10, client, Timestamp(7), 0), Verdict::Send);
        }
    }

    #[test]
    fn the_rate_is_shared_by_the_workers() {
        assert_eq!((limit(0).each(1), limit(0).each(4), limit(0).each(64)), (10, 3, 1));
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    }
}
