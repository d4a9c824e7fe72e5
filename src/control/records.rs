//! What the store keeps, under which keys, as JSON.
//!
//! | key | value |
//! |---|---|
//! | `state` | [`State`] without its pools |
//! | `pool/NAME` | [`PoolState`] |
//! | `amendment/NAME` | [`Amendment`]: what was changed of a pool at run time |
//! | `horizon/NAME` | [`Known`]: for each endpoint and type an instant that no horizon is later than |
//! | `rrset/NAME TYPE` | [`planned::Stored`]: what became of a planned RRset, and until when caches may hold it |
//! | `carried/ZONE` | [`Carried`](crate::control::carried::Carried): what secondaries answer in place of pools |
//! | `carried-rrsets/ZONE` | the same of planned RRsets, each version of one in the place of a site |
//! | `audit/GENERATION` | [`Past`], the generation with leading zeros, so that keys sort |
//! | `idempotency/KEY` | [`Repeat`] |
//! | `seen` | [`Remembered`]: what health was, for the next start |
//! | `pushed` | [`Expiries`]: until when values that were pushed hold |
//! | `zone/NAME` | when it was loaded, a line feed, then the last good contents as a master file |
//! | `forwarder/NAME` | [`Wanted`](crate::control::forwarders::Wanted) of a forwarder |
//! | `forwarder-audit/INSTANT/NAME/REVISION` | [`AuditEntry`](crate::control::forwarders::AuditEntry) of a forwarder |
//! | `journal/NAME NUMBER`, `drift/NAME` | what changed it since: see [`super::journal`] |
//! | `unsettled` | [`Unsettled`]: of which pools `horizon/NAME` is a bound, stored with a change |
//! | `run` | `{"clean": true}` after a clean stop: horizons are exact |

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::amendments::{Amendment, Amendments};
use crate::control::health::Pushed;
use crate::control::horizons::Known;
use crate::control::message::AuditEntry;
use crate::control::planned;
use crate::control::state::{PoolState, State};
use crate::dns::{Name, Rtype};
use crate::probe::Subject;
use crate::steering::planned::RrsetKey;
use crate::steering::pool::SiteName;
use crate::store::{Scan, StateStore, StoreError, Write};
use crate::time::Timestamp;

/// One change, with what it takes to undo it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Past {
    /// As it is told.
    pub entry: AuditEntry,
    /// The pools that it touched, as they were; `None`: it made the pool.
    pub before: BTreeMap<Name, Option<PoolState>>,
}

/// The first answer to an idempotency key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Repeat {
    /// When it was given.
    pub at: Timestamp,
    /// Which change it was: the key is not good for another one.
    pub change: String,
    /// The digest of the request that it answered, which a repetition must have.
    #[serde(default)]
    pub digest: Option<String>,
    /// The answer, as it was sent.
    pub answer: serde_json::Value,
}

/// Health by pool, site and subject: whether up, since when.
pub type Remembered = BTreeMap<Name, BTreeMap<SiteName, BTreeMap<Subject, (bool, Timestamp)>>>;

/// Until when pushed health holds, by pool and site.
pub type Expiries = BTreeMap<Name, BTreeMap<SiteName, Pushed>>;

/// How the last run ended.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// Whether what is stored of horizons is exact.
    pub clean: bool,
}

/// All that a start needs of the store.
#[derive(Debug, Default)]
pub struct Stored {
    /// `None`: this is the first start.
    pub state: Option<State>,
    /// By pool.
    pub horizons: BTreeMap<Name, Known>,
    /// As it was.
    pub health: Remembered,
    /// As it was.
    pub pushed: Expiries,
    /// How the last run ended.
    pub run: Run,
    /// Pools whose stored horizon is a bound: a change was being made when the last run ended.
    pub unsettled: Unsettled,
}

/// Pools with the instant of the change that stored a bound of their horizons.
pub type Unsettled = BTreeMap<Name, Timestamp>;

/// A record that can't be understood, or a store that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its bytes are no such record.
    #[error("the store's record {key:?} can't be understood: {error}")]
    Malformed {
        /// Which.
        key: String,
        /// What serde says.
        error: serde_json::Error,
    },
}

/// What was changed of the pools at run time.
///
/// # Errors
/// [`RecordError`]; nothing is guessed.
pub async fn amendments(store: &dyn StateStore) -> Result<Amendments, RecordError> {
    Ok(Amendments(all::<Amendment>(store, "amendment/").await?.into_iter().collect()))
}

/// What to commit when `now` takes the place of `before`.
pub fn amendment_writes(before: &Amendments, now: &Amendments) -> Vec<Write> {
    let key = |pool: &Name| format!("amendment/{}", pool.to_lowercase());
    let gone = before.0.keys().filter(|pool| !now.0.contains_key(*pool)).map(|pool| Write::Delete { key: key(pool) });
    let changed = now.0.iter().filter(|(pool, amendment)| before.0.get(*pool) != Some(*amendment));
    gone.chain(changed.map(|(pool, amendment)| put(key(pool), amendment))).collect()
}

/// Reads what a start needs.
///
/// # Errors
/// [`RecordError`]; nothing is guessed.
pub async fn read(store: &dyn StateStore) -> Result<Stored, RecordError> {
    let mut stored = Stored { run: get(store, RUN).await?.unwrap_or_default(), ..Stored::default() };
    stored.health = get(store, HEALTH).await?.unwrap_or_default();
    stored.pushed = get(store, PUSHED).await?.unwrap_or_default();
    if let Some(mut state) = get::<State>(store, STATE).await? {
        for (name, pool) in all::<PoolState>(store, "pool/").await? {
            state.pools.insert(name, pool);
        }
        stored.state = Some(state);
    }
    stored.unsettled = get(store, UNSETTLED).await?.unwrap_or_default();
    for (name, known) in all::<Known>(store, "horizon/").await? {
        stored.horizons.insert(name, known);
    }
    Ok(stored)
}

/// Key of the state without its pools.
pub const STATE: &str = "state";
/// Key of what health was.
pub const HEALTH: &str = "seen";
/// Key of until when pushed health holds.
pub const PUSHED: &str = "pushed";
/// Key of the pools whose stored horizon is a bound.
pub const UNSETTLED: &str = "unsettled";
/// Key of how the last run ended.
pub const RUN: &str = "run";

/// Key of a pool's state.
pub fn pool_key(pool: &Name) -> String {
    format!("pool/{}", pool.to_lowercase())
}
/// Key of a pool's horizons.
pub fn horizon_key(pool: &Name) -> String {
    format!("horizon/{}", pool.to_lowercase())
}
/// Key of a planned RRset.
pub fn rrset_key(rrset: &RrsetKey) -> String {
    format!("rrset/{} {}", rrset.name.to_lowercase(), rrset.rtype)
}
/// Key of what a zone carries in place of pools.
pub fn carried_key(zone: &Name) -> String {
    format!("carried/{}", zone.to_lowercase())
}
/// Key of what a zone that is transferred says of planned RRsets.
pub fn carried_rrsets_key(zone: &Name) -> String {
    format!("carried-rrsets/{}", zone.to_lowercase())
}
/// Key of a change.
pub fn audit_key(generation: u64) -> String {
    format!("audit/{generation:020}")
}
/// Key of an answer to be repeated.
pub fn idempotency_key(key: &str) -> String {
    format!("idempotency/{key}")
}
/// Key of the whole copy of a zone's file.
pub fn zone_key(zone: &Name) -> String {
    format!("zone/{}", zone.to_lowercase())
}

/// Key of what is wanted of a forwarder.
pub fn forwarder_key(name: &str) -> String {
    format!("forwarder/{name}")
}
/// Key of a change of a forwarder.
pub fn forwarder_audit_key(at: Timestamp, name: &str, revision: u64) -> String {
    format!("forwarder-audit/{:020}/{name}/{revision:020}", at.0)
}
/// Key of the digest of a zone's file, and of how it is kept.
pub fn zone_digest_key(zone: &Name) -> String {
    format!("zone-digest/{}", zone.to_lowercase())
}

/// Writes `value` under `key`, as JSON.
pub fn put(key: impl Into<String>, value: &impl Serialize) -> Write {
    // Maps have text as keys and no value fails to serialize: all are the types above.
    let value = serde_json::to_vec(value).expect("the record types serialize");
    Write::Put { key: key.into(), value: value.into() }
}

/// The record under `key`.
///
/// # Errors
/// [`RecordError`].
pub async fn get<T: DeserializeOwned>(store: &dyn StateStore, key: &str) -> Result<Option<T>, RecordError> {
    let value = store.read(key).await?;
    value.map(|v| parse(key, &v)).transpose()
}

/// Reads a record's value.
///
/// # Errors
/// [`RecordError::Malformed`].
pub fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, RecordError> {
    serde_json::from_slice(value).map_err(|error| RecordError::Malformed { key: key.to_owned(), error })
}

/// All planned RRsets.
///
/// # Errors
/// [`RecordError`]; nothing is guessed.
pub async fn rrsets(store: &dyn StateStore) -> Result<Vec<(RrsetKey, planned::Stored)>, RecordError> {
    let mut found = Vec::new();
    for (key, value) in store.scan(Scan::all("rrset/")).await? {
        // A name as text has no blank in it.
        let parts = key.strip_prefix("rrset/").and_then(|rest| rest.split_once(' '));
        let parsed = parts.and_then(|(name, rtype)| Some((name.parse().ok()?, Rtype::parse(rtype)?)));
        let Some((name, rtype)) = parsed else { continue };
        found.push((RrsetKey { name, rtype }, parse(&key, &value)?));
    }
    Ok(found)
}

/// All records of this prefix, by name.
///
/// # Errors
/// [`RecordError`].
pub async fn all<T: DeserializeOwned>(store: &dyn StateStore, prefix: &str) -> Result<Vec<(Name, T)>, RecordError> {
    let mut found = Vec::new();
    for (key, value) in store.scan(Scan::all(prefix)).await? {
        let Some(name) = key.strip_prefix(prefix).and_then(|name| name.parse().ok()) else { continue };
        found.push((name, parse(&key, &value)?));
    }
    Ok(found)
}
