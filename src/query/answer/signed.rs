//! The stages of an answer that brings the zone's own signatures and proofs (RFC 4035, 3.1), apart from the plain ones.

use super::{Answer, Proof, Step, Target};
use crate::dns::wire::{Full, NAME_BUFFER, Rcode, Section};
use crate::dns::{Name, Rtype, Ttl};
use crate::query::pool::{Pool, patch, rdatas_of};
use crate::query::union::Set;
use crate::zone::compiled::Proofs;
use crate::zone::compiled::{Alias, NodeRef};
use crate::zone::prepared::{OwnerAt, Prepared};
use crate::zone::signing::online::Online;
use crate::zone::{Rrset, Zone};

impl<'a> Answer<'a, '_> {
    /// Adds the RRset with its signatures, and the proof that nothing is closer than the wildcard that gave it (3.1.3.3).
    #[cold]
    pub(super) fn signed(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        set: Prepared<'a>,
        owner: OwnerAt,
    ) -> Result<(), Full> {
        if let Some(online) = self.expanded(zone, node, owner) {
            return self.signed_expanded(zone, online, node, owner, None);
        }
        let set = set.with_signatures();
        self.prove_expansion(zone, node, owner)?;
        if self.proofs.is_empty() {
            set.copy(&mut self.response, owner)
        } else {
            set.copy_required(&mut self.response, owner) // proofs come next; additional data would stand before them
        }
    }

    /// The same in a zone with compact denial, where `node` is a wildcard: as if the name were there (RFC 9824, 3.3), at `most` at
    /// the most.
    pub(super) fn signed_expanded(
        &mut self,
        zone: &'a Zone,
        online: &'a Online,
        node: NodeRef<'a>,
        owner: OwnerAt,
        most: Option<Ttl>,
    ) -> Result<(), Full> {
        let qtype = self.query.qtype;
        let rtype = if qtype == Rtype::ANY { node.any().map_or(qtype, |(rtype, _)| rtype) } else { qtype };
        if matches!(rtype, Rtype::NSEC | Rtype::RRSIG) {
            return self.negative(zone, owner, Some(node)); // these are made for each name
        }
        let set = Name::from_wire(node.name()).ok().and_then(|name| zone.rrset(&name, rtype)).ok_or(Full)?;
        self.put_expanded(online, owner, &set, most.map_or(set.ttl, |most| most.min(set.ttl)))
    }

    /// The same for a CNAME that leads on.
    #[cold]
    pub(super) fn signed_alias(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        set: Prepared<'a>,
        owner: OwnerAt,
        alias: Alias<'a>,
    ) -> Result<Step<'a>, Full> {
        let begun = self.response.len();
        let target_at = begun + 12; // behind a pointer and the fixed part: this target is not compressed
        if let Some(online) = self.expanded(zone, node, owner) {
            let rdatas = vec![alias.target.into()];
            self.put_expanded(online, owner, &Rrset { rtype: Rtype::CNAME, ttl: alias.ttl, rdatas }, alias.ttl)?;
            let owner = OwnerAt::whole(target_at, alias.target.len());
            return Ok(Step::Follow(Target { owner, prefix: 0, rest: alias.target }));
        }
        self.prove_expansion(zone, node, owner)?;
        set.with_signatures().copy_required(&mut self.response, owner)?;
        self.response.lower_ttls(begun, alias.ttl);
        let owner = OwnerAt::whole(target_at, alias.target.len());
        Ok(Step::Follow(Target { owner, prefix: 0, rest: alias.target }))
    }

    /// Adds what a pool gives for a slot, its type and TTL, with the signatures that were made ahead: the TTL of all is the
    /// one served now, the Original TTL that of the pool.
    #[cold]
    pub(super) fn signed_steered(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        pool: &'a Pool,
        owner: OwnerAt,
        (slot, qtype, ttl): (usize, Rtype, Ttl),
    ) -> Result<Step<'a>, Full> {
        let online = self.expanded(zone, node, owner);
        if online.is_none() {
            self.prove_expansion(zone, node, owner)?;
        }
        if let Some((octets, records)) = pool.records.get_signed(slot) {
            let target_at = self.response.len() + 12;
            if let Some((online, (octets, _))) = online.zip(pool.records.get(slot)) {
                let set = Rrset { rtype: qtype, ttl: pool.ttl.normal, rdatas: rdatas_of(octets) };
                self.put_expanded(online, owner, &set, ttl)?;
            } else {
                let place = self.response.put(Section::Answer, records, octets)?;
                patch(place, owner.at(), ttl);
            }
            return Ok(
                match pool.records.target(slot).filter(|_| qtype == Rtype::CNAME && self.query.qtype != Rtype::CNAME) {
                    Some(target) => {
                        let owner = OwnerAt::whole(target_at, target.len());
                        Step::Follow(Target { owner, prefix: 0, rest: target })
                    }
                    None => Step::Done(Rcode::NoError),
                },
            );
        }
        self.signed_lacking(zone, node, pool, owner, (slot, ttl))
    }

    /// The same of what all endpoints of a pool give together.
    #[cold]
    pub(super) fn signed_union(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        pool: &'a Pool,
        set: &'a Set,
        owner: OwnerAt,
        ttl: Ttl,
    ) -> Result<Step<'a>, Full> {
        let online = self.expanded(zone, node, owner);
        if online.is_none() {
            self.prove_expansion(zone, node, owner)?;
        }
        let Some((octets, records)) = set.get() else {
            let slot = set.slots().first().copied().unwrap_or_default();
            return self.signed_lacking(zone, node, pool, owner, (slot, ttl));
        };
        let target_at = self.response.len() + 12;
        if let Some(online) = online {
            let mut octets = octets.to_vec();
            set.shuffle(&mut octets, self.context.draw);
            let rtype = Rtype(u16::from_be_bytes([octets[2], octets[3]]));
            let set = Rrset { rtype, ttl: pool.ttl.normal, rdatas: rdatas_of(&octets) };
            self.put_expanded(online, owner, &set, ttl)?;
        } else {
            let copy = self.response.put(Section::Answer, records, octets)?;
            set.shuffle(copy, self.context.draw);
            patch(copy, owner.at(), ttl);
            let (octets, records) = set.signatures();
            let copy = self.response.put(Section::Answer, records, octets)?;
            patch(copy, owner.at(), ttl);
        }
        if pool.records.types() == [Rtype::CNAME] && self.query.qtype != Rtype::CNAME {
            let target = set.get().and_then(|(octets, _)| octets.get(12..)).unwrap_or_default();
            let owner = OwnerAt::whole(target_at, target.len());
            return Ok(Step::Follow(Target { owner, prefix: 0, rest: target }));
        }
        Ok(Step::Done(Rcode::NoError))
    }

    /// What is picked lacks the type of `slot`: it alone is denied, as other sites may have it and all else that there is.
    fn signed_lacking(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        pool: &'a Pool,
        owner: OwnerAt,
        (slot, ttl): (usize, Ttl),
    ) -> Result<Step<'a>, Full> {
        let ttl = ttl.min(zone.negative_ttl());
        let begun = self.response.len();
        zone.negative().with_signatures().copy(&mut self.response, owner.suffix(zone.apex().wire().len()))?;
        self.response.lower_ttls(begun, ttl);
        if let Some(online) = self.expanded(zone, node, owner) {
            return self.deny_steered(zone, online, pool, owner, (slot, ttl));
        }
        let mut lower = [0; NAME_BUFFER];
        let lower = self.response.lower_name(owner.at(), &mut lower);
        let encloser = zone.proofs_of_encloser(node, lower);
        self.prove(zone, encloser, owner)?;
        if let Some((octets, ttls)) = pool.records.denial(slot) {
            let place = self.response.put(Section::Authority, ttls.len() as u16, octets)?;
            for at in ttls {
                place[*at as usize..][..4].copy_from_slice(&ttl.secs().to_be_bytes());
            }
        }
        Ok(Step::Done(Rcode::NoError))
    }

    /// Proves NODATA at `node` (3.1.3.1, 3.1.3.4), or that neither the name nor a wildcard for it exists (3.1.3.2).
    #[cold]
    pub(super) fn prove_absence(
        &mut self,
        zone: &'a Zone,
        owner: OwnerAt,
        node: Option<NodeRef<'a>>,
    ) -> Result<(), Full> {
        let online = match node {
            Some(node) => self.expanded(zone, node, owner),
            None => self.online(zone),
        };
        if let Some(online) = online {
            return self.deny_now(zone, online, owner, node);
        }
        let mut lower = [0; NAME_BUFFER];
        let lower = self.response.lower_name(owner.at(), &mut lower);
        let proofs = match node {
            Some(node) => zone.proofs_of_no_type(node.name(), if is_wildcard(node) { lower } else { node.name() }),
            None => zone.proofs_of_no_name(lower),
        };
        self.prove(zone, proofs, owner)
    }

    /// Where `node` is a wildcard that stands for another name: that this name does not exist.
    pub(super) fn prove_expansion(&mut self, zone: &'a Zone, node: NodeRef<'a>, owner: OwnerAt) -> Result<(), Full> {
        if !is_wildcard(node) || self.response.has_name(owner.at(), node.name()) {
            return Ok(());
        }
        let mut lower = [0; NAME_BUFFER];
        let lower = self.response.lower_name(owner.at(), &mut lower);
        let proofs = zone.proofs_of_expansion(node.name(), lower);
        self.prove(zone, proofs, owner)
    }

    /// Remembers proofs, each once.
    fn prove(&mut self, zone: &'a Zone, proofs: Proofs<'a>, owner: OwnerAt) -> Result<(), Full> {
        let apex = owner.suffix(zone.apex().wire().len());
        let most = self.bound_of_absence(zone);
        for prepared in proofs {
            if !self.proofs.iter().any(|known| known.prepared.is(prepared)) {
                self.proofs.try_push(Proof { prepared, apex, most }).map_err(|_| Full)?;
            }
        }
        Ok(())
    }

    /// Adds what was remembered, once ANSWER is whole.
    #[cold]
    pub(super) fn put_proofs(&mut self) -> Result<(), Full> {
        for Proof { prepared, apex, most } in std::mem::take(&mut self.proofs) {
            let begun = self.response.len();
            prepared.copy_required(&mut self.response, apex)?;
            if let Some(most) = most {
                self.response.lower_ttls(begun, most);
            }
        }
        Ok(())
    }
}

fn is_wildcard(node: NodeRef<'_>) -> bool {
    node.name().starts_with(b"\x01*")
}
