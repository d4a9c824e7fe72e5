//! The chain of names that proves what is not there: NSEC (RFC 4034, 4) by canonical order, NSEC3 (RFC 5155) by hash.
//!
//! A [`Chain`] is what the signer remembers of a zone between two changes, so that a change of one name looks only at that name
//! and the one before it. It follows from the contents alone and can be made anew at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::nsec3::{self, Hash};
use crate::dns::{Name, Rtype};

/// How a zone proves what is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denial {
    /// NSEC: small and quick; who asks enough learns all names.
    #[default]
    Nsec,
    /// NSEC3 without salt and with no further iterations, no opt-out (RFC 9276, 3.1).
    Nsec3,
    /// NSEC whose next name is the first one possible, so that it denies nothing but types of its own name; what is not there is
    /// signed as it is asked for (RFC 9824).
    Compact,
}

/// The names that have an NSEC or NSEC3 record.
#[derive(Clone, Debug)]
pub struct Chain {
    apex: Name,
    denial: Denial,
    /// By [`order_key`]; but for NSEC also the empty non-terminals.
    names: BTreeMap<Box<[u8]>, Link>,
    /// With NSEC3: the key of each hash's name.
    hashes: BTreeMap<Hash, Box<[u8]>>,
}

#[derive(Clone, Debug)]
struct Link {
    name: Name,
    /// It has no records of its own.
    empty: bool,
}

impl Chain {
    /// A chain without names.
    pub fn new(apex: Name, denial: Denial) -> Self {
        Self { apex, denial, names: BTreeMap::new(), hashes: BTreeMap::new() }
    }

    /// Whether nothing is known yet.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How it proves.
    pub fn denial(&self) -> Denial {
        self.denial
    }

    /// Takes `name`, which has records (`there`) or none any more, in or out. Owner names whose NSEC or NSEC3 record may be
    /// another by that go into `affected`.
    pub fn set(&mut self, name: &Name, there: bool, affected: &mut BTreeSet<Name>) {
        let key = order_key(name.wire());
        match (there, self.names.get_mut(&key)) {
            (true, Some(link)) => link.empty = false,
            (true, None) => {
                self.insert(key, name.clone(), false, affected);
                let names_above = self.denial != Denial::Nsec && *name != self.apex;
                let mut above = if names_above { name.parent() } else { None };
                while let Some(ancestor) = above.filter(|a| *a != self.apex) {
                    let key = order_key(ancestor.wire());
                    if self.names.contains_key(&key) {
                        break;
                    }
                    above = ancestor.parent();
                    self.insert(key, ancestor, true, affected);
                }
            }
            (false, None) => {}
            (false, Some(link)) => {
                link.empty = true;
                let mut at = name.clone();
                loop {
                    let key = order_key(at.wire());
                    let stays = self.names.get(&key).is_none_or(|link| !link.empty)
                        || (self.denial != Denial::Nsec && self.has_below(&key));
                    if stays {
                        break;
                    }
                    self.remove(&key, &at, affected);
                    match at.parent() {
                        Some(parent) if self.denial != Denial::Nsec && at != self.apex => at = parent,
                        _ => break,
                    }
                }
            }
        }
        if self.denial == Denial::Nsec3 && self.names.contains_key(&order_key(name.wire())) {
            affected.insert(self.owner_of(nsec3::hash(name.wire(), &[], 0)));
        }
    }

    fn has_below(&self, key: &[u8]) -> bool {
        let mut behind = self.names.range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded));
        behind.next().is_some_and(|(next, _)| next.starts_with(key))
    }

    fn insert(&mut self, key: Box<[u8]>, name: Name, empty: bool, affected: &mut BTreeSet<Name>) {
        match self.denial {
            Denial::Compact => _ = affected.insert(name.clone()),
            Denial::Nsec => {
                affected.insert(name.clone());
                affected.extend(self.before(&key));
            }
            Denial::Nsec3 => {
                let hash = nsec3::hash(name.wire(), &[], 0);
                affected.insert(self.owner_of(hash));
                affected.extend(self.before_hash(&hash).map(|h| self.owner_of(h)));
                self.hashes.insert(hash, key.clone());
            }
        }
        self.names.insert(key, Link { name, empty });
    }

    fn remove(&mut self, key: &[u8], name: &Name, affected: &mut BTreeSet<Name>) {
        self.names.remove(key);
        match self.denial {
            Denial::Compact => _ = affected.insert(name.clone()),
            Denial::Nsec => {
                affected.insert(name.clone());
                affected.extend(self.before(key));
            }
            Denial::Nsec3 => {
                let hash = nsec3::hash(name.wire(), &[], 0);
                self.hashes.remove(&hash);
                affected.insert(self.owner_of(hash));
                affected.extend(self.before_hash(&hash).map(|h| self.owner_of(h)));
            }
        }
    }

    /// The name before `key`, the last one where there is none.
    fn before(&self, key: &[u8]) -> Option<Name> {
        let before = self.names.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key))).next_back();
        before.or_else(|| self.names.last_key_value()).map(|(_, link)| link.name.clone())
    }

    fn before_hash(&self, hash: &Hash) -> Option<Hash> {
        self.hashes.range::<Hash, _>(..hash).next_back().or_else(|| self.hashes.last_key_value()).map(|(hash, _)| *hash)
    }

    /// The owner name of the NSEC3 record with `hash`.
    fn owner_of(&self, hash: Hash) -> Name {
        nsec3::owner(&hash, &self.apex)
    }

    /// Owner names of all NSEC3 records.
    pub fn hash_owners(&self) -> impl Iterator<Item = Name> + '_ {
        self.hashes.keys().map(|hash| self.owner_of(*hash))
    }

    /// With NSEC: what the record of `name`, which is in the chain, has as the next name.
    pub fn next(&self, name: &Name) -> Option<Name> {
        let key = order_key(name.wire());
        if !self.names.contains_key(&key) {
            return None;
        }
        match self.denial {
            Denial::Nsec => {
                let mut behind = self.names.range::<[u8], _>((Bound::Excluded(&*key), Bound::Unbounded));
                behind.next().or_else(|| self.names.first_key_value()).map(|(_, link)| link.name.clone())
            }
            Denial::Nsec3 => None,
            Denial::Compact => Some(after(name, &self.apex)),
        }
    }

    /// With NSEC3: the name whose hash `owner` stands for, and the hash after it.
    pub fn hashed(&self, owner: &Name) -> Option<(&Name, Hash)> {
        let hash = nsec3::hash_in(owner, &self.apex)?;
        let link = self.names.get(self.hashes.get(&hash)?)?;
        let behind = self.hashes.range((Bound::Excluded(hash), Bound::Unbounded)).next();
        let (next, _) = behind.or_else(|| self.hashes.first_key_value())?;
        Some((&link.name, *next))
    }
}

/// Octets whose order is the canonical order of names (RFC 4034, 6.1), and that begin with those of each name above.
pub fn order_key(wire: &[u8]) -> Box<[u8]> {
    let labels: Vec<&[u8]> = crate::dns::name::labels(wire).collect();
    let mut key = Vec::with_capacity(wire.len() + labels.len() + 4);
    for label in labels.iter().rev() {
        for octet in *label {
            key.push(octet.to_ascii_lowercase());
            if *octet == 0 {
                key.push(1); // so that the end of a label, two zeros, stands before it
            }
        }
        key.extend([0, 0]);
    }
    key.into()
}

/// The first name behind `name` (RFC 4034, 6.1), in the zone `apex`; where there is no room for it, one a little later.
pub fn after(name: &Name, apex: &Name) -> Name {
    let below = Name::from_wire(&[&[1, 0], name.wire()].concat());
    below.unwrap_or_else(|_| {
        let mut wire = name.to_lowercase().wire().to_vec();
        // The last octet of its first label that can be raised; past the capitals, in whose place small letters stand.
        let Some(at) = (1..=usize::from(wire[0])).rev().find(|at| wire[*at] < 255) else { return apex.clone() };
        wire[at] = if wire[at] == b'@' { b'[' } else { wire[at] + 1 };
        Name::from_wire(&wire).unwrap_or_else(|_| apex.clone())
    })
}

/// Whether the NSEC record of the `apex` with this RDATA is one of [`Denial::Compact`].
pub fn is_compact(rdata: &[u8], apex: &Name) -> bool {
    let next = after(apex, apex);
    rdata.get(..next.wire().len()).is_some_and(|found| found.eq_ignore_ascii_case(next.wire()))
}

/// RDATA of an NSEC record (RFC 4034, 4.1).
pub fn rdata(next: &Name, types: &BTreeSet<Rtype>) -> Box<[u8]> {
    [next.wire(), &bitmap(types)].concat().into()
}

/// The type bitmap (RFC 4034, 4.1.2).
pub fn bitmap(types: &BTreeSet<Rtype>) -> Vec<u8> {
    let mut octets: Vec<u8> = Vec::new();
    let mut window = None;
    let mut length_at = 0;
    for rtype in types {
        let [high, low] = rtype.0.to_be_bytes();
        if window != Some(high) {
            window = Some(high);
            octets.extend([high, 0]);
            length_at = octets.len() - 1;
        }
        let length = low / 8 + 1;
        octets.resize(length_at + 1 + length as usize, 0);
        octets[length_at] = length;
        octets[length_at + length as usize] |= 0x80 >> (low % 8);
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Name> {
        let label = proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(b'B'), Just(255)], 1..3);
        proptest::collection::vec(label, 0..4).prop_map(|labels| {
            let mut wire = Vec::new();
            for label in labels {
                wire.push(label.len() as u8);
                wire.extend(label);
            }
            wire.extend(b"\x07example\x00");
            Name::from_wire(&wire).unwrap()
        })
    }

    proptest! {
        #[test]
        fn keys_have_the_order_of_names(a in name(), b in name()) {
            let (x, y) = (order_key(a.wire()), order_key(b.wire()));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.starts_with(&y), a.is_at_or_below(&b));
        }

        #[test]
        fn the_name_after_is_the_next_one_possible(name in name(), other in name(), long in any::<bool>()) {
            let apex: Name = "example".parse().unwrap();
            let fill = |octets: usize| [&[octets as u8][..], &vec![b'x'; octets]].concat();
            let filled = Name::from_wire(&[fill(60), fill(60), fill(60), fill(60), name.wire().to_vec()].concat());
            let name = filled.ok().filter(|_| long).unwrap_or(name);
            let next = after(&name, &apex);
            prop_assert!(next > name || next == apex);
            prop_assert!(!(name < other && other < next), "{name} {other} {next}");
        }

        #[test]
        fn a_chain_depends_on_its_names_alone(
            steps in proptest::collection::vec((name(), any::<bool>()), 1..40),
            denial in prop_oneof![Just(Denial::Nsec), Just(Denial::Nsec3), Just(Denial::Compact)],
        ) {
            let apex: Name = "example".parse().unwrap();
            let mut chain = Chain::new(apex.clone(), denial);
            let mut there = BTreeSet::new();
            let links = |chain: &Chain| -> Vec<(Name, Option<Name>, Option<Hash>)> {
                let owners: Vec<Name> = match denial {
                    Denial::Nsec | Denial::Compact => chain.names.values().map(|link| link.name.clone()).collect(),
                    Denial::Nsec3 => chain.hash_owners().collect(),
                };
                owners.into_iter().map(|o| {
                    let (next, hash) = (chain.next(&o), chain.hashed(&o).map(|(_, h)| h));
                    (o, next, hash)
                }).collect()
            };
            chain.set(&apex, true, &mut BTreeSet::new());
            there.insert(apex.clone());
            for (name, comes) in steps {
                let comes = comes || name == apex;
                let before = links(&chain);
                let mut affected = BTreeSet::new();
                chain.set(&name, comes, &mut affected);
                if comes { there.insert(name) } else { there.remove(&name) };
                let after = links(&chain);
                for changed in before.iter().filter(|l| !after.contains(l)).chain(after.iter().filter(|l| !before.contains(l))) {
                    prop_assert!(affected.contains(&changed.0), "{} is not told of", changed.0);
                }
                let mut anew = Chain::new(apex.clone(), denial);
                for name in &there {
                    anew.set(name, true, &mut BTreeSet::new());
                }
                let outside = anew.names.values().any(|link| !link.name.is_at_or_below(&apex));
                prop_assert!(!outside);
                prop_assert_eq!(after, links(&anew));
            }
        }
    }

    #[test]
    fn the_bitmap_of_the_rfc() {
        // RFC 4034, 4.3: A MX RRSIG NSEC TYPE1234
        let types = [Rtype::A, Rtype::MX, Rtype::RRSIG, Rtype::NSEC, Rtype(1234)].into();
        let mut wanted = vec![0, 6, 0x40, 1, 0, 0, 0, 3, 4, 0x1b];
        wanted.extend([0; 26]);
        wanted.push(0x20);
        assert_eq!(bitmap(&types), wanted);
    }
}
