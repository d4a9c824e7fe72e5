//! Updates (RFC 2136) on their way to the writer: who may, and what comes of it as an RCODE.

use std::collections::HashSet;

use crate::config::amendments::Wish;
use crate::control::error::ControlError;
use crate::control::handle::Handle;
use crate::control::message::{AmendRequest, Condition, Origin};
use crate::control::zones::{ZoneChange, ZoneError};
use crate::dns::wire::Rcode;
use crate::dns::{Name, Rtype};
use crate::query::Snapshot;
use crate::server::{Requestor, Updates};
use crate::zone::update::{Update, is_made};
use crate::zone::{self, Zone};

#[async_trait::async_trait]
impl Updates for Handle {
    async fn update(&self, update: Update, by: Requestor) -> Rcode {
        let snapshot = self.published();
        let Some(index) = snapshot.zones.index_of(update.zone.to_lowercase().wire()) else { return Rcode::NotAuth };
        let Some(settings) = snapshot.zone_settings.get(index) else { return Rcode::NotAuth };
        let apex = settings.name.clone();
        let (client, key) = (by.client, by.key.clone());
        if let Some((pool, site)) = pool_right(settings, &update, key.as_ref()) {
            let (pool, site) = (pool.clone(), site.to_owned());
            let Some(zone) = snapshot.zones.entries()[index].zone.clone() else { return Rcode::ServFail };
            let rcode = self.update_pool(&update, &zone, &pool, &site, &by).await;
            let key = key.map(tracing::field::display);
            if rcode == Rcode::NoError {
                tracing::info!(%pool, site, %client, key, "an update of the pool's addresses is made");
            } else {
                let rcode = rcode.name();
                tracing::warn!(%pool, site, %client, key, rcode, "an update of the pool's addresses is not made");
            }
            return rcode;
        }
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
            Err(error @ (ZoneError::NoLongerAZone { .. } | ZoneError::Pools(_))) => {
                tracing::warn!(zone = %apex, author, %error, "an update is refused");
                Rcode::Refused
            }
            Err(error) => {
                tracing::error!(zone = %apex, author, %error, "an update could not be made");
                Rcode::ServFail
            }
        }
    }
}

/// The pool and site whose addresses `update` is about alone, where `key` may say those.
fn pool_right<'z>(settings: &'z zone::Settings, update: &Update, key: Option<&Name>) -> Option<(&'z Name, &'z str)> {
    let of_key = || settings.pool_policy.iter().filter(|grant| Some(&grant.key) == key);
    let pool = update.pool(of_key().map(|grant| &grant.pool))?;
    of_key().find(|grant| grant.pool == *pool).map(|grant| (&grant.pool, grant.site.as_str()))
}

/// How often a change of a pool is worked out anew because another one came in between.
const TRIES: usize = 8;

impl Handle {
    /// Makes the addresses of the endpoint of `pool` at `site` what `update` says.
    async fn update_pool(&self, update: &Update, zone: &Zone, pool: &Name, site: &str, by: &Requestor) -> Rcode {
        let author = by.key.as_ref().map_or_else(|| by.client.ip().to_string(), |key| format!("key:{key}"));
        for _ in 0..TRIES {
            let generation = self.published().generation;
            let Ok(definition) = self.definition(pool.clone()).await else { return Rcode::Refused };
            let Some(mut endpoint) = endpoint_at(&definition, site) else { return Rcode::Refused };
            let known = endpoint.get("address").and_then(toml::Value::as_array).cloned().unwrap_or_default();
            let known = known.iter().filter_map(|address| address.as_str()?.parse().ok()).collect();
            let addresses = match update.addresses(zone, known) {
                Ok(addresses) => addresses,
                Err(rcode) => return rcode,
            };
            if addresses.is_empty() {
                tracing::warn!(%pool, site, author, "an update is refused: it leaves the endpoint without an address");
                return Rcode::Refused;
            }
            let addresses = addresses.iter().map(|address| address.to_string().into()).collect();
            endpoint.insert("address".to_owned(), toml::Value::Array(addresses));
            let request = AmendRequest {
                wishes: vec![Wish::SetEndpoint(pool.clone(), site.to_owned(), endpoint)],
                reason: Some(format!("update from {}", by.client)),
                ..AmendRequest::default()
            };
            let condition = Condition::Generation(generation);
            let origin = Origin { author: author.clone(), condition, ..Origin::default() };
            match self.amend(origin, request).await {
                Ok(_) => return Rcode::NoError,
                Err(ControlError::Stale { .. }) => {}
                Err(error @ (ControlError::Store(_) | ControlError::Stopping)) => {
                    tracing::error!(%pool, site, author, %error, "an update could not be made");
                    return Rcode::ServFail;
                }
                Err(error) => {
                    tracing::warn!(%pool, site, author, %error, "an update is refused");
                    return Rcode::Refused;
                }
            }
        }
        Rcode::ServFail
    }
}

/// The endpoint at `site` in the words of the configuration, without what an amendment of it does not say.
fn endpoint_at(pool: &serde_json::Value, site: &str) -> Option<toml::Table> {
    let endpoints = pool.get("endpoint")?.as_array()?;
    let endpoint = endpoints.iter().find(|endpoint| endpoint["site"] == *site)?;
    let mut table = toml::Table::try_from(endpoint).ok()?;
    for key in ["site", "weight", "role"] {
        table.remove(key);
    }
    Some(table)
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
