//! Signatures made as answers are, for zones with compact denial of existence (RFC 9824): of what can't be signed ahead, as its name is
//! the client's to choose.
//!
//! It is part of the snapshot that workers read. A signature costs about 20 us and memory of the library's own; what bounds both is in
//! [`crate::query`].

use std::collections::BTreeSet;
use std::sync::Arc;

use super::keys::{KeyError, SigningKey};
use super::nsec;
use super::sign::{Span, rrsig};
use crate::dns::{Name, Rtype, Ttl};
use crate::time::Timestamp;
use crate::zone::Rrset;

/// How long a signature holds: as long as caches may keep it and more, as nobody makes it anew.
const LIFETIME_SECS: u64 = 2 * 86_400;
/// From how long before: clocks of validators differ.
const INCEPTION_SECS: u64 = 3600;

/// What signs the answers of one zone.
#[derive(Debug)]
pub struct Online {
    apex: Name,
    signers: Vec<Arc<SigningKey>>,
}

impl Online {
    /// For the zone `apex`, with the keys that sign its data.
    pub fn new(apex: Name, signers: Vec<Arc<SigningKey>>) -> Self {
        Self { apex, signers }
    }

    /// Key tags of its signers, which are as many as an RRset has signatures.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = u16> + '_ {
        self.signers.iter().map(|key| key.tag())
    }

    /// The NSEC record of `owner` that denies all types but those in `bitmap`, and no other name.
    pub fn proof(&self, owner: &Name, bitmap: &[u8], ttl: Ttl) -> Rrset {
        let rdata = [nsec::after(owner, &self.apex).wire(), bitmap].concat().into();
        Rrset { rtype: Rtype::NSEC, ttl, rdatas: vec![rdata] }
    }

    /// RDATA of the RRSIGs of `set` at `owner`.
    ///
    /// # Errors
    /// [`KeyError`] where the library fails.
    pub fn sign(&self, owner: &Name, set: &Rrset, now: Timestamp) -> Result<Vec<Box<[u8]>>, KeyError> {
        let expiration = now.after(LIFETIME_SECS + u64::from(set.ttl.secs()));
        let span = Span { inception: now.before(INCEPTION_SECS), expiration };
        self.signers.iter().map(|key| rrsig(owner, set, &self.apex, key, span)).collect()
    }
}

/// The type bitmap of a name that does not exist (RFC 9824, 3.1).
pub fn no_such_name() -> Vec<u8> {
    nsec::bitmap(&BTreeSet::from([Rtype::RRSIG, Rtype::NSEC, Rtype::NXNAME]))
}

/// The type bitmap in the RDATA of an NSEC record.
pub fn bitmap_of(rdata: &[u8]) -> Option<&[u8]> {
    let next: usize = crate::dns::name::labels(rdata).map(|label| 1 + label.len()).sum();
    rdata.get(next + 1..)
}
