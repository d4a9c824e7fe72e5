//! How a node lies in memory: one run of octets with its name, and its RRsets as answers ready to be copied.
//!
//! | octets | what |
//! |---|---|
//! | 1 | flags |
//! | 1 | octets of the name |
//! | 2 | RRsets |
//! | n | the name in lower case, wire form |
//! | n | the name as written, where that is not the same ([`WRITTEN`]) |
//! | 4 | names right below it ([`PARENT`]) |
//! | 4 | the slot that lies over it ([`SLOT`]) |
//! | | the RRsets, by type |
//!
//! An RRset: type, number of records (2 octets each), octets of its records with [`EXTRAS`] and [`RAW`] (4), the records.
//! These are written as if their owner name were the QNAME at octet 12 and they stood right behind the question; each begins
//! with a pointer to there, names in RDATA are compressed where RFC 3597, 4 allows. Then with [`EXTRAS`] the number of fixups
//! and of targets (2 each), where pointers stand in RDATA (4 each), and where names stand whose addresses are additional data,
//! with their nodes (4 and 4 each). With [`RAW`] at last octets and RDATA as it was, which the records do not give back to the
//! letter. Numbers are little-endian, but for those of the records.

use crate::dns::wire::{CLASS_IN, HEADER_OCTETS};
use crate::dns::{Name, Rtype, Ttl, name, rdata};
use crate::zone::Rrset;
use crate::zone::compiled::table::NONE;

/// A zone cut: it has NS and is not the apex.
pub(in crate::zone) const CUT: u8 = 1;
/// It has a DNAME, and is no zone cut.
pub(in crate::zone) const DNAME: u8 = 2;
/// It stands below a zone cut or a DNAME.
pub(in crate::zone) const OCCLUDED: u8 = 4;
/// The name `*` stands right below it.
pub(in crate::zone) const WILDCARD: u8 = 8;
/// Names stand right below it; how many is told.
pub(in crate::zone) const PARENT: u8 = 16;
/// A slot lies over it.
pub(in crate::zone) const SLOT: u8 = 32;
/// Its name was not written in lower case.
pub(in crate::zone) const WRITTEN: u8 = 64;
/// It owns nothing but NSEC3 records and their signatures: these are no answers (RFC 5155, 7.2.8).
pub(in crate::zone) const HASHED: u8 = 128;

const EXTRAS: u32 = 1 << 31;
const RAW: u32 = 1 << 30;
const LENGTH: u32 = RAW - 1;

/// Octets before a node's name, and before an RRset's records.
const NODE_HEAD: usize = 4;
const SET_HEAD: usize = 8;
/// Pointers into the records themselves stop here, so that they stay below 2^14 wherever the records are copied.
const POINTER_LIMIT: usize = 0x2000;
/// Octets of a record before its RDATA, its owner name a pointer.
pub(in crate::zone) const RECORD_HEAD: usize = 12;

/// A node; what follows it in memory may follow here too.
#[derive(Clone, Copy, Debug)]
pub(in crate::zone) struct Node<'z>(&'z [u8]);

/// An RRset of a node; what follows it may follow here too.
#[derive(Clone, Copy, Debug)]
pub(in crate::zone) struct Set<'z>(&'z [u8]);

impl<'z> Node<'z> {
    #[inline]
    pub(in crate::zone) fn new(octets: &'z [u8]) -> Self {
        Self(octets)
    }

    #[inline]
    pub(in crate::zone) fn flags(self) -> u8 {
        self.0[0]
    }

    /// In lower case.
    #[inline]
    pub(in crate::zone) fn name(self) -> &'z [u8] {
        &self.0[NODE_HEAD..NODE_HEAD + self.0[1] as usize]
    }

    /// Whether its name is `lower`.
    #[inline]
    pub(in crate::zone) fn is_named(self, lower: &[u8]) -> bool {
        self.0[1] as usize == lower.len() && self.name() == lower
    }

    /// As it was written.
    pub(in crate::zone) fn written(self) -> &'z [u8] {
        let octets = self.0[1] as usize;
        let start = if self.flags() & WRITTEN == 0 { NODE_HEAD } else { NODE_HEAD + octets };
        &self.0[start..start + octets]
    }

    /// How many names stand right below it.
    pub(in crate::zone) fn children(self) -> u32 {
        if self.flags() & PARENT == 0 { 0 } else { u32_at(self.0, self.names_end()) }
    }

    #[inline]
    pub(in crate::zone) fn slot(self) -> Option<u32> {
        let parent = if self.flags() & PARENT == 0 { 0 } else { 4 };
        (self.flags() & SLOT != 0).then(|| u32_at(self.0, self.names_end() + parent))
    }

    /// Whether queries see the name: one that only holds hashes they do not.
    #[inline]
    pub(in crate::zone) fn is_visible(self) -> bool {
        self.flags() & HASHED == 0 || self.flags() & (PARENT | SLOT) != 0
    }

    #[inline]
    fn names_end(self) -> usize {
        NODE_HEAD + self.0[1] as usize * (1 + usize::from(self.flags() & WRITTEN != 0))
    }

    /// All its RRsets, by type.
    #[inline]
    pub(in crate::zone) fn sets(self) -> Sets<'z> {
        let flags = self.flags();
        let fields = usize::from(flags & PARENT != 0) + usize::from(flags & SLOT != 0);
        let left = u16::from_le_bytes([self.0[2], self.0[3]]);
        Sets { rest: &self.0[self.names_end() + 4 * fields..], left }
    }

    #[inline]
    pub(in crate::zone) fn set(self, rtype: Rtype) -> Option<Set<'z>> {
        self.sets().find(|set| set.rtype() == rtype)
    }

    /// Its octets, where what follows it follows in memory.
    pub(in crate::zone) fn octets(self) -> usize {
        let mut sets = self.sets();
        sets.by_ref().for_each(drop);
        self.0.len() - sets.rest.len()
    }

    /// An RRset as it was put in.
    pub(in crate::zone) fn rrset(self, set: Set<'z>) -> Rrset {
        let mut rdatas = Vec::new();
        set.rdatas(self.written(), |rdata| rdatas.push(rdata.into()));
        Rrset { rtype: set.rtype(), ttl: set.ttl(), rdatas }
    }
}

/// The RRsets of a node.
#[derive(Clone)]
pub(in crate::zone) struct Sets<'z> {
    rest: &'z [u8],
    left: u16,
}

impl<'z> Iterator for Sets<'z> {
    type Item = Set<'z>;

    #[inline]
    fn next(&mut self) -> Option<Set<'z>> {
        self.left = self.left.checked_sub(1)?;
        let set = Set(self.rest);
        self.rest = &self.rest[set.octets()..];
        Some(set)
    }
}

impl<'z> Set<'z> {
    /// An RRset that stands alone.
    pub(in crate::zone) fn new(octets: &'z [u8]) -> Self {
        Self(octets)
    }

    #[inline]
    pub(in crate::zone) fn rtype(self) -> Rtype {
        Rtype(u16::from_le_bytes([self.0[0], self.0[1]]))
    }

    /// How many records it has; no message holds as many as this can't tell.
    #[inline]
    pub(in crate::zone) fn count(self) -> u16 {
        u16::from_le_bytes([self.0[2], self.0[3]])
    }

    /// Its records, compressed.
    #[inline]
    pub(in crate::zone) fn records(self) -> &'z [u8] {
        &self.0[SET_HEAD..SET_HEAD + (u32_at(self.0, 4) & LENGTH) as usize]
    }

    /// TTL of its records.
    pub(in crate::zone) fn ttl(self) -> Ttl {
        let records = self.records();
        Ttl::from_secs(u32::from_be_bytes([records[6], records[7], records[8], records[9]]).into())
    }

    /// Whether names in its RDATA are compressed, or have additional data.
    #[inline]
    pub(in crate::zone) fn has_extras(self) -> bool {
        u32_at(self.0, 4) & EXTRAS != 0
    }

    /// Pointers in its RDATA.
    pub(in crate::zone) fn fixups(self) -> impl Iterator<Item = Fixup> + 'z {
        self.extras().0.as_chunks().0.iter().map(|octets| Fixup(u32::from_le_bytes(*octets)))
    }

    /// Names in its RDATA whose addresses are additional data.
    pub(in crate::zone) fn targets(self) -> impl Iterator<Item = Target> + 'z {
        self.extras().1.as_chunks::<8>().0.iter().map(|octets| Target {
            at: (u32_at(octets, 0) & LENGTH) as usize,
            required: u32_at(octets, 0) & EXTRAS != 0,
            node: u32_at(octets, 4),
        })
    }

    fn extras(self) -> (&'z [u8], &'z [u8]) {
        if !self.has_extras() {
            return (&[], &[]);
        }
        let (head, rest) = self.0[SET_HEAD + self.records().len()..].split_at(4);
        let [fixups, targets] = [0, 2].map(|at| u16::from_le_bytes([head[at], head[at + 1]]) as usize);
        let (fixups, rest) = rest.split_at(4 * fixups);
        (fixups, &rest[..8 * targets])
    }

    fn raw(self) -> Option<&'z [u8]> {
        let flags = u32_at(self.0, 4);
        if flags & RAW == 0 {
            return None;
        }
        let (fixups, targets) = self.extras();
        let extras = if flags & EXTRAS == 0 { 0 } else { 4 + fixups.len() + targets.len() };
        let rest = &self.0[SET_HEAD + self.records().len() + extras..];
        Some(&rest[4..4 + u32_at(rest, 0) as usize])
    }

    #[inline]
    fn octets(self) -> usize {
        let flags = u32_at(self.0, 4);
        let plain = SET_HEAD + (flags & LENGTH) as usize;
        if flags & (EXTRAS | RAW) == 0 { plain } else { self.octets_with_extras(plain) }
    }

    #[cold]
    fn octets_with_extras(self, plain: usize) -> usize {
        let (fixups, targets) = self.extras();
        let extras = if self.has_extras() { 4 + fixups.len() + targets.len() } else { 0 };
        plain + extras + self.raw().map_or(0, |raw| 4 + raw.len())
    }

    /// Gives the RDATA of each record as it was put in; `owner` is the node's name as written.
    pub(in crate::zone) fn rdatas(self, owner: &[u8], mut give: impl FnMut(&[u8])) {
        if let Some(mut raw) = self.raw() {
            while let [low, high, rest @ ..] = raw {
                let (rdata, rest) = rest.split_at(u16::from_le_bytes([*low, *high]) as usize);
                give(rdata);
                raw = rest;
            }
            return;
        }
        let all = self.records();
        let mut fixups = self.fixups().map(Fixup::at).peekable();
        let mut at = 0;
        let mut whole = Vec::new();
        while at < all.len() {
            let start = at + RECORD_HEAD;
            let end = start + u16::from_be_bytes([all[start - 2], all[start - 1]]) as usize;
            at = end;
            if fixups.peek().is_none_or(|&pointer| pointer >= end) {
                give(&all[start..end]);
                continue;
            }
            whole.clear();
            let mut copied = start;
            while let Some(pointer) = fixups.next_if(|&pointer| pointer < end) {
                whole.extend_from_slice(&all[copied..pointer]);
                expand(all, owner, pointer, &mut whole);
                copied = pointer + 2;
            }
            whole.extend_from_slice(&all[copied..end]);
            give(&whole);
        }
    }
}

/// Appends the name that the pointer at `at` of the records leads to.
fn expand(records: &[u8], owner: &[u8], at: usize, out: &mut Vec<u8>) {
    let question_end = HEADER_OCTETS + owner.len() + 4;
    let mut at = at;
    loop {
        match records[at] {
            high @ 0xc0.. => {
                let to = (high as usize & 0x3f) << 8 | records[at + 1] as usize;
                if to < question_end {
                    return out.extend_from_slice(&owner[to - HEADER_OCTETS..]);
                }
                at = to - question_end; // further up: there is an end
            }
            0 => return out.push(0),
            label => {
                out.extend_from_slice(&records[at..=at + label as usize]);
                at += 1 + label as usize;
            }
        }
    }
}

/// A compression pointer in RDATA: where it stands among the records, and what it moves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::zone) struct Fixup(u32);

/// What a pointer points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::zone) enum Anchor {
    /// The owner name as a whole.
    Owner = 0,
    /// An end of the owner name: moves with where it ends.
    Tail = 1,
    /// The records themselves.
    Own = 2,
}

impl Fixup {
    fn new(at: usize, anchor: Anchor) -> Self {
        Self((anchor as u32) << 30 | at as u32)
    }

    pub(in crate::zone) const fn at(self) -> usize {
        (self.0 & 0x3fff_ffff) as usize
    }

    pub(in crate::zone) const fn anchor(self) -> Anchor {
        match self.0 >> 30 {
            0 => Anchor::Owner,
            1 => Anchor::Tail,
            _ => Anchor::Own,
        }
    }
}

/// A name in RDATA whose addresses are additional data.
#[derive(Clone, Copy, Debug)]
pub(in crate::zone) struct Target {
    /// Where it stands among the records.
    pub(in crate::zone) at: usize,
    /// Whether a referral is no good without (RFC 9471, 3): it stands at or below the zone cut.
    pub(in crate::zone) required: bool,
    /// Its node in the same table; [`NONE`] where it has none there.
    pub(in crate::zone) node: u32,
}

/// What a node is, beside its RRsets.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::zone) struct Marks {
    /// [`CUT`], [`DNAME`], [`OCCLUDED`], [`WILDCARD`] and [`HASHED`].
    pub(in crate::zone) flags: u8,
    pub(in crate::zone) children: u32,
    pub(in crate::zone) slot: Option<u32>,
}

/// Writes nodes. One is used again and again.
#[derive(Default)]
pub(in crate::zone) struct Writer {
    fixups: Vec<Fixup>,
    /// Names written among the records: where they stand, and where in `names`.
    seen: Vec<(usize, std::ops::Range<usize>)>,
    names: Vec<u8>,
    /// Names with additional data: where they stand among the records, and where in `names`.
    targets: Vec<(usize, std::ops::Range<usize>)>,
    raw: Vec<u8>,
}

impl Writer {
    /// Writes what stands before the RRsets.
    pub(in crate::zone) fn node(out: &mut Vec<u8>, owner: &[u8], marks: &Marks, sets: usize) {
        let mut flags = marks.flags;
        for (flag, is_set) in [(PARENT, marks.children > 0), (SLOT, marks.slot.is_some())] {
            flags |= if is_set { flag } else { 0 };
        }
        let [low, high] = (sets as u16).to_le_bytes();
        let start = out.len();
        out.extend_from_slice(&[flags, owner.len() as u8, low, high]);
        out.extend_from_slice(owner);
        out[start + NODE_HEAD..].make_ascii_lowercase();
        if out[start + NODE_HEAD..] != *owner {
            out[start] |= WRITTEN;
            out.extend_from_slice(owner);
        }
        if marks.children > 0 {
            out.extend(marks.children.to_le_bytes());
        }
        if let Some(slot) = marks.slot {
            out.extend(slot.to_le_bytes());
        }
    }

    /// Writes an RRset of the node `owner`, its name as written. `found` is told of each name with additional data, and where
    /// in `out` its node is to be written; `is_cut` where the NS RRset is that of a zone cut.
    pub(in crate::zone) fn set<'r>(
        &mut self,
        out: &mut Vec<u8>,
        owner: &[u8],
        (rtype, ttl): (Rtype, Ttl),
        rdatas: impl Iterator<Item = &'r [u8]> + Clone,
        is_cut: bool,
        mut found: impl FnMut(&[u8], usize),
    ) {
        let head = out.len();
        out.extend(rtype.0.to_le_bytes());
        out.extend([0; SET_HEAD - 2]);
        let start = out.len();
        self.fixups.clear();
        self.seen.clear();
        self.names.clear();
        self.targets.clear();
        let mut count = 0u16;
        for rdata in rdatas.clone() {
            self.record(out, start, owner, rtype, ttl, rdata);
            count = count.saturating_add(1);
        }
        let octets = (out.len() - start) as u32;
        let extras = !self.fixups.is_empty() || !self.targets.is_empty();
        if extras {
            out.extend((self.fixups.len() as u16).to_le_bytes());
            out.extend((self.targets.len() as u16).to_le_bytes());
            for fixup in &self.fixups {
                out.extend(fixup.0.to_le_bytes());
            }
            for (at, name) in &self.targets {
                let name = &self.names[name.clone()];
                let required = if is_cut && name::is_at_or_below(name, owner) { EXTRAS } else { 0 };
                out.extend((*at as u32 | required).to_le_bytes());
                found(name, out.len());
                out.extend(NONE.to_le_bytes());
            }
        }
        let flags = octets | if extras { EXTRAS } else { 0 };
        out[head + 2..head + 4].copy_from_slice(&count.to_le_bytes());
        out[head + 4..head + 8].copy_from_slice(&flags.to_le_bytes());
        if !self.fixups.is_empty() && !is_exact(Set(&out[head..]), owner, rdatas.clone()) {
            self.raw.clear();
            for rdata in rdatas {
                self.raw.extend((rdata.len() as u16).to_le_bytes());
                self.raw.extend_from_slice(rdata);
            }
            out.extend((self.raw.len() as u32).to_le_bytes());
            out.extend_from_slice(&self.raw);
            out[head + 4..head + 8].copy_from_slice(&(flags | RAW).to_le_bytes());
        }
    }

    fn record(&mut self, out: &mut Vec<u8>, start: usize, owner: &[u8], rtype: Rtype, ttl: Ttl, rdata: &[u8]) {
        out.extend((0xc000 | HEADER_OCTETS as u16).to_be_bytes());
        out.extend(rtype.0.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        out.extend(ttl.secs().to_be_bytes());
        out.extend((rdata.len() as u16).to_be_bytes());
        let begin = out.len();
        let target = rdata::target(rtype, rdata);
        let target_at = target.map(|name| name.as_ptr().addr() - rdata.as_ptr().addr());
        if let (Some(at), Some(name)) = (target_at, target)
            && !self.targets.iter().any(|(_, other)| self.names[other.clone()].eq_ignore_ascii_case(name))
            && self.targets.len() < usize::from(u16::MAX)
        {
            let kept = self.names.len();
            self.names.extend_from_slice(name);
            self.targets.push((begin - start + at, kept..self.names.len())); // all before it is of fixed length
        }
        // Chains go on from the target of a CNAME as it stands.
        if rtype.0 > Rtype::MX.0 || matches!(rtype, Rtype::A | Rtype::CNAME) {
            return out.extend_from_slice(rdata);
        }
        let mut copied = 0;
        for range in rdata::names_in(rtype, rdata) {
            out.extend_from_slice(&rdata[copied..range.start]);
            copied = range.end;
            self.name(out, start, owner, &rdata[range]);
        }
        out.extend_from_slice(&rdata[copied..]);
        let octets = (out.len() - begin) as u16;
        out[begin - 2..begin].copy_from_slice(&octets.to_be_bytes());
    }

    /// Writes a name, compressed against the owner name and what was written before. A wildcard's own name is not where it
    /// says once the QNAME has taken its place, so RDATA never points at it.
    fn name(&mut self, out: &mut Vec<u8>, start: usize, owner: &[u8], wire: &[u8]) {
        let question_end = HEADER_OCTETS + owner.len() + 4;
        let whole = !owner.starts_with(b"\x01*");
        let kept = self.names.len();
        self.names.extend_from_slice(wire);
        let mut rest = wire;
        while rest.len() > 1 {
            let in_owner = owner.len().checked_sub(rest.len()).filter(|_| name::is_at_or_below(owner, rest));
            let found = in_owner
                .filter(|offset| whole || *offset > 0)
                .map(|offset| (HEADER_OCTETS + offset, if offset == 0 { Anchor::Owner } else { Anchor::Tail }))
                .or_else(|| {
                    let is_same = |at: &std::ops::Range<usize>| self.names[at.clone()].eq_ignore_ascii_case(rest);
                    let (at, _) = self.seen.iter().find(|(_, seen)| is_same(seen))?;
                    Some((question_end + at, Anchor::Own))
                });
            let at = out.len() - start;
            if let Some((target, anchor)) = found
                && self.fixups.len() < usize::from(u16::MAX)
            {
                self.fixups.push(Fixup::new(at, anchor));
                return out.extend((0xc000 | target as u16).to_be_bytes());
            }
            if at < POINTER_LIMIT {
                self.seen.push((at, kept + wire.len() - rest.len()..kept + wire.len()));
            }
            let label = 1 + rest[0] as usize;
            out.extend_from_slice(&rest[..label]);
            rest = &rest[label..];
        }
        out.extend_from_slice(rest);
    }
}

/// Whether the records of `set` give back `rdatas` to the letter.
fn is_exact<'r>(set: Set<'_>, owner: &[u8], mut rdatas: impl Iterator<Item = &'r [u8]>) -> bool {
    let mut exact = true;
    set.rdatas(owner, |rdata| exact &= rdatas.next() == Some(rdata));
    exact
}

/// The name of a node as it was written.
pub(in crate::zone) fn written_name(node: Node<'_>) -> Name {
    Name::from_wire(node.written()).unwrap_or_else(|_| Name::root()) // a node has a name
}

#[inline]
fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}
