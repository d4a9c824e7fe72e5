//! The cache horizons of all pools, over the life of recorders, configurations and processes.
//!
//! While running, each pool's recorder knows them exactly. What is durable is an upper bound: each change that is committed
//! brings what the state before it allowed, and a clean stop what was recorded. So nothing is written per answer, and a
//! horizon after a crash is never too early.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::control::catalog::Catalog;
use crate::control::message::why::Why;
use crate::control::state::{PoolState, State};
use crate::dns::{Name, Rtype};
use crate::query::{Readers, Records};
use crate::steering::horizon::{Recorder, expires, recovered};
use crate::steering::pool::SiteName;
use crate::steering::ttl::TtlPolicy;
use crate::time::Timestamp;

/// By site and type: the latest instant known. As the store keeps it for one pool.
pub type Known = BTreeMap<SiteName, BTreeMap<Rtype, Timestamp>>;

/// By site and type: an instant and where it comes from.
type Noted = BTreeMap<(SiteName, Rtype), (Timestamp, Why)>;

/// How long a commit may take, and a kill follow right then, before the bounds of horizons that it stored are too early.
/// They last until the workers have left the snapshot before: then what was recorded takes their place.
pub const STALL_SECS: u64 = 10;

/// The horizons of all pools.
pub struct Horizons {
    /// In the order of the catalog's pools.
    current: Vec<Tracked>,
    /// Where each pool stands there.
    places: HashMap<Name, usize>,
    /// Recorders that a worker may still write, since it has not left the snapshot of this serial's predecessor.
    retiring: Vec<(u64, Tracked)>,
    /// Of endpoints and pools that the configuration no longer has.
    departed: BTreeMap<Name, Known>,
    /// By pool: where instants come from that no worker of this process recorded.
    sources: BTreeMap<Name, Noted>,
    workers: usize,
    /// Of the last recorder made.
    number: u32,
    /// For each recorder in use, by number, of how many types it is.
    types: BTreeMap<u32, usize>,
}

/// A recorder and what its slots are.
#[derive(Clone)]
struct Tracked {
    pool: Name,
    sites: Vec<SiteName>,
    records: Arc<Records>,
    recorder: Arc<Recorder>,
}

impl Tracked {
    fn slots(&self) -> impl Iterator<Item = (&SiteName, Rtype, usize)> {
        self.sites.iter().enumerate().flat_map(move |(endpoint, site)| {
            let slot = move |t: &Rtype| self.records.slot(endpoint, *t).map(|slot| (site, *t, slot));
            self.records.types().iter().filter_map(slot)
        })
    }

    fn known(&self) -> Known {
        let mut known = Known::new();
        for (site, rtype, slot) in self.slots() {
            if let Some(at) = self.recorder.latest(slot) {
                raise(&mut known, site, rtype, at);
            }
        }
        known
    }

    fn slot_of(&self, site: &str, rtype: Rtype) -> Option<usize> {
        let endpoint = self.sites.iter().position(|s| s == site)?;
        self.records.slot(endpoint, rtype)
    }
}

impl Horizons {
    /// None yet, for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self {
            current: Vec::new(),
            places: HashMap::new(),
            retiring: Vec::new(),
            departed: BTreeMap::new(),
            sources: BTreeMap::new(),
            workers,
            number: 0,
            types: BTreeMap::new(),
        }
    }

    /// Follows a configuration that `serial` publishes. Recorders stay where a pool's endpoints and types stay.
    pub fn follow(&mut self, catalog: &Catalog, serial: u64) {
        let old = std::mem::take(&mut self.current);
        let places = std::mem::take(&mut self.places);
        for (pool, records) in catalog.settings.pools.iter().zip(&catalog.records) {
            let sites: Vec<SiteName> = pool.endpoints.iter().map(|e| e.site.clone()).collect();
            let same = places.get(&pool.name).map(|place| &old[*place]);
            let same = same.filter(|old| old.sites == sites && old.records.types() == records.types());
            let recorder = same.map_or_else(
                || {
                    self.number += 1;
                    let slots = sites.len() * records.types().len(); // pools that are endpoints have recorders of their own
                    Arc::new(Recorder::new(self.workers, slots).numbered(self.number))
                },
                |same| same.recorder.clone(),
            );
            self.places.insert(pool.name.clone(), self.current.len());
            self.current.push(Tracked { pool: pool.name.clone(), sites, records: records.clone(), recorder });
        }
        self.types = self.current.iter().map(|t| (t.recorder.number(), t.records.types().len())).collect();
        for tracked in old {
            if !self.types.contains_key(&tracked.recorder.number()) {
                self.add(&tracked.pool, &tracked.known());
                self.retiring.push((serial, tracked));
            }
        }
        for (pool, known) in std::mem::take(&mut self.departed) {
            self.add(&pool, &known); // an endpoint that came back is tracked again
        }
    }

    /// Takes over what recorders got to know that nobody writes any more.
    pub fn settle(&mut self, readers: &Readers) {
        for (serial, tracked) in std::mem::take(&mut self.retiring) {
            let left = readers.left(serial);
            self.add(&tracked.pool, &tracked.known());
            if !left {
                self.retiring.push((serial, tracked));
            }
        }
    }

    /// Raises horizons to what is known from elsewhere.
    pub fn add(&mut self, pool: &Name, known: &Known) {
        for (site, types) in known {
            for (rtype, at) in types {
                let tracked = self.tracked(pool);
                match tracked.and_then(|t| Some((t, t.slot_of(site, *rtype)?))) {
                    Some((tracked, slot)) => tracked.recorder.raise(slot, *at),
                    None => raise(self.departed.entry(pool.clone()).or_default(), site, *rtype, *at),
                }
            }
        }
    }

    /// Notes where instants come from that were raised to.
    pub fn note(&mut self, pool: &Name, known: &Known, why: impl Fn(&str, Rtype, Timestamp) -> Why) {
        let sources = self.sources.entry(pool.clone()).or_default();
        for (site, types) in known {
            for (rtype, at) in types {
                let place = (site.clone(), *rtype);
                if sources.get(&place).is_none_or(|(noted, _)| noted <= at) {
                    sources.insert(place, (*at, why(site, *rtype, *at)));
                }
            }
        }
    }

    /// Where the horizon `at` of an endpoint comes from: of several types what was noted of any.
    pub fn why(&self, pool: &Name, site: &str, rtype: Option<Rtype>, at: Timestamp) -> Why {
        let noted = self.sources.get(pool).into_iter().flatten();
        let mut of = noted.filter(|((s, t), (noted, _))| s == site && rtype.is_none_or(|r| r == *t) && *noted == at);
        of.next().map_or(Why::Answer { ttl: None }, |(_, (_, why))| why.clone())
    }

    fn tracked(&self, pool: &Name) -> Option<&Tracked> {
        self.places.get(pool).map(|place| &self.current[*place])
    }

    /// Which endpoint and type a slot of the recorder with this number is for; the type by its place in the pool's.
    pub fn place_of(&self, number: u32, slot: usize) -> Option<(usize, usize)> {
        let types = self.types.get(&number).copied().filter(|types| *types > 0)?;
        Some((slot / types, slot % types))
    }

    /// The recorder of a pool, by its place in the catalog.
    pub fn recorder(&self, pool: usize) -> &Arc<Recorder> {
        &self.current[pool].recorder
    }

    /// All that is known of a pool, by site and type.
    pub fn known(&self, pool: &Name) -> Known {
        let mut known = self.departed.get(pool).cloned().unwrap_or_default();
        let retiring = self.retiring.iter().map(|(_, tracked)| tracked).filter(|tracked| tracked.pool == *pool);
        for tracked in self.tracked(pool).into_iter().chain(retiring) {
            merge(&mut known, &tracked.known());
        }
        known
    }

    /// Whether a recorder of an endpoint that is no longer configured may still be written.
    pub fn is_retiring(&self, pool: &Name) -> bool {
        self.retiring.iter().any(|(_, t)| t.pool == *pool)
    }

    /// Endpoints of a pool that the configuration no longer has, with their horizons.
    pub fn departed(&self, pool: &Name) -> Known {
        self.departed.get(pool).cloned().unwrap_or_default()
    }

    /// Pools that the configuration no longer has, or not all their endpoints, but caches may.
    pub fn departed_names(&self) -> impl Iterator<Item = &Name> {
        self.departed.keys()
    }

    /// Pools that the configuration no longer has, but caches may.
    pub fn departed_pools(&self) -> impl Iterator<Item = &Name> {
        self.departed.keys().filter(|name| !self.places.contains_key(*name))
    }

    /// The wall clock was set forward by `by_secs`: what was still to come at `past`, by the clock as it was, comes so much later
    /// by the clock as it is.
    pub fn move_along(&mut self, past: Timestamp, by_secs: u64) {
        for tracked in self.current.iter().chain(self.retiring.iter().map(|(_, tracked)| tracked)) {
            for (_, _, slot) in tracked.slots() {
                if let Some(at) = tracked.recorder.latest(slot).filter(|at| *at >= past) {
                    tracked.recorder.raise(slot, at.after(by_secs));
                }
            }
        }
        let departed = self.departed.values_mut().flat_map(BTreeMap::values_mut).flat_map(BTreeMap::values_mut);
        let noted = self.sources.values_mut().flat_map(BTreeMap::values_mut).map(|(at, _)| at);
        for at in departed.chain(noted).filter(|at| **at >= past) {
            *at = at.after(by_secs);
        }
    }

    /// Forgets departed endpoints whose horizon has passed by a day.
    pub fn forget(&mut self, now: Timestamp) {
        for known in self.departed.values_mut() {
            for types in known.values_mut() {
                types.retain(|_, at| at.after(86_400) > now);
            }
            known.retain(|_, types| !types.is_empty());
        }
        self.departed.retain(|_, known| !known.is_empty());
        self.sources.retain(|_, noted| {
            noted.retain(|_, (at, _)| at.after(86_400) > now);
            !noted.is_empty()
        });
    }

    /// What may be out there once `state` gives way at `now`: all that is recorded, and for each endpoint that `state` could
    /// answer, what an answer could live that is being given about now, by workers on their way to the next snapshot. What
    /// was given before that is on record, so that a TTL which has long gone down does not count any more. They may be on their
    /// way for `while_secs`.
    pub fn bound(&self, name: &Name, state: &PoolState, policy: &TtlPolicy, now: Timestamp, while_secs: u64) -> Known {
        let mut bound = self.known(name);
        let (from, to) = (now.before(1), now.after(while_secs));
        let until = expires(to, state.largest_ttl_within(policy, from, to));
        for (i, endpoint) in state.endpoints.iter().enumerate() {
            if !state.may_answer(i) {
                continue;
            }
            for rtype in &state.types {
                raise(&mut bound, &endpoint.site, *rtype, until);
            }
        }
        bound
    }
}

/// What horizons are after an unclean stop, pool by pool: see [`recovered`]. `state` is the one stored.
pub fn recover(
    state: &State,
    stored: &BTreeMap<Name, Known>,
    policies: &Catalog,
    restart: Timestamp,
) -> BTreeMap<Name, Known> {
    let mut all = stored.clone();
    for (name, pool) in &state.pools {
        let policy = policies.settings.pools.iter().find(|p| p.name == *name).map(|p| p.ttl);
        let largest = policy.map_or(pool.normal, |policy| pool.largest_ttl_within(&policy, Timestamp(0), restart));
        let known = all.entry(name.clone()).or_default();
        for (i, endpoint) in pool.endpoints.iter().enumerate() {
            for rtype in &pool.types {
                let recorded = known.get(&endpoint.site).and_then(|types| types.get(rtype)).copied();
                if let Some(at) = recovered(recorded, restart, largest, pool.could_answer(i)) {
                    raise(known, &endpoint.site, *rtype, at);
                }
            }
        }
    }
    all
}

fn raise(known: &mut Known, site: &str, rtype: Rtype, at: Timestamp) {
    let types = known.entry(site.to_owned()).or_default();
    let latest = types.entry(rtype).or_insert(at);
    *latest = at.max(*latest);
}

fn merge(into: &mut Known, other: &Known) {
    for (site, types) in other {
        for (rtype, at) in types {
            raise(into, site, *rtype, *at);
        }
    }
}
