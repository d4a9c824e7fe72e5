//! The RRsets whose TTL is planned, over the life of zones, configurations and processes: what became of each, and until when
//! caches may hold it as it was.
//!
//! Each version of an RRset has a recorder of its own. Once it gives way to the next one its recorder is read until every worker
//! has left the snapshots that could give it. What is durable is an upper bound, as of pools ([`super::horizons`]): what is
//! committed brings what the state before it allowed, a clean stop what was recorded.

mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::control::catalog::Catalog;
use crate::control::horizons::STALL_SECS;
use crate::control::records;
use crate::dns::{Name, Rtype, Ttl};
use crate::query::planned::{Absence, Named, Planned};
use crate::query::{PlannedRrsets, Readers};
use crate::steering::horizon::{Recorder, Report, expires, recovered};
use crate::steering::key::Salt;
use crate::steering::planned::{Answered, RrsetKey, Seen, Settings, State, Turn};
use crate::steering::ttl::{Approach, TtlPolicy};
use crate::store::Write;
use crate::time::Timestamp;
use crate::zone::Zone;
use look::look_in;
pub use look::{OfName, look, names, zone_of};

/// As the store keeps one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// What became of it.
    #[serde(flatten)]
    pub state: State,
    /// Until when caches may hold it as it is, as far as answers were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Timestamp>,
    /// Until when they may hold it as it was before its last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
}

/// All of them.
pub struct Rrsets {
    all: BTreeMap<RrsetKey, Tracked>,
    /// By zone: where negative answers are noted while it lacks one.
    absences: BTreeMap<Name, Arc<Recorder>>,
    workers: usize,
    /// As queries see them; `None`: they are to be compiled anew.
    compiled: Option<Arc<PlannedRrsets>>,
    /// Those whose record is a bound, until every worker has left the snapshot before.
    unsettled: BTreeSet<RrsetKey>,
    /// What was replaced in the step that planned it: secondaries may have it.
    replaced_unseen: Vec<(RrsetKey, Seen)>,
}

/// One RRset, its recorder and those of earlier versions.
struct Tracked {
    ttl: TtlPolicy,
    state: State,
    recorder: Arc<Recorder>,
    /// What earlier versions are known to be held until.
    past: Arc<Recorder>,
    leaving: Vec<Leaving>,
}

/// A version that a worker may still give, since it has not left the snapshot of this serial's predecessor.
struct Leaving {
    serial: u64,
    /// Its own, and where its absence is noted.
    recorders: Vec<Arc<Recorder>>,
    /// The zone's TTL of it.
    ttl: Ttl,
    /// Whether another RRset stood in its place, which nobody counts.
    uncounted: bool,
}

/// What becomes of one RRset.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub key: RrsetKey,
    /// Its TTLs and what it is then; `None`: it is no longer planned.
    pub next: Option<(Settings, State)>,
    /// What a look at it has shown.
    pub turn: Turn,
    /// Of one that was not planned before: until when caches may hold what they were given.
    given: Option<Timestamp>,
}

impl Rrsets {
    /// Those that the store knows, for `workers` workers. After an unclean stop what it says of answers is brought up to what the
    /// states stored could have given until `restart`.
    pub fn new(
        workers: usize,
        stored: Vec<(RrsetKey, Stored)>,
        settings: &[Settings],
        clean: bool,
        restart: Timestamp,
    ) -> Self {
        let mut rrsets = Self {
            all: BTreeMap::new(),
            absences: BTreeMap::new(),
            workers,
            compiled: None,
            unsettled: BTreeSet::new(),
            replaced_unseen: Vec::new(),
        };
        for (key, Stored { state, given, before }) in stored {
            let configured = settings.iter().find(|s| s.key == key).map(|s| s.ttl);
            // One that is no longer configured is forgotten soon.
            let ttl = configured.unwrap_or(TtlPolicy {
                normal: Ttl::MAX,
                low: Ttl::ZERO,
                spread_secs: 0,
                mode: Approach::Countdown,
                max_wait: None,
                by_health: false,
            });
            let largest = state.largest_ttl_within(&ttl, Timestamp(0), restart);
            let given = if clean { given } else { recovered(given, restart, largest, state.seen.is_some()) };
            let tracked = Tracked::new(workers, ttl, state);
            raise(&tracked.recorder, given);
            raise(&tracked.past, before);
            rrsets.all.insert(key, tracked);
        }
        rrsets
    }

    /// What makes durable what was brought up to date at a start.
    pub fn recovered(&self) -> Vec<Write> {
        self.all.keys().filter_map(|key| self.exact(key)).collect()
    }

    /// What becomes of them with `catalog`; of one that was not planned before, `before` says what it was.
    pub fn changes(&self, before: Option<&Catalog>, catalog: &Catalog, now: Timestamp) -> Vec<Change> {
        let gone = |key: &&RrsetKey| !catalog.settings.rrsets.iter().any(|s| s.key == **key);
        let gone = self.all.keys().filter(gone);
        let gone = gone.map(|key| Change { key: key.clone(), next: None, turn: Turn::Same, given: None });
        let of = |settings: &Settings| self.change(settings, before, look_in(catalog, &settings.key), now);
        gone.chain(catalog.settings.rrsets.iter().filter_map(of)).collect()
    }

    /// The same of those in the zone at `index` of `catalog`, where it becomes `zone`.
    pub fn changes_in(&self, catalog: &Catalog, index: usize, zone: &Zone, now: Timestamp) -> Vec<Change> {
        let here = catalog.settings.rrsets.iter().filter(|s| zone_of(catalog, &s.key.name) == Some(index));
        here.filter_map(|settings| self.change(settings, None, Some(look(zone, &settings.key)), now)).collect()
    }

    fn change(
        &self,
        settings: &Settings,
        before: Option<&Catalog>,
        seen: Option<Seen>,
        now: Timestamp,
    ) -> Option<Change> {
        let known = self.all.get(&settings.key);
        let mut next = known.map_or_else(|| State::new(now), |known| known.state.clone());
        let mut given = None;
        if known.is_none() {
            // What was answered until now has the zone's own TTL, and nobody counted it.
            let was = before.and_then(|before| look_in(before, &settings.key));
            if let Some(was) = was {
                next.see(was, &settings.ttl, now);
            }
            given = was.or(seen).map(|was| expires(now.after(STALL_SECS), was.ttl));
        }
        let turn = seen.map_or(Turn::Same, |seen| next.see(seen, &settings.ttl, now));
        let is_same = known.is_some_and(|known| known.state == next && known.ttl == settings.ttl);
        (!is_same).then(|| Change { key: settings.key.clone(), next: Some((settings.clone(), next)), turn, given })
    }

    /// What makes `changes` durable.
    pub fn writes(&self, changes: &[Change], now: Timestamp) -> Vec<Write> {
        let write = |change: &Change| {
            let key = records::rrset_key(&change.key);
            let Some((_, state)) = &change.next else { return Write::Delete { key } };
            let known = self.all.get(&change.key);
            let given = known.and_then(|known| self.bound(&change.key, known, now)).max(change.given);
            let before = known.and_then(Tracked::past);
            let (given, before) = match change.turn {
                Turn::Changed { .. } => (None, before.max(given)),
                Turn::Same | Turn::Ttl => (given, before),
            };
            records::put(key, &Stored { state: state.clone(), given, before })
        };
        changes.iter().map(write).collect()
    }

    /// What may be out there of a version once it gives way at `now`, while workers are on their way to the next snapshot.
    fn bound(&self, key: &RrsetKey, tracked: &Tracked, now: Timestamp) -> Option<Timestamp> {
        let (from, to) = (now.before(1), now.after(STALL_SECS));
        tracked.state.seen?;
        let recorded = self.given(key, tracked);
        recorded.max(Some(expires(to, tracked.state.largest_ttl_within(&tracked.ttl, from, to))))
    }

    /// Until when caches may hold it as it is, as far as is known.
    fn given(&self, key: &RrsetKey, tracked: &Tracked) -> Option<Timestamp> {
        let absent = self.absence_of(key, tracked).and_then(|recorder| recorder.latest(0));
        tracked.recorder.latest(0).max(absent)
    }

    /// Where it is noted that its zone lacks it.
    fn absence_of(&self, key: &RrsetKey, tracked: &Tracked) -> Option<&Arc<Recorder>> {
        tracked.state.seen.filter(|seen| seen.answered == Answered::Nothing)?;
        let mut zones = std::iter::successors(Some(key.name.clone()), Name::parent);
        zones.find_map(|name| self.absences.get(&name))
    }

    /// `changes` hold from the snapshot `serial` on, which is to be published next.
    pub fn take(&mut self, changes: Vec<Change>, serial: u64, now: Timestamp) {
        for Change { key, next, turn, given } in changes {
            self.compiled = None;
            let Some((settings, state)) = next else {
                self.all.remove(&key);
                self.unsettled.remove(&key);
                continue;
            };
            let old = self.all.remove(&key);
            if let (None, Turn::Changed { before, .. }) = (&old, turn) {
                self.replaced_unseen.push((key.clone(), before));
            }
            let absence = old.as_ref().and_then(|old| self.absence_of(&key, old).cloned());
            let mut tracked = old.unwrap_or_else(|| {
                let tracked = Tracked::new(self.workers, settings.ttl, State::new(state.since));
                raise(&tracked.recorder, given);
                tracked
            });
            if let Turn::Changed { before, .. } = turn {
                let fresh = Arc::new(Recorder::new(self.workers, 1));
                let old = std::mem::replace(&mut tracked.recorder, fresh);
                let uncounted = before.answered == Answered::Other;
                let mut leaving = Leaving { serial, recorders: vec![old], ttl: before.ttl, uncounted };
                leaving.recorders.extend(absence);
                tracked.learn(&leaving, now);
                tracked.leaving.push(leaving);
            }
            (tracked.ttl, tracked.state) = (settings.ttl, state);
            self.unsettled.insert(key.clone());
            self.all.insert(key, tracked);
        }
    }

    /// As queries see them under `catalog`.
    pub fn compiled(&mut self, catalog: &Catalog) -> Arc<PlannedRrsets> {
        if let Some(compiled) = &self.compiled {
            return compiled.clone();
        }
        let settings = &catalog.settings;
        let mut absent: BTreeMap<Name, Vec<Planned>> = BTreeMap::new();
        let mut all = Vec::new();
        for OfName { name, pool, rrsets } in names(settings) {
            let salt = Salt::of(&name.to_lowercase().to_string());
            let mut here = Vec::new();
            for i in rrsets {
                let Some(tracked) = self.all.get(&settings.rrsets[i].key) else { continue };
                let planned = tracked.compiled(settings.rrsets[i].key.rtype, salt);
                let is_absent = tracked.state.seen.is_some_and(|seen| seen.answered == Answered::Nothing);
                if let Some(index) = zone_of(catalog, name).filter(|_| is_absent) {
                    absent.entry(catalog.zones[index].name.clone()).or_default().push(planned.clone());
                }
                here.push(planned);
            }
            all.push(Named { pool, rrsets: here.into() });
        }
        let absences = absent.into_iter().map(|(zone, rrsets)| {
            let new = || Arc::new(Recorder::new(self.workers, 1));
            let recorder = self.absences.entry(zone.clone()).or_insert_with(new).clone();
            Absence { apex: zone.to_lowercase(), rrsets: rrsets.into(), recorder }
        });
        let absences = absences.collect();
        let compiled = Arc::new(PlannedRrsets { names: all.into(), absences });
        self.compiled = Some(compiled.clone());
        compiled
    }

    /// The pools have other places.
    pub fn compile_anew(&mut self) {
        self.compiled = None;
    }

    /// Takes over what versions got to know that nobody gives any more. Gives what makes that durable, once all workers have left
    /// what was published before.
    pub fn settle(&mut self, readers: &Readers, now: Timestamp) -> Vec<Write> {
        for tracked in self.all.values_mut() {
            for leaving in std::mem::take(&mut tracked.leaving) {
                let left = readers.left(leaving.serial);
                tracked.learn(&leaving, now);
                if left {
                    self.compiled = None; // it reads one recorder less
                } else {
                    tracked.leaving.push(leaving);
                }
            }
        }
        let settled = |key: &RrsetKey| self.all.get(key).is_none_or(|tracked| tracked.leaving.is_empty());
        let (settled, unsettled) = std::mem::take(&mut self.unsettled).into_iter().partition(|key| settled(key));
        self.unsettled = unsettled;
        let settled: BTreeSet<RrsetKey> = settled;
        settled.iter().filter_map(|key| self.exact(key)).collect()
    }

    /// What makes durable what is known of all, at a clean stop.
    pub fn end(&mut self, readers: &Readers, now: Timestamp) -> Vec<Write> {
        _ = self.settle(readers, now);
        self.all.keys().filter_map(|key| self.exact(key)).collect()
    }

    fn exact(&self, key: &RrsetKey) -> Option<Write> {
        let tracked = self.all.get(key)?;
        let (given, before) = (self.given(key, tracked), tracked.past());
        Some(records::put(records::rrset_key(key), &Stored { state: tracked.state.clone(), given, before }))
    }

    /// What makes durable, of all that changed lately, bounds that hold from `now` on: a commit took long.
    pub fn bound_again(&self, now: Timestamp) -> Vec<Write> {
        let again = |key: &RrsetKey| {
            let tracked = self.all.get(key)?;
            let (given, mut before) = (self.bound(key, tracked, now), tracked.past());
            let leaving = tracked.leaving.iter().map(|leaving| leaving.ttl).max();
            before = before.max(leaving.map(|ttl| expires(now.after(STALL_SECS), ttl)));
            Some(records::put(records::rrset_key(key), &Stored { state: tracked.state.clone(), given, before }))
        };
        self.unsettled.iter().filter_map(again).collect()
    }

    /// All of them, with their TTLs as configured.
    pub fn iter(&self) -> impl Iterator<Item = (&RrsetKey, &TtlPolicy, &State)> {
        self.all.iter().map(|(key, tracked)| (key, &tracked.ttl, &tracked.state))
    }

    /// One of them.
    pub fn get(&self, key: &RrsetKey) -> Option<(&TtlPolicy, &State)> {
        self.all.get(key).map(|tracked| (&tracked.ttl, &tracked.state))
    }

    /// Its state becomes `state`, which is another cutover.
    pub fn replan(&self, key: &RrsetKey, state: State) -> Option<Change> {
        let ttl = self.all.get(key)?.ttl;
        let settings = Settings { key: key.clone(), ttl };
        Some(Change { key: key.clone(), next: Some((settings, state)), turn: Turn::Same, given: None })
    }

    /// Until when caches may hold an answer given until now, as it is and as it was.
    pub fn latest(&self, key: &RrsetKey) -> Option<Timestamp> {
        let tracked = self.all.get(key)?;
        self.given(key, tracked).max(tracked.past())
    }

    /// What the zones say of all, as it was seen last.
    pub fn seen(&self) -> impl Iterator<Item = (RrsetKey, Seen)> {
        self.all.iter().filter_map(|(key, tracked)| Some((key.clone(), tracked.state.seen?)))
    }

    /// What was replaced in the step that planned it, since this was asked last.
    pub fn replaced_unseen(&mut self) -> Vec<(RrsetKey, Seen)> {
        std::mem::take(&mut self.replaced_unseen)
    }

    /// Whether its record is a bound, which must stay for now.
    pub fn is_unsettled(&self, key: &RrsetKey) -> bool {
        self.unsettled.contains(key)
    }

    /// Others may have answered it as it was, until then at the latest. Gives what makes that durable.
    pub fn raise_past(&self, key: &RrsetKey, at: Timestamp) -> Option<Write> {
        self.all.get(key)?.past.raise(0, at);
        self.exact(key)
    }

    /// How many answers gave it as it is, since it was changed or the start.
    pub fn answers(&self, key: &RrsetKey) -> u64 {
        self.all.get(key).map_or(0, |tracked| tracked.recorder.answers(0))
    }

    /// The horizon of what it was before its last change.
    pub fn report(&self, key: &RrsetKey) -> Option<Report> {
        let tracked = self.all.get(key)?;
        Some(Report::of(tracked.past(), !tracked.leaving.is_empty()))
    }

    /// The wall clock was set forward by `by_secs`: see [`super::horizons::Horizons::move_along`].
    pub fn move_along(&mut self, past: Timestamp, by_secs: u64) {
        let of_all = self.all.values().flat_map(|tracked| {
            let leaving = tracked.leaving.iter().flat_map(|leaving| &leaving.recorders);
            [&tracked.recorder, &tracked.past].into_iter().chain(leaving)
        });
        for recorder in of_all.chain(self.absences.values()) {
            raise(recorder, recorder.latest(0).filter(|at| *at >= past).map(|at| at.after(by_secs)));
        }
    }
}

impl Tracked {
    fn new(workers: usize, ttl: TtlPolicy, state: State) -> Self {
        let (recorder, past) = (Arc::new(Recorder::new(workers, 1)), Arc::new(Recorder::new(0, 1)));
        Self { ttl, state, recorder, past, leaving: Vec::new() }
    }

    /// Takes over what a version that leaves has got to know by `now`.
    fn learn(&self, leaving: &Leaving, now: Timestamp) {
        let recorded = leaving.recorders.iter().filter_map(|recorder| recorder.latest(0)).max();
        raise(&self.past, recorded.max(leaving.uncounted.then(|| expires(now, leaving.ttl))));
    }

    /// Until when caches may hold what it was, as far as is known now.
    fn past(&self) -> Option<Timestamp> {
        let leaving = self.leaving.iter().flat_map(|leaving| &leaving.recorders);
        leaving.chain([&self.past]).filter_map(|recorder| recorder.latest(0)).max()
    }

    fn compiled(&self, rtype: Rtype, salt: Salt) -> Planned {
        let leaving = self.leaving.iter().flat_map(|leaving| &leaving.recorders);
        Planned {
            rtype,
            salt,
            ttl: self.state.policy(&self.ttl),
            change: self.state.change,
            cutover: self.state.cutover,
            recorder: self.recorder.clone(),
            past: leaving.chain([&self.past]).cloned().collect(),
        }
    }
}

fn raise(recorder: &Recorder, at: Option<Timestamp>) {
    if let Some(at) = at {
        recorder.raise(0, at);
    }
}

#[cfg(test)]
mod tests;
