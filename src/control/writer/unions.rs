//! What pools of the policy `all` answer together, signed before it is published.
//!
//! Which endpoints these are changes with weights, health, overrides and the state of sites: each of these is published by the
//! writer, and the signatures of the set that is answered from then on are made with it, one for each type, key and change.

use std::sync::Arc;

use crate::control::writer::Writer;
use crate::dns::Name;
use crate::query::{Records, Union};
use crate::steering::pool::Family;
use crate::time::Timestamp;
use crate::zone::Rrset;
use crate::zone::signing::keys::KeyError;
use crate::zone::signing::sign::rrsig;

/// What was published, and of what it was made.
pub(super) struct Kept {
    /// The records of all endpoints; they are made anew with their signatures, keys and settings.
    of: Arc<Records>,
    given: Vec<usize>,
    withdrawn: Box<[Option<Family>]>,
    union: Arc<Union>,
}

impl Writer {
    /// What the endpoints that are `given` answer together, of the pool at `index` of the catalog. `records` are those of the
    /// catalog without what is `withdrawn`.
    pub(super) fn union(
        &mut self,
        index: usize,
        records: &Records,
        given: Vec<usize>,
        withdrawn: &[Option<Family>],
    ) -> Arc<Union> {
        let settings = &self.catalog.settings.pools[index];
        let of = &self.catalog.records[index];
        if let Some(kept) = self.unions.get(&settings.name)
            && Arc::ptr_eq(&kept.of, of)
            && kept.given == given
            && *kept.withdrawn == *withdrawn
        {
            return kept.union.clone();
        }
        let signed = if of.is_signed() { self.signed_union(index, records, &given) } else { None };
        let union = Arc::new(signed.unwrap_or_else(|| Union::new(records, &given)));
        let kept = Kept { of: of.clone(), given, withdrawn: withdrawn.into(), union: union.clone() };
        self.unions.insert(settings.name.clone(), kept);
        union
    }

    fn signed_union(&self, index: usize, records: &Records, given: &[usize]) -> Option<Union> {
        let settings = &self.catalog.settings.pools[index];
        let mut above = Some(settings.name.clone());
        let apex: Name = loop {
            let name = above?;
            if self.catalog.zone(&name).is_some() {
                break name;
            }
            above = name.parent();
        };
        let signer = self.signers.get(&apex)?;
        let (signers, span) = (signer.ring.keys().zone_signers, signer.policy.validity.span(Timestamp::now(), 0));
        let sign = |owner: &Name, set: &Rrset| signers.iter().map(|key| rrsig(owner, set, &apex, key, span)).collect();
        let union = Union::signed::<KeyError>(records, given, (&settings.name, settings.ttl.normal), &sign);
        let failed = |error: &KeyError| {
            tracing::error!(pool = %settings.name, %error, "what its endpoints answer together is not signed");
        };
        union.inspect_err(failed).ok()
    }

    /// Lets go of what was made for pools that are gone.
    pub(super) fn forget_unions(&mut self) {
        self.unions.retain(|pool, _| self.catalog.pool_index(pool).is_some());
    }
}
