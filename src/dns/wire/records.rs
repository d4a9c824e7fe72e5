//! A message's records, read one after the other with their names uncompressed. For what is not in a hurry: it allocates.

use super::{HEADER_OCTETS, Rcode, skip_name, skip_question};
use crate::dns::{Name, Rtype, rdata};

/// One record as a message has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Its owner name.
    pub owner: Name,
    /// Its type.
    pub rtype: Rtype,
    /// Its class, or what stands in its place.
    pub class: u16,
    /// Its TTL, or what stands in its place.
    pub ttl: u32,
    /// Its RDATA, uncompressed; empty where it has none.
    pub rdata: Box<[u8]>,
}

/// A message's question and records, section by section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// Name, type and class of each entry of the question (the zone section of an UPDATE).
    pub questions: Vec<(Name, Rtype, u16)>,
    /// ANSWER, AUTHORITY and ADDITIONAL (prerequisites, updates and additional data of an UPDATE).
    pub sections: [Vec<RawRecord>; 3],
}

impl Records {
    /// Reads `message`; `None` when it is malformed, or goes on behind its records.
    pub fn read(message: &[u8]) -> Option<Self> {
        let header = message.first_chunk::<HEADER_OCTETS>()?;
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let mut at = HEADER_OCTETS;
        let mut questions = Vec::new();
        for _ in 0..count(4) {
            let name = Name::from_message(message, at)?;
            at += skip_question(message.get(at..)?)?;
            let [t0, t1, c0, c1] = *message.get(at - 4..at)?.first_chunk()?;
            questions.push((name, Rtype(u16::from_be_bytes([t0, t1])), u16::from_be_bytes([c0, c1])));
        }
        let mut sections = [const { Vec::new() }; 3];
        for (section, count) in sections.iter_mut().zip([6, 8, 10].map(count)) {
            for _ in 0..count {
                let (record, octets) = RawRecord::read(message, at)?;
                section.push(record);
                at += octets;
            }
        }
        (at == message.len()).then_some(Self { questions, sections })
    }
}

impl RawRecord {
    /// The record at `at`, and its octets.
    fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let owner = Name::from_message(message, at)?;
        let start = skip_name(message.get(at..)?)?;
        let [t0, t1, c0, c1, s0, s1, s2, s3, l0, l1] = *message.get(at + start..)?.first_chunk::<10>()?;
        let rtype = Rtype(u16::from_be_bytes([t0, t1]));
        let (rdata_at, length) = (at + start + 10, usize::from(u16::from_be_bytes([l0, l1])));
        let end = rdata_at + length;
        let rdata = match length {
            0 => Box::default(),
            _ => rdata::uncompressed(rtype, message.get(..end)?, rdata_at)?,
        };
        let (class, ttl) = (u16::from_be_bytes([c0, c1]), u32::from_be_bytes([s0, s1, s2, s3]));
        Some((Self { owner, rtype, class, ttl, rdata }, end - at))
    }
}

/// A response without records to `request`, with the question (the zone section of an UPDATE) where that can be read.
pub fn without_records(request: &[u8], rcode: Rcode) -> Vec<u8> {
    let mut response = request.get(..HEADER_OCTETS).map_or_else(|| vec![0; HEADER_OCTETS], <[u8]>::to_vec);
    response[2] = 0x80 | response[2] & 0x79; // QR; OPCODE and RD as asked
    response[3] = rcode as u8;
    response[6..].fill(0);
    let question = request.get(HEADER_OCTETS..).and_then(|rest| rest.get(..skip_question(rest)?));
    match question.filter(|_| response[4..6] == [0, 1]) {
        Some(question) => response.extend_from_slice(question),
        None => response[4..6].fill(0),
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_uncompressed() {
        let mut message = vec![0, 1, 0x28, 0, 0, 1, 0, 1, 0, 1, 0, 0];
        message.extend(b"\x07example\x03org\0\0\x06\0\x01");
        message.extend(b"\xc0\x0c\0\xff\0\xff\0\0\0\0\0\0");
        message.extend(b"\x03www\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x09\0\x0a\x04mail\xc0\x0c");
        let read = Records::read(&message).unwrap();
        let apex: Name = "example.org".parse().unwrap();
        assert_eq!(read.questions, [(apex.clone(), Rtype::SOA, 1)]);
        assert_eq!((read.sections[0][0].class, read.sections[0][0].rdata.len()), (255, 0));
        let mx = &read.sections[1][0];
        assert_eq!((mx.owner.to_string().as_str(), mx.ttl), ("www.example.org", 60));
        assert_eq!(&*mx.rdata, b"\0\x0a\x04mail\x07example\x03org\0");
        message.push(0);
        assert_eq!(Records::read(&message), None);
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..80), counts: [u8; 4]) {
            let _ = Records::read(&octets);
            let mut message = vec![0; HEADER_OCTETS];
            for (i, count) in counts.iter().enumerate() {
                message[5 + 2 * i] = count % 3;
            }
            message.extend(&octets);
            let _ = Records::read(&message);
        }
    }
}
