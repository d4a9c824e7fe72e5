//! Sockets of the data plane: UDP workers and TCP.

use std::net::SocketAddr;

/// What the data plane listens on, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// UDP and TCP; port 0 takes a free one, the same for both.
    pub listen: Vec<SocketAddr>,
    /// UDP worker threads, at least 1.
    pub workers: usize,
}
