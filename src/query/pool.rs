//! A pool as queries see it: selection, TTL and the records of each endpoint, ready to be copied.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::dns::rdata::{IPV4_HINT, IPV6_HINT, without_parameter};
use crate::dns::wire::CLASS_IN;
use crate::dns::{Name, Rtype, Ttl};
use crate::query::nest::Compound;
use crate::steering::client::{ByClient, Client};
use crate::steering::horizon::Recorder;
use crate::steering::key::{Salt, point};
use crate::steering::networks::Preference;
use crate::steering::pool::{Family, Rdata, Settings, SiteName, Word};
use crate::steering::select::Selector;
use crate::steering::ttl::{Change, Cutover, TtlPolicy, served_ttl};
use crate::time::Timestamp;
use crate::zone::Rrset;

/// A pool in a [`crate::query::Snapshot`]. What each answer reads comes first, on three cache lines: of many pools that are
/// asked in turn few lines are at hand.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Pool {
    /// Of its group: pools of one salt send one client key to one point.
    pub salt: Salt,
    /// What each leaf answers; without endpoints that are pools, these are its leaves.
    pub records: Arc<Records>,
    /// Where answers given are noted, for the horizon.
    pub recorder: Arc<Recorder>,
    /// Normal and low TTL.
    pub ttl: TtlPolicy,
    /// The last change of what is answered.
    pub change: Option<Change>,
    /// The change that is planned.
    pub cutover: Option<Cutover>,
    /// The time in which health could change what is answered, where the TTL goes by it.
    pub until_flip: Option<Ttl>,
    /// Who sees which endpoint before all others.
    pub preview: Option<Arc<ByClient>>,
    /// Which endpoints which clients are to have, where that is the policy.
    pub preference: Option<Preference>,
    /// What it answers that is not simply an endpoint's own RRset, where that is so.
    pub compound: Option<Box<Compound>>,
    /// Which endpoint a point is given.
    pub selector: Selector,
    /// Its owner name.
    pub name: Name,
    /// Where its endpoints are, in their order.
    pub sites: Arc<[SiteName]>,
    /// The group that it belongs to, for `explain`.
    pub group: Option<Arc<str>>,
    /// The families that are not answered for each endpoint, for `explain`.
    pub withdrawn: Box<[Option<Family>]>,
    /// What operators say of each endpoint, for `explain`.
    pub words: Box<[Word]>,
}

/// What a client is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its place in the pool.
    pub endpoint: usize,
    /// For all records of the answer.
    pub ttl: Ttl,
    /// Whether the client is among those that see this endpoint first.
    pub previewed: bool,
}

impl Pool {
    /// Chooses for one client at `now`. `None` only when nothing may be answered at all, which `control` never publishes.
    #[inline]
    pub fn choose(&self, client: &Client, draw: u64, now: Timestamp) -> Option<Choice> {
        let point = point(&self.salt, &client.key);
        let previewed = self.previewed(client);
        let endpoint = previewed.or_else(|| self.preferred(client)).or_else(|| self.selector.pick(point, draw))?;
        let ttl = served_ttl(&self.ttl, self.cutover.as_ref(), self.change.as_ref(), point, now);
        let ttl = self.bounded_by_health(ttl);
        Some(Choice { endpoint, ttl, previewed: previewed.is_some() })
    }

    /// No more than the time in which health could change what is answered, where the TTL goes by that; not below `low`.
    #[inline]
    pub fn bounded_by_health(&self, ttl: Ttl) -> Ttl {
        self.until_flip.map_or(ttl, |most| ttl.min(most.max(self.ttl.low)))
    }

    /// Whether the choice depends on the client.
    #[inline]
    pub fn is_by_client(&self) -> bool {
        self.selector.is_by_client() || self.preview.is_some()
    }

    /// The best endpoint for the network of `client` that may be answered.
    #[inline]
    fn preferred(&self, client: &Client) -> Option<usize> {
        let best = self.preference.as_ref()?.get(client).iter();
        best.map(|endpoint| usize::from(*endpoint)).find(|endpoint| self.selector.answers(*endpoint))
    }

    /// The endpoint that `client` sees first, while it is up.
    #[inline]
    fn previewed(&self, client: &Client) -> Option<usize> {
        let endpoint = self.preview.as_ref()?.get(client)? as usize;
        Some(endpoint).filter(|endpoint| self.selector.is_up(*endpoint))
    }
}

/// The records of all leaves of a pool. They change with the configuration, and where a family is withdrawn.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Records {
    /// The types that at least one endpoint gives.
    types: ArrayVec<Rtype, MOST_TYPES>,
    /// For each slot (leaf times types, plus the type's place) a [`Place`], then the records of all: as one run of
    /// memory they are mostly on one or two cache lines.
    run: Box<[u8]>,
    /// By type, where a leaf lacks it: the proof that there is none, with its signatures; owner names uncompressed.
    denials: Box<[Option<Denial>]>,
}

/// The types that can be steered: A, AAAA, HTTPS, SVCB and SRV, or CNAME.
const MOST_TYPES: usize = 6;

/// Records of AUTHORITY, each with the place of its TTL.
#[derive(Clone, Debug)]
struct Denial {
    octets: Box<[u8]>,
    ttls: Box<[u16]>,
}

/// The RRset of one leaf and type, as for an owner name at octet 12.
#[derive(Clone, Debug)]
struct Variant {
    octets: Vec<u8>,
    records: u16,
    /// Of them signatures, which come last.
    signatures: u16,
    signature_octets: usize,
}

/// Where the records of a slot are in the run.
struct Place {
    start: usize,
    /// With signatures, and those alone; no octets where the leaf lacks the type.
    octets: usize,
    signature_octets: usize,
    records: u16,
    signatures: u16,
}

/// Octets of a [`Place`].
const PLACE: usize = 16;

/// Signs an RRset of the pool's owner name: RDATA of the RRSIGs.
pub type SignRrset<'s, E> = dyn Fn(&Name, &Rrset) -> Result<Vec<Box<[u8]>>, E> + 's;

impl Records {
    /// Of a pool as configured.
    ///
    /// # Panics
    /// With types that can't be steered: the configuration gives none.
    pub fn new(settings: &Settings) -> Self {
        let types = settings.types();
        Self::of(&types, &variants(settings, &types), Box::default())
    }

    /// The same with signatures. `denial` gives the owner name and the NSEC or NSEC3 RRset which proves that the pool's name
    /// lacks just one type.
    ///
    /// # Errors
    /// What `sign` gives.
    ///
    /// # Panics
    /// As [`Records::new`].
    pub fn signed<E>(
        settings: &Settings,
        denial: impl Fn(Rtype) -> Option<(Name, Rrset)>,
        sign: &SignRrset<'_, E>,
    ) -> Result<Self, E> {
        let types = settings.types();
        let mut variants = variants(settings, &types);
        for (slot, variant) in variants.iter_mut().enumerate() {
            let (leaf, rtype) = (settings.leaf(slot / types.len()), types[slot % types.len()]);
            let Some(variant) = variant else { continue };
            let rdatas = leaf.iter().find(|(t, _)| *t == rtype).map(|(_, rdatas)| rdatas.clone());
            let set = Rrset { rtype, ttl: settings.ttl.normal, rdatas: rdatas.unwrap_or_default() };
            variant.sign(&sign(&settings.name, &set)?);
        }
        let mut denials = Vec::new();
        for (place, rtype) in types.iter().enumerate() {
            // An address type may be withdrawn while the other one stays.
            let may_be = [Rtype::A, Rtype::AAAA];
            let may_be = may_be.contains(rtype) && may_be.iter().all(|t| types.contains(t));
            let is_lacked = variants.iter().skip(place).step_by(types.len()).any(Option::is_none);
            denials.push(match denial(*rtype).filter(|_| is_lacked || may_be) {
                Some((owner, set)) => Some(Denial::new(&owner, &set, &sign(&owner, &set)?)),
                None => None,
            });
        }
        Ok(Self::of(&types, &variants, denials.into()))
    }

    fn of(types: &[Rtype], variants: &[Option<Variant>], denials: Box<[Option<Denial>]>) -> Self {
        let mut run = Vec::new();
        let mut start = variants.len() * PLACE;
        for variant in variants {
            let mut place = Place { start, octets: 0, signature_octets: 0, records: 0, signatures: 0 };
            if let Some(Variant { octets, records, signatures, signature_octets }) = variant {
                (place.octets, place.signature_octets) = (octets.len(), *signature_octets);
                (place.records, place.signatures) = (*records, *signatures);
            }
            start += place.octets;
            run.extend(place.written());
        }
        run.extend(variants.iter().flatten().flat_map(|variant| &variant.octets));
        Self { types: types.iter().copied().collect(), run: run.into(), denials }
    }

    /// The same where some leaves are not answered with their addresses of one family: neither in A and AAAA, nor in the
    /// hints of HTTPS and SVCB, but where these are signed: hints give way to what A and AAAA say (RFC 9460, 7.3).
    #[must_use]
    pub fn without(&self, settings: &Settings, withdrawn: impl Fn(usize, Family) -> bool) -> Self {
        let types = self.types.len();
        let mut variants: Vec<Option<Variant>> = (0..self.slots()).map(|slot| self.variant(slot)).collect();
        for (slot, variant) in variants.iter_mut().enumerate() {
            let (leaf, rtype) = (slot / types, self.types[slot % types]);
            let gone = |family| withdrawn(leaf, family);
            let hint = match rtype {
                Rtype::A if gone(Family::Ipv4) => {
                    *variant = None;
                    continue;
                }
                Rtype::AAAA if gone(Family::Ipv6) => {
                    *variant = None;
                    continue;
                }
                Rtype::HTTPS | Rtype::SVCB if gone(Family::Ipv4) => IPV4_HINT,
                Rtype::HTTPS | Rtype::SVCB if gone(Family::Ipv6) => IPV6_HINT,
                _ => continue,
            };
            let rdatas = settings.leaf(leaf).iter().find(|(t, _)| *t == rtype);
            if let (Some(Variant { signatures: 0, .. }), Some((_, rdatas))) = (&variant, rdatas) {
                *variant = Some(Variant::new(rtype, &unhinted(rdatas, hint)));
            }
        }
        Self::of(&self.types, &variants, self.denials.clone())
    }

    /// The places of its slots and the records behind them, as they lie in memory.
    #[inline]
    pub(super) fn run(&self) -> &[u8] {
        &self.run
    }

    /// The types steered.
    pub fn types(&self) -> &[Rtype] {
        &self.types
    }

    /// Whether they have signatures.
    pub fn is_signed(&self) -> bool {
        (0..self.slots()).any(|slot| self.place_of(slot).is_some_and(|place| place.signatures > 0))
    }

    /// How many slots there are: leaves times types.
    pub fn slots(&self) -> usize {
        // The places end where the records of the first slot begin.
        self.run.first_chunk().map_or(0, |place| Place::read(place).start / PLACE)
    }

    /// The slot of a leaf's RRset, and of an endpoint's in the pool's recorder; `None` when the pool does not steer `rtype`.
    #[inline]
    pub fn slot(&self, leaf: usize, rtype: Rtype) -> Option<usize> {
        self.place(rtype).map(|t| leaf * self.types.len() + t)
    }

    /// Where a type stands among those steered.
    #[inline]
    pub(super) fn place(&self, rtype: Rtype) -> Option<usize> {
        self.types.iter().position(|t| *t == rtype)
    }

    /// The first type that the leaf has, which is enough for ANY (RFC 8482, 4.1).
    pub(super) fn first_type(&self, leaf: usize) -> Option<Rtype> {
        let has = |t: &Rtype| self.slot(leaf, *t).is_some_and(|slot| self.get(slot).is_some());
        self.types.iter().copied().find(has)
    }

    /// Octets and number of the records in `slot`, owner name at octet 12; `None` when the leaf lacks the type.
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<(&[u8], u16)> {
        let place = self.place_of(slot)?;
        let end = place.start + place.octets - place.signature_octets;
        Some((&self.run[place.start..end], place.records - place.signatures))
    }

    /// The same with signatures, where the zone has them.
    #[inline]
    pub(super) fn get_signed(&self, slot: usize) -> Option<(&[u8], u16)> {
        let place = self.place_of(slot)?;
        Some((&self.run[place.start..place.start + place.octets], place.records))
    }

    /// The proof that the type of `slot` is not there: octets, and the places of the TTLs in them.
    pub(super) fn denial(&self, slot: usize) -> Option<(&[u8], &[u16])> {
        let denial = self.denials.get(slot % self.types.len())?.as_ref()?;
        Some((&denial.octets, &denial.ttls))
    }

    /// RDATA of the first record of [`Records::denial`].
    pub(super) fn denial_rdata(&self, slot: usize) -> Option<&[u8]> {
        let (octets, _) = self.denial(slot)?;
        let owner: usize = crate::dns::name::labels(octets).map(|label| 1 + label.len()).sum();
        let head = octets.get(owner + 1..)?;
        let length = u16::from_be_bytes(*head.get(8..)?.first_chunk()?);
        head.get(10..10 + usize::from(length))
    }

    /// The target of the CNAME in `slot`, in wire form.
    pub(super) fn target(&self, slot: usize) -> Option<&[u8]> {
        self.get(slot).map(|(octets, _)| &octets[12..])
    }

    #[inline]
    fn place_of(&self, slot: usize) -> Option<Place> {
        let place = self.run[slot * PLACE..].first_chunk()?;
        Some(Place::read(place)).filter(|place| place.octets > 0)
    }

    fn variant(&self, slot: usize) -> Option<Variant> {
        let Place { start, octets, signature_octets, records, signatures } = self.place_of(slot)?;
        Some(Variant { octets: self.run[start..start + octets].to_vec(), records, signatures, signature_octets })
    }
}

impl Place {
    fn written(&self) -> [u8; PLACE] {
        let number =
            |octets: usize| u32::try_from(octets).expect("RRsets of a configuration are smaller").to_le_bytes();
        let ([a, b], [c, d]) = (self.records.to_le_bytes(), self.signatures.to_le_bytes());
        let numbers = [number(self.start), number(self.octets), number(self.signature_octets), [a, b, c, d]];
        std::array::from_fn(|at| numbers[at / 4][at % 4])
    }

    #[inline]
    fn read(octets: &[u8; PLACE]) -> Self {
        let number = |at: usize| u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let (start, all, signature_octets) = (number(0) as usize, number(4) as usize, number(8) as usize);
        let (records, signatures) = (number(12) as u16, (number(12) >> 16) as u16);
        Self { start, octets: all, signature_octets, records, signatures }
    }
}

/// The RRsets of a pool as configured, by slot.
fn variants(settings: &Settings, types: &[Rtype]) -> Vec<Option<Variant>> {
    let of = |leaf: &Rdata, t: Rtype| leaf.iter().find(|(u, _)| *u == t).map(|(_, d)| Variant::new(t, d));
    settings.leaves().into_iter().flat_map(|leaf| types.iter().map(move |t| of(leaf, *t))).collect()
}

/// SVCB records without the hint `key`.
fn unhinted(rdatas: &[Box<[u8]>], key: u16) -> Vec<Box<[u8]>> {
    rdatas.iter().map(|rdata| without_parameter(rdata, key).unwrap_or_else(|| rdata.clone())).collect()
}

impl Variant {
    fn new(rtype: Rtype, rdatas: &[Box<[u8]>]) -> Self {
        Self { octets: laid_out(rtype, rdatas), records: rdatas.len() as u16, signatures: 0, signature_octets: 0 }
    }

    /// Adds these RRSIGs.
    fn sign(&mut self, signatures: &[Box<[u8]>]) {
        let behind = Self::new(Rtype::RRSIG, signatures);
        (self.signatures, self.signature_octets) = (behind.records, behind.octets.len());
        self.records += behind.records;
        self.octets.extend(behind.octets);
    }
}

impl Denial {
    fn new(owner: &Name, set: &Rrset, signatures: &[Box<[u8]>]) -> Self {
        let (mut octets, mut ttls) = (Vec::new(), Vec::new());
        let of_set = set.rdatas.iter().map(|rdata| (set.rtype, rdata));
        for (rtype, rdata) in of_set.chain(signatures.iter().map(|rdata| (Rtype::RRSIG, rdata))) {
            octets.extend_from_slice(owner.wire());
            octets.extend_from_slice(&rtype.0.to_be_bytes());
            octets.extend_from_slice(&CLASS_IN.to_be_bytes());
            ttls.push(octets.len() as u16);
            octets.extend_from_slice(&[0; 4]);
            octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            octets.extend_from_slice(rdata);
        }
        Self { octets: octets.into(), ttls: ttls.into() }
    }
}

/// Records of an owner name at octet 12.
pub(super) fn laid_out(rtype: Rtype, rdatas: &[Box<[u8]>]) -> Vec<u8> {
    let mut octets = Vec::new();
    for rdata in rdatas {
        octets.extend_from_slice(&[0xc0, 12]);
        octets.extend_from_slice(&rtype.0.to_be_bytes());
        octets.extend_from_slice(&CLASS_IN.to_be_bytes());
        octets.extend_from_slice(&[0; 4]); // TTL: patched in each answer
        octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        octets.extend_from_slice(rdata);
    }
    octets
}

/// Each record of what [`laid_out`] gave.
pub(super) fn records_of(mut octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let head = octets.first_chunk::<12>()?;
        let (record, rest) = octets.split_at(12 + u16::from_be_bytes([head[10], head[11]]) as usize);
        octets = rest;
        Some(record)
    })
}

/// RDATA of each of them.
pub(super) fn rdatas_of(octets: &[u8]) -> Vec<Box<[u8]>> {
    records_of(octets).map(|record| record[12..].into()).collect()
}

/// Sets owner name and TTL of records laid out by [`laid_out`], in a response.
#[inline]
pub(super) fn patch(records: &mut [u8], owner_at: usize, ttl: Ttl) {
    let mut rest = records;
    while let Some((head, tail)) = rest.split_first_chunk_mut::<12>() {
        head[..2].copy_from_slice(&(0xc000 | owner_at as u16).to_be_bytes());
        head[6..10].copy_from_slice(&ttl.secs().to_be_bytes());
        rest = &mut tail[u16::from_be_bytes([head[10], head[11]]) as usize..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn what_each_answer_reads_lies_on_few_cache_lines() {
        assert_eq!((align_of::<Pool>(), size_of::<Records>()), (64, 64));
        let of_selector = Selector::HOT_OCTETS;
        assert!(offset_of!(Pool, selector) + of_selector <= 192, "{}", offset_of!(Pool, selector));
    }
}
