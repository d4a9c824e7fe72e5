//! Prepared answers: records already compressed, to be copied behind a question.
//!
//! The records of an RRset are written once, as if its owner name were the QNAME at octet 12 and they stood right behind the
//! question. Then copying is one `memcpy`. Where they stand elsewhere (a wildcard's QNAME is longer, a referral's owner is
//! the end of the QNAME, a CNAME's target lies in the answer), pointers are moved. Addresses of the names that they point at,
//! glue, signatures and proofs are added from where the zone has them, so that nothing is there twice and a change of one
//! name is a change of its node alone.

use crate::dns::wire::{Full, HEADER_OCTETS, NAME_BUFFER, Response, Section};
use crate::dns::{Rtype, Ttl};
use crate::zone::Zone;
use crate::zone::compiled::NO_ADDRESSES;
use crate::zone::compiled::node::{Anchor, Node, RECORD_HEAD, Set, Target};

/// The furthest into a message that records with pointers into themselves may be copied.
const PLACE_LIMIT: usize = 0x1f00;
/// The furthest that a pointer leads.
const POINTER_MOST: usize = 0x3fff;

/// Where an owner name stands in a response: as labels, of which the last may be a pointer to the same labels further up.
#[derive(Clone, Copy, Debug)]
pub struct OwnerAt {
    /// Its first octet.
    at: usize,
    /// Its octets, uncompressed.
    octets: usize,
    /// How many of them, at its end, stand elsewhere.
    shared: usize,
    /// Where those end.
    shared_end: usize,
}

impl OwnerAt {
    /// The QNAME of `octets`.
    #[inline]
    pub const fn qname(octets: usize) -> Self {
        Self::whole(HEADER_OCTETS, octets)
    }

    /// A name without a pointer.
    #[inline]
    pub const fn whole(at: usize, octets: usize) -> Self {
        Self { at, octets, shared: 0, shared_end: 0 }
    }

    /// Whether it stands there without a pointer.
    pub const fn is_whole(self) -> bool {
        self.shared == 0
    }

    /// A name of `octets` at `at` whose last octets are those of `end`, which is whole, by a pointer.
    pub const fn ending_with(at: usize, octets: usize, end: Self) -> Self {
        Self { at, octets, shared: end.octets, shared_end: end.at + end.octets }
    }

    /// Its first octet in the message.
    #[inline]
    pub const fn at(self) -> usize {
        self.at
    }

    /// Its octets, uncompressed.
    pub const fn octets(self) -> usize {
        self.octets
    }

    /// The end of this name that has `octets`: one of its ancestors.
    #[inline]
    pub const fn suffix(self, octets: usize) -> Self {
        if octets > self.shared {
            Self { at: self.at + self.octets - octets, octets, ..self }
        } else {
            Self::whole(self.shared_end - octets, octets)
        }
    }
}

/// A prepared answer to be copied.
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'z> {
    zone: &'z Zone,
    node: Node<'z>,
    set: Set<'z>,
    kind: Kind,
    /// Whether signatures come with it.
    signed: bool,
}

/// What a prepared answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An RRset in ANSWER, with addresses that may be left out.
    Positive,
    /// NS in AUTHORITY, DS or the proof that there is none where it is signed, and glue.
    Referral,
    /// The SOA of a negative answer, in AUTHORITY.
    Negative,
    /// A proof in AUTHORITY. It is copied for the apex, with which its owner name ends.
    Proof,
    /// The signatures of the node's first RRset that has some.
    Signatures,
}

impl<'z> Prepared<'z> {
    #[inline]
    pub(in crate::zone) fn positive(zone: &'z Zone, node: Node<'z>, set: Set<'z>) -> Self {
        let kind = if set.rtype() == Rtype::RRSIG { Kind::Signatures } else { Kind::Positive };
        Self { zone, node, set, kind, signed: false }
    }

    pub(in crate::zone) fn referral(zone: &'z Zone, node: Node<'z>, ns: Set<'z>) -> Self {
        Self { zone, node, set: ns, kind: Kind::Referral, signed: false }
    }

    pub(in crate::zone) fn negative(zone: &'z Zone, apex: Node<'z>, soa: Set<'z>) -> Self {
        Self { zone, node: apex, set: soa, kind: Kind::Negative, signed: false }
    }

    pub(in crate::zone) fn proof(zone: &'z Zone, node: Node<'z>, set: Set<'z>) -> Self {
        Self { zone, node, set, kind: Kind::Proof, signed: true }
    }

    /// The same with signatures.
    pub fn with_signatures(self) -> Self {
        Self { signed: true, ..self }
    }

    /// Copies it to the end of `response`, for the owner name that stands at `owner`. Additional data is left out when it
    /// doesn't fit.
    ///
    /// # Errors
    /// [`Full`] when what is required does not fit.
    #[inline]
    pub fn copy(self, response: &mut Response<'_>, owner: OwnerAt) -> Result<(), Full> {
        let start = response.len();
        self.copy_required(response, owner)?;
        self.copy_additional(response, start);
        Ok(())
    }

    /// Adds the additional data of what was copied to `start`; it is left out when it doesn't fit.
    #[inline]
    pub fn copy_additional(self, response: &mut Response<'_>, start: usize) {
        if self.set.has_extras() {
            self.copy_optional(response, start);
        }
    }

    /// TTL of its records, as the zone has it.
    pub fn ttl(self) -> Ttl {
        self.set.ttl()
    }

    /// Copies what is required of it, without additional data.
    ///
    /// # Errors
    /// [`Full`] when it does not fit.
    #[inline]
    pub fn copy_required(self, response: &mut Response<'_>, owner: OwnerAt) -> Result<(), Full> {
        let start = response.len();
        if start > PLACE_LIMIT {
            return Err(Full);
        }
        let section = match self.kind {
            Kind::Positive => Section::Answer,
            Kind::Referral | Kind::Negative => Section::Authority,
            Kind::Signatures => return self.copy_signatures(response, owner),
            Kind::Proof => return self.copy_proof(response, owner),
        };
        let place = response.put(section, self.set.count(), self.set.records())?;
        if owner.at != HEADER_OCTETS {
            point_owners(place, owner.at);
        }
        if self.set.has_extras() {
            self.point_names(place, start, owner);
        }
        if self.signed {
            add_signatures(response, section, self.node, self.set, owner.at)?;
        }
        if self.kind == Kind::Referral { self.complete_referral(response, start, owner) } else { Ok(()) }
    }

    /// Whether `other` is the same prepared answer.
    pub fn is(self, other: Self) -> bool {
        std::ptr::eq(self.set.records(), other.set.records())
    }

    /// Moves the pointers in RDATA that were written for another place.
    fn point_names(self, place: &mut [u8], start: usize, owner: OwnerAt) {
        let prepared_end = HEADER_OCTETS + self.owner_octets();
        let owner_moved = owner.at.wrapping_sub(HEADER_OCTETS);
        let tail_moved = (owner.at + owner.octets).wrapping_sub(prepared_end);
        let own_moved = start.wrapping_sub(prepared_end + 4);
        if (owner_moved | tail_moved | own_moved) == 0 {
            return;
        }
        for fixup in self.set.fixups() {
            let at = fixup.at();
            let pointer = u16::from_be_bytes([place[at], place[at + 1]]);
            let moved = match fixup.anchor() {
                Anchor::Owner => owner_moved,
                // That part of the name stands elsewhere.
                Anchor::Tail if prepared_end - (pointer & 0x3fff) as usize <= owner.shared => {
                    owner.shared_end.wrapping_sub(prepared_end)
                }
                Anchor::Tail => tail_moved,
                Anchor::Own => own_moved,
            };
            place[at..at + 2].copy_from_slice(&pointer.wrapping_add(moved as u16).to_be_bytes());
        }
    }

    /// Octets of the name that it was written for.
    fn owner_octets(self) -> usize {
        self.node.name().len()
    }

    #[cold]
    fn copy_signatures(self, response: &mut Response<'_>, owner: OwnerAt) -> Result<(), Full> {
        let signed = self.node.sets().find(|set| signatures(self.set, set.rtype()).next().is_some());
        if let Some(signed) = signed {
            return add_signatures(response, Section::Answer, self.node, signed, owner.at);
        }
        let place = response.put(Section::Answer, self.set.count(), self.set.records())?;
        point_owners(place, owner.at);
        Ok(())
    }

    #[cold]
    fn copy_proof(self, response: &mut Response<'_>, apex: OwnerAt) -> Result<(), Full> {
        let owner_at = response.len();
        let name = self.node.written();
        let before_apex = name.len() - apex.octets;
        let mut records = self.set.records();
        if before_apex > 0 {
            let (first, rest) = records.split_at(record_octets(records).unwrap_or(0));
            response.put(Section::Authority, 0, &name[..before_apex])?;
            response.put(Section::Authority, 0, &(0xc000 | apex.at as u16).to_be_bytes())?;
            response.put(Section::Authority, 1, &first[2..])?;
            records = rest;
        }
        let owner_at = if before_apex > 0 { owner_at } else { apex.at };
        let place = response.put(Section::Authority, self.set.count() - u16::from(before_apex > 0), records)?;
        point_owners(place, owner_at);
        add_signatures(response, Section::Authority, self.node, self.set, owner_at)
    }

    /// Adds what a referral is no good without: DS, or the proof that there is none, with signatures (RFC 4035, 3.1.4); glue.
    fn complete_referral(self, response: &mut Response<'_>, start: usize, owner: OwnerAt) -> Result<(), Full> {
        if self.signed {
            self.copy_delegation(response, owner)?;
        }
        for target in self.set.targets().filter(|target| target.required) {
            self.add_addresses(response, start, target)?;
        }
        Ok(())
    }

    #[cold]
    fn copy_delegation(self, response: &mut Response<'_>, owner: OwnerAt) -> Result<(), Full> {
        if let Some(set) = [Rtype::DS, Rtype::NSEC].into_iter().find_map(|rtype| self.node.set(rtype)) {
            let place = response.put(Section::Authority, set.count(), set.records())?;
            point_owners(place, owner.at);
            return add_signatures(response, Section::Authority, self.node, set, owner.at);
        }
        let apex = owner.suffix(self.zone.apex().wire().len());
        for proof in self.zone.proofs_of_no_ds(self.node.name()) {
            proof.copy_proof(response, apex)?;
        }
        Ok(())
    }

    /// Adds what may be left out: all of it, or nothing.
    fn copy_optional(self, response: &mut Response<'_>, start: usize) {
        if !matches!(self.kind, Kind::Positive | Kind::Referral) {
            return;
        }
        let before = response.mark();
        for target in self.set.targets() {
            if !(target.required && self.kind == Kind::Referral)
                && let Err(Full) = self.add_addresses(response, start, target)
            {
                return response.take_back_to(before);
            }
        }
    }

    /// Adds the address RRsets of a name that stands among the records, which begin at `start` (RFC 1034, 4.3.2, 6).
    fn add_addresses(self, response: &mut Response<'_>, start: usize, target: Target) -> Result<(), Full> {
        let mut at = start + target.at;
        let host = if self.zone.is_changed() {
            self.zone.host(target.node, response.lower_name(at, &mut [0; NAME_BUFFER]))
        } else {
            self.zone.base_host(target.node)
        };
        // Only what lies over a name knows which of its addresses hold.
        let is_told = |node: &Node<'_>| node.slot().is_none_or(|slot| slot & NO_ADDRESSES != 0);
        let Some(node) = host.filter(is_told) else { return Ok(()) };
        let written = &response.bytes()[at..];
        if written[0] >= 0xc0 {
            at = (written[0] as usize & 0x3f) << 8 | written[1] as usize;
        }
        for set in node.sets().take_while(|set| set.rtype() <= Rtype::AAAA) {
            if !matches!(set.rtype(), Rtype::A | Rtype::AAAA) {
                continue;
            }
            if at > POINTER_MOST {
                return Err(Full);
            }
            let place = response.put(Section::Additional, set.count(), set.records())?;
            point_owners(place, at);
            if self.signed {
                add_signatures(response, Section::Additional, node, set, at)?;
            }
        }
        Ok(())
    }
}

/// Adds the RRSIGs that cover `set`, with its TTL (RFC 4034, 3).
#[cold]
fn add_signatures(
    response: &mut Response<'_>,
    section: Section,
    node: Node<'_>,
    set: Set<'_>,
    owner_at: usize,
) -> Result<(), Full> {
    let Some(all) = node.set(Rtype::RRSIG) else { return Ok(()) };
    for record in signatures(all, set.rtype()) {
        let place = response.put(section, 1, record)?;
        point_owners(place, owner_at);
        set_ttl(place, set.ttl());
    }
    Ok(())
}

/// The records of `all` whose TYPE COVERED is `covered`.
pub(in crate::zone) fn signatures(all: Set<'_>, covered: Rtype) -> impl Iterator<Item = &[u8]> {
    let mut rest = all.records();
    std::iter::from_fn(move || {
        let (record, behind) = rest.split_at_checked(record_octets(rest)?)?;
        rest = behind;
        Some(record)
    })
    .filter(move |record| record[RECORD_HEAD..].starts_with(&covered.0.to_be_bytes()))
}

/// Octets of the record that `records` begins with.
fn record_octets(records: &[u8]) -> Option<usize> {
    let head = records.first_chunk::<RECORD_HEAD>()?;
    Some(RECORD_HEAD + u16::from_be_bytes([head[10], head[11]]) as usize)
}

/// Lets the owner names of `records` point at `at`.
fn point_owners(records: &mut [u8], at: usize) {
    let mut rest = records;
    while let Some(octets) = record_octets(rest) {
        let (record, behind) = rest.split_at_mut(octets);
        record[..2].copy_from_slice(&(0xc000 | at as u16).to_be_bytes());
        rest = behind;
    }
}

fn set_ttl(record: &mut [u8], ttl: Ttl) {
    record[6..10].copy_from_slice(&ttl.secs().to_be_bytes());
}
