//! From records to the table: every name finds its parent, learns what lies above it, and is written into one run of memory.

use std::sync::Arc;

use super::hashed::Hashed;
use super::newer::Newer;
use super::node::{CUT, DNAME, HASHED, Marks, Node, OCCLUDED, WILDCARD, Writer};
use super::signed::{canonical_order, has_signatures};
use super::table::NONE;
use super::{ALIGN, Base, Changed, Overlay, Zone, makes_name};
use crate::dns::{Name, Rtype, Ttl, name};
use crate::zone::gathered::{Gathered, SetRef};
use crate::zone::signing::nsec::is_compact;

pub(super) fn build(records: Gathered, overlay: &Overlay) -> Zone {
    let mut builder = Builder::new(records, overlay);
    builder.link_all();
    builder.mark_occluded();
    builder.write()
}

struct Builder<'o> {
    records: Gathered,
    overlay: &'o Overlay,
    /// The place of the apex.
    apex: u32,
    /// By owner: the one right above it, what is known of it, and how many are right below it.
    parents: Vec<u32>,
    flags: Vec<u8>,
    children: Vec<u32>,
}

impl<'o> Builder<'o> {
    fn new(mut records: Gathered, overlay: &'o Overlay) -> Self {
        let apex = records.apex.clone();
        let apex_at = records.owner_of(apex.wire());
        let made = overlay.iter().filter(|(_, slot)| makes_name(**slot)).map(|(name, _)| name);
        for name in made.filter(|name| name.is_at_or_below(&apex)) {
            records.owner_of(name.wire());
        }
        let mut builder =
            Self { records, overlay, apex: apex_at, parents: Vec::new(), flags: Vec::new(), children: Vec::new() };
        builder.learn();
        builder
    }

    /// Takes the owners in that are new.
    fn learn(&mut self) {
        for at in self.flags.len()..self.records.owners.len() {
            let owner = self.records.owner(at as u32);
            self.flags.push(own_flags(owner.sets().map(SetRef::rtype), at as u32 == self.apex));
        }
        self.parents.resize(self.flags.len(), NONE);
        self.children.resize(self.flags.len(), 0);
    }

    /// Gives each name that queries see a parent, up to the apex; names that are missing in between are made.
    fn link_all(&mut self) {
        let mut at = 0;
        while at < self.records.owners.len() as u32 {
            let is_overlaid = || {
                let name = Name::from_wire(self.records.owner(at).name());
                name.is_ok_and(|name| self.overlay.get(&name).copied().is_some_and(makes_name))
            };
            if self.flags[at as usize] & HASHED == 0 || (!self.overlay.is_empty() && is_overlaid()) {
                self.link(at);
            }
            at += 1;
        }
    }

    fn link(&mut self, at: u32) {
        let mut at = at;
        while at != self.apex && self.parents[at as usize] == NONE {
            let parent = self.parent_of(at);
            self.parents[at as usize] = parent;
            self.children[parent as usize] += 1;
            if self.records.owner(at).name().starts_with(b"\x01*") {
                self.flags[parent as usize] |= WILDCARD;
            }
            at = parent;
        }
    }

    fn parent_of(&mut self, at: u32) -> u32 {
        let owner = self.records.owners[at as usize];
        let name = self.records.owner(at).name();
        let Some(above) = name::parent(name) else { return self.apex }; // only the root has none
        let apex = self.records.apex.wire();
        if above.len() <= apex.len() {
            return self.apex;
        }
        let hash = self.records.hash(above);
        if let Some(found) = self.records.table.find(hash, |other| self.records.is_at(other, above)) {
            return found;
        }
        let (skipped, octets) = (name.len() - above.len(), above.len());
        let made = self.records.new_owner(hash, owner.name_start + skipped as u32, octets);
        self.learn();
        made
    }

    fn mark_occluded(&mut self) {
        if self.flags.iter().all(|flags| flags & (CUT | DNAME) == 0) {
            return;
        }
        for at in 0..self.flags.len() {
            let parent = |at: usize| Some(self.parents[at]).filter(|&up| up != NONE);
            let mut above = std::iter::successors(parent(at), |&up| parent(up as usize));
            if above.any(|up| self.flags[up as usize] & (CUT | DNAME) != 0) {
                self.flags[at] |= OCCLUDED;
            }
        }
    }

    fn write(self) -> Zone {
        let Self { mut records, overlay, apex, parents: _, flags, children } = self;
        let mut nodes: Vec<u8> = Vec::with_capacity(records.names.len() + records.owners.len() * 32);
        let mut places = Vec::with_capacity(records.owners.len());
        let mut hosts = Vec::new(); // where a node points at the owner of a name
        let (mut proofs, mut hashes) = (Vec::new(), Vec::new());
        let mut signature = None;
        let mut writer = Writer::default();
        let mut sets = Vec::new();
        let mut names = 0;
        for (at, owner) in records.owners().enumerate() {
            let place = place_for_next(&mut nodes);
            places.push(place);
            sets.clear();
            sets.extend(owner.sets());
            sets.sort_by_key(|set: &SetRef<'_>| set.rtype()); // addresses first: they are asked for most
            let mut marks = Marks { flags: flags[at], children: children[at], slot: None };
            marks.slot = slot_of(owner.name(), marks.flags, overlay);
            Writer::node(&mut nodes, owner.name(), &marks, sets.len());
            for set in &sets {
                let is_cut = marks.flags & CUT != 0 && set.rtype() == Rtype::NS;
                writer.set(&mut nodes, owner.name(), (set.rtype(), set.ttl()), set.rdatas(), is_cut, |name, at| {
                    let hash = records.hash(name);
                    if let Some(host) = records.table.find(hash, |other| records.is_at(other, name)) {
                        hosts.push((at, host));
                    }
                });
                signature = signature.or(Some(set.rtype()).filter(|rtype| is_signature(*rtype)));
            }
            if marks.flags & OCCLUDED == 0 && owner.has(Rtype::NSEC) {
                proofs.push(place);
            }
            let is_hash = owner.name().len() == records.apex.wire().len() + 33 && owner.name()[0] == 32;
            if is_hash && owner.has(Rtype::NSEC3) {
                hashes.push(place);
            }
            let visible = marks.flags & HASHED == 0 || marks.children > 0 || marks.slot.is_some();
            names += usize::from(visible);
        }
        for (at, host) in hosts {
            nodes[at..at + 4].copy_from_slice(&places[host as usize].to_le_bytes());
        }
        let apex_place = places[apex as usize];
        records.table.replace(|at| places[at as usize]);
        records.table.fit();
        nodes.shrink_to_fit();
        let Gathered { hasher, table, apex, .. } = records; // the rest is given back
        let mut base = Base { hasher: hasher.clone(), table, nodes, proofs, hashed: None, names };
        let mut sorted = std::mem::take(&mut base.proofs);
        sorted.sort_unstable_by(|a, b| canonical_order(base.node(*a).name(), base.node(*b).name()));
        base.proofs = sorted;
        base.hashed = Hashed::new(&base, apex_place, hashes);
        let mut zone = Zone {
            apex: apex.to_lowercase(),
            names: base.names,
            base: Arc::new(base),
            changed: Changed::new_with_hasher_and_ptr_kind(hasher),
            newer: Newer::default(),
            cuts_moved: false,
            serial: 0,
            negative: Arc::from([]),
            negative_ttl: Ttl::ZERO,
            soa: Arc::from([]),
            signed: false,
            compact: false,
            signature,
        };
        zone.learn_soa(apex_place);
        zone
    }
}

impl Zone {
    fn learn_soa(&mut self, apex: u32) {
        let base = self.base.clone();
        self.take_apex(base.node(apex));
    }

    /// Takes over what the node of the apex says of the zone as a whole.
    pub(super) fn take_apex(&mut self, apex: Node<'_>) {
        let soa = apex.set(Rtype::SOA).map(|set| apex.rrset(set));
        let rdata = soa.as_ref().and_then(|soa| soa.rdatas.first().cloned()).unwrap_or_default();
        let tail = rdata.last_chunk::<20>(); // SERIAL REFRESH RETRY EXPIRE MINIMUM
        let number = |at: usize| tail.map_or(0, |t| u32::from_be_bytes([t[at], t[at + 1], t[at + 2], t[at + 3]]));
        let minimum = rdata.last_chunk().map_or(0, |minimum| u32::from_be_bytes(*minimum));
        self.serial = number(0);
        self.negative_ttl = soa.map_or(Ttl::ZERO, |soa| soa.ttl.min(Ttl::from_secs(minimum.into())));
        let mut negative = Vec::new();
        let of = (Rtype::SOA, self.negative_ttl);
        Writer::default().set(&mut negative, self.apex.wire(), of, [&*rdata].into_iter(), false, |_, _| ());
        self.negative = negative.into();
        self.soa = rdata.into();
        self.signed = has_signatures(apex, Rtype::SOA);
        let proof = apex.set(Rtype::NSEC).filter(|_| self.signed).map(|set| apex.rrset(set));
        self.compact = proof.is_some_and(|set| set.rdatas.iter().any(|rdata| is_compact(rdata, &self.apex)));
    }
}

/// Where the next node begins, in units of [`ALIGN`].
fn place_for_next(nodes: &mut Vec<u8>) -> u32 {
    nodes.resize(nodes.len().next_multiple_of(ALIGN), 0);
    u32::try_from(nodes.len() / ALIGN).expect("a zone has less than 16 GiB: its files have")
}

/// What the types at a name make of it.
pub(super) fn own_flags(types: impl Iterator<Item = Rtype> + Clone, is_apex: bool) -> u8 {
    let has = |rtype| types.clone().any(|t| t == rtype);
    if !is_apex && has(Rtype::NS) {
        return CUT;
    }
    let mut flags = 0;
    for rtype in types.clone() {
        if rtype == Rtype::DNAME {
            flags |= DNAME;
        }
        if rtype == Rtype::NSEC3 && types.clone().all(|t| matches!(t, Rtype::NSEC3 | Rtype::RRSIG)) {
            flags |= HASHED;
        }
    }
    flags
}

/// What lies over a name; nothing at or below a zone cut.
pub(super) fn slot_of(name: &[u8], flags: u8, overlay: &Overlay) -> Option<u32> {
    if overlay.is_empty() || flags & (CUT | OCCLUDED) != 0 {
        return None;
    }
    let slot = overlay.get(&Name::from_wire(name).ok()?).copied()?;
    Some(slot).filter(|slot| makes_name(*slot) || flags & HASHED == 0)
}

/// Whether RRsets of this type are there only where a zone brings its own signatures.
pub(super) fn is_signature(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3)
}
