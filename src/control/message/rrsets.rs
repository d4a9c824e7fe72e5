//! What there is to show of planned RRsets.

use serde::{Deserialize, Serialize};

use super::TtlStatus;
use crate::dns::Name;
use crate::steering::planned::{Answered, RrsetKey};
use crate::time::Timestamp;

/// An RRset of a zone whose TTL is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RrsetStatus {
    /// Which.
    #[serde(flatten)]
    pub rrset: RrsetKey,
    /// The zone that answers.
    pub zone: Option<Name>,
    /// With what: `rrset`, `nothing`, or `other`, which stands in its place and is not counted; `null`: its zone could never be
    /// read.
    pub answered: Option<Answered>,
    /// TTLs, none above the zone's.
    pub ttl: TtlStatus,
    /// The change that is planned.
    pub cutover: Option<Timestamp>,
    /// Since when it is planned: of changes before that nothing is known.
    pub planned_since: Timestamp,
    /// When it was last changed; `null`: not since it is planned.
    pub changed_at: Option<Timestamp>,
    /// Answers that gave it as it is, since it was changed or the start.
    pub answers: u64,
    /// After it no cache that obeys TTLs holds the RRset as it was before its last change; `null`: it was not changed.
    pub horizon: Option<RrsetHorizon>,
}

/// The cache horizon of an RRset as it was before its last change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RrsetHorizon {
    /// When; `null`: nobody was given it.
    pub at: Option<Timestamp>,
    /// How long until then; 0 when it has passed.
    pub seconds_left: u64,
    /// Somebody may still be given it: this is the least it can be.
    pub at_least: bool,
    /// What it goes by.
    pub why: String,
}
