//! A response in the form that is compared: RCODE, flags, and the sections as sets; and as text, for people.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

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
    /// Octets of the whole message.
    pub octets: usize,
    /// The records in the order sent, each as master files have it, and options: what is not compared with others.
    pub text: String,
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

/// Whether two responses are the same but for additional data.
pub fn alike(a: &Shape, b: &Shape) -> bool {
    match (a, b) {
        (Shape::Silent, Shape::Silent) => true,
        (Shape::Response(a), Shape::Response(b)) => parts(a, b).next().is_none(),
        _ => false,
    }
}

/// What differs.
pub fn parts<'a>(a: &'a Response, b: &'a Response) -> impl Iterator<Item = &'static str> + use<> {
    [
        ("rcode", a.rcode == b.rcode),
        ("aa", a.authoritative == b.authoritative),
        ("tc", a.truncated == b.truncated),
        ("flags", a.other_flags == b.other_flags),
        ("question", a.question == b.question || !matches!(a.rcode, 0 | 3)),
        ("edns", a.edns == b.edns),
        ("answer", a.answers == b.answers),
        ("authority", a.authorities == b.authorities),
    ]
    .into_iter()
    .filter(|(_, same)| !same)
    .map(|(part, _)| part)
}

/// Whether the additional data of `ours` has all that those send which answer alike, and nothing that none of them sends.
pub fn additional_is_right(ours: &Shape, theirs: &[Shape]) -> bool {
    let Shape::Response(response) = ours else { return true };
    let theirs: Vec<&Response> = (theirs.iter())
        .filter_map(|shape| match shape {
            Shape::Response(response) if alike(ours, shape) => Some(&**response),
            _ => None,
        })
        .collect();
    let everywhere = |record: &String| theirs.iter().all(|r| r.additionals.contains(record));
    response.additionals.iter().all(|record| theirs.iter().any(|r| r.additionals.contains(record)))
        && theirs
            .iter()
            .flat_map(|r| &r.additionals)
            .filter(|r| everywhere(r))
            .all(|r| response.additionals.contains(r))
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
        octets: octets.len(),
        text: String::new(),
    };
    let mut at = 12;
    for _ in 0..word(4)? {
        name(octets, &mut at)?;
        at += 4;
    }
    for (section, label) in ["an", "au", "ad"].into_iter().enumerate() {
        for _ in 0..word(6 + 2 * section)? {
            let owner = name(octets, &mut at)?;
            let (rtype, class, ttl) =
                (Rtype(word(at)?), word(at + 2)?, (word(at + 4)? as u32) << 16 | word(at + 6)? as u32);
            let end = at + 10 + word(at + 8)? as usize;
            at += 10;
            if rtype == Rtype::OPT {
                response.rcode |= (ttl >> 24 << 4) as u16;
                response.edns = Some(((ttl >> 16) as u8, ttl & 0x8000 != 0));
                response.text += &opt_text(class, ttl, octets.get(at..end)?)?;
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
            let data = rdata::to_text(rtype, &data);
            let line = format!("{owner} {ttl} {class} {rtype} {data}").to_lowercase();
            writeln!(response.text, "{label} {owner} {ttl} {rtype} {}", short(rtype, &data)).unwrap();
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

/// RDATA as far as people look at it: of a signature the type that it covers, of what is long its beginning.
fn short(rtype: Rtype, data: &str) -> String {
    match data.split_once(' ') {
        Some((covered, _)) if rtype == Rtype::RRSIG => covered.to_owned(),
        _ if data.len() > 90 => format!("{}...", &data[..80]),
        _ => data.to_owned(),
    }
}

/// The OPT record: size, version and flags where they are not the usual ones, options as code and hexadecimal digits.
fn opt_text(size: u16, ttl: u32, mut options: &[u8]) -> Option<String> {
    let (version, flags) = (ttl >> 16 & 255, ttl & 0xffff);
    let mut text = format!("edns {size}");
    if version > 0 {
        write!(text, " version {version}").unwrap();
    }
    text += if flags & 0x8000 > 0 { " do" } else { "" };
    if flags & 0x7fff > 0 {
        write!(text, " flags {:04x}", flags & 0x7fff).unwrap();
    }
    while !options.is_empty() {
        let (code, length) = (u16::from_be_bytes(*options.first_chunk()?), options.get(2..4)?);
        let end = 4 + u16::from_be_bytes([length[0], length[1]]) as usize;
        write!(text, " {code}:").unwrap();
        options.get(4..end)?.iter().for_each(|octet| write!(text, "{octet:02x}").unwrap());
        options = &options[end..];
    }
    Some(text + "\n")
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

impl Response {
    /// RCODE, flags and all records in the order sent.
    pub fn shown(&self) -> String {
        let mut head =
            RCODES.get(self.rcode as usize).map_or_else(|| self.rcode.to_string(), |name| (*name).to_owned());
        let opcode = self.other_flags >> 11 & 15;
        if opcode > 0 {
            write!(head, " opcode {opcode}").unwrap();
        }
        let flags = u16::from(self.authoritative) << 10 | u16::from(self.truncated) << 9 | self.other_flags;
        for (bit, name) in [(10, "aa"), (9, "tc"), (8, "rd"), (7, "ra"), (6, "z"), (5, "ad"), (4, "cd")] {
            if flags >> bit & 1 > 0 {
                head = head + " " + name;
            }
        }
        head += if self.question { "\n" } else { " no question\n" };
        head + &self.text
    }
}

const RCODES: [&str; 17] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    "NOTZONE", "11", "12", "13", "14", "15", "BADVERS",
];

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
