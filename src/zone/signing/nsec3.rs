//! Hashed owner names and NSEC3 records (RFC 5155). What Waypost makes has no salt and no further iterations (RFC 9276, 3.1);
//! zones that others signed may have them.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::nsec::bitmap;
use crate::dns::name::MAX_NAME_OCTETS;
use crate::dns::{Name, Rtype, rdata};

/// A hash of SHA-1, the only one there is (RFC 5155, 11).
pub type Hash = [u8; 20];

/// RDATA of NSEC3PARAM for what Waypost makes.
pub const PARAMETERS: [u8; 5] = [1, 0, 0, 0, 0];

/// The hash of a wire name, of any case (RFC 5155, 5). `salt` has no more than 255 octets.
pub fn hash(name: &[u8], salt: &[u8], iterations: u16) -> Hash {
    let mut lower = [0; MAX_NAME_OCTETS];
    let octets = name.len().min(MAX_NAME_OCTETS);
    lower[..octets].copy_from_slice(&name[..octets]);
    lower.make_ascii_lowercase();
    let mut hash = once(&lower[..octets], salt);
    for _ in 0..iterations {
        hash = once(&hash, salt);
    }
    hash
}

fn once(octets: &[u8], salt: &[u8]) -> Hash {
    let mut salted = [0; MAX_NAME_OCTETS + u8::MAX as usize];
    let end = octets.len() + salt.len();
    salted[..octets.len()].copy_from_slice(octets);
    salted[octets.len()..end].copy_from_slice(salt);
    let mut hash = [0; 20];
    hash.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted[..end]).as_ref()); // in one piece: no allocation
    hash
}

/// The label of `hash`, in base32 with extended hex digits (RFC 5155, 3.3). Labels are in the order of their hashes.
pub fn label(hash: &Hash) -> [u8; 32] {
    let mut label = [0; 32];
    for (octets, digits) in hash.as_chunks::<5>().0.iter().zip(label.as_chunks_mut::<8>().0) {
        let bits = octets.iter().fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
        for (at, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdefghijklmnopqrstuv"[(bits >> (35 - 5 * at)) as usize & 31];
        }
    }
    label
}

/// The hash right behind `hash`.
pub fn after(mut hash: Hash) -> Hash {
    for octet in hash.iter_mut().rev() {
        *octet = octet.wrapping_add(1);
        if *octet != 0 {
            break;
        }
    }
    hash
}

/// The owner name of the record with `hash`.
pub fn owner(hash: &Hash, apex: &Name) -> Name {
    let wire = [&[32][..], &label(hash), apex.wire()].concat();
    Name::from_wire(&wire).unwrap_or_else(|_| apex.clone()) // an apex that leaves no room for 33 octets
}

/// The hash that `owner`, right below `apex`, is written with.
pub fn hash_in(owner: &Name, apex: &Name) -> Option<Hash> {
    let label = owner.labels().next().filter(|label| label.len() == 32)?;
    if owner.wire().len() != apex.wire().len() + 33 || !owner.is_at_or_below(apex) {
        return None;
    }
    rdata::from_base32hex(label)?.try_into().ok()
}

/// RDATA of an NSEC3 record of ours (RFC 5155, 3.2).
pub fn record(next: &Hash, types: &BTreeSet<Rtype>) -> Box<[u8]> {
    [&[1, 0, 0, 0, 0, next.len() as u8][..], next, &bitmap(types)].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_of_the_rfc() {
        // RFC 5155, appendix A.
        let (apex, salt): (Name, _) = ("example".parse().unwrap(), [0xaa, 0xbb, 0xcc, 0xdd]);
        for (name, wanted) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("*.w.Example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ] {
            let hash = hash(name.parse::<Name>().unwrap().wire(), &salt, 12);
            let owner = owner(&hash, &apex);
            assert_eq!(owner.to_string(), format!("{wanted}.example"));
            assert_eq!(hash_in(&owner, &apex), Some(hash));
        }
        assert_eq!(hash_in(&"a.example".parse().unwrap(), &apex), None);
    }
}
