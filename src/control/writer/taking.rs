//! A configuration taken over while the server runs: read again, or amended. Reading and compiling happen beside the writer,
//! one at a time; what comes is decided, made durable, published and answered here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::amendments::{Amendments, Wish, WishError};
use crate::control::catalog::Catalog;
use crate::control::decide;
use crate::control::error::{ControlError, Fault};
use crate::control::handle::Reply;
use crate::control::horizons::STALL_SECS;
use crate::control::message::{
    Action, AmendAnswer, AmendRequest, Amended, AuditEntry, ChangeAnswer, Departed, Origin, ReloadWish,
};
use crate::control::reconcile::{Removal, reconcile};
use crate::control::records::{self, amendment_writes, horizon_key, pool_key};
use crate::control::state::{PoolState, State};
use crate::control::writer::Writer;
use crate::control::writer::changes::{FLIP_SECS, repeat};
use crate::control::writer::follow::expire;
use crate::control::writer::planned::warnings_of;
use crate::control::writer::view::{tell_zones, warn_of};
use crate::diagnostic::{Diagnostic, Severity};
use crate::dns::Name;
use crate::store::Write;
use crate::time::Timestamp;

/// Configurations that wait for their turn; more are refused.
const WAITING: usize = 64;

/// A configuration that somebody wants.
pub(super) struct Wanted {
    origin: Origin,
    reason: Option<String>,
    force: bool,
    dry_run: bool,
    what: What,
}

/// What it shall be made of, and where the answer goes.
enum What {
    /// The file.
    Reload(Reply<ChangeAnswer>),
    /// What is served, and the file of one zone.
    Zone(Name, Reply<ChangeAnswer>),
    /// What is served, and these wishes.
    Amend(Arc<[Wish]>, Reply<AmendAnswer>),
}

/// A configuration that was made beside the writer.
pub(super) struct Made {
    wanted: Wanted,
    made: Result<Catalog, ControlError>,
}

impl Wanted {
    /// What is the same for a repetition.
    fn change(&self) -> String {
        match &self.what {
            What::Reload(_) => "reload".to_owned(),
            What::Zone(zone, _) => format!("reload of zone {zone}"),
            What::Amend(wishes, _) => listed(wishes),
        }
    }

    fn action(&self) -> Action {
        match &self.what {
            What::Reload(_) | What::Zone(..) => Action::Reload,
            What::Amend(wishes, _) => Action::Amend { amended: wishes.iter().map(Amended::of).collect() },
        }
    }

    /// A refusal by what operators did: of a configuration, that it can't be loaded; of a wish, a conflict.
    fn refusal(&self, removals: &[Removal]) -> ControlError {
        let told: Vec<String> = removals.iter().map(ToString::to_string).collect();
        match &self.what {
            What::Reload(_) | What::Zone(..) => ControlError::Unloadable(told),
            What::Amend(..) => ControlError::Conflict(told.join("; ")),
        }
    }

    fn answer(self, answer: Result<AmendAnswer, ControlError>) {
        // A client that has gone away does not need its answer.
        match self.what {
            What::Reload(reply) | What::Zone(_, reply) => {
                _ = reply.send(answer.map(|AmendAnswer { generation, at, warnings, .. }| ChangeAnswer {
                    generation,
                    at,
                    caches_clear_at: None,
                    warnings,
                }));
            }
            What::Amend(_, reply) => _ = reply.send(answer),
        }
    }
}

fn listed(wishes: &[Wish]) -> String {
    wishes.iter().map(|wish| Amended::of(wish).to_string()).collect::<Vec<_>>().join(", ")
}

impl Writer {
    /// Has configuration and zones read, now or after what is under way; the writer goes on meanwhile.
    pub(super) fn reload(&mut self, origin: Origin, request: ReloadWish, reply: Reply<ChangeAnswer>) {
        let ReloadWish { reason, force, zone } = request;
        let what = match zone {
            Some(zone) => What::Zone(zone, reply),
            None => What::Reload(reply),
        };
        self.want(Wanted { origin, reason, force, dry_run: false, what });
    }

    /// Has the pools changed as `request` says, in the same way.
    pub(super) fn amend(&mut self, origin: Origin, request: AmendRequest, reply: Reply<AmendAnswer>) {
        let AmendRequest { wishes, reason, dry_run, force } = request;
        self.want(Wanted { origin, reason, force, dry_run, what: What::Amend(wishes.into(), reply) });
    }

    fn want(&mut self, wanted: Wanted) {
        if self.waiting.len() >= WAITING {
            wanted.answer(Err(ControlError::Conflict("enough changes of the configuration wait already".to_owned())));
            return;
        }
        self.waiting.push_back(wanted);
        self.make_next();
    }

    fn make_next(&mut self) {
        if self.making {
            return;
        }
        let Some(wanted) = self.waiting.pop_front() else { return };
        self.making = true;
        let (file, catalog, sender) = (self.config_file.clone(), self.catalog.clone(), self.made_sender.clone());
        let store = self.store.clone();
        self.background.run(move || {
            let mut made = match &wanted.what {
                What::Reload(_) => {
                    let read = Catalog::read(&file, Some(&catalog), &BTreeMap::new(), wanted.force, Timestamp::now());
                    read.map_err(|mistakes| {
                        ControlError::Unloadable(mistakes.iter().map(ToString::to_string).collect())
                    })
                }
                What::Zone(zone, _) => read_zone(&catalog, zone),
                What::Amend(wishes, _) => amended(&catalog, wishes),
            };
            if let Ok(catalog) = &mut made
                && let Err(error) = catalog.make_copies(&*store)
            {
                made = Err(ControlError::Store(error.to_string()));
            }
            drop(catalog); // so that the writer may change it in place
            // The writer is gone when the server stops: then nobody wants it.
            _ = sender.blocking_send(Made { wanted, made });
        });
    }

    pub(super) async fn made(&mut self, made: Made) {
        let Made { wanted, made } = made;
        self.making = false;
        let answer = match &wanted.what {
            What::Zone(zone, _) => self.take_zone(&wanted, zone, made).await,
            What::Reload(_) | What::Amend(..) => self.take_over(&wanted, made).await,
        };
        if !matches!(wanted.what, What::Amend(..)) {
            *(if answer.is_ok() { &mut self.reloads } else { &mut self.refused_reloads }) += 1;
        }
        if matches!(wanted.what, What::Reload(_)) {
            self.refused_reload = answer.as_ref().err().map(|error| {
                tracing::error!(
                    author = wanted.origin.author,
                    "the configuration was not taken over; the old one stays"
                );
                for line in error.to_string().lines() {
                    tracing::error!("{line}");
                }
                (Timestamp::now(), error.to_string().lines().next().unwrap_or_default().to_owned())
            });
        }
        wanted.answer(answer);
        self.make_next();
    }

    async fn take_over(
        &mut self,
        wanted: &Wanted,
        made: Result<Catalog, ControlError>,
    ) -> Result<AmendAnswer, ControlError> {
        let now = Timestamp::now();
        let (origin, change) = (&wanted.origin, wanted.change());
        if let Some(first) = self.opening(origin, &change, false).await? {
            return Ok(first);
        }
        let mut catalog = made?;
        let mut answer = AmendAnswer {
            generation: self.state.generation,
            dry_run: wanted.dry_run,
            at: now,
            pools: Vec::new(),
            departed: Vec::new(),
            warnings: catalog.dropped.clone(),
        };
        if matches!(wanted.what, What::Amend(..)) && catalog.amendments == self.catalog.amendments {
            answer.warnings.push("the pools are so already".to_owned());
            return Ok(answer);
        }
        let answered = self.answered();
        let (sites, pools) = (&catalog.settings.sites, &catalog.settings.pools);
        let mut next = reconcile(&self.state, sites, pools, &answered, wanted.force, now)
            .map_err(|removals| wanted.refusal(&removals))?;
        next.generation += 1;
        let touched: BTreeMap<Name, PoolState> = next
            .pools
            .iter()
            .filter(|(name, new)| self.state.pools.get(*name) != Some(*new))
            .map(|(n, p)| (n.clone(), p.clone()))
            .collect();
        self.refuse_under_a_flip(&next)?;
        let changes = decide::changes(&self.state, &touched, &catalog.settings.pools, now);
        (answer.pools, answer.departed) = (changes.clone(), self.departing(&next, now));
        for change in &mut answer.pools {
            if let Some(policy) = catalog.pool(&change.name).map(|pool| pool.ttl) {
                self.tell_horizons(change, &self.state, &policy, now);
            }
        }
        if wanted.dry_run {
            return Ok(answer);
        }
        answer.generation = next.generation;
        let entry = AuditEntry {
            generation: next.generation,
            at: now,
            author: origin.author.clone(),
            reason: wanted.reason.clone(),
            action: wanted.action(),
            changes,
        };
        let mut writes = self.writes_of(&next, &touched, &catalog, entry.clone(), now);
        let mut gone_pools = Vec::new();
        for (gone, old) in self.state.pools.iter().filter(|(name, _)| !next.pools.contains_key(*name)) {
            if let Some(policy) = self.catalog.pool(gone).map(|pool| pool.ttl) {
                writes.push(records::put(horizon_key(gone), &self.horizons.bound(gone, old, &policy, now, STALL_SECS)));
            }
            gone_pools.push(gone.clone());
            writes.push(Write::Delete { key: pool_key(gone) });
        }
        writes.extend(amendment_writes(&self.catalog.amendments, &catalog.amendments));
        self.learn_journals(&catalog).await?;
        let (zone_writes, additions) = self.settle_zones(&mut catalog, origin, now)?;
        expire(&mut catalog, &self.followed, now);
        writes.extend(zone_writes);
        if matches!(wanted.what, What::Reload(_)) {
            answer.warnings.extend(warn_of(&catalog));
            answer.warnings.extend(self.only_at_a_restart(&catalog));
        } else {
            let known = warn_of(&self.catalog);
            answer.warnings.extend(warn_of(&catalog).into_iter().filter(|warning| !known.contains(warning)));
        }
        let rrsets = self.rrsets.changes(Some(&self.catalog), &catalog, now);
        answer.warnings.extend(warnings_of(&rrsets));
        writes.extend(self.rrsets.writes(&rrsets, now));
        writes.extend(repeat(origin, &change, &answer, now));
        self.commit(writes).await?;
        for dropped in &catalog.dropped {
            tracing::warn!("{dropped}");
        }
        self.added(additions);
        self.unsettled.extend(touched.keys().cloned().chain(gone_pools));
        let before = std::mem::replace(&mut self.state, next);
        let old = std::mem::replace(&mut self.catalog, Arc::new(catalog));
        if matches!(wanted.what, What::Reload(_)) {
            self.count_files(&old);
        }
        let catalog = &self.catalog;
        self.followed
            .retain(|name, _| catalog.settings.zones.iter().any(|zone| zone.name == *name && zone.file.is_none()));
        self.horizons.follow(&self.catalog, self.serial + 1);
        self.rrsets.compile_anew(); // pools may have other places
        self.take_rrsets(rrsets, now).await;
        self.follow_probes();
        self.hooks.follow(&self.catalog.settings.webhooks);
        tell_zones(&self.catalog, Some(&old));
        self.sign_zones(now).await;
        self.carry(now).await;
        self.publish();
        self.tell(&entry);
        let forwarders = self.follow_forwarders(now);
        if !forwarders.is_empty() {
            // Where this fails they are made again at the next reload or start.
            _ = self.commit(forwarders).await;
        }
        self.tell_serials(&old);
        self.bound_again(&before, now).await;
        self.follow_override_file(now).await;
        self.gather_zones();
        self.background.run(move || drop(old)); // a large zone takes a while
        Ok(answer)
    }

    /// Takes over what was read of one zone: no pool changes by that, and nobody's generation.
    async fn take_zone(
        &mut self,
        wanted: &Wanted,
        zone: &Name,
        made: Result<Catalog, ControlError>,
    ) -> Result<AmendAnswer, ControlError> {
        let now = Timestamp::now();
        let (origin, change) = (&wanted.origin, wanted.change());
        if let Some(first) = self.opening(origin, &change, false).await? {
            return Ok(first);
        }
        let mut catalog = made?;
        let (mut writes, additions) = self.settle_zones(&mut catalog, origin, now)?;
        expire(&mut catalog, &self.followed, now);
        let known = warn_of(&self.catalog);
        let rrsets = self.rrsets.changes(Some(&self.catalog), &catalog, now);
        let mut answer = AmendAnswer {
            generation: self.state.generation,
            dry_run: false,
            at: now,
            pools: Vec::new(),
            departed: Vec::new(),
            warnings: warn_of(&catalog).into_iter().filter(|warning| !known.contains(warning)).collect(),
        };
        answer.warnings.extend(warnings_of(&rrsets));
        writes.extend(self.rrsets.writes(&rrsets, now));
        writes.extend(repeat(origin, &change, &answer, now));
        self.commit(writes).await?;
        self.added(additions);
        let old = std::mem::replace(&mut self.catalog, Arc::new(catalog));
        self.count_files(&old);
        self.take_rrsets(rrsets, now).await;
        tell_zones(&self.catalog, Some(&old));
        self.sign_zones(now).await;
        self.carry(now).await;
        self.publish();
        self.tell_serials(&old);
        let reason = wanted.reason.as_deref();
        tracing::info!(author = origin.author, reason, %zone, "the zone's file was read again");
        self.background.run(move || drop(old)); // a large zone takes a while
        Ok(answer)
    }

    /// Counts and tells which zones were read again, and which were as they had been, since there was `old`.
    fn count_files(&mut self, old: &Catalog) {
        let (mut read, mut unchanged) = (0, 0);
        let settings = self.catalog.settings.zones.iter();
        for (zone, _) in self.catalog.zones.iter().zip(settings).filter(|(_, settings)| settings.file.is_some()) {
            let is_same = old.zone(&zone.name).is_some_and(|old| Arc::ptr_eq(&old.reading, &zone.reading));
            *(if is_same { &mut unchanged } else { &mut read }) += 1;
        }
        self.zone_files[0] += read;
        self.zone_files[1] += unchanged;
        tracing::info!(read, unchanged, "zone files");
    }

    /// Endpoints of pools with a flip that waits to be confirmed stay as they are, else it could not be taken back.
    fn refuse_under_a_flip(&self, next: &State) -> Result<(), ControlError> {
        for pending in &self.state.pending {
            let sites = |p: &PoolState| p.endpoints.iter().map(|e| e.site.clone()).collect::<Vec<_>>();
            let answers = |p: &PoolState| (sites(p), p.fingerprint);
            let members = |all: &BTreeMap<Name, PoolState>, name: &Name| {
                let group = all.get(name).and_then(|pool| pool.group.clone());
                all.iter()
                    .filter(|(_, p)| group.is_some() && p.group == group)
                    .map(|(n, _)| n.clone())
                    .collect::<Vec<_>>()
            };
            let same = |name: &&Name| {
                self.state.pools.get(*name).map(answers) == next.pools.get(*name).map(answers)
                    && members(&self.state.pools, name) == members(&next.pools, name)
            };
            if let Some(pool) = pending.pools.iter().find(|name| !same(name)) {
                return Err(ControlError::Conflict(format!(
                    "pool {pool}: its endpoints can't change while the flip of generation {} waits to be confirmed",
                    pending.generation
                )));
            }
        }
        Ok(())
    }

    /// Endpoints that `next` has no more, each with the instant until which caches may hold it.
    fn departing(&self, next: &State, now: Timestamp) -> Vec<Departed> {
        let mut departed = Vec::new();
        for (pool, old) in &self.state.pools {
            let there: BTreeSet<&str> =
                next.pools.get(pool).into_iter().flat_map(|p| &p.endpoints).map(|e| e.site.as_str()).collect();
            if old.endpoints.iter().all(|e| there.contains(e.site.as_str())) {
                continue;
            }
            let Some(policy) = self.catalog.pool(pool).map(|pool| pool.ttl) else { continue };
            let bound = self.horizons.bound(pool, old, &policy, now, FLIP_SECS);
            for endpoint in old.endpoints.iter().filter(|e| !there.contains(e.site.as_str())) {
                let told = self.horizon_told(pool, &endpoint.site, old, &bound, &policy, now);
                let (horizon, horizon_why) = told.unzip();
                departed.push(Departed { pool: pool.clone(), site: endpoint.site.clone(), horizon, horizon_why });
            }
        }
        departed
    }

    fn only_at_a_restart(&self, catalog: &Catalog) -> Option<String> {
        let (new, old) = (&catalog.settings, &self.catalog.settings);
        let changed = new.server != old.server || new.api != old.api || new.state != old.state;
        changed
            .then(|| "[server] and [api] listeners, workers and the state folder change only at a restart".to_owned())
    }
}

/// The catalog with the file of one zone read again.
fn read_zone(catalog: &Catalog, zone: &Name) -> Result<Catalog, ControlError> {
    match catalog.settings.zones.iter().find(|settings| settings.name == *zone) {
        None => Err(ControlError::NotFound(format!("no zone \"{zone}\" is served here"))),
        Some(settings) if settings.file.is_none() => {
            Err(ControlError::Conflict(format!("zone \"{zone}\" has no file: it is transferred from its primary")))
        }
        Some(_) => {
            let read = catalog.read_zone(zone, Timestamp::now());
            read.map_err(|mistakes| ControlError::Unloadable(mistakes.iter().map(ToString::to_string).collect()))
        }
    }
}

/// The catalog with `wishes` made. What is taken out of one pool of a group goes from all.
fn amended(catalog: &Catalog, wishes: &[Wish]) -> Result<Catalog, ControlError> {
    let document = catalog.file.document().map_err(|mistake| ControlError::Unloadable(vec![mistake]))?;
    let mut amendments: Amendments = (*catalog.amendments).clone();
    let also: Vec<Wish> =
        wishes.iter().flat_map(|wish| alike(catalog, wish)).filter(|wish| !wishes.contains(wish)).collect();
    for wish in wishes.iter().chain(&also) {
        amendments.make(&document, wish).map_err(|error| match error {
            WishError::NoPool(_) | WishError::NoEndpoint { .. } => ControlError::NotFound(error.to_string()),
            WishError::PoolExists(_) | WishError::EndpointExists { .. } => ControlError::Conflict(error.to_string()),
            WishError::Key { ref key, .. } => {
                ControlError::Invalid(vec![Fault::new(format!("/{key}"), error.to_string())])
            }
        })?;
    }
    let fault = |mistake: Diagnostic| {
        let help = mistake.help.map_or_else(String::new, |help| format!(" ({help})"));
        Fault::new("", mistake.message + &help)
    };
    catalog.amended(&amendments, false).map_err(|mistakes| {
        for wish in wishes {
            let Wish::RemovePool(gone) = wish else { continue };
            let outer: Vec<String> =
                catalog.outer_of(gone).iter().map(|(pool, site)| format!("{pool} at {site}")).collect();
            if !outer.is_empty() {
                return ControlError::Conflict(format!(
                    "pool {gone} is an endpoint of {}: remove that endpoint first, or give it records",
                    outer.join(", ")
                ));
            }
        }
        let errors = mistakes.into_iter().filter(|mistake| mistake.severity == Severity::Error);
        ControlError::Invalid(errors.map(fault).collect())
    })
}

/// The same wish for the other pools of a group, where it takes a site away.
fn alike(catalog: &Catalog, wish: &Wish) -> Vec<Wish> {
    let (Wish::RemoveEndpoint(pool, site), Some(index)) = (wish, catalog.pool_index(wish.pool())) else {
        return Vec::new();
    };
    let others = catalog.groups[index].iter().filter(|other| **other != index);
    let name = |other: &usize| catalog.settings.pools[*other].name.clone();
    others.map(name).filter(|name| name != pool).map(|name| Wish::RemoveEndpoint(name, site.clone())).collect()
}
