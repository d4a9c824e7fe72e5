//! Changes of one zone, and what a reload means for zones that were changed meanwhile.

use std::sync::Arc;

use crate::config;
use crate::control::catalog::Catalog;
use crate::control::copy::{Keep, copy_of, write_step, write_whole};
use crate::control::error::ControlError;
use crate::control::journal::{Addition, Entry, Journal};
use crate::control::message::{Origin, ZoneState};
use crate::control::writer::Writer;
use crate::control::zones::{FileEdit, Served, ServedZone, ZoneChange, ZoneChanged, ZoneError, ZoneEvent};
use crate::dns::{Name, Rtype};
use crate::store::Write;
use crate::time::Timestamp;
use crate::zone::hidden::hidden;
use crate::zone::{Diff, Edit, Record};

/// Additions to journals that are to be committed.
pub(super) type Additions = Vec<(Name, Addition)>;

impl Writer {
    /// Changes a zone: decided on what is served, durable in its journal, published, told.
    ///
    /// # Errors
    /// [`ZoneError`]; nothing has changed then.
    pub(super) async fn change_zone(&mut self, change: ZoneChange, now: Timestamp) -> Result<ZoneChanged, ZoneError> {
        let ZoneChange { apex, expected, author, reason, edit: make } = change;
        let index = self.catalog.zones.iter().position(|z| z.name == apex).ok_or(ZoneError::NoZone)?;
        let Some(served) = &self.catalog.zones[index].served else { return Err(ZoneError::Unloaded) };
        // The drift is not held here, so that it can be changed where it is.
        let zone = served.zone.clone();
        let serial = zone.serial();
        if expected.is_some_and(|expected| expected != serial) {
            return Err(ZoneError::Stale { serial });
        }
        let mut edit = Edit::new(&zone);
        make(&mut edit).map_err(ZoneError::Refused)?;
        edit.raise_serial(self.catalog.settings.zones[index].serial, now);
        if !edit.changes_anything() {
            return Ok(ZoneChanged { serial, changed: false });
        }
        for rtype in [Rtype::SOA, Rtype::NS] {
            let records = edit.rrset(zone.apex(), rtype).map_or(0, |set| set.rdatas.len());
            if records == 0 || (rtype == Rtype::SOA && records > 1) {
                return Err(ZoneError::NoLongerAZone { rtype });
            }
        }
        let catalog = &self.catalog;
        let hidden = config::made_wrong(&edit, |name| catalog.pool_over(index, name), catalog.pools_over(index));
        if !hidden.is_empty() && catalog.settings.zones[index].file.is_some() {
            return Err(ZoneError::Pools(hidden));
        }
        for wrong in hidden {
            tracing::warn!(zone = %apex, author, %wrong, "a pool does not go with what the primary gives");
        }
        let (serial, touches_pools) = self.make_change(index, edit, (author, reason), Vec::new(), now).await?;
        if touches_pools {
            self.publish();
        } else {
            let pools = self.published.load().pools.clone();
            self.publish_pools(pools);
        }
        self.tell_serial(&apex, serial);
        Ok(ZoneChanged { serial, changed: true })
    }

    /// Signs `edit` of the zone at `index` where that is signed, and makes it durable together with `beside`; it is served once
    /// it is published. Gives the serial, and whether pools were signed anew.
    pub(super) async fn make_change(
        &mut self,
        index: usize,
        mut edit: Edit<'_>,
        (author, reason): (String, String),
        beside: Vec<Write>,
        now: Timestamp,
    ) -> Result<(u32, bool), ZoneError> {
        let zone = edit.zone();
        if let Some(whole) = self.with_signatures(index, &edit, now)? {
            edit = Edit::new(zone);
            edit.apply(&whole).expect("the signatures were made for this zone");
        }
        let entry = Entry { at: now, author, reason, diff: edit.diff() };
        self.commit_zone(index, &edit, entry, beside, now).await?;
        self.signed(index, now);
        Ok((edit.serial(), self.sign_pools_after(index, &edit, now)?))
    }

    /// Makes `edit` of the zone at `index` durable, together with `beside`; it is served once it is published.
    pub(super) async fn commit_zone(
        &mut self,
        index: usize,
        edit: &Edit<'_>,
        entry: Entry,
        beside: Vec<Write>,
        now: Timestamp,
    ) -> Result<(), ZoneError> {
        let apex = self.catalog.zones[index].name.clone();
        let Some(served) = &self.catalog.zones[index].served else { return Err(ZoneError::Unloaded) };
        let overlay = served.overlay.clone();
        let next = edit.zone().with(&entry.diff, &overlay).expect("the edit was made of this zone");
        let journal = self.journals.entry(apex.clone()).or_default();
        let drift = || {
            let mut drift = (*served.drift).clone();
            drift.follow(edit);
            drift.diff(&next)
        };
        let (addition, mut writes) = journal.add(&apex, Some(&entry), drift, false, now);
        writes.extend(beside);
        let changes = self.rrsets.changes_in(&self.catalog, index, &next, now);
        writes.extend(self.rrsets.writes(&changes, now));
        writes.extend(self.copies.before_journal(&apex));
        self.commit(writes).await.map_err(|error| ZoneError::Store(error.to_string()))?;
        self.added(vec![(apex.clone(), addition)]);

        let catalog = Arc::make_mut(&mut self.catalog);
        if let Some(served) = catalog.zones[index].served.take() {
            let mut drift = served.drift;
            Arc::make_mut(&mut drift).follow(edit);
            catalog.serve(index, Served { zone: Arc::new(next), overlay, drift, ..served });
        }
        self.warn_of_hidden(index, &entry.diff.added);
        self.take_rrsets(changes, now).await;
        let Entry { author, reason, diff: Diff { removed, added }, .. } = entry;
        let (removed, added) = (removed.len(), added.len());
        tracing::info!(zone = %apex, serial = edit.serial(), author, reason, removed, added, "zone changed");
        Ok(())
    }

    /// Says which names the pools of wildcards no longer answer for because of records that were added.
    fn warn_of_hidden(&self, index: usize, added: &[Record]) {
        let pools = &self.catalog.settings.pools;
        let Some(served) = &self.catalog.zones[index].served else { return };
        for pool in pools.iter().filter(|pool| pool.name.is_wildcard() && pool.name.is_at_or_below(served.zone.apex()))
        {
            let owners = added.iter().map(|record| record.owner.clone());
            let hidden = hidden(&pool.name, owners, |name| served.zone.types_at(name));
            for (name, by) in hidden.iter().filter(|(name, _)| !pools.iter().any(|pool| pool.name == **name)) {
                tracing::warn!(
                    pool = %pool.name, %name, %by,
                    "the pool {} does not answer for {name}, which exists without records because of {by}: NODATA (RFC 4592, 2.2.2)",
                    pool.name
                );
            }
        }
    }

    /// Learns of the journals that zones have which are new here: they were served once, and what they begin with now comes
    /// behind that.
    pub(super) async fn learn_journals(&mut self, catalog: &Catalog) -> Result<(), ControlError> {
        for ServedZone { name, .. } in &catalog.zones {
            if !self.journals.contains_key(name) {
                let read = Journal::read(&*self.store, name).await;
                let (journal, _) = read.map_err(|error| ControlError::Store(error.to_string()))?;
                self.journals.insert(name.clone(), journal);
            }
        }
        Ok(())
    }

    /// Brings what was read of zones together with what has become of them meanwhile. Gives what to commit.
    ///
    /// # Errors
    /// What of it would take new pools away: that could not be seen when it was read.
    pub(super) fn settle_zones(
        &self,
        catalog: &mut Catalog,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(Vec<Write>, Additions), ControlError> {
        let (mut writes, mut additions, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        for (index, mut reading) in std::mem::take(&mut catalog.readings).into_iter().enumerate() {
            let name = catalog.zones[index].name.clone();
            let current = self.catalog.zone(&name).and_then(|z| z.served.as_ref());
            if let Some(current) = current.filter(|_| catalog.zones[index].state == ZoneState::Awaited) {
                let next = current.under(&catalog.overlay(&name)); // it was transferred meanwhile
                (catalog.zones[index].state, catalog.zones[index].problem) = (ZoneState::Current, Vec::new());
                catalog.serve(index, next);
                continue;
            }
            let Some(read) = catalog.zones[index].served.clone() else { continue };
            if let Some(current) = current
                && !reading.base.as_ref().is_some_and(|base| Arc::ptr_eq(base, &current.zone))
            {
                let next = match &mut reading.edit {
                    Some(edit) => {
                        let settings = &catalog.settings.zones[index];
                        let (next, step, told) =
                            current.edited(settings, &edit.changed, (None, edit.digest), &read.overlay, now);
                        edit.step = step;
                        catalog.warnings.extend(told);
                        Served { steps: read.steps, ..next }
                    }
                    None => Served { loaded_at: read.loaded_at, digest: read.digest, ..current.under(&read.overlay) },
                };
                let is_ours = catalog.settings.zones[index].file.is_some();
                catalog.serve(index, next);
                if let Some(next) = catalog.zones[index].served.as_ref().filter(|_| is_ours) {
                    let wrong = config::wrong_over(catalog.pools_over(index), &next.zone).into_iter();
                    hidden.extend(wrong.filter(|wrong| !catalog.has_doubt(&wrong.message)));
                }
            }
            let Some(FileEdit { file, digest, step, keep, before, .. }) = reading.edit else { continue };
            let Some(served) = &catalog.zones[index].served else { continue };
            let reason = "its file was edited".to_owned();
            let entry = Entry { at: now, author: origin.author.clone(), reason, diff: step };
            let entry = Some(&entry).filter(|entry| !entry.diff.is_empty());
            let drift = || served.drift.diff(&served.zone);
            let journal = self.journals.get(&name).cloned().unwrap_or_default();
            let (addition, added) = journal.add(&name, entry, drift, true, now);
            match keep {
                Keep::Whole(copy) => {
                    let copy = copy.unwrap_or_else(|| copy_of(&file, served.loaded_at).into());
                    writes.extend(write_whole(&name, copy, digest, before));
                }
                Keep::Step(step) => {
                    writes.extend(self.copies.before_journal(&name)); // a step leads from something
                    writes.extend(write_step(&name, step, digest, before));
                }
            }
            writes.extend(added);
            additions.push((name, addition));
            self.background.run(move || drop(file)); // it may be the last holder, and large
        }
        if !hidden.is_empty() {
            return Err(ControlError::Unloadable(hidden.iter().map(ToString::to_string).collect()));
        }
        Ok((writes, additions))
    }

    /// What was to be added to journals is durable.
    pub(super) fn added(&mut self, additions: Additions) {
        for (name, addition) in additions {
            self.copies.is_kept(&name); // no journal is without the copy that it begins with
            self.journals.entry(name).or_default().added(addition);
        }
    }

    /// Tells who wants to know of zones that a reload has changed.
    pub(super) fn tell_serials(&self, before: &Catalog) {
        for zone in &self.catalog.zones {
            let Some(served) = &zone.served else { continue };
            let old = before.zone(&zone.name).and_then(|z| z.served.as_ref());
            if old.is_none_or(|old| old.zone.serial() != served.zone.serial()) {
                self.tell_serial(&zone.name, served.zone.serial());
            }
        }
    }

    pub(super) fn tell_serial(&self, apex: &Name, serial: u32) {
        // Nobody may be listening.
        _ = self.zone_events.send(ZoneEvent { apex: apex.clone(), serial });
    }
}
