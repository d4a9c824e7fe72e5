//! What secondaries that can't steer answer in place of pools: what the zone given to them carries, and what they may still
//! have of what it carried before. Pure.
//!
//! What always holds: an instant told of an endpoint that a zone carries no longer is not before the last of its known
//! receivers has let go of it, or its copy has expired, and every cache has let go of what it answered. A receiver that
//! transfers the zone on to others is not seen.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::dns::{Name, Rtype, Ttl};
use crate::server::secondaries::{At, Receiver};
use crate::steering::horizon::expires;
use crate::steering::pool::SiteName;
use crate::time::Timestamp;
use crate::zone::serial::is_newer;

/// A transfer of an older version may go on for so long after the next one is served.
pub const TRANSFER_SECS: u64 = 2 * 3600;
/// By then it is known who has begun a transfer of an older version before the next one was served.
const BEGUN_SECS: u64 = 5;

/// Of one zone, as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// What stands in the zone now for each pool that lies over it.
    pub pools: BTreeMap<Name, OfPool>,
    /// What of it comes from pools that are endpoints of those, by such a pool: it may lie over another zone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub through: BTreeMap<Name, OfPool>,
    /// What stood there before, and receivers may still have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Leaving>,
    /// Who has had the zone without being listed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<IpAddr, Other>,
    /// The largest EXPIRE of the zone so far, where that is known: an edit may lower it and change records at once.
    #[serde(default)]
    pub expire_secs: u32,
}

/// What a zone carries of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfPool {
    /// Whose records.
    pub sites: Vec<SiteName>,
    /// All types that the pool steers: of these the zone has nothing else.
    pub types: Vec<Rtype>,
    /// With this TTL.
    pub ttl: Ttl,
}

/// An endpoint that the zone carries no longer, or with a lower TTL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The pool.
    pub pool: Name,
    /// Where the endpoint is.
    pub site: SiteName,
    /// The types that it may be answered with.
    pub types: Vec<Rtype>,
    /// The serial that no longer says so.
    pub serial: u32,
    /// Since when that is served.
    pub at: Timestamp,
    /// The TTL with which it was given.
    pub ttl: Ttl,
    /// EXPIRE of the zone as it was.
    pub expire_secs: u32,
    /// Who was not yet seen to have that serial.
    pub waiting: Vec<IpAddr>,
    /// When the latest of the others was; `None`: there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Timestamp>,
}

/// A receiver that is not listed: its SOA queries are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// What it was given last.
    pub serial: u32,
    /// Since when that is not the newest any more: it can't have been told since that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<Timestamp>,
}

/// A horizon that has become final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// What receivers had.
    pub left: Leaving,
    /// No cache has it after.
    pub at: Timestamp,
}

impl Leaving {
    /// When no cache has it any more, as far as is known now; `None` when nobody had it.
    pub fn until(&self) -> Option<Timestamp> {
        let expired = self.at.after(TRANSFER_SECS + u64::from(self.expire_secs));
        let last = self.seen.max(Some(expired).filter(|_| !self.waiting.is_empty()))?;
        Some(expires(last, self.ttl))
    }
}

/// A version of a zone that takes another one's place.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// SERIAL of the new one.
    pub serial: u32,
    /// Since when it is served.
    pub at: Timestamp,
    /// EXPIRE of the one before.
    pub expire_secs: u32,
}

impl Carried {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.through.is_empty() && self.leaving.is_empty() && self.others.is_empty()
    }

    /// Takes note that the zone carries `pools`, and `through` them others, from `version` on. `listed` are the receivers that are
    /// told of it.
    pub fn replace(
        &mut self,
        pools: BTreeMap<Name, OfPool>,
        through: BTreeMap<Name, OfPool>,
        version: Version,
        listed: &[IpAddr],
    ) {
        let mut waiting: Vec<IpAddr> = listed.iter().copied().chain(self.others.keys().copied()).collect();
        waiting.sort_unstable();
        waiting.dedup();
        let old: Vec<(Name, OfPool)> = std::mem::replace(&mut self.pools, pools)
            .into_iter()
            .chain(std::mem::replace(&mut self.through, through))
            .collect();
        for (pool, old) in old {
            let gone: Vec<SiteName> = old
                .sites
                .iter()
                .filter(|site| self.carries(&pool, site).is_none_or(|ttl| ttl < old.ttl))
                .cloned()
                .collect();
            for site in gone {
                let Version { serial, at, expire_secs } = version;
                let (pool, types, ttl) = (pool.clone(), old.types.clone(), old.ttl);
                let (waiting, seen) = (waiting.clone(), None);
                self.leave(Leaving { pool, site, types, serial, at, ttl, expire_secs, waiting, seen });
            }
        }
    }

    /// One that goes back and forth stays one: what is known of the later leave holds for the earlier one too.
    fn leave(&mut self, new: Leaving) {
        let is_same = |old: &&mut Leaving| (&old.pool, &old.site, old.ttl) == (&new.pool, &new.site, new.ttl);
        let Some(old) = self.leaving.iter_mut().find(is_same) else { return self.leaving.push(new) };
        let (expire_secs, seen) = (new.expire_secs.max(old.expire_secs), new.seen.max(old.seen));
        let mut merged = Leaving { expire_secs, seen, ..new };
        for rtype in std::mem::take(&mut old.types) {
            if !merged.types.contains(&rtype) {
                merged.types.push(rtype);
            }
        }
        for receiver in std::mem::take(&mut old.waiting) {
            if !merged.waiting.contains(&receiver) {
                merged.waiting.push(receiver);
            }
        }
        *old = merged;
    }

    /// Takes in who was given the zone without being listed; `serial` is served.
    pub fn admit(&mut self, serial: u32, others: &[(IpAddr, Receiver)], now: Timestamp) {
        for (ip, receiver) in others {
            let has = receiver.has.map(|(has, _)| has);
            let known = self.others.get(ip).copied().filter(|known| has.is_none_or(|has| has == known.serial));
            self.others.insert(*ip, known.unwrap_or(Other { serial: has.unwrap_or(receiver.given), passed: None }));
        }
        for other in self.others.values_mut().filter(|other| other.serial != serial) {
            other.passed.get_or_insert(now);
        }
    }

    /// Takes in which serial receivers have, since when. Gives what has become final, which is no longer remembered here.
    pub fn settle(
        &mut self,
        has: impl Fn(IpAddr) -> Option<At>,
        others: &[(IpAddr, Receiver)],
        now: Timestamp,
    ) -> Vec<Final> {
        for leaving in &mut self.leaving {
            for (ip, receiver) in others {
                let may_have = receiver.has.map_or(receiver.given, |(has, _)| has);
                if !reaches(may_have, leaving.serial) && !leaving.waiting.contains(ip) {
                    leaving.waiting.push(*ip);
                }
            }
            leaving.waiting.retain(|ip| {
                let of_other = || others.iter().find(|(other, _)| other == ip)?.1.has;
                let has = has(*ip).or_else(of_other).filter(|(has, _)| reaches(*has, leaving.serial));
                leaving.seen = leaving.seen.max(has.map(|(_, since)| since));
                has.is_none()
            });
        }
        let is_over = |leaving: &mut Leaving| {
            let all_seen = leaving.waiting.is_empty() && leaving.at.after(BEGUN_SECS) <= now;
            all_seen || leaving.until().is_some_and(|until| until <= now)
        };
        let over = self.leaving.extract_if(.., is_over).filter_map(|leaving| {
            let at = leaving.until()?;
            Some(Final { left: leaving, at })
        });
        over.collect()
    }

    /// Forgets receivers that were not listed and whose copy must have expired; gives them.
    pub fn forget(&mut self, expire_secs: u32, now: Timestamp) -> Vec<IpAddr> {
        let until = |at: Timestamp| at.after(TRANSFER_SECS + u64::from(expire_secs));
        let is_gone = |_: &IpAddr, other: &mut Other| other.passed.is_some_and(|at| until(at) <= now);
        self.others.extract_if(.., is_gone).map(|(receiver, _)| receiver).collect()
    }

    /// Whether the zone carries the endpoint of `pool` at `site` now, under whatever name: with which TTL at most.
    pub fn carries(&self, pool: &Name, site: &str) -> Option<Ttl> {
        let of = [&self.pools, &self.through].into_iter().filter_map(|of| of.get(pool));
        of.filter(|of| of.sites.iter().any(|s| s == site)).map(|of| of.ttl).max()
    }

    /// When the last cache has let go of what receivers may still answer of an endpoint that was carried.
    pub fn until(&self, pool: &Name, site: &str) -> Option<Timestamp> {
        self.last(pool, site).map(|(at, _)| at)
    }

    /// The same instant with what it comes from.
    pub fn last(&self, pool: &Name, site: &str) -> Option<(Timestamp, &Leaving)> {
        let of = self.leaving.iter().filter(|leaving| leaving.pool == *pool && leaving.site == site);
        of.filter_map(|leaving| Some((leaving.until()?, leaving))).max_by_key(|(at, _)| *at)
    }
}

/// Whether a copy of serial `has` is of `wanted` or newer.
fn reaches(has: u32, wanted: u32) -> bool {
    has == wanted || is_newer(has, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::horizon::MARGIN_SECS;
    use proptest::prelude::*;

    const EXPIRE: u32 = 1000;

    fn of(site: &str, ttl: u64) -> BTreeMap<Name, OfPool> {
        let (sites, ttl) = (vec![site.to_owned()], Ttl::from_secs(ttl));
        BTreeMap::from([(pool(), OfPool { sites, types: vec![Rtype::A], ttl })])
    }

    fn pool() -> Name {
        "www.example.org".parse().unwrap()
    }

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn version(serial: u32, at: u64) -> Version {
        Version { serial, at: Timestamp(at), expire_secs: EXPIRE }
    }

    #[test]
    fn it_ends_when_all_were_seen_or_have_expired() {
        let mut carried = Carried::default();
        carried.replace(of("ec2", 60), BTreeMap::new(), version(1, 0), &[ip(1), ip(2)]);
        carried.replace(of("dc1", 60), BTreeMap::new(), version(2, 100), &[ip(1), ip(2)]);
        let unseen = 100 + TRANSFER_SECS + u64::from(EXPIRE) + 60 + MARGIN_SECS;
        assert_eq!(carried.until(&pool(), "ec2"), Some(Timestamp(unseen)));
        assert_eq!((carried.until(&pool(), "dc1"), carried.carries(&pool(), "ec2")), (None, None));
        let one = |at| move |who| (who == ip(1)).then_some((2, Timestamp(at)));
        assert_eq!(carried.settle(one(110), &[], Timestamp(120)), []);
        assert_eq!(carried.until(&pool(), "ec2"), Some(Timestamp(unseen)));
        let mut other = carried.clone();
        let ends = carried.settle(|_| Some((3, Timestamp(130))), &[], Timestamp(140));
        assert_eq!(ends.len(), 1);
        assert_eq!(ends[0].at, Timestamp(130 + 60 + MARGIN_SECS));
        assert_eq!(carried.until(&pool(), "ec2"), None);
        assert_eq!(other.settle(|_| None, &[], Timestamp(unseen))[0].at, Timestamp(unseen));
    }

    #[test]
    fn who_is_not_listed_counts_until_its_copy_must_have_expired() {
        let mut carried = Carried::default();
        carried.replace(of("ec2", 60), BTreeMap::new(), version(1, 0), &[]);
        let has = |serial, at| [(ip(9), Receiver { given: 1, has: Some((serial, Timestamp(at))) })];
        carried.admit(1, &has(1, 5), Timestamp(10));
        carried.replace(of("dc1", 60), BTreeMap::new(), version(2, 100), &[]);
        assert_eq!(carried.leaving[0].waiting, [ip(9)]);
        carried.admit(2, &has(1, 5), Timestamp(100));
        carried.forget(EXPIRE, Timestamp(100 + TRANSFER_SECS));
        assert_eq!(carried.others.len(), 1);
        carried.forget(EXPIRE, Timestamp(100 + TRANSFER_SECS + u64::from(EXPIRE)));
        assert!(carried.others.is_empty());
        let ends = carried.settle(|_| None, &has(2, 200), Timestamp(210));
        assert_eq!(ends[0].at, Timestamp(200 + 60 + MARGIN_SECS));
    }

    #[test]
    fn what_another_pool_carries_of_it_counts_as_its_own() {
        let mut carried = Carried::default();
        let eu: Name = "eu.example.org".parse().unwrap();
        let through =
            |site: &str, ttl| of(site, ttl).into_values().map(|of| (eu.clone(), of)).collect::<BTreeMap<_, _>>();
        carried.replace(of("eu", 60), through("fra", 60), version(1, 0), &[ip(1)]);
        assert_eq!(carried.carries(&eu, "fra"), Some(Ttl::from_secs(60)));
        // It is its own pool in this zone, too, with another TTL: the larger one counts.
        let both = [of("eu", 60), of("fra", 300).into_values().map(|of| (eu.clone(), of)).collect()];
        carried.replace(both.into_iter().flatten().collect(), through("ams", 60), version(2, 100), &[ip(1)]);
        assert_eq!(carried.carries(&eu, "fra"), Some(Ttl::from_secs(300)));
        assert_eq!(carried.leaving, [], "it is there, and for longer");
        carried.replace(of("eu", 60), through("ams", 60), version(3, 200), &[ip(1)]);
        assert_eq!((carried.leaving.len(), carried.leaving[0].ttl), (1, Ttl::from_secs(300)));
        assert!(carried.until(&eu, "fra") > carried.until(&eu, "ams"));
    }

    #[test]
    fn a_lower_ttl_leaves_the_higher_one_behind() {
        let mut carried = Carried::default();
        carried.replace(of("ec2", 3600), BTreeMap::new(), version(1, 0), &[ip(1)]);
        carried.replace(of("ec2", 60), BTreeMap::new(), version(2, 100), &[ip(1)]);
        assert_eq!(carried.carries(&pool(), "ec2"), Some(Ttl::from_secs(60)));
        assert_eq!(carried.leaving[0].ttl, Ttl::from_secs(3600));
        carried.replace(of("ec2", 3600), BTreeMap::new(), version(3, 200), &[ip(1)]);
        assert_eq!(carried.leaving.len(), 1, "a higher one leaves nothing behind");
    }

    proptest! {
        /// Two receivers take versions when they like, or not until their copies expire; whatever is told is not too early.
        #[test]
        fn never_too_early(
            steps in prop::collection::vec((0u8..2, 1u64..400, any::<bool>(), any::<bool>()), 1..40),
            ttls in prop::collection::vec(0u64..300, 40),
        ) {
            let mut carried = Carried::default();
            let mut told = BTreeMap::<&str, Timestamp>::new();
            let (mut now, sites) = (0, ["ec2", "dc1"]);
            // Of each receiver: the version it has, whose site and TTL, and until when it may answer that.
            let mut receivers: [(u32, &str, u64, u64); 2] = [(0, "", 0, 0); 2];
            let mut has = [None; 2];
            let mut truth = BTreeMap::<&str, u64>::new();
            for (serial, (site, wait, first, second)) in (1u32..).zip(steps) {
                let (site, ttl) = (sites[site as usize], ttls[serial as usize - 1]);
                carried.replace(of(site, ttl), BTreeMap::new(), version(serial, now), &[ip(0), ip(1)]);
                let until = now + wait;
                for (i, takes) in [first, second].into_iter().enumerate() {
                    let (_, old, old_ttl, expiry) = receivers[i];
                    let answers_until = if takes { now + wait / 2 } else { until }.min(expiry);
                    if !old.is_empty() {
                        let gone = answers_until + old_ttl;
                        truth.entry(old).and_modify(|t| *t = gone.max(*t)).or_insert(gone);
                    }
                    if takes {
                        let at = now + wait / 2;
                        receivers[i] = (serial, site, ttl, u64::MAX);
                        has[i] = Some((serial, Timestamp(at)));
                    } else if expiry == u64::MAX {
                        receivers[i].3 = now + u64::from(EXPIRE); // it was told last that its version is the newest
                    }
                }
                now = until;
                for end in carried.settle(|who| (0..2).find(|i| ip(*i as u8) == who).and_then(|i| has[i]), &[], Timestamp(now)) {
                    let site = sites[usize::from(end.left.site == "dc1")];
                    told.entry(site).and_modify(|t| *t = end.at.max(*t)).or_insert(end.at);
                }
                for site in sites {
                    let known = carried.until(&pool(), site).into_iter().chain(told.get(site).copied()).max();
                    if carried.carries(&pool(), site).is_none() {
                        prop_assert!(truth.get(site).is_none_or(|t| known.is_some_and(|k| k.0 >= *t)), "{site} {known:?} {truth:?}");
                    }
                }
            }
        }
    }
}
