//! Prepared answers: records already compressed, to be copied behind a question.
//!
//! A prepared answer is written once, as if its owner name were the QNAME at octet 12 and it stood right behind the
//! question. Then copying is one `memcpy`. Where it stands elsewhere (a wildcard's QNAME is longer, a referral's owner is
//! the end of the QNAME, a CNAME's target lies in the answer), the pointers listed as fixups are moved.

use crate::dns::wire::{CLASS_IN, Full, HEADER_OCTETS, Response, Section};
use crate::dns::{Name, Rtype, Ttl, name, rdata};

/// Pointers into the prepared octets themselves stop here, so that they stay below 2^14 wherever the octets are copied.
const POINTER_LIMIT: usize = 0x2000;
/// The furthest into a message that octets with such pointers may be copied.
const PLACE_LIMIT: usize = 0x1f00;

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

/// Where a compression pointer stands, and what it moves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fixup(u32);

/// What a pointer points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Anchor {
    /// The owner name as a whole.
    Owner = 0,
    /// An end of the owner name: moves with where it ends.
    Tail = 1,
    /// The prepared octets.
    Own = 2,
}

impl Fixup {
    fn new(at: usize, anchor: Anchor) -> Self {
        Self((anchor as u32) << 30 | at as u32)
    }
    const fn at(self) -> usize {
        (self.0 & 0x3fff_ffff) as usize
    }
    const fn anchor(self) -> Anchor {
        match self.0 >> 30 {
            0 => Anchor::Owner,
            1 => Anchor::Tail,
            _ => Anchor::Own,
        }
    }
}

/// Many prepared answers, in one arena.
#[derive(Debug, Default)]
pub struct Arena {
    octets: Vec<u8>,
    fixups: Vec<Fixup>,
}

/// One prepared answer of an [`Arena`].
#[derive(Clone, Copy, Debug)]
pub struct Handle {
    start: u32,
    octets: u32,
    fixups_start: u32,
    fixups: u32,
    /// Octets and fixups without which it must not be sent; the rest is additional data that may be left out.
    required: u32,
    required_fixups: u32,
    required_additional: u16,
    counts: [u16; 3],
    owner_octets: u8,
}

/// A prepared answer to be copied.
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'a> {
    arena: &'a Arena,
    handle: Handle,
}

impl Arena {
    /// The answer of `handle`, which this arena gave.
    pub fn get(&self, handle: Handle) -> Prepared<'_> {
        Prepared { arena: self, handle }
    }

    /// Octets of memory it holds.
    pub fn memory_octets(&self) -> usize {
        self.octets.capacity() + self.fixups.capacity() * size_of::<Fixup>()
    }

    /// Gives back what was reserved and not used.
    pub fn shrink(&mut self) {
        self.octets.shrink_to_fit();
        self.fixups.shrink_to_fit();
    }

    /// Begins an answer for `owner`.
    pub fn prepare<'a>(&'a mut self, owner: &'a Name) -> Preparer<'a> {
        let (start, fixups_start) = (self.octets.len(), self.fixups.len());
        Preparer { arena: self, owner, start, fixups_start, counts: [0; 3], required: None, seen: Vec::new() }
    }
}

impl Prepared<'_> {
    /// Copies it to the end of `response`, for the owner name that stands at `owner`. Additional data is left out when it
    /// doesn't fit.
    ///
    /// # Errors
    /// [`Full`] when what is required does not fit.
    #[inline]
    pub fn copy(self, response: &mut Response<'_>, owner: OwnerAt) -> Result<(), Full> {
        self.copy_part(response, owner, true).or_else(|Full| self.copy_part(response, owner, false))
    }

    /// Copies what is required of it, without additional data.
    ///
    /// # Errors
    /// [`Full`] when it does not fit.
    pub fn copy_required(self, response: &mut Response<'_>, owner: OwnerAt) -> Result<(), Full> {
        self.copy_part(response, owner, false)
    }

    /// Whether `other` is the same prepared answer.
    pub fn is(self, other: Self) -> bool {
        std::ptr::eq(self.arena, other.arena) && self.handle.start == other.handle.start
    }

    #[inline]
    fn copy_part(self, response: &mut Response<'_>, owner: OwnerAt, all: bool) -> Result<(), Full> {
        let h = &self.handle;
        let start = response.len();
        if start > PLACE_LIMIT {
            return Err(Full);
        }
        let (octets, fixups) = if all { (h.octets, h.fixups) } else { (h.required, h.required_fixups) };
        let source = &self.arena.octets[h.start as usize..(h.start + octets) as usize];
        let place = response.put(Section::Answer, h.counts[0], source)?;

        let prepared_end = HEADER_OCTETS + h.owner_octets as usize;
        let owner_moved = owner.at.wrapping_sub(HEADER_OCTETS);
        let tail_moved = (owner.at + owner.octets).wrapping_sub(prepared_end);
        let own_moved = start.wrapping_sub(prepared_end + 4);
        if (owner_moved | tail_moved | own_moved) != 0 {
            let fixups = &self.arena.fixups[h.fixups_start as usize..(h.fixups_start + fixups) as usize];
            for fixup in fixups {
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
                let pointer = pointer.wrapping_add(moved as u16);
                place[at..at + 2].copy_from_slice(&pointer.to_be_bytes());
            }
        }
        response.count(Section::Authority, h.counts[1]);
        response.count(Section::Additional, if all { h.counts[2] } else { h.required_additional });
        Ok(())
    }
}

/// Writes one prepared answer, section by section.
pub struct Preparer<'a> {
    arena: &'a mut Arena,
    owner: &'a Name,
    start: usize,
    fixups_start: usize,
    counts: [u16; 3],
    required: Option<(usize, usize, u16)>,
    /// Names written in these octets: where in them, and the name in lower case.
    seen: Vec<(usize, Vec<u8>)>,
}

impl Preparer<'_> {
    /// Adds the records of one RRset; names in the RDATA are compressed where RFC 3597, 4 allows.
    pub fn rrset<'r>(
        &mut self,
        section: Section,
        owner: &Name,
        rtype: Rtype,
        ttl: Ttl,
        rdatas: impl IntoIterator<Item = &'r Box<[u8]>>,
    ) {
        for rdata in rdatas {
            self.name(owner.wire(), true);
            let octets = &mut self.arena.octets;
            octets.extend_from_slice(&rtype.0.to_be_bytes());
            octets.extend_from_slice(&CLASS_IN.to_be_bytes());
            octets.extend_from_slice(&ttl.secs().to_be_bytes());
            let length_at = octets.len();
            octets.extend_from_slice(&[0, 0]);
            let mut copied = 0;
            for range in rdata::names_in(rtype, rdata) {
                self.arena.octets.extend_from_slice(&rdata[copied..range.start]);
                copied = range.end;
                self.name(&rdata[range], false);
            }
            self.arena.octets.extend_from_slice(&rdata[copied..]);
            let length = (self.arena.octets.len() - length_at - 2) as u16;
            self.arena.octets[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
            self.counts[section as usize] += 1;
        }
    }

    /// What was added so far must be sent; what follows is additional data that may be left out.
    pub fn rest_is_optional(&mut self) {
        let (octets, fixups) = (self.arena.octets.len() - self.start, self.arena.fixups.len() - self.fixups_start);
        self.required = Some((octets, fixups, self.counts[Section::Additional as usize]));
    }

    /// Ends it.
    pub fn finish(self) -> Handle {
        let octets = self.arena.octets.len() - self.start;
        let fixups = self.arena.fixups.len() - self.fixups_start;
        let (required, required_fixups, required_additional) =
            self.required.unwrap_or((octets, fixups, self.counts[Section::Additional as usize]));
        Handle {
            start: self.start as u32,
            octets: octets as u32,
            fixups_start: self.fixups_start as u32,
            fixups: fixups as u32,
            required: required as u32,
            required_fixups: required_fixups as u32,
            required_additional,
            counts: self.counts,
            owner_octets: self.owner.wire().len() as u8,
        }
    }

    /// Writes a name, compressed against the owner name and what was written before. A wildcard's own name is not where it
    /// says once the QNAME has taken its place, so RDATA never points at it.
    fn name(&mut self, wire: &[u8], is_owner: bool) {
        let owner = self.owner.wire();
        let question_end = HEADER_OCTETS + owner.len() + 4;
        let whole = is_owner || !self.owner.is_wildcard();
        let mut rest = wire;
        while rest.len() > 1 {
            let found = self
                .in_owner(rest)
                .filter(|offset| whole || *offset > 0)
                .map(|offset| (HEADER_OCTETS + offset, if offset == 0 { Anchor::Owner } else { Anchor::Tail }))
                .or_else(|| {
                    let (at, _) = self.seen.iter().find(|(_, seen)| seen.eq_ignore_ascii_case(rest))?;
                    Some((question_end + at, Anchor::Own))
                });
            if let Some((target, anchor)) = found {
                let at = self.arena.octets.len() - self.start;
                self.arena.fixups.push(Fixup::new(at, anchor));
                self.arena.octets.extend_from_slice(&(0xc000 | target as u16).to_be_bytes());
                return;
            }
            let at = self.arena.octets.len() - self.start;
            if at < POINTER_LIMIT {
                self.seen.push((at, rest.to_ascii_lowercase()));
            }
            let label = 1 + rest[0] as usize;
            self.arena.octets.extend_from_slice(&rest[..label]);
            rest = &rest[label..];
        }
        self.arena.octets.extend_from_slice(rest);
    }

    /// Where in the owner name the whole of `wire` stands.
    fn in_owner(&self, wire: &[u8]) -> Option<usize> {
        let owner = self.owner.wire();
        let offset = owner.len().checked_sub(wire.len())?;
        if !name::is_at_or_below(owner, wire) {
            return None;
        }
        Some(offset)
    }
}
