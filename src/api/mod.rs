//! HTTP face of `control`.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// TCP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The file with the admin's bearer token; made at the first start, mode 0600.
    pub token_file: PathBuf,
}
