//! Why a command is refused.

use serde::{Deserialize, Serialize};

use crate::dns::Name;
use crate::time::Timestamp;

/// A command that was not carried out. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The request itself is wrong: all that is, at once.
    #[error("{}", join(.0))]
    Invalid(Vec<Fault>),
    /// No such pool, site of a pool, or generation.
    #[error("{0}")]
    NotFound(String),
    /// It does not go with the state as it is: it would leave a pool empty, a flip waits to be confirmed, a later flip stands
    /// in the way.
    #[error("{0}")]
    Conflict(String),
    /// A pool may not be flipped again so soon.
    #[error(
        "pool {pool} was flipped at {flipped}, and {min_secs} s must lie between its flips: from {allowed_at} on it may be \
         flipped again (taking back is always allowed)"
    )]
    TooSoon {
        /// The one that must wait longest.
        pool: Name,
        /// When it was flipped.
        flipped: Timestamp,
        /// The least time between its flips.
        min_secs: u64,
        /// When all pools of the request may be flipped.
        allowed_at: Timestamp,
    },
    /// The state has moved on: the generation named is not the newest.
    #[error("the generation is {current}, not {given}: look at what changed, then say it again")]
    Stale {
        /// What the request named.
        given: u64,
        /// What it is.
        current: u64,
    },
    /// A flip must name the generation that it was decided on.
    #[error("say which generation this is decided on (If-Match); it is {current} now")]
    Unconditional {
        /// What it is.
        current: u64,
    },
    /// An idempotency key was used before, for another request.
    #[error(
        "the idempotency key {key:?} was used before, for another request ({first}): take a new key for a new request"
    )]
    Reused {
        /// The key.
        key: String,
        /// What it was used for.
        first: String,
    },
    /// A configuration or zone that can't be loaded: what is wrong with it, as `waypost check` says it.
    #[error("{}", .0.join("\n"))]
    Unloadable(Vec<String>),
    /// The store did not take the change.
    #[error("the change could not be made durable, so it was not made: {0}")]
    Store(String),
    /// The server is going down.
    #[error("the server is stopping")]
    Stopping,
}

/// One mistake in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where, as a JSON pointer into the request (RFC 6901).
    pub pointer: String,
    /// One sentence that quotes what was written.
    pub detail: String,
}

impl Fault {
    /// A mistake at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

fn join(faults: &[Fault]) -> String {
    faults.iter().map(|f| f.detail.as_str()).collect::<Vec<_>>().join("; ")
}
