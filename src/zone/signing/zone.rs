//! Signing of a whole zone, and of what changes in it.
//!
//! Nothing waits here and no clock is read. What always holds: the [`Diff`] that comes out leads from the zone as served to
//! one in which each RRset that needs a signature (RFC 4035, 2.2) has one of each signer that holds, and the chain of NSEC or
//! NSEC3 is whole; signatures that still hold stay as they are.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use super::keys::{Dnskey, KeyError, SigningKey};
use super::nsec::{self, Chain, Denial};
use super::nsec3;
use super::sign::{Fields, Validity, rrsig};
use crate::dns::{Name, Rtype, Ttl};
use crate::time::Timestamp;
use crate::zone::diff::Mismatch;
use crate::zone::{Contents, Diff, Edit, Record, Rrset, Zone};

/// A zone as it is served, RRset by RRset.
pub trait Source: Sync {
    /// Its name.
    fn apex(&self) -> &Name;
    /// All RRsets at `owner`.
    fn at(&self, owner: &Name) -> Cow<'_, [Rrset]>;
    /// Shows all RRsets.
    fn each(&self, see: &mut dyn FnMut(&Name, &Rrset));
    /// The RRset of `rtype` at `owner`.
    fn set(&self, owner: &Name, rtype: Rtype) -> Option<Rrset> {
        self.at(owner).iter().find(|set| set.rtype == rtype).cloned()
    }
}

impl Source for Contents {
    fn apex(&self) -> &Name {
        &self.apex
    }
    fn at(&self, owner: &Name) -> Cow<'_, [Rrset]> {
        self.owners.get(owner).map_or(&[][..], Vec::as_slice).into()
    }
    fn each(&self, see: &mut dyn FnMut(&Name, &Rrset)) {
        self.owners.iter().for_each(|(owner, sets)| sets.iter().for_each(|set| see(owner, set)));
    }
}

impl Source for Zone {
    fn apex(&self) -> &Name {
        self.apex()
    }
    fn at(&self, owner: &Name) -> Cow<'_, [Rrset]> {
        self.rrsets_at(owner).into()
    }
    fn each(&self, see: &mut dyn FnMut(&Name, &Rrset)) {
        self.rrsets().for_each(|(owner, set)| see(&owner, &set));
    }
}

impl Source for Edit<'_> {
    fn apex(&self) -> &Name {
        self.zone().apex()
    }
    fn at(&self, owner: &Name) -> Cow<'_, [Rrset]> {
        self.rrsets_at(owner).into()
    }
    fn each(&self, see: &mut dyn FnMut(&Name, &Rrset)) {
        let touched: HashSet<(&Name, Rtype)> = self.touched().map(|(owner, touched)| (owner, touched.rtype)).collect();
        let untouched = self.zone().rrsets().filter(|(owner, set)| !touched.contains(&(owner, set.rtype)));
        untouched.for_each(|(owner, set)| see(&owner, &set));
        for (owner, touched) in self.touched() {
            if let Some(set) = &touched.now {
                see(owner, set);
            }
        }
    }
}

/// The keys of a zone at one moment, and what each does.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// The DNSKEY RRset.
    pub published: Vec<Dnskey>,
    /// What the parent is asked for (RFC 7344, RFC 8078).
    pub parent: ParentWish,
    /// Sign DNSKEY, CDS and CDNSKEY.
    pub key_signers: Vec<Arc<SigningKey>>,
    /// Sign everything else.
    pub zone_signers: Vec<Arc<SigningKey>>,
}

/// What CDS and CDNSKEY ask the parent for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ParentWish {
    /// Nothing: no such records.
    #[default]
    Nothing,
    /// DS of these keys and of no others.
    Keys(Vec<Dnskey>),
    /// No DS any more (RFC 8078, 4).
    Delete,
}

/// Types that a pool steers, by owner name: they exist for proofs, whatever the zone's file has.
pub type Steered = HashMap<Name, Vec<Rtype>>;

/// How a zone is signed.
#[derive(Clone, Debug)]
pub struct How<'a> {
    /// With these.
    pub keys: &'a Keys,
    /// The TTL of DNSKEY, CDS and CDNSKEY.
    pub dnskey_ttl: Ttl,
    /// How long signatures hold.
    pub validity: Validity,
    /// What pools lie over.
    pub steered: &'a Steered,
    /// The clock.
    pub now: Timestamp,
    /// Uniform over all of `u64`: another one for each call.
    pub draw: u64,
    /// Signatures that soon run out are looked for, and made anew.
    pub renew: bool,
    /// How many threads sign at most.
    pub threads: usize,
}

/// Why a zone is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The change does not fit the zone.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The library failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No SOA, so no zone.
    #[error("the zone has no SOA")]
    NoSoa,
}

/// Whether records of this type are the signer's own: made, and taken away, by it alone.
pub fn is_made(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM | Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY
    )
}

/// Takes away all that a signer made; gives whether there was any.
pub fn strip(contents: &mut Contents) -> bool {
    let mut found = false;
    contents.owners.retain(|_, sets| {
        let before = sets.len();
        sets.retain(|set| !is_made(set.rtype));
        found |= sets.len() < before;
        !sets.is_empty()
    });
    found
}

/// Signs what `change` (of records that are not the signer's own, with a new SOA where the serial is to rise) makes of
/// `served`, and gives the whole difference. `chain` is of `served`; an empty one is filled, and everything is looked at: so
/// it is where keys, denial or what is steered change. After an error `chain` is
/// empty.
///
/// # Errors
/// [`SignError`]: nothing is changed then.
pub fn sign(served: &dyn Source, change: &Diff, chain: &mut Chain, how: &How<'_>) -> Result<Diff, SignError> {
    let whole = chain.is_empty();
    let known = std::mem::replace(chain, Chain::new(served.apex().clone(), chain.denial()));
    let mut signer = Signer::new(served, change, known, how)?;
    let dirty = signer.dirty(change, whole);
    let diff = signer.diff(&dirty)?;
    *chain = signer.chain;
    Ok(diff)
}

/// When the first signature of `zone` is due to be made anew; `None` in a zone without signatures.
pub fn next_refresh(zone: &dyn Source, validity: &Validity, now: Timestamp) -> Option<Timestamp> {
    let mut least = None;
    zone.each(&mut |_, set| {
        let signatures = set.rdatas.iter().filter(|_| set.rtype == Rtype::RRSIG);
        let left = signatures.filter_map(|rdata| Fields::read(rdata)).map(|fields| fields.left_secs(now)).min();
        least = least.into_iter().chain(left).min();
    });
    let until = least?.saturating_sub_unsigned(validity.refresh_secs);
    Some(now.after(until.max(0) as u64))
}

struct Signer<'a> {
    served: &'a dyn Source,
    /// The names that the change touches, as they shall be, without what signers made.
    touched: Contents,
    chain: Chain,
    how: &'a How<'a>,
    apex: Name,
    /// The TTL of NSEC and NSEC3: that of negative answers (RFC 9077).
    negative_ttl: Ttl,
    jitter: foldhash::quality::FixedState,
}

/// RDATA of RRSIGs.
type Signatures = Vec<Box<[u8]>>;

/// Where a name stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Authoritative,
    /// A zone cut: only DS and NSEC are signed.
    Cut,
    /// Glue, or below a DNAME: no name of this zone.
    Occluded,
}

impl<'a> Signer<'a> {
    fn new(served: &'a dyn Source, change: &Diff, chain: Chain, how: &'a How<'a>) -> Result<Self, SignError> {
        let apex = served.apex().clone();
        let mut touched = Contents::new(apex.clone());
        let owners = change.removed.iter().chain(&change.added).map(|record| &record.owner);
        for owner in owners.chain([&apex]) {
            if !touched.owners.contains_key(owner) {
                touched.owners.insert(owner.clone(), served.at(owner).into_owned());
            }
        }
        let names: Vec<Name> = touched.owners.keys().cloned().collect();
        touched.apply(change)?;
        for name in names {
            touched.owners.entry(name).or_default().retain(|set| !is_made(set.rtype));
        }
        let soa = touched.rrset(&apex, Rtype::SOA).ok_or(SignError::NoSoa)?;
        let minimum = soa.rdatas.first().and_then(|rdata| rdata.last_chunk()).ok_or(SignError::NoSoa)?;
        let negative_ttl = soa.ttl.min(Ttl::from_secs(u32::from_be_bytes(*minimum) as u64));
        let jitter = foldhash::quality::FixedState::with_seed(how.draw);
        Ok(Self { served, touched, chain, how, apex, negative_ttl, jitter })
    }

    /// The names whose records may become others; the chain is brought up to date.
    fn dirty(&mut self, change: &Diff, whole: bool) -> Vec<Name> {
        let whole = whole || self.negative_ttl_changes();
        let mut dirty: HashSet<Name> = self.touched.owners.keys().cloned().collect();
        if whole {
            self.served.each(&mut |owner, _| _ = dirty.insert(owner.clone()));
            dirty.extend(self.how.steered.keys().cloned());
        } else {
            if self.how.renew {
                dirty.extend(self.due());
            }
            let cuts = self.moved_cuts(change);
            if !cuts.is_empty() {
                let is_below = |name: &Name| cuts.iter().any(|cut| name.is_at_or_below(cut));
                self.served.each(&mut |owner, _| {
                    if is_below(owner) {
                        dirty.insert(owner.clone());
                    }
                });
                dirty.extend(self.how.steered.keys().filter(|name| is_below(name)).cloned());
            }
        }
        let mut affected = BTreeSet::new();
        for name in &dirty {
            let there = self.standing(name) != Standing::Occluded
                && (!self.plain(name).is_empty() || self.how.steered.contains_key(name));
            self.chain.set(name, there, &mut affected);
        }
        dirty.extend(affected);
        if whole {
            dirty.extend(self.chain.hash_owners());
        }
        dirty.into_iter().collect()
    }

    fn negative_ttl_changes(&self) -> bool {
        let proofs = match self.chain.denial() {
            Denial::Nsec | Denial::Compact => self.served.set(&self.apex, Rtype::NSEC),
            Denial::Nsec3 => {
                let owner = nsec3::owner(&nsec3::hash(self.apex.wire(), &[], 0), &self.apex);
                self.served.set(&owner, Rtype::NSEC3)
            }
        };
        proofs.is_none_or(|set| set.ttl != self.negative_ttl)
    }

    /// Owners of signatures that soon run out.
    fn due(&self) -> Vec<Name> {
        let soon = |rdata: &[u8]| Fields::read(rdata).is_some_and(|fields| self.runs_out(&fields));
        let mut due = Vec::new();
        self.served.each(&mut |owner, set| {
            if set.rtype == Rtype::RRSIG && set.rdatas.iter().any(|rdata| soon(rdata)) {
                due.push(owner.clone());
            }
        });
        due
    }

    fn runs_out(&self, fields: &Fields) -> bool {
        fields.left_secs(self.how.now) <= self.how.validity.refresh_secs as i32
    }

    /// The names that became, or are no more, a zone cut or the owner of a DNAME: what is below them changes its standing.
    fn moved_cuts<'d>(&self, change: &'d Diff) -> HashSet<&'d Name> {
        let cuts = |record: &&Record| matches!(record.rtype, Rtype::NS | Rtype::DNAME);
        let names = change.removed.iter().chain(&change.added).filter(cuts).map(|record| &record.owner);
        let has = |source: &dyn Source, name: &Name, rtype| source.set(name, rtype).is_some();
        let moved = |name: &&Name| {
            [Rtype::NS, Rtype::DNAME].iter().any(|t| has(self.served, name, *t) != has(&self.touched, name, *t))
        };
        names.filter(moved).collect()
    }

    /// The RRsets at `name` as they shall be, without what signers make.
    fn plain(&self, name: &Name) -> Vec<Rrset> {
        let mut sets = match self.touched.owners.get(name) {
            Some(sets) => sets.clone(),
            None => self.served.at(name).into_owned(),
        };
        sets.retain(|set| !is_made(set.rtype));
        sets
    }

    fn has(&self, name: &Name, rtype: Rtype) -> bool {
        let has = |sets: &[Rrset]| sets.iter().any(|set| set.rtype == rtype);
        self.touched.owners.get(name).map_or_else(|| has(&self.served.at(name)), |sets| has(sets))
    }

    fn standing(&self, name: &Name) -> Standing {
        if *name == self.apex {
            return Standing::Authoritative;
        }
        let mut above = name.parent();
        while let Some(ancestor) = above {
            if ancestor == self.apex {
                let occluded = self.has(&ancestor, Rtype::DNAME);
                return match (occluded, self.has(name, Rtype::NS)) {
                    (true, _) => Standing::Occluded,
                    (false, true) => Standing::Cut,
                    (false, false) => Standing::Authoritative,
                };
            }
            if self.has(&ancestor, Rtype::NS) || self.has(&ancestor, Rtype::DNAME) {
                break;
            }
            above = ancestor.parent();
        }
        Standing::Occluded
    }

    /// The difference at the names that are `dirty`.
    fn diff(&self, dirty: &[Name]) -> Result<Diff, SignError> {
        const WORTH_A_THREAD: usize = 64;
        let share = dirty.len().div_ceil(self.how.threads.max(1)).max(WORTH_A_THREAD);
        let at_names = |names: &[Name]| {
            let mut diff = Diff::default();
            names.iter().try_for_each(|name| self.diff_at(name, &mut diff)).map(|()| diff)
        };
        let parts: Vec<Result<Diff, KeyError>> = if dirty.len() <= share {
            vec![at_names(dirty)]
        } else {
            std::thread::scope(|scope| {
                let threads: Vec<_> = dirty.chunks(share).map(|names| scope.spawn(move || at_names(names))).collect();
                threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
            })
        };
        let mut whole = Diff::default();
        for part in parts {
            let part = part?;
            whole.removed.extend(part.removed);
            whole.added.extend(part.added);
        }
        for records in [&mut whole.removed, &mut whole.added] {
            records.sort_by_cached_key(|record| (record.rtype != Rtype::SOA, nsec::order_key(record.owner.wire())));
        }
        Ok(whole)
    }

    fn diff_at(&self, name: &Name, diff: &mut Diff) -> Result<(), KeyError> {
        let old = &*self.served.at(name);
        let (new, signatures) = self.wanted(name)?;
        let is_in = |sets: &[Rrset], set: &Rrset, rdata: &[u8]| {
            sets.iter().any(|o| o.rtype == set.rtype && o.ttl == set.ttl && o.rdatas.iter().any(|r| **r == *rdata))
        };
        let record = |set: &Rrset, rdata: &[u8]| Record {
            owner: name.clone(),
            rtype: set.rtype,
            ttl: set.ttl,
            rdata: rdata.into(),
        };
        for (from, to, into) in [(old, &*new, &mut diff.removed), (&*new, old, &mut diff.added)] {
            for set in from.iter().filter(|set| set.rtype != Rtype::RRSIG) {
                into.extend(set.rdatas.iter().filter(|r| !is_in(to, set, r)).map(|r| record(set, r)));
            }
        }
        let old = old.iter().find(|set| set.rtype == Rtype::RRSIG).map_or(&[][..], |set| &set.rdatas);
        let signature =
            |ttl, rdata: &[u8]| Record { owner: name.clone(), rtype: Rtype::RRSIG, ttl, rdata: rdata.into() };
        let gone = old.iter().filter(|rdata| !signatures.contains(rdata));
        diff.removed.extend(gone.map(|r| signature(Fields::read(r).map_or(Ttl::ZERO, |f| f.original_ttl), r)));
        for rdata in signatures.into_iter().filter(|rdata| !old.contains(rdata)) {
            diff.added.push(signature(Fields::read(&rdata).map_or(Ttl::ZERO, |f| f.original_ttl), &rdata));
        }
        Ok(())
    }

    /// The RRsets at `name` as they shall be, and their signatures.
    fn wanted(&self, name: &Name) -> Result<(Vec<Rrset>, Signatures), KeyError> {
        let mut sets = self.plain(name);
        let standing = self.standing(name);
        if *name == self.apex {
            sets.extend(self.apex_sets());
        }
        if let Some(next) = self.chain.next(name) {
            let mut types = self.types(name, &sets, standing);
            types.extend([Rtype::RRSIG, Rtype::NSEC]);
            let rdatas = vec![nsec::rdata(&next, &types)];
            sets.push(Rrset { rtype: Rtype::NSEC, ttl: self.negative_ttl, rdatas });
        }
        if let Some((hashed, next)) = self.chain.hashed(name) {
            let mut at_hashed = self.plain(hashed);
            if *hashed == self.apex {
                at_hashed.extend(self.apex_sets());
            }
            let standing = self.standing(hashed);
            let mut types = self.types(hashed, &at_hashed, standing);
            if types.iter().any(|t| standing != Standing::Cut || *t == Rtype::DS) {
                types.insert(Rtype::RRSIG);
            }
            let rdatas = vec![nsec3::record(&next, &types)];
            sets.push(Rrset { rtype: Rtype::NSEC3, ttl: self.negative_ttl, rdatas });
        }
        let mut signatures = Vec::new();
        let served = &*self.served.at(name);
        for set in &sets {
            let signed = match standing {
                Standing::Authoritative => true,
                Standing::Cut => matches!(set.rtype, Rtype::DS | Rtype::NSEC | Rtype::NSEC3),
                Standing::Occluded => set.rtype == Rtype::NSEC3,
            };
            if signed {
                self.signatures(name, set, served, &mut signatures)?;
            }
        }
        Ok((sets, signatures))
    }

    /// The types that a proof must not deny at `name`.
    fn types(&self, name: &Name, sets: &[Rrset], standing: Standing) -> BTreeSet<Rtype> {
        let seen = |rtype: &Rtype| standing != Standing::Cut || matches!(*rtype, Rtype::NS | Rtype::DS);
        let steered = self.how.steered.get(name).into_iter().flatten().copied();
        sets.iter().map(|set| set.rtype).chain(steered).filter(seen).collect()
    }

    /// What the signer adds at the apex.
    fn apex_sets(&self) -> Vec<Rrset> {
        let ttl = self.how.dnskey_ttl;
        let set = |rtype, rdatas: Vec<Box<[u8]>>| Rrset { rtype, ttl, rdatas };
        let keys = &self.how.keys;
        let rdatas = |keys: &[Dnskey]| keys.iter().map(|key| key.rdata().into()).collect();
        let mut sets = vec![set(Rtype::DNSKEY, rdatas(&keys.published))];
        match &keys.parent {
            ParentWish::Nothing => {}
            ParentWish::Keys(wanted) => {
                sets.push(set(Rtype::CDS, wanted.iter().map(|key| key.ds(&self.apex)).collect()));
                sets.push(set(Rtype::CDNSKEY, rdatas(wanted)));
            }
            ParentWish::Delete => {
                sets.push(set(Rtype::CDS, vec![[0, 0, 0, 0, 0].into()]));
                sets.push(set(Rtype::CDNSKEY, vec![[0, 0, 3, 0, 0].into()]));
            }
        }
        if self.chain.denial() == Denial::Nsec3 {
            sets.push(Rrset { rtype: Rtype::NSEC3PARAM, ttl: Ttl::ZERO, rdatas: vec![nsec3::PARAMETERS.into()] });
        }
        sets.retain(|set| !set.rdatas.is_empty());
        sets
    }

    /// Those signatures of `set` that are served and still hold, and new ones of the other signers.
    fn signatures(&self, name: &Name, set: &Rrset, served: &[Rrset], into: &mut Signatures) -> Result<(), KeyError> {
        let of_keys = *name == self.apex && matches!(set.rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
        let keys = &self.how.keys;
        let signers = if of_keys { &keys.key_signers } else { &keys.zone_signers };
        let same = served.iter().find(|served| served.rtype == set.rtype).is_some_and(|served| {
            served.ttl == set.ttl
                && served.rdatas.len() == set.rdatas.len()
                && served.rdatas.iter().all(|rdata| set.rdatas.contains(rdata))
        });
        let old = served
            .iter()
            .find(|served| served.rtype == Rtype::RRSIG)
            .filter(|_| same)
            .map_or(&[][..], |set| &set.rdatas);
        for key in signers {
            let holds = |rdata: &[u8]| {
                Fields::read(rdata).is_some_and(|fields| {
                    fields.covered == set.rtype
                        && (fields.algorithm, fields.tag) == (key.algorithm().number(), key.tag())
                        && fields.original_ttl == set.ttl
                        && !self.runs_out(&fields)
                })
            };
            if let Some(kept) = old.iter().find(|rdata| holds(rdata)) {
                into.push(kept.clone());
                continue;
            }
            let draw = self.jitter.hash_one((name, set.rtype, key.tag()));
            let span = self.how.validity.span(self.how.now, draw);
            into.push(rrsig(name, set, &self.apex, key, span)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
