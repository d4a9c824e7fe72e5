//! A change of a zone under way: RRset by RRset, over a zone that stays as it is, until it is a [`Diff`].

use std::collections::HashMap;

use crate::dns::{Name, Rtype};
use crate::time::Timestamp;
use crate::zone::diff::{Diff, Mismatch, Record, soa_serial};
use crate::zone::serial::{self, Policy};
use crate::zone::{Rrset, Zone};

/// What is changed of a zone so far.
#[derive(Clone, Debug)]
pub struct Edit<'z> {
    zone: &'z Zone,
    owners: HashMap<Name, Vec<Touched>>,
}

/// An RRset that was changed, maybe back to what it was.
#[derive(Clone, Debug)]
pub struct Touched {
    /// Its type.
    pub rtype: Rtype,
    /// As it is in the zone.
    pub before: Option<Rrset>,
    /// As it shall be.
    pub now: Option<Rrset>,
}

impl<'z> Edit<'z> {
    /// Begins with `zone` as it is.
    pub fn new(zone: &'z Zone) -> Self {
        Self { zone, owners: HashMap::new() }
    }

    /// The zone that is edited, as it is without that.
    pub fn zone(&self) -> &'z Zone {
        self.zone
    }

    /// The RRset of `rtype` at `owner`, as it shall be.
    pub fn rrset(&self, owner: &Name, rtype: Rtype) -> Option<Rrset> {
        let touched = self.owners.get(owner).and_then(|sets| sets.iter().find(|t| t.rtype == rtype));
        touched.map_or_else(|| self.zone.rrset(owner, rtype), |touched| touched.now.clone())
    }

    /// All RRsets at `owner`, as they shall be.
    pub fn rrsets_at(&self, owner: &Name) -> Vec<Rrset> {
        let touched = self.owners.get(owner).map_or(&[][..], Vec::as_slice);
        let mut sets = self.zone.rrsets_at(owner);
        sets.retain(|set| touched.iter().all(|t| t.rtype != set.rtype));
        sets.extend(touched.iter().filter_map(|t| t.now.clone()));
        sets
    }

    /// Makes the RRset of `rtype` at `owner` what is given; one without records is none.
    pub fn set(&mut self, owner: &Name, rtype: Rtype, now: Option<Rrset>) {
        let now = now.filter(|set| !set.rdatas.is_empty());
        if !self.owners.contains_key(owner) {
            self.owners.insert(owner.clone(), Vec::new());
        }
        let sets = self.owners.get_mut(owner).expect("it was just made sure of");
        match sets.iter_mut().find(|t| t.rtype == rtype) {
            Some(touched) => touched.now = now,
            None => sets.push(Touched { rtype, before: self.zone.rrset(owner, rtype), now }),
        }
    }

    /// Adds a record, with its TTL for the whole RRset; gives whether it was not there.
    pub fn add(&mut self, record: Record) -> bool {
        let Record { owner, rtype, ttl, rdata } = record;
        let mut set = self.rrset(&owner, rtype).unwrap_or(Rrset { rtype, ttl, rdatas: Vec::new() });
        set.ttl = ttl;
        let is_new = !set.rdatas.contains(&rdata);
        if is_new {
            set.rdatas.push(rdata);
        }
        self.set(&owner, rtype, Some(set));
        is_new
    }

    /// Removes a record; gives whether it was there.
    pub fn remove(&mut self, owner: &Name, rtype: Rtype, rdata: &[u8]) -> bool {
        let Some(mut set) = self.rrset(owner, rtype) else { return false };
        let Some(at) = set.rdatas.iter().position(|r| **r == *rdata) else { return false };
        set.rdatas.remove(at);
        self.set(owner, rtype, Some(set));
        true
    }

    /// Carries out `diff` on top of what was changed so far.
    ///
    /// # Errors
    /// [`Mismatch`] of the first record that does not fit; what came before it stays changed.
    pub fn apply(&mut self, diff: &Diff) -> Result<(), Mismatch> {
        for record in &diff.removed {
            if !self.remove(&record.owner, record.rtype, &record.rdata) {
                return Err(Mismatch::Missing { owner: record.owner.clone(), rtype: record.rtype });
            }
        }
        for record in &diff.added {
            if !self.add(record.clone()) {
                return Err(Mismatch::Present { owner: record.owner.clone(), rtype: record.rtype });
            }
        }
        Ok(())
    }

    /// SERIAL as it shall be.
    pub fn serial(&self) -> u32 {
        let soa = self.rrset(self.zone.apex(), Rtype::SOA);
        soa.and_then(|set| soa_serial(set.rdatas.first()?)).unwrap_or(self.zone.serial())
    }

    /// Makes SERIAL what is given.
    pub fn set_serial(&mut self, serial: u32) {
        let apex = self.zone.apex().clone();
        let Some(mut soa) = self.rrset(&apex, Rtype::SOA) else { return };
        for rdata in &mut soa.rdatas {
            if let Some(tail) = rdata.last_chunk_mut::<20>() {
                tail[..4].copy_from_slice(&serial.to_be_bytes());
            }
        }
        self.set(&apex, Rtype::SOA, Some(soa));
    }

    /// Makes SERIAL go up if anything changes, unless it goes up already.
    pub fn raise_serial(&mut self, policy: Policy, now: Timestamp) {
        if self.changes_anything() && !serial::is_newer(self.serial(), self.zone.serial()) {
            self.set_serial(serial::next(policy, self.zone.serial(), now));
        }
    }

    /// Whether anything is not as it is in the zone.
    pub fn changes_anything(&self) -> bool {
        self.touched().any(|(_, t)| !same(t.before.as_ref(), t.now.as_ref()))
    }

    /// All that was touched.
    pub fn touched(&self) -> impl Iterator<Item = (&Name, &Touched)> {
        self.owners.iter().flat_map(|(owner, sets)| sets.iter().map(move |touched| (owner, touched)))
    }

    /// What leads from the zone to what it shall be.
    pub fn diff(&self) -> Diff {
        let mut diff = Diff::default();
        for (owner, touched) in self.touched() {
            step(owner, touched.before.as_ref(), touched.now.as_ref(), &mut diff);
        }
        diff.sort();
        diff
    }
}

/// Whether two RRsets have the same TTL and records, in whatever order.
pub fn same(a: Option<&Rrset>, b: Option<&Rrset>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => {
            a.ttl == b.ttl && a.rdatas.len() == b.rdatas.len() && a.rdatas.iter().all(|rdata| b.rdatas.contains(rdata))
        }
        _ => false,
    }
}

/// What leads from one version of an RRset to another. Where the TTL changes, that is all of it.
pub(super) fn step(owner: &Name, before: Option<&Rrset>, now: Option<&Rrset>, diff: &mut Diff) {
    let lacking = |set: Option<&Rrset>, other: Option<&Rrset>, into: &mut Vec<Record>| {
        let Some(set) = set else { return };
        let other = other.filter(|o| o.ttl == set.ttl).map_or(&[][..], |o| o.rdatas.as_slice());
        for rdata in set.rdatas.iter().filter(|rdata| !other.contains(rdata)) {
            into.push(Record { owner: owner.clone(), rtype: set.rtype, ttl: set.ttl, rdata: rdata.clone() });
        }
    };
    lacking(before, now, &mut diff.removed);
    lacking(now, before, &mut diff.added);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Ttl;
    use crate::zone::compiled::{Overlay, compile};
    use crate::zone::master;

    fn zone(text: &str) -> Zone {
        let apex: Name = "example".parse().unwrap();
        let text = format!("@ 60 SOA ns mail 7 1 1 1 60\n@ 60 NS ns\nns 60 A 192.0.2.53\n{text}");
        let loaded = master::parse(text.as_bytes(), "z".as_ref(), &apex).unwrap();
        compile(std::sync::Arc::new(loaded.contents), &Overlay::default())
    }

    fn a(owner: &str, last: u8) -> Record {
        let rdata = Box::new([192, 0, 2, last]);
        Record { owner: owner.parse().unwrap(), rtype: Rtype::A, ttl: Ttl::from_secs(60), rdata }
    }

    #[test]
    fn an_edit_becomes_the_diff_that_makes_it() {
        let zone = zone("www 60 A 192.0.2.1\nold 60 A 192.0.2.9\n");
        let mut edit = Edit::new(&zone);
        assert!(edit.add(a("www.example", 2)) && !edit.add(a("www.example", 1)));
        assert!(edit.remove(&"OLD.example".parse().unwrap(), Rtype::A, &[192, 0, 2, 9]));
        assert!(!edit.remove(&"old.example".parse().unwrap(), Rtype::A, &[192, 0, 2, 9]));
        edit.raise_serial(Policy::Increase, Timestamp(0));
        let diff = edit.diff();
        assert_eq!(diff.serials(), Some((7, 8)));
        assert_eq!((diff.removed.len(), diff.added.len()), (2, 2));
        let after = zone.with(&diff, &Overlay::default()).unwrap();
        assert_eq!(after.serial(), 8);
        assert_eq!(after.rrset(&"www.example".parse().unwrap(), Rtype::A).unwrap().rdatas.len(), 2);
        assert!(after.rrsets_at(&"old.example".parse().unwrap()).is_empty());
        assert_eq!(edit.rrsets_at(&"www.example".parse().unwrap()), after.rrsets_at(&"www.example".parse().unwrap()));
    }

    #[test]
    fn what_comes_back_to_what_it_was_is_no_change() {
        let zone = zone("www 60 A 192.0.2.1\n");
        let mut edit = Edit::new(&zone);
        edit.add(a("www.example", 2));
        edit.remove(&"www.example".parse().unwrap(), Rtype::A, &[192, 0, 2, 2]);
        edit.raise_serial(Policy::Increase, Timestamp(0));
        assert!(!edit.changes_anything() && edit.diff().is_empty());
    }

    #[test]
    fn a_serial_that_goes_up_by_itself_is_left() {
        let zone = zone("");
        let mut edit = Edit::new(&zone);
        edit.set_serial(100);
        edit.raise_serial(Policy::Increase, Timestamp(0));
        assert_eq!(edit.diff().serials(), Some((7, 100)));
        edit.set_serial(6);
        edit.raise_serial(Policy::Increase, Timestamp(0));
        assert_eq!(edit.diff().serials(), Some((7, 8)));
    }
}
