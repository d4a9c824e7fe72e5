//! Health: up or down since when, by rise and fall thresholds.
//!
//! Pure: `probe` reports what it saw, `control` feeds it in with the instant. What an operator says over it is kept apart
//! ([`Override`](crate::steering::pool::Override)), so no observation can undo it.

use crate::time::Timestamp;

/// How many equal observations in a row change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones until down becomes up, at least 1.
    pub rise: u32,
    /// Bad ones until up becomes down, at least 1.
    pub fall: u32,
}

/// The outcome of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It answered as it should.
    Up,
    /// It did not.
    Down,
}

/// A change that selection sees: unknown counts as up, so the first good observation of an unknown endpoint is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What it counts as from now on.
    pub up: bool,
    /// When the observation came in that caused it.
    pub at: Timestamp,
}

/// What the probes say of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Up or not and since when; `None` = unknown.
    state: Option<(bool, Timestamp)>,
    /// Whether anything was observed since the start.
    observed: bool,
    /// Observations in a row against the state.
    against: u32,
}

impl Health {
    /// Of an endpoint of which nothing is known. It counts as up.
    pub const fn unknown() -> Self {
        Self { state: None, observed: false, against: 0 }
    }

    /// As it was before a restart. It counts as that until the first observation, which counts at once.
    pub const fn recalled(up: bool, since: Timestamp) -> Self {
        Self { state: Some((up, since)), observed: false, against: 0 }
    }

    /// Takes in one observation; returns the change of state, if this one caused it. The first one counts at once, after
    /// that a state changes after `rise` or `fall` equal ones in a row (0 counts as 1).
    pub fn observe(&mut self, seen: Observation, now: Timestamp, t: &Thresholds) -> Option<Transition> {
        let up = seen == Observation::Up;
        let first = !std::mem::replace(&mut self.observed, true);
        if self.state.is_some_and(|(was, _)| was == up) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if !first && self.against < if up { t.rise } else { t.fall } {
            return None;
        }
        let counted_as = self.is_up();
        self.state = Some((up, now));
        self.against = 0;
        (counted_as != up).then_some(Transition { up, at: now })
    }

    /// What it counts as for selection; unknown counts as up.
    pub fn is_up(&self) -> bool {
        self.state.is_none_or(|(up, _)| up)
    }

    /// Up or down; `None` = unknown.
    pub fn state(&self) -> Option<bool> {
        self.state.map(|(up, _)| up)
    }

    /// Since when; `None` = unknown.
    pub fn since(&self) -> Option<Timestamp> {
        self.state.map(|(_, since)| since)
    }

    /// Whether anything was observed since the start: until then it is only what was known before.
    pub fn is_observed(&self) -> bool {
        self.observed
    }

    /// Observations in a row against the state, below the threshold that would change it.
    pub fn against(&self) -> u32 {
        self.against
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Observation::{Down, Up};
    use proptest::prelude::*;

    const T: Thresholds = Thresholds { rise: 2, fall: 3 };

    fn at(second: u64) -> Timestamp {
        Timestamp(second)
    }

    #[test]
    fn the_first_observation_counts_at_once() {
        let mut h = Health::unknown();
        assert!(h.is_up() && h.state().is_none() && !h.is_observed());
        assert_eq!(h.observe(Down, at(1), &T), Some(Transition { up: false, at: at(1) }));
        assert_eq!((h.state(), h.since()), (Some(false), Some(at(1))));

        let mut h = Health::unknown();
        assert_eq!(h.observe(Up, at(1), &T), None);
        assert_eq!((h.state(), h.since()), (Some(true), Some(at(1))));

        let mut h = Health::recalled(false, at(1));
        assert!(!h.is_up());
        assert_eq!(h.observe(Up, at(9), &T), Some(Transition { up: true, at: at(9) }));

        let mut h = Health::recalled(true, at(1));
        assert_eq!(h.observe(Up, at(9), &T), None);
        assert_eq!(h.since(), Some(at(1)));
        assert_eq!(h.observe(Down, at(10), &T), None);
        assert!(h.is_up());
    }

    #[test]
    fn then_it_takes_as_many_in_a_row_as_the_thresholds_say() {
        let mut h = Health::unknown();
        let seen = [Up, Down, Down, Up, Down, Down, Down, Up, Down, Up, Up, Up];
        let changes: Vec<_> = (0u64..).zip(seen).filter_map(|(i, seen)| h.observe(seen, at(i), &T)).collect();
        assert_eq!(changes, [Transition { up: false, at: at(6) }, Transition { up: true, at: at(10) }]);
        assert_eq!(h.against(), 0);
    }

    proptest! {
        #[test]
        fn a_state_is_what_was_last_seen_often_enough(
            seen: Vec<bool>, rise in 0u32..5, fall in 0u32..5, recalled: Option<bool>
        ) {
            let t = Thresholds { rise, fall };
            let mut h = recalled.map_or(Health::unknown(), |up| Health::recalled(up, at(0)));
            for (i, &up) in seen.iter().enumerate() {
                let was = h.is_up();
                let change = h.observe(if up { Up } else { Down }, at(i as u64), &t);
                prop_assert_eq!(change.is_some(), was != h.is_up());
                prop_assert!(change.is_none_or(|c| c.up == up && h.since() == Some(c.at)));
                let row = seen[..=i].iter().rev().take_while(|&&s| s == up).count() as u32;
                let enough = i == 0 || row >= if up { rise } else { fall };
                prop_assert!(!enough || h.is_up() == up);
                prop_assert!(enough || change.is_none());
            }
        }
    }
}
