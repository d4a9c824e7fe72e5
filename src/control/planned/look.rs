//! Where planned RRsets lie in the zones, and what the zones say of them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash as _, Hasher as _};

use siphasher::sip::SipHasher13;

use crate::config;
use crate::control::catalog::Catalog;
use crate::control::message::ZoneState;
use crate::dns::{Name, Rtype};
use crate::query::planned::PLANNED;
use crate::steering::planned::{Answered, RrsetKey, Seen};
use crate::zone::Zone;
use crate::zone::compiled::{BESIDE, NO_ADDRESSES, Place};

/// What lies over an owner name because of planned RRsets.
pub struct OfName<'s> {
    /// The owner name.
    pub name: &'s Name,
    /// The place of the pool of that name.
    pub pool: Option<u32>,
    /// By their places in the settings.
    pub rrsets: Vec<usize>,
}

impl OfName<'_> {
    /// Its slot in the overlay of its zone, where it is the n-th name.
    pub fn slot(&self, n: usize, settings: &config::Settings) -> u32 {
        let is_address = |i: &usize| matches!(settings.rrsets[*i].key.rtype, Rtype::A | Rtype::AAAA | Rtype::CNAME);
        let beside = match self.pool {
            Some(_) => 0,
            None if self.rrsets.iter().any(is_address) => BESIDE,
            None => BESIDE | NO_ADDRESSES,
        };
        n as u32 | PLANNED | beside
    }
}

/// The owner names of planned RRsets, in the order of their slots.
pub fn names(settings: &config::Settings) -> Vec<OfName<'_>> {
    let mut names: Vec<OfName<'_>> = Vec::new();
    if settings.rrsets.is_empty() {
        return names;
    }
    let mut places: BTreeMap<&Name, usize> = BTreeMap::new();
    let pools: HashMap<&Name, u32> = settings.pools.iter().map(|pool| &pool.name).zip(0..).collect();
    for (i, rrset) in settings.rrsets.iter().enumerate() {
        let name = &rrset.key.name;
        let place = *places.entry(name).or_insert_with(|| {
            let pool = pools.get(name).copied();
            names.push(OfName { name, pool, rrsets: Vec::new() });
            names.len() - 1
        });
        names[place].rrsets.push(i);
    }
    names
}

/// What `zone` says of an RRset.
pub fn look(zone: &Zone, key: &RrsetKey) -> Seen {
    let mut hasher = SipHasher13::new();
    let mut seen = |answered: Answered, rdatas: Vec<Box<[u8]>>, ttl| {
        let mut rdatas = rdatas;
        rdatas.sort_unstable();
        (answered as u8, rdatas).hash(&mut hasher);
        Seen { answered, digest: hasher.finish(), ttl }
    };
    let lower = key.name.to_lowercase();
    match zone.find(lower.wire(), false) {
        Place::Node(node) => {
            let owner = Name::from_wire(node.name()).unwrap_or_else(|_| lower.clone());
            let here = if owner == lower { Answered::Rrset } else { Answered::Other };
            match zone.rrset(&owner, key.rtype).filter(|_| node.rrset(key.rtype).is_some()) {
                Some(set) => seen(here, set.rdatas, set.ttl),
                None => match node.alias() {
                    Some(alias) => seen(Answered::Other, vec![alias.target.into()], alias.ttl),
                    None => seen(Answered::Nothing, Vec::new(), zone.negative_ttl()),
                },
            }
        }
        Place::Referral(referral, _) => seen(Answered::Other, vec![b"referral"[..].into()], referral.ttl()),
        Place::Dname(_, _, alias) => seen(Answered::Other, vec![alias.target.into()], alias.ttl),
        Place::NxDomain => seen(Answered::Nothing, Vec::new(), zone.negative_ttl()),
    }
}

/// The zone of `catalog` that answers for `name`, by its place.
pub fn zone_of(catalog: &Catalog, name: &Name) -> Option<usize> {
    let mut names = std::iter::successors(Some(name.to_lowercase()), Name::parent);
    names.find_map(|name| catalog.zone_set.index_of(name.wire()))
}

pub(super) fn look_in(catalog: &Catalog, key: &RrsetKey) -> Option<Seen> {
    let zone = &catalog.zones[zone_of(catalog, &key.name)?];
    let served = zone.served.as_ref().filter(|_| zone.state != ZoneState::Expired)?;
    Some(look(&served.zone, key))
}
