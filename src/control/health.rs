//! What is known of the health of an endpoint: of each of its subjects for itself, and of the whole. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::probe::{Report, Subject};
use crate::steering::damping::{Damping, Flaps};
use crate::steering::health::{Health, Thresholds, Transition};
use crate::steering::pool::Family;
use crate::time::Timestamp;

/// What probes say of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointHealth {
    parts: BTreeMap<Subject, Part>,
    /// Whether it changed too often, and is held down.
    flaps: Flaps,
    /// The same of a family, while the other one kept the endpoint up.
    family_flaps: BTreeMap<Family, Flaps>,
    /// Until when what was pushed holds.
    pub pushed: Option<Pushed>,
}

/// What came of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The change of its subject, if it caused one.
    pub transition: Option<Transition>,
    /// What is held down from now on, and until when: a family, or all of the endpoint.
    pub held: Vec<(Option<Family>, Timestamp)>,
}

/// For how long a value that was pushed holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// After that it is no observation any more.
    pub until: Timestamp,
    /// Whether that has come, and was told.
    pub expired: bool,
}

/// What they say of one subject.
#[derive(Clone, Debug)]
pub struct Part {
    /// By rise and fall.
    pub health: Health,
    /// What the last check saw, in words.
    pub seen: Option<String>,
}

impl EndpointHealth {
    /// Takes over what was known of a subject before a restart.
    pub fn recall(&mut self, subject: Subject, up: bool, since: Timestamp) {
        self.parts.insert(subject, Part { health: Health::recalled(up, since), seen: None });
    }

    /// Takes in a report; gives what came of it.
    pub fn observe(&mut self, report: &Report, now: Timestamp, thresholds: &Thresholds, damping: &Damping) -> Outcome {
        let unseen = || Part { health: Health::unknown(), seen: None };
        let part = self.parts.entry(report.subject).or_insert_with(unseen);
        part.seen = Some(report.detail.clone());
        let Some(observation) = report.observation else { return Outcome::default() };
        let before = (self.are_up(), Family::ALL.map(|family| self.is_family_up(Some(family))));
        let part = self.parts.entry(report.subject).or_insert_with(unseen);
        let transition = part.health.observe(observation, now, thresholds);
        let mut held = Vec::new();
        if self.are_up() == before.0 {
            for (family, was_up) in Family::ALL.into_iter().zip(before.1) {
                if self.is_family_up(Some(family)) != was_up {
                    let until = self.family_flaps.entry(family).or_default().changed(now, damping);
                    held.extend(until.map(|until| (Some(family), until)));
                }
            }
        } else {
            held.extend(self.flaps.changed(now, damping).map(|until| (None, until)));
        }
        Outcome { transition, held }
    }

    /// Until when it, or a family of it, is held down for changing too often.
    pub fn held_until(&self) -> Option<Timestamp> {
        self.flaps.held_until().or_else(|| self.family_flaps.values().filter_map(Flaps::held_until).max())
    }

    /// Whether a hold is over at `now`.
    pub fn is_release_due(&self, now: Timestamp) -> bool {
        let mut all = std::iter::once(&self.flaps).chain(self.family_flaps.values());
        all.any(|flaps| flaps.held_until().is_some_and(|until| until <= now))
    }

    /// Ends the holds whose time has come.
    pub fn release(&mut self, now: Timestamp) {
        self.flaps.release(now);
        for flaps in self.family_flaps.values_mut() {
            flaps.release(now);
        }
    }

    /// Forgets what is counted of its changes: an operator has spoken.
    pub fn forget_flaps(&mut self) {
        self.flaps.forget();
        self.family_flaps.clear();
    }

    /// Forgets the subjects that nobody asks for any more.
    pub fn retain(&mut self, wanted: impl Fn(&Subject) -> bool) {
        self.parts.retain(|subject, _| wanted(subject));
    }

    /// Its subjects.
    pub fn parts(&self) -> impl Iterator<Item = (&Subject, &Part)> {
        self.parts.iter()
    }

    /// What it counts as for selection: up when one of its families is, and it is not held down.
    pub fn is_up(&self) -> bool {
        self.flaps.held_until().is_none() && self.are_up()
    }

    /// Whether one of its families is up, held down or not.
    pub fn are_up(&self) -> bool {
        self.parts.is_empty() || self.families().any(|family| self.is_family_up(family))
    }

    /// Whether the addresses of this family are not answered, while those of the other one are: it is down, or held down.
    pub fn withdraws(&self, family: Family) -> bool {
        let held = |family| self.family_flaps.get(&family).is_some_and(|flaps| flaps.held_until().is_some());
        let is_given = |other| {
            let is_asked = self.families().any(|asked| asked == Some(other));
            is_asked && self.is_family_up(Some(other)) && !held(other)
        };
        let others = || Family::ALL.into_iter().filter(|other| *other != family);
        self.is_up() && (!self.is_family_up(Some(family)) || (held(family) && others().any(is_given)))
    }

    /// The families of its subjects; `None` is that of the endpoint as a whole.
    fn families(&self) -> impl Iterator<Item = Option<Family>> {
        let all = [None, Some(Family::Ipv4), Some(Family::Ipv6)];
        all.into_iter().filter(|family| self.parts.keys().any(|subject| subject.family() == *family))
    }

    fn of_family(&self, family: Option<Family>) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |(subject, _)| subject.family() == family).map(|(_, part)| part)
    }

    /// Whether all subjects of the family are up, unknown ones among them: its RRset is answered whole.
    fn is_family_up(&self, family: Option<Family>) -> bool {
        self.of_family(family).all(|part| part.health.is_up())
    }

    /// Up or down; `None` = unknown.
    pub fn state(&self) -> Option<bool> {
        let known = self.parts.values().any(|part| part.health.state().is_some());
        known.then(|| self.are_up())
    }

    /// Since when. A family is down since the first of its subjects went down, up since the last of them came up; the endpoint
    /// is down since the last family went down, up since the first came up.
    pub fn since(&self) -> Option<Timestamp> {
        let up = self.state()?;
        let since = |family: Option<Family>| {
            let parts = self.of_family(family).map(|part| part.health).filter(|health| health.state() == Some(up));
            let since = parts.filter_map(|health| health.since());
            if up { since.max() } else { since.min() }
        };
        let each = self.families().filter(|family| self.is_family_up(*family) == up).filter_map(since);
        if up { each.min() } else { each.max() }
    }

    /// What was last seen: of those that are down if any is, else of all. Each is named where there are several.
    pub fn seen(&self) -> Option<String> {
        let down = self.parts.values().any(|part| !part.health.is_up());
        let told = self.parts.iter().filter(|(_, part)| !down || !part.health.is_up());
        let told: Vec<String> = told
            .filter_map(|(subject, part)| {
                let seen = part.seen.as_ref()?;
                Some(if self.parts.len() == 1 { seen.clone() } else { format!("{subject}: {seen}") })
            })
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::steering::health::Observation;

    fn see(health: &mut EndpointHealth, address: &str, up: Option<bool>, detail: &str, at: u64) -> Option<Transition> {
        let report = Report {
            pool: "a.example".parse().unwrap(),
            site: "ec2".to_owned(),
            subject: Subject::Address(address.parse().unwrap()),
            observation: up.map(|up| if up { Observation::Up } else { Observation::Down }),
            detail: detail.to_owned(),
            took: Duration::ZERO,
        };
        health.observe(&report, Timestamp(at), &Thresholds { rise: 1, fall: 1 }, &Damping::default()).transition
    }

    #[test]
    fn a_family_that_flaps_is_held_down_alone() {
        let mut health = EndpointHealth::default();
        see(&mut health, "192.0.2.1", Some(true), "status 200", 1);
        for i in 0..8 {
            see(&mut health, "2001:db8::1", Some(i % 2 == 1), "status 200", 2 + i);
        }
        assert_eq!(health.held_until(), Some(Timestamp(68)), "at its seventh change");
        assert!(health.is_up() && health.withdraws(Family::Ipv6) && !health.withdraws(Family::Ipv4));
        see(&mut health, "192.0.2.1", Some(false), "connection refused", 20);
        assert!(health.is_up() && !health.withdraws(Family::Ipv6), "it is all that there is");
        see(&mut health, "192.0.2.1", Some(true), "status 200", 21);
        assert!(
            health.withdraws(Family::Ipv6)
                && !health.is_release_due(Timestamp(67))
                && health.is_release_due(Timestamp(68))
        );
        health.release(Timestamp(68));
        assert_eq!((health.withdraws(Family::Ipv6), health.held_until()), (false, None));
    }

    #[test]
    fn a_family_is_up_when_all_its_addresses_are() {
        let mut health = EndpointHealth::default();
        assert_eq!((health.is_up(), health.state(), health.seen()), (true, None, None));
        see(&mut health, "192.0.2.1", Some(true), "status 200", 1);
        assert_eq!((health.state(), health.seen().as_deref()), (Some(true), Some("status 200")));
        let change = see(&mut health, "192.0.2.2", Some(false), "status 503", 2);
        assert_eq!(change.map(|c| c.up), Some(false));
        assert_eq!((health.is_up(), health.since()), (false, Some(Timestamp(2))));
        assert!(!health.withdraws(Family::Ipv4), "it is the only one: the endpoint is down");
        assert_eq!(health.seen().as_deref(), Some("192.0.2.2: status 503"));
        assert_eq!(see(&mut health, "192.0.2.2", None, "nothing", 3), None);
        assert!(!health.is_up(), "nothing learnt, nothing changed");
        see(&mut health, "192.0.2.2", Some(true), "status 200", 4);
        assert_eq!((health.is_up(), health.since()), (true, Some(Timestamp(4))));
        assert_eq!(health.seen().as_deref(), Some("192.0.2.1: status 200; 192.0.2.2: status 200"));
        health.retain(|subject| *subject != Subject::Address("192.0.2.2".parse().unwrap()));
        assert_eq!(health.since(), Some(Timestamp(1)));
    }

    #[test]
    fn an_endpoint_is_down_when_all_its_families_are() {
        let mut health = EndpointHealth::default();
        see(&mut health, "192.0.2.1", Some(true), "status 200", 1);
        see(&mut health, "2001:db8::1", Some(false), "connection refused", 2);
        assert_eq!((health.is_up(), health.state(), health.since()), (true, Some(true), Some(Timestamp(1))));
        assert_eq!(Family::ALL.map(|family| health.withdraws(family)), [false, true]);
        assert_eq!(health.seen().as_deref(), Some("2001:db8::1: connection refused"));
        see(&mut health, "192.0.2.1", Some(false), "status 503", 3);
        assert_eq!((health.is_up(), health.since()), (false, Some(Timestamp(3))));
        assert_eq!(Family::ALL.map(|family| health.withdraws(family)), [false, false]);
        see(&mut health, "2001:db8::1", Some(true), "status 200", 4);
        assert_eq!((health.is_up(), health.since()), (true, Some(Timestamp(4))));
        assert_eq!(Family::ALL.map(|family| health.withdraws(family)), [true, false]);
        see(&mut health, "192.0.2.1", Some(true), "status 200", 5);
        assert_eq!((health.is_up(), health.since()), (true, Some(Timestamp(4))), "up since the first family came up");
        assert_eq!(Family::ALL.map(|family| health.withdraws(family)), [false, false]);
    }
}
