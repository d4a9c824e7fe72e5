//! Hashed owner names and NSEC3 records (RFC 5155). What Waypost makes has no salt and no further iterations (RFC 9276, 3.1);
//! zones that others signed may have them.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::nsec::bitmap;
use crate::dns::name::MAX_NAME_OCTETS;
use crate::dns::{Name, Rtype, rdata};

/// A hash of SHA-1, the only one there is (RFC 5155, 11).
pub type Hash = [u8; 20];

/// RDATA of NSEC3PARAM for what Waypost makes.
pub const PARAMETERS: [u8; 5] = [1, 0, 0, 0, 0];

/// The hash of a wire name, of any case (RFC 5155, 5).
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
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(octets);
    context.update(salt);
    let mut hash = [0; 20];
    hash.copy_from_slice(context.finish().as_ref());
    hash
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
    let label = rdata::base32hex(hash);
    let wire = [&[label.len() as u8], label.as_bytes(), apex.wire()].concat();
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
