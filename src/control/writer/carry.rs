//! What zones that are given to secondaries carry in place of pools: records that stand in the zone as it is served, so that
//! they have its serial, journal and signatures. Our own answers do not see them: the pool lies over them.
//!
//! A zone is brought up to date behind each publication, in a step of its own, and when a cutover comes near. Until then it
//! carries what it carried, and horizons count that.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::control::carried::{Carried, Final, Leaving, OfPool, TRANSFER_SECS, Version};
use crate::control::horizons::Known;
use crate::control::message::why::Why;
use crate::control::message::{PoolChange, SecondaryStatus};
use crate::control::records::{self, RecordError, carried_key, horizon_key};
use crate::control::writer::{SELF, Writer};
use crate::control::zones::ZoneError;
use crate::dns::{Name, Rtype};
use crate::steering::horizon::{Report, expires};
use crate::steering::pool::{Family, SiteName, Transfer};
use crate::steering::ttl::{carried_ttl, lowered_at};
use crate::store::{StateStore, Write};
use crate::time::Timestamp;
use crate::zone::{Edit, Rrset, Zone};

/// What failed is tried again after so long.
const RETRY_SECS: u64 = 10;

/// What zones carry, and how far that is looked after.
#[derive(Debug, Default)]
pub(super) struct Carrying {
    /// By zone.
    zones: BTreeMap<Name, Carried>,
    /// By zone, of planned RRsets.
    pub(super) rrsets: BTreeMap<Name, Carried>,
    /// The publication that it was brought up to date with.
    seen: u64,
    /// The changes at receivers that were taken in.
    heard: u64,
    /// When it is to be looked at although nothing was published.
    due: Option<Timestamp>,
}

/// What the store says of it.
pub(super) async fn stored(store: &dyn StateStore) -> Result<Carrying, RecordError> {
    let zones = records::all(store, "carried/").await?.into_iter().collect();
    let rrsets = records::all(store, "carried-rrsets/").await?.into_iter().collect();
    Ok(Carrying { zones, rrsets, ..Carrying::default() })
}

/// What a zone shall carry of one pool.
struct Wish {
    of: OfPool,
    /// Of the pools that it leads to.
    through: BTreeMap<Name, OfPool>,
    sets: Vec<Option<Rrset>>,
}

impl Wish {
    /// Adds what comes from pools below to what is known of those already.
    fn add_through(&mut self, all: &mut BTreeMap<Name, OfPool>) {
        for (pool, of) in std::mem::take(&mut self.through) {
            let Some(known) = all.get_mut(&pool) else {
                all.insert(pool, of);
                continue;
            };
            known.ttl = known.ttl.max(of.ttl);
            known.sites.extend(of.sites);
            known.sites.sort_unstable();
            known.sites.dedup();
            known.types.extend(of.types.into_iter().filter(|rtype| !known.types.contains(rtype)).collect::<Vec<_>>());
        }
    }
}

impl Writer {
    /// Brings what zones carry up to date where something was published since, or time has come. Gives the zones that have
    /// changed: they are to be published.
    pub(super) async fn carry_due(&mut self, now: Timestamp) -> Vec<(Name, u32)> {
        let is_due = self.carrying.due.is_some_and(|due| due <= now);
        if self.carrying.seen == self.serial && !is_due { Vec::new() } else { self.carry(now).await }
    }

    /// Brings what all zones carry up to date. Gives those that have changed: they are to be published.
    pub(super) async fn carry(&mut self, now: Timestamp) -> Vec<(Name, u32)> {
        (self.carrying.seen, self.carrying.due) = (self.serial, None);
        let mut changed = Vec::new();
        for index in 0..self.catalog.zones.len() {
            let name = self.catalog.zones[index].name.clone();
            match self.carry_zone(index, now).await {
                Ok(serial) => changed.extend(serial.map(|serial| (name, serial))),
                Err(error) => {
                    tracing::error!(zone = %name, %error, "secondaries are not told of what pools answer: it is tried again");
                    self.carry_at(now.after(RETRY_SECS));
                }
            }
        }
        self.carry_rrsets(now).await;
        changed
    }

    fn carry_at(&mut self, at: Timestamp) {
        self.carrying.due = Some(self.carrying.due.map_or(at, |due| due.min(at)));
    }

    async fn carry_zone(&mut self, index: usize, now: Timestamp) -> Result<Option<u32>, ZoneError> {
        let settings = &self.catalog.settings.zones[index];
        let (name, is_given, is_signed) = (settings.name.clone(), settings.is_given(), settings.dnssec.is_some());
        let known = self.carrying.zones.get(&name);
        if !is_given && known.is_none_or(|known| known.pools.is_empty()) {
            return Ok(None);
        }
        let Some(served) = &self.catalog.zones[index].served else { return Ok(None) };
        let (zone, drift) = (served.zone.clone(), served.drift.clone());
        let (refresh_secs, expire_secs) = timers(&zone);
        let places = self.catalog.settings.pools.iter().enumerate();
        let places = places.filter(|(_, pool)| is_given && served.overlay.contains_key(&pool.name));
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        let mut edit = Edit::new(&zone);
        let (mut pools, mut through) = (BTreeMap::new(), BTreeMap::new());
        for place in places {
            let mut wish = self.wish(place, is_signed, refresh_secs, now);
            let pool = &self.catalog.settings.pools[place];
            wish.add_through(&mut through);
            for (rtype, set) in wish.of.types.iter().zip(wish.sets) {
                edit.set(&pool.name, *rtype, set);
            }
            pools.insert(pool.name.clone(), wish.of);
        }
        for (pool, of) in known.iter().flat_map(|known| &known.pools) {
            let is_steered = |rtype: &&Rtype| pools.get(pool).is_some_and(|of| of.types.contains(rtype));
            for rtype in of.types.iter().filter(|rtype| !is_steered(rtype)) {
                edit.set(pool, *rtype, drift.in_file(&zone, pool, *rtype));
            }
        }
        let soonest = |pool: &Name| {
            let ttl = &self.catalog.pool(pool)?.ttl;
            Some(lowered_at(ttl, self.state.pools.get(pool)?.cutover?, refresh_secs)).filter(|at| *at > now)
        };
        let below = |pool: &&Name| self.catalog.pool(pool).and_then(|pool| pool.nest.clone());
        let below: Vec<Name> =
            pools.keys().filter_map(|pool| below(&pool)).flat_map(|nest| nest.pools().to_vec()).collect();
        if let Some(due) = pools.keys().chain(&below).filter_map(soonest).min() {
            self.carry_at(due);
        }
        let is_same = |known: &Carried| known.pools == pools && known.through == through;
        let is_same = self.carrying.zones.get(&name).map_or(pools.is_empty(), is_same);
        if is_same && !edit.changes_anything() {
            return Ok(None);
        }
        edit.raise_serial(self.catalog.settings.zones[index].serial, now);
        let mut next = self.carrying.zones.get(&name).cloned().unwrap_or_default();
        // So that nobody is missed who has just begun.
        next.admit(zone.serial(), &self.secondaries.others(&name), now);
        next.replace(pools, through, Version { serial: edit.serial(), at: now, expire_secs }, &self.listed(&name));
        let writes = vec![write(&name, &next)];
        let serial = if edit.changes_anything() {
            let words = (SELF.to_owned(), "what secondaries answer in place of pools".to_owned());
            Some(self.make_change(index, edit, words, writes, now).await?.0)
        } else {
            self.commit(writes).await.map_err(|error| ZoneError::Store(error.to_string()))?;
            None
        };
        self.carrying.zones.insert(name, next);
        Ok(serial)
    }

    /// What secondaries shall answer in place of the pool at `place`: the records of leaves.
    fn wish(&self, place: usize, is_signed: bool, refresh_secs: u32, now: Timestamp) -> Wish {
        let settings = &self.catalog.settings.pools[place];
        let selector = self.selector(place);
        let withdrawn = self.withdrawn_leaves(place, &self.withdrawn(place, &selector));
        let records = |leaf: usize, rtype: Rtype| {
            let is_withdrawn = match withdrawn[leaf] {
                Some(Family::Ipv4) => rtype == Rtype::A,
                Some(Family::Ipv6) => rtype == Rtype::AAAA,
                None => false,
            };
            let given = settings.leaf(leaf).iter().find(|(t, _)| *t == rtype);
            given.map(|(_, rdatas)| rdatas).filter(|_| !is_withdrawn)
        };
        let largest = self.largest_leaf(place, &|_| true);
        let who = |rtype: Rtype| -> Vec<(usize, Vec<usize>)> {
            match settings.transfer {
                Transfer::All => self.answered_leaves(place),
                // The proofs of a signed zone say which types a name has, so that no type may come and go with the site.
                Transfer::Largest if is_signed => {
                    self.largest_leaf(place, &|leaf| records(leaf, rtype).is_some()).into_iter().collect()
                }
                Transfer::Largest => largest.clone().into_iter().collect(),
            }
        };
        let ttl_of = |place: usize| {
            let settings = &self.catalog.settings.pools[place];
            let (cutover, change) = (self.state.pools[&settings.name].cutover, self.change_of(&settings.name));
            carried_ttl(&settings.ttl, cutover.as_ref(), change.as_ref(), refresh_secs, now)
        };
        let (types, mut sites, mut found) = (settings.types(), Vec::<SiteName>::new(), Vec::new());
        let (mut ttl, mut below) = (ttl_of(place), BTreeMap::<usize, Vec<SiteName>>::new());
        let ways = settings.ways();
        for rtype in &types {
            let mut rdatas: Vec<Box<[u8]>> = Vec::new();
            for (leaf, way) in who(*rtype) {
                // One site for each pool on the way.
                for (pool, site) in way.iter().zip(&ways[leaf]) {
                    ttl = ttl.min(ttl_of(*pool));
                    let of = if *pool == place { &mut sites } else { below.entry(*pool).or_default() };
                    if !of.contains(site) {
                        of.push((*site).clone());
                    }
                }
                let new = records(leaf, *rtype).into_iter().flatten();
                let new: Vec<_> = new.filter(|rdata| !rdatas.contains(rdata)).cloned().collect();
                rdatas.extend(new);
            }
            found.push(rdatas);
        }
        let set = |(rtype, rdatas): (&Rtype, Vec<Box<[u8]>>)| {
            (!rdatas.is_empty()).then_some(Rrset { rtype: *rtype, ttl, rdatas })
        };
        let sets = types.iter().zip(found).map(set).collect();
        let of = |mut sites: Vec<SiteName>| {
            sites.sort_unstable();
            OfPool { sites, types: types.clone(), ttl }
        };
        let inner = |(place, sites): (usize, Vec<SiteName>)| {
            let (pool, mut of) = (&self.catalog.settings.pools[place], of(sites));
            let steered = pool.types(); // of other types that pool remembers nothing
            of.types.retain(|rtype| steered.contains(rtype));
            (pool.name.clone(), of)
        };
        let through = below.into_iter().map(inner).collect();
        Wish { of: of(sites), through, sets }
    }

    /// Takes in what has become known of receivers; horizons that are final by that are recorded.
    pub(super) async fn hear(&mut self, now: Timestamp) {
        let changes = self.secondaries.changes();
        let heard = std::mem::replace(&mut self.carrying.heard, changes) == changes;
        self.hear_of_rrsets(!heard, now).await;
        let is_quiet = |carried: &Carried| heard && carried.leaving.is_empty() && carried.others.is_empty();
        let names: Vec<Name> =
            self.carrying.zones.iter().filter(|(_, c)| !is_quiet(c)).map(|(n, _)| n.clone()).collect();
        let (mut writes, mut finals, mut nexts) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let known = &self.carrying.zones[&name];
            let (mut next, others) = (known.clone(), self.secondaries.others(&name));
            if let Some(served) = self.catalog.zone(&name).and_then(|zone| zone.served.as_ref()) {
                next.admit(served.zone.serial(), &others, now);
                for receiver in next.forget(timers(&served.zone).1, now) {
                    self.secondaries.forget(&name, receiver);
                }
            }
            let ends = next.settle(|receiver| self.secondaries.serial_at(&name, receiver), &others, now);
            finals.extend(ends.into_iter().map(|end| (name.clone(), end)));
            if next != *known {
                writes.push(write(&name, &next));
                nexts.push((name, next));
            }
        }
        if nexts.is_empty() || finals.iter().any(|(_, end)| self.unsettled.contains(&end.left.pool)) {
            return; // bounds of what was answered here give way to exact instants first
        }
        writes.extend(self.raise(&finals));
        if self.commit(writes).await.is_ok() {
            self.carrying.zones.extend(nexts);
            self.carrying.zones.retain(|_, carried| !carried.is_empty());
        }
    }

    /// Records horizons that have become final, each with its zone. Gives what makes them durable.
    fn raise(&mut self, finals: &[(Name, Final)]) -> Vec<Write> {
        let mut writes = Vec::new();
        for (zone, Final { left, at }) in finals {
            let types = left.types.iter().map(|rtype| (*rtype, *at)).collect();
            let known = Known::from([(left.site.clone(), types)]);
            self.horizons.add(&left.pool, &known);
            self.horizons.note(&left.pool, &known, |_, _, _| why(zone, left));
            writes.push(records::put(horizon_key(&left.pool), &self.horizons.known(&left.pool)));
        }
        writes
    }

    /// The addresses of the secondaries that are told of new serials of a zone.
    pub(super) fn listed(&self, zone: &Name) -> Vec<IpAddr> {
        let settings = self.catalog.settings.zones.iter().find(|settings| settings.name == *zone);
        settings.map_or_else(Vec::new, |zone| zone.notify.iter().map(|to| to.address.ip().to_canonical()).collect())
    }

    /// Whether anybody is known to be given `zone`.
    fn has_receivers(&self, zone: &Name, carried: &Carried) -> bool {
        !carried.others.is_empty() || !self.listed(zone).is_empty()
    }

    /// The zones that carry, or carried, something of a pool of this name: those above it, and where it is an endpoint of other
    /// pools, those of these.
    fn carried_of<'a>(&'a self, pool: &Name) -> impl Iterator<Item = (Name, &'a Carried)> {
        let all = || self.carrying.zones.iter();
        let has = |carried: &Carried| {
            carried.through.contains_key(pool) || carried.leaving.iter().any(|leaving| leaving.pool == *pool)
        };
        let elsewhere = all().filter(|(zone, carried)| has(carried) && !pool.is_at_or_below(zone));
        let elsewhere: Vec<Name> = elsewhere.map(|(zone, _)| zone.clone()).collect();
        let names = std::iter::successors(Some(pool.clone()), Name::parent).chain(elsewhere);
        names.filter_map(|name| self.carrying.zones.get(&name).map(|carried| (name, carried)))
    }

    /// What secondaries do to the horizon of an endpoint, and why; `None` when they have nothing of it.
    pub(super) fn report_of_secondaries(&self, pool: &Name, site: &str, now: Timestamp) -> Option<(Report, Why)> {
        let reports = self.carried_of(pool).flat_map(|(zone, carried)| {
            let given = carried.carries(pool, site).filter(|_| self.has_receivers(&zone, carried));
            let given =
                given.map(|ttl| (Report::of(Some(expires(now, ttl)), true), Why::Carried { zone: zone.clone(), ttl }));
            let left = carried.last(pool, site).map(|(at, left)| (Report::of(Some(at), false), why(&zone, left)));
            given.into_iter().chain(left)
        });
        reports
            .reduce(|(one, why), (other, its_why)| (one.merged(other), if other.at > one.at { its_why } else { why }))
    }

    /// When no cache has an endpoint any more that secondaries were given, if they are told now that it is another one, and
    /// none of them takes it; and why then.
    pub(super) fn bound_of_secondaries(&self, pool: &Name, site: &str, now: Timestamp) -> Option<(Timestamp, Why)> {
        let bounds = self.carried_of(pool).filter_map(|(zone, carried)| {
            let given = carried.carries(pool, site).filter(|_| self.has_receivers(&zone, carried));
            let served = self.catalog.zone(&zone).and_then(|zone| zone.served.as_ref());
            let expire_secs = served.map_or(0, |served| timers(&served.zone).1);
            let mut waiting: Vec<IpAddr> =
                self.listed(&zone).into_iter().chain(carried.others.keys().copied()).collect();
            waiting.sort_unstable();
            waiting.dedup();
            let unseen = given.map(|ttl| {
                let at = expires(now.after(TRANSFER_SECS + u64::from(expire_secs)), ttl);
                (at, Why::Secondaries { zone: zone.clone(), serial: None, waiting, expire_secs, ttl })
            });
            let left = carried.last(pool, site).map(|(at, left)| (at, why(&zone, left)));
            unseen.into_iter().chain(left).max_by_key(|(at, _)| *at)
        });
        bounds.max_by_key(|(at, _)| *at)
    }

    /// Endpoints of a pool that only secondaries may still answer.
    pub(super) fn left_at_secondaries(&self, pool: &Name) -> Vec<(SiteName, Vec<Rtype>)> {
        let leaving = self.carried_of(pool).flat_map(|(_, carried)| &carried.leaving);
        leaving.filter(|leaving| leaving.pool == *pool).map(|l| (l.site.clone(), l.types.clone())).collect()
    }

    /// Who is given `zone`.
    pub(super) fn secondaries_of(&self, zone: &Name) -> Vec<SecondaryStatus> {
        let listed = self.secondaries.of(zone).into_iter().map(|(address, known)| SecondaryStatus {
            address: address.to_string(),
            listed: true,
            serial: known.has.map(|(serial, _)| serial),
            since: known.has.map(|(_, at)| at),
            behind_since: known.behind_since(),
            asked_at: known.asked.map(|(_, at)| at),
            notified: known.notified.map(|(serial, _)| serial),
            problem: known.problem,
        });
        let others = self.secondaries.others(zone).into_iter().map(|(address, known)| SecondaryStatus {
            address: address.to_string(),
            listed: false,
            serial: known.has.map(|(serial, _)| serial),
            since: known.has.map(|(_, at)| at),
            behind_since: None,
            asked_at: None,
            notified: None,
            problem: None,
        });
        listed.chain(others).collect()
    }

    /// What a flip should say of secondaries.
    pub(super) fn warn_of_secondaries(&self, changes: &[PoolChange]) -> Vec<String> {
        let mut warnings = Vec::new();
        for change in changes {
            let Some((zone, _)) = self.carried_of(&change.name).find(|(_, c)| c.pools.contains_key(&change.name))
            else {
                continue;
            };
            let shared = change.endpoints.iter().filter(|endpoint| endpoint.share_percent[1] > 0.0).count() > 1;
            if self.catalog.pool(&change.name).is_some_and(|pool| pool.transfer == Transfer::Largest) && shared {
                let most = change.endpoints.iter().max_by(|a, b| a.share_percent[1].total_cmp(&b.share_percent[1]));
                let site = most.map_or("", |endpoint| endpoint.site.as_str());
                warnings.push(format!(
                    "pool {}: secondaries of zone {zone} can't steer: all whom they answer are given {site}",
                    change.name
                ));
            }
        }
        warnings
    }
}

fn write(zone: &Name, carried: &Carried) -> Write {
    let key = carried_key(zone);
    if carried.is_empty() { Write::Delete { key } } else { records::put(key, carried) }
}

/// REFRESH and EXPIRE of a zone's SOA, in seconds.
pub(super) fn timers(zone: &Zone) -> (u32, u32) {
    let tail = zone.soa().last_chunk::<16>(); // REFRESH RETRY EXPIRE MINIMUM
    let at =
        |at: usize| tail.map_or(0, |tail| u32::from_be_bytes([tail[at], tail[at + 1], tail[at + 2], tail[at + 3]]));
    (at(0), at(8))
}

/// Why receivers of `zone` may answer an endpoint yet that they were given.
fn why(zone: &Name, left: &Leaving) -> Why {
    let Leaving { serial, waiting, expire_secs, ttl, .. } = left;
    let (serial, waiting) = (Some(*serial), waiting.clone());
    Why::Secondaries { zone: zone.clone(), serial, waiting, expire_secs: *expire_secs, ttl: *ttl }
}
