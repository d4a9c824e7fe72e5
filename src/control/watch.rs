//! Zones whose files are watched: one that changes is read again once it has stayed as it is for a look.
//!
//! What a file includes is not watched. A file that is replaced by another one is that other one; one that is missing for a
//! while is waited for.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::control::Handle;
use crate::control::message::{Origin, ReloadWish};
use crate::dns::Name;
use crate::time::Timestamp;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What was written longer ago than that was read as it is.
const RECENT_SECS: u64 = 10;

/// What tells one content of a file from another: device, inode, octets, when it was written in seconds and nanoseconds.
type Stamp = [u64; 5];

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// As it was when it was read; `None`: it may have been written since.
    read: Option<Stamp>,
    /// As it was at the last look.
    last: Stamp,
}

impl Seen {
    /// Takes in a look; gives whether the file is to be read.
    fn look(&mut self, now: Stamp) -> bool {
        let is_settled = std::mem::replace(&mut self.last, now) == now;
        let is_new = is_settled && self.read != Some(now);
        if is_new {
            self.read = Some(now);
        }
        is_new
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let of = std::fs::metadata(file).ok()?;
    Some([of.dev(), of.ino(), of.size(), of.mtime() as u64, of.mtime_nsec() as u64])
}

/// Watches until `stop`.
pub async fn watch(control: Handle, stop: CancellationToken) {
    let mut seen: HashMap<Name, Seen> = HashMap::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let zones = control.published().zone_settings.clone();
        let watched = move || {
            let watched = zones.iter().filter(|zone| zone.watch);
            watched.filter_map(|zone| Some((zone.name.clone(), stamp(zone.file.as_ref()?)?))).collect::<Vec<_>>()
        };
        let Ok(stamps) = tokio::task::spawn_blocking(watched).await else { continue };
        for (zone, now) in stamps {
            // One that was written about when the server read it is read once more.
            let is_old = || Timestamp(now[3]).after(RECENT_SECS) < Timestamp::now();
            let first = || Seen { read: is_old().then_some(now), last: now };
            if seen.entry(zone.clone()).or_insert_with(first).look(now) {
                let origin = Origin { author: "watch".to_owned(), ..Origin::default() };
                // What comes of it, the writer tells the log.
                _ = control.reload(origin, ReloadWish { zone: Some(zone), ..ReloadWish::default() }).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once_it_stays_as_it_is() {
        let stamp = |n| [1, 2, n, 3, 4];
        let mut seen = Seen { read: Some(stamp(0)), last: stamp(0) };
        let looks = [0, 1, 2, 2, 2, 3, 0, 0, 0].map(|n| seen.look(stamp(n)));
        assert_eq!(looks, [false, false, false, true, false, false, false, true, false]);
    }
}
