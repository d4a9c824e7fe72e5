//! TTL of a steered answer: the least of what the policy says, what is left until a cutover, and what a recent change has
//! not yet earned back.
//!
//! Pure, in whole seconds and without floating point, so that all servers serve one client key the same TTL in the same
//! second. A cutover and a change come from `control`; RRSIGs and negative answers follow elsewhere.
//!
//! What always holds, for a policy that [`check`] lets pass: the TTL is within `low..=normal` (but see [`served_ttl`] for
//! `low` = 0), and an answer sent before a cutover that was set one `normal` ahead is nowhere cached past it by more than
//! `low`, delay in the network aside.

use serde::{Deserialize, Serialize};

use crate::dns::Ttl;
use crate::steering::horizon::MARGIN_SECS;
use crate::steering::key::mix;
use crate::time::Timestamp;

/// What TTL a pool's answers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlPolicy {
    /// When nothing is planned and nothing changed lately.
    pub normal: Ttl,
    /// Around changes; not above `normal`.
    pub low: Ttl,
    /// Over how many seconds the clients' countdowns are spread; at most half of `normal`.
    pub spread_secs: u32,
    /// How the TTL goes down before a cutover.
    pub mode: Approach,
    /// The most while a cutover stands: a change that comes sooner than planned is everywhere after that. Not below `low`.
    pub max_wait: Option<Ttl>,
    /// Whether it is no more than the time in which health could change what is answered.
    pub by_health: bool,
}

impl TtlPolicy {
    /// The same for an RRset whose own TTL must not be exceeded: what is above it gives way.
    #[must_use]
    pub fn within(&self, own: Ttl) -> Self {
        let normal = self.normal.min(own);
        Self { normal, low: self.low.min(normal), spread_secs: self.spread_secs.min(normal.secs() / 2), ..*self }
    }
}

/// How the TTL goes down before a cutover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approach {
    /// It counts down second by second, so that all caches are clear at the cutover.
    #[default]
    Countdown,
    /// It is lowered once, one normal TTL ahead.
    Step,
}

/// The planned instant of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutover {
    /// When.
    pub at: Timestamp,
}

/// The latest change of what is answered: a flip, an override, or a transition of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it was made.
    pub at: Timestamp,
    /// When it was confirmed; at once unless somebody has yet to say so. `None` = not yet.
    pub confirmed: Option<Timestamp>,
}

/// The TTL of an answer to a client key that falls on `point`, sent at `now`: the least of
/// - `normal`;
/// - before a cutover at T, in countdown mode, `T - now - jitter` but at least `low`, where the jitter is a part of the
///   spread that is fixed for the point; in step mode `low` from `T - normal` on. From T on `low`, as long as the cutover
///   stands;
/// - while a cutover stands, `max_wait`;
/// - after a change, `low` until it is confirmed; from then on it doubles after each full TTL served, that is
///   `low * 2^floor(log2(e / low + 1))` after e seconds. A `low` of 0 grows from 1 s.
pub fn served_ttl(
    policy: &TtlPolicy,
    cutover: Option<&Cutover>,
    change: Option<&Change>,
    point: u64,
    now: Timestamp,
) -> Ttl {
    least(
        policy,
        cutover.map(|c| until_cutover(policy, *c, jitter_secs(policy, point), now)),
        earned(policy, change, now),
    )
}

/// The most that any client key may be served at `now`.
pub fn largest_ttl(policy: &TtlPolicy, cutover: Option<&Cutover>, change: Option<&Change>, now: Timestamp) -> Ttl {
    largest_ttl_within(policy, cutover, change, now, now)
}

/// An upper bound of what any client key may be served at any instant of `from..=until`: for the horizon after a time of
/// which only the state is known. What is left until a cutover only shrinks, what is earned back only grows.
pub fn largest_ttl_within(
    policy: &TtlPolicy,
    cutover: Option<&Cutover>,
    change: Option<&Change>,
    from: Timestamp,
    until: Timestamp,
) -> Ttl {
    least(policy, cutover.map(|c| until_cutover(policy, *c, 0, from)), earned(policy, change, until))
}

/// The TTL with which secondaries that can't steer are given records: `low` from so long before a cutover that all that they
/// gave with `normal` is gone by then, they asking each `refresh_secs`; and until a change is confirmed.
pub fn carried_ttl(
    policy: &TtlPolicy,
    cutover: Option<&Cutover>,
    change: Option<&Change>,
    refresh_secs: u32,
    now: Timestamp,
) -> Ttl {
    let is_near = cutover.is_some_and(|cutover| lowered_at(policy, *cutover, refresh_secs) <= now);
    let is_doubtful = change.is_some_and(|change| change.confirmed.is_none_or(|at| at > now));
    if is_near || is_doubtful { policy.low } else { policy.normal }
}

/// When [`carried_ttl`] goes down before `cutover`.
pub fn lowered_at(policy: &TtlPolicy, cutover: Cutover, refresh_secs: u32) -> Timestamp {
    cutover.at.before(u64::from(policy.normal.secs()) + u64::from(refresh_secs))
}

/// When caches are clear if the cutover is set (or moved) now: from then on no cache that obeys TTLs holds an answer that
/// was given with more than `low`, so that a change made then has reached every cache `low` later.
///
/// It is the latest of the cutover itself, one `largest` after `set_at`, the most that was served until then, and the end
/// of what was given earlier, whose `horizon` is the pool's latest (`None`: nothing was): a TTL was larger where the
/// policy was another one. When it is later than the cutover, the cutover was set too late, which is worth a warning.
/// Rounding of the clock and delay in the network come on top, as everywhere but in the cache horizon ([`MARGIN_SECS`]).
pub fn caches_clear_at(cutover: &Cutover, set_at: Timestamp, largest: Ttl, horizon: Option<Timestamp>) -> Timestamp {
    let given = horizon.map_or(cutover.at, |horizon| horizon.before(MARGIN_SECS));
    cutover.at.max(set_at.after(u64::from(largest.secs()))).max(given)
}

/// The time in which a subject could change its state, if each of its next observations speaks against it: `left` of them are
/// wanted, and checks begin an `interval_ms` apart, moved by up to a tenth, a moment after the last one. It is what gdnsd makes the
/// TTL of an answer.
pub fn until_flip(left: u32, interval_ms: u64) -> Ttl {
    let checks = u64::from(left.max(1));
    Ttl::from_secs(checks * interval_ms * 9 / 10 / 1000)
}

/// Whether the policy makes sense.
///
/// # Errors
/// The first rule that it breaks, as [`PolicyError`].
pub fn check(policy: &TtlPolicy) -> Result<(), PolicyError> {
    let TtlPolicy { normal, low, spread_secs, .. } = *policy;
    if low > normal {
        return Err(PolicyError::LowAboveNormal { low, normal });
    }
    if spread_secs > normal.secs() / 2 {
        return Err(PolicyError::SpreadAboveHalf { spread_secs, normal });
    }
    Ok(())
}

/// Why a [`TtlPolicy`] makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The TTL around changes would be the larger one.
    #[error("ttl: low = {low} s is above normal = {normal} s")]
    LowAboveNormal {
        /// As given.
        low: Ttl,
        /// As given.
        normal: Ttl,
    },
    /// The countdowns of some clients would begin more than half a TTL ahead of others'.
    #[error("ttl: spread = {spread_secs} s is above half of normal = {normal} s")]
    SpreadAboveHalf {
        /// As given.
        spread_secs: u32,
        /// As given.
        normal: Ttl,
    },
}

fn least(policy: &TtlPolicy, until_cutover: Option<Ttl>, earned: Option<Ttl>) -> Ttl {
    [until_cutover, earned].into_iter().flatten().fold(policy.normal, Ttl::min)
}

/// What a cutover leaves of the TTL. Never more at a later instant.
fn until_cutover(policy: &TtlPolicy, cutover: Cutover, jitter_secs: u64, now: Timestamp) -> Ttl {
    let left_secs = cutover.at.since(now);
    let left = match policy.mode {
        Approach::Countdown => Ttl::from_secs(left_secs.saturating_sub(jitter_secs)).max(policy.low),
        Approach::Step if left_secs > u64::from(policy.normal.secs()) => policy.normal,
        Approach::Step => policy.low,
    };
    policy.max_wait.map_or(left, |most| left.min(most.max(policy.low)))
}

/// The point's share of the spread: 0 up to the spread, evenly. Mixed anew: by the point itself the clients of one
/// endpoint, neighbours in the share table, would all be early and those of another all late.
fn jitter_secs(policy: &TtlPolicy, point: u64) -> u64 {
    const JITTER: u64 = 0x6a69_7474_6572_2121; // any constant that separates it from what else is mixed from points
    ((u128::from(mix(point ^ JITTER)) * u128::from(policy.spread_secs)) >> 64) as u64
}

/// What a change has earned back. Never less at a later instant.
fn earned(policy: &TtlPolicy, change: Option<&Change>, now: Timestamp) -> Option<Ttl> {
    let change = change?;
    let Some(confirmed) = change.confirmed.map(|at| at.max(change.at)).filter(|&at| at <= now) else {
        return Some(policy.low);
    };
    // With TTLs low, 2 low, 4 low, ... each served for as long as it is, the k-th doubling comes at (2^k - 1) low.
    let low_secs = u64::from(policy.low.secs()).max(1);
    let doublings = (now.since(confirmed) / low_secs).saturating_add(1).ilog2();
    Some(Ttl::from_secs(low_secs.saturating_mul(1 << doublings)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::horizon::expires;
    use proptest::prelude::*;

    const T: Timestamp = Timestamp(1_800_000_000);

    fn policy(normal: u64, low: u64, spread_secs: u32, mode: Approach) -> TtlPolicy {
        let (normal, low) = (Ttl::from_secs(normal), Ttl::from_secs(low));
        TtlPolicy { normal, low, spread_secs, mode, max_wait: None, by_health: false }
    }

    fn hour() -> TtlPolicy {
        policy(3600, 60, 120, Approach::Countdown)
    }

    fn served(p: &TtlPolicy, change: Option<Change>, point: u64, now: Timestamp) -> u64 {
        served_ttl(p, Some(&Cutover { at: T }), change.as_ref(), point, now).secs().into()
    }

    #[test]
    fn it_counts_down_to_low_and_stays_there() {
        let p = TtlPolicy { spread_secs: 0, ..hour() };
        for (before, ttl) in
            [(9000, 3600), (3601, 3600), (3600, 3600), (3599, 3599), (61, 61), (60, 60), (1, 60), (0, 60)]
        {
            assert_eq!(served(&p, None, 7, T.before(before)), ttl, "{before} s before");
        }
        assert_eq!(served(&p, None, 7, T.after(86_400)), 60);
        assert_eq!(served_ttl(&p, None, None, 7, T), p.normal);
    }

    #[test]
    fn while_a_cutover_stands_nobody_waits_longer_than_agreed() {
        let p = TtlPolicy { spread_secs: 0, max_wait: Some(Ttl::from_secs(600)), ..hour() };
        for (before, ttl) in [(90_000, 600), (601, 600), (599, 599), (10, 60), (0, 60)] {
            assert_eq!(served(&p, None, 7, T.before(before)), ttl, "{before} s before");
        }
        assert_eq!(served_ttl(&p, None, None, 7, T), p.normal, "nothing is planned");
        let below = TtlPolicy { max_wait: Some(Ttl::from_secs(1)), ..p };
        assert_eq!(served(&below, None, 7, T.before(9000)), 60);
    }

    #[test]
    fn health_may_change_after_as_many_checks_as_are_wanted() {
        assert_eq!([until_flip(3, 5000), until_flip(1, 5000), until_flip(0, 1000)].map(Ttl::secs), [13, 4, 0]);
    }

    #[test]
    fn a_step_is_one_normal_ahead() {
        let p = policy(3600, 60, 120, Approach::Step);
        for (before, ttl) in [(3601, 3600), (3600, 60), (0, 60)] {
            assert_eq!(served(&p, None, 7, T.before(before)), ttl, "{before} s before");
        }
    }

    #[test]
    fn jitter_is_even_and_tells_nothing_of_the_interval() {
        let p = hour();
        for half in [0, 1 << 63] {
            let jitters = (0..12_000u64).map(|i| jitter_secs(&p, half + i * (u64::MAX / 24_000)));
            let mut seconds = [0u32; 120];
            jitters.for_each(|j| seconds[j as usize] += 1);
            assert!(seconds.iter().all(|&n| (50..160).contains(&n)), "{seconds:?}");
        }
        assert_eq!(served(&p, None, 7, T.before(1000)), 1000 - jitter_secs(&p, 7));
    }

    #[test]
    fn after_a_change_it_doubles_with_each_ttl_served() {
        let p = hour();
        let ttl = |change: Change, now| served_ttl(&p, None, Some(&change), 7, now).secs();
        assert_eq!(ttl(Change { at: T, confirmed: None }, T.after(100_000)), 60);
        let change = Change { at: T, confirmed: Some(T.after(600)) };
        assert_eq!(ttl(change, T.after(599)), 60);
        let (mut now, mut seen) = (T.after(600), vec![]);
        while seen.last() != Some(&3600) {
            let secs = ttl(change, now);
            assert_eq!(ttl(change, now.after(u64::from(secs) - 1)), secs, "it holds until served in full");
            now = now.after(secs.into());
            seen.push(secs);
        }
        assert_eq!(seen, [60, 120, 240, 480, 960, 1920, 3600]);

        let zero = policy(3600, 0, 0, Approach::Countdown);
        let change = Change { at: T, confirmed: Some(T) };
        let grown = [0, 1, 3, 6, 7, 9000].map(|e| served_ttl(&zero, None, Some(&change), 7, T.after(e)).secs());
        assert_eq!(grown, [1, 2, 4, 4, 8, 3600]);
        assert_eq!(served_ttl(&zero, None, Some(&Change { confirmed: None, ..change }), 7, T).secs(), 0);
    }

    #[test]
    fn caches_are_clear_one_ttl_after_a_late_cutover_is_set() {
        let at = |set_before, largest, given| {
            caches_clear_at(&Cutover { at: T }, T.before(set_before), Ttl::from_secs(largest), given)
        };
        assert_eq!([9000, 3600, 600].map(|before| at(before, 3600, None)), [T, T, T.after(3000)]);
        assert_eq!(at(600, 60, Some(expires(T.before(700), Ttl::from_secs(90)))), T, "TTLs were low");
        assert_eq!(at(600, 60, Some(expires(T.before(700), hour().normal))), T.after(2900), "they were larger before");
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_told() {
        assert_eq!(check(&hour()), Ok(()));
        let low = check(&policy(60, 61, 0, Approach::Step)).unwrap_err();
        assert_eq!(low.to_string(), "ttl: low = 61 s is above normal = 60 s");
        let spread = check(&policy(60, 10, 31, Approach::Step)).unwrap_err();
        assert_eq!(spread.to_string(), "ttl: spread = 31 s is above half of normal = 60 s");
    }

    /// 5,000 resolvers that ask again the second their cache is empty, with the default figures.
    #[test]
    fn busy_resolvers_come_spread_and_seldom() {
        let (resolvers, hours) = (5_000u64, 4 * 3600);
        let mut each_second = std::collections::HashMap::<u64, u32>::new();
        let (mut all, mut most) = (0, 0);
        for r in 0..resolvers {
            let point = mix(r);
            let mut now = T.before(hours).after(mix(!r) % 3600);
            let mut queries = 0;
            while now < T {
                queries += 1;
                *each_second.entry(now.0).or_default() += 1;
                now = now.after(served(&hour(), None, point, now));
            }
            all += queries;
            most = most.max(queries);
        }
        let peak = f64::from(*each_second.values().max().unwrap()) / resolvers as f64;
        let mean = all as f64 / resolvers as f64;
        assert!(peak < 0.035 && mean <= 6.0 && most <= 8, "peak {peak}, mean {mean}, most {most}");
    }

    fn policies() -> impl Strategy<Value = TtlPolicy> {
        (1u64..100_000, 0u64..=100, 0u32..=100, any::<bool>()).prop_map(|(normal, low, spread, step)| {
            let mode = if step { Approach::Step } else { Approach::Countdown };
            policy(normal, normal * low / 100, (normal as u32 / 2) * spread / 100, mode)
        })
    }

    fn changes() -> impl Strategy<Value = Option<Change>> {
        prop::option::of((0u64..200_000, prop::option::of(0u64..200_000))).prop_map(|c| {
            c.map(|(before, later)| Change {
                at: T.before(before),
                confirmed: later.map(|l| T.before(before).after(l)),
            })
        })
    }

    proptest! {
        #[test]
        fn no_cache_is_more_than_low_past_the_cutover(
            p in policies(), change in changes(), point: u64, ahead in 1u64..3, phase in 0u64..100_000, lazy in 0u64..500
        ) {
            let (normal, low) = (u64::from(p.normal.secs()), u64::from(p.low.secs()));
            let set_at = T.before(ahead * normal);
            prop_assert_eq!(caches_clear_at(&Cutover { at: T }, set_at, p.normal, Some(expires(set_at, p.normal))), T);
            // A cache filled the second before the cutover was set, or any time earlier.
            let mut now = set_at.after(phase % normal);
            let mut queries = 0;
            while now < T {
                let ttl = served(&p, change, point, now);
                prop_assert!(now.after(ttl) <= T.after(low), "sent {} before, TTL {ttl}", T.since(now));
                prop_assert!(now.after(ttl) <= T || ttl == low);
                queries += 1;
                now = now.after((ttl + lazy).max(1));
            }
            let step = match p.mode { Approach::Countdown => u64::from(p.spread_secs), Approach::Step => normal };
            prop_assert!(change.is_some() || queries <= ahead + 2 + step / low.max(1));
        }

        #[test]
        fn it_stays_within_its_bounds(
            p in policies(), change in changes(), planned: bool, point: u64,
            from in 0u64..400_000, length in 0u64..100_000, part in 0u64..=100
        ) {
            prop_assert_eq!(check(&p), Ok(()));
            let cutover = planned.then_some(Cutover { at: T });
            let (cutover, change) = (cutover.as_ref(), change.as_ref());
            let from = T.before(200_000).after(from);
            let now = from.after(length * part / 100);
            let ttl = served_ttl(&p, cutover, change, point, now);
            prop_assert!(p.low <= ttl && ttl <= p.normal);
            prop_assert!(ttl <= largest_ttl(&p, cutover, change, now));
            prop_assert!(largest_ttl(&p, cutover, change, now) <= largest_ttl_within(&p, cutover, change, from, from.after(length)));
        }
    }
}
