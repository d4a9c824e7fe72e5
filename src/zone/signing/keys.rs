//! Keys of a zone: the algorithms of DNSSEC (RFC 8624), DNSKEY and DS made of a key, signatures over octets.
//!
//! No files and no clock here. What a private key is made of never shows in `Debug`, nor in an error.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde::{Deserialize, Serialize};

use crate::dns::Name;

/// A signature algorithm. Waypost makes keys of ECDSA and Ed25519, those of RSA can only be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// RSA/SHA-256 (RFC 5702).
    RsaSha256,
    /// ECDSA on P-256 with SHA-256 (RFC 6605).
    #[default]
    EcdsaP256Sha256,
    /// Ed25519 (RFC 8080).
    Ed25519,
}

impl Algorithm {
    /// All of them, with the mnemonics of the registry in lower case.
    pub const ALL: [(&'static str, Self); 3] =
        [("rsasha256", Self::RsaSha256), ("ecdsap256sha256", Self::EcdsaP256Sha256), ("ed25519", Self::Ed25519)];

    /// Its number in DNSKEY, DS and RRSIG.
    pub const fn number(self) -> u8 {
        match self {
            Self::RsaSha256 => 8,
            Self::EcdsaP256Sha256 => 13,
            Self::Ed25519 => 15,
        }
    }

    /// Whether keys of it are made here.
    pub const fn is_made(self) -> bool {
        !matches!(self, Self::RsaSha256)
    }

    /// The algorithm with that number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().map(|(_, algorithm)| *algorithm).find(|a| a.number() == number)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, algorithm)| algorithm == self).map_or("", |(name, _)| name))
    }
}

/// RDATA of a DNSKEY (RFC 4034, 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dnskey(Box<[u8]>);

/// FLAGS of a key for zone data.
pub const ZONE_KEY: u16 = 256;
/// FLAGS of a key that the parent points at: a KSK or CSK.
pub const ENTRY_POINT: u16 = 257;

impl Dnskey {
    /// Of a public key in the form of its algorithm.
    pub fn new(flags: u16, algorithm: Algorithm, public: &[u8]) -> Self {
        let [high, low] = flags.to_be_bytes();
        Self([&[high, low, 3, algorithm.number()], public].concat().into())
    }

    /// The RDATA.
    pub fn rdata(&self) -> &[u8] {
        &self.0
    }

    /// The number of its algorithm.
    pub fn algorithm(&self) -> u8 {
        self.0[3]
    }

    /// The public key in the form of its algorithm.
    pub fn public(&self) -> &[u8] {
        &self.0[4..]
    }

    /// The key tag (RFC 4034, appendix B).
    pub fn tag(&self) -> u16 {
        let weigh = |(i, &octet): (usize, &u8)| if i % 2 == 0 { (octet as u32) << 8 } else { octet as u32 };
        let sum: u32 = self.0.iter().enumerate().map(weigh).sum();
        (sum + (sum >> 16)) as u16
    }

    /// RDATA of the DS with SHA-256 (RFC 4509) that the parent of `apex` has for it.
    pub fn ds(&self, apex: &Name) -> Box<[u8]> {
        let hash = digest(&SHA256, &[apex.to_lowercase().wire(), &self.0].concat());
        let [high, low] = self.tag().to_be_bytes();
        [&[high, low, self.algorithm(), 2], hash.as_ref()].concat().into()
    }
}

/// A key pair that signs.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
    dnskey: Dnskey,
    tag: u16,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The library could not make one.
    #[error("a key of {algorithm} can't be made")]
    NotMade {
        /// Of the key that was wanted.
        algorithm: Algorithm,
    },
    /// RSA.
    #[error("keys of {algorithm} are imported, not made")]
    ImportOnly {
        /// Of the key that was wanted.
        algorithm: Algorithm,
    },
    /// The octets are not such a key.
    #[error("this is no private key of {algorithm}, or a damaged one")]
    Rejected {
        /// Of the key that it should be.
        algorithm: Algorithm,
    },
}

impl SigningKey {
    /// Makes a key pair; `flags` are those of its DNSKEY.
    ///
    /// # Errors
    /// [`KeyError`] for RSA, and where the system gives no random octets.
    pub fn generate(algorithm: Algorithm, flags: u16) -> Result<Self, KeyError> {
        let failed = KeyError::NotMade { algorithm };
        let pair = match algorithm {
            Algorithm::RsaSha256 => return Err(KeyError::ImportOnly { algorithm }),
            Algorithm::EcdsaP256Sha256 => {
                Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| failed)?)
            }
            Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(|_| failed)?),
        };
        Ok(Self::new(algorithm, flags, pair))
    }

    /// Reads a private key in PKCS#8 (RFC 5958).
    ///
    /// # Errors
    /// [`KeyError::Rejected`].
    pub fn from_pkcs8(algorithm: Algorithm, flags: u16, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let rejected = |_| KeyError::Rejected { algorithm };
        let pair = match algorithm {
            Algorithm::RsaSha256 => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(pkcs8).map_err(rejected)?)),
            Algorithm::EcdsaP256Sha256 => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(rejected)?)
            }
            Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(rejected)?),
        };
        Ok(Self::new(algorithm, flags, pair))
    }

    /// Takes a private key as BIND writes it: the scalar of P-256 or the seed of Ed25519, 32 octets (fewer where leading
    /// zeros are left out); PKCS#1 for RSA.
    ///
    /// # Errors
    /// [`KeyError::Rejected`].
    pub fn from_raw(algorithm: Algorithm, flags: u16, private: &[u8]) -> Result<Self, KeyError> {
        let rejected = |_| KeyError::Rejected { algorithm };
        let mut padded = [0; 32];
        let whole = match padded.len().checked_sub(private.len()) {
            Some(start) => {
                padded[start..].copy_from_slice(private);
                &padded[..]
            }
            None => private,
        };
        let pair = match algorithm {
            Algorithm::RsaSha256 => Pair::Rsa(Box::new(RsaKeyPair::from_der(private).map_err(rejected)?)),
            Algorithm::EcdsaP256Sha256 => {
                // ECPrivateKey (RFC 5915, 3): version 1, the scalar, the curve's identifier.
                const CURVE: [u8; 12] = [0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
                let der = [&[0x30, 49, 2, 1, 1, 4, 32][..], whole, &CURVE].concat();
                let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der);
                Pair::Ecdsa(pair.map_err(rejected)?)
            }
            Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::from_seed_unchecked(whole).map_err(rejected)?),
        };
        Ok(Self::new(algorithm, flags, pair))
    }

    fn new(algorithm: Algorithm, flags: u16, pair: Pair) -> Self {
        let dnskey = Dnskey::new(flags, algorithm, &public(&pair));
        let tag = dnskey.tag();
        Self { algorithm, pair, dnskey, tag }
    }

    /// The private key in PKCS#8, to be kept where only the server reads it.
    ///
    /// # Errors
    /// [`KeyError::NotMade`] where the library can't write it.
    pub fn to_pkcs8(&self) -> Result<Box<[u8]>, KeyError> {
        let failed = |_| KeyError::NotMade { algorithm: self.algorithm };
        Ok(match &self.pair {
            Pair::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(&**pair).map_err(failed)?.as_ref().into(),
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().into(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().into(),
        })
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half.
    pub fn dnskey(&self) -> &Dnskey {
        &self.dnskey
    }

    /// The key tag of its DNSKEY.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The signature over `octets`, in the form of RRSIG.
    ///
    /// # Errors
    /// [`KeyError::NotMade`] where the library fails: for want of memory or random octets.
    pub fn sign(&self, octets: &[u8]) -> Result<Box<[u8]>, KeyError> {
        let failed = |_| KeyError::NotMade { algorithm: self.algorithm };
        Ok(match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature).map_err(failed)?;
                signature.into()
            }
            Pair::Ecdsa(pair) => pair.sign(&SystemRandom::new(), octets).map_err(failed)?.as_ref().into(),
            Pair::Ed25519(pair) => pair.try_sign(octets).map_err(failed)?.as_ref().into(),
        })
    }
}

/// The public key as DNSKEY has it (RFC 3110, 2; RFC 6605, 4; RFC 8080, 3).
fn public(pair: &Pair) -> Vec<u8> {
    match pair {
        Pair::Rsa(pair) => {
            let key = pair.public_key();
            let (exponent, modulus) = (key.exponent(), key.modulus());
            let (exponent, modulus) =
                (exponent.big_endian_without_leading_zero(), modulus.big_endian_without_leading_zero());
            let mut public = match u8::try_from(exponent.len()) {
                Ok(octets) => vec![octets],
                Err(_) => [&[0], &(exponent.len() as u16).to_be_bytes()[..]].concat(),
            };
            public.extend_from_slice(exponent);
            public.extend_from_slice(modulus);
            public
        }
        Pair::Ecdsa(pair) => pair.public_key().as_ref()[1..].to_vec(), // without the mark of an uncompressed point
        Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {})", self.algorithm, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::rdata;

    #[test]
    fn ds_and_tag_are_those_of_the_rfc() {
        // RFC 6605, 6.1.
        let private = rdata::base64("GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=").unwrap();
        let key = SigningKey::from_raw(Algorithm::EcdsaP256Sha256, ENTRY_POINT, &private).unwrap();
        let public = "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==";
        assert_eq!(rdata::to_base64(key.dnskey().public()), public);
        assert_eq!(key.tag(), 55648);
        let ds = key.dnskey().ds(&"example.net".parse().unwrap());
        let wanted = "55648 13 2 B4C8C1FE2E7477127B27115656AD6256F424625BF5C1E2770CE6D6E37DF61D17";
        assert_eq!(rdata::to_text(crate::dns::Rtype::DS, &ds), wanted);
        // RFC 8080, 6.
        let private = rdata::base64("ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=").unwrap();
        let key = SigningKey::from_raw(Algorithm::Ed25519, ENTRY_POINT, &private).unwrap();
        assert_eq!(rdata::to_base64(key.dnskey().public()), "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=");
        assert_eq!(key.tag(), 3613);
    }

    #[test]
    fn a_key_reads_what_it_writes() {
        for algorithm in [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519] {
            let key = SigningKey::generate(algorithm, ZONE_KEY).unwrap();
            let again = SigningKey::from_pkcs8(algorithm, ZONE_KEY, &key.to_pkcs8().unwrap()).unwrap();
            assert_eq!(key.dnskey(), again.dnskey());
            assert!(!format!("{key:?}").contains(&rdata::to_base64(&key.to_pkcs8().unwrap())));
        }
        assert!(SigningKey::generate(Algorithm::RsaSha256, ZONE_KEY).is_err());
        assert!(SigningKey::from_pkcs8(Algorithm::Ed25519, ZONE_KEY, b"nothing").is_err());
    }
}
