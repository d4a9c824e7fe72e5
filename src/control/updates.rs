//! Updates (RFC 2136) on their way to the writer: who may, and what comes of it as an RCODE.

use std::collections::HashSet;

use crate::control::handle::Handle;
use crate::control::zones::{ZoneChange, ZoneError};
use crate::dns::wire::Rcode;
use crate::dns::{Name, Rtype};
use crate::query::Snapshot;
use crate::server::{Requestor, Updates};
use crate::zone;
use crate::zone::update::{Update, is_made};

#[async_trait::async_trait]
impl Updates for Handle {
    async fn update(&self, update: Update, by: Requestor) -> Rcode {
        let snapshot = self.published();
        let Some(index) = snapshot.zones.index_of(update.zone.to_lowercase().wire()) else { return Rcode::NotAuth };
        let Some(settings) = snapshot.zone_settings.get(index) else { return Rcode::NotAuth };
        let apex = settings.name.clone();
        let (client, key) = (by.client, by.key.clone());
        let signed_here = settings.dnssec.is_some();
        let rights = Rights::of(settings, &snapshot, &update, &by);
        let Some(rights) = rights else {
            // Before anything else, so that prerequisites tell a stranger nothing (RFC 2136, 7.2).
            tracing::info!(zone = %apex, %client, key = key.map(tracing::field::display), "an update is refused");
            return Rcode::Refused;
        };
        let author = key.as_ref().map_or_else(|| client.ip().to_string(), |key| format!("key:{key}"));
        let change = ZoneChange {
            apex: apex.clone(),
            expected: None,
            author: author.clone(),
            reason: format!("update from {client}"),
            edit: Box::new(move |edit| {
                if !signed_here && edit.zone().rrset(edit.zone().apex(), Rtype::RRSIG).is_some() {
                    tracing::warn!("an update is refused: no signature in the zone's file would fit what it changes");
                    return Err(Rcode::Refused);
                }
                update.apply(edit, |owner, rtype| rights.allow(owner, rtype))
            }),
        };
        match self.change_zone(change).await {
            Ok(_) => Rcode::NoError,
            Err(ZoneError::Refused(rcode)) => {
                tracing::info!(zone = %apex, author, rcode = rcode.name(), "an update is not made");
                rcode
            }
            Err(ZoneError::NoZone) => Rcode::NotAuth,
            Err(error @ ZoneError::NoLongerAZone { .. }) => {
                tracing::info!(zone = %apex, author, %error, "an update is refused");
                Rcode::Refused
            }
            Err(error) => {
                tracing::error!(zone = %apex, author, %error, "an update could not be made");
                Rcode::ServFail
            }
        }
    }
}

/// What the sender of an update may change.
struct Rights {
    /// All of the zone.
    whole: bool,
    /// Whether the zone is signed here.
    signed: bool,
    key: Option<Name>,
    grants: Vec<zone::policy::Grant>,
    /// What pools answer: an update would be seen by nobody.
    steered: HashSet<(Name, Rtype)>,
}

impl Rights {
    /// `None` when it may change nothing at all.
    fn of(settings: &zone::Settings, snapshot: &Snapshot, update: &Update, by: &Requestor) -> Option<Self> {
        let key = by.key.clone();
        let whole = settings.allow_update.allows(by.client.ip(), key.as_ref());
        let of_key = settings.update_policy.iter().filter(|grant| key.as_ref() == Some(&grant.key));
        let grants: Vec<_> = of_key.cloned().collect();
        let pools = snapshot.pools.iter().filter(|pool| update.targets().any(|(owner, _)| *owner == pool.name));
        let steered =
            pools.flat_map(|pool| pool.records.types().iter().map(|rtype| (pool.name.clone(), *rtype))).collect();
        (whole || !grants.is_empty()).then_some(Self { whole, signed: settings.dnssec.is_some(), key, grants, steered })
    }

    fn allow(&self, owner: &Name, rtype: Rtype) -> bool {
        if self.steered.contains(&(owner.clone(), rtype)) {
            tracing::warn!(%owner, %rtype, "an update is refused: a pool answers for this name and type");
            return false;
        }
        if matches!(rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3) || (self.signed && is_made(rtype)) {
            return false; // who signs makes them
        }
        self.whole || self.key.as_ref().is_some_and(|key| self.grants.iter().any(|g| g.allows(key, owner, rtype)))
    }
}
