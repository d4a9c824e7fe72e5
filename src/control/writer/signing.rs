//! Signing of the zones that have a policy: after each change of contents in the same serial, and by itself when signatures
//! run out or keys follow each other.
//!
//! Signatures are part of the zone as it is served: they are in its journal, and after a restart those that still hold are
//! served on. A zone whose keys can't be had is served as it was, with what it has; the log says so.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use crate::control::journal::Entry;
use crate::control::writer::{SELF, Writer};
use crate::control::zones::ZoneError;
use crate::dns::{Name, Rtype, Ttl};
use crate::query::Records;
use crate::steering::pool::Settings as PoolSettings;
use crate::time::Timestamp;
use crate::zone::compiled::BESIDE;
use crate::zone::signing::keyring::{Keyring, KeyringError};
use crate::zone::signing::keys::KeyError;
use crate::zone::signing::nsec::{self, Chain, Denial};
use crate::zone::signing::nsec3;
use crate::zone::signing::online::Online;
use crate::zone::signing::policy::Policy;
use crate::zone::signing::sign::rrsig;
use crate::zone::signing::zone::{How, Source, Steered, is_made, next_refresh, sign};
use crate::zone::{Diff, Edit, Record, Rrset, Zone, serial};

/// What failed is tried again after so long.
const RETRY_SECS: u64 = 300;

/// What signs one zone.
pub(super) struct Signer {
    pub(super) ring: Keyring,
    chain: Chain,
    /// The zone that the chain is of; none: the next signing looks at everything.
    pub(super) of: Option<Arc<Zone>>,
    /// What it was signed by.
    pub(super) policy: Arc<Policy>,
    steered: Steered,
    /// When there is something to do again.
    pub(super) next: Timestamp,
    /// The largest TTL of the zone and its pools.
    data_ttl: Ttl,
}

impl Signer {
    /// Opens the keys of `zone` in the folder of the state.
    fn open(state: &Path, zone: &Name) -> Result<Self, KeyringError> {
        let ring = Keyring::open(&state.join("keys"), zone)?;
        let chain = Chain::new(zone.clone(), Denial::default());
        let (policy, steered) = (Arc::default(), Steered::default());
        Ok(Self { ring, chain, of: None, policy, steered, next: Timestamp(0), data_ttl: Ttl::ZERO })
    }
}

impl Writer {
    /// Brings signatures, keys and what pools answer up to date, in all zones with a policy. Gives whether anything is to be
    /// published.
    pub(super) async fn sign_zones(&mut self, now: Timestamp) -> bool {
        let mut changed = false;
        for index in 0..self.catalog.zones.len() {
            let name = self.catalog.zones[index].name.clone();
            let outcome = match self.catalog.settings.zones[index].dnssec.clone() {
                Some(policy) => self.sign_zone(index, &policy, now).await,
                None => self.unsign_zone(index, now).await,
            };
            match outcome {
                Ok(is_changed) => changed |= is_changed,
                Err(error) => {
                    tracing::error!(zone = %name, %error, "the zone is not signed anew: what it has is served on");
                    if let Some(signer) = self.signers.get_mut(&name) {
                        signer.next = now.after(RETRY_SECS);
                        signer.of = None;
                    }
                }
            }
        }
        let places = 0..self.catalog.zones.len();
        let online: Vec<_> = places.filter_map(|index| self.online(index)).collect();
        if !online.is_empty() {
            Arc::make_mut(&mut self.catalog).sign_online(online);
            changed = true;
        }
        let known = &self.catalog.settings.zones;
        self.signers.retain(|name, _| known.iter().any(|zone| zone.name == *name && zone.dnssec.is_some()));
        changed
    }

    /// Signs what is due at `now`.
    pub(super) async fn sign_due(&mut self, now: Timestamp) {
        if self.signers.values().any(|signer| signer.next <= now) && self.sign_zones(now).await {
            self.publish();
        }
    }

    async fn sign_zone(&mut self, index: usize, policy: &Arc<Policy>, now: Timestamp) -> Result<bool, ZoneError> {
        let Some(served) = &self.catalog.zones[index].served else { return Ok(false) };
        let (zone, name) = (served.zone.clone(), self.catalog.zones[index].name.clone());
        let failed = |error: KeyringError| ZoneError::Signing(error.to_string());
        if !self.signers.contains_key(&name) {
            let signer = Signer::open(&self.catalog.settings.state, &name).map_err(failed)?;
            self.signers.insert(name.clone(), signer);
        }
        let pools_ttl = self.pools_of(index).map(|pool| pool.ttl.normal).max().unwrap_or(Ttl::ZERO);
        // Where the zone carries what pools answer, it says itself what is there.
        let carries = self.catalog.settings.zones[index].is_given();
        let steered = self.pools_of(index).filter(|_| !carries).map(|pool| (pool.name.clone(), pool.types()));
        let steered: Steered = steered.collect();
        let signer = self.signers.get_mut(&name).expect("it was just made sure of");
        let is_same = signer.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &zone));
        let is_known = is_same && signer.policy == *policy && signer.steered == steered;
        if is_known && signer.next > now {
            self.sign_pools(index, policy, now)?;
            return Ok(false);
        }
        (signer.policy, signer.steered, signer.next) = (policy.clone(), steered, Timestamp(0));
        if !is_known {
            let largest = zone.rrsets().map(|(_, set)| set.ttl).max();
            signer.data_ttl = largest.unwrap_or(Ttl::ZERO).max(pools_ttl);
        }
        let done = signer.ring.advance(&name, policy, signer.data_ttl, now).map_err(failed)?;
        for step in &done {
            tracing::info!(zone = %name, ?step, "keys of the zone");
        }
        if !is_known || !done.is_empty() || signer.chain.denial() != policy.denial {
            signer.chain = Chain::new(name.clone(), policy.denial);
        }
        signer.of = None; // until what is made now is served
        let leaves = signer.ring.lives().keys.is_empty();
        if leaves && !policy.algorithm.is_made() {
            tracing::warn!(zone = %name, "the zone waits for its keys: waypost dnssec import");
        }
        let mut edit = Edit::new(&zone);
        let diff = if leaves { made_in(&zone) } else { self.signatures(index, &*zone, &Diff::default(), true, now)? };
        if !diff.is_empty() {
            let fits = "what is made for a zone fits it";
            edit.apply(&diff).expect(fits);
            let serial = serial::next(self.catalog.settings.zones[index].serial, zone.serial(), now);
            if leaves {
                edit.set_serial(serial);
            } else {
                let mut raised = edit.clone();
                raised.set_serial(serial);
                let [before, after] = [&edit, &raised].map(|edit| soa(edit));
                let soa = Diff { removed: before, added: after };
                let diff = self.signatures(index, &edit, &soa, false, now)?;
                edit.apply(&diff).expect(fits);
            }
            let reason = if done.is_empty() { "signatures" } else { "keys and signatures" };
            let entry = Entry { at: now, author: SELF.to_owned(), reason: reason.to_owned(), diff: edit.diff() };
            self.commit_zone(index, &edit, entry, Vec::new(), now).await?;
        }
        self.sign_pools(index, policy, now)?;
        self.signed(index, now);
        Ok(true)
    }

    /// Signs what each endpoint of the zone's pools gives, with the pool's `normal` as Original TTL.
    fn sign_pools(&mut self, index: usize, policy: &Policy, now: Timestamp) -> Result<(), ZoneError> {
        let Some(served) = &self.catalog.zones[index].served else { return Ok(()) };
        let (zone, apex) = (served.zone.clone(), self.catalog.zones[index].name.clone());
        let Some(signer) = self.signers.get(&apex) else { return Ok(()) };
        let signers = signer.ring.keys().zone_signers;
        // All of a pool are made anew together, long before the first would run out.
        let span = policy.validity.span(now, 0);
        let sign = |owner: &Name, set: &Rrset| signers.iter().map(|key| rrsig(owner, set, &apex, key, span)).collect();
        let mut signed = Vec::new();
        for (place, pool) in self.catalog.settings.pools.iter().enumerate() {
            if !served.overlay.contains_key(&pool.name) {
                continue;
            }
            let denial = |lacked| Some(denial(&zone, &pool.name, pool.types(), lacked, policy.denial));
            let records = Records::signed::<KeyError>(pool, denial, &sign);
            signed.push((place, records.map_err(|error| ZoneError::Signing(error.to_string()))?));
        }
        let catalog = Arc::make_mut(&mut self.catalog);
        for (place, records) in signed {
            catalog.records[place] = Arc::new(records);
        }
        Ok(())
    }

    /// What has to sign answers of the zone at `index` from now on, where that is another than before. It goes by what is served, which
    /// is still the old where the new could not be made.
    fn online(&self, index: usize) -> Option<(usize, Option<Arc<Online>>)> {
        let (zone, settings) = (&self.catalog.zones[index], &self.catalog.settings.zones[index]);
        let may = zone.online.is_some() || settings.dnssec.as_ref().is_some_and(|p| p.denial == Denial::Compact);
        if !may {
            return None;
        }
        let is_compact = zone.served.as_ref().is_some_and(|served| served.zone.is_compact());
        let signers = self.signers.get(&zone.name).map(|signer| signer.ring.keys().zone_signers).unwrap_or_default();
        let online = match is_compact {
            false => None,
            true if signers.is_empty() => zone.online.clone(),
            true => Some(Arc::new(Online::new(zone.name.clone(), signers))),
        };
        let tags = |online: &Option<Arc<Online>>| online.as_ref().map(|online| online.tags().collect::<Vec<_>>());
        (tags(&zone.online) != tags(&online)).then_some((index, online))
    }

    /// Takes signatures away that no policy wants any more.
    async fn unsign_zone(&mut self, index: usize, now: Timestamp) -> Result<bool, ZoneError> {
        let Some(served) = &self.catalog.zones[index].served else { return Ok(false) };
        let zone = served.zone.clone();
        let in_zone = zone.rrset(zone.apex(), Rtype::DNSKEY);
        if in_zone.is_none() || served.drift.in_file(&zone, zone.apex(), Rtype::DNSKEY).is_some() {
            return Ok(false); // not signed, or by whoever made its file
        }
        let diff = made_in(&zone);
        let mut edit = Edit::new(&zone);
        edit.apply(&diff).expect("what is there can be taken away");
        edit.set_serial(serial::next(self.catalog.settings.zones[index].serial, zone.serial(), now));
        tracing::warn!(zone = %zone.apex(), "signatures are taken away: where the parent has a DS, validators refuse the zone now");
        let reason = "the zone has no policy any more".to_owned();
        let entry = Entry { at: now, author: SELF.to_owned(), reason, diff: edit.diff() };
        self.commit_zone(index, &edit, entry, Vec::new(), now).await?;
        Ok(true)
    }

    /// What is to be made of a change of the zone at `index`, with signatures; `None` where it is not signed.
    pub(super) fn with_signatures(
        &mut self,
        index: usize,
        edit: &Edit<'_>,
        now: Timestamp,
    ) -> Result<Option<Diff>, ZoneError> {
        let served = self.catalog.zones[index].served.as_ref().map(|served| served.zone.clone());
        let Some(signer) = self.signers.get_mut(&self.catalog.zones[index].name) else { return Ok(None) };
        if signer.ring.lives().keys.is_empty() {
            return Ok(None);
        }
        let is_known = signer.of.take().zip(served).is_some_and(|(of, served)| Arc::ptr_eq(&of, &served));
        if !is_known {
            signer.chain = Chain::new(edit.zone().apex().clone(), signer.chain.denial());
        }
        self.signatures(index, edit.zone(), &edit.diff(), false, now).map(Some)
    }

    /// After a change that may touch what pools prove: signs them anew where it does.
    pub(super) fn sign_pools_after(
        &mut self,
        index: usize,
        edit: &Edit<'_>,
        now: Timestamp,
    ) -> Result<bool, ZoneError> {
        let Some(policy) = self.catalog.settings.zones[index].dnssec.clone() else { return Ok(false) };
        let Some(served) = &self.catalog.zones[index].served else { return Ok(false) };
        let is_steered = |owner: &Name| served.overlay.get(owner).is_some_and(|slot| slot & BESIDE == 0);
        let touches = edit.touched().any(|(owner, _)| is_steered(owner));
        if !touches && served.zone.negative_ttl() == edit.zone().negative_ttl() {
            return Ok(false);
        }
        self.sign_pools(index, &policy, now).map(|()| true)
    }

    /// What was made is served.
    pub(super) fn signed(&mut self, index: usize, now: Timestamp) {
        let zone = &self.catalog.zones[index];
        let Some(policy) = &self.catalog.settings.zones[index].dnssec else { return };
        let Some((signer, served)) = self.signers.get_mut(&zone.name).zip(zone.served.as_ref()) else { return };
        signer.of = Some(served.zone.clone());
        // A change makes signatures that last longer than those that are there.
        if signer.next <= now {
            let keys = signer.ring.next(policy, signer.data_ttl);
            let next = next_refresh(&*served.zone, &policy.validity, now).into_iter().chain(keys).min();
            signer.next = next.unwrap_or(Timestamp(u64::MAX)).max(now.after(1));
        }
    }

    fn signatures(
        &mut self,
        index: usize,
        source: &dyn Source,
        change: &Diff,
        renew: bool,
        now: Timestamp,
    ) -> Result<Diff, ZoneError> {
        let settings = &self.catalog.settings.zones[index];
        let Some(policy) = &settings.dnssec else { return Ok(change.clone()) };
        let Some(signer) = self.signers.get_mut(&self.catalog.zones[index].name) else { return Ok(change.clone()) };
        let mut draw = [0; 8];
        getrandom::fill(&mut draw).map_err(|error| ZoneError::Signing(error.to_string()))?;
        let how = How {
            keys: &signer.ring.keys(),
            dnskey_ttl: policy.timing.dnskey_ttl,
            validity: policy.validity,
            steered: &signer.steered,
            now,
            draw: u64::from_ne_bytes(draw),
            renew,
            threads: available_parallelism().map_or(1, usize::from),
        };
        sign(source, change, &mut signer.chain, &how).map_err(|error| ZoneError::Signing(error.to_string()))
    }

    /// The pools that lie over the zone at `index`.
    pub(super) fn pools_of(&self, index: usize) -> impl Iterator<Item = &PoolSettings> {
        let overlay = self.catalog.zones[index].served.as_ref().map(|served| served.overlay.clone());
        self.catalog.settings.pools.iter().filter(move |p| overlay.as_ref().is_some_and(|o| o.contains_key(&p.name)))
    }
}

/// The proof that `name` has just not `lacked`, of the types that the zone and a pool give: its range holds no other name, and
/// it denies no type that another endpoint may give.
fn denial(zone: &Zone, name: &Name, steered: Vec<Rtype>, lacked: Rtype, denial: Denial) -> (Name, Rrset) {
    let plain = zone.rrsets_at(name).into_iter().map(|set| set.rtype);
    let mut types: BTreeSet<Rtype> = plain.chain(steered).filter(|rtype| *rtype != lacked).collect();
    types.insert(Rtype::RRSIG);
    let (owner, rtype, rdata) = match denial {
        Denial::Nsec | Denial::Compact => {
            types.insert(Rtype::NSEC);
            let next = nsec::after(name, zone.apex());
            (name.clone(), Rtype::NSEC, nsec::rdata(&next, &types))
        }
        Denial::Nsec3 => {
            let hash = nsec3::hash(name.wire(), &[], 0);
            (nsec3::owner(&hash, zone.apex()), Rtype::NSEC3, nsec3::record(&nsec3::after(hash), &types))
        }
    };
    (owner, Rrset { rtype, ttl: zone.negative_ttl(), rdatas: vec![rdata] })
}

/// What takes away all that signers made.
fn made_in(zone: &Zone) -> Diff {
    let mut diff = Diff::default();
    for (owner, set) in zone.rrsets().filter(|(_, set)| is_made(set.rtype)) {
        let record = |rdata: Box<[u8]>| Record { owner: owner.clone(), rtype: set.rtype, ttl: set.ttl, rdata };
        diff.removed.extend(set.rdatas.iter().cloned().map(record));
    }
    diff
}

fn soa(edit: &Edit<'_>) -> Vec<Record> {
    let owner = edit.zone().apex();
    let set = edit.rrset(owner, Rtype::SOA);
    set.into_iter()
        .flat_map(|set| set.rdatas.into_iter().map(move |rdata| (set.ttl, rdata)))
        .map(|(ttl, rdata)| Record { owner: owner.clone(), rtype: Rtype::SOA, ttl, rdata })
        .collect()
}
