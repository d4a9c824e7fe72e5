//! Pools whose endpoints are other pools: regions over sites.
//!
//! An endpoint may be a pool in place of records of its own: its answers are those of that pool, which is a pool like any
//! other, with an owner name, shares, health, TTLs and horizons of its own. Each pool on the way decides for itself, by its own
//! policy and under its own salt, so that shares multiply. What can be answered in the end are *leaves*: the endpoints with
//! records of their own that a pool leads to, however far below. A pool without endpoints that are pools has its endpoints as
//! leaves.
//!
//! The configuration makes a [`Nest`] once all pools are read, and sees to it that ways end: no circle, at most [`MOST_LEVELS`]
//! pools on one, no two of one salt among them.

use crate::dns::Name;
use crate::steering::pool::{Rdata, Settings, SiteName};

/// Pools that a way to a leaf passes at most, the one that is asked among them.
pub const MOST_LEVELS: usize = 4;

/// What stands below a pool of which some endpoints are pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nest {
    /// By endpoint: the place of its first leaf; behind the last one, how many leaves there are.
    firsts: Vec<usize>,
    leaves: Vec<Leaf>,
    /// All pools below, each once.
    pools: Vec<Name>,
}

/// An endpoint with records of its own, as it is reached from the pool that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The sites of the endpoints on the way: that of the pool asked first, its own last.
    pub sites: Vec<SiteName>,
    /// Its records.
    pub rdata: Rdata,
}

impl Nest {
    /// Of a pool, given the settings of the pools that its endpoints are, in their order. Those are made already; `None` where
    /// an endpoint has records of its own.
    pub fn new(pool: &Settings, inner: &[Option<&Settings>]) -> Self {
        let mut nest = Self { firsts: vec![0], leaves: Vec::new(), pools: Vec::new() };
        for (endpoint, below) in pool.endpoints.iter().zip(inner) {
            let site = &endpoint.site;
            match below {
                None => nest.leaves.push(Leaf { sites: vec![site.clone()], rdata: endpoint.rdata.clone() }),
                Some(below) => {
                    nest.leaves.extend(below.ways().into_iter().zip(below.leaves()).map(|(way, rdata)| Leaf {
                        sites: [site].into_iter().chain(way).cloned().collect(),
                        rdata: rdata.clone(),
                    }));
                    let names = below.nest.iter().flat_map(|nest| &nest.pools);
                    for name in [&below.name].into_iter().chain(names) {
                        if !nest.pools.contains(name) {
                            nest.pools.push(name.clone());
                        }
                    }
                }
            }
            nest.firsts.push(nest.leaves.len());
        }
        nest
    }

    /// All leaves, those of one endpoint together, in the order of the endpoints.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// All pools below, each once.
    pub fn pools(&self) -> &[Name] {
        &self.pools
    }
}

impl Settings {
    /// The records of its leaves.
    pub fn leaves(&self) -> Vec<&Rdata> {
        match &self.nest {
            None => self.endpoints.iter().map(|endpoint| &endpoint.rdata).collect(),
            Some(nest) => nest.leaves.iter().map(|leaf| &leaf.rdata).collect(),
        }
    }

    /// The records of one of its leaves.
    pub fn leaf(&self, leaf: usize) -> &Rdata {
        self.nest.as_ref().map_or_else(|| &self.endpoints[leaf].rdata, |nest| &nest.leaves[leaf].rdata)
    }

    /// The leaves of one of its endpoints.
    pub fn leaves_of(&self, endpoint: usize) -> std::ops::Range<usize> {
        self.nest.as_ref().map_or(endpoint..endpoint + 1, |nest| nest.firsts[endpoint]..nest.firsts[endpoint + 1])
    }

    /// The sites on the way to each leaf.
    pub fn ways(&self) -> Vec<Vec<&SiteName>> {
        match &self.nest {
            None => self.endpoints.iter().map(|endpoint| vec![&endpoint.site]).collect(),
            Some(nest) => nest.leaves.iter().map(|leaf| leaf.sites.iter().collect()).collect(),
        }
    }
}
