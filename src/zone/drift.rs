//! Where a served zone is not as its master file says: what updates have changed since the file was read. An edit of the
//! file is brought into the zone as it is served, so that neither undoes the other.

use std::collections::{HashMap, HashSet};

use crate::dns::{Name, Rtype};
use crate::time::Timestamp;
use crate::zone::diff::{Diff, soa_serial};
use crate::zone::edit::{Edit, same, step};
use crate::zone::serial::{self, Policy};
use crate::zone::{Rrset, Zone};

/// The RRsets in which a zone differs from its file, as they are in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drift(HashMap<Name, Vec<(Rtype, Option<Rrset>)>>);

/// An RRset of a file that is another one now.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// Its owner name.
    pub owner: Name,
    /// Its type.
    pub rtype: Rtype,
    /// As it was in the file.
    pub before: Option<Rrset>,
    /// As it is in the file.
    pub after: Option<Rrset>,
}

impl Drift {
    /// Whether the zone is as its file says.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The RRset as it is in the file, `zone` being what is served.
    pub fn in_file(&self, zone: &Zone, owner: &Name, rtype: Rtype) -> Option<Rrset> {
        self.get(owner, rtype).map_or_else(|| zone.rrset(owner, rtype), Clone::clone)
    }

    /// What leads from the file to `zone`, which is served.
    pub fn diff(&self, zone: &Zone) -> Diff {
        let mut diff = Diff::default();
        for (owner, rtype, in_file) in self.iter() {
            step(owner, in_file.as_ref(), zone.rrset(owner, rtype).as_ref(), &mut diff);
        }
        diff.sort();
        diff
    }

    /// Takes note of an edit of the zone; the file stays as it was.
    pub fn follow(&mut self, edit: &Edit<'_>) {
        for (owner, touched) in edit.touched() {
            let in_file = self.get(owner, touched.rtype).cloned().unwrap_or_else(|| touched.before.clone());
            self.put(owner, touched.rtype, in_file, touched.now.as_ref());
        }
    }

    /// What has changed in the file since it was read for `zone`, now that it holds `new`.
    pub fn changed(&self, zone: &Zone, new: &Zone) -> Vec<Changed> {
        let mut changed = Vec::new();
        let mut compare = |owner: &Name, rtype: Rtype, before: Option<&Rrset>| {
            let after = new.rrset(owner, rtype);
            if !same(before, after.as_ref()) {
                changed.push(Changed { owner: owner.clone(), rtype, before: before.cloned(), after });
            }
        };
        for (owner, set) in zone.rrsets() {
            if self.get(&owner, set.rtype).is_none() {
                compare(&owner, set.rtype, Some(&set));
            }
        }
        for (owner, rtype, in_file) in self.iter() {
            compare(owner, rtype, in_file.as_ref());
        }
        for (owner, set) in new.rrsets() {
            if self.get(&owner, set.rtype).is_none() && !zone.has(&owner, set.rtype) {
                compare(&owner, set.rtype, None);
            }
        }
        changed
    }

    fn get(&self, owner: &Name, rtype: Rtype) -> Option<&Option<Rrset>> {
        self.0.get(owner)?.iter().find(|(t, _)| *t == rtype).map(|(_, in_file)| in_file)
    }

    fn put(&mut self, owner: &Name, rtype: Rtype, in_file: Option<Rrset>, served: Option<&Rrset>) {
        let sets = self.0.entry(owner.clone()).or_default();
        sets.retain(|(t, _)| *t != rtype);
        if !same(in_file.as_ref(), served) {
            sets.push((rtype, in_file));
        }
        if sets.is_empty() {
            self.0.remove(owner);
        }
    }

    /// The names that have such RRsets.
    pub(in crate::zone) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    pub(in crate::zone) fn iter(&self) -> impl Iterator<Item = (&Name, Rtype, &Option<Rrset>)> {
        self.0.iter().flat_map(|(owner, sets)| sets.iter().map(move |(rtype, set)| (owner, *rtype, set)))
    }
}

/// What leads from the file as it was to the file as it is.
pub fn diff_of(changed: &[Changed]) -> Diff {
    let mut diff = Diff::default();
    for Changed { owner, before, after, .. } in changed {
        step(owner, before.as_ref(), after.as_ref(), &mut diff);
    }
    diff.sort();
    diff
}

/// An edit of a file, brought into the zone that is served.
#[derive(Clone, Debug)]
pub struct Merged {
    /// What leads from the zone served to the one to serve; empty when that stays.
    pub step: Diff,
    /// Where that one differs from the file as it is now.
    pub drift: Drift,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Brings what has `changed` in the file into `zone`, which is served and has `drift`ed from the file as it was. What updates
/// made stays, unless it can't stand beside what the file says now. The serial is the file's where that is newer, else it
/// goes up by `policy` if anything changes.
pub fn merge(zone: &Zone, drift: &Drift, changed: &[Changed], policy: Policy, now: Timestamp) -> Merged {
    let mut warnings = Vec::new();
    let mut edit = Edit::new(zone);
    let changes: HashMap<(&Name, Rtype), &Changed> = changed.iter().map(|c| ((&c.owner, c.rtype), c)).collect();
    let in_file = |owner: &Name, rtype: Rtype| {
        changes.get(&(owner, rtype)).map_or_else(|| drift.in_file(zone, owner, rtype), |c| c.after.clone())
    };
    for Changed { owner, rtype, before, after } in changed.iter().filter(|c| c.rtype != Rtype::SOA) {
        let target = match drift.get(owner, *rtype) {
            None => after.clone(),
            Some(_) => both(zone.rrset(owner, *rtype), before.as_ref(), after.as_ref()),
        };
        edit.set(owner, *rtype, target);
    }
    for owner in changed.iter().map(|c| &c.owner).collect::<HashSet<_>>() {
        alone_or_not(owner, &mut edit, &in_file, &mut warnings);
    }
    let apex = zone.apex();
    if edit.rrset(apex, Rtype::NS).is_none() {
        edit.set(apex, Rtype::NS, in_file(apex, Rtype::NS)); // a zone has name servers, whoever took which away
    }

    let (soa_before, soa_after) = (drift.in_file(zone, apex, Rtype::SOA), in_file(apex, Rtype::SOA));
    if beside_serial(soa_before.as_ref()) != beside_serial(soa_after.as_ref()) {
        edit.set(apex, Rtype::SOA, soa_after.clone());
        edit.set_serial(zone.serial());
    }
    let serial_of = |set: &Option<Rrset>| soa_serial(set.as_ref()?.rdatas.first()?);
    if let (Some(was), Some(is)) = (serial_of(&soa_before), serial_of(&soa_after)) {
        let (served, others) = (zone.serial(), edit.changes_anything());
        if serial::is_newer(is, served) {
            edit.set_serial(is);
        }
        edit.raise_serial(policy, now);
        if others && !serial::is_newer(is, was) {
            let how = if is == was { "was not raised" } else { "went back" };
            warnings.push(format!("the serial in its file {how} ({is}, it was {was}): served is {}", edit.serial()));
        } else if !serial::is_newer(is, served) && is != was {
            warnings.push(format!("the serial in its file, {is}, is not above {served}: served is {}", edit.serial()));
        }
    }

    drop_stale_signatures(&mut edit, &in_file);
    let mut drift = drift.clone();
    for Changed { owner, rtype, after, .. } in changed {
        drift.put(owner, *rtype, after.clone(), edit.rrset(owner, *rtype).as_ref());
    }
    for (owner, touched) in edit.touched() {
        drift.put(owner, touched.rtype, in_file(owner, touched.rtype), touched.now.as_ref());
    }
    Merged { step: edit.diff(), drift, warnings }
}

/// An RRset that both the file and updates have changed: what the file took away goes, what it brings comes.
fn both(served: Option<Rrset>, before: Option<&Rrset>, after: Option<&Rrset>) -> Option<Rrset> {
    let single = |set: &Rrset| matches!(set.rtype, Rtype::CNAME | Rtype::DNAME);
    if after.is_some_and(single) {
        return after.cloned();
    }
    let Some(mut set) = served else { return after.cloned() };
    let has = |set: Option<&Rrset>, rdata: &[u8]| set.is_some_and(|set| set.rdatas.iter().any(|r| **r == *rdata));
    set.rdatas.retain(|rdata| !has(before, rdata) || has(after, rdata));
    if let Some(after) = after {
        set.ttl = after.ttl;
        let new = after.rdatas.iter().filter(|rdata| !has(before, rdata));
        let new: Vec<_> = new.filter(|rdata| !set.rdatas.contains(rdata)).cloned().collect();
        set.rdatas.extend(new);
    }
    Some(set)
}

/// A CNAME stands alone (RFC 1034, 3.6.2). Of what the file says and what updates made, the file's stays.
fn alone_or_not(
    owner: &Name,
    edit: &mut Edit<'_>,
    in_file: &impl Fn(&Name, Rtype) -> Option<Rrset>,
    warnings: &mut Vec<String>,
) {
    let of_dnssec = |t: Rtype| matches!(t, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3);
    let types: Vec<Rtype> = edit.rrsets_at(owner).iter().map(|set| set.rtype).filter(|t| !of_dnssec(*t)).collect();
    if !types.contains(&Rtype::CNAME) || types.len() == 1 {
        return;
    }
    let keeps_cname = in_file(owner, Rtype::CNAME).is_some();
    for rtype in types.into_iter().filter(|t| (*t == Rtype::CNAME) != keeps_cname) {
        edit.set(owner, rtype, None);
        let beside = if keeps_cname { "the CNAME" } else { "the records" };
        warnings.push(format!("{owner}: the {rtype} that an update made gave way to {beside} in the file"));
    }
}

/// Takes away the signatures of what changes, where they were made here: they hold no longer.
fn drop_stale_signatures(edit: &mut Edit<'_>, in_file: &impl Fn(&Name, Rtype) -> Option<Rrset>) {
    let touched: Vec<(Name, Rtype)> = edit.touched().map(|(owner, touched)| (owner.clone(), touched.rtype)).collect();
    for (owner, rtype) in touched {
        if let Some(mut signatures) = edit.rrset(&owner, Rtype::RRSIG)
            && in_file(&owner, Rtype::RRSIG).is_none()
        {
            signatures.rdatas.retain(|rdata| !rdata.starts_with(&rtype.0.to_be_bytes()));
            edit.set(&owner, Rtype::RRSIG, Some(signatures));
        }
    }
}

/// An SOA without its serial.
fn beside_serial(soa: Option<&Rrset>) -> Option<Rrset> {
    let mut soa = soa?.clone();
    for rdata in &mut soa.rdatas {
        if let Some(tail) = rdata.last_chunk_mut::<20>() {
            tail[..4].fill(0);
        }
    }
    Some(soa)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::zone::compiled::{Overlay, compile};
    use crate::zone::{Contents, master};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(0);

    fn file(serial: u32, text: &str) -> Contents {
        let text = format!("@ 60 SOA ns mail {serial} 1 1 1 60\n@ 60 NS ns\nns 60 A 192.0.2.53\n{text}");
        master::parse(text.as_bytes(), "z".as_ref(), &"example".parse().unwrap()).unwrap().contents
    }

    /// A zone served, with its drift from the file.
    struct Served(Zone, Drift);

    impl Served {
        fn new(contents: Contents) -> Self {
            Self(compile(Arc::new(contents), &Overlay::default()), Drift::default())
        }
        fn update(self, change: impl FnOnce(&mut Edit<'_>)) -> Self {
            let mut edit = Edit::new(&self.0);
            change(&mut edit);
            edit.raise_serial(Policy::Increase, NOW);
            let mut drift = self.1.clone();
            drift.follow(&edit);
            Self(self.0.with(&edit.diff(), &Overlay::default()).unwrap(), drift)
        }
        fn reload(self, new: &Contents) -> (Self, Vec<String>) {
            let in_file = compile(Arc::new(new.clone()), &Overlay::default());
            let changed = self.1.changed(&self.0, &in_file);
            let Merged { step, drift, warnings } = merge(&self.0, &self.1, &changed, Policy::Increase, NOW);
            let zone = self.0.with(&step, &Overlay::default()).unwrap();
            // What the file and the drift say together is what is served.
            let mut made = new.clone();
            made.apply(&drift.diff(&zone)).unwrap();
            let made = compile(Arc::new(made), &Overlay::default());
            assert_eq!(print(&made), print(&zone));
            assert!(drift.changed(&zone, &in_file).is_empty());
            (Self(zone, drift), warnings)
        }
        fn shown(&self) -> String {
            print(&self.0)
        }
    }

    fn print(zone: &Zone) -> String {
        let mut contents = Contents::new(zone.apex().clone());
        for (owner, mut set) in zone.rrsets() {
            set.rdatas.sort();
            contents.owners.entry(owner).or_default().push(set);
        }
        master::print(&contents)
    }

    fn record(text: &str) -> crate::zone::Record {
        let contents = file(1, text);
        let (owner, set) = contents
            .owners
            .into_iter()
            .flat_map(|(o, sets)| sets.into_iter().map(move |s| (o.clone(), s)))
            .find(|(o, s)| s.rtype != Rtype::SOA && s.rtype != Rtype::NS && o.to_string() != "ns.example")
            .unwrap();
        crate::zone::Record { owner, rtype: set.rtype, ttl: set.ttl, rdata: set.rdatas[0].clone() }
    }

    #[test]
    fn updates_survive_an_edit_of_the_file() {
        let served = Served::new(file(7, "www 60 A 192.0.2.1\nold 60 A 192.0.2.9\n")).update(|edit| {
            edit.add(record("www 60 A 192.0.2.2"));
            edit.add(record("_acme.www 60 TXT token"));
        });
        assert_eq!(served.0.serial(), 8);
        let (served, warnings) = served.reload(&file(20, "www 60 A 192.0.2.1\nwww 60 A 192.0.2.3\n"));
        assert_eq!((served.0.serial(), warnings), (20, vec![]));
        let shown = served.shown();
        for there in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "token"] {
            assert!(shown.contains(there), "{there}: {shown}");
        }
        assert!(!shown.contains("192.0.2.9"), "{shown}");
        // And what an update had taken away stays away.
        let served = served.update(|edit| _ = edit.remove(&"www.example".parse().unwrap(), Rtype::A, &[192, 0, 2, 1]));
        let (served, _) = served.reload(&file(21, "www 60 A 192.0.2.1\nwww 60 A 192.0.2.4\n"));
        let shown = served.shown();
        assert!(
            shown.contains("192.0.2.4") && shown.contains("192.0.2.2") && !shown.contains("192.0.2.1\n"),
            "{shown}"
        );
    }

    #[test]
    fn the_served_serial_goes_up_whatever_the_file_says() {
        let served = Served::new(file(7, ""));
        let (served, warnings) = served.reload(&file(7, "new 60 A 192.0.2.1\n"));
        assert_eq!(served.0.serial(), 8);
        assert_eq!(warnings, ["the serial in its file was not raised (7, it was 7): served is 8"]);
        let (served, warnings) = served.reload(&file(5, "new 60 A 192.0.2.2\n"));
        assert_eq!(served.0.serial(), 9);
        assert_eq!(warnings, ["the serial in its file went back (5, it was 7): served is 9"]);
        let (served, warnings) = served.reload(&file(8, "new 60 A 192.0.2.3\n"));
        assert_eq!(served.0.serial(), 10);
        assert_eq!(warnings, ["the serial in its file, 8, is not above 9: served is 10"]);
        let (served, warnings) = served.reload(&file(11, "new 60 A 192.0.2.3\n"));
        assert_eq!((served.0.serial(), warnings, served.1), (11, vec![], Drift::default()));
    }

    #[test]
    fn what_cannot_stand_together_gives_way_to_the_file() {
        let served = Served::new(file(7, "")).update(|edit| _ = edit.add(record("www 60 A 192.0.2.1")));
        let (served, warnings) = served.reload(&file(8, "www 60 CNAME ns\n"));
        assert!(warnings[0].contains("www.example: the A that an update made gave way to the CNAME in the file"));
        assert!(!served.shown().contains("192.0.2.1"));

        let served = Served::new(file(7, "")).update(|edit| _ = edit.add(record("www 60 CNAME ns")));
        let (served, warnings) = served.reload(&file(8, "www 60 TXT here\n"));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(!served.shown().contains("CNAME"));
    }

    #[test]
    fn the_soa_of_the_file_comes_but_for_its_serial() {
        let served = Served::new(file(7, "")).update(|edit| _ = edit.add(record("www 60 A 192.0.2.1")));
        let mut new = file(7, "");
        new.owners.get_mut(&"example".parse().unwrap()).unwrap()[0].rdatas[0][20] ^= 1;
        let (served, _) = served.reload(&new);
        assert_eq!(served.0.serial(), 9);
    }

    proptest! {
        #[test]
        fn file_and_drift_together_are_what_is_served(
            steps in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec((0u8..4, 0u8..4, 1u8..3), 0..6), 0u32..12), 1..8),
        ) {
            let mut served = Served::new(file(5, ""));
            for (is_reload, records, serial) in steps {
                let before = served.0.serial();
                let line = |(owner, last, _): &(u8, u8, u8)| format!("h{owner} 60 A 192.0.2.{last}");
                let text = records.iter().map(line).collect::<Vec<_>>().join("\n");
                if is_reload {
                    served = served.reload(&file(serial, &text)).0; // it asserts what must hold
                } else {
                    served = served.update(|edit| for (owner, last, way) in &records {
                        let record = record(&format!("h{owner} 60 A 192.0.2.{last}"));
                        if *way == 1 {
                            edit.add(record);
                        } else {
                            edit.remove(&record.owner, record.rtype, &record.rdata);
                        }
                    });
                }
                prop_assert!(served.0.serial() == before || serial::is_newer(served.0.serial(), before));
            }
        }
    }
}
