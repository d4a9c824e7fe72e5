//! Health checks: each endpoint that has a probe is asked at an interval, and what was seen is reported. Nothing is
//! decided here: rise and fall, overrides and fail open are `steering`'s, by way of `control`.
//!
//! What always holds:
//! - Endpoints are asked at their addresses; no name of theirs is ever looked up (a Prometheus may have one).
//! - Each address is checked and reported for itself, so that a family can be withdrawn alone.
//! - What goes wrong on our own side (no file descriptor, no memory) is logged, and no observation.
//! - Endpoints that are asked the same thing at the same address are checked once, and reported each.
//! - What is pushed is asked by nobody: `control` takes it from the API.
//! - Checks run on a thread of their own, at a lower priority: they can't delay answers, nor anything else.
//! - Targets that are silent can't delay checks of those that answer.
//!
//! One file for each kind of probe: what it asks (`Settings`) and how (`ask`), in phases that `connect`, `tls` and
//! `expect` share. `check` joins a kind with an address and a timeout, `prober` repeats checks by `schedule`, in `places`.

mod check;
pub mod command;
mod connect;
pub mod dns;
pub mod expect;
mod failure;
pub mod grpc;
pub mod http;
pub mod numbers;
mod phases;
mod places;
mod prober;
pub mod prometheus;
pub mod push;
mod schedule;
pub mod tcp;
mod tls;
pub mod trial;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub use numbers::Numbers;
pub use phases::Phase;
pub use prober::Probes;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dns::Name;
use crate::steering::damping::Damping;
use crate::steering::health::{Observation, Thresholds};
use crate::steering::pool::{Family, SiteName};

/// A probe as configured: how to ask an endpoint how it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What is asked.
    pub kind: Kind,
    /// From the start of one check to the start of the next; each is moved by up to a tenth, so that checks spread.
    pub interval: Duration,
    /// For the whole of one check.
    pub timeout: Duration,
    /// How many equal observations change the state.
    pub thresholds: Thresholds,
    /// When changes of state come too often.
    pub damping: Damping,
    /// Where checks come from.
    pub source: Source,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A request over HTTP or HTTPS.
    Http(http::Settings),
    /// A TCP connection.
    Tcp(tcp::Settings),
    /// A question over DNS.
    Dns(dns::Settings),
    /// gRPC's health check.
    Grpc(grpc::Settings),
    /// A query to a Prometheus.
    Prometheus(prometheus::Settings),
    /// A program.
    Command(command::Settings),
    /// Nothing: values come by the API.
    Push(push::Settings),
}

impl Kind {
    /// Whether endpoints without an address can't be asked.
    pub fn needs_address(&self) -> bool {
        !matches!(self, Self::Prometheus(_) | Self::Command(_) | Self::Push(_))
    }

    /// Whether each address is asked for itself, where there are any.
    fn is_about_addresses(&self) -> bool {
        match self {
            Self::Prometheus(settings) => ["$address", "$family"].iter().any(|word| settings.query.contains(word)),
            Self::Push(_) => false,
            _ => true,
        }
    }

    /// The word for it in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Http(http::Settings { tls: None, .. }) => "http",
            Self::Http(_) => "https",
            Self::Tcp(_) => "tcp",
            Self::Dns(_) => "dns",
            Self::Grpc(_) => "grpc",
            Self::Prometheus(_) => "prometheus",
            Self::Command(_) => "command",
            Self::Push(_) => "push",
        }
    }
}

/// The addresses of our own that checks come from; `None`: as the system chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source {
    /// Toward IPv4 addresses.
    pub v4: Option<Ipv4Addr>,
    /// Toward IPv6 addresses.
    pub v6: Option<Ipv6Addr>,
}

impl Source {
    /// That toward `address`.
    pub fn toward(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.v4.map(IpAddr::from),
            IpAddr::V6(_) => self.v6.map(IpAddr::from),
        }
    }
}

/// An endpoint to be probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The pool.
    pub pool: Name,
    /// The endpoint's site.
    pub site: SiteName,
    /// All of its addresses.
    pub addresses: Vec<IpAddr>,
    /// The probe's name, for metrics.
    pub probe_name: String,
    /// How it is asked.
    pub probe: Settings,
}

impl Target {
    /// What of it is observed, each for itself.
    pub fn subjects(&self) -> Vec<Subject> {
        let kind = &self.probe.kind;
        if kind.is_about_addresses() && (kind.needs_address() || !self.addresses.is_empty()) {
            let mut addresses = self.addresses.clone();
            addresses.sort_unstable();
            addresses.dedup();
            return addresses.into_iter().map(Subject::Address).collect();
        }
        vec![Subject::Endpoint]
    }
}

/// What of an endpoint an observation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The endpoint as a whole.
    Endpoint,
    /// One of its addresses.
    Address(IpAddr),
}

impl Subject {
    /// The family of the address that it is about.
    pub fn family(self) -> Option<Family> {
        match self {
            Self::Endpoint => None,
            Self::Address(address) => Some(Family::of(address)),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        if text == "endpoint" {
            return Ok(Self::Endpoint);
        }
        text.parse().map(Self::Address).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint => f.write_str("endpoint"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// What one check of an endpoint saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The pool.
    pub pool: Name,
    /// The endpoint's site.
    pub site: SiteName,
    /// What of it was asked.
    pub subject: Subject,
    /// The outcome; `None`: nothing was learnt of the endpoint.
    pub observation: Option<Observation>,
    /// For people: `status 503, expected 200-399`, `connection refused`, `no answer in 2s (connect)`.
    pub detail: String,
    /// How long the check took.
    pub took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe that asks so, every 5 s, with 2 and 3 as thresholds.
    pub(super) fn settings(kind: Kind) -> Settings {
        Settings {
            kind,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            thresholds: Thresholds { rise: 2, fall: 3 },
            damping: Damping::default(),
            source: Source::default(),
        }
    }
}
