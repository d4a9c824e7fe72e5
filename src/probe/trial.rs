//! A probe tried once, now, so that an operator sees what it does before the night.

use super::check::Check;
use super::{Phase, Subject, Target};

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What was asked.
    pub subject: Subject,
    /// The phases that it got through.
    pub phases: Vec<Phase>,
    /// What was seen, or what was not as it should be.
    pub outcome: Result<String, String>,
}

/// Carries out each check of `target` once, one after the other.
pub async fn try_once(target: &Target) -> Vec<Trial> {
    let mut trials = Vec::new();
    for check in Check::all_of(target) {
        let (phases, outcome) = check.watch().await;
        let outcome = outcome.map_err(|failure| failure.to_string());
        trials.push(Trial { subject: check.subject(), phases, outcome });
    }
    trials
}
