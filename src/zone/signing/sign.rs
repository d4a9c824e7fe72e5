//! Signatures over RRsets (RFC 4034, 3 and 6).

use super::keys::{KeyError, SigningKey};
use crate::dns::wire::CLASS_IN;
use crate::dns::{Name, Rtype, Ttl, rdata};
use crate::time::Timestamp;
use crate::zone::Rrset;

/// From when to when signatures hold, and when they are made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// How long a new signature holds, in seconds.
    pub lifetime_secs: u32,
    /// One that holds no longer than this is made anew, in seconds.
    pub refresh_secs: u32,
    /// A new signature may hold shorter by up to this, in seconds, so that they are not all made anew at once.
    pub jitter_secs: u32,
    /// Signatures hold from so long before they are made, in seconds: clocks of validators differ.
    pub inception_secs: u32,
}

impl Default for Validity {
    /// As most signers do: 14 days, made anew in the last quarter.
    fn default() -> Self {
        Self::of(14 * 86_400)
    }
}

impl Validity {
    /// Signatures that hold for `lifetime_secs`, less by up to a quarter, and are made anew in the last quarter.
    pub fn of(lifetime_secs: u32) -> Self {
        Self { lifetime_secs, refresh_secs: lifetime_secs / 4, jitter_secs: lifetime_secs / 4, inception_secs: 3600 }
    }

    /// From when to when a signature made at `now` holds. `draw` is uniform over all of `u64`.
    pub fn span(&self, now: Timestamp, draw: u64) -> Span {
        let jitter = draw % (self.jitter_secs as u64 + 1);
        Span {
            inception: now.before(self.inception_secs as u64),
            expiration: now.after((self.lifetime_secs as u64).saturating_sub(jitter)),
        }
    }
}

/// From when to when a signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Not before.
    pub inception: Timestamp,
    /// Not after.
    pub expiration: Timestamp,
}

/// RDATA of the RRSIG of `set` at `owner` by `key` for the zone `apex`. The set's TTL is the Original TTL.
///
/// # Errors
/// [`KeyError`] where the library fails.
pub fn rrsig(owner: &Name, set: &Rrset, apex: &Name, key: &SigningKey, span: Span) -> Result<Box<[u8]>, KeyError> {
    let mut octets = Fields {
        covered: set.rtype,
        algorithm: key.algorithm().number(),
        labels: (owner.label_count() - usize::from(owner.is_wildcard())) as u8,
        original_ttl: set.ttl,
        expiration: span.expiration.0 as u32, // serial numbers (RFC 4034, 3.1.5)
        inception: span.inception.0 as u32,
        tag: key.tag(),
    }
    .octets(apex);
    let without_signature = octets.len();
    signed_records(owner, set, &mut octets);
    let signature = key.sign(&octets)?;
    octets.truncate(without_signature);
    octets.extend_from_slice(&signature);
    Ok(octets.into())
}

/// Appends the records of `set` in canonical form and order (RFC 4034, 6.2 and 6.3).
fn signed_records(owner: &Name, set: &Rrset, octets: &mut Vec<u8>) {
    let owner = owner.to_lowercase();
    let mut rdatas: Vec<_> = set.rdatas.iter().map(|wire| rdata::canonical(set.rtype, wire)).collect();
    rdatas.sort_unstable();
    rdatas.dedup();
    for rdata in rdatas {
        octets.extend_from_slice(owner.wire());
        octets.extend_from_slice(&set.rtype.0.to_be_bytes());
        octets.extend_from_slice(&CLASS_IN.to_be_bytes());
        octets.extend_from_slice(&set.ttl.secs().to_be_bytes());
        octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        octets.extend_from_slice(&rdata);
    }
}

/// The fields of an RRSIG before the signer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// TYPE COVERED.
    pub covered: Rtype,
    /// The number of the algorithm.
    pub algorithm: u8,
    /// Labels of the owner name, neither the root nor a leading `*` counted.
    pub labels: u8,
    /// The TTL that the signature was made with.
    pub original_ttl: Ttl,
    /// Seconds since 1970 as a serial number.
    pub expiration: u32,
    /// Seconds since 1970 as a serial number.
    pub inception: u32,
    /// The key's.
    pub tag: u16,
}

impl Fields {
    /// Reads them from RDATA; `None` where it is too short.
    pub fn read(rdata: &[u8]) -> Option<Self> {
        let head: &[u8; 18] = rdata.first_chunk()?;
        let four = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Some(Self {
            covered: Rtype(u16::from_be_bytes([head[0], head[1]])),
            algorithm: head[2],
            labels: head[3],
            original_ttl: Ttl::from_secs(four(4) as u64),
            expiration: four(8),
            inception: four(12),
            tag: u16::from_be_bytes([head[16], head[17]]),
        })
    }

    /// For how many seconds from `now` the signature holds; negative: it ran out.
    pub fn left_secs(&self, now: Timestamp) -> i32 {
        self.expiration.wrapping_sub(now.0 as u32) as i32
    }

    fn octets(self, signer: &Name) -> Vec<u8> {
        let mut octets = Vec::with_capacity(256);
        octets.extend(self.covered.0.to_be_bytes());
        octets.extend([self.algorithm, self.labels]);
        octets.extend(self.original_ttl.secs().to_be_bytes());
        octets.extend(self.expiration.to_be_bytes());
        octets.extend(self.inception.to_be_bytes());
        octets.extend(self.tag.to_be_bytes());
        octets.extend_from_slice(signer.to_lowercase().wire());
        octets
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::keys::{Algorithm, ENTRY_POINT};
    use super::*;
    use crate::dns::rdata::Token;

    /// What a validator makes of the records.
    pub(in super::super) fn records(owner: &Name, set: &Rrset, octets: &mut Vec<u8>) {
        signed_records(owner, set, octets);
    }

    #[test]
    fn the_signature_of_the_rfc() {
        // RFC 8080, 6.1: Ed25519 signs without randomness.
        let private = rdata::base64("ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=").unwrap();
        let key = SigningKey::from_raw(Algorithm::Ed25519, ENTRY_POINT, &private).unwrap();
        let apex: Name = "example.com".parse().unwrap();
        let mx =
            rdata::parse(Rtype::MX, &["10", "mail.example.com."].map(|t| Token::word(t.as_bytes())), &apex).unwrap();
        let set = Rrset { rtype: Rtype::MX, ttl: Ttl::from_secs(3600), rdatas: vec![mx] };
        let span = Span { inception: Timestamp(1_438_207_200), expiration: Timestamp(1_440_021_600) };
        let made = rrsig(&apex, &set, &apex, &key, span).unwrap();
        let wanted = "MX 15 2 3600 20150819220000 20150729220000 3613 example.com. \
                      oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==";
        assert_eq!(rdata::to_text(Rtype::RRSIG, &made), wanted);
        let fields = Fields::read(&made).unwrap();
        assert_eq!((fields.tag, fields.labels, fields.left_secs(Timestamp(1_440_021_610))), (3613, 2, -10));
    }
}
