//! What a forwarder and its authority say to each other, as plain data. Both sides import it, and it imports neither.
//!
//! Down goes a stream of [`Said`], one JSON object a line: the state that is wanted at once, then each change. Up come
//! [`Report`]s: what was applied, how the rules are, and who comes. All counts of a report are totals since the forwarder
//! started, so one that arrives twice counts once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Between two lines of the stream when nothing changes.
pub const ALIVE: Duration = Duration::from_secs(15);
/// Between two lines while connections are held.
pub const ALIVE_HELD: Duration = Duration::from_secs(1);
/// A stream that says nothing for so many times as long as it should is dead.
pub const PATIENCE: u32 = 3;
/// The most sources in one report: it stays well below the megabyte that the API takes.
pub const SOURCES_IN_REPORT: usize = 2000;
/// The most networks that the stream tells classes of; sources beyond count to the default class.
pub const NETWORKS: usize = 20_000;

/// What kind of straggler a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A cache may still hold the old answer.
    Cached,
    /// Its resolver was told the new answer, or it keeps an old connection: the client stays.
    Stays,
    /// It never asked here: an address that is written somewhere, or a resolver that others ask for it.
    NeverAsked,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cached, Self::Stays, Self::NeverAsked];
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cached => "cached",
            Self::Stays => "stays",
            Self::NeverAsked => "never-asked",
        })
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|class| class.to_string() == text);
        known.ok_or_else(|| format!("{text:?} is no class: there are cached, stays and never-asked"))
    }
}

/// A rung of the nudge ladder, as it is said in commands too; taken back at once by setting [`Rung::Forward`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "kebab-case", tag = "rung", deny_unknown_fields)]
pub enum Rung {
    /// Forward everything: takes back every other rung at once
    #[default]
    Forward,
    /// Close connections of this age when they stand still for a second
    CloseIdle {
        /// Age in seconds
        age_secs: u32,
    },
    /// Close connections of this age
    CapLife {
        /// Age in seconds
        age_secs: u32,
    },
    /// Refuse a part of new connections for a while
    RefusePart {
        /// 0 to 100
        percent: f64,
        /// Seconds, then everything is forwarded again
        for_secs: u32,
    },
    /// Refuse new connections
    Refuse,
}

impl Rung {
    /// How long a connection must stand still to count as idle: longer than a server's thinking mostly takes.
    pub const STILL: Duration = Duration::from_secs(1);

    /// Why it can't be set, if so.
    pub fn mistake(&self) -> Option<String> {
        match self {
            Self::RefusePart { percent, .. } if !(0.0..=100.0).contains(percent) => {
                Some(format!("{percent} is no percentage: expected 0 to 100"))
            }
            Self::RefusePart { for_secs: 0, .. } => Some("for 0 seconds is not at all".to_owned()),
            _ => None,
        }
    }

    /// What of it is left after so many seconds: a brown-out that is over has given way to [`Rung::Forward`].
    pub fn after_secs(self, secs: u64) -> Self {
        match self {
            Self::RefusePart { percent, for_secs } => match u64::from(for_secs).checked_sub(secs) {
                Some(left) if left > 0 => Self::RefusePart { percent, for_secs: left as u32 },
                _ => Self::Forward,
            },
            rung => rung,
        }
    }
}

/// How connections are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Terms {
    /// After so many seconds the hold is over by itself: 1 to 30.
    pub secs: u32,
    /// So many connections wait at most, for each rule.
    pub most: u32,
    /// What becomes of those beyond.
    pub beyond: Beyond,
    /// Connections let go in a second, for each rule; 0: all at once.
    pub rate: u32,
}

/// What becomes of a connection that finds too many waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beyond {
    /// It is refused.
    #[default]
    Refuse,
    /// It is forwarded as if nothing were held.
    Pass,
}

impl Terms {
    /// Longer than a database's switch of its primary takes, shorter than a browser's patience.
    pub const SECS: u32 = 10;
    /// Beyond that most clients have given up, and those that have not come back all at once.
    pub const MOST_SECS: u32 = 30;

    /// Why they can't be taken, if so.
    pub fn mistake(&self) -> Option<String> {
        let secs = self.secs;
        (secs == 0 || secs > Self::MOST_SECS)
            .then(|| format!("{secs} seconds can't be held: expected 1 to {}", Self::MOST_SECS))
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self { secs: Self::SECS, most: 1000, beyond: Beyond::Refuse, rate: 0 }
    }
}

/// A line of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// The state that is wanted, in full: the first line, and one for each change.
    State(Desired),
    /// All holds in force that began while this stream was open. One that is missing is released.
    Holds(Vec<Hold>),
    /// The classes of sources, in full.
    Classes(Classes),
    /// Nothing has changed.
    Alive,
}

/// What a forwarder shall do, in full.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// Drawn when the authority came to know the forwarder: revisions of different lineages can't be compared.
    pub lineage: u64,
    /// Counts the changes. An older one is never applied.
    pub revision: u64,
    /// By the rule's name or listen address.
    #[serde(default)]
    pub rules: BTreeMap<String, RuleWish>,
    /// Rungs in the order in which they were set; the last one that is meant for a connection counts.
    #[serde(default)]
    pub ladder: Vec<SetRung>,
}

/// What of a rule the authority decides; the forwarder's own settings say the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleWish {
    /// Where its connections go; empty: as the forwarder is set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetWish>,
    /// The pool whose stragglers come by it; `None`: as the forwarder is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The site that they come to; `None`: as the forwarder is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

/// A target and its part of the connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetWish {
    /// `HOST:PORT`.
    pub target: String,
    /// Its part of the sum of weights.
    #[serde(default = "TargetWish::weight")]
    pub weight: u32,
}

impl TargetWish {
    fn weight() -> u32 {
        100
    }
}

/// A rung, and whom it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetRung {
    /// The revision that set it.
    pub set: u64,
    /// By name or listen address; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// `None`: all, also sources that no class is known of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The rung.
    pub ladder: Rung,
}

impl SetRung {
    /// Whether whoever `other` is for, this is for too.
    pub fn covers(&self, other: &Self) -> bool {
        (self.rule.is_none() || self.rule == other.rule) && (self.class.is_none() || self.class == other.class)
    }
}

/// A hold in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The revision that began it.
    pub number: u64,
    /// By name or listen address; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How.
    pub terms: Terms,
}

/// Which class a source belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// Of sources in no network below; `None`: it isn't known.
    pub default: Option<Class>,
    /// Networks by class; the longest that holds a source counts.
    #[serde(default)]
    pub networks: BTreeMap<Class, Vec<IpNet>>,
}

/// What a forwarder tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Drawn at its start: counts begin at 0 then.
    pub run: u64,
    /// Counts the reports of this run, from 1 on.
    pub seq: u64,
    /// The forwarder's clock, in milliseconds since 1970: the authority's may be another one.
    #[serde(default)]
    pub now_ms: i64,
    /// Of the program.
    pub version: String,
    /// Which state is in force; `None`: none of an authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// What of it can't be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// In the order of its settings.
    #[serde(default)]
    pub rules: Vec<RuleReport>,
    /// Pool and site of rules, named by their place in [`SourceReport::belongs`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub belongs: Vec<Belongs>,
    /// Sources that have changed since they were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceReport>,
    /// Connections of sources beyond those that are counted one by one.
    #[serde(default)]
    pub others: u64,
}

/// Which state is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// See [`Desired::lineage`].
    pub lineage: u64,
    /// See [`Desired::revision`].
    pub revision: u64,
}

/// How a rule does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Its name, or where it listens.
    pub rule: String,
    /// Where it listens.
    pub listen: String,
    /// Connections open now.
    pub open: u64,
    /// Whether new connections are held.
    pub held: bool,
    /// Connections that wait.
    pub waiting: u32,
    /// Clients that gave up while they waited.
    pub gave_up: u64,
    /// Connections refused as too many waited.
    pub refused: u64,
    /// The rung in force for whoever has no rung of their own class.
    pub ladder: Rung,
    /// Where connections go.
    pub targets: Vec<String>,
}

/// What a rule belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Belongs {
    /// The pool's owner name.
    pub pool: String,
    /// The site whose clients come by the rule.
    pub site: String,
}

/// What is known of one source, as totals of this run. Instants are milliseconds since 1970 by the forwarder's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Its address.
    pub address: IpAddr,
    /// Which of [`Report::belongs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub belongs: Option<u16>,
    /// Connections that were let in.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Octets taken from it.
    pub bytes_up: u64,
    /// Octets taken from the target for it.
    pub bytes_down: u64,
    /// When its first connection came.
    pub first_ms: i64,
    /// When it last opened or closed a connection, or octets passed.
    pub last_ms: i64,
    /// When its newest connection came.
    pub opened_ms: i64,
    /// When its oldest open connection came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
    /// Ports that it came to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Hosts that it wanted, the last first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// What the authority says to a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The number of the report.
    pub seq: u64,
    /// The authority lacks reports before this one, since it was started anew say: all sources are to be told again.
    pub resend: bool,
}

/// Why this can't be a forwarder's name, if so. It stands in paths, metrics and commands.
pub fn name_mistake(name: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let good = (1..=63).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('.');
    (!good).then(|| {
        format!("{name:?} is no name of a forwarder: 1 to 63 letters a-z, digits, \"-\", \"_\" or \".\" (not first)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let state = Desired {
            lineage: u64::MAX,
            revision: 7,
            rules: [("web".to_owned(), RuleWish { pool: Some("www.example.org".to_owned()), ..RuleWish::default() })]
                .into(),
            ladder: vec![SetRung {
                set: 7,
                rule: None,
                class: Some(Class::NeverAsked),
                ladder: Rung::CloseIdle { age_secs: 600 },
            }],
        };
        let classes = Classes {
            default: Some(Class::Stays),
            networks: [(Class::Cached, vec!["192.0.2.0/24".parse().unwrap()])].into(),
        };
        let hold = Hold { number: 7, rule: None, terms: Terms::default() };
        for said in [Said::State(state), Said::Classes(classes), Said::Holds(vec![hold]), Said::Alive] {
            let text = serde_json::to_string(&said).unwrap();
            assert_eq!(serde_json::from_str::<Said>(&text).unwrap(), said, "{text}");
        }
        assert_eq!(serde_json::to_string(&Said::Alive).unwrap(), r#""alive""#);
    }

    #[test]
    fn rungs_are_written_in_their_own_words() {
        let text = serde_json::to_string(&Rung::CloseIdle { age_secs: 600 }).unwrap();
        assert_eq!(text, r#"{"rung":"close-idle","age_secs":600}"#);
        let read: Rung = serde_json::from_str(r#"{"rung":"refuse-part","percent":5,"for_secs":9}"#).unwrap();
        assert_eq!(read, Rung::RefusePart { percent: 5.0, for_secs: 9 });
        assert!(serde_json::from_str::<Rung>(r#"{"rung":"refuse-all"}"#).is_err());
        assert!(Rung::RefusePart { percent: 101.0, for_secs: 9 }.mistake().is_some());
        assert_eq!(read.after_secs(4), Rung::RefusePart { percent: 5.0, for_secs: 5 });
        assert_eq!(read.after_secs(9), Rung::Forward);
        assert_eq!(Rung::Refuse.after_secs(9), Rung::Refuse);
    }

    #[test]
    fn names_need_no_quotes() {
        assert_eq!(name_mistake("old-web-1.ec2"), None);
        for bad in ["", "a b", "..", "A", "a/b", &"a".repeat(64)] {
            assert!(name_mistake(bad).is_some(), "{bad}");
        }
    }
}
