//! Keys of TSIG, and the HMACs that they are for.

use std::fmt;

use aws_lc_rs::hmac;

use crate::dns::Name;

/// An HMAC that TSIG names. Those by MD5 and SHA-1 are left out: nothing needs them any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the name of the registry")]
pub enum Algorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// Octets of its MAC.
    pub const fn octets(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    pub(super) const fn wire(self) -> &'static [u8] {
        match self {
            Self::HmacSha256 => b"\x0bhmac-sha256\0",
            Self::HmacSha384 => b"\x0bhmac-sha384\0",
            Self::HmacSha512 => b"\x0bhmac-sha512\0",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }
}

/// A secret that two hosts share, under a name.
#[derive(Clone)]
pub struct Key {
    pub(super) name: Name,
    pub(super) algorithm: Algorithm,
    secret: Box<[u8]>,
    pub(super) hmac: hmac::Key,
}

impl Key {
    /// A key whose secret is these octets.
    pub fn new(name: &Name, algorithm: Algorithm, secret: &[u8]) -> Self {
        let hmac = hmac::Key::new(algorithm.hmac(), secret);
        Self { name: name.to_lowercase(), algorithm, secret: secret.into(), hmac }
    }

    /// Its name, in lower case.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.algorithm, &self.secret) == (&other.name, other.algorithm, &other.secret)
    }
}
impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.name, self.algorithm.name())
    }
}
