//! RRsets of zones whose TTL is planned, as queries see them: nothing is answered in their place, but it is said with which
//! TTL they are answered, and recorded for their horizon.

use std::sync::Arc;

use crate::dns::{Name, Rtype, Ttl};
use crate::query::{Pool, Snapshot};
use crate::steering::horizon::Recorder;
use crate::steering::key::{ClientKey, Salt, point};
use crate::steering::ttl::{Change, Cutover, TtlPolicy, served_ttl};
use crate::time::Timestamp;

/// A mark in a slot of the zones' overlay: it is one of [`PlannedRrsets::names`]. Without it, it is a pool's.
pub const PLANNED: u32 = 1 << 29;
/// The slot without its marks.
const SLOT: u32 = PLANNED - 1;

/// All RRsets that are planned.
#[derive(Debug, Default)]
pub struct PlannedRrsets {
    /// By slot.
    pub names: Box<[Named]>,
    /// Of zones that lack some of them; no zone twice.
    pub absences: Box<[Absence]>,
}

/// What is planned at one owner name.
#[derive(Debug)]
pub struct Named {
    /// The pool that lies over the same name.
    pub pool: Option<u32>,
    /// No type twice.
    pub rrsets: Box<[Planned]>,
}

/// One RRset.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its type.
    pub rtype: Rtype,
    /// Of its owner name: by it a client's countdown is a fixed part of the spread ahead.
    pub salt: Salt,
    /// Within the TTL that the zone gives it.
    pub ttl: TtlPolicy,
    /// The last change of its RDATA.
    pub change: Option<Change>,
    /// The change that is planned.
    pub cutover: Option<Cutover>,
    /// Where answers with it are noted, as long as it is as it is now.
    pub recorder: Arc<Recorder>,
    /// What is known of answers given before the last change: for `explain`.
    pub past: Box<[Arc<Recorder>]>,
}

/// Of a zone that lacks RRsets which are planned: what it denies is remembered no longer than they would be.
#[derive(Debug)]
pub struct Absence {
    /// The zone.
    pub apex: Name,
    /// What it lacks.
    pub rrsets: Box<[Planned]>,
    /// Where its negative answers are noted.
    pub recorder: Arc<Recorder>,
}

impl Snapshot {
    /// What lies over a name, by the slot that its zone tells.
    #[inline]
    pub fn over(&self, slot: u32) -> (Option<&Pool>, Option<&Named>) {
        if slot & PLANNED == 0 {
            return (self.pools.get(slot as usize).map(|pool| &**pool), None);
        }
        let named = self.planned.names.get((slot & SLOT) as usize);
        let pool = named.and_then(|named| self.pools.get(named.pool? as usize));
        (pool.map(|pool| &**pool), named)
    }
}

impl PlannedRrsets {
    /// What the zone `apex` lacks.
    #[inline]
    pub fn absence(&self, apex: &Name) -> Option<&Absence> {
        self.absences.iter().find(|absence| absence.apex == *apex)
    }
}

impl Named {
    /// The RRset of this type, if it is planned.
    #[inline]
    pub fn of(&self, rtype: Rtype) -> Option<&Planned> {
        self.rrsets.iter().find(|planned| planned.rtype == rtype)
    }

    /// The least TTL of all that are.
    pub fn least(&self, key: &ClientKey, now: Timestamp) -> Option<Ttl> {
        self.rrsets.iter().map(|planned| planned.ttl(key, now)).min()
    }
}

impl Planned {
    /// The TTL for one client at `now`.
    #[inline]
    pub fn ttl(&self, key: &ClientKey, now: Timestamp) -> Ttl {
        served_ttl(&self.ttl, self.cutover.as_ref(), self.change.as_ref(), point(&self.salt, key), now)
    }

    /// The latest that is known of answers given before the last change.
    pub fn past(&self) -> Option<Timestamp> {
        self.past.iter().filter_map(|recorder| recorder.latest(0)).max()
    }
}

impl Absence {
    /// The TTL of negative answers for one client at `now`, if the zone allows as much.
    pub fn ttl(&self, key: &ClientKey, now: Timestamp) -> Ttl {
        self.rrsets.iter().map(|planned| planned.ttl(key, now)).min().unwrap_or(Ttl::MAX)
    }
}
