//! A change of a zone: the records that go and those that come, from one serial to the next. What UPDATE, a reload, signing
//! and IXFR (RFC 1995) have in common.

use std::collections::HashMap;

use crate::dns::{Name, Rtype, Ttl};
use crate::zone::{Contents, Rrset};

/// One resource record of class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its owner name.
    pub owner: Name,
    /// Its type.
    pub rtype: Rtype,
    /// Its TTL: that of its RRset. An RRSIG has that of the RRset it covers.
    pub ttl: Ttl,
    /// Uncompressed wire form.
    pub rdata: Box<[u8]>,
}

/// From one version of a zone to another. Where the SOA changes, it is the first record of both lists, as in IXFR; an RRset
/// whose TTL changes is in both as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Records of the older version that the newer one lacks.
    pub removed: Vec<Record>,
    /// Records of the newer version that the older one lacks.
    pub added: Vec<Record>,
}

/// A diff that was not made for this zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A record to remove is not there.
    #[error("the zone has no such {rtype} record at {owner} to remove")]
    Missing {
        /// Its owner name.
        owner: Name,
        /// Its type.
        rtype: Rtype,
    },
    /// A record to add is there already.
    #[error("the zone has this {rtype} record at {owner} already")]
    Present {
        /// Its owner name.
        owner: Name,
        /// Its type.
        rtype: Rtype,
    },
}

impl Diff {
    /// What leads from `old` to `new`, which are versions of one zone. RDATA compares by its octets.
    pub fn between(old: &Contents, new: &Contents) -> Self {
        let mut diff = Self::default();
        for (owner, sets) in &old.owners {
            for set in sets {
                lacking(owner, set, new, &mut diff.removed);
            }
        }
        for (owner, sets) in &new.owners {
            for set in sets {
                lacking(owner, set, old, &mut diff.added);
            }
        }
        diff.sort();
        diff
    }

    /// Puts the SOA first, then the records by owner names.
    pub(super) fn sort(&mut self) {
        for records in [&mut self.removed, &mut self.added] {
            records.sort_by(|a, b| {
                (a.rtype != Rtype::SOA).cmp(&(b.rtype != Rtype::SOA)).then_with(|| a.owner.cmp(&b.owner))
            });
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// What leads back.
    pub fn inverse(self) -> Self {
        Self { removed: self.added, added: self.removed }
    }

    /// The serials of its SOAs, before and after; `None` where the SOA does not change.
    pub fn serials(&self) -> Option<(u32, u32)> {
        let serial = |records: &[Record]| soa_serial(&records.first().filter(|r| r.rtype == Rtype::SOA)?.rdata);
        Some((serial(&self.removed)?, serial(&self.added)?))
    }
}

/// Records of `set` that `other` lacks, or has with another TTL.
fn lacking(owner: &Name, set: &Rrset, other: &Contents, into: &mut Vec<Record>) {
    let counterpart = other.rrset(owner, set.rtype).filter(|o| o.ttl == set.ttl);
    for rdata in &set.rdatas {
        if !counterpart.is_some_and(|o| o.rdatas.contains(rdata)) {
            into.push(Record { owner: owner.clone(), rtype: set.rtype, ttl: set.ttl, rdata: rdata.clone() });
        }
    }
}

/// SERIAL of an SOA's RDATA.
pub(super) fn soa_serial(rdata: &[u8]) -> Option<u32> {
    let tail = rdata.last_chunk::<20>()?;
    Some(u32::from_be_bytes([tail[0], tail[1], tail[2], tail[3]]))
}

impl Contents {
    /// Carries out `diff`: all of it, or nothing.
    ///
    /// # Errors
    /// [`Mismatch`] of the first record that does not fit.
    pub fn apply(&mut self, diff: &Diff) -> Result<(), Mismatch> {
        let mut touched: HashMap<&Name, Vec<Rrset>> = HashMap::new();
        for record in &diff.removed {
            let missing = || Mismatch::Missing { owner: record.owner.clone(), rtype: record.rtype };
            let sets = touched
                .entry(&record.owner)
                .or_insert_with(|| self.owners.get(&record.owner).cloned().unwrap_or_default());
            let set = sets.iter_mut().find(|set| set.rtype == record.rtype).ok_or_else(missing)?;
            let at = set.rdatas.iter().position(|rdata| *rdata == record.rdata).ok_or_else(missing)?;
            set.rdatas.remove(at);
        }
        for record in &diff.added {
            let sets = touched
                .entry(&record.owner)
                .or_insert_with(|| self.owners.get(&record.owner).cloned().unwrap_or_default());
            let at = sets.iter().position(|set| set.rtype == record.rtype).unwrap_or_else(|| {
                sets.push(Rrset { rtype: record.rtype, ttl: record.ttl, rdatas: Vec::new() });
                sets.len() - 1
            });
            if sets[at].rdatas.contains(&record.rdata) {
                return Err(Mismatch::Present { owner: record.owner.clone(), rtype: record.rtype });
            }
            sets[at].ttl = record.ttl;
            sets[at].rdatas.push(record.rdata.clone());
        }
        for (owner, mut sets) in touched {
            sets.retain(|set| !set.rdatas.is_empty());
            if sets.is_empty() {
                self.owners.remove(owner);
            } else {
                self.owners.insert(owner.clone(), sets);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(records: &[(u8, u8, u8)]) -> Contents {
        let apex: Name = "example".parse().unwrap();
        let mut contents = Contents::new(apex.clone());
        let mut soa = vec![0, 0];
        soa.extend([0; 20]);
        contents.rrset_mut(&apex, Rtype::SOA, Ttl::from_secs(60)).rdatas.push(soa.into());
        for (owner, last, ttl) in records {
            let owner: Name = format!("h{owner}.example").parse().unwrap();
            let set = contents.rrset_mut(&owner, Rtype::A, Ttl::from_secs(u64::from(*ttl)));
            let rdata: Box<[u8]> = Box::new([192, 0, 2, *last]);
            if !set.rdatas.contains(&rdata) {
                set.rdatas.push(rdata);
            }
        }
        contents
    }

    fn sorted(mut contents: Contents) -> Contents {
        contents.owners.values_mut().flatten().for_each(|set| set.rdatas.sort());
        contents
    }

    proptest! {
        #[test]
        fn what_leads_there_leads_back(
            old in proptest::collection::vec((0u8..4, 0u8..4, 1u8..3), 0..12),
            new in proptest::collection::vec((0u8..4, 0u8..4, 1u8..3), 0..12),
        ) {
            let (old, new) = (sorted(contents(&old)), sorted(contents(&new)));
            let diff = Diff::between(&old, &new);
            let mut there = old.clone();
            there.apply(&diff).unwrap();
            prop_assert_eq!(&sorted(there.clone()), &new);
            there.apply(&diff.inverse()).unwrap();
            prop_assert_eq!(&sorted(there), &old);
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut zone = contents(&[(1, 1, 60)]);
        let before = zone.clone();
        let record = |last| Record {
            owner: "h1.example".parse().unwrap(),
            rtype: Rtype::A,
            ttl: Ttl::from_secs(60),
            rdata: Box::new([192, 0, 2, last]),
        };
        let missing = Diff { removed: vec![record(1), record(2)], added: Vec::new() };
        assert!(matches!(zone.apply(&missing), Err(Mismatch::Missing { .. })));
        let present = Diff { removed: Vec::new(), added: vec![record(3), record(1)] };
        assert!(matches!(zone.apply(&present), Err(Mismatch::Present { .. })));
        assert_eq!(zone, before);
    }
}
