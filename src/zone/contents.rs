//! What a zone holds, record by record: easy to look at and to change, and large. Zones that are served are [`super::Zone`]s.

use std::collections::HashMap;

use crate::dns::{Name, Rtype, Ttl};

/// An RRset (RFC 9499, 5): the records of one owner name, class IN and type. They share one TTL (RFC 2181, 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rrset {
    /// The type of all its records.
    pub rtype: Rtype,
    /// The TTL of all its records.
    pub ttl: Ttl,
    /// RDATA of each record, uncompressed wire form, in the order of the file; no two the same.
    pub rdatas: Vec<Box<[u8]>>,
}

/// All RRsets of a zone by owner name, also those at and below its zone cuts (NS, DS and glue).
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The zone's own name.
    pub apex: Name,
    /// The RRsets of each owner name; empty non-terminals are not listed.
    pub owners: HashMap<Name, Vec<Rrset>, foldhash::quality::RandomState>,
}

impl Contents {
    /// A zone without records.
    pub fn new(apex: Name) -> Self {
        Self { apex, owners: HashMap::default() }
    }

    /// The RRset of `rtype` at `owner`.
    pub fn rrset(&self, owner: &Name, rtype: Rtype) -> Option<&Rrset> {
        self.owners.get(owner)?.iter().find(|r| r.rtype == rtype)
    }

    /// The RRset at `owner`, made with `ttl` if there is none; the TTL of one that exists stays.
    pub fn rrset_mut(&mut self, owner: &Name, rtype: Rtype, ttl: Ttl) -> &mut Rrset {
        if !self.owners.contains_key(owner) {
            self.owners.insert(owner.clone(), Vec::new());
        }
        let sets = self.owners.get_mut(owner).expect("it was just made sure of");
        let at = sets.iter().position(|r| r.rtype == rtype).unwrap_or_else(|| {
            sets.push(Rrset { rtype, ttl, rdatas: Vec::new() });
            sets.len() - 1
        });
        &mut sets[at]
    }

    /// The SERIAL of the apex' SOA; `None` without one.
    pub fn serial(&self) -> Option<u32> {
        let soa = self.rrset(&self.apex, Rtype::SOA)?.rdatas.first()?;
        let tail = soa.get(soa.len().checked_sub(20)?..)?; // SERIAL REFRESH RETRY EXPIRE MINIMUM
        Some(u32::from_be_bytes(tail[..4].try_into().ok()?))
    }
}
