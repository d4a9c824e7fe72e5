//! The stages of an answer that gives, or lacks, an RRset of a zone whose TTL is planned.

use super::{Answer, Given, What};
use crate::dns::wire::Full;
use crate::dns::{Rtype, Ttl};
use crate::query::planned::{Named, Planned};
use crate::zone::Zone;
use crate::zone::compiled::NodeRef;
use crate::zone::prepared::{OwnerAt, Prepared};

impl<'a> Answer<'a, '_> {
    /// Adds an RRset with its signatures, at the TTL that is planned for it. Additional data keeps its own.
    pub(super) fn planned(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        (rtype, set): (Rtype, Prepared<'a>),
        named: Option<&'a Named>,
        owner: OwnerAt,
    ) -> Result<(), Full> {
        let ttl = match (rtype, named) {
            (Rtype::NSEC, _) => self.bound_of_absence(zone), // it denies what is between two names (RFC 8198)
            // Alone they are no copy of what they cover, and must not outlive it.
            (Rtype::RRSIG, Some(named)) => named.least(&self.resolver().key, self.context.now),
            (_, named) => named.and_then(|named| named.of(rtype)).map(|planned| self.give_planned(planned, set.ttl())),
        };
        let signs = self.signs(zone);
        if signs && let Some(online) = self.expanded(zone, node, owner) {
            return self.signed_expanded(zone, online, node, owner, ttl);
        }
        let set = if signs {
            self.prove_expansion(zone, node, owner)?;
            set.with_signatures()
        } else {
            set
        };
        let begun = self.response.len();
        set.copy_required(&mut self.response, owner)?;
        if let Some(ttl) = ttl {
            self.response.lower_ttls(begun, ttl);
        }
        if self.proofs.is_empty() {
            set.copy_additional(&mut self.response, begun); // else it would stand before the proofs
        }
        Ok(())
    }

    /// The TTL at which what is `planned` is given now; it is counted. `own` is the zone's.
    pub(super) fn give_planned(&mut self, planned: &'a Planned, own: Ttl) -> Ttl {
        let ttl = planned.ttl(&self.resolver().key, self.context.now).min(own);
        self.note(Given { recorder: &planned.recorder, what: What::Slot(0), ttl, steered: false });
        ttl
    }

    /// What bounds the TTL of all that `zone` denies, while it lacks an RRset that is planned; it is counted, once.
    pub(super) fn bound_of_absence(&mut self, zone: &Zone) -> Option<Ttl> {
        let absence = self.snapshot.planned.absence(zone.apex())?;
        let ttl = absence.ttl(&self.resolver().key, self.context.now).min(zone.negative_ttl());
        let recorder = &*absence.recorder;
        if !self.given.iter().any(|given| std::ptr::eq(given.recorder, recorder)) {
            self.note(Given { recorder, what: What::Slot(0), ttl, steered: false });
        }
        Some(ttl)
    }

    /// A negative answer of a zone that may lack an RRset that is planned.
    #[cold]
    pub(super) fn negative_for(
        &mut self,
        zone: &'a Zone,
        owner: OwnerAt,
        node: Option<NodeRef<'a>>,
    ) -> Result<(), Full> {
        let (apex, begun) = (owner.suffix(zone.apex().wire().len()), self.response.len());
        self.maybe_signed(zone, zone.negative()).copy(&mut self.response, apex)?;
        if let Some(ttl) = self.bound_of_absence(zone) {
            self.response.lower_ttls(begun, ttl);
        }
        if self.signs(zone) { self.prove_absence(zone, owner, node) } else { Ok(()) }
    }

    /// A referral; where it is signed it may deny what is planned.
    #[inline]
    pub(super) fn referral(&mut self, zone: &'a Zone, referral: Prepared<'a>, owner: OwnerAt) -> Result<(), Full> {
        let begun = self.response.len();
        let signs = self.signs(zone);
        self.maybe_signed(zone, referral).copy(&mut self.response, owner)?;
        if signs && let Some(ttl) = self.bound_of_absence(zone) {
            self.response.lower_ttls(begun, ttl);
        }
        Ok(())
    }
}
