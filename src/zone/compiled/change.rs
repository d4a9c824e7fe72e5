//! A change of a zone: new nodes for the names that it touches, beside the table that both versions share.
//!
//! Names above a touched one are touched where a name right below them comes or goes. All else that a change brings about
//! (addresses as additional data, cuts above names) is found when it is asked for. What proves that something is not there is
//! found in the order of the chain, so its new owners are kept in that order, too. Once the new nodes are many, they are
//! compiled into a table of their own.

use std::sync::Arc;

use super::build::{is_signature, own_flags, slot_of};
use super::node::{CUT, DNAME, HASHED, Marks, Node, OCCLUDED, WILDCARD, Writer};
use super::{Overlay, Zone, compile_gathered, makes_name};
use crate::dns::{Name, Rtype, name};
use crate::zone::diff::{Diff, Mismatch};
use crate::zone::gathered::Gathered;
use crate::zone::{Contents, Rrset};

/// The most nodes beside a table, as a share of its names and at least.
const MOST_CHANGED: usize = 16;
const LEAST_CHANGED: usize = 256;

impl Zone {
    /// The zone that `diff` leads to; this one goes on as it is. `overlay` is what the zone was compiled with.
    ///
    /// # Errors
    /// [`Mismatch`] of the first record that does not fit.
    pub fn with(&self, diff: &Diff, overlay: &Overlay) -> Result<Zone, Mismatch> {
        let mut touched = Contents::new(self.apex.clone());
        for record in diff.removed.iter().chain(&diff.added) {
            if !touched.owners.contains_key(&record.owner) {
                let rrsets = self.rrsets_at(&record.owner);
                touched.owners.insert(self.written(&record.owner), rrsets);
            }
        }
        let mut before: Vec<Name> = touched.owners.keys().cloned().collect();
        before.sort_by_key(|name| name.labels().count()); // a cut before what it stands above
        touched.apply(diff)?;

        let mut next = self.clone();
        let (mut is_another_chain, mut moved) = (false, Vec::new());
        for owner in &before {
            let sets = touched.owners.get(owner).map_or(&[][..], Vec::as_slice);
            is_another_chain |= self.is_another_chain(owner, sets);
            if next.put(owner, sets, overlay) {
                moved.push(owner.to_lowercase());
            }
        }
        next.follow_cuts(self, &moved, overlay);
        if let Some(Some(node)) = next.changed.get(self.apex.wire()) {
            let node = node.clone();
            next.take_apex(Node::new(&node));
        }
        let most = (next.base.names / MOST_CHANGED).max(LEAST_CHANGED);
        if next.changed.size() > most || is_another_chain || next.signed != self.signed {
            return Ok(next.merged(overlay));
        }
        Ok(next)
    }

    /// Whether what proves that something is not there is of another kind once `owner` has these RRsets.
    fn is_another_chain(&self, owner: &Name, sets: &[Rrset]) -> bool {
        let has = |rtype| sets.iter().any(|set| set.rtype == rtype);
        let parameters = || {
            let is_so = |set: &&Rrset| set.rtype == Rtype::NSEC3PARAM;
            self.rrset(owner, Rtype::NSEC3PARAM).as_ref() != sets.iter().find(is_so)
        };
        has(Rtype::NSEC) && self.base.proofs.is_empty()
            || has(Rtype::NSEC3) && self.base.hashed.is_none()
            || *owner == self.apex && parameters()
    }

    /// After the zone cuts and DNAMEs at `moved` came or went: what lies over names below them does so no longer, or again.
    /// Names that came or went with them have the right marks: only those that were there `before` and are there yet have not.
    fn follow_cuts(&mut self, before: &Zone, moved: &[Name], overlay: &Overlay) {
        let is_above = |zone: &Zone, name: &Name| zone.any_node(name.wire()).is_some_and(|node| node.children() > 0);
        let has_below = |name: &&Name| is_above(before, name) && is_above(self, name);
        let moved: Vec<&Name> = moved.iter().filter(has_below).collect();
        if moved.is_empty() {
            return;
        }
        self.cuts_moved = true; // what else stands below them has a mark that may not hold any more
        for name in overlay.keys().filter(|name| moved.iter().any(|cut| name.is_at_or_below(cut))) {
            let sets = self.rrsets_at(name);
            self.put(&self.written(name), &sets, overlay);
        }
    }

    /// The same zone with all its names in one table.
    pub fn merged(&self, overlay: &Overlay) -> Zone {
        let mut records = Gathered::new(self.apex.clone());
        for node in self.nodes() {
            for set in node.sets() {
                records.add_rrset(node.written(), &node.rrset(set));
            }
        }
        compile_gathered(records, overlay)
    }

    /// `owner` as the zone writes it.
    fn written(&self, owner: &Name) -> Name {
        let node = self.any_node(owner.to_lowercase().wire()).filter(|node| node.sets().next().is_some());
        node.map_or_else(|| owner.clone(), super::node::written_name)
    }

    /// Gives `owner` these RRsets, in place of those it had; gives whether a zone cut or DNAME came or went by that.
    fn put(&mut self, owner: &Name, sets: &[Rrset], overlay: &Overlay) -> bool {
        let lower = owner.to_lowercase();
        let is_apex = lower == self.apex;
        if !lower.is_at_or_below(&self.apex) {
            return false;
        }
        let (old, was_linked) = match self.any_node(lower.wire()) {
            Some(node) => (marks_of(node), is_apex || node.is_visible()),
            None => (Marks::default(), false),
        };
        let mut flags = old.flags & WILDCARD | own_flags(sets.iter().map(|set| set.rtype), is_apex);
        let moves = (flags ^ old.flags) & (CUT | DNAME) != 0;
        if self.is_occluded(lower.wire()) {
            flags |= OCCLUDED;
        }
        let marks = Marks { flags, children: old.children, slot: slot_of(lower.wire(), flags, overlay) };
        let is_overlaid = overlay.get(&lower).copied().is_some_and(makes_name);
        let has_data = !sets.is_empty() && flags & HASHED == 0;
        let is_linked = is_apex || has_data || marks.children > 0 || is_overlaid;
        let node = (is_linked || !sets.is_empty()).then(|| write_node(owner, marks, sets));
        self.change(&lower, node);
        self.names = self.names + usize::from(is_linked) - usize::from(was_linked);
        if is_linked != was_linked {
            self.link(&lower, is_linked, overlay);
        }
        self.signature = self.signature.or(sets.iter().map(|set| set.rtype).find(|rtype| is_signature(*rtype)));
        moves
    }

    /// Has `lower` stand for `node` from now on, also in the chain of proofs.
    fn change(&mut self, lower: &Name, node: Option<Arc<[u8]>>) {
        let proves = node.as_deref().map(Node::new).is_some_and(|node| match &self.base.hashed {
            Some(hashed) => {
                lower.wire().len() == self.apex.wire().len() + 33
                    && node.set(Rtype::NSEC3).is_some_and(|set| hashed.has(set))
            }
            None => node.flags() & OCCLUDED == 0 && node.set(Rtype::NSEC).is_some(),
        });
        match node.clone().filter(|_| proves) {
            Some(node) => self.newer.put(node),
            None => self.newer.remove(lower.wire()),
        }
        self.changed.insert_mut(lower.wire().into(), node);
    }

    /// Tells the name above that `lower` came or went.
    fn link(&mut self, lower: &Name, came: bool, overlay: &Overlay) {
        let Some(above) = lower.parent() else { return }; // an apex stays
        let (old, sets, written, was_linked) = match self.any_node(above.wire()) {
            Some(node) => {
                let sets: Vec<Rrset> = node.sets().map(|set| node.rrset(set)).collect();
                let linked = above == self.apex || node.is_visible();
                (marks_of(node), sets, super::node::written_name(node), linked)
            }
            None => (Marks::default(), Vec::new(), above.clone(), false),
        };
        let mut marks = old;
        marks.children = if came { old.children + 1 } else { old.children - 1 };
        if lower.is_wildcard() {
            marks.flags = marks.flags & !WILDCARD | if came { WILDCARD } else { 0 };
        }
        if !was_linked && self.is_occluded(above.wire()) {
            marks.flags |= OCCLUDED;
        }
        let has_data = !sets.is_empty() && marks.flags & HASHED == 0;
        let is_overlaid = overlay.get(&above).copied().is_some_and(makes_name);
        let is_linked = above == self.apex || has_data || marks.children > 0 || is_overlaid;
        let node = (is_linked || !sets.is_empty()).then(|| write_node(&written, marks, &sets));
        self.change(&above, node);
        self.names = self.names + usize::from(is_linked) - usize::from(was_linked);
        if is_linked != was_linked {
            self.link(&above, is_linked, overlay);
        }
    }

    /// Whether a zone cut or DNAME stands above a name.
    fn is_occluded(&self, lower: &[u8]) -> bool {
        name::parent(lower)
            .is_some_and(|above| self.topmost(above, |node, _| node.flags() & (CUT | DNAME) != 0).is_some())
    }
}

fn marks_of(node: Node<'_>) -> Marks {
    let flags = node.flags() & (CUT | DNAME | OCCLUDED | WILDCARD | HASHED);
    Marks { flags, children: node.children(), slot: node.slot() }
}

fn write_node(owner: &Name, marks: Marks, sets: &[Rrset]) -> Arc<[u8]> {
    let mut sets: Vec<&Rrset> = sets.iter().filter(|set| !set.rdatas.is_empty()).collect();
    sets.sort_by_key(|set| set.rtype);
    let (mut out, mut writer) = (Vec::new(), Writer::default());
    Writer::node(&mut out, owner.wire(), &marks, sets.len());
    for set in sets {
        let is_cut = marks.flags & CUT != 0 && set.rtype == Rtype::NS;
        let rdatas = set.rdatas.iter().map(|rdata| &**rdata);
        writer.set(&mut out, owner.wire(), (set.rtype, set.ttl), rdatas, is_cut, |_, _| ());
    }
    out.into()
}
