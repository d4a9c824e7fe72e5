//! The records of a zone on their way into it: what a master file is read into, and what is compiled.
//!
//! Owners stand in the order in which they came first, each with its RRsets. All lies in a few large arrays, so that a
//! million names cost little and are given back at once.

use std::collections::HashSet;
use std::hash::BuildHasher;

use crate::dns::name::{MAX_NAME_OCTETS, lowered};
use crate::dns::{Name, Rtype, Ttl, rdata};
use crate::zone::compiled::seed;
use crate::zone::compiled::table::{NONE, Table};
use crate::zone::{Contents, Rrset};

/// Where a record begins.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::zone) struct Spot {
    /// Index of the source that is read.
    pub source: u32,
    /// Octets before it; files are refused that are too long for this.
    pub start: u32,
}

/// All records of a zone.
#[derive(Debug)]
pub struct Gathered {
    pub(in crate::zone) apex: Name,
    pub(in crate::zone) hasher: foldhash::quality::FixedState,
    pub(in crate::zone) table: Table,
    pub(in crate::zone) names: Vec<u8>,
    pub(in crate::zone) owners: Vec<Owner>,
    sets: Vec<Set>,
    /// Of each record: where the next one of its set is, the octets of its RDATA, and those.
    records: Vec<u8>,
    /// The canonical forms of the records of RRsets that are too large to compare each with each.
    seen: Vec<HashSet<Box<[u8]>>>,
}

/// An owner name; in `names` as it was written first.
#[derive(Clone, Copy, Debug)]
pub(in crate::zone) struct Owner {
    pub name_start: u32,
    pub name_octets: u8,
    pub first_set: u32,
    last_set: u32,
}

#[derive(Debug)]
struct Set {
    rtype: Rtype,
    /// Whether its records came with different TTLs.
    mixed: bool,
    ttl: Ttl,
    count: u32,
    first: u32,
    last: u32,
    next: u32,
    seen: u32,
    first_spot: Spot,
    last_spot: Spot,
}

/// From so many records on, an RRset is searched by hash.
const LARGE_RRSET: u32 = 16;
/// Octets of a short line of a master file.
const LINE_OCTETS: usize = 24;
/// Octets of a record before its RDATA.
const RECORD_HEAD: usize = 6;

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::zone) enum Added {
    /// It is in.
    Yes,
    /// It is in; its TTL differs from that of its RRset, for the first time. The least is taken.
    OtherTtl,
    /// It was there already.
    Twice,
}

/// An owner name with its RRsets.
#[derive(Clone, Copy)]
pub(in crate::zone) struct OwnerRef<'g> {
    all: &'g Gathered,
    owner: &'g Owner,
}

/// One of its RRsets.
#[derive(Clone, Copy)]
pub(in crate::zone) struct SetRef<'g> {
    all: &'g Gathered,
    set: &'g Set,
}

impl Gathered {
    /// No records yet.
    pub fn new(apex: Name) -> Self {
        Self {
            apex,
            hasher: foldhash::quality::FixedState::with_seed(seed()),
            table: Table::for_names(0),
            names: Vec::new(),
            owners: Vec::new(),
            sets: Vec::new(),
            records: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Makes room for what a text of so many octets may hold.
    pub(in crate::zone) fn reserve_for(&mut self, octets: usize) {
        let records = octets / LINE_OCTETS;
        if self.owners.is_empty() {
            self.table = Table::for_names(records);
        }
        self.names.reserve(octets / 2);
        self.owners.reserve(records);
        self.sets.reserve(records);
        self.records.reserve(octets / 3);
    }

    /// The same records.
    pub fn of_contents(contents: &Contents) -> Self {
        let mut all = Self::new(contents.apex.clone());
        for (owner, sets) in &contents.owners {
            for set in sets {
                all.add_rrset(owner.wire(), set);
            }
        }
        all
    }

    /// The same records, each by itself: for tests and what is small.
    pub fn to_contents(&self) -> Contents {
        let mut contents = Contents::new(self.apex.clone());
        for owner in self.owners() {
            let Ok(name) = Name::from_wire(owner.name()) else { continue };
            contents.owners.insert(name, owner.sets().map(SetRef::to_rrset).collect());
        }
        contents
    }

    /// Adds a whole RRset, which is not there yet. Outside of the zone nothing is added.
    pub(in crate::zone) fn add_rrset(&mut self, owner: &[u8], rrset: &Rrset) {
        if !crate::dns::name::is_at_or_below(owner, self.apex.wire()) {
            return;
        }
        let Some((first, rest)) = rrset.rdatas.split_first() else { return };
        let owner = self.owner_of(owner);
        let set = self.new_set(owner, rrset.rtype, rrset.ttl, first, Spot::default());
        for rdata in rest {
            self.append(set, rdata);
        }
    }

    /// Whether any one record more fits.
    pub(in crate::zone) fn has_room(&self) -> bool {
        const MOST: usize = u32::MAX as usize - (1 << 17);
        self.names.len() < MOST && self.records.len() < MOST
    }

    /// Adds one record; `owner` is a wire name in any case.
    #[inline]
    pub(in crate::zone) fn add(&mut self, owner: &[u8], rtype: Rtype, ttl: Ttl, rdata: &[u8], spot: Spot) -> Added {
        let owner = self.owner_of(owner);
        let mut at = self.owners[owner as usize].first_set;
        while at != NONE && self.sets[at as usize].rtype != rtype {
            at = self.sets[at as usize].next;
        }
        if at == NONE {
            self.new_set(owner, rtype, ttl, rdata, spot);
            return Added::Yes;
        }
        if self.has(at, rdata) {
            return Added::Twice;
        }
        self.append(at, rdata);
        let set = &mut self.sets[at as usize];
        set.last_spot = spot;
        // RRSIGs have the TTLs of the RRsets that they sign (RFC 4034, 3), which may well differ.
        let news = ttl != set.ttl && !set.mixed && rtype != Rtype::RRSIG;
        set.ttl = set.ttl.min(ttl);
        set.mixed |= news;
        if news { Added::OtherTtl } else { Added::Yes }
    }

    /// Whether an RRset is of a type that `is` says.
    pub fn has_any(&self, is: impl Fn(Rtype) -> bool) -> bool {
        self.owners().any(|owner| owner.sets().any(|set| is(set.rtype())))
    }

    pub(in crate::zone) fn owners(&self) -> impl Iterator<Item = OwnerRef<'_>> {
        self.owners.iter().map(|owner| OwnerRef { all: self, owner })
    }

    /// The owner of a wire name, in any case.
    pub(in crate::zone) fn get(&self, name: &[u8]) -> Option<OwnerRef<'_>> {
        let at = self.table.find(self.hash(name), |at| self.is_at(at, name))?;
        Some(self.owner(at))
    }

    pub(in crate::zone) fn owner(&self, at: u32) -> OwnerRef<'_> {
        OwnerRef { all: self, owner: &self.owners[at as usize] }
    }

    /// The place of a name, in any case; it is made where it is missing.
    pub(in crate::zone) fn owner_of(&mut self, name: &[u8]) -> u32 {
        if self.owners.last().is_some_and(|_| self.is_at(self.owners.len() as u32 - 1, name)) {
            return self.owners.len() as u32 - 1;
        }
        let hash = self.hash(name);
        if let Some(at) = self.table.find(hash, |at| self.is_at(at, name)) {
            return at;
        }
        let start = self.names.len() as u32;
        self.names.extend_from_slice(name);
        self.new_owner(hash, start, name.len())
    }

    /// An owner without RRsets, whose name stands in `names`.
    pub(in crate::zone) fn new_owner(&mut self, hash: u64, name_start: u32, name_octets: usize) -> u32 {
        let at = self.owners.len() as u32;
        self.owners.push(Owner { name_start, name_octets: name_octets as u8, first_set: NONE, last_set: NONE });
        self.table.insert(hash, at);
        at
    }

    pub(in crate::zone) fn is_at(&self, at: u32, name: &[u8]) -> bool {
        self.owner(at).name().eq_ignore_ascii_case(name)
    }

    pub(in crate::zone) fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(lowered(name, &mut [0; MAX_NAME_OCTETS])) // no name is longer
    }

    fn new_set(&mut self, owner: u32, rtype: Rtype, ttl: Ttl, rdata: &[u8], spot: Spot) -> u32 {
        let at = self.sets.len() as u32;
        let record = self.new_record(rdata);
        self.sets.push(Set {
            rtype,
            mixed: false,
            ttl,
            count: 1,
            first: record,
            last: record,
            next: NONE,
            seen: NONE,
            first_spot: spot,
            last_spot: spot,
        });
        let owner = &mut self.owners[owner as usize];
        match owner.last_set {
            NONE => owner.first_set = at,
            last => self.sets[last as usize].next = at,
        }
        owner.last_set = at;
        at
    }

    fn append(&mut self, set: u32, rdata: &[u8]) {
        let record = self.new_record(rdata);
        let set = &mut self.sets[set as usize];
        let link = set.last as usize;
        self.records[link..link + 4].copy_from_slice(&record.to_le_bytes());
        set.last = record;
        set.count += 1;
    }

    fn new_record(&mut self, rdata: &[u8]) -> u32 {
        let at = self.records.len() as u32;
        self.records.extend_from_slice(&NONE.to_le_bytes());
        self.records.extend_from_slice(&(rdata.len() as u16).to_le_bytes());
        self.records.extend_from_slice(rdata);
        at
    }

    /// Whether a record is there already (names compare without case); remembers it if not.
    fn has(&mut self, at: u32, rdata: &[u8]) -> bool {
        let set = SetRef { all: self, set: &self.sets[at as usize] };
        let rtype = set.rtype();
        let form = rdata::canonical(rtype, rdata);
        if set.set.seen == NONE {
            if set.set.count < LARGE_RRSET {
                return set.rdatas().any(|other| other.len() == form.len() && rdata::canonical(rtype, other) == form);
            }
            let seen = set.rdatas().map(|other| rdata::canonical(rtype, other).into()).collect();
            self.sets[at as usize].seen = self.seen.len() as u32;
            self.seen.push(seen);
        }
        !self.seen[self.sets[at as usize].seen as usize].insert(form.into())
    }
}

impl<'g> OwnerRef<'g> {
    /// The name as it was written first.
    pub(in crate::zone) fn name(self) -> &'g [u8] {
        let start = self.owner.name_start as usize;
        &self.all.names[start..start + self.owner.name_octets as usize]
    }

    pub(in crate::zone) fn sets(self) -> impl Iterator<Item = SetRef<'g>> + Clone {
        let all = self.all;
        let of = move |at: u32| all.sets.get(at as usize);
        std::iter::successors(of(self.owner.first_set), move |set| of(set.next)).map(move |set| SetRef { all, set })
    }

    pub(in crate::zone) fn set(self, rtype: Rtype) -> Option<SetRef<'g>> {
        self.sets().find(|set| set.set.rtype == rtype)
    }

    pub(in crate::zone) fn has(self, rtype: Rtype) -> bool {
        self.set(rtype).is_some()
    }

    pub(in crate::zone) fn is(self, other: Self) -> bool {
        std::ptr::eq(self.owner, other.owner)
    }
}

impl<'g> SetRef<'g> {
    pub(in crate::zone) fn rtype(self) -> Rtype {
        self.set.rtype
    }

    pub(in crate::zone) fn ttl(self) -> Ttl {
        self.set.ttl
    }

    pub(in crate::zone) fn count(self) -> usize {
        self.set.count as usize
    }

    /// Where its first record stands.
    pub(in crate::zone) fn first(self) -> Spot {
        self.set.first_spot
    }

    /// Where its last record stands.
    pub(in crate::zone) fn last(self) -> Spot {
        self.set.last_spot
    }

    pub(in crate::zone) fn rdatas(self) -> impl Iterator<Item = &'g [u8]> + Clone {
        let records = &self.all.records;
        let mut at = self.set.first;
        std::iter::from_fn(move || {
            let head = records.get(at as usize..)?;
            let octets = u16::from_le_bytes([head[4], head[5]]) as usize;
            at = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            Some(&head[RECORD_HEAD..RECORD_HEAD + octets])
        })
    }

    pub(in crate::zone) fn to_rrset(self) -> Rrset {
        Rrset { rtype: self.rtype(), ttl: self.ttl(), rdatas: self.rdatas().map(Box::from).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_gather_into_rrsets() {
        let mut all = Gathered::new("org".parse().unwrap());
        let (a, b): (Name, Name) = ("a.org".parse().unwrap(), "b.org".parse().unwrap());
        let mut add = |name: &Name, ttl, last| {
            all.add(name.wire(), Rtype::A, Ttl::from_secs(ttl), &[10, 0, 0, last], Spot::default())
        };
        assert_eq!(add(&a, 300, 1), Added::Yes);
        assert_eq!(add(&b, 300, 1), Added::Yes);
        assert_eq!(add(&"A.ORG".parse().unwrap(), 60, 2), Added::OtherTtl);
        assert_eq!(add(&a, 600, 3), Added::Yes);
        assert_eq!(add(&a, 60, 2), Added::Twice);
        for last in 4..100 {
            assert_eq!(add(&a, 60, last), Added::Yes);
            assert_eq!(add(&a, 60, last), Added::Twice);
        }
        assert!(all.get(b"\x01B\x03org\0").is_some_and(|owner| owner.has(Rtype::A)));
        assert!(all.get(b"\x01c\x03org\0").is_none());
        let contents = all.to_contents();
        let set = contents.rrset(&a, Rtype::A).unwrap();
        assert_eq!((set.ttl.secs(), set.rdatas.len()), (60, 99));
    }

    #[test]
    fn names_in_rdata_compare_without_case() {
        let mut all = Gathered::new("org".parse().unwrap());
        let mut add = |rdata: &[u8]| all.add(b"\x03org\0", Rtype::NS, Ttl::ZERO, rdata, Spot::default());
        assert_eq!(add(b"\x02ns\0"), Added::Yes);
        assert_eq!(add(b"\x02NS\0"), Added::Twice);
    }
}
