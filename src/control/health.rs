//! What is known of the health of an endpoint: of each of its subjects for itself, and of the whole. Pure.

use std::collections::BTreeMap;

use crate::probe::{Report, Subject};
use crate::steering::damping::Flaps;
use crate::steering::health::{Health, Thresholds, Transition};
use crate::time::Timestamp;

/// What probes say of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointHealth {
    parts: BTreeMap<Subject, Part>,
    /// Whether it changed too often, and is held down.
    pub flaps: Flaps,
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

    /// Takes in a report; gives the change of its subject, if it caused one.
    pub fn observe(&mut self, report: &Report, now: Timestamp, thresholds: &Thresholds) -> Option<Transition> {
        let unseen = || Part { health: Health::unknown(), seen: None };
        let part = self.parts.entry(report.subject).or_insert_with(unseen);
        part.seen = Some(report.detail.clone());
        part.health.observe(report.observation?, now, thresholds)
    }

    /// Forgets the subjects that nobody asks for any more.
    pub fn retain(&mut self, wanted: impl Fn(&Subject) -> bool) {
        self.parts.retain(|subject, _| wanted(subject));
    }

    /// Its subjects.
    pub fn parts(&self) -> impl Iterator<Item = (&Subject, &Part)> {
        self.parts.iter()
    }

    /// What it counts as for selection: up when all its subjects are, unknown ones among them, and it is not held down.
    pub fn is_up(&self) -> bool {
        self.flaps.held_until().is_none() && self.are_up()
    }

    /// Whether all its subjects are up, held down or not.
    pub fn are_up(&self) -> bool {
        self.parts.values().all(|part| part.health.is_up())
    }

    /// Up or down; `None` = unknown.
    pub fn state(&self) -> Option<bool> {
        let known = self.parts.values().filter_map(|part| part.health.state());
        known.reduce(|all, up| all && up)
    }

    /// Since when: down since the first of its subjects went down, up since the last of them came up.
    pub fn since(&self) -> Option<Timestamp> {
        let up = self.state()?;
        let parts = self.parts.values().map(|part| part.health).filter(|health| health.state() == Some(up));
        let since = parts.filter_map(|health| health.since());
        if up { since.max() } else { since.min() }
    }

    /// What was last seen: of those that are down if any is, else of all. Each is named where there are several.
    pub fn seen(&self) -> Option<String> {
        let down = !self.are_up();
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

    #[test]
    fn an_endpoint_is_up_when_all_its_subjects_are() {
        let thresholds = Thresholds { rise: 1, fall: 1 };
        let mut health = EndpointHealth::default();
        assert_eq!((health.is_up(), health.state(), health.seen()), (true, None, None));
        let see = |health: &mut EndpointHealth, address: &str, observation, detail: &str, at| {
            let report = Report {
                pool: "a.example".parse().unwrap(),
                site: "ec2".to_owned(),
                subject: Subject::Address(address.parse().unwrap()),
                observation,
                detail: detail.to_owned(),
                took: Duration::ZERO,
            };
            health.observe(&report, Timestamp(at), &thresholds)
        };
        see(&mut health, "192.0.2.1", Some(Observation::Up), "status 200", 1);
        assert_eq!((health.state(), health.seen().as_deref()), (Some(true), Some("status 200")));
        let change = see(&mut health, "2001:db8::1", Some(Observation::Down), "status 503", 2);
        assert_eq!(change.map(|c| c.up), Some(false));
        assert_eq!((health.is_up(), health.since()), (false, Some(Timestamp(2))));
        assert_eq!(health.seen().as_deref(), Some("2001:db8::1: status 503"));
        assert_eq!(see(&mut health, "2001:db8::1", None, "nothing", 3), None);
        assert!(!health.is_up(), "nothing learnt, nothing changed");
        see(&mut health, "2001:db8::1", Some(Observation::Up), "status 200", 4);
        assert_eq!((health.is_up(), health.since()), (true, Some(Timestamp(4))));
        assert_eq!(health.seen().as_deref(), Some("192.0.2.1: status 200; 2001:db8::1: status 200"));
        health.retain(|subject| *subject != Subject::Address("2001:db8::1".parse().unwrap()));
        assert_eq!(health.since(), Some(Timestamp(1)));
    }
}
