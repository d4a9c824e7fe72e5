//! Zones that are transferred from primaries: the first contents, what the primaries last said, and when a zone expires
//! (RFC 1035, 3.3.13).
//!
//! Later contents come as changes of the zone, as those of everybody. When a primary was last reached is durable, a little
//! late: after a restart a zone may expire earlier than it must, never later.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config;
use crate::control::catalog::Catalog;
use crate::control::copy::{self, Steps, copy_of, write_whole};
use crate::control::message::ZoneState;
use crate::control::writer::Writer;
use crate::control::zones::{FirstZone, Served, ServedZone, ZoneChanged, ZoneError};
use crate::diagnostic::Diagnostic;
use crate::dns::Name;
use crate::store::{StateStore, StoreError, Write};
use crate::time::Timestamp;
use crate::zone::{Diff, Zone};

/// What is known of the primaries of one zone.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed {
    /// When one last said that what is served is the newest.
    pub(super) contact: Option<Timestamp>,
    /// The same, as far as it is durable.
    stored: Option<Timestamp>,
    /// Why that is not known now.
    pub(super) problem: Option<String>,
}

/// What the store says of primaries.
pub(super) async fn stored(store: &dyn StateStore, catalog: &Catalog) -> Result<BTreeMap<Name, Followed>, StoreError> {
    let mut all = BTreeMap::new();
    for zone in catalog.settings.zones.iter().filter(|zone| zone.file.is_none()) {
        let value = store.read(&key(&zone.name)).await?;
        let contact = value.and_then(|value| Timestamp::parse(std::str::from_utf8(&value).ok()?).ok());
        all.insert(zone.name.clone(), Followed { contact, stored: contact, problem: None });
    }
    Ok(all)
}

/// Brings the states of `catalog` up to date: which zones have expired at `now`. Gives whether that is new of any.
pub(super) fn expire(catalog: &mut Catalog, followed: &BTreeMap<Name, Followed>, now: Timestamp) -> bool {
    let mut changed = false;
    for index in 0..catalog.zones.len() {
        let zone = &catalog.zones[index];
        if catalog.settings.zones[index].file.is_some() || zone.served.is_none() {
            continue;
        }
        let expired = expiry(zone, followed.get(&zone.name)).is_some_and(|at| at <= now);
        let state = if expired { ZoneState::Expired } else { ZoneState::Current };
        if zone.state != state {
            catalog.set_state(index, state);
            changed = true;
        }
    }
    changed
}

/// When `zone` expires unless a primary is reached; of one that never came from a primary that is not known.
fn expiry(zone: &ServedZone, followed: Option<&Followed>) -> Option<Timestamp> {
    let contact = followed?.contact?;
    Some(contact.after(u64::from(expire_secs(&zone.served.as_ref()?.zone)?)))
}

/// EXPIRE of the SOA, in seconds.
fn expire_secs(zone: &Zone) -> Option<u32> {
    let tail = zone.soa().last_chunk::<8>()?; // EXPIRE MINIMUM
    Some(u32::from_be_bytes([tail[0], tail[1], tail[2], tail[3]]))
}

fn key(apex: &Name) -> String {
    format!("contact/{}", apex.to_lowercase())
}

impl Writer {
    /// Serves the first contents of a zone.
    ///
    /// # Errors
    /// [`ZoneError`]; nothing has changed then.
    pub(super) async fn first_zone(&mut self, first: FirstZone, now: Timestamp) -> Result<ZoneChanged, ZoneError> {
        let FirstZone { apex, served, author } = first;
        let index = self.catalog.zones.iter().position(|z| z.name == apex).ok_or(ZoneError::NoZone)?;
        if let Some(served) = &self.catalog.zones[index].served {
            return Err(ZoneError::Stale { serial: served.zone.serial() });
        }
        let served = Served { loaded_at: now, ..served.under(&self.catalog.overlay(&apex)) };
        let serial = served.zone.serial();
        let known = copy::known(&*self.store, &apex).await; // of a file that it had before
        let journal = self.journals.entry(apex.clone()).or_default();
        let (addition, mut writes) = journal.add(&apex, None, Diff::default, true, now);
        let known = known.map_err(|error| ZoneError::Store(error.to_string()))?;
        let before = known.map_or_else(Steps::default, |known| known.steps);
        writes.extend(write_whole(&apex, copy_of(&served.zone, now).into(), served.digest, before));
        writes.push(Write::Put { key: key(&apex), value: now.to_string().into_bytes().into() });
        let changes = self.rrsets.changes_in(&self.catalog, index, &served.zone, now);
        writes.extend(self.rrsets.writes(&changes, now));
        self.commit(writes).await.map_err(|error| ZoneError::Store(error.to_string()))?;
        self.added(vec![(apex.clone(), addition)]);
        let names = served.zone.name_count();
        let catalog = Arc::make_mut(&mut self.catalog);
        (catalog.zones[index].state, catalog.zones[index].problem) = (ZoneState::Current, Vec::new());
        catalog.serve(index, served);
        if let Some(served) = &catalog.zones[index].served {
            for wrong in config::wrong_over(catalog.pools_over(index), &served.zone) {
                tracing::warn!(zone = %apex, author, %wrong, "a pool does not go with what the primary gives");
            }
        }
        self.take_rrsets(changes, now).await;
        self.followed.insert(apex.clone(), Followed { contact: Some(now), stored: Some(now), problem: None });
        let pools = self.published.load().pools.clone();
        self.publish_pools(pools);
        tracing::info!(zone = %apex, serial, names, author, "zone transferred for the first time");
        self.tell_serial(&apex, serial);
        Ok(ZoneChanged { serial, changed: true })
    }

    /// Takes in what came of asking the primaries of `apex`.
    pub(super) async fn refreshed(&mut self, apex: &Name, outcome: Result<(), String>, now: Timestamp) {
        let followed = self.followed.entry(apex.clone()).or_default();
        if let Err(problem) = outcome {
            followed.problem = Some(problem);
            return;
        }
        (followed.contact, followed.problem) = (Some(now), None);
        let stored = followed.stored;
        let expire = self.catalog.zone(apex).and_then(|zone| expire_secs(&zone.served.as_ref()?.zone)).unwrap_or(0);
        if stored.is_none_or(|at| now.since(at) > u64::from(expire / 64)) {
            let write = Write::Put { key: key(apex), value: now.to_string().into_bytes().into() };
            if self.commit(vec![write]).await.is_ok()
                && let Some(followed) = self.followed.get_mut(apex)
            {
                followed.stored = Some(now);
            }
        }
        self.expire_zones(now);
    }

    /// Publishes which zones have expired, or have come back, if that is new of any.
    pub(super) fn expire_zones(&mut self, now: Timestamp) {
        let due = |(index, zone): (usize, &ServedZone)| {
            if self.catalog.settings.zones[index].file.is_some() {
                return false;
            }
            let at = expiry(zone, self.followed.get(&zone.name));
            at.is_some_and(|at| (at <= now) != (zone.state == ZoneState::Expired))
        };
        if !self.catalog.zones.iter().enumerate().any(due) {
            return;
        }
        let before = self.catalog.clone();
        if expire(Arc::make_mut(&mut self.catalog), &self.followed, now) {
            let pools = self.published.load().pools.clone();
            self.publish_pools(pools);
            for (new, old) in self.catalog.zones.iter().zip(&before.zones).filter(|(new, old)| new.state != old.state) {
                if new.state == ZoneState::Expired {
                    tracing::error!(zone = %old.name, "the zone has expired: SERVFAIL");
                } else {
                    tracing::info!(zone = %old.name, "the zone has come back");
                }
            }
        }
    }

    /// When `zone` expires unless a primary is reached.
    pub(super) fn expires_at(&self, zone: &ServedZone) -> Option<Timestamp> {
        expiry(zone, self.followed.get(&zone.name))
    }

    /// What is wrong with the file or the primaries of `zone`.
    pub(super) fn problem_with(&self, zone: &ServedZone) -> Option<String> {
        let of_primaries = self.followed.get(&zone.name).and_then(|followed| followed.problem.clone());
        of_primaries.or_else(|| {
            let all = || zone.problem.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n");
            (zone.state != ZoneState::Current).then(all)
        })
    }
}
