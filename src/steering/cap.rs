//! A step whose load is capped: heavy client keys are postponed, and the step goes by demand instead of points.
//!
//! Shares are of points, but a few keys ask for most users: 5 % of the points is 2 % or 13 % of the load, as chance has it.
//! A capped step moves points as every step does, from the upper end of the giver's intervals, in their order; but a key that
//! alone carries more than a fifth of the step stays behind, and the step goes on until what has moved is as much of the
//! *load* as the weights say. A later step that is large enough takes it along, first of all, since its point comes first.
//!
//! What always holds:
//! - nothing moves but from an endpoint whose share falls to one whose share rises;
//! - no interval shrinks below half of what the weights are due, so an estimate that is all wrong can't empty a site;
//! - a step that empties a site postpones nobody.

use std::cmp::Ordering;

use crate::steering::demand::Load;
use crate::steering::pool::Weight;
use crate::steering::share::{ALL, ShareTable, share_change};

/// A key is heavy that carries more than this part of the step.
pub const HEAVY: f64 = 0.2;

/// The table for the step of `table` from weights `before` to `after`, going by `load`. Where nothing is known of the load, or
/// the step empties a site, that is [`ShareTable::step`].
pub fn capped(table: &ShareTable, before: &[Weight], after: &[Weight], load: &Load) -> ShareTable {
    let endpoints = before.len().min(after.len());
    let of = |way: Ordering| (0..endpoints).filter(move |&e| share_change(before, after, e) == way);
    let empties = of(Ordering::Less).any(|e| after[e] == Weight::ZERO);
    if !load.is_known() || empties || table == &ShareTable::default() {
        return table.step(before, after);
    }
    let (old, new) = (shares(before), shares(after));
    let step: f64 = of(Ordering::Greater).map(|e| new[e] - old[e]).sum();
    let now = load.shares(table, endpoints);
    let mut lacks: Vec<f64> = vec![0.0; endpoints];
    of(Ordering::Greater).for_each(|e| lacks[e] = (new[e] - now[e]).max(0.0));
    let lack: f64 = lacks.iter().sum();

    let mut behind: Vec<(u64, usize)> = table.behind().collect();
    let mut gives = vec![0; endpoints];
    for giver in of(Ordering::Less) {
        let quota = lack * (old[giver] - new[giver]) / step;
        let quota = take_along(table, giver, quota, step * HEAVY, load, &lacks, &mut behind);
        let due = (new[giver] * ALL as f64) as u128;
        let spare = table.width(giver).saturating_sub(due / 2);
        gives[giver] = points_of(table, giver, quota, step * HEAVY, load, &mut behind).min(spare);
    }
    let given: u128 = gives.iter().sum();
    let next = table.handed_over(&gives, &divided(given, &lacks)).with_behind(behind.into_iter());
    let has_what_it_should = |e: usize| (after[e] > Weight::ZERO) == (next.width(e) > 0);
    if (0..endpoints).all(has_what_it_should) { next } else { table.step(before, after) }
}

/// Takes those along that stayed behind with `giver` before and fit into the step now, the highest first. Gives what is left
/// of the quota.
fn take_along(
    table: &ShareTable,
    giver: usize,
    mut quota: f64,
    heavy: f64,
    load: &Load,
    lacks: &[f64],
    behind: &mut Vec<(u64, usize)>,
) -> f64 {
    for place in (0..behind.len()).rev() {
        let (point, endpoint) = behind[place];
        let to_taker = table.interval_of(point).is_some_and(|owner| lacks[owner] > 0.0);
        let part = load.at(point);
        if endpoint == giver && to_taker && part <= heavy && part / 2.0 <= quota {
            behind.remove(place);
            quota -= part;
        }
    }
    quota.max(0.0)
}

/// How many points `giver` gives, from the upper end of its intervals down, until they carry `quota` of the load. The heavy
/// ones among them stay behind; a cut that would fall on a key is made on its nearer side.
fn points_of(
    table: &ShareTable,
    giver: usize,
    mut quota: f64,
    heavy: f64,
    load: &Load,
    behind: &mut Vec<(u64, usize)>,
) -> u128 {
    let density = load.rest() / ALL as f64;
    let mut points: u128 = 0;
    let spans: Vec<(u64, u64, usize)> = table.intervals().filter(|&(.., owner)| owner == giver).collect();
    for (first, last, _) in spans.into_iter().rev() {
        let known = load.known();
        let inside = known.partition_point(|k| k.point < first)..known.partition_point(|k| k.point <= last);
        let mut end = u128::from(last) + 1; // what lies at and above it is decided on
        for key in known[inside].iter().rev() {
            let at = u128::from(key.point);
            let between = (end - at - 1) as f64 * density; // unknown, and even
            if between >= quota {
                return points + ((quota / density) as u128).min(end - at - 1);
            }
            quota -= between;
            points += end - at - 1;
            if table.stays_behind(key.point).is_some() {
                // It is another one's.
            } else if key.part > heavy {
                behind.push((key.point, giver));
            } else if key.part / 2.0 > quota {
                return points;
            } else {
                quota -= key.part;
            }
            (points, end) = (points + 1, at);
        }
        let left = end - u128::from(first);
        if left as f64 * density >= quota {
            return points + ((quota / density) as u128).min(left);
        }
        quota -= left as f64 * density;
        points += left;
    }
    points
}

/// `points` in the proportion of `lacks`.
fn divided(points: u128, lacks: &[f64]) -> Vec<u128> {
    let all: f64 = lacks.iter().sum();
    let mut parts: Vec<u128> = lacks.iter().map(|lack| ((points as f64 * lack / all) as u128).min(points)).collect();
    let last = lacks.iter().rposition(|&lack| lack > 0.0).unwrap_or(0);
    let others: u128 = parts.iter().sum::<u128>() - parts[last];
    parts[last] = points.saturating_sub(others);
    parts
}

/// Each weight as a part of all.
fn shares(weights: &[Weight]) -> Vec<f64> {
    let total: f64 = weights.iter().map(|w| f64::from(w.get())).sum();
    weights.iter().map(|w| f64::from(w.get()) / total.max(1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weights(of: &[u32]) -> Vec<Weight> {
        of.iter().map(|&w| Weight::new(w).unwrap()).collect()
    }

    fn from(of: &[u32]) -> ShareTable {
        ShareTable::from_weights(&weights(of))
    }

    /// A point so many percent up.
    fn at(percent: u64) -> u64 {
        u64::MAX / 100 * percent
    }

    fn step(table: &ShareTable, before: &[u32], after: &[u32], load: &Load) -> ShareTable {
        capped(table, &weights(before), &weights(after), load)
    }

    /// 40 keys of 2 % each, every 2 % of the points, and one of 20 % near the upper end.
    fn one_heavy() -> Load {
        Load::of_parts((0..40).map(|i| (at(2 * i), 0.02)).chain([(at(97), 0.2)]))
    }

    #[test]
    fn a_heavy_key_is_postponed_and_taken_along_by_a_larger_step() {
        let load = one_heavy();
        let start = from(&[1, 0]);
        let ten = step(&start, &[100, 0], &[90, 10], &load);
        assert_eq!(ten.behind().collect::<Vec<_>>(), [(at(97), 0)]);
        assert!((load.shares(&ten, 2)[1] - 0.1).abs() <= 0.011, "{:?}", load.shares(&ten, 2));
        // A fifth of this step is less than it carries too.
        let half = step(&ten, &[90, 10], &[50, 50], &load);
        assert_eq!(half.behind().count(), 1);
        assert!((load.shares(&half, 2)[1] - 0.5).abs() <= 0.011);
        // Without a cap nobody stays behind, and the others don't go back though they are ahead of their weight.
        let more = half.step(&weights(&[50, 50]), &weights(&[49, 51]));
        assert_eq!(more.behind().count(), 0);
        assert!(more.share(1) >= half.share(1));
        let all = step(&half, &[50, 50], &[0, 100], &load);
        assert_eq!((all.behind().count(), all.width(0)), (0, 0), "who empties a site leaves nobody behind");

        let lighter = Load::of_parts((0..49).map(|i| (at(2 * i), 0.02)).chain([(at(97), 0.02)]));
        let later = step(&ten, &[90, 10], &[70, 30], &lighter);
        assert_eq!(later.behind().count(), 0, "by now it is light enough");
    }

    #[test]
    fn without_demand_it_is_a_step_like_any_other() {
        let start = from(&[95, 5, 20]);
        let plain = start.step(&weights(&[95, 5, 20]), &weights(&[90, 10, 20]));
        assert_eq!(step(&start, &[95, 5, 20], &[90, 10, 20], &Load::even()), plain);
        assert_eq!(step(&start, &[95, 5, 20], &[95, 5, 20], &one_heavy()), start);
    }

    #[test]
    fn an_estimate_that_is_all_wrong_empties_nobody() {
        // All demand at the lowest point: nothing above it carries anything.
        let load = Load::of_parts([(0, 1.0)]);
        let next = step(&from(&[1, 0]), &[100, 0], &[90, 10], &load);
        assert!((next.share(0) - 0.45).abs() < 1e-6, "{}", next.share(0));
        assert_eq!(next.pick(0), Some(0));
    }

    fn loads() -> impl Strategy<Value = Load> {
        prop::collection::vec((any::<u64>(), 1u32..10_000), 0..60).prop_map(|keys| {
            let all: f64 = keys.iter().map(|k| f64::from(k.1)).sum();
            Load::of_parts(keys.into_iter().map(|(point, part)| (point, f64::from(part) / all)))
        })
    }

    proptest! {
        #[test]
        fn growing_steps_never_send_anybody_back(
            mut steps in prop::collection::vec((0u32..=1000, any::<bool>()), 1..8), loads in prop::collection::vec(loads(), 8),
            points: [u64; 32]
        ) {
            steps.sort_unstable();
            let (mut now, mut before) = (from(&[1000, 0, 300]), [1000, 0, 300]);
            for ((share, cap), load) in steps.into_iter().zip(&loads) {
                let after = [1000 - share, share, 300];
                let next = if cap {
                    step(&now, &before, &after, load)
                } else {
                    now.step(&weights(&before), &weights(&after))
                };
                let known = loads.iter().flat_map(|load| load.known().iter().map(|k| k.point));
                for point in points.into_iter().chain(known) {
                    let (was, is) = (now.pick(point), next.pick(point));
                    prop_assert!(was == is || (was, is) == (Some(0), Some(1)), "{:?} to {:?}", was, is);
                }
                for (e, weight) in after.into_iter().enumerate() {
                    prop_assert_eq!(weight > 0, next.width(e) > 0);
                }
                prop_assert!(next.behind().all(|(point, e)| after[e] > 0 && next.interval_of(point) != Some(e)));
                let written = serde_json::to_string(&next).unwrap();
                prop_assert_eq!(&serde_json::from_str::<ShareTable>(&written).unwrap(), &next);
                (now, before) = (next, after);
            }
        }

        #[test]
        fn any_step_moves_only_from_who_falls_to_who_rises(
            history in prop::collection::vec(prop::collection::vec(0u32..50, 4), 2..8), load in loads(), points: [u64; 16], cap: bool
        ) {
            let mut history = history;
            for of in &mut history {
                of[0] += 1;
            }
            let mut now = from(&history[0]);
            for pair in history.windows(2) {
                let (before, after) = (weights(&pair[0]), weights(&pair[1]));
                let next = if cap { capped(&now, &before, &after, &load) } else { now.step(&before, &after) };
                for (e, weight) in pair[1].iter().enumerate() {
                    prop_assert_eq!(*weight > 0, next.width(e) > 0);
                }
                let emptied = (0..4).any(|e| pair[0][e] > 0 && pair[1][e] == 0);
                for point in points.into_iter().chain(load.known().iter().map(|k| k.point)).filter(|_| !emptied) {
                    let (was, is) = (now.pick(point).unwrap(), next.pick(point).unwrap());
                    let way = |e| share_change(&before, &after, e);
                    prop_assert!(was == is || (way(was) == Ordering::Less && way(is) == Ordering::Greater));
                }
                now = next;
            }
        }
    }
}
