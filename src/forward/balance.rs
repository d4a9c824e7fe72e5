//! Which target a connection goes to: by weight, with the health that connecting shows. Pure: clock and draw come as
//! arguments.
//!
//! A target that failed `FALL` times in a row has its circuit opened: for `REST` it is tried last. Then one connection
//! at a time tries it (half-open); a success closes the circuit. No target is ever left out: where all have failed, all
//! are tried, so a mistaken judgement costs time, never a connection.

use std::time::{Duration, Instant};

/// Failures in a row that open a circuit.
const FALL: u32 = 3;
/// How long an open circuit rests before a connection tries it.
const REST: Duration = Duration::from_secs(5);

/// What is known of a target from connecting to it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circuit {
    failures: u32,
    /// When it may be tried; `Some` while the circuit is not closed.
    try_at: Option<Instant>,
}

/// How a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It takes its share.
    Closed,
    /// It rests after failures.
    Open,
    /// One connection may try it.
    HalfOpen,
}

impl Circuit {
    pub(super) fn health(&self, now: Instant) -> Health {
        match self.try_at {
            None => Health::Closed,
            Some(at) if at > now => Health::Open,
            Some(_) => Health::HalfOpen,
        }
    }

    /// To be called before a try: while it lasts, no other connection tries a target that rests.
    pub(super) fn trying(&mut self, now: Instant) {
        if self.try_at.is_some() {
            self.try_at = Some(now + REST);
        }
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FALL {
            self.try_at = Some(now + REST);
        }
    }
}

/// The order in which targets of these weights and healths are tried. The first is drawn by weight among those that aren't
/// open; then come the others of them by weight, then those of weight 0, then the open ones.
pub(super) fn order(targets: &[(u32, Health)], draw: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..targets.len()).collect();
    let class = |&at: &usize| match targets[at] {
        (_, Health::Open) => 2,
        (0, _) => 1,
        _ => 0,
    };
    order.sort_by_key(|at| (class(at), std::cmp::Reverse(targets[*at].0)));
    let fit = order.iter().take_while(|at| class(at) == 0).count();
    let total: u64 = order[..fit].iter().map(|&at| u64::from(targets[at].0)).sum();
    let mut point = ((u128::from(draw) * u128::from(total)) >> 64) as u64;
    let chosen = order[..fit].iter().position(|&at| {
        let weight = u64::from(targets[at].0);
        let here = point < weight;
        point = point.saturating_sub(weight);
        here
    });
    if let Some(chosen) = chosen {
        order[..=chosen].rotate_right(1);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circuit_opens_rests_and_closes() {
        let start = Instant::now();
        let mut circuit = Circuit::default();
        circuit.failed(start);
        circuit.failed(start);
        assert_eq!(circuit.health(start), Health::Closed);
        circuit.failed(start);
        assert_eq!(circuit.health(start), Health::Open);
        let later = start + REST;
        assert_eq!(circuit.health(later), Health::HalfOpen);
        circuit.trying(later);
        assert_eq!(circuit.health(later), Health::Open, "one connection tries at a time");
        circuit.failed(later);
        assert_eq!(circuit.health(later + REST), Health::HalfOpen);
        circuit.succeeded();
        assert_eq!(circuit.health(later), Health::Closed);
        circuit.failed(later);
        assert_eq!(circuit.health(later), Health::Closed, "it has its full trust again");
    }

    #[test]
    fn the_last_resort_comes_last() {
        use Health::{Closed, HalfOpen, Open};
        let order = order(&[(5, Open), (0, Closed), (1, HalfOpen), (9, Closed)], u64::MAX / 2);
        assert_eq!(order, [3, 2, 1, 0]);
        assert_eq!(super::order(&[(0, Open)], 7), [0]);
    }

    proptest::proptest! {
        #[test]
        fn shares_follow_weights(weights in proptest::collection::vec(0_u32..=1_000_000, 1..6), seed: u64) {
            let targets: Vec<_> = weights.iter().map(|&w| (w, Health::Closed)).collect();
            let total: u64 = weights.iter().map(|&w| u64::from(w)).sum();
            proptest::prop_assume!(total > 0);
            const DRAWS: u64 = 2000;
            let mut first = vec![0_u64; weights.len()];
            for step in 0..DRAWS {
                let mut order = order(&targets, seed.wrapping_add(step * (u64::MAX / DRAWS)));
                first[order[0]] += 1;
                order.sort_unstable();
                proptest::prop_assert_eq!(order, (0..weights.len()).collect::<Vec<_>>());
            }
            for (count, weight) in first.iter().zip(&weights) {
                let expected = DRAWS as f64 * f64::from(*weight) / total as f64;
                proptest::prop_assert!((*count as f64 - expected).abs() <= 3.0, "{count} of {expected}");
            }
        }
    }
}
