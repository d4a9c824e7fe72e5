//! Commands and their answers: the words of the API, as data. One word for one thing, the same in JSON and in code.

mod amend;
mod rrsets;
pub mod why;

pub use amend::{AmendAnswer, AmendRequest, Amended, Departed};
pub use rrsets::{RrsetHorizon, RrsetStatus};

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::control::clock::ClockState;
use crate::control::which::Selector;
use crate::dns::{Name, Rtype, Ttl};
use crate::probe::Subject;
use crate::steering::flip::Percent;
use crate::steering::planned::RrsetKey;
use crate::steering::pool::{Family, Override, Policy, Role, SiteName, SiteState, Weight};
use crate::time::Timestamp;
use why::{Growing, TtlPart, Why};

/// Who says it, and on what ground: beside every change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The token's name.
    pub author: String,
    /// The generation that it was decided on.
    pub condition: Condition,
    /// A repeated key gives the first answer again, even if stale by then.
    pub idempotency_key: Option<String>,
    /// SHA-256 of what is asked for, in hexadecimal digits: a key is good for the same request only. `None`: there is no body.
    pub digest: Option<String>,
}

/// Under which generation a change may be made (`If-Match`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing was said: flips, reverts and restores are refused then.
    #[default]
    Unsaid,
    /// `*`: whatever it is.
    Any,
    /// This one.
    Generation(u64),
}

/// Changes weights: by `percent` from a site to a site in `pools`, or by `weights` in full.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlipRequest {
    /// With `from`, `to`, `percent`: the pools to flip.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Name>,
    /// And those with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Selector>,
    /// The site that gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SiteName>,
    /// The site that gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<SiteName>,
    /// The share that `to` shall have of what `from` and `to` hold together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// In full: by pool and site. Sites left out keep their weight.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<Name, BTreeMap<SiteName, Weight>>,
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Says what would happen, changes nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Takes itself back after so many seconds, unless confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
    /// Goes by demand on record: client keys that each carry more than a fifth of the step are postponed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cap: bool,
}

/// What a flip does, or would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlipAnswer {
    /// The generation that it made; with `dry_run` the one that it was worked out on.
    pub generation: u64,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// When.
    pub at: Timestamp,
    /// Pool by pool.
    pub pools: Vec<PoolChange>,
    /// How long until no cache that obeys TTLs would hold what this changed, were it taken back at once.
    pub undo_s: u64,
    /// Unless confirmed by then, it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<Timestamp>,
    /// What the operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a flip does to one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolChange {
    /// Its owner name.
    pub name: Name,
    /// The part of client keys that moves, in percent.
    pub moved_percent: f64,
    /// Client keys that stay behind, until a larger step takes them along.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub postponed: usize,
    /// Endpoint by endpoint.
    pub endpoints: Vec<EndpointChange>,
}

/// What a flip does to one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointChange {
    /// Where it is.
    pub site: SiteName,
    /// Before and after.
    pub weight: [Weight; 2],
    /// Share of the points in percent, before and after.
    pub share_percent: [f64; 2],
    /// The largest TTL that its answers have after the flip.
    pub ttl: Ttl,
    /// After it no cache that obeys TTLs holds an answer from before the flip that named it.
    pub horizon: Option<Timestamp>,
    /// Where that comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon_why: Option<Why>,
    /// The share of the load that it is expected to have after the flip; nothing where too little demand is on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadShare>,
}

/// An expected share of the load, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadShare {
    /// The mean.
    pub percent: f64,
    /// 5th percentile.
    pub low_percent: f64,
    /// 95th percentile.
    pub high_percent: f64,
}

/// What demand lets expect of a pool, now and after a flip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The generation that it was worked out on.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// The pool.
    pub name: Name,
    /// Steered queries per second, over all pools of this server.
    pub queries_per_second: f64,
    /// Since when they are counted; older ones count less.
    pub since: Timestamp,
    /// Client keys with demand enough to be told apart. The others are taken to be even over the points.
    pub keys: usize,
    /// Endpoint by endpoint.
    pub endpoints: Vec<EndpointForecast>,
    /// Client keys that stay behind, or would; the busiest first, 100 at most.
    pub postponed: Vec<Postponed>,
    /// What the operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What is expected of one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointForecast {
    /// Where it is.
    pub site: SiteName,
    /// Its part of the weight in percent, now and after the flip.
    pub nominal_percent: [f64; 2],
    /// Share of the points in percent, now and after.
    pub share_percent: [f64; 2],
    /// Share of the load, now and after.
    pub load: [LoadShare; 2],
}

/// A client key that stays behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Postponed {
    /// The prefix.
    pub client_key: String,
    /// Where it stays.
    pub site: SiteName,
    /// Its part of the load.
    pub load_percent: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// An operator's word over the health of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// `up`, `down` or `obey`.
    #[serde(rename = "override")]
    pub forced: Override,
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How an endpoint is, pushed by who knows it. An observation: no generation, no override.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthRequest {
    /// Whether it is up.
    pub up: bool,
    /// For so many seconds that holds.
    pub for_s: u64,
    /// Shown in status and log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A pushed value was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthAnswer {
    /// The generation, which this does not change.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// What the endpoint counts as, flap damping included.
    pub up: bool,
    /// The value holds until then.
    pub expires_at: Timestamp,
}

/// An operator's word over all endpoints of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteRequest {
    /// `active`, `drained` or `retired`.
    pub state: SiteState,
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The planned instant of a change of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutoverRequest {
    /// When; `null` clears it.
    pub at: Option<Timestamp>,
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Back to the weights of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// Which.
    pub generation: u64,
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The configuration and the zones shall be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadWish {
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Endpoints and pools that are being answered may be missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Only the file of this zone, under the configuration as it is; that makes no generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Name>,
}

/// A word about a change already made: revert, confirm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonRequest {
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A change other than a flip was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeAnswer {
    /// The generation that it made.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// Of a cutover: when no cache that obeys TTLs holds an answer with a TTL above `low`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caches_clear_at: Option<Timestamp>,
    /// What the operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// All that `waypost status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The server's name.
    pub server: String,
    /// Of the program.
    pub version: String,
    /// The operator's generation.
    pub generation: u64,
    /// When the server started.
    pub started_at: Timestamp,
    /// When this was true.
    pub now: Timestamp,
    /// What it listens on for DNS.
    pub listen: Vec<std::net::SocketAddr>,
    /// In the order of the configuration.
    pub zones: Vec<ZoneStatus>,
    /// In the order of the configuration.
    #[serde(default)]
    pub sites: Vec<SiteStatus>,
    /// In the order of the configuration.
    pub pools: Vec<PoolStatus>,
    /// RRsets that the zones answer themselves, whose TTL is planned; by name and type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rrsets: Vec<RrsetStatus>,
    /// Flips that wait to be confirmed.
    pub pending: Vec<Pending>,
    /// Why changes can't be made durable now; `null`: they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_problem: Option<String>,
    /// Since when nobody probes, so that health stays as it was; `null`: probes go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prober_dead_since: Option<Timestamp>,
    /// What is wrong with the clock.
    #[serde(default)]
    pub clock: ClockState,
    /// Readings since the start, of configuration and zones or of one zone, that were taken.
    #[serde(default)]
    pub reloads: u64,
    /// Those that were refused.
    #[serde(default)]
    pub refused_reloads: u64,
    /// Zones whose files were read by those that were taken.
    #[serde(default)]
    pub zone_files_read: u64,
    /// Zones whose files were not, being as they were.
    #[serde(default)]
    pub zone_files_unchanged: u64,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// A site and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its name.
    pub name: SiteName,
    /// The operator's word.
    pub state: SiteState,
    /// The configuration's, which counts at the first start only.
    pub configured_state: SiteState,
    /// The pools that have an endpoint there.
    pub pools: Vec<Name>,
}

/// A zone and how it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneStatus {
    /// Its apex.
    pub name: Name,
    /// How it is served.
    pub state: ZoneState,
    /// SERIAL of what is served.
    pub serial: Option<u32>,
    /// Owner names, with empty non-terminals.
    pub names: usize,
    /// When what is served was read from its file.
    pub loaded_at: Option<Timestamp>,
    /// What is wrong with its file, or with its primaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Of a zone that is transferred from primaries: when one of them last said that this is the newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<Timestamp>,
    /// Likewise: when it is no longer served, unless a primary is reached before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Who is given it: those that are told of new serials, then others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondaries: Vec<SecondaryStatus>,
}

/// Who is given a zone, and what is known of it since the server's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondaryStatus {
    /// Where it listens; of one that is not listed where it comes from.
    pub address: String,
    /// Whether it is told of new serials.
    pub listed: bool,
    /// The serial that it is known to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<u32>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Since when there is a newer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<Timestamp>,
    /// When it last asked for the SOA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// The newest serial of which it has acknowledged that it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notified: Option<u32>,
    /// Why it has not acknowledged the newest one, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How a zone is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneState {
    /// As its file says.
    Current,
    /// Its file can't be read: the last good copy.
    LastGood,
    /// Its file was never read: SERVFAIL.
    Unloaded,
    /// Its primaries have not given it yet: SERVFAIL.
    Awaited,
    /// Its primaries could not be asked for longer than its SOA's EXPIRE: SERVFAIL, but for what pools steer.
    Expired,
}

/// A pool and what it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its owner name.
    pub name: Name,
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// The pools of one group have the same shares, and change together; `null`: it is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `normal`, `spare` or `fail-open`.
    pub mode: String,
    /// What it can be selected by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What was changed of it at run time: the file does not say so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amended: Vec<String>,
    /// Until then flips are refused, as the last one was not long ago; `null`: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip_allowed_at: Option<Timestamp>,
    /// The types it steers.
    pub types: Vec<Rtype>,
    /// TTLs.
    pub ttl: TtlStatus,
    /// The change that is planned.
    pub cutover: Option<Timestamp>,
    /// The last change of what is answered.
    pub changed_at: Option<Timestamp>,
    /// Client keys that stay behind, until a larger step takes them along.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub postponed: usize,
    /// Whether the weights are others than the configuration's.
    pub differs_from_configuration: bool,
    /// In the order of the configuration; endpoints removed from it, that caches may still hold, last.
    pub endpoints: Vec<EndpointStatus>,
    /// Where endpoints are pools: what answers come down to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<LeafStatus>,
}

/// An endpoint with records of its own that a pool leads to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeafStatus {
    /// The sites on the way: that of the pool's own endpoint first, the leaf's last.
    pub sites: Vec<SiteName>,
    /// Share of the points in percent: the shares on the way multiplied.
    pub share_percent: f64,
    /// Whether it may be answered to anybody now.
    pub answered: bool,
}

/// A pool's TTLs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TtlStatus {
    /// When nothing is planned and nothing changed lately.
    pub normal: Ttl,
    /// Around changes.
    pub low: Ttl,
    /// The largest that is served now.
    pub served: Ttl,
}

/// An endpoint, what is known of it and what is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Where it is.
    pub site: SiteName,
    /// The pool that it is, which has its sites, shares and horizons; `null`: it has records of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Its weight now.
    pub weight: Weight,
    /// Its weight in the configuration; `null` when it was removed from there.
    pub configured_weight: Option<Weight>,
    /// Share of the points in percent.
    pub share_percent: f64,
    /// What weight 0 means for it.
    pub role: Role,
    /// The operator's word.
    #[serde(rename = "override")]
    pub forced: Override,
    /// Whether that word stands in the override file, over what the API says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub override_by_file: bool,
    /// What probes say.
    pub health: HealthStatus,
    /// Whether it may be answered to anybody now.
    pub answered: bool,
    /// Answers that named it, since the start.
    pub answers: u64,
    /// By type.
    pub horizon: Vec<HorizonStatus>,
    /// While caches may hold it although it is no longer answered: how much of the demand does, as far as a sample tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldStatus>,
}

/// When most of the demand has let go of an endpoint; of the rest nothing is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldStatus {
    /// So much of the demand.
    pub percent: f64,
    /// By then; `null`: it has already.
    pub at: Option<Timestamp>,
    /// How long until then.
    pub seconds_left: u64,
    /// The part that has let go by now.
    pub gone_percent: f64,
    /// The part whose clients come later than their TTLs say: they extend them, or are seldom asked.
    pub late_percent: f64,
    /// How many clients and types the sample has.
    pub clients: usize,
    /// What this goes by.
    pub why: String,
}

/// What probes say of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// `up`, `down`, or `unknown` (not probed, or not yet).
    pub state: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What the last probe saw.
    pub seen: Option<String>,
    /// It, or the family that is withdrawn, went up and down too often, and counts as down until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
    /// Until when what was pushed holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The family whose addresses are not answered, as its probes fail and those of the other one do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Family>,
    /// Each address for itself, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartStatus>,
}

/// What probes say of one subject of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartStatus {
    /// Its address.
    pub subject: Subject,
    /// `up`, `down`, or `unknown` (not yet probed).
    pub state: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What the last probe saw.
    pub seen: Option<String>,
}

/// The cache horizon of an endpoint and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HorizonStatus {
    /// Of the RRset.
    #[serde(rename = "type")]
    pub rtype: Rtype,
    /// After it no cache that obeys TTLs holds an answer that named the endpoint; `null`: none ever did.
    pub at: Option<Timestamp>,
    /// How long until then; 0 when it has passed.
    pub seconds_left: u64,
    /// The horizon may move on: this is the least it can be.
    pub at_least: bool,
    /// Why it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growing: Option<Growing>,
    /// Where the instant comes from; nothing where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// A flip that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The generation that it made.
    pub generation: u64,
    /// When it is taken back.
    pub confirm_by: Timestamp,
    /// Which pools it changed.
    pub pools: Vec<Name>,
}

impl Pending {
    /// Whether nobody may confirm it any more. Seconds are rounded down, so the one that it names belongs to the time given.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.confirm_by < now
    }
}

/// One change, as the audit keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The generation that it made.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// Why, in the author's words.
    pub reason: Option<String>,
    /// What.
    pub action: Action,
    /// Pool by pool.
    pub changes: Vec<PoolChange>,
}

/// What a change was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    /// The first start with this store.
    Start,
    /// Weights by an operator.
    Flip {
        /// It takes itself back then, unless confirmed.
        confirm_by: Option<Timestamp>,
        /// Whether it went by demand.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cap: bool,
    },
    /// A flip undone by an operator.
    Revert {
        /// The generation undone.
        undone: u64,
    },
    /// A flip taken back because nobody confirmed it.
    Unconfirmed {
        /// The generation undone.
        undone: u64,
    },
    /// A flip confirmed.
    Confirm {
        /// The generation confirmed.
        confirmed: u64,
    },
    /// Weights of an older generation.
    Restore {
        /// Which.
        restored: u64,
    },
    /// An operator's word over health.
    Override {
        /// The pool.
        pool: Name,
        /// The endpoint's site.
        site: SiteName,
        /// The word.
        #[serde(rename = "override")]
        forced: Override,
    },
    /// An operator's word over the health of a site's endpoints in several pools.
    Overrides {
        /// The pools.
        pools: Vec<Name>,
        /// The endpoints' site.
        site: SiteName,
        /// The word.
        #[serde(rename = "override")]
        forced: Override,
    },
    /// An operator's word over a site.
    Site {
        /// Which.
        site: SiteName,
        /// The word.
        state: SiteState,
    },
    /// The override file says something else.
    OverrideFile,
    /// A planned instant.
    Cutover {
        /// The pool.
        pool: Name,
        /// When; `null`: cleared.
        cutover: Option<Timestamp>,
    },
    /// A planned instant of several pools.
    Cutovers {
        /// The pools.
        pools: Vec<Name>,
        /// When; `null`: cleared.
        cutover: Option<Timestamp>,
    },
    /// A planned instant of RRsets of a zone.
    RrsetCutover {
        /// Which.
        rrsets: Vec<RrsetKey>,
        /// When; `null`: cleared.
        cutover: Option<Timestamp>,
    },
    /// The configuration was read again.
    Reload,
    /// Endpoints and pools were added, changed or removed.
    Amend {
        /// What.
        amended: Vec<Amended>,
    },
}

/// How an answer comes about, decision by decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    #[serde(rename = "type")]
    pub rtype: Rtype,
    /// Whom it is explained for: the resolver's address.
    pub client: std::net::IpAddr,
    /// The zone that answers.
    pub zone: Option<Name>,
    /// The client subnet that the resolver names (ECS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<IpNet>,
    /// The client key, as a prefix.
    pub client_key: String,
    /// By the pools on the way.
    pub pools: Vec<PoolExplanation>,
    /// RCODE of the answer.
    pub rcode: String,
    /// ANSWER, as a master file writes it.
    pub answer: Vec<String>,
    /// The steps, in words.
    pub steps: Vec<String>,
}

/// Why a pool gave what it gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolExplanation {
    /// Its owner name.
    pub name: Name,
    /// Where the client key falls, 0..=100 percent of the points.
    pub point_percent: f64,
    /// What the share table says for that point.
    pub site_by_share: Option<SiteName>,
    /// What is answered: another one when that is down.
    pub site: SiteName,
    /// The pool that this endpoint is, which comes next; `null`: it has records of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// `normal`, `spare` or `fail-open`.
    pub mode: String,
    /// Whether the client is among those that see this site before all others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub previewed: bool,
    /// TTL served.
    pub ttl: Ttl,
    /// What each rule allows; the least counts.
    #[serde(default)]
    pub ttl_parts: Vec<TtlPart>,
    /// All endpoints, in the order of the configuration.
    #[serde(default)]
    pub endpoints: Vec<EndpointExplanation>,
}

/// What an endpoint has to do with an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointExplanation {
    /// Where it is.
    pub site: SiteName,
    /// Its share of the points, in percent.
    pub share_percent: f64,
    /// Whether it counts as up: by probes, or by the word of an operator.
    pub up: bool,
    /// Whether it may be given to anybody now.
    pub answers: bool,
    /// Where the key's own endpoint hands over: for how long this one waits by its weight; the shortest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}
