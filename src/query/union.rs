//! The records of several endpoints as one RRset, for pools that answer all of them.
//!
//! It is made, and signed where the zone is, when the pool is published; a query copies it and puts the copy into another order, which
//! the signature does not mind (RFC 4034, 6.3).

use crate::dns::{Name, Rtype, Ttl};
use crate::query::pool::{Records, SignRrset, laid_out, rdatas_of, records_of};
use crate::steering::key::mix;
use crate::zone::Rrset;

/// One RRset for each type that a pool steers.
#[derive(Debug)]
pub struct Union {
    /// In the order of the pool's types.
    sets: Box<[Set]>,
}

/// The RRset of one type.
#[derive(Debug)]
pub(super) struct Set {
    octets: Box<[u8]>,
    /// Where each record ends.
    ends: Box<[u32]>,
    /// RRSIGs, laid out as the records are, and how many.
    signatures: (Box<[u8]>, u16),
    /// The pool's slots that it answers; where nobody has the type, those that say so.
    slots: Box<[usize]>,
}

impl Union {
    /// Of the `endpoints` of a pool. A record that several of them have is in it once (RFC 2181, 5).
    pub fn new(records: &Records, endpoints: &[usize]) -> Self {
        let set = |rtype| {
            let slots = endpoints.iter().filter_map(|endpoint| records.slot(*endpoint, rtype));
            let (having, lacking): (Vec<usize>, Vec<usize>) = slots.partition(|slot| records.get(*slot).is_some());
            let mut found: Vec<&[u8]> = Vec::new();
            for (octets, _) in having.iter().filter_map(|slot| records.get(*slot)) {
                for record in records_of(octets) {
                    if !found.contains(&record) {
                        found.push(record);
                    }
                }
            }
            let end = |end: &mut u32, record: &&[u8]| {
                *end += record.len() as u32;
                Some(*end)
            };
            Set {
                octets: found.concat().into(),
                ends: found.iter().scan(0, end).collect(),
                signatures: Default::default(),
                slots: if having.is_empty() { lacking } else { having }.into(),
            }
        };
        Self { sets: records.types().iter().map(|rtype| set(*rtype)).collect() }
    }

    /// The same with signatures of a pool with this owner name and Original TTL.
    ///
    /// # Errors
    /// What `sign` gives.
    pub fn signed<E>(
        records: &Records,
        endpoints: &[usize],
        (owner, ttl): (&Name, Ttl),
        sign: &SignRrset<'_, E>,
    ) -> Result<Self, E> {
        let mut union = Self::new(records, endpoints);
        for (set, rtype) in union.sets.iter_mut().zip(records.types()) {
            let rdatas = rdatas_of(&set.octets);
            if !rdatas.is_empty() {
                let rdatas = sign(owner, &Rrset { rtype: *rtype, ttl, rdatas })?;
                set.signatures = (laid_out(Rtype::RRSIG, &rdatas).into(), rdatas.len() as u16);
            }
        }
        Ok(union)
    }

    /// The type that is answered of the pool's `types`: the one asked for; for ANY the first that there is (RFC 8482, 4.1). `None`:
    /// the pool does not steer it.
    pub(super) fn answered(&self, types: &[Rtype], asked: Rtype) -> Option<Rtype> {
        match asked {
            Rtype::ANY => types.iter().zip(&self.sets).find(|(_, set)| set.get().is_some()).map(|(rtype, _)| *rtype),
            asked => Some(asked).filter(|asked| types.contains(asked)),
        }
    }

    /// By the type's place among those of the pool.
    #[inline]
    pub(super) fn set(&self, place: usize) -> &Set {
        &self.sets[place]
    }
}

impl Set {
    /// Octets and number of the records, owner name at octet 12; `None` when no endpoint has the type.
    pub(super) fn get(&self) -> Option<(&[u8], u16)> {
        (!self.ends.is_empty()).then_some((&*self.octets, self.ends.len() as u16))
    }

    /// Octets and number of its signatures; none where the zone is not signed.
    pub(super) fn signatures(&self) -> (&[u8], u16) {
        (&self.signatures.0, self.signatures.1)
    }

    /// The slots that an answer counts for.
    pub(super) fn slots(&self) -> &[usize] {
        &self.slots
    }

    /// Puts a copy of the records into an order that `draw` gives: records of one size into any, others into one that begins
    /// with any and goes round.
    pub(super) fn shuffle(&self, copy: &mut [u8], draw: u64) {
        let count = self.ends.len();
        if count < 2 {
            return;
        }
        let size = self.ends[0] as usize;
        if self.ends.iter().enumerate().any(|(i, end)| *end as usize != size * (i + 1)) {
            let first = below(mix(draw), count);
            copy.rotate_left(if first == 0 { 0 } else { self.ends[first - 1] as usize });
            return;
        }
        for last in (1..count).rev() {
            let other = below(mix(draw.wrapping_add(last as u64)), last + 1);
            if other < last {
                let (low, high) = copy.split_at_mut(last * size);
                low[other * size..][..size].swap_with_slice(&mut high[..size]);
            }
        }
    }
}

/// A number below `bound`, evenly from a uniform word.
fn below(uniform: u64, bound: usize) -> usize {
    ((u128::from(uniform) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Ttl;
    use crate::steering::pool::{Endpoint, Policy, Role, Selection, Settings, Weight};
    use crate::steering::ttl::{Approach, TtlPolicy};

    type Given<'a> = &'a [(Rtype, &'a [&'a [u8]])];

    fn records(endpoints: &[Given]) -> Records {
        let endpoint = |of: &Given| Endpoint {
            site: "a".to_owned(),
            weight: Weight::MAX,
            role: Role::Never,
            rdata: of.iter().map(|(t, all)| (*t, all.iter().map(|rdata| Box::from(*rdata)).collect())).collect(),
            pool: None,
        };
        let (normal, low) = (Ttl::from_secs(60), Ttl::from_secs(60));
        Records::new(&Settings {
            name: "www.example.org".parse().unwrap(),
            policy: Policy::All,
            selection: Selection::default(),
            ttl: TtlPolicy { normal, low, spread_secs: 0, mode: Approach::Countdown, max_wait: None, by_health: false },
            probe: None,
            transfer: crate::steering::pool::Transfer::default(),
            handling: crate::steering::pool::Handling::default(),
            endpoints: endpoints.iter().map(endpoint).collect(),
            nest: None,
        })
    }

    #[test]
    fn all_records_once_in_every_order() {
        let records = records(&[
            &[(Rtype::A, &[&[1; 4], &[2; 4]]), (Rtype::TXT, &[&[1, 7], &[0]])],
            &[(Rtype::A, &[&[2; 4], &[3; 4]]), (Rtype::TXT, &[&[2, 7, 7]])],
            &[(Rtype::A, &[&[9; 4]])],
        ]);
        let union = Union::new(&records, &[0, 1]);
        let (a, txt) = (union.set(0), union.set(1));
        assert_eq!((a.get().unwrap().1, a.slots()), (3, &[0, 2][..]));
        let orders = |set: &Set| {
            let mut seen = std::collections::BTreeMap::new();
            for draw in 0..6000u64 {
                let mut copy = set.get().unwrap().0.to_vec();
                set.shuffle(&mut copy, mix(draw));
                let order: Vec<u8> = records_of(&copy).map(|record| record[12]).collect();
                *seen.entry(order).or_insert(0) += 1;
            }
            seen
        };
        let seen = orders(a);
        assert_eq!(seen.len(), 6, "{seen:?}");
        assert!(seen.values().all(|n| (800..1200).contains(n)), "{seen:?}");
        let seen = orders(txt);
        assert_eq!(seen.keys().collect::<Vec<_>>(), [&[0, 2, 1], &[1, 0, 2], &[2, 1, 0]]);

        let nobody = Union::new(&records, &[2]);
        assert!(nobody.set(1).get().is_none());
        assert_eq!(nobody.set(1).slots(), [5], "what is not there is remembered too");
    }
}
