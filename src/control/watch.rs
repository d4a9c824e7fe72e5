//! Zones whose files are watched: one of which a file changes, the master file or one that it includes, is read again once all
//! of them have stayed as they are for a look.
//!
//! A file that is replaced by another one is that other one; one that is missing for a while is waited for.

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::control::Handle;
use crate::control::message::{Origin, ReloadWish};
use crate::dns::Name;
use crate::time::Timestamp;
use crate::zone::Stamps;
use crate::zone::stamps::Watched;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of the files of a zone, beside what was read.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// As they were at the last look.
    last: Option<Stamps>,
    /// As they were when they were to be read last, and whether they were settled then.
    tried: Option<(Stamps, bool)>,
}

impl Seen {
    /// Takes in that the files are so at `now`; gives whether they are to be read.
    fn look(&mut self, watched: &Watched, stamps: Stamps, now: Timestamp) -> bool {
        let stays = self.last.as_ref() == Some(&stamps);
        self.last = Some(stamps.clone());
        let is_settled = stamps.were_settled(now);
        // What had just been written when it was read is read once more.
        let is_known = stamps == watched.stamps && (watched.stamps.were_settled(watched.read_at) || !is_settled);
        let wanted = Some((stamps, is_settled));
        let is_new = stays && !is_known && self.tried != wanted;
        if is_new {
            self.tried = wanted;
        }
        is_new
    }
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
        let watched = control.published().watched.clone();
        let look = move || watched.iter().map(|watched| (watched.clone(), watched.stamps.again())).collect::<Vec<_>>();
        let Ok(found) = tokio::task::spawn_blocking(look).await else { continue };
        for (watched, stamps) in found {
            let zone = watched.zone.clone();
            if seen.entry(zone.clone()).or_default().look(&watched, stamps, Timestamp::now()) {
                let origin = Origin { author: "watch".to_owned(), ..Origin::default() };
                // What comes of it, the writer tells the log.
                _ = control.reload(origin, ReloadWish { zone: Some(zone), ..ReloadWish::default() }).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_read_once_they_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zone");
        let stamps = |text: &str| {
            fs::write(&file, text).unwrap();
            let mut stamps = Stamps::default();
            stamps.note(&file);
            stamps
        };
        let (first, second, third) = (stamps("1"), stamps("22"), stamps("333"));
        let now = Timestamp::now();
        let later = now.after(60);
        let mut watched = Watched { zone: "example".parse().unwrap(), stamps: first.clone(), read_at: later };
        let mut seen = Seen::default();
        let looks = [&first, &first, &second, &third, &third, &third, &second, &first, &first];
        let looks = looks.map(|stamps| seen.look(&watched, stamps.clone(), later));
        assert_eq!(looks, [false, false, false, false, true, false, false, false, false]);
        let looks = [&second, &second].map(|stamps| seen.look(&watched, stamps.clone(), later));
        assert_eq!(looks, [false, true]);
        // Read while it had just been written: once more, when that is past.
        (watched.stamps, watched.read_at) = (second.clone(), now);
        let looks = [now, now, later, later].map(|at| seen.look(&watched, second.clone(), at));
        assert_eq!(looks, [false, false, false, false], "it was tried when it was settled");
        let mut seen = Seen::default();
        let looks = [now, now, later, later].map(|at| seen.look(&watched, second.clone(), at));
        assert_eq!(looks, [false, false, true, false]);
    }
}
