//! What there is to show.

use crate::config::amendments::find_pool;
use crate::control::catalog::Catalog;
use crate::control::decide::{flip_allowed_at, percent};
use crate::control::error::ControlError;
use crate::control::health::{EndpointHealth, Part};
use crate::control::message::why::{Growing, Why};
use crate::control::message::{
    EndpointStatus, HealthStatus, HorizonStatus, PartStatus, PoolStatus, SiteStatus, Status, TtlStatus, ZoneState,
    ZoneStatus,
};
use crate::control::rules::Ground;
use crate::control::writer::Writer;
use crate::control::writer::clock::jumped;
use crate::diagnostic::Diagnostic;
use crate::dns::{Name, Rtype};
use crate::probe::Subject;
use crate::steering::horizon::Report;
use crate::steering::pool::{Override, Role, Site, SiteName, Weight};
use crate::steering::select::Mode;
use crate::time::Timestamp;

/// So long status tells that the clock has jumped.
const JUMP_TOLD_SECS: u64 = 86_400;

impl Writer {
    pub(super) fn status(&self, now: Timestamp) -> Status {
        let catalog = &self.catalog;
        let zones = catalog.zones.iter().map(|zone| ZoneStatus {
            name: zone.name.clone(),
            state: zone.state,
            serial: zone.served.as_ref().map(|s| s.zone.serial()),
            names: zone.served.as_ref().map_or(0, |s| s.zone.name_count()),
            loaded_at: zone.served.as_ref().map(|s| s.loaded_at),
            problem: self.problem_with(zone),
            refreshed_at: self.followed.get(&zone.name).and_then(|followed| followed.contact),
            expires_at: self.expires_at(zone),
            secondaries: self.secondaries_of(&zone.name),
        });
        let pools: Vec<PoolStatus> = (0..catalog.settings.pools.len()).map(|i| self.pool_status(i, now)).collect();
        let mut warnings = warn_of(catalog);
        if let Some((at, why)) = &self.refused_reload {
            warnings.push(format!("the reload at {at} was refused, the configuration before it is in force: {why}"));
        }
        warnings.extend(self.override_file.problems.iter().cloned());
        if let Some(since) = self.prober_dead {
            warnings.push(format!("nobody probes since {since}: health stays as it was then; a reload begins anew"));
        }
        let clock = self.clock.state();
        if let Some(since) = clock.unsynchronised_since {
            warnings.push(format!(
                "the clock is not kept in step (seen since {since}): cutovers, deadlines and horizons are as wrong as it is"
            ));
        }
        warnings.extend(clock.jumped.filter(|jump| now.since(jump.at) < JUMP_TOLD_SECS).map(|jump| jumped(&jump)));
        for (name, numbers) in self.hooks.board().all() {
            if let Some(why) = numbers.problem() {
                warnings.push(format!("webhook {name}: an event was not taken: {why}"));
            }
        }
        if let Some(why) = &self.store_problem {
            warnings.push(format!("changes can't be made durable, so none is made: {why}"));
        }
        for pool in &pools {
            if pool.mode == Mode::FailOpen.to_string() {
                warnings.push(format!(
                    "pool {}: no endpoint is healthy, or too little of the weight: all active ones are answered (fail open)",
                    pool.name
                ));
            }
            for endpoint in &pool.endpoints {
                if let Some(at) = endpoint.health.expires_at.filter(|at| *at <= now) {
                    let (name, site, state) = (&pool.name, &endpoint.site, &endpoint.health.state);
                    warnings.push(format!(
                        "pool {name}: what was pushed of {site} has expired at {at}; it counts as {state} until the next value"
                    ));
                }
            }
            if let Some(at) = pool.cutover.filter(|at| *at < now) {
                warnings.push(format!(
                    "pool {}: its cutover at {at} has passed without a change; the TTL stays {} s until it is cleared or moved",
                    pool.name, pool.ttl.low
                ));
            }
        }
        let rrsets = self.rrset_statuses(now);
        for status in &rrsets {
            if let Some(at) = status.cutover.filter(|at| *at < now) {
                warnings.push(format!(
                    "rrset {}: its cutover at {at} has passed without a change; the TTL stays {} s until it is cleared or moved",
                    status.rrset, status.ttl.low
                ));
            }
        }
        Status {
            server: catalog.settings.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.state.generation,
            started_at: self.started_at,
            now,
            listen: self.listen.clone(),
            zones: zones.collect(),
            sites: self.site_statuses(),
            pools,
            rrsets,
            pending: self.state.pending.clone(),
            store_problem: self.store_problem.clone(),
            prober_dead_since: self.prober_dead,
            clock: self.clock.state(),
            reloads: self.reloads,
            refused_reloads: self.refused_reloads,
            zone_files_read: self.zone_files[0],
            zone_files_unchanged: self.zone_files[1],
            warnings,
        }
    }

    fn site_statuses(&self) -> Vec<SiteStatus> {
        let status = |site: &Site| SiteStatus {
            name: site.name.clone(),
            state: self.state.sites.get(&site.name).copied().unwrap_or(site.state),
            configured_state: site.state,
            pools: (self.state.pools.iter().filter(|(_, p)| p.endpoint(&site.name).is_some()))
                .map(|(name, _)| name.clone())
                .collect(),
        };
        self.catalog.settings.sites.iter().map(status).collect()
    }

    fn pool_status(&self, index: usize, now: Timestamp) -> PoolStatus {
        let settings = &self.catalog.settings.pools[index];
        let records = &self.catalog.records[index];
        let recorder = self.horizons.recorder(index);
        let state = &self.state.pools[&settings.name];
        let change = self.change_of(&settings.name);
        let published = self.published.load();
        let pool = &published.pools[index];
        let ground =
            Ground { policy: pool.ttl, cutover: pool.cutover, change: pool.change, until_flip: pool.until_flip };
        let ttl = ground.largest(now);
        // What was answered a moment ago may still be on its way while a worker has the snapshot before.
        let in_passing = !self.readers.left(published.serial);
        let mut endpoints: Vec<EndpointStatus> = (settings.endpoints.iter().zip(&state.endpoints).enumerate())
            .map(|(i, (configured, endpoint))| {
                let previewed = settings.previews(&endpoint.site) && pool.selector.is_up(i);
                let answered = pool.selector.answers(i) || previewed;
                let elsewhere = self.report_of_secondaries(&settings.name, &endpoint.site, now);
                let horizon = |rtype: &Rtype| {
                    let latest = records.slot(i, *rtype).and_then(|slot| recorder.latest(slot));
                    let ours = Report::of(latest, answered || in_passing);
                    let why =
                        latest.map(|at| match self.horizons.why(&settings.name, &endpoint.site, Some(*rtype), at) {
                            Why::Answer { .. } => Why::Answer { ttl: answered.then(|| ttl.clone()) },
                            other => other,
                        });
                    let growing = match (answered, in_passing) {
                        (true, _) => Some(Growing::Answered),
                        (false, true) => Some(Growing::Workers),
                        (false, false) => None,
                    };
                    horizon_status(*rtype, ours, why, growing, elsewhere.as_ref(), now)
                };
                let slots = records.types().iter().filter_map(|t| records.slot(i, *t));
                let horizon: Vec<_> = records.types().iter().map(horizon).collect();
                let leaves = !answered && horizon.iter().any(|h| h.seconds_left > 0);
                EndpointStatus {
                    site: endpoint.site.clone(),
                    pool: configured.pool.clone(),
                    weight: endpoint.weight,
                    configured_weight: Some(configured.weight),
                    share_percent: percent(state.table.share(i)),
                    role: endpoint.role,
                    forced: endpoint.in_force(),
                    override_by_file: endpoint.by_file.is_some(),
                    health: HealthStatus {
                        withdrawn: pool.withdrawn.get(i).copied().flatten(),
                        ..self.health_status(index, i)
                    },
                    answered,
                    answers: slots.map(|slot| recorder.answers(slot)).sum(),
                    horizon,
                    held: if leaves { self.held(recorder.number(), i, now) } else { None },
                }
            })
            .collect();
        let retiring = self.horizons.is_retiring(&settings.name);
        for (site, types) in self.horizons.departed(&settings.name) {
            // A type that the configuration took from an endpoint stays with that endpoint.
            let growing = retiring.then_some(Growing::Workers);
            let horizons = types.iter().map(|(t, at)| {
                let why = Some(self.horizons.why(&settings.name, &site, Some(*t), *at));
                horizon_status(*t, Report::of(Some(*at), retiring), why, growing, None, now)
            });
            let horizons: Vec<_> = horizons.collect();
            match endpoints.iter_mut().find(|e| e.site == site) {
                Some(endpoint) => endpoint.horizon.extend(horizons),
                None => endpoints.push(departed(site, horizons)),
            }
        }
        for (site, types) in self.left_at_secondaries(&settings.name) {
            if let Some(elsewhere) = self.report_of_secondaries(&settings.name, &site, now)
                && !endpoints.iter().any(|e| e.site == site)
            {
                let ours = Report::of(None, false);
                let horizon = |t: &Rtype| horizon_status(*t, ours, None, None, Some(&elsewhere), now);
                endpoints.push(departed(site, types.iter().map(horizon).collect()));
            }
        }
        PoolStatus {
            name: settings.name.clone(),
            policy: settings.policy,
            group: settings.selection.group.clone(),
            mode: pool.selector.mode().to_string(),
            labels: settings.handling.labels.clone(),
            amended: self.catalog.amendments.of(&settings.name),
            flip_allowed_at: flip_allowed_at(state, settings).filter(|at| *at > now),
            types: records.types().to_vec(),
            ttl: TtlStatus {
                normal: settings.ttl.normal,
                low: settings.ttl.low,
                served: self.largest_served(index, now),
            },
            cutover: state.cutover.map(|c| c.at),
            changed_at: change.map(|c| c.at),
            postponed: state.table.behind().count(),
            differs_from_configuration: settings
                .endpoints
                .iter()
                .zip(&state.endpoints)
                .any(|(c, e)| c.weight != e.weight),
            endpoints,
            leaves: self.leaf_statuses(index),
        }
    }

    /// A pool in the words of the configuration file, with what was changed at run time.
    pub(super) fn definition(&self, pool: &Name) -> Result<serde_json::Value, ControlError> {
        let mistake = |mistake: String| ControlError::Unloadable(vec![mistake]);
        let mut document = self.catalog.file.document().map_err(mistake)?;
        self.catalog.amendments.apply(&mut document);
        let found = find_pool(&document, pool).ok_or_else(|| ControlError::NotFound(format!("no pool {pool}")))?;
        serde_json::to_value(found).map_err(|error| mistake(error.to_string()))
    }

    fn health_status(&self, index: usize, endpoint: usize) -> HealthStatus {
        let settings = &self.catalog.settings.pools[index];
        let key = (settings.name.clone(), settings.endpoints[endpoint].site.clone());
        let checked = self.health.get(&key);
        let region = self.regions.get(&key);
        let seen = || {
            let down = settings.endpoints[endpoint].pool.as_ref().filter(|_| region.is_some_and(|(up, _)| !up))?;
            Some(format!("pool {down} has nobody healthy to answer"))
        };
        HealthStatus {
            state: word(self.seen_state(index, endpoint)).to_owned(),
            since: checked.and_then(EndpointHealth::since).or_else(|| region.map(|(_, since)| *since)),
            seen: checked.and_then(EndpointHealth::seen).or_else(seen),
            held_until: checked.and_then(EndpointHealth::held_until),
            expires_at: checked.and_then(|health| health.pushed).map(|pushed| pushed.until),
            withdrawn: None,
            parts: checked.map_or_else(Vec::new, parts),
        }
    }
}

/// What is known of each subject, where there are several.
fn parts(health: &EndpointHealth) -> Vec<PartStatus> {
    let part = |(subject, part): (&Subject, &Part)| PartStatus {
        subject: *subject,
        state: word(part.health.state()).to_owned(),
        since: part.health.since(),
        seen: part.seen.clone(),
    };
    let parts: Vec<PartStatus> = health.parts().map(part).collect();
    if parts.len() > 1 { parts } else { Vec::new() }
}

fn word(state: Option<bool>) -> &'static str {
    match state {
        Some(true) => "up",
        Some(false) => "down",
        None => "unknown",
    }
}

/// An endpoint that the configuration no longer has, but caches may.
fn departed(site: SiteName, horizon: Vec<HorizonStatus>) -> EndpointStatus {
    EndpointStatus {
        site,
        pool: None,
        weight: Weight::ZERO,
        configured_weight: None,
        share_percent: 0.0,
        role: Role::Never,
        forced: Override::Obey,
        override_by_file: false,
        health: HealthStatus {
            state: "unknown".to_owned(),
            since: None,
            seen: None,
            held_until: None,
            expires_at: None,
            withdrawn: None,
            parts: Vec::new(),
        },
        answered: false,
        answers: 0,
        horizon,
        held: None,
    }
}

/// What we know ourselves, and what comes of secondaries.
fn horizon_status(
    rtype: Rtype,
    ours: Report,
    why: Option<Why>,
    growing: Option<Growing>,
    elsewhere: Option<&(Report, Why)>,
    now: Timestamp,
) -> HorizonStatus {
    let (Report { at, at_least }, why, growing) = match elsewhere {
        None => (ours, why, growing),
        Some((theirs, their_why)) => (
            ours.merged(*theirs),
            if theirs.at > ours.at { Some(their_why.clone()) } else { why },
            growing.or(theirs.at_least.then_some(Growing::Secondaries)),
        ),
    };
    HorizonStatus { rtype, at, seconds_left: at.map_or(0, |at| at.since(now)), at_least, growing, why }
}

/// What the operator should know of a configuration that was taken.
pub(super) fn warn_of(catalog: &Catalog) -> Vec<String> {
    let doubts = catalog.warnings.iter().map(Diagnostic::to_string);
    let zones = catalog.zones.iter().filter_map(|zone| {
        let why: Vec<String> = zone.problem.iter().map(Diagnostic::to_string).collect();
        Some(format!("zone {}: {}: {}", zone.name, problem_of(zone.state)?, why.join("; ")))
    });
    doubts.chain(zones).collect()
}

/// Says of each zone how it is served, one line each; behind a reload only of those that changed or that can't be read.
pub(super) fn tell_zones(catalog: &Catalog, before: Option<&Catalog>) {
    for zone in &catalog.zones {
        if let Some(how) = problem_of(zone.state) {
            tracing::error!(zone = %zone.name, "{how}");
            for mistake in &zone.problem {
                tracing::error!(zone = %zone.name, "{mistake}");
            }
        }
        let Some(served) = &zone.served else { continue };
        let old = before.and_then(|b| b.zone(&zone.name)).and_then(|z| z.served.as_ref());
        if old.is_none_or(|old| old.zone.serial() != served.zone.serial()) {
            let (serial, names) = (served.zone.serial(), served.zone.name_count());
            tracing::info!(zone = %zone.name, serial, names, "zone loaded");
        }
    }
}

/// How a zone is served that could not be read.
fn problem_of(state: ZoneState) -> Option<&'static str> {
    match state {
        ZoneState::Current => None,
        ZoneState::LastGood => Some("its file can't be read, the last good contents are served"),
        ZoneState::Unloaded => Some("its file can't be read and never was, it is answered with SERVFAIL"),
        ZoneState::Awaited => Some("it is answered with SERVFAIL until a primary has given it"),
        ZoneState::Expired => Some("it has expired, it is answered with SERVFAIL"),
    }
}
