//! Observations: what probes report becomes health, and a new snapshot where it changes what is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::control::health::{EndpointHealth, Outcome};
use crate::control::reconcile::Answered;
use crate::control::records::{self, Expiries, Remembered};
use crate::control::targets::targets;
use crate::control::writer::Writer;
use crate::dns::Name;
use crate::probe::{Kind, Probes, Report, Subject, Target};
use crate::query::Pool;
use crate::steering::pool::SiteName;
use crate::steering::ttl::Change;
use crate::store::Write;
use crate::time::Timestamp;

/// The first round is waited for, so that the first answer knows how endpoints are.
const FIRST_ROUND: Duration = Duration::from_secs(5);

impl Writer {
    /// Starts the probes and takes in their first round, for 5 s at most: before the first answer.
    pub async fn first_round(&mut self) {
        let targets = targets(&self.catalog.settings);
        let mut missing: BTreeSet<(Name, SiteName, Subject)> = BTreeSet::new();
        for target in &targets {
            if matches!(target.probe.kind, Kind::Push(_)) {
                continue; // nobody asks
            }
            missing.extend(
                target.subjects().into_iter().map(|subject| (target.pool.clone(), target.site.clone(), subject)),
            );
        }
        self.begin_probes(targets);
        let until = tokio::time::Instant::now() + FIRST_ROUND;
        while !missing.is_empty() {
            let Ok(Some(report)) = tokio::time::timeout_at(until, self.reports.recv()).await else { break };
            missing.remove(&(report.pool.clone(), report.site.clone(), report.subject));
            self.report(&report, Timestamp::now());
        }
        for (pool, site, subject) in missing {
            tracing::warn!(%pool, site, %subject, "not heard of in the first round of probes: it counts as it was before");
        }
    }

    fn begin_probes(&mut self, targets: Vec<Target>) {
        let seed = getrandom::u64().unwrap_or(0); // it only spreads the checks
        let at_once = self.checks_at_once();
        self.probes_at_once = at_once;
        match Probes::start(targets, at_once, seed, self.report_sender.clone(), self.probe_numbers.clone()) {
            Ok(probes) => self.probes = Some(probes),
            Err(error) => tracing::error!(%error, "the probes can't start"),
        }
    }

    /// Probes what the configuration names now. An endpoint with new addresses counts as it was, until its thresholds say
    /// otherwise.
    pub(super) fn follow_probes(&mut self) {
        self.forget_unprobed();
        let targets = targets(&self.catalog.settings);
        let same = self.checks_at_once() == self.probes_at_once;
        match &mut self.probes {
            Some(probes) if probes.is_alive() && same => probes.replace(targets),
            _ => self.begin_probes(targets),
        }
    }

    /// So many checks at a time as configured, but for no more than half of the descriptors that the process may have.
    fn checks_at_once(&self) -> usize {
        let wanted = self.catalog.settings.checks_at_once;
        let limit = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize);
        if wanted > limit / 2 {
            tracing::warn!(wanted, "the process may open {limit} files: {} checks are made at once", limit / 2);
        }
        wanted.min(limit / 2)
    }

    /// Health of what nobody asks for any more says nothing.
    pub(super) fn forget_unprobed(&mut self) {
        let targets = targets(&self.catalog.settings);
        let wanted: BTreeMap<(&Name, &SiteName), &Target> =
            targets.iter().map(|target| ((&target.pool, &target.site), target)).collect();
        self.health.retain(|(pool, site), health| {
            let target = wanted.get(&(pool, site));
            health.retain(|subject| target.is_some_and(|target| target.subjects().contains(subject)));
            health.pushed = health.pushed.filter(|_| target.is_some_and(|t| matches!(t.probe.kind, Kind::Push(_))));
            target.is_some()
        });
    }

    /// Says when nobody probes any more: health stays as it is then.
    pub(super) fn watch_prober(&mut self, now: Timestamp) {
        let alive = self.probes.as_ref().is_some_and(Probes::is_alive);
        match (alive, self.prober_dead) {
            (false, None) => {
                self.prober_dead = Some(now);
                tracing::error!("nobody probes any more: health stays as it is; a reload begins anew");
            }
            (true, Some(since)) => {
                self.prober_dead = None;
                tracing::info!("probes go on after they stood still since {since}");
            }
            _ => {}
        }
    }

    /// Takes in one observation. A change of what is answered is published at once.
    pub(super) fn report(&mut self, report: &Report, now: Timestamp) {
        let Some(index) = self.catalog.pool_index(&report.pool) else { return };
        let settings = &self.catalog.settings.pools[index];
        let probe = settings.probe.as_ref().and_then(|p| self.catalog.settings.probes.get(p));
        let Some(endpoint) = settings.endpoints.iter().position(|e| e.site == report.site) else { return };
        let Some(probe) = probe else { return };
        let health = self.health.entry((report.pool.clone(), report.site.clone())).or_default();
        let (known, counted) = (health.state(), health.is_up());
        let Outcome { transition, held } = health.observe(report, now, &probe.thresholds, &probe.damping);
        for (family, until) in held {
            let (pool, site) = (&report.pool, &report.site);
            let what = family.map_or_else(|| site.clone(), |family| format!("{family} of {site}"));
            tracing::warn!(%pool, site, %until, "{what} goes up and down too often: it is held down until then");
        }
        self.health_unsaved |= transition.is_some() || health.state() != known;
        let (Some(transition), up) = (transition, health.is_up()) else {
            let published = self.published.load();
            let mut concerned = [index].into_iter().chain(self.catalog.above(index).iter().copied());
            if concerned.any(|place| self.until_flip(place) != published.pools[place].until_flip) {
                self.publish_group(index);
            }
            return;
        };

        let published = self.published.load();
        let before = &published.pools[index].selector;
        let endpoints = self.catalog.settings.pools[index].endpoints.len();
        let after = self.selector(index);
        let withdrawn = self.withdrawn(index, &after);
        let other_family = |i: &usize| withdrawn[*i] != published.pools[index].withdrawn[*i];
        let changed = after.mode() != before.mode()
            || (0..endpoints).any(|i| after.answers(i) != before.answers(i) || (after.answers(i) && other_family(&i)));
        // Those who see a site first are few: their change is no doubt about what the others are given.
        let seen_first = self.catalog.previews[index].is_some() && after.is_up(endpoint) != before.is_up(endpoint);
        let (pool, site, subject, seen, mode) =
            (&report.pool, &report.site, &report.subject, &report.detail, after.mode());
        let answered = after.answers(endpoint);
        let mut concerned = [index].into_iter().chain(self.catalog.above(index).iter().copied());
        let by_health = concerned.any(|place| self.catalog.settings.pools[place].ttl.by_health);
        if let Some(family) = withdrawn[endpoint].filter(|_| other_family(&endpoint)) {
            tracing::warn!(%pool, site, "{family} of {site} is withdrawn: the other family is answered alone");
        }
        match (up != counted, transition.up) {
            (true, true) => tracing::info!(%pool, site, %subject, seen, %mode, answered, "{site} is up again"),
            (true, false) => tracing::warn!(%pool, site, %subject, seen, %mode, answered, "{site} is down"),
            (false, true) => tracing::info!(%pool, site, %subject, seen, "{subject} of {site} is up again"),
            (false, false) => tracing::warn!(%pool, site, %subject, seen, "{subject} of {site} is down"),
        }
        if changed {
            self.publish_health(index, now);
        } else if seen_first || by_health || (0..endpoints).any(|i| other_family(&i)) {
            self.publish_group(index);
        }
    }

    /// Publishes a change of health that changes what the pool at `index`, and so its group, answers.
    fn publish_health(&mut self, index: usize, now: Timestamp) {
        let catalog = self.catalog.clone();
        let group = &catalog.groups[index];
        for &member in &**group {
            let pool = catalog.settings.pools[member].name.clone();
            self.health_changes.insert(pool, Change { at: now, confirmed: Some(now) });
        }
        self.publish_group(index);
    }

    /// An operator has spoken of an endpoint: what is counted of its changes is forgotten, for all pools of the group.
    pub(super) fn end_damping(&mut self, pool: &Name, site: &str) {
        let catalog = self.catalog.clone();
        let Some(index) = catalog.pool_index(pool) else { return };
        let mut held = false;
        for &member in &*catalog.groups[index] {
            let endpoint = (catalog.settings.pools[member].name.clone(), site.to_owned());
            if let Some(health) = self.health.get_mut(&endpoint) {
                held |= health.held_until().is_some();
                health.forget_flaps();
            }
        }
        if held {
            self.publish_group(index);
        }
    }

    /// Lets go of endpoints that were held down for flapping long enough.
    pub(super) fn release_held(&mut self, now: Timestamp) {
        let due = |(_, health): &(&(Name, SiteName), &EndpointHealth)| health.is_release_due(now);
        let due: Vec<(Name, SiteName)> = self.health.iter().filter(due).map(|(endpoint, _)| endpoint.clone()).collect();
        for (pool, site) in due {
            if let Some(health) = self.health.get_mut(&(pool.clone(), site.clone())) {
                health.release(now);
            }
            tracing::info!(%pool, site, "{site} is no longer held down for flapping: it is as its probes say");
            if let Some(index) = self.catalog.pool_index(&pool) {
                self.publish_health(index, now);
            }
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

    /// Makes health durable, for the next start.
    pub(super) fn health_writes(&self) -> [Write; 2] {
        let mut pushed = Expiries::new();
        for ((pool, site), health) in &self.health {
            if let Some(until) = health.pushed {
                pushed.entry(pool.clone()).or_default().insert(site.clone(), until);
            }
        }
        [records::put(records::HEALTH, &self.remembered()), records::put(records::PUSHED, &pushed)]
    }

    /// Health as the next start shall find it.
    fn remembered(&self) -> Remembered {
        let mut all: Remembered = BTreeMap::new();
        for ((pool, site), health) in &self.health {
            for (subject, part) in health.parts() {
                if let (Some(up), Some(since)) = (part.health.state(), part.health.since()) {
                    let sites = all.entry(pool.clone()).or_default();
                    sites.entry(site.clone()).or_default().insert(*subject, (up, since));
                }
            }
        }
        all
    }
}
