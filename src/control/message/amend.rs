//! Endpoints and pools that are added, changed and removed at run time: the words of the API.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::PoolChange;
use super::why::Why;
use crate::config::amendments::Wish;
use crate::dns::Name;
use crate::steering::pool::SiteName;
use crate::time::Timestamp;

/// Endpoints and pools shall be added, changed or removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AmendRequest {
    /// All of it, or nothing.
    pub wishes: Vec<Wish>,
    /// For the audit.
    pub reason: Option<String>,
    /// Says what would happen, changes nothing.
    pub dry_run: bool,
    /// Endpoints and pools that are being answered may go.
    pub force: bool,
}

/// What became of the pools, or would.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AmendAnswer {
    /// The generation that it made; with `dry_run` the one that it was worked out on.
    pub generation: u64,
    /// Whether nothing was changed.
    #[serde(default)]
    pub dry_run: bool,
    /// When.
    pub at: Timestamp,
    /// Pool by pool.
    #[serde(default)]
    pub pools: Vec<PoolChange>,
    /// Endpoints that are gone.
    #[serde(default)]
    pub departed: Vec<Departed>,
    /// What the operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// An endpoint that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departed {
    /// The pool.
    pub pool: Name,
    /// Where it was.
    pub site: SiteName,
    /// After it no cache that obeys TTLs holds an answer that named it; `null`: none ever did.
    pub horizon: Option<Timestamp>,
    /// Where that comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon_why: Option<Why>,
}

/// What was changed at run time, as the audit keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amended {
    /// The pool.
    pub pool: Name,
    /// The endpoint's site; `null`: the whole pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteName>,
    /// `added`, `set` or `removed`.
    pub change: String,
}

impl Amended {
    /// What `wish` does.
    pub fn of(wish: &Wish) -> Self {
        let site = wish.site().map(str::to_owned);
        Self { pool: wish.pool().clone(), site, change: wish.verb().to_owned() }
    }
}

impl fmt::Display for Amended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Some(site) => write!(f, "endpoint of {} at {site} {}", self.pool, self.change),
            None => write!(f, "pool {} {}", self.pool, self.change),
        }
    }
}
