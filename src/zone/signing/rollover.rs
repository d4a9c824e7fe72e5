//! The life of a zone's keys (RFC 7583), as a state machine without clock and keys: it knows them by their tags.
//!
//! A ZSK is published before it signs (RFC 7583, 3.2.1). A KSK signs DNSKEY together with the one before it while the parent's
//! DS is exchanged (3.3.1), a CSK does both. Nothing goes before every cache has let go of what depends on it: at each
//! instant each DS, DNSKEY RRset and signature that a cache may hold go together. What waits for the parent waits until an
//! operator, or something that asked the parent, says that its DS RRset is the one that CDS asks for.

use serde::{Deserialize, Serialize};

use crate::dns::Ttl;
use crate::time::Timestamp;

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
    /// What it is for.
    pub role: Role,
    /// Since when it is in DNSKEY.
    pub published: Timestamp,
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
    /// A key of this role is to be made and published.
    Make(Role),
    /// This key signs the zone's data, in place of others.
    Sign(u16),
    /// The parent is asked for this key, in place of others.
    Ask(u16),
    /// This key goes.
    Remove(u16),
    /// All keys and signatures go.
    Unsign,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duty {
    /// The key.
    pub tag: u16,
    /// It signs DNSKEY, CDS and CDNSKEY.
    pub signs_keys: bool,
    /// It signs everything else.
    pub signs_zone: bool,
    /// CDS asks for it.
    pub asked: bool,
}

/// How a key that was made elsewhere comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entering {
    /// The zone is signed with it already, elsewhere: caches and the parent know it.
    Active,
    /// Nobody knows it: it is published first, and takes the place of the one before as one made here would.
    Published,
}

/// Why an operator's word is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollError {
    /// The parent was not asked for anything that it does not have.
    #[error("nothing waits for the parent's DS")]
    NothingAsked,
    /// One is under way.
    #[error("a key is being replaced already: key {tag} is on its way")]
    UnderWay {
        /// The newer key.
        tag: u16,
    },
    /// No such key.
    #[error("the zone has no {role}")]
    NoSuchRole {
        /// As it is written.
        role: &'static str,
    },
    /// A key can't be in service at once beside those that are.
    #[error("key {tag} is in service: one that takes its place is published first")]
    InService {
        /// The key that is there.
        tag: u16,
    },
    /// Two keys for one task.
    #[error("two keys of one role can't be active at once: bring the newer one in as published, later")]
    Twice,
    /// The zone is on its way to be unsigned.
    #[error("the zone is leaving DNSSEC")]
    Leaving,
}

impl Lives {
    /// The next step, and when it is due. `roles` are those that the policy wants keys of; `data_ttl` is the largest TTL of
    /// the zone's records, of steered answers and of negative ones.
    pub fn next(&self, roles: &[Role], timing: &Timing, data_ttl: Ttl) -> Option<(Timestamp, Step)> {
        let mut steps: Vec<(Timestamp, Step)> = Vec::new();
        if self.leaving.is_some() {
            let gone = self.left?.after(timing.parent_ttl.secs().into()).after(timing.parent_propagation_secs);
            return (!self.keys.is_empty()).then_some((gone, Step::Unsign));
        }
        for role in roles {
            steps.extend(self.replacement(*role, timing).map(|at| (at, Step::Make(*role))));
        }
        let keys_known = timing.dnskey_ttl.secs() as u64 + timing.propagation_secs;
        let data_gone = data_ttl.secs() as u64 + timing.propagation_secs;
        let parent_gone = timing.parent_ttl.secs() as u64 + timing.parent_propagation_secs;
        for key in &self.keys {
            let known = key.published.after(keys_known);
            if key.retired.is_none() && key.role.signs_zone() && key.signs.is_none() {
                steps.push((self.may_sign(key, known, timing), Step::Sign(key.tag)));
            }
            if key.retired.is_none() && key.role.is_entry() && key.asked.is_none() {
                // The first of a zone is asked for when no cache has data without signatures any more.
                let is_first = !self.keys.iter().any(|k| k.role.is_entry() && k.asked.is_some());
                let known = if is_first { known.max(key.published.after(data_gone)) } else { known };
                steps.push((known, Step::Ask(key.tag)));
            }
            let still_signs = key.signs.is_some() && key.silent.is_none();
            if let Some(retired) = key.retired.filter(|_| !still_signs) {
                let mut gone = match key.signs {
                    Some(_) => key.silent.unwrap_or(retired).after(data_gone),
                    None => retired,
                };
                if key.role.is_entry() {
                    gone = gone.max(retired.after(parent_gone));
                }
                steps.push((gone, Step::Remove(key.tag)));
            }
        }
        steps.into_iter().min_by_key(|(at, _)| *at)
    }

    /// When a key of `role` has to be made.
    fn replacement(&self, role: Role, timing: &Timing) -> Option<Timestamp> {
        let in_use: Vec<&Life> = self.keys.iter().filter(|k| k.role == role && k.retired.is_none()).collect();
        match in_use[..] {
            [] => Some(Timestamp(0)),
            [only] => {
                if self.wanted.contains(&role) {
                    return Some(only.published); // at once
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

    /// When a key that is `known` to all caches from then on may sign data.
    fn may_sign(&self, key: &Life, known: Timestamp, timing: &Timing) -> Timestamp {
        let Some(before) = self.keys.iter().find(|k| k.role.signs_zone() && k.signs.is_some() && k.silent.is_none())
        else {
            return key.published; // nothing is signed yet
        };
        let lifetime = timing.zsk_lifetime_secs.filter(|_| key.role == Role::Zsk && !self.wanted.contains(&Role::Zsk));
        let end = lifetime.and_then(|lifetime| Some(before.signs?.after(lifetime)));
        known.max(end.unwrap_or(known))
    }

    /// The key with `tag` and `role` is made, and published from `now` on.
    pub fn add(&mut self, tag: u16, role: Role, now: Timestamp) {
        let life =
            Life { tag, role, published: now, signs: None, asked: None, at_parent: None, retired: None, silent: None };
        self.keys.push(life);
    }

    /// Takes in keys that were made elsewhere. Active ones take the places of keys of which the parent does not know; those go
    /// once caches have let go.
    ///
    /// # Errors
    /// [`RollError`] where one of them has no place.
    pub fn take_in(&mut self, new: &[(u16, Role)], entering: Entering, now: Timestamp) -> Result<(), RollError> {
        if self.leaving.is_some() {
            return Err(RollError::Leaving);
        }
        if entering == Entering::Published {
            for (tag, role) in new {
                match self.may_follow(*role) {
                    Ok(_) => self.add(*tag, *role, now),
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        }
        let [entry, signer] = [Role::is_entry, Role::signs_zone].map(|is| new.iter().filter(|(_, r)| is(*r)).count());
        if entry > 1 || signer > 1 {
            return Err(RollError::Twice);
        }
        if let Some(known) = self.keys.iter().find(|key| key.asked.is_some() && key.retired.is_none()) {
            let signing = self.keys.iter().find(|key| key.signs.is_some() && key.silent.is_none());
            let in_the_way = if entry > 0 { Some(known) } else { signing.filter(|_| signer > 0) };
            if let Some(Life { tag, .. }) = in_the_way {
                return Err(RollError::InService { tag: *tag });
            }
        }
        for key in self.keys.iter_mut().filter(|key| key.retired.is_none()) {
            if key.signs.is_some() && signer > 0 {
                key.silent.get_or_insert(now);
            }
            let replaced = if key.role.is_entry() { entry > 0 } else { signer > 0 };
            key.retired = replaced.then_some(now);
        }
        for (tag, role) in new {
            self.add(*tag, *role, now);
            self.wanted.retain(|wanted| wanted != role);
            self.with(*tag, |key| {
                key.signs = role.signs_zone().then_some(now);
                (key.asked, key.at_parent) = if role.is_entry() { (Some(now), Some(now)) } else { (None, None) };
            });
        }
        Ok(())
    }

    /// Carries out a step that is due; [`Step::Make`] is [`Lives::add`].
    pub fn take(&mut self, step: Step, now: Timestamp) {
        match step {
            Step::Make(_) => {}
            Step::Sign(tag) => {
                for key in self.keys.iter_mut().filter(|k| k.tag != tag && k.signs.is_some() && k.silent.is_none()) {
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

    /// The parent's DS RRset is known, since `at`, to be what CDS asks for.
    ///
    /// # Errors
    /// [`RollError::NothingAsked`].
    pub fn confirm(&mut self, at: Timestamp) -> Result<(), RollError> {
        if self.leaving.is_some() {
            if self.left.is_some() {
                return Err(RollError::NothingAsked);
            }
            self.left = Some(at);
            return Ok(());
        }
        let asked = self.asked().filter(|key| key.at_parent.is_none()).map(|key| key.tag);
        let tag = asked.ok_or(RollError::NothingAsked)?;
        for key in self.keys.iter_mut().filter(|k| k.role.is_entry() && k.tag != tag && k.asked.is_some()) {
            key.retired.get_or_insert(at);
        }
        self.with(tag, |key| key.at_parent = Some(at));
        self.wanted.retain(|role| !role.is_entry());
        Ok(())
    }

    /// The key that the parent is asked for: the newest.
    fn asked(&self) -> Option<&Life> {
        self.keys.iter().rfind(|key| key.asked.is_some() && key.retired.is_none())
    }

    /// An operator wants the key of `role` replaced.
    ///
    /// # Errors
    /// [`RollError`] where there is none, or one is being replaced already.
    pub fn roll(&mut self, role: Role) -> Result<(), RollError> {
        if self.leaving.is_some() {
            return Err(RollError::Leaving);
        }
        if self.may_follow(role)?.is_none() {
            let role = match role {
                Role::Csk => "CSK",
                Role::Ksk => "KSK",
                Role::Zsk => "ZSK",
            };
            return Err(RollError::NoSuchRole { role });
        }
        if !self.wanted.contains(&role) {
            self.wanted.push(role);
        }
        Ok(())
    }

    /// The key that another one of `role` may follow now, if there is any.
    fn may_follow(&self, role: Role) -> Result<Option<&Life>, RollError> {
        let in_use: Vec<&Life> = self.keys.iter().filter(|k| k.role == role && k.retired.is_none()).collect();
        match in_use[..] {
            [] => Ok(None),
            [only] if role.is_entry() && only.at_parent.is_none() => Err(RollError::UnderWay { tag: only.tag }),
            [only] => Ok(Some(only)),
            [.., newer] => Err(RollError::UnderWay { tag: newer.tag }),
        }
    }

    /// The zone is to be unsigned: from `now` on CDS asks the parent to have no DS.
    ///
    /// # Errors
    /// [`RollError::Leaving`] when it is on its way already.
    pub fn leave(&mut self, now: Timestamp) -> Result<(), RollError> {
        if self.leaving.is_some() {
            return Err(RollError::Leaving);
        }
        self.leaving = Some(now);
        Ok(())
    }

    /// What each key does.
    pub fn duties(&self) -> Vec<Duty> {
        let asked = self.asked().map(|key| key.tag);
        let duty = |key: &Life| Duty {
            tag: key.tag,
            signs_keys: key.role.is_entry(),
            signs_zone: key.signs.is_some() && key.silent.is_none(),
            asked: asked == Some(key.tag),
        };
        self.keys.iter().map(duty).collect()
    }
}

#[cfg(test)]
mod tests;
