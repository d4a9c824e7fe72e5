//! RRsets whose TTL is planned: cutovers of them, and what comes of it that a zone has changed.

use crate::control::decide;
use crate::control::error::ControlError;
use crate::control::horizons::STALL_SECS;
use crate::control::message::{
    Action, AuditEntry, ChangeAnswer, CutoverRequest, Origin, RrsetHorizon, RrsetStatus, TtlStatus,
};
use crate::control::planned::{Change, zone_of};
use crate::control::records::{self, Past, audit_key};
use crate::control::which::WhichRrsets;
use crate::control::writer::Writer;
use crate::control::writer::changes::repeat;
use crate::steering::horizon::Report;
use crate::steering::planned::{RrsetKey, State, Turn};
use crate::steering::ttl::{Cutover, TtlPolicy, caches_clear_at};
use crate::time::Timestamp;

impl Writer {
    /// Sets, moves or clears the cutover of planned RRsets.
    pub(super) async fn plan_rrsets(
        &mut self,
        origin: Origin,
        which: &WhichRrsets,
        request: CutoverRequest,
        now: Timestamp,
    ) -> Result<ChangeAnswer, ControlError> {
        let change = format!("cutover of rrset {which}");
        if let Some(first) = self.opening(&origin, &change, false).await? {
            return Ok(first);
        }
        let keys = which.keys(&self.catalog.settings.rrsets)?;
        decide::refuse_passed(&request, now)?;
        let cutover = request.at.map(|at| Cutover { at });
        let next = |key: &RrsetKey| {
            let state = State { cutover, ..self.rrsets.get(key)?.1.clone() };
            self.rrsets.replan(key, state)
        };
        let changes: Vec<Change> = keys.iter().filter_map(next).collect();
        let mut answer = self.change_answer(now);
        if let Some(cutover) = cutover {
            let clear = keys.iter().filter_map(|key| self.rrset_clear_at(key, cutover, now)).max();
            answer.caches_clear_at = clear;
            if let Some(clear) = clear.filter(|clear| *clear > cutover.at) {
                answer.warnings.push(format!(
                    "{} is too early: answers given until now live for up to {} s; caches will be clear at {clear}",
                    cutover.at,
                    clear.since(now)
                ));
            }
            let given = |key: &&RrsetKey| self.given_zone(key).is_some();
            if let Some(zone) = keys.iter().find(given).and_then(|key| self.given_zone(key)) {
                answer.warnings.push(format!(
                    "secondaries of zone {zone} serve its RRsets with the zone's own TTL: lower that one for them"
                ));
            }
        }
        let mut state = self.state.of([]);
        state.generation += 1;
        let action = Action::RrsetCutover { rrsets: keys.into_iter().collect(), cutover: request.at };
        let entry = AuditEntry {
            generation: state.generation,
            at: now,
            author: origin.author.clone(),
            reason: request.reason,
            action,
            changes: Vec::new(),
        };
        let past = Past { entry: entry.clone(), before: std::collections::BTreeMap::new() };
        let mut writes = vec![records::put(records::STATE, &state), records::put(audit_key(entry.generation), &past)];
        writes.extend(self.rrsets.writes(&changes, now));
        writes.extend(repeat(&origin, &change, &answer, now));
        self.commit(writes).await?;
        self.state.generation = state.generation;
        self.told_late_rrsets.retain(|told| !changes.iter().any(|change| change.key == *told));
        self.take_rrsets(changes, now).await;
        let pools = self.published.load().pools.clone();
        self.publish_pools(pools);
        self.tell(&entry);
        Ok(answer)
    }

    /// When no cache holds an answer with it, or without it, at a TTL above `low`, if `cutover` is set now.
    fn rrset_clear_at(&self, key: &RrsetKey, cutover: Cutover, now: Timestamp) -> Option<Timestamp> {
        let (ttl, state) = self.rrsets.get(key)?;
        Some(caches_clear_at(&cutover, now, state.largest_ttl(ttl, now), self.rrsets.latest(key)))
    }

    /// The zone of an RRset, if secondaries are given it.
    fn given_zone(&self, key: &RrsetKey) -> Option<&crate::dns::Name> {
        let zone = &self.catalog.settings.zones[zone_of(&self.catalog, &key.name)?];
        zone.is_transferred().then_some(&zone.name)
    }

    /// `changes`, which were decided at `decided`, are durable: they hold from the next publication on.
    pub(super) async fn take_rrsets(&mut self, changes: Vec<Change>, decided: Timestamp) {
        if changes.is_empty() {
            return;
        }
        for Change { key, turn, next, .. } in &changes {
            let (Turn::Changed { before, ahead_of }, Some((_, state))) = (turn, next) else { continue };
            let (was, ttl) = (before.answered, state.low);
            tracing::info!(rrset = %key, ?was, ttl = ttl.secs(), "a planned RRset has changed: its TTL is low, and grows back");
            if let Some(at) = ahead_of {
                tracing::warn!(rrset = %key, %at, "the change is ahead of the cutover, which stands");
            }
        }
        let now = Timestamp::now();
        self.rrsets.take(changes, self.serial + 1, now.max(decided));
        if now.since(decided) > STALL_SECS {
            // Where this fails, only a crash right now would find the bound too early.
            _ = self.commit(self.rrsets.bound_again(now)).await;
        }
    }

    /// Nothing is published that was not looked at: what has changed without being decided here is found, and durable soon.
    pub(super) fn look_at_rrsets(&mut self) {
        if self.looked_at.as_ref().is_some_and(|zones| std::sync::Arc::ptr_eq(zones, &self.catalog.zone_set)) {
            return;
        }
        self.looked_at = Some(self.catalog.zone_set.clone());
        if self.catalog.settings.rrsets.is_empty() {
            return;
        }
        let now = Timestamp::now();
        let changes = self.rrsets.changes(None, &self.catalog, now);
        if !changes.is_empty() {
            self.rrsets.take(changes, self.serial, now);
        }
    }

    /// Tells of cutovers that have passed without a change.
    pub(super) fn tell_late_rrsets(&mut self, now: Timestamp) {
        for (key, _, state) in self.rrsets.iter() {
            let late = state.cutover.is_some_and(|c| c.at < now);
            if late && !self.told_late_rrsets.contains(key) {
                self.told_late_rrsets.push(key.clone());
                tracing::warn!(rrset = %key, "the cutover has passed without a change: the TTL stays low until it is cleared or moved");
            }
        }
    }

    pub(super) fn rrset_statuses(&self, now: Timestamp) -> Vec<RrsetStatus> {
        self.rrsets.iter().map(|(key, ttl, state)| self.rrset_status(key, ttl, state, now)).collect()
    }

    fn rrset_status(&self, key: &RrsetKey, configured: &TtlPolicy, state: &State, now: Timestamp) -> RrsetStatus {
        let policy = state.policy(configured);
        RrsetStatus {
            rrset: key.clone(),
            zone: zone_of(&self.catalog, &key.name).map(|index| self.catalog.zones[index].name.clone()),
            answered: state.seen.map(|seen| seen.answered),
            ttl: TtlStatus { normal: policy.normal, low: policy.low, served: state.largest_ttl(configured, now) },
            cutover: state.cutover.map(|cutover| cutover.at),
            planned_since: state.since,
            changed_at: state.change.map(|change| change.at),
            answers: self.rrsets.answers(key),
            horizon: state.change.and_then(|_| self.rrset_horizon(key, now)),
        }
    }

    /// The horizon of what it was before its last change.
    pub(super) fn rrset_horizon(&self, key: &RrsetKey, now: Timestamp) -> Option<RrsetHorizon> {
        let ours = self.rrsets.report(key)?;
        let (report, why) = match self.rrset_at_secondaries(key) {
            Some((theirs, why)) if theirs.at > ours.at => (ours.merged(theirs), why),
            _ => (ours, why(ours)),
        };
        let Report { at, at_least } = report;
        Some(RrsetHorizon { at, seconds_left: at.map_or(0, |at| at.since(now)), at_least, why })
    }
}

/// What an operator should know of changes that a reading brings.
pub(super) fn warnings_of(changes: &[Change]) -> Vec<String> {
    let warning = |change: &Change| match change.turn {
        Turn::Changed { ahead_of: Some(at), .. } => Some(format!(
            "rrset {}: this is ahead of its cutover at {at}: until then caches may hold it as it was for longer than its low TTL",
            change.key
        )),
        _ => None,
    };
    changes.iter().filter_map(warning).collect()
}

fn why(ours: Report) -> String {
    match ours {
        Report { at_least: true, .. } => {
            "it may still be on its way, from what was served until a moment ago".to_owned()
        }
        Report { at: None, .. } => "nobody was given it as it was".to_owned(),
        Report { at: Some(_), .. } => "the last answer with it as it was lives until then".to_owned(),
    }
}
