//! Flap damping: what goes up and down too often is held down for a while, longer each time. Pure.
//!
//! It only ever takes an endpoint away that its probes take away again and again, never longer than `longest_secs`, and
//! never the last one: where nobody is up, fail open answers all the same.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// When an endpoint counts as flapping, and for how long it is held down then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Damping {
    /// More changes than this within the window are too many; 0: none are.
    pub changes: u32,
    /// The window.
    pub within_secs: u64,
    /// How long it is held down the first time; each further time twice as long as the last.
    pub hold_secs: u64,
    /// No longer than this.
    pub longest_secs: u64,
}

impl Default for Damping {
    /// A failover and back, and once more, is no flapping; seven changes in ten minutes are.
    fn default() -> Self {
        Self { changes: 6, within_secs: 600, hold_secs: 60, longest_secs: 1800 }
    }
}

/// How often one endpoint changed lately.
#[derive(Clone, Debug, Default)]
pub struct Flaps {
    /// The instants, the oldest first; at most one more than are too many.
    changes: VecDeque<Timestamp>,
    held_until: Option<Timestamp>,
    /// How long it was held last.
    last_hold_secs: u64,
}

impl Flaps {
    /// Takes in a change of health; gives until when the endpoint is held down, if this one was too many.
    pub fn changed(&mut self, now: Timestamp, damping: &Damping) -> Option<Timestamp> {
        if damping.changes == 0 || self.held_until.is_some() {
            return None;
        }
        while self.changes.front().is_some_and(|at| at.after(damping.within_secs) < now) {
            self.changes.pop_front();
        }
        if self.changes.is_empty() {
            self.last_hold_secs = 0; // a whole window without a change: it begins anew
        }
        self.changes.push_back(now);
        if self.changes.len() <= damping.changes as usize {
            return None;
        }
        let hold_secs = (self.last_hold_secs * 2).clamp(damping.hold_secs, damping.longest_secs.max(damping.hold_secs));
        self.last_hold_secs = hold_secs;
        // What follows a hold counts from there: one more change in the window is not at once another hold.
        self.changes.clear();
        self.changes.push_back(now.after(hold_secs));
        self.held_until = Some(now.after(hold_secs));
        self.held_until
    }

    /// Until when it is held down.
    pub fn held_until(&self) -> Option<Timestamp> {
        self.held_until
    }

    /// Ends a hold whose time has come; gives whether it did.
    pub fn release(&mut self, now: Timestamp) -> bool {
        self.held_until.take_if(|until| *until <= now).is_some()
    }

    /// Forgets all: an operator has spoken.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAMPING: Damping = Damping { changes: 2, within_secs: 100, hold_secs: 10, longest_secs: 35 };

    #[test]
    fn too_many_changes_hold_it_down_for_longer_each_time() {
        let mut flaps = Flaps::default();
        let mut now = 1000;
        for hold in [10, 20, 35, 35] {
            let mut until = None;
            while until.is_none() {
                now += 1;
                until = flaps.changed(Timestamp(now), &DAMPING);
            }
            assert_eq!(until, Some(Timestamp(now + hold)));
            assert_eq!(flaps.changed(Timestamp(now + 1), &DAMPING), None, "held already");
            assert!(!flaps.release(Timestamp(now + hold - 1)) && flaps.release(Timestamp(now + hold)));
            now += hold;
        }
        // A window without a change, and it begins anew.
        now += 101;
        let seen: Vec<_> = (0..3).filter_map(|i| flaps.changed(Timestamp(now + i), &DAMPING)).collect();
        assert_eq!(seen, [Timestamp(now + 2 + 10)]);
        flaps.forget();
        assert_eq!(flaps.held_until(), None);
    }

    proptest! {
        #[test]
        fn slow_changes_never_hold_it_and_no_hold_is_longer_than_allowed(gaps: Vec<u8>) {
            let (mut slow, mut any, mut now) = (Flaps::default(), Flaps::default(), 0);
            for (i, gap) in gaps.iter().enumerate() {
                prop_assert_eq!(slow.changed(Timestamp(i as u64 * 51), &DAMPING), None);
                now += u64::from(*gap);
                any.release(Timestamp(now));
                if let Some(until) = any.changed(Timestamp(now), &DAMPING) {
                    prop_assert!((10..=35).contains(&(until.0 - now)));
                }
            }
        }
    }
}
