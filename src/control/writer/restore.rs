//! Zones at a start: their files, and what the store knows of them. What comes out is what was served before, with the edits of
//! the files since then.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::catalog::Catalog;
use crate::control::copy::{self, Steps};
use crate::control::journal::{Entry, Journal};
use crate::control::message::ZoneState;
use crate::control::writer::copies::Uncopied;
use crate::control::writer::{SELF, StartError};
use crate::control::zones::{Fallback, FileEdit, Served};
use crate::dns::Name;
use crate::store::{StateStore, StoreError, Write};
use crate::time::Timestamp;
use crate::zone::Edit;
use crate::zone::compiled::Overlay;

/// A zone of more names is copied into the store once answering has begun.
const MOST_NAMES_AT_ONCE: usize = 10_000;

/// The last good contents of zones that can't be read.
pub(super) async fn last_good(store: &dyn StateStore, catalog: &Catalog) -> Result<Fallback, StoreError> {
    let mut fallback = Fallback::new();
    for zone in catalog.zones.iter().filter(|z| matches!(z.state, ZoneState::Unloaded | ZoneState::Awaited)) {
        if copy::known(store, &zone.name).await?.is_none() {
            continue; // there was none ever
        }
        if let Some(served) = copy::read(store, &zone.name, Overlay::default()).await? {
            fallback.insert(zone.name.clone(), served);
        } else {
            tracing::error!(zone = %zone.name, "the last good copy in the store can't be read either");
        }
    }
    Ok(fallback)
}

/// Brings what the journals say into the zones of `catalog`, which are as their files say. Gives the journals, what to commit,
/// and the large zones whose copy can wait until answering has begun.
pub(super) async fn restore(
    store: &dyn StateStore,
    catalog: &mut Catalog,
    now: Timestamp,
) -> Result<(BTreeMap<Name, Journal>, Vec<Write>, BTreeMap<Name, Uncopied>), StartError> {
    let (mut journals, mut writes, mut uncopied) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    for (index, reading) in std::mem::take(&mut catalog.readings).into_iter().enumerate() {
        let zone = &catalog.zones[index];
        let name = zone.name.clone();
        let (mut journal, steps) = Journal::read(store, &name).await?;
        let Some(in_file) = zone.served.clone() else {
            journals.insert(name, journal);
            continue;
        };
        let mut file = reading.edit; // none was read from the copy
        let known = copy::known(store, &name).await?;
        file.take_if(|file| known.is_some_and(|known| known.digest == file.digest));
        let is_as_it_was = file.is_none() || known.is_none(); // or never was
        let mut kept = known.map_or_else(Steps::default, |known| known.steps);
        let copy = if is_as_it_was {
            None
        } else {
            copy::read(store, &name, (*in_file.overlay).clone()).await? // what can't be read is taken for none
        };
        let before = copy.unwrap_or_else(|| in_file.clone());
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
            let changed = served.drift.changed(&served.zone, &in_file.zone);
            let whole = (Some(in_file.zone.clone()), in_file.digest);
            let settings = &catalog.settings.zones[index];
            let (next, diff, told) = served.edited(settings, &changed, whole, &in_file.overlay, now);
            let reason = "its file was edited while the server was stopped".to_owned();
            let entry = Entry { at: now, author: SELF.to_owned(), reason, diff };
            let drift = || next.drift.diff(&next.zone);
            let (addition, added) = journal.add(&name, Some(&entry).filter(|e| !e.diff.is_empty()), drift, true, now);
            journal.added(addition); // it is committed with all else, or there is no start
            writes.extend(added);
            catalog.warnings.extend(told);
            served = next;
        }
        if let Some(FileEdit { file, digest, .. }) = file {
            let first = Uncopied { file, digest, at: in_file.loaded_at };
            if is_as_it_was && known.is_none() && steps.is_empty() && first.file.name_count() > MOST_NAMES_AT_ONCE {
                uncopied.insert(name.clone(), first);
            } else {
                writes.extend(first.writes(&name, kept));
                kept = Steps::default();
            }
        }
        let Served { digest, loaded_at, .. } = in_file;
        catalog.serve(index, Served { digest, loaded_at, steps: kept, ..served });
        journals.insert(name, journal);
    }
    Ok((journals, writes, uncopied))
}
