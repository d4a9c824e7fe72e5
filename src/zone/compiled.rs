//! The compiled zone: one immutable table of names, each with its RRsets as answers, and its look-up (RFC 1034, 4.3.2).
//!
//! Every ancestor of an owner name up to the apex is in the table, so empty non-terminals are found like other names, and
//! the closest encloser (RFC 4592, 3.3.1) by stripping labels. A look-up allocates nothing.
//!
//! It holds a zone whole: the RRsets as they were put in are given back from it, also those that are never an answer. A change
//! ([`Zone::with`]) makes new nodes for the names that it touches, beside the table, which both versions share.

pub(in crate::zone) mod against;
mod build;
mod change;
mod hashed;
mod newer;
pub(in crate::zone) mod node;
mod signed;
pub(in crate::zone) mod table;

use std::hash::BuildHasher;
use std::sync::Arc;

use rpds::HashTrieMapSync;

use crate::dns::{Name, Rtype, Ttl, name};
use crate::zone::contents::{Contents, Rrset};
use crate::zone::gathered::Gathered;
use crate::zone::prepared::Prepared;
pub use hashed::MOST_ITERATIONS;
use newer::Newer;
use node::{CUT, DNAME, HASHED, Node, OCCLUDED, Set, WILDCARD};
pub use signed::Proofs;
use table::{NONE, Table};

/// What lies over a zone: for an owner name, the slot number of what has a say in the zone's own RRsets of some types: it
/// answers in their place, or says with which TTL they are answered. The highest bits of a slot are marks for the zone.
pub type Overlay = std::collections::HashMap<Name, u32, foldhash::quality::RandomState>;

/// A mark in a slot: nothing is answered in place of the zone's own RRsets, so a name that the zone lacks is not there.
pub const BESIDE: u32 = 1 << 31;
/// A mark in a slot: it has no say in addresses, which are additional data as those of other names are.
pub const NO_ADDRESSES: u32 = 1 << 30;

/// Whether what lies over a zone makes a name of its own.
fn makes_name(slot: u32) -> bool {
    slot & BESIDE == 0
}

/// A zone as queries read it.
#[derive(Clone, Debug)]
pub struct Zone {
    apex: Name,
    base: Arc<Base>,
    /// What is newer than the base, by name in lower case; `None`: no such name any more.
    changed: Changed,
    /// Of `changed`, what owns a record of the chain that proves what is not there.
    newer: Newer,
    /// Whether zone cuts or DNAMEs came or went above other names, whose mark of it does not count then.
    cuts_moved: bool,
    names: usize,
    serial: u32,
    /// The SOA for negative answers, as a set of the apex, with the TTL of RFC 2308, 3.
    negative: Arc<[u8]>,
    negative_ttl: Ttl,
    /// The SOA's RDATA: for negative answers with another TTL.
    soa: Arc<[u8]>,
    signed: bool,
    /// It is signed, and each NSEC record denies types of its own name alone (RFC 9824).
    compact: bool,
    /// A type by which the zone brings signatures of its own.
    signature: Option<Rtype>,
}

type Changed = HashTrieMapSync<Box<[u8]>, Option<Arc<[u8]>>, foldhash::quality::FixedState>;

/// The large part of a zone, shared by its versions.
#[derive(Debug)]
struct Base {
    hasher: foldhash::quality::FixedState,
    /// Where nodes begin, in units of [`ALIGN`] octets.
    table: Table,
    nodes: Vec<u8>,
    /// The nodes that own NSEC records, in canonical order (RFC 4034, 6.1).
    proofs: Vec<u32>,
    /// The chain by hash; `None` in a zone without NSEC3.
    hashed: Option<hashed::Hashed>,
    /// How many names queries see.
    names: usize,
}

/// Nodes begin at multiples of this.
const ALIGN: usize = 4;

/// Where a CNAME or DNAME leads.
#[derive(Clone, Copy, Debug)]
pub struct Alias<'z> {
    /// The TTL of the record.
    pub ttl: Ttl,
    /// The target in wire form, case as in the zone.
    pub target: &'z [u8],
    /// Octets of the target before the zone's own name, where it ends with that: the rest can be a pointer.
    pub before_apex: Option<u8>,
}

/// Where a QNAME falls in a zone.
#[derive(Clone, Copy, Debug)]
pub enum Place<'z> {
    /// The name exists (maybe as an empty non-terminal), or a wildcard stands for it.
    Node(NodeRef<'z>),
    /// At or below a zone cut: NS and glue, AA clear. The octets are those of the cut's name.
    Referral(Prepared<'z>, usize),
    /// Below a DNAME (RFC 6672): its RRset, the octets of its owner name, and where it leads.
    Dname(Prepared<'z>, usize, Alias<'z>),
    /// No such name.
    NxDomain,
}

/// Where a look-up of a name begins, and what it finds there: for bringing it near ahead of time.
#[derive(Debug)]
pub struct Ahead<'z> {
    base: &'z Base,
    hash: u64,
    node: Option<Node<'z>>,
}

impl<'z> Ahead<'z> {
    /// The place in the table.
    #[inline]
    pub fn place(&self) -> &'z impl Sized {
        self.base.table.place(self.hash)
    }

    /// Reads that place; the octets of the node which is probably the one, and what follows it.
    #[inline]
    pub fn node(&mut self) -> Option<&'z [u8]> {
        let at = self.base.table.find(self.hash, |_| true)?;
        let octets = &self.base.nodes[at as usize * ALIGN..];
        self.node = Some(Node::new(octets));
        Some(&octets[..octets.len().min(NODE_AHEAD)])
    }

    /// Reads the node: the slot that lies over it.
    #[inline]
    pub fn slot(&self) -> Option<u32> {
        self.node.and_then(Node::slot)
    }
}

/// Octets that most nodes have at most.
const NODE_AHEAD: usize = 128;

/// A name that exists in the zone.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'z> {
    zone: &'z Zone,
    node: Node<'z>,
}

impl Zone {
    /// The zone's name.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// SERIAL of its SOA.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The SOA as AUTHORITY of a negative answer; its owner is the apex.
    pub fn negative(&self) -> Prepared<'_> {
        Prepared::negative(self, self.apex_node(), Set::new(&self.negative))
    }

    /// How long a negative answer may be cached: the lesser of the SOA's own TTL and its MINIMUM (RFC 2308, 3).
    pub fn negative_ttl(&self) -> Ttl {
        self.negative_ttl
    }

    /// RDATA of the SOA, uncompressed.
    pub fn soa(&self) -> &[u8] {
        &self.soa
    }

    /// The RRset of `rtype` at `owner`, as loaded: also of what is never an answer, such as glue.
    pub fn rrset(&self, owner: &Name, rtype: Rtype) -> Option<Rrset> {
        let node = self.any_node(owner.to_lowercase().wire())?;
        node.set(rtype).map(|set| node.rrset(set))
    }

    /// All RRsets at `owner`, as loaded.
    pub fn rrsets_at(&self, owner: &Name) -> Vec<Rrset> {
        let node = self.any_node(owner.to_lowercase().wire());
        node.map_or_else(Vec::new, |node| node.sets().map(|set| node.rrset(set)).collect())
    }

    /// All RRsets with their owner names, glue and what is occluded among them, in no order.
    pub fn rrsets(&self) -> impl Iterator<Item = (Name, Rrset)> + '_ {
        self.nodes().flat_map(|node| {
            let owner = node::written_name(node);
            node.sets().map(move |set| (owner.clone(), node.rrset(set)))
        })
    }

    /// The RRsets of `rtype` with their owner names, in no order.
    pub fn rrsets_of(&self, rtype: Rtype) -> impl Iterator<Item = (Name, Rrset)> + '_ {
        let of = move |node: Node<'_>| Some((node::written_name(node), node.rrset(node.set(rtype)?)));
        self.nodes().filter_map(of)
    }

    /// Whether it has an RRset of `rtype` at `owner`.
    pub fn has(&self, owner: &Name, rtype: Rtype) -> bool {
        self.any_node(owner.to_lowercase().wire()).is_some_and(|node| node.set(rtype).is_some())
    }

    /// The types at `owner`.
    pub fn types_at(&self, owner: &Name) -> Vec<Rtype> {
        let node = self.any_node(owner.to_lowercase().wire());
        node.map_or_else(Vec::new, |node| node.sets().map(Set::rtype).collect())
    }

    /// The zone cut at or above `name` (below the apex), if there is one: an owner of NS that is not the apex.
    pub fn cut_above(&self, name: &Name) -> Option<Name> {
        let lower = name.to_lowercase();
        let cut = self.topmost(lower.wire(), |node, _| node.flags() & CUT != 0)?;
        Some(node::written_name(cut))
    }

    /// A type by which the zone brings signatures of its own: RRSIG, NSEC or NSEC3.
    pub fn signature(&self) -> Option<Rtype> {
        self.signature
    }

    /// Names in the table, empty non-terminals and wildcards counted.
    pub fn name_count(&self) -> usize {
        self.names
    }

    /// Octets of memory it holds, about.
    pub fn memory_octets(&self) -> usize {
        let changed: usize = self.changed.values().flatten().map(|node| 2 * node.len() + 64).sum();
        self.base.nodes.capacity() + self.base.table.memory_octets() + self.base.proofs_octets() + changed
    }

    /// The addresses of its large parts: of the table, and of what it leads to.
    pub fn addresses(&self) -> [std::ops::Range<usize>; 2] {
        let nodes = self.base.nodes.as_ptr_range();
        [self.base.table.addresses(), nodes.start.addr()..nodes.end.addr()]
    }

    /// Where the look-up of `lower` will begin.
    #[inline]
    pub fn ahead(&self, lower: &[u8]) -> Ahead<'_> {
        Ahead { base: &self.base, hash: self.base.hasher.hash_one(lower), node: None }
    }

    /// Finds `qname`, in lower case, at or below the apex. `at_cut` answers from above the cut: for QTYPE DS (RFC 4035, 3.1.4.1).
    #[inline]
    pub fn find(&self, qname: &[u8], at_cut: bool) -> Place<'_> {
        if let Some(node) = self.node(qname) {
            let flags = node.flags();
            if flags & (CUT | OCCLUDED) == 0 && !self.cuts_moved {
                return Place::Node(NodeRef { zone: self, node });
            }
            // At the name itself a DNAME is data; below it there are no names that answer.
            return match self
                .topmost(qname, |node, depth| node.flags() & if depth == 0 { CUT } else { CUT | DNAME } != 0)
            {
                Some(cut) if !(at_cut && cut.is_named(qname)) => self.cut(cut),
                _ => Place::Node(NodeRef { zone: self, node }),
            };
        }
        let mut rest = qname;
        while let Some(up) = name::parent(rest) {
            rest = up;
            let Some(encloser) = self.node(rest) else { continue };
            if encloser.flags() & (CUT | DNAME | OCCLUDED) != 0 || self.cuts_moved {
                let cut = self.topmost(rest, |node, _| node.flags() & (CUT | DNAME) != 0);
                if let Some(cut) = cut {
                    return self.cut(cut);
                }
            }
            return match self.wildcard_below(encloser) {
                Some(node) => Place::Node(NodeRef { zone: self, node }),
                None => Place::NxDomain,
            };
        }
        Place::NxDomain // not below the apex: the zone set does not ask for that
    }

    /// Of `lower` and the names above it, up to the apex, the topmost node that is one; it is asked with the labels below it.
    #[cold]
    fn topmost(&self, lower: &[u8], is_one: impl Fn(Node<'_>, usize) -> bool) -> Option<Node<'_>> {
        let apex = self.apex.wire().len();
        let upwards = std::iter::successors(Some(lower), |name| name::parent(name)).enumerate();
        let inside = upwards.take_while(|(_, name)| name.len() >= apex);
        inside.filter_map(|(depth, name)| self.any_node(name).filter(|node| is_one(*node, depth))).last()
    }

    fn cut<'z>(&'z self, cut: Node<'z>) -> Place<'z> {
        let octets = cut.name().len();
        if let Some(ns) = cut.set(Rtype::NS).filter(|_| cut.flags() & CUT != 0) {
            return Place::Referral(Prepared::referral(self, cut, ns), octets);
        }
        match cut.set(Rtype::DNAME) {
            Some(set) => Place::Dname(Prepared::positive(self, cut, set), octets, self.alias(set)),
            None => Place::NxDomain, // it has that mark only with a DNAME
        }
    }

    #[inline]
    fn wildcard_below<'z>(&'z self, encloser: Node<'z>) -> Option<Node<'z>> {
        if encloser.flags() & WILDCARD == 0 {
            return None;
        }
        let mut wildcard = [0; name::MAX_NAME_OCTETS + 2];
        let above = encloser.name();
        wildcard[..2].copy_from_slice(b"\x01*");
        wildcard[2..2 + above.len()].copy_from_slice(above);
        self.node(&wildcard[..2 + above.len()])
    }

    fn alias<'z>(&self, set: Set<'z>) -> Alias<'z> {
        let target = &set.records()[node::RECORD_HEAD..]; // the only record: its RDATA is a name
        let apex = self.apex.wire();
        let before = target.len().checked_sub(apex.len()).filter(|_| name::is_at_or_below(target, apex));
        Alias { ttl: set.ttl(), target, before_apex: before.map(|octets| octets as u8) }
    }

    /// The node of a name that queries see.
    #[inline]
    fn node(&self, lower: &[u8]) -> Option<Node<'_>> {
        self.any_node(lower).filter(|node| node.is_visible())
    }

    /// The node of a name, also of one that holds nothing but hashes.
    #[inline]
    pub(in crate::zone) fn any_node(&self, lower: &[u8]) -> Option<Node<'_>> {
        if self.is_changed()
            && let Some(found) = self.changed.get(lower)
        {
            return found.as_deref().map(Node::new);
        }
        self.base.node_of(lower)
    }

    fn apex_node(&self) -> Node<'_> {
        let mut lower = [0; name::MAX_NAME_OCTETS];
        self.any_node(name::lowered(self.apex.wire(), &mut lower)).expect("each zone has a node for its apex")
    }

    /// Whether it has names that are newer than its base.
    #[inline]
    pub(in crate::zone) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// A node that another one of the base points at.
    #[inline]
    pub(in crate::zone) fn base_host(&self, at: u32) -> Option<Node<'_>> {
        (at != NONE).then(|| self.base.node(at))
    }

    /// The same as it is now, by what the base says and by its name.
    #[cold]
    pub(in crate::zone) fn host(&self, at: u32, lower: &[u8]) -> Option<Node<'_>> {
        match self.changed.get(lower) {
            Some(found) => found.as_deref().map(Node::new),
            None if at != NONE => Some(self.base.node(at)),
            None => self.base.node_of(lower),
        }
    }

    /// All nodes as they are now.
    pub(in crate::zone) fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        let of_base = self.base.all().filter(|node| !self.is_changed() || !self.changed.contains_key(node.name()));
        of_base.chain(self.changed.values().flatten().map(|node| Node::new(node)))
    }
}

impl Base {
    fn proofs_octets(&self) -> usize {
        4 * self.proofs.capacity() + self.hashed.as_ref().map_or(0, hashed::Hashed::memory_octets)
    }

    #[inline]
    fn node(&self, at: u32) -> Node<'_> {
        Node::new(&self.nodes[at as usize * ALIGN..])
    }

    #[inline]
    fn node_of(&self, lower: &[u8]) -> Option<Node<'_>> {
        Some(self.node(self.place_of(lower)?))
    }

    #[inline]
    fn place_of(&self, lower: &[u8]) -> Option<u32> {
        self.table.find(self.hasher.hash_one(lower), |at| self.node(at).is_named(lower))
    }

    /// The node that begins at `place`, where there is one.
    #[inline]
    fn node_at(&self, place: u32) -> Option<Node<'_>> {
        self.nodes.get(place as usize * ALIGN..).filter(|rest| !rest.is_empty()).map(Node::new)
    }

    /// Where the next node begins behind the one at `place`, if there is one.
    fn behind(&self, place: u32) -> u32 {
        let end = place as usize * ALIGN + self.node(place).octets();
        end.div_ceil(ALIGN) as u32
    }

    /// All nodes, each with its place, in the order of those.
    fn places(&self) -> impl Iterator<Item = (u32, Node<'_>)> {
        let mut place = 0;
        std::iter::from_fn(move || {
            let here = (place, self.node_at(place)?);
            place = self.behind(place);
            Some(here)
        })
    }

    fn all(&self) -> impl Iterator<Item = Node<'_>> {
        self.places().map(|(_, node)| node)
    }
}

impl<'z> NodeRef<'z> {
    /// The RRset of `rtype` at this name, to be copied with the QNAME as owner.
    #[inline]
    pub fn rrset(self, rtype: Rtype) -> Option<Prepared<'z>> {
        let set = self.node.set(rtype).filter(|set| self.is_answer(*set))?;
        Some(Prepared::positive(self.zone, self.node, set))
    }

    /// Any one RRset of this name (RFC 8482, 4.1), with its type.
    pub fn any(self) -> Option<(Rtype, Prepared<'z>)> {
        let set = self.node.sets().find(|set| self.is_answer(*set))?;
        Some((set.rtype(), Prepared::positive(self.zone, self.node, set)))
    }

    /// Where the CNAME at this name leads.
    pub fn alias(self) -> Option<Alias<'z>> {
        let set = self.node.set(Rtype::CNAME).filter(|set| self.is_answer(*set))?;
        Some(self.zone.alias(set))
    }

    /// The slot that lies over this name.
    #[inline]
    pub fn slot(self) -> Option<u32> {
        self.node.slot()
    }

    /// At a zone cut, only DS is ours to answer (RFC 4035, 3.1.4.1).
    #[inline]
    fn is_answer(self, set: Set<'_>) -> bool {
        self.node.flags() & (CUT | HASHED) == 0 || self.node.flags() & HASHED == 0 && set.rtype() == Rtype::DS
    }
}

/// Makes the form that queries read. `contents` has one SOA at its apex, as the master-file reader makes sure of; names of
/// `overlay` outside the zone or below a cut are passed over. Addresses of overlaid names are left out of additional data,
/// since only what lies over them knows which hold, and for how long.
pub fn compile(contents: Arc<Contents>, overlay: &Overlay) -> Zone {
    compile_gathered(Gathered::of_contents(&contents), overlay)
}

/// The same for records just read.
pub fn compile_gathered(records: Gathered, overlay: &Overlay) -> Zone {
    build::build(records, overlay)
}

/// One seed per process: QNAMEs come from strangers, who must not be able to choose those that collide.
pub(in crate::zone) fn seed() -> u64 {
    use std::sync::LazyLock;
    static SEED: LazyLock<u64> =
        LazyLock::new(|| foldhash::quality::RandomState::default().hash_one(std::process::id()));
    *SEED
}

#[cfg(test)]
mod tests;
