//! How a zone is signed, as its operator wants it.

use super::keys::Algorithm;
use super::nsec::Denial;
use super::rollover::{Role, Timing, Wanted};
use super::sign::Validity;
use crate::dns::Ttl;

/// The name of the policy that needs not be written.
pub const DEFAULT: &str = "default";

/// A policy; [`Policy::default`] is the one called `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of the keys that are made.
    pub algorithm: Algorithm,
    /// A KSK and a ZSK in place of one CSK.
    pub split: bool,
    /// How it is proven what is not there.
    pub denial: Denial,
    /// How long signatures hold.
    pub validity: Validity,
    /// How long keys live and changes take.
    pub timing: Timing,
}

impl Policy {
    /// The roles of the keys that a zone has.
    pub const fn roles(&self) -> &'static [Role] {
        if self.split { &[Role::Ksk, Role::Zsk] } else { &[Role::Csk] }
    }

    /// The keys that a zone has.
    pub const fn wanted(&self) -> Wanted<'static> {
        Wanted { roles: self.roles(), algorithm: self.algorithm }
    }
}

impl Default for Policy {
    /// One key of ECDSA P-256, which stays until an operator replaces it; NSEC; signatures for 14 days. The times are BIND's:
    /// an hour for the TTL of DNSKEY, an hour and five minutes until secondaries and caches follow, a day for the parent's DS.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::EcdsaP256Sha256,
            split: false,
            denial: Denial::Nsec,
            validity: Validity::default(),
            timing: Timing {
                entry_lifetime_secs: None,
                zsk_lifetime_secs: None,
                dnskey_ttl: Ttl::from_secs(3600),
                propagation_secs: 3900,
                parent_ttl: Ttl::from_secs(86_400),
                parent_propagation_secs: 3600,
            },
        }
    }
}
