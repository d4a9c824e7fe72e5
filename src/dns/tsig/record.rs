//! The TSIG record on the wire (RFC 8945, 4.2).

use super::{Error, FUDGE_SECS};
use crate::dns::wire::{CLASS_ANY, HEADER_OCTETS, skip_name, skip_question};
use crate::dns::{Name, Rtype};
use crate::time::Timestamp;

/// The fields of a TSIG that change from one to the next.
pub(super) struct Stamp {
    /// Seconds since 1970; 48 bits of it are sent.
    pub(super) time: u64,
    pub(super) fudge: u16,
    pub(super) error: u16,
    pub(super) other: Vec<u8>,
}

impl Stamp {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { time: now.0, fudge: FUDGE_SECS, error: 0, other: Vec::new() }
    }
}

/// A TSIG record as received (RFC 8945, 4.2).
pub(super) struct Tsig<'m> {
    pub(super) key: Name,
    pub(super) algorithm: Name,
    pub(super) time: u64,
    pub(super) fudge: u16,
    pub(super) mac: &'m [u8],
    pub(super) original_id: [u8; 2],
    pub(super) error: u16,
    pub(super) other: &'m [u8],
}

/// What a message ends with.
enum End<'m> {
    Plain,
    Tsig(usize, Tsig<'m>),
}

impl<'m> Tsig<'m> {
    /// The TSIG of `message` and where it begins, if there is one.
    pub(super) fn find(message: &'m [u8]) -> Result<Option<(usize, Self)>, Error> {
        let end = Self::walk(message).ok_or(Error::Malformed)?;
        match end {
            End::Plain => Ok(None),
            End::Tsig(start, tsig) => Ok(Some((start, tsig))),
        }
    }

    /// Goes through all records; `None`: they can't be read.
    fn walk(message: &'m [u8]) -> Option<End<'m>> {
        let header = message.first_chunk::<HEADER_OCTETS>()?;
        let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let mut at = HEADER_OCTETS;
        for _ in 0..count(4) {
            at += skip_question(message.get(at..)?)?;
        }
        let records = count(6) + count(8) + count(10);
        for index in 0..records {
            let (start, owner) = (at, skip_name(message.get(at..)?)?);
            let [t0, t1, c0, c1, ttl @ .., l0, l1] = *message.get(at + owner..)?.first_chunk::<10>()?;
            let rdata_at = at + owner + 10;
            at = rdata_at + usize::from(u16::from_be_bytes([l0, l1]));
            let rdata = message.get(rdata_at..at)?;
            if [t0, t1] == Rtype::TSIG.0.to_be_bytes() {
                let in_place = index + 1 == records && count(10) > 0 && at == message.len();
                if !in_place || [c0, c1] != CLASS_ANY.to_be_bytes() || ttl != [0; 4] {
                    return None;
                }
                return Some(End::Tsig(start, Self::parse(Name::from_message(message, start)?, rdata)?));
            }
        }
        Some(End::Plain)
    }

    fn parse(key: Name, rdata: &'m [u8]) -> Option<Self> {
        let (algorithm, rest) = rdata.split_at_checked(skip_name(rdata)?)?;
        let algorithm = Name::from_wire(algorithm).ok()?;
        let ([t0, t1, t2, t3, t4, t5, f0, f1, m0, m1], rest) = rest.split_first_chunk::<10>()?;
        let (mac, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*m0, *m1])))?;
        let ([i0, i1, e0, e1, o0, o1], other) = rest.split_first_chunk::<6>()?;
        (other.len() == usize::from(u16::from_be_bytes([*o0, *o1]))).then_some(Self {
            key,
            algorithm,
            time: u64::from_be_bytes([0, 0, *t0, *t1, *t2, *t3, *t4, *t5]),
            fudge: u16::from_be_bytes([*f0, *f1]),
            mac,
            original_id: [*i0, *i1],
            error: u16::from_be_bytes([*e0, *e1]),
            other,
        })
    }

    /// The message as it was signed: without this record, which begins at `start`, and under its first ID.
    pub(super) fn stripped(&self, message: &[u8], start: usize) -> Vec<u8> {
        let mut stripped = message[..start].to_vec();
        let additional = u16::from_be_bytes([stripped[10], stripped[11]]) - 1; // it was found there
        stripped[10..12].copy_from_slice(&additional.to_be_bytes());
        stripped[..2].copy_from_slice(&self.original_id);
        stripped
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp { time: self.time, fudge: self.fudge, error: self.error, other: self.other.to_vec() }
    }
}

/// Adds a TSIG record to `message`.
pub(super) fn append(message: &mut Vec<u8>, key: &[u8], algorithm: &[u8], stamp: &Stamp, mac: &[u8]) {
    let id = [message[0], message[1]];
    let additional = u16::from_be_bytes([message[10], message[11]]) + 1;
    message[10..12].copy_from_slice(&additional.to_be_bytes());
    message.extend_from_slice(key);
    message.extend_from_slice(&Rtype::TSIG.0.to_be_bytes());
    message.extend_from_slice(&CLASS_ANY.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    let rdata_octets = algorithm.len() + 16 + mac.len() + stamp.other.len();
    message.extend_from_slice(&(rdata_octets as u16).to_be_bytes());
    message.extend_from_slice(algorithm);
    message.extend_from_slice(&stamp.time.to_be_bytes()[2..]);
    message.extend_from_slice(&stamp.fudge.to_be_bytes());
    message.extend_from_slice(&(mac.len() as u16).to_be_bytes());
    message.extend_from_slice(mac);
    message.extend_from_slice(&id);
    message.extend_from_slice(&stamp.error.to_be_bytes());
    message.extend_from_slice(&(stamp.other.len() as u16).to_be_bytes());
    message.extend_from_slice(&stamp.other);
}
