//! A response in the form that is compared: RCODE, flags, and the sections as sets.

use std::collections::BTreeSet;
use std::fmt;

use waypost::dns::{Name, Rtype, rdata};

/// A response, or silence, without what may differ: order, compression, letter case, options of the OPT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    Silent,
    Response(Box<Response>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub rcode: u16,
    pub authoritative: bool,
    pub truncated: bool,
    /// QR, OPCODE, RD, RA, AD and CD.
    pub other_flags: u16,
    /// Whether the question came back.
    pub question: bool,
    /// EDNS version and DO bit, where there is an OPT record.
    pub edns: Option<(u8, bool)>,
    /// Whether a section has a record twice.
    pub repeats: bool,
    pub answers: BTreeSet<String>,
    pub authorities: BTreeSet<String>,
    pub additionals: BTreeSet<String>,
}

impl Shape {
    pub fn of(response: Option<&[u8]>) -> Self {
        let Some(octets) = response else { return Self::Silent };
        let read = read(octets).unwrap_or_else(|| panic!("a response that is malformed: {octets:02x?}"));
        Self::Response(Box::new(read))
    }
}

impl Shape {
    /// Whether it is a response that `holds`.
    pub fn is(&self, holds: impl Fn(&Response) -> bool) -> bool {
        matches!(self, Self::Response(response) if holds(response))
    }
}

fn read(octets: &[u8]) -> Option<Response> {
    let word = |at: usize| Some(u16::from_be_bytes(*octets.get(at..)?.first_chunk()?));
    let flags = word(2)?;
    let mut response = Response {
        rcode: flags & 15,
        authoritative: flags & 0x400 != 0,
        truncated: flags & 0x200 != 0,
        other_flags: flags & !0x060f,
        question: word(4)? > 0,
        edns: None,
        repeats: false,
        answers: BTreeSet::new(),
        authorities: BTreeSet::new(),
        additionals: BTreeSet::new(),
    };
    let mut at = 12;
    for _ in 0..word(4)? {
        name(octets, &mut at)?;
        at += 4;
    }
    for section in 0..3 {
        for _ in 0..word(6 + 2 * section)? {
            let owner = name(octets, &mut at)?;
            let (rtype, class, ttl) =
                (Rtype(word(at)?), word(at + 2)?, (word(at + 4)? as u32) << 16 | word(at + 6)? as u32);
            let end = at + 10 + word(at + 8)? as usize;
            at += 10;
            if rtype == Rtype::OPT {
                response.rcode |= (ttl >> 24 << 4) as u16;
                response.edns = Some(((ttl >> 16) as u8, ttl & 0x8000 != 0));
                at = end;
                continue;
            }
            // Names are compressed in the types of RFC 1035 (RFC 3597, 4).
            let (before, names) = match rtype {
                Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME => (0, 1),
                Rtype::MX => (2, 1),
                Rtype::SOA => (0, 2),
                _ => (0, 0),
            };
            let mut data = octets.get(at..at + before)?.to_vec();
            at += before;
            for _ in 0..names {
                data.extend(name(octets, &mut at)?);
            }
            data.extend(octets.get(at..end)?);
            at = end;
            let owner = Name::from_wire(&owner).ok()?;
            let line = format!("{owner} {ttl} {class} {rtype} {}", rdata::to_text(rtype, &data)).to_lowercase();
            let lines = match section {
                0 => &mut response.answers,
                1 => &mut response.authorities,
                _ => &mut response.additionals,
            };
            // What of a truncated response is there does not count (RFC 2181, 9).
            if !response.truncated {
                response.repeats |= !lines.insert(line);
            }
        }
    }
    (at == octets.len()).then_some(response)
}

/// The name at `at`, uncompressed; moves `at` behind it.
fn name(octets: &[u8], at: &mut usize) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    let mut here = *at;
    let mut jumped = false;
    loop {
        let n = *octets.get(here)?;
        if n >= 0xc0 {
            let to = (n as usize & 0x3f) << 8 | *octets.get(here + 1)? as usize;
            if !jumped {
                *at = here + 2;
            }
            jumped = true;
            assert!(to < here, "a pointer ahead");
            here = to;
            continue;
        }
        wire.extend_from_slice(octets.get(here..=here + n as usize)?);
        here += 1 + n as usize;
        if n == 0 {
            if !jumped {
                *at = here;
            }
            return Some(wire);
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Response(r) = self else { return f.write_str("silence") };
        write!(f, "rcode {}", r.rcode)?;
        for (set, flag) in [(r.authoritative, " aa"), (r.truncated, " tc"), (!r.question, " no question")] {
            f.write_str(if set { flag } else { "" })?;
        }
        write!(f, " flags {:04x}", r.other_flags)?;
        if let Some((version, dnssec_ok)) = r.edns {
            write!(f, " edns {version}{}", if dnssec_ok { " do" } else { "" })?;
        }
        for (name, section) in [("an", &r.answers), ("au", &r.authorities), ("ad", &r.additionals)] {
            for record in section {
                let short: String = record.chars().take(160).collect();
                write!(f, "\n      {name} {short}")?;
            }
        }
        Ok(())
    }
}
