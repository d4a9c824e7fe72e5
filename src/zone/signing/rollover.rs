//! The life of a zone's keys (RFC 7583), as a state machine without clock and keys: it knows them by their tags.
//!
//! A ZSK is published before it signs (RFC 7583, 3.2.1). A KSK signs DNSKEY together with the one before it while the parent's
//! DS is exchanged (3.3.1), a CSK does both. Nothing goes before every cache has let go of what depends on it: at each
//! instant each DS, DNSKEY RRset and signature that a cache may hold go together. What waits for the parent waits until an
//! operator, or something that asked the parent, says that its DS RRset is the one that CDS asks for.
//!
//! Another algorithm comes in the conservative way of RFC 6781, 4.1.4, since validators may ask for signatures of each algorithm in
//! the DNSKEY RRset (RFC 4035, 2.2; RFC 6840, 5.11): its signatures come first, then its keys, then its DS; then the old DS goes,
//! then the old keys, and the old signatures last.

mod words;

use serde::{Deserialize, Serialize};

use super::keys::Algorithm;
use crate::dns::Ttl;
use crate::time::Timestamp;
pub use words::{Entering, RollError};

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs everything; the parent points at it.
    Csk,
    /// Signs the keys; the parent points at it.
    Ksk,
    /// Signs all but the keys.
    Zsk,
}

impl Role {
    /// Whether the parent points at such keys.
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Csk | Self::Ksk)
    }

    /// Whether such keys sign what is not a key.
    pub const fn signs_zone(self) -> bool {
        matches!(self, Self::Csk | Self::Zsk)
    }
}

/// The keys that a zone is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// One of each.
    pub roles: &'a [Role],
    /// Of this algorithm.
    pub algorithm: Algorithm,
}

/// How long things take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A KSK or CSK is replaced after so long; `None`: when an operator says so.
    pub entry_lifetime_secs: Option<u64>,
    /// The same for a ZSK.
    pub zsk_lifetime_secs: Option<u64>,
    /// The TTL of DNSKEY.
    pub dnskey_ttl: Ttl,
    /// Until all secondaries have a change.
    pub propagation_secs: u64,
    /// The TTL of DS at the parent.
    pub parent_ttl: Ttl,
    /// Until all of the parent's name servers have a change.
    pub parent_propagation_secs: u64,
}

/// What has become of a key, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The key tag: no two keys of a zone have the same.
    pub tag: u16,
    /// Its algorithm.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// What it is for.
    pub role: Role,
    /// Since when it is in DNSKEY.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub published: Option<Timestamp>,
    /// Since when it signs the zone's data.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signs: Option<Timestamp>,
    /// Since when CDS asks the parent for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked: Option<Timestamp>,
    /// Since when the parent's DS is known to point at it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_parent: Option<Timestamp>,
    /// Since when another does its work.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retired: Option<Timestamp>,
    /// Since when it signs no data any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub silent: Option<Timestamp>,
    /// Since when it is not in DNSKEY any more, while signatures of its algorithm stay.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub withdrawn: Option<Timestamp>,
}

impl Life {
    const fn is_published(&self) -> bool {
        self.published.is_some() && self.withdrawn.is_none()
    }

    const fn is_signing(&self) -> bool {
        self.signs.is_some() && self.silent.is_none()
    }
}

/// The keys of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lives {
    /// From the oldest to the newest.
    pub keys: Vec<Life>,
    /// Roles that an operator wants replaced.
    #[serde(default)]
    pub wanted: Vec<Role>,
    /// Since when the parent is asked to have no DS any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub leaving: Option<Timestamp>,
    /// Since when it is known to have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub left: Option<Timestamp>,
}

/// What is to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key of this role and algorithm is to be made; it is published at once, unless it is the first of its algorithm beside another.
    Make(Role, Algorithm),
    /// The keys of this algorithm are published.
    Publish(Algorithm),
    /// This key signs the zone's data, in place of others.
    Sign(u16),
    /// The parent is asked for this key, in place of others.
    Ask(u16),
    /// The keys of this algorithm are not published any more.
    Withdraw(Algorithm),
    /// This key goes, and with it what it has signed.
    Remove(u16),
    /// All keys and signatures go.
    Unsign,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duty {
    /// The key.
    pub tag: u16,
    /// It is in DNSKEY.
    pub published: bool,
    /// It signs DNSKEY, CDS and CDNSKEY.
    pub signs_keys: bool,
    /// It signs everything else.
    pub signs_zone: bool,
    /// CDS asks for it.
    pub asked: bool,
}

impl Lives {
    /// The next step, and when it is due. `data_ttl` is the largest TTL of the zone's records, of steered answers and of negative
    /// ones.
    pub fn next(&self, wanted: &Wanted<'_>, timing: &Timing, data_ttl: Ttl) -> Option<(Timestamp, Step)> {
        let mut steps: Vec<(Timestamp, Step)> = Vec::new();
        let (dnskey_ttl, parent_ttl) = (timing.dnskey_ttl.secs() as u64, timing.parent_ttl.secs() as u64);
        let after = Delays {
            keys_known: dnskey_ttl + timing.propagation_secs,
            data_gone: data_ttl.secs() as u64 + timing.propagation_secs,
            parent_gone: parent_ttl + timing.parent_propagation_secs,
        };
        if self.leaving.is_some() {
            let gone = self.left?.after(after.parent_gone);
            return (!self.keys.is_empty()).then_some((gone, Step::Unsign));
        }
        let algorithm = self.algorithm(wanted.algorithm);
        for role in wanted.roles.iter().filter(|_| algorithm.is_made()) {
            let at = self.replacement(*role, algorithm, timing);
            steps.extend(at.map(|at| (at, Step::Make(*role, algorithm))));
        }
        steps.extend(self.publication(wanted.roles, algorithm, &after));
        steps.extend(self.withdrawal(algorithm, &after));
        for key in &self.keys {
            let is_old = key.algorithm != algorithm;
            if let Some(published) = key.published.filter(|_| key.retired.is_none()) {
                let known = published.after(after.keys_known);
                if key.role.signs_zone() && key.signs.is_none() {
                    steps.push((self.may_sign(key, published, known, timing), Step::Sign(key.tag)));
                }
                // The parent is asked for one thing at a time: whoever says that it has it must not mean another.
                if key.role.is_entry() && key.asked.is_none() && !is_old && !self.is_parent_asked() {
                    // The first of a zone is asked for when no cache has data without signatures any more.
                    let is_first = !self.keys.iter().any(|k| k.role.is_entry() && k.asked.is_some());
                    let known = if is_first { known.max(published.after(after.data_gone)) } else { known };
                    steps.push((known, Step::Ask(key.tag)));
                }
            }
            if is_old {
                steps.extend(key.withdrawn.map(|at| (at.after(after.keys_known), Step::Remove(key.tag))));
            } else if let Some(retired) = key.retired.filter(|_| !key.is_signing()) {
                let mut gone = match key.signs {
                    Some(_) => key.silent.unwrap_or(retired).after(after.data_gone),
                    None => retired,
                };
                if key.role.is_entry() {
                    gone = gone.max(retired.after(after.parent_gone));
                }
                steps.push((gone, Step::Remove(key.tag)));
            }
        }
        steps.into_iter().min_by_key(|(at, _)| *at)
    }

    /// The algorithm that the zone's keys are to be of: of two that are there, the one that came later, until its rollover is done.
    fn algorithm(&self, wanted: Algorithm) -> Algorithm {
        let newest = self.keys.last().filter(|newest| self.keys.iter().any(|key| key.algorithm != newest.algorithm));
        newest.map_or(wanted, |newest| newest.algorithm)
    }

    /// When a key of `role` has to be made.
    fn replacement(&self, role: Role, algorithm: Algorithm, timing: &Timing) -> Option<Timestamp> {
        let others = self.keys.iter().any(|key| key.algorithm != algorithm);
        let of_role = self.keys.iter().filter(|k| k.role == role && k.algorithm == algorithm && k.retired.is_none());
        match of_role.collect::<Vec<&Life>>()[..] {
            // Another algorithm does not begin while the parent is asked for a key of the old one.
            [] => (!others || !self.is_parent_asked()).then_some(Timestamp(0)),
            [only] if !others => {
                if self.wanted.contains(&role) {
                    return only.published; // at once
                }
                let lifetime = if role == Role::Zsk { timing.zsk_lifetime_secs } else { timing.entry_lifetime_secs }?;
                // A key whose own beginning waits for the parent is not replaced.
                let began = if role.is_entry() { only.at_parent? } else { only.signs? };
                let ahead =
                    if role == Role::Zsk { timing.dnskey_ttl.secs() as u64 + timing.propagation_secs } else { 0 };
                Some(began.after(lifetime.saturating_sub(ahead)))
            }
            _ => None, // one is on its way
        }
    }

    fn is_parent_asked(&self) -> bool {
        self.asked().is_some_and(|key| key.at_parent.is_none())
    }

    /// When the keys of `algorithm` may be published, if they are not: no cache has data any more that it did not sign.
    fn publication(&self, roles: &[Role], algorithm: Algorithm, after: &Delays) -> Option<(Timestamp, Step)> {
        let of_it = || self.keys.iter().filter(|key| key.algorithm == algorithm && key.retired.is_none());
        let is_whole = roles.iter().all(|role| of_it().any(|key| key.role == *role));
        of_it().find(|key| key.published.is_none()).filter(|_| is_whole)?;
        let signed = of_it().filter_map(|key| key.signs).max()?;
        Some((signed.after(after.data_gone), Step::Publish(algorithm)))
    }

    /// When the keys of the algorithm before `algorithm` may be withdrawn: no cache has their DS any more.
    fn withdrawal(&self, algorithm: Algorithm, after: &Delays) -> Option<(Timestamp, Step)> {
        let of_old = || self.keys.iter().filter(|key| key.algorithm != algorithm);
        let old = of_old().find(|key| key.is_published())?.algorithm;
        let retired = of_old().map(|key| key.retired).collect::<Option<Vec<_>>>()?;
        Some((retired.into_iter().max()?.after(after.parent_gone), Step::Withdraw(old)))
    }

    /// When a key that is `known` to all caches from then on may sign data.
    fn may_sign(&self, key: &Life, published: Timestamp, known: Timestamp, timing: &Timing) -> Timestamp {
        let Some(before) = self.keys.iter().find(|k| k.algorithm == key.algorithm && k.is_signing()) else {
            return published; // nothing is signed yet
        };
        let lifetime = timing.zsk_lifetime_secs.filter(|_| key.role == Role::Zsk && !self.wanted.contains(&Role::Zsk));
        let end = lifetime.and_then(|lifetime| Some(before.signs?.after(lifetime)));
        known.max(end.unwrap_or(known))
    }

    /// The key with `tag` is made, and published from `now` on. Where it is the first of its algorithm beside another one, it signs
    /// first, and is published later.
    pub fn add(&mut self, tag: u16, algorithm: Algorithm, role: Role, now: Timestamp) {
        let of_it = || self.keys.iter().filter(|key| key.algorithm == algorithm);
        let follows = !self.keys.is_empty() && !of_it().any(Life::is_published);
        let signs_ahead = follows && role.signs_zone() && !of_it().any(Life::is_signing);
        self.keys.push(Life {
            tag,
            algorithm,
            role,
            published: (!follows).then_some(now),
            signs: signs_ahead.then_some(now),
            asked: None,
            at_parent: None,
            retired: None,
            silent: None,
            withdrawn: None,
        });
    }

    /// Carries out a step that is due; [`Step::Make`] is [`Lives::add`].
    pub fn take(&mut self, step: Step, now: Timestamp) {
        match step {
            Step::Make(..) => {}
            Step::Publish(algorithm) => {
                for key in self.keys.iter_mut().filter(|key| key.algorithm == algorithm) {
                    key.published.get_or_insert(now);
                }
            }
            Step::Withdraw(algorithm) => {
                for key in self.keys.iter_mut().filter(|key| key.algorithm == algorithm) {
                    key.withdrawn.get_or_insert(now);
                }
            }
            Step::Sign(tag) => {
                let algorithm = self.keys.iter().find(|key| key.tag == tag).map(|key| key.algorithm);
                let others = self.keys.iter_mut().filter(|k| k.tag != tag && Some(k.algorithm) == algorithm);
                for key in others.filter(|key| key.is_signing()) {
                    key.silent = Some(now);
                    if !key.role.is_entry() {
                        key.retired = Some(now);
                    }
                }
                self.wanted.retain(|role| *role != Role::Zsk);
                self.with(tag, |key| key.signs = Some(now));
            }
            Step::Ask(tag) => self.with(tag, |key| key.asked = Some(now)),
            Step::Remove(tag) => self.keys.retain(|key| key.tag != tag),
            Step::Unsign => *self = Self { leaving: self.leaving, left: self.left, ..Self::default() },
        }
    }

    fn with(&mut self, tag: u16, change: impl FnOnce(&mut Life)) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.tag == tag) {
            change(key);
        }
    }

    /// The key that the parent is asked for: the newest.
    fn asked(&self) -> Option<&Life> {
        self.keys.iter().rfind(|key| key.asked.is_some() && key.retired.is_none())
    }

    /// What each key does.
    pub fn duties(&self) -> Vec<Duty> {
        let asked = self.asked().map(|key| key.tag);
        let duty = |key: &Life| Duty {
            tag: key.tag,
            published: key.is_published(),
            signs_keys: key.role.is_entry() && key.is_published(),
            signs_zone: key.is_signing(),
            asked: asked == Some(key.tag),
        };
        self.keys.iter().map(duty).collect()
    }
}

/// How long, in seconds, until no cache holds anything else any more.
struct Delays {
    /// A new DNSKEY RRset.
    keys_known: u64,
    /// The zone's data without what went.
    data_gone: u64,
    /// The parent's new DS RRset.
    parent_gone: u64,
}

#[cfg(test)]
mod tests;
