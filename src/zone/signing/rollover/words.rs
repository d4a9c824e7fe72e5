//! What operators, and whoever asks the parent for them, say of a zone's keys.

use serde::{Deserialize, Serialize};

use super::{Life, Lives, Role};
use crate::time::Timestamp;
use crate::zone::signing::keys::Algorithm;

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
    /// A key of another algorithm can't be in service at once.
    #[error("the zone has keys of {algorithm}: keys of another algorithm come in as published, and follow them")]
    OtherAlgorithm {
        /// Of the keys that are there.
        algorithm: Algorithm,
    },
    /// The zone is on its way to be unsigned.
    #[error("the zone is leaving DNSSEC")]
    Leaving,
}

impl Lives {
    /// Takes in keys that were made elsewhere. Active ones take the places of keys of which the parent does not know; those go
    /// once caches have let go.
    ///
    /// # Errors
    /// [`RollError`] where one of them has no place.
    pub fn take_in(
        &mut self,
        new: &[(u16, Algorithm, Role)],
        entering: Entering,
        now: Timestamp,
    ) -> Result<(), RollError> {
        if self.leaving.is_some() {
            return Err(RollError::Leaving);
        }
        if entering == Entering::Published {
            for (tag, algorithm, role) in new {
                self.may_follow(*role)?;
                if let Some(newest) = self.keys.last().filter(|_| self.algorithm(*algorithm) != *algorithm) {
                    return Err(RollError::UnderWay { tag: newest.tag });
                }
                self.add(*tag, *algorithm, *role, now);
            }
            return Ok(());
        }
        let [entry, signer] = [Role::is_entry, Role::signs_zone].map(|is| new.iter().filter(|(.., r)| is(*r)).count());
        if entry > 1 || signer > 1 {
            return Err(RollError::Twice);
        }
        let other = self.keys.iter().find(|key| new.iter().any(|(_, algorithm, _)| *algorithm != key.algorithm));
        if let Some(Life { algorithm, .. }) = other {
            return Err(RollError::OtherAlgorithm { algorithm: *algorithm });
        }
        if let Some(known) = self.keys.iter().find(|key| key.asked.is_some() && key.retired.is_none()) {
            let signing = self.keys.iter().find(|key| key.is_signing());
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
        for (tag, algorithm, role) in new {
            self.add(*tag, *algorithm, *role, now);
            self.wanted.retain(|wanted| wanted != role);
            self.with(*tag, |key| {
                key.signs = role.signs_zone().then_some(now);
                (key.asked, key.at_parent) = if role.is_entry() { (Some(now), Some(now)) } else { (None, None) };
            });
        }
        Ok(())
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
        let asked = self.asked().filter(|key| key.at_parent.is_none()).map(|key| (key.tag, key.algorithm));
        let (tag, algorithm) = asked.ok_or(RollError::NothingAsked)?;
        for key in self.keys.iter_mut().filter(|key| key.tag != tag) {
            // With the last DS of an algorithm all keys of it have done their work.
            if key.algorithm != algorithm || (key.role.is_entry() && key.asked.is_some()) {
                key.retired.get_or_insert(at);
            }
        }
        self.with(tag, |key| key.at_parent = Some(at));
        self.wanted.retain(|role| !role.is_entry());
        Ok(())
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
}
