//! The share table: which part of the points 0..2^64 each endpoint has.
//!
//! It is made once from weights; after that every change of weights makes the next table from the one before and moves
//! the least that can be moved. It knows nothing of health: whose endpoint is down is `select`'s affair.
//!
//! What always holds, unless the table is empty:
//! - every point belongs to exactly one endpoint, so the widths add up to 2^64;
//! - an endpoint's width is its share of the weight to 2^-32 of the whole, unless a [capped](crate::steering::cap) step went
//!   by demand; weight 0 has none, weight above 0 has some;
//! - neighbouring intervals belong to different endpoints.
//!
//! A few single points may stay behind with another endpoint than that of their interval: client keys that a capped step
//! has postponed. They are no part of the widths.

use std::cmp::{Ordering, Reverse};

use serde::{Deserialize, Serialize};

use crate::steering::pool::Weight;

/// All points.
pub(super) const ALL: u128 = 1 << 64;

/// How far, in points, an endpoint may be from its due without being touched. Dues are rounded down, so without this a
/// flip between two endpoints could make a third give or take a single point. With 65,535 endpoints it comes to less
/// than 2^27 points in sum, and the least weight above 0 is due more than 2^28.
const SLACK: u128 = 1 << 11;

/// Which part of the points 0..2^64 each endpoint has. Written as a list of `[first point, endpoint]`, beside the points
/// that stay behind where there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct ShareTable {
    /// First point and endpoint of each interval, which reaches to the next one's first point. Ascending from 0.
    starts: Vec<(u64, u16)>,
    /// Points that are another endpoint's than their interval, and that endpoint. Ascending.
    behind: Vec<(u64, u16)>,
}

impl ShareTable {
    /// One interval for each endpoint, in order. All weights zero, or none: the empty table.
    ///
    /// # Panics
    /// With more than 65,535 endpoints, as all functions here that take weights.
    pub fn from_weights(weights: &[Weight]) -> Self {
        let mut spans = Vec::with_capacity(weights.len());
        let mut start = 0;
        for (owner, due) in dues(weights, &vec![0; weights.len()]).into_iter().enumerate() {
            spans.push(Span { start, end: start + due, owner });
            start += due;
        }
        Self::from_spans(spans)
    }

    /// The endpoint that `point` belongs to; `None` only from the empty table.
    #[inline]
    pub fn pick(&self, point: u64) -> Option<usize> {
        if !self.behind.is_empty()
            && let Some(endpoint) = self.stays_behind(point)
        {
            return Some(endpoint);
        }
        self.interval_of(point)
    }

    /// The endpoint that `point` stays behind with, although it lies in another one's interval.
    pub fn stays_behind(&self, point: u64) -> Option<usize> {
        let found = self.behind.binary_search_by_key(&point, |&(point, _)| point).ok()?;
        Some(usize::from(self.behind[found].1))
    }

    /// The points that stay behind, ascending, and their endpoints.
    pub fn behind(&self) -> impl DoubleEndedIterator<Item = (u64, usize)> {
        self.behind.iter().map(|&(point, endpoint)| (point, usize::from(endpoint)))
    }

    /// The endpoint in whose interval `point` lies.
    pub(super) fn interval_of(&self, point: u64) -> Option<usize> {
        let after = self.starts.partition_point(|&(start, _)| start <= point);
        Some(usize::from(self.starts[after.checked_sub(1)?].1))
    }

    /// How many points `endpoint` has, out of 2^64.
    pub fn width(&self, endpoint: usize) -> u128 {
        self.spans().filter(|span| span.owner == endpoint).map(|span| span.len()).sum()
    }

    /// The part of all points that `endpoint` has, 0..=1.
    pub fn share(&self, endpoint: usize) -> f64 {
        part_of_all(self.width(endpoint))
    }

    /// The table for other weights of the same endpoints, with the least moves: an endpoint that has too much gives
    /// from the upper end of its intervals, highest first, to those that lack; nothing else moves. Givers in order of
    /// index, each to the takers in order of index. From the empty table: [`ShareTable::from_weights`]. All weights
    /// zero: the empty table. What stayed behind with a giver moves on.
    pub fn reweigh(&self, weights: &[Weight]) -> Self {
        self.settle(weights, |endpoint| Some(endpoint).filter(|&e| e < weights.len()))
    }

    /// The table for a step from weights `before` to `after`: as [`ShareTable::reweigh`], but nothing moves to an endpoint
    /// whose share falls nor from one whose share rises, also where a capped step went by demand and widths are not what
    /// `before` says.
    pub fn step(&self, before: &[Weight], after: &[Weight]) -> Self {
        let exact = self.reweigh(after);
        let falls = |e: usize| share_change(before, after, e) == Ordering::Less;
        let rises = |e: usize| share_change(before, after, e) == Ordering::Greater;
        let stay_behind = |table: Self| table.with_behind(self.behind().filter(|&(_, e)| !falls(e)));
        if self.overlay(&exact).all(|(_, from, to)| from == to || (falls(from) && rises(to))) {
            return stay_behind(exact);
        }
        // Each goes as far towards its due as its direction allows, all in all as far as the lesser side does.
        let far = |up: bool, e: usize| {
            let (has, due) = (self.width(e), exact.width(e));
            if up { due.saturating_sub(has) } else { has.saturating_sub(due) }
        };
        let endpoints = before.len().min(after.len());
        let gives: Vec<u128> = (0..endpoints).map(|e| if falls(e) { far(false, e) } else { 0 }).collect();
        let takes: Vec<u128> = (0..endpoints).map(|e| if rises(e) { far(true, e) } else { 0 }).collect();
        let moving = gives.iter().sum::<u128>().min(takes.iter().sum());
        let bounded = |parts: Vec<u128>| {
            let mut left = moving;
            let part = |part: u128| {
                let part = part.min(left);
                left -= part;
                part
            };
            parts.into_iter().map(part).collect::<Vec<_>>()
        };
        let next = stay_behind(self.handed_over(&bounded(gives), &bounded(takes)));
        let has_what_it_should = |e: usize| (after[e] > Weight::ZERO) == (next.width(e) > 0);
        if (0..endpoints).all(has_what_it_should) { next } else { stay_behind(exact) }
    }

    /// This table after `gives` points by endpoint went to those that take `takes`, which add up to the same. Givers in order
    /// of index, from the upper end of their intervals, highest first, to the takers in order of index.
    pub(super) fn handed_over(&self, gives: &[u128], takes: &[u128]) -> Self {
        let mut spans: Vec<Span> = self.spans().collect();
        hand_over(&mut spans, gives, takes);
        Self::from_spans(spans)
    }

    /// The same intervals, where these points stay behind: those that don't lie in their endpoint's interval anyway.
    pub(super) fn with_behind(mut self, points: impl Iterator<Item = (u64, usize)>) -> Self {
        let stays =
            points.filter(|&(point, e)| self.interval_of(point).is_some_and(|owner| owner != e) && self.width(e) > 0);
        let mut behind: Vec<(u64, u16)> = stays.map(|(point, e)| (point, owner_index(e))).collect();
        behind.sort_unstable();
        behind.dedup_by_key(|(point, _)| *point);
        self.behind = behind;
        self
    }

    /// The table for a pool whose endpoints were added, removed or put in another order: `map` gives the new index of
    /// each old one, `None` (or no entry) where it is gone; `weights` are those of the new pool, by new index. Points of
    /// an endpoint that is gone go to the rest by weight; otherwise as [`ShareTable::reweigh`].
    pub fn with_indices(&self, map: &[Option<u16>], weights: &[Weight]) -> Self {
        self.settle(weights, |old| map.get(old).copied().flatten().map(usize::from).filter(|&new| new < weights.len()))
    }

    /// The part of all points whose endpoint is another one in `to`, 0..=1. Everything moves to or from the empty table.
    pub fn moved(&self, to: &Self) -> f64 {
        if self.starts.is_empty() != to.starts.is_empty() {
            return 1.0;
        }
        part_of_all(self.overlay(to).filter(|(_, from, to)| from != to).map(|(width, ..)| width).sum())
    }

    /// The intervals in ascending order: first point, last point, endpoint.
    pub fn intervals(&self) -> impl Iterator<Item = (u64, u64, usize)> {
        self.spans().map(|span| (span.start as u64, (span.end - 1) as u64, span.owner))
    }

    /// Both tables cut at all borders of either: width, endpoint here, endpoint in `other`. Nothing if one is empty.
    fn overlay(&self, other: &Self) -> impl Iterator<Item = (u128, usize, usize)> {
        let (mut ours, mut theirs) = (self.spans().peekable(), other.spans().peekable());
        let mut at = 0;
        std::iter::from_fn(move || {
            let (our, their) = (*ours.peek()?, *theirs.peek()?);
            let end = our.end.min(their.end);
            ours.next_if(|span| span.end == end);
            theirs.next_if(|span| span.end == end);
            let width = end - at;
            at = end;
            Some((width, our.owner, their.owner))
        })
    }

    /// Hands on what each has too much. `renamed` gives the index among `weights` of each endpoint here; `None` is gone.
    fn settle(&self, weights: &[Weight], renamed: impl Fn(usize) -> Option<usize>) -> Self {
        if self.starts.is_empty() {
            return Self::from_weights(weights);
        }
        let gone = weights.len(); // an index of its own that is due nothing, and gives last
        let mut spans: Vec<Span> =
            self.spans().map(|span| Span { owner: renamed(span.owner).unwrap_or(gone), ..span }).collect();
        let mut has = vec![0; weights.len() + 1];
        for span in &spans {
            has[span.owner] += span.len();
        }
        let mut due = dues(weights, &has[..gone]);
        if due.iter().all(|&due| due == 0) {
            return Self::default();
        }
        due.push(0);

        let less = |(a, b): (&u128, &u128)| a.saturating_sub(*b);
        let gives: Vec<u128> = has.iter().zip(&due).map(less).collect();
        let takes: Vec<u128> = due.iter().zip(&has).map(less).collect();
        hand_over(&mut spans, &gives, &takes);
        let behind = self.behind().filter_map(|(point, e)| Some((point, renamed(e)?)));
        Self::from_spans(spans).with_behind(behind.filter(|&(_, e)| gives[e] == 0))
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        let ends = self.starts.iter().skip(1).map(|&(start, _)| u128::from(start)).chain([ALL]);
        let spans = self.starts.iter().zip(ends);
        spans.map(|(&(start, owner), end)| Span { start: u128::from(start), end, owner: usize::from(owner) })
    }

    /// `spans` cover all points once, or none; in any order, neighbours of one owner and empty ones allowed.
    fn from_spans(mut spans: Vec<Span>) -> Self {
        spans.retain(|span| span.start < span.end);
        spans.sort_unstable_by_key(|span| span.start);
        spans.dedup_by_key(|span| span.owner);
        let starts = spans.iter().map(|span| (span.start as u64, owner_index(span.owner))).collect();
        Self { starts, behind: Vec::new() }
    }
}

/// A share table as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Plain(Vec<(u64, u16)>),
    Behind { starts: Vec<(u64, u16)>, behind: Vec<(u64, u16)> },
}

impl From<ShareTable> for Written {
    fn from(ShareTable { starts, behind }: ShareTable) -> Self {
        if behind.is_empty() { Self::Plain(starts) } else { Self::Behind { starts, behind } }
    }
}

impl TryFrom<Written> for ShareTable {
    type Error = BadTable;

    fn try_from(written: Written) -> Result<Self, BadTable> {
        let (starts, behind) = match written {
            Written::Plain(starts) => (starts, Vec::new()),
            Written::Behind { starts, behind } => (starts, behind),
        };
        if let Some(&(first, _)) = starts.first().filter(|&&(start, _)| start != 0) {
            return Err(BadTable::Start { first });
        }
        if let Some(pair) = starts.windows(2).find(|pair| pair[0].0 >= pair[1].0 || pair[0].1 == pair[1].1) {
            return Err(BadTable::Order { before: pair[0], after: pair[1] });
        }
        if let Some(pair) = behind.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(BadTable::Behind { before: pair[0], after: pair[1] });
        }
        Ok(Self { starts, behind })
    }
}

/// A list of intervals that is no share table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTable {
    /// Points below the first interval.
    #[error("the share table begins at point {first}, not at 0")]
    Start {
        /// Where it begins.
        first: u64,
    },
    /// Out of order, or not merged.
    #[error("the share table's interval {before:?} is followed by {after:?}: points must ascend, endpoints differ")]
    Order {
        /// First point and endpoint.
        before: (u64, u16),
        /// First point and endpoint.
        after: (u64, u16),
    },
    /// Points that stay behind, out of order.
    #[error("of the points that stay behind, {before:?} is followed by {after:?}: they must ascend")]
    Behind {
        /// Point and endpoint.
        before: (u64, u16),
        /// Point and endpoint.
        after: (u64, u16),
    },
}

/// Points `start..end` of one owner.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u128,
    end: u128,
    owner: usize,
}

impl Span {
    fn len(&self) -> u128 {
        self.end - self.start
    }
}

/// How many points each endpoint shall have: its share of the weight, rounded down, or what it has (`has`) where that
/// is within [`SLACK`]. What is left over by rounding goes to the heaviest of those that change anyway.
fn dues(weights: &[Weight], has: &[u128]) -> Vec<u128> {
    let total: u128 = weights.iter().map(|w| u128::from(w.get())).sum();
    if total == 0 {
        return vec![0; weights.len()];
    }
    let mut keeps = vec![false; weights.len()];
    let mut due: Vec<u128> = weights.iter().map(|w| u128::from(w.get()) * ALL / total).collect();
    for (i, due) in due.iter_mut().enumerate() {
        if weights[i] > Weight::ZERO && has[i].abs_diff(*due) <= SLACK {
            *due = has[i];
            keeps[i] = true;
        }
    }
    let heaviest = (0..due.len())
        .max_by_key(|&i| (weights[i] > Weight::ZERO, !keeps[i], weights[i], Reverse(i)))
        .expect("the total is above 0, so there is an endpoint");
    let others: u128 = due.iter().sum::<u128>() - due[heaviest];
    due[heaviest] = ALL - others;
    due
}

/// Hands over `gives` points by endpoint to those that take `takes`, until either is used up.
fn hand_over(spans: &mut Vec<Span>, gives: &[u128], takes: &[u128]) {
    let mut takers: Vec<(usize, u128)> = takes.iter().copied().enumerate().filter(|&(_, lack)| lack > 0).collect();
    takers.reverse(); // the next one is the last
    let mut handed = Vec::new();
    for (giver, &surplus) in gives.iter().enumerate() {
        let mut surplus = surplus;
        for span in spans.iter_mut().rev().filter(|span| span.owner == giver) {
            while surplus > 0 && span.start < span.end {
                let Some((taker, lack)) = takers.last_mut() else { break };
                let piece = surplus.min(*lack).min(span.len());
                handed.push(Span { start: span.end - piece, end: span.end, owner: *taker });
                span.end -= piece;
                surplus -= piece;
                *lack -= piece;
                if *lack == 0 {
                    takers.pop();
                }
            }
        }
    }
    spans.append(&mut handed);
}

/// Which way the share of `endpoint` goes from weights `before` to `after`.
pub(super) fn share_change(before: &[Weight], after: &[Weight], endpoint: usize) -> Ordering {
    let total = |weights: &[Weight]| weights.iter().map(|w| u128::from(w.get())).sum::<u128>();
    let weight = |weights: &[Weight]| weights.get(endpoint).map_or(0, |w| u128::from(w.get()));
    (weight(after) * total(before)).cmp(&(weight(before) * total(after)))
}

fn owner_index(endpoint: usize) -> u16 {
    u16::try_from(endpoint).expect("at most 65,535 endpoints")
}

pub(super) fn part_of_all(points: u128) -> f64 {
    points as f64 / ALL as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::key::{ClientKey, Salt, point};
    use proptest::prelude::*;

    fn weights(of: &[u32]) -> Vec<Weight> {
        of.iter().map(|&w| Weight::new(w).unwrap()).collect()
    }

    fn table(of: &[u32]) -> ShareTable {
        ShareTable::from_weights(&weights(of))
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1.0 / 4_294_967_296.0
    }

    /// For each pair (from, to) the part of the points that moves.
    fn moves(before: &ShareTable, after: &ShareTable) -> Vec<((usize, usize), f64)> {
        let mut moves = std::collections::BTreeMap::new();
        for (width, from, to) in before.overlay(after).filter(|(_, from, to)| from != to) {
            *moves.entry((from, to)).or_insert(0) += width;
        }
        moves.into_iter().map(|(pair, width)| (pair, part_of_all(width))).collect()
    }

    #[test]
    fn a_flip_moves_the_difference_and_nothing_back() {
        for (before, after, expected) in [
            (&[95, 5][..], &[90, 10][..], &[((0, 1), 0.05)][..]),
            (&[90, 5, 5], &[85, 10, 5], &[((0, 1), 0.05)]),
            (&[60, 10, 10, 10, 10], &[55, 10, 15, 10, 10], &[((0, 2), 0.05)]),
            (&[1, 1, 1], &[0, 2, 1], &[((0, 1), 1.0 / 3.0)]),
            (&[100, 0], &[0, 100], &[((0, 1), 1.0)]),
            (&[50, 50, 0], &[50, 50, 100], &[((0, 2), 0.25), ((1, 2), 0.25)]),
            (&[50, 25, 25], &[0, 50, 50], &[((0, 1), 0.25), ((0, 2), 0.25)]),
        ] {
            let seen = moves(&table(before), &table(before).reweigh(&weights(after)));
            assert_eq!(seen.len(), expected.len(), "{before:?} -> {after:?}: {seen:?}");
            for (seen, expected) in seen.iter().zip(expected) {
                assert!(seen.0 == expected.0 && near(seen.1, expected.1), "{before:?} -> {after:?}: {seen:?}");
            }
        }
    }

    #[test]
    fn the_upper_end_is_given_and_neighbours_merge() {
        let start = table(&[1, 1]);
        assert_eq!(start.starts, [(0, 0), (1 << 63, 1)]);
        let next = start.reweigh(&weights(&[1, 3]));
        assert_eq!(next.starts, [(0, 0), (1 << 62, 1)]);
        assert_eq!(next.reweigh(&weights(&[1, 1])).starts, [(0, 0), (1 << 62, 1), (3 << 62, 0)]);
        assert_eq!(next.reweigh(&weights(&[1, 0])).starts, [(0, 0)]);
    }

    #[test]
    fn an_empty_table_has_nobody() {
        for empty in [table(&[]), table(&[0, 0]), table(&[1, 2]).reweigh(&weights(&[0, 0]))] {
            assert_eq!(empty, ShareTable::default());
            assert_eq!(empty.pick(7), None);
            assert_eq!(empty.width(0), 0);
            assert!(near(empty.moved(&table(&[1])), 1.0));
            assert!(near(empty.moved(&empty), 0.0));
            assert_eq!(empty.reweigh(&weights(&[0, 3])), table(&[0, 3]));
        }
    }

    #[test]
    fn adding_and_removing_a_site_moves_only_its_own() {
        let three = table(&[90, 5, 5]);
        let added = three.with_indices(&[Some(1), Some(2), Some(3)], &weights(&[0, 90, 5, 5]));
        assert_eq!(added.width(0), 0);
        for old in 0..3 {
            assert_eq!(added.width(old + 1), three.width(old));
        }
        let back = added.with_indices(&[None, Some(0), Some(1), Some(2)], &weights(&[90, 5, 5]));
        assert_eq!(back, three);
        let removed = three.with_indices(&[Some(0), None, Some(1)], &weights(&[90, 5]));
        assert!(near(removed.share(0), 90.0 / 95.0));
        let seen = moves(&three, &removed.with_indices(&[Some(0), Some(2)], &weights(&[90, 0, 5])));
        assert_eq!(seen.iter().map(|m| m.0).collect::<Vec<_>>(), [(1, 0), (1, 2)]);
    }

    #[test]
    fn it_reads_what_it_writes_and_nothing_else() {
        let written = serde_json::to_string(&table(&[1, 1])).unwrap();
        assert_eq!(written, "[[0,0],[9223372036854775808,1]]");
        assert_eq!(serde_json::from_str::<ShareTable>(&written).unwrap(), table(&[1, 1]));
        assert_eq!(serde_json::from_str::<ShareTable>("[]").unwrap(), ShareTable::default());
        for bad in ["[[1,0]]", "[[0,0],[5,0]]", "[[0,0],[5,1],[5,0]]", "[[0,0],[5,1],[4,0]]"] {
            assert!(serde_json::from_str::<ShareTable>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_fall_as_the_shares_say() {
        let salt = Salt::of("www.example.org");
        let keys = 100_000u32;
        for shares in [&[50, 50][..], &[90, 10], &[95, 5], &[99, 1], &[60, 30, 10]] {
            let table = table(shares);
            let mut counts = vec![0u32; shares.len()];
            for key in 0..keys {
                let key = ClientKey::of_resolver(std::net::Ipv4Addr::from_bits(key << 8).into());
                counts[table.pick(point(&salt, &key)).unwrap()] += 1;
            }
            for (count, share) in counts.iter().zip(shares) {
                let error = f64::from(*count) / f64::from(keys) - f64::from(*share) / 100.0;
                assert!(error.abs() < 0.004, "{shares:?}: {counts:?}");
            }
        }
    }

    fn some_weights(endpoints: usize) -> impl Strategy<Value = Vec<u32>> {
        let weight = prop_oneof![Just(0), 1..=100u32, 1..=1_000_000u32, Just(1_000_000)];
        prop::collection::vec(weight, endpoints)
    }

    fn histories() -> impl Strategy<Value = Vec<Vec<u32>>> {
        (1usize..7).prop_flat_map(|endpoints| prop::collection::vec(some_weights(endpoints), 1..12))
    }

    proptest! {
        #[test]
        fn shares_are_exact_and_moves_the_least(history in histories()) {
            let mut now = table(&history[0]);
            for wanted in &history {
                let next = now.reweigh(&weights(wanted));
                let total: f64 = wanted.iter().map(|&w| f64::from(w)).sum();
                let all: u128 = (0..wanted.len()).map(|e| next.width(e)).sum();
                prop_assert_eq!(all, if total > 0.0 { ALL } else { 0 });
                for (e, &w) in wanted.iter().enumerate() {
                    prop_assert!(total <= 0.0 || near(next.share(e), f64::from(w) / total));
                    prop_assert_eq!(w > 0, next.width(e) > 0);
                }
                prop_assert!(next.starts.windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 != p[1].1));
                let mut gained = 0;
                for (width, from, to) in now.overlay(&next).filter(|(_, from, to)| from != to) {
                    prop_assert!(next.width(from) < now.width(from), "{} gave and did not shrink", from);
                    prop_assert!(next.width(to) > now.width(to), "{} took and did not grow", to);
                    gained += width;
                }
                let grown: u128 = (0..wanted.len()).map(|e| next.width(e).saturating_sub(now.width(e))).sum();
                prop_assert!(now.starts.is_empty() || total <= 0.0 || gained == grown);
                now = next;
            }
        }

        #[test]
        fn a_flip_between_two_leaves_the_rest_to_the_point(
            mut of in some_weights(5), from in 0usize..5, apart in 1usize..5, part in 0u32..=1_000_000
        ) {
            let to = (from + apart) % 5;
            of[from] = of[from].max(1);
            let before = table(&of);
            let moved = part.min(of[from]).min(1_000_000 - of[to]);
            of[from] -= moved;
            of[to] += moved;
            let after = before.reweigh(&weights(&of));
            prop_assert!(moves(&before, &after).iter().all(|m| m.0 == (from, to)));
        }

        #[test]
        fn a_step_of_an_exact_table_is_exact(history in histories()) {
            let mut now = table(&history[0]);
            for pair in history.windows(2) {
                if pair.iter().all(|of| of.iter().any(|&w| w > 0)) {
                    prop_assert_eq!(now.step(&weights(&pair[0]), &weights(&pair[1])), now.reweigh(&weights(&pair[1])));
                }
                now = now.reweigh(&weights(&pair[1]));
            }
        }

        #[test]
        fn growing_steps_never_send_anybody_back(mut steps in prop::collection::vec(0u32..=1000, 1..12), points: [u64; 32]) {
            steps.sort_unstable();
            let mut now = table(&[1000, 0, 300]);
            for step in steps {
                let next = now.reweigh(&weights(&[1000 - step, step, 300]));
                for p in points {
                    let (from, to) = (now.pick(p), next.pick(p));
                    prop_assert!(from == to || (from, to) == (Some(0), Some(1)));
                }
                now = next;
            }
        }

        #[test]
        fn picks_and_intervals_agree(history in histories(), p: u64) {
            let now = history.iter().fold(ShareTable::default(), |t, w| t.reweigh(&weights(w)));
            let inside = now.intervals().find(|&(first, last, _)| first <= p && p <= last).map(|(_, _, e)| e);
            prop_assert_eq!(now.pick(p), inside);
        }
    }
}
