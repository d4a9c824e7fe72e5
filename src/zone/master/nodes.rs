//! The owner names of a zone that is being read, in the order of the file, each with its RRsets and where they stand.

use std::collections::HashSet;
use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::report::Spot;
use crate::dns::name::MAX_NAME_OCTETS;
use crate::dns::{Name, Rtype, Ttl, rdata};
use crate::zone::{Contents, Rrset};

#[derive(Default)]
pub(super) struct Nodes {
    all: Vec<Node>,
    /// Places in `all`, by the hash of the name.
    index: HashTable<usize>,
    hasher: foldhash::quality::RandomState,
}

pub(super) struct Node {
    pub name: Name,
    pub sets: Vec<Set>,
}

pub(super) struct Set {
    pub rrset: Rrset,
    pub first: Spot,
    pub last: Spot,
    /// Whether its records came with different TTLs.
    pub mixed: bool,
    /// The canonical forms of its records, once it is too large to compare each with each.
    seen: Option<HashSet<Box<[u8]>>>,
}

/// From so many records on, an RRset is searched by hash.
const LARGE_RRSET: usize = 16;

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is in.
    Yes,
    /// It is in; its TTL differs from that of its RRset, for the first time. The least is taken.
    OtherTtl,
    /// It was there already.
    Twice,
}

impl Nodes {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.all.iter()
    }

    /// The node of a wire name, in any case.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Node> {
        let at = *self.index.find(hash(&self.hasher, name), |&at| self.is_at(at, name))?;
        Some(&self.all[at])
    }

    pub(super) fn add(&mut self, owner: &Name, rtype: Rtype, ttl: Ttl, rdata: Box<[u8]>, spot: Spot) -> Added {
        let at = self.place_of(owner);
        let sets = &mut self.all[at].sets;
        let Some(set) = sets.iter_mut().find(|s| s.rrset.rtype == rtype) else {
            let rrset = Rrset { rtype, ttl, rdatas: vec![rdata] };
            sets.push(Set { rrset, first: spot, last: spot, mixed: false, seen: None });
            return Added::Yes;
        };
        if set.has(&rdata) {
            return Added::Twice;
        }
        set.rrset.rdatas.push(rdata);
        set.last = spot;
        // RRSIGs have the TTLs of the RRsets that they sign (RFC 4034, 3), which may well differ.
        let news = ttl != set.rrset.ttl && !set.mixed && rtype != Rtype::RRSIG;
        set.rrset.ttl = set.rrset.ttl.min(ttl);
        set.mixed |= news;
        if news { Added::OtherTtl } else { Added::Yes }
    }

    pub(super) fn into_contents(self, apex: Name) -> Contents {
        let mut contents = Contents::new(apex);
        contents.owners.reserve(self.all.len());
        for node in self.all {
            contents.owners.insert(node.name, node.sets.into_iter().map(|s| s.rrset).collect());
        }
        contents
    }

    fn is_at(&self, at: usize, name: &[u8]) -> bool {
        self.all[at].name.wire().eq_ignore_ascii_case(name)
    }

    fn place_of(&mut self, owner: &Name) -> usize {
        if self.all.last().is_some_and(|last| last.name == *owner) {
            return self.all.len() - 1;
        }
        let hashed = hash(&self.hasher, owner.wire());
        if let Some(at) = self.index.find(hashed, |&at| self.is_at(at, owner.wire())) {
            return *at;
        }
        let at = self.all.len();
        self.all.push(Node { name: owner.clone(), sets: Vec::with_capacity(1) });
        let (all, hasher) = (&self.all, &self.hasher);
        self.index.insert_unique(hashed, at, |&at| hash(hasher, all[at].name.wire()));
        at
    }
}

impl Node {
    pub(super) fn set(&self, rtype: Rtype) -> Option<&Set> {
        self.sets.iter().find(|s| s.rrset.rtype == rtype)
    }

    pub(super) fn has(&self, rtype: Rtype) -> bool {
        self.set(rtype).is_some()
    }

    pub(super) fn has_address(&self) -> bool {
        self.has(Rtype::A) || self.has(Rtype::AAAA)
    }
}

impl Set {
    /// Whether a record is there already (names compare without case); remembers it if not.
    fn has(&mut self, rdata: &[u8]) -> bool {
        let rtype = self.rrset.rtype;
        let canonical = |rdata: &[u8]| -> Box<[u8]> { rdata::canonical(rtype, rdata).into() };
        if let Some(seen) = &mut self.seen {
            return !seen.insert(canonical(rdata));
        }
        if self.rrset.rdatas.len() >= LARGE_RRSET {
            let seen = self.seen.insert(self.rrset.rdatas.iter().map(|r| canonical(r)).collect());
            return !seen.insert(canonical(rdata));
        }
        let form = rdata::canonical(rtype, rdata);
        self.rrset.rdatas.iter().any(|other| other.len() == form.len() && rdata::canonical(rtype, other) == form)
    }
}

fn hash(hasher: &foldhash::quality::RandomState, name: &[u8]) -> u64 {
    let mut lower = [0; MAX_NAME_OCTETS];
    let lower = &mut lower[..name.len()]; // no name is longer
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    hasher.hash_one(&*lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPOT: Spot = Spot { source: 0, start: 0 };

    #[test]
    fn records_gather_into_rrsets() {
        let mut nodes = Nodes::default();
        let (a, b): (Name, Name) = ("a.org".parse().unwrap(), "b.org".parse().unwrap());
        let mut add =
            |name: &Name, ttl, last| nodes.add(name, Rtype::A, Ttl::from_secs(ttl), Box::new([10, 0, 0, last]), SPOT);
        assert_eq!(add(&a, 300, 1), Added::Yes);
        assert_eq!(add(&b, 300, 1), Added::Yes);
        assert_eq!(add(&"A.ORG".parse().unwrap(), 60, 2), Added::OtherTtl);
        assert_eq!(add(&a, 600, 3), Added::Yes);
        assert_eq!(add(&a, 60, 2), Added::Twice);
        for last in 4..100 {
            assert_eq!(add(&a, 60, last), Added::Yes);
            assert_eq!(add(&a, 60, last), Added::Twice);
        }
        assert!(nodes.get(b"\x01B\x03org\0").is_some_and(Node::has_address));
        assert!(nodes.get(b"\x01c\x03org\0").is_none());
        let contents = nodes.into_contents("org".parse().unwrap());
        let set = contents.rrset(&a, Rtype::A).unwrap();
        assert_eq!((set.ttl.secs(), set.rdatas.len()), (60, 99));
    }

    #[test]
    fn names_in_rdata_compare_without_case() {
        let mut nodes = Nodes::default();
        let owner: Name = "org".parse().unwrap();
        let mut add = |rdata: &[u8]| nodes.add(&owner, Rtype::NS, Ttl::ZERO, rdata.into(), SPOT);
        assert_eq!(add(b"\x02ns\0"), Added::Yes);
        assert_eq!(add(b"\x02NS\0"), Added::Twice);
    }
}
