//! What is known of the secondaries of our zones: those that are told of new serials. Written by the thread that serves
//! requests, read by whoever wants to know.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::dns::Name;
use crate::time::Timestamp;

/// A serial, and when something happened with it.
pub type At = (u32, Timestamp);

/// What is known of one secondary and zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secondary {
    /// The newest serial whose NOTIFY it has acknowledged.
    pub notified: Option<At>,
    /// Why the newest NOTIFY is not acknowledged, as far as is known.
    pub problem: Option<String>,
    /// Its last SOA query: the serial that it was answered.
    pub asked: Option<At>,
    /// The newest serial that it is known to have, and since when: it was transferred to the end, asked for by IXFR from
    /// there, or the SOA that it answers.
    pub has: Option<At>,
    /// The newest serial that there is, and since when.
    pub newest: Option<At>,
}

impl Secondary {
    /// Since when there is a newer version than the one that it is known to have.
    pub fn behind_since(&self) -> Option<Timestamp> {
        let (newest, since) = self.newest?;
        self.has.is_none_or(|(has, _)| has != newest).then_some(since)
    }
}

/// What is known of all who are given zones.
#[derive(Debug, Default)]
pub struct Secondaries {
    known: Mutex<Known>,
    changes: AtomicU64,
}

/// Of the listed ones by zone and by where they listen, of others by zone and address.
#[derive(Debug, Default)]
struct Known {
    listed: BTreeMap<(Name, SocketAddr), Secondary>,
    others: BTreeMap<(Name, IpAddr), Receiver>,
}

/// What is known of one who is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// The serial that it was given, or begins to be given, first of all.
    pub given: u32,
    /// The newest that it was given to the end, and since when.
    pub has: Option<At>,
}

impl Secondaries {
    /// One of which all is known.
    #[cfg(test)]
    pub fn sample() -> Self {
        let at = Some((7, Timestamp(1_800_000_000)));
        let secondary = Secondary { notified: at, problem: None, asked: at, has: at, newest: at };
        let key = ("example.org".parse().expect("it is a name"), ([192, 0, 2, 53], 53).into());
        let known = Known { listed: BTreeMap::from([(key, secondary)]), others: BTreeMap::new() };
        Self { known: known.into(), changes: AtomicU64::new(1) }
    }

    /// All that is known of those that are listed, by zone and address.
    pub fn all(&self) -> BTreeMap<(Name, SocketAddr), Secondary> {
        self.read().listed.clone()
    }

    /// What is known of those that are listed for `apex`.
    pub fn of(&self, apex: &Name) -> Vec<(SocketAddr, Secondary)> {
        let listed = &self.read().listed;
        let of_zone = listed.iter().filter(|((zone, _), _)| zone == apex);
        of_zone.map(|((_, address), known)| (*address, known.clone())).collect()
    }

    /// Who else was given `apex`, or begins to be: which serial, and when.
    pub fn others(&self, apex: &Name) -> Vec<(IpAddr, Receiver)> {
        let others = &self.read().others;
        others.iter().filter(|((zone, _), _)| zone == apex).map(|((_, client), known)| (*client, *known)).collect()
    }

    /// Which serial of `apex` the listed secondary at `client` is known to have, since when. Where several are listed at one
    /// address it is not known which of them it is.
    pub fn serial_at(&self, apex: &Name, client: IpAddr) -> Option<At> {
        let known = self.read();
        let mut here = known.listed.iter().filter(|((zone, at), _)| zone == apex && at.ip() == client);
        let (_, first) = here.next()?;
        if here.next().is_some() { None } else { first.has }
    }

    /// Goes up with each change of what is known.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Forgets one who is not listed.
    pub fn forget(&self, apex: &Name, client: IpAddr) {
        self.change().others.remove(&(apex.clone(), client));
    }

    /// Keeps those that are listed, and no others.
    pub(super) fn keep(&self, listed: impl Iterator<Item = (Name, SocketAddr)>) {
        let listed_now = &mut self.change().listed;
        let mut before = std::mem::take(listed_now);
        *listed_now = listed.map(|key| (key.clone(), before.remove(&key).unwrap_or_default())).collect();
    }

    /// Notes something of one secondary.
    pub(super) fn note(&self, apex: &Name, address: SocketAddr, note: impl FnOnce(&mut Secondary)) {
        if let Some(secondary) = self.change().listed.get_mut(&(apex.clone(), address)) {
            note(secondary);
        }
    }

    /// Notes something of all secondaries of `apex` at `client`, whose queries come from other ports than it listens on.
    /// Gives whether there are any.
    pub(super) fn note_client(&self, apex: &Name, client: IpAddr, note: impl Fn(&mut Secondary)) -> bool {
        let mut known = self.change();
        let at_client = |(zone, address): &(Name, SocketAddr)| zone == apex && address.ip() == client.to_canonical();
        let here = known.listed.iter_mut().filter(|(key, _)| at_client(key));
        here.map(|(_, secondary)| note(secondary)).count() > 0
    }

    /// Notes that `client` is about to be given the version `serial` of `apex`.
    pub(super) fn begins(&self, apex: &Name, client: IpAddr, serial: u32) {
        if !self.note_client(apex, client, |_| {}) {
            let receiver = Receiver { given: serial, has: None };
            self.change().others.entry((apex.clone(), client.to_canonical())).or_insert(receiver);
        }
    }

    /// Notes that `client` has the version `serial` of `apex`.
    pub(super) fn has(&self, apex: &Name, client: IpAddr, serial: u32, now: Timestamp) {
        let is_listed = self.note_client(apex, client, |secondary| {
            if secondary.has.is_none_or(|(has, _)| has != serial) {
                secondary.has = Some((serial, now));
            }
        });
        if !is_listed {
            let mut known = self.change();
            let key = (apex.clone(), client.to_canonical());
            let receiver = known.others.entry(key).or_insert(Receiver { given: serial, has: None });
            if receiver.has.is_none_or(|(has, _)| has != serial) {
                receiver.has = Some((serial, now));
            }
        }
    }

    /// The newest serial that the secondary listening at `address` is known to have.
    pub(super) fn has_at(&self, apex: &Name, address: SocketAddr) -> Option<u32> {
        let known = self.read();
        Some(known.listed.get(&(apex.clone(), address))?.has?.0)
    }

    /// Notes that the secondary listening at `address` answers with this serial.
    pub(super) fn saw(&self, apex: &Name, address: SocketAddr, serial: u32, now: Timestamp) {
        self.note(apex, address, |secondary| secondary.has = Some((serial, now)));
    }

    fn read(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change what is known; the count goes up before it can be read again.
    fn change(&self) -> MutexGuard<'_, Known> {
        let known = self.read();
        self.changes.fetch_add(1, Ordering::Release);
        known
    }
}
