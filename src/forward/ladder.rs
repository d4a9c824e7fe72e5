//! The nudge ladder: how firmly a rule's stragglers are asked to leave. Pure: clock and draw come as arguments.
//!
//! Rungs are set for a rule or all, and for a class of stragglers or all, by hand or by an authority; of those that are
//! meant for a connection the one set last counts.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use crate::pairing::Rung;
use crate::pairing::{Class, Desired, SetRung};

/// A rung, and since when it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    rung: Rung,
    since: Instant,
}

impl Standing {
    pub(super) fn new(rung: Rung, since: Instant) -> Self {
        Self { rung, since }
    }

    /// The rung at `now`: one that is over has given way to [`Rung::Forward`].
    pub(super) fn rung(&self, now: Instant) -> Rung {
        match self.rung {
            Rung::RefusePart { for_secs, .. }
                if now.saturating_duration_since(self.since) >= Duration::from_secs(for_secs.into()) =>
            {
                Rung::Forward
            }
            rung => rung,
        }
    }

    /// Whether a new connection is refused.
    pub(super) fn refuses(&self, now: Instant, draw: u64) -> bool {
        match self.rung(now) {
            Rung::Refuse => true,
            Rung::RefusePart { percent, .. } => (draw as f64) < percent / 100.0 * u64::MAX as f64,
            _ => false,
        }
    }
}

/// What counts for the connections of one rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ladder {
    all: Standing,
    /// Of classes that have a rung of their own.
    classes: [Option<Standing>; Class::ALL.len()],
}

impl Ladder {
    /// For whoever has no rung of their own class.
    pub(super) fn all(&self) -> Standing {
        self.all
    }

    /// For a source; its class is asked for only where that matters.
    pub(super) fn standing(&self, class: impl FnOnce() -> Option<Class>) -> Standing {
        if self.classes.iter().all(Option::is_none) {
            return self.all;
        }
        class().and_then(|class| self.classes[class as usize]).unwrap_or(self.all)
    }
}

impl Default for Ladder {
    fn default() -> Self {
        Self { all: Standing::new(Rung::Forward, Instant::now()), classes: [None; Class::ALL.len()] }
    }
}

/// All rungs that are set, in the order in which they were; kept over a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rungs {
    /// Of the authority whose rungs are here.
    lineage: u64,
    /// The last revision of its state that was taken.
    revision: u64,
    entries: Vec<Entry>,
}

/// A rung, and since when it stands, in milliseconds since 1970. One that was set by hand has the revision 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    at_ms: i64,
    set: SetRung,
}

impl Rungs {
    /// Sets one by hand.
    pub(super) fn set(&mut self, rule: Option<String>, class: Option<Class>, ladder: Rung, now_ms: i64) {
        self.put(SetRung { set: 0, rule, class, ladder }, now_ms);
    }

    /// Takes those of an authority's state that are new; one that was set by hand since stays.
    pub(super) fn take(&mut self, desired: &Desired, now_ms: i64) {
        if desired.lineage != self.lineage {
            self.entries.retain(|entry| entry.set.set == 0);
            (self.lineage, self.revision) = (desired.lineage, 0);
        }
        for set in desired.ladder.iter().filter(|set| set.set > self.revision).cloned().collect::<Vec<_>>() {
            self.put(set, now_ms);
        }
        self.revision = self.revision.max(desired.revision);
    }

    fn put(&mut self, set: SetRung, at_ms: i64) {
        self.entries.retain(|older| !set.covers(&older.set));
        self.entries.push(Entry { at_ms, set });
    }

    /// What counts for the rule of these names.
    pub(super) fn ladder(&self, names: [&str; 2], now_ms: i64) -> Ladder {
        let meant = |entry: &&Entry| entry.set.rule.as_deref().is_none_or(|rule| names.contains(&rule));
        let standing = |entry: &Entry| {
            // A clock that went back must not make it older than it is, nor longer than it was.
            let age = Duration::from_millis(now_ms.saturating_sub(entry.at_ms).max(0) as u64);
            let now = Instant::now();
            Standing::new(entry.set.ladder, now.checked_sub(age).unwrap_or(now))
        };
        let mut ladder = Ladder::default();
        for entry in self.entries.iter().filter(meant) {
            match entry.set.class {
                Some(class) => ladder.classes[class as usize] = Some(standing(entry)),
                None => ladder = Ladder { all: standing(entry), ..Ladder::default() },
            }
        }
        ladder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brown_out_refuses_its_part_and_ends_by_itself() {
        let start = Instant::now();
        let standing = Standing::new(Rung::RefusePart { percent: 25.0, for_secs: 60 }, start);
        let refused = (0..1000_u64).filter(|i| standing.refuses(start, i * (u64::MAX / 1000))).count();
        assert!((249..=251).contains(&refused), "{refused}");
        assert!(!standing.refuses(start + Duration::from_mins(1), 0));
        let all = Standing::new(Rung::RefusePart { percent: 0.0, for_secs: 1 }, start);
        assert!(!all.refuses(start, 0));
    }

    #[test]
    fn the_last_rung_that_is_meant_counts() {
        let (now, mut rungs) = (Instant::now(), Rungs::default());
        let of = |rungs: &Rungs, rule, class| rungs.ladder([rule, "0.0.0.0:80"], 0).standing(|| class).rung(now);
        rungs.set(Some("web".to_owned()), None, Rung::Refuse, 0);
        assert_eq!((of(&rungs, "web", None), of(&rungs, "app", None)), (Rung::Refuse, Rung::Forward));
        let old = Rung::CapLife { age_secs: 9 };
        rungs.set(None, Some(Class::Stays), old, 0);
        assert_eq!(of(&rungs, "web", Some(Class::Stays)), old);
        assert_eq!(of(&rungs, "web", Some(Class::Cached)), Rung::Refuse);
        rungs.set(Some("0.0.0.0:80".to_owned()), None, Rung::Forward, 0);
        assert_eq!(of(&rungs, "web", Some(Class::Stays)), Rung::Forward, "it came last and is for all classes");
        rungs.set(None, None, Rung::Forward, 0);
        assert_eq!(rungs.entries.len(), 1);
    }

    #[test]
    fn an_authority_sets_each_rung_once_and_what_was_done_by_hand_since_stays() {
        let set = |set, ladder| SetRung { set, rule: None, class: None, ladder };
        let state = |lineage, revision, ladder| Desired { lineage, revision, ladder, ..Desired::default() };
        let (now, mut rungs) = (Instant::now(), Rungs::default());
        let of = |rungs: &Rungs, now_ms| rungs.ladder(["web", "web"], now_ms).all().rung(now);
        rungs.take(&state(7, 2, vec![set(2, Rung::Refuse)]), 0);
        rungs.set(None, None, Rung::Forward, 0);
        rungs.take(&state(7, 3, vec![set(2, Rung::Refuse)]), 0);
        assert_eq!(of(&rungs, 0), Rung::Forward);
        rungs.take(&state(7, 4, vec![set(4, Rung::RefusePart { percent: 5.0, for_secs: 60 })]), 0);
        assert_ne!(of(&rungs, 59_000), Rung::Forward);
        assert_eq!(of(&rungs, 61_000), Rung::Forward, "it is over, also after a restart");
        assert_ne!(of(&rungs, -61_000), Rung::Forward, "a clock that jumped back makes it begin anew at most");
        rungs.take(&state(8, 1, Vec::new()), 0);
        assert_eq!(rungs.entries, [], "another authority");
    }
}
