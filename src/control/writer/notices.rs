//! What webhooks are told: the writer looks around once a second, and tells of each change that it makes.

use serde_json::json;

use crate::control::health::EndpointHealth;
use crate::control::message::{Action, AuditEntry};
use crate::control::notices::{EndpointLook, Look, PoolLook, RrsetLook, Trouble, between};
use crate::control::writer::Writer;
use crate::dns::Name;
use crate::steering::pool::Override;
use crate::steering::select::Mode;
use crate::time::Timestamp;
use crate::webhook::{Event, Kind};

impl Writer {
    /// Tells what happened since the last look, once a second, if anybody wants to know.
    pub(super) fn notice(&mut self, now: Timestamp) {
        if self.hooks.is_empty() {
            self.looked = None;
            return;
        }
        if self.looked.as_ref().is_some_and(|looked| looked.now == now) {
            return;
        }
        let look = self.look(now);
        for event in between(self.looked.as_ref(), &look) {
            self.hooks.tell(event);
        }
        self.looked = Some(look);
    }

    /// Tells of a change that was made.
    pub(super) fn tell_hooks(&self, entry: &AuditEntry, text: &str) {
        if self.hooks.is_empty() {
            return;
        }
        let kind = match entry.action {
            Action::Unconfirmed { .. } => Kind::TakenBack,
            Action::Override { forced: Override::Obey, .. } | Action::Overrides { forced: Override::Obey, .. } => {
                Kind::OverrideEnded
            }
            _ => Kind::Change,
        };
        let text = format!("generation {}, by {}: {text}", entry.generation, entry.author);
        self.hooks.tell(Event::new(kind, text, json!(entry), entry.at));
    }

    fn look(&self, now: Timestamp) -> Look {
        let mut look = Look { now, pending: self.state.pending.clone(), ..Look::default() };
        let published = self.published.load();
        for (index, settings) in self.catalog.settings.pools.iter().enumerate() {
            let (pool, recorder) = (&published.pools[index], self.horizons.recorder(index));
            let types = self.catalog.records[index].types();
            let endpoint = |(i, endpoint): (usize, &crate::steering::pool::Endpoint)| {
                let health = self.health.get(&(settings.name.clone(), endpoint.site.clone()));
                let slots = types.iter().filter_map(|t| self.catalog.records[index].slot(i, *t));
                let seen = EndpointLook {
                    up: self.seen_state(index, i),
                    seen: health.and_then(EndpointHealth::seen),
                    answered: pool.selector.answers(i),
                    horizon: slots.filter_map(|slot| recorder.latest(slot)).max(),
                };
                (endpoint.site.clone(), seen)
            };
            let seen = PoolLook {
                mode: pool.selector.mode(),
                cutover: self.state.pools.get(&settings.name).and_then(|state| state.cutover).map(|cutover| cutover.at),
                endpoints: settings.endpoints.iter().enumerate().map(endpoint).collect(),
            };
            look.pools.insert(settings.name.clone(), seen);
        }
        let departed: Vec<Name> = self.horizons.departed_names().cloned().collect();
        for name in departed {
            let unseen =
                || PoolLook { mode: Mode::Normal, cutover: None, endpoints: std::collections::BTreeMap::new() };
            let pool = look.pools.entry(name.clone()).or_insert_with(unseen);
            for (site, types) in self.horizons.departed(&name) {
                let horizon = types.values().max().copied();
                pool.endpoints.entry(site).or_insert(EndpointLook { horizon, ..EndpointLook::default() });
            }
        }
        for (rrset, _, state) in self.rrsets.iter() {
            let horizon = state.change.and_then(|_| self.rrset_horizon(rrset, now)).filter(|horizon| !horizon.at_least);
            let (cutover, horizon) = (state.cutover.map(|cutover| cutover.at), horizon.and_then(|horizon| horizon.at));
            look.rrsets.insert(rrset.clone(), RrsetLook { cutover, horizon });
        }
        let problems = &mut look.problems;
        problems.extend(self.store_problem.iter().map(|why| (Trouble::Store, why.clone())));
        problems.extend(
            self.prober_dead
                .map(|since| (Trouble::Probes, format!("nobody probes since {since}: health stays as it was then"))),
        );
        problems.extend(self.refused_reload.iter().map(|(at, why)| (Trouble::Reload(*at), why.clone())));
        for (zone, followed) in &self.followed {
            problems.extend(followed.problem.iter().map(|why| (Trouble::Transfer(zone.clone()), why.clone())));
        }
        look
    }
}
