//! Endpoints that are pools: how they are, what is published together with the pool that changes, and what comes of it above.
//!
//! Such an endpoint is up while its pool has somebody healthy to answer. That is worked out anew whenever a pool below is
//! published, in the same publication: no probe, no rise and fall, no damping of its own, for those of the pools below stand
//! before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::health::EndpointHealth;
use crate::control::message::{LeafStatus, PoolChange};
use crate::control::writer::Writer;
use crate::dns::{Name, Ttl};
use crate::query::Pool;
use crate::query::nest::{Branch, Nest};
use crate::steering::key::{ClientKey, point};
use crate::steering::pool::{Family, Policy, Settings, SiteName};
use crate::steering::select::{Mode, Selector};
use crate::steering::ttl::{Change, largest_ttl};
use crate::time::Timestamp;

/// By pool and site of endpoints that are pools: whether they are up, since when, where that has changed since the start.
pub(super) type Regions = BTreeMap<(Name, SiteName), (bool, Timestamp)>;

impl Writer {
    /// The places of the pools that the endpoints of the pool at `index` are.
    pub(super) fn inner(&self, index: usize) -> impl Iterator<Item = Option<usize>> {
        let endpoints = &self.catalog.settings.pools[index].endpoints;
        endpoints.iter().map(|endpoint| self.catalog.pool_index(endpoint.pool.as_ref()?))
    }

    /// The place of the pool that an endpoint is.
    pub(super) fn inner_at(&self, index: usize, endpoint: usize) -> Option<usize> {
        self.catalog.pool_index(self.catalog.settings.pools[index].endpoints.get(endpoint)?.pool.as_ref()?)
    }

    /// Whether the pool at `index` has somebody healthy to answer.
    pub(super) fn has_healthy(&self, index: usize) -> bool {
        self.selector(index).mode() != Mode::FailOpen
    }

    /// Whether the endpoint of the pool at `index` counts as up by what is seen of it.
    pub(super) fn is_healthy(&self, index: usize, endpoint: usize) -> bool {
        if let Some(inner) = self.inner_at(index, endpoint) {
            return self.has_healthy(inner);
        }
        let settings = &self.catalog.settings.pools[index];
        let key = (settings.name.clone(), settings.endpoints[endpoint].site.clone());
        self.health.get(&key).is_none_or(EndpointHealth::is_up)
    }

    /// Up or down, as far as it is known: of an endpoint that is a pool once something of that pool is.
    pub(super) fn seen_state(&self, index: usize, endpoint: usize) -> Option<bool> {
        if let Some(inner) = self.inner_at(index, endpoint) {
            return self.is_seen(inner).then(|| self.has_healthy(inner));
        }
        let settings = &self.catalog.settings.pools[index];
        self.health.get(&(settings.name.clone(), settings.endpoints.get(endpoint)?.site.clone()))?.state()
    }

    fn is_seen(&self, index: usize) -> bool {
        (0..self.catalog.settings.pools[index].endpoints.len()).any(|i| self.seen_state(index, i).is_some())
    }

    /// Where the endpoints of the pool at `index` lead, if one of them is a pool.
    pub(super) fn branches(&self, index: usize) -> Option<Nest> {
        let settings = &self.catalog.settings.pools[index];
        settings.nest.as_ref()?;
        let branch = |(endpoint, inner): (usize, Option<usize>)| Branch {
            pool: inner.map(|inner| inner as u32),
            first_leaf: settings.leaves_of(endpoint).start as u32,
        };
        Some(Nest::new(self.inner(index).enumerate().map(branch)))
    }

    /// For each leaf of the pool at `index` the family that is not answered; `own` is that of its endpoints.
    pub(super) fn withdrawn_leaves(&self, index: usize, own: &[Option<Family>]) -> Vec<Option<Family>> {
        let of = |(endpoint, inner): (usize, Option<usize>)| match inner {
            None => vec![own[endpoint]],
            Some(inner) => self.withdrawn_leaves(inner, &self.withdrawn(inner, &self.selector(inner))),
        };
        self.inner(index).enumerate().flat_map(of).collect()
    }

    /// The leaf of the pool at `index` with the largest share along the endpoint with the largest share, of the leaves that `may`
    /// be; and the places of the pools on the way.
    pub(super) fn largest_leaf(&self, index: usize, may: &dyn Fn(usize) -> bool) -> Option<(usize, Vec<usize>)> {
        let settings = &self.catalog.settings.pools[index];
        let of = |endpoint: usize| {
            let leaves = settings.leaves_of(endpoint);
            match self.inner_at(index, endpoint) {
                None => Some((leaves.start, Vec::new())).filter(|(leaf, _)| may(*leaf)),
                Some(inner) => {
                    let (leaf, way) = self.largest_leaf(inner, &|leaf| may(leaves.start + leaf))?;
                    Some((leaves.start + leaf, way))
                }
            }
        };
        let endpoint = self.selector(index).largest(|endpoint| of(endpoint).is_some())?;
        let (leaf, mut way) = of(endpoint)?;
        way.insert(0, index);
        Some((leaf, way))
    }

    /// All leaves of the pool at `index` that may be answered, each with the places of the pools on the way.
    pub(super) fn answered_leaves(&self, index: usize) -> Vec<(usize, Vec<usize>)> {
        let (settings, selector) = (&self.catalog.settings.pools[index], self.selector(index));
        let mut found = Vec::new();
        for endpoint in (0..settings.endpoints.len()).filter(|endpoint| selector.answers(*endpoint)) {
            let first = settings.leaves_of(endpoint).start;
            let below = self
                .inner_at(index, endpoint)
                .map_or_else(|| vec![(0, Vec::new())], |inner| self.answered_leaves(inner));
            found.extend(below.into_iter().map(|(leaf, way)| (first + leaf, [vec![index], way].concat())));
        }
        found
    }

    /// The most that an answer of the pool at `index` may be served with now.
    pub(super) fn largest_served(&self, index: usize, now: Timestamp) -> Ttl {
        let published = self.published.load();
        let (settings, pool) = (&self.catalog.settings.pools[index], &published.pools[index]);
        let cutover = self.state.pools[&settings.name].cutover;
        let change = self.change_of(&settings.name);
        let own = pool.bounded_by_health(largest_ttl(&settings.ttl, cutover.as_ref(), change.as_ref(), now));
        let given = |i: usize| {
            pool.selector.answers(i) || (settings.previews(&settings.endpoints[i].site) && pool.selector.is_up(i))
        };
        let below = self.inner(index).enumerate().filter(|(endpoint, _)| given(*endpoint));
        let below = below.map(|(_, inner)| inner.map_or(own, |inner| self.largest_served(inner, now)));
        below.max().map_or(own, |most| most.min(own))
    }

    /// What share of its points leads to each leaf of the pool at `index`; none unless one of its endpoints is a pool.
    pub(super) fn leaf_statuses(&self, index: usize) -> Vec<LeafStatus> {
        let Some(nest) = &self.catalog.settings.pools[index].nest else { return Vec::new() };
        let published = self.published.load();
        let mut given = Vec::new();
        given_leaves(&published.pools, index, &mut given);
        let leaves = nest.leaves().iter().zip(self.leaf_shares(index)).zip(given);
        let told = |((leaf, share), answered): ((&crate::steering::nest::Leaf, f64), bool)| LeafStatus {
            sites: leaf.sites.clone(),
            share_percent: crate::control::decide::percent(share),
            answered,
        };
        leaves.map(told).collect()
    }

    fn leaf_shares(&self, index: usize) -> Vec<f64> {
        let state = &self.state.pools[&self.catalog.settings.pools[index].name];
        let of = |(endpoint, inner): (usize, Option<usize>)| -> Vec<f64> {
            let own = state.table.share(endpoint);
            let below = inner.map_or_else(|| vec![1.0], |inner| self.leaf_shares(inner));
            below.into_iter().map(|share| own * share).collect()
        };
        self.inner(index).enumerate().flat_map(of).collect()
    }

    /// Whether the shares of the pools that have `pool` as an endpoint lead a client there; of one that is none's, always.
    pub(super) fn is_led_to(&self, pool: &Name, key: &ClientKey) -> bool {
        let leads = |(outer, site): &(Name, SiteName)| {
            let Some(place) = self.catalog.pool_index(outer) else { return false };
            let state = &self.state.pools[outer];
            let by_key = self.catalog.settings.pools[place].policy == Policy::Sticky;
            let given = state.table.pick(point(&self.catalog.salts[place], key));
            (!by_key || given.is_some_and(|given| state.endpoints[given].site == *site)) && self.is_led_to(outer, key)
        };
        let outer = self.catalog.outer_of(pool);
        outer.is_empty() || outer.iter().any(leads)
    }

    /// In which other pools a change is seen, too.
    pub(super) fn outer_pools(&self, pools: &[PoolChange]) -> Vec<String> {
        let of = |change: &PoolChange| {
            let outer: Vec<String> =
                self.catalog.outer_of(&change.name).iter().map(|(outer, site)| format!("{outer} at {site}")).collect();
            let told = format!("pool {} is an endpoint of {}: clients move there, too", change.name, outer.join(", "));
            (!outer.is_empty()).then_some(told)
        };
        pools.iter().filter_map(of).collect()
    }

    /// That an endpoint which is a pool would get more clients although that has nobody healthy.
    pub(super) fn dead_region(&self, pool: &Name, site: &str) -> Option<String> {
        let endpoint = self.state.pools.get(pool)?.endpoint(site)?;
        let inner = self.inner_at(self.catalog.pool_index(pool)?, endpoint)?;
        let name = &self.catalog.settings.pools[inner].name;
        (!self.has_healthy(inner)).then(|| {
            format!(
                "pool {pool}: {site} is down, as pool {name} has nobody healthy to answer: its clients are given to others, or, \
                 where nobody is up, sent there all the same"
            )
        })
    }

    /// Ahead of a publication of the pools at `places`: where the health of an endpoint that is a pool has changed, that is told,
    /// and where it changes what is answered, the TTL is low after it as it is after any change of health.
    pub(super) fn follow_regions(&mut self, places: &[usize], now: Timestamp) {
        let (catalog, published) = (self.catalog.clone(), self.published.load_full());
        for &place in places {
            let settings = &catalog.settings.pools[place];
            if settings.nest.is_none() {
                continue;
            }
            let after = self.selector(place);
            let mut turned = false;
            for (endpoint, inner) in self.inner(place).enumerate().collect::<Vec<_>>() {
                let Some(inner) = inner else { continue };
                let (name, site) = (&settings.name, &settings.endpoints[endpoint].site);
                let (to, up) = (&catalog.settings.pools[inner].name, self.has_healthy(inner));
                let key = (name.clone(), site.clone());
                if up == self.regions.get(&key).is_none_or(|(up, _)| *up) {
                    continue;
                }
                turned = true;
                let (mode, answered) = (after.mode(), after.answers(endpoint));
                if up {
                    tracing::info!(pool = %name, site, %mode, answered, "{site} is up again: pool {to} has somebody healthy to answer");
                } else {
                    tracing::warn!(pool = %name, site, %mode, answered, "{site} is down: pool {to} has nobody healthy to answer");
                }
                self.regions.insert(key, (up, now));
            }
            let same = |pool: &&Arc<Pool>| pool.name == settings.name;
            // A reload may have put it to another place.
            let before = published.pools.get(place).filter(same).or_else(|| published.pools.iter().find(same));
            let sites = || settings.endpoints.iter().map(|endpoint| &endpoint.site);
            // Where it is new, or has other endpoints, that is a change of its own.
            let Some(before) = before.filter(|pool| pool.sites.iter().eq(sites())) else { continue };
            if turned && changes(&before.selector, &after, settings) {
                for &member in &*catalog.groups[place] {
                    let pool = catalog.settings.pools[member].name.clone();
                    self.health_changes.insert(pool, Change { at: now, confirmed: Some(now) });
                }
            }
        }
        let known = |(pool, site): &(Name, SiteName)| {
            let settings = catalog.pool(pool);
            settings.is_some_and(|pool| pool.endpoints.iter().any(|e| e.site == *site && e.pool.is_some()))
        };
        self.regions.retain(|key, _| known(key));
    }
}

/// Whether other endpoints are answered.
fn changes(before: &Selector, after: &Selector, settings: &Settings) -> bool {
    before.mode() != after.mode() || (0..settings.endpoints.len()).any(|i| before.answers(i) != after.answers(i))
}

/// For each leaf of the pool at `slot` whether it is given to anybody.
fn given_leaves(pools: &crate::query::Pools, slot: usize, given: &mut Vec<bool>) {
    let pool = &pools[slot];
    for endpoint in 0..pool.sites.len() {
        let answered = pool.selector.answers(endpoint);
        match pool.branch(endpoint).and_then(|branch| branch.pool) {
            None => given.push(answered),
            Some(inner) => {
                let first = given.len();
                given_leaves(pools, inner as usize, given);
                given[first..].iter_mut().for_each(|leaf| *leaf &= answered);
            }
        }
    }
}
