//! The keys of signed zones, as operators ask for them and speak of them.

use std::sync::Arc;

use crate::control::dnssec::{DnssecStatus, DnssecWish, Imported, KeyStatus};
use crate::control::error::ControlError;
use crate::control::message::Origin;
use crate::control::writer::Writer;
use crate::dns::{Name, Rtype, rdata};
use crate::time::Timestamp;
use crate::zone::signing::keyring::{KeyringError, Taken};
use crate::zone::signing::keys::{ENTRY_POINT, SigningKey};
use crate::zone::signing::policy::Policy;
use crate::zone::signing::rollover::{Life, Role, RollError};

impl Writer {
    /// How a zone is signed.
    pub(super) fn dnssec(&self, zone: &Name) -> Result<DnssecStatus, ControlError> {
        let not_signed = || ControlError::NotFound(format!("no zone \"{zone}\" is signed here"));
        let signer = self.signers.get(zone).ok_or_else(not_signed)?;
        let lives = signer.ring.lives();
        let duties = lives.duties();
        let status = |life: &Life| {
            let key = signer.ring.key(life.tag)?;
            let dnskey = rdata::to_text(Rtype::DNSKEY, key.dnskey().rdata());
            Some(KeyStatus {
                life: life.clone(),
                dnskey,
                ds: life.role.is_entry().then(|| rdata::to_text(Rtype::DS, &key.dnskey().ds(zone))),
                wanted_at_parent: lives.leaving.is_none() && duties.iter().any(|d| d.tag == life.tag && d.asked),
            })
        };
        let keys: Vec<KeyStatus> = lives.keys.iter().filter_map(status).collect();
        let is_asked = |key: &KeyStatus| key.wanted_at_parent && key.life.at_parent.is_none();
        let waits_for_parent = keys.iter().any(is_asked) || (lives.leaving.is_some() && lives.left.is_none());
        Ok(DnssecStatus { zone: zone.clone(), keys, waits_for_parent, leaving: lives.leaving, next: signer.next })
    }

    /// Takes an operator's word on the keys of a zone, durably, and does what follows from it at once.
    pub(super) async fn change_dnssec(
        &mut self,
        origin: &Origin,
        zone: &Name,
        wish: &DnssecWish,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<DnssecStatus, ControlError> {
        self.dnssec(zone)?;
        let roles = match (wish, self.signers.get(zone)) {
            (DnssecWish::Roll(Some(role)), _) => vec![*role],
            (_, Some(signer)) => signer.policy.roles().to_vec(),
            (_, None) => Vec::new(),
        };
        if let Some(signer) = self.signers.get_mut(zone) {
            let policy = signer.policy.clone();
            let taken: Result<(), Refusal> = match wish {
                DnssecWish::Roll(_) if !policy.algorithm.is_made() => Err(import_only(&policy)),
                DnssecWish::Roll(_) => signer.ring.change(zone, |l| Ok(roles.iter().try_for_each(|r| l.roll(*r))?)),
                DnssecWish::ConfirmDs => signer.ring.change(zone, |lives| Ok(lives.confirm(now)?)),
                DnssecWish::Leave => signer.ring.change(zone, |lives| Ok(lives.leave(now)?)),
                DnssecWish::Import(keys, entering) => {
                    placed(keys, &policy).and_then(|keys| signer.ring.import(zone, &keys, *entering, now))
                }
            };
            taken.map_err(|Refusal(error)| error)?;
            (signer.next, signer.of) = (Timestamp(0), None);
        }
        tracing::info!(%zone, author = %origin.author, reason, ?wish, "keys of the zone: an operator's word");
        self.sign_due(now).await;
        self.dnssec(zone)
    }
}

/// Keys with the roles that they have by the zone's policy.
fn placed(keys: &[Imported], policy: &Policy) -> Result<Vec<(Arc<SigningKey>, Role)>, Refusal> {
    let refused = |told: String| Refusal(ControlError::Conflict(told));
    let place = |Imported { key, role }: &Imported| {
        if key.algorithm() != policy.algorithm {
            let (tag, its, wanted) = (key.tag(), key.algorithm(), policy.algorithm);
            return Err(refused(format!("key {tag} is of {its}, but the zone's policy says {wanted}")));
        }
        let is_entry = key.dnskey().rdata()[..2] == ENTRY_POINT.to_be_bytes();
        let role = role.or_else(|| policy.roles().iter().copied().find(|role| role.is_entry() == is_entry));
        let role = role.filter(|role| policy.roles().contains(role));
        role.map(|role| (key.clone(), role)).ok_or_else(|| {
            let (its, wanted) = match (is_entry, policy.split) {
                (true, true) => ("a CSK", "\"ksk-zsk\""),
                (true, false) => ("a KSK", "\"csk\""),
                (false, _) => ("a ZSK", "\"csk\""),
            };
            refused(format!("key {} is {its}, but the zone's policy says keys = {wanted}", key.tag()))
        })
    };
    keys.iter().map(place).collect()
}

fn import_only(policy: &Policy) -> Refusal {
    let told = format!("keys of {} are not made here: import the next one as published", policy.algorithm);
    Refusal(ControlError::Conflict(told))
}

/// Why an operator's word is not taken, as the API tells it.
struct Refusal(ControlError);

impl From<RollError> for Refusal {
    fn from(error: RollError) -> Self {
        Self(ControlError::Conflict(error.to_string()))
    }
}

impl From<Taken> for Refusal {
    fn from(error: Taken) -> Self {
        Self(ControlError::Conflict(error.to_string()))
    }
}

impl From<KeyringError> for Refusal {
    fn from(error: KeyringError) -> Self {
        Self(ControlError::Store(error.to_string()))
    }
}
