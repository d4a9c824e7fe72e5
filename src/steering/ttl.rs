//! TTL of a steered answer.

use serde::{Deserialize, Serialize};

use crate::dns::Ttl;
use crate::time::Timestamp;

/// What TTL a pool's answers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlPolicy {
    /// When nothing is planned and nothing changed lately.
    pub normal: Ttl,
    /// Around changes; not above `normal`.
    pub low: Ttl,
    /// Over how many seconds the clients' countdowns are spread; at most half of `normal`.
    pub spread_secs: u32,
    /// How the TTL goes down before a cutover.
    pub mode: Approach,
}

/// How the TTL goes down before a cutover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approach {
    /// It counts down second by second, so that all caches are clear at the cutover.
    #[default]
    Countdown,
    /// It is lowered once, one normal TTL ahead.
    Step,
}

/// The planned instant of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutover {
    /// When.
    pub at: Timestamp,
}
