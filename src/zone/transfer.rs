//! What a transfer says: the records of AXFR (RFC 5936) and IXFR (RFC 1995) in their order, and their way into messages.
//!
//! No sockets and no clock: messages come out one by one, and whoever sends them decides when.

use std::collections::HashMap;

use crate::dns::wire::{CLASS_IN, HEADER_OCTETS};
use crate::dns::{Name, Rtype, rdata};
use crate::zone::{Diff, Record, Rrset, Zone};

/// Messages are filled up to so many octets: compression reaches no further. A record that is larger has one for itself.
const MESSAGE_OCTETS: usize = 0x4000;
/// The most octets of a message over TCP.
const LARGEST_OCTETS: usize = 0xffff;

/// The SOA of a zone, as a record.
pub fn soa(zone: &Zone) -> Option<Record> {
    let set = zone.rrset(zone.apex(), Rtype::SOA)?;
    let rdata = set.rdatas.into_iter().next()?;
    // The apex as the zone's own file writes it is lost; what names the SOA is in lower case.
    Some(Record { owner: zone.apex().clone(), rtype: Rtype::SOA, ttl: set.ttl, rdata })
}

/// All records between the two SOAs of an AXFR: glue, what is occluded, signatures and proofs among them (RFC 5936, 3).
pub fn body(zone: &Zone) -> impl Iterator<Item = Record> + '_ {
    zone.rrsets().filter(|(_, set)| set.rtype != Rtype::SOA).flat_map(move |(owner, set)| {
        let Rrset { rtype, ttl, rdatas } = set;
        rdatas.into_iter().map(move |rdata| {
            let ttl = if rtype == Rtype::RRSIG { covered_ttl(zone, &owner, &rdata).unwrap_or(ttl) } else { ttl };
            Record { owner: owner.clone(), rtype, ttl, rdata }
        })
    })
}

/// The TTL of what an RRSIG covers, which is its own (RFC 4034, 3).
fn covered_ttl(zone: &Zone, owner: &Name, rrsig: &[u8]) -> Option<crate::dns::Ttl> {
    let covered = Rtype(u16::from_be_bytes(*rrsig.first_chunk()?));
    Some(zone.rrset(owner, covered)?.ttl)
}

/// All records between the two SOAs of an IXFR: for each change what goes, the older SOA first, and what comes, the newer
/// SOA first (RFC 1995, 4).
pub fn changes(diffs: &[Diff]) -> impl Iterator<Item = &Record> {
    diffs.iter().flat_map(|diff| diff.removed.iter().chain(&diff.added))
}

/// Whether `diffs` lead, without a gap, from serial `from` to serial `to`.
pub fn leads(diffs: &[Diff], from: u32, to: u32) -> bool {
    let mut at = from;
    for diff in diffs {
        match diff.serials() {
            Some((old, new)) if old == at => at = new,
            _ => return false,
        }
    }
    at == to
}

/// A record that no message can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {rtype} record at {owner} is too large for a message")]
pub struct TooLarge {
    /// Its owner name.
    pub owner: Name,
    /// Its type.
    pub rtype: Rtype,
}

/// Fills messages with the records of a transfer, all in ANSWER.
#[derive(Debug)]
pub struct Packer {
    /// The header of all messages.
    header: [u8; HEADER_OCTETS],
    message: Vec<u8>,
    records: u16,
    /// Octets to leave free in each, for a signature.
    spare: usize,
    /// The OPT record, for the first message only (RFC 5936, 2.2.5).
    opt: Vec<u8>,
    /// Where names, and their ends, stand in the message, in this letter case.
    names: HashMap<Box<[u8]>, u16>,
}

impl Packer {
    /// `head` is the query's header and question, as asked; `opt` the OPT record of the response, or nothing. In each message
    /// `spare` octets are left free.
    pub fn new(head: &[u8], opt: Vec<u8>, spare: usize) -> Self {
        let mut header = [0; HEADER_OCTETS];
        header[..2].copy_from_slice(&head[..2]);
        header[2] = 0x84 | head[2] & 0x01; // QR, AA; RD as asked
        let mut message = header.to_vec();
        message[5] = 1;
        message.extend_from_slice(&head[HEADER_OCTETS..]);
        let mut packer = Self { header, message, records: 0, spare, opt, names: HashMap::new() };
        let qname = &head[HEADER_OCTETS..head.len() - 4];
        let mut at = 0;
        while qname[at] != 0 {
            packer.note(&qname[at..], HEADER_OCTETS + at);
            at += 1 + qname[at] as usize;
        }
        packer
    }

    /// Adds `record`. Gives the message before it, when that is full.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn push(&mut self, record: &Record) -> Result<Option<Vec<u8>>, TooLarge> {
        let before = self.message.len();
        self.write(record);
        let octets = self.message.len() + self.opt.len() + self.spare;
        if octets <= MESSAGE_OCTETS || (self.records == 0 && octets <= LARGEST_OCTETS) {
            self.records += 1;
            return Ok(None);
        }
        if self.records == 0 {
            return Err(TooLarge { owner: record.owner.clone(), rtype: record.rtype });
        }
        self.message.truncate(before);
        let full = self.take();
        self.write(record);
        if self.message.len() + self.spare > LARGEST_OCTETS {
            return Err(TooLarge { owner: record.owner.clone(), rtype: record.rtype });
        }
        self.records = 1;
        Ok(Some(full))
    }

    /// The last message.
    pub fn finish(mut self) -> Vec<u8> {
        self.take()
    }

    /// The message so far; the next one begins.
    fn take(&mut self) -> Vec<u8> {
        let mut full = std::mem::replace(&mut self.message, self.header.to_vec());
        full[6..8].copy_from_slice(&self.records.to_be_bytes());
        if !self.opt.is_empty() {
            full.append(&mut self.opt);
            full[11] = 1;
        }
        self.records = 0;
        self.names.clear();
        full
    }

    fn write(&mut self, record: &Record) {
        self.name(record.owner.wire());
        for field in [record.rtype.0, CLASS_IN] {
            self.message.extend_from_slice(&field.to_be_bytes());
        }
        self.message.extend_from_slice(&record.ttl.secs().to_be_bytes());
        let length_at = self.message.len();
        self.message.extend_from_slice(&[0, 0]);
        let mut copied = 0;
        for range in rdata::names_in(record.rtype, &record.rdata) {
            self.message.extend_from_slice(&record.rdata[copied..range.start]);
            copied = range.end;
            self.name(&record.rdata[range]);
        }
        self.message.extend_from_slice(&record.rdata[copied..]);
        let length = (self.message.len() - length_at - 2) as u16;
        self.message[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Writes a name, compressed against what stands in the message in the same letter case.
    fn name(&mut self, wire: &[u8]) {
        let mut rest = wire;
        while rest.len() > 1 {
            if let Some(at) = self.names.get(rest) {
                let pointer = (0xc000 | at).to_be_bytes();
                self.message.extend_from_slice(&pointer);
                return;
            }
            self.note(rest, self.message.len());
            let label = 1 + rest[0] as usize;
            self.message.extend_from_slice(&rest[..label]);
            rest = &rest[label..];
        }
        self.message.push(0);
    }

    /// Remembers that `name` stands at `at`, as far as pointers reach.
    fn note(&mut self, name: &[u8], at: usize) {
        if at < MESSAGE_OCTETS {
            self.names.insert(name.into(), at as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Ttl;
    use hickory_proto::op::Message;
    use proptest::prelude::*;

    const HEAD: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07Example\0\0\xfc\0\x01";

    fn packed(records: &[Record], spare: usize) -> Vec<Vec<u8>> {
        let mut packer = Packer::new(HEAD, b"\0\0\x29\x04\xd0\0\0\0\0\0\0".to_vec(), spare);
        let mut messages: Vec<Vec<u8>> = records.iter().filter_map(|r| packer.push(r).unwrap()).collect();
        messages.push(packer.finish());
        messages
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_back_in_its_letter_case(
            records in proptest::collection::vec(("[a-cA-C]{1,3}\\.([a-c]{1,2}\\.)?[eE]xample", 0usize..900), 1..120),
            spare in 0usize..200,
        ) {
            let records: Vec<Record> = records
                .iter()
                .map(|(owner, octets)| {
                    let owner: Name = owner.parse().unwrap();
                    let (rtype, rdata): (_, Box<[u8]>) = match octets {
                        0..300 => (Rtype::MX, [&[0, 7], owner.wire()].concat().into()),
                        n => (Rtype(65_280), vec![7; *n].into()),
                    };
                    Record { owner, rtype, ttl: Ttl::from_secs(60), rdata }
                })
                .collect();
            let mut read = Vec::new();
            for (i, message) in packed(&records, spare).iter().enumerate() {
                prop_assert!(message.len() + spare <= MESSAGE_OCTETS);
                let message = Message::from_vec(message).unwrap();
                prop_assert_eq!(message.queries.len(), usize::from(i == 0));
                prop_assert_eq!(message.edns.is_some(), i == 0);
                read.extend(message.answers.into_iter().map(|r| (r.name.to_ascii(), r.data)));
            }
            prop_assert_eq!(read.len(), records.len());
            for ((owner, data), record) in read.iter().zip(&records) {
                let plain = |name: &str| name.trim_end_matches('.').to_owned();
                prop_assert_eq!(plain(owner), plain(&record.owner.to_string()));
                if let hickory_proto::rr::RData::MX(mx) = data {
                    prop_assert_eq!(plain(&mx.exchange.to_ascii()), plain(owner));
                }
            }
        }
    }

    #[test]
    fn a_large_record_has_a_message_for_itself() {
        let record = |octets| Record {
            owner: "a.example".parse().unwrap(),
            rtype: Rtype(65_280),
            ttl: Ttl::from_secs(60),
            rdata: vec![1; octets].into(),
        };
        let messages = packed(&[record(10), record(60_000), record(10)], 100);
        assert_eq!(messages.iter().map(|m| m[7]).collect::<Vec<_>>(), [1, 1, 1]);
        let mut packer = Packer::new(HEAD, Vec::new(), 100);
        assert!(packer.push(&record(65_500)).is_err());
    }
}
