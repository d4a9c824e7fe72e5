//! All pools of a snapshot, by slot: in chunks that snapshots share.
//!
//! What changes one pool of ten thousand copies its chunk and the list of chunks, so it costs microseconds. A look-up follows
//! one pointer more than a plain list, which is one of few and so mostly at hand.

use std::ops::Index;
use std::sync::Arc;

use crate::query::Pool;

/// Pools in a chunk: with ten thousand pools there are about as many chunks.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 7;

/// The pools by slot.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    /// Of [`CHUNK`] pools each, the last one of as many as are left.
    chunks: Box<[Arc<[Arc<Pool>]>]>,
}

impl Pools {
    /// The pool at `slot`.
    #[inline]
    pub fn get(&self, slot: usize) -> Option<&Arc<Pool>> {
        self.chunks.get(slot >> CHUNK_BITS)?.get(slot & (CHUNK - 1))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.chunks.split_last().map_or(0, |(last, full)| full.len() * CHUNK + last.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// All of them, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// These pools where `anew` stand in place of those at their slots, which must be there; all others are shared.
    #[must_use]
    pub fn with(&self, anew: impl IntoIterator<Item = (usize, Arc<Pool>)>) -> Self {
        let mut next = self.clone();
        for (slot, pool) in anew {
            Arc::make_mut(&mut next.chunks[slot >> CHUNK_BITS])[slot & (CHUNK - 1)] = pool;
        }
        next
    }
}

impl FromIterator<Arc<Pool>> for Pools {
    fn from_iter<I: IntoIterator<Item = Arc<Pool>>>(pools: I) -> Self {
        let pools: Vec<Arc<Pool>> = pools.into_iter().collect();
        Self { chunks: pools.chunks(CHUNK).map(Arc::from).collect() }
    }
}

impl Index<usize> for Pools {
    type Output = Arc<Pool>;

    fn index(&self, slot: usize) -> &Arc<Pool> {
        &self.chunks[slot >> CHUNK_BITS][slot & (CHUNK - 1)]
    }
}
