//! What is signed as it is answered, of zones with compact denial of existence (RFC 9824): names that do not exist, and what a wildcard
//! gives. The one place where an answer costs a signature and memory; how many a worker makes in a second is bounded.

use super::{Answer, Step};
use crate::dns::name::lowered;
use crate::dns::wire::{Full, NAME_BUFFER, Rcode, Section};
use crate::dns::{Name, Rtype, Ttl};
use crate::query::pool::{Pool, laid_out, patch};
use crate::zone::compiled::NodeRef;
use crate::zone::prepared::OwnerAt;
use crate::zone::signing::online::{Online, bitmap_of, no_such_name};
use crate::zone::{Rrset, Zone};

impl<'a> Answer<'a, '_> {
    /// What signs answers of `zone` as they are made.
    #[inline]
    pub(super) fn online(&mut self, zone: &Zone) -> Option<&'a Online> {
        if zone.is_compact() { self.online_of(zone) } else { None }
    }

    #[cold]
    fn online_of(&mut self, zone: &Zone) -> Option<&'a Online> {
        let snapshot = self.snapshot;
        let mut lower = [0; NAME_BUFFER];
        let online = snapshot.zones.get(lowered(zone.apex().wire(), &mut lower))?.online.as_deref();
        self.compact |= online.is_some();
        online
    }

    /// The RCODE where a signed zone has no such name (RFC 9824, 3.1): NOERROR beside a compact proof, unless the client says that it
    /// understands NXDOMAIN there (5.1).
    pub(super) fn rcode_of_no_name(&mut self, zone: &Zone) -> Rcode {
        let understands = self.query.edns.is_some_and(|edns| edns.compact_ok);
        if self.online(zone).is_some() && !understands { Rcode::NoError } else { Rcode::NxDomain }
    }

    /// The same where `node` is a wildcard that stands for another name.
    #[inline]
    pub(super) fn expanded(&mut self, zone: &Zone, node: NodeRef<'a>, owner: OwnerAt) -> Option<&'a Online> {
        if !zone.is_compact() {
            return None;
        }
        let is_wildcard = node.name().starts_with(b"\x01*") && !self.response.has_name(owner.at(), node.name());
        if is_wildcard { self.online(zone) } else { None }
    }

    /// Adds `set`, which a wildcard gave, as if the name were there itself (RFC 9824, 3.3).
    pub(super) fn put_expanded(&mut self, online: &Online, owner: OwnerAt, set: &Rrset, ttl: Ttl) -> Result<(), Full> {
        let signatures = self.sign_now(online, owner, set)?;
        let octets = [laid_out(set.rtype, &set.rdatas), laid_out(Rtype::RRSIG, &signatures)].concat();
        let records = set.rdatas.len() + signatures.len();
        let place = self.response.put(Section::Answer, records as u16, &octets)?;
        patch(place, owner.at(), ttl);
        Ok(())
    }

    /// Proves that the name at `owner` has no types but those that are not denied at `node`, a wildcard that stands for it (3.3), or that
    /// there is no such name (3.1).
    pub(super) fn deny_now(
        &mut self,
        zone: &'a Zone,
        online: &Online,
        owner: OwnerAt,
        node: Option<NodeRef<'a>>,
    ) -> Result<(), Full> {
        let of_wildcard = |node: NodeRef<'_>| {
            let proof = zone.rrset(&Name::from_wire(node.name()).ok()?, Rtype::NSEC)?;
            bitmap_of(proof.rdatas.first()?).map(<[u8]>::to_vec)
        };
        let bitmap = match node {
            Some(node) => of_wildcard(node).ok_or(Full)?,
            None => no_such_name(),
        };
        let original = zone.negative_ttl();
        let ttl = self.bound_of_absence(zone).map_or(original, |most| most.min(original));
        self.put_proof(online, owner, &bitmap, original, ttl)
    }

    /// Proves that the name at `owner`, for which the wildcard of a pool stands, lacks the type of `slot`.
    pub(super) fn deny_steered(
        &mut self,
        zone: &'a Zone,
        online: &Online,
        pool: &'a Pool,
        owner: OwnerAt,
        (slot, ttl): (usize, Ttl),
    ) -> Result<Step<'a>, Full> {
        let bitmap = pool.records.denial_rdata(slot).and_then(bitmap_of).ok_or(Full)?;
        self.put_proof(online, owner, bitmap, zone.negative_ttl(), ttl)?;
        Ok(Step::Done(Rcode::NoError))
    }

    fn put_proof(
        &mut self,
        online: &Online,
        owner: OwnerAt,
        bitmap: &[u8],
        original: Ttl,
        ttl: Ttl,
    ) -> Result<(), Full> {
        let proof = online.proof(&self.name_at(owner)?, bitmap, original);
        let signatures = self.sign_now(online, owner, &proof)?;
        let octets = [laid_out(Rtype::NSEC, &proof.rdatas), laid_out(Rtype::RRSIG, &signatures)].concat();
        let place = self.response.put(Section::Authority, 1 + signatures.len() as u16, &octets)?;
        patch(place, owner.at(), ttl);
        Ok(())
    }

    fn sign_now(&mut self, online: &Online, owner: OwnerAt, set: &Rrset) -> Result<Vec<Box<[u8]>>, Full> {
        let name = self.name_at(owner)?;
        // Who only wants to know, such as `explain`, is no worker, and is not counted.
        let may = self.tally.worker.is_none() || self.tally.counters.may_sign(online.tags().len(), self.context.now);
        let signed = if may { online.sign(&name, set, self.context.now).ok() } else { None };
        self.exhausted |= signed.is_none();
        signed.ok_or(Full)
    }

    fn name_at(&self, owner: OwnerAt) -> Result<Name, Full> {
        let mut lower = [0; NAME_BUFFER];
        Name::from_wire(self.response.lower_name(owner.at(), &mut lower)).map_err(|_| Full)
    }
}
