//! Messages on the wire (RFC 1035, 4): a query parsed, a response written, without allocation.
//!
//! [`Query::parse`] takes one pass over the packet; [`Response`] grows section by section in a buffer of the caller's. What
//! a response says is decided in `query`; here is only how it is spelt. The OPT record has a file of its own (`edns`).

mod edns;
mod padding;
pub mod records;
pub mod request;

pub use edns::{ClientSubnet, Cookie, Edns, ExtendedError, OptReply};
pub use padding::{PADDING_BLOCK, asks_for_padding, pad};
pub use request::is_request;

use crate::dns::{Rtype, Ttl};

/// Octets of the header.
pub const HEADER_OCTETS: usize = 12;
/// The largest UDP response that we send, and say that we take (DNS flag day 2020).
pub const EDNS_UDP_OCTETS: u16 = 1232;
/// The largest UDP response to a query without EDNS (RFC 1035, 4.2.1).
pub const PLAIN_UDP_OCTETS: u16 = 512;
/// The largest message over TCP.
pub const TCP_OCTETS: usize = 65_535;
/// Octets of a lower-cased QNAME's buffer: the longest name, rounded up.
pub const NAME_BUFFER: usize = 256;

/// Octets that are lowered by one instruction.
const LOWERED_AT_ONCE: usize = 16;

/// CLASS IN.
pub const CLASS_IN: u16 = 1;
/// QCLASS ANY.
pub const CLASS_ANY: u16 = 255;

/// The RCODE of a response (RFC 1035, 4.1.1; from YXDOMAIN to NOTZONE: RFC 2136, 2.2; BADVERS: RFC 6891, 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the mnemonic of the registry")]
#[repr(u8)]
pub enum Rcode {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    YxDomain = 6,
    YxRrset = 7,
    NxRrset = 8,
    NotAuth = 9,
    NotZone = 10,
    BadVers = 16,
}

impl Rcode {
    /// All of them, in the order of [`Rcode::index`].
    pub const ALL: [Self; 12] = [
        Self::NoError,
        Self::FormErr,
        Self::ServFail,
        Self::NxDomain,
        Self::NotImp,
        Self::Refused,
        Self::YxDomain,
        Self::YxRrset,
        Self::NxRrset,
        Self::NotAuth,
        Self::NotZone,
        Self::BadVers,
    ];

    /// Its place in [`Rcode::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::BadVers => 11,
            plain => plain as usize,
        }
    }

    /// The mnemonic.
    pub const fn name(self) -> &'static str {
        const NAMES: [&str; Rcode::ALL.len()] = [
            "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
            "NOTAUTH", "NOTZONE", "BADVERS",
        ];
        NAMES[self.index()]
    }
}

/// A query as received. The QNAME is there twice: as asked, and in lower case.
#[derive(Debug)]
pub struct Query<'a> {
    /// The packet's first octets: header and question, as asked.
    pub head: &'a [u8],
    /// The QNAME in lower case, wire form.
    pub qname: &'a [u8],
    /// Labels of the QNAME, the root's not counted.
    pub labels: usize,
    /// What type is asked for.
    pub qtype: Rtype,
    /// What class is asked for.
    pub qclass: u16,
    /// The OPT record, if there is one.
    pub edns: Option<Edns>,
}

/// A packet that is no query that can be answered from zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Not answered: shorter than a header, or itself a response.
    Silent,
    /// Answered with this RCODE, header only.
    Header(Rcode),
    /// No question, only the wish for a cookie (RFC 7873, 5.4): answered by [`write_cookie`].
    Cookie(Cookie),
}

impl<'a> Query<'a> {
    /// Parses `packet`; the QNAME in lower case is written to `lower`.
    ///
    /// # Errors
    /// [`Reject`], which says what to answer instead.
    pub fn parse(packet: &'a [u8], lower: &'a mut [u8; NAME_BUFFER]) -> Result<Self, Reject> {
        let Some((header, _)) = packet.split_first_chunk::<HEADER_OCTETS>() else { return Err(Reject::Silent) };
        if header[2] & 0x80 != 0 {
            return Err(Reject::Silent);
        }
        if header[2] & 0x78 != 0 {
            return Err(Reject::Header(Rcode::NotImp));
        }
        const BAD: Reject = Reject::Header(Rcode::FormErr);
        if header[4..6] != [0, 1] {
            return Err(cookie_alone(packet).map_or(BAD, Reject::Cookie));
        }
        let (length, labels) = lowered_qname(packet, lower).ok_or(BAD)?;
        let mut at = HEADER_OCTETS + length;
        let [t0, t1, c0, c1] = *packet.get(at..).and_then(|r| r.first_chunk::<4>()).ok_or(BAD)?;
        at += 4;
        let records = [6, 8, 10].map(|i| u16::from_be_bytes([header[i], header[i + 1]]) as usize);
        let edns = match records {
            [0, 0, 0] => None,
            [0, 0, 1] if packet.get(at..at + 3) == Some(&[0, 0, 41]) => {
                Some(Edns::parse(&packet[at + 3..]).ok_or(BAD)?.0)
            }
            [a, b, c] => find_edns(&packet[at..], a + b, c).map_err(|Malformed| BAD)?,
        };
        Ok(Self {
            head: &packet[..at],
            qname: &lower[..length],
            labels,
            qtype: Rtype(u16::from_be_bytes([t0, t1])),
            qclass: u16::from_be_bytes([c0, c1]),
            edns,
        })
    }
}

/// Writes the name behind the header of `packet` to `lower`, in lower case. Gives its octets and labels, the root's not counted;
/// `None` where there is no name, or a compressed one: nothing stands before it that it could point to.
#[inline]
pub fn lowered_qname(packet: &[u8], lower: &mut [u8; NAME_BUFFER]) -> Option<(usize, usize)> {
    let (mut length, mut labels) = (0, 0);
    loop {
        let n = *packet.get(HEADER_OCTETS + length)? as usize;
        if n > 63 || length + n + 1 > 255 {
            return None;
        }
        length += 1 + n;
        if n == 0 {
            break;
        }
        labels += 1;
    }
    // The octets before labels are less than any letter, so all is lowered at once; in whole chunks, as the buffer has room.
    lower[..length].copy_from_slice(packet.get(HEADER_OCTETS..HEADER_OCTETS + length)?);
    lower[..length.next_multiple_of(LOWERED_AT_ONCE)].make_ascii_lowercase();
    Some((length, labels))
}

/// The cookie of a packet that has an OPT record and nothing else.
#[cold]
fn cookie_alone(packet: &[u8]) -> Option<Cookie> {
    let rest = packet.get(4..)?.strip_prefix(&[0, 0, 0, 0, 0, 0, 0, 1])?;
    let (edns, rest) = Edns::parse(rest.strip_prefix(&[0, 0, 41])?)?;
    edns.cookie.filter(|_| edns.version == 0 && rest.is_empty())
}

/// Records that are none; two OPTs, or one that is not the root's or not in the additional section (RFC 6891, 6.1.1); a TSIG
/// that is not the last record (RFC 8945, 5.2).
struct Malformed;

/// Walks the records, of which `additional` are the last, for the OPT.
#[cold]
fn find_edns(mut rest: &[u8], before: usize, additional: usize) -> Result<Option<Edns>, Malformed> {
    let mut found = None;
    for index in 0..before + additional {
        let owner = skip_name(rest).ok_or(Malformed)?;
        rest = rest.get(owner..).ok_or(Malformed)?;
        if rest.starts_with(&[0, 41]) {
            let (edns, tail) = Edns::parse(&rest[2..]).ok_or(Malformed)?;
            if owner != 1 || index < before || found.replace(edns).is_some() {
                return Err(Malformed);
            }
            rest = tail;
        } else if rest.starts_with(&Rtype::TSIG.0.to_be_bytes()) && index + 1 < before + additional {
            return Err(Malformed);
        } else {
            let length = rest.get(8..10).and_then(|l| l.first_chunk()).ok_or(Malformed)?;
            rest = rest.get(10 + u16::from_be_bytes(*length) as usize..).ok_or(Malformed)?;
        }
    }
    Ok(found)
}

/// Octets of the question, its name maybe compressed, that `wire` begins with.
pub fn skip_question(wire: &[u8]) -> Option<usize> {
    skip_name(wire).map(|name| name + 4).filter(|octets| *octets <= wire.len())
}

/// Octets of the name, maybe compressed, that `wire` begins with.
pub fn skip_name(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *wire.get(at)? {
            0 => return Some(at + 1),
            n @ 1..=63 => at += 1 + n as usize,
            192..=255 => return Some(at + 2).filter(|end| *end <= wire.len()),
            _ => return None,
        }
    }
}

struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Answers `packet` with a header alone, for [`Reject::Header`]. Gives the octets written.
pub fn write_reject(packet: &[u8], rcode: Rcode, out: &mut [u8]) -> usize {
    let mut header = [0u8; HEADER_OCTETS];
    header[..2].copy_from_slice(&packet[..2]);
    header[2] = 0x80 | packet[2] & 0x79; // QR; OPCODE and RD as asked
    header[3] = rcode as u8;
    out[..HEADER_OCTETS].copy_from_slice(&header);
    HEADER_OCTETS
}

/// Answers `packet` with a cookie alone, for [`Reject::Cookie`]. Gives the octets written.
pub fn write_cookie(packet: &[u8], client: [u8; 8], server: [u8; 16], out: &mut [u8]) -> usize {
    let header = write_reject(packet, Rcode::NoError, out);
    out[11] = 1;
    let opt = OptReply { cookie: Some((client, server)), ..OptReply::default() };
    let end = header + opt.octets();
    opt.write(&mut out[header..end]);
    end
}

/// A response that grows in the order of its sections. Never longer than its limit: what does not fit is refused, whole.
pub struct Response<'o> {
    out: &'o mut [u8],
    at: usize,
    limit: usize,
    /// Records in ANSWER, AUTHORITY and ADDITIONAL so far.
    counts: [u16; 3],
}

/// How far a response had grown.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    at: usize,
    counts: [u16; 3],
}

/// A section of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the section's name in RFC 1035, 4.1")]
pub enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

/// The octets did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<'o> Response<'o> {
    /// Begins with the query's header and question. `limit` counts the whole message, without what the OPT record
    /// takes. `out` holds at least the limit and the OPT record, the limit at least the question.
    pub fn new(query: &Query<'_>, limit: usize, out: &'o mut [u8]) -> Self {
        out[..query.head.len()].copy_from_slice(query.head);
        Self { out, at: query.head.len(), limit, counts: [0; 3] }
    }

    /// Octets so far.
    pub fn len(&self) -> usize {
        self.at
    }

    /// Whether nothing stands behind the question.
    pub fn is_empty(&self) -> bool {
        self.counts == [0; 3]
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.out[..self.at]
    }

    /// Adds `bytes`, which hold `records` of `section`, and gives them for patching.
    ///
    /// # Errors
    /// [`Full`] when they don't fit; nothing is added then.
    pub fn put(&mut self, section: Section, records: u16, bytes: &[u8]) -> Result<&mut [u8], Full> {
        let end = self.at + bytes.len();
        if end > self.limit {
            return Err(Full);
        }
        let place = &mut self.out[self.at..end];
        place.copy_from_slice(bytes);
        self.at = end;
        self.counts[section as usize] += records;
        Ok(place)
    }

    /// Counts `records` more in `section`, for bytes that [`Response::put`] added already.
    pub fn count(&mut self, section: Section, records: u16) {
        self.counts[section as usize] += records;
    }

    /// Adds one record whose owner name stands at `owner` in the message, with RDATA as it is. Gives where the RDATA starts.
    ///
    /// # Errors
    /// [`Full`] when it does not fit; nothing is added then.
    pub fn put_record(
        &mut self,
        section: Section,
        owner: usize,
        rtype: Rtype,
        ttl: Ttl,
        rdata: &[u8],
    ) -> Result<usize, Full> {
        let end = self.at + 12 + rdata.len();
        if end > self.limit || owner > 0x3fff {
            return Err(Full);
        }
        let mut w = Cursor { out: &mut self.out[self.at..end], at: 0 };
        w.put(&(0xc000 | owner as u16).to_be_bytes());
        w.put(&rtype.0.to_be_bytes());
        w.put(&CLASS_IN.to_be_bytes());
        w.put(&ttl.secs().to_be_bytes());
        w.put(&(rdata.len() as u16).to_be_bytes());
        w.put(rdata);
        self.at = end;
        self.counts[section as usize] += 1;
        Ok(end - rdata.len())
    }

    /// Adds the CNAME of the name at `owner`. Its target is the first `prefix` octets of that name, which stand there as
    /// labels, then `rest`, then what `pointer` points at. Gives where the target starts.
    ///
    /// # Errors
    /// [`Full`] when it does not fit; nothing is added then.
    pub fn put_alias(
        &mut self,
        owner: usize,
        ttl: Ttl,
        prefix: usize,
        rest: &[u8],
        pointer: Option<usize>,
    ) -> Result<usize, Full> {
        let octets = prefix + rest.len() + if pointer.is_some() { 2 } else { 0 };
        let at = self.at + 12;
        let end = at + octets;
        if end > self.limit || owner > 0x3fff || pointer.is_some_and(|to| to > 0x3fff) {
            return Err(Full);
        }
        let mut w = Cursor { out: &mut self.out[self.at..at], at: 0 };
        w.put(&(0xc000 | owner as u16).to_be_bytes());
        w.put(&Rtype::CNAME.0.to_be_bytes());
        w.put(&CLASS_IN.to_be_bytes());
        w.put(&ttl.secs().to_be_bytes());
        w.put(&(octets as u16).to_be_bytes());
        self.out.copy_within(owner..owner + prefix, at);
        self.out[at + prefix..at + prefix + rest.len()].copy_from_slice(rest);
        if let Some(to) = pointer {
            self.out[end - 2..end].copy_from_slice(&(0xc000 | to as u16).to_be_bytes());
        }
        self.at = end;
        self.counts[Section::Answer as usize] += 1;
        Ok(at)
    }

    /// Gives all records from octet `begun` on at most this TTL; a record begins there.
    pub fn lower_ttls(&mut self, begun: usize, ttl: Ttl) {
        let mut at = begun;
        while at < self.at {
            at += match self.out[at] {
                0xc0.. => 2,
                0 => 1,
                label => {
                    at += 1 + label as usize;
                    continue;
                }
            };
            let given = &self.out[at + 4..at + 8];
            let least = ttl.secs().min(u32::from_be_bytes([given[0], given[1], given[2], given[3]]));
            self.out[at + 4..at + 8].copy_from_slice(&least.to_be_bytes());
            at += 10 + u16::from_be_bytes([self.out[at + 8], self.out[at + 9]]) as usize;
        }
    }

    /// Whether the name at `at`, maybe compressed, is `lower`, an uncompressed name in lower case.
    pub fn has_name(&self, mut at: usize, lower: &[u8]) -> bool {
        let mut rest = lower;
        loop {
            match self.out[at] {
                high @ 0xc0.. => at = (high as usize & 0x3f) << 8 | self.out[at + 1] as usize,
                0 => return rest == [0],
                n => {
                    let label = 1 + n as usize;
                    let Some((head, tail)) = rest.split_at_checked(label) else { return false };
                    if !self.out[at..at + label].eq_ignore_ascii_case(head) {
                        return false;
                    }
                    at += label;
                    rest = tail;
                }
            }
        }
    }

    /// The name at `at`, maybe compressed, in lower case and without compression.
    pub fn lower_name<'b>(&self, mut at: usize, buffer: &'b mut [u8; NAME_BUFFER]) -> &'b [u8] {
        let mut octets = 0;
        loop {
            match self.out[at] {
                high @ 0xc0.. => at = (high as usize & 0x3f) << 8 | self.out[at + 1] as usize,
                n => {
                    let label = 1 + n as usize;
                    buffer[octets..octets + label].copy_from_slice(&self.out[at..at + label]);
                    at += label;
                    octets += label;
                    if n == 0 {
                        buffer[..octets].make_ascii_lowercase();
                        return &buffer[..octets];
                    }
                }
            }
        }
    }

    /// What [`Response::take_back_to`] goes back to.
    pub fn mark(&self) -> Mark {
        Mark { at: self.at, counts: self.counts }
    }

    /// Takes back what was added since.
    pub fn take_back_to(&mut self, mark: Mark) {
        (self.at, self.counts) = (mark.at, mark.counts);
    }

    /// Takes back all records: the question stays.
    pub fn clear(&mut self, query: &Query<'_>) {
        self.at = query.head.len();
        self.counts = [0; 3];
    }

    /// Writes the header's flags and counts, then the OPT record. Gives the octets of the message.
    pub fn finish(mut self, query: &Query<'_>, flags: Flags, opt: Option<&OptReply<'_>>) -> usize {
        // OPCODE is QUERY; RD as asked, RA clear. CD is not given back: nothing is validated here.
        self.out[2] = 0x80 | query.head[2] & 0x01 | u8::from(flags.authoritative) << 2 | u8::from(flags.truncated) << 1;
        self.out[3] = flags.rcode as u8 & 0x0f;
        if let Some(opt) = opt {
            let octets = opt.octets();
            opt.write(&mut self.out[self.at..self.at + octets]);
            self.at += octets;
            self.counts[2] += 1;
        }
        self.out[4..6].copy_from_slice(&[0, 1]);
        for (place, count) in self.out[6..12].chunks_exact_mut(2).zip(self.counts) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        self.at
    }
}

/// The flags of a response that are not the query's.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    /// AA.
    pub authoritative: bool,
    /// TC.
    pub truncated: bool,
    /// RCODE; BADVERS shows its upper bits in the OPT record.
    pub rcode: Rcode,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(extra: &[u8], additional: u8) -> Vec<u8> {
        let mut q = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
        q.extend_from_slice(b"\x03wWw\x07Example\x03org\0\0\x01\0\x01");
        q.extend_from_slice(extra);
        q
    }

    #[test]
    fn a_query_is_read_in_one_pass() {
        let packet = query(&[], 0);
        let mut lower = [0; NAME_BUFFER];
        let q = Query::parse(&packet, &mut lower).unwrap();
        assert_eq!(q.qname, b"\x03www\x07example\x03org\0");
        assert_eq!((q.labels, q.qtype, q.qclass, q.edns), (3, Rtype::A, CLASS_IN, None));
        assert_eq!(q.head, packet);
    }

    #[test]
    fn the_opt_record_is_read_wherever_it_stands() {
        let opt = b"\0\0\x29\x10\0\0\0\x80\0\0\x0f\0\x03\0\0\0\x08\0\x07\0\x01\x18\0\xc0\0\x02";
        let other = b"\0\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01";
        for (extra, count) in [(opt.to_vec(), 1), ([&other[..], opt].concat(), 2), ([&opt[..], other].concat(), 2)] {
            let packet = query(&extra, count);
            let mut lower = [0; NAME_BUFFER];
            let edns = Query::parse(&packet, &mut lower).unwrap().edns.unwrap();
            assert_eq!((edns.udp_octets, edns.dnssec_ok, edns.nsid), (4096, true, true));
            assert_eq!(edns.client_subnet, Some(ClientSubnet { address: [192, 0, 2, 0].into(), prefix: 24 }));
        }
        let twice = query(&[&opt[..], opt].concat(), 2);
        assert_eq!(Query::parse(&twice, &mut [0; NAME_BUFFER]).unwrap_err(), Reject::Header(Rcode::FormErr));
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut lower = [0; NAME_BUFFER];
            let _ = Query::parse(&packet, &mut lower);
            let mut framed = query(&packet, 1);
            framed[11] = packet.first().copied().unwrap_or(0) % 4;
            let _ = Query::parse(&framed, &mut [0; NAME_BUFFER]);
        }
    }
}
