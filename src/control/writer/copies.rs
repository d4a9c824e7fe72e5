//! Copies of large zone files that the store has none of: made in the background once answering has begun, so that the first
//! answer does not wait for them.
//!
//! What always holds: a journal is durable only together with, or after, the copy that it begins with. So a zone that changes
//! before its copy is there takes it along, and one that stopped before has neither: its file is read as if for the first time.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::control::copy::{Steps, copy_of, write_whole};
use crate::control::writer::Writer;
use crate::dns::Name;
use crate::store::{Value, Write};
use crate::time::Timestamp;
use crate::zone::Zone;

/// A zone file as read for the first time.
#[derive(Clone)]
pub(super) struct Uncopied {
    /// What it holds.
    pub file: Arc<Zone>,
    /// Of its octets.
    pub digest: u128,
    /// When it was read.
    pub at: Timestamp,
}

impl Uncopied {
    /// What keeps the copy.
    pub(super) fn writes(&self, zone: &Name, before: Steps) -> Vec<Write> {
        write_whole(zone, copy_of(&self.file, self.at).into(), self.digest, before)
    }

    /// The same, of a copy that is made.
    fn writes_of(&self, zone: &Name, copy: Value) -> Vec<Write> {
        write_whole(zone, copy, self.digest, Steps::default())
    }
}

/// The copies that are to be made.
pub(super) struct Copies {
    missing: BTreeMap<Name, Uncopied>,
    made: mpsc::UnboundedReceiver<Made>,
    maker: mpsc::UnboundedSender<Made>,
}

/// A copy, ready to be kept.
pub(super) struct Made {
    zone: Name,
    writes: Vec<Write>,
}

impl Copies {
    /// Of the zones that lack one.
    pub(super) fn of(missing: BTreeMap<Name, Uncopied>) -> Self {
        let (maker, made) = mpsc::unbounded_channel();
        Self { missing, made, maker }
    }

    /// The next one that is ready.
    pub(super) async fn made(&mut self) -> Option<Made> {
        self.made.recv().await
    }

    /// What has to be written with the first record of a journal.
    pub(super) fn before_journal(&self, zone: &Name) -> Vec<Write> {
        self.missing.get(zone).map_or_else(Vec::new, |missing| missing.writes(zone, Steps::default()))
    }

    /// The store has a copy of this zone, this one or a newer one.
    pub(super) fn is_kept(&mut self, zone: &Name) {
        self.missing.remove(zone);
    }
}

impl Writer {
    /// Has the copies made that are missing.
    pub(super) fn begin_copies(&self) {
        for (zone, missing) in self.copies.missing.clone() {
            let (maker, store) = (self.copies.maker.clone(), self.store.clone());
            self.background.run(move || {
                let writes = match store.keep(copy_of(&missing.file, missing.at)) {
                    Ok(copy) => missing.writes_of(&zone, copy),
                    Err(error) => {
                        tracing::error!(%zone, %error, "the store has no copy of a zone yet: it is made with its first change");
                        return;
                    }
                };
                drop(missing); // before the writer knows: what may be the last holder of a zone is not the writer
                _ = maker.send(Made { zone, writes }); // nobody wants it when the server stops
            });
        }
    }

    /// Keeps a copy that was made, unless the store has one by now.
    pub(super) async fn keep_copy(&mut self, copy: Made) {
        let Made { zone, writes } = copy;
        if self.copies.missing.contains_key(&zone) && self.commit(writes).await.is_ok() {
            self.copies.is_kept(&zone);
        }
    }
}
