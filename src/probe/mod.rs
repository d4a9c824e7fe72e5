//! Health checks: each prober asks one target at an interval and reports what it saw. It decides nothing.

use std::time::Duration;

use crate::steering::health::Thresholds;

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
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `GET http://ADDRESS:port/path`, up when the status is in 200..=399.
    Http {
        /// TCP port.
        port: u16,
        /// Path and query, begins with `/`.
        path: String,
        /// The Host header; the pool's name when left out.
        host: Option<String>,
    },
    /// A TCP connection to the port, up when it is accepted.
    Tcp {
        /// TCP port.
        port: u16,
    },
}
