//! Health that is pushed: each value holds for a time, and is no observation after it.

use std::time::Duration;

use crate::control::decide::check_condition;
use crate::control::error::ControlError;
use crate::control::health::{EndpointHealth, Pushed};
use crate::control::message::{HealthAnswer, HealthRequest, Origin};
use crate::control::writer::Writer;
use crate::dns::Name;
use crate::probe::{Kind, Report, Settings, Subject};
use crate::steering::health::Observation;
use crate::steering::pool::SiteName;
use crate::time::Timestamp;

impl Writer {
    /// Takes in a value for the endpoint of `pool` at `site`.
    pub(super) fn push(
        &mut self,
        origin: &Origin,
        pool: &Name,
        site: &str,
        request: &HealthRequest,
        now: Timestamp,
    ) -> Result<HealthAnswer, ControlError> {
        check_condition(origin.condition, self.state.generation, false)?;
        let catalog = self.catalog.clone();
        let Some(settings) = catalog.pool_index(pool).map(|i| &catalog.settings.pools[i]) else {
            return Err(ControlError::NotFound(format!("no pool {pool}")));
        };
        let Some(endpoint) = settings.endpoints.iter().find(|e| e.site == site) else {
            return Err(ControlError::NotFound(format!("pool {pool} has no endpoint at {site:?}")));
        };
        if let Some(inner) = &endpoint.pool {
            return Err(ControlError::Conflict(format!(
                "the endpoint of pool {pool} at {site:?} is the pool {inner}, and as that one is: push to its endpoints"
            )));
        }
        let Some((name, probe)) = self.probe_of(pool) else {
            return Err(ControlError::Conflict(format!("pool {pool} has no probe, so nothing can be pushed to it")));
        };
        if !matches!(probe.kind, Kind::Push(_)) {
            let kind = probe.kind.word();
            return Err(ControlError::Conflict(format!(
                "the probe {name:?} of pool {pool} is of type {kind:?}: values are pushed to probes of type \"push\""
            )));
        }
        self.probe_numbers.pushed(&name, request.up);
        let until = now.after(request.for_s);
        let word = if request.up { "up" } else { "down" };
        let why = request.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        self.take_in(pool, site, request.up, format!("{word} until {until} says {}{why}", origin.author), now);
        let health = self.health.entry((pool.clone(), site.to_owned())).or_default();
        health.pushed = Some(Pushed { until, expired: false });
        self.health_unsaved = true;
        let (generation, up) = (self.state.generation, health.is_up());
        Ok(HealthAnswer { generation, at: now, up, expires_at: until })
    }

    /// Values whose time is over count as none from now on, or as down.
    pub(super) fn expire_pushed(&mut self, now: Timestamp) {
        let is_due = |health: &EndpointHealth| health.pushed.is_some_and(|p| !p.expired && p.until <= now);
        let due = self.health.iter().filter(|(_, health)| is_due(health)).map(|(endpoint, _)| endpoint.clone());
        for (pool, site) in due.collect::<Vec<(Name, SiteName)>>() {
            let Some((_, Settings { kind: Kind::Push(push), .. })) = self.probe_of(&pool) else { continue };
            if let Some(health) = self.health.get_mut(&(pool.clone(), site.clone())) {
                health.pushed = health.pushed.map(|p| Pushed { expired: true, ..p });
            }
            self.health_unsaved = true;
            if push.down_when_expired {
                tracing::warn!(%pool, site, "what was pushed of {site} has expired: it counts as down");
                self.take_in(&pool, &site, false, format!("nothing pushed since; it expired at {now}"), now);
            } else {
                tracing::warn!(%pool, site, "what was pushed of {site} has expired: its health stays as it was");
            }
        }
    }

    fn take_in(&mut self, pool: &Name, site: &str, up: bool, detail: String, now: Timestamp) {
        let report = Report {
            pool: pool.clone(),
            site: site.to_owned(),
            subject: Subject::Endpoint,
            observation: Some(if up { Observation::Up } else { Observation::Down }),
            detail,
            took: Duration::ZERO,
        };
        self.report(&report, now);
    }

    /// The probe of a pool, with its name.
    fn probe_of(&self, pool: &Name) -> Option<(String, Settings)> {
        let name = self.catalog.settings.pools[self.catalog.pool_index(pool)?].probe.clone()?;
        let probe = self.catalog.settings.probes.get(&name)?.clone();
        Some((name, probe))
    }
}
