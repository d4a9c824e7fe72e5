//! A pool as configured: endpoints at sites, and how they are chosen.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::dns::{Name, Rtype};
use crate::steering::flip::Percent;
use crate::steering::nest::Nest;
use crate::steering::networks::Preferences;
use crate::steering::select::Rules;
use crate::steering::ttl::TtlPolicy;

/// A site's name: what flips, overrides and metrics call it.
pub type SiteName = String;

/// A site as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: SiteName,
    /// The initial state; from the first start on the store rules.
    pub state: SiteState,
}

/// An operator's word over all endpoints of a site. No probe and no override can undo it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteState {
    /// It serves.
    #[default]
    Active,
    /// Not answered; its weights are kept, and what it has of the share tables.
    Drained,
    /// Not answered in any role, and given no weight.
    Retired,
}

impl fmt::Display for SiteState {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Drained => "drained",
            Self::Retired => "retired",
        })
    }
}

/// The endpoints that can answer for one owner name. It steers together the types that at least one endpoint gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The owner name, maybe a wildcard.
    pub name: Name,
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// What else the choice goes by.
    pub selection: Selection,
    /// Normal and low TTL, and how a cutover counts down.
    pub ttl: TtlPolicy,
    /// What secondaries that can't steer answer.
    pub transfer: Transfer,
    /// The probe that tells the endpoints' health, by name; none = always up.
    pub probe: Option<String>,
    /// How operators handle it.
    pub handling: Handling,
    /// At least one; a site at most once.
    pub endpoints: Vec<Endpoint>,
    /// What stands below them; none unless one of them is a pool.
    pub nest: Option<Arc<Nest>>,
}

impl Settings {
    /// What its selection goes by.
    pub fn rules(&self) -> Rules {
        let Selection { min_healthy, trickle, .. } = &self.selection;
        let (min_healthy, trickle) = (*min_healthy, *trickle);
        Rules { policy: self.policy, min_healthy, trickle }
    }

    /// Whether somebody sees `site` before all others.
    pub fn previews(&self, site: &str) -> bool {
        self.selection.previews.iter().any(|preview| preview.site == site)
    }

    /// The types that at least one endpoint gives, in the order of their numbers.
    pub fn types(&self) -> Vec<Rtype> {
        let mut types: Vec<Rtype> = self.leaves().into_iter().flatten().map(|(rtype, _)| *rtype).collect();
        types.sort_unstable();
        types.dedup();
        types
    }
}

/// How operators handle a pool. No answer depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// What it can be selected by; sorted, none twice. One that was written with a value is `key=value`.
    pub labels: Vec<String>,
    /// The least time from one flip to the next.
    pub min_between_flips_secs: u64,
}

/// What a pool's choice goes by, beside policy, weights and health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The group that it belongs to: its pools have the same policy, sites, roles and state, endpoints in one order.
    pub group: Option<String>,
    /// Less of the weight than this up counts as none up.
    pub min_healthy: Percent,
    /// Of [`Policy::Failover`]: the share of client keys that is always given the next one.
    pub trickle: Percent,
    /// Who sees which site first. Where networks overlap the longer prefix counts, of equal ones the later.
    pub previews: Vec<Preview>,
    /// Of [`Policy::Geo`]: which sites which networks are given.
    pub preferences: Option<Arc<Preferences>>,
}

/// Networks that see a site before all others, whatever its weight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Preview {
    /// Which.
    pub site: SiteName,
    /// By the addresses of resolvers, or the subnets that they name.
    pub networks: Vec<IpNet>,
}

/// RDATA by type, uncompressed wire form; no type twice, none empty. A CNAME stands alone.
pub type Rdata = Vec<(Rtype, Vec<Box<[u8]>>)>;

/// One choice in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub site: SiteName,
    /// The initial weight; from the first start on the store rules.
    pub weight: Weight,
    /// What weight 0 means for it.
    pub role: Role,
    /// Its records; none where it is a pool.
    pub rdata: Rdata,
    /// The pool that it is: what it answers is what that one answers.
    pub pool: Option<Name>,
}

impl Endpoint {
    /// Whether it has addresses of this family.
    pub fn has(&self, family: Family) -> bool {
        let rtype = match family {
            Family::Ipv4 => Rtype::A,
            Family::Ipv6 => Rtype::AAAA,
        };
        self.rdata.iter().any(|(t, _)| *t == rtype)
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// By the client key: one client keeps one site.
    #[default]
    Sticky,
    /// By a draw per query.
    Random,
    /// The first that is up, in the order of the configuration.
    Failover,
    /// All that are up, as one RRset.
    All,
    /// The first that may be answered of those that a network is to have; by the client key where there is none.
    Geo,
}

impl fmt::Display for Policy {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sticky => "sticky",
            Self::Random => "random",
            Self::Failover => "failover",
            Self::All => "all",
            Self::Geo => "geo",
        })
    }
}

/// What a zone transfer carries in place of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transfer {
    /// The records of the endpoint with the largest share.
    #[default]
    Largest,
    /// Those of all endpoints that are answered.
    All,
}

/// 0..=1,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u32);

impl Weight {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The most.
    pub const MAX: Self = Self(1_000_000);

    /// `None` above [`Weight::MAX`].
    pub const fn new(weight: u32) -> Option<Self> {
        if weight <= Self::MAX.0 { Some(Self(weight)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Weight> for u32 {
    fn from(w: Weight) -> u32 {
        w.0
    }
}

impl TryFrom<u32> for Weight {
    type Error = String;
    fn try_from(w: u32) -> Result<Self, String> {
        Self::new(w).ok_or_else(|| format!("weight {w} is above {}", Self::MAX.0))
    }
}

/// What weight 0 means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Not answered, whatever happens.
    #[default]
    Never,
    /// Answered when no active endpoint is healthy.
    Spare,
}

impl fmt::Display for Role {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Spare => "spare",
        })
    }
}

/// An operator's word over health. No probe can undo it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Override {
    /// Counts as up.
    Up,
    /// Counts as down, and never as active.
    Down,
    /// What the probes say.
    #[default]
    Obey,
}

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// A.
    Ipv4,
    /// AAAA.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// That of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// An override as it is in force for an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub forced: Override,
    /// Whether the override file says it.
    pub by_file: bool,
    /// What is said of its site, which is stronger.
    pub site: SiteState,
}

impl fmt::Display for Override {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Obey => "obey",
        })
    }
}
