//! The forwarders that this server leads: what each shall do, and how it does.
//!
//! What is wanted is decided by [`change`], made durable and audited by the one writer, and put up in the [`Forwarders`],
//! where streams take it from. What forwarders report goes there too and passes by the writer: a thousand of them are no
//! burden to it. Holds are not stored: a hold ends when the connection to the authority dies.

mod board;
mod stragglers;
mod stream;
mod watch;

pub use board::{Condition, Forwarders, Member};
pub use stragglers::{Known, Stragglers, Summary};
pub use stream::Listening;
pub use watch::watch;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::error::{ControlError, Fault};
use crate::pairing::{Class, Desired, RuleWish, Rung, SetRung, Terms, name_mistake};
use crate::time::Timestamp;

/// The most rules that an authority decides of for one forwarder.
const RULES: usize = 256;

/// A forwarder named in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// SHA-256 of its token, in hexadecimal digits; `None`: as `waypost forwarder add` made it.
    pub token_sha256: Option<String>,
}

/// What is wanted of a forwarder, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// See [`Desired::lineage`].
    pub lineage: u64,
    /// See [`Desired::revision`].
    pub revision: u64,
    /// SHA-256 of its token, in hexadecimal digits.
    pub token_sha256: Option<String>,
    /// Since when it is known.
    pub added_at: Timestamp,
    /// By the rule's name or listen address.
    pub rules: BTreeMap<String, RuleWish>,
    /// In the order in which they were set, with the instant.
    pub ladder: Vec<(Timestamp, SetRung)>,
}

impl Wanted {
    /// A forwarder that is new at `now`.
    pub fn new(lineage: u64, now: Timestamp) -> Self {
        Self { lineage, revision: 1, token_sha256: None, added_at: now, rules: BTreeMap::new(), ladder: Vec::new() }
    }

    /// What the forwarder is told at `now`. Of a brown-out it is told what is left.
    pub fn desired(&self, now: Timestamp) -> Desired {
        let left =
            |(at, set): &(Timestamp, SetRung)| SetRung { ladder: set.ladder.after_secs(now.since(*at)), ..set.clone() };
        Desired {
            lineage: self.lineage,
            revision: self.revision,
            rules: self.rules.clone(),
            ladder: self.ladder.iter().map(left).collect(),
        }
    }
}

/// A change of what is wanted of a forwarder, as the audit keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    /// It is new.
    Add,
    /// It has another token.
    Token,
    /// It is no longer led.
    Remove,
    /// New connections wait.
    Hold {
        /// `None`: of all rules.
        rule: Option<String>,
        /// How.
        terms: Terms,
    },
    /// What waits goes on.
    Release {
        /// `None`: of all rules.
        rule: Option<String>,
    },
    /// A rung of the ladder.
    Ladder {
        /// `None`: all rules.
        rule: Option<String>,
        /// `None`: all sources.
        class: Option<Class>,
        /// The rung.
        ladder: Rung,
    },
    /// What the authority decides of a rule.
    Rule {
        /// By name or listen address.
        rule: String,
        /// `None`: nothing any more.
        wish: Option<RuleWish>,
    },
}

/// One change, as the audit keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The forwarder.
    pub forwarder: String,
    /// The revision of its state that the change made.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// Why, in the author's words.
    pub reason: Option<String>,
    /// What.
    pub change: Change,
}

/// A change of a forwarder was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The forwarder.
    pub forwarder: String,
    /// The revision of its state.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Its new token. It is told this once and kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whether it is connected, so that it knows of it already.
    pub connected: bool,
    /// What the operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What is wanted after `change`. `draw` is uniform over all of `u64`.
///
/// # Errors
/// That it can't be made; what is wrong with it, all at once.
pub fn change(
    name: &str,
    before: Option<&Wanted>,
    change: &Change,
    draw: u64,
    now: Timestamp,
) -> Result<Option<Wanted>, ControlError> {
    let faults = faults(name, change);
    if !faults.is_empty() {
        return Err(ControlError::Invalid(faults));
    }
    let Some(before) = before else {
        return match change {
            Change::Add => Ok(Some(Wanted::new(draw, now))),
            _ => Err(ControlError::NotFound(format!(
                "there is no forwarder {name:?}; GET /api/v1/forwarders lists them, `waypost forwarder add` makes one"
            ))),
        };
    };
    let mut after = Wanted { revision: before.revision + 1, ..before.clone() };
    match change {
        // One that the configuration names waits for its token.
        Change::Add if before.token_sha256.is_none() => {}
        Change::Add => {
            return Err(ControlError::Conflict(format!(
                "there is a forwarder {name:?} already; `waypost forwarder token {name}` gives it a new token"
            )));
        }
        Change::Token | Change::Hold { .. } | Change::Release { .. } => {}
        Change::Remove => return Ok(None),
        Change::Ladder { rule, class, ladder } => {
            let set = SetRung { set: after.revision, rule: rule.clone(), class: *class, ladder: *ladder };
            after.ladder.retain(|(_, older)| !set.covers(older));
            after.ladder.push((now, set));
        }
        Change::Rule { rule, wish } => {
            match wish {
                Some(wish) => _ = after.rules.insert(rule.clone(), wish.clone()),
                None => _ = after.rules.remove(rule),
            }
            if after.rules.len() > RULES {
                return Err(ControlError::Conflict(format!("{RULES} rules are decided here for {name} already")));
            }
        }
    }
    if after.ladder.len() > RULES * (Class::ALL.len() + 1) {
        return Err(ControlError::Conflict(format!("too many rungs are set for {name}: set one for all rules first")));
    }
    Ok(Some(after))
}

fn faults(name: &str, change: &Change) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(mistake) = name_mistake(name) {
        faults.push(Fault::new("/name", mistake));
    }
    match change {
        Change::Hold { terms, .. } => faults.extend(terms.mistake().map(|m| Fault::new("/secs", m))),
        Change::Ladder { ladder, .. } => faults.extend(ladder.mistake().map(|m| Fault::new("/ladder", m))),
        Change::Rule { rule, wish } => {
            if rule.is_empty() || rule.len() > 255 {
                faults.push(Fault::new("", format!("{rule:?} is no rule's name")));
            }
            let targets = wish.iter().flat_map(|wish| wish.targets.iter().enumerate());
            for (i, target) in targets {
                let parts = target.target.rsplit_once(':');
                if !parts.is_some_and(|(host, port)| !host.is_empty() && port.parse().is_ok_and(|port: u16| port > 0)) {
                    let told = format!("{:?} is no target: expected HOST:PORT", target.target);
                    faults.push(Fault::new(format!("/targets/{i}/target"), told));
                }
                if target.weight > 1_000_000 {
                    let told = format!("{} is no weight: expected 0 to 1000000", target.weight);
                    faults.push(Fault::new(format!("/targets/{i}/weight"), told));
                }
            }
            let nothing = |wish: &RuleWish| !wish.targets.is_empty() && wish.targets.iter().all(|t| t.weight == 0);
            if wish.as_ref().is_some_and(nothing) {
                faults.push(Fault::new("/targets", "at least one target needs a weight above 0"));
            }
        }
        Change::Add | Change::Token | Change::Remove | Change::Release { .. } => {}
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairing::TargetWish;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn ladder(rule: Option<&str>, class: Option<Class>, ladder: Rung) -> Change {
        Change::Ladder { rule: rule.map(ToOwned::to_owned), class, ladder }
    }

    fn apply(wanted: &Wanted, what: &Change) -> Wanted {
        change("old-web-1", Some(wanted), what, 0, NOW).unwrap().unwrap()
    }

    #[test]
    fn each_change_counts_and_only_the_first_needs_nothing() {
        assert!(matches!(
            change("x", None, &Change::Token, 9, NOW),
            Err(ControlError::NotFound(why)) if why.contains("forwarder add")
        ));
        let new = change("x", None, &Change::Add, 9, NOW).unwrap().unwrap();
        assert_eq!((new.lineage, new.revision), (9, 1));
        let with_token = Wanted { token_sha256: Some("00".to_owned()), ..new.clone() };
        assert!(matches!(change("x", Some(&with_token), &Change::Add, 9, NOW), Err(ControlError::Conflict(_))));
        assert_eq!(apply(&new, &Change::Token).revision, 2);
        assert_eq!(change("x", Some(&new), &Change::Remove, 9, NOW), Ok(None));
    }

    #[test]
    fn a_rung_takes_the_place_of_those_that_it_covers() {
        let mut wanted = Wanted::new(1, NOW);
        for step in [
            ladder(Some("web"), None, Rung::Refuse),
            ladder(Some("web"), Some(Class::Stays), Rung::CapLife { age_secs: 9 }),
            ladder(None, Some(Class::Stays), Rung::CloseIdle { age_secs: 9 }),
        ] {
            wanted = apply(&wanted, &step);
        }
        let kept: Vec<_> = wanted.ladder.iter().map(|(_, set)| (set.set, set.class)).collect();
        assert_eq!(kept, [(2, None), (4, Some(Class::Stays))]);
        wanted = apply(&wanted, &ladder(None, None, Rung::Forward));
        assert_eq!(wanted.ladder.len(), 1, "all is taken back");
    }

    #[test]
    fn of_a_brown_out_only_what_is_left_is_told() {
        let wanted = apply(&Wanted::new(1, NOW), &ladder(None, None, Rung::RefusePart { percent: 5.0, for_secs: 60 }));
        let told = |after| wanted.desired(NOW.after(after)).ladder[0].ladder;
        assert_eq!(told(20), Rung::RefusePart { percent: 5.0, for_secs: 40 });
        assert_eq!(told(60), Rung::Forward);
        assert_eq!(wanted.desired(NOW.before(60)).ladder[0].ladder, told(0), "a clock that jumped back adds nothing");
    }

    #[test]
    fn mistakes_are_told_together() {
        let target = |target: &str, weight| TargetWish { target: target.to_owned(), weight };
        let wish = RuleWish { targets: vec![target("a", 1), target("b:80", 2_000_000)], ..RuleWish::default() };
        let Err(ControlError::Invalid(faults)) =
            change("A", None, &Change::Rule { rule: String::new(), wish: Some(wish) }, 0, NOW)
        else {
            panic!("it is refused");
        };
        assert_eq!(faults.len(), 4, "{faults:?}");
    }
}
