//! What recorded demand lets expect: of a flip about to be made, and for whoever asks.

use std::collections::BTreeMap;

use crate::control::decide::{self, Proposal, percent};
use crate::control::error::ControlError;
use crate::control::message::{EndpointForecast, FlipRequest, Forecast, LoadShare, PoolChange, Postponed};
use crate::control::state::{PoolState, State};
use crate::control::writer::Writer;
use crate::dns::Name;
use crate::steering::demand::{Demand, Expected, Load};
use crate::steering::key::point;
use crate::steering::pool::Policy;
use crate::steering::share::ShareTable;
use crate::time::Timestamp;

/// Client keys that are told by name.
const MOST_TOLD: usize = 100;

impl Writer {
    /// The flip that `request` asks for. Demand is merged only where it counts.
    pub(super) fn proposed(&self, request: &FlipRequest, now: Timestamp) -> Result<Proposal, ControlError> {
        let demand = if request.cap { self.demand(now) } else { Demand::default() };
        let load = |name: &Name| self.load(&demand, name);
        decide::flip(&self.state, &self.catalog.settings.pools, request, &load, now)
    }

    /// Adds to the changes of a flip what share of the load each endpoint is expected to have.
    pub(super) fn expect_loads(&self, changes: &mut [PoolChange], after: &BTreeMap<Name, PoolState>, now: Timestamp) {
        let demand = self.demand(now);
        for change in changes {
            let load = self.load(&demand, &change.name);
            let Some(pool) = after.get(&change.name).filter(|_| load.is_known()) else { continue };
            for endpoint in &mut change.endpoints {
                endpoint.load = pool.endpoint(&endpoint.site).map(|i| told(load.expected(&pool.table, i)));
            }
        }
    }

    pub(super) fn forecast(
        &self,
        name: &Name,
        request: &FlipRequest,
        now: Timestamp,
    ) -> Result<Forecast, ControlError> {
        let Some(before) = self.state.pools.get(name) else {
            return Err(ControlError::NotFound(format!("no pool {name}")));
        };
        let State { generation, .. } = self.state;
        let proposal = if request.from.is_some() { Some(self.proposed(request, now)?) } else { None };
        let after = proposal.as_ref().and_then(|p| p.touched.get(name)).unwrap_or(before);
        let demand = self.demand(now);
        let load = self.load(&demand, name);
        let mut warnings = proposal.as_ref().map(|p| p.warnings.clone()).unwrap_or_default();
        if !load.is_known() {
            warnings.push(
                "too little demand is on record to tell clients apart: load is taken to be as the points".to_owned(),
            );
        }
        let weights = |pool: &PoolState| pool.weights().iter().map(|w| f64::from(w.get())).collect::<Vec<_>>();
        let nominal = |weights: &[f64], i: usize| percent(weights[i] / weights.iter().sum::<f64>().max(1.0));
        let (old, new) = (weights(before), weights(after));
        let endpoint = |i: usize| EndpointForecast {
            site: before.endpoints[i].site.clone(),
            nominal_percent: [nominal(&old, i), nominal(&new, i)],
            share_percent: [percent(before.table.share(i)), percent(after.table.share(i))],
            load: [told(load.expected(&before.table, i)), told(load.expected(&after.table, i))],
        };
        Ok(Forecast {
            generation,
            at: now,
            name: name.clone(),
            queries_per_second: (demand.per_second() * 1000.0).round() / 1000.0,
            since: self.started_at,
            keys: load.known().len(),
            endpoints: (0..before.endpoints.len()).map(endpoint).collect(),
            postponed: self.postponed(&demand, before, &after.table, name),
            warnings,
        })
    }

    /// Who stays behind by `table`, the busiest first.
    fn postponed(&self, demand: &Demand, pool: &PoolState, table: &ShareTable, name: &Name) -> Vec<Postponed> {
        let Some(salt) = self.catalog.pool_index(name).map(|i| self.catalog.salts[i]) else { return Vec::new() };
        let behind = demand.keys().iter().filter_map(|k| {
            let endpoint = table.stays_behind(point(&salt, &k.key))?;
            Some(Postponed {
                client_key: k.key.to_string(),
                site: pool.endpoints.get(endpoint)?.site.clone(),
                load_percent: percent(k.queries / demand.queries()),
            })
        });
        if table.behind().next().is_none() { Vec::new() } else { behind.take(MOST_TOLD).collect() }
    }

    /// What all clients of this server ask.
    fn demand(&self, now: Timestamp) -> Demand {
        self.readers.demand(self.started_at, now)
    }

    /// Where `demand` falls on the points of a pool. To one that is an endpoint of others comes whom those lead there.
    fn load(&self, demand: &Demand, name: &Name) -> Load {
        let pool = self.catalog.pool_index(name).filter(|&i| self.catalog.settings.pools[i].policy == Policy::Sticky);
        let Some(i) = pool else { return Load::even() }; // who draws is even over all clients
        if self.catalog.outer_of(name).is_empty() {
            return Load::of(demand, &self.catalog.salts[i]);
        }
        Load::of(&demand.only(|key| self.is_led_to(name, key)), &self.catalog.salts[i])
    }
}

fn told(expected: Expected) -> LoadShare {
    let Expected { share, low, high } = expected;
    LoadShare { percent: percent(share), low_percent: percent(low), high_percent: percent(high) }
}
