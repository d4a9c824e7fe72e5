//! What the rules are told while they run: rungs and holds, by hand or by an authority, and an authority's targets.
//!
//! What always holds: an older state of an authority never takes the place of a newer one; what it can't do of a state it
//! says, and does the rest; holds of an authority end with its stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::circle::untie;
use super::classes::ClassTable;
use super::connect::Circuits;
use super::connection::{Plan, Shared, Way};
use super::control::{Board, Post};
use super::counts::now_ms;
use super::ladder::{Ladder, Rung};
use super::memory::{Kept, Memory};
use super::names::{self, Services};
use super::settings::{Rule, WeightedTarget};
use super::throttle::Throttle;
use crate::pairing::{Applied, Belongs, Class, Classes, Desired, Hold, RuleWish};

/// What is in force, shared by all who may change it.
pub(super) struct Orders {
    inner: Mutex<Inner>,
    memory: Option<Memory>,
    /// Which class a source has.
    pub(super) classes: ArcSwap<ClassTable>,
    /// Told when a state was applied.
    pub(super) applied: Notify,
}

struct Inner {
    kept: Kept,
    /// The state of the authority that is in force, and known after a restart as well.
    applied: Option<Applied>,
    /// Counts what is written.
    number: u64,
    /// What of the state can't be done.
    problems: Vec<String>,
    /// Holds of the authority in force: theirs and the gate's number.
    holds: Vec<(u64, u64, Arc<Way>)>,
}

impl Orders {
    /// With what was kept, if it is kept.
    pub(super) fn new(memory: Option<Memory>) -> Self {
        let kept = memory.as_ref().map(Memory::read).unwrap_or_default();
        let classes = ArcSwap::from_pointee(ClassTable::new(&kept.classes));
        let applied = kept.desired.as_ref().map(applied_by);
        let inner = Inner { kept, applied, number: 0, problems: Vec::new(), holds: Vec::new() };
        Self { inner: Mutex::new(inner), memory, classes, applied: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which state is in force, and what of it can't be done.
    pub(super) fn applied(&self) -> (Option<Applied>, Vec<String>) {
        let inner = self.inner();
        (inner.applied, inner.problems.clone())
    }

    /// A rule as it is set, with what the authority wants of it.
    pub(super) fn rule(&self, set: &Rule) -> Rule {
        let inner = self.inner();
        let wish = inner.kept.desired.as_ref().and_then(|desired| wish_of(desired, set));
        wish.and_then(|wish| wished(set, wish).ok()).unwrap_or_else(|| set.clone())
    }

    /// The ladder of a rule that goes by these names.
    pub(super) fn ladder(&self, names: [&str; 2]) -> Ladder {
        self.inner().kept.rungs.ladder(names, now_ms())
    }

    /// Brings the rules of `board` in line, after a start or a reload.
    pub(super) fn refresh(&self, board: &Board, shared: &Shared) {
        self.inner().carry_out(board, shared);
    }

    /// Sets a rung by hand.
    pub(super) async fn set_rung(
        &self,
        board: &Board,
        shared: &Shared,
        rule: Option<String>,
        class: Option<Class>,
        rung: Rung,
    ) {
        self.change(board, shared, |kept| kept.rungs.set(rule, class, rung, now_ms())).await;
    }

    /// Takes a state of the authority, unless there is a newer one.
    pub(super) async fn take(&self, board: &Board, shared: &Shared, desired: Desired) {
        let newer = |known: &Desired| known.lineage == desired.lineage && known.revision > desired.revision;
        if self.inner().kept.desired.as_ref().is_some_and(newer) {
            return tracing::warn!(
                revision = desired.revision,
                "the authority tells an older state: it is not applied"
            );
        }
        let (revision, applied) = (desired.revision, applied_by(&desired));
        self.change(board, shared, |kept| {
            kept.rungs.take(&desired, now_ms());
            kept.desired = Some(desired);
        })
        .await;
        self.inner().applied = Some(applied); // only now: who is told so may count on it after a kill
        let problems = self.applied().1;
        tracing::info!(revision, ?problems, "the state of the authority is in force");
        self.applied.notify_one();
    }

    /// Takes the classes that the authority tells.
    pub(super) async fn take_classes(&self, board: &Board, shared: &Shared, classes: Classes) {
        self.classes.store(Arc::new(ClassTable::new(&classes)));
        self.change(board, shared, |kept| kept.classes = classes).await;
    }

    /// Has the authority's holds in force, these and no others.
    pub(super) fn take_holds(&self, board: &Board, holds: &[Hold]) {
        let mut inner = self.inner();
        inner.holds.retain(|(number, gate, way)| {
            let stays = holds.iter().any(|hold| hold.number == *number);
            if !stays && way.gate.release(Some(*gate)) {
                tracing::info!("a hold is released by the authority");
            }
            stays
        });
        for hold in holds {
            if hold.terms.mistake().is_some() || inner.holds.iter().any(|(number, ..)| *number == hold.number) {
                continue;
            }
            for post in board.load().iter().filter(|post| post.is(hold.rule.as_deref())) {
                inner.holds.push((hold.number, post.way.gate.hold(hold.terms), post.way.clone()));
            }
            tracing::warn!(rule = hold.rule, secs = hold.terms.secs, "new connections are held, says the authority");
        }
    }

    async fn change(&self, board: &Board, shared: &Shared, change: impl FnOnce(&mut Kept)) {
        let (number, kept) = {
            let mut inner = self.inner();
            change(&mut inner.kept);
            inner.carry_out(board, shared);
            inner.number += 1;
            (inner.number, inner.kept.clone())
        };
        shared.engines.look();
        if let Some(memory) = self.memory.clone() {
            // A failure to write is told there; a panic would be its end as well.
            let _ = tokio::task::spawn_blocking(move || memory.write(number, &kept)).await;
        }
    }
}

fn applied_by(desired: &Desired) -> Applied {
    Applied { lineage: desired.lineage, revision: desired.revision }
}

impl Inner {
    fn carry_out(&mut self, board: &Board, shared: &Shared) {
        self.problems.clear();
        let now_ms = now_ms();
        let board = board.load();
        let plans: Vec<_> = board.iter().map(|post| post.plan.load_full()).collect();
        let mut rules = Vec::with_capacity(plans.len());
        for plan in &plans {
            let wish = self.kept.desired.as_ref().and_then(|desired| wish_of(desired, &plan.set));
            let rule = wish.map_or_else(|| Ok((*plan.set).clone()), |wish| wished(&plan.set, wish));
            rules.push(rule.unwrap_or_else(|problem| {
                self.problems.push(problem);
                (*plan.rule).clone()
            }));
        }
        let set: Vec<&Rule> = plans.iter().map(|plan| &*plan.set).collect();
        let untied = untie(&mut rules, &set, &names::is_ours);
        self.problems.extend(untied.into_iter().map(|(at, why)| format!("rule {}: {why}", plans[at].label)));
        for ((post, plan), rule) in board.iter().zip(&plans).zip(rules) {
            post.way.set_ladder(self.kept.rungs.ladder([&plan.label, &plan.rule.listen_label()], now_ms));
            if rule != *plan.rule {
                post.plan.store(Arc::new(Plan {
                    circuits: Circuits::new(rule.targets.len()),
                    label: plan.label.clone(),
                    access: plan.access.clone(),
                    counts: shared.counts.of_rule(&rule.listen_label()),
                    throttle: Throttle::default(),
                    set: plan.set.clone(),
                    place: shared.counts.place_of(rule.belongs.as_ref()),
                    rule: Arc::new(rule),
                }));
            }
        }
        if let Some(desired) = &self.kept.desired {
            let ladder = desired.ladder.iter().filter_map(|set| set.rule.as_deref());
            let mut named: Vec<_> = desired.rules.keys().map(String::as_str).chain(ladder).collect();
            named.sort_unstable();
            named.dedup();
            let unknown = named.into_iter().filter(|name| !board.iter().any(|post| post.is(Some(name))));
            self.problems.extend(unknown.map(|name| format!("there is no rule {name:?}")));
        }
    }
}

impl Post {
    /// Whether it is the rule of this name or listen address; all are `None`.
    pub(super) fn is(&self, rule: Option<&str>) -> bool {
        let plan = self.plan.load();
        rule.is_none_or(|rule| plan.label == rule || plan.rule.listen_label() == rule)
    }
}

fn wish_of<'d>(desired: &'d Desired, set: &Rule) -> Option<&'d RuleWish> {
    desired.rules.get(&set.label()).or_else(|| desired.rules.get(&set.listen_label()))
}

/// A rule as it is set, with what is wished of it.
fn wished(set: &Rule, wish: &RuleWish) -> Result<Rule, String> {
    let mut rule = set.clone();
    if let (Some(pool), Some(site)) = (&wish.pool, &wish.site) {
        rule.belongs = Some(Belongs { pool: pool.clone(), site: site.clone() });
    }
    if !wish.targets.is_empty() {
        let services = Services::of_system();
        let read = |target: &crate::pairing::TargetWish| {
            let read = names::target(&target.target, set.protocol, &services);
            read.map(|read| WeightedTarget { target: read, weight: target.weight })
                .map_err(|e| format!("rule {}: {e}", set.label()))
        };
        rule.targets = wish.targets.iter().map(read).collect::<Result<_, _>>()?;
        if let Some(mismatch) = rule.source_mismatch() {
            return Err(format!("rule {}: {mismatch}", set.label()));
        }
    }
    Ok(rule)
}
