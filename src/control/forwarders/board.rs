//! Where what is wanted of each forwarder is put up, and what each reports is kept. Shared by the writer, which alone
//! changes what is wanted, and the API.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Listening, Stragglers, Wanted};
use crate::pairing::{Applied, Belongs, Classes, Desired, Hold, Report, RuleReport};
use crate::time::Timestamp;

/// All forwarders that are led from here.
#[derive(Default)]
pub struct Forwarders {
    members: RwLock<BTreeMap<String, Arc<Member>>>,
    /// Who comes to them.
    pub stragglers: Stragglers,
}

impl Forwarders {
    /// One of them.
    pub fn get(&self, name: &str) -> Option<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Puts up what is wanted of one: streams take it from there.
    pub(in crate::control) fn put(&self, name: &str, wanted: Wanted) -> Arc<Member> {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let member = members.entry(name.to_owned()).or_insert_with(|| Arc::new(Member::new(name)));
        member.board.send_modify(|board| board.wanted = Some(Arc::new(wanted)));
        member.clone()
    }

    /// One is led no longer: its streams end.
    pub(in crate::control) fn remove(&self, name: &str) {
        let gone = self.members.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(gone) = gone {
            gone.board.send_modify(|board| board.wanted = None);
        }
    }
}

/// One forwarder.
pub struct Member {
    /// Its name.
    pub name: String,
    pub(super) board: watch::Sender<Board>,
    seen: Mutex<Seen>,
}

/// What streams of a forwarder tell.
#[derive(Clone, Default)]
pub(super) struct Board {
    /// `None` when it is led no longer.
    pub(super) wanted: Option<Arc<Wanted>>,
    pub(super) holds: Vec<Held>,
    pub(super) classes: Arc<Classes>,
}

/// A hold, and until when it is in force at most.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) hold: Hold,
    pub(super) until: Instant,
}

/// What a forwarder told of itself.
#[derive(Default)]
struct Seen {
    /// Streams that are open.
    streams: usize,
    at: Option<Timestamp>,
    report: Report,
}

/// How a forwarder does, for status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Its name.
    pub name: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// When it last reported; `null`: not since this server started.
    pub last_seen: Option<Timestamp>,
    /// Of its program.
    pub version: Option<String>,
    /// What is wanted.
    pub wanted: Desired,
    /// The revision that is in force there; `null`: none of this authority's.
    pub applied: Option<u64>,
    /// What of it can't be done.
    pub problems: Vec<String>,
    /// Holds in force.
    pub holds: Vec<Hold>,
    /// How its rules do.
    pub rules: Vec<RuleReport>,
    /// Pools and sites that its rules belong to.
    pub belongs: Vec<Belongs>,
    /// Whether it has a token; without one it can't connect.
    pub has_token: bool,
}

impl Member {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), board: watch::Sender::default(), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wanted; `None` when it is led no longer.
    pub fn wanted(&self) -> Option<Arc<Wanted>> {
        self.board.borrow().wanted.clone()
    }

    /// Whether a token with this SHA-256 (in hexadecimal digits) is its own. Digests may be compared as they come: how long
    /// that takes tells nothing of the token.
    pub fn is_opened_by(&self, sha256: &str) -> bool {
        self.wanted().is_some_and(|wanted| wanted.token_sha256.as_deref() == Some(sha256))
    }

    /// Whether its stream is open.
    pub fn is_connected(&self) -> bool {
        self.seen().streams > 0
    }

    /// A new stream.
    pub fn listen(self: &Arc<Self>) -> Listening {
        self.seen().streams += 1;
        Listening::new(self.clone())
    }

    pub(super) fn stream_ended(&self) {
        self.seen().streams -= 1;
    }

    /// Begins a hold, instead of one of the same rule.
    pub(in crate::control) fn hold(&self, hold: Hold) {
        let now = Instant::now();
        let until = now + std::time::Duration::from_secs(hold.terms.secs.into());
        self.board.send_modify(|board| {
            board.holds.retain(|held| held.until > now && (hold.rule.is_some() && held.hold.rule != hold.rule));
            board.holds.push(Held { hold, until });
        });
    }

    /// Ends the holds of a rule, or all; whether there were any.
    pub(in crate::control) fn release(&self, rule: Option<&str>) -> bool {
        let now = Instant::now();
        let mut released = false;
        self.board.send_modify(|board| {
            board.holds.retain(|held| {
                let meant = rule.is_none() || held.hold.rule.as_deref() == rule;
                released |= meant && held.until > now;
                !meant && held.until > now
            });
        });
        released
    }

    /// Classes of its sources; told if they are others than before.
    pub fn set_classes(&self, classes: Classes) {
        self.board.send_if_modified(|board| {
            let changed = *board.classes != classes;
            if changed {
                board.classes = Arc::new(classes);
            }
            changed
        });
    }

    /// Keeps what a report says, but for its sources.
    pub fn note(&self, report: Report, now: Timestamp) {
        let mut seen = self.seen();
        seen.at = Some(now);
        // A report that was late must not take the place of a newer one.
        if report.run != seen.report.run || report.seq >= seen.report.seq {
            seen.report = report;
        }
    }

    /// How it does.
    pub fn condition(&self, now: Timestamp) -> Option<Condition> {
        let board = self.board.borrow().clone();
        let wanted = board.wanted?;
        let seen = self.seen();
        let instant = Instant::now();
        let applied = |Applied { lineage, revision }| (lineage == wanted.lineage).then_some(revision);
        Some(Condition {
            name: self.name.clone(),
            connected: seen.streams > 0,
            last_seen: seen.at,
            version: seen.at.map(|_| seen.report.version.clone()),
            applied: seen.report.applied.and_then(applied),
            problems: seen.report.problems.clone(),
            holds: board.holds.into_iter().filter(|held| held.until > instant).map(|held| held.hold).collect(),
            rules: seen.report.rules.clone(),
            belongs: seen.report.belongs.clone(),
            has_token: wanted.token_sha256.is_some(),
            wanted: wanted.desired(now),
        })
    }
}
