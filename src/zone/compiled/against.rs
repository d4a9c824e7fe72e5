//! Records of a file held against the zone that was read from it before: what differs, in little memory.
//!
//! Each record that the zone has is marked, one bit for each; those that it lacks are gathered. Most files come in the order in
//! which the zone lies in memory, so the next owner is looked for behind the last one first, before the table is asked.
//! What this can't tell exactly as a whole reading would, it does not tell: then the file is to be read whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::node::{Node, written_name};
use super::{ALIGN, Zone};
use crate::dns::name::{MAX_NAME_OCTETS, lowered};
use crate::dns::{Name, Rtype, Ttl};
use crate::zone::Rrset;
use crate::zone::drift::{Changed, Drift};
use crate::zone::edit::same;
use crate::zone::gathered::{Added, Gathered, SetRef, Spot};

/// An RRset with more records is not searched.
const MOST_RECORDS: u16 = 100;
/// A file is read whole that has more new names than one in so many of all, and than [`FEW_NEW`].
const MOST_NEW: usize = 32;
const FEW_NEW: usize = 256;

/// A file under way.
pub(in crate::zone) struct Against<'z> {
    zone: &'z Zone,
    drift: &'z Drift,
    /// Nodes that do not say what the file said: those of names that were changed since.
    stale: HashSet<u32>,
    /// The records that came: a node's first has the number of its place, as none takes less than [`ALIGN`] octets.
    seen: Vec<u64>,
    /// The node of the record before, and where the next one begins.
    last: Option<u32>,
    next: u32,
    new: Gathered,
}

impl<'z> Against<'z> {
    /// No records yet. `zone` has `drift`ed from the file as it was. `None`: it can't be told what differs.
    pub(in crate::zone) fn new(zone: &'z Zone, drift: &'z Drift) -> Option<Self> {
        let most = most_new(zone);
        if zone.signature.is_some() || drift.names().count() > most {
            return None; // an RRSIG has the TTL of what it signs, which a node does not keep
        }
        let changed = zone.changed.keys().map(|name| &**name);
        let drifted: Vec<Name> = drift.names().map(Name::to_lowercase).collect();
        let stale =
            changed.chain(drifted.iter().map(Name::wire)).filter_map(|lower| zone.base.place_of(lower)).collect();
        let bits = zone.base.nodes.len() / ALIGN;
        let (seen, new) = (vec![0; bits.div_ceil(64)], Gathered::new(zone.apex.clone()));
        Some(Self { zone, drift, stale, seen, last: None, next: 0, new })
    }

    /// Takes in a record of the file; `owner` is a wire name in any case. `None`: the file is to be read whole.
    pub(in crate::zone) fn take(
        &mut self,
        owner: &[u8],
        rtype: Rtype,
        ttl: Ttl,
        rdata: &[u8],
        spot: Spot,
    ) -> Option<()> {
        if let Some(place) = self.place_of(owner)
            && self.mark(place, rtype, ttl, rdata)?
        {
            return Some(());
        }
        let added = self.new.add(owner, rtype, ttl, rdata, spot);
        (added == Added::Yes && self.new.owners.len() <= most_new(self.zone) && self.new.has_room()).then_some(())
    }

    /// The node of `owner`, where it says what the file said.
    #[inline]
    fn place_of(&mut self, owner: &[u8]) -> Option<u32> {
        let base = &self.zone.base;
        if let Some(last) = self.last.filter(|last| base.node(*last).name().eq_ignore_ascii_case(owner)) {
            return Some(last);
        }
        let is_next = base.node_at(self.next).is_some_and(|node| node.name().eq_ignore_ascii_case(owner));
        let place = if is_next { self.next } else { base.place_of(lowered(owner, &mut [0; MAX_NAME_OCTETS]))? };
        self.next = base.behind(place);
        if !self.stale.is_empty() && self.stale.contains(&place) {
            return None;
        }
        self.last = Some(place);
        Some(place)
    }

    /// Marks the record, if the node has it and it did not come yet; gives whether it has. `None`: there are too many to look.
    fn mark(&mut self, place: u32, rtype: Rtype, ttl: Ttl, rdata: &[u8]) -> Option<bool> {
        let node = self.zone.base.node(place);
        let mut number = place;
        for set in node.sets() {
            if set.rtype() != rtype {
                number += u32::from(set.count());
                continue;
            }
            if set.count() > MOST_RECORDS {
                return None;
            }
            if set.ttl() != ttl {
                return Some(false);
            }
            let (seen, mut found) = (&self.seen, None);
            set.rdatas(node.written(), |known| {
                if found.is_none() && known == rdata && !is_marked(seen, number) {
                    found = Some(number);
                }
                number += 1;
            });
            let Some(found) = found else { return Some(false) };
            self.seen[found as usize / 64] |= 1 << (found % 64);
            return Some(true);
        }
        Some(false)
    }

    /// The RRsets that differ. `None`: the file is to be read whole.
    pub(in crate::zone) fn finish(self) -> Option<Vec<Changed>> {
        let mut changed = Vec::new();
        for (owner, types) in self.touched()? {
            for rtype in types {
                let before = self.drift.in_file(self.zone, &owner, rtype);
                let after = self.after(&owner, rtype).ok()?;
                if !same(before.as_ref(), after.as_ref()) {
                    changed.push(Changed { owner: owner.clone(), rtype, before, after });
                }
            }
        }
        Some(changed)
    }

    /// What may differ: where records are new or did not come, and all names that do not lie in the base as the file had them.
    fn touched(&self) -> Option<BTreeMap<Name, BTreeSet<Rtype>>> {
        let Self { zone, drift, .. } = self;
        let mut touched: BTreeMap<Name, BTreeSet<Rtype>> = BTreeMap::new();
        let mut touch = |owner: Name, rtype: Rtype| _ = touched.entry(owner).or_default().insert(rtype);
        for owner in self.new.owners() {
            let name = Name::from_wire(owner.name()).ok()?;
            owner.sets().for_each(|set| touch(name.clone(), set.rtype()));
        }
        for (owner, rtype, _) in drift.iter() {
            touch(owner.clone(), rtype);
        }
        for node in zone.changed.values().flatten().map(|node| Node::new(node)) {
            node.sets().for_each(|set| touch(written_name(node), set.rtype()));
        }
        let (mut lost, most) = (0, most_new(zone));
        for (place, node) in zone.base.places() {
            let is_stale = self.stale.contains(&place);
            if is_stale && !zone.changed.contains_key(node.name()) {
                node.sets().for_each(|set| touch(written_name(node), set.rtype())); // it drifted beside these
            }
            let mut number = place;
            for set in node.sets().filter(|_| !is_stale) {
                let all = number..number + u32::from(set.count());
                number = all.end;
                if !all.into_iter().all(|number| is_marked(&self.seen, number)) {
                    touch(written_name(node), set.rtype());
                    lost += 1;
                }
            }
            if lost > most {
                return None;
            }
        }
        Some(touched)
    }

    /// An RRset of the file as it is: what came of the one that the zone has, and what is new. Refused where that is not all
    /// there is to say of it.
    fn after(&self, owner: &Name, rtype: Rtype) -> Result<Option<Rrset>, ()> {
        let mut all = Gathered::new(self.zone.apex.clone());
        let mut clean = true;
        let mut put =
            |ttl, rdata: &[u8]| clean &= all.add(owner.wire(), rtype, ttl, rdata, Spot::default()) == Added::Yes;
        let place = self.zone.base.place_of(owner.to_lowercase().wire()).filter(|place| !self.stale.contains(place));
        if let Some(place) = place {
            let node = self.zone.base.node(place);
            let (mut number, mut of_type) = (place, None);
            for set in node.sets() {
                if set.rtype() == rtype {
                    of_type = Some((set, number));
                }
                number += u32::from(set.count());
            }
            if let Some((set, mut number)) = of_type.filter(|(set, _)| set.count() <= MOST_RECORDS) {
                set.rdatas(node.written(), |rdata| {
                    if is_marked(&self.seen, number) {
                        put(set.ttl(), rdata);
                    }
                    number += 1;
                });
            }
        }
        if let Some(set) = self.new.get(owner.wire()).and_then(|owner| owner.set(rtype)) {
            set.rdatas().for_each(|rdata| put(set.ttl(), rdata));
        }
        let set = all.get(owner.wire()).and_then(|owner| owner.set(rtype)).map(SetRef::to_rrset);
        if clean { Ok(set) } else { Err(()) }
    }
}

fn most_new(zone: &Zone) -> usize {
    (zone.base.names / MOST_NEW).max(FEW_NEW)
}

fn is_marked(seen: &[u64], number: u32) -> bool {
    seen[number as usize / 64] >> (number % 64) & 1 == 1
}
