//! The zone set: the zones we serve, and which of them a QNAME belongs to.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::dns::{Name, Rtype, name};
use crate::zone::Zone;
use crate::zone::access::AccessList;
use crate::zone::signing::online::Online;

/// The zones served. The child-most zone answers.
#[derive(Debug, Default)]
pub struct ZoneSet {
    entries: Vec<Entry>,
    table: HashTable<u32>,
    hasher: foldhash::quality::RandomState,
    /// Bit n: some apex has n labels.
    depths: u128,
    /// Of all zones.
    names: usize,
}

/// So many zones are compared one by one, which takes less than a hash.
const FEW: usize = 4;

/// A zone served, or one that should be.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its apex, in lower case.
    pub apex: Name,
    /// `None` when its file was never read: it is answered with SERVFAIL.
    pub zone: Option<Arc<Zone>>,
    /// Who may ask; `None`: everybody.
    pub allow_query: Option<AccessList>,
    /// What signs answers of it as they are made; `None` but for compact denial.
    pub online: Option<Arc<Online>>,
    /// Its primaries could not be asked for too long: what it holds is no longer known to be so.
    pub expired: bool,
}

impl ZoneSet {
    /// A set of these zones; no apex twice.
    pub fn new(zones: impl IntoIterator<Item = (Name, Option<Arc<Zone>>)>) -> Self {
        let mut set = Self::default();
        for (apex, zone) in zones {
            let apex = apex.to_lowercase();
            set.depths |= 1 << apex.label_count();
            let index = set.entries.len() as u32;
            let (entries, hasher) = (&set.entries, &set.hasher);
            set.table.insert_unique(hasher.hash_one(apex.wire()), index, |&i: &u32| {
                let other: &Entry = &entries[i as usize];
                hasher.hash_one(other.apex.wire())
            });
            set.names += zone.as_ref().map_or(0, |zone| zone.name_count());
            set.entries.push(Entry { apex, zone, allow_query: None, online: None, expired: false });
        }
        set
    }

    /// The zone `apex` is answered to those whom `list` allows, and to nobody else.
    pub fn restrict(&mut self, apex: &Name, list: AccessList) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.apex == *apex) {
            entry.allow_query = Some(list);
        }
    }

    /// What denies of the zone `apex` is signed as it is answered.
    pub fn sign_online(&mut self, apex: &Name, online: Arc<Online>) {
        if let Some(index) = self.index_of(apex.to_lowercase().wire()) {
            self.entries[index].online = Some(online);
        }
    }

    /// The zone `apex` has expired.
    pub fn expire(&mut self, apex: &Name) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.apex == *apex) {
            entry.expired = true;
        }
    }

    /// How many names its zones have in all.
    pub fn name_count(&self) -> usize {
        self.names
    }

    /// All zones, in the order given.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The zone that answers for `qname` (lower case, of `labels` labels) and `qtype`: the child-most one, but for DS at an
    /// apex the one above it, where that is served too (RFC 4035, 3.1.4.1).
    #[inline]
    pub fn find(&self, qname: &[u8], labels: usize, qtype: Rtype) -> Option<&Entry> {
        let mut rest = qname;
        let mut depth = labels;
        let mut at_apex = None;
        loop {
            if self.depths & 1 << depth != 0
                && let Some(entry) = self.get(rest)
            {
                if qtype == Rtype::DS && depth == labels {
                    at_apex = Some(entry);
                } else {
                    return Some(entry);
                }
            }
            let Some(up) = name::parent(rest) else { return at_apex };
            rest = up;
            depth -= 1;
        }
    }

    /// The zone whose apex is `lower`.
    #[inline]
    pub fn get(&self, lower: &[u8]) -> Option<&Entry> {
        self.index_of(lower).map(|index| &self.entries[index])
    }

    /// Where in [`ZoneSet::entries`] the zone stands whose apex is `lower`.
    #[inline]
    pub fn index_of(&self, lower: &[u8]) -> Option<usize> {
        if self.entries.len() <= FEW {
            return self.entries.iter().position(|entry| entry.apex.wire() == lower);
        }
        let found = self.table.find(self.hasher.hash_one(lower), |&i| self.entries[i as usize].apex.wire() == lower)?;
        Some(*found as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_most_zone_is_found_among_few_and_many() {
        let apexes =
            ["org", "a.org", "net", "b.a.org", "c", "d.c", "e.d.c", "f.net"].map(|apex| apex.parse::<Name>().unwrap());
        for count in 1..=apexes.len() {
            let served = &apexes[..count];
            let set = ZoneSet::new(served.iter().map(|apex| (apex.clone(), None)));
            for above in &apexes {
                for below in ["", "x.", "a.x.", "aorg."] {
                    let qname: Name = format!("{below}{above}").parse().unwrap();
                    let expected =
                        served.iter().filter(|apex| qname.is_at_or_below(apex)).max_by_key(|apex| apex.label_count());
                    let found = set.find(qname.wire(), qname.label_count(), Rtype::A).map(|entry| &entry.apex);
                    assert_eq!(found, expected, "{qname} of {count}");
                }
            }
        }
    }
}
