//! The journal of a zone: what changed it, step by step, in the store. From it the zone is served after a restart as it was
//! before, and IXFR (RFC 1995) is answered.
//!
//! | key | value |
//! |---|---|
//! | `journal/APEX NUMBER` | one [`Entry`]; the number has leading zeros, so that keys sort: serials go round |
//! | `drift/APEX` | what leads from the file as it was read last ([`copy`](super::copy)) to the zone after the entry of a number: all entries until then are folded into it |
//!
//! So a zone is its file, then the drift, then the entries behind it. Old entries go once the journal is too large or they are
//! too old, never before they are folded.

use std::collections::VecDeque;

use crate::dns::{Name, Rtype, Ttl};
use crate::store::{Order, Scan, StateStore, StoreError, Write};
use crate::time::Timestamp;
use crate::zone::{Diff, Record};

/// Octets of the entries of one zone; an entry of more than half of it is not kept, as a transfer of the zone says as much.
const MAX_OCTETS: usize = 16 << 20;
/// Entries are kept for so long.
const MAX_AGE_SECS: u64 = 30 * 86_400;
/// Entries are folded once they have so many octets, or as many as the drift, so that folding costs no more than adding.
const FOLD_OCTETS: usize = 1 << 20;
/// Entries that are read at a time.
const PAGE: usize = 64;
/// The first octet of what is written here.
pub(super) const FORMAT: u8 = 1;

/// One change of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was made.
    pub at: Timestamp,
    /// Who made it.
    pub author: String,
    /// Why, in their words.
    pub reason: String,
    /// What changed.
    pub diff: Diff,
}

/// What the store holds of the journal of one zone, without the entries themselves.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The number of the next entry, from 1 on.
    next: u64,
    /// The number of the last entry that is folded.
    folded: u64,
    kept: VecDeque<Kept>,
    /// Octets of all kept.
    octets: usize,
    /// Octets of those that are not folded.
    unfolded_octets: usize,
    drift_octets: usize,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    number: u64,
    octets: usize,
    at: Timestamp,
}

/// An entry that is to be committed.
#[derive(Debug)]
pub struct Addition {
    entry: Option<Kept>,
    /// How many of the oldest go.
    gone: usize,
    /// Octets of the new drift, if there is one.
    folded: Option<usize>,
}

impl Journal {
    /// Reads the journal of `apex` from the store: what leads from its file to what was served last.
    ///
    /// # Errors
    /// [`JournalError`]; nothing is guessed.
    pub async fn read(store: &dyn StateStore, apex: &Name) -> Result<(Self, Vec<Diff>), JournalError> {
        let mut journal = Self { next: 1, ..Self::default() };
        let mut steps = Vec::new();
        let key = drift_key(apex);
        if let Some(value) = store.read(&key).await? {
            let mut octets = Octets(&value);
            let read =
                (octets.format().and_then(|()| Some((octets.u64()?, octets.diff()?)))).filter(|_| octets.is_end());
            let (through, drift) = read.ok_or(JournalError::Malformed { key })?;
            (journal.folded, journal.next, journal.drift_octets) = (through, through + 1, value.len());
            steps.push(drift);
        }
        for (key, value) in store.scan(Scan::all(&prefix(apex))).await? {
            let number = key.rsplit(' ').next().and_then(|number| number.parse().ok());
            let (Some(number), Some(entry)) = (number, Entry::decode(&value)) else {
                return Err(JournalError::Malformed { key });
            };
            journal.keep(Kept { number, octets: value.len(), at: entry.at });
            if number > journal.folded {
                steps.push(entry.diff);
            }
        }
        Ok((journal, steps))
    }

    /// What to commit so that `entry` is durable. `drift` leads from the file to the zone with that entry; `file_changed`:
    /// from another file than before.
    pub fn add(
        &self,
        apex: &Name,
        entry: Option<&Entry>,
        drift: impl FnOnce() -> Diff,
        file_changed: bool,
        now: Timestamp,
    ) -> (Addition, Vec<Write>) {
        let mut writes = Vec::new();
        let encoded = entry.map(Entry::encode);
        let octets = encoded.as_ref().map_or(0, Vec::len);
        let number = self.next.max(1);
        let keeps = octets > 0 && octets <= MAX_OCTETS / 2;
        let (mut left, mut gone) = (self.octets + octets, 0);
        while let Some(oldest) = self.kept.get(gone)
            && (left > MAX_OCTETS || now.since(oldest.at) > MAX_AGE_SECS || octets > 0 && !keeps)
        {
            writes.push(Write::Delete { key: key(apex, oldest.number) });
            left -= oldest.octets;
            gone += 1;
        }
        let loses = gone > 0 && self.kept[gone - 1].number > self.folded;
        let enough = self.unfolded_octets + octets > FOLD_OCTETS.max(self.drift_octets);
        let fold = file_changed || loses || enough || (octets > 0 && !keeps);
        // A file that nothing ever changed but edits needs none of this.
        let folded = (fold && (number > 1 || entry.is_some())).then(|| {
            let through = if entry.is_some() { number } else { number - 1 };
            let value = encode_drift(through, &drift());
            let octets = value.len();
            writes.push(Write::Put { key: drift_key(apex), value: value.into() });
            octets
        });
        if let Some(value) = encoded.filter(|_| keeps) {
            writes.push(Write::Put { key: key(apex, number), value: value.into() });
        }
        let entry = entry.map(|entry| Kept { number, octets: if keeps { octets } else { 0 }, at: entry.at });
        (Addition { entry, gone, folded }, writes)
    }

    /// The addition is durable.
    pub fn added(&mut self, addition: Addition) {
        for gone in self.kept.drain(..addition.gone) {
            self.octets -= gone.octets;
        }
        if let Some(entry) = addition.entry {
            if entry.octets > 0 {
                self.keep(entry);
            }
            self.next = entry.number + 1;
        }
        if let Some(octets) = addition.folded {
            (self.folded, self.unfolded_octets, self.drift_octets) = (self.next - 1, 0, octets);
        }
    }

    fn keep(&mut self, entry: Kept) {
        self.octets += entry.octets;
        if entry.number > self.folded {
            self.unfolded_octets += entry.octets;
        }
        self.next = self.next.max(entry.number + 1);
        self.kept.push_back(entry);
    }
}

/// What led the zone `apex` from serial `from` to serial `to`, step by step; `None` when the journal does not say.
///
/// # Errors
/// [`JournalError`].
pub async fn steps(store: &dyn StateStore, apex: &Name, from: u32, to: u32) -> Result<Option<Vec<Diff>>, JournalError> {
    let prefix = prefix(apex);
    let (mut steps, mut wanted, mut past) = (VecDeque::new(), to, None::<String>);
    while wanted != from {
        let scan = Scan { prefix: &prefix, past: past.as_deref(), limit: PAGE, order: Order::Descending };
        let page = store.scan(scan).await?;
        if page.is_empty() {
            return Ok(None);
        }
        for (key, value) in page {
            let entry = Entry::decode(&value).ok_or_else(|| JournalError::Malformed { key: key.clone() })?;
            past = Some(key);
            match entry.diff.serials() {
                Some((before, after)) if after == wanted => {
                    steps.push_front(entry.diff);
                    wanted = before;
                    if wanted == from {
                        break;
                    }
                }
                _ if steps.is_empty() => {} // newer than what was asked for
                _ => return Ok(None),
            }
        }
    }
    Ok(Some(steps.into()))
}

/// A journal that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its octets are no entry.
    #[error("the store's record {key:?} is no part of a journal")]
    Malformed {
        /// Which.
        key: String,
    },
}

fn prefix(apex: &Name) -> String {
    format!("journal/{} ", apex.to_lowercase()) // a name as text has no blank in it
}

fn key(apex: &Name, number: u64) -> String {
    format!("{}{number:020}", prefix(apex))
}

fn drift_key(apex: &Name) -> String {
    format!("drift/{}", apex.to_lowercase())
}

fn encode_drift(through: u64, diff: &Diff) -> Vec<u8> {
    let mut out = vec![FORMAT];
    out.extend(through.to_be_bytes());
    put_diff(diff, &mut out);
    out
}

impl Entry {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend(self.at.0.to_be_bytes());
        for text in [&self.author, &self.reason] {
            let text = &text.as_bytes()[..text.floor_char_boundary(u16::MAX.into())];
            out.extend((text.len() as u16).to_be_bytes());
            out.extend(text);
        }
        put_diff(&self.diff, &mut out);
        out
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let mut octets = Octets(value);
        octets.format()?;
        let (at, author, reason, diff) = (Timestamp(octets.u64()?), octets.text()?, octets.text()?, octets.diff()?);
        octets.is_end().then_some(Self { at, author, reason, diff })
    }
}

pub(super) fn put_diff(diff: &Diff, out: &mut Vec<u8>) {
    for records in [&diff.removed, &diff.added] {
        out.extend((records.len() as u32).to_be_bytes());
        for Record { owner, rtype, ttl, rdata } in records {
            out.push(owner.wire().len() as u8);
            out.extend(owner.wire());
            out.extend(rtype.0.to_be_bytes());
            out.extend(ttl.secs().to_be_bytes());
            out.extend((rdata.len() as u16).to_be_bytes());
            out.extend(&rdata[..]);
        }
    }
}

/// Octets that are read from the front.
pub(super) struct Octets<'o>(pub(super) &'o [u8]);

impl<'o> Octets<'o> {
    fn take(&mut self, octets: usize) -> Option<&'o [u8]> {
        let (taken, rest) = self.0.split_at_checked(octets)?;
        self.0 = rest;
        Some(taken)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
    pub(super) fn format(&mut self) -> Option<()> {
        (self.take(1)? == [FORMAT]).then_some(())
    }
    fn text(&mut self) -> Option<String> {
        let octets = self.u16()?.into();
        String::from_utf8(self.take(octets)?.to_vec()).ok()
    }
    pub(super) fn is_end(&self) -> bool {
        self.0.is_empty()
    }

    fn record(&mut self) -> Option<Record> {
        let octets = usize::from(self.array::<1>()?[0]);
        let owner = Name::from_wire(self.take(octets)?).ok()?;
        let (rtype, ttl) = (Rtype(self.u16()?), Ttl::from_secs(self.u32()?.into()));
        let octets = self.u16()?.into();
        Some(Record { owner, rtype, ttl, rdata: self.take(octets)?.into() })
    }

    pub(super) fn diff(&mut self) -> Option<Diff> {
        let mut diff = Diff::default();
        for records in [&mut diff.removed, &mut diff.added] {
            for _ in 0..self.u32()? {
                records.push(self.record()?);
            }
        }
        Some(diff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Embedded;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn soa(serial: u32) -> Record {
        let mut rdata = vec![0, 0];
        rdata.extend(serial.to_be_bytes());
        rdata.extend([0; 16]);
        let owner = "example".parse().unwrap();
        Record { owner, rtype: Rtype::SOA, ttl: Ttl::from_secs(60), rdata: rdata.into() }
    }

    fn entry(from: u32, padding: usize) -> Entry {
        let text = Record { rtype: Rtype::TXT, rdata: vec![1; padding.min(65_535)].into(), ..soa(0) };
        let added = std::iter::once(soa(from + 1)).chain(std::iter::repeat_n(text, padding.div_ceil(65_535))).collect();
        let diff = Diff { removed: vec![soa(from)], added };
        Entry { at: NOW, author: "a".to_owned(), reason: "because".to_owned(), diff }
    }

    async fn add(store: &Embedded, journal: &mut Journal, entry: &Entry, now: Timestamp) {
        let apex = "example".parse().unwrap();
        let (addition, writes) = journal.add(&apex, Some(entry), Diff::default, false, now);
        let revision = store.revision().await.unwrap();
        store.commit(revision, writes).await.unwrap();
        journal.added(addition);
    }

    #[tokio::test]
    async fn steps_are_found_from_serial_to_serial() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let apex: Name = "Example".parse().unwrap();
        let mut journal = Journal::read(&store, &apex).await.unwrap().0;
        for serial in 1..=200 {
            add(&store, &mut journal, &entry(serial, 10), NOW).await;
        }
        let found = steps(&store, &apex, 50, 150).await.unwrap().unwrap();
        assert_eq!(found.len(), 100);
        assert_eq!((found[0].serials(), found[99].serials()), (Some((50, 51)), Some((149, 150))));
        assert_eq!(steps(&store, &apex, 201, 201).await.unwrap(), Some(vec![]));
        assert_eq!(steps(&store, &apex, 0, 201).await.unwrap(), None);
        assert_eq!(steps(&store, &apex, 10, 300).await.unwrap(), None);
        let (again, all) = Journal::read(&store, &apex).await.unwrap();
        assert_eq!((again.next, all.len()), (201, 200));
    }

    #[tokio::test]
    async fn what_is_old_or_too_much_goes_once_it_is_folded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let apex = "example".parse().unwrap();
        let mut journal = Journal::read(&store, &apex).await.unwrap().0;
        for serial in 1..=9 {
            add(&store, &mut journal, &entry(serial, 2 << 20), NOW).await;
        }
        let (read, unfolded) = Journal::read(&store, &apex).await.unwrap();
        assert!(read.octets <= MAX_OCTETS && read.kept.len() < 9 && read.folded == 9, "{read:?}");
        assert_eq!(unfolded.len(), 1, "only the drift");
        assert!(steps(&store, &apex, 9, 10).await.unwrap().is_some());
        assert!(steps(&store, &apex, 1, 10).await.unwrap().is_none());

        add(&store, &mut journal, &entry(10, MAX_OCTETS), NOW).await;
        let (read, _) = Journal::read(&store, &apex).await.unwrap();
        assert_eq!((read.kept.len(), read.folded, read.next), (0, 10, 11), "{read:?}");

        add(&store, &mut journal, &entry(11, 10), NOW).await;
        add(&store, &mut journal, &entry(12, 10), NOW.after(MAX_AGE_SECS + 1)).await;
        let (read, steps) = Journal::read(&store, &apex).await.unwrap();
        assert_eq!((read.kept.len(), read.next), (1, 13), "{read:?}");
        assert!(read.folded >= 11 && steps.len() <= 2);
        assert_eq!((journal.octets, journal.unfolded_octets), (read.octets, read.unfolded_octets));
    }

    proptest! {
        #[test]
        fn entries_come_back_as_they_were(author in ".{0,9}", reason in ".{0,9}", padding in 0usize..70_000) {
            let entry = Entry { author, reason, ..entry(7, padding) };
            prop_assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }

        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Entry::decode(&octets);
            let _ = Entry::decode(&[&[FORMAT], &octets[..]].concat());
        }
    }
}
