//! Selection: which endpoint a point is given, from weights, roles, health and overrides.
//!
//! `control` compiles a [`Selector`] with each snapshot; `query` asks it with the client key's point and a draw.
//! No clock, no random source, no allocation and no lock in [`Selector::pick`].
//!
//! What always holds:
//! - while one endpoint is active, somebody is picked;
//! - an endpoint at weight 0 with the role `never` is not picked, whatever its health or override;
//! - an endpoint overridden `down` is not picked;
//! - an endpoint that is down hands over its own points only, and gets them back;
//! - equal state gives equal picks on any machine.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::steering::flip::Percent;
use crate::steering::key::mix;
use crate::steering::pool::{Override, Policy, Role, Weight};
use crate::steering::share::ShareTable;

/// An endpoint as selection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What names it wherever it stands in the pool, and nothing else there ([`endpoint_id`](crate::steering::key::endpoint_id) of its site):
    /// points that others hand over stay where they are when endpoints are added, removed or put in another order.
    pub id: u64,
    /// Its weight now.
    pub weight: Weight,
    /// What weight 0 means for it.
    pub role: Role,
    /// What the probes say; unknown counts as it was, else as up.
    pub healthy: bool,
    /// What the operator says: of the endpoint, or `down` where its site is drained or retired.
    pub forced: Override,
}

impl Candidate {
    /// Whether it shall be answered as long as it is healthy: weight above 0 and not overridden down.
    pub fn is_active(&self) -> bool {
        self.weight > Weight::ZERO && self.forced != Override::Down
    }

    /// Whether it may stand in when no active endpoint is healthy: weight 0, role `spare`, not overridden down.
    pub fn is_spare(&self) -> bool {
        self.weight == Weight::ZERO && self.role == Role::Spare && self.forced != Override::Down
    }

    /// Overridden up, or healthy by the probes where they are obeyed.
    pub fn counts_as_up(&self) -> bool {
        match self.forced {
            Override::Up => true,
            Override::Down => false,
            Override::Obey => self.healthy,
        }
    }
}

/// From which endpoints a pool answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// From the active ones that are up.
    Normal,
    /// From the spares that are up: no active one is, or too few are.
    Spare,
    /// From all active ones, or where there is none from all spares, whatever their health: nobody is up, or too few are.
    FailOpen,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Spare => "spare",
            Self::FailOpen => "fail-open",
        })
    }
}

/// What a selection goes by, beside weights and health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// When those that are up have less than this of the active ones' weight, they count as none.
    pub min_healthy: Percent,
    /// Of [`Policy::Failover`]: the share of points that is given the next one, to prove it alive.
    pub trickle: Percent,
}

impl From<Policy> for Rules {
    fn from(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }
}

/// A pool's selection, compiled for one state of weights, health and overrides. What most picks need comes first: it shall lie
/// on one cache line.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Selector {
    /// The intervals of the table, with what is known of their endpoints.
    intervals: Box<[Interval]>,
    policy: Policy,
    mode: Mode,
    /// Whether some points stay behind with another endpoint than that of their interval.
    some_stay: bool,
    table: Arc<ShareTable>,
    /// By endpoint.
    eligible: Box<[bool]>,
    /// By endpoint: whether it counts as up.
    up: Box<[bool]>,
    /// The eligible ones in the order of the configuration.
    rivals: Box<[Rival]>,
    /// Who is given the points whose hash is below that.
    trickle: Option<(u64, usize)>,
}

/// The points from `first` to the next one's.
#[derive(Clone, Copy, Debug)]
struct Interval {
    first: u64,
    endpoint: u32,
    /// Whether the endpoint is.
    eligible: bool,
}

/// One that takes part when a point is handed over.
#[derive(Clone, Copy, Debug)]
struct Rival {
    endpoint: usize,
    id: u64,
    /// Above 0.
    weight: f64,
}

impl Selector {
    /// Octets at its beginning that most picks need.
    #[cfg(test)]
    pub(crate) const HOT_OCTETS: usize = std::mem::offset_of!(Self, table);

    /// Compiles the selection over `candidates`, which are the endpoints in the order of `table`'s indices.
    pub fn new(rules: impl Into<Rules>, table: Arc<ShareTable>, candidates: &[Candidate]) -> Self {
        let Rules { policy, min_healthy, trickle } = rules.into();
        let (mode, eligible) = eligible(candidates, min_healthy);
        let rivals = candidates.iter().enumerate().filter(|&(i, _)| eligible[i]).map(|(endpoint, c)| Rival {
            endpoint,
            id: c.id,
            weight: f64::from(c.weight.get().max(1)), // only spares are at 0: they share equally
        });
        let rivals: Box<[Rival]> = rivals.collect();
        let standby = || candidates.iter().position(|c| c.is_spare() && c.counts_as_up());
        let next = match mode {
            Mode::Normal => rivals.get(1).map(|rival| rival.endpoint).or_else(standby),
            Mode::Spare | Mode::FailOpen => None, // what is next is doubtful by itself
        };
        let below = (u128::from(u64::MAX) * u128::from(trickle.units()) / u128::from(Percent::ALL.units())) as u64;
        let trickle = next.filter(|_| policy == Policy::Failover && below > 0).map(|next| (below, next));
        let up = candidates.iter().map(Candidate::counts_as_up).collect();
        let interval = |(first, _, endpoint): (u64, u64, usize)| Interval {
            first,
            endpoint: endpoint as u32, // a table has less than 2^16
            eligible: eligible.get(endpoint) == Some(&true),
        };
        let intervals = table.intervals().map(interval).collect();
        let some_stay = table.behind().next().is_some();
        Self { intervals, policy, mode, some_stay, table, eligible, up, rivals, trickle }
    }

    /// What a pick reads of it beyond itself, as it lies in memory.
    #[inline]
    pub fn intervals(&self) -> &[impl Sized] {
        &self.intervals
    }

    /// The endpoint for a client key that falls on `point`. `draw` is uniform over `u64`, anew for each query; only
    /// [`Policy::Random`] uses it. By [`Policy::All`] it is the first of those that are given. `None` only when the pool has
    /// no endpoint that may be answered at all.
    #[inline]
    pub fn pick(&self, point: u64, draw: u64) -> Option<usize> {
        let point = match self.policy {
            Policy::Sticky | Policy::Geo => point,
            Policy::Random => draw,
            Policy::Failover => {
                return match self.trickle {
                    Some((below, next)) if mix(point ^ TRICKLE) < below => Some(next),
                    _ => self.rivals.first().map(|rival| rival.endpoint),
                };
            }
            Policy::All => return self.rivals.first().map(|rival| rival.endpoint),
        };
        if self.some_stay
            && let Some(endpoint) = self.table.stays_behind(point)
        {
            let eligible = self.eligible.get(endpoint) == Some(&true);
            return if eligible { Some(endpoint) } else { self.hand_over(point) };
        }
        let after = self.intervals.partition_point(|interval| interval.first <= point);
        match after.checked_sub(1).map(|at| self.intervals[at]) {
            Some(Interval { endpoint, eligible: true, .. }) => Some(endpoint as usize),
            _ => self.hand_over(point),
        }
    }

    /// Of those that are given to somebody and that `may` be: who is given to most, by share of points; where points do not
    /// count, the first.
    pub fn largest(&self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let mut rivals = self.rivals.iter().map(|rival| rival.endpoint).filter(|endpoint| may(*endpoint));
        match self.policy {
            Policy::Failover | Policy::All => rivals.next(),
            // Of equal ones the first.
            Policy::Sticky | Policy::Random | Policy::Geo => {
                rivals.reduce(|most, next| if self.table.share(next) > self.table.share(most) { next } else { most })
            }
        }
    }

    /// From which endpoints it answers.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How it picks.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The share table that it picks by.
    pub fn table(&self) -> &ShareTable {
        &self.table
    }

    /// Whether `endpoint` could be given to anybody. Never false for one that [`Selector::pick`] can give.
    pub fn answers(&self, endpoint: usize) -> bool {
        match self.policy {
            Policy::Sticky | Policy::Random | Policy::All | Policy::Geo => self.eligible.get(endpoint) == Some(&true),
            Policy::Failover => {
                self.rivals.first().is_some_and(|rival| rival.endpoint == endpoint)
                    || self.trickle.is_some_and(|(_, next)| next == endpoint)
            }
        }
    }

    /// Whether `endpoint` counts as up, whatever its weight: never where it is overridden down.
    #[inline]
    pub fn is_up(&self, endpoint: usize) -> bool {
        self.up.get(endpoint) == Some(&true)
    }

    /// Whether the pick depends on the client key.
    pub fn is_by_client(&self) -> bool {
        match self.policy {
            Policy::Sticky | Policy::Geo => true,
            Policy::Failover => self.trickle.is_some(),
            Policy::Random | Policy::All => false,
        }
    }

    /// Weighted rendezvous: each rival waits for an exponentially distributed time with its weight as rate, the first
    /// one wins. So each wins by its share of the weight, and one that joins or leaves changes only its own points.
    fn hand_over(&self, point: u64) -> Option<usize> {
        self.waits(point).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, first)| first)
    }

    /// For how long each that may be answered waits for a point that is handed over, in the unit of 1 / weight: the shortest
    /// is given it.
    pub fn waits(&self, point: u64) -> impl Iterator<Item = (f64, usize)> {
        let point = mix(point); // all points of one interval of the table, over the whole range
        self.rivals.iter().map(move |rival| {
            let uniform = ((mix(point ^ rival.id) >> 12) as f64 + 0.5) / (1u64 << 52) as f64; // exact, in (0, 1)
            (-ln(uniform) / rival.weight, rival.endpoint)
        })
    }
}

/// Any constant that separates it from what else is mixed from points.
const TRICKLE: u64 = 0x7472_6963_6b6c_6521;

/// The mode, and for each candidate whether it may be picked in it.
fn eligible(candidates: &[Candidate], min_healthy: Percent) -> (Mode, Box<[bool]>) {
    type Rule = fn(&Candidate) -> bool;
    let weight = |may: Rule| candidates.iter().filter(|c| may(c)).map(|c| u64::from(c.weight.get())).sum::<u64>();
    let (active, up) = (weight(Candidate::is_active), weight(|c| c.is_active() && c.counts_as_up()));
    let enough = up * u64::from(Percent::ALL.units()) >= active * u64::from(min_healthy.units());
    let stages: [(Mode, Rule); 4] = [
        (Mode::Normal, |c| c.is_active() && c.counts_as_up()),
        (Mode::Spare, |c| c.is_spare() && c.counts_as_up()),
        (Mode::FailOpen, Candidate::is_active),
        (Mode::FailOpen, Candidate::is_spare),
    ];
    let found = stages.into_iter().skip(usize::from(!enough)).find(|(_, may)| candidates.iter().any(may));
    let (mode, may) = found.unwrap_or((Mode::FailOpen, |_| false));
    (mode, candidates.iter().map(may).collect())
}

/// The natural logarithm of a positive normal number, to 12 digits. The standard library's may differ in its last bit
/// from one platform to the next, and with it the site that two servers give; this is sums and products only.
fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut mantissa = f64::from_bits((bits & FRACTION) | 1f64.to_bits());
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh s = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.172
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..=7).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::key::endpoint_id;
    use proptest::prelude::*;

    const UP: Candidate =
        Candidate { id: 0, weight: Weight::ZERO, role: Role::Never, healthy: true, forced: Override::Obey };

    fn weigh(weight: u32) -> Weight {
        Weight::new(weight).unwrap()
    }

    /// Endpoints at sites s0, s1, ...
    fn sites(candidates: &[Candidate]) -> Vec<Candidate> {
        candidates.iter().enumerate().map(|(i, c)| Candidate { id: endpoint_id(&format!("s{i}")), ..*c }).collect()
    }

    fn up(weights: &[u32]) -> Vec<Candidate> {
        sites(&weights.iter().map(|&w| Candidate { weight: weigh(w), ..UP }).collect::<Vec<_>>())
    }

    fn selector(policy: impl Into<Rules>, candidates: &[Candidate]) -> Selector {
        let weights: Vec<_> = candidates.iter().map(|c| c.weight).collect();
        Selector::new(policy, Arc::new(ShareTable::from_weights(&weights)), candidates)
    }

    /// Evenly spread, and in no order that the hash knows.
    fn points(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn a_down_endpoint_hands_over_its_own_points_by_weight() {
        let all = up(&[40, 30, 20, 10]);
        let mut one_down = all.clone();
        one_down[1].healthy = false;
        let (before, after) = (selector(Policy::Sticky, &all), selector(Policy::Sticky, &one_down));
        let mut got = [0f64; 4];
        let mut handed = 0f64;
        for p in points(100_000) {
            let (was, is) = (before.pick(p, 0).unwrap(), after.pick(p, 0).unwrap());
            if was == 1 {
                got[is] += 1.0;
                handed += 1.0;
            } else {
                assert_eq!(was, is);
            }
        }
        assert!((handed / 100_000.0 - 0.3).abs() < 0.001);
        for (got, share) in got.iter().zip([40.0 / 70.0, 0.0, 20.0 / 70.0, 10.0 / 70.0]) {
            assert!((got / handed - share).abs() < 0.01, "{got} of {handed}");
        }
        assert_eq!(after.mode(), Mode::Normal);
        assert!(!after.answers(1) && after.answers(0));
    }

    #[test]
    fn a_new_or_moved_endpoint_leaves_handed_over_points_alone() {
        let mut few = up(&[40, 30, 20]);
        few[0].healthy = false;
        let small = selector(Policy::Sticky, &few);
        let moved = [few[2], Candidate { id: 99, ..UP }, few[0], few[1]];
        let table = ShareTable::from_weights(&[weigh(40), weigh(30), weigh(20)]);
        let table = table.with_indices(&[Some(2), Some(3), Some(0)], &moved.map(|c| c.weight));
        let large = Selector::new(Policy::Sticky, Arc::new(table), &moved);
        for p in points(10_000) {
            assert_eq!(moved[large.pick(p, 0).unwrap()].id, few[small.pick(p, 0).unwrap()].id);
        }
    }

    #[test]
    fn random_follows_the_draw_and_failover_the_order() {
        let mut all = up(&[1, 1, 2]);
        let random = selector(Policy::Random, &all);
        assert_eq!(random.pick(u64::MAX, 0), Some(0));
        assert_eq!(random.pick(0, u64::MAX), Some(2));
        let first = selector(Policy::Failover, &all);
        assert!(points(100).all(|p| first.pick(p, p) == Some(0)));
        assert!(first.answers(0) && !first.answers(1));
        all[0].healthy = false;
        assert_eq!(selector(Policy::Failover, &all).pick(3, 4), Some(1));
    }

    #[test]
    fn spares_then_everybody() {
        let mut all = up(&[100, 0, 0, 0]);
        all[2].role = Role::Spare;
        all[3].role = Role::Spare;
        let modes = |all: &[Candidate]| {
            let s = selector(Policy::Sticky, all);
            let picked: std::collections::BTreeSet<_> = points(1000).map(|p| s.pick(p, 0)).collect();
            (s.mode(), picked.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(modes(&all), (Mode::Normal, vec![Some(0)]));
        all[0].healthy = false;
        assert_eq!(modes(&all), (Mode::Spare, vec![Some(2), Some(3)]));
        all[2].forced = Override::Down;
        assert_eq!(modes(&all), (Mode::Spare, vec![Some(3)]));
        all[3].healthy = false;
        assert_eq!(modes(&all), (Mode::FailOpen, vec![Some(0)]));
        all[0].forced = Override::Down;
        assert_eq!(modes(&all), (Mode::FailOpen, vec![Some(3)]));
        all[3].role = Role::Never;
        all[1].forced = Override::Up;
        assert_eq!(modes(&all), (Mode::FailOpen, vec![None]));
        assert_eq!(modes(&[]), (Mode::FailOpen, vec![None]));
        assert_eq!([Mode::Normal, Mode::FailOpen].map(|m| m.to_string()), ["normal", "fail-open"]);
    }

    fn percent(text: &str) -> Percent {
        text.parse().unwrap()
    }

    #[test]
    fn too_few_that_are_up_count_as_none() {
        let mut all = up(&[60, 25, 15, 0]);
        let least = |min: &str| Rules { min_healthy: percent(min), ..Rules::default() };
        (all[0].healthy, all[3].healthy) = (false, true);
        assert_eq!(selector(least("40"), &all).mode(), Mode::Normal);
        assert_eq!(selector(least("40.0001"), &all).mode(), Mode::FailOpen);
        all[3].role = Role::Spare;
        let s = selector(least("41"), &all);
        assert_eq!((s.mode(), s.pick(7, 7)), (Mode::Spare, Some(3)));
        all[0].forced = Override::Down;
        assert_eq!(selector(least("100"), &all).mode(), Mode::Normal, "whoever is taken out has no part in it");
    }

    #[test]
    fn a_trickle_goes_to_the_next_one_and_stays_there() {
        let mut all = up(&[1, 1, 1]);
        let rules = Rules { policy: Policy::Failover, trickle: percent("5"), ..Rules::default() };
        let next = |all: &[Candidate]| -> Vec<u64> {
            let s = selector(rules, all);
            let picks: Vec<_> = points(20_000).map(|p| (p, s.pick(p, 0).unwrap())).collect();
            assert!(picks.iter().all(|(_, e)| s.answers(*e)));
            picks.into_iter().filter(|(_, e)| *e != 0).inspect(|(_, e)| assert_eq!(*e, 1)).map(|(p, _)| p).collect()
        };
        let given = next(&all);
        assert!((given.len() as f64 / 20_000.0 - 0.05).abs() < 0.005, "{}", given.len());
        all[2].healthy = false;
        assert_eq!(next(&all), given, "always the same ones");
        all[1].weight = Weight::ZERO;
        assert_eq!(next(&all), [0; 0], "not to one that is never answered");
        all[1].role = Role::Spare;
        assert_eq!(next(&all), given);
        all[1].healthy = false;
        assert_eq!(next(&all), [0; 0]);
    }

    #[test]
    fn the_logarithm_is_one() {
        for i in 1..10_000 {
            let x = f64::from(i) / 10_000.0;
            assert!((ln(x) - x.ln()).abs() < 1e-12, "{x}");
        }
        for x in [1.0 / (1u64 << 53) as f64, 1.0 - f64::EPSILON, 1.0] {
            assert!((ln(x) - x.ln()).abs() < 1e-12 * x.ln().abs().max(1.0), "{x}");
        }
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (
            prop_oneof![Just(0), 1..=1_000_000u32],
            prop_oneof![Just(Role::Never), Just(Role::Spare)],
            any::<bool>(),
            prop_oneof![Just(Override::Obey), Just(Override::Up), Just(Override::Down)],
        );
        let one =
            one.prop_map(|(w, role, healthy, forced)| Candidate { id: 0, weight: weigh(w), role, healthy, forced });
        prop::collection::vec(one, 0..8).prop_map(|all| sites(&all))
    }

    fn policies() -> impl Strategy<Value = Policy> {
        prop_oneof![
            Just(Policy::Sticky),
            Just(Policy::Random),
            Just(Policy::Failover),
            Just(Policy::All),
            Just(Policy::Geo)
        ]
    }

    fn rules() -> impl Strategy<Value = Rules> {
        let percent =
            || prop_oneof![Just(0), Just(1_000_000), 0..=1_000_000u32].prop_map(|u| Percent::from_units(u).unwrap());
        (policies(), percent(), percent()).prop_map(|(policy, min_healthy, trickle)| Rules {
            policy,
            min_healthy,
            trickle,
        })
    }

    proptest! {
        #[test]
        fn never_empty_and_never_the_wrong_one(all in candidates(), rules in rules(), point: u64, draw: u64) {
            let s = selector(rules, &all);
            let Some(picked) = s.pick(point, draw) else {
                prop_assert!(all.iter().all(|c| !c.is_active() && !c.is_spare()));
                return Ok(());
            };
            prop_assert!(s.answers(picked));
            let c = all[picked];
            prop_assert!(c.forced != Override::Down);
            prop_assert!(c.weight > Weight::ZERO || c.role == Role::Spare);
            let weight = |may: fn(&&Candidate) -> bool| all.iter().filter(may).map(|c| u64::from(c.weight.get())).sum::<u64>();
            let (active, up) = (weight(|c| c.is_active()), weight(|c| c.is_active() && c.counts_as_up()));
            let enough = up > 0 && up * 1_000_000 >= active * u64::from(rules.min_healthy.units());
            prop_assert_eq!(s.mode() == Mode::Normal, enough);
            prop_assert!(s.mode() == Mode::FailOpen || c.counts_as_up());
        }

        #[test]
        fn an_override_beats_the_probes(mut all in candidates(), seen: [bool; 8], policy in policies(), point: u64, draw: u64) {
            let forced = |all: &[Candidate]| selector(policy, all).pick(point, draw);
            for c in &mut all {
                if c.forced == Override::Obey {
                    c.forced = Override::Up;
                }
            }
            let before = forced(&all);
            for (c, seen) in all.iter_mut().zip(seen) {
                c.healthy = seen;
            }
            prop_assert_eq!(forced(&all), before);
        }

        #[test]
        fn going_down_moves_nobody_else_and_coming_back_restores(mut all in candidates(), victim: prop::sample::Index, point: u64) {
            if all.is_empty() {
                return Ok(());
            }
            let victim = victim.index(all.len());
            all[victim].forced = Override::Up;
            let before = selector(Policy::Sticky, &all);
            all[victim].forced = Override::Obey;
            all[victim].healthy = false;
            let down = selector(Policy::Sticky, &all);
            if before.pick(point, 0) != Some(victim) && before.mode() == down.mode() {
                prop_assert_eq!(before.pick(point, 0), down.pick(point, 0));
            }
            all[victim].healthy = true;
            prop_assert_eq!(selector(Policy::Sticky, &all).pick(point, 0), before.pick(point, 0));
        }

        #[test]
        fn equal_state_gives_equal_picks(all in candidates(), policy in policies(), points: [u64; 16], draw: u64) {
            let (one, other) = (selector(policy, &all), selector(policy, &all));
            let written = serde_json::to_string(&*one.table).unwrap();
            let read = Selector::new(policy, Arc::new(serde_json::from_str(&written).unwrap()), &all);
            for p in points {
                prop_assert_eq!(one.pick(p, draw), other.pick(p, draw));
                prop_assert_eq!(one.pick(p, draw), read.pick(p, draw));
            }
        }
    }
}
