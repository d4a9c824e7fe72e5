//! Proofs by NSEC3 (RFC 5155, 7.2): which records show that a name or a type is not there. The order by hash is made when the
//! zone is compiled; a question costs a few hashes, on the stack.

use super::node::{RECORD_HEAD, Set};
use super::signed::Proofs;
use super::{Base, NodeRef, Zone};
use crate::dns::{Rtype, name};
use crate::zone::prepared::Prepared;
use crate::zone::signing::nsec3;

/// More iterations than these are not done for a question: validators take such zones as unsigned (RFC 9276, 3.2).
pub const MOST_ITERATIONS: u16 = 100;

/// The chain of a zone with NSEC3.
#[derive(Debug)]
pub(super) struct Hashed {
    salt: Box<[u8]>,
    iterations: u16,
    /// The nodes that own its records, in the order of their hashes, which is that of their labels (RFC 5155, 1).
    places: Vec<u32>,
}

impl Hashed {
    /// The chain that NSEC3PARAM at the apex tells of; `places` are the nodes with NSEC3 right below the apex.
    pub(super) fn new(base: &Base, apex: u32, mut places: Vec<u32>) -> Option<Self> {
        let (salt, iterations) = parameters(base.node(apex).set(Rtype::NSEC3PARAM)?.records())?;
        if iterations > MOST_ITERATIONS {
            return None;
        }
        let mut chain = Self { salt: salt.into(), iterations, places: Vec::new() };
        places.retain(|place| base.node(*place).set(Rtype::NSEC3).is_some_and(|set| chain.has(set)));
        places.sort_unstable_by_key(|place| label_of(base, *place));
        chain.places = places;
        Some(chain)
    }

    /// Whether these NSEC3 records are of the chain.
    pub(super) fn has(&self, set: Set<'_>) -> bool {
        parameters_of(&set.records()[RECORD_HEAD..]) == Some((&*self.salt, self.iterations))
    }

    pub(super) fn memory_octets(&self) -> usize {
        4 * self.places.capacity()
    }
}

impl Zone {
    /// The record whose hash is that of `lower`.
    fn matching<'z>(&'z self, hashed: &'z Hashed, lower: &[u8]) -> Option<Prepared<'z>> {
        let mut owner = [0; name::MAX_NAME_OCTETS];
        let node = self.any_node(self.owner_of_hash(hashed, lower, &mut owner)?)?;
        node.set(Rtype::NSEC3).filter(|set| hashed.has(*set)).map(|set| Prepared::proof(self, node, set))
    }

    /// The record that covers the hash of `lower`: the one before it, or the last one for what comes before the first.
    fn covering<'z>(&'z self, hashed: &'z Hashed, lower: &[u8]) -> Option<Prepared<'z>> {
        let mut owner = [0; name::MAX_NAME_OCTETS];
        let owner = self.owner_of_hash(hashed, lower, &mut owner)?;
        let after = hashed.places.partition_point(|place| label_of(&self.base, *place) < &owner[1..33]);
        let at = |place: &u32| self.base.node(*place);
        let old = after.checked_sub(1).map(|before| at(&hashed.places[before]));
        let node = self
            .later(old, self.newer.at_or_before(owner))
            .or_else(|| self.later(hashed.places.last().map(at), self.newer.last()))?;
        Some(Prepared::proof(self, node, node.set(Rtype::NSEC3)?))
    }

    /// The owner name of the record that the hash of `lower` would have.
    fn owner_of_hash<'o>(
        &self,
        hashed: &Hashed,
        lower: &[u8],
        out: &'o mut [u8; name::MAX_NAME_OCTETS],
    ) -> Option<&'o [u8]> {
        let apex = self.apex.wire();
        let owner = out.get_mut(..33 + apex.len())?;
        owner[0] = 32;
        owner[1..33].copy_from_slice(&nsec3::label(&nsec3::hash(lower, &hashed.salt, hashed.iterations)));
        owner[33..].copy_from_slice(apex);
        Some(owner)
    }

    /// The closest encloser of `lower` that has a record, with the one that covers the name next closer (RFC 5155, 7.2.1);
    /// gives the octets of the encloser. With opt-out that may be further up than the names of the zone.
    fn encloser<'z>(&'z self, hashed: &'z Hashed, lower: &[u8], proofs: &mut Proofs<'z>) -> Option<usize> {
        let mut closer = lower;
        loop {
            let above = name::parent(closer).filter(|above| above.len() >= self.apex.wire().len())?;
            if self.node(above).is_some()
                && let Some(found) = self.matching(hashed, above)
            {
                proofs.push(found);
                proofs.extend(self.covering(hashed, closer));
                return Some(above.len());
            }
            closer = above;
        }
    }

    /// That there is neither `lower` nor a wildcard for it (RFC 5155, 7.2.2).
    pub(super) fn hashed_no_name<'z>(&'z self, hashed: &'z Hashed, lower: &[u8], proofs: &mut Proofs<'z>) {
        if let Some(octets) = self.encloser(hashed, lower, proofs) {
            let mut wildcard = [0; name::MAX_NAME_OCTETS + 2];
            wildcard[..2].copy_from_slice(b"\x01*");
            wildcard[2..2 + octets].copy_from_slice(&lower[lower.len() - octets..]);
            proofs.extend(self.covering(hashed, &wildcard[..2 + octets]));
        }
    }

    /// That `node` lacks a type (RFC 5155, 7.2.3 to 7.2.5 and 7.2.7); it has no record where opt-out passes it over.
    pub(super) fn hashed_no_type<'z>(&'z self, hashed: &'z Hashed, node: &[u8], lower: &[u8], proofs: &mut Proofs<'z>) {
        let found = self.matching(hashed, node);
        if node != lower || found.is_none() {
            self.encloser(hashed, lower, proofs);
        }
        proofs.extend(found);
    }

    /// That nothing is closer to `lower` than `wildcard` (RFC 5155, 7.2.6).
    pub(super) fn hashed_expansion<'z>(&'z self, hashed: &'z Hashed, wildcard: &[u8], lower: &[u8]) -> Proofs<'z> {
        let encloser = &wildcard[2..];
        let mut upwards = std::iter::successors(Some(lower), |name| name::parent(name));
        let next = upwards.find(|name| name::parent(name).is_some_and(|above| above.len() == encloser.len()));
        next.and_then(|next| self.covering(hashed, next)).into_iter().collect()
    }

    /// That the zone cut `cut` has no DS, with NSEC3 (RFC 5155, 7.2.7).
    #[cold]
    pub(in crate::zone) fn proofs_of_no_ds(&self, cut: &[u8]) -> Proofs<'_> {
        let mut proofs = Proofs::new();
        if let Some(hashed) = &self.base.hashed {
            self.hashed_no_type(hashed, cut, cut, &mut proofs);
        }
        proofs
    }

    /// That the parent of the wildcard `node` is the closest encloser of `lower`, beside what tells of the wildcard.
    #[cold]
    pub fn proofs_of_encloser<'z>(&'z self, node: NodeRef<'z>, lower: &[u8]) -> Proofs<'z> {
        let mut proofs = Proofs::new();
        match &self.base.hashed {
            Some(hashed) if node.name() != lower => {
                self.encloser(hashed, lower, &mut proofs);
            }
            _ => {}
        }
        proofs
    }
}

/// The label of a hash.
fn label_of(base: &Base, place: u32) -> &[u8] {
    &base.node(place).name()[1..33] // those of other lengths are not taken in
}

/// Salt and iterations of the first of some NSEC3PARAM records that tells of a whole chain (RFC 5155, 4.1.2).
fn parameters(records: &[u8]) -> Option<(&[u8], u16)> {
    let mut rest = records;
    loop {
        let head = rest.first_chunk::<RECORD_HEAD>()?;
        let (rdata, behind) = rest[RECORD_HEAD..].split_at(u16::from_be_bytes([head[10], head[11]]) as usize);
        if rdata.get(1) == Some(&0)
            && let Some(found) = parameters_of(rdata)
        {
            return Some(found);
        }
        rest = behind;
    }
}

/// Salt and iterations of the RDATA of NSEC3 or NSEC3PARAM, with SHA-1.
fn parameters_of(rdata: &[u8]) -> Option<(&[u8], u16)> {
    match rdata {
        [1, _, high, low, salt, rest @ ..] => Some((rest.get(..*salt as usize)?, u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}
