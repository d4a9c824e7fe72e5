//! The way of an answer through pools that are endpoints of pools, down to the records that are given.
//!
//! Each pool on the way is read from the same snapshot, so what becomes of its health, weights and TTL shows at once. The
//! records themselves stand in the pool that is asked, one RRset for each leaf and type: so they can be signed ahead under its
//! owner name. No allocation, no lock.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::dns::Ttl;
use crate::query::pool::{Choice, Pool};
use crate::query::{Pools, Union};
use crate::steering::client::Client;
use crate::steering::key::mix;
use crate::steering::nest::MOST_LEVELS;
use crate::time::Timestamp;

/// What a pool answers that is not simply its endpoint's own RRset.
#[derive(Debug)]
pub enum Compound {
    /// Those of all endpoints that may be answered, where that is the policy.
    Union(Arc<Union>),
    /// Some of its endpoints are pools.
    Nest(Nest),
}

/// Where the endpoints of a pool lead.
#[derive(Debug)]
pub struct Nest {
    branches: Box<[Branch]>,
}

/// What one endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The slot of the pool that it is; `None`: it has records of its own.
    pub pool: Option<u32>,
    /// The place of its first leaf among those of the pool.
    pub first_leaf: u32,
}

impl Nest {
    /// Of all endpoints, in their order.
    pub fn new(branches: impl IntoIterator<Item = Branch>) -> Self {
        Self { branches: branches.into_iter().collect() }
    }
}

/// The way to a leaf.
#[derive(Clone, Debug)]
pub struct Way<'a> {
    /// From the pool that is asked to the one whose endpoint has the records, with what each chose.
    pub steps: ArrayVec<(&'a Pool, Choice), MOST_LEVELS>,
    /// The least of all TTLs on it.
    pub ttl: Ttl,
    /// The leaf's place among those of the pool that is asked.
    pub leaf: usize,
}

/// Goes on from `top`, which chose `first`, to the leaf. `client` says whom a pool chooses for; `draw` is the one that `top` was
/// given: each pool below has another one. `None` only when a pool has nothing to answer at all, which `control` never publishes.
pub fn way<'a>(
    pools: &'a Pools,
    top: &'a Pool,
    first: Choice,
    mut client: impl FnMut(&Pool) -> Client,
    mut draw: u64,
    now: Timestamp,
) -> Option<Way<'a>> {
    const LEVEL: u64 = 0x6c65_7665_6c64_6f77; // any constant that separates it from what else is mixed from draws
    let (mut pool, mut choice) = (top, first);
    let mut way = Way { steps: ArrayVec::new(), ttl: first.ttl, leaf: 0 };
    loop {
        way.ttl = way.ttl.min(choice.ttl);
        way.steps.try_push((pool, choice)).ok()?;
        let Branch { pool: next, first_leaf } = pool.branch(choice.endpoint)?;
        way.leaf += first_leaf as usize;
        let Some(next) = next else { return Some(way) };
        pool = pools.get(next as usize)?;
        draw = mix(draw ^ LEVEL);
        choice = pool.choose(&client(pool), draw, now)?;
    }
}

impl Pool {
    /// What its endpoint is.
    #[inline]
    pub fn branch(&self, endpoint: usize) -> Option<Branch> {
        match self.compound.as_deref() {
            Some(Compound::Nest(nest)) => nest.branches.get(endpoint).copied(),
            _ => Some(Branch { pool: None, first_leaf: endpoint as u32 }),
        }
    }

    /// What all its endpoints answer together, where that is its policy.
    #[inline]
    pub(super) fn union(&self) -> Option<&Union> {
        match self.compound.as_deref() {
            Some(Compound::Union(union)) => Some(union),
            _ => None,
        }
    }
}
