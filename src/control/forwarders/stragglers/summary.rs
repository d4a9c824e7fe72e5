//! Who still comes, as it is shown: plain data.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::curve::Point;
use crate::pairing::Class;
use crate::steering::straggler::Confidence;
use crate::time::Timestamp;

/// Who still comes to a pool's sites by forwarders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The pool.
    pub pool: String,
    /// When this was true.
    pub now: Timestamp,
    /// By class.
    pub classes: Vec<OfClass>,
    /// A point a minute, the last one last, for a day at most.
    pub curve: Vec<Point>,
    /// Hosts that are wanted, by the connections of sources that wanted them, the busiest first.
    pub hosts: Vec<OfHost>,
    /// Sources, the busiest first.
    pub sources: Vec<OfSource>,
    /// Connections of sources that forwarders did not count one by one.
    pub others: u64,
    /// Reports of sources that found no place here.
    pub beyond: u64,
}

/// All sources of a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfClass {
    /// Which.
    pub class: Class,
    /// Sources seen.
    pub sources: u64,
    /// Of them, those that are there now.
    pub now: u64,
    /// Connections so far.
    pub connections: u64,
    /// Connections open.
    pub open: u64,
    /// Octets in both directions.
    pub bytes: u64,
    /// Sources by how sure the class is.
    pub confidence: BTreeMap<Confidence, u64>,
}

/// A host that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfHost {
    /// TLS server name or HTTP Host.
    pub host: String,
    /// Sources that wanted it.
    pub sources: u64,
    /// Their connections.
    pub connections: u64,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfSource {
    /// Its address.
    pub address: IpAddr,
    /// The forwarder that it comes to.
    pub forwarder: String,
    /// Whose clients come there.
    pub site: String,
    /// Its class.
    pub class: Class,
    /// How sure that is.
    pub confidence: Confidence,
    /// Why.
    pub why: String,
    /// Connections so far.
    pub connections: u64,
    /// Connections open.
    pub open: u64,
    /// Octets from it.
    pub bytes_up: u64,
    /// Octets to it.
    pub bytes_down: u64,
    /// Its first connection.
    pub first_seen: Timestamp,
    /// When it was last active.
    pub last_seen: Timestamp,
    /// Age of its oldest open connection.
    pub oldest_open_secs: Option<u64>,
    /// Ports that it came to.
    pub ports: Vec<u16>,
    /// Hosts that it wanted, the last first.
    pub hosts: Vec<String>,
}
