//! Health checks: each endpoint that has a probe is asked at an interval, and what was seen is reported. Nothing is
//! decided here: rise and fall, overrides and fail open are `steering`'s, by way of `control`.
//!
//! What always holds:
//! - Only addresses are asked; no name is ever looked up. An endpoint without addresses is not probed.
//! - One check asks all addresses of an endpoint at the same time, and is [`Up`](Observation::Up) only if all of them
//!   answered: a client gets them as one RRset and may take any.
//! - What goes wrong on our own side (no file descriptor, no memory) is logged, and no observation.
//! - Endpoints that are asked the same thing at the same addresses are checked once, and reported each.

mod check;
mod http;
mod prober;
mod schedule;
mod tcp;

use std::net::IpAddr;
use std::time::Duration;

pub use prober::Probes;

use crate::dns::Name;
use crate::steering::health::{Observation, Thresholds};
use crate::steering::pool::SiteName;

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

impl Kind {
    /// Whether it can be asked at all: a probe that can't would show every endpoint as down.
    ///
    /// # Errors
    /// [`KindError`], the first that is found.
    pub fn validate(&self) -> Result<(), KindError> {
        let (port, http) = match self {
            Self::Http { port, path, host } => (*port, Some((path, host))),
            Self::Tcp { port } => (*port, None),
        };
        if port == 0 {
            return Err(KindError::Port);
        }
        let Some((path, host)) = http else { return Ok(()) };
        if !path.starts_with('/') || path.contains('#') || path.parse::<hyper::Uri>().is_err() {
            return Err(KindError::Path { path: path.clone() });
        }
        match host {
            Some(host) if host.is_empty() || !host.bytes().all(|octet| octet.is_ascii_graphic()) => {
                Err(KindError::Host { host: host.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// Why a probe can't be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// Port 0 is nobody's.
    #[error("port 0 cannot be asked")]
    Port,
    /// No path of a request.
    #[error(
        "{path:?} is no path of a URL: it begins with \"/\", and blanks, \"#\" and the like are written as %20, %23"
    )]
    Path {
        /// As written.
        path: String,
    },
    /// No Host header.
    #[error("{host:?} is no host of a request: at least one character, all of them visible ASCII")]
    Host {
        /// As written.
        host: String,
    },
}

/// An endpoint to be probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The pool.
    pub pool: Name,
    /// The endpoint's site.
    pub site: SiteName,
    /// All of its addresses; none = not probed.
    pub addresses: Vec<IpAddr>,
    /// How it is asked.
    pub probe: Settings,
}

/// What one check of an endpoint saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The pool.
    pub pool: Name,
    /// The endpoint's site.
    pub site: SiteName,
    /// The outcome.
    pub observation: Observation,
    /// For people: `HTTP 503`, `connection refused`, `no answer in 2s`; begins with the address where there are several.
    pub detail: String,
    /// How long the check took.
    pub took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_told() {
        let http = |path: &str, host: Option<&str>| {
            Kind::Http { port: 80, path: path.to_owned(), host: host.map(str::to_owned) }.validate()
        };
        for path in ["/", "/healthz?deep=1&x=%20", "//"] {
            assert_eq!(http(path, Some("www.example.org:8080")), Ok(()), "{path}");
        }
        for path in ["", "healthz", "http://x/", "/a b", "/a#b", "/a\r\nX: y"] {
            assert_eq!(http(path, None), Err(KindError::Path { path: path.to_owned() }));
        }
        for host in ["", "a b", "a\r\nX: y", "é"] {
            assert_eq!(http("/", Some(host)), Err(KindError::Host { host: host.to_owned() }));
        }
        assert_eq!(Kind::Tcp { port: 0 }.validate(), Err(KindError::Port));
        assert_eq!(Kind::Tcp { port: 1 }.validate(), Ok(()));
    }
}
