//! An RRset of a zone whose TTL is planned: it is answered as the zone has it, at a TTL that counts down to a cutover, stays low
//! after a change and grows back, as a pool's does; and it is known when no cache can hold it any more as it was.
//!
//! Nobody says when such an RRset changes: a file that is read again does, or an update. So it is looked at whenever its zone has
//! changed, and told by a digest of its RDATA.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dns::{Name, Rtype, Ttl};
use crate::steering::ttl::{Approach, Change, Cutover, TtlPolicy, largest_ttl, largest_ttl_within};
use crate::time::Timestamp;

/// Which RRset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RrsetKey {
    /// Its owner name, maybe a wildcard.
    pub name: Name,
    /// Its type.
    #[serde(rename = "type")]
    pub rtype: Rtype,
}

impl fmt::Display for RrsetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.rtype)
    }
}

/// A planned RRset as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which.
    pub key: RrsetKey,
    /// Its TTLs; a `normal` of [`Ttl::MAX`] is the RRset's own. That one is never exceeded.
    pub ttl: TtlPolicy,
}

/// What a query for it is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    /// The RRset.
    Rrset,
    /// Nothing: it is not there, or its name is not.
    Nothing,
    /// What stands in its place, and is not counted: a wildcard's RRset, a CNAME, a DNAME, a referral.
    Other,
}

/// What its zone says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What it is answered with.
    pub answered: Answered,
    /// Of that and its RDATA.
    pub digest: u64,
    /// The zone's TTL of it; of nothing, that of negative answers.
    pub ttl: Ttl,
}

/// What became of it since it is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Since when it is planned: of changes before that nothing is known.
    pub since: Timestamp,
    /// As it is now; `None`: its zone could never be read.
    pub seen: Option<Seen>,
    /// The change that is planned.
    pub cutover: Option<Cutover>,
    /// The last change of what is answered.
    pub change: Option<Change>,
    /// The normal TTL in force: after an unclean stop it bounds what had been served.
    pub normal: Ttl,
    /// The low TTL in force, which says how fast a TTL grew after a change.
    pub low: Ttl,
}

/// What a look at it has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is as it was.
    Same,
    /// Its TTL is another one, or its policy.
    Ttl,
    /// It is another one, or has come or gone. A cutover that this is ahead of stands.
    Changed {
        /// What it was.
        before: Seen,
        /// The cutover that stands.
        ahead_of: Option<Timestamp>,
    },
}

impl State {
    /// Of one that nothing is known of, planned since `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { since: now, seen: None, cutover: None, change: None, normal: Ttl::ZERO, low: Ttl::ZERO }
    }

    /// The TTLs in force now that `configured` are those of the configuration: never above the zone's.
    pub fn policy(&self, configured: &TtlPolicy) -> TtlPolicy {
        configured.within(self.seen.map_or(Ttl::ZERO, |seen| seen.ttl))
    }

    /// Takes in what the zone says now, with these TTLs configured. A change is confirmed at once, and ends a cutover that has
    /// come, or is so close that the countdown is at its end.
    pub fn see(&mut self, seen: Seen, configured: &TtlPolicy, now: Timestamp) -> Turn {
        let old = self.seen.replace(seen);
        let policy = self.policy(configured);
        let (was, now_in_force) = ((self.normal, self.low), (policy.normal, policy.low));
        (self.normal, self.low) = now_in_force;
        match old {
            Some(before) if before.digest != seen.digest => {
                self.change = Some(Change { at: now, confirmed: Some(now) });
                let lowest = u64::from(was.1.max(policy.low).secs());
                self.cutover = self.cutover.filter(|cutover| now.after(lowest) < cutover.at);
                Turn::Changed { before, ahead_of: self.cutover.map(|cutover| cutover.at) }
            }
            Some(before) if before == seen && was == now_in_force => Turn::Same,
            _ => Turn::Ttl,
        }
    }

    /// The largest TTL that any client is given now.
    pub fn largest_ttl(&self, configured: &TtlPolicy, now: Timestamp) -> Ttl {
        match self.seen {
            Some(Seen { answered: Answered::Other, ttl, .. }) => ttl,
            _ => largest_ttl(&self.policy(configured), self.cutover.as_ref(), self.change.as_ref(), now),
        }
    }

    /// The most that any client may have been given under this state at any instant of `from..=until`. `configured` are today's
    /// TTLs; where the state was made under others, the larger normal one bounds it.
    pub fn largest_ttl_within(&self, configured: &TtlPolicy, from: Timestamp, until: Timestamp) -> Ttl {
        if let Some(Seen { answered: Answered::Other, ttl, .. }) = self.seen {
            return ttl;
        }
        let policy = self.policy(configured);
        if (policy.normal, policy.low) != (self.normal, self.low) {
            return self.normal.max(policy.normal);
        }
        // How it went down before a cutover may have been said otherwise then: this is the most that it could be.
        let policy = &TtlPolicy { mode: Approach::Countdown, max_wait: None, ..policy };
        largest_ttl_within(policy, self.cutover.as_ref(), self.change.as_ref(), from, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp(1_800_000_000);

    fn configured() -> TtlPolicy {
        let low = Ttl::from_secs(60);
        let (mode, max_wait) = (Approach::Countdown, None);
        TtlPolicy { normal: Ttl::MAX, low, spread_secs: 120, mode, max_wait, by_health: false }
    }

    fn seen(digest: u64, ttl: u64) -> Seen {
        Seen { answered: Answered::Rrset, digest, ttl: Ttl::from_secs(ttl) }
    }

    #[test]
    fn its_own_ttl_is_never_exceeded() {
        let mut state = State::new(T);
        assert_eq!(state.see(seen(1, 3600), &configured(), T), Turn::Ttl, "the first look is no change");
        let policy = state.policy(&configured());
        assert_eq!((policy.normal.secs(), policy.low.secs(), policy.spread_secs), (3600, 60, 120));
        assert_eq!(state.see(seen(1, 3600), &configured(), T), Turn::Same);
        assert_eq!((state.see(seen(1, 50), &configured(), T), state.change), (Turn::Ttl, None));
        let policy = state.policy(&configured());
        assert_eq!((policy.normal.secs(), policy.low.secs(), policy.spread_secs), (50, 50, 25));
    }

    #[test]
    fn a_change_ends_the_cutover_that_has_come() {
        let mut state = State::new(T);
        state.see(seen(1, 3600), &configured(), T);
        let cutover = Some(Cutover { at: T.after(1000) });
        state.cutover = cutover;
        let ahead = state.see(seen(2, 3600), &configured(), T.after(939));
        assert_eq!(ahead, Turn::Changed { before: seen(1, 3600), ahead_of: Some(T.after(1000)) });
        assert_eq!(state.cutover, cutover);
        let planned = state.see(seen(3, 3600), &configured(), T.after(940));
        assert_eq!((planned, state.cutover), (Turn::Changed { before: seen(2, 3600), ahead_of: None }, None));
        assert_eq!(state.largest_ttl(&configured(), T.after(940)).secs(), 60, "it is low now");
        assert_eq!(state.change, Some(Change { at: T.after(940), confirmed: Some(T.after(940)) }));
    }

    #[test]
    fn what_nobody_counts_bounds_by_its_own_ttl() {
        let mut state = State::new(T);
        let other = Seen { answered: Answered::Other, ..seen(1, 900) };
        state.see(other, &configured(), T);
        state.cutover = Some(Cutover { at: T.after(10) });
        let largest = state.largest_ttl_within(&configured(), T, T.after(5));
        assert_eq!((largest.secs(), state.largest_ttl(&configured(), T).secs()), (900, 900));
    }
}
