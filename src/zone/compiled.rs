//! The compiled zone: one immutable table of names, with answers prepared, and its look-up (RFC 1034, 4.3.2).
//!
//! Every ancestor of an owner name up to the apex is in the table, so empty non-terminals are found like other names, and
//! the closest encloser (RFC 4592, 3.3.1) by stripping labels. A look-up allocates nothing.

mod signed;

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::dns::wire::Section;
use crate::dns::{Name, Rtype, Ttl, name, rdata};
use crate::zone::contents::{Contents, Rrset};
use crate::zone::diff::{Diff, Mismatch};
use crate::zone::prepared::{Arena, Handle, Prepared};

/// No such node, cut or slot.
const NONE: u32 = u32::MAX;

/// What lies over a zone: for an owner name, the slot number of what answers in place of the zone's own RRsets of some types.
pub type Overlay = std::collections::HashMap<Name, u32, foldhash::quality::RandomState>;

/// A zone as queries read it.
#[derive(Debug)]
pub struct Zone {
    apex: Name,
    /// As loaded.
    contents: Arc<Contents>,
    serial: u32,
    hasher: foldhash::quality::FixedState,
    table: HashTable<u32>,
    names: Vec<u8>,
    nodes: Vec<Node>,
    sets: Vec<Set>,
    /// The CNAMEs by node: what a chain goes on with.
    aliases: Vec<(u32, Alias)>,
    cuts: Vec<Cut>,
    arena: Arena,
    /// The SOA for negative answers, with the TTL of RFC 2308, 3.
    negative: Handle,
    negative_ttl: Ttl,
    /// The SOA's RDATA: for negative answers with another TTL.
    soa: Box<[u8]>,
    /// The same answers with signatures, where the zone brings them.
    signed: Option<Box<signed::Signed>>,
}

#[derive(Debug)]
struct Node {
    name_start: u32,
    name_octets: u8,
    sets_start: u32,
    sets: u16,
    /// The node `*` right below, if there is one.
    wildcard: u32,
    /// What takes this name out of the zone's data: the zone cut at or above it, or the DNAME above it.
    cut: u32,
    /// The same for all names below.
    cut_below: u32,
    /// What lies over this name.
    slot: u32,
}

#[derive(Debug)]
struct Set {
    rtype: Rtype,
    handle: Handle,
}

/// What answers for all names below a node.
#[derive(Debug)]
struct Cut {
    node: u32,
    handle: Handle,
    /// What the DNAME leads to; `None` for a zone cut.
    dname: Option<Alias>,
}

/// Where a CNAME or DNAME leads.
#[derive(Clone, Debug)]
pub struct Alias {
    /// The TTL of the record.
    pub ttl: Ttl,
    /// The target in wire form, case as in the zone.
    pub target: Box<[u8]>,
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
    Dname(Prepared<'z>, usize, &'z Alias),
    /// No such name.
    NxDomain,
}

/// A name that exists in the zone.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'z> {
    zone: &'z Zone,
    index: u32,
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
        self.arena.get(self.negative)
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
        self.contents.rrset(owner, rtype).cloned()
    }

    /// All RRsets at `owner`, as loaded.
    pub fn rrsets_at(&self, owner: &Name) -> Vec<Rrset> {
        self.contents.owners.get(owner).cloned().unwrap_or_default()
    }

    /// All RRsets with their owner names, glue and what is occluded among them, in no order.
    pub fn rrsets(&self) -> impl Iterator<Item = (Name, Rrset)> + '_ {
        self.contents.owners.iter().flat_map(|(owner, sets)| sets.iter().map(|set| (owner.clone(), set.clone())))
    }

    /// The zone that `diff` leads to; this one goes on as it is.
    ///
    /// # Errors
    /// [`Mismatch`] of the first record that does not fit.
    pub fn with(&self, diff: &Diff, overlay: &Overlay) -> Result<Zone, Mismatch> {
        let mut contents = (*self.contents).clone();
        contents.apply(diff)?;
        Ok(compile(Arc::new(contents), overlay))
    }

    /// Names in the table, empty non-terminals and wildcards counted.
    pub fn name_count(&self) -> usize {
        self.nodes.len()
    }

    /// Octets of memory it holds, about.
    pub fn memory_octets(&self) -> usize {
        self.arena.memory_octets()
            + self.names.capacity()
            + self.nodes.capacity() * size_of::<Node>()
            + self.sets.capacity() * size_of::<Set>()
            + self.table.capacity() * (size_of::<u32>() + 1)
    }

    /// Finds `qname`, in lower case, at or below the apex. `at_cut` answers from above the cut: for QTYPE DS (RFC 4035, 3.1.4.1).
    #[inline]
    pub fn find(&self, qname: &[u8], at_cut: bool) -> Place<'_> {
        if let Some(index) = self.node_of(qname) {
            let node = &self.nodes[index as usize];
            if node.cut == NONE || (at_cut && self.cuts[node.cut as usize].node == index) {
                return Place::Node(NodeRef { zone: self, index });
            }
            return self.cut(node.cut);
        }
        let mut rest = qname;
        while let Some(up) = name::parent(rest) {
            rest = up;
            let Some(index) = self.node_of(rest) else { continue };
            let encloser = &self.nodes[index as usize];
            return if encloser.cut_below != NONE {
                self.cut(encloser.cut_below)
            } else if encloser.wildcard != NONE {
                Place::Node(NodeRef { zone: self, index: encloser.wildcard })
            } else {
                Place::NxDomain
            };
        }
        Place::NxDomain // not below the apex: the zone set does not ask for that
    }

    fn cut(&self, cut: u32) -> Place<'_> {
        let cut = &self.cuts[cut as usize];
        let (prepared, octets) = (self.arena.get(cut.handle), self.nodes[cut.node as usize].name_octets as usize);
        match &cut.dname {
            None => Place::Referral(prepared, octets),
            Some(alias) => Place::Dname(prepared, octets, alias),
        }
    }

    #[inline]
    fn node_of(&self, lower: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(lower);
        self.table.find(hash, |&index| self.name_of(index) == lower).copied()
    }

    #[inline]
    fn name_of(&self, index: u32) -> &[u8] {
        let node = &self.nodes[index as usize];
        &self.names[node.name_start as usize..node.name_start as usize + node.name_octets as usize]
    }
}

impl<'z> NodeRef<'z> {
    /// The RRset of `rtype` at this name, to be copied with the QNAME as owner.
    #[inline]
    pub fn rrset(self, rtype: Rtype) -> Option<Prepared<'z>> {
        self.sets().iter().find(|set| set.rtype == rtype).map(|set| self.zone.arena.get(set.handle))
    }

    /// Any one RRset of this name (RFC 8482, 4.1), with its type.
    pub fn any(self) -> Option<(Rtype, Prepared<'z>)> {
        self.sets().first().map(|set| (set.rtype, self.zone.arena.get(set.handle)))
    }

    /// Where the CNAME at this name leads.
    pub fn alias(self) -> Option<&'z Alias> {
        let at = self.zone.aliases.binary_search_by_key(&self.index, |(node, _)| *node).ok()?;
        Some(&self.zone.aliases[at].1)
    }

    /// The slot that lies over this name.
    #[inline]
    pub fn slot(self) -> Option<u32> {
        let slot = self.zone.nodes[self.index as usize].slot;
        (slot != NONE).then_some(slot)
    }

    fn sets(self) -> &'z [Set] {
        let node = &self.zone.nodes[self.index as usize];
        &self.zone.sets[node.sets_start as usize..node.sets_start as usize + node.sets as usize]
    }
}

/// Makes the form that queries read. `contents` has one SOA at its apex, as the master-file reader makes sure of; names of
/// `overlay` outside the zone or below a cut are passed over. Addresses of overlaid names are left out of additional data,
/// since only what lies over them knows which hold.
pub fn compile(contents: Arc<Contents>, overlay: &Overlay) -> Zone {
    let zone = Compiler::new(&contents, overlay).run();
    Zone { contents, ..zone }
}

struct Compiler<'c> {
    contents: &'c Contents,
    overlay: &'c Overlay,
    zone: Zone,
}

impl<'c> Compiler<'c> {
    fn new(contents: &'c Contents, overlay: &'c Overlay) -> Self {
        let mut arena = Arena::default();
        let apex = contents.apex.to_lowercase();
        let soa_set = contents.rrset(&apex, Rtype::SOA);
        let soa = soa_set.and_then(|s| s.rdatas.first().cloned()).unwrap_or_default();
        let minimum = soa.last_chunk().map_or(0, |m: &[u8; 4]| u32::from_be_bytes(*m));
        let negative_ttl = soa_set.map_or(Ttl::ZERO, |s| s.ttl.min(Ttl::from_secs(minimum as u64)));
        let mut preparer = arena.prepare(&apex);
        preparer.rrset(Section::Authority, &apex, Rtype::SOA, negative_ttl, [&soa]);
        let negative = preparer.finish();
        let zone = Zone {
            serial: contents.serial().unwrap_or(0),
            hasher: foldhash::quality::FixedState::with_seed(seed()),
            table: HashTable::new(),
            names: Vec::new(),
            nodes: Vec::new(),
            sets: Vec::new(),
            aliases: Vec::new(),
            cuts: Vec::new(),
            arena,
            negative,
            negative_ttl,
            soa,
            signed: None,
            contents: Arc::new(Contents::new(apex.clone())),
            apex,
        };
        Self { contents, overlay, zone }
    }

    fn run(mut self) -> Zone {
        // Names of few labels first: an ancestor's cut is known before what stands below it.
        let apex = self.zone.apex.clone();
        let mut owners: Vec<(&Name, &[Rrset])> =
            self.contents.owners.iter().map(|(owner, sets)| (owner, sets.as_slice())).collect();
        owners.extend(self.overlay.keys().filter(|n| !self.contents.owners.contains_key(n)).map(|n| (n, &[][..])));
        // Owners of NSEC3 records are no names of the zone (RFC 5155, 7.2.8).
        let is_hash = |sets: &[Rrset]| {
            let of_hash = |set: &Rrset| matches!(set.rtype, Rtype::NSEC3 | Rtype::RRSIG);
            sets.iter().any(|set| set.rtype == Rtype::NSEC3) && sets.iter().all(of_hash)
        };
        owners.retain(|(owner, sets)| owner.is_at_or_below(&apex) && !is_hash(sets));
        owners.sort_by_cached_key(|(owner, _)| owner.label_count());
        self.add_node(&apex);
        for &(owner, _) in &owners {
            self.add_node(&owner.to_lowercase());
        }
        for (owner, sets) in owners {
            self.add_answers(owner, sets);
        }
        let mut zone = self.zone;
        signed::sign(&mut zone, self.contents, self.overlay);
        zone.aliases.sort_unstable_by_key(|(node, _)| *node);
        zone.names.shrink_to_fit();
        zone.nodes.shrink_to_fit();
        zone.sets.shrink_to_fit();
        zone.arena.shrink();
        zone
    }

    /// Gives the node of `lower`; makes it, and its ancestors up to the apex, where they are missing.
    fn add_node(&mut self, lower: &Name) -> u32 {
        if let Some(index) = self.zone.node_of(lower.wire()) {
            return index;
        }
        let parent = if *lower == self.zone.apex { None } else { lower.parent().map(|up| self.add_node(&up)) };
        let zone = &mut self.zone;
        let index = zone.nodes.len() as u32;
        let inherited = parent.map_or(NONE, |p| zone.nodes[p as usize].cut_below);
        let refers = parent.is_some() && self.contents.rrset(lower, Rtype::NS).is_some();
        let dname = self.contents.rrset(lower, Rtype::DNAME).filter(|_| !refers).map(|set| alias(&zone.apex, set));
        let (cut, cut_below) = if inherited == NONE && (refers || dname.is_some()) {
            let handle = zone.negative; // takes its place until its answer is prepared
            zone.cuts.push(Cut { node: index, handle, dname });
            let here = zone.cuts.len() as u32 - 1;
            (if refers { here } else { NONE }, here)
        } else {
            (inherited, inherited)
        };
        let slot = if cut == NONE { self.overlay.get(lower).copied().unwrap_or(NONE) } else { NONE };
        zone.nodes.push(Node {
            name_start: zone.names.len() as u32,
            name_octets: lower.wire().len() as u8,
            sets_start: 0,
            sets: 0,
            wildcard: NONE,
            cut,
            cut_below,
            slot,
        });
        zone.names.extend_from_slice(lower.wire());
        if let Some(parent) = parent.filter(|_| lower.is_wildcard()) {
            zone.nodes[parent as usize].wildcard = index;
        }
        let hash = zone.hasher.hash_one(lower.wire());
        let (nodes, names, hasher) = (&zone.nodes, &zone.names, &zone.hasher);
        zone.table.insert_unique(hash, index, |&other| {
            let node = &nodes[other as usize];
            hasher.hash_one(&names[node.name_start as usize..node.name_start as usize + node.name_octets as usize])
        });
        index
    }

    fn add_answers(&mut self, owner: &Name, sets: &[Rrset]) {
        let index = self.add_node(&owner.to_lowercase());
        let cut = self.zone.nodes[index as usize].cut;
        let is_cut = cut != NONE && self.zone.cuts[cut as usize].node == index;
        if cut != NONE && !is_cut {
            return; // glue, or occluded: it is never an answer
        }
        let start = self.zone.sets.len();
        let mut sets: Vec<&Rrset> = sets.iter().collect();
        sets.sort_unstable_by_key(|set| set.rtype); // addresses first: they are asked for most
        for &set in &sets {
            if is_cut && set.rtype == Rtype::NS {
                self.zone.cuts[cut as usize].handle = self.referral(owner, set);
            }
            if is_cut && set.rtype != Rtype::DS {
                continue;
            }
            let handle = match set.rtype {
                Rtype::RRSIG => self.one_signed(owner, &sets, set),
                _ => self.positive(owner, set),
            };
            self.zone.sets.push(Set { rtype: set.rtype, handle });
            if set.rtype == Rtype::CNAME {
                self.zone.aliases.push((index, alias(&self.zone.apex, set)));
            }
            if set.rtype == Rtype::DNAME {
                let below = self.zone.nodes[index as usize].cut_below;
                self.zone.cuts[below as usize].handle = handle;
            }
        }
        let node = &mut self.zone.nodes[index as usize];
        node.sets_start = start as u32;
        node.sets = (self.zone.sets.len() - start) as u16;
    }

    fn positive(&mut self, owner: &Name, set: &Rrset) -> Handle {
        let extra = additional(self.contents, self.overlay, set);
        let mut p = self.zone.arena.prepare(owner);
        p.rrset(Section::Answer, owner, set.rtype, set.ttl, &set.rdatas);
        p.rest_is_optional();
        for (name, set) in &extra {
            p.rrset(Section::Additional, name, set.rtype, set.ttl, &set.rdatas);
        }
        p.finish()
    }

    /// The signatures of one RRset, with its TTL: what QTYPE RRSIG gets, which is as good as ANY (RFC 8482, 4.1).
    fn one_signed(&mut self, owner: &Name, sets: &[&Rrset], signatures: &Rrset) -> Handle {
        let covers = |rdata: &[u8], set: &Rrset| rdata.starts_with(&set.rtype.0.to_be_bytes());
        let covered = sets.iter().find(|set| signatures.rdatas.iter().any(|rdata| covers(rdata, set)));
        let mut p = self.zone.arena.prepare(owner);
        for rdata in &signatures.rdatas {
            if covered.is_none_or(|set| covers(rdata, set)) {
                let ttl = covered.map_or(signatures.ttl, |set| set.ttl);
                p.rrset(Section::Answer, owner, Rtype::RRSIG, ttl, [rdata]);
            }
        }
        p.finish()
    }

    /// NS in AUTHORITY and glue in ADDITIONAL. Glue at or below the cut is required (RFC 9471, 3); that of names elsewhere in the
    /// zone is optional.
    fn referral(&mut self, owner: &Name, set: &Rrset) -> Handle {
        let extra = additional(self.contents, self.overlay, set);
        let mut p = self.zone.arena.prepare(owner);
        p.rrset(Section::Authority, owner, Rtype::NS, set.ttl, &set.rdatas);
        let (required, optional): (Vec<_>, Vec<_>) = extra.iter().partition(|(name, _)| name.is_at_or_below(owner));
        for (name, set) in &required {
            p.rrset(Section::Additional, name, set.rtype, set.ttl, &set.rdatas);
        }
        if !optional.is_empty() {
            p.rest_is_optional();
        }
        for (name, set) in &optional {
            p.rrset(Section::Additional, name, set.rtype, set.ttl, &set.rdatas);
        }
        p.finish()
    }
}

fn alias(apex: &Name, set: &Rrset) -> Alias {
    let target = set.rdatas[0].clone();
    let before = target.len().checked_sub(apex.wire().len()).filter(|_| name::is_at_or_below(&target, apex.wire()));
    Alias { ttl: set.ttl, before_apex: before.map(|octets| octets as u8), target }
}

/// Address RRsets of the names that the RDATA of `set` points at, from this zone (RFC 1034, 4.3.2, 6), each once.
fn additional<'c>(contents: &'c Contents, overlay: &Overlay, set: &Rrset) -> Vec<(Name, &'c Rrset)> {
    let mut found: Vec<(Name, &Rrset)> = Vec::new();
    for record in &set.rdatas {
        let Some(target) = rdata::target(set.rtype, record).and_then(|wire| Name::from_wire(wire).ok()) else {
            continue;
        };
        if overlay.contains_key(&target) || found.iter().any(|(name, _)| *name == target) {
            continue;
        }
        for rtype in [Rtype::A, Rtype::AAAA] {
            if let Some(addresses) = contents.rrset(&target, rtype) {
                found.push((target.clone(), addresses));
            }
        }
    }
    found
}

/// One seed per process: QNAMEs come from strangers, who must not be able to choose those that collide.
fn seed() -> u64 {
    use std::sync::LazyLock;
    static SEED: LazyLock<u64> =
        LazyLock::new(|| foldhash::quality::RandomState::default().hash_one(std::process::id()));
    *SEED
}
