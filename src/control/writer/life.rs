//! The writer's beginning and end, and what time brings about.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, mpsc};

use crate::background::Background;
use crate::control::catalog::Catalog;
use crate::control::clock::Clock;
use crate::control::decide;
use crate::control::forwarders::Forwarders;
use crate::control::handle::Handle;
use crate::control::health::EndpointHealth;
use crate::control::horizons::{Horizons, recover};
use crate::control::journal::JournalError;
use crate::control::message::why::Why;
use crate::control::message::{Action, AuditEntry, ZoneState};
use crate::control::numbers::StoreNumbers;
use crate::control::planned::Rrsets;
use crate::control::reconcile::{Answered, Removal, reconcile};
use crate::control::records::{self, Past, RecordError, Repeat, Run, Unsettled, audit_key, horizon_key, pool_key};
use crate::control::state::PoolState;
use crate::control::writer::copies::Copies;
use crate::control::writer::effective::Sampling;
use crate::control::writer::override_file::OverrideFile;
use crate::control::writer::restore::{last_good, restore};
use crate::control::writer::view::tell_zones;
use crate::control::writer::{SELF, Writer, carry, follow, forwarders};
use crate::diagnostic::Diagnostic;
use crate::dns::Name;
use crate::probe;
use crate::query::{Readers, Snapshot};
use crate::server::secondaries::Secondaries;
use crate::server::stand;
use crate::store::{Scan, StateStore, StoreError, Write};
use crate::time::Timestamp;
use crate::webhook::{Board, Hooks};
use crate::zone::diff::Mismatch;

/// Observations on their way to the writer.
const REPORTS: usize = 1024;
/// New serials on their way to who wants to know; who is slower than that is told so.
const ZONE_EVENTS: usize = 1024;
/// How often health is made durable, at most.
const HEALTH_EVERY_SECS: u64 = 5;
/// How long an idempotency key is remembered.
const REPEAT_SECS: u64 = 7 * 86_400;
/// How often old records are looked for.
const PRUNE_EVERY_SECS: u64 = 3600;

/// What a start needs.
pub struct Start {
    /// For this start, and each reload.
    pub config_file: PathBuf,
    /// As read from it.
    pub catalog: Catalog,
    /// The state's home, held by this process alone.
    pub store: Arc<dyn StateStore>,
    /// One row for each worker of the data plane.
    pub readers: Arc<Readers>,
    /// How many of those answer over UDP.
    pub udp_workers: usize,
    /// Where it is known who is given zones.
    pub secondaries: Arc<Secondaries>,
    /// What the data plane listens on.
    pub listen: Vec<std::net::SocketAddr>,
    /// Whether the configuration may lack what is being answered.
    pub force: bool,
    /// The wall clock.
    pub now: Timestamp,
}

/// Why the writer can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record of a journal is none.
    #[error("the store's record {key:?} is no part of a journal")]
    JournalMalformed {
        /// Which.
        key: String,
    },
    /// A journal does not go with the copy of the file that it began with.
    #[error("zone {zone}: its journal in the store does not fit the copy of its file there: {mismatch}")]
    Journal {
        /// The zone.
        zone: Name,
        /// The first record that does not fit.
        mismatch: Mismatch,
    },
    /// What was changed of the pools at run time does not go with the configuration any more.
    #[error(
        "what was changed of the pools at run time does not go with the configuration any more (--force drops it):\n{}",
        .0.join("\n")
    )]
    Amendments(Vec<String>),
    /// The system refused a thread.
    #[error("can't start a thread: {0}")]
    Thread(std::io::Error),
    /// The configuration lacks what is being answered.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Removal(Vec<Removal>),
}

impl From<JournalError> for StartError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Store(error) => error.into(),
            JournalError::Malformed { key } => Self::JournalMalformed { key },
        }
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Record(RecordError::Store(error))
    }
}

/// Reads the store, brings it in line with the configuration, carries out what is due, and publishes the first snapshot.
/// Queries may be answered from then on; the writer itself works once it [runs](Writer::run).
///
/// # Errors
/// [`StartError`]; the store is as it was then.
pub async fn start(start: Start) -> Result<(Writer, Handle, Arc<ArcSwap<Snapshot>>), StartError> {
    let Start { config_file, mut catalog, store, readers, udp_workers, secondaries, listen, force, now } = start;
    if catalog.zones.iter().any(|z| matches!(z.state, ZoneState::Unloaded | ZoneState::Awaited)) {
        let last_good = last_good(&*store, &catalog).await?;
        match Catalog::read(&config_file, None, &last_good, force, now) {
            Ok(again) => catalog = again,
            // It was read a moment ago without a mistake: somebody is writing it.
            Err(mistakes) => {
                let why = mistakes.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(
                    why,
                    "the configuration changed during the start: zones that can't be read fail until a reload"
                );
            }
        }
    }
    let background = Background::start(Arc::new(stand)).map_err(StartError::Thread)?;
    let (journals, zone_writes, uncopied) = restore(&*store, &mut catalog, now).await?;
    let amendments = records::amendments(&*store).await?;
    let has_drift = catalog.zones.iter().filter_map(|zone| zone.served.as_ref()).any(|served| !served.drift.is_empty());
    if has_drift || !amendments.0.is_empty() {
        let told = |mistakes: Vec<Diagnostic>| mistakes.into_iter().map(|mistake| mistake.message).collect();
        catalog =
            catalog.amended_at_start(&amendments, force).map_err(|mistakes| StartError::Amendments(told(mistakes)))?;
        catalog.readings.clear(); // they were taken in
    }
    let followed = follow::stored(&*store, &catalog).await?;
    follow::expire(&mut catalog, &followed, now);
    let carrying = carry::stored(&*store).await?;
    let stored = records::read(&*store).await?;
    let stored_forwarders = forwarders::stored(&*store).await?;
    let first = stored.state.is_none();
    let before = stored.state.unwrap_or_default();
    let (sites, settings) = (&catalog.settings.sites, &catalog.settings.pools);
    let mut state = reconcile(&before, sites, settings, &Answered::new(), force, now).map_err(StartError::Removal)?;
    let pools = &state.pools;

    let mut horizons = Horizons::new(readers.workers());
    horizons.follow(&catalog, 1);
    let before_start = stored.horizons;
    let known = if stored.run.clean { before_start.clone() } else { recover(&before, &before_start, &catalog, now) };
    for (pool, of_pool) in &known {
        horizons.add(pool, of_pool);
        let bounded = stored.unsettled.get(pool).filter(|_| !stored.run.clean);
        horizons.note(pool, of_pool, |site, rtype, at| {
            let stored = before_start.get(pool).and_then(|of| of.get(site)?.get(&rtype));
            match bounded {
                _ if stored != Some(&at) => Why::Recovered { restart: now },
                Some(change) => Why::Bound { change: *change },
                None => Why::Stored,
            }
        });
    }

    let touched: BTreeMap<Name, PoolState> = (pools.iter())
        .filter(|(name, new)| before.pools.get(*name) != Some(*new))
        .map(|(name, pool)| (name.clone(), pool.clone()))
        .collect();
    let gone: Vec<&Name> = before.pools.keys().filter(|name| !pools.contains_key(*name)).collect();
    let changed = first || !touched.is_empty() || !gone.is_empty() || state.sites != before.sites;
    let generation = before.generation + u64::from(changed);
    state.generation = generation;

    let stored_rrsets = records::rrsets(&*store).await?;
    let planned = &catalog.settings.rrsets;
    let mut rrsets = Rrsets::new(readers.workers(), stored_rrsets, planned, stored.run.clean, now);
    let rrset_changes = rrsets.changes(None, &catalog, now);

    let mut writes = vec![records::put(records::RUN, &Run { clean: false })];
    if !stored.unsettled.is_empty() {
        writes.push(records::put(records::UNSETTLED, &Unsettled::new()));
    }
    writes.extend(rrsets.recovered());
    writes.extend(rrsets.writes(&rrset_changes, now));
    for (pool, known) in &known {
        writes.push(records::put(horizon_key(pool), known));
    }
    writes.extend(zone_writes);
    writes.extend(records::amendment_writes(&amendments, &catalog.amendments));
    if changed {
        let entry = AuditEntry {
            generation,
            at: now,
            author: SELF.to_owned(),
            reason: None,
            action: if first { Action::Start } else { Action::Reload },
            changes: decide::changes(&before, &touched, &catalog.settings.pools, now),
        };
        let was = touched.keys().map(|name| (name.clone(), before.pools.get(name).cloned())).collect();
        writes.push(records::put(records::STATE, &state));
        writes.push(records::put(audit_key(generation), &Past { entry, before: was }));
        writes.extend(touched.iter().map(|(name, pool)| records::put(pool_key(name), pool)));
        writes.extend(gone.into_iter().map(|name| Write::Delete { key: pool_key(name) }));
    }
    let revision = store.commit(store.revision().await?, writes).await?;

    rrsets.take(rrset_changes, 1, now);

    let mut health: BTreeMap<_, EndpointHealth> = BTreeMap::new();
    for (pool, sites) in stored.health {
        for (site, subjects) in sites {
            let known = health.entry((pool.clone(), site)).or_default();
            for (subject, (up, since)) in subjects {
                known.recall(subject, up, since);
            }
        }
    }
    for (pool, sites) in stored.pushed {
        for (site, pushed) in sites {
            health.entry((pool.clone(), site)).or_default().pushed = Some(pushed);
        }
    }
    let published = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let numbers = Arc::new(StoreNumbers::default());
    let known = Arc::new(Forwarders::default());
    for (name, wanted) in stored_forwarders {
        known.put(&name, wanted);
    }
    let probe_numbers = probe::Numbers::default();
    let (zone_events, _) = broadcast::channel(ZONE_EVENTS);
    let board = Board::default();
    let (handle, commands) = Handle::new(
        published.clone(),
        readers.clone(),
        numbers.clone(),
        known.clone(),
        probe_numbers.clone(),
        store.clone(),
        zone_events.clone(),
        board.clone(),
    );
    let (report_sender, reports) = mpsc::channel(REPORTS);
    let (made_sender, makings) = mpsc::channel(4);
    let (override_sender, override_readings) = mpsc::channel(1);
    let mut writer = Writer {
        config_file,
        catalog: Arc::new(catalog),
        journals,
        signers: BTreeMap::new(),
        unions: BTreeMap::new(),
        followed,
        zone_events,
        state,
        store,
        revision,
        numbers,
        published: published.clone(),
        readers,
        serial: 0,
        udp_workers,
        horizons,
        unsettled: Vec::new(),
        rrsets,
        health,
        health_changes: BTreeMap::new(),
        regions: BTreeMap::new(),
        health_unsaved: false,
        saved_health_at: now,
        probes: None,
        probes_at_once: 0,
        probe_numbers,
        prober_dead: None,
        commands,
        reports,
        report_sender,
        makings,
        made_sender,
        override_file: OverrideFile::default(),
        override_readings,
        override_sender,
        making: false,
        waiting: VecDeque::new(),
        copies: Copies::of(uncopied),
        background,
        retired: Vec::new(),
        refused_reload: None,
        reloads: 0,
        refused_reloads: 0,
        zone_files: [0; 2],
        store_problem: None,
        started_at: now,
        listen,
        told_late: Vec::new(),
        told_late_rrsets: Vec::new(),
        looked_at: None,
        pruned_at: Timestamp(0),
        effective: Sampling::default(),
        forwarders: known,
        secondaries,
        carrying,
        clock: Clock::default(),
        started: Instant::now(),
        hooks: Hooks::new(board),
        looked: None,
    };
    writer.hooks.follow(&writer.catalog.settings.webhooks);
    let new_forwarders = writer.follow_forwarders(now);
    if !new_forwarders.is_empty() {
        // Where this fails they are made again at the next start.
        _ = writer.commit(new_forwarders).await;
    }
    writer.forget_unprobed();
    writer.follow_override_file(now).await;
    writer.take_back_unconfirmed(now).await;
    writer.sign_zones(now).await;
    writer.carry(now).await;
    writer.publish();
    for dropped in &writer.catalog.dropped {
        tracing::warn!("{dropped}");
    }
    for doubt in &writer.catalog.warnings {
        tracing::warn!("{doubt}");
    }
    tell_zones(&writer.catalog, None);
    let generation = writer.state.generation;
    tracing::info!(generation, clean = stored.run.clean, first, "state read");
    Ok((writer, handle, published))
}

impl Writer {
    /// What is due at `now`.
    pub(super) async fn tick(&mut self, now: Timestamp) {
        if self.state.pending.iter().any(|p| p.is_due(now)) {
            self.take_back_unconfirmed(now).await;
        }
        if self.readers.left(self.serial) {
            self.settle(now).await;
        }
        self.drop_retired();
        self.take_samples(now);
        self.expire_zones(now);
        self.watch_prober(now);
        self.sign_due(now).await;
        self.hear(now).await;
        let carried = self.carry_due(now).await;
        if !carried.is_empty() {
            self.publish();
        }
        for (zone, serial) in carried {
            self.tell_serial(&zone, serial);
        }
        self.release_held(now);
        self.expire_pushed(now);
        self.look_at_clock(now);
        self.notice(now);
        if self.health_unsaved && now.since(self.saved_health_at) >= HEALTH_EVERY_SECS {
            self.saved_health_at = now;
            self.health_unsaved = self.commit(self.health_writes().into()).await.is_err();
        }
        self.tell_late_rrsets(now);
        for (name, pool) in &self.state.pools {
            let late = pool.cutover.is_some_and(|c| c.at < now);
            if late && !self.told_late.contains(name) {
                self.told_late.push(name.clone());
                tracing::warn!(pool = %name, "the cutover has passed without a change: the TTL stays low until it is cleared or moved");
            }
        }
        if now.since(self.pruned_at) >= PRUNE_EVERY_SECS {
            self.pruned_at = now;
            self.prune(now).await;
        }
    }

    /// Every worker has left what was published before: horizons of what is no longer answered are final, and stored so.
    async fn settle(&mut self, now: Timestamp) {
        self.horizons.settle(&self.readers);
        let settled = self.rrsets.settle(&self.readers, now);
        if self.unsettled.is_empty() && settled.is_empty() {
            return;
        }
        let mut pools = std::mem::take(&mut self.unsettled);
        pools.extend(self.horizons.departed_pools().cloned());
        self.horizons.forget(now);
        let write = |pool: &Name| {
            let known = self.horizons.known(pool);
            let key = horizon_key(pool);
            let gone = known.is_empty() && !self.state.pools.contains_key(pool);
            if gone { Write::Delete { key } } else { records::put(key, &known) }
        };
        let mut writes: Vec<Write> = pools.iter().map(write).chain(settled).collect();
        writes.push(records::put(records::UNSETTLED, &Unsettled::new()));
        // Where this fails the bound stays, which is later: nothing is lost.
        _ = self.commit(writes).await;
    }

    /// Drops snapshots that no worker holds any more, in the background: a large zone takes a while.
    fn drop_retired(&mut self) {
        let unused: Vec<_> = self.retired.extract_if(.., |old| Arc::strong_count(old) == 1).collect();
        if !unused.is_empty() {
            self.background.run(move || drop(unused));
        }
    }

    async fn prune(&mut self, now: Timestamp) {
        let Ok(found) = self.store.scan(Scan::all("idempotency/")).await else { return };
        let old = |(key, value): (String, Vec<u8>)| {
            let repeat: Option<Repeat> = records::parse(&key, &value).ok();
            repeat.is_none_or(|r| now.since(r.at) > REPEAT_SECS).then_some(Write::Delete { key })
        };
        let mut writes: Vec<Write> = found.into_iter().filter_map(old).collect();
        writes.extend(self.oldest_forwarder_audit().await);
        if !writes.is_empty() {
            _ = self.commit(writes).await; // it is tried again in an hour
        }
    }

    /// The data plane has stopped: what it recorded is exact, and the next start may rely on it.
    pub(super) async fn end(&mut self) {
        self.probes = None;
        self.commands.close();
        self.horizons.settle(&self.readers);
        let mut writes = vec![records::put(records::RUN, &Run { clean: self.readers.left(self.serial) })];
        writes.extend(self.health_writes());
        writes.extend(self.rrsets.end(&self.readers, Timestamp::now()));
        let pools: Vec<Name> =
            self.state.pools.keys().cloned().chain(self.horizons.departed_pools().cloned()).collect();
        writes.extend(pools.iter().map(|pool| records::put(horizon_key(pool), &self.horizons.known(pool))));
        if let Err(error) = self.commit(writes).await {
            tracing::warn!(%error, "the end was not saved: the next start takes horizons to be later than they are");
        } else {
            tracing::info!("state saved");
        }
    }
}
