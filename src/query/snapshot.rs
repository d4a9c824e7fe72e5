//! What a query may see: everything of one moment.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::dns::tsig::KeyRing;
use crate::query::{Cookies, PlannedRrsets, Pools, RateLimit};
use crate::steering::client::ClientRules;
use crate::zone::stamps::Watched;
use crate::zone::{self, ZoneSet};

/// Zones, and all that steers them, of one generation. `control` publishes it whole; nothing in it changes any more.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts publications, from 1: by it the writer learns which snapshots workers have left.
    pub serial: u64,
    /// The operator's generation.
    pub generation: u64,
    /// The zones served, compiled with the slots of `pools` and `planned` as overlay.
    pub zones: Arc<ZoneSet>,
    /// What is allowed with each zone, in the order of `zones`.
    pub zone_settings: Arc<[zone::Settings]>,
    /// The zones whose files are watched.
    pub watched: Arc<[Watched]>,
    /// Where our secondaries are: their SOA queries are looked at.
    pub secondaries: Arc<HashSet<IpAddr>>,
    /// The keys that requests may be signed with.
    pub keys: Arc<KeyRing>,
    /// Whom answers are for.
    pub clients: Arc<ClientRules>,
    /// By slot.
    pub pools: Pools,
    /// What is said of RRsets that the zones answer themselves.
    pub planned: Arc<PlannedRrsets>,
    /// The server's identity (RFC 5001).
    pub nsid: Arc<[u8]>,
    /// Server cookies (RFC 7873); `None`: cookies are passed over.
    pub cookies: Option<Cookies>,
    /// What is limited, and the rate of each worker; `None`: nothing is.
    pub rate_limit: Option<(RateLimit, u16)>,
}
