//! Last good contents of zones, kept in the store: what is served when a file can't be read.

use std::sync::Arc;

use crate::control::catalog::{Catalog, Fallback};
use crate::control::message::ZoneState;
use crate::control::records::zone_key;
use crate::store::{StateStore, StoreError, Write};
use crate::time::Timestamp;
use crate::zone::master;

/// The last good contents of zones that can't be read.
pub(super) async fn last_good(store: &dyn StateStore, catalog: &Catalog) -> Result<Fallback, StoreError> {
    let mut fallback = Fallback::new();
    for zone in catalog.zones.iter().filter(|z| z.state == ZoneState::Unloaded) {
        let key = zone_key(&zone.name);
        let Some(value) = store.read(&key).await? else { continue };
        let (at, text) = split_copy(&value);
        if let (Some(at), Ok(loaded)) = (at, master::parse(text, key.as_ref(), &zone.name)) {
            fallback.insert(zone.name.clone(), (Arc::new(loaded.contents), at));
        } else {
            tracing::error!(zone = %zone.name, "the last good copy in the store can't be read either");
        }
    }
    Ok(fallback)
}

/// Copies of the zones that were read anew, for [`last_good`].
pub(super) fn zone_copies(catalog: &Catalog, before: Option<&Catalog>) -> Vec<Write> {
    let mut writes = Vec::new();
    for zone in catalog.zones.iter().filter(|z| z.state == ZoneState::Current) {
        let Some(served) = &zone.served else { continue };
        let old = before.and_then(|b| b.zone(&zone.name)).and_then(|z| z.served.as_ref());
        if !old.is_some_and(|old| Arc::ptr_eq(&old.contents, &served.contents)) {
            let value = format!("{}\n{}", served.loaded_at, master::print(&served.contents)).into_bytes();
            writes.push(Write::Put { key: zone_key(&zone.name), value });
        }
    }
    writes
}

/// Those `copies` that the store does not have yet.
pub(super) async fn stale_copies(store: &dyn StateStore, copies: Vec<Write>) -> Result<Vec<Write>, StoreError> {
    let mut stale = Vec::new();
    for copy in copies {
        if let Write::Put { key, value } = &copy {
            let stored = store.read(key).await?;
            if stored.is_some_and(|stored| split_copy(&stored).1 == split_copy(value).1) {
                continue;
            }
        }
        stale.push(copy);
    }
    Ok(stale)
}

fn split_copy(value: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let end = value.iter().position(|b| *b == b'\n').unwrap_or(value.len());
    let at = std::str::from_utf8(&value[..end]).ok().and_then(|at| Timestamp::parse(at).ok());
    (at, value.get(end + 1..).unwrap_or_default())
}
