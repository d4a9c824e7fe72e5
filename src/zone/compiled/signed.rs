//! What a zone that brings its own signatures adds to answers when DO is set (RFC 4035, 3.1): RRSIGs beside the RRsets, DS or
//! the proof of its absence in referrals, and the NSEC records that prove what is not there. Nothing is signed here, and a zone
//! with NSEC3 gets no proofs.
//!
//! Each prepared answer of the zone has a *twin* with signatures. All of this is off the path of plain answers.

use std::cmp::Ordering;

use super::{NodeRef, Zone, additional};
use crate::dns::wire::Section;
use crate::dns::{Name, Rtype, Ttl, name};
use crate::zone::compiled::Overlay;
use crate::zone::contents::{Contents, Rrset};
use crate::zone::prepared::{Handle, Prepared, Preparer};

/// The signed form of a zone's answers.
#[derive(Debug)]
pub(super) struct Signed {
    /// Each prepared answer and its twin, in the order of the arena.
    twins: Vec<(Handle, Handle)>,
    /// The NSEC records in canonical order (RFC 4034, 6.1).
    proofs: Vec<Proof>,
}

/// An NSEC record with its signatures, in AUTHORITY; its owner name ends with the apex.
#[derive(Debug)]
struct Proof {
    /// The owner name in lower case, wire form.
    owner: Box<[u8]>,
    handle: Handle,
}

impl Zone {
    /// Whether the zone brings signatures.
    #[inline]
    pub fn is_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// The same answer with signatures, for one of this zone's prepared answers.
    #[cold]
    pub fn with_signatures<'z>(&'z self, plain: Prepared<'z>) -> Prepared<'z> {
        let twins = self.signed.as_ref().map_or(&[][..], |signed| &signed.twins);
        let found = twins.binary_search_by_key(&plain.handle().order(), |(plain, _)| plain.order());
        found.map_or(plain, |at| self.arena.get(twins[at].1))
    }

    /// The number of the NSEC record at `lower`, or else of the one before it, which covers it (RFC 4034, 4). `None` in a
    /// zone without NSEC.
    #[cold]
    pub fn proof_for(&self, lower: &[u8]) -> Option<u32> {
        let proofs = &self.signed.as_ref()?.proofs;
        let after = proofs.partition_point(|proof| canonical_order(&proof.owner, lower) != Ordering::Greater);
        (after > 0).then(|| after as u32 - 1)
    }

    /// The same for the wildcard right below the closest encloser of `lower`, which does not exist in the zone.
    #[cold]
    pub fn proof_of_no_wildcard(&self, lower: &[u8]) -> Option<u32> {
        let mut encloser = name::parent(lower)?;
        while self.node_of(encloser).is_none() {
            encloser = name::parent(encloser)?;
        }
        let mut wildcard = [0; name::MAX_NAME_OCTETS + 2];
        wildcard[..2].copy_from_slice(b"\x01*");
        wildcard[2..2 + encloser.len()].copy_from_slice(encloser);
        self.proof_for(&wildcard[..2 + encloser.len()])
    }

    /// A proof by its number, to be copied for the apex.
    pub fn proof(&self, number: u32) -> Option<Prepared<'_>> {
        let proof = self.signed.as_ref()?.proofs.get(number as usize)?;
        Some(self.arena.get(proof.handle))
    }
}

impl<'z> NodeRef<'z> {
    /// Its own name, in lower case.
    pub fn name(self) -> &'z [u8] {
        self.zone.name_of(self.index)
    }
}

/// Makes the twins of all prepared answers of `zone`, if the contents have signatures.
pub(super) fn sign(zone: &mut Zone, contents: &Contents, overlay: &Overlay) {
    let apex = zone.apex.clone();
    let Some(soa) = contents.rrset(&apex, Rtype::SOA) else { return };
    if signatures(contents, &apex, Rtype::SOA).next().is_none() {
        return;
    }
    let mut twins = Vec::new();
    let mut proofs = Vec::new();
    let mut p = zone.arena.prepare(&apex);
    signed_rrset(&mut p, contents, Section::Authority, &apex, soa, zone.negative_ttl);
    twins.push((zone.negative, p.finish()));

    for (owner, sets) in &contents.owners {
        let lower = owner.to_lowercase();
        let Some(index) = zone.node_of(lower.wire()) else { continue };
        let node = &zone.nodes[index as usize];
        for at in node.sets_start as usize..node.sets_start as usize + node.sets as usize {
            let plain = &zone.sets[at];
            let Some(set) = sets.iter().find(|set| set.rtype == plain.rtype) else { continue };
            if set.rtype == Rtype::RRSIG {
                continue;
            }
            let plain = plain.handle;
            let mut p = zone.arena.prepare(owner);
            if let (Rtype::CNAME, Some(target)) = (set.rtype, set.rdatas.first()) {
                p.record(Section::Answer, owner, set.rtype, set.ttl, target, false); // chains go on from it as it stands
                p.rrset(Section::Answer, owner, Rtype::RRSIG, set.ttl, signatures(contents, owner, set.rtype));
            } else {
                signed_rrset(&mut p, contents, Section::Answer, owner, set, set.ttl);
            }
            p.rest_is_optional();
            for (name, set) in additional(contents, overlay, set) {
                signed_rrset(&mut p, contents, Section::Additional, &name, set, set.ttl);
            }
            twins.push((plain, p.finish()));
        }
        let cut = node.cut;
        let is_cut = cut != super::NONE && zone.cuts[cut as usize].node == index;
        if is_cut && let Some(set) = sets.iter().find(|set| set.rtype == Rtype::NS) {
            let plain = zone.cuts[cut as usize].handle;
            twins.push((plain, referral(zone, contents, overlay, owner, set)));
        }
        let occluded = cut != super::NONE && !is_cut;
        if let Some(nsec) = sets.iter().find(|set| set.rtype == Rtype::NSEC).filter(|_| !occluded) {
            let mut p = zone.arena.prepare(&apex);
            signed_rrset(&mut p, contents, Section::Authority, owner, nsec, nsec.ttl);
            proofs.push(Proof { owner: lower.wire().into(), handle: p.finish() });
        }
    }
    twins.sort_unstable_by_key(|(plain, _)| plain.order());
    proofs.sort_unstable_by(|a, b| canonical_order(&a.owner, &b.owner));
    zone.signed = Some(Box::new(Signed { twins, proofs }));
}

/// NS, and DS or the NSEC that shows that there is none (RFC 4035, 3.1.4); then glue.
fn referral(zone: &mut Zone, contents: &Contents, overlay: &Overlay, owner: &Name, ns: &Rrset) -> Handle {
    let extra = additional(contents, overlay, ns);
    let (required, optional): (Vec<_>, Vec<_>) = extra.into_iter().partition(|(name, _)| name.is_at_or_below(owner));
    let mut p = zone.arena.prepare(owner);
    p.rrset(Section::Authority, owner, Rtype::NS, ns.ttl, &ns.rdatas);
    if let Some(set) = [Rtype::DS, Rtype::NSEC].iter().find_map(|rtype| contents.rrset(owner, *rtype)) {
        signed_rrset(&mut p, contents, Section::Authority, owner, set, set.ttl);
    }
    for (name, set) in required {
        signed_rrset(&mut p, contents, Section::Additional, &name, set, set.ttl);
    }
    p.rest_is_optional();
    for (name, set) in optional {
        signed_rrset(&mut p, contents, Section::Additional, &name, set, set.ttl);
    }
    p.finish()
}

/// Adds an RRset and the RRSIGs that cover it, all with `ttl` (RFC 4034, 3).
fn signed_rrset(p: &mut Preparer<'_>, contents: &Contents, section: Section, owner: &Name, set: &Rrset, ttl: Ttl) {
    p.rrset(section, owner, set.rtype, ttl, &set.rdatas);
    p.rrset(section, owner, Rtype::RRSIG, ttl, signatures(contents, owner, set.rtype));
}

/// The RRSIGs at `owner` whose TYPE COVERED is `covered`.
fn signatures<'c>(contents: &'c Contents, owner: &Name, covered: Rtype) -> impl Iterator<Item = &'c Box<[u8]>> {
    let all = contents.rrset(owner, Rtype::RRSIG).map_or(&[][..], |set| &set.rdatas);
    all.iter().filter(move |rdata| rdata.starts_with(&covered.0.to_be_bytes()))
}

/// The canonical order of names in lower case (RFC 4034, 6.1): by labels from the right.
fn canonical_order(a: &[u8], b: &[u8]) -> Ordering {
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
