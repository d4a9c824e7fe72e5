//! Commands that change the state: decided, made durable, published, answered.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::catalog::Catalog;
use crate::control::decide::{self, Proposal, check_condition};
use crate::control::error::ControlError;
use crate::control::handle::AuditQuery;
use crate::control::horizons::{Known, STALL_SECS};
use crate::control::message::why::Why;
use crate::control::message::{
    Action, AuditEntry, ChangeAnswer, CutoverRequest, EndpointChange, FlipAnswer, FlipRequest, Origin, OverrideRequest,
    PoolChange, ReasonRequest, RestoreRequest, SiteRequest,
};
use crate::control::records::{
    self, Past, RecordError, Repeat, Unsettled, audit_key, horizon_key, idempotency_key, pool_key,
};
use crate::control::rules::Ground;
use crate::control::state::{PoolState, State};
use crate::control::which::Which;
use crate::control::writer::{SELF, Writer};
use crate::dns::Name;
use crate::steering::horizon::expires;
use crate::steering::pool::Weight;
use crate::steering::ttl::{Cutover, TtlPolicy, caches_clear_at, largest_ttl};
use crate::store::{Scan, Write};
use crate::time::Timestamp;

/// How long the old state is answered after a change, as it is told to who makes it.
pub(super) const FLIP_SECS: u64 = 1;

impl Writer {
    pub(super) async fn flip(
        &mut self,
        origin: Origin,
        request: FlipRequest,
        now: Timestamp,
    ) -> Result<FlipAnswer, ControlError> {
        let change = "flip";
        if let Some(first) = self.opening(&origin, change, !request.dry_run).await? {
            return Ok(first);
        }
        let proposal = self.proposed(&request, now)?;
        if request.dry_run {
            return Ok(self.flip_answer(&proposal, &self.state, true, now));
        }
        self.make_flip(origin, change, request.reason, proposal, now).await
    }

    pub(super) async fn revert(
        &mut self,
        origin: Origin,
        generation: u64,
        request: ReasonRequest,
        now: Timestamp,
    ) -> Result<FlipAnswer, ControlError> {
        let change = format!("revert {generation}");
        if let Some(first) = self.opening(&origin, &change, true).await? {
            return Ok(first);
        }
        let proposal = self.undo(generation, Action::Revert { undone: generation }, now).await?;
        self.make_flip(origin, &change, request.reason, proposal, now).await
    }

    pub(super) async fn restore(
        &mut self,
        origin: Origin,
        request: RestoreRequest,
        now: Timestamp,
    ) -> Result<FlipAnswer, ControlError> {
        let generation = request.generation;
        let change = format!("restore {generation}");
        if let Some(first) = self.opening(&origin, &change, true).await? {
            return Ok(first);
        }
        if generation == 0 || generation > self.state.generation {
            let detail = format!("no generation {generation}: they run from 1 to {}", self.state.generation);
            return Err(ControlError::NotFound(detail));
        }
        // What a pool was then is what the first change since then found.
        let mut then: BTreeMap<Name, Option<PoolState>> = BTreeMap::new();
        for past in self.pasts_since(generation).await? {
            for (name, before) in past.before {
                then.entry(name).or_insert(before);
            }
        }
        let then: BTreeMap<Name, PoolState> = then
            .into_iter()
            .filter_map(|(name, before)| Some((name, before?)))
            .filter(|(name, before)| {
                self.state.pools.get(name).is_some_and(|p| p.weights() != before.weights() || p.table != before.table)
            })
            .collect();
        if then.is_empty() {
            return Err(ControlError::Conflict(format!("the weights are those of generation {generation} already")));
        }
        decide::refuse_waiting(&self.state, then.keys())?;
        let proposal = decide::take_back(&self.state, &then, Action::Restore { restored: generation }, now)?;
        self.make_flip(origin, &change, request.reason, proposal, now).await
    }

    pub(super) async fn confirm(
        &mut self,
        origin: Origin,
        generation: u64,
        request: ReasonRequest,
        now: Timestamp,
    ) -> Result<ChangeAnswer, ControlError> {
        let change = format!("confirm {generation}");
        if let Some(first) = self.opening(&origin, &change, false).await? {
            return Ok(first);
        }
        if let Some(late) = self.state.pending.iter().find(|p| p.generation == generation && p.is_due(now)) {
            return Err(ControlError::Conflict(format!(
                "it is too late: the flip of generation {generation} had to be confirmed by {}, and is being taken back",
                late.confirm_by
            )));
        }
        let proposal = decide::confirm(&self.state, &self.catalog.settings.pools, generation, now)?;
        let answer = ChangeAnswer { warnings: proposal.warnings.clone(), ..self.change_answer(now) };
        self.make(&origin, request.reason, proposal, now, repeat(&origin, &change, &answer, now)).await?;
        Ok(answer)
    }

    pub(super) async fn set_override(
        &mut self,
        origin: Origin,
        which: &Which,
        site: &str,
        request: OverrideRequest,
        now: Timestamp,
    ) -> Result<ChangeAnswer, ControlError> {
        let change = format!("override {site} of {which}");
        if let Some(first) = self.opening(&origin, &change, false).await? {
            return Ok(first);
        }
        let pools = which.names(&self.catalog.settings.pools)?;
        let proposal = decide::set_override(&self.state, pools.clone(), site, &request, now)?;
        let answer = ChangeAnswer { warnings: proposal.warnings.clone(), ..self.change_answer(now) };
        self.make(&origin, request.reason, proposal, now, repeat(&origin, &change, &answer, now)).await?;
        for pool in &pools {
            self.end_damping(pool, site);
        }
        Ok(answer)
    }

    pub(super) async fn set_site(
        &mut self,
        origin: Origin,
        site: &str,
        request: SiteRequest,
        now: Timestamp,
    ) -> Result<ChangeAnswer, ControlError> {
        let change = format!("site {site}");
        if let Some(first) = self.opening(&origin, &change, false).await? {
            return Ok(first);
        }
        let proposal = decide::set_site(&self.state, site, request.state, now)?;
        let answer = self.change_answer(now);
        self.make(&origin, request.reason, proposal, now, repeat(&origin, &change, &answer, now)).await?;
        Ok(answer)
    }

    pub(super) async fn set_cutover(
        &mut self,
        origin: Origin,
        which: &Which,
        request: CutoverRequest,
        now: Timestamp,
    ) -> Result<ChangeAnswer, ControlError> {
        let change = format!("cutover of {which}");
        if let Some(first) = self.opening(&origin, &change, false).await? {
            return Ok(first);
        }
        let proposal = decide::set_cutover(&self.state, which.names(&self.catalog.settings.pools)?, &request, now)?;
        let mut answer = ChangeAnswer { warnings: proposal.warnings.clone(), ..self.change_answer(now) };
        if let Some(cutover) = request.at.map(|at| Cutover { at }) {
            let clear = proposal.touched.keys().filter_map(|pool| self.caches_clear_at(pool, cutover, now)).max();
            answer.caches_clear_at = clear;
            if let Some(clear) = clear.filter(|clear| *clear > cutover.at) {
                answer.warnings.push(format!(
                    "{} is too early: answers given until now live for up to {} s; caches will be clear at {clear}",
                    cutover.at,
                    clear.since(now)
                ));
            }
        }
        let touched: Vec<Name> = proposal.touched.keys().cloned().collect();
        self.make(&origin, request.reason, proposal, now, repeat(&origin, &change, &answer, now)).await?;
        self.told_late.retain(|told| !touched.contains(told));
        Ok(answer)
    }

    /// When no cache holds an answer of `pool` with a TTL above `low`, if `cutover` is set now.
    fn caches_clear_at(&self, pool: &Name, cutover: Cutover, now: Timestamp) -> Option<Timestamp> {
        let policy = self.catalog.pool(pool)?.ttl;
        let (planned, changed) = (self.state.pools.get(pool)?.cutover, self.change_of(pool));
        let largest = largest_ttl(&policy, planned.as_ref(), changed.as_ref(), now);
        let given = self.horizons.known(pool).values().flat_map(BTreeMap::values).max().copied();
        Some(caches_clear_at(&cutover, now, largest, given))
    }

    pub(super) async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, ControlError> {
        let before = query.before.map(audit_key);
        let scan = Scan { past: before.as_deref(), ..Scan::last("audit/", query.limit) };
        let found = self.store.scan(scan).await.map_err(|e| ControlError::Store(e.to_string()))?;
        let parse = |(key, value): (String, Vec<u8>)| records::parse::<Past>(&key, &value).map(|past| past.entry);
        found.into_iter().map(parse).collect::<Result<_, _>>().map_err(|e| ControlError::Store(e.to_string()))
    }

    /// Takes back the flips whose deadline has passed.
    pub(super) async fn take_back_unconfirmed(&mut self, now: Timestamp) {
        let due: Vec<u64> = self.state.pending.iter().filter(|p| p.is_due(now)).map(|p| p.generation).collect();
        for generation in due {
            let origin = Origin { author: SELF.to_owned(), ..Origin::default() };
            let action = Action::Unconfirmed { undone: generation };
            let made = match self.undo(generation, action.clone(), now).await {
                Ok(proposal) => {
                    let reason = format!("generation {generation} was not confirmed in time");
                    self.make(&origin, Some(reason), proposal, now, Vec::new()).await.map(|_| ())
                }
                // Other endpoints by now, or nothing left to answer: then it stays, as if it were confirmed.
                Err(ControlError::Conflict(why)) => {
                    let reason = format!("generation {generation} was not confirmed, and can't be taken back: {why}");
                    tracing::error!(generation, why, "an unconfirmed flip can't be taken back");
                    match decide::confirm(&self.state, &self.catalog.settings.pools, generation, now) {
                        Ok(stays) => {
                            let stays = Proposal { action, ..stays };
                            self.make(&origin, Some(reason), stays, now, Vec::new()).await.map(|_| ())
                        }
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = made {
                tracing::error!(generation, %error, "an unconfirmed flip was not taken back yet; it is tried again");
            }
        }
    }

    /// What undoes `generation`, unless a later flip stands in the way.
    async fn undo(&self, generation: u64, action: Action, now: Timestamp) -> Result<Proposal, ControlError> {
        let key = audit_key(generation);
        let past = records::get::<Past>(&*self.store, &key).await.map_err(|e| ControlError::Store(e.to_string()))?;
        let Some(past) = past else {
            return Err(ControlError::NotFound(format!("no generation {generation}")));
        };
        if !is_flip(&past.entry.action) {
            return Err(ControlError::Conflict(format!(
                "generation {generation} is no flip: there are no weights to undo"
            )));
        }
        let before: BTreeMap<Name, PoolState> =
            past.before.into_iter().filter_map(|(name, before)| Some((name, before?))).collect();
        for later in self.pasts_since(generation).await? {
            let shared = later.before.keys().find(|name| before.contains_key(*name) && has_flipped(&later, name));
            if let Some(pool) = shared {
                return Err(ControlError::Conflict(format!(
                    "generation {} has flipped pool {pool} since: revert that one first, or restore an older generation",
                    later.entry.generation
                )));
            }
        }
        decide::take_back(&self.state, &before, action, now)
    }

    /// All changes after `generation`, the oldest first.
    async fn pasts_since(&self, generation: u64) -> Result<Vec<Past>, ControlError> {
        let after = audit_key(generation);
        let scan = Scan { past: Some(&after), ..Scan::all("audit/") };
        let found = self.store.scan(scan).await.map_err(|e| ControlError::Store(e.to_string()))?;
        let parse = |(key, value): (String, Vec<u8>)| records::parse::<Past>(&key, &value);
        found.into_iter().map(parse).collect::<Result<_, _>>().map_err(|e| ControlError::Store(e.to_string()))
    }

    /// How each command on the state begins: the first answer to its idempotency key, if that was used for it; else its
    /// condition is checked, which it `must` have or not.
    pub(super) async fn opening<T: DeserializeOwned>(
        &self,
        origin: &Origin,
        change: &str,
        must: bool,
    ) -> Result<Option<T>, ControlError> {
        let first = self.repeated(origin, change).await?;
        if first.is_none() {
            check_condition(origin.condition, self.state.generation, must)?;
        }
        Ok(first)
    }

    /// The first answer to this idempotency key.
    async fn repeated<T: DeserializeOwned>(&self, origin: &Origin, change: &str) -> Result<Option<T>, ControlError> {
        let Some(key) = &origin.idempotency_key else { return Ok(None) };
        let stored = idempotency_key(key);
        let found = records::get::<Repeat>(&*self.store, &stored).await;
        let Some(first) = found.map_err(|e| ControlError::Store(e.to_string()))? else { return Ok(None) };
        // What was kept by a version that made no digest is known by its kind alone.
        let other = first.digest.is_some() && first.digest != origin.digest;
        if first.change != change || other {
            return Err(ControlError::Reused { key: key.clone(), first: first.change });
        }
        let answer =
            serde_json::from_value(first.answer).map_err(|error| RecordError::Malformed { key: stored, error });
        answer.map(Some).map_err(|e| ControlError::Store(e.to_string()))
    }

    async fn make_flip(
        &mut self,
        origin: Origin,
        change: &str,
        reason: Option<String>,
        proposal: Proposal,
        now: Timestamp,
    ) -> Result<FlipAnswer, ControlError> {
        let before = self.state.of(proposal.touched.keys());
        let mut answer = self.flip_answer(&proposal, &before, false, now);
        answer.generation += 1;
        let published_at =
            self.make(&origin, reason, proposal.clone(), now, repeat(&origin, change, &answer, now)).await?;
        if published_at.since(now) > FLIP_SECS {
            // The old answers went on for as long as the commit took.
            let late = self.flip_answer(&proposal, &before, false, published_at);
            answer.pools = late.pools;
            _ = self.commit(repeat(&origin, change, &answer, now)).await; // else a repetition tells what was first thought
        }
        Ok(answer)
    }

    /// Makes a proposal the state: durable first, then published. Gives when it was.
    pub(super) async fn make(
        &mut self,
        origin: &Origin,
        reason: Option<String>,
        proposal: Proposal,
        now: Timestamp,
        mut writes: Vec<Write>,
    ) -> Result<Timestamp, ControlError> {
        let catalog = self.catalog.clone();
        let mut next = self.state.of([]); // the pools are stored each for itself, and only those that are touched
        next.generation += 1;
        next.pending = proposal.pending;
        next.sites.extend(proposal.site);
        let entry = AuditEntry {
            generation: next.generation,
            at: now,
            author: origin.author.clone(),
            reason,
            action: proposal.action,
            changes: decide::changes(&self.state, &proposal.touched, &catalog.settings.pools, now),
        };
        writes.extend(self.writes_of(&next, &proposal.touched, &catalog, entry.clone(), now));
        self.commit(writes).await?;
        let names: Vec<Name> = proposal.touched.keys().cloned().collect();
        let before = self.state.of(&names);
        next.pools = std::mem::take(&mut self.state.pools);
        next.pools.extend(proposal.touched);
        self.state = next;
        self.unsettled.extend(names.iter().cloned());
        self.publish_some(names.into_iter());
        self.tell(&entry);
        Ok(self.bound_again(&before, now).await)
    }

    /// After a commit of what was decided at `decided`: where it took long, stores again how long answers of the state
    /// `before` may live, now that the last of them has been given. Gives the instant.
    pub(super) async fn bound_again(&mut self, before: &State, decided: Timestamp) -> Timestamp {
        let now = Timestamp::now();
        if now.since(decided) <= STALL_SECS {
            return now;
        }
        let mut writes = Vec::new();
        for name in &self.unsettled {
            let policy = self.catalog.pool(name).map(|p| p.ttl);
            if let (Some(old), Some(policy)) = (before.pools.get(name), policy) {
                writes.push(records::put(horizon_key(name), &self.horizons.bound(name, old, &policy, now, STALL_SECS)));
            }
        }
        // Where this fails, what is published still is right; only a crash right now would find the bound too early.
        _ = self.commit(writes).await;
        now
    }

    /// What makes a change durable: the state, the pools touched, what is out in caches because of their old state, the audit.
    pub(super) fn writes_of(
        &self,
        next: &State,
        touched: &BTreeMap<Name, PoolState>,
        catalog: &Catalog,
        entry: AuditEntry,
        now: Timestamp,
    ) -> Vec<Write> {
        let mut writes = vec![records::put(records::STATE, next)];
        let mut before = BTreeMap::new();
        for (name, pool) in touched {
            let old = self.state.pools.get(name);
            let policy = catalog.pool(name).map(|p| p.ttl);
            if let (Some(old), Some(policy)) = (old, policy) {
                writes.push(records::put(horizon_key(name), &self.horizons.bound(name, old, &policy, now, STALL_SECS)));
            }
            writes.push(records::put(pool_key(name), pool));
            before.insert(name.clone(), old.cloned());
        }
        writes.push(records::put(audit_key(entry.generation), &Past { entry, before }));
        let bounded: Unsettled = touched.keys().chain(&self.unsettled).map(|name| (name.clone(), now)).collect();
        writes.push(records::put(records::UNSETTLED, &bounded));
        writes
    }

    /// The answer to a change that is about to be made.
    pub(super) fn change_answer(&self, now: Timestamp) -> ChangeAnswer {
        ChangeAnswer { generation: self.state.generation + 1, at: now, caches_clear_at: None, warnings: Vec::new() }
    }

    /// What a flip does, told against the state `before` it.
    fn flip_answer(&self, proposal: &Proposal, before: &State, dry_run: bool, now: Timestamp) -> FlipAnswer {
        let settings = &self.catalog.settings.pools;
        let mut pools = decide::changes(before, &proposal.touched, settings, now);
        let mut undo_s = 0;
        for change in &mut pools {
            let Some(policy) = self.catalog.pool(&change.name).map(|s| s.ttl) else { continue };
            let after = &proposal.touched[&change.name];
            let ttl = largest_ttl(&policy, after.cutover.as_ref(), after.change.as_ref(), now);
            undo_s = undo_s.max(expires(now, ttl).since(now));
            self.tell_horizons(change, before, &policy, now);
        }
        self.expect_loads(&mut pools, &proposal.touched, now);
        let confirm_by = match &proposal.action {
            Action::Flip { confirm_by, .. } => *confirm_by,
            _ => None,
        };
        let mut warnings = proposal.warnings.clone();
        warnings.extend(self.dead_ends(&pools));
        warnings.extend(self.warn_of_secondaries(&pools));
        warnings.extend(self.outer_pools(&pools));
        FlipAnswer { generation: before.generation, dry_run, at: now, pools, undo_s, confirm_by, warnings }
    }

    /// Says of each endpoint until when caches may hold answers that named it: what is out there, or may still go out in the
    /// moment that the change takes.
    pub(super) fn tell_horizons(&self, change: &mut PoolChange, before: &State, policy: &TtlPolicy, now: Timestamp) {
        let Some(old) = before.pools.get(&change.name) else { return };
        let bound = self.horizons.bound(&change.name, old, policy, now, FLIP_SECS);
        for endpoint in &mut change.endpoints {
            let told = self.horizon_told(&change.name, &endpoint.site, old, &bound, policy, now);
            (endpoint.horizon, endpoint.horizon_why) = told.unzip();
        }
    }

    /// Until when caches may hold an endpoint that a change concerns, and why: `bound` is that of the state `old` before it.
    pub(super) fn horizon_told(
        &self,
        pool: &Name,
        site: &str,
        old: &PoolState,
        bound: &Known,
        policy: &TtlPolicy,
        now: Timestamp,
    ) -> Option<(Timestamp, Why)> {
        let ours = bound.get(site).and_then(|types| types.values().max().copied()).map(|at| {
            let known = self.horizons.known(pool).get(site).and_then(|types| types.values().max().copied());
            if known.is_some_and(|known| known >= at) {
                return (at, self.horizons.why(pool, site, None, at));
            }
            let ground = Ground { policy: *policy, cutover: old.cutover, change: old.change, until_flip: None };
            (at, Why::Change { ttl: ground.largest(now) })
        });
        let theirs = self.bound_of_secondaries(pool, site, now);
        ours.into_iter().chain(theirs).max_by_key(|(at, _)| *at)
    }

    /// Who would get more clients although its probes say that it is down.
    fn dead_ends(&self, pools: &[PoolChange]) -> Vec<String> {
        let mut warnings = Vec::new();
        for pool in pools {
            for endpoint in pool.endpoints.iter().filter(|e| e.share_percent[1] > e.share_percent[0]) {
                warnings.extend(self.dead_region(&pool.name, &endpoint.site));
                let checked = self.health.get(&(pool.name.clone(), endpoint.site.clone()));
                if let Some(down) = checked.filter(|c| c.state() == Some(false)) {
                    let seen = down.seen().unwrap_or_else(|| "no answer".to_owned());
                    warnings.push(format!(
                        "pool {}: {} is down ({seen}): its clients are given to others, or, where nobody is up, sent there \
                         all the same",
                        pool.name, endpoint.site
                    ));
                }
            }
        }
        warnings
    }
}

impl Writer {
    /// Tells log and webhooks what an operator needs to know of a change.
    pub(super) fn tell(&self, entry: &AuditEntry) {
        let AuditEntry { generation, author, reason, .. } = entry;
        let (what, shares) = in_words(entry);
        tracing::info!(generation, author, reason, shares, "{what}");
        let moved = shares.map_or_else(String::new, |shares| format!("; {shares}"));
        self.tell_hooks(entry, &(what + &moved));
    }
}

/// What keeps the answer for a repetition, if that was asked for.
pub(super) fn repeat(origin: &Origin, change: &str, answer: &impl Serialize, now: Timestamp) -> Vec<Write> {
    let Some(key) = &origin.idempotency_key else { return Vec::new() };
    let answer = serde_json::to_value(answer).expect("answers have text as keys");
    let (change, digest) = (change.to_owned(), origin.digest.clone());
    vec![records::put(idempotency_key(key), &Repeat { at: now, change, digest, answer })]
}

/// Whether a change of this kind set weights.
fn is_flip(action: &Action) -> bool {
    match action {
        Action::Flip { .. } | Action::Revert { .. } | Action::Unconfirmed { .. } | Action::Restore { .. } => true,
        Action::Start
        | Action::Confirm { .. }
        | Action::Override { .. }
        | Action::Overrides { .. }
        | Action::Site { .. }
        | Action::OverrideFile
        | Action::Cutover { .. }
        | Action::Cutovers { .. }
        | Action::RrsetCutover { .. }
        | Action::Amend { .. }
        | Action::Reload => false,
    }
}

/// Whether `past` moved clients of `pool`, so that an older flip can't be undone behind it. A configuration or a word over a
/// site does so only where it takes away an endpoint that had weight, or makes the pool.
fn has_flipped(past: &Past, pool: &Name) -> bool {
    if !matches!(past.entry.action, Action::Reload | Action::Amend { .. } | Action::Site { .. }) {
        return is_flip(&past.entry.action);
    }
    let Some(Some(before)) = past.before.get(pool) else { return true };
    let after = past.entry.changes.iter().find(|c| c.name == *pool);
    let weight_after = |site: &str| {
        let endpoint = after.and_then(|c| c.endpoints.iter().find(|e| e.site == site));
        endpoint.map_or(Weight::ZERO, |e| e.weight[1])
    };
    before.endpoints.iter().any(|e| e.weight != weight_after(&e.site))
}

/// A change in words, and the shares that it moved.
fn in_words(entry: &AuditEntry) -> (String, Option<String>) {
    let AuditEntry { action, changes, .. } = entry;
    let moved = changes.iter().flat_map(|change| {
        let of = |e: &EndpointChange| e.share_percent[0].to_bits() != e.share_percent[1].to_bits();
        let told = |e: &EndpointChange| {
            format!("{} {}: {} % -> {} %", change.name, e.site, e.share_percent[0], e.share_percent[1])
        };
        change.endpoints.iter().filter(move |e| of(e)).map(told)
    });
    let moved: Vec<String> = moved.collect();
    let what = match action {
        Action::Start => "first start".to_owned(),
        Action::Flip { confirm_by, cap } => {
            let capped = if *cap { ", capped" } else { "" };
            confirm_by.map_or_else(|| format!("flip{capped}"), |by| format!("flip{capped}, to be confirmed by {by}"))
        }
        Action::Revert { undone } => format!("flip of generation {undone} undone"),
        Action::Unconfirmed { undone } => format!("flip of generation {undone} taken back"),
        Action::Confirm { confirmed } => format!("flip of generation {confirmed} confirmed"),
        Action::Restore { restored } => format!("weights of generation {restored} restored"),
        Action::Override { pool, site, forced } => format!("override of {pool} at {site}: {forced}"),
        Action::Overrides { pools, site, forced } => format!("override of {} pools at {site}: {forced}", pools.len()),
        Action::Site { site, state } => format!("site {site}: {state}"),
        Action::OverrideFile => "override file".to_owned(),
        Action::Cutover { pool, cutover: Some(at) } => format!("cutover of {pool} at {at}"),
        Action::Cutover { pool, cutover: None } => format!("cutover of {pool} cleared"),
        Action::Cutovers { pools, cutover: Some(at) } => format!("cutover of {} pools at {at}", pools.len()),
        Action::Cutovers { pools, cutover: None } => format!("cutover of {} pools cleared", pools.len()),
        Action::RrsetCutover { rrsets, cutover } => {
            let of = rrsets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            cutover.map_or_else(|| format!("cutover of {of} cleared"), |at| format!("cutover of {of} at {at}"))
        }
        Action::Reload => "configuration read again".to_owned(),
        Action::Amend { amended } => amended.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let shares = (!moved.is_empty()).then(|| moved.join("; "));
    (what, shares)
}
