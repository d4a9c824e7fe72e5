//! Numbers for the metrics.

use std::sync::atomic::AtomicU64;

/// How the store does, for the metrics.
#[derive(Debug, Default)]
pub struct StoreNumbers {
    /// Commits made.
    pub commits: AtomicU64,
    /// Commits that failed.
    pub failures: AtomicU64,
    /// Time spent in commits, in microseconds.
    pub commit_us: AtomicU64,
}
