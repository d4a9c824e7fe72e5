//! Transfers in: what comes in answer to SOA, IXFR (RFC 1995) and AXFR (RFC 5936), message by message. No sockets and no clock.
//!
//! Nothing of it counts before all of it has come: a transfer that is cut off, or says anything that it may not, is no good as
//! a whole.

use crate::dns::wire::{CLASS_IN, HEADER_OCTETS, Rcode, skip_name};
use crate::dns::{Name, Rtype, Ttl, rdata};
use crate::zone::diff::soa_serial;
use crate::zone::serial::is_newer;
use crate::zone::{Contents, Diff, Record};

/// More records of one transfer are refused.
const MAX_RECORDS: usize = 50_000_000;

/// What is asked of a primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Which serial it has.
    Serial,
    /// The whole zone.
    Whole,
    /// What has changed since the SOA that is held.
    Since(Record),
}

impl Ask {
    fn qtype(&self) -> Rtype {
        match self {
            Self::Serial => Rtype::SOA,
            Self::Whole => Rtype::AXFR,
            Self::Since(_) => Rtype::IXFR,
        }
    }

    /// The query, not signed yet.
    pub fn message(&self, id: u16, apex: &Name) -> Vec<u8> {
        let mut message = Vec::with_capacity(128);
        message.extend_from_slice(&id.to_be_bytes());
        message.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, u8::from(matches!(self, Self::Since(_))), 0, 0]);
        message.extend_from_slice(apex.wire());
        for field in [self.qtype().0, CLASS_IN] {
            message.extend_from_slice(&field.to_be_bytes());
        }
        if let Self::Since(soa) = self {
            message.extend_from_slice(&(0xc000 | HEADER_OCTETS as u16).to_be_bytes());
            for field in [Rtype::SOA.0, CLASS_IN] {
                message.extend_from_slice(&field.to_be_bytes());
            }
            message.extend_from_slice(&soa.ttl.secs().to_be_bytes());
            message.extend_from_slice(&(soa.rdata.len() as u16).to_be_bytes());
            message.extend_from_slice(&soa.rdata);
        }
        message
    }
}

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// The primary has this serial, and it was asked for no more, or has no more.
    Serial(u32),
    /// The whole zone.
    Whole(Contents),
    /// What leads from the serial held to the newest one, step by step.
    Changes(Vec<Diff>),
}

/// Why nothing is made of what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is no answer to what was asked.
    #[error("what came is no answer to the query")]
    NotOurs,
    /// The primary does not want to.
    #[error("the answer is {}", .0.map_or("an unknown RCODE", Rcode::name))]
    Refused(Option<Rcode>),
    /// It does not call itself an authority.
    #[error("the answer is not authoritative")]
    NotAuthoritative,
    /// A message is cut off, or no message.
    #[error("a message is malformed")]
    Malformed,
    /// RDATA that is none of its type.
    #[error("the {rtype} record at {owner} is malformed")]
    Rdata {
        /// Its owner name.
        owner: Name,
        /// Its type.
        rtype: Rtype,
    },
    /// Another name's record.
    #[error("the {rtype} record at {owner} does not belong into the zone")]
    Outside {
        /// Its owner name.
        owner: Name,
        /// Its type.
        rtype: Rtype,
    },
    /// It does not begin with the SOA, or has another one at its end.
    #[error("it does not begin and end with one SOA")]
    Soa,
    /// The steps don't follow each other.
    #[error("a step from serial {from} comes after serial {at}")]
    Gap {
        /// Where the step begins.
        from: u32,
        /// Where the one before it ended.
        at: u32,
    },
    /// A zone has name servers.
    #[error("the zone has no NS records")]
    NoNs,
    /// It is too much.
    #[error("it is larger than what is taken")]
    TooLarge,
    /// It ended before its end.
    #[error("it is cut off")]
    CutOff,
}

/// Takes in what answers one query.
#[derive(Debug)]
pub struct Receiver {
    apex: Name,
    ask: Ask,
    id: u16,
    /// The SOA that it began with: the newest.
    newest: Option<Record>,
    form: Form,
    records: usize,
    messages: usize,
    done: bool,
}

/// What the records after the first are, as far as they have told.
#[derive(Debug)]
enum Form {
    Unknown,
    Whole(Contents),
    Changes {
        steps: Vec<Diff>,
        /// Whether the records come; else they go.
        adds: bool,
    },
}

impl Receiver {
    /// For the answer to the query with `id`.
    pub fn new(apex: &Name, ask: Ask, id: u16) -> Self {
        let form = Form::Unknown;
        Self { apex: apex.clone(), ask, id, newest: None, form, records: 0, messages: 0, done: false }
    }

    /// Takes in one message; gives whether it was the last.
    ///
    /// # Errors
    /// [`Wrong`]: all that came is to be thrown away.
    pub fn take(&mut self, message: &[u8]) -> Result<bool, Wrong> {
        let header = message.first_chunk::<HEADER_OCTETS>().ok_or(Wrong::Malformed)?;
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if header[..2] != self.id.to_be_bytes() || header[2] & 0xf8 != 0x80 {
            return Err(Wrong::NotOurs);
        }
        if header[3] & 0x0f != 0 {
            return Err(Wrong::Refused(Rcode::ALL.into_iter().find(|rcode| *rcode as u8 == header[3] & 0x0f)));
        }
        if header[2] & 0x02 != 0 {
            return Err(Wrong::Malformed); // nothing is truncated over TCP
        }
        // A transfer should say so too (RFC 5936, 2.2.1), but Knot's does not.
        if header[2] & 0x04 == 0 && self.ask == Ask::Serial {
            return Err(Wrong::NotAuthoritative);
        }
        let mut at = HEADER_OCTETS;
        match count(4) {
            0 if self.messages > 0 => {}
            1 => {
                let owner = Name::from_message(message, at).ok_or(Wrong::Malformed)?;
                at += skip_name(&message[at..]).ok_or(Wrong::Malformed)?;
                let [high, low, class @ ..] = message.get(at..at + 4).ok_or(Wrong::Malformed)? else {
                    return Err(Wrong::Malformed);
                };
                let qtype = Rtype(u16::from_be_bytes([*high, *low]));
                if owner != self.apex || qtype != self.ask.qtype() || *class != CLASS_IN.to_be_bytes() {
                    return Err(Wrong::NotOurs);
                }
                at += 4;
            }
            _ => return Err(Wrong::NotOurs),
        }
        for _ in 0..count(6) {
            if self.done {
                return Err(Wrong::Soa);
            }
            let (record, next) = self.read(message, at)?;
            at = next;
            self.record(record)?;
        }
        self.messages += 1;
        let is_one_soa = self.records == 1 && !self.done;
        if let (true, Some(serial)) = (is_one_soa, self.newest.as_ref().and_then(|soa| soa_serial(&soa.rdata))) {
            self.done = match &self.ask {
                Ask::Serial => true,
                // One SOA that is no newer is all there is to say (RFC 1995, 2).
                Ask::Since(held) => soa_serial(&held.rdata).is_some_and(|held| !is_newer(serial, held)),
                Ask::Whole => false,
            };
        } else if self.records == 0 {
            return Err(Wrong::Soa);
        }
        Ok(self.done)
    }

    /// What came.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn finish(self) -> Result<Incoming, Wrong> {
        if !self.done {
            return Err(Wrong::CutOff);
        }
        match self.form {
            Form::Unknown => {
                let serial = self.newest.and_then(|soa| soa_serial(&soa.rdata));
                serial.map(Incoming::Serial).ok_or(Wrong::Soa)
            }
            Form::Changes { steps, .. } => Ok(Incoming::Changes(steps)),
            Form::Whole(contents) if contents.rrset(&self.apex, Rtype::NS).is_none() => Err(Wrong::NoNs),
            Form::Whole(contents) => Ok(Incoming::Whole(contents)),
        }
    }

    /// The record at `at`, and where the next one is.
    fn read(&self, message: &[u8], at: usize) -> Result<(Record, usize), Wrong> {
        let owner = Name::from_message(message, at).ok_or(Wrong::Malformed)?;
        let at = at + skip_name(&message[at..]).ok_or(Wrong::Malformed)?;
        let fixed = message.get(at..).and_then(<[u8]>::first_chunk::<10>).ok_or(Wrong::Malformed)?;
        let field = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let (rtype, octets) = (Rtype(field(0)), field(8) as usize);
        let (start, end) = (at + 10, at + 10 + octets);
        if end > message.len() {
            return Err(Wrong::Malformed);
        }
        if field(2) != CLASS_IN || !owner.is_at_or_below(&self.apex) || (rtype == Rtype::SOA && owner != self.apex) {
            return Err(Wrong::Outside { owner, rtype });
        }
        let Some(rdata) = rdata::uncompressed(rtype, &message[..end], start) else {
            return Err(Wrong::Rdata { owner, rtype });
        };
        let secs = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let ttl = if secs > i32::MAX as u32 { 0 } else { secs }; // RFC 2181, 8
        Ok((Record { owner, rtype, ttl: Ttl::from_secs(u64::from(ttl)), rdata }, end))
    }

    fn record(&mut self, record: Record) -> Result<(), Wrong> {
        self.records += 1;
        if self.records > MAX_RECORDS {
            return Err(Wrong::TooLarge);
        }
        let is_soa = record.rtype == Rtype::SOA;
        let Some(newest) = &self.newest else {
            if !is_soa {
                return Err(Wrong::Soa);
            }
            self.newest = Some(record);
            return Ok(());
        };
        let serial = |soa: &Record| soa_serial(&soa.rdata).unwrap_or_default();
        if matches!(self.form, Form::Unknown) {
            match &self.ask {
                Ask::Serial => return Err(Wrong::NotOurs),
                Ask::Since(held) if is_soa && serial(&record) == serial(held) => {
                    self.form = Form::Changes { steps: vec![step_from(record)], adds: false };
                    return Ok(());
                }
                _ => {
                    let mut contents = Contents::new(self.apex.clone());
                    put(&mut contents, newest.clone());
                    self.form = Form::Whole(contents);
                }
            }
        }
        match &mut self.form {
            Form::Whole(contents) => {
                if is_soa {
                    self.done = record.rdata == newest.rdata;
                    return if self.done { Ok(()) } else { Err(Wrong::Soa) };
                }
                put(contents, record);
            }
            Form::Changes { steps, adds } => {
                let step = steps.last_mut().ok_or(Wrong::Soa)?;
                if !is_soa {
                    let records = if *adds { &mut step.added } else { &mut step.removed };
                    records.push(record);
                } else if !*adds {
                    let (from, to) = (step.removed.first().map_or(0, serial), serial(&record));
                    if !is_newer(to, from) {
                        return Err(Wrong::Gap { from: to, at: from });
                    }
                    step.added.push(record);
                    *adds = true;
                } else {
                    let at = step.added.first().map_or(0, serial);
                    if at == serial(newest) && record.rdata == newest.rdata {
                        self.done = true;
                    } else if serial(&record) == at {
                        steps.push(step_from(record));
                        *adds = false;
                    } else {
                        return Err(Wrong::Gap { from: serial(&record), at });
                    }
                }
            }
            Form::Unknown => return Err(Wrong::Soa),
        }
        Ok(())
    }
}

fn step_from(soa: Record) -> Diff {
    Diff { removed: vec![soa], added: Vec::new() }
}

/// Adds a record; one that is there already is passed over (RFC 5936, 2.2).
fn put(contents: &mut Contents, record: Record) {
    let set = contents.rrset_mut(&record.owner, record.rtype, record.ttl);
    if !set.rdatas.contains(&record.rdata) {
        set.rdatas.push(record.rdata);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::transfer::Packer;
    use proptest::prelude::*;

    const ID: u16 = 0x1234;

    fn apex() -> Name {
        "example".parse().unwrap()
    }

    fn record(owner: &str, text: &str) -> Record {
        let (rtype, text) = text.split_once(' ').unwrap();
        let rtype = Rtype::parse(rtype).unwrap();
        let rdata = crate::zone::master::parse_rdata(rtype, text, &apex()).unwrap();
        Record { owner: owner.parse().unwrap(), rtype, ttl: Ttl::from_secs(60), rdata }
    }

    fn soa(serial: u32) -> Record {
        record("example", &format!("SOA ns.example. mail {serial} 1 1 1 60"))
    }

    fn sent(ask: &Ask, records: &[Record], each: usize) -> Vec<Vec<u8>> {
        let query = ask.message(ID, &apex());
        let head = &query[..HEADER_OCTETS + apex().wire().len() + 4];
        let mut messages = Vec::new();
        for some in records.chunks(each) {
            let mut packer = Packer::new(head, Vec::new(), 0);
            assert!(some.iter().all(|record| packer.push(record).unwrap().is_none()));
            messages.push(packer.finish());
        }
        messages
    }

    fn received(ask: &Ask, records: &[Record], each: usize) -> Result<Incoming, Wrong> {
        let mut receiver = Receiver::new(&apex(), ask.clone(), ID);
        for message in sent(ask, records, each) {
            receiver.take(&message)?;
        }
        receiver.finish()
    }

    fn a(last: u8) -> Record {
        record("www.example", &format!("A 192.0.2.{last}"))
    }

    fn ns() -> Record {
        record("example", "NS ns.example.")
    }

    #[test]
    fn a_whole_zone_is_what_stands_between_its_soas() {
        let whole = [soa(7), ns(), a(1), a(1), record("mx.example", "MX 5 www.example."), a(2), soa(7)];
        for (ask, each) in [(Ask::Whole, 10), (Ask::Whole, 1), (Ask::Since(soa(6)), 2), (Ask::Since(soa(6)), 1)] {
            let Incoming::Whole(zone) = received(&ask, &whole, each).unwrap() else { panic!("{ask:?}") };
            assert_eq!(zone.rrset(&"www.example".parse().unwrap(), Rtype::A).unwrap().rdatas.len(), 2);
            assert_eq!((zone.serial(), zone.owners.len()), (Some(7), 3));
        }
        let whole = |records: &[Record]| received(&Ask::Whole, records, 3).unwrap_err();
        assert_eq!(whole(&[soa(7), ns(), soa(8)]), Wrong::Soa);
        assert_eq!(whole(&[ns(), soa(7)]), Wrong::Soa);
        assert_eq!(whole(&[soa(7), ns(), soa(7), a(1)]), Wrong::Soa);
        assert_eq!(whole(&[soa(7), ns(), a(1)]), Wrong::CutOff);
        assert_eq!(whole(&[soa(7)]), Wrong::CutOff);
        assert_eq!(whole(&[soa(7), a(1), soa(7)]), Wrong::NoNs);
        assert!(matches!(whole(&[soa(7), record("www.example.org", "A 192.0.2.1"), soa(7)]), Wrong::Outside { .. }));
    }

    #[test]
    fn changes_lead_step_by_step_without_a_gap() {
        let since = Ask::Since(soa(7));
        let all = [soa(9), soa(7), a(1), soa(8), a(2), soa(8), soa(9), a(3), soa(9)];
        for each in [1, 2, 20] {
            let Incoming::Changes(steps) = received(&since, &all, each).unwrap() else { panic!("{each}") };
            assert_eq!(steps.iter().map(|s| s.serials().unwrap()).collect::<Vec<_>>(), [(7, 8), (8, 9)]);
            assert_eq!((&steps[0].removed[1], &steps[0].added[1], &steps[1].added[1]), (&a(1), &a(2), &a(3)));
        }
        for up_to_date in [7, 6] {
            assert_eq!(received(&since, &[soa(up_to_date)], 1), Ok(Incoming::Serial(up_to_date)));
        }
        assert_eq!(received(&since, &[soa(9), soa(7), soa(8), soa(9)], 9), Err(Wrong::Gap { from: 9, at: 8 }));
        assert_eq!(received(&since, &[soa(9), soa(7), soa(7), soa(9)], 9), Err(Wrong::Gap { from: 7, at: 7 }));
        assert_eq!(received(&since, &all[..8], 9), Err(Wrong::CutOff));
        assert!(received(&since, &[soa(9), soa(8), a(1), soa(9), soa(9)], 9).is_err(), "not from what is held");
    }

    #[test]
    fn what_does_not_answer_the_query_is_not_taken() {
        let good = sent(&Ask::Serial, &[soa(7)], 1).remove(0);
        let with = |change: fn(&mut Vec<u8>)| {
            let mut message = good.clone();
            change(&mut message);
            Receiver::new(&apex(), Ask::Serial, ID).take(&message)
        };
        assert_eq!(with(|_| {}), Ok(true));
        assert_eq!(with(|m| m[0] ^= 1), Err(Wrong::NotOurs));
        assert_eq!(with(|m| m[2] &= 0x7f), Err(Wrong::NotOurs));
        assert_eq!(with(|m| m[2] &= !4), Err(Wrong::NotAuthoritative));
        assert_eq!(with(|m| m[2] |= 2), Err(Wrong::Malformed));
        assert_eq!(with(|m| m[13] ^= 1), Err(Wrong::NotOurs));
        assert_eq!(with(|m| m[3] = 5), Err(Wrong::Refused(Some(Rcode::Refused))));
        assert_eq!(with(|m| m.truncate(30)), Err(Wrong::Malformed));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(flips in proptest::collection::vec((0usize..200, any::<u8>()), 1..6), cut in 0usize..200) {
            let whole = [soa(7), ns(), a(1), record("mx.example", "MX 5 www.example."), soa(7)];
            for ask in [Ask::Whole, Ask::Since(soa(7)), Ask::Serial] {
                let mut message = sent(&ask, &whole, 9).remove(0);
                for (at, octet) in &flips {
                    let at = at % message.len();
                    message[at] = *octet;
                }
                message.truncate(message.len().min(cut.max(12) + 20));
                let mut receiver = Receiver::new(&apex(), ask, ID);
                let _ = receiver.take(&message);
                let _ = receiver.finish();
            }
        }
    }
}
