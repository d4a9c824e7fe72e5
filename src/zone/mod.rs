//! Zones: contents as loaded, master files, and the compiled zone with its look-up.
//!
//! [`master`] reads a file into [`Gathered`] records; [`compiled`] makes the immutable form of them that queries read, and that
//! gives them back. [`Contents`] hold the same one by one, for what is small. No sockets here,
//! and nothing of steering: a compiled zone knows only that some types at some owner names are *overlaid* by a slot number.

pub mod access;
pub mod catalog;
pub mod compiled;
pub mod contents;
pub mod diff;
pub mod drift;
pub mod edit;
pub mod gathered;
pub mod hidden;
pub mod incoming;
pub mod master;
pub mod notify;
pub mod policy;
pub mod prepared;
pub mod serial;
pub mod set;
pub mod signing;
pub mod stamps;
pub mod transfer;
pub mod update;

pub use access::AccessList;
pub use compiled::Zone;
pub use contents::{Contents, Rrset};
pub use diff::{Diff, Record};
pub use drift::Drift;
pub use edit::Edit;
pub use gathered::Gathered;
pub use set::ZoneSet;
pub use stamps::Stamps;

use std::path::PathBuf;
use std::sync::Arc;

use crate::dns::Name;
use crate::tls;

/// A server that a zone is transferred from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Where it listens, and the key to sign with.
    pub at: notify::Target,
    /// How its certificate is verified, where it is asked over TLS (RFC 9103).
    pub tls: Option<tls::Client>,
}

/// A zone to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its apex, and the master file's initial origin.
    pub name: Name,
    /// The master file; `None`: it is transferred from its primaries.
    pub file: Option<PathBuf>,
    /// What it lists, where it is a catalog of other zones: then its file is none on disk.
    pub catalog: Option<Arc<[Name]>>,
    /// Whether it is read again when its file changes.
    pub watch: bool,
    /// The servers that it is transferred from, in the order in which they are asked.
    pub primaries: Vec<Primary>,
    /// Who may tell of a new serial, beside the primaries' addresses.
    pub allow_notify: AccessList,
    /// How its serial goes up when Waypost itself changes it.
    pub serial: serial::Policy,
    /// Who may ask; `None`: everybody.
    pub allow_query: Option<AccessList>,
    /// Who may have it whole (AXFR, IXFR).
    pub allow_transfer: AccessList,
    /// Whether that takes TLS or QUIC.
    pub transfer_tls: bool,
    /// Who is told of each new serial.
    pub notify: Vec<notify::Target>,
    /// Who may change all of it (UPDATE).
    pub allow_update: AccessList,
    /// What single keys may change.
    pub update_policy: Vec<policy::Grant>,
    /// Whose addresses in pools single keys may change.
    pub pool_policy: Vec<policy::PoolGrant>,
    /// How it is signed; `None`: it is served as its file is.
    pub dnssec: Option<Arc<signing::policy::Policy>>,
}

impl Settings {
    /// Whether secondaries may be given it with a serial of ours, so that it says what they answer in place of pools.
    pub fn is_given(&self) -> bool {
        self.file.is_some() && self.is_transferred()
    }

    /// Whether anybody may be given it.
    pub fn is_transferred(&self) -> bool {
        self.allow_transfer.0.iter().any(|rule| !rule.deny)
    }
}
