//! The stages of an answer that a pool gives: whom it chooses, and the records of that.

use super::{Answer, Context, Given, Step, What};
use crate::dns::wire::{Full, Rcode, Section};
use crate::dns::{Rtype, Ttl};
use crate::query::nest::{Compound, way};
use crate::query::pool::{Choice, Pool, patch};
use crate::query::union::Union;
use crate::zone::Zone;
use crate::zone::compiled::NodeRef;
use crate::zone::prepared::OwnerAt;

impl<'a> Answer<'a, '_> {
    /// What `pool` answers; `None` when it does not steer the QTYPE.
    #[inline]
    pub(super) fn steered(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        pool: &'a Pool,
        owner: OwnerAt,
    ) -> Result<Option<Step<'a>>, Full> {
        let types = pool.records.types();
        let asked = match (self.query.qtype, types) {
            (_, [Rtype::CNAME]) => Rtype::CNAME,
            (asked, _) if asked == Rtype::ANY || types.contains(&asked) => asked,
            _ => return Ok(None),
        };
        let client = if pool.is_by_client() { self.client() } else { self.resolver() };
        let Some(choice) = pool.choose(&client, self.context.draw, self.context.now) else { return Ok(None) };
        match pool.compound.as_deref() {
            Some(Compound::Union(union)) if !choice.previewed => {
                return self.united(zone, node, pool, union, (asked, choice.ttl), owner).map(Some);
            }
            Some(Compound::Nest(_)) => return self.nested(zone, node, pool, asked, choice, owner),
            _ => {}
        }
        let qtype = if asked == Rtype::ANY { pool.records.first_type(choice.endpoint) } else { Some(asked) };
        let Some(qtype) = qtype else { return Ok(None) };
        let Some(slot) = pool.records.slot(choice.endpoint, qtype) else { return Ok(None) };
        self.note(Given { recorder: &pool.recorder, what: What::Slot(slot), ttl: choice.ttl, steered: true });
        self.give(zone, node, pool, owner, (slot, qtype, choice.ttl)).map(Some)
    }

    /// What `pool` has for a slot, its type and TTL.
    #[inline]
    fn give(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        pool: &'a Pool,
        owner: OwnerAt,
        (slot, qtype, ttl): (usize, Rtype, Ttl),
    ) -> Result<Step<'a>, Full> {
        if self.signs(zone) {
            return self.signed_steered(zone, node, pool, owner, (slot, qtype, ttl));
        }
        match pool.records.get(slot) {
            Some((octets, _)) if qtype == Rtype::CNAME && self.query.qtype != Rtype::CNAME => {
                Ok(Step::Follow(self.alias(owner, ttl, 0, &octets[12..], None)?))
            }
            Some((octets, records)) => {
                let place = self.response.put(Section::Answer, records, octets)?;
                patch(place, owner.at(), ttl);
                Ok(Step::Done(Rcode::NoError))
            }
            None => self.lacking(zone, ttl, owner),
        }
    }

    /// What `pool` answers, some of whose endpoints are pools, after it chose `first`. Each pool on the way remembers which
    /// endpoint was named, where it steers the type.
    fn nested(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        pool: &'a Pool,
        asked: Rtype,
        first: Choice,
        owner: OwnerAt,
    ) -> Result<Option<Step<'a>>, Full> {
        let (snapshot, Context { draw, now, .. }) = (self.snapshot, *self.context);
        let client = |pool: &Pool| if pool.is_by_client() { self.client() } else { self.resolver() };
        let Some(way) = way(&snapshot.pools, pool, first, client, draw, now) else { return Ok(None) };
        let Some((last, upper)) = way.steps.split_last() else { return Ok(None) };
        let mut note = |steps: &[(&'a Pool, Choice)], rtype| {
            for (pool, choice) in steps {
                if let Some(slot) = pool.records.slot(choice.endpoint, rtype) {
                    self.note(Given { recorder: &pool.recorder, what: What::Slot(slot), ttl: way.ttl, steered: true });
                }
            }
        };
        if let (inner, Choice { previewed: false, .. }) = *last
            && let Some(union) = inner.union()
        {
            let Some(rtype) = union.answered(inner.records.types(), asked) else {
                note(upper, asked);
                return self.lacking(zone, way.ttl, owner).map(Some);
            };
            note(upper, rtype);
            return self.united(zone, node, inner, union, (asked, way.ttl), owner).map(Some);
        }
        let qtype = if asked == Rtype::ANY { pool.records.first_type(way.leaf) } else { Some(asked) };
        let Some(qtype) = qtype else { return Ok(None) };
        let Some(slot) = pool.records.slot(way.leaf, qtype) else { return Ok(None) };
        note(&way.steps, qtype);
        self.give(zone, node, pool, owner, (slot, qtype, way.ttl)).map(Some)
    }

    /// Who is picked lacks the type. The answer is remembered no longer than a positive one would be.
    fn lacking(&mut self, zone: &'a Zone, ttl: Ttl, owner: OwnerAt) -> Result<Step<'a>, Full> {
        let ttl = ttl.min(zone.negative_ttl());
        let apex = owner.suffix(zone.apex().wire().len()).at();
        self.response.put_record(Section::Authority, apex, Rtype::SOA, ttl, zone.soa())?;
        Ok(Step::Done(Rcode::NoError))
    }

    /// What all endpoints answer that may, in an order of its own for each query.
    fn united(
        &mut self,
        zone: &'a Zone,
        node: NodeRef<'a>,
        pool: &'a Pool,
        union: &'a Union,
        (asked, ttl): (Rtype, Ttl),
        owner: OwnerAt,
    ) -> Result<Step<'a>, Full> {
        let types = pool.records.types();
        let place = union.answered(types, asked).and_then(|rtype| pool.records.place(rtype));
        let set = union.set(place.unwrap_or_default());
        self.note(Given { recorder: &pool.recorder, what: What::Slots(set.slots()), ttl, steered: true });
        if self.signs(zone) {
            return self.signed_union(zone, node, pool, set, owner, ttl);
        }
        let Some((octets, records)) = set.get() else { return self.lacking(zone, ttl, owner) };
        if types == [Rtype::CNAME] && self.query.qtype != Rtype::CNAME {
            return Ok(Step::Follow(self.alias(owner, ttl, 0, &octets[12..], None)?));
        }
        let copy = self.response.put(Section::Answer, records, octets)?;
        set.shuffle(copy, self.context.draw);
        patch(copy, owner.at(), ttl);
        Ok(Step::Done(Rcode::NoError))
    }
}
