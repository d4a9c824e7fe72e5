//! Zones at a start: their files, and what the store knows of them. What comes out is what was served before, with the edits of
//! the files since then.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::catalog::Catalog;
use crate::control::journal::{Entry, Journal};
use crate::control::message::ZoneState;
use crate::control::records::zone_key;
use crate::control::writer::{SELF, StartError};
use crate::control::zones::{Fallback, Served};
use crate::dns::Name;
use crate::store::{StateStore, StoreError, Write};
use crate::time::Timestamp;
use crate::zone::{Contents, Edit, Zone, master};

/// The last good contents of zones that can't be read.
pub(super) async fn last_good(store: &dyn StateStore, catalog: &Catalog) -> Result<Fallback, StoreError> {
    let mut fallback = Fallback::new();
    for zone in catalog.zones.iter().filter(|z| z.state == ZoneState::Unloaded) {
        let Some(value) = store.read(&zone_key(&zone.name)).await? else { continue };
        if let Some((contents, at)) = read_copy(&zone.name, &value) {
            fallback.insert(zone.name.clone(), (Arc::new(contents), at));
        } else {
            tracing::error!(zone = %zone.name, "the last good copy in the store can't be read either");
        }
    }
    Ok(fallback)
}

/// Brings what the journals say into the zones of `catalog`, which are as their files say. Gives the journals and what to
/// commit.
pub(super) async fn restore(
    store: &dyn StateStore,
    catalog: &mut Catalog,
    now: Timestamp,
) -> Result<(BTreeMap<Name, Journal>, Vec<Write>), StartError> {
    let (mut journals, mut writes) = (BTreeMap::new(), Vec::new());
    for (index, reading) in std::mem::take(&mut catalog.readings).into_iter().enumerate() {
        let zone = &catalog.zones[index];
        let name = zone.name.clone();
        let (mut journal, steps) = Journal::read(store, &name).await?;
        let Some(in_file) = zone.served.clone() else {
            journals.insert(name, journal);
            continue;
        };
        let text = reading.edit.map(|edit| edit.text);
        let stored = if text.is_some() { store.read(&zone_key(&name)).await? } else { None };
        let is_as_it_was = match (&text, &stored) {
            (Some(text), Some(stored)) => split_copy(stored).1 == text.as_bytes(),
            _ => true, // read from the copy, or never before
        };
        // One that can't be read is taken for none.
        let copy = stored.as_ref().filter(|_| !is_as_it_was).and_then(|stored| read_copy(&name, stored));
        let before = match copy {
            Some((contents, at)) => Served::new(Arc::new(contents), (*in_file.overlay).clone(), at),
            None => in_file.clone(),
        };
        let mut edit = Edit::new(&before.zone);
        for step in &steps {
            edit.apply(step).map_err(|mismatch| StartError::Journal { zone: name.clone(), mismatch })?;
        }
        let mut served = before.clone();
        if edit.changes_anything() {
            Arc::make_mut(&mut served.drift).follow(&edit);
            let zone = before.zone.with(&edit.diff(), &before.overlay);
            served.zone = Arc::new(zone.map_err(|mismatch| StartError::Journal { zone: name.clone(), mismatch })?);
        }
        if !is_as_it_was {
            let contents = Arc::new(contents_of(&in_file.zone));
            let changed = served.drift.changed(&served.zone, &contents);
            let settings = &catalog.settings.zones[index];
            let (next, diff, told) = served.edited(settings, &changed, Some(contents), &in_file.overlay, now);
            let reason = "its file was edited while the server was stopped".to_owned();
            let entry = Entry { at: now, author: SELF.to_owned(), reason, diff };
            let drift = || next.drift.diff(&next.zone);
            let (addition, added) = journal.add(&name, Some(&entry).filter(|e| !e.diff.is_empty()), drift, true, now);
            journal.added(addition); // it is committed with all else, or there is no start
            writes.extend(added);
            catalog.warnings.extend(told);
            served = next;
        }
        if let Some(text) = text.filter(|_| !is_as_it_was || stored.is_none()) {
            writes.push(write_copy(&name, in_file.loaded_at, &text));
        }
        catalog.serve(index, Served { loaded_at: in_file.loaded_at, ..served });
        journals.insert(name, journal);
    }
    Ok((journals, writes))
}

/// Keeps the text of a zone's file.
pub(super) fn write_copy(zone: &Name, at: Timestamp, text: &str) -> Write {
    Write::Put { key: zone_key(zone), value: format!("{at}\n{text}").into_bytes() }
}

fn read_copy(zone: &Name, value: &[u8]) -> Option<(Contents, Timestamp)> {
    let (at, text) = split_copy(value);
    Some((master::parse(text, zone_key(zone).as_ref(), zone).ok()?.contents, at?))
}

fn split_copy(value: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let end = value.iter().position(|b| *b == b'\n').unwrap_or(value.len());
    let at = std::str::from_utf8(&value[..end]).ok().and_then(|at| Timestamp::parse(at).ok());
    (at, value.get(end + 1..).unwrap_or_default())
}

fn contents_of(zone: &Zone) -> Contents {
    let mut contents = Contents::new(zone.apex().clone());
    for (owner, set) in zone.rrsets() {
        contents.owners.entry(owner).or_default().push(set);
    }
    contents
}
