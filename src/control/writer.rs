//! The task that owns the state.
//!
//! In: commands, observations, reloaded configurations, ticks, one after the other. Out: a commit to the store, then a new
//! snapshot, then the answer. A change that the store does not take is not made.

mod carry;
mod carry_rrsets;
mod changes;
mod clock;
mod copies;
mod effective;
mod follow;
mod forecast;
mod forwarders;
mod keys;
mod life;
mod nested;
mod notices;
mod observe;
mod override_file;
mod planned;
mod pushed;
mod restore;
mod signing;
mod taking;
mod unions;
mod view;
mod zones;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::background::Background;
use crate::control::catalog::Catalog;
use crate::control::clock::Clock;
use crate::control::error::ControlError;
use crate::control::forwarders::Forwarders;
use crate::control::handle::Command;
use crate::control::health::EndpointHealth;
use crate::control::horizons::Horizons;
use crate::control::journal::Journal;
use crate::control::notices::Look;
use crate::control::numbers::StoreNumbers;
use crate::control::planned::Rrsets;
use crate::control::state::{EndpointState, State};
use crate::control::zones::ZoneEvent;
use crate::dns::{Name, Ttl};
use crate::probe::{self, Kind, Probes, Report};
use crate::query::nest::Compound;
use crate::query::{Cookies, Pool, Pools, RateLimit, Readers, Snapshot};
use crate::server::gather_pages;
use crate::server::secondaries::Secondaries;
use crate::steering::health::Health;
use crate::steering::planned::RrsetKey;
use crate::steering::pool::{Endpoint, Family, Override, Policy, Settings, SiteName};
use crate::steering::select::Selector;
use crate::steering::ttl::{Change, until_flip};
use crate::store::{Revision, StateStore, Write};
use crate::time::Timestamp;
use crate::webhook::Hooks;
use crate::zone::{Zone, ZoneSet};
use follow::Followed;

pub use life::{Start, StartError, start};

/// Who carries out what nobody asked for at that moment.
const SELF: &str = "waypost";
/// How often deadlines and horizons are looked at.
const TICK: Duration = Duration::from_millis(250);

/// The one writer.
pub struct Writer {
    config_file: PathBuf,
    catalog: Arc<Catalog>,
    /// By zone.
    journals: BTreeMap<Name, Journal>,
    /// Of the zones that are signed here.
    signers: BTreeMap<Name, signing::Signer>,
    /// What pools of the policy `all` answer, as it was published last.
    unions: BTreeMap<Name, unions::Kept>,
    /// What is known of the primaries of zones that have some.
    followed: BTreeMap<Name, Followed>,
    zone_events: broadcast::Sender<ZoneEvent>,
    state: State,
    store: Arc<dyn StateStore>,
    revision: Revision,
    numbers: Arc<StoreNumbers>,
    published: Arc<ArcSwap<Snapshot>>,
    readers: Arc<Readers>,
    /// How many of those answer over UDP.
    udp_workers: usize,
    /// Of the last publication.
    serial: u64,
    horizons: Horizons,
    /// Pools whose stored horizon is a bound, until every worker has left the snapshot before.
    unsettled: Vec<Name>,
    /// What became of RRsets whose TTL is planned.
    rrsets: Rrsets,
    health: BTreeMap<(Name, SiteName), EndpointHealth>,
    /// The last change of what a pool answers that health caused.
    health_changes: BTreeMap<Name, Change>,
    /// How endpoints that are pools are.
    regions: nested::Regions,
    health_unsaved: bool,
    saved_health_at: Timestamp,
    probes: Option<Probes>,
    /// How many checks at a time they were begun with.
    probes_at_once: usize,
    probe_numbers: probe::Numbers,
    /// Since when nobody probes, where that is so.
    prober_dead: Option<Timestamp>,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<Report>,
    report_sender: mpsc::Sender<Report>,
    makings: mpsc::Receiver<taking::Made>,
    override_file: override_file::OverrideFile,
    override_readings: mpsc::Receiver<override_file::Reading>,
    override_sender: mpsc::Sender<override_file::Reading>,
    made_sender: mpsc::Sender<taking::Made>,
    /// Whether a configuration is being made. One at a time, so that an older reading never follows a newer one.
    making: bool,
    waiting: VecDeque<taking::Wanted>,
    /// Of files in the store that are not there yet.
    copies: copies::Copies,
    /// Where zones are read, copied and freed.
    background: Background,
    /// Snapshots that workers may still hold: the last reference is dropped here, not between a query and its answer.
    retired: Vec<Arc<Snapshot>>,
    /// The last reload, if it was refused: when and why.
    refused_reload: Option<(Timestamp, String)>,
    /// Readings that were taken, since the start.
    reloads: u64,
    /// Those that were not.
    refused_reloads: u64,
    /// Zones whose files were read by them, and those whose files were as they had been.
    zone_files: [u64; 2],
    /// Why the last commit failed, until one succeeds.
    store_problem: Option<String>,
    started_at: Timestamp,
    listen: Vec<SocketAddr>,
    /// Cutovers whose passing without a change was told.
    told_late: Vec<Name>,
    told_late_rrsets: Vec<RrsetKey>,
    /// The zones in which planned RRsets were looked for.
    looked_at: Option<Arc<ZoneSet>>,
    pruned_at: Timestamp,
    effective: effective::Sampling,
    forwarders: Arc<Forwarders>,
    /// Who is given zones.
    secondaries: Arc<Secondaries>,
    carrying: carry::Carrying,
    clock: Clock,
    /// By the monotonic clock.
    started: Instant,
    hooks: Hooks,
    /// The last look for them.
    looked: Option<Look>,
}

impl Writer {
    /// Works until `stop`, then makes the end durable.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.gather_zones();
        self.begin_copies();
        loop {
            tokio::select! {
                biased; // who asks most must not keep deadlines and health from their turn
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.tick(Timestamp::now()).await,
                Some(report) = self.reports.recv() => self.report(&report, Timestamp::now()),
                Some(made) = self.makings.recv() => self.made(made).await,
                Some(copy) = self.copies.made() => self.keep_copy(copy).await,
                Some(reading) = self.override_readings.recv() => self.override_file_read(reading, Timestamp::now()).await,
                Some(command) = self.commands.recv() => self.command(command).await,
            }
        }
        self.end().await;
    }

    async fn command(&mut self, command: Command) {
        let now = Timestamp::now();
        // A client that has gone away does not need its answer: a failed send is no failure.
        match command {
            Command::Flip(origin, request, reply) => _ = reply.send(self.flip(origin, request, now).await),
            Command::Revert(origin, generation, request, reply) => {
                _ = reply.send(self.revert(origin, generation, request, now).await);
            }
            Command::Restore(origin, request, reply) => _ = reply.send(self.restore(origin, request, now).await),
            Command::Confirm(origin, generation, request, reply) => {
                _ = reply.send(self.confirm(origin, generation, request, now).await);
            }
            Command::Override(origin, which, site, request, reply) => {
                _ = reply.send(self.set_override(origin, &which, &site, request, now).await);
            }
            Command::Push(origin, pool, site, request, reply) => {
                _ = reply.send(self.push(&origin, &pool, &site, &request, now));
            }
            Command::Site(origin, site, request, reply) => {
                _ = reply.send(self.set_site(origin, &site, request, now).await);
            }
            Command::Cutover(origin, which, request, reply) => {
                _ = reply.send(self.set_cutover(origin, &which, request, now).await);
            }
            Command::PlanRrsets(origin, which, request, reply) => {
                _ = reply.send(self.plan_rrsets(origin, &which, request, now).await);
            }
            Command::Reload(origin, request, reply) => self.reload(origin, request, reply),
            Command::Amend(origin, request, reply) => self.amend(origin, request, reply),
            Command::Definition(pool, reply) => _ = reply.send(self.definition(&pool)),
            Command::Forwarder(origin, reason, name, change, token, reply) => {
                _ = reply.send(self.change_forwarder(origin, reason, &name, change, token, now).await);
            }
            Command::ForwarderAudit(query, reply) => _ = reply.send(self.forwarder_audit(query).await),
            Command::Forecast(pool, request, reply) => _ = reply.send(self.forecast(&pool, &request, now)),
            Command::Status(reply) => _ = reply.send(Ok(self.status(now))),
            Command::Audit(query, reply) => _ = reply.send(self.audit(query).await),
            Command::Dnssec(zone, reply) => _ = reply.send(self.dnssec(&zone)),
            Command::ChangeDnssec(origin, zone, wish, reason, reply) => {
                _ = reply.send(self.change_dnssec(&origin, &zone, &wish, reason, now).await);
            }
            Command::ChangeZone(change, reply) => _ = reply.send(self.change_zone(change, now).await),
            Command::FirstZone(first, reply) => _ = reply.send(self.first_zone(first, now).await),
            Command::Refreshed(apex, outcome) => self.refreshed(&apex, outcome, now).await,
        }
    }

    /// Makes `writes` durable. Observations are taken in meanwhile: a slow disk keeps no dead endpoint in the answers.
    async fn commit(&mut self, writes: Vec<Write>) -> Result<(), ControlError> {
        let begun = Instant::now();
        let store = self.store.clone();
        let mut commit = store.commit(self.revision, writes);
        let committed = loop {
            tokio::select! {
                biased;
                committed = &mut commit => break committed,
                Some(report) = self.reports.recv() => self.report(&report, Timestamp::now()),
            }
        };
        match committed {
            Ok(revision) => {
                self.revision = revision;
                self.store_problem = None;
                self.numbers.commits.fetch_add(1, Ordering::Relaxed);
                self.numbers.commit_us.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.numbers.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "the store did not take a change");
                self.store_problem = Some(error.to_string());
                Err(ControlError::Store(error.to_string()))
            }
        }
    }

    /// Publishes the state as it is now: the next query sees it.
    fn publish(&mut self) {
        self.forget_unions();
        let places: Vec<usize> = (0..self.catalog.settings.pools.len()).collect();
        self.follow_regions(&places, Timestamp::now());
        let pools = (0..self.catalog.settings.pools.len()).map(|i| Arc::new(self.pool(i))).collect();
        self.publish_pools(pools);
    }

    /// Has the memory of large zones gathered, so that answers from them take less time.
    fn gather_zones(&self) {
        let served = self.catalog.zones.iter().filter_map(|zone| zone.served.as_ref());
        let zones: Vec<Arc<Zone>> = served.map(|served| served.zone.clone()).collect();
        self.background.run(move || zones.iter().flat_map(|zone| zone.addresses()).for_each(gather_pages));
    }

    /// Publishes anew only these pools, each with its group and the pools above; all else is shared with the snapshot before.
    fn publish_some(&mut self, names: impl Iterator<Item = Name>) {
        if self.serial == 0 {
            return self.publish(); // there is none before
        }
        let catalog = self.catalog.clone();
        let places = names.filter_map(|name| catalog.pool_index(&name));
        let places: BTreeSet<usize> = places.flat_map(|place| catalog.affected[place].iter().copied()).collect();
        self.publish_at(&places.into_iter().collect::<Vec<_>>());
    }

    /// Publishes anew all that depends on the pool at `index`: its group, and the pools that have one of these as an endpoint.
    fn publish_group(&mut self, index: usize) {
        let catalog = self.catalog.clone();
        self.publish_at(&catalog.affected[index]);
    }

    fn publish_at(&mut self, places: &[usize]) {
        self.follow_regions(places, Timestamp::now());
        let anew: Vec<_> = places.iter().map(|&index| (index, Arc::new(self.pool(index)))).collect();
        let pools = self.published.load().pools.with(anew);
        self.publish_pools(pools);
    }

    fn publish_pools(&mut self, pools: Pools) {
        self.serial += 1;
        self.look_at_rrsets();
        let before = self.published.swap(Arc::new(Snapshot {
            serial: self.serial,
            generation: self.state.generation,
            zones: self.catalog.zone_set.clone(),
            zone_settings: self.catalog.settings.zones.clone(),
            watched: self.catalog.watched.clone(),
            secondaries: self.catalog.settings.secondaries.clone(),
            keys: self.catalog.settings.keys.clone(),
            clients: self.catalog.settings.clients.clone(),
            pools,
            planned: self.rrsets.compiled(&self.catalog),
            nsid: self.catalog.settings.name.as_bytes().into(),
            cookies: Some(Cookies::new(&self.catalog.settings.cookie_secrets)),
            rate_limit: self.rate_limit(),
        }));
        self.retired.push(before);
    }

    /// What is limited, with the part of each UDP worker.
    fn rate_limit(&self) -> Option<(RateLimit, u16)> {
        let limit = self.catalog.settings.rate_limit.clone()?;
        let each = limit.each(self.udp_workers);
        Some((limit, each))
    }

    /// The pool at `index` of the catalog, for queries.
    fn pool(&mut self, index: usize) -> Pool {
        let catalog = self.catalog.clone();
        let settings = &catalog.settings.pools[index];
        let selector = self.selector(index);
        let withdrawn = self.withdrawn(index, &selector);
        let nest = self.branches(index);
        let of_leaves = nest.as_ref().map(|_| self.withdrawn_leaves(index, &withdrawn));
        let gone = of_leaves.as_deref().unwrap_or(&withdrawn);
        let records = if gone.iter().all(Option::is_none) {
            catalog.records[index].clone()
        } else {
            let gone = |leaf: usize, family| gone[leaf] == Some(family);
            Arc::new(catalog.records[index].without(settings, gone))
        };
        let union = (settings.policy == Policy::All).then(|| {
            let given: Vec<usize> = (0..settings.endpoints.len()).filter(|i| selector.answers(*i)).collect();
            Compound::Union(self.union(index, &records, given, &withdrawn))
        });
        let compound = nest.map(Compound::Nest).or(union).map(Box::new);
        let state = &self.state.pools[&settings.name];
        Pool {
            name: settings.name.clone(),
            sites: settings.endpoints.iter().map(|e| e.site.clone()).collect(),
            group: settings.selection.group.as_deref().map(Arc::from),
            salt: self.catalog.salts[index],
            selector,
            ttl: settings.ttl,
            cutover: state.cutover,
            change: self.change_of(&settings.name),
            until_flip: self.until_flip(index),
            records,
            preview: self.catalog.previews[index].clone(),
            preference: self.catalog.preferences[index].clone(),
            compound,
            withdrawn,
            words: state.endpoints.iter().map(EndpointState::word).collect(),
            recorder: self.horizons.recorder(index).clone(),
        }
    }

    fn selector(&self, index: usize) -> Selector {
        let settings = &self.catalog.settings.pools[index];
        let state = &self.state.pools[&settings.name];
        // A site that is down for one pool of a group is down for all: a client has one site.
        let healthy = |i: usize| self.catalog.groups[index].iter().all(|&member| self.is_healthy(member, i));
        Selector::new(settings.rules(), Arc::new(state.table.clone()), &state.candidates(healthy))
    }

    /// The time in which health could change what the pool at `index` answers, where its TTL goes by that: of all endpoints of its
    /// group that could be answered.
    fn until_flip(&self, index: usize) -> Option<Ttl> {
        if self.catalog.settings.pools[index].ttl.by_health { self.until_any_flip(index) } else { None }
    }

    /// The same whatever its TTL goes by, health of pools that are endpoints among it.
    fn until_any_flip(&self, index: usize) -> Option<Ttl> {
        let all = &self.catalog.settings;
        let of = |(pool, endpoint): (&Settings, &Endpoint)| {
            let (state, site) = (&self.state.pools[&pool.name], &endpoint.site);
            let is_obeyed = |i: &usize| state.endpoints[*i].in_force() == Override::Obey || endpoint.pool.is_some();
            state.endpoint(site).filter(|i| state.may_answer(*i)).filter(is_obeyed)?;
            if let Some(inner) = &endpoint.pool {
                return self.until_any_flip(self.catalog.pool_index(inner)?); // it changes what that pool answers, too
            }
            let probe = all.probes.get(pool.probe.as_ref()?)?;
            let health = self.health.get(&(pool.name.clone(), site.clone()));
            let wanted = |health: &Health| {
                let threshold = if health.is_up() { probe.thresholds.fall } else { probe.thresholds.rise };
                if health.is_observed() { threshold.saturating_sub(health.against()) } else { 1 }
            };
            let left =
                health.and_then(|health| health.parts().map(|(_, part)| wanted(&part.health)).min()).unwrap_or(1);
            let interval_ms = if matches!(probe.kind, Kind::Push(_)) { 0 } else { probe.interval.as_millis() as u64 };
            Some(until_flip(left, interval_ms))
        };
        let members = self.catalog.groups[index].iter().map(|member| &all.pools[*member]);
        members.flat_map(|pool| pool.endpoints.iter().map(move |endpoint| (pool, endpoint))).filter_map(of).min()
    }

    /// For each endpoint of a pool the family of addresses that is not answered, because its probes see it down and the other
    /// one up. Where that holds for all of several endpoints that are answered it is our own side, or no help: it holds for
    /// none.
    fn withdrawn(&self, index: usize, selector: &Selector) -> Box<[Option<Family>]> {
        let settings = &self.catalog.settings.pools[index];
        let state = &self.state.pools[&settings.name];
        let of = |(i, endpoint): (usize, &Endpoint)| {
            let obeyed = state.endpoints[i].in_force() == Override::Obey && selector.is_up(i);
            let health = self.health.get(&(settings.name.clone(), endpoint.site.clone())).filter(|_| obeyed)?;
            Family::ALL.into_iter().find(|family| health.withdraws(*family))
        };
        let mut withdrawn: Box<[Option<Family>]> = settings.endpoints.iter().enumerate().map(of).collect();
        for family in Family::ALL {
            let having = |i: usize| selector.answers(i) && settings.endpoints[i].has(family);
            let having: Vec<usize> = (0..withdrawn.len()).filter(|i| having(*i)).collect();
            if having.len() > 1 && having.iter().all(|i| withdrawn[*i] == Some(family)) {
                for i in having {
                    withdrawn[i] = None;
                }
            }
        }
        withdrawn
    }

    /// The change that bounds the TTL of a pool: an operator's that is not confirmed, else the one, also of health, since
    /// which less time has passed.
    fn change_of(&self, pool: &Name) -> Option<Change> {
        let operator = self.state.pools.get(pool).and_then(|p| p.change);
        let health = self.health_changes.get(pool).copied();
        match (operator, health) {
            (Some(o), _) if o.confirmed.is_none() => Some(o),
            (Some(o), Some(h)) => Some(if o.confirmed.is_some_and(|confirmed| h.at > confirmed) { h } else { o }),
            (o, h) => o.or(h),
        }
    }
}
