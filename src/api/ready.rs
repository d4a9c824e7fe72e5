//! Whether the server is ready: it is as soon as it answers queries, even from a zone's last good copy or with the writer
//! gone. What is not as it should be is listed all the same.

use serde::Serialize;

use crate::control::message::{Status, ZoneState};

/// The answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether queries are being answered.
    pub ready: bool,
    /// What was looked at; of the zones those that are not as their file says.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `dns`, `control`, `probes` (where they stand still), `clock` (where it is not kept in step), `zone NAME`.
    pub name: String,
    /// How it is.
    pub state: CheckState,
    /// In words.
    pub detail: String,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// It works, though not as it should.
    Degraded,
    /// It does not work.
    Failing,
}

/// Judges. `status` is `None` when the writer does not answer.
pub fn readiness(serving: bool, status: Option<&Status>) -> Readiness {
    let check = |name: &str, state, detail: &str| Check { name: name.to_owned(), state, detail: detail.to_owned() };
    let mut checks = vec![
        if serving {
            check("dns", CheckState::Ok, "queries are being answered")
        } else {
            check("dns", CheckState::Failing, "queries are not yet, or no longer, being answered")
        },
        match status.map(|s| &s.store_problem) {
            Some(None) => check("control", CheckState::Ok, "changes can be made"),
            Some(Some(why)) => {
                check("control", CheckState::Failing, &format!("no changes can be made, the store takes none: {why}"))
            }
            None => check("control", CheckState::Failing, "no changes can be made; the last state is served"),
        },
    ];
    if let Some(since) = status.and_then(|s| s.prober_dead_since) {
        let detail = format!("nobody probes since {since}: health stays as it was then");
        checks.push(check("probes", CheckState::Degraded, &detail));
    }
    if let Some(since) = status.and_then(|s| s.clock.unsynchronised_since) {
        let detail =
            format!("not kept in step, as seen since {since}: cutovers, deadlines and horizons are as wrong as it is");
        checks.push(check("clock", CheckState::Degraded, &detail));
    }
    for zone in status.into_iter().flat_map(|s| &s.zones) {
        let (state, how) = match zone.state {
            ZoneState::Current => continue,
            ZoneState::LastGood => (CheckState::Degraded, "the last good copy is served"),
            ZoneState::Unloaded => (CheckState::Failing, "never loaded: it is answered with SERVFAIL"),
            ZoneState::Awaited => (CheckState::Failing, "never transferred: it is answered with SERVFAIL"),
            ZoneState::Expired => (CheckState::Failing, "expired: it is answered with SERVFAIL"),
        };
        let detail = zone.problem.as_ref().map_or(how.to_owned(), |problem| format!("{how}: {problem}"));
        checks.push(Check { name: format!("zone {}", zone.name), state, detail });
    }
    Readiness { ready: serving, checks }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::metrics::tests::status;

    #[test]
    fn ready_as_soon_as_queries_are_answered() {
        assert!(readiness(true, Some(&status())).ready);
        assert!(readiness(true, None).ready, "the data plane needs no writer");
        assert!(!readiness(false, Some(&status())).ready);
        assert_eq!(readiness(true, None).checks[1].state, CheckState::Failing);
    }

    #[test]
    fn probes_that_stand_still_are_told() {
        let mut status = status();
        status.prober_dead_since = Some(status.now);
        let readiness = readiness(true, Some(&status));
        assert!(readiness.ready, "health is frozen, answers are not");
        assert_eq!((&*readiness.checks[2].name, readiness.checks[2].state), ("probes", CheckState::Degraded));
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_told() {
        let mut status = status();
        status.clock.unsynchronised_since = Some(status.now);
        let readiness = readiness(true, Some(&status));
        assert!(readiness.ready);
        assert_eq!((&*readiness.checks[2].name, readiness.checks[2].state), ("clock", CheckState::Degraded));
    }

    #[test]
    fn a_zone_that_is_not_current_is_named() {
        let mut status = status();
        assert_eq!(readiness(true, Some(&status)).checks.len(), 2);
        status.zones[0].state = ZoneState::LastGood;
        status.zones[0].problem = Some("line 3: what is this".to_owned());
        let readiness = readiness(true, Some(&status));
        assert!(readiness.ready);
        assert_eq!(readiness.checks[2].name, "zone example.org");
        assert_eq!(readiness.checks[2].detail, "the last good copy is served: line 3: what is this");
    }
}
