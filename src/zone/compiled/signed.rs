//! What a zone that brings its own signatures adds to answers when DO is set (RFC 4035, 3.1): RRSIGs beside the RRsets, DS or
//! the proof of its absence in referrals, and the NSEC or NSEC3 records that prove what is not there. Nothing is signed here. All
//! of this is off the path of plain answers.

use std::cmp::Ordering;

use arrayvec::ArrayVec;

use super::node::Node;
use super::{NodeRef, Zone};
use crate::dns::{Rtype, name};
use crate::zone::prepared::{Prepared, signatures};

/// The records that prove one thing, to be copied for the apex.
pub type Proofs<'z> = ArrayVec<Prepared<'z>, 3>;

impl Zone {
    /// Whether the zone brings signatures.
    #[inline]
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// Whether its NSEC records deny types of their own names alone: it needs signatures of who answers (RFC 9824).
    #[inline]
    pub fn is_compact(&self) -> bool {
        self.compact
    }

    /// That neither `lower` nor a wildcard for it exists (RFC 4035, 3.1.3.2; RFC 5155, 7.2.2).
    #[cold]
    pub fn proofs_of_no_name(&self, lower: &[u8]) -> Proofs<'_> {
        let mut proofs = Proofs::new();
        if let Some(hashed) = &self.base.hashed {
            self.hashed_no_name(hashed, lower, &mut proofs);
        } else {
            proofs.extend(self.proof_for(lower));
            proofs.extend(self.proof_of_no_wildcard(lower));
        }
        proofs
    }

    /// That the name `node`, `lower` itself or a wildcard that stands for it, lacks a type (RFC 4035, 3.1.3.1 and 3.1.3.4; RFC
    /// 5155, 7.2.3 to 7.2.5).
    #[cold]
    pub fn proofs_of_no_type(&self, node: &[u8], lower: &[u8]) -> Proofs<'_> {
        let mut proofs = Proofs::new();
        if let Some(hashed) = &self.base.hashed {
            self.hashed_no_type(hashed, node, lower, &mut proofs);
        } else {
            proofs.extend(self.proof_for(node));
            proofs.extend(self.proof_for(lower).filter(|_| node != lower));
        }
        proofs
    }

    /// That nothing is closer to `lower` than `wildcard`, which stands for it (RFC 4035, 3.1.3.3; RFC 5155, 7.2.6).
    #[cold]
    pub fn proofs_of_expansion(&self, wildcard: &[u8], lower: &[u8]) -> Proofs<'_> {
        match &self.base.hashed {
            Some(hashed) => self.hashed_expansion(hashed, wildcard, lower),
            None => self.proof_for(lower).into_iter().collect(),
        }
    }

    /// The NSEC record at `lower`, or else the one before it, which covers it (RFC 4034, 4). `None` in a zone without NSEC.
    fn proof_for(&self, lower: &[u8]) -> Option<Prepared<'_>> {
        let proofs = &self.base.proofs;
        let name_of = |place: u32| self.base.node(place).name();
        let after = proofs.partition_point(|place| canonical_order(name_of(*place), lower) != Ordering::Greater);
        let old = after.checked_sub(1).map(|at| self.base.node(proofs[at]));
        let node = self.later(old, self.newer.at_or_before(lower))?;
        Some(Prepared::proof(self, node, node.set(Rtype::NSEC)?))
    }

    /// The later one of two that come before a name in a chain, one as the table has it, the other newer. Where a change
    /// touched `old`, or took it away, `newer` is the one: the record before one that goes is changed with it.
    pub(super) fn later<'z>(&self, old: Option<Node<'z>>, newer: Option<Node<'z>>) -> Option<Node<'z>> {
        let old = old.filter(|old| !self.is_changed() || !self.changed.contains_key(old.name()));
        match (old, newer) {
            (Some(old), Some(newer)) if canonical_order(old.name(), newer.name()) == Ordering::Greater => Some(old),
            (old, newer) => newer.or(old),
        }
    }

    /// The same for the wildcard right below the closest encloser of `lower`, which does not exist in the zone.
    fn proof_of_no_wildcard(&self, lower: &[u8]) -> Option<Prepared<'_>> {
        let mut encloser = name::parent(lower)?;
        while self.node(encloser).is_none() {
            encloser = name::parent(encloser)?;
        }
        let mut wildcard = [0; name::MAX_NAME_OCTETS + 2];
        wildcard[..2].copy_from_slice(b"\x01*");
        wildcard[2..2 + encloser.len()].copy_from_slice(encloser);
        self.proof_for(&wildcard[..2 + encloser.len()])
    }
}

impl<'z> NodeRef<'z> {
    /// Its own name, in lower case.
    pub fn name(self) -> &'z [u8] {
        self.node.name()
    }
}

/// Whether a node has signatures of its RRset of type `covered`.
pub(super) fn has_signatures(node: Node<'_>, covered: Rtype) -> bool {
    node.set(Rtype::RRSIG).is_some_and(|all| signatures(all, covered).next().is_some())
}

/// The canonical order of names in lower case (RFC 4034, 6.1): by labels from the right.
pub(super) fn canonical_order(a: &[u8], b: &[u8]) -> Ordering {
    let (a_starts, a_count) = label_starts(a);
    let (b_starts, b_count) = label_starts(b);
    let from_right = a_starts[..a_count].iter().rev().zip(b_starts[..b_count].iter().rev());
    from_right
        .map(|(&x, &y)| label_at(a, x).cmp(&label_at(b, y)))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a_count.cmp(&b_count))
}

fn label_at(wire: &[u8], start: u8) -> Option<&[u8]> {
    name::labels(&wire[start as usize..]).next()
}

/// Where the labels of a name start, and how many there are.
fn label_starts(wire: &[u8]) -> ([u8; 128], usize) {
    let mut starts = [0; 128];
    let mut count = 0;
    let mut at = 0;
    for label in name::labels(wire) {
        starts[count] = at as u8;
        count += 1;
        at += 1 + label.len();
    }
    (starts, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Name;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_names(
            a in proptest::collection::vec("[ab*]{1,2}", 0..4),
            b in proptest::collection::vec("[ab*]{1,2}", 0..4),
        ) {
            let name = |labels: &[String]| format!("{}.", labels.join(".")).parse::<Name>().unwrap_or_else(|_| Name::root());
            let (a, b) = (name(&a), name(&b));
            prop_assert_eq!(canonical_order(a.wire(), b.wire()), a.cmp(&b));
        }
    }
}
