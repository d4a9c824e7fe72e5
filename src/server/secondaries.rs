//! What is known of the secondaries of our zones: those that are told of new serials. Written by the thread that serves
//! requests, read by whoever wants to know.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

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
    /// The newest serial that it is known to have: it was transferred to the end, or asked for by IXFR from there.
    pub has: Option<At>,
}

/// By zone and by where the secondary listens.
#[derive(Debug, Default)]
pub struct Secondaries(Mutex<BTreeMap<(Name, SocketAddr), Secondary>>);

impl Secondaries {
    /// One of which all is known.
    #[cfg(test)]
    pub fn sample() -> Self {
        let at = Some((7, Timestamp(1_800_000_000)));
        let secondary = Secondary { notified: at, problem: None, asked: at, has: at };
        let key = ("example.org".parse().expect("it is a name"), ([192, 0, 2, 53], 53).into());
        Self(Mutex::new(BTreeMap::from([(key, secondary)])))
    }

    /// All that is known, by zone and address.
    pub fn all(&self) -> BTreeMap<(Name, SocketAddr), Secondary> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps those that are listed, and no others.
    pub(super) fn keep(&self, listed: impl Iterator<Item = (Name, SocketAddr)>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *known);
        *known = listed.map(|key| (key.clone(), before.remove(&key).unwrap_or_default())).collect();
    }

    /// Notes something of one secondary.
    pub(super) fn note(&self, apex: &Name, address: SocketAddr, note: impl FnOnce(&mut Secondary)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secondary) = known.get_mut(&(apex.clone(), address)) {
            note(secondary);
        }
    }

    /// Notes something of all secondaries of `apex` at `client`, whose queries come from other ports than it listens on.
    pub(super) fn note_client(&self, apex: &Name, client: IpAddr, note: impl Fn(&mut Secondary)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at_client = |(zone, address): &(Name, SocketAddr)| zone == apex && address.ip() == client.to_canonical();
        known.iter_mut().filter(|(key, _)| at_client(key)).for_each(|(_, secondary)| note(secondary));
    }
}
