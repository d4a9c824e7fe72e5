//! The stages of an answer that brings the zone's own signatures and proofs (RFC 4035, 3.1), apart from the plain ones.

use super::{Answer, Proof, Step, Target};
use crate::dns::wire::{Full, NAME_BUFFER};
use crate::zone::Zone;
use crate::zone::compiled::{Alias, NodeRef};
use crate::zone::prepared::{OwnerAt, Prepared};

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
        let set = zone.with_signatures(set);
        self.prove_expansion(zone, node, owner)?;
        if self.proof_count > 0 {
            set.copy_required(&mut self.response, owner) // proofs come next; additional data would stand before them
        } else {
            set.copy(&mut self.response, owner)
        }
    }

    /// The same for a CNAME that leads on.
    #[cold]
    pub(super) fn signed_alias(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        set: Prepared<'a>,
        owner: OwnerAt,
        alias: &'a Alias,
    ) -> Result<Step<'a>, Full> {
        self.prove_expansion(zone, node, owner)?;
        let target_at = self.response.len() + 12; // behind a pointer and the fixed part: this target is not compressed
        zone.with_signatures(set).copy_required(&mut self.response, owner)?;
        let owner = OwnerAt::whole(target_at, alias.target.len());
        Ok(Step::Follow(Target { owner, prefix: 0, rest: &alias.target }))
    }

    /// Proves NODATA at `node` (3.1.3.1, 3.1.3.4), or that neither the name nor a wildcard for it exists (3.1.3.2).
    #[cold]
    pub(super) fn prove_absence(
        &mut self,
        zone: &'a Zone,
        owner: OwnerAt,
        node: Option<NodeRef<'a>>,
    ) -> Result<(), Full> {
        let mut lower = [0; NAME_BUFFER];
        let lower = self.response.lower_name(owner.at(), &mut lower);
        if let Some(node) = node {
            self.prove(zone, zone.proof_for(node.name()), owner)?;
            return self.prove_expansion(zone, node, owner);
        }
        self.prove(zone, zone.proof_for(lower), owner)?;
        self.prove(zone, zone.proof_of_no_wildcard(lower), owner)
    }

    /// Where `node` is a wildcard that stands for another name: that this name does not exist.
    fn prove_expansion(&mut self, zone: &'a Zone, node: NodeRef<'a>, owner: OwnerAt) -> Result<(), Full> {
        let wildcard = node.name();
        if !wildcard.starts_with(b"\x01*") || self.response.has_name(owner.at(), wildcard) {
            return Ok(());
        }
        let mut lower = [0; NAME_BUFFER];
        let lower = self.response.lower_name(owner.at(), &mut lower);
        self.prove(zone, zone.proof_for(lower), owner)
    }

    /// Remembers a proof, once.
    fn prove(&mut self, zone: &'a Zone, number: Option<u32>, owner: OwnerAt) -> Result<(), Full> {
        let Some(number) = number else { return Ok(()) };
        let mut known = self.proofs[..self.proof_count].iter().flatten();
        if known.any(|proof| proof.number == number && std::ptr::eq(proof.zone, zone)) {
            return Ok(());
        }
        let apex_at = owner.suffix(zone.apex().wire().len()).at() as u16;
        *self.proofs.get_mut(self.proof_count).ok_or(Full)? = Some(Proof { zone, number, apex_at });
        self.proof_count += 1;
        Ok(())
    }

    /// Adds what was remembered, once ANSWER is whole.
    #[cold]
    pub(super) fn put_proofs(&mut self) -> Result<(), Full> {
        let count = std::mem::take(&mut self.proof_count);
        for proof in self.proofs[..count].iter().flatten() {
            let apex = OwnerAt::whole(proof.apex_at as usize, proof.zone.apex().wire().len());
            if let Some(prepared) = proof.zone.proof(proof.number) {
                prepared.copy_required(&mut self.response, apex)?;
            }
        }
        Ok(())
    }
}
