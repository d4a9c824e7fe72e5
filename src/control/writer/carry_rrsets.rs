//! What secondaries answer of planned RRsets. They are given the zone as it is, with its own TTLs, so nothing is done to the
//! zone; but who still has an older version, and what that says, counts in the horizon.
//!
//! It is kept as what zones carry in place of pools is ([`Carried`]): by owner name, each version of an RRset in the place of a
//! site.

use std::collections::BTreeMap;

use crate::control::carried::{Carried, Leaving, OfPool, Version};
use crate::control::planned::zone_of;
use crate::control::records::{self, carried_rrsets_key};
use crate::control::writer::Writer;
use crate::control::writer::carry::timers;
use crate::dns::{Name, Rtype};
use crate::steering::horizon::Report;
use crate::steering::planned::{RrsetKey, Seen};
use crate::store::Write;
use crate::time::Timestamp;

impl Writer {
    /// Takes note of what zones that are transferred say of planned RRsets now.
    pub(super) async fn carry_rrsets(&mut self, now: Timestamp) {
        let earlier = self.rrsets.replaced_unseen();
        for index in 0..self.catalog.zones.len() {
            let settings = &self.catalog.settings.zones[index];
            let name = settings.name.clone();
            let known = self.carrying.rrsets.get(&name);
            if !settings.is_transferred() && known.is_none_or(|known| known.pools.is_empty()) {
                continue;
            }
            let Some(served) = &self.catalog.zones[index].served else { continue };
            let mut next = known.cloned().unwrap_or_default();
            let serial = served.zone.serial();
            let expire_secs = next.expire_secs.max(timers(&served.zone).1);
            let here = |key: &RrsetKey| settings.is_transferred() && zone_of(&self.catalog, &key.name) == Some(index);
            let pools = of_names(self.rrsets.seen().filter(|(key, _)| here(key)));
            // What was replaced in the step that planned it stood there until now.
            for (key, seen) in earlier.iter().filter(|(key, _)| here(key)) {
                add(&mut next.pools, key.clone(), *seen);
            }
            if next.pools == pools && next.expire_secs == expire_secs {
                continue;
            }
            next.expire_secs = expire_secs;
            next.admit(serial, &self.secondaries.others(&name), now);
            next.replace(pools, BTreeMap::new(), Version { serial, at: now, expire_secs }, &self.listed(&name));
            // Where this fails it is tried again behind the next publication.
            if self.commit(vec![write(&name, &next)]).await.is_ok() {
                self.carrying.rrsets.insert(name, next);
            }
        }
    }

    /// Takes in what has become known of receivers.
    pub(super) async fn hear_of_rrsets(&mut self, is_news: bool, now: Timestamp) {
        let is_quiet = |carried: &Carried| !is_news && carried.leaving.is_empty() && carried.others.is_empty();
        let names: Vec<Name> =
            self.carrying.rrsets.iter().filter(|(_, c)| !is_quiet(c)).map(|(n, _)| n.clone()).collect();
        for name in names {
            let known = &self.carrying.rrsets[&name];
            let (mut next, others) = (known.clone(), self.secondaries.others(&name));
            if let Some(served) = self.catalog.zone(&name).and_then(|zone| zone.served.as_ref()) {
                next.admit(served.zone.serial(), &others, now);
                // The receivers themselves are forgotten with what is carried in place of pools.
                next.forget(timers(&served.zone).1, now);
            }
            let finals = next.settle(|receiver| self.secondaries.serial_at(&name, receiver), &others, now);
            if next == *known {
                continue;
            }
            let mut ends = Vec::new();
            for end in &finals {
                let key = rtype_of(&end.left.site).map(|rtype| RrsetKey { name: end.left.pool.clone(), rtype });
                ends.extend(key.filter(|key| self.is_past(key, &end.left.site)).map(|key| (key, end.at)));
            }
            if ends.iter().any(|(key, _)| self.rrsets.is_unsettled(key)) {
                continue; // bounds of what was answered here give way to exact instants first
            }
            let mut writes = vec![write(&name, &next)];
            for (key, at) in ends {
                writes.extend(self.rrsets.raise_past(&key, at));
            }
            if self.commit(writes).await.is_ok() {
                self.carrying.rrsets.insert(name, next);
                self.carrying.rrsets.retain(|_, carried| !carried.is_empty());
            }
        }
    }

    /// What secondaries do to the horizon of an RRset as it was, and why; `None` when they have nothing of it.
    pub(super) fn rrset_at_secondaries(&self, key: &RrsetKey) -> Option<(Report, String)> {
        let zone = &self.catalog.zones[zone_of(&self.catalog, &key.name)?].name;
        let of = |leaving: &&Leaving| {
            leaving.pool == key.name && rtype_of(&leaving.site) == Some(key.rtype) && self.is_past(key, &leaving.site)
        };
        let leaving = self.carrying.rrsets.get(zone)?.leaving.iter().filter(of);
        let (at, leaving) =
            leaving.filter_map(|leaving| Some((leaving.until()?, leaving))).max_by_key(|(at, _)| *at)?;
        let waiting = leaving.waiting.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let why = if waiting.is_empty() {
            "secondaries took the change a moment ago, and caches hold what they answered before".to_owned()
        } else {
            format!("{waiting} was not seen at serial {}: its copy of the zone counts until it expires", leaving.serial)
        };
        Some((Report::of(Some(at), false), why))
    }

    /// Whether this version of an RRset is not what it is now.
    fn is_past(&self, key: &RrsetKey, version: &str) -> bool {
        let now = self.rrsets.get(key).and_then(|(_, state)| state.seen);
        now.is_none_or(|seen| version_of(key.rtype, seen) != version)
    }
}

/// What zones say of RRsets, by owner name.
fn of_names(seen: impl Iterator<Item = (RrsetKey, Seen)>) -> BTreeMap<Name, OfPool> {
    let mut names: BTreeMap<Name, OfPool> = BTreeMap::new();
    for (key, seen) in seen {
        add(&mut names, key, seen);
    }
    names
}

fn add(names: &mut BTreeMap<Name, OfPool>, RrsetKey { name, rtype }: RrsetKey, seen: Seen) {
    let of = names.entry(name).or_insert_with(|| OfPool { sites: Vec::new(), types: Vec::new(), ttl: seen.ttl });
    of.ttl = of.ttl.max(seen.ttl);
    of.types.push(rtype);
    of.sites.push(version_of(rtype, seen));
}

/// A version of an RRset: its type, then its digest.
fn version_of(rtype: Rtype, seen: Seen) -> String {
    format!("{rtype} {:016x}", seen.digest)
}

fn rtype_of(version: &str) -> Option<Rtype> {
    Rtype::parse(version.split(' ').next()?)
}

fn write(zone: &Name, carried: &Carried) -> Write {
    let key = carried_rrsets_key(zone);
    if carried.is_empty() { Write::Delete { key } } else { records::put(key, carried) }
}
