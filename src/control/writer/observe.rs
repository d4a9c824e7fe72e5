//! Observations: what probes report becomes health, and a new snapshot where it changes what is answered.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::control::reconcile::Answered;
use crate::control::records::Remembered;
use crate::control::writer::{Checked, Writer};
use crate::dns::Rtype;
use crate::probe::{Probes, Report, Target};
use crate::query::Pool;
use crate::steering::health::Health;
use crate::steering::pool::Endpoint;
use crate::steering::ttl::Change;
use crate::time::Timestamp;

/// Checks at a time.
const CHECKS: usize = 256;
/// The first round is waited for, so that the first answer knows how endpoints are.
const FIRST_ROUND: Duration = Duration::from_secs(5);

impl Writer {
    /// Starts the probes and takes in their first round, for 5 s at most: before the first answer.
    pub async fn first_round(&mut self) {
        let targets = self.targets();
        let mut missing: Vec<_> = targets.iter().map(|t| (t.pool.clone(), t.site.clone())).collect();
        let seed = getrandom::u64().unwrap_or(0); // it only spreads the checks
        self.probes = Some(Probes::start(targets, CHECKS, seed, self.report_sender.clone()));
        let until = tokio::time::Instant::now() + FIRST_ROUND;
        while !missing.is_empty() {
            let Ok(Some(report)) = tokio::time::timeout_at(until, self.reports.recv()).await else { break };
            missing.retain(|(pool, site)| *pool != report.pool || *site != report.site);
            self.report(&report, Timestamp::now());
        }
        for (pool, site) in missing {
            tracing::warn!(%pool, site, "not heard of in the first round of probes: it counts as it was before");
        }
    }

    /// Probes what the configuration names now. An endpoint with new addresses counts as it was, until its thresholds say
    /// otherwise.
    pub(super) fn follow_probes(&mut self) {
        self.forget_unprobed();
        let targets = self.targets();
        if let Some(probes) = &mut self.probes {
            probes.replace(targets);
        }
    }

    /// Health of endpoints that nobody asks for any more says nothing.
    pub(super) fn forget_unprobed(&mut self) {
        let targets = self.targets();
        self.health.retain(|(pool, site), _| targets.iter().any(|t| t.pool == *pool && t.site == *site));
    }

    /// Takes in one observation. A change of what is answered is published at once.
    pub(super) fn report(&mut self, report: &Report, now: Timestamp) {
        let Some(index) = self.catalog.pool_index(&report.pool) else { return };
        let settings = &self.catalog.settings.pools[index];
        let probe = settings.probe.as_ref().and_then(|p| self.catalog.settings.probes.get(p));
        let Some(endpoint) = settings.endpoints.iter().position(|e| e.site == report.site) else { return };
        let Some(probe) = probe else { return };
        let before = self.selector(index);
        let unseen = || Checked { health: Health::unknown(), seen: None };
        let checked = self.health.entry((report.pool.clone(), report.site.clone())).or_insert_with(unseen);
        let known = checked.health.state();
        let transition = checked.health.observe(report.observation, now, &probe.thresholds);
        checked.seen = Some(report.detail.clone());
        self.health_unsaved |= checked.health.state() != known;
        let Some(transition) = transition else { return };

        let endpoints = self.catalog.settings.pools[index].endpoints.len();
        let after = self.selector(index);
        let changed = after.mode() != before.mode() || (0..endpoints).any(|i| after.answers(i) != before.answers(i));
        let (pool, site, seen, mode) = (&report.pool, &report.site, &report.detail, after.mode());
        let answered = after.answers(endpoint);
        if transition.up {
            tracing::info!(%pool, site, seen, %mode, answered, "{site} is up again");
        } else {
            tracing::warn!(%pool, site, seen, %mode, answered, "{site} is down");
        }
        if changed {
            let catalog = self.catalog.clone();
            let group = &catalog.groups[index];
            for &member in &**group {
                let pool = catalog.settings.pools[member].name.clone();
                self.health_changes.insert(pool, Change { at: now, confirmed: Some(now) });
            }
            self.publish_group(group);
        }
    }

    /// Who is given to clients, also without weight.
    pub(super) fn answered(&self) -> Answered {
        let published = self.published.load();
        let of = |pool: &Arc<Pool>| -> Vec<_> {
            let given = (0..pool.sites.len()).filter(|i| pool.selector.answers(*i));
            given.map(|i| (pool.name.clone(), pool.sites[i].clone())).collect()
        };
        published.pools.iter().flat_map(of).collect()
    }

    /// Health as the next start shall find it.
    pub(super) fn remembered(&self) -> Remembered {
        let mut all: Remembered = BTreeMap::new();
        for ((pool, site), checked) in &self.health {
            if let (Some(up), Some(since)) = (checked.health.state(), checked.health.since()) {
                all.entry(pool.clone()).or_default().insert(site.clone(), (up, since));
            }
        }
        all
    }

    /// The endpoints to probe: those with addresses, of pools with a probe.
    fn targets(&self) -> Vec<Target> {
        let settings = &self.catalog.settings;
        let mut targets = Vec::new();
        for pool in &settings.pools {
            let Some(probe) = pool.probe.as_ref().and_then(|p| settings.probes.get(p)) else { continue };
            for endpoint in &pool.endpoints {
                let addresses = addresses(endpoint);
                if !addresses.is_empty() {
                    let (pool, site, probe) = (pool.name.clone(), endpoint.site.clone(), probe.clone());
                    targets.push(Target { pool, site, addresses, probe });
                }
            }
        }
        targets
    }
}

/// The addresses in the endpoint's RDATA.
fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (rtype, rdatas) in &endpoint.rdata {
        for rdata in rdatas {
            match *rtype {
                Rtype::A => found.extend(rdata.first_chunk::<4>().map(|octets| IpAddr::from(*octets))),
                Rtype::AAAA => found.extend(rdata.first_chunk::<16>().map(|octets| IpAddr::from(*octets))),
                _ => {}
            }
        }
    }
    found
}
